//! Kinds of sources: what each asks for, and what this machine offers of them.

use plexus_protocol::{Provenance, SourceId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// All of them.
#[derive(Debug, Serialize, Deserialize)]
pub struct List {}

/// All of them.
#[derive(Debug, Serialize, Deserialize)]
pub struct Kinds {
    /// Each.
    pub connectors: Vec<Connector>,
    /// The catalogue that is there now.
    pub revision: u64,
}

/// A kind of source.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connector {
    /// Its name in a source.
    pub kind: String,
    /// The program that serves it.
    pub connector: String,
    /// Its name for people.
    pub label: String,
    /// One sentence about it.
    pub blurb: String,
    /// Where its capabilities come from.
    pub provenance_class: Provenance,
    /// How its app is reached.
    pub transport: String,
    /// Whether this machine can be searched for it.
    pub detectable: bool,
    /// Whether it can be added here.
    pub wireable: bool,
    /// What agents could do with it.
    pub exposes_summary: String,
    /// Whether its sources have channels.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_channels: bool,
    /// Its fields, as its manifest has them.
    pub fields: Vec<Value>,
    /// The same for who fills it in.
    pub form: Form,
    /// The field with the folder that it opens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// The systems that it serves on, where it does not on all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<String>,
    /// Why it cannot be added here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The form of a kind: a JSON Schema.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Form {
    /// Of which draft.
    #[serde(rename = "$schema")]
    pub schema: String,
    /// `object`.
    #[serde(rename = "type")]
    pub form: String,
    /// The kind's name for people.
    pub title: String,
    /// One sentence about it.
    pub description: String,
    /// Its fields, in order.
    pub properties: Map<String, Value>,
    /// Those that it cannot do without.
    pub required: Vec<String>,
    /// Whether there may be others.
    #[serde(rename = "additionalProperties")]
    pub additional_properties: bool,
}

impl Form {
    /// Its fields, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&str, FormField)> {
        let fields = self.properties.iter();
        fields.map(|(name, property)| {
            let field = FormField::deserialize(property).unwrap_or_default();
            (name.as_str(), field)
        })
    }
}

/// A field of a form, as far as somebody is asked for it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct FormField {
    /// Its name for people.
    pub title: String,
    /// One sentence about it.
    pub description: String,
    /// What it holds when it is left empty.
    pub default: String,
    /// Examples.
    pub examples: Vec<String>,
    /// `uri`, or `absolute-path` for a path on this machine.
    pub format: String,
    /// Whether it is a secret.
    #[serde(rename = "writeOnly")]
    pub write_only: bool,
    /// The field that replaces it, of a secret.
    #[serde(rename = "x-unless")]
    pub unless: Option<String>,
    /// Where it may be installed, of a program.
    #[serde(rename = "x-find")]
    pub find: Option<ProgramPlaces>,
    /// Whether it names a file on this machine.
    #[serde(rename = "x-file")]
    pub file: bool,
    /// Whether it is the folder that the source opens.
    #[serde(rename = "x-root")]
    pub root: bool,
    /// Whether workers may write in it.
    #[serde(rename = "x-writable")]
    pub writable: bool,
    /// What another value does to the grants on the source.
    #[serde(rename = "x-grants")]
    pub grants: GrantsAfter,
}

impl FormField {
    /// An example for this system: a manifest names home folders as macOS does.
    #[must_use]
    pub fn example(&self) -> Option<String> {
        let example = self.examples.first()?;
        match example.strip_prefix("/Users/") {
            Some(below) if !cfg!(target_os = "macos") => Some(format!("/home/{below}")),
            _ => Some(example.clone()),
        }
    }
}

/// What a change does to the grants on a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GrantsAfter {
    /// They end.
    #[default]
    Ended,
    /// They are suspended until the owner approves.
    Suspended,
}

/// Where a program may be installed. In a path `*` stands for any part of one name.
#[derive(Clone, Debug, Deserialize)]
pub struct ProgramPlaces {
    /// Its name in the folders of PATH.
    pub command: String,
    /// Where npm's packages have it, below the `node_modules` that the command leads into.
    #[serde(default)]
    pub npm: Vec<String>,
    /// Where installers put it, below the owner's home folder.
    #[serde(default)]
    pub home: Vec<String>,
}

/// What this machine offers to add.
#[derive(Debug, Serialize, Deserialize)]
pub struct Detect {}

/// What it offers.
#[derive(Debug, Serialize, Deserialize)]
pub struct Detections {
    /// In the order of the kinds.
    pub detected: Vec<DetectedSource>,
}

/// A source that could be added.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DetectedSource {
    /// Its kind.
    pub kind: String,
    /// What would be asked for.
    pub suggested: SuggestedSource,
    /// Why it is believed to be there.
    pub evidence: String,
    /// Whether there is a source of it.
    pub already_configured: bool,
    /// Whether it would serve now, as far as that is seen from outside.
    pub reachable: bool,
    /// The command that adds it, word by word.
    pub command: Vec<String>,
    /// The secret that it does not start without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs_secret: Option<NeededSecret>,
}

/// A source as it would be added.
#[derive(Debug, Serialize, Deserialize)]
pub struct SuggestedSource {
    /// An id that is free.
    pub id: SourceId,
    /// Its kind.
    pub kind: String,
    /// How its app is reached.
    pub transport: String,
    /// Its name for people.
    pub label: String,
    /// The fields of its kind, as far as they are known.
    pub route: Map<String, Value>,
}

/// A secret that is needed.
#[derive(Debug, Serialize, Deserialize)]
pub struct NeededSecret {
    /// Its name in the store.
    pub name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn example_is_one_of_this_system() {
        let example = |text: &str| {
            let field = FormField {
                examples: vec![text.to_owned()],
                ..FormField::default()
            };
            field.example().unwrap_or_default()
        };
        let home = match cfg!(target_os = "macos") {
            true => "/Users/me/notes",
            false => "/home/me/notes",
        };
        assert_eq!(example("/Users/me/notes"), home);
        for same in ["/srv/Users/me", "https://example.com/Users/", "me"] {
            assert_eq!(example(same), same);
        }
        assert_eq!(FormField::default().example(), None);
    }
}
