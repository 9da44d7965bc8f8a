//! What is allowed, said again and as plainly as possible: lists of yes and no, and a walk through them.
//!
//! Knows the commands and the manifests of the test's world; shares no rule with the machine.

use crate::support::{
    DAY, EDIT, EXT_READ, EXT_WRITE, HOUR, MINUTE, READ, RUN, SEARCH, SEND, WRITE,
    history::{INPUTS, Limit, Step},
};
use plexus_protocol::{
    AgentId, AuditId, Constraint, Digest, PendingId, SessionId, Timestamp, TokenId, TrustWindow,
    Verbs,
};
use plexus_trust::{
    Approve, Basis, Command, Connect, Decision, GrantEntry, OnApproval, OutcomeKind, Reach,
    Refusal, Reply, RequestGrants, SourceSeen,
};

type Cap = String;

/// How a capability of the test's world may be held.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Class {
    Skill,
    Read { default_ms: u64 },
    StandingWrite,
    OnlyOnce,
}

pub(crate) fn class(id: &str) -> Class {
    match id {
        READ | SEARCH => Class::Read {
            default_ms: 7 * DAY,
        },
        EXT_READ => Class::Read { default_ms: DAY },
        WRITE | EDIT => Class::StandingWrite,
        RUN | SEND | EXT_WRITE => Class::OnlyOnce,
        _ => Class::Skill,
    }
}

fn needs(id: &str) -> &'static [&'static str] {
    match id {
        READ | SEARCH | EXT_READ => &["read"],
        WRITE | SEND | EXT_WRITE => &["write"],
        EDIT => &["read", "write"],
        RUN => &["execute"],
        _ => &[],
    }
}

/// Whether permission to read alone is all that a call needs, part of it, or nothing of it.
fn enough(id: &str, read_only: bool) -> bool {
    !read_only || needs(id) == ["read"]
}
fn nothing_of_it(id: &str, read_only: bool) -> bool {
    read_only && !needs(id).contains(&"read")
}

fn limit(constraint: Option<&Constraint>) -> Option<Limit> {
    let wanted = constraint?;
    Limit::ALL.into_iter().find(|l| l.constraint() == *wanted)
}

/// Which inputs of the test's world a limit lets through.
fn lets(limit: Option<Limit>, input: usize) -> bool {
    match limit {
        None | Some(Limit::Nothing | Limit::One | Limit::Two) => true,
        Some(Limit::Everywhere) => [0, 1, 2].contains(&input),
        Some(Limit::A) => [0, 1].contains(&input),
        Some(Limit::AB) => input == 1,
    }
}

/// Whether `mine` is `theirs` or tighter.
fn tighter(mine: Limit, theirs: Limit) -> bool {
    use Limit::{A, AB, Everywhere, One, Two};
    mine == theirs || matches!((mine, theirs), (AB, A) | (AB | A, Everywhere) | (One, Two))
}

fn most(limit: Option<Limit>) -> u32 {
    match limit {
        Some(Limit::One) => 1,
        Some(Limit::Two) => 2,
        _ => u32::MAX,
    }
}

fn length(window: TrustWindow) -> u64 {
    match window.kind() {
        "once" => 0,
        "1h" => HOUR,
        "1d" => DAY,
        "7d" => 7 * DAY,
        "until-revoked" => 36_500 * DAY,
        _ => 20 * MINUTE,
    }
}

/// For how long the owner's choice, or none, lets a capability stand; 0 is once.
fn stands_for(id: &str, chosen: Option<u64>) -> u64 {
    match class(id) {
        Class::Skill | Class::OnlyOnce => 0,
        Class::Read { default_ms } => chosen.unwrap_or(default_ms),
        Class::StandingWrite => chosen.unwrap_or(DAY),
    }
}

/// One yes of the owner.
#[derive(Clone, Debug)]
pub(crate) struct Yes {
    agent: AgentId,
    cap: Cap,
    what: What,
    read_only: bool,
    limit: Option<Limit>,
    until: u64,
    used: u32,
    dead: bool,
    rests: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum What {
    Standing,
    /// One call: which item allowed it, for which input, and whether the gateway makes it.
    Call {
        item: PendingId,
        input: Option<Digest>,
        gateway: bool,
    },
}

#[derive(Clone, Debug)]
struct Session {
    agent: AgentId,
    id: SessionId,
    until: u64,
}

#[derive(Clone, Debug)]
struct Token {
    agent: AgentId,
    id: TokenId,
    session: SessionId,
    scopes: Vec<(Cap, bool, Option<Limit>)>,
    until: u64,
}

#[derive(Clone, Debug, PartialEq)]
struct Ask {
    cap: Cap,
    read_only: bool,
    limit: Option<Limit>,
    wish: Option<TrustWindow>,
    input: Option<Digest>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Plan {
    None,
    Making,
    Made { risen: bool },
    Failed,
}

#[derive(Clone, Debug)]
pub(crate) struct Item {
    agent: AgentId,
    pub(crate) id: PendingId,
    asks: Vec<Ask>,
    plans: Vec<Plan>,
    purpose: Option<String>,
    run: bool,
    until: u64,
    changes: u32,
    waits: bool,
}

#[derive(Clone, Debug)]
struct Member {
    id: AgentId,
    selected_only: bool,
    selected: Vec<Cap>,
    revoked: bool,
    /// Counts what ends every permit of an agent.
    life: u32,
}

#[derive(Clone, Debug)]
struct Place {
    id: String,
    there: bool,
    enabled: bool,
    route: String,
    inode: Option<u64>,
    seen: Option<SourceSeen>,
    /// Counts what ends every permit on a source.
    life: u32,
}

/// The door of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum By<'a> {
    Session(&'a SessionId),
    Token(&'a TokenId),
    Gateway(&'a PendingId),
}

/// What a permit stood on when it was given.
#[derive(Clone, Debug)]
pub(crate) struct Stood {
    yes: usize,
    agent: AgentId,
    cap: Cap,
    input: Digest,
    session: Option<SessionId>,
    token: Option<TokenId>,
    lives: (u32, u32),
}

#[derive(Default)]
pub(crate) struct Model {
    latest: u64,
    paused: bool,
    members: Vec<Member>,
    places: Vec<Place>,
    hidden: Vec<Cap>,
    sessions: Vec<Session>,
    tokens: Vec<Token>,
    yes: Vec<Yes>,
    no: Vec<(AgentId, Cap, Digest, u64)>,
    unknown: Vec<(AgentId, Cap, Digest, AuditId)>,
    begun: Vec<(AgentId, Cap, Digest, AuditId)>,
    pub(crate) items: Vec<Item>,
    lives: u32,
}

fn source_of(cap: &str) -> &str {
    cap.split('.').next().unwrap()
}

impl Model {
    fn time(&self, now: Timestamp) -> u64 {
        self.latest.max(now.0)
    }
    fn member(&self, id: &AgentId) -> Option<&Member> {
        self.members.iter().find(|m| &m.id == id)
    }
    fn fresh_life(&mut self) -> u32 {
        self.lives += 1;
        self.lives
    }
    fn present(&self, cap: &str) -> bool {
        self.places.iter().any(|p| {
            p.id == source_of(cap)
                && p.there
                && p.enabled
                && p.seen
                    .as_ref()
                    .is_some_and(|s| s.capabilities.keys().any(|c| c.as_str() == cap))
        })
    }
    fn good(&self, yes: &Yes, t: u64) -> bool {
        !yes.dead && !yes.rests && t < yes.until && yes.used < most(yes.limit)
    }
    fn standing(&self, agent: &AgentId, cap: &str, t: u64) -> Option<usize> {
        self.yes.iter().position(|y| {
            &y.agent == agent
                && y.cap == cap
                && y.what == What::Standing
                && self.good(y, t)
                && enough(cap, y.read_only)
                && matches!(class(cap), Class::Read { .. } | Class::StandingWrite)
        })
    }
    fn in_view(&self, agent: &AgentId, cap: &str, t: u64) -> bool {
        let Some(member) = self.member(agent) else {
            return false;
        };
        let held = self.yes.iter().any(|y| {
            &y.agent == agent && y.cap == cap && y.what == What::Standing && self.good(y, t)
        });
        self.present(cap)
            && !self.hidden.iter().any(|h| h == cap)
            && (!member.selected_only || member.selected.iter().any(|s| s == cap) || held)
    }
    fn session(&self, agent: &AgentId, id: &SessionId, t: u64) -> bool {
        self.sessions
            .iter()
            .any(|s| &s.agent == agent && &s.id == id && t < s.until)
    }
    fn denied(&self, agent: &AgentId, cap: &str, input: Digest, t: u64) -> bool {
        self.no
            .iter()
            .any(|n| &n.0 == agent && n.1 == cap && n.2 == input && t < n.3 + 30 * DAY)
    }
    fn blocked(&self, agent: &AgentId, cap: &str, input: Digest) -> bool {
        self.unknown
            .iter()
            .any(|u| &u.0 == agent && u.1 == cap && u.2 == input)
    }

    /// The yeses that allow a call; empty is no.
    pub(crate) fn allowing(
        &self,
        agent: &AgentId,
        by: By<'_>,
        cap: &str,
        input: usize,
        now: Timestamp,
    ) -> Vec<usize> {
        let t = self.time(now);
        let name = INPUTS[input].1;
        let mut named = false;
        let open = match by {
            By::Session(session) => self.session(agent, session, t),
            By::Gateway(_) => true,
            By::Token(token) => self.tokens.iter().any(|k| {
                let scope = k.scopes.iter().find(|s| s.0 == cap);
                named = scope.is_some();
                &k.id == token
                    && &k.agent == agent
                    && t < k.until
                    && self.session(agent, &k.session, t)
                    && scope.is_some_and(|s| enough(cap, s.1) && lets(s.2, input))
            }),
        };
        if !open
            || self.member(agent).is_none()
            || self.paused
            || !self.present(cap)
            || self.hidden.iter().any(|h| h == cap)
            || !(self.in_view(agent, cap, t) || named)
            || class(cap) == Class::Skill
            || self.blocked(agent, cap, name)
            || self.denied(agent, cap, name, t)
        {
            return vec![];
        }
        let all = self.yes.iter().enumerate();
        let good = all.filter(|(_, y)| {
            let fits = match (&y.what, by) {
                (What::Standing, By::Gateway(_)) => false,
                (What::Standing, _) => {
                    matches!(class(cap), Class::Read { .. } | Class::StandingWrite)
                }
                (
                    What::Call {
                        item,
                        input,
                        gateway,
                    },
                    by,
                ) => {
                    let door = match by {
                        By::Gateway(id) => *gateway && id == item,
                        By::Session(_) | By::Token(_) => !gateway,
                    };
                    door && input.is_none_or(|i| i == name) && y.used == 0
                }
            };
            let limit = if y.what == What::Standing {
                self.good(y, t)
            } else {
                !y.dead && t < y.until
            };
            fits && limit
                && &y.agent == agent
                && y.cap == cap
                && enough(cap, y.read_only)
                && lets(y.limit, input)
        });
        good.map(|(n, _)| n).collect()
    }

    /// Notes what a fresh permit stands on.
    pub(crate) fn stood(&self, permit: &plexus_trust::Permit) -> Stood {
        let cap = permit.capability.as_str();
        let yes = self.yes.iter().rposition(|y| {
            y.agent == permit.agent
                && y.cap == cap
                && !y.dead
                && match (&permit.basis, &y.what) {
                    (Basis::Grant(_), What::Standing) => true,
                    (Basis::Item(id), What::Call { item, .. }) => id == item,
                    _ => false,
                }
        });
        Stood {
            yes: yes.expect("a permit stands on a yes"),
            agent: permit.agent.clone(),
            cap: cap.to_owned(),
            input: permit.input,
            session: permit.session.clone(),
            token: permit.token.clone(),
            lives: self.lives_of(&permit.agent, cap),
        }
    }
    fn lives_of(&self, agent: &AgentId, cap: &str) -> (u32, u32) {
        let place = self.places.iter().find(|p| p.id == source_of(cap));
        (
            self.member(agent).map_or(0, |m| m.life),
            place.map_or(0, |p| p.life),
        )
    }

    /// Whether a permit that was given earlier may still be used.
    pub(crate) fn still(&self, stood: &Stood, now: Timestamp) -> bool {
        let t = self.time(now);
        let yes = &self.yes[stood.yes];
        let unused = match yes.what {
            What::Standing => self.good(yes, t),
            What::Call { .. } => !yes.dead && t < yes.until && yes.used == 0,
        };
        let agent = &stood.agent;
        unused
            && !self.paused
            && self.present(&stood.cap)
            && !self.hidden.contains(&stood.cap)
            && self.lives_of(agent, &stood.cap) == stood.lives
            && stood
                .session
                .as_ref()
                .is_none_or(|s| self.session(agent, s, t))
            && stood
                .token
                .as_ref()
                .is_none_or(|id| self.tokens.iter().any(|k| &k.id == id && t < k.until))
            && !self.blocked(agent, &stood.cap, stood.input)
            && !self.denied(agent, &stood.cap, stood.input, t)
    }

    /// Follows a command that was carried out, or explains one that was refused.
    pub(crate) fn follow(&mut self, step: &Step, last: &AuditId, stood: Option<&Stood>) {
        let t = self.time(step.now);
        let done = step.result.is_ok();
        match &step.command {
            Command::Request(r) => self.request(r, &step.result, t),
            Command::Approve(a) => self.approve(a, &step.result, t),
            Command::Refresh {
                agent,
                token,
                session,
                fresh,
            } => {
                self.refresh((agent, token, session, fresh), done, t);
            }
            Command::Read { .. } | Command::Intent { .. } => {
                let stood = stood.expect("a permit was used");
                assert!(!done || self.still(stood, step.now), "used: {stood:?}");
                if done {
                    self.yes[stood.yes].used += 1;
                }
                if done && matches!(step.command, Command::Intent { .. }) {
                    let Stood {
                        agent, cap, input, ..
                    } = stood.clone();
                    self.begun.push((agent, cap, input, last.clone()));
                }
            }
            other if done => self.simple(other, t),
            _ => {}
        }
        if !step.events.is_empty() {
            self.latest = t;
        }
    }

    fn simple(&mut self, command: &Command, t: u64) {
        match command {
            Command::Connect(c) => self.connect(c, t),
            Command::OpenSession { agent, session, .. } => {
                let agent = agent.clone().expect("histories name the agent");
                if self.member(&agent).is_none() {
                    let life = self.fresh_life();
                    self.members.push(Member {
                        id: agent.clone(),
                        selected_only: true,
                        selected: vec![],
                        revoked: false,
                        life,
                    });
                }
                let (id, until) = (session.clone(), t + HOUR);
                self.sessions.push(Session { agent, id, until });
            }
            Command::RevokeAgent { agent, delete, .. } => {
                self.end_credentials(agent);
                self.end(|y| &y.agent == agent);
                self.end_items(|i| &i.agent == agent);
                for m in self.members.iter_mut().filter(|m| &m.id == agent) {
                    m.revoked = true;
                }
                if *delete {
                    self.members.retain(|m| &m.id != agent);
                    self.no.retain(|n| &n.0 != agent);
                    self.unknown.retain(|u| &u.0 != agent);
                }
            }
            Command::RotateKey => {
                let all: Vec<AgentId> = self.members.iter().map(|m| m.id.clone()).collect();
                for agent in all {
                    self.end_credentials(&agent);
                }
                self.end_items(|_| true);
            }
            Command::Deny { item, .. } => {
                let item = self.items.iter_mut().find(|i| &i.id == item).unwrap();
                assert!(item.waits && t < item.until);
                item.waits = false;
                for ask in &item.asks {
                    if let Some(input) = ask.input {
                        let no = (item.agent.clone(), ask.cap.clone(), input, t);
                        self.no
                            .retain(|n| (&n.0, &n.1, n.2) != (&no.0, &no.1, no.2));
                        self.no.push(no);
                    }
                }
            }
            Command::Withdraw { agent, item } => {
                let own = self
                    .items
                    .iter()
                    .any(|i| &i.id == item && &i.agent == agent);
                assert!(own, "only its own");
                self.end_items(|i| &i.id == item);
            }
            Command::Grant { agent, entries } => self.grant(agent, entries, t),
            Command::RevokeGrant {
                agent, capability, ..
            } => {
                let cap = capability.as_str();
                self.end(|y| &y.agent == agent && y.cap == cap && y.what == What::Standing);
                self.tokens.retain(|k| &k.agent != agent);
                self.end_items(|i| &i.agent == agent && i.asks.iter().any(|a| a.cap == cap));
            }
            Command::RevokeToken { token, .. } => self.tokens.retain(|k| &k.id != token),
            Command::Expose {
                capability,
                enabled,
            } => {
                self.hidden.retain(|h| h != capability.as_str());
                if !enabled {
                    self.hidden.push(capability.to_string());
                }
            }
            Command::Pause(on) => self.paused = *on,
            Command::PlanReady {
                item,
                capability,
                rating,
                ..
            } => {
                let risen = rating.as_str() == "execute";
                self.planned(item, Some(capability.as_str()), Plan::Made { risen });
            }
            Command::PlanFailed { item, capability } => {
                self.planned(item, Some(capability.as_str()), Plan::Failed);
            }
            Command::PlanAgain { item } => self.planned(item, None, Plan::Making),
            Command::PutSource { id, config } => {
                let route = config.route.to_string();
                match self.places.iter().position(|p| p.id == id.as_str()) {
                    Some(n) if self.places[n].there => {
                        let moved = self.places[n].route != route;
                        self.places[n].enabled = config.enabled;
                        self.places[n].route = route;
                        if moved {
                            self.places[n].inode = None;
                            self.moved(id.as_str());
                        }
                    }
                    held => {
                        let life = self.fresh_life();
                        let place = Place {
                            id: id.to_string(),
                            there: true,
                            enabled: config.enabled,
                            route,
                            inode: None,
                            seen: None,
                            life,
                        };
                        match held {
                            Some(n) => self.places[n] = place,
                            None => self.places.push(place),
                        }
                    }
                }
            }
            Command::RemoveSource { id } => {
                self.moved(id.as_str());
                for p in self.places.iter_mut().filter(|p| p.id == id.as_str()) {
                    p.there = false;
                }
            }
            Command::SourceSeen(seen) => self.seen(seen),
            Command::ResumeSource { id } => {
                let mine = self
                    .yes
                    .iter_mut()
                    .filter(|y| source_of(&y.cap) == id.as_str());
                mine.for_each(|y| y.rests = false);
            }
            Command::Launch => {
                self.sessions.clear();
                self.tokens.clear();
                self.unknown.extend(self.begun.iter().cloned());
                for item in self.items.iter_mut().filter(|i| i.waits) {
                    if item.plans.iter().any(|p| *p != Plan::None) {
                        item.changes += 1;
                    }
                    let plans = item.plans.iter_mut().filter(|p| **p != Plan::None);
                    plans.for_each(|p| *p = Plan::Making);
                }
            }
            Command::Outcome { intent, outcome } => {
                let n = self.begun.iter().position(|b| &b.3 == intent);
                let begun = self.begun.remove(n.expect("it was begun"));
                self.unknown.retain(|u| &u.3 != intent);
                if outcome.kind == OutcomeKind::Unknown && self.member(&begun.0).is_some() {
                    self.unknown.push(begun);
                }
            }
            Command::SettleUnknown { agent, intent, .. } => {
                let mine = |u: &(AgentId, Cap, Digest, AuditId)| &u.0 == agent && &u.3 == intent;
                assert!(self.unknown.iter().any(mine));
                self.unknown.retain(|u| !mine(u));
                self.begun.retain(|b| &b.3 != intent);
            }
            _ => {}
        }
    }

    fn end(&mut self, which: impl Fn(&Yes) -> bool) {
        for yes in self.yes.iter_mut().filter(|y| which(y)) {
            yes.dead = true;
        }
    }
    fn end_items(&mut self, which: impl Fn(&Item) -> bool) {
        let mut ended = vec![];
        for item in self.items.iter_mut().filter(|i| which(i)) {
            item.waits = false;
            ended.push(item.id.clone());
        }
        self.end(|y| matches!(&y.what, What::Call { item, .. } if ended.contains(item)));
    }
    fn end_credentials(&mut self, agent: &AgentId) {
        self.sessions.retain(|s| &s.agent != agent);
        self.tokens.retain(|k| &k.agent != agent);
        let life = self.fresh_life();
        for m in self.members.iter_mut().filter(|m| &m.id == agent) {
            m.life = life;
        }
    }
    fn moved(&mut self, source: &str) {
        self.end(|y| source_of(&y.cap) == source);
        self.end_items(|i| i.asks.iter().any(|a| source_of(&a.cap) == source));
        let names = |k: &Token| k.scopes.iter().any(|s| source_of(&s.0) == source);
        self.tokens.retain(|k| !names(k));
        let life = self.fresh_life();
        for p in self.places.iter_mut().filter(|p| p.id == source) {
            p.life = life;
        }
    }

    fn seen(&mut self, seen: &SourceSeen) {
        let id = seen.id.as_str();
        let n = self
            .places
            .iter()
            .position(|p| p.id == id && p.there)
            .unwrap();
        let inode = seen.target.as_ref().map(|t| t.inode);
        let was = self.places[n].seen.replace(seen.clone());
        let before = self.places[n].inode;
        self.places[n].inode = inode.or(before);
        if before.is_some() && inode.is_some() && before != inode {
            self.moved(id);
        }
        let Some(was) = was else { return };
        // A profile that was replaced with the source's route is no change to what was granted: nothing was.
        let profile = was.profile != seen.profile;
        let differs = |cap: &str| {
            let of = |s: &SourceSeen| {
                let found = s.capabilities.iter().find(|(c, _)| c.as_str() == cap);
                found.map(|(_, facts)| facts.shape)
            };
            source_of(cap) == id && (profile || (of(&was).is_some() && of(&was) != of(seen)))
        };
        let any = crate::support::ALL.iter().any(|cap| differs(cap));
        if any {
            for yes in self.yes.iter_mut() {
                yes.rests |= yes.what == What::Standing && differs(&yes.cap);
            }
            self.end_items(|i| i.asks.iter().any(|a| differs(&a.cap)));
            self.places[n].life = self.fresh_life();
        }
    }

    fn stand(
        &mut self,
        agent: &AgentId,
        cap: &str,
        read_only: bool,
        limit: Option<Limit>,
        until: u64,
    ) {
        self.end(|y| &y.agent == agent && y.cap == cap && y.what == What::Standing);
        self.no.retain(|n| !(&n.0 == agent && n.1 == cap));
        self.yes.push(Yes {
            agent: agent.clone(),
            cap: cap.to_owned(),
            what: What::Standing,
            read_only,
            limit,
            until,
            used: 0,
            dead: false,
            rests: false,
        });
    }

    fn connect(&mut self, c: &Connect, t: u64) {
        self.end_credentials(&c.agent);
        self.end(|y| y.agent == c.agent);
        self.end_items(|i| i.agent == c.agent);
        self.members.retain(|m| m.id != c.agent);
        let life = self.fresh_life();
        self.members.push(Member {
            id: c.agent.clone(),
            selected_only: c.reach == Some(Reach::Selected),
            selected: c.capabilities.iter().map(ToString::to_string).collect(),
            revoked: false,
            life,
        });
        for id in &c.capabilities {
            let ms = stands_for(id.as_str(), c.window.map(length));
            let read = matches!(class(id.as_str()), Class::Read { .. });
            if ms > 0 && (read || c.standing.contains(id)) {
                self.stand(
                    &c.agent,
                    id.as_str(),
                    false,
                    limit(c.constraint.as_ref()),
                    t + ms,
                );
            }
        }
    }

    fn grant(&mut self, agent: &AgentId, entries: &[GrantEntry], t: u64) {
        for e in entries {
            let ms = stands_for(e.capability.as_str(), e.window.map(length));
            if ms > 0 {
                let read_only = e.verbs == Some(Verbs::READ);
                let limit = limit(e.constraint.as_ref());
                self.stand(agent, e.capability.as_str(), read_only, limit, t + ms);
                let m = self.members.iter_mut().find(|m| &m.id == agent).unwrap();
                m.selected.push(e.capability.to_string());
            }
        }
    }

    fn planned(&mut self, item: &PendingId, cap: Option<&str>, plan: Plan) {
        let item = self.items.iter_mut().find(|i| &i.id == item).unwrap();
        assert!(item.waits);
        item.changes += 1;
        for (ask, slot) in item.asks.iter().zip(&mut item.plans) {
            if *slot != Plan::None && cap.is_none_or(|c| c == ask.cap) {
                *slot = plan;
            }
        }
    }

    fn request(&mut self, r: &RequestGrants, result: &Result<Reply, Refusal>, t: u64) {
        let agent = r.agent.clone().unwrap();
        if !self.session(&agent, &r.session, t) {
            assert_eq!(result.as_ref().unwrap_err(), &Refusal::SessionExpired);
            return;
        }
        let (mut asks, mut scopes, mut unknown, mut denied) = (vec![], vec![], 0, 0);
        let (mut until, mut wrong) = (t + 15 * MINUTE, false);
        for (n, e) in r.entries.iter().enumerate() {
            let (cap, input) = (e.id.as_str(), e.input.map(|(d, _)| d));
            wrong |= r.entries[..n].iter().any(|before| before.id == e.id);
            if !self.in_view(&agent, cap, t) {
                unknown += 1;
                continue;
            }
            let read_only = e.verbs == Some(Verbs::READ);
            if class(cap) == Class::Skill {
                denied += 1;
                continue;
            }
            wrong |= nothing_of_it(cap, read_only);
            if input.is_some_and(|i| self.blocked(&agent, cap, i) || self.denied(&agent, cap, i, t))
            {
                denied += 1;
                continue;
            }
            let asked = limit(e.constraint.as_ref());
            let narrow = asked.filter(|l| *l != Limit::Nothing);
            let wished = e.wish.filter(|w| *w != TrustWindow::Once);
            let end = wished.map_or(u64::MAX, |w| t + length(w));
            let held = self.standing(&agent, cap, t).map(|n| &self.yes[n]);
            let held = held.filter(|y| match (asked, y.limit) {
                (None, _) | (_, None) => true,
                (Some(asked), Some(held)) => tighter(asked, held),
            });
            if let Some(yes) = held {
                scopes.push((cap.to_owned(), false, narrow.or(yes.limit)));
                until = until.min(yes.until).min(end);
                continue;
            }
            let one = self
                .items
                .iter()
                .filter(|_| r.on_approval == OnApproval::Wait);
            let one = one.flat_map(|i| {
                self.yes.iter().filter(move |y| {
                    matches!(&y.what, What::Call { item, gateway: false, .. } if *item == i.id)
                })
            });
            let one: Vec<&Yes> = one
                .filter(|y| {
                    let What::Call { input: bound, .. } = &y.what else {
                        return false;
                    };
                    y.agent == agent
                        && y.cap == cap
                        && !y.dead
                        && y.used == 0
                        && t < y.until
                        && enough(cap, y.read_only)
                        && (bound.is_none() || input.is_none() || *bound == input)
                })
                .collect();
            if !one.is_empty() {
                // Any of them will do; the machine may choose another than we, so scopes and end are read from it.
                scopes.push((cap.to_owned(), false, None));
                continue;
            }
            asks.push(Ask {
                cap: cap.to_owned(),
                read_only: read_only && needs(cap) != ["read"],
                limit: narrow,
                wish: e.wish,
                input,
            });
        }
        let waiting = |i: &&Item| i.agent == agent && i.waits && t < i.until;
        let twin = self.items.iter().filter(waiting).find(|i| {
            i.purpose == r.purpose
                && i.run == (r.on_approval == OnApproval::Run)
                && i.asks.len() == asks.len()
                && asks.iter().all(|a| i.asks.contains(a))
        });
        let twin = twin.map(|i| i.id.clone());
        let crowded = self.items.iter().filter(waiting).count() >= 20;
        if wrong {
            assert!(matches!(result, Err(Refusal::Invalid(_))), "{result:?}");
            return;
        }
        if !asks.is_empty() && twin.is_none() && crowded {
            assert_eq!(result.as_ref().unwrap_err(), &Refusal::TooManyPending);
            return;
        }
        let Ok(Reply::Decided(decision)) = result else {
            panic!("expected a decision, got {result:?}");
        };
        let Decision { item, joined, .. } = decision;
        assert_eq!(
            (decision.unknown.len(), decision.denied.len()),
            (unknown, denied)
        );
        assert_eq!(decision.scopes.len(), scopes.len(), "{decision:?}");
        assert_eq!(item.is_some(), !asks.is_empty());
        assert_eq!(*joined, twin.is_some() && !asks.is_empty());
        if *joined {
            assert_eq!(*item, twin);
        } else if let Some(id) = item {
            let plans = asks.iter().map(|a| {
                let reads = matches!(class(&a.cap), Class::Read { .. });
                if a.input.is_some() && !reads {
                    Plan::Making
                } else {
                    Plan::None
                }
            });
            self.items.push(Item {
                agent: agent.clone(),
                id: id.clone(),
                plans: plans.collect(),
                asks,
                purpose: r.purpose.clone(),
                run: r.on_approval == OnApproval::Run,
                until: t + DAY,
                changes: 0,
                waits: true,
            });
        }
        if let Some(end) = decision.token_expires_at {
            assert!(end.0 <= until, "a token outlives what it stands on");
            for (scope, said) in scopes.iter_mut().zip(&decision.scopes) {
                assert_eq!(scope.0, said.id.as_str());
                scope.2 = limit(said.constraint.as_ref());
            }
            self.tokens.push(Token {
                agent,
                id: r.token.clone(),
                session: r.session.clone(),
                scopes,
                until: end.0,
            });
        }
    }

    fn approve(&mut self, a: &Approve, result: &Result<Reply, Refusal>, t: u64) {
        let Some(n) = self.items.iter().position(|i| i.id == a.item) else {
            assert!(result.is_err());
            return;
        };
        let item = self.items[n].clone();
        let known = self.member(&item.agent).is_some_and(|m| !m.revoked);
        let ready = |p: &Plan| matches!(p, Plan::None | Plan::Made { .. });
        let owners = limit(a.constraint.as_ref());
        let mut good = item.waits
            && t < item.until
            && known
            && a.revision == item.changes
            && item.plans.iter().all(ready)
            && owners != Some(Limit::Nothing)
            && item.asks.iter().all(|ask| self.present(&ask.cap));
        let mut news = vec![];
        for (ask, plan) in item.asks.iter().zip(&item.plans) {
            let default = stands_for(&ask.cap, None);
            let wish = ask.wish.map(length).filter(|ms| *ms <= default);
            let chosen = a.window.map(length).or(wish);
            let risen = *plan == Plan::Made { risen: true };
            let ms = if risen {
                0
            } else {
                stands_for(&ask.cap, chosen)
            };
            good &= match (owners, ask.limit) {
                (Some(mine), Some(theirs)) => tighter(mine, theirs),
                _ => true,
            };
            good &= ms > 0 || ask.input.is_some() || a.any_input;
            news.push((ask.clone(), owners.or(ask.limit), ms));
        }
        assert_eq!(result.is_ok(), good, "{item:?} {a:?} {result:?}");
        if !good {
            return;
        }
        self.items[n].waits = false;
        for (ask, limit, ms) in news {
            let gateway = item.run && ask.input.is_some();
            if ms > 0 {
                self.stand(&item.agent, &ask.cap, ask.read_only, limit, t + ms);
            }
            if ms == 0 || gateway {
                let mine = |n: &(AgentId, Cap, Digest, u64)| {
                    n.0 == item.agent && n.1 == ask.cap && ask.input.is_none_or(|i| i == n.2)
                };
                self.no.retain(|n| !mine(n));
                self.yes.push(Yes {
                    agent: item.agent.clone(),
                    cap: ask.cap,
                    what: What::Call {
                        item: item.id.clone(),
                        input: ask.input,
                        gateway,
                    },
                    read_only: ask.read_only,
                    limit,
                    until: t + DAY,
                    used: 0,
                    dead: false,
                    rests: false,
                });
            }
        }
    }

    fn refresh(
        &mut self,
        (agent, token, session, fresh): (&AgentId, &TokenId, &SessionId, &TokenId),
        done: bool,
        t: u64,
    ) {
        let found = self
            .tokens
            .iter()
            .position(|k| &k.id == token && &k.agent == agent);
        let mut scopes = vec![];
        let mut until = t + 15 * MINUTE;
        if let Some(n) = found {
            for (cap, _, mine) in &self.tokens[n].scopes {
                if let Some(y) = self.standing(agent, cap, t).filter(|_| self.present(cap)) {
                    let theirs = self.yes[y].limit;
                    let kept = match (mine, theirs) {
                        (Some(mine), Some(held)) if tighter(*mine, held) => Some(*mine),
                        (Some(mine), None) => Some(*mine),
                        _ => theirs,
                    };
                    until = until.min(self.yes[y].until);
                    scopes.push((cap.clone(), false, kept));
                }
            }
        }
        let in_time = found.is_some_and(|n| t < self.tokens[n].until + 5 * MINUTE);
        let good = self.session(agent, session, t) && in_time && !scopes.is_empty();
        assert_eq!(done, good, "refresh of {token} for {agent} in {session}");
        if let Some(n) = found.filter(|_| good) {
            self.tokens.remove(n);
            self.tokens.push(Token {
                agent: agent.clone(),
                id: fresh.clone(),
                session: session.clone(),
                scopes,
                until,
            });
        }
    }
}
