//! Exchanges that clients of this protocol had with another gateway, played again in their order: which of them hold here.
//!
//! `tests/wire/exchanges.json` has one row for each: the request, and of the answer its status, its code, the types of its
//! members (`any` for what a capability answers) and the values of `ok`, `valid`, `status` and `state`. An exchange holds if
//! ours has all of these. One that does not names its reason in `differs`; a failed one without, or one with that holds, is an
//! error. A row with `defect` is an answer that is wrong there, or waits for the end of what ours began in its place: it is
//! played for what follows, and not counted.
//!
//! The player does what the same owner would have to do here beside the recorded requests: an approval names the card that was
//! shown, an extension the preview that was shown, and reads that an agent was selected for allow themselves. The fixture plays
//! the programs of coding agents. What stood there and may not here (a program that sleeps) is a read.

use plexus_tests::answers::kind_of;
use plexus_tests::http::{Client, Response};
use plexus_tests::{Clock, Folder, Gateway};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;

/// The least share of exchanges that hold.
const SHARE: f64 = 0.9;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Row {
    /// Group and number.
    at: String,
    /// Method and path; none where the world moves instead.
    send: Option<(String, String)>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<Value>,
    #[serde(default)]
    status: u16,
    code: Option<String>,
    /// Types by pointer.
    #[serde(default)]
    fields: BTreeMap<String, String>,
    /// Values of the answer that later requests name, by their names.
    #[serde(default)]
    keep: BTreeMap<String, String>,
    /// What happens between two requests.
    moves: Option<Move>,
    /// Why ours answers otherwise.
    differs: Option<String>,
    /// The answer is none that anybody should give.
    #[serde(default)]
    defect: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Move {
    /// So many seconds after the beginning.
    Clock(u64),
    Restart,
    VaultGone,
}

/// One group's gateway, with what the requests of the group name.
struct Player {
    gateway: Gateway,
    clock: Clock,
    vault: Folder,
    /// Kept for as long as the gateway.
    _folders: [Folder; 2],
    named: BTreeMap<String, String>,
}

impl Player {
    fn open() -> Self {
        let (vault, workspace, other) = (Folder::empty(), Folder::empty(), Folder::empty());
        vault
            .write(".obsidian/app.json", "{}")
            .write("Index.md", "# Index\nWelcome.\n")
            .write("Projects/A.md", "# A\n");
        symlink("/etc/hostname", vault.path().join("escape.md")).expect("a link");
        workspace
            .write("README.md", "# Read me\n")
            .write("notes/a.md", "a\n");
        other.write("state", "0");
        let clock = Clock::new();
        let gateway = Gateway::builder()
            .fixture()
            .clock(&clock)
            .env("PLEXUS_PUBLIC_HOSTNAME", "gw.example.com")
            .env("PLEXUS_INSTANCE", "one")
            .vault(&vault.path())
            .workspace(&workspace.path())
            .arg("--default-reach")
            .arg("selected")
            .start();
        let owner = gateway.owner();
        let settings = json!({"autoAllowReads": true});
        owner.put("/v1/config", settings).expect_ok();
        let fixture = json!({
            "id": "fixture", "kind": "fixture-dir", "label": "Fixture", "route": {"path": other.path()},
        });
        owner.post("/admin/api/sources", fixture).expect_ok();
        let path = |folder: &Folder| folder.path().display().to_string();
        let named = [
            ("<connectionKey>", gateway.key()),
            ("<base>", gateway.base()),
            ("<host>", format!("127.0.0.1:{}", gateway.port())),
            ("<port>", gateway.port().to_string()),
            ("<vault>", path(&vault)),
            ("<workspace>", path(&workspace)),
            ("<dir2>", path(&other)),
        ];
        let named = named.map(|(name, value)| (name.to_owned(), value)).into();
        Self {
            gateway,
            clock,
            vault,
            _folders: [workspace, other],
            named,
        }
    }

    /// A text with what it names.
    fn filled(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, value) in &self.named {
            text = text.replace(name, value);
        }
        text
    }

    fn body(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.filled(text).into(),
            Value::Array(all) => all.iter().map(|one| self.body(one)).collect(),
            Value::Object(members) => {
                let members = members.iter();
                let members = members.map(|(name, value)| (name.clone(), self.body(value)));
                Value::Object(members.collect())
            }
            other => other.clone(),
        }
    }

    fn moved(&mut self, how: &Move) {
        match how {
            Move::Clock(seconds) => self.clock.show(&format!("+{seconds}")),
            Move::Restart => {
                self.gateway.restart();
                let port = self.gateway.port();
                self.named.insert("<base>".into(), self.gateway.base());
                let host = format!("127.0.0.1:{port}");
                self.named.insert("<host>".into(), host);
                self.named.insert("<port>".into(), port.to_string());
            }
            Move::VaultGone => fs::remove_dir_all(self.vault.path()).expect("it is there"),
        }
    }

    /// What the owner sees before, and names here.
    fn shown(&self, method: &str, path: &str, body: &mut Value) {
        let owner = self.gateway.owner();
        let item = path.rsplit_once("/admin/api/pending/").map(|(_, id)| id);
        if let Some(item) = item.filter(|_| method == "POST" && body["action"] == "approve") {
            let pending = owner.get("/admin/api/pending").json();
            let mut cards = pending["pending"].as_array().into_iter().flatten();
            let card = cards.find(|card| card["pendingId"] == item || card["id"] == item);
            if let Some(card) = card {
                body["cardDigest"] = card["cardDigest"].clone();
                body["anyInput"] = json!(true);
            }
        }
        let is_added = (method, path) == ("POST", "/admin/api/extensions");
        if is_added && body["manifest"].is_object() {
            let seen = owner.post("/admin/api/extensions/preview", body.clone());
            if let Some(digest) = seen.json().get("digest") {
                body["digest"] = digest.clone();
            }
        }
    }

    fn sent(&self, row: &Row, method: &str, path: &str) -> Response {
        let mut path = self.filled(path);
        if row.fields.contains_key("/finishedAt") {
            path.push_str("&wait=20");
        }
        let mut request = Client::tcp(self.gateway.port()).request(method, &path);
        if let Some(body) = &row.body {
            request = match body["<raw>"].as_str() {
                Some(raw) => {
                    let request = request.header("content-type", "application/json");
                    request.bytes(self.filled(raw))
                }
                None => {
                    let mut body = self.body(body);
                    self.shown(method, &path, &mut body);
                    request.json(body)
                }
            };
        }
        for (name, value) in &row.headers {
            request = request.header(name, &self.filled(value));
        }
        let bytes = request.bytes_on_wire();
        let what = format!("{method} {path}");
        let client = Client::tcp(self.gateway.port());
        let answer = match row.status == 200 && path.ends_with("/events") {
            true => head(&client, &bytes),
            false => client.raw(&bytes),
        };
        Response::parse(&what, &answer).unwrap_or_else(|| panic!("{}: no answer", row.at))
    }

    /// What keeps an exchange from holding.
    fn plays(&mut self, row: &Row, method: &str, path: &str) -> Option<String> {
        let answer = self.sent(row, method, path);
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        for (name, pointer) in &row.keep {
            if let Some(Value::String(value)) = body.pointer(pointer) {
                self.named.insert(name.clone(), value.clone());
            }
        }
        let code = body["error"]["code"].as_str();
        if (answer.status, code) != (row.status, row.code.as_deref()) {
            let wanted = (row.status, row.code.as_deref().unwrap_or("-"));
            let shown: String = answer.text().chars().take(300).collect();
            return Some(format!("{} and not {wanted:?}: {shown}", answer.status));
        }
        let differs = |(pointer, wanted): (&String, &String)| {
            let found = body.pointer(pointer);
            let as_wanted = match (found, wanted.strip_prefix('=')) {
                (None, _) => false,
                (Some(found), Some(value)) => {
                    serde_json::from_str::<Value>(value).is_ok_and(|value| value == *found)
                }
                (Some(found), None) => wanted == "any" || kind_of(found) == wanted,
            };
            (!as_wanted).then(|| format!("{pointer} is {found:?}, not {wanted}"))
        };
        row.fields.iter().find_map(differs)
    }
}

/// The head of an answer that goes on for as long as its client listens.
fn head(client: &Client, request: &[u8]) -> Vec<u8> {
    let mut stream = client.connect();
    stream.write_all(request).expect("it is taken");
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
        head.push(byte[0]);
    }
    // The end of a body without a part.
    head.extend(b"0\r\n\r\n");
    head
}

#[test]
fn exchanges_with_another_gateway_hold() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("wire/exchanges.json");
    let rows: Vec<Row> = serde_json::from_slice(&fs::read(path).expect("the table")).expect("rows");
    let (mut all, mut held, mut odd) = (0_u32, 0_u32, Vec::new());
    let group = |row: &Row| row.at.split('#').next().map(str::to_owned);
    for rows in rows.chunk_by(|a, b| group(a) == group(b)) {
        let mut player = Player::open();
        for row in rows {
            if let Some(how) = &row.moves {
                player.moved(how);
            }
            let Some((method, path)) = &row.send else {
                continue;
            };
            let why = player.plays(row, method, path);
            if row.defect {
                continue;
            }
            all += 1;
            held += u32::from(why.is_none());
            match (why, &row.differs) {
                (Some(why), None) => odd.push(format!("{} {method} {path}: {why}", row.at)),
                (None, Some(reason)) => odd.push(format!("{} holds, although {reason}", row.at)),
                _ => {}
            }
        }
    }
    let share = f64::from(held) / f64::from(all);
    let percent = 100.0 * share;
    writeln!(
        std::io::stderr(),
        "{held} of {all} exchanges hold: {percent:.1} %"
    )
    .expect("a line");
    assert!(odd.is_empty(), "{} of {all} hold\n{}", held, odd.join("\n"));
    assert!(share >= SHARE, "{held} of {all} exchanges hold");
}
