//! Edits: exact pieces of a text replaced by others, in order, each on the result of the one before.
//!
//! In a text whose lines all end in CRLF, those of an edit do too, however it writes them.

use plexus_rooted_files::text::with_ends_of;
use serde::Deserialize;
use thiserror::Error;

/// One replacement.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// The text to find, exactly; once in the file, unless `all`.
    pub find: String,
    /// What stands there afterwards.
    pub replace: String,
    /// Whether to replace every occurrence.
    #[serde(default)]
    pub all: bool,
}

/// Why an edit was not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EditError {
    /// `find` is empty.
    #[error("the text to find is empty")]
    Empty,
    /// It does not occur.
    #[error("the text to find does not occur in the file")]
    NotFound,
    /// It does not occur, but would if its line ends were CRLF, as some of the file's are.
    #[error("the text to find does not occur; some of the file's lines end in CRLF, some do not")]
    LineEnds,
    /// It occurs several times.
    #[error("the text to find occurs {0} times; add context, or set \"all\"")]
    Ambiguous(usize),
    /// The result would be too large.
    #[error("the result would be larger than {0} bytes")]
    TooLarge(usize),
}

/// Applies all edits, or none.
///
/// # Errors
/// The first edit that does not apply, by its number from 1.
pub fn apply(text: &str, edits: &[Edit], max_bytes: usize) -> Result<String, (usize, EditError)> {
    let mut text = text.to_owned();
    for (position, edit) in edits.iter().enumerate() {
        text = apply_one(&text, edit, max_bytes).map_err(|error| (position + 1, error))?;
    }
    Ok(text)
}

fn apply_one(text: &str, edit: &Edit, max_bytes: usize) -> Result<String, EditError> {
    if edit.find.is_empty() {
        return Err(EditError::Empty);
    }
    let find = &*with_ends_of(text, &edit.find);
    let replace = &*with_ends_of(text, &edit.replace);
    let count = text.matches(find).count();
    match count {
        0 if text.contains(&find.replace('\n', "\r\n")) => return Err(EditError::LineEnds),
        0 => return Err(EditError::NotFound),
        // Two finds that overlap count as one match, but are two places to choose from.
        1 if !edit.all && text.find(find) != text.rfind(find) => {
            return Err(EditError::Ambiguous(2));
        }
        1 => {}
        several if !edit.all => return Err(EditError::Ambiguous(several)),
        _ => {}
    }
    // Counted before it is made: a small edit of a small file can ask for a very large one.
    let size =
        (text.len() - count * find.len()).saturating_add(count.saturating_mul(replace.len()));
    if size > max_bytes {
        return Err(EditError::TooLarge(max_bytes));
    }
    Ok(text.replace(find, replace))
}
