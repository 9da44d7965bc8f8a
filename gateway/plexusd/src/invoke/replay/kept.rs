//! Answers of effects that came with an idempotency key, as files: `pending/<intent>.reply` (docs/operations.md).
//!
//! The ledger knows what a key was used for and what became of it; a file only adds the words of the answer. One that
//! is lost, too large or not readable costs the output of a repeated call, never a second effect.
//!
//! Must not know: who may have an answer.

use crate::{invoke::Answer, state_dir::write_private};
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

#[derive(Clone)]
pub(crate) struct Kept(Arc<Path>);

#[derive(Serialize, Deserialize)]
struct Saved {
    status: u16,
    response: InvokeResponse,
}

impl Kept {
    /// In the folder of what waits.
    pub(crate) fn in_folder(pending: PathBuf) -> Self {
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
    pub(super) fn read(&self, intent: &AuditId) -> Option<Answer> {
        let bytes = fs::read(self.file(intent)).ok()?;
        let Saved { status, response } = serde_json::from_slice(&bytes).ok()?;
        Some(Answer {
            status,
            body: response,
        })
    }

    /// Forgets what no key leads to any more. `state` is asked after the files are listed: one that is written meanwhile
    /// belongs to a key that the listing cannot know.
    pub(crate) fn tidy(&self, state: impl FnOnce() -> Arc<State>) {
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
