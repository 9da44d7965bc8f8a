//! From nothing to a worker that serves: spawn, `Hello`, `Described`, `Opened`, each with a deadline.
//!
//! Invariants: a worker is handed on only if its build is ours, its cage report is sound and its manifest is the
//! offer's own; in every other case its group is dead and reaped before the failure is told.
//!
//! Must not know: queues, backoff.

use super::{
    Context, Spec,
    agreed::CodeError,
    egress::Egress,
    process::{Process, Spawned},
    stderr::Stderr,
};
use plexus_ipc::{
    BUILD,
    gateway::{ConnectionError, Receiver, Sender},
    message::{CageReport, FromWorker, Health, OpenError, OpenFailure, Role, Start, ToWorker},
    text::Line,
};
use plexus_protocol::error::system_words;
use std::{io, path::PathBuf, process::ExitStatus, sync::Arc, time::Duration};
use tokio::{io::AsyncRead, sync::Notify, time::timeout};

/// How long a killed process may take to be reaped, in awake time.
pub(super) const REAP_WITHIN: Duration = Duration::from_secs(2);

/// Why a worker did not come to serve.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Something that a start needs is not there.
    #[error("{what}: {}", system_words(&source.to_string()))]
    Prepare {
        /// What was being made ready.
        what: &'static str,
        /// The system's word.
        source: io::Error,
    },
    /// The source's folder is not there.
    #[error("the folder {} is not there", .0.display())]
    Gone(PathBuf),
    /// The source's folder is no longer where it was.
    #[error("{} now leads elsewhere", .0.display())]
    Moved(PathBuf),
    /// Another folder lies where the source's folder was.
    #[error("{} is another folder than the one that was granted on", .0.display())]
    Replaced(PathBuf),
    /// The account that the gateway runs as may not use the source's folder as its worker must.
    #[error("the system does not let Plexus {act} the folder {}", folder.display())]
    Denied {
        /// The act that it may not do there.
        act: &'static str,
        /// The folder.
        folder: PathBuf,
    },
    /// Something else lies where a program or code of the source's was.
    #[error("{} is not what the owner agreed to", .0.display())]
    Program(PathBuf),
    /// The secrets of the source cannot be had.
    #[error("the secrets of the source: {}", system_words(&.0.to_string()))]
    Secrets(io::Error),
    /// The launcher cannot be started.
    #[error("the launcher: {}", system_words(&.0.to_string()))]
    Spawn(io::Error),
    /// Its way to the network cannot be made.
    #[error("the source's egress: {0}")]
    Egress(String),
    /// It ended before it served; with the last line it wrote.
    #[error("it ended ({exit}){}", last.as_ref().map(|line| format!(": {line}")).unwrap_or_default())]
    Ended {
        /// How.
        exit: Exit,
        /// Its last word on stderr.
        last: Option<Line<512>>,
    },
    /// It did not say what was due.
    #[error("it did not say {0} in time")]
    Late(&'static str),
    /// It broke the protocol.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// It was built apart from this gateway.
    #[error(
        "it is of build {found}, the gateway of {BUILD}; if the programs were replaced while the gateway runs, change over: plexusctl upgrade"
    )]
    Build {
        /// Its own word.
        found: Line<64>,
    },
    /// Its cage has a hole, or a control failed.
    #[error("its cage is not sound")]
    Unsound(Box<CageReport>),
    /// Its manifest is not the one that the gateway embeds.
    #[error(
        "its manifest differs from the gateway's; if the programs were replaced while the gateway runs, change over: plexusctl upgrade"
    )]
    Manifest,
    /// The source could not be opened.
    #[error(transparent)]
    Open(OpenError),
    /// Nobody wants it any more.
    #[error("the start was called off")]
    CalledOff,
}

impl From<CodeError> for StartError {
    fn from(error: CodeError) -> Self {
        match error {
            CodeError::Differs(path) => Self::Program(path),
            CodeError::Unseen(source) => Self::Prepare {
                what: "what the source runs",
                source,
            },
        }
    }
}

/// The message by which a worker says that its source is open.
const OPENED: &str = "Opened";

impl StartError {
    /// Whether its cage was proven before: what failed is the opening of its source.
    pub(super) fn is_of_the_source(&self) -> bool {
        match self {
            Self::Open(error) => !matches!(error.reason, OpenFailure::Internal),
            other => matches!(other, Self::Late(OPENED)),
        }
    }

    /// Whether a secret that the source needs is not set.
    pub(super) fn lacks_secret(&self) -> bool {
        matches!(self, Self::Secrets(why) if why.kind() == io::ErrorKind::NotFound)
    }

    pub(super) fn prepare(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Prepare { what, source }
    }

    /// What an agent is told of it: by its kind alone, without a path and without a word of the worker's.
    pub(super) fn told(&self) -> &'static str {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        match self {
            Self::Prepare { source: e, .. } | Self::Secrets(e) | Self::Spawn(e)
                if matches!(e.kind(), StorageFull | QuotaExceeded) =>
            {
                "The gateway's disk is full, so the source cannot be made ready."
            }
            Self::Prepare { .. } | Self::Secrets(_) | Self::Spawn(_) | Self::Egress(_) => {
                "The source cannot be made ready."
            }
            Self::Gone(_) | Self::Moved(_) | Self::Replaced(_) => "The source is not where it was.",
            Self::Denied { .. } => "The system does not let Plexus use the source's folder.",
            Self::Program(_) => {
                "What the source runs has changed since the owner looked at it; nothing was run."
            }
            Self::Ended { .. } => "The source's worker ended before it served.",
            Self::Late(_) | Self::Connection(_) | Self::CalledOff => {
                "The source's worker did not come to serve."
            }
            Self::Build { .. } | Self::Manifest => {
                "The source's program is not of the gateway's build; the owner changes over: plexusctl upgrade"
            }
            Self::Unsound(_) => "The cage of the source's worker is not sound.",
            Self::Open(error) => match error.reason {
                OpenFailure::Config => "The source is not configured as it has to be.",
                OpenFailure::Unavailable => {
                    "What the source opens is not there, or cannot be served."
                }
                OpenFailure::Denied => "The system does not let Plexus open the source.",
                OpenFailure::Internal => "The source could not be opened.",
            },
        }
    }

    /// Whether the next try will most likely fail in the same way: then nobody is kept waiting for it.
    pub(super) fn lasts(&self) -> bool {
        match self {
            Self::Prepare { .. } | Self::Gone(_) => true,
            Self::Moved(_) | Self::Replaced(_) | Self::Denied { .. } => true,
            Self::Program(_) | Self::Secrets(_) | Self::Build { .. } => true,
            Self::Unsound(_) | Self::Manifest | Self::Open(_) => true,
            Self::Spawn(_) | Self::Ended { .. } | Self::Late(_) | Self::Egress(_) => false,
            Self::Connection(_) | Self::CalledOff => false,
        }
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit(pub Option<ExitStatus>);

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(status) => status.fmt(f),
            None => f.write_str("it cannot be reaped"),
        }
    }
}

/// A worker that serves.
#[derive(Debug)]
pub(super) struct Started<P: Process> {
    pub(super) process: P,
    pub(super) out: Sender,
    pub(super) inbox: Receiver<P::Stream>,
    pub(super) stderr: Stderr,
    /// Its way to the network.
    pub(super) egress: Option<Arc<Egress>>,
    pub(super) cage: Arc<CageReport>,
    pub(super) health: Health,
    /// What it serves.
    pub(super) spec: Arc<Spec>,
    /// Bytes of memory at which it is ended.
    pub(super) memory: u64,
}

/// Starts a worker. `call_off` ends the attempt once it has a process; until then nothing that takes long is waited for,
/// and a process that nobody waits for any more could still be there when the next one is started.
pub(super) async fn start<P: Process>(
    context: Arc<Context<P>>,
    spec: Arc<Spec>,
    role: Role,
    call_off: Arc<Notify>,
) -> Result<Started<P>, StartError> {
    let heard = async |inbox: &mut _| {
        let cage = introduced(&context, &spec, inbox).await?;
        Ok((cage, opened(&context, inbox).await?))
    };
    let met = meet(&context, &spec, role, false, &call_off, heard);
    let (worker, (cage, health)) = met.await?;
    Ok(Started {
        process: worker.process,
        out: worker.out,
        inbox: worker.inbox,
        stderr: worker.stderr,
        egress: worker.egress,
        cage: Arc::new(cage),
        health,
        memory: u64::from(spec.offer.manifest.limits.memory_mib) << 20,
        spec,
    })
}

/// Starts a worker, hears what its cage is worth, and ends it. A reader comes as far as it would to serve, but where it
/// answers from what a resident writer has made: apart from that one it has nothing to open. A writer opens nothing: on the
/// folder of a source whose own writer is at work, or was killed, it would take away what that one needs to tell whether its
/// last change happened.
pub(super) async fn prove<P: Process>(
    context: Arc<Context<P>>,
    spec: Arc<Spec>,
    role: Role,
) -> Result<(), StartError> {
    let (process, egress) = match role {
        Role::Reader if !spec.offer.manifest.resident => {
            let started = start(context, spec, role, Arc::default()).await?;
            (started.process, started.egress)
        }
        Role::Reader | Role::Writer => {
            let heard = async |inbox: &mut _| introduced(&context, &spec, inbox).await;
            let never = Notify::new();
            let (met, _) = meet(&context, &spec, role, true, &never, heard).await?;
            (met.process, met.egress)
        }
    };
    process.end(REAP_WITHIN).await;
    if let Some(egress) = egress {
        egress.release().await;
    }
    Ok(())
}

/// A worker that said what it was `heard` for.
struct GreetedWorker<P: Process> {
    process: P,
    out: Sender,
    inbox: Receiver<P::Stream>,
    stderr: Stderr,
    egress: Option<Arc<Egress>>,
}

/// Spawns a worker and tells it to start; it is handed on if what is `heard` is right, and ended if not or if it
/// is called off.
async fn meet<P: Process, T>(
    context: &Arc<Context<P>>,
    spec: &Arc<Spec>,
    role: Role,
    proof_only: bool,
    call_off: &Notify,
    heard: impl AsyncFnOnce(&mut Receiver<P::Stream>) -> Result<T, StartError>,
) -> Result<(GreetedWorker<P>, T), StartError> {
    let Spawned {
        process,
        out,
        mut inbox,
        stderr,
        secrets,
        egress,
        probe,
        targets,
    } = P::start(context, spec, role).await?;
    let start = Start {
        source: spec.source.clone(),
        role,
        launch: context.launch,
        config: serde_json::to_vec(&super::children::config(&context.state_dir, spec))
            .unwrap_or_default()
            .into(),
        secrets,
        limits: spec.offer.manifest.limits,
        scratch: Some(super::process::scratch_of(context, spec)),
        manifest: spec.offer.given.as_deref().map(Into::into),
        egress: egress.as_ref().map(|egress| egress.access(role)),
        probe,
        keeper: spec.has_keeper(),
        uncaged: spec.uncaged,
        proof_only,
    };
    let met = async {
        out.send(ToWorker::Start(Box::new(start))).await?;
        heard(&mut inbox).await
    };
    let met = tokio::select! {
        biased;
        () = call_off.notified() => Err(StartError::CalledOff),
        met = met => met,
    };
    drop(targets);
    match met {
        Ok(met) => Ok((
            GreetedWorker {
                process,
                out,
                inbox,
                stderr,
                egress,
            },
            met,
        )),
        Err(error) => Err(explained(error, process, stderr).await),
    }
}

/// Ends what did not come to serve, and finds out why it ended where it did so by itself.
async fn explained(error: StartError, process: impl Process, mut stderr: Stderr) -> StartError {
    // A worker that is gone tells it by the end of its stream, or by a stream that cannot be written.
    let gone = match &error {
        StartError::Ended { .. } => true,
        StartError::Connection(ConnectionError::Frame(frame)) => {
            matches!(
                frame,
                plexus_ipc::frame::FrameError::Closed | plexus_ipc::frame::FrameError::Io(_)
            )
        }
        _ => false,
    };
    if gone {
        stderr.at_end().await;
    }
    let exit = Exit(process.end(REAP_WITHIN).await);
    if gone {
        StartError::Ended {
            exit,
            last: stderr.last_word().await,
        }
    } else {
        error
    }
}

/// Hears a worker's introduction and judges it.
async fn introduced<P: Process>(
    context: &Context<P>,
    spec: &Spec,
    inbox: &mut Receiver<P::Stream>,
) -> Result<CageReport, StartError> {
    let pace = &context.pace;
    let cage = match next(inbox, "Hello", pace.hello_within).await? {
        FromWorker::Hello { build, .. } if build != *BUILD => {
            return Err(StartError::Build { found: build });
        }
        FromWorker::Hello { cage, .. } if !cage.sound() && !spec.uncaged => {
            return Err(StartError::Unsound(cage));
        }
        FromWorker::Hello { cage, .. } => *cage,
        other => return Err(out_of_turn(&other)),
    };
    match next(inbox, "Described", pace.hello_within).await? {
        FromWorker::Described { manifest } if manifest == spec.offer.manifest.digest() => Ok(cage),
        FromWorker::Described { .. } => Err(StartError::Manifest),
        other => Err(out_of_turn(&other)),
    }
}

/// Hears that a worker has opened its source.
async fn opened<P: Process>(
    context: &Context<P>,
    inbox: &mut Receiver<P::Stream>,
) -> Result<Health, StartError> {
    match next(inbox, OPENED, context.pace.open_within).await? {
        FromWorker::Opened { health } => Ok(health),
        FromWorker::OpenFailed(error) => Err(StartError::Open(error)),
        other => Err(out_of_turn(&other)),
    }
}

async fn next(
    inbox: &mut Receiver<impl AsyncRead + Unpin>,
    what: &'static str,
    within: Duration,
) -> Result<FromWorker, StartError> {
    match timeout(within, inbox.next()).await {
        Ok(message) => message?.ok_or(StartError::Ended {
            exit: Exit(None),
            last: None,
        }),
        Err(_) => Err(StartError::Late(what)),
    }
}

/// Not reached while the table of phases holds: it lets only these messages through, in this order, and an answer to
/// a probe, which nobody has sent yet.
fn out_of_turn(message: &FromWorker) -> StartError {
    tracing::warn!(name: "worker.out_of_turn", frame = message.name(), "a worker speaks out of turn");
    StartError::Late("what was due")
}
