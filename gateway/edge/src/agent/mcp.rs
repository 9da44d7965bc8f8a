//! `POST /mcp`: the agent's view as MCP tools, over HTTP (docs/mcp.md).
//!
//! ```text
//! POST ─▶ PAT ─▶ the gateway's session of it ─▶ core (`plexus-mcp`) ◀──▶ work: calls, items, runs
//!                                                 ├─▶ one message: JSON
//!                                                 └─▶ progress, or a subscription: a stream of events
//! ```
//! Each POST is served for itself: nothing is remembered between two of them but the session of a credential and its list
//! of tools. A client that goes away drops its request: a read is cancelled, an effect and what waits for the owner go on.
//!
//! Invariant: a call is the same as one of `/invoke` by the same agent.
//!
//! Must not know: what a message means.

mod agents;
mod work;

use crate::{
    authenticate::{bearer, failed, not_live, peer},
    edge::Edge,
    guard::single,
    reply::{self, Refused},
    sse,
    throttle::Kind,
};
use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use plexus_calls::{
    call::{Caller, CallerProof},
    events::{Listening, Since},
    limits::CallSlot,
};
use plexus_mcp::{
    Action, Answer, CallNews, CallNumber, Headers, Moment, Posted, Server,
    message::{Incoming, too_long},
};
use plexus_protocol::{CapabilityId, ErrorBody, ErrorCode, NextKind, credential::Pat};
use plexus_trust::in_reach;
use serde_json::Value;
use std::{collections::VecDeque, pin::Pin, sync::Arc};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

/// Messages that are on their way to one reader.
const ON_THE_WAY: usize = 4;

pub(super) async fn message(
    State(edge): State<Arc<Edge>>,
    request: Request,
) -> Result<Response, Refused> {
    let peer = peer(&request);
    let rejected = |why: &str| {
        let error = ErrorBody::new(ErrorCode::Unauthorized, why);
        error.then(NextKind::Stop, plexus_protocol::NEW_CODE)
    };
    let Some(given) = bearer(request.headers()) else {
        let error = rejected("MCP needs the agent's credential: Authorization: Bearer plx_agent_…");
        return Err(Refused::new(error));
    };
    let pat = Pat::parse(given).map(|pat| pat.digest());
    let (headers, accept) = (request.headers().clone(), accepts_stream(request.headers()));
    let body = match crate::body::body_of(&edge, request).await {
        Err(refused) if refused.code() == ErrorCode::PayloadTooLarge => {
            // Of an error of another form clients show the status alone.
            let error = too_long(&Value::Null, reply::BODY);
            let mut response = reply::made(error.line().into());
            *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
            return Ok(response);
        }
        body => body?,
    };
    let known = pat.and_then(|pat| {
        let state = edge.ledger.snapshot();
        let agent = state.agent_by_pat(&pat)?;
        (!edge.revocations.ended(&agent.id)).then(|| (agent.id.clone(), agent.epoch, pat))
    });
    let (Some((agent, epoch, pat)), Some(body)) = (known, body) else {
        let error = rejected(not_live(pat.is_some()));
        return Err(failed(&edge, Kind::Pat, peer, error).await);
    };
    let client = client_name(&headers);
    let session = agents::session(&edge, &agent, &pat, client).await?;
    let view = agents::view(&edge, &agent, &pat);
    let mut server = Server::stateless(env!("CARGO_PKG_VERSION"), view, client);
    let text = |name: &str| {
        let value = headers.get(name)?;
        Some(value.to_str().unwrap_or_default())
    };
    let said = Headers {
        version: text("mcp-protocol-version"),
        method: text("mcp-method"),
        name: text("mcp-name"),
    };
    let incoming = plexus_mcp::message::read(&body);
    let request = match &incoming {
        Ok(Incoming::Request { id, .. }) => Some(edge.mcp.enter(pat, id.clone())),
        Ok(Incoming::Notification { method, params }) if method == "notifications/cancelled" => {
            // The request has a POST of its own, which its client need not close.
            if let Some(id) = params.get("requestId") {
                edge.mcp.give_up(&pat, id);
            }
            None
        }
        _ => None,
    };
    let began = Instant::now();
    let now = Moment {
        elapsed: std::time::Duration::ZERO,
        wall: edge.clock.now(),
    };
    let actions = match server.post(&said, incoming, now) {
        Posted::Accepted => return Ok(StatusCode::ACCEPTED.into_response()),
        Posted::Refused(status, message) => {
            let mut response = reply::made(message.into());
            *response.status_mut() =
                StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return Ok(response);
        }
        Posted::UnderWay(actions) => actions,
    };
    let caller = Caller {
        agent,
        by: CallerProof::Session(session),
    };
    let mut exchange = Exchange {
        edge,
        who: work::McpCaller {
            caller,
            epoch,
            pat,
            request,
        },
        server,
        began,
        work: None,
        heard: mpsc::channel(ON_THE_WAY),
        listening: None,
        list_due: began,
        ready: VecDeque::new(),
        slot: None,
    };
    if exchange.server.is_listened_to() && !accept {
        return Ok(StatusCode::NOT_ACCEPTABLE.into_response());
    }
    exchange.act(actions);
    Ok(exchange.answer(accept).await)
}

/// Only POST is served: there is no stream to open and no session to end.
pub(super) async fn only_post() -> Response {
    let mut response = StatusCode::METHOD_NOT_ALLOWED.into_response();
    let allow = HeaderValue::from_static("POST");
    response.headers_mut().insert(header::ALLOW, allow);
    response
}

fn accepts_stream(headers: &HeaderMap) -> bool {
    // A list may come in several lines.
    let lines = headers.get_all(header::ACCEPT).iter();
    let mut lines = lines.filter_map(|line| line.to_str().ok());
    lines.any(|line| line.contains("text/event-stream") || line.contains("*/*"))
}

/// What a client calls itself where no handshake says it: the product of its `User-Agent`.
fn client_name(headers: &HeaderMap) -> &str {
    let agent = single(headers, header::USER_AGENT.as_str()).unwrap_or_default();
    let end = agent.find(['/', ' ']).unwrap_or(agent.len());
    &agent[..end.min(80)]
}

type Work = Pin<Box<dyn Future<Output = work::WorkResult> + Send>>;

/// One request and all that comes of it.
struct Exchange {
    edge: Arc<Edge>,
    who: work::McpCaller,
    server: Server,
    began: Instant,
    /// A request does one thing at a time.
    work: Option<(CallNumber, Work)>,
    /// What the work hears of the item that it follows.
    heard: (work::Tell, mpsc::Receiver<CallNews>),
    /// Where the client wants to hear of changes.
    listening: Option<Listening>,
    /// When the list counts no more: a grant that ends or is used up sends no event.
    list_due: Instant,
    ready: VecDeque<String>,
    slot: Option<CallSlot>,
}

impl Exchange {
    /// One JSON message where that is all; else a stream that ends with the response.
    async fn answer(mut self, accepts_stream: bool) -> Response {
        loop {
            let Some(message) = self.next().await else {
                // Only a request that never has a response comes here: its client did not take a stream.
                return StatusCode::NOT_ACCEPTABLE.into_response();
            };
            if self.is_over() {
                return reply::made_holding(message.into(), self.slot.take());
            }
            if accepts_stream {
                return self.stream(message);
            }
        }
    }

    fn stream(mut self, first: String) -> Response {
        let (give, take) = mpsc::channel(ON_THE_WAY);
        tokio::spawn(async move {
            let mut message = Some(first);
            while let Some(text) = message {
                if give.send((text, self.slot.take())).await.is_err() {
                    return;
                }
                message = tokio::select! {
                    message = self.next() => message,
                    () = give.closed() => return,
                };
            }
        });
        sse::of_messages(take)
    }

    fn is_over(&self) -> bool {
        self.server.is_idle() && self.ready.is_empty()
    }

    /// The next message, and none once there will be no more.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Some(message);
            }
            if self.server.is_idle() {
                return None;
            }
            if self.server.is_listened_to() && self.listening.is_none() {
                let listener = self.who.listener();
                self.listening = Some(self.edge.feed.listen(listener, Since::Now));
                // What changed before that is told by this.
                self.look_again();
                continue;
            }
            let due = self.server.next_tick().map(|due| self.began + due);
            let check = Instant::now() + sse::LOOK;
            tokio::select! {
                biased;
                done = done(&mut self.work) => {
                    let Some((number, _)) = self.work.take() else { continue };
                    self.slot = done.slot;
                    if let Some(about) = &done.about {
                        self.server.know(about);
                    }
                    let now = self.now();
                    let actions = self.server.answered(number, done.answer, now);
                    self.act(actions);
                }
                Some(heard) = self.heard.1.recv() => {
                    if let Some((number, _)) = &self.work {
                        self.server.hear(*number, heard);
                    }
                }
                changed = changed(&mut self.listening, &self.edge, &self.who) => {
                    if !changed {
                        return None;
                    }
                    self.look_again();
                }
                () = sleep_until(due.unwrap_or(check)), if due.is_some() => {
                    let now = self.now();
                    let actions = self.server.tick(now);
                    self.act(actions);
                }
                () = sleep_until(check), if self.listening.is_some() => {
                    if !self.who.stands(&self.edge) {
                        return None;
                    }
                    if Instant::now() >= self.list_due {
                        self.look_again();
                    }
                }
            }
        }
    }

    fn look_again(&mut self) {
        let view = agents::view(&self.edge, &self.who.caller.agent, &self.who.pat);
        self.list_due = Instant::now() + view.ttl();
        let actions = self.server.show(view);
        self.act(actions);
    }

    fn now(&self) -> Moment {
        Moment {
            elapsed: self.began.elapsed(),
            wall: self.edge.clock.now(),
        }
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            let (edge, who) = (self.edge.clone(), self.who.clone());
            let (number, work): (CallNumber, Work) = match action {
                Action::Send(message) => {
                    self.ready.push_back(message);
                    continue;
                }
                Action::Drop(_) => {
                    self.work = None;
                    continue;
                }
                Action::Call(number, call) => (number, Box::pin(work::call(edge, who, call))),
                Action::Continue(number, message) => {
                    (number, Box::pin(work::say(edge, who, message)))
                }
                Action::Follow(number, item) => {
                    let tell = Some(self.heard.0.clone());
                    (number, Box::pin(work::follow(edge, who, item, tell)))
                }
                Action::Look(number, item) => {
                    (number, Box::pin(work::follow(edge, who, item, None)))
                }
                Action::Cancel(number, item) => (number, Box::pin(work::cancel(edge, who, item))),
                Action::List(number) => {
                    let listed = Answer::Listed(work::waiting(&edge, &who));
                    (number, Box::pin(std::future::ready(listed.into())))
                }
                Action::Refresh(number) => {
                    let seen = Answer::View(agents::view(&edge, &who.caller.agent, &who.pat));
                    (number, Box::pin(std::future::ready(seen.into())))
                }
            };
            self.work = Some((number, work));
        }
    }
}

/// The end of the work that is under way; never where there is none.
async fn done(work: &mut Option<(CallNumber, Work)>) -> work::WorkResult {
    match work {
        Some((_, work)) => work.await,
        None => std::future::pending().await,
    }
}

/// Waits for a change of what the agent may see; `false` where the stream of events is over.
async fn changed(listening: &mut Option<Listening>, edge: &Edge, who: &work::McpCaller) -> bool {
    let Some(listening) = listening else {
        return std::future::pending().await;
    };
    let in_view = |id: &CapabilityId| {
        let state = edge.ledger.snapshot();
        let agent = state.agent(&who.caller.agent);
        agent.is_some_and(|agent| in_reach(&state, agent, id))
    };
    loop {
        match listening.next(in_view).await {
            None => return false,
            Some(event) if matches!(event.kind, "manifest_changed" | "missed") => return true,
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_is_named_by_its_product() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::USER_AGENT, HeaderValue::from_static(text));
            client_name(&headers).to_owned()
        };
        assert_eq!(of("claude-code/2.1.319 (cli)"), "claude-code");
        assert_eq!(of("node"), "node");
        assert_eq!(client_name(&HeaderMap::new()), "");
    }

    #[test]
    fn stream_is_accepted_in_a_later_line() {
        let mut headers = HeaderMap::new();
        for line in ["application/json", "text/event-stream"] {
            assert!(!accepts_stream(&headers), "{line}");
            headers.append(header::ACCEPT, HeaderValue::from_static(line));
        }
        assert!(accepts_stream(&headers));
    }
}
