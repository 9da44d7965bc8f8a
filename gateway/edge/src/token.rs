//! Scoped tokens: compact JWTs under a key that lives as long as the process (docs/protocol/README.md#credentials).
//!
//! Invariant: a token begins with the one header that this gateway writes, and HS256 is the only algorithm that has code
//! here: any other header is refused before anything of it is read. What a token opens is decided by the machine from its id: the claims are a copy for the client.
//! Invariant: what is remembered of a token is that its signature holds, which never changes under one key; whether it
//! has ended or was revoked is asked for each call, elsewhere.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use plexus_protocol::{AgentId, SessionId, Timestamp, TokenId, body::Scope};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// Tokens whose signature need not be computed again. An agent has a few; beyond this all are forgotten and checked anew.
const REMEMBERED: usize = 1_024;

/// The header of every token, in base64url: `{"alg":"HS256","typ":"JWT"}`.
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

/// The claims, in the wire's order.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Claims {
    pub(crate) sub: AgentId,
    pub(crate) iss: String,
    pub(crate) session_id: SessionId,
    pub(crate) jti: TokenId,
    pub(crate) scopes: Vec<Scope>,
    pub(crate) iat: u64,
    pub(crate) exp: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gexp: Option<u64>,
}

/// Only what the hot path looks at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bearer {
    sub: AgentId,
    iss: String,
    session_id: SessionId,
    jti: TokenId,
    exp: u64,
}

/// A token whose signature holds. Whether it is still good is the machine's to say.
#[derive(Clone, Debug)]
pub(crate) struct Verified {
    pub(crate) agent: AgentId,
    pub(crate) session: SessionId,
    pub(crate) jti: TokenId,
    /// Whole seconds since the epoch.
    pub(crate) exp: u64,
}

/// Signs and verifies. Made at each launch, never written.
pub struct TokenKey {
    mac: Hmac<Sha256>,
    issuer: String,
    /// When the key was made, in whole seconds since the epoch.
    since: u64,
    /// By SHA-256 of the whole token: only tokens that held are in it, so nobody can fill it with others.
    held: Mutex<HashMap<[u8; 32], Verified>>,
}

impl TokenKey {
    /// A fresh key.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn fresh(issuer: String, now: Timestamp) -> anyhow::Result<Self> {
        let mut secret = zeroize::Zeroizing::new([0u8; 32]);
        getrandom::fill(&mut secret[..])
            .map_err(|e| anyhow::anyhow!("the system gave no randomness: {e}"))?;
        let mac = Hmac::new_from_slice(&secret[..]);
        Ok(Self {
            mac: mac.map_err(|e| anyhow::anyhow!("{e}"))?,
            issuer,
            since: now.seconds(),
            held: Mutex::default(),
        })
    }

    /// Whether a token that does not hold says of itself that this gateway made it before it had this key. Nobody can
    /// tell any more whether that is so, and it opens nothing either way: this only chooses the words, and that a crowd
    /// of clients after a restart is not taken for somebody who guesses.
    pub(crate) fn is_of_an_earlier_launch(&self, token: &str) -> bool {
        #[derive(Deserialize)]
        struct UnverifiedClaims {
            iss: String,
            iat: u64,
            #[serde(rename = "jti")]
            _jti: TokenId,
        }
        let mut parts = token.split('.');
        let (Some(HEADER), Some(claims), Some(_), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return false;
        };
        let said = URL_SAFE_NO_PAD.decode(claims).ok();
        let said = said.and_then(|said| serde_json::from_slice::<UnverifiedClaims>(&said).ok());
        said.is_some_and(|said| said.iss == self.issuer && said.iat <= self.since)
    }

    pub(crate) fn sign(
        &self,
        agent: &AgentId,
        session: &SessionId,
        jti: &TokenId,
        scopes: &[Scope],
        (now, expires_at, grant_expires_at): (Timestamp, Timestamp, Option<Timestamp>),
    ) -> anyhow::Result<String> {
        let claims = Claims {
            sub: agent.clone(),
            iss: self.issuer.clone(),
            session_id: session.clone(),
            jti: jti.clone(),
            scopes: scopes.to_vec(),
            iat: now.seconds(),
            exp: expires_at.seconds(),
            gexp: grant_expires_at.map(Timestamp::seconds),
        };
        let claims = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims)?);
        let message = format!("{HEADER}.{claims}");
        let signature = self.mac.clone().chain_update(&message).finalize();
        let signature = URL_SAFE_NO_PAD.encode(signature.into_bytes());
        Ok(format!("{message}.{signature}"))
    }

    /// Checks form, algorithm, signature and issuer, or knows this very token to hold.
    pub(crate) fn verify(&self, token: &str) -> Option<Verified> {
        let digest = Sha256::digest(token).into();
        let held = || self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(verified) = held().get(&digest) {
            return Some(verified.clone());
        }
        let verified = self.verify_anew(token)?;
        let mut held = held();
        if held.len() >= REMEMBERED {
            held.clear();
        }
        held.insert(digest, verified.clone());
        Some(verified)
    }

    fn verify_anew(&self, token: &str) -> Option<Verified> {
        let (message, signature) = token.rsplit_once('.')?;
        let claims = message.strip_prefix(HEADER)?.strip_prefix('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        // Constant time. When it has ended is the machine's to say: it alone knows the clock that cannot be set back.
        let mac = self.mac.clone().chain_update(message);
        mac.verify_slice(&signature).ok()?;
        let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
        let Bearer {
            sub,
            iss,
            session_id,
            jti,
            exp,
        } = serde_json::from_slice(&claims).ok()?;
        (iss == self.issuer).then_some(Verified {
            agent: sub,
            session: session_id,
            jti,
            exp,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> TokenKey {
        TokenKey::fresh("i".into(), Timestamp(1_000_000)).unwrap()
    }

    fn signed(key: &TokenKey) -> String {
        let agent = AgentId::parse("a").unwrap();
        let times = (Timestamp(1_000_000), Timestamp(2_000_000), None);
        key.sign(&agent, &SessionId::fresh(), &TokenId::fresh(), &[], times)
            .unwrap()
    }

    #[test]
    fn only_our_own_signature_counts() {
        let (ours, theirs) = (key(), key());
        let token = signed(&ours);
        let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap());
        assert_eq!(header.unwrap(), br#"{"alg":"HS256","typ":"JWT"}"#);
        assert_eq!(ours.verify(&token).unwrap().exp, 2000);
        let again = ours.verify(&token).unwrap();
        assert_eq!((again.exp, again.agent.as_str()), (2000, "a"));
        assert_eq!(ours.held.lock().unwrap().len(), 1);
        assert!(theirs.verify(&token).is_none());
        let other = TokenKey {
            issuer: "other".into(),
            held: Mutex::default(),
            ..ours
        };
        assert!(other.verify(&token).is_none());
    }

    #[test]
    fn what_does_not_hold_is_not_remembered_and_what_does_is_bounded() {
        let key = key();
        let token = signed(&key);
        assert!(key.verify(&token).is_some());
        let last = if token.ends_with('A') { "B" } else { "A" };
        let forged = format!("{}{last}", &token[..token.len() - 1]);
        assert!(key.verify(&forged).is_none());
        assert!(key.verify(&format!("{token}.")).is_none());
        assert_eq!(key.held.lock().unwrap().len(), 1);
        for _ in 0..REMEMBERED {
            assert!(key.verify(&signed(&key)).is_some());
        }
        assert!(key.held.lock().unwrap().len() <= REMEMBERED);
        assert!(key.verify(&token).is_some(), "forgotten, and checked anew");
    }

    #[test]
    fn what_says_that_it_is_older_than_the_key_is_told_apart_and_opens_nothing() {
        let (before, now) = (key(), key());
        let old = signed(&before);
        assert!(now.is_of_an_earlier_launch(&old) && now.verify(&old).is_none());
        let later = TokenKey {
            since: 999,
            ..TokenKey::fresh("i".into(), Timestamp(0)).unwrap()
        };
        assert!(!later.is_of_an_earlier_launch(&old), "made after the key");
        let elsewhere = TokenKey::fresh("other".into(), Timestamp(9_000_000)).unwrap();
        assert!(!elsewhere.is_of_an_earlier_launch(&old));
        for garbage in ["", "a.b.c", "plx_agent_x", &format!("{old}.x")] {
            assert!(!now.is_of_an_earlier_launch(garbage), "{garbage}");
        }
    }

    #[test]
    fn other_algorithms_have_no_code() {
        let key = key();
        let token = signed(&key);
        let (_, rest) = token.split_once('.').unwrap();
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"HS512","typ":"JWT"}"#,
            r#"{"alg":"RS256"}"#,
        ] {
            let forged = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header));
            assert!(key.verify(&forged).is_none(), "{header}");
        }
        assert!(key.verify(&format!("{token}x")).is_none());
        assert!(key.verify("").is_none() && key.verify("a.b.c").is_none());
    }
}
