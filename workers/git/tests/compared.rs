//! A made history, asked of this connector and of the `git` program: what revisions name, which files a commit changed, what
//! they held, and whether its differences make the one of the other.

use crate::{
    repo::{commit, fresh, git, init, write},
    served::open,
};
use plexus_conformance::served::{Worker, output};
use plexus_mutation::Dice;
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const REVISIONS: usize = 500;
const COMMITS: usize = 60;

/// Content that has little in common with any other, with every kind of end.
fn content(dice: &mut Dice) -> String {
    let lines: Vec<String> = (0..dice.below(12))
        .map(|_| format!("line {}", dice.below(100_000)))
        .collect();
    let end = ["\n", "\r\n"][dice.below(2)];
    let last = ["", end][dice.below(2)];
    format!("{}{last}", lines.join(end))
}

/// The same with some of its lines changed.
fn changed(dice: &mut Dice, text: &str) -> String {
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    for _ in 0..=dice.below(3) {
        let at = dice.below(lines.len() + 1);
        match dice.below(3) {
            0 => lines.insert(at, format!("new {}\n", dice.below(100_000))),
            1 if at < lines.len() => {
                lines.remove(at);
            }
            _ => match lines.last_mut() {
                Some(last) if last.ends_with('\n') => {
                    last.pop();
                }
                Some(last) => last.push('\n'),
                None => {}
            },
        }
    }
    lines.concat()
}

/// Commits on several branches with merges, tags of both kinds, odd names; packed half of the time.
fn history(dice: &mut Dice, folder: &Path) {
    init(folder);
    let paths = [
        "a.txt",
        "docs/b.md",
        "docs/é c.txt",
        "src/deep/er/d.rs",
        "e",
    ];
    write(folder, "a.txt", "begin\n");
    commit(folder, "begin");
    for number in 0..COMMITS {
        for _ in 0..=dice.below(2) {
            let path = folder.join(paths[dice.below(paths.len())]);
            let old = fs::read_to_string(&path).ok();
            let new = match (&old, dice.below(5)) {
                (Some(_), 0) => None,
                (Some(old), _) => Some(changed(dice, old)),
                (None, _) => Some(content(dice)),
            };
            match new {
                Some(new) => {
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    fs::write(&path, new).unwrap();
                }
                None => fs::remove_file(&path).unwrap(),
            }
        }
        commit(folder, &format!("number {number}"));
        match dice.below(8) {
            0 => {
                git(folder, &["tag", &format!("light-{number}")]);
            }
            1 => {
                let name = format!("v{number}.0");
                git(folder, &["tag", "-a", &name, "-m", "a release"]);
            }
            2 => {
                git(
                    folder,
                    &["checkout", "-q", "-b", &format!("topic/t{number}@x")],
                );
            }
            3 => {
                git(folder, &["checkout", "-q", "main"]);
            }
            4 => {
                let branches = git(folder, &["branch", "--format=%(refname:short)"]);
                let branches: Vec<&str> = branches.lines().collect();
                let other = branches[dice.below(branches.len())];
                let merge = [
                    "merge", "-q", "--no-ff", "-X", "ours", "-m", "merged", other,
                ];
                let merged = Command::new("git")
                    .args(["-c", "user.name=A", "-c", "user.email=a@example.org"])
                    .args(merge)
                    .current_dir(folder)
                    .output();
                if !merged.unwrap().status.success() {
                    git(folder, &["reset", "-q", "--hard"]);
                }
            }
            _ => {}
        }
    }
    // A tag and a branch of one name, and one that looks like an id.
    git(folder, &["tag", "same", "HEAD~3"]);
    git(folder, &["branch", "same", "HEAD~1"]);
    git(folder, &["branch", "abcd", "HEAD~2"]);
    git(
        folder,
        &["update-ref", "refs/remotes/origin/main", "HEAD~4"],
    );
    git(
        folder,
        &[
            "symbolic-ref",
            "refs/remotes/origin/HEAD",
            "refs/remotes/origin/main",
        ],
    );
    if dice.below(2) == 0 {
        git(folder, &["gc", "-q"]);
    }
}

/// Something that stands for a revision, or looks like it.
fn revision(dice: &mut Dice, refs: &[String], commits: &[String]) -> String {
    let id = &commits[dice.below(commits.len())];
    let name = match dice.below(10) {
        0 => "HEAD".to_owned(),
        1 => "@".to_owned(),
        2 => id.clone(),
        3 => id.to_uppercase(),
        4 => id[..4 + dice.below(20)].to_owned(),
        5 => format!("v1.0-{}-g{}", dice.below(9), &id[..7 + dice.below(9)]),
        6 => [
            "nowhere",
            "refs/heads/nowhere",
            "origin",
            "same",
            "abcd",
            "ORIG_HEAD",
        ][dice.below(6)]
        .to_owned(),
        _ => {
            let full = &refs[dice.below(refs.len())];
            let parts: Vec<&str> = full.splitn(3, '/').collect();
            match dice.below(3) {
                0 => full.clone(),
                1 => parts[1..].join("/"),
                _ => parts[2].to_owned(),
            }
        }
    };
    let steps: String = (0..dice.below(4))
        .map(|_| match dice.below(6) {
            0 => "~".to_owned(),
            1 => "^".to_owned(),
            2 => "^0".to_owned(),
            3 => format!("^{}", 1 + dice.below(3)),
            _ => format!("~{}", dice.below(8)),
        })
        .collect();
    name + &steps
}

/// What git takes it for; none where it does not.
fn parsed(folder: &Path, revision: &str) -> Option<String> {
    let output = Command::new("git")
        .args(["rev-parse", "--verify", "--quiet", "--end-of-options"])
        .arg(format!("{revision}^{{commit}}"))
        .current_dir(folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .expect("this comparison needs git");
    let id = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(id)
}

/// The paths that a commit changed against its first parent, each with git's letter.
fn listed(folder: &Path, id: &str) -> Vec<(String, String)> {
    let parent = parsed(folder, &format!("{id}^1"));
    let mut words = vec![
        "diff-tree",
        "-r",
        "--no-commit-id",
        "--no-renames",
        "--name-status",
        "-z",
    ];
    match &parent {
        Some(parent) => words.push(parent),
        None => words.push("--root"),
    }
    words.push(id);
    let said = git(folder, &words);
    let mut parts = said.split('\0').filter(|part| !part.is_empty());
    let mut all = Vec::new();
    while let (Some(letter), Some(path)) = (parts.next(), parts.next()) {
        all.push((path.to_owned(), letter.to_owned()));
    }
    all
}

/// The same as this connector shows it: a rename is a deleted and an added file.
fn shown(answer: &Value) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for file in answer["files"].as_array().unwrap() {
        let letter = match file["change"].as_str().unwrap() {
            "added" => "A",
            "deleted" => "D",
            "renamed" => {
                all.push((file["from"].as_str().unwrap().to_owned(), "D".to_owned()));
                "A"
            }
            _ => "M",
        };
        all.push((file["path"].as_str().unwrap().to_owned(), letter.to_owned()));
    }
    all.sort();
    all
}

fn blob(folder: &Path, revision: &str) -> Vec<u8> {
    let output = Command::new("git")
        .args(["cat-file", "blob", revision])
        .current_dir(folder)
        .output();
    output.unwrap().stdout
}

/// What `git apply` makes of `old` by our difference.
fn applied(scratch: &Path, old: Option<&[u8]>, diff: &str) -> Vec<u8> {
    let file = scratch.join("file");
    let _ = fs::remove_file(&file);
    let before = match old {
        Some(old) => {
            fs::write(&file, old).unwrap();
            "a/file"
        }
        None => "/dev/null",
    };
    fs::write(
        scratch.join("patch"),
        format!("--- {before}\n+++ b/file\n{diff}"),
    )
    .unwrap();
    let output = Command::new("git")
        .args(["apply", "--whitespace=nowarn", "patch"])
        .current_dir(scratch)
        .env("GIT_CEILING_DIRECTORIES", scratch)
        .output()
        .unwrap();
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{why}\n{diff}");
    fs::read(&file).unwrap()
}

/// Holds one commit against git: its files, their content, their differences.
async fn compared(worker: &mut Worker, folder: &Path, scratch: &Path, id: &str) -> usize {
    let answer = output(&worker.read("show", json!({"rev": id, "limit": 200})).await);
    let mut theirs = listed(folder, id);
    theirs.sort();
    assert_eq!(shown(&answer), theirs, "{id}");
    let mut differences = 0;
    for file in answer["files"].as_array().unwrap() {
        let (path, change) = (file["path"].as_str().unwrap(), &file["change"]);
        let (Some(diff), false) = (
            file["diff"].as_str(),
            change == "deleted" || change == "renamed",
        ) else {
            continue;
        };
        let now = blob(folder, &format!("{id}:{path}"));
        let before = (change != "added").then(|| blob(folder, &format!("{id}^1:{path}")));
        let made = applied(scratch, before.as_deref(), diff);
        assert_eq!(made, now, "{path} of {id}: {diff}");
        differences += 1;
        let input = json!({"rev": id, "path": path, "content": true});
        let content = output(&worker.read("show", input).await);
        assert_eq!(
            content["content"].as_str().unwrap().as_bytes(),
            now,
            "{path} of {id}"
        );
    }
    differences
}

#[expect(
    clippy::print_stdout,
    reason = "how much was compared is what it is for"
)]
#[tokio::test]
#[ignore = "compares with git: cargo xtask test --long"]
async fn a_made_history_is_what_git_takes_it_for() {
    let mut dice = Dice::of_the_day();
    let (_kept, folder): (_, PathBuf) = fresh();
    history(&mut dice, &folder);
    let scratch = tempfile::tempdir().unwrap();
    let refs = git(&folder, &["for-each-ref", "--format=%(refname)"]);
    let refs: Vec<String> = refs.lines().map(str::to_owned).collect();
    let commits = git(&folder, &["rev-list", "--all"]);
    let commits: Vec<String> = commits.lines().map(str::to_owned).collect();
    let mut worker = open(&folder).await;
    let (mut named, mut differences) = (0, 0);
    for _ in 0..REVISIONS {
        let revision = revision(&mut dice, &refs, &commits);
        let theirs = parsed(&folder, &revision);
        let answer = worker
            .read("log", json!({"rev": revision, "limit": 1}))
            .await;
        let ours = answer.0.is_ok().then(|| {
            let answer = output(&answer);
            answer["commits"][0]["id"].as_str().unwrap().to_owned()
        });
        assert_eq!(ours, theirs, "{revision}");
        if let Some(id) = theirs {
            named += 1;
            differences += compared(&mut worker, &folder, scratch.path(), &id).await;
        }
    }
    worker.stop().await;
    println!(
        "{REVISIONS} revisions: all are what git takes them for, {named} name a commit; {differences} differences of files make the one of the other"
    );
    assert!(
        named > REVISIONS / 3 && named < REVISIONS,
        "{named} name a commit"
    );
    assert!(differences > REVISIONS / 3, "{differences} differences");
}
