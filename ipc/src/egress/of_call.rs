//! What opens an egress for one call: made by a worker from what opens it for the worker, for a program that the call starts.
//!
//! ```text
//! plx_egress_ ‖ second of its expiry, 16 digits ‖ the call's event, 32 digits ‖ HMAC-SHA-256 of what stands before, 64 digits
//! ```
//! The expiry is a second of [`awake`], the clock of a call's time: a machine that sleeps takes none of it away.
//!
//! Invariants: only who holds the worker's credential can make one, and nobody learns that credential from it; it opens until
//! it expires, and what it opened counts for its call.
//!
//! Must not know: what a call is.

use crate::message::{EGRESS_CREDENTIAL, Secret};
use hmac::{Hmac, KeyInit as _, Mac as _};
use nix::time::{ClockId, clock_gettime};
use plexus_protocol::AuditId;
use sha2::Sha256;
use std::{fmt::Write as _, time::Duration};

/// Digits of the expiry and of the event.
const EXPIRY: usize = 16;
const EVENT: usize = 32;

/// The clock that stops while the machine sleeps, as that of [`std::time::Instant`].
#[cfg(target_os = "linux")]
const AWAKE: ClockId = ClockId::CLOCK_MONOTONIC;
/// On macOS the monotonic clock counts sleep; this is `CLOCK_UPTIME_RAW` (`clock_gettime(3)`).
#[cfg(not(target_os = "linux"))]
const AWAKE: ClockId = ClockId::from_raw(8);

/// How long this machine has been awake since it was started: the same for all of its processes. `None` where it cannot say.
#[must_use]
pub fn awake() -> Option<Duration> {
    clock_gettime(AWAKE).ok().map(Duration::from)
}

/// For `call`, until [`awake`] shows so many seconds. `own` is the worker's credential.
#[must_use]
pub fn credential_of_call(own: &Secret, call: &AuditId, until: u64) -> Secret {
    let event = call.as_str().trim_start_matches("evt_").replace('-', "");
    let mut text = format!("{EGRESS_CREDENTIAL}{until:016x}{event}");
    let mac = Hmac::<Sha256>::new_from_slice(own.expose().as_bytes());
    // Any length of key will do.
    let mac = mac.map(|mac| mac.chain_update(&text).finalize().into_bytes());
    for byte in mac.iter().flatten() {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Secret::new(text)
}

/// The call that such a credential names, and when it expires. Nobody has proven anything by it yet.
#[must_use]
pub fn call_named(given: &[u8]) -> Option<(AuditId, u64)> {
    let rest = given.strip_prefix(EGRESS_CREDENTIAL.as_bytes())?;
    let (until, rest) = rest.split_at_checked(EXPIRY)?;
    let (event, _) = rest.split_at_checked(EVENT)?;
    let [until, event] = [until, event].map(std::str::from_utf8);
    let (until, event) = (u64::from_str_radix(until.ok()?, 16).ok()?, event.ok()?);
    let mut id = "evt_".to_owned();
    for (at, digit) in event.chars().enumerate() {
        if matches!(at, 8 | 12 | 16 | 20) {
            id.push('-');
        }
        id.push(digit);
    }
    Some((AuditId::parse(&id).ok()?, until))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credential_names_its_call_and_depends_on_all_of_it() {
        let own = |text: &str| Secret::new(text.to_owned());
        let call = |digit| format!("evt_{digit}1234567-89ab-8def-8123-456789abcdef");
        let call = |digit| AuditId::parse(&call(digit)).unwrap();
        let made = credential_of_call(&own("a"), &call('0'), 77);
        assert_eq!(made.expose().len(), EGRESS_CREDENTIAL.len() + 112);
        assert_eq!(call_named(made.expose().as_bytes()), Some((call('0'), 77)));
        for other in [
            credential_of_call(&own("b"), &call('0'), 77),
            credential_of_call(&own("a"), &call('1'), 77),
            credential_of_call(&own("a"), &call('0'), 78),
        ] {
            let mac = |text: &Secret| text.expose()[59..].to_owned();
            assert_ne!(mac(&other), mac(&made));
        }
        for none in ["", "plx_egress_", "plx_egress_00", &"z".repeat(123)] {
            assert_eq!(call_named(none.as_bytes()), None);
        }
    }
}
