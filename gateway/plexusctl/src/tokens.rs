//! `plexusctl tokens` (docs/protocol/owner.md#grants-and-tokens).

use crate::{
    owner::{Desk, list_of, text_of},
    table::table,
};
use plexus_client::{Exit, Stop, span};

/// Shows live tokens: what each opens, and until when. The tokens themselves are never shown.
pub(crate) async fn run(desk: &Desk) -> Result<Exit, Stop> {
    let reply = desk.open().await?.get("/admin/api/tokens").await?;
    desk.show(&reply, || {
        let now = span::now();
        let rows = list_of(&reply, "tokens").iter().map(|token| {
            let scopes: Vec<_> = list_of(token, "scopes")
                .iter()
                .map(|scope| text_of(scope, "id"))
                .collect();
            let ends = serde_json::from_value(token["expiresAt"].clone());
            let ends = ends.map_or_else(|_| "?".to_owned(), |at| span::end(at, now));
            [
                text_of(token, "agentId").to_owned(),
                scopes.join(" "),
                ends,
                text_of(token, "jti").to_owned(),
            ]
        });
        table(
            ["agent", "opens", "ends", "token"],
            rows.collect(),
            "no live tokens",
        )
    })
}
