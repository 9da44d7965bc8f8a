//! The same process in the cage that its launcher would have made.

use super::stories::{Scene, talk};
use plexus_ipc::gateway::Receiver;
use plexus_ipc::message::{Call, Commit, FromWorker, Role, Stamp, ToWorker};
use plexus_protocol::{Digest, Verb};
use serde_json::{Value, json};
use std::os::unix::process::ExitStatusExt;

pub(crate) const ALL: &[(&str, fn())] = &[
    ("in_its_cage_a_reader_reads", in_its_cage_a_reader_reads),
    ("in_its_cage_a_writer_writes", in_its_cage_a_writer_writes),
    (
        "a_reader_in_the_cage_of_a_writer_does_not_start",
        a_reader_in_the_cage_of_a_writer_does_not_start,
    ),
    (
        "what_its_cage_allows_it_gives_up",
        what_its_cage_allows_it_gives_up,
    ),
    (
        "a_gateway_that_goes_ends_the_whole_group",
        a_gateway_that_goes_ends_the_whole_group,
    ),
];

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
    let arguments = ["caged", "strict", "reader", &scene.root()];
    let ((), status, log) = talk(&arguments, Role::Reader, &scene, async |say, mut hear| {
        opened(&mut hear).await;
        say.send(ToWorker::Read(call("page.read", json!({"name": "a"}))))
            .await
            .unwrap();
        let Some(FromWorker::Done(done)) = hear.next().await.unwrap() else {
            panic!("no answer");
        };
        assert_eq!(&*done.result.unwrap().output, br#"{"text":"alpha"}"#);
        say.send(ToWorker::Plan(call("page.write", json!({"name": "b"}))))
            .await
            .unwrap();
        let Some(FromWorker::Planned(planned)) = hear.next().await.unwrap() else {
            panic!("no plan");
        };
        assert!(planned.result.is_ok());
        say.send(ToWorker::Stop).await.unwrap();
        assert!(hear.next().await.unwrap().is_none());
    });
    assert_eq!(status.code(), Some(0), "{log}");
}

fn in_its_cage_a_writer_writes() {
    let scene = Scene::new();
    let arguments = ["caged", "strict", "writer", &scene.root()];
    let ((), status, log) = talk(&arguments, Role::Writer, &scene, async |say, mut hear| {
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
        let Some(FromWorker::Done(done)) = hear.next().await.unwrap() else {
            panic!("no answer");
        };
        assert!(done.result.is_ok(), "{done:?}");
        say.send(ToWorker::Stop).await.unwrap();
        assert!(hear.next().await.unwrap().is_none());
    });
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(
        std::fs::read_to_string(scene.folder.path().join("b")).unwrap(),
        "beta"
    );
}

fn a_reader_in_the_cage_of_a_writer_does_not_start() {
    let scene = Scene::new();
    let arguments = ["caged", "strict", "writer", &scene.root()];
    let ((), status, _) = talk(&arguments, Role::Reader, &scene, async |_say, mut hear| {
        let Some(FromWorker::Hello { cage, .. }) = hear.next().await.unwrap() else {
            panic!("no Hello");
        };
        assert!(
            cage.failures()
                .any(|check| check.name == "create a file in the root")
        );
        assert!(hear.next().await.unwrap().is_none());
    });
    assert_eq!(status.code(), Some(1));
}

fn what_its_cage_allows_it_gives_up() {
    let scene = Scene::new();
    let arguments = ["caged", "loose", "reader", &scene.root()];
    let ((), status, log) = talk(&arguments, Role::Reader, &scene, async |say, mut hear| {
        // The attack on exec and fork fails although the kernel's part of the cage would let it through.
        opened(&mut hear).await;
        say.send(ToWorker::Stop).await.unwrap();
        assert!(hear.next().await.unwrap().is_none());
    });
    assert_eq!(status.code(), Some(0), "{log}");
}

fn a_gateway_that_goes_ends_the_whole_group() {
    let scene = Scene::new();
    let arguments = ["caged", "strict", "reader", &scene.root()];
    let ((), status, log) = talk(&arguments, Role::Reader, &scene, async |say, mut hear| {
        opened(&mut hear).await;
        drop((say, hear));
    });
    assert_eq!(status.signal(), Some(9), "{log}");
    assert!(log.contains("the gateway is gone"), "{log}");
}
