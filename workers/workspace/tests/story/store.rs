//! What is kept of changes: through kills at every moment, beyond the bounds, and when it is damaged.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use plexus_protocol::AuditId;
use plexus_rooted_files::{Digest, Policy, Ready, RelPath, Root};
use plexus_worker_workspace::{Before, Bounds, CallRecord, KeptEntry, State, Store, StoreError};

const TEMPORARY: &str = ".plexus-1-2-3.tmp";
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
    fn at(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }
    /// Puts a file there and says its inode.
    fn file(&self, name: &str, content: &str) -> u64 {
        fs::write(self.at(name), content).unwrap();
        fs::metadata(self.at(name)).unwrap().ino()
    }
    /// What a writer has that is about to replace `a.md`: the inodes of its old and its new content.
    fn replacing() -> (Self, u64, u64) {
        let kept = Self::new();
        let old = kept.file("a.md", "old");
        let new = kept.file(TEMPORARY, "new");
        begin(&kept.store(WIDE), &entry(1, Some(old), true, new));
        (kept, old, new)
    }
    /// The file of an entry.
    fn entry_file(&self, number: u64, end: &str) -> PathBuf {
        self.dir().join(format!("{}.{end}", call(number)))
    }
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
            temporary: path(TEMPORARY),
            inode,
            folders: 0,
        },
        undoes: None,
    }
}

/// Begins a change of "old" to "new", where it has both.
fn begin(store: &Store, entry: &KeptEntry) {
    let before = entry.before.map(|_| b"old".as_slice());
    let after = entry.after.map(|_| b"new".as_slice());
    store.begin(entry, before, after).unwrap();
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
    begin(&kept.store(WIDE), &entry(1, Some(1), true, 2));
    fs::metadata(kept.entry_file(1, "begun")).unwrap().len()
}

/// Each moment at which a writer can be killed, as the disk looks then.
#[test]
fn the_next_writer_finds_out_what_happened() {
    // Before the rename: the new content still has its temporary name.
    let (kept, ..) = Kept::replacing();
    assert_eq!(state(&kept.store(WIDE), 1), State::Not);

    // After it.
    let (kept, ..) = Kept::replacing();
    fs::rename(kept.at(TEMPORARY), kept.at("a.md")).unwrap();
    assert_eq!(state(&kept.store(WIDE), 1), State::Done);

    // Given up by the writer itself, which was killed before it could forget it.
    let (kept, ..) = Kept::replacing();
    fs::remove_file(kept.at(TEMPORARY)).unwrap();
    assert_eq!(state(&kept.store(WIDE), 1), State::Not);

    // After it, and somebody has replaced the file since: nobody can tell.
    let (kept, old, new) = Kept::replacing();
    let other = kept.file("other", "other");
    assert!(other != old && other != new);
    fs::remove_file(kept.at(TEMPORARY)).unwrap();
    fs::rename(kept.at("other"), kept.at("a.md")).unwrap();
    assert_eq!(state(&kept.store(WIDE), 1), State::Lost);

    // Where a link and an unlink are the rename, between the two: the file is there, and keeps that name alone. Of a
    // removal, too, which then did not happen.
    for (after, found) in [(true, State::Done), (false, State::Not)] {
        let kept = Kept::new();
        let file = kept.file("a.md", "new");
        fs::hard_link(kept.at("a.md"), kept.at(TEMPORARY)).unwrap();
        let entry = entry(1, (!after).then_some(file), after, file);
        begin(&kept.store(WIDE), &entry);
        assert_eq!(state(&kept.store(WIDE), 1), found, "{after}");
        assert!(!kept.at(TEMPORARY).exists());
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
        begin(&kept.store(WIDE), &entry(1, Some(old), false, old));
        match (there, aside) {
            (true, _) => {}
            (false, true) => fs::rename(kept.at("a.md"), kept.at(TEMPORARY)).unwrap(),
            (false, false) => fs::remove_file(kept.at("a.md")).unwrap(),
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
    begin(&store, &entry(5, Some(old), true, 1));
    store.finish(&call(5)).unwrap();
    // Older than the store.
    assert_eq!(store.known(&call(4)), CallRecord::Forgotten);
    // Another launch says the same.
    for store in [&store, &kept.store(WIDE)] {
        assert_eq!(store.known(&call(6)), CallRecord::Never);
        assert_eq!(state(store, 5), State::Done);
    }
    // A failure that left nothing.
    let store = kept.store(WIDE);
    begin(&store, &entry(7, Some(old), true, 1));
    store.discard(&call(7));
    assert_eq!(store.known(&call(7)), CallRecord::Never);
}

#[test]
fn the_oldest_go_first_and_stay_forgotten() {
    let bounds = |bytes, entries| Bounds { bytes, entries };
    for bounds in [bounds(1 << 20, 3), bounds(3 * length(), 100)] {
        let kept = Kept::new();
        let store = kept.store(bounds);
        for number in 1..=5 {
            begin(&store, &entry(number, Some(1), true, 2));
            store.finish(&call(number)).unwrap();
        }
        for store in [store, kept.store(bounds)] {
            for number in [1, 2] {
                let known = store.known(&call(number));
                assert_eq!(known, CallRecord::Forgotten, "{number}");
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
    let store = kept.store(bounds(1, 9));
    begin(&store, &entry(1, Some(1), true, 2));
    assert_eq!(state(&store, 1), State::Begun);
}

#[test]
fn what_is_damaged_is_not_believed() {
    let kept = Kept::new();
    let store = kept.store(WIDE);
    let first = entry(1, Some(1), true, 2);
    begin(&store, &first);
    assert_eq!(store.before(&first).unwrap().unwrap(), b"old");
    assert_eq!(store.after(&first).unwrap().unwrap(), b"new");
    let file = kept.entry_file(1, "begun");
    let mut bytes = fs::read(&file).unwrap();
    assert!(bytes.ends_with(b"\noldnew"));
    let before = bytes.len() - 6;
    bytes[before] = b'b';
    fs::write(&file, &bytes).unwrap();
    assert!(matches!(store.before(&first), Err(StoreError::Damaged)));
    assert_eq!(store.after(&first).unwrap().unwrap(), b"new");
    // Cut short.
    fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    assert!(matches!(store.after(&first), Err(StoreError::Damaged)));
    // What is no entry is let go of; an entry that cannot be read is none.
    let part = kept.dir().join(format!("part.{}.begun", call(2)));
    fs::write(&part, "{").unwrap();
    fs::write(kept.entry_file(1, "done"), "{").unwrap();
    fs::remove_file(&file).unwrap();
    let store = kept.store(WIDE);
    assert!(!part.exists());
    assert_eq!(store.known(&call(1)), CallRecord::Forgotten);
}

#[test]
fn files_of_the_store_are_the_owners_alone() {
    let kept = Kept::new();
    begin(&kept.store(WIDE), &entry(1, Some(1), true, 2));
    let files = fs::read_dir(kept.dir()).unwrap();
    let modes: Vec<_> = files
        .map(|file| file.unwrap().metadata().unwrap().mode())
        .collect();
    assert!(!modes.is_empty());
    assert!(modes.iter().all(|mode| mode & 0o777 == 0o600), "{modes:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn what_an_undo_needs_survives_a_power_cut() {
    use plexus_power_cut::{Disk, holds};
    let store = |top: &Path| Store::new(top, WIDE);
    let first = entry(1, Some(7), true, 8);
    let begin = |top: &Path| begin(&store(top), &first);
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
