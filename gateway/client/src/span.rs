//! Lengths of time and moments, as a person reads them.

use plexus_protocol::Timestamp;
pub use plexus_protocol::time::{ago, end, length};
use std::{
    ops::RangeInclusive,
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

/// How far the gateway's time is ahead of this machine's clock, by its last answer; in milliseconds.
static AHEAD: AtomicU64 = AtomicU64::new(0);

/// This moment as the gateway counts, by its last answer; before one by the machine's clock. For display only: every
/// decision about time is the gateway's.
#[must_use]
pub fn now() -> Timestamp {
    machine_now().plus(AHEAD.load(Ordering::Relaxed))
}

/// Learns what [`TIME_HEADER`](plexus_protocol::time::TIME_HEADER) of an answer says; without one the clocks agree.
pub(crate) fn learn(time: Option<&str>) {
    let time = time.and_then(|text| serde_json::from_value::<Timestamp>(text.into()).ok());
    let ahead = time.map_or(0, |at| at.since(machine_now()));
    AHEAD.store(ahead, Ordering::Relaxed);
}

/// This moment by the machine's clock.
#[must_use]
pub fn machine_now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Reads a length: a whole number and `s`, `m`, `h` or `d`; at least one second. In milliseconds.
///
/// # Errors
/// One sentence that says the form.
pub fn parse(text: &str) -> Result<u64, String> {
    let form = || format!("{text:?} is not a length of time: write 90s, 15m, 2h or 1d");
    let (number, unit) = text
        .split_at_checked(text.len().saturating_sub(1))
        .ok_or_else(form)?;
    let unit_ms = match unit {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(form()),
    };
    let number = number.parse::<u64>().map_err(|_| form())?;
    number
        .checked_mul(unit_ms)
        .filter(|ms| *ms > 0)
        .ok_or_else(form)
}

/// Reads a number of seconds, or a length as [`parse`] does, within `bounds`. In seconds.
///
/// # Errors
/// One sentence that says the form, or the bounds.
pub fn seconds(text: &str, bounds: RangeInclusive<u64>) -> Result<u64, String> {
    let read = match text.parse() {
        Ok(seconds) => seconds,
        Err(_) => parse(text)? / 1_000,
    };
    if bounds.contains(&read) {
        return Ok(read);
    }
    let (least, most) = bounds.into_inner();
    Err(format!("write from {least} to {most} seconds"))
}

/// Reads a number of minutes, or a length as [`parse`] does; at least one minute. In minutes.
///
/// # Errors
/// One sentence that says the form, or the least.
pub fn minutes(text: &str) -> Result<u32, String> {
    let read = match text.parse() {
        Ok(minutes) => Some(minutes),
        Err(_) => u32::try_from(parse(text)? / 60_000).ok(),
    };
    let read = read.filter(|minutes| *minutes > 0);
    read.ok_or_else(|| "write at least 1 minute".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_protocol::capability::FOREVER_MS;

    #[test]
    fn lengths() {
        for (ms, text) in [
            (0, "< 1 s"),
            (999, "< 1 s"),
            (1_000, "1 s"),
            (58_999, "58 s"),
            (899_100, "15 min"),
            (898_999, "14 min"),
            (7_198_999, "119 min"),
            (7_200_000, "2 h"),
            (86_399_000, "24 h"),
            (518_400_000, "6 days"),
            (604_739_999, "7 days"),
            (9_000_000, "150 min"),
            (9_100_000, "3 h"),
            (216_000_000, "60 h"),
            (561_600_001, "7 days"),
            (604_799_000, "7 days"),
        ] {
            assert_eq!(length(ms), text);
        }
        assert_eq!(parse("15m"), Ok(900_000));
        assert_eq!(parse("90s"), Ok(90_000));
        for bad in [
            "",
            "m",
            "15",
            "0m",
            "-1h",
            "1w",
            "1.5h",
            "99999999999999999d",
            "é",
        ] {
            let form = format!("{bad:?} is not a length of time: write 90s, 15m, 2h or 1d");
            assert_eq!(parse(bad), Err(form));
        }
        for (typed, read) in [
            ("0", Ok(0)),
            ("90", Ok(90)),
            ("15s", Ok(15)),
            ("2m", Ok(120)),
        ] {
            assert_eq!(seconds(typed, 0..=120), read);
        }
        let why = "write from 1 to 120 seconds".to_owned();
        for beyond in ["0", "121", "3m"] {
            assert_eq!(seconds(beyond, 1..=120), Err(why.clone()));
        }
        assert_eq!(seconds("soon", 1..=120), parse("soon"));
        for (typed, read) in [("5", 5), ("90s", 1), ("2h", 120)] {
            assert_eq!(minutes(typed), Ok(read));
        }
        for none in ["0", "59s"] {
            assert_eq!(minutes(none), Err("write at least 1 minute".to_owned()));
        }
    }

    #[test]
    fn ends() {
        let now = Timestamp(1_000_000_000_000);
        assert_eq!(end(now.plus(6 * 86_400_000), now), "ends in 6 days");
        assert_eq!(end(Timestamp(now.0 - 180_000), now), "ended 3 min ago");
        assert_eq!(end(now.plus(FOREVER_MS), now), "until revoked");
        assert_eq!(ago(Timestamp(now.0 - 5_000), now), "5 s ago");
        assert_eq!(ago(Timestamp(now.0 - 999), now), "just now");
        assert_eq!(end(Timestamp(now.0 - 999), now), "ended just now");
        assert_eq!(end(now.plus(999), now), "ends now");
    }
}
