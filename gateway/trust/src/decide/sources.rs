//! Sources: what is configured, what it points at, and what becomes of grants when either changes.

use super::{Draft, agents::own_row, event, on_source};
use crate::{Fact, Refusal, Reply, Source, SourceConfig, SourceSeen, event::Change};
use plexus_protocol::{CapabilityId, SourceId};
use std::{borrow::Cow, sync::Arc};

impl Draft<'_> {
    pub(super) fn put_source(
        &mut self,
        id: &SourceId,
        config: &SourceConfig,
    ) -> Result<Reply, Refusal> {
        let old = self.state.sources.get(id);
        if old.is_some_and(|s| s.config == *config) {
            return Ok(Reply::Changed(false));
        }
        let moved = old.is_some_and(|s| {
            let c = &s.config;
            c.kind != config.kind
                || c.route != config.route
                || c.secret_ref != config.secret_ref
                || c.ask != config.ask
                || c.provenance != config.provenance
        });
        let keep = old.filter(|_| !moved);
        // What it can do and may do belongs to the kind, wherever it points.
        let like = old.filter(|s| s.config.kind == config.kind);
        let source = Source {
            id: id.clone(),
            config: config.clone(),
            revision: match keep {
                // What is hidden is a worker's to know from its start, and no call of before may outlive it.
                Some(source) if source.config.hide == config.hide => source.revision,
                Some(_) | None => self.next(),
            },
            target: keep.and_then(|s| s.target.clone()),
            profile: like.and_then(|s| s.profile),
            capabilities: like.map(|s| s.capabilities.clone()).unwrap_or_default(),
        };
        let what = match old {
            None if config.lent.is_some() => "lent",
            None => "added",
            Some(source) if source.config.lent != config.lent => "lent",
            Some(_) if moved => "reconfigured",
            Some(source) if !config.hide.covers(&source.config.hide) => "shows more",
            Some(source) if source.config.hide != config.hide => "hides more",
            Some(_) => "changed",
        };
        let why = moved.then_some("the source was reconfigured");
        // What was granted was granted on less: it rests until the owner says that it reaches this too.
        let wider = old.is_some_and(|s| !config.hide.covers(&s.config.hide));
        self.replace(source, what, why, |_| wider);
        Ok(Reply::Changed(true))
    }

    pub(super) fn remove_source(&mut self, id: &SourceId) -> Result<Reply, Refusal> {
        if !self.state.sources.contains_key(id) {
            return Ok(Reply::Changed(false));
        }
        let fact = self.source_fact(id, "removed", Some("the source was removed"), true, 0);
        let gone = self.void_grants(id);
        self.emit(
            event("source.install", fact)
                .set_all(gone)
                .set(Change::SourceGone(id.clone())),
        );
        self.void_source_items("the source was removed", |c| on_source(id, c));
        Ok(Reply::Changed(true))
    }

    pub(super) fn source_seen(&mut self, seen: &SourceSeen) -> Result<Reply, Refusal> {
        let old = self
            .state
            .sources
            .get(&seen.id)
            .ok_or(Refusal::NoSuchSource)?;
        let mut source = (**old).clone();
        // A folder that is missing for now is no new target.
        let moved = match (&old.target, &seen.target) {
            (Some(was), Some(is)) => !was.same(is),
            _ => false,
        };
        if seen.target.is_some() {
            source.target.clone_from(&seen.target);
        }
        let profile_changed = old.profile.is_some_and(|was| was != seen.profile);
        source.profile = Some(seen.profile);
        source.capabilities.clone_from(&seen.capabilities);
        if source == **old {
            return Ok(Reply::Changed(false));
        }
        // One that is gone counts: it could come back as something else.
        let reshaped = |id: &CapabilityId| {
            profile_changed
                || old
                    .capabilities
                    .get(id)
                    .is_some_and(|was| seen.capabilities.get(id) != Some(was))
        };
        let wider = profile_changed || old.capabilities.keys().any(reshaped);
        if moved || wider {
            source.revision = self.next();
        }
        let what = if old.profile.is_none() {
            "found"
        } else if wider {
            "manifest or profile changed"
        } else {
            "seen"
        };
        let why = moved.then_some("the source points at something else");
        self.replace(source, what, why, reshaped);
        Ok(Reply::Changed(true))
    }

    pub(super) fn resume_source(&mut self, id: &SourceId) -> Result<Reply, Refusal> {
        self.state.sources.get(id).ok_or(Refusal::NoSuchSource)?;
        let mut resumed = Vec::new();
        for grant in self.state.agents.values().flat_map(|a| a.grants.values()) {
            if on_source(id, &grant.capability) && grant.suspended.is_some() {
                let mut grant = (**grant).clone();
                grant.suspended = None;
                resumed.push(Change::Grant(grant));
            }
        }
        let changed = !resumed.is_empty();
        if changed {
            let fact = self.source_fact(id, "resumed", None, false, 0);
            self.emit(event("source.settings", fact).set_all(resumed));
        }
        Ok(Reply::Changed(changed))
    }

    /// Puts a source in place; `void` says why its grants end, `suspends` which of them rest.
    pub(super) fn replace(
        &mut self,
        source: Source,
        what: &'static str,
        void: Option<&str>,
        suspends: impl Fn(&CapabilityId) -> bool,
    ) {
        let id = source.id.clone();
        let mut changes = vec![Change::Source(source)];
        let mut suspended = 0;
        if void.is_some() {
            changes.extend(self.void_grants(&id));
        } else {
            for grant in self.state.agents.values().flat_map(|a| a.grants.values()) {
                if on_source(&id, &grant.capability)
                    && suspends(&grant.capability)
                    && grant.suspended.is_none()
                {
                    let mut grant = (**grant).clone();
                    grant.suspended =
                        Some("what this source can do has changed since you granted it".into());
                    suspended += 1;
                    changes.push(Change::Grant(grant));
                }
            }
        }
        let fact = self.source_fact(&id, what, void, void.is_some(), suspended);
        self.emit(event("source.settings", fact).set_all(changes));
        match void {
            Some(why) => self.void_source_items(why, |c| on_source(&id, c)),
            // A card shows what a call was; it is not worth more than that.
            None => self.void_source_items("what this source can do has changed", |c| {
                on_source(&id, c) && suspends(c)
            }),
        }
    }

    fn source_fact(
        &self,
        id: &SourceId,
        what: &'static str,
        why: Option<&str>,
        voids: bool,
        suspended: usize,
    ) -> Fact {
        let grants = self.state.agents.values().flat_map(|a| a.grants.keys());
        Fact::Source {
            source: id.clone(),
            what: Cow::Borrowed(what),
            why: why.map(str::to_owned),
            grants_voided: if voids {
                grants.filter(|c| on_source(id, c)).count()
            } else {
                0
            },
            grants_suspended: suspended,
        }
    }

    fn void_grants(&self, id: &SourceId) -> Vec<Change> {
        let mut out = Vec::new();
        for agent in self.state.agents.values() {
            let grants = agent.grants.keys().filter(|c| on_source(id, c));
            out.extend(grants.map(|c| Change::GrantGone(agent.id.clone(), c.clone())));
            out.extend(Self::end_tokens(agent, |token| {
                token.scopes.iter().any(|s| on_source(id, &s.id))
            }));
            // Nor does a read allow itself on what the source points at now.
            let known = agent.grants.keys().chain(&agent.selected);
            let voided: Vec<_> = known
                .filter(|c| on_source(id, c) && !agent.tombstones.contains(*c))
                .collect();
            if !voided.is_empty() {
                let mut row = own_row(agent);
                row.tombstones.extend(voided.into_iter().cloned());
                out.push(Change::Agent(Box::new(row)));
            }
        }
        out
    }

    fn void_source_items(&mut self, why: &str, which: impl Fn(&CapabilityId) -> bool) {
        let agents: Vec<Arc<crate::Agent>> = self.state.agents.values().cloned().collect();
        for agent in agents {
            self.void_items(&agent, why, |item| {
                item.asks.iter().any(|ask| which(&ask.capability))
            });
        }
    }
}
