//! What an agent changed, put together.

use plexus_protocol::{AuditId, SourceId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// All that an agent changed.
#[derive(Debug, Serialize, Deserialize)]
pub struct Show {
    /// The agent, also one that is not connected any more.
    pub agent: String,
    /// Since then: milliseconds, or RFC 3339.
    pub since: Option<String>,
    /// Only in this source.
    pub source: Option<String>,
}

/// What it changed.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Review {
    /// The agent.
    pub agent_id: String,
    /// Since when.
    pub since: Timestamp,
    /// By source.
    pub sources: Vec<SourceReview>,
    /// Whether older changes are left out.
    pub cut: bool,
}

/// What it changed in a source.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceReview {
    /// The source.
    pub source: SourceId,
    /// How many effects there were.
    pub effects: usize,
    /// What they came to.
    pub files: Vec<ReviewedFile>,
    /// Effects whose content is not kept.
    pub not_kept: Vec<ReviewedEffect>,
    /// Effects whose outcome is unknown.
    pub unknown: Vec<ReviewedEffect>,
    /// Why the source did not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Whether the source takes effects back although it shows no difference: `not_kept` is not shown then, and kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undoes: bool,
    /// How many change sets runs of it made: what these would change is no effect here.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub copies: usize,
    /// How many runs and turns on a copy the log has, where the source does not say which change sets they made.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub runs: usize,
}

impl SourceReview {
    /// No effects of a source.
    #[must_use]
    pub fn nothing(source: SourceId) -> Self {
        Self {
            source,
            effects: 0,
            files: Vec::new(),
            not_kept: Vec::new(),
            unknown: Vec::new(),
            why: None,
            undoes: false,
            copies: 0,
            runs: 0,
        }
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
pub(crate) const fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// A file, or whatever a source keeps: its first content against its last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReviewedFile {
    /// Its path.
    pub relative_path: String,
    /// The changes that count, oldest first.
    pub calls: Vec<AuditId>,
    /// Those that were undone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undone: Vec<AuditId>,
    /// What they came to, in one line.
    pub summary: String,
    /// What is there now.
    pub present: Present,
    /// Whether somebody else changed it in between.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub interleaved: bool,
    /// A unified diff.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
    /// Whether that is a part only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// What is at a place now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Present {
    /// What the last change left.
    Same,
    /// Something else.
    Changed,
    /// It cannot be looked at.
    Unknown,
}

/// An effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReviewedEffect {
    /// Its intent.
    pub audit_id: AuditId,
    /// When, as the log has it.
    pub at: Value,
    /// What it did, in the worker's words.
    pub summary: Option<String>,
}
