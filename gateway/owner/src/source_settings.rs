//! Settings of the sources that run programs, in the words of the wire.

use crate::Done;
use plexus_protocol::SourceId;
use serde::{Deserialize, Serialize};

/// Those of all such sources.
#[derive(Debug, Serialize, Deserialize)]
pub struct List {}

/// Those of all such sources.
#[derive(Debug, Serialize, Deserialize)]
pub struct AllSettings {
    /// Each.
    pub sources: Vec<SourceSettings>,
}

/// Settings of a source that runs programs. What an environment could set is absent here.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceSettings {
    /// The source.
    pub source_id: SourceId,
    /// Whether runs are allowed.
    pub real_launch: bool,
    /// The same, as it is kept.
    pub persisted: bool,
    /// Always none.
    pub env_fallback: Option<bool>,
    /// Always false.
    pub env_active: bool,
    /// The folder that its programs work in.
    pub authorized_dir: Option<String>,
    /// The same, as it is kept.
    pub authorized_dir_persisted: Option<String>,
    /// Always none: a source has no other folder to fall back on.
    pub authorized_dir_default: Option<String>,
}

/// Changes those of one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// The source.
    pub id: String,
    /// Whether runs are allowed.
    pub real_launch: Option<bool>,
    /// The folder that its programs work in.
    pub authorized_dir: Option<String>,
}

/// Its folders are looked at before the guard of an act that widens is taken.
/// They are changed.
#[derive(Debug, Serialize, Deserialize)]
pub struct ChangedSettings {
    /// As they are now.
    #[serde(flatten)]
    pub settings: SourceSettings,
    /// They are.
    pub ok: Done,
}
