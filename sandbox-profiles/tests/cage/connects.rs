//! A rule that names a port of this machine: the launcher stays outside and decides on each connect by its address.

use std::io::{BufReader, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use command_fds::{CommandFdExt, FdMapping};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::agent::{first_line, rest};
use crate::waiting::ended;
use crate::{Bystander, Cage, Outcome, outcome, uncaged};

/// Everyone who listens on one port: at the granted address, at another of this machine, at IPv6 loopback.
struct Listeners {
    port: String,
}

impl Listeners {
    /// They take connections for as long as the test runs, so that no backlog fills.
    fn new() -> Self {
        let (granted, others) = std::iter::repeat_with(Self::try_new)
            .take(64)
            .flatten()
            .next()
            .expect("a port that is free at three addresses");
        let port = granted.local_addr().expect("an address").port().to_string();
        for listener in others.into_iter().chain([granted]) {
            std::thread::spawn(move || listener.incoming().for_each(drop));
        }
        Self { port }
    }

    fn try_new() -> Option<(TcpListener, Vec<TcpListener>)> {
        let granted = TcpListener::bind("127.0.0.1:0").ok()?;
        let port = granted.local_addr().ok()?.port();
        let mut others = vec![TcpListener::bind(("127.0.0.2", port)).ok()?];
        // A machine without IPv6 has nothing to deny there.
        if TcpListener::bind("[::1]:0").is_ok() {
            others.push(TcpListener::bind(SocketAddr::from((Ipv6Addr::LOCALHOST, port))).ok()?);
        }
        Some((granted, others))
    }
}

fn rule(port: &str) -> String {
    format!("(allow network-outbound (remote tcp \"localhost:{port}\"))")
}

fn cages(port: &str) -> [Cage; 3] {
    [
        Cage::reader().with(&rule(port)),
        Cage::writer().with(&rule(port)),
        Cage::reader()
            .with("(define plexus-system-calls \"agent\")(allow process-fork)")
            .with(&rule(port)),
    ]
}

#[test]
fn connect_granted_at_one_address_only() {
    let Listeners { port } = Listeners::new();
    let another = Listeners::new().port;
    let has_ipv6 = TcpListener::bind("[::1]:0").is_ok();
    for cage in cages(&port) {
        cage.allows(&["tcp", &port]);
        cage.allows(&["in-thread", "tcp", &port]);
        cage.allows(&["connect-later", &port]);
        cage.denies(&["tcp", &another]);
        cage.denies(&["tcp-at", "127.0.0.2", &port]);
        cage.denies(&["in-thread", "tcp-at", "127.0.0.2", &port]);
        cage.denies(&["tcp-at", "0.0.0.0", &port]);
        if has_ipv6 {
            cage.denies(&["tcp6", &port]);
            cage.denies(&["tcp-at", "::ffff:127.0.0.1", &port]);
        }
    }
}

#[test]
fn destination_named_otherwise_is_refused() {
    let Listeners { port } = Listeners::new();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let datagrams = socket.local_addr().expect("an address").port().to_string();
    for cage in cages(&port) {
        cage.allows(&["tcp", &port]);
        for port in [&port, &datagrams] {
            cage.denies(&["udp-connect", port]);
        }
        cage.denies(&["udp", &datagrams]);
        cage.denies(&["send-many", &datagrams]);
        cage.denies(&["send-to-another", &port]);
        cage.denies(&["fast-open", &port]);
        cage.denies(&["mptcp", &port]);
        cage.denies(&["datagram-pair"]);
        cage.denies_where_offered(&["io-uring"], &[]);
    }
}

/// What a program starts is watched as it is.
#[test]
fn connect_of_a_child_is_decided() {
    let Listeners { port } = Listeners::new();
    let [.., agent] = cages(&port);
    let said = |act: &[&str]| agent.allows(&[&["in-child"], act].concat());
    assert_eq!(said(&["tcp", &port]), "done");
    assert_eq!(
        said(&["tcp-at", "127.0.0.2", &port]),
        format!("refused {}", Errno::EACCES as i32)
    );
}

/// The address is read once, and the connection is made to what was read.
#[test]
fn rewritten_address_reaches_nobody_else() {
    let Listeners { port } = Listeners::new();
    for cage in cages(&port) {
        cage.denies(&["connect-rewritten", &port, "2000"]);
    }
}

#[test]
fn connect_to_closed_port_says_so() {
    // The system gives this port to nobody who asks for a free one.
    let port = "1";
    let refused = Outcome::Refused(Errno::ECONNREFUSED);
    for cage in cages(port) {
        assert_eq!(cage.run(&["tcp", port]), refused);
        assert_eq!(cage.run(&["connect-later", port]), refused);
    }
}

/// A rule that names a Unix socket: what lies at that path when it is connected to, and nothing else.
#[test]
fn socket_granted_at_one_path_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().canonicalize().expect("a folder");
    let at = |name: &str| folder.join(name).display().to_string();
    let listen = |name: &str| {
        let listener = UnixListener::bind(at(name)).expect("a socket");
        std::thread::spawn(move || listener.incoming().for_each(drop));
    };
    let (app, other) = (at("app.sock"), at("other.sock"));
    let rule = format!("(allow network-outbound (literal \"{app}\"))");
    let cage = Cage::reader().with(&rule);
    // Nothing is there yet, and that is what is said.
    assert_eq!(cage.run(&["unix", &app]), Outcome::Refused(Errno::ENOENT));
    listen("app.sock");
    listen("other.sock");
    cage.allows(&["unix", &app]);
    cage.allows(&["in-thread", "unix", &app]);
    cage.denies(&["unix", &other]);
    let datagrams = at("datagrams.sock");
    let _datagrams = UnixDatagram::bind(&datagrams).expect("a socket");
    cage.denies(&["unix-datagram", &datagrams]);
    cage.denies(&["datagram-pair", &datagrams]);
    cage.denies(&["unix-listen", &at("new.sock")]);
    // Another spelling of it is another path.
    cage.denies(&["unix", &format!("{}/./app.sock", folder.display())]);
    let swapped = |as_what: &dyn Fn()| {
        std::fs::remove_file(&app).expect("it was there");
        as_what();
        cage.run(&["unix", &app])
    };
    let link = || std::os::unix::fs::symlink(&other, &app).expect("a link");
    assert_eq!(swapped(&link), Outcome::Refused(Errno::ELOOP));
    let hard = || std::fs::hard_link(&other, &app).expect("a second name");
    assert_eq!(swapped(&hard), Outcome::Refused(Errno::EMLINK));
    let file = || std::fs::write(&app, "").expect("a file");
    assert_eq!(swapped(&file), Outcome::Refused(Errno::ENOTSOCK));
    let folder_of = folder.join("app");
    std::fs::create_dir(&folder_of).expect("a folder");
    let elsewhere = folder.join("elsewhere");
    let inner = folder_of.join("a.sock").display().to_string();
    let _inner = UnixListener::bind(&inner).expect("a socket");
    let below = Cage::reader().with(&format!("(allow network-outbound (literal \"{inner}\"))"));
    below.allows(&["unix", &inner]);
    std::fs::rename(&folder_of, &elsewhere).expect("it moves");
    std::os::unix::fs::symlink(&elsewhere, &folder_of).expect("a link");
    assert_eq!(below.run(&["unix", &inner]), Outcome::Refused(Errno::ELOOP));
    // The control: the app has started again.
    assert_eq!(
        swapped(&|| listen("app.sock")),
        Outcome::Done(String::new())
    );
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(&app, Some(1), None).expect("another owner");
        assert_eq!(cage.run(&["unix", &app]), Outcome::Refused(Errno::EPERM));
    }
}

/// A watched worker that stays, and its monitor.
struct Watched {
    monitor: Child,
    worker: Pid,
    output: BufReader<std::process::ChildStdout>,
}

impl Watched {
    fn start(mut command: Command) -> Self {
        let mut monitor = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("it starts");
        let (output, line) = first_line(monitor.stdout.take().expect("piped"));
        let worker = line.trim().strip_prefix("here ").expect("its number");
        let worker = Pid::from_raw(worker.parse().expect("a number"));
        assert_ne!(worker.as_raw() as u32, monitor.id(), "it has a monitor");
        Self {
            monitor,
            worker,
            output,
        }
    }

    fn monitor(&self) -> Pid {
        Pid::from_raw(self.monitor.id() as i32)
    }

    /// Waits until nobody holds the worker's output, which the worker alone does, and for the monitor's end.
    fn ends(mut self) -> ExitStatus {
        rest(self.output);
        ended("the monitor", &mut self.monitor)
    }
}

fn stays(act: &[&str]) -> Watched {
    let Listeners { port } = Listeners::new();
    Watched::start(Cage::reader().with(&rule(&port)).command(act))
}

#[test]
fn worker_and_monitor_end_together() {
    // The worker by itself.
    let mut watched = stays(&["stay"]);
    drop(watched.monitor.stdin.take());
    assert_eq!(watched.ends().code(), Some(0));
    // Either of the two by a signal: the status says which.
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let watched = stays(&["stay"]);
        kill(watched.worker, signal).expect("a process of the test's own");
        assert_eq!(watched.ends().signal(), Some(signal as i32));
    }
    let watched = stays(&["stay"]);
    kill(watched.monitor(), Signal::SIGKILL).expect("a process of the test's own");
    assert_eq!(watched.ends().signal(), Some(Signal::SIGKILL as i32));
    // And the group, which is how a gateway ends them.
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let watched = stays(&["stay"]);
        killpg(watched.monitor(), signal).expect("a group of the test's own");
        assert_eq!(watched.ends().signal(), Some(signal as i32));
    }
}

#[test]
fn monitor_passes_on_exit_status() {
    let Listeners { port } = Listeners::new();
    let cage = Cage::reader().with(&rule(&port));
    for (worker, status) in [("/usr/bin/true", 0), ("/usr/bin/false", 1)] {
        let mut command = cage.command_for(Path::new(worker), &[]);
        let output = command.output().expect("the launcher starts");
        assert_eq!(output.status.code(), Some(status), "{output:?}");
    }
    // A start that fails inside fails as without a monitor.
    let mut command = cage.command(&[]);
    let line: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    command = Command::new(command.get_program());
    command.args(&line[..line.len() - 1]).arg("/usr/bin/true");
    let output = command.env_clear().output().expect("the launcher starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(126), "{said}");
    assert_eq!(said.lines().count(), 1, "one line: {said}");
}

#[test]
fn monitor_is_out_of_reach() {
    let bystander = Bystander::start();
    let Listeners { port } = Listeners::new();
    for cage in cages(&port) {
        cage.denies(&["at-parent", "signal", "PARENT"]);
        cage.denies(&["at-parent", "read", "/proc/PARENT/environ"]);
        assert_eq!(
            cage.run(&["at-parent", "read-memory", "PARENT"]),
            Outcome::Refused(Errno::EPERM)
        );
    }
    assert_eq!(
        uncaged(&["read-memory", &bystander.pid()]),
        Outcome::Done(String::new())
    );
}

#[test]
fn stream_is_held_by_the_worker_alone() {
    let Listeners { port } = Listeners::new();
    let (mut ours, theirs) = UnixStream::pair().expect("a pair");
    let cage = Cage::reader().with(&rule(&port));
    let note = cage.in_root("note.md");
    let mut command = cage.command(&["serve", &note]);
    command
        .fd_mappings(vec![FdMapping {
            parent_fd: OwnedFd::from(theirs),
            child_fd: 3,
        }])
        .expect("one number");
    let child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    drop(command);
    ours.write_all(b"ask?").expect("it listens");
    let mut answer = String::new();
    // To its end, which comes only when nobody else holds the other one.
    ours.read_to_string(&mut answer).expect("it answers");
    assert_eq!(answer, "ask?text");
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!(outcome(&ended), Outcome::Done(String::new()));
}

/// What a monitor adds to a connect. Run by name, in a release build, on a quiet machine; the rule for any address is
/// held by Landlock alone.
#[test]
#[ignore = "a measurement"]
#[expect(clippy::print_stdout, reason = "its result is its output")]
fn cost_of_a_monitored_connect() {
    let Listeners { port } = Listeners::new();
    let any = format!("(allow network-outbound (remote tcp \"*:{port}\"))");
    for round in 0..5 {
        let [alone, watched] = [&any, &rule(&port)].map(|rule| {
            Cage::reader()
                .with(rule)
                .allows(&["connect-time", &port, "5000"])
        });
        println!("round {round}: {alone} ns by Landlock alone, {watched} ns with a monitor");
    }
}
