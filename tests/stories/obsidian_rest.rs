//! A vault behind the running app, from the owner who compares its certificate to the agent that writes a note: the real
//! commands, and a server with TLS that answers as the plugin's OpenAPI has it.

pub(crate) mod app;

use app::plugin::{KEY, Plugin, error};
use app::{fingerprint, tls};
use plexus_protocol::Digest;
use plexus_tests::texts::{assert_contains, assert_lacks};
use plexus_tests::{Agent, Folder, Gateway, Response, programs::Said};
use serde_json::{Value, json};

const READ: &str = "obsidian-rest.vault.read";
const WRITE: &str = "obsidian-rest.vault.write";
const APPEND: &str = "obsidian-rest.vault.append";
const UNDO: &str = "obsidian-rest.undo";

struct Desk {
    gateway: Gateway,
    app: Plugin,
    folder: Folder,
}

impl Desk {
    /// A gateway without sources, and an app with a few notes.
    fn open() -> Self {
        let app = Plugin::wrapped(tls(&["app.pem"], "app.key"));
        app.fill(&[
            ("Projects/Plexus.md", "# Plexus\nplan\n"),
            ("Private/diary.md", "plan\n"),
            ("Log.md", "- one"),
        ]);
        Self {
            gateway: Gateway::start(),
            app,
            folder: Folder::empty(),
        }
    }

    /// One whose app is the source `obsidian-rest`, with its certificate pinned.
    fn pinned() -> Self {
        let desk = Self::open();
        desk.add();
        desk.secret(KEY);
        let said = desk.pin(&fingerprint("app.pem"));
        assert_contains(said.expect_ok(), "obsidian-rest serves");
        desk
    }

    fn url(&self) -> String {
        format!("baseUrl=https://127.0.0.1:{}", self.app.port)
    }

    fn add(&self) {
        let url = self.url();
        let added = ["sources", "add", "obsidian-rest", "--set", &url];
        let added = self.gateway.cli(added);
        let needs = "it needs a secret: plexusctl sources secret obsidian-rest apiKey";
        assert!(added.expect_ok().contains(needs), "{added:?}");
    }

    /// Sets the API key; what the command says.
    fn secret(&self, key: &str) -> String {
        self.folder.write("key", format!("{key}\n"));
        let key = self.folder.path().join("key").display().to_string();
        let set = [
            "sources",
            "secret",
            "obsidian-rest",
            "apiKey",
            "--file",
            &key,
        ];
        self.gateway.cli(set).expect_ok().to_owned()
    }

    fn pin(&self, fingerprint: &str) -> Said {
        let field = format!("certificate={fingerprint}");
        self.gateway
            .cli(["sources", "set", "obsidian-rest", &field, "--yes"])
    }

    fn agent(&self, capabilities: &[&str]) -> Agent {
        self.gateway.agent_with("writer", capabilities)
    }

    /// What the owner is told of the source.
    fn health(&self) -> String {
        let health = self.gateway.owner().get("/admin/api/health");
        let health = health.expect_ok();
        let mut sources = health["sources"].as_array().expect("sources").iter();
        let source = sources.find(|source| source["id"] == "obsidian-rest");
        source.expect("the source").to_string()
    }
}

fn facts(plan: &Value) -> Value {
    let facts = plan["preview"]["facts"].as_array().expect("facts").iter();
    facts
        .map(|fact| {
            (
                fact["name"].as_str().expect("a name").to_owned(),
                fact["value"].clone(),
            )
        })
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// The words of a refusal, with 200 from a worker that served before, or 503 from one that is known not to.
#[track_caller]
fn unavailable(refused: &Response) -> Value {
    let error = refused.at("/error");
    assert_eq!(error["code"], "source_unavailable", "{refused}");
    assert_eq!(error["effect"], "none", "{refused}");
    error
}

#[test]
fn certificate_is_pinned_by_the_owner_before_anything_is_sent() {
    let desk = Desk::open();
    desk.add();
    let said = desk.secret(KEY);
    let met = fingerprint("app.pem");
    let pins = format!("plexusctl sources set obsidian-rest certificate={met}");
    assert_contains(&said, "does not serve: no certificate is pinned yet");
    assert!(said.contains(&pins), "{said}");
    assert_eq!(
        desk.app.asked(),
        [""; 0],
        "no request may come before the pin"
    );
    for (wrong, why) in [
        ("certificate=AB:CD", "no SHA-256 fingerprint"),
        ("baseUrl=http://127.0.0.1:27123", "not an https URL"),
        ("apiKey=hunter2", "is a secret"),
        ("other=x", "no field"),
    ] {
        let refused = desk.gateway.cli(["sources", "set", "obsidian-rest", wrong]);
        assert!(
            refused.status != 0 && refused.all().contains(why),
            "{wrong}: {refused:?}"
        );
        assert!(!refused.all().contains("hunter2"), "{refused:?}");
    }
    // Another app's fingerprint is no pin for this one.
    let said = desk.pin(&fingerprint("other.pem"));
    assert_contains(said.expect_ok(), "is not the pinned one");
    assert_eq!(desk.app.asked(), [""; 0]);
    // As other programs print it: in capitals, with colons.
    let pairs = met.to_uppercase().into_bytes();
    let pairs: Vec<_> = pairs
        .chunks(2)
        .map(|pair| str::from_utf8(pair).expect("digits"))
        .collect();
    let said = desk.pin(&pairs.join(":"));
    assert_contains(said.expect_ok(), "obsidian-rest serves");
    let agent = desk.agent(&[READ]);
    let input = json!({"path": "Projects/Plexus.md"});
    let reply = agent.must(READ, input);
    assert_eq!(reply["output"]["content"], "# Plexus\nplan\n");
    agent.must_ask("obsidian-rest.vault.list", json!({}));
}

#[test]
fn changed_certificate_is_refused_until_it_is_pinned_anew() {
    let desk = Desk::pinned();
    let agent = desk.agent(&[READ]);
    let input = json!({"path": "Log.md"});
    agent.must(READ, input.clone());
    let asked = desk.app.asked().len();
    for (what, chain, key) in [
        ("another certificate", &["other.pem"][..], "other.key"),
        (
            "another one for the same key",
            &["app-again.pem"],
            "app.key",
        ),
        (
            "one with an authority behind it",
            &["server.pem", "ca.pem"],
            "server.key",
        ),
    ] {
        desk.app.set_wrap(tls(chain, key));
        let refused = agent.invoke(READ, input.clone());
        let refused = unavailable(&refused);
        assert!(
            refused["message"].to_string().contains("certificate"),
            "{what}: {refused}"
        );
        let health = desk.health();
        for fingerprint in [fingerprint(chain[0]), fingerprint("app.pem")] {
            assert!(health.contains(&fingerprint), "{what}: {health}");
        }
        assert_contains(&health, "plexusctl sources set obsidian-rest");
    }
    assert_eq!(desk.app.asked().len(), asked, "nothing may have been sent");
    // The owner made a new one: what was granted is suspended, with both fingerprints on a card.
    desk.app.set_wrap(tls(&["other.pem"], "other.key"));
    let said = desk.pin(&fingerprint("other.pem"));
    assert_contains(said.expect_ok(), "obsidian-rest serves");
    let owner = desk.gateway.owner();
    agent.must_ask(READ, input.clone());
    let mut cards = owner.pending();
    cards.retain(|item| item["kind"] == "change");
    assert_eq!(cards.len(), 1, "{cards:#?}");
    let words = cards[0]["changes"].to_string();
    for fingerprint in ["app.pem", "other.pem"].map(fingerprint) {
        assert!(words.contains(&fingerprint), "{words}");
    }
    let resumed = desk.gateway.cli(["sources", "resume", "obsidian-rest"]);
    resumed.expect_ok();
    let reply = agent.must(READ, input.clone());
    assert_eq!(reply["output"]["content"], "- one");
    // The same value once more changes nothing.
    let said = desk.pin(&fingerprint("other.pem"));
    assert!(said.expect_ok().contains("serves"), "{said:?}");
    agent.must(READ, input);
}

#[test]
fn write_is_shown_as_a_difference_approved_and_taken_back() {
    let desk = Desk::pinned();
    let agent = desk.agent(&[READ]);
    let path = "Projects/Plexus.md";
    let input = json!({"path": path, "content": "# Plexus\na better \u{202e}plan\n"});
    let item = agent.must_ask(WRITE, input.clone());
    let plan = desk.gateway.owner().plan(&item);
    let diff = plan["preview"]["diff"].as_str().expect("a difference");
    assert_contains(diff, " # Plexus\n-plan\n+a better \\u{202e}plan\n");
    let facts = facts(&plan);
    let before = Digest::of(b"# Plexus\nplan\n").to_string();
    assert_eq!(
        (&facts["path"], &facts["before"]),
        (&json!(path), &json!(before))
    );
    let shown = desk.gateway.cli(["approvals", "show", &item]);
    let shown = shown.expect_ok();
    assert_contains(shown, "better");
    assert_lacks(shown, "\u{202e}");
    assert_eq!(desk.app.text(path).as_deref(), Some("# Plexus\nplan\n"));
    desk.gateway.owner().approve(&item, "once");
    let done = agent.must(WRITE, input.clone());
    assert_eq!(desk.app.text(path).as_deref(), input["content"].as_str());
    // Once is once.
    agent.must_ask(WRITE, input);
    // The owner takes it back.
    let owner = desk.gateway.owner();
    let undo = format!(
        "/admin/api/undo/{}",
        done["auditId"].as_str().expect("an id")
    );
    let plan = owner.get(&undo).expect_ok();
    let token = json!({"stateToken": plan["stateToken"]});
    owner.post(&undo, token).expect_ok();
    assert_eq!(desk.app.text(path).as_deref(), Some("# Plexus\nplan\n"));
    // An agent takes its own back, under a card: the note that it made goes.
    let input = json!({"path": "Inbox/new & odd #1.md", "content": "new"});
    let done = agent.must_approved(&owner, WRITE, input);
    assert_eq!(
        desk.app.text("Inbox/new & odd #1.md").as_deref(),
        Some("new")
    );
    let input = json!({"id": done["undo"]});
    let undone = agent.must_approved(&owner, UNDO, input);
    assert_eq!(undone["output"]["removed"], true);
    assert_eq!(desk.app.text("Inbox/new & odd #1.md"), None);
}

/// The app answered nothing more once the change was there; the owner says that it happened, and takes it back.
#[test]
fn write_that_the_owner_settled_is_taken_back() {
    let desk = Desk::pinned();
    let agent = desk.agent(&[READ]);
    let input = json!({"path": "Log.md", "content": "two"});
    let item = agent.must_ask(WRITE, input.clone());
    desk.gateway.owner().approve(&item, "once");
    let app = desk.app.clone();
    desk.app.set_script(move |_, _| {
        let asked = app.asked();
        let has_arrived = asked.iter().any(|request| request.starts_with("PUT"));
        has_arrived.then(|| error(50310, "busy"))
    });
    let lost = agent.invoke(WRITE, input);
    assert_eq!(lost.at("/error/effect"), "unknown", "{lost}");
    let event = lost.text_at("/auditId");
    // Among the calls about the note is the one that may have changed it.
    let told = desk.gateway.cli(["activity", "--touched", "Log.md"]);
    assert_contains(told.expect_ok(), "NOT KNOWN whether it happened");
    desk.app.set_script(|_, _| None);
    desk.app.put("Log.md", "two");
    let settled = desk
        .gateway
        .cli(["unknown", "settle", event.as_str(), "--happened"]);
    let undo = format!("to take it back: plexusctl undo {event}");
    assert_contains(settled.expect_ok(), &undo);
    desk.gateway.must_cli(["undo", event.as_str(), "--yes"]);
    assert_eq!(desk.app.text("Log.md").as_deref(), Some("- one"));
}

#[test]
fn note_edited_after_the_card_is_left_alone() {
    let desk = Desk::pinned();
    let agent = desk.agent(&[READ]);
    let input = json!({"path": "Log.md", "content": "- two"});
    let item = agent.must_ask(APPEND, input.clone());
    desk.gateway.owner().approve(&item, "once");
    desk.app.put("Log.md", "- one and a half");
    let refused = agent.invoke(APPEND, input.clone());
    let refused = refused.expect_error(200, "precondition_changed");
    assert_eq!(refused["effect"], "none", "{refused}");
    assert_eq!(desk.app.text("Log.md").as_deref(), Some("- one and a half"));
    // The control: seen as it is now, it is done.
    agent.must_approved(&desk.gateway.owner(), APPEND, input);
    assert_eq!(
        desk.app.text("Log.md").as_deref(),
        Some("- one and a half\n- two")
    );
}

#[test]
fn constraint_and_hide_narrow_what_the_app_shows() {
    let desk = Desk::pinned();
    let agent = desk.gateway.agent("narrow");
    let search = "obsidian-rest.vault.search";
    for capability in [READ, search] {
        let granted = format!("grants allow narrow {capability} --window 1h --under path=Projects");
        let granted = desk.gateway.cli(granted.split(' '));
        assert_eq!(granted.status, 0, "{granted:?}");
    }
    let found = agent.must(search, json!({"query": "plan"}));
    let hits = found["output"]["hits"].as_array().expect("hits");
    assert_eq!(hits.len(), 1, "{found}");
    assert_eq!(hits[0]["relativePath"], "Projects/Plexus.md");
    let refused = agent.invoke(READ, json!({"path": "Private/diary.md"}));
    refused.expect_error(401, "approval_required");
    agent.must(READ, json!({"path": "Projects/Plexus.md"}));
    // For everybody a hidden folder does not exist.
    let wide = desk.agent(&[READ, search]);
    wide.must(READ, json!({"path": "Private/diary.md"}));
    let hidden = ["sources", "hide", "obsidian-rest", "--folder", "Private"];
    let hidden = desk.gateway.cli(hidden);
    assert_eq!(hidden.status, 0, "{hidden:?}");
    let gone = wide.invoke(READ, json!({"path": "Private/diary.md"}));
    let gone = gone.expect_error(200, "transport_error");
    assert_eq!(gone["detail"]["reason"], "not_found", "{gone}");
    let found = wide.must(search, json!({"query": "plan"}));
    assert!(!found.to_string().contains("Private"), "{found}");
}

#[test]
fn app_that_does_not_serve_says_what_to_do() {
    let desk = Desk::pinned();
    let agent = desk.agent(&[READ]);
    let input = json!({"path": "Log.md"});
    let read = || agent.invoke(READ, input.clone());
    read().expect_ok();
    // The key was made anew in the app.
    desk.app.set_key("another");
    let refused = unavailable(&read());
    assert_contains(&refused["message"].to_string(), "API key");
    let health = desk.health();
    assert_contains(&health, "plexusctl sources secret obsidian-rest apiKey");
    let said = desk.secret("another");
    assert!(said.contains("obsidian-rest serves"), "{said}");
    desk.agent(&[READ]).must(READ, input.clone());
    // The app breaks off.
    desk.app.set_wrap(|_| None);
    desk.gateway
        .agent_with("late", &[READ])
        .invoke(READ, input.clone());
    let health = desk.health();
    assert!(health.contains("unavailable"), "{health}");
    // Nothing listens: the source is there, and says what to do.
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address").port()
    };
    let field = format!("baseUrl=https://127.0.0.1:{closed}");
    let said = desk
        .gateway
        .cli(["sources", "set", "obsidian-rest", &field, "--yes"]);
    let words = "does not serve: Obsidian does not answer: start it";
    assert!(said.expect_ok().contains(words), "{said:?}");
    // Started again, it serves without another act.
    let field = desk.url();
    let back = desk
        .gateway
        .cli(["sources", "set", "obsidian-rest", &field, "--yes"]);
    assert_eq!(back.status, 0, "{back:?}");
    desk.app.set_wrap(tls(&["app.pem"], "app.key"));
    let agent = desk.agent(&[READ]);
    agent.must(READ, input);
    assert!(desk.health().contains("\"ok\""), "{}", desk.health());
}
