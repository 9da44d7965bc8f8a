//! Sources by their fields: folders beside or without a root, secrets by name, systems that a kind serves on.

use nix::sys::signal::Signal;
use plexus_tests::texts::{assert_contains, assert_lacks};
use plexus_tests::{
    Agent, Builder, Folder, Gateway, Owner, Response, Terminal, binaries, not_run, programs,
};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

const TOKEN: &str = "tok-7f41c0de-hush";
/// What the owner may know of the source, and the ledger does: by it a search is shown to find what is there.
const DRAWER: &str = "drawer-7f41c0de-shown";

/// A gateway that knows the cabinet, which serves on macOS, and folders for one.
struct Office {
    gateway: Gateway,
    folder: Folder,
}

fn fake() -> Builder {
    Gateway::builder()
        .fixture()
        .env("PLEXUS_FAKE_APPLE", "offered")
}

impl Office {
    fn open() -> Self {
        Self::with(fake())
    }
    fn with(builder: Builder) -> Self {
        let folder = Folder::empty();
        for name in ["library", "out", "archive", "neighbour"] {
            folder.write(&format!("{name}/note.txt"), name);
        }
        let gateway = builder.start();
        Self { gateway, folder }
    }
    fn owner(&self) -> Owner {
        self.gateway.owner()
    }
    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }
    fn body(&self, id: &str) -> Value {
        json!({"id": id, "kind": "cabinet-app", "label": "Cabinet", "route": {
            "drawer": DRAWER, "library": self.at("library"), "outTray": self.at("out")}})
    }
    fn post(&self, body: Value) -> Response {
        self.owner().post("/admin/api/sources", body)
    }
    /// Adds one with changed members of its route; null leaves one out.
    fn post_with(&self, id: &str, route: Value) -> Response {
        let mut body = self.body(id);
        for (field, value) in route.as_object().expect("members") {
            body["route"][field] = value.clone();
        }
        self.post(body)
    }
    fn set(&self, name: &str, value: &str) -> Response {
        let path = format!("/admin/api/secrets/{name}");
        self.owner().post(&path, json!({"value": value}))
    }
    /// One that serves.
    fn cabinet(&self, id: &str, token: &str) {
        self.post(self.body(id)).expect_ok();
        self.set(&format!("{id}.token"), token).expect_ok();
    }
    fn reader(&self, agent: &str, source: &str) -> Agent {
        self.gateway.agent_of(agent, source, &["about", "look"])
    }
    /// The files of the state directory that hold `text`.
    fn holding(&self, text: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.gateway.state()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("a folder").flatten() {
                let (kind, path) = (entry.file_type().expect("a kind"), entry.path());
                if kind.is_dir() {
                    folders.push(path);
                } else if kind.is_file() {
                    let bytes = fs::read(&path).unwrap_or_default();
                    if bytes.windows(text.len()).any(|w| w == text.as_bytes()) {
                        found.push(path);
                    }
                }
            }
        }
        found
    }
}

fn digest(text: &str) -> Value {
    json!(plexus_protocol::Digest::of(text.as_bytes()))
}

fn about(agent: &Agent, source: &str) -> Value {
    let reply = agent.must(&format!("{source}.about"), json!({}));
    reply["output"].clone()
}

fn look(agent: &Agent, path: &Path) -> Response {
    agent.invoke("cab.look", json!({"path": path}))
}

fn is_sandboxed(reply: &Response) {
    reply.expect_error(200, "transport_error");
    assert_eq!(reply.at("/error/detail/reason"), "sandbox", "{reply}");
}

#[test]
fn kind_of_another_system_is_listed_with_reason_and_not_added() {
    if cfg!(target_os = "macos") {
        let test = "kind_of_another_system_is_listed_with_reason_and_not_added";
        return not_run::say(test, "the kind is of this system");
    }
    let office = Office::with(Gateway::builder().fixture());
    let connector = |office: &Office| {
        let list = office.owner().get("/admin/api/connectors").expect_ok();
        let all = list["connectors"].as_array().expect("connectors").clone();
        let mut all = all.into_iter();
        all.find(|one| one["kind"] == "cabinet-app")
            .expect("it is listed")
    };
    let listed = connector(&office);
    assert_eq!(listed["wireable"], false);
    assert_eq!(listed["platforms"], json!(["macos"]));
    let why = "Cabinet serves on macOS only, and this is Linux";
    assert_eq!(listed["reason"], why);
    let refused = office.post(office.body("cab"));
    assert_eq!((refused.status, refused.at("/reason")), (422, json!(why)));
    let kinds = office.gateway.cli(["sources", "kinds"]);
    assert!(kinds.expect_ok().contains(why), "{kinds:?}");
    // The controls: with its fake it is added, without it what is configured does not serve.
    let mut office = Office::open();
    let listed = connector(&office);
    assert_eq!(listed["wireable"], true);
    assert!(listed["reason"].is_null(), "{listed}");
    office.cabinet("cab", TOKEN);
    let agent = office.reader("one", "cab");
    assert_eq!(about(&agent, "cab")["drawer"], DRAWER);
    office.gateway.stop();
    office.gateway.start_again_as(Gateway::builder().fixture());
    let agent = office.gateway.back(&agent);
    let away = agent.invoke("cab.about", json!({}));
    assert_eq!(away.at("/ok"), false, "{away}");
}

#[test]
fn source_without_folder_argument_is_added_by_fields() {
    let office = Office::open();
    let path = |name: &str| office.at(name).display().to_string();
    let library = format!("library={}", path("library"));
    let out = format!("outTray={}", path("out"));
    let add = |more: &[&str]| {
        let line = [
            "sources",
            "add",
            "cabinet-app",
            "--set",
            &library,
            "--set",
            &out,
        ];
        office
            .gateway
            .cli(line.into_iter().chain(more.iter().copied()))
    };
    let spelled = add(&["--set", &format!("token={TOKEN}")]);
    spelled.expect_status(64);
    assert!(!spelled.all().contains(TOKEN), "{spelled:?}");
    let added = add(&[]);
    assert_contains(
        added.expect_ok(),
        "it needs a secret: plexusctl sources secret cabinet token",
    );
    // What it cannot do without is not there yet, and the owner is told what to type.
    let agent = office.reader("one", "cabinet");
    let early = agent.invoke("cabinet.about", json!({}));
    early.expect_error(503, "source_unavailable");
    let sources = office.owner().get("/admin/api/sources").expect_ok();
    assert_contains(
        &sources.to_string(),
        "token is not set: plexusctl sources secret cabinet token",
    );
    let file = office.at("token");
    fs::write(&file, format!("{TOKEN}\n")).expect("a file");
    let file = file.display().to_string();
    let line = ["sources", "secret", "cabinet", "token", "--file", &file];
    office.gateway.cli(line).expect_ok();
    let said = about(&agent, "cabinet");
    assert_eq!(said["drawer"], "upper", "the manifest's default");
    assert_eq!(said["secrets"], json!({"token": digest(TOKEN)}));
    let unknown = ["sources", "secret", "cabinet", "tokem", "--file", &file];
    let unknown = office.gateway.cli(unknown);
    assert_contains(&unknown.all(), "it has cabinet.token, cabinet.spare");
    let list = office.gateway.cli(["sources", "profile", "cabinet"]);
    assert!(list.expect_ok().contains(&path("library")), "{list:?}");
}

#[test]
fn path_fields_bound_what_a_worker_reads_and_writes() {
    let office = Office::open();
    office.cabinet("cab", TOKEN);
    let agent = office.reader("one", "cab");
    office.owner().must_grant("one", "cab.put", "until-revoked");
    for own in ["library", "out"] {
        let read = look(&agent, &office.at(&format!("{own}/note.txt")));
        assert_eq!(read.expect_ok()["output"]["text"], own);
    }
    let secret = office.gateway.state().join("secrets/cab.token");
    // An archive that was not named is a neighbour like any other.
    for other in [
        office.at("neighbour/note.txt"),
        office.at("archive/note.txt"),
        secret,
    ] {
        is_sandboxed(&look(&agent, &other));
    }
    let put = |path: &str| {
        let path = office.at(path);
        agent.invoke("cab.put", json!({"path": path, "text": "written"}))
    };
    put("out/new.txt").expect_ok();
    assert_eq!(office.folder.read("out/new.txt"), "written");
    for held in ["library/note.txt", "library/new.txt", "neighbour/note.txt"] {
        is_sandboxed(&put(held));
    }
    assert_eq!(office.folder.read("library/note.txt"), "library");
    assert_eq!(office.folder.read("neighbour/note.txt"), "neighbour");
    assert!(!office.folder.has("library/new.txt"));
    office
        .post_with("cab", json!({"archive": office.at("archive")}))
        .expect_ok();
    let agent = office.reader("two", "cab");
    let read = look(&agent, &office.at("archive/note.txt"));
    assert_eq!(read.expect_ok()["output"]["text"], "archive");
}

/// What `plexusctl doctor` asks of the daemon's program, for a source without a root.
#[test]
fn doctor_proves_a_source_by_its_folders_and_secrets() {
    let office = Office::open();
    office.cabinet("cab", TOKEN);
    office.post(office.body("bare")).expect_ok();
    let sources = office.owner().get("/admin/api/sources").expect_ok();
    let mut command = programs::command(&binaries::path("plexusd-fixture"), office.gateway.home());
    command
        .arg("examine")
        .arg("--home")
        .arg(office.gateway.state());
    command.arg("--sources").arg(sources["sources"].to_string());
    let seen = programs::run(command).json();
    let cages = seen["cages"].as_array().expect("cages");
    let failed = |source: &str| {
        let cage = cages.iter().find(|cage| cage["source"] == source);
        let steps = cage.expect("the source")["steps"]
            .as_array()
            .expect("steps");
        let failed = steps.iter().find(|step| step["ok"] != true);
        failed.map_or(Value::Null, |step| step["why"].clone())
    };
    assert_eq!(failed("cab"), Value::Null, "{seen}");
    let why = failed("bare");
    assert_contains(&why.to_string(), "token is not set");
    assert!(!seen.to_string().contains(TOKEN), "{seen}");
}

#[test]
fn path_fields_are_judged_as_a_root_is() {
    let office = Office::open();
    let state = office.gateway.state();
    fs::create_dir(office.at("out/inner")).expect("a folder");
    std::os::unix::fs::symlink(office.at("out"), office.at("link")).expect("a link");
    #[rustfmt::skip]
    let rows = [
        ("is a path from the root of the disk", json!({"library": "library"})),
        ("is required", json!({"library": ""})),
        ("is required", json!({"outTray": null})),
        ("is a text", json!({"library": 7})),
        ("is not a folder", json!({"archive": office.at("library/note.txt")})),
        ("the gateway's own state", json!({"archive": state.join("run")})),
        ("the gateway's own state", json!({"library": state})),
        ("the gateway's own state", json!({"outTray": "/"})),
        ("is not a field of", json!({"shelf": "x"})),
        // What is read may not lie in what is written, however it is spelled, nor hold it.
        ("may not overlap", json!({"library": office.at("out/inner")})),
        ("may not overlap", json!({"archive": office.at("link")})),
        ("may not overlap", json!({"library": office.folder.path()})),
    ];
    for (why, route) in rows {
        let refused = office.post_with("cab", route.clone());
        assert_eq!(refused.status, 422, "{route}: {refused}");
        assert!(
            refused.text_at("/reason").contains(why),
            "{route}: {refused}"
        );
    }
    let programs = binaries::folder();
    let refused = office.post_with("cab", json!({"outTray": programs}));
    assert_contains(&refused.text(), "the gateway's own programs");
    // The control: two that are read may overlap.
    let inside = json!({"archive": office.at("library")});
    office.post_with("cab", inside).expect_ok();
}

#[test]
fn replaced_path_field_voids_grants_and_is_not_read() {
    let mut office = Office::open();
    office.cabinet("cab", TOKEN);
    let agent = office.reader("one", "cab");
    let note = office.at("library/note.txt");
    office.gateway.restart();
    let agent = office.gateway.back(&agent);
    look(&agent, &note).expect_ok();
    assert!(office.gateway.stop().success());
    fs::rename(office.at("library"), office.at("before")).expect("a rename");
    office.folder.write("library/note.txt", "somebody else's");
    office.gateway.start_again();
    let agent = office.gateway.back(&agent);
    let reply = look(&agent, &note);
    assert_eq!(reply.status, 401, "{reply}");
    assert_eq!(office.owner().grants(), Vec::<Value>::new());
}

#[test]
fn secret_in_a_route_is_refused_and_kept_nowhere() {
    let office = Office::open();
    let in_route = json!({"token": TOKEN});
    let refused = office.post_with("cab", in_route.clone());
    assert_eq!(refused.status, 422, "{refused}");
    let why = refused.text_at("/reason");
    assert!(why.contains("plexusctl sources secret cab token"), "{why}");
    office.post(office.body("cab")).expect_ok();
    let path = "/admin/api/sources/cab/reconfigure";
    let again = office.owner().post(path, json!({"route": in_route}));
    assert_eq!(again.status, 422, "{again}");
    // A kind or a field that does not exist, with the secret in it all the same.
    let mut misspelt = office.body("cab");
    misspelt["kind"] = json!("cabinet-ap");
    misspelt["route"]["token"] = json!(TOKEN);
    let misspelt = office.post(misspelt);
    let unknown = office.post_with("cab", json!({"tokem": TOKEN}));
    for reply in [&refused, &again, &misspelt, &unknown] {
        assert_eq!(reply.status, 422, "{reply}");
        assert!(!reply.text().contains(TOKEN), "{reply}");
    }
    assert_eq!(office.holding(TOKEN), Vec::<PathBuf>::new());
    // The control: what is configured is found, and the secret is found where it belongs.
    let ledger = office.gateway.state().join("ledger.redb");
    assert!(office.holding(DRAWER).contains(&ledger));
    let set = office.set("cab.token", TOKEN);
    set.expect_ok();
    let agent = office.reader("one", "cab");
    assert_eq!(about(&agent, "cab")["secrets"]["token"], digest(TOKEN));
    let own = office.gateway.state().join("secrets/cab.token");
    assert_eq!(office.holding(TOKEN), std::slice::from_ref(&own));
    let mode = own.metadata().expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let sources = office.owner().get("/admin/api/sources");
    let profile = office.owner().get("/admin/api/sources/cab/profile");
    for reply in [&set, &sources, &profile] {
        assert!(!reply.text().contains(TOKEN), "{reply}");
    }
    let log = office.gateway.cli(["audit", "export"]);
    assert!(log.expect_ok().contains("secret.set") && !log.all().contains(TOKEN));
    assert!(!office.gateway.stderr().contains(TOKEN));
}

#[test]
fn secrets_stay_with_their_source_and_field() {
    let office = Office::open();
    office.cabinet("cab", TOKEN);
    office.cabinet("cab-2", "another");
    let (one, two) = (office.reader("one", "cab"), office.reader("two", "cab-2"));
    assert_eq!(
        about(&one, "cab")["secrets"],
        json!({"token": digest(TOKEN)})
    );
    assert_eq!(
        about(&two, "cab-2")["secrets"],
        json!({"token": digest("another")})
    );
    // No source is pointed at what is another's.
    let mut pointed = office.body("cab-3");
    for (secret_ref, status) in [("cab.token", 422), ("mine", 422), ("../cab.token", 422)] {
        pointed["secretRef"] = json!(secret_ref);
        assert_eq!(office.post(pointed.clone()).status, status, "{secret_ref}");
    }
    // A further secret of a source that served without it is another target, for this source alone.
    office.set("cab.spare", "more").expect_ok();
    assert_eq!(one.invoke("cab.about", json!({})).status, 401);
    about(&two, "cab-2");
    let one = office.reader("one", "cab");
    let both = json!({"token": digest(TOKEN), "spare": digest("more")});
    assert_eq!(about(&one, "cab")["secrets"], both);
    // The same again changes nothing; another one does.
    office.set("cab.token", TOKEN).expect_ok();
    about(&one, "cab");
    office.set("cab.token", "changed").expect_ok();
    assert_eq!(one.invoke("cab.about", json!({})).status, 401);
    // Removed, it leaves nothing for the next of its name.
    office.owner().delete("/admin/api/sources/cab").expect_ok();
    let left = fs::read_dir(office.gateway.state().join("secrets")).expect("the folder");
    let left: Vec<_> = left
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(left, ["cab-2.token"]);
    office.post(office.body("cab")).expect_ok();
    let one = office.reader("one", "cab");
    one.must_fail("cab.about", json!({}), 503, "source_unavailable");
    about(&two, "cab-2");
    // As another kind under its id, it keeps none of them either.
    office.set("cab.token", TOKEN).expect_ok();
    let other = json!({"id": "cab", "kind": "fixture-dir", "label": "F", "route": {"path": office.at("out")}});
    office.post(other).expect_ok();
    assert_eq!(office.holding(TOKEN), Vec::<PathBuf>::new());
}

#[test]
fn secrets_have_a_bound_and_a_field() {
    let office = Office::open();
    office.cabinet("cab", TOKEN);
    let longest = "x".repeat(16 * 1024);
    office.set("cab.spare", &longest).expect_ok();
    let agent = office.reader("one", "cab");
    assert_eq!(about(&agent, "cab")["secrets"]["spare"], digest(&longest));
    let longer = format!("{longest}x");
    office
        .set("cab.spare", &longer)
        .expect_error(400, "internal_error");
    for name in ["cab.drawer", "cab.other", "cab."] {
        let refused = office.set(name, "s");
        refused.expect_error(400, "internal_error");
        assert!(refused.text().contains("cab.token, cab.spare"), "{refused}");
    }
    assert_eq!(
        about(&agent, "cab")["secrets"]["spare"],
        digest(&longest),
        "as it was"
    );
}

#[test]
fn person_is_asked_for_missing_fields_and_secrets() {
    let office = Office::open();
    let line = ["sources", "add", "cabinet-app"];
    let library = format!("library={}", office.at("library").display());
    let line = line.into_iter().chain(["--set", &library]);
    let command = office.gateway.on_terminal(line);
    // Left at the secret, by Ctrl-C, Ctrl-\\, Ctrl-Z or a signal from elsewhere: nothing is added, and the terminal shows again
    // what is typed.
    let keys = ["\u{3}", "\u{1c}", "\u{1a}"].map(Ok);
    let signals = [Signal::SIGTERM, Signal::SIGHUP].map(Err);
    for end in keys.into_iter().chain(signals) {
        let mut left = Terminal::start(&command, 120, 40);
        left.until_shows("Out tray (such as /srv/folder)");
        left.keys(&format!("{}\r", office.at("out").display()));
        left.until_shows("Token");
        match end {
            Ok(keys) => left.keys(keys),
            Err(signal) => left.signal(signal),
        }
        assert!(!left.end().success(), "{end:?}");
        assert!(left.is_cooked(), "{end:?}: {}", left.picture());
        assert_contains(&left.picture(), "nothing was changed");
    }
    let sources = office.gateway.cli(["sources", "list"]);
    assert!(!sources.expect_ok().contains("cabinet"), "{sources:?}");

    let mut terminal = Terminal::start(&command, 120, 40);
    terminal.until_shows("Out tray");
    terminal.keys(&format!("{}\r", office.at("out").display()));
    terminal.until_shows("Token");
    terminal.keys(&format!("{TOKEN}\r"));
    assert!(terminal.end().success(), "{}", terminal.picture());
    let picture = terminal.picture();
    assert_contains(&picture, "cabinet serves");
    assert_lacks(&picture, TOKEN);
    let agent = office.reader("one", "cabinet");
    assert_eq!(about(&agent, "cabinet")["secrets"]["token"], digest(TOKEN));
}
