//! The files that the gateway writes under `logs/`: read from the oldest on, then followed as they grow and are put
//! aside.
//!
//! A file that is put aside keeps its inode: what was not read of it yet is read under its new name first.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufRead, BufReader, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::PathBuf,
};

/// Reads each line once.
pub(super) struct Follower {
    dir: PathBuf,
    /// How far each file was read, by inode. Each stays open until the next look, so that no new file gets its inode.
    read: BTreeMap<u64, (u64, File)>,
}

impl Follower {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            read: BTreeMap::new(),
        }
    }

    /// Everything that there is, file by file, each series from its oldest on: its name, and a line.
    ///
    /// # Errors
    /// When there is no such folder, or a file cannot be read.
    pub(super) fn begin(&mut self, each: impl FnMut(&str, &str)) -> io::Result<()> {
        if !self.dir.is_dir() {
            let why = format!("{}: no gateway has written there", self.dir.display());
            return Err(io::Error::new(io::ErrorKind::NotFound, why));
        }
        self.more(each)
    }

    /// What was written since.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(super) fn more(&mut self, mut each: impl FnMut(&str, &str)) -> io::Result<()> {
        let mut seen = BTreeMap::new();
        for (series, path) in self.files()? {
            let mut file = match File::open(&path) {
                // Put aside, or dropped as the oldest, between the two looks: the next look has it.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            let inode = file.metadata()?.ino();
            let mut at = self.read.get(&inode).map_or(0, |(at, _)| *at);
            file.seek(SeekFrom::Start(at))?;
            let mut lines = BufReader::new(file);
            let mut bytes = Vec::new();
            loop {
                bytes.clear();
                let read = lines.read_until(b'\n', &mut bytes)?;
                if read == 0 || !bytes.ends_with(b"\n") {
                    // A line that is still being written is left for the next look.
                    break;
                }
                at += read as u64;
                each(&series, &String::from_utf8_lossy(&bytes));
            }
            seen.insert(inode, (at, lines.into_inner()));
        }
        self.read = seen;
        Ok(())
    }

    /// Log files, of each series the oldest first, with its name.
    fn files(&self) -> io::Result<Vec<(String, PathBuf)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir)?.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let (series, age) = match name.rsplit_once(".log.") {
                Some((series, age)) => (series, age.parse().ok()),
                None => (name.strip_suffix(".log").unwrap_or_default(), Some(0_u32)),
            };
            if let (false, Some(age)) = (series.is_empty(), age) {
                found.push((series.to_owned(), std::cmp::Reverse(age), entry.path()));
            }
        }
        found.sort();
        let named = found.into_iter().map(|(series, _, path)| (series, path));
        Ok(named.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn each_line_is_read_once_while_files_grow_and_are_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("plexusd.log.2"), "1\n").unwrap();
        fs::write(path("plexusd.log.1"), "2\n").unwrap();
        fs::write(path("plexusd.log"), "3\nhal").unwrap();
        fs::write(path("notes.txt"), "not ours\n").unwrap();
        let mut follower = Follower::new(dir.path().to_owned());
        let look = |follower: &mut Follower| {
            let mut seen = String::new();
            follower.more(|_, line| seen.push_str(line)).unwrap();
            seen
        };
        assert_eq!(look(&mut follower), "1\n2\n3\n");
        let mut open = fs::OpenOptions::new()
            .append(true)
            .open(path("plexusd.log"))
            .unwrap();
        open.write_all(b"f\n4\n").unwrap();
        for (from, to) in [(1, 2), (0, 1)] {
            let name = |age| match age {
                0 => path("plexusd.log"),
                age => path(&format!("plexusd.log.{age}")),
            };
            fs::rename(name(from), name(to)).unwrap();
        }
        fs::write(path("plexusd.log"), "5\n").unwrap();
        assert_eq!(look(&mut follower), "half\n4\n5\n");
        assert_eq!(look(&mut follower), "");
        let none = Follower::new(path("none")).begin(|_, _| {}).unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::NotFound);
    }
}
