//! Identifiers: each a newtype with one fallible constructor, which serde goes through too.
//!
//! Invariant: a value of one of these types has the form its documentation states; nobody re-checks it.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Visitor};
use std::{fmt, str::FromStr, sync::Arc};

/// An identifier that is not of its form. Says what the form is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not {0}")]
pub struct Malformed(pub &'static str);

/// Whether a text has the form of an id that a source gives to a thing of its own, such as a board or a change set: this prefix,
/// then hexadecimal digits and hyphens. It may be a part of a path or of a command.
#[must_use]
pub fn has_id_form(text: &str, prefix: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    let id = text.strip_prefix(prefix);
    id.is_some_and(|id| !id.is_empty() && id.bytes().all(is_plain))
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $form:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses the wire form; nothing is trimmed.
            ///
            /// # Errors
            /// [`Malformed`] names the form.
            pub fn parse(text: &str) -> Result<Self, Malformed> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) { Ok(Self(Arc::from(text))) } else { Err(Malformed($form)) }
            }
            /// The wire form.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a string")
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        $name::parse(text).map_err(E::custom)
                    }
                }
                d.deserialize_str(Text)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
        impl FromStr for $name {
            type Err = Malformed;
            fn from_str(text: &str) -> Result<Self, Malformed> {
                Self::parse(text)
            }
        }
        impl TryFrom<String> for $name {
            type Error = Malformed;
            fn try_from(text: String) -> Result<Self, Malformed> {
                Self::parse(&text)
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().to_owned()
            }
        }
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

fn word(text: &str, max: usize) -> bool {
    !text.is_empty()
        && text.len() <= max
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn prefixed_uuid(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|rest| {
        rest.len() == 36
            && uuid::Uuid::try_parse(rest)
                .is_ok_and(|id| id.hyphenated().encode_lower(&mut [0; 36]) == rest)
    })
}

identifier!(
    /// Who an agent is: 1 to 200 of `A-Z a-z 0-9 . _ -`, and not the console's name.
    AgentId,
    "an agent id (1 to 200 ASCII letters, digits, '.', '_' or '-'; not 'plexus-admin', '.' or '..')",
    |t| word(t, 200) && !t.eq_ignore_ascii_case(CONSOLE_NAME) && t != "." && t != ".."
);
identifier!(
    /// One configured source: 1 to 64 of `a-z 0-9 -`, beginning with a letter.
    SourceId,
    "a source id (1 to 64 lower-case ASCII letters, digits or '-', a letter first)",
    |t| t.len() <= 64
        && t.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
        && t.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
);
identifier!(
    /// `<source>.<name>`: the unit of exposure, grant, audit and invocation.
    CapabilityId,
    "a capability id (<source>.<name>, up to 200 ASCII letters, digits, '.', '_' or '-')",
    |t| word(t, 200) && t.contains('.') && !t.starts_with('.') && !t.ends_with('.')
);
identifier!(/** A session: `sess_` and a UUID. */ SessionId, "a session id (sess_ and a UUID)", |t| prefixed_uuid(t, "sess_"));
identifier!(/** A pending item: `pend_` and a UUID. */ PendingId, "a pending id (pend_ and a UUID)", |t| prefixed_uuid(t, "pend_"));
identifier!(/** A scoped token's `jti`: `tok_` and a UUID. */ TokenId, "a token id (tok_ and a UUID)", |t| prefixed_uuid(t, "tok_"));
identifier!(/** An asynchronous run: `run_` and a UUID. */ RunId, "a run id (run_ and a UUID)", |t| prefixed_uuid(t, "run_"));
identifier!(/** An audit event: `evt_` and a UUIDv8. */ AuditId, "an audit id (evt_ and a UUID)", |t| prefixed_uuid(t, "evt_"));

/// The name that the owner's own acts carry in the audit log; no agent can have it.
pub const CONSOLE_NAME: &str = "plexus-admin";

macro_rules! fresh {
    ($($name:ident $prefix:literal),*) => {$(
        impl $name {
            /// A new random identifier.
            #[must_use]
            pub fn fresh() -> Self {
                Self(Arc::from(format!(concat!($prefix, "{}"), uuid::Uuid::new_v4().hyphenated())))
            }
        }
    )*};
}
fresh!(SessionId "sess_", PendingId "pend_", TokenId "tok_", RunId "run_");

impl PendingId {
    /// The name of the conversation that an item's approval opens: what `/invoke/input` takes. So is the run named that
    /// the gateway makes for it.
    #[must_use]
    pub fn conversation(&self) -> RunId {
        RunId(Arc::from(format!(
            "run_{}",
            self.0.trim_start_matches("pend_")
        )))
    }
}

impl RunId {
    /// The item whose approval opened the conversation of this name, where it is one's.
    #[must_use]
    pub fn item(&self) -> PendingId {
        PendingId(Arc::from(format!(
            "pend_{}",
            self.0.trim_start_matches("run_")
        )))
    }
    /// The run that a message of a conversation is: the same for the same message.
    #[must_use]
    pub fn of_message(item: &PendingId, message: &crate::Digest) -> Self {
        let named = crate::Digest::of(format!("{item} {message}").as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&named.0[..16]);
        Self(Arc::from(format!(
            "run_{}",
            uuid::Uuid::new_v8(bytes).hyphenated()
        )))
    }
}

/// Between the agent that calls a source and the source, in the id of a nested agent.
const VIA: &str = ".via.";

impl AgentId {
    /// The nested agent as which `source` calls other sources: for `caller`, or for itself.
    ///
    /// # Errors
    /// [`Malformed`] where the joined text is too long for an id.
    pub fn via(caller: Option<&Self>, source: &SourceId) -> Result<Self, Malformed> {
        match caller {
            Some(caller) => Self::parse(&format!("{caller}{VIA}{source}")),
            None => Self::parse(&format!("{}{source}", VIA.trim_start_matches('.'))),
        }
    }

    /// The sources through which a nested agent calls, the first of them first; none of any other agent.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        let own = self.0.strip_prefix(VIA.trim_start_matches('.'));
        let through = own.or_else(|| self.0.split_once(VIA).map(|(_, through)| through));
        through.into_iter().flat_map(|through| through.split(VIA))
    }

    /// Of a nested agent, who called the last of its sources; none of any other agent, and of a source's own.
    #[must_use]
    pub fn caller(&self) -> Option<Self> {
        let (caller, _) = self.0.rsplit_once(VIA)?;
        Self::parse(caller).ok()
    }

    /// Whether only the gateway makes its calls: it has no code, no credential and no session outside.
    #[must_use]
    pub fn is_nested(&self) -> bool {
        self.sources().next().is_some()
    }

    /// Whether it is a nested agent of `caller`.
    #[must_use]
    pub fn is_nested_in(&self, caller: &Self) -> bool {
        let rest = self.0.strip_prefix(caller.as_str());
        rest.is_some_and(|rest| rest.starts_with(VIA))
    }
}

impl CapabilityId {
    /// Joins a source and the name that its manifest gives.
    ///
    /// # Errors
    /// [`Malformed`] when the joined text is not a capability id.
    pub fn of(source: &SourceId, name: &str) -> Result<Self, Malformed> {
        Self::parse(&format!("{source}.{name}"))
    }

    /// The id of its source, and its name there.
    #[must_use]
    pub fn parts(&self) -> (&str, &str) {
        // Parsing has seen to the dot.
        self.0.split_once('.').unwrap_or((&self.0, ""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What it should have been.
    fn form(refused: Malformed) -> &'static str {
        refused.0.split(" (").next().unwrap()
    }

    #[test]
    fn nested_agent_names_its_sources() {
        let source = |id: &str| SourceId::parse(id).unwrap();
        let agent = |id: &str| AgentId::parse(id).unwrap();
        let one = AgentId::via(Some(&agent("cc")), &source("codex")).unwrap();
        let two = AgentId::via(Some(&one), &source("notes")).unwrap();
        assert_eq!(two.as_str(), "cc.via.codex.via.notes");
        assert_eq!(two.sources().collect::<Vec<_>>(), ["codex", "notes"]);
        assert!(
            two.is_nested_in(&agent("cc")) && two.is_nested_in(&one) && !one.is_nested_in(&two)
        );
        assert!(!agent("cc-2.via.x").is_nested_in(&agent("cc")));
        let own = AgentId::via(None, &source("peer")).unwrap();
        assert_eq!(own.as_str(), "via.peer");
        assert_eq!(own.sources().collect::<Vec<_>>(), ["peer"]);
        assert_eq!(two.caller(), Some(one.clone()));
        assert_eq!((one.caller(), own.caller()), (Some(agent("cc")), None));
        for plain in ["cc", "via", "a.via", "avia.b", "my.viable.x"] {
            assert!(!agent(plain).is_nested(), "{plain}");
        }
        let long = agent(&"a".repeat(195));
        let refused = AgentId::via(Some(&long), &source("codex"));
        assert_eq!(refused.map_err(form), Err("an agent id"));
    }

    #[test]
    fn conversation_is_named_by_its_item() {
        let item = PendingId::fresh();
        assert_eq!(item.conversation().item(), item);
        assert_eq!(
            RunId::parse(item.conversation().as_str()),
            Ok(item.conversation())
        );
        let (one, two) = (crate::Digest::of(b"1"), crate::Digest::of(b"2"));
        let run = RunId::of_message(&item, &one);
        assert_eq!(run, RunId::of_message(&item, &one));
        assert_ne!(run, RunId::of_message(&item, &two));
        assert_eq!(RunId::parse(run.as_str()), Ok(run));
    }

    #[test]
    fn forms() {
        assert!(AgentId::parse("my-cc").is_ok());
        for bad in [
            "",
            "a b",
            "a/b",
            "..",
            "Plexus-Admin",
            "ä",
            &"x".repeat(201),
        ] {
            let refused = AgentId::parse(bad).map_err(form);
            assert_eq!(refused, Err("an agent id"), "{bad:?}");
        }
        assert!(SourceId::parse("vault-2").is_ok());
        let refused = SourceId::parse("Vault").map_err(form);
        assert_eq!(refused, Err("a source id"));
        let read = CapabilityId::parse("obsidian.vault.read").unwrap();
        assert_eq!(read.parts(), ("obsidian", "vault.read"));
        let refused = CapabilityId::parse("obsidian").map_err(form);
        assert_eq!(refused, Err("a capability id"));
        let fresh = PendingId::fresh();
        assert_eq!(PendingId::parse(fresh.as_str()), Ok(fresh.clone()));
        let refused = PendingId::parse(&fresh.as_str().to_uppercase());
        assert_eq!(refused.map_err(form), Err("a pending id"));
        let why = serde_json::from_str::<AgentId>("\"a b\"").unwrap_err();
        assert!(why.to_string().starts_with("not an agent id"), "{why}");
    }
}
