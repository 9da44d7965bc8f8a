//! All that descends from a program, whatever group or session it has gone to.
//!
//! Invariant: [`until_over`] returns only when nobody is left: the kernel says that there is no child any more (ECHILD), and
//! orphans come back here. How they are ended is the caller's: see `scope`.

use std::io;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Makes this process the one that its descendants come back to when their own parents end.
///
/// # Errors
/// If the kernel does not say who descends from whom, nothing could be ended.
pub(super) fn adopt_orphans() -> io::Result<()> {
    std::fs::read_to_string(format!(
        "/proc/self/task/{}/children",
        nix::unistd::gettid()
    ))?;
    Ok(prctl::set_child_subreaper(true)?)
}

/// Waits until nobody is left of what descends from this process, which hears of its end; answers with the end of `first`.
/// Its end, SIGTERM, and a signal of a person who wants to stop what it does (SIGINT) come here; `end` is to end all that is
/// left, and is told whether `first` is among it. Those signals are blocked.
pub(super) fn until_over(first: Pid, end: impl Fn(bool)) -> io::Result<WaitStatus> {
    let mut told = SigSet::empty();
    told.add(Signal::SIGCHLD);
    told.add(Signal::SIGTERM);
    told.add(Signal::SIGINT);
    let (mut outcome, mut is_there) = (None, true);
    loop {
        match told.wait()? {
            // One signal may stand for many ends, of orphans among them.
            Signal::SIGCHLD => loop {
                match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                    Ok(WaitStatus::StillAlive) => break,
                    Ok(ended) if ended.pid() == Some(first) => {
                        outcome.get_or_insert(ended);
                        is_there = false;
                        end(false);
                    }
                    Ok(_) => {}
                    Err(Errno::ECHILD) => return outcome.ok_or_else(|| Errno::ECHILD.into()),
                    Err(errno) => return Err(errno.into()),
                }
            },
            Signal::SIGINT if is_there => kill(first, Signal::SIGINT)?,
            Signal::SIGINT => {}
            asked => {
                outcome.get_or_insert(WaitStatus::Signaled(first, asked, false));
                end(is_there);
            }
        }
    }
}

/// The threads of a process. One that is gone has none.
pub(super) fn threads(process: Pid) -> Vec<Pid> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).into_iter();
    let names = threads.flatten().flatten().map(|thread| thread.file_name());
    names
        .filter_map(|name| name.to_str()?.parse().ok().map(Pid::from_raw))
        .collect()
}

/// The children of these threads of a process.
pub(super) fn children(process: Pid, threads: &[Pid]) -> Vec<Pid> {
    let lists = threads.iter().filter_map(|thread| {
        std::fs::read_to_string(format!("/proc/{process}/task/{thread}/children")).ok()
    });
    let numbers = |list: String| -> Vec<Pid> {
        let words = list.split_ascii_whitespace();
        words
            .filter_map(|word| word.parse().ok().map(Pid::from_raw))
            .collect()
    };
    lists.flat_map(numbers).collect()
}
