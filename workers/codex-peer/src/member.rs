//! [`Member`]: each turn is asked for as a call of the source itself, and waits until the gateway lets it begin.
//!
//! ```text
//! asked ─▶ the gateway calls back: the commit takes the turn ─▶ its end
//!   ├─ waits for the owner ─▶ decided ─▶ asked again
//!   └─ not connected, denied, paused, busy ─▶ after a pause asked again
//! ```
//! Invariants: a turn that never began is no failed turn; its messages stay at the relay meanwhile.
//!
//! Must not know: how a turn is made, what it says.

use crate::pended::Notes;
use crate::turn::TurnError;
use plexus_channels::{
    Id, account::Account, backoff::Backoff, crypto::random, events::EventsError,
};
use plexus_ipc::worker::{Host, SourceError};
use plexus_participant::{Agent, Connection, Mark, RunError};
use plexus_protocol::PendingId;
use serde_json::{Value, json};
use std::{
    future::pending,
    ops::ControlFlow,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{oneshot, watch},
    time::sleep,
};

/// How often a source that may not take a turn looks whether it may now: nobody tells it.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Longest wait in one question about an item.
const WAIT: Duration = Duration::from_secs(20);

/// Notes that wait for the dispatcher.
const NOTES: usize = 64;
/// How long a member that gave up rests.
const REST: Duration = Duration::from_secs(60);

/// What is wrong with the member; `None` while all is well.
pub(crate) type Ailing = Arc<Mutex<Option<String>>>;

/// Whether a turn waits that the source may not even ask for: the owner has not connected it, or not with its turns.
pub(crate) type Unconnected = Arc<AtomicBool>;

/// A turn that waits to be taken.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) id: Id,
    pub(crate) input: String,
    pub(crate) shows: Vec<Mark>,
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) done: oneshot::Sender<Result<(), TurnError>>,
}

/// The place of that turn; the commit takes it from here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slot(Arc<Mutex<Option<Due>>>);

impl Slot {
    /// The turn of this id, if it still waits.
    pub(crate) fn take(&self, id: Id) -> Option<Due> {
        self.lock().take_if(|due| due.id == id)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Due>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The source as a member of its channels.
pub(crate) struct Member {
    pub(crate) host: Host,
    pub(crate) slot: Slot,
    /// The capability of turns.
    pub(crate) own: String,
    pub(crate) unconnected: Unconnected,
}

/// What keeps a turn from beginning.
enum Hindrance {
    /// Worth another question later.
    Passing,
    /// The owner does not want it, until a grant says otherwise.
    Denied,
}

impl Agent for Member {
    type Error = TurnError;

    async fn turn(
        &mut self,
        input: String,
        shows: Vec<Mark>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), TurnError> {
        let (done, over) = oneshot::channel();
        let id = Id::generate();
        let asked = json!({"turn": id, "messages": shows.len()});
        *self.slot.lock() = Some(Due {
            id,
            input,
            shows,
            stop: stop.clone(),
            done,
        });
        tokio::select! {
            begun = self.begun(id, &asked) => begun.map_err(TurnError::Gateway)?,
            // A turn that has begun hears of it too.
            _ = async { stop.wait_for(|stop| *stop).await.is_ok() } => {
                drop(self.slot.take(id));
                self.unconnected.store(false, Ordering::Relaxed);
            }
        }
        over.await.unwrap_or(Err(TurnError::Stopped))
    }

    fn is_fatal(_: &TurnError) -> bool {
        false
    }
}

impl Member {
    /// Asks for the turn until it has been taken.
    async fn begun(&self, id: Id, asked: &Value) -> Result<(), SourceError> {
        let mut backoff = Backoff::default();
        loop {
            self.until(|entry| !entry.is_null()).await?;
            let reply = self.host.call(&self.own, asked).await?;
            if self.slot.lock().as_ref().is_none_or(|due| due.id != id) {
                return Ok(());
            }
            let code = reply["error"]["code"].as_str().unwrap_or_default();
            tracing::info!(name: "peer.turn.waits", code, "the turn waits for the gateway");
            let item = reply["error"]["pendingId"].as_str();
            let item = item.and_then(|item| item.parse::<PendingId>().ok());
            let hindrance = match (code, item) {
                ("approval_required", Some(item)) => self.decided(&item).await?,
                ("denied_by_owner", _) => Some(Hindrance::Denied),
                _ => Some(Hindrance::Passing),
            };
            match hindrance {
                None => {}
                Some(Hindrance::Denied) => self.until(|entry| entry["standing"] == true).await?,
                Some(Hindrance::Passing) => sleep(backoff.next(random::<1>()[0])).await,
            }
        }
    }

    /// Waits until the owner has decided on an item; `None` where the call may be made.
    async fn decided(&self, item: &PendingId) -> Result<Option<Hindrance>, SourceError> {
        loop {
            let told = self.host.item(item, WAIT).await?;
            match told["state"].as_str().unwrap_or_default() {
                "pending" => {}
                "approved" => return Ok(None),
                "denied" => return Ok(Some(Hindrance::Denied)),
                _ => return Ok(Some(Hindrance::Passing)),
            }
        }
    }

    /// Waits until what the source may call of turns is so.
    async fn until(&self, is_so: impl Fn(&Value) -> bool) -> Result<(), SourceError> {
        loop {
            let told = self.host.capabilities().await?;
            let entries = told["capabilities"].as_array();
            let entry = entries.and_then(|all| all.iter().find(|entry| entry["id"] == *self.own));
            self.unconnected.store(entry.is_none(), Ordering::Relaxed);
            if is_so(entry.unwrap_or(&Value::Null)) {
                return Ok(());
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

/// The work of the member, begun anew where it gave up.
pub(crate) struct Work {
    pub(crate) account: Arc<Account>,
    pub(crate) host: Host,
    pub(crate) slot: Slot,
    pub(crate) own: String,
    pub(crate) notes: Notes,
    pub(crate) ailing: Ailing,
    pub(crate) unconnected: Unconnected,
}

/// Why the peer does nothing for now, for the owner. The words of a turn that failed are in the log alone.
fn resting(why: &RunError) -> String {
    match why {
        RunError::GaveUp(failed) => format!(
            "{failed}, as plexusctl logs has it; the messages are kept at the relay, and it begins again within a minute"
        ),
        other => other.to_string(),
    }
}

impl Work {
    /// Until another process uses the identity.
    pub(crate) async fn work(self) {
        loop {
            let member = Member {
                host: self.host.clone(),
                slot: self.slot.clone(),
                own: self.own.clone(),
                unconnected: Arc::clone(&self.unconnected),
            };
            let connection = |now| {
                self.note(match now {
                    Connection::Bound => None,
                    Connection::Lost(why) => Some(format!("no connection to the relay: {why}")),
                });
                ControlFlow::Continue(())
            };
            let notes = self.notes.begin(NOTES);
            let account = Arc::clone(&self.account);
            let ended =
                plexus_participant::run(account, member, notes, connection, pending()).await;
            let Err(why) = ended else { return };
            tracing::error!(name: "peer.gave_up", %why, "the peer stopped");
            self.note(Some(resting(&why)));
            // Another process of this identity: each would end the other's connection. Else another relay may have answered.
            if matches!(why, RunError::Over(EventsError::Replaced)) {
                return;
            }
            sleep(REST).await;
        }
    }

    fn note(&self, why: Option<String>) {
        *self.ailing.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }
}
