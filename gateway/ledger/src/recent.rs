//! The check of each start: the rows as they are, and the events since the last checkpoint, must lead to each other.
//!
//! ```text
//! rows now ─put back what changed since─▶ rows then = the checkpoint's digest ─its events─▶ rows now, byte for byte
//! ```
//! All rows are read once ([`reading`]). What the events since then changed is held against the table row by row, in bytes and
//! as this version reads both; a row that nothing changed is the one the checkpoint vouches for. So a start costs one reading
//! of the rows and one of those events, however it was stopped.
//! Invariant: a state leaves here only after the digest of the rows it was read from was compared.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::check::{
    self, Loaded, Older, Verified, checkpoint_at, in_turn, later_event, later_rows, vouches,
};
use crate::digest::RowDigest;
use crate::event::Head;
use crate::finding::{CheckError, Finding};
use crate::machine::{CHECKPOINT, Machine, Restored, Rows, is_own};
use crate::reading::{self, Base};
use crate::store::{StoreError, View};

/// Checks the part after the last checkpoint and gives the state it leads to.
pub(crate) fn recent<M: Machine>(view: &View) -> Result<Loaded<M>, CheckError> {
    let checkpoint = view.checkpoint()?;
    let base = view.base()?;
    let read = reading::all::<M>(view, &base)?;
    let (start, digest) = match checkpoint {
        0 => (Head::START, RowDigest::default().hex()),
        seq => checkpoint_at(view, seq)?,
    };
    if read.then.hex() != digest {
        // Name the row, if a fold of everything can; the digest alone cannot.
        check::named::<M>(view)?;
        let why = "they do not have its digest".to_owned();
        return Err(Finding::Checkpoint {
            seq: checkpoint,
            why,
        }
        .into());
    }
    // They have the checkpoint's digest: what cannot be read of them was written by a later version.
    let Restored { state, otherwise } = read.restored.map_err(later_rows)?;
    let mut tail = Tail::<M> {
        view,
        base: &base,
        head: start,
        state,
        then: read.then,
        held: BTreeMap::new(),
        rows: Rows::new(),
        checkpoints: 0,
        touched: HashSet::new(),
    };
    tail.fold()?;
    let older = tail.compare(otherwise)?;
    // A row that was touched and has its old value again was never kept; one that was kept may be back as well.
    if let Some(key) = base.keys().find(|key| !tail.touched.contains(*key)) {
        return Err(Finding::Row {
            key: key.clone(),
            why: "kept as changed, but no event changed it",
        }
        .into());
    }
    let verified = Verified {
        head: tail.head,
        first: checkpoint + 1,
        events: tail.head.seq - checkpoint,
        checkpoints: tail.checkpoints,
        rows: read.rows,
        heads: 0,
        archives: 0,
    };
    Ok(Loaded {
        state: tail.state,
        head: verified.head,
        digest: read.now,
        kept: base.into_keys().collect(),
        older,
        checkpoint,
        verified,
    })
}

/// The fold of the events after the checkpoint, over those rows alone that they are about.
struct Tail<'v, M: Machine> {
    view: &'v View,
    base: &'v Base,
    head: Head,
    /// What the events mean to this version.
    state: M::State,
    /// Of all rows at the checkpoint.
    then: RowDigest,
    /// The rows that were looked at, as they were at the checkpoint.
    held: BTreeMap<String, Option<Vec<u8>>>,
    /// The same rows as the events left them, in the events' own bytes.
    rows: Rows,
    checkpoints: u64,
    touched: HashSet<String>,
}

impl<M: Machine> Tail<'_, M> {
    fn fold(&mut self) -> Result<(), CheckError> {
        let (view, mut found) = (self.view, None);
        view.walk(self.head.seq + 1, |key, stored| {
            found = self.step(key, stored).err();
            Ok(found.is_none())
        })?;
        found.map_or(Ok(()), Err)
    }

    fn step(&mut self, key: u64, stored: &[u8]) -> Result<(), CheckError> {
        let (head, event) = in_turn(&self.head, key, stored)?;
        if event.event_type() == CHECKPOINT {
            vouches(&event, &self.digest())?;
            self.checkpoints += 1;
            self.touched.clear();
        } else if !is_own(event.event_type()) {
            let later = |error| later_event(key, error);
            let members = event.members();
            let act = M::decode(event.event_type(), &members).map_err(later)?;
            let touched = M::touched_rows(&act, event.id());
            for row in &touched {
                self.hold(row)?;
                if let Some(needed) = M::needs(row) {
                    self.hold(&needed)?;
                }
            }
            M::replay(&mut self.rows, event.id(), &members).map_err(later)?;
            self.touched.extend(touched);
            M::apply(&mut self.state, &act, event.id(), event.at());
        }
        self.head = head;
        Ok(())
    }

    /// The row as it was at the checkpoint.
    fn at_checkpoint(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match self.base.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.view.row(key),
        }
    }

    /// Takes a row in, unless it is in.
    fn hold(&mut self, key: &str) -> Result<(), StoreError> {
        if self.held.contains_key(key) {
            return Ok(());
        }
        let value = self.at_checkpoint(key)?;
        if let Some(value) = &value {
            self.rows.insert(key.to_owned(), value.clone());
        }
        self.held.insert(key.to_owned(), value);
        Ok(())
    }

    /// Of all rows as the events so far have left them.
    fn digest(&self) -> RowDigest {
        let mut digest = self.then;
        for (key, value) in &self.held {
            value.iter().for_each(|value| digest.remove(key, value));
        }
        for (key, value) in &self.rows {
            digest.add(key, value);
        }
        digest
    }

    /// Holds the table against the fold twice: byte for byte against what the events wrote, so that no edit passes as
    /// another version's spelling; and, as this version reads both, against what they mean. `otherwise` names the rows at
    /// the checkpoint that this version would write otherwise; gives those of now.
    fn compare(&self, otherwise: Vec<String>) -> Result<Older, CheckError> {
        let changed = self.held.keys().chain(self.rows.keys());
        let changed: BTreeSet<&String> = changed.chain(self.base.keys()).collect();
        let mut stored = Rows::new();
        for key in &changed {
            let found = self.view.row(key)?;
            let followed = self.held.contains_key(*key) || self.rows.contains_key(*key);
            let made = match followed {
                true => self.rows.get(*key),
                false => self.base.get(*key).and_then(Option::as_ref),
            };
            check::same(key, made, found.as_ref())?;
            if let Some(needed) = M::needs(key)
                && let Some(value) = self.view.row(&needed)?
            {
                stored.insert(needed, value);
            }
            stored.extend(found.map(|value| ((*key).clone(), value)));
        }
        let read = check::restored::<M>(&stored).map_err(later_rows)?.state;
        let mut older = Older::new();
        for key in otherwise {
            if !changed.contains(&key) {
                let value = self.view.row(&key)?;
                older.insert(key, value);
            }
        }
        for key in changed {
            let written = M::row(&self.state, key);
            check::same(key, written.as_ref(), M::row(&read, key).as_ref())?;
            let found = stored.get(key);
            if written.as_ref() != found {
                older.insert(key.clone(), found.cloned());
            }
        }
        // What this version makes of those rows beside them, and the table lacks.
        for (key, _) in M::all_rows(&read) {
            if !stored.contains_key(&key) && self.view.row(&key)?.is_none() {
                older.insert(key, None);
            }
        }
        Ok(older)
    }
}
