//! A worker that does what it is told, over the harness that every worker uses: for the supervisor's tests.
//!
//! It waits for files, never for time, so that a test decides the order of things: `after` in an input names a file of
//! the source's folder that must be there first.

use plexus_ipc::worker::{
    CallContext, Handlers, Health, OpenError, Plan, Preview, Reply, Role, Secrets, Source,
    SourceError, Touched, Verdict,
};
use plexus_protocol::{AuditId, Digest, Effect};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{io::Write, path::PathBuf, process::ExitCode, sync::Arc, sync::Mutex, time::Duration};

/// How often it looks for a file.
const LOOK: Duration = Duration::from_millis(2);

fn main() -> ExitCode {
    plexus_ipc::worker::main::<Tame>(include_str!("manifest.json"))
}

struct Tame {
    root: PathBuf,
    secret: usize,
    hoard: Mutex<Vec<Vec<u8>>>,
}

#[derive(Deserialize)]
struct Config {
    path: PathBuf,
}

#[derive(Deserialize)]
struct Input {
    after: Option<String>,
    line: Option<String>,
    bytes: Option<usize>,
    die: Option<bool>,
    /// Whether a commit stops when it is cancelled.
    heeds: Option<bool>,
}

impl Source for Tame {
    type Config = Config;

    async fn open(config: Config, secrets: Secrets, _role: Role) -> Result<Self, OpenError> {
        let root = config.path;
        if root.join("die").exists() {
            std::process::exit(3);
        }
        if root.join("closed").exists() {
            return Err(OpenError::unavailable("the folder is closed"));
        }
        let secret = secrets
            .get("password")
            .map_or(0, |secret| secret.expose().len());
        Ok(Self {
            root,
            secret,
            hoard: Mutex::default(),
        })
    }

    async fn health(&self) -> Health {
        if self.root.join("ill").exists() {
            Health::Degraded("told to be ill".into())
        } else {
            Health::Well
        }
    }

    async fn settle(&self, intent: AuditId) -> Verdict {
        if self.log().contains(intent.as_str()) {
            Verdict::Happened
        } else {
            Verdict::DidNot
        }
    }

    fn handlers() -> Handlers<Self> {
        Handlers::new()
            .read("echo", Self::echo)
            .read("secret", Self::tell)
            .read("wait", Self::wait)
            .read("crash", Self::crash)
            .read("shout", Self::shout)
            .read("hoard", Self::keep)
            .effect("append", Self::plan, Self::commit)
    }
}

type Answer = Result<Reply<Value>, SourceError>;

impl Tame {
    fn log(&self) -> String {
        std::fs::read_to_string(self.root.join("log")).unwrap_or_default()
    }

    async fn until(&self, name: &Option<String>) {
        if let Some(name) = name {
            while !self.root.join(name).exists() {
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    async fn echo(self: Arc<Self>, _call: CallContext, input: Value) -> Answer {
        Ok(Reply::new(input, "echoed"))
    }

    async fn tell(self: Arc<Self>, _call: CallContext, _input: Input) -> Answer {
        let names: Vec<_> = std::env::vars().map(|(name, _)| name).collect();
        let output = json!({"secret": self.secret, "environment": names});
        Ok(Reply::new(output, "told"))
    }

    async fn wait(self: Arc<Self>, call: CallContext, input: Input) -> Answer {
        call.progress("waiting").await;
        self.until(&input.after).await;
        Ok(Reply::new(json!("waited"), "waited"))
    }

    async fn crash(self: Arc<Self>, _call: CallContext, _input: Input) -> Answer {
        std::process::abort();
    }

    async fn shout(self: Arc<Self>, _call: CallContext, input: Input) -> Answer {
        let mut lines = std::io::stderr().lock();
        for n in 0..input.bytes.unwrap_or(0) / 16 {
            let _ = writeln!(lines, "shouting {n:06}");
        }
        Ok(Reply::new(json!("shouted"), "shouted"))
    }

    async fn keep(self: Arc<Self>, _call: CallContext, input: Input) -> Answer {
        let kept = vec![1; input.bytes.unwrap_or(0)];
        self.hoard
            .lock()
            .map_err(|_| SourceError::internal("poisoned"))?
            .push(kept);
        Ok(Reply::new(json!("kept"), "kept"))
    }

    async fn plan(
        self: Arc<Self>,
        _call: CallContext,
        input: Input,
    ) -> Result<Plan<Input>, SourceError> {
        let state = Digest::of(self.log().as_bytes());
        Ok(Plan::new(
            input,
            state,
            Preview::new("append a line"),
            "append a line",
        ))
    }

    async fn commit(self: Arc<Self>, call: CallContext, input: Input) -> Answer {
        call.progress("committing").await;
        tokio::select! {
            () = self.until(&input.after) => {}
            () = call.cancelled(), if input.heeds == Some(true) => {
                return Err(SourceError::cancelled(Effect::Partial));
            }
        }
        let intent = call.audit().map(AuditId::as_str).unwrap_or("-");
        let line = input.line.as_deref().unwrap_or_default();
        std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.root.join("log"))
            .and_then(|mut log| writeln!(log, "{intent} {line}"))
            .map_err(|error| SourceError::internal(error.kind().to_string()))?;
        if input.die == Some(true) {
            std::process::abort();
        }
        Ok(
            Reply::new(json!("appended"), "appended")
                .touched([Touched::write("file", "log", None)]),
        )
    }
}
