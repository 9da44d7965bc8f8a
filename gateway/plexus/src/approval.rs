//! Waiting for the owner (docs/protocol/agents.md#follow-a-request).
//!
//! ```text
//! pending ─▶ approved, under way ──▶ the caller follows its run, and comes back
//!    │    ├▶ approved with a result ─▶ print it
//!    │    └▶ approved without one ──▶ the caller invokes again
//!    ├─▶ denied ─▶ 77        ├─▶ expired ─▶ 1 "ask again", where the agent is still let in
//!    ├─ our time is over ─▶ 75 "plexus wait …"; the item stays with the owner
//!    ├─ all agents are paused ─▶ 75 "stop; tell the owner …"; the item stays with the owner
//!    ├─ no word of it any more ─▶ 75 "plexus wait …"; whether anything was done is not known
//!    └─ the agent is not let in any more ─▶ 1; the same is not known
//! ```
//! Invariant: that nothing was done is said only where the gateway has just said `pending`, `denied` or `expired`, or
//! that it knows of no such request: it keeps silent while a call that the owner approved is under way.

use crate::{
    command,
    gateway::Route,
    output::{Answer, RunHandle},
    session::{Session, refusal},
    settings::Settings,
};
use plexus_client::{Done, Exit, Reply, Request, Stop, out};
use plexus_mcp::holds_off;
use plexus_protocol::{
    PendingId, RunId,
    body::{Conversation, VoidReason},
    words,
};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The longest that one request waits at the gateway, in seconds: below what proxies and laptops tolerate.
pub(crate) const POLL_S: u64 = 20;
/// What the gateway gets on top of that to answer.
const SLACK: Duration = Duration::from_secs(10);
/// The pause before asking again where a gateway answers at once although it was asked to wait.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);

/// What the owner decided.
pub(crate) enum Decision {
    /// Yes, and it was run.
    Ran(Box<Answer>),
    /// Yes, and it is under way.
    Runs(RunId),
    /// Yes.
    Approved,
    /// Yes, and the extension of this source is added.
    Added(String),
}

#[derive(Deserialize)]
struct Status {
    state: String,
    result: Option<Box<RawValue>>,
    reason: Option<String>,
    run: Option<RunHandle>,
    conversation: Option<Conversation>,
    register: Option<Registered>,
}

/// The extension that a request proposes.
#[derive(Deserialize)]
struct Registered {
    source: String,
}

/// Says what waits, how the owner decides, and how to go on if this command ends before that.
pub(crate) fn announce(what: &str, id: &PendingId) {
    out::say(&format!(
        "waiting for the owner ({what}); the owner decides with: plexusctl approvals watch\n\
         if this command ends first, go on with: {}",
        command::line(format_args!("wait {id}"))
    ));
}

/// How a request stands.
pub(crate) enum Standing {
    /// The owner has not decided.
    Waits,
    /// The owner has.
    Decided(Decision),
}

/// Asks once how a request stands, and waits up to `seconds` for its end or its run.
pub(crate) async fn look(
    session: &mut Session,
    id: &PendingId,
    seconds: u64,
) -> Result<Standing, Stop> {
    let path = format!(
        "{}?pendingId={id}&wait={seconds}&run=1",
        session.gateway.path(Route::GrantStatus)
    );
    let status: Status = poll(session, path, seconds)
        .await
        .and_then(|reply| Ok(reply.json()?))
        .map_err(|stop| unanswered(id, stop))?;
    if let Some(run) = status.run {
        return Ok(Standing::Decided(Decision::Runs(run.run_id)));
    }
    if status.state == "approved"
        && let Some(added) = status.register
    {
        return Ok(Standing::Decided(Decision::Added(added.source)));
    }
    match (status.state.as_str(), status.result) {
        ("approved", Some(result)) => {
            let ran = Answer::of_raw(200, result)?.seen_in(session);
            Ok(Standing::Decided(Decision::Ran(Box::new(ran))))
        }
        ("approved", None) => Ok(Standing::Decided(Decision::Approved)),
        ("denied", _) => Err(denied(status.reason.as_deref())),
        ("expired", _) => Err(expired(id, status.reason)),
        ("pending", _) => Ok(Standing::Waits),
        (other, _) => {
            let why = format!("the gateway says {other:?} of {id}, which is no state");
            Err(Stop::new(Exit::Failed, "not_a_gateway", why)
                .done(Done::Unknown)
                .item(id.as_str()))
        }
    }
}

/// The conversation that a request opened, as its first answer has it, and what is left of it.
pub(crate) async fn opened(
    session: &mut Session,
    id: &PendingId,
) -> Result<(Answer, Conversation), Stop> {
    let path = format!(
        "{}?pendingId={id}",
        session.gateway.path(Route::GrantStatus)
    );
    let status: Status = poll(session, path, 0).await?.json()?;
    match (status.result, status.conversation) {
        (Some(first), Some(left)) => Ok((Answer::of_raw(200, first)?, left)),
        _ => Err(Stop::new(
            Exit::Failed,
            "session_expired",
            "nothing is kept of this conversation; what was said in it may be in the list of threads",
        )),
    }
}

/// Waits until the owner has decided, or until `until`.
pub(crate) async fn wait(
    session: &mut Session,
    id: &PendingId,
    until: Instant,
) -> Result<Decision, Stop> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let seconds = left.as_millis().div_ceil(1000).min(u128::from(POLL_S)) as u64;
        let asked = Instant::now();
        match look(session, id, seconds).await {
            Ok(Standing::Decided(decision)) => return Ok(decision),
            Ok(Standing::Waits) => {}
            Err(stop) if stop.code == "expired" => return Err(asks_anew(session, stop).await),
            Err(stop) => return Err(stop),
        }
        if Instant::now() >= until {
            return Err(still_waiting(id, "the owner has not decided yet"));
        }
        if asked.elapsed() < PAUSE {
            sleep(PAUSE.min(until.saturating_duration_since(Instant::now()))).await;
        }
    }
}

/// One long poll of a status route. A lost connection or an ended session is opened again once: items outlive both. A gateway that is
/// away, as while it is upgraded, has `seconds` to come back.
pub(crate) async fn poll(session: &mut Session, path: String, seconds: u64) -> Result<Reply, Stop> {
    let request = Request::get(path).within(Duration::from_secs(seconds) + SLACK);
    let mut reopened = false;
    loop {
        match session.send(request.clone()).await {
            Ok(reply) if reply.is_success() => return Ok(reply),
            Ok(reply) => {
                let stop = refusal(&reply);
                if reopened || stop.code != "session_expired" {
                    return Err(stop);
                }
            }
            Err(failure) if reopened => return Err(failure.into()),
            Err(_) => {}
        }
        reopened = true;
        let lost = Instant::now();
        while let Err(again) = session.reopen().await {
            if again.code != "unreachable" || lost.elapsed().as_secs() >= seconds {
                // An agent that is not let in again has not been told what became of it.
                return Err(again.done(Done::Unknown));
            }
            sleep(PAUSE).await;
        }
    }
}

/// The request stays with the owner; the command does not.
fn still_waiting(id: &PendingId, why: &str) -> Stop {
    Stop::new(
        Exit::Waiting,
        "approval_required",
        format!("{why}; the request stays with the owner"),
    )
    .next(command::line(format_args!("wait {id}")))
    .item(id.as_str())
}

/// The request goes on without this command, which does not know how far it is: the owner may have decided since.
pub(crate) fn out_of_sight(id: &PendingId, why: &str) -> Stop {
    Stop::new(
        Exit::Waiting,
        "approval_required",
        format!("{why}; the request still waits, or the owner has decided by now"),
    )
    .done(Done::Unknown)
    .next(command::line(format_args!("wait {id}")))
    .item(id.as_str())
}

/// The session for what an earlier call left behind. If none is opened, no word of it came.
pub(crate) async fn reached(settings: &Settings, id: &PendingId) -> Result<Session, Stop> {
    let opened = Session::open(settings).await;
    opened.map_err(|stop| unanswered(id, stop.done(Done::Unknown)))
}

/// Whether to ask again is of no use: this agent is let in no more, or nobody was asked, because there is no credential here, or
/// more than one.
pub(crate) fn is_final(stop: &Stop) -> bool {
    matches!(stop.exit, Exit::NotEnrolled | Exit::Usage)
        || matches!(stop.code.as_str(), "session_expired" | "token_revoked")
}

/// What it means for the request that no word of it came.
fn unanswered(id: &PendingId, stop: Stop) -> Stop {
    match stop.code.as_str() {
        // It knows of no such request of ours.
        "session_expired" | "unknown_capability" if stop.done == Done::None => stop,
        code if holds_off(code) => {
            let why = format!("{}; the request stays", stop.why.trim_end_matches('.'));
            let exit = Exit::Waiting;
            unheard(Stop { exit, why, ..stop }, id.as_str())
        }
        // It answers, and says itself when to ask again.
        "busy" | "rate_limited" => unheard(stop, id.as_str()),
        _ if !is_final(&stop) && (stop.exit == Exit::Unreachable || stop.done == Done::Unknown) => {
            out_of_sight(id, &format!("nothing is heard of it now ({})", stop.why))
        }
        _ => unheard(stop, id.as_str()),
    }
}

/// No word of `item` came: the owner sees what became of it, where this agent is let in no more.
pub(crate) fn unheard(stop: Stop, item: &str) -> Stop {
    let stop = stop.done(Done::Unknown).item(item);
    let is_shut_out = matches!(stop.code.as_str(), "session_expired" | "token_revoked");
    match is_shut_out && stop.next.starts_with("stop; tell the owner") {
        true => {
            let next = format!(
                "{}; `plexusctl activity` shows what became of {item}",
                stop.next
            );
            stop.next(next)
        }
        false => stop,
    }
}

fn denied(reason: Option<&str>) -> Stop {
    let (why, next) = words::denied(reason);
    Stop::new(Exit::Refused, "denied_by_owner", why).next(next)
}

fn expired(id: &PendingId, reason: Option<String>) -> Stop {
    let reason = reason.map(VoidReason::from);
    if reason == Some(VoidReason::MadeByGrant) {
        let why = format!("another call of yours made the call of {id}, by a grant");
        return Stop::new(Exit::Refused, "already_made", why)
            .done(Done::Done)
            .next("do not repeat it: its answer went to that call");
    }
    let why = reason.map_or_else(
        || format!("{id} ended without a decision that can still be used"),
        |reason| format!("{id} ended before it could be used: {reason}"),
    );
    Stop::new(Exit::Failed, "expired", why).next("ask again with the same command")
}

/// The stop of a request that `ended` before anything was done: an agent that is let in no more cannot ask again.
async fn asks_anew(session: &mut Session, ended: Stop) -> Stop {
    match session.reopen().await {
        Err(again) if is_final(&again) => Stop {
            why: ended.why,
            ..again.done(Done::None)
        },
        _ => ended,
    }
}

/// Withdraws a request of this agent.
pub(crate) async fn withdraw(session: &mut Session, item: &PendingId) -> Result<(), Stop> {
    let path = session.gateway.path(Route::GrantCancel);
    let reply = session
        .send(Request::post(path, &json!({"pendingId": item})))
        .await?;
    match reply.is_success() {
        true => Ok(()),
        false => Err(refusal(&reply)),
    }
}
