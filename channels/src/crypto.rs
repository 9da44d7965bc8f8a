//! The cryptography of channels: device keys, channel keys, what they wrap and seal, and the proof of possession.
//!
//! `docs/channels/protocol.md` gives each construction; `tests/vectors.json` its values. Every context is bound by [`fields`], which
//! is injective, so that no two contexts have the same bytes.
//!
//! Invariants: no input or output but random bytes; a secret has no `Debug` and is wiped where its crate does so; what
//! cannot be opened gives one error, whatever is wrong with it.

use crate::wire::{Name, SIGNED_WRAP_ALGORITHM, SealedKey, WRAP_ALGORITHM, Wrap};
use crate::{Base64Url, Id};
use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac as _};
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use p256::elliptic_curve::sec1::ToSec1Point as _;
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, LineEnding};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;
use zeroize::{Zeroize as _, ZeroizeOnDrop, Zeroizing};

const WRAP: &str = "plexus-channels/1/wrap";
const SIGNED_WRAP: &str = "plexus-channels/2/wrap";
const MESSAGE: &str = "plexus-channels/1/message";
const SIGNED_MESSAGE: &str = "plexus-channels/2/message";
const NAME: &str = "plexus-channels/1/name";
const SIGNED_NAME: &str = "plexus-channels/2/name";
const COMMITMENT: &str = "plexus-channels/2/commitment";
const EARLIER_KEY: &str = "plexus-channels/2/earlier-key";
const AUTH: &str = "plexus-channels/1/auth";
const AUTH_PROOF: &str = "plexus-channels/1/auth-proof";
const POINT_BYTES: usize = 65;
const UNCOMPRESSED: u8 = 4;

/// Why something was not opened or not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// Not an uncompressed point on P-256, or not a private key of it.
    #[error("not a key of P-256 in the form that is used here")]
    Key,
    /// A wrap by another algorithm.
    #[error("wrapped by an unknown algorithm")]
    Algorithm,
    /// Key, context or bytes are not those that it was sealed with.
    #[error("cannot be decrypted")]
    Sealed,
}

/// Each field as the length of its bytes (32 bits, big-endian) and its bytes.
#[must_use]
pub fn fields(fields: &[&[u8]]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(fields.iter().map(|field| field.len() + 4).sum());
    for field in fields {
        let length = u32::try_from(field.len()).unwrap_or(u32::MAX);
        joined.extend_from_slice(&length.to_be_bytes());
        joined.extend_from_slice(field);
    }
    joined
}

/// The SHA-256 of a key state: what it says, without its signature.
pub type StateHash = [u8; 32];

/// Fields under the label of their kind; with the hash of the key state right after the version where the version has one.
fn bound(labels: [&str; 2], state: Option<&StateHash>, context: &[&[u8]]) -> Vec<u8> {
    let [unsigned, signed] = labels;
    match state {
        None => fields(&[&[unsigned.as_bytes()], context].concat()),
        Some(hash) => fields(&[&[signed.as_bytes(), hash], context].concat()),
    }
}

/// Random bytes of the system.
///
/// # Panics
/// Where the system has none.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("random bytes of the system");
    bytes
}

/// A device's public key: a point of P-256, as 65 bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    point: p256::PublicKey,
    raw: [u8; POINT_BYTES],
}

impl PublicKey {
    /// Takes the uncompressed form only.
    ///
    /// # Errors
    /// For other forms and lengths, and for what is on no curve.
    pub fn from_bytes(raw: &[u8]) -> Result<Self, CryptoError> {
        let raw: [u8; POINT_BYTES] = raw.try_into().map_err(|_| CryptoError::Key)?;
        if raw[0] != UNCOMPRESSED {
            return Err(CryptoError::Key);
        }
        let point = p256::PublicKey::from_sec1_bytes(&raw).map_err(|_| CryptoError::Key)?;
        Ok(Self { point, raw })
    }

    /// Its 65 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; POINT_BYTES] {
        &self.raw
    }

    /// As it travels.
    #[must_use]
    pub fn to_wire(&self) -> Base64Url {
        Base64Url(self.raw.to_vec())
    }

    /// Whether the device of this key has signed these bytes: ECDSA with SHA-256, 64 bytes.
    #[must_use]
    pub fn has_signed(&self, bytes: &[u8], signature: &[u8]) -> bool {
        let signature = Signature::from_slice(signature);
        signature.is_ok_and(|it| VerifyingKey::from(&self.point).verify(bytes, &it).is_ok())
    }

    /// SHA-256 of its bytes, in lower-case hex.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::digest(self.raw);
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// What two people compare: the first 32 digits of the fingerprint in groups of four.
    #[must_use]
    pub fn shown_fingerprint(&self) -> String {
        let digits = self.fingerprint();
        let groups: Vec<&str> = (0..8).map(|at| &digits[at * 4..at * 4 + 4]).collect();
        groups.join(" ")
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.shown_fingerprint())
    }
}

/// A device's private key. It cannot be printed.
pub struct DeviceKey {
    secret: p256::SecretKey,
    public: PublicKey,
}

impl DeviceKey {
    /// A new one.
    ///
    /// # Panics
    /// Where the system has no random bytes.
    #[must_use]
    pub fn generate() -> Self {
        loop {
            let bytes = Zeroizing::new(random::<32>());
            // One in 2^32 is no scalar.
            if let Ok(key) = Self::from_scalar(&bytes) {
                return key;
            }
        }
    }

    /// The key of 32 bytes.
    ///
    /// # Errors
    /// Where they are zero or not below the order of the curve.
    pub fn from_scalar(scalar: &[u8; 32]) -> Result<Self, CryptoError> {
        let secret = p256::SecretKey::from_slice(scalar).map_err(|_| CryptoError::Key)?;
        Self::of(secret)
    }

    /// The key in PKCS#8 PEM.
    ///
    /// # Errors
    /// Where the text is something else.
    pub fn from_pem(pem: &str) -> Result<Self, CryptoError> {
        let secret = p256::SecretKey::from_pkcs8_pem(pem).map_err(|_| CryptoError::Key)?;
        Self::of(secret)
    }

    fn of(secret: p256::SecretKey) -> Result<Self, CryptoError> {
        let point = secret.public_key().to_sec1_point(false);
        let public = PublicKey::from_bytes(point.as_bytes())?;
        Ok(Self { secret, public })
    }

    /// PKCS#8 PEM, for the private file and for nothing else.
    ///
    /// # Errors
    /// Where the encoder refuses, which it does for no key of P-256.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, CryptoError> {
        let pem = self.secret.to_pkcs8_pem(LineEnding::LF);
        pem.map_err(|_| CryptoError::Key)
    }

    /// Its public half.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The x coordinate of the shared point.
    fn agree(&self, other: &PublicKey) -> Zeroizing<[u8; 32]> {
        let shared =
            p256::ecdh::diffie_hellman(self.secret.to_nonzero_scalar(), other.point.as_affine());
        let mut z = Zeroizing::new([0; 32]);
        z.copy_from_slice(shared.raw_secret_bytes());
        z
    }

    /// Signs bytes: ECDSA with SHA-256 and the nonce of RFC 6979. Only key states are signed, each under its label.
    pub(crate) fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        let signature: Signature = SigningKey::from(&self.secret).sign(bytes);
        signature.to_bytes().into()
    }

    /// The proof of possession that answers a challenge.
    #[must_use]
    pub fn prove(&self, login: &Login<'_>) -> [u8; 32] {
        let key = login.key(&self.agree(login.server_public_key));
        mac(&key, login.challenge_id).finalize().into_bytes().into()
    }

    /// Wraps a channel's key for a device.
    #[must_use]
    pub fn wrap(&self, key: &ChannelKey, to: &WrapContext<'_>) -> Wrap {
        self.wrap_salted(key, to, random())
    }

    /// As [`wrap`](Self::wrap), with a salt that must never be used twice between these keys.
    fn wrap_salted(&self, key: &ChannelKey, to: &WrapContext<'_>, salt: [u8; 32]) -> Wrap {
        let z = self.agree(to.recipient);
        let (cipher, nonce) = to.cipher(&z, &salt, self.public());
        let ciphertext = cipher
            .encrypt(&nonce, key.0.as_slice())
            .expect("32 bytes are within the cipher's bound");
        Wrap {
            device_id: to.recipient_device_id,
            key_version: to.key_version,
            alg: algorithm(to.state).to_owned(),
            sender_device_id: to.sender_device_id,
            salt: Base64Url(salt.to_vec()),
            ciphertext: Base64Url(ciphertext),
        }
    }

    /// Opens a channel's key that `sender` wrapped for this device, under this key state or under none.
    ///
    /// # Errors
    /// For another algorithm, and where anything of it is not as it was wrapped.
    pub fn unwrap(
        &self,
        channel_id: Id,
        wrap: &Wrap,
        sender: &PublicKey,
        state: Option<&StateHash>,
    ) -> Result<ChannelKey, CryptoError> {
        if wrap.alg != algorithm(state) {
            return Err(CryptoError::Algorithm);
        }
        let salt: [u8; 32] = wrap.salt.array().ok_or(CryptoError::Sealed)?;
        let context = WrapContext {
            channel_id,
            key_version: wrap.key_version,
            sender_device_id: wrap.sender_device_id,
            recipient_device_id: wrap.device_id,
            recipient: self.public(),
            state,
        };
        let z = self.agree(sender);
        let (cipher, nonce) = context.cipher(&z, &salt, sender);
        let opened = cipher.decrypt(&nonce, wrap.ciphertext.0.as_slice());
        let opened = Zeroizing::new(opened.map_err(|_| CryptoError::Sealed)?);
        let key: [u8; 32] = opened
            .as_slice()
            .try_into()
            .map_err(|_| CryptoError::Sealed)?;
        Ok(ChannelKey(key))
    }
}

/// Which key a [`Wrap`] holds, who made it, and for whom.
#[derive(Clone, Copy)]
pub struct WrapContext<'a> {
    /// The channel.
    pub channel_id: Id,
    /// The key's version.
    pub key_version: u32,
    /// Who wraps.
    pub sender_device_id: Id,
    /// For whom.
    pub recipient_device_id: Id,
    /// That device's key.
    pub recipient: &'a PublicKey,
    /// The key state of the version; none for a version without one.
    pub state: Option<&'a StateHash>,
}

const fn algorithm(state: Option<&StateHash>) -> &'static str {
    match state {
        None => WRAP_ALGORITHM,
        Some(_) => SIGNED_WRAP_ALGORITHM,
    }
}

impl WrapContext<'_> {
    fn cipher(&self, z: &[u8; 32], salt: &[u8; 32], sender: &PublicKey) -> (Aes256Gcm, GcmNonce) {
        let mut okm = Zeroizing::new([0; 44]);
        let labels = [WRAP, SIGNED_WRAP];
        let info = bound(
            labels,
            self.state,
            &[
                self.channel_id.to_string().as_bytes(),
                self.key_version.to_string().as_bytes(),
                self.sender_device_id.to_string().as_bytes(),
                sender.as_bytes(),
                self.recipient_device_id.to_string().as_bytes(),
                self.recipient.as_bytes(),
            ],
        );
        Hkdf::<Sha256>::new(Some(salt), z)
            .expand(&info, okm.as_mut_slice())
            .expect("44 bytes are within the bound of HKDF");
        let (key, nonce) = okm.split_at(32);
        let cipher = Aes256Gcm::new_from_slice(key).expect("32 bytes");
        (cipher, GcmNonce::try_from(nonce).expect("12 bytes"))
    }
}

type GcmNonce = Nonce<aes_gcm::aead::consts::U12>;

/// A login: what both sides know.
#[derive(Clone, Copy)]
pub struct Login<'a> {
    /// The challenge.
    pub challenge_id: Id,
    /// Who logs in.
    pub agent_id: Id,
    /// With which device.
    pub device_id: Id,
    /// The relay's 32 random bytes.
    pub nonce: &'a [u8],
    /// The relay's key of this challenge.
    pub server_public_key: &'a PublicKey,
    /// The device's key.
    pub device_public_key: &'a PublicKey,
}

impl Login<'_> {
    fn key(&self, z: &[u8; 32]) -> Zeroizing<[u8; 32]> {
        let info = fields(&[
            AUTH.as_bytes(),
            self.challenge_id.to_string().as_bytes(),
            self.agent_id.to_string().as_bytes(),
            self.device_id.to_string().as_bytes(),
            self.server_public_key.as_bytes(),
            self.device_public_key.as_bytes(),
        ]);
        let mut key = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(Some(self.nonce), z)
            .expand(&info, key.as_mut_slice())
            .expect("32 bytes are within the bound of HKDF");
        key
    }

    /// Whether the proof is that of the device, as the relay judges with its key of the challenge. Compares in constant time.
    #[must_use]
    pub fn accepts(&self, server: &DeviceKey, proof: &[u8]) -> bool {
        let key = self.key(&server.agree(self.device_public_key));
        mac(&key, self.challenge_id).verify_slice(proof).is_ok()
    }
}

fn mac(key: &[u8; 32], challenge_id: Id) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length of key");
    mac.update(&fields(&[
        AUTH_PROOF.as_bytes(),
        challenge_id.to_string().as_bytes(),
    ]));
    mac
}

/// A channel's key. It cannot be printed.
#[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]
pub struct ChannelKey([u8; 32]);

/// What a message is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageContext {
    /// The channel.
    pub channel_id: Id,
    /// The key's version.
    pub key_version: u32,
    /// The user who sends.
    pub sender_id: Id,
    /// With which device.
    pub sender_device_id: Id,
    /// The sender's own id of the message.
    pub client_message_id: Id,
    /// The device's counter in the channel.
    pub seq: u64,
    /// The key state of the version; none for a version without one.
    pub state: Option<StateHash>,
}

impl MessageContext {
    fn associated_data(&self) -> Vec<u8> {
        bound(
            [MESSAGE, SIGNED_MESSAGE],
            self.state.as_ref(),
            &[
                self.channel_id.to_string().as_bytes(),
                self.key_version.to_string().as_bytes(),
                self.sender_id.to_string().as_bytes(),
                self.sender_device_id.to_string().as_bytes(),
                self.client_message_id.to_string().as_bytes(),
                self.seq.to_string().as_bytes(),
            ],
        )
    }
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A text.
    Text(String),
    /// A type that this build does not know.
    Unsupported,
}

#[derive(Serialize, Deserialize)]
struct Plaintext {
    r#type: String,
    #[serde(default)]
    text: String,
}

impl ChannelKey {
    /// A new one.
    ///
    /// # Panics
    /// Where the system has no random bytes.
    #[must_use]
    pub fn generate() -> Self {
        Self(random())
    }

    /// The key of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn exposed(&self) -> [u8; 32] {
        self.0
    }

    /// Seals a text: its nonce and its ciphertext.
    #[must_use]
    pub fn seal_text(&self, context: &MessageContext, text: &str) -> (Base64Url, Base64Url) {
        let plaintext = Plaintext {
            r#type: "text".to_owned(),
            text: text.to_owned(),
        };
        let mut json = serde_json::to_vec(&plaintext).expect("two strings");
        let sealed = self.seal(&context.associated_data(), &json, random());
        json.zeroize();
        sealed
    }

    /// Opens a message.
    ///
    /// # Errors
    /// Where key, context or bytes are not those that it was sealed with, or it holds no JSON object with a type.
    pub fn open_message(
        &self,
        context: &MessageContext,
        nonce: &Base64Url,
        ciphertext: &Base64Url,
    ) -> Result<Content, CryptoError> {
        let json = self.open(&context.associated_data(), nonce, ciphertext)?;
        let plaintext: Plaintext =
            serde_json::from_slice(&json).map_err(|_| CryptoError::Sealed)?;
        Ok(if plaintext.r#type == "text" {
            Content::Text(plaintext.text)
        } else {
            Content::Unsupported
        })
    }

    /// Seals a channel's name, for a version with this key state or without one.
    #[must_use]
    pub fn seal_name(
        &self,
        channel_id: Id,
        (version, state): (u32, Option<&StateHash>),
        device_id: Id,
        name: &str,
    ) -> Name {
        let data = name_data(channel_id, (version, state), device_id);
        let (nonce, ciphertext) = self.seal(&data, name.as_bytes(), random());
        Name {
            key_version: version,
            sender_device_id: device_id,
            nonce,
            ciphertext,
        }
    }

    /// Opens a channel's name.
    ///
    /// # Errors
    /// As [`open_message`](Self::open_message).
    pub fn open_name(
        &self,
        channel_id: Id,
        name: &Name,
        state: Option<&StateHash>,
    ) -> Result<String, CryptoError> {
        let data = name_data(channel_id, (name.key_version, state), name.sender_device_id);
        let plain = self.open(&data, &name.nonce, &name.ciphertext)?;
        String::from_utf8(plain.to_vec()).map_err(|_| CryptoError::Sealed)
    }

    /// What a key state says of the key: the same for no other key, and nothing that tells this one.
    #[must_use]
    pub fn commitment(&self, channel_id: Id, version: u32) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("any length of key");
        mac.update(&fields(&[
            COMMITMENT.as_bytes(),
            channel_id.to_string().as_bytes(),
            version.to_string().as_bytes(),
        ]));
        mac.finalize().into_bytes().into()
    }

    /// Seals the key of an earlier version under this one, of `version`.
    #[must_use]
    pub fn seal_earlier(&self, channel_id: Id, version: u32, earlier: (u32, &Self)) -> SealedKey {
        let (key_version, key) = earlier;
        let data = earlier_data(channel_id, version, key_version);
        let (nonce, ciphertext) = self.seal(&data, &key.0, random());
        SealedKey {
            key_version,
            nonce,
            ciphertext,
        }
    }

    /// Opens the key of an earlier version.
    ///
    /// # Errors
    /// As [`open_message`](Self::open_message).
    pub fn open_earlier(
        &self,
        channel_id: Id,
        version: u32,
        sealed: &SealedKey,
    ) -> Result<Self, CryptoError> {
        let data = earlier_data(channel_id, version, sealed.key_version);
        let opened = self.open(&data, &sealed.nonce, &sealed.ciphertext)?;
        let key = opened.as_slice().try_into();
        key.map(Self).map_err(|_| CryptoError::Sealed)
    }

    fn seal(&self, data: &[u8], plaintext: &[u8], nonce: [u8; 12]) -> (Base64Url, Base64Url) {
        let payload = Payload {
            msg: plaintext,
            aad: data,
        };
        let ciphertext = self
            .cipher()
            .encrypt(&GcmNonce::from(nonce), payload)
            .expect("a message is within the cipher's bound");
        (Base64Url(nonce.to_vec()), Base64Url(ciphertext))
    }

    fn open(
        &self,
        data: &[u8],
        nonce: &Base64Url,
        ciphertext: &Base64Url,
    ) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let nonce: [u8; 12] = nonce.array().ok_or(CryptoError::Sealed)?;
        let payload = Payload {
            msg: &ciphertext.0,
            aad: data,
        };
        let opened = self.cipher().decrypt(&GcmNonce::from(nonce), payload);
        opened.map(Zeroizing::new).map_err(|_| CryptoError::Sealed)
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new_from_slice(&self.0).expect("32 bytes")
    }
}

fn name_data(
    channel_id: Id,
    (version, state): (u32, Option<&StateHash>),
    device_id: Id,
) -> Vec<u8> {
    bound(
        [NAME, SIGNED_NAME],
        state,
        &[
            channel_id.to_string().as_bytes(),
            version.to_string().as_bytes(),
            device_id.to_string().as_bytes(),
        ],
    )
}

fn earlier_data(channel_id: Id, version: u32, earlier: u32) -> Vec<u8> {
    fields(&[
        EARLIER_KEY.as_bytes(),
        channel_id.to_string().as_bytes(),
        version.to_string().as_bytes(),
        earlier.to_string().as_bytes(),
    ])
}

#[cfg(test)]
mod tests;
