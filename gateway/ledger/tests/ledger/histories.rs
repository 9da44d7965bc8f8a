//! Random histories against a model: the bank as a plain map.

use std::collections::BTreeMap;

use plexus_ledger::SubmitError;
use proptest::prelude::*;

use crate::bank::{Accounts, Command, folder, open_with, submit, with};

#[derive(Clone, Debug)]
enum Step {
    Do(Command),
    /// Close and open again.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        13 => command().prop_map(Step::Do),
        1 => Just(Step::Do(Command::Garble)),
        1 => Just(Step::Restart),
    ]
}

/// Something that a customer may want.
pub(crate) fn command() -> impl Strategy<Value = Command> {
    let name = || prop::sample::select(vec!["a", "b", "c"]);
    prop_oneof![
        4 => (name(), 0_u64..9).prop_map(|(to, n)| Command::Deposit(to, n)),
        4 => (name(), name(), 0_u64..9).prop_map(|(from, to, n)| Command::Move(from, to, n)),
        2 => name().prop_map(Command::Close),
        2 => name().prop_map(Command::Look),
        1 => Just(Command::Ping),
    ]
}

/// What the bank should do. `None`: refused.
pub(crate) fn expected(bank: &mut Accounts, command: &Command) -> Option<usize> {
    match command {
        Command::Deposit(to, n) => *bank.entry((*to).to_owned()).or_default() += n,
        Command::Move(from, to, n) => {
            let left = bank.get(*from).copied().unwrap_or(0).checked_sub(*n)?;
            bank.insert((*from).to_owned(), left);
            *bank.entry((*to).to_owned()).or_default() += n;
            return Some(2);
        }
        Command::Close(account) => drop(bank.remove(*account)?),
        Command::Look(_) => {}
        _ => return Some(0),
    }
    Some(1)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_ledger_does_what_the_bank_does(
        steps in prop::collection::vec(step(), 0..60),
        checkpoint_every in 2_u64..9,
        index_run in prop::sample::select(vec![1, 3, 256]),
    ) {
        let dir = folder();
        let with = || with(|o| (o.checkpoint_every, o.index_run) = (checkpoint_every, index_run));
        let again = || open_with(dir.path(), with());
        let (mut ledger, mut bank, mut launch) = (again(), BTreeMap::new(), 1);
        for step in steps {
            match step {
                Step::Restart => {
                    prop_assert!(ledger.close());
                    ledger = again();
                    launch += 1;
                }
                Step::Do(Command::Garble) => {
                    prop_assert!(matches!(submit(&ledger, Command::Garble), Err(SubmitError::Unavailable(_))));
                }
                Step::Do(command) => match (submit(&ledger, command.clone()), expected(&mut bank, &command)) {
                    (Ok(receipt), Some(events)) => {
                        prop_assert_eq!(receipt.events.len(), events);
                        prop_assert_eq!(receipt.durable.map(|d| d.launch()), (events > 0).then_some(launch));
                    }
                    (Err(SubmitError::Refused(_)), None) => {}
                    other => prop_assert!(false, "{:?}: {:?}", command, other),
                },
            }
            prop_assert_eq!(&*ledger.snapshot(), &bank);
            ledger.verify(false).map_err(|e| TestCaseError::fail(e.to_string()))?;
        }
        ledger.verify(true).map_err(|e| TestCaseError::fail(e.to_string()))?;
    }
}
