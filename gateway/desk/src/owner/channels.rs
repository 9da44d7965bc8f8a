//! Conversations of people and agents, as the owner takes part in them (ours).
//!
//! What is in a channel is its source's to say: the gateway keeps nothing of it. A read of the owner's leaves no event; an
//! act is planned and committed at once, and is in the audit log as the owner's.

use super::{Narrowing, of_source};
use crate::{
    acts::{failed_halfway, worker_refused},
    desk::Desk,
    table::{Reading, Served},
};
use plexus_calls::own::{self, OwnerCapability, Talk, Upkeep};
use plexus_edge::reply::Refused;
use plexus_owner::{
    Done, OwnerCall,
    channels::{
        ActOutput, ActResult, Add, Archive, Away, ChannelRow, Channels, Create, Forget, Identity,
        Leave, List, ListMembers, ListUnsent, ListUsers, Members, Messages, Read, Remove, Rename,
        Rotate, Say, Unsent,
    },
};
use plexus_protocol::{ErrorBody, ErrorCode, SourceId};
use plexus_trust::Source;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::sync::Arc;
use tokio::task::JoinSet;

/// The fact of a plan that names a channel of the same name.
const ANOTHER: &str = "another of this name";

/// An act, by the capability of its source.
trait Act: OwnerCall<Reply = ActResult> {
    const TALK: Talk;
    fn source(&self) -> &SourceId;
}

macro_rules! acts {
    ($($call:ident $talk:ident,)+) => {
        $(
            impl Act for $call {
                const TALK: Talk = Talk::$talk;
                fn source(&self) -> &SourceId {
                    &self.source
                }
            }
        )+
        /// Reads and acts.
        pub(super) fn serve(served: Served) -> Served {
            let reads = served.with(list).with(users).with(members).with(messages).with(unsent);
            reads$(.with(done::<$call>))+
        }
    };
}

acts! {
    Add Add,
    Archive Archive,
    Create Create,
    Forget Forget,
    Leave Leave,
    Remove Remove,
    Rename Rename,
    Rotate Rotate,
    Say Send,
}

/// What a source answers of its channels.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    channels: Vec<Value>,
    #[serde(default)]
    you: Value,
    #[serde(default)]
    more: u64,
    unsent: Option<u64>,
    waiting: Option<u64>,
}

/// The channels of all sources that have some.
pub(crate) async fn list(desk: Arc<Desk>, _: Reading, _: List) -> Result<Channels, Refused> {
    let mut all = Channels::default();
    // At once: one whose relay hangs holds up none.
    let mut asked = JoinSet::new();
    for (n, (source, peer)) in sources(&desk).into_iter().enumerate() {
        let desk = desk.clone();
        asked.spawn(async move {
            let (talk, input) = (Upkeep::Channels(Talk::List), Map::new().into());
            let answer = own::ask::<Answer>(&desk, &source, talk, &input).await;
            (n, source, peer, answer)
        });
    }
    let mut answers = asked.join_all().await;
    answers.sort_by_key(|(n, ..)| *n);
    for (_, source, peer, answer) in answers {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                let why = error.message;
                all.away.push(Away { source, why, peer });
                continue;
            }
        };
        all.more = all.more.saturating_add(answer.more);
        match of_source::<Identity>(&answer.you, &source) {
            Ok(you) => all.you.push(Identity {
                peer,
                unsent: answer.unsent,
                waiting: answer.waiting,
                ..you
            }),
            Err(why) => all.away.push(odd(&source, peer, &why)),
        }
        for channel in &answer.channels {
            match of_source::<ChannelRow>(channel, &source) {
                Ok(channel) => all.channels.push(ChannelRow { peer, ..channel }),
                // It costs itself, never the list.
                Err(why) => all.away.push(odd(&source, peer, &why)),
            }
        }
    }
    Ok(all)
}

/// A channel as its source lists it; none where it does not.
pub(crate) async fn row(desk: &Arc<Desk>, source: &SourceId, channel: &str) -> Option<ChannelRow> {
    let (talk, input) = (Upkeep::Channels(Talk::List), Map::new().into());
    let answer = own::ask::<Answer>(desk, source, talk, &input).await.ok()?;
    let mut rows = answer.channels.iter();
    rows.find_map(|row| {
        let row = of_source::<ChannelRow>(row, source).ok()?;
        (row.id == channel).then_some(row)
    })
}

/// A source whose answer cannot be read, or not all of it.
fn odd(source: &SourceId, peer: bool, why: &serde_json::Error) -> Away {
    Away {
        source: source.clone(),
        why: format!("the source answered what cannot be read: {why}"),
        peer,
    }
}

/// Who can be in a channel of this source, a page of them.
async fn users(desk: Arc<Desk>, _: Reading, call: ListUsers) -> Result<Members, Refused> {
    let members = shown(&desk, &call.source, Talk::Members, &call).await?;
    Ok(named(&desk, members))
}

pub(crate) async fn members(
    desk: Arc<Desk>,
    _: Reading,
    call: ListMembers,
) -> Result<Members, Refused> {
    let members = shown(&desk, &call.source, Talk::Members, &call).await?;
    Ok(named(&desk, members))
}

/// What a peer calls `you` is not the owner.
fn named(desk: &Desk, mut all: Members) -> Members {
    if speaks_by_itself(desk, &all.source) {
        for member in &mut all.members {
            (member.peer, member.you) = (member.you, false);
        }
    }
    all
}

pub(crate) async fn messages(desk: Arc<Desk>, _: Reading, call: Read) -> Result<Messages, Refused> {
    let mut all: Messages = shown(&desk, &call.source, Talk::Read, &call).await?;
    if speaks_by_itself(&desk, &all.source) {
        for message in &mut all.messages {
            let sender = &mut message.sender;
            (sender.peer, sender.you) = (sender.you, false);
        }
    }
    Ok(all)
}

/// The messages of this source that were kept and refused later.
async fn unsent(desk: Arc<Desk>, _: Reading, call: ListUnsent) -> Result<Unsent, Refused> {
    shown(&desk, &call.source, Talk::Unsent, &call).await
}

/// The enabled sources that have channels, each with whether it speaks there by itself.
fn sources(desk: &Desk) -> Vec<(SourceId, bool)> {
    let state = desk.ledger.snapshot();
    let enabled = state.sources.values().filter(|it| it.config.enabled);
    let with_channels = enabled.filter_map(|it| Some((it.id.clone(), is_peer(desk, it)?)));
    with_channels.collect()
}

/// Whether a source speaks in its channels by itself; nothing where it has none.
fn is_peer(desk: &Desk, source: &Source) -> Option<bool> {
    let connector = desk.registry.of_source(&source.config)?;
    let channels = connector.offer.manifest.channels.as_ref()?;
    Some(channels.send.is_none())
}

fn speaks_by_itself(desk: &Desk, source: &SourceId) -> bool {
    let state = desk.ledger.snapshot();
    let known = state.sources.get(source);
    known.and_then(|known| is_peer(desk, known)) == Some(true)
}

/// The members of a call that its source reads.
fn input(call: &impl Serialize) -> Value {
    let mut input = super::sources::members(call);
    input.retain(|name, value| name != "source" && !value.is_null());
    input.into()
}

async fn shown<T: DeserializeOwned>(
    desk: &Desk,
    source: &SourceId,
    talk: Talk,
    call: &impl Serialize,
) -> Result<T, Refused> {
    let input = input(call);
    let answer = own::ask::<Value>(desk, source, Upkeep::Channels(talk), &input).await;
    let refused = |error| refused(error, source, &input);
    let answer = answer.map_err(refused)?;
    of_source(&answer, source).map_err(|why| {
        let why = format!("the source answered what cannot be read: {why}");
        refused(ErrorBody::new(ErrorCode::SourceUnavailable, why))
    })
}

/// Plans an act and commits that very plan.
async fn done<C: Act>(
    desk: Arc<Desk>,
    narrowing: Narrowing,
    call: C,
) -> Result<ActResult, Refused> {
    let source = call.source();
    let capability = OwnerCapability::open(&desk, source, Upkeep::Channels(C::TALK)).await;
    let capability = capability.map_err(|error| Refused::new(*error))?;
    let input = input(&call);
    let refused = |error| refused(error, source, &input);
    let plan = own::plan(&desk, &capability, &input)
        .await
        .map_err(refused)?;
    let mut facts = plan.preview.facts.iter();
    let another = facts.find(|fact| fact.name.as_str() == ANOTHER);
    let another = another.map(|fact| fact.value.as_str().to_owned());
    let acting = narrowing.wider(&desk).await?;
    let done = own::commit(
        &desk.edge.kernel,
        &capability,
        input.clone(),
        plan.state_token,
        acting,
    )
    .await;
    let done = done.map_err(refused)?;
    let output = serde_json::from_str::<ActOutput>(done.output.get());
    let output = output.map(|output| ActOutput { another, ..output });
    Ok(ActResult {
        ok: Done,
        source: source.clone(),
        audit_id: done.audit,
        summary: done.summary,
        output: output.map_err(|why| {
            failed_halfway(format!(
                "it is done; what {source} says of it cannot be read: {why}"
            ))
        })?,
    })
}

/// What a worker says of a call with this input, with the owner's next step. A message that is kept is looked for in its channel.
fn refused(error: ErrorBody, source: &SourceId, input: &Value) -> Refused {
    let channel = input.get("channel").and_then(Value::as_str);
    let next = match (&error.code, error.reason(), channel) {
        (ErrorCode::OutcomeUnknown, ..) => "plexusctl unknown".to_owned(),
        (ErrorCode::SchemaValidationFailed, ..) => {
            "correct what you wrote, and run it again".to_owned()
        }
        (_, Some("kept" | "doubtful"), Some(channel)) => {
            format!("plexusctl channels tail {channel} --source {source}")
        }
        (_, Some("rate_limited"), _) => {
            let wait = error
                .detail
                .as_ref()
                .and_then(|d| d.get("retryAfterSeconds"));
            let seconds = wait.and_then(Value::as_u64).unwrap_or(1);
            format!("wait {seconds} s, and run it again")
        }
        (_, Some("not_found"), _) => "plexusctl channels list".to_owned(),
        (_, Some("archived"), Some(channel)) => {
            format!("plexusctl channels unarchive {channel} --source {source}")
        }
        // It shows how the keys came about, beside the members.
        (_, Some("exists" | "not_safe"), Some(channel)) => {
            format!("plexusctl channels members {channel} --source {source}")
        }
        _ => format!("plexusctl sources test {source}"),
    };
    worker_refused(error, next)
}
