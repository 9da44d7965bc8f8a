//! Change sets as the owner meets them: seen as one difference, applied in part, taken back, refused by name where
//! somebody changed a file meanwhile; modes of files with them.

use crate::coding_agents::{CLAUDE, CODEX, Desk, Kind};
use plexus_tests::texts::{assert_contains, assert_lacks};
use plexus_tests::{
    Gate, Step, Terminal,
    programs::Said,
    waiting::{until, until_true},
};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;

/// What five edits and a removal leave.
const EDITS: &str = "for n in 1 2 3 4 5; do echo more >> part-$n.txt; done; rm docs/old.txt";

fn edited(kind: Kind) -> (Desk, String) {
    let step = (kind.exec)(EDITS);
    let desk = Desk::open(kind, [step, Step::say("Edited five files, removed one.")]);
    for part in 1..=5 {
        desk.folder.write(&format!("part-{part}.txt"), "one\n");
    }
    let id = made(&desk, "Edit the parts.");
    (desk, id)
}

fn made(desk: &Desk, prompt: &str) -> String {
    let done = desk.run(&json!({"prompt": prompt}));
    let id = done["changes"]["id"].as_str().expect("a change set");
    id.to_owned()
}

fn undo_of(said: &Said) -> String {
    let words = said.stdout.rsplit("plexusctl undo ").next();
    words.expect("the way back").trim().to_owned()
}

#[test]
fn change_set_is_seen_applied_in_part_and_undone() {
    seen_applied_in_part_and_undone(CODEX);
}

#[test]
fn change_set_of_claude_is_seen_applied_in_part_and_undone() {
    seen_applied_in_part_and_undone(CLAUDE);
}

fn seen_applied_in_part_and_undone(kind: Kind) {
    let (desk, id) = edited(kind);
    let gateway = &desk.gateway;
    let before = desk.folder.tree();
    let listed = gateway.cli(["changes"]).expect_ok().to_owned();
    for word in [&*id, desk.kind.id, "caller", "5 edited, 1 removed", "no"] {
        assert!(listed.contains(word), "{word}: {listed}");
    }
    // One difference, in colour, with the next command.
    let mut terminal = Terminal::start(&gateway.on_terminal(["changes", &id]), 100, 90);
    let shown = terminal.until_shows("plexusctl changes apply");
    assert!(terminal.end().success() && terminal.is_coloured());
    for part in 1..=5 {
        assert_contains(&shown, &format!("edited part-{part}.txt"));
    }
    assert!(shown.contains("removed docs/old.txt"), "{shown}");
    assert_eq!(shown.matches("│ +more").count(), 5, "{shown}");
    assert!(shown.contains("│ -old"), "{shown}");

    // A part of it, as the owner's own effect.
    let apply = [
        "changes",
        "apply",
        &*id,
        "--path",
        "part-1.txt",
        "--path",
        "docs/old.txt",
        "--yes",
    ];
    let applied = gateway.cli(apply);
    assert!(applied.expect_ok().contains("+more"), "{applied}");
    assert_eq!(desk.folder.read("part-1.txt"), "one\nmore\n");
    assert_eq!(desk.folder.read("part-2.txt"), "one\n");
    assert!(!desk.folder.has("docs/old.txt"));
    let listed = gateway.cli(["changes", "--source", desk.kind.id]);
    assert!(listed.expect_ok().contains("2 of 6"), "{listed}");
    let shown = gateway.cli(["changes", &id]);
    assert_contains(shown.expect_ok(), "2 applied, 4 waiting, 0 changed");
    // What the owner makes of an applied file is no reason to call it not applicable.
    desk.folder.write("part-1.txt", "one\nmore\nmine\n");
    let shown = gateway.cli(["changes", &id]);
    let shown = shown.expect_ok();
    assert_contains(shown, "it was applied, and somebody changed it since");
    assert_contains(shown, "2 applied, 4 waiting, 0 changed");
    let (_, since) = shown.split_once("since it was applied:").expect("a part");
    let (since, _) = since.split_once("changed by the run:").expect("a part");
    assert_contains(since, "│ +mine");
    assert_lacks(since, "+more");
    desk.folder.write("part-1.txt", "one\nmore\n");
    let audited = desk.owner().audited(|event| {
        event["capabilityId"] == desk.kind.of("apply") && event["detail"]["phase"] == "outcome"
    });
    assert_eq!(audited["agentId"], Value::Null, "{audited}");
    // Should a crash leave it open, its files are known.
    let intent = desk.owner().audited(|event| {
        event["capabilityId"] == desk.kind.of("apply") && event["detail"]["phase"] == "intent"
    });
    assert_eq!(intent["agentId"], Value::Null, "{intent}");
    assert_contains(&intent["detail"]["touched"].to_string(), "part-1.txt");

    let back = undo_of(&applied);
    let undone = gateway.cli(["undo", &back, "--yes"]);
    assert_contains(undone.expect_ok(), "undo: takes applied changes back");
    assert_eq!(desk.folder.tree(), before);
    assert_eq!(desk.folder.read("part-1.txt"), "one\n");
    let told = gateway.cli(["activity", "--changed"]);
    let mut rows = told.expect_ok().lines();
    let row = rows.find(|row| row.contains("changed 2 files"));
    assert!(row.expect("a row").ends_with(", taken back"), "{told}");
    assert_lacks(gateway.cli(["undo"]).expect_ok(), "changed 2 files");
    // Six characters stand for it.
    let listed = gateway.cli(["changes", &id[3..9]]);
    assert!(!listed.expect_ok().contains("of 6"), "{listed}");

    // An agent's own apply is marked once it was taken back.
    let input = json!({"changes": id, "paths": ["part-1.txt", "part-2.txt"]});
    let item = desk.asked("apply", &input);
    gateway.must_cli(["approvals", "approve", &item, "--yes"]);
    let reviewed = || gateway.cli(["review", "caller"]).expect_ok().to_owned();
    let counts = format!("{}: 1 change set, shown by", desk.kind.id);
    desk.agent.must(&desk.kind.of("apply"), input.clone());
    let review = reviewed();
    assert_contains(&review, "changed 2 files");
    assert_contains(&review, &counts);
    assert_lacks(&review, "taken back");
    let undone = gateway.cli(["undo", "--path", "part-2.txt", "--yes"]);
    assert_contains(undone.expect_ok(), "this also takes back part-1.txt");
    assert_contains(&reviewed(), "changed 2 files; all of it was taken back");

    // A source that is disabled is named with the command.
    let enable = format!("plexusctl sources enable {}", desk.kind.id);
    let asked = desk.asked("apply", &input);
    gateway.must_cli(["sources", "disable", desk.kind.id]);
    for line in [
        &["changes"][..],
        &["changes", &id],
        &["undo", &back],
        &["status"],
        &["doctor"],
    ] {
        assert_contains(&gateway.cli(line.iter().copied()).all(), &enable);
    }
    let card = desk
        .owner()
        .client
        .get(&format!("/admin/api/pending/{asked}"));
    let card = card.expect_ok();
    let refused = format!(
        "{0} is disabled: plexusctl sources enable {0}",
        desk.kind.id
    );
    assert_eq!(card["choices"][0]["refused"], refused, "{card}");
    assert_eq!(
        card["pendingNarration"][0]["provenance"], "managed",
        "{card}"
    );
}

#[test]
fn file_changed_meanwhile_is_named_and_the_rest_can_be_applied() {
    let (desk, id) = edited(CODEX);
    let gateway = &desk.gateway;
    desk.folder.write("part-2.txt", "mine\n");
    let refused = gateway.cli(["changes", "apply", &id, "--yes"]);
    assert_eq!(refused.status, 1, "{refused}");
    assert_contains(&refused.stderr, "part-2.txt changed since");
    assert_contains(&refused.stderr, &format!("plexusctl changes {id}"));
    assert_eq!(desk.folder.read("part-1.txt"), "one\n");
    let shown = gateway.cli(["changes", &id]);
    let shown = shown.expect_ok();
    let (_, after) = shown.split_once("edited part-2.txt").expect("the file");
    assert!(
        after
            .trim_start()
            .starts_with("somebody changed this file since the run"),
        "{shown}"
    );
    // First what somebody else made of it, then what the run did.
    let rows = [
        "since the run began",
        "│ -one",
        "│ +mine",
        "by the run",
        "│ +more",
    ];
    let found = rows.map(|row| after.find(row).unwrap_or_else(|| panic!("{row}: {shown}")));
    assert!(found.is_sorted(), "{shown}");
    assert_eq!(shown.matches("since the run began").count(), 1, "{shown}");
    // An agent that may read the change set is not shown the folder.
    let read = json!({"changes": id});
    let read = desk.agent.must("codex.changes.read", read);
    let read = read.to_string();
    assert!(read.contains("+more") && !read.contains("mine"), "{read}");
    // The page names what can still come; that, typed, is applied.
    let (_, offered) = shown.rsplit_once("plexusctl ").expect("a command");
    assert!(!offered.contains("part-2.txt"), "{offered}");
    let words = offered.split_whitespace().chain(["--yes"]);
    gateway.cli(words).expect_ok();
    assert_eq!(desk.folder.read("part-1.txt"), "one\nmore\n");
    assert_eq!(desk.folder.read("part-2.txt"), "mine\n");
}

#[test]
fn renamed_file_is_named_in_answer_command_and_card() {
    let line = "mv docs/old.txt docs/older.txt; mkdir -p .githooks; mv hook .githooks/pre-commit; echo more >> a.txt";
    let desk = Desk::open(CODEX, [Step::exec(line), Step::say("Renamed.")]);
    desk.folder.write("hook", "echo hooked\n");
    let before = desk.folder.tree();
    let done = desk.run(&json!({"prompt": "Rename."}));
    let files = done["changes"]["files"].as_array().expect("files").iter();
    let renamed: Vec<_> = files
        .filter_map(|file| Some((file["from"].as_str()?, file["path"].as_str()?)))
        .collect();
    let (old, new) = ("docs/old.txt", "docs/older.txt");
    assert_eq!(renamed, [("hook", ".githooks/pre-commit"), (old, new)]);
    let counts = ["added", "removed", "renamed"].map(|count| &done["changes"][count]);
    assert_eq!(counts, [2, 2, 2], "{done}");
    let listed = desk.gateway.cli(["changes"]);
    assert_contains(listed.expect_ok(), "  1 edited, 2 renamed: ");
    let told = desk.gateway.cli(["activity"]);
    assert_contains(told.expect_ok(), "; 3 files changed: cs_");
    let page = desk.gateway.console_page("/admin/console/changes");
    assert_contains(&page, ">3 files<");
    let id = done["changes"]["id"].as_str().expect("a change set");
    let shown = desk.gateway.cli(["changes", id]);
    let shown = shown.expect_ok();
    assert_contains(shown, "it was docs/old.txt, and its content stays");
    assert_contains(shown, "3 files in this change set, 0 applied, 3 waiting");
    assert_lacks(shown, "│ -old");
    assert_contains(shown, "│ +more");
    // A card shows whole what tools run.
    let item = desk.asked("apply", &json!({"changes": id}));
    let preview = desk.owner().plan(&item)["preview"].clone();
    let words = "0 added, 1 edited, 0 removed, 2 renamed";
    assert_contains(&preview["headline"].to_string(), words);
    let card = preview["diff"].to_string();
    assert_contains(&card, "renames docs/old.txt to docs/older.txt");
    assert_lacks(&card, "-old");
    assert_contains(&card, "+echo hooked");
    let applied = desk.gateway.cli(["changes", "apply", id, "--yes"]);
    applied.expect_ok();
    assert_eq!(desk.folder.read(new), "old\n");
    assert!(!desk.folder.has(old));
    desk.gateway.must_cli(["undo", &undo_of(&applied), "--yes"]);
    assert_eq!(desk.folder.tree(), before);
    // The control: half of a rename is a new file.
    let half = json!({"changes": id, "paths": [new]});
    let item = desk.asked("apply", &half);
    let card = desk.owner().plan(&item)["preview"]["diff"].to_string();
    assert!(card.contains("+old") && !card.contains("renames"), "{card}");
    let half = ["changes", "apply", id, "--path", new, "--yes"];
    desk.gateway.must_cli(half);
    let listed = desk.gateway.cli(["changes"]);
    assert_contains(listed.expect_ok(), "applied: in part");
}

/// A file that no difference shows comes out as the run left it, and not as a program.
#[test]
fn file_without_a_difference_is_exported() {
    let line = "printf 'a\\000b' > tool; chmod +x tool; rm a.txt";
    let desk = Desk::open(CODEX, [Step::exec(line), Step::say("Made.")]);
    let id = made(&desk, "Make a tool.");
    let gateway = &desk.gateway;
    let shown = gateway.cli(["changes", &id]);
    let next = format!("plexusctl changes export {id} --path tool --to NEW_FILE");
    assert_contains(shown.expect_ok(), &next);
    let to = gateway.home().join("tool.copy").display().to_string();
    let export = |path: &str| gateway.cli(["changes", "export", &id, "--path", path, "--to", &to]);
    assert_contains(&export("a.txt").stderr, "the run removed this file");
    assert_contains(&export("b.txt").stderr, "has no such file");
    export("tool").expect_ok();
    assert_eq!(std::fs::read(&to).expect("a file"), b"a\0b");
    let mode = std::fs::metadata(&to).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(export("tool").status, 64, "nothing is overwritten");
}

#[test]
fn unknown_change_set_is_refused_with_words() {
    let (desk, _) = edited(CODEX);
    let unknown = "cs_00000000-0000-4000-8000-000000000000";
    for line in [
        vec!["changes", unknown],
        vec!["changes", "apply", unknown, "--yes"],
    ] {
        let refused = desk.gateway.cli(line);
        assert_eq!(refused.status, 1, "{refused}");
        assert!(refused.stderr.contains("has a change set"), "{refused}");
    }
    assert_eq!(desk.gateway.cli(["changes", "../x"]).status, 64);
}

#[test]
fn damaged_change_set_is_named_and_the_others_listed() {
    let steps = [
        Step::exec("echo new > new.txt"),
        Step::say("Made."),
        Step::exec("echo more >> a.txt"),
        Step::say("Said more."),
    ];
    let desk = Desk::open(CODEX, steps);
    let whole = made(&desk, "Make another.");
    // It has the changes of the other one too, which a list leaves out.
    let joined = json!({"prompt": "Say more in a.txt.", "onto": [whole], "join": true});
    let damaged = desk.run(&joined)["changes"]["id"].clone();
    let damaged = damaged.as_str().expect("a change set");
    let gateway = &desk.gateway;
    let changes = gateway.state().join("workers/codex/changes");
    let is_unread = || {
        let listed = gateway.cli(["changes"]);
        let listed = listed.expect_ok();
        for words in [
            format!("codex: {damaged} cannot be read: this change set is damaged"),
            format!("to see one: plexusctl changes {whole}"),
            format!("that cannot be read and was not applied: plexusctl changes drop {damaged}"),
        ] {
            assert_contains(listed, &words);
        }
    };
    // With its head, before anything of it is applied.
    let file = changes.join(damaged).join("set.json");
    let kept = std::fs::read(&file).expect("a change set");
    std::fs::write(&file, "{").expect("written");
    is_unread();
    std::fs::write(&file, kept).expect("written");
    let input = json!({"changes": damaged});
    let item = desk.asked("apply", &input);
    gateway.must_cli(["approvals", "approve", &item, "--yes"]);
    desk.agent.must(&desk.kind.of("apply"), input);
    // And afterwards, with its head and without.
    for file in ["set.json", "head.json"] {
        std::fs::write(changes.join(damaged).join(file), "{").expect("written");
        is_unread();
    }
    assert_contains(&gateway.console_page("/admin/console/changes"), damaged);
    // It goes by itself, and no refusal names its own command as the way on.
    for (line, why) in [
        (
            &["changes", &damaged[3..11]][..],
            "this change set is damaged",
        ),
        (&["changes", "drop", damaged, "--yes"][..], "after its week"),
    ] {
        let refused = gateway.cli(line.iter().copied());
        assert_contains(&refused.stderr, why);
        assert_contains(&refused.stderr, "plexusctl changes\n");
        assert_lacks(&refused.stderr, "plexusctl changes cs_");
    }
    // A beginning names none if nobody is asked.
    for act in ["apply", "drop"] {
        let refused = gateway.cli(["changes", act, &damaged[3..11], "--yes"]);
        assert_eq!(refused.status, 64, "{refused}");
        let words = "a change set is named by its whole id only";
        assert_contains(&refused.stderr, words);
    }
    // It no longer says which calls hold files of it in the folder.
    let reviewed = gateway.cli(["review", "caller"]);
    assert_lacks(reviewed.expect_ok(), "taken back");
    // One of which nothing was applied goes, unseen.
    for file in ["set.json", "head.json"] {
        std::fs::write(changes.join(&whole).join(file), "{").expect("written");
    }
    let line = gateway.on_terminal(["changes", "drop", &whole]);
    let mut terminal = Terminal::start(&line, 160, 40);
    let card = terminal.until_shows("for good? [y/N]");
    assert_contains(
        &card,
        "its contents cannot be shown: this change set is damaged",
    );
    let other = format!("{damaged} cannot be read, and may build on it");
    assert_contains(&card, &other);
    terminal.keys("y\r");
    assert!(terminal.end().success());
    assert!(!changes.join(&whole).exists());
}

/// A change set goes with its contents, and its thread goes on.
#[test]
fn change_set_is_dropped_for_good() {
    let steps = [Step::exec("echo more >> a.txt"), Step::say("Said more.")];
    let mut desk = Desk::open(CODEX, steps);
    let done = desk.run(&json!({"prompt": "Say more in a.txt."}));
    let id = done["changes"]["id"].as_str().expect("a change set");
    let kept = desk.gateway.state().join("workers/codex/changes").join(id);
    let gateway = &desk.gateway;
    let drop_line = ["changes", "drop", id, "--yes"];
    let offered = format!("to drop one: plexusctl changes drop {id}");
    assert_contains(gateway.cli(["changes"]).expect_ok(), &offered);

    // Its undo lives in one that is applied.
    let applied = gateway.cli(["changes", "apply", id, "--yes"]);
    applied.expect_ok();
    let undo = undo_of(&applied);
    let refused = gateway.cli(drop_line);
    assert_eq!(refused.status, 1, "{refused}");
    assert_contains(&refused.stderr, &format!("plexusctl undo {undo}"));
    // Nor is it asked first.
    let asked = gateway.on_terminal(["changes", "drop", id]);
    let mut asked = Terminal::start(&asked, 160, 40);
    let shown = asked.until_shows("take that back first");
    assert_lacks(&shown, "[y/N]");
    assert!(!asked.end().success());
    assert_lacks(gateway.cli(["changes"]).expect_ok(), "changes drop");
    gateway.cli(["undo", &undo, "--yes"]).expect_ok();
    assert_eq!(desk.folder.read("a.txt"), "one\n");

    // At a terminal it asks, with what is lost; no is no.
    let line = gateway.on_terminal(["changes", "drop", id]);
    let mut terminal = Terminal::start(&line, 160, 40);
    let card = terminal.until_shows("for good? [y/N]");
    for word in ["Say more in a.txt.", "1 edited: a.txt", "caller"] {
        assert_contains(&card, word);
    }
    let is_of_age = ["just now", " s ago"].iter().any(|age| card.contains(age));
    assert!(is_of_age, "{card}");
    terminal.keys("n\r");
    assert!(!terminal.end().success());
    assert!(kept.join("set.json").exists());

    let dropped = gateway.cli(drop_line);
    let said = format!("dropped the change set {id}: 0 added, 1 edited, 0 removed");
    assert_contains(dropped.expect_ok(), &said);
    assert!(!kept.exists(), "its room on the disk");
    let audited = desk.owner().audited(|event| {
        event["capabilityId"] == "codex.changes.drop" && event["detail"]["phase"] == "outcome"
    });
    assert_eq!(audited["agentId"], Value::Null, "{audited}");
    assert_contains(gateway.cli(["activity"]).expect_ok(), &said);

    // It stays gone, also after a kill.
    desk.gateway.kill9();
    desk.gateway.start_again();
    desk.agent = desk.gateway.back(&desk.agent);
    let gateway = &desk.gateway;
    let none = "No source that serves keeps a change set";
    assert_contains(gateway.cli(["changes"]).expect_ok(), none);
    for line in [
        &drop_line[..],
        &["changes", id],
        &["changes", "apply", id, "--yes"],
    ] {
        let gone = gateway.cli(line.iter().copied());
        assert_eq!(gone.status, 1, "{gone}");
        assert_contains(&gone.stderr, "or until you drop them");
    }
    let steps = [Step::exec("echo new > new.txt"), Step::say("Made.")];
    desk.model.then(steps);
    let again = json!({"prompt": "Make another.", "thread": done["thread"]});
    let again = desk.run(&again);
    assert_eq!(again["thread"], done["thread"], "{again}");
    assert_eq!(again["changes"]["added"], 1, "{again}");
}

#[test]
fn modes_are_applied_and_undone() {
    let line = "printf '#!/bin/sh\\necho hello\\n' > new.sh; chmod 4755 new.sh || chmod +x new.sh; chmod +x tool; chmod -x old-tool; \
                echo x >> a.txt";
    let desk = Desk::open(CODEX, [Step::exec(line), Step::say("modes")]);
    let path = |name: &str| desk.folder.path().join(name);
    let mode = |name: &str| {
        let meta = std::fs::metadata(path(name)).expect("it is there");
        meta.permissions().mode() & 0o7777
    };
    for (name, bits) in [("tool", 0o644), ("old-tool", 0o755)] {
        desk.folder.write(name, "#!/bin/sh\n");
        std::fs::set_permissions(path(name), PermissionsExt::from_mode(bits)).expect("a mode");
    }
    let id = made(&desk, "Change modes.");
    let input = json!({"changes": id});
    // Files that are or become executable make it an effect that executes.
    let item = desk.asked("apply", &input);
    let plan = desk.owner().plan(&item);
    assert_eq!(plan["rating"], "execute", "{plan}");
    let text = plan.to_string();
    for words in [
        "(becomes executable: tool)",
        "(is executable no more: old-tool)",
        "new.sh",
    ] {
        assert!(text.contains(words), "{words}: {plan}");
    }
    let text_alone = desk.asked("apply", &json!({"changes": id, "paths": ["a.txt"]}));
    assert_eq!(desk.owner().plan(&text_alone)["rating"], "write");
    desk.owner().approve(&item, "once");
    let apply = desk.kind.of("apply");
    let applied = desk.agent.must(&apply, input);
    // No set-id bit comes with it.
    assert_eq!(mode("new.sh") & 0o7100, 0o100);
    assert_eq!([mode("tool"), mode("old-tool")], [0o755, 0o644]);
    let said = std::process::Command::new(path("new.sh")).output();
    assert_eq!(said.expect("it runs").stdout, b"hello\n");

    desk.approved("undo", &json!({"id": applied["auditId"]}))
        .expect_ok();
    assert_eq!([mode("tool"), mode("old-tool")], [0o644, 0o755]);
    assert!(!desk.folder.has("new.sh"));
    // A mode that somebody changed since is a change too.
    std::fs::set_permissions(path("a.txt"), PermissionsExt::from_mode(0o755)).expect("a mode");
    let refused = desk.gateway.cli(["changes", "apply", &id, "--yes"]);
    assert!(refused.stderr.contains("a.txt changed since"), "{refused}");
}

#[test]
fn direct_run_applies_what_its_approval_reaches() {
    direct_run_applies(CODEX);
}

#[test]
fn direct_run_of_claude_applies_what_its_approval_reaches() {
    direct_run_applies(CLAUDE);
}

fn direct_run_applies(kind: Kind) {
    let gate = Gate::closed();
    let line = "echo more >> a.txt; echo more >> docs/b.txt; rm docs/old.txt; echo new > new.txt; echo more >> run.py; \
                mkdir .githooks; echo x > .githooks/pre-commit; printf '#!/bin/sh\n' > tool; chmod +x tool";
    let steps = [
        (kind.exec)(line),
        Step::Wait(gate.clone()),
        Step::say("Changed."),
    ];
    let desk = Desk::open(kind, steps);
    desk.folder.program("run.py", "one\n");
    let before = desk.folder.tree();
    let run = desk.kind.of("run");
    let input = json!({"prompt": "Change.", "mode": "direct"});
    let item = desk.asked("run", &input);
    let plan = desk.owner().plan(&item);
    for words in [
        "applies what it changed",
        "without another card",
        "code that you later build or run is included",
    ] {
        assert!(plan.to_string().contains(words), "{words}: {plan}");
    }
    assert_eq!(plan["rating"], "execute", "{plan}");
    desk.owner().approve(&item, "once");
    let begun = desk
        .agent
        .invoke_body(json!({"id": run, "input": input, "async": true}));
    begun.expect_status(202);
    // Somebody writes while it works.
    until_true("the second request", || desk.model.requests().len() > 1);
    desk.folder.write("docs/b.txt", "mine\n");
    gate.open();
    let path = format!(
        "/invoke/status?runId={}&wait=20",
        begun.text_at("/run/runId")
    );
    let ended = until("the end", || {
        let ended = desk.agent.client().get(&path).expect_ok();
        (!ended["result"].is_null()).then_some(ended)
    });
    let result = &ended["result"];
    let applied = &result["output"]["applied"];
    assert_eq!(applied["files"], 3, "{ended}");
    let left = applied["left"].as_array().expect("a list");
    let left: Vec<_> = left
        .iter()
        .map(|left| (left["path"].as_str(), left["why"].as_str()))
        .collect();
    assert_eq!(
        left,
        [
            (
                Some(".githooks/pre-commit"),
                Some("git runs hooks kept there")
            ),
            (
                Some("docs/b.txt"),
                Some("somebody changed it since the run began")
            ),
            (Some("run.py"), Some("the file is marked as executable")),
            (Some("tool"), Some("the file becomes executable")),
        ],
        "{ended}"
    );
    assert_eq!(desk.folder.read("a.txt"), "one\nmore\n");
    assert_eq!(desk.folder.read("docs/b.txt"), "mine\n");
    assert_eq!(desk.folder.read("new.txt"), "new\n");
    assert_eq!(desk.folder.read("run.py"), "one\n");
    assert!(!desk.folder.has("docs/old.txt") && !desk.folder.has("tool"));
    assert!(!desk.folder.has(".githooks/pre-commit"));
    let id = result["output"]["changes"]["id"].as_str().expect("an id");
    let listed = desk.gateway.cli(["changes"]);
    assert!(listed.expect_ok().contains("3 of 7"), "{listed}");

    // What is left asks for itself, and the run is taken back by its own id.
    let rest = json!({"changes": id, "paths": ["tool"]});
    let asked = desk.asked("apply", &rest);
    assert_eq!(desk.owner().plan(&asked)["rating"], "execute");
    assert!(result["undo"].is_string(), "the way back: {result}");
    // A request that made nothing has nothing to take back.
    let nothing = desk.gateway.cli(["undo", &asked, "--yes"]);
    nothing.expect_status(1);
    let of_newest = "of the newest 100 changes, none that was approved as";
    assert_contains(&nothing.stderr, &format!("{of_newest} {asked}"));
    assert_contains(&nothing.stderr, "plexusctl activity --changed");
    let name = item.replace("pend_", "run_");
    let reviewed = || {
        desk.gateway
            .cli(["review", "caller"])
            .expect_ok()
            .to_owned()
    };
    assert_lacks(&reviewed(), "taken back");
    desk.gateway.cli(["undo", &name, "--yes"]).expect_ok();
    assert_contains(&reviewed(), "all of it was taken back");
    assert_eq!(desk.folder.tree(), before);
    assert_eq!(desk.folder.read("a.txt"), "one\n");
    assert_eq!(desk.folder.read("docs/b.txt"), "mine\n");
}

/// The list leaves out the change set of the run, whose files are in the folder all the same.
#[test]
fn review_of_joined_direct_run_takes_nothing_back() {
    let steps = [
        Step::exec("echo more >> a.txt"),
        Step::say("Changed."),
        Step::exec("echo new > new.txt"),
        Step::say("Made."),
    ];
    let desk = Desk::open(CODEX, steps);
    let direct = desk.run(&json!({"prompt": "Change.", "mode": "direct"}));
    assert_eq!(direct["applied"]["files"], 1, "{direct}");
    let told = desk.gateway.cli(["activity", "--changed"]);
    assert_contains(
        told.expect_ok(),
        "; changed 1 file in the folder itself: a.txt (codex",
    );
    let first = direct["changes"]["id"].clone();
    desk.run(&json!({"prompt": "Make.", "onto": [first], "join": true}));
    assert_eq!(desk.folder.read("a.txt"), "one\nmore\n");
    let reviewed = desk.gateway.cli(["review", "caller"]);
    assert_contains(reviewed.expect_ok(), "codex: 1 change set, shown by");
    assert_lacks(reviewed.expect_ok(), "taken back");
}

#[test]
fn new_folders_with_several_files_are_applied_and_undone() {
    let make =
        "mkdir -p new/deep; for n in 1 2; do echo $n > new/$n.txt; echo $n > new/deep/$n.txt; done";
    let again = "mkdir -p new; echo 3 > new/3.txt; echo 4 > new/4.txt; echo more >> a.txt";
    let steps = [
        Step::exec(make),
        Step::say("Made."),
        Step::exec(again),
        Step::say("Made more."),
    ];
    let desk = Desk::open(CODEX, steps);
    let id = made(&desk, "Make a folder.");
    let applied = desk.gateway.cli(["changes", "apply", &id, "--yes"]);
    applied.expect_ok();
    let paths = ["new/1.txt", "new/2.txt", "new/deep/1.txt", "new/deep/2.txt"];
    assert_eq!(paths.map(|path| desk.folder.has(path)), [true; 4]);
    let back = undo_of(&applied);
    desk.gateway.cli(["undo", &back, "--yes"]).expect_ok();
    // Folders that it made stay, empty.
    assert_eq!(paths.map(|path| desk.folder.has(path)), [false; 4]);

    // A folder that somebody made since is not this commit's own.
    let id = made(&desk, "Make it again.");
    desk.folder.write("new/mine.txt", "mine\n");
    let applied = desk.gateway.cli(["changes", "apply", &id, "--yes"]);
    applied.expect_ok();
    assert_eq!(desk.folder.read("new/mine.txt"), "mine\n");
    assert_eq!(desk.folder.read("new/4.txt"), "4\n");
}

/// Files that no run brings into the folder with its own approval: tools, shells, editors, servers and agents run or load them.
/// Those with a mark are there before, and the run changes them.
const WAITS: [&str; 48] = [
    "opencode.json",
    ".opencode/command/deploy.md",
    ".kiro/steering/rules.md",
    ".kiro/hooks/save.kiro.hook",
    ".amazonq/rules/all.md",
    ".trae/rules/project.md",
    ".junie/guidelines.md",
    ".goosehints",
    "QWEN.md",
    "CRUSH.md",
    "docs/review.prompt.md",
    "lefthook.toml",
    ".lefthook-local.yml",
    "mise.local.toml",
    "mise/config.toml",
    ".vimrc.local",
    ".exrc.local",
    ".rubocop.yml",
    ".pylintrc",
    ".flake8",
    ".rspec",
    ".eslintignore",
    "go.work",
    "composer.json",
    "deno.json",
    "pytest.ini",
    "Rakefile",
    "Guardfile",
    "Justfile",
    "Taskfile.yml",
    "BUILD.bazel",
    "docker-compose.yml",
    "requirements.txt",
    "config/application.rb",
    "config/README.md",
    "src/new.rs",
    "src/script",
    "src/run.sh",
    "icon.svg",
    "*noxfile.py",
    "*tasks.py",
    "*gulpfile.js",
    "*webpack.dev.js",
    "*vite.config.ts",
    "*karma.conf.js",
    "*web/jest.setup.js",
    "*spec/spec_helper.rb",
    "*tests/conftest.py",
];

#[test]
fn direct_run_applies_no_file_that_tools_load() {
    let name = |marked: &str| marked.trim_start_matches('*').to_owned();
    let paths = WAITS.map(name);
    let line = format!(
        "for path in {} notes.md src/lib.rs; do mkdir -p \"$(dirname $path)\"; echo changed >> $path; done",
        paths.join(" ")
    );
    let desk = Desk::open(CODEX, [Step::exec(&line), Step::say("Changed.")]);
    for marked in WAITS.iter().filter(|path| path.starts_with('*')) {
        desk.folder.write(&name(marked), "was\n");
    }
    desk.folder.write("src/lib.rs", "was\n");
    let before = desk.folder.tree();
    let output = desk.run(&json!({"prompt": "Change.", "mode": "direct"}));
    desk.model.finish();
    // The control: a document and a source file that was there land.
    assert_eq!(desk.folder.read("notes.md"), "changed\n");
    assert_eq!(desk.folder.read("src/lib.rs"), "was\nchanged\n");
    assert_eq!(output["applied"]["files"], 2, "{output}");
    let left = output["applied"]["left"].as_array().expect("a list");
    let left: Vec<_> = left
        .iter()
        .filter_map(|left| left["path"].as_str())
        .collect();
    for (marked, path) in WAITS.iter().zip(&paths) {
        assert!(left.contains(&&**path), "{path}: {left:?}");
        match marked.starts_with('*') {
            true => assert_eq!(desk.folder.read(path), "was\n", "{path}"),
            false => assert!(!desk.folder.has(path), "{path}"),
        }
    }
    assert_eq!(left.len(), paths.len(), "{left:?}");
    let told = desk.gateway.cli(["activity", "--changed"]);
    let words = format!(
        "; left {} files in the change set, changed 2 files in the folder itself: ",
        left.len()
    );
    assert_contains(told.expect_ok(), &words);
    assert_eq!(desk.folder.tree().len(), before.len() + 1, "the document");
    // Each waits for a card of its own.
    let read = json!({"changes": output["changes"]["id"]});
    let read = desk.agent.must("codex.changes.read", read);
    let files = read["output"]["files"].as_array().expect("files");
    let waits = files.iter().filter(|file| file["state"] == "waits");
    assert_eq!(waits.count(), paths.len(), "{read}");
}
