//! What a write would change, as the owner reads it.
//!
//! The text may be hostile: it is shown with everything escaped that a terminal or a page could act on, and whatever
//! is left out is said to be left out.

use std::{borrow::Cow, time::Duration};

use crate::{Digest, RelPath, names::escape_controls, text::decode};
use similar::{ChangeTag, TextDiff};

/// Largest diff shown, in bytes; what is beyond is cut at a line and said to be cut.
pub const MAX_DIFF_BYTES: usize = 64 * 1024;
/// Most of a path that a summary shows, in bytes: it holds the sizes and digests of two contents besides.
const MAX_SUMMARY_NAME: usize = 120;
/// Texts larger than this together, in bytes, are described and not compared.
const MAX_COMPARED_BYTES: usize = 1024 * 1024;
/// How long a comparison may look for the smallest diff; after that it takes a larger one.
const DIFF_TIME: Duration = Duration::from_millis(300);

/// A change from one content to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// One line without content, of what is done: `replaced Projects/a.md, +12 −3`.
    pub summary: String,
    /// The same of what would be done: `replaces Projects/a.md, +12 −3`. A card is read before anything happened.
    pub headline: String,
    /// A unified diff, if both sides are text of bounded size.
    pub diff: Option<String>,
    /// Whether the diff shows a part only.
    pub is_cut: bool,
}

impl Change {
    /// Describes the change at `path` from `before` (none: the file is created) to `after`.
    #[must_use]
    pub fn of(path: &RelPath, before: Option<&[u8]>, after: &[u8]) -> Self {
        let verbs = match before {
            Some(_) => ("replaces", "replaced"),
            None => ("creates", "created"),
        };
        Self::between(path, before, Some(after), verbs)
    }

    /// The same, where `after` may be nothing too: the file goes. The verbs say what it will do, and what it did.
    #[must_use]
    pub fn between(
        path: &RelPath,
        before: Option<&[u8]>,
        after: Option<&[u8]>,
        (will, did): (&str, &str),
    ) -> Self {
        let name = escape_controls(path.as_str(), false);
        let said = |measure: &str| {
            let of = |verb: &str| format!("{verb} {}, {measure}", shortened(&name));
            (of(did), of(will))
        };
        let uncompared = || {
            let (summary, headline) = said(&sizes(before, after));
            Self {
                summary,
                headline,
                diff: None,
                is_cut: true,
            }
        };
        let both = (
            decode(before.unwrap_or_default()),
            decode(after.unwrap_or_default()),
        );
        let (Ok(old), Ok(new)) = both else {
            return uncompared();
        };
        if old.content.len() + new.content.len() > MAX_COMPARED_BYTES {
            return uncompared();
        }
        let (old_lines, new_lines) = (lines(&old.content), lines(&new.content));
        let diff = TextDiff::configure()
            .timeout(DIFF_TIME)
            .diff_slices(&old_lines, &new_lines);
        let count = |wanted| {
            diff.iter_all_changes()
                .filter(|change| change.tag() == wanted)
                .count()
        };
        let (added, removed) = (count(ChangeTag::Insert), count(ChangeTag::Delete));
        let old_name = if before.is_some() {
            name.as_ref()
        } else {
            "/dev/null"
        };
        let new_name = if after.is_some() { &name } else { "/dev/null" };
        let hunks = unified(&diff);
        // A byte order mark and an encoding stand in no line.
        let is_recoded = before.is_some() && after.is_some() && old.warning != new.warning;
        let note = match (is_recoded, hunks.is_empty()) {
            (false, _) => "",
            (true, true) => "(only the encoding changes)\n",
            (true, false) => "(the encoding changes too)\n",
        };
        let text = match before == after {
            true => String::new(),
            false => format!("--- {old_name}\n+++ {new_name}\n{note}{hunks}"),
        };
        let text = escape_controls(&text, true).into_owned();
        let (text, is_cut) = cut_at_line(text);
        let (summary, headline) = said(&format!("+{added} −{removed}"));
        Self {
            summary,
            headline,
            diff: Some(text),
            is_cut,
        }
    }
}

/// The lines of a text, each with its end. Only `\n` ends one: a carriage return alone would let two lines stand in one
/// row of what the owner is shown.
fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

/// The hunks of a unified diff, in which every line of either text has a row of its own.
fn unified<'t>(diff: &TextDiff<'t, 't, 't, str>) -> String {
    let mut out = String::new();
    for hunk in diff.unified_diff().context_radius(3).iter_hunks() {
        out.push_str(&format!("{}\n", hunk.header()));
        for change in hunk.iter_changes() {
            let line = change.value();
            out.push_str(&format!("{}{line}", change.tag()));
            if !line.ends_with('\n') {
                out.push_str("\n\\ No newline at end of file\n");
            }
        }
    }
    out
}

/// The end of a long path, which tells more than its beginning; a summary holds 256 bytes.
#[must_use]
pub fn shortened(name: &str) -> Cow<'_, str> {
    if name.len() <= MAX_SUMMARY_NAME {
        return Cow::Borrowed(name);
    }
    Cow::Owned(format!(
        "…{}",
        &name[name.ceil_char_boundary(name.len() - MAX_SUMMARY_NAME)..]
    ))
}

fn sizes(before: Option<&[u8]>, after: Option<&[u8]>) -> String {
    let side = |bytes: &[u8]| {
        format!(
            "{} bytes (sha256 {:.12})",
            bytes.len(),
            Digest::of(bytes).to_string()
        )
    };
    match (before, after) {
        (Some(before), Some(after)) => format!("{} to {}", side(before), side(after)),
        (None, Some(one)) | (Some(one), None) => side(one),
        (None, None) => "nothing".to_owned(),
    }
}

fn cut_at_line(mut text: String) -> (String, bool) {
    if text.len() <= MAX_DIFF_BYTES {
        return (text, false);
    }
    let most = text.floor_char_boundary(MAX_DIFF_BYTES);
    let end = text[..most].rfind('\n').map_or(most, |at| at + 1);
    let lines = text[end..].lines().count();
    text.truncate(end);
    text.push_str(&format!("… {lines} more lines are not shown\n"));
    (text, true)
}
