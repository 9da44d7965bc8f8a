//! The source behind the real harness, spoken to as the gateway does, in this process: a worker's process refuses to
//! serve without its cage, which [`crate::caged`] makes.

mod asked;

pub use asked::{
    assert_like, changed, code, fits_its_largest_answer, intent, missed, output, refusal,
    serves_its_own_folder, texts, transport,
};

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use plexus_ipc::{
    gateway::{Receiver, Sender, connect},
    manifest::Manifest,
    message::{
        Answer, Call, Commit, Content, Done, EgressAccess, FromWorker, Health, OpenError, PlanMade,
        Probe, Role, Secret, Secrets, Stamp, Start, ToWorker, Touched, Verdict, WorkerError,
    },
    stream::{pair, split},
    worker::{
        Source,
        serve::{ServeEnd, serve},
    },
};
use plexus_protocol::{AuditId, Constraint, Digest, Verb};
use serde_json::{Value, json};

const LAUNCH: u64 = 7;
/// How long a call may take unless a rule says otherwise, in milliseconds.
const DEADLINE_MS: u64 = 30_000;

/// What a source is started with, beside its manifest and its role.
#[derive(Clone, Debug, Default)]
pub struct Setting {
    /// Its configuration.
    pub config: Value,
    /// Its secrets, by field.
    pub secrets: BTreeMap<String, String>,
    /// A folder of its own.
    pub scratch: Option<PathBuf>,
    /// Its way to its hosts: a port of 127.0.0.1 and what opens it.
    pub egress: Option<(u16, String)>,
}

/// What a worker is told of its way to its hosts.
pub(crate) fn access(egress: Option<&(u16, String)>) -> Option<EgressAccess> {
    egress.map(|(port, credential)| EgressAccess {
        port: *port,
        credential: Secret::new(credential.clone()),
        authorities: String::new(),
        bearer: false,
    })
}

/// A source that serves.
#[derive(Debug)]
pub struct Worker {
    served: tokio::task::JoinHandle<ServeEnd>,
    to: Sender,
    from: Receiver,
    constraint: Option<Constraint>,
    intent: Option<AuditId>,
}

/// What a call came to, and what it touched.
pub type Outcome = (Result<Answer, WorkerError>, Vec<Touched>);

impl Worker {
    /// Serves the connector `S` for `root`, which its configuration calls `field`, up to `Opened`.
    ///
    /// # Panics
    /// Where it does not come to serve.
    pub async fn start<S: Source>(manifest: &str, field: &str, root: &Path, role: Role) -> Self {
        Self::configured::<S>(manifest, &json!({ field: root }), &BTreeMap::new(), role).await
    }

    /// As [`Worker::start`], with the whole configuration and the secrets by field.
    ///
    /// # Panics
    /// Where it does not come to serve.
    pub async fn configured<S: Source>(
        manifest: &str,
        config: &Value,
        secrets: &BTreeMap<String, String>,
        role: Role,
    ) -> Self {
        let setting = Setting {
            config: config.clone(),
            secrets: secrets.clone(),
            ..Setting::default()
        };
        Self::set_up::<S>(manifest, &setting, role).await
    }

    /// As [`Worker::start`], with everything that a source can be given.
    ///
    /// # Panics
    /// Where it does not come to serve.
    pub async fn set_up<S: Source>(manifest: &str, setting: &Setting, role: Role) -> Self {
        match Self::try_set_up::<S>(manifest, setting, role).await {
            Ok(worker) => worker,
            Err(error) => panic!("the source cannot be opened: {error}"),
        }
    }

    /// As [`Worker::set_up`].
    ///
    /// # Errors
    /// Why the source cannot be opened.
    ///
    /// # Panics
    /// Where the worker breaks the protocol.
    pub async fn try_set_up<S: Source>(
        manifest: &str,
        setting: &Setting,
        role: Role,
    ) -> Result<Self, OpenError> {
        let manifest = Manifest::parse(manifest).expect("a manifest");
        let digest = manifest.digest();
        let handlers = S::handlers();
        handlers.check(&manifest).expect("handlers that fit");
        let (ours, theirs) = pair().expect("descriptors");
        let (to, from) = connect(ours, role).expect("a stream");
        let (read, write) = split(theirs).expect("a stream");
        let nowhere = Path::new("/nowhere").to_path_buf();
        let start = Start {
            uncaged: false,
            keeper: false,
            manifest: None,
            proof_only: false,
            source: "source".parse().expect("an id"),
            role,
            launch: LAUNCH,
            config: setting.config.to_string().into_bytes().into(),
            secrets: sealed(&setting.secrets),
            limits: manifest.limits,
            scratch: setting.scratch.clone(),
            egress: access(setting.egress.as_ref()),
            probe: Probe {
                canary: nowhere.clone(),
                state_dir: nowhere.clone(),
                tcp_port: 9,
                unix_socket: nowhere,
                parent_pid: std::process::id(),
                launcher_pid: std::process::id(),
            },
        };
        let check = |kind| json!({"name": "not tried", "kind": kind, "held": true, "detail": ""});
        let sound = serde_json::from_value(json!({"checks": [check("attack"), check("control")]}))
            .expect("a report");
        let served =
            tokio::spawn(
                async move { serve(start, &manifest, handlers, sound, read, write).await },
            );
        let mut worker = Self {
            served,
            to,
            from,
            constraint: None,
            intent: None,
        };
        assert!(matches!(worker.next().await, FromWorker::Hello { .. }));
        match worker.next().await {
            FromWorker::Described { manifest } => assert_eq!(manifest, digest),
            other => panic!("{other:?}"),
        }
        match worker.next().await {
            FromWorker::Opened { .. } => Ok(worker),
            FromWorker::OpenFailed(error) => Err(error),
            other => panic!("neither opened nor failed: {other:?}"),
        }
    }

    /// Names the intent of all further commits.
    #[must_use]
    pub fn intending(mut self, intent: AuditId) -> Self {
        self.intent = Some(intent);
        self
    }

    /// What the source knows of the effect with this intent.
    ///
    /// # Panics
    /// Where the worker is gone.
    pub async fn settle(&mut self, intent: AuditId) -> Verdict {
        self.say(ToWorker::Settle {
            id: 0,
            audit: intent,
        })
        .await;
        match self.next().await {
            FromWorker::Settled { verdict, .. } => verdict,
            other => panic!("{other:?}"),
        }
    }

    /// Narrows all further calls.
    ///
    /// # Panics
    /// Where it is no constraint.
    #[must_use]
    pub fn constrained(mut self, constraint: Value) -> Self {
        self.narrow(Some(constraint));
        self
    }

    pub(crate) fn narrow(&mut self, constraint: Option<Value>) {
        self.constraint =
            constraint.map(|constraint| serde_json::from_value(constraint).expect("a constraint"));
    }

    async fn next(&mut self) -> FromWorker {
        loop {
            match self
                .from
                .next()
                .await
                .expect("a frame")
                .expect("the worker lives")
            {
                FromWorker::Progress(_) | FromWorker::Event(_) => {}
                message => return message,
            }
        }
    }

    fn call(&self, capability: &str, input: &Value, deadline_ms: u64) -> Call {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let input = input.to_string().into_bytes();
        Call {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            audit: self.intent.clone(),
            owner: false,
            capability: capability.into(),
            input_digest: Digest::of(&input),
            input: input.into(),
            constraint: self.constraint.clone(),
            deadline_ms,
        }
    }

    async fn say(&self, message: ToWorker) {
        self.to.send(message).await.expect("the worker listens");
    }

    /// Reads.
    ///
    /// # Panics
    /// Where the worker is gone.
    pub async fn read(&mut self, capability: &str, input: Value) -> Outcome {
        self.read_within(capability, &input, DEADLINE_MS).await
    }

    pub(crate) async fn read_within(
        &mut self,
        capability: &str,
        input: &Value,
        deadline_ms: u64,
    ) -> Outcome {
        let call = self.call(capability, input, deadline_ms);
        self.say(ToWorker::Read(call)).await;
        self.done().await
    }

    /// Starts a read or a plan and takes nobody's interest in it back at once.
    pub(crate) async fn begin_and_cancel(&self, capability: &str, input: &Value, reads: bool) {
        let call = self.call(capability, input, DEADLINE_MS);
        let id = call.id;
        self.say(if reads {
            ToWorker::Read(call)
        } else {
            ToWorker::Plan(call)
        })
        .await;
        self.say(ToWorker::Cancel { id }).await;
    }

    /// Waits until `count` calls have been answered, whatever the answers are.
    pub(crate) async fn answered(&mut self, count: usize) {
        let mut left = count;
        while left > 0 {
            if matches!(
                self.next().await,
                FromWorker::Done(_) | FromWorker::Planned(_)
            ) {
                left -= 1;
            }
        }
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

    /// Plans.
    ///
    /// # Errors
    /// Those of the plan.
    ///
    /// # Panics
    /// Where the worker is gone.
    pub async fn plan(&mut self, capability: &str, input: Value) -> Result<PlanMade, WorkerError> {
        self.plan_within(capability, &input, DEADLINE_MS).await
    }

    pub(crate) async fn plan_within(
        &mut self,
        capability: &str,
        input: &Value,
        deadline_ms: u64,
    ) -> Result<PlanMade, WorkerError> {
        let call = self.call(capability, input, deadline_ms);
        self.say(ToWorker::Plan(call)).await;
        match self.next().await {
            FromWorker::Planned(planned) => planned.result,
            other => panic!("{other:?}"),
        }
    }

    /// Commits `write`.
    ///
    /// # Panics
    /// Where the worker is gone.
    pub async fn commit(
        &mut self,
        input: Value,
        state_token: Option<Digest>,
        expect: Option<Content>,
        permit_rating: Verb,
    ) -> Outcome {
        self.commit_of("write", &input, state_token, expect, permit_rating)
            .await
    }

    /// Commits any effect.
    ///
    /// # Panics
    /// Where the worker is gone.
    pub async fn commit_of(
        &mut self,
        capability: &str,
        input: &Value,
        state_token: Option<Digest>,
        expect: Option<Content>,
        permit_rating: Verb,
    ) -> Outcome {
        let commit = self.commit_call(capability, input, state_token, expect, permit_rating);
        self.say(ToWorker::Commit(Box::new(commit))).await;
        self.done().await
    }

    /// Commits what was planned, and cancels it after this time.
    pub(crate) async fn commit_and_cancel(
        &mut self,
        capability: &str,
        input: &Value,
        plan: &PlanMade,
        after: Duration,
    ) -> Outcome {
        let token = Some(plan.state_token);
        let commit = self.commit_call(capability, input, token, None, plan.rating);
        let id = commit.call.id;
        self.say(ToWorker::Commit(Box::new(commit))).await;
        tokio::time::sleep(after).await;
        self.say(ToWorker::Cancel { id }).await;
        self.done().await
    }

    fn commit_call(
        &self,
        capability: &str,
        input: &Value,
        state_token: Option<Digest>,
        expect: Option<Content>,
        permit_rating: Verb,
    ) -> Commit {
        static SEQUENCE: AtomicU64 = AtomicU64::new(1);
        let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed);
        let durable = Stamp {
            launch: LAUNCH,
            sequence,
        };
        let mut call = self.call(capability, input, DEADLINE_MS);
        // Every commit of the gateway's has one.
        let made_up = || format!("evt_00000000-{sequence:04x}-8000-8000-000000000000").parse();
        call.audit = call.audit.or_else(|| made_up().ok());
        Commit {
            call,
            state_token,
            expect,
            conversation: None,
            permit_rating,
            durable,
        }
    }

    /// How the app behind it is.
    ///
    /// # Panics
    /// Where the worker is gone.
    pub async fn health(&mut self) -> Health {
        self.probed(ToWorker::Probe { nonce: 1 }).await
    }

    /// How the app behind it is, asked for by the owner.
    ///
    /// # Panics
    /// Where the worker is gone.
    pub async fn check(&mut self) -> Health {
        self.probed(ToWorker::Check { nonce: 1 }).await
    }

    async fn probed(&mut self, probe: ToWorker) -> Health {
        self.say(probe).await;
        loop {
            match self.next().await {
                FromWorker::Probed { nonce: 1, health } => return health,
                FromWorker::Done(_) | FromWorker::Planned(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Stops it and waits for its end.
    ///
    /// # Panics
    /// Where it ends in another way.
    pub async fn stop(mut self) {
        self.say(ToWorker::Stop).await;
        while self.from.next().await.expect("a frame").is_some() {}
        assert!(matches!(
            self.served.await.expect("no panic"),
            ServeEnd::Stopped
        ));
    }
}

/// Secrets as a worker is given them.
pub(crate) fn sealed(secrets: &BTreeMap<String, String>) -> Secrets {
    let one = |(field, value): (&String, &String)| (field.clone(), Secret::new(value.clone()));
    secrets.iter().map(one).collect()
}
