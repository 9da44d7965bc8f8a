//! A relay's process, and accounts at it. A process is ended only by the handle that started it.
//!
//! The stories run on each store that there is: `crate::ON_NATS` says which this program tests.

use crate::nats::Nats;
use plexus_channels::account::Account;
use plexus_channels::api::{Api, Credentials};
use plexus_channels::dial::{Direct, Endpoint};
use plexus_channels::events::{Listener, Notice};
use plexus_channels::identity::{Home, Registration};
use plexus_channels::wire::{Event, NewDevice, Register};
use plexus_channels::{DeviceKey, Id};
use serde_json::Value;
use std::fs::File;
use std::future::Future;
use std::io::{BufRead as _, BufReader};
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
        let mut line = String::new();
        let stdout = child.stdout.take().expect("its output");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
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
        self.child = Some(child);
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
        let mut child = self.child.take().expect("it runs");
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("told");
        assert!(child.wait().expect("reaped").success());
    }

    /// What a command of the operator prints, or why it fails.
    pub(crate) fn operator(&self, command: &str, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new(env!("CARGO_BIN_EXE_plexus-relay"))
            .arg(command)
            .args(self.store_arguments())
            .args(arguments)
            .output()
            .expect("it runs");
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

    /// The bare routes of a fresh user of an organization, and who that is.
    pub(crate) async fn stranger(&self, organization: &str) -> (Arc<Api>, Id, Id, Arc<DeviceKey>) {
        let key = Arc::new(DeviceKey::generate());
        let open = Api::new(self.endpoint.clone(), Arc::new(Direct::default()), None);
        let invitation_key = self.invite(&["--organization", organization]);
        let register = Register {
            registration_id: Id::generate(),
            invitation_key,
            first_name: None,
            last_name: None,
            skills: Vec::new(),
            device: NewDevice {
                public_key: key.public().to_wire(),
            },
        };
        let made = open.register(&register).await.expect("registered");
        let credentials = Credentials {
            agent_id: made.agent_id,
            device_id: made.device_id,
            key: Arc::clone(&key),
        };
        let api = Api::new(
            self.endpoint.clone(),
            Arc::new(Direct::default()),
            Some(credentials),
        );
        (Arc::new(api), made.agent_id, made.device_id, key)
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
