//! What an account sends: texts, by way of its outbox, and the opening message of a channel that it makes.
//!
//! ```text
//! text ─sealed, on disk─▶ in the outbox ─┬─ the relay has it ─▶ taken
//!            ▲                           ├─ refused for good, whatever came before ─▶ refused ──┬─ it waited: unsent, on disk
//!            │                           ├─ refused now, an attempt had no answer ─▶ doubtful ─┘  else: its sender is told
//!            └─ encrypted anew ◀─ its key is old          no judgement: it stays
//! ```
//! Invariants: one message is under way at a time, in the order of the outbox; the relay is waited for without the state, so
//! that reads and watermarks go on; a message that left the outbox otherwise than sent was told to its sender, or is unsent until
//! somebody forgets it.

use super::members::Made;
use super::{Account, AccountError, Agreed, Delivery, Trouble, check_name, lock};
use crate::api::ApiError;
use crate::crypto::{ChannelKey, Content, MessageContext, StateHash};
use crate::identity::IdentityError;
use crate::state::{Once, Outgoing, State, Unsent, WriteStatus};
use crate::wire::{Channel, Code, CreateChannel, Message, Post};
use crate::{Id, limits};
use jiff::Timestamp;
use std::sync::MutexGuard;

/// How often a message is encrypted anew because the channel's key changed meanwhile.
pub(super) const NEW_KEYS: usize = 4;

/// The turn to send.
type Turn<'a> = tokio::sync::MutexGuard<'a, ()>;

/// A channel to make.
#[derive(Clone, Copy, Debug)]
pub struct NewChannel<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its members, beside this identity.
    pub members: &'a [Id],
    /// Its first message, if it has one.
    pub opening: Option<&'a str>,
    /// The devices of the members that somebody agreed to; without any, those that the relay shows.
    pub agreed: Option<&'a Agreed>,
}

impl Account {
    /// Makes a channel, with an opening message if there is one.
    ///
    /// # Errors
    /// Where name or text has no fit length, a member's device is not the one known before, or the relay refuses.
    pub async fn create(
        &self,
        name: &str,
        members: &[Id],
        opening: Option<&str>,
    ) -> Result<Channel, AccountError> {
        let new = NewChannel {
            name,
            members,
            opening,
            agreed: None,
        };
        let (channel, _) = self.create_as(None, new).await?;
        Ok(channel)
    }

    /// Makes a channel, unless an earlier attempt at this write made it: that one then, and `true`.
    ///
    /// # Errors
    /// As [`create`](Self::create); [`Trouble::NotAgreed`].
    pub async fn create_as(
        &self,
        once: Option<Once>,
        new: NewChannel<'_>,
    ) -> Result<(Channel, bool), AccountError> {
        check_name(new.name)?;
        new.opening.map_or(Ok(()), check_text)?;
        let turn = self.sending.lock().await;
        let Some(once) = once else {
            let made = self.make(&turn, Id::generate(), new).await;
            return made.map(|channel| (channel, false));
        };
        let begun = self.state().repeated(&once)?;
        let channel_id = match begun {
            Some(begun) => match self.api.channel(begun.channel_id).await {
                Ok(channel) => return Ok((channel, true)),
                Err(none) if none.code() == Some(Code::NotFound) => begun.channel_id,
                Err(other) => return Err(other.into()),
            },
            None => {
                let channel_id = Id::generate();
                self.state().put_channel(channel_id, once.clone())?;
                channel_id
            }
        };
        let made = self.make(&turn, channel_id, new).await;
        match &made {
            // Nobody knows whether it was made.
            Err(AccountError::Relay(why)) if !why.is_final() => {}
            Err(_) => self.state().unwrite(&once)?,
            Ok(_) => {}
        }
        made.map(|channel| (channel, false))
    }

    async fn make(
        &self,
        _: &Turn<'_>,
        channel_id: Id,
        new: NewChannel<'_>,
    ) -> Result<Channel, AccountError> {
        let mut users = new.members.to_vec();
        users.push(self.me());
        users.sort_unstable();
        users.dedup();
        let members = self.devices_of(&users, new.agreed).await?;
        let Made {
            key,
            hash,
            state,
            wraps,
        } = self.made(channel_id, 1, &members, Vec::new())?;
        let seq = self.state().next_seq(channel_id);
        let message = new.opening;
        let at = (1, Some(hash));
        let message = message.map(|text| self.seal(channel_id, at, &key, seq, text));
        if let Some(post) = &message {
            check_sealed(post)?;
            let mut state = self.state();
            state.raise_seq(channel_id, post.seq);
            // The number is on disk; the message itself lies in the request, which may be repeated as a whole.
            state.advance([])?;
        }
        let create = CreateChannel {
            channel_id,
            name: key.seal_name(channel_id, (1, Some(&hash)), self.device(), new.name),
            members: new.members.to_vec(),
            keys: wraps,
            message,
            state: Some(state),
        };
        let created = self.api.create(&create).await?;
        // What an earlier attempt made counts; nobody else can have made this channel.
        let shown = self.api.keys(channel_id, 0).await?;
        let own = shown
            .states
            .first()
            .is_some_and(|first| first.device_id == self.device());
        if !own {
            let why = "another first key of the channel than the one that was sent";
            return Err(ApiError::Malformed(why.to_owned()).into());
        }
        self.take_states(channel_id, shown.states)??;
        self.open_wraps(channel_id, shown.keys).await?;
        Ok(created.channel)
    }

    /// Sends a text. It is in the outbox until the relay has judged it.
    ///
    /// # Errors
    /// [`AccountError::Kept`] and [`AccountError::KeptHere`] where the next [`flush`](Self::flush) sends it, [`AccountError::Doubtful`] where nobody knows
    /// whether the relay has it. Else it is not sent: the text has no fit length, a key is missing, the disk or the relay refuses.
    pub async fn send(&self, channel_id: Id, text: &str) -> Result<Message, AccountError> {
        let turn = self.sending.lock().await;
        self.post(&turn, channel_id, text, None).await
    }

    /// As [`send`](Self::send), unless an earlier attempt sent it.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_once(
        &self,
        once: Once,
        channel_id: Id,
        text: &str,
    ) -> Result<Delivery, AccountError> {
        let turn = self.sending.lock().await;
        let known = self.state().repeated(&once)?.map(|known| known.fate);
        let (message_id, created_at) = match known {
            None | Some(WriteStatus::Refused | WriteStatus::Doubtful) => {
                self.state().unwrite(&once)?;
                let sent = self.post(&turn, channel_id, text, Some(once)).await?;
                return Ok(Delivery {
                    message_id: sent.message_id,
                    created_at: sent.created_at,
                    is_repeated: false,
                });
            }
            Some(WriteStatus::Taken(id, at)) => (id, at),
            // It is on its way still.
            Some(WriteStatus::Waiting) => {
                let flushed = self.flush_in(&turn).await.map_err(kept);
                match (self.state().fate(&once), flushed) {
                    (Some(WriteStatus::Taken(id, at)), _) => (id, at),
                    (_, Err(why)) => return Err(why),
                    (_, Ok(_)) => return Err(AccountError::Unsettled),
                }
            }
        };
        Ok(Delivery {
            message_id,
            created_at,
            is_repeated: true,
        })
    }

    async fn post(
        &self,
        turn: &Turn<'_>,
        channel_id: Id,
        text: &str,
        once: Option<Once>,
    ) -> Result<Message, AccountError> {
        check_text(text)?;
        match self.flush_in(turn).await {
            Err(why) if why.is_kept() => return Err(why),
            // One that is refused is no matter of this text.
            Ok(_) | Err(_) => {}
        }
        if self.state().is_full() {
            return Err(AccountError::Unseen);
        }
        let (version, key) = self.newest_key(channel_id).await?;
        let at = (version, self.hash(channel_id, version)?);
        let seq = self.state().next_seq(channel_id);
        let post = self.seal(channel_id, at, &key, seq, text);
        check_sealed(&post)?;
        let outgoing = Outgoing {
            channel_id,
            post,
            text: Some(text.to_owned()),
            channel_name: lock(&self.names).get(&channel_id).cloned(),
            may_have_arrived: false,
        };
        self.state().put(outgoing.clone(), once)?;
        self.deliver(turn, outgoing, false).await.map_err(kept)
    }

    /// What became of a write; nothing where it was never made, or so long ago that it is forgotten. It waits for no send.
    #[must_use]
    pub fn fate(&self, once: &Once) -> Option<WriteStatus> {
        self.state().fate(once)
    }

    /// The newest message of a channel that was dealt with. It waits for no send.
    pub async fn watermark(&self, channel_id: Id) -> Option<Id> {
        self.state().watermark(channel_id)
    }

    /// Forgets what [`send_once`](Self::send_once) and [`create_as`](Self::create_as) know of work without messages: it
    /// is complete. It waits for no send.
    pub async fn complete(&self) {
        self.state().complete();
    }

    /// Sets watermarks: channels, each with its newest message that was dealt with. None goes back. It waits for no send.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub async fn advance(&self, marks: &[(Id, Id)]) -> Result<(), IdentityError> {
        self.state().advance(marks.iter().copied())
    }

    /// Forgets what hangs on channels that this identity is in no more: these are all that it is in.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn keep_channels(&self, present: &[Channel]) -> Result<(), IdentityError> {
        let present: Vec<Id> = present.iter().map(|channel| channel.id).collect();
        self.state().keep_channels(&present)
    }

    /// Sends what is in the outbox, in its order.
    ///
    /// # Errors
    /// Where the relay judges nothing or the disk refuses: the rest is kept. Else the first message that cannot be sent: it
    /// has left the outbox, and those behind it were tried.
    pub async fn flush(&self) -> Result<Vec<Message>, AccountError> {
        let turn = self.sending.lock().await;
        self.flush_in(&turn).await
    }

    /// The messages that the relay has not judged yet, in their order. It waits for no send.
    #[must_use]
    pub fn waiting(&self) -> Vec<Outgoing> {
        self.state().outbox().to_vec()
    }

    /// The messages that waited and were refused, until somebody forgets them.
    #[must_use]
    pub fn unsent(&self) -> Vec<Unsent> {
        self.state().unsent().to_vec()
    }

    /// Forgets messages that were refused: somebody has seen them. How many there were.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn forget_unsent(&self, ids: &[Id]) -> Result<usize, IdentityError> {
        self.state().forget_unsent(ids)
    }

    async fn flush_in(&self, turn: &Turn<'_>) -> Result<Vec<Message>, AccountError> {
        let (mut sent, mut refused) = (Vec::new(), None);
        loop {
            let first = self.state().outbox().first().cloned();
            let Some(outgoing) = first else {
                return refused.map_or(Ok(sent), Err);
            };
            match self.deliver(turn, outgoing, true).await {
                Ok(message) => sent.push(message),
                Err(why) if why.is_kept() => return Err(why),
                Err(why) => refused = refused.or(Some(why)),
            }
        }
    }

    /// Sends the first message of the outbox. It leaves, sent or not, unless [`AccountError::is_kept`]. Of one that `waited`
    /// nobody else tells the sender that it was refused.
    async fn deliver(
        &self,
        turn: &Turn<'_>,
        outgoing: Outgoing,
        waited: bool,
    ) -> Result<Message, AccountError> {
        let delivered = self.attempt(turn, outgoing.clone()).await;
        let (fate, refused) = match &delivered {
            Ok(message) => (
                WriteStatus::Taken(message.message_id, message.created_at),
                None,
            ),
            Err(why) if why.is_kept() => return delivered,
            Err(why @ AccountError::Doubtful(_)) => (WriteStatus::Doubtful, Some(why)),
            Err(why) => (WriteStatus::Refused, Some(why)),
        };
        let text = match refused {
            Some(_) if waited => self.own_text(&outgoing).await.ok(),
            _ => None,
        };
        let mut state = self.state();
        // Encrypted anew, it has another id than it began with.
        let first = state
            .outbox()
            .first()
            .map(|kept| kept.post.client_message_id);
        let Some(id) = first else { return delivered };
        let unsent = refused.filter(|_| waited).map(|why| Unsent {
            id,
            channel_id: outgoing.channel_id,
            channel_name: outgoing.channel_name,
            at: Timestamp::now(),
            text,
            why: why.in_short(),
            may_be_there: fate == WriteStatus::Doubtful,
        });
        // If the disk refuses, the next change saves it, and none goes out before that. What the relay said stays true.
        let _ = state.settle(id, fate, unsent);
        drop(state);
        delivered
    }

    async fn attempt(&self, _: &Turn<'_>, mut outgoing: Outgoing) -> Result<Message, AccountError> {
        for _ in 0..NEW_KEYS {
            let (channel_id, post) = (outgoing.channel_id, &outgoing.post);
            let refused = match self.api.post(channel_id, post).await {
                Ok(message) => return Ok(message),
                Err(why) if why.is_final() => why,
                Err(why) => {
                    if why.may_have_acted() {
                        self.state().doubt(post.client_message_id);
                    }
                    return Err(why.into());
                }
            };
            match refused.code() {
                Some(Code::StaleKeyVersion) => {
                    self.fetch_keys(channel_id).await?;
                    self.bring_forward(channel_id).await?;
                }
                Some(Code::SeqConflict) => {}
                Some(Code::RotationDue) => {
                    self.rotate(channel_id).await?;
                }
                // Who is no member is told nothing, not even that the message is there. The relay judges all else only of a
                // message that it does not have.
                Some(Code::NotFound) if outgoing.may_have_arrived => {
                    return Err(AccountError::Doubtful(refused));
                }
                _ => return Err(refused.into()),
            }
            if let ApiError::Refused(refusal) = &refused
                && let Some(last) = refusal.detail["last_seq"].as_u64()
                // The counter of a channel cannot go back, and a relay may not use it up.
                && last <= limits::SEQ_OF_RELAY
            {
                self.state().raise_seq(channel_id, last);
            }
            let text = self.own_text(&outgoing).await?;
            let (version, key) = self.newest_key(channel_id).await?;
            let at = (version, self.hash(channel_id, version)?);
            let (seq, old) = (self.state().next_seq(channel_id), post.client_message_id);
            outgoing = Outgoing {
                channel_id,
                post: self.seal(channel_id, at, &key, seq, &text),
                text: Some(text),
                channel_name: outgoing.channel_name,
                may_have_arrived: false,
            };
            self.state().replace(old, outgoing.clone())?;
        }
        Err(self.unsettled(outgoing.channel_id).await)
    }

    /// The state, for a moment: never while the relay is waited for.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn seal(
        &self,
        channel_id: Id,
        (key_version, state): (u32, Option<StateHash>),
        key: &ChannelKey,
        seq: u64,
        text: &str,
    ) -> Post {
        let context = MessageContext {
            channel_id,
            key_version,
            sender_id: self.me(),
            sender_device_id: self.device(),
            client_message_id: Id::generate(),
            seq,
            state,
        };
        let (nonce, ciphertext) = key.seal_text(&context, text);
        Post {
            client_message_id: context.client_message_id,
            key_version,
            seq,
            nonce,
            ciphertext,
        }
    }

    /// The text of a message of this account that the relay has not taken.
    async fn own_text(&self, outgoing: &Outgoing) -> Result<String, AccountError> {
        if let Some(text) = &outgoing.text {
            return Ok(text.clone());
        }
        let (channel_id, post) = (outgoing.channel_id, &outgoing.post);
        // Also where the channel has stopped.
        let held = lock(&self.keys)
            .get(&(channel_id, post.key_version))
            .cloned();
        let key = match held {
            Some(key) => key,
            None => self.key(channel_id, post.key_version).await?,
        };
        let context = MessageContext {
            channel_id,
            key_version: post.key_version,
            sender_id: self.me(),
            sender_device_id: self.device(),
            client_message_id: post.client_message_id,
            seq: post.seq,
            state: self.hash(channel_id, post.key_version)?,
        };
        match key.open_message(&context, &post.nonce, &post.ciphertext) {
            Ok(Content::Text(text)) => Ok(text),
            Ok(Content::Unsupported) | Err(_) => Err(Trouble::Undecryptable.into()),
        }
    }
}

/// The error of a message that is in the outbox.
fn kept(why: AccountError) -> AccountError {
    match why {
        AccountError::Relay(why) if !why.is_final() => AccountError::Kept(why),
        AccountError::Disk(why) => AccountError::KeptHere(why),
        other => other,
    }
}

fn check_text(text: &str) -> Result<(), AccountError> {
    if (1..=limits::TEXT_BYTES).contains(&text.len()) {
        Ok(())
    } else {
        Err(AccountError::Text)
    }
}

/// A text of many escapes is longer in its JSON.
fn check_sealed(post: &Post) -> Result<(), AccountError> {
    if post.ciphertext.0.len() <= limits::CIPHERTEXT_BYTES {
        Ok(())
    } else {
        Err(AccountError::Text)
    }
}
