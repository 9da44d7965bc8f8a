//! A bank: the toy machine of these tests. Accounts are rows; looking at one is an event that changes nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command as Process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use plexus_ledger::{
    Archive, ArchiveState, BootReport, Decision, DecodeError, EventId, IndexTerm, Lane, Ledger,
    Machine, Options, Receipt, Recorded, Restored, Rows, SubmitError, Verified,
};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

pub(crate) struct Bank;

pub(crate) type Accounts = BTreeMap<String, u64>;

#[derive(Clone, Debug)]
pub(crate) enum Command {
    Deposit(&'static str, u64),
    /// Two events, or a refusal.
    Move(&'static str, &'static str, u64),
    /// The row goes.
    Close(&'static str),
    Look(&'static str),
    /// No event.
    Ping,
    /// As many deposits of one as given, in one command.
    Many(&'static str, usize),
    /// Holds the writer until the other end is dropped.
    Wait(
        std::sync::mpsc::SyncSender<()>,
        Arc<std::sync::Mutex<std::sync::mpsc::Receiver<()>>>,
    ),
    Panic,
    /// An event with the name of the ledger's own, behind a good one.
    Forge,
    /// Events that do not come out as one JSON object.
    Garble,
}

#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case", tag = "act")]
pub(crate) enum Event {
    Deposited { account: String, amount: u64 },
    Withdrawn { account: String, amount: u64 },
    Closed { account: String },
    Looked { account: String },
    Forged,
    Garbled,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overdrawn;

impl Event {
    fn account(&self) -> &str {
        match self {
            Self::Deposited { account, .. }
            | Self::Withdrawn { account, .. }
            | Self::Closed { account }
            | Self::Looked { account } => account,
            Self::Forged | Self::Garbled => "",
        }
    }
}

fn deposit(account: &str, amount: u64) -> Event {
    Event::Deposited {
        account: account.to_owned(),
        amount,
    }
}

fn change(state: &mut Accounts, event: &Event) {
    match event {
        Event::Deposited { account, amount } => {
            *state.entry(account.clone()).or_default() += amount;
        }
        Event::Withdrawn { account, amount } => {
            *state.entry(account.clone()).or_default() -= amount;
        }
        Event::Closed { account } => drop(state.remove(account)),
        Event::Looked { .. } | Event::Forged | Event::Garbled => {}
    }
}

impl Machine for Bank {
    type State = Accounts;
    type Command = Command;
    type Event = Event;
    type Reply = u64;
    type Refusal = Overdrawn;
    type Part = Accounts;

    fn decide(state: &Accounts, command: &Command, _now: u64) -> Decision<Self> {
        let balance = |account: &str| state.get(account).copied().unwrap_or(0);
        match command {
            Command::Deposit(account, amount) => {
                Ok((vec![deposit(account, *amount)], balance(account) + amount))
            }
            Command::Move(from, to, amount) => {
                let left = balance(from).checked_sub(*amount).ok_or(Overdrawn)?;
                let out = Event::Withdrawn {
                    account: (*from).to_owned(),
                    amount: *amount,
                };
                Ok((vec![out, deposit(to, *amount)], left))
            }
            Command::Close(account) => {
                state.get(*account).ok_or(Overdrawn)?;
                Ok((
                    vec![Event::Closed {
                        account: (*account).to_owned(),
                    }],
                    0,
                ))
            }
            Command::Look(account) => Ok((
                vec![Event::Looked {
                    account: (*account).to_owned(),
                }],
                balance(account),
            )),
            Command::Ping => Ok((vec![], 0)),
            Command::Many(account, n) => Ok(((0..*n).map(|_| deposit(account, 1)).collect(), 0)),
            Command::Wait(entered, release) => {
                let _ = entered.send(());
                if let Ok(release) = release.lock() {
                    let _ = release.recv();
                }
                Ok((vec![], 0))
            }
            Command::Panic => panic!("asked to"),
            Command::Forge => Ok((vec![deposit("forged", 1), Event::Forged], 0)),
            Command::Garble => Ok((vec![deposit("garbled", 1), Event::Garbled], 0)),
        }
    }

    fn apply(state: &mut Accounts, event: &Event, _id: EventId, _at: u64) {
        change(state, event);
    }

    fn event_type(event: &Event) -> &'static str {
        match event {
            Event::Deposited { .. } => "deposit",
            Event::Withdrawn { .. } => "withdraw",
            Event::Closed { .. } => "close",
            Event::Looked { .. } => "look",
            Event::Forged => plexus_ledger::CHECKPOINT,
            Event::Garbled => "garbled",
        }
    }

    fn encode(event: &Event, into: &mut Vec<u8>) {
        match event {
            Event::Garbled => into.extend_from_slice(b"{\"a\":\n1}"),
            event => serde_json::to_writer(into, event).expect("an event is JSON"),
        }
    }

    fn decode(_: &str, members: &[u8]) -> Result<Event, DecodeError> {
        serde_json::from_slice(members).map_err(|e| DecodeError(e.to_string()))
    }

    fn replay(rows: &mut Rows, _id: EventId, members: &[u8]) -> Result<(), DecodeError> {
        let (event, saved) = (Self::decode("", members)?, std::mem::take(rows));
        let mut state = Self::read(saved.iter().map(|(key, value)| (key.as_str(), &value[..])))?;
        change(&mut state, &event);
        rows.extend(Self::all_rows(&state));
        Ok(())
    }

    fn touched_rows(event: &Event, _id: EventId) -> Vec<String> {
        match event {
            Event::Looked { .. } => vec![],
            event => vec![event.account().to_owned()],
        }
    }

    fn row(state: &Accounts, key: &str) -> Option<Vec<u8>> {
        state
            .get(key)
            .map(|balance| balance.to_string().into_bytes())
    }

    fn all_rows(state: &Accounts) -> Vec<(String, Vec<u8>)> {
        state
            .iter()
            .map(|(key, balance)| (key.clone(), balance.to_string().into_bytes()))
            .collect()
    }

    fn read<'r>(rows: impl Iterator<Item = (&'r str, &'r [u8])>) -> Result<Accounts, DecodeError> {
        let number = |value: &[u8]| std::str::from_utf8(value).ok()?.parse().ok();
        rows.map(|(key, value)| Some((key.to_owned(), number(value)?)))
            .collect::<Option<_>>()
            .ok_or_else(|| DecodeError("not a balance".to_owned()))
    }

    fn restore(parts: Vec<Accounts>) -> Result<Restored<Self>, DecodeError> {
        Ok(Restored {
            state: parts.into_iter().flatten().collect(),
            otherwise: Vec::new(),
        })
    }

    fn needs(_: &str) -> Option<String> {
        None
    }

    fn index_terms(event: &Event) -> Vec<IndexTerm> {
        let whose = IndexTerm::Agent(format!("agent-{}", event.account()));
        // A call may touch a thing twice: read it, and write it.
        let what = IndexTerm::Touched(event.account().to_owned());
        vec![whose, what.clone(), what]
    }
}

/// Options with a clock that ticks once per reading, and without what costs time.
pub(crate) fn options() -> Options {
    let ticks = AtomicU64::new(1_769_847_300_000); // 2026-01-31T08:15:00Z
    let clock = move || ticks.fetch_add(1, Ordering::Relaxed);
    Options {
        ballast: 0,
        ..Options::new(Arc::new(clock))
    }
}

/// Options other than the usual ones.
pub(crate) fn with(set: impl FnOnce(&mut Options)) -> Options {
    let mut options = options();
    set(&mut options);
    options
}

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

/// Opens a ledger; answers with what its start found as well.
pub(crate) fn start(dir: &Path) -> (Ledger<Bank>, BootReport) {
    Ledger::open(dir, options()).expect("the ledger opens")
}

pub(crate) fn open(dir: &Path) -> Ledger<Bank> {
    open_with(dir, options())
}

pub(crate) fn open_with(dir: &Path, options: Options) -> Ledger<Bank> {
    Ledger::open(dir, options).expect("the ledger opens").0
}

/// Runs one future to its end on this thread.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(future)
}

pub(crate) fn submit(
    ledger: &Ledger<Bank>,
    command: Command,
) -> Result<Receipt<u64>, SubmitError<Overdrawn>> {
    wait(ledger.submit(command, Lane::Agent))
}

/// Has the ledger carry out what it records.
#[track_caller]
pub(crate) fn recorded(ledger: &Ledger<Bank>, command: Command) -> Receipt<u64> {
    submit(ledger, command).expect("recorded")
}

/// The ledger holds together from its first event on.
#[track_caller]
pub(crate) fn sound(ledger: &Ledger<Bank>) -> Verified {
    ledger.verify(true).expect("sound")
}

/// The number of the last event.
pub(crate) fn head(ledger: &Ledger<Bank>) -> u64 {
    ledger.head().expect("readable").seq
}

/// An event that is there.
pub(crate) fn event(ledger: &Ledger<Bank>, id: &EventId) -> Recorded {
    ledger.event(id).expect("readable").expect("there")
}

/// All that is there.
pub(crate) fn events(ledger: &Ledger<Bank>) -> Vec<Recorded> {
    ledger.after(0, usize::MAX).expect("readable")
}

pub(crate) fn seqs(events: &[Recorded]) -> Vec<u64> {
    events.iter().map(Recorded::seq).collect()
}

pub(crate) fn archives(ledger: &Ledger<Bank>) -> Vec<(Archive, ArchiveState)> {
    ledger.archives().expect("readable")
}

pub(crate) fn deposit_each(ledger: &Ledger<Bank>, count: usize) {
    wait(async {
        for _ in 0..count {
            ledger
                .submit(Command::Deposit("alice", 1), Lane::Agent)
                .await
                .expect("recorded");
        }
    });
}

/// This process again, for one test alone: a child that may die.
pub(crate) fn this_test(name: &str) -> Process {
    let mut child = Process::new(std::env::current_exe().expect("this test's file"));
    child.args(["--exact", name, "--nocapture"]);
    child
}
