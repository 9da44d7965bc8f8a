//! A worker's whole `main`.

use super::{Handlers, Source, cage, os, serve};
use crate::frame;
use crate::manifest::Manifest;
use crate::message::{Start, ToWorker};
use crate::stream;
use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::ExitCode,
    time::{Duration, Instant},
};
use zeroize::Zeroizing;

/// How long the gateway may take to say `Start`, in awake time.
const START_WITHIN: Duration = Duration::from_secs(10);
/// Threads for work on files, made when first needed.
const FILE_THREADS: usize = 8;

/// Why a worker ended before it served.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("descriptor 3 is not the gateway's stream: {0}")]
    Stream(io::Error),
    #[error("no Start: {0}")]
    Start(#[from] frame::FrameError),
    #[error("{0} came before Start")]
    NotStart(&'static str),
    #[error("Start brings no manifest, and this program has none of its own")]
    NoManifest,
    #[error("the manifest: {0}")]
    Manifest(#[from] crate::manifest::ManifestError),
    #[error("the handlers do not fit the manifest: {0}")]
    Handlers(#[from] super::Mismatch),
    #[error("the manifest has no role {0}")]
    Role(crate::message::Role),
    #[error("the limits cannot be applied: {0}")]
    Limits(io::Error),
    #[error(transparent)]
    Rights(#[from] plexus_sandbox::GiveUpError),
    #[error("no runtime: {0}")]
    Runtime(io::Error),
}

/// Runs a worker for the connector `S`, whose manifest file is `manifest`, and returns the process's exit status: 0
/// after `Stop`, else 1. If the gateway is gone, the whole process group is ended and this may not return.
///
/// To be called first in `main`, in a process with one thread whose descriptor 3 is the worker's end of a
/// [`stream::pair`]. Logs go to stderr.
pub fn main<S: Source>(manifest: &'static str) -> ExitCode {
    ended(|| run::<S>(Some(manifest)))
}

/// As [`main`], for a program that serves whatever manifest `Start` brings. The gateway holds the digest in `Described`
/// against the one that it sent.
#[must_use]
pub fn serve_any<S: Source>() -> ExitCode {
    ended(|| run::<S>(None))
}

fn ended(run: impl FnOnce() -> Result<serve::ServeEnd, Failed>) -> ExitCode {
    log_to_stderr();
    match run() {
        Ok(serve::ServeEnd::Stopped) => ExitCode::SUCCESS,
        Ok(serve::ServeEnd::GatewayGone) => {
            tracing::info!("the gateway is gone");
            os::end_own_group();
            ExitCode::FAILURE
        }
        Ok(ended) => {
            tracing::error!(%ended, "the worker ends");
            ExitCode::FAILURE
        }
        Err(failed) => {
            tracing::error!(error = %failed, "the worker cannot start");
            ExitCode::FAILURE
        }
    }
}

fn run<S: Source>(embedded: Option<&'static str>) -> Result<serve::ServeEnd, Failed> {
    let stream = os::take_stream().map_err(Failed::Stream)?;
    // What was built wrong is found before the gateway says anything.
    let embedded = embedded.map(described::<S>).transpose()?;
    let start = read_start(&stream)?;
    let (manifest, handlers) = match (embedded, &start.manifest) {
        (Some(embedded), _) => embedded,
        (None, Some(given)) => described::<S>(given)?,
        (None, None) => return Err(Failed::NoManifest),
    };
    if !manifest.roles.contains(&start.role) {
        return Err(Failed::Role(start.role));
    }
    cage::limit(&start).map_err(Failed::Limits)?;
    // It makes its epoll here, which is the last one that may be made, and no thread before it is used.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(FILE_THREADS)
        .build()
        .map_err(Failed::Runtime)?;
    cage::give_up_exec_and_fork()?;
    let report = cage::attack(&start, &manifest);
    // From here on there may be threads.
    let ended = runtime.block_on(async {
        let (read, write) = stream::split(OwnedFd::from(stream)).map_err(Failed::Stream)?;
        Ok(serve::serve(*start, &manifest, handlers, report, read, write).await)
    });
    // A read on a blocking thread is not waited for: nobody wants its result any more.
    runtime.shutdown_background();
    ended
}

/// A manifest, and what runs for it.
fn described<S: Source>(manifest: &str) -> Result<(Manifest, Handlers<S>), Failed> {
    let manifest = Manifest::parse(manifest)?;
    let handlers = S::handlers_of(&manifest);
    handlers.check(&manifest)?;
    Ok((manifest, handlers))
}

/// Reads exactly the first frame, so that what follows it is still in the stream.
fn read_start(stream: &UnixStream) -> Result<Box<Start>, Failed> {
    let deadline = Instant::now() + START_WITHIN;
    let mut prefix = [0; frame::PREFIX];
    os::read_exact(stream, &mut prefix, deadline).map_err(frame::FrameError::Io)?;
    let length = frame::length(&prefix, frame::MAX_FRAME)?.unwrap_or_default();
    let mut body = Zeroizing::new(vec![0; length]);
    os::read_exact(stream, &mut body, deadline).map_err(frame::FrameError::Io)?;
    match frame::decode::<ToWorker>(&body)? {
        ToWorker::Start(start) => Ok(start),
        other => Err(Failed::NotStart(other.name())),
    }
}

/// Structured lines for the gateway's log. A panic is reported by its place only: its message may quote a note.
fn log_to_stderr() {
    let _ = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .without_time()
        .with_max_level(tracing::Level::INFO)
        .try_init();
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, "a panic");
    }));
}
