//! What a capability is rated as and for how long it may be granted.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What a call may do. A capability that declares only [`Verb::Read`] is a read; every other one is an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Returns what is there and changes nothing.
    Read,
    /// Changes the source.
    Write,
    /// Runs code, or makes other software run it.
    Execute,
}

impl Verb {
    /// The wire word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Execute => "execute",
        }
    }
    /// The inverse of [`Verb::as_str`].
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Read, Self::Write, Self::Execute]
            .into_iter()
            .find(|v| v.as_str() == word)
    }
}

/// A set of verbs, written in the order read, write, execute.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Verbs(u8);

impl Verbs {
    /// No verb: what a skill declares.
    pub const NONE: Self = Self(0);
    /// Only [`Verb::Read`].
    pub const READ: Self = Self(1);

    /// The set of `verbs`.
    pub fn of(verbs: impl IntoIterator<Item = Verb>) -> Self {
        Self(verbs.into_iter().fold(0, |set, verb| set | 1 << verb as u8))
    }
    /// Whether `verb` is in it.
    #[must_use]
    pub fn contains(self, verb: Verb) -> bool {
        self.0 & 1 << verb as u8 != 0
    }
    /// Whether every verb of `other` is in it.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
    /// The verbs in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
    /// Whether it is exactly `{read}`; everything else that is not empty is an effect.
    #[must_use]
    pub fn is_read(self) -> bool {
        self == Self::READ
    }
    /// In wire order.
    pub fn iter(self) -> impl Iterator<Item = Verb> {
        [Verb::Read, Verb::Write, Verb::Execute]
            .into_iter()
            .filter(move |v| self.contains(*v))
    }
}

impl fmt::Debug for Verbs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.iter().map(Verb::as_str))
            .finish()
    }
}

impl Serialize for Verbs {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Verbs {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Ok(Self::of(Vec::<Verb>::deserialize(d)?))
    }
}

/// How much harm one call can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sensitivity {
    /// Reads of first-party and managed sources.
    Low,
    /// Writes that stay on the machine and can be taken back.
    Elevated,
    /// Leaves the machine, runs code, or cannot be taken back.
    High,
}

impl Sensitivity {
    /// The wire word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Elevated => "elevated",
            Self::High => "high",
        }
    }
}

/// Where a capability comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provenance {
    /// A source that ships with the gateway.
    FirstParty,
    /// A source of a shipped connector that the owner configured.
    Managed,
    /// A source that somebody else described.
    Extension,
}

impl Provenance {
    /// The wire word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FirstParty => "first-party",
            Self::Managed => "managed",
            Self::Extension => "extension",
        }
    }

    /// Whether a shipped connector has a capability of this wire word; an unknown word is another's.
    #[must_use]
    pub fn is_ours(word: &str) -> bool {
        [Self::FirstParty, Self::Managed]
            .iter()
            .any(|ours| ours.as_str() == word)
    }
}

/// For how long a grant lasts. On the wire `{"kind": …, "ms"?: …}` (docs/protocol/agents.md#trust-windows).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "WireWindow", into = "WireWindow")]
pub enum TrustWindow {
    /// One call, bound to its input.
    Once,
    /// A stretch of wall time, in milliseconds, under one of the wire's names.
    For {
        /// The name it travels under.
        kind: WindowKind,
        /// Its length in milliseconds; more than 0.
        ms: u64,
    },
    /// Until the owner ends it.
    UntilRevoked,
}

/// The names of the timed windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WindowKind {
    /// One hour.
    Hour,
    /// One day.
    Day,
    /// Seven days.
    Week,
    /// As many milliseconds as it says.
    Custom,
}

/// One hour in milliseconds.
pub const HOUR_MS: u64 = 3_600_000;
/// One day in milliseconds.
pub const DAY_MS: u64 = 86_400_000;
/// How far off `until-revoked` is stored: 36 500 days (docs/protocol/agents.md#trust-windows).
pub const FOREVER_MS: u64 = 36_500 * DAY_MS;

impl TrustWindow {
    /// One hour.
    pub const HOUR: Self = Self::For {
        kind: WindowKind::Hour,
        ms: HOUR_MS,
    };
    /// One day.
    pub const DAY: Self = Self::For {
        kind: WindowKind::Day,
        ms: DAY_MS,
    };
    /// Seven days.
    pub const WEEK: Self = Self::For {
        kind: WindowKind::Week,
        ms: 7 * DAY_MS,
    };

    /// Its length in milliseconds; 0 for [`TrustWindow::Once`].
    #[must_use]
    pub fn length_ms(self) -> u64 {
        match self {
            Self::Once => 0,
            Self::For { ms, .. } => ms,
            Self::UntilRevoked => FOREVER_MS,
        }
    }
    /// The wire's name of the kind.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Once => "once",
            Self::For {
                kind: WindowKind::Hour,
                ..
            } => "1h",
            Self::For {
                kind: WindowKind::Day,
                ..
            } => "1d",
            Self::For {
                kind: WindowKind::Week,
                ..
            } => "7d",
            Self::For {
                kind: WindowKind::Custom,
                ..
            } => "custom",
            Self::UntilRevoked => "until-revoked",
        }
    }
    /// As [`Self::parse`] reads it: `1d`, `90m`. A length of its own is cut to whole minutes, at least one.
    #[must_use]
    pub fn argument(self) -> String {
        match self {
            Self::For {
                kind: WindowKind::Custom,
                ms,
            } => format!("{}m", (ms / 60_000).max(1)),
            other => other.kind().to_owned(),
        }
    }
    /// How a sentence names it: "for this one request only", "for up to 1 hour", …
    /// (docs/protocol/agents.md#ask-for-grants).
    #[must_use]
    pub fn phrase(self) -> &'static str {
        match self {
            Self::Once => "for this one request only",
            Self::For {
                kind: WindowKind::Hour,
                ..
            } => "for up to 1 hour",
            Self::For {
                kind: WindowKind::Day,
                ..
            } => "for up to 1 day",
            Self::For {
                kind: WindowKind::Week,
                ..
            } => "for up to 7 days",
            Self::For {
                kind: WindowKind::Custom,
                ..
            } => "for the chosen duration",
            Self::UntilRevoked => "until you revoke it",
        }
    }
    /// Reads one of `once`, `1h`, `1d`, `7d`, `until-revoked`, or a custom length such as `90m`, `12h`, `3d`.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        if let Ok(window) = Self::try_from(WireWindow {
            kind: word.to_owned(),
            ms: None,
        }) {
            return Some(window);
        }
        let (number, unit) = word.split_at_checked(word.len().checked_sub(1)?)?;
        let unit_ms = match unit {
            "m" => 60_000,
            "h" => HOUR_MS,
            "d" => DAY_MS,
            _ => return None,
        };
        let ms = number.parse::<u64>().ok()?.checked_mul(unit_ms)?;
        (ms > 0).then_some(Self::For {
            kind: WindowKind::Custom,
            ms,
        })
    }
}

#[derive(Clone, Serialize, Deserialize)]
struct WireWindow {
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ms: Option<u64>,
}

impl TryFrom<WireWindow> for TrustWindow {
    type Error = String;
    fn try_from(wire: WireWindow) -> Result<Self, String> {
        Ok(match wire.kind.as_str() {
            "once" => Self::Once,
            "1h" => Self::HOUR,
            "1d" => Self::DAY,
            "7d" => Self::WEEK,
            "until-revoked" => Self::UntilRevoked,
            "custom" => match wire.ms {
                Some(ms) if ms > 0 => Self::For {
                    kind: WindowKind::Custom,
                    ms,
                },
                _ => return Err("a custom trust window needs ms > 0".into()),
            },
            other => {
                return Err(format!(
                    "unknown trust window {other:?}; known: once, 1h, 1d, 7d, until-revoked, custom"
                ));
            }
        })
    }
}

impl From<TrustWindow> for WireWindow {
    fn from(window: TrustWindow) -> Self {
        let ms = match window {
            TrustWindow::For { ms, .. } => Some(ms),
            TrustWindow::Once | TrustWindow::UntilRevoked => None,
        };
        Self {
            kind: window.kind().to_owned(),
            ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_travel_as_kind_and_ms() {
        let text = |window: TrustWindow| serde_json::to_string(&window).unwrap();
        assert_eq!(text(TrustWindow::WEEK), r#"{"kind":"7d","ms":604800000}"#);
        assert_eq!(text(TrustWindow::Once), r#"{"kind":"once"}"#);
        for (bad, words) in [
            (r#"{"kind":"2y"}"#, "unknown trust window \"2y\""),
            (r#"{"kind":"custom"}"#, "a custom trust window needs ms > 0"),
            (r#"{"kind":"custom","ms":0}"#, "a custom trust window needs"),
            (
                r#"{"kind":"custom","ms":-5}"#,
                "invalid value: integer `-5`",
            ),
        ] {
            let why = serde_json::from_str::<TrustWindow>(bad).unwrap_err();
            assert!(why.to_string().starts_with(words), "{bad}: {why}");
        }
        let (kind, ms) = (WindowKind::Custom, 5_400_000);
        let custom = TrustWindow::For { kind, ms };
        assert_eq!(TrustWindow::parse("90m"), Some(custom));
        assert_eq!(TrustWindow::parse("1d"), Some(TrustWindow::DAY));
        for window in [
            custom,
            TrustWindow::Once,
            TrustWindow::WEEK,
            TrustWindow::UntilRevoked,
        ] {
            assert_eq!(TrustWindow::parse(&window.argument()), Some(window));
        }
        for bad in ["", "d", "0m", "-1h", "1w", "99999999999999999999d"] {
            assert_eq!(TrustWindow::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn verbs_are_a_set() {
        let all = Verbs::of([Verb::Execute, Verb::Read]);
        let text = serde_json::to_string(&all).unwrap();
        assert_eq!(text, r#"["read","execute"]"#);
        assert!(all.covers(Verbs::READ) && !Verbs::READ.covers(all) && all.covers(Verbs::NONE));
        assert!(Verbs::READ.is_read() && !all.is_read() && !Verbs::NONE.is_read());
    }
}
