//! `plexusctl notify`: tells the owner's desktop that something waits.
//!
//! Invariants: what is told is who asks and what for, by the gateway's own label: no input, no purpose, no plan; an
//! agent that asks often is not told of often (see [`calm`]); nothing is decided here.

mod calm;
mod notifier;

use crate::{
    feed::Feed,
    owner::{Desk, list_of, text_of},
};
use calm::{Calm, Notice, PendingRequest};
use clap::Args;
use notifier::Notifier;
use plexus_client::{Exit, Stop, out, text};
use serde_json::{Value, json};
use std::{path::PathBuf, time::Duration};
use tokio::time::{Instant, sleep_until};

/// How often what waits is read although nothing was heard.
const IDLE: Duration = Duration::from_secs(60);
/// The longest label that is told, in characters.
const MAX_LABEL: usize = 60;

/// Notifying.
#[derive(Args)]
pub(crate) struct Notify {
    /// Keep running, and notify of each new request; otherwise notify once of those pending now
    #[arg(long)]
    follow: bool,
    /// Run this program with the text as its only argument, instead of the system's notifications
    #[arg(long, value_name = "PATH")]
    notifier: Option<PathBuf>,
    /// Seconds until the one reminder, and between counts after it
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    remind_after: u64,
}

/// Runs the command.
pub(crate) async fn run(desk: &Desk, notify: Notify) -> Result<Exit, Stop> {
    let notifier = match (&notify.notifier, desk.json) {
        (_, true) => Notifier::Json,
        (Some(program), false) => Notifier::Program(program.clone()),
        (None, false) => Notifier::of_the_system(),
    };
    let mut calm = Calm::new(Duration::from_secs(notify.remind_after));
    if !notify.follow {
        let waiting = waiting(desk).await?;
        if let Some(notice) = calm.look(&waiting, std::time::Instant::now()) {
            notifier.tell(&notice).await?;
        }
        return Ok(Exit::Ok);
    }
    follow(desk, &notifier, &mut calm).await
}

async fn follow(desk: &Desk, notifier: &Notifier, calm: &mut Calm) -> Result<Exit, Stop> {
    let mut feed = Feed::new();
    let mut lost = false;
    let mut known = Vec::new();
    loop {
        let now = Instant::now();
        let until = calm
            .wakes()
            .map_or(now + IDLE, |at| (now + IDLE).min(at.into()));
        tokio::select! {
            heard = feed.next(desk) => {
                let read = match heard {
                    Ok(()) => waiting(desk).await,
                    Err(stop) => Err(stop),
                };
                match read {
                    Ok(waiting) => {
                        if lost {
                            out::say("connected again");
                        }
                        (known, lost) = (waiting, false);
                    }
                    // Refusals are final; a gateway that has gone may come back, and is told of once.
                    Err(stop) if stop.exit == Exit::Refused => return Err(stop),
                    Err(stop) => {
                        if !lost {
                            out::say(&format!("{}; trying again", text::line(&stop.why)));
                        }
                        lost = true;
                        continue;
                    }
                }
            }
            () = sleep_until(until) => {
                if let Ok(waiting) = waiting(desk).await {
                    known = waiting;
                }
            }
        }
        if let Some(notice) = calm.look(&known, std::time::Instant::now()) {
            notifier.tell(&notice).await?;
        }
    }
}

/// What waits, the oldest first.
async fn waiting(desk: &Desk) -> Result<Vec<PendingRequest>, Stop> {
    let reply = desk.open().await?.get("/admin/api/pending").await?;
    let mut waiting: Vec<_> = list_of(&reply, "pending").iter().map(title).collect();
    waiting.reverse();
    Ok(waiting)
}

/// Who asks, and what for. The label is the manifest's; a capability without one is told by its id.
fn title(item: &Value) -> PendingRequest {
    let ids = list_of(item, "capabilities");
    let label = list_of(item, "asks")
        .first()
        .map_or("", |ask| text_of(ask, "label"));
    let proposed = item["register"]["source"].as_str();
    let proposed = proposed.map(|source| format!("add the extension {source}"));
    let first = ids.first().and_then(Value::as_str);
    let first = first.or(proposed.as_deref()).unwrap_or("something");
    let question = (text_of(item, "kind") == "question")
        .then(|| format!("a question of {}", text_of(&item["source"], "id")));
    let label = match &question {
        Some(question) => question,
        None if label.is_empty() => first,
        None => label,
    };
    let more = match ids.len() {
        0 | 1 => String::new(),
        many => format!(" and {} more", many - 1),
    };
    PendingRequest {
        id: text_of(item, "pendingId").to_owned(),
        agent: text::short(text_of(item, "agentId"), MAX_LABEL),
        label: format!("“{}”{more}", text::short(label, MAX_LABEL)),
    }
}

/// A notice as `--json` prints it.
fn as_json(notice: &Notice) -> Value {
    json!({
        "kind": notice.kind.word(),
        "text": notice.text(),
        "agentId": notice.oldest.agent,
        "pendingId": notice.oldest.id,
        "waiting": notice.waiting,
    })
}
