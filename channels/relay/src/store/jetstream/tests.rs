//! The store on real servers: the laws of every store, relays that share a stream, and streams that cannot be used.

#[allow(dead_code, reason = "the relay's stories use all of it")]
#[path = "../../../tests/relay/nats.rs"]
mod nats;

use super::*;
use crate::store::{Outcome, conformance};
use nats::Nats;
use nats::waiting::{self, until, until_true};
use std::sync::mpsc::{Receiver, channel};
use tokio::runtime::Runtime;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Opens a store; one on the same cache may still be ending.
fn open(runtime: &Runtime, nats: &Nats, cache: &Path) -> JetStream {
    let address = Address::parse(&nats.url()).expect("an address");
    until("the end of another store on the cache", || {
        match runtime.block_on(JetStream::open(&address, cache)) {
            Ok(store) => Some(store),
            Err(why) if why.0.contains("another process has it") => None,
            Err(why) => panic!("{why}"),
        }
    })
}

fn refusal(runtime: &Runtime, nats: &Nats, cache: &Path) -> String {
    let address = Address::parse(&nats.url()).expect("an address");
    until("the end of another store on the cache", || {
        let opened = runtime.block_on(JetStream::open(&address, cache));
        let why = opened.err().expect("refused").0;
        (!why.contains("another process has it")).then_some(why)
    })
}

fn append(store: &JetStream, subject: Subject, expected: u64, act: &str) -> Receiver<Outcome> {
    let (tell, told) = channel();
    let append = Append {
        subject,
        expected,
        act: act.into(),
        rows: Rows::new(),
        snapshot: None,
        then: Box::new(move |outcome| {
            let _ = tell.send(outcome);
        }),
    };
    store.append(append).expect("room");
    told
}

fn outcome(told: &Receiver<Outcome>) -> Outcome {
    told.recv_timeout(waiting::PATIENCE).expect("an outcome")
}

/// Appends until it is known how that ended: a cluster may be electing.
fn settled(store: &JetStream, subject: Subject, expected: u64, act: &str) -> Outcome {
    until("an act that is settled", || {
        let outcome = outcome(&append(store, subject, expected, act));
        (outcome != Outcome::Unknown).then_some(outcome)
    })
}

#[test]
fn one_node_keeps_the_laws_of_a_store() {
    let (runtime, nats) = (runtime(), Nats::one(""));
    let folder = tempfile::tempdir().expect("a folder");
    conformance::all(|| open(&runtime, &nats, &folder.path().join("cache")));
    // A new relay reads the same.
    let other = open(&runtime, &nats, &folder.path().join("other"));
    let own = open(&runtime, &nats, &folder.path().join("cache"));
    assert_eq!(*other.shared.applied.borrow(), *own.shared.applied.borrow());
    let keys = |store: &JetStream| store.row_keys(b"", 9).expect("read");
    assert_eq!(keys(&other), keys(&own));
}

#[test]
fn cluster_of_three_keeps_the_laws_of_a_store() {
    let (runtime, nats) = (runtime(), Nats::three());
    let folder = tempfile::tempdir().expect("a folder");
    conformance::all(|| open(&runtime, &nats, &folder.path().join("cache")));
}

#[derive(Default)]
struct Followed(Mutex<Vec<(u64, String)>>);

impl Follow for Followed {
    fn appended(&self, _: Subject, number: u64, act: &[u8]) -> Option<Snapshot> {
        lock(&self.0).push((number, String::from_utf8_lossy(act).into_owned()));
        None
    }
    fn lost(&self) {}
}

#[test]
fn stores_agree_on_which_act_was_first() {
    let (runtime, nats) = (runtime(), Nats::three());
    let folder = tempfile::tempdir().expect("a folder");
    let stores = ["a", "b"].map(|name| open(&runtime, &nats, &folder.path().join(name)));
    let [a, b] = &stores;
    let followed = Arc::new(Followed::default());
    let follower: Arc<dyn Follow> = Arc::clone(&followed) as _;
    b.follow(Arc::downgrade(&follower));
    let subject = Subject::Channel(Id::generate());
    let acts = |store: &JetStream| {
        store
            .acts(subject, (1, u64::MAX), 1_000, false)
            .expect("read")
    };
    let mut known = Vec::new();
    until_true("a hundred acts", || {
        let number = acts(a).len() as u64;
        if number == 100 {
            return true;
        }
        let names = ["a", "b"].map(|name| format!("{name}{}", known.len()));
        let told = [
            append(a, subject, number, &names[0]),
            append(b, subject, number, &names[1]),
        ];
        let outcomes = told.each_ref().map(outcome);
        known.push((number, names, outcomes));
        // A cluster that elects does not answer.
        until_true("both catch up", || {
            let mut stores = [a, b].into_iter();
            stores.all(|store| runtime.block_on(store.catch_up()).is_ok())
        });
        false
    });
    let read = acts(a);
    assert_eq!(read, acts(b));
    for (number, names, outcomes) in known {
        let at = usize::try_from(number).expect("small");
        for (own, outcome) in names.iter().zip(outcomes) {
            match outcome {
                Outcome::Durable => assert_eq!(read[at].1, own.as_bytes()),
                Outcome::Behind => assert_ne!(read[at].1, own.as_bytes()),
                Outcome::Unknown => {}
            }
        }
    }
    let of_a = read.iter().filter(|(_, act)| act.starts_with(b"a"));
    let of_a: Vec<u64> = of_a.map(|(number, _)| *number).collect();
    let followed = lock(&followed.0);
    let told = followed.iter().filter(|(_, act)| act.starts_with('a'));
    let told: Vec<u64> = told.map(|(number, _)| *number).collect();
    assert_eq!(told, of_a, "each act of the other, once and in order");
}

#[test]
fn message_behind_another_counts_for_nobody() {
    // An old cluster takes a message that it should refuse; so does a server asked without an expected sequence.
    let (runtime, nats) = (runtime(), Nats::one(""));
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(&runtime, &nats, &folder.path().join("cache"));
    let subject = Subject::Channel(Id::generate());
    assert_eq!(settled(&store, subject, 0, "first"), Outcome::Durable);
    let late = Entry::new(Id::generate(), 0, b"late".to_vec(), Rows::new());
    for bytes in [rmp_serde::to_vec(&late).expect("bytes"), b"no act".to_vec()] {
        runtime.block_on(async {
            let sent = store.shared.context.publish(path_of(subject), bytes.into());
            sent.await.expect("sent").await.expect("taken");
        });
    }
    runtime.block_on(store.catch_up()).expect("caught up");
    // Its lane may not have ended since the first act, and go by what it knew then: it says so, and knows better next.
    let mut outcome = settled(&store, subject, 1, "second");
    if outcome == Outcome::Behind {
        outcome = settled(&store, subject, 1, "second");
    }
    assert_eq!(outcome, Outcome::Durable);
    let fresh = open(&runtime, &nats, &folder.path().join("fresh"));
    for store in [&store, &fresh] {
        let acts = store.acts(subject, (1, 9), 9, false).expect("read");
        assert_eq!(acts, [(1, b"first".to_vec()), (2, b"second".to_vec())]);
    }
}

#[test]
fn act_decided_on_one_that_lost_is_not_published() {
    let (runtime, nats) = (runtime(), Nats::one(""));
    // Nothing of `a` runs while this thread does something else: both of its acts are queued before the first is over.
    let of_a = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let outcomes = |told: [Receiver<Outcome>; 2]| {
        let outcomes = of_a.spawn_blocking(move || told.each_ref().map(outcome));
        of_a.block_on(outcomes).expect("two outcomes")
    };
    let folder = tempfile::tempdir().expect("a folder");
    let a = open(&of_a, &nats, &folder.path().join("a"));
    let b = open(&runtime, &nats, &folder.path().join("b"));
    // The second act was decided on the first, not on the one that has its number, whether `a` has read that one or not.
    for has_read in [false, true] {
        let subject = Subject::Channel(Id::generate());
        assert_eq!(settled(&b, subject, 0, "of b"), Outcome::Durable);
        if has_read {
            of_a.block_on(a.catch_up()).expect("caught up");
        }
        let told = [
            append(&a, subject, 0, "first"),
            append(&a, subject, 1, "second"),
        ];
        assert_eq!(outcomes(told), [Outcome::Behind; 2]);
        let told = [
            append(&a, subject, 1, "again"),
            append(&a, subject, 2, "and on"),
        ];
        assert_eq!(outcomes(told), [Outcome::Durable; 2]);
    }
}

#[test]
fn stream_that_lost_what_was_read_is_refused() {
    let (runtime, mut nats) = (runtime(), Nats::one(""));
    let folder = tempfile::tempdir().expect("a folder");
    let [cache, other] = ["cache", "other"].map(|name| folder.path().join(name));
    let store = open(&runtime, &nats, &cache);
    let subject = Subject::Channel(Id::generate());
    assert_eq!(settled(&store, subject, 0, "kept"), Outcome::Durable);
    // A disk that forgets: the servers' files as they were before the second act.
    nats.kill(0);
    nats.save(0, "older");
    nats.restart(0);
    assert_eq!(settled(&store, subject, 1, "lost"), Outcome::Durable);
    drop(store);
    nats.kill(0);
    nats.restore(0, "older");
    nats.restart(0);
    let why = refusal(&runtime, &nats, &cache);
    assert!(why.contains("messages were lost"), "{why}");
    // Another act in its place is seen too.
    let fresh = open(&runtime, &nats, &other);
    assert_eq!(settled(&fresh, subject, 1, "another"), Outcome::Durable);
    let why = refusal(&runtime, &nats, &cache);
    assert!(why.contains("messages were lost"), "{why}");
}

#[test]
fn stream_behind_what_was_read_is_waited_for() {
    let (runtime, mut nats) = (runtime(), Nats::one(""));
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(&runtime, &nats, &folder.path().join("cache"));
    let subject = Subject::Channel(Id::generate());
    let files = |nats: &mut Nats, saved: &str, taken: Option<&str>| {
        nats.kill(0);
        nats.save(0, saved);
        if let Some(taken) = taken {
            nats.restore(0, taken);
        }
        nats.restart(0);
    };
    assert_eq!(settled(&store, subject, 0, "first"), Outcome::Durable);
    files(&mut nats, "older", None);
    assert_eq!(settled(&store, subject, 1, "second"), Outcome::Durable);
    // As a leader that applies what it has: the stream ends before what was read, and later it does not.
    files(&mut nats, "newer", Some("older"));
    until_true("a stream that is behind", || !store.is_current());
    files(&mut nats, "older again", Some("newer"));
    until_true("a stream that is current", || store.is_current());
    assert_eq!(settled(&store, subject, 2, "third"), Outcome::Durable);
    let acts = store.acts(subject, (1, 9), 9, false).expect("read");
    assert_eq!(acts.len(), 3);
}

#[test]
fn store_dropped_on_the_only_thread_of_its_runtime_ends() {
    let nats = Nats::one("");
    let (address, folder) = (nats.url(), tempfile::tempdir().expect("a folder"));
    let (ended, end) = channel();
    std::thread::spawn(move || {
        let address = Address::parse(&address).expect("an address");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(async {
            let store = JetStream::open(&address, &folder.path().join("cache")).await;
            drop(store.expect("opens"));
        });
        let _ = ended.send(());
    });
    // The tasks of the store end only when this thread of theirs is free again.
    end.recv_timeout(PATIENCE * 3).expect("it ends");
}

#[test]
fn stream_that_loses_messages_and_cache_of_another_are_refused() {
    let (runtime, mut nats) = (runtime(), Nats::one(""));
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("cache");
    let store = open(&runtime, &nats, &cache);
    let subject = Subject::Channel(Id::generate());
    assert_eq!(settled(&store, subject, 0, "first"), Outcome::Durable);
    // Another stream under the same name.
    let context = store.shared.context.clone();
    runtime.block_on(async {
        context.delete_stream(STREAM).await.expect("deleted");
        context
            .create_stream(stream::config(1))
            .await
            .expect("made");
    });
    drop(store);
    let why = refusal(&runtime, &nats, &cache);
    assert!(why.contains("of another stream"), "{why}");
    runtime.block_on(async {
        context.delete_stream(STREAM).await.expect("deleted");
        let forgetful = jetstream::stream::Config {
            max_age: Duration::from_secs(60),
            ..stream::config(1)
        };
        context.create_stream(forgetful).await.expect("made");
    });
    let why = refusal(&runtime, &nats, &folder.path().join("other"));
    assert!(why.contains("may lose messages"), "{why}");
    nats.kill(0);
    let why = refusal(&runtime, &nats, &folder.path().join("other"));
    assert!(why.contains("no NATS server"), "{why}");
}

#[test]
fn server_with_password_and_certificate_is_reached() {
    let tls = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixture/tls");
    let file = |name: &str| tls.join(name).display().to_string();
    let (certificate, key) = (file("server.pem"), file("server.key"));
    let nats = Nats::one(&format!(
        "tls {{ cert_file: \"{certificate}\", key_file: \"{key}\" }}\nauthorization {{ user: ann, password: secret }}"
    ));
    let runtime = runtime();
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("cache");
    let credentials = folder.path().join("credentials");
    let mut address = Address::parse(&nats.url()).expect("an address");
    address.authority = Some(tls.join("ca.pem"));
    let opened = |address: &Address, cache: &Path| {
        let opened = runtime.block_on(JetStream::open(address, cache));
        opened.map(drop).map_err(|why| why.0)
    };
    let why = opened(&address, &cache).expect_err("without the password");
    assert!(why.contains("authorization"), "{why}");
    address.credentials = Some(credentials.clone());
    std::fs::write(&credentials, "ann:secret\n").expect("written");
    std::fs::set_permissions(
        &credentials,
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .expect("set");
    opened(&address, &cache).expect("opens");
    address.authority = Some(tls.join("server.key"));
    let why = opened(&address, &folder.path().join("other"));
    let why = why.expect_err("a server that nobody vouches for");
    assert!(why.contains("UnknownIssuer"), "{why}");
}
