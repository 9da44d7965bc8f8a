//! The scope of one call: what it may see, and whether anybody still waits.

use crate::error::GitError;
use plexus_rooted_files::RelPath;

/// What a call may see. A path of the history is judged as it stands there: nothing in a history is a link that leads on.
pub(crate) struct CallScope<'a> {
    pub(crate) allows: &'a dyn Fn(&str) -> bool,
    pub(crate) is_over: &'a dyn Fn() -> bool,
}

/// An answer, and what it was made from.
pub(crate) struct Answer<T> {
    pub(crate) output: T,
    /// Paths, as the history spells them.
    pub(crate) paths: Vec<String>,
    /// Ids of commits.
    pub(crate) commits: Vec<String>,
    pub(crate) summary: String,
}

impl CallScope<'_> {
    /// Whether everything may be seen.
    pub(crate) fn everything(&self) -> bool {
        // The root itself is allowed only where no path is excepted.
        (self.allows)(".")
    }

    pub(crate) fn go_on(&self) -> Result<(), GitError> {
        if (self.is_over)() {
            Err(GitError::Over)
        } else {
            Ok(())
        }
    }

    /// The path that an input names; `None` for the whole.
    pub(crate) fn path(&self, text: Option<&str>) -> Result<Option<String>, GitError> {
        let path = RelPath::parse(text.unwrap_or_default())
            .map_err(|error| GitError::Path(error.to_string()))?;
        if path.is_root() {
            return Ok(None);
        }
        if (self.allows)(path.as_str()) {
            Ok(Some(path.as_str().to_owned()))
        } else {
            Err(GitError::Miss)
        }
    }

    /// The file that an input must name.
    pub(crate) fn file(&self, text: &str) -> Result<String, GitError> {
        self.path(Some(text))?
            .ok_or_else(|| GitError::Invalid("path must name a file".to_owned()))
    }
}
