//! One thing that was written, as the record keeps it: enough to find it again and to take out no more than that.

use super::{Finding, json_text, toml_text};
use plexus_protocol::{Digest, skill};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// One thing that was written into a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Change {
    /// The file.
    pub(crate) path: PathBuf,
    /// What in it.
    #[serde(flatten)]
    pub(crate) what: ChangeKind,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum ChangeKind {
    /// The whole file is ours.
    File {
        /// SHA-256 of its text.
        digest: Digest,
        /// SHA-256 of our text that it replaced: what is there where the writing was cut short.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        was: Option<Digest>,
    },
    /// A block between the markers.
    Block {
        /// SHA-256 of the block, markers included.
        digest: Digest,
        /// What was put between the person's text and the block.
        lead: String,
    },
    /// A word in a list of a JSON file.
    JsonRule {
        /// The members that lead to the list.
        at: Vec<String>,
        /// The word.
        value: String,
        /// How many of the members were made for it.
        made: usize,
    },
    /// A key in a TOML file.
    TomlKey {
        /// The tables that lead to it, and the key.
        at: Vec<String>,
        /// Its value, as TOML.
        value: String,
        /// How many of them were made for it.
        made: usize,
    },
}

/// What became of a change when it was to be taken out of a text.
pub(super) enum Removed {
    /// The text without it; nothing where the file goes.
    Yes(Option<String>),
    /// It is there, but not as it was written.
    Edited,
    /// It is not there.
    Gone,
}

impl Change {
    /// Takes it out of `text`.
    pub(super) fn remove_from(&self, text: &str) -> Removed {
        match &self.what {
            ChangeKind::File { digest, was } => {
                let there = Digest::of(text.as_bytes());
                match there == *digest || Some(there) == *was {
                    true => Removed::Yes(None),
                    false => Removed::Edited,
                }
            }
            ChangeKind::Block { digest, lead } => match block_of(text) {
                None => Removed::Gone,
                Some((start, end)) if Digest::of(&text.as_bytes()[start..end]) == *digest => {
                    let before = text[..start].strip_suffix(lead.as_str());
                    let rest = format!("{}{}", before.unwrap_or(&text[..start]), &text[end..]);
                    Removed::Yes(Some(rest).filter(|rest| !rest.is_empty()))
                }
                Some(_) => Removed::Edited,
            },
            ChangeKind::JsonRule { at, value, made } => {
                let at: Vec<&str> = at.iter().map(String::as_str).collect();
                match json_text::remove(text, &at, value, *made) {
                    Ok(Some(rest)) => Removed::Yes(Some(rest).filter(|rest| rest.trim() != "{}")),
                    Ok(None) => Removed::Gone,
                    Err(_) => Removed::Edited,
                }
            }
            ChangeKind::TomlKey { at, value, made } => {
                match toml_text::unset(text, at, value, *made) {
                    Ok(Some(rest)) => {
                        Removed::Yes(Some(rest).filter(|rest| !rest.trim().is_empty()))
                    }
                    Ok(None) => Removed::Gone,
                    Err(_) => Removed::Edited,
                }
            }
        }
    }

    /// Whether it is as it was written.
    pub(super) fn check(&self) -> Option<Finding> {
        let text = std::fs::read_to_string(&self.path);
        let what = match text {
            Err(_) => "it is gone",
            Ok(text) => match self.remove_from(&text) {
                Removed::Yes(_) => return None,
                Removed::Edited => "it was edited",
                Removed::Gone => "what was written there is gone",
            },
        };
        Some(self.finding(what))
    }

    /// Something about it, for the person.
    pub(super) fn finding(&self, what: &str) -> Finding {
        Finding {
            path: self.path.clone(),
            what: match self.subject() {
                Some(subject) => format!("{subject}: {what}"),
                None => what.to_owned(),
            },
        }
    }

    fn subject(&self) -> Option<String> {
        match &self.what {
            ChangeKind::File { .. } => None,
            ChangeKind::Block { .. } => Some("the block of Plexus".to_owned()),
            ChangeKind::JsonRule { at, value, .. } => Some(format!("{} {value:?}", at.join("."))),
            ChangeKind::TomlKey { at, .. } => Some(at.join(".")),
        }
    }
}

/// Where the block stands in `text`, its last line break included.
pub(super) fn block_of(text: &str) -> Option<(usize, usize)> {
    let start = text.find(skill::BEGIN)?;
    let end = start + text[start..].find(skill::END)? + skill::END.len();
    let end = end + usize::from(text[end..].starts_with('\n'));
    Some((start, end))
}
