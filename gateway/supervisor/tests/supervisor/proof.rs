//! Proofs that something is durable: those of a real ledger whose machine knows one event.

use plexus_ledger::{
    Decision, DecodeError, Durable, EventId, IndexTerm, Lane, Ledger, Machine, Options, Restored,
    Rows,
};
use std::{path::Path, sync::Arc};

/// Records that something is meant.
pub(crate) struct Intents;

impl Machine for Intents {
    type State = ();
    type Command = ();
    type Event = ();
    type Reply = ();
    type Refusal = ();
    type Part = ();

    fn decide(_: &(), (): &(), _: u64) -> Decision<Self> {
        Ok((vec![()], ()))
    }
    fn apply((): &mut (), (): &(), _: EventId, _: u64) {}
    fn event_type((): &()) -> &'static str {
        "intent"
    }
    fn encode((): &(), into: &mut Vec<u8>) {
        into.extend_from_slice(b"{}");
    }
    fn decode(_: &str, _: &[u8]) -> Result<(), DecodeError> {
        Ok(())
    }
    fn replay(_: &mut Rows, _: EventId, _: &[u8]) -> Result<(), DecodeError> {
        Ok(())
    }
    fn touched_rows((): &(), _: EventId) -> Vec<String> {
        Vec::new()
    }
    fn row((): &(), _: &str) -> Option<Vec<u8>> {
        None
    }
    fn all_rows((): &()) -> Vec<(String, Vec<u8>)> {
        Vec::new()
    }
    fn read<'r>(_: impl Iterator<Item = (&'r str, &'r [u8])>) -> Result<(), DecodeError> {
        Ok(())
    }
    fn restore(_: Vec<()>) -> Result<Restored<Self>, DecodeError> {
        let (state, otherwise) = Default::default();
        Ok(Restored { state, otherwise })
    }
    fn needs(_: &str) -> Option<String> {
        None
    }
    fn index_terms((): &()) -> Vec<IndexTerm> {
        Vec::new()
    }
}

pub(crate) fn ledger(home: &Path) -> (Ledger<Intents>, u64) {
    let options = Options {
        ballast: 0,
        ..Options::new(Arc::new(|| 1_769_847_300_000))
    };
    let (ledger, boot) = Ledger::open(home, options).expect("a ledger");
    (ledger, boot.launch)
}

pub(crate) async fn durable(ledger: &Ledger<Intents>) -> Durable {
    let receipt = ledger.submit((), Lane::Agent).await.expect("a receipt");
    receipt.durable.expect("an intent is an event")
}
