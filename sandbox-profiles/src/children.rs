//! Programs that a worker has its keeper start: what of them the gateway declares, and what worker and keeper say.
//!
//! ```text
//! gateway ─command line─▶ keeper (outside of every cage) ─starts─▶ worker (leaf cage), descriptor 4 to the keeper
//!                            │  ◀── Ask: a declared name, a run, values for declared names ───┘
//!                            └─starts─▶ launcher ─▶ program (a cage of its own), pipes passed to the worker
//! ```
//!
//! Invariants: an [`Ask`] names what the gateway has declared and gives values for declared names, and nothing else; both
//! sides are bounded by [`MAX_MESSAGE`].
//!
//! Must not know: connectors, what the programs are for.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Limits;
use crate::launch::caged_line;

/// Where a worker that may have children finds its keeper: see [`packets`](crate::packets).
pub const KEEPER_FD: i32 = 4;
/// The longest message between the two, in bytes: a prompt may be among the values.
pub const MAX_MESSAGE: usize = 96 * 1024;
/// Runs of one worker at a time.
pub const MAX_RUNS: usize = 16;
/// What runs leave free of the disk that they write to, in bytes: the gateway records every call on the same one.
pub const KEEP_FREE: u64 = 512 << 20;
/// Threads that all processes of a run may have together, where its processes are bounded. Each process has one at least.
pub const MAX_THREADS: u32 = 2048;
/// The longest name of a run.
const MAX_RUN_NAME: usize = 64;

/// The folder of a run that has its pipes, which the run cannot change.
pub const PIPES: &str = "host";
/// The pipe that a run writes to, in [`PIPES`], and the profile's parameter for it in capitals.
pub const CALLS: &str = "calls";
/// The pipe that a run reads from.
pub const ANSWERS: &str = "answers";

/// One argument of a declared program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChildArgument {
    /// As it stands.
    Fixed(String),
    /// The worker's value for this name.
    Named(String),
    /// Any number of arguments: the worker's value for this name, with a zero byte after each.
    List(String),
}

/// A program that a worker may have started, as the gateway declares it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChildProgram {
    /// What the worker calls it.
    pub name: String,
    /// The program, resolved.
    pub program: PathBuf,
    /// The text of its profile. `PROGRAM`, and for each run `ROOT` and `SCRATCH`, are given by the keeper.
    pub profile: String,
    /// Further parameters of the profile.
    pub parameters: Vec<(String, String)>,
    /// Of each of its processes.
    pub limits: Limits,
    /// Memory that all processes of a run may hold together, in bytes; checked twice a second.
    pub tree_memory: Option<u64>,
    /// Processes that a run may have, with no more than [`MAX_THREADS`] threads; checked twice a second, and at once where the
    /// machine's threads become more.
    pub tree_processes: Option<u32>,
    /// Bytes that a run's folder may hold on the disk; counted twice a second, a large folder less often. Such a run also
    /// ends where less than [`KEEP_FREE`] of the disk is free.
    pub disk: Option<u64>,
    /// Its arguments.
    pub arguments: Vec<ChildArgument>,
    /// Whether its runs have two pipes to the worker: [`CALLS`] from a run, [`ANSWERS`] to it. Then the profile is given
    /// the parameters of these names.
    pub pipes: bool,
    /// Whether each run begins with an empty folder, which is removed when it has ended.
    pub discard: bool,
    /// Its environment by name; without a value where the worker gives one. `HOME`, `TMPDIR` and `PWD` are the keeper's;
    /// so are `USER` and `LOGNAME` where they are not named.
    pub environment: Vec<(String, Option<String>)>,
    /// The owner's own sign-in, of which each run has a copy.
    pub sign_in: Option<SignIn>,
    /// Folders of the owner's that each run reads in place: the profile is given `SHARE_0` and so on, the run's root a link.
    pub shared: Vec<SharedFolder>,
}

/// A folder of the owner's that runs read in place. One that is missing when a run begins is none of its.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharedFolder {
    /// Where its link lies in a run's `root`: names with `/` between them.
    pub name: String,
    /// The folder, resolved.
    pub from: PathBuf,
}

/// A file with the owner's own sign-in at a service. A run has a copy from before its program starts until it has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignIn {
    /// The file, which is JSON.
    pub from: PathBuf,
    /// The folder of the copy, in the run's `scratch`: one name.
    pub folder: String,
    /// The name of the copy in it.
    pub name: String,
    /// Members that are empty texts in the copy, wherever they stand: what renews the sign-in.
    pub without: Vec<String>,
}

/// All that a keeper is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeeperSettings {
    /// The folder that has a folder for each run, resolved.
    pub runs: PathBuf,
    /// The gateway's state directory, which every run's cage must keep out.
    pub state_dir: PathBuf,
    /// Where the locks of runs lie, out of the worker's reach, and what their names begin with: see [`KeeperSettings::lock`].
    pub locks: PathBuf,
    /// What may be started.
    pub programs: Vec<ChildProgram>,
}

impl KeeperSettings {
    /// The file that is locked while anybody of this run may be left.
    #[must_use]
    pub fn lock(&self, run: &str) -> PathBuf {
        let mut path = self.locks.clone().into_os_string();
        path.push(".");
        path.push(run);
        path.into()
    }
}

/// As [`launcher_command`](crate::launcher_command), for a worker that may have children: the launcher is ours on both systems.
#[must_use]
pub fn keeper_command(
    profile: &str,
    params: &[(String, String)],
    limits: &Limits,
    kept: &KeeperSettings,
    launcher: &Path,
    worker: &Path,
) -> (PathBuf, Vec<OsString>) {
    let mut line = caged_line(profile, params, limits, worker);
    // Before `--` and the worker.
    let rest = line.split_off(line.len() - 2);
    line.extend(["--runs".into(), kept.runs.clone().into()]);
    line.extend(["--state".into(), kept.state_dir.clone().into()]);
    line.extend(["--lock".into(), kept.locks.clone().into()]);
    for child in &kept.programs {
        line.extend(["--child".into(), child.name.clone().into()]);
        line.extend(["--program".into(), child.program.clone().into()]);
        let cage = caged_line(
            &child.profile,
            &child.parameters,
            &child.limits,
            &child.program,
        );
        let end = cage.len() - 2;
        line.extend(cage.into_iter().take(end));
        if let Some(bytes) = child.tree_memory {
            line.extend(["--tree-memory".into(), bytes.to_string().into()]);
        }
        if child.pipes {
            line.push("--pipes".into());
        }
        if child.discard {
            line.push("--discard".into());
        }
        if let Some(count) = child.tree_processes {
            line.extend(["--tree-processes".into(), count.to_string().into()]);
        }
        if let Some(bytes) = child.disk {
            line.extend(["--disk".into(), bytes.to_string().into()]);
        }
        for argument in &child.arguments {
            let (option, text) = match argument {
                ChildArgument::Fixed(text) => ("--argument", text),
                ChildArgument::Named(name) => ("--named-argument", name),
                ChildArgument::List(name) => ("--list-argument", name),
            };
            line.extend([option.into(), text.into()]);
        }
        if let Some(sign_in) = &child.sign_in {
            line.extend(["--sign-in".into(), sign_in.from.clone().into()]);
            line.extend([sign_in.folder.clone().into(), sign_in.name.clone().into()]);
            for member in &sign_in.without {
                line.extend(["--sign-in-without".into(), member.into()]);
            }
        }
        for shared in &child.shared {
            line.extend(["--share".into(), shared.name.clone().into()]);
            line.push(shared.from.clone().into());
        }
        for (name, value) in &child.environment {
            let text = match value {
                Some(value) => format!("{name}={value}"),
                None => name.clone(),
            };
            line.extend(["--environment".into(), text.into()]);
        }
    }
    line.extend(rest);
    (launcher.to_owned(), line)
}

/// What a worker asks of its keeper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Ask {
    /// Start a declared program. Answered by [`Tell::Started`] or [`Tell::Refused`].
    Start {
        /// Correlates the answer, and names the run from then on.
        id: u64,
        /// Its declared name.
        child: String,
        /// The run's folder: small letters, digits and hyphens. It and what is missing of `root` and `scratch` in it
        /// are made; nothing of it is removed, unless the program is declared so.
        run: String,
        /// The folder below `root` that it begins in; without it, `root`. No link leads there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        folder: Option<String>,
        /// For all of the named arguments.
        arguments: BTreeMap<String, String>,
        /// For any of the names without a value.
        environment: BTreeMap<String, String>,
    },
    /// Interrupt the program (SIGINT), as a person would.
    Interrupt {
        /// The run.
        id: u64,
    },
    /// End the program and all that descends from it.
    End {
        /// The run.
        id: u64,
    },
}

/// What a keeper tells its worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Tell {
    /// It runs. With this message come its standard input, output and error, and, where it was declared with pipes, the
    /// worker's ends of [`CALLS`] and [`ANSWERS`].
    Started {
        /// The run.
        id: u64,
    },
    /// It does not run.
    Refused {
        /// The run.
        id: u64,
        /// Why.
        why: String,
    },
    /// It and all that descended from it have ended.
    Ended {
        /// The run.
        id: u64,
        /// How.
        ending: Ending,
        /// What it used.
        usage: Usage,
    },
}

/// How a run came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// The program exited with this status. From 64 on it may be the launcher's: then standard error says so.
    Exited(i32),
    /// The program was ended by this signal.
    Signaled(i32),
    /// All of it was ended for holding more memory than declared.
    TooMuchMemory,
    /// All of it was ended for having more processes than declared.
    TooManyProcesses,
    /// All of it was ended for having more than [`MAX_THREADS`] threads.
    TooManyThreads,
    /// All of it was ended for holding more on the disk than declared.
    TooMuchDisk,
    /// All of it was ended because less than [`KEEP_FREE`] of the disk is free, also if others filled it.
    DiskFull,
}

/// What a run used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Time of the processor, in milliseconds, over all its processes.
    pub cpu_ms: u64,
    /// The most memory that it was seen to hold at once, in bytes, over all its processes.
    pub memory: u64,
    /// The most processes that it was seen to have at once.
    pub processes: u32,
    /// The most that its folder was seen to hold on the disk, in bytes; 0 where nobody counted.
    pub disk: u64,
}

/// How it is about a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// Nobody is left.
    Over,
    /// Its monitor or its helper is there.
    UnderWay,
    /// Neither is there, and nobody saw the end of what they had started.
    Unknown,
}

/// Whether this may name a run's folder.
#[must_use]
pub fn is_run_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty() && name.len() <= MAX_RUN_NAME && name.bytes().all(allowed)
}

/// A message as it is sent.
///
/// # Errors
/// It is longer than [`MAX_MESSAGE`].
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, NotAMessage> {
    let bytes = rmp_serde::to_vec_named(message).map_err(|error| NotAMessage(error.to_string()))?;
    if bytes.len() <= MAX_MESSAGE {
        Ok(bytes)
    } else {
        Err(NotAMessage(format!(
            "{} bytes, the limit is {MAX_MESSAGE}",
            bytes.len()
        )))
    }
}

/// A message as it was received.
///
/// # Errors
/// It is none.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, NotAMessage> {
    rmp_serde::from_slice(bytes).map_err(|error| NotAMessage(error.to_string()))
}

/// What was received, or is to be sent, is no message.
#[derive(Debug, thiserror::Error)]
#[error("not a message between worker and keeper: {0}")]
pub struct NotAMessage(String);
