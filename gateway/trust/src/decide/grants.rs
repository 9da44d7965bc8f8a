//! What the owner gives, shows and takes back without being asked.

use super::{Draft, agents::own_row, boxed, event, token_ids, with_capability};
use crate::{
    Approval, Ceiling, Fact, Grant, GrantEntry, ItemState, Refusal, Reply, Settings, ceiling,
    class_default, event::Change, grantable,
};
use plexus_protocol::{AgentId, CapabilityId, Constraint, Digest, TokenId, TrustWindow, Verbs};
use std::borrow::Cow;

impl Draft<'_> {
    pub(super) fn new_grant(
        &mut self,
        agent: &AgentId,
        id: &CapabilityId,
        verbs: Verbs,
        window: TrustWindow,
        constraint: Option<Constraint>,
    ) -> Grant {
        Grant {
            serial: self.next(),
            agent: agent.clone(),
            capability: id.clone(),
            verbs,
            window,
            granted_at: self.now,
            expires_at: self.now.plus(window.length_ms()),
            constraint,
            calls: 0,
            suspended: None,
        }
    }

    /// The denials that an approval within `constraint` ends: that of `input`, and every other one if it is `for_any`
    /// input. A denial keeps only the digest of its input, which does not tell whether a narrowing covers it: it stays.
    pub(super) fn forget_denials(
        &self,
        agent: &AgentId,
        id: &CapabilityId,
        constraint: Option<&Constraint>,
        (input, for_any): (Option<Digest>, bool),
    ) -> Vec<Change> {
        let Some(known) = self.state.agent(agent) else {
            return Vec::new();
        };
        let all = for_any && constraint.is_none_or(|narrow| narrow.fields().next().is_none());
        let denied = known
            .denials
            .keys()
            .filter(|(c, denied)| c == id && (all || input == Some(*denied)));
        denied
            .map(|(c, d)| Change::DenialGone(agent.clone(), c.clone(), *d))
            .collect()
    }

    pub(super) fn grant(&mut self, id: &AgentId, entries: &[GrantEntry]) -> Result<Reply, Refusal> {
        let agent = self.known(id)?;
        let (mut granted, mut once, mut standing) = (vec![], vec![], vec![]);
        let mut denials_ended = 0;
        for entry in entries {
            let (source, facts) = with_capability(self.state, &entry.capability)?;
            let elsewhere = source.config.lent.as_ref().filter(|lent| lent.agent != *id);
            if let Some(lent) = elsewhere {
                return Err(Refusal::Invalid(format!(
                    "{} is lent to {} alone",
                    source.id, lent.agent
                )));
            }
            let provenance = source.config.provenance;
            let verbs = entry.verbs.map_or(facts.verbs, |v| v.and(facts.verbs));
            if verbs.is_empty() {
                return Err(Refusal::Invalid(format!(
                    "{} declares none of these verbs",
                    entry.capability
                )));
            }
            let settings = &self.state.settings;
            let chosen = entry
                .window
                .unwrap_or_else(|| class_default(settings, facts, provenance));
            let window = grantable(settings, facts, provenance, chosen);
            if window == TrustWindow::Once || ceiling(facts, provenance) == Ceiling::Once {
                once.push(entry.capability.clone());
                continue;
            }
            if let Some(constraint) = &entry.constraint {
                Self::check_constraint(&entry.capability, facts, constraint)?;
            }
            let grant = self.new_grant(
                id,
                &entry.capability,
                verbs,
                window,
                entry.constraint.clone(),
            );
            let fact = Fact::Allowed {
                policy: Cow::Borrowed("owner"),
                trust_window: window,
                constrained: grant.constraint.is_some(),
                via_approval: None,
                card: None,
            };
            let mut allowed = event("grant.allow", fact)
                .agent(id)
                .about(&entry.capability);
            allowed.verbs = Some(verbs);
            let narrowed = entry.constraint.as_ref();
            let forgiven = self.forget_denials(id, &entry.capability, narrowed, (None, true));
            denials_ended += forgiven.len();
            standing.push(grant.clone());
            self.emit(allowed.set_all(forgiven).set(Change::Grant(grant)));
            granted.push(entry.capability.clone());
        }
        let mut row = own_row(agent);
        row.tombstones.retain(|c| !granted.contains(c));
        row.voided.retain(|c, _| !granted.contains(c));
        row.selected.extend(granted.iter().cloned());
        if (row.tombstones != agent.tombstones || row.selected != agent.selected)
            && let Some(last) = self.events.last_mut()
        {
            last.changes.push(Change::Agent(Box::new(row)));
        }
        let also = self.answer_covered(agent, None, &standing, None);
        Ok(Reply::Approved {
            granted,
            once,
            also,
            denials_ended,
        })
    }

    pub(super) fn revoke_grant(
        &mut self,
        id: &AgentId,
        capability: &CapabilityId,
        reason: Option<&String>,
    ) -> Result<Reply, Refusal> {
        let agent = self.known(id)?;
        let removed = agent.grants.contains_key(capability);
        let ended = Self::end_tokens(agent, |_| true);
        let tokens = token_ids(&ended);
        let fact = Fact::Revoked {
            revoked_count: tokens.len(),
            grant_removed: removed,
            by_jti: false,
            reason: reason.cloned(),
        };
        let mut row = own_row(agent);
        row.tombstones.insert(capability.clone());
        row.standing.remove(capability);
        let mut revoked = event("grant.revoke", fact)
            .agent(id)
            .about(capability)
            .set_all(ended)
            .set(Change::Agent(Box::new(row)));
        if removed {
            revoked = revoked.set(Change::GrantGone(id.clone(), capability.clone()));
        }
        self.emit(revoked);
        let why = "the owner revoked this capability";
        let items = self.void_items(agent, why, |item| item.concerns(capability));
        // A further turn and a child call end with the item that they belong to.
        let in_flight = self.in_flight(&agent.id, |open| {
            let of = open.turn_of.as_ref().or(open.item.as_ref());
            let of = of.and_then(|item| agent.items.get(item));
            &open.capability == capability || of.is_some_and(|item| item.concerns(capability))
        });
        Ok(Reply::Revoked {
            items,
            in_flight,
            tokens,
            grants: usize::from(removed),
            sessions: 0,
            enrollment: false,
        })
    }

    pub(super) fn revoke_token(
        &mut self,
        token: &TokenId,
        reason: Option<&String>,
    ) -> Result<Reply, Refusal> {
        let owner = self
            .state
            .agents
            .values()
            .find(|a| a.tokens.contains_key(token));
        let agent = owner.ok_or(Refusal::TokenRevoked)?;
        let fact = Fact::Revoked {
            revoked_count: 1,
            grant_removed: false,
            by_jti: true,
            reason: reason.cloned(),
        };
        let mut revoked = event("grant.revoke", fact).agent(&agent.id);
        revoked.jti = Some(token.clone());
        self.emit(revoked.set(Change::TokenGone {
            agent: agent.id.clone(),
            id: token.clone(),
        }));
        let scopes = &agent.tokens[token].scopes;
        let in_flight = self.in_flight(&agent.id, |open| {
            scopes.iter().any(|scope| scope.id == open.capability)
        });
        Ok(Reply::Revoked {
            items: Vec::new(),
            in_flight,
            tokens: vec![token.clone()],
            grants: 0,
            sessions: 0,
            enrollment: false,
        })
    }

    pub(super) fn expose(&mut self, id: &CapabilityId, enabled: bool) -> Result<Reply, Refusal> {
        if self.state.exposed(id) == enabled {
            return Ok(Reply::Changed(false));
        }
        let fact = Fact::Exposure {
            enabled,
            surface: Cow::Borrowed("what-i-expose"),
        };
        self.emit(
            event("exposure.set", fact)
                .about(id)
                .set(Change::Exposure(id.clone(), enabled)),
        );
        Ok(Reply::Changed(true))
    }

    pub(super) fn default_grant(
        &mut self,
        id: &CapabilityId,
        ticked: bool,
    ) -> Result<Reply, Refusal> {
        let mut ids = (*self.state.default_grants).clone();
        let changed = if ticked {
            ids.insert(id.clone())
        } else {
            ids.remove(id)
        };
        if changed {
            let fact = Fact::DefaultGrant { ticked };
            self.emit(
                event("source.settings", fact)
                    .about(id)
                    .set(Change::DefaultGrants(ids)),
            );
        }
        Ok(Reply::Changed(changed))
    }

    pub(super) fn configure(&mut self, settings: &Settings) -> Result<Reply, Refusal> {
        settings.check().map_err(Refusal::Invalid)?;
        let changed = *self.state.settings != *settings;
        if changed {
            let fact = Fact::Configured {
                settings: settings.clone(),
            };
            self.emit(
                event("source.settings", fact).set(Change::Settings(settings.clone().into())),
            );
        }
        Ok(Reply::Changed(changed))
    }

    pub(super) fn pause(&mut self, on: bool) -> Result<Reply, Refusal> {
        let changed = self.state.paused != on;
        if changed {
            self.emit(event("source.settings", Fact::Paused { on }).set(Change::Paused(on)));
        }
        Ok(Reply::Changed(changed))
    }

    /// An agent's act, once it is known who it is: refused while the owner has paused all agents. What takes an agent's
    /// own wish back is let through.
    pub(super) fn not_paused(&self) -> Result<(), Refusal> {
        match self.state.paused {
            true => Err(Refusal::Paused),
            false => Ok(()),
        }
    }

    pub(super) fn launch(&mut self) -> Result<Reply, Refusal> {
        let mut launched = event("source.settings", Fact::Launched {})
            .set(Change::LaunchOver)
            .set(Change::Serial(self.serial))
            .set(Change::Settings(
                self.state.settings.with_managed_windows().into(),
            ))
            .set(Change::DefaultGrants((*self.state.default_grants).clone()))
            .set_all(self.unknown_since_stop());
        // A plan lives in memory: what still waits is planned again.
        for item in self.state.agents.values().flat_map(|a| a.items.values()) {
            let stale = |ask: &crate::Ask| {
                !matches!(ask.plan, crate::Plan::None) && ask.approval == Approval::Open
            };
            if item.state == ItemState::Pending && item.asks.iter().any(stale) {
                launched = launched.set(boxed(item, |item| {
                    item.revision += 1;
                    item.asks
                        .iter_mut()
                        .filter(|a| stale(a))
                        .for_each(|a| a.plan = crate::Plan::Making);
                }));
            }
        }
        self.emit(launched);
        self.own_sources();
        Ok(Reply::Done)
    }
}
