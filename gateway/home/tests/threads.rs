//! A system that gives the gateway no thread: the one who asked gets an error, and the next one a thread.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "what is wrong fails the test")]

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use plexus_home::tasks::blocking;
use std::io::ErrorKind;

/// Room for small allocations, and for no thread's stack, which takes 2 MiB.
const ROOM: u64 = 1024 * 1024;
const PAGE: u64 = 4096;

// The only test of its process: the limit holds for all of it.
#[tokio::test]
async fn refused_thread_is_an_error_and_not_for_good() {
    let (_, most) = getrlimit(Resource::RLIMIT_AS).unwrap();
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split(' ').next().unwrap().parse().unwrap();
    setrlimit(Resource::RLIMIT_AS, pages * PAGE + ROOM, most).unwrap();
    let refused = blocking(|| 7).await;
    setrlimit(Resource::RLIMIT_AS, most, most).unwrap();
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(blocking(|| 8).await.unwrap(), 8, "the control");
}
