//! Bounded text and bytes: what a worker may make the gateway keep, log or show.
//!
//! Invariants: a [`Line`] has no line break, no other control character and no character that reorders what a reader
//! sees, and is no longer than its bound; a [`Text`] is the same with line feeds and tabs. The constructors make text
//! fit; decoding refuses text that does not, because the peer's own constructor would have made it fit.

use bytes::Bytes;
use plexus_protocol::json;
pub use plexus_protocol::words::counted;
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use std::{fmt, marker::PhantomData, ops::Deref};
use unicode_normalization::UnicodeNormalization as _;

/// One line of at most `MAX` bytes of UTF-8.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Line<const MAX: usize>(Box<str>);

/// Text of at most `MAX` bytes of UTF-8 that may have line feeds and tabs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Text<const MAX: usize>(Box<str>);

/// A short name: a reason, a kind, a field.
pub type Word = Line<64>;

/// Ends text that was cut.
const CUT: char = '…';

fn is_control(c: char) -> bool {
    c.is_control()
        // Separators that some terminals and browsers break a line at.
        || matches!(c, '\u{2028}' | '\u{2029}')
        // Embeddings, overrides and isolates: they let text imitate what stands around it.
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn in_line(c: char) -> bool {
    !is_control(c)
}

fn in_text(c: char) -> bool {
    matches!(c, '\n' | '\t') || !is_control(c)
}

/// Appends `text` as a part of a URL, in which only unreserved characters (RFC 3986) stand for themselves.
pub fn percent_encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
}

/// The text in lower case and Unicode normal form C, in which a search compares texts.
#[must_use]
pub fn folded(text: &str) -> String {
    let lower = text.to_lowercase();
    match lower.is_ascii() {
        true => lower,
        false => lower.nfc().collect(),
    }
}

/// `text` with each character that is not allowed replaced, cut to `max` bytes.
fn fitted(text: &str, max: usize, allowed: fn(char) -> bool) -> Box<str> {
    if text.len() <= max && text.chars().all(allowed) {
        return text.into();
    }
    let cleaned: String = text
        .chars()
        .map(|c| {
            if allowed(c) {
                c
            } else {
                char::REPLACEMENT_CHARACTER
            }
        })
        .collect();
    if cleaned.len() <= max {
        return cleaned.into();
    }
    let mark = if max >= CUT.len_utf8() {
        CUT.len_utf8()
    } else {
        0
    };
    let mut end = max - mark;
    while !cleaned.is_char_boundary(end) {
        end -= 1;
    }
    let mut cut = cleaned[..end].to_owned();
    if mark > 0 {
        cut.push(CUT);
    }
    cut.into()
}

macro_rules! bounded {
    ($name:ident, $allowed:path, $expecting:literal) => {
        impl<const MAX: usize> $name<MAX> {
            /// Makes `text` fit: characters that are not allowed become U+FFFD, what is too long is cut and ends in `…`.
            #[must_use]
            pub fn new(text: impl AsRef<str>) -> Self {
                Self(fitted(text.as_ref(), MAX, $allowed))
            }
            /// Takes `text` only if it fits as it is.
            #[must_use]
            pub fn exactly(text: &str) -> Option<Self> {
                (text.len() <= MAX && text.chars().all($allowed)).then(|| Self(text.into()))
            }
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl<const MAX: usize> Deref for $name<MAX> {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }
        impl<const MAX: usize> From<&str> for $name<MAX> {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }
        impl<const MAX: usize> From<String> for $name<MAX> {
            fn from(text: String) -> Self {
                Self::new(text)
            }
        }
        impl<const MAX: usize> fmt::Display for $name<MAX> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl<const MAX: usize> fmt::Debug for $name<MAX> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
        impl<const MAX: usize> PartialEq<str> for $name<MAX> {
            fn eq(&self, other: &str) -> bool {
                &*self.0 == other
            }
        }
        impl<const MAX: usize> PartialEq<&str> for $name<MAX> {
            fn eq(&self, other: &&str) -> bool {
                &*self.0 == *other
            }
        }
        impl<const MAX: usize> Serialize for $name<MAX> {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }
        impl<'de, const MAX: usize> Deserialize<'de> for $name<MAX> {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                struct Bounded<const MAX: usize>;
                impl<const MAX: usize> Visitor<'_> for Bounded<MAX> {
                    type Value = $name<MAX>;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        write!(f, $expecting, MAX)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                        $name::exactly(text).ok_or_else(|| E::custom(format_args!($expecting, MAX)))
                    }
                }
                d.deserialize_str(Bounded::<MAX>)
            }
        }
    };
}

bounded!(
    Line,
    in_line,
    "one line of at most {} bytes without control characters"
);
bounded!(
    Text,
    in_text,
    "text of at most {} bytes without control characters"
);

/// JSON bytes that travel as they are. `Debug` prints their length only: they may be anybody's notes.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Payload(pub Bytes);

impl Deref for Payload {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Raw;
        impl Visitor<'_> for Raw {
            type Value = Payload;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            /// The one copy on this path: out of the read buffer, into bytes that are shared from there on.
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Payload, E> {
                Ok(Payload(Bytes::copy_from_slice(bytes)))
            }
            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Payload, E> {
                Ok(Payload(bytes.into()))
            }
        }
        d.deserialize_bytes(Raw)
    }
}

/// What is said of an output that is none.
pub(crate) const NOT_JSON: &str = "an output is not one JSON value of bounded depth";

/// What a handler answered: exactly one JSON value of bounded depth, which travels on as it is. A frame in which it is
/// anything else does not decode. `Debug` prints its length only, as of a [`Payload`].
#[derive(Clone)]
pub struct Output(Box<RawValue>);

impl Output {
    /// The value as JSON.
    ///
    /// # Errors
    /// When it has none: a map whose keys are no texts.
    pub fn of(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        serde_json::value::to_raw_value(value).map(Self)
    }
    /// The JSON itself.
    #[must_use]
    pub fn into_json(self) -> Box<RawValue> {
        self.0
    }
}

impl Deref for Output {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.0.get().as_bytes()
    }
}

impl PartialEq for Output {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

impl Serialize for Output {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(self)
    }
}

impl<'de> Deserialize<'de> for Output {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Raw;
        impl Visitor<'_> for Raw {
            type Value = Output;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the bytes of one JSON value")
            }
            /// Looked through once, and copied once: out of the read buffer.
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Output, E> {
                let json = json::scan(bytes).map_err(|_| E::custom(NOT_JSON))?;
                Ok(Output(json.to_owned()))
            }
        }
        d.deserialize_bytes(Raw)
    }
}

/// A digest as its 32 bytes; in a format for people as its hex digits. For `#[serde(with)]`: two digests a call would
/// else cost as much as the rest of its frame.
pub(crate) mod digest {
    use plexus_protocol::Digest;
    use serde::de::{self, Deserializer, Visitor};
    use serde::{Deserialize, Serialize, Serializer};
    use std::fmt;

    pub(crate) fn serialize<S: Serializer>(digest: &Digest, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() {
            digest.serialize(s)
        } else {
            s.serialize_bytes(&digest.0)
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Digest, D::Error> {
        struct Raw;
        impl Visitor<'_> for Raw {
            type Value = Digest;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the 32 bytes of a digest")
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Digest, E> {
                match bytes.try_into() {
                    Ok(digest) => Ok(Digest(digest)),
                    Err(_) => Err(E::invalid_length(bytes.len(), &self)),
                }
            }
        }
        if d.is_human_readable() {
            Digest::deserialize(d)
        } else {
            d.deserialize_bytes(Raw)
        }
    }

    /// The same for a digest that may be missing.
    pub(crate) mod option {
        use super::{Deserialize, Deserializer, Digest, Serialize, Serializer};

        #[derive(Serialize, Deserialize)]
        struct Present(#[serde(with = "super")] Digest);

        pub(crate) fn serialize<S: Serializer>(
            digest: &Option<Digest>,
            s: S,
        ) -> Result<S::Ok, S::Error> {
            digest.map(Present).serialize(s)
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
            d: D,
        ) -> Result<Option<Digest>, D::Error> {
            Ok(Option::<Present>::deserialize(d)?.map(|present| present.0))
        }
    }
}

/// Decodes a list of at most `MAX` items; for `#[serde(deserialize_with)]`.
pub(crate) fn at_most<'de, D, T, const MAX: usize>(d: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Bounded<T, const MAX: usize>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Bounded<T, MAX> {
        type Value = Vec<T>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MAX} items")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            let mut out = Vec::new();
            while let Some(item) = seq.next_element()? {
                if out.len() == MAX {
                    return Err(de::Error::custom(format_args!("more than {MAX} items")));
                }
                out.push(item);
            }
            Ok(out)
        }
    }
    d.deserialize_seq(Bounded::<T, MAX>(PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_fold_whatever_their_case_and_form() {
        for text in ["CAFÉ", "Cafe\u{301}", "caf\u{e9}"] {
            assert_eq!(folded(text), "caf\u{e9}");
        }
        assert_ne!(folded("cafe"), folded("café"), "the control");
    }

    #[test]
    fn a_line_is_made_to_fit_and_refused_when_it_does_not() {
        let made = Line::<16>::new("über\u{1b}[31m\r\nÄÖÜ and more");
        assert!(made.len() <= 16 && made.ends_with('…'), "{made:?}");
        assert!(in_whole(&made, in_line));
        assert_eq!(Line::<16>::exactly(&made), Some(made));
        for bad in ["a\nb", "\u{1b}[2J", "a\u{202e}b", "seventeen letters"] {
            assert_eq!(Line::<16>::exactly(bad), None, "{bad:?}");
            let refused = serde_json::from_value::<Line<16>>(bad.into()).unwrap_err();
            assert!(
                refused.to_string().contains("one line of at most 16 bytes"),
                "{bad:?}"
            );
        }
        assert!(serde_json::from_value::<Line<16>>("sixteen letters!".into()).is_ok());
        assert_eq!(Line::<2>::new("äöü"), "ä", "no room for the ellipsis");
    }

    #[test]
    fn text_keeps_its_line_breaks_and_nothing_else() {
        assert_eq!(Text::<64>::new("-a\n+b\t\r\0"), "-a\n+b\t\u{fffd}\u{fffd}");
        let refused = serde_json::from_value::<Text<4>>("12345".into()).unwrap_err();
        assert!(
            refused.to_string().contains("text of at most 4 bytes"),
            "{refused}"
        );
    }

    #[test]
    fn a_payload_does_not_print_its_content() {
        let payload = Payload::from(b"secret".to_vec());
        assert_eq!(format!("{payload:?}"), "6 bytes");
    }

    fn in_whole(text: &str, allowed: fn(char) -> bool) -> bool {
        text.chars().all(allowed)
    }
}
