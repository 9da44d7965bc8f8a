//! Cards as the owner's protocol has them: what `plexus-calls` makes as JSON is read here, and nowhere else.
//!
//! Must not know: what a card shows, which is `plexus_calls::approvals`'.

use crate::desk::Desk;
use plexus_calls::approvals::{card, change};
use plexus_owner::{
    Done,
    pending::{self, BriefCard, Card, Client, Heading, Kind, OnApproval, ProposedSource},
};
use plexus_protocol::{PendingId, Timestamp};
use plexus_sources::catalogue::Catalogue;
use plexus_trust::{Item, Source, State};
use serde_json::{Map, Value};

/// The card of calls that an agent asks for. Reads its inputs from their files.
pub(crate) fn grant(
    desk: &Desk,
    catalogue: &Catalogue,
    state: &State,
    item: &Item,
) -> Option<pending::Item> {
    read(card::card(
        &desk.approvals,
        catalogue,
        state,
        item,
        desk.clock.now(),
    ))
}

/// The card of a source that changed; none where nothing of it waits.
pub(crate) fn change(
    desk: &Desk,
    state: &State,
    catalogue: &Catalogue,
    source: &Source,
) -> Option<pending::Item> {
    read(change::card(state, catalogue, source, desk.clock.now())?.into())
}

/// The cards of all sources that changed.
pub(crate) fn changes(
    desk: &Desk,
    state: &State,
    catalogue: &Catalogue,
) -> impl Iterator<Item = pending::Item> {
    read_all(change::cards(state, catalogue, desk.clock.now()))
}

/// The card of a question that waits.
pub(crate) fn question(desk: &Desk, state: &State, id: &PendingId) -> Option<pending::Item> {
    read(desk.questions.card(id, state)?.into())
}

/// The cards of all questions that wait, the oldest first.
pub(crate) fn questions(desk: &Desk, state: &State) -> impl Iterator<Item = pending::Item> {
    read_all(desk.questions.cards(state))
}

/// The card of this id that the machine has no item of: a question, or a source that changed.
pub(crate) fn of_source(desk: &Desk, state: &State, id: &PendingId) -> Option<pending::Item> {
    question(desk, state, id).or_else(|| {
        let catalogue = desk.catalogue.load();
        let source = change::source_of(state, &catalogue, id, desk.clock.now())?;
        change(desk, state, &catalogue, source)
    })
}

/// An item whose card a list has no room for.
pub(crate) fn brief(item: &Item, now: Timestamp) -> pending::Item {
    let proposal = item.register.as_ref();
    pending::Item {
        heading: heading(item, now),
        card: Card::Brief(Box::new(BriefCard {
            register: proposal.map(|proposal| ProposedSource {
                source: proposal.source.clone(),
            }),
            brief: Done,
            rest: Map::new(),
        })),
    }
}

/// What every item has.
pub(crate) fn heading(item: &Item, now: Timestamp) -> Heading {
    Heading {
        pending_id: item.id.clone(),
        kind: match item.register {
            Some(_) => Kind::Register,
            None => Kind::Grant,
        },
        state: match item.wire_state(now) {
            "pending" => pending::State::Pending,
            "approved" => pending::State::Approved,
            "denied" => pending::State::Denied,
            _ => pending::State::Expired,
        },
        created_at: item.created_at,
        expires_at: Some(item.expires_at),
        ending: card::ending(item, now),
        agent_id: Some(item.agent.clone()),
        capabilities: item.asks.iter().map(|ask| ask.capability.clone()).collect(),
        agent_purpose: item.purpose.clone(),
    }
}

/// What the client of an item called itself.
pub(crate) fn client(item: &Item) -> Option<Client> {
    let (name, version) = item.client.clone();
    (item.client != (None, None)).then_some(Client { name, version })
}

/// What an item's approval does beside allowing.
pub(crate) fn on_approval(item: &Item) -> OnApproval {
    match item.on_approval {
        plexus_trust::OnApproval::Wait => OnApproval::Wait,
        plexus_trust::OnApproval::Run => OnApproval::Run,
    }
}

fn read_all(cards: Vec<Map<String, Value>>) -> impl Iterator<Item = pending::Item> {
    cards.into_iter().filter_map(|card| read(card.into()))
}

fn read(card: Value) -> Option<pending::Item> {
    let read = serde_json::from_value(card);
    read.inspect_err(|error| {
        tracing::error!(name: "card.unreadable", %error, "a card is not of its form");
    })
    .ok()
}
