//! Following a call that goes on without us (docs/protocol/agents.md#follow-a-run).

use crate::{
    approval::poll,
    command,
    gateway::{Route, path_of},
    output::Answer,
    session::{Session, refusal},
};
use plexus_client::{Done, Exit, Request, Stop, out, span, streamed};
use plexus_protocol::RunId;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
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

/// What a run streamed since the last question.
#[derive(Deserialize)]
struct Progress {
    from: u64,
    next: u64,
    chunks: Vec<Chunk>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Chunk {
    Text(String),
    Json(Value),
}

/// Follows `run` to its end; what it streams goes to stderr as it comes. `began` is said first, of a run that is not over at once.
pub(crate) async fn follow(
    session: &mut Session,
    run: &RunId,
    status_url: Option<&str>,
    began: Option<&str>,
) -> Result<Answer, Stop> {
    let path = status_url
        .and_then(path_of)
        .unwrap_or_else(|| format!("{}?runId={run}", session.gateway.path(Route::InvokeStatus)));
    let joined = if path.contains('?') { '&' } else { '?' };
    let begun = Instant::now();
    let (mut streamed, mut began) = (Streamed::default(), began);
    while begun.elapsed() < PATIENCE {
        let asked = Instant::now();
        let seconds = began.map_or(POLL_S, |_| PAUSE.as_secs());
        let path = format!("{path}{joined}wait={seconds}&after={}", streamed.upto);
        let reply = poll(session, path, seconds).await.map_err(|mut stop| {
            stop.done = Done::Unknown;
            stop.item(run.as_str())
        })?;
        let status: Status = reply.json()?;
        let is_over = status.status != "running";
        if let Some(began) = began.take().filter(|_| !is_over) {
            out::say(began);
            streamed.any = true;
        }
        let news = status.progress.is_some_and(|part| streamed.show(part));
        if is_over {
            streamed.end();
            let result = status.result.ok_or_else(|| {
                Stop::new(
                    Exit::Failed,
                    "not_a_gateway",
                    format!("{run} is over, but has no result"),
                )
                .done(Done::Unknown)
            })?;
            return Answer::of_raw(200, result);
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

/// Asks once how `run` stands: its answer, where it has ended.
pub(crate) async fn look(session: &mut Session, run: &RunId) -> Result<Option<Answer>, Stop> {
    let path = format!("{}?runId={run}", session.gateway.path(Route::InvokeStatus));
    let status: Status = poll(session, path, 0).await?.json()?;
    match (status.status.as_str(), status.result) {
        ("running", _) | (_, None) => Ok(None),
        (_, Some(result)) => Answer::of_raw(200, result).map(Some),
    }
}

/// What was shown of a run's stream.
#[derive(Default)]
struct Streamed {
    upto: u64,
    /// Whether anything was said.
    any: bool,
    /// Whether the last line is not ended.
    open: bool,
}

impl Streamed {
    /// Shows a part; says whether there was any.
    fn show(&mut self, part: Progress) -> bool {
        if part.from > self.upto {
            self.end();
            out::say(&format!(
                "({} bytes are no longer kept)",
                part.from - self.upto
            ));
        }
        let news = part.next > self.upto;
        self.upto = part.next;
        for chunk in part.chunks {
            match chunk {
                Chunk::Text(text) => {
                    out::murmur(&text);
                    self.open = !text.ends_with('\n');
                }
                Chunk::Json(event) => {
                    let Some(words) = streamed::words(&event) else {
                        continue;
                    };
                    self.end();
                    out::say(&words);
                }
            }
            self.any = true;
        }
        news
    }

    fn end(&mut self) {
        if std::mem::take(&mut self.open) {
            out::say("");
        }
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
