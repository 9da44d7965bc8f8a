//! A unified diff, or a text, as rows with line numbers.
//!
//! Invariants: a text is never read as a diff, whatever it holds; every line of the text is a row of its own, in its order, and says itself whether it adds or removes;
//! a page of rows is bounded in rows and in bytes.

use super::foreign::ForeignText;
use plexus_ipc::message::Form;

/// How much of a diff is on one page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) rows: usize,
    /// Bytes of text, as HTML.
    pub(super) bytes: usize,
}

/// What a page has that shows nothing else.
pub(super) const PAGE: Room = Room {
    rows: 200,
    bytes: 20 * 1024,
};
/// Most bytes of one row, as HTML.
const WIDE: usize = 4 * 1024;

/// What a row does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Add,
    Remove,
    Same,
    /// A header, or the place of what follows.
    Head,
    /// A line of a text that is no diff.
    Text,
}

/// One line.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) kind: Kind,
    /// Its number before the change.
    pub(super) before: Option<usize>,
    /// Its number after the change.
    pub(super) after: Option<usize>,
    pub(super) text: ForeignText,
    /// Characters that are not shown.
    pub(super) cut: usize,
}

impl Row {
    pub(super) fn class(&self) -> &'static str {
        match self.kind {
            Kind::Add => "add",
            Kind::Remove => "del",
            Kind::Same => "same",
            Kind::Head => "head",
            Kind::Text => "text",
        }
    }
    /// What stands before the line, for the eye.
    pub(super) fn sign(&self) -> &'static str {
        match self.kind {
            Kind::Add => "+",
            Kind::Remove => "−",
            Kind::Same | Kind::Head | Kind::Text => "",
        }
    }
    /// The same, for who listens.
    pub(super) fn spoken(&self) -> &'static str {
        match self.kind {
            Kind::Add => "added:",
            Kind::Remove => "removed:",
            Kind::Same | Kind::Head | Kind::Text => "",
        }
    }
}

/// A part of a diff.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) rows: Vec<Row>,
    /// The first row that is not on it, where there is one.
    pub(super) next: Option<usize>,
    /// Rows of all pages.
    pub(super) of: usize,
    /// Lines that all pages add.
    pub(super) added: usize,
    /// Lines that all pages remove.
    pub(super) removed: usize,
    /// Bytes of its texts, as HTML.
    pub(super) bytes: usize,
}

/// The rows of `text`, which is of `form`, from row `from` on.
pub(super) fn page(form: Form, text: &str, from: usize, room: Room) -> Page {
    // A diff without a place in it, as of a file's mode, has no lines to number.
    let is_diff = form == Form::Diff && text.lines().any(|line| hunk(line).is_some());
    let (mut rows, mut bytes, mut next) = (Vec::new(), 0, None);
    let (mut added, mut removed, mut of) = (0, 0, 0);
    let (mut before, mut after) = (0, 0);
    let mut left = (0usize, 0usize);
    for (index, line) in text.lines().enumerate() {
        of = index + 1;
        let mut row = |kind, before, after, shown: &str| {
            added += usize::from(kind == Kind::Add);
            removed += usize::from(kind == Kind::Remove);
            if index < from || next.is_some() {
                return;
            }
            let (text, taken) = ForeignText::beginning(shown, WIDE, true);
            let is_full = !rows.is_empty() && bytes + text.len() > room.bytes;
            if rows.len() >= room.rows || is_full {
                next = Some(index);
                return;
            }
            bytes += text.len();
            rows.push(Row {
                kind,
                before,
                after,
                text,
                cut: shown[taken..].chars().count(),
            });
        };
        if !is_diff {
            row(Kind::Text, None, Some(index + 1), line);
            continue;
        }
        // Within a hunk the first character alone says what a line is: a removed "-- x" is no header.
        let sign = line.chars().next().unwrap_or(' ');
        match sign {
            '+' if left.1 > 0 => {
                row(Kind::Add, None, Some(after), &line[1..]);
                after += 1;
                left.1 -= 1;
            }
            '-' if left.0 > 0 => {
                row(Kind::Remove, Some(before), None, &line[1..]);
                before += 1;
                left.0 -= 1;
            }
            ' ' if left.0 > 0 && left.1 > 0 => {
                row(
                    Kind::Same,
                    Some(before),
                    Some(after),
                    line.get(1..).unwrap_or(""),
                );
                before += 1;
                after += 1;
                left = (left.0 - 1, left.1 - 1);
            }
            _ => {
                if let Some((old, new)) = hunk(line) {
                    (before, after) = (old.0, new.0);
                    left = (old.1, new.1);
                }
                row(Kind::Head, None, None, line);
            }
        }
    }
    Page {
        rows,
        next,
        of,
        added,
        removed,
        bytes,
    }
}

/// First line and number of lines, before and after: `@@ -1,5 +1,7 @@`.
fn hunk(line: &str) -> Option<((usize, usize), (usize, usize))> {
    let (ranges, _) = line.strip_prefix("@@ -")?.split_once(" @@")?;
    let (old, new) = ranges.split_once(" +")?;
    let range = |text: &str| {
        let (first, lines) = text.split_once(',').unwrap_or((text, "1"));
        // Narrower than a count of lines: adding to them cannot overflow.
        let number = |text: &str| text.parse::<u32>().ok().map(|n| n as usize);
        Some((number(first)?, number(lines)?))
    };
    Some((range(old)?, range(new)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIFF: &str = "--- a.md\n+++ a.md\n@@ -1,3 +1,4 @@\n one\n--- two\n+++ two\n+three\n four\n\\ No newline at end of file\n";

    #[test]
    fn rows_have_their_numbers() {
        let page = page(Form::Diff, DIFF, 0, PAGE);
        let rows: Vec<_> = page
            .rows
            .iter()
            .map(|r| (r.class(), r.before, r.after, r.text.to_string()))
            .collect();
        let row = |class, before, after, text: &str| (class, before, after, text.to_owned());
        assert_eq!(
            rows,
            [
                row("head", None, None, "--- a.md"),
                row("head", None, None, "+++ a.md"),
                row("head", None, None, "@@ -1,3 +1,4 @@"),
                row("same", Some(1), Some(1), "one"),
                // What looks like a header within a hunk is a line of the file.
                row("del", Some(2), None, "-- two"),
                row("add", None, Some(2), "++ two"),
                row("add", None, Some(3), "three"),
                row("same", Some(3), Some(4), "four"),
                row("head", None, None, "\\ No newline at end of file"),
            ]
        );
        assert_eq!((page.added, page.removed, page.next), (2, 1, None));
    }

    /// An agent's prompt, a message, a note: its author may write what a diff looks like.
    #[test]
    fn text_like_a_diff_stays_text() {
        let forged = "@@ -1,2 +1,1 @@\n-and delete the tests\n+fix the typo\n";
        let shown = page(Form::Text, forged, 0, PAGE);
        assert!(shown.rows.iter().all(|r| r.kind == Kind::Text));
        let said: Vec<_> = shown.rows.iter().map(|r| r.text.to_string()).collect();
        assert_eq!(said, forged.lines().collect::<Vec<_>>());
        assert_eq!((shown.added, shown.removed, shown.of), (0, 0, 3));
        let control = page(Form::Diff, forged, 0, PAGE);
        assert_eq!((control.added, control.removed), (1, 1), "the control");
        let without_a_place = page(Form::Diff, "+ not a diff\n- really", 0, PAGE);
        assert!(without_a_place.rows.iter().all(|r| r.kind == Kind::Text));
    }

    #[test]
    fn pages_are_bounded_and_together_they_are_all() {
        let lines: Vec<String> = (0..1_000).map(|n| format!("+line <{n}>")).collect();
        let text = format!("@@ -0,0 +1,1000 @@\n{}\n", lines.join("\n"));
        let (mut from, mut seen) = (0, Vec::new());
        loop {
            let page = page(Form::Diff, &text, from, PAGE);
            assert!(page.rows.len() <= PAGE.rows && (page.added, page.of) == (1_000, 1_001));
            seen.extend(page.rows.into_iter().filter_map(|r| r.after));
            match page.next {
                Some(next) => from = next,
                None => break,
            }
        }
        assert_eq!(seen, (1..=1_000).collect::<Vec<_>>());
        let wide = page(Form::Diff, &"x".repeat(1_000_000), 0, PAGE);
        assert!(wide.rows[0].text.len() <= WIDE);
        assert_eq!(wide.rows[0].text.len() + wide.rows[0].cut, 1_000_000);
        let hostile = page(
            Form::Diff,
            &vec!["\u{202e}".repeat(WIDE); 99].join("\n"),
            0,
            PAGE,
        );
        let bytes: usize = hostile.rows.iter().map(|r| r.text.len()).sum();
        assert!(bytes <= PAGE.bytes && hostile.next.is_some(), "{bytes}");
    }

    #[test]
    fn numbers_that_no_file_has_do_no_harm() {
        let huge = page(
            Form::Diff,
            "@@ -4294967295,9 +99999999999999999999,1 @@\n-a\n@@ -4294967295,9 +1,1 @@\n-a\n",
            0,
            PAGE,
        );
        assert_eq!(huge.rows.len(), 4);
    }
}
