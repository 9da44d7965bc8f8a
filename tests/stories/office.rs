//! An office for stories of channels: a real relay, a person, and peers that run the real Codex on a scripted model.

use crate::nats::Nats;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plexus_channels::Id;
use plexus_channels::account::{Account, AccountError};
use plexus_channels::api::Cursor;
use plexus_channels::crypto::Content;
use plexus_channels::dial::{Dial, Direct, Endpoint};
use plexus_channels::identity::{Home, Registration};
use plexus_channels::wire::Message;
use plexus_tests::programs::command;
use plexus_tests::waiting::{self, PATIENCE, lines, until, until_true};
use plexus_tests::{Model, Step, binaries, coding_agents};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A program that a story started; it goes with the value.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    /// Starts it, and waits for its line of this word.
    #[track_caller]
    pub(crate) fn start(mut command: Command, word: &str, log: &Path) -> (Self, Value) {
        let log_file = File::options().create(true).append(true).open(log);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(log_file.expect("a log"))
            .spawn()
            .expect("it starts");
        let stdout = child.stdout.take().expect("a pipe");
        let running = Self(child);
        let line = lines(stdout).next().unwrap_or_default();
        let ready = line.strip_prefix(word).unwrap_or_else(|| {
            let log = fs::read_to_string(log).unwrap_or_default();
            panic!("not ready: {line}\n{log}")
        });
        (running, serde_json::from_str(ready).expect("JSON"))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).expect("a pid"));
        kill(pid, signal).expect("our child");
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.try_wait().expect("our child").is_some()
    }

    /// SIGKILL, and reaped.
    pub(crate) fn kill(&mut self) {
        // One that has ended is reaped already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    #[track_caller]
    pub(crate) fn ended(mut self) -> ExitStatus {
        waiting::ended("the program", &mut self.0)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A file of the tests' certificate authority.
pub(crate) fn tls_file(name: &str) -> String {
    plexus_tests::tls(name).display().to_string()
}

/// A relay with its store in a folder, or on servers of NATS.
fn start(
    folder: &TempDir,
    servers: Option<&Nats>,
    listen: &str,
    has_certificate: bool,
) -> (Running, Value) {
    let mut command = command(&binaries::path("plexus-relay"), folder.path());
    command
        .arg("serve")
        .args(store(folder, servers))
        .args(["--listen", listen])
        .args(["--device-rate", "0", "--address-rate", "0"]);
    if has_certificate {
        command
            .args(["--tls-certificate", &tls_file("server.pem")])
            .args(["--tls-key", &tls_file("server.key")]);
    }
    let log = folder.path().join("relay.log");
    Running::start(command, "PLEXUS_RELAY_READY ", &log)
}

fn store(folder: &TempDir, servers: Option<&Nats>) -> Vec<String> {
    let file = folder.path().join("store").display().to_string();
    match servers {
        None => vec!["--store".to_owned(), format!("redb:{file}")],
        Some(nats) => ["--store", &nats.url(), "--cache", &file]
            .map(str::to_owned)
            .to_vec(),
    }
}

/// An invitation to the organization Acme, of a relay on a file.
pub(crate) fn invited(folder: &TempDir, kind: &str) -> String {
    invitation(folder, None, kind)
}

fn invitation(folder: &TempDir, servers: Option<&Nats>, kind: &str) -> String {
    let mut command = command(&binaries::path("plexus-relay"), folder.path());
    let of = ["--organization", "Acme", "--kind", kind];
    command.arg("invite").args(store(folder, servers)).args(of);
    plexus_tests::programs::run(command)
        .expect_ok()
        .trim()
        .to_owned()
}

/// A person, registered with the relay.
fn registered(
    (folder, servers): (&TempDir, Option<&Nats>),
    runtime: &Runtime,
    address: &str,
    name: &str,
    dial: Arc<dyn Dial>,
) -> Arc<Account> {
    let registration = Registration {
        endpoint: Endpoint::parse(address).expect("an address"),
        invitation: invitation(folder, servers, "human").into(),
        first_name: Some(name.into()),
        last_name: None,
        skills: Vec::new(),
    };
    let home = Home::at(&folder.path().join(format!("home of {name}"))).expect("a home");
    let registered = home.register(Arc::clone(&dial), &registration);
    let identity = runtime.block_on(registered).expect("registered");
    Arc::new(Account::open(identity, dial).expect("opens"))
}

/// A relay and a person.
pub(crate) struct Office {
    pub(crate) folder: TempDir,
    /// Where the relay keeps everything, if not in a file.
    pub(crate) servers: Option<Nats>,
    relay: Running,
    pub(crate) address: String,
    runtime: Runtime,
    pub(crate) person: Arc<Account>,
}

impl Office {
    pub(crate) fn open() -> Self {
        Self::on(None)
    }

    /// Removes a user, as the relay's operator does.
    pub(crate) fn removes(&self, user: Id) {
        let mut command = command(&binaries::path("plexus-relay"), self.folder.path());
        let store = store(&self.folder, self.servers.as_ref());
        command.arg("remove").args(store).arg(user.to_string());
        plexus_tests::programs::run(command).expect_ok();
    }

    /// One whose relay keeps everything on these servers.
    pub(crate) fn on(servers: Option<Nats>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (relay, ready) = start(&folder, servers.as_ref(), "127.0.0.1:0", false);
        let address = ready["endpoint"].as_str().expect("an address").to_owned();
        Self::of((folder, servers), relay, address, Direct::default())
    }

    /// One whose relay keeps everything in this file.
    pub(crate) fn keeping_at(store: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::symlink(store, folder.path().join("store")).expect("a link");
        let (relay, ready) = start(&folder, None, "127.0.0.1:0", false);
        let address = ready["endpoint"].as_str().expect("an address").to_owned();
        Self::of((folder, None), relay, address, Direct::default())
    }

    /// With a relay whose certificate an authority of the tests has signed.
    pub(crate) fn with_certificate() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (relay, ready) = start(&folder, None, "127.0.0.1:0", true);
        let address = ready["endpoint"].as_str().expect("an address");
        // The certificate is for this name.
        let address = address.replace("127.0.0.1", "localhost");
        let authority = fs::read(tls_file("ca.pem")).expect("a certificate");
        let dial = Direct::trusting(&authority).expect("a certificate");
        Self::of((folder, None), relay, address, dial)
    }

    fn of(
        (folder, servers): (TempDir, Option<Nats>),
        relay: Running,
        address: String,
        dial: Direct,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let of = (&folder, servers.as_ref());
        let person = registered(of, &runtime, &address, "Pat", Arc::new(dial));
        Self {
            folder,
            servers,
            relay,
            address,
            runtime,
            person,
        }
    }

    /// Another person of the organization, with a client of their own.
    pub(crate) fn colleague(&self, name: &str) -> Arc<Account> {
        let dial = Arc::new(Direct::default());
        let of = (&self.folder, self.servers.as_ref());
        registered(of, &self.runtime, &self.address, name, dial)
    }

    /// Waits for what a client of this office does.
    pub(crate) fn wait_for<T>(&self, what: impl Future<Output = T>) -> T {
        let bounded = async { tokio::time::timeout(PATIENCE, what).await };
        self.runtime.block_on(bounded).expect("an end in time")
    }

    /// The relay is killed, and starts again where it was.
    pub(crate) fn restart_relay(&mut self) {
        self.end_relay();
        self.start_relay();
    }

    pub(crate) fn relay_pid(&self) -> u32 {
        self.relay.pid()
    }

    pub(crate) fn end_relay(&mut self) {
        self.relay.kill();
    }

    pub(crate) fn start_relay(&mut self) {
        let address = self.person.api().endpoint().authority();
        self.relay = start(&self.folder, self.servers.as_ref(), &address, false).0;
    }

    /// Registers a peer, which is not running afterwards.
    pub(crate) fn seat(&self, first_name: &str, last_name: &str, skills: &str) -> Seat {
        let mut seat = Seat {
            home: self.folder.path().join(first_name),
            log: self.folder.path().join(format!("{first_name}.log")),
            id: Id::ZERO,
            model: Model::start([]),
        };
        seat.set_codex_up();
        // The first run registers, and ends when it is connected.
        let invitation = invitation(&self.folder, self.servers.as_ref(), "agent");
        let mut first = seat.command();
        first
            .env("AGENT_CHATHAM_CODEX_EXIT_AFTER_BOOT", "1")
            .env("AGENT_CHATHAM_REGISTER_KEY", invitation)
            .args(["--server-url", &self.address, "--first-name", first_name])
            .args(["--last-name", last_name, "--skills", skills]);
        let said = plexus_tests::programs::run(first);
        let ready = said.expect_ok().trim_start_matches("PLEXUS_PEER_READY ");
        let ready: Value = serde_json::from_str(ready).expect("JSON");
        seat.id = ready["agent_id"]
            .as_str()
            .and_then(|id| id.parse().ok())
            .expect("an id");
        assert!(seat.model.requests().is_empty(), "no turn was begun");
        seat
    }

    /// A channel of the person with these peers.
    pub(crate) fn channel(&self, name: &str, members: &[Id], opening: Option<&str>) -> Id {
        let made = self.person.create(name, members, opening);
        self.runtime.block_on(made).expect("made").id
    }

    /// The person sends a text; while the relay is away it is tried again.
    pub(crate) fn says(&self, channel: Id, text: &str) -> Id {
        let mut is_in_outbox = false;
        until("the relay takes a message", || {
            let sent = self.runtime.block_on(async {
                if is_in_outbox {
                    let sent = self.person.flush().await;
                    sent.map(|mut sent| sent.pop().expect("the kept message"))
                } else {
                    self.person.send(channel, text).await
                }
            });
            is_in_outbox |= matches!(sent, Err(AccountError::Kept(_)));
            unless_away(sent).map(|sent| sent.message_id)
        })
    }

    /// The person archives a channel: it takes no message any more.
    pub(crate) fn archive(&self, channel: Id) {
        let archived = self.person.api().archive(channel, true);
        self.runtime.block_on(archived).expect("archived");
    }

    /// What one member said in a channel, as the person reads it.
    pub(crate) fn heard(&self, channel: Id, of: Id) -> Vec<String> {
        let said = self.all_heard(channel).into_iter();
        let of_peer = said.filter(|(sender, _)| *sender == of);
        of_peer.map(|(_, text)| text).collect()
    }

    /// All of a channel, as the person reads it: who, and what.
    pub(crate) fn all_heard(&self, channel: Id) -> Vec<(Id, String)> {
        let all = self.history(channel).into_iter();
        all.map(|(message, text)| (message.sender_id, text))
            .collect()
    }

    /// All of a channel, as the person reads it: the messages, and what they say.
    pub(crate) fn history(&self, channel: Id) -> Vec<(Message, String)> {
        let (mut all, mut after) = (Vec::new(), Id::ZERO);
        loop {
            let (page, has_more) = until("the history of a channel", || {
                let read = self.person.history(channel, Cursor::After(after), 200);
                unless_away(self.runtime.block_on(read))
            });
            for opened in page {
                after = opened.message.message_id;
                match opened.content {
                    Ok(Content::Text(text)) => all.push((opened.message, text)),
                    other => panic!("{other:?}"),
                }
            }
            if !has_more {
                return all;
            }
        }
    }

    /// All that the relay keeps.
    pub(crate) fn stored(&self) -> Vec<u8> {
        fs::read(self.folder.path().join("store")).expect("the store")
    }

    /// The channels that the person sees.
    pub(crate) fn channels(&self) -> Vec<plexus_channels::wire::Channel> {
        let channels = self.runtime.block_on(self.person.api().channels(None));
        channels.expect("channels")
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        show_if_failed(&self.folder.path().join("relay.log"));
    }
}

/// Nothing while the relay is away, or its servers elect a leader.
#[track_caller]
fn unless_away<T>(done: Result<T, AccountError>) -> Option<T> {
    if let Err(why) = &done {
        assert!(why.is_kept(), "{why}");
    }
    done.ok()
}

#[expect(clippy::print_stderr, reason = "a failed test shows its logs")]
fn show_if_failed(log: &Path) {
    if std::thread::panicking() {
        let text = fs::read_to_string(log).unwrap_or_default();
        eprintln!("the log of {}:\n{text}", log.display());
    }
}

/// A peer's place: its home, its log, its model.
pub(crate) struct Seat {
    home: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) id: Id,
    pub(crate) model: Model,
}

impl Seat {
    /// A login that the model does not look at, and settings that lead to it.
    fn set_codex_up(&self) {
        let codex = self.home.join(".codex");
        fs::create_dir_all(&codex).expect("a folder");
        fs::write(codex.join("auth.json"), r#"{"OPENAI_API_KEY":"none"}"#).expect("written");
        let settings = format!(
            "model_provider = \"story\"\nmodel = \"gpt-5.5\"\n\
             [model_providers.story]\nname = \"story\"\nbase_url = \"{}/v1\"\nwire_api = \"responses\"\n\
             env_key = \"STORY_API_KEY\"\nrequest_max_retries = 0\nstream_max_retries = 0\n\
             [analytics]\nenabled = false\n[features]\nplugins = false\nunbounded_connection_retries = false\n",
            self.model.base()
        );
        fs::write(codex.join("config.toml"), settings).expect("written");
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = command(&binaries::path("plexus-peer"), &self.home);
        let codex = coding_agents::codex();
        let folder = codex.parent().expect("a folder").display();
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env("PATH", format!("{folder}:{path}"))
            .env("STORY_API_KEY", "no-key");
        command
    }

    /// Starts the peer; its first turn may still be under way.
    #[track_caller]
    pub(crate) fn start(&self) -> Running {
        Running::start(self.command(), "PLEXUS_PEER_READY ", &self.log).0
    }

    /// The peer, once its first turn is complete.
    #[track_caller]
    pub(crate) fn peer(&self) -> Running {
        let complete = || self.logged("the turn is complete");
        let before = complete();
        self.model.then([Step::say("Ready.")]);
        let peer = self.start();
        until_true("the end of the first turn", || complete() > before);
        peer
    }

    /// How often its log says so.
    pub(crate) fn logged(&self, words: &str) -> usize {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        log.matches(words).count()
    }

    /// Waits until the model was asked so many times.
    #[track_caller]
    pub(crate) fn asked(&self, times: usize) {
        until_true("a request to the model", || {
            self.model.requests().len() >= times
        });
    }

    /// What the turn of the newest request to the model was given.
    #[track_caller]
    pub(crate) fn input(&self) -> String {
        let requests = self.model.requests();
        turn_of(requests.last().expect("a request")).0
    }

    fn state(&self) -> Value {
        let agents = fs::read_dir(self.home.join(".agent-chatham/agents")).expect("agents");
        let folder = agents.flatten().next().expect("an identity").path();
        let state = fs::read(folder.join("state.json")).unwrap_or_else(|_| b"{}".to_vec());
        serde_json::from_slice(&state).expect("JSON")
    }

    /// The newest message of a channel that the peer has dealt with.
    pub(crate) fn watermark(&self, channel: Id) -> Option<Id> {
        let mark = self.state()["watermarks"][channel.to_string()].clone();
        mark.as_str().and_then(|mark| mark.parse().ok())
    }

    /// Waits until the peer has dealt with a message.
    #[track_caller]
    pub(crate) fn consumed(&self, channel: Id, message: Id) {
        until_true("the watermark", || self.watermark(channel) == Some(message));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        show_if_failed(&self.log);
    }
}

/// The input of the turn that a request to the model belongs to, and the calls that the model has made in it.
#[track_caller]
pub(crate) fn turn_of(request: &Value) -> (String, usize) {
    let input = request["input"].as_array().expect("input");
    let at = input.iter().rposition(|item| item["role"] == "user");
    let at = at.expect("a message");
    let text = input[at]["content"][0]["text"].as_str();
    let after = input[at..].iter();
    let calls = after.filter(|item| item["type"] == "function_call").count();
    (text.expect("a text").to_owned(), calls)
}

/// How many of a turn's calls have written, or left in the outbox, what they were to write: others were refused, and a model
/// that wants them written calls again.
#[track_caller]
pub(crate) fn written_in(request: &Value) -> usize {
    let input = request["input"].as_array().expect("input");
    let at = input.iter().rposition(|item| item["role"] == "user");
    let after = input[at.expect("a message")..].iter();
    let outputs = after.filter(|item| item["type"] == "function_call_output");
    let is_written = |output: &String| output.contains("message_id") || output.contains("queued");
    let outputs = outputs.map(|item| item["output"].to_string());
    outputs.filter(is_written).count()
}

/// The model's call that writes in a channel.
pub(crate) fn reply(channel: impl std::fmt::Display, text: &str) -> Step {
    let arguments = json!({"channel_id": channel.to_string(), "text": text});
    Step::mcp("channels", "reply", arguments)
}
