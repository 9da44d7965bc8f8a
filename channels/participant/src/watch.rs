//! [`Watch`]: what the relay pushes, as events of the dispatcher; and after each new connection, what became of the channels.
//!
//! ```text
//! bound the first time ─▶ digest: channels, their last messages ─▶ Started
//! bound again          ─▶ what changed, as lines                ─▶ Bound
//! a frame              ─▶ Pushed, Joined, Left, Line
//! ```
//! Invariants: nothing that the relay pushed is dropped because a lookup failed: the channel's history is read instead; what
//! this identity did itself is no line.
//!
//! Must not know: turns, what has been shown.

use crate::dispatch::{Event, Mark, Paged};
use crate::lines;
use crate::roster::{Roster, names, state};
use crate::run::Connection;
use plexus_channels::Id;
use plexus_channels::account::{Account, AccountError, Opened};
use plexus_channels::api::{ApiError, Cursor};
use plexus_channels::backoff::Backoff;
use plexus_channels::crypto::random;
use plexus_channels::events::{EventsError, Listener, Notice};
use plexus_channels::limits;
use plexus_channels::wire::{self, Channel, Status};
use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::sleep;

/// Channels whose last messages the digest shows.
const CHANNELS: usize = 50;
/// Messages of each.
const MESSAGES: usize = 20;
/// Bytes of the digest. What does not fit is read from the history.
const DIGEST_BYTES: usize = 48 << 10;

/// A report of the watch.
#[derive(Debug)]
pub(crate) enum News {
    /// How things stand with the relay now.
    Connection(Connection),
    /// For the dispatcher.
    Event(Event),
    /// The relay does not take this identity any more.
    Over(EventsError),
}

/// Watches the channels of an identity.
pub(crate) struct Watch {
    account: Arc<Account>,
    roster: Arc<Roster>,
    news: mpsc::Sender<News>,
    is_started: bool,
}

impl Watch {
    pub(crate) const fn new(
        account: Arc<Account>,
        roster: Arc<Roster>,
        news: mpsc::Sender<News>,
    ) -> Self {
        Self {
            account,
            roster,
            news,
            is_started: false,
        }
    }

    /// Reports until nobody listens, or the relay takes this identity no more.
    pub(crate) async fn run(mut self) {
        let mut listener = Listener::new(Arc::clone(self.account.api()));
        loop {
            let events = match listener.next().await {
                Err(over) => {
                    let _ = self.news.send(News::Over(over)).await;
                    return;
                }
                Ok(Notice::Lost(why)) => {
                    tracing::warn!(name: "peer.relay.lost", %why, "no connection to the relay");
                    if self.tell(Connection::Lost(why)).await.is_err() {
                        return;
                    }
                    continue;
                }
                Ok(Notice::Bound { offline }) => {
                    tracing::info!(name: "peer.relay.bound", "connected to the relay");
                    if self.tell(Connection::Bound).await.is_err() {
                        return;
                    }
                    self.bound(offline.unwrap_or_default()).await
                }
                Ok(Notice::Event(event)) => self.event(event).await,
            };
            for event in events {
                if self.news.send(News::Event(event)).await.is_err() {
                    return;
                }
            }
        }
    }

    async fn tell(&self, now: Connection) -> Result<(), mpsc::error::SendError<News>> {
        self.news.send(News::Connection(now)).await
    }

    /// A new connection; tried until the relay answers.
    async fn bound(&mut self, offline: Duration) -> Vec<Event> {
        let mut backoff = Backoff::default();
        loop {
            // Before anything is read: what was left to send belongs before it.
            if let Err(why) = self.account.flush().await {
                tracing::warn!(name: "peer.outbox.kept", %why, "a message is not sent");
            }
            let surveyed = match self.is_started {
                false => self.digest().await,
                true => self.changes(offline).await,
            };
            match surveyed {
                Ok(events) => {
                    self.is_started = true;
                    return events;
                }
                Err(why) => {
                    tracing::warn!(name: "peer.survey.failed", %why, "the channels could not be read");
                    sleep(backoff.next(random::<1>()[0])).await;
                }
            }
        }
    }

    async fn digest(&self) -> Result<Vec<Event>, AccountError> {
        let facts = &self.account.identity().facts;
        let mut channels = self.account.channels(None).await?;
        self.roster.replace(&channels);
        channels.sort_by_key(|channel| Reverse(channel.last_message_id));
        let archived = channels.iter().filter(|c| c.status == Status::Archived);
        let mut digest = lines::event(&format!(
            "started as {} ({}); {} channels, {} of them archived",
            lines::user(
                facts.agent_id,
                &format!("{} {}", facts.first_name, facts.last_name),
                &[]
            ),
            facts.agent_id,
            channels.len(),
            archived.count(),
        ));
        let (mut shown, mut unread) = (Vec::new(), Vec::new());
        for (at, channel) in channels.iter().enumerate() {
            let saved = self.account.watermark(channel.id).await;
            if at >= CHANNELS || channel.status == Status::Archived {
                unread.push((channel.id, saved.unwrap_or_else(|| baseline(channel))));
                continue;
            }
            let (block, page) = self.block(channel, saved).await?;
            let fits = digest.len() + block.len() < DIGEST_BYTES;
            if fits {
                digest.push_str(&block);
            }
            let reached = page.last().map(|opened| opened.message.message_id);
            let is_whole = fits && reached >= channel.last_message_id;
            match (saved, proven(&page).next_back()) {
                (Some(saved), _) => unread.push((channel.id, saved)),
                (None, Some(last)) if is_whole => shown.push((channel.id, last)),
                (None, _) => unread.push((channel.id, beginning(&page))),
            }
        }
        Ok(vec![Event::Started {
            digest,
            shown,
            unread,
        }])
    }

    /// A channel in the digest, with messages up to the saved watermark or the newest ones; these messages.
    async fn block(
        &self,
        channel: &Channel,
        saved: Option<Id>,
    ) -> Result<(String, Vec<Opened>), AccountError> {
        let what = format!(
            "channel {}, members: {}",
            self.roster.named(channel).await?,
            names(&channel.members)
        );
        let mut block = format!("\n{}", lines::event(&what));
        let cursor = saved.map_or(Cursor::Newest, |saved| Cursor::Before(after(saved)));
        let (page, _) = self.account.unread(channel.id, cursor, MESSAGES).await?;
        for opened in &page {
            block.push('\n');
            block.push_str(&self.roster.line(channel.id, opened));
        }
        Ok((block, page))
    }

    /// Changes of the channels while there was no connection. Of one that is new, its last messages are unread.
    async fn changes(&self, offline: Duration) -> Result<Vec<Event>, AccountError> {
        let channels = self.account.channels(None).await?;
        self.account.keep_channels(&channels)?;
        let (mut events, mut marks): (Vec<Event>, Vec<Mark>) = (Vec::new(), Vec::new());
        for channel in &channels {
            let id = channel.id;
            let Some(known) = self.roster.get(id) else {
                let page = self.account.unread(id, Cursor::Newest, MESSAGES).await?;
                marks.push((id, beginning(&page.0)));
                events.push(self.added(channel, channel.created_by).await?);
                continue;
            };
            marks.push((id, Id::ZERO));
            let named = self.roster.named(channel).await?;
            let mut line = |what: String| events.push(Event::Line(lines::event(&what)));
            if known.status != channel.status {
                line(format!("channel {named} was {}", state(channel.status)));
            }
            if known.name != channel.name {
                line(format!("channel {id} has another name: {named}"));
            }
            if known.members != channel.members {
                let members = names(&channel.members);
                line(format!("channel {named} has other members: {members}"));
            }
        }
        let before = self.roster.replace(&channels);
        for (id, _) in before
            .iter()
            .filter(|(id, _)| self.roster.get(**id).is_none())
        {
            events.push(Event::Line(lines::event(&format!(
                "you were removed from channel {id}"
            ))));
        }
        events.push(Event::Bound {
            offline,
            channels: marks,
        });
        Ok(events)
    }

    /// The reports that follow from a frame.
    async fn event(&self, event: wire::Event) -> Vec<Event> {
        let mut events = match self.translated(&event).await {
            Ok(events) => events,
            Err(why) => {
                tracing::warn!(name: "peer.event.unclear", %why, "an event could not be read in full");
                match event {
                    // The history brings it.
                    wire::Event::MessageCreated {
                        channel_id: channel,
                        message,
                    } => vec![Event::Missed {
                        channel,
                        message: message.message_id,
                    }],
                    wire::Event::ChannelAdded { channel, .. } => vec![Event::Joined {
                        channel: channel.id,
                        after: baseline(&channel),
                    }],
                    _ => Vec::new(),
                }
            }
        };
        for device in self.account.take_refused_devices() {
            let user = device.user_id;
            events.push(Event::Line(lines::event(&format!(
                "another key is shown for a device of the user {user}; it was not used"
            ))));
        }
        let news = self.roster.key_news().await;
        events.extend(news.into_iter().map(Event::Line));
        events
    }

    async fn translated(&self, event: &wire::Event) -> Result<Vec<Event>, AccountError> {
        // What the keys say of an act is read before what the relay says of it.
        match event {
            wire::Event::KeyRotated { channel_id, .. }
            | wire::Event::MemberAdded { channel_id, .. }
            | wire::Event::MemberRemoved { channel_id, .. } => {
                self.account.look_at_keys(*channel_id).await?;
            }
            _ => {}
        }
        let me = self.account.identity().facts.agent_id;
        let line = |what: String| vec![Event::Line(lines::event(&what))];
        Ok(match event {
            wire::Event::MessageCreated {
                channel_id,
                message,
            } => {
                let opened = self.account.receive(*channel_id, message.clone()).await?;
                let Some(opened) = opened else {
                    return Ok(Vec::new());
                };
                let line = self.roster.news(*channel_id, &opened);
                match opened.content {
                    Ok(_) => vec![Event::Pushed {
                        channel: *channel_id,
                        message: message.message_id,
                        line,
                    }],
                    Err(_) => line.map(Event::Line).into_iter().collect(),
                }
            }
            wire::Event::ChannelAdded { channel, by } => {
                let mut channel = channel.clone();
                self.account.sign(&mut channel).await?;
                let channel = &channel;
                self.roster.put(channel.clone());
                let joined = Event::Joined {
                    channel: channel.id,
                    after: baseline(channel),
                };
                vec![joined, self.added(channel, *by).await?]
            }
            wire::Event::ChannelRemoved { channel_id, by } => {
                let Some(channel) = self.roster.remove(*channel_id) else {
                    return Ok(Vec::new());
                };
                let mut events = vec![Event::Left {
                    channel: *channel_id,
                }];
                if *by != me {
                    let (named, by) = (self.roster.named(&channel).await?, self.by(*by).await?);
                    events.extend(line(format!("you were removed from channel {named}{by}")));
                }
                events
            }
            wire::Event::ChannelArchived { channel_id, by } => {
                self.status(*channel_id, Status::Archived, *by).await?
            }
            wire::Event::ChannelUnarchived { channel_id, by } => {
                self.status(*channel_id, Status::Active, *by).await?
            }
            wire::Event::ChannelRenamed {
                channel_id,
                name,
                by,
            } => {
                let old = self.named(*channel_id).await?;
                self.roster.change(*channel_id, |channel| {
                    channel.name = name.clone();
                });
                let new = self.named(*channel_id).await?;
                self.act(*by, format!("channel {old} was renamed to {new}"))
                    .await?
            }
            wire::Event::MemberAdded {
                channel_id,
                user,
                by,
            } => {
                self.roster.change(*channel_id, |channel| {
                    channel.members.retain(|member| member.id != user.id);
                    channel.members.push(user.clone());
                });
                let who = lines::user(user.id, &user.name, &[]);
                let named = self.named(*channel_id).await?;
                self.act(*by, format!("{who} was added to channel {named}"))
                    .await?
            }
            wire::Event::MemberRemoved {
                channel_id,
                user,
                by,
                ..
            } => {
                self.roster.change(*channel_id, |channel| {
                    channel.members.retain(|member| member.id != user.id);
                });
                let who = lines::user(user.id, &user.name, &[]);
                let (named, by) = (self.named(*channel_id).await?, self.by(*by).await?);
                line(format!("{who} was removed from channel {named}{by}"))
            }
            wire::Event::JoinRequested { channel_id, user } => {
                let who = lines::user(user.id, &user.name, &[]);
                let named = self.named(*channel_id).await?;
                line(format!(
                    "{who} ({}) asks to join channel {named}; add_member approves",
                    user.id
                ))
            }
            wire::Event::Ready { .. } | wire::Event::KeyRotated { .. } | wire::Event::Unknown => {
                Vec::new()
            }
        })
    }

    /// The line of an act of another user's.
    async fn act(&self, by: Id, what: String) -> Result<Vec<Event>, AccountError> {
        if by == self.account.identity().facts.agent_id {
            return Ok(Vec::new());
        }
        let by = self.by(by).await?;
        Ok(vec![Event::Line(lines::event(&format!("{what}{by}")))])
    }

    async fn status(&self, id: Id, status: Status, by: Id) -> Result<Vec<Event>, AccountError> {
        self.roster.change(id, |channel| channel.status = status);
        if by == self.account.identity().facts.agent_id {
            return Ok(Vec::new());
        }
        let (named, by) = (self.named(id).await?, self.by(by).await?);
        let what = format!("channel {named} was {}{by}", state(status));
        Ok(vec![Event::Line(lines::event(&what))])
    }

    async fn added(&self, channel: &Channel, by: Id) -> Result<Event, AccountError> {
        let what = format!(
            "you were added to channel {}{}; members: {}",
            self.roster.named(channel).await?,
            self.by(by).await?,
            names(&channel.members)
        );
        Ok(Event::Line(lines::event(&what)))
    }

    async fn by(&self, user: Id) -> Result<String, AccountError> {
        Ok(format!(" by {}", self.roster.user(user).await?))
    }

    async fn named(&self, id: Id) -> Result<String, AccountError> {
        match self.roster.get(id) {
            Some(channel) => self.roster.named(&channel).await,
            None => Ok(id.to_string()),
        }
    }
}

/// A page of a channel's history, for the dispatcher; tried until the relay answers.
pub(crate) async fn page(
    account: &Account,
    roster: &Roster,
    (fetch, channel, after): (u64, Id, Id),
) -> Event {
    let mut backoff = Backoff::default();
    loop {
        let cursor = Cursor::After(after);
        let read = account.unread(channel, cursor, limits::LARGEST_PAGE).await;
        let why = match read {
            Ok((opened, more)) => {
                let named = roster.get(channel).and_then(|known| known.last_message_id);
                let read = opened.last().map_or(after, |last| last.message.message_id);
                let messages = opened.iter().map(|opened| Paged {
                    message: opened.message.message_id,
                    line: roster.news(channel, opened),
                    is_open: opened.content.is_ok(),
                });
                return Event::Page {
                    fetch,
                    messages: messages.collect(),
                    more,
                    is_short: !more && named > Some(read),
                };
            }
            // No member any more: there is nothing to read.
            Err(AccountError::Relay(ApiError::Refused(refusal)))
                if refusal.code == wire::Code::NotFound =>
            {
                return Event::Page {
                    fetch,
                    messages: Vec::new(),
                    more: false,
                    is_short: false,
                };
            }
            Err(why) => why,
        };
        tracing::warn!(name: "peer.history.failed", %channel, %why, "missed messages could not be read");
        sleep(backoff.next(random::<1>()[0])).await;
    }
}

/// The ids of the messages that opened: the others prove nothing.
fn proven(page: &[Opened]) -> impl DoubleEndedIterator<Item = Id> {
    let opened = page.iter().filter(|opened| opened.content.is_ok());
    opened.map(|opened| opened.message.message_id)
}

/// Where a channel begins for somebody to whom this page of it is unread.
fn beginning(page: &[Opened]) -> Id {
    proven(page).next().map_or(Id::ZERO, before)
}

/// Where a channel begins for a new member: at its newest message, which may be the opening one.
fn baseline(channel: &Channel) -> Id {
    channel.last_message_id.map_or(Id::ZERO, before)
}

fn before(id: Id) -> Id {
    Id::from_bytes(
        u128::from_be_bytes(id.to_bytes())
            .saturating_sub(1)
            .to_be_bytes(),
    )
}

fn after(id: Id) -> Id {
    Id::from_bytes(
        u128::from_be_bytes(id.to_bytes())
            .saturating_add(1)
            .to_be_bytes(),
    )
}
