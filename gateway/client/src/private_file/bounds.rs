//! Lengths, kinds and leftovers of private files.

use super::*;

fn private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn file_of_just_the_bound_is_read() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("key");
    private(&path, "0123456789");
    assert_eq!(*read_bounded(&path, 10).unwrap(), "0123456789");
    assert!(matches!(read_bounded(&path, 9), Err(Unusable::Strange(_))));
    private(&path, "");
    assert_eq!(*read_bounded(&path, 10).unwrap(), "");
    assert_eq!(std::fs::metadata(&path).unwrap().uid(), uid());
    let below = read(&path.join("below"));
    assert!(matches!(below, Err(Unusable::Io { .. })), "{below:?}");
}

#[test]
fn pipe_is_refused_and_not_waited_for() {
    let root = tempfile::tempdir().unwrap();
    let pipe = root.path().join("key");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    assert!(matches!(read(&pipe), Err(Unusable::Strange(_))));
}

#[test]
fn leftover_of_a_killed_process_is_replaced() {
    let root = tempfile::tempdir().unwrap();
    let left = root.path().join(format!(".{}.new", std::process::id()));
    std::fs::write(&left, "half of a longer secret").unwrap();
    let file = Unnamed::create(root.path()).unwrap();
    assert_eq!(
        *read(&file.name("key", "secret").unwrap()).unwrap(),
        "secret"
    );
    let nowhere = Unnamed::create(&root.path().join("none")).map(drop);
    assert!(matches!(nowhere, Err(Unusable::Missing(_))), "{nowhere:?}");
}
