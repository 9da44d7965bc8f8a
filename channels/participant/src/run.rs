//! An agent at work in its channels: the dispatcher's commands done, its events fed to it, one after the other.
//!
//! Invariants: one task feeds the dispatcher; a watermark is on disk before the next turn begins; when [`run`] returns no turn
//! is under way.
//!
//! Must not know: how a turn is carried out.

use crate::dispatch::{Command, Dispatcher, Event, Mark};
use crate::lines;
use crate::roster::Roster;
use crate::watch::{self, News, Watch};
use plexus_channels::Id;
use plexus_channels::account::Account;
use plexus_channels::events::EventsError;
use plexus_channels::identity::IdentityError;
use std::fmt::Display;
use std::future::Future;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc, watch as flag};
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// News that wait while one is dealt with.
const QUEUED: usize = 64;

/// How often what waits in the outbox is tried: the relay may be away for requests alone, and no reconnect follows then.
const SEND_AGAIN: Duration = Duration::from_secs(5);

/// Something that the agent is to know, beside what its channels bring.
#[derive(Clone, Debug)]
pub struct Note {
    /// In words of the program's own.
    pub what: String,
    /// Data of others, which is shown as such.
    pub data: Option<String>,
}

/// One that takes turns.
pub trait Agent: Send + 'static {
    /// Why a turn did not complete.
    type Error: Display + Send + 'static;

    /// One turn with this input, which shows these messages, to its end; a word of `stop` ends it early.
    ///
    /// # Errors
    /// It did not complete: the same messages come again.
    fn turn(
        &mut self,
        input: String,
        shows: Vec<Mark>,
        stop: flag::Receiver<bool>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Whether no retry helps.
    fn is_fatal(why: &Self::Error) -> bool;
}

/// How things stand with the relay.
#[derive(Debug)]
pub enum Connection {
    /// There is one.
    Bound,
    /// There is none, for this reason; it is tried again.
    Lost(String),
}

/// Why the agent cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Turns failed too often.
    #[error("{0}; the messages are kept at the relay, and the next start shows them")]
    GaveUp(&'static str),
    /// The relay takes this identity no more.
    #[error("{0}")]
    Over(EventsError),
    /// The identity's files.
    #[error("{0}")]
    Disk(#[from] IdentityError),
    /// A turn failed for good.
    #[error("{0}")]
    Turn(String),
}

struct Work<A> {
    account: Arc<Account>,
    roster: Arc<Roster>,
    agent: Arc<Mutex<A>>,
    done: mpsc::Sender<TaskEnd>,
    stop: flag::Receiver<bool>,
    turn: Option<JoinHandle<()>>,
}

/// The end of a task.
enum TaskEnd {
    Event(Event),
    Fatal(String),
}

/// Runs until `asked` is done, or the agent cannot go on. Each of `notes` is an event that the agent is to know; `connection`
/// hears how things stand with the relay, and ends it where that breaks.
///
/// # Errors
/// [`RunError`].
pub async fn run<A: Agent>(
    account: Arc<Account>,
    agent: A,
    mut notes: mpsc::Receiver<Note>,
    mut connection: impl FnMut(Connection) -> ControlFlow<()>,
    asked: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let (news, mut heard) = mpsc::channel(QUEUED);
    let (done, mut ended) = mpsc::channel(QUEUED);
    let (stopping, stop) = flag::channel(false);
    let roster = Arc::new(Roster::new(Arc::clone(&account)));
    let sent = send_kept(Arc::clone(&account), Arc::clone(&roster), news.clone());
    let sending = tokio::spawn(sent);
    let watch = Watch::new(Arc::clone(&account), Arc::clone(&roster), news);
    let watching = tokio::spawn(watch.run());
    let mut work = Work {
        account,
        roster,
        agent: Arc::new(Mutex::new(agent)),
        done,
        stop,
        turn: None,
    };
    let mut machine = Dispatcher::new();
    tokio::pin!(asked);
    let result = loop {
        let event = tokio::select! {
            () = &mut asked => break Ok(()),
            news = heard.recv() => match news {
                Some(News::Connection(now)) => match connection(now) {
                    ControlFlow::Break(()) => break Ok(()),
                    ControlFlow::Continue(()) => continue,
                },
                Some(News::Event(event)) => event,
                Some(News::Over(over)) => break Err(RunError::Over(over)),
                None => break Ok(()),
            },
            Some(note) = notes.recv() => Event::Line(match &note.data {
                Some(data) => lines::event_with(&note.what, data),
                None => lines::event(&note.what),
            }),
            done = ended.recv() => match done {
                Some(TaskEnd::Event(event)) => event,
                Some(TaskEnd::Fatal(why)) => break Err(RunError::Turn(why)),
                None => break Ok(()),
            },
        };
        let mut obeyed = Ok(());
        for command in machine.take(event) {
            obeyed = work.obey(command, &machine).await;
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
    sending.abort();
    // A receiver is in the work.
    let _ = stopping.send(true);
    if let Some(turn) = work.turn {
        let _ = turn.await;
    }
    result
}

/// Sends what is kept, until nobody listens. The agent hears of what the relay refuses, and of keys that were renewed or refused,
/// here or by a call.
async fn send_kept(account: Arc<Account>, roster: Arc<Roster>, news: mpsc::Sender<News>) {
    let mut known: Vec<Id> = Vec::new();
    loop {
        sleep(SEND_AGAIN).await;
        // If the relay judges nothing, the next round tries.
        let _ = account.flush().await;
        let (mut told, unsent) = (Vec::new(), account.unsent());
        for unsent in unsent.iter().filter(|unsent| !known.contains(&unsent.id)) {
            let (channel, why) = (unsent.channel_id, &unsent.why);
            tracing::warn!(name: "peer.outbox.refused", %channel, why, "a message that was kept is not sent");
            told.push(lines::unsent(unsent));
        }
        told.extend(roster.key_news().await);
        for line in told {
            if news.send(News::Event(Event::Line(line))).await.is_err() {
                return;
            }
        }
        known = unsent.iter().map(|unsent| unsent.id).collect();
        // If the disk refuses, the next round tries.
        let _ = account.forget_unsent(&known);
    }
}

impl<A: Agent> Work<A> {
    async fn obey(&mut self, command: Command, machine: &Dispatcher) -> Result<(), RunError> {
        match command {
            Command::Turn(input) => {
                tracing::info!(name: "peer.turn.began", bytes = input.len(), "a turn begins");
                let (agent, stop) = (Arc::clone(&self.agent), self.stop.clone());
                let shows = machine.shown();
                self.turn = Some(self.spawn(async move {
                    match agent.lock().await.turn(input, shows, stop).await {
                        Ok(()) => {
                            tracing::info!(name: "peer.turn.completed", "the turn is complete");
                            TaskEnd::Event(Event::Completed)
                        }
                        Err(fatal) if A::is_fatal(&fatal) => TaskEnd::Fatal(fatal.to_string()),
                        Err(why) => {
                            tracing::error!(name: "peer.turn.failed", %why, "the turn failed");
                            TaskEnd::Event(Event::Failed)
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
                    TaskEnd::Event(watch::page(&account, &roster, asked).await)
                });
            }
            Command::Keep(marks) => self.account.advance(&marks).await?,
            Command::Wait(pause) => {
                tracing::warn!(name: "peer.turn.retry", seconds = pause.as_secs(), "the turn is tried again");
                self.spawn(async move {
                    sleep(pause).await;
                    TaskEnd::Event(Event::Timer)
                });
            }
            Command::GiveUp(why) => return Err(RunError::GaveUp(why)),
        }
        Ok(())
    }

    fn spawn(&self, task: impl Future<Output = TaskEnd> + Send + 'static) -> JoinHandle<()> {
        let done = self.done.clone();
        tokio::spawn(async move {
            let ended = task.await;
            // Nobody listens where the peer stops.
            let _ = done.send(ended).await;
        })
    }
}
