//! What one agent may have under way, and how much of the log its refused calls may fill (DESIGN 10).
//!
//! Invariant: a place that was taken is given back when its guard goes, whatever became of the call.
//! Invariant: every refused call is in the log, by itself or in a count.

use plexus_protocol::{AgentId, ErrorCode};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Calls that one agent may have under way at once.
const UNDER_WAY: usize = 256;
/// Refused calls of one agent that are recorded one by one in any [`WINDOW`]; further ones are counted, and the count is
/// recorded with the next one or by the sweep.
const DENIALS: u32 = 100;
const WINDOW: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(crate) struct Limits {
    agents: Arc<Mutex<HashMap<AgentId, Use>>>,
    effects: Arc<Effects>,
}

#[derive(Default)]
struct Use {
    under_way: usize,
    denials: u32,
    since: Option<Instant>,
    unrecorded: Option<Unrecorded>,
}

/// Refused calls that have no record of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unrecorded {
    pub(crate) count: u64,
    /// The last one's code.
    pub(crate) code: ErrorCode,
}

/// Effects that are being carried out, so that a stop can wait for their records.
#[derive(Default)]
struct Effects {
    running: Mutex<usize>,
    ended: tokio::sync::Notify,
}

/// One call's place.
pub(crate) struct Place {
    agents: Arc<Mutex<HashMap<AgentId, Use>>>,
    agent: AgentId,
}

/// One effect that a stop waits for.
pub(crate) struct Running(Arc<Effects>);

impl Limits {
    /// A place for a call of `agent`, if it has one left.
    pub(crate) fn enter(&self, agent: &AgentId) -> Option<Place> {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        let used = match agents.get_mut(agent) {
            Some(used) => used,
            None => agents.entry(agent.clone()).or_default(),
        };
        if used.under_way >= UNDER_WAY {
            return None;
        }
        used.under_way += 1;
        Some(Place {
            agents: self.agents.clone(),
            agent: agent.clone(),
        })
    }

    /// Whether a refused call of `agent` is to be recorded by itself, and with it how many before it were not.
    pub(crate) fn records_denial(&self, agent: &AgentId, code: ErrorCode) -> Option<u64> {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        let used = agents.entry(agent.clone()).or_default();
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
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        let over = |used: &Use| all || used.since.is_none_or(|s| s.elapsed() >= WINDOW);
        agents
            .iter_mut()
            .filter(|(_, used)| over(used))
            .filter_map(|(agent, used)| Some((agent.clone(), used.unrecorded.take()?)))
            .collect()
    }

    pub(crate) fn effect(&self) -> Running {
        *self
            .effects
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner) += 1;
        Running(self.effects.clone())
    }

    /// Waits until no effect is being carried out.
    pub(crate) async fn no_effects(&self) {
        loop {
            let ended = self.effects.ended.notified();
            if *self
                .effects
                .running
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                == 0
            {
                return;
            }
            ended.await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(used) = agents.get_mut(&self.agent) {
            used.under_way -= 1;
            let quiet = used.since.is_none_or(|s| s.elapsed() >= WINDOW);
            if used.under_way == 0 && used.unrecorded.is_none() && quiet {
                agents.remove(&self.agent);
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        *self
            .0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back_and_agents_do_not_share_them() {
        let limits = Limits::default();
        let (a, b) = (AgentId::parse("a").unwrap(), AgentId::parse("b").unwrap());
        let mut held: Vec<_> = (0..UNDER_WAY).filter_map(|_| limits.enter(&a)).collect();
        assert_eq!(held.len(), UNDER_WAY);
        assert!(limits.enter(&a).is_none());
        assert!(limits.enter(&b).is_some());
        held.pop();
        assert!(limits.enter(&a).is_some());
    }

    #[test]
    fn a_flood_of_refusals_is_a_count_and_not_a_flood_of_records() {
        let (limits, a) = (Limits::default(), AgentId::parse("a").unwrap());
        let code = ErrorCode::GrantRequired;
        let recorded = (0..DENIALS * 3)
            .filter(|_| limits.records_denial(&a, code).is_some())
            .count();
        assert_eq!(recorded, DENIALS as usize);
        assert_eq!(limits.unrecorded(false), [], "its window is not over");
        let count = u64::from(DENIALS) * 2;
        assert_eq!(
            limits.unrecorded(true),
            [(a.clone(), Unrecorded { count, code })]
        );
        assert_eq!(limits.unrecorded(true), [], "told once");
        assert_eq!(limits.records_denial(&a, code), None);
        limits.agents.lock().unwrap().get_mut(&a).unwrap().since = None;
        let told = [(); 2].map(|()| limits.records_denial(&a, code));
        assert_eq!(told, [Some(1), Some(0)], "the next record carries it, once");
    }
}
