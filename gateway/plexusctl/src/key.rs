//! `plexusctl key`: the owner's own credential.

use crate::owner::{Desk, json_line, read_key};
use clap::{Args, Subcommand};
use plexus_client::{Exit, Stop, out};
use serde::Serialize;
use serde_json::json;

/// The connection key.
#[derive(Args)]
pub(crate) struct Key {
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand)]
enum Act {
    /// Print the key, for the console's login
    Print,
    /// Rotate the key: revokes every session, token, code and agent credential
    Rotate,
}

/// The key, as it is printed.
#[derive(Serialize)]
struct ShownKey<'k> {
    key: &'k str,
}

/// Runs the sub-command.
pub(crate) async fn run(desk: &Desk, key: Key) -> Result<Exit, Stop> {
    match key.act {
        Act::Print => {
            desk.widen("printing the connection key")?;
            let key = read_key(&desk.home)?;
            let shown = match desk.json {
                true => json_line(&ShownKey { key: key.expose() })?,
                // As it is: one that is wrapped cannot be pasted.
                false => key.expose().to_owned(),
            };
            out::line(&shown).map(|()| Exit::Ok)
        }
        Act::Rotate => {
            desk.widen("rotating the connection key")?;
            let reply = desk
                .open()
                .await?
                .post("/v1/connection-key/rotate", &json!({}))
                .await?;
            // The new key is in its file; here it would only end up in a scroll-back or a log.
            let shown = json!({"ok": reply["ok"], "epoch": reply["epoch"]});
            desk.show(&shown, || {
                format!(
                    "rotated: the new key is in {}. Every session, token, code and agent's credential has ended; \
                     grants stay. A new code for each agent: plexusctl agents code AGENT",
                    desk.home.connection_key().display()
                )
            })
        }
    }
}
