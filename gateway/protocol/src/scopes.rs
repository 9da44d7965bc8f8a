//! What a token is good for, in a server's own words (RFC 6749, section 3.3).
//!
//! Invariant: each is of visible ASCII without `"` and `\`; a list has each once, at most [`MAX_SCOPES`] of them and
//! [`MAX_SCOPES_TEXT`] bytes.
//!
//! Must not know: what a scope means: nobody but its server does.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Most scopes of one list.
pub const MAX_SCOPES: usize = 32;
/// Longest list, in bytes, with a space between two.
pub const MAX_SCOPES_TEXT: usize = 1_024;

/// A list of scopes, in the order in which they were named; it may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Scopes(Vec<String>);

/// A text that is no list of scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no list of scopes: words of visible ASCII, {MAX_SCOPES} and {MAX_SCOPES_TEXT} bytes at most"
)]
pub struct NoScopesError;

impl Scopes {
    /// Reads a list, with spaces between two.
    ///
    /// # Errors
    /// It holds another character, or more than a list may.
    pub fn parse(text: &str) -> Result<Self, NoScopesError> {
        let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
        let mut scopes = Self::default();
        if text.len() > MAX_SCOPES_TEXT {
            return Err(NoScopesError);
        }
        for one in text.split(' ').filter(|one| !one.is_empty()) {
            if !one.bytes().all(plain) {
                return Err(NoScopesError);
            }
            if !scopes.has(one) {
                scopes.0.push(one.to_owned());
            }
        }
        match scopes.0.len() > MAX_SCOPES {
            true => Err(NoScopesError),
            false => Ok(scopes),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What follows a sentence about a server that wants these: they are its words, and none of ours.
    #[must_use]
    pub fn in_its_words(&self) -> String {
        match self.is_empty() {
            true => String::new(),
            false => format!(", in its own words: \"{self}\""),
        }
    }

    fn has(&self, scope: &str) -> bool {
        self.0.iter().any(|one| one == scope)
    }

    /// Those that are not in `other`.
    #[must_use]
    pub fn beyond(&self, other: &Self) -> Self {
        let new = self.0.iter().filter(|one| !other.has(one));
        Self(new.cloned().collect())
    }

    /// These, and then those of `other`, as far as a list may hold them.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        other.0.iter().fold(self.clone(), |both, one| {
            Self::parse(&format!("{both} {one}")).unwrap_or(both)
        })
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

impl TryFrom<String> for Scopes {
    type Error = NoScopesError;
    fn try_from(text: String) -> Result<Self, NoScopesError> {
        Self::parse(&text)
    }
}

impl From<Scopes> for String {
    fn from(scopes: Scopes) -> Self {
        scopes.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Scopes {
        Scopes::parse(text).unwrap()
    }

    #[test]
    fn lists_are_bounded_and_hold_each_scope_once() {
        assert_eq!(of(" a  b:c a ").to_string(), "a b:c");
        assert!(of("").is_empty());
        let many: Vec<_> = (0..=MAX_SCOPES).map(|n| n.to_string()).collect();
        for bad in [
            "a\tb",
            "a \"b\"",
            "é",
            "a\\",
            "\u{1b}[2J",
            &many.join(" "),
            &"x".repeat(MAX_SCOPES_TEXT + 1),
        ] {
            assert_eq!(Scopes::parse(bad), Err(NoScopesError), "{bad}");
        }
        assert_eq!(of(&many[1..].join(" ")).0.len(), MAX_SCOPES);
        let long = of(&"x".repeat(MAX_SCOPES_TEXT));
        assert_eq!(long.with(&of("y")), long);
        let nearly = of(&"x".repeat(MAX_SCOPES_TEXT - 2));
        let with = nearly.with(&of("long y z"));
        assert_eq!(with, of(&format!("{nearly} y")));
    }

    #[test]
    fn union_and_difference_keep_the_order() {
        let (had, wanted) = (of("b a"), of("c a d"));
        assert_eq!(had.with(&wanted), of("b a c d"));
        assert_eq!(wanted.beyond(&had), of("c d"));
        let text = serde_json::to_string(&wanted).unwrap();
        assert_eq!(text, r#""c a d""#);
        assert_eq!(serde_json::from_str::<Scopes>(&text).unwrap(), wanted);
        let why = serde_json::from_str::<Scopes>(r#""a\nb""#).unwrap_err();
        assert!(why.to_string().starts_with("no list of scopes"), "{why}");
    }
}
