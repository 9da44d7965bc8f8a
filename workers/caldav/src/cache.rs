//! The objects that the server answered to the last few questions, each with its calendar's version at that time.
//!
//! ```text
//! version of the calendar ▸ the same as kept: the kept objects, no request
//!                         └ another, or none offered: ask, then keep
//! ```
//!
//! Invariants: a version is read before the objects that are kept under it, so a change in between makes the next version
//! another one; one entry for each question; at most [`ENTRIES`] of them and [`BYTES`] of text, the oldest use goes first.
//!
//! Must not know: what an object says, who asked.

use crate::server::Object;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

/// Most questions that are kept: two ranges and the to-dos of ten calendars.
const ENTRIES: usize = 32;
/// Most text of objects that is kept, in bytes.
const BYTES: usize = 16 * 1024 * 1024;

/// What a calendar was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// The calendar's id.
    pub(crate) calendar: String,
    /// The component that its objects have.
    pub(crate) component: &'static str,
    /// Two moments in UTC.
    pub(crate) between: Option<(String, String)>,
}

#[derive(Debug)]
struct CachedAnswer {
    question: Question,
    version: String,
    objects: Arc<[Object]>,
    bytes: usize,
}

/// See the module. The last one used is at the back.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<VecDeque<CachedAnswer>>);

impl Cache {
    /// The objects that answered `question` when its calendar had this version.
    pub(crate) fn get(&self, question: &Question, version: &str) -> Option<Arc<[Object]>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = all.iter().position(|kept| kept.question == *question)?;
        let kept = all.remove(at).filter(|kept| kept.version == version)?;
        let objects = Arc::clone(&kept.objects);
        all.push_back(kept);
        Some(objects)
    }

    /// Keeps the objects that answer `question`, whose calendar had `version` before it was asked.
    pub(crate) fn keep(&self, question: Question, version: String, objects: &Arc<[Object]>) {
        let bytes = objects.iter().map(|object| object.text.len()).sum();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|kept| kept.question != question);
        all.push_back(CachedAnswer {
            question,
            version,
            objects: Arc::clone(objects),
            bytes,
        });
        let is_over = |all: &VecDeque<CachedAnswer>| {
            all.len() > ENTRIES || all.iter().map(|kept| kept.bytes).sum::<usize>() > BYTES
        };
        while is_over(&all) {
            all.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(calendar: &str) -> Question {
        Question {
            calendar: calendar.to_owned(),
            component: "VEVENT",
            between: None,
        }
    }

    fn objects(bytes: usize) -> Arc<[Object]> {
        let one = Object {
            id: "cal/a.ics".to_owned(),
            etag: "1".to_owned(),
            text: "x".repeat(bytes),
        };
        Arc::new([one])
    }

    #[test]
    fn kept_objects_are_of_their_question_and_version() {
        let cache = Cache::default();
        cache.keep(question("a"), "1".to_owned(), &objects(1));
        assert!(cache.get(&question("a"), "1").is_some());
        let todos = Question {
            component: "VTODO",
            ..question("a")
        };
        let week = Question {
            between: Some(("20261122T000000Z".to_owned(), "20261129T000000Z".to_owned())),
            ..question("a")
        };
        for other in [question("b"), todos, week] {
            assert!(cache.get(&other, "1").is_none(), "{other:?}");
        }
        assert!(cache.get(&question("a"), "2").is_none());
        assert!(cache.get(&question("a"), "1").is_none(), "given up at once");
    }

    #[test]
    fn oldest_use_is_dropped_at_either_bound() {
        let cache = Cache::default();
        let is_kept = |name: &str| cache.get(&question(name), "1").is_some();
        for at in 0..ENTRIES {
            cache.keep(question(&at.to_string()), "1".to_owned(), &objects(1));
        }
        assert!(is_kept("0"));
        cache.keep(question("new"), "1".to_owned(), &objects(1));
        assert!(is_kept("0") && is_kept("new") && !is_kept("1"));
        cache.keep(question("large"), "1".to_owned(), &objects(BYTES));
        assert!(is_kept("large") && !is_kept("0") && !is_kept("new"));
        cache.keep(question("larger"), "1".to_owned(), &objects(BYTES + 1));
        assert!(!is_kept("larger") && !is_kept("large"));
    }
}
