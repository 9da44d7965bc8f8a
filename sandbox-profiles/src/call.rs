//! The launcher's command line on both systems: that of `sandbox-exec -p`, with four limits in front.
//!
//! If the worker may have programs started, `--runs` and `--state` follow, and for each program `--child NAME` with its
//! own limits, profile, parameters and what else is said of it. A keeper starts such a program by this command line too.
//!
//! Exit statuses, beyond which the status is the worker's: 64 usage, 65 the profile is refused, 69 the kernel
//! cannot enforce it, 71 a step failed, 126 the worker cannot be executed. One line on stderr says why.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::children::{ChildArgument, ChildProgram, KeeperSettings, SharedFolder, SignIn};
use crate::launch::{LOCK, Limits, PROVE, STAY, UNCAGED};
use crate::platform::{CageError, launch};
use crate::probe::{ChildTargets, attack_as_child};
use crate::profile::ProfileError;
use crate::ruleset::Parameters;

/// Runs the launcher. Returns only to refuse: on success this process has become the worker, or has ended as what it kept.
pub fn launcher(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let Err(refusal) = Call::parse(arguments).and_then(launch);
    say(&refusal);
    ExitCode::from(refusal.status())
}

#[expect(
    clippy::print_stderr,
    reason = "the gateway logs what a launcher says on stderr"
)]
fn say(refusal: &Refusal) {
    eprintln!("plexus-sandbox-exec: {refusal}");
}

/// Why there is no worker.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(
        "{0}; usage: [--limit-files N] [--limit-file-size BYTES] [--limit-memory BYTES] [--limit-addresses BYTES] \
         -p PROFILE [-D KEY=VALUE]... [--] WORKER [ARG]..."
    )]
    Usage(String),
    #[error("profile refused: {0}")]
    Profile(#[from] ProfileError),
    #[error("{0}")]
    Cage(#[from] CageError),
    #[error("the cage has a hole: {0}")]
    Unsound(String),
    #[error("cannot execute {}: {error}", .worker.display())]
    Exec {
        worker: PathBuf,
        error: std::io::Error,
    },
}

impl Refusal {
    /// From `sysexits.h`, and 126 as shells have it.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Usage(_) => 64,
            Self::Profile(_) => 65,
            Self::Cage(error) => error.status(),
            Self::Unsound(_) => 71,
            Self::Exec { .. } => 126,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Call {
    /// Nothing where it was asked for by name that there be no cage.
    pub(crate) cage: Option<Cage>,
    pub(crate) limits: Limits,
    /// Stays outside of the cage, and ends all that descends from the program with it.
    pub(crate) stays: bool,
    /// What is locked until nobody of it is left.
    pub(crate) lock: Option<PathBuf>,
    /// What the program's cage must keep out, tried before the program is there.
    pub(crate) prove: Option<ChildTargets>,
    /// What the worker may have started.
    pub(crate) kept: Option<KeeperSettings>,
    pub(crate) worker: PathBuf,
    pub(crate) arguments: Vec<OsString>,
}

#[derive(Debug)]
pub(crate) struct Cage {
    pub(crate) profile: String,
    pub(crate) parameters: Parameters,
}

/// The options that are said of the worker and, after `--child`, of a program that it may have started.
#[derive(Debug, Default)]
struct Group {
    profile: Option<String>,
    parameters: Parameters,
    limits: Limits,
    child: ChildProgram,
}

impl Group {
    /// Takes an option of either, and says whether it is one.
    fn option(
        &mut self,
        option: &str,
        more: &mut impl Iterator<Item = OsString>,
    ) -> Result<bool, Refusal> {
        let limits = &mut self.limits;
        let limit = match option {
            "-p" => {
                let profile = text(next(more, "-p needs a profile")?)?;
                return set_once(&mut self.profile, profile, "-p").map(|()| true);
            }
            "-D" => {
                let assignment = text(next(more, "-D needs KEY=VALUE")?)?;
                return parameter(&assignment, &mut self.parameters).map(|()| true);
            }
            "--limit-files" => &mut limits.files,
            "--limit-file-size" => &mut limits.file_size,
            "--limit-memory" => &mut limits.memory,
            "--limit-addresses" => &mut limits.addresses,
            joined if joined.starts_with("-D") => {
                return parameter(&joined["-D".len()..], &mut self.parameters).map(|()| true);
            }
            _ => return Ok(false),
        };
        set_once(limit, number(more.next().as_deref())?, option).map(|()| true)
    }

    /// Takes an option that is said of a child alone, and says whether it is one.
    fn option_of_child(
        &mut self,
        option: &str,
        more: &mut impl Iterator<Item = OsString>,
    ) -> Result<bool, Refusal> {
        let child = &mut self.child;
        let mut value = || next(more, "an option of a child needs a value");
        match option {
            "--program" => child.program = absolute(value()?)?,
            "--tree-memory" => child.tree_memory = Some(number(Some(&value()?))?),
            "--tree-processes" => {
                let count = number(Some(&value()?))?;
                let count = u32::try_from(count)
                    .map_err(|_| Refusal::Usage("too many processes".to_owned()))?;
                child.tree_processes = Some(count);
            }
            "--disk" => child.disk = Some(number(Some(&value()?))?),
            "--pipes" => child.pipes = true,
            "--discard" => child.discard = true,
            "--argument" => child.arguments.push(ChildArgument::Fixed(text(value()?)?)),
            "--named-argument" => child.arguments.push(ChildArgument::Named(text(value()?)?)),
            "--list-argument" => child.arguments.push(ChildArgument::List(text(value()?)?)),
            "--sign-in" => {
                child.sign_in = Some(SignIn {
                    from: absolute(value()?)?,
                    folder: text(value()?)?,
                    name: text(value()?)?,
                    without: Vec::new(),
                });
            }
            "--sign-in-without" => {
                let known = child.sign_in.as_mut();
                let known = known.ok_or_else(|| {
                    Refusal::Usage("--sign-in-without comes after --sign-in".to_owned())
                })?;
                known.without.push(text(value()?)?);
            }
            "--share" => child.shared.push(SharedFolder {
                name: text(value()?)?,
                from: absolute(value()?)?,
            }),
            "--environment" => {
                let variable = text(value()?)?;
                child.environment.push(match variable.split_once('=') {
                    Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                    None => (variable, None),
                });
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn into_child(self) -> Result<ChildProgram, Refusal> {
        let incomplete = || Refusal::Usage("a child needs a profile and a program".to_owned());
        if self.child.program.as_os_str().is_empty() {
            return Err(incomplete());
        }
        Ok(ChildProgram {
            profile: self.profile.ok_or_else(incomplete)?,
            parameters: self.parameters.into_iter().collect(),
            limits: self.limits,
            ..self.child
        })
    }
}

impl Call {
    pub(crate) fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Self, Refusal> {
        let mut own = Group::default();
        let mut children: Vec<Group> = Vec::new();
        let (mut uncaged, mut stays, mut prove) = (None, None, None);
        let (mut runs, mut state_dir, mut lock) = (None, None, None);
        let worker = loop {
            let argument = next(&mut arguments, "no worker given")?;
            let Some(option) = argument.to_str() else {
                break argument;
            };
            let is_option = match children.last_mut() {
                None => own.option(option, &mut arguments)?,
                Some(child) => {
                    child.option(option, &mut arguments)?
                        || child.option_of_child(option, &mut arguments)?
                }
            };
            if is_option {
                continue;
            }
            match option {
                UNCAGED => set_once(&mut uncaged, (), UNCAGED)?,
                STAY => set_once(&mut stays, (), STAY)?,
                LOCK => {
                    let file = absolute(next(&mut arguments, "--lock needs a file")?)?;
                    set_once(&mut lock, file, LOCK)?;
                }
                PROVE => set_once(&mut prove, targets(&mut arguments)?, PROVE)?,
                "--runs" => {
                    let folder = absolute(next(&mut arguments, "--runs needs a folder")?)?;
                    set_once(&mut runs, folder, "--runs")?;
                }
                "--state" => {
                    let folder = absolute(next(&mut arguments, "--state needs a folder")?)?;
                    set_once(&mut state_dir, folder, "--state")?;
                }
                "--child" => {
                    let mut child = Group::default();
                    child.child.name = text(next(&mut arguments, "--child needs a name")?)?;
                    children.push(child);
                }
                "--" => break next(&mut arguments, "no worker given")?,
                option if option.starts_with('-') => {
                    return Err(Refusal::Usage(format!("unknown option {option}")));
                }
                _ => break argument,
            }
        };
        let worker = absolute(worker)?;
        let cage = match (own.profile, uncaged) {
            (Some(profile), None) => Some(Cage {
                profile,
                parameters: own.parameters,
            }),
            (None, Some(())) => None,
            (None, None) => return Err(Refusal::Usage("no profile given".to_owned())),
            (Some(_), Some(())) => {
                return Err(Refusal::Usage(format!("a profile and {UNCAGED}")));
            }
        };
        let children = children.into_iter().map(Group::into_child);
        let children = children.collect::<Result<Vec<_>, _>>()?;
        let kept = match (runs, state_dir, &lock) {
            (Some(runs), Some(state_dir), Some(locks)) => Some(KeeperSettings {
                runs,
                state_dir,
                locks: locks.clone(),
                programs: children,
            }),
            (None, None, _) if children.is_empty() => None,
            _ => {
                return Err(Refusal::Usage(
                    "children need --runs, --state and --lock".to_owned(),
                ));
            }
        };
        Ok(Self {
            cage,
            limits: own.limits,
            stays: stays.is_some(),
            lock,
            prove,
            kept,
            worker,
            arguments: arguments.collect(),
        })
    }
}

/// Attacks from the cage that this process is in, before the program is there.
pub(crate) fn prove(targets: &ChildTargets) -> Result<(), Refusal> {
    let report = attack_as_child(targets);
    if report.sound() {
        return Ok(());
    }
    let failures: Vec<String> = report
        .failures()
        .map(|check| format!("{} ({})", check.name, check.detail))
        .collect();
    Err(Refusal::Unsound(failures.join("; ")))
}

/// [`PROVE`] with its values.
pub(crate) fn prove_line(targets: &ChildTargets) -> Vec<OsString> {
    let mut line: Vec<OsString> = vec![PROVE.into()];
    line.extend([&targets.canary, &targets.state_dir].map(OsString::from));
    line.extend([&targets.neighbour, &targets.unix_socket].map(OsString::from));
    let (port, keeper) = (targets.tcp_port.into(), targets.keeper_pid);
    line.extend([port, keeper].map(|number: u32| number.to_string().into()));
    line
}

/// Those values, in the order in which a keeper gives them.
fn targets(arguments: &mut impl Iterator<Item = OsString>) -> Result<ChildTargets, Refusal> {
    let mut value = || next(arguments, "--prove needs six values");
    let [canary, state_dir, neighbour, unix_socket] = [value()?, value()?, value()?, value()?];
    let (tcp_port, keeper_pid) = (number(Some(&value()?))?, number(Some(&value()?))?);
    let narrow = || Refusal::Usage("--prove needs a port and a process".to_owned());
    Ok(ChildTargets {
        canary: absolute(canary)?,
        state_dir: absolute(state_dir)?,
        neighbour: absolute(neighbour)?,
        unix_socket: absolute(unix_socket)?,
        tcp_port: tcp_port.try_into().map_err(|_| narrow())?,
        keeper_pid: keeper_pid.try_into().map_err(|_| narrow())?,
    })
}

/// A bare name would be looked up in PATH, which its caller set.
fn absolute(path: OsString) -> Result<PathBuf, Refusal> {
    if Path::new(&path).is_absolute() {
        Ok(path.into())
    } else {
        Err(Refusal::Usage(
            "the worker must be an absolute path".to_owned(),
        ))
    }
}

fn next(
    arguments: &mut impl Iterator<Item = OsString>,
    missing: &str,
) -> Result<OsString, Refusal> {
    arguments
        .next()
        .ok_or_else(|| Refusal::Usage(missing.to_owned()))
}

fn text(argument: OsString) -> Result<String, Refusal> {
    argument
        .into_string()
        .map_err(|argument| Refusal::Usage(format!("{} is not UTF-8", argument.display())))
}

fn number(argument: Option<&OsStr>) -> Result<u64, Refusal> {
    let parsed = argument
        .and_then(OsStr::to_str)
        .and_then(|digits| digits.parse().ok());
    parsed.ok_or_else(|| Refusal::Usage("a limit needs a number".to_owned()))
}

fn parameter(assignment: &str, parameters: &mut Parameters) -> Result<(), Refusal> {
    let (key, value) = assignment
        .split_once('=')
        .ok_or_else(|| Refusal::Usage(format!("{assignment} is not KEY=VALUE")))?;
    match parameters.insert(key.to_owned(), value.to_owned()) {
        None => Ok(()),
        Some(_) => Err(Refusal::Usage(format!("{key} is given twice"))),
    }
}

fn set_once<T>(slot: &mut Option<T>, value: T, option: &str) -> Result<(), Refusal> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Refusal::Usage(format!("{option} is given twice"))),
    }
}
