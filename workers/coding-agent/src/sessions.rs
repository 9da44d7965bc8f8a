//! Threads as capabilities: which models and threads there are, and the folder of one thread.
//!
//! Invariants: an agent has the threads that it began, and the owner's calls have those of the owner; what lies in a
//! thread's folder was written by its runs, so no link in it is followed.
//!
//! Must not know: what a coding agent keeps in its folder.

use crate::{CodingAgent, Program, host::caller_of, threads::Thread};
use plexus_agent_lines::Usage;
use plexus_ipc::text::counted;
use plexus_ipc::worker::{CallContext, NoInput, Reply, SourceError, Touched, on_file_thread};
use plexus_protocol::{Effect, Timestamp};
use plexus_rooted_files::{FileError, Policy, Root};
use serde::Serialize;
use serde_json::Value;
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::OwnedMutexGuard;

/// What a call keeps back of its time for what follows a wait.
const RESERVE: Duration = Duration::from_secs(10);

/// The kind that threads are recorded under.
const KIND: &str = "thread";
/// Most threads of a list.
const LISTED: usize = 200;

/// The folder in which one thread's agent keeps what it remembers.
#[derive(Debug)]
pub struct ThreadFolder {
    /// The thread, as the agent names it.
    pub id: String,
    /// The folder; the agent's home is `agent` in it.
    pub files: Root,
    /// Where it lies.
    pub path: PathBuf,
}

impl ThreadFolder {
    pub(crate) fn open(id: &str, path: PathBuf) -> Result<Self, FileError> {
        let files = Root::open(&path, Policy::default())?;
        let id = id.to_owned();
        Ok(Self { id, files, path })
    }

    /// What a call that read or changed it touched.
    #[must_use]
    pub fn touched(&self, is_write: bool) -> Touched {
        match is_write {
            true => Touched::write(KIND, &self.id, None),
            false => Touched::read(KIND, &self.id, None),
        }
    }
}

/// Output of `models`.
#[derive(Debug, Serialize)]
pub(crate) struct Models {
    default: String,
    models: Vec<String>,
}

/// Output of `threads.list`.
#[derive(Debug, Serialize)]
pub(crate) struct ThreadList {
    threads: Vec<ListedThread>,
    /// How many began before these.
    #[serde(skip_serializing_if = "Option::is_none")]
    more: Option<usize>,
    /// Records of threads that cannot be read: nobody knows whose they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    unread: Option<usize>,
}

#[derive(Debug, Serialize)]
struct ListedThread {
    thread: String,
    title: String,
    began: Timestamp,
    last: Timestamp,
    usage: Usage,
}

impl<P: Program> CodingAgent<P> {
    pub(crate) async fn list_models(
        self: Arc<Self>,
        _: CallContext,
        _: NoInput,
    ) -> Result<Reply<Models>, SourceError> {
        let mut models = vec![self.model.clone()];
        models.extend(
            self.models
                .iter()
                .filter(|model| **model != self.model)
                .cloned(),
        );
        let summary = format!("listed {}", counted(models.len(), "model"));
        let default = self.model.clone();
        Ok(Reply::new(Models { default, models }, summary))
    }

    pub(crate) async fn list_threads(
        self: Arc<Self>,
        call: CallContext,
        _: NoInput,
    ) -> Result<Reply<ThreadList>, SourceError> {
        let agent = caller(&call).await?;
        on_file_thread(move || {
            let all = self.threads()?.all();
            let (mut all, unread) = all.map_err(|error| failed(&error.to_string()))?;
            all.retain(|thread| thread.agent == agent);
            all.sort_by_key(|thread| std::cmp::Reverse(thread.last));
            let more = all.len().saturating_sub(LISTED);
            all.truncate(LISTED);
            let touched: Vec<_> = all
                .iter()
                .map(|thread| Touched::read(KIND, &thread.id, None))
                .collect();
            let threads = all.into_iter().map(|thread| ListedThread {
                thread: thread.id,
                title: thread.title,
                began: thread.began,
                last: thread.last,
                usage: thread.usage,
            });
            let listed = ThreadList {
                threads: threads.collect(),
                more: Some(more).filter(|more| *more > 0),
                unread: Some(unread).filter(|unread| *unread > 0),
            };
            let summary = format!("listed {}", counted(listed.threads.len(), "thread"));
            Ok(Reply::new(listed, summary).touched(touched))
        })
        .await
    }

    /// The folder of one of the caller's threads.
    ///
    /// # Errors
    /// `not_found`; no gateway.
    pub async fn thread(&self, call: &CallContext, id: &str) -> Result<ThreadFolder, SourceError> {
        let agent = caller(call).await?;
        let thread = self.known_thread(id)?;
        let thread = thread
            .filter(|thread| thread.agent == agent)
            .ok_or_else(no_thread)?;
        self.folder_of(&thread)
    }

    /// The same while no turn uses it, which lasts as long as what comes with it.
    ///
    /// # Errors
    /// As [`CodingAgent::thread`]; `cancelled`.
    pub async fn thread_alone(
        &self,
        call: &CallContext,
        id: &str,
    ) -> Result<(ThreadFolder, OwnedMutexGuard<()>), SourceError> {
        let agent = caller(call).await?;
        let thread = self.known_thread(id)?;
        let thread = thread
            .filter(|thread| thread.agent == agent)
            .ok_or_else(no_thread)?;
        let turn = tokio::select! {
            turn = self.threads()?.turn(&thread.run) => turn,
            () = call.cancelled() => {
                return Err(SourceError::cancelled(Effect::None));
            }
            () = tokio::time::sleep(call.remaining().saturating_sub(RESERVE)) => {
                let why = "a turn of this thread is under way; repeat this when it has ended";
                return Err(SourceError::transport("busy", why));
            }
        };
        Ok((self.folder_of(&thread)?, turn))
    }

    /// The folder of any thread: for a plan, which cannot ask who calls and is shown to the owner alone.
    ///
    /// # Errors
    /// `not_found`.
    pub fn thread_of_anybody(&self, id: &str) -> Result<ThreadFolder, SourceError> {
        self.folder_of(&self.known_thread(id)?.ok_or_else(no_thread)?)
    }

    pub(crate) fn known_thread(&self, id: &str) -> Result<Option<Thread>, SourceError> {
        let known = self.threads()?.get(id);
        known.map_err(|error| failed(&error.to_string()))
    }

    fn folder_of(&self, thread: &Thread) -> Result<ThreadFolder, SourceError> {
        let path = self.threads()?.scratch_of(&thread.run);
        ThreadFolder::open(&thread.id, path).map_err(|error| match error {
            FileError::NotFound(_) => no_thread(),
            error => failed(&error.to_string()),
        })
    }
}

/// The agent that calls, as the gateway says; `None`: the owner.
pub(crate) async fn caller(call: &CallContext) -> Result<Option<String>, SourceError> {
    caller_in(&call.host_capabilities().await?)
}

/// The same from an answer that is there. One that does not say it is nobody's: not the owner's either.
pub(crate) fn caller_in(told: &Value) -> Result<Option<String>, SourceError> {
    match (&told["agentId"], &told["owner"]) {
        (Value::String(agent), _) if told["ok"] == true => Ok(Some(caller_of(agent).to_owned())),
        (Value::Null, Value::Bool(true)) if told["ok"] == true => Ok(None),
        // Of a worker that is being stopped.
        _ if told["error"]["code"] == "busy" => Err(SourceError::cancelled(Effect::None)),
        _ => {
            let why = told["error"]["message"].as_str();
            let why = why.unwrap_or("the gateway does not say who calls");
            Err(SourceError::transport("unknown_caller", why))
        }
    }
}

pub(crate) fn no_thread() -> SourceError {
    SourceError::transport("not_found", "you have no such thread at this source")
}

fn failed(words: &str) -> SourceError {
    SourceError::transport("io", words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn caller_is_the_owner_only_where_the_gateway_says_so() {
        let agent = json!({"ok": true, "agentId": "my-agent.via.codex", "capabilities": []});
        assert_eq!(caller_in(&agent).unwrap().as_deref(), Some("my-agent"));
        let owner = json!({"ok": true, "owner": true, "capabilities": []});
        assert_eq!(caller_in(&owner).unwrap(), None);
        let why = "A source is not called through itself.";
        let nobody = "the gateway does not say who calls";
        for (told, why) in [
            (json!({"ok": false, "error": {"message": why}}), why),
            (json!({}), nobody),
            (json!({"ok": true}), nobody),
            (json!({"owner": true}), nobody),
        ] {
            let expected = SourceError::transport("unknown_caller", why);
            assert_eq!(caller_in(&told), Err(expected), "{told}");
        }
    }
}
