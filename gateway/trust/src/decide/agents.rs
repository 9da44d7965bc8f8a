//! Who an agent is: connect, enroll, sessions, the end of an agent, the end of every agent.

use super::{Draft, event, on_source, token_ids};
use crate::{
    Agent, Bounds, Ceiling, Connect, Deliver, EnrollmentStatus, Fact, MAX_SESSIONS, Reach, Refusal,
    Reply, SESSION_MS, SessionProof, Settings, ceiling, class_default, event::Change, grantable,
    state::Code,
};
use plexus_protocol::{AgentId, Digest, PendingId, SessionId, Timestamp, TrustWindow};
use std::{borrow::Cow, collections::BTreeMap};

impl Draft<'_> {
    pub(super) fn connect(&mut self, c: &Connect) -> Result<Reply, Refusal> {
        let old = self.state.agent(&c.agent);
        let mut row = blank(&c.agent, self.now);
        row.agent_type.clone_from(&c.agent_type);
        row.epoch = self.next();
        let expires_at = self.now.plus(c.code_ms);
        if c.agent.is_nested() {
            // The gateway makes its calls: nobody enrolls as it.
            row.status = EnrollmentStatus::Active;
        } else {
            row.code = Some(Code {
                hash: c.code,
                expires_at,
                consumed: false,
            });
        }
        row.reach = c.reach.unwrap_or(self.state.settings.default_reach);
        row.selected.clone_from(&c.capabilities);
        row.tombstones = old.map(|a| a.tombstones.clone()).unwrap_or_default();
        row.voided = old.map(|a| a.voided.clone()).unwrap_or_default();
        row.bounds = old.map(|a| a.bounds).unwrap_or_default();

        let (mut granted, mut skipped, mut refused, mut grants) = (vec![], vec![], vec![], vec![]);
        for id in &c.capabilities {
            let (source, facts) = super::with_capability(self.state, id)?;
            let provenance = source.config.provenance;
            if facts.verbs.is_empty() {
                continue; // a skill is text: there is nothing to grant
            }
            let wants = facts.verbs.is_read() || c.standing.contains(id);
            if c.standing.contains(id) && ceiling(facts, provenance) == Ceiling::Once {
                refused.push(id.clone());
            }
            let settings = &self.state.settings;
            let chosen = c
                .window
                .unwrap_or_else(|| class_default(settings, facts, provenance));
            let window = grantable(settings, facts, provenance, chosen);
            if !wants || window == TrustWindow::Once {
                skipped.push(id.clone());
                continue;
            }
            if let Some(constraint) = &c.constraint
                && !Self::narrows(id, facts, constraint)?
            {
                // It cannot be narrowed as the owner wished: it asks instead of standing wide open.
                skipped.push(id.clone());
                continue;
            }
            if c.standing.contains(id) {
                row.standing.insert(id.clone());
            }
            row.tombstones.remove(id);
            row.voided.remove(id);
            grants.push(self.new_grant(&c.agent, id, facts.verbs, window, c.constraint.clone()));
            granted.push(id.clone());
        }
        if c.constraint.is_some() && grants.is_empty() {
            return Err(Refusal::Invalid(
                "the constraint names no input field of anything that is granted here".into(),
            ));
        }

        let fact = Fact::Connected {
            agent_type: c.agent_type.clone(),
            granted_count: granted.len(),
            skipped_count: skipped.len(),
        };
        let mut connected = event("handshake", fact)
            .agent(&c.agent)
            .set(Change::Agent(Box::new(row)));
        if let Some(old) = old {
            connected = connected.set_all(Self::end_sessions(old));
            // What this connect does not grant anew will ask, as its answer says (E13).
            let narrowed = old.grants.keys().filter(|id| !granted.contains(id));
            connected = connected
                .set_all(narrowed.map(|id| Change::GrantGone(c.agent.clone(), id.clone())));
        }
        self.emit(connected);
        if let Some(old) = old {
            self.void_items(old, "the agent was connected anew", |_| true);
        }
        for grant in grants {
            let narrowed = grant.constraint.as_ref();
            let forgiven = self.forget_denials(&c.agent, &grant.capability, narrowed, (None, true));
            let fact = Fact::Allowed {
                policy: Cow::Borrowed("connect"),
                trust_window: grant.window,
                constrained: grant.constraint.is_some(),
                via_approval: None,
                card: None,
            };
            let mut allowed = event("grant.allow", fact)
                .agent(&c.agent)
                .about(&grant.capability);
            allowed.verbs = Some(grant.verbs);
            self.emit(allowed.set_all(forgiven).set(Change::Grant(grant)));
        }
        Ok(Reply::Connected {
            granted,
            skipped,
            refused,
            code_expires_at: expires_at,
        })
    }

    pub(super) fn deliver(&mut self, d: &Deliver) -> Result<Reply, Refusal> {
        let agent = self.known(&d.agent)?;
        not_nested(&d.agent)?;
        if agent.status == EnrollmentStatus::Revoked {
            return Err(Refusal::NoSuchAgent);
        }
        let enrolled = agent.status == EnrollmentStatus::Active;
        let another_form = d.form.is_some() && d.form != agent.agent_type;
        let code = !enrolled || d.reissue;
        let expires_at = self.now.plus(d.code_ms);
        if code || another_form {
            let fact = Fact::Delivered {
                agent_type: d.form.clone(),
                code,
                reissued: enrolled && d.reissue,
            };
            let mut row = own_row(agent);
            if d.form.is_some() {
                row.agent_type.clone_from(&d.form);
            }
            let mut delivered = event("handshake", fact).agent(&d.agent).outcome("ok");
            if code {
                row.issued_at = self.now;
                row.code = Some(Code {
                    hash: d.code,
                    expires_at,
                    consumed: false,
                });
            }
            if enrolled && d.reissue {
                // Its tokens are good for as long as its epoch: a credential that ends takes them with it.
                row.epoch = self.next();
                take_credential(&mut row, self.now);
                row.status = EnrollmentStatus::Pending;
                delivered = delivered.set_all(Self::end_sessions(agent));
            }
            self.emit(delivered.set(Change::Agent(Box::new(row))));
            if enrolled && d.reissue {
                // Another program may redeem it, which has not asked for what waits.
                self.void_items(agent, "the agent was given a new code", |_| true);
            }
        }
        Ok(Reply::Delivered {
            code_expires_at: code.then_some(expires_at),
            enrolled,
        })
    }

    pub(super) fn enroll(&mut self, code: &Digest, pat: &Digest) -> Result<Reply, Refusal> {
        let found = self
            .state
            .agents
            .values()
            .find(|a| a.code.as_ref().is_some_and(|c| &c.hash == code));
        let agent = found.ok_or(Refusal::UnknownCode)?;
        let known = agent.code.as_ref().ok_or(Refusal::UnknownCode)?;
        if known.consumed || agent.status == EnrollmentStatus::Revoked {
            return Err(Refusal::CodeConsumed);
        }
        if self.now >= known.expires_at {
            return Err(Refusal::CodeExpired);
        }
        let mut row = own_row(agent);
        row.code = Some(Code {
            consumed: true,
            ..known.clone()
        });
        row.pat = Some(*pat);
        row.status = EnrollmentStatus::Active;
        row.redeemed_at = Some(self.now);
        row.revoked_at = None;
        let fact = Fact::Enrolled {
            outcome: Cow::Borrowed("redeemed"),
        };
        self.emit(
            event("handshake", fact)
                .agent(&agent.id)
                .outcome("ok")
                .set(Change::Agent(Box::new(row))),
        );
        Ok(Reply::Enrolled {
            agent: agent.id.clone(),
        })
    }

    pub(super) fn open_session(
        &mut self,
        agent: Option<&AgentId>,
        by: SessionProof,
        session: &SessionId,
        client: &(Option<String>, Option<String>),
    ) -> Result<Reply, Refusal> {
        let expires_at = self.now.plus(SESSION_MS);
        let client = &(cut(client.0.as_ref()), cut(client.1.as_ref()));
        let fact = Fact::SessionOpened {
            client: client.0.clone(),
            version: client.1.clone(),
            auth: Cow::Borrowed(match by {
                SessionProof::Pat(_) => "pat",
                SessionProof::Owner => "connection-key",
                SessionProof::Gateway => "gateway",
            }),
        };
        if agent.is_some_and(AgentId::is_nested) != (by == SessionProof::Gateway) {
            return Err(Refusal::Invalid(
                "the sessions of a nested agent are the gateway's own".into(),
            ));
        }
        let mut opened = event("handshake", fact).outcome("ok");
        opened.session_id = Some(session.clone());
        opened.agent_id = agent.cloned();
        let crowd = match agent {
            None => {
                if by != SessionProof::Owner {
                    return Err(Refusal::SessionExpired);
                }
                surplus(&self.state.console_sessions, self.now)
            }
            Some(id) => match self.state.agent(id) {
                Some(known) => {
                    let live = known.status == EnrollmentStatus::Active && known.pat.is_some();
                    let allowed = match by {
                        SessionProof::Pat(pat) => live && known.pat == Some(pat),
                        SessionProof::Owner | SessionProof::Gateway => {
                            known.status != EnrollmentStatus::Revoked
                        }
                    };
                    if !allowed {
                        return Err(Refusal::SessionExpired);
                    }
                    // The owner may speak as an agent, by the gateway as a nested one; its calls are refused all the same.
                    if matches!(by, SessionProof::Pat(_)) {
                        self.not_paused()?;
                    }
                    surplus(&known.sessions, self.now)
                }
                None if by != SessionProof::Owner => return Err(Refusal::SessionExpired),
                None => {
                    // The owner's key may speak as an agent that was never connected: it sees nothing.
                    let mut row = blank(id, self.now);
                    row.epoch = self.next();
                    row.reach = Reach::Selected;
                    opened = opened.set(Change::Agent(Box::new(row)));
                    Vec::new()
                }
            },
        };
        for gone in crowd {
            if let Some(known) = agent.and_then(|id| self.state.agent(id)) {
                opened = opened.set_all(Self::end_tokens(known, |token| token.session == gone));
            }
            opened = opened.set(Change::SessionGone {
                agent: agent.cloned(),
                id: gone,
            });
        }
        let change = Change::Session {
            agent: agent.cloned(),
            id: session.clone(),
            expires_at,
            client: client.clone(),
        };
        self.emit(opened.set(change));
        Ok(Reply::Session { expires_at })
    }

    pub(super) fn revoke_agent(
        &mut self,
        id: &AgentId,
        reason: Option<&String>,
        delete: bool,
    ) -> Result<Reply, Refusal> {
        let agent = self.known(id)?;
        // What calls for it ends with it.
        let nested = self.state.agents.values().filter(|nested| {
            nested.id.is_nested_in(id) && (delete || nested.status != EnrollmentStatus::Revoked)
        });
        for nested in nested {
            self.revoke_one(nested, reason, delete);
        }
        Ok(self.revoke_one(agent, reason, delete))
    }

    fn revoke_one(&mut self, agent: &Agent, reason: Option<&String>, delete: bool) -> Reply {
        let id = &agent.id;
        let enrollment = agent.status != EnrollmentStatus::Revoked;
        let ended = Self::end_sessions(agent);
        let tokens = token_ids(&ended);
        let held = agent.grants.values();
        let held = held.filter(|grant| !self.has_ended(grant)).count();
        let fact = Fact::AgentRevoked {
            agent_revoke: true,
            revoked_count: tokens.len(),
            grants_removed: held,
            deleted: delete,
            reason: reason.cloned(),
        };
        let mut row = own_row(agent);
        row.epoch = self.next();
        row.status = EnrollmentStatus::Revoked;
        row.revoked_at = Some(self.now);
        row.pat = None;
        row.tombstones.extend(agent.grants.keys().cloned());
        let gone = agent
            .grants
            .keys()
            .map(|c| Change::GrantGone(id.clone(), c.clone()));
        let mut revoked = event("grant.revoke", fact)
            .agent(id)
            .outcome("ok")
            .set_all(ended)
            .set_all(gone);
        let items = if delete {
            let of = || id.clone();
            revoked = revoked
                .set_all(
                    agent
                        .items
                        .keys()
                        .map(|p| Change::ItemGone(of(), p.clone())),
                )
                .set_all(
                    agent
                        .denials
                        .keys()
                        .map(|(c, d)| Change::DenialGone(of(), c.clone(), *d)),
                )
                .set_all(
                    agent
                        .unknown
                        .keys()
                        .map(|(c, d)| Change::UnknownGone(of(), c.clone(), *d)),
                )
                .set_all(
                    agent
                        .keys
                        .keys()
                        .map(|intent| Change::KeyGone(of(), intent.clone())),
                )
                .set(Change::AgentGone(id.clone()));
            self.emit(revoked);
            Vec::new()
        } else {
            self.emit(revoked.set(Change::Agent(Box::new(row))));
            self.void_items(agent, "the agent was revoked", |_| true)
        };
        let in_flight = self.in_flight(&agent.id, |_| true);
        Reply::Revoked {
            items,
            in_flight,
            tokens,
            grants: held,
            sessions: agent.sessions.len(),
            enrollment,
        }
    }

    pub(super) fn rotate_key(&mut self) -> Result<Reply, Refusal> {
        let fact = Fact::KeyRotated {
            agents: self.state.agents.len(),
        };
        let ended = self.end_credentials();
        self.emit(event("source.settings", fact).outcome("ok").set_all(ended));
        let items = self.void_all_items("the connection key was rotated");
        Ok(Reply::KeyRotated { items })
    }

    /// What was taken back since the copy was made is in the state again, so nothing in it counts until the owner has
    /// looked. A grant that rested already keeps its reason.
    pub(super) fn restored(&mut self, made_at: Timestamp) -> Result<Reply, Refusal> {
        let lent = self.state.lent_out();
        if !lent.is_empty() {
            return self.restored_without(lent, made_at);
        }
        let agents: Vec<_> = self.state.agents.values().cloned().collect();
        let grants = agents.iter().flat_map(|agent| agent.grants.values());
        let rest: Vec<Change> = grants
            .filter(|grant| self.is_valid(grant))
            .map(|grant| {
                let mut grant = (**grant).clone();
                grant.suspended =
                    Some("it comes from a backup, and may have been taken back since".into());
                Change::Grant(grant)
            })
            .collect();
        let grants = rest.len();
        let noted = self.restored_sources(&rest);
        // What would let a read through without a grant: the owner says it again.
        let asks = Settings {
            auto_allow_reads: false,
            ..(*self.state.settings).clone()
        };
        let asks = (*self.state.settings != asks).then(|| Change::Settings(asks.into()));
        let fact = Fact::Restored {
            made_at,
            agents: agents.len(),
            grants_suspended: grants,
        };
        let mut ended = self.end_credentials();
        let mut gone = Vec::new();
        for change in &mut ended {
            if let Change::Agent(row) = change {
                gone.extend(self.ended_as_gone(row, |_| true));
            }
        }
        self.emit(
            event("source.settings", fact)
                .outcome("ok")
                .set_all(ended)
                .set_all(rest)
                .set_all(gone)
                .set_all(noted)
                .set_all(asks),
        );
        self.void_all_items("the state was restored from a backup");
        let live = agents
            .iter()
            .filter(|agent| agent.status != EnrollmentStatus::Revoked);
        Ok(Reply::Restored {
            agents: live.map(|agent| agent.id.clone()).collect(),
            grants,
            lendings: Vec::new(),
        })
    }

    /// The sources on which grants `rest` from now on, with the restore among what their cards say.
    fn restored_sources(&self, rest: &[Change]) -> Vec<Change> {
        let mut noted = Vec::new();
        for known in self.state.sources.values() {
            let rests = |change: &Change| match change {
                Change::Grant(grant) => on_source(&known.id, &grant.capability),
                _ => false,
            };
            if !rest.iter().any(rests) {
                continue;
            }
            let mut source = (**known).clone();
            if !self.state.asks_about(known, self.now) {
                source.changed.clear();
            }
            let words = "it comes from a backup that was restored".to_owned();
            source.changed.push(self.told(vec![words]));
            noted.push(Change::Source(source));
        }
        noted
    }

    pub(super) fn new_code(
        &mut self,
        id: &AgentId,
        code: &Digest,
        code_ms: u64,
    ) -> Result<Reply, Refusal> {
        let agent = self.known(id)?;
        not_nested(id)?;
        if agent.status == EnrollmentStatus::Revoked {
            return Err(Refusal::Invalid(format!(
                "{id} was revoked: connect it anew"
            )));
        }
        let code_expires_at = self.now.plus(code_ms);
        let mut row = own_row(agent);
        row.epoch = self.next();
        take_credential(&mut row, self.now);
        row.issued_at = self.now;
        row.redeemed_at = None;
        row.status = EnrollmentStatus::Pending;
        row.code = Some(Code {
            hash: *code,
            expires_at: code_expires_at,
            consumed: false,
        });
        self.emit(
            event("handshake", Fact::NewCode {})
                .agent(id)
                .set(Change::Agent(Box::new(row)))
                .set_all(Self::end_sessions(agent)),
        );
        // Another program may redeem it, which has not asked for what waits.
        let items = self.void_items(agent, "the agent was given a new code", |_| true);
        Ok(Reply::Coded {
            code_expires_at,
            items,
        })
    }

    pub(super) fn bound(&mut self, id: &AgentId, bounds: Bounds) -> Result<Reply, Refusal> {
        let agent = self.known(id)?;
        bounds.check().map_err(Refusal::Invalid)?;
        let changed = agent.bounds != bounds;
        if changed {
            let row = Agent {
                bounds,
                ..own_row(agent)
            };
            self.emit(
                event("source.settings", Fact::Bounded { bounds })
                    .agent(id)
                    .outcome("ok")
                    .set(Change::Agent(Box::new(row))),
            );
        }
        Ok(Reply::Changed(changed))
    }

    /// Ends every session, token, code and PAT.
    fn end_credentials(&mut self) -> Vec<Change> {
        let console = self.state.console_sessions.keys();
        let mut ended: Vec<Change> = console
            .map(|id| Change::SessionGone {
                agent: None,
                id: id.clone(),
            })
            .collect();
        for agent in self.state.agents.values() {
            let mut row = own_row(agent);
            row.epoch = self.next();
            take_credential(&mut row, self.now);
            row.code = None;
            if row.status == EnrollmentStatus::Active && !agent.id.is_nested() {
                row.status = EnrollmentStatus::Pending;
            }
            ended.extend(Self::end_sessions(agent));
            ended.push(Change::Agent(Box::new(row)));
        }
        ended
    }

    fn void_all_items(&mut self, why: &str) -> Vec<PendingId> {
        let agents: Vec<_> = self.state.agents.values().cloned().collect();
        let voided = agents.iter();
        voided
            .flat_map(|agent| self.void_items(agent, why, |_| true))
            .collect()
    }
}

/// Takes the credential that `row` has, if any, and notes when that was.
fn take_credential(row: &mut Agent, now: Timestamp) {
    if row.pat.take().is_some() {
        row.revoked_at = Some(now);
    }
}

/// A nested agent has no credential, and gets no code for one.
fn not_nested(id: &AgentId) -> Result<(), Refusal> {
    if id.is_nested() {
        return Err(Refusal::Invalid(format!(
            "{id} has no code: the gateway makes its calls"
        )));
    }
    Ok(())
}

/// What a client calls itself, fit for a list: no control characters, 80 characters at most.
fn cut(name: Option<&String>) -> Option<String> {
    name.map(|name| name.chars().filter(|c| !c.is_control()).take(80).collect())
}

fn blank(id: &AgentId, now: Timestamp) -> Agent {
    Agent {
        id: id.clone(),
        agent_type: None,
        status: EnrollmentStatus::Pending,
        epoch: 0,
        code: None,
        pat: None,
        issued_at: now,
        redeemed_at: None,
        revoked_at: None,
        reach: Reach::Selected,
        selected: [].into(),
        standing: [].into(),
        tombstones: [].into(),
        voided: BTreeMap::new(),
        bounds: Bounds::default(),
        grants: BTreeMap::new(),
        items: BTreeMap::new(),
        denials: BTreeMap::new(),
        unknown: BTreeMap::new(),
        keys: std::sync::Arc::default(),
        sessions: BTreeMap::new(),
        tokens: BTreeMap::new(),
    }
}

/// The members of an agent that are its own row; what has rows of its own stays behind.
pub(super) fn own_row(agent: &Agent) -> Agent {
    Agent {
        agent_type: agent.agent_type.clone(),
        status: agent.status,
        epoch: agent.epoch,
        code: agent.code.clone(),
        pat: agent.pat,
        issued_at: agent.issued_at,
        redeemed_at: agent.redeemed_at,
        revoked_at: agent.revoked_at,
        reach: agent.reach,
        selected: agent.selected.clone(),
        standing: agent.standing.clone(),
        tombstones: agent.tombstones.clone(),
        voided: agent.voided.clone(),
        bounds: agent.bounds,
        ..blank(&agent.id, agent.issued_at)
    }
}

/// Sessions to end before another is opened: those that are over, and the oldest above the limit.
fn surplus(sessions: &BTreeMap<SessionId, crate::Session>, now: Timestamp) -> Vec<SessionId> {
    let (over, mut live): (Vec<_>, Vec<_>) =
        sessions.iter().partition(|(_, s)| now >= s.expires_at);
    live.sort_by_key(|(_, s)| s.expires_at);
    let excess = (live.len() + 1).saturating_sub(MAX_SESSIONS);
    over.into_iter()
        .chain(live.into_iter().take(excess))
        .map(|(id, _)| id.clone())
        .collect()
}
