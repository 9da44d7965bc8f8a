//! [`Roster`]: the channels of this identity as the model is told of them: names, members, and how a message becomes a line.
//!
//! Invariant: what cannot be opened is a line too, once, so that it is not passed over in silence.
//!
//! Must not know: when a line is shown.

use crate::lines;
use plexus_channels::Id;
use plexus_channels::account::{Account, AccountError, KeyNews, Opened, Trouble, Unopened};
use plexus_channels::chain::StateView;
use plexus_channels::crypto::Content;
use plexus_channels::wire::{Channel, Member, Status};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Messages that did not open and are remembered, so that each is one line.
const MOST_UNOPENED: usize = 10_000;

/// Channels and who is in them.
pub(crate) struct Roster {
    account: Arc<Account>,
    channels: Mutex<BTreeMap<Id, Channel>>,
    /// Messages that did not open, and that a line has told of.
    unopened: Mutex<Unopened>,
}

impl Roster {
    pub(crate) fn new(account: Arc<Account>) -> Self {
        Self {
            account,
            channels: Mutex::default(),
            unopened: Mutex::new(Unopened::new(MOST_UNOPENED)),
        }
    }

    /// Takes the channels of now; answers with those of before.
    pub(crate) fn replace(&self, channels: &[Channel]) -> BTreeMap<Id, Channel> {
        let new = channels
            .iter()
            .map(|channel| (channel.id, channel.clone()))
            .collect();
        std::mem::replace(&mut *self.lock(), new)
    }

    pub(crate) fn put(&self, channel: Channel) {
        self.lock().insert(channel.id, channel);
    }

    /// Changes what is known of a channel.
    pub(crate) fn change(&self, id: Id, change: impl FnOnce(&mut Channel)) {
        self.lock().get_mut(&id).map(change);
    }

    pub(crate) fn remove(&self, id: Id) -> Option<Channel> {
        self.lock().remove(&id)
    }

    pub(crate) fn get(&self, id: Id) -> Option<Channel> {
        self.lock().get(&id).cloned()
    }

    /// A channel as an event names it: its id, and its name where that can be read.
    ///
    /// # Errors
    /// Where the relay is away while a key is looked up.
    pub(crate) async fn named(&self, channel: &Channel) -> Result<String, AccountError> {
        let id = channel.id;
        match self.account.name_of(channel).await {
            Ok(name) => Ok(format!("{id} {}", lines::quoted(&name))),
            Err(AccountError::Trouble(_)) => Ok(id.to_string()),
            Err(other) => Err(other),
        }
    }

    /// A user as an event names them, by what any channel or the directory says.
    ///
    /// # Errors
    /// Where the relay is away.
    pub(crate) async fn user(&self, id: Id) -> Result<String, AccountError> {
        let known = {
            let channels = self.lock();
            let mut members = channels.values().flat_map(|channel| &channel.members);
            members.find(|m| m.id == id).map(|m| m.name.clone())
        };
        let name = match known {
            Some(name) => name,
            None => match self.account.api().user(id).await {
                Ok(profile) => profile.name,
                Err(passing) if passing.is_passing() => return Err(passing.into()),
                Err(_) => String::new(),
            },
        };
        Ok(lines::user(id, &name, &[]))
    }

    /// What came to light about keys since the last time, as lines.
    pub(crate) async fn key_news(&self) -> Vec<String> {
        let mut told = Vec::new();
        for news in self.account.take_key_news() {
            told.push(lines::event(&match news {
                KeyNews::Began(channel, state) => format!(
                    "the key of channel {channel} is signed from now on: {}",
                    self.signed(&state).await
                ),
                KeyNews::Renewed {
                    channel_id,
                    state,
                    added,
                    removed,
                } => {
                    let mut what = format!(
                        "the key of channel {channel_id} was renewed: {}",
                        self.signed(&state).await
                    );
                    for (how, users) in [("with", added), ("without", removed)] {
                        for user in users {
                            let user = self.user(user).await.unwrap_or_else(|_| user.to_string());
                            what.push_str(&format!("; {how} {user}"));
                        }
                    }
                    what
                }
                KeyNews::Refused(channel, why) => format!("channel {channel}: {why}"),
            }));
        }
        told
    }

    async fn signed(&self, state: &StateView) -> String {
        let (by, version) = (state.user_id, state.key_version);
        let by = self.user(by).await.unwrap_or_else(|_| by.to_string());
        match state.key {
            Some(key) => format!("version {version} by {by}, key {key}"),
            None => format!("version {version} by {by}"),
        }
    }

    /// The line of a message that is news: none for one of this identity's own, and for one that did not open and was told
    /// before.
    pub(crate) fn news(&self, channel: Id, opened: &Opened) -> Option<String> {
        let is_own = opened.message.sender_id == self.account.identity().facts.agent_id;
        let is_news = match opened.content {
            Ok(_) => !is_own,
            Err(_) => self.is_first(channel, opened.message.message_id),
        };
        is_news.then(|| self.line(channel, opened))
    }

    fn is_first(&self, channel: Id, message: Id) -> bool {
        let unopened = self.unopened.lock();
        let mut unopened = unopened.unwrap_or_else(PoisonError::into_inner);
        unopened.is_first(channel, message)
    }

    /// The line of a message.
    pub(crate) fn line(&self, channel: Id, opened: &Opened) -> String {
        let message = &opened.message;
        let channels = self.lock();
        let members: &[Member] = channels
            .get(&channel)
            .map_or(&[], |channel| &channel.members);
        let (id, name) = (message.sender_id, &message.sender_name);
        let (sender, user) = (
            lines::sender(id, name, members),
            lines::user(id, name, members),
        );
        match &opened.content {
            Ok(Content::Text(text)) => lines::message(channel, &sender, text),
            Ok(Content::Unsupported) => lines::message(channel, &sender, lines::UNSUPPORTED),
            Err(Trouble::Replayed) => lines::event(&format!(
                "a message of {user} in channel {channel} was repeated or came out of order, and is not shown; list_messages shows the channel"
            )),
            Err(why @ (Trouble::NoSuccessor(_) | Trouble::Stopped(_) | Trouble::Unsigned)) => {
                lines::event(&format!(
                    "a message of {user} in channel {channel} is not opened: {why}"
                ))
            }
            Err(_) => lines::event(&format!(
                "a message of {user} in channel {channel} could not be decrypted"
            )),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Id, Channel>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names of members in one line.
pub(crate) fn names(members: &[Member]) -> String {
    let names = members
        .iter()
        .map(|member| lines::user(member.id, &member.name, members));
    names.collect::<Vec<_>>().join(", ")
}

/// Channels that are archived.
pub(crate) const fn state(status: Status) -> &'static str {
    match status {
        Status::Active => "unarchived",
        Status::Archived => "archived",
    }
}
