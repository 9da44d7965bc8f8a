//! `plexusctl sources test`: starts what is not running, asks each source how it does, and says what is wrong.

use super::there;
use crate::{
    owner::{Desk, Owner, list_of, text_of},
    table::table,
};
use clap::Args;
use plexus_client::{Exit, Stop, text};
use plexus_protocol::SourceId;
use serde_json::{Value, json};

/// Sources to test.
#[derive(Args)]
pub(super) struct Test {
    /// Source [default: all that are enabled]
    source: Option<SourceId>,
}

impl Test {
    /// 0 where all of them serve, 1 where one does not.
    pub(super) async fn run(&self, desk: &Desk, owner: &mut Owner) -> Result<Exit, Stop> {
        let mut rows = health(owner).await?;
        if let Some(source) = &self.source {
            rows.retain(|row| row["id"] == source.as_str());
            if rows.is_empty() {
                there(owner, source).await?;
                let why = format!("{source} is disabled, so it serves nobody");
                let stop = Stop::new(Exit::Failed, "disabled", why);
                return Err(stop.next(format!("plexusctl sources enable {source}")));
            }
        }
        let sound = rows.iter().all(serves);
        desk.show(&json!({ "sources": rows }), || as_text(&rows))?;
        Ok(if sound { Exit::Ok } else { Exit::Failed })
    }
}

/// How the enabled sources do, found out now.
pub(crate) async fn health(owner: &mut Owner) -> Result<Vec<Value>, Stop> {
    let reply = owner.get("/admin/api/health").await?;
    Ok(list_of(&reply, "sources").to_vec())
}

/// How one source does, found out now; none where it is not enabled.
pub(super) async fn health_of(owner: &mut Owner, source: &str) -> Result<Option<Value>, Stop> {
    let rows = health(owner).await?;
    Ok(rows.into_iter().find(|row| row["id"] == source))
}

/// Whether agents can use it, if only in part.
pub(super) fn serves(row: &Value) -> bool {
    matches!(text_of(row, "status"), "ok" | "degraded")
}

/// How it does, in a line; what is wrong names what to do.
pub(crate) fn sentence(row: &Value) -> String {
    let id = text::line(text_of(row, "id"));
    let detail = text::line(text_of(row, "detail"));
    match (text_of(row, "status"), &*detail) {
        ("ok", _) => format!("{id} serves"),
        ("degraded", why) => format!("{id} serves in part: {why}"),
        (_, "") => format!("{id} has not answered in time: plexusctl sources test {id}"),
        (_, why) => format!("{id} does not serve: {why}"),
    }
}

fn as_text(rows: &[Value]) -> String {
    let cells = rows.iter().map(|row| {
        let state = match text_of(row, "status") {
            "unknown" => "no answer in time",
            status => status,
        };
        [
            text_of(row, "id").to_owned(),
            state.to_owned(),
            text_of(row, "detail").to_owned(),
        ]
    });
    table(
        ["source", "state", "detail"],
        cells.collect(),
        "no source is enabled: plexusctl sources add",
    )
}
