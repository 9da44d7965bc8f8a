//! A gateway's side of a conversation with a worker that runs in this process, over a real socket pair.

use super::shelf::{Shelf, World, manifest};
use plexus_ipc::gateway::{self, Receiver, Sender};
use plexus_ipc::manifest::Manifest;
use plexus_ipc::message::{
    CageReport, Call, Commit, Content, Done, FromWorker, Planned, Probe, Role, Secret, Stamp,
    Start, ToWorker,
};
use plexus_ipc::stream;
use plexus_ipc::worker::Source;
use plexus_ipc::worker::serve::{ServeEnd, serve};
use plexus_protocol::{Constraint, Digest, SourceId, Verb};
use serde_json::{Value, json};
use std::{os::fd::OwnedFd, sync::Arc, time::Duration};
use tokio::task::JoinHandle;

pub(crate) const LAUNCH: u64 = 3;
/// Long enough for anything that is not stuck.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("nothing happens")
}

pub(crate) fn report(held: bool) -> CageReport {
    let check = |kind: &str| json!({"name": "a check", "kind": kind, "held": held, "detail": ""});
    serde_json::from_value(json!({"checks": [check("attack"), check("control")]})).unwrap()
}

pub(crate) fn start(world: u64, open: &str, role: Role) -> Start {
    Start {
        uncaged: false,
        keeper: false,
        manifest: None,
        proof_only: false,
        source: SourceId::parse("shelf").unwrap(),
        role,
        launch: LAUNCH,
        config: json!({"world": world, "open": open})
            .to_string()
            .into_bytes()
            .into(),
        secrets: [("key".to_owned(), Secret::new("hunter2".into()))]
            .into_iter()
            .collect(),
        limits: Manifest::parse(&manifest()).unwrap().limits,
        scratch: None,
        egress: None,
        probe: Probe {
            canary: "/nowhere".into(),
            state_dir: "/nowhere".into(),
            tcp_port: 1,
            unix_socket: "/nowhere".into(),
            parent_pid: 2,
            launcher_pid: 3,
        },
    }
}

/// Runs a worker on a new pair and returns the gateway's end.
pub(crate) fn worker(start: Start, cage: CageReport) -> (OwnedFd, JoinHandle<ServeEnd>) {
    let (ours, theirs) = stream::pair().unwrap();
    let ended = tokio::spawn(async move {
        let manifest = Manifest::parse(&manifest()).unwrap();
        let handlers = Shelf::handlers();
        handlers.check(&manifest).unwrap();
        let (read, write) = stream::split(theirs).unwrap();
        serve(start, &manifest, handlers, cage, read, write).await
    });
    (ours, ended)
}

/// A worker that is ready, and what the test knows about it.
pub(crate) struct Talk {
    pub(crate) say: Sender,
    pub(crate) hear: Receiver,
    pub(crate) ended: JoinHandle<ServeEnd>,
    pub(crate) world: Arc<World>,
    pub(crate) health: plexus_ipc::message::Health,
    sequence: u64,
}

impl Talk {
    pub(crate) async fn with(role: Role, items: &[(&str, &str)]) -> Self {
        let (number, world) = World::make(items);
        let (fd, ended) = worker(start(number, "", role), report(true));
        let (say, mut hear) = gateway::connect(fd, role).unwrap();
        let mut health = None;
        while health.is_none() {
            if let FromWorker::Opened { health: now } = soon(hear.next()).await.unwrap().unwrap() {
                health = Some(now);
            }
        }
        Self {
            say,
            hear,
            ended,
            world,
            health: health.unwrap(),
            sequence: 0,
        }
    }

    pub(crate) async fn reader(items: &[(&str, &str)]) -> Self {
        Self::with(Role::Reader, items).await
    }

    pub(crate) async fn writer(items: &[(&str, &str)]) -> Self {
        Self::with(Role::Writer, items).await
    }

    /// What the worker says next, progress aside.
    pub(crate) async fn next(&mut self) -> FromWorker {
        loop {
            match soon(self.hear.next())
                .await
                .unwrap()
                .expect("the worker went")
            {
                FromWorker::Progress(_) => {}
                other => return other,
            }
        }
    }

    pub(crate) async fn done(&mut self) -> Done {
        match self.next().await {
            FromWorker::Done(done) => *done,
            other => panic!("{} instead of Done", other.name()),
        }
    }

    pub(crate) async fn say(&self, message: ToWorker) {
        soon(self.say.send(message)).await.unwrap();
    }

    pub(crate) async fn read(&mut self, call: Call) -> Done {
        self.say(ToWorker::Read(call)).await;
        self.done().await
    }

    /// Reads what is there.
    pub(crate) async fn reads(&mut self, call: Call) {
        let done = self.read(call).await;
        assert!(done.result.is_ok(), "{done:?}");
    }

    pub(crate) async fn plan(&mut self, call: Call) -> Planned {
        self.say(ToWorker::Plan(call)).await;
        match self.next().await {
            FromWorker::Planned(planned) => *planned,
            other => panic!("{} instead of Planned", other.name()),
        }
    }

    /// Commits with a fresh intent.
    pub(crate) async fn commit(&mut self, mut commit: Commit) -> Done {
        self.sequence += 1;
        commit.durable.sequence = self.sequence;
        self.say(ToWorker::Commit(Box::new(commit))).await;
        self.done().await
    }

    /// Closes the gateway's end.
    pub(crate) async fn hang_up(self) -> ServeEnd {
        drop((self.say, self.hear));
        soon(self.ended).await.unwrap()
    }

    pub(crate) async fn stop(self) -> ServeEnd {
        self.say(ToWorker::Stop).await;
        soon(self.ended).await.unwrap()
    }
}

pub(crate) fn call(name: &str, input: Value) -> Call {
    let input = plexus_protocol::json::canonical(&input);
    Call {
        id: 1,
        audit: None,
        owner: false,
        capability: name.into(),
        input_digest: Digest::of(&input),
        input: input.into(),
        constraint: None,
        deadline_ms: 60_000,
    }
}

pub(crate) fn below(mut call: Call, prefix: &str) -> Call {
    call.constraint = Some(constraint(prefix));
    call
}

pub(crate) fn constraint(prefix: &str) -> Constraint {
    serde_json::from_value(json!({"pathPrefix": {"field": "path", "allow": [prefix]}})).unwrap()
}

pub(crate) fn write(path: &str, text: &str) -> Commit {
    effect(call("item.write", json!({"path": path, "text": text})))
}

pub(crate) fn effect(call: Call) -> Commit {
    Commit {
        call,
        state_token: None,
        expect: None,
        conversation: None,
        permit_rating: Verb::Write,
        durable: Stamp {
            launch: LAUNCH,
            sequence: 0,
        },
    }
}

pub(crate) fn content(text: &str) -> Content {
    Content::Is(Digest::of(text.as_bytes()))
}
