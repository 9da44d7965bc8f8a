//! A small world to try the machine in: two sources with a capability of every class, and a clock held by hand.
//!
//! Every event must come back from its JSON as it went in: what does not survive the way to the disk fails here first.

mod commands;
pub(crate) mod history;
pub(crate) mod player;

pub(crate) use commands::*;
use plexus_protocol::{
    AgentId, AuditId, CapabilityId, Constraint, Digest, PendingId, Provenance, Sensitivity,
    SessionId, SourceId, Timestamp, TokenId, TrustWindow, Verb, Verbs,
};
use plexus_trust::{
    Approve, AuthPath, Bounds, Call, Command, Connect, Decision, Entry, Event, Extent, Facts,
    ItemState, OnApproval, Outcome, OutcomeKind, Permit, Refusal, Reply, RequestGrants,
    SessionProof, Source, SourceConfig, SourceSeen, State, Target, TurnLimits, Verdict, authorize,
    decide,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(crate) const START: Timestamp = Timestamp(1_790_000_000_000);
pub(crate) const MINUTE: u64 = 60_000;
pub(crate) const HOUR: u64 = 60 * MINUTE;
pub(crate) const DAY: u64 = 24 * HOUR;

pub(crate) const ONCE: Option<TrustWindow> = Some(TrustWindow::Once);
pub(crate) const NO_GRANT: Refusal = Refusal::GrantRequired { constraint: None };

pub(crate) const READ: &str = "notes.read";
pub(crate) const SEARCH: &str = "notes.search";
pub(crate) const WRITE: &str = "notes.write";
pub(crate) const EDIT: &str = "notes.edit";
pub(crate) const RUN: &str = "notes.run";
pub(crate) const SEND: &str = "notes.send";
pub(crate) const GUIDE: &str = "notes.guide";
pub(crate) const EXT_READ: &str = "ext.read";
pub(crate) const EXT_WRITE: &str = "ext.write";
/// What an approved call of [`RUN`] permits: three turns within half an hour.
pub(crate) const TURNS: TurnLimits = TurnLimits {
    turns: 3,
    minutes: 30,
};
/// One capability of every class.
pub(crate) const ALL: [&str; 9] = [
    READ, SEARCH, WRITE, EDIT, RUN, SEND, GUIDE, EXT_READ, EXT_WRITE,
];

pub(crate) fn agent(name: &str) -> AgentId {
    AgentId::parse(name).unwrap()
}
pub(crate) fn cap(id: &str) -> CapabilityId {
    CapabilityId::parse(id).unwrap()
}
pub(crate) fn source(id: &str) -> SourceId {
    SourceId::parse(id).unwrap()
}
pub(crate) fn digest(input: &Value) -> Digest {
    plexus_protocol::json::digest(input)
}
pub(crate) fn secret(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}
pub(crate) fn below(prefix: &str) -> Constraint {
    constraint(json!({"pathPrefix": {"field": "path", "allow": [prefix]}}))
}
pub(crate) fn constraint(value: Value) -> Constraint {
    serde_json::from_value(value).unwrap()
}
pub(crate) fn uuid(prefix: &str, n: u64) -> String {
    format!("{prefix}_00000000-0000-8000-8000-{n:012x}")
}

/// The verbs, sensitivity and input fields that the manifests of this world declare.
pub(crate) fn declared(id: &str) -> (Verbs, Sensitivity) {
    let write = Verbs::of([Verb::Write]);
    match id {
        READ | SEARCH | EXT_READ => (Verbs::READ, Sensitivity::Low),
        WRITE | EXT_WRITE => (write, Sensitivity::Elevated),
        EDIT => (Verbs::of([Verb::Read, Verb::Write]), Sensitivity::Elevated),
        RUN => (Verbs::of([Verb::Execute]), Sensitivity::High),
        SEND => (write, Sensitivity::High),
        _ => (Verbs::NONE, Sensitivity::Low),
    }
}

/// What the manifest of a source says; `edition` stands for everything that a grant depends on.
pub(crate) fn manifest(id: &str, edition: u8) -> BTreeMap<CapabilityId, Facts> {
    let mine = ALL.iter().filter(|c| c.split_once('.').unwrap().0 == id);
    mine.map(|c| {
        let (verbs, sensitivity) = declared(c);
        let facts = Facts {
            verbs,
            sensitivity,
            resolved: vec![],
            fields: match *c {
                SEARCH => vec!["path".into(), "text".into(), "query".into()],
                _ => vec!["path".into(), "text".into()],
            },
            shape: secret(&format!("{c} {edition}")),
            input: None,
            narrow: Value::Null,
            staged: *c == RUN,
        };
        (cap(c), facts)
    })
    .collect()
}

pub(crate) fn config(id: &str) -> SourceConfig {
    SourceConfig {
        kind: "test".into(),
        label: "Notes".into(),
        enabled: true,
        hide: Default::default(),
        lent: None,
        route: json!({"path": format!("/srv/{id}")}),
        secret_ref: None,
        ask: false,
        provenance: if id == "ext" {
            Provenance::Extension
        } else {
            Provenance::Managed
        },
    }
}

pub(crate) fn seen(id: &str) -> SourceSeen {
    SourceSeen {
        id: source(id),
        target: Some(Target {
            path: format!("/srv/{id}"),
            inode: 7,
            device: 1,
            boot: "first".into(),
            file_system: 5,
        }),
        paths: Default::default(),
        profile: secret("profile"),
        capabilities: manifest(id, 0),
        rules: vec!["(allow file-read*)".into()],
        base: vec!["(allow file-read* (subpath \"/dev/null\"))".into()],
        pins: Vec::new(),
        file_changes: Vec::new(),
    }
}

pub(crate) fn entry(id: &str) -> Entry {
    Entry::of(id)
}
pub(crate) fn entry_with(id: &str, input: &Value) -> Entry {
    Entry {
        input: Some((digest(input), input.to_string().len() as u64)),
        turns: (id == RUN).then_some(TURNS),
        ..entry(id)
    }
}

pub(crate) fn outcome(kind: OutcomeKind) -> Outcome {
    Outcome {
        kind,
        code: None,
        reason: None,
        input_bytes: 2,
        output_bytes: 3,
        touched: vec![],
        summary: None,
        undo: None,
        effect: None,
        progress: None,
        micros: 10,
    }
}

/// An agent that went all the way to a session.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    pub(crate) agent: AgentId,
    pub(crate) session: SessionId,
}

/// One entry of the log.
pub(crate) struct Logged {
    pub(crate) event: Event,
    pub(crate) id: AuditId,
    pub(crate) at: Timestamp,
}

pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) now: Timestamp,
    pub(crate) log: Vec<Logged>,
    fresh: u64,
}

impl World {
    /// A daemon's first launch, before any source.
    pub(crate) fn empty() -> Self {
        let mut world = Self {
            state: State::default(),
            now: START,
            log: vec![],
            fresh: 0,
        };
        world.ok(Command::Launch);
        world
    }

    /// Both sources configured and looked at.
    pub(crate) fn new() -> Self {
        let mut world = Self::empty();
        for id in ["notes", "ext"] {
            world.ok(put(id, |_| {}));
            world.ok(Command::SourceSeen(seen(id)));
        }
        world
    }

    /// The same, and an agent that was granted some of it.
    pub(crate) fn with_member(capabilities: &[&str]) -> (Self, Who) {
        let mut world = Self::new();
        let who = world.member("a", capabilities);
        (world, who)
    }

    pub(crate) fn fresh(&mut self) -> u64 {
        self.fresh += 1;
        self.fresh
    }
    pub(crate) fn later(&mut self, ms: u64) {
        self.now = self.now.plus(ms);
    }

    pub(crate) fn run(&mut self, command: Command) -> Result<Reply, Refusal> {
        let (events, reply) = decide(&self.state, &command, self.now)?;
        let at = self.state.time(self.now);
        for event in events {
            let bytes = serde_json::to_vec(&event).unwrap();
            let back = Event::read(event.kind, &bytes)
                .expect("a known type")
                .unwrap();
            assert_eq!(serde_json::to_vec(&back).unwrap(), bytes);
            let id = AuditId::parse(&uuid("evt", self.log.len() as u64)).unwrap();
            self.state.apply(&event, &id, at);
            self.log.push(Logged { event, id, at });
        }
        Ok(reply)
    }
    pub(crate) fn ok(&mut self, command: Command) -> Reply {
        self.run(command).expect("the command is carried out")
    }
    /// What the command asks for is out of bounds.
    #[track_caller]
    pub(crate) fn invalid(&mut self, command: Command) {
        let done = self.run(command);
        assert!(matches!(done, Err(Refusal::Invalid(_))), "{done:?}");
    }
    #[track_caller]
    pub(crate) fn refuses(&mut self, command: Command, why: Refusal) {
        assert_eq!(self.run(command).unwrap_err(), why);
    }
    /// The source of the notes as it is kept.
    pub(crate) fn notes(&self) -> &Source {
        &self.state.sources[&source("notes")]
    }
    /// The event of the last call that was recorded.
    pub(crate) fn last_call(&self) -> Option<AuditId> {
        let mut log = self.log.iter().rev();
        let last = log.find(|logged| logged.event.kind == "invoke");
        last.map(|logged| logged.id.clone())
    }

    pub(crate) fn connect_command(&mut self, name: &str, capabilities: &[&str]) -> Connect {
        let n = self.fresh();
        Connect {
            agent: agent(name),
            agent_type: None,
            reach: None,
            capabilities: capabilities.iter().map(|c| cap(c)).collect(),
            standing: [].into(),
            window: None,
            constraint: None,
            code: secret(&format!("code {n}")),
            code_ms: plexus_trust::CODE_MS,
        }
    }
    /// Connects, enrolls and opens a session.
    pub(crate) fn join(&mut self, connect: Connect) -> Who {
        let (agent, code) = (connect.agent.clone(), connect.code);
        self.ok(Command::Connect(connect));
        let n = self.fresh();
        let pat = secret(&format!("pat {n}"));
        self.ok(Command::Enroll { code, pat });
        let session = self.open(&agent, Some(pat)).unwrap();
        Who { agent, session }
    }
    pub(crate) fn member(&mut self, name: &str, capabilities: &[&str]) -> Who {
        let connect = self.connect_command(name, capabilities);
        self.join(connect)
    }
    pub(crate) fn open(
        &mut self,
        agent: &AgentId,
        pat: Option<Digest>,
    ) -> Result<SessionId, Refusal> {
        let session = SessionId::parse(&uuid("sess", self.fresh())).unwrap();
        self.run(Command::OpenSession {
            agent: Some(agent.clone()),
            by: pat.map_or(SessionProof::Owner, SessionProof::Pat),
            session: session.clone(),
            client: (Some("test".into()), None),
        })?;
        Ok(session)
    }

    /// The agent in another session.
    pub(crate) fn again(&mut self, who: &Who) -> Who {
        let agent = who.agent.clone();
        let session = self.open(&agent, None).unwrap();
        Who { agent, session }
    }
    /// The agent in a session after it redeemed its [`new_code`].
    pub(crate) fn redeem(&mut self, agent: &AgentId) -> Who {
        let (code, pat) = (secret("another code"), secret("another pat"));
        self.ok(Command::Enroll { code, pat });
        let session = self.open(agent, Some(pat)).unwrap();
        let agent = agent.clone();
        Who { agent, session }
    }

    pub(crate) fn request(&mut self, who: &Who, entries: Vec<Entry>) -> RequestGrants {
        RequestGrants {
            agent: Some(who.agent.clone()),
            session: who.session.clone(),
            entries,
            purpose: None,
            on_approval: OnApproval::Wait,
            extent: Extent::Anything,
            token: TokenId::parse(&uuid("tok", self.fresh())).unwrap(),
            item: PendingId::parse(&uuid("pend", self.fresh())).unwrap(),
        }
    }
    pub(crate) fn decided(&mut self, request: RequestGrants) -> Decision {
        match self.ok(Command::Request(request)) {
            Reply::Decided(decision) => decision,
            other => panic!("a request is decided, not {other:?}"),
        }
    }
    pub(crate) fn ask_for(&mut self, who: &Who, entries: Vec<Entry>) -> Decision {
        let request = self.request(who, entries);
        self.decided(request)
    }
    /// Asks for what pends, and answers with its item.
    pub(crate) fn item(&mut self, who: &Who, entries: Vec<Entry>) -> PendingId {
        self.ask_for(who, entries).item.expect("it pends")
    }
    pub(crate) fn item_state(&self, item: &PendingId) -> ItemState {
        self.state.item(item).expect("an item").state.clone()
    }
    /// Asks for one call, and makes its plan where it needs one.
    pub(crate) fn ask(&mut self, who: &Who, id: &str, input: &Value) -> PendingId {
        let item = self.item(who, vec![entry_with(id, input)]);
        self.plan(&item, id, Verb::Write);
        item
    }
    /// Asks for one call, which the owner approves once.
    pub(crate) fn approved(&mut self, who: &Who, id: &str, input: &Value) -> PendingId {
        let item = self.ask(who, id, input);
        self.approve(&item, ONCE).expect("it is approved");
        item
    }
    /// Makes the plan of an item, where it waits for one.
    pub(crate) fn plan(&mut self, item: &PendingId, id: &str, rating: Verb) {
        let command = Command::PlanReady {
            item: item.clone(),
            capability: cap(id),
            preview: secret("preview"),
            state_token: secret("world"),
            rating,
            once: false,
        };
        if !declared(id).0.is_read() {
            self.ok(command);
        }
    }
    pub(crate) fn token(&mut self, who: &Who, entries: Vec<Entry>) -> TokenId {
        let request = self.request(who, entries);
        let token = request.token.clone();
        let decision = self.decided(request);
        assert!(decision.token_expires_at.is_some(), "{decision:?}");
        token
    }

    pub(crate) fn approval(&self, item: &PendingId, window: Option<TrustWindow>) -> Approve {
        Approve {
            item: item.clone(),
            revision: self.state.item(item).map_or(0, |i| i.revision),
            card: secret("card"),
            window,
            constraint: None,
            any_input: false,
            turns: None,
            minutes: None,
        }
    }
    pub(crate) fn approve(
        &mut self,
        item: &PendingId,
        window: Option<TrustWindow>,
    ) -> Result<Reply, Refusal> {
        let approval = self.approval(item, window);
        self.run(Command::Approve(approval))
    }

    /// An item that nobody can approve any more.
    #[track_caller]
    pub(crate) fn gone(&mut self, item: &PendingId) {
        assert_eq!(self.approve(item, ONCE).unwrap_err(), Refusal::NoSuchItem);
    }

    pub(crate) fn through(
        &self,
        who: &AgentId,
        path: AuthPath<'_>,
        id: &str,
        input: &Value,
    ) -> Verdict {
        self.through_as(who, path, id, input, digest(input))
    }
    pub(crate) fn through_as(
        &self,
        who: &AgentId,
        path: AuthPath<'_>,
        id: &str,
        input: &Value,
        digest: Digest,
    ) -> Verdict {
        let capability = cap(id);
        let call = Call {
            agent: who,
            capability: &capability,
            input,
            digest,
        };
        authorize(&self.state, call, path, self.now)
    }
    pub(crate) fn call(&self, who: &Who, id: &str, input: &Value) -> Verdict {
        self.through(&who.agent, AuthPath::Session(&who.session), id, input)
    }
    /// Why the agent may not call it.
    pub(crate) fn refusal(&self, who: &Who, id: &str) -> Refusal {
        refused(self.call(who, id, &json!({})))
    }
    pub(crate) fn by_token(&self, who: &Who, token: &TokenId, id: &str) -> Verdict {
        self.through(&who.agent, AuthPath::Token(token), id, &json!({}))
    }
    /// The call that an approval has the gateway make.
    pub(crate) fn by_gateway(
        &self,
        who: &Who,
        item: &PendingId,
        id: &str,
        input: &Value,
    ) -> Verdict {
        self.through(&who.agent, AuthPath::Approved(item), id, input)
    }
    pub(crate) fn permit(&self, who: &Who, id: &str, input: &Value) -> Permit {
        granted(self.call(who, id, input))
    }
    pub(crate) fn allowed(&self, who: &Who, id: &str, input: &Value) -> bool {
        matches!(self.call(who, id, input), Verdict::Permit(_))
    }
    pub(crate) fn pends(&self, who: &Who, id: &str, input: &Value) -> bool {
        matches!(self.call(who, id, input), Verdict::Pend { .. })
    }

    pub(crate) fn read(&mut self, permit: Permit) -> Result<Reply, Refusal> {
        self.run(Command::Read {
            permit,
            outcome: outcome(OutcomeKind::Ok),
        })
    }
    /// Records an intent; answers with its event.
    pub(crate) fn begin(&mut self, permit: Permit) -> Result<AuditId, Refusal> {
        self.begin_keyed(permit, None)
    }
    /// Records an intent that reserves an idempotency key; answers with its event.
    pub(crate) fn begin_keyed(
        &mut self,
        permit: Permit,
        key: Option<Digest>,
    ) -> Result<AuditId, Refusal> {
        self.run(Command::Intent {
            permit,
            input_bytes: 2,
            about: Vec::new(),
            key,
        })?;
        Ok(self.last_call().expect("an intent"))
    }
    /// A permit for a further turn of an item's conversation.
    pub(crate) fn turn(&self, who: &Who, item: &PendingId, input: &Value) -> Verdict {
        self.through(&who.agent, AuthPath::Bounded(item), RUN, input)
    }
    /// Records the intent of a turn that a message is.
    pub(crate) fn say(&mut self, permit: Permit, message: &str) -> Result<AuditId, Refusal> {
        self.begin_keyed(permit, Some(secret(message)))
    }
    pub(crate) fn end(&mut self, intent: &AuditId, kind: OutcomeKind) {
        self.ok(Command::Outcome {
            intent: intent.clone(),
            outcome: outcome(kind),
        });
    }
}

pub(crate) fn granted(verdict: Verdict) -> Permit {
    match verdict {
        Verdict::Permit(permit) => *permit,
        other => panic!("expected a permit, got {other:?}"),
    }
}
pub(crate) fn refused(verdict: Verdict) -> Refusal {
    match verdict {
        Verdict::Refuse(refusal) => refusal,
        other => panic!("expected a refusal, got {other:?}"),
    }
}
