//! [`Sessions`]: challenges, and the tokens that they were answered for. Both stay in memory: after a restart clients log in
//! again.
//!
//! Invariants: a token is kept as its SHA-256; a challenge is spent by the first answer, right or wrong; whether user and
//! device exist shows in no answer; no login of a user who was removed goes on. The time is an argument.

use crate::channel::ActingDevice;
use crate::refusal::Refusal;
use plexus_channels::crypto::{Login, random};
use plexus_channels::wire::{AskChallenge, AskToken, Challenge, Code, Token};
use plexus_channels::{Base64Url, DeviceKey, Id, PublicKey, base64url, limits};
use sha2::{Digest as _, Sha256};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Challenges that may be open.
const CHALLENGES: usize = 10_000;
/// Of them of one network; the oldest ends for another one.
const CHALLENGES_OF_ONE: usize = 32;
/// Tokens of one device that are valid; the oldest ends for another one.
const TOKENS_OF_DEVICE: usize = 4;

struct Open {
    agent_id: Id,
    device_id: Id,
    server: DeviceKey,
    nonce: [u8; 32],
    /// The network that asked.
    from: IpAddr,
    until: Instant,
}

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
#[derive(Default)]
pub(crate) struct Sessions {
    open: Mutex<HashMap<Id, Open>>,
    tokens: Mutex<Tokens>,
}

impl Sessions {
    /// A challenge. One network may have [`CHALLENGES_OF_ONE`] open; another one ends the oldest.
    pub(crate) fn challenge(
        &self,
        ask: AskChallenge,
        from: IpAddr,
        now: Instant,
    ) -> Result<Challenge, Refusal> {
        let server = DeviceKey::generate();
        let nonce = random();
        let challenge_id = Id::generate();
        let answer = Challenge {
            challenge_id,
            server_public_key: server.public().to_wire(),
            nonce: Base64Url(nonce.to_vec()),
            expires_in: limits::CHALLENGE.as_secs(),
        };
        let mut open = lock(&self.open);
        if open.len() >= CHALLENGES {
            open.retain(|_, open| open.until > now);
        }
        let theirs = open.iter().filter(|(_, open)| open.from == from);
        let (many, oldest) =
            theirs.fold((0, None::<(Id, Instant)>), |(many, oldest), (id, open)| {
                let older = oldest.is_none_or(|(_, until)| open.until < until);
                (
                    many + 1,
                    if older {
                        Some((*id, open.until))
                    } else {
                        oldest
                    },
                )
            });
        if many >= CHALLENGES_OF_ONE
            && let Some((oldest, _)) = oldest
        {
            open.remove(&oldest);
        }
        if open.len() >= CHALLENGES {
            return Err(Refusal::rate_limited(limits::CHALLENGE.as_secs()));
        }
        let AskChallenge {
            agent_id,
            device_id,
        } = ask;
        let kept = Open {
            agent_id,
            device_id,
            server,
            nonce,
            from,
            until: now + limits::CHALLENGE,
        };
        open.insert(challenge_id, kept);
        Ok(answer)
    }

    /// A token for a proof. `known` finds the organization and the key of a user's device.
    pub(crate) async fn token<K: Future<Output = Result<Option<(Id, PublicKey)>, Refusal>>>(
        &self,
        ask: &AskToken,
        now: Instant,
        known: impl FnOnce(Id, Id) -> K,
    ) -> Result<Granted, Refusal> {
        let refused = || Refusal::new(Code::InvalidProof, "the proof is not valid");
        let open = lock(&self.open).remove(&ask.challenge_id);
        let open = open.filter(|open| open.until > now).ok_or_else(refused)?;
        let (user, device) = (open.agent_id, open.device_id);
        let found = known(user, device).await?;
        // The same work where there is no such device.
        let device_public_key = found.as_ref().map_or(open.server.public(), |(_, key)| key);
        let login = Login {
            challenge_id: ask.challenge_id,
            agent_id: user,
            device_id: device,
            nonce: &open.nonce,
            server_public_key: open.server.public(),
            device_public_key,
        };
        let accepted = login.accepts(&open.server, &ask.proof.0);
        let organization = match found {
            Some((organization, _)) if accepted => organization,
            _ => return Err(refused()),
        };
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

    /// Ends the challenges and the sessions of a user who was removed.
    pub(crate) fn shut_out(&self, user: Id) {
        lock(&self.open).retain(|_, open| open.agent_id != user);
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
    use std::net::Ipv4Addr;
    use std::time::Duration;

    /// A device that is registered, and the sessions of its relay.
    struct Case {
        sessions: Sessions,
        user: Id,
        device: Id,
        key: DeviceKey,
    }

    impl Case {
        fn new() -> Self {
            Self {
                sessions: Sessions::default(),
                user: Id::generate(),
                device: Id::generate(),
                key: DeviceKey::generate(),
            }
        }

        /// A challenge of `now`, with the right proof.
        fn proven(&self, now: Instant) -> AskToken {
            let (agent_id, device_id) = (self.user, self.device);
            let ask = AskChallenge {
                agent_id,
                device_id,
            };
            let open = self
                .sessions
                .challenge(ask, Ipv4Addr::LOCALHOST.into(), now);
            let open = open.expect("a challenge");
            let server = PublicKey::from_bytes(&open.server_public_key.0).expect("a key");
            let proof = self.key.prove(&Login {
                challenge_id: open.challenge_id,
                agent_id,
                device_id,
                nonce: &open.nonce.0,
                server_public_key: &server,
                device_public_key: self.key.public(),
            });
            AskToken {
                challenge_id: open.challenge_id,
                proof: Base64Url(proof.to_vec()),
            }
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
                Ok(Some((Id::ZERO, self.key.public().clone())))
            };
            let granted = self.sessions.token(ask, now, known).await;
            let granted = granted.map_err(|refusal| refusal.code())?;
            Ok(granted.answer.access_token)
        }
    }

    const TICK: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn challenge_is_answered_within_60_s_and_token_is_valid_for_an_hour() {
        let (case, now) = (Case::new(), Instant::now());
        let (late, in_time) = (case.proven(now), case.proven(now));
        let minute = Duration::from_secs(60);
        let refused = case.answered(&late, now + minute, || ()).await;
        assert_eq!(refused, Err(Code::InvalidProof));
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
    async fn login_under_way_of_a_removed_user_gets_no_token() {
        let (case, now) = (Case::new(), Instant::now());
        let (before, during) = (case.proven(now), case.proven(now));
        let token = case.answered(&before, now, || ()).await.expect("a token");
        assert!(case.sessions.of(&token, now).is_some());
        let shut_out = || case.sessions.shut_out(case.user);
        let refused = case.answered(&during, now, shut_out).await;
        assert_eq!(refused, Err(Code::InvalidProof));
        assert!(case.sessions.of(&token, now).is_none());
    }
}
