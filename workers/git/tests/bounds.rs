//! Small repositories that would have the worker need more memory than it has: each is answered or refused, within a
//! part of it, because calls stand beside each other and three ends of the worker are the end of the source.

use crate::repo::{commit, fresh, git, object, raw, write};
use plexus_conformance::served::{Worker, assert_like, output, refusal, texts, transport};
use plexus_ipc::message::Role;
use plexus_worker_git::{GitSource, MANIFEST};
use serde_json::{Value, json};
use std::{fmt::Write as _, fs, path::Path};

/// What one call may need, in MiB: of what the manifest gives the worker an eighth, for that many calls stand beside
/// each other.
const MOST: u64 = 96;

/// Asks once: what was answered, or why not.
async fn ask(folder: &Path, capability: &str, input: Value) -> Result<Value, Value> {
    let mut worker = Worker::start::<GitSource>(MANIFEST, "path", folder, Role::Reader).await;
    let before = memory("VmRSS:");
    assert_eq!(before > 0, cfg!(target_os = "linux"), "it is measured");
    // The most that this process has needed begins anew here.
    let _ = fs::write("/proc/self/clear_refs", "5");
    let answer = worker.read(capability, input).await.0;
    let grown = memory("VmHWM:").saturating_sub(before);
    assert!(grown <= MOST, "{capability} needed {grown} MiB");
    worker.stop().await;
    match answer {
        Ok(_) => Ok(output(&(answer, Vec::new()))),
        Err(_) => Err(refusal(&answer)),
    }
}

/// What Linux says of this process, in MiB; elsewhere nothing is measured.
fn memory(word: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(word));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) >> 10
}

#[track_caller]
fn is_too_large(answer: &Result<Value, Value>) {
    assert_eq!(*answer, Err(transport("too_large")));
}

/// Almost as long as a commit may be.
fn long_message(number: usize) -> String {
    format!("{number}\n\n{}", "m".repeat(1_000_000))
}

#[tokio::test]
async fn a_long_message_is_not_kept_for_each_line_of_a_blame() {
    let (_kept, folder) = fresh();
    let lines: Vec<String> = (0..1_000).map(|line| format!("{line}\n")).collect();
    write(&folder, "a", lines.concat());
    write(&folder, ".git/message", long_message(0));
    git(&folder, &["add", "-A"]);
    git(&folder, &["commit", "-q", "-F", ".git/message"]);
    let blamed = ask(&folder, "blame", json!({"path": "a", "limit": 1_000}));
    let blamed = blamed.await.unwrap();
    assert_eq!(blamed["blocks"].as_array().unwrap().len(), 1);
    assert_eq!(blamed["blocks"][0]["subject"], "0");
}

/// A commit of these parents, written by hand.
fn octopus(folder: &Path, parents: impl IntoIterator<Item = String>) -> String {
    let mut text = format!("tree {}\n", git(folder, &["write-tree"]).trim());
    for parent in parents {
        writeln!(text, "parent {parent}").unwrap();
    }
    text.push_str(
        "author A <a@b> 1800000000 +0000\ncommitter A <a@b> 1800000000 +0000\n\noctopus\n",
    );
    let id = object(folder, "commit", text);
    // Git takes its time over so many parents.
    write(folder, ".git/refs/heads/main", format!("{id}\n"));
    id
}

#[tokio::test]
async fn the_messages_of_many_parents_are_not_kept_beside_each_other() {
    let (_kept, folder) = fresh();
    let mut stream = String::new();
    for number in 0..250 {
        let message = long_message(number);
        let length = message.len();
        write!(
            stream,
            "commit refs/heads/side\nmark :{}\ncommitter A <a@b> {number} +0000\ndata {length}\n{message}\n\
             M 100644 inline a\ndata 4\n{number:03}\n\nreset refs/heads/side\n\n",
            number + 1
        )
        .unwrap();
    }
    write(&folder, ".git/stream", stream);
    crate::repo::import(&folder, ".git/stream", ".git/marks");
    let marks = fs::read_to_string(folder.join(".git/marks")).unwrap();
    let parents = marks
        .lines()
        .map(|line| line.split_once(' ').unwrap().1.to_owned());
    write(&folder, "a", "of its own\n");
    git(&folder, &["add", "a"]);
    let id = octopus(&folder, parents);
    let log = ask(&folder, "log", json!({"limit": 3})).await.unwrap();
    assert_eq!(log["commits"][0]["id"], id);
    assert_eq!(log["commits"][1]["subject"], "249");
    let left = ask(&folder, "log", json!({"rev": "main", "not": "main"}));
    assert_eq!(left.await.unwrap()["commits"], json!([]));
    let blamed = ask(&folder, "blame", json!({"path": "a"})).await.unwrap();
    assert_eq!(blamed["blocks"][0]["id"], id);
}

#[tokio::test]
async fn a_commit_has_so_many_parents_and_no_more() {
    for many in [257, 20_000, 100_000] {
        let (_kept, folder) = fresh();
        octopus(&folder, (0..many).map(|number| format!("{number:040x}")));
        for (capability, input) in [
            ("log", json!({})),
            ("show", json!({"rev": "HEAD"})),
            ("blame", json!({"path": "a"})),
            ("search", json!({"query": "x", "in": "changes"})),
        ] {
            is_too_large(&ask(&folder, capability, input).await);
        }
    }
}

#[tokio::test]
async fn a_file_of_nothing_but_ends_of_lines_is_too_large_to_be_taken_apart() {
    let (_kept, folder) = fresh();
    let lines =
        |range: std::ops::Range<u32>| -> String { range.map(|line| format!("{line}\n")).collect() };
    write(&folder, "long", "\n".repeat(8 << 20));
    write(&folder, "many", lines(0..190_000));
    commit(&folder, "long");
    write(&folder, "long", lines(0..1_100_000));
    write(&folder, "many", lines(1_000_000..1_190_000));
    commit(&folder, "otherwise");
    let shown = ask(&folder, "show", json!({"rev": "HEAD"})).await.unwrap();
    let files = json!([
        {"path": "long", "omitted": "too_large"},
        {"path": "many", "omitted": "cut", "added": 190_000, "removed": 190_000},
    ]);
    assert_like(&shown["files"], &files);
    let diff = shown["files"][1]["diff"].as_str().unwrap();
    assert!(diff.starts_with("@@ -1,190000 +1,190000 @@\n-0\n-1\n"));
    assert!(
        diff.len() <= 64 << 10 && diff.ends_with('\n'),
        "{}",
        diff.len()
    );
    for rev in ["HEAD", "HEAD~1"] {
        is_too_large(&ask(&folder, "blame", json!({"path": "long", "rev": rev})).await);
    }
    write(&folder, "long", "0\n");
    commit(&folder, "small again");
    let blamed = ask(&folder, "blame", json!({"path": "long"})).await;
    assert_eq!(blamed.unwrap()["warnings"], json!(["large_files_skipped"]));
}

/// A tree of these names, all of them one file, and before them perhaps a folder `!`; and a branch that has it.
fn folder_of(folder: &Path, names: impl Iterator<Item = String>, below: Option<&str>) -> String {
    write(folder, ".git/content", "content\n");
    let file = git(folder, &["hash-object", "-w", ".git/content"]);
    let mut tree = Vec::new();
    if let Some(below) = below {
        tree.extend(b"40000 !\0");
        tree.extend(raw(below));
    }
    let file = raw(&file);
    for name in names {
        tree.extend(format!("100644 {name}\0").as_bytes());
        tree.extend(&file);
    }
    let tree = object(folder, "tree", tree);
    let commit = git(folder, &["commit-tree", &tree, "-m", "hostile"]);
    git(folder, &["update-ref", "refs/heads/main", commit.trim()]);
    tree
}

#[tokio::test]
async fn a_folder_has_so_many_names_of_such_a_length_and_no_more() {
    let (_kept, folder) = fresh();
    let names = |many: u32| (0..many).map(|number| number.to_string());
    for (names, path) in [
        (names(200_001).collect(), "no-such-name".to_owned()),
        (vec!["n".repeat(4097)], "n".repeat(200)),
    ] {
        let names: Vec<String> = names;
        folder_of(&folder, names.into_iter(), None);
        for (capability, input) in [
            ("log", json!({"path": path})),
            ("show", json!({"rev": "HEAD"})),
            ("blame", json!({"path": path})),
            ("search", json!({"query": "x", "in": "files"})),
        ] {
            is_too_large(&ask(&folder, capability, input).await);
        }
    }
    folder_of(&folder, names(200_000), None);
    let found = ask(&folder, "log", json!({"path": "199999"})).await;
    assert_eq!(found.unwrap()["commits"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn wide_folders_in_each_other_are_not_held_all_at_once() {
    let (_kept, folder) = fresh();
    let mut below = None;
    for _ in 0..16 {
        let names = (0..100_000).map(|number: u32| number.to_string());
        below = Some(folder_of(&folder, names, below.as_deref()));
    }
    for (capability, input) in [
        ("show", json!({"rev": "HEAD"})),
        ("search", json!({"query": "x", "in": "files"})),
        ("search", json!({"query": "x", "in": "changes"})),
    ] {
        is_too_large(&ask(&folder, capability, input).await);
    }
    // The way to one file is narrow, however deep it lies.
    let path = format!("{}7", "!/".repeat(15));
    let shown = ask(&folder, "show", json!({"rev": "HEAD", "path": path})).await;
    assert_eq!(shown.unwrap()["files"][0]["path"], path);
}

/// Six objects, and a million folders, most of them looked into before.
#[tokio::test]
async fn folder_in_many_places_is_counted_each_time() {
    let (_kept, folder) = fresh();
    let mut tree = object(&folder, "tree", b"");
    for _ in 0..6 {
        let entry = |name| [format!("40000 {name}\0").as_bytes(), &raw(&tree)].concat();
        let entries: Vec<_> = (0..10).flat_map(entry).collect();
        tree = object(&folder, "tree", entries);
    }
    let id = git(&folder, &["commit-tree", &tree, "-m", "many"]);
    git(&folder, &["update-ref", "refs/heads/main", id.trim()]);
    git(&folder, &["repack", "-adq"]);
    for (capability, input) in [
        ("show", json!({"rev": "HEAD"})),
        ("search", json!({"query": "x", "in": "files"})),
    ] {
        is_too_large(&ask(&folder, capability, input).await);
    }
    let shown = ask(&folder, "show", json!({"rev": "HEAD", "path": "0/1/2"})).await;
    assert_eq!(shown.unwrap()["files"], json!([]));
}

#[tokio::test]
async fn many_folders_that_differ_are_passed_by() {
    let (_kept, folder) = fresh();
    let empty = |path: String| format!("M 100644 inline {path}\ndata 0\n\n");
    let unseen = (0..50_500).map(|n| empty(format!("{}/{n}/f{n}", n / 250)));
    let commit = |name, files: String| {
        format!("commit refs/heads/main\ncommitter A <a@b> 1 +0000\ndata 1\n{name}\n{files}\n")
    };
    let stream = commit("1", unseen.collect()) + &commit("2", empty("docs/a".to_owned()));
    write(&folder, ".git/stream", stream);
    crate::repo::import(&folder, ".git/stream", ".git/marks");
    let constraint = json!({"pathPrefix": {"field": "path", "allow": ["docs"]}});
    let worker = Worker::start::<GitSource>(MANIFEST, "path", &folder, Role::Reader).await;
    let mut worker = worker.constrained(constraint);
    let log = worker.answer("log", json!({})).await;
    assert_eq!(texts(&log["commits"], "subject"), ["2"]);
    worker.stop().await;
}

#[tokio::test]
async fn long_names_in_each_other_are_no_longer_than_a_path() {
    let (_kept, folder) = fresh();
    let path = format!("{}/x", vec!["n".repeat(200); 19].join("/"));
    write(&folder, &path, "x\n");
    commit(&folder, "as deep as it may be");
    let shown = ask(&folder, "show", json!({"rev": "HEAD"})).await.unwrap();
    assert_eq!(shown["files"][0]["change"], "added");
    let deep = git(&folder, &["rev-parse", "HEAD^{tree}"]);
    let names = std::iter::once("x".repeat(4_000));
    let below = folder_of(&folder, names, Some(deep.trim()));
    folder_of(&folder, std::iter::empty(), Some(&below));
    let shown = ask(&folder, "show", json!({"rev": "HEAD"})).await.unwrap();
    assert_eq!(shown["files"].as_array().unwrap().len(), 2);
    let names = std::iter::once("y".to_owned());
    let mut below = folder_of(&folder, names, Some(&below));
    for _ in 0..100 {
        below = folder_of(&folder, std::iter::empty(), Some(&below));
    }
    is_too_large(&ask(&folder, "show", json!({"rev": "HEAD"})).await);
}

#[tokio::test]
async fn many_packed_refs_are_read_once_however_many_refs_lead_nowhere() {
    let (_kept, folder) = fresh();
    write(&folder, "a", "a\n");
    let id = commit(&folder, "one");
    let mut packed = String::new();
    for number in 0..100_000 {
        writeln!(packed, "{id} refs/changes/of-somebody/{number:09}").unwrap();
    }
    write(&folder, ".git/packed-refs", packed);
    for number in 0..1_900 {
        let name = format!(".git/refs/heads/{number}");
        write(&folder, &name, format!("ref: refs/heads/none-{number}\n"));
    }
    // The harness waits for thirty seconds.
    let shown = ask(&folder, "show", json!({"rev": id})).await.unwrap();
    assert_eq!(shown["commit"]["id"], id);
    let log = ask(&folder, "log", json!({})).await.unwrap();
    assert_eq!(log["commits"][0]["names"], json!(["main"]));
}
