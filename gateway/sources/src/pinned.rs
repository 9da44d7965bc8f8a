//! Digests of folders of code: one SHA-256 over the names, links and contents of all that lies in one; and what differs between two
//! such folders, by name.
//!
//! Invariants: no link is followed, and where it leads is part of the digest; a folder of more than `MOST_ENTRIES` entries
//! or `MOST_BYTES` has no digest; a list of names is believed only where it comes to the digest that it is of.
//!
//! Must not know: what runs from it.

use crate::programs;
use plexus_ipc::text::Line;
use plexus_protocol::Digest;
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

/// Entries of a folder, at every depth.
const MOST_ENTRIES: usize = 50_000;
/// Bytes of its files.
const MOST_BYTES: u64 = 512 << 20;
/// Folders whose digests are kept.
const KEPT: usize = 64;
/// Entries of a folder whose names are listed, and bytes of those names.
pub(crate) const MOST_LISTED: usize = 5_000;
const MOST_NAME_BYTES: usize = 1 << 20;
/// Folders that were read last, whose names are kept.
const LISTED: usize = 8;
/// Names of files that a card shows.
const MOST_NAMED: usize = 8;

/// Digests of contents, by that of what changes with them: inodes, sizes, times.
static KNOWN: LazyLock<Mutex<HashMap<Digest, Digest>>> = LazyLock::new(Mutex::default);

/// The folders that were read last.
static LATELY: LazyLock<Mutex<VecDeque<Arc<Tree>>>> = LazyLock::new(Mutex::default);

/// The content of a folder, by name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tree {
    /// Over all of it.
    pub(crate) digest: Digest,
    /// None where there are more than [`MOST_LISTED`], or their names are longer than [`MOST_NAME_BYTES`].
    entries: Option<Entries>,
}

/// By name: what it is, and the digest of its content.
type Entries = BTreeMap<OsString, (u8, Digest)>;

/// Adds one entry to the digest of its folder.
fn add(hasher: &mut Sha256, name: &[u8], kind: u8, content: Digest) {
    hasher.update((name.len() as u64).to_le_bytes());
    hasher.update(name);
    hasher.update([kind]);
    hasher.update(content.0);
}

impl Tree {
    /// The folder that was read lately and came to this digest.
    pub(crate) fn lately(digest: Digest) -> Option<Arc<Self>> {
        let lately = LATELY.lock().unwrap_or_else(PoisonError::into_inner);
        lately.iter().find(|tree| tree.digest == digest).cloned()
    }

    /// A folder that comes to this digest now. Reads all of it, where it can be listed.
    pub(crate) fn read(folder: &Path, digest: Digest) -> Option<Arc<Self>> {
        let all = tree(folder).ok()?;
        if !can_be_listed(&all) {
            let entries = None;
            return Some(Arc::new(Self { digest, entries }));
        }
        let tree = read(folder, identity(folder).ok()?).ok()?;
        Some(tree).filter(|tree| tree.digest == digest)
    }

    /// Whether its names are listed.
    pub(crate) fn is_listed(&self) -> bool {
        self.entries.is_some()
    }

    /// As it is kept: records that end in a zero byte, the first of which is the digest.
    pub(crate) fn record(&self, to: &mut Vec<u8>) {
        to.extend(format!("tree {}\0", self.digest).bytes());
        for (name, (kind, content)) in self.entries.iter().flatten() {
            to.extend(content.to_string().bytes());
            to.push(*kind);
            to.extend(name.as_bytes());
            to.push(0);
        }
    }

    /// The folders of a file of such records that come to the digests that they are kept under.
    pub(crate) fn recorded(bytes: &[u8]) -> Vec<Arc<Self>> {
        let digest = |hex: &[u8]| std::str::from_utf8(hex).ok().and_then(Digest::parse);
        let mut trees: Vec<Self> = Vec::new();
        for record in bytes.split(|byte| *byte == 0) {
            if let Some(of) = record.strip_prefix(b"tree ").and_then(digest) {
                trees.push(Self {
                    digest: of,
                    entries: Some(BTreeMap::new()),
                });
            } else if let Some((content, [kind, name @ ..])) = record.split_at_checked(64)
                && let Some(content) = digest(content)
                && let Some(entries) = trees.last_mut().and_then(|tree| tree.entries.as_mut())
            {
                entries.insert(OsString::from_vec(name.to_vec()), (*kind, content));
            }
        }
        let whole = trees.into_iter().filter(|tree| {
            let mut hasher = Sha256::new();
            for (name, (kind, content)) in tree.entries.iter().flatten() {
                add(&mut hasher, name.as_bytes(), *kind, *content);
            }
            Digest(hasher.finalize().into()) == tree.digest
        });
        whole.map(Arc::new).collect()
    }

    /// Which files are others than `was` had, in words; none where one of the two is not listed.
    pub(crate) fn differences(&self, was: &Self) -> Option<String> {
        let (is, was) = (self.entries.as_ref()?, was.entries.as_ref()?);
        let parts = [
            (
                "changed",
                names(is, |name, of| {
                    was.get(name).is_some_and(|before| before != of)
                }),
            ),
            ("added", names(is, |name, _| !was.contains_key(name))),
            ("removed", names(was, |name, _| !is.contains_key(name))),
        ];
        let all: usize = parts.iter().map(|(_, names)| names.len()).sum();
        let (mut left, mut words) = (MOST_NAMED, Vec::new());
        for (did, names) in &parts {
            let shown: Vec<&str> = names.iter().take(left).map(String::as_str).collect();
            left -= shown.len();
            if !shown.is_empty() {
                words.push(format!("{did} {}", shown.join(", ")));
            }
        }
        if all > MOST_NAMED {
            words.push(format!("and {} more", all - MOST_NAMED));
        }
        Some(words.join("; "))
    }
}

/// The names of entries that differ. A folder goes without saying where something in it does.
fn names(entries: &Entries, differs: impl Fn(&OsString, &(u8, Digest)) -> bool) -> Vec<String> {
    let differ: Vec<(&Path, u8)> = entries
        .iter()
        .filter(|(name, of)| differs(name, of))
        .map(|(name, (kind, _))| (Path::new(name), *kind))
        .collect();
    let folders: BTreeSet<&Path> = differ
        .iter()
        .filter_map(|(path, _)| path.parent())
        .collect();
    let named = differ
        .iter()
        .filter(|(path, kind)| *kind != b'd' || !folders.contains(path));
    named
        // Quoted: a name can have all that this sentence has.
        .map(|(path, _)| format!("{:?}", Line::<256>::new(path.to_string_lossy())))
        .collect()
}

/// One SHA-256 over all of a folder. Reads all of it, unless it was read before.
///
/// # Errors
/// The system's; a folder that is too large, or changes while it is read.
pub(crate) fn digest(folder: &Path) -> io::Result<Digest> {
    let key = identity(folder)?;
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(digest) = known().get(&key).copied() {
        return Ok(digest);
    }
    let digest = read(folder, key)?.digest;
    let mut known = known();
    if known.len() >= KEPT {
        known.clear();
    }
    known.insert(key, digest);
    Ok(digest)
}

/// Reads a folder with this identity.
fn read(folder: &Path, key: Digest) -> io::Result<Arc<Tree>> {
    let mut hasher = Sha256::new();
    let all = tree(folder)?;
    let mut entries = can_be_listed(&all).then(BTreeMap::new);
    for (name, about) in all {
        let path = || folder.join(&name);
        let (kind, content) = match about.file_type() {
            kind if kind.is_dir() => (b'd', Digest::of(b"")),
            kind if kind.is_symlink() => {
                let to = fs::read_link(path())?;
                (b'l', Digest::of(to.as_os_str().as_bytes()))
            }
            _ if about.mode() & 0o111 == 0 => (b'f', programs::content(&path())?),
            _ => (b'x', programs::content(&path())?),
        };
        add(&mut hasher, name.as_bytes(), kind, content);
        if let Some(entries) = &mut entries {
            entries.insert(name, (kind, content));
        }
    }
    if identity(folder)? != key {
        return Err(io::Error::other("it is being written"));
    }
    let digest = Digest(hasher.finalize().into());
    let read = Arc::new(Tree { digest, entries });
    let mut lately = LATELY.lock().unwrap_or_else(PoisonError::into_inner);
    lately.retain(|tree| tree.digest != digest);
    lately.push_front(read.clone());
    lately.truncate(LISTED);
    Ok(read)
}

fn can_be_listed(all: &BTreeMap<OsString, fs::Metadata>) -> bool {
    let bytes: usize = all.keys().map(|name| name.len()).sum();
    all.len() <= MOST_LISTED && bytes <= MOST_NAME_BYTES
}

/// All that lies in a folder, by its path below it.
fn tree(folder: &Path) -> io::Result<BTreeMap<OsString, fs::Metadata>> {
    let mut tree = BTreeMap::new();
    walk(folder, |below, name, about| {
        tree.insert(below.join(name).into_os_string(), about.clone());
    })?;
    Ok(tree)
}

/// What changes with anything that lies in a folder. Each call of a source that runs it costs this, so it keeps no name:
/// in a folder that nobody changes, the system lists names in the same order again, and another order is another key.
fn identity(folder: &Path) -> io::Result<Digest> {
    let mut hasher = Sha256::new();
    walk(folder, |below, name, about| {
        for path in [below.as_os_str(), name] {
            hasher.update((path.len() as u64).to_le_bytes());
            hasher.update(path.as_bytes());
        }
        for number in [
            about.dev(),
            about.ino(),
            about.size(),
            u64::from(about.mode()),
        ] {
            hasher.update(number.to_le_bytes());
        }
        for number in [
            about.mtime(),
            about.mtime_nsec(),
            about.ctime(),
            about.ctime_nsec(),
        ] {
            hasher.update(number.to_le_bytes());
        }
    })?;
    Ok(Digest(hasher.finalize().into()))
}

/// Gives all that lies in a folder: the path of its own folder below that one, its name, what the system says of it.
fn walk(folder: &Path, mut each: impl FnMut(&Path, &OsStr, &fs::Metadata)) -> io::Result<()> {
    let (mut folders, mut entries, mut bytes) = (vec![PathBuf::new()], 0, 0);
    while let Some(below) = folders.pop() {
        for entry in fs::read_dir(folder.join(&below))? {
            let entry = entry?;
            let (name, about) = (entry.file_name(), entry.metadata()?);
            let kind = about.file_type();
            if !(kind.is_dir() || kind.is_symlink() || kind.is_file()) {
                return Err(io::Error::other("something in it is no file"));
            }
            entries += 1;
            bytes += about.size();
            if entries > MOST_ENTRIES || bytes > MOST_BYTES {
                let why = "it holds more than 50,000 files or 512 MiB: name the folder of the server alone";
                return Err(io::Error::other(why));
            }
            each(&below, &name, &about);
            if kind.is_dir() {
                folders.push(below.join(name));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_differ_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let read = || Tree::lately(digest(path).unwrap()).unwrap();
        fs::create_dir(path.join("lib")).unwrap();
        for name in ["a.js", "lib/b.js", "lib/c.js", "lib-d.js"] {
            fs::write(path.join(name), "one").unwrap();
        }
        let first = read();
        let mut kept = Vec::new();
        first.record(&mut kept);
        assert_eq!(Tree::recorded(&kept), std::slice::from_ref(&first));
        // A list that does not come to its digest is not believed.
        let forged = String::from_utf8_lossy(&kept).replace("a.js", "z.js");
        assert!(Tree::recorded(forged.as_bytes()).is_empty());
        assert_eq!(first.differences(&first).as_deref(), Some(""));

        fs::write(path.join("a.js"), "two").unwrap();
        fs::remove_dir_all(path.join("lib")).unwrap();
        fs::create_dir_all(path.join("new/empty")).unwrap();
        fs::write(path.join("new/\u{202e}.js"), "").unwrap();
        fs::write(path.join("q, r; removed \"s"), "").unwrap();
        let second = read();
        let words = second.differences(&first).unwrap();
        assert!(
            words.starts_with(r#"changed "a.js"; added "new/empty", "new/"#),
            "{words}"
        );
        let ends = r#", "q, r; removed \"s"; removed "lib/b.js", "lib/c.js""#;
        assert!(words.ends_with(ends), "{words}");
        assert!(!words.contains('\u{202e}'), "{words}");
        for n in 0..20 {
            fs::write(path.join(format!("many-{n:02}")), "").unwrap();
        }
        let words = read().differences(&second).unwrap();
        assert!(
            words.starts_with(r#"added "many-00", "#)
                && words.ends_with(r#""many-07"; and 12 more"#),
            "{words}"
        );
        for n in 0..=MOST_LISTED {
            fs::write(path.join(format!("f{n}")), "").unwrap();
        }
        assert_eq!(read().differences(&second), None);
    }

    #[test]
    fn any_change_of_a_file_is_another_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        fs::create_dir(path.join("lib")).unwrap();
        fs::write(path.join("lib/a.js"), "one").unwrap();
        let first = digest(path).unwrap();
        assert_eq!(digest(path).unwrap(), first, "the control");
        fs::write(path.join("lib/a.js"), "two").unwrap();
        let second = digest(path).unwrap();
        assert_ne!(second, first);
        fs::write(path.join("lib/a.js"), "one").unwrap();
        assert_eq!(
            digest(path).unwrap(),
            first,
            "contents count, and not times"
        );
        for (what, change) in [
            (
                "new",
                &(|| fs::write(path.join("b"), "").unwrap()) as &dyn Fn(),
            ),
            ("link", &|| {
                std::os::unix::fs::symlink("/etc", path.join("l")).unwrap();
            }),
            ("gone", &|| fs::remove_file(path.join("lib/a.js")).unwrap()),
        ] {
            let before = digest(path).unwrap();
            change();
            assert_ne!(digest(path).unwrap(), before, "{what}");
        }
    }
}
