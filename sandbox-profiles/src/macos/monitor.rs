//! The monitor of a run: outside of its cage, from before the program's first instruction until nobody of the run is left.
//!
//! ```text
//! keeper ─pipe─▶ monitor: lock ▸ limits ▸ proof of the cage ▸ program, suspended ▸ its number in the lock ▸ it begins ▸ follow
//! ```
//!
//! The proof is a process of ours that attacks the same targets as on Linux, under the program's profile and parameters; that
//! profile has one rule more, by which it is executed. The program is started after it, by Apple's launcher.
//!
//! Invariants: the program is in the table of the sweep before it begins; its entry stays, as a zombie at the last, until the sweep
//! is over; the end of the keeper, which the pipe tells, ends the run.
//!
//! Type-checked alone; no Mac has run it.

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::event::{EventFilter, FilterFlag, KEvent, Kqueue};
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::SystemProcesses;
use super::ends::{NOW, event};
use super::launcher::{failed, line};
use super::os::outlive;
use super::start::SuspendedProgram;
use crate::call::{Cage, Call, Refusal, prove_line};
use crate::darwin::{self, run_event, variables};
use crate::follow::{RunEvent, RunProcesses, follow};
use crate::launch::{SANDBOX_EXEC, STREAM, UNCAGED, narrow_umask};
use crate::os;
use crate::probe::{self, ChildTargets};
use crate::run_lock::RunLock;
use crate::sweep::{Ending, Process, ProcessTable, Sweep, SweepSignal};

/// How much a queue tells at once.
const AT_ONCE: usize = 16;

// The numbers that are tested on every system are libc's.
const _: () = assert!(
    darwin::READ == libc::EVFILT_READ
        && darwin::PROCESS == libc::EVFILT_PROC
        && darwin::SIGNAL == libc::EVFILT_SIGNAL
        && darwin::EXIT == libc::NOTE_EXIT
        && darwin::FORK == libc::NOTE_FORK
);

/// The monitor's life.
#[expect(unsafe_code, reason = "a descriptor is known by its number")]
pub(super) fn watch(
    call: &Call,
    cage: Cage,
    targets: Option<&ChildTargets>,
) -> Result<Infallible, Refusal> {
    // SAFETY: this process has opened nothing yet: the number came over the exec, or is free.
    let keeper = unsafe { os::adopt(STREAM) };
    let keeper = keeper.ok_or_else(|| failed("hear of the keeper's end")(Errno::EBADF))?;
    let queue = Kqueue::new().map_err(failed("make a queue of events"))?;
    hear_of_keeper(&queue, &keeper).map_err(failed("hear of the keeper's end"))?;
    let lock = call.lock.as_deref().map(RunLock::take).transpose();
    let lock = lock.map_err(failed("lock the run"))?;
    call.limits.apply().map_err(failed("apply its limits"))?;
    narrow_umask();
    if let Some(targets) = targets {
        prove(&cage, targets)?;
    }
    let program = start(call, &cage).map_err(|error| Refusal::Exec {
        worker: call.worker.clone(),
        error,
    })?;
    let (mut run, sweep) = Run::of(&program, queue).map_err(failed("watch the program"))?;
    let noted = lock.as_ref().map(|lock| lock.add(program.pid()));
    noted.transpose().map_err(failed("note the program"))?;
    os::keep_stderr_alone().map_err(failed("let go of the program's streams"))?;
    // Whatever came while the cage was proved is an end.
    let came = run
        .wait(Duration::ZERO)
        .map_err(failed("hear of the keeper"))?;
    if !came.is_empty() {
        return Err(failed("begin")(io::Error::from(io::ErrorKind::Interrupted)).into());
    }
    program.begin().map_err(failed("let the program begin"))?;
    end(run, sweep, lock.as_ref())
}

/// Follows the run to its end, and ends as its program did.
fn end(mut run: Run, mut sweep: Sweep, lock: Option<&RunLock>) -> Result<Infallible, Refusal> {
    let ended = follow(&mut run, &mut sweep).inspect_err(|_| {
        // A program that cannot be watched must not go on.
        _ = killpg(run.program, Signal::SIGKILL);
    });
    let ended = ended.map_err(failed("end the run"))?;
    if let Ending::Unproven(left) = ended {
        let why = format!("{left} processes do not end");
        return Err(failed("end the run")(io::Error::other(why)).into());
    }
    let ended = waitpid(run.program, None).map_err(failed("hear how it ended"))?;
    let over = lock.map(RunLock::over).transpose();
    over.map_err(failed("say that the run is over"))?;
    os::pass_on(ended).map_err(|source| failed("pass its end on")(source).into())
}

/// The pipe from the keeper, and the two signals that it sends.
fn hear_of_keeper(queue: &Kqueue, keeper: &OwnedFd) -> io::Result<()> {
    fcntl(keeper, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    let number = usize::try_from(keeper.as_raw_fd()).map_err(io::Error::other)?;
    let mut told = vec![event(number, EventFilter::EVFILT_READ, FilterFlag::empty())];
    for by in [Signal::SIGTERM, Signal::SIGINT] {
        outlive(by)?;
        let which = FilterFlag::empty();
        told.push(event(by as usize, EventFilter::EVFILT_SIGNAL, which));
    }
    queue.kevent(&told, &mut [], Some(NOW))?;
    Ok(())
}

/// Attacks the cage from inside, before the program is there.
fn prove(cage: &Cage, targets: &ChildTargets) -> Result<(), Refusal> {
    let own = std::env::current_exe().and_then(|own| own.canonicalize());
    let own = own.map_err(failed("find the program of the proof"))?;
    let profile = probe::with_proof(&cage.profile);
    let mut parameters = cage.parameters.clone();
    parameters.insert(probe::PROOF.to_owned(), own.to_string_lossy().into_owned());
    let cage = Cage {
        profile,
        parameters,
    };
    let ended = Command::new(SANDBOX_EXEC)
        .args(line(&cage, &own))
        .args(prove_line(targets))
        .args([UNCAGED.as_ref(), "--".as_ref(), own.as_os_str()])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .map_err(failed("start the proof of the cage"))?;
    match ended.success() {
        true => Ok(()),
        false => Err(Refusal::Unsound(format!("its proof: {ended}"))),
    }
}

fn start(call: &Call, cage: &Cage) -> io::Result<SuspendedProgram> {
    let text = |text: OsString| CString::new(text.into_vec()).map_err(io::Error::other);
    let name = CString::new(SANDBOX_EXEC)?;
    let mut arguments = vec![name.clone()];
    for argument in line(cage, &call.worker) {
        arguments.push(text(argument)?);
    }
    for argument in &call.arguments {
        arguments.push(text(argument.clone())?);
    }
    let environment = variables(std::env::vars_os())?;
    let (input, output, error) = (io::stdin(), io::stdout(), io::stderr());
    let streams = [input.as_fd(), output.as_fd(), error.as_fd()];
    SuspendedProgram::start(&name, &arguments, &environment, streams)
}

/// The run, as the system tells it.
struct Run {
    program: Pid,
    table: SystemProcesses,
    queue: Kqueue,
    began: Instant,
}

impl Run {
    /// Of a program that has not begun.
    fn of(program: &SuspendedProgram, queue: Kqueue) -> io::Result<(Self, Sweep)> {
        let pid = program.pid();
        let mut table = SystemProcesses::new();
        let unique = table.unique(pid.as_raw()).ok_or(io::ErrorKind::NotFound)?;
        let own = std::process::id().cast_signed();
        let mut run = Self {
            program: pid,
            table,
            queue,
            began: Instant::now(),
        };
        run.watch(pid.as_raw());
        Ok((run, Sweep::new(pid.as_raw(), unique, own)))
    }
}

impl RunProcesses for Run {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn wait(&mut self, most: Duration) -> io::Result<Vec<RunEvent>> {
        let mut events = [event(0, EventFilter::EVFILT_PROC, FilterFlag::empty()); AT_ONCE];
        let most = libc::timespec {
            tv_sec: most.as_secs().try_into().map_err(io::Error::other)?,
            tv_nsec: most.subsec_nanos().into(),
        };
        let count = match self.queue.kevent(&[], &mut events, Some(most)) {
            Err(Errno::EINTR) => 0,
            told => told?,
        };
        let events = events.iter().take(count);
        let told = |event: &KEvent| {
            let filter = event.filter().ok()? as i16;
            run_event(
                filter,
                event.fflags().bits(),
                event.ident(),
                self.program.as_raw(),
            )
        };
        Ok(events.filter_map(told).collect())
    }

    fn watch(&mut self, pid: i32) {
        let Ok(pid) = usize::try_from(pid) else {
            return;
        };
        let which = FilterFlag::NOTE_FORK | FilterFlag::NOTE_EXIT;
        let forks = event(pid, EventFilter::EVFILT_PROC, which);
        // One that has ended makes no other.
        _ = self.queue.kevent(&[forks], &mut [], Some(NOW));
    }

    fn interrupt(&mut self) {
        // It is not reaped yet, so the number is its own.
        _ = kill(self.program, Signal::SIGINT);
    }

    fn terminate(&mut self) {
        _ = killpg(self.program, Signal::SIGTERM);
    }
}

impl ProcessTable for Run {
    fn scan(&mut self) -> io::Result<Vec<Process>> {
        self.table.scan()
    }

    fn unique(&mut self, pid: i32) -> Option<u64> {
        self.table.unique(pid)
    }

    fn signal(&mut self, pid: i32, signal: SweepSignal) {
        self.table.signal(pid, signal);
    }

    fn settle(&mut self) {
        self.table.settle();
    }
}
