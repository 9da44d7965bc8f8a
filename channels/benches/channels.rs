//! What a message costs its sender and its reader, and a key its wrapper. `cargo bench -p plexus-channels`.

use plexus_channels::crypto::WrapContext;
use plexus_channels::{ChannelKey, DeviceKey, Id, MessageContext};

fn main() {
    divan::main();
}

fn context() -> MessageContext {
    MessageContext {
        channel_id: Id::generate(),
        key_version: 1,
        sender_id: Id::generate(),
        sender_device_id: Id::generate(),
        client_message_id: Id::generate(),
        seq: 1,
        state: Some([1; 32]),
    }
}

/// One text of 1 KiB.
#[divan::bench]
fn seal_1_kib(bencher: divan::Bencher<'_, '_>) {
    let (key, context, text) = (ChannelKey::generate(), context(), "x".repeat(1_024));
    bencher.bench_local(|| key.seal_text(&context, &text));
}

/// The same, opened.
#[divan::bench]
fn open_1_kib(bencher: divan::Bencher<'_, '_>) {
    let (key, context, text) = (ChannelKey::generate(), context(), "x".repeat(1_024));
    let (nonce, ciphertext) = key.seal_text(&context, &text);
    bencher.bench_local(|| {
        key.open_message(&context, &nonce, &ciphertext)
            .expect("opens")
    });
}

/// One key for one device: what adding a member or a rotation costs for each device and version.
#[divan::bench]
fn wrap(bencher: divan::Bencher<'_, '_>) {
    let (sender, recipient, key) = (
        DeviceKey::generate(),
        DeviceKey::generate(),
        ChannelKey::generate(),
    );
    let context = WrapContext {
        channel_id: Id::generate(),
        key_version: 1,
        sender_device_id: Id::generate(),
        recipient_device_id: Id::generate(),
        recipient: recipient.public(),
        state: Some(&[1; 32]),
    };
    bencher.bench_local(|| sender.wrap(&key, &context));
}
