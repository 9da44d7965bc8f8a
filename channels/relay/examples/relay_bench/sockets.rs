//! Connections of events: what idle ones hold, and how long a message takes to all members of a large channel.

use crate::Sizes;
use crate::clients::{Client, Connection, create, register};
use crate::durable::body;
use crate::results::{Bound, Results};
use crate::server::Server;
use futures_util::stream::{self, StreamExt as _};
use plexus_channels::{Id, base64url};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Connections that are made at once.
const AT_ONCE: usize = 64;

/// What a connection was told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SocketEvent {
    Ready,
    /// It is in a new channel.
    Added,
    Message(Instant),
}

/// Memory with all connections, and one message to the members among them.
pub(crate) async fn measure(results: &mut Results, server: &Server, sizes: &Sizes) {
    let clients = register(server, sizes.sockets).await;
    let before = server.resident();
    let mut told = connected(server, &clients).await;
    let resident = server.resident();
    results.set("sockets/MB", resident);
    let each = (resident - before) * 1e3 / sizes.sockets as f64;
    results.set("sockets/kB each", each);
    let what = format!("{} idle connections, memory of the relay", sizes.sockets);
    results.target(what, "sockets/MB", Bound::Most(250.0), "MB");
    let members = &clients[..sizes.members];
    fan_out(
        results,
        "fan-out",
        server,
        (members, &mut told),
        sizes.fanned,
    )
    .await;
    let what = format!("a message to {} members, p99", sizes.members);
    results.target(what, "fan-out/p99", Bound::Most(50.0), "ms");
}

/// The same message on a relay where only the members are connected.
pub(crate) async fn members_alone(
    results: &mut Results,
    row: &str,
    server: &Server,
    sizes: &Sizes,
) {
    let clients = register(server, sizes.members).await;
    let mut told = connected(server, &clients).await;
    fan_out(results, row, server, (&clients, &mut told), sizes.fanned).await;
}

/// Connects all, and waits until each is ready.
async fn connected(server: &Server, clients: &[Client]) -> UnboundedReceiver<SocketEvent> {
    let (tell, mut told) = unbounded_channel();
    stream::iter(clients)
        .for_each_concurrent(AT_ONCE, |client| {
            let tell = tell.clone();
            async move {
                let connection = Connection::open(&server.endpoint).await;
                let opened = connection.events(&client.token).await;
                let (stream, read) = opened.expect("the relay keeps it");
                tokio::spawn(listen(stream, read, tell));
            }
        })
        .await;
    for _ in clients {
        assert!(told.recv().await == Some(SocketEvent::Ready));
    }
    told
}

/// Messages to a channel of these members: from the sender's request to each member's connection.
async fn fan_out(
    results: &mut Results,
    row: &str,
    server: &Server,
    (members, told): (&[Client], &mut UnboundedReceiver<SocketEvent>),
    many: usize,
) {
    let creator = &members[0];
    let recipients: Vec<_> = members.iter().map(Client::recipient).collect();
    let mut connection = Connection::open(&server.endpoint).await;
    let (channel, ..) = create(&mut connection, creator, &recipients).await;
    for _ in &members[1..] {
        assert!(told.recv().await == Some(SocketEvent::Added));
    }
    let path = format!("/v1/channels/{channel}/messages");
    let (nonce, sealed) = (base64url::encode(&[7; 12]), base64url::encode(&[7; 240]));
    let mut took: Vec<Duration> = Vec::new();
    for seq in 1..=many as u64 {
        let body = body(Id::generate(), seq, &nonce, &sealed);
        let began = Instant::now();
        connection.post(&path, &creator.token, &body).await;
        for _ in members {
            let Some(SocketEvent::Message(at)) = told.recv().await else {
                panic!("another event than the message")
            };
            took.push(at - began);
        }
    }
    results.times(row, &mut took);
}

/// Reads frames until the relay closes the connection, and answers its pings.
async fn listen(mut stream: TcpStream, mut read: Vec<u8>, tell: UnboundedSender<SocketEvent>) {
    loop {
        while let Some((opcode, from, to)) = frame(&read) {
            match opcode {
                // A text.
                1 => {
                    // Nobody listens once the row is over.
                    let _ = tell.send(event(&read[from..to]));
                }
                // A ping; a pong's mask of zeros leaves its bytes as they are.
                9 => {
                    let mut pong = vec![0x8a, 0x80 | (to - from) as u8, 0, 0, 0, 0];
                    pong.extend_from_slice(&read[from..to]);
                    if stream.write_all(&pong).await.is_err() {
                        return;
                    }
                }
                _ => return,
            }
            read.drain(..to);
        }
        match stream.read_buf(&mut read).await {
            Ok(more) if more > 0 => {}
            _ => return,
        }
    }
}

fn event(text: &[u8]) -> SocketEvent {
    let says = |word: &[u8]| memchr::memmem::find(text, word).is_some();
    if says(br#""message.created""#) {
        SocketEvent::Message(Instant::now())
    } else if says(br#""ready""#) {
        SocketEvent::Ready
    } else {
        SocketEvent::Added
    }
}

/// The first frame of a relay: its opcode, and where its bytes are.
fn frame(read: &[u8]) -> Option<(u8, usize, usize)> {
    let (first, length) = (*read.first()?, *read.get(1)?);
    let (from, length) = match length {
        126 => (
            4,
            usize::from(u16::from_be_bytes(read.get(2..4)?.try_into().ok()?)),
        ),
        127 => {
            let length = u64::from_be_bytes(read.get(2..10)?.try_into().ok()?);
            (10, usize::try_from(length).ok()?)
        }
        short => (2, usize::from(short)),
    };
    let to = from + length;
    (read.len() >= to).then_some((first & 15, from, to))
}
