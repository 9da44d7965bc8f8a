//! Runs one of the system's programs: bounded in time and in output. macOS only, where no keeper has been run yet.
//!
//! ```text
//! spawn ─▶ input, output and errors on threads ─┬─ ended ─▶ what it wrote
//!                                               └─ out of time, or too much ─▶ killed
//! ```
//!
//! Invariants: a program is named by its whole path, has no environment, and is reaped before this returns; no argument is
//! logged or part of an error.
//!
//! Must not know: Things, scripts.

use std::{
    io::{self, Read, Write as _},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

/// Most output, in bytes.
const OUTPUT: u64 = 32 * 1024 * 1024;
/// Most of what it says of a failure, in bytes.
const ERRORS: u64 = 16 * 1024;

/// A program, and arguments that come first.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its whole path.
    pub path: PathBuf,
    /// Its first arguments.
    pub arguments: Vec<String>,
}

/// What a program came to.
#[derive(Debug)]
pub struct ProgramOutput {
    /// Whether its status was 0.
    pub ok: bool,
    /// What it wrote.
    pub output: Vec<u8>,
    /// What it said of a failure.
    pub errors: String,
}

impl Program {
    /// Runs it with a last argument, and `input` as its input.
    ///
    /// # Errors
    /// `TimedOut`; `FileTooLarge`; what the system says to its start.
    pub fn run(
        &self,
        argument: &str,
        input: &'static str,
        within: Duration,
    ) -> io::Result<ProgramOutput> {
        let deadline = Instant::now() + within;
        let mut child = self.spawn(argument)?;
        let (Some(mut stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(io::Error::other("no pipes"));
        };
        // One that does not read ends by its own status.
        thread::spawn(move || stdin.write_all(input.as_bytes()));
        let (output, errors) = (drained(stdout, OUTPUT), drained(stderr, ERRORS));
        let left = || deadline.saturating_duration_since(Instant::now());
        let written = output
            .recv_timeout(left())
            .and_then(|output| Ok((output, errors.recv_timeout(left())?)));
        if written.is_err() {
            child.kill()?;
        }
        let ok = child.wait()?.success();
        match written {
            Ok((output, _)) if output.len() as u64 > OUTPUT => {
                Err(io::ErrorKind::FileTooLarge.into())
            }
            Ok((output, errors)) => Ok(ProgramOutput {
                ok,
                output,
                errors: String::from_utf8_lossy(&errors).into_owned(),
            }),
            Err(RecvTimeoutError::Timeout) => Err(io::ErrorKind::TimedOut.into()),
            Err(RecvTimeoutError::Disconnected) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn spawn(&self, argument: &str) -> io::Result<Child> {
        Command::new(&self.path)
            .args(&self.arguments)
            .arg(argument)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    }
}

/// All that comes from `pipe`, as far as `most` and one byte more.
fn drained(pipe: impl Read + Send + 'static, most: u64) -> mpsc::Receiver<Vec<u8>> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.take(most + 1).read_to_end(&mut bytes);
        let _ = send.send(bytes);
    });
    receive
}
