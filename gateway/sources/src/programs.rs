//! The programs that the workers of a source may have started: which files they are.
//!
//! A program is one rule of the source: its name in the manifest, its resolved path, the SHA-256 of its content. The owner
//! reviews another one as any other change of the source's rules.
//!
//! Invariants: a program that is missing for now is what it was; a file is read again when its inode, size or times have
//! changed.
//!
//! Must not know: who starts a program.

use plexus_home::inspection;
use plexus_ipc::manifest::{ChildProgram, Manifest};
use plexus_protocol::Digest;
use plexus_trust::Source;
use sha2::{Digest as _, Sha256};
use std::{
    collections::HashMap,
    fs::{File, Metadata},
    io::{self, Read as _},
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{LazyLock, Mutex, PoisonError},
};

/// Digests by what changes with a file's content.
static KNOWN: LazyLock<Mutex<HashMap<Identity, Digest>>> = LazyLock::new(Mutex::default);

/// Files whose digests are kept.
const KEPT: usize = 64;

type Identity = (u64, u64, u64, (i64, i64), (i64, i64));

fn identity(about: &Metadata) -> Identity {
    let modified = (about.mtime(), about.mtime_nsec());
    let changed = (about.ctime(), about.ctime_nsec());
    (about.dev(), about.ino(), about.size(), modified, changed)
}

/// The rule of the program that lies at `path`. Reads the whole file, unless it was read before.
///
/// # Errors
/// The system's; a path that is no file.
pub fn rule(name: &str, path: &Path) -> io::Result<String> {
    let path = path.canonicalize()?;
    let digest = digest(&path)?;
    Ok(format!("program {name} {} {digest}", path.display()))
}

/// SHA-256 of a file's content. Reads the whole file, unless it was read before.
///
/// # Errors
/// The system's; a path that is no file.
pub(crate) fn digest(path: &Path) -> io::Result<Digest> {
    let (mut file, key) = opened(path)?;
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let found = known().get(&key).copied();
    match found {
        Some(digest) => Ok(digest),
        None => {
            let digest = read(&mut file, key)?;
            let mut known = known();
            if known.len() >= KEPT {
                known.clear();
            }
            known.insert(key, digest);
            Ok(digest)
        }
    }
}

/// The same, of a file that is not asked for again.
///
/// # Errors
/// As those of [`digest`].
pub(crate) fn content(path: &Path) -> io::Result<Digest> {
    let (mut file, key) = opened(path)?;
    read(&mut file, key)
}

fn opened(path: &Path) -> io::Result<(File, Identity)> {
    let file = File::open(path)?;
    let about = file.metadata()?;
    match about.is_file() {
        true => Ok((file, identity(&about))),
        false => Err(io::Error::other("it is no file")),
    }
}

fn read(file: &mut File, key: Identity) -> io::Result<Digest> {
    let mut hasher = Sha256::new();
    let mut part = vec![0; 256 * 1024];
    loop {
        match file.read(&mut part)? {
            0 => break,
            read => hasher.update(&part[..read]),
        }
    }
    // Written meanwhile: what was read is no version of it.
    match identity(&file.metadata()?) == key {
        true => Ok(Digest(hasher.finalize().into())),
        false => Err(io::Error::other("it is being written")),
    }
}

/// The rule of a program as it is now.
async fn rule_of(child: &ChildProgram, source: &Source) -> io::Result<String> {
    let (name, path) = (
        child.name.clone(),
        child.program.named(&source.config.route),
    );
    let found = inspection::at(&path.clone(), move || rule(&name, &path)).await;
    found.flatten()
}

/// The rules of a source's programs, as they are now.
pub(crate) async fn seen(manifest: &Manifest, source: &Source) -> Vec<String> {
    let mut rules = Vec::new();
    for child in &manifest.children {
        let found = rule_of(child, source).await.ok().or_else(|| {
            let begins = format!("program {} ", child.name);
            let known = source.base.iter().find(|rule| rule.starts_with(&begins));
            known.cloned()
        });
        rules.extend(found);
    }
    rules
}

/// The path and the digest of the program of a name among a source's rules.
#[must_use]
pub fn reviewed<'r>(name: &str, rules: &'r [String]) -> Option<(&'r str, &'r str)> {
    let mut rules = rules.iter();
    rules.find_map(|rule| {
        let rest = rule.strip_prefix("program ")?.strip_prefix(name)?;
        rest.strip_prefix(' ')?.rsplit_once(' ')
    })
}

/// Whether the programs of a source are the ones that its rules are about. One that cannot be looked at is none of them.
pub async fn are_known(manifest: &Manifest, source: &Source) -> bool {
    for child in &manifest.children {
        let found = rule_of(child, source).await;
        if !found.is_ok_and(|rule| source.base.contains(&rule)) {
            return false;
        }
    }
    true
}

/// Whether the program of a name is the one that the source's rules are about.
pub fn is_known(
    rules: Vec<String>,
) -> impl Fn(&str, &Path) -> io::Result<bool> + Send + Sync + 'static {
    move |name, path| Ok(rules.contains(&rule(name, path)?))
}
