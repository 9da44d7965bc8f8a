//! Lines of files, and how they differ.

use crate::error::GitError;
use similar::{Algorithm, DiffOp, capture_diff_slices_deadline};
use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

/// How long two files are compared for the smallest difference; after that any difference will do.
const PATIENCE: Duration = Duration::from_millis(500);
/// Longest file that is taken apart, in lines: each takes many times its own bytes while two files are compared.
const MAX_LINES: usize = 200_000;
/// What follows a last line without an end, as git has it.
const NO_END: &str = "\n\\ No newline at end of file\n";
/// How far into a file NUL is looked for, as git does.
const LOOKED_AT: usize = 8_000;

/// Whether git would call it text.
pub(crate) fn is_text(bytes: &[u8]) -> bool {
    memchr::memchr(0, &bytes[..bytes.len().min(LOOKED_AT)]).is_none()
}

/// The lines, each with its end; [`GitError::TooLarge`] where there are too many.
pub(crate) fn of(bytes: &[u8]) -> Result<Vec<&[u8]>, GitError> {
    let ends = memchr::memchr_iter(b'\n', bytes).count();
    if ends > MAX_LINES {
        return Err(GitError::TooLarge(format!(
            "a file of {ends} lines, at most {MAX_LINES} are looked at"
        )));
    }
    Ok(bytes.split_inclusive(|byte| *byte == b'\n').collect())
}

/// How the lines of one become those of the other; a replacement may have no lines on one side.
pub(crate) fn difference(old: &[&[u8]], new: &[&[u8]]) -> Vec<DiffOp> {
    // Numbers compare faster than lines, and each line is hashed once.
    fn numbered<'a>(lines: &[&'a [u8]], known: &mut HashMap<&'a [u8], usize>) -> Vec<usize> {
        let number = |line: &&'a [u8]| {
            let next = known.len();
            *known.entry(line).or_insert(next)
        };
        lines.iter().map(number).collect()
    }
    let mut known = HashMap::new();
    let (old, new) = (numbered(old, &mut known), numbered(new, &mut known));
    let set = |lines: &[usize]| lines.iter().copied().collect::<HashSet<_>>();
    let shared = |lines: &[usize], others: &HashSet<usize>| -> (Vec<usize>, Vec<usize>) {
        let lines = lines.iter().copied().enumerate();
        lines.filter(|(_, line)| others.contains(line)).unzip()
    };
    let (old_at, old_shared) = shared(&old, &set(&new));
    let (new_at, new_shared) = shared(&new, &set(&old));
    let until = Some(Instant::now() + PATIENCE);
    // No difference keeps a line that only one of them has, and without those it takes less time.
    let ops = capture_diff_slices_deadline(Algorithm::Myers, &old_shared, &new_shared, until);
    let equal = ops.iter().filter(|op| matches!(op, DiffOp::Equal { .. }));
    let pairs = equal.flat_map(|op| op.old_range().zip(op.new_range()));
    let pairs = pairs.filter_map(|(a, b)| Some((*old_at.get(a)?, *new_at.get(b)?)));
    let mut whole = Vec::new();
    let (mut old_index, mut new_index) = (0, 0);
    for (a, b) in pairs.chain([(old.len(), new.len())]) {
        if (old_index, new_index) != (a, b) {
            whole.push(DiffOp::Replace {
                old_index,
                old_len: a - old_index,
                new_index,
                new_len: b - new_index,
            });
        }
        match whole.last_mut() {
            // The end of both.
            _ if a == old.len() => {}
            Some(DiffOp::Equal { len, .. }) => *len += 1,
            _ => whole.push(DiffOp::Equal {
                old_index: a,
                new_index: b,
                len: 1,
            }),
        }
        (old_index, new_index) = (a + 1, b + 1);
    }
    whole
}

/// The share of lines that two files have in common, counted as in a heap: 0 to 1. None of too many lines.
pub(crate) fn in_common(old: &[u8], new: &[u8]) -> f64 {
    let mut heap: HashMap<&[u8], usize> = HashMap::new();
    let (Ok(old), Ok(new)) = (of(old), of(new)) else {
        return 0.0;
    };
    for line in &old {
        *heap.entry(line).or_default() += 1;
    }
    let mut common = 0_u32;
    for line in &new {
        if let Some(count) = heap.get_mut(line).filter(|count| **count > 0) {
            *count -= 1;
            common += 1;
        }
    }
    let most = u32::try_from(old.len().max(new.len()).max(1)).unwrap_or(u32::MAX);
    f64::from(common) / f64::from(most)
}

/// Lines that come and go.
pub(crate) fn counted(ops: &[DiffOp]) -> (usize, usize) {
    ops.iter().fold((0, 0), |(added, removed), op| {
        if matches!(op, DiffOp::Equal { .. }) {
            (added, removed)
        } else {
            (added + op.new_range().len(), removed + op.old_range().len())
        }
    })
}

/// A unified difference with three lines around, at most `most` bytes, cut at a line; and whether it was cut.
pub(crate) fn unified(old: &[&[u8]], new: &[&[u8]], ops: &[DiffOp], most: usize) -> (String, bool) {
    let mut text = String::new();
    for group in similar::group_diff_ops(ops.to_vec(), 3) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            continue;
        };
        let span = |start: usize, end: usize| match end - start {
            0 => format!("{start},0"),
            lines => format!("{},{lines}", start + 1),
        };
        let head = format!(
            "@@ -{} +{} @@\n",
            span(first.old_range().start, last.old_range().end),
            span(first.new_range().start, last.new_range().end),
        );
        let lines = group.iter().flat_map(|op| {
            let (gone, sign, here) = match op {
                DiffOp::Equal { .. } => (0..0, " ", op.new_range()),
                _ => (op.old_range(), "+", op.new_range()),
            };
            let gone = old[gone].iter().map(|line| ("-", *line));
            gone.chain(new[here].iter().map(move |line| (sign, *line)))
        });
        for (sign, line) in std::iter::once(("", head.as_bytes())).chain(lines) {
            let end = match line.ends_with(b"\n") {
                true => "",
                false => NO_END,
            };
            // Before it is copied: a line may be as long as its file, and what cannot be read becomes longer.
            if text.len() + sign.len() + line.len() + end.len() > most {
                return (text, true);
            }
            let line = String::from_utf8_lossy(line);
            if text.len() + sign.len() + line.len() + end.len() > most {
                return (text, true);
            }
            text.extend([sign, &line, end]);
        }
    }
    (text, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_line_changed_is_counted_exactly() {
        let file = |word: &str| -> String {
            let line = |n| match n % 2 {
                0 => format!("{word} {n}\n"),
                _ => format!("same {n}\n"),
            };
            (0..150_000).map(line).collect()
        };
        let (old, new) = (file("old"), file("new"));
        let (old, new) = (of(old.as_bytes()).unwrap(), of(new.as_bytes()).unwrap());
        assert_eq!(counted(&difference(&old, &new)), (75_000, 75_000));
    }

    #[test]
    fn lines_that_both_have_make_a_whole_difference() {
        let (old, new) = (
            [1_u8, 2, 3, 4, 5, 6].map(|n| [n]),
            [9_u8, 2, 3, 7, 8, 5, 4].map(|n| [n]),
        );
        let old: Vec<&[u8]> = old.iter().map(|line| line.as_slice()).collect();
        let new: Vec<&[u8]> = new.iter().map(|line| line.as_slice()).collect();
        let (mut rest, mut made) = (old.iter().copied(), Vec::new());
        for op in difference(&old, &new) {
            let gone: Vec<_> = rest.by_ref().take(op.old_range().len()).collect();
            match op {
                DiffOp::Equal { .. } => made.extend(gone),
                _ => made.extend(&new[op.new_range()]),
            }
        }
        assert!(rest.next().is_none());
        assert_eq!(made, new);
    }
}
