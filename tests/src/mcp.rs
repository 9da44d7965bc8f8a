//! A plain MCP client over stdio: writes lines, reads lines, knows nothing of what they mean.

use crate::waiting::{PATIENCE, until_true};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// A server that was started, and what it said that nobody has asked for yet.
pub struct McpClient {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    heard: VecDeque<Value>,
    last: u64,
    meta: Value,
}

impl McpClient {
    /// Starts a server.
    #[track_caller]
    pub fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the server starts");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let (tell, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            stdin: child.stdin.take(),
            child,
            lines,
            heard: VecDeque::new(),
            last: 0,
            meta: Value::Null,
        }
    }

    /// Starts a server and shakes hands, as a client of this name.
    #[track_caller]
    pub fn greeted(command: Command, name: &str) -> Self {
        let mut client = Self::start(command);
        let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": name, "version": "1"}});
        client.ask("initialize", hello);
        client.notify("notifications/initialized", json!({}));
        client
    }

    /// Waits until the server has the gateway's tools: one that kept no list and heard nothing in its first 400 ms offers its own meanwhile.
    #[must_use]
    #[track_caller]
    pub fn served(mut self) -> Self {
        until_true("tools of the gateway", || self.names() != ["plexus_setup"]);
        let is_news = |message: &Value| message["method"] == "notifications/tools/list_changed";
        self.heard.retain(|message| !is_news(message));
        self
    }

    /// Speaks the stateless era from here on, with these capabilities.
    pub fn stateless(&mut self, name: &str, capabilities: Value) {
        self.meta = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": capabilities,
            "io.modelcontextprotocol/clientInfo": {"name": name, "version": "1"},
        });
    }

    /// Writes bytes and a line break.
    #[track_caller]
    pub fn write(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        writeln!(stdin, "{line}").expect("the server reads");
    }

    /// Sends a notification.
    #[track_caller]
    pub fn notify(&mut self, method: &str, params: Value) {
        self.write(&json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string());
    }

    /// Sends a request; gives its id.
    #[track_caller]
    pub fn send(&mut self, method: &str, mut params: Value) -> u64 {
        self.last += 1;
        if let Some(meta) = self.meta.as_object() {
            for (key, value) in meta {
                params["_meta"][key] = value.clone();
            }
        }
        let id = self.last;
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.write(&message.to_string());
        id
    }

    /// The first message that fits, now or to come; the others stay.
    #[track_caller]
    pub fn hear(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.heard.iter().position(&fits) {
            return self.heard.remove(at).expect("it is there");
        }
        let began = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(began.elapsed());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("waited in vain for {what}; heard {:#?}", self.heard);
            };
            let message: Value = serde_json::from_str(&line)
                .unwrap_or_else(|error| panic!("{error} in a line on stdout: {line}"));
            if fits(&message) {
                return message;
            }
            self.heard.push_back(message);
        }
    }

    /// The response to a request.
    #[track_caller]
    pub fn reply(&mut self, id: u64) -> Value {
        self.hear("a response", |message| message["id"] == id)
    }

    /// Holds that every message so far was asked for.
    #[track_caller]
    pub fn hear_nothing_else(&self) {
        assert!(self.heard.is_empty(), "{:#?}", self.heard);
    }

    /// Whether a response to `id` comes within `within`.
    pub fn is_answered(&mut self, id: u64, within: Duration) -> bool {
        let began = Instant::now();
        while let Ok(line) = self
            .lines
            .recv_timeout(within.saturating_sub(began.elapsed()))
        {
            self.heard.extend(serde_json::from_str::<Value>(&line).ok());
        }
        self.heard.iter().any(|message| message["id"] == id)
    }

    /// A request and its response.
    #[track_caller]
    pub fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params);
        self.reply(id)
    }

    /// The tools that are listed.
    #[track_caller]
    pub fn tools(&mut self) -> Vec<Value> {
        let reply = self.ask("tools/list", json!({}));
        let Value::Array(tools) = &reply["result"]["tools"] else {
            panic!("{reply}");
        };
        tools.clone()
    }

    /// The names of the tools that are listed.
    #[track_caller]
    pub fn names(&mut self) -> Vec<String> {
        let name = |tool: &Value| tool["name"].as_str().expect("a name").to_owned();
        self.tools().iter().map(name).collect()
    }

    /// Calls a tool; gives its result.
    #[track_caller]
    pub fn call(&mut self, name: &str, arguments: Value) -> Value {
        let params = json!({"name": name, "arguments": arguments});
        let reply = self.ask("tools/call", params);
        assert!(reply["result"].is_object(), "{reply}");
        reply["result"].clone()
    }

    /// Closes stdin; gives the exit status.
    #[track_caller]
    pub fn end(mut self) -> i32 {
        drop(self.stdin.take());
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return status.code().unwrap_or(-1);
            }
            assert!(began.elapsed() < PATIENCE, "it does not end with its input");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

impl Drop for McpClient {
    fn drop(&mut self) {
        drop(self.stdin.take());
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
