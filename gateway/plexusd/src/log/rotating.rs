//! One log file of bounded size, and the older ones that it became: `name`, `name.1`, `name.2`, …, the highest the
//! oldest.
//!
//! Invariants: 0600, never through a link; none grows beyond the limit; a line is in one file, whole.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How long nothing is tried after a write has failed: a full disk stays full for a while.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// The file that is written to.
pub(super) struct Rotating {
    path: PathBuf,
    limit: u64,
    older: usize,
    open: Option<(File, u64)>,
    failed: Option<Instant>,
}

impl Rotating {
    /// Nothing is opened before the first line.
    pub(super) fn new(path: PathBuf, limit: u64, older: usize) -> Self {
        Self {
            path,
            limit,
            older,
            open: None,
            failed: None,
        }
    }

    /// Appends a line. One that cannot be written is lost.
    pub(super) fn write(&mut self, line: &[u8]) {
        if self.failed.is_some_and(|at| at.elapsed() < AFTER_FAILURE) {
            return;
        }
        self.failed = match self.append(line) {
            Ok(()) => None,
            Err(_) => {
                self.open = None;
                Some(Instant::now())
            }
        };
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let length = line.len() as u64;
        let (file, size) = match self.open.take() {
            Some(open) => open,
            None => open(&self.path)?,
        };
        if size > 0 && size + length > self.limit {
            drop(file);
            self.shift()?;
            let fresh = open(&self.path)?;
            return self.put(fresh, line);
        }
        self.put((file, size), line)
    }

    fn put(&mut self, (mut file, size): (File, u64), line: &[u8]) -> io::Result<()> {
        if let Err(error) = file.write_all(line) {
            // What a full disk took of it goes again: half a line would be one with the next.
            let _ = file.set_len(size);
            return Err(error);
        }
        self.open = Some((file, size + line.len() as u64));
        Ok(())
    }

    /// Each file becomes the next older one; the oldest goes.
    fn shift(&self) -> io::Result<()> {
        for age in (0..self.older).rev() {
            match fs::rename(aged(&self.path, age), aged(&self.path, age + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The file's name at an age; 0 is the one that is written to.
fn aged(path: &Path, age: usize) -> PathBuf {
    if age == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{age}"));
    name.into()
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    if meta.permissions().mode() & 0o7777 != 0o600 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok((file, meta.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(dir: &Path) -> Vec<(String, u64)> {
        let mut all: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .flatten()
            .map(|e| {
                (
                    e.file_name().into_string().unwrap(),
                    e.metadata().unwrap().len(),
                )
            })
            .collect();
        all.sort();
        all
    }

    #[test]
    fn files_are_bounded_private_and_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        fs::write(&path, "found there\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let mut log = Rotating::new(path.clone(), 100, 2);
        for n in 0..40 {
            log.write(format!("line {n:04}\n").as_bytes());
        }
        // A restart goes on with what is there.
        let mut log = Rotating::new(path.clone(), 100, 2);
        log.write(b"line last\n");
        let names = sizes(dir.path());
        assert_eq!(names.len(), 3, "{names:?}");
        assert!(names.iter().all(|(_, size)| *size <= 100), "{names:?}");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let whole: String = [2, 1, 0]
            .map(|age| fs::read_to_string(aged(&path, age)).unwrap())
            .concat();
        let lines: Vec<_> = whole.lines().collect();
        assert_eq!(lines.last(), Some(&"line last"));
        assert_eq!(lines[lines.len() - 2], "line 0039");
        let first: usize = lines[0][5..].parse().unwrap();
        let kept = (first..40).map(|n| format!("line {n:04}"));
        assert!(
            kept.eq(lines[..lines.len() - 1].iter().map(|l| (*l).to_owned())),
            "none is missing between"
        );
    }

    #[test]
    fn a_link_in_its_place_is_not_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (dir.path().join("a.log"), dir.path().join("elsewhere"));
        fs::write(&elsewhere, "").unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        let mut log = Rotating::new(path.clone(), 100, 2);
        log.write(b"a line\n");
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "");
        // The control, and that it is tried again after a while only.
        fs::remove_file(&path).unwrap();
        log.write(b"lost\n");
        assert!(!path.exists());
        log.failed = None;
        log.write(b"a line\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "a line\n");
    }
}
