//! Answers: a folder's names, a note's text in parts, the hits of a search.
//!
//! Must not know: requests, constraints.

use crate::{
    api::{Command, NoteMatches},
    path::{Paths, spelled},
};
use plexus_ipc::worker::SourceError;
use plexus_protocol::Digest;
use plexus_rooted_files::{
    RelPath,
    names::code_unit_order,
    text::{MAX_PAGE_BYTES, NotText, decode, page},
};
use serde::{Deserialize, Serialize};

/// Entries of a folder, and commands, unless asked otherwise; no more can be asked for.
const MOST: usize = 1000;
/// Hits unless asked otherwise.
const HITS: usize = 20;
/// Longest text of a hit, in characters.
const SNIPPET: usize = 200;

#[derive(Debug, Deserialize)]
pub(crate) struct ListInput {
    #[serde(default)]
    pub(crate) path: String,
    limit: Option<usize>,
    after: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ReadInput {
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) offset: usize,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ActiveInput {
    #[serde(default)]
    pub(crate) offset: usize,
}

#[derive(Debug, Deserialize)]
pub(crate) struct PeriodicInput {
    pub(crate) period: String,
    #[serde(default)]
    pub(crate) offset: usize,
}

#[derive(Debug, Deserialize)]
pub(crate) struct SearchInput {
    pub(crate) query: String,
    limit: Option<usize>,
    #[serde(default)]
    pub(crate) path: String,
    after: Option<String>,
}

/// The names in a folder.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Folder {
    r#type: &'static str,
    relative_path: RelPath,
    entries: Vec<Entry>,
    #[serde(skip_serializing_if = "is_zero")]
    omitted: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Next>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    name: String,
    relative_path: RelPath,
    kind: &'static str,
}

/// How to go on.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
enum Next {
    Offset(usize),
    After(String),
}

/// A part of a note's text.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Part {
    r#type: &'static str,
    relative_path: RelPath,
    content: String,
    bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    modified_at: Option<String>,
    digest: Digest,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Next>,
}

/// The hits of a search.
#[derive(Debug, Serialize)]
pub(crate) struct Search {
    r#type: &'static str,
    query: String,
    pub(crate) hits: Vec<Hit>,
    truncated: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Next>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Hit {
    pub(crate) relative_path: RelPath,
    snippet: String,
}

/// Obsidian's commands.
#[derive(Debug, Serialize)]
pub(crate) struct Commands {
    pub(crate) commands: Vec<Command>,
    truncated: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl ListInput {
    /// The answer for a folder with these names.
    pub(crate) fn answer(&self, folder: RelPath, names: Vec<String>, paths: &Paths) -> Folder {
        let mut omitted = 0;
        let mut entries: Vec<Entry> = Vec::new();
        for name in names {
            let (name, kind) = match name.strip_suffix('/') {
                Some(name) => (spelled(name), "dir"),
                None => (spelled(&name), "file"),
            };
            match folder.join(&name) {
                Ok(path) if paths.shows(&path) => entries.push(Entry {
                    name,
                    relative_path: path,
                    kind,
                }),
                // Hidden ones are not counted either.
                Ok(_) => {}
                Err(_) => omitted += 1,
            }
        }
        entries.sort_by(|a, b| code_unit_order(&a.name, &b.name));
        if let Some(after) = &self.after {
            entries.retain(|entry| code_unit_order(&entry.name, after).is_gt());
        }
        let limit = self.limit.unwrap_or(MOST).min(MOST);
        let more = entries.len() > limit;
        entries.truncate(limit);
        let last = entries.last().filter(|_| more);
        Folder {
            r#type: "dir",
            next: last.map(|entry| Next::After(entry.name.clone())),
            relative_path: folder,
            entries,
            omitted,
            warnings: (omitted > 0)
                .then_some("names_skipped")
                .into_iter()
                .collect(),
        }
    }
}

impl Folder {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

impl Part {
    /// The part of a file's text from `offset`.
    pub(crate) fn of(
        path: RelPath,
        bytes: &[u8],
        offset: usize,
        modified: Option<f64>,
    ) -> Result<Self, SourceError> {
        let text = decode(bytes);
        let not_text = |why: NotText| format!("{path} is not text: {}", why.0);
        let text = text.map_err(|why| SourceError::transport("not_text", not_text(why)))?;
        let part = page(&text.content, offset, MAX_PAGE_BYTES);
        let beyond = "offset lies beyond the text or within a character";
        let part = part.ok_or_else(|| SourceError::invalid(beyond))?;
        Ok(Self {
            r#type: "file",
            content: part.content.to_owned(),
            bytes: bytes.len(),
            modified_at: modified.and_then(moment),
            digest: Digest::of(bytes),
            warnings: text.warning.into_iter().collect(),
            next: part.next_offset.map(Next::Offset),
            relative_path: path,
        })
    }

    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    pub(crate) fn path(&self) -> &RelPath {
        &self.relative_path
    }
}

/// RFC 3339, from milliseconds since 1970.
fn moment(milliseconds: f64) -> Option<String> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "saturates, and what is out of range is no moment"
    )]
    let at = jiff::Timestamp::from_millisecond(milliseconds as i64).ok()?;
    Some(format!("{at:.3}"))
}

impl SearchInput {
    /// The hits in notes that `allows` lets pass and that lie in `within`. The plugin has an order of its own: `after` is
    /// how many of them came before.
    pub(crate) fn answer(
        self,
        found: Vec<NoteMatches>,
        paths: &Paths,
        within: &RelPath,
        allows: impl Fn(&RelPath) -> bool,
    ) -> Result<Search, SourceError> {
        let limit = self.limit.unwrap_or(HITS);
        let shown = self.after.as_deref().unwrap_or("0");
        let shown = shown
            .parse::<usize>()
            .map_err(|_| SourceError::invalid("after is next.after of the answer before"))?;
        let (mut hits, mut seen, mut truncated) = (Vec::new(), 0, false);
        let mut warnings = Vec::new();
        let inside = |path: &RelPath| {
            let rest = path.as_str().strip_prefix(within.as_str());
            within.is_root() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        for note in found {
            let Ok(path) = RelPath::parse_file(&spelled(&note.filename)) else {
                // Where it lies is not known, so nobody is told whose grant is narrower.
                if within.is_root() && allows(within) && warnings.is_empty() {
                    warnings.push("names_skipped");
                }
                continue;
            };
            // A hidden one is not told of.
            if !paths.shows(&path) {
                continue;
            }
            if !inside(&path) || !allows(&path) {
                continue;
            }
            for fit in note.matches {
                seen += 1;
                if seen <= shown {
                    continue;
                }
                if hits.len() == limit {
                    truncated = true;
                    break;
                }
                hits.push(Hit {
                    relative_path: path.clone(),
                    snippet: snippet(&fit.context),
                });
            }
        }
        let last = shown + hits.len();
        Ok(Search {
            r#type: "search",
            query: self.query,
            hits,
            truncated,
            warnings,
            next: truncated.then(|| Next::After(last.to_string())),
        })
    }
}

/// The text on one line, bounded.
fn snippet(context: &str) -> String {
    let words: Vec<&str> = context.split_whitespace().collect();
    words.join(" ").chars().take(SNIPPET).collect()
}

impl Commands {
    pub(crate) fn of(mut commands: Vec<Command>) -> Self {
        let truncated = commands.len() > MOST;
        commands.truncate(MOST);
        Self {
            commands,
            truncated,
        }
    }
}
