//! Restoring: a state directory from a backup, whole or not at all.
//!
//! ```text
//! check ▸ HOME.restoring/home (unpacked, verified, "restored" recorded, closed) ▸ ready ▸ exchanged with HOME ▸ old one aside
//! ```
//! Invariants: until the exchange HOME is as it was; after it HOME is the restored one, closed cleanly; on Linux there
//! is nothing between. A state that was in HOME is never removed: it is kept under a name that says when. While it is
//! exchanged it is locked, so no daemon runs on it; no file in it is opened.

use super::{BackupError, HEADS, LEDGER, read::Backup};
use nix::fcntl::{Flock, FlockArg};
use plexus_home::{clock::Clock, network::Network, state_dir::StateDir};
use plexus_ledger::Options;
use plexus_protocol::{AgentId, SourceId, Timestamp, state_dir::make_folder};
use plexus_record::{Restoration, Trust};
use serde::Serialize;
use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

/// What was restored, and what is left to do.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Restored {
    home: PathBuf,
    /// When the backup was made.
    made_at: Timestamp,
    /// How long ago that was, in milliseconds.
    age_ms: u64,
    /// Version of the programs that made it.
    version: String,
    /// Sequence of its last event; the next one says that it was restored.
    sequence: u64,
    /// Whether it held the connection key and secrets of sources.
    secrets: bool,
    /// Agents that need a new code.
    agents: Vec<AgentId>,
    /// How many grants rest.
    grants: usize,
    /// How many requests, and approvals that were not used, are void.
    requests: usize,
    /// Sources with grants that rest.
    sources: Vec<SourceId>,
    /// Sources that were lent when the backup was made; each has ended.
    lendings: Vec<SourceId>,
    /// Where the gateway was to listen beyond loopback, and under which names; it does no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<Network>,
    /// Where the state is now that was there before.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<PathBuf>,
}

/// Restores `file` to `home`.
///
/// # Errors
/// Nothing was changed then.
pub fn run(file: &Path, home: &Path, replace: bool) -> Result<Restored, BackupError> {
    let home = &real(home)?;
    let backup = Backup::open(file)?;
    let occupied = match fs::read_dir(home) {
        Ok(mut entries) => entries.next().is_some(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => false,
        Err(e) => return Err(BackupError::io(home, e)),
    };
    // Before the question of --replace: what runs there matters more.
    let _closed = plexus_ledger::hold_closed(home)?;
    if occupied && !replace {
        let home = home.display().to_string();
        return Err(BackupError::Occupied { home });
    }
    let stage = StagingFolder::begin(home)?;
    let fresh = stage.fresh();
    let dir = StateDir::open(Some(fresh.clone())).map_err(|e| BackupError::Other(e.to_string()))?;
    // The folders are the daemon's to make; the backup brings its files.
    backup.unpack(&fresh)?;
    let network = loopback_only(&dir)?;
    plexus_ledger::verify_file::<Trust>(&fresh.join(LEDGER), heads(&fresh).as_deref())?;
    let (now, restoration) = record(&fresh, backup.header.made_at)?;
    let kept = stage.exchange(home, occupied)?;
    let header = backup.header;
    Ok(Restored {
        home: home.clone(),
        made_at: header.made_at,
        age_ms: now.since(header.made_at),
        version: header.version,
        sequence: header.sequence,
        secrets: header.secrets,
        agents: restoration.agents,
        grants: restoration.grants,
        requests: restoration.requests,
        sources: restoration.suspended,
        lendings: restoration.lendings,
        network,
        kept,
    })
}

/// Takes out where the gateway was to listen beyond loopback: the owner may have closed it since. Gives what it was.
fn loopback_only(dir: &StateDir) -> Result<Option<Network>, BackupError> {
    let was = Network::load(dir, None).map_err(|e| BackupError::Other(format!("{e:#}")))?;
    if was.active_is_loopback() && was.public_hostnames.is_empty() {
        return Ok(None);
    }
    let io = |e| BackupError::io(dir.path(), e);
    Network::default().save(dir).map_err(io)?;
    Ok(Some(was))
}

fn heads(home: &Path) -> Option<PathBuf> {
    Some(home.join(HEADS)).filter(|path| path.is_file())
}

/// Where `home` really is; its last part need not exist.
fn real(home: &Path) -> Result<PathBuf, BackupError> {
    let absolute = std::path::absolute(home).map_err(|e| BackupError::io(home, e))?;
    if let Ok(real) = absolute.canonicalize() {
        return Ok(real);
    }
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err(BackupError::Other(format!(
            "{} cannot hold a state directory",
            absolute.display()
        )));
    };
    make_folder(parent, 0o755).map_err(|e| BackupError::io(parent, e))?;
    let parent = parent
        .canonicalize()
        .map_err(|e| BackupError::io(parent, e))?;
    Ok(parent.join(name))
}

/// Records in the restored ledger that it is one.
fn record(home: &Path, made_at: Timestamp) -> Result<(Timestamp, Restoration), BackupError> {
    let clock = Clock::start();
    let ticking = clock.clone();
    let options = Options::new(Arc::new(move || ticking.now().0));
    let (ledger, boot) = plexus_ledger::Ledger::<Trust>::open(home, options)?;
    clock.not_before(Timestamp(boot.checked.head.at));
    let other = |why: String| BackupError::Other(format!("the restore cannot be recorded: {why}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|e| other(e.to_string()))?;
    let recorded = runtime.block_on(plexus_record::record_restoration(&ledger, made_at));
    let now = clock.now();
    if !ledger.close() {
        return Err(other("the ledger did not close".to_owned()));
    }
    Ok((now, recorded.map_err(other)?))
}

/// The folder in which the new state is made, locked while this process lives.
struct StagingFolder {
    at: PathBuf,
    _lock: Flock<File>,
}

impl StagingFolder {
    /// The state while it is made: a rest of it may go.
    const FRESH: &str = "home";
    /// The state once it is whole, and after the exchange the one that was there before: it is kept, whichever it is.
    const READY: &str = "ready";

    fn begin(home: &Path) -> Result<Self, BackupError> {
        let at = suffixed(home, ".restoring");
        let io = |e| BackupError::io(&at, e);
        let make = || DirBuilder::new().mode(0o700).create(&at);
        match make() {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.map_err(io)?,
        }
        let folder = File::open(&at).map_err(io)?;
        let lock = Flock::lock(folder, FlockArg::LockExclusiveNonblock).map_err(|_| {
            let home = home.display().to_string();
            BackupError::UnderWay { home }
        })?;
        let stage = Self { at, _lock: lock };
        // Left by a restore that was killed.
        if stage.ready().exists() {
            let aside = aside(home);
            tracing::warn!(name: "restore.unfinished", path = %aside.display(), "an earlier restore did not end; what it had exchanged is kept");
            fs::rename(stage.ready(), &aside).map_err(|e| BackupError::io(&aside, e))?;
        }
        let fresh = stage.fresh();
        match fs::remove_dir_all(&fresh) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(BackupError::io(&fresh, e)),
            _ => Ok(stage),
        }
    }

    fn fresh(&self) -> PathBuf {
        self.at.join(Self::FRESH)
    }
    fn ready(&self) -> PathBuf {
        self.at.join(Self::READY)
    }

    /// Puts the new state in its place; gives where the old one is kept.
    fn exchange(self, home: &Path, occupied: bool) -> Result<Option<PathBuf>, BackupError> {
        let ready = self.ready();
        sync_tree(&self.fresh()).map_err(|e| BackupError::io(&self.fresh(), e))?;
        fs::rename(self.fresh(), &ready).map_err(|e| BackupError::io(&ready, e))?;
        let kept = if occupied {
            let aside = aside(home);
            exchange(&ready, home, &aside).map_err(|e| BackupError::io(home, e))?;
            Some(aside)
        } else {
            // Also over an empty folder.
            fs::rename(&ready, home).map_err(|e| BackupError::io(home, e))?;
            None
        };
        let parent = home.parent().unwrap_or(Path::new("/"));
        File::open(parent)
            .and_then(|folder| folder.sync_all())
            .map_err(|e| BackupError::io(parent, e))?;
        Ok(kept)
    }
}

impl Drop for StagingFolder {
    fn drop(&mut self) {
        // A state that is ready is kept; an unfinished one, and the empty folder, may go.
        let _ = fs::remove_dir_all(self.fresh());
        let _ = fs::remove_dir(&self.at);
    }
}

/// `new` in the place of `home`, and what was there at `aside`.
#[cfg(target_os = "linux")]
fn exchange(new: &Path, home: &Path, aside: &Path) -> io::Result<()> {
    use nix::{errno::Errno, fcntl::AT_FDCWD, fcntl::RenameFlags, fcntl::renameat2};
    match renameat2(AT_FDCWD, new, AT_FDCWD, home, RenameFlags::RENAME_EXCHANGE) {
        Ok(()) => fs::rename(new, aside),
        // A file system that cannot exchange.
        Err(Errno::EINVAL | Errno::ENOSYS) => one_after_the_other(new, home, aside),
        Err(errno) => Err(errno.into()),
    }
}

/// `new` in the place of `home`, and what was there at `aside`.
#[cfg(not(target_os = "linux"))]
fn exchange(new: &Path, home: &Path, aside: &Path) -> io::Result<()> {
    one_after_the_other(new, home, aside)
}

/// Between the two steps there is no state directory at all; both are whole.
fn one_after_the_other(new: &Path, home: &Path, aside: &Path) -> io::Result<()> {
    fs::rename(home, aside)?;
    fs::rename(new, home).inspect_err(|_| {
        // The old one goes back; if that fails as well, its name says what it is.
        let _ = fs::rename(aside, home);
    })
}

/// A name for what was in `home`, which nothing has yet.
fn aside(home: &Path) -> PathBuf {
    let now = Clock::start().now().to_string();
    let stamp: String = now.chars().filter(char::is_ascii_alphanumeric).collect();
    let first = suffixed(home, &format!(".before-{stamp}"));
    let further = (2..).map(|n| suffixed(home, &format!(".before-{stamp}-{n}")));
    std::iter::once(first)
        .chain(further)
        .find(|path| path.symlink_metadata().is_err())
        .unwrap_or_else(|| suffixed(home, ".before"))
}

fn suffixed(home: &Path, suffix: &str) -> PathBuf {
    let mut name = home.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    home.with_file_name(name)
}

/// Files were synced as they were written; their names are now.
fn sync_tree(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        }
    }
    File::open(folder)?.sync_all()
}
