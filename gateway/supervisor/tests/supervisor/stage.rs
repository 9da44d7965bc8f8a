//! One supervisor on a temporary state directory, with a folder for its sources.

use super::proof::{self, Intents};
use bytes::Bytes;
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use plexus_ipc::{
    message::{Chunk, Role, Secret, Secrets, Verdict},
    offer::Offer,
};
use plexus_ledger::{Durable, Ledger};
use plexus_protocol::{AuditId, Digest, SourceId, Verb, json};
use plexus_supervisor::{
    AgreedCode, CallRequest, Cause, CommitTerms, DispatchError, Finished, Folder, Listener, Notice,
    Pace, Setup, SourceHealth, Spec, Stands, Supervisor,
};
use serde_json::{Value, json};
use std::{
    net::TcpListener,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::{sync::mpsc, task::JoinHandle};

const MANIFEST: &str = include_str!("../../examples/plexus-worker-tame/manifest.json");
const PROFILE: &str = include_str!("../../../../sandbox-profiles/fixture.sb");
/// How long anything may take before a test counts as failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Stage {
    pub(crate) supervisor: Supervisor,
    pub(crate) notices: mpsc::UnboundedReceiver<Notice>,
    pub(crate) source: SourceId,
    /// The daemon's state.
    pub(crate) state: PathBuf,
    /// The source's folder.
    pub(crate) root: PathBuf,
    pub(crate) ledger: Ledger<Intents>,
    _listener: TcpListener,
    _home: TempDir,
}

/// Patience as it is, but for what no test can wait for.
pub(crate) fn pace() -> Pace {
    Pace {
        backoff: Duration::from_millis(5),
        ..Pace::default()
    }
}

impl Stage {
    /// With the source `tame` in place, at revision 1.
    pub(crate) fn new() -> Self {
        Self::with(pace())
    }

    pub(crate) fn with(pace: Pace) -> Self {
        let stage = Self::empty(pace);
        stage.supervisor.put(stage.spec("tame", json!({}), 1));
        stage
    }

    /// With a source whose worker breaks `rule`.
    pub(crate) fn rude(rule: &str, pace: Pace) -> Self {
        let stage = Self::empty(pace);
        let spec = stage.spec("rude", json!({"rule": rule}), 1);
        stage.supervisor.put(spec);
        stage
    }

    pub(crate) fn empty(pace: Pace) -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let resolved = home.path().canonicalize().expect("a folder");
        let (state, root) = (resolved.join("state"), resolved.join("root"));
        std::fs::create_dir(&state).expect("a folder");
        std::fs::create_dir(&root).expect("a folder");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let (ledger, launch) = proof::ledger(&state);
        let (sender, notices) = mpsc::unbounded_channel();
        let launcher = example("launcher");
        let workers = launcher.parent().expect("a folder").to_owned();
        let supervisor = Supervisor::new(Setup {
            launcher,
            workers,
            state_dir: state.clone(),
            launch,
            tcp_port: listener.local_addr().expect("an address").port(),
            notices: sender,
            pace,
        });
        Self {
            supervisor: supervisor.expect("a supervisor"),
            notices,
            source: SourceId::parse("the-source").expect("an id"),
            state,
            root,
            ledger,
            _listener: listener,
            _home: home,
        }
    }

    pub(crate) fn spec(
        &self,
        connector: &'static str,
        mut config: Value,
        revision: u64,
    ) -> Arc<Spec> {
        config["path"] = json!(self.root);
        Arc::new(Spec {
            source: self.source.clone(),
            offer: Arc::new(Offer {
                program: format!("plexus-worker-{connector}").into(),
                ..Offer::of_connector(MANIFEST, PROFILE).expect("an offer")
            }),
            folders: vec![Folder {
                parameter: "ROOT".to_owned(),
                path: self.root.clone(),
                is_target: None,
            }],
            config,
            secrets: Box::new(|| {
                let secret = Secret::new("hush".to_owned());
                Ok(Secrets::from_iter([("password".to_owned(), secret)]))
            }),
            keep: Box::new(|_, _, _| Err(std::io::Error::other("nothing is kept here"))),
            revision,
            elsewhere: Vec::new(),
            code: Vec::new(),
            uncaged: false,
        })
    }

    async fn compared(&self, role: Role) -> Result<AgreedCode, DispatchError> {
        self.supervisor.compared(&self.source, role).await
    }

    /// What a source that is there runs.
    pub(crate) async fn code(&self, role: Role) -> AgreedCode {
        self.compared(role).await.expect("a source")
    }

    pub(crate) async fn read(
        &self,
        capability: &str,
        input: Value,
    ) -> Result<Finished, DispatchError> {
        self.asked(call(capability, input)).await
    }

    /// A read of the request as it is.
    pub(crate) async fn asked(&self, request: CallRequest) -> Result<Finished, DispatchError> {
        let code = self.compared(Role::Reader).await?;
        self.supervisor.read(&code, request).await
    }

    pub(crate) async fn serves(&self, capability: &str, input: Value, expected: Value) {
        assert_eq!(output(self.read(capability, input).await), expected);
    }

    /// The worker answers what it is asked.
    pub(crate) async fn echoes(&self) {
        self.serves("echo", json!({}), json!({})).await;
    }

    pub(crate) async fn committed(
        &self,
        request: CallRequest,
        terms: CommitTerms,
        durable: &Durable,
    ) -> Result<Finished, DispatchError> {
        let code = self.compared(Role::Writer).await?;
        self.supervisor.commit(&code, request, terms, durable).await
    }

    /// A task that commits beside the test.
    pub(crate) async fn committing(
        &self,
        request: CallRequest,
        durable: Durable,
    ) -> JoinHandle<Result<Finished, DispatchError>> {
        let (supervisor, code) = (self.supervisor.clone(), self.code(Role::Writer).await);
        tokio::spawn(async move { supervisor.commit(&code, request, terms(), &durable).await })
    }

    pub(crate) fn health(&self) -> SourceHealth {
        self.supervisor.health(&self.source)
    }

    pub(crate) async fn probed(&self) -> SourceHealth {
        self.supervisor.probe(&self.source).await
    }

    pub(crate) async fn settled(&self, audit: AuditId) -> Verdict {
        self.supervisor.settle(&self.source, audit).await
    }

    /// Why the next worker that ends has ended.
    pub(crate) async fn ended(&mut self) -> Cause {
        self.notice(|notice| match notice {
            Notice::Ended { cause, .. } => Some(cause.clone()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn commit(&self, input: Value) -> Result<Finished, DispatchError> {
        let durable = proof::durable(&self.ledger).await;
        let call = call("append", input);
        self.committed(call, terms(), &durable).await
    }

    /// A task that reads beside the test.
    pub(crate) fn reading(&self, call: CallRequest) -> JoinHandle<Result<Finished, DispatchError>> {
        let (supervisor, source) = (self.supervisor.clone(), self.source.clone());
        tokio::spawn(async move {
            let code = supervisor.compared(&source, Role::Reader).await?;
            supervisor.read(&code, call).await
        })
    }

    /// The next notice that `wanted` takes something from.
    pub(crate) async fn notice<T>(&mut self, wanted: impl Fn(&Notice) -> Option<T>) -> T {
        let looking = async {
            loop {
                let notice = self.notices.recv().await.expect("a supervisor that speaks");
                if let Some(found) = wanted(&notice) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, looking)
            .await
            .expect("the notice in time")
    }

    /// The process of the next worker of `role` that comes up.
    pub(crate) async fn started(&mut self, role: Role) -> u32 {
        self.notice(|notice| match notice {
            Notice::Started {
                role: found, pid, ..
            } if *found == role => Some(*pid),
            _ => None,
        })
        .await
    }

    /// The process of the worker of `role` that is up now.
    pub(crate) fn pid(&self, role: Role) -> u32 {
        let workers = self.supervisor.workers();
        let worker = workers
            .iter()
            .find(|worker| worker.role == role)
            .expect("a worker");
        worker.pid.expect("a process")
    }

    pub(crate) fn touch(&self, name: &str) {
        std::fs::write(self.root.join(name), b"").expect("a file");
    }

    pub(crate) fn untouch(&self, name: &str) {
        std::fs::remove_file(self.root.join(name)).expect("a file");
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.root.join("log")).unwrap_or_default()
    }
}

pub(crate) fn call(capability: &str, input: Value) -> CallRequest {
    let input = Bytes::from(json::canonical(&input));
    CallRequest {
        capability: capability.to_owned(),
        digest: Digest::of(&input),
        input,
        constraint: None,
        deadline: PATIENCE,
        revision: 1,
        origin: None,
        owner: false,
        stands: Stands::default(),
        audit: None,
        progress: None,
        cancel: None,
        late: None,
    }
}

/// Hears what a call streams, and gives its credit back at once.
pub(crate) fn listening() -> (Listener, mpsc::UnboundedReceiver<Chunk>) {
    let (tell, heard) = mpsc::unbounded_channel();
    let listener = Listener::new(move |chunk, _credit| drop(tell.send(chunk)));
    (listener, heard)
}

pub(crate) fn terms() -> CommitTerms {
    CommitTerms {
        state_token: None,
        expect: None,
        conversation: None,
        permit_rating: Verb::Write,
    }
}

/// The worker's output, of a call that succeeded.
pub(crate) fn output(finished: Result<Finished, DispatchError>) -> Value {
    let answer = finished.expect("an answer").result.expect("a success");
    serde_json::from_slice(&answer.output).expect("JSON")
}

pub(crate) fn signal(pid: u32, signal: Signal) {
    assert!(pid > 1);
    kill(Pid::from_raw(pid.try_into().expect("a pid")), signal).expect("a process");
}

/// Whether a process with this number exists, a zombie included.
pub(crate) fn exists(pid: u32) -> bool {
    assert!(pid > 1);
    kill(Pid::from_raw(pid.try_into().expect("a pid")), None) != Err(Errno::ESRCH)
}

/// Waits for what makes no notice.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A program of this package that only its tests use.
pub(crate) fn example(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("this program");
    let folder = own.parent().expect("a folder");
    let examples = if folder.ends_with("deps") {
        folder.parent().expect("a folder").join("examples")
    } else {
        folder.to_owned()
    };
    let path = examples.join(name);
    assert!(
        path.exists(),
        "{} is missing; type: cargo test -p plexusd",
        path.display()
    );
    path
}
