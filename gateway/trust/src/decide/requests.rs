//! What agents ask for and what the owner answers: grant requests, items, plans, tokens.

use super::{Draft, agents::own_row, boxed, event, with_capability};
use crate::{
    Agent, Approval, Approve, Ask, Decision, Denial, EnrollmentStatus, Entry, Extent, Fact, Facts,
    Grant, ITEM_MS, Item, ItemState, MAX_DECIDED, MAX_PENDING, MAX_TOKENS, OnApproval, Plan,
    REFRESH_GRACE_MS, Refusal, Reply, RequestGrants, Settings, Source, authorize::denied_lately,
    authorize::live_session, authorize::not_denied, authorize::stands, class_default,
    event::Change, grantable, standing_for, visible,
};
use plexus_protocol::{
    AgentId, CapabilityId, Digest, PendingId, Provenance, SessionId, SourceId, Timestamp, TokenId,
    TrustWindow, Verb, body::Scope,
};
use std::{borrow::Cow, collections::BTreeSet};

/// What one entry of a request came to.
enum Settled {
    Allowed {
        scope: Scope,
        until: Timestamp,
        window: TrustWindow,
    },
    AutoAllowed {
        scope: Scope,
        window: TrustWindow,
    },
    Pends(Ask),
    Denied(Option<String>),
}

impl<'a> Draft<'a> {
    pub(super) fn request(&mut self, r: &RequestGrants) -> Result<Reply, Refusal> {
        let mut decision = Decision::default();
        let Some(id) = &r.agent else {
            let open = self.state.console_sessions.get(&r.session);
            if open.is_none_or(|s| self.now >= s.expires_at) {
                return Err(Refusal::SessionExpired);
            }
            decision.unknown = r
                .entries
                .iter()
                .filter(|e| e.wanted)
                .map(|e| e.id.clone())
                .collect();
            return Ok(Reply::Decided(decision));
        };
        let agent = self.state.agent(id).ok_or(Refusal::SessionExpired)?;
        live_session(agent, &r.session, self.now)?;
        if r.extent != Extent::OwnersToken {
            self.not_paused()?;
        }

        let mut ids = BTreeSet::new();
        if let Some(twice) = r.entries.iter().find(|e| !ids.insert(e.id.as_str())) {
            return Err(Refusal::Invalid(format!("{} is asked for twice", twice.id)));
        }
        let mut asks = Vec::new();
        let mut token_end = Timestamp(u64::MAX);
        for entry in &r.entries {
            let known = CapabilityId::parse(&entry.id)
                .ok()
                .filter(|c| visible(self.state, agent, c, self.now));
            let Some(capability) = known else {
                if entry.wanted {
                    decision.unknown.push(entry.id.clone());
                }
                continue;
            };
            if !entry.wanted {
                let fact = Fact::Denied {
                    item: None,
                    reason: Some("the agent declined it".into()),
                };
                self.emit(event("grant.deny", fact).agent(id).about(&capability));
                continue;
            }
            let (source, facts) = with_capability(self.state, &capability)?;
            let (scope, mut until, mut window) =
                match self.settle(agent, entry, &capability, source, facts, r.on_approval)? {
                    Settled::Pends(_) | Settled::AutoAllowed { .. }
                        if r.extent != Extent::Anything =>
                    {
                        continue;
                    }
                    Settled::Pends(ask) => {
                        asks.push(ask);
                        continue;
                    }
                    Settled::Denied(reason) => {
                        decision.denied.push((capability, reason));
                        continue;
                    }
                    Settled::Allowed {
                        scope,
                        until,
                        window,
                    } => (scope, until, window),
                    Settled::AutoAllowed { scope, window } => {
                        let grant = self.new_grant(
                            id,
                            &capability,
                            scope.verbs,
                            window,
                            scope.constraint.clone(),
                        );
                        let until = grant.expires_at;
                        self.emit(
                            allowed("auto-read", &grant, None, None).set(Change::Grant(grant)),
                        );
                        (scope, until, window)
                    }
                };
            // A shorter wish narrows this token and what is said of it, never the grant (D3).
            if let Some(wish) = entry.wish.filter(|w| *w != TrustWindow::Once) {
                let end = self.now.plus(wish.length_ms());
                if end < until && window != TrustWindow::Once {
                    window = wish;
                }
                until = until.min(end);
            }
            token_end = token_end.min(until);
            decision.grant_expires_at =
                Some(decision.grant_expires_at.map_or(until, |t| t.min(until)));
            decision.window.get_or_insert(window);
            decision.scopes.push(scope);
        }

        // A conversation is named by its item.
        if asks.iter().filter(|ask| ask.bounded.is_some()).count() > 1 {
            let why = "one request asks for one conversation, or for child calls, at most";
            return Err(Refusal::Invalid(why.to_owned()));
        }
        if !asks.is_empty() {
            self.pend(agent, r, asks, &mut decision)?;
        }
        // Nothing allowed and nothing pending is still answered with a token, one that opens nothing (E4).
        if !decision.scopes.is_empty() || decision.item.is_none() {
            let lifetime = self.now.plus(self.state.settings.token_lifetime_ms);
            let expires_at = lifetime.min(token_end);
            decision.token_expires_at = Some(expires_at);
            self.issue(
                agent,
                &r.token,
                &r.session,
                &decision.scopes,
                expires_at,
                decision.grant_expires_at,
            );
        }
        Ok(Reply::Decided(decision))
    }

    fn settle(
        &self,
        agent: &Agent,
        entry: &Entry,
        id: &CapabilityId,
        source: &Source,
        facts: &Facts,
        on_approval: OnApproval,
    ) -> Result<Settled, Refusal> {
        if facts.verbs.is_empty() {
            return Ok(Settled::Denied(Some(
                "a skill is read, not called: it needs no grant".into(),
            )));
        }
        let asked = entry.verbs.filter(|v| !v.is_empty());
        let verbs = asked.map_or(facts.verbs, |v| v.and(facts.verbs));
        if verbs.is_empty() {
            let declared: Vec<_> = facts.verbs.iter().map(Verb::as_str).collect();
            return Err(Refusal::Invalid(format!(
                "{id} declares {}; none of that was asked for",
                declared.join(", ")
            )));
        }
        let narrow = entry.constraint.as_ref().filter(|c| !c.is_empty());
        if let Some(constraint) = narrow {
            Self::check_constraint(id, facts, constraint)?;
        }
        if let Some((digest, _)) = &entry.input {
            let key = (id.clone(), *digest);
            if agent.unknown.contains_key(&key) {
                let why = "an earlier call with this input has an unknown outcome: the owner has to settle it";
                return Ok(Settled::Denied(Some(why.into())));
            }
            if let Err(Refusal::Denied { reason }) = not_denied(agent, id, digest, self.now) {
                return Ok(Settled::Denied(reason));
            }
        }
        let approves = |item: &&std::sync::Arc<Item>| {
            matches!(item.state, ItemState::Approved { .. })
                && self.now < item.expires_at
                && item.asks.iter().any(|ask| {
                    &ask.capability == id
                        && !item.runs(ask)
                        && ask.verbs.covers(facts.verbs)
                        && match ask.approval {
                            // Whether its narrowing lets the call pass is not seen here: beside a grant that does not, it counts for
                            // none.
                            Approval::OneCallAnyInput => {
                                !entry.beyond_grant || ask.constraint.is_none()
                            }
                            Approval::OneCall => {
                                entry.input.is_none_or(|(d, _)| ask.input == Some(d))
                            }
                            Approval::Open
                            | Approval::Granted
                            | Approval::Used
                            | Approval::Ended => false,
                        }
                })
        };
        let waits = on_approval == OnApproval::Wait;
        let mut approved = agent.items.values().filter(approves).filter(|_| waits);
        let is_exact = |item: &&std::sync::Arc<Item>| {
            let mut asks = item.asks.iter().filter(|ask| ask.capability == *id);
            asks.any(|ask| {
                let own = entry.input.map(|(digest, _)| digest);
                ask.approval == Approval::OneCall && own.is_some() && ask.input == own
            })
        };
        // Of a call that the owner approved beside a narrowed grant, the approval is what reaches it.
        let exact = approved.clone().find(is_exact);
        if let Some(grant) = standing_for(self.state, agent, id, self.now)
            && grant.verbs.covers(verbs)
            && !entry.beyond_grant
            && !(grant.constraint.is_some() && exact.is_some())
        {
            // Absent: the grant's own. Present: the same or narrower; an empty one asks for everything (D7).
            let fits = match (&entry.constraint, &grant.constraint) {
                (None, _) | (Some(_), None) => true,
                (Some(asked), Some(held)) => !asked.is_empty() && asked.narrows(held),
            };
            if fits {
                let constraint = narrow.cloned().or_else(|| grant.constraint.clone());
                let scope = Scope {
                    id: id.clone(),
                    verbs: grant.verbs,
                    constraint,
                };
                return Ok(Settled::Allowed {
                    scope,
                    until: grant.expires_at,
                    window: grant.window,
                });
            }
        }
        if let Some(item) = exact.or_else(|| approved.next()) {
            let constraint = item
                .asks
                .iter()
                .find(|a| &a.capability == id)
                .and_then(|a| a.constraint.clone());
            let scope = Scope {
                id: id.clone(),
                verbs: facts.verbs,
                constraint,
            };
            return Ok(Settled::Allowed {
                scope,
                until: item.expires_at,
                window: TrustWindow::Once,
            });
        }
        let auto = self.state.settings.auto_allow_reads
            && facts.verbs.is_read()
            && source.config.provenance != Provenance::Extension
            && !source.config.ask
            && agent.selected.contains(id)
            && !agent.tombstones.contains(id)
            && !agent.grants.contains_key(id)
            && !agent.denials.keys().any(|(denied, _)| denied == id);
        if auto {
            let scope = Scope {
                id: id.clone(),
                verbs,
                constraint: narrow.cloned(),
            };
            let window = class_default(&self.state.settings, facts, source.config.provenance);
            return Ok(Settled::AutoAllowed { scope, window });
        }
        let planned = entry.input.is_some() && !facts.verbs.is_read();
        Ok(Settled::Pends(Ask {
            capability: id.clone(),
            verbs,
            constraint: narrow.cloned(),
            wish: entry
                .wish
                .map(|wish| shortened(wish, facts, source, &self.state.settings)),
            input: entry.input.map(|(digest, _)| digest),
            input_bytes: entry.input.map_or(0, |(_, bytes)| bytes),
            key: entry.key.filter(|_| planned),
            plan: if planned { Plan::Making } else { Plan::None },
            approval: Approval::Open,
            denied: denied_lately(agent, id, self.now),
            voided: agent.voided.get(id).copied(),
            outcome: None,
            intent: None,
            undo: None,
            bounded: self.turns_asked(agent, id, entry)?,
            counted: None,
            covered_by: None,
        }))
    }

    /// Joins the item that asks for exactly the same, or makes a new one. A call that waits is joined by the same call, with
    /// whatever purpose: its card keeps the first. One with a key of its own is another call.
    fn pend(
        &mut self,
        agent: &Agent,
        r: &RequestGrants,
        asks: Vec<Ask>,
        decision: &mut Decision,
    ) -> Result<(), Refusal> {
        let same = |a: &Ask, b: &Ask| {
            a.capability == b.capability
                && a.verbs == b.verbs
                && a.constraint == b.constraint
                && a.wish == b.wish
                && a.input == b.input
                && (b.key.is_none() || a.key == b.key)
        };
        let calls = asks.iter().all(|ask| ask.input.is_some());
        let twin = agent.items.values().find(|item| {
            item.waits(self.now)
                && (calls || item.purpose == r.purpose)
                && item.on_approval == r.on_approval
                && item.asks.len() == asks.len()
                // Each id is there once on both sides, so this compares them as sets.
                && asks.iter().all(|b| item.asks.iter().any(|a| same(a, b)))
        });
        if let Some(twin) = twin {
            decision.item = Some(twin.id.clone());
            decision.joined = true;
            return Ok(());
        }
        let forgotten = self.room(agent)?;
        let client = agent
            .sessions
            .get(&r.session)
            .map(|s| s.client.clone())
            .unwrap_or_default();
        let item = Item {
            id: r.item.clone(),
            agent: agent.id.clone(),
            session: r.session.clone(),
            agent_epoch: Some(agent.epoch),
            created_at: self.now,
            expires_at: self.now.plus(ITEM_MS),
            asks,
            purpose: r.purpose.clone(),
            on_approval: r.on_approval,
            register: None,
            client,
            revision: 0,
            state: ItemState::Pending,
        };
        for ask in &item.asks {
            let fact = Fact::Pending {
                item: item.id.clone(),
                input: ask.input,
                agent_purpose: item.purpose.clone(),
            };
            let mut pending = event("grant.pending", fact)
                .agent(&agent.id)
                .about(&ask.capability);
            pending.verbs = Some(ask.verbs);
            pending.session_id = Some(r.session.clone());
            self.emit(pending);
        }
        decision.item = Some(item.id.clone());
        if let Some(last) = self.events.last_mut() {
            last.changes.extend(forgotten);
            last.changes.push(Change::Item(Box::new(item)));
        }
        Ok(())
    }

    /// The room that one more item of an agent takes: its oldest ones that are over give way.
    pub(super) fn room(&self, agent: &Agent) -> Result<Vec<Change>, Refusal> {
        let items = agent.items.values();
        if items.filter(|item| item.waits(self.now)).count() >= MAX_PENDING {
            return Err(Refusal::TooManyPending);
        }
        // An agent that asks and withdraws all day keeps a bounded past.
        let mut past: Vec<_> = agent
            .items
            .values()
            .filter(|item| item.state.is_final() && !item.is_held_open())
            .map(|item| (item.created_at, &item.id))
            .collect();
        past.sort();
        let excess = (past.len() + 1).saturating_sub(MAX_DECIDED);
        let gone = past.into_iter().take(excess);
        Ok(gone
            .map(|(_, id)| Change::ItemGone(agent.id.clone(), id.clone()))
            .collect())
    }

    /// Makes a token: the oldest give way when there are too many.
    fn issue(
        &mut self,
        agent: &Agent,
        id: &TokenId,
        session: &SessionId,
        scopes: &[Scope],
        expires_at: Timestamp,
        grant_expires_at: Option<Timestamp>,
    ) {
        let mut ends: Vec<_> = agent
            .tokens
            .iter()
            .map(|(id, t)| (t.expires_at, id))
            .collect();
        ends.sort();
        let past = self.now.0.saturating_sub(REFRESH_GRACE_MS);
        let excess = (ends.len() + 1).saturating_sub(MAX_TOKENS);
        let gone = ends
            .iter()
            .enumerate()
            .filter(|(n, (end, _))| *n < excess || end.0 < past);
        let gone: Vec<_> = gone
            .map(|(_, (_, id))| Change::TokenGone {
                agent: agent.id.clone(),
                id: (*id).clone(),
            })
            .collect();
        let fact = Fact::TokenIssued {
            scope_count: scopes.len(),
            grant_expires_at,
        };
        let mut issued = event("token.issue", fact).agent(&agent.id);
        issued.jti = Some(id.clone());
        issued.session_id = Some(session.clone());
        self.emit(issued.set_all(gone).set(Change::Token {
            agent: agent.id.clone(),
            id: id.clone(),
            session: session.clone(),
            scopes: scopes.to_vec(),
            expires_at,
        }));
    }

    pub(super) fn refresh(
        &mut self,
        id: &AgentId,
        token: &TokenId,
        session: &SessionId,
        fresh: &TokenId,
    ) -> Result<Reply, Refusal> {
        let agent = self.state.agent(id).ok_or(Refusal::SessionExpired)?;
        // The session must be this agent's own: another's would turn the token into that agent's (D5).
        live_session(agent, session, self.now)?;
        self.not_paused()?;
        let held = agent.tokens.get(token).ok_or(Refusal::TokenRevoked)?;
        if self.now >= held.expires_at.plus(REFRESH_GRACE_MS) {
            return Err(Refusal::TokenExpired);
        }
        let mut scopes = Vec::new();
        let mut until = Timestamp(u64::MAX);
        for scope in &held.scopes {
            let Some(grant) = standing_for(self.state, agent, &scope.id, self.now) else {
                continue;
            };
            let narrower = match (&scope.constraint, &grant.constraint) {
                (Some(mine), Some(theirs)) if mine.narrows(theirs) => scope.constraint.clone(),
                (Some(_), None) => scope.constraint.clone(),
                _ => grant.constraint.clone(),
            };
            until = until.min(grant.expires_at);
            scopes.push(Scope {
                id: scope.id.clone(),
                verbs: grant.verbs,
                constraint: narrower,
            });
        }
        if scopes.is_empty() {
            return Err(Refusal::GrantRequired { constraint: None });
        }
        let expires_at = self
            .now
            .plus(self.state.settings.token_lifetime_ms)
            .min(until);
        let fact = Fact::TokenRefreshed {
            previous_jti: token.clone(),
            scope_count: scopes.len(),
        };
        let mut refreshed = event("token.refresh", fact).agent(id);
        refreshed.jti = Some(fresh.clone());
        refreshed.session_id = Some(session.clone());
        self.emit(
            refreshed
                .set(Change::TokenGone {
                    agent: id.clone(),
                    id: token.clone(),
                })
                .set(Change::Token {
                    agent: id.clone(),
                    id: fresh.clone(),
                    session: session.clone(),
                    scopes: scopes.clone(),
                    expires_at,
                }),
        );
        Ok(Reply::Refreshed {
            scopes,
            expires_at,
            grant_expires_at: until,
        })
    }

    pub(super) fn approve(&mut self, a: &Approve) -> Result<Reply, Refusal> {
        let item = self.waiting(&a.item)?;
        let agent = self.known(&item.agent)?;
        if agent.status == EnrollmentStatus::Revoked {
            return Err(Refusal::NoSuchItem);
        }
        // A proposal is approved by what it proposes being added.
        if item.revision != a.revision || item.register.is_some() {
            return Err(Refusal::CardChanged);
        }
        if item.asks.iter().any(|ask| ask.plan == Plan::Failed) {
            return Err(Refusal::PlanFailed);
        }
        if item.asks.iter().any(|ask| ask.plan == Plan::Making) {
            return Err(Refusal::PlanMaking);
        }
        if item
            .asks
            .iter()
            .any(|ask| self.is_made_by_grant(agent, ask))
        {
            return Err(Refusal::MadeNow);
        }
        let mut next = (**item).clone();
        Self::lower_turns(&mut next, a)?;
        let (mut granted, mut once, mut standing) = (vec![], vec![], vec![]);
        let mut denials_ended = 0;
        for ask in &mut next.asks {
            let (source, facts) = with_capability(self.state, &ask.capability)?;
            let provenance = source.config.provenance;
            let settings = &self.state.settings;
            // A yes to one call ends no narrowed grant unless it says for how long.
            let held = agent.grants.get(&ask.capability);
            let kept = a.constraint.as_ref().or(ask.constraint.as_ref());
            let ends_narrowed = held.is_some_and(|held| {
                held.live(self.now) && held.constraint.is_some() && held.constraint.as_ref() != kept
            });
            let default = match ends_narrowed && ask.input.is_some() {
                true => TrustWindow::Once,
                false => class_default(settings, facts, provenance),
            };
            let chosen = a
                .window
                .unwrap_or_else(|| ask.wish.filter(|w| shorter(*w, default)).unwrap_or(default));
            let window = if ask.plan.is_once_only() {
                TrustWindow::Once
            } else {
                grantable(settings, facts, provenance, chosen)
            };
            if let Some(constraint) = &a.constraint {
                Self::check_constraint(&ask.capability, facts, constraint)?;
                if !ask
                    .constraint
                    .as_ref()
                    .is_none_or(|asked| constraint.narrows(asked))
                {
                    return Err(Refusal::Invalid(
                        "the constraint is wider than what was asked for".into(),
                    ));
                }
                ask.constraint = Some(constraint.clone());
            }
            let runs = item.runs(ask);
            ask.approval = match (window, ask.input) {
                (TrustWindow::Once, Some(_)) => Approval::OneCall,
                (TrustWindow::Once, None) if a.any_input => Approval::OneCallAnyInput,
                (TrustWindow::Once, None) => return Err(Refusal::InputRequired),
                (_, Some(_)) if runs => Approval::OneCall,
                _ => Approval::Granted,
            };
            // One call with one input says nothing of another that was denied.
            let for_any = window != TrustWindow::Once || ask.input.is_none();
            let forgiven = self.forget_denials(
                &item.agent,
                &ask.capability,
                ask.constraint.as_ref(),
                (ask.input, for_any),
            );
            denials_ended += forgiven.len();
            if window == TrustWindow::Once {
                once.push(ask.capability.clone());
                let answered = answered("user-confirm", item, ask, window, Some(a.card));
                self.emit(answered.set_all(forgiven));
            } else {
                granted.push(ask.capability.clone());
                let mut grant = self.new_grant(
                    &item.agent,
                    &ask.capability,
                    ask.verbs,
                    window,
                    ask.constraint.clone(),
                );
                // The call that the gateway makes stands on the item, and is the first of the grant.
                if runs {
                    grant.calls = 1;
                    ask.counted = Some(grant.serial);
                }
                let allowed = allowed("user-confirm", &grant, Some(&item.id), Some(a.card));
                standing.push(grant.clone());
                self.emit(allowed.set_all(forgiven).set(Change::Grant(grant)));
            }
        }
        next.state = ItemState::Approved { at: self.now };
        for bounded in next.asks.iter_mut().filter_map(|ask| ask.bounded.as_mut()) {
            bounded.approved = Some(self.now);
        }
        next.expires_at = self.now.plus(ITEM_MS);
        let mut row = own_row(agent);
        // The card has shown how its source changed.
        row.voided
            .retain(|c, _| !item.asks.iter().any(|ask| ask.capability == *c));
        if let Some(last) = self.events.last_mut() {
            last.changes.push(Change::Item(Box::new(next)));
            if row.voided != agent.voided {
                last.changes.push(Change::Agent(Box::new(row)));
            }
        }
        let also = self.answer_covered(agent, Some(&item.id), &standing, None);
        Ok(Reply::Approved {
            granted,
            once,
            also,
            denials_ended,
        })
    }

    /// Whether the very call of an ask is under way by a grant.
    fn is_made_by_grant(&self, agent: &Agent, ask: &Ask) -> bool {
        let mut open = self.state.open_intents.values();
        open.any(|open| {
            open.is_by_grant_of(agent)
                && open.capability == ask.capability
                && Some(open.input) == ask.input
        })
    }

    /// Answers the requests that wait and that the owner's `new` grants cover whole: those that only read. What changes
    /// something keeps its card, which shows what it would do. Of a narrowed grant it is not known what an input reaches, and
    /// one that counts its calls is left to those that come first. The `resumed` source is stopped no more. Gives the requests.
    pub(super) fn answer_covered(
        &mut self,
        agent: &Agent,
        but: Option<&PendingId>,
        new: &[Grant],
        resumed: Option<&SourceId>,
    ) -> Vec<PendingId> {
        let is_new = |ask: &Ask| new.iter().any(|grant| grant.capability == ask.capability);
        let may_be = |item: &Item| {
            Some(&item.id) != but
                && item.waits(self.now)
                && item.register.is_none()
                && item.asks.iter().any(is_new)
        };
        let items = agent.items.values().filter(|item| may_be(item));
        let covered = items.filter_map(|item| {
            let asks = item.asks.iter();
            let grants = asks.map(|ask| self.grant_covering(agent, new, resumed, ask));
            Some((item, grants.collect::<Option<Vec<_>>>()?))
        });
        let covered: Vec<_> = covered.collect();
        for (item, grants) in &covered {
            for (ask, grant) in item.asks.iter().zip(grants) {
                self.emit(answered("by-grant", item, ask, grant.window, None));
            }
            let ends = grants.iter().map(|grant| grant.expires_at);
            let end = ends.fold(self.now.plus(ITEM_MS), Timestamp::min);
            let change = boxed(item, |next| {
                next.state = ItemState::Approved { at: self.now };
                next.expires_at = end;
                for (ask, grant) in next.asks.iter_mut().zip(grants) {
                    (ask.approval, ask.covered_by) = match item.runs(ask) {
                        true => (Approval::OneCall, Some(grant.serial)),
                        false => (Approval::Granted, None),
                    };
                }
            });
            if let Some(last) = self.events.last_mut() {
                last.changes.push(change);
            }
        }
        covered
            .into_iter()
            .map(|(item, _)| item.id.clone())
            .collect()
    }

    /// The grant, a `new` one or else the one that is held, on which a read that is asked for may be made now.
    fn grant_covering<'g>(
        &self,
        agent: &'g Agent,
        new: &'g [Grant],
        resumed: Option<&SourceId>,
        ask: &Ask,
    ) -> Option<&'g Grant> {
        let (source, facts) = self.state.capability(&ask.capability)?;
        let mut new = new.iter();
        let grant = new.find(|grant| grant.capability == ask.capability);
        let grant = grant.or_else(|| agent.grants.get(&ask.capability).map(|held| &**held))?;
        let reaches = match (&grant.constraint, &ask.constraint) {
            (None, _) => true,
            (Some(held), Some(asked)) => ask.input.is_none() && asked.narrows(held),
            (Some(_), None) => false,
        };
        let covers = facts.verbs.is_read()
            && ask.bounded.is_none()
            && self.state.exposed(&ask.capability)
            && (source.stopped.is_none() || resumed == Some(&source.id))
            && stands(grant, source, facts, self.now)
            && grant.calls_left().is_none()
            && reaches;
        covers.then_some(grant)
    }

    pub(super) fn deny(
        &mut self,
        id: &PendingId,
        reason: Option<&String>,
    ) -> Result<Reply, Refusal> {
        let item = self.waiting(id)?.clone();
        if item.register.is_some() {
            self.deny_proposal(&item, reason)?;
        }
        for ask in &item.asks {
            let fact = Fact::Denied {
                item: Some(id.clone()),
                reason: reason.cloned(),
            };
            let mut denied = event("grant.deny", fact)
                .agent(&item.agent)
                .about(&ask.capability);
            denied.verbs = Some(ask.verbs);
            if let Some(input) = ask.input {
                let denial = Denial {
                    at: self.now,
                    item: Some(id.clone()),
                    reason: reason.cloned(),
                };
                denied = denied.set(Change::Denial(
                    item.agent.clone(),
                    ask.capability.clone(),
                    input,
                    denial,
                ));
            }
            self.emit(denied);
        }
        let change = boxed(&item, |item| {
            item.state = ItemState::Denied {
                reason: reason.cloned(),
            }
        });
        if let Some(last) = self.events.last_mut() {
            last.changes.push(change);
        }
        Ok(Reply::Done)
    }

    pub(super) fn end_denial(&mut self, id: &PendingId) -> Result<Reply, Refusal> {
        for (agent, capability, input) in self.state.denied_by(id, self.now) {
            let ended = event("grant.allow", Fact::DenialEnded { item: id.clone() })
                .agent(agent)
                .about(capability);
            let gone = Change::DenialGone(agent.clone(), capability.clone(), *input);
            self.emit(ended.set(gone));
        }
        match self.events.is_empty() {
            true => Err(Refusal::NoSuchItem),
            false => Ok(Reply::Done),
        }
    }

    pub(super) fn withdraw(&mut self, id: &AgentId, item: &PendingId) -> Result<Reply, Refusal> {
        let agent = self.known(id)?;
        let held = agent.items.get(item).ok_or(Refusal::NoSuchItem)?;
        if held.state != ItemState::Pending && !held.has_call_left() && !held.is_held_open() {
            return Err(Refusal::NoSuchItem);
        }
        self.void_items(agent, "the agent withdrew it", |i| &i.id == item);
        Ok(Reply::Done)
    }

    pub(super) fn plan_ready(
        &mut self,
        id: &PendingId,
        capability: &CapabilityId,
        preview: Digest,
        state_token: Digest,
        (rating, once): (Verb, bool),
    ) -> Result<Reply, Refusal> {
        let fact = Fact::PlanReady {
            item: id.clone(),
            preview,
            state_token,
            rating,
        };
        self.planned(
            id,
            capability,
            Plan::Ready {
                preview,
                state_token,
                rating,
                once,
            },
            fact,
        )
    }

    pub(super) fn plan_failed(
        &mut self,
        id: &PendingId,
        capability: &CapabilityId,
    ) -> Result<Reply, Refusal> {
        self.planned(
            id,
            capability,
            Plan::Failed,
            Fact::PlanFailed { item: id.clone() },
        )
    }

    fn planned(
        &mut self,
        id: &PendingId,
        capability: &CapabilityId,
        plan: Plan,
        fact: Fact,
    ) -> Result<Reply, Refusal> {
        let item = self.waiting(id)?;
        if !item
            .asks
            .iter()
            .any(|a| &a.capability == capability && a.plan == Plan::Making)
        {
            return Err(Refusal::NoSuchItem);
        }
        let change = boxed(item, |item| {
            item.revision += 1;
            item.asks
                .iter_mut()
                .filter(|a| &a.capability == capability)
                .for_each(|a| a.plan = plan.clone());
        });
        self.emit(
            event("grant.pending", fact)
                .agent(&item.agent)
                .about(capability)
                .set(change),
        );
        Ok(Reply::Done)
    }

    pub(super) fn plan_again(&mut self, id: &PendingId) -> Result<Reply, Refusal> {
        let item = self.waiting(id)?;
        let change = boxed(item, |item| {
            item.revision += 1;
            item.asks
                .iter_mut()
                .filter(|a| a.plan != Plan::None)
                .for_each(|a| a.plan = Plan::Making);
        });
        self.emit(
            event("grant.pending", Fact::PlanAgain { item: id.clone() })
                .agent(&item.agent)
                .set(change),
        );
        Ok(Reply::Done)
    }

    pub(super) fn waiting(&self, id: &PendingId) -> Result<&'a std::sync::Arc<Item>, Refusal> {
        let item = self.state.item(id).ok_or(Refusal::NoSuchItem)?;
        if item.waits(self.now) {
            Ok(item)
        } else {
            Err(Refusal::NoSuchItem)
        }
    }
}

/// An agent can only shorten: a longer wish is cut to the class default, and for what is approved call by call it says
/// nothing (docs/protocol/agents.md#trust-windows).
fn shortened(
    wish: TrustWindow,
    facts: &Facts,
    source: &Source,
    settings: &Settings,
) -> TrustWindow {
    let default = class_default(settings, facts, source.config.provenance);
    if shorter(wish, default) {
        wish
    } else {
        default
    }
}

fn shorter(wish: TrustWindow, default: TrustWindow) -> bool {
    wish.length_ms() <= default.length_ms()
}

/// The record that one ask of an item was answered with yes, without a grant of its own.
fn answered(
    policy: &'static str,
    item: &Item,
    ask: &Ask,
    window: TrustWindow,
    card: Option<Digest>,
) -> crate::Event {
    let fact = Fact::Allowed {
        policy: Cow::Borrowed(policy),
        trust_window: window,
        constrained: ask.constraint.is_some(),
        via_approval: Some(item.id.clone()),
        card,
    };
    let mut answered = event("grant.allow", fact)
        .agent(&item.agent)
        .about(&ask.capability);
    answered.verbs = Some(ask.verbs);
    answered
}

fn allowed(
    policy: &'static str,
    grant: &Grant,
    via: Option<&PendingId>,
    card: Option<Digest>,
) -> crate::Event {
    let fact = Fact::Allowed {
        policy: Cow::Borrowed(policy),
        trust_window: grant.window,
        constrained: grant.constraint.is_some(),
        via_approval: via.cloned(),
        card,
    };
    let mut allowed = event("grant.allow", fact)
        .agent(&grant.agent)
        .about(&grant.capability);
    allowed.verbs = Some(grant.verbs);
    allowed
}
