//! Modes, names and places of the state directory.

use super::*;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn wrong_mode_is_repaired() {
    let outer = tempfile::tempdir().unwrap();
    let home = outer.path().join("home");
    StateDir::open(Some(home.clone())).unwrap();
    let (folder, key) = (home.join("secrets"), home.join("connection-key"));
    fs::write(&key, "key").unwrap();
    for (path, wrong) in [(&home, 0o755), (&folder, 0o1700), (&key, 0o640)] {
        fs::set_permissions(path, fs::Permissions::from_mode(wrong)).unwrap();
    }
    StateDir::open(Some(home.clone())).unwrap();
    let modes = [&home, &folder, &key].map(|path| mode(path));
    assert_eq!(modes, [0o700, 0o700, 0o600]);
    // A right one is not set, and no repair is logged.
    let changed = |path: &Path| fs::metadata(path).unwrap().ctime_nsec();
    let before = changed(&key);
    StateDir::open(Some(home)).unwrap();
    assert_eq!(changed(&key), before);
}

#[test]
fn folder_or_pipe_in_place_of_a_file_is_refused() {
    let outer = tempfile::tempdir().unwrap();
    let home = outer.path().join("home");
    StateDir::open(Some(home.clone())).unwrap();
    let key = home.join("connection-key");
    let refused = || {
        let refused = StateDir::open(Some(home.clone())).unwrap_err();
        assert!(matches!(refused, StateDirError::Shape { .. }), "{refused}");
    };
    fs::create_dir(&key).unwrap();
    refused();
    fs::remove_dir(&key).unwrap();
    // It would wait for a writer.
    nix::unistd::mkfifo(&key, Mode::S_IRWXU).unwrap();
    refused();
}

#[test]
fn directory_that_is_only_served_from_stays_as_it_is() {
    let outer = tempfile::tempdir().unwrap();
    let home = outer.path().canonicalize().unwrap().join("home");
    let missing = StateDir::as_it_is(Some(home.clone())).unwrap_err();
    assert!(matches!(missing, StateDirError::Io { .. }), "{missing}");
    fs::create_dir(&home).unwrap();
    let dir = StateDir::as_it_is(Some(home.clone())).unwrap();
    assert_eq!((dir.path(), dir.join("a")), (&*home, home.join("a")));
    assert_eq!(fs::read_dir(&home).unwrap().count(), 0);
}

#[test]
fn unnamed_directory_is_in_the_persons_home() {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    let expected = home.map(|home| PathBuf::from(home).join(".plexus"));
    assert_eq!(StateDir::place(None).ok(), expected);
    let named = StateDir::place(Some("/a".into()));
    assert_eq!(named.unwrap(), Path::new("/a"));
}

#[test]
fn private_file_is_made_once_and_removed_once() {
    let outer = tempfile::tempdir().unwrap();
    let file = outer.path().join("file");
    create_private(&file, b"first").unwrap();
    assert_eq!(
        (mode(&file), fs::read(&file).unwrap()),
        (0o600, b"first".into())
    );
    let second = create_private(&file, b"second").unwrap_err();
    assert_eq!(second.kind(), io::ErrorKind::AlreadyExists);
    write_private(&file, b"third").unwrap();
    assert_eq!(
        (mode(&file), fs::read(&file).unwrap()),
        (0o600, b"third".into())
    );
    assert!(remove(&file).unwrap() && !remove(&file).unwrap());
    // macOS says that the caller may not.
    let folder = remove(outer.path()).unwrap_err().kind();
    assert!(matches!(
        folder,
        io::ErrorKind::IsADirectory | io::ErrorKind::PermissionDenied
    ));
}

#[test]
fn secret_name_is_one_plain_component() {
    for good in ["mail", "my mail", "a.b", &"a".repeat(128)] {
        assert!(secret_name(good), "{good}");
    }
    for bad in [
        "",
        ".a",
        "a..b",
        "a:b",
        "a/b",
        "a\\b",
        "a\0",
        "a\n",
        &"a".repeat(129),
    ] {
        assert!(!secret_name(bad), "{bad}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn boot_is_named() {
    let id = boot_id();
    assert!(
        id.len() == 36 && id.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit()),
        "{id}"
    );
}
