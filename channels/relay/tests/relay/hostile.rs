//! Attacks on a relay by its own members, and by others: each with what goes on meanwhile.

use crate::harness::{Relay, id_of, raw, story};
use plexus_channels::account::Account;
use plexus_channels::{Id, base64url, limits};
use plexus_hostile::relays::Unread;
use serde_json::json;

/// Requests that nobody reads the answers of. All of them would be 700 MB.
const UNREAD: usize = 60;
/// Kilobytes that they may cost: what one member may hold, and what is built of it meanwhile.
const MOST: u64 = 200_000;

/// The most memory that a process has had, in kilobytes.
fn peak(relay: &Relay) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", relay.pid()));
    let status = status.expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|kb| kb.parse().ok()).expect("its memory")
}

async fn token(account: &Account) -> String {
    account.api().token().await.expect("logged in").to_string()
}

#[test]
fn history_without_a_reader_is_bounded_and_others_are_served() {
    story(async {
        let relay = Relay::start();
        let (eve, bob) = (relay.account("Eve").await, relay.account("Bob").await);
        let channel = eve.create("c", &[id_of(&bob)], None).await.expect("made");
        let messages = format!("/v1/channels/{}/messages", channel.id);
        let (eve, bob) = (token(&eve).await, token(&bob).await);
        // Of the largest size. The relay cannot tell what it means.
        let [nonce, sealed] =
            [12, limits::CIPHERTEXT_BYTES].map(|n| base64url::encode(&vec![7; n]));
        for seq in 1..=200 {
            let post = json!({"client_message_id": Id::generate(), "key_version": 1, "seq": seq,
                "nonce": nonce, "ciphertext": sealed});
            let post = post.to_string();
            let sent = raw(
                &relay.endpoint,
                "POST",
                &messages,
                Some(&eve),
                post.as_bytes(),
            )
            .await;
            assert_eq!(sent.0, 201, "{sent:?}");
        }
        let page = format!("{messages}?limit=200");
        let read = async |token: &str| {
            let (status, _, page) = raw(&relay.endpoint, "GET", &page, Some(token), b"").await;
            (status, page["messages"].as_array().map(Vec::len))
        };
        assert_eq!(read(&bob).await, (200, Some(200)));
        let before = peak(&relay);
        let head = format!("GET {page} HTTP/1.1\r\nAuthorization: Bearer {eve}");
        let ask = || Unread::asked(&relay.endpoint.authority(), &head, "").expect("connected");
        let mut unread: Vec<Unread> = (0..UNREAD).map(|_| ask()).collect();
        let answered = unread
            .iter_mut()
            .map(|one| one.status().expect("an answer"));
        let answered: Vec<u16> = answered.collect();
        // All of them came to the relay: it holds some pages, and refuses more.
        let held = answered.iter().filter(|status| **status == 200).count();
        let refused = answered.iter().filter(|status| **status == 429).count();
        let grown = peak(&relay) - before;
        assert!(grown < MOST, "{grown} kB");
        assert!(held > 0 && held + refused == UNREAD, "{answered:?}");
        // Others are served meanwhile; and so is this member again, once the answers are gone.
        assert_eq!(read(&bob).await, (200, Some(200)));
        drop(unread);
        assert_eq!(read(&eve).await, (200, Some(200)));
    });
}
