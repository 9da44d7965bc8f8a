//! What is kept of changes: through kills at every moment, beyond the bounds, and when it is damaged.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use plexus_protocol::AuditId;
use plexus_rooted_files::{Digest, Policy, Ready, RelPath, Root};
use plexus_worker_workspace::{Before, Bounds, CallRecord, KeptEntry, State, Store, StoreError};

const WIDE: Bounds = Bounds {
    bytes: 1 << 20,
    entries: 100,
};

struct Kept {
    temp: tempfile::TempDir,
}

impl Kept {
    fn new() -> Self {
        let kept = Self {
            temp: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(kept.folder()).unwrap();
        fs::create_dir(kept.dir()).unwrap();
        kept
    }
    fn folder(&self) -> PathBuf {
        self.temp.path().join("folder")
    }
    fn dir(&self) -> PathBuf {
        self.temp.path().join("store")
    }
    fn root(&self) -> Root {
        Root::open(&self.folder(), Policy::default()).unwrap()
    }
    /// What a writer that starts has.
    fn store(&self, bounds: Bounds) -> Store {
        let store = Store::new(&self.dir(), bounds);
        store.recover(&self.root()).unwrap();
        store
    }
    /// Puts a file there and says its inode.
    fn file(&self, name: &str, content: &str) -> u64 {
        let path = self.folder().join(name);
        fs::write(&path, content).unwrap();
        inode(&path)
    }
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

fn call(number: u64) -> AuditId {
    AuditId::parse(&format!("evt_00000000-{number:04x}-8000-8000-000000000000")).unwrap()
}

fn path(text: &str) -> RelPath {
    RelPath::parse(text).unwrap()
}

/// A change of `a.md` from "old" (inode `before`) to "new" (`inode`).
fn entry(number: u64, before: Option<u64>, after: bool, inode: u64) -> KeptEntry {
    KeptEntry {
        call: call(number),
        path: path("a.md"),
        before: before.map(|inode| Before {
            digest: Digest::of(b"old"),
            inode,
        }),
        after: after.then(|| Digest::of(b"new")),
        ready: Ready {
            temporary: path(".plexus-1-2-3.tmp"),
            inode,
            folders: 0,
        },
        undoes: None,
    }
}

fn state(store: &Store, number: u64) -> State {
    match store.known(&call(number)) {
        CallRecord::Entry(_, state) => state,
        other => panic!("{other:?}"),
    }
}

/// Bytes that an entry of "old" and "new" takes.
fn length() -> u64 {
    let kept = Kept::new();
    kept.store(WIDE)
        .begin(&entry(1, Some(1), true, 2), Some(b"old"), Some(b"new"))
        .unwrap();
    let file = kept.dir().join(format!("{}.begun", call(1)));
    fs::metadata(file).unwrap().len()
}

/// Each moment at which a writer can be killed, as the disk looks then.
#[test]
fn the_next_writer_finds_out_what_happened() {
    // Before the rename: the new content still has its temporary name.
    let kept = Kept::new();
    let (old, new) = (
        kept.file("a.md", "old"),
        kept.file(".plexus-1-2-3.tmp", "new"),
    );
    let begin = |kept: &Kept, entry: &KeptEntry| {
        let before = entry.before.map(|_| b"old".as_slice());
        let after = entry.after.map(|_| b"new".as_slice());
        kept.store(WIDE).begin(entry, before, after).unwrap();
    };
    begin(&kept, &entry(1, Some(old), true, new));
    assert_eq!(state(&kept.store(WIDE), 1), State::Not);

    // After it.
    let kept = Kept::new();
    let old = kept.file("a.md", "old");
    let new = kept.file(".plexus-1-2-3.tmp", "new");
    begin(&kept, &entry(1, Some(old), true, new));
    fs::rename(
        kept.folder().join(".plexus-1-2-3.tmp"),
        kept.folder().join("a.md"),
    )
    .unwrap();
    assert_eq!(state(&kept.store(WIDE), 1), State::Done);

    // Given up by the writer itself, which was killed before it could forget it.
    let kept = Kept::new();
    let old = kept.file("a.md", "old");
    let new = kept.file(".plexus-1-2-3.tmp", "new");
    begin(&kept, &entry(1, Some(old), true, new));
    fs::remove_file(kept.folder().join(".plexus-1-2-3.tmp")).unwrap();
    assert_eq!(state(&kept.store(WIDE), 1), State::Not);

    // After it, and somebody has replaced the file since: nobody can tell.
    let kept = Kept::new();
    let old = kept.file("a.md", "old");
    let new = kept.file(".plexus-1-2-3.tmp", "new");
    begin(&kept, &entry(1, Some(old), true, new));
    let other = kept.file("other", "other");
    assert!(other != old && other != new);
    fs::remove_file(kept.folder().join(".plexus-1-2-3.tmp")).unwrap();
    fs::rename(kept.folder().join("other"), kept.folder().join("a.md")).unwrap();
    assert_eq!(state(&kept.store(WIDE), 1), State::Lost);

    // Where a link and an unlink are the rename, between the two: the file is there, and keeps that name alone. Of a
    // removal, too, which then did not happen.
    for (after, found) in [(true, State::Done), (false, State::Not)] {
        let kept = Kept::new();
        let file = kept.file("a.md", "new");
        let beside = kept.folder().join(".plexus-1-2-3.tmp");
        fs::hard_link(kept.folder().join("a.md"), &beside).unwrap();
        begin(&kept, &entry(1, (!after).then_some(file), after, file));
        assert_eq!(state(&kept.store(WIDE), 1), found, "{after}");
        assert!(!beside.exists());
        let text = kept.root().read(&path("a.md")).unwrap().bytes;
        assert_eq!(text, b"new", "{after}");
    }

    // A removal: before it, with the file set aside, and when nothing is left to see.
    for (there, aside, found) in [
        (true, false, State::Not),
        (false, true, State::Done),
        (false, false, State::Lost),
    ] {
        let kept = Kept::new();
        let old = kept.file("a.md", "old");
        begin(&kept, &entry(1, Some(old), false, old));
        let (file, beside) = (
            kept.folder().join("a.md"),
            kept.folder().join(".plexus-1-2-3.tmp"),
        );
        match (there, aside) {
            (true, _) => {}
            (false, true) => fs::rename(&file, &beside).unwrap(),
            (false, false) => fs::remove_file(&file).unwrap(),
        }
        assert_eq!(state(&kept.store(WIDE), 1), found, "{there} {aside}");
    }
}

#[test]
fn what_never_began_is_told_from_what_is_forgotten() {
    let kept = Kept::new();
    let store = kept.store(WIDE);
    // It has seen nothing: it cannot say of anything that it did not happen.
    assert_eq!(store.known(&call(1)), CallRecord::Forgotten);
    let old = kept.file("a.md", "old");
    store
        .begin(&entry(5, Some(old), true, 1), Some(b"old"), Some(b"new"))
        .unwrap();
    store.finish(&call(5)).unwrap();
    assert_eq!(
        store.known(&call(4)),
        CallRecord::Forgotten,
        "older than the store"
    );
    assert_eq!(store.known(&call(6)), CallRecord::Never);
    assert_eq!(state(&store, 5), State::Done);
    // Another launch, the same.
    let store = kept.store(WIDE);
    assert_eq!(store.known(&call(6)), CallRecord::Never);
    assert_eq!(state(&store, 5), State::Done);
    // A failure that left nothing.
    store
        .begin(&entry(7, Some(old), true, 1), Some(b"old"), Some(b"new"))
        .unwrap();
    store.discard(&call(7));
    assert_eq!(store.known(&call(7)), CallRecord::Never);
}

#[test]
fn the_oldest_go_first_and_stay_forgotten() {
    for bounds in [
        Bounds {
            bytes: 1 << 20,
            entries: 3,
        },
        Bounds {
            bytes: 3 * length(),
            entries: 100,
        },
    ] {
        let kept = Kept::new();
        let store = kept.store(bounds);
        for number in 1..=5 {
            store
                .begin(&entry(number, Some(1), true, 2), Some(b"old"), Some(b"new"))
                .unwrap();
            store.finish(&call(number)).unwrap();
        }
        for store in [store, kept.store(bounds)] {
            for number in [1, 2] {
                assert_eq!(
                    store.known(&call(number)),
                    CallRecord::Forgotten,
                    "{number}"
                );
            }
            for number in 3..=5 {
                assert_eq!(state(&store, number), State::Done);
            }
        }
        let files = fs::read_dir(kept.dir()).unwrap().count();
        assert_eq!(files, 3 + 2, "an entry each, and two markers");
    }
    // One that is larger than all of it is kept all the same, alone.
    let kept = Kept::new();
    let store = kept.store(Bounds {
        bytes: 1,
        entries: 9,
    });
    store
        .begin(&entry(1, Some(1), true, 2), Some(b"old"), Some(b"new"))
        .unwrap();
    assert_eq!(state(&store, 1), State::Begun);
}

/// Before contents went into the entry's own file, each had one beside it.
#[test]
fn what_an_earlier_build_kept_is_still_there() {
    let kept = Kept::new();
    let entry = entry(1, Some(1), true, 2);
    let file = |end: &str| kept.dir().join(format!("{}.{end}", call(1)));
    fs::write(file("done"), serde_json::to_vec(&entry).unwrap()).unwrap();
    fs::write(file("before"), "old").unwrap();
    fs::write(file("after"), "new").unwrap();
    let orphan = kept.dir().join(format!("{}.before", call(2)));
    fs::write(&orphan, "orphan").unwrap();
    let two = Bounds {
        bytes: 1 << 20,
        entries: 2,
    };
    let store = kept.store(two);
    assert!(!orphan.exists());
    assert_eq!(state(&store, 1), State::Done);
    assert_eq!(store.before(&entry).unwrap().unwrap(), b"old");
    assert_eq!(store.after(&entry).unwrap().unwrap(), b"new");
    // It goes like the others, as a whole.
    for number in [3, 4] {
        let next = self::entry(number, Some(1), true, 2);
        store.begin(&next, Some(b"old"), Some(b"new")).unwrap();
    }
    assert_eq!(store.known(&call(1)), CallRecord::Forgotten);
    assert!(
        !["done", "before", "after"]
            .iter()
            .any(|end| file(end).exists())
    );
}

#[test]
fn what_is_damaged_is_not_believed() {
    let kept = Kept::new();
    let store = kept.store(WIDE);
    let kept_entry = entry(1, Some(1), true, 2);
    store
        .begin(&kept_entry, Some(b"old"), Some(b"new"))
        .unwrap();
    assert_eq!(store.before(&kept_entry).unwrap().unwrap(), b"old");
    assert_eq!(store.after(&kept_entry).unwrap().unwrap(), b"new");
    let file = kept.dir().join(format!("{}.begun", call(1)));
    let mut bytes = fs::read(&file).unwrap();
    assert!(bytes.ends_with(b"\noldnew"));
    let before = bytes.len() - 6;
    bytes[before] = b'b';
    fs::write(&file, &bytes).unwrap();
    assert!(matches!(
        store.before(&kept_entry),
        Err(StoreError::Damaged)
    ));
    assert_eq!(store.after(&kept_entry).unwrap().unwrap(), b"new");
    // Cut short.
    fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    assert!(matches!(store.after(&kept_entry), Err(StoreError::Damaged)));
    // What is no entry is let go of; an entry that cannot be read is none.
    let part = kept.dir().join(format!("part.{}.begun", call(2)));
    fs::write(&part, "{").unwrap();
    fs::write(kept.dir().join(format!("{}.done", call(1))), "{").unwrap();
    fs::remove_file(&file).unwrap();
    let store = kept.store(WIDE);
    assert!(!part.exists());
    assert_eq!(store.known(&call(1)), CallRecord::Forgotten);
}

#[test]
fn files_of_the_store_are_the_owners_alone() {
    let kept = Kept::new();
    let store = kept.store(WIDE);
    store
        .begin(&entry(1, Some(1), true, 2), Some(b"old"), Some(b"new"))
        .unwrap();
    for file in fs::read_dir(kept.dir()).unwrap() {
        assert_eq!(file.unwrap().metadata().unwrap().mode() & 0o777, 0o600);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn what_an_undo_needs_survives_a_power_cut() {
    use plexus_power_cut::{Disk, holds};
    let store = |top: &Path| Store::new(top, WIDE);
    let first = entry(1, Some(7), true, 8);
    let begin = |top: &Path| {
        let begun = store(top).begin(&first, Some(b"old"), Some(b"new"));
        begun.unwrap();
    };
    let is = |top: &Path, state| {
        let CallRecord::Entry(kept, found) = store(top).known(&call(1)) else {
            return false;
        };
        let sides = [store(top).before(&kept), store(top).after(&kept)];
        let sides = sides.map(|side| side.ok().flatten().unwrap_or_default());
        // What came after the first call it saw, and is not here, did not happen; of one before it nobody knows.
        let [before, after] = [0, 2].map(|number| store(top).known(&call(number)));
        let knows = before == CallRecord::Forgotten && after == CallRecord::Never;
        found == state && sides == [b"old", b"new"] && knows
    };
    let begun = |disk: &Disk, ()| begin(&disk.path());
    holds(|_| (), begun, |top| is(top, State::Begun), &[]);
    let finish = |disk: &Disk, ()| store(&disk.path()).finish(&call(1)).unwrap();
    holds(begin, finish, |top| is(top, State::Done), &[]);
}
