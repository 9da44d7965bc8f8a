//! [`Account`]: an identity at its relay: what it sends is encrypted, what it reads is decrypted, keys are pinned.
//!
//! Invariants: a message is in the outbox, with its number, before it is sent; messages of one account go out one after
//! the other, in the order of their numbers; a channel key is wrapped only when this account creates a channel, adds a
//! member or rotates, and only for pinned keys; a key version is used only where a member of the one before signed it, or in a
//! channel of before there were signed versions; what a watermark has passed does not open above it again.
//!
//! Must not know: who reads what it opens.

mod keys;
mod members;
mod outbox;
mod unopened;

pub use keys::{KeyNews, Standing};
pub use members::Agreed;
pub use outbox::NewChannel;
pub use unopened::Unopened;

use crate::api::{Api, ApiError, Credentials, Cursor};
use crate::chain::{Chain, StateView};
use crate::crypto::{ChannelKey, Content, MessageContext, PublicKey};
use crate::dial::Dial;
use crate::identity::{Identity, IdentityError};
use crate::state::{Chains, Numbered, Pins, RefusedDevice, State};
use crate::wire::{Channel, Message, Name, Page, Profile};
use crate::{Id, limits};
use jiff::Timestamp;
use outbox::NEW_KEYS;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::slice;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How far the clocks of relays that share a store may differ, in milliseconds.
const CLOCKS_DIFFER: u64 = 3_600_000;

/// Why an act failed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The relay.
    #[error(transparent)]
    Relay(#[from] ApiError),
    /// The files.
    #[error(transparent)]
    Disk(#[from] IdentityError),
    /// The text is empty or too long.
    #[error("a message has 1 to {} bytes", limits::TEXT_BYTES)]
    Text,
    /// The name is empty or too long.
    #[error("a channel's name has 1 to {} characters", limits::CHANNEL_NAME_CHARS)]
    Name,
    /// What was asked for cannot be done safely.
    #[error("{0}")]
    Trouble(#[from] Trouble),
    /// The relay has not judged the message. It is in the outbox, and the next [`Account::flush`] sends it.
    #[error("the message is kept and is sent later: {0}")]
    Kept(ApiError),
    /// The message is in the outbox, and the disk refused a change that it needs to be sent.
    #[error("the message is kept and is sent later: {0}")]
    KeptHere(IdentityError),
    /// The message has left the outbox: the relay refuses it now, and an earlier attempt had no answer.
    #[error("the relay refuses the message now, and may have taken it before: {0}")]
    Doubtful(ApiError),
    /// Messages that waited were refused, and nobody has looked at them: one more could not be kept.
    #[error(
        "too many messages that were kept were refused, and nobody has looked; the owner does: plexusctl channels unknown"
    )]
    Unseen,
    /// The channel's key changes faster than this account can follow.
    #[error("the channel's key changed {NEW_KEYS} times meanwhile; send it again")]
    Unsettled,
}

impl AccountError {
    /// Whether a message that met this is in the outbox still: later it may be sent.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        match self {
            Self::Relay(why) | Self::Kept(why) => !why.is_final(),
            Self::Disk(_) | Self::KeptHere(_) => true,
            Self::Text
            | Self::Name
            | Self::Trouble(_)
            | Self::Unsettled
            | Self::Unseen
            | Self::Doubtful(_) => false,
        }
    }

    /// The relay's code, or what is wrong here; no words of the relay's.
    fn in_short(&self) -> String {
        match self {
            Self::Relay(why) | Self::Kept(why) | Self::Doubtful(why) => match why {
                ApiError::Refused(refusal) => refusal.code.to_string(),
                ApiError::RateLimited(_)
                | ApiError::Unreachable { .. }
                | ApiError::Malformed(_) => "the relay did not judge it".to_owned(),
            },
            other => other.to_string(),
        }
    }
}

/// Two key states of which one is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The one that was accepted, if one was.
    pub held: Option<StateView>,
    /// The other one.
    pub other: StateView,
}

impl Trouble {
    fn stopped((held, other): (StateView, StateView)) -> Self {
        let held = Some(held);
        Self::Stopped(Box::new(Conflict { held, other }))
    }
}

/// What is wrong with something that others sent or the relay shows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// No key of this version is held.
    #[error("version {0} of the channel's key is not held")]
    UnknownKeyVersion(u32),
    /// It does not open.
    #[error("it could not be decrypted")]
    Undecryptable,
    /// The device is none of the user's, or its key is another one than before.
    #[error("the relay shows a device {device_id} of {user_id} that is not the one known before")]
    Device {
        /// Whose, as the relay says.
        user_id: Id,
        /// Which.
        device_id: Id,
    },
    /// The relay shows a device of the user that nobody agreed to.
    #[error(
        "the relay shows another device of {user_id} than those that were agreed to; nothing was done, ask again"
    )]
    NotAgreed {
        /// Whose.
        user_id: Id,
    },
    /// The relay shows a key version that no member of the held one signed.
    #[error(
        "the relay shows another key of the channel than a member signed: {}; held is {}; nothing was sent",
        .0.other, .0.held.map_or_else(|| "none".to_owned(), |held| held.to_string())
    )]
    NoSuccessor(Box<Conflict>),
    /// The relay has an earlier version of the key than one that it had before.
    #[error(
        "the relay has version {shown} of the channel's key, and had version {held} before: its store was put back to an \
         earlier time, or it hides what came since; nothing was done: let the member who made the next version send a message \
         from the client that made it, while it still runs; else make another channel"
    )]
    Rewound {
        /// The newest version that was accepted.
        held: u32,
        /// The relay's.
        shown: u32,
    },
    /// Members signed two different states of one version: the channel has stopped.
    #[error(
        "two keys of one version of the channel are signed, so its members may not see the same messages: {}; and {}; the \
         channel is stopped here: make another one, with the members whose keys you have compared",
        .0.held.map_or_else(|| "none".to_owned(), |held| held.to_string()), .0.other
    )]
    Stopped(Box<Conflict>),
    /// A channel without key states that is none of before.
    #[error(
        "nobody signed the key of this channel: it is not used; if a member with a client of before made it, renew its key: \
         plexusctl channels rotate CHANNEL"
    )]
    Unsigned,
    /// A channel of before: its key is not authenticated.
    #[error(
        "the key of this channel is of before keys were signed: renew it once: plexusctl channels rotate CHANNEL"
    )]
    Unauthenticated,
    /// The device has used this number before, for a message with another id or before a later one.
    #[error("a message was repeated or came out of order")]
    Replayed,
}

/// A message, opened or not.
#[derive(Clone, Debug)]
pub struct Opened {
    /// As it came.
    pub message: Message,
    /// What it says.
    pub content: Result<Content, Trouble>,
}

/// A message that the relay has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its id.
    pub message_id: Id,
    /// When the relay took it.
    pub created_at: Timestamp,
    /// An earlier attempt had sent it.
    pub is_repeated: bool,
}

/// An identity at its relay.
pub struct Account {
    identity: Identity,
    api: Arc<Api>,
    /// Whose turn it is to send. Held while the relay is waited for, as nothing else is.
    sending: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    keys: Mutex<HashMap<(Id, u32), ChannelKey>>,
    /// Taken before the chains where both are.
    pins: Mutex<Pins>,
    chains: Mutex<Chains>,
    news: Mutex<Vec<RefusedDevice>>,
    key_news: Mutex<Vec<KeyNews>>,
    /// By channel: why the version that the relay shows is not used.
    refused: Mutex<BTreeMap<Id, Trouble>>,
    /// The names of channels that were opened here.
    names: Mutex<HashMap<Id, String>>,
    /// The newest user whose device was pinned from the whole directory.
    directory: Mutex<Id>,
    /// By channel and device: the last number in the live stream, and its message.
    heard: Mutex<HashMap<(Id, Id), (u64, Id)>>,
    /// By channel: the greatest key version in the live stream.
    versions: Mutex<HashMap<Id, u32>>,
}

impl Account {
    /// Opens an identity's files. Nothing is sent.
    ///
    /// # Errors
    /// Where a file is not private or damaged, or names no relay.
    pub fn open(identity: Identity, dial: Arc<dyn Dial>) -> Result<Self, IdentityError> {
        let credentials = Credentials {
            agent_id: identity.facts.agent_id,
            device_id: identity.facts.device_id,
            key: Arc::clone(&identity.key),
        };
        let api = Api::new(identity.endpoint()?, dial, Some(credentials));
        let folder = identity.folder();
        let state = State::open(folder)?;
        let (pins, chains) = if identity.is_held() {
            (Pins::open(folder)?, Chains::open(folder, state.channels())?)
        } else {
            (Pins::look(folder)?, Chains::look(folder, state.channels())?)
        };
        Ok(Self {
            sending: tokio::sync::Mutex::default(),
            state: Mutex::new(state),
            pins: Mutex::new(pins),
            chains: Mutex::new(chains),
            api: Arc::new(api),
            identity,
            keys: Mutex::default(),
            news: Mutex::default(),
            key_news: Mutex::default(),
            refused: Mutex::default(),
            names: Mutex::default(),
            directory: Mutex::default(),
            heard: Mutex::default(),
            versions: Mutex::default(),
        })
    }

    /// Its routes.
    #[must_use]
    pub const fn api(&self) -> &Arc<Api> {
        &self.api
    }

    /// Who it is.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Pins the devices of profiles that were not seen before.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn pin(&self, profiles: &[Profile]) -> Result<(), IdentityError> {
        let news = lock(&self.pins).learn(profiles)?;
        lock(&self.news).extend(news);
        Ok(())
    }

    /// Pins the devices of all users of the organization; when it has done so once, of those who registered since.
    ///
    /// # Errors
    /// Where the relay refuses or the disk does.
    pub async fn pin_directory(&self) -> Result<(), AccountError> {
        let mut newest = *lock(&self.directory);
        // Relays that share a store have clocks of their own.
        let after = newest.millis().saturating_sub(CLOCKS_DIFFER);
        let mut pages = self.api.users_after(Id::from_parts(after, 0));
        while let Some(users) = pages.next().await? {
            self.pin(&users)?;
            newest = users.last().map_or(newest, |last| last.id.max(newest));
        }
        *lock(&self.directory) = newest;
        Ok(())
    }

    /// The profiles of these users, as far as the directory has them.
    ///
    /// # Errors
    /// Where the relay refuses.
    pub async fn profiles(&self, of: &[Id]) -> Result<Vec<Profile>, AccountError> {
        let mut wanted: BTreeSet<Id> = of.iter().copied().collect();
        let (mut found, mut pages) = (Vec::new(), self.api.users_after(Id::ZERO));
        while !wanted.is_empty() {
            let Some(users) = pages.next().await? else {
                break;
            };
            found.extend(users.into_iter().filter(|user| wanted.remove(&user.id)));
        }
        Ok(found)
    }

    /// Takes over what the process that holds the identity has pinned and read meanwhile.
    ///
    /// # Errors
    /// Where a file is not private or damaged.
    pub fn reload(&self) -> Result<(), IdentityError> {
        if self.identity.is_held() {
            return Ok(());
        }
        lock(&self.pins).reload()?;
        lock(&self.chains).reload()?;
        self.state().reload_read()
    }

    /// The key that is pinned for a user's device.
    #[must_use]
    pub fn pinned_key(&self, user_id: Id, device_id: Id) -> Option<PublicKey> {
        lock(&self.pins).key(user_id, device_id)
    }

    /// The devices that the relay has shown since the last time, and that are not used.
    pub fn take_refused_devices(&self) -> Vec<RefusedDevice> {
        std::mem::take(&mut lock(&self.news))
    }

    /// Gives a channel another name.
    ///
    /// # Errors
    /// Where the name has no fit length, a key is missing, or the relay refuses.
    pub async fn rename(&self, channel_id: Id, name: &str) -> Result<Channel, AccountError> {
        check_name(name)?;
        let (version, key) = self.newest_key(channel_id).await?;
        let state = self.hash(channel_id, version)?;
        let name = key.seal_name(channel_id, (version, state.as_ref()), self.device(), name);
        Ok(self.api.rename(channel_id, name).await?)
    }

    /// The name of a channel.
    ///
    /// # Errors
    /// Where its key is missing or it does not open.
    pub async fn name_of(&self, channel: &Channel) -> Result<String, AccountError> {
        self.open_name(channel.id, &channel.name).await
    }

    /// Opens the name of a channel.
    ///
    /// # Errors
    /// As [`name_of`](Self::name_of).
    pub async fn open_name(&self, channel_id: Id, name: &Name) -> Result<String, AccountError> {
        let key = self.key(channel_id, name.key_version).await?;
        let state = self.hash(channel_id, name.key_version)?;
        let opened = key.open_name(channel_id, name, state.as_ref());
        let opened = opened.map_err(|_| Trouble::Undecryptable)?;
        lock(&self.names).insert(channel_id, opened.clone());
        Ok(opened)
    }

    /// A page of history, opened, oldest first, and whether there are further ones. A message that cannot be opened does not
    /// fail the page.
    ///
    /// # Errors
    /// Where the relay refuses, answers with another page than was asked for, or is away while a key or a device is looked up.
    pub async fn history(
        &self,
        channel_id: Id,
        cursor: Cursor,
        limit: usize,
    ) -> Result<(Vec<Opened>, bool), AccountError> {
        let page = self.api.history(channel_id, cursor, limit).await?;
        check_page(&page, cursor, limit)?;
        let (mut opened, mut last, mut version) = (Vec::new(), HashMap::new(), 0);
        for message in page.messages {
            let before = last.get(&message.sender_device_id);
            let is_late = before.is_some_and(|before| message.seq <= *before);
            let content = if is_late || message.key_version < version {
                Err(Trouble::Replayed)
            } else {
                self.open_message(channel_id, &message).await?
            };
            // A number counts as used only by a message that its device really sealed.
            if content.is_ok() {
                last.insert(message.sender_device_id, message.seq);
                version = message.key_version;
            }
            opened.push(Opened { message, content });
        }
        Ok((opened, page.has_more))
    }

    /// As [`history`](Self::history), for somebody who deals with what it holds and sets watermarks for it
    /// ([`advance`](Self::advance)): no message of the page opens under another id again.
    ///
    /// # Errors
    /// As [`history`](Self::history).
    pub async fn unread(
        &self,
        channel_id: Id,
        cursor: Cursor,
        limit: usize,
    ) -> Result<(Vec<Opened>, bool), AccountError> {
        let read = self.history(channel_id, cursor, limit).await?;
        let mut state = self.state();
        for opened in read.0.iter().filter(|opened| opened.content.is_ok()) {
            state.meet(Numbered::from(&opened.message));
        }
        drop(state);
        Ok(read)
    }

    /// Opens a message of the live stream; nothing where it came before. For somebody who sets watermarks, as
    /// [`unread`](Self::unread).
    ///
    /// # Errors
    /// Where the relay is away while a key or a device is looked up.
    pub async fn receive(
        &self,
        channel_id: Id,
        message: Message,
    ) -> Result<Option<Opened>, AccountError> {
        let at = (channel_id, message.sender_device_id);
        if let Some((seq, id)) = lock(&self.heard).get(&at).copied()
            && message.seq <= seq
        {
            return Ok((id != message.message_id).then_some(Opened {
                message,
                content: Err(Trouble::Replayed),
            }));
        }
        // Nobody writes under an old key: who was removed has it still.
        let newest = lock(&self.versions).get(&channel_id).copied();
        let content = match newest.is_some_and(|newest| message.key_version < newest) {
            true => Err(Trouble::Replayed),
            false => self.open_message(channel_id, &message).await?,
        };
        // As in a page.
        if content.is_ok() {
            lock(&self.versions).insert(channel_id, message.key_version);
            lock(&self.heard).insert(at, (message.seq, message.message_id));
            self.state().meet(Numbered::from(&message));
        }
        Ok(Some(Opened { message, content }))
    }

    /// Opens a message, unless it was read before under another id.
    async fn open_message(
        &self,
        channel_id: Id,
        message: &Message,
    ) -> Result<Result<Content, Trouble>, AccountError> {
        if message.channel_id != channel_id {
            return Ok(Err(Trouble::Undecryptable));
        }
        if self.state().is_repeat(Numbered::from(message)) {
            return Ok(Err(Trouble::Replayed));
        }
        let checked = async {
            let (version, device_id) = (message.key_version, message.sender_device_id);
            let key = self.key(channel_id, version).await?;
            let state = self.hash(channel_id, version)?;
            let user_id = message.sender_id;
            if state.is_some() {
                let member = |chain: &Chain| chain.device(version, device_id).map(|(user, _)| user);
                if self.with_chain(channel_id, member)? != Some(user_id) {
                    return Err(Trouble::Device { user_id, device_id }.into());
                }
            } else {
                self.device_key(user_id, device_id).await?;
            }
            let context = MessageContext {
                channel_id,
                key_version: message.key_version,
                sender_id: message.sender_id,
                sender_device_id: message.sender_device_id,
                client_message_id: message.client_message_id,
                seq: message.seq,
                state,
            };
            let opened = key.open_message(&context, &message.nonce, &message.ciphertext);
            Ok(opened.map_err(|_| Trouble::Undecryptable)?)
        };
        match checked.await {
            Ok(content) => Ok(Ok(content)),
            Err(AccountError::Trouble(trouble)) => Ok(Err(trouble)),
            Err(other) => Err(other),
        }
    }

    /// The bytes of the keys that are held for a channel: for tests that look for them elsewhere.
    #[doc(hidden)]
    pub fn held_keys(&self, channel_id: Id) -> Vec<[u8; 32]> {
        let keys = lock(&self.keys);
        let held = keys
            .iter()
            .filter(|((channel, _), _)| *channel == channel_id);
        held.map(|(_, key)| key.exposed()).collect()
    }

    fn me(&self) -> Id {
        self.identity.facts.agent_id
    }

    fn device(&self) -> Id {
        self.identity.facts.device_id
    }

    /// The pinned key of a user's device; the directory is asked where there is none.
    async fn device_key(&self, user_id: Id, device_id: Id) -> Result<PublicKey, AccountError> {
        if let Ok(key) = self.pinned(user_id, device_id) {
            return Ok(key);
        }
        let profile = self.api.user(user_id).await?;
        self.pin(slice::from_ref(&profile))?;
        Ok(self.pinned(user_id, device_id)?)
    }

    fn pinned(&self, user_id: Id, device_id: Id) -> Result<PublicKey, Trouble> {
        let key = self.pinned_key(user_id, device_id);
        key.ok_or(Trouble::Device { user_id, device_id })
    }
}

fn check_name(name: &str) -> Result<(), AccountError> {
    if (1..=limits::CHANNEL_NAME_CHARS).contains(&name.chars().count()) {
        Ok(())
    } else {
        Err(AccountError::Name)
    }
}

/// Whether a page is the one that was asked for: who reads page after page comes to an end of each relay's history.
fn check_page(page: &Page, cursor: Cursor, limit: usize) -> Result<(), ApiError> {
    let ids = || page.messages.iter().map(|message| message.message_id);
    let fits = match cursor {
        Cursor::Newest => true,
        Cursor::After(after) => ids().all(|id| id > after),
        Cursor::Before(before) => ids().all(|id| id < before),
    };
    let rises = ids().is_sorted_by(|one, next| one < next);
    let goes_on = !(page.has_more && page.messages.is_empty());
    if fits && rises && goes_on && page.messages.len() <= limit {
        Ok(())
    } else {
        let why = "a page of messages that was not asked for";
        Err(ApiError::Malformed(why.to_owned()))
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
