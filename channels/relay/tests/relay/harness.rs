//! A relay's process, and accounts at it. A process is ended only by the handle that started it.
//!
//! The stories run on each store that there is: `crate::ON_NATS` says which this program tests.

use crate::nats::Nats;
use crate::nats::waiting::{self, ended, lines, within};
use plexus_channels::account::{Account, Opened};
use plexus_channels::api::{Api, Credentials, Cursor};
use plexus_channels::crypto::Content;
use plexus_channels::dial::{Direct, Endpoint};
use plexus_channels::events::{Listener, Notice};
use plexus_channels::identity::{Home, Registration};
use plexus_channels::wire::{AskToken, Challenge, Event, Message, NewDevice, Register};
use plexus_channels::{DeviceKey, Id};
use serde_json::{Value, json};
use std::fs::File;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// How long anything may take before a test calls it lost.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A relay with a folder of its own.
pub(crate) struct Relay {
    pub(crate) folder: TempDir,
    pub(crate) endpoint: Endpoint,
    child: Option<Child>,
    port: u16,
    more: Vec<String>,
    /// The servers that keep its store, if it is no file.
    servers: Option<String>,
    own_servers: Option<Nats>,
}

/// No limits of rate.
pub(crate) const FREELY: [&str; 4] = ["--device-rate", "0", "--address-rate", "0"];

impl Relay {
    /// A relay without limits of rate.
    pub(crate) fn start() -> Self {
        Self::start_with(&FREELY)
    }

    pub(crate) fn start_with(more: &[&str]) -> Self {
        let nats = crate::ON_NATS.then(|| Nats::one(""));
        let mut relay = Self::start_on(nats.as_ref().map(Nats::url), more);
        relay.own_servers = nats;
        relay
    }

    /// A relay on servers of NATS, or on a file of its own.
    pub(crate) fn start_on(servers: Option<String>, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut relay = Self {
            folder,
            endpoint: Endpoint::parse("http://127.0.0.1:1").expect("an address"),
            child: None,
            port: 0,
            more: more.iter().map(|text| (*text).to_owned()).collect(),
            servers,
            own_servers: None,
        };
        relay.go_on(None);
        relay
    }

    /// Starts the relay on its store, at its port; by a wall clock that is off by `clock`, where one is given.
    pub(crate) fn go_on(&mut self, clock: Option<&str>) {
        let log = File::options().create(true).append(true).open(self.log());
        let mut child = Command::new(env!("CARGO_BIN_EXE_plexus-relay"))
            .envs(clock.into_iter().flat_map(wall_clock))
            .arg("serve")
            .args(self.store_arguments())
            .args(["--listen", &format!("127.0.0.1:{}", self.port)])
            .args(&self.more)
            .stdout(Stdio::piped())
            .stderr(log.expect("a log"))
            .spawn()
            .expect("the relay starts");
        let stdout = child.stdout.take().expect("its output");
        self.child = Some(child);
        let line = lines(stdout).next().unwrap_or_default();
        let log = || std::fs::read_to_string(self.log()).unwrap_or_default();
        let ready = line.strip_prefix("PLEXUS_RELAY_READY ");
        let ready: Value = ready.map_or(Value::Null, |ready| {
            serde_json::from_str(ready).expect("JSON")
        });
        let endpoint = ready["endpoint"]
            .as_str()
            .unwrap_or_else(|| panic!("not ready: {}", log()));
        let (_, port) = endpoint.rsplit_once(':').expect("a port");
        self.port = port.parse().expect("a port");
        self.endpoint = Endpoint::parse(endpoint).expect("an address");
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.folder.path().join("store.redb")
    }

    /// Stops the servers of its own that keep its store: what is in their files. Nothing where the store is a file.
    #[cfg(target_os = "linux")]
    pub(crate) fn end_servers(&mut self) -> Option<Vec<u8>> {
        let servers = self.own_servers.as_mut()?;
        servers.stop(0);
        Some(servers.stored(0))
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.folder.path().join("relay.log")
    }

    pub(crate) fn store_arguments(&self) -> Vec<String> {
        let file = self.store().display().to_string();
        match &self.servers {
            None => vec!["--store".into(), format!("redb:{file}")],
            Some(servers) => vec!["--store".into(), servers.clone(), "--cache".into(), file],
        }
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// SIGKILL, and reaped.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("killed");
            child.wait().expect("reaped");
        }
    }

    /// SIGTERM: it ends by itself, with success.
    pub(crate) fn stop(&mut self) {
        let child = self.child.as_mut().expect("it runs");
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("told");
        assert!(ended("the relay", child).success());
        self.child = None;
    }

    /// What a command of the operator prints, or why it fails.
    pub(crate) fn operator(&self, command: &str, arguments: &[&str]) -> Result<String, String> {
        let mut operator = Command::new(env!("CARGO_BIN_EXE_plexus-relay"));
        operator.arg(command).args(self.store_arguments());
        operator.args(arguments);
        let output = within(waiting::PATIENCE, command, move || operator.output());
        let output = output.expect("it runs");
        let text = |bytes| String::from_utf8(bytes).expect("text").trim().to_owned();
        match output.status.success() {
            true => Ok(text(output.stdout)),
            false => Err(text(output.stderr)),
        }
    }

    pub(crate) fn invite(&self, arguments: &[&str]) -> String {
        self.operator("invite", arguments).expect("an invitation")
    }

    /// Removes a user: what the operator is told.
    pub(crate) fn remove(&self, user: Id) -> Value {
        let removed = self.operator("remove", &[&user.to_string(), "--json"]);
        serde_json::from_str(&removed.expect("removed")).expect("JSON")
    }

    pub(crate) fn invitation(&self) -> String {
        self.invite(&["--organization", "Acme"])
    }

    /// Registers an account with files of its own.
    pub(crate) async fn account(&self, first_name: &str) -> Arc<Account> {
        let home = Home::at(&self.folder.path().join(first_name)).expect("a home");
        let registration = Registration {
            endpoint: self.endpoint.clone(),
            invitation: self.invitation().into(),
            first_name: Some(first_name.to_owned()),
            last_name: None,
            skills: vec!["tests".into()],
        };
        let registered = home
            .register(Arc::new(Direct::default()), &registration)
            .await;
        let identity = registered.expect("registered");
        Arc::new(Account::open(identity, Arc::new(Direct::default())).expect("opens"))
    }

    /// Registers accounts with files of their own.
    pub(crate) async fn accounts<const N: usize>(&self, names: [&str; N]) -> [Arc<Account>; N] {
        let mut accounts = Vec::new();
        for name in names {
            accounts.push(self.account(name).await);
        }
        let Ok(accounts) = accounts.try_into() else {
            panic!("as many as names")
        };
        accounts
    }

    /// The bare routes of a fresh user of an organization, and who that is.
    pub(crate) async fn stranger(&self, organization: &str) -> (Arc<Api>, Id, Id, Arc<DeviceKey>) {
        let key = Arc::new(DeviceKey::generate());
        let invitation = self.invite(&["--organization", organization]);
        let register = registration(&invitation, &key);
        let made = api(self, None).register(&register).await;
        let made = made.expect("registered");
        let credentials = Credentials {
            agent_id: made.agent_id,
            device_id: made.device_id,
            key: Arc::clone(&key),
        };
        let api = Arc::new(api(self, Some(credentials)));
        (api, made.agent_id, made.device_id, key)
    }
}

/// The variables that load `libfaketime`.
fn wall_clock(offset: &str) -> Vec<(&'static str, String)> {
    let folders = ["x86_64-linux-gnu", "aarch64-linux-gnu", ""].into_iter();
    let mut libraries = folders.map(|f| {
        Path::new("/usr/lib")
            .join(f)
            .join("faketime/libfaketime.so.1")
    });
    let library = libraries.find(|library| library.is_file());
    let library = library.expect(
        "libfaketime; type: sudo apt-get install faketime (`cargo xtask test` does where it may)",
    );
    vec![
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME", offset.to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ]
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a story, which has to end.
pub(crate) fn story<F: Future<Output = ()>>(story: F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let bounded = async {
        tokio::time::timeout(PATIENCE * 2, story)
            .await
            .expect("the story ends");
    };
    runtime.expect("a runtime").block_on(bounded);
}

/// Runs a story at a relay of its own.
pub(crate) fn at_relay(acts: impl AsyncFnOnce(Relay)) {
    story(async {
        let relay = Relay::start();
        acts(relay).await;
    });
}

pub(crate) fn id_of(account: &Account) -> Id {
    account.identity().facts.agent_id
}

/// A listener that is bound.
pub(crate) async fn listener(account: &Account) -> Listener {
    let mut listener = Listener::new(Arc::clone(account.api()));
    bound(&mut listener).await;
    listener
}

pub(crate) async fn bound(listener: &mut Listener) {
    let bound = async {
        loop {
            if let Notice::Bound { .. } = listener.next().await.expect("not over") {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, bound).await.expect("bound");
}

/// The next event.
pub(crate) async fn event(listener: &mut Listener) -> Event {
    let next = tokio::time::timeout(PATIENCE, listener.next()).await;
    match next.expect("an event").expect("not over") {
        Notice::Event(event) => event,
        other => panic!("{other:?}"),
    }
}

/// The next event, which is of a message.
pub(crate) async fn message(listener: &mut Listener) -> Message {
    match event(listener).await {
        Event::MessageCreated { message, .. } => message,
        other => panic!("{other:?}"),
    }
}

/// Makes a channel of its maker and these members.
pub(crate) async fn made(by: &Account, members: &[&Account], opening: Option<&str>) -> Id {
    let members: Vec<Id> = members.iter().map(|member| id_of(member)).collect();
    let made = by.create("a", &members, opening).await;
    made.expect("made").id
}

/// The text of a message that opened.
pub(crate) fn text(opened: Opened) -> String {
    match opened.content {
        Ok(Content::Text(text)) => text,
        other => panic!("{other:?}"),
    }
}

/// All messages of a channel, as a member reads them: each with its text.
pub(crate) async fn history(account: &Account, channel: Id) -> Vec<(Id, String)> {
    let (mut all, mut cursor) = (Vec::new(), Id::ZERO);
    loop {
        let page = account.history(channel, Cursor::After(cursor), 200).await;
        let (page, more) = page.expect("a page");
        for opened in page {
            cursor = opened.message.message_id;
            all.push((cursor, text(opened)));
        }
        if !more {
            return all;
        }
    }
}

/// All texts of a channel.
pub(crate) async fn texts(account: &Account, channel: Id) -> Vec<String> {
    let all = history(account, channel).await.into_iter();
    all.map(|(_, text)| text).collect()
}

/// What a client of another make is answered to a request without a token.
pub(crate) async fn post(relay: &Relay, path: &str, body: &Value) -> (u16, Value) {
    let body = body.to_string();
    let (status, _, answer) = raw(&relay.endpoint, "POST", path, None, body.as_bytes()).await;
    (status, answer)
}

/// Asks for a challenge, and proves who this is.
pub(crate) async fn proven(relay: &Relay, who: &Credentials) -> AskToken {
    let (status, open) = post(relay, "/v1/auth/challenge", &json!(who.asking())).await;
    assert_eq!(status, 200, "{open}");
    let open: Challenge = serde_json::from_value(open).expect("a challenge");
    who.prove(&open).expect("a key")
}

/// A copy of what an account logs in with.
pub(crate) fn credentials(of: &Account) -> Credentials {
    Credentials {
        agent_id: of.identity().facts.agent_id,
        device_id: of.identity().facts.device_id,
        key: Arc::clone(&of.identity().key),
    }
}

/// Bare routes for who has these.
pub(crate) fn api(relay: &Relay, who: Option<Credentials>) -> Api {
    Api::new(relay.endpoint.clone(), Arc::new(Direct::default()), who)
}

/// A registration without a name, by a key of its own.
pub(crate) fn registration(invitation: &str, key: &DeviceKey) -> Register {
    Register {
        registration_id: Id::generate(),
        invitation_key: invitation.to_owned(),
        first_name: None,
        last_name: None,
        skills: Vec::new(),
        device: NewDevice {
            public_key: key.public().to_wire(),
        },
    }
}

/// A plain request: status and body. What a client of another make would see.
pub(crate) async fn raw(
    endpoint: &Endpoint,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: &[u8],
) -> (u16, Option<String>, Value) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let authority = endpoint.authority();
    let mut stream = tokio::net::TcpStream::connect(&authority)
        .await
        .expect("connected");
    let token = token.map_or_else(String::new, |token| {
        format!("Authorization: Bearer {token}\r\n")
    });
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n{token}Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    // A relay that has seen enough of a body closes before it has all of it.
    let _ = stream.write_all(body).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let mut headers = head.lines().filter_map(|line| line.split_once(": "));
    let retry = headers.find(|(name, _)| name.eq_ignore_ascii_case("retry-after"));
    let body = serde_json::from_str(body).unwrap_or(Value::Null);
    (
        status.expect("a status"),
        retry.map(|(_, value)| value.to_owned()),
        body,
    )
}

/// A file of the tests' certificate authority.
pub(crate) fn tls_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixture/tls")
        .join(name)
}
