//! Answers of effects that came with an idempotency key, as files: `pending/<intent>.reply` (docs/operations.md).
//!
//! The ledger knows what a key was used for and what became of it; a file only adds the words of the answer. One that
//! is lost, too large or not readable costs the output of a repeated call, never a second effect.
//!
//! Must not know: who may have an answer.

use crate::answer::Answer;
use plexus_home::state_dir::write_private;
use plexus_protocol::{AuditId, body::InvokeResponse};
use plexus_trust::State;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Largest answer that is kept, in bytes of output.
pub(super) const REPLY_BYTES: usize = 64 * 1024;
const ENDING: &str = ".reply";

/// The folder of kept answers.
#[derive(Clone)]
pub struct Kept(Arc<Path>);

#[derive(Serialize, Deserialize)]
struct Saved {
    status: u16,
    response: InvokeResponse,
}

impl Kept {
    /// In the folder of what waits.
    pub fn in_folder(pending: PathBuf) -> Self {
        Self(pending.into())
    }

    fn file(&self, intent: &AuditId) -> PathBuf {
        self.0.join(format!("{intent}{ENDING}"))
    }

    /// Keeps an answer, if it is small enough.
    pub(super) async fn keep(&self, intent: AuditId, answer: &Answer) {
        let size = answer.body.output.as_ref().map_or(0, |o| o.get().len());
        if size > REPLY_BYTES {
            return;
        }
        let saved = serde_json::to_vec(&Saved {
            status: answer.status,
            response: InvokeResponse {
                grant: None,
                ..answer.body.clone()
            },
        });
        let path = self.file(&intent);
        let write = move || write_private(&path, &saved.map_err(io::Error::other)?);
        let written = tokio::task::spawn_blocking(write).await;
        if let Err(error) = written.map_err(io::Error::other).flatten() {
            // A repeated call will be answered without its output.
            tracing::warn!(name: "reply.unsaved", %error, auditId = %intent, "the answer of a call could not be kept for its idempotency key");
        }
    }

    /// The answer to the call that `intent` began.
    pub fn read(&self, intent: &AuditId) -> Option<Answer> {
        let bytes = fs::read(self.file(intent)).ok()?;
        let Saved { status, response } = serde_json::from_slice(&bytes).ok()?;
        Some(Answer {
            status,
            body: response,
        })
    }

    /// Forgets what no key leads to any more. `state` is asked after the files are listed: one that is written meanwhile
    /// belongs to a key that the listing cannot know.
    pub fn tidy(&self, state: impl FnOnce() -> Arc<State>) {
        let Ok(files) = fs::read_dir(&self.0) else {
            return;
        };
        let files: Vec<_> = files.flatten().map(|file| file.path()).collect();
        let state = state();
        let known: BTreeSet<&str> = state
            .agents
            .values()
            .flat_map(|agent| agent.keys.keys().map(AuditId::as_str))
            .collect();
        for file in files {
            let name = file.file_name().and_then(|name| name.to_str());
            let intent = name.and_then(|name| name.strip_suffix(ENDING));
            if intent.is_some_and(|intent| !known.contains(intent)) {
                let _ = fs::remove_file(&file);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_protocol::{Digest, Timestamp};
    use plexus_trust::{Agent, UsedKey};
    use serde_json::{json, value::to_raw_value};
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
        };
        agent.keys = Arc::new(BTreeMap::from([(intent, used)]));
        Arc::new(State {
            agents: Arc::new(BTreeMap::from([(agent.id.clone(), Arc::new(agent))])),
            ..State::default()
        })
    }

    #[tokio::test]
    async fn an_answer_is_kept_up_to_the_bound_and_not_a_byte_beyond() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::in_folder(dir.path().to_owned());
        for (n, bytes) in [(1, REPLY_BYTES), (2, REPLY_BYTES + 1)] {
            let id = intent(n);
            let output = to_raw_value(&"x".repeat(bytes - 2)).unwrap();
            assert_eq!(output.get().len(), bytes);
            let body = InvokeResponse {
                output: Some(output.clone()),
                ..InvokeResponse::ok("notes.write", Some(&id))
            };
            kept.keep(id.clone(), &Answer::dispatched(body)).await;
            let again = kept.read(&id).and_then(|answer| answer.body.output);
            let expected = (bytes <= REPLY_BYTES).then_some(output);
            assert_eq!(
                again.as_deref().map(|o| o.get()),
                expected.as_deref().map(|o| o.get()),
                "{bytes}"
            );
            assert_eq!(kept.file(&id).exists(), expected.is_some(), "{bytes}");
        }
    }

    #[test]
    fn what_no_key_leads_to_goes_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::in_folder(dir.path().to_owned());
        let [known, over, meanwhile] = [1, 2, 3].map(intent);
        let others = ["pend_1.0.input", ".plexus-abc", "reply"].map(|name| dir.path().join(name));
        for file in others.iter().chain(&[kept.file(&known), kept.file(&over)]) {
            fs::write(file, "{}").unwrap();
        }
        kept.tidy(|| {
            // A call that ends while this looks: its key is in no state that was read before.
            fs::write(kept.file(&meanwhile), "{}").unwrap();
            with_key(known.clone())
        });
        assert!(kept.file(&known).exists() && kept.file(&meanwhile).exists());
        assert!(!kept.file(&over).exists());
        assert!(others.iter().all(|file| file.exists()));
        kept.tidy(|| with_key(over.clone()));
        assert!(!kept.file(&known).exists() && !kept.file(&meanwhile).exists());
    }
}
