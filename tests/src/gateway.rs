//! A gateway under test.
//!
//! ```text
//! Builder ──start──▶ running ──stop | kill──▶ stopped ──start_again──▶ running
//! ```
//! Invariant: at most one daemon per `Gateway`. Invariant: after `stop` nothing that the daemon started is left.

use crate::agent::Agent;
use crate::binaries;
use crate::clock::{Clock, Machine};
use crate::fault::Fault;
use crate::http::Client;
use crate::log_lines;
use crate::owner::Owner;
use crate::processes::{self, Process};
use crate::programs::{self, Said};
use crate::waiting::{PATIENCE, until, until_true};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

/// How to start a gateway.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    fixture: bool,
    programs: Option<PathBuf>,
    kernel: Option<String>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Builder {
    /// Lets it reach a vault.
    #[must_use]
    pub fn vault(self, folder: &Path) -> Self {
        self.arg("--vault").arg(&folder.to_string_lossy())
    }
    /// Lets it reach a folder.
    #[must_use]
    pub fn workspace(self, folder: &Path) -> Self {
        self.arg("--workspace").arg(&folder.to_string_lossy())
    }
    /// Runs `plexusd-fixture`: the same code with one more connector.
    #[must_use]
    pub fn fixture(mut self) -> Self {
        self.fixture = true;
        self
    }
    /// Runs the daemon that lies in `folder`, with the workers there.
    #[must_use]
    pub fn programs(mut self, folder: &Path) -> Self {
        self.programs = Some(folder.to_owned());
        self
    }
    /// Runs it, and whatever it starts, as if on another kernel: `missing`, `off`, or a version of Landlock.
    #[must_use]
    pub fn kernel(mut self, kernel: &str) -> Self {
        self.kernel = Some(kernel.to_owned());
        self
    }
    /// Lets the daemon look at a clock that the test moves.
    #[must_use]
    #[track_caller]
    pub fn clock(mut self, clock: &Clock) -> Self {
        self.environment.extend(clock.variables());
        self
    }
    /// Lets the daemon live on a machine that the test puts to sleep.
    #[must_use]
    #[track_caller]
    pub fn machine(mut self, machine: &Machine) -> Self {
        self.environment.extend(machine.variables());
        self
    }
    /// Lets the daemon live with a fault that a test begins.
    #[must_use]
    #[track_caller]
    pub fn fault(mut self, fault: &Fault) -> Self {
        self.environment.extend(fault.variables());
        self
    }
    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }
    /// Adds a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }
    /// Starts it on a fresh home and waits until it is ready.
    #[must_use]
    #[track_caller]
    pub fn start(self) -> Gateway {
        // Short, because sockets lie in it and their paths are bounded.
        self.start_in(TempDir::with_prefix("plx").expect("a temporary folder"))
    }
    /// Starts it on a home that is there already; its state directory is `state` in it.
    #[must_use]
    #[track_caller]
    pub fn start_in(self, home: TempDir) -> Gateway {
        let (daemon, ready) = Daemon::start(&self, home.path());
        Gateway {
            builder: self,
            home,
            daemon: Some(daemon),
            ready,
        }
    }
    /// Starts it where it must refuse to start; gives what it said.
    #[must_use]
    #[track_caller]
    pub fn refused(self, home: &Path) -> Said {
        programs::run(self.command(home))
    }
    fn command(&self, home: &Path) -> std::process::Command {
        let name = if self.fixture {
            "plexusd-fixture"
        } else {
            "plexusd"
        };
        let program = match &self.programs {
            Some(folder) => folder.join(name),
            None => binaries::path(name),
        };
        let mut command = match &self.kernel {
            None => programs::command(&program, home),
            Some(kernel) => {
                let mut command = programs::command(&binaries::path("plexus-old-kernel"), home);
                command.arg(kernel).arg(program);
                command
            }
        };
        command
            .arg("--home")
            .arg(home.join("state"))
            .args(["--port", "0"])
            .args(&self.arguments)
            .envs(self.environment.iter().cloned());
        command
    }
}

/// A gateway with its own home.
pub struct Gateway {
    builder: Builder,
    home: TempDir,
    daemon: Option<Daemon>,
    ready: Value,
}

impl Gateway {
    /// A gateway with nothing to reach.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        Self::builder().start()
    }
    /// A gateway to be described.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }
    /// The port it bound.
    #[must_use]
    #[track_caller]
    pub fn port(&self) -> u16 {
        let port = self.ready["port"].as_u64().map(u16::try_from);
        let Some(Ok(port)) = port else {
            panic!("no port in {}", self.ready);
        };
        port
    }
    /// The advertised address.
    #[must_use]
    pub fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }
    /// The object of the ready line.
    #[must_use]
    pub fn ready(&self) -> &Value {
        &self.ready
    }
    /// Its state directory.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.home.path().join("state")
    }
    /// The person's home folder.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }
    /// A file of the state directory, as text.
    #[must_use]
    #[track_caller]
    pub fn state_file(&self, name: &str) -> String {
        let path = self.state().join(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => panic!("{}: {error}", path.display()),
        }
    }
    /// Speaks TCP without a credential.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::tcp(self.port())
    }
    /// Speaks through the agents' socket.
    #[must_use]
    pub fn agent_socket(&self) -> Client {
        Client::unix(&self.state().join("run/agent/agent.sock"))
    }
    /// Speaks through the owner's socket.
    #[must_use]
    pub fn owner_socket(&self) -> Client {
        Client::unix(&self.state().join("run/owner/owner.sock"))
    }
    /// The connection key.
    #[must_use]
    #[track_caller]
    pub fn key(&self) -> String {
        self.state_file("connection-key").trim().to_owned()
    }
    /// The console, signed in as the owner's browser is.
    #[must_use]
    #[track_caller]
    pub fn console(&self) -> Client {
        let at = format!("localhost:{}", self.port());
        let page = self.client().with("host", &at);
        let page = page.with("origin", &format!("http://{at}"));
        let opened = page.post("/admin/console/sign-in", json!({"key": self.key()}));
        let cookie = opened.header("set-cookie").expect("a cookie");
        let page = page.with("cookie", cookie.split(';').next().expect("a pair"));
        page.with("x-plexus-tab", &opened.text_at("/tab"))
    }
    /// A page of the console, as HTML, after a sign-in of its own.
    #[must_use]
    #[track_caller]
    pub fn console_page(&self, path: &str) -> String {
        self.console().get(path).text()
    }
    /// The owner, over TCP.
    #[must_use]
    #[track_caller]
    pub fn owner(&self) -> Owner {
        Owner::new(&self.client(), &self.key())
    }
    /// Every event of the log, oldest first, as it is exported.
    #[must_use]
    #[track_caller]
    pub fn log(&self) -> Vec<Value> {
        self.cli(["audit", "export"])
            .expect_ok()
            .lines()
            .map(|line| {
                let (_, event) = line.split_once(' ').expect("a hash, then JSON");
                serde_json::from_str(event).expect("JSON")
            })
            .collect()
    }
    /// Connects, enrolls and opens a session for an agent to which nothing is granted.
    #[must_use]
    #[track_caller]
    pub fn agent(&self, id: &str) -> Agent {
        self.agent_with(id, &[])
    }
    /// Connects an agent to `capabilities`, enrolls it and opens a session.
    #[must_use]
    #[track_caller]
    pub fn agent_with(&self, id: &str, capabilities: &[&str]) -> Agent {
        self.agent_as(json!({"agentId": id, "capabilities": capabilities}))
    }
    /// As [`Gateway::agent_with`], for capabilities of one source.
    #[must_use]
    #[track_caller]
    pub fn agent_of(&self, id: &str, source: &str, names: &[&str]) -> Agent {
        let names = names.iter().map(|name| format!("{source}.{name}"));
        self.agent_as(json!({"agentId": id, "capabilities": names.collect::<Vec<_>>()}))
    }
    /// Lends the server that does what it is asked to, as `rude`, and connects an agent that has its questions.
    #[must_use]
    #[track_caller]
    pub fn lend_rude(&self, folder: &crate::Folder) -> Agent {
        folder.write("words", "Does");
        let path = folder.path().display().to_string();
        let program = binaries::path("plexus-mcp-rude").display().to_string();
        let add = [
            "mcp", "add", "rude", "--folder", &path, "--yes", "--", &program, &path,
        ];
        self.cli(add).expect_ok();
        self.agent_with("caller", &["rude.ask", "rude.sample"])
    }
    /// Connects an agent with any body, enrolls it and opens a session.
    #[track_caller]
    pub fn agent_as(&self, body: Value) -> Agent {
        let connected = self.owner().connect_as(body).expect_ok();
        Agent::enroll(&self.client(), connected["code"].as_str().expect("a code"))
    }
    /// The same agent after a restart, which ends its session and not its credential.
    #[must_use]
    #[track_caller]
    pub fn back(&self, agent: &Agent) -> Agent {
        Agent::with_pat(&self.client(), &agent.id, &agent.pat)
    }
    /// Types an owner's command, saying that a person does.
    #[must_use]
    #[track_caller]
    pub fn cli<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Said {
        let mut command = programs::command(&binaries::path("plexusctl"), self.home());
        command
            .env("PLEXUS_HOME", self.state())
            .arg("--i-am-the-owner")
            .args(arguments);
        programs::run(command)
    }
    /// As [`Gateway::cli`], and holds that it succeeded.
    #[track_caller]
    pub fn must_cli<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) {
        self.cli(arguments).expect_ok();
    }
    /// An owner's command, to be started on a terminal: with colours, and with nothing that swears for its owner.
    #[must_use]
    #[track_caller]
    pub fn on_terminal<'a>(
        &self,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> std::process::Command {
        let mut command = programs::command(&binaries::path("plexusctl"), self.home());
        command
            .env_remove("NO_COLOR")
            .env("PLEXUS_HOME", self.state())
            .args(arguments);
        command
    }
    /// Types an agent's command.
    #[must_use]
    #[track_caller]
    pub fn plexus<'a>(&self, agent: &str, arguments: impl IntoIterator<Item = &'a str>) -> Said {
        programs::run(self.plexus_command(agent, arguments))
    }
    /// An agent's command, to be started.
    #[must_use]
    #[track_caller]
    pub fn plexus_command<'a>(
        &self,
        agent: &str,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> std::process::Command {
        let mut command = programs::command(&binaries::path("plexus"), self.home());
        command
            .env("PLEXUS_HOME", self.state())
            .env("PLEXUS_AGENT_ID", agent)
            .args(arguments);
        command
    }
    /// What the daemon said on standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.daemon.as_ref().map(Daemon::stderr).unwrap_or_default()
    }
    /// The daemon's pid.
    #[must_use]
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("the gateway runs").child.id()
    }
    /// The processes it started that run now.
    #[must_use]
    #[track_caller]
    pub fn workers(&self) -> Vec<Process> {
        processes::below(self.pid())
    }
    /// Those of them that run this program.
    #[must_use]
    #[track_caller]
    pub fn processes(&self, program: &str) -> Vec<Process> {
        let mut all = self.workers();
        // The system keeps 15 bytes of a name. An agent's own `plexus` is no `plexus-worker-codex`.
        all.retain(|process| process.name == program[..program.len().min(15)]);
        all
    }
    /// The newest of them, once it is there.
    #[must_use]
    #[track_caller]
    pub fn process(&self, program: &str) -> Process {
        until(program, || self.processes(program).pop())
    }
    /// Asks it to stop and waits; holds that nothing it started is left.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.end(Signal::SIGTERM)
    }
    /// Waits for the end of one that was asked to stop already; holds that nothing it started is left.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        // Says nothing to a process that runs.
        self.end(Signal::SIGCONT)
    }
    /// Ends it without a word; holds that nothing it started is left.
    #[track_caller]
    pub fn kill9(&mut self) {
        self.end(Signal::SIGKILL);
    }
    /// Ends it without a word, where a story keeps something that it started alive.
    #[track_caller]
    pub fn kill9_alone(&mut self) {
        let daemon = self.daemon.take().expect("the gateway runs");
        daemon.end(Signal::SIGKILL);
    }
    /// Starts it again on the same home.
    #[track_caller]
    pub fn start_again(&mut self) {
        assert!(self.daemon.is_none(), "it runs");
        let (daemon, ready) = Daemon::start(&self.builder, self.home.path());
        self.daemon = Some(daemon);
        self.ready = ready;
    }
    /// Starts it again on the same home, and ends it without a word when `after` has passed; true if it did not serve yet.
    /// Holds that nothing it started is left.
    #[track_caller]
    pub fn start_cut_short(&mut self, after: Duration) -> bool {
        assert!(self.daemon.is_none(), "it runs");
        let (daemon, ready) = Daemon::spawn(&self.builder, self.home.path());
        let served = ready.recv_timeout(after).is_ok();
        self.daemon = Some(daemon);
        self.kill9();
        // It may have come to serve while it was being ended; then it said so before its output ended.
        !served && ready.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Disconnected)
    }
    /// Starts it again on the same home, described otherwise.
    #[track_caller]
    pub fn start_again_as(&mut self, builder: Builder) {
        self.builder = builder;
        self.start_again();
    }
    /// Stops it and starts it again.
    #[track_caller]
    pub fn restart(&mut self) {
        assert!(self.stop().success(), "a clean stop");
        self.start_again();
    }
    #[track_caller]
    fn end(&mut self, signal: Signal) -> ExitStatus {
        let daemon = self.daemon.take().expect("the gateway runs");
        let below = processes::below(daemon.child.id());
        let status = daemon.end(signal);
        until_true("the end of everything the gateway started", || {
            below.iter().all(|process| !process.alive())
        });
        log_lines::check(&self.state());
        status
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            if let Some(daemon) = self.daemon.take() {
                let said = daemon.end(Signal::SIGTERM);
                eprint!("the gateway ended with {said}");
            }
        } else if self.daemon.is_some() {
            self.stop();
        }
    }
}

/// The child process, and what its outputs say.
struct Daemon {
    child: Child,
    stderr: Arc<Mutex<String>>,
    /// Gives one message when standard error ends: when the daemon, and everything that inherited it, is gone.
    gone: Mutex<Receiver<()>>,
}

impl Daemon {
    /// Spawns it; what it says when it serves comes by the channel.
    #[track_caller]
    fn spawn(builder: &Builder, home: &Path) -> (Self, Receiver<String>) {
        let mut child = builder
            .command(home)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the gateway starts");

        let stderr = Arc::new(Mutex::new(String::new()));
        let (said_gone, gone) = channel();
        let pipe = child.stderr.take().expect("a pipe");
        let log = Arc::clone(&stderr);
        std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = pipe.read(&mut bytes) {
                log.lock()
                    .expect("nobody panics with it")
                    .push_str(&String::from_utf8_lossy(&bytes[..read]));
            }
            let _ = said_gone.send(());
        });

        let (say_ready, ready) = channel();
        let pipe = child.stdout.take().expect("a pipe");
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if let Some(facts) = line.strip_prefix("PLEXUS_READY ") {
                    let _ = say_ready.send(facts.to_owned());
                }
            }
        });

        let daemon = Self {
            child,
            stderr,
            gone: Mutex::new(gone),
        };
        (daemon, ready)
    }
    #[track_caller]
    fn start(builder: &Builder, home: &Path) -> (Self, Value) {
        let (daemon, ready) = Self::spawn(builder, home);
        match ready.recv_timeout(PATIENCE) {
            Ok(facts) => {
                let facts = serde_json::from_str(&facts)
                    .unwrap_or_else(|error| panic!("the ready line says {facts:?}: {error}"));
                (daemon, facts)
            }
            Err(_) => {
                let said = daemon.stderr();
                let _ = daemon.end(Signal::SIGKILL);
                panic!("the gateway did not become ready; it said:\n{said}");
            }
        }
    }
    fn stderr(&self) -> String {
        self.stderr.lock().expect("nobody panics with it").clone()
    }
    /// Sends a signal and waits for the end. The child is not reaped before, so its pid is its own until then.
    #[track_caller]
    fn end(mut self, signal: Signal) -> ExitStatus {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        kill(Pid::from_raw(pid), signal).expect("the daemon is our child");
        let gone = self.gone.get_mut().expect("nobody panics with it");
        if gone.recv_timeout(PATIENCE).is_err() {
            let _ = self.child.kill();
            let said = self.stderr();
            assert!(
                std::thread::panicking(),
                "the gateway did not end on {signal}; it said:\n{said}"
            );
        }
        let status = self.child.wait().expect("the daemon is our child");
        if std::thread::panicking() {
            eprintln!("--- the gateway said\n{}", self.stderr());
        }
        status
    }
}
