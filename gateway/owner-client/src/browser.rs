//! The owner's browser: how an address is handed to it.

use plexus_client::{Exit, Stop, programs};
use std::process::{Command, Stdio};

/// What opens an address on this desktop.
const OPENER: &str = if cfg!(target_os = "macos") {
    "/usr/bin/open"
} else {
    "xdg-open"
};

/// Hands an address to the desktop, and waits until its program ends. Other programs of this user can see it in the list
/// of processes until a link in it is used, or too old; they could read the key as well.
///
/// # Errors
/// `no_browser`: there is no such program, or it failed.
pub fn open(url: &str) -> Result<(), Stop> {
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
    let why = format!("no browser was opened: {why}");
    Stop::new(Exit::Failed, "no_browser", why).next("plexusctl console prints the link")
}
