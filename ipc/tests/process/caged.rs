//! The same process in the cage that its launcher would have made.

use super::stories::{Scene, talk};
use plexus_ipc::gateway::{Receiver, Sender};
use plexus_ipc::message::{Call, Commit, Done, FromWorker, Role, Stamp, ToWorker};
use plexus_protocol::{Digest, Verb};
use serde_json::{Value, json};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

pub(crate) const ALL: &[(&str, fn())] = stories![
    in_its_cage_a_reader_reads,
    in_its_cage_a_writer_writes,
    a_reader_in_the_cage_of_a_writer_does_not_start,
    what_its_cage_allows_it_gives_up,
    a_gateway_that_goes_ends_the_whole_group,
];

/// Cages, each with the role of the worker in it.
const READER: [&str; 2] = ["strict", "reader"];
const WRITER: [&str; 2] = ["strict", "writer"];
const LOOSE: [&str; 2] = ["loose", "reader"];

fn call(name: &str, input: Value) -> Call {
    let input = plexus_protocol::json::canonical(&input);
    Call {
        id: 1,
        audit: None,
        owner: false,
        capability: name.into(),
        input_digest: Digest::of(&input),
        input: input.into(),
        constraint: None,
        deadline_ms: 10_000,
    }
}

/// A worker in one of the cages, and what a gateway of this role says to it; its end, and what it logged.
fn caged(
    scene: &Scene,
    [cage, role]: [&str; 2],
    as_role: Role,
    story: impl AsyncFnOnce(Sender, Receiver),
) -> (ExitStatus, String) {
    let arguments = ["caged", cage, role, &scene.root()];
    let ((), status, log) = talk(&arguments, as_role, scene, story);
    (status, log)
}

async fn done(hear: &mut Receiver) -> Done {
    match hear.next().await.unwrap() {
        Some(FromWorker::Done(done)) => *done,
        other => panic!("no answer: {other:?}"),
    }
}

async fn stopped(say: &Sender, hear: &mut Receiver) {
    say.send(ToWorker::Stop).await.unwrap();
    assert!(hear.next().await.unwrap().is_none());
}

async fn opened(hear: &mut Receiver) {
    loop {
        match hear.next().await.unwrap().expect("it went") {
            FromWorker::Hello { cage, .. } => {
                assert!(cage.sound(), "{:?}", cage.failures().collect::<Vec<_>>());
            }
            FromWorker::Opened { .. } => return,
            _ => {}
        }
    }
}

fn in_its_cage_a_reader_reads() {
    let scene = Scene::new();
    let (status, log) = caged(&scene, READER, Role::Reader, async |say, mut hear| {
        opened(&mut hear).await;
        let read = call("page.read", json!({"name": "a"}));
        say.send(ToWorker::Read(read)).await.unwrap();
        let done = done(&mut hear).await;
        assert_eq!(&*done.result.unwrap().output, br#"{"text":"alpha"}"#);
        let plan = call("page.write", json!({"name": "b"}));
        say.send(ToWorker::Plan(plan)).await.unwrap();
        let Some(FromWorker::Planned(planned)) = hear.next().await.unwrap() else {
            panic!("no plan");
        };
        assert!(planned.result.is_ok());
        stopped(&say, &mut hear).await;
    });
    assert_eq!(status.code(), Some(0), "{log}");
}

fn in_its_cage_a_writer_writes() {
    let scene = Scene::new();
    let (status, log) = caged(&scene, WRITER, Role::Writer, async |say, mut hear| {
        opened(&mut hear).await;
        let commit = Commit {
            call: call("page.write", json!({"name": "b", "text": "beta"})),
            state_token: None,
            expect: None,
            conversation: None,
            permit_rating: Verb::Write,
            durable: Stamp {
                launch: 1,
                sequence: 1,
            },
        };
        say.send(ToWorker::Commit(Box::new(commit))).await.unwrap();
        let done = done(&mut hear).await;
        assert!(done.result.is_ok(), "{done:?}");
        stopped(&say, &mut hear).await;
    });
    assert_eq!(status.code(), Some(0), "{log}");
    let written = std::fs::read_to_string(scene.folder.path().join("b"));
    assert_eq!(written.unwrap(), "beta");
}

fn a_reader_in_the_cage_of_a_writer_does_not_start() {
    let scene = Scene::new();
    let (status, _) = caged(&scene, WRITER, Role::Reader, async |_say, mut hear| {
        let Some(FromWorker::Hello { cage, .. }) = hear.next().await.unwrap() else {
            panic!("no Hello");
        };
        let mut holes = cage.failures().map(|check| check.name.as_str());
        assert!(holes.any(|name| name == "create a file in the root"));
        assert!(hear.next().await.unwrap().is_none());
    });
    assert_eq!(status.code(), Some(1));
}

fn what_its_cage_allows_it_gives_up() {
    let scene = Scene::new();
    let (status, log) = caged(&scene, LOOSE, Role::Reader, async |say, mut hear| {
        // The attack on exec and fork fails although the kernel's part of the cage would let it through.
        opened(&mut hear).await;
        stopped(&say, &mut hear).await;
    });
    assert_eq!(status.code(), Some(0), "{log}");
}

fn a_gateway_that_goes_ends_the_whole_group() {
    let scene = Scene::new();
    let (status, log) = caged(&scene, READER, Role::Reader, async |say, mut hear| {
        opened(&mut hear).await;
        drop((say, hear));
    });
    assert_eq!(status.signal(), Some(9), "{log}");
    assert!(log.contains("the gateway is gone"), "{log}");
}
