//! A change of one note: what it would do, the change, and whether it happened.
//!
//! ```text
//! plan: read ▸ the new text ▸ difference     commit: plan again ▸ keep ▸ read again ▸ send ▸ read
//! ```
//!
//! Invariants: nothing is sent unless the note is what the plan saw, as of the request before; what a change replaces is
//! kept before it is sent. The plugin takes no version with a change, so a change by somebody else between these two
//! requests is lost by a write, and kept by an append.
//!
//! Must not know: calls, which paths exist for agents.

use crate::api::{Act, Api, Failure, Found};
use plexus_ipc::worker::{ALREADY_UNDONE, Preview, Verdict};
use plexus_protocol::{AuditId, Digest, Effect};
use plexus_rooted_files::{Change, RelPath, runs_unasked, text::with_ends_of};
use serde::{Deserialize, Serialize};

/// Largest note that is changed, before and after, in bytes: it is kept for undo, and compared for the owner.
pub(crate) const LARGEST: usize = 2 * 1024 * 1024;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WriteInput {
    pub(crate) path: String,
    pub(crate) content: String,
    pub(crate) if_digest: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct AppendInput {
    pub(crate) path: String,
    pub(crate) content: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct UndoInput {
    pub(crate) id: String,
    pub(crate) path: Option<String>,
}

/// Answer to a write or an append.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WriteOutput {
    pub(crate) ok: bool,
    pub(crate) relative_path: RelPath,
    pub(crate) bytes: usize,
    pub(crate) digest: Digest,
}

/// Answer to an undo.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Undone {
    pub(crate) ok: bool,
    pub(crate) relative_path: RelPath,
    pub(crate) removed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) digest: Option<Digest>,
}

/// A change as it is kept, before it is sent and after.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) path: RelPath,
    /// The text that it replaces; none where there was no note.
    before: Option<String>,
    /// What it makes of the note; none where the note goes.
    after: Option<Digest>,
    pub(crate) done: bool,
    /// The change that it takes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) takes_back: Option<AuditId>,
}

/// Why a change cannot be planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoChange {
    #[error("this is a folder")]
    Folder,
    #[error("what is there is not UTF-8 text: it could neither be shown nor put back")]
    NotText,
    #[error("notes of more than 2 MiB are not changed here")]
    TooLarge,
    /// What is there is not what the caller names.
    #[error("the note is another one now; read it again")]
    Changed,
    /// An undo of a change on which another one followed.
    #[error("the note is not as this change left it")]
    ChangedSince,
    /// An undo of a change that was taken back before.
    #[error("{}", ALREADY_UNDONE.1)]
    Undone,
    /// An undo of a change that was never made.
    #[error("this change was not made, or its answer was lost: put it right by hand")]
    NotMade,
}

/// A planned change.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) path: RelPath,
    before: Option<String>,
    after: Option<String>,
    act: Act,
    /// The change that this one takes back.
    pub(crate) takes_back: Option<AuditId>,
}

/// What is there, as a text that can be changed.
pub(crate) fn text_of(there: Found) -> Result<Option<String>, NoChange> {
    match there {
        Found::Nothing => Ok(None),
        Found::Folder => Err(NoChange::Folder),
        Found::File(bytes) if bytes.len() > LARGEST => Err(NoChange::TooLarge),
        Found::File(bytes) => match String::from_utf8(bytes.into()) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(NoChange::NotText),
        },
    }
}

fn digest(text: Option<&String>) -> Option<Digest> {
    text.map(|text| Digest::of(text.as_bytes()))
}

impl Planned {
    /// Puts `content` in the place of what is there, `before`.
    pub(crate) fn write(
        path: RelPath,
        before: Option<String>,
        content: String,
        expected: Option<&str>,
    ) -> Result<Self, NoChange> {
        let now = digest(before.as_ref()).map_or_else(|| "absent".to_owned(), |d| d.to_string());
        if expected.is_some_and(|expected| expected != now) {
            return Err(NoChange::Changed);
        }
        Self::of(path, before, Some(content.clone()), Act::Put(content))
    }

    /// Adds `content` on a line of its own, as the plugin does.
    pub(crate) fn append(
        path: RelPath,
        before: Option<String>,
        content: String,
    ) -> Result<Self, NoChange> {
        let content = with_ends_of(before.as_deref().unwrap_or_default(), &content).into_owned();
        let after = match &before {
            None => content.clone(),
            Some(before) if before.ends_with('\n') => format!("{before}{content}"),
            Some(before) => format!("{before}\n{content}"),
        };
        Self::of(path, before, Some(after), Act::Append(content))
    }

    /// Takes the change of `record` back, where the note is what that change left. `is_undone`: it was taken back.
    pub(crate) fn undo(
        (record, is_undone): (Record, bool),
        id: AuditId,
        now: Option<String>,
    ) -> Result<Self, NoChange> {
        if !record.done {
            return Err(NoChange::NotMade);
        }
        if digest(now.as_ref()) != record.after {
            if is_undone {
                return Err(NoChange::Undone);
            }
            return Err(NoChange::ChangedSince);
        }
        let act = record.before.clone().map_or(Act::Delete, Act::Put);
        let mut undo = Self::of(record.path, now, record.before, act)?;
        undo.takes_back = Some(id);
        Ok(undo)
    }

    fn of(
        path: RelPath,
        before: Option<String>,
        after: Option<String>,
        act: Act,
    ) -> Result<Self, NoChange> {
        if after.as_ref().is_some_and(|after| after.len() > LARGEST) {
            return Err(NoChange::TooLarge);
        }
        Ok(Self {
            path,
            before,
            after,
            act,
            takes_back: None,
        })
    }

    /// What it assumes, and what it comes to.
    pub(crate) fn state_token(&self) -> Digest {
        let (before, after) = (digest(self.before.as_ref()), digest(self.after.as_ref()));
        Digest::of(format!("{} {before:?} {after:?}", self.path).as_bytes())
    }

    /// The digest of what it replaces; none where there is no note.
    pub(crate) fn replaces(&self) -> Option<Digest> {
        digest(self.before.as_ref())
    }

    /// The change, for the owner: in words, and as a difference.
    pub(crate) fn change(&self) -> Change {
        let verbs = match (&self.takes_back, &self.act, &self.before) {
            (Some(_), Act::Delete, _) => ("removes", "removed"),
            (Some(_), ..) => ("puts back", "put back"),
            (None, _, None) => ("creates", "created"),
            (None, Act::Append(_), _) => ("appends to", "appended to"),
            (None, ..) => ("replaces", "replaced"),
        };
        let bytes = |text: &Option<String>| text.as_ref().map(|text| text.as_bytes().to_vec());
        let (before, after) = (bytes(&self.before), bytes(&self.after));
        Change::between(&self.path, before.as_deref(), after.as_deref(), verbs)
    }

    pub(crate) fn preview(&self, change: &Change) -> Preview {
        let absent_or = |digest: Option<Digest>| {
            digest.map_or_else(|| "absent".to_owned(), |digest| digest.to_string())
        };
        let mut preview = Preview::new(&change.headline)
            .fact("path", self.path.as_str())
            .fact("before", absent_or(self.replaces()))
            .fact("after", absent_or(digest(self.after.as_ref())));
        if let Some(why) = self.runs() {
            preview = preview.fact("runs", why);
        }
        preview = match &change.diff {
            Some(diff) => preview.diff(diff),
            None => preview.fact("diff", "not shown: too large to compare"),
        };
        preview.cut |= change.is_cut;
        preview
    }

    /// Why a change of this note amounts to running code.
    pub(crate) fn runs(&self) -> Option<&'static str> {
        runs_unasked(&self.path)
    }

    /// What is kept of it before it is sent.
    pub(crate) fn record(&self) -> Record {
        Record {
            path: self.path.clone(),
            before: self.before.clone(),
            after: digest(self.after.as_ref()),
            done: false,
            takes_back: self.takes_back.clone(),
        }
    }

    /// Sends it, if the note is still what the plan saw. The text that is there afterwards; none where there is no note.
    /// If the plugin does not answer that it has done it, the note tells.
    ///
    /// # Errors
    /// Why not, and what was done. A request without an answer may be carried out later: that it was not yet is no proof.
    pub(crate) async fn make(&self, api: &Api, record: &Record) -> Result<Option<String>, NotMade> {
        let now = api.get(&self.path).await;
        let now = now.map_err(|why| NotMade::Failed(why, Effect::None))?;
        if text_of(now) != Ok(self.before.clone()) {
            return Err(NotMade::Moved);
        }
        let sent = api.make(&self.path, self.act.clone()).await;
        let Err(why) = sent else {
            // The change is made, whether or not it can be read now.
            let there = api.get(&self.path).await.map(text_of);
            return Ok(match there {
                Ok(Ok(text)) => text,
                Ok(Err(_)) | Err(_) => self.after.clone(),
            });
        };
        if why.effect() != Effect::Unknown {
            return Err(NotMade::Failed(why, Effect::None));
        }
        let answered = matches!(why, Failure::Status(..));
        match api.get(&self.path).await {
            Ok(there) => match record.verdict(&there) {
                Verdict::Happened => Ok(text_of(there).unwrap_or_default()),
                Verdict::DidNot if answered => Err(NotMade::Failed(why, Effect::None)),
                Verdict::DidNot | Verdict::CannotTell => Err(NotMade::Failed(why, Effect::Unknown)),
            },
            Err(_) => Err(NotMade::Failed(why, Effect::Unknown)),
        }
    }
}

/// Why a planned change was not made.
#[derive(Debug)]
pub(crate) enum NotMade {
    /// The note is not what the plan saw.
    Moved,
    Failed(Failure, Effect),
}

impl Record {
    /// Whether the change happened, by what is there now.
    pub(crate) fn verdict(&self, there: &Found) -> Verdict {
        let now = match there {
            Found::Nothing => None,
            Found::Folder => return Verdict::CannotTell,
            Found::File(bytes) => Some(Digest::of(bytes)),
        };
        match self.done || now == self.after {
            true => Verdict::Happened,
            false if now == digest(self.before.as_ref()) => Verdict::DidNot,
            false => Verdict::CannotTell,
        }
    }
}
