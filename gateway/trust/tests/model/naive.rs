//! What is allowed, said again and as plainly as possible: lists of yes and no, and a walk through them.
//!
//! Knows the commands and the manifests of the test's world; shares no rule with the machine.

use crate::support::{
    DAY, EDIT, EXT_READ, EXT_WRITE, HOUR, MINUTE, READ, RUN, SEARCH, SEND, TURNS, WRITE,
    history::{INPUTS, Limit},
    player::Step,
};
use plexus_protocol::{
    AgentId, AuditId, Constraint, Digest, Effect, PendingId, SessionId, SourceId, Timestamp,
    TokenId, TrustWindow, Verbs,
};
use plexus_trust::{
    Approve, Basis, Command, Connect, Decision, GrantEntry, OnApproval, OutcomeKind, Reach,
    Refusal, Reply, RequestGrants, SessionProof, SourceSeen,
};

#[path = "asks.rs"]
mod asks;
#[path = "follow.rs"]
mod follow;

type Cap = String;
/// A denial: whose call of what with which input was denied when, by which request.
type No = (AgentId, Cap, Digest, u64, PendingId);

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

/// The window of a class, as a wish for more is cut to.
fn default_window(id: &str) -> TrustWindow {
    match class(id) {
        Class::Skill | Class::OnlyOnce => TrustWindow::Once,
        Class::Read { default_ms: DAY } | Class::StandingWrite => TrustWindow::DAY,
        Class::Read { .. } => TrustWindow::WEEK,
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
    /// Of a call that was used: it is over, or its agent is forgotten.
    ended: bool,
    /// Of a call that was approved with a standing yes: which one counts it.
    counts: Option<usize>,
    /// Of a call that a standing yes answered: which one.
    covered_by: Option<usize>,
}

impl Yes {
    /// One that nothing has used or ended.
    fn new(
        agent: &AgentId,
        cap: &str,
        what: What,
        read_only: bool,
        limit: Option<Limit>,
        until: u64,
    ) -> Self {
        Self {
            agent: agent.clone(),
            cap: cap.to_owned(),
            what,
            read_only,
            limit,
            until,
            used: 0,
            dead: false,
            rests: false,
            ended: false,
            counts: None,
            covered_by: None,
        }
    }
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
    /// The turns of a conversation, which the item's one call opens.
    Turns {
        item: PendingId,
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
    /// A further turn of what an item permits.
    Turn(&'a PendingId),
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
    no: Vec<No>,
    unknown: Vec<(AgentId, Cap, Digest, AuditId)>,
    begun: Vec<(AgentId, Cap, Digest, AuditId)>,
    /// By which yes each call began, and in which life of its agent.
    begun_by: Vec<(AuditId, usize, u32)>,
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
    fn covered(&self, yes: &Yes, t: u64) -> bool {
        yes.covered_by.is_none_or(|n| {
            let mut all = self.yes.iter();
            let other = all.any(|y| {
                (&y.agent, &y.cap, &y.what) == (&yes.agent, &yes.cap, &What::Standing)
                    && y.limit.is_none()
                    && self.good(y, t)
            });
            other || self.good(&self.yes[n], t)
        })
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
    /// Whether what stands for a capability is suspended; `None`: nothing does.
    pub(crate) fn rests(&self, agent: &AgentId, cap: &str) -> Option<bool> {
        let mut all = self.yes.iter().rev();
        let found =
            all.find(|y| &y.agent == agent && y.cap == cap && y.what == What::Standing && !y.dead);
        found.map(|y| y.rests)
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
    /// Denied after the conversation of `y` began.
    fn denied_in(&self, y: &Yes, agent: &AgentId, cap: &str, input: Digest, t: u64) -> bool {
        let began = y.until.saturating_sub(u64::from(TURNS.minutes) * MINUTE);
        let mut no = self.no.iter();
        no.any(|n| (&n.0, &*n.1, n.2) == (agent, cap, input) && n.3 > began && t < n.3 + 30 * DAY)
    }
    fn blocked(&self, agent: &AgentId, cap: &str, input: Digest) -> bool {
        self.unknown
            .iter()
            .any(|u| &u.0 == agent && u.1 == cap && u.2 == input)
    }

    /// Whether the gateway is to make this effect by itself, or is making it.
    fn run(&self, agent: &AgentId, cap: &str, input: Digest, t: u64) -> bool {
        let effect = !matches!(class(cap), Class::Read { .. });
        let runs = |y: &Yes| {
            matches!(&y.what, What::Call { input: Some(i), gateway: true, .. } if *i == input)
                && &y.agent == agent
                && y.cap == cap
                && t < y.until
                && if y.used > 0 { !y.ended } else { !y.dead }
        };
        effect && self.yes.iter().any(runs)
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
            By::Gateway(_) | By::Turn(_) => true,
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
            || (!matches!(by, By::Turn(_)) && self.denied(agent, cap, name, t))
            || (matches!(by, By::Session(_) | By::Token(_)) && self.run(agent, cap, name, t))
        {
            return vec![];
        }
        let all = self.yes.iter().enumerate();
        let good = all.filter(|(_, y)| {
            let fits = match (&y.what, by) {
                (What::Standing, By::Gateway(_) | By::Turn(_)) => false,
                (What::Turns { item }, By::Turn(id)) => {
                    item == id
                        && y.used < TURNS.turns
                        && !self.speaks(item)
                        && !self.denied_in(y, agent, cap, name, t)
                }
                (What::Turns { .. }, _) => false,
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
                        By::Turn(_) => false,
                    };
                    door && input.is_none_or(|i| i == name) && y.used == 0
                }
            };
            let limit = if y.what == What::Standing {
                self.good(y, t)
            } else {
                !y.dead && t < y.until && self.covered(y, t)
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
                    (Basis::Item(id), What::Call { item, .. })
                    | (Basis::Bounded(id), What::Turns { item }) => id == item,
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
    /// Whether a call of this item has begun and has not ended.
    fn speaks(&self, item: &PendingId) -> bool {
        let open = |b: &(AgentId, Cap, Digest, AuditId)| {
            let by = self.begun_by.iter().find(|by| by.0 == b.3).unwrap().1;
            match &self.yes[by].what {
                What::Call { item: of, .. } | What::Turns { item: of } => of == item,
                What::Standing => false,
            }
        };
        self.begun.iter().any(open)
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
        let turn = matches!(yes.what, What::Turns { .. });
        let unused = match &yes.what {
            What::Standing => self.good(yes, t),
            What::Turns { item } => {
                !yes.dead
                    && t < yes.until
                    && yes.used < TURNS.turns
                    && !self.speaks(item)
                    && !self.denied_in(yes, &stood.agent, &stood.cap, stood.input, t)
            }
            What::Call { .. } => {
                !yes.dead && t < yes.until && yes.used == 0 && self.covered(yes, t)
            }
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
            && (turn || !self.denied(agent, &stood.cap, stood.input, t))
            && (stood.session.is_none() || !self.run(agent, &stood.cap, stood.input, t))
    }
}
