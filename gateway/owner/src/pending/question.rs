//! The card of a question that a lent server asks the owner in the course of a call.

use super::{Choice, NamedSource};
use plexus_protocol::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

/// A question of a lent server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuestionCard {
    /// Who asks.
    pub source: NamedSource,
    /// What it asks.
    pub question: Question,
    /// What to mind.
    pub reasons: Vec<String>,
    /// None: no capability is asked for.
    #[serde(default)]
    pub pending_narration: [(); 0],
    /// None: no call is asked for.
    #[serde(default)]
    pub asks: [(); 0],
    /// None: it is answered as a whole.
    #[serde(default)]
    pub narrow: [(); 0],
    /// None: no call is asked for.
    #[serde(default)]
    pub differs: (),
    /// The one answer.
    pub choices: Vec<Choice>,
    /// What an answer does.
    pub if_approved: String,
    /// What a denial does.
    pub if_denied: String,
    /// The digest of all of it.
    pub card_digest: Digest,
    /// What is not known here.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// What a server asks, in its words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// The question.
    pub words: String,
    /// What it wants.
    #[serde(flatten)]
    pub wants: Wants,
}

/// What a question wants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Wants {
    /// Values.
    Form {
        /// By field.
        fields: Vec<Field>,
    },
    /// A page that is opened.
    Page {
        /// Its URL.
        url: String,
        /// The host in it.
        host: String,
    },
}

impl Question {
    /// Its fields; none where it is about a page.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        match &self.wants {
            Wants::Form { fields } => fields,
            Wants::Page { .. } => &[],
        }
    }
}

/// A field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its name for people.
    pub label: String,
    /// Whether it needs a value.
    pub required: bool,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Which values it takes.
    #[serde(rename = "type")]
    pub kind: FieldType,
    /// The least number, or the fewest characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Number>,
    /// The greatest number, or the most characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Number>,
    /// The values of a choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<Vec<FieldChoice>>,
}

/// Which values a field takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldType {
    /// A text.
    Text,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// Yes or no.
    Boolean,
    /// One of several values.
    Choice,
    /// Some of several values.
    Choices,
}

/// A value of a choice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChoice {
    /// The value.
    pub value: String,
    /// Its name for people.
    pub label: String,
}
