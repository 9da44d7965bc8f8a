//! Sockets: loopback (and what the owner added) over TCP, and one Unix socket each for agents and for the owner.
//!
//! Invariants: a port that somebody else holds refuses the start; each Unix socket lies alone in a 0700 directory, is
//! 0600, and serves only peers of our own uid; a connection has a bound on headers, on their arrival, on answers that
//! nobody takes, and on its kind's number; a connection that has shown no credential makes room for others, and so do
//! those that one holder has beyond its share. A socket that an earlier program of this process left is used where it is the one that is
//! wanted; its connections have waited in it.

mod inherited;

use super::{
    connections::{ConnectionLimiter, ConnectionSlot},
    ends::Ends,
    guard::Serves,
    service::{Client, ListenerService, OwnerRoutes},
    throttle::Peer,
};
use crate::edge::Edge;
use anyhow::{Context, bail};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
pub use inherited::Inherited;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use plexus_calls::metrics::ListenerKind;
use plexus_home::{network::Network, state_dir::StateDir, tasks};
use serde_json::json;
use std::{
    io::{self, ErrorKind, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::PermissionsExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream},
    sync::watch,
    task::JoinSet,
};
use tokio_io_timeout::TimeoutWriter;

/// Connections at once over TCP; each of the two Unix sockets has a quarter as many. See `connections` for who makes room.
const CONNECTIONS: usize = 1_024;
/// Connections over TCP that the system lets wait until they are taken. Who finds no room tries again a second later; with
/// the usual 128 that was so for most of a crowd that came at once.
const WAITING: u32 = 1_024;
/// Connections over TCP that are taken however few files may be open.
const LEAST: usize = 16;
/// Descriptors that are kept for all else: the connections of the two Unix sockets, workers, the ledger, files.
const OTHER_FILES: usize = CONNECTIONS / 2 + 256;
/// How long the head of a request may take to arrive.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long the other end may take none of what is ready for it: then it would keep its slot, and the answer in memory.
const TAKEN_TIME: Duration = Duration::from_secs(15);
/// Largest head of a request, in bytes.
const HEAD_BYTES: usize = 64 * 1024;
/// How long open answers get at the stop.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// How long a connection may be without a request before it is closed, once connections end: a client at work sends
/// its next request sooner and is told in the answer, so that none is sent into a connection that is being closed.
const LAST_REQUEST: Duration = Duration::from_millis(500);

/// Bound and not yet served.
pub struct Listeners {
    tcp: Vec<TcpListener>,
    agents: UnixListener,
    owner: UnixListener,
    port: u16,
    names: Names,
}

/// Where the two local sockets lie; they go with it.
struct Names(Vec<PathBuf>);

impl Drop for Names {
    fn drop(&mut self) {
        for name in &self.0 {
            let _ = std::fs::remove_file(name);
        }
    }
}

/// Binds every socket, or takes it from what was `handed` over.
///
/// # Errors
/// Which address cannot be had, and what to do about it.
pub fn bind(
    dir: &StateDir,
    port: u16,
    network: &Network,
    mut handed: Option<&mut Inherited>,
) -> anyhow::Result<Listeners> {
    let v4 = network.of_loopback();
    let port = match handed.as_ref().and_then(|handed| handed.port()) {
        // Any port will do, so the one that clients know.
        Some(known) if port == 0 => known,
        _ => port,
    };
    let mut tries = 0;
    let (mut tcp, port) = loop {
        tries += 1;
        match loopback(v4, port, handed.as_deref_mut()) {
            // With port 0 the other family may have the number taken: take another.
            Err(_) if port == 0 && tries < 16 => {}
            other => break other?,
        }
    };
    for address in network.beyond_loopback() {
        if address == v4 {
            continue;
        }
        let listener = at((address, port).into(), handed.as_deref_mut());
        tcp.push(
            listener.with_context(|| {
                format!("cannot listen on {address} port {port} (network.json)")
            })?,
        );
    }
    let (agents, owner) = (
        dir.join("run/agent/agent.sock"),
        dir.join("run/owner/owner.sock"),
    );
    Ok(Listeners {
        tcp,
        agents: local(&agents, handed.as_deref_mut())?,
        owner: local(&owner, handed)?,
        port,
        names: Names(vec![agents, owner]),
    })
}

/// The listener at an address: handed over, or bound.
fn at(address: SocketAddr, handed: Option<&mut Inherited>) -> io::Result<TcpListener> {
    match handed.and_then(|handed| handed.tcp(address)) {
        Some(listener) => {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        }
        None => {
            let socket = match address {
                SocketAddr::V4(_) => TcpSocket::new_v4(),
                SocketAddr::V6(_) => TcpSocket::new_v6(),
            }?;
            // As any server: what an earlier one left behind in the system does not keep the port.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            socket.listen(WAITING)
        }
    }
}

/// The listeners that every gateway has; `wanted` takes in the loopback address of IPv4, or is it.
fn loopback(
    wanted: Ipv4Addr,
    port: u16,
    mut handed: Option<&mut Inherited>,
) -> anyhow::Result<(Vec<TcpListener>, u16)> {
    let taken = |address: IpAddr, error: io::Error| match error.kind() {
        ErrorKind::AddrInUse => anyhow::anyhow!(
            "port {port} on {address} is taken: stop what listens there, or choose another with --port"
        ),
        _ => anyhow::anyhow!("cannot listen on {address} port {port}: {error}"),
    };
    let other = match wanted {
        Ipv4Addr::LOCALHOST => Ipv4Addr::UNSPECIFIED,
        _ => Ipv4Addr::LOCALHOST,
    };
    // The system gives a port to one of the two: what the settings no longer want makes room.
    drop(
        handed
            .as_deref_mut()
            .and_then(|handed| handed.tcp((other, port).into())),
    );
    let v4 =
        at((wanted, port).into(), handed.as_deref_mut()).map_err(|e| taken(wanted.into(), e))?;
    let port = v4.local_addr()?.port();
    match at((Ipv6Addr::LOCALHOST, port).into(), handed) {
        Ok(v6) => Ok((vec![v4, v6], port)),
        // A machine without IPv6.
        Err(e)
            if e.kind() == ErrorKind::AddrNotAvailable
                || e.raw_os_error() == Some(nix::libc::EAFNOSUPPORT) =>
        {
            Ok((vec![v4], port))
        }
        Err(e) => Err(taken(Ipv6Addr::LOCALHOST.into(), e)),
    }
}

fn local(path: &Path, handed: Option<&mut Inherited>) -> anyhow::Result<UnixListener> {
    if let Some(listener) = handed.and_then(|handed| handed.local(path)) {
        listener.set_nonblocking(true)?;
        return Ok(UnixListener::from_std(listener)?);
    }
    // 104 bytes with the final NUL is what macOS takes; we hold ourselves to it everywhere.
    if path.as_os_str().len() > 103 {
        bail!(
            "{} is too long for a socket: choose a shorter --home",
            path.display()
        );
    }
    // The ledger's lock says that no other daemon runs on this directory: what lies here is a leftover.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).context(path.display().to_string());
        }
        _ => {}
    }
    let listener = UnixListener::bind(path).with_context(|| path.display().to_string())?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Listeners that are being served.
pub struct Serving {
    stop: watch::Sender<Ending>,
    accepting: JoinSet<()>,
    /// The listening sockets, open for as long as this is: what connects meanwhile waits in them.
    sockets: Vec<OwnedFd>,
    names: Names,
}

/// How far the end of serving is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    No,
    /// No more connections; each that is open has one more answer.
    Last,
    /// Only answers that are begun.
    Now,
}

impl Serving {
    /// Takes no more connections, and waits until those that are open have had their last answer.
    pub async fn wind_down(&mut self) {
        let _ = self.stop.send(Ending::Last);
        while self.accepting.join_next().await.is_some() {}
    }

    /// The sockets, for the next listener. Unless they are asked for, they are gone with this.
    pub fn into_sockets(mut self) -> Vec<OwnedFd> {
        self.names.0.clear();
        self.sockets
    }

    /// Takes no more connections and lets open answers end.
    pub async fn end(&mut self) {
        let _ = self.stop.send(Ending::Now);
        let ended = async { while self.accepting.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(LAST_ANSWERS, ended).await;
    }
}

impl Listeners {
    /// The port of every TCP listener.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// # Errors
    /// The system's, where it has no descriptors left.
    pub fn serve(self, edge: Arc<Edge>, routes: OwnerRoutes) -> io::Result<Serving> {
        let (stop, stopped) = watch::channel(Ending::No);
        let mut accepting = JoinSet::new();
        let places = ConnectionLimiter::new(connections());
        let local = [self.agents.as_fd(), self.owner.as_fd()];
        let all = self.tcp.iter().map(AsFd::as_fd).chain(local);
        let sockets = all
            .map(|socket| socket.try_clone_to_owned())
            .collect::<io::Result<Vec<_>>>()?;
        let all = ListenerService::new(&edge, Serves::All, routes.tcp);
        for listener in self.tcp {
            let service = all.clone();
            accepting.spawn(serve_door(
                listener,
                places.clone(),
                service,
                stopped.clone(),
            ));
        }
        for (listener, serves, kind, routes) in [
            (
                self.agents,
                Serves::Agents,
                ListenerKind::Agents,
                routes.agents,
            ),
            (self.owner, Serves::Owner, ListenerKind::Owner, routes.owner),
        ] {
            let service = ListenerService::new(&edge, serves, routes);
            let places = ConnectionLimiter::new(CONNECTIONS / 4);
            let door = LocalDoor(listener, kind);
            accepting.spawn(serve_door(door, places, service, stopped.clone()));
        }
        Ok(Serving {
            stop,
            accepting,
            sockets,
            names: self.names,
        })
    }
}

/// Where connections come in.
trait Door: Send + Sync {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn kind(&self) -> ListenerKind;

    /// The next connection, and whose it is; none where that may not connect.
    fn next(&self) -> impl Future<Output = io::Result<Option<(Self::Stream, Client)>>> + Send;
}

impl Door for TcpListener {
    type Stream = TcpStream;

    fn kind(&self) -> ListenerKind {
        ListenerKind::Tcp
    }

    async fn next(&self) -> io::Result<Option<(TcpStream, Client)>> {
        let (stream, theirs) = self.accept().await?;
        let _ = stream.set_nodelay(true);
        let client = Client {
            peer: Peer::from_address(theirs.ip()),
            ends: stream.local_addr().ok().map(|ours| Ends { theirs, ours }),
        };
        Ok(Some((stream, client)))
    }
}

struct LocalDoor(UnixListener, ListenerKind);

impl Door for LocalDoor {
    type Stream = UnixStream;

    fn kind(&self) -> ListenerKind {
        self.1
    }

    async fn next(&self) -> io::Result<Option<(UnixStream, Client)>> {
        let (stream, _) = self.0.accept().await?;
        let client = own_user(&stream).map(|peer| Client { peer, ends: None });
        Ok(client.map(|client| (stream, client)))
    }
}

/// Serves what comes in at a door. A panic costs the connections that are open at it, and not the door.
async fn serve_door(
    door: impl Door,
    places: ConnectionLimiter,
    service: ListenerService,
    stopped: watch::Receiver<Ending>,
) {
    let begin = || accept(&door, &places, &service, stopped.clone());
    tasks::until_ended("connections", begin).await;
}

/// Serves what comes in, until told to stop and all that came have ended.
async fn accept(
    door: &impl Door,
    places: &ConnectionLimiter,
    service: &ListenerService,
    mut stopped: watch::Receiver<Ending>,
) {
    let metrics = service.metrics();
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = door.next() => accepted,
            () = told_to_stop(&mut stopped) => break,
        };
        let (stream, client) = match accepted {
            Ok(Some(accepted)) => accepted,
            Ok(None) => continue,
            Err(error) => {
                pause(&error).await;
                continue;
            }
        };
        let evicted = || {
            tracing::debug!(name: "http.place_taken", "an idle connection made room");
            metrics.evicted();
        };
        let Some(place) = place(places, evicted, &mut stopped).await else {
            break;
        };
        let counted = metrics.connected(door.kind());
        let serving = connection(stream, service.clone(), client, place, stopped.clone());
        open.spawn(async move {
            serving.await;
            drop(counted);
        });
        while open.try_join_next().is_some() {}
    }
    while open.join_next().await.is_some() {}
}

/// How many connections over TCP there may be, so that a crowd of them leaves descriptors for the owner's socket and the
/// ledger. Asks the system for as many as are wanted; where it gives fewer, fewer are taken.
fn connections() -> usize {
    let wanted = (CONNECTIONS + OTHER_FILES) as u64;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((0, 0));
    let given = if soft >= wanted {
        soft
    } else {
        match setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard) {
            Ok(()) => wanted.min(hard),
            Err(_) => soft,
        }
    };
    let left = usize::try_from(given)
        .unwrap_or(usize::MAX)
        .saturating_sub(OTHER_FILES);
    if left < CONNECTIONS {
        tracing::warn!(name: "http.few_places", count = left.max(LEAST),
            "few files may be open, so fewer connections are taken"
        );
    }
    left.clamp(LEAST, CONNECTIONS)
}

/// The peer of a Unix socket, if it is of our own user.
fn own_user(stream: &UnixStream) -> Option<Peer> {
    let uid = stream.peer_cred().ok()?.uid();
    if uid == nix::unistd::geteuid().as_raw() {
        return Some(Peer::User(uid));
    }
    tracing::warn!(name: "http.foreign_peer", uid, "a peer of another user was turned away");
    None
}

/// Out of descriptors or the like: the listener is fine, the next accept may not be.
async fn pause(error: &io::Error) {
    tracing::warn!(name: "http.accept_failed", %error, "cannot accept a connection");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

async fn told_to_stop(stopped: &mut watch::Receiver<Ending>) {
    // A sender that is gone means the same.
    let _ = stopped.wait_for(|stop| *stop > Ending::No).await;
}

/// A place for a connection that was taken, which has its answer also where the end has begun meanwhile: those that are
/// open go then, one by one. None once only answers that are begun are waited for.
async fn place(
    places: &ConnectionLimiter,
    evicted: impl Fn(),
    stopped: &mut watch::Receiver<Ending>,
) -> Option<ConnectionSlot> {
    tokio::select! {
        biased;
        place = places.take(evicted) => Some(place),
        _ = stopped.wait_for(|stop| *stop == Ending::Now) => None,
    }
}

/// Waits until a connection that nobody uses may be closed.
async fn unused(stopped: &mut watch::Receiver<Ending>) {
    let now = stopped.wait_for(|stop| *stop == Ending::Now);
    let _ = tokio::time::timeout(LAST_REQUEST, now).await;
}

async fn connection<S>(
    stream: S,
    listener_service: ListenerService,
    client: Client,
    place: ConnectionSlot,
    mut stopped: watch::Receiver<Ending>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let place = Arc::new(place);
    let asked = place.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (listener_service, place) = (listener_service.clone(), asked.clone());
        async move { listener_service.answer(client, &place, request).await }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        .keep_alive(true);
    let mut stream = TimeoutWriter::new(stream);
    stream.set_timeout(Some(TAKEN_TIME));
    let stream = Box::pin(stream);
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => Some(ended),
        () = told_to_stop(&mut stopped) => None,
        () = place.evicted() => return,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            // Meanwhile each answer says that it is the last of its connection.
            tokio::select! {
                ended = serving.as_mut() => ended,
                () = unused(&mut stopped) => {
                    serving.as_mut().graceful_shutdown();
                    serving.await
                }
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(name: "http.connection_ended", %error, "a connection ended badly");
    }
}

/// Says that the gateway serves: one line on stdout, and `runtime.json`
/// (docs/protocol/owner.md#shells-and-tray-applications). A disk that has no room for the file keeps nobody from the sockets.
pub fn announce(edge: &Edge) {
    let ready =
        json!({"port": edge.address.port(), "pid": std::process::id(), "lraVersion": "1.0"});
    let text = ready.to_string();
    if let Err(error) = edge
        .state_dir
        .write_private("runtime.json", text.as_bytes())
    {
        tracing::error!(name: "daemon.unannounced", %error, "runtime.json could not be written: agents find the gateway by its socket only");
        // That of an earlier launch may name another port.
        let _ = std::fs::remove_file(edge.state_dir.join("runtime.json"));
    }
    // Who started us may have read the line of an earlier launch of this process and gone.
    let mut out = io::stdout().lock();
    let said = writeln!(out, "PLEXUS_READY {ready}").and_then(|()| out.flush());
    if let Err(error) = said {
        tracing::debug!(name: "daemon.unheard", %error, "nobody hears that the gateway is ready");
    }
}

#[cfg(test)]
mod tests {
    use super::super::connections::Holder;
    use super::*;

    /// A connection and the end may come in the same instant: it was taken, so it is answered.
    #[tokio::test]
    async fn a_connection_that_was_taken_has_its_place_though_the_end_has_begun() {
        let places = ConnectionLimiter::new(1);
        let (stop, mut stopped) = watch::channel(Ending::Last);
        for _ in 0..64 {
            assert!(place(&places, || {}, &mut stopped).await.is_some());
        }
        let held = place(&places, || {}, &mut stopped).await.expect("one");
        held.asked(|| Some(Holder::Owner));
        let (next, ()) = tokio::join!(place(&places, || {}, &mut stopped), async { drop(held) });
        let next = next.expect("the place of the one that went");
        next.asked(|| Some(Holder::Owner));
        stop.send(Ending::Now).expect("somebody listens");
        assert!(place(&places, || {}, &mut stopped).await.is_none());
    }
}
