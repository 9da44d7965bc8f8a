//! [`Codex`]: one process of `codex exec` for each turn, started by the keeper in a sandbox of its own, on one thread for the
//! life of this worker.
//!
//! ```text
//! started ─ input on stdin, closed ─ lines of JSON ─▶ turn.completed, every process has ended, its tools were read ─▶ Ok
//!    └─ cancelled, stopped or out of time: interrupted, after 5 s ended ─────────────────────────────────────────▶ an error
//! ```
//! Invariants: a turn that had no tools is a failed one; when it returns no process of the turn is left.
//!
//! Must not know: channels, what the input says, who granted what.

use plexus_agent_lines::{Turn, TurnEnd};
use plexus_coding_agent::{
    Asker, HostServer, HostTools, Pended, prepare_home, without_credentials,
};
use plexus_ipc::manifest::paths_below;
use plexus_ipc::worker::{
    CallContext, EgressAccess, Host, Secret, SourceError,
    children::{Child, ChildError, Children, Ending, PIPES},
};
use plexus_protocol::Effect;
use serde_json::json;
use std::{fs, io, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

/// The folder of all turns.
const RUN: &str = "peer";
/// Files of Codex's home with settings and instructions, which a turn must not leave for the next one.
const SETTINGS: [&str; 4] = [
    "config.toml",
    "auth.json",
    "AGENTS.md",
    "AGENTS.override.md",
];
/// Time of a call that is kept for what comes after the turn.
const RESERVE: Duration = Duration::from_secs(60);
/// How long an interrupted process has to end by itself.
const GRACE: Duration = Duration::from_secs(2);
/// Of what Codex says on standard error, the end that is kept, in bytes.
const LAST_WORDS: usize = 2048;

/// Why a turn did not complete.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TurnError {
    #[error("codex could not be started: {0}")]
    Child(#[from] ChildError),
    #[error("the files of the turn: {0}")]
    Io(#[from] io::Error),
    /// In Codex's words.
    #[error("the turn failed: {}", .0.escape_debug())]
    Failed(String),
    /// With the end of its standard error.
    #[error("codex ended without completing its turn ({}): {}", .0, .1.escape_debug())]
    Silent(String, String),
    #[error("the turn had no tools to answer with")]
    NoTools,
    #[error("the turn took too long")]
    OutOfTime,
    #[error("stopped")]
    Stopped,
    /// It does not know the turns before: no retry helps.
    #[error("codex went on with another thread")]
    OtherThread,
    #[error("the gateway: {}", .0.message)]
    Gateway(SourceError),
}

/// The agent.
pub(crate) struct Codex {
    pub(crate) children: Children,
    pub(crate) egress: Arc<EgressAccess>,
    /// Where the keeper has the folders of this role's runs.
    pub(crate) dir: PathBuf,
    pub(crate) model: String,
    /// Where the model is served, as the owner typed it.
    pub(crate) server: String,
    /// The capability of turns, which is no tool of one.
    pub(crate) own: String,
    pub(crate) host: Host,
    pub(crate) pended: mpsc::UnboundedSender<Pended>,
    pub(crate) thread: std::sync::Mutex<Option<String>>,
}

/// What is left of a turn when all its processes have ended.
struct EndedTurn {
    turn: Turn,
    ending: Ending,
    stop: Option<TurnError>,
    last_words: String,
}

impl Codex {
    /// One turn with this input, to the end of every process of it.
    pub(crate) async fn take(
        &self,
        call: &CallContext,
        (instructions, input): (&str, String),
        stop: watch::Receiver<bool>,
    ) -> Result<(), TurnError> {
        let asker = Asker::Source(self.host.clone(), self.pended.clone());
        let tools = HostTools::of(&asker, Some(&self.own)).await;
        let tools = tools
            .map_err(TurnError::Gateway)?
            .ok_or(TurnError::NoTools)?;
        let folder = self.dir.join(RUN);
        let home = folder.join("scratch/agent");
        fs::create_dir_all(folder.join("root"))?;
        let known = self.known();
        if known.is_none() && home.exists() {
            // A thread begins with nothing of the one before.
            fs::remove_dir_all(&home)?;
        }
        prepare_home(&home, &SETTINGS)?;
        let server = tools.server(folder.join(PIPES))?;
        let home = home.to_string_lossy();
        let credential = call.credential(&self.egress.credential);
        let credential = credential.map_err(TurnError::Gateway)?;
        let with = (instructions, &*home, &credential);
        let started = self.start(&server, with, known.as_deref());
        let mut child = started.await?;
        let Some(pipes) = child.host.take() else {
            return Err(TurnError::NoTools);
        };
        let serving = tools.serve(&asker, Arc::default(), pipes);
        let ended = listen(call, &mut child, input, stop).await;
        if ended.is_err() {
            // The next turn has this folder alone.
            child.end();
            child.wait().await?;
        }
        let had_tools = serving.end(call).await;
        self.judge(ended?, had_tools)
    }

    fn known(&self) -> Option<String> {
        let known = self.thread.lock();
        known
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }

    async fn start(
        &self,
        server: &HostServer,
        (instructions, home, credential): (&str, &str, &Secret),
        thread: Option<&str>,
    ) -> Result<Child, ChildError> {
        let provider = format!(
            "model_providers.plexus={{name=\"plexus\",base_url=\"http://127.0.0.1:{}{}\",wire_api=\"responses\",\
             env_key=\"PLEXUS_EGRESS_KEY\",request_max_retries=2,stream_max_retries=2}}",
            self.egress.port,
            paths_below(self.server.trim(), &["/v1"])[0]
        );
        // A text of JSON is one of TOML.
        let [program, address] = [&server.program, &server.address].map(|path| json!(path));
        let host = format!(
            "mcp_servers.{}={{command={program},args=[\"mcp-host\"],env={{PLEXUM_MCP_SOCKET={address}}},\
             required=true,startup_timeout_sec=20,tool_timeout_sec=600}}",
            server.name
        );
        let instructions = format!("developer_instructions={}", json!(instructions));
        let mut arguments = vec![
            ("provider", provider.as_str()),
            ("host", host.as_str()),
            ("instructions", instructions.as_str()),
            ("model", self.model.as_str()),
        ];
        arguments.extend(thread.map(|thread| ("thread", thread)));
        let environment = [
            ("CODEX_HOME", home),
            ("PLEXUS_EGRESS_KEY", credential.expose()),
        ];
        let child = if thread.is_some() {
            "resumed-turn"
        } else {
            "turn"
        };
        self.children
            .start(child, RUN, &arguments, &environment)
            .await
    }

    fn judge(&self, ended: EndedTurn, had_tools: bool) -> Result<(), TurnError> {
        if let Some(stop) = ended.stop {
            return Err(stop);
        }
        match (&ended.turn.end, ended.ending) {
            (Some(TurnEnd::Failed(why)), _) => {
                return Err(TurnError::Failed(without_credentials(why)));
            }
            (Some(TurnEnd::Completed(_)), Ending::Exited(0)) => {}
            (_, ending) => {
                let how = match ending {
                    Ending::Exited(status) => format!("exit status {status}"),
                    Ending::Signaled(signal) => format!("signal {signal}"),
                    Ending::TooMuchMemory => "too much memory".into(),
                    Ending::TooManyProcesses => "too many processes".into(),
                    Ending::TooManyThreads => "too many threads".into(),
                    Ending::TooMuchDisk | Ending::DiskFull => "a full disk".into(),
                };
                return Err(TurnError::Silent(
                    how,
                    without_credentials(&ended.last_words),
                ));
            }
        }
        if !had_tools {
            return Err(TurnError::NoTools);
        }
        let thread = ended.turn.thread().map(str::to_owned);
        let thread = thread.ok_or_else(|| TurnError::Failed("codex named no thread".into()))?;
        let known = self.thread.lock();
        let mut known = known.unwrap_or_else(std::sync::PoisonError::into_inner);
        match known.as_ref() {
            Some(before) if *before != thread => {
                // The next one begins anew, and knows that it does.
                *known = None;
                Err(TurnError::OtherThread)
            }
            _ => {
                *known = Some(thread);
                Ok(())
            }
        }
    }
}

/// Gives it the input, and takes what it says until all of it has ended.
async fn listen(
    call: &CallContext,
    child: &mut Child,
    input: String,
    mut stop: watch::Receiver<bool>,
) -> Result<EndedTurn, TurnError> {
    let (Some(mut stdin), Some(mut output), Some(mut error)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(io::Error::other("a program without pipes").into());
    };
    // One that does not read its input shows that in its end.
    tokio::spawn(async move { stdin.write_all(input.as_bytes()).await });
    let mut turn = Turn::default();
    let (mut out, mut err) = (vec![0; 64 * 1024], vec![0; 4096]);
    let (mut out_open, mut err_open) = (true, true);
    let (mut last_words, mut why, mut ending) = (Vec::new(), None, None);
    let mut until = Instant::now() + call.remaining().saturating_sub(RESERVE);
    while ending.is_none() || out_open || err_open {
        let is_asked = async { drop(stop.wait_for(|stop| *stop).await) };
        tokio::select! {
            read = output.read(&mut out), if out_open => {
                let read = read?;
                out_open = read > 0;
                turn.feed(plexus_agent_lines::codex, &out[..read]);
            }
            read = error.read(&mut err), if err_open => {
                let read = read?;
                err_open = read > 0;
                last_words.extend_from_slice(&err[..read]);
                let beyond = last_words.len().saturating_sub(LAST_WORDS);
                last_words.drain(..beyond);
            }
            ended = child.wait(), if ending.is_none() => ending = Some(ended?.0),
            () = async { tokio::select! { () = call.cancelled() => {}, () = is_asked => {} } },
                if why.is_none() && ending.is_none() => {
                why = Some(TurnError::Stopped);
                until = Instant::now() + GRACE;
                child.interrupt();
            }
            () = sleep_until(until), if ending.is_none() => {
                match why {
                    Some(_) => child.end(),
                    None => child.interrupt(),
                }
                why = why.or(Some(TurnError::OutOfTime));
                until = Instant::now() + GRACE;
            }
        }
    }
    Ok(EndedTurn {
        turn,
        ending: ending.unwrap_or(Ending::Signaled(0)),
        stop: why,
        last_words: String::from_utf8_lossy(&last_words).trim().to_owned(),
    })
}

impl From<&TurnError> for SourceError {
    fn from(error: &TurnError) -> Self {
        let words = error.to_string();
        match error {
            // What its tools did is on record under calls of their own.
            TurnError::Stopped => Self::cancelled(Effect::None),
            TurnError::Child(_) => Self::unavailable(words),
            TurnError::OutOfTime => Self::transport("out_of_time", words),
            TurnError::NoTools => Self::transport("no_host_tools", words),
            TurnError::Gateway(error) => error.clone(),
            TurnError::Io(_) => Self::transport("io", words),
            TurnError::Failed(_) | TurnError::Silent(..) | TurnError::OtherThread => {
                Self::transport("turn_failed", words)
            }
        }
    }
}
