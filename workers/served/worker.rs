//! The source behind the harness, spoken to as the gateway does, in this process: a worker's process refuses to serve
//! without its cage, and cages are tested elsewhere.

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use plexus_ipc::{
    gateway::{Receiver, Sender, connect},
    manifest::Manifest,
    message::{
        Answer, Call, Commit, Content, Done, FromWorker, Health, PlanMade, Probe, Role, Stamp,
        Start, ToWorker, Touched, WorkerError,
    },
    stream::{pair, split},
    worker::{
        Source,
        serve::{Ended, serve},
    },
};
use plexus_protocol::{Constraint, Digest, Verb};
use serde_json::{Value, json};

const LAUNCH: u64 = 7;

pub(crate) struct Worker {
    served: tokio::task::JoinHandle<Ended>,
    to: Sender,
    from: Receiver,
    constraint: Option<Constraint>,
}

/// What a call came to.
pub(crate) type Outcome = (Result<Answer, WorkerError>, Vec<Touched>);

impl Worker {
    /// Serves the connector `S` for `root`, up to `Opened`.
    pub(crate) async fn start<S: Source>(
        manifest: &str,
        field: &str,
        root: &Path,
        role: Role,
    ) -> Self {
        let manifest = Manifest::parse(manifest).unwrap();
        let digest = manifest.digest();
        let handlers = S::handlers();
        handlers.check(&manifest).unwrap();
        let (ours, theirs) = pair().unwrap();
        let (to, from) = connect(ours, role).unwrap();
        let (read, write) = split(theirs).unwrap();
        let nowhere = root.join("nowhere");
        let start = Start {
            source: "source".parse().unwrap(),
            role,
            launch: LAUNCH,
            config: json!({ field: root }).to_string().into_bytes().into(),
            secrets: Default::default(),
            limits: manifest.limits,
            scratch: None,
            probe: Probe {
                canary: nowhere.clone(),
                state_dir: nowhere.clone(),
                tcp_port: 9,
                unix_socket: nowhere,
                parent_pid: std::process::id(),
            },
        };
        let check = |kind| json!({"name": "not tried", "kind": kind, "held": true, "detail": ""});
        let sound =
            serde_json::from_value(json!({"checks": [check("attack"), check("control")]})).unwrap();
        let served =
            tokio::spawn(
                async move { serve(start, &manifest, handlers, sound, read, write).await },
            );
        let mut worker = Self {
            served,
            to,
            from,
            constraint: None,
        };
        assert!(matches!(worker.next().await, FromWorker::Hello { .. }));
        match worker.next().await {
            FromWorker::Described { manifest } => assert_eq!(manifest, digest),
            other => panic!("{other:?}"),
        }
        assert!(matches!(worker.next().await, FromWorker::Opened { .. }));
        worker
    }

    /// Narrows all further calls.
    pub(crate) fn constrained(mut self, constraint: Value) -> Self {
        self.constraint = Some(serde_json::from_value(constraint).unwrap());
        self
    }

    async fn next(&mut self) -> FromWorker {
        loop {
            match self.from.next().await.unwrap().expect("the worker lives") {
                FromWorker::Progress(_) => {}
                message => return message,
            }
        }
    }

    fn call(&self, capability: &str, input: &Value) -> Call {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let input = input.to_string().into_bytes();
        Call {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            audit: None,
            capability: capability.into(),
            input_digest: Digest::of(&input),
            input: input.into(),
            constraint: self.constraint.clone(),
            deadline_ms: 30_000,
        }
    }

    pub(crate) async fn read(&mut self, capability: &str, input: Value) -> Outcome {
        let call = self.call(capability, &input);
        self.to.send(ToWorker::Read(call)).await.unwrap();
        self.done().await
    }

    async fn done(&mut self) -> Outcome {
        match self.next().await {
            FromWorker::Done(done) => {
                let Done {
                    result, touched, ..
                } = *done;
                (result, touched)
            }
            other => panic!("{other:?}"),
        }
    }

    #[allow(
        dead_code,
        reason = "the vault's worker has no effects; the module is the same"
    )]
    pub(crate) async fn plan(
        &mut self,
        capability: &str,
        input: Value,
    ) -> Result<PlanMade, WorkerError> {
        let call = self.call(capability, &input);
        self.to.send(ToWorker::Plan(call)).await.unwrap();
        match self.next().await {
            FromWorker::Planned(planned) => planned.result,
            other => panic!("{other:?}"),
        }
    }

    #[allow(
        dead_code,
        reason = "the vault's worker has no effects; the module is the same"
    )]
    pub(crate) async fn commit(
        &mut self,
        input: Value,
        state_token: Option<Digest>,
        expect: Option<Content>,
        permit_rating: Verb,
    ) -> Outcome {
        static SEQUENCE: AtomicU64 = AtomicU64::new(1);
        let durable = Stamp {
            launch: LAUNCH,
            sequence: SEQUENCE.fetch_add(1, Ordering::Relaxed),
        };
        let commit = Commit {
            call: self.call("write", &input),
            state_token,
            expect,
            permit_rating,
            durable,
        };
        self.to
            .send(ToWorker::Commit(Box::new(commit)))
            .await
            .unwrap();
        self.done().await
    }

    pub(crate) async fn health(&mut self) -> Health {
        self.to.send(ToWorker::Probe { nonce: 1 }).await.unwrap();
        match self.next().await {
            FromWorker::Probed { nonce: 1, health } => health,
            other => panic!("{other:?}"),
        }
    }

    /// Stops it and waits for its end.
    pub(crate) async fn stop(mut self) {
        self.to.send(ToWorker::Stop).await.unwrap();
        while self.from.next().await.unwrap().is_some() {}
        assert!(matches!(self.served.await.unwrap(), Ended::Stopped));
    }
}

/// The output of a call that must succeed.
pub(crate) fn output(outcome: &Outcome) -> Value {
    serde_json::from_slice(&outcome.0.as_ref().unwrap().output).unwrap()
}

/// The error of a call that must fail, as JSON.
pub(crate) fn refusal<T: std::fmt::Debug>(result: &Result<T, WorkerError>) -> Value {
    serde_json::to_value(&result.as_ref().unwrap_err().code).unwrap()
}
