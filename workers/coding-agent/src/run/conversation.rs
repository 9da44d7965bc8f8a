//! A conversation: turns of one thread on one copy, which stays between them; its change set grows with the turns.
//!
//! ```text
//! first turn ─▶ copy, what the folder held is written down ─▶ turn ─▶ change set
//!   ▲             └─ further turn ─▶ what was applied since counts as held ─▶ turn ─▶ change set of all turns
//!   └─ with the thread of a conversation that is over: its copy, as further turns have it
//! ```
//! Invariants: a conversation is there only when what its folder held is on disk; a further turn sees what the turns
//! before it changed; a change set holds what differs from the folder as far as this conversation knows it.
//!
//! Must not know: how many turns there may be, who speaks.

use super::{
    Outcome, RunError, Runs, Task, TurnContext, caller, fresh_name, on_files, prepare_home,
    words_on,
};
use crate::{
    Program,
    change_set::read_most,
    history::is_gits,
    snapshot::{FileFacts, Snapshot, SnapshotError},
    threads::Thread,
};
use plexus_ipc::worker::{CallContext, durable, on_file_thread};
use plexus_protocol::Digest;
use plexus_rooted_files::{FileError, Policy, RelPath, Root};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Longest record, in bytes: the files of the largest folder that is copied.
const LONGEST: u64 = 64 * 1024 * 1024;

/// How the run of a conversation is named.
const PREFIX: &str = "chat-";

/// Whether a run is a conversation's.
pub(super) fn has(run: &str) -> bool {
    run.starts_with(PREFIX)
}

impl Thread {
    /// Whether it belongs to a conversation, which is over or goes on.
    pub(crate) fn in_conversation(&self) -> bool {
        has(&self.run)
    }
}

/// What is written down of a conversation.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// The name of its run's folder.
    run: String,
    /// The thread, once the agent has named it.
    thread: Option<String>,
    /// The model of all its turns, as the program calls it; none: the program chooses.
    model: Option<String>,
    /// Most tokens and US dollars of each turn.
    #[serde(default)]
    limits: (Option<u64>, Option<f64>),
    /// What the folder held, as far as the turns are concerned; none: nothing is copied yet.
    before: Option<Snapshot>,
}

impl<P: Program> Runs<P> {
    /// Carries one turn of a conversation out.
    ///
    /// # Errors
    /// [`RunError`]; what the turn changed in the copy stays there.
    pub(crate) async fn turn_of(
        &self,
        call: &CallContext,
        task: &Task,
        conversation: Digest,
    ) -> Result<Outcome, RunError> {
        let path = self
            .threads
            .conversations()
            .join(format!("{conversation}.json"));
        let mut warnings = Vec::new();
        let mut record = match read(&path)? {
            Some(known) => known,
            // A further message names no model, so it cannot begin what the first one was to begin.
            None if !task.names_model && !call.is_approved_plan() => {
                return Err(RunError::NotBegun);
            }
            None => {
                let earlier = self.reopened(call, task).await?;
                let fresh = || (format!("{PREFIX}{}", fresh_name(call)), None);
                let (run, before) = earlier.unwrap_or_else(fresh);
                Record {
                    run,
                    thread: task.thread.clone(),
                    model: task.program_model.clone(),
                    limits: (task.max_tokens, task.max_cost),
                    before,
                }
            }
        };
        let run = record.run.clone();
        let _at_work = self.threads.at_work(call.audit(), vec![run.clone()]);
        let alone = self.turn_alone(call, &run).await?;
        // Before there is a copy: whatever becomes of this turn, the next one has the same model.
        write(&path, &record)?;
        let copy = self.dir.join(&run).join("root");
        let before = match record.before.take() {
            Some(before) if copy.is_dir() && !has_copied_git(&before) => {
                self.as_applied(call, before, copy.clone()).await?
            }
            earlier => {
                if earlier.is_some() || record.thread.is_some() {
                    warnings.push(
                        "the copy of this conversation is gone, or of an earlier version; the turn has a new one"
                            .into(),
                    );
                }
                let before = self.copy(call, copy.clone()).await?;
                warnings.extend(words_on(&before));
                before
            }
        };
        record.before = Some(before.clone());
        if record.thread.is_none() {
            record.thread = self.begun_in(&run)?;
        }
        write(&path, &record)?;
        prepare_home(&self.home(&run), P::SETTINGS)?;
        if call.is_cancelled() {
            return Err(RunError::Cancelled);
        }

        let task = Task {
            program_model: record.model.clone(),
            thread: record.thread.clone(),
            max_tokens: record.limits.0,
            max_cost: record.limits.1,
            ..task.clone()
        };
        let agent = caller(call).await?;
        let known = self.known(&task, agent.as_deref())?;
        if task.thread.is_some() && known.is_none() {
            warnings.push("this conversation's thread is gone; the turn began a new one".into());
        }
        let place = TurnContext {
            run: &run,
            cwd: None,
            agent: agent.as_deref(),
            onto: &task.onto,
            prompt: &task.prompt,
        };
        self.threads.note_turn(call.audit())?;
        let turn = async {
            let spoken = self.speak(call, &task, place, known, &mut warnings).await?;
            // Kept whatever became of the turn: the next one goes on with it.
            if let Some(thread) = spoken.ended.turn.thread() {
                record.thread = Some(thread.to_owned());
                write(&path, &record)?;
            }
            let made = (copy, before, true);
            self.outcome(call, spoken, place, made, (warnings, &mut false))
                .await
        };
        let done = turn.await;
        self.let_go(call, &run, false, alone).await;
        done.map_err(RunError::cut_off)
    }

    /// The run of an earlier conversation that a new one goes on with, and what its folder held then, where that is still known.
    async fn reopened(
        &self,
        call: &CallContext,
        task: &Task,
    ) -> Result<Option<(String, Option<Snapshot>)>, RunError> {
        if task.thread.is_none() {
            return Ok(None);
        }
        let agent = caller(call).await?;
        let known = self.known(task, agent.as_deref())?;
        let thread = known.filter(Thread::in_conversation);
        let run = thread.ok_or(RunError::NoConversation)?.run;
        let conversations = self.threads.conversations();
        let found = on_file_thread(move || {
            let newest = || -> io::Result<_> {
                let mut found: Option<(SystemTime, Option<Snapshot>)> = None;
                for entry in fs::read_dir(conversations)? {
                    let entry = entry?;
                    let used = match entry.metadata() {
                        // A record that its writer has just put in its place.
                        Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                        meta => meta?.modified()?,
                    };
                    let is_later = found.as_ref().is_none_or(|(latest, _)| used > *latest);
                    let record = read(&entry.path()).ok().flatten();
                    if let Some(record) = record.filter(|record| is_later && record.run == run) {
                        found = Some((used, record.before));
                    }
                }
                Ok((run, found.and_then(|(_, before)| before)))
            };
            Ok(newest())
        });
        Ok(Some(found.await??))
    }

    /// The thread that a turn of this run began and did not live to note here.
    fn begun_in(&self, run: &str) -> io::Result<Option<String>> {
        let all = self.threads.all()?.0.into_iter();
        let newest = all
            .filter(|thread| thread.run == run)
            .max_by_key(|thread| thread.last);
        Ok(newest.map(|thread| thread.id))
    }

    /// What the folder held, with what a change set of this conversation has brought into it since.
    async fn as_applied(
        &self,
        call: &CallContext,
        mut before: Snapshot,
        copy: PathBuf,
    ) -> Result<Snapshot, RunError> {
        let root = self.root.clone();
        on_files(call, move |is_over| {
            let made = Root::open(&copy, Policy::default()).map_err(SnapshotError::from)?;
            let made = before.rules.unshared(made);
            let made = Snapshot::of_copy(&made, &before.rules, is_over)?;
            let paths: Vec<RelPath> = before
                .files
                .keys()
                .chain(made.files.keys())
                .cloned()
                .collect();
            for path in paths {
                let (held, made) = (before.files.get(&path), made.files.get(&path));
                if held == made || !is_as(&root, &path, made)? {
                    continue;
                }
                match made {
                    Some(made) => before.files.insert(path, *made),
                    None => before.files.remove(&path),
                };
            }
            Ok(before)
        })
        .await
    }

    /// Forgets conversations whose copy nobody goes on with, and turns that nobody asks about any more. For a writer that
    /// starts.
    pub(crate) fn prune_conversations(&self) -> io::Result<()> {
        for dir in [self.threads.conversations(), self.threads.turns_begun()] {
            let listed = match fs::read_dir(dir) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                listed => listed?,
            };
            for entry in listed {
                let entry = entry?;
                let used = entry.metadata().and_then(|meta| meta.modified())?;
                let age = SystemTime::now().duration_since(used);
                if age.is_ok_and(|age| age >= super::KEPT) {
                    fs::remove_file(entry.path())?;
                }
            }
        }
        Ok(())
    }
}

/// Whether a copy is of a version that copied the files of `.git`.
fn has_copied_git(before: &Snapshot) -> bool {
    let mut files = before.files.keys();
    files.any(|path| path.components().any(is_gits))
}

/// Whether the folder has a file as the copy has it: the same content, executable or not, or none.
fn is_as(root: &Root, path: &RelPath, made: Option<&FileFacts>) -> Result<bool, SnapshotError> {
    match (root.read(path), made) {
        (Ok(read), Some(made)) => {
            let executable = read.meta.mode & 0o100 != 0;
            Ok((read.digest(), executable) == (made.digest, made.executable))
        }
        (Err(FileError::NotFound(_)), made) => Ok(made.is_none()),
        // What cannot be read now was not brought there by anybody who checks what he writes.
        (Ok(_) | Err(_), _) => Ok(false),
    }
}

fn read(path: &Path) -> io::Result<Option<Record>> {
    let bytes = match read_most(path, LONGEST) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes?,
    };
    Ok(Some(serde_json::from_slice(&bytes)?))
}

fn write(path: &Path, record: &Record) -> io::Result<()> {
    durable::put(path, &serde_json::to_vec(record)?)
}
