//! Managed sources, asked as another gateway was asked when its answers were recorded: each request in its order, with the
//! status that it was given and the members of the answer that clients read. The shapes are `tests/wire/answers.json`'s.
//!
//! Where ours answers otherwise, on purpose:
//!
//! | | there | here | because |
//! |---|---|---|---|
//! | `registered` | four ids of a folder, six of Obsidian over REST | also `undo`, `active.read`, … | capabilities that came since |
//! | `revision` | its own count, up where a refused source was put in place first | up with each change of the catalogue | a refused source is checked before it is put in place |
//! | label of a vault by flag | with the path | with the folder's name | agents read it |
//! | `metadata.addedBy` | kept | not there | nobody reads it |
//! | `label` among the `fields` of a kind | a field | a member of the body alone | every kind has it |
//! | health of a disabled source | listed | left out | nothing of it serves |
//! | order of sources | as added | by id | one order over restarts |
//! | detection | of Obsidian's plugin by its port | also by its file, of vaults, and of apps | a closed Obsidian is found too |
//! | `suggested.secretRef` | a name of its own | `needsSecret` alone, as `<source>.<field>` | a secret belongs to one source |
//! | grants after a change of one source | none of anybody | those on other sources stay | only what points elsewhere is void |
//! | `demo-workspace` | makes two folders | 404 | an optional part of the wire; `cargo xtask demo` shows the same |

use plexus_tests::texts::assert_like;
use plexus_tests::{Agent, Folder, Gateway, not_run};
use serde_json::{Value, json};
use std::net::TcpListener;

struct Wire {
    gateway: Gateway,
    vault: Folder,
    notes: Folder,
    workspace: Folder,
}

/// Whether `there` holds all of `wanted`: members of objects, and of lists of texts each of them in order.
fn holds(there: &Value, wanted: &Value) -> bool {
    match (there, wanted) {
        (Value::Object(there), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, wanted)| there.get(key).is_some_and(|there| holds(there, wanted))),
        (Value::Array(there), Value::Array(wanted)) => {
            let mut rest = there.iter();
            wanted
                .iter()
                .all(|wanted| rest.any(|there| holds(there, wanted)))
        }
        _ => there == wanted,
    }
}

impl Wire {
    fn open() -> Self {
        let vault = plexus_tests::vault();
        Self {
            gateway: Gateway::builder().vault(&vault.path()).start(),
            vault,
            notes: Folder::empty(),
            workspace: Folder::empty(),
        }
    }

    #[track_caller]
    fn answers(&self, method: &str, path: &str, body: Value, status: u16, wanted: Value) -> Value {
        let request = self.gateway.owner().client.request(method, path);
        let request = match body {
            Value::Null => request,
            // What is no JSON at all.
            Value::String(text) => request
                .header("content-type", "application/json")
                .bytes(text),
            body => request.json(body),
        };
        let answer = request.send();
        answer.expect_status(status);
        let said = answer.json();
        assert!(
            holds(&said, &wanted),
            "{method} {path}: {said:#} holds not {wanted:#}"
        );
        said
    }

    fn folder(&self, id: &str) -> Value {
        json!({"id": id, "kind": "workspace-dir", "label": "Notes", "enabled": true, "transport": "ipc",
            "route": {"path": self.notes.path()}})
    }

    /// Adds what is added; the source of the answer is the one of the request.
    #[track_caller]
    fn adds(&self, body: Value, registered: &[&str]) {
        let mut source = body.clone();
        source["enabled"] = body.get("enabled").cloned().unwrap_or(json!(true));
        let wanted = json!({"ok": true, "source": source, "registered": registered});
        self.answers("POST", "/admin/api/sources", body, 200, wanted);
    }

    /// Does not add what cannot be: the answer repeats the source and says why.
    #[track_caller]
    fn refuses(&self, body: Value, field: Option<&str>) {
        let before = self.revision();
        let mut wanted = json!({"ok": false, "source": body, "registered": []});
        if let Some(field) = field {
            wanted["field"] = json!(field);
        }
        let said = self.answers("POST", "/admin/api/sources", body, 422, wanted);
        assert_ne!(said["reason"].as_str().unwrap_or_default(), "");
        assert_eq!(said["revision"], before, "nothing changed");
    }

    fn revision(&self) -> Value {
        self.answers("GET", "/admin/api/sources", json!(null), 200, json!({}))["revision"].clone()
    }

    fn act(&self, id: &str, act: &str, body: Value, status: u16, wanted: Value) -> Value {
        let path = format!("/admin/api/sources/{id}/{act}");
        self.answers("POST", &path, body, status, wanted)
    }
}

fn with(mut body: Value, changes: Value) -> Value {
    let (Some(body_members), Value::Object(changes)) = (body.as_object_mut(), changes) else {
        panic!("two objects")
    };
    for (key, value) in changes {
        match value {
            Value::Null => drop(body_members.remove(&key)),
            value => drop(body_members.insert(key, value)),
        }
    }
    body
}

const FOLDER: [&str; 4] = ["list", "read", "write", "how-to-use"];

#[test]
fn managed_sources_answer_as_they_were_recorded() {
    let mut wire = Wire::open();
    let ids = |source: &str| FOLDER.map(|name| format!("{source}.{name}"));
    let vault = json!({"id": "obsidian", "kind": "obsidian-fs", "enabled": true, "transport": "ipc",
        "route": {"vaultPath": wire.vault.path()}, "live": true, "liveCapabilityCount": 3});
    wire.answers(
        "GET",
        "/admin/api/sources",
        json!(null),
        200,
        json!({"sources": [vault]}),
    );
    let field = json!({"name": "apiKey", "type": "password", "required": true, "target": "secret"});
    let rest = json!({"kind": "obsidian-rest", "transport": "local-rest", "wireable": true, "fields": [field]});
    let folder = json!({"kind": "workspace-dir", "transport": "ipc", "wireable": true});
    for one in [&rest, &folder] {
        let wanted = json!({"connectors": [one]});
        wire.answers("GET", "/admin/api/connectors", json!(null), 200, wanted);
    }
    // On a machine where Obsidian runs, its port answers from the beginning.
    let detected = |held: Value| {
        let path = "/admin/api/sources/detect";
        wire.answers("GET", path, json!(null), 200, json!({"detected": held}))
    };
    if TcpListener::bind("127.0.0.1:27124").is_ok() {
        assert_eq!(detected(json!([]))["detected"], json!([]));
    } else {
        not_run::in_part(
            "managed_sources_answer_as_they_were_recorded",
            "the port of Obsidian is taken on this machine",
        );
    }
    let app = TcpListener::bind("127.0.0.1:27124");
    detected(
        json!([{"kind": "obsidian-rest", "alreadyConfigured": false, "reachable": true,
        "suggested": {"id": "obsidian-rest", "kind": "obsidian-rest", "transport": "local-rest",
            "route": {"baseUrl": "https://127.0.0.1:27124"}}}]),
    );
    drop(app);

    // What is added, also again, and also where the folder is not there.
    let notes = ids("notes");
    let notes = notes.each_ref().map(String::as_str);
    wire.adds(wire.folder("notes"), &notes);
    let before = wire.revision();
    let alone = json!({"ok": true});
    let alone = wire.answers(
        "POST",
        "/admin/api/sources",
        wire.folder("notes"),
        200,
        alone,
    );
    assert_eq!(alone.get("sharesFolderWith"), None, "{alone}");
    assert_eq!(wire.revision(), before, "the same is no change");
    let asks = with(wire.folder("vaultish"), json!({"approval": "ask"}));
    wire.adds(
        asks.clone(),
        &ids("vaultish").each_ref().map(String::as_str),
    );
    let twin = json!({"ok": true, "sharesFolderWith": ["notes"]});
    wire.answers("POST", "/admin/api/sources", asks, 200, twin);
    let second = json!({"id": "second-vault", "kind": "obsidian-fs", "label": "V2", "transport": "ipc",
        "route": {"vaultPath": wire.vault.path()}});
    wire.adds(
        second,
        &[
            "second-vault.vault.read",
            "second-vault.vault.search",
            "second-vault.vault.how-to-cite",
        ],
    );
    let rest = json!({"id": "obsidian-rest", "kind": "obsidian-rest", "label": "R", "enabled": true, "transport": "local-rest",
        "route": {"baseUrl": "https://127.0.0.1:27124"}, "secretRef": "obsidian-local-rest-api-key"});
    let of_rest =
        ["list", "read", "search", "write", "append"].map(|v| format!("obsidian-rest.vault.{v}"));
    wire.adds(rest, &of_rest.each_ref().map(String::as_str));
    let gone = json!({"route": {"path": wire.notes.path().join("nope")}});
    let gone = with(wire.folder("gone"), gone);
    wire.adds(gone, &ids("gone").each_ref().map(String::as_str));
    let off = with(wire.folder("off"), json!({"enabled": false}));
    wire.adds(off, &ids("off").each_ref().map(String::as_str));

    // What is not.
    let q = json!({"id": "q", "kind": "nope", "label": "Q", "enabled": true, "transport": "ipc"});
    wire.refuses(q, None);
    let changed = |changes: Value| with(wire.folder("q"), changes);
    wire.refuses(changed(json!({"route": {"path": "./x"}})), Some("path"));
    wire.refuses(changed(json!({"route": {}})), Some("path"));
    wire.refuses(changed(json!({"id": "codex"})), Some("id"));
    wire.refuses(changed(json!({"id": null})), Some("id"));
    wire.refuses(changed(json!({"approval": "sometimes"})), None);
    let unsafe_name = json!({"id": "sec", "kind": "obsidian-rest", "label": "R", "enabled": true, "transport": "local-rest",
        "secretRef": "../x"});
    wire.refuses(unsafe_name, None);
    let malformed = json!({"error": {"code": "internal_error"}});
    for body in [json!({"id": "q"}), json!("{nope")] {
        wire.answers("POST", "/admin/api/sources", body, 400, malformed.clone());
    }

    // Grants: a read stands from connect, unless its source asks for each call.
    let owner = wire.gateway.owner();
    let connect = |body: Value| owner.post("/admin/api/agents/connect", body).expect_ok();
    let said = connect(
        json!({"agentId": "agent-one", "capabilities": ["notes.read", "vaultish.read", "notes.write"]}),
    );
    let one = Agent::enroll(
        &wire.gateway.client(),
        said["code"].as_str().expect("a code"),
    );
    assert_eq!(one.token(&["notes.read"])["scopes"][0]["id"], "notes.read");
    let said = connect(
        json!({"agentId": "agent-two", "capabilities": ["vaultish.read"], "trustWindow": {"kind": "once"}}),
    );
    assert_like(&said, &json!({"granted": [], "skipped": ["vaultish.read"]}));
    let two = Agent::enroll(
        &wire.gateway.client(),
        said["code"].as_str().expect("a code"),
    );
    let asked = two.ask(json!({"vaultish.read": "allow"})).expect_ok();
    assert_eq!(asked["status"], "grant_pending_user");

    // What reconfiguring does to them.
    let standing = |agent: &Agent| {
        let all = agent.ledger().into_iter();
        all.map(|grant| grant["capabilityId"].as_str().expect("an id").to_owned())
            .filter(|id| id.starts_with("notes."))
            .collect::<Vec<_>>()
    };
    let renamed = json!({"ok": true, "source": {"id": "notes", "label": "Notes 2", "route": {"path": wire.notes.path()}}, "registered": notes});
    wire.act(
        "notes",
        "reconfigure",
        json!({"label": "Notes 2"}),
        200,
        renamed,
    );
    assert_eq!(standing(&one), ["notes.read"]);
    let route = json!({"path": wire.workspace.path()});
    let moved =
        json!({"ok": true, "source": {"label": "Notes 2", "route": route}, "registered": notes});
    wire.act("notes", "reconfigure", json!({"route": route}), 200, moved);
    assert_eq!(standing(&one), [""; 0]);
    let asks = json!({"ok": true, "source": {"approval": "ask", "label": "Notes 2"}});
    wire.act(
        "notes",
        "reconfigure",
        json!({"approval": "ask"}),
        200,
        asks,
    );
    let unknown = json!({"ok": false, "source": {"id": "nope", "kind": "", "label": "nope", "enabled": true, "transport": "ipc"}, "registered": []});
    wire.act(
        "nope",
        "reconfigure",
        json!({"label": "x"}),
        422,
        unknown.clone(),
    );
    wire.act("notes", "reconfigure", json!("{nope"), 400, malformed);

    // Disabled, enabled, removed; each also where there is nothing to do.
    let row = |live: bool| json!({"id": "notes", "enabled": live, "live": live, "approval": "ask"});
    for id in ["notes", "notes", "nope"] {
        wire.act(id, "disable", json!({}), 200, json!({"ok": true}));
    }
    let list = |row: Value| {
        wire.answers(
            "GET",
            "/admin/api/sources",
            json!(null),
            200,
            json!({"sources": [row]}),
        );
    };
    list(with(row(false), json!({"liveCapabilityCount": 0})));
    let on = json!({"ok": true, "source": {"id": "notes", "enabled": true}, "registered": notes});
    wire.act("notes", "enable", json!({}), 200, on);
    wire.act("nope", "enable", json!({}), 422, unknown);
    list(row(true));
    for _ in 0..2 {
        wire.answers(
            "DELETE",
            "/admin/api/sources/notes",
            json!(null),
            200,
            json!({"ok": true}),
        );
    }
    let health = json!({"sources": [{"id": "gone", "status": "unavailable"}]});
    wire.answers("GET", "/admin/api/health", json!(null), 200, health);
    let demo = json!({"path": wire.workspace.path()});
    wire.answers("POST", "/admin/api/demo-workspace", demo, 404, json!({}));

    // They are there after a restart, each as it was.
    let ids = |wire: &Wire| {
        let said = wire.answers("GET", "/admin/api/sources", json!(null), 200, json!({}));
        let rows = said["sources"].as_array().expect("a list").iter();
        let row = |row: &Value| {
            (
                row["id"].to_string(),
                row["enabled"] == true,
                row["live"] == true,
            )
        };
        rows.map(row).collect::<Vec<_>>()
    };
    let before = ids(&wire);
    assert_eq!(before.len(), 6, "{before:?}");
    wire.gateway.restart();
    assert_eq!(ids(&wire), before);
}

/// An addition of what is new alone replaces nothing; one without that word does.
#[test]
fn addition_of_only_new_replaces_nothing() {
    let (gateway, one, two) = (Gateway::start(), Folder::empty(), Folder::empty());
    let owner = gateway.owner();
    let add = |folder: &Folder, only_new: bool| {
        let body = json!({"id": "notes", "kind": "workspace-dir", "route": {"path": folder.path()}, "onlyNew": only_new});
        owner.post("/admin/api/sources", body)
    };
    let path = || {
        let listed = owner.get("/admin/api/sources").expect_ok();
        let rows = listed["sources"].as_array().expect("sources").clone();
        let row = rows.into_iter().find(|row| row["id"] == "notes");
        row.expect("it is there")["route"]["path"].clone()
    };
    add(&one, true).expect_ok();
    let refused = add(&two, true);
    let error = refused.expect_error(409, "precondition_changed");
    assert_eq!(error["detail"]["field"], "id", "{error}");
    assert_eq!(path(), json!(one.path()));
    add(&two, false).expect_ok();
    assert_eq!(path(), json!(two.path()), "the control");
}
