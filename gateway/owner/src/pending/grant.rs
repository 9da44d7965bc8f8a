//! The card of calls that an agent asks for.

use super::{Choice, Fact, Preview, Touched};
use plexus_protocol::{
    CapabilityId, Digest, SourceId, Timestamp, TrustWindow, Verb, Verbs,
    body::{Narration, Scope},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};

/// Calls that an agent asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantCard {
    /// Each capability, with its verbs and how it is narrowed.
    pub scopes: Vec<Scope>,
    /// Whether each reads or changes something.
    pub reasons: Vec<String>,
    /// Each in words.
    pub pending_narration: Vec<Narration>,
    /// The window that the agent would like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_trust_window: Option<TrustWindow>,
    /// What the client called itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Client>,
    /// What an approval does beside allowing.
    pub on_approval: OnApproval,
    /// Each call.
    pub asks: Vec<Ask>,
    /// The answers for how long.
    pub choices: Vec<Choice>,
    /// The fields of the input by which an approval can be narrowed.
    pub narrow: Vec<String>,
    /// What it differs in from the last call that was approved.
    pub differs: Option<Differs>,
    /// What the owner denied before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denied_before: Vec<DeniedBefore>,
    /// How its sources were changed since it was granted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source_changed: Vec<SourceChange>,
    /// The digest of all of it; none while something of it is still computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card_digest: Option<Digest>,
    /// What is not known here.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl GrantCard {
    /// Whether a plan is still being made; until then it has no digest.
    #[must_use]
    pub fn is_planning(&self) -> bool {
        self.asks.iter().any(|ask| ask.plan == Plan::Making)
    }

    /// Whether a plan could not be computed: there is nothing to approve.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        let mut asks = self.asks.iter();
        asks.any(|ask| matches!(ask.plan, Plan::Failed(_)))
    }
}

/// What a client called itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// What an approval does beside allowing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnApproval {
    /// The agent comes back and calls.
    Wait,
    /// The gateway makes the call at once.
    Run,
}

/// A call that is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ask {
    /// Its capability.
    pub id: CapabilityId,
    /// With which verbs.
    pub verbs: Verbs,
    /// The capability's name for people; none: it is gone.
    pub label: Option<String>,
    /// The digest of its input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_digest: Option<Digest>,
    /// Its input; `null` where that is not kept.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub input: Option<Value>,
    /// What it would do.
    pub plan: Plan,
    /// Of a read: what that which it reads is called, as its source says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<Fact>,
    /// How far it reaches, where it begins a conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<Turns>,
    /// Which further calls it permits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub children: Option<ChildCalls>,
    /// The windows that can be chosen, and what each allows.
    pub windows: Vec<Offer>,
    /// What is not known here.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl Ask {
    /// Whether an approval permits no further call beside it.
    #[must_use]
    pub const fn is_one_call(&self) -> bool {
        self.conversation.is_none() && self.children.is_none()
    }
}

/// A member that is there, `null` too.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

/// What is known of what a call would do.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Value")]
pub enum Plan {
    /// Nothing is computed for it: a read, or a request without input.
    None,
    /// It is being computed.
    Making,
    /// It could not be computed.
    Failed(FailedPlan),
    /// It is there.
    Made(Box<MadePlan>),
}

impl TryFrom<Value> for Plan {
    type Error = serde_json::Error;

    fn try_from(plan: Value) -> Result<Self, serde_json::Error> {
        match &plan {
            Value::Null => Ok(Self::None),
            Value::String(word) if word == "making" => Ok(Self::Making),
            Value::Object(members) if members.contains_key("error") => {
                serde_json::from_value(plan).map(Self::Failed)
            }
            Value::Object(_) => serde_json::from_value(plan).map(Self::Made),
            _ => Err(de::Error::custom("a plan of no form that is known here")),
        }
    }
}

impl Serialize for Plan {
    fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => into.serialize_unit(),
            Self::Making => into.serialize_str("making"),
            Self::Failed(failed) => failed.serialize(into),
            Self::Made(made) => made.serialize(into),
        }
    }
}

/// A plan that could not be computed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailedPlan {
    /// Why.
    pub error: String,
    /// What is not known here.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// What a call would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MadePlan {
    /// Its rendering.
    pub preview: Preview,
    /// The digest of that.
    pub preview_digest: Digest,
    /// What it assumes about the world.
    pub state_token: Digest,
    /// What it amounts to.
    pub rating: Verb,
    /// One line without content, which the record keeps.
    pub summary: String,
    /// What it would change.
    pub touched: Vec<Touched>,
    /// What the owner should know.
    pub warnings: Vec<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// How far the approval of a conversation reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turns {
    /// How many turns, this one among them.
    pub turns: u32,
    /// Within how many minutes.
    pub minutes: u32,
}

/// The further calls that an approval permits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildCalls {
    /// Of which capabilities.
    pub capabilities: Vec<CapabilityId>,
    /// How many.
    pub runs: u32,
    /// Within how many minutes.
    pub minutes: u32,
    /// How many side by side.
    pub parallel: u32,
    /// The same in words.
    pub words: String,
}

/// A window, and what it allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The window.
    pub window: TrustWindow,
    /// What it allows.
    pub allows: String,
}

/// What calls differ in from those that were approved last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Differs {
    /// When the earliest of those was approved.
    pub since: Timestamp,
    /// Each difference.
    pub changes: Vec<MemberDifference>,
    /// How many more there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more: Option<u64>,
}

/// A member of the input that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberDifference {
    /// Which one, as a JSON pointer.
    pub path: String,
    /// What it was; none: it was not there.
    pub was: Option<String>,
    /// What it is; none: it is not there.
    pub now: Option<String>,
    /// How the two are given; none: as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<DifferenceForm>,
    /// The capability, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability: Option<CapabilityId>,
}

/// How both sides of a difference are given, where that is not their value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DifferenceForm {
    /// How large they are, in words.
    Size,
    /// They name what the call acts on. The rest of the two calls is not compared.
    Thing,
}

/// What the owner denied before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeniedBefore {
    /// The capability.
    pub id: CapabilityId,
    /// How many calls of it.
    pub count: u32,
    /// The same in words.
    pub words: String,
}

/// A change of a source that ended grants of this agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceChange {
    /// The source.
    pub source: SourceId,
    /// When.
    pub at: Timestamp,
    /// How, in words.
    pub words: String,
}
