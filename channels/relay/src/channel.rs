//! [`Channel`]: the fold of a channel's acts: members, key versions, who sent what last.
//!
//! Pure: ids and the directory are arguments. Stored acts are arrays of their fields: a field is added only at an end, with
//! a default. The fold holds no message and no wrapped key; it knows which acts have them.
//!
//! Invariants: every refusal is decided on the acts before it; a repeat of what is stored is none; a message is taken only
//! under the newest key version, and while no rotation is due.

use crate::cell::Fold;
use crate::refusal::Refusal;
use plexus_channels::chain::{Members, verified};
use plexus_channels::wire::{
    AddMember, Code, CreateChannel, KeyState, Message, Name, Post, Rotate, Status, Wrap,
};
use plexus_channels::{Base64Url, Id, PublicKey, limits};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Messages of a device that a repeat is recognised among.
const REMEMBERED: usize = 16;
const ALGORITHM_BYTES: usize = 64;
const JOIN_REQUESTS: usize = 100;

/// Who acts: a user with a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ActingDevice {
    pub(crate) organization: Id,
    pub(crate) user: Id,
    pub(crate) device: Id,
}

/// What happens to a channel.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Act {
    Created {
        organization: Id,
        by: Id,
        name: Name,
        members: Vec<Id>,
        wraps: Vec<Wrap>,
        message: Option<Posted>,
        #[serde(default)]
        signed: Option<Signed>,
    },
    Posted(Posted),
    Renamed {
        by: Id,
        name: Name,
    },
    Archived {
        by: Id,
    },
    Unarchived {
        by: Id,
    },
    MemberAdded {
        by: Id,
        user: Id,
        wraps: Vec<Wrap>,
        #[serde(default)]
        signed: Option<Signed>,
    },
    MemberRemoved {
        by: Id,
        user: Id,
    },
    Rotated {
        by: Id,
        wraps: Vec<Wrap>,
        #[serde(default)]
        signed: Option<Signed>,
    },
    JoinRequested {
        user: Id,
    },
}

/// A key state that was judged, with its hash.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Signed {
    state: KeyState,
    hash: Base64Url,
}

/// A message as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Posted {
    by: Id,
    device: Id,
    post: Post,
}

impl Posted {
    pub(crate) const fn new(by: ActingDevice, post: Post) -> Self {
        Self {
            by: by.user,
            device: by.device,
            post,
        }
    }

    pub(crate) const fn by(&self) -> Id {
        self.by
    }

    /// As it travels.
    pub(crate) fn wire(self, channel_id: Id, message_id: Id, sender_name: String) -> Message {
        Message {
            message_id,
            channel_id,
            sender_id: self.by,
            sender_name,
            sender_device_id: self.device,
            client_message_id: self.post.client_message_id,
            key_version: self.post.key_version,
            seq: self.post.seq,
            nonce: self.post.nonce,
            ciphertext: self.post.ciphertext,
            created_at: crate::organization::moment(message_id.millis()),
        }
    }

    /// What tells it from another message with the same id: a repeat has the same bytes.
    fn digest(&self) -> [u8; 8] {
        let mut digest = Sha256::new();
        digest.update(self.post.key_version.to_be_bytes());
        digest.update(self.post.seq.to_be_bytes());
        digest.update(&self.post.nonce.0);
        digest.update(&self.post.ciphertext.0);
        let digest = digest.finalize();
        std::array::from_fn(|at| digest[at])
    }
}

impl Act {
    /// The message of an act, if it has one.
    pub(crate) fn message(self) -> Option<Posted> {
        match self {
            Self::Posted(posted) => Some(posted),
            Self::Created { message, .. } => message,
            _ => None,
        }
    }

    /// The wrapped keys of an act, whose device wrapped them, and the key state.
    pub(crate) fn keys(self) -> Option<(Id, Vec<Wrap>, Option<KeyState>)> {
        match self {
            Self::Created {
                by, wraps, signed, ..
            }
            | Self::MemberAdded {
                by, wraps, signed, ..
            }
            | Self::Rotated { by, wraps, signed } => {
                Some((by, wraps, signed.map(|signed| signed.state)))
            }
            _ => None,
        }
    }
}

/// What a device has sent.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Sender {
    seq: u64,
    /// The sender's id, the message's id, its digest; the newest last.
    recent: VecDeque<(Id, Id, [u8; 8])>,
}

/// The fold. It is one of no channel before its first act.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Channel {
    made: Option<Creation>,
    archived: bool,
    key_version: u32,
    rotation_due: bool,
    /// Messages under the newest key version.
    under_version: u64,
    members: Arc<Vec<Id>>,
    /// Device → numbers of the acts that hold keys for it.
    keys: BTreeMap<Id, Vec<u64>>,
    senders: BTreeMap<Id, Sender>,
    last_message: Option<Id>,
    joining: Vec<Id>,
    last_rotation: Option<Base64Url>,
    /// The acts with the key states, up to that of the newest version.
    #[serde(default)]
    states: Vec<u64>,
    /// The hash of the newest one, and the devices that it names.
    #[serde(default)]
    head: Base64Url,
    #[serde(default)]
    named: BTreeSet<Id>,
}

#[derive(Serialize, Deserialize)]
struct Creation {
    organization: Id,
    by: Id,
    at: Id,
    name: Name,
}

impl Fold for Channel {
    type Act = Act;
    const SNAPSHOT_EVERY: u64 = 256;

    fn apply(&mut self, id: Id, number: u64, act: &Act) {
        match act {
            Act::Created {
                organization,
                by,
                name,
                members,
                wraps,
                message,
                signed,
            } => {
                self.made = Some(Creation {
                    organization: *organization,
                    by: *by,
                    at: id,
                    name: name.clone(),
                });
                self.key_version = 1;
                self.members = Arc::new(members.clone());
                self.hold(wraps, number);
                self.succeed(signed.as_ref(), number);
                if let Some(posted) = message {
                    self.take(id, posted);
                }
            }
            Act::Posted(posted) => self.take(id, posted),
            Act::Renamed { name, .. } => {
                if let Some(made) = &mut self.made {
                    made.name = name.clone();
                }
            }
            Act::Archived { .. } => self.archived = true,
            Act::Unarchived { .. } => self.archived = false,
            Act::MemberAdded {
                user,
                wraps,
                signed,
                ..
            } => {
                Arc::make_mut(&mut self.members).push(*user);
                self.joining.retain(|asking| asking != user);
                self.hold(wraps, number);
                if signed.is_some() {
                    self.begin_version();
                }
                self.succeed(signed.as_ref(), number);
            }
            Act::MemberRemoved { user, .. } => {
                Arc::make_mut(&mut self.members).retain(|member| member != user);
                self.rotation_due = true;
            }
            Act::Rotated { wraps, signed, .. } => {
                self.begin_version();
                self.last_rotation = Some(digest_of(wraps));
                self.hold(wraps, number);
                self.succeed(signed.as_ref(), number);
            }
            Act::JoinRequested { user } => self.joining.push(*user),
        }
    }
}

impl Channel {
    const fn begin_version(&mut self) {
        self.key_version += 1;
        self.rotation_due = false;
        self.under_version = 0;
    }

    fn succeed(&mut self, signed: Option<&Signed>, number: u64) {
        if let Some(Signed { state, hash }) = signed {
            self.states.push(number);
            self.head.clone_from(hash);
            self.named.retain(|device| !state.removed.contains(device));
            self.named
                .extend(state.added.iter().map(|added| added.device_id));
        }
    }

    fn hold(&mut self, wraps: &[Wrap], number: u64) {
        for wrap in wraps {
            let acts = self.keys.entry(wrap.device_id).or_default();
            if acts.last() != Some(&number) {
                acts.push(number);
            }
        }
    }

    fn take(&mut self, id: Id, posted: &Posted) {
        let sender = self.senders.entry(posted.device).or_default();
        sender.seq = posted.post.seq;
        let kept = (posted.post.client_message_id, id, posted.digest());
        sender.recent.push_back(kept);
        if sender.recent.len() > REMEMBERED {
            sender.recent.pop_front();
        }
        self.under_version += 1;
        self.rotation_due |= self.under_version >= limits::MESSAGES_PER_KEY;
        self.last_message = Some(id);
    }

    pub(crate) fn members(&self) -> &Arc<Vec<Id>> {
        &self.members
    }

    pub(crate) fn is_member(&self, by: ActingDevice) -> bool {
        self.members.contains(&by.user)
    }

    /// The act must be a member's; to everybody else there is no such channel.
    pub(crate) fn admit(&self, by: ActingDevice) -> Result<&Self, Refusal> {
        if self.is_member(by) {
            Ok(self)
        } else {
            Err(Refusal::not_found())
        }
    }

    pub(crate) fn organization(&self) -> Option<Id> {
        self.made.as_ref().map(|made| made.organization)
    }

    pub(crate) const fn last_message(&self) -> Option<Id> {
        self.last_message
    }

    pub(crate) const fn rotation_due(&self) -> bool {
        self.rotation_due
    }

    pub(crate) const fn key_version(&self) -> u32 {
        self.key_version
    }

    pub(crate) const fn status(&self) -> Status {
        if self.archived {
            Status::Archived
        } else {
            Status::Active
        }
    }

    pub(crate) fn joining(&self) -> &[Id] {
        &self.joining
    }

    /// Acts that hold keys for a device. Of versions with a key state those of the newest one, and of the newest one up to that
    /// which the device holds, are enough: each leads to those before.
    pub(crate) fn key_acts(&self, device: Id, held_version: u32) -> Vec<u64> {
        let mut acts = self.keys.get(&device).cloned().unwrap_or_default();
        if let (Some(first), Some(newest)) = (self.states.first(), acts.last().copied()) {
            let held = self
                .state_acts(0, self.until(held_version))
                .0
                .last()
                .copied();
            let held = acts.iter().copied().filter(|act| Some(*act) <= held).max();
            acts.retain(|act| act < first || *act == newest || Some(*act) == held);
        }
        acts
    }

    /// How many versions up to this one have a key state.
    fn until(&self, version: u32) -> usize {
        let versions = u32::try_from(self.states.len()).unwrap_or(u32::MAX);
        let before = self.key_version.saturating_sub(versions);
        usize::try_from(version.saturating_sub(before)).unwrap_or(usize::MAX)
    }

    /// Acts with the key states of versions behind one, at most so many, and whether there are more.
    pub(crate) fn state_acts(&self, after_version: u32, most: usize) -> (Vec<u64>, bool) {
        let acts = self
            .states
            .get(self.until(after_version)..)
            .unwrap_or_default();
        (acts.iter().copied().take(most).collect(), acts.len() > most)
    }

    /// The key state of a new version: behind the newest one, signed by this device, for exactly these devices.
    fn judged(
        &self,
        by: ActingDevice,
        channel_id: Id,
        (version, state): (u32, Option<KeyState>),
        members: &Members,
    ) -> Result<Option<Signed>, Refusal> {
        let Some(state) = state else {
            let message = "members sign the keys of this channel: a newer client is needed";
            let is_unsigned = self.states.is_empty();
            return is_unsigned
                .then_some(None)
                .ok_or_else(|| Refusal::invalid(message));
        };
        if state.key_version != version {
            return Err(Refusal::stale(version - 1));
        }
        let added: BTreeSet<Id> = state.added.iter().map(|added| added.device_id).collect();
        let removed: BTreeSet<Id> = state.removed.iter().copied().collect();
        let wanted: BTreeSet<Id> = members.keys().copied().collect();
        let is_known = |added: &plexus_channels::wire::StateDevice| {
            let known = members.get(&added.device_id);
            known.is_some_and(|(user, key)| {
                *user == added.user_id && key.to_wire() == added.public_key
            })
        };
        // Each seals the key before it; the first one of a channel of before seals all of those.
        let most = if self.states.is_empty() { version } else { 2 } - 1;
        let is_short = u32::try_from(state.earlier.len()).is_ok_and(|count| count <= most);
        let mut earlier = state.earlier.iter();
        let fits = (state.user_id, state.device_id) == (by.user, by.device)
            && state.previous == self.head
            && (added.len(), removed.len()) == (state.added.len(), state.removed.len())
            && added == wanted.difference(&self.named).copied().collect()
            && removed == self.named.difference(&wanted).copied().collect()
            && state.added.iter().all(is_known)
            && is_short
            && earlier.all(|key| key.nonce.0.len() == 12 && key.ciphertext.0.len() == 48);
        let hash = fits
            .then(|| verified(channel_id, &state, members))
            .flatten();
        let hash = hash.ok_or_else(|| {
            Refusal::invalid("the key state is not this device's, or not for these members")
        })?;
        let hash = Base64Url(hash.to_vec());
        Ok(Some(Signed { state, hash }))
    }

    /// Creator, time and name.
    pub(crate) fn made(&self) -> Option<(Id, Id, &Name)> {
        let made = self.made.as_ref()?;
        Some((made.by, made.at, &made.name))
    }

    /// A new channel of [`first_members`]. `devices` gives a user's devices, and none for a user that is not of the organization.
    pub(crate) fn create(
        &self,
        by: ActingDevice,
        create: CreateChannel,
        devices: impl Fn(Id) -> Option<Devices>,
    ) -> Result<Option<Act>, Refusal> {
        if let Some(made) = &self.made {
            // Who was removed since is told what a stranger is told.
            let own =
                made.by == by.user && made.organization == by.organization && self.is_member(by);
            let exists = Refusal::new(Code::Exists, "there is a channel with this id");
            return if own { Ok(None) } else { Err(exists) };
        }
        let members = create.members;
        let mut named = Members::new();
        for member in &members {
            let devices = devices(*member).ok_or_else(Refusal::not_found)?;
            named.extend(of_user(*member, devices));
        }
        let wanted = named.keys().copied().collect();
        check_wraps(by, &create.keys, &wanted, (1, 1), 1)?;
        let signed = self.judged(by, create.channel_id, (1, create.state), &named)?;
        check_name(by, &create.name, 1)?;
        if let Some(post) = &create.message {
            check_post(post)?;
            if post.key_version != 1 {
                return Err(Refusal::stale(1));
            }
        }
        Ok(Some(Act::Created {
            organization: by.organization,
            by: by.user,
            name: create.name,
            members,
            wraps: create.keys,
            message: create.message.map(|post| Posted::new(by, post)),
            signed,
        }))
    }

    /// A message: the id of the one that it repeats, or nothing where it is new and taken.
    pub(crate) fn post(&self, by: ActingDevice, posted: &Posted) -> Result<Option<Id>, Refusal> {
        self.admit(by)?;
        let post = &posted.post;
        let sender = self.senders.get(&by.device);
        if let Some(sender) = sender {
            let mut recent = sender.recent.iter();
            if let Some((_, id, digest)) = recent.find(|(id, ..)| *id == post.client_message_id) {
                let other = Refusal::new(Code::Conflict, "this id is another message's");
                let same = *digest == posted.digest();
                return if same { Ok(Some(*id)) } else { Err(other) };
            }
        }
        check_post(post)?;
        if self.archived {
            return Err(Refusal::new(Code::Archived, "the channel is archived"));
        }
        if self.rotation_due {
            let message = "a member must make a new key version first";
            let detail = json!({"key_version": self.key_version});
            return Err(Refusal::new(Code::RotationDue, message).with(detail));
        }
        if post.key_version != self.key_version {
            return Err(Refusal::stale(self.key_version));
        }
        let last = sender.map_or(0, |sender| sender.seq);
        if post.seq <= last {
            let message = "the device has used this number";
            let refusal = Refusal::new(Code::SeqConflict, message);
            return Err(refusal.with(json!({"last_seq": last})));
        }
        Ok(None)
    }

    pub(crate) fn rename(&self, by: ActingDevice, name: Name) -> Result<Option<Act>, Refusal> {
        self.admit(by)?;
        if self.made().is_some_and(|(_, _, known)| *known == name) {
            return Ok(None);
        }
        check_name(by, &name, self.key_version)?;
        Ok(Some(Act::Renamed { by: by.user, name }))
    }

    pub(crate) fn archive(&self, by: ActingDevice, archived: bool) -> Result<Option<Act>, Refusal> {
        self.admit(by)?;
        let by = by.user;
        Ok(match archived {
            same if same == self.archived => None,
            true => Some(Act::Archived { by }),
            false => Some(Act::Unarchived { by }),
        })
    }

    /// A further member of a channel. `devices` gives a user's devices.
    pub(crate) fn add(
        &self,
        by: ActingDevice,
        channel_id: Id,
        add: AddMember,
        devices: impl Fn(Id) -> Option<Devices>,
    ) -> Result<Option<Act>, Refusal> {
        self.admit(by)?;
        let user = add.user_id;
        if self.members.contains(&user) {
            return Ok(None);
        }
        let own = devices(user).ok_or_else(Refusal::not_found)?;
        if self.archived {
            return Err(Refusal::new(Code::Archived, "the channel is archived"));
        }
        if self.members.len() >= limits::MEMBERS {
            return Err(Refusal::invalid("a channel has at most 1,000 members"));
        }
        let mut named: Members = of_user(user, own).collect();
        let (wraps, version) = (add.keys, self.key_version);
        let signed = if add.state.is_some() {
            named.extend(self.devices(&devices));
            let next = version + 1;
            let signed = self.judged(by, channel_id, (next, add.state), &named)?;
            let wanted = named.keys().copied().collect();
            check_wraps(by, &wraps, &wanted, (next, next), next)?;
            signed
        } else {
            let wanted = named.keys().copied().collect();
            check_wraps(by, &wraps, &wanted, (1, version), version)?;
            self.judged(by, channel_id, (version, None), &named)?
        };
        let by = by.user;
        Ok(Some(Act::MemberAdded {
            by,
            user,
            wraps,
            signed,
        }))
    }

    /// The devices of the members.
    fn devices(&self, devices: &impl Fn(Id) -> Option<Devices>) -> Members {
        let of = |member: &Id| Some(of_user(*member, devices(*member)?));
        self.members.iter().filter_map(of).flatten().collect()
    }

    pub(crate) fn remove(&self, by: ActingDevice, user: Id) -> Result<Option<Act>, Refusal> {
        self.admit(by)?;
        let by = by.user;
        let there = self.members.contains(&user);
        Ok(there.then_some(Act::MemberRemoved { by, user }))
    }

    /// The end of a member whom the organization has no more: as if they left.
    pub(crate) fn shut_out(&self, user: Id) -> Option<Act> {
        let there = self.members.contains(&user);
        there.then_some(Act::MemberRemoved { by: user, user })
    }

    /// A new key version of a channel. `devices` gives a member's devices.
    pub(crate) fn rotate(
        &self,
        by: ActingDevice,
        channel_id: Id,
        rotate: Rotate,
        devices: impl Fn(Id) -> Option<Devices>,
    ) -> Result<Option<Act>, Refusal> {
        self.admit(by)?;
        let (version, wraps) = (rotate.key_version, rotate.keys);
        let repeated =
            version == self.key_version && self.last_rotation.as_ref() == Some(&digest_of(&wraps));
        if repeated {
            return Ok(None);
        }
        let next = self.key_version + 1;
        if version != next {
            return Err(Refusal::stale(self.key_version));
        }
        let named = self.devices(&devices);
        let wanted = named.keys().copied().collect();
        check_wraps(by, &wraps, &wanted, (next, next), next)?;
        let signed = self.judged(by, channel_id, (next, rotate.state), &named)?;
        let by = by.user;
        Ok(Some(Act::Rotated { by, wraps, signed }))
    }

    pub(crate) fn ask_to_join(&self, by: ActingDevice) -> Option<Act> {
        let user = by.user;
        let new = self.organization() == Some(by.organization)
            && !self.is_member(by)
            && !self.joining.contains(&user)
            && self.joining.len() < JOIN_REQUESTS;
        new.then_some(Act::JoinRequested { user })
    }
}

/// A user's devices and their keys.
pub(crate) type Devices = Vec<(Id, PublicKey)>;

fn of_user(user: Id, devices: Devices) -> impl Iterator<Item = (Id, (Id, PublicKey))> {
    let of_user = move |(device, key)| (device, (user, key));
    devices.into_iter().map(of_user)
}

fn digest_of(wraps: &[Wrap]) -> Base64Url {
    let mut digest = Sha256::new();
    for wrap in wraps {
        digest.update(wrap.device_id.to_bytes());
        digest.update(&wrap.salt.0);
        digest.update(&wrap.ciphertext.0);
    }
    Base64Url(digest.finalize().to_vec())
}

/// The members of a new channel, its creator among them, each once and in order.
pub(crate) fn first_members(mut members: Vec<Id>, creator: Id) -> Result<Vec<Id>, Refusal> {
    members.push(creator);
    members.sort_unstable();
    members.dedup();
    if members.len() > limits::MEMBERS {
        return Err(Refusal::invalid("a channel has at most 1,000 members"));
    }
    Ok(members)
}

fn check_post(post: &Post) -> Result<(), Refusal> {
    let sealed = (17..=limits::CIPHERTEXT_BYTES).contains(&post.ciphertext.0.len());
    if post.seq == 0 || post.nonce.0.len() != 12 || !sealed {
        return Err(Refusal::invalid(
            "nonce, ciphertext or seq are out of bounds",
        ));
    }
    Ok(())
}

fn check_name(by: ActingDevice, name: &Name, version: u32) -> Result<(), Refusal> {
    let sealed = (17..=limits::NAME_CIPHERTEXT_BYTES).contains(&name.ciphertext.0.len());
    if name.nonce.0.len() != 12 || !sealed || name.sender_device_id != by.device {
        return Err(Refusal::invalid(
            "the name is not one that this device sealed",
        ));
    }
    if name.key_version != version {
        return Err(Refusal::stale(version));
    }
    Ok(())
}

/// Wraps of this device, for the wanted devices and no other, each once a version, within the versions; `needed` of each.
fn check_wraps(
    by: ActingDevice,
    wraps: &[Wrap],
    wanted: &BTreeSet<Id>,
    (first, last): (u32, u32),
    needed: u32,
) -> Result<(), Refusal> {
    let mut there = BTreeSet::new();
    for wrap in wraps {
        let formed = wrap.sender_device_id == by.device
            && (first..=last).contains(&wrap.key_version)
            && wrap.alg.len() <= ALGORITHM_BYTES
            && wrap.salt.0.len() == 32
            && wrap.ciphertext.0.len() == 48;
        if !formed || !there.insert((wrap.device_id, wrap.key_version)) {
            return Err(Refusal::invalid(
                "the keys are not ones that this device wrapped",
            ));
        }
    }
    let strangers: BTreeSet<Id> = there.iter().map(|(device, _)| *device).collect();
    let strangers: Vec<Id> = strangers.difference(wanted).copied().collect();
    if !strangers.is_empty() {
        let message = "there are keys for devices of others";
        return Err(Refusal::devices(Code::KeysOfStrangers, message, &strangers));
    }
    let missing = wanted
        .iter()
        .filter(|device| !there.contains(&(**device, needed)));
    let missing: Vec<Id> = missing.copied().collect();
    if !missing.is_empty() {
        let message = "keys for some devices are missing";
        return Err(Refusal::devices(Code::KeysMissing, message, &missing));
    }
    Ok(())
}
