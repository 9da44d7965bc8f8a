//! From `Hello` to the end, and everything that ends a worker.

use super::shelf::{World, one_of};
use super::talk::{Talk, call, report, soon, start, worker};
use plexus_ipc::frame::{FrameError, FrameReader, MAX_FRAME, PREFIX, decode, encode};
use plexus_ipc::gateway::{self, ConnectionError, Receiver, Sender};
use plexus_ipc::manifest::Manifest;
use plexus_ipc::message::{
    Failure, FromWorker, Health, OpenFailure, Phase, Role, Start, ToWorker, Verdict, WorkerError,
};
use plexus_ipc::stream::{self, ReadHalf, WriteHalf};
use plexus_ipc::worker::serve::ServeEnd;
use plexus_protocol::AuditId;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinHandle;

/// A worker, a gateway that speaks to it, and how the worker ends.
fn talked(start: Start, held: bool) -> (Sender, Receiver, JoinHandle<ServeEnd>) {
    let role = start.role;
    let (fd, ended) = worker(start, report(held));
    let (say, hear) = gateway::connect(fd, role).unwrap();
    (say, hear, ended)
}

async fn next(hear: &mut Receiver) -> Option<FromWorker> {
    soon(hear.next()).await.unwrap()
}

fn opened() -> FromWorker {
    FromWorker::Opened {
        health: Health::Well,
    }
}

#[tokio::test]
async fn a_start_goes_through_its_phases() {
    let (number, _) = World::make(&[("a", "alpha")]);
    let (say, mut hear, ended) = talked(start(number, "needs a secret", Role::Reader), true);
    assert_eq!(say.phase(), Phase::Starting);
    let Some(FromWorker::Hello { build, cage }) = next(&mut hear).await else {
        panic!("no Hello");
    };
    assert_eq!(build, plexus_ipc::BUILD);
    assert!(cage.sound());
    assert_eq!(say.phase(), Phase::Greeted);
    let digest = Manifest::parse(&super::shelf::manifest()).unwrap().digest();
    let described = FromWorker::Described { manifest: digest };
    assert_eq!(next(&mut hear).await, Some(described));
    assert_eq!(next(&mut hear).await, Some(opened()));
    assert_eq!(say.phase(), Phase::Ready);
    say.send(ToWorker::Stop).await.unwrap();
    let after = say.send(ToWorker::Probe { nonce: 1 }).await;
    let is_refused = matches!(after, Err(ConnectionError::OutOfPlace { .. }));
    assert!(is_refused, "nothing after Stop: {after:?}");
    assert!(matches!(soon(ended).await.unwrap(), ServeEnd::Stopped));
    assert_eq!(next(&mut hear).await, None);
}

#[tokio::test]
async fn a_cage_with_a_hole_is_reported_and_nothing_is_opened() {
    let (number, _) = World::make(&[]);
    let (_say, mut hear, ended) = talked(start(number, "panics", Role::Reader), false);
    let Some(FromWorker::Hello { cage, .. }) = next(&mut hear).await else {
        panic!("no Hello");
    };
    assert!(!cage.sound());
    assert_eq!(next(&mut hear).await, None, "it is over");
    assert!(matches!(soon(ended).await.unwrap(), ServeEnd::Unsound));
}

#[tokio::test]
async fn only_a_proof_opens_nothing() {
    let (number, _) = World::make(&[]);
    let mut start = start(number, "panics", Role::Writer);
    start.proof_only = true;
    let (_say, mut hear, ended) = talked(start, true);
    for due in ["Hello", "Described"] {
        assert_eq!(next(&mut hear).await.unwrap().name(), due);
    }
    assert_eq!(next(&mut hear).await, None, "it is over");
    assert!(matches!(soon(ended).await.unwrap(), ServeEnd::Stopped));
}

#[tokio::test]
async fn a_source_that_does_not_open_says_why() {
    for (open, reason) in [
        ("fails", OpenFailure::Unavailable),
        ("panics", OpenFailure::Internal),
        ("config", OpenFailure::Config),
    ] {
        let (number, _) = World::make(&[]);
        let mut start = start(number, open, Role::Reader);
        if open == "config" {
            start.config = b"{}".to_vec().into();
        }
        let (_say, mut hear, ended) = talked(start, true);
        next(&mut hear).await;
        next(&mut hear).await;
        let Some(FromWorker::OpenFailed(error)) = next(&mut hear).await else {
            panic!("it opened");
        };
        assert_eq!(error.reason, reason);
        assert!(!error.message.is_empty());
        assert!(matches!(
            soon(ended).await.unwrap(),
            ServeEnd::OpenFailed(_)
        ));
    }
}

#[tokio::test]
async fn probes_are_answered_while_a_source_opens() {
    let (number, world) = World::make(&[("a", "alpha")]);
    let (say, mut hear, ended) = talked(start(number, "waits", Role::Reader), true);
    next(&mut hear).await;
    next(&mut hear).await;
    soon(one_of(&world.entered)).await;
    say.send(ToWorker::Probe { nonce: 8 }).await.unwrap();
    let Some(FromWorker::Probed { nonce, health }) = next(&mut hear).await else {
        panic!("no answer")
    };
    assert_eq!(nonce, 8);
    assert!(matches!(health, Health::Degraded(_)));
    world.go_on.add_permits(1);
    assert_eq!(next(&mut hear).await, Some(opened()));
    drop((say, hear));
    assert!(matches!(soon(ended).await.unwrap(), ServeEnd::GatewayGone));
}

#[tokio::test]
async fn health_is_the_apps_and_ends_nobody() {
    let mut talk = Talk::reader(&[]).await;
    assert!(matches!(talk.health, Health::Unavailable(_)));
    talk.world.items().insert("a".into(), "alpha".into());
    talk.say(ToWorker::Probe { nonce: 2 }).await;
    let (nonce, health) = (2, Health::Well);
    assert_eq!(talk.next().await, FromWorker::Probed { nonce, health });
}

#[tokio::test]
async fn check_asks_the_app_which_a_probe_does_not() {
    let mut talk = Talk::reader(&[("a", "alpha")]).await;
    let full = Health::Degraded("1 item, counted".into());
    for (message, nonce, health) in [
        (ToWorker::Check { nonce: 2 }, 2, full),
        (ToWorker::Probe { nonce: 3 }, 3, Health::Well),
    ] {
        talk.say(message).await;
        assert_eq!(talk.next().await, FromWorker::Probed { nonce, health });
    }
}

#[tokio::test]
async fn check_without_an_answer_is_unavailable() {
    let mut talk = Talk::reader(&[]).await;
    talk.say(ToWorker::Check { nonce: 2 }).await;
    let answer = talk.next().await;
    assert!(
        matches!(&answer, FromWorker::Probed { nonce: 2, health: Health::Unavailable(why) } if why.contains("within 3 s")),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_writer_settles_what_is_unknown() {
    let mut talk = Talk::writer(&[]).await;
    let audit = AuditId::parse("evt_00000000-0000-8000-8000-000000000001").unwrap();
    talk.say(ToWorker::Settle { id: 4, audit }).await;
    let (id, verdict) = (4, Verdict::Happened);
    assert_eq!(talk.next().await, FromWorker::Settled { id, verdict });
}

#[tokio::test]
async fn a_gateway_that_goes_takes_its_reads_along() {
    let talk = Talk::reader(&[]).await;
    talk.say(ToWorker::Read(call("item.wait", json!({})))).await;
    soon(one_of(&talk.world.entered)).await;
    let world = std::sync::Arc::clone(&talk.world);
    assert!(matches!(talk.hang_up().await, ServeEnd::GatewayGone));
    soon(one_of(&world.dropped)).await;
}

#[tokio::test]
async fn a_gateway_that_goes_with_something_unread_is_gone() {
    let (number, world) = World::make(&[]);
    let (fd, ended) = worker(start(number, "waits", Role::Reader), report(true));
    soon(one_of(&world.entered)).await;
    drop(fd); // Hello and Described are in its queue
    assert!(matches!(soon(ended).await.unwrap(), ServeEnd::GatewayGone));
}

#[tokio::test]
async fn a_stop_cancels_reads_with_an_answer() {
    let mut talk = Talk::reader(&[]).await;
    talk.say(ToWorker::Read(call("item.wait", json!({})))).await;
    soon(one_of(&talk.world.entered)).await;
    talk.say(ToWorker::Stop).await;
    let ended = talk.done().await.result.expect_err("cancelled");
    assert_eq!(ended.code, Failure::Cancelled);
    assert!(matches!(soon(talk.ended).await.unwrap(), ServeEnd::Stopped));
    let idle = Talk::reader(&[]).await.stop().await;
    assert!(matches!(idle, ServeEnd::Stopped));
}

type Frames = FrameReader<ReadHalf, FromWorker>;

/// A worker that is ready, with a gateway that writes what it likes.
async fn raw(role: Role) -> (WriteHalf, Frames, JoinHandle<ServeEnd>) {
    let (number, _) = World::make(&[]);
    let (fd, ended) = worker(start(number, "", role), report(true));
    let (read, write) = stream::split(fd).unwrap();
    let mut frames = FrameReader::new(read, MAX_FRAME);
    while !matches!(
        soon(frames.next()).await.unwrap().unwrap(),
        FromWorker::Opened { .. }
    ) {}
    (write, frames, ended)
}

#[tokio::test]
async fn bytes_that_are_no_message_end_the_worker() {
    let frame = encode(&ToWorker::Probe { nonce: 1 }, MAX_FRAME).unwrap();
    let garbage = [&3u32.to_le_bytes()[..], b"\xff\xff\xff"].concat();
    let oversized = u32::try_from(MAX_FRAME + 1).unwrap().to_le_bytes().to_vec();
    for bytes in [garbage, oversized, vec![0; PREFIX]] {
        let (mut write, mut frames, ended) = raw(Role::Reader).await;
        // A good one before it is still answered.
        let both = [frame.clone(), bytes].concat();
        write.write_all(&both).await.unwrap();
        assert!(matches!(
            soon(frames.next()).await.unwrap(),
            None | Some(FromWorker::Probed { nonce: 1, .. })
        ));
        assert!(matches!(
            soon(ended).await.unwrap(),
            ServeEnd::Frame(FrameError::Decode(_) | FrameError::Length { .. })
        ));
    }
    let (mut write, frames, ended) = raw(Role::Reader).await;
    write.write_all(&frame[..frame.len() - 1]).await.unwrap();
    drop((write, frames));
    assert!(matches!(
        soon(ended).await.unwrap(),
        ServeEnd::Frame(FrameError::Truncated)
    ));
}

#[tokio::test]
async fn what_is_out_of_place_ends_the_worker() {
    let read = || ToWorker::Read(call("item.wait", json!({})));
    let plan = || ToWorker::Plan(call("item.write", json!({"path": "a"})));
    let commit = || ToWorker::Commit(Box::new(super::talk::write("a", "new")));
    let (number, _) = World::make(&[]);
    let again = || ToWorker::Start(Box::new(start(number, "", Role::Reader)));
    for (role, messages) in [
        (Role::Reader, vec![commit()]),
        (Role::Writer, vec![read()]),
        (Role::Writer, vec![plan()]),
        (Role::Reader, vec![again()]),
        (Role::Reader, vec![read(), read()]), // the same id twice
        (
            Role::Reader,
            vec![ToWorker::Stop, ToWorker::Probe { nonce: 1 }],
        ),
    ] {
        let (mut write, _frames, ended) = raw(role).await;
        let name = messages.last().unwrap().name();
        let stops = matches!(messages[0], ToWorker::Stop);
        let bytes = messages.iter().flat_map(|m| encode(m, MAX_FRAME).unwrap());
        write.write_all(&bytes.collect::<Vec<u8>>()).await.unwrap();
        match soon(ended).await.unwrap() {
            ServeEnd::OutOfPlace(found) => assert_eq!(found, name),
            // Nothing was under way, so it may be gone before it sees what comes after Stop.
            ServeEnd::Stopped if stops => {}
            other => panic!("{name}: {other}"),
        }
    }
    // The positive control: in its place, the same commit is done.
    let (mut write, mut frames, _ended) = raw(Role::Writer).await;
    let frame = encode(&commit(), MAX_FRAME).unwrap();
    write.write_all(&frame).await.unwrap();
    let Some(FromWorker::Done(done)) = soon(frames.next()).await.unwrap() else {
        panic!("no answer");
    };
    assert!(done.result.is_ok());
}

#[tokio::test]
async fn a_worker_that_speaks_out_of_turn_is_not_heard() {
    let hello = || FromWorker::Hello {
        build: "x".into(),
        cage: Box::new(report(true)),
    };
    let described = || FromWorker::Described {
        manifest: plexus_protocol::Digest::of(b""),
    };
    let done = || {
        FromWorker::Done(Box::new(plexus_ipc::message::Done {
            id: 1,
            result: Err(WorkerError::internal("")),
            touched: vec![],
        }))
    };
    let settled = || FromWorker::Settled {
        id: 1,
        verdict: Verdict::Happened,
    };
    let deep = [vec![b'['; 65], vec![b']'; 65]].concat();
    // An `Output` cannot say what is no JSON; a worker can.
    for (output, heard) in [
        (&b"{\"a\":[1]}"[..], true),
        (b"{} {}", false),
        (b"", false),
        (b"\"\xff\"", false),
        (&deep, false),
    ] {
        let frame = encode(&Spoken::done(output), MAX_FRAME).unwrap();
        let decoded = decode::<FromWorker>(&frame[PREFIX..]);
        assert_eq!(decoded.is_ok(), heard, "{output:?}: {decoded:?}");
    }
    for (said, heard) in [
        (vec![hello(), described(), opened(), done()], 4),
        (vec![hello(), described(), opened(), settled()], 3),
        (vec![hello(), described(), opened(), hello()], 3),
        (vec![hello(), described(), done()], 2),
        (vec![hello(), opened()], 1),
        (vec![described()], 0),
        (vec![done()], 0),
    ] {
        let (ours, theirs) = stream::pair().unwrap();
        let (_say, mut hear) = gateway::connect(ours, Role::Reader).unwrap();
        let (_read, mut write) = stream::split(theirs).unwrap();
        for message in &said {
            let frame = encode(message, MAX_FRAME).unwrap();
            write.write_all(&frame).await.unwrap();
        }
        drop((_read, write));
        for message in said.iter().take(heard) {
            assert_eq!(next(&mut hear).await.as_ref(), Some(message));
        }
        match soon(hear.next()).await {
            Ok(None) => assert_eq!(heard, said.len()),
            Err(ConnectionError::OutOfPlace { message, .. }) => {
                assert_eq!(message, said[heard].name());
            }
            other => panic!("{other:?}"),
        }
    }
}

/// An answer as a worker can write it whose types are not ours.
#[derive(serde::Serialize)]
enum Spoken<'o> {
    Done {
        id: u64,
        result: Result<SpokenAnswer<'o>, ()>,
        touched: [(); 0],
    },
}

#[derive(serde::Serialize)]
struct SpokenAnswer<'o> {
    #[serde(serialize_with = "as_bytes")]
    output: &'o [u8],
    summary: &'static str,
}

impl<'o> Spoken<'o> {
    fn done(output: &'o [u8]) -> Self {
        Self::Done {
            id: 1,
            result: Ok(SpokenAnswer {
                output,
                summary: "",
            }),
            touched: [],
        }
    }
}

fn as_bytes<S: serde::Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
    s.serialize_bytes(bytes)
}
