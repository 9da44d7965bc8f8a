//! What waits for the owner: its cards, and the owner's decision.
//!
//! Invariant: a card is written as it was read, what its type has no place for included (`rest`): an approval is bound
//! to the digest of all of it.

mod change;
mod decision;
mod grant;
mod question;
mod register;

pub use crate::plan::{Fact, Form, Preview, Touched};
pub use change::{ChangeCard, SourceDifference};
pub use decision::{
    Action, Decide, Decided, DecisionOutcome, DenialEnded, EndDenial, MissingSecret, PlanAgain,
    Planning,
};
pub use grant::{
    Ask, ChildCalls, Client, DeniedBefore, DifferenceForm, Differs, FailedPlan, GrantCard,
    MadePlan, MemberDifference, Offer, OnApproval, Plan, SourceChange, Turns,
};
pub use question::{Field, FieldChoice, FieldType, Question, QuestionCard, Wants};
pub use register::{
    FolderToName, MovedSecret, RegisterCard, Surface, SurfaceFact, SurfaceSection, SurfaceValue,
};

use crate::Done;
use plexus_protocol::{
    AgentId, CapabilityId, Digest, PendingId, SourceId, Timestamp, TrustWindow, body::Narration,
    json,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// All that waits, or the ids of what is kept.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct List {
    /// Asks for the ids of kept items that begin so, decided ones too, instead of what waits.
    pub begins: Option<String>,
}

/// The answer: one of both.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    /// What waits: questions, sources that changed, then the newest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Vec<Item>>,
    /// Ids of items that are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Vec<PendingId>>,
}

/// One item, decided or not.
#[derive(Debug, Serialize, Deserialize)]
pub struct Show {
    /// Its id.
    pub id: String,
}

/// An item: who asks for what, and its card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "ReadItem")]
pub struct Item {
    /// What every item has.
    #[serde(flatten)]
    pub heading: Heading,
    /// What there is to decide.
    #[serde(flatten)]
    pub card: Card,
}

/// What every item has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Heading {
    /// Its id.
    pub pending_id: PendingId,
    /// What sort of item it is.
    pub kind: Kind,
    /// Where it stands.
    pub state: State,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it lapses; none: it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// How it ended or was decided, as the rest of a sentence about the request; none: it waits, or the gateway is
    /// older than this member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<String>,
    /// Who asks; none: a source changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentId>,
    /// What it is about.
    pub capabilities: Vec<CapabilityId>,
    /// Why it asks, in the agent's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_purpose: Option<String>,
}

/// A sort of item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An agent asks for calls.
    Grant,
    /// A source changed.
    Change,
    /// A lent server asks a question.
    Question,
    /// An agent proposes an extension.
    Register,
}

impl Kind {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Grant => "grant",
            Self::Change => "change",
            Self::Question => "question",
            Self::Register => "register",
        }
    }
}

/// Where an item stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It waits.
    Pending,
    /// It was approved.
    Approved,
    /// It was denied.
    Denied,
    /// Nobody decided in time, or it is wanted no more.
    Expired,
}

impl State {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
        }
    }
}

/// What there is to decide.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Card {
    /// Nothing: the list had no room for the card.
    Brief(Box<BriefCard>),
    /// Calls that an agent asks for.
    Grant(Box<GrantCard>),
    /// A source that changed.
    Change(Box<ChangeCard>),
    /// A question of a lent server.
    Question(Box<QuestionCard>),
    /// An extension that an agent proposes.
    Register(Box<RegisterCard>),
}

/// An item that is only named.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BriefCard {
    /// The source that an extension would be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub register: Option<ProposedSource>,
    /// That it is.
    pub brief: Done,
    /// What is not known here.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// The source that an extension would be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProposedSource {
    /// Its id.
    pub source: SourceId,
}

/// A source, with its name for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NamedSource {
    /// Its id.
    pub id: SourceId,
    /// Its name.
    pub label: String,
}

/// An answer for how long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Choice {
    /// The window, by its kind.
    #[serde(with = "window_kind")]
    pub window: TrustWindow,
    /// What it would allow.
    pub words: String,
    /// Whether the gateway proposes it.
    pub default: bool,
    /// Whether approving says that any input may come.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub any_input: bool,
    /// Why it cannot be chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// The members of an item that are its heading, and the others.
#[derive(Deserialize)]
struct ReadItem {
    #[serde(flatten)]
    heading: Heading,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl TryFrom<ReadItem> for Item {
    type Error = serde_json::Error;

    fn try_from(read: ReadItem) -> Result<Self, serde_json::Error> {
        let is_brief = read.rest.get("brief") == Some(&Value::Bool(true));
        let rest = Value::Object(read.rest);
        let card = match read.heading.kind {
            _ if is_brief => Card::Brief(serde_json::from_value(rest)?),
            Kind::Grant => Card::Grant(serde_json::from_value(rest)?),
            Kind::Change => Card::Change(serde_json::from_value(rest)?),
            Kind::Question => Card::Question(serde_json::from_value(rest)?),
            Kind::Register => Card::Register(serde_json::from_value(rest)?),
        };
        Ok(Self {
            heading: read.heading,
            card,
        })
    }
}

impl Item {
    /// All its members, as they are on the wire.
    #[must_use]
    pub fn members(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(members)) => members,
            // A card has a form as JSON: it was read from one.
            _ => Map::new(),
        }
    }

    /// The digest of what is here, which is [`Card::digest`] where the gateway has shown all of it.
    #[must_use]
    pub fn computed_digest(&self) -> Digest {
        let mut members = self.members();
        members.shift_remove("cardDigest");
        json::digest(&Value::Object(members))
    }
}

impl Card {
    /// The digest that an approval names; none where there is nothing to approve yet.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        match self {
            Self::Brief(_) => None,
            Self::Grant(card) => card.card_digest,
            Self::Change(card) => Some(card.card_digest),
            Self::Question(card) => Some(card.card_digest),
            Self::Register(card) => card.card_digest,
        }
    }

    /// The answers for how long, those that cannot be chosen too.
    #[must_use]
    pub fn choices(&self) -> &[Choice] {
        match self {
            Self::Brief(_) => &[],
            Self::Grant(card) => &card.choices,
            Self::Change(card) => &card.choices,
            Self::Question(card) => &card.choices,
            Self::Register(card) => &card.choices,
        }
    }

    /// Whether no longer window than one call can be chosen.
    #[must_use]
    pub fn is_once(&self) -> bool {
        let is_once =
            |choice: &Choice| choice.refused.is_some() || choice.window == TrustWindow::Once;
        self.choices().iter().all(is_once)
    }

    /// The calls that are asked for; none where it is not about calls.
    #[must_use]
    pub fn asks(&self) -> &[Ask] {
        match self {
            Self::Grant(card) => &card.asks,
            Self::Brief(_) | Self::Change(_) | Self::Question(_) | Self::Register(_) => &[],
        }
    }

    /// What it is about, in words.
    #[must_use]
    pub fn narration(&self) -> &[Narration] {
        match self {
            Self::Grant(card) => &card.pending_narration,
            Self::Change(card) => &card.pending_narration,
            Self::Brief(_) | Self::Question(_) | Self::Register(_) => &[],
        }
    }

    /// The source that changed or asks.
    #[must_use]
    pub fn source(&self) -> Option<&NamedSource> {
        match self {
            Self::Change(card) => Some(&card.source),
            Self::Question(card) => Some(&card.source),
            Self::Brief(_) | Self::Grant(_) | Self::Register(_) => None,
        }
    }

    /// The source that a proposed extension would be.
    #[must_use]
    pub fn proposed_source(&self) -> Option<&SourceId> {
        match self {
            Self::Brief(card) => card.register.as_ref().map(|proposed| &proposed.source),
            Self::Register(card) => Some(&card.register.source),
            Self::Grant(_) | Self::Change(_) | Self::Question(_) => None,
        }
    }

    /// Its calls, where it is about calls.
    #[must_use]
    pub fn grant(&self) -> Option<&GrantCard> {
        match self {
            Self::Grant(card) => Some(card),
            Self::Brief(_) | Self::Change(_) | Self::Question(_) | Self::Register(_) => None,
        }
    }
}

/// A window by its kind alone.
mod window_kind {
    use plexus_protocol::TrustWindow;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(
        window: &TrustWindow,
        into: S,
    ) -> Result<S::Ok, S::Error> {
        into.serialize_str(window.kind())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<TrustWindow, D::Error> {
        let kind = String::deserialize(from)?;
        TrustWindow::parse(&kind)
            .ok_or_else(|| de::Error::custom(format!("{kind:?} is no trust window")))
    }
}

#[cfg(test)]
mod tests;
