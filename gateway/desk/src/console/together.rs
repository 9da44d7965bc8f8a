//! Requests that are decided as a set: those of one agent for one capability, with the same members of the input and the
//! same kind of effect.
//!
//! ```text
//! list ─the set of a request─▶ page: a first line and a digest for each ─▶ decision ─▶ each against its own card
//! ```
//! Invariants: a set never mixes agents or capabilities; what asks each time, needs a choice or has a warning is decided
//! alone; a request whose card is not the one that was listed is refused, by name, and the others are decided. The page
//! does not change by itself: what comes later joins no set that is being looked at.
//!
//! Must not know: how a decision is carried out, which is `owner::approvals`'.

use super::{card::Moment, foreign::ForeignText, glance, gone, links, sent, shell, words};
use crate::{
    acting::Narrowing,
    acts::{Named, blocking},
    cards,
    desk::Desk,
    owner::{activity, approvals},
};
use askama::Template;
use axum::{
    Extension,
    extract::{Request, State},
    response::Response,
};
use plexus_edge::{
    reply::{self, Refused},
    sessions::Visitor,
};
use plexus_owner::pending::{
    self, Action, Ask, Decide, Form, GrantCard, Heading, OnApproval, Plan,
};
use plexus_protocol::{
    AgentId, CapabilityId, Constraint, Digest, ErrorCode, PendingId, Timestamp, TrustWindow, Verb,
    Verbs,
};
use plexus_sources::catalogue::Catalogue;
use plexus_trust::{Item, ItemState, State as TrustState};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

/// Requests of one set at most. Of more, the oldest are listed first.
const MOST: usize = 20;
/// Requests that are looked at for one set.
const LOOKED_AT: usize = 40;

/// What the requests of a set have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Likeness {
    agent: AgentId,
    capability: CapabilityId,
    verbs: Verbs,
    constraint: Option<Constraint>,
    on_approval: OnApproval,
    /// The members of the input.
    members: BTreeSet<String>,
    effect: Option<EffectKind>,
}

/// A kind of effect; none of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct EffectKind {
    rating: Verb,
    form: Form,
    /// The kinds of things that are touched, and how.
    touched: BTreeSet<(String, Verb)>,
    deletes: bool,
}

impl Likeness {
    /// None of what is decided alone.
    fn of(item: &pending::Item) -> Option<Self> {
        let (heading, card) = (&item.heading, item.card.grant()?);
        let [ask] = card.asks.as_slice() else {
            return None;
        };
        let is_waiting = heading.state == pending::State::Pending && card.card_digest.is_some();
        let is_one_call = ask.is_one_call();
        let effect = match &ask.plan {
            Plan::None if ask.verbs.is_read() => None,
            Plan::Made(plan) if plexus_sheet::warnings(ask, plan).is_empty() => Some(EffectKind {
                rating: plan.rating,
                form: plan.preview.form,
                touched: plan
                    .touched
                    .iter()
                    .map(|one| (one.kind.clone(), one.access))
                    .collect(),
                deletes: plexus_sheet::may_delete(plan),
            }),
            Plan::None | Plan::Made(_) | Plan::Making | Plan::Failed(_) => return None,
        };
        let input = ask.input.as_ref()?.as_object()?;
        if !is_waiting || !is_one_call || !may_stand(card) {
            return None;
        }
        Some(Self {
            agent: heading.agent_id.clone()?,
            capability: ask.id.clone(),
            verbs: ask.verbs,
            constraint: card
                .scopes
                .iter()
                .find_map(|scope| scope.constraint.clone()),
            on_approval: card.on_approval,
            members: input.keys().cloned().collect(),
            effect,
        })
    }
}

/// Whether it may be allowed for longer than one call: what may not asks each time.
fn may_stand(card: &GrantCard) -> bool {
    let mut choices = card.choices.iter();
    choices.any(|choice| choice.window != TrustWindow::Once && choice.refused.is_none())
}

/// What is known of requests that wait: with which others each may be decided. A likeness is kept for the revision that
/// it is of; each decision looks at the cards anew.
#[derive(Default)]
pub struct RequestSets(Mutex<BTreeMap<PendingId, KeptLikeness>>);

/// The likeness of a revision of a request; none where it is decided alone.
#[derive(Clone)]
struct KeptLikeness {
    revision: u32,
    likeness: Option<Arc<Likeness>>,
}

/// A set in the list of what waits.
pub(super) struct SetLine {
    /// The page of the set.
    pub(super) link: String,
    pub(super) agent: ForeignText,
    pub(super) title: ForeignText,
    pub(super) count: usize,
}

impl RequestSets {
    /// The sets among these requests.
    pub(super) fn among(
        &self,
        desk: &Desk,
        state: &TrustState,
        catalogue: &Catalogue,
        waiting: &[&Arc<Item>],
    ) -> Vec<SetLine> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ids: BTreeSet<&PendingId> = waiting.iter().map(|item| &item.id).collect();
        kept.retain(|id, _| ids.contains(id));
        let mut sets: Vec<(Arc<Likeness>, PendingId, usize)> = Vec::new();
        for item in waiting.iter().filter(|item| item.register.is_none()) {
            // Its revision does not say whether it could be approved: what is kept is of a source that is on.
            if approvals::switched_off(state, item).is_some()
                || approvals::hidden(state, item).is_some()
            {
                continue;
            }
            let is_of = |known: &&KeptLikeness| known.revision == item.revision;
            let known = kept.get(&item.id).filter(is_of).cloned();
            let known = known.unwrap_or_else(|| {
                let card = cards::grant(desk, catalogue, state, item);
                KeptLikeness {
                    revision: item.revision,
                    likeness: card.and_then(|card| Likeness::of(&card)).map(Arc::new),
                }
            });
            let likeness = known.likeness.clone();
            kept.insert(item.id.clone(), known);
            let Some(likeness) = likeness else {
                continue;
            };
            match sets.iter_mut().find(|(of, ..)| *of == likeness) {
                Some((_, _, count)) => *count += 1,
                None => sets.push((likeness, item.id.clone(), 1)),
            }
        }
        let sets = sets.into_iter().filter(|(.., count)| *count > 1);
        sets.map(|(likeness, first, count)| SetLine {
            link: format!("/admin/together/{first}"),
            agent: ForeignText::short(likeness.agent.as_str(), 60),
            title: ForeignText::short(&title(catalogue, &likeness.capability), 60),
            count: count.min(MOST),
        })
        .collect()
    }
}

fn title(catalogue: &Catalogue, id: &CapabilityId) -> String {
    let label = catalogue.get(id).map(|e| e.capability().label.clone());
    label.unwrap_or_else(|| id.to_string())
}

#[derive(Template)]
#[template(path = "together.html")]
struct Page {
    agent: ForeignText,
    title: ForeignText,
    capability: ForeignText,
    rows: Vec<Row>,
    /// How many more are alike.
    more: usize,
    runs: bool,
    /// All agents are paused: nothing is done before they go on.
    paused: bool,
}

struct Row {
    id: String,
    digest: String,
    consequence: ForeignText,
    headline: ForeignText,
    purpose: Option<ForeignText>,
    asked: Moment,
}

impl Row {
    fn of(heading: &Heading, card: &GrantCard, ask: &Ask, digest: Digest, now: Timestamp) -> Self {
        let headline = match &ask.plan {
            Plan::Made(plan) => plan.preview.headline.clone(),
            _ => ask
                .input
                .as_ref()
                .map_or_else(String::new, |input| input.to_string()),
        };
        let consequence = plexus_sheet::consequence(card).unwrap_or_default();
        Self {
            id: heading.pending_id.to_string(),
            digest: digest.to_string(),
            consequence: consequence.paint(|line| ForeignText::short(line, 200)),
            headline: ForeignText::short(&headline, 300),
            purpose: heading
                .agent_purpose
                .as_deref()
                .map(|purpose| ForeignText::short_words(purpose, 200)),
            asked: Moment::ago(heading.created_at, now),
        }
    }
}

/// The set of a request.
pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Named(id): Named,
) -> Result<Response, Refused> {
    let id = PendingId::parse(&id).map_err(|_| gone())?;
    let shown = desk.clone();
    let made = blocking(move || {
        let page = Page::of(&shown, &id).map(|page| page.render());
        page.or_else(|| Over::of(&shown, &id).map(|page| page.render()))
    });
    shell::made(&desk, made.await?.ok_or_else(gone)?)
}

/// In place of a set that is none any more.
#[derive(Template)]
#[template(path = "together_over.html")]
struct Over {
    agent: ForeignText,
    title: ForeignText,
    capability: ForeignText,
    /// Requests for the same, the newest first: the card of each, what it is about, and what became of it.
    rows: Vec<(String, ForeignText, Moment, String)>,
    record: String,
}

impl Over {
    /// None where the request is not known any more.
    fn of(desk: &Desk, id: &PendingId) -> Option<Self> {
        let state = desk.ledger.snapshot();
        let now = state.time(desk.clock.now());
        let item = state.item(id)?;
        let capability = &item.asks.first()?.capability;
        let is_alike = |other: &&Arc<Item>| {
            let mut asks = other.asks.iter();
            asks.any(|ask| ask.capability == *capability)
        };
        let all = state.agents.get(&item.agent)?.items.values();
        let mut alike: Vec<&Arc<Item>> = all.filter(is_alike).collect();
        alike.sort_by_key(|other| std::cmp::Reverse((other.id == *id, other.created_at)));
        alike.truncate(MOST);
        let oldest = alike.iter().min_by_key(|other| other.created_at)?;
        let calls = activity::since_asked(desk, oldest);
        let paused = desk.revocations.paused(&state);
        let rows = alike.into_iter().map(|other| {
            let runs = cards::on_approval(other) == OnApproval::Run;
            let verdict = match other.waits(now) {
                true => "It waits for you.".to_owned(),
                false => words::verdict(other, now, "", runs && paused),
            };
            let card = format!("/admin/approvals/{}", other.id);
            let mut made = calls.iter();
            let about = match made.find(|call| activity::stood_on(call, other)) {
                Some(call) => ForeignText::short(&words::said(call), 160),
                None => glance::Row::of(desk, &state, other, now).what,
            };
            (card, about, Moment::ago(other.created_at, now), verdict)
        });
        Some(Self {
            rows: rows.collect(),
            record: links::since_asked(item),
            agent: ForeignText::line(item.agent.as_str()),
            title: ForeignText::line(&title(&desk.catalogue.load(), capability)),
            capability: ForeignText::line(capability.as_str()),
        })
    }
}

impl Page {
    /// None where the request does not wait, or is decided alone.
    fn of(desk: &Desk, id: &PendingId) -> Option<Self> {
        let state = desk.ledger.snapshot();
        let catalogue = desk.catalogue.load();
        let now = state.time(desk.clock.now());
        let item = state.item(id)?;
        let card = |item: &Item| {
            let waiting = item.waits(now).then_some(item)?;
            let card = cards::grant(desk, &catalogue, &state, waiting)?;
            let likeness = Likeness::of(&card)?;
            Some((card, likeness))
        };
        let (_, likeness) = card(item)?;
        let all = state.agents.get(&item.agent)?.items.values();
        let mut others: Vec<&Arc<Item>> = all
            .filter(|other| {
                let asks = other.asks.iter().map(|ask| &ask.capability);
                other.state == ItemState::Pending && asks.eq([&likeness.capability])
            })
            .collect();
        others.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        let seen = others.iter().take(LOOKED_AT).filter_map(|item| card(item));
        let alike: Vec<_> = seen.filter(|(_, of)| *of == likeness).collect();
        let rows = alike.iter().take(MOST).filter_map(|(item, _)| {
            let card = item.card.grant()?;
            let ask = card.asks.first()?;
            Some(Row::of(&item.heading, card, ask, card.card_digest?, now))
        });
        // One that is left alone is decided on its card.
        (alike.len() > 1).then(|| Self {
            agent: ForeignText::line(likeness.agent.as_str()),
            title: ForeignText::line(&title(&catalogue, &likeness.capability)),
            capability: ForeignText::line(likeness.capability.as_str()),
            rows: rows.collect(),
            more: alike.len().saturating_sub(MOST),
            runs: likeness.on_approval == OnApproval::Run,
            paused: desk.revocations.paused(&state),
        })
    }
}

/// One answer for several requests, each by the digest of the card that was listed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SetDecision {
    action: Action,
    items: Vec<ListedCard>,
    /// Why they are denied; the agent is told.
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ListedCard {
    id: PendingId,
    card_digest: Digest,
}

/// What came of each.
#[derive(Default, Serialize)]
struct SetDecided {
    decided: Vec<PendingId>,
    refused: Vec<NotDecided>,
}

#[derive(Serialize)]
struct NotDecided {
    id: PendingId,
    why: String,
}

/// Decides a set, one request after the other, through the one handler of all decisions.
pub(super) async fn decide(
    State(desk): State<Arc<Desk>>,
    Extension(who): Extension<Visitor>,
    narrowing: Narrowing,
    request: Request,
) -> Result<Response, Refused> {
    let call: SetDecision = sent(request).await?;
    let reason = call.reason.as_deref();
    plexus_protocol::words::given_reason(reason.filter(|_| call.action == Action::Deny))?;
    let ids: BTreeSet<&PendingId> = call.items.iter().map(|listed| &listed.id).collect();
    if call.items.is_empty() || call.items.len() > MOST || ids.len() < call.items.len() {
        let why = format!("a set has 1 to {MOST} requests, each once");
        return Err(Refused::malformed(why));
    }
    let of = desk.clone();
    let (now, mut refused) = blocking(move || split(&of, call.items)).await?;
    let mut likenesses = now.iter().map(|(_, likeness)| likeness);
    let first = likenesses.next();
    if likenesses.any(|other| Some(other) != first) {
        return Err(Refused::malformed(
            "These requests are not alike: decide them one by one.",
        ));
    }
    let mut decided = Vec::new();
    for (listed, likeness) in now {
        let decision = Decide {
            id: listed.id.to_string(),
            action: Some(call.action),
            card_digest: Some(listed.card_digest.to_string()),
            agent_id: Some(likeness.agent.to_string()),
            trust_window: (call.action == Action::Approve).then_some(TrustWindow::Once),
            reason: call.reason.clone(),
            ..Decide::default()
        };
        match approvals::decide_as(&desk, &narrowing, decision, who).await {
            Ok(_) => decided.push(listed.id),
            Err(why) => {
                let why = match why.code() {
                    ErrorCode::CardChanged => CHANGED.to_owned(),
                    _ => why.into_error().message,
                };
                refused.push(NotDecided { id: listed.id, why });
            }
        }
    }
    Ok(reply::ok(&SetDecided { decided, refused }))
}

const CHANGED: &str = "It changed while you were looking at it. Read it again.";
const OVER: &str = "It is no longer pending: it was decided, perhaps by an answer of yours that was lost, or expired, or was withdrawn.";

/// Those that are as they were listed, each with what it has in common with others; and those that are not.
fn split(desk: &Desk, listed: Vec<ListedCard>) -> (Vec<(ListedCard, Likeness)>, Vec<NotDecided>) {
    let state = desk.ledger.snapshot();
    let catalogue = desk.catalogue.load();
    let now = state.time(desk.clock.now());
    let (mut same, mut other) = (Vec::new(), Vec::new());
    for one in listed {
        let item = state.item(&one.id).filter(|item| item.waits(now));
        let card = item.and_then(|item| cards::grant(desk, &catalogue, &state, item));
        let is_listed = |card: &&pending::Item| card.card.digest() == Some(one.card_digest);
        let likeness = card.as_ref().filter(is_listed).and_then(Likeness::of);
        match (likeness, card) {
            (Some(likeness), _) => same.push((one, likeness)),
            (None, card) => other.push(NotDecided {
                id: one.id,
                why: card.map_or(OVER, |_| CHANGED).to_owned(),
            }),
        }
    }
    (same, other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn item(change: impl FnOnce(&mut Value)) -> pending::Item {
        let digest = Digest([7; 32]);
        let mut item = json!({"pendingId": "pend_00000000-0000-4000-8000-000000000001", "kind": "grant", "state": "pending",
            "createdAt": "2026-01-01T00:00:00.000Z", "agentId": "a", "capabilities": ["w.write"], "scopes": [],
            "reasons": [], "pendingNarration": [], "onApproval": "run", "narrow": [], "differs": null,
            "cardDigest": digest,
            "choices": [{"window": "once", "words": "", "default": true}, {"window": "1h", "words": "", "default": false}],
            "asks": [{"id": "w.write", "verbs": ["write"], "label": "Write", "input": {"path": "a", "content": "x"},
                "windows": [], "plan": {"preview": {"headline": "", "form": "diff",
                    "facts": [{"name": "before", "value": "x"}, {"name": "after", "value": "y"}]}, "previewDigest": digest,
                    "stateToken": digest, "rating": "write", "summary": "", "warnings": [],
                    "touched": [{"kind": "file", "id": "a", "access": "write"}]}}]});
        change(&mut item);
        serde_json::from_value(item).unwrap()
    }

    #[test]
    fn sets_hold_what_is_alike_and_nothing_that_asks_each_time() {
        let usual = Likeness::of(&item(|_| {}));
        assert!(usual.is_some());
        let other_path = item(|item| item["asks"][0]["input"]["path"] = "b".into());
        assert_eq!(
            Likeness::of(&other_path),
            usual,
            "other values, same members"
        );
        for (what, change) in [
            (
                "another agent",
                (|item| item["agentId"] = "b".into()) as fn(&mut Value),
            ),
            ("another capability", |item| {
                item["asks"][0]["id"] = "w.undo".into();
            }),
            ("another member", |item| {
                item["asks"][0]["input"]["edits"] = json!([]);
            }),
            ("another kind of thing", |item| {
                item["asks"][0]["plan"]["touched"][0]["kind"] = "note".into();
            }),
            ("it deletes", |item| {
                item["asks"][0]["plan"]["preview"]["facts"] =
                    json!([{"name": "before", "value": "x"}, {"name": "after", "value": "absent"}]);
            }),
        ] {
            let other = Likeness::of(&item(change));
            assert!(other.is_some() && other != usual, "{what}");
        }
        for (what, change) in [
            (
                "asks each time",
                (|item| item["choices"][1]["refused"] = "it runs code".into()) as fn(&mut Value),
            ),
            ("a warning", |item| {
                item["asks"][0]["plan"]["warnings"] = json!(["careful"]);
            }),
            ("more than was asked for", |item| {
                item["asks"][0]["plan"]["rating"] = "execute".into();
            }),
            ("any input", |item| {
                item["asks"][0].as_object_mut().unwrap().remove("input");
            }),
            ("a conversation", |item| {
                item["asks"][0]["conversation"] = json!({"turns": 3, "minutes": 5});
            }),
            ("still computed", |item| {
                item["asks"][0]["plan"] = "making".into();
            }),
            ("decided", |item| item["state"] = "denied".into()),
            ("no digest", |item| {
                item.as_object_mut().unwrap().remove("cardDigest");
            }),
        ] {
            assert_eq!(Likeness::of(&item(change)), None, "{what}");
        }
    }
}
