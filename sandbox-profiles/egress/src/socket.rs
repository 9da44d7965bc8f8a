//! The Unix socket of an app of the owner's: the connection to it, and what goes in.
//!
//! ```text
//! CONNECT ─▶ connect ▸ peer of this user? ─▶ bytes, in both directions
//!                                         └─▶ where the manifest lists what is asked: one line in, judged; then answers out
//! ```
//! Invariants: only the manifest's path is connected, and only a program of this user's is spoken to; where the manifest
//! lists what is asked, an app hears one question for each connection, and from a reader only one of a read.
//!
//! Must not know: what an app answers.

use crate::{
    proxy::{Proxy, Refused, Tunnelled, tunnel},
    report::Metered,
};
use nix::{errno::Errno, unistd::geteuid};
use plexus_ipc::{
    egress::{AuditId, EgressVerdict as Verdict, MAX_QUESTION, asked_for},
    manifest::AdmittedSocket,
    message::Role,
};
use std::{io, time::Duration};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, copy},
    net::UnixStream,
    time::timeout,
};

/// How long an app may take to accept, and a worker to ask.
const WITHIN: Duration = Duration::from_secs(5);

/// Connects to the app, for a call where it is known.
pub(crate) async fn dial(
    proxy: &Proxy,
    to: &AdmittedSocket,
    call: Option<AuditId>,
) -> Result<Metered<UnixStream>, Refused> {
    let stream = match timeout(WITHIN, UnixStream::connect(&to.path)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(refused(&error)),
        Err(_) => return Err(BUSY),
    };
    let peer = stream.peer_cred();
    match peer.is_ok_and(|peer| peer.uid() == geteuid().as_raw()) {
        true => Ok(Metered::new(stream, proxy.report.open(&to.path, 0, call))),
        false => Err(FOREIGN),
    }
}

const BUSY: Refused = Refused(Verdict::Unreachable, "its app does not take the connection");
const NOBODY: Refused = Refused(Verdict::Unreachable, "nothing listens there: start the app");
const FOREIGN: Refused = Refused(Verdict::Address, "another user's program listens there");

/// Why there is no connection. On Linux the launcher's monitor makes it, and says what lies at the path.
fn refused(error: &io::Error) -> Refused {
    let why = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT | Errno::ECONNREFUSED | Errno::ENOTDIR) => return NOBODY,
        Some(Errno::EAGAIN) => return BUSY,
        Some(Errno::ELOOP) => "its path leads through a link",
        Some(Errno::ENOTSOCK) => "what lies there is no socket",
        Some(Errno::EMLINK) => "the socket there has another name as well",
        Some(Errno::EPERM) => "another user's socket lies there",
        _ => "it cannot be connected to",
    };
    Refused(Verdict::Address, why)
}

/// Serves a connection that is made, to its end.
pub(crate) async fn serve(
    client: Tunnelled,
    mut app: Metered<UnixStream>,
    to: &AdmittedSocket,
    role: Role,
) {
    if to.asks.is_empty() {
        return tunnel(client, app).await;
    }
    let (heard, mut stream) = client;
    let (read, mut write) = stream.split();
    // One byte beyond the longest question, so that there is always one to wait for.
    let mut read = BufReader::new(heard.as_ref().chain(read).take(MAX_QUESTION as u64 + 1));
    let mut line = Vec::new();
    let asking = timeout(WITHIN, read.read_until(b'\n', &mut line));
    let Ok(Ok(_)) = asking.await else {
        return;
    };
    let name = asked_for(&line).filter(|_| line.len() <= MAX_QUESTION);
    let is_in = |names: &[String]| name.as_ref().is_some_and(|name| names.contains(name));
    let verdict = match role {
        _ if !is_in(&to.asks) => Verdict::Path,
        Role::Reader if !is_in(&to.reads) => Verdict::Method,
        Role::Reader | Role::Writer => Verdict::Admitted,
    };
    if verdict != Verdict::Admitted {
        return app.open().came_to(verdict);
    }
    // An app that does not read holds up no place.
    let Ok(Ok(())) = timeout(WITHIN, app.write_all(&line)).await else {
        return;
    };
    // A worker that goes, or says more, ends it.
    tokio::select! {
        _ = copy(&mut app, &mut write) => {}
        _ = read.read_u8() => {}
    }
}
