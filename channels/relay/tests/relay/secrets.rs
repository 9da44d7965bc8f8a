//! What a relay knows: nothing of what is planted here is in its store, its servers' files, its log or its memory.

use crate::harness::{Relay, event, id_of, listener, story};
use plexus_channels::base64url;
use std::io::{Read as _, Seek as _, SeekFrom};

const PAGE: usize = 4_096;

/// All of a process's memory that it can read itself: more than a core of it would hold.
fn memory(pid: u32) -> Vec<u8> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("its maps");
    let mut memory = std::fs::File::open(format!("/proc/{pid}/mem")).expect("its memory");
    let mut all = Vec::new();
    for map in maps.lines() {
        let mut words = map.split_whitespace();
        let (Some(range), Some(rights)) = (words.next(), words.next()) else {
            continue;
        };
        let (Some((from, to)), true) = (range.split_once('-'), rights.starts_with('r')) else {
            continue;
        };
        let number = |text| u64::from_str_radix(text, 16).expect("an address");
        let (from, to) = (number(from), number(to));
        if memory.seek(SeekFrom::Start(from)).is_err() {
            continue;
        }
        let mut bytes = vec![0; usize::try_from(to - from).expect("a size")];
        let mut read = 0;
        // A mapping may end before its range does, as that of a file that was cut; what is there counts.
        while let Ok(more @ 1..) = memory.read(&mut bytes[read..]) {
            read += more;
        }
        // Pages that nobody has written hold nothing.
        let pages = bytes[..read].chunks(PAGE);
        let pages = pages.filter(|page| page.iter().any(|byte| *byte != 0));
        pages.for_each(|page| all.extend_from_slice(page));
    }
    all
}

fn has(bytes: &[u8], what: &[u8]) -> bool {
    memchr::memmem::find(bytes, what).is_some()
}

#[test]
fn texts_names_of_channels_and_keys_are_nowhere_in_the_relay() {
    story(async {
        let mut relay = Relay::start();
        let (ann, bob) = (
            relay.account("Ann-visible").await,
            relay.account("Bob").await,
        );
        let mut events = listener(&bob).await;
        let name = "planted-name-6f1c";
        let channel = ann
            .create(name, &[id_of(&bob)], Some("planted-opening-51aa"))
            .await
            .expect("made");
        // Each planted text and name begins so.
        let mut planted = vec![b"planted-".to_vec()];
        for n in 0..50 {
            let text = format!("planted-text-{n}-9b2e");
            ann.send(channel.id, &text).await.expect("sent");
        }
        ann.rename(channel.id, "planted-other-name-77d0")
            .await
            .expect("renamed");
        ann.rotate(channel.id).await.expect("rotated");
        let sent = ann
            .send(channel.id, "planted-after-rotation")
            .await
            .expect("sent");
        while !matches!(event(&mut events).await, plexus_channels::wire::Event::MessageCreated { message, .. } if message == sent)
        {
        }
        // Both halves of each private key, as PEM has them and as bytes; and the invitation, which only its hash remains of.
        for account in [&ann, &bob] {
            let pem = std::fs::read_to_string(account.identity().folder().join("private_key.pem"))
                .expect("a key");
            let line = pem.lines().nth(1).expect("base64").to_owned();
            planted.push(line.into_bytes());
            let der: Vec<u8> = {
                use base64::Engine as _;
                let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
                base64::engine::general_purpose::STANDARD
                    .decode(text)
                    .expect("base64")
            };
            // PKCS#8 of P-256: the scalar is at 36.
            planted.push(der[36..68].to_vec());
        }
        for key in ann.held_keys(channel.id) {
            planted.push(key.to_vec());
            planted.push(base64url::encode(&key).into_bytes());
        }
        assert_eq!(planted.len(), 1 + 4 + 4);

        let memory = memory(relay.pid());
        relay.stop();
        let (store, log) = (
            std::fs::read(relay.store()).expect("the store"),
            std::fs::read(relay.log()).expect("the log"),
        );
        // On NATS the store is a cache, and all of it is with the servers too.
        let servers = relay.end_servers();
        assert_eq!(servers.is_some(), crate::ON_NATS);
        let servers = servers.unwrap_or_else(|| store.clone());
        let places = [("memory", &memory), ("store", &store), ("log", &log)];
        for (place, bytes) in places.into_iter().chain([("servers' folder", &servers)]) {
            for secret in &planted {
                assert!(
                    !has(bytes, secret),
                    "{} is in the {place}",
                    String::from_utf8_lossy(secret)
                );
            }
        }
        // The search finds what is there: a user's name, which a relay knows by design, and a ciphertext.
        assert!(has(&store, b"Ann-visible") && has(&memory, b"Ann-visible"));
        assert!(has(&store, &sent.ciphertext.0) && !log.is_empty());
        assert!(has(&servers, b"Ann-visible") && has(&servers, &sent.ciphertext.0));
    });
}
