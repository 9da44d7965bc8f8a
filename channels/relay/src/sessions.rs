//! [`Sessions`]: the tokens that challenges were answered for. They stay in memory: after a restart clients log in again.
//!
//! Invariants: a token is kept as its SHA-256; whether user and device exist shows in no answer; no login of a user who was
//! removed goes on. The time is an argument.

use crate::challenges::Challenges;
use crate::channel::ActingDevice;
use crate::refusal::Refusal;
use plexus_channels::crypto::{Login, random};
use plexus_channels::wire::{AskChallenge, AskToken, Challenge, Code, Token};
use plexus_channels::{Id, PublicKey, base64url, limits};
use sha2::{Digest as _, Sha256};
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Tokens of one device that are valid; the oldest ends for another one.
const TOKENS_OF_DEVICE: usize = 4;

/// A token's holder.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session {
    pub(crate) by: ActingDevice,
    pub(crate) token: [u8; 32],
    pub(crate) until: Instant,
}

#[derive(Default)]
struct Tokens {
    sessions: HashMap<[u8; 32], Session>,
    /// Device → its tokens, the oldest first.
    devices: HashMap<Id, Vec<[u8; 32]>>,
    /// Users whose logins under way come too late.
    removed: HashSet<Id>,
}

/// A token that was given.
pub(crate) struct Granted {
    pub(crate) answer: Token,
    pub(crate) user: Id,
    /// The device's tokens that it took the place of.
    pub(crate) ended: Vec<[u8; 32]>,
}

/// Who is logged in, and who is about to be.
pub(crate) struct Sessions {
    challenges: Challenges,
    tokens: Mutex<Tokens>,
}

impl Sessions {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            challenges: Challenges::new(now),
            tokens: Mutex::default(),
        }
    }

    /// A challenge.
    pub(crate) fn challenge(&self, by: AskChallenge, now: Instant) -> Challenge {
        self.challenges.ask(by, now)
    }

    /// A token for a proof. `known` finds the organization and the key of a user's device.
    pub(crate) async fn token<K: Future<Output = Result<Option<(Id, PublicKey)>, Refusal>>>(
        &self,
        ask: &AskToken,
        now: Instant,
        known: impl FnOnce(Id, Id) -> K,
    ) -> Result<Granted, Refusal> {
        let refused = || Refusal::new(Code::InvalidProof, "the proof is not valid");
        let open = self.challenges.open(ask, now);
        let open = open.ok_or_else(Refusal::unknown_challenge)?;
        let (user, device) = (open.by.agent_id, open.by.device_id);
        let server = &self.challenges.server;
        let found = known(user, device).await?;
        // The same work where there is no such device.
        let device_public_key = found.as_ref().map_or(server.public(), |(_, key)| key);
        let login = Login {
            challenge_id: ask.challenge_id,
            agent_id: user,
            device_id: device,
            nonce: &open.nonce,
            server_public_key: server.public(),
            device_public_key,
        };
        let accepted = login.accepts(server, &ask.proof.0);
        let organization = match found {
            Some((organization, _)) if accepted => organization,
            _ => return Err(refused()),
        };
        if !self.challenges.spend(ask.challenge_id, &open, now)? {
            return Err(Refusal::unknown_challenge());
        }
        let access_token = base64url::encode(&random::<32>());
        let token = hash(&access_token);
        let by = ActingDevice {
            organization,
            user,
            device,
        };
        let until = now + limits::TOKEN;
        let session = Session { by, token, until };
        let ended = lock(&self.tokens).add(session, now).ok_or_else(refused)?;
        let answer = Token {
            access_token,
            token_type: "Bearer".to_owned(),
            expires_in: limits::TOKEN.as_secs(),
        };
        Ok(Granted {
            answer,
            user,
            ended,
        })
    }

    /// The session of a token.
    pub(crate) fn of(&self, token: &str, now: Instant) -> Option<Session> {
        let tokens = lock(&self.tokens);
        let session = tokens.sessions.get(&hash(token)).copied();
        session.filter(|session| session.until > now)
    }

    /// Whether a token is still valid.
    pub(crate) fn holds(&self, token: &[u8; 32], now: Instant) -> bool {
        let tokens = lock(&self.tokens);
        let session = tokens.sessions.get(token);
        session.is_some_and(|session| session.until > now)
    }

    /// Ends a session.
    pub(crate) fn end(&self, session: &Session) {
        lock(&self.tokens).remove(&session.token, session.by.device);
    }

    /// Ends the logins and the sessions of a user who was removed.
    pub(crate) fn shut_out(&self, user: Id) {
        let mut tokens = lock(&self.tokens);
        tokens.removed.insert(user);
        tokens.sessions.retain(|_, session| session.by.user != user);
        let Tokens {
            sessions, devices, ..
        } = &mut *tokens;
        devices.retain(|_, held| held.iter().any(|token| sessions.contains_key(token)));
    }
}

impl Tokens {
    /// Adds a session, unless its user was removed: the device's tokens that have no place beside it.
    fn add(&mut self, session: Session, now: Instant) -> Option<Vec<[u8; 32]>> {
        if self.removed.contains(&session.by.user) {
            return None;
        }
        let device = session.by.device;
        let held = self.devices.get(&device).cloned().unwrap_or_default();
        let surplus = (held.len() + 1).saturating_sub(TOKENS_OF_DEVICE);
        let mut ended = Vec::new();
        for (at, token) in held.into_iter().enumerate() {
            let is_over = self
                .sessions
                .get(&token)
                .is_none_or(|held| held.until <= now);
            if is_over || at < surplus {
                self.remove(&token, device);
                ended.push(token);
            }
        }
        self.devices.entry(device).or_default().push(session.token);
        self.sessions.insert(session.token, session);
        Some(ended)
    }

    fn remove(&mut self, token: &[u8; 32], device: Id) {
        self.sessions.remove(token);
        if let Some(tokens) = self.devices.get_mut(&device) {
            tokens.retain(|held| held != token);
        }
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_channels::DeviceKey;
    use plexus_channels::api::Credentials;
    use std::sync::Arc;
    use std::time::Duration;

    /// A device that is registered, and the sessions of its relay.
    struct Case {
        sessions: Sessions,
        who: Credentials,
    }

    impl Case {
        fn new(now: Instant) -> Self {
            Self {
                sessions: Sessions::new(now),
                who: Credentials {
                    agent_id: Id::generate(),
                    device_id: Id::generate(),
                    key: Arc::new(DeviceKey::generate()),
                },
            }
        }

        /// A challenge of `now`, with the right proof.
        fn proven(&self, now: Instant) -> AskToken {
            let open = self.sessions.challenge(self.who.asking(), now);
            self.who.prove(&open).expect("a key")
        }

        /// What is answered at `now`; `meanwhile` runs while the device is looked up.
        async fn answered(
            &self,
            ask: &AskToken,
            now: Instant,
            meanwhile: impl FnOnce(),
        ) -> Result<String, Code> {
            let known = async |_, _| {
                meanwhile();
                Ok(Some((Id::ZERO, self.who.key.public().clone())))
            };
            let granted = self.sessions.token(ask, now, known).await;
            let granted = granted.map_err(|refusal| refusal.code())?;
            Ok(granted.answer.access_token)
        }
    }

    const TICK: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn challenge_is_answered_within_60_s_and_token_is_valid_for_an_hour() {
        let now = Instant::now();
        let case = Case::new(now);
        let (late, in_time) = (case.proven(now), case.proven(now));
        let minute = Duration::from_secs(60);
        let refused = case.answered(&late, now + minute, || ()).await;
        assert_eq!(refused, Err(Code::UnknownChallenge));
        let login = now + minute - TICK;
        let token = case
            .answered(&in_time, login, || ())
            .await
            .expect("a token");
        let end = login + Duration::from_secs(3_600);
        let session = case.sessions.of(&token, end - TICK).expect("valid");
        assert!(case.sessions.holds(&session.token, end - TICK));
        assert!(case.sessions.of(&token, end).is_none());
        assert!(!case.sessions.holds(&session.token, end));
    }

    #[tokio::test]
    async fn challenge_is_spent_by_its_right_proof_and_is_this_relays_and_this_devices() {
        let now = Instant::now();
        let (case, elsewhere) = (Case::new(now), Case::new(now));
        let unknown = Err(Code::UnknownChallenge);
        // Of another relay, and for another device.
        let foreign = elsewhere.proven(now);
        assert_eq!(case.answered(&foreign, now, || ()).await, unknown);
        let mut other = case.proven(now);
        other.by = elsewhere.who.asking();
        assert_eq!(case.answered(&other, now, || ()).await, unknown);
        // A wrong proof spends nothing; the right one is good once.
        let right = case.proven(now);
        let mut wrong = right.clone();
        wrong.proof.0[0] ^= 1;
        let refused = case.answered(&wrong, now, || ()).await;
        assert_eq!(refused, Err(Code::InvalidProof));
        assert!(case.answered(&right, now, || ()).await.is_ok());
        assert_eq!(case.answered(&right, now + TICK, || ()).await, unknown);
        // What is spent is forgotten by time alone. Two challenges of one millisecond may be the same one.
        for n in 1..64 {
            let at = now + TICK * n;
            let granted = case.answered(&case.proven(at), at, || ()).await;
            assert_eq!(granted.err(), None);
        }
        let at = now + TICK * 64;
        let refused = case.answered(&case.proven(at), at, || ()).await;
        assert_eq!(refused, Err(Code::RateLimited));
        let later = now + Duration::from_secs(60);
        let ask = case.proven(later);
        assert!(case.answered(&ask, later, || ()).await.is_ok());
    }

    #[tokio::test]
    async fn login_under_way_of_a_removed_user_gets_no_token() {
        let now = Instant::now();
        let case = Case::new(now);
        let (before, during) = (case.proven(now), case.proven(now));
        let token = case.answered(&before, now, || ()).await.expect("a token");
        assert!(case.sessions.of(&token, now).is_some());
        let shut_out = || case.sessions.shut_out(case.who.agent_id);
        let refused = case.answered(&during, now, shut_out).await;
        assert_eq!(refused, Err(Code::InvalidProof));
        assert!(case.sessions.of(&token, now).is_none());
    }
}
