//! The file that this process runs, and what lies in its place now.
//!
//! Invariant: what is run to be looked at has a bound on time and on what is read of it; if it takes too long it is ended
//! with its group.

use super::{
    edition::{Build, Edition},
    handover::{self, Handed},
};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use plexus_desk::upgrade::UpgradeError;
use plexus_protocol::Digest;
use sha2::{Digest as _, Sha256};
use std::{
    ffi::OsString,
    fs,
    io::{self, Read},
    os::{
        fd::OwnedFd,
        unix::{fs::MetadataExt, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// How long a program may take to say what it is: it reads its own file and looks at the kernel.
const WITHIN: Duration = Duration::from_secs(10);
/// How much is read of what it says, in bytes.
const SAID: u64 = 64 * 1024;
/// How often it is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(5);

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
    pub(crate) from: Build,
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
        let program = digest(&self.path).map_err(|error| refused(error.to_string()))?;
        let candidate = Candidate {
            path: self.path.clone(),
            is,
            arguments: arguments.to_vec(),
            from: Build {
                program: RUNNING.and_then(|file| digest(Path::new(file)).ok()),
                ..own.build
            },
            to: Build {
                program: Some(program),
                ..said.build
            },
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
            Ok(()) => {
                let names = (self.from.clone(), self.to.clone());
                handover::exec(&self.path, &self.arguments, names, &sockets).to_string()
            }
        };
        self.give_up(sockets, why)
    }

    /// Does not become it; `sockets` are for this program's next launch.
    pub(crate) fn give_up(self, sockets: Vec<OwnedFd>, why: String) -> Handed {
        tracing::error!(name: "daemon.upgrade_failed", path = %self.path.display(), error = why, "the new program was not started; this one goes on");
        Handed::back(sockets, self.to, why)
    }
}

fn digest(path: &Path) -> io::Result<Digest> {
    let mut hash = Sha256::new();
    let mut file = fs::File::open(path)?;
    let mut part = vec![0; 64 * 1024];
    loop {
        match file.read(&mut part)? {
            0 => return Ok(Digest(hash.finalize().into())),
            read => hash.update(&part[..read]),
        }
    }
}

/// Runs a program to hear what it is.
fn ask(path: &Path, arguments: &[OsString]) -> Result<Edition, String> {
    let mut child = Command::new(path)
        .arg("edition")
        .args(arguments)
        .env_remove(handover::VARIABLE)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("it cannot be run ({error})"))?;
    let (said, complained) = (reading(child.stdout.take()), reading(child.stderr.take()));
    let status = ended(&mut child).map_err(|error| error.to_string())?;
    let Some(status) = status else {
        return Err(format!(
            "it did not say within {} s what it is",
            WITHIN.as_secs()
        ));
    };
    let heard = |from: mpsc::Receiver<Vec<u8>>| from.recv_timeout(WITHIN).unwrap_or_default();
    let said = heard(said);
    match serde_json::from_slice(&said) {
        Ok(edition) if status.success() => Ok(edition),
        _ => {
            let words = String::from_utf8_lossy(&heard(complained)).into_owned();
            let words = words.lines().find(|line| !line.trim().is_empty());
            let words = words.and_then(plexus_sources::narration::clean);
            let words = words.map_or(String::new(), |words| format!(": {words}"));
            Err(format!("it does not say what it is ({status}){words}"))
        }
    }
}

/// How it ended; nothing if it took too long, and then it is gone.
fn ended(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    let until = Instant::now() + WITHIN;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= until {
            break;
        }
        thread::sleep(LOOK);
    }
    // Not reaped, so the number is its own and its group's.
    if let Some(group) = i32::try_from(child.id()).ok().filter(|group| *group > 1) {
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    child.wait()?;
    Ok(None)
}

/// What comes out of a pipe, up to a bound.
fn reading(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (tell, heard) = mpsc::channel();
    thread::spawn(move || {
        let mut said = Vec::new();
        if let Some(pipe) = pipe {
            let _ = pipe.take(SAID).read_to_end(&mut said);
        }
        let _ = tell.send(said);
    });
    heard
}
