//! Serves calls over any stream, from `Hello` to the end. It makes no cage and proves none: a worker process is run by
//! [`super::main`], which hands over the report.
//!
//! ```text
//! Hello (unsound: end) ─▶ Described ─▶ open ─▶ Opened ─▶ calls ─▶ Stop: commits finish, the rest is cancelled
//!                          │           └─▶ OpenFailed: end          end of stream, broken frame: end at once
//!                          └─▶ only a proof was asked for: end
//! ```
//!
//! What stands between a message and a handler, in this order: the table of roles and phases; an id that is not under
//! way; for a commit its durable intent (this launch, a sequence not seen before) and its deadline; the input's digest;
//! a handler of the right kind. After the handler: everything it touched fits the constraint, the answer fits the
//! limits. Between the plan and the commit of an effect: rating, state token, expectation, deadline.
//!
//! Invariants: a call gets exactly one `Done` or `Planned`, whatever its handler does; a commit that has begun is never
//! dropped while the gateway is there; commits of capabilities that are not long-running happen one after the other, so
//! nothing else of this worker comes between a plan and its commit. A panic ends its call and not the worker: of a read
//! or a plan it is an internal error, of a commit the effect is unknown. What a source shares between calls lies behind
//! locks that a panic poisons.
//!
//! Must not know: what the connector reaches.

mod commit;
mod judge;
mod server;

use super::{Handlers, Host, Source, SourceContext};
use crate::frame::{FrameError, FrameReader, FrameSender, MAX_FRAME, writer};
use crate::manifest::Manifest;
use crate::message::{CageReport, FromWorker, Health, OpenError, Phase, Role, Start, ToWorker};
use server::Server;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite};

/// Reads and plans that run at once; more wait their turn.
pub const AT_ONCE: usize = 64;
/// Calls that may be under way, running or waiting; more are answered `Busy`.
pub const UNDER_WAY: usize = 1_024;
/// How long a source may take to say how it is, in awake time; after that it counts as degraded.
const HEALTH_WITHIN: Duration = Duration::from_millis(500);

/// How long a source may take to ask its app for the owner, in awake time; after that the app counts as unavailable.
pub const CHECK_WITHIN: Duration = Duration::from_secs(3);

/// How long the gateway may take to read what was said before the end, in awake time.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Why serving ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeEnd {
    /// The gateway said so, and every commit is finished.
    #[error("stopped")]
    Stopped,
    /// The stream ended.
    #[error("the gateway is gone")]
    GatewayGone,
    /// The attack on the cage succeeded somewhere; the report was sent.
    #[error("the cage is not sound")]
    Unsound,
    /// The source could not be opened; the reason was sent.
    #[error("the source cannot be opened: {0}")]
    OpenFailed(OpenError),
    /// The gateway's frames are broken.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The gateway said something that is not allowed now, or used an id that is under way.
    #[error("{0} is not allowed now")]
    OutOfPlace(&'static str),
}

/// Serves `S` until the gateway stops it, goes, or breaks the protocol. `handlers` fit `manifest`: see
/// [`Handlers::check`].
pub async fn serve<S, R, W>(
    start: Start,
    manifest: &Manifest,
    handlers: Handlers<S>,
    cage: CageReport,
    read: R,
    write: W,
) -> ServeEnd
where
    S: Source,
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let (out, writing) = writer::<_, FromWorker>(write, MAX_FRAME);
    let writing = tokio::spawn(writing);
    let ended = match converse(start, manifest, handlers, cage, read, &out).await {
        Ok(()) => ServeEnd::Stopped,
        // A gateway that dies with something unread resets the stream.
        Err(ServeEnd::Frame(FrameError::Io(_) | FrameError::Closed)) => ServeEnd::GatewayGone,
        Err(ended) => ended,
    };
    drop(out);
    // Answers that are queued still leave, unless nobody reads them.
    if !matches!(ended, ServeEnd::GatewayGone) {
        let _ = tokio::time::timeout(LAST_WORDS, writing).await;
    }
    ended
}

async fn converse<S: Source, R: AsyncRead + Unpin>(
    start: Start,
    manifest: &Manifest,
    handlers: Handlers<S>,
    cage: CageReport,
    read: R,
    out: &FrameSender<FromWorker>,
) -> Result<(), ServeEnd> {
    let sound = cage.sound() || start.uncaged;
    let hello = FromWorker::Hello {
        build: crate::BUILD.into(),
        cage: Box::new(cage),
    };
    out.send(&hello).await?;
    if !sound {
        return Err(ServeEnd::Unsound);
    }
    let described = FromWorker::Described {
        manifest: manifest.digest(),
    };
    out.send(&described).await?;
    if start.proof_only {
        return Ok(());
    }
    let mut frames = FrameReader::new(read, MAX_FRAME);
    let (role, launch) = (start.role, start.launch);
    let host = Host::new(manifest, out);
    let opened = open::<S, R>(start, manifest, &host, &mut frames, out).await;
    let source = Arc::new(opened?);
    let health = health_of(&*source).await;
    out.send(&FromWorker::Opened { health }).await?;
    host.open();
    Server::new(
        source,
        handlers,
        manifest.clone(),
        role,
        launch,
        (out.clone(), host),
    )
    .run(&mut frames)
    .await
}

/// Opens the source while probes are answered.
async fn open<S: Source, R: AsyncRead + Unpin>(
    start: Start,
    manifest: &Manifest,
    host: &Host,
    frames: &mut FrameReader<R, ToWorker>,
    out: &FrameSender<FromWorker>,
) -> Result<S, ServeEnd> {
    let role = start.role;
    let opening = async {
        let config = serde_json::from_slice(&start.config).map_err(|_| {
            OpenError::config("the source's configuration is not as the manifest describes it")
        })?;
        let given = SourceContext {
            source: Some(start.source),
            secrets: start.secrets,
            role,
            scratch: start.scratch,
            kept: manifest.kept,
            egress: start.egress,
            children: if start.keeper {
                let children = super::children::Children::inherited();
                Some(children.map_err(|error| OpenError::internal(error.to_string()))?)
            } else {
                None
            },
            pins: manifest.mcp.clone(),
            host: host.clone(),
        };
        S::open_with(config, given).await
    };
    let mut opening = pin!(guarded(opening));
    let opened = loop {
        tokio::select! {
            opened = &mut opening => break opened,
            message = frames.next() => match placed(message, Phase::Opening, role)? {
                ToWorker::Probe { nonce } | ToWorker::Check { nonce } => {
                    let health = Health::Degraded("the source is being opened".into());
                    out.send(&FromWorker::Probed { nonce, health }).await?;
                }
                ToWorker::Stop => return Err(ServeEnd::Stopped),
                other => return Err(ServeEnd::OutOfPlace(other.name())),
            },
        }
    };
    let error = match opened {
        Some(Ok(source)) => return Ok(source),
        Some(Err(error)) => error,
        None => OpenError::internal("opening the source failed; the log names the place"),
    };
    out.send(&FromWorker::OpenFailed(error.clone())).await?;
    Err(ServeEnd::OpenFailed(error))
}

/// What the reader yielded, if it is allowed here.
fn placed(
    message: Result<Option<ToWorker>, FrameError>,
    phase: Phase,
    role: Role,
) -> Result<ToWorker, ServeEnd> {
    match message? {
        None => Err(ServeEnd::GatewayGone),
        Some(message) if message.permitted(phase, role) => Ok(message),
        Some(message) => Err(ServeEnd::OutOfPlace(message.name())),
    }
}

async fn health_of<S: Source>(source: &S) -> Health {
    match tokio::time::timeout(HEALTH_WITHIN, guarded(source.health())).await {
        Ok(Some(health)) => health,
        Ok(None) => Health::Degraded("the check of the app failed".into()),
        Err(_) => Health::Degraded("the check of the app takes long".into()),
    }
}

async fn check_of<S: Source>(source: &S) -> Health {
    match tokio::time::timeout(CHECK_WITHIN, guarded(source.check())).await {
        Ok(Some(health)) => health,
        Ok(None) => Health::Degraded("the check of the app failed".into()),
        Err(_) => Health::Unavailable(
            "no answer within 3 s: test it again, or look at what is behind the source".into(),
        ),
    }
}

/// Runs `future`; `None` if it panics. What it shares is behind locks of its own.
async fn guarded<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(move |cx| {
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Some),
            Err(_) => Poll::Ready(None),
        }
    })
    .await
}
