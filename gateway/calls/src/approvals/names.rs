//! The name of the channel that a read is about, for its card, which would show an id alone.
//!
//! Invariants: the name is of the id in the input that is kept, by the source that the call goes to; it is in memory alone, and
//! the card's digest covers it. Without an answer of the source in time the card has the id. A source is asked once for an item,
//! and for few of an agent at a time.
//!
//! Must not know: how a card is shown.

use crate::{
    approvals::{
        planner::{go_on, request_of},
        store::Planned,
    },
    kernel::{Kernel, Phase},
};
use bytes::Bytes;
use plexus_ipc::message::{Fact, Preview, Role};
use plexus_protocol::CapabilityId;
use plexus_supervisor::{CallRequest, Stands};
use plexus_trust::{Agent, Ask, Item, ItemState};
use serde::Deserialize;
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

/// How long the source may take.
const WITHIN: Duration = Duration::from_secs(5);
/// Members that a card names one by one.
const NAMED: usize = 20;
/// Characters of an id that tell members of one name apart.
const END: usize = 6;

/// The input of a read of messages.
#[derive(Deserialize)]
struct ReadInput {
    channel: String,
}

/// The channels that a source lists.
#[derive(Deserialize)]
struct Listed {
    channels: Vec<ListedChannel>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedChannel {
    id: String,
    name: Option<String>,
    members: Vec<ListedMember>,
    member_count: usize,
}

#[derive(Deserialize)]
struct ListedMember {
    id: String,
    name: String,
}

/// Asks for the names that the waiting items of an agent lack, once for each item, for a few at a time; a card changes once its
/// source has answered. Returns at once.
pub(super) fn begin(kernel: &Arc<Kernel>, agent: &Agent) {
    if kernel.phase() != Phase::Serving {
        return;
    }
    let waiting = agent.items.values();
    for item in waiting.filter(|item| item.state == ItemState::Pending) {
        for ask in item.asks.iter().filter(|ask| ask.verbs.is_read()) {
            let id = &ask.capability;
            let is_asked = kernel.approvals.plan(&item.id, id).is_some();
            if is_asked || !reads_messages(kernel, id) {
                continue;
            }
            let places = &kernel.approvals.planning;
            let Some(place) = places.take(&item.id, &item.agent, id) else {
                continue;
            };
            let (kernel, item, ask) = (kernel.clone(), item.clone(), ask.clone());
            tokio::spawn(async move {
                find(&kernel, &item, &ask).await;
                drop(place);
                // Its place is another's.
                go_on(&kernel, &item.agent);
            });
        }
    }
}

/// Keeps what the card of a read says of its channel; nothing, where the source does not say it in time.
async fn find(kernel: &Arc<Kernel>, item: &Item, ask: &Ask) {
    let id = &ask.capability;
    let facts = match super::input_aside(kernel, &item.id, ask).await {
        Some((input, _)) => timeout(WITHIN, facts(kernel, id, &input))
            .await
            .ok()
            .flatten(),
        None => None,
    };
    let facts = facts.unwrap_or_default();
    let state = kernel.ledger.snapshot();
    let waits = |item: &&Arc<Item>| item.state == ItemState::Pending;
    if state.item(&item.id).filter(waits).is_some() {
        let is_news = !facts.is_empty();
        kernel
            .approvals
            .keep_plan(&item.id, id, Planned::Named(facts));
        if is_news {
            kernel.approvals.note_change();
        }
    }
}

/// Whether a capability is the one by which its source reads messages of a channel.
fn reads_messages(kernel: &Kernel, id: &CapabilityId) -> bool {
    let catalogue = kernel.catalogue.load();
    catalogue.get(id).is_some_and(|entry| {
        let channels = entry.connector.offer.manifest.channels.as_ref();
        channels.is_some_and(|channels| channels.read == entry.capability().name)
    })
}

async fn facts(kernel: &Kernel, id: &CapabilityId, input: &[u8]) -> Option<Vec<Fact>> {
    if !reads_messages(kernel, id) {
        return None;
    }
    let read: ReadInput = serde_json::from_slice(input).ok()?;
    let entry = kernel.catalogue.load().get(id).cloned()?;
    let channels = entry.connector.offer.manifest.channels.as_ref()?;
    let nothing = Bytes::from_static(b"{}");
    let request = CallRequest {
        capability: channels.list.clone(),
        owner: true,
        deadline: WITHIN,
        ..request_of(kernel, &entry, nothing, None, Stands::default())
    };
    let code = kernel.compared(&entry.source, Role::Reader).await.ok()?;
    let finished = kernel.supervisor.read(&code, request).await.ok()?;
    let answer = finished.result.ok()?.output.into_json();
    let listed: Listed = serde_json::from_str(answer.get()).ok()?;
    let mut channels = listed.channels.iter();
    shown(channels.find(|channel| channel.id == read.channel)?)
}

/// As the cards of effects name a channel and who is in it: where a name that somebody else has chosen ends is seen.
fn shown(channel: &ListedChannel) -> Option<Vec<Fact>> {
    let quoted = |name: &str| Value::from(name).to_string();
    let name = channel.name.as_deref()?;
    let of = |member: &ListedMember| {
        let members = channel.members.iter();
        let same = members.filter(|other| other.name == member.name).count();
        let end = member.id.len().saturating_sub(END);
        match member.id.get(end..).filter(|_| same > 1) {
            Some(end) => format!("{} #{end}", quoted(&member.name)),
            None => quoted(&member.name),
        }
    };
    let mut members: Vec<String> = channel.members.iter().take(NAMED).map(of).collect();
    let more = channel.member_count.saturating_sub(members.len());
    if more > 0 {
        members.push(format!("{more} more"));
    }
    let preview = Preview::default()
        .fact("channel", format!("{} ({})", quoted(name), channel.id))
        .fact("members", members.join(", "));
    Some(preview.facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channel_is_named_with_its_members_beside_their_ids() {
        let channel = |name: &str| {
            let members = r#"[{"id": "01AAAAAA", "kind": "human", "name": "Pat"},
                {"id": "02", "kind": "agent", "name": "Me\"\n"}, {"id": "01BBBBBB", "name": "Pat"}]"#;
            let channel = format!(
                r#"{{"id": "C", {name} "members": {members}, "memberCount": 5, "keys": "x"}}"#
            );
            serde_json::from_str::<ListedChannel>(&channel).expect("a channel")
        };
        let facts = shown(&channel(r#""name": "sums","#)).expect("facts");
        let facts: Vec<_> = facts
            .iter()
            .map(|fact| (fact.name.as_str(), fact.value.as_str()))
            .collect();
        let members = r#""Pat" #AAAAAA, "Me\"\n", "Pat" #BBBBBB, 2 more"#;
        assert_eq!(facts, [("channel", r#""sums" (C)"#), ("members", members)]);
        assert!(shown(&channel("")).is_none(), "its name does not open");
    }
}
