//! Servers of NATS: the real `nats-server`, each with a folder and ports of its own, ended by the handle that started it.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use tempfile::TempDir;
use waiting::{ended, until, until_true};

#[allow(dead_code, unreachable_pub, reason = "the stories' harness uses all")]
#[path = "../../../../tests/src/waiting.rs"]
pub(crate) mod waiting;

/// How often ports are chosen anew because another process has taken one in between.
const TRIES: usize = 20;

struct Node {
    child: Option<Child>,
    port: u16,
    /// Its port for HTTP, over which it says how it is.
    monitor: u16,
}

/// One server, or a cluster.
pub(crate) struct Nats {
    folder: TempDir,
    nodes: Vec<Node>,
    scheme: &'static str,
}

impl Nats {
    /// A server alone, with more lines of configuration.
    pub(crate) fn one(more: &str) -> Self {
        Self::start(1, more)
    }

    /// A cluster of three.
    pub(crate) fn three() -> Self {
        Self::start(3, "")
    }

    /// So many.
    pub(crate) fn start(nodes: usize, more: &str) -> Self {
        for _ in 0..TRIES {
            let folder = tempfile::tempdir().expect("a folder");
            let routes = free_ports(nodes);
            let node = |ports: &[u16]| Node {
                child: None,
                port: ports[0],
                monitor: ports[1],
            };
            let all: Vec<Node> = free_ports(nodes * 2).chunks(2).map(node).collect();
            for (n, node) in all.iter().enumerate() {
                let file = folder.path().join(format!("{n}.conf"));
                let text = configuration(folder.path(), n, node, &routes, more);
                std::fs::write(file, text).expect("written");
            }
            let mut nats = Self {
                folder,
                nodes: all,
                scheme: if more.contains("tls") { "tls" } else { "nats" },
            };
            if (0..nodes).all(|n| nats.run(n)) {
                return nats;
            }
        }
        panic!("no free ports for nats-server");
    }

    /// Starts a node, on its files; whether it got its ports.
    pub(crate) fn run(&mut self, n: usize) -> bool {
        let file = self.folder.path().join(format!("{n}.conf"));
        let log = self.log(n);
        let mut programs = ["nats-server", "/usr/sbin/nats-server"].into_iter();
        let spawned = programs.find_map(|program| {
            let mut command = Command::new(program);
            command.arg("-c").arg(&file);
            command.stderr(File::create(&log).expect("a log"));
            command.spawn().ok()
        });
        // A cluster's node listens for the others after that, and ends where another process has that port.
        let last = match self.nodes.len() {
            1 => "Server is ready",
            _ => "Listening for route connections",
        };
        let child =
            spawned.expect("nats-server is missing; type: sudo apt-get install nats-server");
        let child = self.nodes[n].child.insert(child);
        let ready = until("nats-server is ready", || {
            let has_ended = child.try_wait().expect("our child").is_some();
            let seen = std::fs::read_to_string(&log).expect("its log");
            let ready = seen.contains(last);
            assert!(
                ready || !has_ended || seen.contains("address already in use"),
                "{seen}"
            );
            (ready || has_ended).then_some(ready)
        });
        if !ready {
            self.kill(n);
        }
        ready
    }

    /// Starts a node again, as soon as no other process has its ports.
    pub(crate) fn restart(&mut self, n: usize) {
        until_true("the ports of nats-server", || self.run(n));
    }

    /// Waits until a node of a cluster has all that the others have. If another is killed before, two of three are lost, and the
    /// one that stays may elect nobody.
    pub(crate) fn catch_up(&self, n: usize) {
        until_true("nats-server has caught up", || {
            let asked = TcpStream::connect(("127.0.0.1", self.nodes[n].monitor));
            let told = asked.and_then(|mut monitor| {
                monitor.write_all(b"GET /healthz HTTP/1.0\r\n\r\n")?;
                std::io::read_to_string(monitor)
            });
            told.is_ok_and(|told| told.contains(" 200 "))
        });
    }

    fn log(&self, n: usize) -> PathBuf {
        self.folder.path().join(format!("{n}.log"))
    }

    /// SIGKILL, and reaped.
    pub(crate) fn kill(&mut self, n: usize) {
        if let Some(mut child) = self.nodes[n].child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            child.wait().expect("reaped");
        }
    }

    /// SIGTERM, and reaped: all that a node was given is in its files.
    pub(crate) fn stop(&mut self, n: usize) {
        let child = self.nodes[n].child.as_mut().expect("it runs");
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("told");
        ended("nats-server", child);
        self.kill(n);
    }

    /// The bytes of all files of a node.
    pub(crate) fn stored(&self, n: usize) -> Vec<u8> {
        let mut all = Vec::new();
        read_into(&self.folder.path().join(n.to_string()), &mut all);
        all
    }

    /// Keeps the files of a node that does not run, under a name.
    pub(crate) fn save(&self, n: usize, name: &str) {
        let folder = self.folder.path();
        copy(&folder.join(n.to_string()), &folder.join(name));
    }

    /// Gives a node that does not run the files that were kept.
    pub(crate) fn restore(&self, n: usize, name: &str) {
        let folder = self.folder.path();
        std::fs::remove_dir_all(folder.join(n.to_string())).expect("removed");
        copy(&folder.join(name), &folder.join(n.to_string()));
    }

    /// Where they are, as an argument of the relay.
    pub(crate) fn url(&self) -> String {
        let hosts = self.nodes.iter();
        let hosts: Vec<_> = hosts
            .map(|node| format!("localhost:{}", node.port))
            .collect();
        format!("{}://{}", self.scheme, hosts.join(","))
    }
}

impl Drop for Nats {
    #[expect(clippy::print_stderr, reason = "a failed test shows its logs")]
    fn drop(&mut self) {
        for n in 0..self.nodes.len() {
            self.kill(n);
            if std::thread::panicking() {
                let log = std::fs::read_to_string(self.log(n)).unwrap_or_default();
                eprintln!("the log of nats-server {n}:\n{log}");
            }
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("listed") {
        let (from, to) = entry
            .map(|e| (e.path(), to.join(e.file_name())))
            .expect("an entry");
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(from, to).expect("copied");
        }
    }
}

fn read_into(folder: &Path, all: &mut Vec<u8>) {
    for entry in std::fs::read_dir(folder).expect("listed") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            read_into(&path, all);
        } else {
            all.extend(std::fs::read(path).expect("read"));
        }
    }
}

fn free_ports(many: usize) -> Vec<u16> {
    let bound = (0..many).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port"));
    let bound: Vec<_> = bound.collect();
    let port = |bound: &TcpListener| bound.local_addr().expect("an address").port();
    bound.iter().map(port).collect()
}

fn configuration(folder: &Path, n: usize, node: &Node, routes: &[u16], more: &str) -> String {
    let Node { port, monitor, .. } = node;
    let files = folder.join(n.to_string());
    let files = files.display();
    let mut text = format!(
        "server_name: n{n}\nhost: 127.0.0.1\nport: {port}\nhttp: 127.0.0.1:{monitor}\njetstream {{ store_dir: \"{files}\", max_file_store: 1GB }}\n{more}\n"
    );
    if let [_, _, ..] = routes {
        let others = routes
            .iter()
            .map(|port| format!("nats-route://127.0.0.1:{port}"));
        let others: Vec<_> = others.collect();
        let (own, others) = (routes[n], others.join(", "));
        let _ = writeln!(
            text,
            "cluster {{ name: tests, host: 127.0.0.1, port: {own}, routes: [{others}] }}"
        );
    }
    text
}
