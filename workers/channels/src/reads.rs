//! What an identity's channels hold: the reads of every source that is a member of channels.
//!
//! Invariants: channels that a grant leaves out are not listed; an answer is bounded in messages and bytes.
//!
//! Must not know: which source asks, how the relay is reached.

use crate::listen::KIND;
use crate::views::{
    ChannelView, KeysView, MessageView, Person, UnsentView, User, WaitingView, You,
};
use plexus_channels::Id;
use plexus_channels::account::{Account, AccountError};
use plexus_channels::api::Cursor;
use plexus_channels::state::Unsent;
use plexus_ipc::text::counted;
use plexus_ipc::worker::{CallContext, Reply, SourceError, Touched};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// The field that a constraint may narrow.
pub const FIELD: &str = "channel";
/// Messages of an answer, unless asked otherwise.
const MESSAGES: usize = 50;
/// Text of one answer, in bytes.
const TEXT: usize = 512 * 1024;
/// Waiting messages of one answer, of at most 32 KiB each; more are counted.
const WAITING: usize = 16;
/// Channels of one answer; more are counted.
const CHANNELS: usize = 500;

/// Input of [`members`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MembersInput {
    /// Those of this channel; without it all users of the organization, page by page.
    pub channel: Option<Id>,
    after: Option<Id>,
}

/// Input of [`read`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadInput {
    /// Whose messages.
    pub channel: Id,
    after: Option<Id>,
    before: Option<Id>,
    limit: Option<usize>,
}

/// The channels of an identity, and who that is.
#[derive(Debug, Serialize)]
pub struct ChannelList {
    you: You,
    channels: Vec<ChannelView>,
    more: usize,
    /// Messages that were kept and refused later.
    unsent: usize,
    /// Messages that the relay has not judged yet.
    waiting: usize,
}

/// Messages that were kept and refused later, the oldest first.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UnsentList {
    unsent: Vec<UnsentView>,
    /// So many more, once these are forgotten.
    more: usize,
    /// Those that the relay has not judged yet, in their order.
    waiting: Vec<WaitingView>,
    /// So many more, once these have left.
    more_waiting: usize,
}

/// Users with their keys.
#[derive(Debug, Serialize)]
pub struct Members {
    members: Vec<Person>,
    /// Who asks to be added to the channel.
    asking: Vec<User>,
    /// Whether there are further ones behind the last one.
    more: bool,
    /// How the channel's keys came about.
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<KeysView>,
}

/// A page of messages, oldest first.
#[derive(Debug, Serialize)]
pub struct Messages {
    channel: Id,
    messages: Vec<MessageView>,
    more: bool,
}

impl ReadInput {
    /// Where the page begins.
    ///
    /// # Errors
    /// It names both ends.
    pub fn cursor(&self) -> Result<Cursor, SourceError> {
        match (self.after, self.before) {
            (None, None) => Ok(Cursor::Newest),
            (Some(after), None) => Ok(Cursor::After(after)),
            (None, Some(before)) => Ok(Cursor::Before(before)),
            (Some(_), Some(_)) => {
                let why = "after and before exclude each other";
                Err(SourceError::invalid(why))
            }
        }
    }
}

/// The channels that the call may see.
///
/// # Errors
/// The relay refuses or is away.
pub async fn list(
    account: &Account,
    call: &CallContext,
) -> Result<Reply<ChannelList>, AccountError> {
    let mut channels = account.channels(None).await?;
    channels.retain(|channel| call.allows(FIELD, &channel.id.to_string()));
    // Those that somebody wrote in lately: anybody can make channels with this member.
    channels.sort_by_key(|channel| Reverse(channel.last_message_id));
    let more = channels.len().saturating_sub(CHANNELS);
    channels.truncate(CHANNELS);
    let mut shown = Vec::new();
    for channel in &channels {
        shown.push(ChannelView::of(account, channel).await?);
    }
    let facts = &account.identity().facts;
    let you = You {
        id: facts.agent_id,
        name: facts.first_name.clone(),
        fingerprint: account.identity().key.public().shown_fingerprint(),
        relay: account.api().endpoint().to_string(),
    };
    let touched: Vec<_> = shown
        .iter()
        .map(|channel| Touched::read(KIND, channel.id.to_string(), None))
        .collect();
    let summary = format!("listed {}", counted(shown.len(), "channel"));
    let is_seen = |channel: &Id| call.allows(FIELD, &channel.to_string());
    let (unsent, waiting) = (account.unsent(), account.waiting());
    let unsent = unsent.iter().filter(|unsent| is_seen(&unsent.channel_id));
    let waiting = waiting.iter().filter(|kept| is_seen(&kept.channel_id));
    let listed = ChannelList {
        you,
        channels: shown,
        more,
        unsent: unsent.count(),
        waiting: waiting.count(),
    };
    Ok(Reply::new(listed, summary).touched(touched))
}

/// Who is in a channel, or could be.
///
/// # Errors
/// The relay refuses or is away.
pub async fn members(
    account: &Account,
    input: &MembersInput,
) -> Result<Reply<Members>, AccountError> {
    let (mut touched, mut asking, mut keys, mut more) = (None, Vec::new(), None, false);
    let mut left = BTreeSet::new();
    let mut users;
    if let Some(id) = input.channel {
        let mut channel = account.channel(id).await?;
        left = std::mem::take(&mut channel.left);
        let ids: Vec<Id> = channel.members.iter().map(|member| member.id).collect();
        users = account.profiles(&ids).await?;
        // One whom a key state names, and the directory no more, can read all the same.
        for id in ids {
            if !users.iter().any(|user| user.id == id) {
                users.push(account.api().user(id).await?);
            }
        }
        let asked = account.api().join_requests(id).await?;
        asking = asked.iter().map(User::of).collect();
        keys = Some(KeysView::of(account, &channel).await?);
        touched = Some(Touched::read(KIND, id.to_string(), None));
    } else {
        let mut pages = account.api().users_after(input.after.unwrap_or_default());
        users = pages.next().await?.unwrap_or_default();
        more = pages.has_more();
    }
    let mut members: Vec<_> = users.iter().map(|user| Person::of(account, user)).collect();
    for member in &mut members {
        member.user.left = left.contains(&member.user.id);
    }
    let summary = format!("listed {}", counted(members.len(), "user"));
    let listed = Members {
        members,
        asking,
        more,
        keys,
    };
    Ok(Reply::new(listed, summary).touched(touched))
}

/// The messages that were kept and refused later, and those that wait. The relay is not asked.
pub(crate) fn unsent(account: &Account) -> Reply<UnsentList> {
    let all = account.unsent();
    let (many, mut bytes) = (all.len(), 0);
    let fits = |unsent: &Unsent| {
        bytes += unsent.text.as_ref().map_or(0, String::len);
        bytes <= TEXT
    };
    let unsent: Vec<_> = all.into_iter().take_while(fits).collect();
    let touched: Vec<_> = unsent
        .iter()
        .map(|unsent| Touched::read(KIND, unsent.channel_id.to_string(), None))
        .collect();
    let summary = format!("listed {}", counted(unsent.len(), "refused message"));
    let waiting = account.waiting();
    let many_waiting = waiting.len();
    let waiting: Vec<_> = waiting
        .into_iter()
        .map(WaitingView::from)
        .take(WAITING)
        .collect();
    let listed = UnsentList {
        more: many - unsent.len(),
        unsent: unsent.into_iter().map(UnsentView::from).collect(),
        more_waiting: many_waiting - waiting.len(),
        waiting,
    };
    Reply::new(listed, summary).touched(touched)
}

/// Messages of a channel, from `cursor` on.
///
/// # Errors
/// The relay refuses or is away.
pub async fn read(
    account: &Account,
    input: &ReadInput,
    cursor: Cursor,
) -> Result<Reply<Messages>, AccountError> {
    let id = input.channel;
    let limit = input.limit.unwrap_or(MESSAGES);
    let (opened, mut more) = account.history(id, cursor, limit).await?;
    let mut messages: Vec<MessageView> = opened
        .into_iter()
        .map(|opened| MessageView::of(account, opened))
        .collect();
    // Those after a message lose the last ones, the others the oldest.
    while messages.len() > 1 && messages.iter().map(MessageView::len).sum::<usize>() > TEXT {
        more = true;
        match cursor {
            Cursor::Newest | Cursor::Before(_) => drop(messages.remove(0)),
            Cursor::After(_) => drop(messages.pop()),
        }
    }
    let summary = format!("read {}", counted(messages.len(), "message"));
    let touched = Touched::read(KIND, id.to_string(), None);
    let read = Messages {
        channel: id,
        messages,
        more,
    };
    Ok(Reply::new(read, summary).touched([touched]))
}
