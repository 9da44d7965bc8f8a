//! [`Workspace`]: an open folder; listing and reading in it.

use std::{path::Path, sync::Arc};

use plexus_rooted_files::{
    Digest, FileBytes, FileError, HiddenPaths, HideRules, Identity, Kind, PathRule, Policy,
    RelPath, Root, root_runs_unasked, runs_unasked,
    text::{MAX_PAGE_BYTES, decode, page},
};
use serde::{Deserialize, Serialize};

use crate::WorkspaceError;

/// Entries shown at once unless asked otherwise, and the most that can be asked for.
const MAX_ENTRIES: usize = 1000;

/// A folder an agent works in. Dot-files are ordinary; files with a second hard link are refused.
#[derive(Debug)]
pub struct Workspace {
    pub(crate) root: Root,
    /// Why everything in it runs, if the folder itself lies where things run.
    runs_unasked: Option<&'static str>,
}

/// Which folder to list; without a path, the workspace itself.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ListInput {
    /// The folder.
    pub path: Option<String>,
    /// Most entries.
    pub limit: Option<usize>,
    /// Which entry to go on after: `next.after` of the answer before.
    pub after: Option<String>,
}

/// Which file to read.
#[derive(Clone, Debug, Deserialize)]
pub struct ReadInput {
    /// The file.
    pub path: String,
    /// Where in the text to go on, in bytes: `next.offset` of the answer before.
    pub offset: Option<usize>,
}

/// The names in a folder.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename = "dir", rename_all = "camelCase")]
pub struct FolderOutput {
    /// Its path; empty for the workspace itself.
    pub relative_path: RelPath,
    /// Its entries, by name in code-unit order.
    pub entries: Vec<Entry>,
    /// How many entries cannot be read here: links, special files, names with control characters or that are no UTF-8.
    #[serde(skip_serializing_if = "is_zero")]
    pub omitted: usize,
    /// Words for what is left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<&'static str>,
    /// How to go on, if there is more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Next>,
}

/// One name in a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The name.
    pub name: String,
    /// The path to read it by.
    pub relative_path: RelPath,
    /// What it is.
    pub kind: Kind,
}

/// The text of a file.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename = "file", rename_all = "camelCase")]
pub struct FileOutput {
    /// Its path.
    pub relative_path: RelPath,
    /// The text; at most 1 MiB of it.
    pub content: String,
    /// Size of the file on disk.
    pub bytes: u64,
    /// Last change, RFC 3339 with milliseconds.
    pub modified_at: String,
    /// SHA-256 of the file's bytes: `ifDigest` of a write that must not overwrite anything newer.
    pub digest: Digest,
    /// Words for what was done to get the text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<&'static str>,
    /// How to go on, if there is more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Next>,
}

/// The input that goes on where an answer was cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Next {
    /// For a text.
    Offset(usize),
    /// For a folder.
    After(String),
}

impl Workspace {
    /// Opens the folder.
    ///
    /// # Errors
    /// As [`Root::open`].
    pub fn open(path: &Path) -> Result<Self, FileError> {
        Self::open_with(path, false)
    }

    /// The same; where the owner says so, also files that have a second name, which may lie outside the folder.
    ///
    /// # Errors
    /// As [`Root::open`].
    pub fn open_with(path: &Path, allow_hard_links: bool) -> Result<Self, FileError> {
        let policy = Policy {
            allow_hard_links,
            ..Policy::default()
        };
        Ok(Self {
            root: Root::open(path, policy)?,
            runs_unasked: root_runs_unasked(path),
        })
    }

    /// The same workspace, in which what the rules name does not exist.
    #[must_use]
    pub fn hiding(self, rules: &HideRules) -> Self {
        if rules.is_empty() {
            return self;
        }
        Self {
            root: self.root.hiding(Arc::new(HiddenPaths::new(rules))),
            ..self
        }
    }

    /// Which directory it is, to notice that another took its name.
    ///
    /// # Errors
    /// As [`Root::identity`].
    pub fn identity(&self) -> Result<Identity, FileError> {
        self.root.identity()
    }

    /// Why writing to `path` is running code, or `None`. The root's own path counts.
    #[must_use]
    pub fn runs_unasked(&self, path: &RelPath) -> Option<&'static str> {
        self.runs_unasked.or_else(|| runs_unasked(path))
    }

    /// Removes what a killed writer left; to be called once by a writer that starts. Returns how many files it was.
    pub fn remove_leftovers(&self) -> usize {
        self.root.remove_leftovers()
    }

    /// Lists a folder. Once `is_over` says that nobody waits any more, it ends.
    ///
    /// # Errors
    /// [`WorkspaceError::ConstraintMiss`] for a folder the rule does not allow, whether or not it exists;
    /// [`WorkspaceError::File`] with the reason.
    pub fn list(
        &self,
        input: &ListInput,
        rule: PathRule<'_>,
        is_over: &dyn Fn() -> bool,
    ) -> Result<FolderOutput, WorkspaceError> {
        let path = self.allowed(
            RelPath::parse(input.path.as_deref().unwrap_or_default())?,
            rule,
        )?;
        let limit = input.limit.unwrap_or(MAX_ENTRIES).clamp(1, MAX_ENTRIES);
        let listing = self
            .root
            .list(&path, limit, input.after.as_deref(), is_over)
            .map_err(|error| self.absent(error, rule))?;
        let entry = |entry: plexus_rooted_files::Entry| Entry {
            name: entry.path.name().to_owned(),
            relative_path: entry.path,
            kind: entry.kind,
        };
        Ok(FolderOutput {
            relative_path: path,
            warnings: listing.warnings(),
            entries: listing.entries.into_iter().map(entry).collect(),
            omitted: listing.omitted,
            next: listing.next_after.map(Next::After),
        })
    }

    /// Reads a text file.
    ///
    /// # Errors
    /// As [`Workspace::list`], and [`WorkspaceError::InvalidInput`] for an offset inside a character.
    pub fn read(
        &self,
        input: &ReadInput,
        rule: PathRule<'_>,
    ) -> Result<FileOutput, WorkspaceError> {
        let asked = RelPath::parse_file(&input.path)?;
        let found = match self.root.find(&asked) {
            Ok(found) if rule.allows(found.path()) => found,
            Ok(_) => return Err(WorkspaceError::ConstraintMiss),
            // Absence too is only told of what the rule allows.
            Err(error) => {
                return Err(self
                    .allowed(asked, rule)
                    .map_or_else(|miss| miss, |_| self.absent(error, rule)));
            }
        };
        page_of(found.path().clone(), &found.read()?, input)
    }

    /// The same for a short file, where that needs no waiting. Everything else is [`Workspace::read`]'s to answer,
    /// refusals with it.
    #[must_use]
    pub fn read_at_hand(&self, input: &ReadInput, rule: PathRule<'_>) -> Option<FileOutput> {
        let path = RelPath::parse_file(&input.path).ok()?;
        if !rule.allows(&path) {
            return None;
        }
        let file = self.root.read_at_hand(&path)?;
        page_of(path, &file, input).ok()
    }

    /// The path as the disk spells it, if the rule allows it. Judged before anything is said about what is there.
    pub(crate) fn allowed(
        &self,
        path: RelPath,
        rule: PathRule<'_>,
    ) -> Result<RelPath, WorkspaceError> {
        match self.root.spelling(&path) {
            Ok(spelled) if rule.allows(&spelled) => Ok(spelled),
            Err(error) if rule.allows(&path) => Err(error.into()),
            Ok(_) | Err(_) => Err(WorkspaceError::ConstraintMiss),
        }
    }
}

/// What is told of a file: the stretch of its text that was asked for.
fn page_of(
    path: RelPath,
    file: &FileBytes,
    input: &ReadInput,
) -> Result<FileOutput, WorkspaceError> {
    let text = decode(&file.bytes).map_err(|why| FileError::NotText {
        path: path.clone(),
        what: why.0.to_owned(),
    })?;
    let page = page(&text.content, input.offset.unwrap_or(0), MAX_PAGE_BYTES).ok_or_else(|| {
        WorkspaceError::InvalidInput("offset lies beyond the text or inside a character".to_owned())
    })?;
    Ok(FileOutput {
        content: page.content.to_owned(),
        bytes: file.meta.size,
        modified_at: file.meta.modified_at(),
        digest: file.digest(),
        warnings: text.warning.into_iter().collect(),
        next: page.next_offset.map(Next::Offset),
        relative_path: path,
    })
}

const fn is_zero(number: &usize) -> bool {
    *number == 0
}
