//! `plexusctl console`: a link that signs a browser of this machine in, once.

use crate::{owner::Desk, programs};
use clap::Args;
use plexus_client::{Exit, Stop, out};
use plexus_owner::console::MakeLink;
use std::process::{Command, Stdio};

/// What opens a link in the owner's browser.
const OPENER: &str = if cfg!(target_os = "macos") {
    "/usr/bin/open"
} else {
    "xdg-open"
};

/// Print a link that signs your browser in to the console, once, within two minutes
#[derive(Args)]
pub(crate) struct Console {
    /// Also open it in your browser
    #[arg(long)]
    open: bool,
}

/// Runs the command.
pub(crate) async fn run(desk: &Desk, console: Console) -> Result<Exit, Stop> {
    desk.ask_for_person::<MakeLink>()?;
    let link = desk.open().await?.call(&MakeLink {}).await?;
    let exit = desk.show(&link, || link.url.clone())?;
    if console.open {
        open(&link.url)?;
    } else if !desk.json {
        out::say("open it in a browser on this machine; it works once, for two minutes");
    }
    Ok(exit)
}

/// Hands the link to the desktop. Other programs of this user can see it in the list of processes until it is used, or
/// too old; they could read the key as well.
fn open(url: &str) -> Result<(), Stop> {
    let program = programs::of_the_system(OPENER)
        .ok_or_else(|| no_browser(&format!("{OPENER} is not found by PATH")))?;
    let ended = Command::new(program)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(no_browser(&format!("{OPENER} ended with {status}"))),
        Err(error) => Err(no_browser(&format!("{OPENER}: {error}"))),
    }
}

fn no_browser(why: &str) -> Stop {
    Stop::new(
        Exit::Failed,
        "no_browser",
        format!("no browser was opened: {why}"),
    )
    .next("open the printed link yourself")
}
