//! Plays a history: makes commands of acts, and keeps what came of them to name it later.

use super::{
    history::{AGENTS, Act, INPUTS, Limit, Look},
    *,
};

/// What one command came to.
pub(crate) struct Step {
    pub(crate) command: Command,
    pub(crate) result: Result<Reply, Refusal>,
    /// The time it was given at, as the clock said it.
    pub(crate) now: Timestamp,
    /// The events that it left.
    pub(crate) events: std::ops::Range<usize>,
}

pub(crate) struct Player {
    pub(crate) world: World,
    pub(crate) sessions: Vec<(AgentId, SessionId)>,
    pub(crate) tokens: Vec<(AgentId, TokenId)>,
    pub(crate) items: Vec<(AgentId, PendingId)>,
    pub(crate) permits: Vec<Permit>,
    pub(crate) intents: Vec<AuditId>,
    looks: [SourceSeen; 2],
    configs: [SourceConfig; 2],
}

fn pick<T: Clone>(from: &[T], n: u8) -> Option<T> {
    // The newest are the likeliest to be of interest.
    let back = usize::from(n) * usize::from(n) * from.len() / 65_536;
    from.iter().rev().nth(back).cloned()
}

fn chosen(mask: u16) -> Vec<&'static str> {
    let bits = ALL.iter().enumerate();
    bits.filter(|(n, _)| mask & 1 << n != 0)
        .map(|(_, id)| *id)
        .collect()
}

impl Player {
    pub(crate) fn new() -> Self {
        Self {
            world: World::empty(),
            sessions: vec![],
            tokens: vec![],
            items: vec![],
            permits: vec![],
            intents: vec![],
            looks: [seen("notes"), seen("ext")],
            configs: [config("notes"), config("ext")],
        }
    }

    /// The commands that set up the sources, and join both agents to some of what they offer.
    pub(crate) fn begin(&mut self) -> Vec<Step> {
        let mut steps = vec![];
        for n in 0..2 {
            steps.push(self.put(n));
            let look = self.looks[n].clone();
            steps.push(self.give(Command::SourceSeen(look)));
        }
        for (agent, caps) in [(0, 0b1_0000_0101), (1, 0b1001_1010)] {
            steps.extend(self.play(&Act::Join {
                agent,
                caps,
                standing: caps,
                window: None,
                limit: None,
                selected: false,
            }));
        }
        steps
    }

    fn put(&mut self, n: usize) -> Step {
        self.give(Command::PutSource {
            id: self.looks[n].id.clone(),
            config: self.configs[n].clone(),
            pins: Vec::new(),
        })
    }

    fn give(&mut self, command: Command) -> Step {
        let from = self.world.log.len();
        let result = self.world.run(command.clone());
        match (&command, &result) {
            (Command::OpenSession { agent, session, .. }, Ok(_)) => {
                self.sessions
                    .push((agent.clone().unwrap(), session.clone()));
            }
            (Command::Request(r), Ok(Reply::Decided(d))) => {
                let agent = r.agent.clone().unwrap();
                if d.token_expires_at.is_some() {
                    self.tokens.push((agent.clone(), r.token.clone()));
                }
                if let Some(item) = d.item.clone().filter(|_| !d.joined) {
                    self.items.push((agent, item));
                }
            }
            (Command::Refresh { agent, fresh, .. }, Ok(_)) => {
                self.tokens.push((agent.clone(), fresh.clone()));
            }
            (Command::Intent { .. }, Ok(_)) => self.intents.extend(self.world.last_call()),
            _ => {}
        }
        Step {
            command,
            result,
            now: self.world.now,
            events: from..self.world.log.len(),
        }
    }

    /// Plays one act; some are several commands, and some are none.
    pub(crate) fn play(&mut self, act: &Act) -> Vec<Step> {
        let by = |n: u8| agent(AGENTS[usize::from(n)]);
        let id = |n: u8| cap(ALL[usize::from(n)]);
        let side = |ext: bool| usize::from(ext);
        let command = match act {
            Act::Join {
                agent: who,
                caps,
                standing,
                window,
                limit,
                selected,
            } => {
                let name = AGENTS[usize::from(*who)];
                let mut connect = self.world.connect_command(name, &chosen(*caps));
                connect.standing = chosen(*standing).into_iter().map(cap).collect();
                connect.window = *window;
                connect.constraint = limit.map(Limit::constraint);
                connect.reach = Some(if *selected {
                    plexus_trust::Reach::Selected
                } else {
                    plexus_trust::Reach::Exposed
                });
                let code = connect.code;
                let pat = secret(&format!("pat of {code}"));
                let mut steps = vec![self.give(Command::Connect(connect))];
                steps.push(self.give(Command::Enroll { code, pat }));
                steps.push(self.open(by(*who), Some(pat)));
                return steps;
            }
            Act::Open(who) => return vec![self.open(by(*who), None)],
            Act::RevokeAgent(who, delete) => Command::RevokeAgent {
                agent: by(*who),
                reason: None,
                delete: *delete,
            },
            Act::Bound(who, much) => Command::Bound {
                agent: by(*who),
                bounds: Bounds {
                    calls_per_second: (*much > 0).then_some((*much).into()),
                    ledger_per_day: (*much > 1).then_some(1 << 20),
                },
            },
            Act::Rotate => Command::RotateKey,
            Act::Restore => Command::Restored {
                made_at: self.world.now,
            },
            Act::Recode(who) => {
                let fresh = self.world.fresh();
                let (code, pat) = (
                    secret(&format!("code {fresh}")),
                    secret(&format!("pat {fresh}")),
                );
                let mut steps = vec![self.give(Command::NewCode {
                    agent: by(*who),
                    code,
                    code_ms: plexus_trust::CODE_MS,
                })];
                if steps[0].result.is_ok() {
                    steps.push(self.give(Command::Enroll { code, pat }));
                    steps.push(self.open(by(*who), Some(pat)));
                }
                return steps;
            }
            Act::Request {
                session,
                wishes,
                purpose,
                run,
            } => {
                let Some((agent, session)) = pick(&self.sessions, *session) else {
                    return vec![];
                };
                let entries = wishes.iter().map(|w| {
                    let mut entry = entry(ALL[usize::from(w.cap)]);
                    entry.verbs = w.read_only.then_some(Verbs::READ);
                    entry.wish = w.window;
                    entry.constraint = w.limit.map(Limit::constraint);
                    entry.input = w.input.map(|n| (INPUTS[usize::from(n)].1, 2));
                    entry.turns = (entry.id == RUN).then_some(TURNS);
                    entry
                });
                let entries = entries.collect();
                let mut request = self.world.request(&Who { agent, session }, entries);
                request.purpose = purpose.then(|| "because".to_owned());
                if *run {
                    request.on_approval = OnApproval::Run;
                }
                Command::Request(request)
            }
            Act::Plan(item, risen) => {
                let Some((_, item)) = pick(&self.items, *item) else {
                    return vec![];
                };
                let asks = self.world.state.item(&item).map(|i| i.asks.clone());
                let plans = asks.unwrap_or_default().into_iter().map(|ask| {
                    self.give(Command::PlanReady {
                        item: item.clone(),
                        capability: ask.capability,
                        preview: secret("preview"),
                        state_token: secret("world"),
                        rating: if *risen { Verb::Execute } else { Verb::Write },
                        once: false,
                    })
                });
                return plans.collect();
            }
            Act::PlanFails(item) => match pick(&self.items, *item) {
                None => return vec![],
                Some((_, item)) => {
                    let held = self.world.state.item(&item);
                    let capability = held.map_or(cap(READ), |i| i.asks[0].capability.clone());
                    Command::PlanFailed { item, capability }
                }
            },
            Act::PlanAgain(item) => match pick(&self.items, *item) {
                None => return vec![],
                Some((_, item)) => Command::PlanAgain { item },
            },
            Act::Approve {
                item,
                window,
                limit,
                any_input,
                stale,
            } => {
                let Some((_, item)) = pick(&self.items, *item) else {
                    return vec![];
                };
                let mut approval = self.world.approval(&item, *window);
                approval.constraint = limit.map(Limit::constraint);
                approval.any_input = *any_input;
                if *stale {
                    approval.revision = approval.revision.wrapping_sub(1);
                }
                Command::Approve(approval)
            }
            Act::Deny(item) => match pick(&self.items, *item) {
                None => return vec![],
                Some((_, item)) => Command::Deny { item, reason: None },
            },
            Act::Withdraw(who, item) => match pick(&self.items, *item) {
                None => return vec![],
                Some((_, item)) => Command::Withdraw {
                    agent: by(who % 2),
                    item,
                },
            },
            Act::Grant {
                agent,
                cap,
                read_only,
                window,
                limit,
            } => Command::Grant {
                agent: by(*agent),
                entries: vec![plexus_trust::GrantEntry {
                    capability: id(*cap),
                    verbs: read_only.then_some(Verbs::READ),
                    window: *window,
                    constraint: limit.map(Limit::constraint),
                }],
            },
            Act::RevokeGrant(who, what) => Command::RevokeGrant {
                agent: by(*who),
                capability: id(*what),
                reason: None,
            },
            Act::RevokeToken(token) => match pick(&self.tokens, *token) {
                None => return vec![],
                Some((_, token)) => Command::RevokeToken {
                    token,
                    reason: None,
                },
            },
            Act::Refresh(token, session) => {
                let (Some((agent, token)), Some((_, session))) =
                    (pick(&self.tokens, *token), pick(&self.sessions, *session))
                else {
                    return vec![];
                };
                let fresh = TokenId::parse(&uuid("tok", self.world.fresh())).unwrap();
                Command::Refresh {
                    agent,
                    token,
                    session,
                    fresh,
                }
            }
            Act::Expose(what, enabled) => Command::Expose {
                capability: id(*what),
                enabled: *enabled,
            },
            Act::Pause(on) => Command::Pause(*on),
            Act::Seen(ext, look) => {
                let n = side(*ext);
                let name = ["notes", "ext"][n];
                let held = &mut self.looks[n];
                let mut shown = held.clone();
                match look {
                    Look::Same => {}
                    Look::NoTarget => shown.target = None,
                    Look::WithoutOne(which) => {
                        let keys: Vec<_> = shown.capabilities.keys().cloned().collect();
                        shown
                            .capabilities
                            .remove(&keys[usize::from(*which) % keys.len()]);
                    }
                    Look::OtherTarget => {
                        held.target.as_mut().unwrap().inode += 1;
                        shown = held.clone();
                    }
                    Look::OtherProfile => {
                        held.profile = secret(&format!("then {}", held.profile));
                        shown = held.clone();
                    }
                    Look::OtherShape => {
                        let edition = u8::from(held.capabilities == manifest(name, 0));
                        held.capabilities = manifest(name, edition);
                        shown = held.clone();
                    }
                }
                Command::SourceSeen(shown)
            }
            Act::Resume(ext) => Command::ResumeSource {
                id: self.looks[side(*ext)].id.clone(),
                revision: None,
                go_on: true,
            },
            Act::Relabel(ext) => {
                self.configs[side(*ext)].label.push('x');
                return vec![self.put(side(*ext))];
            }
            Act::Reroute(ext) => {
                let n = side(*ext);
                let fresh = self.world.fresh();
                self.configs[n].route = json!({"path": format!("/srv/{fresh}")});
                return vec![self.put(n)];
            }
            Act::Enable(ext, on) => {
                self.configs[side(*ext)].enabled = *on;
                return vec![self.put(side(*ext))];
            }
            Act::Readd(ext) => {
                let n = side(*ext);
                let id = self.looks[n].id.clone();
                let look = self.looks[n].clone();
                return vec![
                    self.give(Command::RemoveSource { id }),
                    self.put(n),
                    self.give(Command::SourceSeen(look)),
                ];
            }
            Act::Launch => Command::Launch,
            Act::Sweep => Command::Sweep,
            Act::Authorize {
                session,
                token,
                cap,
                input,
            } => {
                let Some((agent, session)) = pick(&self.sessions, *session) else {
                    return vec![];
                };
                let token = token.and_then(|n| pick(&self.tokens, n));
                let (who, path) = match &token {
                    Some((owner, token)) => (owner, AuthPath::Token(token)),
                    None => (&agent, AuthPath::Session(&session)),
                };
                let (input, _) = &INPUTS[usize::from(*input)];
                let verdict = self.world.through(who, path, ALL[usize::from(*cap)], input);
                self.keep(verdict);
                return vec![];
            }
            Act::Errand {
                session,
                wish,
                window,
                any_input,
                run,
            } => {
                let asked = Act::Request {
                    session: *session,
                    wishes: vec![wish.clone()],
                    purpose: false,
                    run: *run,
                };
                let approved = Act::Approve {
                    item: 0,
                    window: *window,
                    limit: None,
                    any_input: *any_input,
                    stale: false,
                };
                let called = Act::Authorize {
                    session: *session,
                    token: None,
                    cap: wish.cap,
                    input: wish.input.unwrap_or(0),
                };
                let acts = [asked, Act::Plan(0, false), approved];
                let steps = acts.iter().flat_map(|act| self.play(act)).collect();
                self.play(&called);
                self.play(&Act::RunApproved(0));
                return steps;
            }
            Act::RunApproved(item) => {
                let Some((agent, item)) = pick(&self.items, *item) else {
                    return vec![];
                };
                for (input, _) in INPUTS.iter() {
                    let asks = self.world.state.item(&item).map(|i| i.asks.clone());
                    for ask in asks.unwrap_or_default() {
                        let id = ask.capability.as_str();
                        let path = AuthPath::Approved(&item);
                        let verdict = self.world.through(&agent, path, id, input);
                        self.keep(verdict);
                    }
                }
                return vec![];
            }
            Act::Turn(item, input) => {
                let Some((agent, item)) = pick(&self.items, *item) else {
                    return vec![];
                };
                let (input, _) = &INPUTS[usize::from(*input)];
                let verdict = self
                    .world
                    .through(&agent, AuthPath::Bounded(&item), RUN, input);
                self.keep(verdict);
                return vec![];
            }
            Act::EndDenial(item) => match pick(&self.items, *item) {
                None => return vec![],
                Some((_, item)) => Command::EndDenial { item },
            },
            Act::EndTurns(item) => match pick(&self.items, *item) {
                None => return vec![],
                Some((_, item)) => Command::EndTurns {
                    item,
                    by_source: false,
                },
            },
            Act::Use(permit) => match pick(&self.permits, *permit) {
                None => return vec![],
                Some(permit) => keyed(used(permit)),
            },
            Act::End(intent, kind) => match pick(&self.intents, *intent) {
                None => return vec![],
                Some(intent) => Command::Outcome {
                    intent,
                    outcome: outcome(match kind % 4 {
                        0 => OutcomeKind::Ok,
                        1 => OutcomeKind::Failed,
                        2 => OutcomeKind::Refused,
                        _ => OutcomeKind::Unknown,
                    }),
                },
            },
            Act::Settle(who, intent) => match pick(&self.intents, *intent) {
                None => return vec![],
                Some(intent) => Command::SettleUnknown {
                    agent: by(who % 2),
                    intent,
                    happened: who % 3 == 0,
                    in_part: who % 6 == 0,
                },
            },
            Act::Time(ms) => {
                self.world.now = Timestamp(self.world.now.0.saturating_add_signed(*ms));
                return vec![];
            }
        };
        vec![self.give(command)]
    }

    fn open(&mut self, agent: AgentId, pat: Option<Digest>) -> Step {
        let session = SessionId::parse(&uuid("sess", self.world.fresh())).unwrap();
        self.give(Command::OpenSession {
            agent: Some(agent),
            by: pat.map_or(SessionProof::Owner, SessionProof::Pat),
            session,
            client: (None, None),
        })
    }

    fn keep(&mut self, verdict: Verdict) {
        if let Verdict::Permit(permit) = verdict {
            self.permits.push(*permit);
        }
    }
}

/// The same with an idempotency key, for half of all inputs: a repeated call brings the same one.
fn keyed(mut command: Command) -> Command {
    if let Command::Intent { permit, key, .. } = &mut command
        && !matches!(permit.basis, plexus_trust::Basis::Bounded(_))
    {
        *key = Some(permit.input).filter(|input| input.to_string().as_str() < "8");
    }
    command
}

/// The command that would use a permit.
pub(crate) fn used(permit: Permit) -> Command {
    if permit.is_read() {
        Command::Read {
            permit,
            outcome: outcome(OutcomeKind::Ok),
        }
    } else {
        Command::Intent {
            input_bytes: 2,
            about: Vec::new(),
            key: matches!(permit.basis, plexus_trust::Basis::Bounded(_)).then(message),
            permit,
        }
    }
}

/// The digest of a message's id that no other message has.
fn message() -> Digest {
    use std::sync::atomic::{AtomicU64, Ordering};
    static LAST: AtomicU64 = AtomicU64::new(0);
    secret(&format!("message {}", LAST.fetch_add(1, Ordering::Relaxed)))
}
