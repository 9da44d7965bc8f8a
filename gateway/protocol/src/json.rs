//! Strict JSON: what a peer may send, and the one canonical form that digests are made of.
//!
//! Invariants: a parsed body has no duplicate keys, no key and no number that two readers could take differently, and
//! no more than [`MAX_DEPTH`] levels and [`MAX_VALUES`] values; [`canonical`] of it is RFC 8785, so its digest names
//! exactly one input. Integers beyond what RFC 8785 has are taken by [`parse_wide`] alone; their canonical form is their
//! decimal text.
//!
//! What others answer is not held to that: it is [repaired].

mod exact;
mod repair;

pub use exact::Exact;
pub use repair::{Change, Changes, Repaired, repaired};

use crate::Digest;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value, value::RawValue};
use std::{cell::Cell, fmt};

/// Deepest nesting of arrays and objects that is accepted (docs/design.md#the-life-of-a-call).
pub const MAX_DEPTH: usize = 64;
/// Most values in one text, each member and element counted. A value takes some two hundred bytes where the text has three:
/// without this bound a body of 1 MiB would be 65 MB.
pub const MAX_VALUES: usize = 16_384;
/// How the names begin by which `serde_json` hands raw text and long numbers to itself. An object with such a key is read
/// by its [`Value`] as what the key's value says, by everybody else as it stands.
const SERDE_JSONS_OWN: &str = "$serde_json::private::";
/// Largest magnitude of an integral number: 2^53 − 1, where every reader still agrees (RFC 8785 §3.2.2.3).
pub const MAX_INTEGER: f64 = 9_007_199_254_740_991.0;

/// Why bytes are not strict JSON; the text is safe to show to the peer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotStrict(String);

/// Parses exactly one JSON value.
///
/// # Errors
/// Anything RFC 8259 refuses, a duplicate key, a key of `serde_json`'s own, an integral number beyond ±(2^53−1), a
/// number that overflows, a lone surrogate, nesting beyond [`MAX_DEPTH`], more than [`MAX_VALUES`] values, or bytes after
/// the value.
pub fn parse(bytes: &[u8]) -> Result<Value, NotStrict> {
    read(bytes, false, MAX_VALUES)
}

/// As [`parse`], with integers of 64 bits as they are: identifiers that a lent tool gave out, and takes again.
///
/// # Errors
/// As [`parse`]; an integer is beyond what fits only where neither `i64` nor `u64` holds it.
pub fn parse_wide(bytes: &[u8]) -> Result<Value, NotStrict> {
    read(bytes, true, MAX_VALUES)
}

/// As [`parse_wide`], for a text that holds schemas of others and is bounded in bytes by who calls.
///
/// # Errors
/// As [`parse_wide`], with sixteen times the values.
pub fn parse_many(bytes: &[u8]) -> Result<Value, NotStrict> {
    read(bytes, true, 16 * MAX_VALUES)
}

fn read(bytes: &[u8], wide: bool, most: usize) -> Result<Value, NotStrict> {
    let mut from = serde_json::Deserializer::from_slice(bytes);
    let left = Cell::new(most);
    let value = Strict {
        depth: 0,
        left: &left,
        wide,
    }
    .deserialize(&mut from)
    .map_err(|e| NotStrict(e.to_string()))?;
    from.end().map_err(|e| NotStrict(e.to_string()))?;
    Ok(value)
}

/// Parses strictly, then into a type.
///
/// # Errors
/// As [`parse`], or the first mismatch with `T`.
pub fn parse_as<T: de::DeserializeOwned>(bytes: &[u8]) -> Result<T, NotStrict> {
    read_value(parse(bytes)?)
}

/// As [`from_value`], with the error of a parse.
///
/// # Errors
/// The first mismatch with `T`.
pub fn read_value<T: de::DeserializeOwned>(value: Value) -> Result<T, NotStrict> {
    from_value(value).map_err(|e| NotStrict(in_plain_words(&e.to_string())))
}

/// Reads a value into a type. An array is never taken for an object, as `serde_json::from_value` would: `[]` is not a
/// constraint without parts.
///
/// # Errors
/// The first mismatch with `T`.
pub fn from_value<T: de::DeserializeOwned>(value: Value) -> Result<T, serde_json::Error> {
    T::deserialize(Exact(value))
}

/// The words of `serde` for a value of a wrong type, with the types of JSON in the place of Rust's; other words stay.
#[must_use]
pub fn in_plain_words(why: &str) -> String {
    if why.starts_with("data did not match any variant of untagged enum") {
        return "it has none of the forms that it may have".to_owned();
    }
    let wrong = ["invalid type: ", "invalid value: "];
    let wrong = wrong.iter().find_map(|begins| why.strip_prefix(begins));
    let Some((got, expected)) = wrong.and_then(|wrong| wrong.rsplit_once(", expected ")) else {
        return why.to_owned();
    };
    let objects = [
        "struct ",
        "internally tagged enum ",
        "adjacently tagged enum ",
    ];
    let plain = |word: &str| match word {
        "sequence" | "a sequence" => "a list".to_owned(),
        "map" | "a map" => "an object".to_owned(),
        word if objects.iter().any(|kind| word.starts_with(kind)) => "an object".to_owned(),
        "string or map" => "a string".to_owned(),
        "u8" => format!("a whole number from 0 to {}", u8::MAX),
        "u16" => format!("a whole number from 0 to {}", u16::MAX),
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        "u64" | "usize" => "a whole number, 0 or more".to_owned(),
        "i8" | "i16" | "i32" | "i64" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        word => word.to_owned(),
    };
    format!("got {}, expected {}", plain(got), plain(expected))
}

/// The canonical bytes (RFC 8785) of a value that [`parse`] accepted or that we made. An integer beyond ±(2^53−1), of which
/// RFC 8785 keeps the nearest double, is its decimal text.
#[must_use]
pub fn canonical(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    write_canonical(value, &mut out);
    out
}

fn write_canonical(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                out.extend((at > 0).then_some(b','));
                write_canonical(item, out);
            }
            out.push(b']');
        }
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_unstable_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            out.push(b'{');
            for (at, (key, value)) in sorted.into_iter().enumerate() {
                out.extend((at > 0).then_some(b','));
                write_text(key, out);
                out.push(b':');
                write_canonical(value, out);
            }
            out.push(b'}');
        }
        Value::Number(number) if is_beyond(number) => out.extend(number.to_string().bytes()),
        Value::String(text) => write_text(text, out),
        // The canonicalizer fails only on non-finite numbers, which `Value` cannot hold.
        scalar => out.extend(serde_json_canonicalizer::to_vec(scalar).unwrap_or_default()),
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    // A text can be written into memory; its escapes are those of RFC 8785.
    let _ = serde_json::to_writer(out, text);
}

/// An integer that RFC 8785 would round.
fn is_beyond(number: &Number) -> bool {
    let magnitude = number.as_u64().or(number.as_i64().map(i64::unsigned_abs));
    magnitude.is_some_and(|magnitude| magnitude > MAX_INTEGER as u64)
}

/// A member's name as a part of a JSON pointer (RFC 6901).
#[must_use]
pub fn pointer_token(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Where a value has an integer that [`parse`] refuses: a JSON pointer.
#[must_use]
pub fn wide_integer(value: &Value) -> Option<String> {
    let below =
        |key: &str, value| wide_integer(value).map(|rest| format!("/{}{rest}", pointer_token(key)));
    match value {
        Value::Number(number) => is_beyond(number).then(String::new),
        Value::Array(items) => {
            let mut items = items.iter().enumerate();
            items.find_map(|(at, item)| below(&at.to_string(), item))
        }
        Value::Object(members) => members.iter().find_map(|(key, value)| below(key, value)),
        _ => None,
    }
}

/// The digest of the canonical form.
#[must_use]
pub fn digest(value: &Value) -> Digest {
    Digest::of(&canonical(value))
}

/// Checks, without building a tree, that `bytes` are exactly one JSON value no deeper than [`MAX_DEPTH`].
///
/// # Errors
/// [`NotStrict`] says what is wrong.
pub fn scan(bytes: &[u8]) -> Result<&RawValue, NotStrict> {
    let text = std::str::from_utf8(bytes).map_err(|_| NotStrict("not UTF-8".into()))?;
    let raw: &RawValue = serde_json::from_str(text).map_err(|e| NotStrict(e.to_string()))?;
    // Counted in one sweep over all bytes: what opens so few levels, inside strings or not, is not too deep.
    let opening = raw.get().bytes().filter(|b| matches!(b, b'{' | b'['));
    if opening.count() <= MAX_DEPTH {
        return Ok(raw);
    }
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in raw.get().bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(NotStrict(too_deep()));
                }
            }
            b'}' | b']' if !in_string => depth -= 1,
            _ => {}
        }
    }
    Ok(raw)
}

fn too_deep() -> String {
    format!("nested deeper than {MAX_DEPTH} levels")
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: usize,
    /// Values that the whole text may still have.
    left: &'a Cell<usize>,
    /// Whether integers may have 64 bits.
    wide: bool,
}

impl Strict<'_> {
    fn beyond(&self) -> &'static str {
        match self.wide {
            true => "an integer beyond 64 bits",
            false => "an integer beyond 2^53 - 1",
        }
    }

    fn deeper<E: de::Error>(&self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            Err(E::custom(too_deep()))
        } else {
            Ok(Self {
                depth: self.depth + 1,
                ..*self
            })
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;
    fn deserialize<D: de::Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        let Some(left) = self.left.get().checked_sub(1) else {
            let why = format_args!("more than {MAX_VALUES} values");
            return Err(de::Error::custom(why));
        };
        self.left.set(left);
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }
    fn visit_i64<E: de::Error>(self, v: i64) -> Result<Value, E> {
        if v.unsigned_abs() > MAX_INTEGER as u64 && !self.wide {
            Err(E::custom(self.beyond()))
        } else {
            Ok(v.into())
        }
    }
    fn visit_u64<E: de::Error>(self, v: u64) -> Result<Value, E> {
        if v > MAX_INTEGER as u64 && !self.wide {
            Err(E::custom(self.beyond()))
        } else {
            Ok(v.into())
        }
    }
    fn visit_f64<E: de::Error>(self, v: f64) -> Result<Value, E> {
        // A long integer literal arrives here as a float; it may not pass by that door.
        if v.fract() == 0.0 && v.abs() > MAX_INTEGER {
            return Err(E::custom(self.beyond()));
        }
        Number::from_f64(v)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number out of range"))
    }
    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }
    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::String(v))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        while let Some(item) = seq.next_element_seed(self.deeper()?)? {
            out.push(item);
        }
        self.deeper()?;
        Ok(Value::Array(out))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if out.contains_key(&key) {
                return Err(de::Error::custom(format_args!("the key {key:?} twice")));
            }
            if key.starts_with(SERDE_JSONS_OWN) {
                return Err(de::Error::custom(format_args!("the key {key:?}")));
            }
            let value = map.next_value_seed(self.deeper()?)?;
            out.insert(key, value);
        }
        self.deeper()?;
        Ok(Value::Object(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn nested(levels: usize) -> String {
        "[".repeat(levels) + &"]".repeat(levels)
    }

    #[test]
    fn refuses_what_two_readers_could_take_differently() {
        let (wide, own) = ("an integer beyond 2^53 - 1", "the key \"$serde_json::");
        for (bad, words) in [
            (r#"{"a":1,"a":2}"#, "the key \"a\" twice"),
            ("9007199254740992", wide),
            ("-9007199254740992", wide),
            ("123456789012345678901234567890", wide),
            ("1e400", "number out of range"),
            (r#""\ud800""#, "unexpected end of hex escape"),
            (
                r#"{"$serde_json::private::RawValue":"{\"path\":\"a.md\"}"}"#,
                own,
            ),
            (
                r#"{"a":[{"$serde_json::private::RawValue":"1","b":2}]}"#,
                own,
            ),
            (r#"{"$serde_json::private::Number":"1"}"#, own),
            ("{} x", "trailing characters"),
            ("", "EOF while parsing"),
            ("\u{feff}{}", "expected value"),
            ("NaN", "expected value"),
            ("[1,]", "trailing comma"),
            (&nested(65), "nested deeper than 64 levels"),
        ] {
            let why = parse(bad.as_bytes()).unwrap_err().to_string();
            assert!(why.starts_with(words), "{bad}: {why}");
        }
        for good in [
            "9007199254740991",
            "-0",
            "1.5",
            r#"{"a":{"a":1}}"#,
            r#""\ud83d\ude00""#,
            &nested(64),
        ] {
            assert!(parse(good.as_bytes()).is_ok(), "{good}");
        }
    }

    /// However small each is, and wherever it stands; an output, of which no tree is made, may have more.
    #[test]
    fn a_text_has_so_many_values_and_no_more() {
        let array = |n: usize| format!("[{}0]", "0,".repeat(n - 1));
        let object = |n: usize| {
            let members: Vec<String> = (0..n).map(|n| format!("\"{n}\":0")).collect();
            format!("{{{}}}", members.join(","))
        };
        let nests = |n: usize| format!("[{}{{}}]", r#"{"":0},"#.repeat(n / 2 - 1));
        // The outermost is one of them.
        let most = MAX_VALUES - 1;
        for text in [array(most), object(most), nests(most)] {
            assert!(parse(text.as_bytes()).is_ok());
        }
        for text in [array(most + 1), object(most + 1), nests(most + 3)] {
            let refused = parse(text.as_bytes()).expect_err("one too many");
            assert!(refused.to_string().contains("values"), "{refused}");
            assert!(scan(text.as_bytes()).is_ok());
        }
        let long = format!("\"{}\"", "[".repeat(4 * MAX_VALUES));
        assert!(parse(long.as_bytes()).is_ok(), "a text is one");
    }

    #[test]
    fn scan_accepts_one_value_only() {
        assert!(scan(b"{\"a\":[1,\"]}\"]}").is_ok());
        assert!(scan(nested(64).as_bytes()).is_ok());
        for (bad, words) in [
            (&b"{} {}"[..], "trailing characters"),
            (b"", "EOF while parsing"),
            (b"{", "EOF while parsing"),
            (b"\xff", "not UTF-8"),
            (nested(65).as_bytes(), "nested deeper than 64 levels"),
        ] {
            let why = scan(bad).unwrap_err().to_string();
            assert!(why.starts_with(words), "{why}");
        }
    }

    #[test]
    fn wide_integer_is_exact_and_its_digest_its_own() {
        for exact in [
            "9007199254740992",
            "-9223372036854775808",
            "18446744073709551615",
        ] {
            let text = format!(r#"{{"a":[{exact}]}}"#);
            let value = parse_wide(text.as_bytes()).unwrap();
            assert_eq!(canonical(&value), text.as_bytes());
            assert_eq!(wide_integer(&value).unwrap(), "/a/0");
            let why = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(why.starts_with("an integer beyond 2^53 - 1"), "{why}");
        }
        let next = |text: &str| digest(&parse_wide(text.as_bytes()).unwrap());
        assert_ne!(next("9007199254740992"), next("9007199254740993"));
        for beyond in ["18446744073709551616", "-9223372036854775809", "1e300"] {
            let refused = parse_wide(beyond.as_bytes()).expect_err(beyond);
            assert!(refused.to_string().contains("beyond 64 bits"), "{refused}");
        }
        assert_eq!(
            wide_integer(&parse(b"[1,9007199254740991,1.5]").unwrap()),
            None
        );
    }

    #[test]
    fn wrong_type_is_named_without_a_type_of_rust() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(untagged)]
        enum Form {
            Nothing,
        }
        fn why<T: de::DeserializeOwned + fmt::Debug>(text: &str) -> String {
            parse_as::<T>(text.as_bytes()).unwrap_err().to_string()
        }
        let (count, list) = ("expected a whole number, 0 or more", "expected a list");
        assert_eq!(why::<u64>("\"5\""), format!("got string \"5\", {count}"));
        assert_eq!(why::<usize>("-1"), format!("got integer `-1`, {count}"));
        assert_eq!(why::<Vec<u8>>("{}"), format!("got an object, {list}"));
        let text = "\"a tagged enum , expected u8\"";
        assert_eq!(why::<Vec<u8>>(text), format!("got string {text}, {list}"));
        assert_eq!(
            why::<Form>("5"),
            "it has none of the forms that it may have"
        );
        assert!(matches!(parse_as(b"null"), Ok(Form::Nothing)));
    }

    proptest! {
        /// Below 2^53 the canonical form is that of RFC 8785, by another implementation of it.
        #[test]
        fn canonical_is_that_of_the_rfc(
            keys in proptest::collection::vec(any::<String>(), 0..6),
            number in any::<f64>(),
            integer in -(1i64 << 53) + 1..1i64 << 53,
            text in any::<String>(),
        ) {
            let mut members: Map<String, Value> =
                keys.into_iter().map(|key| (key, Value::Null)).collect();
            members.insert("n".into(), serde_json::json!([number, integer, -0.0, 1e21, true]));
            members.insert("\u{e000}".into(), text.into());
            members.insert("\u{1f600}\u{7f}\u{8}\n/".into(), serde_json::json!({}));
            let value = Value::Object(members);
            prop_assert_eq!(canonical(&value), serde_json_canonicalizer::to_vec(&value).unwrap());
        }

        #[test]
        fn canonical_is_a_fixed_point(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(value) = parse(&bytes) {
                let once = canonical(&value);
                prop_assert_eq!(canonical(&parse(&once).unwrap()), once);
            }
        }

        /// Each reader of an accepted text reads the same.
        #[test]
        fn another_reader_takes_it_as_we_do(
            key in prop_oneof![Just("$serde_json::private::RawValue".to_owned()), "[$a-z:_]{0,4}"],
            text in prop_oneof![Just(r#"{\"a\":1}"#.to_owned()), "[a-z0-9]{0,4}"],
            more in any::<bool>(),
        ) {
            let more = if more { r#","z":1"# } else { "" };
            let bytes = format!(r#"{{"in":{{"{key}":"{text}"{more}}}}}"#);
            if let Ok(value) = parse(bytes.as_bytes()) {
                prop_assert_eq!(serde_json::from_str::<Value>(&bytes).unwrap(), value);
            }
        }
    }
}
