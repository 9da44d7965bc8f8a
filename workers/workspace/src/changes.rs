//! What a set of changes came to, file by file: the owner's review.
//!
//! Of each file the content before the first change and after the last one, from the [`Store`]; changes that were
//! taken back do not count. Only the owner asks this: it shows what is kept, whatever any agent may read.

use std::collections::{BTreeMap, BTreeSet};

use plexus_protocol::AuditId;
use plexus_rooted_files::{RelPath, shortened};
use serde::{Deserialize, Serialize};

use crate::{CallRecord, Change, KeptEntry, State, Store, Workspace, WorkspaceError};

/// Most calls in one question.
const MAX_CALLS: usize = 2_000;
/// Most of an answer, in bytes as it is sent, where a line feed is two; a frame holds 4 MiB. Files whose diffs are beyond
/// are named without.
const MAX_ANSWER: usize = 3 * 1024 * 1024;

/// Which changes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangesInput {
    /// Their intents' events.
    pub calls: Vec<String>,
}

/// What they came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangesOutput {
    /// By path.
    pub files: Vec<ChangedFile>,
    /// Calls of which nothing is kept.
    pub not_kept: Vec<String>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangedFile {
    /// Its path.
    pub relative_path: RelPath,
    /// The changes that count, oldest first.
    pub calls: Vec<AuditId>,
    /// Those that were taken back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub undone: Vec<AuditId>,
    /// One line: `replaced Projects/a.md, +12 −3`.
    pub summary: String,
    /// What is there now, held against what the last change left.
    pub present: Present,
    /// Whether somebody else changed it between these changes: then the difference shows that too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub interleaved: bool,
    /// A unified diff; none where a side is no text, is too large, or is damaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
    /// Whether the diff shows a part only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// What is at a path now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Present {
    /// What the last change left.
    Same,
    /// Something else: changed since by someone else.
    Changed,
    /// It cannot be looked at.
    Unknown,
}

impl ChangedFile {
    fn diff_bytes(&self) -> Option<usize> {
        self.diff.as_ref().map(sent_bytes)
    }

    /// Takes what the diff needs from the room that is left, or leaves the diff out.
    fn keep_diff_within(&mut self, room: &mut usize) {
        let Some(bytes) = self.diff_bytes() else {
            return;
        };
        match room.checked_sub(bytes) {
            Some(left) => *room = left,
            None => {
                self.diff = None;
                self.cut = true;
            }
        }
    }
}

/// Bytes that a part of the answer takes in it.
fn sent_bytes(part: &impl Serialize) -> usize {
    serde_json::to_vec(part).map_or(usize::MAX, |json| json.len())
}

impl Workspace {
    /// Puts changes together. Changes nothing.
    ///
    /// # Errors
    /// [`WorkspaceError::InvalidInput`] for ids that are none, or too many; [`WorkspaceError::NotUndoable`] where the
    /// store cannot be read.
    pub fn changes(
        &self,
        store: &Store,
        input: &ChangesInput,
    ) -> Result<ChangesOutput, WorkspaceError> {
        if input.calls.len() > MAX_CALLS {
            return Err(WorkspaceError::InvalidInput(format!(
                "more than {MAX_CALLS} calls"
            )));
        }
        let mut by_path: BTreeMap<RelPath, Vec<KeptEntry>> = BTreeMap::new();
        let mut not_kept = Vec::new();
        let calls: BTreeSet<&String> = input.calls.iter().collect();
        let undone = store.undone()?;
        for text in calls {
            let call = AuditId::parse(text)
                .map_err(|_| WorkspaceError::InvalidInput("not an audit id".to_owned()))?;
            match store.known(&call) {
                CallRecord::Entry(entry, State::Done | State::Lost) => {
                    by_path.entry(entry.path.clone()).or_default().push(*entry);
                }
                CallRecord::Entry(_, State::Begun | State::Not) | CallRecord::Never => {}
                CallRecord::Forgotten => not_kept.push(text.clone()),
            }
        }
        let mut held = MAX_ANSWER;
        let mut files: Vec<ChangedFile> = by_path
            .into_iter()
            .map(|(path, entries)| {
                let (gone, counts): (Vec<_>, Vec<_>) = entries
                    .into_iter()
                    .partition(|entry| undone.contains_key(&entry.call));
                let mut file = self.file(store, path, &counts);
                file.undone = gone.into_iter().map(|entry| entry.call).collect();
                file.keep_diff_within(&mut held);
                file
            })
            .collect();
        // Every file is named, so only what names leave is for diffs.
        let diffs: usize = files.iter().filter_map(ChangedFile::diff_bytes).sum();
        let all = sent_bytes(&files).saturating_add(sent_bytes(&not_kept));
        let mut room = MAX_ANSWER.saturating_sub(all.saturating_sub(diffs));
        for file in &mut files {
            file.keep_diff_within(&mut room);
        }
        Ok(ChangesOutput { files, not_kept })
    }

    fn file(&self, store: &Store, path: RelPath, entries: &[KeptEntry]) -> ChangedFile {
        let mut file = ChangedFile {
            relative_path: path.clone(),
            calls: entries.iter().map(|entry| entry.call.clone()).collect(),
            undone: Vec::new(),
            summary: format!("took back its changes to {}", shortened(path.as_str())),
            present: Present::Same,
            interleaved: false,
            diff: None,
            cut: false,
        };
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return file;
        };
        file.present = match self.root.look(&path) {
            Ok(place) if place.digest() == last.after => Present::Same,
            Ok(_) => Present::Changed,
            Err(_) => Present::Unknown,
        };
        file.interleaved = entries
            .windows(2)
            .any(|two| two[0].after != two[1].before.map(|before| before.digest));
        let (Ok(before), Ok(after)) = (store.before(first), store.after(last)) else {
            let name = shortened(path.as_str());
            file.summary = format!("changed {name}; what was kept is damaged");
            file.cut = true;
            return file;
        };
        let verbs = match (&before, &after) {
            (None, _) => ("creates", "created"),
            (_, None) => ("removes", "removed"),
            _ => ("replaces", "replaced"),
        };
        let change = Change::between(&path, before.as_deref(), after.as_deref(), verbs);
        file.summary = change.summary;
        file.cut = change.is_cut;
        file.diff = change.diff;
        file
    }
}
