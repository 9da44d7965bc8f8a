//! The other flavour of system call filter: a coding agent runs the owner's tools, so it has all calls but those
//! that reach around the cage.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plexus_hostile::offered;
use plexus_sandbox::{Limits, uncaged_command};

use crate::waiting::{PATIENCE, ended, within};
use crate::{Bystander, Cage, Outcome, REFUSALS, free, hostile, listener, ran, uncaged, works};

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
    // What it starts lives in the same cage.
    for (note, end) in [
        (cage.in_root("note.md"), "done text"),
        (cage.outside("note.md"), "refused 13"),
    ] {
        let said = cage.allows(&["spawn", &own, "read", &note]);
        assert!(said.ends_with(end), "{note}: {said}");
    }
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
    let (_tcp, port) = &listener("127.0.0.1:0");
    let (note, pid) = (&cage.outside("note.md"), &bystander.pid());
    for act in [
        &["read", note][..],
        &["append", note],
        &["chmod", note],
        &["utimes-path", note],
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
        // Before the control that makes it nicer: an ordinary user takes none of that back.
        &["schedule-attributes", pid],
        &["renice", pid],
        &["pin", pid],
        &["schedule", pid],
        &["schedule-parameters", pid],
        &["io-priority", pid],
        &["io-priority-of-user"],
        &["terminal-input"],
        &["terminal-input-high"],
        &["terminal-paste"],
        &["memfd"],
        &["shared-memory"],
        &["memory-shared"],
        &["thread-apart", "descriptors"],
        &["descriptors-apart"],
        &["datagram-pair"],
        &["mount"],
        &["chroot"],
        #[cfg(target_arch = "x86_64")]
        &["x32"],
        &["dumpable"],
        &["subreaper"],
    ] {
        cage.denies(act);
    }
    for (act, also) in [
        (&["io-uring"][..], &[][..]),
        (&["memory-secret"], &[]),
        (&["user-namespace"], offered::NAMESPACES),
        (&["keyring"], offered::KEYS),
        (&["add-key"], offered::KEYS),
        (&["request-key"], &[]),
        (&["pivot-root"], &[]),
        (&["advise-memory", pid], &[]),
        (&["set-flags-at", &cage.in_root("note.md")], &[]),
    ] {
        cage.denies_where_offered(act, also);
    }
    // As on a disk that has none: tools go on without.
    for act in ["set-attribute", "remove-attribute"] {
        for act in [act, &format!("{act}-at")] {
            cage.refuses(&[act, &cage.in_root("note.md")], &[Errno::EOPNOTSUPP]);
        }
    }
    cage.denies_with(&["set-attribute", note], &[Errno::EOPNOTSUPP]);
    for how in ["send", "send-message", "take", "take-message"] {
        cage.denies_where_offered(&["out-of-band", how], offered::OUT_OF_BAND);
    }
    // Of itself it may.
    cage.allows(&["limits-of", "0"]);
    cage.allows(&["renice", "0"]);
    cage.allows(&["pin", "0"]);
    #[cfg(target_arch = "x86_64")]
    cage.ends(&["int80"]);
    assert_eq!(cage.allows(&["setsid"]), "new session");
    cage.allows(&["packet-pair"]);
    cage.allows(&["chown-to-nobody", note]);
    let owner = std::fs::metadata(note).expect("it is there").uid();
    assert_eq!(owner, nix::unistd::getuid().as_raw(), "it changed nothing");
    assert_eq!(cage.run(&["clone3"]), Outcome::Refused(Errno::ENOSYS));
    cage.allows(&["stream-pair"]);
}

#[test]
fn an_agent_with_a_port_connects_to_it_by_plain_tcp_alone() {
    let (_tcp, port) = &listener("127.0.0.1:0");
    let (_other, other) = &listener("127.0.0.1:0");
    let rule = format!("(allow network-outbound (remote tcp \"localhost:{port}\"))");
    let cage = Cage::new(AGENT, "writer").with(&rule);
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
    works(&["thread"]);
}

/// The parent of a process.
fn parent(process: Pid) -> Pid {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it is there");
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    Pid::from_raw(parent.expect("a line").trim().parse().expect("a number"))
}

/// Where nobody can be left, and where nothing bounds a signal, nobody is there who could signal all that is left.
#[test]
fn helper_is_there_for_a_caged_program_that_forks_alone() {
    // How many processes are between this one and the program.
    let above = |command: &mut Command| {
        let mut started = Started::new(command);
        let program = started.said.trim_end().strip_prefix("here ");
        let program = Pid::from_raw(program.expect("its number").parse().expect("a number"));
        let line = std::iter::successors(Some(program), |process| Some(parent(*process)));
        let above = line
            .skip(1)
            .take(9)
            .position(|process| process == Pid::this());
        drop(started.input);
        rest(started.output.expect("unread"));
        ended("the program", &mut started.child);
        above.expect("it descends from this process")
    };
    let caged = |profile: &str| above(&mut Cage::new(profile, "writer").command(&["stay"]));
    assert_eq!(caged(AGENT), 2, "the control: a monitor and a helper");
    let monitor = caged(&AGENT.replace("(allow process-fork)", ""));
    assert_eq!(monitor, 1, "a monitor");
    let launcher = Path::new(env!("CARGO_BIN_EXE_plexus-sandbox-exec"));
    let (program, line) = uncaged_command(&Limits::default(), launcher, &hostile());
    let uncaged = above(Command::new(program).args(line).arg("stay"));
    assert_eq!(uncaged, 0, "nobody");
}

/// It may leave its group and session; what it leaves behind ends with it all the same.
#[test]
fn descendants_end_with_their_agent() {
    let cage = Cage::new(AGENT, "writer");
    // The agent ends by itself; its input stays open, so nobody else has a reason to end.
    let mut left = Started::new(&mut cage.command(&["fork-twice"]));
    assert_eq!(left.said, "done away\n");
    assert_eq!(left.rest(), "");
    assert_eq!(left.status().code(), Some(0));
    // It is asked to.
    let mut left = Started::new(&mut cage.command(&["fork-twice-and-stay"]));
    kill(left.process(), Signal::SIGTERM).expect("a process of the test's own");
    assert_eq!(left.rest(), "");
    assert_eq!(left.status().signal(), Some(Signal::SIGTERM as i32));
    // Its starter is killed.
    let line = cage.command(&["fork-twice-and-stay"]);
    let mut starter = Command::new("/bin/sh");
    starter.args(["-c", "exec 3<&0; \"$@\" <&3 3<&- & wait", "sh"]);
    starter.arg(line.get_program()).args(line.get_args());
    let mut left = Started::new(&mut starter);
    assert_eq!(left.said, "done away\n");
    kill(left.process(), Signal::SIGKILL).expect("a process of the test's own");
    assert_eq!(left.rest(), "");
    left.status();
    // Without a cage what is left behind lives on, or the above proves nothing.
    let mut left = Started::new(&mut free(&["fork-twice"]));
    assert_eq!(left.said, "done away\n");
    left.status();
    left.input.write_all(b"heard\n").expect("somebody reads");
    let mut heard = [0; 6];
    let mut output = left.output.expect("unread");
    let answered = output.read_exact(&mut heard);
    answered.expect("somebody answers");
    assert_eq!(&heard, b"heard\n");
}

/// A program's output, and its first line.
pub(crate) fn first_line(output: ChildStdout) -> (BufReader<ChildStdout>, String) {
    within(PATIENCE, "a program's first line", move || {
        let mut output = BufReader::new(output);
        let mut said = String::new();
        output.read_line(&mut said).expect("what it says");
        (output, said)
    })
}

/// The rest of an output, until nobody is left who could write to it.
pub(crate) fn rest(mut output: BufReader<ChildStdout>) -> String {
    within(PATIENCE, "the end of an output", move || {
        let mut rest = String::new();
        output.read_to_string(&mut rest).expect("the end of it");
        rest
    })
}

/// A process that has said one line; its input stays open.
struct Started {
    child: Child,
    input: ChildStdin,
    output: Option<BufReader<ChildStdout>>,
    said: String,
}

impl Started {
    fn new(command: &mut Command) -> Self {
        let mut child = command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let input = child.stdin.take().expect("piped");
        let (output, said) = first_line(child.stdout.take().expect("piped"));
        Self {
            child,
            input,
            output: Some(output),
            said,
        }
    }

    fn process(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().expect("a pid"))
    }

    /// What is said until nobody is left who could say something.
    fn rest(&mut self) -> String {
        rest(self.output.take().expect("unread"))
    }

    fn status(&mut self) -> ExitStatus {
        ended("the program", &mut self.child)
    }
}

/// The kernel still ends it with its monitor; that it asks for another signal has no effect.
#[test]
fn death_signal_of_an_agent_stays() {
    let cage = Cage::new(AGENT, "writer");
    assert_eq!(cage.allows(&["death-signal-let-go"]), "9");
    let own = hostile().display().to_string();
    let untied = ran(&mut free(&["tied", &own, "death-signal-let-go"]));
    assert_eq!(untied, Outcome::Done("0".to_owned()));
}

#[test]
fn modes_and_times_change_in_granted_trees_only() {
    let cage = Cage::new(AGENT, "writer");
    let (inside, outside) = (cage.in_root("note.md"), cage.outside("note.md"));
    let mode = |path: &str| std::fs::metadata(path).expect("it is there").mode() & 0o7777;
    let was = mode(&outside);
    cage.allows(&["chmod", &inside]);
    assert_eq!(mode(&inside), 0o700);
    cage.allows(&["chmod", &cage.in_root("")]);
    cage.allows(&["chmod-in", &cage.in_root(""), "note.md"]);
    cage.allows(&["in-folder", &cage.in_root(""), "chmod-to", "640", "note.md"]);
    assert_eq!(mode(&inside), 0o640);
    cage.allows(&["utimes-path", &inside]);
    let changed = std::fs::metadata(&inside).expect("it is there").modified();
    assert_eq!(changed.expect("a time"), std::time::UNIX_EPOCH);
    // Above and beside, by any name for it.
    let link = cage.in_root("link");
    std::os::unix::fs::symlink(&outside, &link).expect("a link");
    for act in [
        &["chmod", &link][..],
        &["chmod", &outside],
        &["chmod", &cage.in_root("../outside/note.md")],
        &["chmod-in", &cage.in_root(""), "../outside/note.md"],
        &["chmod-in", &cage.in_root(""), "link"],
        &["chmod-in", &cage.outside(""), "note.md"],
        &["in-folder", &cage.outside(""), "chmod", "note.md"],
        &["chmod", &cage.outside("")],
        &["utimes-path", &outside],
        &["chmod-to", "4755", &inside],
        &["chmod-to", "2755", &inside],
        &["chmod-to", "666", &inside],
    ] {
        let before = mode(&outside);
        cage.refuses(act, &REFUSALS);
        assert_eq!(mode(&outside), before, "{act:?}");
        works(act);
    }
    assert_ne!(mode(&outside), was, "the controls changed it");
    // What is not there is said to be so.
    cage.refuses(&["chmod", &cage.in_root("missing")], &[Errno::ENOENT]);
}

/// An exchange of the file for a link while a change waits changes nothing outside.
#[test]
fn exchanged_file_changes_nothing_outside() {
    let cage = Cage::new(AGENT, "writer");
    let (granted, other) = (cage.in_root("note.md"), cage.outside("note.md"));
    // A link that appears between the two looks is no file beneath the tree, and a file that goes leaves no name.
    cage.denies_with(
        &["chmod-rewritten", &granted, &other, "2000"],
        &[Errno::EPERM, Errno::ELOOP, Errno::ENOENT],
    );
}

/// An agent that may read the folder outside as well.
fn reads_outside() -> Cage {
    let cage = Cage::new(AGENT, "writer");
    let outside = cage.outside.clone();
    cage.with(&format!("(allow file-read* (subpath {outside:?}))\n"))
}

#[test]
fn descriptor_to_read_changes_what_is_written_only() {
    let cage = reads_outside();
    let (inside, outside) = (cage.in_root("note.md"), cage.outside("note.md"));
    let state = |path: &str| {
        let about = std::fs::metadata(path).expect("it is there");
        (about.mode() & 0o7777, about.mtime())
    };
    cage.allows(&["open", &outside]);
    cage.allows(&["fchmod", "640", &inside]);
    cage.allows(&["futimes", &inside]);
    assert_eq!(state(&inside), (0o640, 0));
    let was = state(&outside);
    for act in [
        &["fchmod", "700", &outside][..],
        &["fchmod", "0", &outside],
        &["fchmod", "700", &cage.outside("")],
        &["fchmod-by-link", "700", &outside],
        &["futimes", &outside],
        &["futimes", &cage.outside("")],
    ] {
        cage.refuses(act, &REFUSALS);
        assert_eq!(state(&outside), was, "{act:?}");
    }
    for act in [&["fchmod", "700", &outside][..], &["futimes", &outside]] {
        works(act);
    }
    assert_eq!(state(&outside), (0o700, 0), "the controls changed it");
    // One without a name, and one that has lost it, are of its own making.
    cage.allows(&["fchmod-nameless", &cage.in_root("")]);
    cage.denies(&["remove-key", &inside]);
}

#[test]
fn lock_of_an_agent_is_seen_where_it_writes_only() {
    let cage = reads_outside();
    let (inside, outside) = (cage.in_root("note.md"), cage.outside("note.md"));
    let taken = Outcome::Refused(Errno::EAGAIN);
    let open = Outcome::Done(String::new());
    for (how, other) in [
        ("whole", "whole"),
        ("range", "exclusive-range"),
        ("range-of-open-file", "exclusive-range"),
    ] {
        let tries = |path: &str| uncaged(&["lock-by", other, path]);
        let held = Bystander::wait_for(&mut cage.command(&["stay-locked", how, &inside]));
        assert_eq!(tries(&inside), taken, "{how}");
        drop(held);
        assert_eq!(tries(&inside), open, "{how}");
        let held = Bystander::wait_for(&mut cage.command(&["stay-locked", how, &outside]));
        assert_eq!(tries(&outside), open, "{how}");
        drop(held);
        let held = Bystander::wait_for(&mut free(&["stay-locked", how, &outside]));
        assert_eq!(tries(&outside), taken, "{how}");
        drop(held);
    }
}

#[test]
fn lock_of_a_process_is_its_own() {
    let cage = Cage::new(AGENT, "writer");
    cage.allows(&["locks-of-a-process", &cage.in_root("note.md")]);
    works(&["locks-of-a-process", &cage.outside("note.md")]);
}

/// More calls wait than the monitor has threads.
#[test]
fn waiting_locks_hold_up_no_other_call() {
    let cage = Cage::new(AGENT, "writer");
    let note = cage.in_root("note.md");
    let held = |how: &str| Bystander::wait_for(&mut free(&["stay-locked", how, &note]));
    let (whole, range) = (held("whole"), held("range"));
    let mut waits = Started::new(&mut cage.command(&["wait-for-locks", "12", &note]));
    assert!(waits.said.starts_with("here "), "{}", waits.said);
    drop((whole, range));
    assert_eq!(waits.rest(), "done \n");
    // Its monitor holds what it locked until it has ended.
    waits.status();
    // One that is ended while it waits leaves no lock behind.
    let whole = held("whole");
    let mut waits = Started::new(&mut cage.command(&["wait-in-vain", &note]));
    kill(waits.process(), Signal::SIGTERM).expect("a process of the test's own");
    assert_eq!(waits.rest(), "");
    waits.status();
    drop(whole);
    works(&["lock-by", "whole", &note]);
}

#[test]
fn what_an_agent_makes_is_not_for_all_and_runs_as_nobody_else() {
    let cage = Cage::new(AGENT, "writer");
    let new = cage.in_root("new");
    for act in ["make-set-id", "make-for-all"] {
        for by in ["open", "unnamed", "mknod"] {
            cage.denies(&[act, by, &new]);
        }
        cage.denies_with(&[act, "openat2", &new], &[Errno::ENOSYS]);
    }
    cage.denies(&["create-for-all", &cage.in_root("shared")]);
    cage.denies(&["mkdir-for-all", &cage.in_root("shared-folder")]);
    let mask = cage.allows(&["mask"]);
    let for_all = matches!(mask.as_bytes(), [_, _, b'2' | b'3' | b'6' | b'7']);
    assert!(for_all, "{mask}");
    cage.denies_where_offered(&["device", &new], &[]);
    let moved = cage.in_root("moved.md");
    cage.denies_where_offered(&["whiteout", &cage.in_root("note.md"), &moved], &[]);
    let other = cage.in_root("other.md");
    std::fs::write(&other, "text").expect("another file");
    cage.allows(&["exchange", &cage.in_root("note.md"), &other]);
}

#[test]
fn own_maps_are_read_and_nobody_elses() {
    let rules = r#"(allow file-read* (literal "/proc/self/maps"))
(allow file-read* (literal "/proc/self/stat"))
(allow file-read* (subpath "/nowhere/at/all"))"#;
    let cage = Cage::new(AGENT, "writer").with(rules);
    for file in ["maps", "stat"] {
        let own = format!("/proc/self/{file}");
        cage.allows(&["open", &own]);
        Cage::new(AGENT, "writer").denies(&["open", &own]);
        // Not of its parent, nor for its child.
        cage.denies(&["at-parent", "open", &format!("/proc/PARENT/{file}")]);
        let child = cage.allows(&["in-child", "open", &own]);
        assert_eq!(child, format!("refused {}", Errno::EACCES as i32));
    }
    cage.denies(&["open", "/proc/self/environ"]);
}
