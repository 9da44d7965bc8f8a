//! [`Chain`]: the key states of a channel, each the one successor of the one before it.
//!
//! ```text
//! none ─first state─▶ version n ─its one successor─▶ version n + 1 ─▶ …
//!                         └─a second one for a version that is held─▶ stopped
//! ```
//! Invariants: pure; a state enters behind the one that it names, where a member of that one signed it, and no other way; the
//! members of a version are those whom its state names; a chain that has stopped takes no further state.
//!
//! Must not know: files, the relay, who may see what.

use crate::crypto::{ChannelKey, CryptoError, DeviceKey, StateHash, fields};
use crate::wire::{KeyState, SUITE, SealedKey, StateDevice};
use crate::{Base64Url, Id, PublicKey, limits};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt;

const STATE: &str = "plexus-channels/2/state";
const MEMBERS: &str = "plexus-channels/2/members";
const EARLIER: &str = "plexus-channels/2/earlier";

/// The devices of the members of a version: device → user and key.
pub type Members = BTreeMap<Id, (Id, PublicKey)>;

/// The beginning of a SHA-256, as people compare it: 32 digits in groups of four.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Print([u8; 16]);

impl Print {
    /// That of a key: its fingerprint.
    #[must_use]
    pub fn of_key(key: &PublicKey) -> Self {
        Self::of_hash(&Sha256::digest(key.as_bytes()).into())
    }

    /// That of a key state.
    #[must_use]
    pub const fn of_hash(hash: &StateHash) -> Self {
        let (print, _) = hash.split_first_chunk().expect("32 bytes have 16");
        Self(*print)
    }
}

impl fmt::Display for Print {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, pair) in self.0.chunks(2).enumerate() {
            let gap = if at > 0 { " " } else { "" };
            write!(f, "{gap}{:02x}{:02x}", pair[0], pair[1])?;
        }
        Ok(())
    }
}

impl fmt::Debug for Print {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A key state as it is shown to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateView {
    /// The version that it makes.
    pub key_version: u32,
    /// Who signed it, or is said to have.
    pub user_id: Id,
    /// The key of the device that is said to have signed; none where no state names that device.
    pub key: Option<Print>,
    /// Of the state.
    pub state: Print,
}

impl fmt::Display for StateView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            key_version,
            user_id,
            state,
            key,
        } = self;
        write!(f, "version {key_version} by {user_id}")?;
        match key {
            Some(key) => write!(f, " with the key {key}")?,
            None => write!(f, " with a key that no member has")?,
        }
        write!(f, " (state {state})")
    }
}

/// What became of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is held already.
    Known,
    /// It is the newest one now.
    Next,
    /// A member signed it for a version for which another one is held: the chain has stopped.
    Second,
}

/// A state that nobody of the channel can have meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no successor of what is held")]
pub struct NoSuccessor(pub StateView);

/// When a device had the key.
#[derive(Clone, Debug)]
struct Span {
    user_id: Id,
    key: PublicKey,
    from: u32,
    /// The first version without it.
    until: Option<u32>,
}

/// The states of one channel.
#[derive(Clone, Debug)]
pub struct Chain {
    channel_id: Id,
    states: Vec<KeyState>,
    second: Option<KeyState>,
    hashes: Vec<StateHash>,
    spans: BTreeMap<Id, Vec<Span>>,
}

/// A chain as it is kept.
#[derive(Serialize, Deserialize)]
pub(crate) struct StoredChain {
    states: Vec<KeyState>,
    #[serde(default)]
    second: Option<KeyState>,
}

/// The key of a new version, and what its state is to say.
pub struct Draft<'a> {
    /// The version; that behind the newest one, where there is one.
    pub key_version: u32,
    /// Its members.
    pub members: &'a Members,
    /// Its key.
    pub key: &'a ChannelKey,
    /// Keys of earlier versions that its members are to have.
    pub earlier: Vec<(u32, &'a ChannelKey)>,
    /// Who makes it, with which device.
    pub by: (Id, Id),
}

impl Chain {
    /// Of a channel; without a state.
    #[must_use]
    pub const fn new(channel_id: Id) -> Self {
        Self {
            channel_id,
            states: Vec::new(),
            second: None,
            hashes: Vec::new(),
            spans: BTreeMap::new(),
        }
    }

    /// One that was kept; its signatures were verified before. Nothing where it does not fit together.
    pub(crate) fn restored(channel_id: Id, stored: StoredChain) -> Option<Self> {
        let mut chain = Self::new(channel_id);
        for state in stored.states {
            let after = chain.after(&state)?;
            let hash = hash_of(channel_id, &state, &after);
            chain.push(state, hash);
        }
        chain.second = stored.second;
        Some(chain)
    }

    pub(crate) fn stored(&self) -> StoredChain {
        StoredChain {
            states: self.states.clone(),
            second: self.second.clone(),
        }
    }

    /// The first version with a state.
    #[must_use]
    pub fn first(&self) -> Option<u32> {
        self.states.first().map(|state| state.key_version)
    }

    /// The newest version with a state.
    #[must_use]
    pub fn newest(&self) -> Option<u32> {
        self.states.last().map(|state| state.key_version)
    }

    /// The states, in the order of their versions.
    #[must_use]
    pub fn states(&self) -> &[KeyState] {
        &self.states
    }

    fn at(&self, version: u32) -> Option<usize> {
        let at = usize::try_from(version.checked_sub(self.first()?)?).ok()?;
        (at < self.states.len()).then_some(at)
    }

    /// The state of a version.
    #[must_use]
    pub fn state(&self, version: u32) -> Option<&KeyState> {
        Some(&self.states[self.at(version)?])
    }

    /// The hash of the state of a version.
    #[must_use]
    pub fn hash(&self, version: u32) -> Option<&StateHash> {
        Some(&self.hashes[self.at(version)?])
    }

    /// Who has the key of a version.
    #[must_use]
    pub fn members(&self, version: u32) -> Members {
        let at = |spans: &Vec<Span>| {
            let span = spans.iter().find(|span| span.covers(version))?;
            Some((span.user_id, span.key.clone()))
        };
        let spans = self.spans.iter();
        spans
            .filter_map(|(device, spans)| Some((*device, at(spans)?)))
            .collect()
    }

    /// The user and the key of a device that has the key of a version.
    #[must_use]
    pub fn device(&self, version: u32, device: Id) -> Option<(Id, &PublicKey)> {
        let mut spans = self.spans.get(&device)?.iter();
        let span = spans.find(|span| span.covers(version))?;
        Some((span.user_id, &span.key))
    }

    /// The version with which a device came in last, up to the newest one.
    #[must_use]
    pub fn entered(&self, device: Id) -> Option<u32> {
        Some(self.spans.get(&device)?.last()?.from)
    }

    /// Both states of the version for which there are two.
    #[must_use]
    pub fn stopped(&self) -> Option<(StateView, StateView)> {
        let second = self.second.as_ref()?;
        let held = self.state(second.key_version)?;
        Some((self.view(held), self.view(second)))
    }

    /// A state as it is shown: of this chain, or one that came instead of one.
    #[must_use]
    pub fn view(&self, state: &KeyState) -> StateView {
        let version = state.key_version;
        let own = state
            .added
            .iter()
            .find(|of| of.device_id == state.device_id);
        let own = own.and_then(|own| PublicKey::from_bytes(&own.public_key.0).ok());
        let before = self.device(version.saturating_sub(1), state.device_id);
        let key = before.map(|(_, key)| key.clone()).or(own);
        let hash = match self.hash(version) {
            Some(hash) if self.state(version) == Some(state) => *hash,
            _ => {
                let after = self.after(state).unwrap_or_default();
                hash_of(self.channel_id, state, &after)
            }
        };
        StateView {
            key_version: version,
            user_id: state.user_id,
            key: key.as_ref().map(Print::of_key),
            state: Print::of_hash(&hash),
        }
    }

    /// Judges a state that the relay shows, and takes it where it is the one successor.
    ///
    /// # Errors
    /// Where it is none: nothing was changed.
    pub fn take(&mut self, state: KeyState) -> Result<Taken, NoSuccessor> {
        let no = NoSuccessor(self.view(&state));
        let version = state.key_version;
        let next = self.newest().map_or(version, |newest| newest + 1);
        let (after, hash) = self.judged(&state).ok_or(no)?;
        if let Some(held) = self.hash(version) {
            if *held == hash {
                return Ok(Taken::Known);
            }
            // Anybody can sign a first state. That of another device is no second one of a member's.
            let is_first = Some(version) == self.first();
            let maker = self.state(version).map(|held| held.device_id);
            if is_first && maker != Some(state.device_id) {
                return Err(no);
            }
            let signer = after.get(&state.device_id);
            let of_maker = self.device(version, state.device_id);
            if is_first && signer.map(|(_, key)| key) != of_maker.map(|(_, key)| key) {
                return Err(no);
            }
            self.second.get_or_insert(state);
            return Ok(Taken::Second);
        }
        if version != next || self.second.is_some() {
            return Err(no);
        }
        self.push(state, hash);
        Ok(Taken::Next)
    }

    /// Members and hash of a state that a member of the version before it signed, behind the state of that version.
    fn judged(&self, state: &KeyState) -> Option<(Members, StateHash)> {
        let is_first = self.first().is_none_or(|first| first == state.key_version);
        let before = state.key_version.checked_sub(1)?;
        let previous: &[u8] = match is_first {
            true => &[],
            false => self.hash(before)?,
        };
        let signer = self.device(before, state.device_id);
        let after = self.after(state)?;
        let (user_id, key) = after.get(&state.device_id)?;
        let is_member = is_first || signer == Some((*user_id, key));
        let is_bound = state.previous.0 == previous && is_member;
        let hash = is_bound.then(|| verified(self.channel_id, state, &after));
        Some((after.clone(), hash??))
    }

    /// The members behind a state; nothing where it takes out who is not there, or brings in who is.
    fn after(&self, state: &KeyState) -> Option<Members> {
        let is_first = self.first().is_none_or(|first| first == state.key_version);
        let mut members = match is_first {
            true => Members::new(),
            false => self.members(state.key_version.checked_sub(1)?),
        };
        for device in &state.removed {
            members.remove(device)?;
        }
        for StateDevice {
            user_id,
            device_id,
            public_key,
        } in &state.added
        {
            let key = PublicKey::from_bytes(&public_key.0).ok()?;
            if members.insert(*device_id, (*user_id, key)).is_some() {
                return None;
            }
        }
        (members.len() <= limits::MEMBERS).then_some(members)
    }

    fn push(&mut self, state: KeyState, hash: StateHash) {
        let version = state.key_version;
        for device in &state.removed {
            let span = self
                .spans
                .get_mut(device)
                .and_then(|spans| spans.last_mut());
            if let Some(span) = span {
                span.until = Some(version);
            }
        }
        for added in &state.added {
            if let Ok(key) = PublicKey::from_bytes(&added.public_key.0) {
                let spans = self.spans.entry(added.device_id).or_default();
                spans.push(Span {
                    user_id: added.user_id,
                    key,
                    from: version,
                    until: None,
                });
            }
        }
        self.states.push(state);
        self.hashes.push(hash);
    }

    /// The signed state of a new version.
    ///
    /// # Errors
    /// Where the version does not follow the newest one.
    pub fn signed(&self, draft: Draft<'_>, signer: &DeviceKey) -> Result<KeyState, CryptoError> {
        let version = draft.key_version;
        if self.newest().is_some_and(|newest| newest + 1 != version) {
            return Err(CryptoError::Sealed);
        }
        let before = self
            .newest()
            .map_or_else(Members::new, |newest| self.members(newest));
        let is_new = |(device, of): &(&Id, &(Id, PublicKey))| before.get(device) != Some(of);
        let added = draft.members.iter().filter(is_new);
        let added = added.map(|(device_id, (user_id, key))| StateDevice {
            user_id: *user_id,
            device_id: *device_id,
            public_key: key.to_wire(),
        });
        let is_gone =
            |(device, of): &(&Id, &(Id, PublicKey))| draft.members.get(device) != Some(of);
        let removed = before.iter().filter(is_gone).map(|(device, _)| *device);
        let earlier = draft.earlier.into_iter();
        let seal = |earlier| draft.key.seal_earlier(self.channel_id, version, earlier);
        let earlier: Vec<SealedKey> = earlier.map(seal).collect();
        let previous = self.newest().and_then(|newest| self.hash(newest));
        let (user_id, device_id) = draft.by;
        let mut state = KeyState {
            suite: SUITE,
            key_version: version,
            previous: Base64Url(previous.map_or_else(Vec::new, |hash| hash.to_vec())),
            added: added.collect(),
            removed: removed.collect(),
            commitment: Base64Url(draft.key.commitment(self.channel_id, version).to_vec()),
            earlier,
            user_id,
            device_id,
            signature: Base64Url::default(),
        };
        let bytes = signed_bytes(self.channel_id, &state, draft.members);
        state.signature = Base64Url(signer.sign(&bytes).to_vec());
        Ok(state)
    }
}

impl Span {
    fn covers(&self, version: u32) -> bool {
        self.from <= version && self.until.is_none_or(|until| version < until)
    }
}

/// The hash of a state of this suite that its device, one of these members, signed for them.
#[must_use]
pub fn verified(channel_id: Id, state: &KeyState, members: &Members) -> Option<StateHash> {
    let (user_id, key) = members.get(&state.device_id)?;
    let bytes = signed_bytes(channel_id, state, members);
    let holds = state.suite == SUITE
        && *user_id == state.user_id
        && state.commitment.0.len() == 32
        && key.has_signed(&bytes, &state.signature.0);
    holds.then(|| Sha256::digest(&bytes).into())
}

fn hash_of(channel_id: Id, state: &KeyState, members: &Members) -> StateHash {
    Sha256::digest(signed_bytes(channel_id, state, members)).into()
}

fn signed_bytes(channel_id: Id, state: &KeyState, members: &Members) -> Vec<u8> {
    fields(&[
        STATE.as_bytes(),
        state.suite.to_string().as_bytes(),
        channel_id.to_string().as_bytes(),
        state.key_version.to_string().as_bytes(),
        &state.previous.0,
        &digest(members),
        &state.commitment.0,
        &sealed(&state.earlier),
        state.user_id.to_string().as_bytes(),
        state.device_id.to_string().as_bytes(),
    ])
}

fn digest(members: &Members) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(fields(&[MEMBERS.as_bytes()]));
    for (device_id, (user_id, key)) in members {
        digest.update(fields(&[
            user_id.to_string().as_bytes(),
            device_id.to_string().as_bytes(),
            key.as_bytes(),
        ]));
    }
    digest.finalize().into()
}

fn sealed(earlier: &[SealedKey]) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(fields(&[EARLIER.as_bytes()]));
    for key in earlier {
        let version = key.key_version.to_string();
        digest.update(fields(&[
            version.as_bytes(),
            &key.nonce.0,
            &key.ciphertext.0,
        ]));
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests;
