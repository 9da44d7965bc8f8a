//! The listener: TCP on the address that clients know, with TLS where there is a certificate.
//!
//! Invariants: without TLS it listens on this machine only; a connection that does not speak is closed.

use crate::proxies::Proxies;
use crate::relay::Relay;
use crate::routes::{self, network_of};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_io_timeout::TimeoutWriter;
use tokio_rustls::TlsAcceptor;

/// Connections at once, where the system allows so many open files.
const CONNECTIONS: usize = 20_000;
/// Open files beside connections: the store, the operator, the servers of NATS.
const OTHER_FILES: usize = 256;
/// Of them of one network that is neither this machine nor a trusted proxy's.
const CONNECTIONS_OF_ONE: usize = 1_000;
/// How long an answer may wait for its reader.
const WRITE_PATIENCE: Duration = Duration::from_secs(60);
/// How long a TLS handshake or the head of a request may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// A listener that is bound.
pub struct Bound {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
}

/// A certificate chain and its key, in PEM, for a listener.
///
/// # Errors
/// Where they are not such, or this processor cannot do TLS here.
pub fn tls(chain: &[u8], key: &[u8]) -> io::Result<TlsAcceptor> {
    if !graviola::util::is_cpu_supported() {
        let why = "this processor lacks instructions that the cryptography of TLS needs";
        return Err(io::Error::other(why));
    }
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
    let chain = chain.map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(io::Error::other)?;
    let provider = Arc::new(rustls_graviola::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

impl Bound {
    /// Binds an address.
    ///
    /// # Errors
    /// Where the address is taken, or is not this machine's own and there is no TLS.
    pub async fn to(address: SocketAddr, tls: Option<TlsAcceptor>) -> io::Result<Self> {
        if tls.is_none() && !address.ip().is_loopback() {
            let why =
                "beyond this machine a relay needs a certificate: --tls-certificate and --tls-key";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let listener = TcpListener::bind(address).await?;
        Ok(Self { listener, tls })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// Where the system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Whether clients reach it by TLS.
    #[must_use]
    pub const fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Serves clients for as long as it is polled.
    pub async fn serve(self, relay: Arc<Relay>) {
        let slots = Slots::new(allowed_connections(), relay.proxies.clone());
        loop {
            let (stream, from) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(why) => {
                    // Out of descriptors: closing connections frees some.
                    tracing::warn!(name: "listen.accept_failed", %why, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let Some(slot) = slots.take(from.ip()) else {
                continue;
            };
            // Small answers leave at once, or nothing does: the option is a hint.
            let _ = stream.set_nodelay(true);
            let (relay, tls, from) = (Arc::clone(&relay), self.tls.clone(), from.ip());
            tokio::spawn(async move {
                match tls {
                    None => connection(stream, relay, from).await,
                    Some(tls) => {
                        if let Ok(Ok(stream)) = timeout(PATIENCE, tls.accept(stream)).await {
                            connection(stream, relay, from).await;
                        }
                    }
                }
                drop(slot);
            });
        }
    }
}

/// How many connections there may be, so that the store keeps its files. Asks the system for as many as are wanted.
fn allowed_connections() -> usize {
    let wanted = (CONNECTIONS + OTHER_FILES) as u64;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((0, 0));
    let asked = wanted.min(hard);
    let given = if soft < asked && setrlimit(Resource::RLIMIT_NOFILE, asked, hard).is_ok() {
        asked
    } else {
        soft
    };
    let given = usize::try_from(given).unwrap_or(usize::MAX);
    let connections = given.saturating_sub(OTHER_FILES).min(CONNECTIONS);
    if connections < CONNECTIONS {
        tracing::warn!(name: "listen.few_files", connections, "the system allows few open files, so the relay takes fewer connections; raise the limit (LimitNOFILE=, ulimit -n)");
    }
    connections
}

/// Connections that are open.
#[derive(Default)]
struct Open {
    all: usize,
    by_network: HashMap<IpAddr, usize>,
}

/// Slots for connections.
#[derive(Clone)]
struct Slots {
    most: usize,
    proxies: Arc<Proxies>,
    open: Arc<Mutex<Open>>,
}

/// One of them; free again when dropped.
struct Slot {
    slots: Slots,
    network: IpAddr,
}

impl Slots {
    fn new(most: usize, proxies: Proxies) -> Self {
        Self {
            most,
            proxies: Arc::new(proxies),
            open: Arc::default(),
        }
    }

    /// A slot for a connection; none where its network, or the relay, has too many.
    fn take(&self, from: IpAddr) -> Option<Slot> {
        let network = network_of(from);
        let mut open = self.lock();
        let own = open.by_network.get(&network).copied().unwrap_or(0);
        let is_near = network.is_loopback() || self.proxies.trust(from);
        let is_free = is_near || own < CONNECTIONS_OF_ONE;
        if open.all >= self.most || !is_free {
            return None;
        }
        open.all += 1;
        open.by_network.insert(network, own + 1);
        let slots = self.clone();
        Some(Slot { slots, network })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.slots.lock();
        open.all -= 1;
        if let Some(own) = open.by_network.get_mut(&self.network) {
            *own -= 1;
            if *own == 0 {
                open.by_network.remove(&self.network);
            }
        }
    }
}

async fn connection<S>(stream: S, relay: Arc<Relay>, from: IpAddr)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let relay = Arc::clone(&relay);
        async move { Ok::<_, Infallible>(routes::answer(relay, from, request).await) }
    });
    let mut stream = TimeoutWriter::new(stream);
    stream.set_timeout(Some(WRITE_PATIENCE));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(64 << 10)
        // An answer is not copied: its bytes are counted until they have left.
        .writev(true)
        .serve_connection(TokioIo::new(Box::pin(stream)), service)
        .with_upgrades();
    // A client that breaks off has broken off.
    let _ = served.await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_with_too_many_connections_gets_no_more() {
        let proxy = "2001:db8:0:2::1".parse().expect("a network");
        let slots = Slots::new(CONNECTIONS, Proxies(vec![proxy]));
        let far: IpAddr = "2001:db8::1".parse().unwrap();
        let beside: IpAddr = "2001:db8::2".parse().unwrap();
        let other: IpAddr = "2001:db8:0:1::1".parse().unwrap();
        let near: IpAddr = "127.0.0.1".parse().unwrap();
        let mut held: Vec<Slot> = (0..CONNECTIONS_OF_ONE)
            .map(|_| slots.take(far).expect("a slot"))
            .collect();
        assert!(slots.take(far).is_none());
        assert!(slots.take(beside).is_none(), "the same network");
        assert!(slots.take(other).is_some());
        let many: Vec<_> = (0..=CONNECTIONS_OF_ONE).map(|_| slots.take(near)).collect();
        assert!(many.iter().all(Option::is_some), "this machine's own");
        let proxy: IpAddr = "2001:db8:0:2::1".parse().unwrap();
        let many: Vec<_> = (0..=CONNECTIONS_OF_ONE)
            .map(|_| slots.take(proxy))
            .collect();
        assert!(many.iter().all(Option::is_some), "a trusted proxy's");
        held.pop();
        assert!(slots.take(beside).is_some(), "one ended");
    }

    #[test]
    fn full_relay_takes_a_connection_when_one_ends() {
        let slots = Slots::new(CONNECTIONS, Proxies::default());
        let near: IpAddr = "127.0.0.1".parse().unwrap();
        let mut held: Vec<Slot> = (0..CONNECTIONS)
            .map(|_| slots.take(near).expect("a slot"))
            .collect();
        let far: IpAddr = "2001:db8::1".parse().unwrap();
        assert!(slots.take(near).is_none() && slots.take(far).is_none());
        held.pop();
        assert!(slots.take(far).is_some(), "one ended");
    }
}
