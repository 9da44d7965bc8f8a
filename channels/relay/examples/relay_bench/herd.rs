//! A relay that was killed and started again: how long until all its clients are back, at the rates that a relay has by default.
//! They come through a proxy, each from an address of its own, all at once. One whose connection is closed meanwhile, because
//! this one thread was too slow to speak on it, comes again after a second, as a client does.

use crate::clients::{Client, Connection, strangers};
use crate::results::{Bound, Results};
use crate::server::Server;
use futures_util::stream::{self, StreamExt as _};
use plexus_channels::Endpoint;
use plexus_channels::api::Credentials;
use plexus_channels::wire::{Challenge, Token};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) async fn measure(results: &mut Results, many: usize) {
    let mut server = Server::start_with(None, &["--trusted-proxy", "127.0.0.1"]);
    let clients = strangers(&server, many).await;
    server.kill_and_start();
    let began = Instant::now();
    let numbered = clients.iter().zip(0x0a00_0001_u32..);
    let back: Vec<_> = stream::iter(numbered)
        .map(|(client, address)| returned(&server.endpoint, client, address.into()))
        .buffer_unordered(many)
        .map(|(open, again)| (open, again, began.elapsed()))
        .collect()
        .await;
    let mut times: Vec<Duration> = back.iter().map(|(_, _, time)| *time).collect();
    let again: u32 = back.iter().map(|(_, again, _)| *again).sum();
    results.set("herd/attempts more", again.into());
    results.times("herd", &mut times);
    let all = times.last().copied().unwrap_or_default();
    results.set("herd/s", all.as_secs_f64());
    let processor = server.processor().as_secs_f64() * 1e6;
    results.set("herd/processor us", processor / many as f64);
    let what = format!("{many} clients are back after a restart");
    results.target(what, "herd/s", Bound::Most(60.0), "s");
}

/// Comes back, in as many attempts as it takes: what keeps the events open, and how many it took more than one.
async fn returned(endpoint: &Endpoint, client: &Client, address: Ipv4Addr) -> (impl Sized, u32) {
    let mut again = 0;
    loop {
        if let Some(open) = back(endpoint, client, address).await {
            return (open, again);
        }
        again += 1;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Logs in, and opens the events. Nothing where the connection was closed.
async fn back(endpoint: &Endpoint, client: &Client, address: Ipv4Addr) -> Option<impl Sized> {
    let address = address.to_string();
    let forwarded = ("X-Forwarded-For: ", address.as_str());
    let mut connection = Connection::open(endpoint).await;
    let who = Credentials {
        agent_id: client.user,
        device_id: client.device,
        key: Arc::clone(&client.key),
    };
    let body = serde_json::to_string(&who.asking()).expect("JSON");
    let asked = connection.ask("/v1/auth/challenge", forwarded.0, forwarded.1, &body);
    let (status, open) = asked.await?;
    assert!(status == 200, "{}", String::from_utf8_lossy(open));
    let open: Challenge = serde_json::from_slice(open).expect("a challenge");
    let answer = who.prove(&open).expect("a key");
    let body = serde_json::to_string(&answer).expect("JSON");
    let asked = connection.ask("/v1/auth/token", forwarded.0, forwarded.1, &body);
    let (status, token) = asked.await?;
    assert!(status == 200, "{}", String::from_utf8_lossy(token));
    let token: Token = serde_json::from_slice(token).expect("a token");
    connection.events(&token.access_token).await
}
