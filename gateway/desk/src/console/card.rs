//! One request as the owner reads it: the same item that the digest covers, in words, in order, bounded.
//!
//! Invariants: everything shown is of one card (`approvals::card`), and its digest goes with it; text that is not the
//! gateway's own is [`ForeignText`] and stands in a marked place; what does not fit is said to be missing, and can be had. Of an
//! input what its capability declares comes first: what an agent adds pushes nothing out of sight.

use super::{
    diff::{self, Room},
    foreign::ForeignText,
    links, words,
};
use crate::{
    cards,
    desk::Desk,
    owner::{
        activity::{self, Approvals},
        approvals::{hidden, switched_off},
    },
};
use askama::Template;
use plexus_calls::approvals::card::SETTLED;
use plexus_owner::{
    activity::ActivityKind,
    pending::{self, DifferenceForm, GrantCard, OnApproval},
};
use plexus_protocol::{
    AgentId, CapabilityId, PendingId, Provenance, SourceId, Timestamp, TrustWindow,
    constraint::is_prefix,
};
use plexus_sources::catalogue::{Catalogue, Entry};
use plexus_trust::{Ask, Item, ItemState, OutcomeKind, State};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Bytes of all diffs of a card, as HTML.
const DIFFS: Room = Room {
    rows: 180,
    bytes: 14 * 1024,
};
/// Bytes of one value of an input, as HTML.
const VALUE: usize = 1_500;
/// Bytes of all values of a card.
const VALUES: usize = 6_000;
/// Things touched, facts, warnings, members of an input: how many of each are listed.
const LISTED: usize = 24;
/// Asks of one card that are shown whole.
const ASKS: usize = 8;
/// Bytes of a page of everything, as HTML.
const EVERYTHING: usize = 40 * 1024;

#[derive(Template)]
#[template(path = "card.html")]
#[cfg_attr(test, derive(Default))]
pub(super) struct Card {
    id: String,
    digest: String,
    revision: u64,
    /// `pending`, or how it ended.
    state: &'static str,
    /// The part of it that is hardest to take back; empty while that is not known.
    consequence: ForeignText,
    agent: ForeignText,
    /// Where its agent is of another's making.
    within: Option<Caller>,
    /// Sources with texts of others that its session called, each with those calls.
    others: Vec<(ForeignText, String)>,
    client: ForeignText,
    title: ForeignText,
    more_asks: usize,
    asked: Moment,
    ends: Moment,
    purpose: Option<ForeignText>,
    wish: &'static str,
    asks: Vec<AskView>,
    differs: Option<Differs>,
    /// How its source was changed since it was granted, and what the owner denied the agent before.
    before: Vec<ForeignText>,
    choices: Vec<Choice>,
    narrow: Vec<Narrow>,
    /// Still being computed.
    making: bool,
    /// Cannot be approved as it is.
    lost: bool,
    /// A source that the owner has switched off.
    off: Option<String>,
    /// A capability that the owner hides from agents, and its source.
    hidden: Option<(String, String)>,
    any_input: bool,
    /// An approval permits further turns or child calls.
    bounded: bool,
    runs: bool,
    /// All agents are paused: nothing is done before they go on.
    paused: bool,
    verdict: String,
    /// The outcome of the call that was approved, in markup and in words; none while that is open.
    outcome: Option<(&'static str, &'static str)>,
    /// Why that was not done, and its page.
    came: Option<(ForeignText, String)>,
    /// Whether it was denied, and that refuses its calls now.
    denies: bool,
    reason: Option<ForeignText>,
    /// What was done since; empty while it waits.
    record: String,
}

/// A number that changes with what a card says: with its item, and with what the owner stopped that it stands on.
pub(super) fn revision(desk: &Desk, state: &State, catalogue: &Catalogue, item: &Item) -> u64 {
    let mut asks = item.asks.iter();
    let stopped = [
        desk.revocations.paused(state) && cards::on_approval(item) == OnApproval::Run,
        switched_off(state, item).is_some(),
        hidden(state, item).is_some(),
        // The catalogue follows an act on a source.
        asks.any(|ask| catalogue.get(&ask.capability).is_none()),
    ];
    let item = u64::from(item.revision);
    stopped
        .iter()
        .fold(item, |number, stopped| number << 1 | u64::from(*stopped))
}

/// Of whom an agent is a part that only the gateway runs.
#[cfg_attr(test, derive(Default))]
struct Caller {
    /// None: it is the source's own doing.
    agent: Option<ForeignText>,
    source: ForeignText,
    /// The call that it is made in, where only one can be meant.
    run: Option<(ForeignText, String)>,
}

/// What the owner approved of one capability for the same agent before.
#[cfg_attr(test, derive(Default))]
struct Before {
    count: u64,
    /// The last that are kept, each with its card.
    last: Vec<(Moment, String)>,
    /// How far back it was looked; empty: to the beginning.
    since: Option<Moment>,
}

/// A moment for machines and for people.
#[cfg_attr(test, derive(Default))]
pub(super) struct Moment {
    pub(super) iso: String,
    pub(super) words: String,
}

#[cfg_attr(test, derive(Default))]
struct AskView {
    id: ForeignText,
    label: ForeignText,
    source: ForeignText,
    verbs: String,
    rating: &'static str,
    only: Option<ForeignText>,
    making: bool,
    error: Option<ForeignText>,
    /// It was decided, and its preview is gone.
    settled: bool,
    headline: ForeignText,
    facts: Vec<(ForeignText, ForeignText)>,
    facts_more: usize,
    warnings: Vec<ForeignText>,
    warnings_more: usize,
    diff: Option<Diff>,
    input: Vec<Member>,
    input_more: usize,
    has_input: bool,
    touches: Vec<(String, ForeignText)>,
    touches_more: usize,
    /// How far the approval of a conversation reaches.
    permits: Option<ForeignText>,
    /// None where it is not known, and of what waits no longer.
    before: Option<Before>,
    /// The call that it takes back, in words, and its page.
    takes_back: Option<(ForeignText, String)>,
}

struct Member {
    name: ForeignText,
    /// The capability's schema does not name it.
    undeclared: bool,
    value: ForeignText,
    block: bool,
    rest: String,
}

pub(super) struct Diff {
    pub(super) page: diff::Page,
    /// Where the next page is.
    pub(super) more: String,
    pub(super) cut: bool,
}

struct Differs {
    since: Moment,
    changes: Vec<Difference>,
    more: usize,
}

struct Difference {
    place: ForeignText,
    was: ForeignText,
    now: ForeignText,
    form: Option<DifferenceForm>,
}

struct Choice {
    window: String,
    /// How long that is.
    span: &'static str,
    words: ForeignText,
    refused: Option<ForeignText>,
    once: bool,
}

/// A field by which a longer permission can be narrowed.
struct Narrow {
    field: String,
    label: ForeignText,
    value: String,
    /// Names a folder: what lies below it is allowed too.
    path: bool,
}

impl Card {
    /// The card of an item, decided or not. Reads its inputs from their files.
    pub(crate) fn of(desk: &Desk, state: &State, item: &Item, by: &str) -> Option<Self> {
        let catalogue = desk.catalogue.load();
        let shown = cards::grant(desk, &catalogue, state, item)?;
        let (heading, card) = (&shown.heading, shown.card.grant()?);
        let now = state.time(desk.clock.now());
        let mut left = VALUES;
        let few = card.asks.len().clamp(1, ASKS);
        let room = Room {
            rows: DIFFS.rows / few,
            bytes: DIFFS.bytes / few,
        };
        let capabilities: Vec<&CapabilityId> = card.asks.iter().map(|ask| &ask.id).collect();
        let by_whom = (&item.agent, &item.session);
        let past = item.waits(now).then(|| {
            let ledger = &desk.ledger;
            desk.tally.past(ledger, state, now, by_whom, &capabilities)
        });
        let (called, approved) = past.unwrap_or_default();
        let mut approved = approved.into_iter();
        let asks = card.asks.iter().take(ASKS);
        let asks: Vec<AskView> = asks
            .map(|ask| {
                let entry = catalogue.get(&ask.id);
                let source = entry.and_then(|entry| state.sources.get(&entry.source));
                let source = source.map_or("", |source| &source.config.label);
                let entry = entry.map(|entry| &**entry);
                let before = approved.next().and_then(|of| Before::of(&of, state, now));
                let undoes = ask
                    .input
                    .as_ref()
                    .filter(|_| entry.is_some_and(Entry::is_undo));
                let undone =
                    undoes.and_then(|input| activity::named(desk, input.get("id")?.as_str()?));
                let undone = undone.filter(|call| call.source() == Some(ask.id.parts().0));
                AskView {
                    before,
                    takes_back: undone.map(|call| {
                        let words = ForeignText::short(&words::said(&call), 300);
                        (words, format!("/admin/activity/{}", call.audit_id))
                    }),
                    ..AskView::of(&shown, ask, source, entry, room, &mut left)
                }
            })
            .collect();
        let making = card.is_planning();
        let mut inputs = item.asks.iter().zip(&card.asks);
        let is_gone = |(ask, seen): (&Ask, &pending::Ask)| {
            seen.input == Some(Value::Null) && desk.approvals.input(&item.id, ask).is_none()
        };
        let lost =
            !making && card.card_digest.is_none() || card.has_failed() || inputs.any(is_gone);
        let wish = card.requested_trust_window;
        let runs = card.on_approval == OnApproval::Run;
        let paused = desk.revocations.paused(state);
        let digest = card.card_digest;
        let agent = heading.agent_id.as_ref();
        Some(Self {
            id: item.id.to_string(),
            digest: digest.map_or_else(String::new, |digest| digest.to_string()),
            revision: revision(desk, state, &catalogue, item),
            state: words::state(item, now),
            consequence: plexus_sheet::consequence(card)
                .map_or_else(ForeignText::default, |line| {
                    line.paint(|line| ForeignText::short(line, 300))
                }),
            within: Caller::of(&item.agent, state),
            others: others(&catalogue, state, &item.agent, &called),
            agent: ForeignText::line(agent.map_or("", |agent| agent.as_str())),
            client: client(card),
            title: asks
                .first()
                .map(|ask| ask.label.clone())
                .unwrap_or_default(),
            more_asks: card.asks.len().saturating_sub(1),
            asked: Moment::ago(heading.created_at, now),
            ends: Moment::left(item.expires_at, now),
            purpose: heading.agent_purpose.as_deref().map(ForeignText::words),
            wish: wish.map_or("", TrustWindow::phrase),
            differs: card.differs.as_ref().map(|it| Differs::of(it, now)),
            before: before(card, now),
            choices: card.choices.iter().map(Choice::of).collect(),
            narrow: narrow(card, &catalogue),
            asks,
            making,
            lost,
            off: switched_off(state, item).map(|source| source.to_string()),
            hidden: hidden(state, item).map(|id| (id.to_string(), id.parts().0.to_owned())),
            any_input: card.asks.iter().any(|ask| ask.input.is_none()),
            bounded: !card.asks.iter().all(pending::Ask::is_one_call),
            runs,
            paused,
            verdict: words::verdict(item, now, by, runs && paused),
            outcome: words::outcome(item),
            came: came(desk, item),
            denies: state.denied_by(&item.id, now).next().is_some(),
            reason: match &item.state {
                ItemState::Denied { reason } => reason.as_deref().map(ForeignText::words),
                _ => None,
            },
            record: match item.waits(now) {
                true => String::new(),
                false => links::since_asked(item),
            },
        })
    }

    fn pending(&self) -> bool {
        self.state == "pending"
    }
    fn can_approve(&self) -> bool {
        let is_open = self.once().is_none_or(|once| once.refused.is_none());
        self.pending() && !self.lost && !self.making && is_open && self.off.is_none()
    }
    fn once(&self) -> Option<&Choice> {
        self.choices.iter().find(|choice| choice.once)
    }
    fn longer(&self) -> Vec<&Choice> {
        self.choices.iter().filter(|choice| !choice.once).collect()
    }
    fn can_stand(&self) -> bool {
        self.longer().iter().any(|choice| choice.refused.is_none())
    }
}

impl AskView {
    /// One call of an item: `source` is its name for people, `entry` what the catalogue has of it.
    fn of(
        item: &pending::Item,
        ask: &pending::Ask,
        source: &str,
        entry: Option<&Entry>,
        room: Room,
        left: &mut usize,
    ) -> Self {
        let (plan, error) = match &ask.plan {
            pending::Plan::Made(plan) => (Some(&**plan), None),
            pending::Plan::Failed(failed) => (None, Some(&failed.error)),
            pending::Plan::None | pending::Plan::Making => (None, None),
        };
        let label = ask.label.as_deref().unwrap_or(ask.id.as_str());
        let scopes = item.card.grant().into_iter().flat_map(|card| &card.scopes);
        let scope = scopes.into_iter().find(|scope| scope.id == ask.id);
        let only = scope.and_then(|scope| scope.constraint.as_ref());
        let diff = plan.map(|plan| &plan.preview).and_then(|preview| {
            let page = diff::page(preview.form, preview.diff.as_ref()?, 0, room);
            Some(Diff {
                more: page.next.map_or(String::new(), |next| {
                    format!(
                        "/admin/console/pending/{}/diff/{}?from={next}",
                        item.heading.pending_id, ask.id
                    )
                }),
                page,
                cut: preview.cut,
            })
        });
        let touched = plan.into_iter().flat_map(|plan| &plan.touched);
        let (touches, touches_more) = first(touched, |touched| {
            let kind = ForeignText::line(&touched.kind);
            (
                format!("{} {kind}", words::access(touched.access)),
                ForeignText::line(&touched.id),
            )
        });
        let told = plan.into_iter();
        let told = told.flat_map(|plan| plexus_sheet::telling_facts(&plan.preview));
        let (facts, facts_more) = first(told.chain(&ask.facts), |fact| {
            (
                ForeignText::short(&fact.name, 80),
                ForeignText::short(&fact.value, 400),
            )
        });
        let warnings = plan.map(|plan| plexus_sheet::warnings(ask, plan));
        let warnings = warnings.into_iter().flatten();
        let (warnings, warnings_more) = first(warnings, |said| said.paint(ForeignText::line));
        let headline = plan.map_or("", |plan| &plan.preview.headline);
        let schema = entry.and_then(|e| e.capability().input.as_ref());
        let (input, input_more) = members(ask.input.as_ref(), schema, diff.is_some(), left);
        let rating = entry.map_or("unknown to this gateway: treat it as sensitive", |e| {
            words::rating(e)
        });
        Self {
            id: ForeignText::line(ask.id.as_str()),
            label: ForeignText::line(label),
            source: ForeignText::short(source, 120),
            verbs: words::verbs(ask.verbs),
            rating,
            only: only.map(|only| ForeignText::line(&only.in_words())),
            making: ask.plan == pending::Plan::Making,
            settled: error.is_some_and(|why| why == SETTLED),
            error: error.map(|why| ForeignText::line(why)),
            headline: ForeignText::line(headline),
            facts,
            facts_more,
            warnings,
            warnings_more,
            input,
            input_more,
            has_input: ask.input.is_some(),
            diff,
            touches,
            touches_more,
            permits: plexus_sheet::permits(ask).map(|permits| permits.paint(ForeignText::line)),
            before: None,
            takes_back: None,
        }
    }
}

impl Caller {
    fn of(agent: &AgentId, state: &State) -> Option<Self> {
        let source = agent.sources().last()?;
        let caller = agent.caller();
        let mut runs = state.open_intents.iter().filter(|(_, open)| {
            open.agent == caller && caller.is_some() && open.capability.parts().0 == source
        });
        let run = runs.next().filter(|_| runs.next().is_none());
        Some(Self {
            agent: caller.map(|agent| ForeignText::line(agent.as_str())),
            source: ForeignText::line(source),
            run: run.map(|(id, open)| {
                let capability = ForeignText::line(open.capability.as_str());
                (capability, format!("/admin/activity/{id}"))
            }),
        })
    }
}

impl Before {
    /// None where nothing is known: it was not approved as far as was looked, and there is more.
    fn of(approved: &Approvals, state: &State, now: Timestamp) -> Option<Self> {
        let known = approved.count > 0 || approved.since.is_none();
        known.then(|| Self {
            count: approved.count,
            last: approved
                .last
                .iter()
                .filter(|(item, _)| state.item(item).is_some())
                .map(|(item, at)| (Moment::ago(*at, now), format!("/admin/approvals/{item}")))
                .collect(),
            since: approved.since.map(|since| Moment::ago(since, now)),
        })
    }
}

/// Why the call that was approved was not done, and its page.
fn came(desk: &Desk, item: &Item) -> Option<(ForeignText, String)> {
    if !matches!(item.state, ItemState::Over { outcome } if outcome != OutcomeKind::Ok) {
        return None;
    }
    let calls = activity::since_asked(desk, item);
    let call = calls.iter().find(|call| {
        let was_done = matches!(call.did, ActivityKind::Read | ActivityKind::Changed);
        activity::stood_on(call, item) && !was_done
    })?;
    let why = ForeignText::short(&words::why(call), 300);
    Some((why, format!("/admin/activity/{}", call.audit_id)))
}

/// Those of the sources that a session called whose texts others wrote: of extensions and servers, and of conversations.
fn others(
    catalogue: &Catalogue,
    state: &State,
    agent: &AgentId,
    called: &BTreeSet<String>,
) -> Vec<(ForeignText, String)> {
    let is_of_others = |source: &&String| {
        let mut entries = catalogue.iter().filter(|e| e.source.as_str() == **source);
        entries.any(|entry| {
            entry.provenance == Provenance::Extension
                || entry.connector.offer.manifest.channels.is_some()
        })
    };
    let all = called.iter().filter(is_of_others).take(LISTED);
    all.map(|id| {
        let source = SourceId::parse(id).ok();
        let source = source.and_then(|id| state.sources.get(&id));
        let label = source.map_or(id.as_str(), |source| &source.config.label);
        let link = links::calls_on(agent.as_str(), id);
        (ForeignText::short(label, 80), link)
    })
    .collect()
}

/// How its source was changed since it was granted, and what was denied before.
fn before(shown: &GrantCard, now: Timestamp) -> Vec<ForeignText> {
    let changed = shown.source_changed.iter().map(|change| {
        let ago = Moment::ago(change.at, now).words;
        ForeignText::line(&format!("{} ({ago})", change.words))
    });
    let denied = shown.denied_before.iter();
    let denied = denied.map(|denied| ForeignText::line(&denied.words));
    changed.chain(denied).collect()
}

/// The first of `all`, and how many more there are.
fn first<I: Iterator, T>(mut all: I, show: impl FnMut(I::Item) -> T) -> (Vec<T>, usize) {
    let shown = all.by_ref().take(LISTED).map(show).collect();
    (shown, all.count())
}

/// The members of an input, those first that its schema names, in its order; and how many are left out. If a change is
/// shown, long texts of it are only measured.
fn members(
    input: Option<&Value>,
    schema: Option<&Value>,
    has_diff: bool,
    left: &mut usize,
) -> (Vec<Member>, usize) {
    let Some(object) = input.and_then(Value::as_object) else {
        return (Vec::new(), 0);
    };
    let declared = schema.and_then(|schema| schema["properties"].as_object());
    let names = |name: &String| declared.is_some_and(|declared| declared.contains_key(name));
    let member = |(name, value): (&String, &Value)| {
        let undeclared = declared.is_some() && !names(name);
        let whole = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        let (lines, characters) = (whole.lines().count(), whole.chars().count());
        let name = ForeignText::short(name, 80);
        if has_diff && lines > 1 && !undeclared {
            return Member {
                name,
                undeclared,
                value: ForeignText::default(),
                block: false,
                rest: format!("{lines} lines, shown as the change above"),
            };
        }
        // A short value may be a name.
        let block = lines > 1 || characters > 160;
        let (value, taken) = ForeignText::beginning(&whole, VALUE.min(*left), block);
        *left = left.saturating_sub(value.len());
        let rest = whole[taken..].chars().count();
        Member {
            name,
            undeclared,
            block,
            value,
            rest: if rest > 0 {
                format!("and {rest} more characters")
            } else {
                String::new()
            },
        }
    };
    let in_order = declared.into_iter().flat_map(Map::keys);
    let known = in_order.filter_map(|name| object.get_key_value(name));
    let others = object.iter().filter(|(name, _)| !names(name));
    first(known.chain(others), member)
}

fn client(card: &GrantCard) -> ForeignText {
    let client = card.client.clone().unwrap_or_default();
    let both = [client.name, client.version].map(Option::unwrap_or_default);
    ForeignText::short(both.join(" ").trim(), 80)
}

impl Differs {
    fn of(differs: &pending::Differs, now: Timestamp) -> Self {
        let changes = &differs.changes;
        let one = |change: &pending::MemberDifference| {
            let side = |said: &Option<String>| {
                said.as_deref()
                    .map_or_else(ForeignText::default, |said| ForeignText::short(said, 300))
            };
            let path = change.path.strip_prefix('/').unwrap_or(&change.path);
            let place = match &change.capability {
                Some(of) => format!("{of}: {path}"),
                None => path.to_owned(),
            };
            Difference {
                place: ForeignText::short(&place, 160),
                was: side(&change.was),
                now: side(&change.now),
                form: change.form,
            }
        };
        Self {
            since: Moment::ago(differs.since, now),
            changes: changes.iter().take(8).map(one).collect(),
            more: changes.len().saturating_sub(8)
                + usize::try_from(differs.more.unwrap_or(0)).unwrap_or(usize::MAX),
        }
    }
}

impl Choice {
    /// An answer, in the gateway's words.
    fn of(choice: &pending::Choice) -> Self {
        Self {
            window: choice.window.kind().to_owned(),
            span: match choice.window {
                TrustWindow::HOUR => "1 hour",
                TrustWindow::DAY => "1 day",
                TrustWindow::WEEK => "7 days",
                TrustWindow::UntilRevoked => "Until you revoke it",
                _ => "Once",
            },
            once: choice.window == TrustWindow::Once,
            words: ForeignText::line(&choice.words),
            refused: choice.refused.as_deref().map(ForeignText::line),
        }
    }
}

/// The fields that a longer permission can be narrowed by, with this call's own place as the first suggestion.
fn narrow(card: &GrantCard, catalogue: &Catalogue) -> Vec<Narrow> {
    let first = card.asks.first();
    let Some((ask, entry)) = first.and_then(|ask| Some((ask, catalogue.get(&ask.id)?))) else {
        return Vec::new();
    };
    let resolved = |field| entry.capability().resolves_to(field);
    let fields = card.narrow.iter().take(4);
    let mut narrow: Vec<_> = fields
        .map(|field| Narrow::of(field, resolved(field), ask.input.as_ref()))
        .collect();
    // A permission holds to one path.
    let suggested = |one: &&mut Narrow| one.path && !one.value.is_empty();
    for one in narrow.iter_mut().filter(suggested).skip(1) {
        one.value.clear();
    }
    narrow
}

impl Narrow {
    /// `resolved`: the kind of thing that the worker resolves the field to.
    fn of(field: &str, resolved: Option<&str>, input: Option<&Value>) -> Self {
        let path = matches!(resolved, Some("file" | "note" | "folder" | "path"));
        let asked = field
            .split('.')
            .fold(input, |at, key| at?.get(key))
            .and_then(Value::as_str)
            .unwrap_or_default();
        let value = match asked.rsplit_once('/') {
            _ if !path => asked,
            Some((".", _)) | None => "",
            Some((folder, _)) => folder,
        };
        // What a field of a form would show otherwise than it is, or the gateway would refuse, is not suggested.
        let plain = value.len() <= 400
            && !ForeignText::line(value).to_string().contains("<b class=u>")
            && (!path || is_prefix(value));
        Self {
            field: field.to_owned(),
            label: ForeignText::short(field, 60),
            value: if plain {
                value.to_owned()
            } else {
                String::new()
            },
            path,
        }
    }
}

impl Moment {
    pub(super) fn ago(at: Timestamp, now: Timestamp) -> Self {
        let span = words::span(now.since(at));
        Self {
            iso: at.to_string(),
            words: if now.since(at) < 5_000 {
                "just now".into()
            } else {
                format!("{span} ago")
            },
        }
    }
    pub(super) fn left(at: Timestamp, now: Timestamp) -> Self {
        Self {
            iso: at.to_string(),
            words: format!("in {}", words::span(at.since(now))),
        }
    }
}

#[derive(Template)]
#[template(path = "diff.html")]
pub(super) struct Rows<'a> {
    pub(super) diff: &'a Diff,
}

/// One more page of a diff: rows alone.
pub(super) fn diff_page(
    desk: &Desk,
    state: &State,
    id: &PendingId,
    of: &CapabilityId,
    from: usize,
) -> Option<String> {
    let item = state.item(id)?;
    let ask = item.asks.iter().find(|ask| ask.capability == *of)?;
    let (form, change) = desk.approvals.change(id, ask)?;
    let page = diff::page(form, &change, from, diff::PAGE);
    let more = page.next.map_or(String::new(), |next| {
        format!("/admin/console/pending/{id}/diff/{of}?from={next}")
    });
    Rows {
        diff: &Diff {
            page,
            more,
            cut: false,
        },
    }
    .render()
    .ok()
}

#[derive(Template)]
#[template(path = "everything.html")]
struct Everything {
    text: ForeignText,
    more: String,
}

/// All that the card's digest covers, as the gateway has it, from byte `from` on.
pub(super) fn everything(
    desk: &Desk,
    state: &State,
    id: &PendingId,
    proposed: Option<pending::Item>,
    from: usize,
) -> Option<String> {
    let shown = match state.item(id) {
        Some(_) if proposed.is_some() => proposed?,
        Some(item) => cards::grant(desk, &desk.catalogue.load(), state, item)?,
        None => cards::of_source(desk, state, id)?,
    };
    let whole = serde_json::to_string_pretty(&shown).ok()?;
    let rest = whole.get(from..)?;
    let (text, taken) = ForeignText::beginning(rest, EVERYTHING, false);
    let more = if taken < rest.len() {
        format!(
            "/admin/console/pending/{id}/everything?from={}",
            from + taken
        )
    } else {
        String::new()
    };
    Everything { text, more }.render().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn names(members: &[Member]) -> Vec<String> {
        members.iter().map(|m| m.name.to_string()).collect()
    }

    fn page(ask: AskView) -> String {
        let card = Card {
            asks: vec![ask],
            ..Card::default()
        };
        card.render().unwrap()
    }

    #[test]
    fn nothing_that_an_agent_adds_pushes_the_path_out_of_sight() {
        let schema = json!({"type": "object", "properties": {"path": {}, "offset": {}}});
        let mut input = json!({"Path": "README.md", "offset": 3});
        for n in 0..LISTED {
            input[format!("filler{n:02}")] = json!("x".repeat(VALUE));
        }
        input["path"] = json!(".env");
        let mut left = VALUES;
        let (shown, more) = members(Some(&input), Some(&schema), false, &mut left);
        assert_eq!(names(&shown)[..3], ["path", "offset", "Path"]);
        let marks: Vec<bool> = shown.iter().map(|m| m.undeclared).collect();
        assert_eq!(marks[..3], [false, false, true]);
        assert_eq!((shown.len(), more), (LISTED, 3));
        let told = page(AskView {
            input: shown,
            input_more: more,
            ..AskView::default()
        });
        assert!(
            told.contains(">path</dt><dd><span class=\"said\">.env<"),
            "{told}"
        );
        assert_eq!(
            told.matches("not declared by this capability").count(),
            LISTED - 2
        );
        assert!(told.contains("And 3 more fields of the input, listed under “Everything”."));

        // A capability that is gone declares nothing, and what fits says nothing of more.
        let (shown, more) = members(Some(&json!({"path": "a"})), None, false, &mut left);
        assert!(!shown[0].undeclared && more == 0);
        let told = page(AskView {
            input: shown,
            ..AskView::default()
        });
        assert!(told.contains(">path<") && !told.contains("more") && !told.contains("declared"));
    }

    #[test]
    fn card_that_cannot_be_approved_names_no_moment() {
        let soon = "done by the gateway as soon as you approve";
        let of = |lost| {
            let card = Card {
                state: "pending",
                runs: true,
                lost,
                ..Card::default()
            };
            card.render().unwrap()
        };
        assert!(of(false).contains(soon) && !of(true).contains(soon));
    }

    #[test]
    fn decided_card_says_when_a_preview_is_kept() {
        let of = |settled| {
            page(AskView {
                error: Some(ForeignText::line("why")),
                settled,
                ..AskView::default()
            })
        };
        let told = of(true);
        assert!(told.contains("kept only while a request waits") && !told.contains("why<"));
        let told = of(false);
        assert!(told.contains("could not be computed: ") && !told.contains("cannot be approved"));
    }

    #[test]
    fn only_a_text_that_the_change_shows_is_measured() {
        let schema = json!({"properties": {"content": {}}});
        let input = json!({"content": "one\ntwo", "else": "three\nfour"});
        let (shown, _) = members(Some(&input), Some(&schema), true, &mut VALUES.clone());
        assert_eq!(shown[0].rest, "2 lines, shown as the change above");
        assert_eq!(shown[1].value.to_string(), "three\nfour");
    }

    #[test]
    fn facts_and_warnings_that_are_left_out_are_counted() {
        let many: Vec<usize> = (0..LISTED + 2).collect();
        let (shown, more) = first(many.iter(), |n| ForeignText::line(&n.to_string()));
        assert_eq!((shown.len(), more), (LISTED, 2));
        assert_eq!(first(many[..LISTED].iter(), |n| *n).1, 0);
        let told = page(AskView {
            warnings: shown,
            warnings_more: more,
            facts_more: 5,
            ..AskView::default()
        });
        assert!(
            told.contains("and 2 more warnings, listed under “Everything”"),
            "{told}"
        );
        assert!(
            told.contains("And 5 more facts, listed under “Everything”."),
            "{told}"
        );
        let told = page(AskView::default());
        assert!(!told.contains("more"), "{told}");
    }

    #[test]
    fn a_folder_is_suggested_for_what_resolves_to_a_path() {
        for (kind, asked, path, value) in [
            ("file", "Projects/a.md", true, "Projects"),
            ("note", "a.md", true, ""),
            // git's.
            ("path", "src/console/card.rs", true, "src/console"),
            ("commit", "src/card.rs", false, "src/card.rs"),
            // What the gateway refuses, or comes to more than it looks like.
            ("file", "Projects/../x", true, ""),
            ("file", "./x", true, ""),
            ("file", "/etc/passwd", true, ""),
        ] {
            let one = Narrow::of("path", Some(kind), Some(&json!({ "path": asked })));
            assert_eq!(
                (one.path, one.value.as_str()),
                (path, value),
                "{kind}: {asked}"
            );
        }
    }
}
