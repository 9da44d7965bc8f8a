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
    if console.open {
        browser::open(&link.url).map_err(|stop| stop.next("open the printed link yourself"))?;
    } else if !desk.json {
        out::say("open it in a browser on this machine; it works once, for two minutes");
    }
    Ok(exit)
}
