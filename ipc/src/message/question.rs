//! What a source asks the owner while it serves a call: a form of few fields, or a URL to open.
//!
//! Invariants: a name and a value are exact, or the question is not made; there is no field whose input is hidden.
//!
//! Must not know: who is asked, how an answer is shown.

use crate::text::{Line, Text, at_most};
use serde::{Deserialize, Serialize};

/// Most fields of a form.
pub const MAX_FIELDS: usize = 16;
/// Most values that one field offers.
pub const MAX_OPTIONS: usize = 64;
/// Longest wait for an answer, in seconds.
pub const MAX_QUESTION_WAIT: u16 = 600;

/// A question of a third party's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The asker's own words.
    pub words: Text<4096>,
    /// What is to be answered.
    pub wants: Wants,
}

/// What answers a [`Question`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Wants {
    /// Values of these fields.
    Form {
        /// In the asker's order.
        #[serde(deserialize_with = "at_most::<_, _, MAX_FIELDS>")]
        fields: Vec<Field>,
    },
    /// That this page was opened: what is typed there is between the owner and the page.
    Url {
        /// With https.
        url: Line<2048>,
    },
}

/// A field of a form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Its name in the answer.
    pub name: Line<64>,
    /// Its name for people.
    pub label: Line<200>,
    /// What is said about it.
    pub hint: Line<500>,
    /// Whether an answer has it.
    pub required: bool,
    /// Which values it takes.
    pub kind: FieldKind,
}

/// Which values a [`Field`] takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum FieldKind {
    /// Text, of so many characters.
    Text {
        /// At least.
        min: Option<u32>,
        /// At most.
        max: Option<u32>,
    },
    /// A number.
    Number {
        /// Without a fraction.
        whole: bool,
        /// At least.
        min: Option<f64>,
        /// At most.
        max: Option<f64>,
    },
    /// Yes or no.
    Flag,
    /// One of these, or any number of them.
    Choice {
        /// The values.
        #[serde(deserialize_with = "at_most::<_, _, MAX_OPTIONS>")]
        of: Vec<FieldOption>,
        /// Whether the answer is a list.
        many: bool,
    },
}

/// A value that a field offers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldOption {
    /// As it stands in the answer.
    pub value: Line<200>,
    /// Its name for people.
    pub label: Line<200>,
}
