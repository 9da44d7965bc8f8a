//! The relay's process: started on a fresh store, looked at from outside, ended by its handle.

use plexus_channels::Endpoint;
use plexus_channels::identity::Registration;
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A relay with a folder of its own, without limits of rate unless it is started with others.
pub(crate) struct Server {
    folder: TempDir,
    store: Vec<String>,
    more: &'static [&'static str],
    child: Child,
    pub(crate) endpoint: Endpoint,
}

/// What the relay's writer says of its life.
pub(crate) struct Closed {
    pub(crate) acts: f64,
    pub(crate) commits: f64,
}

impl Server {
    /// A relay on servers of NATS, or on a file.
    pub(crate) fn start(servers: Option<String>) -> Self {
        Self::start_with(servers, &["--device-rate", "0", "--address-rate", "0"])
    }

    /// The same with these options.
    pub(crate) fn start_with(servers: Option<String>, more: &'static [&'static str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("store.redb").display().to_string();
        let store = match servers {
            None => vec!["--store".to_owned(), format!("redb:{file}")],
            Some(servers) => vec!["--store".into(), servers, "--cache".into(), file],
        };
        let (child, endpoint) = spawn(&folder, &store, more);
        Self {
            folder,
            store,
            more,
            child,
            endpoint,
        }
    }

    /// SIGKILL, and started again on its store.
    pub(crate) fn kill_and_start(&mut self) {
        self.kill();
        (self.child, self.endpoint) = spawn(&self.folder, &self.store, self.more);
    }

    /// SIGTERM; what the log says then.
    pub(crate) fn stop(mut self) -> Option<Closed> {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.pid()).expect("a pid"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("our child");
        assert!(self.child.wait().expect("reaped").success());
        let log = std::fs::read_to_string(self.folder.path().join("relay.log")).expect("a log");
        let line = log
            .lines()
            .find(|line| line.contains("the store is closed"))?;
        let number = |name: &str| {
            let (_, rest) = line.split_once(name)?;
            rest.split_whitespace().next()?.parse().ok()
        };
        Some(Closed {
            acts: number("acts=")?,
            commits: number("commits=")?,
        })
    }

    /// A secret with which so many may register.
    pub(crate) fn invitation(&self, uses: usize) -> String {
        let invited = Command::new(program())
            .arg("invite")
            .args(&self.store)
            .args(["--organization", "bench", "--uses", &uses.to_string()])
            .output()
            .expect("it runs");
        let secret = String::from_utf8(invited.stdout).expect("text");
        assert!(invited.status.success() && !secret.is_empty());
        secret.trim().to_owned()
    }

    /// What a client registers with.
    pub(crate) fn registration(&self) -> Registration {
        Registration {
            endpoint: self.endpoint.clone(),
            invitation: self.invitation(1).into(),
            first_name: None,
            last_name: None,
            skills: Vec::new(),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Bytes of the relay's own file.
    pub(crate) fn stored(&self) -> f64 {
        let file = self.folder.path().join("store.redb");
        std::fs::metadata(file).expect("the store").len() as f64
    }

    /// Memory that it holds now, in MB of 1,000,000 bytes.
    pub(crate) fn resident(&self) -> f64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        let kib: f64 = kib.and_then(|kib| kib.parse().ok()).expect("its memory");
        kib * 1_024.0 / 1e6
    }

    /// Processor time until now.
    pub(crate) fn processor(&self) -> Duration {
        let stat = self.proc("stat");
        // The name may hold anything but ends with the last bracket.
        let (_, rest) = stat.rsplit_once(") ").expect("a name");
        let ticks = rest.split(' ').skip(11).take(2);
        let ticks: u64 = ticks.map(|t| t.parse::<u64>().expect("ticks")).sum();
        // 100 ticks a second, on every Linux.
        Duration::from_millis(ticks * 10)
    }

    /// Bytes that it has sent to the disk until now.
    pub(crate) fn written(&self) -> f64 {
        let io = self.proc("io");
        let line = io
            .lines()
            .find_map(|line| line.strip_prefix("write_bytes: "));
        line.and_then(|bytes| bytes.parse().ok()).expect("bytes")
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.pid())).expect("it runs")
    }

    fn kill(&mut self) {
        // It is gone already, or it goes now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The relay of the same build.
fn program() -> PathBuf {
    let own = std::env::current_exe().expect("the path of this program");
    let folder = own.parent().and_then(|folder| folder.parent());
    let program = folder
        .expect("examples lie in a folder of the build's")
        .join("plexus-relay");
    assert!(
        program.is_file(),
        "{} is missing; type: cargo build --release -p plexus-relay --bins --examples",
        program.display()
    );
    program
}

fn spawn(folder: &TempDir, store: &[String], more: &[&str]) -> (Child, Endpoint) {
    let log = folder.path().join("relay.log");
    let log = std::fs::File::options().create(true).append(true).open(log);
    let mut child = Command::new(program())
        .arg("serve")
        .args(store)
        .args(["--listen", "127.0.0.1:0"])
        .args(more)
        .stdout(Stdio::piped())
        .stderr(log.expect("a log"))
        .spawn()
        .expect("the relay starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("its output"))
        .read_line(&mut line)
        .expect("a line");
    let ready = line.strip_prefix("PLEXUS_RELAY_READY ").expect("ready");
    let ready: Value = serde_json::from_str(ready).expect("JSON");
    let endpoint = ready["endpoint"].as_str().expect("an address");
    (child, Endpoint::parse(endpoint).expect("an address"))
}

/// As many open files as the system allows this process: each client is one. How many clients they are enough for, here
/// and at a relay.
pub(crate) fn allow_many_files() -> usize {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return usize::MAX;
    };
    // If it is refused, connecting fails with a sentence.
    let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    usize::try_from(hard)
        .unwrap_or(usize::MAX)
        .saturating_sub(512)
}
