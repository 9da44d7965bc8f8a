//! `audit-heads.jsonl`: a line now and then that says how far the log had come and with which hash.
//!
//! It stands outside the ledger, so a ledger that was cut short or put back contradicts it. Lines are written at most
//! once a second and forced to disk only at a clean stop: what the log lost since the last line stays unseen.
//! Invariant: a line is written only for a head whose commit is done.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::event::{Head, hex, time_text};

/// The least time between two lines.
const INTERVAL: Duration = Duration::from_secs(1);
/// A longer file is put aside as `.1` (over an earlier one) when the ledger opens: at most twice this is kept.
const KEEP_BYTES: u64 = 8 << 20;

/// Lines at the end of the file that each start compares: a quarter of an hour of a busy gateway, some milliseconds.
const RECENT: usize = 1_000;

pub(crate) struct Heads {
    file: File,
    written: Option<(u64, Instant)>,
}

/// One line, read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Noted {
    pub(crate) seq: u64,
    pub(crate) hash: String,
}

impl Heads {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        if std::fs::metadata(path).is_ok_and(|m| m.len() > KEEP_BYTES) {
            std::fs::rename(path, path.with_extension("1.jsonl"))?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        // A line that a crash cut short would swallow the next one.
        if file.seek(SeekFrom::End(-1)).is_ok() {
            let mut last = [0];
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
            }
        }
        Ok(Self {
            file,
            written: None,
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
        if let Err(error) = self.file.write_all(line(head).as_bytes()) {
            tracing::warn!(name: "ledger.head_unsaved", %error, "an audit head could not be written");
        }
        self.written = Some((head.seq, Instant::now()));
    }
}

/// One line, with its end.
pub(crate) fn line(head: &Head) -> String {
    format!(
        "{{\"seq\":{},\"hash\":\"{}\",\"time\":\"{}\"}}\n",
        head.seq,
        hex(&head.hash),
        time_text(head.at)
    )
}

/// All readable lines, oldest first; none if there is no file. A line that a crash cut short is passed over.
pub(crate) fn read(path: &Path) -> io::Result<Vec<Noted>> {
    let text = match std::fs::read_to_string(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
        read => read?,
    };
    Ok(text.lines().filter_map(parse).collect())
}

/// The lines that a start compares with the log: the last [`RECENT`], and before them those that a later line contradicts
/// by being behind them; the newest first, for it says how much is gone. The log that goes on after it was put back soon
/// has lines of its own at the end.
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
    noted.retain(|_| at.next().is_some_and(|at: usize| at >= recent || tells[at]));
    noted.reverse();
    noted
}

fn parse(line: &str) -> Option<Noted> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    Some(Noted {
        seq: value.get("seq")?.as_u64()?,
        hash: value.get("hash")?.as_str()?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_looks_at_the_last_lines_and_at_what_was_gone_back_behind() {
        let line = |seq: u64| Noted {
            seq,
            hash: String::new(),
        };
        let seqs = |lines: &[Noted]| lines.iter().map(|line| line.seq).collect::<Vec<_>>();
        let many = RECENT as u64;
        let mut short: Vec<_> = [1, 5, 3, 9].map(line).into();
        assert_eq!(seqs(telling(&mut short)), [9, 3, 5, 1]);
        // 7 and 8 lie beyond the recent ones; the log went back to 6 after them.
        let mut long: Vec<_> = [2, 7, 8, 6].map(line).into();
        long.extend((9..9 + many).map(line));
        let told = seqs(telling(&mut long));
        assert_eq!(told.len(), 2 + RECENT);
        assert_eq!(told[RECENT - 1..], [9, 8, 7]);
    }
}
