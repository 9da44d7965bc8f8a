//! [`Challenges`]: what a login has to answer, without a memory of who asked.
//!
//! ```text
//! challenge_id = moment in ms (6 bytes) | random (2) | HMAC-SHA-256 of both, user and device, cut to 8 bytes
//! nonce        = HMAC-SHA-256 of the same, under another label
//! asked ─▶ answered within 60 s by the right proof ─▶ spent ─60 s after it was asked─▶ forgotten
//! ```
//! The key of both is this process's own: a challenge of another relay, or of this one before it was started again, is
//! unknown here, as is one that is too old or spent. It says nothing about the proof, and the client asks for another one.
//!
//! Invariants: asking costs no memory that another one's challenge could need; a proof is accepted once; only the right
//! proof spends, so that nobody spends for another; what is spent is forgotten by time only. The time is an argument.

use crate::refusal::Refusal;
use hmac::{Hmac, KeyInit as _, Mac as _};
use plexus_channels::crypto::{fields, random};
use plexus_channels::wire::{AskChallenge, AskToken, Challenge};
use plexus_channels::{Base64Url, DeviceKey, Id, id, limits};
use sha2::Sha256;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const TAG: &[u8] = b"plexus-relay/1/challenge";
const NONCE: &[u8] = b"plexus-relay/1/nonce";
/// Bytes of an id before its tag.
const HEAD: usize = 8;
/// Challenges of one device that are spent and not yet too old.
const SPENT_OF_DEVICE: usize = 64;

/// A challenge that was answered.
pub(crate) struct Open {
    pub(crate) by: AskChallenge,
    pub(crate) nonce: [u8; 32],
    until: Instant,
}

/// The challenges of one relay, from its start to its end.
pub(crate) struct Challenges {
    key: [u8; 32],
    pub(crate) server: DeviceKey,
    /// The start, by a clock that does not jump, and in milliseconds of Unix time.
    began: (Instant, u64),
    spent: Mutex<Spent>,
}

/// Challenges that are spent, until they are too old.
#[derive(Default)]
struct Spent {
    by_device: HashMap<Id, VecDeque<(Instant, Id)>>,
    /// When devices are looked through for what is too old.
    sweep: Option<Instant>,
}

impl Challenges {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            key: random(),
            server: DeviceKey::generate(),
            began: (now, id::now_millis()),
            spent: Mutex::default(),
        }
    }

    /// A new challenge; whether there is such a user makes no difference.
    pub(crate) fn ask(&self, by: AskChallenge, now: Instant) -> Challenge {
        let [one, two] = random::<2>().map(u128::from);
        let head = Id::from_parts(self.millis(now), (one << 8 | two) << 64);
        let tag = self.mac(TAG, head, by).finalize().into_bytes();
        let tag = tag.iter().take(16 - HEAD);
        let low = tag.fold(0_u128, |low, byte| low << 8 | u128::from(*byte));
        let challenge_id = Id::from_parts(head.millis(), head.low() | low);
        let nonce: [u8; 32] = self
            .mac(NONCE, challenge_id, by)
            .finalize()
            .into_bytes()
            .into();
        Challenge {
            challenge_id,
            server_public_key: self.server.public().to_wire(),
            nonce: Base64Url(nonce.to_vec()),
            expires_in: limits::CHALLENGE.as_secs(),
        }
    }

    /// What was asked for, where it is a challenge of this relay and not too old.
    pub(crate) fn open(&self, ask: &AskToken, now: Instant) -> Option<Open> {
        let (id, by) = (ask.challenge_id, ask.by);
        let age = self.millis(now).checked_sub(id.millis())?;
        let age = Duration::from_millis(age);
        let left = limits::CHALLENGE
            .checked_sub(age)
            .filter(|left| !left.is_zero())?;
        let tag = &id.to_bytes()[HEAD..];
        self.mac(TAG, id, by).verify_truncated_left(tag).ok()?;
        let nonce = self.mac(NONCE, id, by).finalize().into_bytes().into();
        let until = now + left;
        Some(Open { by, nonce, until })
    }

    /// Spends a challenge, for the right proof: false where it is spent.
    ///
    /// # Errors
    /// `rate_limited` where the device has spent too many.
    pub(crate) fn spend(&self, id: Id, open: &Open, now: Instant) -> Result<bool, Refusal> {
        let mut spent = lock(&self.spent);
        let Spent { by_device, sweep } = &mut *spent;
        if sweep.is_none_or(|sweep| sweep <= now) {
            by_device.retain(|_, spent| spent.iter().any(|(until, _)| *until > now));
            *sweep = Some(now + limits::CHALLENGE);
        }
        let of_device = by_device.entry(open.by.device_id).or_default();
        of_device.retain(|(until, _)| *until > now);
        if of_device.iter().any(|(_, spent)| *spent == id) {
            return Ok(false);
        }
        if of_device.len() >= SPENT_OF_DEVICE {
            let first = of_device.iter().map(|(until, _)| *until - now).min();
            return Err(Refusal::rate_limited(
                first.map_or(1, |left| left.as_secs() + 1),
            ));
        }
        of_device.push_back((open.until, id));
        Ok(true)
    }

    /// The clock of challenges: it goes on from the start of this relay, whatever the wall clock does.
    fn millis(&self, now: Instant) -> u64 {
        let (began, at) = self.began;
        let since = now.saturating_duration_since(began).as_millis();
        at.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }

    /// Over the head of an id, and who asked.
    fn mac(&self, label: &[u8], id: Id, by: AskChallenge) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("any length of key");
        let (head, user, device) = (id.to_bytes(), by.agent_id, by.device_id);
        mac.update(&fields(&[
            label,
            &head[..HEAD],
            &user.to_bytes(),
            &device.to_bytes(),
        ]));
        mac
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
