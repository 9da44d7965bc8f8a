//! The desktop's notifications, through the program that the system has for them.
//!
//! | system | program | how the text travels |
//! |---|---|---|
//! | macOS | `/usr/bin/osascript` | as an argument of a fixed script |
//! | Linux | `notify-send` (Debian: `libnotify-bin`), from PATH | as the summary, which has no markup |
//! | neither | none | a line on standard error |
//!
//! Invariants: the text is never part of a script, a shell's line or markup; a program that hangs is ended.

use super::{as_json, calm::Notice};
use plexus_client::{Stop, out, programs};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// The longest that a program may take to show a notification.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(20);

/// What tells.
pub(super) enum Notifier {
    /// A program that the owner named: its only argument is the text.
    Program(PathBuf),
    /// macOS.
    Script(PathBuf),
    /// The freedesktop notifications.
    Send(PathBuf),
    /// Nothing but a line.
    Line,
    /// JSON lines on stdout, for whoever wants to know what would be told.
    Json,
}

impl Notifier {
    /// What this system has.
    pub(super) fn of_the_system() -> Self {
        let script = Path::new("/usr/bin/osascript");
        if cfg!(target_os = "macos") && script.exists() {
            return Self::Script(script.to_owned());
        }
        match programs::of_the_system("notify-send") {
            Some(program) => Self::Send(program),
            None => {
                out::say(
                    "there is no notify-send (Debian: libnotify-bin): pending requests are printed here instead",
                );
                Self::Line
            }
        }
    }

    /// Tells. A notification that cannot be shown becomes a line on stderr.
    pub(super) async fn tell(&self, notice: &Notice) -> Result<(), Stop> {
        let text = notice.text();
        let Some((program, arguments)) = self.line(&text) else {
            match self {
                Self::Json => return out::line(&as_json(notice).to_string()),
                _ => out::say(&text),
            }
            return Ok(());
        };
        if let Err(why) = show(program, &arguments).await {
            out::say(&format!("{text} ({}: {why})", program.display()));
        }
        Ok(())
    }

    /// The program and its arguments for a text.
    fn line(&self, text: &str) -> Option<(&Path, Vec<OsString>)> {
        let (program, arguments): (_, Vec<&str>) = match self {
            Self::Program(program) => (program, vec![text]),
            Self::Script(program) => (
                program,
                vec![
                    "-e",
                    "on run argv",
                    "-e",
                    "display notification (item 1 of argv) with title \"Plexus\"",
                    "-e",
                    "end run",
                    text,
                ],
            ),
            Self::Send(program) => (program, vec!["--app-name=Plexus", "--", text]),
            Self::Line | Self::Json => return None,
        };
        Some((program, arguments.into_iter().map(OsString::from).collect()))
    }
}

async fn show(program: &Path, arguments: &[OsString]) -> Result<(), String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())?;
    match ended(&mut child).await.map_err(|error| error.to_string())? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(status.to_string()),
        None => {
            let _ = child.kill();
            let _ = child.wait();
            Err(format!("it did not end within {} s", PATIENCE.as_secs()))
        }
    }
}

async fn ended(child: &mut Child) -> std::io::Result<Option<ExitStatus>> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        sleep(LOOK).await;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_one_argument_and_never_part_of_a_script() {
        let text = "Plexus: x\" & do shell script \"id asks for “<b>”";
        let path = PathBuf::from("/p");
        for (notifier, others) in [
            (Notifier::Program(path.clone()), 0),
            (Notifier::Script(path.clone()), 6),
            (Notifier::Send(path), 2),
        ] {
            let (_, arguments) = notifier.line(text).unwrap();
            assert_eq!(arguments.len(), others + 1);
            assert_eq!(arguments.last().unwrap(), text);
            assert!(
                arguments[..others]
                    .iter()
                    .all(|a| !a.to_string_lossy().contains("shell"))
            );
        }
        assert!(Notifier::Line.line(text).is_none());
    }
}
