//! The helper of a run: a process beside the program that ends all of the run with one signal, whatever it has become.
//!
//! ```text
//! monitor ─┬─ canary (ended, not reaped)         outside of the scope
//!          └─ helper ─ program ─ …               in the scope; the program and what descends from it in one below it
//! ```
//!
//! The helper enters a Landlock domain that bounds signals, and starts the program from there. A signal to everyone reaches
//! all processes of that domain at once, while no other process of the run can be made (the kernel holds its list of
//! processes, and a fork of one that was killed fails). The program's own cage is a domain below it: its signals do not reach
//! the helper.
//!
//! Invariants: **an unbounded signal to everyone would end the user's session.** It is sent from one place, [`Scope::end_all`],
//! and only [`Entered::prove`] makes a [`Scope`]: after a signal to the monitor and one to the canary were refused, and one to
//! the program was not. Without the proof the program never begins. The helper has one thread, since Landlock binds threads.
//! There is none for a program that cannot fork, none without a cage, none where the kernel has no scope for signals.
//!
//! Must not know: who asked for the end.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use landlock::{
    AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset as Domain, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope as LandlockScope,
};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::WaitStatus;
use nix::unistd::{Pid, getpid, getppid};

use super::os::notify;
use super::tree;

/// In a domain that should bound this process's signals.
struct Entered(());

/// Proof that this process's signals reach what descends from it and nothing else.
pub(super) struct Scope(());

/// Which of the two processes this is.
pub(super) enum Side {
    Helper(Helper),
    /// The program's, with the number of the helper, its parent.
    Program(Pid),
}

/// The helper, whose program has begun.
pub(super) struct Helper {
    scope: Scope,
    program: Pid,
}

impl Entered {
    /// # Errors
    /// The kernel does not bound signals, or the process could not be bound.
    fn enter() -> io::Result<Self> {
        // The one right that a domain refuses unless it is granted: without it no run could move a file to another folder.
        let root = PathFd::new("/").map_err(io::Error::other)?;
        let domain = Domain::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::Refer)
            .and_then(|domain| domain.scope(LandlockScope::Signal))
            .and_then(Domain::create)
            .and_then(|domain| domain.add_rule(PathBeneath::new(root, AccessFs::Refer)))
            .map_err(io::Error::other)?;
        let status = domain
            .no_new_privs(true)
            .restrict_self()
            .map_err(io::Error::other)?;
        match status.ruleset {
            RulesetStatus::FullyEnforced => Ok(Self(())),
            other => Err(io::Error::other(format!("signals are bounded: {other:?}"))),
        }
    }

    /// # Errors
    /// A signal goes where it must not, or not where it must. Signal 0 asks and sends nothing.
    fn prove(self, outside: [Pid; 2], inside: Pid) -> io::Result<Scope> {
        if std::fs::read_dir("/proc/self/task")?.count() != 1 {
            return Err(io::Error::other("more than one thread"));
        }
        for process in outside {
            // 0 and what is below it are no process, and 1 may be another user's.
            if process.as_raw() <= 1 || kill(process, None) != Err(Errno::EPERM) {
                return Err(io::Error::other(format!("signals reach {process}")));
            }
        }
        kill(inside, None)?;
        Ok(Scope(()))
    }
}

impl Scope {
    /// Kills all processes of the scope but this one.
    fn end_all(&self) {
        // The answer is the same whether there was one or none.
        _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
    }
}

/// Splits this process, which has one thread and is the child of `monitor`. `canary` is another process out of its reach.
///
/// # Errors
/// Then neither may go on.
pub(super) fn split(monitor: Pid, canary: Pid) -> io::Result<Side> {
    // Orphans of the run come back here.
    tree::adopt_orphans()?;
    let entered = Entered::enter()?;
    // After the domain: a change of credentials may take it back.
    prctl::set_pdeathsig(Signal::SIGTERM)?;
    if getppid() != monitor {
        return Err(io::Error::other("the monitor has ended"));
    }
    let helper = getpid();
    let (mut ours, mut theirs) = UnixStream::pair()?;
    let Some(program) = notify::split()? else {
        drop(ours);
        // A helper without a proof ends, and with it this.
        theirs.read_exact(&mut [0])?;
        return Ok(Side::Program(helper));
    };
    let scope = entered.prove([monitor, canary], program)?;
    ours.write_all(&[0])?;
    Ok(Side::Helper(Helper { scope, program }))
}

impl Helper {
    /// The helper's life: until the program has ended or the end is asked for; then until nobody is left.
    pub(super) fn serve(&self) -> io::Result<WaitStatus> {
        tree::until_over(self.program, |_| self.scope.end_all())
    }
}

/// A process out of the scope's reach: a child that has ended and that nobody reaps yet, so that the number stays its own.
/// The kernel asks the same of a signal to it.
pub(super) fn canary() -> nix::Result<Pid> {
    match notify::split()? {
        Some(canary) => Ok(canary),
        None => std::process::exit(0),
    }
}

/// Has no page of a run be part of a huge one, which stays whole where all but one of its pages are given back: nobody would count
/// it. For the program alone.
pub(super) fn keep_pages_small() -> nix::Result<()> {
    match prctl::set_thp_disable(true) {
        // A kernel without huge pages.
        Err(Errno::EINVAL) => Ok(()),
        set => set,
    }
}

/// The least `oom_score_adj` of a process of a run: its cage lets it write nothing below `/proc`.
const RUN: i32 = 500;

/// Makes the kernel end a run before anything of the owner's, when memory runs out. For the program alone.
pub(super) fn go_first() -> io::Result<()> {
    const ADJUSTED: &str = "/proc/self/oom_score_adj";
    let now = std::fs::read_to_string(ADJUSTED)?;
    let now = now.trim().parse().unwrap_or(0);
    if now < RUN {
        std::fs::write(ADJUSTED, RUN.to_string())?;
    }
    Ok(())
}

/// Whether the kernel ends a process so early. One of which it does not say may be of a run.
pub(super) fn goes_first(process: i32) -> bool {
    let Ok(adjusted) = std::fs::read_to_string(format!("/proc/{process}/oom_score_adj")) else {
        return true;
    };
    adjusted.trim().parse().is_ok_and(|now: i32| now >= RUN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::wait::waitpid;

    /// The proof that a process of its own makes in a scope: 0 where there is one. `own` is a child of that process, so in its
    /// scope. libtest has a second thread, which waits; the C library readies its allocator for the child.
    fn proven(outside: impl FnOnce(Pid) -> [Pid; 2], other_thread: bool) -> i32 {
        let Some(process) = notify::split().expect("a process") else {
            let tried = || {
                let entered = Entered::enter()?;
                let own = canary()?;
                let (_held, holds) = std::sync::mpsc::channel::<()>();
                if other_thread {
                    std::thread::Builder::new().spawn(move || holds.recv())?;
                }
                entered.prove(outside(own), own)
            };
            std::process::exit(i32::from(tried().is_err()));
        };
        match waitpid(process, None).expect("its end") {
            WaitStatus::Exited(_, code) => code,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn proof_needs_one_thread_and_two_processes_out_of_reach() {
        let (monitor, outer) = (getpid(), canary().expect("a process"));
        assert_eq!(proven(|_| [monitor, outer], false), 0, "the control");
        assert_eq!(proven(|_| [monitor, outer], true), 1, "two threads");
        assert_eq!(proven(|own| [monitor, own], false), 1, "a canary in reach");
        assert_eq!(proven(|own| [own, outer], false), 1, "a monitor in reach");
        let gone = Pid::from_raw(i32::MAX);
        assert_eq!(proven(|_| [monitor, gone], false), 1, "no canary");
        assert_eq!(proven(|_| [monitor, Pid::from_raw(0)], false), 1, "a group");
        waitpid(outer, None).expect("the end of the canary");
    }
}
