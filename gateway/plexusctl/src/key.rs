//! `plexusctl key`: the owner's own credential.

use crate::{
    ended::ended_items,
    owner::{Desk, UNREADABLE, json_line, read_key},
    prompt::confirm,
};
use clap::{Args, Subcommand};
use plexus_client::{Done, Exit, Stop, out};
use plexus_protocol::PendingId;
use serde::{Deserialize, Serialize};
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
    Rotate {
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
    },
}

/// The key, as it is printed.
#[derive(Serialize)]
struct ShownKey<'k> {
    key: &'k str,
}

/// The outcome of a rotation. The new key is in its file; here it would only end up in a scroll-back or a log.
#[derive(Serialize, Deserialize)]
struct RotatedKey {
    ok: bool,
    epoch: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ended: Vec<PendingId>,
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
        Act::Rotate { yes } => {
            desk.widen("rotating the connection key")?;
            if desk.asks(yes) {
                let question = "rotate the key, which ends every session, token, code and agent's credential, and each \
                                request that waits";
                confirm(desk, question, "--yes")?;
            }
            let reply = desk
                .open()
                .await?
                .post("/v1/connection-key/rotate", &json!({}))
                .await?;
            let rotated: RotatedKey = serde_json::from_value(reply).map_err(|why| {
                Stop::new(Exit::Failed, UNREADABLE, why.to_string()).done(Done::Done)
            })?;
            desk.show(&rotated, || {
                format!(
                    "rotated: the new key is in {}. Every session, token, code and agent's credential has ended; \
                     grants stay. A new code for each agent: plexusctl agents code AGENT{}",
                    desk.home.connection_key().display(),
                    ended_items(&rotated.ended)
                )
            })
        }
    }
}
