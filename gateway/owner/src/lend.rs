//! Folders that are lent to one agent for a time.

use crate::Done;
use plexus_protocol::{AgentId, SourceId, Timestamp};
use serde::{Deserialize, Serialize};

/// Folders that are lent, and were lent lately.
#[derive(Debug, Serialize, Deserialize)]
pub struct List {}

/// Folders that are lent, and were lent lately.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct LentFolders {
    /// Each of them.
    pub lent: Vec<LentFolder>,
}

/// A lent folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LentFolder {
    /// The source that it is.
    pub source: SourceId,
    /// Who may use it.
    pub agent_id: AgentId,
    /// Where it is.
    pub path: Option<String>,
    /// When it ends.
    pub until: Timestamp,
    /// Whether files may be changed.
    pub write: bool,
    /// Writes that are left, where they are counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writes_left: Option<u32>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
}

/// Lends a folder to an agent, on other terms where it is lent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lend {
    /// The agent.
    #[serde(default)]
    pub agent_id: String,
    /// The folder, absolute.
    pub path: String,
    /// Whether files may be changed.
    #[serde(default)]
    pub write: bool,
    /// For how long, in milliseconds; else for a day.
    pub for_ms: Option<u64>,
    /// How many writes are made unasked.
    pub max_writes: Option<u32>,
}

/// Always: its server looks at the folder first, and nobody holds the guard of a widening over that.
/// What an agent may do with a folder that is lent so, behind `AGENT may`; `path` is shown as it is given.
#[must_use]
pub fn may(path: &str, write: bool, max_writes: Option<u32>) -> String {
    let most = match max_writes {
        None => String::new(),
        Some(1) => "once, undo included; then it asks".to_owned(),
        Some(most) => format!("{most} times, undo included; then it asks"),
    };
    match (write, most.as_str()) {
        (false, _) => format!("list and read the files in {path}"),
        (true, "") => format!("list, read and change the files in {path} without asking"),
        (true, most) => {
            format!("list and read the files in {path}, and change them without asking {most}")
        }
    }
}

/// What it may not, behind `AGENT may not`.
#[must_use]
pub const fn may_not(write: bool) -> &'static str {
    match write {
        true => {
            "reach anything outside of that folder by this, and still asks before it changes a file that tools run or obey (.git, .envrc, CLAUDE.md, …)"
        }
        false => "change anything, nor reach anything outside of that folder by this",
    }
}

/// A folder that was lent.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lending {
    /// As it is lent.
    #[serde(flatten)]
    pub folder: LentFolder,
    /// It is lent.
    pub ok: Done,
    /// The event.
    pub audit_id: String,
    /// How many writes are made unasked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_writes: Option<u32>,
    /// As it was lent before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<LentFolder>,
    /// Why it cannot be used now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// Ends a lending.
#[derive(Debug, Serialize, Deserialize)]
pub struct End {
    /// The source that it is.
    pub id: String,
}

/// A lending that is over.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndedLending {
    /// It is over.
    pub ok: Done,
    /// The source that it was.
    pub source: SourceId,
    /// Who could use it.
    pub agent_id: AgentId,
    /// The event.
    pub audit_id: String,
}
