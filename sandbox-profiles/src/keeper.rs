//! The keeper: what of a worker's launcher stays outside to start the programs that the worker may have, and to end them.
//!
//! ```text
//! keeper ─┬─ worker (leaf cage)            Ask ▸ declared? ▸ the run's folders ▸ launcher with the program's own profile
//!         ├─ launcher ─ program ─ …        Tell::Started with its pipes ▸ twice a second: memory, processes and threads of its
//!         │                                tree, what its folder holds; 20 times a second: what is free of the disk, and
//!         │                                whether the machine has more threads: then processes and threads at once
//!         └─ launcher ─ program ─ …        it has ended with all of its tree ▸ Tell::Ended
//! ```
//!
//! Each run's launcher stays outside of the run's cage as its monitor: it leads a session of its own, so the end of the
//! worker's group does not take it along before it has ended its tree, and the end of the keeper tells it to. A run is over when
//! nobody of it is left: its monitor has ended and the run's lock says so, or what its monitor left has come here and ended.
//!
//! Invariants: a program, its arguments, environment and profile are what the gateway declared, with the worker's values
//! in the places for them; no run's folder is reached through a link; a worker that breaks the protocol is ended; when
//! the keeper returns, nothing that it started is left.
//!
//! Must not know: connectors, what the programs are for, what goes through the pipes.

mod beneath;
mod held;
mod shared;
mod sign_in;

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::statvfs::statvfs;
use nix::sys::wait::WaitStatus;
use nix::unistd::{Pid, UnlinkatFlags, unlinkat};

use beneath::make_folder;
use held::DiskCount;
use sign_in::SignedIn;

use crate::call::prove_line;
use crate::children::{
    ANSWERS, Ask, CALLS, ChildArgument, ChildProgram, Ending, KEEP_FREE, KeeperSettings, MAX_RUNS,
    MAX_THREADS, PIPES, RunState, Tell, Usage, decode, encode, is_run_name,
};
use crate::launch::{LOCK, STAY, caged_line};
use crate::os::{self, EndedChild};
use crate::packets::{self, Inbox};
use crate::platform::beneath as below;
use crate::platform::children::Tie;
use crate::platform::ends::Ends;
use crate::platform::{rest, usage};
use crate::probe::ChildTargets;
use crate::run_lock;

/// How often trees are measured.
const MEASURE: Duration = Duration::from_millis(500);
/// How often the disk and the machine's threads are looked at while a run is under way: a few hundred MiB are written meanwhile,
/// and a few thousand threads made, at most.
const LOOK: Duration = Duration::from_millis(50);
/// By how many threads or processes the machine grows before the runs are counted out of turn.
const GROWTH: u64 = 64;
/// How many messages of the worker are heard before the runs have their turn again.
const AT_ONCE: usize = 32;
/// How often the removal of a run's folder is tried.
const REMOVALS: u32 = 3;
/// The account of a run, as its environment names it: no program is told the person's.
const ACCOUNT: &str = "plexus";

/// How many a run has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    pub(crate) processes: u32,
    /// Of all processes together; each has one at least. Beyond [`MAX_THREADS`] nobody counts on.
    pub(crate) threads: u32,
}

/// Says when the runs are to be counted out of turn: the machine has more threads than it had, or on macOS more processes.
#[derive(Default)]
struct Growth(Option<u64>);

impl Growth {
    /// Whether the machine has grown since this last said so. Nobody knows is yes.
    fn is_due(&mut self) -> bool {
        let now = usage::size_of_machine();
        let is_due = match (self.0, now) {
            (Some(least), Some(now)) => now >= least + GROWTH,
            _ => true,
        };
        self.0 = if is_due { now } else { self.0.min(now) };
        is_due
    }
}

/// A worker's programs.
pub(crate) struct Keeper {
    worker: Pid,
    /// `None` once the worker has closed its end.
    control: Option<OwnedFd>,
    inbox: Inbox,
    ends: Ends,
    tie: Tie,
    launcher: PathBuf,
    kept: KeeperSettings,
    targets: Targets,
    runs: BTreeMap<u64, Run>,
}

/// One program with its tree.
struct Run {
    launcher: Pid,
    folder: String,
    memory: Option<u64>,
    processes: Option<u32>,
    meter: usage::Meter,
    /// Most bytes on the disk, and what is there.
    disk: Option<(u64, DiskCount)>,
    usage: Usage,
    /// Its folder goes with it.
    discard: bool,
    /// The copy of the owner's sign-in, which goes with it.
    _signed_in: Option<SignedIn>,
    /// Why it was ended from here.
    over: Option<Ending>,
    /// Its launcher has ended; somebody of it may be left.
    ended: Option<EndedChild>,
}

/// What each run's cage must keep out.
struct Targets {
    canary: PathBuf,
    neighbour: PathBuf,
    socket: PathBuf,
    port: u16,
    // Open, so that a connection that a cage lets through would succeed.
    _listeners: (UnixListener, TcpListener),
}

/// The worker asked for what it may not, or does not listen: it is ended.
struct Breach;

impl Keeper {
    pub(crate) fn new(worker: Pid, control: OwnedFd, kept: KeeperSettings) -> io::Result<Self> {
        let targets = Targets::make(&kept.runs)?;
        Ok(Self {
            worker,
            control: Some(control),
            inbox: Inbox::default(),
            ends: Ends::new()?,
            tie: Tie::new()?,
            launcher: std::env::current_exe()?,
            kept,
            targets,
            runs: BTreeMap::new(),
        })
    }

    /// Serves the worker until it has ended; then ends all that it had started.
    pub(crate) fn keep(mut self) -> io::Result<WaitStatus> {
        let mut measured = Instant::now();
        let mut growth = Growth::default();
        let ended = loop {
            // First: the worker may have ended before there was anybody to hear of it.
            if let Some(ended) = self.reap()? {
                break ended;
            }
            if self.listen().is_err() || self.ends.is_starter_gone() {
                // First, or it would hear that the keeper has hung up.
                _ = kill(self.worker, Signal::SIGKILL);
                self.control = None;
            }
            self.look_at_disk();
            if measured.elapsed() >= MEASURE {
                self.measure();
                measured = Instant::now();
            } else if !self.runs.is_empty() && growth.is_due() {
                self.count();
            }
            self.wait((!self.runs.is_empty()).then_some(LOOK))?;
        };
        self.control = None;
        self.end_all()?;
        Ok(ended)
    }

    /// Waits for a message, an end, or the time to measure.
    fn wait(&self, most: Option<Duration>) -> io::Result<()> {
        let mut waited_for = vec![PollFd::new(self.ends.as_fd(), PollFlags::POLLIN)];
        if let Some(control) = &self.control {
            waited_for.push(PollFd::new(control.as_fd(), PollFlags::POLLIN));
        }
        let most = most.map_or(PollTimeout::NONE, |most| {
            PollTimeout::try_from(most).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut waited_for, most) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Reaps all that have ended. The worker's own end is the answer.
    fn reap(&mut self) -> io::Result<Option<WaitStatus>> {
        self.ends.clear()?;
        let mut worker = None;
        while let Some(ended) = os::reap()? {
            if ended.process == self.worker {
                worker = Some(ended.status);
            } else if let Some(run) = (self.runs.values_mut())
                .find(|run| run.ended.is_none() && run.launcher == ended.process)
            {
                run.ended = Some(ended);
            }
        }
        for id in self.over() {
            self.forget(id);
        }
        Ok(worker)
    }

    /// The runs of which nobody is left.
    fn over(&self) -> Vec<u64> {
        let launchers: Vec<Pid> = (self.runs.values())
            .filter(|run| run.ended.is_none())
            .map(|run| run.launcher)
            .collect();
        let mut over = Vec::new();
        for (id, run) in &self.runs {
            let lock = self.kept.lock(&run.folder);
            let is_over = run.ended.is_some()
                && match run_lock::state_of_run(&lock) {
                    Ok(RunState::Over) => true,
                    // Its monitor was itself killed.
                    Ok(RunState::Unknown) => rest::is_gone(&lock, self.worker, &launchers),
                    Ok(RunState::UnderWay) | Err(_) => false,
                };
            over.extend(is_over.then_some(*id));
        }
        over
    }

    fn forget(&mut self, id: u64) {
        let Some(run) = self.runs.remove(&id) else {
            return;
        };
        let Some(ended) = run.ended else { return };
        _ = std::fs::remove_file(self.kept.lock(&run.folder));
        let fills = matches!(run.over, Some(Ending::TooMuchDisk | Ending::DiskFull));
        if run.discard || fills {
            let folder = self.kept.runs.join(&run.folder);
            if let Err(error) = discard(&folder) {
                say_left(&folder, &error);
            }
        }
        let ending = run.over.unwrap_or(match ended.status {
            WaitStatus::Exited(_, status) => Ending::Exited(status),
            WaitStatus::Signaled(_, signal, _) => Ending::Signaled(signal as i32),
            _ => Ending::Signaled(0),
        });
        let usage = Usage {
            cpu_ms: ended.cpu_ms,
            ..run.usage
        };
        if self.tell(&Tell::Ended { id, ending, usage }, &[]).is_err() {
            _ = kill(self.worker, Signal::SIGKILL);
        }
    }

    /// Answers all that the worker asks now.
    fn listen(&mut self) -> Result<(), Breach> {
        for _ in 0..AT_ONCE {
            let Some(control) = &self.control else {
                return Ok(());
            };
            let asked = match self.inbox.receive(control.as_fd()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(Breach),
                // It has closed its end: it hears of nothing more, so nothing goes on.
                Ok(None) | Err(_) => {
                    self.control = None;
                    self.runs.values().for_each(Run::end);
                    return Ok(());
                }
                // It has nothing to hand over.
                Ok(Some((_, along))) if !along.is_empty() => return Err(Breach),
                Ok(Some((asked, _))) => asked,
            };
            let ask: Ask = decode(&asked).map_err(|_| Breach)?;
            self.answer(ask)?;
        }
        Ok(())
    }

    fn answer(&mut self, ask: Ask) -> Result<(), Breach> {
        match ask {
            Ask::Start { id, .. } if self.runs.contains_key(&id) => Err(Breach),
            Ask::Start {
                id,
                child,
                run,
                folder,
                arguments,
                environment,
            } => match self.start(&child, (run, folder), &arguments, &environment) {
                Ok((started, pipes)) => {
                    self.runs.insert(id, started);
                    self.tell(&Tell::Started { id }, &pipes)
                }
                Err(why) => self.tell(&Tell::Refused { id, why }, &[]),
            },
            // Of one that has just ended, the worker will hear.
            Ask::Interrupt { id } => {
                if let Some(run) = self.runs.get(&id) {
                    run.signal(Signal::SIGINT);
                }
                Ok(())
            }
            Ask::End { id } => {
                if let Some(run) = self.runs.get(&id) {
                    run.end();
                }
                Ok(())
            }
        }
    }

    /// Starts a declared program; answers with its standard input, output and error.
    fn start(
        &self,
        child: &str,
        (run, begins_in): (String, Option<String>),
        arguments: &BTreeMap<String, String>,
        environment: &BTreeMap<String, String>,
    ) -> Result<(Run, Vec<OwnedFd>), String> {
        let mut declared = self.kept.programs.iter();
        let Some(program) = declared.find(|program| program.name == child) else {
            return Err("no such program is declared".to_owned());
        };
        if self.runs.len() >= MAX_RUNS {
            return Err(format!("{MAX_RUNS} runs are under way, which is the limit"));
        }
        if !is_run_name(&run) || self.runs.values().any(|other| other.folder == run) {
            return Err("the run's name is no name, or in use".to_owned());
        }
        let arguments = filled(&program.arguments, arguments)?;
        let environment = chosen(&program.environment, environment)?;
        let folder = self.kept.runs.join(&run);
        if program.disk.is_some() && disk_is_full(&self.kept.runs) {
            let free = KEEP_FREE >> 20;
            return Err(format!(
                "less than {free} MiB of the disk of Plexus' folder is free; free some, and repeat the call"
            ));
        }
        if program.discard {
            discard(&folder).map_err(|error| format!("an earlier run's folder: {error}"))?;
        }
        let prepared = prepare(&self.kept.runs, &run, program.pipes);
        let to_worker = prepared.map_err(|error| format!("the run's folder: {error}"))?;
        let disk = program
            .disk
            .map(|most| DiskCount::counted(folder.clone(), most).map(|held| (most, held)))
            .transpose()
            .map_err(|error| format!("nobody to count what it holds on the disk: {error}"))?;
        let signed_in = program.sign_in.as_ref();
        let signed_in = signed_in.map(|of| SignedIn::copy(of, &folder.join("scratch")));
        let signed_in = signed_in.transpose()?;
        let shared = shared::link(&program.shared, &folder.join("root"))?;
        let mut command = self.command(program, (&run, shared), arguments, environment);
        let begins_in = begins_in.map(|name| begin_in(&mut command, &folder.join("root"), &name));
        // Open until the program is in it.
        let _begins_in = begins_in.transpose()?;
        let mut started = command
            .spawn()
            .map_err(|error| format!("the launcher: {error}"))?;
        let mut pipes = pipes_of(&mut started);
        pipes.extend(to_worker);
        let run = Run {
            launcher: Pid::from_raw(started.id() as i32),
            meter: usage::Meter::of(Pid::from_raw(started.id() as i32), self.kept.lock(&run)),
            memory: program.tree_memory,
            processes: program.tree_processes,
            folder: run,
            disk,
            usage: Usage::default(),
            discard: program.discard,
            _signed_in: signed_in,
            over: None,
            ended: None,
        };
        Ok((run, pipes))
    }

    fn command(
        &self,
        program: &ChildProgram,
        (run, shared): (&str, Vec<(String, String)>),
        arguments: Vec<String>,
        environment: Vec<(String, String)>,
    ) -> Command {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let folder = self.kept.runs.join(run);
        let (root, scratch) = (folder.join("root"), folder.join("scratch"));
        let mut parameters = vec![
            ("PROGRAM".to_owned(), text(&program.program)),
            ("ROOT".to_owned(), text(&root)),
            ("SCRATCH".to_owned(), text(&scratch)),
        ];
        parameters.extend(program.parameters.iter().cloned());
        parameters.extend(shared);
        if program.pipes {
            let pipe = |name: &str| (name.to_uppercase(), text(&folder.join(PIPES).join(name)));
            parameters.extend([CALLS, ANSWERS].map(pipe));
        }
        let line = caged_line(
            &program.profile,
            &parameters,
            &program.limits,
            &program.program,
        );
        let mut command = Command::new(&self.launcher);
        command
            .args([STAY, LOCK])
            .arg(self.kept.lock(run))
            .args(prove_line(&self.targets.of(&self.kept.state_dir)))
            .args(line)
            .args(arguments)
            .env_clear()
            .env("HOME", &scratch)
            .env("TMPDIR", scratch.join("tmp"))
            .env("PWD", &root)
            .env("USER", ACCOUNT)
            .env("LOGNAME", ACCOUNT)
            .envs(environment)
            .current_dir(&root)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        self.tie.apart_and_tied(&mut command);
        command
    }

    fn tell(&self, tell: &Tell, pipes: &[OwnedFd]) -> Result<(), Breach> {
        let Some(control) = &self.control else {
            return Ok(());
        };
        let bytes = encode(tell).map_err(|_| Breach)?;
        match packets::send(control.as_fd(), &bytes, pipes) {
            Ok(()) => Ok(()),
            // It has closed its end, which is found when it is listened to.
            Err(error) if is_hang_up(&error) => Ok(()),
            Err(_) => Err(Breach),
        }
    }

    fn measure(&mut self) {
        for run in self.runs.values_mut().filter(|run| run.ended.is_none()) {
            let (count, memory) = run.meter.measure(run.memory);
            run.usage.memory = run.usage.memory.max(memory);
            run.hold_to_count(count);
            let held = run.disk.as_ref().map_or(0, |(_, held)| held.bytes());
            run.usage.disk = run.usage.disk.max(held);
            if run.memory.is_some_and(|most| memory > most) {
                run.end_as(Ending::TooMuchMemory);
            } else if run.disk.as_ref().is_some_and(|(most, _)| held > *most) {
                run.end_as(Ending::TooMuchDisk);
            }
        }
    }

    /// Counts processes and threads alone.
    fn count(&mut self) {
        for run in self.runs.values_mut().filter(|run| run.ended.is_none()) {
            let count = run.meter.count();
            run.hold_to_count(count);
        }
    }

    /// Ends all runs with a bound on the disk before it is full.
    fn look_at_disk(&mut self) {
        let mut runs = self.runs.values_mut().filter(|run| run.disk.is_some());
        let Some(first) = runs.next() else { return };
        if disk_is_full(&self.kept.runs) {
            for run in std::iter::once(first).chain(runs) {
                run.end_as(Ending::DiskFull);
            }
        }
    }

    /// Ends all runs; returns when nothing that was started from here is left.
    fn end_all(&mut self) -> io::Result<()> {
        self.runs.values().for_each(Run::end);
        while !self.runs.is_empty() {
            self.wait(Some(MEASURE))?;
            self.reap()?;
        }
        Ok(())
    }
}

impl Run {
    /// Ends it where its processes or threads are too many.
    fn hold_to_count(&mut self, count: Count) {
        self.usage.processes = self.usage.processes.max(count.processes);
        let Some(most) = self.processes else { return };
        if count.processes > most {
            self.end_as(Ending::TooManyProcesses);
        } else if count.threads > MAX_THREADS {
            self.end_as(Ending::TooManyThreads);
        }
    }

    /// Ends it, for this reason where there is none yet.
    fn end_as(&mut self, why: Ending) {
        self.over.get_or_insert(why);
        self.end();
    }

    /// Tells the launcher to end its tree.
    fn end(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// One that is not reaped yet has its number to itself. What is left of one that is has heard of its end.
    fn signal(&self, signal: Signal) {
        if self.ended.is_none() {
            _ = kill(self.launcher, signal);
        }
    }
}

impl Targets {
    fn make(runs: &Path) -> io::Result<Self> {
        let [canary, socket] = ["canary", "socket"].map(|name| runs.join(name));
        // A neighbour's name is no run's.
        let neighbour = runs.join("_neighbour");
        for left in [&canary, &socket] {
            match std::fs::remove_file(left) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        File::create_new(&canary)?.write_all(b"Whoever reads this is not caged.\n")?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&neighbour)?;
        let unix = UnixListener::bind(&socket)?;
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        Ok(Self {
            port: tcp.local_addr()?.port(),
            canary,
            neighbour,
            socket,
            _listeners: (unix, tcp),
        })
    }

    fn of(&self, state_dir: &Path) -> ChildTargets {
        ChildTargets {
            canary: self.canary.clone(),
            state_dir: state_dir.to_owned(),
            neighbour: self.neighbour.clone(),
            unix_socket: self.socket.clone(),
            tcp_port: self.port,
            keeper_pid: std::process::id(),
        }
    }
}

impl Drop for Targets {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.canary);
        _ = std::fs::remove_file(&self.socket);
        _ = std::fs::remove_dir(&self.neighbour);
    }
}

fn is_hang_up(error: &io::Error) -> bool {
    let kinds = [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset];
    kinds.contains(&error.kind())
}

/// Whether less of the disk with this folder is free than runs leave. Nobody knows is no.
#[cfg_attr(
    target_os = "linux",
    expect(clippy::unnecessary_cast, reason = "the types differ on macOS")
)]
fn disk_is_full(folder: &Path) -> bool {
    let free = statvfs(folder).map(|d| d.blocks_available() as u64 * d.fragment_size());
    free.is_ok_and(|free| free < KEEP_FREE)
}

/// The declared arguments, with a value for each name and no value too many.
fn filled(
    declared: &[ChildArgument],
    values: &BTreeMap<String, String>,
) -> Result<Vec<String>, String> {
    let is_declared = |name: &String| {
        let mut names = declared.iter();
        names.any(|argument| match argument {
            ChildArgument::Named(known) | ChildArgument::List(known) => known == name,
            ChildArgument::Fixed(_) => false,
        })
    };
    if let Some(name) = values.keys().find(|name| !is_declared(name)) {
        return Err(format!("no argument {name:?} is declared"));
    }
    let value = |name: &String| {
        let value = values.get(name);
        value.ok_or_else(|| format!("the argument {name:?} has no value"))
    };
    let mut filled = Vec::new();
    for argument in declared {
        match argument {
            ChildArgument::Fixed(text) => filled.push(text.clone()),
            ChildArgument::Named(name) => filled.push(value(name)?.clone()),
            // After the last zero byte there is nothing.
            ChildArgument::List(name) => {
                filled.extend(value(name)?.split_terminator('\0').map(str::to_owned));
            }
        }
    }
    Ok(filled)
}

/// The declared environment, with the worker's values where it gives any.
fn chosen(
    declared: &[(String, Option<String>)],
    values: &BTreeMap<String, String>,
) -> Result<Vec<(String, String)>, String> {
    let open = |name: &String| {
        let mut names = declared.iter();
        names.any(|(known, fixed)| known == name && fixed.is_none())
    };
    if let Some(name) = values.keys().find(|name| !open(name)) {
        return Err(format!("no variable {name:?} is declared without a value"));
    }
    let chosen = declared.iter().filter_map(|(name, fixed)| {
        let value = fixed.as_ref().or_else(|| values.get(name))?;
        Some((name.clone(), value.clone()))
    });
    Ok(chosen.collect())
}

/// Has a program begin in a folder below `root`; no link leads there, also where a run has put one in its way.
fn begin_in(command: &mut Command, root: &Path, name: &str) -> Result<OwnedFd, String> {
    let opened = File::open(root);
    let opened = opened.and_then(|root| Ok(below::open(root, name.as_ref(), below::TO_BEGIN_IN)?));
    let opened = opened.map_err(|error| format!("the folder {name:?} of the run: {error}"))?;
    command.env("PWD", root.join(name));
    os::begin_in(command, opened.as_raw_fd());
    Ok(opened)
}

/// Removes the folder of a run that has ended, and no place that a link in it leads to.
fn discard(folder: &Path) -> io::Result<()> {
    let mut removed = Ok(());
    for _ in 0..REMOVALS {
        // The run took away its own rights on what it made, or made it deeper than there are descriptors and stack for.
        held::open_up(folder);
        removed = match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        };
        if removed.is_ok() {
            break;
        }
    }
    removed
}

#[expect(
    clippy::print_stderr,
    reason = "the gateway logs what a launcher says on stderr"
)]
fn say_left(folder: &Path, error: &io::Error) {
    eprintln!(
        "plexus-sandbox-exec: the keeper: {} is left of a run that has ended; remove it: {error}",
        folder.display()
    );
}

/// Makes what is missing of a run's folders; what is there must be folders, and no links. Answers with the worker's ends of
/// new pipes, where the run has any.
fn prepare(runs: &Path, run: &str, pipes: bool) -> io::Result<Vec<OwnedFd>> {
    let run = make_folder(&File::open(runs)?, run)?;
    make_folder(&run, "root")?;
    let scratch = make_folder(&run, "scratch")?;
    make_folder(&scratch, "tmp")?;
    if !pipes {
        return Ok(Vec::new());
    }
    // Beside what the run may write, so that it can put nothing in their place.
    let pipes = make_folder(&run, PIPES)?;
    [CALLS, ANSWERS]
        .map(|name| pipe(&pipes, name))
        .into_iter()
        .collect()
}

/// A new pipe with a name. Both of its ends are the worker's, so neither side waits for the other to open it.
fn pipe(folder: &File, name: &str) -> io::Result<OwnedFd> {
    match unlinkat(folder, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    below::make_pipe(folder, name)?;
    let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    Ok(openat(folder, name, flags, Mode::empty())?)
}

fn pipes_of(child: &mut Child) -> Vec<OwnedFd> {
    let input = child.stdin.take().map(OwnedFd::from);
    let output = child.stdout.take().map(OwnedFd::from);
    let error = child.stderr.take().map(OwnedFd::from);
    [input, output, error].into_iter().flatten().collect()
}
