//! [`RelPath`]: the only form in which a path from a call reaches the file system.
//!
//! Invariant: the text holds no empty, `.` or `..` component, no NUL and no control character. Nothing is decoded
//! (`%2e` is three characters) and `\` is an ordinary character, so there is no second spelling to hide behind.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::names::is_ignored_in_names;

/// Longest path accepted, in bytes. Source: `PATH_MAX` of macOS, and what a record names uncut.
pub const MAX_PATH_BYTES: usize = 1024;
/// Longest component accepted, in bytes. Source: `NAME_MAX` on Linux, APFS and HFS+ take no more.
pub const MAX_COMPONENT_BYTES: usize = 255;

/// A path relative to a root, in canonical spelling; the empty text is the root itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RelPath(String);

/// Why a text is no path below a root. Its reason word is always `path_confinement`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PathError {
    /// Begins with `/`.
    #[error("the path must be relative to the folder: no leading \"/\"")]
    Absolute,
    /// A component is `..`.
    #[error("the path must not contain \"..\"")]
    Parent,
    /// Two slashes in a row.
    #[error("the path contains an empty component (\"//\")")]
    EmptyComponent,
    /// NUL or another control character.
    #[error("the path contains a control character")]
    Control,
    /// More than [`MAX_PATH_BYTES`].
    #[error("the path is longer than {MAX_PATH_BYTES} bytes")]
    TooLong,
    /// A component of more than [`MAX_COMPONENT_BYTES`].
    #[error("a component of the path is longer than {MAX_COMPONENT_BYTES} bytes")]
    ComponentTooLong,
    /// The root, or a path that ends in `/`, where a file must be named.
    #[error("the path names a folder where a file is needed")]
    NotAFileName,
    /// A name that this crate keeps for its own temporary files.
    #[error("names of the form .plexus-….tmp are reserved")]
    Reserved,
}

impl RelPath {
    /// The root itself.
    #[must_use]
    pub const fn root() -> Self {
        Self(String::new())
    }

    /// Parses a path to a file or folder. `.` components and one final `/` are dropped; `""`, `.` and `./` are the root.
    ///
    /// # Errors
    /// A [`PathError`] that names the rule that is broken.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.len() > MAX_PATH_BYTES {
            return Err(PathError::TooLong);
        }
        if text.starts_with('/') {
            return Err(PathError::Absolute);
        }
        if text.chars().any(char::is_control) {
            return Err(PathError::Control);
        }
        let mut clean = String::with_capacity(text.len());
        for component in text.strip_suffix('/').unwrap_or(text).split('/') {
            match component {
                "" if text.is_empty() => {}
                "" => return Err(PathError::EmptyComponent),
                ".." => return Err(PathError::Parent),
                "." => {}
                long if long.len() > MAX_COMPONENT_BYTES => {
                    return Err(PathError::ComponentTooLong);
                }
                name => {
                    if !clean.is_empty() {
                        clean.push('/');
                    }
                    clean.push_str(name);
                }
            }
        }
        Ok(Self(clean))
    }

    /// Parses a path that names a file: not the root, no final `/` or `/.`.
    ///
    /// # Errors
    /// As [`RelPath::parse`], and [`PathError::NotAFileName`].
    pub fn parse_file(text: &str) -> Result<Self, PathError> {
        let path = Self::parse(text)?;
        if path.is_root() || text.ends_with('/') || text.ends_with("/.") {
            return Err(PathError::NotAFileName);
        }
        Ok(path)
    }

    /// The path of `name` in this folder.
    ///
    /// # Errors
    /// As [`RelPath::parse`], when `name` is not one acceptable component.
    pub fn join(&self, name: &str) -> Result<Self, PathError> {
        if name.contains('/') || name.is_empty() || name == "." {
            return Err(PathError::EmptyComponent);
        }
        if self.is_root() {
            Self::parse(name)
        } else {
            Self::parse(&format!("{}/{name}", self.0))
        }
    }

    /// Whether this is the root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The canonical text; empty for the root.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text by which people and records name the path: as [`RelPath::as_str`], but `.` for the root.
    #[must_use]
    pub fn display_id(&self) -> &str {
        if self.is_root() { "." } else { &self.0 }
    }

    /// The components in order; none for the root.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|component| !component.is_empty())
    }

    /// The folder that holds it, and its name there; `None` for the root.
    #[must_use]
    pub fn split_last(&self) -> Option<(Self, &str)> {
        if self.is_root() {
            return None;
        }
        Some(match self.0.rsplit_once('/') {
            Some((parent, name)) => (Self(parent.to_owned()), name),
            None => (Self::root(), &self.0),
        })
    }

    /// The last component; empty for the root.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The last component's extension, lower-cased, without the dot; `None` for `name`, `.name` and `name.`.
    #[must_use]
    pub fn extension(&self) -> Option<String> {
        let (stem, extension) = self.name().rsplit_once('.')?;
        (!stem.is_empty() && !extension.is_empty()).then(|| extension.to_lowercase())
    }

    /// Whether some component begins with a dot, or would for a file system that does not look at what stands before it.
    #[must_use]
    pub fn has_dot_component(&self) -> bool {
        self.components().any(|component| {
            component
                .trim_start_matches(is_ignored_in_names)
                .starts_with('.')
        })
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.display_id())
    }
}

impl TryFrom<String> for RelPath {
    type Error = PathError;
    fn try_from(text: String) -> Result<Self, PathError> {
        Self::parse(&text)
    }
}

impl From<RelPath> for String {
    fn from(path: RelPath) -> Self {
        path.0
    }
}
