//! What an effect would do, on a card, and the effect.
//!
//! Invariants: a card shows the channel, its members and all of the text; a plan's token covers them, so that a card does not
//! outlive a change of the members.

use crate::failed::{of_effect, told};
use crate::listen::{KIND, flush};
use crate::shown::User;
use jiff::Timestamp;
use plexus_channels::account::{Account, AccountError};
use plexus_channels::wire::{Channel, Member, Status};
use plexus_channels::{Id, PublicKey};
use plexus_ipc::worker::{Content, Plan, Preview, SourceError, Touched};
use plexus_protocol::{AuditId, Digest, json};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Members that a card names one by one.
const NAMED: usize = 24;

/// Input of `send`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SendInput {
    pub(crate) channel: Id,
    text: String,
}

/// Input of `create`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateInput {
    name: String,
    members: Vec<Id>,
}

/// Input of `leave` and `rotate`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChannelInput {
    pub(crate) channel: Id,
}

/// What a commit is to do.
#[derive(Debug)]
pub(crate) enum Act {
    Send(Id, String),
    Create(String, Vec<Id>),
    Leave(Id),
    Rotate(Id),
}

/// What an act answers.
#[derive(Debug, Serialize)]
pub(crate) struct Done {
    ok: bool,
    pub(crate) channel: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Id>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
}

/// A channel that a plan is about, with its name.
///
/// # Errors
/// There is none, or the relay is away.
pub async fn channel(account: &Account, id: Id) -> Result<(Channel, String), SourceError> {
    let channel = account.api().channel(id).await;
    let channel = channel.map_err(|error| told(&error.into()))?;
    let name = account.name_of(&channel).await;
    let name = name.map_err(|error| told(&error))?;
    Ok((channel, name))
}

/// A card about a channel: its name and members.
#[must_use]
pub fn about(headline: &str, channel: &Channel, name: &str) -> Preview {
    let named = channel.members.iter().take(NAMED);
    let mut members: Vec<String> = named.map(|m| User::of(m).line()).collect();
    if let Some(more) = channel.members.len().checked_sub(NAMED).filter(|n| *n > 0) {
        members.push(format!("{more} more"));
    }
    Preview::new(headline)
        .fact("channel", format!("{name} ({})", channel.id))
        .fact("members", members.join(", "))
}

fn plan_of(act: Act, of: &serde_json::Value, preview: Preview, summary: &str) -> Plan<Act> {
    let token = Digest::of(&json::canonical(of));
    let id = match &act {
        Act::Send(id, _) | Act::Leave(id) | Act::Rotate(id) => Some(*id),
        Act::Create(..) => None,
    };
    let touched = id.map(|id| Touched::write(KIND, id.to_string(), None));
    let is_new = matches!(act, Act::Send(..) | Act::Create(..));
    let plan = Plan::new(act, token, preview, summary).touched(touched);
    match is_new {
        // It replaces nothing that an agent would have to read first.
        true => plan.before(Content::Absent),
        false => plan,
    }
}

fn ids(members: &[Member]) -> Vec<Id> {
    let mut ids: Vec<Id> = members.iter().map(|member| member.id).collect();
    ids.sort_unstable();
    ids
}

pub(crate) async fn plan_send(
    account: &Account,
    SendInput { channel: id, text }: SendInput,
) -> Result<Plan<Act>, SourceError> {
    let (channel, name) = channel(account, id).await?;
    if channel.status == Status::Archived {
        let why = "the channel is archived: it can be read, and takes no message";
        return Err(SourceError::transport("archived", why));
    }
    let preview = about("sends a message", &channel, &name).diff(&text);
    let of = json!(["send", id, name, ids(&channel.members), text]);
    Ok(plan_of(Act::Send(id, text), &of, preview, "sent a message"))
}

pub(crate) async fn plan_create(
    account: &Account,
    CreateInput { name, members }: CreateInput,
) -> Result<Plan<Act>, SourceError> {
    let mut preview =
        Preview::new("makes a channel; its members can read all that is written in it")
            .fact("name", &name);
    let mut keys = Vec::new();
    for id in &members {
        let user = account.api().user(*id).await;
        let user = user.map_err(|error| told(&error.into()))?;
        let devices = user.devices.iter();
        let devices = devices.filter_map(|d| PublicKey::from_bytes(&d.public_key.0).ok());
        let fingerprints: Vec<String> = devices.map(|key| key.shown_fingerprint()).collect();
        let line = User {
            id: user.id,
            kind: user.kind,
            name: user.name,
        }
        .line();
        preview = preview.fact("member", format!("{line}: {}", fingerprints.join("; ")));
        keys.push(fingerprints);
    }
    let of = json!(["create", name, members, keys]);
    let act = Act::Create(name, members);
    Ok(plan_of(act, &of, preview, "made a channel"))
}

pub(crate) async fn plan_leave(account: &Account, id: Id) -> Result<Plan<Act>, SourceError> {
    let (channel, name) = channel(account, id).await?;
    let preview = about(
        "leaves a channel; only a member can add you again",
        &channel,
        &name,
    );
    let of = json!(["leave", id, name]);
    Ok(plan_of(Act::Leave(id), &of, preview, "left a channel"))
}

pub(crate) async fn plan_rotate(account: &Account, id: Id) -> Result<Plan<Act>, SourceError> {
    let (channel, name) = channel(account, id).await?;
    let headline = "renews the key of a channel for its members of now";
    let preview = about(headline, &channel, &name);
    let of = json!([
        "rotate",
        id,
        name,
        ids(&channel.members),
        channel.key_version
    ]);
    Ok(plan_of(
        Act::Rotate(id),
        &of,
        preview,
        "renewed the key of a channel",
    ))
}

/// Does it. A message has the intent as its label.
pub(crate) async fn commit(
    account: &Account,
    intent: Option<&AuditId>,
    act: Act,
) -> Result<Done, SourceError> {
    let done = |channel, message, at| Done {
        ok: true,
        channel,
        message,
        at,
    };
    // A message that has left is kept until the relay answers; of anything else nobody keeps a copy.
    let is_sent = matches!(act, Act::Send(..));
    let committed: Result<Done, AccountError> = async {
        match act {
            Act::Send(id, text) => {
                // What waited before goes first.
                flush(account).await?;
                let label = intent.map(ToString::to_string);
                let message = account.send_as(label, id, &text).await?;
                let (message, at) = (message.message_id, message.created_at);
                Ok(done(id, Some(message), Some(at)))
            }
            Act::Create(name, members) => {
                let channel = account.create(&name, &members, None).await?;
                Ok(done(channel.id, None, None))
            }
            Act::Leave(id) => {
                let me = account.identity().facts.agent_id;
                account.api().remove_member(id, me).await?;
                Ok(done(id, None, None))
            }
            Act::Rotate(id) => {
                account.rotate(id).await?;
                Ok(done(id, None, None))
            }
        }
    }
    .await;
    committed.map_err(|error| of_effect(&error, is_sent))
}
