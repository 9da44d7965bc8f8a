//! A home outlives the build that made it: what an earlier one wrote is read, what the owner granted goes on.

use crate::house::{COUNT, FIXTURE_READS, Workshop, report};
use plexus_tests::texts::assert_contains;
use plexus_tests::{Agent, Builder, Folder, Gateway, Terminal, earlier, editions};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use tempfile::TempDir;

/// The PAT that `claude-code` holds in the earlier home.
const PAT: &str = "plx_agent_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A home of format 1, killed in the middle of a day: two agents, one of them ended; reads until revoked, writes below
/// `Projects`, one of five used; one call denied; a setting, a hidden capability.
fn lay(home: &Path, folder: &Folder) {
    lay_text(home, folder, HOME);
}

const HOME: &str = include_str!("../homes/format-1.txt");

fn lay_text(home: &Path, folder: &Folder, text: &str) {
    let hex = Sha256::digest(PAT)
        .iter()
        .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    let root = folder.path().canonicalize().expect("the folder");
    let inode = root.metadata().expect("the folder").ino().to_string();
    earlier::lay(
        &home.join("state"),
        text,
        &[
            ("@ROOT@", &root.to_string_lossy()),
            ("@INODE@", &inode),
            ("@PAT@", &hex),
        ],
    );
}

fn folder() -> Folder {
    let folder = Folder::empty();
    folder.write("report.txt", "the report");
    folder.write("Projects/a.txt", "a");
    folder
}

#[test]
fn a_home_of_the_format_before_goes_on_as_it_was() {
    let (home, folder) = (
        TempDir::with_prefix("plx").expect("a temporary folder"),
        folder(),
    );
    lay(home.path(), &folder);
    let mut gateway = Gateway::builder().start_in(home);
    for launch in 0..2 {
        let owner = gateway.owner();
        let mut grants = owner.grants();
        grants.retain(|grant| grant["suspended"].is_null());
        assert_eq!(grants.len(), 3, "{grants:#?}");
        let config = owner.get("/v1/config").expect_ok();
        assert_eq!(config["tokenLifetimeMs"], 600_000, "{config}");

        let agent = Agent::with_pat(&gateway.client(), "claude-code", PAT);
        let sees = agent.sees();
        assert!(!sees.contains(&"workspace.delete".to_owned()), "{sees:?}");
        agent.must("workspace.read", report());
        let new = json!({"path": format!("Projects/{launch}.txt"), "content": "new"});
        agent.must("workspace.write", new);
        // The narrowing came over as well.
        let beyond = json!({"path": format!("{launch}.txt"), "content": "new"});
        agent.must_fail("workspace.write", beyond, 401, "approval_required");
        gateway.cli(["audit", "verify"]).expect_status(0);
        gateway.restart();
    }
    // The way back is there.
    let copy = gateway.state().join("ledger.redb.format-1");
    assert_eq!(copy.metadata().expect("a copy").mode() & 0o777, 0o600);
}

/// Its source says that it is first-party. The owner has configured it, so it is managed, once, and nothing else of it is
/// another.
#[test]
fn sources_of_an_earlier_home_are_managed_and_keep_their_grants() {
    let (home, folder) = (
        TempDir::with_prefix("plx").expect("a temporary folder"),
        folder(),
    );
    let usual = r#""readWindow":{"kind":"7d","ms":604800000}"#;
    let chosen = r#""readWindow":{"kind":"1h","ms":3600000}"#;
    lay_text(home.path(), &folder, &HOME.replace(usual, chosen));
    let mut gateway = Gateway::builder().start_in(home);
    let windows = |gateway: &Gateway| {
        let config = gateway.owner().get("/v1/config").expect_ok();
        config["defaultTrustWindows"].clone()
    };
    let standing = |gateway: &Gateway| {
        let mut grants = gateway.owner().grants();
        grants.retain(|grant| grant["suspended"].is_null());
        assert!(
            grants.iter().all(|grant| grant["provenance"] == "managed"),
            "{grants:#?}"
        );
        grants.len()
    };
    assert_eq!(windows(&gateway)["managed:read"], "1h");
    assert_eq!(windows(&gateway)["managed:write"], "1d", "the control");
    assert_eq!(standing(&gateway), 3);
    let agent = Agent::with_pat(&gateway.client(), "claude-code", PAT);
    assert_eq!(agent.entry("workspace.read")["provenance"], "managed");
    // A later word of the owner's on it stands, and a change of the source is no other source.
    let word = json!({"defaultTrustWindows": {"managed:read": "1d"}});
    gateway.owner().put("/v1/config", word).expect_ok();
    gateway.must_cli(["sources", "set", "workspace", "--label", "Papers", "--yes"]);
    gateway.restart();
    assert_eq!(windows(&gateway)["managed:read"], "1d");
    assert_eq!(standing(&gateway), 3);
    gateway.cli(["audit", "verify"]).expect_status(0);
}

/// An earlier home that was edited is refused like any other, and the words name the row.
#[test]
fn an_edited_row_of_an_earlier_home_is_found() {
    let home = TempDir::with_prefix("plx").expect("a temporary folder");
    lay(home.path(), &folder());
    let file = home.path().join("state/ledger.redb");
    let rows = redb::TableDefinition::<&str, &[u8]>::new("rows");
    let key = "grant/claude-code/workspace.write";
    let edit = |change: &dyn Fn(&mut Value)| {
        let file = redb::Database::open(&file).expect("the ledger");
        let tx = file.begin_write().expect("a transaction");
        let mut table = tx.open_table(rows).expect("rows");
        let mut row: Value = {
            use redb::ReadableTable as _;
            let held = table.get(key).expect("readable").expect("there");
            serde_json::from_slice(held.value()).expect("JSON")
        };
        change(&mut row);
        let row = serde_json::to_vec(&row).expect("JSON");
        table.insert(key, row.as_slice()).expect("written");
        drop(table);
        tx.commit().expect("committed");
    };
    edit(&|row| row["constraint"]["maxCalls"] = json!(500));
    let said = Gateway::builder().refused(home.path());
    said.expect_status(78);
    for words in [
        key,
        "another value",
        "does not hold together",
        "plexusd verify",
    ] {
        assert!(said.stderr.contains(words), "{words:?} is not in {said}");
    }
    assert!(!home.path().join("state/ledger.redb.format-1").exists());
    edit(&|row| row["constraint"]["maxCalls"] = json!(5));
    assert_eq!(Gateway::builder().start_in(home).owner().grants().len(), 3);
}

/// Twenty-five agents with eight reads each.
const AGENTS: usize = 25;
const ALL: usize = AGENTS * 8;

/// A home with two hundred grants on the first edition of a connector, and one agent of them.
fn village() -> (Workshop, Agent) {
    let workshop = Workshop::open();
    let owner = workshop.owner();
    for n in 1..AGENTS {
        owner.connect(&format!("agent-{n}"), FIXTURE_READS);
    }
    let agent = workshop.reader("agent-0");
    assert_eq!(live(&workshop).len(), ALL);
    (workshop, agent)
}

fn live(workshop: &Workshop) -> Vec<Value> {
    let mut grants = workshop.owner().grants();
    grants.retain(|grant| grant["suspended"].is_null());
    grants
}

/// Starts the next release of the connector on the same home.
fn release(workshop: &mut Workshop, programs: &TempDir, edition: &str) {
    let workers = editions::workers(programs.path(), edition);
    assert!(workshop.gateway.stop().success(), "a clean stop");
    let next: Builder = Gateway::builder()
        .fixture()
        .env(editions::VARIABLE, edition)
        .arg("--workers")
        .arg(&workers.to_string_lossy());
    workshop.gateway.start_again_as(next);
}

fn echo(workshop: &Workshop, agent: &Agent, input: Value) -> plexus_tests::Response {
    workshop.back(agent).invoke("fixture.echo", input)
}

/// Longer than a command pauses before it asks again.
const AWAY: std::time::Duration = std::time::Duration::from_secs(4);

/// An agent's command that waits for the owner goes on waiting while the gateway is away.
#[test]
fn command_that_waits_outlasts_a_restart() {
    let mut workshop = Workshop::open();
    let connected = workshop.owner().connect("coder", &[]);
    let code = connected["code"].as_str().expect("a code");
    let enrolled = workshop.gateway.plexus("coder", ["enroll", code]);
    enrolled.expect_ok();
    let call = workshop
        .gateway
        .plexus_command("coder", [COUNT, "line=one"]);
    let mut waits = Terminal::start(&call, 120, 24);
    waits.until_shows("waiting for the owner");
    assert!(workshop.gateway.stop().success(), "a clean stop");
    std::thread::sleep(AWAY);
    workshop.gateway.start_again();
    let owner = workshop.owner();
    owner.approve(
        owner.pending()[0]["pendingId"].as_str().expect("an id"),
        "once",
    );
    assert!(waits.end().success(), "{}", waits.picture());
    assert_eq!(workshop.effects(), ["one"]);
}

fn programs() -> TempDir {
    TempDir::with_prefix("plx").expect("a temporary folder")
}

#[test]
fn a_release_that_changed_only_words_keeps_two_hundred_grants() {
    let ((mut workshop, agent), programs) = (village(), programs());
    release(&mut workshop, &programs, "wording");
    assert_eq!(live(&workshop).len(), ALL);
    assert_eq!(workshop.owner().pending(), Vec::<Value>::new());
    let entry = workshop.back(&agent).entry("fixture.echo");
    assert_contains(&entry["label"].to_string(), "new words");
    echo(&workshop, &agent, json!({"text": "a"})).expect_ok();
}

/// What changed is suspended, all else goes on, and one card shows why; one act decides it.
#[test]
fn a_release_that_changed_something_has_one_card_and_one_act_decides_it() {
    for (edition, rest, words) in [
        ("wider", AGENTS, "it also takes `times`"),
        ("narrower", AGENTS, "`n`: maximum is 1000, it was"),
        ("riskier", AGENTS, "its harm is rated elevated, it was low"),
        (
            "reaching",
            ALL,
            "its worker may now read: (just \"/etc/hostname\")",
        ),
    ] {
        let ((mut workshop, agent), programs) = (village(), programs());
        release(&mut workshop, &programs, edition);
        let owner = workshop.owner();
        assert_eq!(live(&workshop).len(), ALL - rest, "{edition}");
        echo(&workshop, &agent, json!({"text": "a"})).expect_error(401, "approval_required");
        let mut waiting = owner.pending();
        waiting.retain(|item| item["kind"] == "change");
        let [card] = waiting.as_slice() else {
            panic!("{edition}: {waiting:#?}")
        };
        assert_eq!(card["agents"].as_array().map(Vec::len), Some(AGENTS));
        let said = card["changes"].to_string();
        let quoted = serde_json::to_string(words).expect("JSON");
        assert!(
            said.contains(quoted.trim_matches('"')),
            "{edition}: {card:#}"
        );
        let id = card["pendingId"].as_str().expect("an id").to_owned();
        let shown = workshop.gateway.cli(["approvals", "show", &id]);
        shown.expect_status(0);
        assert!(shown.stdout.contains(words), "{shown}");
        let listed = workshop.gateway.cli(["approvals", "list"]);
        assert!(listed.stdout.contains(&id), "{listed}");
        let status = workshop.gateway.cli(["status"]);
        assert_contains(
            &status.stdout,
            &format!("grants of it that are suspended until you decide: {rest}:"),
        );

        // A yes names what was seen, and the card outlives a restart.
        owner
            .decide(&id, json!({"action": "approve"}))
            .expect_error(409, "card_changed");
        assert_eq!(live(&workshop).len(), ALL - rest);
        workshop.gateway.restart();
        workshop
            .gateway
            .cli(["approvals", "approve", &id, "--yes"])
            .expect_status(0);
        assert_eq!(live(&workshop).len(), ALL, "{edition}");
        let mut waiting = workshop.owner().pending();
        waiting.retain(|item| item["kind"] == "change");
        assert!(waiting.is_empty(), "{waiting:#?}");
        if edition != "riskier" {
            echo(&workshop, &agent, json!({"text": "b"})).expect_ok();
        }
        workshop
            .owner()
            .decide(&id, json!({"action": "deny"}))
            .expect_error(404, "unknown_capability");
    }
}

#[test]
fn a_no_ends_what_rested_and_nothing_else() {
    let ((mut workshop, agent), programs) = (village(), programs());
    release(&mut workshop, &programs, "wider");
    let mut waiting = workshop.owner().pending();
    waiting.retain(|item| item["kind"] == "change");
    let id = waiting[0]["pendingId"].as_str().expect("an id").to_owned();
    workshop
        .gateway
        .cli(["approvals", "deny", &id])
        .expect_status(0);
    assert_eq!(workshop.owner().grants().len(), ALL - AGENTS);
    assert!(workshop.owner().pending().is_empty());
    echo(&workshop, &agent, json!({"text": "a"})).expect_error(401, "approval_required");
    workshop.back(&agent).must("fixture.slow", json!({"ms": 1}));
}

/// The full-screen watch shows the card, says yes without terms and no without a reason that nobody would read.
#[test]
fn the_terminal_decides_on_a_source_that_changed() {
    let (mut workshop, programs) = (Workshop::open(), programs());
    let agent = workshop.reader("agent-0");
    let all = workshop.owner().grants().len();
    for (edition, rest, words) in [
        ("wider", 1, "it also takes `times`"),
        ("reaching", all, "its worker may now read"),
    ] {
        release(&mut workshop, &programs, edition);
        assert_eq!(live(&workshop).len(), all - rest, "{edition}");
        let watch = workshop.gateway.on_terminal(["approvals", "watch"]);
        let mut terminal = Terminal::start(&watch, 120, 40);
        let picture = terminal.until_shows(words);
        for said in [
            "1 waits",
            "fixture has suspended grants",
            "source: fixture",
            "agents: agent-0",
            "if you approve: ",
            "if you deny: ",
        ] {
            assert!(picture.contains(said), "{said}\n{picture}");
        }
        let (key, panel, done) = match edition {
            "wider" => ("a", "(•) its grant on fixture is resumed", "approved pend_"),
            _ => ("d", "── deny ", "denied pend_"),
        };
        terminal.keys(key);
        let picture = terminal.until_shows(panel);
        for beyond in ["how many calls", "the agent reads it", "once:"] {
            assert!(!picture.contains(beyond), "{beyond}\n{picture}");
        }
        assert_eq!(live(&workshop).len(), all - rest, "no key alone decides");
        // What was typed before the card could be read is told to be typed again.
        plexus_tests::waiting::until_true(done, || {
            terminal.keys("\r");
            terminal.picture().contains(done)
        });
        terminal.until_shows("nothing waits");
        terminal.keys("q");
        assert!(terminal.end().success());
        if edition == "wider" {
            assert_eq!(live(&workshop).len(), all);
            echo(&workshop, &agent, json!({"text": "a"})).expect_ok();
        }
    }
    assert_eq!(workshop.owner().grants(), Vec::<Value>::new());
    echo(&workshop, &agent, json!({"text": "a"})).expect_error(401, "approval_required");
}
