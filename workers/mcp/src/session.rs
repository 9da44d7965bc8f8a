//! One MCP server, from its start to its end, over its standard input and output.
//!
//! ```text
//! start ─▶ initialize ─▶ tools/list ─▶ ready ─tools/call─▶ ready ─▶ …
//!                          ▲                └─ list_changed: before the next call ─┐
//!                          └───────────────────────────────────────────────────────┘
//! ```
//!
//! A client of our own and no library's: what is pinned is each definition as it came, every member of it, and a line is
//! bounded before it is read.
//!
//! Invariants: one request of ours is under way at a time; a request of the server's is answered with a refusal, but for
//! `ping`; no more than [`MAX_LINE`] of one line is held; a server that is dropped is ended with all that descends from it.
//!
//! Must not know: capabilities, who asks.

use plexus_ipc::{
    manifest::McpPins,
    worker::{
        CallContext, Role,
        children::{Child, ChildError, Children, LastWords},
    },
};
use plexus_protocol::json;
use serde::Serialize;
use serde_json::{Value, json};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::unix::pipe,
    sync::OwnedSemaphorePermit,
    time::timeout,
};

/// The longest line that is read, in bytes.
const MAX_LINE: usize = 16 << 20;
/// How long a server may take until its tools are known, in awake time.
const START_WITHIN: Duration = Duration::from_secs(30);
/// How long a server may go on with a call that is cancelled.
const CANCEL_WITHIN: Duration = Duration::from_secs(5);
/// What is asked for, and the versions that are understood beside it.
const VERSION: &str = "2025-11-25";
const VERSIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", VERSION];
/// Most pages of a list of tools.
const MAX_PAGES: usize = 64;
/// Longest list of tools, in bytes.
const MAX_LIST: usize = 1 << 20;

/// Why a server is of no more use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("it does not start: {0}")]
    Start(#[from] ChildError),
    #[error("a pipe: {0}")]
    Pipe(#[from] io::Error),
    #[error("it ended{0}")]
    Ended(String),
    #[error("it sent a line of more than 16 MiB")]
    TooLong,
    #[error("it took longer than it may")]
    Late,
    #[error("the call was cancelled")]
    Cancelled,
    #[error("it refused: {0}")]
    Refused(String),
    #[error("its answer is not what the protocol says: {0}")]
    Protocol(&'static str),
}

/// What a server says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Defined {
    server_info: Value,
    instructions: Option<String>,
    /// Each as it came.
    pub(crate) tools: Vec<Value>,
}

impl Defined {
    pub(crate) fn pins(&self) -> McpPins {
        let instructions = self.instructions.as_ref();
        let tools = self.tools.iter().filter_map(|tool| {
            let name = tool["name"].as_str()?;
            Some((name.to_owned(), json::digest(tool)))
        });
        McpPins {
            instructions: instructions.map(|text| json::digest(&json!(text))),
            tools: tools.collect(),
        }
    }
}

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Session {
    child: Child,
    input: pipe::Sender,
    output: BufReader<pipe::Receiver>,
    /// The part of a line that was read when a wait ended.
    line: Vec<u8>,
    next: u64,
    /// It said that its tools have changed.
    stale: bool,
    last_words: Arc<LastWords>,
    /// What bounds the number of servers.
    slot: Option<OwnedSemaphorePermit>,
    pub(crate) defined: Defined,
}

impl Session {
    /// Starts the server of this role's cage, and asks what it has.
    ///
    /// # Errors
    /// It cannot be started, or does not get so far in time.
    pub(crate) async fn start(
        children: &Children,
        role: Role,
        run: String,
    ) -> Result<Self, SessionError> {
        let mut child = children.start(&role.to_string(), &run, &[], &[]).await?;
        let no_pipe = || SessionError::Protocol("it has no pipes");
        let last_words = Arc::<LastWords>::default();
        let error = child.stderr.take().ok_or_else(no_pipe)?;
        let hears = Arc::clone(&last_words);
        tokio::spawn(async move { hears.hear(error).await });
        let mut session = Self {
            input: child.stdin.take().ok_or_else(no_pipe)?,
            output: BufReader::new(child.stdout.take().ok_or_else(no_pipe)?),
            child,
            line: Vec::new(),
            next: 0,
            stale: false,
            last_words,
            slot: None,
            defined: Defined::default(),
        };
        match timeout(START_WITHIN, session.greet()).await {
            Ok(Ok(())) => Ok(session),
            Ok(Err(error)) => Err(session.explained(error).await),
            Err(_) => Err(SessionError::Late),
        }
    }

    /// Keeps a slot until it has ended.
    pub(crate) fn holding(mut self, slot: OwnedSemaphorePermit) -> Self {
        self.slot = Some(slot);
        self
    }

    /// Ends it; over when it has ended.
    pub(crate) async fn end(mut self) {
        self.child.end();
        drop(self.child.wait().await);
    }

    /// Whether it can still be called; asks anew what it has where it said that this changed.
    pub(crate) async fn refresh(&mut self) -> bool {
        // What it said since the last call is heard with this, an end of it too.
        let heard = async {
            match self.request("ping", json!({}), None).await {
                // Also a refusal is an answer.
                Ok(_) | Err(SessionError::Refused(_)) => {}
                Err(error) => return Err(error),
            }
            if self.stale {
                self.list().await?;
            }
            Ok::<_, SessionError>(())
        };
        matches!(timeout(START_WITHIN, heard).await, Ok(Ok(())))
    }

    /// Calls a tool. A cancelled call, and one that takes longer than it may, is cancelled at the server, which has 5 s to
    /// answer all the same.
    ///
    /// # Errors
    /// Whether the tool has run is then not known; the server is to be dropped.
    pub(crate) async fn call(
        &mut self,
        tool: &str,
        arguments: &Value,
        call: &CallContext,
    ) -> Result<Value, SessionError> {
        let id = self.next;
        let asked = json!({
            "name": tool, "arguments": arguments, "_meta": {"progressToken": id},
        });
        let answered = tokio::select! {
            answered = timeout(call.remaining(), self.request("tools/call", asked, Some(call))) => {
                answered.map_err(|_| SessionError::Late)
            }
            () = call.cancelled() => Err(SessionError::Cancelled),
        };
        let why = match answered {
            Ok(Ok(result)) => return Ok(result),
            Ok(Err(error)) => return Err(self.explained(error).await),
            Err(why) => why,
        };
        let cancel = json!({
            "jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id},
        });
        let last = async {
            self.send(&cancel).await?;
            self.answer(id, None).await
        };
        match timeout(CANCEL_WITHIN, last).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) | Err(_) => Err(why),
        }
    }

    async fn greet(&mut self) -> Result<(), SessionError> {
        let client = json!({"name": "plexus", "version": env!("CARGO_PKG_VERSION")});
        let hello = json!({"protocolVersion": VERSION, "capabilities": {}, "clientInfo": client});
        let mut told = self.request("initialize", hello, None).await?;
        let version = told["protocolVersion"].as_str().unwrap_or_default();
        if !VERSIONS.contains(&version) {
            return Err(SessionError::Protocol(
                "a version that Plexus does not speak",
            ));
        }
        self.defined.server_info = told["serverInfo"].take();
        self.defined.instructions = told["instructions"].as_str().map(str::to_owned);
        self.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .await?;
        self.list().await
    }

    async fn list(&mut self) -> Result<(), SessionError> {
        let (mut tools, mut next, mut held) = (Vec::new(), Value::Null, 0);
        for _ in 0..MAX_PAGES {
            // What it says from here on is about a later list.
            self.stale = false;
            let params = match &next {
                Value::Null => json!({}),
                cursor => json!({ "cursor": cursor }),
            };
            let mut page = self.request("tools/list", params, None).await?;
            match page["tools"].take() {
                Value::Array(more) => {
                    held += more.iter().map(written).sum::<usize>();
                    if held > MAX_LIST {
                        return Err(SessionError::Protocol("more than 1 MiB of tools"));
                    }
                    tools.extend(more);
                }
                _ => return Err(SessionError::Protocol("a list of tools that is none")),
            }
            next = page["nextCursor"].take();
            if next.is_null() {
                self.defined.tools = tools;
                return Ok(());
            }
        }
        Err(SessionError::Protocol("a list of tools without an end"))
    }

    async fn request(
        &mut self,
        method: &str,
        params: Value,
        call: Option<&CallContext>,
    ) -> Result<Value, SessionError> {
        let id = self.next;
        self.next += 1;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
            .await?;
        self.answer(id, call).await
    }

    /// Waits for the answer of one request, and hears all that comes before it.
    async fn answer(&mut self, id: u64, call: Option<&CallContext>) -> Result<Value, SessionError> {
        loop {
            let mut message = self.receive().await?;
            let method = message["method"].as_str().map(str::to_owned);
            match (method.as_deref(), message["id"].take()) {
                (None, found) if found == json!(id) => {
                    let refused = message["error"]["message"].as_str().map(str::to_owned);
                    return match (message["result"].take(), refused) {
                        (result @ Value::Object(_), None) => Ok(result),
                        (_, Some(words)) => Err(SessionError::Refused(words)),
                        _ => Err(SessionError::Protocol("neither a result nor an error")),
                    };
                }
                // Of a request that nobody waits for any more.
                (None, _) => {}
                (Some("notifications/tools/list_changed"), Value::Null) => self.stale = true,
                (Some("notifications/progress"), Value::Null) => {
                    let told = &message["params"];
                    if let (Some(call), true) = (call, told["progressToken"] == json!(id)) {
                        let words = told["message"].as_str().map(str::to_owned);
                        call.progress(words.unwrap_or_else(|| told["progress"].to_string()) + "\n")
                            .await;
                    }
                }
                (Some(_), Value::Null) => {}
                (Some("ping"), asked) => {
                    self.send(&json!({"jsonrpc": "2.0", "id": asked, "result": {}}))
                        .await?;
                }
                // Sampling, roots and elicitation are not declared.
                (Some(_), asked) => {
                    let error = json!({"code": -32601, "message": "Plexus does not offer this"});
                    self.send(&json!({"jsonrpc": "2.0", "id": asked, "error": error}))
                        .await?;
                }
            }
        }
    }

    async fn send(&mut self, message: &Value) -> Result<(), SessionError> {
        let mut line = message.to_string().into_bytes();
        line.push(b'\n');
        Ok(self.input.write_all(&line).await?)
    }

    /// The next message. A line that is none is passed over: some servers log on their standard output.
    async fn receive(&mut self) -> Result<Value, SessionError> {
        loop {
            let room = MAX_LINE + 1 - self.line.len();
            let part = (&mut self.output).take(room as u64);
            let read = { part }.read_until(b'\n', &mut self.line).await?;
            if self.line.len() > MAX_LINE {
                return Err(SessionError::TooLong);
            }
            if self.line.last() == Some(&b'\n') {
                let line = std::mem::take(&mut self.line);
                match json::parse(line.trim_ascii()) {
                    Ok(message @ Value::Object(_)) => return Ok(message),
                    Err(_) if line.windows(9).any(|part| part == b"\"jsonrpc\"") => {
                        let why =
                            "a message with numbers, depth or members beyond what can be carried";
                        return Err(SessionError::Protocol(why));
                    }
                    _ => continue,
                }
            }
            if read == 0 {
                return Err(SessionError::Ended(String::new()));
            }
        }
    }

    /// With the last words of a server that has ended.
    async fn explained(&mut self, error: SessionError) -> SessionError {
        let ended = match &error {
            SessionError::Ended(_) => true,
            SessionError::Pipe(error) => error.kind() == io::ErrorKind::BrokenPipe,
            _ => false,
        };
        if !ended {
            return error;
        }
        self.child.end();
        drop(self.child.wait().await);
        SessionError::Ended(match self.last_words.line() {
            Some(line) => format!("; its last words: {line}"),
            None => String::new(),
        })
    }
}

/// How many bytes of JSON a value is.
fn written(value: &Value) -> usize {
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    serde_json::to_writer(&mut count, value).map_or(usize::MAX, |()| count.0)
}
