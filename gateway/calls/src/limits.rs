//! What one agent may use of the gateway: calls under way, calls a second, bytes of the log a day, records of its refused
//! calls (docs/design.md#http). The figures of the owner's are a part of the state ([`Bounds`]); what is counted
//! against them is here. The bytes of the day outlive the process: they are noted now and then with the sequence up to
//! which they count, and what the log has beyond that is charged at the start. The rest is memory's: an agent cannot
//! restart the gateway.
//!
//! ```text
//! agent known ▸ admit (calls, log) ▸ … ▸ enter (places) ▸ … ▸ recorded: charge
//!                 └ refused: counted, one record for all by the sweep
//! ```
//! Invariant: a place that was taken is given back when its guard goes, whatever became of the call.
//! Invariant: every refused call is in the log, by itself or in a count.
//! Invariant: what an agent was not admitted to has written nothing, and what was written is charged, also where nobody
//! waits for it any more.

use plexus_protocol::{AgentId, ErrorBody, ErrorCode, NextKind, Timestamp};
use plexus_trust::Bounds;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Calls that one agent may have under way at once.
const UNDER_WAY: usize = 256;
/// Refused calls of one agent that are recorded one by one in any [`WINDOW`]; further ones are counted, and the count is
/// recorded with the next one or by the sweep.
const DENIALS: u32 = 100;
const WINDOW: Duration = Duration::from_secs(10);
/// Milliseconds of an hour: in such parts a day passes.
const HOUR: u64 = 3_600_000;
/// What is charged for a record that nobody waited for, in bytes: more than most are long.
const UNSEEN: u64 = 1_024;

/// The rates and slots of every agent.
#[derive(Default)]
pub struct Limits {
    agents: Agents,
    last_noted: Mutex<Noted>,
}

type Agents = Arc<Mutex<HashMap<AgentId, Use>>>;

#[derive(Default)]
struct Use {
    under_way: usize,
    denials: u32,
    since: Option<Instant>,
    unrecorded: Option<Unrecorded>,
    /// When its calls up to now would be over, were they made at the pace that it may keep.
    paced_until: Option<Instant>,
    day: Day,
    not_admitted: NotAdmitted,
}

/// What was written in each of the last 24 hours, the one that runs included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Day {
    /// By the number of the hour since the epoch, modulo 24.
    hours: [u64; 24],
    /// The hour that runs. Time does not go back (`Clock`).
    hour: u64,
}

/// The bytes of the day of all agents, as they are noted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Noted {
    /// The last event that is in them.
    pub(crate) upto: u64,
    agents: BTreeMap<AgentId, Day>,
}

impl Noted {
    /// Whether it says the same of all agents, whatever the log has come to.
    pub(crate) fn same_use(&self, other: &Self) -> bool {
        self.agents == other.agents
    }
}

impl Day {
    fn pass(&mut self, now: Timestamp) {
        let hour = now.0 / HOUR;
        for over in (self.hour + 1..=hour).take(24) {
            self.hours[(over % 24) as usize] = 0;
        }
        self.hour = self.hour.max(hour);
    }
    fn add(&mut self, bytes: u64, now: Timestamp) {
        self.pass(now);
        let hour = &mut self.hours[(self.hour % 24) as usize];
        *hour = hour.saturating_add(bytes);
    }
    fn sum(&self) -> u64 {
        self.hours.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }
    /// How long until less than `most` is counted.
    fn until_below(&self, most: u64, now: Timestamp) -> Duration {
        let mut left = self.sum();
        for hour in self.hour.saturating_sub(23)..=self.hour {
            left = left.saturating_sub(self.hours[(hour % 24) as usize]);
            if left < most {
                return Duration::from_millis(((hour + 24) * HOUR).saturating_sub(now.0));
            }
        }
        Duration::from_millis(24 * HOUR)
    }
}

/// Which bound a call did not keep to, and when it is worth another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exceeded {
    Calls { most: u32, retry_after: Duration },
    Ledger { most: u64, retry_after: Duration },
}

/// Calls that were not admitted since that was last recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NotAdmitted {
    pub(crate) calls: u64,
    pub(crate) ledger: u64,
}

/// Refused calls that have no record of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unrecorded {
    pub(crate) count: u64,
    /// The last one's code.
    pub(crate) code: ErrorCode,
}

/// One call's place.
pub struct CallSlot {
    agents: Agents,
    agent: AgentId,
}

/// What a record costs its agent: charged when this goes.
pub(crate) struct Charge {
    agents: Agents,
    agent: AgentId,
    bytes: u64,
    now: Timestamp,
}

impl Exceeded {
    /// The refusal, for the agent.
    pub(crate) fn refusal(self, agent: &AgentId) -> ErrorBody {
        let (why, (kind, next), after) = match self {
            Self::Calls { most, retry_after } => (
                format!("You may make {most} calls a second."),
                (
                    NextKind::Retry,
                    format!(
                        "wait {} s, then go on more slowly",
                        retry_after.as_millis().div_ceil(1000).max(1)
                    ),
                ),
                retry_after,
            ),
            Self::Ledger { most, retry_after } => (
                format!(
                    "Your calls have filled the {most} bytes that their records may take in a day."
                ),
                (
                    NextKind::Stop,
                    format!(
                        "stop; tell the owner: plexusctl agents limit {agent} --ledger BYTES lets you go on today"
                    ),
                ),
                retry_after,
            ),
        };
        let after = u64::try_from(after.as_millis()).unwrap_or(u64::MAX).max(1);
        ErrorBody::new(ErrorCode::RateLimited, why)
            .with("retryAfterMs", after)
            .then(kind, next)
    }
}

fn locked(agents: &Agents) -> MutexGuard<'_, HashMap<AgentId, Use>> {
    agents.lock().unwrap_or_else(PoisonError::into_inner)
}

fn of<'a>(agents: &'a mut HashMap<AgentId, Use>, agent: &AgentId) -> &'a mut Use {
    // Nearly always there: without a copy of the name then.
    if !agents.contains_key(agent) {
        agents.insert(agent.clone(), Use::default());
    }
    match agents.get_mut(agent) {
        Some(used) => used,
        None => unreachable!("it is there now"),
    }
}

impl Limits {
    /// Whether `agent` may make one more call now. One that may not is counted.
    ///
    /// # Errors
    /// Which of its bounds it has used up.
    pub(crate) fn admit(
        &self,
        agent: &AgentId,
        bounds: &Bounds,
        now: Timestamp,
    ) -> Result<(), Exceeded> {
        let mut agents = locked(&self.agents);
        let used = of(&mut agents, agent);
        used.day.pass(now);
        let most = bounds.ledger();
        if used.day.sum() >= most {
            used.not_admitted.ledger += 1;
            let retry_after = used.day.until_below(most, now);
            return Err(Exceeded::Ledger { most, retry_after });
        }
        let (most, at) = (bounds.calls(), Instant::now());
        let second = Duration::from_secs(1);
        let paced = used.paced_until.map_or(at, |until| until.max(at)) + second / most.max(1);
        let ahead = paced.saturating_duration_since(at);
        if ahead > second {
            used.not_admitted.calls += 1;
            let retry_after = ahead - second;
            return Err(Exceeded::Calls { most, retry_after });
        }
        used.paced_until = Some(paced);
        Ok(())
    }

    /// What the record that is about to be made will cost `agent`.
    pub(crate) fn charge(&self, agent: &AgentId, now: Timestamp) -> Charge {
        Charge {
            agents: self.agents.clone(),
            agent: agent.clone(),
            bytes: UNSEEN,
            now,
        }
    }

    /// The bytes of the day, for the next launch. `upto` is the head of the log from before this look.
    pub(crate) fn noted(&self, upto: u64, now: Timestamp) -> Noted {
        let mut agents = locked(&self.agents);
        let agents = agents
            .iter_mut()
            .map(|(agent, used)| {
                used.day.pass(now);
                (agent.clone(), used.day)
            })
            .filter(|(_, day)| day.sum() > 0)
            .collect();
        Noted { upto, agents }
    }

    /// What was noted last. A writer holds it until it is done.
    pub(crate) fn last_noted(&self) -> MutexGuard<'_, Noted> {
        self.last_noted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on from what an earlier launch noted.
    pub(crate) fn go_on_from(&self, noted: Noted) {
        let mut agents = locked(&self.agents);
        for (agent, day) in noted.agents {
            of(&mut agents, &agent).day = day;
        }
    }

    /// Charges what the log says that an agent wrote.
    pub(crate) fn charged(&self, agent: &AgentId, bytes: u64, at: Timestamp) {
        of(&mut locked(&self.agents), agent).day.add(bytes, at);
    }

    /// Bytes of the log that were charged to `agent` in the last day.
    pub fn written(&self, agent: &AgentId, now: Timestamp) -> u64 {
        let mut agents = locked(&self.agents);
        agents.get_mut(agent).map_or(0, |used| {
            used.day.pass(now);
            used.day.sum()
        })
    }

    /// Takes what was not admitted and not recorded.
    pub(crate) fn not_admitted(&self) -> Vec<(AgentId, NotAdmitted)> {
        let mut agents = locked(&self.agents);
        agents
            .iter_mut()
            .filter(|(_, used)| used.not_admitted != NotAdmitted::default())
            .map(|(agent, used)| (agent.clone(), std::mem::take(&mut used.not_admitted)))
            .collect()
    }

    /// Forgets agents of whom nothing is counted any more.
    pub fn tidy(&self, now: Timestamp) {
        locked(&self.agents).retain(|_, used| {
            used.day.pass(now);
            !used.is_idle()
        });
    }

    /// A place for a call of `agent`, if it has one left.
    pub fn enter(&self, agent: &AgentId) -> Option<CallSlot> {
        let mut agents = locked(&self.agents);
        let used = of(&mut agents, agent);
        if used.under_way >= UNDER_WAY {
            return None;
        }
        used.under_way += 1;
        Some(CallSlot {
            agents: self.agents.clone(),
            agent: agent.clone(),
        })
    }

    /// Calls of all agents that are being answered.
    pub fn under_way(&self) -> usize {
        locked(&self.agents)
            .values()
            .map(|used| used.under_way)
            .sum()
    }

    /// Whether a refused call of `agent` is to be recorded by itself, and with it how many before it were not.
    pub(crate) fn records_denial(&self, agent: &AgentId, code: ErrorCode) -> Option<u64> {
        let mut agents = locked(&self.agents);
        let used = of(&mut agents, agent);
        let now = Instant::now();
        if used
            .since
            .is_none_or(|since| now.duration_since(since) >= WINDOW)
        {
            (used.since, used.denials) = (Some(now), 0);
        }
        used.denials += 1;
        if used.denials <= DENIALS {
            return Some(used.unrecorded.take().map_or(0, |u| u.count));
        }
        let count = used.unrecorded.map_or(0, |u| u.count) + 1;
        used.unrecorded = Some(Unrecorded { count, code });
        None
    }

    /// Takes what was counted and not recorded, of agents whose [`WINDOW`] is over; of all, at a stop.
    pub(crate) fn unrecorded(&self, all: bool) -> Vec<(AgentId, Unrecorded)> {
        let mut agents = locked(&self.agents);
        let over = |used: &Use| all || used.since.is_none_or(|s| s.elapsed() >= WINDOW);
        agents
            .iter_mut()
            .filter(|(_, used)| over(used))
            .filter_map(|(agent, used)| Some((agent.clone(), used.unrecorded.take()?)))
            .collect()
    }
}

impl Drop for CallSlot {
    fn drop(&mut self) {
        let mut agents = locked(&self.agents);
        if let Some(used) = agents.get_mut(&self.agent) {
            used.under_way -= 1;
        }
    }
}

impl Use {
    fn is_idle(&self) -> bool {
        self.under_way == 0
            && self.unrecorded.is_none()
            && self.since.is_none_or(|s| s.elapsed() >= WINDOW)
            && self.not_admitted == NotAdmitted::default()
            && self.paced_until.is_none_or(|until| until <= Instant::now())
            && self.day.sum() == 0
    }
}

impl Charge {
    /// What it came to.
    pub(crate) fn settle(mut self, bytes: u64) {
        self.bytes = bytes;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.bytes > 0 {
            let mut agents = locked(&self.agents);
            of(&mut agents, &self.agent).day.add(self.bytes, self.now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(id: &str) -> AgentId {
        AgentId::parse(id).unwrap()
    }

    #[test]
    fn places_come_back_and_agents_do_not_share_them() {
        let limits = Limits::default();
        let (a, b) = (agent("a"), agent("b"));
        let mut held: Vec<_> = (0..UNDER_WAY).filter_map(|_| limits.enter(&a)).collect();
        assert_eq!(held.len(), UNDER_WAY);
        assert!(limits.enter(&a).is_none());
        assert!(limits.enter(&b).is_some());
        held.pop();
        assert!(limits.enter(&a).is_some());
    }

    #[test]
    fn a_flood_of_refusals_is_a_count_and_not_a_flood_of_records() {
        let (limits, a) = (Limits::default(), agent("a"));
        let code = ErrorCode::GrantRequired;
        let recorded = (0..DENIALS * 3).filter_map(|_| limits.records_denial(&a, code));
        assert_eq!(recorded.count(), DENIALS as usize);
        assert_eq!(limits.unrecorded(false), [], "its window is not over");
        let count = u64::from(DENIALS) * 2;
        let unrecorded = [(a.clone(), Unrecorded { count, code })];
        assert_eq!(limits.unrecorded(true), unrecorded);
        assert_eq!(limits.unrecorded(true), [], "told once");
        assert_eq!(limits.records_denial(&a, code), None);
        limits.agents.lock().unwrap().get_mut(&a).unwrap().since = None;
        let told = [(); 2].map(|()| limits.records_denial(&a, code));
        assert_eq!(told, [Some(1), Some(0)], "the next record carries it, once");
    }

    fn bounds(calls: u32, ledger: u64) -> Bounds {
        Bounds {
            calls_per_second: Some(calls),
            ledger_per_day: Some(ledger),
        }
    }

    fn beyond(most: u64, hours: u64) -> Exceeded {
        let retry_after = Duration::from_millis(hours * HOUR);
        Exceeded::Ledger { most, retry_after }
    }

    #[test]
    fn calls_beyond_the_pace_are_counted_and_others_pay_nothing() {
        let (limits, now) = (Limits::default(), Timestamp(HOUR * 1_000));
        let (a, b) = (agent("a"), agent("b"));
        let ten = bounds(10, 1);
        let admitted = (0..1_000).filter(|_| limits.admit(&a, &ten, now).is_ok());
        let admitted = admitted.count();
        // Ten at once; on a machine that is very slow, some more by the time.
        assert!((10..1_000).contains(&admitted), "{admitted}");
        let Err(Exceeded::Calls { retry_after, .. }) = limits.admit(&a, &ten, now) else {
            panic!("admitted")
        };
        assert!(retry_after <= Duration::from_millis(100), "{retry_after:?}");
        assert!(limits.admit(&b, &ten, now).is_ok());
        let counted = limits.not_admitted();
        let calls = 1_000 - admitted as u64 + 1;
        assert_eq!(counted, [(a.clone(), NotAdmitted { calls, ledger: 0 })]);
        assert_eq!(limits.not_admitted(), [], "told once");
        // What the owner says counts at once.
        assert!(limits.admit(&a, &bounds(1_000_000, 1), now).is_ok());
    }

    #[test]
    fn what_was_noted_is_gone_on_from() {
        let (before, a) = (Limits::default(), agent("a"));
        let at = |hours: u64| Timestamp(HOUR * (1_000 + hours));
        before.charge(&a, at(0)).settle(700);
        before.charge(&a, at(5)).settle(300);
        let b = agent("b");
        assert!(before.admit(&b, &bounds(1, 1), at(5)).is_ok());
        let noted = before.noted(42, at(5));
        let text = serde_json::to_string(&noted).unwrap();
        assert!(!text.contains("\"b\""), "who wrote nothing is not in it");
        let again: Noted = serde_json::from_str(&text).unwrap();
        assert_eq!((again.upto, &again), (42, &noted));
        let after = Limits::default();
        after.go_on_from(again);
        after.charged(&a, 50, at(6));
        assert_eq!(after.written(&a, at(6)), 1_050);
        let refused = after.admit(&a, &bounds(9, 1_050), at(6));
        assert_eq!(refused, Err(beyond(1_050, 18)));
        assert_eq!(after.written(&a, at(24)), 350, "the oldest hour is over");
    }

    #[test]
    fn what_is_written_counts_for_a_day_and_comes_back_by_the_hour() {
        let (limits, a) = (Limits::default(), agent("a"));
        let at = |hours: u64| Timestamp(HOUR * (1_000 + hours));
        let most = bounds(1_000_000, 3_000);
        limits.charge(&a, at(0)).settle(2_000);
        limits.charge(&a, at(1)).settle(0);
        assert!(limits.admit(&a, &most, at(1)).is_ok());
        // Nobody waited for what it came to.
        drop(limits.charge(&a, at(2)));
        assert_eq!(limits.written(&a, at(2)), 2_000 + UNSEEN);
        let admit = |hours| limits.admit(&a, &most, at(hours));
        assert_eq!(admit(2), Err(beyond(3_000, 22)));
        assert!(limits.admit(&a, &bounds(1, 4_000), at(2)).is_ok());
        assert_eq!((admit(23), admit(24)), (Err(beyond(3_000, 1)), Ok(())));
        assert_eq!(limits.written(&a, at(24)), UNSEEN);
        // A time that lies before what was counted gives nothing back.
        limits.charge(&a, at(3)).settle(5_000);
        assert_eq!(admit(24), Err(beyond(3_000, 24)));
        assert_eq!(limits.written(&a, at(1_000)), 0);
    }

    #[test]
    fn what_is_counted_is_kept_and_nothing_else() {
        let (limits, now) = (Limits::default(), Timestamp(HOUR * 1_000));
        let (a, b) = (agent("a"), agent("b"));
        limits.charge(&a, now).settle(1);
        drop(limits.enter(&b));
        limits.tidy(now);
        assert!(limits.agents.lock().unwrap().keys().eq([&a]));
        limits.tidy(Timestamp(now.0 + 24 * HOUR));
        assert!(limits.agents.lock().unwrap().is_empty());
    }
}
