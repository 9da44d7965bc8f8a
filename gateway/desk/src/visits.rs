//! When the owner was last at the console.
//!
//! ```text
//! touched ─▶ visit ─signed out, or not touched for half an hour─▶ over ─touched─▶ the next visit, which knows when this ended
//! ```
//! It is the gateway's own memory, in `console-visits.json` of the state directory: no browser is told apart from another.
//!
//! Invariants: the file is written once a minute at most, and at a sign-out; one that is lost or damaged costs the next
//! visit its look back, and nothing else.
//!
//! Must not know: who is signed in, what happened meanwhile.

use plexus_home::state_dir::StateDir;
use plexus_protocol::{Timestamp, json};
use serde::{Deserialize, Serialize};
use std::sync::{Mutex, MutexGuard, PoisonError};

const FILE: &str = "console-visits.json";
/// Without a touch for this long, in milliseconds, a visit is over.
const AWAY: u64 = 30 * 60_000;
/// How often the file is written, in milliseconds.
const WRITTEN_EVERY: u64 = 60_000;

/// The visits of the owner.
#[derive(Default)]
pub struct Visits(Mutex<Option<Visit>>);

/// This visit, and the end of the one before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Visit {
    /// The end of the visit before; none in the first.
    before: Option<Timestamp>,
    /// When it was touched last, to a minute.
    last: Option<Timestamp>,
    #[serde(default)]
    is_over: bool,
}

impl Visit {
    /// Whether a touch is worth noting.
    fn is_due(&self, now: Timestamp) -> bool {
        let late = |last| now.since(last) >= WRITTEN_EVERY;
        self.is_over || self.last.is_none_or(late)
    }

    fn touch(&mut self, now: Timestamp) {
        let is_away = self.last.is_some_and(|last| now.since(last) >= AWAY);
        if self.is_over || is_away {
            self.before = self.last;
        }
        self.last = Some(now);
        self.is_over = false;
    }

    fn read(dir: &StateDir) -> Self {
        let read = std::fs::read(dir.join(FILE)).ok();
        let visit = read.and_then(|bytes| json::parse_as(&bytes).ok());
        visit.unwrap_or_default()
    }
}

impl Visits {
    fn held(&self) -> MutexGuard<'_, Option<Visit>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The end of the visit before this one; none in the first.
    pub(crate) fn before(&self) -> Option<Timestamp> {
        self.held().as_ref()?.before
    }

    /// Whether a touch at this moment is to be noted.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        self.held().as_ref().is_none_or(|visit| visit.is_due(now))
    }

    /// Notes that the owner is there. Blocks on the disk.
    pub(crate) fn touch(&self, dir: &StateDir, now: Timestamp) {
        self.change(dir, |visit| visit.touch(now));
    }

    /// Notes that the owner has left. Blocks on the disk.
    pub(crate) fn leave(&self, dir: &StateDir, now: Timestamp) {
        self.change(dir, |visit| {
            visit.last = Some(now);
            visit.is_over = true;
        });
    }

    fn change(&self, dir: &StateDir, change: impl FnOnce(&mut Visit)) {
        let mut held = self.held();
        let visit = held.get_or_insert_with(|| Visit::read(dir));
        change(visit);
        let written = serde_json::to_vec(visit).map_err(std::io::Error::other);
        if let Err(error) = written.and_then(|bytes| dir.write_private(FILE, &bytes)) {
            tracing::warn!(name: "console.visit_unsaved", %error, "when the console was last used could not be saved");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_visit_knows_when_the_last_one_ended() {
        const MINUTE: u64 = 60_000;
        let (mut visit, begin) = (Visit::default(), Timestamp(1_000 * MINUTE));
        let at = |minutes: u64| begin.plus(minutes * MINUTE);
        assert!(visit.is_due(begin));
        visit.touch(begin);
        assert_eq!(visit.before, None, "the first");
        assert!(!visit.is_due(begin.plus(MINUTE - 1)) && visit.is_due(at(1)));
        visit.touch(at(29));
        visit.touch(at(58));
        assert_eq!(visit.before, None, "the same");
        visit.touch(at(88));
        assert_eq!(visit.before, Some(at(58)), "half an hour later");
        visit.is_over = true;
        visit.touch(at(89));
        assert_eq!(visit.before, Some(at(88)), "signed out between");
        let text = serde_json::to_vec(&visit).unwrap();
        assert_eq!(json::parse_as::<Visit>(&text).unwrap(), visit);
    }
}
