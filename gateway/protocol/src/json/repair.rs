//! JSON of others, written again so that every reader takes it alike.
//!
//! A server that is lent answers with what its language prints: `NaN`, a key twice, half a character. None of that is ours to
//! refuse (docs/design.md#answers-of-others). One sweep over the bytes writes the same value again. Of the text that came,
//! only the tokens of numbers are kept.
//!
//! | what came | what is written |
//! |---|---|
//! | a key twice | its last value |
//! | `NaN`, `Infinity`, `-Infinity` | `null` |
//! | half of a surrogate pair, bytes that are no UTF-8 | U+FFFD |
//! | a control character in a text | its escape |
//! | a number that neither an integer of 64 bits nor a double holds | its digits, as a text |
//! | a fraction of more than 64 bytes | the nearest double |
//! | a value that is nested too deep, a key of `serde_json`'s own | `null`; nothing |
//!
//! Invariants: what is written is one JSON value of the depth that was asked for, and no longer than six times the bytes; each
//! change is noted with its place; time and memory grow with the bytes.

use super::{NotStrict, SERDE_JSONS_OWN, pointer_token};
use std::{collections::HashMap, fmt, ops::Range};

/// Most changes that are named one by one.
const MAX_NAMED: usize = 8;
/// Longest token of a number that is kept as it came, in bytes.
const MAX_NUMBER: usize = 64;
/// Longest part of a place that is named, in bytes.
const MAX_NAME: usize = 64;

/// A value that was written again.
#[derive(Debug)]
pub struct Repaired {
    /// The value as JSON.
    pub text: String,
    /// What was changed.
    pub changes: Changes,
    /// How many values it has, each member and element counted.
    pub values: usize,
}

/// What was changed, in the order in which it came.
#[derive(Debug, Default)]
pub struct Changes {
    named: Vec<Change>,
    count: usize,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where: a JSON pointer.
    pub at: String,
    /// What came, and what stands for it.
    pub what: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = if self.at.is_empty() { "/" } else { &self.at };
        write!(f, "{at}: {}", self.what)
    }
}

impl Changes {
    /// Whether the text says what came.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
    /// The first of them.
    #[must_use]
    pub fn first(&self) -> Option<&Change> {
        self.named.first()
    }
    /// One sentence for each of those below the place `under` that are named, and one for the rest.
    #[must_use]
    pub fn sentences(&self, under: &str) -> Vec<String> {
        let below = |change: &&Change| change.at.starts_with(under);
        let named = self.named.iter().filter(below);
        let mut sentences: Vec<_> = named.map(ToString::to_string).collect();
        let more = self.count - self.named.len();
        if more > 0 {
            sentences.push(format!("and {more} more changes of this kind"));
        }
        sentences
    }
}

/// Writes one value again, at most `depth` levels deep.
///
/// # Errors
/// The bytes are no JSON, or more than one value.
pub fn repaired(bytes: &[u8], depth: usize) -> Result<Repaired, NotStrict> {
    let mut sweep = Sweep {
        bytes,
        at: 0,
        text: String::with_capacity(bytes.len()),
        replaced: Vec::new(),
        path: Vec::new(),
        depth,
        changes: Changes::default(),
        values: 0,
    };
    sweep.value()?;
    sweep.space();
    if sweep.at < bytes.len() {
        return Err(sweep.wrong("more than one value"));
    }
    Ok(Repaired {
        text: without(sweep.text, sweep.replaced),
        changes: sweep.changes,
        values: sweep.values,
    })
}

/// `text` without some of its parts, which may lie in each other.
fn without(text: String, mut parts: Vec<Range<usize>>) -> String {
    if parts.is_empty() {
        return text;
    }
    parts.sort_unstable_by_key(|part| (part.start, std::cmp::Reverse(part.end)));
    let (mut left, mut from) = (String::with_capacity(text.len()), 0);
    for part in parts {
        if part.start >= from {
            left.push_str(&text[from..part.start]);
            from = part.end;
        }
    }
    left.push_str(&text[from..]);
    left
}

enum Step {
    Member(String),
    Element(usize),
}

struct Sweep<'a> {
    bytes: &'a [u8],
    at: usize,
    text: String,
    /// Members whose key came again.
    replaced: Vec<Range<usize>>,
    path: Vec<Step>,
    /// Levels that may still be opened.
    depth: usize,
    changes: Changes,
    values: usize,
}

impl Sweep<'_> {
    fn wrong(&self, why: &str) -> NotStrict {
        NotStrict(format!("{why} at byte {}", self.at))
    }

    fn changed(&mut self, what: impl Into<String>) {
        self.changes.count += 1;
        if self.changes.named.len() < MAX_NAMED {
            let at = self.place();
            let what = what.into();
            self.changes.named.push(Change { at, what });
        }
    }

    /// The JSON pointer of the value that is read.
    fn place(&self) -> String {
        let mut place = String::new();
        for step in &self.path {
            place.push('/');
            match step {
                Step::Element(index) => place.push_str(&index.to_string()),
                Step::Member(key) => {
                    let key = pointer_token(key);
                    place.push_str(&key[..key.floor_char_boundary(MAX_NAME)]);
                }
            }
        }
        place
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn takes(&mut self, word: &[u8]) -> bool {
        let is_next = self.bytes[self.at..].starts_with(word);
        self.at += if is_next { word.len() } else { 0 };
        is_next
    }

    fn expect(&mut self, byte: u8, why: &str) -> Result<(), NotStrict> {
        self.space();
        match self.takes(&[byte]) {
            true => Ok(()),
            false => Err(self.wrong(why)),
        }
    }

    fn value(&mut self) -> Result<(), NotStrict> {
        self.values += 1;
        self.space();
        match self.peek() {
            Some(b'{' | b'[') if self.depth == 0 => self.too_deep(),
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') if !self.bytes[self.at..].starts_with(b"-I") => self.number(),
            _ => self.word(),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<(), NotStrict>) -> Result<(), NotStrict> {
        self.at += 1;
        self.depth -= 1;
        read(self)?;
        self.depth += 1;
        Ok(())
    }

    /// Passes over what is nested too deep.
    fn too_deep(&mut self) -> Result<(), NotStrict> {
        let mut open = 0usize;
        let mut in_string = false;
        while let Some(byte) = self.peek() {
            self.at += 1;
            match byte {
                b'\\' if in_string => self.at += 1,
                b'"' => in_string = !in_string,
                b'{' | b'[' if !in_string => open += 1,
                b'}' | b']' if !in_string => open -= 1,
                _ => {}
            }
            if open == 0 {
                self.changed("nested too deep: null stands for it");
                self.text.push_str("null");
                return Ok(());
            }
        }
        Err(self.wrong("a value without its end"))
    }

    fn word(&mut self) -> Result<(), NotStrict> {
        for word in ["null", "true", "false"] {
            if self.takes(word.as_bytes()) {
                self.text.push_str(word);
                return Ok(());
            }
        }
        for word in ["NaN", "Infinity", "-Infinity"] {
            if self.takes(word.as_bytes()) {
                self.changed(format!("{word}: null stands for it"));
                self.text.push_str("null");
                return Ok(());
            }
        }
        Err(self.wrong("no value"))
    }

    fn number(&mut self) -> Result<(), NotStrict> {
        let begin = self.at;
        self.takes(b"-");
        let digits = |sweep: &mut Self| {
            let from = sweep.at;
            while matches!(sweep.peek(), Some(b'0'..=b'9')) {
                sweep.at += 1;
            }
            sweep.at > from
        };
        let mut is_number = self.takes(b"0") || digits(self);
        if self.takes(b".") {
            is_number &= digits(self);
        }
        if self.takes(b"e") || self.takes(b"E") {
            let _sign = self.takes(b"+") || self.takes(b"-");
            is_number &= digits(self);
        }
        let token = self.bytes.get(begin..self.at).unwrap_or_default();
        let token = str::from_utf8(token).unwrap_or_default();
        if !is_number {
            return Err(self.wrong("no number"));
        }
        let is_fraction = token.contains(['.', 'e', 'E']);
        let double = token.parse().ok().and_then(serde_json::Number::from_f64);
        let written = match double {
            Some(double) if is_fraction && token.len() > MAX_NUMBER => double.to_string(),
            Some(_) if is_fraction => token.to_owned(),
            _ if token.parse::<i64>().is_ok() || token.parse::<u64>().is_ok() => token.to_owned(),
            _ => format!("\"{token}\""),
        };
        if written != token {
            let shown = &token[..token.len().min(MAX_NUMBER)];
            self.changed(match written.starts_with('"') {
                true => format!("{shown} is a number of more than 64 bits: it is given as a text"),
                false => format!(
                    "a number of {} bytes: the nearest double stands for it",
                    token.len()
                ),
            });
        }
        self.text.push_str(&written);
        Ok(())
    }

    fn array(&mut self) -> Result<(), NotStrict> {
        self.text.push('[');
        self.space();
        let mut index = 0;
        let mut is_over = self.takes(b"]");
        while !is_over {
            if index > 0 {
                self.text.push(',');
            }
            self.path.push(Step::Element(index));
            self.value()?;
            self.path.pop();
            index += 1;
            self.space();
            is_over = self.takes(b"]");
            if !is_over {
                self.expect(b',', "no comma between two elements")?;
            }
        }
        self.text.push(']');
        Ok(())
    }

    fn object(&mut self) -> Result<(), NotStrict> {
        self.text.push('{');
        self.space();
        let mut members = HashMap::<String, Range<usize>>::new();
        let mut is_over = self.takes(b"}");
        let mut last = None;
        while !is_over {
            self.space();
            let begin = self.text.len();
            self.string()?;
            let key = serde_json::from_str::<String>(&self.text[begin..]);
            let key = key.map_err(|_| self.wrong("no key"))?;
            self.expect(b':', "no colon after a key")?;
            self.text.push(':');
            self.path.push(Step::Member(key.clone()));
            self.value()?;
            self.text.push(',');
            let member = begin..self.text.len();
            if key.starts_with(SERDE_JSONS_OWN) {
                self.changed("a key that cannot be carried: left out");
                self.replaced.push(member);
            } else {
                last = Some(member.clone());
                if let Some(earlier) = members.insert(key, member) {
                    self.changed("the key is there twice: its last value counts");
                    self.replaced.push(earlier);
                }
            }
            self.path.pop();
            self.space();
            is_over = self.takes(b"}");
            if !is_over {
                self.expect(b',', "no comma between two members")?;
            }
        }
        // Of the members that are kept the last has no comma behind it.
        if let Some(last) = last {
            self.replaced.push(last.end - 1..last.end);
            if last.end == self.text.len() {
                self.replaced.pop();
                self.text.pop();
            }
        }
        self.text.push('}');
        Ok(())
    }

    fn string(&mut self) -> Result<(), NotStrict> {
        self.expect(b'"', "no text")?;
        self.text.push('"');
        let mut half = false;
        loop {
            let from = self.at;
            while !matches!(self.peek(), None | Some(b'"' | b'\\' | 0..0x20)) {
                self.at += 1;
            }
            self.spelled(from);
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => half |= self.escape()?,
                Some(control) => {
                    self.changed("a control character in a text: it is escaped");
                    self.text.push_str(&format!("\\u{control:04x}"));
                    self.at += 1;
                }
                None => return Err(self.wrong("a text without its end")),
            }
        }
        self.at += 1;
        self.text.push('"');
        if half {
            self.changed("half a character in a text: U+FFFD stands for it");
        }
        Ok(())
    }

    /// Writes the bytes from there on that need no escape.
    fn spelled(&mut self, from: usize) {
        let bytes = self.bytes.get(from..self.at).unwrap_or_default();
        let spelled = String::from_utf8_lossy(bytes);
        if let std::borrow::Cow::Owned(_) = spelled {
            self.changed("bytes that are no UTF-8: U+FFFD stands for them");
        }
        self.text.push_str(&spelled);
    }

    /// Writes one escape; whether it was half a character.
    fn escape(&mut self) -> Result<bool, NotStrict> {
        let letter = self.bytes.get(self.at + 1).copied();
        match letter {
            Some(letter @ (b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't')) => {
                self.at += 2;
                self.text.push('\\');
                self.text.push(letter.into());
                Ok(false)
            }
            Some(b'u') => {
                let first = self.unit(self.at);
                let first = first.ok_or_else(|| self.wrong("no escape"))?;
                let second = match first {
                    0xd800..0xdc00 => self.unit(self.at + 6),
                    _ => None,
                };
                let units = [first, second.unwrap_or_default()];
                let mut spelled =
                    char::decode_utf16(units.into_iter().take(1 + usize::from(second.is_some())));
                let (character, length) = match spelled.next() {
                    Some(Ok(character)) => (Some(character), 6 * character.len_utf16()),
                    _ => (None, 6),
                };
                self.at += length;
                match character {
                    Some(character @ ('"' | '\\' | '\0'..' ')) => {
                        self.text
                            .push_str(&format!("\\u{:04x}", u32::from(character)));
                    }
                    Some(character) => self.text.push(character),
                    None => self.text.push('\u{fffd}'),
                }
                Ok(character.is_none())
            }
            _ => Err(self.wrong("no escape")),
        }
    }

    /// The code unit of the escape that begins there.
    fn unit(&self, at: usize) -> Option<u16> {
        let digits = self.bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
        let all_hex = digits.iter().all(u8::is_ascii_hexdigit);
        let digits = str::from_utf8(digits).ok().filter(|_| all_hex)?;
        u16::from_str_radix(digits, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn text_of(came: &[u8]) -> String {
        repaired(came, 64).expect("JSON").text
    }

    #[test]
    fn value_of_others_is_written_again() {
        #[rustfmt::skip]
        let rows = [
            (&br#" {"a" : [1, 2.50, 6.02E23, -0.0, 1e-400] }"#[..], r#"{"a":[1,2.50,6.02E23,-0.0,1e-400]}"#, 0),
            (b"[18446744073709551615,-9223372036854775808,1E400]", r#"[18446744073709551615,-9223372036854775808,"1E400"]"#, 1),
            (b"[18446744073709551616,-9223372036854775809]", r#"["18446744073709551616","-9223372036854775809"]"#, 2),
            (b"[NaN,Infinity,-Infinity,-1]", "[null,null,null,-1]", 3),
            (br#"{"a":1,"b":2,"a":{"c":3}}"#, r#"{"b":2,"a":{"c":3}}"#, 1),
            (br#"{"a":1,"\u0061":2}"#, r#"{"a":2}"#, 1),
            (br#"{"a":{"b":1,"b":2},"a":{"b":3,"b":4}}"#, r#"{"a":{"b":4}}"#, 3),
            (br#"{"a":1,"$serde_json::private::RawValue":"2"}"#, r#"{"a":1}"#, 1),
            (br#"{"$serde_json::private::RawValue":"2"}"#, "{}", 1),
            (br#""\ud83d\ude00 \ud83d \ude00""#, "\"\u{1f600} \u{fffd} \u{fffd}\"", 1),
            (br#""\ud83dx\ud83d\u0041""#, "\"\u{fffd}x\u{fffd}A\"", 1),
            (br#""\u0022\u005c\u000a\/\n""#, r#""\u0022\u005c\u000a\/\n""#, 0),
            (b"\"caf\xe9\"", "\"caf\u{fffd}\"", 1),
            (b"\"a\tb\"", r#""a\u0009b""#, 1),
            (b"{}", "{}", 0),
            (b"[]", "[]", 0),
        ];
        for (came, written, changes) in rows {
            let repaired = repaired(came, 64).expect("JSON");
            assert_eq!(repaired.text, written);
            assert_eq!(repaired.changes.count, changes, "{written}");
        }
        let long = "7".repeat(400);
        assert_eq!(text_of(long.as_bytes()), format!("\"{long}\""));
        let fraction = |length: usize| format!("0.{}", "3".repeat(length - 2));
        for long in [MAX_NUMBER + 1, 92] {
            assert_eq!(text_of(fraction(long).as_bytes()), "0.3333333333333333");
        }
        let longest = fraction(MAX_NUMBER);
        assert_eq!(text_of(longest.as_bytes()), longest);
    }

    #[test]
    fn values_are_counted() {
        for (came, values) in [("1", 1), ("[]", 1), (r#"{"a":[1,"b",{}],"c":null}"#, 6)] {
            assert_eq!(repaired(came.as_bytes(), 64).expect("JSON").values, values);
        }
    }

    #[test]
    fn what_is_too_deep_ends_where_it_ends() {
        for deep in [
            "[[1],[2]]",
            r#"{"a":{}}"#,
            r#"["]","\"]","\\",2]"#,
            r#"["}[{"]"#,
            // Outside of a text it hides nothing.
            r"[\]",
        ] {
            let came = format!("[{deep},3]");
            let Repaired { text, changes, .. } = repaired(came.as_bytes(), 1).expect("JSON");
            assert_eq!(text, "[null,3]", "{deep}");
            assert_eq!(changes.first().expect("a change").at, "/0");
            assert!(!changes.is_empty());
        }
    }

    #[test]
    fn change_says_where_it_is() {
        let came = br#"{"rows":[{"a/b":NaN}],"deep":[[[1]]]}"#;
        let Repaired { text, changes, .. } = repaired(came, 3).expect("JSON");
        assert_eq!(text, r#"{"rows":[{"a/b":null}],"deep":[[null]]}"#);
        assert_eq!(
            changes.sentences(""),
            [
                "/rows/0/a~1b: NaN: null stands for it",
                "/deep/0/0: nested too deep: null stands for it"
            ]
        );
        assert_eq!(changes.sentences("/deep").len(), 1);
        let many = format!("[{}NaN]", "NaN,".repeat(99));
        let changes = repaired(many.as_bytes(), 3).expect("JSON").changes;
        assert_eq!(
            changes.sentences("").last().unwrap(),
            "and 92 more changes of this kind"
        );
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for (bad, why) in [
            ("", "no value at byte 0"),
            ("{", "no text at byte 1"),
            ("[1", "no comma between two elements at byte 2"),
            ("[1 2]", "no comma between two elements at byte 3"),
            ("{\"a\"}", "no colon after a key at byte 4"),
            ("{a:1}", "no text at byte 1"),
            ("1 2", "more than one value at byte 2"),
            ("01", "more than one value at byte 1"),
            ("-", "no number at byte 1"),
            ("1.", "no number at byte 2"),
            (".5", "no value at byte 0"),
            ("1e", "no number at byte 2"),
            ("+1", "no value at byte 0"),
            ("nul", "no value at byte 0"),
            ("'a'", "no value at byte 0"),
            ("\"\\x\"", "no escape at byte 1"),
            ("\"\\u12g4\"", "no escape at byte 1"),
            ("\"", "a text without its end at byte 1"),
            ("[1,]", "no value at byte 3"),
            ("{\"a\":1,}", "no text at byte 7"),
            ("-NaN", "no number at byte 1"),
            ("[[[[", "a value without its end at byte 4"),
            ("{\"a\":[[[[", "a value without its end at byte 9"),
        ] {
            let refused = repaired(bad.as_bytes(), 3).map(drop).unwrap_err();
            assert_eq!(refused.to_string(), why, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn strict_text_keeps_its_value(items in proptest::collection::vec(proptest::sample::select(vec![
            "0", "-1.50", "1e1", "null", "true", "[]", "{\"a\" : {}}", "{\"\\u0061\":1,\"b\":2}", "\"\u{e4}\\n\\u0022\"",
            "\"\\u00e4\"", "\"\\ud83d\\ude00\"", "\"\\ud83d\"", "{\"a\":1,\"a\":2}", "1e400",
        ]), 0..6)) {
            let bytes = format!("[{}]", items.join(", ")).into_bytes();
            if let Ok(value) = super::super::parse(&bytes) {
                let again = repaired(&bytes, 64).expect("JSON");
                prop_assert!(again.changes.is_empty());
                prop_assert_eq!(serde_json::from_str::<Value>(&again.text).unwrap(), value);
            }
        }

        /// Whatever comes, what is written is what every reader takes.
        #[test]
        fn what_is_written_is_json(parts in proptest::collection::vec(proptest::sample::select(vec![
            "[", "]", "{", "}", ",", ":", "\"a\"", "\"\\ud800\"", "\"\u{1}\"", "NaN", "1e400", "-0.50", "\"a\":", "\"b\":", "\"a\":1,", "null",
        ]), 0..16)) {
            if let Ok(again) = repaired(parts.concat().as_bytes(), 4) {
                let scanned = super::super::scan(again.text.as_bytes());
                prop_assert!(scanned.is_ok(), "{}", again.text);
                let twice = repaired(again.text.as_bytes(), 4).expect("JSON");
                prop_assert!(twice.changes.is_empty());
                prop_assert_eq!(twice.text, again.text);
            }
        }
    }
}
