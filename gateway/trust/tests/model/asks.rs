//! Items: asked for, planned, approved; tokens exchanged. Predicts what the machine answers.

use super::*;
use std::collections::BTreeSet;

impl Model {
    pub(super) fn planned(&mut self, item: &PendingId, cap: Option<&str>, plan: Plan) {
        let item = self.items.iter_mut().find(|i| &i.id == item).unwrap();
        assert!(item.waits);
        item.changes += 1;
        for (ask, slot) in item.asks.iter().zip(&mut item.plans) {
            if *slot != Plan::None && cap.is_none_or(|c| c == ask.cap) {
                *slot = plan;
            }
        }
    }

    pub(super) fn request(&mut self, r: &RequestGrants, result: &Result<Reply, Refusal>, t: u64) {
        let agent = r.agent.clone().unwrap();
        if !self.session(&agent, &r.session, t) {
            assert_eq!(result.as_ref().unwrap_err(), &Refusal::SessionExpired);
            return;
        }
        if self.paused {
            assert_eq!(result.as_ref().unwrap_err(), &Refusal::Paused);
            return;
        }
        let (mut asks, mut scopes, mut unknown, mut denied) = (vec![], vec![], 0, 0);
        let (mut until, mut wrong) = (t + 15 * MINUTE, false);
        for (n, e) in r.entries.iter().enumerate() {
            let (cap, input) = (e.id.as_str(), e.input.map(|(d, _)| d));
            wrong |= r.entries[..n].iter().any(|before| before.id == e.id);
            if !self.in_view(&agent, cap, t) {
                unknown += 1;
                continue;
            }
            let read_only = e.verbs == Some(Verbs::READ);
            if class(cap) == Class::Skill {
                denied += 1;
                continue;
            }
            wrong |= nothing_of_it(cap, read_only);
            if input.is_some_and(|i| self.blocked(&agent, cap, i) || self.denied(&agent, cap, i, t))
            {
                denied += 1;
                continue;
            }
            let asked = limit(e.constraint.as_ref());
            let narrow = asked.filter(|l| *l != Limit::Nothing);
            let wished = e.wish.filter(|w| *w != TrustWindow::Once);
            let end = wished.map_or(u64::MAX, |w| t + length(w));
            let held = self.standing(&agent, cap, t).map(|n| &self.yes[n]);
            let held = held.filter(|y| match (asked, y.limit) {
                (None, _) | (_, None) => true,
                (Some(asked), Some(held)) => tighter(asked, held),
            });
            if let Some(yes) = held {
                scopes.push((cap.to_owned(), false, narrow.or(yes.limit)));
                until = until.min(yes.until).min(end);
                continue;
            }
            let one = self
                .items
                .iter()
                .filter(|_| r.on_approval == OnApproval::Wait);
            let one = one.flat_map(|i| {
                self.yes.iter().filter(move |y| {
                    matches!(&y.what, What::Call { item, gateway: false, .. } if *item == i.id)
                })
            });
            let one: Vec<&Yes> = one
                .filter(|y| {
                    let What::Call { input: bound, .. } = &y.what else {
                        return false;
                    };
                    y.agent == agent
                        && y.cap == cap
                        && !y.dead
                        && y.used == 0
                        && t < y.until
                        && enough(cap, y.read_only)
                        && (bound.is_none() || input.is_none() || *bound == input)
                })
                .collect();
            if !one.is_empty() {
                // Any of them will do; the machine may choose another than we, so scopes and end are read from it.
                scopes.push((cap.to_owned(), false, None));
                continue;
            }
            asks.push(Ask {
                cap: cap.to_owned(),
                read_only: read_only && needs(cap) != ["read"],
                limit: narrow,
                // An agent can only shorten.
                wish: e.wish.map(|w| {
                    if length(w) <= stands_for(cap, None) {
                        w
                    } else {
                        default_window(cap)
                    }
                }),
                input,
            });
        }
        let waiting = |i: &&Item| i.agent == agent && i.waits && t < i.until;
        let twin = self.items.iter().filter(waiting).find(|i| {
            (asks.iter().all(|a| a.input.is_some()) || i.purpose == r.purpose)
                && i.run == (r.on_approval == OnApproval::Run)
                && i.asks.len() == asks.len()
                && asks.iter().all(|a| i.asks.contains(a))
        });
        let twin = twin.map(|i| i.id.clone());
        let crowded = self.items.iter().filter(waiting).count() >= 20;
        if wrong {
            assert!(matches!(result, Err(Refusal::Invalid(_))), "{result:?}");
            return;
        }
        if !asks.is_empty() && twin.is_none() && crowded {
            assert_eq!(result.as_ref().unwrap_err(), &Refusal::TooManyPending);
            return;
        }
        let Ok(Reply::Decided(decision)) = result else {
            panic!("expected a decision, got {result:?}");
        };
        let Decision { item, joined, .. } = decision;
        assert_eq!(
            (decision.unknown.len(), decision.denied.len()),
            (unknown, denied)
        );
        assert_eq!(decision.scopes.len(), scopes.len(), "{decision:?}");
        assert_eq!(item.is_some(), !asks.is_empty());
        assert_eq!(*joined, twin.is_some() && !asks.is_empty());
        if *joined {
            assert_eq!(*item, twin);
        } else if let Some(id) = item {
            let plans = asks.iter().map(|a| {
                let reads = matches!(class(&a.cap), Class::Read { .. });
                if a.input.is_some() && !reads {
                    Plan::Making
                } else {
                    Plan::None
                }
            });
            self.items.push(Item {
                agent: agent.clone(),
                id: id.clone(),
                plans: plans.collect(),
                asks,
                purpose: r.purpose.clone(),
                run: r.on_approval == OnApproval::Run,
                until: t + DAY,
                changes: 0,
                waits: true,
            });
        }
        if let Some(end) = decision.token_expires_at {
            assert!(end.0 <= until, "a token outlives what it stands on");
            for (scope, said) in scopes.iter_mut().zip(&decision.scopes) {
                assert_eq!(scope.0, said.id.as_str());
                scope.2 = limit(said.constraint.as_ref());
            }
            self.tokens.push(Token {
                agent,
                id: r.token.clone(),
                session: r.session.clone(),
                scopes,
                until: end.0,
            });
        }
    }

    pub(super) fn approve(&mut self, a: &Approve, result: &Result<Reply, Refusal>, t: u64) {
        let Some(n) = self.items.iter().position(|i| i.id == a.item) else {
            assert_eq!(result.as_ref().err(), Some(&Refusal::NoSuchItem));
            return;
        };
        let item = self.items[n].clone();
        let known = self.member(&item.agent).is_some_and(|m| !m.revoked);
        let ready = |p: &Plan| matches!(p, Plan::None | Plan::Made { .. });
        let owners = limit(a.constraint.as_ref());
        let mut good = item.waits
            && t < item.until
            && known
            && a.revision == item.changes
            && item.plans.iter().all(ready)
            && owners != Some(Limit::Nothing)
            && item.asks.iter().all(|ask| self.present(&ask.cap));
        let mut news = vec![];
        for (ask, plan) in item.asks.iter().zip(&item.plans) {
            // A yes to one call ends no narrowed one unless it says for how long.
            let mut held = self.yes.iter().filter(|y| {
                y.agent == item.agent
                    && y.cap == ask.cap
                    && y.what == What::Standing
                    && self.good(y, t)
            });
            let ends_narrowed = ask.input.is_some()
                && held.any(|y| y.limit.is_some() && y.limit != owners.or(ask.limit));
            // A call that its agent is making by a grant is not made a second time.
            good &= ask
                .input
                .is_none_or(|input| !self.is_made(&item.agent, &ask.cap, input));
            let default = match ends_narrowed {
                true => 0,
                false => stands_for(&ask.cap, None),
            };
            let wish = ask.wish.map(length).filter(|ms| *ms <= default);
            let chosen = a.window.map(length).or(wish).or(ends_narrowed.then_some(0));
            let risen = *plan == Plan::Made { risen: true };
            let ms = if risen {
                0
            } else {
                stands_for(&ask.cap, chosen)
            };
            good &= match (owners, ask.limit) {
                (Some(mine), Some(theirs)) => tighter(mine, theirs),
                _ => true,
            };
            good &= ms > 0 || ask.input.is_some() || a.any_input;
            news.push((ask.clone(), owners.or(ask.limit), ms));
        }
        assert_eq!(result.is_ok(), good, "{item:?} {a:?} {result:?}");
        if !good {
            return;
        }
        self.items[n].waits = false;
        let new: Vec<(AgentId, Cap)> = news
            .iter()
            .filter(|new| new.2 > 0)
            .map(|new| (item.agent.clone(), new.0.cap.clone()))
            .collect();
        for (ask, limit, ms) in news {
            let gateway = item.run && ask.input.is_some();
            let counts = (ms > 0 && gateway).then_some(self.yes.len());
            if ms > 0 {
                self.stand(&item.agent, &ask.cap, ask.read_only, limit, t + ms);
                if let Some(standing) = self.yes.last_mut().filter(|_| gateway) {
                    standing.used = 1;
                }
            }
            match ask.input {
                Some(input) => {
                    self.no
                        .retain(|n| !(n.0 == item.agent && n.1 == ask.cap && n.2 == input));
                }
                None => self.forgive(&item.agent, &ask.cap, limit),
            }
            if ms == 0 || gateway {
                if ask.cap == RUN && ask.input.is_some() {
                    let what = What::Turns {
                        item: item.id.clone(),
                    };
                    // Until its call begins.
                    let turns = Yes::new(&item.agent, &ask.cap, what, ask.read_only, limit, 0);
                    self.yes.push(turns);
                }
                let what = What::Call {
                    item: item.id.clone(),
                    input: ask.input,
                    gateway,
                };
                let until = t + DAY;
                self.yes.push(Yes {
                    counts,
                    ..Yes::new(&item.agent, &ask.cap, what, ask.read_only, limit, until)
                });
            }
        }
        self.cover(&new, result, t);
    }

    fn is_made(&self, agent: &AgentId, cap: &str, input: Digest) -> bool {
        self.begun.iter().any(|b| {
            let &(_, by, life) = self.begun_by.iter().find(|by| by.0 == b.3).unwrap();
            let is_now = self.member(agent).is_some_and(|m| m.life == life);
            let is_it = &b.0 == agent && b.1 == cap && b.2 == input;
            is_it && is_now && self.yes[by].what == What::Standing
        })
    }

    /// Requests that only read and wait for nothing but what stands now.
    pub(super) fn cover(
        &mut self,
        new: &[(AgentId, Cap)],
        result: &Result<Reply, Refusal>,
        t: u64,
    ) {
        let covers = |agent: &AgentId, ask: &Ask| {
            let held = self.standing(agent, &ask.cap, t).map(|n| self.yes[n].limit);
            self.present(&ask.cap)
                && !self.hidden.contains(&ask.cap)
                && matches!(class(&ask.cap), Class::Read { .. })
                && held.is_some_and(|held| match (held, ask.limit) {
                    (None, _) => true,
                    (Some(held), asked) => {
                        ask.input.is_none()
                            && most(Some(held)) == u32::MAX
                            && asked.is_some_and(|asked| tighter(asked, held))
                    }
                })
        };
        let covered = |i: &&Item| {
            let is_new = |ask: &Ask| new.iter().any(|(a, cap)| *a == i.agent && *cap == ask.cap);
            i.waits
                && t < i.until
                && i.asks.iter().any(is_new)
                && i.asks.iter().all(|ask| covers(&i.agent, ask))
        };
        let covered: Vec<Item> = self.items.iter().filter(covered).cloned().collect();
        let also = match result {
            Ok(Reply::Approved { also, .. } | Reply::Resumed { also }) => &also[..],
            Ok(Reply::Changed(false)) => &[],
            other => panic!("expected an approval, got {other:?}"),
        };
        let ids: BTreeSet<_> = covered.iter().map(|item| &item.id).collect();
        assert_eq!(also.iter().collect::<BTreeSet<_>>(), ids);
        for item in &covered {
            let waiting = self.items.iter_mut().find(|i| i.id == item.id);
            waiting.unwrap().waits = false;
            let agent = &item.agent;
            let standing = |ask: &Ask| self.standing(agent, &ask.cap, t).unwrap();
            let ends = item.asks.iter().map(|ask| self.yes[standing(ask)].until);
            let until = ends.min().unwrap().min(t + DAY);
            let made = item
                .asks
                .iter()
                .filter(|ask| item.run && ask.input.is_some());
            let made = made.map(|ask| {
                let what = What::Call {
                    item: item.id.clone(),
                    input: ask.input,
                    gateway: true,
                };
                Yes {
                    covered_by: Some(standing(ask)),
                    ..Yes::new(agent, &ask.cap, what, ask.read_only, ask.limit, until)
                }
            });
            let made: Vec<_> = made.collect();
            self.yes.extend(made);
        }
    }

    pub(super) fn refresh(
        &mut self,
        (agent, token, session, fresh): (&AgentId, &TokenId, &SessionId, &TokenId),
        done: bool,
        t: u64,
    ) {
        let found = self
            .tokens
            .iter()
            .position(|k| &k.id == token && &k.agent == agent);
        let mut scopes = vec![];
        let mut until = t + 15 * MINUTE;
        if let Some(n) = found {
            for (cap, _, mine) in &self.tokens[n].scopes {
                if let Some(y) = self.standing(agent, cap, t).filter(|_| self.present(cap)) {
                    let theirs = self.yes[y].limit;
                    let kept = match (mine, theirs) {
                        (Some(mine), Some(held)) if tighter(*mine, held) => Some(*mine),
                        (Some(mine), None) => Some(*mine),
                        _ => theirs,
                    };
                    until = until.min(self.yes[y].until);
                    scopes.push((cap.clone(), false, kept));
                }
            }
        }
        let in_time = found.is_some_and(|n| t < self.tokens[n].until + 5 * MINUTE);
        let good = !self.paused && self.session(agent, session, t) && in_time && !scopes.is_empty();
        assert_eq!(done, good, "refresh of {token} for {agent} in {session}");
        if let Some(n) = found.filter(|_| good) {
            self.tokens.remove(n);
            self.tokens.push(Token {
                agent: agent.clone(),
                id: fresh.clone(),
                session: session.clone(),
                scopes,
                until,
            });
        }
    }
}
