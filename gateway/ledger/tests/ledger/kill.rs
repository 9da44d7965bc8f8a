//! The real file and a real `kill -9`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use plexus_ledger::{EventId, Lane, Ledger};

use crate::bank::{Bank, Command, folder, open_with, options, this_test, wait, with};
use crate::waiting::lines;

/// Names the directory to a child that is this test again.
const CHILD: &str = "PLEXUS_LEDGER_KILL_TEST";
const KILLS: u64 = 20;

#[test]
fn nothing_acknowledged_is_missing_after_twenty_kills() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return write_until_killed(&PathBuf::from(dir));
    }
    let dir = folder();
    let mut acknowledged: Vec<EventId> = Vec::new();
    for kill in 0..KILLS {
        let before = acknowledged.len();
        let mut child = this_test("kill::nothing_acknowledged_is_missing_after_twenty_kills")
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the child starts");
        let mut lines = lines(child.stdout.take().expect("its output"));
        let mut note = |line: String| {
            acknowledged.extend(
                line.strip_prefix("ack ")
                    .and_then(|id| id.parse::<EventId>().ok()),
            );
            line.starts_with("ack ")
        };
        // Another moment each time: after a few records, after many, around a checkpoint.
        let enough = 1 + kill * 13;
        let mut seen = 0;
        while seen < enough {
            seen += u64::from(note(lines.next().expect("the child writes")));
        }
        child.kill().expect("killed");
        lines.for_each(|line| {
            note(line);
        });
        child.wait().expect("reaped");

        let (ledger, report) =
            Ledger::<Bank>::open(dir.path(), options()).expect("opens after a kill");
        assert!(!report.clean, "kill {kill}");
        assert!(report.rolled_back.is_none(), "kill {kill}: {report:?}");
        ledger
            .verify(true)
            .unwrap_or_else(|e| panic!("kill {kill}: {e}"));
        assert!(acknowledged.len() > before);
        for id in &acknowledged {
            assert!(
                ledger.event(id).expect("readable").is_some(),
                "kill {kill}: {id} is gone"
            );
        }
        // Money is only moved: half a command would show.
        assert_eq!(
            ledger.snapshot().values().sum::<u64>(),
            1_000_000,
            "kill {kill}"
        );
        ledger.close();
    }
}

fn write_until_killed(dir: &Path) {
    let ledger = open_with(
        dir,
        with(|o| {
            o.checkpoint_every = 50;
            o.index_run = 40;
        }),
    );
    if ledger.snapshot().is_empty() {
        wait(ledger.submit(Command::Deposit("a", 1_000_000), Lane::Owner)).expect("recorded");
    }
    let turn = async |from, to| {
        let receipt = ledger.submit(Command::Move(from, to, 1), Lane::Agent).await;
        for event in receipt.iter().flat_map(|r| &r.events) {
            // Not `println`: a kill must not leave an acknowledgement in a buffer.
            let _ = std::io::stdout().write_all(format!("ack {}\n", event.id).as_bytes());
        }
    };
    wait(async {
        loop {
            tokio::join!(
                turn("a", "b"),
                turn("b", "c"),
                turn("c", "a"),
                turn("a", "c")
            );
        }
    });
}
