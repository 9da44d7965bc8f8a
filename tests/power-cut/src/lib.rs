//! A disk that forgets at a power cut what was not synced: one way to prove what is called durable, whatever keeps it.
//!
//! ```text
//! write, rename, … ─▶ folder ─fsync─▶ record          cut: the folder is made what the record says
//! ```
//! A test that links this crate calls its `fsync` and `fdatasync` in the place of the system's ([`os`]); a program is given
//! them by `LD_PRELOAD` (`examples/power_cut.rs` of plexus-tests). Each notes what it is asked to sync beside the folder.
//!
//! It is as strict as POSIX allows: content is on the disk once its file was synced, and a name (made, moved or removed) once its folder was.
//! A file system that does more is no excuse.
//!
//! Invariant: outside of a [`Disk`] a call is the system's own. Must not know: what is kept in the files.
#![cfg(target_os = "linux")]

pub mod os;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;
use tempfile::TempDir;

/// The names below a disk's own folder: what programs see, what was synced, how many syncs there were, the one to lose, and
/// whether the power is off.
const SEEN: &str = "disk";
const SYNCED: &str = "synced";
const COUNT: &str = "count";
const LOST: &str = "lost";
const OFF: &str = "off";

/// A folder on a disk that can lose its power.
pub struct Disk(TempDir);

impl Disk {
    /// An empty one.
    ///
    /// # Panics
    /// As all of this, where the real disk fails.
    #[must_use]
    pub fn new() -> Self {
        os::linked();
        let disk = Self(TempDir::with_prefix("plx").expect("a folder"));
        fs::create_dir(disk.path()).expect("a folder");
        fs::create_dir(disk.0.path().join(SYNCED)).expect("a folder");
        disk.sync();
        disk
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.0.path().join(SEEN)
    }

    /// A new folder on it, for a home.
    #[must_use]
    pub fn home(&self) -> TempDir {
        let home = TempDir::with_prefix_in("h", self.path()).expect("a folder on the disk");
        self.sync();
        home
    }

    /// Brings all that there is to the disk, as a shutdown does.
    pub fn sync(&self) {
        fn all(record: &Record, folder: &Path) -> io::Result<()> {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                let kind = entry.file_type()?;
                if kind.is_dir() {
                    all(record, &entry.path())?;
                } else if kind.is_file() {
                    record.note(&entry.path())?;
                }
            }
            record.note(folder)
        }
        all(&self.record(), &self.path()).expect("the disk");
    }

    /// The power is off from here on: nothing more comes to the disk. For who cannot end without a sync.
    pub fn off(&self) {
        fs::write(self.0.path().join(OFF), "").expect("the disk");
    }

    /// Cuts the power: the folder holds what was synced. Processes that have a file of it open are to have ended.
    pub fn cut(&self) {
        let _ = fs::remove_file(self.0.path().join(OFF));
        let top = self.path();
        let key = key(&top.metadata().expect("the disk"));
        self.record().restore(&top, &key).expect("the disk");
        // What was made anew is another file, and on the disk.
        self.sync();
    }

    /// How many syncs there were.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        let count = fs::metadata(self.0.path().join(COUNT));
        count.map_or(0, |count| count.len())
    }

    /// Loses the `n`th sync from here on, counted from 1: its caller is told that it was done.
    pub fn lose(&self, n: u64) {
        let lost = (self.syncs() + n).to_string();
        fs::write(self.0.path().join(LOST), lost).expect("the disk");
    }

    fn record(&self) -> Record {
        Record(self.0.path().to_owned())
    }
}

impl Default for Disk {
    fn default() -> Self {
        Self::new()
    }
}

/// Holds that `act` is durable when it returns, and that each of its syncs is needed for that: with any one of them lost, the
/// test would be red. So to take one away is noticed.
///
/// # Panics
/// Where it does not hold. `needless`: syncs, counted from 1, that `act` could do without, each with its reason at the caller.
#[track_caller]
pub fn holds<T>(
    before: impl Fn(&Path) -> T,
    act: impl Fn(&Disk, T),
    done: impl Fn(&Path) -> bool,
    needless: &[u64],
) {
    let (needed, syncs) = needed(before, act, done);
    let without: Vec<u64> = (1..=syncs).filter(|n| !needed.contains(n)).collect();
    assert_eq!(without, needless, "of {syncs} syncs these can be lost");
}

/// Holds that `act` is durable when it returns; gives the syncs, counted from 1, without which it is not, and how many there are.
///
/// `before` makes what is there already; `done` looks whether what `act` does is there, and is false for anything else.
///
/// # Panics
/// Where it does not hold, or would without any sync.
#[track_caller]
pub fn needed<T>(
    before: impl Fn(&Path) -> T,
    act: impl Fn(&Disk, T),
    done: impl Fn(&Path) -> bool,
) -> (Vec<u64>, u64) {
    let tried = |lost: Option<u64>| {
        let disk = Disk::new();
        let made = before(&disk.path());
        disk.sync();
        assert!(!done(&disk.path()), "it is done before it begins");
        let from = disk.syncs();
        if let Some(lost) = lost {
            disk.lose(lost);
        }
        act(&disk, made);
        assert!(done(&disk.path()), "it is not done");
        let syncs = disk.syncs() - from;
        disk.cut();
        (done(&disk.path()), syncs)
    };
    let (durable, syncs) = tried(None);
    assert!(durable, "a power cut takes it away; {syncs} syncs");
    let needed: Vec<u64> = (1..=syncs).filter(|n| !tried(Some(*n)).0).collect();
    assert!(!needed.is_empty(), "no sync is needed of {syncs}");
    (needed, syncs)
}

/// What was synced of a disk.
struct Record(PathBuf);

/// An entry of a folder that was synced.
struct Entry {
    kind: char,
    key: String,
    mode: u32,
    link: OsString,
}

impl Record {
    /// The record of the disk that a path lies on.
    fn of(path: &Path) -> Option<Self> {
        let mut above = path.ancestors();
        let top =
            above.find(|above| above.ends_with(SEEN) && above.with_file_name(SYNCED).is_dir());
        Some(Self(top?.parent()?.to_owned()))
    }

    /// Counts a sync; whether it is lost.
    fn counted(&self) -> io::Result<bool> {
        if self.0.join(OFF).exists() {
            return Ok(true);
        }
        let mut count = fs::OpenOptions::new();
        let mut count = count.append(true).create(true).open(self.0.join(COUNT))?;
        io::Write::write_all(&mut count, b".")?;
        let lost = fs::read_to_string(self.0.join(LOST)).unwrap_or_default();
        Ok(lost.parse() == Ok(count.metadata()?.len()))
    }

    /// Notes a file or a folder as it is now.
    fn note(&self, path: &Path) -> io::Result<()> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let about = path.metadata()?;
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let new = self.noted(&format!("new-{}-{next}", std::process::id()));
        if about.is_dir() {
            let mut text = Vec::new();
            for entry in fs::read_dir(path)? {
                let (about, name) = match entry.and_then(|e| Ok((e.metadata()?, e.file_name()))) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    found => found?,
                };
                let kind = about.file_type();
                let (kind, link) = match (kind.is_dir(), kind.is_file(), kind.is_symlink()) {
                    (true, ..) => ('d', OsString::new()),
                    (_, true, _) => ('f', OsString::new()),
                    (.., true) => ('l', fs::read_link(path.join(&name))?.into_os_string()),
                    _ => continue,
                };
                let facts = format!("{kind}\0{}\0{}\0", key(&about), about.mode() & 0o7777);
                text.extend(facts.bytes());
                text.extend([name.as_bytes(), b"\0", link.as_bytes(), b"\0"].concat());
            }
            fs::write(&new, text)?;
        } else {
            fs::copy(path, &new)?;
        }
        fs::rename(new, self.noted(&key(&about)))
    }

    fn noted(&self, key: &str) -> PathBuf {
        self.0.join(SYNCED).join(key)
    }

    /// The entries of a folder as it was synced: none where it never was.
    fn entries(&self, key: &str) -> BTreeMap<OsString, Entry> {
        let text = fs::read(self.noted(key)).unwrap_or_default();
        let fields: Vec<&[u8]> = text.split(|byte| *byte == 0).collect();
        let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
        let entries = fields.chunks_exact(5).map(|field| {
            let entry = Entry {
                kind: char::from(field[0][0]),
                key: text(field[1]),
                mode: text(field[2]).parse().expect("a mode"),
                link: OsString::from_vec(field[4].to_vec()),
            };
            (OsString::from_vec(field[3].to_vec()), entry)
        });
        entries.collect()
    }

    /// Has a folder be what was synced of the one with this key.
    fn restore(&self, folder: &Path, key_then: &str) -> io::Result<()> {
        let then = self.entries(key_then);
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let about = entry.metadata()?;
            let stays = then.get(&entry.file_name());
            if stays.is_none_or(|then| then.key != key(&about)) {
                match about.is_dir() {
                    true => fs::remove_dir_all(entry.path())?,
                    false => fs::remove_file(entry.path())?,
                }
            }
        }
        for (name, entry) in then {
            let path = folder.join(name);
            let there = path.symlink_metadata().is_ok();
            match entry.kind {
                'l' if there => continue,
                'l' => {
                    symlink(entry.link, path)?;
                    continue;
                }
                'd' => {
                    if !there {
                        fs::create_dir(&path)?;
                    }
                    self.restore(&path, &entry.key)?;
                }
                _ => {
                    // One whose content was never synced is there and empty.
                    let content = fs::read(self.noted(&entry.key)).unwrap_or_default();
                    if fs::read(&path).ok().as_ref() != Some(&content) {
                        fs::write(&path, content)?;
                    }
                }
            }
            fs::set_permissions(&path, Permissions::from_mode(entry.mode))?;
        }
        Ok(())
    }
}

/// Names a file or a folder for as long as it is there, and no other after it: a number alone is given again.
fn key(about: &Metadata) -> String {
    let made = about.created().ok();
    let made = made.and_then(|made| made.duration_since(UNIX_EPOCH).ok());
    format!("{}-{}", about.ino(), made.map_or(0, |made| made.as_nanos()))
}

#[cfg(test)]
mod tests;
