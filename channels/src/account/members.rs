//! Who can read a channel: its keys are wrapped for the devices of its members.
//!
//! ```text
//! create ─▶ state 1        add, rotate ─▶ state n + 1 on the accepted one, which the relay takes or another's came first ─▶ again
//! ```
//! Invariants: a key is wrapped only when this account creates a channel, adds a member or rotates; for the devices that the
//! state before names, less the users that are gone, and those of the added user; where somebody agreed to the devices of users,
//! for those alone. To a relay with an older store a state that this account signed goes again, for the devices that it names.
//! The relay's list brings nobody in.

use super::outbox::NEW_KEYS;
use super::{Account, AccountError, Trouble, lock};
use crate::api::ApiError;
use crate::chain::{Chain, Draft, Members, verified};
use crate::crypto::{ChannelKey, StateHash, WrapContext};
use crate::wire::{AddMember, Channel, Code, Device, KeyState, Profile, Rotate, Wrap};
use crate::{Id, PublicKey};
use std::collections::{BTreeMap, BTreeSet};

/// The devices of users that somebody agreed to, as the relay showed them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agreed(BTreeMap<Id, Vec<Device>>);

impl Agreed {
    /// Agrees to the devices of a user.
    pub fn add(&mut self, profile: &Profile) {
        self.0.insert(profile.id, profile.devices.clone());
    }

    /// Whether each device that the relay shows now is one of them.
    fn covers(&self, profile: &Profile) -> bool {
        let agreed = self.0.get(&profile.id).map_or(&[][..], Vec::as_slice);
        let is_agreed = |shown: &Device| {
            let mut agreed = agreed.iter();
            agreed.any(|a| a.device_id == shown.device_id && a.public_key == shown.public_key)
        };
        profile.devices.iter().all(is_agreed)
    }
}

/// A version that this account has made and nobody has taken yet.
pub(super) struct Made {
    pub(super) key: ChannelKey,
    pub(super) hash: StateHash,
    pub(super) state: KeyState,
    pub(super) wraps: Vec<Wrap>,
}

impl Account {
    /// Adds a user, who can read all that was written before.
    ///
    /// # Errors
    /// Where a device of the user is not the one known before, a key is missing, or the relay refuses.
    pub async fn add_member(&self, channel_id: Id, user_id: Id) -> Result<Channel, AccountError> {
        self.add_agreed(channel_id, user_id, None).await
    }

    /// As [`add_member`](Self::add_member), where the user has no other devices than those that were agreed to.
    ///
    /// # Errors
    /// As [`add_member`](Self::add_member); [`Trouble::NotAgreed`], and [`Trouble::Unauthenticated`] in a channel of before.
    pub async fn add_agreed(
        &self,
        channel_id: Id,
        user_id: Id,
        agreed: Option<&Agreed>,
    ) -> Result<Channel, AccountError> {
        let new = self.devices_of(&[user_id], agreed).await?;
        for _ in 0..=NEW_KEYS {
            let (channel, mut members) = self.remaining(channel_id).await?;
            // Here, or by another member at the same time: the signed state counts.
            if new
                .iter()
                .all(|(device, of)| members.get(device) == Some(of))
            {
                return Ok(channel);
            }
            members.retain(|_, (user, _)| *user != user_id);
            members.extend(new.clone());
            let made = self.succeeding(channel_id, &members).await?;
            let add = AddMember {
                user_id,
                keys: made.wraps,
                state: Some(made.state),
            };
            match self.api.add_member(channel_id, &add).await {
                Ok(_) => {}
                Err(stale) if stale.code() == Some(Code::StaleKeyVersion) => {}
                Err(other) => return Err(other.into()),
            }
        }
        Err(self.unsettled(channel_id).await)
    }

    /// Removes a user, and renews the key for those who stay.
    ///
    /// # Errors
    /// If the relay refuses the removal, or has an older store and gets the version that brought the user in from somebody else
    /// alone. A key that cannot be renewed now is renewed before the next message.
    pub async fn remove_member(
        &self,
        channel_id: Id,
        user_id: Id,
    ) -> Result<Channel, AccountError> {
        if user_id != self.me() {
            // Given again after the removal, the version that brought the user in would bring them back.
            match self.bring_forward(channel_id).await {
                Err(relay @ AccountError::Relay(_)) => return Err(relay),
                // Records of this device that cannot be read give no version again, and hold no removal up.
                Err(_) => {}
                Ok(channel) => {
                    let is_there = channel.members.iter().any(|member| member.id == user_id);
                    if !is_there && let Some(rewound) = self.rewound(channel_id).await {
                        return Err(rewound);
                    }
                }
            }
        }
        let removed = self.api.remove_member(channel_id, user_id).await?;
        if user_id == self.me() || !removed.rotation_due || self.is_earlier(channel_id) {
            return Ok(removed);
        }
        Ok(self.rotate(channel_id).await.unwrap_or(removed))
    }

    /// Makes a new version of a channel's key for those who are its members now.
    ///
    /// # Errors
    /// Where the relay refuses, or shows another version than a successor. Another member's rotation at the same time is no
    /// error. [`Trouble::Unauthenticated`] in a channel of before.
    pub async fn rotate(&self, channel_id: Id) -> Result<Channel, AccountError> {
        for _ in 0..NEW_KEYS {
            let (_, members) = self.remaining(channel_id).await?;
            let made = self.succeeding(channel_id, &members).await?;
            let posted = self.post_version(channel_id, made).await?;
            if let Some(channel) = posted.filter(|channel| !channel.rotation_due) {
                return Ok(channel);
            }
        }
        Err(self.unsettled(channel_id).await)
    }

    /// Signs the first key state of a channel of before, for the users on the relay's list, all of whose devices somebody agreed
    /// to. From then on the channel is authenticated.
    ///
    /// # Errors
    /// As [`rotate`](Self::rotate); [`Trouble::NotAgreed`].
    pub async fn authenticate(
        &self,
        channel_id: Id,
        agreed: &Agreed,
    ) -> Result<Channel, AccountError> {
        lock(&self.chains).admit(channel_id)?;
        self.fetch_keys(channel_id).await?;
        if self.with_chain(channel_id, Chain::newest)?.is_some() {
            return self.rotate(channel_id).await;
        }
        let channel = self.api.channel(channel_id).await?;
        let users: Vec<Id> = channel.members.iter().map(|member| member.id).collect();
        let members = self.devices_of(&users, Some(agreed)).await?;
        let held: Vec<(u32, ChannelKey)> = {
            let keys = lock(&self.keys);
            let of_channel = keys.iter().filter(|((id, _), _)| *id == channel_id);
            of_channel
                .map(|((_, version), key)| (*version, key.clone()))
                .collect()
        };
        let version = channel.key_version.checked_add(1);
        let version = version.ok_or(Trouble::UnknownKeyVersion(channel.key_version))?;
        let earlier = held.iter().filter(|(held, _)| *held < version);
        let earlier = earlier.map(|(version, key)| (*version, key)).collect();
        let made = self.made(channel_id, version, &members, earlier)?;
        match self.post_version(channel_id, made).await? {
            Some(channel) => Ok(channel),
            None => Ok(self.api.channel(channel_id).await?),
        }
    }

    /// Posts a version; the channel, unless another's came first. Either way the relay's state is looked at.
    async fn post_version(
        &self,
        channel_id: Id,
        made: Made,
    ) -> Result<Option<Channel>, AccountError> {
        let rotate = Rotate {
            key_version: made.state.key_version,
            keys: made.wraps,
            state: Some(made.state),
        };
        let posted = match self.api.rotate(channel_id, &rotate).await {
            Ok(channel) => channel,
            Err(stale) if stale.code() == Some(Code::StaleKeyVersion) => {
                self.fetch_keys(channel_id).await?;
                let channel = self.api.channel(channel_id).await?;
                let held = self.with_chain(channel_id, Chain::newest)?;
                return Ok((held == Some(channel.key_version)).then_some(channel));
            }
            Err(other) => return Err(other.into()),
        };
        self.fetch_keys(channel_id).await?;
        Ok(Some(posted))
    }

    /// A channel. A relay whose store was put back to an earlier time first gets the versions behind its own again, as far as this
    /// device made them and holds their keys.
    pub(super) async fn bring_forward(&self, channel_id: Id) -> Result<Channel, AccountError> {
        let mut channel = self.api.channel(channel_id).await?;
        while let Some(made) = self.made_behind(channel_id, channel.key_version)? {
            match self.post_again(channel_id, &channel, &made).await {
                Ok(forward) if forward.key_version >= made.key_version => channel = forward,
                Ok(_) => break,
                // A user whom it names is not there any more, or another's version came first.
                Err(AccountError::Relay(refused)) if refused.is_final() => break,
                Err(other) => return Err(other),
            }
        }
        Ok(channel)
    }

    /// The version behind this one, wrapped anew, where this device made it and holds its key.
    fn made_behind(&self, channel_id: Id, version: u32) -> Result<Option<Rotate>, AccountError> {
        let key_version = version.saturating_add(1);
        let known = self.with_chain(channel_id, |chain| {
            let state = chain.state(key_version)?;
            let hash = chain.hash(key_version)?;
            let is_own = state.device_id == self.device() && chain.stopped().is_none();
            is_own.then(|| (state.clone(), *hash, chain.members(key_version)))
        })?;
        let key = lock(&self.keys).get(&(channel_id, key_version)).cloned();
        let (Some((state, hash, members)), Some(key)) = (known, key) else {
            return Ok(None);
        };
        Ok(Some(Rotate {
            key_version,
            keys: self.wraps(channel_id, (key_version, &hash), &members, &key),
            state: Some(state),
        }))
    }

    /// Posts a version that the relay had before, with the members who came and went with it.
    async fn post_again(
        &self,
        channel_id: Id,
        channel: &Channel,
        rotate: &Rotate,
    ) -> Result<Channel, AccountError> {
        let users = |version| {
            self.with_chain(channel_id, |chain| {
                let members = chain.members(version).into_values();
                members.map(|(user, _)| user).collect::<BTreeSet<Id>>()
            })
        };
        let version = rotate.key_version;
        let (before, after) = (users(version.saturating_sub(1))?, users(version)?);
        let named: BTreeSet<Id> = channel.members.iter().map(|member| member.id).collect();
        let mut came = after.difference(&before);
        let came = came.find(|user| !named.contains(*user)).copied();
        let went = before.iter().filter(|user| !after.contains(*user));
        let went: Vec<Id> = went.filter(|user| named.contains(*user)).copied().collect();
        match self.post_made(channel_id, came, rotate).await {
            // The relay has their removal no more either. One that is only behind says that the version is stale.
            Err(refused)
                if !went.is_empty()
                    && refused.is_final()
                    && refused.code() != Some(Code::StaleKeyVersion) =>
            {
                for user_id in went {
                    self.api.remove_member(channel_id, user_id).await?;
                }
                Ok(self.post_made(channel_id, came, rotate).await?)
            }
            posted => Ok(posted?),
        }
    }

    async fn post_made(
        &self,
        channel_id: Id,
        came: Option<Id>,
        rotate: &Rotate,
    ) -> Result<Channel, ApiError> {
        let Some(user_id) = came else {
            return self.api.rotate(channel_id, rotate).await;
        };
        let add = AddMember {
            user_id,
            keys: rotate.keys.clone(),
            state: rotate.state.clone(),
        };
        self.api.add_member(channel_id, &add).await
    }

    /// A channel, and the members of its newest accepted version whom the relay names still.
    async fn remaining(&self, channel_id: Id) -> Result<(Channel, Members), AccountError> {
        self.fetch_keys(channel_id).await?;
        let Some(newest) = self.with_chain(channel_id, Chain::newest)? else {
            return Err(Trouble::Unauthenticated.into());
        };
        let channel = self.bring_forward(channel_id).await?;
        let named: BTreeSet<Id> = channel.members.iter().map(|member| member.id).collect();
        let mut members = self.with_chain(channel_id, |chain| chain.members(newest))?;
        members.retain(|_, (user, _)| *user == self.me() || named.contains(user));
        Ok((channel, members))
    }

    /// The version behind the newest accepted one.
    async fn succeeding(&self, channel_id: Id, members: &Members) -> Result<Made, AccountError> {
        let (newest, key) = self.newest_key(channel_id).await?;
        let version = newest.checked_add(1);
        let version = version.ok_or(Trouble::UnknownKeyVersion(newest))?;
        self.made(channel_id, version, members, vec![(newest, &key)])
    }

    pub(super) fn made(
        &self,
        channel_id: Id,
        key_version: u32,
        members: &Members,
        earlier: Vec<(u32, &ChannelKey)>,
    ) -> Result<Made, AccountError> {
        for (device_id, (user_id, key)) in members {
            let pinned = self.pinned_key(*user_id, *device_id);
            if pinned.is_some_and(|pinned| pinned != *key) {
                let (user_id, device_id) = (*user_id, *device_id);
                return Err(Trouble::Device { user_id, device_id }.into());
            }
        }
        let key = ChannelKey::generate();
        let draft = Draft {
            key_version,
            members,
            key: &key,
            earlier,
            by: (self.me(), self.device()),
        };
        let own = &self.identity.key;
        let signed = self.with_chain(channel_id, |chain| chain.signed(draft, own))?;
        let unsettled = |_| AccountError::Unsettled;
        let state = signed.map_err(unsettled)?;
        let hash = verified(channel_id, &state, members).ok_or(AccountError::Unsettled)?;
        let wraps = self.wraps(channel_id, (key_version, &hash), members, &key);
        Ok(Made {
            key,
            hash,
            state,
            wraps,
        })
    }

    /// The key of a version, with the hash of its state, for the devices of its members.
    fn wraps(
        &self,
        channel_id: Id,
        (key_version, hash): (u32, &StateHash),
        members: &Members,
        key: &ChannelKey,
    ) -> Vec<Wrap> {
        let wrap = |(device, (_, recipient)): (&Id, &(Id, PublicKey))| {
            let context = WrapContext {
                channel_id,
                key_version,
                sender_device_id: self.device(),
                recipient_device_id: *device,
                recipient,
                state: Some(hash),
            };
            self.identity.key.wrap(key, &context)
        };
        members.iter().map(wrap).collect()
    }

    /// The devices of users that are pinned and, where somebody agreed to devices, agreed to.
    pub(super) async fn devices_of(
        &self,
        users: &[Id],
        agreed: Option<&Agreed>,
    ) -> Result<Members, AccountError> {
        let mut members = Members::new();
        for user_id in users.iter().copied() {
            if user_id == self.me() {
                let own = self.identity.key.public().clone();
                members.insert(self.device(), (user_id, own));
                continue;
            }
            let profile = self.api.user(user_id).await?;
            if agreed.is_some_and(|agreed| !agreed.covers(&profile)) {
                return Err(Trouble::NotAgreed { user_id }.into());
            }
            self.pin(std::slice::from_ref(&profile))?;
            for device in &profile.devices {
                let device_id = device.device_id;
                let key = self.pinned(user_id, device_id)?;
                if key.to_wire() != device.public_key {
                    return Err(Trouble::Device { user_id, device_id }.into());
                }
                members.insert(device_id, (user_id, key));
            }
        }
        Ok(members)
    }
}
