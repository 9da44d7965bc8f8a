//! What the workers of a source may reach.

use plexus_protocol::{Digest, SourceId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// In words, for each role.
#[derive(Debug, Serialize, Deserialize)]
pub struct Show {
    /// The source.
    pub id: String,
}

/// The profile of a source.
#[derive(Debug, Serialize, Deserialize)]
pub struct Profile {
    /// The source.
    pub source: SourceId,
    /// The program that serves it.
    pub connector: String,
    /// The file of the profile.
    pub profile: String,
    /// Its digest.
    pub digest: Digest,
    /// The one under which its grants were made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<Digest>,
    /// The profile itself.
    pub text: String,
    /// That nothing enforces it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsandboxed: Option<bool>,
    /// What each role may.
    pub roles: Vec<RoleReach>,
}

/// What a worker process is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerRole {
    /// Reads and plans; can change nothing.
    Reader,
    /// Commits.
    Writer,
}

impl WorkerRole {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Writer => "writer",
        }
    }
}

/// All that a worker of a role may do.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleReach {
    /// The role.
    pub role: WorkerRole,
    /// The profile's parameters as they are filled in.
    pub parameters: BTreeMap<String, String>,
    /// Files that it may read.
    pub may_read: Vec<AllowedAction>,
    /// Files that it may change, create and remove.
    pub may_write: Vec<AllowedAction>,
    /// Programs that it may run.
    pub may_run: Vec<AllowedAction>,
    /// Whom it may talk to.
    pub may_talk_to: Vec<AllowedAction>,
    /// Other things, by the names that the system has for them.
    pub may_also: Vec<AllowedAction>,
    /// What this system lets through beyond that.
    pub not_hidden: Vec<String>,
}

/// Something that a worker may do.
#[derive(Debug, Serialize, Deserialize)]
pub struct AllowedAction {
    /// What, in words.
    pub what: String,
    /// The reason that the profile gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The line of its rule.
    pub line: u32,
}
