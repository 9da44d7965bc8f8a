//! The story of the README, from connect to a tampered log, on real processes.

use crate::house::{House, WRITE, note};
use plexus_tests::narration::tell;
use serde_json::json;

#[test]
fn the_demo() {
    let mut house = House::open();
    let owner = house.owner();

    tell("The owner connects an agent and lets it read notes.");
    let said = house.gateway.cli([
        "connect",
        "my-cc",
        "--type",
        "claude-code",
        "--allow",
        "obsidian.vault.read",
    ]);
    said.expect_status(0);
    let text = said.all();
    let start = text.find("plx_enroll_").expect("connect prints a code");
    let code = plexus_tests::programs::id_at(&text[start..]);

    tell("The agent redeems the code, once.");
    house.gateway.plexus("my-cc", ["enroll", code]).expect_ok();
    let again = house.gateway.plexus("my-cc", ["enroll", code]);
    again.expect_status(1);
    let pat = house
        .gateway
        .state_file("agents/my-cc.pat")
        .trim()
        .to_owned();
    assert!(pat.starts_with("plx_agent_"));

    tell("It lists what it may do, and reads a note.");
    let list = house.gateway.plexus("my-cc", ["list"]);
    assert!(list.expect_ok().contains("obsidian.vault.read"), "{list}");
    let read = house
        .gateway
        .plexus("my-cc", ["obsidian.vault.read", "path=Projects/Plexus.md"]);
    assert!(read.expect_ok().contains("A gateway. See"), "{read}");

    tell("It asks to write. Nothing is written; the owner sees a card with the difference.");
    let agent = plexus_tests::Agent::with_pat(&house.gateway.client(), "my-cc", &pat);
    let report = note("report.txt", "first line\nsecond line\n");
    let item = agent.must_ask(WRITE, report.clone());
    assert_eq!(house.workspace.read("report.txt"), "first line\n");
    let card = owner.card(&item);
    assert_eq!(card["agentId"], "my-cc");
    assert_eq!(card["capabilities"], json!([WRITE]));
    let plan = owner.plan(&item).to_string();
    assert!(
        plan.contains("second line") && plan.contains("report.txt"),
        "{card:#}"
    );

    tell("The owner approves once. The agent writes, once.");
    owner.approve(&item, "once");
    agent.must(WRITE, report.clone());
    assert_eq!(
        house.workspace.read("report.txt"),
        "first line\nsecond line\n"
    );

    tell("The same again: it has to ask again.");
    house.workspace.write("report.txt", "first line\n");
    let again = agent.must_ask(WRITE, report.clone());
    assert_ne!(again, item);
    assert_eq!(house.workspace.read("report.txt"), "first line\n");

    tell("Another text: another card.");
    let other = agent.must_ask(WRITE, note("report.txt", "something else\n"));
    assert_ne!(other, again);
    let other_card = owner.card(&other);
    assert_ne!(other_card["cardDigest"], owner.card(&again)["cardDigest"]);
    assert!(owner.plan(&other).to_string().contains("something else"));

    tell("The file changes between the approval and the write: nothing is done.");
    owner.approve(&again, "once");
    house.workspace.write("report.txt", "the owner was here\n");
    let moved = agent.invoke(WRITE, report);
    let error = moved.expect_error(200, "precondition_changed");
    assert_eq!(error["effect"], "none");
    assert_eq!(house.workspace.read("report.txt"), "the owner was here\n");

    tell("The owner denies with a reason. The agent is told, and the owner is not asked twice.");
    owner.deny(&other, "not in this file");
    let denied = agent.invoke(WRITE, note("report.txt", "something else\n"));
    let error = denied.expect_error(403, "denied_by_owner");
    assert!(
        error["message"]
            .as_str()
            .is_some_and(|text| text.contains("not in this file")),
        "{denied}"
    );
    assert!(
        owner
            .pending()
            .iter()
            .all(|card| card["pendingId"] != other)
    );

    tell("The owner takes the reading back. It is refused from that moment.");
    let token = agent.token(&["obsidian.vault.read"]);
    let note_path = json!({"path": "Ideas.md"});
    agent
        .invoke_with(&token, "obsidian.vault.read", note_path.clone())
        .expect_ok();
    owner.revoke("my-cc", "obsidian.vault.read");
    agent
        .invoke_with(&token, "obsidian.vault.read", note_path.clone())
        .expect_error(401, "token_revoked");
    agent
        .invoke("obsidian.vault.read", note_path)
        .expect_error(401, "approval_required");

    tell("The log is whole.");
    house.gateway.cli(["audit", "verify"]).expect_ok();
    let export = house.gateway.cli(["audit", "export"]);
    let lines: Vec<&str> = export.expect_ok().lines().collect();

    tell("Somebody edits a copy of it. Verifying names the event.");
    let victim = lines
        .iter()
        .position(|line| line.contains(r#""phase":"intent""#))
        .expect("an intent was recorded");
    let event: serde_json::Value =
        serde_json::from_str(lines[victim].split_once(' ').expect("a hash, then JSON").1)
            .expect("JSON");
    let mut edited: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    edited[victim] = edited[victim].replace("my-cc", "my-xx");
    assert_ne!(edited[victim], lines[victim]);
    let copy = house.gateway.home().join("copy.log");
    std::fs::write(&copy, edited.join("\n") + "\n").expect("a copy");
    let verdict = verify(&house, &copy);
    verdict.expect_status(1);
    assert!(
        verdict.all().contains(event["id"].as_str().expect("an id")),
        "{verdict}"
    );
    assert!(
        verdict.all().contains(&event["seq"].to_string()),
        "{verdict}"
    );

    std::fs::write(&copy, lines.join("\n") + "\n").expect("a copy");
    assert_eq!(
        verify(&house, &copy).status,
        0,
        "the untouched export verifies"
    );

    tell("The same with the ledger itself, byte for byte.");
    assert!(house.gateway.stop().success());
    let ledger = house.gateway.state().join("ledger.redb");
    let copy = house.gateway.home().join("copy.redb");
    std::fs::copy(&ledger, &copy).expect("a copy");
    assert_eq!(
        verify(&house, &copy).status,
        0,
        "the untouched ledger verifies"
    );

    // Clumsily: one bit of the file. Verifying finds it wherever the event lies, except in a page that the file has given up.
    let bytes = std::fs::read(&ledger).expect("the ledger");
    let id = event["id"].as_str().expect("an id").as_bytes();
    let ends = bytes
        .windows(id.len())
        .enumerate()
        .filter(|(_, window)| *window == id)
        .map(|(at, _)| at + id.len() - 1);
    let verdicts: Vec<_> = ends
        .map(|end| {
            let mut edited = bytes.clone();
            edited[end] ^= 1;
            std::fs::write(&copy, &edited).expect("a copy");
            verify(&house, &copy)
        })
        .collect();
    assert!(
        verdicts.iter().any(|verdict| verdict.status != 0),
        "the event lies in the ledger as text, and no edit of it was found: {verdicts:#?}"
    );

    // With the right tool: the file is sound, and its chain is not.
    std::fs::copy(&ledger, &copy).expect("a copy");
    rewrite(&copy, event["seq"].as_u64().expect("a sequence"));
    let verdict = verify(&house, &copy);
    verdict.expect_status(1);
    assert!(
        verdict.all().contains(&event["seq"].to_string()),
        "{verdict}"
    );
    assert!(
        verdict.all().contains(event["id"].as_str().expect("an id")),
        "{verdict}"
    );
    tell("That is all.");
}

/// Puts another agent's name into one event of a ledger, as somebody would who knows its format.
fn rewrite(file: &std::path::Path, sequence: u64) {
    use redb::ReadableTable as _;
    const EVENTS: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("events");
    let database = redb::Database::open(file).expect("the copy opens");
    let change = database.begin_write().expect("a transaction");
    {
        let mut events = change.open_table(EVENTS).expect("the table of events");
        let stored = events
            .get(sequence)
            .expect("a read")
            .expect("the event")
            .value()
            .to_vec();
        let place = stored
            .windows(5)
            .position(|name| name == b"my-cc")
            .expect("the agent's name");
        let mut edited = stored;
        edited[place..place + 5].copy_from_slice(b"my-xx");
        events.insert(sequence, edited.as_slice()).expect("a write");
    }
    change.commit().expect("a commit");
}

fn verify(house: &House, file: &std::path::Path) -> plexus_tests::programs::Said {
    let mut command = plexus_tests::programs::command(
        &plexus_tests::binaries::path("plexusd"),
        house.gateway.home(),
    );
    command.arg("verify").arg(file);
    plexus_tests::programs::run(command)
}
