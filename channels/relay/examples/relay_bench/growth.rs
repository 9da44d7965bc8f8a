//! The same rows on a relay that holds many messages in many channels, beside one that holds none.

use crate::clients::{AT_ONCE, register};
use crate::durable::{Sender, round, senders};
use crate::results::{Bound, Results};
use crate::server::Server;
use crate::{SENDERS, Sizes, gap, sockets};
use futures_util::{future::join_all, stream, stream::StreamExt};
use std::cell::Cell;
use std::time::Instant;

/// Connections of each sender while the store is filled.
const LANES: usize = 4;

pub(crate) async fn measure(results: &mut Results, sizes: &Sizes) {
    let (empty, mut full) = (Server::start(None), Server::start(None));
    let clients = register(&full, SENDERS).await;
    let lanes: Vec<_> = clients
        .iter()
        .cycle()
        .take(SENDERS * LANES)
        .cloned()
        .collect();
    let mut lanes = senders(&full, &lanes).await;
    let messages = fill(&full, &mut lanes, sizes).await;
    results.set("growth/full/messages", messages as f64);
    results.set("growth/full/channels", sizes.channels as f64);
    results.set("growth/full/MB on disk", full.stored() / 1e6);
    let bytes = full.stored() / messages.max(1) as f64;
    results.set("growth/full/bytes on disk for each message", bytes);
    results.set("growth/full/MB", full.resident());
    results.set("growth/empty/MB", empty.resident());

    eprintln!("measuring: rows with and without {messages} messages");
    let mut fresh = senders(&empty, &register(&empty, SENDERS).await).await;
    for sender in &mut fresh {
        sender.make_channel().await;
    }
    // As many channels as on the empty store: one of each client, from all over the full one.
    let mut grown: Vec<Sender> = lanes.into_iter().take(SENDERS).collect();
    for (n, sender) in grown.iter_mut().enumerate() {
        sender.keep_one_channel(n);
    }
    for _ in 0..sizes.rounds {
        round(results, "growth/empty/durable", &empty, &mut fresh, sizes).await;
        round(results, "growth/full/durable", &full, &mut grown, sizes).await;
    }
    for (state, server) in [("empty", &empty), ("full", &full)] {
        gap::measure(results, &format!("growth/{state}/gap"), server, sizes).await;
        sockets::members_alone(results, &format!("growth/{state}/fan-out"), server, sizes).await;
    }
    let began = Instant::now();
    full.kill_and_start();
    results.set(
        "growth/full/start after kill/ms",
        began.elapsed().as_secs_f64() * 1e3,
    );

    let channels = sizes.channels;
    let held = format!("{messages} messages in {channels} channels");
    for (what, figure, bound) in [
        ("durable messages", "durable/perSecond", Bound::Least(0.9)),
        ("p50 of a message", "durable/p50", Bound::Most(1.1)),
        ("p99 of a message", "durable/p99", Bound::Most(1.1)),
        ("a gap", "gap/ms", Bound::Most(1.1)),
        ("fan-out, p99", "fan-out/p99", Bound::Most(1.1)),
    ] {
        let (of, to) = (
            format!("growth/full/{figure}"),
            format!("growth/empty/{figure}"),
        );
        results.ratio(
            format!("{held}: {what}, of an empty store's"),
            (&of, &to),
            bound,
        );
    }
}

/// Makes the channels, and writes until there are enough messages or the time is over: how many there are.
async fn fill(server: &Server, lanes: &mut [Sender], sizes: &Sizes) -> u64 {
    eprintln!(
        "filling: {} channels, {} messages",
        sizes.channels, sizes.messages
    );
    let many = lanes.len();
    let began = Instant::now();
    // Few at once: a channel costs so much computing that the last of many would let its open connection wait for too long.
    let lanes_made = lanes.iter_mut().enumerate().map(|(n, lane)| async move {
        let share = sizes.channels / many + usize::from(n < sizes.channels % many);
        for _ in 0..share.max(1) {
            lane.make_channel().await;
        }
    });
    stream::iter(lanes_made)
        .buffer_unordered(AT_ONCE)
        .collect::<()>()
        .await;
    let written = Cell::new(0_u64);
    join_all(lanes.iter_mut().map(|lane| async {
        while written.get() < sizes.messages && Instant::now() < sizes.filled_by {
            written.set(written.get() + 1);
            lane.send().await;
        }
    }))
    .await;
    eprintln!(
        "filled: {} messages in {:.0} s, {:.0} MB on disk",
        written.get(),
        began.elapsed().as_secs_f64(),
        server.stored() / 1e6
    );
    written.get()
}
