//! Lending: a source that is there for one agent and for a time.
//!
//! ```text
//! (none) ──Lend──▶ lent ──EndLending, its time, no grant left──▶ ended ──7 days──▶ (none)
//!                   └──Lend: other terms──▶ lent                   └──Lend──▶ lent
//! ```
//! Invariants: a lending is whole or not there, because source and grants are one transaction; an ended one serves
//! nobody, and only keeps what the owner needs to look at what was changed and take it back.

use super::{Draft, decide};
use crate::{EnrollmentStatus, LENT_KEPT_MS, Lend, Lent, Refusal, Reply, State, command::Command};
use plexus_protocol::{AuditId, SourceId, Timestamp};

impl Draft<'_> {
    pub(super) fn lend(&mut self, lend: &Lend) -> Result<Reply, Refusal> {
        let id = &lend.seen.id;
        let lent = lend.config.lent.as_ref().ok_or(Refusal::NotLent)?;
        if self.known(&lent.agent)?.status == EnrollmentStatus::Revoked {
            return Err(Refusal::NoSuchAgent);
        }
        // What is configured for everybody does not become one agent's.
        let taken = self.state.sources.get(id).is_some_and(|source| {
            let other = source.config.lent.as_ref();
            other.is_none_or(|other| other.agent != lent.agent)
        });
        if taken {
            return Err(Refusal::Invalid(format!("the id {id} is taken")));
        }
        let mut world = self.state.clone();
        let mut then = |draft: &mut Self, command: Command| -> Result<(), Refusal> {
            let (events, _) = decide(&world, &command, draft.now)?;
            for event in events {
                world.apply(&event, &no_event(), draft.now);
                draft.events.push(event);
            }
            Ok(())
        };
        then(
            self,
            Command::PutSource {
                id: id.clone(),
                config: lend.config.clone(),
                pins: lend.seen.pins.clone(),
            },
        )?;
        then(self, Command::SourceSeen(lend.seen.clone()))?;
        // What it had before and is not given now.
        let had = self.state.agent(&lent.agent).into_iter();
        let had = had.flat_map(|agent| agent.grants.keys());
        for capability in had.filter(|c| super::on_source(id, c)) {
            if !lend.grants.iter().any(|g| g.capability == *capability) {
                then(
                    self,
                    Command::RevokeGrant {
                        agent: lent.agent.clone(),
                        capability: capability.clone(),
                        reason: Some("lent on other terms".into()),
                    },
                )?;
            }
        }
        then(
            self,
            Command::Grant {
                agent: lent.agent.clone(),
                entries: lend.grants.clone(),
            },
        )?;
        // Each event that used a number carries it; this draft uses none of its own.
        Ok(Reply::Changed(true))
    }

    pub(super) fn end_lending(&mut self, id: &SourceId, why: &str) -> Result<Reply, Refusal> {
        let source = self.state.sources.get(id).ok_or(Refusal::NoSuchSource)?;
        let lent = source.config.lent.as_ref().ok_or(Refusal::NotLent)?;
        if lent.ended.is_some() {
            return Ok(Reply::Changed(false));
        }
        let mut ended = (**source).clone();
        ended.config.enabled = false;
        ended.config.lent = Some(Lent {
            ended: Some(self.now),
            ..lent.clone()
        });
        self.replace(ended, "lending ended", Some(why), Vec::new());
        Ok(Reply::Changed(true))
    }

    /// Takes a step in a world that the steps before have changed. An agent's own row is written whole: made twice from
    /// the same state, the second would undo the first.
    fn step(
        &mut self,
        world: &mut State,
        step: impl FnOnce(&mut Draft<'_>) -> Result<Reply, Refusal>,
    ) -> Result<(), Refusal> {
        let mut draft = Draft {
            state: world,
            now: self.now,
            serial: world.serial,
            events: Vec::new(),
        };
        step(&mut draft)?;
        let events = draft.events;
        for event in events {
            world.apply(&event, &no_event(), self.now);
            self.events.push(event);
        }
        Ok(())
    }

    /// A restore of a state in which these are lent: they end first, and the rest is decided on what is then.
    pub(super) fn restored_without(
        &mut self,
        lent: Vec<SourceId>,
        made_at: Timestamp,
    ) -> Result<Reply, Refusal> {
        let mut world = self.state.clone();
        for id in &lent {
            self.step(&mut world, |draft| {
                draft.end_lending(id, "the state was restored from a backup")
            })?;
        }
        let (events, reply) = decide(&world, &Command::Restored { made_at }, self.now)?;
        self.events.extend(events);
        Ok(match reply {
            Reply::Restored { agents, grants, .. } => Reply::Restored {
                agents,
                grants,
                lendings: lent,
            },
            other => other,
        })
    }

    /// Ends lendings whose time is over or that nothing is granted on any more, and forgets those that ended long ago.
    pub(super) fn end_lendings(&mut self) {
        let state: &State = self.state;
        // Almost always there is none to end, and then no world is thought of.
        let mut changed: Option<State> = None;
        for source in state.sources.values() {
            let Some(lent) = &source.config.lent else {
                continue;
            };
            let granted = state.agent(&lent.agent).is_some_and(|agent| {
                let mut grants = agent.grants.keys();
                grants.any(|capability| super::on_source(&source.id, capability))
            });
            // Why it ends; one that ended long ago is forgotten.
            let why = match lent.ended {
                Some(at) if self.now.since(at) >= LENT_KEPT_MS => None,
                Some(_) => continue,
                None if self.now >= lent.until => Some("its time is over"),
                None if !granted => Some("nothing is granted on it"),
                None => continue,
            };
            let mut world = changed.take().unwrap_or_else(|| state.clone());
            // Neither can be refused: it was looked up just now.
            let _ = self.step(&mut world, |draft| match why {
                Some(why) => draft.end_lending(&source.id, why),
                None => draft.remove_source(&source.id),
            });
            changed = Some(world);
        }
    }
}

/// In a world that is only thought of, no effect begins: no event's id is kept.
fn no_event() -> AuditId {
    const NONE: &str = "evt_00000000-0000-8000-8000-000000000000";
    AuditId::parse(NONE).unwrap_or_else(|_| unreachable!("it has the form of one"))
}
