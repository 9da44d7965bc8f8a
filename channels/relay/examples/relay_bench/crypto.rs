//! One text of 1 KiB, encrypted by its sender and decrypted by a reader.

use crate::results::{Bound, Results};
use plexus_channels::{ChannelKey, Id, MessageContext};
use std::hint::black_box;
use std::time::Instant;

/// Rounds; the middle one counts.
const ROUNDS: usize = 9;

/// Each is done `texts` times in a round.
pub(crate) fn measure(results: &mut Results, texts: u32) {
    let (key, text) = (ChannelKey::generate(), "x".repeat(1_024));
    let context = MessageContext {
        channel_id: Id::generate(),
        key_version: 1,
        sender_id: Id::generate(),
        sender_device_id: Id::generate(),
        client_message_id: Id::generate(),
        seq: 1,
        state: Some([1; 32]),
    };
    let (nonce, ciphertext) = key.seal_text(&context, &text);
    let encrypt = || {
        black_box(key.seal_text(&context, black_box(&text)));
    };
    let decrypt = || {
        let opened = key.open_message(&context, &nonce, black_box(&ciphertext));
        black_box(opened.expect("opens"));
    };
    let (encrypt, decrypt) = (micros(texts, encrypt), micros(texts, decrypt));
    results.set("crypto/encrypt/µs", encrypt);
    results.set("crypto/decrypt/µs", decrypt);
    results.set("crypto/both/µs", encrypt + decrypt);
    let what = "encrypt and decrypt a text of 1 KiB".to_owned();
    results.target(what, "crypto/both/µs", Bound::Most(15.0), "µs");
}

fn micros(texts: u32, work: impl Fn()) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            (0..texts).for_each(|_| work());
            began.elapsed().as_secs_f64() * 1e6 / f64::from(texts)
        })
        .collect();
    rounds.sort_unstable_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}
