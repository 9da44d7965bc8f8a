//! The state: what the owner has decided, and what is open because of it.
//!
//! Maps sit behind `Arc` so that a snapshot costs a few reference counts and a change copies one agent, not all.
//! Sessions and tokens live and die with a launch of the daemon: they are in the state, so that the writer decides on
//! them too, but not in its rows.

use crate::OutcomeKind;
use plexus_protocol::{
    AgentId, AuditId, CapabilityId, Constraint, Digest, EnrollmentStatus, PendingId, Provenance,
    Reach, Sensitivity, SessionId, SourceId, Timestamp, TokenId, TrustWindow, Verb, Verbs,
    body::{Scope, VoidReason},
    capability::WindowKind,
    id::Malformed,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Everything that decisions are made from.
#[derive(Clone, Default, Debug)]
pub struct State {
    /// Counts what needs a number of its own: grants, epochs, source revisions. Never repeats.
    pub serial: u64,
    /// Whether a daemon was ever started on it: from then on it has its first rows.
    pub launched: bool,
    /// No agent's call is allowed while this is set.
    pub paused: bool,
    /// The owner's settings.
    pub settings: Arc<Settings>,
    /// Every agent that the owner connected, and no other.
    pub agents: Arc<BTreeMap<AgentId, Arc<Agent>>>,
    /// Every configured source.
    pub sources: Arc<BTreeMap<SourceId, Arc<Source>>>,
    /// What the owner switched on or off; a capability that is not here is exposed.
    pub exposure: Arc<BTreeMap<CapabilityId, bool>>,
    /// Pre-ticks of the connect dialog: no authority (docs/protocol/owner.md#exposure).
    pub default_grants: Arc<BTreeSet<CapabilityId>>,
    /// Effects that were begun and have no outcome yet.
    pub open_intents: Arc<BTreeMap<AuditId, OpenIntent>>,
    /// Sessions of the owner's key that name no agent.
    pub console_sessions: Arc<BTreeMap<SessionId, Session>>,
    /// The latest time that any event carried: what "now" cannot fall behind.
    pub latest: Timestamp,
}

/// The owner's settings (`/v1/config`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Settings {
    /// Life of a scoped token in milliseconds, 60 000 to 3 600 000.
    pub token_lifetime_ms: u64,
    /// Longest window that has an end, in milliseconds.
    pub max_trust_window_ms: u64,
    /// Whether `until-revoked` may be chosen.
    pub allow_until_revoked: bool,
    /// Whether first-party and managed reads that an agent was selected for allow themselves (docs/design.md#trust).
    pub auto_allow_reads: bool,
    /// What `connect` means when it names no reach.
    pub default_reach: Reach,
    /// Default window of a first-party read.
    pub read_window: TrustWindow,
    /// Default window of a first-party write.
    pub write_window: TrustWindow,
    /// Default window of a read of a source that the owner configured.
    pub managed_read_window: TrustWindow,
    /// Default window of a write to a source that the owner configured.
    pub managed_write_window: TrustWindow,
    /// Default window of an extension's read; its effects are approved call by call.
    pub extension_read_window: TrustWindow,
    /// Audit events that stay in the ledger's own file; older ones lie in archives. `None`: as many as the gateway thinks
    /// right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit_keep_events: Option<u64>,
    /// Whether the windows of first-party sources were copied to those that the owner configured, as all are
    /// (docs/decisions/0112-provenance-of-added-sources.md).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub managed_by_owner: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            token_lifetime_ms: 900_000,
            max_trust_window_ms: 2_592_000_000,
            allow_until_revoked: true,
            auto_allow_reads: false,
            default_reach: Reach::Exposed,
            read_window: TrustWindow::WEEK,
            write_window: TrustWindow::DAY,
            managed_read_window: TrustWindow::WEEK,
            managed_write_window: TrustWindow::DAY,
            extension_read_window: TrustWindow::DAY,
            audit_keep_events: None,
            managed_by_owner: false,
        }
    }
}

impl Settings {
    /// With the windows of first-party sources for all that the owner configured, where the owner did not set those
    /// otherwise; once.
    pub(crate) fn with_managed_windows(&self) -> Self {
        let (mut all, usual) = (self.clone(), Self::default());
        if self.managed_by_owner {
            return all;
        }
        all.managed_by_owner = true;
        if self.managed_read_window == usual.managed_read_window {
            all.managed_read_window = self.read_window;
        }
        if self.managed_write_window == usual.managed_write_window {
            all.managed_write_window = self.write_window;
        }
        all
    }

    /// Whether they keep to their bounds.
    ///
    /// # Errors
    /// One sentence that names the first that does not.
    pub fn check(&self) -> Result<(), String> {
        if !(60_000..=3_600_000).contains(&self.token_lifetime_ms) {
            return Err("a token lives for 60000 to 3600000 ms".into());
        }
        if self.max_trust_window_ms == 0 {
            return Err("the longest window is more than 0 ms".into());
        }
        for window in [
            self.read_window,
            self.write_window,
            self.managed_read_window,
            self.managed_write_window,
            self.extension_read_window,
        ] {
            match window {
                TrustWindow::UntilRevoked if !self.allow_until_revoked => {
                    return Err("until-revoked is a default but is not allowed".into());
                }
                TrustWindow::For {
                    kind: WindowKind::Custom,
                    ms,
                } if ms > self.max_trust_window_ms => {
                    return Err("a default window is longer than the longest".into());
                }
                TrustWindow::Once | TrustWindow::For { .. } | TrustWindow::UntilRevoked => {}
            }
        }
        Ok(())
    }
}

/// How much one agent may do, where the owner said something else than the usual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Bounds {
    /// Calls a second; none: [`CALLS_PER_SECOND`](crate::CALLS_PER_SECOND).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls_per_second: Option<u32>,
    /// Bytes that the log may grow by in a day; none: [`LEDGER_PER_DAY`](crate::LEDGER_PER_DAY).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ledger_per_day: Option<u64>,
}

impl Bounds {
    /// Calls a second, as they count.
    #[must_use]
    pub fn calls(&self) -> u32 {
        self.calls_per_second.unwrap_or(crate::CALLS_PER_SECOND)
    }
    /// Bytes of the log a day, as they count.
    #[must_use]
    pub fn ledger(&self) -> u64 {
        self.ledger_per_day.unwrap_or(crate::LEDGER_PER_DAY)
    }
    /// Whether nothing is other than usual.
    #[must_use]
    pub fn are_usual(&self) -> bool {
        *self == Self::default()
    }
    /// Whether they can be kept to.
    ///
    /// # Errors
    /// One sentence that names the first that cannot.
    pub fn check(&self) -> Result<(), String> {
        // Nothing at all is what a pause and a revoke are for.
        if !(1..=MOST_CALLS).contains(&self.calls()) {
            return Err(format!("calls a second are 1 to {MOST_CALLS}"));
        }
        if !(1..=MOST_LEDGER).contains(&self.ledger()) {
            return Err(format!("bytes of the log a day are 1 to {MOST_LEDGER}"));
        }
        Ok(())
    }
}

/// More calls a second than any machine answers.
const MOST_CALLS: u32 = 1_000_000;
/// 1 TiB.
const MOST_LEDGER: u64 = 1 << 40;

/// One agent and everything that is its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Agent {
    /// Its name.
    pub id: AgentId,
    /// `claude-code`, `generic`, …: how its install material is delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_type: Option<String>,
    /// Where it stands.
    pub status: EnrollmentStatus,
    /// Serial of the last connect, revoke or rotation; a permit made before it is void.
    pub epoch: u64,
    /// The newest enrollment code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// SHA-256 of the live PAT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pat: Option<Digest>,
    /// When the newest code was made.
    pub issued_at: Timestamp,
    /// When it was redeemed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redeemed_at: Option<Timestamp>,
    /// When the owner ended it, or what it was let in by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// How far it sees.
    pub reach: Reach,
    /// What the owner selected at connect or granted since.
    #[serde(default)]
    pub selected: BTreeSet<CapabilityId>,
    /// Effects that the owner let stand at connect.
    #[serde(default)]
    pub standing: BTreeSet<CapabilityId>,
    /// Reads that the owner took back, or whose source became another: they never allow themselves again.
    #[serde(default)]
    pub tombstones: BTreeSet<CapabilityId>,
    /// Grants that it lost because their source was changed, each with when; until the owner allows it anew.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub voided: BTreeMap<CapabilityId, Timestamp>,
    /// How much it may do; it outlives a connect.
    #[serde(default, skip_serializing_if = "Bounds::are_usual")]
    pub bounds: Bounds,

    /// Live and lapsed grants, one for each capability.
    #[serde(skip)]
    pub grants: BTreeMap<CapabilityId, Arc<Grant>>,
    /// Items that wait, and those decided in the last 24 h.
    #[serde(skip)]
    pub items: BTreeMap<PendingId, Arc<Item>>,
    /// Calls that the owner denied.
    #[serde(skip)]
    pub denials: BTreeMap<(CapabilityId, Digest), Denial>,
    /// Effects whose outcome is unknown: not run again until settled.
    #[serde(skip)]
    pub unknown: BTreeMap<(CapabilityId, Digest), Unknown>,
    /// Idempotency keys of effects, each by the intent that reserved it.
    #[serde(skip)]
    pub keys: Arc<BTreeMap<AuditId, UsedKey>>,
    /// Open sessions of this launch.
    #[serde(skip)]
    pub sessions: BTreeMap<SessionId, Session>,
    /// Tokens of this launch that were not revoked.
    #[serde(skip)]
    pub tokens: BTreeMap<TokenId, Token>,
}

/// An enrollment code, kept as its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// SHA-256 of the whole text.
    pub hash: Digest,
    /// First moment at which it is no longer good.
    pub expires_at: Timestamp,
    /// Whether it was redeemed.
    pub consumed: bool,
}

/// A session (handshake).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// First moment at which it is over.
    pub expires_at: Timestamp,
    /// What the client called itself, cut to 80 characters each.
    pub client: (Option<String>, Option<String>),
}

/// A scoped token that has not been revoked.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// The session it hangs on.
    pub session: SessionId,
    /// What it opens.
    pub scopes: Vec<Scope>,
    /// First moment at which it is over.
    pub expires_at: Timestamp,
}

/// The owner's standing permission. Immutable but for `calls` and `suspended`; a new decision makes a new one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grant {
    /// Its number, never used again.
    pub serial: u64,
    /// Whose.
    pub agent: AgentId,
    /// For what.
    pub capability: CapabilityId,
    /// With which verbs.
    pub verbs: Verbs,
    /// The window that the owner chose.
    pub window: TrustWindow,
    /// When.
    pub granted_at: Timestamp,
    /// First moment at which it is over.
    pub expires_at: Timestamp,
    /// Its narrowing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constraint: Option<Constraint>,
    /// Calls made under it: counted where the constraint limits them; elsewhere at most the one that it was approved with.
    #[serde(default)]
    pub calls: u32,
    /// Why it rests although it has not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<String>,
}

impl Grant {
    /// Whether it can be used at `now`.
    #[must_use]
    pub fn live(&self, now: Timestamp) -> bool {
        now < self.expires_at
            && self.suspended.is_none()
            && self
                .constraint
                .as_ref()
                .and_then(|c| c.max_calls)
                .is_none_or(|max| self.calls < max)
    }
    /// Calls left, where they are counted.
    #[must_use]
    pub fn calls_left(&self) -> Option<u32> {
        self.constraint
            .as_ref()?
            .max_calls
            .map(|max| max.saturating_sub(self.calls))
    }
}

/// What an approval does beside allowing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnApproval {
    /// The agent comes back and calls.
    #[default]
    Wait,
    /// The gateway commits it once, at once.
    Run,
}

/// One thing that waits for the owner. Immutable but for its state, its plans and their revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// Its id.
    pub id: PendingId,
    /// Who asks.
    pub agent: AgentId,
    /// The session that asked.
    pub session: SessionId,
    /// The epoch of the agent in which it asked; none: it was asked by a version that did not note it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_epoch: Option<u64>,
    /// When.
    pub created_at: Timestamp,
    /// First moment at which it lapses: 24 h after creation, then 24 h after approval.
    pub expires_at: Timestamp,
    /// What is asked for, each id once.
    pub asks: Vec<Ask>,
    /// The agent's words, cleaned (docs/protocol/agents.md#ask-for-grants).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// What an approval does beside allowing.
    #[serde(default)]
    pub on_approval: OnApproval,
    /// The extension that it asks the owner to add; it has no asks then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub register: Option<Box<Proposal>>,
    /// What the client called itself.
    #[serde(default)]
    pub client: (Option<String>, Option<String>),
    /// Rises with every change of a plan: what an approval is compared with.
    pub revision: u32,
    /// Where it stands.
    pub state: ItemState,
}

impl Item {
    /// Whether the program that asked is the one that `agent` names now: with another credential it is another program.
    #[must_use]
    pub fn is_of(&self, agent: &Agent) -> bool {
        self.agent == agent.id && self.agent_epoch.is_none_or(|epoch| epoch == agent.epoch)
    }
    /// Whether the gateway itself makes the call of `ask` once it is approved; every other call is left to the agent.
    #[must_use]
    pub fn runs(&self, ask: &Ask) -> bool {
        self.on_approval == OnApproval::Run && ask.input.is_some()
    }
    /// Whether the one call of `ask`, as it was when its approval was given, is still to be made.
    #[must_use]
    pub fn runs_still(&self, ask: &Ask) -> bool {
        let same = |a: &&Ask| a.capability == ask.capability && a.approval == Approval::OneCall;
        matches!(self.state, ItemState::Approved { .. }) && self.asks.iter().any(|a| same(&a))
    }
    /// The ask of this capability whose bounded approval takes a further turn at `now`.
    #[must_use]
    pub fn open_turns(&self, id: &CapabilityId, now: Timestamp) -> Option<(&Ask, &Bounded)> {
        let mut asks = self.asks.iter().filter(|ask| &ask.capability == id);
        asks.find_map(|ask| {
            let bounded = ask.bounded.as_deref()?;
            bounded.is_open(now).then_some((ask, bounded))
        })
    }
    /// Whether it is about this capability, or permits child calls of it.
    #[must_use]
    pub fn concerns(&self, id: &CapabilityId) -> bool {
        let mut asks = self.asks.iter();
        asks.any(|ask| &ask.capability == id || ask.bounded_for(id).is_some())
    }
    /// Whether a bounded approval of it was opened and is neither spent nor ended, whatever the time is.
    pub(crate) fn is_held_open(&self) -> bool {
        let mut bounded = self.asks.iter().filter_map(|ask| ask.bounded.as_deref());
        bounded.any(|bounded| matches!(bounded.state, BoundedState::Open { .. }))
    }
    /// Whether it ended before a call of it was begun.
    #[must_use]
    pub fn ended_unbegun(&self) -> bool {
        let begun = |ask: &Ask| matches!(ask.approval, Approval::Used | Approval::Ended);
        matches!(
            self.state,
            ItemState::Denied { .. } | ItemState::Lapsed | ItemState::Void { .. }
        ) && !self.asks.iter().any(begun)
    }
    /// Whether a call is left that the owner approved: a grant has none, and does not lapse with its request.
    #[must_use]
    pub fn has_call_left(&self) -> bool {
        matches!(self.state, ItemState::Approved { .. })
            && self
                .asks
                .iter()
                .any(|ask| matches!(ask.approval, Approval::OneCall | Approval::OneCallAnyInput))
    }
}

/// An extension that an agent asks the owner to add.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// The source that it would be.
    pub source: SourceId,
    /// Digest of what was sent: its manifest, and the folders that the agent would like it to have.
    pub content: Digest,
    /// The capabilities that the owner's approval added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub registered: Vec<CapabilityId>,
}

impl Proposal {
    /// The name behind the source: no capability has it.
    pub const NAME: &str = "extension";

    /// What its events, its file and its denial are named by: the source, in the form of an id.
    ///
    /// # Errors
    /// The source's id is too long for one.
    pub fn id(source: &SourceId) -> Result<CapabilityId, Malformed> {
        CapabilityId::of(source, Self::NAME)
    }
}

/// One id of an item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// For what.
    pub capability: CapabilityId,
    /// With which verbs.
    pub verbs: Verbs,
    /// The narrowing asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constraint: Option<Constraint>,
    /// The window wished for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wish: Option<TrustWindow>,
    /// Digest of the input that the call will have; none: whatever the agent sends later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Digest>,
    /// Size of that input in bytes.
    #[serde(default)]
    pub input_bytes: u64,
    /// The idempotency key that its call came with, if the call is an effect: who sends it again means the same call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Digest>,
    /// What it would do.
    pub plan: Plan,
    /// What the owner's approval left to be used.
    #[serde(default)]
    pub approval: Approval,
    /// How many other calls of this agent and capability the owner had denied in the 30 days before it was asked.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub denied: u32,
    /// When the agent lost its grant of it because the source was changed, if the owner has allowed nothing of it since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voided: Option<Timestamp>,
    /// How its one call ended, or what the owner said of it since; none: it has not, or an earlier version wrote this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<OutcomeKind>,
    /// The event of the intent of that call, if it was an effect; none: it has not ended, or an earlier version wrote this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<AuditId>,
    /// By which id that effect can be taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<String>,
    /// What its approval permits beyond the one call: turns of a conversation, or child calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounded: Option<Box<Bounded>>,
    /// The serial of the grant that was approved with its call, and counts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<u64>,
    /// The grant, by its serial, that answered it without its card: what is still to be made by it ends with that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covered_by: Option<u64>,
}

impl Ask {
    /// The bounded approval that a further call of `id` stands on: a turn is of the same capability, a child of another.
    #[must_use]
    pub fn bounded_for(&self, id: &CapabilityId) -> Option<&Bounded> {
        let bounded = self.bounded.as_deref()?;
        let permits = match &bounded.children {
            None => &self.capability == id,
            Some(children) => children.capabilities.contains_key(id),
        };
        permits.then_some(bounded)
    }
}

/// How far a bounded approval reaches: the agent asks for it, the card shows it, the owner may lower it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnLimits {
    /// Turns, the approved call among them, or child calls beside it; 1 to [`MAX_TURNS`](crate::MAX_TURNS).
    pub turns: u32,
    /// Minutes from the intent of the first call on; 1 to [`MAX_MINUTES`](crate::MAX_MINUTES).
    pub minutes: u32,
}

/// Which calls of other sources a bounded approval permits, made by the worker of the source that it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildCalls {
    /// The capabilities, each with its source's revision when it was asked for: what has changed since is not called.
    pub capabilities: BTreeMap<CapabilityId, u64>,
    /// How many may be under way side by side; 1 to [`MAX_PARALLEL`](crate::MAX_PARALLEL).
    pub parallel: u32,
    /// Whether they are members of a workflow: the gateway holds each to what the card shows of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub members: bool,
}

/// A bounded approval: one approval that permits several calls, the turns of one conversation or the child calls of one
/// orchestration (docs/design.md#bounded-approvals).
///
/// ```text
/// asked ─intent of the approved call─▶ open ─┬─ intent of the last turn ─▶ spent
///                                            ├─ its minutes are over ────▶ expired
///                                            └─ revoked, rotated, re-gated, withdrawn, ended ─▶ void
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounded {
    /// How far it reaches.
    pub limits: TurnLimits,
    /// Where it stands.
    pub state: BoundedState,
    /// When the owner approved it; none while nobody has, and in what an earlier version approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved: Option<Timestamp>,
    /// Where it permits child calls: which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub children: Option<ChildCalls>,
    /// Turns that an intent has used.
    #[serde(default)]
    pub used: u32,
    /// The turn that each message became, by the digest of the message's id: a message that comes again is no new turn.
    /// The same of child calls and their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub messages: BTreeMap<Digest, u32>,
    /// The intent of the approved call, once that call has ended: the parent of every further turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<AuditId>,
}

/// Where a [`Bounded`] approval stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "camelCase")]
pub enum BoundedState {
    /// The approved call has not begun.
    Asked,
    /// It takes further turns.
    Open {
        /// First moment at which it takes none.
        until: Timestamp,
    },
    /// Every turn is used.
    Spent,
    /// Its time was over before its turns were.
    Expired,
    /// It was ended before both.
    Void {
        /// Why.
        why: String,
    },
}

impl Bounded {
    /// One that is asked for.
    #[must_use]
    pub fn asked(limits: TurnLimits, children: Option<ChildCalls>) -> Self {
        Self {
            limits,
            state: BoundedState::Asked,
            approved: None,
            children,
            used: 0,
            messages: BTreeMap::new(),
            parent: None,
        }
    }
    /// Whether it takes a further turn at `now`.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        matches!(self.state, BoundedState::Open { until } if now < until)
    }
    /// The owner's word that a denial is newer or older than, while it is open.
    pub(crate) fn word(&self) -> Option<Timestamp> {
        if self.approved.is_some() {
            return self.approved;
        }
        let length = u64::from(self.limits.minutes) * 60_000;
        Some(Timestamp(self.until()?.0.saturating_sub(length)))
    }
    /// First moment at which it takes none, while it is open.
    #[must_use]
    pub fn until(&self) -> Option<Timestamp> {
        match self.state {
            BoundedState::Open { until } => Some(until),
            _ => None,
        }
    }
    /// Turns that are left, whether or not it takes them.
    #[must_use]
    pub fn turns_left(&self) -> u32 {
        self.limits.turns.saturating_sub(self.used)
    }
    /// The approved call begins: it opens it, and is the first turn of a conversation.
    pub(crate) fn open(&mut self, now: Timestamp) {
        let until = now.plus(u64::from(self.limits.minutes) * 60_000);
        self.state = BoundedState::Open { until };
        if self.children.is_none() {
            self.use_turn(None);
        }
    }
    /// Uses a turn.
    pub(crate) fn use_turn(&mut self, message: Option<Digest>) {
        self.used += 1;
        if let Some(message) = message {
            self.messages.insert(message, self.used);
        }
        if self.turns_left() == 0 {
            self.state = BoundedState::Spent;
        }
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands out references"
)]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// What an effect would do, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "plan", rename_all = "camelCase")]
pub enum Plan {
    /// A read, or an item without input: nothing to plan.
    None,
    /// The worker is at it, or has to do it again after a restart.
    Making,
    /// The worker computed it.
    Ready {
        /// Digest of the preview that the owner sees.
        preview: Digest,
        /// What the plan assumed about the world.
        state_token: Digest,
        /// The manifest's rating or higher.
        rating: Verb,
        /// Whether it is more than a standing grant may cover, whatever its rating: each such call is approved by itself.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        once: bool,
    },
    /// The worker could not.
    Failed,
}

impl Plan {
    /// Whether it amounts to more than the capability is rated for, or than may stand: then each call is approved alone.
    #[must_use]
    pub const fn is_once_only(&self) -> bool {
        matches!(
            self,
            Self::Ready {
                rating: Verb::Execute,
                ..
            } | Self::Ready { once: true, .. }
        )
    }
}

/// What is left of an approval for one ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Approval {
    /// Not decided.
    #[default]
    Open,
    /// One call with exactly this input.
    OneCall,
    /// One call with any input: the owner said so.
    OneCallAnyInput,
    /// Became a grant.
    Granted,
    /// Used; its call is under way.
    Used,
    /// Used, and its call has ended: the same call is a new wish.
    Ended,
}

/// `pending → approved → consumed → ok | failed | unknown`; `pending → denied | lapsed`; `pending | approved → void`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "camelCase")]
pub enum ItemState {
    /// Waits for the owner.
    Pending,
    /// The owner said yes.
    Approved {
        /// When.
        at: Timestamp,
    },
    /// No call of it is left, and one is under way.
    Consumed,
    /// Its calls are over.
    Over {
        /// How they went: not known, if that is so of one of them; else failed, if one did; else done, if one was.
        outcome: OutcomeKind,
    },
    /// The owner said no.
    Denied {
        /// In the owner's words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Nobody decided, or nobody used it, in time.
    Lapsed,
    /// What it stood on is gone: revoked, re-gated, rotated, withdrawn.
    Void {
        /// Why.
        why: VoidReason,
    },
}

impl Item {
    /// Whether it can still be decided at `now`.
    #[must_use]
    pub fn waits(&self, now: Timestamp) -> bool {
        self.state == ItemState::Pending && now < self.expires_at
    }

    /// The wire word at `now`: what nobody decided or used in time has expired, swept up or not.
    #[must_use]
    pub fn wire_state(&self, now: Timestamp) -> &'static str {
        match self.state {
            ItemState::Pending | ItemState::Approved { .. } if now >= self.expires_at => "expired",
            _ => self.state.wire(),
        }
    }
}

impl ItemState {
    /// Whether nothing can come of it any more.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Pending | Self::Approved { .. } | Self::Consumed)
    }
    /// The word on the wire (docs/protocol/agents.md#follow-a-request).
    #[must_use]
    pub fn wire(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved { .. } | Self::Consumed | Self::Over { .. } => "approved",
            Self::Denied { .. } => "denied",
            Self::Lapsed | Self::Void { .. } => "expired",
        }
    }
}

/// A call that the owner denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// When.
    pub at: Timestamp,
    /// The request that was denied; none: an earlier version kept none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<PendingId>,
    /// In the owner's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// An effect of which nobody knows whether it happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unknown {
    /// The event of its intent.
    pub intent: AuditId,
    /// When it became unknown.
    pub at: Timestamp,
    /// Intents of the same call that became unknown too; each is settled by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<AuditId>,
    /// The items whose approved call an intent of these was.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub items: BTreeMap<AuditId, PendingId>,
    /// As [`OpenIntent::counted`], by intent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counted: BTreeMap<AuditId, Vec<u64>>,
}

impl Unknown {
    /// Whether it is about `intent`.
    #[must_use]
    pub fn names(&self, intent: &AuditId) -> bool {
        &self.intent == intent || self.also.contains(intent)
    }
    /// What was held, if anything, and `open` besides, begun by `intent`.
    pub(crate) fn with(
        held: Option<&Self>,
        intent: &AuditId,
        open: &OpenIntent,
        at: Timestamp,
    ) -> Self {
        let mut all = held.cloned().unwrap_or_else(|| Self {
            intent: intent.clone(),
            at,
            also: Vec::new(),
            items: BTreeMap::new(),
            counted: BTreeMap::new(),
        });
        if !all.names(intent) {
            all.also.push(intent.clone());
        }
        let item = open.item.iter().map(|item| (intent.clone(), item.clone()));
        all.items.extend(item);
        if !open.counted.is_empty() {
            all.counted.insert(intent.clone(), open.counted.clone());
        }
        all
    }
    /// What remains without `intent`.
    pub(crate) fn without(&self, intent: &AuditId) -> Option<Self> {
        let mut rest = [&self.intent]
            .into_iter()
            .chain(&self.also)
            .filter(|held| *held != intent)
            .cloned();
        Some(Self {
            intent: rest.next()?,
            at: self.at,
            also: rest.collect(),
            items: without(&self.items, intent),
            counted: without(&self.counted, intent),
        })
    }
}

fn without<T: Clone>(all: &BTreeMap<AuditId, T>, intent: &AuditId) -> BTreeMap<AuditId, T> {
    let mut rest = all.clone();
    rest.remove(intent);
    rest
}

/// An idempotency key that an intent reserved for its effect (docs/protocol/agents.md#idempotency).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedKey {
    /// The key and what it was used for, as [`key_digest`] has them.
    pub key: Digest,
    /// The input it came with.
    pub input: Digest,
    /// When.
    pub at: Timestamp,
    /// What became of the effect; none: it is under way, or the daemon died over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<OutcomeKind>,
    /// By which id the effect can be taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<String>,
}

/// How an agent's idempotency key for a capability is kept: no word of the agent's choosing enters the ledger.
#[must_use]
pub fn key_digest(capability: &CapabilityId, key: &str) -> Digest {
    // No id holds a NUL.
    Digest::of(&[capability.as_str().as_bytes(), b"\0", key.as_bytes()].concat())
}

impl Agent {
    /// The intent that reserved `key` within [`KEY_MS`](crate::KEY_MS), and what is known of it.
    #[must_use]
    pub fn used_key(&self, key: Digest, now: Timestamp) -> Option<(&AuditId, &UsedKey)> {
        let mut live = self.keys.iter().rev();
        live.find(|(_, used)| used.key == key && now.since(used.at) < crate::KEY_MS)
    }
}

/// An effect that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenIntent {
    /// Whose; none: the owner's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentId>,
    /// The epoch of the agent in which it began; none: it was begun by a version that did not note it, or by the owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_epoch: Option<u64>,
    /// What.
    pub capability: CapabilityId,
    /// With which input.
    pub input: Digest,
    /// The item that allowed it, where it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<PendingId>,
    /// The item whose bounded approval it is a further turn or a child call of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn_of: Option<PendingId>,
    /// Serials of the grants that counted it: a call that is refused before any change is given back to them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counted: Vec<u64>,
}

impl OpenIntent {
    /// Whether a standing grant allowed it to the program that `agent` names now.
    #[must_use]
    pub fn is_by_grant_of(&self, agent: &Agent) -> bool {
        let by_grant = self.item.is_none() && self.turn_of.is_none();
        by_grant
            && self.agent.as_ref() == Some(&agent.id)
            && self.agent_epoch.is_none_or(|epoch| epoch == agent.epoch)
    }
}

/// What the manifest says of one capability, as far as decisions depend on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// What a caller must hold, all of it; empty for a skill.
    pub verbs: Verbs,
    /// How much harm one call can do.
    pub sensitivity: Sensitivity,
    /// Fields that the worker judges on what they resolve to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resolved: Vec<String>,
    /// Names of the input's properties: what a constraint may be about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    /// Digest of everything a grant depends on (verbs, rating, schema, constrainable fields), without the wording.
    pub shape: Digest,
    /// The input's schema without the wording; an earlier version did not keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// The fields that a constraint may name, as the manifest has them.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub narrow: Value,
    /// Whether a call works on a copy and changes nothing of the owner's: then it may be a child call.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub staged: bool,
}

/// How a source changed since the owner granted something on it, until the owner decides on that grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// When it was noticed.
    pub at: Timestamp,
    /// Of which capability; none: of the whole source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability: Option<CapabilityId>,
    /// One sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<String>,
    /// Rules that the profile has now and had not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
    /// Rules that it had.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules_gone: Vec<String>,
}

/// What a source points at, by which a change of target is noticed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Its real path.
    pub path: String,
    /// Its inode.
    pub inode: u64,
    /// Its device, which counts only within one boot.
    pub device: u64,
    /// The boot in which the device number was read.
    pub boot: String,
    /// The file system's own id, which outlives a boot; 0 where it has none.
    #[serde(default, skip_serializing_if = "is_unknown")]
    pub file_system: u64,
}

fn is_unknown(number: &u64) -> bool {
    *number == 0
}

impl Target {
    /// Whether both name the same thing.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        self.path == other.path
            && self.inode == other.inode
            && (self.boot != other.boot || self.device == other.device)
            // One of them may be of before this was known.
            && (self.file_system == other.file_system
                || self.file_system == 0
                || other.file_system == 0)
    }
}

/// What the owner configured (docs/protocol/owner.md#sources).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceConfig {
    /// The connector's wire kind, such as `obsidian-fs`.
    pub kind: String,
    /// What the owner calls it.
    pub label: String,
    /// Whether it serves.
    pub enabled: bool,
    /// Where it points.
    #[serde(default)]
    pub route: Value,
    /// The name of its secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<String>,
    /// Whether even reads ask.
    #[serde(default)]
    pub ask: bool,
    /// Where its capabilities come from.
    pub provenance: Provenance,
    /// What does not exist in it, for agents.
    #[serde(default, skip_serializing_if = "Hide::is_empty")]
    pub hide: Hide,
    /// Whom it is lent to, where it exists for one agent and for a time only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lent: Option<Lent>,
}

impl SourceConfig {
    /// Whether it is what a lending that ended has left behind: a source for nobody.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.lent.as_ref().is_some_and(|lent| lent.ended.is_some())
    }
}

/// What the owner hides of a source: for agents it does not exist.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hide {
    /// Folders, with all they hold.
    pub folders: BTreeSet<String>,
    /// Patterns of paths.
    pub globs: BTreeSet<String>,
    /// Tags of notes.
    pub tags: BTreeSet<String>,
}

impl Hide {
    /// Whether nothing is hidden.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
    /// Adds rules, or removes them.
    pub fn change(&mut self, rules: &Self, remove: bool) {
        for (own, given) in [
            (&mut self.folders, &rules.folders),
            (&mut self.globs, &rules.globs),
            (&mut self.tags, &rules.tags),
        ] {
            if remove {
                own.retain(|rule| !given.contains(rule));
            } else {
                own.extend(given.iter().cloned());
            }
        }
    }
    /// Whether everything that `other` hides is hidden by this too, as far as the rules themselves tell.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.folders.is_superset(&other.folders)
            && self.globs.is_superset(&other.globs)
            && self.tags.is_superset(&other.tags)
    }
    /// The rules of this that `other` does not have, in words: `folder Daily`.
    #[must_use]
    pub fn beyond(&self, other: &Self) -> Vec<String> {
        [
            ("folder", &self.folders, &other.folders),
            ("glob", &self.globs, &other.globs),
            ("tag", &self.tags, &other.tags),
        ]
        .into_iter()
        .flat_map(|(sort, own, others)| {
            let beyond = own.difference(others);
            beyond.map(move |rule| format!("{sort} {rule}"))
        })
        .collect()
    }
}

/// A lending: the source exists for one agent, for a time. What it kept of changes stays a while longer, for the owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lent {
    /// To whom.
    pub agent: AgentId,
    /// First moment at which it is over.
    pub until: Timestamp,
    /// What the agent may know of.
    pub capabilities: BTreeSet<CapabilityId>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
}

impl Lent {
    /// Whether `agent` has it at `now`.
    #[must_use]
    pub fn to(&self, agent: &AgentId, now: Timestamp) -> bool {
        self.ended.is_none() && self.agent == *agent && now < self.until
    }
}

/// One configured instance of a connector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Its id.
    pub id: SourceId,
    /// What the owner configured.
    pub config: SourceConfig,
    /// Serial of the last change that a permit must not survive.
    pub revision: u64,
    /// What it pointed at when it was last looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// What its further path fields pointed at, by field.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub paths: BTreeMap<String, Target>,
    /// Digest of its profile without comments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Digest>,
    /// What it offers.
    #[serde(default)]
    pub capabilities: BTreeMap<CapabilityId, Facts>,
    /// The rules of its profile, without comments; an earlier version did not keep them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
    /// What its profile imports, as rules; an earlier version did not keep them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub base: Vec<String>,
    /// What the owner agreed that its code is, as rules ([`crate::pins`]). None: an earlier version kept what was last seen in
    /// `base`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pins: Option<Vec<String>>,
    /// Its code is something else: nothing of it is started until the owner decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<crate::Stopped>,
    /// Why grants on it rest, in the order in which it was noticed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<Difference>,
    /// What the owner changed of where it points, in that order: for the cards of agents that lost a grant by it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moved: Vec<Difference>,
}

impl Source {
    /// One that was not looked at yet.
    #[must_use]
    pub fn new(id: SourceId, config: SourceConfig, revision: u64) -> Self {
        Self {
            id,
            config,
            revision,
            target: None,
            paths: BTreeMap::new(),
            profile: None,
            capabilities: BTreeMap::new(),
            rules: Vec::new(),
            base: Vec::new(),
            pins: None,
            stopped: None,
            changed: Vec::new(),
            moved: Vec::new(),
        }
    }
}

impl State {
    /// The suspended grants on a source that the owner can resume at `now`: they have not ended, and the source offers their
    /// capability.
    pub fn resting<'s>(
        &'s self,
        source: &'s Source,
        now: Timestamp,
    ) -> impl Iterator<Item = &'s Arc<Grant>> {
        let grants = self.agents.values().flat_map(|a| a.grants.values());
        grants.filter(move |grant| {
            grant.suspended.is_some()
                && source.capabilities.contains_key(&grant.capability)
                && !self.has_ended(grant, now)
        })
    }
    /// Whether the owner is to decide on a source that has changed.
    #[must_use]
    pub fn asks_about(&self, source: &Source, now: Timestamp) -> bool {
        source.asks() || self.resting(source, now).next().is_some()
    }
    /// Whether a grant permits no call from `now` on, suspended or not: it has lapsed, or each of its calls was made and
    /// none can be given back to it.
    #[must_use]
    pub fn has_ended(&self, grant: &Grant, now: Timestamp) -> bool {
        let has_lapsed = self.time(now) >= grant.expires_at;
        has_lapsed || (grant.calls_left() == Some(0) && !self.can_give_back(grant))
    }
    /// Whether a call that a grant counted may yet turn out not to have been made.
    fn can_give_back(&self, grant: &Grant) -> bool {
        let of = |counted: &[u64]| counted.contains(&grant.serial);
        let Some(agent) = self.agent(&grant.agent) else {
            return false;
        };
        let mut unsettled = agent.unknown.values().flat_map(|u| u.counted.values());
        let mut asks = agent.items.values().flat_map(|item| {
            let still = item.asks.iter().filter(|ask| item.runs_still(ask));
            still.filter_map(|ask| ask.counted)
        });
        self.open_intents.values().any(|open| of(&open.counted))
            || unsettled.any(|counted| of(counted))
            || asks.any(|counted| counted == grant.serial)
    }
    /// The time that decisions are made at: `now`, but never before anything that is recorded.
    #[must_use]
    pub fn time(&self, now: Timestamp) -> Timestamp {
        now.max(self.latest)
    }
    /// A capability in the catalogue: its source is configured and enabled.
    #[must_use]
    pub fn capability(&self, id: &CapabilityId) -> Option<(&Source, &Facts)> {
        let source = self.sources.get(id.parts().0)?;
        let facts = source.capabilities.get(id)?;
        source.config.enabled.then_some((source, facts))
    }
    /// Whether it is on a source that is lent, or was: for everybody but its borrower it does not exist.
    #[must_use]
    pub fn lent(&self, id: &CapabilityId) -> Option<&Lent> {
        self.sources.get(id.parts().0)?.config.lent.as_ref()
    }
    /// Sources that are lent, and whose lending has not ended.
    pub(crate) fn lent_out(&self) -> Vec<SourceId> {
        let lent = |source: &&Arc<Source>| {
            let lent = source.config.lent.as_ref();
            lent.is_some_and(|lent| lent.ended.is_none())
        };
        let all = self.sources.values().filter(lent);
        all.map(|source| source.id.clone()).collect()
    }
    /// Whether the owner lets it be seen.
    #[must_use]
    pub fn exposed(&self, id: &CapabilityId) -> bool {
        self.exposure.get(id).copied().unwrap_or(true)
    }
    /// An agent by id.
    #[must_use]
    pub fn agent(&self, id: &AgentId) -> Option<&Agent> {
        self.agents.get(id).map(|a| &**a)
    }
    /// The agent whose live PAT has this digest.
    #[must_use]
    pub fn agent_by_pat(&self, pat: &Digest) -> Option<&Agent> {
        self.agents
            .values()
            .map(|a| &**a)
            .find(|a| a.status == EnrollmentStatus::Active && a.pat.as_ref() == Some(pat))
    }
    /// The agent of an open session.
    #[must_use]
    pub fn agent_by_session(&self, session: &SessionId) -> Option<(&Agent, &Session)> {
        self.agents
            .values()
            .find_map(|a| a.sessions.get(session).map(|s| (&**a, s)))
    }
    /// An item of any agent.
    #[must_use]
    pub fn item(&self, id: &PendingId) -> Option<&Arc<Item>> {
        self.agents.values().find_map(|a| a.items.get(id))
    }

    /// The calls that the denial of a request refuses at `now`: whose, of which capability, with which input.
    pub fn denied_by<'s>(
        &'s self,
        item: &'s PendingId,
        now: Timestamp,
    ) -> impl Iterator<Item = (&'s AgentId, &'s CapabilityId, &'s Digest)> {
        let refuses = move |denial: &Denial| {
            denial.item.as_ref() == Some(item) && now.since(denial.at) < crate::DENIAL_MS
        };
        self.agents.values().flat_map(move |agent| {
            let denied = agent.denials.iter().filter(move |(_, d)| refuses(d));
            denied.map(|((capability, input), _)| (&agent.id, capability, input))
        })
    }

    /// The intents that were begun under this item's approval and have no outcome yet: of the approved call, of turns and
    /// of child calls.
    pub fn begun_under<'s>(
        &'s self,
        item: &'s PendingId,
    ) -> impl Iterator<Item = (&'s AuditId, &'s OpenIntent)> {
        let of = |open: &OpenIntent| {
            open.item.as_ref() == Some(item) || open.turn_of.as_ref() == Some(item)
        };
        self.open_intents.iter().filter(move |(_, open)| of(open))
    }

    /// How many child calls of this item's approval are under way. One that an earlier launch left without an outcome is
    /// not: no worker outlives its gateway.
    #[must_use]
    pub fn children_under_way(&self, agent: &Agent, item: &PendingId) -> usize {
        let runs = |(intent, open): &(&AuditId, &OpenIntent)| {
            let known = agent.unknown.get(&(open.capability.clone(), open.input));
            open.turn_of.is_some() && !known.is_some_and(|unknown| unknown.names(intent))
        };
        self.begun_under(item).filter(runs).count()
    }

    pub(crate) fn agent_mut(&mut self, id: &AgentId) -> Option<&mut Agent> {
        Arc::make_mut(&mut self.agents)
            .get_mut(id)
            .map(Arc::make_mut)
    }
}
