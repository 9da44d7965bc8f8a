//! [`State`]: what an identity must not forget: sequence numbers, messages on their way and those that were refused after they
//! had waited, what was read and under which [`Numbers`], writes of work that is not complete, calls; [`Pins`], the public keys that it has seen; and [`Chains`], the key
//! states of its channels.
//!
//! Invariant: a change is on disk before anybody acts on it.

mod chains;
mod numbers;
mod pins;

pub use chains::{Chains, Judged};
pub use numbers::{Numbered, Numbers};
pub use pins::{Pins, RefusedDevice};

use crate::Base64Url;
use crate::Id;
use crate::identity::{IdentityError, read_json, write_json};
use crate::wire::Post;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const STATE: &str = "state.json";
/// Calls whose answers are kept.
const CALLS: usize = 256;
/// Messages that were refused after they had waited, and that nobody has forgotten yet; and bytes of their texts.
const MOST_UNSENT: (usize, usize) = (256, 1 << 20);

/// A message that the relay has not answered yet, with the bytes that it is sent with, however often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outgoing {
    /// Where it goes.
    pub channel_id: Id,
    /// What is sent.
    pub post: Post,
    /// What it says: a member who is removed meanwhile gets no key to open it with. Clients of before did not keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The channel's name when it was written, where it was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_name: Option<String>,
    /// Whether an attempt had no answer, so that the relay may have it already. What a process finds on disk may have been
    /// tried by the one before it.
    #[serde(skip, default = "is_found")]
    pub may_have_arrived: bool,
}

const fn is_found() -> bool {
    true
}

/// A message that waited in the outbox, and that is in it no more: the relay refused it when it went out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsent {
    /// The id under which it went out last.
    pub id: Id,
    /// Where it was to go.
    pub channel_id: Id,
    /// That channel's name when it was written, where it was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_name: Option<String>,
    /// When it was refused.
    pub at: Timestamp,
    /// What it says; nothing where a client of before kept it and its key is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The relay's code, or what is wrong here; no words of the relay's.
    pub why: String,
    /// Whether the relay may have taken it before, when its answer was lost.
    pub may_be_there: bool,
}

/// A write that is known when it is made again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Once {
    /// The same for a repetition; another for each other write of the same work.
    pub key: Base64Url,
    /// How long it is known.
    pub until: Until,
}

/// How long a write is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Until {
    /// It belongs to work that is begun again as a whole when it fails, and is complete when the watermark of each of these
    /// channels has reached its message; without any, when [`State::complete`] says so. A write that was refused is none.
    Complete(Vec<(Id, Id)>),
    /// It is a call: what became of it is known for the next 256 ones.
    Forgotten,
}

impl Once {
    /// A write of this name; the name may hold the whole text, only its digest is kept.
    #[must_use]
    pub fn named(name: &str, until: Vec<(Id, Id)>) -> Self {
        Self::of(name, Until::Complete(until))
    }

    /// The write of a call with this id.
    #[must_use]
    pub fn call(id: &str) -> Self {
        Self::of(id, Until::Forgotten)
    }

    fn of(name: &str, until: Until) -> Self {
        let key = Base64Url(Sha256::digest(name).to_vec());
        Self { key, until }
    }
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteStatus {
    /// The relay refused it for good, and never had it.
    Refused,
    /// The relay refuses it now, and may have taken it before.
    Doubtful,
    /// The relay has it: the message's id and time.
    #[serde(untagged)]
    Taken(Id, Timestamp),
    /// The relay has not answered yet.
    #[serde(untagged)]
    Waiting,
}

/// A write that is not to be repeated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettledWrite {
    /// Which.
    #[serde(flatten)]
    pub once: Once,
    /// The channel that it went to, or made.
    pub channel_id: Id,
    /// The message; nothing where it made a channel.
    pub client_message_id: Option<Id>,
    /// What became of it.
    #[serde(rename = "taken")]
    pub fate: WriteStatus,
}

#[derive(Default, Serialize, Deserialize)]
struct StoredState {
    seqs: BTreeMap<Id, u64>,
    outbox: Vec<Outgoing>,
    watermarks: BTreeMap<Id, Id>,
    /// Beside the watermarks, and of the messages that they have passed.
    #[serde(default)]
    numbers: Numbers,
    #[serde(default)]
    written: Vec<SettledWrite>,
    #[serde(default)]
    unsent: Vec<Unsent>,
}

/// What `state.json` holds.
pub struct State {
    folder: PathBuf,
    kept: StoredState,
}

impl State {
    /// The state in an identity's folder; empty where there is none yet.
    ///
    /// # Errors
    /// Where the file is not private or damaged.
    pub fn open(folder: &Path) -> Result<Self, IdentityError> {
        let mut state = Self {
            folder: folder.to_owned(),
            kept: kept(folder)?,
        };
        // Work without messages is not begun again by another process.
        state.complete();
        Ok(state)
    }

    /// The number that the next message in the channel has. It is used once [`put`](Self::put) has returned.
    #[must_use]
    pub fn next_seq(&self, channel_id: Id) -> u64 {
        let last = self.kept.seqs.get(&channel_id);
        last.map_or(1, |last| last.saturating_add(1))
    }

    /// Lifts the counter of a channel above a number that the relay knows of.
    pub fn raise_seq(&mut self, channel_id: Id, last: u64) {
        let kept = self.kept.seqs.entry(channel_id).or_default();
        *kept = last.max(*kept);
    }

    /// Keeps a message, and its number as used; with a name, so that it is known when it is written again.
    ///
    /// # Errors
    /// Where the disk refuses: the message must not be sent then.
    pub fn put(&mut self, outgoing: Outgoing, once: Option<Once>) -> Result<(), IdentityError> {
        self.raise_seq(outgoing.channel_id, outgoing.post.seq);
        let (sent, written) = (self.kept.outbox.len(), self.kept.written.len());
        self.kept.written.extend(once.map(|once| SettledWrite {
            once,
            channel_id: outgoing.channel_id,
            client_message_id: Some(outgoing.post.client_message_id),
            fate: WriteStatus::Waiting,
        }));
        self.kept.outbox.push(outgoing);
        let saved = self.save();
        if saved.is_err() {
            self.kept.outbox.truncate(sent);
            self.kept.written.truncate(written);
        }
        saved
    }

    /// Keeps that a channel is about to be made.
    ///
    /// # Errors
    /// Where the disk refuses: it must not be made then.
    pub fn put_channel(&mut self, channel_id: Id, once: Once) -> Result<(), IdentityError> {
        self.kept.written.push(SettledWrite {
            once,
            channel_id,
            client_message_id: None,
            fate: WriteStatus::Waiting,
        });
        let saved = self.save();
        if saved.is_err() {
            self.kept.written.pop();
        }
        saved
    }

    /// The write of this key, where there was one; it belongs to the repeated work from now on.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn repeated(&mut self, once: &Once) -> Result<Option<SettledWrite>, IdentityError> {
        let mut written = self.kept.written.iter_mut();
        let Some(known) = written.find(|known| known.once.key == once.key) else {
            return Ok(None);
        };
        let is_moved = known.once.until != once.until;
        known.once.until.clone_from(&once.until);
        let known = known.clone();
        if is_moved {
            self.save()?;
        }
        Ok(Some(known))
    }

    /// Forgets a write that did not happen.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn unwrite(&mut self, once: &Once) -> Result<(), IdentityError> {
        self.kept.written.retain(|known| known.once.key != once.key);
        self.save()
    }

    /// The messages on their way, in the order in which they were put.
    #[must_use]
    pub fn outbox(&self) -> &[Outgoing] {
        &self.kept.outbox
    }

    /// Notes that an attempt to send a message had no answer.
    pub fn doubt(&mut self, client_message_id: Id) {
        let mut kept = self.kept.outbox.iter_mut();
        if let Some(kept) = kept.find(|kept| kept.post.client_message_id == client_message_id) {
            kept.may_have_arrived = true;
        }
    }

    /// Takes a message out of the outbox: this became of it. One of which nobody else is told is kept as `unsent` in the same
    /// change.
    ///
    /// # Errors
    /// Where the disk refuses; the message is sent again then, which changes nothing.
    pub fn settle(
        &mut self,
        client_message_id: Id,
        fate: WriteStatus,
        unsent: Option<Unsent>,
    ) -> Result<(), IdentityError> {
        let StoredState {
            outbox,
            written,
            unsent: all_unsent,
            ..
        } = &mut self.kept;
        all_unsent.extend(unsent);
        outbox.retain(|kept| kept.post.client_message_id != client_message_id);
        let is_it = |known: &SettledWrite| known.client_message_id == Some(client_message_id);
        if let Some(known) = written.iter_mut().find(|known| is_it(known)) {
            known.fate = fate;
        }
        // The work that is begun again may make it again; a call is asked about.
        let is_none = |known: &SettledWrite| {
            is_it(known)
                && matches!(fate, WriteStatus::Refused | WriteStatus::Doubtful)
                && known.once.until != Until::Forgotten
        };
        written.retain(|known| !is_none(known));
        let is_answered = |known: &SettledWrite| {
            known.once.until == Until::Forgotten && known.fate != WriteStatus::Waiting
        };
        let mut surplus = written.iter().filter(|known| is_answered(known)).count();
        surplus = surplus.saturating_sub(CALLS);
        written.retain(|known| {
            let goes = surplus > 0 && is_answered(known);
            surplus -= usize::from(goes);
            !goes
        });
        self.save()
    }

    /// The messages that were refused after they had waited, in the order of their refusals.
    #[must_use]
    pub fn unsent(&self) -> &[Unsent] {
        &self.kept.unsent
    }

    /// Whether so many were refused that a further one could not be kept.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let texts = self.kept.unsent.iter().filter_map(|one| one.text.as_ref());
        let bytes: usize = texts.map(String::len).sum();
        self.kept.unsent.len() >= MOST_UNSENT.0 || bytes >= MOST_UNSENT.1
    }

    /// Forgets messages that were refused: somebody has seen them. How many there were.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn forget_unsent(&mut self, ids: &[Id]) -> Result<usize, IdentityError> {
        let before = self.kept.unsent.clone();
        self.kept.unsent.retain(|one| !ids.contains(&one.id));
        let gone = before.len() - self.kept.unsent.len();
        if gone > 0
            && let Err(refused) = self.save()
        {
            self.kept.unsent = before;
            return Err(refused);
        }
        Ok(gone)
    }

    /// What became of a write; nothing where none of this key is known any more.
    #[must_use]
    pub fn fate(&self, once: &Once) -> Option<WriteStatus> {
        let mut written = self.kept.written.iter();
        let known = written.find(|known| known.once.key == once.key);
        known.map(|known| known.fate)
    }

    /// Forgets what hangs on channels that this identity is in no more: `present` are all that it is in. A write of work that
    /// showed messages of others is known until those are reached.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn keep_channels(&mut self, present: &[Id]) -> Result<(), IdentityError> {
        let is_there = |channel: &Id| present.contains(channel);
        let (mut is_changed, written) = (false, &mut self.kept.written);
        written.retain_mut(|known| {
            let Until::Complete(until) = &mut known.once.until else {
                return true;
            };
            let before = until.len();
            until.retain(|(channel, _)| is_there(channel));
            is_changed |= until.len() != before;
            // Without any from the start, it is forgotten otherwise.
            before == 0 || !until.is_empty()
        });
        if is_changed { self.save() } else { Ok(()) }
    }

    /// Puts a message, encrypted anew, in the place of one that the relay does not take as it was.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn replace(&mut self, client_message_id: Id, by: Outgoing) -> Result<(), IdentityError> {
        self.raise_seq(by.channel_id, by.post.seq);
        for known in &mut self.kept.written {
            if known.client_message_id == Some(client_message_id) {
                known.client_message_id = Some(by.post.client_message_id);
            }
        }
        let mut kept = self.kept.outbox.iter_mut();
        if let Some(old) = kept.find(|kept| kept.post.client_message_id == client_message_id) {
            *old = by;
        }
        self.save()
    }

    /// The newest message of a channel that was dealt with.
    #[must_use]
    pub fn watermark(&self, channel_id: Id) -> Option<Id> {
        self.kept.watermarks.get(&channel_id).copied()
    }

    /// The channels that something was read or written in.
    #[must_use]
    pub fn channels(&self) -> Vec<Id> {
        let written = self.kept.seqs.keys();
        written
            .chain(self.kept.watermarks.keys())
            .copied()
            .collect()
    }

    /// Whether a message is one that was opened before, under another id.
    #[must_use]
    pub fn is_repeat(&self, of: Numbered) -> bool {
        self.kept
            .numbers
            .is_repeat(of, self.watermark(of.channel_id))
    }

    /// Remembers a message that was opened and is dealt with when the watermark reaches it.
    pub fn meet(&mut self, of: Numbered) {
        let watermark = self.watermark(of.channel_id);
        self.kept.numbers.meet(of, watermark);
    }

    /// Takes over what another process has kept of the messages that were read, that wait and that were refused.
    ///
    /// # Errors
    /// Where the file is not private or damaged.
    pub fn reload_read(&mut self) -> Result<(), IdentityError> {
        let StoredState {
            watermarks,
            numbers,
            unsent,
            outbox,
            ..
        } = kept(&self.folder)?;
        (self.kept.watermarks, self.kept.numbers) = (watermarks, numbers);
        (self.kept.unsent, self.kept.outbox) = (unsent, outbox);
        Ok(())
    }

    /// Sets watermarks, and forgets the writes of work that is complete with them. No watermark goes back. The numbers of the
    /// messages that they pass are kept with them.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn advance(
        &mut self,
        marks: impl IntoIterator<Item = (Id, Id)>,
    ) -> Result<(), IdentityError> {
        for (channel, message) in marks {
            let mark = self.kept.watermarks.entry(channel).or_default();
            *mark = message.max(*mark);
            self.kept.numbers.pass(channel, *mark);
        }
        let marks = &self.kept.watermarks;
        let is_reached = |(channel, message): &(Id, Id)| marks.get(channel) >= Some(message);
        let written = &mut self.kept.written;
        written.retain(|known| match &known.once.until {
            Until::Complete(until) => until.is_empty() || !until.iter().all(is_reached),
            Until::Forgotten => true,
        });
        self.save()
    }

    /// Forgets the writes of work without messages: it is complete. On disk they may stay until the next change:
    /// [`open`](Self::open) takes none of them.
    pub fn complete(&mut self) {
        let none = Until::Complete(Vec::new());
        self.kept.written.retain(|known| known.once.until != none);
    }

    fn save(&self) -> Result<(), IdentityError> {
        write_json(&self.folder, STATE, &self.kept)
    }
}

fn kept(folder: &Path) -> Result<StoredState, IdentityError> {
    let path = folder.join(STATE);
    if path.exists() {
        read_json(&path)
    } else {
        Ok(StoredState::default())
    }
}

#[cfg(test)]
mod tests;
