//! `plexus-egress`: the one way from the workers of a source to the network.
//!
//! ```text
//!            ┌─────────── this process, in its own cage: no files, TCP to the manifest's ports and 53 ──────────┐
//! worker ──▶ │ accept ▸ CONNECT  ▸ credential ▸ listed? ▸ resolve ▸ address allowed? ▸ copy                    ──┼▶ host
//!            │                                └▶ the socket ▸ whose program? ▸ one question, or copy           ──┼▶ app
//!            │          request  ▸ credential ▸ path?   ▸ resolve ▸ address allowed? ▸ TLS, add the secret     ──┼▶ host
//!            └───────────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! One for each source that names hosts, started by the gateway before the source's workers. Descriptor 0 is the
//! listening socket, descriptor 3 the stream to the gateway ([`plexus_ipc::egress`]).
//!
//! Invariants: nothing is accepted before the cage was attacked; nothing leaves without the credential of this start;
//! a secret goes to its own host over TLS and nowhere else, neither to a log nor to a worker; no thread but one.
//!
//! Must not know: sources, agents, what a request means.

mod admit;
mod forward;
mod names;
mod places;
mod proxy;
mod report;
mod sign_in;
mod socket;
mod tls;

use plexus_ipc::{
    BUILD,
    egress::{EgressStart, FromEgress, MAX_EGRESS_FRAME, ToEgress},
    frame::{self, FrameError, FrameReader, FrameSender},
    message::CageReport,
    stream, worker,
};
use plexus_sandbox::probe::{self, ProbeTargets};
use proxy::Proxy;
use std::{
    io::{self, Write as _},
    net::TcpListener,
    os::fd::{AsFd as _, OwnedFd},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};
use tokio::time::timeout;

/// How long the gateway may take to say `Start`.
const START_WITHIN: Duration = Duration::from_secs(10);
/// How long the last report may take to leave.
const LAST_WORDS: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("descriptor 3 is not the gateway's stream: {0}")]
    Stream(io::Error),
    #[error("descriptor 0 is not a listening socket: {0}")]
    Listener(io::Error),
    #[error("the limits cannot be applied: {0}")]
    #[cfg_attr(
        not(target_os = "macos"),
        expect(dead_code, reason = "Linux has a launcher of ours")
    )]
    Limits(io::Error),
    #[error("no runtime: {0}")]
    Runtime(io::Error),
    #[error(transparent)]
    Rights(#[from] plexus_sandbox::GiveUpError),
    #[error("no Start")]
    NoStart,
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    #[error("the cage is not sound")]
    Unsound,
}

/// Serves, as the gateway started this process; `authorities` are known beside Mozilla's, as PEM. What is shipped has none.
#[must_use]
pub fn run(authorities: &'static [u8]) -> ExitCode {
    match started(authorities) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            let _ = writeln!(io::stderr(), "plexus-egress cannot serve: {failed}");
            ExitCode::FAILURE
        }
    }
}

fn started(authorities: &'static [u8]) -> Result<(), Failed> {
    let stream = worker::take_stream().map_err(Failed::Stream)?;
    // On Linux the launcher has done this.
    #[cfg(target_os = "macos")]
    plexus_sandbox::give_up_inherited(&plexus_ipc::egress::limits::of_process(), false)
        .map_err(Failed::Limits)?;
    // It makes its epoll here, which is the last one that may be made.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(Failed::Runtime)?;
    plexus_sandbox::give_up_exec_and_fork()?;
    runtime.block_on(serve(stream.into(), authorities))
}

async fn serve(stream: OwnedFd, authorities: &'static [u8]) -> Result<(), Failed> {
    let (read, write) = stream::split(stream).map_err(Failed::Stream)?;
    let mut inbox = FrameReader::<_, ToEgress>::new(read, MAX_EGRESS_FRAME);
    let (out, writing) = frame::writer::<_, FromEgress>(write, MAX_EGRESS_FRAME);
    let mut writing = tokio::spawn(writing);
    let Ok(Some(ToEgress::Start(start))) = timeout(START_WITHIN, inbox.next())
        .await
        .map_err(|_| Failed::NoStart)?
    else {
        return Err(Failed::NoStart);
    };
    let cage = attack(&start);
    let sound = cage.sound();
    let proxy = Proxy::new(*start, authorities)?;
    let listener = listener().map_err(Failed::Listener)?;
    let ready = FromEgress::Ready {
        build: BUILD.into(),
        cage: Box::new(cage),
    };
    out.send(&ready).await?;
    if !sound {
        let _ = timeout(LAST_WORDS, writing).await;
        return Err(Failed::Unsound);
    }
    let (keeper, records) = (Arc::clone(&proxy), out.clone());
    let keeping = tokio::spawn(async move { keeper.keep_sign_ins(&records).await });
    tokio::select! {
        () = Arc::clone(&proxy).accept(listener) => {}
        () = proxy.report.keep_sending(&out) => {}
        () = proxy.ask_for_names(&out) => {}
        // If the gateway is gone, its stream ends.
        _ = &mut writing => return Ok(()),
        () = hear(&mut inbox, &proxy, &out) => {}
    }
    // A renewal that is under way would be lost, with what it was had for.
    tokio::select! {
        () = proxy.settled() => {}
        () = hear(&mut inbox, &proxy, &out) => {}
    }
    keeping.abort();
    let _ = keeping.await;
    proxy.end().await;
    proxy.report.send(&out).await;
    drop(out);
    let _ = timeout(LAST_WORDS, writing).await;
    Ok(())
}

/// Until the gateway says `Stop`, breaks the protocol or is gone.
async fn hear(
    inbox: &mut FrameReader<stream::ReadHalf, ToEgress>,
    proxy: &Arc<Proxy>,
    out: &FrameSender<FromEgress>,
) {
    loop {
        match inbox.next().await {
            Ok(Some(ToEgress::Names(names))) => proxy.names.renew(&names),
            Ok(Some(ToEgress::Kept { durable })) => proxy.heard_kept(durable),
            Ok(Some(ToEgress::Revoke)) => {
                let (of, out) = (Arc::clone(proxy), out.clone());
                // It needs what is heard here: a renewal may have to be kept first.
                proxy.spawn(async move {
                    let told = of.revoke().await;
                    let _ = out.send(&FromEgress::Revoked(told)).await;
                });
            }
            Ok(Some(ToEgress::Start(_) | ToEgress::Stop) | None) | Err(_) => return,
        }
    }
}

/// As a worker attacks its own.
fn attack(start: &EgressStart) -> CageReport {
    let targets = &start.probe;
    probe::attack(&ProbeTargets {
        canary: targets.canary.clone(),
        state_dir: targets.state_dir.clone(),
        tcp_port: targets.tcp_port,
        unix_socket: targets.unix_socket.clone(),
        places: Vec::new(),
        role: probe::Role::Reader,
        parent_pid: targets.parent_pid,
        launcher_pid: targets.launcher_pid,
    })
}

fn listener() -> io::Result<tokio::net::TcpListener> {
    let listener = TcpListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}
