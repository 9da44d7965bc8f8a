//! Durable messages a second through a relay's routes, over loopback. `cargo bench -p plexus-relay`.
//!
//! The relay is the program as it is shipped, without limits of rate, on a fresh store in the temporary directory's file
//! system: one file, one server of NATS, and a cluster of three on this machine. Each of 64 senders has one connection, waits for its answer, and sends again. Clients share the machine with the relay.
//!
//! With `bare` the same bytes go to the store alone: what redb gives to 64 callers, without HTTP, JSON and folds.

#![expect(clippy::print_stdout, reason = "a measurement is for people")]

#[allow(dead_code, reason = "the relay's stories use it")]
#[path = "../tests/relay/nats.rs"]
mod nats;

use nats::Nats;
use plexus_channels::wire::{CreateChannel, NewDevice, Post, Register};
use plexus_channels::{Api, Base64Url, ChannelKey, DeviceKey, Direct, Endpoint, Id};
use plexus_channels::{api::Credentials, crypto::WrapContext};
use plexus_relay::store::{Append, Outcome, RedbFile, Store as _, Subject};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const SENDERS: usize = 64;
const RUN: Duration = Duration::from_secs(5);
/// A text of some 200 bytes, sealed.
const SEALED: usize = 240;

struct Relay(Child);

impl Drop for Relay {
    fn drop(&mut self) {
        // It is gone already, or it goes now.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    for channels in [1, SENDERS] {
        for servers in [0, 1, 3] {
            let nats = (servers > 0).then(|| Nats::start(servers, ""));
            let store = nats.as_ref().map(Nats::url);
            let name = match servers {
                0 => "a file".to_owned(),
                n => format!("NATS, {n} servers"),
            };
            report(
                &format!("relay on {name}, {SENDERS} senders, {channels} channels"),
                runtime.block_on(relay(channels, store)),
            );
        }
    }
    report(
        &format!("bare store, {SENDERS} callers"),
        runtime.block_on(bare()),
    );
}

fn report(what: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let rate = took.len() as f64 / RUN.as_secs_f64();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "{what}: {rate:.0} messages/s, p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms",
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

async fn relay(channels: usize, servers: Option<String>) -> Vec<Duration> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("store.redb").display().to_string();
    let store = match servers {
        None => vec!["--store".to_owned(), format!("redb:{file}")],
        Some(servers) => vec!["--store".to_owned(), servers, "--cache".to_owned(), file],
    };
    let program = env!("CARGO_BIN_EXE_plexus-relay");
    let mut child = Command::new(program)
        .arg("serve")
        .args(&store)
        .args(["--listen", "127.0.0.1:0"])
        .args(["--device-rate", "0", "--address-rate", "0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the relay starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("its output"))
        .read_line(&mut line)
        .expect("a line");
    let _relay = Relay(child);
    let ready = line.strip_prefix("PLEXUS_RELAY_READY ").expect("ready");
    let ready: serde_json::Value = serde_json::from_str(ready).expect("JSON");
    let endpoint =
        Endpoint::parse(ready["endpoint"].as_str().expect("an address")).expect("an address");
    let uses = SENDERS.to_string();
    let invited = Command::new(program)
        .arg("invite")
        .args(&store)
        .args(["--organization", "bench", "--uses", &uses])
        .output()
        .expect("invited");
    let invitation = String::from_utf8(invited.stdout)
        .expect("text")
        .trim()
        .to_owned();

    let mut senders = Vec::new();
    for _ in 0..SENDERS {
        let key = Arc::new(DeviceKey::generate());
        let open = Api::new(endpoint.clone(), Arc::new(Direct::default()), None);
        let made = open
            .register(&Register {
                registration_id: Id::generate(),
                invitation_key: invitation.clone(),
                first_name: None,
                last_name: None,
                skills: Vec::new(),
                device: NewDevice {
                    public_key: key.public().to_wire(),
                },
            })
            .await
            .expect("registered");
        let who = Credentials {
            agent_id: made.agent_id,
            device_id: made.device_id,
            key: Arc::clone(&key),
        };
        let api = Api::new(endpoint.clone(), Arc::new(Direct::default()), Some(who));
        senders.push((Arc::new(api), made.agent_id, made.device_id, key));
    }
    let mut ids = Vec::new();
    for group in senders.chunks(SENDERS / channels) {
        let (api, _, device, key) = group.first().expect("a creator");
        let (channel_id, channel_key) = (Id::generate(), ChannelKey::generate());
        let wrap = |(_, _, to, recipient): &(_, _, Id, Arc<DeviceKey>)| {
            key.wrap(
                &channel_key,
                &WrapContext {
                    channel_id,
                    key_version: 1,
                    sender_device_id: *device,
                    recipient_device_id: *to,
                    recipient: recipient.public(),
                },
            )
        };
        let create = CreateChannel {
            channel_id,
            name: channel_key.seal_name(channel_id, 1, *device, "bench"),
            members: group.iter().map(|(_, user, ..)| *user).collect(),
            keys: group.iter().map(wrap).collect(),
            message: None,
        };
        api.create(&create).await.expect("made");
        ids.extend(group.iter().map(|_| channel_id));
    }
    let until = Instant::now() + RUN;
    let tasks: Vec<_> = senders
        .into_iter()
        .zip(ids)
        .map(|((api, ..), channel)| {
            tokio::spawn(async move {
                let mut took = Vec::new();
                for seq in 1.. {
                    let began = Instant::now();
                    if began >= until {
                        break;
                    }
                    let post = Post {
                        client_message_id: Id::generate(),
                        key_version: 1,
                        seq,
                        nonce: Base64Url(vec![7; 12]),
                        ciphertext: Base64Url(vec![7; SEALED]),
                    };
                    api.post(channel, &post).await.expect("sent");
                    took.push(began.elapsed());
                }
                took
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.expect("ends"));
    }
    all
}

async fn bare() -> Vec<Duration> {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Arc::new(RedbFile::open(&folder.path().join("store.redb")).expect("opens"));
    let until = Instant::now() + RUN;
    let tasks: Vec<_> = (0..SENDERS)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let (subject, mut took) = (Subject::Channel(Id::generate()), Vec::new());
                for expected in 0.. {
                    let began = Instant::now();
                    if began >= until {
                        break;
                    }
                    let (tell, told) = tokio::sync::oneshot::channel();
                    let append = Append {
                        subject,
                        expected,
                        act: vec![7; SEALED + 100],
                        rows: Vec::new(),
                        snapshot: None,
                        then: Box::new(move |outcome| {
                            let _ = tell.send(outcome);
                        }),
                    };
                    store.append(append).expect("room");
                    assert_eq!(told.await, Ok(Outcome::Durable));
                    took.push(began.elapsed());
                }
                took
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.expect("ends"));
    }
    all
}
