//! What is said of a path where nothing is: what may have been meant, and which new names are not given.
//!
//! Invariant: nothing is opened by another name than the one that was asked for; what a grant does not reach is not named.

use std::fmt;

use plexus_rooted_files::{Difference, FileError, PathRule, RelPath, WriteTarget};

use crate::{Workspace, WorkspaceError};

/// What may have been meant by a path.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Suggestion {
    /// This, whose name reads like it.
    Namesake(RelPath, Difference),
    /// Folders divided by `\`.
    Backslash,
    /// The home folder.
    Home,
}

/// The path is written by which the namesake can be given in JSON where the eye does not tell the two apart.
impl fmt::Display for Suggestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namesake(path, difference) => {
                match difference {
                    Difference::Form => write!(f, "\"{}\"", as_json(path.as_str()))?,
                    Difference::Case | Difference::End => write!(f, "\"{path}\"")?,
                }
                write!(f, " is there, whose name differs only {difference}")
            }
            Self::Backslash => {
                f.write_str("folders are divided by \"/\", and \"\\\" is a part of a name")
            }
            Self::Home => f.write_str("\"~\" is no home folder: a path begins in this folder"),
        }
    }
}

fn as_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_ascii() {
            true => out.push(c),
            false => {
                let mut units = [0; 2];
                let units = c.encode_utf16(&mut units);
                out.extend(units.iter().map(|unit| format!("\\u{unit:04x}")));
            }
        }
    }
    out
}

impl Workspace {
    /// The error, with what may have been meant where nothing is at a path.
    pub(crate) fn absent(&self, error: FileError, rule: PathRule<'_>) -> WorkspaceError {
        let FileError::NotFound(path) = error else {
            return error.into();
        };
        let found = self.root.namesake(&path, &|path| rule.allows(path));
        let whole =
            found.and_then(|found| Some(Suggestion::Namesake(found.whole?, found.difference)));
        let suggestion = whole.or_else(|| odd(&mut path.components(), true));
        match suggestion {
            Some(suggestion) => WorkspaceError::NotFound { path, suggestion },
            None => FileError::NotFound(path).into(),
        }
    }

    /// Whether a file may be made at a place where none is: a name that would be taken for one that is there, or is no name
    /// where it comes from, is a mistake nearly always.
    pub(crate) fn check_new(
        &self,
        place: &WriteTarget,
        rule: PathRule<'_>,
    ) -> Result<(), WorkspaceError> {
        if place.current().is_some() {
            return Ok(());
        }
        let path = place.path();
        let known = place.folder().components().count();
        let mut new = path.components().skip(known);
        let namesake = || {
            let found = self.root.namesake(path, &|path| rule.allows(path))?;
            Some(Suggestion::Namesake(found.first, found.difference))
        };
        match odd(&mut new, known == 0).or_else(namesake) {
            None => Ok(()),
            Some(suggestion) => Err(WorkspaceError::OddName {
                path: path.clone(),
                suggestion,
            }),
        }
    }
}

/// What such names are meant for; `from_top`: the first of them is one of the folder itself.
fn odd(names: &mut dyn Iterator<Item = &str>, from_top: bool) -> Option<Suggestion> {
    let first = names.next()?;
    if from_top && first == "~" {
        return Some(Suggestion::Home);
    }
    let mut all = std::iter::once(first).chain(names);
    all.any(|name| name.contains('\\'))
        .then_some(Suggestion::Backslash)
}
