//! What the daemon may ask of the machine, and what it answers.
//!
//! Every fresh id, digest and secret's hash is made outside and comes in with the command: the machine is pure.

use crate::{
    Bounds, Facts, Hide, OnApproval, OutcomeKind, Permit, Reach, Settings, SourceConfig, Target,
    Touch, TurnLimits,
};
use plexus_protocol::{
    AgentId, AuditId, CapabilityId, Constraint, Digest, Effect, PendingId, SessionId, SourceId,
    Timestamp, TokenId, TrustWindow, Verb, Verbs, body::Scope,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// One wish.
#[derive(Clone, Debug)]
pub enum Command {
    // --- the owner ---
    /// Connects an agent anew, or again: its old credential and sessions end, and so does every grant that this connect
    /// does not make anew.
    Connect(Connect),
    /// Makes ready what an agent is set up from (docs/protocol/owner.md#set-up-another-machine): its form, and a fresh
    /// code where it has no credential or is to lose the one it has. What it was granted stays.
    Deliver(Deliver),
    /// Ends an agent.
    RevokeAgent {
        /// Whom.
        agent: AgentId,
        /// In the owner's words.
        reason: Option<String>,
        /// Whether to forget it altogether.
        delete: bool,
    },
    /// Says yes to an item.
    Approve(Approve),
    /// Says no to an item.
    Deny {
        /// Which.
        item: PendingId,
        /// In the owner's words.
        reason: Option<String>,
    },
    /// Takes a denial back: it refuses no call any more.
    EndDenial {
        /// The request that was denied.
        item: PendingId,
    },
    /// The extension that an item proposes is added, by the owner's approval.
    Register(Register),
    /// Ends a bounded approval before its turns and its time are over.
    EndTurns {
        /// The item that was approved.
        item: PendingId,
        /// Whether the source that makes its child calls ends it, and not the owner.
        by_source: bool,
    },
    /// Grants without being asked (docs/protocol/owner.md#grants-and-tokens).
    Grant {
        /// To whom.
        agent: AgentId,
        /// What.
        entries: Vec<GrantEntry>,
    },
    /// Takes a grant back; every token of the agent ends.
    RevokeGrant {
        /// From whom.
        agent: AgentId,
        /// What.
        capability: CapabilityId,
        /// In the owner's words.
        reason: Option<String>,
    },
    /// Ends one token; the grant behind it stays.
    RevokeToken {
        /// Which.
        token: TokenId,
        /// In the caller's words.
        reason: Option<String>,
    },
    /// Shows or hides a capability.
    Expose {
        /// Which; it need not exist.
        capability: CapabilityId,
        /// Whether it is shown.
        enabled: bool,
    },
    /// Sets or clears a pre-tick of the connect dialog.
    DefaultGrant {
        /// Which.
        capability: CapabilityId,
        /// Whether it is ticked.
        ticked: bool,
    },
    /// Adds or changes a source. One of the same kind goes on hiding what it hides: see [`Self::Hide`].
    PutSource {
        /// Which.
        id: SourceId,
        /// What the owner configured.
        config: SourceConfig,
        /// What its code is at that moment, or was when it was shown: agreed to where the owner names it now.
        pins: Vec<String>,
    },
    /// Hides more of a source, or shows it again; the rest of it stays, whatever another act changes meanwhile.
    Hide {
        /// Which.
        id: SourceId,
        /// The rules that come, or go.
        rules: Hide,
        /// Whether they go.
        remove: bool,
    },
    /// Disables a source.
    DisableSource {
        /// Which.
        id: SourceId,
    },
    /// Changes the certificates by which hosts of a source are known, and nothing else: its grants are suspended.
    PinSource {
        /// Which.
        id: SourceId,
        /// Members of its route, with what each is to hold; none where it is to be empty.
        pins: BTreeMap<String, Option<String>>,
    },
    /// Removes a source and every grant on it.
    RemoveSource {
        /// Which.
        id: SourceId,
    },
    /// Lends a source to one agent, or changes such a lending: source, look and grants in one transaction.
    Lend(Box<Lend>),
    /// Ends a lending before its time.
    EndLending {
        /// The source.
        id: SourceId,
    },
    /// Decides on a source that has changed: its grants go on, and its code as it was found is agreed to; or its grants end,
    /// and it stays stopped.
    ResumeSource {
        /// Which.
        id: SourceId,
        /// The source's revision that the owner saw; any, where none is named. Code is agreed to by one that is named alone.
        revision: Option<u64>,
        /// Whether they go on.
        go_on: bool,
    },
    /// Agrees to a source as a whole: its suspended grants are resumed, and of its code just what was shown is agreed to.
    AgreeToSource {
        /// Which.
        id: SourceId,
        /// The source's revision that the owner's act put in force.
        revision: u64,
        /// All that was shown of its code, as rules ([`crate::pins`]).
        pins: Vec<String>,
    },
    /// Replaces the owner's settings.
    Configure(Settings),
    /// The connection key was replaced: every session, token, code and PAT ends.
    RotateKey,
    /// This state was put back from a copy: every session, token, code and PAT ends, what waits is void, and every
    /// grant rests until the owner lets it go on.
    Restored {
        /// When the copy was made.
        made_at: Timestamp,
    },
    /// Another secret lies under a name: what stood on the old one is void, on every source that uses it.
    SecretChanged {
        /// Its name, as `secret_ref` has it, or `<source>.<field>`.
        name: String,
    },
    /// Gives a known agent another code: its credential and sessions end, its grants stay as they are.
    NewCode {
        /// Whom.
        agent: AgentId,
        /// SHA-256 of the enrollment code.
        code: Digest,
        /// Life of the code in milliseconds.
        code_ms: u64,
    },
    /// Says how much an agent may do from now on.
    Bound {
        /// Whom.
        agent: AgentId,
        /// All of it.
        bounds: Bounds,
    },
    /// Stops or lets go on every agent's calls.
    Pause(bool),
    /// Says what became of an effect that nobody knew of; closes its intent, where that is still open.
    SettleUnknown {
        /// Whose.
        agent: AgentId,
        /// The event of its intent.
        intent: AuditId,
        /// Whether it happened, or a part of it.
        happened: bool,
        /// Whether only a part of it happened.
        in_part: bool,
    },

    /// Records that an effect of the owner's own is about to happen. It stands on no grant: the owner saw its plan.
    OwnerIntent {
        /// What. One that the manifest lets the owner alone call is in no row.
        capability: CapabilityId,
        /// What it may do, by the source's manifest.
        verbs: Verbs,
        /// The source's revision that it was planned for.
        source_revision: u64,
        /// Digest of the canonical input.
        input: Digest,
        /// Bytes of it.
        input_bytes: u64,
        /// What the plan that the owner saw assumed.
        state_token: Digest,
        /// What it would change, as far as that is known: as in [`Self::Intent`].
        about: Vec<Touch>,
    },

    // --- the daemon ---
    /// The daemon started: sessions and tokens of the launch before are over, plans are made again, and effects that
    /// have no outcome are unknown until one comes.
    Launch,
    /// A source was looked at, before its worker starts and at every boot.
    SourceSeen(SourceSeen),
    /// A plan was made for an ask.
    PlanReady {
        /// Of which item.
        item: PendingId,
        /// For which id.
        capability: CapabilityId,
        /// Digest of the preview.
        preview: Digest,
        /// What the plan assumed.
        state_token: Digest,
        /// The manifest's rating or higher.
        rating: Verb,
        /// Whether it is more than a standing grant may cover, whatever its rating.
        once: bool,
    },
    /// A plan could not be made.
    PlanFailed {
        /// Of which item.
        item: PendingId,
        /// For which id.
        capability: CapabilityId,
    },
    /// A plan is being made again (the owner asked, or the daemon restarted).
    PlanAgain {
        /// Of which item.
        item: PendingId,
    },
    /// Lets go of what time has ended.
    Sweep,
    /// Something to keep in the audit log that changes no state.
    Note(Note),

    // --- agents ---
    /// Redeems a code for a PAT.
    Enroll {
        /// SHA-256 of the code.
        code: Digest,
        /// SHA-256 of the PAT to be.
        pat: Digest,
    },
    /// Opens a session.
    OpenSession {
        /// As whom; none: the owner's key without a name.
        agent: Option<AgentId>,
        /// With what it was opened.
        by: SessionProof,
        /// Its id.
        session: SessionId,
        /// What the client calls itself: name, version.
        client: (Option<String>, Option<String>),
    },
    /// Asks for grants (docs/protocol/agents.md#ask-for-grants), or for one call (grant-assist).
    Request(RequestGrants),
    /// Asks the owner to add an extension (docs/protocol/agents.md#propose-an-extension).
    Propose(Propose),
    /// Exchanges a token (docs/protocol/agents.md#refresh-a-token).
    Refresh {
        /// Whose token it is.
        agent: AgentId,
        /// The token to exchange.
        token: TokenId,
        /// The session named in the body.
        session: SessionId,
        /// Id of the new one.
        fresh: TokenId,
    },
    /// An agent withdraws its own item.
    Withdraw {
        /// Who.
        agent: AgentId,
        /// Which.
        item: PendingId,
    },
    /// The one call that an item was approved for was refused before anything was begun: it is not made any more.
    NotMade {
        /// Whose item.
        agent: AgentId,
        /// Which.
        item: PendingId,
        /// The call.
        capability: CapabilityId,
        /// Why.
        why: String,
    },
    /// Records a read that a worker answered: its one event.
    Read {
        /// Why it was allowed.
        permit: Permit,
        /// What happened.
        outcome: Outcome,
    },
    /// Records that an effect is about to happen, and uses up what is single-use.
    Intent {
        /// Why it is allowed.
        permit: Permit,
        /// Bytes of canonical input.
        input_bytes: u64,
        /// What it is about to change, each with the digest of what is there before, as far as that is known: for the
        /// owner, should nobody ever know how it ended.
        about: Vec<Touch>,
        /// The idempotency key that it reserves, as [`key_digest`](crate::key_digest) has it; of a further turn of a
        /// bounded approval, the digest of its message's id; of a child call, that of its name.
        key: Option<Digest>,
    },
    /// Records what became of an effect.
    Outcome {
        /// The event of its intent.
        intent: AuditId,
        /// What happened.
        outcome: Outcome,
    },
}

impl Command {
    /// Whether it is an act of the owner that gives nobody anything: it takes away, or is a note.
    #[must_use]
    pub fn narrows(&self) -> bool {
        matches!(
            self,
            Self::RevokeAgent { .. }
                | Self::RevokeGrant { .. }
                | Self::RevokeToken { .. }
                | Self::Deny { .. }
                | Self::EndTurns { .. }
                | Self::EndLending { .. }
                | Self::RemoveSource { .. }
                | Self::DisableSource { .. }
                | Self::Expose { enabled: false, .. }
                | Self::Hide { remove: false, .. }
                | Self::ResumeSource { go_on: false, .. }
                | Self::Pause(true)
                | Self::Note(_)
        )
    }
}

/// With what a session is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionProof {
    /// The agent's PAT, by its SHA-256.
    Pat(Digest),
    /// The owner's key.
    Owner,
    /// None: a worker's call, which only the gateway makes. The session of a nested agent, and of no other.
    Gateway,
}

/// Body of a connect (docs/protocol/owner.md#agents).
#[derive(Clone, Debug)]
pub struct Connect {
    /// Whom.
    pub agent: AgentId,
    /// How its material is delivered.
    pub agent_type: Option<String>,
    /// How far it sees; none: the owner's setting.
    pub reach: Option<Reach>,
    /// What it is connected to.
    pub capabilities: BTreeSet<CapabilityId>,
    /// Effects among them that shall stand.
    pub standing: BTreeSet<CapabilityId>,
    /// Window of every grant made here; none: each class's default.
    pub window: Option<TrustWindow>,
    /// Narrowing of each grant made here whose capability knows the field; refused where none does.
    pub constraint: Option<Constraint>,
    /// SHA-256 of the enrollment code.
    pub code: Digest,
    /// Life of the code in milliseconds.
    pub code_ms: u64,
}

/// Body of a delivery (docs/protocol/owner.md#set-up-another-machine).
#[derive(Clone, Debug)]
pub struct Deliver {
    /// To whom.
    pub agent: AgentId,
    /// The form from now on, where another is asked for.
    pub form: Option<String>,
    /// Whether a live credential ends and is replaced.
    pub reissue: bool,
    /// SHA-256 of the code, if one is made.
    pub code: Digest,
    /// Life of the code in milliseconds.
    pub code_ms: u64,
}

/// Body of a decision (docs/protocol/owner.md#requests-and-approvals).
#[derive(Clone, Debug)]
pub struct Approve {
    /// Which item.
    pub item: PendingId,
    /// The revision of the item whose card the owner saw.
    pub revision: u32,
    /// Digest of that card, for the record.
    pub card: Digest,
    /// For how long; none: the agent's wish, else the class default.
    pub window: Option<TrustWindow>,
    /// A narrowing that the owner adds.
    pub constraint: Option<Constraint>,
    /// Whether one call may have an input that the item does not name.
    pub any_input: bool,
    /// Fewer turns, or child calls, than a bounded approval asks for.
    pub turns: Option<u32>,
    /// Fewer minutes than a bounded approval asks for.
    pub minutes: Option<u32>,
}

/// An extension that was added because the owner approved it.
#[derive(Clone, Debug)]
pub struct Register {
    /// The item that proposed it.
    pub item: PendingId,
    /// Digest of the card that the owner saw.
    pub card: Digest,
    /// What it offers.
    pub capabilities: Vec<CapabilityId>,
}

/// Body of a proposal.
#[derive(Clone, Debug)]
pub struct Propose {
    /// Who proposes.
    pub agent: AgentId,
    /// In which session.
    pub session: SessionId,
    /// The source that it would be.
    pub source: SourceId,
    /// Digest of what was sent.
    pub content: Digest,
    /// The agent's words, cleaned.
    pub purpose: Option<String>,
    /// Id of the item, if one is made.
    pub item: PendingId,
}

/// One grant that the owner makes without being asked.
#[derive(Clone, Debug)]
pub struct GrantEntry {
    /// What.
    pub capability: CapabilityId,
    /// With which verbs; none: all that it declares.
    pub verbs: Option<Verbs>,
    /// For how long; none: the class default.
    pub window: Option<TrustWindow>,
    /// Its narrowing.
    pub constraint: Option<Constraint>,
}

/// A source that is there for one agent and for a time.
#[derive(Clone, Debug)]
pub struct Lend {
    /// What is configured, whom it is lent to included.
    pub config: SourceConfig,
    /// The source as it is now.
    pub seen: SourceSeen,
    /// What the borrower may do without being asked about; every other grant on the source ends.
    pub grants: Vec<GrantEntry>,
}

/// A source as it is now.
#[derive(Clone, Debug)]
pub struct SourceSeen {
    /// Which.
    pub id: SourceId,
    /// What it points at; none while it points at nothing.
    pub target: Option<Target>,
    /// What its further path fields point at, by field; without those that point at nothing.
    pub paths: BTreeMap<String, Target>,
    /// Digest of its profile without comments.
    pub profile: Digest,
    /// What its manifest offers.
    pub capabilities: BTreeMap<CapabilityId, Facts>,
    /// The rules of its profile, without comments.
    pub rules: Vec<String>,
    /// What its profile imports, as rules: each grants something for itself, so fewer of them are narrower. None where
    /// that is the system's to say.
    pub base: Vec<String>,
    /// What its code is now, as rules ([`crate::pins`]); without what cannot be read now.
    pub pins: Vec<String>,
    /// How folders of its code differ from what the owner agreed to, by the names of files, one sentence each. Words for a card alone.
    pub file_changes: Vec<String>,
}

/// One entry of a grant request.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The id as it was asked for.
    pub id: String,
    /// Whether the agent wants it, or says that it does not.
    pub wanted: bool,
    /// With which verbs; none or empty: all that it declares (E28).
    pub verbs: Option<Verbs>,
    /// For how long it would like it.
    pub wish: Option<TrustWindow>,
    /// The narrowing it asks for.
    pub constraint: Option<Constraint>,
    /// Digest and size of the input that the call will have.
    pub input: Option<(Digest, u64)>,
    /// The idempotency key that its call came with, as [`key_digest`](crate::key_digest) keeps it.
    pub key: Option<Digest>,
    /// Whether the call is known to be more than what stands covers: then the owner is asked whatever stands.
    pub beyond_grant: bool,
    /// The turns or child calls that its approval would permit, where its manifest says so; counts with an input, or of a workflow.
    pub turns: Option<TurnLimits>,
    /// Where those are child calls: which.
    pub children: Option<ChildrenAsked>,
}

impl Entry {
    /// One that is wanted as it is declared, without an input.
    pub fn of(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            wanted: true,
            verbs: None,
            wish: None,
            constraint: None,
            input: None,
            key: None,
            beyond_grant: false,
            turns: None,
            children: None,
        }
    }
}

/// The child calls that an entry asks for.
#[derive(Clone, Debug)]
pub struct ChildrenAsked {
    /// Ids of capabilities, as they were typed.
    pub capabilities: Vec<String>,
    /// How many side by side.
    pub parallel: u32,
    /// Whether they are members of a workflow, whose inputs the owner is shown: such a call need not work on a copy.
    pub members: bool,
}

/// How far a request may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// The owner is asked for what is not allowed yet.
    Anything,
    /// A token for what stands already: the owner is asked for nothing and nothing is granted.
    Token,
    /// The same for the owner, whom no pause stops.
    OwnersToken,
}

/// Body of a request (docs/protocol/agents.md#ask-for-grants).
#[derive(Clone, Debug)]
pub struct RequestGrants {
    /// Who asks; none: the owner's key without a name, which is declined everything.
    pub agent: Option<AgentId>,
    /// In which session.
    pub session: SessionId,
    /// For what.
    pub entries: Vec<Entry>,
    /// The agent's words, cleaned.
    pub purpose: Option<String>,
    /// What an approval does.
    pub on_approval: OnApproval,
    /// How far it may go.
    pub extent: Extent,
    /// Id of the token, if one is made.
    pub token: TokenId,
    /// Id of the item, if one is made.
    pub item: PendingId,
}

impl RequestGrants {
    /// Asks for a token of id `token` for what stands already, and for nothing else.
    pub fn token(
        agent: AgentId,
        session: SessionId,
        token: TokenId,
        entries: Vec<Entry>,
        extent: Extent,
    ) -> Command {
        Command::Request(Self {
            agent: Some(agent),
            session,
            entries,
            purpose: None,
            on_approval: OnApproval::Wait,
            extent,
            token,
            item: PendingId::fresh(),
        })
    }
}

/// What a worker reported of a call.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it went.
    pub kind: OutcomeKind,
    /// The error code, where it did not go well.
    pub code: Option<String>,
    /// `detail.reason` of that error.
    pub reason: Option<String>,
    /// Bytes of canonical input.
    pub input_bytes: u64,
    /// Bytes of output.
    pub output_bytes: u64,
    /// What was touched.
    pub touched: Vec<Touch>,
    /// One typed line without content.
    pub summary: Option<String>,
    /// Opaque id by which the effect can be taken back.
    pub undo: Option<String>,
    /// What was done by then, where it was cancelled, or failed when something was.
    pub effect: Option<Effect>,
    /// What it streamed, if anything.
    pub progress: Option<Streamed>,
    /// Awake time it took, in microseconds.
    pub micros: u64,
}

/// What a call streamed: all of it, although only the end is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streamed {
    /// Its length, in bytes.
    pub bytes: u64,
    /// SHA-256 of all pieces in order.
    pub digest: Digest,
}

/// An audit event that changes no state.
#[derive(Clone, Debug)]
pub struct Note {
    /// The wire's audit type.
    pub kind: &'static str,
    /// Whom it is about.
    pub agent: Option<AgentId>,
    /// What it is about.
    pub capability: Option<CapabilityId>,
    /// `ok`, `error` or `denied`, where it has one.
    pub outcome: Option<&'static str>,
    /// Facts, without secrets and without content.
    pub detail: Value,
}

/// What came of a command, beside its events.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Nothing to add.
    Done,
    /// Whether anything changed.
    Changed(bool),
    /// A connected agent: what was granted, what was not, and why.
    Connected {
        /// Granted ids.
        granted: Vec<CapabilityId>,
        /// Ids that will ask.
        skipped: Vec<CapabilityId>,
        /// Ids that were asked to stand and cannot.
        refused: Vec<CapabilityId>,
        /// First moment at which the code is no longer good.
        code_expires_at: Timestamp,
    },
    /// What an agent is set up from is ready.
    Delivered {
        /// First moment at which the new code is no longer good; none where none was made.
        code_expires_at: Option<Timestamp>,
        /// Whether it holds a credential, or held one until now.
        enrolled: bool,
    },
    /// What a revoke ended.
    Revoked {
        /// Tokens.
        tokens: Vec<TokenId>,
        /// Grants.
        grants: usize,
        /// Sessions.
        sessions: usize,
        /// Whether a credential ended.
        enrollment: bool,
        /// Requests and approvals.
        items: Vec<PendingId>,
        /// Effects of the agent that were begun before this and have no outcome yet.
        in_flight: Vec<AuditId>,
    },
    /// A code that was made; what was granted stays.
    Coded {
        /// First moment at which the code is no longer good.
        code_expires_at: Timestamp,
        /// Requests and approvals that ended.
        items: Vec<PendingId>,
    },
    /// A rotation of the key, which ended every credential.
    KeyRotated {
        /// Requests and approvals.
        items: Vec<PendingId>,
    },
    /// What a restore ended.
    Restored {
        /// Agents that need a new code.
        agents: Vec<AgentId>,
        /// Grants that rest.
        grants: usize,
        /// Sources that were lent and are no more.
        lendings: Vec<SourceId>,
    },
    /// Who enrolled.
    Enrolled {
        /// The agent.
        agent: AgentId,
    },
    /// Until when the session lasts.
    Session {
        /// First moment at which it is over.
        expires_at: Timestamp,
    },
    /// What a request came to.
    Decided(Decision),
    /// A new token in place of another.
    Refreshed {
        /// What it opens.
        scopes: Vec<Scope>,
        /// First moment at which it is over.
        expires_at: Timestamp,
        /// Earliest end of the grants behind it.
        grant_expires_at: Timestamp,
    },
    /// An approved item: what was granted, and what cannot stand and was allowed once.
    Approved {
        /// Ids that became standing grants.
        granted: Vec<CapabilityId>,
        /// Ids that may be called once.
        once: Vec<CapabilityId>,
        /// Other requests of the agent that waited and that the new grants answered.
        also: Vec<PendingId>,
        /// How many denials it ended.
        denials_ended: usize,
    },
    /// A source whose suspended grants were resumed.
    Resumed {
        /// Requests that waited and that those grants answered.
        also: Vec<PendingId>,
    },
    /// An effect that may begin.
    Begun,
    /// The item of a proposal, new or joined.
    Proposed(PendingId),
}

/// What a grant request came to.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// What is allowed now.
    pub scopes: Vec<Scope>,
    /// When the token ends; none where no token was made.
    pub token_expires_at: Option<Timestamp>,
    /// Earliest end of the grants behind it.
    pub grant_expires_at: Option<Timestamp>,
    /// Window of the first allowed id.
    pub window: Option<TrustWindow>,
    /// The item that waits, new or joined.
    pub item: Option<PendingId>,
    /// Whether that item existed already.
    pub joined: bool,
    /// Ids that the agent may not know of.
    pub unknown: Vec<String>,
    /// Calls that the owner denied, with the owner's words.
    pub denied: Vec<(CapabilityId, Option<String>)>,
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No live session.
    #[error("session expired")]
    SessionExpired,
    /// The token was revoked, or never was one.
    #[error("token revoked")]
    TokenRevoked,
    /// The token is past its end.
    #[error("token expired")]
    TokenExpired,
    /// No live permission.
    #[error("no live grant covers this call")]
    GrantRequired {
        /// The field whose constraint it missed.
        constraint: Option<String>,
    },
    /// No such capability, as far as the caller may know.
    #[error("unknown capability")]
    UnknownCapability,
    /// Hidden by the owner after the agent was given it.
    #[error("the owner no longer exposes this capability")]
    Unexposed,
    /// A skill: a text, not a call.
    #[error("a skill is read, not called")]
    NotCallable,
    /// The source's code is not what the owner agreed to.
    #[error("the source's program or code is not what the owner agreed to")]
    SourceStopped,
    /// The owner paused all agents.
    #[error("the owner has paused all agents")]
    Paused,
    /// The owner denied this very call.
    #[error("the owner denied this call")]
    Denied {
        /// In the owner's words.
        reason: Option<String>,
    },
    /// The owner approved this very call for the gateway to make: what comes of it is the answer to the agent's too.
    #[error("the gateway makes this call itself")]
    Runs {
        /// The item that it runs for.
        item: PendingId,
    },
    /// The same call was begun before and nobody knows what became of it.
    #[error("an earlier call with this input has an unknown outcome")]
    OutcomeUnknown {
        /// The event of its intent.
        intent: AuditId,
    },
    /// The idempotency key stands for an effect that was begun before.
    #[error("the idempotency key is in use")]
    KeyUsed {
        /// The event of its intent.
        intent: AuditId,
    },
    /// The bounded approval takes no further turn now.
    #[error("no further turn: {why}")]
    NoTurn {
        /// In one clause.
        why: &'static str,
    },
    /// The bounded approval permits no further child call, or not this one.
    #[error("no child call: {why}")]
    NoChild {
        /// In one clause.
        why: &'static str,
    },
    /// A message with this id is a turn already, or a child call of this name is made.
    #[error("this message is turn {turn}")]
    MessageKnown {
        /// Which turn.
        turn: u32,
    },
    /// Nothing that was asked for is declared (D1), or a term makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// Too many items wait.
    #[error("too many requests wait for the owner")]
    TooManyPending,
    /// A code that was never made here, or was superseded.
    #[error("unknown code")]
    UnknownCode,
    /// A code past its end.
    #[error("code expired")]
    CodeExpired,
    /// A code that was used, or whose agent was revoked.
    #[error("code consumed")]
    CodeConsumed,
    /// No such item, or it is decided.
    #[error("no such item waits")]
    NoSuchItem,
    /// The item is not as the card showed it.
    #[error("the card has changed")]
    CardChanged,
    /// The item names no input.
    #[error("the item names no input")]
    InputRequired,
    /// Its plan failed.
    #[error("the plan failed")]
    PlanFailed,
    /// Its agent is making the very call by a grant.
    #[error("the call is under way by a grant")]
    MadeNow,
    /// Its plan is not made yet.
    #[error("the plan is still being made")]
    PlanMaking,
    /// No such agent.
    #[error("no such agent")]
    NoSuchAgent,
    /// No such source.
    #[error("no such source")]
    NoSuchSource,
    /// The source is not lent.
    #[error("this source is not lent")]
    NotLent,
    /// No such intent is open.
    #[error("no such intent is open")]
    NoSuchIntent,
}
