//! Follows the gateway, and does what the person chooses.
//!
//! ```text
//! feed: "look" ─▶ a look is due ─▶ status and list are read ─▶ shown
//! feed: lost   ─▶ shown as away; the feed connects again, and the first thing heard is a look
//! ```
//! Invariant: between two looks lies [`APART`] at least, however much happens; a look or a connection that fails is tried
//! again after a pause.

use crate::{
    act::{self, Act},
    desktop::Icon,
    failed,
    view::{State, View},
};
use plexus_client::{Exit, Home, Stop};
use plexus_owner::status;
use plexus_owner_client::{Feed, Owner, PendingRequest, waiting};
use std::time::Duration;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};

/// The shortest time between two looks.
const APART: Duration = Duration::from_millis(500);
/// How often it looks although nothing was heard.
const IDLE: Duration = Duration::from_secs(60);
/// The pause after a refusal, such as of a key that is not accepted: each counts as a failed attempt there.
const REFUSED: Duration = Duration::from_secs(60);

/// Runs until the person quits.
///
/// # Errors
/// The desktop's tray has ended.
pub(crate) async fn run(
    home: Home,
    mut icon: Icon,
    mut acts: mpsc::Receiver<Act>,
) -> Result<(), Stop> {
    let (mut feed, mut view) = (Feed::new(), View::unknown());
    let mut looked = Instant::now();
    let mut due = looked;
    let mut under_way = JoinSet::new();
    loop {
        tokio::select! {
            heard = feed.next(&home) => match heard {
                Ok(()) => {
                    due = due.min(looked + APART);
                    continue;
                }
                Err(why) => {
                    if why.exit == Exit::Refused {
                        feed = Feed::after(REFUSED);
                    }
                    view.lose(&why);
                }
            },
            () = sleep_until(due) => {
                match look(&home).await {
                    Ok((state, waiting)) => {
                        if view.state == State::Away {
                            view.trouble = None;
                        }
                        (view.state, view.waiting) = (state, waiting);
                    }
                    Err(why) => view.lose(&why),
                }
                looked = Instant::now();
                due = looked + IDLE;
            },
            Some(act) = acts.recv() => {
                if act == Act::Quit {
                    return Ok(());
                }
                under_way.spawn(act::perform(home.clone(), act));
                continue;
            },
            Some(ended) = under_way.join_next() => {
                match ended.unwrap_or_else(|panic| Err(failed(panic))) {
                    Ok(()) => view.trouble = None,
                    Err(why) => view.fail(&why),
                }
                due = Instant::now();
            },
            why = icon.ended() => return Err(why),
        }
        icon.show(&view).await;
    }
}

async fn look(home: &Home) -> Result<(State, Vec<PendingRequest>), Stop> {
    let mut owner = Owner::open(home).await?;
    let state = match owner.call(&status::Show {}).await?.paused {
        true => State::Paused,
        false => State::Running,
    };
    Ok((state, waiting(&mut owner).await?))
}
