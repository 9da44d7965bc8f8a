//! `plexusctl tokens` (docs/protocol/owner.md#grants-and-tokens).

use crate::{owner::Desk, table::table};
use clap::{Args, Subcommand};
use plexus_client::{Exit, Stop, span};
use plexus_owner::grants::{ListTokens, LiveToken};

/// Live tokens.
#[derive(Args)]
pub(crate) struct Tokens {
    #[command(subcommand)]
    act: Option<Act>,
}

#[derive(Subcommand)]
enum Act {
    /// Show live tokens
    List,
}

/// Shows live tokens: what each opens, and until when. The tokens themselves are never shown.
pub(crate) async fn run(desk: &Desk, tokens: Tokens) -> Result<Exit, Stop> {
    let Act::List = tokens.act.unwrap_or(Act::List);
    let reply = desk.open().await?.call(&ListTokens {}).await?;
    desk.show(&reply, || {
        let now = span::now();
        let row = |token: &LiveToken| {
            let scopes: Vec<_> = token.scopes.iter().map(|s| s.id.as_str()).collect();
            [
                token.agent_id.to_string(),
                scopes.join(" "),
                span::end(token.expires_at, now),
                token.jti.to_string(),
            ]
        };
        table(
            ["agent", "opens", "ends", "token"],
            reply.tokens.iter().map(row).collect(),
            "no live tokens; who may call: plexusctl agents list",
        )
    })
}
