//! Ends the programs that a turn leaves behind, in whatever session they are.
//!
//! Invariants: only descendants of this process are killed; on Linux none of them is left when [`end`] returns, elsewhere
//! none of the group.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::io;

/// Makes this process the parent of its descendants' orphans.
pub(crate) fn adopt() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_child_subreaper(true)?;
    Ok(())
}

/// Kills what is left of a turn whose own process has ended.
pub(crate) fn end(group: Pid) {
    // A group that is gone has ended.
    let _ = killpg(group, Signal::SIGKILL);
    #[cfg(target_os = "linux")]
    orphans::end();
}

#[cfg(target_os = "linux")]
mod orphans {
    use nix::sys::signal::{Signal, kill};
    use nix::sys::wait::waitpid;
    use nix::unistd::Pid;

    /// Kills and reaps children until there is none: theirs become this process's when they end.
    pub(super) fn end() {
        loop {
            let children = children();
            if children.is_empty() {
                return;
            }
            for child in children {
                // Not reaped yet, it keeps its number: nobody else is killed.
                let _ = kill(child, Signal::SIGKILL);
                let _ = waitpid(child, None);
            }
        }
    }

    fn children() -> Vec<Pid> {
        let threads = std::fs::read_dir("/proc/self/task").into_iter();
        let lists = threads
            .flatten()
            .flatten()
            .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
        let numbers = |list: String| -> Vec<Pid> {
            let words = list.split_ascii_whitespace();
            words
                .filter_map(|word| word.parse().ok().map(Pid::from_raw))
                .collect()
        };
        lists.flat_map(numbers).collect()
    }
}
