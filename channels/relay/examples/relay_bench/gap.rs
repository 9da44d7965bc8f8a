//! A client that connects again, and reads and opens what it has missed.

use crate::clients::{Connection, Recipient, create, register};
use crate::durable::body;
use crate::results::{Bound, Results};
use crate::server::Server;
use crate::{SENDERS, Sizes};
use futures_util::future::join_all;
use plexus_channels::api::Cursor;
use plexus_channels::crypto::Content;
use plexus_channels::events::{Listener, Notice};
use plexus_channels::identity::Home;
use plexus_channels::{Account, Direct, Id, MessageContext, base64url};
use std::sync::Arc;
use std::time::Instant;

/// Reconnections; the fastest one counts.
const TIMES: usize = 3;

pub(crate) async fn measure(results: &mut Results, row: &str, server: &Server, sizes: &Sizes) {
    let folder = tempfile::tempdir().expect("a folder");
    let home = Home::at(&folder.path().join("reader")).expect("a home");
    let direct = Arc::new(Direct::default());
    let identity = home.register(direct.clone(), &server.registration()).await;
    let reader = Account::open(identity.expect("registered"), direct).expect("opens");
    let channel = filled(server, &reader, sizes.gap).await;
    let mut best = f64::INFINITY;
    for _ in 0..TIMES {
        let began = Instant::now();
        let mut listener = Listener::new(Arc::clone(reader.api()));
        while !matches!(
            listener.next().await.expect("it connects"),
            Notice::Bound { .. }
        ) {}
        let (mut read, mut after) = (0, Id::ZERO);
        loop {
            let page = reader.history(channel, Cursor::After(after), 200).await;
            let (page, has_more) = page.expect("a page");
            for opened in page {
                assert!(matches!(opened.content, Ok(Content::Text(_))), "{opened:?}");
                after = opened.message.message_id;
                read += 1;
            }
            if !has_more {
                break;
            }
        }
        assert_eq!(read, sizes.gap);
        best = best.min(began.elapsed().as_secs_f64() * 1e3);
    }
    let figure = format!("{row}/ms");
    results.set(&figure, best);
    if row == "gap" {
        let what = format!("reconnect with a gap of {} messages", sizes.gap);
        results.target(what, &figure, Bound::Most(1_000.0), "ms");
    }
}

/// A channel of the reader's with so many messages of others.
async fn filled(server: &Server, reader: &Account, many: usize) -> Id {
    let clients = register(server, SENDERS).await;
    let identity = reader.identity();
    let mut members: Vec<_> = clients.iter().map(|client| client.recipient()).collect();
    members.push(Recipient {
        user: identity.facts.agent_id,
        device: identity.facts.device_id,
        public: identity.key.public(),
    });
    let mut connections = Vec::new();
    for _ in &clients {
        connections.push(Connection::open(&server.endpoint).await);
    }
    let (channel_id, key, hash) = create(&mut connections[0], &clients[0], &members).await;
    let path = format!("/v1/channels/{channel_id}/messages");
    let writes = clients.iter().zip(connections).enumerate();
    let (path, key) = (&path, &key);
    let writes = writes.map(|(n, (client, mut connection))| async move {
        let share = many / SENDERS + usize::from(n < many % SENDERS);
        for seq in 1..=share as u64 {
            let context = MessageContext {
                channel_id,
                key_version: 1,
                sender_id: client.user,
                sender_device_id: client.device,
                client_message_id: Id::generate(),
                seq,
                state: Some(hash),
            };
            let (nonce, sealed) = key.seal_text(&context, &"missed ".repeat(30));
            let (nonce, sealed) = (base64url::encode(&nonce.0), base64url::encode(&sealed.0));
            let body = body(context.client_message_id, seq, &nonce, &sealed);
            connection.post(path, &client.token, &body).await;
        }
    });
    join_all(writes).await;
    channel_id
}
