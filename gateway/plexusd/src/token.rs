//! Scoped tokens: compact JWTs under a key that lives as long as the process (wire §5.14, DESIGN 5).
//!
//! Invariant: HS256 is the only algorithm that has code here; every other one is refused by construction. What a token
//! opens is decided by the machine from its id: the claims are a copy for the client.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::{
    Algorithm, EncodingKey,
    crypto::{CryptoProvider, JwtSigner, KeyUtils},
    errors::{Error, ErrorKind},
    signature::{self, Signer},
};
use plexus_protocol::{AgentId, SessionId, Timestamp, TokenId, body::Scope};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// The header of every token, in base64url: `{"alg":"HS256","typ":"JWT"}`, in the wire's order (the library's differs).
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
pub(crate) struct TokenKey {
    encoding: EncodingKey,
    /// Keyed once: every call verifies.
    mac: Hmac<Sha256>,
    issuer: String,
}

impl TokenKey {
    /// A fresh key.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub(crate) fn fresh(issuer: String) -> anyhow::Result<Self> {
        // A second install in one process (tests) finds the same provider in place.
        let _ = HS256_ONLY.install_default();
        let mut secret = zeroize::Zeroizing::new([0u8; 32]);
        getrandom::fill(&mut secret[..])
            .map_err(|e| anyhow::anyhow!("the system gave no randomness: {e}"))?;
        Ok(Self {
            encoding: EncodingKey::from_secret(&secret[..]),
            mac: mac(&secret[..])?,
            issuer,
        })
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
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &self.encoding, Algorithm::HS256)?;
        Ok(format!("{message}.{signature}"))
    }

    /// Checks form, algorithm, signature and issuer. Time is the machine's: it alone knows the clock that cannot be set
    /// back.
    ///
    /// Read here and not by the library, which parses a token three times: nothing but what [`TokenKey::sign`] writes has
    /// to be understood.
    pub(crate) fn verify(&self, token: &str) -> Option<Verified> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        if header != HEADER {
            return None;
        }
        let mut mac = self.mac.clone();
        mac.update(signed.as_bytes());
        // Constant time.
        mac.verify_slice(&URL_SAFE_NO_PAD.decode(signature).ok()?)
            .ok()?;
        let Bearer {
            sub,
            iss,
            session_id,
            jti,
            exp,
        } = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        (iss == self.issuer).then_some(Verified {
            agent: sub,
            session: session_id,
            jti,
            exp,
        })
    }
}

static HS256_ONLY: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| {
        only_hs256(algorithm)?;
        Ok(Box::new(Hs256(mac(key.as_bytes())?)))
    },
    // Tokens are read above.
    verifier_factory: |_, _| Err(ErrorKind::InvalidAlgorithm.into()),
    key_utils: KeyUtils::new_unimplemented(),
};

fn only_hs256(algorithm: &Algorithm) -> Result<(), Error> {
    if *algorithm == Algorithm::HS256 {
        Ok(())
    } else {
        Err(ErrorKind::InvalidAlgorithm.into())
    }
}

fn mac(key: &[u8]) -> Result<Hmac<Sha256>, Error> {
    Hmac::new_from_slice(key).map_err(|_| ErrorKind::InvalidKeyFormat.into())
}

struct Hs256(Hmac<Sha256>);

impl Signer<Vec<u8>> for Hs256 {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        let mut mac = self.0.clone();
        mac.update(message);
        Ok(mac.finalize().into_bytes().to_vec())
    }
}

impl JwtSigner for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(key: &TokenKey) -> String {
        let agent = AgentId::parse("a").unwrap();
        let times = (Timestamp(1_000_000), Timestamp(2_000_000), None);
        key.sign(&agent, &SessionId::fresh(), &TokenId::fresh(), &[], times)
            .unwrap()
    }

    #[test]
    fn only_our_own_signature_counts() {
        let (ours, theirs) = (
            TokenKey::fresh("i".into()).unwrap(),
            TokenKey::fresh("i".into()).unwrap(),
        );
        let token = signed(&ours);
        let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap());
        assert_eq!(header.unwrap(), br#"{"alg":"HS256","typ":"JWT"}"#);
        assert_eq!(ours.verify(&token).unwrap().exp, 2000);
        assert!(theirs.verify(&token).is_none());
        assert!(
            TokenKey {
                issuer: "other".into(),
                ..ours
            }
            .verify(&token)
            .is_none()
        );
    }

    #[test]
    fn other_algorithms_have_no_code() {
        let key = TokenKey::fresh("i".into()).unwrap();
        let token = signed(&key);
        let (own, rest) = token.split_once('.').unwrap();
        let (claims, _) = rest.split_once('.').unwrap();
        let under = |header: &str| {
            let mut mac = key.mac.clone();
            mac.update(format!("{header}.{claims}").as_bytes());
            let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
            format!("{header}.{claims}.{signature}")
        };
        assert_eq!(under(own), token, "what is forged below is well signed");
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"HS512","typ":"JWT"}"#,
            r#"{"alg":"RS256"}"#,
        ] {
            let header = URL_SAFE_NO_PAD.encode(header);
            assert!(key.verify(&under(&header)).is_none(), "{header}");
            assert!(key.verify(&format!("{header}.{rest}")).is_none());
        }
        assert!(key.verify(&format!("{token}x")).is_none());
        assert!(key.verify("").is_none() && key.verify("a.b.c").is_none());
    }
}
