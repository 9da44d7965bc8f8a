//! Answers that outlive their caller, as files of `pending/` (docs/reference/state-directory.md): asynchronous runs, approved runs, effects
//! that came with an idempotency key.
//!
//! The ledger knows what was called and what became of it; a file only adds the words of the answer. One that is lost, too
//! old or not readable costs the output of a repeated question, never a second effect.
//!
//! Invariant: all of them together have at most 256 MiB at every moment; the oldest go first.
//!
//! Must not know: who may have an answer.

use crate::answer::Answer;
use plexus_home::{state_dir::write_private, tasks::blocking};
use plexus_protocol::{
    AgentId, AuditId, CapabilityId, Constraint, Digest, PendingId, RunId, Timestamp,
    body::InvokeResponse,
};
use plexus_trust::State;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

/// Bytes of all of them.
const MOST: u64 = 256 * 1024 * 1024;
/// How long the answer of a run is kept.
pub(crate) const KEPT: Duration = Duration::from_secs(24 * 3600);
/// The same in milliseconds.
pub(crate) const KEPT_MS: u64 = KEPT.as_secs() * 1_000;

/// The key of a kept answer.
#[derive(Clone, Copy)]
pub(crate) enum Key<'a> {
    /// The intent of an effect that reserved an idempotency key.
    Intent(&'a AuditId),
    /// One call of an approved item.
    Item(&'a PendingId, &'a CapabilityId),
    /// An asynchronous run.
    Run(&'a RunId),
}

const OF_INTENT: &str = ".reply";
const OF_ITEM: &str = ".result";
const OF_RUN: &str = ".run";

impl Key<'_> {
    fn file(self) -> String {
        match self {
            Self::Intent(intent) => format!("{intent}{OF_INTENT}"),
            Self::Item(item, id) => format!("{item}.{id}{OF_ITEM}"),
            Self::Run(run) => format!("{run}{OF_RUN}"),
        }
    }
}

/// An answer as it is kept.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct KeptAnswer {
    pub(crate) status: u16,
    pub(crate) response: InvokeResponse,
    /// Whether its agent has had it: of an approved run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) collected: bool,
    /// Of an approved read: on which terms it was read. None where it is not given any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) terms: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) run: Option<RunFacts>,
}

/// Facts of an asynchronous run beside its answer.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct RunFacts {
    pub(crate) agent: AgentId,
    pub(crate) epoch: u64,
    pub(crate) capability: CapabilityId,
    pub(crate) is_read: bool,
    pub(crate) started: Timestamp,
    pub(crate) ended: Timestamp,
    /// The terms on which it was permitted.
    pub(crate) constraint: Option<Constraint>,
    pub(crate) read: Digest,
    pub(crate) grant: Option<u64>,
}

impl KeptAnswer {
    pub(crate) fn of(answer: &Answer) -> Self {
        Self {
            status: answer.status,
            response: InvokeResponse {
                grant: None,
                ..answer.body.clone()
            },
            collected: false,
            terms: None,
            run: None,
        }
    }
}

/// The folder of kept answers.
#[derive(Clone)]
pub struct Answers {
    folder: Arc<Path>,
    /// Bytes of its files, or more where one was written over; none until they are listed. Held while one is written.
    held: Arc<Mutex<Option<u64>>>,
}

impl Answers {
    /// In the folder of what waits.
    pub fn in_folder(pending: PathBuf) -> Self {
        Self {
            folder: pending.into(),
            held: Arc::default(),
        }
    }

    /// Keeps an answer. Blocks.
    pub(crate) fn keep(&self, key: Key<'_>, answer: &KeptAnswer) {
        self.write(&key.file(), answer);
    }

    fn write(&self, file: &str, answer: &KeptAnswer) {
        let saved = serde_json::to_vec(answer).map_err(io::Error::other);
        let written = saved.and_then(|bytes| self.write_within(file, &bytes));
        if let Err(error) = written {
            // The next question is answered without the output.
            tracing::warn!(name: "reply.unsaved", %error, path = file, "the answer of a call could not be kept on disk");
        }
    }

    fn write_within(&self, file: &str, bytes: &[u8]) -> io::Result<()> {
        let size = bytes.len() as u64;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MOST.saturating_sub(size);
        let before = match *held {
            Some(before) if before <= room => before,
            _ => self.keep_newest(self.files()?, room, |_| false),
        };
        *held = Some(before + size);
        write_private(&self.folder.join(file), bytes)
    }

    /// The files of answers, newest first.
    fn files(&self) -> io::Result<Vec<AnswerFile>> {
        let files = fs::read_dir(&self.folder)?.flatten();
        let mut files: Vec<_> = files.filter_map(|file| AnswerFile::of(&file)).collect();
        files.sort_by_key(|file| std::cmp::Reverse(file.made));
        Ok(files)
    }

    /// Removes those that are over, and the oldest of those that have more bytes than `most`: the bytes of the rest.
    fn keep_newest(
        &self,
        files: Vec<AnswerFile>,
        most: u64,
        is_over: impl Fn(&AnswerFile) -> bool,
    ) -> u64 {
        let mut kept = 0;
        for file in files {
            if is_over(&file) || kept + file.bytes > most {
                let _ = fs::remove_file(self.folder.join(&file.name));
            } else {
                kept += file.bytes;
            }
        }
        kept
    }

    /// The same on a thread of its own.
    pub(crate) async fn keep_aside(&self, key: Key<'_>, answer: KeptAnswer) {
        let (own, file) = (self.clone(), key.file());
        if let Err(error) = blocking(move || own.write(&file, &answer)).await {
            tracing::warn!(name: "reply.unsaved", %error, "the answer of a call could not be kept on disk");
        }
    }

    /// A kept answer. Blocks.
    pub(crate) fn get(&self, key: Key<'_>) -> Option<KeptAnswer> {
        let bytes = fs::read(self.folder.join(key.file())).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Forgets an answer.
    pub(crate) fn forget(&self, key: Key<'_>) {
        let _ = fs::remove_file(self.folder.join(key.file()));
    }

    /// Forgets what no idempotency key and no time leads to any more, and the oldest of too much. `state` is asked after
    /// the files are listed: one that is written meanwhile belongs to a key that the listing cannot know.
    pub fn tidy(&self, state: impl FnOnce() -> Arc<State>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(files) = self.files() else {
            return;
        };
        let state = state();
        let known: BTreeSet<&str> = state
            .agents
            .values()
            .flat_map(|agent| agent.keys.keys().map(AuditId::as_str))
            .collect();
        let is_over = |file: &AnswerFile| match (
            file.name.strip_suffix(OF_INTENT),
            file.name.ends_with(OF_RUN),
        ) {
            (Some(intent), _) => !known.contains(intent),
            (None, is_run) => is_run && file.made.elapsed().is_ok_and(|age| age > KEPT),
        };
        *held = Some(self.keep_newest(files, MOST, is_over));
    }
}

/// A file that holds an answer.
struct AnswerFile {
    name: String,
    bytes: u64,
    made: SystemTime,
}

impl AnswerFile {
    fn of(file: &fs::DirEntry) -> Option<Self> {
        let name = file.file_name().into_string().ok()?;
        let is_answer = [OF_INTENT, OF_ITEM, OF_RUN]
            .iter()
            .any(|end| name.ends_with(end));
        let about = file.metadata().ok().filter(|_| is_answer)?;
        Some(Self {
            name,
            bytes: about.len(),
            made: about.modified().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_trust::{Agent, UsedKey};
    use serde_json::json;
    use std::collections::BTreeMap;

    fn intent(n: u8) -> AuditId {
        AuditId::parse(&format!("evt_00000000-0000-8000-8000-0000000000{n:02}")).unwrap()
    }

    /// A state in which one agent used a key for `intent`.
    fn with_key(intent: AuditId) -> Arc<State> {
        let mut agent: Agent = serde_json::from_value(json!({
            "id": "one", "status": "active", "epoch": 1, "issued_at": Timestamp(1), "reach": "exposed",
        }))
        .unwrap();
        let used = UsedKey {
            key: Digest::of(b"key"),
            input: Digest::of(b"input"),
            at: Timestamp(1),
            result: None,
            undo: None,
        };
        agent.keys = Arc::new(BTreeMap::from([(intent, used)]));
        Arc::new(State {
            agents: Arc::new(BTreeMap::from([(agent.id.clone(), Arc::new(agent))])),
            ..State::default()
        })
    }

    fn kept() -> KeptAnswer {
        let body = InvokeResponse::ok("notes.write", Some(&intent(1)));
        KeptAnswer::of(&Answer::dispatched(body))
    }

    #[test]
    fn answer_is_found_by_its_key_alone() {
        let dir = tempfile::tempdir().unwrap();
        let answers = Answers::in_folder(dir.path().to_owned());
        let run = RunId::fresh();
        answers.keep(Key::Run(&run), &kept());
        let found = answers.get(Key::Run(&run)).unwrap();
        assert_eq!((found.status, found.response.ok), (200, true));
        assert!(answers.get(Key::Run(&RunId::fresh())).is_none());
        assert!(answers.get(Key::Intent(&intent(1))).is_none());
        answers.forget(Key::Run(&run));
        assert!(answers.get(Key::Run(&run)).is_none());
    }

    #[test]
    fn unreachable_answers_go_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let answers = Answers::in_folder(dir.path().to_owned());
        let file = |key: Key<'_>| dir.path().join(key.file());
        let (known, over, meanwhile) = (intent(1), intent(2), intent(3));
        let [known, over, meanwhile] = [&known, &over, &meanwhile].map(|id| file(Key::Intent(id)));
        let [fresh, old] = [RunId::fresh(), RunId::fresh()].map(|run| file(Key::Run(&run)));
        let others = ["pend_1.0.input", ".plexus-abc", "reply"].map(|name| dir.path().join(name));
        for file in others.iter().chain([&known, &over, &fresh, &old]) {
            fs::write(file, "{}").unwrap();
        }
        let aged = SystemTime::now() - KEPT - Duration::from_secs(60);
        fs::File::open(&old).unwrap().set_modified(aged).unwrap();
        answers.tidy(|| {
            // A call that ends while this looks: its key is in no state that was read before.
            fs::write(&meanwhile, "{}").unwrap();
            with_key(intent(1))
        });
        assert!(known.exists() && meanwhile.exists() && fresh.exists());
        assert!(!over.exists() && !old.exists());
        assert!(others.iter().all(|file| file.exists()));
    }

    #[test]
    fn oldest_of_too_much_goes_first() {
        let dir = tempfile::tempdir().unwrap();
        let answers = Answers::in_folder(dir.path().to_owned());
        let runs: Vec<_> = (0..3)
            .map(|_| dir.path().join(Key::Run(&RunId::fresh()).file()))
            .collect();
        for (age, run) in runs.iter().enumerate() {
            let file = fs::File::create(run).unwrap();
            // Without content on the disk.
            file.set_len(MOST / 2).unwrap();
            let age = Duration::from_secs(60 * (age as u64 + 1));
            file.set_modified(SystemTime::now() - age).unwrap();
        }
        let left = || runs.iter().map(|run| run.exists()).collect::<Vec<_>>();
        answers.tidy(Arc::default);
        assert_eq!(left(), [true, true, false]);
        // No sweep is waited for: the bound holds when the next one is written.
        let next = RunId::fresh();
        answers.keep(Key::Run(&next), &kept());
        assert_eq!(left(), [true, false, false]);
        assert!(answers.get(Key::Run(&next)).is_some());
    }
}
