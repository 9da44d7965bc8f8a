//! [`State`]: what an identity must not forget: sequence numbers, messages on their way, what was read, writes of work that
//! is not complete; and [`Pins`], the public keys that it has seen.
//!
//! Invariant: a change is on disk before anybody acts on it.

use crate::Base64Url;
use crate::Id;
use crate::crypto::PublicKey;
use crate::identity::{IdentityError, read_json, write_json};
use crate::wire::{Kind, Post, Profile};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};

const STATE: &str = "state.json";
/// Answers that are kept.
const ANSWERED: usize = 256;
const KNOWN_DEVICES: &str = "known_devices.json";

/// A message that the relay has not answered yet, with the bytes that it is sent with, however often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outgoing {
    /// Where it goes.
    pub channel_id: Id,
    /// What is sent.
    pub post: Post,
    /// By which [`State::sent`] finds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// What became of a message with a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// None of this label was put, or so long ago that it is forgotten.
    Unheard,
    /// The relay has not answered yet.
    Waiting,
    /// The relay has it, under this id.
    Taken(Id),
    /// The relay refused it for good.
    Refused,
}

/// The write of a piece of work that is begun again as a whole when it fails: named so that a repetition is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Once {
    /// The same for a repetition; another for each other write of the same work.
    pub key: Base64Url,
    /// The work is complete when the watermark of each of these channels has reached its message; without any, when
    /// [`State::complete`] says so.
    pub until: Vec<(Id, Id)>,
}

impl Once {
    /// A write of this name; the name may hold the whole text, only its digest is kept.
    #[must_use]
    pub fn named(name: &str, until: Vec<(Id, Id)>) -> Self {
        let key = Base64Url(Sha256::digest(name).to_vec());
        Self { key, until }
    }
}

/// A write that is not to be repeated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Which.
    #[serde(flatten)]
    pub once: Once,
    /// The channel that it went to, or made.
    pub channel_id: Id,
    /// The message; nothing where it made a channel.
    pub client_message_id: Option<Id>,
    /// The message's id and time, once the relay has it.
    pub taken: Option<(Id, Timestamp)>,
}

#[derive(Default, Serialize, Deserialize)]
struct Kept {
    seqs: BTreeMap<Id, u64>,
    outbox: Vec<Outgoing>,
    watermarks: BTreeMap<Id, Id>,
    #[serde(default)]
    written: Vec<Written>,
    /// Of messages with a label that were answered, the newest last: their ids, or none where refused.
    #[serde(default)]
    answered: VecDeque<(String, Option<Id>)>,
}

/// What `state.json` holds.
pub struct State {
    folder: PathBuf,
    kept: Kept,
}

impl State {
    /// The state in an identity's folder; empty where there is none yet.
    ///
    /// # Errors
    /// Where the file is not private or damaged.
    pub fn open(folder: &Path) -> Result<Self, IdentityError> {
        let path = folder.join(STATE);
        let kept = if path.exists() {
            read_json(&path)?
        } else {
            Kept::default()
        };
        let mut state = Self {
            folder: folder.to_owned(),
            kept,
        };
        // Work without messages is not begun again by another process.
        state.complete();
        Ok(state)
    }

    /// The number that the next message in the channel has. It is used once [`put`](Self::put) has returned.
    #[must_use]
    pub fn next_seq(&self, channel_id: Id) -> u64 {
        self.kept.seqs.get(&channel_id).map_or(1, |last| last + 1)
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
        self.kept.written.extend(once.map(|once| Written {
            once,
            channel_id: outgoing.channel_id,
            client_message_id: Some(outgoing.post.client_message_id),
            taken: None,
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
        self.kept.written.push(Written {
            once,
            channel_id,
            client_message_id: None,
            taken: None,
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
    pub fn repeated(&mut self, once: &Once) -> Result<Option<Written>, IdentityError> {
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

    /// Takes a message out of the outbox: the relay has taken it under an id and at a time, or has refused it for good.
    ///
    /// # Errors
    /// Where the disk refuses; the message is sent again then, which changes nothing.
    pub fn settle(
        &mut self,
        client_message_id: Id,
        taken: Option<(Id, Timestamp)>,
    ) -> Result<(), IdentityError> {
        let Kept {
            outbox,
            answered,
            written,
            ..
        } = &mut self.kept;
        let is_it = |kept: &Outgoing| kept.post.client_message_id == client_message_id;
        let labels = outbox.iter().filter(|kept| is_it(kept));
        let id = taken.map(|(id, _)| id);
        answered.extend(labels.filter_map(|kept| Some((kept.label.clone()?, id))));
        while answered.len() > ANSWERED {
            answered.pop_front();
        }
        outbox.retain(|kept| !is_it(kept));
        let is_it = |known: &Written| known.client_message_id == Some(client_message_id);
        match taken {
            Some(_) => {
                if let Some(known) = written.iter_mut().find(|known| is_it(known)) {
                    known.taken = taken;
                }
            }
            None => written.retain(|known| !is_it(known)),
        }
        self.save()
    }

    /// What became of the message with this label.
    #[must_use]
    pub fn sent(&self, label: &str) -> Sent {
        let Kept {
            outbox, answered, ..
        } = &self.kept;
        if outbox
            .iter()
            .any(|kept| kept.label.as_deref() == Some(label))
        {
            return Sent::Waiting;
        }
        let answer = answered.iter().rfind(|(answered, _)| answered == label);
        answer.map_or(Sent::Unheard, |(_, taken)| {
            taken.map_or(Sent::Refused, Sent::Taken)
        })
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

    /// Sets watermarks, and forgets the writes of work that is complete with them. No watermark goes back.
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
        }
        let marks = &self.kept.watermarks;
        let is_reached = |(channel, message): &(Id, Id)| marks.get(channel) >= Some(message);
        let written = &mut self.kept.written;
        written.retain(|known| {
            let until = &known.once.until;
            until.is_empty() || !until.iter().all(is_reached)
        });
        self.save()
    }

    /// Forgets the writes of work without messages: it is complete. On disk they may stay until the next change:
    /// [`open`](Self::open) takes none of them.
    pub fn complete(&mut self) {
        let written = &mut self.kept.written;
        written.retain(|known| !known.once.until.is_empty());
    }

    fn save(&self) -> Result<(), IdentityError> {
        write_json(&self.folder, STATE, &self.kept)
    }
}

#[derive(Clone, Serialize, Deserialize)]
struct Pin {
    user_id: Id,
    public_key: Base64Url,
    first_seen: Timestamp,
}

/// Something about the devices of a user that a person should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceNews {
    /// A human shows one more device; it is used from now on.
    Added {
        /// Whose.
        user_id: Id,
        /// Which.
        device_id: Id,
    },
    /// A device shows another key, or another owner; or an agent shows a second device. It is not used.
    Refused {
        /// Whose, as the relay says.
        user_id: Id,
        /// Which.
        device_id: Id,
    },
}

/// What `known_devices.json` holds: the first key seen for each device.
pub struct Pins {
    folder: PathBuf,
    pins: BTreeMap<Id, Pin>,
    /// Whether what it learns is kept.
    is_kept: bool,
}

impl Pins {
    /// The pins in an identity's folder; none where there is no file yet.
    ///
    /// # Errors
    /// Where the file is not private or damaged.
    pub fn open(folder: &Path) -> Result<Self, IdentityError> {
        Ok(Self {
            folder: folder.to_owned(),
            pins: kept_pins(folder)?,
            is_kept: true,
        })
    }

    /// The same for a process that changes no file: what it learns, it knows until it ends.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn look(folder: &Path) -> Result<Self, IdentityError> {
        let mut pins = Self::open(folder)?;
        pins.is_kept = false;
        Ok(pins)
    }

    /// Reads the file again: another process has it. Its pins win over what this one has learned.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn reload(&mut self) -> Result<(), IdentityError> {
        self.pins.extend(kept_pins(&self.folder)?);
        Ok(())
    }

    /// Pins the devices of a profile that were not seen before.
    ///
    /// # Errors
    /// Where the disk refuses: nothing may be wrapped then.
    pub fn learn(&mut self, profile: &Profile) -> Result<Vec<DeviceNews>, IdentityError> {
        let user_id = profile.id;
        let known = self
            .pins
            .values()
            .filter(|pin| pin.user_id == user_id)
            .count();
        let (mut news, mut added) = (Vec::new(), 0);
        for device in &profile.devices {
            let device_id = device.device_id;
            if let Some(pin) = self.pins.get(&device_id) {
                if pin.user_id != user_id || pin.public_key != device.public_key {
                    news.push(DeviceNews::Refused { user_id, device_id });
                }
                continue;
            }
            let second = known + added > 0;
            let valid = PublicKey::from_bytes(&device.public_key.0).is_ok();
            if !valid || second && profile.kind == Kind::Agent {
                news.push(DeviceNews::Refused { user_id, device_id });
                continue;
            }
            if known > 0 {
                news.push(DeviceNews::Added { user_id, device_id });
            }
            added += 1;
            let pin = Pin {
                user_id,
                public_key: device.public_key.clone(),
                first_seen: Timestamp::now(),
            };
            self.pins.insert(device_id, pin);
        }
        if added > 0 && self.is_kept {
            write_json(&self.folder, KNOWN_DEVICES, &self.pins)?;
        }
        Ok(news)
    }

    /// The pinned key of a user's device.
    #[must_use]
    pub fn key(&self, user_id: Id, device_id: Id) -> Option<PublicKey> {
        let pin = self
            .pins
            .get(&device_id)
            .filter(|pin| pin.user_id == user_id)?;
        PublicKey::from_bytes(&pin.public_key.0).ok()
    }
}

fn kept_pins(folder: &Path) -> Result<BTreeMap<Id, Pin>, IdentityError> {
    let path = folder.join(KNOWN_DEVICES);
    if path.exists() {
        read_json(&path)
    } else {
        Ok(BTreeMap::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DeviceKey;
    use crate::wire::Device;

    fn profile(id: Id, kind: Kind, devices: &[(Id, &DeviceKey)]) -> Profile {
        let device = |(device_id, key): &(Id, &DeviceKey)| Device {
            device_id: *device_id,
            public_key: key.public().to_wire(),
            created_at: Timestamp::UNIX_EPOCH,
        };
        Profile {
            id,
            kind,
            first_name: String::new(),
            last_name: String::new(),
            name: String::new(),
            skills: Vec::new(),
            created_at: Timestamp::UNIX_EPOCH,
            devices: devices.iter().map(device).collect(),
        }
    }

    #[test]
    fn first_key_of_device_is_kept_over_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let (user, other, device, second) = (
            Id::generate(),
            Id::generate(),
            Id::generate(),
            Id::generate(),
        );
        let (key, false_key) = (DeviceKey::generate(), DeviceKey::generate());
        let mut pins = Pins::open(folder.path()).expect("opens");
        assert_eq!(pins.key(user, device), None);
        assert!(
            pins.learn(&profile(user, Kind::Agent, &[(device, &key)]))
                .expect("pinned")
                .is_empty()
        );
        let mut pins = Pins::open(folder.path()).expect("opens");
        let refused = |user_id, device_id| vec![DeviceNews::Refused { user_id, device_id }];
        let swapped = pins.learn(&profile(user, Kind::Agent, &[(device, &false_key)]));
        assert_eq!(swapped.expect("read"), refused(user, device));
        let moved = pins.learn(&profile(other, Kind::Agent, &[(device, &key)]));
        assert_eq!(moved.expect("read"), refused(other, device));
        let more = pins.learn(&profile(
            user,
            Kind::Agent,
            &[(device, &key), (second, &false_key)],
        ));
        assert_eq!(more.expect("read"), refused(user, second));
        assert_eq!(pins.key(user, device).as_ref(), Some(key.public()));
        assert_eq!(pins.key(other, device), None);
        assert_eq!(pins.key(user, second), None);
        // One that only looks keeps nothing, and hears of what the other has kept since.
        let newcomer = profile(other, Kind::Agent, &[(second, &false_key)]);
        let mut looks = Pins::look(folder.path()).expect("opens");
        looks.learn(&newcomer).expect("known");
        assert!(looks.key(other, second).is_some());
        let mut pins = Pins::open(folder.path()).expect("opens");
        assert_eq!(pins.key(other, second), None);
        let truth = profile(other, Kind::Agent, &[(second, &key)]);
        pins.learn(&truth).expect("pinned");
        looks.reload().expect("read");
        assert_eq!(looks.key(other, second).as_ref(), Some(key.public()));
    }

    #[test]
    fn further_device_of_human_is_reported_and_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let (user, device, second) = (Id::generate(), Id::generate(), Id::generate());
        let key = DeviceKey::generate();
        let mut pins = Pins::open(folder.path()).expect("opens");
        pins.learn(&profile(user, Kind::Human, &[(device, &key)]))
            .expect("pinned");
        let news = pins.learn(&profile(
            user,
            Kind::Human,
            &[(device, &key), (second, &key)],
        ));
        assert_eq!(
            news.expect("pinned"),
            [DeviceNews::Added {
                user_id: user,
                device_id: second
            }]
        );
        assert!(pins.key(user, second).is_some());
    }

    #[test]
    fn sequence_and_outbox_survive_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let channel = Id::generate();
        let mut state = State::open(folder.path()).expect("opens");
        assert_eq!(state.next_seq(channel), 1);
        let post = |seq| Post {
            client_message_id: Id::generate(),
            key_version: 1,
            seq,
            nonce: Base64Url(vec![1; 12]),
            ciphertext: Base64Url(vec![2; 20]),
        };
        let (first, second) = (post(1), post(2));
        for post in [&first, &second] {
            state
                .put(
                    Outgoing {
                        channel_id: channel,
                        post: post.clone(),
                        label: Some(format!("call {}", post.seq)),
                    },
                    None,
                )
                .expect("put");
        }
        state.advance([(channel, channel)]).expect("kept");
        state.advance([(channel, Id::ZERO)]).expect("kept");
        let mut state = State::open(folder.path()).expect("opens");
        assert_eq!(state.next_seq(channel), 3);
        assert_eq!(state.watermark(channel), Some(channel));
        assert_eq!(
            state.outbox().iter().map(|o| &o.post).collect::<Vec<_>>(),
            [&first, &second]
        );
        assert_eq!(state.sent("call 1"), Sent::Waiting);
        let settled = state.settle(
            first.client_message_id,
            Some((channel, Timestamp::UNIX_EPOCH)),
        );
        settled.expect("settled");
        let mut state = State::open(folder.path()).expect("opens");
        assert_eq!((state.outbox().len(), state.next_seq(channel)), (1, 3));
        assert_eq!(state.sent("call 1"), Sent::Taken(channel));
        assert_eq!(state.sent("call 3"), Sent::Unheard);
        let refused = state.settle(second.client_message_id, None);
        refused.expect("settled");
        assert_eq!(state.sent("call 2"), Sent::Refused);
    }

    #[test]
    fn write_is_known_until_its_work_is_complete() {
        let folder = tempfile::tempdir().expect("a folder");
        let (channel, other) = (Id::generate(), Id::generate());
        let (before, last) = (Id::from_parts(1, 1), Id::from_parts(2, 1));
        let once = |name| Once::named(name, vec![(channel, last)]);
        let post = Post {
            client_message_id: Id::generate(),
            key_version: 1,
            seq: 1,
            nonce: Base64Url::default(),
            ciphertext: Base64Url::default(),
        };
        let outgoing = Outgoing {
            channel_id: other,
            post: post.clone(),
            label: None,
        };
        let mut state = State::open(folder.path()).expect("opens");
        state.put(outgoing.clone(), Some(once("a"))).expect("put");
        state.put_channel(channel, once("b")).expect("put");
        let mut state = State::open(folder.path()).expect("opens");
        let known = state.repeated(&once("a")).expect("kept").expect("known");
        assert_eq!(known.taken, None, "it is on its way");
        assert!(state.repeated(&once("c")).expect("read").is_none());
        // Encrypted anew it is the same write; refused for good it is none.
        let mut anew = outgoing;
        anew.post.client_message_id = Id::generate();
        let id = anew.post.client_message_id;
        state.replace(post.client_message_id, anew).expect("kept");
        state.settle(id, None).expect("settled");
        assert!(state.repeated(&once("a")).expect("read").is_none());
        // Not when another message of the channel is dealt with, nor another channel.
        state
            .advance([(channel, before), (other, last)])
            .expect("kept");
        assert!(state.repeated(&once("b")).expect("read").is_some());
        state.advance([(channel, last)]).expect("kept");
        assert!(state.repeated(&once("b")).expect("read").is_none());
    }
}
