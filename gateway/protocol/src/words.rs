//! A person's or an agent's own words that somebody else reads: the reason of a denial or a revocation, the purpose of a request;
//! and numbers in words.
//!
//! Must not know: where they are shown.

use crate::unseen::{is_seen_joiner, is_unseen};
use std::fmt::Display;

/// Most characters of them, as [`collapsed`] counts.
pub const MAX_WORDS: usize = 280;

/// A reason that is longer than [`MAX_WORDS`]; it has so many characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a reason has {max} characters at most, and this one has {0}", max = MAX_WORDS)]
pub struct ReasonTooLong(pub usize);

/// Words as they are kept: control characters, and those that are not seen or turn text around, are spaces; white space is
/// collapsed. A joiner that a reader sees stays.
#[must_use]
pub fn collapsed(text: &str) -> String {
    let spaced = text.char_indices().map(|(at, c)| {
        // A variation selector is seen behind an emoji alone.
        let is_space = match c {
            '\u{fe0f}' => !is_seen_joiner(text, at + c.len_utf8()),
            c => is_unseen(c) && !is_seen_joiner(text, at),
        };
        if is_space { ' ' } else { c }
    });
    let spaced: String = spaced.collect();
    let parts: Vec<_> = spaced.split_whitespace().collect();
    parts.join(" ")
}

/// A number of things, by a noun whose plural has an `s`: "1 event", "3 events".
#[must_use]
pub fn counted<N: Copy + Display + From<u8> + PartialEq>(count: N, noun: &str) -> String {
    let s = if count == N::from(1) { "" } else { "s" };
    format!("{count} {noun}{s}")
}

/// At most `max` characters; the last is `…` where something was cut.
#[must_use]
pub fn cut(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    text.chars()
        .take(max.saturating_sub(1))
        .chain(['…'])
        .collect()
}

/// The words about a denial, and what its agent is to do then.
#[must_use]
pub fn denied(reason: Option<&str>) -> (String, &'static str) {
    match reason {
        Some(reason) => (
            format!("The owner denied it: {reason}"),
            "stop; do something else",
        ),
        None => (
            "The owner denied it.".to_owned(),
            "stop; do something else, or ask the owner why",
        ),
    }
}

/// A reason as it is kept; empty where it says nothing.
///
/// # Errors
/// It is too long: nobody's reason is cut.
pub fn reason(text: &str) -> Result<String, ReasonTooLong> {
    let reason = collapsed(text);
    match reason.chars().count() {
        ..=MAX_WORDS => Ok(reason),
        length => Err(ReasonTooLong(length)),
    }
}

/// The reason that a request gives, if it says anything.
///
/// # Errors
/// As [`reason`].
pub fn given_reason(text: Option<&str>) -> Result<Option<String>, ReasonTooLong> {
    let given = text.map(reason).transpose()?;
    Ok(given.filter(|reason| !reason.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_is_whole_or_refused() {
        let just = "x".repeat(MAX_WORDS);
        assert_eq!(reason(&just), Ok(just.clone()));
        assert_eq!(reason(&format!(" {just}\n\u{200b} ")), Ok(just.clone()));
        let long = reason(&format!("{just}y")).unwrap_err();
        let said = "a reason has 280 characters at most, and this one has 281";
        assert_eq!(long.to_string(), said);
        assert_eq!(given_reason(Some(" \u{fe0f} ")), Ok(None));
        assert_eq!(given_reason(Some(" a\tb ")), Ok(Some("a b".into())));
        assert_eq!(given_reason(None), Ok(None));
        for joined in ["می\u{200c}خواهم", "❤\u{fe0f}\u{200d}🔥"] {
            assert_eq!(reason(joined).as_deref(), Ok(joined));
        }
        assert_eq!(reason("pay\u{200c}pal \u{200d}"), Ok("pay pal".into()));
        assert_eq!(
            (cut("abcd", 4), cut("abcdef", 4)),
            ("abcd".into(), "abc…".into())
        );
    }
}
