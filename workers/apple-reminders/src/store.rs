//! What a reminder is, and where reminders live.
//!
//! Invariant: a store changes a reminder only while it is the one that it is handed, to its last modification.
//!
//! Must not know: who asks, how reminders are shown.

use jiff::{Timestamp, civil::Date};
use plexus_apple::Failure;
use plexus_protocol::Digest;
use serde::{Deserialize, Serialize};

/// One list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct List {
    /// Stays when the list gets another name.
    pub(crate) id: String,
    /// As the person named it.
    pub(crate) name: String,
    /// The account that it belongs to.
    #[serde(default)]
    pub(crate) account: Option<String>,
    /// It takes reminders that name no list.
    #[serde(default)]
    pub(crate) default: bool,
    /// Its account takes changes.
    pub(crate) writable: bool,
}

/// When a reminder is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Due {
    /// On a day.
    Day(Date),
    /// At a moment.
    At(Timestamp),
    /// At what is no date here, such as a day without a year.
    Unread,
}

/// What the person sees of a reminder, and a change can set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Content {
    /// What is to be done; empty where the app has no title.
    pub(crate) title: String,
    /// Further text.
    #[serde(default)]
    pub(crate) notes: Option<String>,
    /// When it is due.
    #[serde(default)]
    pub(crate) due: Option<Due>,
    /// 1 high, 5 medium, 9 low; 0 none.
    #[serde(default)]
    pub(crate) priority: u8,
    /// It is done.
    #[serde(default)]
    pub(crate) done: bool,
}

/// One reminder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reminder {
    /// Stays while it exists.
    pub(crate) id: String,
    /// Id of its list.
    pub(crate) list: String,
    /// What the person sees.
    #[serde(flatten)]
    pub(crate) content: Content,
    /// When it was done.
    #[serde(default)]
    pub(crate) completed: Option<Timestamp>,
    /// It comes again once it is done.
    #[serde(default)]
    pub(crate) repeats: bool,
    /// When it was made.
    #[serde(default)]
    pub(crate) created: Option<Timestamp>,
    /// When anybody last changed it.
    #[serde(default)]
    pub(crate) modified: Option<Timestamp>,
}

impl Reminder {
    /// Another one after every change, also one of what is not shown here.
    #[must_use]
    pub(crate) fn version(&self) -> Digest {
        Digest::of(format!("{self:?}").as_bytes())
    }
}

/// Where reminders live. Its calls block.
pub(crate) trait ReminderStore: Send + Sync + 'static {
    /// The name of the person's zone.
    fn zone(&self) -> Result<String, Failure>;

    /// Every list.
    fn lists(&self) -> Result<Vec<List>, Failure>;

    /// Hands over the reminders of these lists that are done, or those that are not, until `take` wants no more.
    fn reminders(
        &self,
        lists: &[String],
        done: bool,
        take: &mut dyn FnMut(Reminder) -> bool,
    ) -> Result<(), Failure>;

    /// The reminder of this id, where there is one.
    fn reminder(&self, id: &str) -> Result<Option<Reminder>, Failure>;

    /// Adds a reminder to the list of this id.
    fn add(&self, list: &str, content: &Content) -> Result<Reminder, Failure>;

    /// Makes `old` what `new` says.
    ///
    /// # Errors
    /// [`Failure::Changed`] where it is not `old` any more; the app's failure.
    fn set(&self, old: &Reminder, new: &Content) -> Result<Reminder, Failure>;

    /// Removes `old`.
    fn remove(&self, old: &Reminder) -> Result<(), Failure>;
}

/// Whether `now` is still `old`.
pub(crate) fn same(old: &Reminder, now: Option<Reminder>) -> Result<(), Failure> {
    match now {
        Some(now) if now == *old => Ok(()),
        _ => Err(Failure::Changed),
    }
}
