//! From the name of a listed host to its addresses: an address, `localhost`, the machine's hosts file, its resolvers.
//!
//! Resolvers are asked over TCP (RFC 7766), so that the cage needs no datagram socket, whose addresses no kernel of
//! ours would hold. Both questions go out on one connection.
//!
//! Invariants: only names that a manifest lists are asked for, as they are, without a search list; an answer is kept for
//! its own time to live and at most [`KEPT`].
//!
//! Must not know: what an address is wanted for.

use plexus_ipc::egress::Names;
use simple_dns::{CLASS, Name, Packet, PacketFlag, Question, RCODE, TYPE, rdata::RData};
use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// Longest that an answer is kept.
const KEPT: Duration = Duration::from_secs(60);
/// How long one resolver may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// Resolvers that are asked, one after the other; as many as the C library's.
const SERVERS: usize = 3;
/// The port of resolvers, which is the one that the cage lets through.
const PORT: u16 = 53;
/// Most addresses of one name.
const ADDRESSES: usize = 16;

/// Why a name has no address.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotFound {
    /// A resolver says so.
    NoAddress,
    /// No resolver answered.
    NoAnswer,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Resolver(Mutex<ResolverState>);

#[derive(Debug, Default)]
struct ResolverState {
    servers: Vec<SocketAddr>,
    hosts: HashMap<String, Vec<IpAddr>>,
    answers: HashMap<String, (Instant, Vec<IpAddr>)>,
}

impl Resolver {
    pub(crate) fn new(names: &Names) -> Self {
        let resolver = Self::default();
        resolver.renew(names);
        resolver
    }

    /// Takes the machine's files as they are now.
    pub(crate) fn renew(&self, names: &Names) {
        *self.known() = ResolverState {
            servers: servers(&names.resolv_conf),
            hosts: hosts(&names.hosts),
            answers: HashMap::new(),
        };
    }

    fn known(&self) -> MutexGuard<'_, ResolverState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The addresses of `host`, those of version 4 first.
    pub(crate) async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, NotFound> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        // Never asked for: RFC 6761.
        if host == "localhost" || host.ends_with(".localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let servers = {
            let known = self.known();
            let kept = known.answers.get(host);
            if let Some((_, found)) = kept.filter(|(until, _)| Instant::now() < *until) {
                return Ok(found.clone());
            }
            if let Some(found) = known.hosts.get(host) {
                return Ok(found.clone());
            }
            known.servers.clone()
        };
        for server in servers {
            // One that fails says nothing of the name.
            let Ok(Ok((mut found, kept))) = timeout(PATIENCE, ask(server, host)).await else {
                continue;
            };
            if found.is_empty() {
                return Err(NotFound::NoAddress);
            }
            found.sort_by_key(IpAddr::is_ipv6);
            found.truncate(ADDRESSES);
            let until = Instant::now() + kept.min(KEPT);
            let mut known = self.known();
            known
                .answers
                .insert(host.to_owned(), (until, found.clone()));
            return Ok(found);
        }
        Err(NotFound::NoAnswer)
    }
}

/// The `nameserver` lines: resolv.conf(5).
fn servers(resolv_conf: &str) -> Vec<SocketAddr> {
    let lines = resolv_conf.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let address = (words.next() == Some("nameserver")).then(|| words.next())??;
        Some(SocketAddr::new(address.parse().ok()?, PORT))
    });
    lines.take(SERVERS).collect()
}

/// hosts(5): an address, then names.
fn hosts(text: &str) -> HashMap<String, Vec<IpAddr>> {
    let mut all: HashMap<String, Vec<IpAddr>> = HashMap::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse().ok()) else {
            continue;
        };
        for name in words {
            all.entry(name.to_ascii_lowercase())
                .or_default()
                .push(address);
        }
    }
    all
}

/// Asks one resolver for both kinds of address. The shortest time to live of what it answers comes along.
async fn ask(server: SocketAddr, host: &str) -> io::Result<(Vec<IpAddr>, Duration)> {
    let mut stream = TcpStream::connect(server).await?;
    let mut questions = Vec::new();
    let kinds = [TYPE::A, TYPE::AAAA];
    for (id, kind) in (1..).zip(kinds) {
        let question = question(id, host, kind).map_err(io::Error::other)?;
        questions.extend(u16::try_from(question.len()).unwrap_or(0).to_be_bytes());
        questions.extend(question);
    }
    stream.write_all(&questions).await?;
    let (mut found, mut kept) = (Vec::new(), KEPT);
    for at in 0..kinds.len() {
        let length = match stream.read_u16().await {
            // Some close after one answer; the first is the one for version 4.
            Err(_) if at > 0 && !found.is_empty() => break,
            length => length?,
        };
        let mut answer = vec![0; length.into()];
        stream.read_exact(&mut answer).await?;
        read(&answer, &mut found, &mut kept)?;
    }
    Ok((found, kept))
}

fn question(id: u16, host: &str, kind: TYPE) -> simple_dns::Result<Vec<u8>> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new(host)?;
    packet
        .questions
        .push(Question::new(name, kind.into(), CLASS::IN.into(), false));
    packet.build_bytes_vec()
}

/// Adds what an answer holds. The resolver has followed aliases; it is trusted with the name as any program trusts it.
fn read(answer: &[u8], found: &mut Vec<IpAddr>, kept: &mut Duration) -> io::Result<()> {
    let packet = Packet::parse(answer).map_err(io::Error::other)?;
    match packet.rcode() {
        RCODE::NoError => {}
        RCODE::NameError => return Ok(()),
        _ => return Err(io::Error::other("the resolver refuses")),
    }
    for record in &packet.answers {
        let address: IpAddr = match &record.rdata {
            RData::A(a) => Ipv4Addr::from(a.address).into(),
            RData::AAAA(aaaa) => Ipv6Addr::from(aaaa.address).into(),
            _ => continue,
        };
        *kept = (*kept).min(Duration::from_secs(record.ttl.into()));
        found.push(address);
    }
    Ok(())
}

#[cfg(test)]
mod oracles;
#[cfg(test)]
mod tests;
