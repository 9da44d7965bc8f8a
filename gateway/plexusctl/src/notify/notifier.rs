//! The desktop's notifications, through the program that the system has for them.
//!
//! | system | program | how the text travels |
//! |---|---|---|
//! | macOS | `/usr/bin/osascript` | as an argument of a fixed script |
//! | Linux | `notify-send` (Debian: `libnotify-bin`), from PATH | as the summary, which has no markup |
//! | neither | none | a line on standard error |
//!
//! With `--follow`, and where `notify-send` knows actions, a notification has a button: the program stays until its notification
//! has gone, and prints the button that was pressed.
//!
//! Invariants: the text is never part of a script, a shell's line or markup; a program that hangs is ended; one notification
//! with a button at a time.

use super::{as_json, calm::Notice};
use crate::doctor::said;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use plexus_client::{Home, Stop, out, programs};
use plexus_owner_client::browser;
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    pin::pin,
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    process::{Child, Command},
    sync::oneshot::{self, Receiver, Sender},
    time::timeout,
};

/// The longest that a program may take to show a notification, or to close it.
const PATIENCE: Duration = Duration::from_secs(10);
/// What `notify-send` prints where its button was pressed.
const OPEN: &str = "open";
/// What it says where the desktop shows a notification without its button.
const NO_BUTTON: &str = "Actions are not supported";

/// What tells.
pub(super) enum Notifier {
    /// A program that the owner named: its only argument is the text.
    Program(PathBuf),
    /// macOS.
    Script(PathBuf),
    /// The freedesktop notifications, with a button or without.
    Send { program: PathBuf, offers: bool },
    /// Nothing but a line.
    Line,
    /// JSON lines on stdout, for a person who wants to see what would be sent.
    Json,
}

/// A notification with a button. It goes when this is dropped.
pub(super) struct Offer {
    _held: Sender<()>,
}

impl Notifier {
    /// What this system has; `stays` where there is somebody to do what its button says.
    pub(super) fn of_the_system(stays: bool) -> Self {
        let script = Path::new("/usr/bin/osascript");
        if cfg!(target_os = "macos") && script.exists() {
            return Self::Script(script.to_owned());
        }
        match programs::of_the_system("notify-send") {
            Some(program) => Self::Send {
                offers: stays && knows_actions(&program),
                program,
            },
            None => {
                out::say(
                    "there is no notify-send (Debian: libnotify-bin): pending requests are printed here instead",
                );
                Self::Line
            }
        }
    }

    /// Tells. A notification that cannot be shown becomes a line on stderr.
    pub(super) async fn tell(&self, notice: &Notice, home: &Home) -> Result<Option<Offer>, Stop> {
        let text = notice.text();
        let (page, button) = notice.page();
        let Some((program, arguments)) = self.line(&text, button) else {
            match self {
                Self::Json => out::line(&as_json(notice).to_string())?,
                _ => out::say(&text),
            }
            return Ok(None);
        };
        let failed = format!("{text} ({}", program.display());
        let offers = matches!(self, Self::Send { offers: true, .. });
        let child = match started(program, &arguments, offers) {
            Ok(child) => child,
            Err(why) => {
                out::say(&format!("{failed}: {why})"));
                return Ok(None);
            }
        };
        if offers {
            let (held, gone) = oneshot::channel();
            let home = home.clone();
            tokio::spawn(async move {
                match pressed(child, gone).await {
                    Ok(false) => {}
                    Ok(true) => {
                        if let Err(stop) = browser::open_page(&home, &page).await {
                            out::say(&stop.to_string());
                        }
                    }
                    Err(why) => out::say(&format!("{failed}: {why})")),
                }
            });
            return Ok(Some(Offer { _held: held }));
        }
        if let Err(why) = shown(child).await {
            out::say(&format!("{failed}: {why})"));
        }
        Ok(None)
    }

    /// The program and its arguments for a text, and for the words of a button.
    fn line(&self, text: &str, button: &str) -> Option<(&Path, Vec<OsString>)> {
        let action = format!("--action={OPEN}={button}");
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
            Self::Send { program, offers } => {
                let action = offers.then_some(&*action);
                let before = ["--app-name=Plexus"].into_iter().chain(action);
                (program, before.chain(["--", text]).collect())
            }
            Self::Line | Self::Json => return None,
        };
        Some((program, arguments.into_iter().map(OsString::from).collect()))
    }
}

/// Whether this `notify-send` can wait for a button: those before libnotify 0.8 cannot.
fn knows_actions(program: &Path) -> bool {
    said(program, &["--help"], PATIENCE).is_ok_and(|help| help.contains("--action"))
}

fn started(program: &Path, arguments: &[OsString], is_heard: bool) -> std::io::Result<Child> {
    let output = || match is_heard {
        true => Stdio::piped(),
        false => Stdio::null(),
    };
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(output())
        .stderr(output())
        .kill_on_drop(true)
        .spawn()
}

async fn shown(mut child: Child) -> Result<(), String> {
    let ended = timeout(PATIENCE, child.wait()).await;
    let late = |_| format!("it did not end within {} s", PATIENCE.as_secs());
    well(ended.map_err(late)?.map_err(|error| error.to_string())?)
}

fn well(status: ExitStatus) -> Result<(), String> {
    match status.success() {
        true => Ok(()),
        false => Err(status.to_string()),
    }
}

/// Whether the button was pressed, once its notification has gone by itself or another takes its place.
async fn pressed(child: Child, gone: Receiver<()>) -> Result<bool, String> {
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    let mut ended = pin!(child.wait_with_output());
    let ended = tokio::select! {
        ended = &mut ended => ended,
        _ = gone => {
            // `notify-send` closes its notification then. Nobody has waited for it: the number is its own.
            if let Some(id) = id {
                let _ = kill(Pid::from_raw(id), Signal::SIGINT);
            }
            let _ = timeout(PATIENCE, ended).await;
            return Ok(false);
        }
    };
    let output = ended.map_err(|error| error.to_string())?;
    if String::from_utf8_lossy(&output.stderr).contains(NO_BUTTON) {
        return Ok(false);
    }
    well(output.status)?;
    Ok(output.stdout.trim_ascii() == OPEN.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_one_argument_and_never_part_of_a_script() {
        let text = "Plexus: x\" & do shell script \"id asks for “<b>”";
        let path = PathBuf::from("/p");
        let send = |offers| Notifier::Send {
            program: path.clone(),
            offers,
        };
        for (notifier, others) in [
            (Notifier::Program(path.clone()), 0),
            (Notifier::Script(path.clone()), 6),
            (send(false), 2),
            (send(true), 3),
        ] {
            let (_, arguments) = notifier.line(text, "Open the card").unwrap();
            assert_eq!(arguments.len(), others + 1);
            assert_eq!(arguments.last().unwrap(), text);
            assert!(
                arguments[..others]
                    .iter()
                    .all(|a| !a.to_string_lossy().contains("shell"))
            );
        }
        assert!(Notifier::Line.line(text, "").is_none());
    }
}
