//! The host's tools in a run: what the owner granted the run's own agent at other sources, over MCP.
//!
//! ```text
//! agent of the run ─stdio─▶ mcp-host (in the run's cage) ─pipes─▶ here: plexus-mcp ─HostCall─▶ gateway
//!                                                                   └─ waits for the owner ─▶ the same call once more
//! ```
//! Invariants: who calls is the gateway's to say; a call that waits when its turn ends is withdrawn; after that no call is
//! taken; no more is read from a run than one line of [`MAX_LINE`] bytes and the calls that the gateway lets through.
//!
//! Must not know: grants, which agent a run has, how it is started.

use crate::sessions::caller_in;
use plexus_ipc::worker::{CallContext, SourceError};
use plexus_mcp::{Action, Answer, Call, CallNumber, Item, Moment, Refusal, Server, View};
use plexus_protocol::{Effect, PendingId, Timestamp};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::unix::pipe,
    sync::oneshot,
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep_until, timeout},
};

/// The longest message that is read, in bytes: twice what a call may have as input.
const MAX_LINE: usize = 2 << 20;
/// How long calls that are under way when the turn ends may take to end.
const LAST_CALLS: Duration = Duration::from_secs(30);
/// How long one look at a waiting call takes.
const LOOK: Duration = Duration::from_secs(20);
/// Longest name of a caller in a server's name.
const LONGEST_NAME: usize = 32;

/// How the agent of a run finds its tool server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostServer {
    /// Its name, the same in every run of one caller: small letters, digits and hyphens.
    pub name: String,
    /// Its program, started with the argument `mcp-host`.
    pub program: PathBuf,
    /// The value of `PLEXUM_MCP_SOCKET` in its environment.
    pub address: PathBuf,
}

/// What the nested agent of a call may do at other sources.
pub(crate) struct HostTools {
    caller: String,
    view: View,
}

impl HostTools {
    /// What the gateway grants for `call`; `None` where that is nothing.
    ///
    /// # Errors
    /// No gateway.
    pub(crate) async fn of(call: &CallContext) -> Result<Option<Self>, SourceError> {
        let told = call.host_capabilities().await?;
        let caller = caller_in(&told)?;
        let is_call = |entry: &Value| entry["kind"] == "capability";
        let entries = told["capabilities"].as_array();
        if !entries.is_some_and(|entries| entries.iter().any(is_call)) {
            return Ok(None);
        }
        let view = View::of_manifest(json!({"entries": entries}).to_string().as_bytes());
        let view = view.map_err(|why| SourceError::internal(why.to_string()))?;
        let caller = caller.unwrap_or_default();
        Ok(Some(Self { caller, view }))
    }

    /// The server, for the agent of the run that has its pipes in the folder `address`.
    ///
    /// # Errors
    /// This program does not know where it lies.
    pub(crate) fn server(&self, address: PathBuf) -> io::Result<HostServer> {
        Ok(HostServer {
            name: server_name(&self.caller),
            program: std::env::current_exe()?,
            address,
        })
    }

    /// Answers the run's agent until [`Serving::end`].
    pub(crate) fn serve(
        self,
        call: &CallContext,
        (calls, answers): (pipe::Receiver, pipe::Sender),
    ) -> Serving {
        let (end, over) = oneshot::channel();
        let listed = Arc::new(AtomicBool::new(false));
        let host = Host {
            server: Server::new(env!("CARGO_PKG_VERSION"), self.view),
            call: call.clone(),
            waiting: Arc::default(),
            tasks: JoinSet::new(),
            dropped: HashMap::new(),
            listed: listed.clone(),
            began: Instant::now(),
        };
        let task = tokio::spawn(host.run(calls, answers, over));
        Serving { end, listed, task }
    }
}

/// Tools that a run may use.
#[derive(Debug)]
pub(crate) struct Serving {
    end: oneshot::Sender<()>,
    listed: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Serving {
    /// Takes no more calls, withdraws what waits, and waits for the rest. Answers whether the agent has asked for the list
    /// of tools, without which it had none.
    pub(crate) async fn end(self) -> bool {
        // Where it has ended by itself, nobody hears this.
        let _ = self.end.send(());
        let _ = self.task.await;
        self.listed.load(Ordering::Acquire)
    }
}

/// Who asked, of a nested agent's id.
pub(crate) fn caller_of(nested: &str) -> &str {
    nested
        .rsplit_once(".via.")
        .map_or(nested, |(caller, _)| caller)
}

fn server_name(caller: &str) -> String {
    let letter = |letter: char| match letter.to_ascii_lowercase() {
        letter @ ('a'..='z' | '0'..='9') => letter,
        _ => '-',
    };
    let name: String = caller.chars().take(LONGEST_NAME).map(letter).collect();
    format!("plexum-host-{name}")
}

/// Most of a run's requests that are under way.
const MOST_TASKS: usize = 64;

type Waiting = Arc<Mutex<Vec<PendingId>>>;

struct Host {
    server: Server,
    call: CallContext,
    /// What waits for the owner.
    waiting: Waiting,
    tasks: JoinSet<(CallNumber, Answer)>,
    /// Set where nobody waits for the answer any more.
    dropped: HashMap<CallNumber, Arc<AtomicBool>>,
    listed: Arc<AtomicBool>,
    began: Instant,
}

impl Host {
    async fn run(
        mut self,
        calls: pipe::Receiver,
        mut answers: pipe::Sender,
        mut over: oneshot::Receiver<()>,
    ) {
        let mut calls = BufReader::new(calls);
        let mut line = Vec::new();
        loop {
            let due = self.server.next_tick().map(|due| self.began + due);
            let actions = tokio::select! {
                biased;
                _ = &mut over => break,
                Some(done) = self.tasks.join_next() => {
                    let Ok((number, answer)) = done else { continue };
                    self.dropped.remove(&number);
                    let now = self.now();
                    self.server.answered(number, answer, now)
                }
                // What is not read waits in the pipe, and its run with it.
                read = read_line(&mut calls, &mut line), if self.tasks.len() < MOST_TASKS => match read {
                    // The pipe is ours at both ends: it does not end by itself.
                    Err(_) => break,
                    Ok(false) => self.server.too_long(MAX_LINE),
                    Ok(true) => {
                        let text = std::mem::take(&mut line);
                        self.take(&text)
                    }
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    let now = self.now();
                    self.server.tick(now)
                }
            };
            let messages = self.act(actions);
            let sent = async {
                for message in messages {
                    answers.write_all(message.as_bytes()).await?;
                    answers.write_all(b"\n").await?;
                }
                Ok::<_, io::Error>(())
            };
            tokio::select! {
                biased;
                _ = &mut over => break,
                sent = sent => if sent.is_err() { break },
            }
        }
        self.end().await;
    }

    fn take(&mut self, text: &[u8]) -> Vec<Action> {
        if text.trim_ascii().is_empty() {
            return Vec::new();
        }
        let now = self.now();
        if !self.listed.load(Ordering::Acquire) {
            let asked: Value = serde_json::from_slice(text).unwrap_or_default();
            let lists = asked["method"] == "tools/list";
            self.listed.store(lists, Ordering::Release);
        }
        self.server.read(text, now)
    }

    /// Begins what is asked for; answers with the messages to send.
    fn act(&mut self, actions: Vec<Action>) -> Vec<String> {
        let mut messages = Vec::new();
        for action in actions {
            let (call, waiting) = (self.call.clone(), self.waiting.clone());
            match action {
                Action::Send(message) => messages.push(message),
                Action::Call(number, asked) => {
                    self.tasks
                        .spawn(async move { (number, made(&call, &waiting, asked).await) });
                }
                Action::Follow(number, item) => {
                    let unwanted = Arc::new(AtomicBool::new(false));
                    self.dropped.insert(number, unwanted.clone());
                    self.tasks.spawn(async move {
                        (number, followed(&call, &waiting, item, &unwanted).await)
                    });
                }
                Action::Look(number, item) => {
                    self.tasks.spawn(async move {
                        (number, looked(&call, &waiting, &item, Duration::ZERO).await)
                    });
                }
                Action::Cancel(number, item) => {
                    self.tasks
                        .spawn(async move { (number, withdrawn(&call, &waiting, &item).await) });
                }
                // Only a stateless server asks for it.
                Action::List(_) => {}
                // The gateway counts a call until it has answered it: it is not given up here.
                Action::Drop(number) => {
                    if let Some(unwanted) = self.dropped.remove(&number) {
                        unwanted.store(true, Ordering::Release);
                    }
                }
            }
        }
        messages
    }

    async fn end(mut self) {
        self.dropped
            .values()
            .for_each(|unwanted| unwanted.store(true, Ordering::Release));
        let last = async {
            loop {
                let next = lock(&self.waiting).pop();
                match next {
                    Some(item) => _ = self.call.host_withdraw(&item).await,
                    // A call may begin to wait only now.
                    None => match self.tasks.join_next().await {
                        Some(_) => {}
                        None => return,
                    },
                }
            }
        };
        if timeout(LAST_CALLS, last).await.is_err() {
            tracing::warn!("a call of a run goes on after its turn");
        }
    }

    fn now(&self) -> Moment {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let wall = wall.unwrap_or_default().as_millis();
        Moment {
            elapsed: self.began.elapsed(),
            wall: Timestamp(u64::try_from(wall).unwrap_or(u64::MAX)),
        }
    }
}

fn lock(waiting: &Waiting) -> std::sync::MutexGuard<'_, Vec<PendingId>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads one line, also over several calls; `false` for one that was too long, and passed over.
async fn read_line(calls: &mut BufReader<pipe::Receiver>, line: &mut Vec<u8>) -> io::Result<bool> {
    while line.len() <= MAX_LINE {
        let room = (MAX_LINE + 1 - line.len()) as u64;
        if (&mut *calls).take(room).read_until(b'\n', line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.last() == Some(&b'\n') {
            return Ok(true);
        }
    }
    loop {
        let part = calls.fill_buf().await?;
        let end = part.iter().position(|byte| *byte == b'\n');
        let length = end.map_or(part.len(), |end| end + 1);
        calls.consume(length);
        if end.is_some() {
            line.clear();
            return Ok(false);
        }
    }
}

async fn made(call: &CallContext, waiting: &Waiting, asked: Call) -> Answer {
    let reply = match call
        .host_call(asked.capability.as_str(), &asked.input)
        .await
    {
        Ok(reply) => reply,
        Err(error) => return Answer::Refused(unheard(&error, asked.read)),
    };
    let error = &reply["error"];
    let item = error["pendingId"].as_str().map(str::parse::<PendingId>);
    match item {
        Some(Ok(item)) if error["code"] == "approval_required" => {
            lock(waiting).push(item.clone());
            let event = json!({"kind": "waits", "capability": asked.capability, "pendingId": item});
            let _ = call.progress_event(&event).await;
            Answer::GoesOn(Item::Pending(item))
        }
        _ => Answer::Replied(reply),
    }
}

async fn followed(
    call: &CallContext,
    waiting: &Waiting,
    item: Item,
    unwanted: &AtomicBool,
) -> Answer {
    loop {
        match looked(call, waiting, &item, LOOK).await {
            Answer::GoesOn(_) if !unwanted.load(Ordering::Acquire) => {}
            ended => return ended,
        }
    }
}

async fn looked(call: &CallContext, waiting: &Waiting, item: &Item, wait: Duration) -> Answer {
    // Its calls are made to their end at once: it has no runs.
    let Item::Pending(id) = item else {
        return Answer::Unknown;
    };
    let told = match call.host_item(id, wait).await {
        Ok(told) => told,
        Err(error) => return Answer::Refused(unheard(&error, true)),
    };
    let state = told["state"].as_str().unwrap_or_default();
    if state == "pending" {
        return Answer::GoesOn(item.clone());
    }
    // One that is approved is still withdrawn where the turn ends before its call is made again.
    if state != "approved" {
        lock(waiting).retain(|known| known != id);
    }
    let reason = told["reason"].as_str();
    match state {
        "approved" => Answer::Approved,
        "denied" => Answer::Refused(Refusal {
            code: "denied_by_owner".into(),
            effect: Effect::None,
            message: match reason {
                Some(reason) => format!("The owner denied it: {reason}"),
                None => "The owner denied it.".into(),
            },
            next: "stop; do not look for another way".into(),
        }),
        "expired" => Answer::Lapsed(Refusal {
            code: "expired".into(),
            effect: Effect::None,
            message: match reason {
                Some(reason) => format!("It ended without a decision: {reason}."),
                None => "It ended without a decision.".into(),
            },
            next: "make the same call again, if it is still wanted".into(),
        }),
        _ => Answer::Unknown,
    }
}

async fn withdrawn(call: &CallContext, waiting: &Waiting, item: &Item) -> Answer {
    let Item::Pending(id) = item else {
        return Answer::Unknown;
    };
    match call.host_withdraw(id).await {
        Ok(told) if told["ok"] == true => {
            lock(waiting).retain(|known| known != id);
            Answer::Cancelled
        }
        Ok(_) => Answer::Unknown,
        Err(error) => Answer::Refused(unheard(&error, true)),
    }
}

fn unheard(error: &SourceError, is_read: bool) -> Refusal {
    Refusal {
        code: "unreachable".into(),
        effect: if is_read {
            Effect::None
        } else {
            Effect::Unknown
        },
        message: error.message.to_string(),
        next: "stop; tell the owner".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_is_named_after_the_caller() {
        assert_eq!(
            server_name(caller_of("my-agent.via.codex")),
            "plexum-host-my-agent"
        );
        let nested = "A_b.via.peer.via.codex";
        assert_eq!(server_name(caller_of(nested)), "plexum-host-a-b-via-peer");
        assert_eq!(
            server_name(&"x".repeat(99)).len(),
            "plexum-host-".len() + LONGEST_NAME
        );
    }

    #[tokio::test]
    async fn line_beyond_its_bound_is_passed_over() {
        let (mut sender, receiver) = pipe::pipe().unwrap();
        let writing = tokio::spawn(async move {
            sender.write_all(&vec![b'x'; MAX_LINE + 5]).await.unwrap();
            sender.write_all(b"\n{}\n").await.unwrap();
            sender
        });
        let (mut calls, mut line) = (BufReader::new(receiver), Vec::new());
        assert!(!read_line(&mut calls, &mut line).await.unwrap());
        assert!(read_line(&mut calls, &mut line).await.unwrap());
        assert_eq!(line, b"{}\n");
        drop(writing.await);
    }
}
