//! What waits for the owner, and the owner's answer (docs/protocol/owner.md#requests-and-approvals,
//! docs/design.md#approvals).
//!
//! Invariant: an effect is approved only against the card that the owner saw. The card is compared by its digest with
//! the one of a snapshot, and the item's revision of that snapshot goes with the approval, so the machine refuses one
//! that changed since.

use super::{
    Acting, Narrowing, body::Fields, declared::kept_secrets, definitions, proposal_cards,
    questions, sources::resumed_code,
};
use crate::{
    acts::{Named, act, blocking, event_of, narrow},
    desk::Desk,
};
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_calls::approvals::{card, change, planner, run};
use plexus_edge::reply::{Refused, ok, query};
use plexus_protocol::{
    CapabilityId, Constraint, Digest, ErrorBody, ErrorCode, PendingId, TrustWindow,
};
use plexus_trust::{Approve, Command, Item, ItemState, Plan, Refusal, Reply, Source};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// How many bytes of cards the list carries; what else waits it only names. Inputs and previews make a card megabytes;
/// agents decide how many of those there are, and the list has to reach the owner whatever they do: `plexusctl` reads
/// 32 MiB of one answer.
const CARDS: usize = 8 << 20;

/// Everything that waits, the newest first: whole cards up to [`CARDS`], the rest without (`brief`), to be looked at one
/// by one.
/// With `begins` the ids of all kept items, decided ones too, that begin so.
pub(super) async fn list(
    State(desk): State<Arc<Desk>>,
    request: Request,
) -> Result<Response, Refused> {
    if let Some(begins) = query(&request, "begins") {
        let state = desk.ledger.snapshot();
        let all = state.agents.values().flat_map(|agent| agent.items.keys());
        let kept: Vec<&PendingId> = all.filter(|id| id.as_str().starts_with(&begins)).collect();
        return Ok(ok(&json!({ "kept": kept })));
    }
    let mut proposed = proposals(&desk).await?;
    // Cards show the inputs, which lie in files.
    let cards = blocking(move || {
        let state = desk.ledger.snapshot();
        let catalogue = desk.catalogue.load();
        let now = state.time(desk.clock.now());
        let all = state.agents.values().flat_map(|agent| agent.items.values());
        let mut waiting: Vec<&Arc<Item>> = all
            .filter(|item| item.state == ItemState::Pending && now < item.expires_at)
            .collect();
        waiting.sort_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
        let mut carried = 0;
        let items = waiting.iter().map(|item| {
            if carried < CARDS {
                let card = match &item.register {
                    Some(_) => proposed.remove(&item.id).unwrap_or_default(),
                    None => card::card(&desk.approvals, &catalogue, &state, item),
                };
                // Made since, or one too many.
                if card.is_null() {
                    let mut brief = card::heading(&state, item);
                    brief.insert("brief".into(), json!(true));
                    return Value::Object(brief);
                }
                let long = length(&card);
                if carried + long <= CARDS {
                    carried += long;
                    return card;
                }
                // The same for those after it: what is carried is the newest without a gap.
                carried = CARDS;
            }
            let mut brief = card::heading(&state, item);
            brief.insert("brief".into(), json!(true));
            Value::Object(brief)
        });
        // A call waits for each of them.
        let first = desk.questions.cards(&state).into_iter();
        let changes = change::cards(&state, &catalogue).into_iter();
        // A source that changed comes first: whatever is asked for on it waits for that.
        let first = first.chain(changes).map(Value::Object);
        first.chain(items).collect::<Vec<_>>()
    })
    .await?;
    Ok(ok(&json!({ "pending": cards })))
}

/// Proposals whose cards a list carries: for each the programs and folders of this machine are looked at, beside the list.
const PROPOSALS: usize = 16;

/// The cards of the extensions that agents propose, the newest [`PROPOSALS`] of them.
async fn proposals(desk: &Arc<Desk>) -> Result<BTreeMap<PendingId, Value>, Refused> {
    let state = desk.ledger.snapshot();
    let now = state.time(desk.clock.now());
    let all = state.agents.values().flat_map(|agent| agent.items.values());
    let mut waiting: Vec<Arc<Item>> = all
        .filter(|item| {
            item.register.is_some() && item.state == ItemState::Pending && now < item.expires_at
        })
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

/// How long a value is as JSON.
fn length(value: &Value) -> usize {
    value.to_string().len()
}

/// One item, decided or not.
pub(super) async fn show(
    State(desk): State<Arc<Desk>>,
    Named(id): Named,
) -> Result<Response, Refused> {
    let item = PendingId::parse(&id).map_err(|_| none_waits(&id))?;
    let state = desk.ledger.snapshot();
    let catalogue = desk.catalogue.load_full();
    if let Some(card) = desk.questions.card(&item, &state) {
        return Ok(ok(&card));
    }
    if let Some(source) = change::source_of(&state, &catalogue, &item) {
        let card = change::card(&state, &catalogue, source);
        return Ok(ok(&card.ok_or_else(|| none_waits(&id))?));
    }
    if let Some(item) = proposal_of(&desk, &item) {
        let proposed = proposal_cards::look(&desk, &item).await?;
        return Ok(ok(&proposed.card));
    }
    let shown = seen(&desk, item).await?.ok_or_else(|| none_waits(&id))?;
    Ok(ok(&shown.card))
}

pub(super) async fn decide(
    State(desk): State<Arc<Desk>>,
    narrowing: Narrowing,
    Named(id): Named,
    request: Request,
) -> Result<Response, Refused> {
    decide_item(desk, narrowing, id, request).await
}

/// Carries out the decision that a request's body names, whoever has let it in.
pub(crate) async fn decide_item(
    desk: Arc<Desk>,
    narrowing: Narrowing,
    id: String,
    request: Request,
) -> Result<Response, Refused> {
    let body = Fields::read(request).await?;
    let action = body
        .given("action")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !matches!(action, "approve" | "deny") {
        return Err(Refused::malformed(
            "`action` must be \"approve\" or \"deny\"",
        ));
    }
    let reason = body.words("reason")?;
    let wish = DecideRequest::read(&body)?;
    let item = PendingId::parse(&id).map_err(|_| none_waits(&id))?;
    if desk.questions.waits(&item) {
        let (card, is_answered) = (wish.card.as_deref(), action == "approve");
        return questions::decided(&desk, &narrowing, &item, &body, card, is_answered).await;
    }
    let catalogue = desk.catalogue.load_full();
    if let Some(source) = change::source_of(&desk.ledger.snapshot(), &catalogue, &item) {
        let go_on = action == "approve";
        return changed(&desk, &narrowing, source, &item, go_on, &wish).await;
    }
    if action == "deny" {
        return deny(&desk, &narrowing, item, reason).await;
    }
    if let Some(item) = proposal_of(&desk, &item) {
        let now = desk.ledger.snapshot().time(desk.clock.now());
        if item.state != ItemState::Pending || now >= item.expires_at {
            return Err(none_waits(&id));
        }
        let folders = body.typed("folders")?.unwrap_or_default();
        let card = wish.card.as_deref();
        let keeps = kept_secrets(&body);
        return super::proposals::approve(&desk, &narrowing, &item, card, folders, &keeps).await;
    }
    approve(&desk, &narrowing.wider(&desk).await?, item, wish).await
}

/// The terms of an approve.
struct DecideRequest {
    window: Option<TrustWindow>,
    constraint: Option<Constraint>,
    any_input: bool,
    turns: Option<u32>,
    minutes: Option<u32>,
    card: Option<String>,
    agent: Option<String>,
}

impl DecideRequest {
    fn read(body: &Fields) -> Result<Self, Refused> {
        Ok(Self {
            window: body.typed("trustWindow")?,
            constraint: body
                .typed::<Constraint>("constraint")?
                .filter(|c| !c.is_empty()),
            any_input: body.flag("anyInput")?.unwrap_or(false),
            turns: body.typed("turns")?,
            minutes: body.typed("minutes")?,
            card: body.text("cardDigest")?.map(str::to_owned),
            agent: body.text("agentId")?.map(str::to_owned),
        })
    }
}

/// Decides on a source that has changed. A yes names the card that was seen.
async fn changed(
    desk: &Arc<Desk>,
    narrowing: &Narrowing,
    source: &Source,
    item: &PendingId,
    go_on: bool,
    wish: &DecideRequest,
) -> Result<Response, Refused> {
    let acting = match go_on {
        true => Some(narrowing.wider(desk).await?),
        false => None,
    };
    // What is agreed to is what the card was made of.
    let catalogue = desk.catalogue.load_full();
    let proposal = catalogue.proposal(&source.id).cloned();
    if go_on {
        let card = change::card(&desk.ledger.snapshot(), &catalogue, source);
        let current = card.as_ref().and_then(|c| c.get("cardDigest")?.as_str());
        same_card(true, current, wish.card.as_deref())?;
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
    if proposal.is_some() {
        desk.renew_catalogue(Some(Default::default()));
    }
    let decision = if go_on { "approve" } else { "deny" };
    desk.feed.change_decided(item, decision);
    Ok(ok(&json!({
        "ok": true,
        "action": decision,
        "kind": "change",
        "source": source.id,
        "resumed": go_on && matches!(receipt.reply, Reply::Changed(true)),
        "auditId": event_of(&receipt),
    })))
}

async fn deny(
    desk: &Arc<Desk>,
    narrowing: &Narrowing,
    item: PendingId,
    reason: Option<String>,
) -> Result<Response, Refused> {
    let command = Command::Deny {
        item: item.clone(),
        reason: reason.clone(),
    };
    let receipt = narrow(desk, narrowing, command)
        .await
        .map_err(|refused| named_item(refused, &item))?;
    desk.approvals.drop_input(&item);
    let kind = proposal_of(desk, &item).map_or("grant", |_| "register");
    let mut answer =
        json!({"ok": true, "action": "deny", "kind": kind, "auditId": event_of(&receipt)});
    if let Some(reason) = reason {
        answer["reason"] = json!(reason);
    }
    Ok(ok(&answer))
}

async fn approve(
    desk: &Arc<Desk>,
    acting: &Acting,
    id: PendingId,
    wish: DecideRequest,
) -> Result<Response, Refused> {
    let shown = seen(desk, id.clone())
        .await?
        .filter(|s| s.item.state == ItemState::Pending);
    let shown = shown.ok_or_else(|| none_waits(id.as_str()))?;
    if wish
        .agent
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
    if shown.current.is_none() || shown.lost {
        return Err(Refusal::PlanFailed.into());
    }
    same_card(
        shown.changes_something(),
        shown.current.as_deref(),
        wish.card.as_deref(),
    )?;
    let command = Command::Approve(Approve {
        item: id.clone(),
        revision: shown.item.revision,
        card: card::digest(&shown.card),
        window: wish.window,
        constraint: wish.constraint,
        any_input: wish.any_input,
        turns: wish.turns,
        minutes: wish.minutes,
    });
    let receipt = act(desk, acting, command)
        .await
        .map_err(|refused| named_item(refused, &id))?;
    run::start(&desk.edge.kernel, &id);
    let (here, agent) = (desk.clone(), shown.item.agent.clone());
    let at = desk.ledger.snapshot().time(desk.clock.now());
    blocking(move || {
        here.approvals.remember_approved(&agent, &shown.inputs, at);
    })
    .await?;
    let audit = event_of(&receipt);
    let (granted, once) = match receipt.reply {
        Reply::Approved { granted, once } => (granted, once),
        _ => (Vec::new(), Vec::new()),
    };
    Ok(ok(&json!({
        "ok": true,
        "action": "approve",
        "kind": "grant",
        "granted": granted,
        "once": once,
        "onApproval": shown.item.on_approval,
        "auditId": audit,
    })))
}

/// Has the reader compute anew what an item would do.
pub(super) async fn plan_again(
    State(desk): State<Arc<Desk>>,
    acting: Acting,
    Named(id): Named,
) -> Result<Response, Refused> {
    plan_item_again(desk, &acting, id).await
}

/// The same, whoever has let the request in.
pub(crate) async fn plan_item_again(
    desk: Arc<Desk>,
    acting: &Acting,
    id: String,
) -> Result<Response, Refused> {
    let item = PendingId::parse(&id).map_err(|_| none_waits(&id))?;
    act(&desk, acting, Command::PlanAgain { item: item.clone() })
        .await
        .map_err(|refused| named_item(refused, &item))?;
    planner::start(&desk.edge.kernel, &item);
    Ok(ok(&json!({"ok": true, "pendingId": item})))
}

/// An item and its card, of one snapshot.
struct ItemCard {
    item: Arc<Item>,
    card: Map<String, Value>,
    /// The card's digest; none while something of it is still being computed.
    current: Option<String>,
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
        let Value::Object(card) =
            card::card(&desk.approvals, &desk.catalogue.load(), &state, &item)
        else {
            return None;
        };
        let current = card
            .get("cardDigest")
            .and_then(Value::as_str)
            .map(str::to_owned);
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
            current,
            effect,
        })
    })
    .await
}

/// Holds the card that an approval names against the one that is shown now. An effect has to name it; a read may.
pub(super) fn same_card(
    effect: bool,
    current: Option<&str>,
    named: Option<&str>,
) -> Result<(), Refusal> {
    match (current, named) {
        (Some(current), Some(named)) if Digest::parse(named).is_some() && current == named => {
            Ok(())
        }
        (Some(_), None) if !effect => Ok(()),
        _ => Err(Refusal::CardChanged),
    }
}

fn none_waits(id: &str) -> Refused {
    let why = format!(
        "no pending item '{}' (or it is decided)",
        plexus_sources::narration::cut(id, 80)
    );
    Refused::new(ErrorBody::new(ErrorCode::UnknownCapability, why).next("plexusctl approvals list"))
}

fn named_item(refused: Refused, item: &PendingId) -> Refused {
    if refused.code() == ErrorCode::UnknownCapability {
        none_waits(item.as_str())
    } else {
        refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effect_names_the_card_that_is_shown() {
        let (now, before) = (
            Digest::of(b"now").to_string(),
            Digest::of(b"before").to_string(),
        );
        assert!(same_card(true, Some(&now), Some(&now)).is_ok());
        for (effect, current, named) in [
            (true, Some(&now), None),
            (true, Some(&now), Some(&before)),
            (true, None, Some(&now)),
            (true, None, None),
            (false, Some(&now), Some(&before)),
            (false, None, Some(&now)),
        ] {
            let judged = same_card(
                effect,
                current.map(String::as_str),
                named.map(String::as_str),
            );
            assert_eq!(
                judged,
                Err(Refusal::CardChanged),
                "{effect} {current:?} {named:?}"
            );
        }
        assert!(same_card(false, Some(&now), None).is_ok());
        assert!(same_card(false, Some(&now), Some(&now)).is_ok());
        assert!(same_card(true, Some(&now), Some(&now.to_uppercase())).is_err());
    }
}
