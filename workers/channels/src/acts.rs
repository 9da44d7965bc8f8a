//! What an effect would do, on a card, and the effect.
//!
//! Invariants: a card shows the channel, its members and all of the text; a plan's token covers them, so that a card does not
//! outlive a change of the members; a key is wrapped for the devices whose fingerprints stand on the card, and no others.

use crate::failed::{of_effect, told};
use crate::listen::{KIND, flush};
use crate::views::{User, quoted, standing};
use jiff::Timestamp;
use plexus_channels::account::{Account, AccountError, Agreed, NewChannel};
use plexus_channels::state::Once;
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

/// Input of `add` and `remove`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemberInput {
    pub(crate) channel: Id,
    user: Id,
}

/// Input of `archive`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ArchiveInput {
    pub(crate) channel: Id,
    archived: bool,
}

/// Input of `rename`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RenameInput {
    pub(crate) channel: Id,
    name: String,
}

/// Input of `forget`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ForgetInput {
    message: Id,
}

/// Input of `leave` and `rotate`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelInput {
    /// Which.
    pub channel: Id,
}

/// What a commit is to do.
#[derive(Debug)]
pub enum Act {
    /// A text for a channel.
    Send(Id, String),
    /// A channel of this name with these users.
    Create(String, Vec<Id>, Agreed),
    /// A user for a channel.
    Add(Id, Id, Agreed),
    /// A user out of a channel.
    Remove(Id, Id),
    /// A channel to archive, or to open again.
    Archive(Id, bool),
    /// A channel that gets this name.
    Rename(Id, String),
    /// A message for a channel that was kept and refused, and that is listed no more.
    Forget(Id, Id),
    /// A channel to be a member of no more.
    Leave(Id),
    /// A channel that gets a new key.
    Rotate(Id),
    /// A channel of before whose key gets its first signed state, for these devices.
    Authenticate(Id, Agreed),
}

impl Act {
    /// What was done, without content.
    #[must_use]
    pub const fn summary(&self) -> &'static str {
        match self {
            Self::Send(..) => "sent a message",
            Self::Create(..) => "made a channel",
            Self::Add(..) => "added a member to a channel",
            Self::Remove(..) => "removed a member from a channel",
            Self::Archive(_, true) => "archived a channel",
            Self::Archive(_, false) => "opened an archived channel again",
            Self::Rename(..) => "renamed a channel",
            Self::Forget(..) => "forgot a message that was refused",
            Self::Leave(_) => "left a channel",
            Self::Rotate(_) | Self::Authenticate(..) => "renewed the key of a channel",
        }
    }

    /// The channel that it is about; none where it makes one.
    const fn channel(&self) -> Option<Id> {
        match self {
            Self::Create(..) => None,
            Self::Send(id, _)
            | Self::Add(id, ..)
            | Self::Remove(id, _)
            | Self::Archive(id, _)
            | Self::Rename(id, _)
            | Self::Forget(id, _)
            | Self::Leave(id)
            | Self::Rotate(id)
            | Self::Authenticate(id, _) => Some(*id),
        }
    }
}

/// What an act answers.
#[derive(Debug, Serialize)]
pub struct ActOutput {
    ok: bool,
    /// Where.
    pub channel: Id,
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
    let channel = account.channel(id).await;
    let channel = channel.map_err(|error| told(&error))?;
    let name = account.name_of(&channel).await;
    let name = name.map_err(|error| told(&error))?;
    Ok((channel, name))
}

/// A user on a card: by name and id, with the fingerprints that the relay shows, whose devices are `agreed` to with the card.
///
/// # Errors
/// There is none, or the relay is away.
pub async fn user(account: &Account, id: Id, agreed: &mut Agreed) -> Result<String, SourceError> {
    let user = account.api().user(id).await;
    let user = user.map_err(|error| told(&error.into()))?;
    let devices = user.devices.iter();
    let fingerprints = devices.map(|device| match PublicKey::from_bytes(&device.public_key.0) {
        Ok(key) => key.shown_fingerprint(),
        Err(_) => "a key that cannot be read".to_owned(),
    });
    let fingerprints: Vec<String> = fingerprints.collect();
    agreed.add(&user);
    let line = User {
        id: user.id,
        kind: user.kind,
        name: user.name,
        left: false,
    }
    .line();
    Ok(format!("{line} {id}: {}", fingerprints.join("; ")))
}

/// A card about a channel: its name, its members, and its keys where nobody vouches for them.
///
/// # Errors
/// The identity's files cannot be used.
pub fn about(
    account: &Account,
    headline: &str,
    channel: &Channel,
    name: &str,
) -> Result<Preview, SourceError> {
    let users: Vec<User> = User::members_of(channel).collect();
    let named = users.iter().take(NAMED);
    let mut members: Vec<String> = named.map(|user| user.line_among(&users)).collect();
    if let Some(more) = channel.members.len().checked_sub(NAMED).filter(|n| *n > 0) {
        members.push(format!("{more} more"));
    }
    // A list of cards shows their headlines alone.
    let card = Preview::new(format!("{headline}, in {}", quoted(name)))
        .fact("channel", format!("{} ({})", quoted(name), channel.id))
        .fact("members", members.join(", "));
    let keys = standing(account, channel.id).map_err(|error| told(&error))?;
    Ok(match keys {
        "authenticated" => card,
        keys => card.fact("keys", format!("{keys}: the relay could have made them")),
    })
}

fn plan_of(act: Act, of: &serde_json::Value, preview: Preview) -> Plan<Act> {
    let token = Digest::of(&json::canonical(of));
    let id = act.channel();
    let touched = id.map(|id| Touched::write(KIND, id.to_string(), None));
    let is_new = matches!(act, Act::Send(..) | Act::Create(..));
    let summary = act.summary();
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
    let preview = about(account, "sends a message", &channel, &name)?.text(&text);
    let of = json!(["send", id, name, ids(&channel.members), text]);
    Ok(plan_of(Act::Send(id, text), &of, preview))
}

pub(crate) async fn plan_create(
    account: &Account,
    CreateInput { name, members }: CreateInput,
) -> Result<Plan<Act>, SourceError> {
    let mut preview =
        Preview::new("makes a channel; its members can read all that is written in it")
            .fact("name", &name);
    let (mut lines, mut agreed) = (Vec::new(), Agreed::default());
    for id in &members {
        let line = user(account, *id, &mut agreed).await?;
        preview = preview.fact("member", &line);
        lines.push(line);
    }
    // For the owner alone: an agent may not read of each channel.
    let another = of_name(account, &name).await?;
    if let Some(another) = another {
        preview = preview.fact("another of this name", another.to_string());
    }
    let of = json!(["create", name, members, lines, another]);
    Ok(plan_of(Act::Create(name, members, agreed), &of, preview))
}

/// A channel of this name that takes messages.
async fn of_name(account: &Account, name: &str) -> Result<Option<Id>, SourceError> {
    let channels = account.channels(Some(Status::Active)).await;
    for channel in channels.map_err(|error| told(&error))? {
        match account.name_of(&channel).await {
            Ok(known) if known == name => return Ok(Some(channel.id)),
            Ok(_) | Err(AccountError::Trouble(_)) => {}
            Err(error) => return Err(told(&error)),
        }
    }
    Ok(None)
}

pub(crate) async fn plan_add(
    account: &Account,
    MemberInput {
        channel: id,
        user: added,
    }: MemberInput,
) -> Result<Plan<Act>, SourceError> {
    let (channel, name) = channel(account, id).await?;
    let is_member = channel.members.iter().any(|member| member.id == added);
    // One who left has the key still, until it is renewed: with them.
    if is_member && !channel.left.contains(&added) {
        let why = "that user is a member already";
        return Err(SourceError::transport("exists", why));
    }
    let mut agreed = Agreed::default();
    let line = user(account, added, &mut agreed).await?;
    let headline = "adds a member, who can read all that was written in the channel";
    let preview = about(account, headline, &channel, &name)?.fact("added", &line);
    let of = json!(["add", id, name, ids(&channel.members), added, line]);
    Ok(plan_of(Act::Add(id, added, agreed), &of, preview))
}

pub(crate) async fn plan_remove(
    account: &Account,
    MemberInput {
        channel: id,
        user: removed,
    }: MemberInput,
) -> Result<Plan<Act>, SourceError> {
    let (channel, name) = channel(account, id).await?;
    let Some(member) = channel.members.iter().find(|member| member.id == removed) else {
        let why = "that user is no member of the channel";
        return Err(SourceError::transport("not_found", why));
    };
    let headline =
        "removes a member, who keeps what they have read; the key changes before the next message";
    let line = format!("{} {removed}", User::of(member).line());
    let preview = about(account, headline, &channel, &name)?.fact("removed", line);
    let of = json!(["remove", id, name, ids(&channel.members), removed]);
    Ok(plan_of(Act::Remove(id, removed), &of, preview))
}

pub(crate) async fn plan_archive(
    account: &Account,
    ArchiveInput {
        channel: id,
        archived,
    }: ArchiveInput,
) -> Result<Plan<Act>, SourceError> {
    let (channel, name) = channel(account, id).await?;
    let headline = match archived {
        true => {
            "archives a channel for all members: it can be read, and takes no message and no member"
        }
        false => "opens an archived channel again for all members",
    };
    let preview = about(account, headline, &channel, &name)?;
    let of = json!(["archive", id, name, ids(&channel.members), archived]);
    Ok(plan_of(Act::Archive(id, archived), &of, preview))
}

pub(crate) async fn plan_rename(
    account: &Account,
    RenameInput {
        channel: id,
        name: new,
    }: RenameInput,
) -> Result<Plan<Act>, SourceError> {
    let (channel, name) = channel(account, id).await?;
    let preview = about(
        account,
        "renames a channel for all members",
        &channel,
        &name,
    )?;
    let preview = preview.fact("new name", &new);
    let of = json!(["rename", id, name, ids(&channel.members), new]);
    Ok(plan_of(Act::Rename(id, new), &of, preview))
}

pub(crate) fn plan_forget(
    account: &Account,
    ForgetInput { message }: ForgetInput,
) -> Result<Plan<Act>, SourceError> {
    let unsent = account.unsent();
    let unsent = unsent.iter().find(|unsent| unsent.id == message);
    let Some(unsent) = unsent else {
        let why = "no message of this id was kept and refused";
        return Err(SourceError::transport("not_found", why));
    };
    let id = unsent.channel_id;
    let channel = match &unsent.channel_name {
        Some(name) => format!("{} ({id})", quoted(name)),
        None => id.to_string(),
    };
    let preview = Preview::new("forgets a message that was kept and refused")
        .fact("channel", channel)
        .text(unsent.text.as_deref().unwrap_or_default());
    let of = json!(["forget", id, message]);
    Ok(plan_of(Act::Forget(id, message), &of, preview))
}

/// The plan of leaving a channel.
///
/// # Errors
/// There is no such channel, or the relay is away.
pub async fn plan_leave(account: &Account, id: Id) -> Result<Plan<Act>, SourceError> {
    let (channel, name) = channel(account, id).await?;
    let preview = about(
        account,
        "leaves a channel; only a member can add you again",
        &channel,
        &name,
    )?;
    let of = json!(["leave", id, name]);
    Ok(plan_of(Act::Leave(id), &of, preview))
}

/// The plan of a new key for a channel.
///
/// # Errors
/// There is no such channel, or the relay is away.
pub async fn plan_rotate(account: &Account, id: Id) -> Result<Plan<Act>, SourceError> {
    let channel = account.channel(id).await;
    let channel = channel.map_err(|error| told(&error))?;
    let name = match account.name_of(&channel).await {
        Ok(name) => name,
        Err(AccountError::Trouble(_)) => "(its name does not open)".to_owned(),
        Err(error) => return Err(told(&error)),
    };
    let ids = ids(&channel.members);
    let keys = standing(account, id).map_err(|error| told(&error))?;
    if keys == "authenticated" || keys == "stopped" {
        let headline = "renews the key of a channel for its current members";
        let preview = about(account, headline, &channel, &name)?;
        let of = json!(["rotate", id, name, ids, channel.key_version]);
        return Ok(plan_of(Act::Rotate(id), &of, preview));
    }
    let headline = "renews the key of a channel and signs it: from now on its keys are authenticated for these members, \
                    with these keys";
    let mut preview = about(account, headline, &channel, &name)?;
    let (mut lines, mut agreed) = (Vec::new(), Agreed::default());
    for member in &ids {
        let line = user(account, *member, &mut agreed).await?;
        preview = preview.fact("member", &line);
        lines.push(line);
    }
    let of = json!(["authenticate", id, name, lines, channel.key_version]);
    Ok(plan_of(Act::Authenticate(id, agreed), &of, preview))
}

/// Does it. A message is the write of its intent, by which it is known again.
///
/// # Errors
/// With what was done.
pub async fn commit(
    account: &Account,
    intent: Option<&AuditId>,
    act: Act,
) -> Result<ActOutput, SourceError> {
    let done = |channel, message, at| ActOutput {
        ok: true,
        channel,
        message,
        at,
    };
    // A message that has left is kept until the relay answers; of anything else nobody keeps a copy.
    let is_sent = matches!(act, Act::Send(..));
    let committed: Result<ActOutput, AccountError> = async {
        match act {
            Act::Send(id, text) => {
                // What waited before goes first.
                flush(account).await?;
                let (message, at) = match intent {
                    Some(intent) => {
                        let call = Once::call(intent.as_str());
                        let sent = account.send_once(call, id, &text).await?;
                        (sent.message_id, sent.created_at)
                    }
                    None => {
                        let sent = account.send(id, &text).await?;
                        (sent.message_id, sent.created_at)
                    }
                };
                Ok(done(id, Some(message), Some(at)))
            }
            Act::Create(name, members, agreed) => {
                let new = NewChannel {
                    name: &name,
                    members: &members,
                    opening: None,
                    agreed: Some(&agreed),
                };
                let (channel, _) = account.create_as(None, new).await?;
                Ok(done(channel.id, None, None))
            }
            Act::Add(id, user, agreed) => {
                account.add_agreed(id, user, Some(&agreed)).await?;
                Ok(done(id, None, None))
            }
            Act::Remove(id, user) => {
                account.remove_member(id, user).await?;
                Ok(done(id, None, None))
            }
            Act::Archive(id, archived) => {
                account.api().archive(id, archived).await?;
                Ok(done(id, None, None))
            }
            Act::Rename(id, name) => {
                account.rename(id, &name).await?;
                Ok(done(id, None, None))
            }
            Act::Forget(id, message) => {
                account.forget_unsent(&[message])?;
                Ok(done(id, None, None))
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
            Act::Authenticate(id, agreed) => {
                account.authenticate(id, &agreed).await?;
                Ok(done(id, None, None))
            }
        }
    }
    .await;
    committed.map_err(|error| of_effect(&error, is_sent))
}
