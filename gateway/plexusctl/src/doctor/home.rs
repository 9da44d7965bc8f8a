//! The state directory: whose it is, who may read it, whether there is room.

use super::Finding;
use nix::{sys::statvfs::statvfs, unistd::geteuid};
use plexus_client::shell;
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Folders of the state, 0700, and files, 0600 (docs/operations.md). The first is the state directory itself, which may
/// be reached through a link of the owner's.
const FOLDERS: [&str; 10] = [
    "",
    "secrets",
    "agents",
    "pending",
    "archive",
    "run",
    "run/agent",
    "run/owner",
    "logs",
    "workers",
];
const FILES: [&str; 6] = [
    "connection-key",
    "ledger.redb",
    "audit-heads.jsonl",
    "network.json",
    "runtime.json",
    "instance-id",
];
/// Folders all of whose files are private.
const PRIVATE: [&str; 4] = ["secrets", "agents", "pending", "logs"];

/// Room below which something is said, in bytes: what the ledger sets aside, twice; and some days of use.
const ROOM: (u64, u64) = (32 << 20, 256 << 20);

pub(super) fn look(home: &Path) -> Vec<Finding> {
    if !home.is_dir() {
        let what = format!(
            "{} is not there: no gateway has run with it",
            home.display()
        );
        return vec![Finding::warn("home", what, "plexusd")];
    }
    let mut wrong = entries(home);
    if wrong.is_empty() {
        wrong.push(Finding::ok("home", "every entry is yours alone"));
    }
    #[allow(
        clippy::unnecessary_cast,
        reason = "the two counts are of other widths on macOS"
    )]
    let free = statvfs(home).map(|d| d.blocks_available() as u64 * d.fragment_size() as u64);
    wrong.push(match free {
        Ok(bytes) => room(home, bytes),
        Err(error) => Finding::warn(
            "disk",
            format!("its room cannot be told: {error}"),
            df(home),
        ),
    });
    wrong
}

fn df(home: &Path) -> String {
    format!("df -h {}", quoted(home))
}

fn room(home: &Path, bytes: u64) -> Finding {
    let what = format!("{} MB free", bytes >> 20);
    match bytes {
        _ if bytes < ROOM.0 => Finding::fail("disk", what, df(home)),
        _ if bytes < ROOM.1 => Finding::warn("disk", what, df(home)),
        _ => Finding::ok("disk", what),
    }
}

fn entries(home: &Path) -> Vec<Finding> {
    let mut all: Vec<(PathBuf, bool)> =
        FOLDERS.iter().map(|name| (home.join(name), true)).collect();
    all.extend(FILES.iter().map(|name| (home.join(name), false)));
    for folder in PRIVATE {
        let files = fs::read_dir(home.join(folder))
            .into_iter()
            .flatten()
            .flatten();
        all.extend(files.map(|file| (file.path(), false)));
    }
    all.iter()
        .filter_map(|(path, folder)| entry(path, *folder))
        .collect()
}

/// What is wrong with one entry; one that is not there is nothing wrong: a start makes it.
fn entry(path: &Path, folder: bool) -> Option<Finding> {
    let meta = path.symlink_metadata().ok()?;
    let named = path.display();
    let shape = if folder {
        meta.is_dir()
    } else {
        meta.is_file()
    };
    if !shape {
        let kind = if folder { "folder" } else { "plain file" };
        let what = format!("{named} is not a {kind} of ours");
        return Some(Finding::fail(
            "home",
            what,
            format!("ls -ld {}", quoted(path)),
        ));
    }
    if meta.uid() != geteuid().as_raw() {
        let what = format!("{named} belongs to another user (uid {})", meta.uid());
        let remedy = format!("sudo chown {} {}", geteuid(), quoted(path));
        return Some(Finding::fail("owner", what, remedy));
    }
    let mode = meta.permissions().mode() & 0o7777;
    let wanted = if folder { 0o700 } else { 0o600 };
    (mode & !wanted != 0).then(|| {
        let what = format!("{named} has mode {mode:04o}: others may reach it");
        Finding::fail("modes", what, format!("chmod {wanted:o} {}", quoted(path)))
    })
}

fn quoted(path: &Path) -> String {
    shell::quote(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn each_thing_that_is_wrong_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("state");
        fs::create_dir_all(home.join("secrets")).unwrap();
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        set(&home, 0o700);
        set(&home.join("secrets"), 0o700);
        fs::write(home.join("connection-key"), "x").unwrap();
        set(&home.join("connection-key"), 0o600);
        fs::write(home.join("secrets/a"), "x").unwrap();
        set(&home.join("secrets/a"), 0o600);
        assert_eq!(entries(&home), [], "the control");
        set(&home.join("secrets/a"), 0o640);
        set(&home, 0o755);
        let found = entries(&home);
        let remedies: Vec<_> = found.iter().filter_map(|f| f.remedy.as_deref()).collect();
        let state = home.display();
        assert_eq!(
            remedies,
            [
                format!("chmod 700 {state}/"),
                format!("chmod 600 {state}/secrets/a")
            ]
        );
        fs::remove_file(home.join("connection-key")).unwrap();
        std::os::unix::fs::symlink("/dev/null", home.join("connection-key")).unwrap();
        assert!(
            entries(&home)
                .iter()
                .any(|f| f.what.contains("not a plain file"))
        );
    }

    #[test]
    fn little_room_is_said() {
        let level = |bytes| room(Path::new("/h"), bytes).level;
        assert_eq!(
            [1 << 20, 100 << 20, 1 << 30].map(level),
            [Level::Fail, Level::Warn, Level::Ok]
        );
    }
}
