//! A connector's program in its cage: the real launcher, the real profile, the real stream. No gateway.
//!
//! What the gateway's supervisor does around it, restarts, records, budgets, is not here: one process, one purpose, dead
//! when dropped.

use command_fds::{CommandFdExt, FdMapping};
use plexus_ipc::{
    BUILD,
    gateway::{ConnectionError, Receiver, Sender, connect},
    manifest::Manifest,
    message::{CageReport, FromWorker, OpenError, Probe, Role, Start, ToWorker},
    stream::{WORKER_FD, pair},
};
use plexus_sandbox::launcher_command;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    io::{self, Read as _},
    net::{Ipv4Addr, TcpListener},
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;
use tokio::time::timeout;

/// How long each step of a start may take. Generous: the program may run under an observer.
const STEP: Duration = Duration::from_secs(20);
/// The launch that commits are stamped with.
pub const LAUNCH: u64 = 1;

/// What to run in which cage.
#[derive(Clone, Debug)]
pub struct Cage<'a> {
    /// `plexus-sandbox-exec`; on macOS used for a worker that has programs started.
    pub launcher: &'a Path,
    /// The connector's program.
    pub worker: &'a Path,
    /// Its profile, as text.
    pub profile: &'a str,
    /// Its manifest, as text.
    pub manifest: &'a str,
    /// The source's configuration.
    pub config: &'a Value,
    /// The source's secrets, by field.
    pub secrets: &'a BTreeMap<String, String>,
    /// Its way to its hosts: a port of 127.0.0.1 and what opens it.
    pub egress: Option<&'a (u16, String)>,
    /// What it is for.
    pub role: Role,
    /// Put before the launcher's command line: an observer that becomes the launcher.
    pub before: Vec<OsString>,
}

/// Why a program did not come to serve.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Something that a start needs is not there.
    #[error("{0}: {1}")]
    Prepare(&'static str, io::Error),
    /// It ended, with what it wrote.
    #[error("the worker ended before {what}: {said}")]
    Ended {
        /// What was due.
        what: &'static str,
        /// Its stderr.
        said: String,
    },
    /// It did not say what was due.
    #[error("the worker did not say {0} in time")]
    Late(&'static str),
    /// It said something else.
    #[error("the worker said {0} out of turn")]
    OutOfTurn(&'static str),
    /// It broke the protocol.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// It was built apart.
    #[error("the worker is of build {0}, this is {BUILD}; build it again")]
    Build(String),
    /// Its cage has a hole, or a control failed.
    #[error("the cage is not sound: {}", holes(.0))]
    Unsound(Box<CageReport>),
    /// The program was built with another manifest.
    #[error("the program was built with another manifest than the file; build it again")]
    Manifest,
    /// The source could not be opened.
    #[error("the source cannot be opened: {0}")]
    Open(OpenError),
}

fn holes(report: &CageReport) -> String {
    let failed = report.checks.iter().filter(|check| !check.held);
    let lines: Vec<String> = failed
        .map(|check| format!("{} ({})", check.name, check.detail))
        .collect();
    lines.join(", ")
}

/// A process that was started and has said nothing yet. Killed when dropped.
#[derive(Debug)]
pub struct Spawned {
    child: Child,
    stderr: ChildStderr,
    stream: OwnedFd,
    start: Box<Start>,
    digest: plexus_protocol::Digest,
    role: Role,
    scratch: PathBuf,
    outside: Outside,
}

/// What the worker attacks and must fail to reach; gone when dropped.
#[derive(Debug)]
struct Outside {
    _folder: TempDir,
    _unix: UnixListener,
    _tcp: TcpListener,
}

/// A program that serves in its cage. Killed when dropped.
#[derive(Debug)]
pub struct Caged {
    /// `None` where somebody else reaps it.
    child: Option<Child>,
    _outside: Outside,
    /// The gateway's end: what is said.
    pub to: Sender,
    /// The gateway's end: what is heard.
    pub from: Receiver,
    /// The proof of the cage.
    pub report: CageReport,
}

impl Cage<'_> {
    /// Starts the process.
    ///
    /// # Errors
    /// [`StartError::Prepare`].
    ///
    /// # Panics
    /// Where the manifest does not parse.
    pub fn spawn(&self) -> Result<Spawned, StartError> {
        let manifest = Manifest::parse(self.manifest).expect("a manifest");
        let prepare = |what| move |error| StartError::Prepare(what, error);
        let folder = tempfile::tempdir().map_err(prepare("a temporary folder"))?;
        let state = resolved(folder.path()).map_err(prepare("a temporary folder"))?;
        let scratch = Path::new(&state).join("scratch");
        fs::create_dir(&scratch).map_err(prepare("the worker's own folder"))?;
        let canary = Path::new(&state).join("canary");
        fs::write(&canary, "outside").map_err(prepare("the canary"))?;
        let unix_socket = Path::new(&state).join("socket");
        let unix = UnixListener::bind(&unix_socket).map_err(prepare("a socket"))?;
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(prepare("a port"))?;
        let port = tcp.local_addr().map_err(prepare("a port"))?.port();

        let mut parameters = vec![
            (
                "WORKER".to_owned(),
                resolved(self.worker).map_err(prepare("the worker's program"))?,
            ),
            ("ROLE".to_owned(), self.role.to_string()),
            (
                "SCRATCH".to_owned(),
                resolved(&scratch).map_err(prepare("the worker's own folder"))?,
            ),
        ];
        let port_of = |(port, _): &(u16, String)| ("EGRESS_PORT".to_owned(), port.to_string());
        parameters.extend(self.egress.map(port_of));
        for place in manifest.places(self.config) {
            let path = resolved(&place.path).map_err(prepare("the source's folder"))?;
            parameters.push((place.parameter, path));
        }
        let (program, arguments) = launcher_command(
            self.profile,
            &parameters,
            &manifest.limits.of_process(),
            self.launcher,
            self.worker,
        );
        let line: Vec<OsString> = self
            .before
            .iter()
            .cloned()
            .chain(std::iter::once(program.into_os_string()))
            .chain(arguments)
            .collect();
        let (stream, theirs) = pair().map_err(prepare("a stream"))?;
        let mut command = Command::new(&line[0]);
        command
            .args(&line[1..])
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
            .fd_mappings(vec![FdMapping {
                parent_fd: theirs,
                child_fd: WORKER_FD,
            }])
            .map_err(|error| StartError::Prepare("a stream", io::Error::other(error)))?;
        let mut child = command.spawn().map_err(prepare("the launcher"))?;
        let stderr = child.stderr.take().expect("it was asked for");
        let start = Start {
            uncaged: false,
            keeper: false,
            manifest: None,
            proof_only: false,
            source: "source".parse().expect("an id"),
            role: self.role,
            launch: LAUNCH,
            config: self.config.to_string().into_bytes().into(),
            secrets: crate::served::sealed(self.secrets),
            limits: manifest.limits,
            scratch: Some(scratch.clone()),
            egress: crate::served::access(self.egress),
            probe: Probe {
                canary,
                state_dir: PathBuf::from(state),
                tcp_port: port,
                unix_socket,
                parent_pid: std::process::id(),
                launcher_pid: child.id(),
            },
        };
        Ok(Spawned {
            child,
            stderr,
            stream,
            start: Box::new(start),
            digest: manifest.digest(),
            role: self.role,
            scratch,
            outside: Outside {
                _folder: folder,
                _unix: unix,
                _tcp: tcp,
            },
        })
    }

    /// Starts the process and hears it out, up to `Opened`.
    ///
    /// # Errors
    /// Why it does not serve.
    ///
    /// # Panics
    /// Outside of a tokio runtime, or where the manifest does not parse.
    pub async fn start(&self) -> Result<Caged, StartError> {
        self.spawn()?.meet().await
    }
}

impl Spawned {
    /// Its process, which becomes launcher and worker in turn.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The folder of its own that it was given.
    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        self.scratch.clone()
    }

    /// Says `Start` and hears it out, up to `Opened`.
    ///
    /// # Errors
    /// Why it does not serve.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn meet(self) -> Result<Caged, StartError> {
        let Self {
            mut child,
            stderr,
            stream,
            start,
            digest,
            role,
            outside,
            ..
        } = self;
        let met = async {
            let (to, mut from) =
                connect(stream, role).map_err(|error| StartError::Prepare("the stream", error))?;
            // A worker that is gone already says why on its stderr.
            let _ = to.send(ToWorker::Start(start)).await;
            let report = match next(&mut from, "Hello").await? {
                FromWorker::Hello { build, .. } if *build != *BUILD => {
                    return Err(StartError::Build(build.to_string()));
                }
                FromWorker::Hello { cage, .. } if !cage.sound() => {
                    return Err(StartError::Unsound(cage));
                }
                FromWorker::Hello { cage, .. } => *cage,
                other => return Err(StartError::OutOfTurn(other.name())),
            };
            match next(&mut from, "Described").await? {
                FromWorker::Described { manifest } if manifest == digest => {}
                FromWorker::Described { .. } => return Err(StartError::Manifest),
                other => return Err(StartError::OutOfTurn(other.name())),
            }
            match next(&mut from, "Opened").await? {
                FromWorker::Opened { .. } => Ok((to, from, report)),
                FromWorker::OpenFailed(error) => Err(StartError::Open(error)),
                other => Err(StartError::OutOfTurn(other.name())),
            }
        }
        .await;
        match met {
            Ok((to, from, report)) => {
                // Somebody has to read it, or a talkative worker waits for ever.
                std::thread::spawn(move || io::copy(&mut { stderr }, &mut io::sink()));
                Ok(Caged {
                    child: Some(child),
                    _outside: outside,
                    to,
                    from,
                    report,
                })
            }
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                let gone = matches!(error, StartError::Connection(ConnectionError::Frame(_)))
                    || matches!(error, StartError::Ended { .. });
                if !gone {
                    return Err(error);
                }
                let what = match error {
                    StartError::Ended { what, .. } => what,
                    _ => "it served",
                };
                let mut said = Vec::new();
                let _ = stderr.take(4_096).read_to_end(&mut said);
                let said = String::from_utf8_lossy(&said).trim().to_owned();
                Err(StartError::Ended { what, said })
            }
        }
    }
}

async fn next(from: &mut Receiver, what: &'static str) -> Result<FromWorker, StartError> {
    match timeout(STEP, from.next()).await {
        Ok(message) => message?.ok_or(StartError::Ended {
            what,
            said: String::new(),
        }),
        Err(_) => Err(StartError::Late(what)),
    }
}

impl Caged {
    /// Leaves the process to an observer, who reaps it: after that its number may be somebody else's.
    pub fn leave(mut self) {
        self.child = None;
    }
}

impl Drop for Caged {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn resolved(path: &Path) -> io::Result<String> {
    let path = fs::canonicalize(path)?;
    let text = path.into_os_string().into_string();
    text.map_err(|path| io::Error::other(format!("{} is not UTF-8", path.display())))
}

/// `plexus-sandbox-exec` beside `worker`. If a build of one package has not made it, cargo is asked to.
///
/// # Panics
/// Where it is not there and cannot be built.
#[must_use]
pub fn find_launcher(worker: &Path) -> PathBuf {
    let folder = worker.parent().expect("a program lies in a folder");
    let folder = match folder.file_name() {
        Some(name) if name == "examples" || name == "deps" => folder.parent().unwrap_or(folder),
        _ => folder,
    };
    let launcher = folder.join("plexus-sandbox-exec");
    if !launcher.exists() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let target = folder.parent().expect("a profile lies in a target folder");
        let built = Command::new(cargo)
            .args(["build", "--quiet", "-p", "plexus-sandbox", "--bin"])
            .arg("plexus-sandbox-exec")
            .arg("--target-dir")
            .arg(target)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(
            built.is_ok_and(|status| status.success()),
            "{} is missing; type: cargo build -p plexus-sandbox",
            launcher.display()
        );
    }
    launcher
}
