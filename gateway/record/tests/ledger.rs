//! The gateway's own ledger, the machine of `plexus-trust` in it, on a disk that fails and stalls at random and loses power.
//!
//! Random histories of the owner, of agents and of the daemon are played into it. After each command, and after each cut:
//! what was acknowledged is what the machine decided and is there to stay; what was not recorded has left nothing; an
//! effect is begun only against a proof that is on the disk, and one whose end is not on record is still known as open.

#[allow(dead_code, reason = "the tests of the ledger use the rest")]
#[path = "../../ledger/tests/ledger/disk.rs"]
mod disk;
#[allow(dead_code, reason = "the tests of the machine use the rest")]
#[path = "../../trust/tests/support/mod.rs"]
mod support;

use disk::{Cut, Disk, Fault, Stalled};
use plexus_ledger::{Condition, Lane, Options, Receipt, SubmitError};
use plexus_protocol::{AuditId, Timestamp};
use plexus_record::Trust;
use plexus_trust::{Command, Refusal, Reply, State, all_rows, decide};
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestCaseError};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use support::history::{AGENTS, Act, Wish, history};
use support::player::{Player, Step};

type Ledger = plexus_ledger::Ledger<Trust>;
type Rows = BTreeMap<String, Vec<u8>>;

/// What befalls the disk before an act.
#[derive(Clone, Debug)]
enum Weather {
    Calm,
    Once(u64),
    Dead(u64),
    NoSpace(u64),
    Read(u64),
    Mended,
    Cut(Cut),
    Restart,
    /// A flush of the act is held while so many further commands come; with a cut, the power goes meanwhile.
    Stall(usize, Option<Cut>),
}

fn weather() -> impl Strategy<Value = Weather> {
    let soon = || 0_u64..30;
    let cut = || {
        prop_oneof![
            Just(Cut::Nothing),
            Just(Cut::Everything),
            any::<u64>().prop_map(Cut::Some)
        ]
    };
    prop_oneof![
        30 => Just(Weather::Calm),
        4 => soon().prop_map(Weather::Once),
        2 => soon().prop_map(Weather::Dead),
        2 => soon().prop_map(Weather::NoSpace),
        1 => soon().prop_map(Weather::Read),
        3 => Just(Weather::Mended),
        3 => cut().prop_map(Weather::Cut),
        1 => Just(Weather::Restart),
        4 => (1_usize..20, prop::option::weighted(0.2, cut()))
            .prop_map(|(more, cut)| Weather::Stall(more, cut)),
    ]
}

fn rows(state: &State) -> Rows {
    all_rows(state).into_iter().collect()
}

fn audit_id(id: plexus_ledger::EventId) -> AuditId {
    AuditId::parse(&id.to_string()).unwrap()
}

/// A gateway's ledger, and what its callers were told.
struct Played {
    dir: tempfile::TempDir,
    disk: Disk,
    clock: Arc<AtomicU64>,
    ledger: Ledger,
    runtime: tokio::runtime::Runtime,
    acknowledged: Vec<AuditId>,
    /// Effects that were sent to a worker, by the proof they went with.
    dispatched: Vec<(u64, u64)>,
    /// Intents whose commit failed: nothing was sent, and they may be on record.
    never_sent: Vec<AuditId>,
    /// Events of commands that were found to be saved though their commit had failed.
    found: usize,
    /// Events that may be there or not, of commands that nobody could look for.
    perhaps: usize,
    met: Met,
}

/// What the histories came across.
#[derive(Debug, Default)]
struct Met {
    lost: u32,
    unavailable: u32,
    refused: u32,
    cuts: u32,
    dispatched: u32,
    open: u32,
    ended_late: u32,
    /// Flushes that were held while commands came.
    stalls: u32,
}

impl Played {
    fn new() -> Self {
        let (dir, disk) = (tempfile::tempdir().unwrap(), Disk::default());
        let clock = Arc::new(AtomicU64::new(support::START.0));
        let ledger = open(dir.path(), &disk, &clock).expect("a new ledger opens");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        Self {
            dir,
            disk,
            clock,
            ledger,
            runtime,
            acknowledged: Vec::new(),
            dispatched: Vec::new(),
            never_sent: Vec::new(),
            found: 0,
            perhaps: 0,
            met: Met::default(),
        }
    }

    fn again(&mut self) -> Result<(), TestCaseError> {
        self.ledger =
            open(self.dir.path(), &self.disk, &self.clock).map_err(TestCaseError::fail)?;
        Ok(())
    }

    /// Has the weather change; looks at all of it where the ledger was opened anew.
    fn bear(&mut self, weather: &Weather) -> Result<(), TestCaseError> {
        let acts = |after: &u64| self.disk.acts() + 1 + after;
        let fault = match weather {
            Weather::Calm | Weather::Stall(..) => return Ok(()),
            Weather::Once(after) => Some(Fault::Once(acts(after))),
            Weather::Dead(after) => Some(Fault::Dead(acts(after))),
            Weather::NoSpace(after) => Some(Fault::NoSpace(acts(after))),
            Weather::Read(after) => Some(Fault::Read(self.disk.reads() + 1 + after)),
            Weather::Mended | Weather::Restart => None,
            Weather::Cut(cut) => {
                let after = self.disk.cut(*cut);
                return self.after_the_cut(after);
            }
        };
        self.disk.set(fault);
        if matches!(weather, Weather::Restart) {
            let before = rows(&self.ledger.snapshot());
            self.ledger.close();
            self.again()?;
            self.look(&before)?;
        }
        Ok(())
    }

    /// The power is back; of the disk that is left over.
    fn after_the_cut(&mut self, left: Disk) -> Result<(), TestCaseError> {
        self.met.cuts += 1;
        let before = rows(&self.ledger.snapshot());
        self.ledger.close();
        self.disk = left;
        self.again()?;
        self.look(&before)
    }

    /// Everything that was said, held against the file.
    fn look(&mut self, before: &Rows) -> Result<(), TestCaseError> {
        let verified = self.ledger.verify(true);
        verified.map_err(|e| TestCaseError::fail(e.to_string()))?;
        let state = self.ledger.snapshot();
        if self.perhaps == 0 {
            prop_assert_eq!(&rows(&state), before);
        }
        let events = self.ledger.after(0, usize::MAX);
        let events: Vec<serde_json::Value> = events
            .map_err(|e| TestCaseError::fail(e.to_string()))?
            .iter()
            .filter(|event| event.event_type() != plexus_ledger::CHECKPOINT)
            .map(|event| serde_json::from_str(event.json()).unwrap())
            .collect();
        let recorded = events.iter().filter_map(|event| event["id"].as_str());
        let mut told = self.acknowledged.iter().map(AuditId::as_str).peekable();
        for id in recorded {
            let _ = told.next_if_eq(&id);
        }
        prop_assert_eq!(told.next(), None, "acknowledged, in this order, and gone");
        let surplus = events.len() - self.acknowledged.len();
        let most = self.found + self.perhaps;
        prop_assert!(
            (self.found..=most).contains(&surplus),
            "{surplus} events that nobody was told of, {most} at most"
        );
        for (_, sequence) in &self.dispatched {
            let intent = events.iter().find(|event| event["seq"] == *sequence);
            let intent = intent.expect("acknowledged, so there");
            prop_assert_eq!(&intent["detail"]["phase"], "intent");
            let id = intent["id"].as_str().unwrap();
            let ended = events.iter().any(|event| event["detail"]["intent"] == id);
            let id = AuditId::parse(id).unwrap();
            let is_open = state.open_intents.contains_key(&id);
            prop_assert!(
                ended || is_open,
                "an effect that was begun is neither over nor open"
            );
            self.met.open += u32::from(is_open);
        }
        // From here on, what is there is what is known.
        self.found = surplus;
        self.perhaps = 0;
        Ok(())
    }

    fn submit(
        &self,
        command: Command,
        now: Timestamp,
    ) -> Result<Receipt<Reply>, SubmitError<Refusal>> {
        self.clock.store(now.0, Ordering::Relaxed);
        self.runtime
            .block_on(self.ledger.submit(command, Lane::Agent))
    }

    fn is_known(&self) -> bool {
        self.perhaps == 0 && self.ledger.condition().0 == Condition::Open
    }

    /// Gives a step to the ledger.
    fn step(&mut self, step: &Step, intents: &mut Vec<AuditId>) -> Result<(), TestCaseError> {
        let (before, is_known) = (self.ledger.snapshot(), self.is_known());
        let answer = self.submit(step.command.clone(), step.now);
        self.heard(step, answer, &before, is_known, intents)
    }

    /// Gives a step to the ledger; while its flush is held, gives it `more` commands that change no row, and cuts the power
    /// if it is to be cut.
    fn stalled(
        &mut self,
        step: &Step,
        more: usize,
        cut: Option<Cut>,
        intents: &mut Vec<AuditId>,
    ) -> Result<(), TestCaseError> {
        let (before, is_known) = (self.ledger.snapshot(), self.is_known());
        let further = Step {
            command: note(),
            result: Ok(Reply::Done),
            now: step.now,
            events: 0..0,
        };
        self.clock.store(step.now.0, Ordering::Relaxed);
        let asked = |step: &Step| self.ledger.submit(step.command.clone(), Lane::Agent);
        let Stalled {
            first,
            others,
            after,
            was_held,
        } = self.disk.stalled(
            || asked(step),
            || -> Vec<_> { (0..more).map(|_| asked(&further)).collect() },
            cut,
        );
        self.met.stalls += u32::from(was_held);
        let others: Vec<_> = others
            .into_iter()
            .map(|other| self.runtime.block_on(other))
            .collect();
        self.heard(step, first, &before, is_known, intents)?;
        for answer in others {
            // What the state was when it was decided, nobody but the ledger knows.
            self.heard(&further, answer, &before, false, intents)?;
        }
        after.map_or(Ok(()), |after| self.after_the_cut(after))
    }

    /// Holds the answer to a step against what was before; `is_known`: nothing was in doubt then.
    fn heard(
        &mut self,
        step: &Step,
        answer: Result<Receipt<Reply>, SubmitError<Refusal>>,
        before: &State,
        is_known: bool,
        intents: &mut Vec<AuditId>,
    ) -> Result<(), TestCaseError> {
        let is_intent = matches!(step.command, Command::Intent { .. });
        if is_intent && step.result.is_ok() {
            // The player's own name for it; the ledger gives another.
            intents.pop();
        }
        let receipt = match answer {
            Ok(receipt) => receipt,
            Err(SubmitError::Lost { found, event, .. }) => {
                self.met.lost += 1;
                self.never_sent
                    .extend(event.filter(|_| is_intent).map(audit_id));
                let now = self.ledger.head().map_or(step.now.0, |head| head.at);
                let events = decide(before, &step.command, Timestamp(now.max(step.now.0)));
                let events = events.map_or(0, |(events, _)| events.len());
                match found {
                    Some(true) => self.found += events,
                    Some(false) => {
                        prop_assert!(!is_known || rows(&self.ledger.snapshot()) == rows(before));
                    }
                    None => self.perhaps += events.max(1),
                }
                return Ok(());
            }
            Err(error) => {
                match error {
                    SubmitError::Refused(_) => self.met.refused += 1,
                    _ => self.met.unavailable += 1,
                }
                if is_known {
                    prop_assert_eq!(rows(&self.ledger.snapshot()), rows(before));
                }
                return Ok(());
            }
        };
        prop_assert_eq!(receipt.durable.is_some(), !receipt.events.is_empty());
        let ids = receipt.events.iter().map(|event| audit_id(event.id));
        self.acknowledged.extend(ids);
        if is_known && let Some(first) = receipt.events.first() {
            // What is shown is what the machine decides there and then, no more and no less.
            let (events, _) = decide(before, &step.command, Timestamp(first.at))
                .map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(events.len(), receipt.events.len());
            let mut after = before.clone();
            for (event, told) in events.iter().zip(&receipt.events) {
                after.apply(event, &audit_id(told.id), Timestamp(told.at));
            }
            prop_assert_eq!(rows(&after), rows(&self.ledger.snapshot()));
        }
        if is_intent {
            let durable = receipt.durable.expect("an intent has an event");
            intents.push(audit_id(durable.audit_id()));
            let proof = (durable.launch(), durable.sequence());
            let latest = self.dispatched.last();
            prop_assert!(latest.is_none_or(|last| *last < proof), "no proof twice");
            self.dispatched.push(proof);
            self.met.dispatched += 1;
        }
        Ok(())
    }
}

fn open(dir: &std::path::Path, disk: &Disk, clock: &Arc<AtomicU64>) -> Result<Ledger, String> {
    let ticking = Arc::clone(clock);
    let options = Options {
        opener: disk.opener(),
        retry: Duration::ZERO,
        checkpoint_every: 11,
        index_run: 5,
        ballast: 0,
        ..Options::new(Arc::new(move || ticking.load(Ordering::Relaxed)))
    };
    let (ledger, report) = Ledger::open(dir, options).map_err(|e| e.to_string())?;
    match report.rolled_back {
        Some(finding) => Err(finding.to_string()),
        None => Ok(ledger),
    }
}

/// An event that changes no row.
fn note() -> Command {
    Command::Note(plexus_trust::Note {
        kind: "source.settings",
        agent: None,
        capability: None,
        outcome: None,
        detail: serde_json::Value::Null,
    })
}

/// The steps of a first launch, with both sources and both agents.
fn begin(player: &mut Player) -> Vec<Step> {
    let launch = Step {
        command: Command::Launch,
        result: Ok(Reply::Done),
        now: support::START,
        events: 0..0,
    };
    std::iter::once(launch).chain(player.begin()).collect()
}

fn play(history: &[(Weather, Act)]) -> Result<Met, TestCaseError> {
    let mut played = Played::new();
    let mut player = Player::new();
    let mut intents = Vec::new();
    for step in begin(&mut player) {
        played.step(&step, &mut intents)?;
    }
    player.world.state = (*played.ledger.snapshot()).clone();
    for (weather, act) in history {
        played.bear(weather)?;
        let steps = player.play(act);
        for (n, step) in steps.iter().enumerate() {
            match weather {
                Weather::Stall(more, cut) if n == 0 => {
                    played.stalled(step, *more, *cut, &mut player.intents)?;
                }
                _ => played.step(step, &mut player.intents)?,
            }
        }
        // What the history goes on from is what the ledger kept of it.
        player.world.state = (*played.ledger.snapshot()).clone();
    }
    for last in [Weather::Mended, Weather::Cut(Cut::Everything)] {
        played.bear(&last)?;
    }
    // As the daemon does: an intent that is on record though nothing was sent gets its end.
    for intent in std::mem::take(&mut played.never_sent) {
        let command = Command::Outcome {
            intent: intent.clone(),
            outcome: support::outcome(plexus_trust::OutcomeKind::Refused),
        };
        let now = Timestamp(played.clock.load(Ordering::Relaxed));
        match played.submit(command, now) {
            Ok(_) => played.met.ended_late += 1,
            Err(error) => prop_assert_eq!(error, SubmitError::Refused(Refusal::NoSuchIntent)),
        }
        let state = played.ledger.snapshot();
        prop_assert!(!state.open_intents.contains_key(&intent));
    }
    Ok(played.met)
}

/// As `plexus_tests::length` says it, which this crate cannot reach.
fn cases() -> u32 {
    match std::env::var("PLEXUS_TEST_LENGTH").as_deref() {
        Ok("long") => 1_000,
        Ok("full") => 25,
        _ => 15,
    }
}

/// How many times as many histories are played at most until each kind of trouble was met.
const ROUNDS: u32 = 20;

impl Met {
    fn everything(&self) -> bool {
        let each = [
            self.lost,
            self.unavailable,
            self.refused,
            self.cuts,
            self.dispatched,
            self.open,
            self.stalls,
        ];
        each.iter().all(|met| *met > 0)
    }
}

#[test]
fn the_gateways_own_ledger_keeps_its_word_on_a_failing_disk() {
    let enough = cases();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: enough,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let histories = prop::collection::vec(weather(), 120)
        .prop_flat_map(|weather| (Just(weather), history(120)))
        .prop_map(|(weather, acts)| weather.into_iter().zip(acts).collect::<Vec<_>>());
    let all = std::cell::RefCell::new((0, Met::default()));
    let played = |history: &[_]| {
        let met = play(history)?;
        let (played, all) = &mut *all.borrow_mut();
        *played += 1;
        all.lost += met.lost;
        all.unavailable += met.unavailable;
        all.refused += met.refused;
        all.cuts += met.cuts;
        all.dispatched += met.dispatched;
        all.open += met.open;
        all.ended_late += met.ended_late;
        all.stalls += met.stalls;
        Ok::<(), TestCaseError>(())
    };
    let result = runner.run(&histories, |history| played(&history));
    result.unwrap_or_else(|e| panic!("{e}"));
    // Few histories may miss what is rare; then there are more, a bounded number of times. They are drawn one by one, for a
    // runner that has played its cases plays no more.
    for _ in enough..enough * ROUNDS {
        if all.borrow().1.everything() {
            break;
        }
        let history = histories
            .new_tree(&mut runner)
            .expect("a history")
            .current();
        played(&history).unwrap_or_else(|e| panic!("{e}: {history:#?}"));
    }
    let (played, all) = all.into_inner();
    assert!(
        all.everything(),
        "{played} histories met nothing of a kind: {all:?}"
    );
}

/// The disk stalls, agents fill their lane to the brim and beyond; what the owner wants stands before all of it, and is on
/// the disk when it is answered.
#[test]
fn while_the_disk_stalls_under_a_flood_the_owner_is_next() {
    const ROOM: usize = 4_096;
    let (mut played, mut player) = (Played::new(), Player::new());
    let mut steps = begin(&mut player);
    steps.extend(player.play(&Act::Request {
        session: 0,
        wishes: vec![Wish {
            cap: 4,
            input: Some(0),
            read_only: false,
            window: None,
            limit: None,
        }],
        purpose: false,
        run: false,
    }));
    for step in &steps {
        played.step(step, &mut Vec::new()).unwrap();
    }
    let (asker, item) = player.items[0].clone();
    let before = played.ledger.snapshot();
    assert!(!before.item(&item).unwrap().state.is_final());

    let (entered, is_in) = mpsc::sync_channel(1);
    let (go_on, held) = mpsc::channel::<()>();
    played.disk.before_flush(move || {
        let _ = entered.try_send(());
        let _ = held.recv();
    });
    let submit = |command, lane| played.ledger.submit(command, lane);
    let _first = submit(note(), Lane::Agent);
    is_in.recv().unwrap();
    let flood: Vec<_> = (0..ROOM + 500)
        .map(|_| submit(note(), Lane::Agent))
        .collect();
    let mut others = AGENTS.into_iter().filter(|name| *name != asker.as_str());
    let agent = support::agent(others.next().unwrap());
    let acts = [
        support::deny(&item),
        support::revoke(&agent),
        Command::Pause(true),
    ];
    let acts = acts.map(|act| submit(act, Lane::Owner));
    drop(go_on);
    let mut last = 0;
    for act in acts {
        let receipt = played.runtime.block_on(act).expect("the owner is heard");
        last = last.max(receipt.events.last().expect("an event").seq);
    }
    // As if the power went the moment that the owner has the answer.
    let after = played.disk.after_power_cut(|| false, || false);
    let answers: Vec<_> = flood
        .into_iter()
        .map(|answer| played.runtime.block_on(answer))
        .collect();
    let busy = answers
        .iter()
        .filter(|a| matches!(a, Err(SubmitError::Busy)));
    assert_eq!(busy.count(), 500);
    let recorded = answers.iter().flatten().flat_map(|receipt| &receipt.events);
    assert!(recorded.clone().count() == ROOM && recorded.clone().all(|event| event.seq > last));

    let elsewhere = tempfile::tempdir().unwrap();
    let ledger = open(elsewhere.path(), &after, &played.clock).unwrap();
    let state = ledger.snapshot();
    assert!(state.paused);
    assert!(state.item(&item).unwrap().state.is_final());
    assert!(state.agent(&agent).unwrap().sessions.is_empty());
    let now = played.ledger.snapshot();
    assert!(!now.agent(&asker).unwrap().sessions.is_empty());
    ledger.verify(true).unwrap();
}
