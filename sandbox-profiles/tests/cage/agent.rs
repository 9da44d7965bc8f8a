//! The other flavour of system call filter: a coding agent runs the owner's tools, so it has all calls but those
//! that reach around the cage.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use plexus_hostile::offered;

use crate::{Bystander, Cage, Outcome, hostile, uncaged};

/// No connector has such a profile yet.
const AGENT: &str = r#"(version 1)
(deny default)
(import "bsd.sb")
(define plexus-system-calls "agent")
(allow process-exec* (literal (param "WORKER")))
(allow file-read* (literal (param "WORKER")))
(allow file-read* (subpath (param "ROOT")))
(allow file-write* (subpath (param "ROOT")))
(allow process-fork)
"#;

#[test]
fn an_agent_starts_programs_that_its_profile_names() {
    let cage = Cage::new(AGENT, "writer");
    let own = hostile().display().to_string();
    cage.allows(&["fork"]);
    cage.allows(&["thread"]);
    assert!(
        cage.allows(&["spawn", &own, "read", &cage.in_root("note.md")])
            .ends_with("done text")
    );
    // What it starts lives in the same cage.
    assert!(
        cage.allows(&["spawn", &own, "read", &cage.outside("note.md")])
            .ends_with("refused 13")
    );
    cage.denies(&["spawn", "/usr/bin/true"]);
    cage.allows(&["replace", &cage.in_root("note.md")]);
    cage.allows(&["symlink", "note.md", &cage.in_root("link")]);
}

#[test]
fn an_agent_reaches_nothing_around_its_cage() {
    let cage = Cage::new(AGENT, "writer");
    let bystander = Bystander::start();
    let (stream, datagram) = (cage.outside("stream.sock"), cage.outside("datagram.sock"));
    let _stream = UnixListener::bind(&stream).expect("a socket");
    let _datagram = UnixDatagram::bind(&datagram).expect("a socket");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = &tcp.local_addr().expect("an address").port().to_string();
    let (note, pid) = (&cage.outside("note.md"), &bystander.pid());
    for act in [
        &["read", note][..],
        &["append", note],
        &["chmod", note],
        &["utimes-path", note],
        &["set-attribute", note],
        &["watch", note],
        &["handle", note],
        &["set-flags", &cage.in_root("note.md")],
        &["lease", &cage.in_root("note.md")],
        &["fchmod", "4755", &cage.in_root("note.md")],
        &["fchmod", "666", &cage.in_root("note.md")],
        &["unix", &stream],
        &["unix-datagram", &datagram],
        &["datagram-pair", &datagram],
        &["tcp", port],
        &["mptcp", port],
        &["fast-open", port],
        &["fast-open-connect", port],
        &["netlink"],
        &["tcp-listen"],
        &["signal", pid],
        &["trace", pid],
        &["read-memory", pid],
        &["limits-of", pid],
        &["renice", pid],
        &["pin", pid],
        &["schedule", pid],
        &["schedule-parameters", pid],
        &["schedule-attributes", pid],
        &["io-priority", pid],
        &["io-priority-of-user"],
        &["terminal-input"],
        &["terminal-input-high"],
        &["terminal-paste"],
        &["memfd"],
        &["shared-memory"],
        &["datagram-pair"],
        &["mount"],
        &["chroot"],
        #[cfg(target_arch = "x86_64")]
        &["x32"],
        &["death-signal"],
        &["dumpable"],
        &["subreaper"],
    ] {
        cage.denies(act);
    }
    cage.denies_where_offered(&["io-uring"], &[]);
    cage.denies_where_offered(&["user-namespace"], offered::NAMESPACES);
    cage.denies_where_offered(&["keyring"], offered::KEYS);
    cage.denies_where_offered(&["add-key"], offered::KEYS);
    cage.denies_where_offered(&["request-key"], &[]);
    cage.denies_where_offered(&["pivot-root"], &[]);
    cage.denies_where_offered(&["advise-memory", pid], &[]);
    for act in ["set-attribute-at", "remove-attribute-at", "set-flags-at"] {
        cage.denies_where_offered(&[act, &cage.in_root("note.md")], &[]);
    }
    for how in ["send", "send-message", "take", "take-message"] {
        cage.denies_where_offered(&["out-of-band", how], offered::OUT_OF_BAND);
    }
    // Of itself it may.
    cage.allows(&["limits-of", "0"]);
    cage.allows(&["renice", "0"]);
    cage.allows(&["pin", "0"]);
    #[cfg(target_arch = "x86_64")]
    cage.ends(&["int80"]);
    assert_eq!(cage.allows(&["setsid"]), "same session");
    assert_eq!(cage.run(&["clone3"]), Outcome::Refused(Errno::ENOSYS));
    cage.allows(&["stream-pair"]);
}

#[test]
fn an_agent_with_a_port_connects_to_it_by_plain_tcp_alone() {
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = &tcp.local_addr().expect("an address").port().to_string();
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let other = &other.local_addr().expect("an address").port().to_string();
    let cage = Cage::new(AGENT, "writer").with(&format!(
        "(allow network-outbound (remote tcp \"localhost:{port}\"))"
    ));
    cage.allows(&["tcp", port]);
    cage.denies(&["tcp", other]);
    cage.denies(&["mptcp", port]);
    cage.denies(&["fast-open", port]);
    // It is a connect, so Landlock knows its port.
    cage.denies(&["fast-open-connect", other]);
    cage.denies(&["tcp-listen"]);
    cage.denies(&["listen-unbound"]);
    cage.denies(&["netlink"]);
}

#[test]
fn an_agent_without_fork_has_threads_only() {
    let cage = Cage::new(&AGENT.replace("(allow process-fork)", ""), "writer");
    cage.denies(&["fork"]);
    cage.allows(&["thread"]);
    assert_eq!(uncaged(&["thread"]), Outcome::Done(String::new()));
}

/// It may fork; what it forks, however often, stays in the group that the gateway ends.
#[test]
fn an_agents_processes_end_with_its_group() {
    let cage = Cage::new(AGENT, "writer");
    assert_eq!(
        forks_twice(&mut cage.command(&["fork-twice"])),
        ("done same group\n".to_owned(), String::new())
    );
    assert_eq!(
        forks_twice(Command::new(hostile()).arg("fork-twice")),
        ("done away\n".to_owned(), "heard\n".to_owned()),
        "without a cage it lives on, or the above proves nothing"
    );
}

/// What is said by a process that forks twice, and what by the one that it leaves behind, once its group is ended.
fn forks_twice(command: &mut Command) -> (String, String) {
    let mut leader = command
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut input = leader.stdin.take().expect("piped");
    let mut output = BufReader::new(leader.stdout.take().expect("piped"));
    let mut said = String::new();
    output.read_line(&mut said).expect("what it says");
    // It is not waited for yet, so its number is still the group's and nobody else's.
    let group = Pid::from_raw(leader.id().try_into().expect("a pid"));
    killpg(group, Signal::SIGKILL).expect("a group of the test's own");
    leader.wait().expect("our child");
    // Where nobody is left to hear it, nobody says it again. Whoever is left ends with its input.
    let _ = input.write_all(b"heard\n");
    drop(input);
    let mut left = String::new();
    output.read_to_string(&mut left).expect("the end of it");
    (said, left)
}
