//! Real repositories, made by the `git` program, away from the configuration of the person who runs the tests.
#![allow(dead_code, reason = "each test file uses what it needs")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Runs git in `folder` and gives what it said.
///
/// # Panics
/// Where git is missing or fails.
#[track_caller]
pub(crate) fn git(folder: &Path, words: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "protocol.file.allow=always"])
        .args(words)
        .current_dir(folder)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", "/nonexistent")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_AUTHOR_NAME", "Ann Other")
        .env("GIT_AUTHOR_EMAIL", "ann@example.org")
        .env("GIT_COMMITTER_NAME", "Bob")
        .env("GIT_COMMITTER_EMAIL", "bob@example.org")
        .env("GIT_AUTHOR_DATE", date(folder))
        .env("GIT_COMMITTER_DATE", date(folder))
        .output()
        .expect("these tests need the git program");
    assert!(
        output.status.success(),
        "git {words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Each commit a minute after the one before, so that their order is theirs and not the machine's.
fn date(folder: &Path) -> String {
    let count = Command::new("git")
        .args(["rev-list", "--all", "--count"])
        .current_dir(folder)
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default();
    let minutes: u64 = count.parse().unwrap_or(0);
    format!("{} +0100", 1_700_000_000 + minutes * 60)
}

/// Writes an object, however odd, and gives its id.
#[track_caller]
pub(crate) fn object(folder: &Path, kind: &str, content: impl AsRef<[u8]>) -> String {
    write(folder, ".git/object", content);
    let words = [
        "hash-object",
        "-t",
        kind,
        "-w",
        "--literally",
        ".git/object",
    ];
    git(folder, &words).trim().to_owned()
}

/// The bytes of an id.
pub(crate) fn raw(id: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&id[at..at + 2], 16).unwrap();
    (0..40).step_by(2).map(byte).collect()
}

/// Takes in what a file says to `git fast-import`, and leaves the ids of its marks in another.
#[track_caller]
pub(crate) fn import(folder: &Path, stream: &str, marks: &str) {
    let status = Command::new("git")
        .args(["fast-import", "--quiet"])
        .arg(format!("--export-marks={marks}"))
        .current_dir(folder)
        .stdin(fs::File::open(folder.join(stream)).unwrap())
        .status()
        .unwrap();
    assert!(status.success());
}

pub(crate) fn write(folder: &Path, path: &str, content: impl AsRef<[u8]>) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

pub(crate) fn commit(folder: &Path, message: &str) -> String {
    git(folder, &["add", "-A"]);
    git(folder, &["commit", "-q", "--allow-empty", "-m", message]);
    git(folder, &["rev-parse", "HEAD"]).trim().to_owned()
}

pub(crate) fn init(folder: &Path) {
    git(folder, &["init", "-q", "-b", "main", "."]);
}

/// Three commits: a file, its second line and another, a rename with a change.
pub(crate) fn story(folder: &Path) {
    init(folder);
    write(folder, "docs/a.md", "one\n");
    write(
        folder,
        "src/old.rs",
        "fn a() {}\nfn b() {}\nfn c() {}\nfn d() {}\n",
    );
    commit(folder, "first\n\nwith a body");
    write(folder, "docs/a.md", "one\ntwo\n");
    commit(folder, "the second");
    git(folder, &["mv", "src/old.rs", "src/new.rs"]);
    write(
        folder,
        "src/new.rs",
        "fn a() {}\nfn b() {}\nfn c() {}\nfn e() {}\n",
    );
    commit(folder, "moved");
}

/// An empty folder with a repository in it.
pub(crate) fn fresh() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap().join("repo");
    fs::create_dir(&path).unwrap();
    init(&path);
    (folder, path)
}
