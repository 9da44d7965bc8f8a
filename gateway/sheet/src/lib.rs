//! A card as blocks: one function for each kind of card says what the owner reads, and each view paints blocks.
//!
//! ```text
//! pending::Item ─sheet_of─▶ Sheet ─▶ terminal (plexusctl)
//!                                └─▶ HTML (the console)
//! ```
//! Invariants: a sheet is made of the card alone, whose digest goes with it; text that is not the gateway's own is
//! [`Untrusted`], which has no form as text until a painter gives it one. Our own words are `&'static str`.
//!
//! Must not know: how a block is painted, and where from a card comes.

mod change;
mod consequence;
mod grant;
mod question;
mod register;
mod server;
mod untrusted;

pub use change::changed_source;
pub use consequence::{capital, consequence, may_delete};
pub use grant::{input_in_short, permits, telling_facts, warnings};
pub use question::values_taken;
pub use register::{surface, to_approve};
pub use server::{server, server_changes};
pub use untrusted::Untrusted;

use plexus_owner::pending::{Card, FieldType, Heading, Item, State};
use plexus_protocol::{Digest, PendingId, Timestamp};

/// A card.
#[derive(Debug)]
pub struct Sheet {
    /// The id of its item.
    pub id: PendingId,
    /// Where that stands.
    pub state: State,
    /// What an approval names.
    pub digest: Option<Digest>,
    /// Since when it waits.
    pub since: Timestamp,
    /// When it lapses, where it does.
    pub ends: Option<Timestamp>,
    /// Who asks, or what changed.
    pub subject: Subject,
    /// What it is about, in a few words for a list.
    pub gist: Untrusted,
    /// What there is to read, in this order.
    pub blocks: Vec<Block>,
    /// What there is to decide; none where it waits no longer.
    pub answer: Option<Answer>,
}

/// Who asks, or what changed. With its title it is a sentence.
#[derive(Debug)]
pub struct Subject {
    /// What it is: `agent`, `source`, `server`.
    pub label: &'static str,
    /// Its id.
    pub who: Untrusted,
    /// Its name for people, where it has one.
    pub name: Option<Untrusted>,
    /// What it does: `asks you a question`.
    pub title: &'static str,
    /// What it does that with.
    pub object: Option<Untrusted>,
}

/// A part of a card.
#[derive(Debug)]
pub enum Block {
    /// Named values.
    Facts(Vec<Fact>),
    /// What to mind, each under the same word.
    Notices(&'static str, Vec<Untrusted>),
    /// The words of another, which nobody checked; none where it gave none.
    Quote(&'static str, Option<Untrusted>),
    /// Ids, or names.
    Names(&'static str, Vec<Untrusted>),
    /// What differs from what the words say: what about, where that is said, and how.
    Differences(&'static str, Vec<(Option<Untrusted>, Vec<Untrusted>)>),
    /// A part with a title of its own.
    Section(Section),
    /// Parts that are capabilities, in their author's words.
    Offers(Vec<Section>),
    /// What the owner fills in.
    Fields(Vec<Field>),
}

/// A named value.
#[derive(Debug)]
pub struct Fact {
    /// Its name.
    pub name: Untrusted,
    /// What it is.
    pub value: Untrusted,
    /// Whether it is a text, which keeps its lines.
    pub is_text: bool,
}

/// A part with a title of its own.
#[derive(Debug)]
pub struct Section {
    /// Its title.
    pub title: Untrusted,
    /// What holds for all of it.
    pub note: Option<Untrusted>,
    /// One after the other.
    pub facts: Vec<Fact>,
}

/// A field that the owner fills in.
#[derive(Debug)]
pub struct Field {
    /// Its name.
    pub name: Untrusted,
    /// Its name for people.
    pub label: Untrusted,
    /// What it is for.
    pub hint: Option<Untrusted>,
    /// Which values it takes, in words.
    pub takes: Untrusted,
    /// The same as a type.
    pub kind: FieldType,
    /// Whether it takes no number below zero.
    pub is_unsigned: bool,
    /// The values of a choice, each with its name.
    pub of: Vec<(Untrusted, Untrusted)>,
}

/// What there is to decide.
#[derive(Debug, Default)]
pub struct Answer {
    /// None: it can only be denied.
    pub yes: Option<Act>,
    /// None: it is denied with a reason, which the agent reads.
    pub no: Option<Act>,
    /// Stored secrets that an approval may keep, each with the host that it would go to.
    pub keeps: Vec<(Untrusted, Untrusted)>,
    /// What it does then.
    pub kept: Option<Untrusted>,
    /// What an approval names in a terminal alone, as arguments of the command.
    pub arguments: Option<Untrusted>,
}

/// One answer.
#[derive(Debug)]
pub struct Act {
    /// `if you approve`.
    pub label: &'static str,
    /// What a button says.
    pub button: &'static str,
    /// What is said when it is done.
    pub done: &'static str,
    /// What it does.
    pub does: Untrusted,
}

/// The sheet of an item; none of one that a view paints by itself: calls that an agent asks for, and what is only named.
#[must_use]
pub fn sheet_of(item: &Item) -> Option<Sheet> {
    let heading = &item.heading;
    match &item.card {
        Card::Change(card) => Some(change::sheet(heading, card)),
        Card::Question(card) => Some(question::sheet(heading, card)),
        Card::Register(card) => Some(register::sheet(heading, card)),
        Card::Brief(_) | Card::Grant(_) => None,
    }
}

impl Sheet {
    fn of(heading: &Heading, digest: Option<Digest>, subject: Subject) -> Self {
        Self {
            id: heading.pending_id.clone(),
            state: heading.state,
            digest,
            since: heading.created_at,
            ends: heading.expires_at,
            subject,
            gist: Untrusted::default(),
            blocks: Vec::new(),
            answer: None,
        }
    }
}

impl Fact {
    fn of(name: &str, value: impl Into<String>) -> Self {
        Self {
            name: Untrusted::of(name),
            value: Untrusted::of(value),
            is_text: false,
        }
    }
}

impl Act {
    fn of(label: &'static str, button: &'static str, done: &'static str, does: &str) -> Self {
        Self {
            label,
            button,
            done,
            does: Untrusted::of(does),
        }
    }
}

/// Why an agent asks.
fn purpose(heading: &Heading) -> Block {
    let words = heading.agent_purpose.as_ref().map(Untrusted::of);
    Block::Quote("purpose (the agent's words)", words)
}
