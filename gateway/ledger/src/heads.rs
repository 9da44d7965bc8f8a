//! `audit-heads.jsonl`: a line now and then that says how far the log had come and with which hash.
//!
//! It stands outside the ledger, so a ledger that was cut short or put back contradicts it. Lines are written at most
//! once a second and forced to disk only at a clean stop: what the log lost since the last line stays unseen.
//! A file that is full is put aside, and nobody reads it any more; the new one begins with the line that contradicts the
//! log, if there is one.
//! Invariant: a line is written only for a head whose commit is done.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::event::{Head, hex, time_text};
use crate::store::sync_folder;

/// The least time between two lines.
const INTERVAL: Duration = Duration::from_secs(1);
/// A file that would become longer is put aside as `.1` (over an earlier one), also while the ledger is open: at most twice
/// this is kept.
const KEEP_BYTES: u64 = 8 << 20;
/// What is read of it: all, with the one line that a copy adds. Of a file that an earlier version let grow, the end.
const READ_BYTES: u64 = KEEP_BYTES + 4096;

/// Lines at the end of the file that each start compares: a quarter of an hour of a busy gateway, some milliseconds.
const RECENT: usize = 1_000;

pub(crate) struct Heads {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// The line that contradicts the log. It goes along into each new file, so that the next start finds it again.
    contradicts: Option<Noted>,
    written: Option<(u64, Instant)>,
    /// The file may end within a line, which would swallow the next one.
    is_cut: bool,
}

/// One line, read back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Noted {
    pub(crate) seq: u64,
    pub(crate) hash: String,
    /// When it was recorded; for a person who reads the file.
    #[serde(default)]
    time: String,
}

impl Noted {
    /// With its end.
    fn line(&self) -> String {
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }
}

impl Heads {
    /// Goes on with the file at `path`, of which one line may contradict the log.
    pub(crate) fn open(path: &Path, contradicts: Option<Noted>) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        let mut last = *b"\n";
        if file.seek(SeekFrom::End(-1)).is_ok() {
            file.read_exact(&mut last)?;
        }
        Ok(Self {
            path: path.to_owned(),
            bytes: file.metadata()?.len(),
            file,
            contradicts,
            written: None,
            is_cut: last != *b"\n",
        })
    }

    /// True when `head` is still to be written.
    pub(crate) fn is_behind(&self, head: &Head) -> bool {
        head.seq != self.written.map_or(0, |(seq, _)| seq)
    }

    /// Writes `head` if the last line is old enough. A failure is logged: the ledger itself is not harmed.
    pub(crate) fn note(&mut self, head: &Head) {
        if self.is_behind(head)
            && self
                .written
                .is_none_or(|(_, when)| when.elapsed() >= INTERVAL)
        {
            self.write(head);
        }
    }

    /// Writes `head` now and forces it to disk.
    pub(crate) fn finish(&mut self, head: &Head) {
        if self.is_behind(head) {
            self.write(head);
        }
        if let Err(error) = self.file.sync_data() {
            tracing::warn!(name: "ledger.head_unsaved", %error, "the last audit head may not be on disk");
        }
    }

    fn write(&mut self, head: &Head) {
        let line = line(head);
        let bytes = line.len() as u64;
        let written = if self.bytes + bytes > KEEP_BYTES {
            self.begin_anew(&line)
        } else {
            self.bytes += bytes;
            let end = if self.is_cut { "\n" } else { "" };
            self.file.write_all((end.to_owned() + &line).as_bytes())
        };
        self.is_cut = written.is_err();
        if let Err(error) = written {
            tracing::warn!(name: "ledger.head_unsaved", %error, "an audit head could not be written");
        }
        self.written = Some((head.seq, Instant::now()));
    }

    /// Puts the file aside and goes on with a new one that has `line`. It is whole before it gets its name: a disk that is
    /// full takes nothing from the old one.
    fn begin_anew(&mut self, line: &str) -> io::Result<()> {
        let text = self.contradicts.as_ref().map(Noted::line);
        let text = text.unwrap_or_default() + line;
        let part = self.path.with_extension("part");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&part)?;
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        put_aside(&self.path, &self.path.with_extension("1.jsonl"))?;
        std::fs::rename(&part, &self.path)?;
        (self.file, self.bytes) = (file, text.len() as u64);
        sync_folder(self.path.parent().ok_or(io::ErrorKind::InvalidInput)?)
    }
}

/// Has `aside` hold what `path` holds. The name itself stays in its place: a start that found none would know of no head.
fn put_aside(path: &Path, aside: &Path) -> io::Result<()> {
    let part = aside.with_extension("part");
    match std::fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Not every file system has a second name for a file.
    let linked = std::fs::hard_link(path, &part).or_else(|_| std::fs::copy(path, &part).map(drop));
    match linked {
        // The owner may have moved it away.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => std::fs::rename(&part, aside),
    }
}

/// One line, with its end.
pub(crate) fn line(head: &Head) -> String {
    let noted = Noted {
        seq: head.seq,
        hash: hex(&head.hash),
        time: time_text(head.at),
    };
    noted.line()
}

/// All readable lines of [`text`], oldest first. A line that a crash cut short is passed over.
pub(crate) fn read(path: &Path) -> io::Result<Vec<Noted>> {
    let text = text(path)?;
    let line = |line| serde_json::from_str(line).ok();
    Ok(text.lines().filter_map(line).collect())
}

/// The end of the file, from the beginning of a line; nothing if there is no file. [`KEEP_BYTES`] at least, if it has them.
pub(crate) fn text(path: &Path) -> io::Result<String> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        opened => opened?,
    };
    let begin = file.metadata()?.len().saturating_sub(READ_BYTES);
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    if begin > 0 {
        let cut = bytes.iter().position(|b| *b == b'\n');
        bytes.drain(..cut.map_or(bytes.len(), |end| end + 1));
    }
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// The lines that a start compares with the log: the last [`RECENT`], before them those that a later line contradicts
/// by being behind them, and the first, which may have come along from the file before; the newest first, for it says how
/// much is gone. The log that goes on after it was put back soon has lines of its own at the end.
pub(crate) fn telling(noted: &mut Vec<Noted>) -> &[Noted] {
    let recent = noted.len().saturating_sub(RECENT);
    let mut least_after = u64::MAX;
    let mut tells: Vec<bool> = noted
        .iter()
        .rev()
        .map(|line| {
            let overtaken = line.seq > least_after;
            least_after = least_after.min(line.seq);
            overtaken
        })
        .collect();
    tells.reverse();
    let mut at = 0..;
    let compared = |at: usize| at == 0 || at >= recent || tells[at];
    noted.retain(|_| at.next().is_some_and(compared));
    noted.reverse();
    noted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_looks_at_the_last_lines_and_at_what_was_gone_back_behind() {
        let line = |seq: u64| Noted {
            seq,
            hash: String::new(),
            time: String::new(),
        };
        let seqs = |lines: &[Noted]| lines.iter().map(|line| line.seq).collect::<Vec<_>>();
        let many = RECENT as u64;
        let mut short: Vec<_> = [1, 5, 3, 9].map(line).into();
        assert_eq!(seqs(telling(&mut short)), [9, 3, 5, 1]);
        // 7 and 8 lie beyond the recent ones; the log went back to 6 after them.
        let mut long: Vec<_> = [2, 7, 8, 6].map(line).into();
        long.extend((9..9 + many).map(line));
        let told = seqs(telling(&mut long));
        assert_eq!(told.len(), 3 + RECENT);
        assert_eq!(told[RECENT - 1..], [9, 8, 7, 2]);
    }

    fn head(seq: u64) -> Head {
        Head {
            seq,
            hash: [7; 32],
            at: 1_769_847_300_000,
        }
    }

    #[test]
    fn a_full_file_is_put_aside_while_the_ledger_is_open_and_the_contradiction_goes_along() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("audit-heads.jsonl");
        let (aside, length) = (dir.path().join("audit-heads.1.jsonl"), line(&head(1)).len());
        let full = KEEP_BYTES as usize / length;
        std::fs::write(&path, line(&head(1)).repeat(full - 1)).expect("written");
        let mut noted = read(&path).expect("readable");
        let contradicts = noted.pop().map(|line| Noted { seq: 5, ..line });
        let mut heads = Heads::open(&path, contradicts).expect("opens");
        let seqs = |path: &Path| -> Vec<u64> {
            let noted = read(path).expect("readable").into_iter();
            noted.map(|line| line.seq).collect()
        };
        heads.write(&head(2));
        assert_eq!(seqs(&path).len(), full);
        assert!(!aside.exists());
        heads.write(&head(3));
        assert_eq!(seqs(&path), [5, 3]);
        assert_eq!(seqs(&aside).len(), full);
        heads.write(&head(4));
        assert_eq!(seqs(&path), [5, 3, 4]);
        // It is so as often as it is full; an owner who moved it away gets a new one.
        std::fs::remove_file(&path).expect("moved away");
        heads.bytes = KEEP_BYTES;
        heads.write(&head(6));
        assert_eq!(seqs(&path), [5, 6]);
        let entries = std::fs::read_dir(dir.path()).expect("readable");
        assert_eq!(entries.count(), 2);
    }

    /// A crash may cut a line, and so may a full disk, where a start writes nothing.
    #[test]
    fn line_that_was_cut_short_swallows_no_other() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("audit-heads.jsonl");
        let whole = line(&head(1));
        let cut = whole.clone() + &whole[..9];
        std::fs::write(&path, &cut).expect("written");
        let mut heads = Heads::open(&path, None).expect("opens");
        assert_eq!(text(&path).expect("readable"), cut, "as it was");
        let sound = std::mem::replace(&mut heads.file, File::open(&path).expect("opens"));
        heads.write(&head(2));
        heads.file = sound;
        heads.write(&head(3));
        heads.write(&head(4));
        let noted = read(&path).expect("readable").into_iter();
        assert_eq!(noted.map(|line| line.seq).collect::<Vec<_>>(), [1, 3, 4]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn file_that_begins_anew_survives_a_power_cut() {
        let path = |dir: &Path| dir.join("audit-heads.jsonl");
        let before = |dir: &Path| std::fs::write(path(dir), line(&head(1))).expect("written");
        let act = |disk: &plexus_power_cut::Disk, ()| {
            let mut heads = Heads::open(&path(&disk.path()), None).expect("opens");
            heads.begin_anew(&line(&head(2))).expect("written");
        };
        let seqs = |path: &Path| read(path).map(|noted| noted.into_iter().map(|n| n.seq).collect());
        let done = |dir: &Path| {
            let aside: Vec<u64> = seqs(&dir.join("audit-heads.1.jsonl")).unwrap_or_default();
            seqs(&path(dir)).is_ok_and(|seqs: Vec<u64>| seqs == [2]) && aside == [1]
        };
        plexus_power_cut::holds(before, act, done, &[]);
    }

    #[test]
    fn of_a_file_that_grew_its_end_is_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("audit-heads.jsonl");
        assert_eq!(text(&path).expect("nothing there"), "");
        let lines: String = (0..100_000).map(|seq| line(&head(seq))).collect();
        std::fs::write(&path, &lines).expect("written");
        let end = text(&path).expect("readable");
        assert!((KEEP_BYTES..=READ_BYTES).contains(&(end.len() as u64)));
        assert!(lines.ends_with(&end) && end.starts_with("{\"seq\":"));
        let noted = read(&path).expect("readable");
        assert_eq!(noted.len(), end.lines().count());
        assert_eq!(noted.last().map(|line| line.seq), Some(99_999));
    }
}
