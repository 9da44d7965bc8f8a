//! `plexusctl network`: where the gateway listens (docs/protocol/owner.md#network).

use crate::{
    owner::{Desk, list_of},
    table::table,
};
use clap::{Args, Subcommand};
use plexus_client::{Exit, Stop};
use serde_json::{Value, json};

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
            let reply = desk.open().await?.get("/admin/api/network").await?;
            desk.show(&reply, || as_text(&reply))
        }
        Act::Set {
            bind,
            hostname,
            no_hostnames,
        } => {
            desk.widen("changing where the gateway listens")?;
            let mut body = json!({"bindAddresses": bind});
            if no_hostnames || !hostname.is_empty() {
                body["publicHostnames"] = json!(hostname);
            }
            let reply = desk.open().await?.post("/admin/api/network", &body).await?;
            desk.show(&reply, || {
                let mut said = format!(
                    "{}\nit takes effect when plexusd starts again",
                    as_text(&reply)
                );
                if bind.iter().any(|address| !is_here(address)) {
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

fn as_text(reply: &Value) -> String {
    let rows = [
        ("configured", "bindAddresses"),
        ("listening", "active"),
        ("names", "publicHostnames"),
    ];
    let rows = rows
        .iter()
        .filter(|(_, member)| reply[*member].is_array())
        .map(|(name, member)| {
            let values: Vec<_> = list_of(reply, member)
                .iter()
                .filter_map(Value::as_str)
                .collect();
            [
                (*name).to_owned(),
                if values.is_empty() {
                    "none".to_owned()
                } else {
                    values.join(" ")
                },
            ]
        });
    let port = reply["boundPort"]
        .as_u64()
        .map(|port| ["port".to_owned(), port.to_string()]);
    table(["what", "value"], rows.chain(port).collect(), "")
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
