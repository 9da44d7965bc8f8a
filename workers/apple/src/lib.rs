//! What the connectors to Calendar and Reminders share.
//!
//! ```text
//! failure.rs  why an app does not answer, in words for the agent and the owner
//! queue.rs    one call at a time, each bounded in time            page.rs    the next page of a long list
//! time.rs     days, times and zones, typed and shown
//! os.rs       macOS: consent, and Objective-C's values in Rust's
//! ```
//!
//! Invariants: a failure names the pane of System Settings where consent is missing; a call that an app does not answer
//! ends after 15 s.
//!
//! Must not know: events, reminders, agents, grants.

mod failure;
#[cfg(target_os = "macos")]
pub mod os;
mod page;
mod queue;
pub mod time;

pub use failure::{App, Consent, Failure, NoList};
pub use page::{Key, Page};
pub use queue::{PATIENCE, Queue};

/// Characters of a title or a place in an answer.
pub const TITLE: usize = 500;
/// Characters of notes in an answer.
pub const NOTES: usize = 4_000;

/// What an id or a name comes to among calendars or lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameMatch<'a> {
    /// The id of one.
    One(&'a str),
    /// None has it.
    Nobody,
    /// Two or more have this name: their ids.
    Several(Vec<&'a str>),
}

/// What `given` comes to among these ids and names. An id goes before a name.
pub fn named<'a>(
    all: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    given: &str,
) -> NameMatch<'a> {
    if let Some((id, _)) = all.clone().find(|(id, _)| *id == given) {
        return NameMatch::One(id);
    }
    let ids: Vec<_> = all
        .filter(|(_, name)| *name == given)
        .map(|(id, _)| id)
        .collect();
    match ids[..] {
        [] => NameMatch::Nobody,
        [id] => NameMatch::One(id),
        _ => NameMatch::Several(ids),
    }
}

/// The first `most` characters of `text`, and whether there were more.
#[must_use]
pub fn shortened(mut text: String, most: usize) -> (String, bool) {
    match text.char_indices().nth(most) {
        Some((at, _)) => {
            text.truncate(at);
            (text, true)
        }
        None => (text, false),
    }
}

/// Most ids in a warning.
const NAMED: usize = 5;

/// The first of these ids, and how many more there are, as a warning begins.
#[must_use]
pub fn first_few(ids: &[String]) -> String {
    let more = match ids.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", ids[..ids.len().min(NAMED)].join(", "))
}

/// For `skip_serializing_if`.
#[must_use]
pub fn is_false(flag: &bool) -> bool {
    !flag
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_that_two_share_is_nobodys() {
        let all = [("1", "Home"), ("2", "Home"), ("3", "Work"), ("Work", "4")];
        let all = || all.iter().copied();
        assert_eq!(named(all(), "Home"), NameMatch::Several(vec!["1", "2"]));
        assert_eq!(named(all(), "2"), NameMatch::One("2"));
        assert_eq!(named(all(), "4"), NameMatch::One("Work"));
        assert_eq!(named(all(), "Work"), NameMatch::One("Work"));
        assert_eq!(named(all(), "home"), NameMatch::Nobody);
    }

    #[test]
    fn warning_names_five_ids_and_counts_the_rest() {
        let ids = |count| (0..count).map(|id| id.to_string()).collect::<Vec<_>>();
        assert_eq!(first_few(&ids(1)), "0");
        assert_eq!(first_few(&ids(5)), "0, 1, 2, 3, 4");
        assert_eq!(first_few(&ids(7)), "0, 1, 2, 3, 4 and 2 more");
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(shortened("äöü".into(), 2), ("äö".into(), true));
        assert_eq!(shortened("äö".into(), 2), ("äö".into(), false));
    }
}
