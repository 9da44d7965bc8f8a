//! The card of an extension that an agent proposes.

use super::{Choice, Client};
use plexus_protocol::{Digest, SourceId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An extension that an agent proposes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegisterCard {
    /// All that it is and may reach.
    pub register: Surface,
    /// What differs from what the owner agreed to before; none of a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Vec<String>>,
    /// Stored secrets that would go to another host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moved_secrets: Vec<MovedSecret>,
    /// Folders that the owner has to name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub folders_to_name: Vec<FolderToName>,
    /// What is agreed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// What an approval does.
    pub if_approved: String,
    /// What an approval does that keeps the moved secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_kept: Option<String>,
    /// What the client called itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Client>,
    /// The one answer.
    pub choices: Vec<Choice>,
    /// None: no call is asked for.
    #[serde(default)]
    pub asks: [(); 0],
    /// None: it is decided as a whole.
    #[serde(default)]
    pub narrow: [(); 0],
    /// None: no call is asked for.
    #[serde(default)]
    pub differs: (),
    /// Why it cannot be added as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problems: Option<Vec<String>>,
    /// The digest of all of it; none where there are problems.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card_digest: Option<Digest>,
    /// What is not known here.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// A stored secret that would go to another host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovedSecret {
    /// Its name.
    pub name: String,
    /// That host.
    pub host: String,
}

/// A folder that the owner has to name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderToName {
    /// Its name.
    pub name: String,
    /// Its name for people.
    pub label: String,
}

/// All that an extension is and may reach.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Surface {
    /// The source that it would be.
    pub source: SourceId,
    /// Its name for people.
    pub label: String,
    /// The same as data.
    #[serde(flatten)]
    pub data: Map<String, Value>,
    /// In words; empty where it was not looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sections: Vec<SurfaceSection>,
}

impl Surface {
    /// The folders that it declares; none where it was not looked at.
    #[must_use]
    pub fn folders(&self) -> Option<Vec<FolderToName>> {
        let folders = self.data.get("folders")?;
        Vec::deserialize(folders).ok()
    }
}

/// A part of a surface in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SurfaceSection {
    /// What it is about: our words, or a capability's id.
    pub title: String,
    /// What holds for all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Whether it is a capability.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub capability: bool,
    /// One after the other.
    pub facts: Vec<SurfaceFact>,
}

/// A fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SurfaceFact {
    /// Our word for it.
    pub name: String,
    /// What it is.
    #[serde(flatten)]
    pub what: SurfaceValue,
}

/// What a fact is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SurfaceValue {
    /// One line.
    Value(String),
    /// An author's text of any length.
    Text(String),
}
