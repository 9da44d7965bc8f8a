//! What a hostile worker tries, and what must come of it: the rows of the table in `tests/reports/sandbox-probes.md`.
//!
//! A [`Probe`] is a name, a closure and an expectation. The worker in `bin/plexus-worker-hostile` runs it inside the
//! cage that the gateway made for a connector; the same program, started without a cage, runs it as the positive
//! control. To add one, add one line to the file of its family:
//!
//! ```text
//! Probe::refused("what is tried, in words", |at| act(&["name-of-the-act", &at.outside("note.md")])),
//! ```
//!
//! Invariants: names are unique, because a probe is asked for by its name; a probe attacks what [`Targets`] names and
//! nothing else; what must be refused is shown to work where there is no cage.
//!
//! Must not know: how a worker is started.

/// A probe that is one act, by how a cage takes it: `probe!(refused "open the ledger", |at| "open", &at.state("ledger.redb"))`.
macro_rules! probe {
    ($caged:ident $name:literal, |$at:tt| $($word:expr),+) => {
        Probe::$caged($name, |$at| act(&[$($word),+]))
    };
}

mod exhaustion;
mod files;
mod kernel;
mod metadata;
mod processes;
mod programs;
pub mod protocol;
mod sockets;

use nix::errno::Errno;
use plexus_hostile::offered;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::PathBuf;

/// What is there to be attacked, all of it real and open to a program outside of a cage.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Targets {
    /// The source's folder.
    pub root: PathBuf,
    /// A folder beside it that no source has.
    pub outside: PathBuf,
    /// The gateway's state directory.
    pub state: PathBuf,
    /// A folder that another source of the same gateway serves.
    pub neighbour: PathBuf,
    /// The gateway's process.
    pub gateway: u32,
    /// A process of the test's.
    pub bystander: u32,
    /// A port of the gateway's on 127.0.0.1.
    pub tcp: u16,
    /// One on ::1, where the machine has it.
    pub tcp6: Option<u16>,
    /// A UDP port on 127.0.0.1.
    pub udp: u16,
    /// A Unix stream socket, in the root, so that no rule about folders stands before it.
    pub stream: PathBuf,
    /// A Unix datagram socket, also in the root.
    pub datagram: PathBuf,
    /// An abstract Unix socket.
    pub abstract_name: String,
    /// The worker's own program.
    pub program: PathBuf,
    /// Programs to be opened for writing: the worker's own, and the launcher's, which has become the worker and may not run
    /// any more. If there is no cage, one beside them that is nobody's, because the kernel lets nobody write to one that
    /// runs.
    pub written: [PathBuf; 2],
    /// Open descriptors that the manifest allows.
    pub open_files: u64,
    /// Bytes of memory that the manifest allows.
    pub memory: u64,
    /// The longest file that the manifest allows to be written.
    pub file_bytes: u64,
}

impl Targets {
    /// A path in the source's folder.
    #[must_use]
    pub fn inside(&self, name: &str) -> String {
        self.root.join(name).display().to_string()
    }
    /// A path in the folder beside it.
    #[must_use]
    pub fn outside(&self, name: &str) -> String {
        self.outside.join(name).display().to_string()
    }
    /// A path in the state directory.
    #[must_use]
    pub fn state(&self, name: &str) -> String {
        self.state.join(name).display().to_string()
    }
    /// A path in another source's folder.
    #[must_use]
    pub fn neighbour(&self, name: &str) -> String {
        self.neighbour.join(name).display().to_string()
    }
    fn bystander(&self) -> String {
        self.bystander.to_string()
    }
}

/// The file in the source's folder that says what a hostile worker is to attack.
pub const ORDERS: &str = ".hostile.json";
/// What stands in an input before the name of what is to be done.
pub const ASKED: &str = "hostile: ";
/// The name for staying alive after `Stop`, SIGTERM and the end of the stream.
pub const BE_STUBBORN: &str = "stay alive whatever is said";

/// What a hostile worker reads when it starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Orders {
    /// What there is to attack.
    pub targets: Targets,
    /// The attack to begin with, of [`protocol::WHILE_STARTING`].
    pub start: Option<String>,
    /// Whether it keeps exec: hostile before the point at which a worker gives it up.
    pub born_hostile: bool,
    /// Whether it is deaf to being asked to go.
    pub stays: bool,
}

/// Makes this process deaf to what asks it to end.
#[must_use]
pub fn be_stubborn() -> Outcome {
    let mut asked = nix::sys::signal::SigSet::empty();
    for signal in [
        nix::sys::signal::Signal::SIGTERM,
        nix::sys::signal::Signal::SIGHUP,
        nix::sys::signal::Signal::SIGINT,
    ] {
        asked.add(signal);
    }
    match asked.thread_block() {
        Ok(()) => Outcome::Through(String::new()),
        Err(errno) => Outcome::Refused(errno as i32),
    }
}

/// What the kernel answered.
pub type Attempt = io::Result<String>;

/// One thing that is tried.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// What is tried, in words; unique.
    pub name: &'static str,
    run: fn(&Targets) -> Attempt,
    /// What must come of it in a cage.
    pub caged: Caged,
    /// Where some machines offer this to nobody, or to the administrator only: what they answer beside what any call may be
    /// answered there, of [`offered`].
    missing: Option<&'static [Errno]>,
    /// Whether it is a race for a name, and somebody swaps what it names meanwhile.
    pub turning: bool,
    /// Refusals beside EPERM and EACCES that count, because what is refused is said so elsewhere.
    also: &'static [Errno],
}

/// What must come of a probe in a cage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caged {
    /// Refused in every cage.
    Refused,
    /// The writer's cage allows it, the readers' do not.
    WriterMay,
    /// Every cage allows it: a residual.
    Open,
}

impl Probe {
    /// One that every cage refuses.
    #[must_use]
    pub const fn refused(name: &'static str, run: fn(&Targets) -> Attempt) -> Self {
        Self {
            name,
            run,
            caged: Caged::Refused,
            missing: None,
            turning: false,
            also: &[],
        }
    }
    /// One that a writer needs.
    #[must_use]
    pub const fn writer_may(name: &'static str, run: fn(&Targets) -> Attempt) -> Self {
        Self {
            caged: Caged::WriterMay,
            ..Self::refused(name, run)
        }
    }
    /// One that no cage refuses.
    #[must_use]
    pub const fn open(name: &'static str, run: fn(&Targets) -> Attempt) -> Self {
        Self {
            caged: Caged::Open,
            ..Self::refused(name, run)
        }
    }
    /// Not every machine offers this; one that does not may say so by `also`, too.
    #[must_use]
    pub const fn where_offered(mut self, also: &'static [Errno]) -> Self {
        self.missing = Some(also);
        self
    }
    /// Somebody swaps names meanwhile.
    #[must_use]
    pub const fn while_turning(mut self) -> Self {
        self.turning = true;
        self
    }
    /// Is also refused in these words.
    #[must_use]
    pub const fn or(mut self, also: &'static [Errno]) -> Self {
        self.also = also;
        self
    }
    /// Tries it, from this process.
    #[must_use]
    pub fn attempt(&self, targets: &Targets) -> Outcome {
        match (self.run)(targets) {
            Ok(said) => Outcome::Through(said),
            Err(error) => match error.raw_os_error() {
                Some(errno) => Outcome::Refused(errno),
                None => Outcome::Failed(error.to_string()),
            },
        }
    }
    /// Whether there are machines that do not offer it.
    #[must_use]
    pub fn may_be_missing(&self) -> bool {
        self.missing.is_some()
    }
    /// Whether `errno`, without a cage, says that this machine does not offer it, and not that the probe is mistaken.
    #[must_use]
    pub fn is_missing(&self, errno: Errno) -> bool {
        self.missing
            .is_some_and(|also| offered::is_missing(errno, also))
    }
    /// Whether `outcome` is a refusal of the kind that counts for this probe.
    #[must_use]
    pub fn is_refusal(&self, outcome: &Outcome) -> bool {
        match outcome {
            Outcome::Refused(errno) => {
                let errno = Errno::from_raw(*errno);
                matches!(errno, Errno::EPERM | Errno::EACCES) || self.also.contains(&errno)
            }
            Outcome::Through(_) | Outcome::Failed(_) => false,
        }
    }
}

/// What became of a probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was done.
    Through(String),
    /// The kernel said no, by this number.
    Refused(i32),
    /// Neither: it proves nothing.
    Failed(String),
}

/// Probes of one kind.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// The kind.
    pub title: &'static str,
    /// Its probes.
    pub probes: &'static [Probe],
}

/// All of them, in the order of the table.
pub const FAMILIES: &[Family] = &[
    files::FAMILY,
    metadata::FAMILY,
    sockets::FAMILY,
    programs::FAMILY,
    processes::FAMILY,
    kernel::FAMILY,
    exhaustion::FAMILY,
];

/// Probes of a program that was hostile before it gave anything up: what the launcher alone refuses.
pub const BORN_HOSTILE: Family = programs::BORN_HOSTILE;

/// What no process outlives that has this kernel's filters, and so has no row among those that are answered.
#[cfg(target_arch = "x86_64")]
pub const ENDS: Probe = kernel::ENDS;

/// The probe of that name.
#[must_use]
pub fn probe(name: &str) -> Option<&'static Probe> {
    #[cfg(target_arch = "x86_64")]
    if name == ENDS.name {
        return Some(&ENDS);
    }
    FAMILIES
        .iter()
        .chain([&BORN_HOSTILE])
        .flat_map(|family| family.probes)
        .find(|probe| probe.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_name_is_one_probes_name() {
        let mut seen = BTreeSet::new();
        for probe in FAMILIES
            .iter()
            .chain([&BORN_HOSTILE])
            .flat_map(|family| family.probes)
        {
            assert!(seen.insert(probe.name), "{} is there twice", probe.name);
            assert!(!probe.name.contains('|'), "{}: a cell ends", probe.name);
        }
    }

    /// A control that is answered like this has tried nothing, and must not pass for one that could not be tried.
    #[test]
    fn no_mistake_passes_for_what_a_machine_does_not_offer() {
        let probes = || FAMILIES.iter().flat_map(|family| family.probes);
        for probe in probes() {
            for errno in [
                Errno::EINVAL,
                Errno::EFAULT,
                Errno::EBADF,
                Errno::ENOENT,
                Errno::ENOTSOCK,
                Errno::ECONNREFUSED,
                Errno::UnknownErrno,
            ] {
                assert!(!probe.is_missing(errno), "{}: {errno}", probe.name);
            }
            assert_eq!(probe.is_missing(Errno::EPERM), probe.may_be_missing());
        }
        assert!(probes().any(Probe::may_be_missing));
    }
}
