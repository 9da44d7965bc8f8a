//! Encrypted channels as pages: where the owner's sources are members, with which keys, and what was said last.
//!
//! Invariant: what the relay shows (names, times) is text of others; whether a key is the one that was compared is said
//! beside it.

use super::{card::Moment, foreign::ForeignText, shell};
use crate::{desk::Desk, owner::channels, table::Reading};
use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};
use plexus_edge::reply::Refused;
use plexus_owner::channels::{
    ChannelRow, ChannelStatus, DeviceState, Identity, KeyState, List, ListMembers, Member, Message,
    Read, Say,
};
use plexus_protocol::{SourceId, Timestamp};
use std::sync::Arc;

/// Messages of a page, and channels and members of one.
const MESSAGES: u32 = 30;
const LISTED: usize = 50;
/// What messages have of a page, as HTML: the newest.
const ROOM: usize = 30 * 1024;

#[derive(Template)]
#[template(path = "channels.html")]
struct Page {
    you: Vec<IdentityRow>,
    channels: Vec<Row>,
    more: u64,
    away: Vec<(ForeignText, ForeignText)>,
}

struct IdentityRow {
    source: String,
    name: ForeignText,
    fingerprint: ForeignText,
    relay: ForeignText,
    unsent: u64,
    waiting: u64,
}

struct Row {
    link: String,
    name: ForeignText,
    source: String,
    members: ForeignText,
    count: u64,
    open: bool,
    keys: &'static str,
    sound: bool,
}

/// All channels.
pub(super) async fn page(State(desk): State<Arc<Desk>>) -> Result<Response, Refused> {
    let listed = channels::list(desk.clone(), Reading, List {}).await?;
    shell::rendered(&desk, move || {
        let beyond = listed.channels.len().saturating_sub(LISTED) as u64;
        Page {
            you: listed.you.iter().map(IdentityRow::of).collect(),
            channels: listed.channels.iter().take(LISTED).map(Row::of).collect(),
            more: listed.more.saturating_add(beyond),
            away: listed
                .away
                .iter()
                .map(|away| {
                    let source = ForeignText::short(away.source.as_str(), 60);
                    (source, ForeignText::short(&away.why, 300))
                })
                .collect(),
        }
        .render()
    })
    .await
}

impl IdentityRow {
    fn of(you: &Identity) -> Self {
        Self {
            source: you.source.to_string(),
            name: ForeignText::short(&you.name, 80),
            fingerprint: ForeignText::short(&you.fingerprint, 120),
            relay: ForeignText::short(&you.relay, 160),
            unsent: you.unsent.unwrap_or(0),
            waiting: you.waiting.unwrap_or(0),
        }
    }
}

/// What a channel's page is addressed by; the calls on it begin alike.
fn path(source: &SourceId, channel: &str) -> String {
    let members = ListMembers {
        source: source.clone(),
        channel: channel.to_owned(),
    };
    plexus_owner::write(&members).path
}

const fn keys(state: KeyState) -> (bool, &'static str) {
    match state {
        KeyState::Authenticated => (true, "its members signed its keys"),
        KeyState::Unauthenticated => (false, "an older client made its keys: the relay could have"),
        KeyState::Unsigned => (false, "nobody signed its keys: they are not used"),
        KeyState::Stopped => (false, "two keys of one version are signed: nothing is sent"),
    }
}

impl Row {
    fn of(channel: &ChannelRow) -> Self {
        let (sound, keys) = keys(channel.keys);
        let names: Vec<_> = channel
            .members
            .iter()
            .map(|user| {
                // In quotes, so that no name is two, or says that another left.
                let name = serde_json::Value::from(&*user.name);
                format!("{name}{}", if user.left { " (left)" } else { "" })
            })
            .collect();
        Self {
            link: format!("/admin{}", path(&channel.source, &channel.id)),
            name: ForeignText::short(
                channel
                    .name
                    .as_deref()
                    .unwrap_or("(its name does not open)"),
                120,
            ),
            source: channel.source.to_string(),
            members: ForeignText::short(&names.join(", "), 160),
            count: channel.member_count,
            open: channel.status == ChannelStatus::Active,
            keys,
            sound,
        }
    }
}

#[derive(Template)]
#[template(path = "channel.html")]
struct ChannelPage {
    /// None where its source does not list it, or it does not open.
    name: Option<ForeignText>,
    id: ForeignText,
    source: String,
    /// The address below which its parts are drawn anew.
    path: String,
    say: String,
    keys: Option<(bool, &'static str)>,
    members: Vec<MemberRow>,
    more_members: bool,
    messages: Vec<MessageRow>,
    earlier: bool,
}

/// The last messages, as a part of the page.
#[derive(Template)]
#[template(path = "channel_said.html")]
struct SaidPart {
    id: ForeignText,
    source: String,
    messages: Vec<MessageRow>,
    earlier: bool,
}

/// The members, with how far its keys can be relied on, as a part of the page.
#[derive(Template)]
#[template(path = "channel_members.html")]
struct MembersPart {
    id: ForeignText,
    source: String,
    keys: Option<(bool, &'static str)>,
    members: Vec<MemberRow>,
    more_members: bool,
}

struct MemberRow {
    name: ForeignText,
    you: bool,
    left: bool,
    devices: Vec<(ForeignText, bool, &'static str)>,
}

struct MessageRow {
    at: ForeignText,
    sender: ForeignText,
    you: bool,
    text: ForeignText,
    unreadable: bool,
}

/// The channel of an address.
type Address = Path<(SourceId, String)>;

/// One channel. Its parts are drawn anew without the list of all, which alone has its name.
pub(super) async fn show(
    State(desk): State<Arc<Desk>>,
    Path((source, channel)): Address,
) -> Result<Response, Refused> {
    let (said, members, row) = tokio::join!(
        SaidPart::of(&desk, &source, &channel),
        MembersPart::of(&desk, &source, &channel),
        channels::row(&desk, &source, &channel)
    );
    let (said, members) = (said?, members?);
    let say = Say {
        source: source.clone(),
        channel: channel.clone(),
        text: String::new(),
    };
    let page = ChannelPage {
        name: row
            .and_then(|row| row.name)
            .map(|name| ForeignText::short(&name, 120)),
        path: path(&source, &channel),
        say: plexus_owner::write(&say).path,
        id: said.id,
        source: said.source,
        keys: members.keys,
        members: members.members,
        more_members: members.more_members,
        messages: said.messages,
        earlier: said.earlier,
    };
    shell::rendered(&desk, move || page.render()).await
}

/// The last messages of a channel, for its page.
pub(super) async fn said(
    State(desk): State<Arc<Desk>>,
    Path((source, channel)): Address,
) -> Result<Response, Refused> {
    let said = SaidPart::of(&desk, &source, &channel).await?;
    shell::rendered(&desk, move || said.render()).await
}

/// The members of a channel, for its page.
pub(super) async fn members(
    State(desk): State<Arc<Desk>>,
    Path((source, channel)): Address,
) -> Result<Response, Refused> {
    let members = MembersPart::of(&desk, &source, &channel).await?;
    shell::rendered(&desk, move || members.render()).await
}

/// A channel that was left, or whose source was removed, is at no address any more: 404.
fn gone(desk: &Desk, source: &SourceId, refused: Refused) -> Refused {
    let is_there = desk.ledger.snapshot().sources.contains_key(source);
    match is_there && refused.reason() != Some("not_found") {
        true => refused,
        false => refused.status(404),
    }
}

impl SaidPart {
    async fn of(desk: &Arc<Desk>, source: &SourceId, channel: &str) -> Result<Self, Refused> {
        let asked = Read {
            source: source.clone(),
            channel: channel.to_owned(),
            after: None,
            before: None,
            limit: Some(MESSAGES),
        };
        let messages = channels::messages(desk.clone(), Reading, asked).await;
        let messages = messages.map_err(|refused| gone(desk, source, refused))?;
        let now = desk.clock.now();
        let rows = messages.messages.iter();
        let mut shown: Vec<_> = rows.map(|message| MessageRow::of(message, now)).collect();
        let mut left = ROOM;
        let is_shown = |row: &&MessageRow| {
            left = left.saturating_sub(row.text.len() + row.sender.len());
            left > 0
        };
        let fits = shown.iter().rev().take_while(is_shown).count().max(1);
        let beyond = shown.len().saturating_sub(fits);
        shown.drain(..beyond);
        Ok(Self {
            id: ForeignText::short(channel, 120),
            source: source.to_string(),
            messages: shown,
            earlier: messages.more || beyond > 0,
        })
    }
}

impl MembersPart {
    async fn of(desk: &Arc<Desk>, source: &SourceId, channel: &str) -> Result<Self, Refused> {
        let asked = ListMembers {
            source: source.clone(),
            channel: channel.to_owned(),
        };
        let members = channels::members(desk.clone(), Reading, asked).await;
        let members = members.map_err(|refused| gone(desk, source, refused))?;
        let all = members.members.iter();
        Ok(Self {
            id: ForeignText::short(channel, 120),
            source: source.to_string(),
            keys: members.keys.as_ref().map(|of| keys(of.state)),
            members: all.take(LISTED).map(MemberRow::of).collect(),
            more_members: members.more || members.members.len() > LISTED,
        })
    }
}

impl MemberRow {
    fn of(member: &Member) -> Self {
        let device = |device: &plexus_owner::channels::Device| {
            let (sound, words) = match device.state {
                DeviceState::Pinned => (true, "the key that is used"),
                DeviceState::New => (false, "new: not used yet"),
                DeviceState::Changed => (false, "NOT the key that was there before: not used"),
            };
            (ForeignText::short(&device.fingerprint, 120), sound, words)
        };
        Self {
            name: ForeignText::short(&member.user.name, 80),
            you: member.you,
            left: member.user.left,
            devices: member.devices.iter().take(LISTED).map(device).collect(),
        }
    }
}

impl MessageRow {
    fn of(message: &Message, now: Timestamp) -> Self {
        // The relay's text: a moment is said as elsewhere, and anything else as it is.
        let at = serde_json::from_value::<Timestamp>(message.at.as_str().into());
        let at = at.map_or_else(|_| message.at.clone(), |at| Moment::ago(at, now).words);
        let why = message.unreadable.as_deref().unwrap_or("there is no text");
        let text = message.text.as_deref();
        Self {
            at: ForeignText::short(&at, 40),
            sender: ForeignText::short(&message.sender.name, 80),
            you: message.sender.you,
            text: match text {
                Some(text) => ForeignText::text(&plexus_protocol::words::cut(text, 1_000)),
                None => ForeignText::short(why, 200),
            },
            unreadable: text.is_none(),
        }
    }
}
