//! Making a backup: of a ledger at rest, or of a copy that the running daemon has made.

use super::{
    ARCHIVE, BackupError, Entry, HEADER_MOST, HEADS, Header, IDENTITIES_MOST, IDENTITY_MOST,
    LEDGER, MAGIC, SEAL, WORKERS, hex, is_of_worker, known, secret,
};
use plexus_protocol::Timestamp;
use plexus_record::Trust;
use sha2::{Digest as _, Sha256};
use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read as _, Write},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};
use zeroize::Zeroizing;

/// Where copies of the ledger lie while a backup is made of them; emptied at each start of the daemon, and of those that
/// an interrupted backup has left when the next one begins.
pub(crate) const COPIES: &str = "run/backup";

/// The age at which a copy has nobody any more who makes a backup of it.
const LEFT: Duration = Duration::from_hours(24);

/// What was made.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupSummary {
    file: PathBuf,
    bytes: u64,
    #[serde(flatten)]
    header: Header,
}

/// A copy of the ledger in a folder of its own, which goes with it.
pub struct Copy {
    folder: PathBuf,
}

impl Copy {
    /// Copies a ledger that no daemon has open.
    pub fn at_rest(home: &Path) -> Result<Self, BackupError> {
        if !home.join(LEDGER).is_file() {
            let home = home.display().to_string();
            return Err(BackupError::NoState { home });
        }
        let copy = Self::begin(home)?;
        let copied = plexus_ledger::copy_at_rest(home, &copy.folder.join(LEDGER))?;
        copy.noted(&copied.heads)
    }

    /// Copies the ledger of this daemon.
    pub fn running(home: &Path, ledger: &plexus_record::Ledger) -> Result<Self, BackupError> {
        let copy = Self::begin(home)?;
        let copied = ledger.copy(&copy.folder.join(LEDGER))?;
        copy.noted(&copied.heads)
    }

    /// Takes over a copy that the running daemon has made.
    ///
    /// # Errors
    /// A folder that no daemon of `home` made: it would be removed with everything in it.
    pub fn made(home: &Path, folder: &Path) -> Result<Self, BackupError> {
        let io = |e| BackupError::io(folder, e);
        let real = folder.canonicalize().map_err(io)?;
        let place = home.join(COPIES).canonicalize().map_err(io)?;
        let named = real.file_name().and_then(|name| name.to_str());
        if real.parent() == Some(&place) && named.is_some_and(|n| uuid::Uuid::try_parse(n).is_ok())
        {
            return Ok(Self { folder: real });
        }
        let why = format!("{} is no copy of this ledger", folder.display());
        Err(BackupError::Other(why))
    }

    fn begin(home: &Path) -> Result<Self, BackupError> {
        tidy_left(home);
        let folder = home.join(COPIES).join(uuid::Uuid::new_v4().to_string());
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(|e| BackupError::io(&folder, e))?;
        Ok(Self { folder })
    }

    fn noted(self, heads: &str) -> Result<Self, BackupError> {
        let path = self.folder.join(HEADS);
        plexus_home::state_dir::create_private(&path, heads.as_bytes())
            .map_err(|e| BackupError::io(&path, e))?;
        Ok(self)
    }

    /// Hands the copy over to another process, which removes it.
    pub fn keep(self) -> PathBuf {
        let folder = self.folder.clone();
        std::mem::forget(self);
        folder
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::warn!(name: "backup.left_behind", %error, path = %self.folder.display(), "a copy of the ledger was left behind");
        }
    }
}

/// Removes copies that a backup left behind.
pub fn tidy(home: &Path) {
    match fs::remove_dir_all(home.join(COPIES)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(name: "backup.left_behind", %error, "copies of the ledger were left behind");
        }
        _ => {}
    }
}

/// The same for those that nobody comes for.
fn tidy_left(home: &Path) {
    let entries = fs::read_dir(home.join(COPIES)).into_iter().flatten();
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let made = path.symlink_metadata().and_then(|about| about.modified());
        let age = made.ok().and_then(|made| made.elapsed().ok());
        if age.is_some_and(|age| age >= LEFT) {
            drop(Copy { folder: path });
        }
    }
}

/// Writes the backup of `home`, with its ledger from `copy`, to the new file `to`.
///
/// # Errors
/// A copy that does not verify is refused: a backup that cannot be restored is worse than none. There is no file then.
pub fn write(
    home: &Path,
    copy: &Copy,
    secrets: bool,
    to: &Path,
) -> Result<BackupSummary, BackupError> {
    if to.symlink_metadata().is_ok() {
        return Err(BackupError::Exists(to.display().to_string()));
    }
    let prepared = prepare(home, copy, secrets)?;
    let bytes = prepared.seal(to)?;
    Ok(BackupSummary {
        file: to.to_owned(),
        bytes,
        header: prepared.header,
    })
}

/// A backup that is ready to be written: what its header says of each file, and the same file.
pub(super) struct Prepared {
    header: Header,
    /// In the header's order.
    contents: Vec<Content>,
}

/// Where the bytes of a file are.
enum Content {
    /// In the copy, which is ours alone.
    Copied(PathBuf),
    /// Here. A small file of the state directory, where another may take its place at any moment (`key rotate`): read
    /// once, so that what the header says of it is said of what follows.
    Taken(Zeroizing<Vec<u8>>),
}

/// Checks the copy, and reads what belongs beside it.
///
/// # Errors
/// A copy that does not verify; a file that cannot be read.
pub(super) fn prepare(home: &Path, copy: &Copy, secrets: bool) -> Result<Prepared, BackupError> {
    let ledger = copy.folder.join(LEDGER);
    let verified = plexus_ledger::verify_file::<Trust>(&ledger, Some(&copy.folder.join(HEADS)))?;
    let mut names = vec![LEDGER.to_owned(), HEADS.to_owned()];
    names.extend(archived(&copy.folder)?);
    let (mut files, mut contents) = (Vec::new(), Vec::new());
    for name in names {
        let path = copy.folder.join(&name);
        let io = |e| BackupError::io(&path, e);
        let mut file = read_copied(&path).map_err(io)?;
        let mut digest = Sha256::new();
        let bytes = io::copy(&mut file, &mut Into(&mut digest)).map_err(io)?;
        let sha256 = hex(&digest.finalize());
        files.push(Entry {
            name,
            bytes,
            sha256,
        });
        contents.push(Content::Copied(path));
    }
    let mut of_workers = 0;
    for name in beside(home, secrets)? {
        let path = home.join(&name);
        let io = |e| BackupError::io(&path, e);
        let mut taken = Zeroizing::new(Vec::new());
        let is_of_worker = is_of_worker(&name);
        let mut file = match read_private(&path) {
            // Its worker runs, and may have done with it.
            Err(e) if is_of_worker && e.kind() == io::ErrorKind::NotFound => continue,
            read => read.map_err(io)?,
        };
        if is_of_worker {
            let most = IDENTITY_MOST.min(IDENTITIES_MOST - of_workers);
            of_workers += (&mut file)
                .take(most + 1)
                .read_to_end(&mut taken)
                .map_err(io)? as u64;
            if taken.len() as u64 > most {
                return Err(io(io::Error::other("it is too large for an identity")));
            }
        } else {
            file.read_to_end(&mut taken).map_err(io)?;
        }
        files.push(Entry {
            name,
            bytes: taken.len() as u64,
            sha256: hex(&Sha256::digest(&*taken)),
        });
        contents.push(Content::Taken(taken));
    }
    let header = Header {
        made_at: Timestamp(verified.head.at),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        sequence: verified.head.seq,
        head: hex(&verified.head.hash),
        secrets,
        files,
    };
    Ok(Prepared { header, contents })
}

impl Prepared {
    /// Writes the new file `to`; gives its length.
    pub(super) fn seal(&self, to: &Path) -> Result<u64, BackupError> {
        let folder = match to.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let io = |e| BackupError::io(to, e);
        let about = fs::metadata(folder).map_err(|e| BackupError::io(folder, e))?;
        if !about.is_dir() {
            let no_folder = io::ErrorKind::NotADirectory.into();
            return Err(BackupError::io(folder, no_folder));
        }
        // 0600, and without its name until it is whole.
        let part = tempfile::Builder::new()
            .prefix(".plexus-backup-")
            .tempfile_in(folder)
            // Its own words name a file that the owner never named.
            .map_err(|e| BackupError::io(folder, e.kind().into()))?;
        let mut out = Sealing {
            file: io::BufWriter::new(part.as_file()),
            digest: Sha256::new(),
            bytes: 0,
        };
        let text =
            serde_json::to_string(&self.header).map_err(|e| BackupError::Other(e.to_string()))?;
        if text.len() as u64 >= HEADER_MOST {
            let many = self.header.files.len();
            let why = format!("{many} files are more than a backup names");
            return Err(BackupError::Other(why));
        }
        out.write_all(format!("{MAGIC}{text}\n").as_bytes())
            .map_err(io)?;
        for (entry, content) in self.header.files.iter().zip(&self.contents) {
            let path = match content {
                Content::Copied(path) => path,
                Content::Taken(bytes) => {
                    out.write_all(bytes).map_err(io)?;
                    continue;
                }
            };
            let file = read_copied(path).map_err(|e| BackupError::io(path, e))?;
            let copied = io::copy(&mut file.take(entry.bytes), &mut out)
                .map_err(|e| BackupError::io(path, e))?;
            if copied != entry.bytes {
                let why = format!("{} changed while it was read", path.display());
                return Err(BackupError::Other(why));
            }
        }
        let seal = format!("{SEAL}{}\n", hex(&out.digest.clone().finalize()));
        out.write_all(seal.as_bytes()).map_err(io)?;
        out.flush().map_err(io)?;
        let bytes = out.bytes;
        drop(out);
        part.as_file().sync_all().map_err(io)?;
        part.persist_noclobber(to).map_err(|e| io(e.error))?;
        File::open(folder).and_then(|f| f.sync_all()).map_err(io)?;
        Ok(bytes)
    }
}

/// Names of the archives that belong to the copy, and of their list.
fn archived(copy: &Path) -> Result<Vec<String>, BackupError> {
    let folder = copy.join(ARCHIVE);
    let entries = match fs::read_dir(&folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(|e| BackupError::io(&folder, e))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| BackupError::io(&folder, e))?;
        let name = format!("{ARCHIVE}/{}", entry.file_name().to_string_lossy());
        if known(&name) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Names of the files of the state directory that a backup may hold, but for the ledger's own.
fn beside(home: &Path, secrets: bool) -> Result<Vec<String>, BackupError> {
    let mut names: Vec<String> = Vec::new();
    let mut folders = ["", "agents", "extensions"].map(str::to_owned).to_vec();
    if secrets {
        folders.extend(["secrets", WORKERS].map(str::to_owned));
    }
    while let Some(folder) = folders.pop() {
        let path = home.join(&folder);
        let entries = match fs::read_dir(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            read => read.map_err(|e| BackupError::io(&path, e))?,
        };
        for entry in entries {
            let entry = entry.map_err(|e| BackupError::io(&path, e))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let name = if folder.is_empty() {
                name
            } else {
                format!("{folder}/{name}")
            };
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            // Identities lie so deep; what else workers keep may be large, and is not looked through.
            let leads_on = match name.split('/').collect::<Vec<_>>()[..] {
                [WORKERS, _] | [WORKERS, _, "agents"] | [WORKERS, _, "agents", _] => true,
                [WORKERS, _, "agents", _, inner] => inner == "chains",
                _ => false,
            };
            if kind.is_dir() && leads_on {
                folders.push(name);
            } else if kind.is_file()
                && known(&name)
                && (secrets || !secret(&name))
                && name != LEDGER
                && name != HEADS
            {
                names.push(name);
            }
        }
    }
    names.sort();
    Ok(names)
}

/// Opens a file of a copy, whose folder is ours alone. An archive on another file system is a link in it.
fn read_copied(path: &Path) -> io::Result<File> {
    match fs::read_link(path) {
        Ok(archive) => read_private(&archive),
        Err(_) => read_private(path),
    }
}

/// Opens a plain file of ours, not through a link.
fn read_private(path: &Path) -> io::Result<File> {
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(path)?;
    let about = file.metadata()?;
    if !about.is_file() || about.uid() != nix::unistd::geteuid().as_raw() {
        return Err(io::Error::other("it is not a plain file of yours"));
    }
    Ok(file)
}

/// Feeds a digest.
struct Into<'a>(&'a mut Sha256);

impl Write for Into<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a file and keeps the digest of what was written.
struct Sealing<'a> {
    file: io::BufWriter<&'a File>,
    digest: Sha256,
    bytes: u64,
}

impl Write for Sealing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.digest.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Root gives away what is its own; anybody else finds enough of root's.
    #[test]
    fn what_another_user_owns_is_not_copied() {
        let home = tempfile::tempdir().unwrap();
        let mut file = home.path().join("connection-key");
        fs::write(&file, "the key").unwrap();
        read_private(&file).expect("the control");
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(&file, Some(65534), None).unwrap();
        } else {
            file = "/etc/passwd".into();
        }
        let refused = read_private(&file).unwrap_err();
        assert_eq!(refused.to_string(), "it is not a plain file of yours");
    }
}
