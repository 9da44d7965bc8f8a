//! The signature of a release, in the format of minisign.
//!
//! Invariant: the secret key is read, used and dropped here; what leaves is the signature and the public key.

use anyhow::{Context, Result};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use minisign::{PublicKey, SecretKey, SecretKeyBox};
use std::path::Path;

/// The variable with the password of the key, where it has one.
const PASSWORD: &str = "PLEXUS_RELEASE_PASSWORD";

/// Who signs.
pub(super) struct Signer {
    secret: SecretKey,
    public: PublicKey,
}

impl Signer {
    /// The key in a file that `minisign -G` wrote.
    pub(super) fn read(file: &Path) -> Result<Self> {
        let of = || format!("reading the key in {}", file.display());
        let text = std::fs::read_to_string(file).with_context(of)?;
        let encoded = text.lines().nth(1).unwrap_or_default();
        let bytes = STANDARD.decode(encoded).with_context(of)?;
        // `minisign -G -W` leaves the key's own checksum empty, which the crate takes for damage. A damaged one is found
        // when its first signature is checked.
        let mut secret = SecretKey::from_bytes(&bytes).with_context(of)?;
        if secret.is_encrypted() {
            let password = std::env::var(PASSWORD);
            let password = password.with_context(|| format!("its password goes into {PASSWORD}"));
            let key = SecretKeyBox::from_string(&text).with_context(of)?;
            secret = key
                .into_secret_key(Some(password.with_context(of)?))
                .with_context(of)?;
        }
        let public = PublicKey::from_secret_key(&secret).with_context(of)?;
        Ok(Self { secret, public })
    }

    /// The public key, as minisign takes it on its command line.
    pub(super) fn public_key(&self) -> String {
        self.public.to_base64()
    }

    /// The public key as a file.
    pub(super) fn public_key_file(&self) -> Result<Vec<u8>> {
        let file = self.public.to_box().context("writing the public key")?;
        Ok(file.into_string().into_bytes())
    }

    /// The signature of `bytes`, which are offered under `name`.
    pub(super) fn sign(&self, name: &str, bytes: &[u8]) -> Result<Vec<u8>> {
        let comment = format!("file:{name}");
        let made = minisign::sign(
            Some(&self.public),
            &self.secret,
            bytes,
            Some(&comment),
            None,
        );
        Ok(made.context("signing")?.into_string().into_bytes())
    }
}
