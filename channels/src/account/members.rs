//! Who can read a channel: its keys are wrapped for the devices of its members.
//!
//! Invariants: a key is wrapped only when this account creates a channel, adds a member or rotates, and only for pinned keys;
//! where somebody agreed to the devices of users, it is wrapped for those alone.

use super::{Account, AccountError, Trouble, lock};
use crate::Id;
use crate::crypto::{ChannelKey, WrapContext};
use crate::wire::{AddMember, Channel, Code, Device, Profile, Rotate, Wrap};
use std::collections::BTreeMap;

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
    /// As [`add_member`](Self::add_member); [`Trouble::NotAgreed`].
    pub async fn add_agreed(
        &self,
        channel_id: Id,
        user_id: Id,
        agreed: Option<&Agreed>,
    ) -> Result<Channel, AccountError> {
        self.fetch_keys(channel_id).await?;
        let held: Vec<_> = lock(&self.keys)
            .iter()
            .filter(|((channel, _), _)| *channel == channel_id)
            .map(|((_, version), key)| (*version, key.clone()))
            .collect();
        let wrapped = self.wrap_for(channel_id, &held, &[user_id], agreed).await;
        let keys = wrapped?;
        Ok(self
            .api
            .add_member(channel_id, &AddMember { user_id, keys })
            .await?)
    }

    /// Makes a new version of a channel's key for its members of now.
    ///
    /// # Errors
    /// Where a member's device is not the one known before, or the relay refuses. Another member's rotation at the same
    /// time is no error.
    pub async fn rotate(&self, channel_id: Id) -> Result<Channel, AccountError> {
        let channel = self.api.channel(channel_id).await?;
        let (key_version, key) = (channel.key_version + 1, ChannelKey::generate());
        let members: Vec<Id> = channel.members.iter().map(|member| member.id).collect();
        let new = [(key_version, key.clone())];
        let keys = self.wrap_for(channel_id, &new, &members, None).await?;
        lock(&self.renewed).insert(channel_id, members);
        match self
            .api
            .rotate(channel_id, &Rotate { key_version, keys })
            .await
        {
            Ok(channel) => {
                lock(&self.keys).insert((channel_id, key_version), key);
                Ok(channel)
            }
            Err(stale) if stale.code() == Some(Code::StaleKeyVersion) => {
                self.fetch_keys(channel_id).await?;
                Ok(self.api.channel(channel_id).await?)
            }
            Err(other) => Err(other.into()),
        }
    }

    /// The channels whose keys this account has renewed since the last time, each with the users for whom, as the relay named
    /// them then.
    pub fn take_renewed(&self) -> BTreeMap<Id, Vec<Id>> {
        std::mem::take(&mut lock(&self.renewed))
    }

    pub(super) async fn wrap_for(
        &self,
        channel_id: Id,
        keys: &[(u32, ChannelKey)],
        users: &[Id],
        agreed: Option<&Agreed>,
    ) -> Result<Vec<Wrap>, AccountError> {
        let mut wraps = Vec::new();
        for user_id in users {
            let profile = self.api.user(*user_id).await?;
            let is_other = *user_id != self.me();
            if is_other && agreed.is_some_and(|agreed| !agreed.covers(&profile)) {
                let user_id = *user_id;
                return Err(Trouble::NotAgreed { user_id }.into());
            }
            self.pin(&profile)?;
            for device in &profile.devices {
                let recipient = self.pinned(*user_id, device.device_id)?;
                if recipient.to_wire() != device.public_key {
                    let (user_id, device_id) = (*user_id, device.device_id);
                    return Err(Trouble::Device { user_id, device_id }.into());
                }
                for (key_version, key) in keys {
                    let context = WrapContext {
                        channel_id,
                        key_version: *key_version,
                        sender_device_id: self.device(),
                        recipient_device_id: device.device_id,
                        recipient: &recipient,
                    };
                    wraps.push(self.identity.key.wrap(key, &context));
                }
            }
        }
        Ok(wraps)
    }
}
