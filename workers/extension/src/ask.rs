//! One question to an app of the owner's, over its Unix socket.
//!
//! Invariants: the connection goes through the egress, which knows the socket and passes declared questions alone; one
//! connection is one question; a question is asked once.

use crate::{
    Extension,
    exchange::{self, NoAnswer},
};
use plexus_egress_client as egress;
use plexus_ipc::{
    egress::MAX_QUESTION,
    manifest::{AppQuestion, Manifest, SocketPath},
    worker::{CallContext, Plan, Preview, Reply, Role, SourceError},
};
use plexus_protocol::{Effect, json::digest};
use serde_json::{Value, json as object};
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

/// A capability that is one question.
#[derive(Debug)]
pub(crate) struct AppAsk {
    name: String,
    /// What the owner calls the app.
    app: String,
    socket: String,
    limits: AppQuestion,
}

impl AppAsk {
    pub(crate) fn of(manifest: &Manifest, name: &str, limits: AppQuestion) -> Self {
        let socket = manifest.socket().map(|entry| &entry.unix);
        let socket = match socket {
            Some(SocketPath::Fixed(path)) => path.clone(),
            Some(SocketPath::Owner { .. }) | None => String::new(),
        };
        Self {
            name: name.to_owned(),
            app: manifest.label.clone(),
            socket,
            limits,
        }
    }

    fn question(&self, input: &Value) -> Result<Value, SourceError> {
        let question = exchange::question(&self.name, input);
        match question.to_string().len() < MAX_QUESTION {
            true => Ok(question),
            false => Err(SourceError::invalid("the input has more than 1 MiB")),
        }
    }

    fn unreached(&self, why: &egress::NoAnswer) -> SourceError {
        let (app, socket) = (&self.app, &self.socket);
        SourceError::unavailable(format!("{app} cannot be reached at {socket}: {why}"))
    }

    fn no_answer(&self, why: NoAnswer) -> SourceError {
        let (app, name) = (&self.app, &self.name);
        match why {
            NoAnswer::Ended(_) => {
                let what = format!("{app} broke off before it had answered {name}");
                SourceError::transport("broken_off", what)
            }
            NoAnswer::TooLong => {
                let most = self.limits.output_bytes;
                let what = format!("{app} answered {name} with more than {most} bytes");
                SourceError::transport("too_large", what)
            }
            NoAnswer::NotALine(why) => {
                let what = format!(
                    "{app} answered {name} with what is no line of JSON with an output, an error or progress: {why}"
                );
                SourceError::transport("not_json", what)
            }
        }
    }
}

impl Extension {
    /// Says what would be asked. Nothing is.
    pub(crate) fn plan_question(
        &self,
        ask: &AppAsk,
        input: Value,
    ) -> Result<Plan<Value>, SourceError> {
        let question = ask.question(&input)?;
        let preview = Preview::new(format!("ask {} of {}", ask.name, self.source))
            .fact("app", &ask.app)
            .fact("socket", &ask.socket)
            .text(&format!("{question:#}"));
        let token = digest(&object!([ask.socket, question]));
        Ok(
            Plan::new(input, token, preview, format!("ask {}", ask.name))
                .warning("Plexus cannot preview what the app will do."),
        )
    }

    pub(crate) async fn ask_at_socket(
        self: Arc<Self>,
        ask: Arc<AppAsk>,
        call: CallContext,
        input: Value,
    ) -> Result<Reply<Value>, SourceError> {
        ask.question(&input)?;
        let way = self.egress.as_ref();
        let way = way.ok_or_else(|| SourceError::internal("no way to the app"))?;
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        let _slot = slot.map_err(|_| SourceError::internal("no slot"))?;
        let limit = call
            .remaining()
            .min(Duration::from_millis(ask.limits.timeout_ms.into()));
        let mut stream = egress::socket(way)
            .await
            .map_err(|why| ask.unreached(&why))?;
        // From here on the app may have done something.
        let unknown = match self.role {
            Role::Reader => Effect::None,
            Role::Writer => Effect::Unknown,
        };
        let (from, mut to) = stream.split();
        let question = (ask.name.as_str(), &input);
        let output = ask.limits.output_bytes;
        let answer = tokio::select! {
            answer = timeout(limit, exchange::ask(&mut to, from, question, output, &call)) => answer,
            () = call.cancelled() => return Err(SourceError::cancelled(unknown)),
        };
        let late = |_| {
            let what = format!("{} did not answer {} in time", ask.app, ask.name);
            SourceError::transport("timed_out", what).effect(unknown)
        };
        let answer = answer.map_err(late)?;
        let answer = answer.map_err(|why| ask.no_answer(why).effect(unknown))?;
        let output = answer.map_err(|failure| failure.told(&ask.name, unknown))?;
        Ok(Reply::new(output, format!("asked {}", ask.name)))
    }
}
