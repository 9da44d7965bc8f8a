//! The state directory: whose it is, who may read it, whether there is room.

use super::Finding;
use nix::unistd::geteuid;
use plexus_client::shell;
use plexus_owner::troubles::{self, Free};
use plexus_protocol::{
    AgentId,
    state_dir::{FILES, FOLDERS},
};
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Folders all of whose files are private.
const PRIVATE: [&str; 4] = ["secrets", "agents", "pending", "logs"];

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
        wrong.push(Finding::ok("home", "no other user can read or change it"));
    }
    wrong.push(match Free::at(home) {
        Ok(free) => room(home, free),
        Err(error) => Finding::warn(
            "disk",
            format!("its free space is unknown: {error}"),
            troubles::df(home),
        ),
    });
    wrong
}

fn room(home: &Path, free: Free) -> Finding {
    match troubles::disk(home, free) {
        (_, Some(few)) => Finding::of("disk", few),
        (free, None) => Finding::ok("disk", free),
    }
}

/// What an entry has to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A folder, 0700.
    Folder,
    /// A file, 0600.
    File,
    /// The folder of an agent's own command: no credential lies in it, and nobody else reaches it through `agents`, so
    /// that its mode may be any.
    Command,
}

/// What an entry of a private folder has to be: a file, but for `agents/<id>`.
fn kind(entry: &fs::DirEntry, folder: &str) -> Kind {
    let name = entry.file_name();
    let id = name.to_str().filter(|name| AgentId::parse(name).is_ok());
    match (folder, id) {
        ("agents", Some(id)) if !id.ends_with(".pat") && !id.ends_with(".installed.json") => {
            Kind::Command
        }
        _ => Kind::File,
    }
}

fn entries(home: &Path) -> Vec<Finding> {
    // The state directory itself may be reached through a link of the owner's.
    let mut all: Vec<(PathBuf, Kind)> = vec![(home.join(""), Kind::Folder)];
    all.extend(FOLDERS.iter().map(|name| (home.join(name), Kind::Folder)));
    all.extend(FILES.iter().map(|name| (home.join(name), Kind::File)));
    for folder in PRIVATE {
        let files = fs::read_dir(home.join(folder))
            .into_iter()
            .flatten()
            .flatten();
        all.extend(files.map(|file| (file.path(), kind(&file, folder))));
    }
    all.iter()
        .filter_map(|(path, kind)| entry(path, *kind))
        .collect()
}

/// What is wrong with one entry; one that is not there is nothing wrong: a start makes it.
fn entry(path: &Path, kind: Kind) -> Option<Finding> {
    let meta = path.symlink_metadata().ok()?;
    let named = path.display();
    let (shape, word) = match kind {
        Kind::File => (meta.is_file(), "plain file"),
        Kind::Folder | Kind::Command => (meta.is_dir(), "folder"),
    };
    if !shape {
        let what = format!("{named} is not a {word} of ours");
        return Some(Finding::fail(
            "home",
            what,
            format!("ls -ld {}", quoted(path)),
        ));
    }
    if meta.uid() != geteuid().as_raw() {
        let what = format!("{named} belongs to another user (uid {})", meta.uid());
        let person = std::env::var_os("HOME").filter(|person| !person.is_empty());
        let remedy = owner_remedy(path, meta.uid(), person.as_deref().map(Path::new));
        return Some(Finding::fail("owner", what, remedy));
    }
    let mode = meta.permissions().mode() & 0o7777;
    let (wanted, least) = match kind {
        Kind::Folder => (0o700, 0o500),
        Kind::File => (0o600, 0o400),
        Kind::Command => return None,
    };
    let fault = if mode & !wanted != 0 {
        "others may reach it"
    } else if mode & least != least {
        "Plexus cannot read it"
    } else {
        return None;
    };
    let what = format!("{named} has mode {mode:04o}: {fault}");
    let remedy = format!("chmod {wanted:o} {}", quoted(path));
    Some(Finding::fail("modes", what, remedy))
}

/// Takes back what root made, or what lies in the person's own folder. Another user's state stays theirs: a stale
/// `PLEXUS_HOME` may name it.
fn owner_remedy(path: &Path, owner: u32, person: Option<&Path>) -> String {
    let is_ours = owner == 0 || person.is_some_and(|person| path.starts_with(person));
    if is_ours {
        format!("sudo chown {} {}", geteuid(), quoted(path))
    } else {
        "plexusctl --home ~/.plexus doctor".to_owned()
    }
}

fn quoted(path: &Path) -> String {
    shell::quote(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        // What `connect --here` makes: a folder with the agent's own command.
        fs::create_dir_all(home.join("agents/cc/bin")).unwrap();
        set(&home.join("agents"), 0o700);
        set(&home.join("agents/cc"), 0o755);
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
        set(&home.join("secrets/a"), 0o600);
        for mode in [0o100, 0o600] {
            set(&home, mode);
            let [closed] = &entries(&home)[..] else {
                panic!("one is wrong")
            };
            let said = format!("has mode {mode:04o}: Plexus cannot read it");
            assert!(closed.what.ends_with(&said), "{closed:?}");
            assert_eq!(closed.remedy, Some(format!("chmod 700 {state}/")));
        }
        set(&home, 0o700);
        fs::create_dir(home.join("agents/cc.pat")).unwrap();
        fs::remove_dir_all(home.join("agents/cc")).unwrap();
        std::os::unix::fs::symlink("/tmp", home.join("agents/cc")).unwrap();
        let found = entries(&home);
        for words in ["cc.pat is not a plain file", "cc is not a folder"] {
            assert!(found.iter().any(|f| f.what.contains(words)), "{words}");
        }
        fs::remove_file(home.join("connection-key")).unwrap();
        std::os::unix::fs::symlink("/dev/null", home.join("connection-key")).unwrap();
        assert!(
            entries(&home)
                .iter()
                .any(|f| f.what.contains("not a plain file"))
        );
    }

    /// Root gives away what is its own; anybody else finds enough of root's.
    #[test]
    fn what_another_user_owns_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = dir.path().join("connection-key");
        fs::write(&file, "x").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(entry(&file, Kind::File), None, "the control");
        if geteuid().is_root() {
            std::os::unix::fs::chown(&file, Some(65534), None).unwrap();
        } else {
            file = "/etc/passwd".into();
        }
        let found = entry(&file, Kind::File).expect("a finding");
        assert!(
            found.what.contains("belongs to another user"),
            "{}",
            found.what
        );
    }

    #[test]
    fn state_of_another_user_is_not_taken_over() {
        let [own, other] = ["/home/remo/.plexus/", "/home/tess/.plexus/"].map(Path::new);
        let remedy = |path, owner| owner_remedy(path, owner, Some(Path::new("/home/remo")));
        assert_eq!(remedy(other, 1002), "plexusctl --home ~/.plexus doctor");
        // The control: a file of one's own folder, and one that root made.
        assert!(remedy(own, 1002).starts_with("sudo chown "));
        assert!(remedy(Path::new("/srv/plexus/"), 0).starts_with("sudo chown "));
    }
}
