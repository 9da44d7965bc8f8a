//! What an act would do, as its source says before the owner decides.

pub use plexus_protocol::body::PreviewForm as Form;
use plexus_protocol::{Digest, Verb};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A plan of an effect of the owner's own. All texts are the source's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// What stands for it in the request that carries it out.
    pub state_token: Digest,
    /// What it amounts to.
    pub rating: Verb,
    /// One line without content.
    pub summary: String,
    /// What would be done.
    pub preview: Preview,
    /// What the owner should know.
    pub warnings: Vec<String>,
}

/// What would be done, as text of the source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Preview {
    /// In one line.
    #[serde(default)]
    pub headline: String,
    /// Named values: the target, the size, the time.
    #[serde(default)]
    pub facts: Vec<Fact>,
    /// A unified diff, or a text: `form` says which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
    /// How `diff` is to be read.
    #[serde(default)]
    pub form: Form,
    /// Whether the diff or text is a part only.
    #[serde(default)]
    pub cut: bool,
    /// What is not known here.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// One named value of a preview.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// A thing that a call reads or changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touched {
    /// What kind of thing.
    pub kind: String,
    /// Which one, as its source names it.
    pub id: String,
    /// What is done with it.
    pub access: Verb,
    /// The digest of its content: before a call that is planned, after one that was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}
