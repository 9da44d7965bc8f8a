//! Sources: what agents can reach, how each does, and what becomes of it.

use crate::{Done, MayWiden, wire};
use plexus_protocol::{AgentId, CapabilityId, PendingId, Provenance, Scopes, SourceId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{collections::BTreeSet, path::Path};

/// All of them.
#[derive(Debug, Serialize, Deserialize)]
pub struct List {}

/// All of them, by id.
#[derive(Debug, Serialize, Deserialize)]
pub struct Sources {
    /// Each with how it does.
    pub sources: Vec<SourceRow>,
    /// The catalogue that this is of.
    pub revision: u64,
}

/// A source in a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceRow {
    /// As it is configured.
    #[serde(flatten)]
    pub source: ConfiguredSource,
    /// Whether agents see anything of it.
    pub live: bool,
    /// How many capabilities of it they see.
    pub live_capability_count: usize,
    /// How it does.
    pub health: Health,
    /// Where its capabilities come from.
    pub provenance: Provenance,
    /// How many grants on it are suspended.
    pub suspended_grants: usize,
    /// Why nothing of it is started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Stopped>,
}

/// A source as it is configured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfiguredSource {
    /// Its id, the first part of its capabilities' names.
    pub id: SourceId,
    /// Its kind.
    pub kind: String,
    /// Its name for people.
    pub label: String,
    /// Whether it serves.
    pub enabled: bool,
    /// How its app is reached.
    pub transport: String,
    /// Where it points: the fields of its kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<Map<String, Value>>,
    /// The file that holds its secret, where it is none of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<String>,
    /// Whether even reads ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// Whom it is lent to, where it exists for one agent alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lent: Option<Lending>,
    /// What of it does not exist for agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hide: Option<HiddenParts>,
}

impl ConfiguredSource {
    /// The values of its route that are texts.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let route = self.route.iter().flatten();
        route.filter_map(|(_, value)| value.as_str())
    }
}

/// A route for people: paths and addresses as they are, any other text behind the name of its field.
#[must_use]
pub fn route_in_words(route: Option<&Map<String, Value>>) -> String {
    let shown = route.into_iter().flatten().filter_map(|(name, value)| {
        let value = value.as_str().filter(|value| !value.is_empty())?;
        Some(match value.starts_with('/') || value.contains("://") {
            true => value.to_owned(),
            false => format!("{name}={value}"),
        })
    });
    shown.collect::<Vec<_>>().join(" ")
}

/// The thing of a source that a path names: the part below one of the source's folders, as its calls name it.
pub fn thing_below<F: AsRef<Path>>(
    path: &Path,
    folders: impl IntoIterator<Item = F>,
) -> Option<String> {
    let mut folders = folders.into_iter();
    let below = folders.find_map(|folder| {
        let folder = folder.as_ref();
        let below = path.strip_prefix(folder).ok()?;
        folder.is_absolute().then(|| below.to_owned())
    })?;
    let thing = below.to_str().filter(|thing| !thing.is_empty())?;
    Some(thing.to_owned())
}

/// When a source asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Approval {
    /// As the grants say.
    Auto,
    /// Before every call.
    Ask,
}

impl Approval {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Ask => "ask",
        }
    }
}

/// A source that exists for one agent, for a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lending {
    /// To whom.
    pub agent: AgentId,
    /// First moment at which it is over.
    pub until: Timestamp,
    /// What the agent may know of.
    pub capabilities: BTreeSet<CapabilityId>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
}

/// Parts of a source that do not exist for agents.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HiddenParts {
    /// Folders, with all they hold.
    pub folders: BTreeSet<String>,
    /// Patterns of paths.
    pub globs: BTreeSet<String>,
    /// Tags of notes.
    pub tags: BTreeSet<String>,
}

/// Code that is not what the owner agreed to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stopped {
    /// When it was noticed.
    pub at: Timestamp,
    /// The card on which the owner decides; none where they have denied it.
    pub pending_id: Option<PendingId>,
    /// What is not agreed to.
    pub found: Vec<String>,
    /// What was agreed to in its place.
    pub agreed: Vec<String>,
}

/// How a source does, and since when that is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// In a word.
    pub status: HealthStatus,
    /// One sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What its server wants beyond the owner's sign-in at it, in the server's own words; empty where it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted_scope: Option<Scopes>,
    /// When this was found; none while it is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<Timestamp>,
}

/// How a source does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// Usable.
    Ok,
    /// Usable in part.
    Degraded,
    /// Not usable now.
    Unavailable,
    /// Nobody has asked yet.
    Unknown,
}

impl HealthStatus {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Unavailable => "unavailable",
            Self::Unknown => "unknown",
        }
    }

    /// The same for the owner.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Ok => "serves",
            Self::Degraded => "serves in part",
            Self::Unavailable => "does not serve",
            Self::Unknown => "not looked at yet",
        }
    }
}

/// Asks every source that serves how it does.
#[derive(Debug, Serialize, Deserialize)]
pub struct Probe {}

/// How they do now.
#[derive(Debug, Serialize, Deserialize)]
pub struct HealthReport {
    /// The enabled ones, by id.
    pub sources: Vec<ProbedSource>,
    /// The catalogue that this is of.
    pub revision: u64,
}

/// A source that was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbedSource {
    /// Its id.
    pub id: SourceId,
    /// Its name for people.
    pub label: String,
    /// How it does.
    #[serde(flatten)]
    pub health: Health,
    /// What it offers.
    pub capabilities: Vec<CapabilityId>,
}

/// Adds a source, or puts it in place of the one of its id.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Add {
    /// Its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its kind.
    pub kind: String,
    /// Its name for people; else its kind's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Whether it serves; absent, it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Repeated in the answer, and not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    /// The fields of its kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<Map<String, Value>>,
    /// The file that holds its secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<String>,
    /// `ask` or `auto`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
    /// Whether it is refused where a source of its id is there, which it replaces else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only_new: Option<bool>,
}

/// Its folders are looked at before the guard of an act that widens is taken.
/// A source that is in place.
#[derive(Debug, Serialize, Deserialize)]
pub struct AddResult {
    /// It is.
    pub ok: Done,
    /// As it is configured.
    pub source: ConfiguredSource,
    /// What agents may ask for.
    pub registered: Vec<CapabilityId>,
    /// The catalogue that has it.
    pub revision: u64,
    /// Other sources on the same folder, one within it or one around it: each has its own grants, and hides on its own.
    #[serde(
        default,
        rename = "sharesFolderWith",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub shares_folder_with: Vec<SourceId>,
}

/// Changes the named members of a source: an absent one stays, and `Some(None)`, which is `null`, takes it away.
#[rustfmt::skip]
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reconfigure {
    /// Its id.
    pub id: String,
    /// Its kind.
    #[serde(default, deserialize_with = "wire::change", skip_serializing_if = "Option::is_none")]
    pub kind: Option<Option<String>>,
    /// Its name for people.
    #[serde(default, deserialize_with = "wire::change", skip_serializing_if = "Option::is_none")]
    pub label: Option<Option<String>>,
    /// Whether it serves.
    #[serde(default, deserialize_with = "wire::change", skip_serializing_if = "Option::is_none")]
    pub enabled: Option<Option<bool>>,
    /// Repeated in the answer, and not looked at.
    #[serde(default, deserialize_with = "wire::change", skip_serializing_if = "Option::is_none")]
    pub transport: Option<Option<String>>,
    /// All fields of its kind.
    #[serde(default, deserialize_with = "wire::change", skip_serializing_if = "Option::is_none")]
    pub route: Option<Option<Map<String, Value>>>,
    /// The file that holds its secret.
    #[serde(default, deserialize_with = "wire::change", skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<Option<String>>,
    /// `ask` or `auto`.
    #[serde(default, deserialize_with = "wire::change", skip_serializing_if = "Option::is_none")]
    pub approval: Option<Option<String>>,
}

/// Its folders are looked at before the guard of an act that widens is taken.
/// Has it serve.
#[derive(Debug, Serialize, Deserialize)]
pub struct Enable {
    /// Its id.
    pub id: String,
}

/// Has it serve no more.
#[derive(Debug, Serialize, Deserialize)]
pub struct Disable {
    /// Its id.
    pub id: String,
}

/// Removes it, with every grant on it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Remove {
    /// Its id.
    pub id: String,
}

/// It serves no more.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndResult {
    /// It does not, whether there was one or not.
    pub ok: Done,
    /// Whether there was one.
    pub known: bool,
    /// How many grants it had, suspended ones too; none where there was no source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_count: Option<usize>,
    /// How many requests for it still wait; none where that is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_count: Option<usize>,
}

/// Resumes the grants that were suspended because it changed.
#[derive(Debug, Serialize, Deserialize)]
pub struct Resume {
    /// Its id.
    pub id: String,
}

/// They are resumed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resumption {
    /// They are.
    pub ok: Done,
    /// The source.
    pub id: SourceId,
    /// Whether any was suspended, or the source was stopped.
    pub resumed: bool,
    /// The requests that waited and that they answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_answered: Vec<PendingId>,
    /// The event; empty where nothing changed.
    pub audit_id: String,
}

/// Hides more of a source from agents, or shows it again; without any rule it says what is hidden.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Hide {
    /// Its id.
    pub id: String,
    /// Folders, with all they hold.
    #[serde(default)]
    pub folders: Vec<String>,
    /// Patterns of paths.
    #[serde(default)]
    pub globs: Vec<String>,
    /// Tags of notes.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Whether they are shown again.
    #[serde(default)]
    pub remove: bool,
}

impl Hide {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.folders.is_empty() && self.globs.is_empty() && self.tags.is_empty()
    }
}

impl MayWiden for Hide {
    fn widens(&self) -> bool {
        self.remove && !self.is_empty()
    }
}

/// What a source hides.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HideResult {
    /// It does.
    pub ok: Done,
    /// The source.
    pub id: SourceId,
    /// All that is hidden.
    pub hide: HiddenParts,
    /// How many grants on it are suspended.
    pub suspended_grants: usize,
}
