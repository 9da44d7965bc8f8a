//! The owner's browser: how an address is handed to it, and a page of the console.

use crate::Owner;
use plexus_client::{Exit, Home, Stop, programs};
use plexus_owner::console::MakeLink;
use std::process::{Command, Stdio};
use tokio::sync::oneshot;

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

/// Opens a page of the console, signed in by a link that is made for it. A person chose that on their own desktop, so none is
/// asked for at a terminal. Dropped, it no longer waits; the browser stays.
///
/// # Errors
/// The gateway's refusal; those of [`open`].
pub async fn open_page(home: &Home, page: &str) -> Result<(), Stop> {
    let link = Owner::open(home).await?.call(&MakeLink {}).await?;
    let url = link.to(page);
    let (told, ended) = oneshot::channel();
    // A thread of its own: some browsers end with their last window.
    std::thread::spawn(move || {
        let _ = told.send(open(&url));
    });
    let lost = |_| Stop::new(Exit::Failed, "system", "the browser's thread has ended");
    ended.await.map_err(lost)?
}

fn no_browser(why: &str) -> Stop {
    let why = format!("no browser was opened: {why}");
    Stop::new(Exit::Failed, "no_browser", why).next("plexusctl console prints the link")
}
