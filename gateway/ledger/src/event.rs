//! One stored event: its header, its bytes, and the chain that ties it to the one before.
//!
//! Stored value = hash (32 bytes) ‖ JSON; hash = SHA-256(previous hash ‖ JSON); before the first: 32 zero bytes.
//! The JSON begins `{"seq":1,"id":"evt_…","time":"2026-01-31T08:15:00.000Z","type":"…"` in exactly this spelling, so
//! the header is read without a JSON parser and a byte more or less is noticed.
//! Must not know: what the members after the header mean.

use std::cell::RefCell;
use std::fmt;
use std::io::Write as _;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Length of the hash in front of the stored JSON.
pub(crate) const HASH: usize = 32;
/// The "previous hash" of the first event.
pub(crate) const GENESIS: [u8; HASH] = [0; HASH];
/// 9999-12-30T22:00:00.999Z: the last millisecond that the time format can hold.
pub(crate) const LAST_MS: u64 = 253_402_207_200_999;

/// `evt_` and a UUIDv8 whose first 48 bits are the event's sequence number.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventId(Uuid);

/// Random bytes of the system's, asked for many at a time: one system call for each event would be a tenth of its cost.
fn random() -> [u8; 16] {
    /// Ids made from one call.
    const AT_ONCE: usize = 64;
    thread_local! {
        static SPARE: RefCell<Vec<[u8; 16]>> = const { RefCell::new(Vec::new()) };
    }
    SPARE.with_borrow_mut(|spare| {
        spare.pop().unwrap_or_else(|| {
            let mut bytes = [0; 16 * AT_ONCE];
            if getrandom::fill(&mut bytes).is_err() {
                // `uuid` has the same source and its own way to fail.
                return Uuid::new_v4().into_bytes();
            }
            let (parts, _) = bytes.as_chunks::<16>();
            spare.extend_from_slice(&parts[1..]);
            parts[0]
        })
    })
}

impl EventId {
    pub(crate) fn new(seq: u64) -> Self {
        let mut bytes = random();
        bytes[..6].copy_from_slice(&seq.to_be_bytes()[2..]);
        Self(Uuid::new_v8(bytes))
    }

    /// The sequence number that the id carries.
    #[must_use]
    pub fn seq(&self) -> u64 {
        let (first, _) = self.0.as_u64_pair();
        first >> 16
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "evt_{}", self.0.as_hyphenated())
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is no event id: `evt_` and a lower-case, hyphenated UUID of version 8.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an event id")]
pub struct NotAnEventId;

impl FromStr for EventId {
    type Err = NotAnEventId;

    fn from_str(text: &str) -> Result<Self, NotAnEventId> {
        let digits = text.strip_prefix("evt_").ok_or(NotAnEventId)?;
        let uuid = Uuid::try_parse(digits).map_err(|_| NotAnEventId)?;
        let id = Self(uuid);
        // One spelling per id: what we would not write we do not read.
        (uuid.get_version_num() == 8 && id.to_string() == text)
            .then_some(id)
            .ok_or(NotAnEventId)
    }
}

/// One event as it is stored, with what its header says. Cheap to share, never changed.
#[derive(Debug)]
pub struct Recorded {
    pub(crate) header: Header,
    pub(crate) stored: Vec<u8>,
}

impl Recorded {
    /// Position in the log, from 1, without gaps.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.header.seq
    }
    /// The audit id.
    #[must_use]
    pub fn id(&self) -> EventId {
        self.header.id
    }
    /// When it was recorded, in milliseconds since the epoch.
    #[must_use]
    pub fn at(&self) -> u64 {
        self.header.at
    }
    /// The `type` member.
    #[must_use]
    pub fn event_type(&self) -> &str {
        self.between(self.header.event_type.clone())
    }
    /// The whole event, one line of compact JSON.
    #[must_use]
    pub fn json(&self) -> &str {
        self.between(0..self.stored.len() - HASH)
    }
    /// SHA-256(previous hash ‖ JSON).
    #[must_use]
    pub fn hash(&self) -> [u8; HASH] {
        self.stored[..HASH].try_into().unwrap_or(GENESIS)
    }
    /// The event as an export has it: hash in hex, one space, the JSON; no line break.
    #[must_use]
    pub fn export_line(&self) -> String {
        format!("{} {}", hex(&self.hash()), self.json())
    }

    fn between(&self, json: std::ops::Range<usize>) -> &str {
        // `stored` was checked to be text when this value was made; an empty text is the harmless answer otherwise.
        self.stored
            .get(HASH + json.start..HASH + json.end)
            .and_then(|b| std::str::from_utf8(b).ok())
            .unwrap_or("")
    }

    /// Reads a stored value.
    ///
    /// # Errors
    /// What is wrong with it. The hash is not checked: only [`Chain`] knows the one before.
    pub(crate) fn from_stored(stored: Vec<u8>) -> Result<Self, String> {
        let json = stored.get(HASH..).ok_or("shorter than a hash")?;
        let header = Header::parse(json)?;
        Ok(Self { header, stored })
    }

    /// Writes a new event: header, then whatever `members` appends as one JSON object.
    ///
    /// # Errors
    /// When `members` is not one compact JSON object or `event_type` cannot stand in the header.
    pub(crate) fn seal(
        previous: &[u8; HASH],
        seq: u64,
        at: u64,
        event_type: &str,
        members: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Self, String> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        if event_type.is_empty() || !event_type.bytes().all(plain) {
            return Err(format!("`{event_type}` cannot be an event type"));
        }
        let id = EventId::new(seq);
        let mut stored = Vec::with_capacity(512);
        stored.extend_from_slice(&GENESIS);
        write!(
            stored,
            r#"{{"seq":{seq},"id":"{id}","time":"{}","type":""#,
            time_text(at)
        )
        .map_err(|e| e.to_string())?;
        let start = stored.len() - HASH;
        stored.extend_from_slice(event_type.as_bytes());
        stored.push(b'"');
        let joint = stored.len();
        members(&mut stored);
        match &mut stored[joint..] {
            [b'{', b'}'] => drop(stored.remove(joint)),
            [open @ b'{', between @ .., b'}'] if !between.iter().any(|b| *b < b' ') => *open = b',',
            _ => {
                return Err(format!(
                    "`{event_type}` did not encode as one compact JSON object"
                ));
            }
        }
        debug_assert!(
            serde_json::from_slice::<serde_json::Value>(&stored[HASH..]).is_ok(),
            "an event must be JSON: {}",
            String::from_utf8_lossy(&stored[HASH..])
        );
        if std::str::from_utf8(&stored[HASH..]).is_err() {
            return Err(format!("`{event_type}` did not encode as text"));
        }
        let hash = link(previous, &stored[HASH..]);
        stored[..HASH].copy_from_slice(&hash);
        let header = Header {
            seq,
            id,
            at,
            event_type: start..start + event_type.len(),
        };
        Ok(Self { header, stored })
    }

    /// The members after the header, as the object that [`Recorded::seal`] was given.
    pub(crate) fn members(&self) -> Vec<u8> {
        let rest = &self.stored[HASH + self.header.event_type.end + 1..];
        let rest = rest.strip_prefix(b",").unwrap_or(rest);
        [b"{", rest].concat()
    }
}

/// What the fixed beginning of an event says.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    pub(crate) seq: u64,
    pub(crate) id: EventId,
    pub(crate) at: u64,
    /// Where the type stands in the JSON.
    event_type: std::ops::Range<usize>,
}

impl Header {
    fn parse(json: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(json).map_err(|_| "not text".to_owned())?;
        let wrong = |what: &str| format!("its header has no {what}");
        let rest = text
            .strip_prefix(r#"{"seq":"#)
            .ok_or_else(|| wrong("seq"))?;
        let (seq_text, rest) = rest.split_once(r#","id":""#).ok_or_else(|| wrong("id"))?;
        let (id_text, rest) = rest
            .split_once(r#"","time":""#)
            .ok_or_else(|| wrong("time"))?;
        let (time, rest) = rest
            .split_once(r#"","type":""#)
            .ok_or_else(|| wrong("type"))?;
        let (event_type, rest) = rest.split_once('"').ok_or_else(|| wrong("type"))?;
        if !matches!(rest.as_bytes(), [b',', .., b'}'] | [b'}']) {
            return Err("it is not one JSON object".to_owned());
        }
        let seq: u64 = seq_text.parse().map_err(|_| wrong("seq"))?;
        let at = time
            .parse::<jiff::Timestamp>()
            .map_err(|_| wrong("time"))?
            .as_millisecond();
        let at = u64::try_from(at).map_err(|_| wrong("time"))?;
        // Only our own spelling: `01` or a time without milliseconds was not written by us.
        if seq.to_string() != seq_text || time_text(at) != time {
            return Err("its header is spelled in another way than ours".to_owned());
        }
        let start = text.len() - rest.len() - 1 - event_type.len();
        let id = id_text.parse().map_err(|_| wrong("id"))?;
        Ok(Self {
            seq,
            id,
            at,
            event_type: start..start + event_type.len(),
        })
    }
}

/// The end of the chain: what the next event must follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Sequence of the newest event; 0 when there is none.
    pub seq: u64,
    /// Its hash; zero bytes when there is none.
    pub hash: [u8; HASH],
    /// Its time in milliseconds since the epoch; 0 when there is none.
    pub at: u64,
}

impl Head {
    pub(crate) const START: Self = Self {
        seq: 0,
        hash: GENESIS,
        at: 0,
    };

    pub(crate) fn of(event: &Recorded) -> Self {
        Self {
            seq: event.seq(),
            hash: event.hash(),
            at: event.at(),
        }
    }

    /// The head after `event`, if it is the one that follows.
    pub(crate) fn follow(&self, event: &Recorded) -> Result<Self, String> {
        if event.seq() != self.seq + 1 {
            return Err(format!("it says it is number {}", event.seq()));
        }
        if event.id().seq() != event.seq() {
            return Err("its id carries another number".to_owned());
        }
        if event.at() < self.at {
            return Err("it is older than the event before it".to_owned());
        }
        if link(&self.hash, &event.stored[HASH..]) != event.hash() {
            return Err(
                "its hash does not follow from its text and the event before it".to_owned(),
            );
        }
        Ok(Self::of(event))
    }
}

fn link(previous: &[u8; HASH], json: &[u8]) -> [u8; HASH] {
    Sha256::new()
        .chain_update(previous)
        .chain_update(json)
        .finalize()
        .into()
}

/// RFC 3339, UTC, three digits of a second; times beyond the format's end become its end.
pub(crate) fn time_text(ms: u64) -> String {
    let ms = i64::try_from(ms.min(LAST_MS)).unwrap_or(0);
    let time = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{time:.3}")
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

pub(crate) fn unhex(text: &str) -> Option<[u8; 32]> {
    let digit = |b: u8| {
        char::from(b)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes: Option<Vec<u8>> = pairs
        .iter()
        .map(|[a, b]| Some(digit(*a)? << 4 | digit(*b)?))
        .collect();
    let bytes: [u8; 32] = bytes?.try_into().ok()?;
    (rest.is_empty() && hex(&bytes) == text).then_some(bytes)
}
