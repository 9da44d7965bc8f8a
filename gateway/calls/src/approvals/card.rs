//! The card: all that the owner sees of an item, and the digest that an approval is bound to
//! (docs/protocol/owner.md#requests-and-approvals, docs/design.md#approvals).

use super::choices;
use crate::{
    approvals::store::{Approvals, Planned},
    refusal,
};
use plexus_protocol::{Digest, SourceId, Timestamp, body::Narration, json, time::ago};
use plexus_sources::{catalogue::Catalogue, narration};
use plexus_trust::{Approval, Ask, Difference, Item, ItemState, Plan, State};
use serde_json::{Map, Value, json as object};

/// Why a card has no preview of a call that was decided.
pub const SETTLED: &str = "the preview is kept only while a request waits";

/// What a list says of an item whose card it has no room for: who asks for what, and since when; nothing that can be
/// decided on.
pub fn heading(item: &Item, now: Timestamp) -> Map<String, Value> {
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| out.insert(key.to_owned(), value);
    put("pendingId", object!(item.id));
    put("kind", object!(kind(item)));
    put("state", object!(item.wire_state(now)));
    put("createdAt", object!(item.created_at));
    put("expiresAt", object!(item.expires_at));
    if let Some(ending) = ending(item, now) {
        put("ending", object!(ending));
    }
    put("agentId", object!(item.agent));
    put(
        "capabilities",
        item.asks.iter().map(|a| object!(a.capability)).collect(),
    );
    if let Some(purpose) = &item.purpose {
        put("agentPurpose", object!(purpose));
    }
    if let Some(proposal) = &item.register {
        put("register", object!({"source": proposal.source}));
    }
    out
}

/// What sort of item it is, as the wire says it.
#[must_use]
pub fn kind(item: &Item) -> &'static str {
    match item.register {
        Some(_) => "register",
        None => "grant",
    }
}

/// How an item ended, or its request was decided, as the rest of a sentence about it; none: it waits.
#[must_use]
pub fn ending(item: &Item, now: Timestamp) -> Option<String> {
    let undecided = item.asks.iter().all(|ask| ask.approval == Approval::Open);
    Some(match &item.state {
        ItemState::Pending if now < item.expires_at => return None,
        ItemState::Pending | ItemState::Lapsed if undecided => format!(
            "expired undecided {}: nothing was done; the agent has to ask again",
            ago(item.expires_at, now)
        ),
        ItemState::Approved { at } if now < item.expires_at || !item.has_call_left() => {
            format!("was approved {}", ago(*at, now))
        }
        ItemState::Pending | ItemState::Lapsed | ItemState::Approved { .. } => format!(
            "was approved, and its approval expired {}; the agent has to ask again",
            ago(item.expires_at, now)
        ),
        ItemState::Consumed => "was approved, and is being done".to_owned(),
        ItemState::Over { .. } if permits_more(item, now) => format!(
            "was approved, and permits further calls (to end that: plexusctl calls stop {})",
            item.id
        ),
        // A run that it permitted may be under way still.
        ItemState::Over { .. } if item.asks.iter().any(|ask| ask.bounded.is_some()) => {
            format!(
                "was approved, and its own call has ended (to end what of it goes on: plexusctl calls stop {})",
                item.id
            )
        }
        ItemState::Over { .. } => "was approved, and its call has ended".to_owned(),
        ItemState::Denied { reason: None } => "was denied".to_owned(),
        ItemState::Denied { reason: Some(why) } => format!("was denied: {why}"),
        ItemState::Void { why } => format!("is void: {why}"),
    })
}

/// Whether its approval permits further turns or child calls.
#[must_use]
pub fn permits_more(item: &Item, now: Timestamp) -> bool {
    let mut bounded = item.asks.iter().filter_map(|ask| ask.bounded.as_deref());
    bounded.any(|bounded| bounded.is_open(now))
}

/// How an item's asks are told to the owner.
pub(crate) fn narrated(catalogue: &Catalogue, state: &State, item: &Item) -> Vec<Narration> {
    let moves = |ask: &Ask| {
        let of_it = |(source, _): &(&SourceId, _)| source.as_str() == ask.capability.parts().0;
        let moves = item.moves(state).filter(of_it);
        moves
            .map(|(source, change)| moved(item, source, change))
            .collect()
    };
    narration::of_item(catalogue, state, item, choices::amounts_to_execute, moves)
}

/// An item as `GET /admin/api/pending/:id` shows it.
pub fn card(
    approvals: &Approvals,
    catalogue: &Catalogue,
    state: &State,
    item: &Item,
    now: Timestamp,
) -> Value {
    let mut out = heading(item, state.time(now));
    let mut put = |key: &str, value: Value| out.insert(key.to_owned(), value);
    put(
        "scopes",
        item.asks
            .iter()
            .map(|a| object!({"id": a.capability, "verbs": a.verbs, "constraint": a.constraint}))
            .map(without_nulls)
            .collect(),
    );
    put(
        "reasons",
        item.asks
            .iter()
            .map(|a| {
                object!(if a.verbs.is_read() {
                    "read"
                } else {
                    "changes something"
                })
            })
            .collect(),
    );
    put(
        "pendingNarration",
        object!(narrated(catalogue, state, item)),
    );
    if let Some(wish) = item.asks.iter().find_map(|a| a.wish) {
        put("requestedTrustWindow", object!(wish));
    }
    if item.client != (None, None) {
        put(
            "client",
            without_nulls(object!({"name": item.client.0, "version": item.client.1})),
        );
    }
    put("onApproval", object!(item.on_approval));
    put(
        "asks",
        item.asks
            .iter()
            .map(|ask| shown_ask(approvals, catalogue, state, item, ask))
            .collect(),
    );
    put("choices", choices::choices(catalogue, state, item));
    put("narrow", choices::narrow(approvals, catalogue, item));
    put("differs", differs(approvals, item));
    let denied = denied_before(item);
    if !denied.is_empty() {
        put("deniedBefore", Value::Array(denied));
    }
    let moves = item.moves(state);
    let moves: Vec<_> = moves
        .map(|(source, change)| {
            object!({"source": source, "at": change.at, "words": moved(item, source, change)})
        })
        .collect();
    if !moves.is_empty() {
        put("sourceChanged", Value::Array(moves));
    }
    if complete(approvals, item) {
        let digest = digest(&out);
        out.insert("cardDigest".into(), object!(digest));
    }
    Value::Object(out)
}

/// The digest of a card: of its canonical JSON without the digest itself.
pub fn digest(card: &Map<String, Value>) -> Digest {
    let mut card = card.clone();
    card.remove("cardDigest");
    json::digest(&Value::Object(card))
}

/// What the calls of an item differ in from those that were approved last. If it asks for several capabilities each
/// change says which it is about, and `since` is the earliest of the calls that were compared.
fn differs(approvals: &Approvals, item: &Item) -> Value {
    let mut all = Value::Null;
    for ask in &item.asks {
        let Some(mut one) = approvals.differs(&item.id, ask) else {
            continue;
        };
        if item.asks.len() > 1 {
            for change in one["changes"].as_array_mut().into_iter().flatten() {
                change["capability"] = object!(ask.capability);
            }
        }
        if all.is_null() {
            all = one;
            continue;
        }
        if let (Value::Array(changes), Value::Array(more)) =
            (&mut all["changes"], one["changes"].take())
        {
            changes.extend(more);
        }
        // Moments of one form sort as text.
        if one["since"].as_str() < all["since"].as_str() {
            all["since"] = one["since"].take();
        }
    }
    all
}

/// What the owner has said no to before, so that a call that is tried again and again with a small change does not look
/// like a new one. As it was when the item was made: a card changes by what it is about, not by its neighbours.
fn denied_before(item: &Item) -> Vec<Value> {
    let denied = item.asks.iter().filter(|ask| ask.denied > 0);
    denied
        .map(|ask| {
            let calls = match ask.denied {
                1 => "another call".to_owned(),
                n => format!("{n} other calls"),
            };
            let words = format!(
                "In the 30 days before this you denied {calls} of {} by {}.",
                ask.capability, item.agent
            );
            object!({"id": ask.capability, "count": ask.denied, "words": words})
        })
        .collect()
}

/// Why the agent has to ask anew, in words: how `source` was changed.
fn moved(item: &Item, source: &SourceId, change: &Difference) -> String {
    format!(
        "The grants of {} on {source} were revoked because {source} was changed: {}.",
        item.agent,
        change.words.join("; ")
    )
}

/// Whether nothing of the card is still being computed, and all of what was computed is shown.
fn complete(approvals: &Approvals, item: &Item) -> bool {
    item.asks.iter().all(|ask| match &ask.plan {
        Plan::None | Plan::Failed => true,
        Plan::Making => false,
        Plan::Ready { .. } => approvals.preview(&item.id, ask).is_some(),
    })
}

fn shown_ask(
    approvals: &Approvals,
    catalogue: &Catalogue,
    state: &State,
    item: &Item,
    ask: &Ask,
) -> Value {
    let entry = catalogue.get(&ask.capability);
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| out.insert(key.to_owned(), value);
    put("id", object!(ask.capability));
    put("verbs", object!(ask.verbs));
    put(
        "label",
        object!(entry.map(|e| e.capability().label.clone())),
    );
    if let Some(digest) = ask.input {
        put("inputDigest", object!(digest));
        let kept = approvals.kept_input(&item.id, ask);
        put("input", kept.map_or(Value::Null, |(_, value)| value));
    }
    put(
        "plan",
        match &ask.plan {
            Plan::None => Value::Null,
            Plan::Making => object!("making"),
            Plan::Ready {
                preview,
                state_token,
                rating,
                once: _,
            } => match approvals.preview(&item.id, ask) {
                Some(made) => object!({
                    "preview": made.preview,
                    "previewDigest": preview,
                    "stateToken": state_token,
                    "rating": rating,
                    "summary": made.summary,
                    "touched": made.touched,
                    "warnings": made.warnings,
                }),
                None if item.state == ItemState::Pending => {
                    object!({"error": "its preview was not kept; have it planned again"})
                }
                None => object!({"error": SETTLED}),
            },
            Plan::Failed => match approvals.plan(&item.id, &ask.capability) {
                Some(Planned::Failed(why)) => object!({"error": refusal::to_owner(&why)}),
                _ => object!({"error": "it could not be computed"}),
            },
        },
    );
    if let Some(Planned::Named(facts)) = approvals.plan(&item.id, &ask.capability)
        && !facts.is_empty()
    {
        put("facts", object!(facts));
    }
    if let Some(bounded) = &ask.bounded {
        match &bounded.children {
            None => put("conversation", object!(bounded.limits)),
            Some(children) => put(
                "children",
                object!({
                    "capabilities": children.capabilities.keys().collect::<Vec<_>>(),
                    "runs": bounded.limits.turns,
                    "minutes": bounded.limits.minutes,
                    "parallel": children.parallel,
                    "words": choices::permits(bounded, ask.input.is_some()),
                }),
            ),
        };
    }
    put(
        "windows",
        choices::offers(state, item, ask, entry.map(|e| &**e)),
    );
    Value::Object(out)
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => members.into_iter().filter(|(_, v)| !v.is_null()).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_protocol::{AgentId, CapabilityId, PendingId, SessionId};
    use plexus_trust::{Bounded, BoundedState, OnApproval, OutcomeKind, TurnLimits};

    /// A read of a file, with what the owner's approval left of it.
    fn ask(approval: Approval) -> Ask {
        Ask {
            capability: CapabilityId::parse("workspace.read").unwrap(),
            verbs: plexus_protocol::Verbs::READ,
            constraint: None,
            wish: None,
            input: None,
            input_bytes: 0,
            key: None,
            plan: Plan::None,
            approval,
            denied: 0,
            voided: None,
            outcome: None,
            intent: None,
            undo: None,
            bounded: None,
            counted: None,
            covered_by: None,
        }
    }

    #[test]
    fn ending_of_an_item_is_named() {
        let mut item = Item {
            id: PendingId::fresh(),
            agent: AgentId::parse("a").unwrap(),
            session: SessionId::fresh(),
            agent_epoch: None,
            created_at: Timestamp(0),
            expires_at: Timestamp(1_767_312_000_000),
            asks: Vec::new(),
            purpose: None,
            on_approval: OnApproval::Run,
            register: None,
            client: (None, None),
            revision: 0,
            state: ItemState::Pending,
        };
        let at = item.expires_at;
        let before = Timestamp(at.0 - 120_000);
        assert_eq!(ending(&item, before), None);
        item.state = ItemState::Approved { at: before };
        assert_eq!(ending(&item, before).unwrap(), "was approved just now");
        // A grant goes on when its request is over.
        item.asks = vec![ask(Approval::Granted)];
        let said = ending(&item, at).unwrap();
        assert_eq!(said, "was approved 2 min ago");
        item.asks[0].approval = Approval::OneCall;
        let said = ending(&item, at).unwrap();
        assert!(
            said.starts_with("was approved, and its approval expired"),
            "{said}"
        );
        let mut bounded = Bounded::asked(
            TurnLimits {
                turns: 2,
                minutes: 1,
            },
            None,
        );
        bounded.state = BoundedState::Open { until: at };
        item.asks[0].bounded = Some(Box::new(bounded));
        item.state = ItemState::Over {
            outcome: OutcomeKind::Ok,
        };
        let open = ending(&item, before).unwrap();
        let stop = format!("(to end that: plexusctl calls stop {})", item.id);
        assert!(open.ends_with(&stop), "{open}");
        let over = ending(&item, at).unwrap();
        let stop = format!(
            "ended (to end what of it goes on: plexusctl calls stop {})",
            item.id
        );
        assert!(over.ends_with(&stop), "{over}");
        item.asks[0].bounded = None;
        let single = ending(&item, at).unwrap();
        assert_eq!(single, "was approved, and its call has ended");
        item.asks.clear();
        #[rustfmt::skip]
        let rows = [
            (ItemState::Pending, "expired undecided just now: nothing was done"),
            (ItemState::Lapsed, "expired undecided just now: nothing was done"),
            (ItemState::Denied { reason: Some("no".into()) }, "was denied: no"),
            (ItemState::Void { why: "withdrawn".into() }, "is void: withdrawn"),
        ];
        for (state, said) in rows {
            item.state = state;
            let ended = ending(&item, at).unwrap();
            assert!(ended.starts_with(said), "{ended}");
        }
    }
}
