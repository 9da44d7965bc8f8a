//! Reading the lines of an archive, without an index: they are in the order of their numbers, so an event is found by
//! halving the file.
//!
//! Must not know: which archive this is, and whether its content is what was sealed (`check`).

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::event::{HASH, Recorded, unhex};

/// What is read at once when walking.
const BLOCK: usize = 1 << 16;
/// What is read to find the beginning of a line and its number; most lines are shorter.
const GLANCE: usize = 1 << 10;
/// Hash in hex and a space.
const BEFORE: usize = 2 * HASH + 1;

/// An open archive. It is read by position: many may at once.
pub(super) struct Lines {
    file: File,
    length: u64,
}

/// One line, without its end.
pub(super) struct Line<'a>(&'a [u8]);

fn broken(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

impl Line<'_> {
    /// The number that the event begins with.
    pub(super) fn seq(&self) -> io::Result<u64> {
        number(self.0).ok_or_else(|| broken("a line of it is no event"))
    }

    /// Hash and JSON as the ledger keeps them.
    pub(super) fn stored(&self) -> io::Result<Vec<u8>> {
        let hash = self
            .0
            .get(..BEFORE - 1)
            .and_then(|hash| unhex(std::str::from_utf8(hash).ok()?));
        let json = self.0.get(BEFORE..).filter(|_| self.0[BEFORE - 1] == b' ');
        let (Some(hash), Some(json)) = (hash, json) else {
            return Err(broken("a line of it is no event"));
        };
        Ok([hash.as_slice(), json].concat())
    }

    pub(super) fn recorded(&self, seq: u64) -> io::Result<Recorded> {
        let event = Recorded::from_stored(self.stored()?).map_err(|why| broken(&why))?;
        if event.seq() == seq {
            Ok(event)
        } else {
            Err(broken(&format!("it has event {} for {seq}", event.seq())))
        }
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(self.0).unwrap_or("")
    }

    /// Whether the text has `needle` in it; true of what is no text, for its reader to say so.
    pub(super) fn contains(&self, needle: &str) -> bool {
        std::str::from_utf8(self.0).map_or(true, |text| text.contains(needle))
    }
}

/// The number in a line, of which the beginning is enough.
fn number(line: &[u8]) -> Option<u64> {
    let rest = line.get(BEFORE..)?.strip_prefix(br#"{"seq":"#)?;
    let digits = rest.iter().position(|b| !b.is_ascii_digit())?;
    std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
}

impl Lines {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok(Self { file, length })
    }

    /// Lines from the first one numbered `seq` or later, until `each` returns false.
    pub(super) fn forward(
        &self,
        seq: u64,
        mut each: impl FnMut(Line<'_>) -> io::Result<bool>,
    ) -> io::Result<()> {
        let from = self.place(seq)?;
        let mut reader = BufReader::with_capacity(
            BLOCK,
            At {
                file: &self.file,
                at: from,
            },
        );
        let mut line = Vec::new();
        loop {
            line.clear();
            if reader.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            if line.pop() != Some(b'\n') {
                return Err(broken("it is cut short"));
            }
            if !each(Line(&line))? {
                return Ok(());
            }
        }
    }

    /// Lines before the first one numbered `seq` or later, the last first, until `each` returns false.
    pub(super) fn backward(
        &self,
        seq: u64,
        mut each: impl FnMut(Line<'_>) -> io::Result<bool>,
    ) -> io::Result<()> {
        let mut from = self.place(seq)?;
        // Lines whose beginning has not been read yet.
        let mut rest = Vec::new();
        while from > 0 {
            let size = from.min(4 * BLOCK as u64);
            from -= size;
            let mut bytes = vec![0; usize::try_from(size).unwrap_or(BLOCK)];
            self.file.read_exact_at(&mut bytes, from)?;
            bytes.append(&mut rest);
            let mut end = bytes.len();
            while let Some(start) = bytes[..end.saturating_sub(1)]
                .iter()
                .rposition(|b| *b == b'\n')
            {
                if !each(Line(&bytes[start + 1..end - 1]))? {
                    return Ok(());
                }
                end = start + 1;
            }
            bytes.truncate(end);
            rest = bytes;
        }
        match rest.split_last() {
            Some((_, line)) => each(Line(line)).map(drop),
            None => Ok(()),
        }
    }

    /// Where the first line numbered `seq` or later begins; the end, if there is none.
    fn place(&self, seq: u64) -> io::Result<u64> {
        let (mut low, mut high, mut found) = (0, self.length, self.length);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.line_from(middle)? {
                Some((start, number)) if start < high => {
                    if number < seq {
                        low = start + 1;
                    } else {
                        (high, found) = (middle, start);
                    }
                }
                _ => high = middle,
            }
        }
        Ok(found)
    }

    /// The first line that begins at `at` or later: where, and its number.
    fn line_from(&self, at: u64) -> io::Result<Option<(u64, u64)>> {
        let mut start = at;
        if at > 0 {
            let mut reader = BufReader::with_capacity(
                GLANCE,
                At {
                    file: &self.file,
                    at: at - 1,
                },
            );
            start = at - 1 + reader.skip_until(b'\n')? as u64;
        }
        if start >= self.length {
            return Ok(None);
        }
        let mut head = [0; BEFORE + 32];
        let mut read = 0;
        while read < head.len() {
            match self.file.read_at(&mut head[read..], start + read as u64)? {
                0 => break,
                more => read += more,
            }
        }
        let number = number(&head[..read]).ok_or_else(|| broken("a line of it is no event"))?;
        Ok(Some((start, number)))
    }
}

/// Reads a file from a position of its own.
struct At<'a> {
    file: &'a File,
    at: u64,
}

impl Read for At<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(into, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_found_by_its_number_and_walked_both_ways() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("lines");
        let numbers: Vec<u64> = (7..240).collect();
        let line = |n: &u64| {
            // Some longer than what is read at once.
            let long = match n.is_multiple_of(50) {
                true => 5 * BLOCK,
                false => 3 * *n as usize,
            };
            let (hash, long) = ("0".repeat(64), "y".repeat(long));
            format!("{hash} {{\"seq\":{n},\"x\":\"{long}\"}}\n")
        };
        let text: String = numbers.iter().map(line).collect();
        std::fs::write(&path, text).expect("written");
        let lines = Lines::open(&path).expect("opens");
        for from in 0..250 {
            let mut seen = Vec::new();
            let keep = |line: Line<'_>| {
                seen.push(line.seq()?);
                Ok(seen.len() < 5)
            };
            lines.forward(from, keep).expect("readable");
            let behind = numbers.iter().copied().filter(|n| *n >= from);
            assert_eq!(seen, behind.take(5).collect::<Vec<_>>(), "from {from}");
            let mut seen = Vec::new();
            let keep = |line: Line<'_>| {
                seen.push(line.seq()?);
                Ok(true)
            };
            lines.backward(from, keep).expect("readable");
            let before = numbers.iter().rev().copied().filter(|n| *n < from);
            assert_eq!(seen, before.collect::<Vec<_>>(), "before {from}");
        }
    }
}
