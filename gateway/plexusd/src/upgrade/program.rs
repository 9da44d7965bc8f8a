//! The file that this process runs, and what lies in its place now.
//!
//! Invariant: what is run to be looked at has a bound on time; if it takes too long it is ended with its group.

use super::{
    edition::{Build, Edition},
    handover::{self, Handed},
};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use plexus_desk::upgrade::UpgradeError;
use std::{
    ffi::OsString,
    fs, io,
    os::{
        fd::OwnedFd,
        unix::{fs::MetadataExt, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

/// How long a program may take to say what it is: it reads its own file and looks at the kernel.
const WITHIN: Duration = Duration::from_secs(10);

/// The file that runs, also where another has taken its place. Only Linux has such a name for it.
const RUNNING: Option<&str> = if cfg!(target_os = "linux") {
    Some("/proc/self/exe")
} else {
    None
};

/// This process's program: where it was started from, and which file that was.
pub(crate) struct Program {
    path: PathBuf,
    was: Option<Identity>,
}

/// Which file, and in which writing of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Identity {
    fn of(path: &Path) -> io::Result<Self> {
        let meta = fs::metadata(path)?;
        Ok(Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            changed: (meta.mtime(), meta.mtime_nsec()),
        })
    }
}

/// A program that may run next.
pub(crate) struct Candidate {
    path: PathBuf,
    is: Identity,
    arguments: Vec<OsString>,
    pub(crate) to: Build,
}

impl Program {
    /// To be called at the start: later the file may have been replaced.
    pub(crate) fn of_this_process() -> io::Result<Self> {
        let own = std::env::current_exe()?;
        // As it was typed, where that leads here: a link to the newest version stays one.
        let typed = std::env::args_os().next().map(PathBuf::from);
        let typed = typed.filter(|path| path.is_absolute());
        let typed = typed.filter(|path| path.canonicalize().ok() == own.canonicalize().ok());
        let was = Identity::of(RUNNING.map_or(own.as_path(), Path::new)).ok();
        Ok(Self {
            path: typed.unwrap_or(own),
            was,
        })
    }

    /// What lies there now, if it may run next.
    pub(super) fn next(&self, arguments: &[OsString]) -> Result<Candidate, UpgradeError> {
        let refused = |why: String| {
            UpgradeError::Refused(format!(
                "{} is not changed over to: {why}",
                self.path.display()
            ))
        };
        let is = Identity::of(&self.path).map_err(|error| refused(error.to_string()))?;
        if self.was.as_ref() == Some(&is) {
            return Err(UpgradeError::Same);
        }
        let said = ask(&self.path, arguments).map_err(refused)?;
        let own = Edition::own(Vec::new());
        own.yields_to(&said).map_err(refused)?;
        let candidate = Candidate {
            path: self.path.clone(),
            is,
            arguments: arguments.to_vec(),
            to: said.build,
        };
        candidate.unchanged().map_err(refused)?;
        Ok(candidate)
    }
}

impl Candidate {
    /// Whether it is still the file that was looked at.
    fn unchanged(&self) -> Result<(), String> {
        match Identity::of(&self.path) {
            Ok(is) if is == self.is => Ok(()),
            Ok(_) => Err("it was replaced while it was looked at".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Becomes the new program, which gets `sockets`. Returns only where that failed, with why, and with what this
    /// program needs to go on. Signals are to be held back before.
    pub(crate) fn exec(self, sockets: Vec<OwnedFd>) -> Handed {
        let why = match self.unchanged() {
            Err(why) => why,
            Ok(()) => handover::exec(&self.path, &self.arguments, &sockets).to_string(),
        };
        self.give_up(sockets, why)
    }

    /// Does not become it; `sockets` are for this program's next launch.
    pub(crate) fn give_up(self, sockets: Vec<OwnedFd>, why: String) -> Handed {
        tracing::error!(name: "daemon.upgrade_failed", path = %self.path.display(), error = why, "the new program was not started; the running one continues");
        Handed::back(sockets, self.to, why)
    }
}

/// Runs a program to hear what it is.
fn ask(path: &Path, arguments: &[OsString]) -> Result<Edition, String> {
    let asked = |error: io::Error| format!("it cannot be run ({error})");
    let child = Command::new(path)
        .arg("edition")
        .args(arguments)
        .env_remove(handover::VARIABLE)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(asked)?;
    let group = i32::try_from(child.id()).map_err(|error| error.to_string())?;
    let (ended, waiting) = mpsc::channel::<()>();
    let watch = thread::spawn(move || {
        let late = waiting.recv_timeout(WITHIN) == Err(RecvTimeoutError::Timeout);
        // Not reaped yet, so the number is its own and its group's.
        late && killpg(Pid::from_raw(group), Signal::SIGKILL).is_ok()
    });
    let output = child.wait_with_output().map_err(asked);
    drop(ended);
    let (output, late) = (output?, watch.join().unwrap_or(false));
    if late {
        return Err(format!(
            "it did not say within {} s what it is",
            WITHIN.as_secs()
        ));
    }
    let status = output.status;
    match serde_json::from_slice(&output.stdout) {
        Ok(edition) if status.success() => Ok(edition),
        _ => {
            let words = String::from_utf8_lossy(&output.stderr).into_owned();
            let words = words.lines().find(|line| !line.trim().is_empty());
            let words = words.and_then(plexus_sources::narration::clean);
            let words = words.map_or(String::new(), |words| format!(": {words}"));
            Err(format!("it does not say what it is ({status}){words}"))
        }
    }
}
