//! `plexusctl notify`: tells the owner's desktop that something waits.
//!
//! Invariants: what is told is who asks and what for, by the gateway's own label: no input, no purpose, no plan; an
//! agent that asks often is not told of often (see [`calm`]); nothing is decided here: a notification's button opens the card.

mod calm;
mod notifier;

use crate::owner::Desk;
use calm::{Calm, Notice};
use clap::Args;
use notifier::Notifier;
use plexus_client::{Exit, Stop, out, span, text};
use plexus_owner_client::{Feed, PendingRequest};
use serde_json::{Value, json};
use std::{path::PathBuf, time::Duration};
use tokio::time::{Instant, sleep_until};

/// How often what waits is read although nothing was heard.
const IDLE: Duration = Duration::from_secs(60);

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
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = |typed: &str| span::seconds(typed, 1..=86_400))]
    remind_after: u64,
}

/// Runs the command.
pub(crate) async fn run(desk: &Desk, notify: Notify) -> Result<Exit, Stop> {
    let notifier = match (&notify.notifier, desk.json) {
        (_, true) => Notifier::Json,
        (Some(program), false) => Notifier::Program(program.clone()),
        (None, false) => Notifier::of_the_system(notify.follow),
    };
    let mut calm = Calm::new(Duration::from_secs(notify.remind_after));
    if !notify.follow {
        let waiting = waiting(desk).await?;
        if let Some(notice) = calm.look(&waiting, std::time::Instant::now()) {
            notifier.tell(&notice, &desk.home).await?;
        }
        return Ok(Exit::Ok);
    }
    follow(desk, &notifier, &mut calm).await
}

async fn follow(desk: &Desk, notifier: &Notifier, calm: &mut Calm) -> Result<Exit, Stop> {
    let mut feed = Feed::new();
    let (mut lost, mut is_said) = (false, false);
    let mut known = Vec::new();
    // The one that was shown last: another takes its place.
    let mut _offer = None;
    loop {
        let now = Instant::now();
        let until = calm
            .wakes()
            .map_or(now + IDLE, |at| (now + IDLE).min(at.into()));
        tokio::select! {
            heard = feed.next(&desk.home) => {
                let read = match heard {
                    Ok(()) => waiting(desk).await,
                    Err(stop) => Err(stop),
                };
                match read {
                    Ok(waiting) => {
                        if lost {
                            out::say("connected again");
                        }
                        if !is_said {
                            desk.say_following("ends this");
                            is_said = true;
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
            () = out::reader_gone(), if desk.json => return Ok(Exit::Ok),
            () = sleep_until(until) => {
                if let Ok(waiting) = waiting(desk).await {
                    known = waiting;
                }
            }
        }
        if let Some(notice) = calm.look(&known, std::time::Instant::now()) {
            _offer = notifier.tell(&notice, &desk.home).await?;
        }
    }
}

/// What waits, the oldest first.
async fn waiting(desk: &Desk) -> Result<Vec<PendingRequest>, Stop> {
    let mut waiting = plexus_owner_client::waiting(&mut desk.open().await?).await?;
    waiting.reverse();
    Ok(waiting)
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
