//! One request to an app, from its template to its answer.
//!
//! Invariants: the request goes through the egress, which knows the host and adds the secret; no more than the declared
//! answer is taken; a redirect is not followed; a request is sent once.

use crate::{Extension, exchange};
use plexus_egress_client::{Answer, EgressClient, NoAnswer, Request, StatusCode};
use plexus_ipc::{
    manifest::{EgressHost, Manifest, RenderedRequest, RequestTemplate},
    text::Line,
    worker::{CallContext, EgressAccess, Plan, Preview, Reply, Role, SourceError},
};
use plexus_protocol::{Effect, json::digest};
use serde_json::{Value, json as object};
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

/// Longest that any request may take; each has a limit of its own.
const WITHIN: Duration = Duration::from_secs(600);
/// Largest answer, in MiB; each request has a limit of its own.
const MOST: usize = 1;
/// How much of an answer that is none is looked at for its words, in bytes.
const BEGIN: usize = 1024;

/// A capability that is one request.
#[derive(Debug)]
pub(crate) struct AppRequest {
    name: String,
    /// The app's scheme, host and port, for the owner.
    app: String,
    /// The secret that the egress adds.
    secret: Option<String>,
    template: RequestTemplate,
}

/// The way to the app.
pub(crate) fn client(egress: Option<&EgressAccess>) -> Option<EgressClient> {
    EgressClient::new(egress?, WITHIN, MOST)
}

/// How an answer begins, as one line: indented JSON begins with a brace alone.
fn said(answer: &Answer) -> Line<200> {
    let begin = answer.body.len().min(BEGIN);
    let words = String::from_utf8_lossy(&answer.body[..begin]);
    let words: Vec<&str> = words.split_whitespace().collect();
    Line::new(words.join(" "))
}

impl AppRequest {
    pub(crate) fn of(manifest: &Manifest, name: &str, template: &RequestTemplate) -> Self {
        let mut hosts = manifest.hosts();
        let app = hosts.find_map(|entry| match &entry.host {
            EgressHost::Agreed { agreed, .. } => Some((agreed.clone(), entry.secret.clone())),
            EgressHost::Fixed(_) | EgressHost::Owner { .. } => None,
        });
        let (app, secret) = app.unwrap_or_default();
        Self {
            name: name.to_owned(),
            app,
            secret,
            template: template.clone(),
        }
    }

    fn rendered(&self, input: &Value) -> Result<RenderedRequest, SourceError> {
        self.template.render(input).map_err(SourceError::invalid)
    }

    /// The answer's value, or what its status means.
    fn read(&self, answer: &Answer, extension: &Extension) -> Result<Value, SourceError> {
        let role = extension.role;
        // From a status that is an answer on, the app has done what it was asked.
        let done = match role {
            Role::Reader => Effect::None,
            Role::Writer => Effect::Done,
        };
        let (name, status) = (&self.name, answer.status.as_u16());
        if !self.template.statuses.contains(&status) {
            return Err(self.refused(answer, extension));
        }
        if answer.body.len() > self.template.output_bytes as usize {
            let what = format!(
                "{name} was answered with more than {} bytes",
                self.template.output_bytes
            );
            return Err(SourceError::transport("too_large", what).effect(done));
        }
        let unreadable = |reason: &str, what: &str| {
            let what = format!("{name} was answered with status {status} and {what}");
            SourceError::transport(reason, what).effect(done)
        };
        if !self.template.json {
            let text = std::str::from_utf8(&answer.body);
            let text = text.map_err(|_| unreadable("not_text", "no UTF-8 text"))?;
            return Ok(object!({"status": status, "text": text}));
        }
        // As an app answers that has nothing to say.
        if answer.body.trim_ascii().is_empty() {
            return Ok(object!({"status": status, "json": null}));
        }
        let read = exchange::repaired(&answer.body);
        let (value, warnings) = read.map_err(|_| unreadable("not_json", "no JSON"))?;
        Ok(exchange::with(
            object!({"status": status, "json": value}),
            warnings,
        ))
    }

    /// What a status means that is no answer.
    fn refused(&self, answer: &Answer, extension: &Extension) -> SourceError {
        let Extension { role, source, .. } = extension;
        let unauthorized = match &self.secret {
            Some(secret) => format!(
                "it does not accept the secret; tell the owner: plexusctl sources secret {source} {secret}"
            ),
            None => "it wants a secret, and the manifest names none".to_owned(),
        };
        let status = answer.status;
        // A 503 that does not say when to come back may be a proxy's, after the app did it.
        let is_turned_away =
            status == StatusCode::SERVICE_UNAVAILABLE && answer.retry_after().is_some();
        let may_have_run = (status.is_server_error() && !is_turned_away) || status.is_redirection();
        let effect = match role {
            Role::Writer if may_have_run => Effect::Unknown,
            Role::Reader | Role::Writer => Effect::None,
        };
        let (reason, what) = match status {
            StatusCode::UNAUTHORIZED => ("app_unauthorized", &*unauthorized),
            StatusCode::FORBIDDEN => ("app_forbidden", "it does not allow this"),
            StatusCode::NOT_FOUND => ("not_found", "it has no such thing"),
            StatusCode::CONFLICT => ("conflict", "this conflicts with what is there"),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                ("rate_limited", "it asks to wait before the next request")
            }
            status if status.is_redirection() => (
                "redirected",
                "it names another address, which is not followed",
            ),
            status if status.is_server_error() => ("server_error", "it failed"),
            _ => ("refused", "it refused"),
        };
        let words = said(answer);
        let says = match words.is_empty() {
            true => String::new(),
            false => format!("; it says: {}", words.as_str()),
        };
        let mut detail = object!({"status": status.as_u16(), "answer": words});
        if let Some(wait) = answer.retry_after() {
            detail["retryAfterSeconds"] = wait.into();
        }
        let what = format!(
            "the app answered {} to {}: {what}{says}",
            status.as_u16(),
            self.name
        );
        SourceError::transport(reason, what)
            .detail(detail)
            .effect(effect)
    }

    fn no_answer(&self, why: &NoAnswer, role: Role) -> SourceError {
        let effect = match role {
            Role::Reader => Effect::None,
            Role::Writer => why.effect(),
        };
        let name = &self.name;
        let error = match why {
            NoAnswer::NoWay(words) => {
                let what = format!("{} cannot be reached: {words}", self.app);
                SourceError::unavailable(what)
            }
            NoAnswer::Certificate { met, .. } => SourceError::unavailable(format!(
                "{} shows another certificate than the declared one: {met}",
                self.app
            )),
            NoAnswer::Broken => {
                let what = format!("the app broke off while it answered {name}");
                SourceError::transport("broken_off", what)
            }
            NoAnswer::Stalled => {
                let what = format!("the app did not answer {name} in time");
                SourceError::transport("timed_out", what)
            }
            NoAnswer::TooLarge(_) => {
                let most = self.template.output_bytes;
                let what = format!("{name} was answered with more than {most} bytes");
                SourceError::transport("too_large", what)
            }
        };
        error.effect(effect)
    }
}

impl Extension {
    /// Says what would be sent. Nothing is sent.
    pub(crate) fn plan_request(
        &self,
        request: &AppRequest,
        input: Value,
    ) -> Result<Plan<Value>, SourceError> {
        let rendered = request.rendered(&input)?;
        let method = request.template.method.as_str();
        let url = format!("{}{}", request.app, rendered.target);
        let mut whole = format!("{method} {url}");
        let mut preview = Preview::new(format!("send {} of {}", request.name, self.source))
            .fact("request", format!("{method} {url}"));
        if let Some(body) = &rendered.body {
            whole = format!("{whole}\n\n{body:#}");
            preview = preview.fact("body", format!("{} bytes of JSON", body.to_string().len()));
        }
        let added = match request.secret {
            Some(_) => "its secret, by plexus-egress",
            None => "nothing",
        };
        let preview = preview.fact("adds", added).text(&whole);
        let token = digest(&object!([method, url, rendered.body]));
        let summary = format!("send {}", request.name);
        Ok(Plan::new(input, token, preview, summary)
            .warning("Plexus cannot preview what the app will do."))
    }

    pub(crate) async fn ask_app(
        self: Arc<Self>,
        request: Arc<AppRequest>,
        call: CallContext,
        input: Value,
    ) -> Result<Reply<Value>, SourceError> {
        let rendered = request.rendered(&input)?;
        let client = self.app.as_ref();
        let client = client.ok_or_else(|| SourceError::internal("no way to the app"))?;
        let template = &request.template;
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        let _slot = slot.map_err(|_| SourceError::internal("no slot"))?;
        let mut sent = Request::builder()
            .method(template.method.as_str())
            .uri(rendered.target)
            .header(
                "accept",
                if template.json {
                    "application/json"
                } else {
                    "*/*"
                },
            );
        let body = rendered.body.map(|body| body.to_string());
        if body.is_some() {
            sent = sent.header("content-type", "application/json");
        }
        let sent = sent.body(body.unwrap_or_default().into());
        let sent = sent.map_err(|_| SourceError::invalid("the request is none"))?;
        let limit = call
            .remaining()
            .min(Duration::from_millis(template.timeout_ms.into()));
        let answer = tokio::select! {
            answer = timeout(limit, client.send(sent)) => answer.unwrap_or(Err(NoAnswer::Stalled)),
            () = call.cancelled() => {
                let effect = match self.role {
                    Role::Reader => Effect::None,
                    Role::Writer => Effect::Unknown,
                };
                return Err(SourceError::cancelled(effect));
            }
        };
        let answer = answer.map_err(|why| request.no_answer(&why, self.role))?;
        let output = request.read(&answer, &self)?;
        Ok(Reply::new(output, format!("asked {}", request.name)))
    }
}
