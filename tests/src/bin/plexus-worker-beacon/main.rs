//! The worker of the beacon: resident, tells of events, and calls what other sources offer.
//!
//! Must not know: anything of the daemon but its protocol.

use plexus_ipc::worker::{
    CallContext, Handlers, Host, OpenError, Plan, Preview, Reply, Role, Secrets, Source,
    SourceContext, SourceError, Touched,
};
use plexus_protocol::{Digest, Effect};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{process::ExitCode, sync::Arc, time::Duration};

const MANIFEST: &str = include_str!("../../../fixture/beacon.json");

fn main() -> ExitCode {
    plexus_ipc::worker::main::<Beacon>(MANIFEST)
}

struct Beacon {
    host: Host,
}

#[derive(Deserialize)]
struct Config {
    /// What the reader calls for itself once it is up.
    calls: Option<String>,
}

#[derive(Deserialize)]
struct Bell {
    bell: Option<String>,
}

#[derive(Deserialize)]
struct Ring {
    #[serde(default)]
    bells: Vec<String>,
    times: Option<u32>,
    topic: Option<String>,
}

#[derive(Deserialize)]
struct Orchestrate {
    agents: Vec<String>,
}

/// What it asks about an approval: of one of the three, else how it stands.
#[derive(Deserialize)]
struct Children {
    approval: Digest,
    call: Option<String>,
    run: Option<String>,
    stop: Option<String>,
    capability: Option<String>,
    #[serde(default)]
    input: Value,
}

#[derive(Deserialize)]
struct Ask {
    capability: Option<String>,
    #[serde(default)]
    input: Value,
}

impl Source for Beacon {
    type Config = Config;

    async fn open(_: Config, _: Secrets, _: Role) -> Result<Self, OpenError> {
        let host = Host::detached();
        Ok(Self { host })
    }

    async fn open_with(config: Config, given: SourceContext) -> Result<Self, OpenError> {
        let host = given.host.clone();
        if given.role == Role::Reader {
            let host = host.clone();
            tokio::spawn(async move {
                let touched = vec![Touched::read("bell", "tower", None)];
                let _ = host.event("up", "came up", &json!({}), touched).await;
                if let Some(capability) = config.calls {
                    // What came of it is in the audit log.
                    let _ = host.call(&capability, &json!({"path": "report.txt"})).await;
                }
            });
        }
        Ok(Self { host })
    }

    fn handlers() -> Handlers<Self> {
        Handlers::new()
            .read("bells", Self::bells)
            .read("ring", Self::ring)
            .read("ask", Self::ask)
            .read("children", Self::children)
            .effect("pass", Self::plan_pass, Self::pass)
            .effect("orchestrate", Self::plan_orchestrate, Self::orchestrate)
    }
}

impl Beacon {
    async fn bells(
        self: Arc<Self>,
        call: CallContext,
        input: Bell,
    ) -> Result<Reply<Value>, SourceError> {
        let bell = input.bell.unwrap_or_else(|| "tower".to_owned());
        call.require("bell", &bell)?;
        let touched = Touched::read("bell", &bell, None);
        Ok(Reply::new(json!({"bell": bell}), "told").touched([touched]))
    }

    async fn ring(
        self: Arc<Self>,
        _: CallContext,
        input: Ring,
    ) -> Result<Reply<Value>, SourceError> {
        let topic = input.topic.as_deref().unwrap_or("rang");
        for time in 0..input.times.unwrap_or(1) {
            let bells = input.bells.iter();
            let touched = bells.map(|bell| Touched::read("bell", bell, None));
            let payload = json!({"bells": input.bells, "time": time});
            let event = self.host.event(topic, "rang", &payload, touched.collect());
            event.await?;
        }
        Ok(Reply::new(json!({}), "rang"))
    }

    async fn ask(
        self: Arc<Self>,
        call: CallContext,
        input: Ask,
    ) -> Result<Reply<Value>, SourceError> {
        let answer = match input.capability {
            Some(capability) => call.host_call(&capability, &input.input).await?,
            None => call.host_capabilities().await?,
        };
        Ok(Reply::new(answer, "asked"))
    }

    async fn children(
        self: Arc<Self>,
        _: CallContext,
        asked: Children,
    ) -> Result<Reply<Value>, SourceError> {
        let (host, approval) = (&self.host, asked.approval);
        let answer = if let Some(name) = asked.call {
            let capability = asked.capability.unwrap_or_default();
            let child = host.child(approval, &name, &capability, &asked.input);
            child.await?
        } else if let Some(name) = asked.run {
            let wait = Duration::from_secs(5);
            host.child_run(approval, &name, wait).await?
        } else if let Some(name) = asked.stop {
            host.stop_child(approval, &name).await?
        } else {
            host.child_approval(approval).await?
        };
        Ok(Reply::new(answer, "asked"))
    }

    async fn plan_orchestrate(
        self: Arc<Self>,
        _: CallContext,
        input: Orchestrate,
    ) -> Result<Plan<Orchestrate>, SourceError> {
        let preview = Preview::new("orchestrate").fact("agents", input.agents.join(", "));
        let state = Digest::of(b"any");
        Ok(Plan::new(input, state, preview, "orchestrate"))
    }

    async fn orchestrate(
        self: Arc<Self>,
        call: CallContext,
        _: Orchestrate,
    ) -> Result<Reply<Value>, SourceError> {
        Ok(Reply::new(
            json!({"approval": call.conversation()}),
            "approved",
        ))
    }

    async fn plan_pass(
        self: Arc<Self>,
        call: CallContext,
        input: Ask,
    ) -> Result<Plan<Ask>, SourceError> {
        let capability = input.capability.clone().unwrap_or_default();
        // A plan calls nobody: what comes back is a refusal, which the preview shows.
        let answer = match call.host_call(&capability, &input.input).await {
            Ok(answer) => answer.to_string(),
            Err(error) => error.to_string(),
        };
        let preview = Preview::new("pass on").fact("answer", answer);
        let state = Digest::of(capability.as_bytes());
        Ok(Plan::new(input, state, preview, "pass on"))
    }

    async fn pass(
        self: Arc<Self>,
        call: CallContext,
        input: Ask,
    ) -> Result<Reply<Value>, SourceError> {
        let capability = input.capability.unwrap_or_default();
        let answer = tokio::select! {
            answer = call.host_call(&capability, &input.input) => answer?,
            () = call.cancelled() => return Err(SourceError::cancelled(Effect::None)),
        };
        Ok(Reply::new(answer, "passed on"))
    }
}
