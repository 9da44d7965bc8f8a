//! What the way to the network costs, in its real cage: time for a connection, bytes a second on loopback.
//!
//! `cargo build --release -p plexus-sandbox -p plexus-egress && cargo bench -p plexus-egress --bench egress`
//!
//! Targets: a connection through it takes at most 0.3 ms longer than a direct one; a tunnel moves at least 500 MB/s.
#![expect(clippy::print_stdout, reason = "a measurement is read on a terminal")]

use command_fds::{CommandFdExt as _, FdMapping};
use plexus_ipc::{
    egress::{self, EgressStart, FromEgress, MAX_EGRESS_FRAME, ToEgress},
    frame,
    manifest::Admitted,
    message::{Probe, Secret},
    stream,
};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Connections of each kind.
const CONNECTIONS: usize = 2_000;
/// Bytes through one tunnel.
const BYTES: u64 = 4 << 30;
const CREDENTIAL: &str = "0123456789abcdef";

fn main() {
    let echo = listen(|mut stream| {
        let mut byte = [0];
        while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
    });
    let spring = listen(|mut stream| {
        // Asked for first.
        let _ = stream.read_exact(&mut [0]);
        let (block, mut left) = (vec![7; 1 << 20], BYTES);
        while left > 0 && stream.write_all(&block).is_ok() {
            left -= block.len() as u64;
        }
    });
    let running = Running::start(&[echo, spring]);
    // Both kinds by turns, so that what else the machine does meets both.
    let (mut direct, mut through) = (Vec::new(), Vec::new());
    for _ in 0..CONNECTIONS {
        direct.push(timed(|| TcpStream::connect(echo).expect("the echo")));
        through.push(timed(|| running.tunnel(echo)));
    }
    let (direct, through) = (median(direct), median(through));
    println!(
        "connection: direct {direct:?}, through plexus-egress {through:?}, added {:?} (median of {CONNECTIONS})",
        through.saturating_sub(direct)
    );
    let mut stream = running.tunnel(spring);
    let (mut block, mut moved) = (vec![0; 1 << 20], 0_u64);
    let began = Instant::now();
    stream.write_all(b"x").expect("written");
    while let Ok(read @ 1..) = stream.read(&mut block) {
        moved += read as u64;
    }
    assert_eq!(moved, BYTES);
    let rate = moved as f64 / began.elapsed().as_secs_f64() / 1e6;
    println!("tunnel: {rate:.0} MB/s over {} GiB", BYTES >> 30);
}

/// Until one byte has come back.
fn timed(connect: impl FnOnce() -> TcpStream) -> Duration {
    let began = Instant::now();
    let mut stream = connect();
    stream.set_nodelay(true).expect("an option");
    stream.write_all(b"x").expect("written");
    stream.read_exact(&mut [0]).expect("an echo");
    began.elapsed()
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all[all.len() / 2]
}

fn listen(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

/// The process, as the supervisor starts it.
struct Running {
    child: Child,
    port: u16,
    _stream: UnixStream,
}

impl Running {
    fn start(hosts: &[SocketAddr]) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_plexus-egress"));
        let launcher = program.with_file_name("plexus-sandbox-exec");
        assert!(
            launcher.is_file() || cfg!(target_os = "macos"),
            "type: cargo build --release -p plexus-sandbox"
        );
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let mut parameters = vec![
            ("WORKER".to_owned(), program.to_string_lossy().into_owned()),
            ("PORT".to_owned(), port.to_string()),
        ];
        for (at, host) in hosts.iter().enumerate() {
            parameters.push((format!("PORT_{at}"), host.port().to_string()));
        }
        let (command, arguments) = plexus_sandbox::launcher_command(
            include_str!("../../egress.sb"),
            &parameters,
            &egress::limits::of_process(),
            &launcher,
            program,
        );
        let (ours, theirs) = stream::pair().expect("a pair");
        let mut command = Command::new(command);
        command
            .args(arguments)
            .env_clear()
            .stdin(OwnedFd::from(listener))
            .fd_mappings(vec![FdMapping {
                parent_fd: theirs,
                child_fd: stream::WORKER_FD,
            }])
            .expect("one mapping");
        let child = command.spawn().expect("the launcher");
        let mut stream = UnixStream::from(ours);
        // What it attacks before it serves.
        let state = tempfile::tempdir().expect("a folder");
        let canary = state.path().join("canary");
        std::fs::write(&canary, "x").expect("a file");
        let unix_socket = state.path().join("socket");
        let _unix = UnixListener::bind(&unix_socket).expect("a socket");
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
        let start = ToEgress::Start(Box::new(EgressStart {
            reader: Secret::new("reader".into()),
            credential: Secret::new(CREDENTIAL.into()),
            hosts: hosts
                .iter()
                .map(|host| Admitted {
                    host: host.ip().to_string(),
                    port: host.port(),
                    owners: true,
                    plain: false,
                    local: false,
                })
                .collect(),
            forward: None,
            socket: None,
            names: egress::Names::default(),
            probe: Probe {
                canary,
                state_dir: state.path().into(),
                tcp_port: tcp.local_addr().expect("an address").port(),
                unix_socket,
                parent_pid: std::process::id(),
                launcher_pid: child.id(),
            },
        }));
        let start = frame::encode(&start, MAX_EGRESS_FRAME).expect("a frame");
        stream.write_all(&start).expect("sent");
        let mut length = [0; frame::PREFIX];
        stream.read_exact(&mut length).expect("an answer");
        let length = frame::length(&length, MAX_EGRESS_FRAME).expect("a frame");
        let mut body = vec![0; length.expect("a length")];
        stream.read_exact(&mut body).expect("an answer");
        match frame::decode(&body).expect("a message") {
            FromEgress::Ready { cage, .. } => assert!(cage.sound(), "{cage:?}"),
            other => panic!("{other:?}"),
        }
        Self {
            child,
            port,
            _stream: stream,
        }
    }

    fn tunnel(&self, to: SocketAddr) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the proxy");
        stream.set_nodelay(true).expect("an option");
        let head = format!(
            "CONNECT {to} HTTP/1.1\r\nhost: {to}\r\nproxy-authorization: Bearer {CREDENTIAL}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("written");
        // Nothing follows the head before it is asked for, so nothing is read ahead.
        let mut answer = BufReader::with_capacity(1024, stream.try_clone().expect("a copy"));
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            answer.read_line(&mut line).expect("a line");
            assert!(
                !line.starts_with("HTTP/") || line.contains(" 200 "),
                "{line}"
            );
        }
        stream
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
