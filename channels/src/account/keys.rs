//! Which key of a channel this account uses: those that the channel's chain of key states names.
//!
//! ```text
//! the relay shows states ─▶ one successor: on disk ─▶ its wrap, by the device that signed ─▶ fits the commitment ─▶ used
//!                           ├─ no successor: refused while the relay shows it
//!                           └─ a second one of a member: stopped for good
//! ```
//! Invariants: the key of a version with a state is the one that the state commits to; a version without one is used in channels
//! of before alone; what was refused or stopped is shown, and nothing is sent there.

use super::{Account, AccountError, Conflict, Trouble, lock};
use crate::Id;
use crate::api::ApiError;
use crate::chain::{Chain, Members, StateView};
use crate::crypto::{ChannelKey, StateHash};
use crate::identity::IdentityError;
use crate::wire::{Channel, HeldKey, KeyState, Member, Profile, StateDevice, Status};
use std::collections::{BTreeMap, BTreeSet};

/// How far the keys of a channel can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Each version is signed by a member of the one before.
    Authenticated {
        /// The state with which this account came in: its key is the one to compare.
        began: StateView,
        /// The newest one.
        newest: StateView,
    },
    /// A channel of before there were key states: the relay could have made its key.
    Unauthenticated,
    /// The relay shows a channel without key states that is none of before: it is not used.
    Unsigned,
    /// Two states of one version are signed: the channel is over.
    Stopped {
        /// The one that was accepted.
        held: StateView,
        /// The other one.
        second: StateView,
    },
}

/// Something about the keys of a channel that people should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyNews {
    /// The keys are authenticated from now on, relative to the key of who signed this.
    Began(Id, StateView),
    /// A further version was accepted.
    Renewed {
        /// Where.
        channel_id: Id,
        /// Which.
        state: StateView,
        /// Users who came in with it.
        added: Vec<Id>,
        /// Users who do not get it.
        removed: Vec<Id>,
    },
    /// Why what the relay shows is not used.
    Refused(Id, Trouble),
}

impl Account {
    /// Looks at one channel's chain, for a moment.
    pub(super) fn with_chain<T>(
        &self,
        channel_id: Id,
        look: impl FnOnce(&Chain) -> T,
    ) -> Result<T, IdentityError> {
        lock(&self.chains).of(channel_id).map(look)
    }

    pub(super) fn hash(
        &self,
        channel_id: Id,
        version: u32,
    ) -> Result<Option<StateHash>, IdentityError> {
        self.with_chain(channel_id, |chain| chain.hash(version).copied())
    }

    pub(super) fn is_earlier(&self, channel_id: Id) -> bool {
        lock(&self.chains).is_earlier(channel_id)
    }

    /// How far the keys of a channel can be relied on, as this account knows it. Nothing is asked of the relay.
    ///
    /// # Errors
    /// Where the channel's file is not private or damaged.
    pub fn standing(&self, channel_id: Id) -> Result<Standing, IdentityError> {
        let device = self.device();
        let signed = self.with_chain(channel_id, |chain| {
            if let Some((held, second)) = chain.stopped() {
                return Some(Standing::Stopped { held, second });
            }
            let newest = chain.state(chain.newest()?)?;
            let began = chain
                .entered(device)
                .and_then(|entered| chain.state(entered));
            Some(Standing::Authenticated {
                began: chain.view(began.unwrap_or(newest)),
                newest: chain.view(newest),
            })
        })?;
        Ok(signed.unwrap_or_else(|| match self.is_earlier(channel_id) {
            true => Standing::Unauthenticated,
            false => Standing::Unsigned,
        }))
    }

    /// The versions of a channel's key, the newest last: who made each, who came in and who did not get it.
    ///
    /// # Errors
    /// As [`standing`](Self::standing).
    pub fn versions(&self, channel_id: Id) -> Result<Vec<KeyNews>, IdentityError> {
        self.with_chain(channel_id, |chain| {
            let states = chain.states().iter();
            states
                .map(|state| renewed(channel_id, chain, state))
                .collect()
        })
    }

    /// What came to light about keys since the last time.
    pub fn take_key_news(&self) -> Vec<KeyNews> {
        std::mem::take(&mut lock(&self.key_news))
    }

    /// Asks the relay for new versions of a channel's key. What it shows is [news](Self::take_key_news), also where it is refused.
    ///
    /// # Errors
    /// Where the relay refuses or is away, or the disk refuses.
    pub async fn look_at_keys(&self, channel_id: Id) -> Result<(), AccountError> {
        match self.fetch_keys(channel_id).await {
            Ok(()) | Err(AccountError::Trouble(_)) => Ok(()),
            Err(other) => Err(other),
        }
    }

    /// A channel, with the members whom its newest key state names.
    ///
    /// # Errors
    /// Where the relay refuses or is away.
    pub async fn channel(&self, channel_id: Id) -> Result<Channel, AccountError> {
        let mut channel = self.api.channel(channel_id).await?;
        self.sign(&mut channel).await?;
        Ok(channel)
    }

    /// All channels, each as [`channel`](Self::channel) has it.
    ///
    /// # Errors
    /// As [`channel`](Self::channel).
    pub async fn channels(&self, status: Option<Status>) -> Result<Vec<Channel>, AccountError> {
        let (mut channels, mut asked) = (self.api.channels(status).await?, BTreeMap::new());
        for channel in &mut channels {
            self.sign_asked(channel, &mut asked).await?;
        }
        Ok(channels)
    }

    /// Puts the members whom the newest key state names in the place of those that the relay names: they can read. Those who left
    /// are marked.
    ///
    /// # Errors
    /// Where the relay refuses or is away.
    pub async fn sign(&self, channel: &mut Channel) -> Result<(), AccountError> {
        self.sign_asked(channel, &mut BTreeMap::new()).await
    }

    /// The same; a user is asked for once, however many of the channels they left.
    async fn sign_asked(
        &self,
        channel: &mut Channel,
        asked: &mut BTreeMap<Id, Option<Member>>,
    ) -> Result<(), AccountError> {
        let id = channel.id;
        if self.with_chain(id, Chain::newest)? < Some(channel.key_version) && !self.is_earlier(id) {
            self.look_at_keys(id).await?;
        }
        let newest = |chain: &Chain| Some(chain.members(chain.newest()?));
        let Some(members) = self.with_chain(id, newest)? else {
            return Ok(());
        };
        let mut users: BTreeSet<Id> = members.values().map(|(user, _)| *user).collect();
        channel.members.retain(|member| users.remove(&member.id));
        channel.left.clone_from(&users);
        for id in users {
            if let Some(known) = asked.get(&id) {
                channel.members.extend(known.clone());
                continue;
            }
            let member = match self.api.user(id).await {
                Ok(Profile { kind, name, .. }) => Some(Member { id, kind, name }),
                Err(passing) if passing.is_passing() => return Err(passing.into()),
                Err(_) => None,
            };
            channel.members.extend(member.clone());
            asked.insert(id, member);
        }
        Ok(())
    }

    /// The newest version of the channel's key that is accepted. Another may be newer: the relay says so when it refuses.
    pub(super) async fn newest_key(
        &self,
        channel_id: Id,
    ) -> Result<(u32, ChannelKey), AccountError> {
        let newest = self.with_chain(channel_id, Chain::newest)?;
        let is_refused = lock(&self.refused).contains_key(&channel_id);
        if is_refused || newest.is_none() && !self.is_earlier(channel_id) {
            self.fetch_keys(channel_id).await?;
        }
        let (newest, stopped) =
            self.with_chain(channel_id, |chain| (chain.newest(), chain.stopped()))?;
        if let Some(both) = stopped {
            return Err(Trouble::stopped(both).into());
        }
        if let Some(version) = newest {
            return match self.key(channel_id, version).await {
                Ok(key) => Ok((version, key)),
                Err(lost @ AccountError::Trouble(Trouble::UnknownKeyVersion(_))) => {
                    Err(self.rewound(channel_id).await.unwrap_or(lost))
                }
                Err(other) => Err(other),
            };
        }
        if !self.is_earlier(channel_id) {
            return Err(Trouble::Unsigned.into());
        }
        let held = {
            let keys = lock(&self.keys);
            let of_channel = keys.keys().filter(|(channel, _)| *channel == channel_id);
            of_channel.map(|(_, version)| *version).max()
        };
        let version = match held {
            Some(version) => version,
            None => self.api.channel(channel_id).await?.key_version,
        };
        Ok((version, self.key(channel_id, version).await?))
    }

    /// Why an act finds no key that the relay takes: others renew it all the time, or the relay has an earlier one.
    pub(super) async fn unsettled(&self, channel_id: Id) -> AccountError {
        let rewound = self.rewound(channel_id).await;
        rewound.unwrap_or(AccountError::Unsettled)
    }

    /// That the relay has an earlier version than the newest accepted one, where it says so.
    pub(super) async fn rewound(&self, channel_id: Id) -> Option<AccountError> {
        let shown = self.api.channel(channel_id).await.ok()?.key_version;
        let held = self.with_chain(channel_id, Chain::newest).ok()??;
        (shown < held).then(|| Trouble::Rewound { held, shown }.into())
    }

    pub(super) async fn key(
        &self,
        channel_id: Id,
        version: u32,
    ) -> Result<ChannelKey, AccountError> {
        let stopped = self.with_chain(channel_id, Chain::stopped)?;
        if let Some(both) = stopped
            && version >= both.1.key_version
        {
            return Err(Trouble::stopped(both).into());
        }
        let held = || lock(&self.keys).get(&(channel_id, version)).cloned();
        if let Some(key) = held() {
            return Ok(key);
        }
        let fetched = self.fetch_keys(channel_id).await;
        match (held(), fetched) {
            (Some(key), _) => Ok(key),
            (None, Err(why)) => Err(why),
            (None, Ok(()))
                if self.hash(channel_id, version)?.is_some() || self.is_earlier(channel_id) =>
            {
                Err(Trouble::UnknownKeyVersion(version).into())
            }
            (None, Ok(())) => Err(match self.with_chain(channel_id, Chain::newest)? {
                Some(_) => Trouble::UnknownKeyVersion(version).into(),
                None => Trouble::Unsigned.into(),
            }),
        }
    }

    /// Takes the successors that the relay shows, and opens the keys that belong to them.
    pub(super) async fn fetch_keys(&self, channel_id: Id) -> Result<(), AccountError> {
        let (wraps, taken) = loop {
            let after = self.with_chain(channel_id, Chain::newest)?.unwrap_or(0);
            let answer = self.api.keys(channel_id, after).await?;
            let taken = self.take_states(channel_id, answer.states)?;
            if taken.is_err() || !answer.has_more {
                break (answer.keys, taken);
            }
            if self.with_chain(channel_id, Chain::newest)? <= Some(after) {
                let why = "key states that were not asked for";
                return Err(ApiError::Malformed(why.to_owned()).into());
            }
        };
        self.open_wraps(channel_id, wraps).await?;
        let before = match &taken {
            Ok(()) => lock(&self.refused).remove(&channel_id),
            Err(why) => lock(&self.refused).insert(channel_id, why.clone()),
        };
        if let Err(why) = &taken
            && before.as_ref() != Some(why)
        {
            lock(&self.key_news).push(KeyNews::Refused(channel_id, why.clone()));
        }
        Ok(taken?)
    }

    /// Judges states; the outer error is the disk's.
    pub(super) fn take_states(
        &self,
        channel_id: Id,
        states: Vec<KeyState>,
    ) -> Result<Result<(), Trouble>, IdentityError> {
        let mut pins = lock(&self.pins);
        let fits = |device: &StateDevice| {
            let own = device.device_id == self.device();
            let is_own = device.user_id == self.me()
                && device.public_key == self.identity.key.public().to_wire();
            if own { is_own } else { pins.fits(device) }
        };
        let mut chains = lock(&self.chains);
        let is_earlier = chains.is_earlier(channel_id);
        let before = chains.of(channel_id)?;
        let had_any = before.newest().is_some();
        let misfit = |members: &Members| {
            let mut members = members.iter();
            members.find_map(|(device_id, (user_id, key))| {
                let (user_id, device_id) = (*user_id, *device_id);
                let public_key = key.to_wire();
                let named = StateDevice {
                    user_id,
                    device_id,
                    public_key,
                };
                (!fits(&named)).then_some(Trouble::Device { user_id, device_id })
            })
        };
        let held = before.newest().filter(|_| !states.is_empty());
        let held = held.map(|newest| before.members(newest));
        if let Some(trouble) = held.as_ref().and_then(misfit) {
            return Ok(Err(trouble));
        }
        let judged = chains.take(channel_id, states, |state| state.added.iter().all(fits))?;
        let chain = chains.of(channel_id)?;
        let new = judged
            .new
            .iter()
            .filter_map(|version| chain.state(*version));
        let mut news = Vec::new();
        for state in new {
            pins.trust(&state.added)?;
            let is_own = state.device_id == self.device();
            // Of what this account did itself, only what it did by the relay's word.
            if had_any && !(is_own && state.removed.is_empty()) {
                news.push(renewed(channel_id, chain, state));
            }
        }
        // Who is added to a channel hears of that otherwise.
        if is_earlier
            && !had_any
            && let Some(newest) = chain.newest()
        {
            let began = chain.entered(self.device()).unwrap_or(newest);
            let began = chain
                .state(began)
                .filter(|began| began.device_id != self.device());
            news.extend(began.map(|began| KeyNews::Began(channel_id, chain.view(began))));
        }
        let held = chain.newest().and_then(|newest| chain.state(newest));
        let held = held.map(|held| chain.view(held));
        let trouble = match (judged.no_successor, &judged.unfit, chain.stopped()) {
            (_, _, Some(both)) => Some(Trouble::stopped(both)),
            (Some(other), ..) => Some(Trouble::NoSuccessor(Box::new(Conflict { held, other }))),
            (None, Some(unfit), None) => {
                let device = unfit.added.iter().find(|device| !pins.fits(device));
                let device = device.or(unfit.added.first());
                device.map(|device| Trouble::Device {
                    user_id: device.user_id,
                    device_id: device.device_id,
                })
            }
            (None, None, None) => None,
        };
        lock(&self.key_news).extend(news);
        Ok(trouble.map_or(Ok(()), Err))
    }

    /// Opens the keys of versions that are accepted, and of versions of before.
    pub(super) async fn open_wraps(
        &self,
        channel_id: Id,
        wraps: Vec<HeldKey>,
    ) -> Result<(), AccountError> {
        let chain = self.with_chain(channel_id, Chain::clone)?;
        let is_meant = |version: u32, key: &ChannelKey| {
            let state = chain.state(version);
            state.is_none_or(|state| state.commitment.0 == key.commitment(channel_id, version))
        };
        // A key of before may have had the version of a state.
        lock(&self.keys)
            .retain(|(channel, version), key| *channel != channel_id || is_meant(*version, key));
        let mut earlier = Vec::new();
        for held in wraps {
            let version = held.wrap.key_version;
            let (Some(state), Some(hash)) = (chain.state(version), chain.hash(version)) else {
                earlier.push(held);
                continue;
            };
            let signer = chain.device(version, state.device_id);
            let signer = signer.filter(|_| held.wrap.sender_device_id == state.device_id);
            let Some((_, signer)) = signer else { continue };
            let key = self
                .identity
                .key
                .unwrap(channel_id, &held.wrap, signer, Some(hash));
            if let Some(key) = key.ok().filter(|key| is_meant(version, key)) {
                lock(&self.keys).insert((channel_id, version), key);
            }
        }
        // From each key to those before it.
        for state in chain.states().iter().rev() {
            let version = state.key_version;
            let key = lock(&self.keys).get(&(channel_id, version)).cloned();
            let Some(key) = key else { continue };
            for sealed in state
                .earlier
                .iter()
                .filter(|sealed| sealed.key_version < version)
            {
                let opened = key.open_earlier(channel_id, version, sealed);
                let meant = opened.ok().filter(|key| is_meant(sealed.key_version, key));
                if let Some(key) = meant {
                    lock(&self.keys).insert((channel_id, sealed.key_version), key);
                }
            }
        }
        for held in earlier {
            let version = held.wrap.key_version;
            let is_before = chain.first().is_some_and(|first| version < first);
            if is_before || chain.first().is_none() && self.is_earlier(channel_id) {
                self.open_unsigned(channel_id, &held).await?;
            }
        }
        Ok(())
    }

    /// A key of before, by whichever known device.
    async fn open_unsigned(&self, channel_id: Id, held: &HeldKey) -> Result<(), AccountError> {
        let at = (channel_id, held.wrap.key_version);
        if lock(&self.keys).contains_key(&at) {
            return Ok(());
        }
        let sender = self
            .device_key(held.sender_id, held.wrap.sender_device_id)
            .await;
        let sender = match sender {
            Ok(sender) if sender.to_wire() == held.sender_public_key => sender,
            // Another wrap of this version may be a known device's.
            Ok(_) | Err(AccountError::Trouble(_)) => return Ok(()),
            Err(other) => return Err(other),
        };
        if let Ok(key) = self
            .identity
            .key
            .unwrap(channel_id, &held.wrap, &sender, None)
        {
            lock(&self.keys).insert(at, key);
        }
        Ok(())
    }
}

fn renewed(channel_id: Id, chain: &Chain, state: &KeyState) -> KeyNews {
    let of = |devices: Vec<Option<Id>>| {
        let users: BTreeSet<Id> = devices.into_iter().flatten().collect();
        users.into_iter().collect()
    };
    let before = state.key_version.saturating_sub(1);
    let user = |device: &Id| chain.device(before, *device).map(|(user, _)| user);
    KeyNews::Renewed {
        channel_id,
        state: chain.view(state),
        added: of(state
            .added
            .iter()
            .map(|device| Some(device.user_id))
            .collect()),
        removed: of(state.removed.iter().map(user).collect()),
    }
}
