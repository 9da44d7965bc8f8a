//! The peer at work: the dispatcher's commands done, its events fed to it, one after the other.
//!
//! Invariants: one task feeds the dispatcher; a watermark is on disk before the next turn begins; when [`run`] returns no
//! process of the agent is left.
//!
//! Must not know: how settings were given.

use crate::codex::{Codex, TurnError};
use crate::dispatch::{Command, Dispatcher, Event};
use crate::roster::Roster;
use crate::watch::{self, News, Watch};
use plexus_channels::account::Account;
use plexus_channels::events::Over;
use plexus_channels::identity::IdentityError;
use std::future::Future;
use std::sync::Arc;
use tokio::sync::{Mutex, mpsc, watch as flag};
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// News that wait while one is dealt with.
const QUEUED: usize = 64;

/// Why the peer cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("{0}; the messages are kept at the relay, and the next start shows them")]
    GaveUp(&'static str),
    #[error("{0}")]
    Over(Over),
    #[error("{0}")]
    Disk(#[from] IdentityError),
    #[error("{0}")]
    Turn(TurnError),
}

struct Peer {
    account: Arc<Account>,
    roster: Arc<Roster>,
    codex: Arc<Mutex<Codex>>,
    done: mpsc::Sender<Done>,
    stop: flag::Receiver<bool>,
    turn: Option<JoinHandle<()>>,
}

/// The end of a task of the peer.
enum Done {
    Event(Event),
    Fatal(TurnError),
}

/// Runs until `asked` is done, or the peer cannot go on; calls `connected` at the first connection, and ends there where that
/// says so.
///
/// # Errors
/// [`RunError`].
pub(crate) async fn run(
    account: Arc<Account>,
    codex: Codex,
    connected: impl FnOnce() -> bool,
    asked: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let (news, mut heard) = mpsc::channel(QUEUED);
    let (done, mut ended) = mpsc::channel(QUEUED);
    let (stopping, stop) = flag::channel(false);
    let roster = Arc::new(Roster::new(Arc::clone(&account)));
    let watch = Watch::new(Arc::clone(&account), Arc::clone(&roster), news);
    let watching = tokio::spawn(watch.run());
    let mut peer = Peer {
        account,
        roster,
        codex: Arc::new(Mutex::new(codex)),
        done,
        stop,
        turn: None,
    };
    let mut machine = Dispatcher::new();
    let mut connected = Some(connected);
    tokio::pin!(asked);
    let result = loop {
        let event = tokio::select! {
            () = &mut asked => break Ok(()),
            news = heard.recv() => match news {
                Some(News::Bound) => match connected.take().is_some_and(|connected| connected()) {
                    true => break Ok(()),
                    false => continue,
                },
                Some(News::Event(event)) => event,
                Some(News::Over(over)) => break Err(RunError::Over(over)),
                None => break Ok(()),
            },
            done = ended.recv() => match done {
                Some(Done::Event(event)) => event,
                Some(Done::Fatal(why)) => break Err(RunError::Turn(why)),
                None => break Ok(()),
            },
        };
        let mut obeyed = Ok(());
        for command in machine.take(event) {
            obeyed = peer.obey(command, &machine).await;
            if obeyed.is_err() {
                break;
            }
        }
        if obeyed.is_err() {
            break obeyed;
        }
    };
    machine.take(Event::Stop);
    watching.abort();
    // A receiver is in the peer.
    let _ = stopping.send(true);
    if let Some(turn) = peer.turn {
        let _ = turn.await;
    }
    result
}

impl Peer {
    async fn obey(&mut self, command: Command, machine: &Dispatcher) -> Result<(), RunError> {
        match command {
            Command::Turn(input) => {
                tracing::info!(name: "peer.turn.began", bytes = input.len(), "a turn begins");
                let (codex, stop) = (Arc::clone(&self.codex), self.stop.clone());
                let shows = machine.shown();
                self.turn = Some(self.spawn(async move {
                    match codex.lock().await.turn(input, shows, stop).await {
                        Ok(()) => {
                            tracing::info!(name: "peer.turn.completed", "the turn is complete");
                            Done::Event(Event::Completed)
                        }
                        Err(fatal @ TurnError::OtherThread) => Done::Fatal(fatal),
                        Err(why) => {
                            tracing::error!(name: "peer.turn.failed", %why, "the turn failed");
                            Done::Event(Event::Failed)
                        }
                    }
                }));
            }
            Command::Fetch {
                fetch,
                channel,
                after,
            } => {
                let (account, roster) = (Arc::clone(&self.account), Arc::clone(&self.roster));
                self.spawn(async move {
                    let asked = (fetch, channel, after);
                    Done::Event(watch::page(&account, &roster, asked).await)
                });
            }
            Command::Keep(marks) => self.account.advance(&marks).await?,
            Command::Wait(pause) => {
                tracing::warn!(name: "peer.turn.retry", seconds = pause.as_secs(), "the turn is tried again");
                self.spawn(async move {
                    sleep(pause).await;
                    Done::Event(Event::Timer)
                });
            }
            Command::GiveUp(why) => return Err(RunError::GaveUp(why)),
        }
        Ok(())
    }

    fn spawn(&self, task: impl Future<Output = Done> + Send + 'static) -> JoinHandle<()> {
        let done = self.done.clone();
        tokio::spawn(async move {
            let ended = task.await;
            // Nobody listens where the peer stops.
            let _ = done.send(ended).await;
        })
    }
}
