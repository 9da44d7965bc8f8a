//! Where a flush is slow: callers wait for one another, and not longer than it is worth.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use plexus_ledger::{Lane, Opener, Options};
use redb::StorageBackend;
use redb::backends::InMemoryBackend;

use crate::bank::{Command, folder, open_with, options, wait};

/// What one flush takes: long beside the time in which a caller comes back, also on a busy machine.
const FLUSH: Duration = Duration::from_millis(50);
const CALLERS: usize = 8;
const CALLS: usize = 10;

/// Memory that takes its time to flush.
#[derive(Debug)]
struct Slow(InMemoryBackend);

impl StorageBackend for Slow {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        std::thread::sleep(FLUSH);
        self.0.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}

/// Without a wait the first caller and the seven others would for ever take turns: two commits for each round of calls.
#[test]
fn callers_that_were_just_answered_and_those_who_had_come_share_a_flush() {
    let opener: Opener = Arc::new(|_| {
        let slow: Arc<dyn StorageBackend> = Arc::new(Slow(InMemoryBackend::new()));
        Ok(slow)
    });
    let (commits, lingered) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::default()));
    let (counted, longest) = (Arc::clone(&commits), Arc::clone(&lingered));
    let dir = folder();
    let with = Options {
        opener,
        observer: Arc::new(move |committed| {
            counted.fetch_add(1, Ordering::Relaxed);
            let mut longest = longest.lock().expect("nobody panics with it");
            *longest = committed.lingered.max(*longest);
        }),
        ..options()
    };
    let ledger = open_with(dir.path(), with);
    wait(async {
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..CALLERS {
            let ledger = ledger.clone();
            callers.spawn(async move {
                for _ in 0..CALLS {
                    let recorded = ledger.submit(Command::Look("bob"), Lane::Agent).await;
                    recorded.expect("recorded");
                }
            });
        }
        callers.join_all().await;
    });
    let commits = commits.load(Ordering::Relaxed);
    assert!(
        commits < CALLS * 3 / 2,
        "{commits} commits for {CALLS} calls of each"
    );
    // Each wait ends with the last of those who were there, and callers are back sooner than a flush takes.
    let longest: Duration = *lingered.lock().expect("nobody panics with it");
    assert!(longest > Duration::ZERO && longest < FLUSH, "{longest:?}");
}
