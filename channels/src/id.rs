//! [`Id`]: a ULID, the only form that an id has here.
//!
//! 26 characters of Crockford's alphabet, upper case, the first 0 to 7: 48 bits of milliseconds, then 80 bits. Order of
//! the text, order of the bytes and order of the numbers are one.

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const LENGTH: usize = 26;
const LOW_BITS: u32 = 80;

/// A ULID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Id(u128);

/// Not a ULID as it is written here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id is 26 characters of 0-9 and A-Z without I, L, O and U, the first 0 to 7")]
pub struct IdError;

impl Id {
    /// Below every id that is given out.
    pub const ZERO: Self = Self(0);

    /// An id of a moment, in milliseconds of Unix time, and 80 further bits. Higher bits of both are cut.
    #[must_use]
    pub const fn from_parts(millis: u64, low: u128) -> Self {
        let millis = (millis & ((1 << 48) - 1)) as u128;
        Self(millis << LOW_BITS | low & ((1 << LOW_BITS) - 1))
    }

    /// A new id of this moment with random low bits.
    ///
    /// # Panics
    /// Where the system has no random bytes.
    #[must_use]
    pub fn generate() -> Self {
        let mut random = [0; 16];
        getrandom::fill(&mut random).expect("random bytes of the system");
        Self::from_parts(now_millis(), u128::from_be_bytes(random))
    }

    /// The moment, in milliseconds of Unix time.
    #[must_use]
    pub const fn millis(self) -> u64 {
        (self.0 >> LOW_BITS) as u64
    }

    /// The 80 bits after the moment.
    #[must_use]
    pub const fn low(self) -> u128 {
        self.0 & ((1 << LOW_BITS) - 1)
    }

    /// Its 16 bytes; they sort as the id does.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The id of these bytes. Every value is one.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

/// The wall clock, in milliseconds of Unix time.
#[must_use]
pub fn now_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

impl FromStr for Id {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.len() != LENGTH || !matches!(text.as_bytes().first(), Some(b'0'..=b'7')) {
            return Err(IdError);
        }
        text.bytes()
            .try_fold(0_u128, |value, byte| {
                let digit = ALPHABET.iter().position(|known| *known == byte)?;
                Some(value << 5 | digit as u128)
            })
            .map(Self)
            .ok_or(IdError)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0_u8; LENGTH];
        for (at, byte) in text.iter_mut().rev().enumerate() {
            *byte = ALPHABET[(self.0 >> (5 * at) & 31) as usize];
        }
        f.pad(str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            to.collect_str(self)
        } else {
            to.serialize_bytes(&self.to_bytes())
        }
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Form;
        impl Visitor<'_> for Form {
            type Value = Id;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a ULID")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Id, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Id, E> {
                let bytes = bytes.try_into().map_err(|_| E::custom(IdError))?;
                Ok(Id::from_bytes(bytes))
            }
        }
        if from.is_human_readable() {
            from.deserialize_str(Form)
        } else {
            from.deserialize_bytes(Form)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_text_is_read_and_written() {
        for (text, value) in [
            ("00000000000000000000000000", 0),
            ("7ZZZZZZZZZZZZZZZZZZZZZZZZZ", u128::MAX),
            ("0000000000000000000000000Z", 31),
        ] {
            assert_eq!(text.parse(), Ok(Id(value)));
            assert_eq!(Id(value).to_string(), text);
        }
        // 01ARZ3NDEKTSV4RRFFQ69G5FAV is the example of the ULID specification.
        let known: Id = "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().expect("an id");
        assert_eq!(known.millis(), 1_469_922_850_259);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "0000000000000000000000000",
            "000000000000000000000000000",
            "80000000000000000000000000",
            "0000000000000000000000000I",
            "0000000000000000000000000L",
            "0000000000000000000000000O",
            "0000000000000000000000000U",
            "0000000000000000000000000a",
            " 0000000000000000000000000",
            "0000000000000000000000000é",
        ] {
            assert_eq!(text.parse::<Id>(), Err(IdError), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn text_bytes_and_order_agree(a: u128, b: u128) {
            let (a, b) = (Id(a), Id(b));
            prop_assert_eq!(a.to_string().parse(), Ok(a));
            prop_assert_eq!(Id::from_bytes(a.to_bytes()), a);
            prop_assert_eq!(Id::from_parts(a.millis(), a.low()), a);
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
            prop_assert_eq!(a.cmp(&b), a.to_bytes().cmp(&b.to_bytes()));
        }

        #[test]
        fn any_text_is_refused_or_written_back(text in "[0-9A-Za-z ]{24,27}") {
            if let Ok(id) = text.parse::<Id>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
