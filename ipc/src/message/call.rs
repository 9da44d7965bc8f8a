//! What is said about one call.

use super::WorkerError;
use crate::text::{Line, Output, Payload, Text, Word, at_most, digest};
pub use plexus_protocol::body::PreviewForm as Form;
use plexus_protocol::{AuditId, Constraint, Digest, Verb};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// Most things that one call may have touched; a call that touches more fails.
pub const MAX_TOUCHED: usize = 4_096;
/// Largest diff of a preview, in bytes.
pub const MAX_DIFF: usize = 256 * 1024;
/// Largest piece of progress, in bytes.
pub const MAX_CHUNK: usize = 16 * 1024;
/// Credit for progress that each call begins with, in bytes.
pub const PROGRESS_WINDOW: u32 = 128 * 1024;
/// Credit that a piece of progress uses beside its length, in bytes: it bounds the number of pieces.
pub const CHUNK_COST: u32 = 256;
/// Most facts of a preview, and most warnings of a plan.
pub const MAX_LINES: usize = 64;

/// One typed line about what happened, without content: "replaced Projects/a.md, +12 −3".
pub type Summary = Line<MAX_SUMMARY>;
/// Most bytes of a summary.
pub const MAX_SUMMARY: usize = 256;
/// Names an effect that can be taken back.
pub type UndoId = Line<128>;

/// One call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// Correlates what is said about it; unique among the calls that are under way.
    pub id: u64,
    /// Its event, where it has one before it is dispatched: what `Settle` asks by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<AuditId>,
    /// The owner asks: of a read, nobody else has the answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub owner: bool,
    /// The name that the manifest gives.
    pub capability: Line<128>,
    /// Canonical JSON (RFC 8785).
    pub input: Payload,
    /// SHA-256 of `input`.
    #[serde(with = "digest")]
    pub input_digest: Digest,
    /// The narrowing of the permit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constraint: Option<Constraint>,
    /// Milliseconds of awake time that are left.
    pub deadline_ms: u64,
}

/// An effect that is recorded and may happen now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commit {
    /// The call.
    pub call: Call,
    /// That of the plan which the owner approved.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "digest::option"
    )]
    pub state_token: Option<Digest>,
    /// What the agent knows to be there now: what a standing write is held against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Content>,
    /// Names the conversation that it is a turn of.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "digest::option"
    )]
    pub conversation: Option<Digest>,
    /// The highest rating that the permit allows.
    pub permit_rating: Verb,
    /// That its intent is durable.
    pub durable: Stamp,
}

/// Names the durable intent of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stamp {
    /// The launch of the gateway that wrote it.
    pub launch: u64,
    /// Its sequence in the ledger.
    pub sequence: u64,
}

/// What is at the place that an effect changes. On the wire 64 hex digits, or `absent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nothing.
    Absent,
    /// Content of this digest.
    Is(Digest),
}

impl Content {
    /// Reads the wire form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "absent" {
            Some(Self::Absent)
        } else {
            Digest::parse(text).map(Self::Is)
        }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("absent"),
            Self::Is(digest) => digest.fmt(f),
        }
    }
}

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = Line::<64>::deserialize(d)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("neither a digest nor \"absent\""))
    }
}

/// The name of a thing that a call touched, as it is recorded and looked for.
pub type TouchedId = Line<1024>;

/// One thing that a call read or changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Touched {
    /// What kind of thing: `note`, `file`, `list`, …
    pub kind: Word,
    /// Which one, as the source names it after resolving.
    pub id: TouchedId,
    /// What was done with it.
    pub access: Verb,
    /// Of the content that was read, or that is there now; for a plan, that is there before.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "digest::option"
    )]
    pub digest: Option<Digest>,
}

impl Touched {
    /// `id` of `kind` was read.
    pub fn read(kind: &str, id: impl AsRef<str>, digest: Option<Digest>) -> Self {
        Self::of(kind, id, Verb::Read, digest)
    }
    /// `id` of `kind` was changed, or would be.
    pub fn write(kind: &str, id: impl AsRef<str>, digest: Option<Digest>) -> Self {
        Self::of(kind, id, Verb::Write, digest)
    }
    /// `id` of `kind` was done with as `access` says.
    pub fn of(kind: &str, id: impl AsRef<str>, access: Verb, digest: Option<Digest>) -> Self {
        Self {
            kind: kind.into(),
            id: Line::new(id),
            access,
            digest,
        }
    }
}

/// The answer to `Plan`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Planned {
    /// The call.
    pub id: u64,
    /// The plan, or why there is none.
    pub result: Result<PlanMade, WorkerError>,
}

/// What an effect would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanMade {
    /// Its rendering, for the owner's eyes only.
    pub preview: Preview,
    /// What it assumes about the world.
    #[serde(with = "digest")]
    pub state_token: Digest,
    /// What it would change, with what is there now.
    #[serde(deserialize_with = "at_most::<_, _, MAX_TOUCHED>")]
    pub touched: Vec<Touched>,
    /// What it amounts to: the manifest's rating, or higher.
    pub rating: Verb,
    /// One line without content.
    pub summary: Summary,
    /// What the owner should know.
    #[serde(default, deserialize_with = "at_most::<_, _, MAX_LINES>")]
    pub warnings: Vec<Line<256>>,
}

/// A plan as the owner sees it. All of it is text from the source: to be shown as text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preview {
    /// What would be done, in one line.
    pub headline: Line<256>,
    /// Named values: the target, the size, the time.
    #[serde(default, deserialize_with = "at_most::<_, _, MAX_LINES>")]
    pub facts: Vec<Fact>,
    /// A unified diff, or a text: `form` says which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<Text<MAX_DIFF>>,
    /// How `diff` is to be read.
    #[serde(default)]
    pub form: Form,
    /// Whether the diff or text is a part only.
    #[serde(default)]
    pub cut: bool,
}

/// One named value of a [`Preview`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fact {
    /// Its name.
    pub name: Word,
    /// Its value.
    pub value: Line<1024>,
}

impl Preview {
    /// A preview of one line.
    pub fn new(headline: impl AsRef<str>) -> Self {
        Self {
            headline: Line::new(headline),
            ..Self::default()
        }
    }
    /// Adds a named value; beyond 64 they are dropped and the preview is marked as cut.
    #[must_use]
    pub fn fact(mut self, name: &str, value: impl AsRef<str>) -> Self {
        if self.facts.len() < MAX_LINES {
            self.facts.push(Fact {
                name: name.into(),
                value: Line::new(value),
            });
        } else {
            self.cut = true;
        }
        self
    }
    /// Adds a diff that the worker made itself; one beyond [`MAX_DIFF`] is cut and marked as cut.
    #[must_use]
    pub fn diff(self, diff: &str) -> Self {
        self.content(Form::Diff, diff)
    }
    /// Adds what becomes of a text that is replaced as a whole, as a diff: all lines of the old one, then all of the new one.
    #[must_use]
    pub fn replaced(self, old: &str, new: &str) -> Self {
        let lines = |sign: &str, text: &str| -> String {
            text.lines().map(|line| format!("{sign}{line}\n")).collect()
        };
        let range = |text: &str| match text.lines().count() {
            0 => "0,0".to_owned(),
            count => format!("1,{count}"),
        };
        let place = format!("@@ -{} +{} @@\n", range(old), range(new));
        self.diff(&(place + &lines("-", old) + &lines("+", new)))
    }
    /// Adds a text that somebody wrote; one beyond [`MAX_DIFF`] is cut and marked as cut.
    #[must_use]
    pub fn text(self, text: &str) -> Self {
        self.content(Form::Text, text)
    }
    fn content(mut self, form: Form, content: &str) -> Self {
        self.cut |= content.len() > MAX_DIFF;
        self.diff = Some(Text::new(content));
        self.form = form;
        self
    }
}

/// A call goes on. A worker sends no more than its credit: [`PROGRESS_WINDOW`] at the start of a call, and what
/// `Credit` adds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// The call.
    pub id: u64,
    /// The next piece.
    pub chunk: Chunk,
}

/// One piece of what a call streams, of at most [`MAX_CHUNK`] bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Chunk {
    /// Text that continues the text before it.
    Text(Text<MAX_CHUNK>),
    /// One event.
    Json(Output),
}

impl Chunk {
    /// Its length, in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "an empty piece is a piece")]
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Json(json) => json.len(),
        }
    }

    /// The credit that it uses: its length, and [`CHUNK_COST`] for each piece.
    #[must_use]
    pub fn cost(&self) -> u32 {
        u32::try_from(self.len())
            .unwrap_or(u32::MAX)
            .saturating_add(CHUNK_COST)
    }
}

/// The end of a read or a commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Done {
    /// The call.
    pub id: u64,
    /// How it ended.
    pub result: Result<Answer, WorkerError>,
    /// What it touched; of a failure, what it may have changed.
    #[serde(default, deserialize_with = "at_most::<_, _, MAX_TOUCHED>")]
    pub touched: Vec<Touched>,
}

/// A call that succeeded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The worker's own JSON.
    pub output: Output,
    /// One line without content.
    pub summary: Summary,
    /// Where the effect can be taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<UndoId>,
}

/// What a source knows about an earlier effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It happened.
    Happened,
    /// It did not.
    DidNot,
    /// The source cannot tell.
    CannotTell,
}
