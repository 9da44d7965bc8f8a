//! What each command does to the lists of yes and no.

use super::*;

impl Model {
    /// Follows a command that was carried out, or explains one that was refused.
    pub(crate) fn follow(&mut self, step: &Step, last: Option<&AuditId>, stood: Option<&Stood>) {
        let t = self.time(step.now);
        let done = step.result.is_ok();
        match &step.command {
            Command::Request(r) => self.request(r, &step.result, t),
            Command::Approve(a) => self.approve(a, &step.result, t),
            Command::EndDenial { item } => {
                let refuses = |n: &No| &n.4 == item && t < n.3 + 30 * DAY;
                assert_eq!(
                    done,
                    self.no.iter().any(refuses),
                    "while it refuses something"
                );
                self.no.retain(|n| !refuses(n));
            }
            Command::Grant { agent, entries } if done => {
                self.grant(agent, entries, &step.result, t);
            }
            Command::ResumeSource { id, .. } if done => self.resume(id, &step.result, t),
            Command::Refresh {
                agent,
                token,
                session,
                fresh,
            } => {
                assert!(!done || !self.paused, "paused");
                self.refresh((agent, token, session, fresh), done, t);
            }
            Command::Read { .. } | Command::Intent { .. } => {
                let stood = stood.expect("a permit was used");
                assert!(!done || self.still(stood, step.now), "used: {stood:?}");
                if done {
                    self.yes[stood.yes].used += 1;
                }
                if let Command::Read { outcome, .. } = &step.command
                    && done
                    && outcome.kind == OutcomeKind::Refused
                {
                    self.give_back(stood.yes);
                }
                if let Some(last) = last
                    && done
                    && matches!(step.command, Command::Intent { .. })
                {
                    let Stood {
                        agent,
                        cap,
                        input,
                        lives,
                        ..
                    } = stood.clone();
                    self.begun.push((agent, cap.clone(), input, last.clone()));
                    self.begun_by.push((last.clone(), stood.yes, lives.0));
                    if let What::Call { item, .. } = self.yes[stood.yes].what.clone() {
                        let opens = |y: &&mut Yes| {
                            y.cap == cap && y.what == What::Turns { item: item.clone() }
                        };
                        for yes in self.yes.iter_mut().filter(opens) {
                            (yes.used, yes.until) = (1, t + u64::from(TURNS.minutes) * MINUTE);
                        }
                    }
                }
            }
            other if done => self.simple(other, t),
            _ => {}
        }
        if !step.events.is_empty() {
            self.latest = t;
        }
    }

    pub(super) fn simple(&mut self, command: &Command, t: u64) {
        match command {
            Command::Connect(c) => self.connect(c, t),
            Command::Deliver(_) => unreachable!("it changes what an agent holds, not what it may"),
            Command::OpenSession {
                agent, session, by, ..
            } => {
                let agent = agent.clone().expect("histories name the agent");
                assert!(!self.paused || *by == SessionProof::Owner, "paused");
                if self.member(&agent).is_none() {
                    let life = self.fresh_life();
                    self.members.push(Member {
                        id: agent.clone(),
                        selected_only: true,
                        selected: vec![],
                        revoked: false,
                        life,
                    });
                }
                let (id, until) = (session.clone(), t + HOUR);
                self.sessions.push(Session { agent, id, until });
            }
            Command::RevokeAgent { agent, delete, .. } => {
                self.end_credentials(agent);
                self.end(|y| &y.agent == agent);
                self.end_items(|i| &i.agent == agent);
                for m in self.members.iter_mut().filter(|m| &m.id == agent) {
                    m.revoked = true;
                }
                if *delete {
                    self.members.retain(|m| &m.id != agent);
                    let mine = self.yes.iter_mut().filter(|y| &y.agent == agent);
                    mine.for_each(|y| y.ended = true);
                    self.no.retain(|n| &n.0 != agent);
                    self.unknown.retain(|u| &u.0 != agent);
                }
            }
            Command::RotateKey => {
                let all: Vec<AgentId> = self.members.iter().map(|m| m.id.clone()).collect();
                for agent in all {
                    self.end_credentials(&agent);
                }
                self.end_items(|_| true);
            }
            Command::Restored { .. } => {
                let all: Vec<AgentId> = self.members.iter().map(|m| m.id.clone()).collect();
                for agent in all {
                    self.end_credentials(&agent);
                }
                let standing = self
                    .yes
                    .iter_mut()
                    .filter(|y| y.what == What::Standing && t < y.until);
                standing.for_each(|y| y.rests = true);
                self.end_items(|_| true);
            }
            Command::NewCode { agent, .. } => {
                self.end_credentials(agent);
                self.end_items(|i| &i.agent == agent);
            }
            Command::Deny { item, .. } => {
                let item = self.items.iter_mut().find(|i| &i.id == item).unwrap();
                assert!(item.waits && t < item.until);
                item.waits = false;
                for ask in &item.asks {
                    if let Some(input) = ask.input {
                        let no = (
                            item.agent.clone(),
                            ask.cap.clone(),
                            input,
                            t,
                            item.id.clone(),
                        );
                        self.no
                            .retain(|n| (&n.0, &n.1, n.2) != (&no.0, &no.1, no.2));
                        self.no.push(no);
                    }
                }
            }
            Command::Withdraw { agent, item } => {
                let own = self
                    .items
                    .iter()
                    .any(|i| &i.id == item && &i.agent == agent);
                assert!(own, "only its own");
                self.end_items(|i| &i.id == item);
            }
            Command::EndTurns { item, .. } => {
                self.end(|y| matches!(&y.what, What::Turns { item: of } if of == item));
            }
            Command::RevokeGrant {
                agent, capability, ..
            } => {
                let cap = capability.as_str();
                self.end(|y| &y.agent == agent && y.cap == cap && y.what == What::Standing);
                self.tokens.retain(|k| &k.agent != agent);
                self.end_items(|i| &i.agent == agent && i.asks.iter().any(|a| a.cap == cap));
            }
            Command::RevokeToken { token, .. } => self.tokens.retain(|k| &k.id != token),
            Command::Expose {
                capability,
                enabled,
            } => {
                self.hidden.retain(|h| h != capability.as_str());
                if !enabled {
                    self.hidden.push(capability.to_string());
                }
            }
            Command::Pause(on) => self.paused = *on,
            Command::PlanReady {
                item,
                capability,
                rating,
                once: false,
                ..
            } => {
                let risen = rating.as_str() == "execute";
                self.planned(item, Some(capability.as_str()), Plan::Made { risen });
            }
            Command::PlanFailed { item, capability } => {
                self.planned(item, Some(capability.as_str()), Plan::Failed);
            }
            Command::PlanAgain { item } => self.planned(item, None, Plan::Making),
            Command::PutSource { id, config, .. } => {
                let route = config.route.to_string();
                match self.places.iter().position(|p| p.id == id.as_str()) {
                    Some(n) if self.places[n].there => {
                        let moved = self.places[n].route != route;
                        self.places[n].enabled = config.enabled;
                        self.places[n].route = route;
                        if moved {
                            self.places[n].inode = None;
                            self.moved(id.as_str());
                        }
                    }
                    held => {
                        let life = self.fresh_life();
                        let place = Place {
                            id: id.to_string(),
                            there: true,
                            enabled: config.enabled,
                            route,
                            inode: None,
                            seen: None,
                            life,
                        };
                        match held {
                            Some(n) => self.places[n] = place,
                            None => self.places.push(place),
                        }
                    }
                }
            }
            Command::RemoveSource { id } => {
                self.moved(id.as_str());
                self.no.retain(|no| source_of(&no.1) != id.as_str());
                for p in self.places.iter_mut().filter(|p| p.id == id.as_str()) {
                    p.there = false;
                }
            }
            Command::SourceSeen(seen) => self.seen(seen, t),
            Command::Sweep => self.unmade(|y| t >= y.until),
            Command::Launch => {
                self.sessions.clear();
                self.tokens.clear();
                self.unknown.extend(self.begun.iter().cloned());
                for item in self.items.iter_mut().filter(|i| i.waits) {
                    if item.plans.iter().any(|p| *p != Plan::None) {
                        item.changes += 1;
                    }
                    let plans = item.plans.iter_mut().filter(|p| **p != Plan::None);
                    plans.for_each(|p| *p = Plan::Making);
                }
            }
            Command::Outcome { intent, outcome } => {
                let n = self.begun.iter().position(|b| &b.3 == intent);
                let begun = self.begun.remove(n.expect("it was begun"));
                self.unknown.retain(|u| &u.3 != intent);
                let &(_, by, life) = self.begun_by.iter().find(|b| &b.0 == intent).unwrap();
                self.yes[by].ended = true;
                let made_by_grant = self.yes[by].what == What::Standing
                    && self.member(&begun.0).is_some_and(|m| m.life == life);
                if outcome.kind == OutcomeKind::Refused {
                    self.give_back(by);
                }
                let is_done = matches!(outcome.kind, OutcomeKind::Ok | OutcomeKind::Unknown)
                    || outcome.effect.is_some_and(|effect| effect != Effect::None);
                if made_by_grant && is_done {
                    self.end_twins(&begun);
                }
                if outcome.kind == OutcomeKind::Unknown && self.member(&begun.0).is_some() {
                    self.unknown.push(begun);
                }
            }
            Command::SettleUnknown {
                agent,
                intent,
                happened,
                in_part: _,
            } => {
                let mine = |u: &(AgentId, Cap, Digest, AuditId)| &u.0 == agent && &u.3 == intent;
                let known = self.unknown.iter().position(mine);
                self.unknown.remove(known.expect("it was unknown"));
                self.begun.retain(|b| &b.3 != intent);
                let by = self.begun_by.iter().find(|b| &b.0 == intent).unwrap().1;
                self.yes[by].ended = true;
                if !happened {
                    self.give_back(by);
                }
            }
            _ => {}
        }
    }

    /// Requests of the very call that was made without them.
    fn end_twins(&mut self, (agent, cap, input, _): &(AgentId, Cap, Digest, AuditId)) {
        let is_it = |ask: &Ask| ask.cap == *cap && ask.input == Some(*input);
        self.end_items(|i| &i.agent == agent && i.waits && matches!(&*i.asks, [ask] if is_it(ask)));
    }

    /// A call that was refused before any change does not count for what stands.
    fn give_back(&mut self, by: usize) {
        let counts = match self.yes[by].what {
            What::Standing => Some(by),
            What::Call { .. } => self.yes[by].counts,
            What::Turns { .. } => None,
        };
        if let Some(standing) = counts {
            self.yes[standing].used -= 1;
        }
    }

    /// Calls that end before they begin do not count either.
    fn unmade(&mut self, which: impl Fn(&Yes) -> bool) {
        for n in 0..self.yes.len() {
            let yes = &self.yes[n];
            if matches!(yes.what, What::Call { .. }) && !yes.dead && yes.used == 0 && which(yes) {
                self.give_back(n);
                self.yes[n].dead = true;
            }
        }
    }

    pub(super) fn end(&mut self, which: impl Fn(&Yes) -> bool) {
        for yes in self.yes.iter_mut().filter(|y| which(y)) {
            yes.dead = true;
        }
    }
    pub(super) fn end_items(&mut self, which: impl Fn(&Item) -> bool) {
        let mut ended = vec![];
        for item in self.items.iter_mut().filter(|i| which(i)) {
            item.waits = false;
            ended.push(item.id.clone());
        }
        let of = |item: &PendingId| ended.contains(item);
        self.unmade(|y| matches!(&y.what, What::Call { item, .. } if of(item)));
        self.end(|y| matches!(&y.what, What::Call { item, .. } | What::Turns { item } if of(item)));
    }
    pub(super) fn end_credentials(&mut self, agent: &AgentId) {
        self.sessions.retain(|s| &s.agent != agent);
        self.tokens.retain(|k| &k.agent != agent);
        let life = self.fresh_life();
        for m in self.members.iter_mut().filter(|m| &m.id == agent) {
            m.life = life;
        }
    }
    pub(super) fn moved(&mut self, source: &str) {
        self.end(|y| source_of(&y.cap) == source);
        self.end_items(|i| i.asks.iter().any(|a| source_of(&a.cap) == source));
        let names = |k: &Token| k.scopes.iter().any(|s| source_of(&s.0) == source);
        self.tokens.retain(|k| !names(k));
        let life = self.fresh_life();
        for p in self.places.iter_mut().filter(|p| p.id == source) {
            p.life = life;
        }
    }

    pub(super) fn seen(&mut self, seen: &SourceSeen, t: u64) {
        let id = seen.id.as_str();
        let n = self
            .places
            .iter()
            .position(|p| p.id == id && p.there)
            .unwrap();
        let inode = seen.target.as_ref().map(|t| t.inode);
        let was = self.places[n].seen.replace(seen.clone());
        let before = self.places[n].inode;
        self.places[n].inode = inode.or(before);
        if before.is_some() && inode.is_some() && before != inode {
            self.moved(id);
        }
        let Some(was) = was else { return };
        // A profile that was replaced with the source's route is no change to what was granted: nothing was.
        let profile = was.profile != seen.profile;
        let differs = |cap: &str| {
            let of = |s: &SourceSeen| {
                let found = s.capabilities.iter().find(|(c, _)| c.as_str() == cap);
                found.map(|(_, facts)| facts.shape)
            };
            source_of(cap) == id && (profile || (of(&was).is_some() && of(&was) != of(seen)))
        };
        let any = crate::support::ALL.iter().any(|cap| differs(cap));
        if any {
            for yes in self.yes.iter_mut() {
                yes.rests |= yes.what == What::Standing && t < yes.until && differs(&yes.cap);
            }
            self.end_items(|i| i.asks.iter().any(|a| differs(&a.cap)));
            self.places[n].life = self.fresh_life();
        }
    }

    pub(super) fn stand(
        &mut self,
        agent: &AgentId,
        cap: &str,
        read_only: bool,
        limit: Option<Limit>,
        until: u64,
    ) {
        self.end(|y| &y.agent == agent && y.cap == cap && y.what == What::Standing);
        self.forgive(agent, cap, limit);
        let standing = Yes::new(agent, cap, What::Standing, read_only, limit, until);
        self.yes.push(standing);
    }

    /// An approval for any input ends every denial; one of some inputs, which are not known, ends none.
    pub(super) fn forgive(&mut self, agent: &AgentId, cap: &str, limit: Option<Limit>) {
        if !matches!(limit, Some(Limit::Everywhere | Limit::A | Limit::AB)) {
            self.no.retain(|n| !(&n.0 == agent && n.1 == cap));
        }
    }

    pub(super) fn connect(&mut self, c: &Connect, t: u64) {
        self.end_credentials(&c.agent);
        self.end(|y| y.agent == c.agent);
        self.end_items(|i| i.agent == c.agent);
        self.members.retain(|m| m.id != c.agent);
        let life = self.fresh_life();
        self.members.push(Member {
            id: c.agent.clone(),
            selected_only: c.reach == Some(Reach::Selected),
            selected: c.capabilities.iter().map(ToString::to_string).collect(),
            revoked: false,
            life,
        });
        for id in &c.capabilities {
            let ms = stands_for(id.as_str(), c.window.map(length));
            let read = matches!(class(id.as_str()), Class::Read { .. });
            if ms > 0 && (read || c.standing.contains(id)) {
                self.stand(
                    &c.agent,
                    id.as_str(),
                    false,
                    limit(c.constraint.as_ref()),
                    t + ms,
                );
            }
        }
    }

    fn resume(&mut self, id: &SourceId, result: &Result<Reply, Refusal>, t: u64) {
        let place = self.places.iter().find(|p| p.id == id.as_str() && p.there);
        let seen = place.and_then(|p| p.seen.as_ref());
        let offered: Vec<_> = seen.iter().flat_map(|s| s.capabilities.keys()).collect();
        let is_offered = |y: &&mut Yes| offered.iter().any(|c| c.as_str() == y.cap);
        let mut new = vec![];
        for y in self.yes.iter_mut().filter(is_offered) {
            if y.rests && t < y.until && !y.dead && y.what == What::Standing {
                new.push((y.agent.clone(), y.cap.clone()));
            }
            y.rests &= t >= y.until;
        }
        self.cover(&new, result, t);
    }

    fn grant(
        &mut self,
        agent: &AgentId,
        entries: &[GrantEntry],
        result: &Result<Reply, Refusal>,
        t: u64,
    ) {
        let mut new = vec![];
        for e in entries {
            let ms = stands_for(e.capability.as_str(), e.window.map(length));
            if ms > 0 {
                let read_only = e.verbs == Some(Verbs::READ);
                let limit = limit(e.constraint.as_ref());
                self.stand(agent, e.capability.as_str(), read_only, limit, t + ms);
                let m = self.members.iter_mut().find(|m| &m.id == agent).unwrap();
                m.selected.push(e.capability.to_string());
                new.push((agent.clone(), e.capability.to_string()));
            }
        }
        self.cover(&new, result, t);
    }
}
