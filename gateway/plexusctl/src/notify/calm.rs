//! When to tell: the first at once, one reminder, then a count. Pure; moments are arguments.
//!
//! ```text
//! quiet ─something waits─▶ told ─a while, it still waits─▶ reminded ─a while, the number has risen─▶ counted ─┐
//!   ▲                                                                                     ▲                  │
//!   └── nothing told of waits ───────────────────────────────────────────────────────────┴──────────────────┘
//! ```
//! Invariant: between two notices there is at least the while, but for the first one after all that waited was decided;
//! so an agent that asks a hundred times is told of as often as one that asks once.

use plexus_owner_client::PendingRequest;
use std::time::{Duration, Instant};

/// Which notice it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    First,
    Reminder,
    Count,
}

impl Kind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Reminder => "reminder",
            Self::Count => "count",
        }
    }
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Notice {
    pub(super) kind: Kind,
    /// The one that has waited longest.
    pub(super) oldest: PendingRequest,
    /// How many wait.
    pub(super) waiting: usize,
}

impl Notice {
    /// The title. It begins with a word of ours, so that no program takes it for an option.
    pub(super) fn text(&self) -> String {
        let PendingRequest { agent, label, .. } = &self.oldest;
        match (self.kind, self.waiting) {
            (Kind::First, 1) => format!("Plexus: {agent} asks for {label}"),
            (Kind::First, many) => format!("Plexus: {agent} asks for {label}; {many} wait"),
            (Kind::Reminder, 1) => format!("Plexus: {agent} still waits for {label}"),
            (Kind::Reminder, many) => {
                format!("Plexus: {agent} still waits for {label}; {many} wait")
            }
            (Kind::Count, many) => format!("Plexus: {many} requests wait"),
        }
    }
    /// The page of the console that it is about, and the words of a button that opens it.
    pub(super) fn page(&self) -> (String, &'static str) {
        match self.kind {
            Kind::First | Kind::Reminder => {
                let card = format!("/admin/approvals/{}", self.oldest.id);
                (card, "Open the card")
            }
            Kind::Count => ("/admin/approvals".to_owned(), "Open the requests"),
        }
    }
}

/// What was told, since something began to wait.
struct LastNotice {
    at: Instant,
    kind: Kind,
    /// How many waited when it was told.
    waiting: usize,
}

/// The memory of what was told.
pub(super) struct Calm {
    a_while: Duration,
    told: Option<LastNotice>,
    /// Ids of what waited when it last looked.
    waiting: Vec<String>,
}

impl Calm {
    /// Reminds after `a_while`.
    pub(super) fn new(a_while: Duration) -> Self {
        Self {
            a_while,
            told: None,
            waiting: Vec::new(),
        }
    }

    /// What there is to tell, now that this waits, the oldest first.
    pub(super) fn look(&mut self, waiting: &[PendingRequest], now: Instant) -> Option<Notice> {
        // Between two looks everything may have been decided and something else asked for.
        if !waiting.iter().any(|item| self.waiting.contains(&item.id)) {
            self.told = None;
        }
        self.waiting = waiting.iter().map(|item| item.id.clone()).collect();
        let oldest = waiting.first()?;
        let kind = self.due(now)?;
        self.told = Some(LastNotice {
            at: now,
            kind,
            waiting: waiting.len(),
        });
        Some(Notice {
            kind,
            oldest: oldest.clone(),
            waiting: waiting.len(),
        })
    }

    fn due(&self, now: Instant) -> Option<Kind> {
        let Some(told) = &self.told else {
            return Some(Kind::First);
        };
        let next = self.next(told)?;
        (now >= told.at + self.a_while).then_some(next)
    }

    fn next(&self, told: &LastNotice) -> Option<Kind> {
        match told.kind {
            Kind::First => Some(Kind::Reminder),
            Kind::Reminder | Kind::Count => {
                (self.waiting.len() > told.waiting).then_some(Kind::Count)
            }
        }
    }

    /// When there may be something to tell although nothing changes.
    pub(super) fn wakes(&self) -> Option<Instant> {
        let told = self.told.as_ref()?;
        self.next(told).map(|_| told.at + self.a_while)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(count: usize) -> Vec<PendingRequest> {
        let one = |n: usize| PendingRequest {
            id: format!("pend_{n}"),
            agent: format!("agent-{n}"),
            label: "“Write a file”".into(),
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn the_first_at_once_one_reminder_then_a_count() {
        let (begin, a_while) = (Instant::now(), Duration::from_secs(600));
        let mut calm = Calm::new(a_while);
        let mut told = |count: usize, after: u64| {
            let notice = calm.look(&waits(count), begin + Duration::from_secs(after));
            notice.map(|notice| notice.text())
        };
        let said = |text: &str| Some(text.to_owned());
        assert_eq!(told(0, 0), None);
        assert_eq!(told(1, 1), said("Plexus: agent-0 asks for “Write a file”"));
        assert_eq!(told(2, 2), None, "the second is not told of");
        assert_eq!(told(19, 600), None);
        assert_eq!(
            told(19, 601),
            said("Plexus: agent-0 still waits for “Write a file”; 19 wait")
        );
        assert_eq!(told(20, 602), None, "one reminder");
        assert_eq!(told(20, 1201), said("Plexus: 20 requests wait"));
        assert_eq!(told(20, 9_000), None, "the same number is told once");
        assert_eq!(told(19, 9_001), None, "fewer is no news");
        assert_eq!(told(21, 9_002), said("Plexus: 21 requests wait"));
        assert_eq!(told(0, 9_003), None);
        assert_eq!(
            told(1, 9_004),
            said("Plexus: agent-0 asks for “Write a file”"),
            "it begins anew"
        );
    }

    #[test]
    fn a_request_after_all_others_were_decided_is_a_first_one() {
        let (begin, a_while) = (Instant::now(), Duration::from_secs(600));
        let mut calm = Calm::new(a_while);
        let [one, two] = waits(2).try_into().expect("two");
        assert!(calm.look(&[one], begin).is_some());
        let told = calm.look(&[two], begin).expect("nobody looked in between");
        assert_eq!(told.text(), "Plexus: agent-1 asks for “Write a file”");
    }

    #[test]
    fn it_wakes_when_it_has_something_to_tell() {
        let (begin, a_while) = (Instant::now(), Duration::from_secs(600));
        let mut calm = Calm::new(a_while);
        assert_eq!(calm.wakes(), None);
        calm.look(&waits(1), begin);
        assert_eq!(calm.wakes(), Some(begin + a_while));
        calm.look(&waits(1), begin + a_while);
        assert_eq!(calm.wakes(), None, "nothing more to say of one");
        calm.look(&waits(2), begin + a_while);
        assert_eq!(calm.wakes(), Some(begin + a_while * 2));
    }
}
