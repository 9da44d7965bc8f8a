//! `plexusctl network`: where the gateway listens (docs/protocol/owner.md#network).

use crate::{owner::Desk, table::table};
use clap::{Args, Subcommand};
use plexus_client::{Exit, Stop};
use plexus_owner::network::{Change, NetworkState, Show};

/// Network settings.
#[derive(Args)]
pub(crate) struct Network {
    #[command(subcommand)]
    act: Option<Act>,
}

#[derive(Subcommand)]
enum Act {
    /// Show listening addresses and public names
    Show,
    /// Change them; takes effect at the next start
    Set {
        /// Address to listen on; may be given again
        #[arg(long, value_name = "ADDRESS", required = true)]
        bind: Vec<String>,
        /// Public name to accept as Host; may be given again
        #[arg(long, value_name = "NAME")]
        hostname: Vec<String>,
        /// Remove every public name
        #[arg(long, conflicts_with = "hostname")]
        no_hostnames: bool,
    },
}

/// Runs the sub-command.
pub(crate) async fn run(desk: &Desk, network: Network) -> Result<Exit, Stop> {
    match network.act.unwrap_or(Act::Show) {
        Act::Show => {
            let reply = desk.open().await?.call(&Show {}).await?;
            desk.show(&reply, || as_text(&shown(&reply)))
        }
        Act::Set {
            bind,
            hostname,
            no_hostnames,
        } => {
            desk.ask_for_person::<Change>()?;
            let exposed = bind.iter().any(|address| !is_here(address));
            let named = no_hostnames || !hostname.is_empty();
            let change = Change {
                bind_addresses: Some(bind),
                public_hostnames: named.then_some(hostname),
            };
            let reply = desk.open().await?.call(&change).await?;
            desk.show(&reply, || {
                let set = [
                    row("configured", &reply.bind_addresses),
                    row("names", &reply.public_hostnames),
                ];
                let mut said =
                    format!("{}\nit takes effect when plexusd starts again", as_text(&set));
                if exposed {
                    said.push_str(
                        "\nWARNING: then other machines can reach it, and credentials cross the network unencrypted",
                    );
                }
                said
            })
        }
    }
}

/// Whether only this machine can connect to `address`.
fn is_here(address: &str) -> bool {
    address == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

fn shown(reply: &NetworkState) -> [[String; 2]; 4] {
    [
        row("configured", &reply.bind_addresses),
        row("listening", &reply.active),
        row("names", &reply.public_hostnames),
        row("port", &[reply.bound_port]),
    ]
}

fn row(name: &str, values: &[impl ToString]) -> [String; 2] {
    let values: Vec<_> = values.iter().map(ToString::to_string).collect();
    let values = match values.is_empty() {
        true => "none".to_owned(),
        false => values.join(" "),
    };
    [name.to_owned(), values]
}

fn as_text(rows: &[[String; 2]]) -> String {
    table(["what", "value"], rows.to_vec(), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_here() {
        for (address, here) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("localhost", true),
            ("0.0.0.0", false),
            ("192.168.1.2", false),
            ("host.example", false),
        ] {
            assert_eq!(is_here(address), here, "{address}");
        }
    }
}
