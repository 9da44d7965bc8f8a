//! What an honest worker needs still works in the cage.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use command_fds::{CommandFdExt, FdMapping};

use crate::{Cage, OBSIDIAN, Outcome, outcome};

#[test]
fn a_runtime_with_threads_timers_and_signals_serves_its_stream() {
    for (cage, give_up) in [
        (Cage::new(OBSIDIAN, "reader"), true),
        (Cage::writer(), true),
        (Cage::reader(), false),
    ] {
        let note = cage.in_root("note.md");
        let act = if give_up {
            vec!["serve-giving-up", &note]
        } else {
            vec!["serve", note.as_str()]
        };
        let (mut ours, theirs) = UnixStream::pair().expect("a pair");
        let mut command = cage.command(&act);
        command
            .fd_mappings(vec![FdMapping {
                parent_fd: OwnedFd::from(theirs),
                child_fd: 3,
            }])
            .expect("one number");
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        drop(command); // and with it our copy of the worker's end

        ours.write_all(b"ask?").expect("it listens");
        let mut answer = String::new();
        ours.read_to_string(&mut answer).expect("it answers");
        assert_eq!(
            outcome(&child.wait_with_output().expect("it ends")),
            Outcome::Done(String::new())
        );
        assert_eq!(answer, "ask?text");
    }
}
