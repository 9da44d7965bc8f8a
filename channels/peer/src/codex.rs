//! [`Codex`]: one process of `codex exec` for each turn, on one thread for the life of this process.
//!
//! ```text
//! started ─ input on stdin, closed ─ lines of JSON ─▶ turn.completed, exit 0, the tools were read ─▶ Ok
//!    └─ stopped, or out of time: SIGINT, after 5 s SIGKILL for its group ────────────────────────▶ an error
//! ```
//! Invariants: a turn that says nothing, or that had no tools, is a failed one; the token of the tools is in the process's
//! environment only, and the invitation is not; a turn leaves no process behind, on macOS none of its group.
//!
//! Must not know: channels, what the input says.

use crate::leftovers;
use crate::server::{Server, Used};
use crate::settings::REGISTER_KEY;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use plexus_agent_lines::{Turn, TurnEnd, TurnProgress};
use plexus_participant::{Agent, Mark};
use serde_json::json;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

const TOKEN: &str = "AGENT_CHATHAM_MCP_TOKEN";
/// Prefix of the tools' names, which keeps them apart from the agent's own.
const TOOLS: &str = "channels";
/// How long a turn may take: without a network Codex waits for ever.
const PATIENCE: Duration = Duration::from_secs(30 * 60);
/// How long an interrupted process has to end by itself.
const GRACE: Duration = Duration::from_secs(5);
/// How long the output of a process that has ended is read.
const REST: Duration = Duration::from_secs(1);
/// Of standard error, the end that is kept, in bytes.
const LAST_WORDS: usize = 2048;

/// Why a turn did not complete.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TurnError {
    #[error("codex could not be started: {0}")]
    Start(io::Error),
    #[error("codex: {0}")]
    Io(#[from] io::Error),
    /// In the agent's words.
    #[error("the turn failed: {}", .0.escape_debug())]
    Failed(String),
    #[error("codex ended without completing its turn ({}): {}", .0, .1.escape_debug())]
    Silent(ExitStatus, String),
    #[error("the turn had no tools to answer with")]
    Mute,
    #[error("the turn took longer than {} minutes", PATIENCE.as_secs() / 60)]
    OutOfTime,
    #[error("stopped")]
    Stopped,
    /// It does not know the turns before: no retry helps.
    #[error("codex went on with another thread")]
    OtherThread,
}

/// The agent.
pub(crate) struct Codex {
    server: Arc<Server>,
    port: u16,
    folder: PathBuf,
    instructions: String,
    thread: Option<String>,
}

impl Codex {
    /// An agent that works in a folder; its first turn begins a thread.
    pub(crate) const fn new(
        server: Arc<Server>,
        port: u16,
        folder: PathBuf,
        instructions: String,
    ) -> Self {
        Self {
            server,
            port,
            folder,
            instructions,
            thread: None,
        }
    }

    fn judge(&mut self, turn: &Turn, used: Used, failed_calls: usize) -> Result<(), TurnError> {
        if let Some(TurnEnd::Failed(why)) = &turn.end {
            return Err(TurnError::Failed(why.clone()));
        }
        // The tools were not there, or none of the calls that it made was let through.
        if !used.is_listed || used.calls == 0 && failed_calls > 0 {
            return Err(TurnError::Mute);
        }
        match (&self.thread, turn.thread()) {
            (Some(known), Some(thread)) if known != thread => Err(TurnError::OtherThread),
            (_, None) => Err(TurnError::Failed("codex named no thread".into())),
            (_, Some(thread)) => {
                self.thread = Some(thread.to_owned());
                Ok(())
            }
        }
    }

    /// Output of the process, and how many calls of our tools it reports as failed.
    async fn run(
        &self,
        token: &str,
        input: String,
        stop: watch::Receiver<bool>,
    ) -> Result<(Turn, usize), TurnError> {
        let mut child = self.command(token).spawn().map_err(TurnError::Start)?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        let group = Pid::from_raw(pid.ok_or_else(|| io::Error::other("it has no number"))?);
        let ended = listen(&mut child, group, input, stop).await;
        if ended.is_err() {
            // One that has ended is reaped already.
            let _ = child.kill().await;
            end_left(group).await;
        }
        ended
    }

    fn command(&self, token: &str) -> Command {
        // A text of JSON is one of TOML.
        let address = json!(format!("http://127.0.0.1:{}/mcp", self.port));
        let instructions = json!(self.instructions);
        let settings = [
            format!("mcp_servers.{TOOLS}.url={address}"),
            format!("mcp_servers.{TOOLS}.bearer_token_env_var=\"{TOKEN}\""),
            format!("mcp_servers.{TOOLS}.default_tools_approval_mode=\"approve\""),
            format!("mcp_servers.{TOOLS}.required=true"),
            "approval_policy=\"never\"".to_owned(),
            format!("developer_instructions={instructions}"),
        ];
        let mut command = Command::new("codex");
        command.args(["exec", "--json"]);
        for setting in settings {
            command.args(["--config", &setting]);
        }
        command
            .args(["--sandbox", "workspace-write", "--skip-git-repo-check"])
            .arg("--cd")
            .arg(&self.folder);
        if let Some(thread) = &self.thread {
            command.args(["resume", thread]);
        }
        command
            .current_dir(&self.folder)
            .env(TOKEN, token)
            .env_remove(REGISTER_KEY)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Control-C in a terminal is for this process alone.
            .process_group(0)
            .kill_on_drop(true);
        command
    }
}

impl Agent for Codex {
    type Error = TurnError;

    /// One turn; no process of it is left.
    async fn turn(
        &mut self,
        input: String,
        shows: Vec<Mark>,
        stop: watch::Receiver<bool>,
    ) -> Result<(), TurnError> {
        self.server.tools().begin_turn(shows);
        let token = self.server.open_turn();
        let ended = self.run(&token, input, stop).await;
        let used = self.server.close_turn().await;
        self.server.tools().end_turn();
        let (turn, failed_calls) = ended?;
        self.judge(&turn, used, failed_calls)?;
        self.server.tools().complete_turn().await;
        Ok(())
    }

    fn is_fatal(why: &TurnError) -> bool {
        matches!(why, TurnError::OtherThread)
    }
}

/// Gives it the input, and takes what it says until it has ended, or has to.
async fn listen(
    child: &mut Child,
    group: Pid,
    input: String,
    mut stop: watch::Receiver<bool>,
) -> Result<(Turn, usize), TurnError> {
    let taken = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut stdin), Some(mut stdout), Some(mut stderr)) = taken else {
        return Err(TurnError::Io(io::Error::other("a pipe is missing")));
    };
    // One that does not read its input shows that in its end.
    tokio::spawn(async move { stdin.write_all(input.as_bytes()).await });
    let last_words = tokio::spawn(async move {
        let (mut kept, mut buffer) = (Vec::new(), [0; 4096]);
        while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
            kept.extend_from_slice(&buffer[..read]);
            kept.drain(..kept.len().saturating_sub(LAST_WORDS));
        }
        String::from_utf8_lossy(&kept).trim().to_owned()
    });
    let (mut turn, mut failed_calls) = (Turn::default(), 0);
    let mut buffer = vec![0; 64 << 10];
    let mut is_open = true;
    let deadline = sleep(PATIENCE);
    tokio::pin!(deadline);
    let status = loop {
        tokio::select! {
            read = stdout.read(&mut buffer), if is_open => {
                let read = read?;
                is_open = read > 0;
                failed_calls += heard(turn.feed(plexus_agent_lines::codex, &buffer[..read]));
            }
            status = child.wait() => break status?,
            () = &mut deadline => {
                end(child, group).await?;
                return Err(TurnError::OutOfTime);
            }
            // The task that waits for this turn holds the sender.
            () = async { drop(stop.wait_for(|stop| *stop).await) } => {
                end(child, group).await?;
                return Err(TurnError::Stopped);
            }
        }
    };
    // A program that it left behind would hold the pipes.
    end_left(group).await;
    let rest = async {
        while let Ok(read @ 1..) = stdout.read(&mut buffer).await {
            failed_calls += heard(turn.feed(plexus_agent_lines::codex, &buffer[..read]));
        }
    };
    let _ = timeout(REST, rest).await;
    let is_completed = matches!(turn.end, Some(TurnEnd::Completed(_)));
    if matches!(turn.end, Some(TurnEnd::Failed(_))) || is_completed && status.success() {
        return Ok((turn, failed_calls));
    }
    let words = timeout(REST, last_words).await;
    let words = words.map_or_else(|_| String::new(), Result::unwrap_or_default);
    Err(TurnError::Silent(status, words))
}

/// Logs what a turn shows, without a word of it; answers with how many calls of our tools failed.
fn heard(shown: Vec<TurnProgress>) -> usize {
    let mut failed = 0;
    for shown in shown {
        if let TurnProgress::Event(event) = shown {
            let (kind, tool) = (event["kind"].as_str(), event["tool"].as_str());
            tracing::debug!(name: "peer.turn.event", kind, tool, status = event["status"].as_str());
            failed += usize::from(event["server"] == TOOLS && event["status"] == "failed");
        }
    }
    failed
}

/// Ends a process: by a word, then by force.
async fn end(child: &mut Child, group: Pid) -> io::Result<()> {
    // A group that is gone has ended.
    let _ = killpg(group, Signal::SIGINT);
    if timeout(GRACE, child.wait()).await.is_err() {
        child.kill().await?;
    }
    Ok(())
}

/// Ends what is left of a group of processes.
async fn end_left(group: Pid) {
    #[expect(clippy::disallowed_methods, reason = "it costs the turn that asked")]
    let _ = spawn_blocking(move || leftovers::end(group)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endless() -> (Child, Group) {
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                "trap '' INT; cat >/dev/null; while :; do sleep 1; done",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let child = command.spawn().expect("it starts");
        let group = i32::try_from(child.id().expect("a number")).expect("a number");
        (child, Group(Pid::from_raw(group)))
    }

    /// Ended with the test.
    struct Group(Pid);

    impl Drop for Group {
        fn drop(&mut self) {
            let _ = killpg(self.0, Signal::SIGKILL);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn turn_that_never_ends_is_ended() {
        let (mut child, group) = endless();
        let (_stopping, stop) = watch::channel(false);
        let ended = listen(&mut child, group.0, "hello".into(), stop).await;
        assert!(
            matches!(ended, Err(TurnError::OutOfTime)),
            "{:?}",
            ended.err()
        );
        assert!(child.try_wait().expect("a child").is_some());
        // Sooner where the peer stops.
        let (mut child, group) = endless();
        let (stopping, stop) = watch::channel(false);
        stopping.send(true).expect("a receiver");
        let ended = listen(&mut child, group.0, "hello".into(), stop).await;
        assert!(
            matches!(ended, Err(TurnError::Stopped)),
            "{:?}",
            ended.err()
        );
        assert!(child.try_wait().expect("a child").is_some());
    }
}
