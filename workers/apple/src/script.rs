//! A fixed script for an app, run by `/usr/bin/osascript`.
//!
//! ```text
//! ask ─▶ osascript -l JavaScript FILE JSON ─▶ {"ok": …} | {"error": {"number", "message"}} ─▶ answer | failure
//!          └── 15 s ──▶ SIGKILL to its whole group
//! ```
//!
//! Invariants: a script is text of this program, and an input one JSON argument, so no value becomes code; an answer is
//! bounded in bytes; numbers decide, because words are translated.
//!
//! Not used by the workers, which start no program (decision 0051). The stores on it are held by tests with a double of
//! the apps.
//!
//! Must not know: what a script asks.

use crate::{Failure, PATIENCE};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fs,
    io::{self, Read},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Largest answer of a script, in bytes.
const LARGEST: u64 = 32 * 1024 * 1024;
/// Of what a script writes to its standard error.
const LARGEST_ERROR: u64 = 64 * 1024;

/// A script, whose text is part of this program.
#[derive(Clone, Copy, Debug)]
pub struct Script {
    /// Its file's name, which stands in error messages.
    pub name: &'static str,
    /// JavaScript with `function run(argv)`.
    pub text: &'static str,
}

/// What a script wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// To its standard output.
    pub output: Vec<u8>,
    /// To its standard error.
    pub error: String,
}

/// Runs scripts.
pub trait Runner: Send + Sync + 'static {
    /// Runs `script` with one argument.
    ///
    /// # Errors
    /// [`Failure::Hanging`], [`Failure::TooLarge`]; [`Failure::Sandboxed`] where no program may be started.
    fn run(&self, script: Script, argument: &str) -> Result<Written, Failure>;
}

/// Asks `script` for `input`.
///
/// # Errors
/// The app's failure, or that of running it.
pub fn ask<Out: DeserializeOwned>(
    runner: &dyn Runner,
    script: Script,
    input: &impl Serialize,
) -> Result<Out, Failure> {
    let argument = serde_json::to_string(input).map_err(|_| Failure::BadAnswer)?;
    let written = runner.run(script, &argument)?;
    match serde_json::from_slice(&written.output) {
        Ok(Answer::Ok(answer)) => Ok(answer),
        Ok(Answer::Error { number }) => Err(Failure::of_number(number)),
        Err(_) => Err(number_of(&written.error).map_or(Failure::BadAnswer, Failure::of_number)),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer<Out> {
    Ok(Out),
    Error { number: i64 },
}

/// The number at the end of a line such as `x.js: execution error: … (-1743)`.
fn number_of(error: &str) -> Option<i64> {
    let line = error.trim_end();
    line.strip_suffix(')')?.rsplit_once('(')?.1.parse().ok()
}

/// `/usr/bin/osascript`, or what stands for it.
#[derive(Debug)]
pub struct Osascript {
    program: PathBuf,
    arguments: Vec<String>,
    patience: Duration,
    /// Where scripts lie: for this user alone.
    folder: TempDir,
}

impl Osascript {
    /// The system's.
    ///
    /// # Errors
    /// There is no place for the scripts.
    pub fn new() -> io::Result<Self> {
        Self::with("/usr/bin/osascript", &["-l", "JavaScript"], PATIENCE)
    }

    /// Another program with these arguments before the script's file.
    ///
    /// # Errors
    /// As [`Osascript::new`].
    pub fn with(
        program: impl Into<PathBuf>,
        arguments: &[&str],
        patience: Duration,
    ) -> io::Result<Self> {
        Ok(Self {
            program: program.into(),
            arguments: arguments.iter().map(|&text| text.to_owned()).collect(),
            patience,
            folder: tempfile::Builder::new()
                .prefix("plexus-scripts")
                .tempdir()?,
        })
    }

    fn start(&self, script: Script, argument: &str) -> io::Result<Child> {
        // A bare name, because messages begin with the path that was given.
        let file = self.folder.path().join(script.name);
        if !file.exists() {
            fs::write(&file, script.text)?;
        }
        Command::new(&self.program)
            .args(&self.arguments)
            .arg(script.name)
            .arg(argument)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
    }
}

impl Runner for Osascript {
    fn run(&self, script: Script, argument: &str) -> Result<Written, Failure> {
        let mut child = self
            .start(script, argument)
            .map_err(|error| match error.kind() {
                io::ErrorKind::PermissionDenied => Failure::Sandboxed,
                _ => Failure::AppMissing,
            })?;
        let (heard, hear) = mpsc::channel();
        let output = child.stdout.take().map(|pipe| listen(pipe, LARGEST));
        let error = child.stderr.take().map(|pipe| listen(pipe, LARGEST_ERROR));
        thread::spawn(move || {
            let text = |heard: Option<thread::JoinHandle<Vec<u8>>>| {
                heard
                    .and_then(|heard| heard.join().ok())
                    .unwrap_or_default()
            };
            let written = Written {
                output: text(output),
                error: String::from_utf8_lossy(&text(error)).into_owned(),
            };
            let _ = heard.send(written);
        });
        let deadline = Instant::now() + self.patience;
        let written = hear.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        // Both pipes are at their end, or the time is over: the group is not needed any more. The child is not reaped
        // yet, so the number is still its own.
        if let Ok(group) = i32::try_from(child.id()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        let _ = child.wait();
        let written = written.map_err(|_| Failure::Hanging)?;
        match written.output.len() as u64 > LARGEST {
            true => Err(Failure::TooLarge),
            false => Ok(written),
        }
    }
}

/// Reads a pipe to its end, `most` bytes and one.
fn listen(pipe: impl Read + Send + 'static, most: u64) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let mut pipe = pipe.take(most + 1);
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const SHELL: Script = Script {
        name: "script.sh",
        text: "case \"$1\" in *hang*) (echo started; exec sleep 600) > fifo & wait;; *big*) yes | head -c 40000000;; *) printf '%s\\n' \"$1\";; esac",
    };

    fn shell(patience: Duration) -> Osascript {
        Osascript::with("/bin/sh", &[], patience).unwrap()
    }

    struct Said(&'static str, &'static str);

    impl Runner for Said {
        fn run(&self, _: Script, _: &str) -> Result<Written, Failure> {
            Ok(Written {
                output: self.0.into(),
                error: self.1.into(),
            })
        }
    }

    #[test]
    fn script_that_hangs_is_ended_with_its_whole_group() {
        let runner = shell(Duration::from_millis(500));
        let fifo = runner.folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        // Read to its end only once nobody can write to it any more: the script's own child holds it.
        let held = thread::spawn(move || fs::read(fifo).unwrap());
        assert_eq!(runner.run(SHELL, "hang"), Err(Failure::Hanging));
        assert_eq!(held.join().unwrap(), b"started\n");
    }

    #[test]
    fn answer_beyond_the_bound_is_an_error() {
        let runner = shell(PATIENCE);
        assert_eq!(runner.run(SHELL, "big"), Err(Failure::TooLarge));
    }

    #[test]
    fn argument_reaches_the_script_as_it_is() {
        let runner = shell(PATIENCE);
        let odd = json!({"ok": "'\"$(touch x)\\\u{2028}${y}`z`; -e"});
        let answer: Value = ask(&runner, SHELL, &odd).unwrap();
        assert_eq!(answer, odd["ok"]);
        let mut left = fs::read_dir(runner.folder.path()).unwrap();
        assert!(left.all(|entry| entry.unwrap().file_name() == "script.sh"));
    }

    #[test]
    fn failure_is_read_from_the_number_in_any_language() {
        let failure = |output, error| ask::<Value>(&Said(output, error), SHELL, &json!({})).err();
        for (error, expected) in [
            (
                "a.js: execution error: Error: Not authorised to send Apple events to Calendar. (-1743)\n",
                Failure::AutomationDenied,
            ),
            (
                "a.js: execution error: Error: Not authorized to send Apple events to Calendar. (-1743)",
                Failure::AutomationDenied,
            ),
            (
                "a.js: Ausführungsfehler: Fehler: Zeitüberschreitung. (-1712)",
                Failure::Hanging,
            ),
            (
                "a.js: execution error: Error: Application isn't running. (-600)",
                Failure::AppQuit,
            ),
            (
                "a.js: execution error: Error: x (-10004)",
                Failure::Sandboxed,
            ),
            ("no number", Failure::BadAnswer),
            ("", Failure::BadAnswer),
        ] {
            assert_eq!(failure("", error), Some(expected), "{error}");
        }
        assert_eq!(
            failure(
                "{\"error\": {\"number\": -1728, \"message\": \"(-1743)\"}}\n",
                ""
            ),
            Some(Failure::Gone)
        );
        assert_eq!(failure("missing value\n", ""), Some(Failure::BadAnswer));
        assert_eq!(
            ask::<Value>(&Said("{\"ok\": [1]}\n", ""), SHELL, &json!({})),
            Ok(json!([1]))
        );
    }

    #[test]
    fn program_that_is_not_there_is_a_failure() {
        let runner = Osascript::with("/nonexistent/osascript", &[], PATIENCE).unwrap();
        assert_eq!(runner.run(SHELL, ""), Err(Failure::AppMissing));
    }
}
