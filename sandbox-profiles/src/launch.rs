//! The command line that starts a worker in its cage, and the limits that go with it.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

#[cfg(target_os = "linux")]
use nix::sys::resource::rlim_t;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};

use crate::os;

/// Linux writes no file of less than a page, and pipes nothing where the limit is exactly this. If it is 0, a
/// `core_pattern` that is a pipe gets the whole memory all the same.
#[cfg(target_os = "linux")]
const NO_CORE: rlim_t = 1;
/// Signals that may wait for a process. Those that queue are counted for the user: a worker could take them from the
/// user's other programs. What `kill` sends below the real-time signals arrives whatever is counted.
#[cfg(target_os = "linux")]
const WAITING_SIGNALS: rlim_t = 64;

/// Limits of a worker. `None` leaves what the gateway has. No worker leaves its memory behind in a crash, nor queues
/// more than a few signals, whatever these say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Open descriptors (`RLIMIT_NOFILE`), counting the first four.
    pub files: Option<u64>,
    /// Length in bytes of the largest file it may write (`RLIMIT_FSIZE`).
    pub file_size: Option<u64>,
    /// Bytes of memory of its own that it may ask for (`RLIMIT_DATA`): heap, stacks, private mappings that it can
    /// write. Files that it maps to read do not count, nor does what it filled and cannot write any more. Has no
    /// effect on macOS, whose kernel does not count so.
    pub memory: Option<u64>,
    /// Bytes of addresses that it may have in use, whatever lies there (`RLIMIT_AS`): all of the above, files that it
    /// maps, room that is only reserved. Bounds what no other limit counts, page tables included. Has no effect on
    /// macOS.
    pub addresses: Option<u64>,
}

impl Limits {
    /// The arguments of our launcher for them.
    fn line(&self) -> Vec<OsString> {
        let options = [
            ("--limit-files", self.files),
            ("--limit-file-size", self.file_size),
            ("--limit-memory", self.memory),
            ("--limit-addresses", self.addresses),
        ];
        let given = options
            .into_iter()
            .filter_map(|(option, most)| Some([option.into(), most?.to_string().into()]));
        given.flatten().collect()
    }

    /// Applies the limits to this process, for good; an inherited limit that is lower stays. Our launcher does this. A
    /// worker on macOS has Apple's: `give_up_inherited` does it there.
    /// # Errors
    /// The system's, of `getrlimit` or `setrlimit`.
    pub fn apply(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        for (limit, most) in [
            (Resource::RLIMIT_CORE, NO_CORE),
            (Resource::RLIMIT_SIGPENDING, WAITING_SIGNALS),
        ] {
            lower(limit, most)?;
        }
        #[cfg(not(target_os = "linux"))]
        setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
        // A write beyond the limit is an error the worker can report, not a signal that ends it.
        os::ignore_file_size_signal()?;
        if let Some(most) = self.files {
            lower(Resource::RLIMIT_NOFILE, most)?;
        }
        if let Some(most) = self.file_size {
            lower(Resource::RLIMIT_FSIZE, most)?;
        }
        #[cfg(target_os = "linux")]
        if let Some(most) = self.memory {
            lower(Resource::RLIMIT_DATA, most)?;
        }
        #[cfg(target_os = "linux")]
        if let Some(most) = self.addresses {
            lower(Resource::RLIMIT_AS, most)?;
        }
        Ok(())
    }
}

/// Only root could set one above the inherited one.
fn lower(limit: Resource, most: u64) -> io::Result<()> {
    let most = getrlimit(limit)?.1.min(most);
    Ok(setrlimit(limit, most, most)?)
}

/// The gateway's stream: the only descriptor beside the standard three that a worker keeps. Whatever is open at
/// this number came over an exec, so it will survive the next one.
pub(crate) const STREAM: i32 = 3;

/// Keeps others from writing what this process, which has one thread, will make. What the mask is now can only be
/// learned by setting it.
pub(crate) fn narrow_umask() {
    umask(umask(Mode::empty()) | Mode::S_IWOTH);
}

/// Program and arguments that run `worker` under `profile`; the worker's own arguments may be appended.
///
/// `launcher` is `plexus-sandbox-exec` and is used on Linux. On macOS the program is `/usr/bin/sandbox-exec`,
/// which knows no limits: see `give_up_inherited`. Paths among `params` must be resolved (`realpath`).
#[must_use]
pub fn launcher_command(
    profile: &str,
    params: &[(String, String)],
    limits: &Limits,
    launcher: &Path,
    worker: &Path,
) -> (PathBuf, Vec<OsString>) {
    if cfg!(target_os = "macos") {
        let line = sandbox_exec_line(profile, params, worker);
        return (PathBuf::from(SANDBOX_EXEC), line);
    }
    let line = caged_line(profile, params, limits, worker);
    (launcher.to_owned(), line)
}

/// Where macOS keeps its launcher. Absolute: it is never looked up in PATH.
pub(crate) const SANDBOX_EXEC: &str = "/usr/bin/sandbox-exec";

/// The arguments of our launcher that run `program` under `profile`.
pub(crate) fn caged_line(
    profile: &str,
    params: &[(String, String)],
    limits: &Limits,
    program: &Path,
) -> Vec<OsString> {
    let mut line = limits.line();
    line.extend(sandbox_exec_line(profile, params, program));
    line
}

/// Those of Apple's, which knows no limits.
pub(crate) fn sandbox_exec_line(
    profile: &str,
    params: &[(String, String)],
    program: &Path,
) -> Vec<OsString> {
    let mut line: Vec<OsString> = vec!["-p".into(), profile.into()];
    for (key, value) in params {
        line.extend(["-D".into(), format!("{key}={value}").into()]);
    }
    line.extend(["--".into(), program.into()]);
    line
}

/// Program and arguments that run `worker` in no cage at all, with its limits and without inherited descriptors and
/// capabilities. For the owner who asked for it by name, and for nothing else.
#[must_use]
pub fn uncaged_command(
    limits: &Limits,
    launcher: &Path,
    worker: &Path,
) -> (PathBuf, Vec<OsString>) {
    // On macOS the worker itself applies its limits.
    if cfg!(target_os = "macos") {
        return (worker.to_owned(), Vec::new());
    }
    let mut args = limits.line();
    args.extend([UNCAGED.into(), "--".into(), worker.into()]);
    (launcher.to_owned(), args)
}

/// The launcher's option for [`uncaged_command`].
pub(crate) const UNCAGED: &str = "--without-a-cage";

/// The launcher's option to stay outside whatever the profile, and to end what descends from the program.
pub(crate) const STAY: &str = "--stay";
/// The launcher's option for the file that is locked while anybody of a run may be left; of a keeper, for what the names of all
/// such files of its runs begin with.
pub(crate) const LOCK: &str = "--lock";
/// The launcher's option to attack targets from the cage before the program is there.
pub(crate) const PROVE: &str = "--prove";
