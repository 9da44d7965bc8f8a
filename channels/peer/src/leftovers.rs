//! Ends the programs that a turn leaves behind, in whatever session they are.
//!
//! Invariants: only descendants of this process are killed, and none that it had before [`adopt`]; on Linux none of the others
//! is left when [`end`] returns, elsewhere, and as the first process of a container, none of the group.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::io;

/// Makes this process the parent of its descendants' orphans.
pub(crate) fn adopt() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    orphans::adopt()?;
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
    use std::sync::OnceLock;

    /// The children that were there before: no turn's. Unset where this process is the parent of strangers' orphans.
    static BEFORE: OnceLock<Vec<Pid>> = OnceLock::new();

    pub(super) fn adopt() -> nix::Result<()> {
        nix::sys::prctl::set_child_subreaper(true)?;
        if Pid::this().as_raw() != 1 {
            let _ = BEFORE.set(children());
        }
        Ok(())
    }

    /// Kills and reaps children until there is none: theirs become this process's when they end.
    pub(super) fn end() {
        let Some(before) = BEFORE.get() else {
            return;
        };
        let mut kept = before.clone();
        loop {
            let children = children();
            let mut new = children.into_iter().filter(|child| !kept.contains(child));
            let Some(child) = new.next() else {
                return;
            };
            // Not reaped yet, it keeps its number: nobody else is killed. One of another user is not waited for.
            match kill(child, Signal::SIGKILL) {
                Ok(()) => drop(waitpid(child, None)),
                Err(_) => kept.push(child),
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
