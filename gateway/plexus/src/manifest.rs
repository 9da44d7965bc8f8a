//! The manifest as the command reads it (docs/protocol/agents.md#read-the-manifest), and whether an entry can be called
//! now.

use plexus_client::text;
use plexus_protocol::{
    CapabilityId, Constraint, Timestamp, Verbs, body::StandingGrant, constraint::calls_in_words,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What this agent may see.
#[derive(Debug, Deserialize)]
pub(crate) struct Manifest {
    /// In the gateway's order.
    pub(crate) entries: Vec<Entry>,
}

/// One capability or skill. Members that the command does not use are not read.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    pub(crate) id: CapabilityId,
    #[serde(default)]
    pub(crate) source: String,
    #[serde(default)]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) label: String,
    #[serde(default)]
    pub(crate) describe: String,
    #[serde(default)]
    pub(crate) keywords: Vec<String>,
    #[serde(default)]
    pub(crate) io: Io,
    #[serde(default)]
    pub(crate) grants: Verbs,
    #[serde(default)]
    pub(crate) provenance: String,
    #[serde(default)]
    pub(crate) sensitivity: String,
    #[serde(default)]
    pub(crate) long_running: bool,
    pub(crate) conversation: Option<Conversation>,
    #[serde(default)]
    pub(crate) skills: Vec<Skill>,
    pub(crate) body: Option<Body>,
    pub(crate) health: Option<Health>,
    /// Whether a grant lets this agent call it without a card.
    #[serde(default)]
    pub(crate) standing: bool,
    /// Whether that grant has a constraint.
    #[serde(default)]
    pub(crate) narrowed: bool,
}

/// Schemas; a missing one is `Null`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Io {
    #[serde(default)]
    pub(crate) input: Value,
    #[serde(default)]
    pub(crate) output: Value,
}

/// How a capability is a conversation.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Conversation {
    /// The input field that a message goes into.
    pub(crate) message: String,
}

/// Guidance that belongs to a capability.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Skill {
    pub(crate) id: String,
}

/// The text of a skill.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Body {
    #[serde(default)]
    pub(crate) markdown: String,
}

/// The last probe of the source.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Health {
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) detail: String,
}

/// Whether an entry can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// It runs at once.
    Now,
    /// The owner decides first.
    Asks,
    /// Not at present, whatever the owner decides.
    Off,
}

impl State {
    /// The word in lists.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Now => "now",
            Self::Asks => "asks",
            Self::Off => "off",
        }
    }
}

impl Entry {
    /// Whether it is a text to read and not something to call.
    pub(crate) fn is_skill(&self) -> bool {
        self.kind == "skill"
    }

    /// The first line of its description. Of a lent tool it is the server's own.
    pub(crate) fn summary(&self) -> &str {
        let mut lines = self.describe.lines();
        if self.is_lent() {
            lines.next();
        }
        let mut lines = lines.map(str::trim);
        lines.find(|line| !line.is_empty()).unwrap_or(&self.label)
    }

    /// Whether a lent MCP server describes it, as the first line says.
    pub(crate) fn is_lent(&self) -> bool {
        self.provenance == "extension" && self.describe.starts_with("Third-party tool of ")
    }

    /// The grant that stands behind it, where there is one.
    pub(crate) fn grant<'g>(
        &self,
        grants: &'g [StandingGrant],
        now: Timestamp,
    ) -> Option<&'g StandingGrant> {
        let fits = |g: &&StandingGrant| {
            g.capability_id == self.id && g.expires_at > now && g.verbs.covers(self.grants)
        };
        grants.iter().find(fits)
    }

    /// Limits of the grant behind it, if it has any.
    pub(crate) fn limits(&self, grants: &[StandingGrant], now: Timestamp) -> Option<String> {
        let grant = self.grant(grants, now)?;
        let mut limits = Vec::new();
        limits.extend(grant.constraint.as_ref().map(Constraint::in_words));
        limits.extend(
            grant
                .calls_left
                .map(|left| format!("{} left", calls_in_words(left))),
        );
        (!limits.is_empty()).then(|| text::line(&limits.join("; ")))
    }

    /// Whether it can be called, and why not.
    pub(crate) fn state(
        &self,
        grants: &[StandingGrant],
        now: Timestamp,
    ) -> (State, Option<String>) {
        if let Some(health) = self.health.as_ref().filter(|h| h.status == "unavailable") {
            let why = if health.detail.is_empty() {
                "its source is unavailable"
            } else {
                &health.detail
            };
            return (State::Off, Some(text::line(why)));
        }
        if self.is_skill() {
            return (State::Now, None);
        }
        match self.grant(grants, now) {
            None => (State::Asks, None),
            Some(grant) if grant.top_level_disabled => {
                (State::Off, Some("the owner does not share it now".into()))
            }
            Some(grant) => match &grant.suspended {
                // Its call asks the owner.
                Some(why) => (State::Asks, Some(format!("suspended: {}", text::line(why)))),
                None => (State::Now, None),
            },
        }
    }

    /// Names of the input's fields in the order in which words on the command line fill them: the required ones, then
    /// the others, each as the schema has them.
    pub(crate) fn fields(&self) -> (Vec<&str>, Vec<&str>) {
        crate::input::fields(&self.io.input)
    }
}
