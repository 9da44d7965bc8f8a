//! What of the starts and ends of workers is recorded one by one: a worker that comes and goes must not fill the log.
//!
//! Invariant: what is not recorded by itself is in a count; a start that is has its report with it, whole or as its
//! digest.

use plexus_ipc::message::{CageReport, Role};
use plexus_protocol::{Digest, SourceId};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// For how long events are counted together.
const WINDOW: Duration = Duration::from_secs(600);
/// Events of one worker in a [`WINDOW`] that are recorded by themselves: ten starts with their ends.
const BY_ITSELF: u32 = 20;

/// By source and role, since the launch.
#[derive(Default)]
pub(super) struct Sparing(HashMap<(SourceId, Role), Recent>);

struct Recent {
    since: Instant,
    events: u32,
    starts: u64,
    ends: u64,
    /// The last report that was recorded whole, and when.
    report: Option<(Digest, Instant)>,
}

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Transition {
    Up,
    Down,
}

impl Sparing {
    fn of(&mut self, source: &SourceId, role: Role, now: Instant) -> &mut Recent {
        let key = (source.clone(), role);
        self.0.entry(key).or_insert(Recent {
            since: now,
            events: 0,
            starts: 0,
            ends: 0,
            report: None,
        })
    }

    /// Whether an event is recorded by itself. If not, it is counted.
    pub(super) fn by_itself(
        &mut self,
        source: &SourceId,
        role: Role,
        came: Transition,
        now: Instant,
    ) -> bool {
        let recent = self.of(source, role, now);
        if now.duration_since(recent.since) >= WINDOW {
            (recent.since, recent.events) = (now, 0);
        }
        recent.events = recent.events.saturating_add(1);
        if recent.events <= BY_ITSELF {
            return true;
        }
        match came {
            Transition::Up => recent.starts += 1,
            Transition::Down => recent.ends += 1,
        }
        false
    }

    /// How a report is recorded: its digest, and all of it where it is news. A worker can say something else each time.
    pub(super) fn report(
        &mut self,
        source: &SourceId,
        role: Role,
        cage: &CageReport,
        now: Instant,
    ) -> (Digest, Option<Value>) {
        let whole = serde_json::to_value(cage).unwrap_or_default();
        let digest = plexus_protocol::json::digest(&whole);
        let recent = self.of(source, role, now);
        let is_news = recent
            .report
            .is_none_or(|(last, at)| last != digest && now.duration_since(at) >= WINDOW);
        if is_news {
            recent.report = Some((digest, now));
        }
        (digest, is_news.then_some(whole))
    }

    /// Whether something is counted and not recorded yet.
    pub(super) fn owes(&self) -> bool {
        let mut all = self.0.values();
        all.any(|recent| recent.starts + recent.ends > 0)
    }

    /// Takes the counts of windows that are over, as they are recorded.
    pub(super) fn counted(&mut self, now: Instant) -> Vec<Value> {
        let over = |recent: &Recent| now.duration_since(recent.since) >= WINDOW;
        let owed = |recent: &Recent| recent.starts + recent.ends > 0;
        self.0
            .iter_mut()
            .filter(|(_, recent)| owed(recent) && over(recent))
            .map(|((source, role), recent)| {
                let starts = std::mem::take(&mut recent.starts);
                let ends = std::mem::take(&mut recent.ends);
                json!({
                    "event": "worker.restarts", "source": source, "role": role, "starts": starts, "ends": ends,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_sandbox::probe::{Check, CheckKind};

    fn of(name: &str) -> SourceId {
        SourceId::parse(name).unwrap()
    }

    #[test]
    fn a_worker_that_comes_and_goes_is_a_count() {
        let (mut sparing, w, start) = (Sparing::default(), of("w"), Instant::now());
        let mut recorded = 0;
        // One start with each probe, for a quarter of an hour.
        for n in 0..180 {
            let now = start + Duration::from_secs(5 * n);
            for came in [Transition::Up, Transition::Down] {
                recorded += u32::from(sparing.by_itself(&w, Role::Reader, came, now));
            }
        }
        assert_eq!(recorded, 2 * BY_ITSELF, "so many in each window");
        let at = start + Duration::from_secs(900);
        assert!(sparing.by_itself(&of("v"), Role::Reader, Transition::Up, at));
        assert!(sparing.by_itself(&w, Role::Writer, Transition::Up, at));
        assert!(sparing.owes());
        assert!(sparing.counted(at).is_empty(), "the window is not over");
        let told = sparing.counted(at + WINDOW);
        let all = 360 - u64::from(recorded);
        let [one] = told.as_slice() else {
            panic!("{told:?}")
        };
        assert_eq!(one["starts"], all / 2, "{one}");
        assert_eq!(one["ends"], all / 2, "{one}");
        assert!(!sparing.owes() && sparing.counted(at + WINDOW).is_empty());
    }

    #[test]
    fn a_report_is_recorded_whole_where_it_is_news_and_seldom() {
        let report = |detail: &str| CageReport {
            checks: vec![Check {
                name: "execute a program".into(),
                kind: CheckKind::Attack,
                held: true,
                detail: detail.into(),
            }],
        };
        let (mut sparing, w, start) = (Sparing::default(), of("w"), Instant::now());
        let mut whole = |role, detail: &str, at: Duration| {
            let (digest, whole) = sparing.report(&w, role, &report(detail), start + at);
            (digest, whole.is_some())
        };
        let (first, news) = whole(Role::Reader, "no", Duration::ZERO);
        assert!(news);
        assert!(whole(Role::Writer, "no", Duration::ZERO).1, "the control");
        let same = whole(Role::Reader, "no", 2 * WINDOW);
        assert_eq!(same, (first, false));
        // A hostile one differs each time.
        let news = (1..=240).filter(|n| {
            let at = 2 * WINDOW + Duration::from_secs(5 * n);
            whole(Role::Reader, &n.to_string(), at).1
        });
        // Once in each window of these twenty minutes.
        assert_eq!(news.count(), 2);
    }
}
