//! Following a call that goes on without us (docs/protocol/agents.md#follow-a-run).

use crate::{
    approval::poll,
    command,
    gateway::{Route, path_of},
    output::Answer,
    session::{Session, refusal},
};
use plexus_client::{Done, Exit, Request, Stop, out, span, streamed::Streamed};
use plexus_protocol::{RunId, body::Progress};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a run is followed: twice what the gateway allows one (docs/design.md#workers).
const PATIENCE: Duration = Duration::from_secs(3600);
/// The longest that one request waits at the gateway, in seconds.
const POLL_S: u64 = 20;
/// The least time between two questions.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
struct Status {
    status: String,
    result: Option<Box<RawValue>>,
    progress: Option<Progress>,
}

/// A run that is followed, from the beginning of what it streams.
pub(crate) struct Followed<'a> {
    run: &'a RunId,
    path: String,
    /// What was streamed before it is known.
    upto: u64,
}

impl<'a> Followed<'a> {
    /// By the address that the gateway gave, or by its own.
    pub(crate) fn new(session: &Session, run: &'a RunId, status_url: Option<&str>) -> Self {
        let own = || format!("{}?runId={run}", session.gateway.path(Route::InvokeStatus));
        let path = status_url.and_then(path_of).unwrap_or_else(own);
        Self { run, path, upto: 0 }
    }

    /// What it streamed since the last question, and its answer where it has ended. Waits for either, `seconds` at most.
    pub(crate) async fn next(
        &mut self,
        session: &mut Session,
        seconds: u64,
    ) -> Result<(Option<Progress>, Option<Answer>), Stop> {
        let joined = if self.path.contains('?') { '&' } else { '?' };
        let path = format!("{}{joined}wait={seconds}&after={}", self.path, self.upto);
        let reply = poll(session, path, seconds).await.map_err(|mut stop| {
            stop.done = Done::Unknown;
            if stop.next.is_empty() {
                stop.next = command::line(format_args!("wait {}", self.run));
            }
            stop.item(self.run.as_str())
        })?;
        let status: Status = reply.json()?;
        let answer = match (status.status.as_str(), status.result) {
            ("running", _) => None,
            (_, Some(result)) => Some(Answer::of_raw(200, result)?.seen_in(session)),
            (_, None) => {
                let why = format!("{} is over, but has no result", self.run);
                let stop = Stop::new(Exit::Failed, "not_a_gateway", why);
                return Err(stop.done(Done::Unknown));
            }
        };
        if let Some(part) = &status.progress {
            self.upto = part.next;
        }
        Ok((status.progress, answer))
    }
}

/// Follows `run` to its end; what it streams goes to stderr as it comes. `began` is said first, of a run that is not over at once.
pub(crate) async fn follow(
    session: &mut Session,
    run: &RunId,
    status_url: Option<&str>,
    began: Option<&str>,
) -> Result<Answer, Stop> {
    let mut followed = Followed::new(session, run, status_url);
    let begun = Instant::now();
    let (mut streamed, mut began) = (Streamed::default(), began);
    while begun.elapsed() < PATIENCE {
        let asked = Instant::now();
        let seconds = began.map_or(POLL_S, |_| PAUSE.as_secs());
        let (part, answer) = followed.next(session, seconds).await?;
        if let Some(began) = began.take().filter(|_| answer.is_none()) {
            out::say(began);
            streamed.any = true;
        }
        let news = part.is_some_and(|part| streamed.show(part));
        if let Some(answer) = answer {
            streamed.end();
            return Ok(answer);
        }
        if news {
            continue;
        }
        if !streamed.any || asked.elapsed() > PAUSE {
            streamed.end();
            let elapsed =
                span::length(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX));
            out::say(&format!("running for {elapsed} ({run})"));
            streamed.any = true;
        }
        if asked.elapsed() < PAUSE {
            sleep(PAUSE).await;
        }
    }
    Err(goes_on(run, "it still runs"))
}

/// Whether no word of the gateway came, so that the run may go on all the same.
pub(crate) fn is_away(stop: &Stop) -> bool {
    let away = ["unreachable", "connection_lost", "no_answer"];
    away.contains(&stop.code.as_str())
}

/// Asks once how `run` stands: its answer, where it has ended.
pub(crate) async fn look(session: &mut Session, run: &RunId) -> Result<Option<Answer>, Stop> {
    let path = format!("{}?runId={run}", session.gateway.path(Route::InvokeStatus));
    let status: Status = poll(session, path, 0).await?.json()?;
    match (status.status.as_str(), status.result) {
        ("running", _) | (_, None) => Ok(None),
        (_, Some(result)) => Answer::of_raw(200, result).map(Some),
    }
}

/// Asks the gateway to cancel a run of this agent.
pub(crate) async fn cancel(session: &mut Session, run: &RunId) -> Result<(), Stop> {
    let path = session.gateway.path(Route::InvokeCancel);
    let request = Request::post(path, &json!({"runId": run}));
    let reply = session.send(request).await?;
    match reply.is_success() {
        true => Ok(()),
        false => Err(refusal(&reply).item(run.as_str())),
    }
}

/// The run goes on; the command does not.
pub(crate) fn goes_on(run: &RunId, why: &str) -> Stop {
    Stop::new(
        Exit::Failed,
        "running",
        format!("{why}; the run continues at the gateway"),
    )
    .done(Done::Unknown)
    .next(command::line(format_args!("wait {run}")))
    .item(run.as_str())
}
