//! One MCP server, from its start to its end, over its standard input and output or over HTTP ([`Wire`]).
//!
//! ```text
//! start ─▶ initialize ─refused─▶ server/discover ─▶ tools/list ─▶ ready ─tools/call─▶ ready ─▶ …
//!              └───────────────────────────────────────▲                └─ list_changed: before the next call ─┐
//!                                                      └───────────────────────────────────────────────────────┘
//! ```
//!
//! A client of our own and no library's: what is pinned is each definition as it came, every member of it, and a message is
//! bounded before it is read. It speaks the revisions with a handshake, and the one without ([`Era`]).
//!
//! Invariants: one request of ours is under way at a time; a request of the server's is answered with a refusal, but for
//! `ping` and, in a call, a question to the owner ([`question`]); a server that is dropped is ended with all that descends from it;
//! an error that a server answers is an answer: the conversation goes on.
//!
//! Must not know: capabilities, who asks.

mod list;
#[cfg(test)]
mod scripted;

use crate::{
    http::Http,
    question::{self, Asking, QuestionCount, Required},
    refusal::{self, Refusal},
    sign_in::Challenge,
    wire::{Message, Pipes, Wire},
};
use plexus_ipc::{
    manifest::{McpPins, ServerFeature, ServerMethod},
    worker::{
        CallContext, Role,
        children::{ChildError, Children},
    },
};
use plexus_protocol::{
    Effect, Scopes,
    json::{self, Changes},
};
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};
use std::{collections::BTreeSet, fmt, io, time::Duration};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep, sleep_until, timeout},
};

/// How long a server may take until its tools are known, in awake time.
const START_WITHIN: Duration = Duration::from_secs(30);
/// How long a server may take over a call, in awake time, without what the owner takes to answer it.
const CALL_WITHIN: Duration = Duration::from_secs(120);
/// How long a server that answered them until now may take over a `ping`.
const PING_WITHIN: Duration = Duration::from_secs(10);
/// The same before it has answered one: some never do, and are well.
const FIRST_PING_WITHIN: Duration = Duration::from_secs(2);
/// How long what such a server says between two calls is waited for.
const HEAR_WITHIN: Duration = Duration::from_millis(50);
/// How long a list that is asked for between two calls may take: less than a check of the source may.
const LIST_WITHIN: Duration = Duration::from_millis(300);
/// How long a server may go on with a call that is cancelled.
const CANCEL_WITHIN: Duration = Duration::from_secs(5);
/// What is asked for, and the versions that are understood beside it.
const VERSION: &str = "2025-11-25";
const VERSIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", VERSION];
/// The revision without a handshake.
const STATELESS: &str = "2026-07-28";
/// What begins the names of its members of `_meta`.
const META: &str = "io.modelcontextprotocol/";
/// Most times that a call is repeated because the server wants more, and how long before one that asks nothing.
const MAX_ROUNDS: usize = 10;
const BETWEEN_ROUNDS: Duration = Duration::from_millis(250);

/// Why a server is of no more use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("it does not start: {0}")]
    Start(#[from] ChildError),
    #[error("it does not start: {why}{advice}", advice = advice(.words))]
    Failed {
        why: Box<SessionError>,
        /// The last lines of its standard error.
        words: Vec<String>,
    },
    #[error("a pipe: {0}")]
    Pipe(#[from] io::Error),
    #[error("it ended{0}")]
    Ended(String),
    #[error("it sent a message of more than 16 MiB")]
    TooLong,
    #[error("{0}")]
    NoWay(String),
    #[error("{0}")]
    Status(Refusal),
    #[error("it wants more than its sign-in or secret is good for{}", .0.in_its_words())]
    ScopeMissing(Scopes),
    #[error("{}", Refusal::unauthorized())]
    Unauthorized(Challenge),
    #[error(
        "it answered {0} over HTTP, which names {1}; no redirect is followed: lend the server with that URL"
    )]
    Moved(u16, String),
    #[error("it took longer than it may")]
    Late,
    #[error("it did not answer within {} s of its start", START_WITHIN.as_secs())]
    Silent,
    #[error("the call was cancelled")]
    Cancelled,
    #[error("it answered with an error: {0}")]
    Refused(RpcFailure),
    #[error("it asks for more than its input, which Plexus does not offer")]
    Unoffered,
    #[error("its answer is not what the protocol says: {0}")]
    Protocol(&'static str),
}

/// An error of JSON-RPC that a server answered.
#[derive(Debug)]
pub(crate) struct RpcFailure {
    /// None where the error has no number.
    pub(crate) code: Option<i64>,
    pub(crate) message: String,
    pub(crate) data: Value,
    /// Of HTTP, where it came with one that is no success.
    status: Option<u16>,
    /// It has the id of the request.
    is_named: bool,
    /// The server was at it before.
    has_begun: bool,
}

impl fmt::Display for RpcFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "{} (code {code})", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl RpcFailure {
    /// Servers differ in what an error is: an object as it should be, or anything else.
    fn of(mut error: Value) -> Self {
        let data = taken(&mut error, "data");
        Self {
            code: error["code"].as_i64(),
            message: match (error["message"].as_str(), &error) {
                (Some(words), _) if !words.is_empty() => words.to_owned(),
                (_, Value::String(words)) => words.clone(),
                _ => "it does not say why".to_owned(),
            },
            data,
            status: None,
            is_named: true,
            has_begun: false,
        }
    }

    pub(crate) fn over_http(error: Value, status: u16, is_named: bool) -> Self {
        Self {
            status: Some(status),
            is_named,
            ..Self::of(error)
        }
    }

    /// Whether the server cannot answer now.
    pub(crate) fn is_busy(&self) -> bool {
        self.status.is_some_and(refusal::is_busy)
    }

    /// Whether the server is perhaps of the other era, and knows no such greeting.
    fn knows_no_greeting(&self) -> bool {
        matches!(self.status, None | Some(400))
    }

    /// What a call has done that was answered so; `ran` is what is true of one that has come to its end.
    pub(crate) fn effect(&self, ran: Effect) -> Effect {
        match ran {
            Effect::None => Effect::None,
            _ if self.is_before() => Effect::None,
            ran if self.is_named && !self.has_begun => ran,
            _ => Effect::Unknown,
        }
    }

    /// Whether the server says that it has not begun: no such method, no such arguments, or a status that says so. One that
    /// names no request is of HTTP itself at 400 too.
    pub(crate) fn is_before(&self) -> bool {
        let by_code = matches!(self.code, Some(-32700 | -32602 | -32601 | -32600));
        let by_status = self
            .status
            .is_some_and(|status| refusal::is_before(status) || status == 400 && !self.is_named);
        !self.has_begun && (by_code || by_status)
    }
}

/// What a request was answered with.
#[derive(Debug, Default)]
pub(crate) struct Response {
    pub(crate) result: Value,
    pub(crate) structured: Option<Box<RawValue>>,
    pub(crate) changes: Changes,
    /// What is not told of it.
    pub(crate) omitted: Vec<String>,
}

/// What is asked of a server in a call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request<'a> {
    /// A tool, by its name.
    Tool(&'a str),
    Method(ServerMethod),
}

/// What programs say that do not reach a host: of names, of connections, of a proxy that lets them nowhere.
const NETWORK: [&str; 11] = [
    "enotfound",
    "eai_again",
    "name resolution",
    "network is unreachable",
    "econnrefused",
    "enetunreach",
    "getaddrinfo",
    "fetch failed",
    "tunnel connection failed",
    "tunneling",
    "proxyerror",
];
const NO_HOST: &str = ". It wants the network: a lent program reaches the hosts that are named with --host and no other, by way of the proxy in HTTPS_PROXY, which Node's own fetch uses from 22.21 and 24.5 on";

/// What to say of a call that failed, where its words are of the network.
pub(crate) fn network_advice(words: &str) -> &'static str {
    let said = words.to_lowercase();
    match NETWORK.iter().any(|mark| said.contains(mark)) {
        true => NO_HOST,
        false => "",
    }
}

/// Marks of the last words of a start that failed, and what to do then. The first that fits is told.
const START_ADVICE: &[(&[&str], &str)] = &[
    (
        &["git_python_refresh", "bad git executable"],
        ". It looks for git when it starts, and a server starts no other program here: a repository is lent by plexusctl sources add git; for its other tools give it --env GIT_PYTHON_REFRESH=quiet",
    ),
    (
        &[
            "cannot find module",
            "module_not_found",
            "modulenotfounderror",
            "no module named",
            "err_module_not_found",
        ],
        ". A module is missing: give the folder that it lies in with --code, or install the server with plexusctl mcp install",
    ),
    (
        &[
            "unsupported engine",
            "requires node",
            "requires python",
            "requires a different python",
            "syntaxerror",
            "invalid elf header",
            "compiled against a different",
        ],
        ". It seems to be made for another version of its interpreter: name the program of the version that it wants",
    ),
    (&NETWORK, NO_HOST),
    (
        &["uv_os_get_passwd"],
        ". It asks the system for your account (os.userInfo), and the list of accounts is given to no server",
    ),
    (
        &["'/proc/", "\"/proc/", "'/sys/", "\"/sys/"],
        ". It reads what the system says of itself (/proc, /sys), which is given to no server",
    ),
    (
        &[
            "eacces",
            "eperm",
            "erofs",
            "permission denied",
            "operation not permitted",
            "read-only file system",
        ],
        ". It wants a file that it was not given, or to write where it may not: --folder names what it may change, --code what it only reads. At its start and in a read it writes in its home (HOME, TMPDIR) alone",
    ),
    (
        &[
            "environment variable",
            "env var",
            "api key is required",
            "api_key",
            "access token is required",
            "_token",
        ],
        ". It seems to want a variable: --secret NAME=FILE gives it a secret, --env NAME=VALUE another value",
    ),
];

/// What to do about a start that failed, where its last words are of a common kind.
fn advice(words: &[String]) -> &'static str {
    let said = words.join("\n").to_lowercase();
    let found = START_ADVICE
        .iter()
        .find(|(marks, _)| marks.iter().any(|mark| said.contains(mark)));
    found.map_or("", |(_, advice)| advice)
}

impl SessionError {
    /// What a call that ended so has done at the server.
    pub(crate) fn effect(&self) -> Effect {
        match self {
            Self::Start(_)
            | Self::Failed { .. }
            | Self::NoWay(_)
            | Self::Moved(..)
            | Self::Unauthorized(_)
            | Self::ScopeMissing(_) => Effect::None,
            Self::Status(refusal) if refusal::is_before(refusal.status) => Effect::None,
            _ => Effect::Unknown,
        }
    }
}

/// How a server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Era {
    /// With a handshake, up to [`VERSION`].
    Handshake,
    /// Every request says all that is to be known of the client.
    Stateless,
}

/// What a server makes of a `ping`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum PingHabit {
    #[default]
    Unknown,
    Answers,
    /// It answers calls all the same.
    Ignores,
}

/// What a server says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Defined {
    server_info: Value,
    instructions: Option<String>,
    /// Each as it came.
    pub(crate) tools: Vec<Value>,
    /// What it offers beside them.
    pub(crate) features: BTreeSet<ServerFeature>,
}

impl Defined {
    pub(crate) fn pins(&self) -> McpPins {
        let instructions = self.instructions.as_ref();
        let tools = self.tools.iter().filter_map(|tool| {
            let name = tool["name"].as_str()?;
            Some((name.to_owned(), json::digest(tool)))
        });
        let methods = self.methods().map(|m| (m.name().to_owned(), m.digest()));
        McpPins {
            instructions: instructions.map(|text| json::digest(&json!(text))),
            // A method has its name before a tool.
            tools: tools.chain(methods).collect(),
            ..McpPins::default()
        }
    }

    /// The method that a capability is; `None` for a tool.
    pub(crate) fn method(&self, name: &str) -> Option<ServerMethod> {
        self.methods().find(|method| method.name() == name)
    }

    fn methods(&self) -> impl Iterator<Item = ServerMethod> {
        self.features.iter().flat_map(|feature| feature.methods())
    }

    /// Takes what the server declares that it has.
    fn declared(&mut self, told: &Value) {
        let is_there = |feature: &ServerFeature| {
            let declared = &told["capabilities"][feature.as_str()];
            !matches!(declared, Value::Null | Value::Bool(false))
        };
        self.features = ServerFeature::ALL.into_iter().filter(is_there).collect();
    }
}

/// A server that is spoken to.
#[derive(Debug)]
pub(crate) struct Session {
    wire: Wire,
    era: Era,
    next: u64,
    /// It said that its tools have changed.
    stale: bool,
    /// Its list was read to its end.
    is_listed: bool,
    /// When the call that is under way has lasted too long.
    until: Option<Instant>,
    /// In that call.
    asked: QuestionCount,
    pings: PingHabit,
    /// What bounds the number of servers.
    slot: Option<OwnedSemaphorePermit>,
    pub(crate) defined: Defined,
}

impl Session {
    /// Starts the program of this role's cage, and asks what it has. `secrets` are variables of its environment.
    ///
    /// # Errors
    /// It cannot be started, or does not get so far in time.
    pub(crate) async fn start(
        children: &Children,
        role: Role,
        run: String,
        secrets: &[(&str, &str)],
    ) -> Result<Self, SessionError> {
        let child = children
            .start(&role.to_string(), &run, &[], secrets)
            .await?;
        let pipes = Pipes::of(child).ok_or(SessionError::Protocol("it has no pipes"))?;
        Self::begin(Wire::Pipes(Box::new(pipes))).await
    }

    /// Begins to speak to the server at a URL, and asks what it has.
    ///
    /// # Errors
    /// It is not reached, or does not get so far in time.
    pub(crate) async fn at(http: Http) -> Result<Self, SessionError> {
        Self::begin(Wire::Http(Box::new(http))).await
    }

    async fn begin(wire: Wire) -> Result<Self, SessionError> {
        let mut session = Self {
            wire,
            era: Era::Handshake,
            next: 0,
            stale: false,
            is_listed: false,
            until: None,
            asked: QuestionCount::default(),
            pings: PingHabit::default(),
            slot: None,
            defined: Defined::default(),
        };
        let greeted = timeout(START_WITHIN, session.greet()).await;
        let Err(why) = greeted.unwrap_or(Err(SessionError::Silent)) else {
            return Ok(session);
        };
        let why = Box::new(session.wire.explained(why).await);
        let words = session.wire.last_words().await;
        session.end().await;
        Err(match words.is_empty() {
            true => *why,
            false => SessionError::Failed { why, words },
        })
    }

    /// Keeps a slot until it has ended.
    pub(crate) fn holding(mut self, slot: OwnedSemaphorePermit) -> Self {
        self.slot = Some(slot);
        self
    }

    /// Ends it; over when it has ended.
    pub(crate) async fn end(self) {
        self.wire.end().await;
    }

    /// Whether it can still be called; asks anew what it has where it said that this changed.
    pub(crate) async fn refresh(&mut self) -> bool {
        let heard = async {
            if self.wire.hears_unasked() {
                // What it said since the last call is heard with this, an end of it too.
                self.ping().await?;
            }
            if self.is_stale() || !self.wire.hears_unasked() {
                self.list().await?;
            }
            Ok::<_, SessionError>(())
        };
        matches!(timeout(START_WITHIN, heard).await, Ok(Ok(())))
    }

    /// Whether it has said by itself that its tools changed; then they are asked for anew.
    pub(crate) async fn has_changed(&mut self) -> bool {
        if !self.wire.hears_unasked() {
            return false;
        }
        // An end of it is met, and told, by the next call.
        let _ = self.hear(Duration::ZERO).await;
        self.is_stale() && matches!(timeout(LIST_WITHIN, self.list()).await, Ok(Ok(())))
    }

    /// Whether its tools may be others than those that are known.
    fn is_stale(&self) -> bool {
        self.stale || !self.is_listed
    }

    /// Takes what it says by itself, for so long.
    async fn hear(&mut self, within: Duration) -> Result<(), SessionError> {
        let nobody = self.next;
        match timeout(within, self.answer(nobody, None)).await {
            Ok(Err(error)) => Err(error),
            Ok(Ok(_)) | Err(_) => Ok(()),
        }
    }

    /// Whether it still answers. One that never answered a `ping` is well until a call of it is not answered.
    async fn ping(&mut self) -> Result<(), SessionError> {
        let within = match self.pings {
            PingHabit::Answers => PING_WITHIN,
            PingHabit::Unknown => FIRST_PING_WITHIN,
            PingHabit::Ignores => return self.hear(HEAR_WITHIN).await,
        };
        match timeout(within, self.request("ping", json!({}), None)).await {
            // Also an error is an answer.
            Ok(Ok(_) | Err(SessionError::Refused(_))) => self.pings = PingHabit::Answers,
            Ok(Err(error)) => return Err(error),
            Err(_) if self.pings == PingHabit::Answers => return Err(SessionError::Late),
            Err(_) => self.pings = PingHabit::Ignores,
        }
        Ok(())
    }

    /// Calls a tool, or a method beside them. A cancelled call, and one that takes longer than it may, is cancelled at the server, which has 5 s to
    /// answer all the same.
    ///
    /// # Errors
    /// But for [`SessionError::Refused`], whether the tool has run is then not known, and the server is to be dropped.
    pub(crate) async fn call(
        &mut self,
        asked: Request<'_>,
        arguments: &Value,
        call: &CallContext,
    ) -> Result<Response, SessionError> {
        self.until = Some(Instant::now() + CALL_WITHIN);
        self.asked = QuestionCount::default();
        let answered = tokio::select! {
            answered = timeout(call.remaining(), self.exchange(asked, arguments, call)) => {
                answered.unwrap_or(Err(SessionError::Late))
            }
            () = call.cancelled() => Err(SessionError::Cancelled),
        };
        self.until = None;
        let why = match answered {
            Ok(result) => return Ok(result),
            Err(why @ (SessionError::Late | SessionError::Cancelled)) => why,
            Err(refused @ SessionError::Refused(_)) => return Err(refused),
            Err(error) => return Err(self.wire.explained(error).await),
        };
        // The last request is that of the call.
        let id = self.next - 1;
        if self.era == Era::Stateless && !self.wire.hears_unasked() {
            // The end of the connection, which comes with the session's, says it.
            return Err(why);
        }
        let cancel = json!({
            "jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id},
        });
        let last = async {
            self.wire.send(&cancel).await?;
            self.answer(id, None).await
        };
        match timeout(CANCEL_WITHIN, last).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) | Err(_) => Err(why),
        }
    }

    async fn exchange(
        &mut self,
        asked: Request<'_>,
        arguments: &Value,
        call: &CallContext,
    ) -> Result<Response, SessionError> {
        let (method, params) = match asked {
            Request::Tool(tool) => ("tools/call", json!({"name": tool, "arguments": arguments})),
            Request::Method(ServerMethod::ListResources) => return self.resources(call).await,
            Request::Method(ServerMethod::ListPrompts) => return self.prompts(call).await,
            // Its input is what the protocol has.
            Request::Method(method) => (method.method(), arguments.clone()),
        };
        self.rounds(method, params, call).await
    }

    /// Sends the call, and repeats it with what the server asks for in place of an answer.
    async fn rounds(
        &mut self,
        method: &str,
        mut params: Value,
        call: &CallContext,
    ) -> Result<Response, SessionError> {
        for round in 0..=MAX_ROUNDS {
            let asked = self.request(method, params.clone(), Some(call));
            let mut response = asked.await.map_err(|why| match (why.effect(), why) {
                // It was at it, whatever it says of the rest.
                (_, SessionError::Refused(failure)) => SessionError::Refused(RpcFailure {
                    has_begun: round > 0,
                    ..failure
                }),
                (Effect::None, _) if round > 0 => {
                    SessionError::Protocol("it refused to go on with what it had begun")
                }
                (_, why) => why,
            })?;
            let Some(Required { asked, state }) = Required::of(&mut response.result) else {
                return Ok(response);
            };
            if asked.is_empty() {
                sleep(BETWEEN_ROUNDS).await;
            }
            let mut answers = json!({});
            for (key, request) in asked {
                if request["method"] != question::METHOD {
                    return Err(SessionError::Unoffered);
                }
                answers[key] = match self.asked.admit(&request["params"]) {
                    Err(without) => without,
                    Ok(question) => {
                        let mut open = Some(Asking::put(Value::Null, question, call));
                        let (asking, told) = Asking::over(&mut open).await;
                        self.stood_still(&asking);
                        self.asked.heard(&told, asking.is_page)
                    }
                };
            }
            params["inputResponses"] = answers;
            if let Some(state) = state {
                params["requestState"] = state;
            }
        }
        Err(SessionError::Protocol("it asks for more again and again"))
    }

    /// What the owner took is not the server's time.
    fn stood_still(&mut self, asking: &Asking) {
        self.until = self.until.map(|until| until + asking.since.elapsed());
    }

    async fn greet(&mut self) -> Result<(), SessionError> {
        let hello = json!({"protocolVersion": VERSION, "capabilities": question::offered(), "clientInfo": client()});
        let mut told = match self.request("initialize", hello, None).await {
            Ok(told) => told.result,
            Err(SessionError::Refused(failure)) if failure.knows_no_greeting() => {
                return self.discover().await;
            }
            Err(SessionError::Status(refusal)) if matches!(refusal.status, 400 | 404) => {
                return self.discover().await;
            }
            Err(error) => return Err(error),
        };
        let version = told["protocolVersion"].as_str().unwrap_or_default();
        if !VERSIONS.contains(&version) {
            return Err(SessionError::Protocol(
                "a version that Plexus does not speak",
            ));
        }
        self.wire.speaks(version);
        self.defined.server_info = taken(&mut told, "serverInfo");
        self.defined.declared(&told);
        self.defined.instructions = told["instructions"].as_str().map(str::to_owned);
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        self.wire.send(&initialized).await?;
        self.list().await
    }

    /// A server that knows no handshake.
    async fn discover(&mut self) -> Result<(), SessionError> {
        self.era = Era::Stateless;
        self.wire.speaks(STATELESS);
        let told = self.request("server/discover", json!({}), None).await?;
        let mut told = told.result;
        let mut versions = told["supportedVersions"].as_array().into_iter().flatten();
        if !versions.any(|version| version == STATELESS) {
            return Err(SessionError::Protocol(
                "a version that Plexus does not speak",
            ));
        }
        let meta = told.get_mut("_meta");
        let info = meta.map(|meta| taken(meta, &format!("{META}serverInfo")));
        self.defined.server_info = info.unwrap_or_default();
        self.defined.declared(&told);
        self.defined.instructions = told["instructions"].as_str().map(str::to_owned);
        self.list().await
    }

    async fn request(
        &mut self,
        method: &str,
        mut params: Value,
        call: Option<&CallContext>,
    ) -> Result<Response, SessionError> {
        let id = self.next;
        self.next += 1;
        if call.is_some() {
            params["_meta"]["progressToken"] = id.into();
        }
        if self.era == Era::Stateless {
            let meta = &mut params["_meta"];
            meta[format!("{META}protocolVersion")] = STATELESS.into();
            meta[format!("{META}clientCapabilities")] = question::offered();
            meta[format!("{META}clientInfo")] = client();
        }
        let asked = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.wire.send(&asked).await?;
        self.answer(id, call).await
    }

    /// Answers a request of the server's.
    async fn reply(&mut self, request: &Value, result: &Value) -> Result<(), SessionError> {
        let reply = json!({"jsonrpc": "2.0", "id": request, "result": result});
        self.wire.send(&reply).await
    }

    /// Waits for the answer of one request, and hears all that comes before it.
    async fn answer(
        &mut self,
        id: u64,
        call: Option<&CallContext>,
    ) -> Result<Response, SessionError> {
        let mut open: Option<Asking> = None;
        loop {
            let is_open = open.is_some();
            let received = tokio::select! {
                biased;
                (asking, told) = Asking::over(&mut open) => {
                    self.stood_still(&asking);
                    let result = self.asked.heard(&told, asking.is_page);
                    self.reply(&asking.request, &result).await?;
                    continue;
                }
                message = self.wire.receive() => message?,
                () = late(self.until), if !is_open => return Err(SessionError::Late),
            };
            let Message {
                value: mut message,
                structured,
                changes,
            } = received;
            let method = message["method"].as_str().map(str::to_owned);
            match (method.as_deref(), taken(&mut message, "id")) {
                (None, found) if is_id(&found, id) => {
                    return match taken(&mut message, "error") {
                        Value::Null if message.get("result").is_some() => Ok(Response {
                            result: taken(&mut message, "result"),
                            structured,
                            changes,
                            omitted: Vec::new(),
                        }),
                        Value::Null => Err(SessionError::Protocol("neither a result nor an error")),
                        error => Err(SessionError::Refused(RpcFailure::of(error))),
                    };
                }
                // Over HTTP an answer is of its request, also where the server could not read which it is.
                (None, Value::Null)
                    if !self.wire.hears_unasked() && !message["error"].is_null() =>
                {
                    let failure = RpcFailure::of(taken(&mut message, "error"));
                    return Err(SessionError::Refused(RpcFailure {
                        is_named: false,
                        ..failure
                    }));
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
                (Some("ping"), asked) => self.reply(&asked, &json!({})).await?,
                (Some(question::METHOD), asked) => {
                    let admitted = match (call, &open) {
                        (Some(call), None) => {
                            let admitted = self.asked.admit(&message["params"]);
                            admitted.map(|question| Asking::put(asked.clone(), question, call))
                        }
                        // One at a time, and none outside of a call.
                        _ => Err(json!({"action": "cancel"})),
                    };
                    match admitted {
                        Ok(asking) => open = Some(asking),
                        Err(without) => self.reply(&asked, &without).await?,
                    }
                }
                // Sampling and roots are not declared.
                (Some(_), asked) => {
                    let error = json!({"code": -32601, "message": "Plexus does not offer this"});
                    let refusal = json!({"jsonrpc": "2.0", "id": asked, "error": error});
                    self.wire.send(&refusal).await?;
                }
            }
        }
    }
}

/// Whether it is this id: some servers give a text or a fraction back.
fn is_id(found: &Value, id: u64) -> bool {
    match found {
        Value::String(text) => text.parse() == Ok(id),
        number => number.as_f64() == Some(id as f64),
    }
}

/// Over at that time; never, where there is none.
async fn late(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// A member of what a server sent, taken out of it; null where there is none, whatever the value is.
pub(crate) fn taken(value: &mut Value, member: &str) -> Value {
    value.get_mut(member).map(Value::take).unwrap_or_default()
}

fn client() -> Value {
    json!({"name": "plexus", "version": env!("CARGO_PKG_VERSION")})
}

#[cfg(test)]
mod tests {
    use super::{
        scripted::{Scripted, session},
        *,
    };

    /// The time of a call: its own limit, what is left to its agent, and the server's 5 s after a cancel.
    #[tokio::test(start_paused = true)]
    async fn call_beyond_its_time_is_cancelled_and_given_up() {
        for (takes, left, is_served) in [
            (119, 600, true),
            (124, 600, true),
            (126, 600, false),
            (64, 60, true),
            (66, 60, false),
        ] {
            let takes = Duration::from_secs(takes);
            let server = session(json!({}), move |method, _| match method {
                "tools/list" => Scripted::Result(json!({"tools": []})),
                _ => Scripted::Late(json!({"content": []}), takes),
            });
            let mut server = server.await.unwrap();
            let call = CallContext::detached(Role::Writer, None, Duration::from_secs(left));
            let began = Instant::now();
            let told = server.call(Request::Tool("wait"), &json!({}), &call).await;
            let limit = left.min(CALL_WITHIN.as_secs());
            match told {
                Ok(response) => assert_eq!(response.result, json!({"content": []})),
                Err(why) => {
                    assert!(matches!(why, SessionError::Late), "{why}");
                    assert_eq!(why.effect(), Effect::Unknown);
                    let limit = Duration::from_secs(limit) + CANCEL_WITHIN;
                    assert_eq!(began.elapsed().as_secs(), limit.as_secs());
                }
            }
            assert_eq!(
                began.elapsed() < CANCEL_WITHIN + Duration::from_secs(limit),
                is_served
            );
        }
    }
}
