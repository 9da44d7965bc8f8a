//! Old events in archives: what the owner sees, verifies, exports, backs up and takes back is the same as before.

use crate::house::{House, READ, WRITE, note, report};
use plexus_ledger::{Lane, Ledger, Options};
use plexus_record::Trust;
use plexus_tests::texts::{assert_contains, assert_like, list_of};
use plexus_tests::waiting::until_true;
use plexus_tests::{binaries, programs};
use plexus_trust::Command;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

fn options() -> Options {
    let now = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(0)
    };
    Options::new(Arc::new(now))
}

/// Gives a ledger on which no gateway runs so many events more, which leave the state as it is.
pub(crate) fn lengthen(home: &Path, events: usize) {
    let (ledger, _) = Ledger::<Trust>::open(home, options()).expect("the ledger opens");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    for _ in 0..events / 1_000 {
        let waiting: Vec<_> = (0..1_000)
            .map(|n| ledger.submit(Command::Pause(n % 2 == 0), Lane::Agent))
            .collect();
        for one in waiting {
            runtime.block_on(one).expect("recorded");
        }
    }
    assert!(ledger.close());
}

/// Has a ledger on which no gateway runs put nearly all it holds into archives, as years of use would.
fn age(home: &Path) {
    let mut options = options();
    (options.keep, options.checkpoint_every) = (1, 2);
    let (ledger, _) = Ledger::<Trust>::open(home, options).expect("the ledger opens");
    until_true("old events to be archived", || {
        let head = ledger.head().expect("readable").seq;
        let first = ledger.first_in_file().expect("readable");
        let sealed = ledger.archives().expect("readable");
        let sealed = sealed.last().map_or(0, |(archive, _)| archive.last);
        sealed > 1 && first == sealed + 1 && head - sealed < 20
    });
    assert!(ledger.close());
}

/// A house in which an agent has read and written, all of it archived; the id of the write.
fn old_house() -> (House, String, Vec<String>) {
    let (mut house, agent) = House::with_reader("one");
    house.owner().grant("one", WRITE, "1d").expect_ok();
    agent.must(READ, report());
    let written = agent.must(WRITE, note("made.md", "old\n"));
    let id = written["auditId"].as_str().expect("an id").to_owned();
    // A checkpoint, so that what came before may go, and one more that stays.
    house.gateway.restart();
    house.gateway.restart();
    let lines = export(&house);
    assert!(house.gateway.stop().success());
    age(&house.gateway.state());
    house.gateway.start_again();
    (house, id, lines)
}

fn export(house: &House) -> Vec<String> {
    let said = house.gateway.cli(["audit", "export"]);
    said.expect_ok().lines().map(str::to_owned).collect()
}

fn archives(house: &House) -> Vec<(PathBuf, Value)> {
    let said = house.gateway.cli(["--json", "audit", "archives"]);
    said.expect_ok();
    let said = said.json();
    let folder = PathBuf::from(said["folder"].as_str().expect("a folder"));
    let list = said["archives"].as_array().expect("a list").clone();
    let path = |archive: &Value| folder.join(archive["file"].as_str().expect("a name"));
    list.into_iter().map(|a| (path(&a), a)).collect()
}

fn plexusd(house: &House, path: &Path) -> programs::Said {
    let mut command = programs::command(&binaries::path("plexusd"), house.gateway.home());
    command.arg("verify").arg(path);
    programs::run(command)
}

/// The end of an export proves what is in it, and says from which event on.
#[test]
fn partial_export_names_its_first_event() {
    let house = House::open();
    house.reader("one");
    let lines = export(&house);
    let (last, file) = (lines.len(), house.gateway.home().join("part"));
    let verify = |lines: &[String]| {
        fs::write(&file, lines.join("\n") + "\n").expect("written");
        let said = |more: &[&str]| {
            let mut command = programs::command(&binaries::path("plexusd"), house.gateway.home());
            command.arg("verify").args(more).arg(&file);
            programs::run(command)
        };
        (said(&[]), said(&["--json"]))
    };
    let hash = &lines[last - 1][..64];
    for (first, anchor) in [
        (1, ""),
        (4, "; it begins at event 4: nothing before that is proven"),
    ] {
        let (words, json) = verify(&lines[first - 1..]);
        let words = words.expect_ok();
        let begin = format!("sound: an export with events {first} to {last}, ");
        let end = format!("with hash {hash}{anchor}");
        assert!(
            words.starts_with(&begin) && words.trim().ends_with(&end),
            "{words}"
        );
        let json = json.json();
        assert_like(&json, &json!({"ok": true, "kind": "export"}));
        assert_like(&json, &json!({"first": first, "last": last}));
        assert_eq!(json["hash"], *hash);
    }
    // An event that somebody edited is named by its number and its id.
    let of_one = |line: &String| line.contains("\"one\"");
    let at = lines
        .iter()
        .position(of_one)
        .expect("an event of the agent");
    let mut edited = lines.clone();
    edited[at] = edited[at].replace("\"one\"", "\"two\"");
    let (words, _) = verify(&edited);
    let words = words.expect_status(1).all();
    let (_, event) = lines[at].split_once(' ').expect("a hash, then JSON");
    let event: Value = serde_json::from_str(event).expect("JSON");
    assert_contains(&words, event["id"].as_str().expect("an id"));
    assert_contains(&words, &event["seq"].to_string());
    let gap = [&lines[..2], &lines[3..]].concat();
    let (words, json) = verify(&gap);
    assert!(words.status != 0 && json.status != 0, "{words} {json}");
    assert_eq!(json.json()["ok"], false, "{json}");
}

#[test]
fn what_lies_in_archives_is_shown_searched_exported_and_taken_back_like_the_rest() {
    let (house, written, before) = old_house();
    let list = archives(&house);
    assert!(!list.is_empty());
    let seq = |line: &String| -> u64 {
        let event: Value = serde_json::from_str(&line[65..]).expect("an event");
        event["seq"].as_u64().expect("a number")
    };
    let last = list.last().expect("one").1["last"]
        .as_u64()
        .expect("a number");
    let of_write = before
        .iter()
        .find(|line| line.contains(&written))
        .expect("it is there");
    assert!(seq(of_write) < last, "the write is archived");

    // The export is the one of before, and more.
    let now = export(&house);
    assert_eq!(now[..before.len()], before);
    let said = house.gateway.cli(["--json", "audit", "verify"]).json();
    assert_eq!((&said["ok"], &said["first"]), (&json!(true), &json!(1)));
    assert_eq!(said["archives"], list.len());

    let client = house.owner().client;
    let shown = client.must_get(&format!("/admin/api/audit/{written}"));
    assert_eq!(shown["event"]["id"], written.as_str());
    let listed = |query: &str| -> Vec<u64> {
        let reply = client.must_get(&format!("/admin/api/audit?limit=1000{query}"));
        let events = reply["events"].as_array().expect("a list").iter();
        events.filter_map(|event| event["seq"].as_u64()).collect()
    };
    assert_eq!(listed("").last(), Some(&1));
    // Who has read this note?
    let readers = client.must_get("/admin/api/activity?touched=report.txt");
    assert_eq!(readers["calls"][0]["agentId"], "one", "{readers}");
    assert_eq!(readers["totals"]["read"], 1);
    assert_eq!(listed("&touched=report.txt&agent=one").len(), 1);
    assert!(listed("&agent=one").iter().any(|seq| *seq < last));
    assert!(listed("&agent=nobody").is_empty());

    // What an archived event did can be taken back.
    let undo = format!("/admin/api/undo/{written}");
    let plan = client.get(&undo).expect_ok();
    client.must_post(&undo, json!({"stateToken": plan["stateToken"]}));
    assert!(!house.workspace.has("made.md"));

    // With nothing of ours: the archives and the rest, one after the other, are one export.
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/verify-export.py");
    let all = house.gateway.home().join("all");
    let mut text = String::new();
    for (path, _) in &list {
        text += &fs::read_to_string(path).expect("readable");
        assert!(plexusd(&house, path).expect_ok().starts_with("sound:"));
    }
    let rest = now.iter().filter(|line| seq(line) > last);
    rest.for_each(|line| text += &format!("{line}\n"));
    fs::write(&all, text).expect("written");
    let said = std::process::Command::new("python3")
        .arg(script)
        .arg(&all)
        .output()
        .expect("python3");
    let said = String::from_utf8_lossy(&said.stdout);
    assert!(
        said.starts_with(&format!("{} events from event 1,", now.len())),
        "{said}"
    );
}

#[test]
fn a_missing_archive_is_named_and_hinders_no_call() {
    let (mut house, _, _) = old_house();
    let list = archives(&house);
    let (path, archive) = &list[0];
    let name = archive["file"].as_str().expect("a name");
    let folder = path.parent().expect("a folder").to_owned();
    assert!(
        plexusd(&house, &folder).expect_ok().starts_with("sound:"),
        "the control"
    );
    let aside = house.gateway.home().join("aside");
    fs::rename(path, &aside).expect("moved");

    let said = house.gateway.cli(["audit", "verify"]);
    said.expect_status(1);
    assert_contains(&said.stdout, name);
    assert_contains(&said.stdout, "missing");
    let said = house.gateway.cli(["audit", "archives"]);
    assert!(said.expect_status(1).stdout.contains("MISSING"), "{said}");
    let said = house.gateway.cli(["doctor"]);
    assert!(said.stdout.contains(name), "{said}");
    assert_contains(&plexusd(&house, &folder).expect_status(1).stderr, name);
    let refused = house.owner().get("/admin/api/audit?limit=1000&before=3");
    refused.expect_error(503, "audit_unavailable");
    assert!(refused.text().contains(name), "{refused}");
    // A backup that could not be restored whole is none.
    let file = house.gateway.home().join("backup");
    let said = house
        .gateway
        .cli(["backup", file.to_str().expect("a path")]);
    assert!(said.stderr.contains(name) && !file.exists(), "{said}");

    // The gateway starts without it, says so, and serves.
    house.gateway.restart();
    let client = house.owner().client;
    let newest = client.get("/admin/api/audit?limit=12").expect_ok();
    let opened = newest["events"].as_array().expect("a list").iter();
    let mut opened = opened.filter(|event| event["detail"]["event"] == "ledger.open");
    let opened = opened.next().expect("it is told");
    assert_eq!(
        opened["detail"]["archivesAstray"],
        json!([name]),
        "{opened}"
    );
    let agent = house.reader("two");
    agent.must(READ, report());

    fs::rename(&aside, path).expect("moved back");
    house.gateway.cli(["audit", "verify"]).expect_ok();
}

/// What the owner asks of these days is answered from these days: an archive that nobody can read is not in the way.
#[test]
fn who_was_here_lately_is_not_looked_for_in_archives() {
    let (house, _, _) = old_house();
    let agent = house.reader("quiet");
    let client = house.owner().client;
    let began = house.owner().audited(|event| event["agentId"] == "quiet");
    agent.must(READ, report());
    for (path, _) in archives(&house) {
        fs::rename(&path, path.with_extension("aside")).expect("moved");
    }
    client
        .get("/admin/api/audit?agent=quiet&limit=1000")
        .expect_error(503, "audit_unavailable");
    let agents = client.get("/admin/api/agents").expect_ok();
    let agents = agents["agents"].as_array().expect("a list").iter();
    let mut quiet = agents.filter(|agent| agent["agentId"] == "quiet");
    let quiet = quiet.next().expect("it is listed");
    assert!(quiet["lastSeenAt"].is_string(), "{quiet}");
    let since = began["at"].as_str().expect("a time");
    let review = format!("/admin/api/review/quiet?since={since}");
    let review = client.get(&review).expect_ok();
    assert_eq!(review["sources"], json!([]), "{review}");
}

#[test]
fn a_backup_holds_the_archives_and_a_restore_puts_them_back() {
    let (mut house, written, before) = old_house();
    let list = archives(&house);
    let file = house.gateway.home().join("backup");
    let path = file.to_str().expect("a path");
    let made = house.gateway.cli(["--json", "backup", path]);
    made.expect_ok();
    let held: Vec<_> = list_of(&made.json()["files"])
        .iter()
        .filter_map(|file| file["name"].as_str().map(str::to_owned))
        .collect();
    assert!(!list.is_empty());
    for (_, archive) in &list {
        let name = format!("archive/{}", archive["file"].as_str().expect("a name"));
        assert!(held.contains(&name), "{held:?}");
    }
    assert!(house.gateway.stop().success());
    fs::remove_dir_all(house.gateway.state()).expect("all is lost");
    house.gateway.cli(["restore", path]).expect_ok();
    house.gateway.start_again();
    let said = house.gateway.cli(["--json", "audit", "verify"]).json();
    assert_eq!(
        (&said["ok"], &said["archives"]),
        (&json!(true), &json!(list.len()))
    );
    assert_eq!(export(&house)[..before.len()], before);
    let client = house.owner().client;
    client.must_get(&format!("/admin/api/audit/{written}"));
}

#[test]
fn what_the_owner_deletes_is_deleted_and_the_record_says_so() {
    let (house, _, _) = old_house();
    let list = archives(&house);
    let (path, archive) = &list[0];
    let name = archive["file"].as_str().expect("a name");
    house
        .gateway
        .cli(["audit", "archives", "forget", "../connection-key"])
        .expect_status(1);
    let said = house.gateway.cli(["audit", "archives", "forget", name]);
    assert!(said.expect_ok().contains(name), "{said}");
    assert!(!path.exists());
    let next = archive["last"].as_u64().expect("a number") + 1;
    let said = house.gateway.cli(["--json", "audit", "verify"]).json();
    assert_eq!((&said["ok"], &said["first"]), (&json!(true), &json!(next)));
    assert_eq!(archives(&house)[0].1["state"], "forgotten");
    let told = house.gateway.cli(["audit", "tail", "-n", "3"]);
    assert!(told.expect_ok().contains("GIVE UP events 1 to"), "{told}");
    assert!(export(&house)[0].contains(&format!("{{\"seq\":{next},")));
    let agents = house.owner().get("/admin/api/activity?agent=one");
    agents.expect_ok();
    // A copy of what is left is one, too.
    let file = house.gateway.home().join("backup");
    house
        .gateway
        .must_cli(["backup", file.to_str().expect("a path")]);
}

#[test]
fn how_much_stays_is_the_owners_to_say() {
    let house = House::open();
    let client = house.owner().client;
    let kept = || client.get("/admin/api/audit/archives").expect_ok()["keepEvents"].clone();
    assert_eq!(kept(), 250_000);
    house
        .gateway
        .must_cli(["config", "set", "auditKeepEvents=5000"]);
    assert_eq!(kept(), 5_000);
    let said = house.gateway.cli(["audit", "archives"]);
    assert!(said.expect_ok().contains("no archives yet"), "{said}");
}
