//! Following a call that goes on without us (wire §4.10).

use crate::{
    approval::poll,
    gateway::{Route, path_of},
    output::Answer,
    session::Session,
};
use plexus_client::{Done, Exit, Stop, out, span, text};
use plexus_protocol::RunId;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a run is followed: twice what the gateway allows one (DESIGN 13).
const PATIENCE: Duration = Duration::from_secs(3600);
/// The longest that one request waits at the gateway, in seconds.
const POLL_S: u64 = 20;
/// The least time between two questions.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
struct Status {
    status: String,
    result: Option<Box<RawValue>>,
    progress: Option<Value>,
}

/// Follows `run` to its end and says on stderr how far it is.
pub(crate) async fn follow(
    session: &mut Session,
    run: &RunId,
    status_url: Option<&str>,
) -> Result<Answer, Stop> {
    let path = status_url
        .and_then(path_of)
        .unwrap_or_else(|| format!("{}?runId={run}", session.gateway.path(Route::InvokeStatus)));
    let path = format!(
        "{path}{}wait={POLL_S}",
        if path.contains('?') { '&' } else { '?' }
    );
    let begun = Instant::now();
    let mut said = None;
    while begun.elapsed() < PATIENCE {
        let asked = Instant::now();
        let reply = poll(session, path.clone(), POLL_S)
            .await
            .map_err(|mut stop| {
                stop.done = Done::Unknown;
                stop.item(run.as_str())
            })?;
        let status: Status = reply.json()?;
        if status.status != "running" {
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
        let progress = status
            .progress
            .map(|p| p.as_str().map_or_else(|| p.to_string(), str::to_owned));
        if said != Some(progress.clone()) || asked.elapsed() > PAUSE {
            let elapsed =
                span::length(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX));
            let progress_text = progress
                .as_deref()
                .map_or(String::new(), |p| format!(": {}", text::short(p, 200)));
            out::say(&format!("running for {elapsed} ({run}){progress_text}"));
            said = Some(progress);
        }
        if asked.elapsed() < PAUSE {
            sleep(PAUSE).await;
        }
    }
    Err(goes_on(run, "it still runs"))
}

/// The run goes on; the command does not.
pub(crate) fn goes_on(run: &RunId, why: &str) -> Stop {
    Stop::new(
        Exit::Failed,
        "running",
        format!("{why}; the run goes on at the gateway"),
    )
    .done(Done::Unknown)
    .next(format!("plexus wait {run}"))
    .item(run.as_str())
}
