//! The bearer secrets of the wire (docs/protocol/README.md#credentials) and of the console, as types that cannot be
//! printed, cloned or serialised by accident.
//!
//! Invariants: a value has its documented form; `Debug` shows only the kind; memory is wiped on drop; the text leaves
//! only through `expose`, which is easy to search for.

use crate::Digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::ZeroizeOnDrop;

/// No randomness could be had from the system: nothing that depends on a fresh secret may go on.
#[derive(Debug, thiserror::Error)]
#[error("the system gave no randomness: {0}")]
pub struct NoRandomness(getrandom::Error);

macro_rules! secret {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $length:literal, $random:literal, $encode:expr, $char:expr) => {
        $(#[$doc])*
        #[derive(ZeroizeOnDrop)]
        pub struct $name(String);

        impl $name {
            /// What every value begins with.
            pub const PREFIX: &'static str = $prefix;

            /// Makes a new one from the system's randomness.
            ///
            /// # Errors
            /// [`NoRandomness`]; nothing weaker is used instead.
            pub fn fresh() -> Result<Self, NoRandomness> {
                let mut bytes = zeroize::Zeroizing::new([0u8; $random]);
                getrandom::fill(&mut bytes[..]).map_err(NoRandomness)?;
                let encode: fn(&[u8]) -> String = $encode;
                Ok(Self(format!(concat!($prefix, "{}"), encode(&bytes[..]))))
            }
            /// Reads the exact wire form; nothing is trimmed.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                let valid: fn(u8) -> bool = $char;
                let rest = text.strip_prefix($prefix)?;
                (text.len() == $length && rest.bytes().all(valid)).then(|| Self(text.to_owned()))
            }
            /// The secret itself: only for the body that hands it over, or the file that keeps it.
            #[must_use]
            pub fn expose(&self) -> &str {
                &self.0
            }
            /// What is kept of it at rest: the SHA-256 of the whole text.
            #[must_use]
            pub fn digest(&self) -> Digest {
                Digest::of(self.0.as_bytes())
            }
            /// Compares in constant time.
            #[must_use]
            pub fn matches(&self, other: &Self) -> bool {
                self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(redacted)"))
            }
        }
    };
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
fn is_hex(b: u8) -> bool {
    b.is_ascii_digit() || (b'a'..=b'f').contains(&b)
}
fn is_base64url(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'-' || b == b'_'
}

secret!(
    /// The owner's credential: `plx_live_` and 48 lower-case hex digits (192 bits).
    ConnectionKey, "plx_live_", 57, 24, hex, is_hex
);
secret!(
    /// A one-time enrollment code: `plx_enroll_` and 43 base64url characters (256 bits).
    EnrollmentCode, "plx_enroll_", 54, 32, base64url, is_base64url
);
secret!(
    /// An agent's own credential (PAT): `plx_agent_` and 43 base64url characters (256 bits).
    Pat, "plx_agent_", 53, 32, base64url, is_base64url
);
secret!(
    /// A link into the console, good once and for minutes: `plx_link_` and 43 base64url characters (256 bits).
    ConsoleLink, "plx_link_", 52, 32, base64url, is_base64url
);
secret!(
    /// The console's cookie: `plx_console_` and 43 base64url characters (256 bits).
    ConsoleCookie, "plx_console_", 55, 32, base64url, is_base64url
);
secret!(
    /// What one tab of the console holds beside the cookie: `plx_tab_` and 43 base64url characters (256 bits).
    TabSecret, "plx_tab_", 51, 32, base64url, is_base64url
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_and_silence() {
        let key = ConnectionKey::fresh().unwrap();
        assert_eq!(key.expose().len(), 57);
        assert!(ConnectionKey::parse(key.expose()).unwrap().matches(&key));
        assert!(!format!("{key:?}").contains(&key.expose()[9..]));
        let pat = Pat::fresh().unwrap();
        assert_eq!(pat.expose().len(), 53);
        assert!(Pat::parse(&format!(" {}", pat.expose())).is_none());
        assert!(Pat::parse(key.expose()).is_none());
        assert_eq!(EnrollmentCode::fresh().unwrap().expose().len(), 54);
        // What is made can be read again.
        let (link, cookie, tab) = (
            ConsoleLink::fresh().unwrap(),
            ConsoleCookie::fresh().unwrap(),
            TabSecret::fresh().unwrap(),
        );
        assert!(ConsoleLink::parse(link.expose()).is_some());
        assert!(ConsoleCookie::parse(cookie.expose()).is_some());
        assert!(
            TabSecret::parse(tab.expose()).is_some() && TabSecret::parse(link.expose()).is_none()
        );
    }
}
