//! A read of 1 KB over a socket pair, gateway's end and worker's end in one thread: what frames, table and harness cost
//! a call. `LIMITS` puts a whole call through the daemon at 12 µs of its own and 4 µs of the worker's.

use divan::{Bencher, counter::ItemsCount};
use plexus_ipc::frame::{MAX_FRAME, PREFIX, decode, encode};
use plexus_ipc::gateway::{self, Receiver, Sender};
use plexus_ipc::manifest::Manifest;
use plexus_ipc::message::{
    Answer, CageReport, Call, Done, FromWorker, OpenError, Probe, Role, Secrets, Start, ToWorker,
    Touched,
};
use plexus_ipc::stream;
use plexus_ipc::text::Output;
use plexus_ipc::worker::{CallContext, Handlers, Reply, Source, SourceError, serve::serve};
use plexus_protocol::{Digest, SourceId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;
use tokio::runtime::Runtime;

fn main() {
    divan::main();
}

struct Page(String);

#[derive(Deserialize)]
struct In {
    path: String,
}

#[derive(Serialize)]
struct Out {
    text: String,
}

impl Source for Page {
    type Config = serde_json::Value;
    async fn open(_: serde_json::Value, _: Secrets, _: Role) -> Result<Self, OpenError> {
        Ok(Self("x".repeat(1024)))
    }
    fn handlers() -> Handlers<Self> {
        Handlers::new().read("page.read", Self::read)
    }
}

impl Page {
    async fn read(
        self: Arc<Self>,
        call: CallContext,
        input: In,
    ) -> Result<Reply<Out>, SourceError> {
        call.require("path", &input.path)?;
        let digest = Digest([7; 32]);
        let text = self.0.clone();
        Ok(
            Reply::new(Out { text }, format!("read {}", input.path)).touched([Touched::read(
                "page",
                &input.path,
                Some(digest),
            )]),
        )
    }
}

fn manifest() -> Manifest {
    let text = json!({
        "connector": "page", "kind": "page", "label": "Page", "blurb": "One page",
        "provenance": "first-party", "transport": "ipc", "roles": ["reader"],
        "limits": {"frameBytes": 65536, "openFiles": 64, "fileBytes": 0, "callMs": 1000, "memoryMiB": 64},
        "capabilities": [{"name": "page.read", "kind": "capability", "label": "Read", "describe": "Read",
                          "verbs": ["read"], "input": {"type": "object"}}],
    });
    Manifest::parse(&text.to_string()).unwrap()
}

fn sound() -> CageReport {
    let check = |kind: &str| json!({"name": "", "kind": kind, "held": true, "detail": ""});
    serde_json::from_value(json!({"checks": [check("attack"), check("control")]})).unwrap()
}

fn call(id: u64) -> Call {
    let input = br#"{"path":"Projects/Plexus.md"}"#.to_vec();
    Call {
        id,
        audit: None,
        owner: false,
        capability: "page.read".into(),
        input_digest: Digest::of(&input),
        input: input.into(),
        constraint: None,
        deadline_ms: 30_000,
    }
}

async fn connect() -> (Sender, Receiver) {
    let (ours, theirs) = stream::pair().unwrap();
    let manifest = manifest();
    let start = Start {
        uncaged: false,
        keeper: false,
        manifest: None,
        proof_only: false,
        source: SourceId::parse("page").unwrap(),
        role: Role::Reader,
        launch: 1,
        config: b"{}".to_vec().into(),
        secrets: Secrets::default(),
        limits: manifest.limits,
        scratch: None,
        egress: None,
        probe: Probe {
            canary: "/c".into(),
            state_dir: "/s".into(),
            tcp_port: 1,
            unix_socket: "/u".into(),
            parent_pid: 2,
            launcher_pid: 3,
        },
    };
    tokio::spawn(async move {
        let (read, write) = stream::split(theirs).unwrap();
        serve(start, &manifest, Page::handlers(), sound(), read, write).await
    });
    let (say, mut hear) = gateway::connect(ours, Role::Reader).unwrap();
    while !matches!(
        hear.next().await.unwrap().unwrap(),
        FromWorker::Opened { .. }
    ) {}
    (say, hear)
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// So many reads, each answered, with `n` of them under way at a time.
#[divan::bench(args = [1, 64])]
fn read_1k(bencher: Bencher, n: u64) {
    const READS: u64 = 1024;
    let runtime = runtime();
    let (say, mut hear) = runtime.block_on(connect());
    bencher.counter(ItemsCount::new(READS)).bench_local(|| {
        runtime.block_on(async {
            for id in 0..n {
                say.send(ToWorker::Read(call(id))).await.unwrap();
            }
            for answered in 0..READS {
                let Some(FromWorker::Done(done)) = hear.next().await.unwrap() else {
                    panic!("no answer");
                };
                assert!(done.result.is_ok());
                if answered + n < READS {
                    say.send(ToWorker::Read(call(answered + n))).await.unwrap();
                }
            }
        });
    });
}

fn done() -> FromWorker {
    FromWorker::Done(Box::new(Done {
        id: 1,
        result: Ok(Answer {
            output: Output::of(&"x".repeat(1022)).unwrap(),
            summary: "read Projects/Plexus.md".into(),
            undo: None,
        }),
        touched: vec![Touched::read(
            "page",
            "Projects/Plexus.md",
            Some(Digest([7; 32])),
        )],
    }))
}

#[divan::bench]
fn encode_done_1k(bencher: Bencher) {
    let message = done();
    bencher.bench(|| encode(divan::black_box(&message), MAX_FRAME).unwrap());
}

#[divan::bench]
fn decode_done_1k(bencher: Bencher) {
    let frame = encode(&done(), MAX_FRAME).unwrap();
    bencher.bench(|| decode::<FromWorker>(divan::black_box(&frame[PREFIX..])).unwrap());
}
