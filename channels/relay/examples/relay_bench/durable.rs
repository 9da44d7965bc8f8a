//! 64 senders, each waiting for its answer: an answer means that the message is durable.

use crate::clients::{Client, Connection, create, register};
use crate::results::{Bound, Results};
use crate::server::Server;
use crate::{SENDERS, Sizes};
use futures_util::future::join_all;
use plexus_channels::{Endpoint, Id, base64url};
use std::time::{Duration, Instant};

/// A text of some 200 bytes, sealed: the relay looks at nothing of it but its length.
const SEALED: usize = 240;

/// One connection of a device, with the channels that it writes in, one after the other.
pub(crate) struct Sender {
    client: Client,
    connection: Connection,
    /// Each with the number of the device's next message there.
    channels: Vec<(Id, u64)>,
    turn: usize,
}

impl Sender {
    pub(crate) async fn new(endpoint: &Endpoint, client: Client) -> Self {
        Self {
            client,
            connection: Connection::open(endpoint).await,
            channels: Vec::new(),
            turn: 0,
        }
    }

    /// Makes a channel of its own, to write in.
    pub(crate) async fn make_channel(&mut self) {
        let (channel, ..) = create(&mut self.connection, &self.client, &[]).await;
        self.channels.push((channel, 1));
    }

    /// Writes in one of its channels alone from now on.
    pub(crate) fn keep_one_channel(&mut self, n: usize) {
        let at = n % self.channels.len();
        self.channels = vec![self.channels[at]];
    }

    /// Writes one message.
    pub(crate) async fn send(&mut self) {
        self.turn += 1;
        let at = self.turn % self.channels.len();
        let (channel, seq) = &mut self.channels[at];
        let (nonce, sealed) = (base64url::encode(&[7; 12]), base64url::encode(&[7; SEALED]));
        let body = body(Id::generate(), *seq, &nonce, &sealed);
        *seq += 1;
        let path = format!("/v1/channels/{channel}/messages");
        self.connection.post(&path, &self.client.token, &body).await;
    }

    async fn send_until(&mut self, end: Instant) -> Vec<Duration> {
        let mut took = Vec::new();
        loop {
            let began = Instant::now();
            if began >= end {
                return took;
            }
            self.send().await;
            took.push(began.elapsed());
        }
    }
}

/// The body of a message.
pub(crate) fn body(id: Id, seq: u64, nonce: &str, ciphertext: &str) -> String {
    format!(
        r#"{{"client_message_id":"{id}","key_version":1,"seq":{seq},"nonce":"{nonce}","ciphertext":"{ciphertext}"}}"#
    )
}

/// A relay on a store: one sender alone, all senders in one channel, and each in a channel of its own.
pub(crate) async fn measure(
    results: &mut Results,
    store: &str,
    servers: Option<String>,
    sizes: &Sizes,
) {
    let server = Server::start(servers);
    let clients = register(&server, SENDERS).await;
    let mut one = senders(&server, &clients).await;
    let members: Vec<_> = clients.iter().map(Client::recipient).collect();
    let (channel, ..) = create(&mut one[0].connection, &clients[0], &members).await;
    one.iter_mut()
        .for_each(|sender| sender.channels.push((channel, 1)));
    let mut each = senders(&server, &clients).await;
    for sender in &mut each {
        sender.make_channel().await;
    }
    for _ in 0..sizes.rounds {
        let row = format!("durable/{store}/alone");
        round(results, &row, &server, &mut each[..1], sizes).await;
        round(
            results,
            &format!("durable/{store}/one"),
            &server,
            &mut one,
            sizes,
        )
        .await;
        round(
            results,
            &format!("durable/{store}/each"),
            &server,
            &mut each,
            sizes,
        )
        .await;
    }
    if store != "file" {
        return;
    }
    if let Some(closed) = server.stop() {
        results.set("durable/file/acts per commit", closed.acts / closed.commits);
    }
    for (row, senders) in [("one", "in one channel"), ("each", "in a channel each")] {
        let what = |quantity| format!("64 senders {senders}, {quantity}");
        let figure = |quantity| format!("durable/file/{row}/{quantity}");
        let (rate, p99) = (Bound::Least(15_000.0), Bound::Most(10.0));
        results.target(
            what("durable messages"),
            &figure("perSecond"),
            rate,
            "a second",
        );
        results.target(what("p99"), &figure("p99"), p99, "ms");
    }
}

/// A connection for each client.
pub(crate) async fn senders(server: &Server, clients: &[Client]) -> Vec<Sender> {
    let mut senders = Vec::new();
    for client in clients {
        senders.push(Sender::new(&server.endpoint, client.clone()).await);
    }
    senders
}

/// One round; it stays where it is the best one of its row.
pub(crate) async fn round(
    results: &mut Results,
    row: &str,
    server: &Server,
    senders: &mut [Sender],
    sizes: &Sizes,
) {
    let (processor, written) = (server.processor(), server.written());
    let (began, end) = (Instant::now(), Instant::now() + sizes.round);
    let took = join_all(senders.iter_mut().map(|sender| sender.send_until(end))).await;
    let mut took: Vec<Duration> = took.into_iter().flatten().collect();
    let many = took.len() as f64;
    let rate = many / began.elapsed().as_secs_f64();
    let name = format!("{row}/perSecond");
    if results.get(&name).is_some_and(|best| best >= rate) {
        return;
    }
    results.set(&name, rate);
    results.times(row, &mut took);
    let processor = (server.processor() - processor).as_secs_f64() * 1e6 / many;
    results.set(&format!("{row}/µs of the relay's processor"), processor);
    let written = (server.written() - written) / many;
    results.set(&format!("{row}/bytes to the disk"), written);
}
