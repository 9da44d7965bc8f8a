//! What MCP costs: a list, a read by each way, tools of lent servers, a start without a gateway.
//!
//! Rounds are paired: ours and what it stands beside take turns, and the middle one of each counts, or the middle
//! difference. Reads are of one agent, over connections that stay open, and leave one record each.

use crate::figures::Figures;
use crate::life::{middle, ms};
use crate::load::{Connection, Target};
use crate::world::note;
use crate::world::signed_in;
use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plexus_tests::coding_agents::{other_gateway, server_packages};
use plexus_tests::mcp_web::{BIG_IMAGE, Era, McpWeb, TOKEN};
use plexus_tests::waiting::until;
use plexus_tests::{Agent, Client, Folder, Gateway, McpClient, Response};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Rounds of each pair; an odd number, for the middle one counts.
const ROUNDS: usize = 101;
/// Rounds of those whose call needs the owner first, or starts a process.
const SLOW_ROUNDS: usize = 15;
/// What the two agents with the long lists see.
const MANY: usize = 500;
const LISTED: usize = 100;
/// A read, as `/invoke` and as MCP name it.
const READ: (&str, &str) = ("obsidian.vault.read", "obsidian_vault_read");
/// How many call at once while a sign-in is renewed.
const SESSIONS: usize = 8;
/// How long the token endpoint of the renewals takes: long, beside all that is Plexus's own.
const EXCHANGE: Duration = Duration::from_millis(200);
/// The session of a client of the server at a URL, which knows one.
const SESSION: (&str, &str) = ("mcp-session-id", "session-1");

/// All of it.
pub(crate) fn measure(into: &mut Figures) -> Result<()> {
    lists(into)?;
    reads_and_starts(into)?;
    server_at_a_url(into)?;
    image(into)?;
    renewal(into)?;
    program(into)
}

/// A request of the era with a handshake.
fn request(method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
}

fn tool_call(tool: &str, arguments: Value) -> Value {
    request("tools/call", json!({"name": tool, "arguments": arguments}))
}

/// What an agent posts to `/mcp`.
fn posted(gateway: &Gateway, agent: &Agent, message: &Value) -> Target {
    let (port, server) = (gateway.port(), gateway.pid());
    Target {
        path: "/mcp",
        ..Target::call(port, server, &agent.pat, &message.to_string())
    }
}

/// `plexus mcp` of an agent, with a home of the person's.
fn stdio(gateway: &Gateway, agent: &Agent, home: &Path) -> Command {
    let mut command = gateway.plexus_command(&agent.id, ["mcp"]);
    command.env("PLEXUS_PAT", &agent.pat).env("HOME", home);
    command
}

/// What one agent may do is no part of what is measured.
fn unbounded(gateway: &Gateway, agent: &Agent) {
    let most = json!({"callsPerSecond": 1_000_000, "ledgerBytesPerDay": 1_u64 << 40});
    gateway.owner().limit(&agent.id, most).expect_ok();
}

/// The list of an agent that sees all of many sources, and of one that sees as many capabilities as are listed at most.
fn lists(into: &mut Figures) -> Result<()> {
    let gateway = Gateway::builder().fixture().start();
    let owner = gateway.owner();
    let scout = gateway.agent("scout");
    let mut folders = Vec::new();
    let callable = |ids: Vec<String>| -> Vec<String> {
        let is_guide = |id: &String| id.ends_with(".how-to-misbehave");
        ids.into_iter().filter(|id| !is_guide(id)).collect()
    };
    while callable(scout.sees()).len() < MANY {
        let folder = Folder::empty();
        let source = json!({"id": format!("shelf-{}", folders.len()), "kind": "fixture-dir",
            "label": "Shelf", "route": {"path": folder.path()}});
        owner.client.post("/admin/api/sources", source).expect_ok();
        folders.push(folder);
    }
    // A search names those on which a grant stands, up to a number.
    let reads: Vec<String> = (0..folders.len())
        .map(|n| format!("shelf-{n}.echo"))
        .collect();
    let reads: Vec<&str> = reads.iter().map(String::as_str).collect();
    let many = gateway.agent_with("many", &reads);
    let some = callable(many.sees());
    let some = json!({"agentId": "some", "capabilities": some[..LISTED], "reach": "selected"});
    let connected = owner.connect_as(some).expect_ok();
    let code = connected["code"].as_str().context("no code")?;
    let some = Agent::enroll(&gateway.client(), code);
    for (name, agent) in [(MANY, &many), (LISTED, &some)] {
        unbounded(&gateway, agent);
        let list = posted(&gateway, agent, &request("tools/list", json!({}))).bytes(0);
        let mut connection = Connection::open(gateway.port())?;
        let mut times = Vec::new();
        for round in 0..=ROUNDS {
            let time = ms(|| {
                ensure!(connection.exchange(&list)?, "a refusal");
                Ok(())
            })?;
            // The first one makes the list.
            if round > 0 {
                times.push(time);
            }
        }
        let listed: Value = serde_json::from_slice(connection.body())?;
        let tools = listed["result"]["tools"].as_array().map_or(0, Vec::len);
        ensure!((tools > LISTED) == (name == LISTED), "{tools} tools");
        into.set(&format!("mcp/list/{name}/us"), middle(times) * 1e3);
        into.set(&format!("mcp/list/{name}/tools"), tools as f64);
        let mut client =
            McpClient::greeted(stdio(&gateway, agent, gateway.home()), "bench").served();
        let times = (0..ROUNDS).map(|_| {
            ms(|| {
                ensure!(client.tools().len() == tools, "another list");
                Ok(())
            })
        });
        let times = times.collect::<Result<_>>()?;
        into.set(&format!("mcp/list/{name}-stdio/us"), middle(times) * 1e3);
    }
    Ok(())
}

/// A note by each way; then what a client is shown that starts `plexus mcp` without a gateway.
fn reads_and_starts(into: &mut Figures) -> Result<()> {
    let vault = Folder::empty();
    vault.write("note.md", note());
    let mut gateway = Gateway::builder().vault(&vault.path()).start();
    let agent = gateway.agent_with("bench", &[READ.0]);
    unbounded(&gateway, &agent);
    let input = json!({"path": "note.md"});
    // Without a token of its own for the caller, as `plexus mcp` asks.
    let body = json!({"id": READ.0, "input": input, "token": false}).to_string();
    let invoke = Target::call(gateway.port(), gateway.pid(), "", &body);
    let invoke = invoke.with("x-plexus-session", &agent.session).bytes(0);
    let mcp = posted(&gateway, &agent, &tool_call(READ.1, input.clone())).bytes(0);
    let (mut by_invoke, mut by_mcp) = (
        Connection::open(gateway.port())?,
        Connection::open(gateway.port())?,
    );
    let mut client = McpClient::greeted(stdio(&gateway, &agent, gateway.home()), "bench").served();
    let (mut bare, mut http, mut added) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let one = |connection: &mut Connection, request: &[u8]| {
            let time = ms(|| {
                ensure!(connection.exchange(request)?, "a refusal");
                Ok(())
            })?;
            let text = String::from_utf8_lossy(connection.body());
            ensure!(text.contains("one word, one meaning"), "{text}");
            anyhow::Ok(time)
        };
        let (first, second) = (one(&mut by_invoke, &invoke)?, one(&mut by_mcp, &mcp)?);
        let third = ms(|| {
            let result = client.call(READ.1, input.clone());
            ensure!(result.get("isError").is_none(), "{result}");
            Ok(())
        })?;
        // The first ones start the worker and open sessions.
        if round > 0 {
            bare.push(first);
            http.push(second);
            added.push(third - first);
        }
    }
    drop(client);
    into.set("mcp/read/invoke/us", middle(bare) * 1e3);
    into.set("mcp/read/http/us", middle(http) * 1e3);
    into.set("mcp/read/stdio-added/us", middle(added) * 1e3);

    let starts = |gateway: &Gateway, home: Option<&Path>| {
        let times = (0..SLOW_ROUNDS).map(|_| {
            let empty = Folder::empty();
            let home = home.map_or_else(|| empty.path(), Path::to_owned);
            started(stdio(gateway, &agent, &home))
        });
        anyhow::Ok(middle(times.collect::<Result<_>>()?))
    };
    let kept = gateway.home().to_owned();
    // Without a kept list the gateway is waited for.
    into.set("mcp/start/first/ms", starts(&gateway, None)?);
    let daemon = Pid::from_raw(i32::try_from(gateway.pid())?);
    // Stopped: the system takes connections in its place.
    kill(daemon, Signal::SIGSTOP)?;
    let silent = starts(&gateway, Some(&kept));
    kill(daemon, Signal::SIGCONT)?;
    into.set("mcp/start/silent/ms", silent?);
    // Its sockets lead nowhere now.
    gateway.kill9();
    into.set("mcp/start/down/ms", starts(&gateway, Some(&kept))?);
    Ok(())
}

/// From the start of `plexus mcp` to its list, in ms.
fn started(command: Command) -> Result<f64> {
    ms(|| {
        let _ = McpClient::greeted(command, "bench").served();
        Ok(())
    })
}

/// One exchange on a connection of its own.
fn exchange(client: &Client, path: &str, body: &Value) -> Result<Response> {
    let request = client.request("POST", path).json(body.clone());
    let answer = client.raw(&request.bytes_on_wire());
    let answer = Response::parse(path, &answer).context("no answer")?;
    ensure!((200..300).contains(&answer.status), "{answer}");
    Ok(answer)
}

/// One exchange whose answer has `words` in it, in ms.
fn timed(client: &Client, path: &str, body: &Value, words: &str) -> Result<f64> {
    ms(|| {
        let answer = exchange(client, path, body)?;
        ensure!(answer.text().contains(words), "{answer}");
        Ok(())
    })
}

/// What an agent calls by `/invoke`.
fn called(id: &str, input: &Value) -> Value {
    json!({"id": id, "input": input, "token": false})
}

/// A read of a server at a URL: its egress, a handshake, the list and the call, beside the call alone.
fn server_at_a_url(into: &mut Figures) -> Result<()> {
    let (gateway, folder) = (Gateway::start(), Folder::empty());
    let web = McpWeb::start(Era::Handshake);
    folder.write("token", TOKEN);
    let secret = format!("authorization={}", folder.path().join("token").display());
    let url = web.url();
    let add = ["mcp", "add", "web", "--url", &url, "--secret", &secret];
    gateway.must_cli([&add[..], &["--read", "look", "--yes"]].concat());
    let agent = gateway.agent_with("bench", &["web.look"]);
    unbounded(&gateway, &agent);
    let direct = Client::tcp(web.port()).with("authorization", &format!("Bearer {TOKEN}"));
    let direct = direct.with(SESSION.0, SESSION.1);
    let (mut bare, mut ours, mut added) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let alone = timed(&direct, "/mcp", &tool_call("look", json!({})), "look")?;
        let call = called("web.look", &json!({}));
        let lent = timed(&agent.client(), "/invoke", &call, "look")?;
        if round > 0 {
            bare.push(alone);
            ours.push(lent);
            added.push(lent - alone);
        }
    }
    into.set("mcp/tool/url-alone/us", middle(bare) * 1e3);
    into.set("mcp/tool/url/us", middle(ours) * 1e3);
    into.set("mcp/tool/url-added/us", middle(added) * 1e3);
    Ok(())
}

/// An image of 5 MB by `/mcp`: what comes over the wire, beside its bytes and beside the text that they are in JSON.
fn image(into: &mut Figures) -> Result<()> {
    let (gateway, folder) = (Gateway::start(), Folder::empty());
    let web = McpWeb::start(Era::Handshake);
    folder.write("token", TOKEN);
    let secret = format!("authorization={}", folder.path().join("token").display());
    let url = format!("{}?checks=big", web.url());
    let add = ["mcp", "add", "big", "--url", &url, "--secret", &secret];
    gateway.must_cli([&add[..], &["--read", BIG_IMAGE.0, "--yes"]].concat());
    let agent = gateway.agent_with("bench", &["big.image"]);
    unbounded(&gateway, &agent);
    let call = posted(&gateway, &agent, &tool_call("big_image", json!({}))).bytes(0);
    let mut connection = Connection::open(gateway.port())?;
    let mut times = Vec::new();
    for round in 0..=SLOW_ROUNDS {
        let time = ms(|| {
            ensure!(connection.exchange(&call)?, "a refusal");
            Ok(())
        })?;
        if round > 0 {
            times.push(time);
        }
    }
    let came = connection.body().len();
    ensure!(
        came > BIG_IMAGE.1,
        "{}",
        String::from_utf8_lossy(connection.body())
    );
    let text = BIG_IMAGE.1.div_ceil(3) * 4;
    into.set("mcp/image/ms", middle(times));
    into.set("mcp/image/of-its-bytes", came as f64 / BIG_IMAGE.1 as f64);
    into.set("mcp/image/of-its-text", came as f64 / text as f64);
    Ok(())
}

/// Eight sessions call at once: with a token that is good, and with one that the server does not take any more. What the latter
/// take longer, in exchanges with the token endpoint.
fn renewal(into: &mut Figures) -> Result<()> {
    let gateway = Gateway::start();
    let web = signed_in(&gateway);
    let agents: Vec<Agent> = (0..SESSIONS)
        .map(|n| gateway.agent_with(&format!("bench-{n}"), &["notes.look"]))
        .collect();
    for agent in &agents {
        unbounded(&gateway, agent);
    }
    let all = || {
        ms(|| {
            let call = called("notes.look", &json!({}));
            std::thread::scope(|scope| {
                let calls = agents.iter().map(|agent| {
                    let call = &call;
                    scope.spawn(move || timed(&agent.client(), "/invoke", call, "look"))
                });
                let calls: Vec<_> = calls.collect();
                for call in calls {
                    call.join().ok().context("a call panicked")??;
                }
                Ok(())
            })
        })
    };
    all()?;
    web.takes(EXCHANGE);
    let (mut good, mut renewed) = (Vec::new(), Vec::new());
    for _ in 0..SLOW_ROUNDS {
        good.push(all()?);
        let before = web.tokens().1;
        web.expire();
        renewed.push(all()?);
        ensure!(web.tokens().1 == before + 1, "more than one renewal");
    }
    let added = good
        .iter()
        .zip(&renewed)
        .map(|(good, renewed)| renewed - good);
    let added = middle(added.collect());
    into.set("mcp/renewal/added/ms", added);
    into.set(
        "mcp/renewal/exchanges",
        added / EXCHANGE.as_secs_f64() / 1e3,
    );
    into.set("mcp/renewal/good/ms", middle(good));
    into.set("mcp/renewal/renewed/ms", middle(renewed));
    Ok(())
}

/// A program from npm: a call of the one that the writer keeps, approved before the clock, beside the program alone and
/// beside another gateway; and a read, which starts a program each time, beside just that.
fn program(into: &mut Figures) -> Result<()> {
    let (gateway, folder, place) = (Gateway::start(), Folder::empty(), Folder::empty());
    let (code, script) = server_packages(&place);
    let (code, script) = (code.display().to_string(), script.display().to_string());
    let held = folder.path().display().to_string();
    let memory = format!("MEMORY_FILE_PATH={held}/memory.jsonl");
    let add = ["mcp", "add", "memory", "--env", &memory, "--folder", &held];
    let more = ["--code", &code, "--read", "read_graph", "--yes", "--"];
    let typed = [&add[..], &more, &["/usr/bin/node", &script]].concat();
    gateway.cli(typed).expect_ok();
    let agent = gateway.agent_with("bench", &["memory.read_graph", "memory.open_nodes"]);
    unbounded(&gateway, &agent);
    let start = || {
        let mut command = Command::new("/usr/bin/node");
        let memory = format!("{held}/alone.jsonl");
        command.arg(&script).env("MEMORY_FILE_PATH", memory);
        command
    };
    let mut alone = McpClient::greeted(start(), "bench");
    let mut other = Other::start(&start())?;
    let (mut bare, mut ours, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    let mut added = Vec::new();
    for round in 0..=SLOW_ROUNDS {
        let input = json!({"names": [format!("n{round}")]});
        let item = agent.must_ask("memory.open_nodes", input.clone());
        gateway.owner().approve(&item, "once");
        let direct = ms(|| {
            let result = alone.call("open_nodes", input.clone());
            ensure!(result["isError"] != true, "{result}");
            Ok(())
        })?;
        let call = called("memory.open_nodes", &input);
        let lent = timed(&agent.client(), "/invoke", &call, "entities")?;
        let beside = other.as_mut().map(|other| other.call(&input)).transpose()?;
        if round > 0 {
            bare.push(direct);
            ours.push(lent);
            added.push(lent - direct);
            theirs.extend(beside);
        }
    }
    into.set("mcp/tool/kept-alone/us", middle(bare) * 1e3);
    into.set("mcp/tool/kept/us", middle(ours) * 1e3);
    into.set("mcp/tool/kept-added/us", middle(added) * 1e3);
    if !theirs.is_empty() {
        into.set("mcp/tool/mcp-proxy/us", middle(theirs) * 1e3);
    }
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..SLOW_ROUNDS {
        bare.push(ms(|| {
            let mut fresh = McpClient::greeted(start(), "bench");
            ensure!(!fresh.tools().is_empty(), "no tools");
            let result = fresh.call("read_graph", json!({}));
            ensure!(result["isError"] != true, "{result}");
            Ok(())
        })?);
        let call = called("memory.read_graph", &json!({}));
        ours.push(timed(&agent.client(), "/invoke", &call, "entities")?);
    }
    into.set("mcp/tool/started-alone/ms", middle(bare));
    into.set("mcp/tool/started/ms", middle(ours));
    Ok(())
}

/// Another gateway, which carries HTTP to a program: it asks nobody and records nothing.
struct Other {
    process: Child,
    client: Client,
    connection: Connection,
}

impl Other {
    /// Starts it before a server, and says hello. None where it is not installed.
    fn start(server: &Command) -> Result<Option<Self>> {
        let Some(mut command) = other_gateway() else {
            return Ok(None);
        };
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        command
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .args(["--server", "stream", "--"])
            .arg(server.get_program())
            .args(server.get_args());
        for (name, value) in server.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        let process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        until("the other gateway", || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()
        });
        let accept = "application/json, text/event-stream";
        let mut other = Self {
            process,
            client: Client::tcp(port).with("accept", accept),
            connection: Connection::open(port)?,
        };
        let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}});
        other.post(request("initialize", hello))?;
        let session = other.connection.header(SESSION.0).context("no session")?;
        other.client = other.client.with(SESSION.0, session);
        other.post(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))?;
        Ok(Some(other))
    }

    fn post(&mut self, message: Value) -> Result<()> {
        let request = self.client.request("POST", "/mcp").json(message);
        let done = self.connection.exchange(&request.bytes_kept_alive())?;
        ensure!(done, "the other gateway refuses");
        Ok(())
    }

    fn call(&mut self, input: &Value) -> Result<f64> {
        let call = tool_call("open_nodes", input.clone());
        let time = ms(|| self.post(call))?;
        let text = String::from_utf8_lossy(self.connection.body());
        ensure!(text.contains("entities"), "{text}");
        Ok(time)
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // Asked to end, it ends the server that it started.
        if let Ok(pid) = i32::try_from(self.process.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let _ = self.process.wait();
    }
}
