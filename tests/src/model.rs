//! A model server that generates nothing: it answers each request of a coding agent with the next step of a script.
//!
//! It speaks what the two agents' own binaries ask for: Anthropic Messages (`POST /v1/messages`) and OpenAI Responses
//! (`POST /v1/responses`), both as server-sent events, on a free loopback port.
//!
//! Invariants: one request takes one step, of the script or else of the rule; a request that neither foresees is answered with an
//! error and fails the story at [`Model::finish`], and so does a step that was never asked for. Proxies point here too,
//! so an attempt to reach another host is such a request.

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::Response,
};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, Semaphore};

/// What the model does next.
#[derive(Clone, Debug)]
pub enum Step {
    /// It says something and ends its turn.
    Say(String),
    /// It calls one tool with these arguments.
    Call(String, Value),
    /// It calls one tool of Codex with this text.
    Write(String, String),
    /// An item of Codex before what the model does: thoughts, or a search. The step after it follows in the same answer.
    Item(Value),
    /// Its server refuses the request with this status.
    Refuse(u16),
    /// Its server does not have the model that the request names, and says so as the real one does.
    NoModel,
    /// Its server closes the connection in the middle of a line.
    Drop,
    /// It answers only once the gate is open; the step after it follows in the same answer.
    Wait(Gate),
}

impl Step {
    /// Says something and ends the turn.
    #[must_use]
    pub fn say(text: &str) -> Self {
        Self::Say(text.to_owned())
    }
    /// Runs a shell command with Claude Code's tool.
    #[must_use]
    pub fn bash(command: &str) -> Self {
        let arguments =
            json!({"command": command, "description": "A step of the story", "timeout": 60_000});
        Self::Call("Bash".into(), arguments)
    }
    /// Calls a tool of an MCP server, as both agents name it.
    #[must_use]
    pub fn mcp(server: &str, tool: &str, arguments: Value) -> Self {
        Self::Call(format!("mcp__{server}__{tool}"), arguments)
    }
    /// Runs a shell command with Codex's tool.
    #[must_use]
    pub fn exec(command: &str) -> Self {
        let arguments = json!({"cmd": command, "yield_time_ms": 30_000});
        Self::Call("exec_command".into(), arguments)
    }
    /// Runs a shell command with the tool of Codex' newer models, which takes a script.
    #[must_use]
    pub fn script(command: &str) -> Self {
        let script = format!(
            "text(await tools.exec_command({}));",
            json!({"cmd": command})
        );
        Self::Write("exec".into(), script)
    }
    /// Thinks, with seven tokens for it.
    #[must_use]
    pub fn think(text: &str) -> Self {
        let summary = json!([{"type": "summary_text", "text": text}]);
        Self::Item(
            json!({"type": "reasoning", "id": "rs_story", "summary": summary, "content": []}),
        )
    }
    /// Has its server search the web.
    #[must_use]
    pub fn search(query: &str) -> Self {
        let action = json!({"type": "search", "query": query});
        Self::Item(
            json!({"type": "web_search_call", "id": "ws_story", "status": "completed", "action": action}),
        )
    }
}

/// Something that a story opens when the world is as the next step needs it.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn closed() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }
    /// Opens it, for good.
    pub fn open(&self) {
        self.0.add_permits(1);
    }
    async fn pass(&self) {
        // Never closed, so that the permit always comes; it goes back when it is dropped.
        let _permit = self.0.acquire().await;
    }
}

/// Which wire a request came over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    Messages,
    Responses,
}

/// The step that a request gets.
type Rule = Box<dyn FnMut(&Value) -> Step + Send>;

#[derive(Default)]
struct Record {
    steps: VecDeque<Step>,
    rule: Option<Rule>,
    requests: Vec<Value>,
    credentials: Vec<String>,
    faults: Vec<String>,
    turns: usize,
}

struct Shared {
    /// What every path that it serves begins with; empty at the root of its host.
    below: &'static str,
    record: Mutex<Record>,
}

impl Shared {
    /// Whether the next step is that the server has no such model.
    fn lacks_the_model(&self) -> bool {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(record.steps.front(), Some(Step::NoModel))
    }
}

/// A running model server; ends with the value.
pub struct Model {
    port: u16,
    shared: Arc<Shared>,
    end: Arc<Notify>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Model {
    /// Listens, with a script.
    ///
    /// # Panics
    /// When no loopback port is free.
    #[must_use]
    pub fn start(steps: impl IntoIterator<Item = Step>) -> Self {
        Self::below("", steps)
    }
    /// The same below a path, such as `/team`: it serves nothing else of its host.
    ///
    /// # Panics
    /// When no loopback port is free.
    #[must_use]
    pub fn below(path: &'static str, steps: impl IntoIterator<Item = Step>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a listener");
        let port = listener.local_addr().expect("an address").port();
        let record = Record {
            steps: steps.into_iter().collect(),
            ..Record::default()
        };
        let shared = Arc::new(Shared {
            below: path,
            record: Mutex::new(record),
        });
        let end = Arc::new(Notify::new());
        let (serving, ending) = (Arc::clone(&shared), Arc::clone(&end));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                let routes = Router::new().fallback(answer).with_state(serving);
                tokio::select! {
                    ended = axum::serve(listener, routes) => ended.expect("a server"),
                    () = ending.notified() => {}
                }
            });
        });
        Self {
            port,
            shared,
            end,
            thread: Some(thread),
        }
    }
    /// Where it serves, without the path of a request.
    #[must_use]
    pub fn base(&self) -> String {
        format!("http://127.0.0.1:{}{}", self.port, self.shared.below)
    }
    /// The bodies of the model requests so far: exactly what the agent would have sent away.
    #[must_use]
    pub fn requests(&self) -> Vec<Value> {
        self.record().requests.clone()
    }
    /// The credential that came with each of them.
    #[must_use]
    pub fn credentials(&self) -> Vec<String> {
        self.record().credentials.clone()
    }
    /// Adds steps to the end of the script.
    pub fn then(&self, steps: impl IntoIterator<Item = Step>) {
        self.record().steps.extend(steps);
    }
    /// Forgets the steps that were not asked for, and goes on with these: for a turn that was cut off.
    pub fn instead(&self, steps: impl IntoIterator<Item = Step>) {
        self.record().steps = steps.into_iter().collect();
    }
    /// Once the script has ended, answers each request by a rule, which is asked again after [`Step::Wait`]: where nobody knows which turns there will be.
    pub fn by_rule(&self, rule: impl FnMut(&Value) -> Step + Send + 'static) {
        self.record().rule = Some(Box::new(rule));
    }
    /// What the tools of the latest turn gave back, in order of the calls.
    #[must_use]
    pub fn results(&self) -> Vec<String> {
        self.record()
            .requests
            .last()
            .map(tool_results)
            .unwrap_or_default()
    }
    /// Holds that the script was played to its end and that nothing else was asked.
    ///
    /// # Panics
    /// Otherwise, naming what was asked and what was left.
    #[track_caller]
    pub fn finish(&self) {
        let record = self.record();
        assert!(
            record.faults.is_empty(),
            "unforeseen requests: {:#?}",
            record.faults
        );
        assert!(
            record.steps.is_empty(),
            "never asked for: {:#?}",
            record.steps
        );
    }
    fn record(&self) -> std::sync::MutexGuard<'_, Record> {
        self.shared
            .record
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.end.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The outputs of tools in one request, whichever wire it came over.
fn tool_results(body: &Value) -> Vec<String> {
    let list = |name: &str| body[name].as_array().cloned().unwrap_or_default();
    let claude = list("messages").into_iter().flat_map(|message| {
        let blocks = message["content"].as_array().cloned().unwrap_or_default();
        blocks
            .into_iter()
            .filter(|block| block["type"] == "tool_result")
            .map(|block| flat(&block["content"]))
    });
    let codex = list("input")
        .into_iter()
        .filter(|item| {
            let outputs = ["function_call_output", "custom_tool_call_output"];
            outputs.iter().any(|kind| item["type"] == *kind)
        })
        .map(|item| flat(&item["output"]));
    claude.chain(codex).collect()
}

/// Text as it is, or the texts of a list of parts.
fn flat(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .filter_map(|part| part["text"].as_str())
            .collect::<Vec<_>>()
            .join("\n"),
        other => other.to_string(),
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(path) = uri.path().strip_prefix(shared.below) else {
        return unforeseen(&shared, format!("{method} {uri}"));
    };
    let wire = match (&method, path) {
        // Claude Code looks whether its server is there before it asks.
        (&Method::HEAD, "/") if uri.authority().is_none() => return plain(StatusCode::OK, ""),
        (&Method::POST, "/v1/messages") => Wire::Messages,
        (&Method::POST, "/v1/responses" | "/backend-api/codex/responses") => Wire::Responses,
        // Codex asks what there is where it has a sign-in, and goes on without an answer.
        (&Method::GET, "/backend-api/codex/models") => return plain(StatusCode::NOT_FOUND, ""),
        _ => return unforeseen(&shared, format!("{method} {uri}")),
    };
    let Ok(request) = serde_json::from_slice::<Value>(&body) else {
        return unforeseen(
            &shared,
            format!("{method} {uri} with a body that is no JSON"),
        );
    };
    let credential = match wire {
        Wire::Messages if headers.contains_key("x-api-key") => "x-api-key",
        Wire::Messages | Wire::Responses => "authorization",
    };
    if headers.contains_key("x-plexus-egress") {
        return unforeseen(&shared, format!("{uri} with what opens the egress"));
    }
    // Claude Code asks once more without a stream for a model that is not there.
    if request["stream"] != true && shared.lacks_the_model() {
        let (status, body) = no_model(wire);
        return plain(status, body.to_string());
    }
    if request["stream"] != true || !headers.contains_key(credential) {
        let why = format!("{method} {uri} without `stream` or its credential");
        return unforeseen(&shared, why);
    }
    let sent = headers.get(credential).and_then(|sent| sent.to_str().ok());
    let sent = sent.unwrap_or_default().to_owned();
    let (turn, gates, items, step) = {
        let mut record = shared.record.lock().unwrap_or_else(PoisonError::into_inner);
        record.credentials.push(sent);
        record.turns += 1;
        let (mut gates, mut items) = (Vec::new(), Vec::new());
        let step = loop {
            let step = record.steps.pop_front();
            match step.or_else(|| record.rule.as_mut().map(|rule| rule(&request))) {
                Some(Step::Wait(gate)) => gates.push(gate),
                Some(Step::Item(item)) => items.push(item),
                step => break step,
            }
        };
        record.requests.push(request);
        (record.turns, gates, items, step)
    };
    let Some(step) = step else {
        return unforeseen(
            &shared,
            format!("turn {turn} on {uri}: the script has ended"),
        );
    };
    for gate in gates {
        gate.pass().await;
    }
    if let Step::Refuse(status) = step {
        let body =
            json!({"type": "error", "error": {"type": "story", "message": "refused by the story"}});
        let status = StatusCode::from_u16(status).expect("a status");
        return plain(status, body.to_string());
    }
    if matches!(step, Step::NoModel) {
        let (status, body) = no_model(wire);
        return plain(status, body.to_string());
    }
    let is_dropped = matches!(step, Step::Drop);
    let step = if is_dropped { Step::say("half") } else { step };
    let mut stream = match wire {
        Wire::Messages => messages(turn, &step),
        Wire::Responses => responses(turn, items, &step),
    };
    if is_dropped {
        stream.truncate(stream.len() / 2);
    }
    let mut response = plain(StatusCode::OK, stream);
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("text/event-stream"),
    );
    response
}

/// What the server of this wire says of a model that it does not have.
fn no_model(wire: Wire) -> (StatusCode, Value) {
    match wire {
        Wire::Messages => (
            StatusCode::NOT_FOUND,
            json!({"type": "error", "error": {"type": "not_found_error", "message": "model: gone"}}),
        ),
        Wire::Responses => (
            StatusCode::BAD_REQUEST,
            json!({"error": {"type": "invalid_request_error", "code": "model_not_found",
                "message": "The requested model 'gone' does not exist."}}),
        ),
    }
}

fn plain(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response
}

/// Answered so that no agent tries again: what was not foreseen ends the turn.
fn unforeseen(shared: &Shared, what: String) -> Response {
    let mut record = shared.record.lock().unwrap_or_else(PoisonError::into_inner);
    record.faults.push(what);
    let body = json!({"type": "error", "error": {"type": "invalid_request_error", "message": "not in the script"}});
    plain(StatusCode::BAD_REQUEST, body.to_string())
}

fn event(out: &mut String, kind: &str, mut data: Value) {
    data["type"] = kind.into();
    // Writing to a String cannot fail.
    let _ = write!(out, "event: {kind}\ndata: {data}\n\n");
}

/// One turn as Anthropic's Messages API streams it.
fn messages(turn: usize, step: &Step) -> String {
    let mut out = String::new();
    let usage = json!({"input_tokens": 100, "output_tokens": 1});
    event(
        &mut out,
        "message_start",
        json!({"message": {"id": format!("msg_story_{turn}"), "type": "message", "role": "assistant",
            "model": "claude-opus-4-8", "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage}}),
    );
    let (block, delta, reason) = match step {
        Step::Call(tool, arguments) => (
            json!({"type": "tool_use", "id": format!("toolu_story_{turn}"), "name": tool, "input": {}}),
            json!({"type": "input_json_delta", "partial_json": arguments.to_string()}),
            "tool_use",
        ),
        Step::Say(text) => (
            json!({"type": "text", "text": ""}),
            json!({"type": "text_delta", "text": text}),
            "end_turn",
        ),
        Step::Refuse(_)
        | Step::NoModel
        | Step::Drop
        | Step::Wait(_)
        | Step::Item(_)
        | Step::Write(..) => {
            unreachable!("is no answer of Claude")
        }
    };
    event(
        &mut out,
        "content_block_start",
        json!({"index": 0, "content_block": block}),
    );
    event(
        &mut out,
        "content_block_delta",
        json!({"index": 0, "delta": delta}),
    );
    event(&mut out, "content_block_stop", json!({"index": 0}));
    event(
        &mut out,
        "message_delta",
        json!({"delta": {"stop_reason": reason, "stop_sequence": null}, "usage": {"output_tokens": 10}}),
    );
    event(&mut out, "message_stop", json!({}));
    out
}

/// One turn as OpenAI's Responses API streams it.
fn responses(turn: usize, mut items: Vec<Value>, step: &Step) -> String {
    let mut out = String::new();
    let id = format!("resp_story_{turn}");
    let item = match step {
        Step::Call(tool, arguments) => {
            let mut call = json!({
                "type": "function_call", "id": format!("fc_story_{turn}"), "status": "completed",
                "call_id": format!("call_story_{turn}"), "name": tool, "arguments": arguments.to_string(),
            });
            // Tools of an MCP server stand in a namespace of their own.
            if let Some((namespace, name)) = tool.rsplit_once("__") {
                call["namespace"] = namespace.into();
                call["name"] = name.into();
            }
            call
        }
        Step::Say(text) => json!({
            "type": "message", "id": format!("msg_story_{turn}"), "status": "completed", "role": "assistant",
            "content": [{"type": "output_text", "text": text, "annotations": []}],
        }),
        Step::Write(tool, text) => json!({
            "type": "custom_tool_call", "id": format!("ct_story_{turn}"), "status": "completed",
            "call_id": format!("call_story_{turn}"), "name": tool, "namespace": "functions", "input": text,
        }),
        Step::Refuse(_) | Step::NoModel | Step::Drop | Step::Wait(_) | Step::Item(_) => {
            unreachable!("is no answer of the model")
        }
    };
    event(
        &mut out,
        "response.created",
        json!({"response": {"id": id, "status": "in_progress"}}),
    );
    let thoughts = items.iter().filter(|item| item["type"] == "reasoning");
    let thought = 7 * thoughts.count();
    items.push(item);
    for (index, item) in items.iter().enumerate() {
        for kind in ["response.output_item.added", "response.output_item.done"] {
            event(&mut out, kind, json!({"output_index": index, "item": item}));
        }
    }
    let usage = json!({"input_tokens": 100, "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 10, "output_tokens_details": {"reasoning_tokens": thought}, "total_tokens": 110});
    event(
        &mut out,
        "response.completed",
        json!({"response": {"id": id, "status": "completed", "output": items, "usage": usage}}),
    );
    out
}
