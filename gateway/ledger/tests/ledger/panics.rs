//! A writer that panics where nothing can be taken back: the process ends, and a next one finds what was recorded.

use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use plexus_ledger::Options;
use tracing::{Event, Metadata, Subscriber, span};

use crate::bank::{Command, folder, open_with, options, submit, this_test};

/// Names the directory to a child that is this test again.
const CHILD: &str = "PLEXUS_LEDGER_PANIC_TEST";
const SIGABRT: i32 = 6;

/// Prints the names of events.
struct Names;

impl Subscriber for Names {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        let _ =
            std::io::stdout().write_all(format!("logged {}\n", event.metadata().name()).as_bytes());
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[test]
fn panicking_writer_ends_the_process() {
    if let Some(dir) = std::env::var_os(CHILD) {
        tracing::subscriber::set_global_default(Names).expect("the only one");
        let broken = Options {
            observer: Arc::new(|_| panic!("asked to")),
            ..options()
        };
        let ledger = open_with(&PathBuf::from(dir), broken);
        let answer = submit(&ledger, Command::Deposit("a", 1));
        panic!("the process outlives its writer: {answer:?}");
    }
    let dir = folder();
    let child = this_test("panics::panicking_writer_ends_the_process")
        .env(CHILD, dir.path())
        .output()
        .expect("the child runs");
    let said = String::from_utf8_lossy(&child.stdout);
    assert_eq!(child.status.signal(), Some(SIGABRT), "{said}");
    assert!(said.contains("logged ledger.writer_panicked"), "{said}");
    let ledger = open_with(dir.path(), options());
    assert_eq!(ledger.snapshot().get("a"), Some(&1), "it was committed");
}
