//! Cells: the subjects that are in memory, loaded when they are asked for, and told of the acts of other relays.

use super::{Relay, lock, read_failed};
use crate::cell::{Cell, Fold, decode};
use crate::channel::{self, Channel};
use crate::organization::{self, Organization};
use crate::pushes::Pushes;
use crate::refusal::Refusal;
use crate::store::{Follow, Snapshot, StoreError, Subject};
use plexus_channels::Id;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// Channels that stay in memory although nobody uses them.
const IDLE_CHANNELS: usize = 20_000;

impl Relay {
    pub(crate) async fn organization_cell(
        &self,
        id: Id,
    ) -> Result<Arc<Cell<Organization>>, Refusal> {
        self.cell(&self.organizations, Subject::Organization(id), id)
            .await
    }

    pub(super) async fn new_channel_cell(&self, id: Id) -> Result<Arc<Cell<Channel>>, Refusal> {
        self.cell(&self.channels, Subject::Channel(id), id).await
    }

    /// The cell of a channel that there is.
    pub(super) async fn channel_cell(&self, id: Id) -> Result<Arc<Cell<Channel>>, Refusal> {
        let cell = self.new_channel_cell(id).await?;
        if cell.exists() {
            return Ok(cell);
        }
        // A request that makes it holds the cell too.
        let mut channels = lock(&self.channels);
        if Arc::strong_count(&cell) == 2 {
            channels.remove(&id);
        }
        Err(Refusal::not_found())
    }

    pub(super) async fn cell<F: Fold>(
        &self,
        cells: &Mutex<HashMap<Id, Arc<Cell<F>>>>,
        subject: Subject,
        id: Id,
    ) -> Result<Arc<Cell<F>>, Refusal> {
        if let Some(cell) = held(cells, id) {
            return Ok(cell);
        }
        // One caller reads it; the others of a herd wait for it.
        let stripe = usize::from(id.to_bytes()[15]) % self.loading.len();
        let _turn = match self.loading.get(stripe) {
            Some(turn) => Some(turn.lock().await),
            None => None,
        };
        if let Some(cell) = held(cells, id) {
            return Ok(cell);
        }
        let loaded = self
            .blocking(move |store| Cell::load(store, subject))
            .await?;
        self.keep(cells, id, loaded)
            .map_err(|why| read_failed(&why))
    }

    /// Keeps a cell that was loaded, unless there is one by now.
    fn keep<F: Fold>(
        &self,
        cells: &Mutex<HashMap<Id, Arc<Cell<F>>>>,
        id: Id,
        mut loaded: Cell<F>,
    ) -> Result<Arc<Cell<F>>, StoreError> {
        let mut cells = lock(cells);
        if cells.len() >= IDLE_CHANNELS {
            cells.retain(|_, cell| Arc::strong_count(cell) > 1);
        }
        if cells.get(&id).is_some_and(|cell| cell.is_over()) {
            // What was loaded may be older than acts on their way: the store refuses its next act then, and it ends too.
            cells.remove(&id);
        }
        if let Some(cell) = cells.get(&id) {
            return Ok(Arc::clone(cell));
        }
        // Acts of others that came while it was loaded have told nobody. The next one finds it here.
        loaded.read_on(&*self.store)?;
        let cell = Arc::new(loaded);
        cells.insert(id, Arc::clone(&cell));
        Ok(cell)
    }

    /// A cell, on a thread that may wait.
    fn loaded<F: Fold>(
        &self,
        cells: &Mutex<HashMap<Id, Arc<Cell<F>>>>,
        subject: Subject,
        id: Id,
    ) -> Result<Arc<Cell<F>>, StoreError> {
        match held(cells, id) {
            Some(cell) => Ok(cell),
            None => self.keep(cells, id, Cell::load(&*self.store, subject)?),
        }
    }

    fn follow_channel(
        &self,
        id: Id,
        number: u64,
        (at, act): (Id, &channel::Act),
    ) -> Result<Option<Snapshot>, StoreError> {
        // A cell that cannot go on with the act is over; what is loaded then has it.
        for _ in 0..2 {
            let cell = self.loaded(&self.channels, Subject::Channel(id), id)?;
            let organization = match act {
                channel::Act::Created { organization, .. } => Some(*organization),
                _ => cell.peek(Channel::organization),
            };
            let Some(organization) = organization else {
                continue;
            };
            let subject = Subject::Organization(organization);
            let directory = self.loaded(&self.organizations, subject, organization)?;
            let look = |fold: &Channel| Pushes::of(id, fold, (at, act), &directory);
            if let Some((pushes, snapshot)) = cell.follow((number, at), act, look) {
                pushes.send(&self.hub);
                return Ok(snapshot);
            }
        }
        Err(StoreError(format!("act {number} of {id} cannot be told")))
    }
}

impl Follow for Relay {
    fn appended(&self, subject: Subject, number: u64, act: &[u8]) -> Option<Snapshot> {
        let followed = match subject {
            Subject::Organization(id) => {
                let (at, act) = decode(act)?;
                if let Some(cell) = held(&self.organizations, id) {
                    // One that cannot go on with it is over: the next caller loads another.
                    cell.follow((number, at), &act, |_| ());
                }
                if let organization::Act::Removed { user } = act {
                    self.shut_out(user);
                }
                return None;
            }
            Subject::Channel(id) => match decode(act) {
                Some((at, act)) => self.follow_channel(id, number, (at, &act)),
                None => Err(StoreError(format!("act {number} of {id} is damaged"))),
            },
        };
        followed.unwrap_or_else(|why| {
            tracing::error!(name: "store.not_followed", %why, "an act of another relay could not be pushed");
            self.hub.interrupt_all();
            None
        })
    }

    fn lost(&self) {
        self.hub.interrupt_all();
    }
}

/// The cell in memory that can be used.
fn held<F: Fold>(cells: &Mutex<HashMap<Id, Arc<Cell<F>>>>, id: Id) -> Option<Arc<Cell<F>>> {
    lock(cells).get(&id).filter(|cell| !cell.is_over()).cloned()
}
