//! Reading a backup: all of it is checked before any of it is used.

use super::{
    BackupError, HEADER_MOST, Header, LEDGER, MAGIC, SEAL, SEAL_BYTES, hex, known, secret,
};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

/// The user that can be every other one.
const ROOT: u32 = 0;

/// A backup whose every byte was checked.
#[derive(Debug)]
pub(crate) struct Backup {
    pub(crate) header: Header,
    file: File,
    /// Where the first file begins.
    start: u64,
    name: String,
}

impl Backup {
    /// Opens and checks a backup.
    ///
    /// # Errors
    /// [`BackupError::Foreign`] for another user's; [`BackupError::Torn`] for a byte too many, too few or changed.
    pub(crate) fn open(path: &Path) -> Result<Self, BackupError> {
        let name = path.display().to_string();
        let io = |e| BackupError::io(path, e);
        let torn = |why: &str| BackupError::Torn {
            file: name.clone(),
            why: why.to_owned(),
        };
        let file = File::open(path).map_err(io)?;
        let about = file.metadata().map_err(io)?;
        if ![nix::unistd::geteuid().as_raw(), ROOT].contains(&about.uid()) {
            let uid = about.uid();
            return Err(BackupError::Foreign { file: name, uid });
        }
        let length = about.len();
        let mut reader = BufReader::new(&file);

        let mut magic = vec![0; MAGIC.len()];
        reader.read_exact(&mut magic).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => torn("it is too short"),
            _ => io(e),
        })?;
        if magic != MAGIC.as_bytes() {
            return Err(torn("it does not begin as a backup of this version does"));
        }
        let mut line = Vec::new();
        (&mut reader)
            .take(HEADER_MOST)
            .read_until(b'\n', &mut line)
            .map_err(io)?;
        if line.pop() != Some(b'\n') {
            return Err(torn("its header is cut short"));
        }
        let header: Header =
            serde_json::from_slice(&line).map_err(|_| torn("its header cannot be read"))?;
        let start = (MAGIC.len() + line.len() + 1) as u64;
        let files = header
            .files
            .iter()
            .try_fold(0_u64, |sum, file| sum.checked_add(file.bytes));
        let body = files
            .and_then(|files| files.checked_add(start))
            .ok_or_else(|| torn("its header cannot be read"))?;
        if body.checked_add(SEAL_BYTES) != Some(length) {
            return Err(torn("its length is not what its header says"));
        }

        // The whole first: then what the header says is what was written.
        reader.seek(SeekFrom::Start(0)).map_err(io)?;
        let digest = digest_of(&mut (&mut reader).take(body)).map_err(io)?;
        let mut seal = Vec::new();
        reader.read_to_end(&mut seal).map_err(io)?;
        if seal != format!("{SEAL}{digest}\n").as_bytes() {
            return Err(torn("its digest is not that of its content"));
        }
        let mut seen = BTreeSet::new();
        for entry in &header.files {
            if !known(&entry.name) || !seen.insert(entry.name.as_str()) {
                return Err(torn("it names a file that no backup holds"));
            }
            if secret(&entry.name) && !header.secrets {
                return Err(torn("it holds credentials and does not say so"));
            }
        }
        if !seen.contains(LEDGER) {
            return Err(torn("there is no ledger in it"));
        }
        Ok(Self {
            header,
            file,
            start,
            name,
        })
    }

    /// Writes its files into the folder `to`, which is ours alone.
    ///
    /// # Errors
    /// When a file cannot be written, or is not what the header says.
    pub(crate) fn unpack(&self, to: &Path) -> Result<(), BackupError> {
        let mut reader = BufReader::new(&self.file);
        reader
            .seek(SeekFrom::Start(self.start))
            .map_err(|e| BackupError::io(Path::new(&self.name), e))?;
        for entry in &self.header.files {
            let path = to.join(&entry.name);
            let io = |e| BackupError::io(&path, e);
            let mut out = create(&path).map_err(io)?;
            let mut digest = Sha256::new();
            let mut rest = (&mut reader).take(entry.bytes);
            let mut chunk = vec![0; 1 << 16];
            loop {
                let read = rest
                    .read(&mut chunk)
                    .map_err(|e| BackupError::io(Path::new(&self.name), e))?;
                if read == 0 {
                    break;
                }
                digest.update(&chunk[..read]);
                out.write_all(&chunk[..read]).map_err(io)?;
            }
            if hex(&digest.finalize()) != entry.sha256 {
                return Err(BackupError::Torn {
                    file: self.name.clone(),
                    why: format!("{} is not what its header says", entry.name),
                });
            }
            out.sync_all().map_err(io)?;
        }
        Ok(())
    }
}

fn create(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

fn digest_of(from: &mut impl io::Read) -> io::Result<String> {
    let mut digest = Sha256::new();
    let mut chunk = vec![0; 1 << 16];
    loop {
        match from.read(&mut chunk)? {
            0 => return Ok(hex(&digest.finalize())),
            read => digest.update(&chunk[..read]),
        }
    }
}
