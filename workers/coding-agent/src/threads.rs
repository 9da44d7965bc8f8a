//! Threads of a coding agent: which of them this source has, in which folder each one's sessions lie, and what it has used.
//!
//! A thread has a folder of its own among the runs, so no run reads the sessions of another thread. The agent names a
//! thread after it has begun; until then its folder has the name of the call.
//!
//! Invariants: a thread is known only when its record is on disk; two turns of one thread wait for one another; a run that
//! is under way is known with what it needs.
//!
//! Must not know: what was said, beyond how it began.

use crate::change_set::read_most;
use plexus_agent_lines::Usage;
use plexus_ipc::worker::durable;
use plexus_protocol::{AuditId, Digest, Timestamp, words::cut};
use plexus_rooted_files::RelPath;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::OwnedMutexGuard;

/// The file of [`Threads::mirror`].
const MIRROR: &str = ".plexum-codex-session";
/// Most threads that are looked at for a list.
const MOST: usize = 10_000;
/// Longest record of a thread, in bytes: the longest path takes six bytes for each of its own.
const LONGEST: u64 = 12 * 1024;
/// Longest title, in characters.
const TITLE: usize = 80;

/// One thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Thread {
    /// As the agent names it.
    pub(crate) id: String,
    /// The name of its run's folder.
    pub(crate) run: String,
    /// The folder of its copies that it works in; none: the copy itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cwd: Option<RelPath>,
    /// How its first prompt begins; empty where an earlier version noted nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) title: String,
    /// What it has used so far.
    pub(crate) usage: Usage,
    /// The agent whose it is; none: the owner's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) agent: Option<String>,
    /// When it began; the beginning of time where an earlier version noted none.
    #[serde(default = "unknown_time")]
    pub(crate) began: Timestamp,
    /// When its last turn began or ended.
    #[serde(default = "unknown_time")]
    pub(crate) last: Timestamp,
}

/// How a thread is called that begins with `prompt`: its first line that says something, and whether there is more.
pub(crate) fn title_of(prompt: &str) -> String {
    let mut lines = prompt.lines().map(str::trim);
    let first = lines.find(|line| !line.is_empty()).unwrap_or_default();
    let has_more = lines.any(|line| !line.is_empty());
    match has_more && first.chars().count() <= TITLE {
        true => format!("{first} …"),
        false => cut(first, TITLE),
    }
}

fn unknown_time() -> Timestamp {
    Timestamp(0)
}

/// All threads of a source.
#[derive(Debug)]
pub(crate) struct Threads {
    dir: PathBuf,
    /// The folders of the runs.
    runs: PathBuf,
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// The runs that are under way, by their calls, each with the change sets and the conversation that it needs.
    at_work: Mutex<BTreeMap<AuditId, Vec<String>>>,
}

/// A run that is under way, until this goes.
#[derive(Debug)]
pub(crate) struct AtWork<'t> {
    threads: &'t Threads,
    call: Option<AuditId>,
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        if let Some(call) = &self.call {
            self.threads.runs_at_work().remove(call);
        }
    }
}

impl Threads {
    pub(crate) fn in_folder(scratch: &Path) -> Self {
        Self {
            dir: scratch.join("threads"),
            runs: scratch.join("runs/writer"),
            turns: Mutex::default(),
            at_work: Mutex::default(),
        }
    }

    /// The thread that the agent names so.
    ///
    /// # Errors
    /// The record cannot be read.
    pub(crate) fn get(&self, id: &str) -> io::Result<Option<Thread>> {
        let bytes = match read_most(&self.dir.join(record_name(id)), LONGEST) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes?,
        };
        let thread: Thread = serde_json::from_slice(&bytes)?;
        Ok(Some(thread).filter(|thread| thread.id == id))
    }

    /// All of them, in no order; and how many records say nothing to us.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(crate) fn all(&self) -> io::Result<(Vec<Thread>, usize)> {
        let (mut all, mut unread) = (Vec::new(), 0);
        let listed = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((all, unread)),
            listed => listed?,
        };
        for entry in listed.take(MOST) {
            let path = entry?.path();
            // A record that is being written; and one that its writer has just put in its place.
            let is_new = path.extension().is_some_and(|ending| ending == "new");
            let read = match read_most(&path, LONGEST) {
                _ if is_new => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                read => read?,
            };
            match serde_json::from_slice(&read) {
                Ok(thread) => all.push(thread),
                Err(_) => unread += 1,
            }
        }
        Ok((all, unread))
    }

    /// The folder of a run that the run itself can write.
    pub(crate) fn scratch_of(&self, run: &str) -> PathBuf {
        self.runs.join(run).join("scratch")
    }

    /// Writes the thread of a run beside the run's folders, for people: nobody reads it back.
    ///
    /// # Errors
    /// What is there stays.
    pub(crate) fn mirror(&self, thread: &str, run: &str) -> io::Result<()> {
        let path = self.runs.join(run).join(MIRROR);
        let new = path.with_extension("tmp");
        fs::write(&new, format!("{thread}\n"))?;
        fs::rename(&new, &path)
    }

    /// Writes a thread down, in one rename.
    ///
    /// # Errors
    /// What is there stays.
    pub(crate) fn put(&self, thread: &Thread) -> io::Result<()> {
        let path = self.dir.join(record_name(&thread.id));
        durable::put(&path, &serde_json::to_vec(thread)?)
    }

    /// The folder of what is written down of conversations.
    pub(crate) fn conversations(&self) -> PathBuf {
        self.dir.with_file_name("conversations")
    }

    /// The folder of what [`Self::note_turn`] and [`Self::note_drop`] note: a file for each call, of a drop with its set.
    pub(crate) fn turns_begun(&self) -> PathBuf {
        self.dir.with_file_name("turns")
    }

    /// Notes that a turn begins whose thread or copy keeps what it does, whatever becomes of its answer.
    ///
    /// # Errors
    /// It is not noted.
    pub(crate) fn note_turn(&self, intent: Option<&AuditId>) -> io::Result<()> {
        let Some(intent) = intent else { return Ok(()) };
        let dir = self.turns_begun();
        durable::make_folder(&dir)?;
        File::create(dir.join(intent.as_str()))?;
        File::open(dir)?.sync_all()
    }

    /// Whether a turn of this intent may have begun.
    pub(crate) fn had_turn(&self, intent: &AuditId) -> bool {
        let noted = self.turns_begun().join(intent.as_str()).try_exists();
        noted.unwrap_or(true)
    }

    /// Notes that a change set is dropped from here on: whether it was, the set itself says.
    ///
    /// # Errors
    /// It may be noted, or not.
    pub(crate) fn note_drop(&self, intent: &AuditId, set: &str) -> io::Result<()> {
        durable::put(&self.turns_begun().join(intent.as_str()), set.as_bytes())
    }

    /// The change set that a call was to drop.
    pub(crate) fn to_drop(&self, intent: &AuditId) -> Option<String> {
        let noted = fs::read_to_string(self.turns_begun().join(intent.as_str()));
        noted.ok().filter(|set| !set.is_empty())
    }

    /// Has a run be under way, which needs these change sets, or this conversation.
    pub(crate) fn at_work(&self, call: Option<&AuditId>, needs: Vec<String>) -> AtWork<'_> {
        if let Some(call) = call {
            self.runs_at_work().insert(call.clone(), needs);
        }
        AtWork {
            threads: self,
            call: call.cloned(),
        }
    }

    /// The runs that are under way; none begins or ends while this is held.
    pub(crate) fn runs_at_work(&self) -> MutexGuard<'_, BTreeMap<AuditId, Vec<String>>> {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no other turn has this run's folder.
    pub(crate) async fn turn(&self, run: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            // Those that nobody has or waits for.
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            turns.entry(run.to_owned()).or_default().clone()
        };
        turn.lock_owned().await
    }
}

/// What names the record of a thread: its id's digest, so that no id of an agent is ever a path.
fn record_name(thread: &str) -> String {
    let digest = Digest::of(thread.as_bytes()).to_string();
    format!("thread-{}", &digest[..32])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thread_is_found_by_its_id_alone() {
        let scratch = tempfile::tempdir().unwrap();
        let threads = Threads::in_folder(scratch.path());
        assert_eq!(threads.get("../../x").unwrap(), None);
        let thread = Thread {
            id: "01a1".into(),
            run: "evt-1".into(),
            cwd: None,
            title: title_of("\n  Mend the tests.\nAll of them."),
            usage: Usage::default(),
            agent: Some("cc".into()),
            began: Timestamp(1),
            last: Timestamp(2),
        };
        assert_eq!(thread.title, "Mend the tests. …");
        assert_eq!(title_of("Mend one.\n\n"), "Mend one.");
        threads.put(&thread).unwrap();
        assert_eq!(threads.get("01a1").unwrap().as_ref(), Some(&thread));
        fs::write(scratch.path().join("threads/x"), "no record").unwrap();
        assert_eq!(threads.all().unwrap(), (vec![thread], 1));
        assert_eq!(threads.get("01a2").unwrap(), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn threads_and_turns_survive_a_power_cut() {
        use plexus_power_cut::holds;
        let of = Threads::in_folder;
        let thread = |run: &str| Thread {
            id: "01a1".into(),
            run: run.into(),
            cwd: None,
            title: String::new(),
            usage: Usage::default(),
            agent: None,
            began: Timestamp(1),
            last: Timestamp(2),
        };
        let known = |top: &Path| matches!(of(top).get("01a1"), Ok(Some(found)) if found.run == "2");
        let put = |top: &Path| of(top).put(&thread("2")).unwrap();
        holds(|_| (), |disk, ()| put(&disk.path()), known, &[]);
        let before = |top: &Path| of(top).put(&thread("1")).unwrap();
        holds(before, |disk, ()| put(&disk.path()), known, &[]);
        let turn = AuditId::parse("evt_00000000-0000-8000-8000-000000000001").unwrap();
        let noted = |top: &Path| of(top).had_turn(&turn);
        let note = |top: &Path| of(top).note_turn(Some(&turn)).unwrap();
        holds(|_| (), |disk, ()| note(&disk.path()), noted, &[]);
    }
}
