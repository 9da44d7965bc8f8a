//! The machine against a naive model: over random histories, what the machine allows is what the model allows.
//!
//! After every act both are asked about every agent, capability, input and door; permits that were given earlier are
//! tried again on the state as it is now. A permit that the model forbids is a hole, one that it misses is a fault too.

mod naive;

use crate::support::{
    ALL, agent,
    history::{AGENTS, Act, INPUTS, history},
    player::{Player, Step, used},
};
use naive::{By, Class, Model, Stood, class};
use plexus_protocol::{AgentId, PendingId};
use plexus_trust::{AuthPath, Command, Item, Permit, Verdict, decide};
use proptest::{prelude::*, test_runner::TestCaseError};
use std::collections::BTreeMap;

/// Both sides of the comparison, and what was given so far.
struct Both {
    player: Player,
    model: Model,
    stood: Vec<Stood>,
    shown: BTreeMap<PendingId, Item>,
    counts: Counts,
    acts: u32,
}

/// What a run has seen: a property that never met its case proves nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    permits: u64,
    refusals: u64,
    stale_refused: u64,
    stale_used: u64,
    by_item: u64,
    by_gateway: u64,
    by_token: u64,
    by_turn: u64,
}

impl Both {
    fn new() -> Self {
        let mut both = Self {
            player: Player::new(),
            model: Model::default(),
            stood: vec![],
            shown: BTreeMap::new(),
            counts: Counts::default(),
            acts: 0,
        };
        for step in both.player.begin() {
            both.follow(&step);
        }
        both
    }

    fn follow(&mut self, step: &Step) {
        let last = self.player.world.last_call();
        let stood = match &step.command {
            Command::Read { permit, .. } | Command::Intent { permit, .. } => {
                let mine = self.player.permits.iter().position(|p| same(p, permit));
                mine.map(|n| self.stood[n].clone())
            }
            _ => None,
        };
        self.model.follow(step, last.as_ref(), stood.as_ref());
    }

    fn play(&mut self, act: &Act) -> Result<(), TestCaseError> {
        // The steps of one act are compared when all of them are done: they are one wish of somebody.
        for step in self.player.play(act) {
            self.follow(&step);
        }
        for permit in &self.player.permits[self.stood.len()..] {
            self.stood.push(self.model.stood(permit));
        }
        self.items_are_immutable()?;
        self.agree_on_suspensions()?;
        self.agree_on_calls()?;
        self.agree_on_permits()
    }

    fn owns(player: &Player, who: &AgentId, by: By<'_>) -> bool {
        match by {
            By::Session(id) => player.sessions.iter().any(|s| &s.0 == who && &s.1 == id),
            By::Token(id) => player.tokens.iter().any(|t| &t.0 == who && &t.1 == id),
            By::Gateway(id) | By::Turn(id) => {
                player.items.iter().any(|i| &i.0 == who && &i.1 == id)
            }
        }
    }

    /// A grant with calls left is suspended where it was when its source changed or the state was restored, had it not lapsed
    /// by then.
    fn agree_on_suspensions(&self) -> Result<(), TestCaseError> {
        let agents = self.player.world.state.agents.values();
        let grants = agents.flat_map(|agent| agent.grants.values());
        for grant in grants.filter(|grant| grant.calls_left() != Some(0)) {
            let rests = self.model.rests(&grant.agent, grant.capability.as_str());
            prop_assert_eq!(Some(grant.suspended.is_some()), rests, "{:?}", grant);
        }
        Ok(())
    }

    fn agree_on_calls(&mut self) -> Result<(), TestCaseError> {
        let world = &self.player.world;
        let sessions = AGENTS.iter().flat_map(|name| {
            let mine = self
                .player
                .sessions
                .iter()
                .filter(move |s| s.0.as_str() == *name);
            mine.rev().take(1)
        });
        let sessions = sessions.map(|s| By::Session(&s.1));
        let tokens = self
            .player
            .tokens
            .iter()
            .rev()
            .take(2)
            .map(|t| By::Token(&t.1));
        let items = self
            .player
            .items
            .iter()
            .rev()
            .take(2)
            .flat_map(|i| [By::Gateway(&i.1), By::Turn(&i.1)]);
        let doors: Vec<By<'_>> = sessions.chain(tokens).chain(items).collect();
        // Another's door is tried less often, because it never opens.
        self.acts += 1;
        let crossed = self.acts.is_multiple_of(4);
        for who in AGENTS.map(agent) {
            for by in doors
                .iter()
                .filter(|by| crossed || Self::owns(&self.player, &who, **by))
            {
                for cap in ALL {
                    for (n, (input, name)) in INPUTS.iter().enumerate() {
                        let verdict = world.through_as(&who, auth_path(*by), cap, input, *name);
                        let expected = self.model.allowing(&who, *by, cap, n, world.now);
                        let Verdict::Permit(permit) = verdict else {
                            self.counts.refusals += 1;
                            prop_assert!(
                                expected.is_empty(),
                                "{who} {by:?} {cap} {input}: {verdict:?}, though {expected:?}"
                            );
                            continue;
                        };
                        prop_assert!(
                            !expected.is_empty(),
                            "{who} {by:?} {cap} {input}: {permit:?}"
                        );
                        self.counts.count(&permit, *by);
                        forbidden_class(&permit)?;
                        let recorded = decide(&world.state, &used(*permit), world.now);
                        prop_assert!(recorded.is_ok(), "a fresh permit is good: {recorded:?}");
                    }
                }
            }
        }
        Ok(())
    }

    /// Permits given earlier, on the state as it is now.
    fn agree_on_permits(&mut self) -> Result<(), TestCaseError> {
        let world = &self.player.world;
        for (permit, stood) in self.player.permits.iter().zip(&self.stood).rev().take(24) {
            let recorded = decide(&world.state, &used(permit.clone()), world.now);
            let still = self.model.still(stood, world.now);
            if recorded.is_ok() {
                self.counts.stale_used += 1;
            } else {
                self.counts.stale_refused += 1;
            }
            prop_assert_eq!(recorded.is_ok(), still, "{:?}: {:?}", stood, recorded);
        }
        Ok(())
    }

    /// Of an item only its state, plans, end, what is left of it and how its calls ended may change.
    fn items_are_immutable(&mut self) -> Result<(), TestCaseError> {
        for agent in self.player.world.state.agents.values() {
            for item in agent.items.values() {
                let first = self
                    .shown
                    .entry(item.id.clone())
                    .or_insert_with(|| (**item).clone());
                let mut as_first = (**item).clone();
                as_first.state = first.state.clone();
                as_first.revision = first.revision;
                as_first.expires_at = first.expires_at;
                for (now, then) in as_first.asks.iter_mut().zip(&first.asks) {
                    let ended = now.approval == plexus_trust::Approval::Ended;
                    prop_assert_eq!(now.outcome.is_some(), ended, "{:?}", now);
                    now.plan = then.plan.clone();
                    now.approval = then.approval;
                    now.outcome = then.outcome;
                    now.intent.clone_from(&then.intent);
                    now.undo.clone_from(&then.undo);
                    // Approving it may give a grant with it.
                    now.counted = then.counted;
                    // So may another request of its agent.
                    now.covered_by = then.covered_by;
                    // The owner may narrow it by approving.
                    now.constraint.clone_from(&then.constraint);
                    let limits = |ask: &plexus_trust::Ask| ask.bounded.as_ref().map(|b| b.limits);
                    prop_assert_eq!(limits(now), limits(then));
                    let within = now
                        .bounded
                        .as_ref()
                        .is_none_or(|b| b.used <= b.limits.turns);
                    prop_assert!(within, "{:?}", now);
                    now.bounded.clone_from(&then.bounded);
                }
                prop_assert_eq!(&as_first, first);
            }
        }
        Ok(())
    }
}

impl Counts {
    fn count(&mut self, permit: &Permit, by: By<'_>) {
        self.permits += 1;
        self.by_item += u64::from(matches!(permit.basis, plexus_trust::Basis::Item(_)));
        self.by_gateway += u64::from(matches!(by, By::Gateway(_)));
        self.by_token += u64::from(matches!(by, By::Token(_)));
        self.by_turn += u64::from(matches!(by, By::Turn(_)));
    }
}

fn same(a: &Permit, b: &Permit) -> bool {
    // Permits have no identity; two that read the same stand on the same.
    format!("{a:?}") == format!("{b:?}")
}

fn auth_path<'a>(by: By<'a>) -> AuthPath<'a> {
    match by {
        By::Session(id) => AuthPath::Session(id),
        By::Token(id) => AuthPath::Token(id),
        By::Gateway(id) => AuthPath::Approved(id),
        By::Turn(id) => AuthPath::Bounded(id),
    }
}

/// Beyond the ceiling nothing stands, whatever the owner sent.
fn forbidden_class(permit: &Permit) -> Result<(), TestCaseError> {
    let standing = matches!(permit.basis, plexus_trust::Basis::Grant(_));
    let once = matches!(
        class(permit.capability.as_str()),
        Class::OnlyOnce | Class::Skill
    );
    prop_assert!(!(standing && once), "{:?}", permit);
    Ok(())
}

fn whole(acts: &[Act]) -> Result<Counts, TestCaseError> {
    let mut both = Both::new();
    for act in acts {
        both.play(act)?;
    }
    Ok(both.counts)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 2, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_machine_allows_what_the_model_allows(acts in history(60)) {
        whole(&acts)?;
    }
}

/// The histories reach what they are meant to test.
#[test]
fn the_histories_are_not_empty_of_cases() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let mut sum = Counts::default();
    for _ in 0..60 {
        let acts = history(60).new_tree(&mut runner).unwrap().current();
        let seen = whole(&acts).unwrap();
        sum.permits += seen.permits;
        sum.refusals += seen.refusals;
        sum.stale_refused += seen.stale_refused;
        sum.stale_used += seen.stale_used;
        sum.by_item += seen.by_item;
        sum.by_gateway += seen.by_gateway;
        sum.by_token += seen.by_token;
        sum.by_turn += seen.by_turn;
    }
    let Counts {
        permits,
        refusals,
        stale_refused,
        stale_used,
        by_item,
        by_gateway,
        by_token,
        by_turn,
    } = sum;
    let least = [
        permits,
        refusals,
        stale_refused,
        stale_used,
        by_item,
        by_gateway,
        by_token,
        by_turn,
    ];
    assert!(least.iter().all(|n| *n > 50), "{sum:?}");
}
