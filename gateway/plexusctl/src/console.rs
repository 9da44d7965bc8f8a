//! `plexusctl console`: a link that signs a browser of this machine in, once.

use crate::owner::Desk;
use clap::Args;
use plexus_client::{Exit, Stop, out};
use plexus_owner::console::MakeLink;
use plexus_owner_client::browser;

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
    let elsewhere = from_elsewhere(&link.url, has_desktop());
    if console.open {
        browser::open(&link.url).map_err(|stop| match elsewhere {
            Some(forwards) => stop.next(format!("open the printed link yourself; {forwards}")),
            None => stop.next("open the printed link yourself"),
        })?;
    } else if !desk.json {
        out::say("open it in a browser on this machine; it works once, for two minutes");
        if let Some(forwards) = elsewhere {
            out::say(&forwards);
        }
    }
    Ok(exit)
}

/// Whether this terminal has a desktop, where a browser is found.
fn has_desktop() -> bool {
    let shows = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    match cfg!(target_os = "macos") {
        true => !shows("SSH_CONNECTION"),
        false => shows("DISPLAY") || shows("WAYLAND_DISPLAY"),
    }
}

/// How a browser of another machine comes by the link, where this one has no desktop. The port stays the same: the console
/// opens at its own alone.
fn from_elsewhere(url: &str, has_desktop: bool) -> Option<String> {
    let port = url.strip_prefix("http://localhost:")?.split('/').next()?;
    (!has_desktop).then(|| {
        format!("from another machine, forward its port first: ssh -L {port}:localhost:{port} HOST")
    })
}

#[cfg(test)]
mod tests {
    use super::from_elsewhere;

    #[test]
    fn port_is_forwarded_where_there_is_no_desktop() {
        let link = "http://localhost:7431/admin#plx_link_x";
        let forwards =
            "from another machine, forward its port first: ssh -L 7431:localhost:7431 HOST";
        assert_eq!(from_elsewhere(link, false).as_deref(), Some(forwards));
        assert_eq!(from_elsewhere(link, true), None, "the control");
    }
}
