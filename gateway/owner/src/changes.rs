//! Change sets: what runs of coding agents left for a decision. What is in one is its source's to say.

use crate::{Done, plan::Plan};
use plexus_protocol::{AuditId, CapabilityId, Digest, SourceId, Timestamp};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// All that are kept.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct List {
    /// Those of this source alone.
    pub source: Option<String>,
}

/// The change sets, of each source the newest first.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChangeSets {
    /// Each in short.
    pub sets: Vec<ChangeSetRow>,
    /// Those that cannot be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<UnreadSet>,
    /// Sources that did not say.
    pub away: Vec<AwaySource>,
    /// How many older ones there are beyond these.
    pub more: u64,
}

/// A change set that its source cannot read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnreadSet {
    /// Its id.
    pub id: String,
    /// Why.
    pub why: String,
    /// The source that has it.
    pub source: SourceId,
}

/// A source that does not answer, or with what cannot be read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AwaySource {
    /// The source.
    pub source: SourceId,
    /// Why.
    pub why: String,
}

/// A change set in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangeSetRow {
    /// Its id.
    pub id: String,
    /// Where it comes from.
    #[serde(flatten)]
    pub about: Origin,
    /// How many files have which change.
    #[serde(flatten)]
    pub counts: Counts,
    /// The first of its files.
    pub first: Vec<String>,
    /// Paths of it that are in the folder now as it has them.
    pub applied: u64,
    /// The calls that brought them there.
    pub calls: Vec<AuditId>,
    /// The source that has it, and what the gateway knows of it.
    #[serde(flatten)]
    pub of: GatewayFacts,
}

impl ChangeSetRow {
    /// How much of it is in the folder, where that is a part. Of a rename one half can be there, so it is not counted.
    #[must_use]
    pub fn applied_part(&self) -> String {
        match self.counts.renamed {
            0 => format!("{} of {}", self.applied, self.counts.files()),
            _ => "in part".to_owned(),
        }
    }
}

/// What the gateway adds to what a source says of a change set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GatewayFacts {
    /// The source that has it.
    pub source: SourceId,
    /// Why its run was asked for, in the agent's words, as long as that request is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// The folder of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
}

/// Where a change set comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// Whose run it was; none: the owner's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<Timestamp>,
    /// The event of its run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<AuditId>,
    /// The beginning of what that was asked.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prompt: String,
    /// The change sets that it builds on, which are to be applied before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub onto: Vec<String>,
    /// Whether its run was ended before it came to its end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unfinished: bool,
    /// The limit of its run that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// The newest change set that goes on from it; a list has none.
    #[serde(
        default,
        rename = "supersededBy",
        skip_serializing_if = "Option::is_none"
    )]
    pub superseded_by: Option<String>,
    /// Links and special files of its run, which are in no change set.
    #[serde(default)]
    pub omitted: u64,
}

impl Origin {
    /// How its run ended that did not come to its end.
    #[must_use]
    pub fn unfinished(&self) -> Option<String> {
        let limit = self.limit.as_ref().map(|limit| format!(", at its {limit}"));
        self.unfinished.then(|| {
            let limit = limit.unwrap_or_default();
            format!("its run was ended before it was finished{limit}")
        })
    }

    /// What a change set lacks of what its run made.
    #[must_use]
    pub fn lacks(&self) -> Option<String> {
        match self.omitted {
            0 => None,
            1 => Some("1 link, special or unreadable file of the run".to_owned()),
            more => Some(format!(
                "{more} links, special or unreadable files of the run"
            )),
        }
    }
}

/// The first line of a prompt or a purpose, which says what it is for; `…` stands for the lines after it.
#[must_use]
pub fn first_line(words: &str) -> Cow<'_, str> {
    match words.trim().split_once('\n') {
        Some((first, _)) => format!("{} …", first.trim_end()).into(),
        None => words.trim().into(),
    }
}

/// How many files of a change set have which change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// New ones.
    pub added: u64,
    /// Those with another content.
    pub edited: u64,
    /// Those that go.
    pub removed: u64,
    /// Those that may be executed, or may not any more.
    pub modes: u64,
    /// Those that only got another name. Each is one of the removed and one of the added, too.
    #[serde(default)]
    pub renamed: u64,
}

impl Counts {
    /// All files; one that only got another name is one.
    #[must_use]
    pub const fn files(&self) -> u64 {
        self.paths().saturating_sub(self.renamed)
    }

    /// All paths: a file that only got another name has two.
    #[must_use]
    pub const fn paths(&self) -> u64 {
        let contents = self.added.saturating_add(self.edited);
        contents
            .saturating_add(self.removed)
            .saturating_add(self.modes)
    }
}

/// One change set, file by file.
#[derive(Debug, Serialize, Deserialize)]
pub struct Show {
    /// Its id.
    pub id: String,
    /// This file of it alone.
    pub path: Option<String>,
    /// The files behind this one.
    pub after: Option<String>,
}

/// A stretch of a change set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangeSet {
    /// Its id.
    pub id: String,
    /// Where it comes from.
    #[serde(default)]
    pub about: Origin,
    /// Its files, in the order of their paths.
    pub files: Vec<FileChange>,
    /// Where the rest begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Next>,
    /// The source that has it, and what the gateway knows of it.
    #[serde(flatten)]
    pub of: GatewayFacts,
}

/// Where a change set goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    /// The last file of this stretch.
    pub after: String,
}

/// What becomes of one file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileChange {
    /// Its path in the folder.
    pub path: String,
    /// What becomes of it.
    pub kind: ChangeKind,
    /// The removed file whose content it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Its content before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Side>,
    /// Its content afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Side>,
    /// Whether it can be executed, where that changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable: Option<bool>,
    /// The difference; none where it is no text, too large or not to be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
    /// Whether that is a part only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<bool>,
    /// What somebody else made of it since the run began, or since it was applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meanwhile: Option<String>,
    /// Whether that is a part only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meanwhile_cut: Option<bool>,
    /// How far it has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Standing>,
    /// The call that applied it, where somebody has changed it since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<AuditId>,
    /// The change set that is to be applied first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<String>,
    /// Why applying it would be running code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<String>,
}

/// What becomes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It has another content.
    Edited,
    /// It goes.
    Removed,
    /// The content stays.
    Mode,
}

/// How far a file of a change set has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// The folder has it as the run found it.
    Waits,
    /// The folder has it as the run left it.
    Applied,
    /// Somebody has made something else of it.
    Changed,
}

/// One content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// Its digest.
    pub digest: String,
    /// Its length.
    pub bytes: u64,
}

/// What applying a change set would do.
#[derive(Debug, Serialize, Deserialize)]
pub struct PlanApply {
    /// Its id.
    pub id: String,
    /// The source that has it.
    pub source: SourceId,
    /// These files alone.
    pub paths: Option<Vec<String>>,
}

/// A plan of an apply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApplyPlan {
    /// The change set.
    pub id: String,
    /// The source that has it.
    pub source: SourceId,
    /// What applies it.
    pub capability_id: CapabilityId,
    /// What that does.
    #[serde(flatten)]
    pub plan: Plan,
}

/// Applies it, as it was planned.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Apply {
    /// Its id.
    pub id: String,
    /// The source that has it.
    pub source: SourceId,
    /// These files alone.
    pub paths: Option<Vec<String>>,
    /// The plan that the owner saw.
    pub state_token: Digest,
}

/// Drops it: nothing brings it back.
#[derive(Debug, Serialize, Deserialize)]
pub struct DropSet {
    /// Its id.
    pub id: String,
    /// The source that has it.
    pub source: SourceId,
}

/// What was applied, or dropped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApplyOutcome {
    /// It is done.
    pub ok: Done,
    /// The change set.
    pub id: String,
    /// The event of that.
    pub audit_id: AuditId,
    /// What was done, in one line.
    pub summary: Option<String>,
    /// By which id it can be taken back.
    pub undo: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_line_stands_for_a_prompt() {
        for (words, first) in [
            ("Fix it.", "Fix it."),
            ("Fix it.\n", "Fix it."),
            ("\nFix it.\n\nAll of it.", "Fix it. …"),
            ("Fix it.\r\nAll of it.", "Fix it. …"),
            ("", ""),
        ] {
            assert_eq!(first_line(words), first);
        }
    }
}
