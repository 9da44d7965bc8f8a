//! [`Chains`]: the key states of each channel, and which channels were known before there were any.
//!
//! ```text
//! chains/<channel_id>.json   the states of a channel; kept when the channel is left
//! chains/earlier.json        channels of before: their keys are signed by nobody
//! ```
//! Invariants: a state is on disk before its key is used; a channel becomes one of before only here, from what this client knew,
//! or by an act of a person; one with states is none of before any more.

use crate::Id;
use crate::chain::{Chain, StoredChain, Taken};
use crate::identity::{IdentityError, read_json, write_json};
use crate::wire::KeyState;
use plexus_protocol::state_dir::make_folder;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

const CHAINS: &str = "chains";
const EARLIER: &str = "earlier.json";

/// What tells a file from the one that takes its place.
type FileMark = (u64, i64, i64);

/// The chains of an identity.
pub struct Chains {
    folder: PathBuf,
    held: BTreeMap<Id, Chain>,
    /// The files of those that were read: a file is replaced whole.
    seen: BTreeMap<Id, FileMark>,
    earlier: BTreeSet<Id>,
    /// Whether what it takes is kept.
    is_kept: bool,
}

impl Chains {
    /// The chains in an identity's folder. If there are none yet, `known` are the channels that this client has used before.
    ///
    /// # Errors
    /// Where a file is not private or damaged, or the disk refuses.
    pub fn open(identity: &Path, known: Vec<Id>) -> Result<Self, IdentityError> {
        let mut chains = Self::look(identity, known)?;
        chains.is_kept = true;
        if !chains.folder.join(EARLIER).exists() {
            let made = make_folder(&chains.folder, 0o700);
            made.map_err(|why| IdentityError::Io {
                file: chains.folder.clone(),
                why,
            })?;
            write_json(&chains.folder, EARLIER, &chains.earlier)?;
        }
        Ok(chains)
    }

    /// The same for a process that changes no file: what it takes, it knows until it ends.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn look(identity: &Path, known: Vec<Id>) -> Result<Self, IdentityError> {
        let folder = identity.join(CHAINS);
        let file = folder.join(EARLIER);
        let earlier = match file.exists() {
            true => read_json(&file)?,
            false => known.into_iter().collect(),
        };
        Ok(Self {
            folder,
            held: BTreeMap::new(),
            seen: BTreeMap::new(),
            earlier,
            is_kept: false,
        })
    }

    /// The chain of a channel.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn of(&mut self, channel_id: Id) -> Result<&Chain, IdentityError> {
        if !self.held.contains_key(&channel_id) {
            let mark = self.mark(channel_id);
            let chain = self.kept(channel_id)?;
            self.seen.extend(mark.map(|mark| (channel_id, mark)));
            self.held.insert(channel_id, chain);
        }
        Ok(&self.held[&channel_id])
    }

    fn mark(&self, channel_id: Id) -> Option<FileMark> {
        let facts = self.folder.join(name_of(channel_id)).metadata().ok()?;
        Some((facts.ino(), facts.mtime(), facts.mtime_nsec()))
    }

    fn kept(&self, channel_id: Id) -> Result<Chain, IdentityError> {
        let file = self.folder.join(name_of(channel_id));
        if !file.exists() {
            return Ok(Chain::new(channel_id));
        }
        let stored: StoredChain = read_json(&file)?;
        Chain::restored(channel_id, stored).ok_or_else(|| IdentityError::Damaged {
            file,
            why: "its key states do not fit together".to_owned(),
        })
    }

    /// Takes a state that [`Chain::take`] has judged on a copy; what is held and kept is that copy then.
    ///
    /// # Errors
    /// Where the disk refuses: the state must not be used then.
    pub fn put(&mut self, channel_id: Id, chain: Chain) -> Result<(), IdentityError> {
        if self.is_kept {
            write_json(&self.folder, &name_of(channel_id), &chain.stored())?;
            if self.earlier.remove(&channel_id) {
                write_json(&self.folder, EARLIER, &self.earlier)?;
            }
        }
        self.held.insert(channel_id, chain);
        Ok(())
    }

    /// Reads the files again: another process has them. What both have taken must be one chain.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn reload(&mut self) -> Result<(), IdentityError> {
        let file = self.folder.join(EARLIER);
        if file.exists() {
            self.earlier = read_json(&file)?;
        }
        for channel_id in self.held.keys().copied().collect::<Vec<_>>() {
            let mark = self.mark(channel_id);
            if mark.as_ref() == self.seen.get(&channel_id) {
                continue;
            }
            let mut kept = self.kept(channel_id)?;
            self.seen.extend(mark.map(|mark| (channel_id, mark)));
            // What this process took beyond the file, or instead of it.
            for state in self.held[&channel_id].states() {
                let is_same =
                    kept.hash(state.key_version) == self.held[&channel_id].hash(state.key_version);
                if !is_same && kept.take(state.clone()) == Ok(Taken::Second) {
                    break;
                }
            }
            self.held.insert(channel_id, kept);
        }
        Ok(())
    }

    /// Whether a channel is one of before, and has no key state yet.
    #[must_use]
    pub fn is_earlier(&self, channel_id: Id) -> bool {
        self.earlier.contains(&channel_id)
    }

    /// Takes a channel for one of before: a person wants it so.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn admit(&mut self, channel_id: Id) -> Result<(), IdentityError> {
        if self.earlier.insert(channel_id) && self.is_kept {
            write_json(&self.folder, EARLIER, &self.earlier)?;
        }
        Ok(())
    }

    /// Judges states that the relay shows, in their order, and keeps those that are successors.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn take(
        &mut self,
        channel_id: Id,
        states: Vec<KeyState>,
        fits: impl Fn(&KeyState) -> bool,
    ) -> Result<Judged, IdentityError> {
        let mut chain = self.of(channel_id)?.clone();
        let mut judged = Judged::default();
        for state in states {
            if !fits(&state) {
                judged.unfit = Some(state);
                break;
            }
            match chain.take(state.clone()) {
                Ok(Taken::Known) => {}
                Ok(Taken::Next) => judged.new.push(state.key_version),
                Ok(Taken::Second) => {
                    judged.has_stopped = true;
                    break;
                }
                Err(no) => {
                    judged.no_successor = Some(no.0);
                    break;
                }
            }
        }
        if judged.has_stopped || !judged.new.is_empty() {
            self.put(channel_id, chain)?;
        }
        Ok(judged)
    }
}

/// What became of states that the relay showed.
#[derive(Debug, Default)]
pub struct Judged {
    /// The versions that were taken.
    pub new: Vec<u32>,
    /// A second state stops the chain from now on.
    pub has_stopped: bool,
    /// One that is no successor; those behind it were not looked at.
    pub no_successor: Option<crate::chain::StateView>,
    /// One that names another key for a device than the known one.
    pub unfit: Option<KeyState>,
}

fn name_of(channel_id: Id) -> String {
    format!("{channel_id}.json")
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn channels_of_before_survive_a_power_cut() {
        let known = Id::from_parts(1, 0);
        let act = |disk: &plexus_power_cut::Disk, ()| {
            Chains::open(&disk.path(), vec![known]).expect("opens");
        };
        let done = |top: &Path| {
            let chains = Chains::look(top, Vec::new());
            chains.is_ok_and(|chains| chains.earlier.contains(&known))
        };
        plexus_power_cut::holds(|_| (), act, done, &[]);
    }
}
