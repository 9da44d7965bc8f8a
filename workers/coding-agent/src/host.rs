//! The host's tools in a run: what the owner granted the run's own agent at other sources, over MCP.
//!
//! ```text
//! agent of the run ─stdio─▶ mcp-host (in the run's cage) ─pipes─▶ here: plexus-mcp ─HostCall─▶ gateway
//!                                                                   └─ waits for the owner ─▶ the same call once more
//! ```
//! Invariants: who calls is the gateway's to say; a call that waits when its turn ends is withdrawn, unless another run
//! waits for the same item; after that no call is taken; no more is read from a run than one line of [`MAX_LINE`] bytes and the calls that the gateway lets through.
//!
//! Must not know: grants, which agent a run has, how it is started.

use crate::sessions::caller_in;
use plexus_ipc::worker::{CallContext, Host as Gateway, SourceError};
use plexus_mcp::{
    Action, Answer, Call, CallNumber, Item, Moment, Refusal, Server, View, message::too_long,
};
use plexus_protocol::{Effect, PendingId, Timestamp, words};
use serde_json::{Map, Value, json};
use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::unix::pipe,
    sync::{mpsc, oneshot},
    task::{AbortHandle, JoinHandle, JoinSet},
    time::{Instant, sleep, sleep_until, timeout},
};

/// The longest message that is read, in bytes: twice what a call may have as input.
const MAX_LINE: usize = 2 << 20;
/// How long calls that are under way when the turn ends may take to end.
const LAST_CALLS: Duration = Duration::from_secs(30);
/// The same where the worker is to end.
const AT_STOP: Duration = Duration::from_millis(500);
/// How long one look at a waiting call takes.
const LOOK: Duration = Duration::from_secs(20);
/// What an agent does after a call that waits while its run goes on.
const AFTERWARDS: &str = "go on without it; do not repeat it: once the owner has approved, it is made, and an event tells you";
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

/// As whom calls are made.
#[derive(Clone, Debug)]
pub enum Asker {
    /// As the nested agent of a call: what waits for the owner holds the run until the owner has decided.
    Call(CallContext),
    /// As the resident source itself: what waits for the owner goes to the queue, and the run goes on.
    Source(Gateway, mpsc::UnboundedSender<Pended>),
}

/// A call that waits for the owner while its run goes on.
#[derive(Debug)]
pub struct Pended {
    /// What waits.
    pub item: PendingId,
    /// The capability's id.
    pub capability: String,
    /// Its input.
    pub input: Map<String, Value>,
}

impl Asker {
    async fn capabilities(&self) -> Result<Value, SourceError> {
        match self {
            Self::Call(call) => call.host_capabilities().await,
            Self::Source(host, _) => host.capabilities().await,
        }
    }

    async fn call(&self, asked: &Call) -> Result<Value, SourceError> {
        let (capability, input) = (asked.capability.as_str(), &asked.input);
        match self {
            Self::Call(call) => call.host_call(capability, input).await,
            Self::Source(host, _) => host.call(capability, input).await,
        }
    }

    async fn item(&self, item: &PendingId, wait: Duration) -> Result<Value, SourceError> {
        match self {
            Self::Call(call) => call.host_item(item, wait).await,
            Self::Source(host, _) => host.item(item, wait).await,
        }
    }

    async fn withdraw(&self, item: &PendingId) -> Result<Value, SourceError> {
        match self {
            Self::Call(call) => call.host_withdraw(item).await,
            Self::Source(host, _) => host.withdraw(item).await,
        }
    }
}

/// What the agent of a run may do at other sources.
pub struct HostTools {
    caller: String,
    view: View,
}

impl HostTools {
    /// What the gateway grants to `asker`, without the capability `but`; `None` where that is nothing.
    ///
    /// # Errors
    /// No gateway.
    pub async fn of(asker: &Asker, but: Option<&str>) -> Result<Option<Self>, SourceError> {
        let mut told = asker.capabilities().await?;
        let caller = caller_in(&told)?;
        let is_call = |entry: &Value| entry["kind"] == "capability";
        let mut entries = told["capabilities"].take();
        if let (Some(entries), Some(but)) = (entries.as_array_mut(), but) {
            entries.retain(|entry| entry["id"] != but);
        }
        if !entries
            .as_array()
            .is_some_and(|entries| entries.iter().any(is_call))
        {
            return Ok(None);
        }
        for entry in entries.as_array_mut().into_iter().flatten() {
            if let Some(members) = entry.as_object_mut() {
                // A run has no way to send a further message.
                members.remove("conversation");
            }
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
    pub fn server(&self, address: PathBuf) -> io::Result<HostServer> {
        Ok(HostServer {
            name: server_name(&self.caller),
            program: std::env::current_exe()?,
            address,
        })
    }

    /// Answers the run's agent until [`Serving::end`].
    #[must_use]
    pub fn serve(
        self,
        asker: &Asker,
        all: Arc<Waiting>,
        (calls, answers): (pipe::Receiver, pipe::Sender),
    ) -> Serving {
        let (end, over) = oneshot::channel();
        let listed = Arc::new(AtomicBool::new(false));
        let host = Host {
            server: Server::new(env!("CARGO_PKG_VERSION"), self.view),
            asker: asker.clone(),
            waiting: Arc::new(RunItems {
                all,
                own: Mutex::default(),
            }),
            tasks: JoinSet::new(),
            following: HashMap::new(),
            listed: listed.clone(),
            began: Instant::now(),
        };
        let task = tokio::spawn(host.run(calls, answers, over));
        Serving { end, listed, task }
    }
}

/// Tools that a run may use.
#[derive(Debug)]
pub struct Serving {
    end: oneshot::Sender<()>,
    listed: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Serving {
    /// Takes no more calls, withdraws what waits, and waits for the rest, while no stop ends `call`. Answers whether the agent
    /// has asked for the list of tools, without which it had none.
    pub async fn end(self, call: &CallContext) -> bool {
        // If it has ended by itself, nobody hears this.
        let _ = self.end.send(());
        let stopped = async {
            call.stopped().await;
            sleep(AT_STOP).await;
        };
        tokio::select! {
            _ = self.task => {}
            () = stopped => tracing::warn!("a call of a run goes on after its turn, which a stop ends"),
        }
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

/// What waits for the owner, with the number of runs that it does so for: two runs of one agent that ask for the same wait
/// for one item.
#[derive(Debug, Default)]
pub struct Waiting(Mutex<HashMap<PendingId, usize>>);

/// The items of one run among them.
#[derive(Debug)]
struct RunItems {
    all: Arc<Waiting>,
    own: Mutex<Vec<PendingId>>,
}

impl RunItems {
    fn add(&self, item: &PendingId) {
        let mut own = lock(&self.own);
        if !own.contains(item) {
            own.push(item.clone());
            *lock(&self.all.0).entry(item.clone()).or_default() += 1;
        }
    }

    /// Whether no other run waits for an item.
    fn is_alone(&self, item: &PendingId) -> bool {
        lock(&self.all.0).get(item).is_none_or(|runs| *runs <= 1)
    }

    fn remove(&self, item: &PendingId) {
        let mut own = lock(&self.own);
        let Some(at) = own.iter().position(|known| known == item) else {
            return;
        };
        own.swap_remove(at);
        let mut all = lock(&self.all.0);
        if let Some(runs) = all.get_mut(item) {
            *runs -= 1;
            if *runs == 0 {
                all.remove(item);
            }
        }
    }

    fn last(&self) -> Option<PendingId> {
        lock(&self.own).last().cloned()
    }
}

struct Host {
    server: Server,
    asker: Asker,
    /// What waits for the owner.
    waiting: Arc<RunItems>,
    tasks: JoinSet<(CallNumber, Answer)>,
    /// Those of the tasks that wait for the owner.
    following: HashMap<CallNumber, AbortHandle>,
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
                    self.following.remove(&number);
                    let now = self.now();
                    self.server.answered(number, answer, now)
                }
                // What is not read waits in the pipe, and its run with it.
                read = read_line(&mut calls, &mut line), if self.tasks.len() < MOST_TASKS => match read {
                    // The pipe is ours at both ends: it does not end by itself.
                    Err(_) => break,
                    Ok(false) => {
                        let error = too_long(&Value::Null, MAX_LINE);
                        vec![Action::Send(error.line())]
                    }
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
            let (asker, waiting) = (self.asker.clone(), self.waiting.clone());
            match action {
                Action::Send(message) => messages.push(message),
                Action::Call(number, asked) => {
                    self.tasks
                        .spawn(async move { (number, made(&asker, &waiting, asked).await) });
                }
                Action::Follow(number, item) => {
                    let follows = self
                        .tasks
                        .spawn(async move { (number, followed(&asker, &waiting, item).await) });
                    self.following.insert(number, follows);
                }
                Action::Look(number, item) => {
                    self.tasks.spawn(async move {
                        (
                            number,
                            looked(&asker, &waiting, &item, Duration::ZERO).await,
                        )
                    });
                }
                Action::Cancel(number, item) => {
                    self.tasks
                        .spawn(async move { (number, withdrawn(&asker, &waiting, &item).await) });
                }
                // A run's list does not change, and what of the run's waits is known here alone.
                Action::List(number) | Action::Refresh(number) => {
                    let away = Answer::Refused(Refusal {
                        code: "unreachable".into(),
                        effect: Effect::None,
                        message: String::new(),
                        next: String::new(),
                        action: None,
                    });
                    self.tasks.spawn(async move { (number, away) });
                }
                // A server with conversations asks for it.
                Action::Continue(..) => {}
                // Of what has an effect the gateway's answer is still waited for.
                Action::Drop(number) => {
                    if let Some(follows) = self.following.remove(&number) {
                        follows.abort();
                    }
                }
            }
        }
        messages
    }

    async fn end(mut self) {
        self.following.values().for_each(AbortHandle::abort);
        let last = async {
            loop {
                match self.waiting.last() {
                    Some(item) => {
                        let is_alone = self.waiting.is_alone(&item);
                        self.waiting.remove(&item);
                        if is_alone {
                            let _ = self.asker.withdraw(&item).await;
                        }
                    }
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

async fn made(asker: &Asker, waiting: &RunItems, asked: Call) -> Answer {
    let mut reply = match asker.call(&asked).await {
        Ok(reply) => reply,
        Err(error) => return Answer::Refused(unheard(&error, asked.read)),
    };
    let error = &reply["error"];
    let item = error["pendingId"].as_str().map(str::parse::<PendingId>);
    let item = item.and_then(Result::ok);
    let Some(item) = item.filter(|_| error["code"] == "approval_required") else {
        return Answer::Replied(reply);
    };
    match asker {
        Asker::Call(call) => {
            waiting.add(&item);
            let event = json!({"kind": "waits", "capability": asked.capability, "pendingId": item});
            let _ = call.progress_event(&event).await;
            Answer::GoesOn(Item::Pending(item))
        }
        Asker::Source(_, pended) => {
            let capability = asked.capability.to_string();
            let input = asked.input;
            // If nobody follows it, it waits for the same call again.
            let _ = pended.send(Pended {
                item,
                capability,
                input,
            });
            reply["error"]["next"] = AFTERWARDS.into();
            Answer::Replied(reply)
        }
    }
}

async fn followed(asker: &Asker, waiting: &RunItems, item: Item) -> Answer {
    loop {
        match looked(asker, waiting, &item, LOOK).await {
            Answer::GoesOn(_) => {}
            ended => return ended,
        }
    }
}

async fn looked(asker: &Asker, waiting: &RunItems, item: &Item, wait: Duration) -> Answer {
    // Its calls are made to their end at once: it has no runs.
    let Item::Pending(id) = item else {
        return Answer::Unknown;
    };
    let told = match asker.item(id, wait).await {
        Ok(told) if told["error"].is_null() => told,
        // The call that it serves is over, or is being ended: it waits until it is withdrawn.
        Ok(told) => {
            let why = told["error"]["message"].as_str().unwrap_or_default();
            return Answer::Refused(unheard(&SourceError::unavailable(why), true));
        }
        Err(error) => return Answer::Refused(unheard(&error, true)),
    };
    let state = told["state"].as_str().unwrap_or_default();
    if state == "pending" {
        return Answer::GoesOn(item.clone());
    }
    // One that is approved is still withdrawn where the turn ends before its call is made again.
    if state != "approved" {
        waiting.remove(id);
    }
    let reason = told["reason"].as_str();
    match state {
        "approved" => Answer::Approved,
        "denied" => Answer::Refused(Refusal {
            code: "denied_by_owner".into(),
            effect: Effect::None,
            message: words::denied(reason).0,
            next: "stop; do not look for another way".into(),
            action: None,
        }),
        "expired" => Answer::Lapsed(Refusal {
            code: "expired".into(),
            effect: Effect::None,
            message: match reason {
                Some(reason) => format!("It ended without a decision: {reason}."),
                None => "It ended without a decision.".into(),
            },
            next: "make the same call again, if it is still wanted".into(),
            action: None,
        }),
        _ => Answer::Unknown,
    }
}

async fn withdrawn(asker: &Asker, waiting: &RunItems, item: &Item) -> Answer {
    let Item::Pending(id) = item else {
        return Answer::Unknown;
    };
    if !waiting.is_alone(id) {
        waiting.remove(id);
        return Answer::Cancelled;
    }
    match asker.withdraw(id).await {
        Ok(told) if told["ok"] == true => {
            waiting.remove(id);
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
        action: None,
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
