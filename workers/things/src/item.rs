//! To-dos, projects, areas and tags, whichever way they were read; what a list shows, and in which order.
//!
//! Must not know: how they are read, who asks.

use chrono::{DateTime, NaiveDate, SecondsFormat};
use plexus_ipc::text::folded;
use plexus_protocol::Digest;
use serde::{Deserialize, Serialize};

/// Longest title and notes that an answer holds, in characters.
const TITLE: usize = 500;
const NOTES: usize = 4_000;

/// A built-in list, by the name that it has in every language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum View {
    /// Not sorted yet.
    Inbox,
    /// For today, this evening included.
    Today,
    /// Scheduled for a later day.
    Upcoming,
    /// To be done at any time.
    Anytime,
    /// To be done some day.
    Someday,
    /// Completed and cancelled.
    Logbook,
}

/// Whether a to-do is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is to be done.
    Open,
    /// It was done.
    Completed,
    /// It is not to be done any more.
    Canceled,
}

/// Where a to-do stands before its day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// In the Inbox.
    Inbox,
    /// Active.
    Anytime,
    /// Later: with a day it is scheduled.
    Someday,
}

/// A project or an area.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its name.
    pub title: String,
}

/// One to-do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Todo {
    /// Its id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Its notes.
    #[serde(default)]
    pub notes: String,
    /// Whether it is done.
    pub status: Status,
    /// The project that it belongs to, under a heading or not.
    #[serde(default)]
    pub project: Option<Container>,
    /// The area that it, or its project, belongs to.
    #[serde(default)]
    pub area: Option<Container>,
    /// The heading that it stands under.
    #[serde(default)]
    pub heading: Option<String>,
    /// Names of its own tags, sorted.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Where it stands; `None` where the way of reading does not tell.
    #[serde(default)]
    pub start: Option<Start>,
    /// The day that it is scheduled for.
    #[serde(default)]
    pub day: Option<NaiveDate>,
    /// Whether that is this evening; `None` as for `start`.
    #[serde(default)]
    pub evening: Option<bool>,
    /// Its deadline.
    #[serde(default)]
    pub deadline: Option<NaiveDate>,
    /// When it was made, in seconds of Unix time.
    pub created: i64,
    /// When it was completed or cancelled, in seconds of Unix time.
    #[serde(default)]
    pub stopped: Option<i64>,
    /// How many items its checklist has.
    #[serde(default)]
    pub checklist: u32,
    /// Whether it comes again; `None` as for `start`.
    #[serde(default)]
    pub repeats: Option<bool>,
}

/// One project.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Project {
    /// Its id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Its area.
    #[serde(default)]
    pub area: Option<Container>,
    /// Its deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<NaiveDate>,
}

/// One tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    /// Its name.
    pub name: String,
    /// The name of the tag that it lies under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
}

/// A to-do as an agent reads it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TodoView<'t> {
    id: &'t str,
    title: &'t str,
    #[serde(skip_serializing_if = "str::is_empty")]
    notes: &'t str,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<&'t Container>,
    #[serde(skip_serializing_if = "Option::is_none")]
    area: Option<&'t Container>,
    #[serde(skip_serializing_if = "Option::is_none")]
    heading: Option<&'t str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tags: &'t [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    day: Option<NaiveDate>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    evening: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<NaiveDate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped: Option<String>,
    #[serde(skip_serializing_if = "is_zero")]
    checklist: u32,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    repeats: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cut: bool,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The first `most` characters of `text`, and whether that is less than all.
fn cut(text: &str, most: usize) -> (&str, bool) {
    match text.char_indices().nth(most) {
        Some((at, _)) => (&text[..at], true),
        None => (text, false),
    }
}

impl Todo {
    /// As an agent reads it.
    pub(crate) fn shown(&self) -> TodoView<'_> {
        let ((title, is_cut), (notes, are_cut)) =
            (cut(&self.title, TITLE), cut(&self.notes, NOTES));
        let at = self.stopped.and_then(|at| DateTime::from_timestamp(at, 0));
        TodoView {
            id: &self.id,
            title,
            notes,
            status: self.status,
            project: self.project.as_ref(),
            area: self.area.as_ref(),
            heading: self.heading.as_deref(),
            tags: &self.tags,
            day: self.day,
            evening: self.evening == Some(true),
            deadline: self.deadline,
            stopped: at.map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true)),
            checklist: self.checklist,
            repeats: self.repeats == Some(true),
            cut: is_cut || are_cut,
        }
    }

    /// A digest of all that is known of it: another one says that somebody changed it.
    pub(crate) fn version(&self) -> Digest {
        Digest::of(&serde_json::to_vec(self).unwrap_or_default())
    }

    /// Whether `text`, [`folded`], is in its title or its notes.
    pub(crate) fn says(&self, text: &str) -> bool {
        [&self.title, &self.notes]
            .iter()
            .any(|field| folded(field).contains(text))
    }

    /// The id of its project; empty without one.
    pub(crate) fn project_id(&self) -> &str {
        self.project.as_ref().map_or("", |place| &place.id)
    }

    /// The id of its area; empty without one.
    pub(crate) fn area_id(&self) -> &str {
        self.area.as_ref().map_or("", |place| &place.id)
    }
}
