//! `plexus-tray`: the gateway in the tray of the owner's desktop: whether agents are served, how many requests wait, and a
//! menu that opens the console, pauses and resumes.
//!
//! ```text
//! gateway ─feed─▶ watch ─View─▶ linux | macos ─▶ the desktop's tray
//!    ▲              ▲                 │ Act
//!    └── act ◀──────┴─────────────────┘
//! ```
//! Invariants: nothing is decided here, and a request is told by who asks and its label alone; the one secret, a link
//! that signs a browser in, is made when it is wanted and kept nowhere; a gateway that has gone is shown as gone.
//!
//! Must not know: what a card says; an agent's credential.

mod act;
mod icon;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;
mod view;
mod watch;

#[cfg(target_os = "linux")]
use linux as desktop;
#[cfg(target_os = "macos")]
use macos as desktop;

use clap::Parser;
use plexus_client::{Exit, Home, Stop, out};
use std::{path::PathBuf, process::ExitCode};

/// Show in your desktop's tray whether agents are served and how many requests wait
#[derive(Parser)]
#[command(name = "plexus-tray", version, after_help = AFTER)]
struct Cli {
    /// State directory [env: PLEXUS_HOME] [default: ~/.plexus]
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
}

const AFTER: &str = "\
It runs until you quit it in its menu. plexusctl service install --tray starts it with your login.

Exit status: 0 you quit it, 1 failed, 64 usage";

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(why) => {
            // Where the stream is closed nobody listens.
            let _ = why.print();
            let exit = if why.use_stderr() {
                Exit::Usage
            } else {
                Exit::Ok
            };
            return exit.into();
        }
    };
    match run(cli) {
        Ok(()) => Exit::Ok,
        Err(stop) => {
            out::say(&stop.to_string());
            stop.exit
        }
    }
    .into()
}

fn run(cli: Cli) -> Result<(), Stop> {
    let home = Home::resolve(cli.home)?;
    let home = std::path::absolute(home.path()).map_or(home, Home::at);
    let of = home.clone();
    desktop::run(&home, move |icon, acts| watch::run(of, icon, acts))
}

/// A failure of the system.
fn failed(why: impl std::fmt::Display) -> Stop {
    Stop::new(Exit::Failed, "system", why.to_string())
}
