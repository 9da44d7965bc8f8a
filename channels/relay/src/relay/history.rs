//! Pages of a channel's messages.

use super::Relay;
use crate::cell::{Cell, decode, id_of, number_of};
use crate::channel::{self, ActingDevice, Posted};
use crate::organization::Organization;
use crate::refusal::Refusal;
use crate::store::{Store, StoreError, Subject};
use plexus_channels::Id;
use plexus_channels::wire::{Message, Page};
use std::sync::Arc;

/// Acts that a page of history reads at once.
const CHUNK: usize = 256;

/// Where a page of history begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cursor {
    Newest,
    After(Id),
    Before(Id),
}

impl Relay {
    pub(crate) async fn history(
        &self,
        by: ActingDevice,
        id: Id,
        cursor: Cursor,
        limit: usize,
    ) -> Result<Page, Refusal> {
        let directory = self.organization_cell(by.organization).await?;
        self.look(id, |fold| fold.admit(by).map(|_| ())).await?;
        self.page(id, cursor, limit, &directory).await
    }

    pub(super) async fn page(
        &self,
        id: Id,
        cursor: Cursor,
        limit: usize,
        directory: &Arc<Cell<Organization>>,
    ) -> Result<Page, Refusal> {
        let (mut found, backwards) = self
            .blocking(move |store| read_page(store, Subject::Channel(id), cursor, limit + 1))
            .await?;
        let has_more = found.len() > limit;
        found.truncate(limit);
        if backwards {
            found.reverse();
        }
        let named = |(message_id, posted): (Id, Posted)| -> Message {
            let name = directory.peek(|fold| fold.name_of(posted.by()));
            posted.wire(id, message_id, name)
        };
        let messages = found.into_iter().map(named).collect();
        Ok(Page { messages, has_more })
    }
}

/// Messages beside the cursor, at most so many, nearest first, and whether they run backwards.
fn read_page(
    store: &dyn Store,
    subject: Subject,
    cursor: Cursor,
    most: usize,
) -> Result<(Vec<(Id, Posted)>, bool), StoreError> {
    let backwards = !matches!(cursor, Cursor::After(_));
    let (mut first, mut last) = match cursor {
        Cursor::Newest => (1, u64::MAX),
        Cursor::After(id) => (acts_up_to(store, subject, id)? + 1, u64::MAX),
        Cursor::Before(id) => {
            let up_to = acts_up_to(store, subject, id)?;
            let itself = act_id(store, subject, up_to)? == Some(id);
            (1, up_to - u64::from(itself))
        }
    };
    let mut found = Vec::new();
    while found.len() < most && first <= last {
        let chunk = store.acts(subject, (first, last), CHUNK.min(most + 16), backwards)?;
        let Some((end, _)) = chunk.last() else { break };
        if backwards {
            last = end - 1;
        } else {
            first = end + 1;
        }
        let messages = chunk.iter().filter_map(|(_, bytes)| {
            let (id, act) = decode::<channel::Act>(bytes)?;
            Some((id, act.message()?))
        });
        found.extend(messages);
    }
    found.truncate(most);
    Ok((found, backwards))
}

/// How many acts have an id up to this one. Ids carry their number; for one that no act has, a search.
fn acts_up_to(store: &dyn Store, subject: Subject, id: Id) -> Result<u64, StoreError> {
    let number = number_of(id);
    if act_id(store, subject, number)? == Some(id) {
        return Ok(number);
    }
    let newest = store.acts(subject, (1, u64::MAX), 1, true)?;
    let (mut low, mut high) = (0, newest.first().map_or(0, |(number, _)| *number));
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        match act_id(store, subject, middle)? {
            Some(found) if found <= id => low = middle,
            _ => high = middle - 1,
        }
    }
    Ok(low)
}

fn act_id(store: &dyn Store, subject: Subject, number: u64) -> Result<Option<Id>, StoreError> {
    let act = store.acts(subject, (number, number), 1, false)?;
    Ok(act.first().and_then(|(_, bytes)| id_of(bytes)))
}
