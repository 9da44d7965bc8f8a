//! Data on stdout, talk on stderr.
//!
//! A line goes out with its end in one write: what is typed or said meanwhile stands before it or after it, never in it.

use crate::{Exit, Stop, text};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::{
    future::pending,
    io::{self, IsTerminal, Write},
    os::fd::AsFd,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tokio::time::sleep;

/// How often a command that waits looks for the reader of its stdout.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Whether a line that was written here names a command of ours.
static NAMES_COMMANDS: AtomicBool = AtomicBool::new(false);

/// Whether a line so far named a command that acts on the usual state directory. In a text of others it counts too.
pub fn has_named_commands() -> bool {
    NAMES_COMMANDS.load(Ordering::Relaxed)
}

/// Notes the commands in a line that is written elsewhere.
pub fn note_commands(text: &str) {
    let mut commands = text.split("plexusctl ").skip(1);
    let mut starts = text.split(": plexusd").skip(1);
    let acts = |rest: &str| {
        let after = ["\n", " (", " --port"];
        rest.is_empty() || after.iter().any(|after| rest.starts_with(after))
    };
    if commands.any(|rest| !rest.starts_with("--home")) || starts.any(acts) {
        NAMES_COMMANDS.store(true, Ordering::Relaxed);
    }
}

/// Writes data to stdout as it is, or, where a terminal would obey it, escaped. A reader that has seen enough
/// (`| head`) is no failure.
///
/// # Errors
/// A stop that says what the system said, such as a full disk.
pub fn data(bytes: &[u8]) -> Result<(), Stop> {
    let mut stdout = io::stdout().lock();
    let written = if stdout.is_terminal() {
        stdout.write_all(text::block(&String::from_utf8_lossy(bytes)).as_bytes())
    } else {
        stdout.write_all(bytes)
    };
    settle(written.and_then(|()| stdout.flush()))
}

/// Writes one line of data; the line break is added where it is missing.
///
/// # Errors
/// As [`data`].
pub fn line(text: &str) -> Result<(), Stop> {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    note_commands(text);
    data(format!("{text}{end}").as_bytes())
}

/// Returns once the reader of stdout has gone (`| head -1`): never where stdout is a terminal or a file. A command that follows
/// something ends then, as one that is ended by a broken pipe would; it need not wait for its next line.
pub async fn reader_gone() {
    if io::stdout().is_terminal() {
        pending::<()>().await;
    }
    while !is_unread(&io::stdout()) {
        sleep(LOOK_EVERY).await;
    }
}

/// Whether what is written here has no reader any more.
fn is_unread(output: &impl AsFd) -> bool {
    // Without an event to wait for, macOS says nothing of the reader.
    let mut ends = [PollFd::new(output.as_fd(), PollFlags::POLLOUT)];
    let gone = PollFlags::POLLERR | PollFlags::POLLHUP;
    poll(&mut ends, PollTimeout::ZERO).is_ok()
        && ends
            .iter()
            .filter_map(PollFd::revents)
            .any(|found| found.intersects(gone))
}

/// Turns the result of a write to stdout into the end of a command.
///
/// # Errors
/// As [`data`].
pub fn settle(written: io::Result<()>) -> Result<(), Stop> {
    match written {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Stop::new(
            Exit::Failed,
            "output",
            format!("the output could not be written: {e}"),
        )),
        _ => Ok(()),
    }
}

/// Shows what somebody else streams, as it comes and without a line break, escaped.
pub fn murmur(text: &str) {
    let mut stderr = io::stderr().lock();
    let shown = stderr
        .write_all(text::block(text).as_bytes())
        .and_then(|()| stderr.flush());
    // Where stderr is closed nobody listens.
    drop(shown);
}

/// Says something to the person or program that runs the command. The text is ours; foreign parts of it went through
/// [`crate::text`].
pub fn say(text: &str) {
    note_commands(text);
    // Where stderr is closed nobody listens.
    let _ = io::stderr()
        .lock()
        .write_all(format!("{text}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipe_without_reader_is_unread() {
        let (reader, mut writer) = io::pipe().unwrap();
        assert!(!is_unread(&writer));
        writer.write_all(b"not read yet").unwrap();
        assert!(!is_unread(&writer));
        drop(reader);
        assert!(is_unread(&writer));
        assert!(!is_unread(&tempfile::tempfile().unwrap()));
    }
}
