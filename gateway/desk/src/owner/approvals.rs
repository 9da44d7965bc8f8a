//! What waits for the owner, and the owner's answer (docs/protocol/owner.md#requests-and-approvals,
//! docs/design.md#approvals).
//!
//! Invariant: an effect is approved only against the card that the owner saw. The card is compared by its digest with
//! the one of a snapshot, and the item's revision of that snapshot goes with the approval, so the machine refuses one
//! that changed since.

use super::{
    Acting, Narrowing, definitions, proposal_cards, proposals, questions,
    sources::{answered_by_resuming, compared_again, known, resumed_code},
};
use crate::{
    acts::{act, blocking, event_of, narrow},
    cards,
    desk::Desk,
    table::{Reading, Served},
};
use bytes::Bytes;
use plexus_calls::approvals::{card, change, planner};
use plexus_edge::{browser, reply::Refused, sessions::Visitor};
use plexus_owner::{
    Done,
    pending::{
        self, Action, Decide, Decided, DecisionOutcome, DenialEnded, EndDenial, Kind, List, Listed,
        PlanAgain, Planning, Show,
    },
};
use plexus_protocol::{
    AgentId, CapabilityId, Constraint, Digest, ErrorBody, ErrorCode, PendingId, SourceId,
    Timestamp, json, words,
};
use plexus_sources::narration;
use plexus_trust::{
    Approve, Command, DENIAL_MS, Item, ItemState, Plan, Refusal, Reply, Source, State,
};
use std::{collections::BTreeMap, sync::Arc, time::Instant};

pub(super) fn serve(served: Served) -> Served {
    served
        .with(list)
        .with(show)
        .with(decide)
        .with(end_denial)
        .with(plan_again)
}

/// How many bytes of cards the list carries; what else waits it only names. Inputs and previews make a card megabytes;
/// agents decide how many of those there are, and the list has to reach the owner whatever they do: `plexusctl` reads
/// 32 MiB of one answer.
const CARDS: usize = 8 << 20;

/// Everything that waits, the newest first: whole cards up to [`CARDS`], the rest without (`brief`), to be looked at one
/// by one.
/// With `begins` the ids of all kept items, decided ones too, that begin so.
async fn list(desk: Arc<Desk>, _: Reading, asked: List) -> Result<Listed, Refused> {
    if let Some(begins) = asked.begins {
        let state = desk.ledger.snapshot();
        let all = state.agents.values().flat_map(|agent| agent.items.keys());
        let kept = all.filter(|id| id.as_str().starts_with(&begins));
        return Ok(Listed {
            kept: Some(kept.cloned().collect()),
            pending: None,
        });
    }
    let mut proposed = proposed(&desk).await?;
    // Cards show the inputs, which lie in files.
    let cards = blocking(move || {
        let state = desk.ledger.snapshot();
        let catalogue = desk.catalogue.load();
        let now = state.time(desk.clock.now());
        let all = state.agents.values().flat_map(|agent| agent.items.values());
        let mut waiting: Vec<&Arc<Item>> = all.filter(|item| item.waits(now)).collect();
        waiting.sort_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
        let mut carried = 0;
        let items = waiting.iter().map(|item| {
            if carried < CARDS {
                let card = match &item.register {
                    Some(_) => proposed.remove(&item.id),
                    None => cards::grant(&desk, &catalogue, &state, item),
                };
                // Made since, or one too many.
                let Some(card) = card else {
                    return cards::brief(item, now);
                };
                let long = length(&card);
                if carried + long <= CARDS {
                    carried += long;
                    return card;
                }
                // The same for those after it: what is carried is the newest without a gap.
                carried = CARDS;
            }
            cards::brief(item, now)
        });
        // A call waits for each question. A source that changed comes first: whatever is asked for on it waits for that.
        let questions = cards::questions(&desk, &state);
        let first = questions.chain(cards::changes(&desk, &state, &catalogue));
        let mut cards: Vec<pending::Item> = first.chain(items).collect();
        // One that was decided on meanwhile may have lost its input and its plan on the way: it waits no more.
        let latest = desk.ledger.snapshot();
        cards.retain(|card| {
            let item = latest.item(&card.heading.pending_id);
            item.is_none_or(|item| item.waits(now))
        });
        cards
    })
    .await?;
    Ok(Listed {
        pending: Some(cards),
        kept: None,
    })
}

/// Proposals whose cards a list carries: for each the programs and folders of this machine are looked at, beside the list.
const PROPOSALS: usize = 16;

/// The cards of the extensions that agents propose, the newest [`PROPOSALS`] of them.
async fn proposed(desk: &Arc<Desk>) -> Result<BTreeMap<PendingId, pending::Item>, Refused> {
    let state = desk.ledger.snapshot();
    let now = state.time(desk.clock.now());
    let all = state.agents.values().flat_map(|agent| agent.items.values());
    let mut waiting: Vec<Arc<Item>> = all
        .filter(|item| item.register.is_some() && item.waits(now))
        .cloned()
        .collect();
    waiting.sort_by_key(|item| std::cmp::Reverse(item.created_at));
    proposal_cards::of_list(desk, &waiting, PROPOSALS).await
}

/// The item of this id, if it proposes an extension.
fn proposal_of(desk: &Desk, id: &PendingId) -> Option<Arc<Item>> {
    let state = desk.ledger.snapshot();
    let item = state.item(id).filter(|item| item.register.is_some());
    item.cloned()
}

/// How long a card is as JSON.
fn length(card: &pending::Item) -> usize {
    serde_json::to_vec(card).map_or(usize::MAX, |json| json.len())
}

/// One item, decided or not.
async fn show(desk: Arc<Desk>, _: Reading, Show { id }: Show) -> Result<pending::Item, Refused> {
    let item = PendingId::parse(&id).map_err(|_| none_waits(&desk, &id))?;
    if let Some(card) = cards::question(&desk, &desk.ledger.snapshot(), &item) {
        return Ok(card);
    }
    if let Some(source) = source_of(&desk, &item).await? {
        let (state, catalogue) = (desk.ledger.snapshot(), desk.catalogue.load_full());
        let card = cards::change(&desk, &state, &catalogue, &source);
        return card.ok_or_else(|| none_waits(&desk, &id));
    }
    if let Some(item) = proposal_of(&desk, &item) {
        return Ok(proposal_cards::look(&desk, &item).await?.item());
    }
    let shown = seen(&desk, item)
        .await?
        .ok_or_else(|| none_waits(&desk, &id))?;
    Ok(shown.card)
}

/// The source whose card this is, as it was seen last.
fn source_shown(desk: &Desk, card: &PendingId) -> Option<Source> {
    let (state, catalogue) = (desk.ledger.snapshot(), desk.catalogue.load());
    change::source_of(&state, &catalogue, card, desk.clock.now()).cloned()
}

/// The source whose card this is. One that is stopped is looked at first: its card is not shown, and nothing is decided on it,
/// where it runs again what the owner agreed to.
async fn source_of(desk: &Arc<Desk>, card: &PendingId) -> Result<Option<Source>, Refused> {
    let found = source_shown(desk, card);
    let Some(before) = found.as_ref().filter(|source| source.stopped.is_some()) else {
        return Ok(found);
    };
    compared_again(desk, before).await;
    if let Some(source) = source_shown(desk, card) {
        return Ok(Some(source));
    }
    let id = &before.id;
    let now = known(desk, id.as_str()).is_some_and(|now| now.stopped.is_some());
    let why = match now {
        true => format!("what {id} runs has changed once more, and has another card"),
        false => format!(
            "nothing was found that {id} runs and you did not agree to: it is stopped no more"
        ),
    };
    let error = ErrorBody::new(ErrorCode::UnknownCapability, why);
    Err(Refused::new(error.next("plexusctl approvals list")))
}

/// The same for a page, which is made again and again: compared rarely. A decision compares anyway.
pub(crate) async fn compared_rarely(desk: &Arc<Desk>, card: &PendingId) -> Result<(), Refused> {
    let begun = Instant::now();
    let is_stopped = source_shown(desk, card).is_some_and(|source| source.stopped.is_some());
    if !is_stopped || !desk.comparisons.begins(card, begun) {
        return Ok(());
    }
    let compared = source_of(desk, card).await;
    desk.comparisons.ended(card, begun, Instant::now());
    compared.map(drop)
}

/// Carries out a decision of the API, which is made in no browser.
async fn decide(desk: Arc<Desk>, narrowing: Narrowing, call: Decide) -> Result<Decided, Refused> {
    decide_as(&desk, &narrowing, call, Visitor::TERMINAL).await
}

/// Carries out a decision, remembered as made by `who`.
pub(crate) async fn decide_as(
    desk: &Arc<Desk>,
    narrowing: &Narrowing,
    call: Decide,
    who: Visitor,
) -> Result<Decided, Refused> {
    let item = PendingId::parse(&call.id);
    // Before, so that a listener to the decision can learn whose it was.
    if let Ok(item) = &item {
        desk.console.decided(item, who, browser::present(desk));
    }
    let answer = Box::pin(decide_one(desk, narrowing, call)).await;
    if let (Ok(item), Err(_)) = (&item, &answer) {
        desk.console.undecided(item, who, browser::present(desk));
    }
    answer
}

async fn decide_one(
    desk: &Arc<Desk>,
    narrowing: &Narrowing,
    call: Decide,
) -> Result<Decided, Refused> {
    let Some(action) = call.action else {
        return Err(Refused::malformed(
            "`action` must be \"approve\" or \"deny\"",
        ));
    };
    // An approval has none.
    let reason = call.reason.as_deref().filter(|_| action == Action::Deny);
    let reason = words::given_reason(reason)?;
    let item = PendingId::parse(&call.id).map_err(|_| none_waits(desk, &call.id))?;
    if desk.questions.waits(&item) {
        return questions::decided(desk, narrowing, &item, action, call).await;
    }
    let source = match action {
        Action::Approve => source_of(desk, &item).await?,
        // A no waits for no disk.
        Action::Deny => source_shown(desk, &item),
    };
    if let Some(source) = source {
        let card = call.card_digest.as_deref();
        return changed(desk, narrowing, &source, &item, action, card).await;
    }
    if action == Action::Deny {
        return deny(desk, narrowing, item, reason).await;
    }
    if let Some(item) = proposal_of(desk, &item) {
        let now = desk.ledger.snapshot().time(desk.clock.now());
        if item.state != ItemState::Pending || now >= item.expires_at {
            return Err(none_waits(desk, &call.id));
        }
        return Box::pin(proposals::approve(desk, narrowing, &item, call)).await;
    }
    approve(desk, &narrowing.wider(desk).await?, item, call).await
}

/// Decides on a source that has changed. A yes names the card that was seen.
async fn changed(
    desk: &Arc<Desk>,
    narrowing: &Narrowing,
    source: &Source,
    item: &PendingId,
    action: Action,
    card: Option<&str>,
) -> Result<Decided, Refused> {
    let go_on = action == Action::Approve;
    let acting = match go_on {
        true => Some(narrowing.wider(desk).await?),
        false => None,
    };
    // What is agreed to is what the card was made of.
    let catalogue = desk.catalogue.load_full();
    let proposal = catalogue.proposal(&source.id).cloned();
    if go_on {
        let current = cards::change(desk, &desk.ledger.snapshot(), &catalogue, source);
        same_card(true, current.and_then(|item| item.card.digest()), card)?;
    }
    let revision = match &proposal {
        Some(proposal) => definitions::decided(desk, source, proposal, go_on).await?,
        None => Some(source.revision),
    };
    let command = Command::ResumeSource {
        id: source.id.clone(),
        revision,
        go_on,
    };
    let receipt = match &acting {
        Some(acting) => act(desk, acting, command).await?,
        None => narrow(desk, narrowing, command).await?,
    };
    if go_on {
        resumed_code(desk, source).await?;
    }
    // The catalogue calls a source that is stopped unavailable.
    if proposal.is_some() || go_on && source.stopped.is_some() {
        desk.renew_catalogue(Some(Default::default()));
    }
    let decision = if go_on { "approve" } else { "deny" };
    desk.feed.change_decided(item, decision);
    Ok(Decided {
        ok: Done,
        action,
        kind: Kind::Change,
        outcome: DecisionOutcome::Resumed {
            source: source.id.clone(),
            resumed: matches!(receipt.reply, Reply::Resumed { .. }),
            audit_id: event_of(&receipt),
            also_answered: answered_by_resuming(receipt.reply),
        },
    })
}

async fn deny(
    desk: &Arc<Desk>,
    narrowing: &Narrowing,
    item: PendingId,
    reason: Option<String>,
) -> Result<Decided, Refused> {
    let command = Command::Deny {
        item: item.clone(),
        reason: reason.clone(),
    };
    let receipt = narrow(desk, narrowing, command)
        .await
        .map_err(|refused| named_item(desk, refused, &item))?;
    desk.approvals.drop_input(&item);
    Ok(Decided {
        ok: Done,
        action: Action::Deny,
        kind: proposal_of(desk, &item).map_or(Kind::Grant, |_| Kind::Register),
        outcome: DecisionOutcome::Denied {
            audit_id: event_of(&receipt),
            reason,
        },
    })
}

/// Takes a denial back. A call that it refused is like another then: a grant or an open approval may allow it, or it has
/// a new card.
async fn end_denial(
    desk: Arc<Desk>,
    acting: Acting,
    EndDenial { id }: EndDenial,
) -> Result<DenialEnded, Refused> {
    let item = PendingId::parse(&id).map_err(|_| none_waits(&desk, &id))?;
    let state = desk.ledger.snapshot();
    let now = state.time(desk.clock.now());
    let mut agent: Option<AgentId> = None;
    let mut capabilities = Vec::new();
    for (of, capability, _) in state.denied_by(&item, now) {
        agent = Some(of.clone());
        capabilities.push(capability.clone());
    }
    let Some(agent_id) = agent else {
        return Err(denies_nothing(&state, &item, now));
    };
    let command = Command::EndDenial { item: item.clone() };
    let receipt = act(&desk, &acting, command)
        .await
        .map_err(|refused| named_item(&desk, refused, &item))?;
    Ok(DenialEnded {
        ok: Done,
        agent_id,
        capabilities,
        audit_id: event_of(&receipt),
    })
}

/// That a request has no denial to take back, and which one refuses its calls in its stead.
fn denies_nothing(state: &State, item: &PendingId, now: Timestamp) -> Refused {
    let refused = |why: String, next: String| {
        Refused::new(ErrorBody::new(ErrorCode::UnknownCapability, why).next(next))
    };
    let kept = state.item(item);
    if kept.is_some_and(|kept| kept.waits(now)) {
        let next = format!("plexusctl approvals show {item}");
        return refused(format!("the request {item} waits: nobody denied it"), next);
    }
    // The same call was asked for twice, and the newer denial is remembered.
    let other = kept.and_then(|kept| {
        let denials = &state.agent(&kept.agent)?.denials;
        let mut asked = kept.asks.iter().filter_map(|ask| {
            let denial = denials.get(&(ask.capability.clone(), ask.input?))?;
            let refuses = now.since(denial.at) < DENIAL_MS;
            denial.item.as_ref().filter(|_| refuses)
        });
        asked.next()
    });
    match other {
        Some(other) => refused(
            format!("its call is refused by the denial of {other}, which is newer"),
            format!("plexusctl approvals undeny {other}"),
        ),
        None => refused(
            format!("no denial of {item} refuses anything now"),
            "plexusctl activity --only denied --since 30d --json".to_owned(),
        ),
    }
}

/// Refuses limits that a call which waits lies outside of, and names those that it lies within.
async fn lies_within(
    desk: &Arc<Desk>,
    shown: &ItemCard,
    narrowed: &Constraint,
) -> Result<(), Refused> {
    for (id, input) in &shown.inputs {
        let bytes = Bytes::copy_from_slice(input);
        let outside = planner::field_outside(&desk.edge.kernel, &shown.item, id, bytes, narrowed);
        if let Some(field) = outside.await {
            let next = match fitting(input, &field, narrowed) {
                Some(fits) => format!("limit its “{field}” to “{fits}”"),
                None => format!("see its “{field}”, and limit to a part that it lies within"),
            };
            let why = format!("this very call of {id} lies outside of that: {next}, or deny it");
            return Err(Refusal::Invalid(why).into());
        }
    }
    Ok(())
}

/// The text of a field, as it is written; of a path that is limited, its folder. None where that is no short text.
fn fitting(input: &[u8], field: &str, narrowed: &Constraint) -> Option<String> {
    let input = json::parse_wide(input).ok()?;
    let text = input.pointer(&format!("/{}", field.replace('.', "/")))?;
    let text = text.as_str()?;
    let limit = narrowed.path_prefix.as_ref();
    let is_path = limit.is_some_and(|limit| limit.field == field);
    let folder = text.rsplit_once('/').map(|(folder, _)| folder);
    let fits = folder.filter(|_| is_path).unwrap_or(text);
    let is_plain = narration::clean(fits).is_some_and(|clean| clean == fits);
    is_plain.then(|| fits.to_owned())
}

async fn approve(
    desk: &Arc<Desk>,
    acting: &Acting,
    id: PendingId,
    call: Decide,
) -> Result<Decided, Refused> {
    let shown = seen(desk, id.clone())
        .await?
        .filter(|s| s.item.state == ItemState::Pending);
    let shown = shown.ok_or_else(|| none_waits(desk, id.as_str()))?;
    if call
        .agent_id
        .is_some_and(|agent| agent != shown.item.agent.as_str())
    {
        // Items are immutable: a grant for another agent is made for that agent.
        return Err(Refusal::CardChanged.into());
    }
    if shown.item.asks.iter().any(|ask| ask.plan == Plan::Failed) {
        return Err(Refusal::PlanFailed.into());
    }
    if shown.item.asks.iter().any(|ask| ask.plan == Plan::Making) {
        return Err(Refusal::PlanMaking.into());
    }
    // What the card cannot show cannot be approved.
    let current = shown.card.card.digest();
    if current.is_none() || shown.lost {
        return Err(Refusal::PlanFailed.into());
    }
    let named = call.card_digest.as_deref();
    let card = same_card(shown.changes_something(), current, named)?;
    let state = desk.ledger.snapshot();
    if let Some(off) = switched_off(&state, &shown.item) {
        let why = format!("{off} is switched off: enable it, and this can be approved");
        return Err(Refused::new(
            ErrorBody::new(ErrorCode::SourceUnavailable, why)
                .next(format!("plexusctl sources enable {off}")),
        ));
    }
    if let Some(id) = hidden(&state, &shown.item) {
        let why = format!("{id} is hidden from agents: expose it, and this can be approved");
        return Err(Refused::new(
            ErrorBody::new(ErrorCode::CapabilityUnexposed, why)
                .next(format!("plexusctl expose {id}")),
        ));
    }
    let constraint = call.constraint.filter(|narrowed| !narrowed.is_empty());
    if let Some(narrowed) = &constraint {
        lies_within(desk, &shown, narrowed).await?;
    }
    let command = Command::Approve(Approve {
        item: id.clone(),
        revision: shown.item.revision,
        card,
        window: call.trust_window,
        constraint,
        any_input: call.any_input.unwrap_or(false),
        turns: call.turns,
        minutes: call.minutes,
    });
    let receipt = act(desk, acting, command)
        .await
        .map_err(|refused| named_item(desk, refused, &id))?;
    let (here, agent) = (desk.clone(), shown.item.agent.clone());
    let at = desk.ledger.snapshot().time(desk.clock.now());
    blocking(move || {
        here.approvals.remember_approved(&agent, &shown.inputs, at);
    })
    .await?;
    let audit = event_of(&receipt);
    let (granted, once, also, denials_ended) = match receipt.reply {
        Reply::Approved {
            granted,
            once,
            also,
            denials_ended,
        } => (granted, once, also, denials_ended),
        _ => Default::default(),
    };
    Ok(Decided {
        ok: Done,
        action: Action::Approve,
        kind: Kind::Grant,
        outcome: DecisionOutcome::Granted {
            granted,
            once,
            also_answered: also,
            denials_ended,
            on_approval: cards::on_approval(&shown.item),
            audit_id: audit,
        },
    })
}

/// Has the reader compute anew what an item would do, for the API or the console.
pub(crate) async fn plan_again(
    desk: Arc<Desk>,
    acting: Acting,
    PlanAgain { id }: PlanAgain,
) -> Result<Planning, Refused> {
    let item = PendingId::parse(&id).map_err(|_| none_waits(&desk, &id))?;
    act(&desk, &acting, Command::PlanAgain { item: item.clone() })
        .await
        .map_err(|refused| named_item(&desk, refused, &item))?;
    planner::start(&desk.edge.kernel, &item);
    Ok(Planning {
        ok: Done,
        pending_id: item,
    })
}

/// A source of what an item asks for that the owner has switched off.
pub(crate) fn switched_off(state: &State, item: &Item) -> Option<SourceId> {
    let mut sources = item.asks.iter();
    sources.find_map(|ask| {
        let source = state.sources.get(ask.capability.parts().0)?;
        let is_off = !source.config.enabled && !source.config.is_over();
        is_off.then(|| source.id.clone())
    })
}

/// A capability that an item asks for and the owner hides from agents.
pub(crate) fn hidden<'i>(state: &State, item: &'i Item) -> Option<&'i CapabilityId> {
    let mut asked = item.asks.iter().map(|ask| &ask.capability);
    asked.find(|id| !state.exposed(id))
}

/// An item and its card, of one snapshot.
struct ItemCard {
    item: Arc<Item>,
    card: pending::Item,
    /// Whether a capability of it is an effect by its manifest, whatever verbs the item asks for.
    effect: bool,
    /// Whether an input that it names is not there to be shown.
    lost: bool,
    /// The inputs that it names.
    inputs: Vec<(CapabilityId, Vec<u8>)>,
}

impl ItemCard {
    fn changes_something(&self) -> bool {
        self.effect || self.item.asks.iter().any(|ask| !ask.verbs.is_read())
    }
}

async fn seen(desk: &Arc<Desk>, id: PendingId) -> Result<Option<ItemCard>, Refused> {
    let desk = desk.clone();
    blocking(move || {
        let state = desk.ledger.snapshot();
        let item = state.item(&id)?.clone();
        let now = state.time(desk.clock.now());
        if item.state == ItemState::Pending && now >= item.expires_at {
            return None;
        }
        let card = cards::grant(&desk, &desk.catalogue.load(), &state, &item)?;
        let is_effect = |ask: &plexus_trust::Ask| {
            state
                .capability(&ask.capability)
                .is_none_or(|(_, facts)| !facts.verbs.is_read())
        };
        let effect = item.asks.iter().any(is_effect);
        let named: Vec<_> = item.asks.iter().filter(|ask| ask.input.is_some()).collect();
        let kept = |ask: &&plexus_trust::Ask| {
            Some((ask.capability.clone(), desk.approvals.input(&item.id, ask)?))
        };
        let inputs: Vec<_> = named.iter().filter_map(kept).collect();
        Some(ItemCard {
            lost: inputs.len() < named.len(),
            inputs,
            item,
            card,
            effect,
        })
    })
    .await
}

/// Holds the card that an approval names against the one that is shown now, and gives that one's digest. An effect has to
/// name it; a read may.
pub(super) fn same_card(
    effect: bool,
    current: Option<Digest>,
    named: Option<&str>,
) -> Result<Digest, Refusal> {
    match (current, named) {
        (Some(current), Some(named)) if Digest::parse(named) == Some(current) => Ok(current),
        (Some(current), None) if !effect => Ok(current),
        _ => Err(Refusal::CardChanged),
    }
}

/// That an item does not wait: how it ended, as long as it is kept.
fn none_waits(desk: &Desk, id: &str) -> Refused {
    let state = desk.ledger.snapshot();
    let kept = PendingId::parse(id).ok();
    let kept = kept.and_then(|id| state.item(&id));
    let ended = kept.and_then(|item| card::ending(item, state.time(desk.clock.now())));
    let why = match ended {
        Some(ending) => format!("the request {id} {ending}"),
        None => format!("no request '{}' waits", words::cut(id, 80)),
    };
    Refused::new(ErrorBody::new(ErrorCode::UnknownCapability, why).next("plexusctl approvals list"))
}

fn named_item(desk: &Desk, refused: Refused, item: &PendingId) -> Refused {
    // One that waits is refused for something else, such as a source that is off.
    let state = desk.ledger.snapshot();
    let waits = |item: &Item| card::ending(item, state.time(desk.clock.now())).is_none();
    let waits = state.item(item).is_some_and(|item| waits(item));
    if refused.code() == ErrorCode::UnknownCapability && !waits {
        none_waits(desk, item.as_str())
    } else {
        refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effect_names_the_card_that_is_shown() {
        let (now, before) = (Digest::of(b"now"), Digest::of(b"before"));
        let judged = |effect, current, named: Option<&str>| same_card(effect, current, named);
        let (named, other) = (now.to_string(), before.to_string());
        for (effect, current, named) in [
            (true, Some(now), None),
            (true, Some(now), Some(&*other)),
            (true, None, Some(&*named)),
            (true, None, None),
            (false, Some(now), Some(&*other)),
            (false, None, Some(&*named)),
            (true, Some(now), Some(&*named.to_uppercase())),
        ] {
            assert_eq!(
                judged(effect, current, named),
                Err(Refusal::CardChanged),
                "{effect} {current:?} {named:?}"
            );
        }
        for (effect, named) in [(true, Some(&*named)), (false, None), (false, Some(&*named))] {
            assert_eq!(judged(effect, Some(now), named), Ok(now));
        }
    }
}
