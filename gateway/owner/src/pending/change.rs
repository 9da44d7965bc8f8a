//! The card of a source that changed.

use super::{Choice, NamedSource};
use plexus_protocol::{AgentId, Digest, Timestamp, body::Narration};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A source whose grants are suspended, that is stopped, or whose server changed its tools.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeCard {
    /// Why it waits.
    pub reasons: Vec<String>,
    /// Each capability in words.
    pub pending_narration: Vec<Narration>,
    /// None: no call is asked for.
    #[serde(default)]
    pub asks: [(); 0],
    /// The source.
    pub source: NamedSource,
    /// Whose grants are suspended.
    pub agents: Vec<AgentId>,
    /// What differs.
    pub changes: Vec<SourceDifference>,
    /// The one answer.
    pub choices: Vec<Choice>,
    /// None: it is decided as a whole.
    #[serde(default)]
    pub narrow: [(); 0],
    /// None: no call is asked for.
    #[serde(default)]
    pub differs: (),
    /// What an approval does.
    pub if_approved: String,
    /// What a denial does.
    pub if_denied: String,
    /// The digest of the definitions that an approval puts in force.
    pub definitions: Option<Digest>,
    /// The digest of all of it.
    pub card_digest: Digest,
    /// What is not known here.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// What [`SourceDifference::about`] says of a source's code.
const CODE: &str = "what it runs";

impl ChangeCard {
    /// Whether the source runs something else than the owner agreed to.
    #[must_use]
    pub fn is_of_code(&self) -> bool {
        self.changes.iter().any(|change| change.about == CODE)
    }
}

/// A difference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceDifference {
    /// What it is about: a capability, or a part of the source in words.
    pub about: String,
    /// What it is.
    pub words: Vec<String>,
    /// When it was found.
    pub at: Timestamp,
}
