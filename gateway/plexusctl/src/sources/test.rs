//! `plexusctl sources test`: starts what is not running, asks each source how it does, and says what is wrong.

use super::there;
use crate::{
    owner::{Desk, Owner, patiently},
    table::table,
};
use clap::Args;
use plexus_client::{Exit, Stop, commands, text};
use plexus_owner::{
    sources::{Health, HealthStatus, Probe, ProbedSource},
    troubles::secret_command,
};
use plexus_protocol::SourceId;
use serde::Serialize;

/// Sources to test.
#[derive(Args)]
pub(super) struct Test {
    /// Source [default: all that are enabled]
    source: Option<SourceId>,
}

impl Test {
    /// 0 where all of them serve, 1 where one does not.
    pub(super) async fn run(&self, desk: &Desk, owner: &mut Owner) -> Result<Exit, Stop> {
        let asking = "each source is started, and asked how it does…";
        let mut rows = patiently(asking, health(owner)).await?;
        if let Some(source) = &self.source {
            rows.retain(|row| row.id == *source);
            if rows.is_empty() {
                there(owner, source).await?;
                let why = format!("{source} is disabled, so it serves nobody");
                let stop = Stop::new(Exit::Failed, "disabled", why);
                return Err(stop.next(format!("plexusctl sources enable {source}")));
            }
        }
        let tested = TestResult { sources: rows };
        desk.show(&tested, || as_text(&tested.sources))?;
        Ok(match tested.sources.iter().all(serves) {
            true => Exit::Ok,
            false => Exit::Failed,
        })
    }
}

/// Those that were tested.
#[derive(Serialize)]
struct TestResult {
    sources: Vec<ProbedSource>,
}

/// How the enabled sources do, found out now.
pub(crate) async fn health(owner: &mut Owner) -> Result<Vec<ProbedSource>, Stop> {
    Ok(owner.call(&Probe {}).await?.sources)
}

/// How one source does, found out now; none where it is not enabled.
pub(super) async fn health_of(
    owner: &mut Owner,
    source: &SourceId,
) -> Result<Option<ProbedSource>, Stop> {
    let rows = health(owner).await?;
    Ok(rows.into_iter().find(|row| row.id == *source))
}

/// Whether agents can use it, if only in part.
fn serves(row: &ProbedSource) -> bool {
    matches!(row.health.status, HealthStatus::Ok | HealthStatus::Degraded)
}

/// How it does, and why not as it should, not made safe.
pub(crate) fn state_of(id: &SourceId, health: &Health) -> String {
    let state = health.status.in_words();
    match detail_of(id, health) {
        none if none.is_empty() => state.to_owned(),
        detail => format!("{state}: {detail}"),
    }
}

/// Why it does not serve as it should, not made safe; the command that sets its secret is completed.
fn detail_of(id: &SourceId, health: &Health) -> String {
    let detail = health.detail.as_deref().unwrap_or_default();
    match secret_command(detail, id.as_str()) {
        Some(command) => detail.replace(command, &commands::completed(command)),
        None => detail.to_owned(),
    }
}

/// How it does, in a line; what is wrong names what to do.
pub(crate) fn sentence(row: &ProbedSource) -> String {
    let id = &row.id;
    let detail = text::line(&detail_of(id, &row.health));
    match (row.health.status, &*detail) {
        (status @ HealthStatus::Ok, _) => format!("{id} {}", status.in_words()),
        (HealthStatus::Unavailable | HealthStatus::Unknown, "") => {
            format!("{id} has not answered in time: plexusctl sources test {id}")
        }
        (HealthStatus::Unknown, why) => format!("{id} does not serve: {why}"),
        (status, why) => format!("{id} {}: {why}", status.in_words()),
    }
}

fn as_text(rows: &[ProbedSource]) -> String {
    let cells = rows.iter().map(|row| {
        let state = match row.health.status {
            HealthStatus::Unknown => "no answer in time",
            status => status.in_words(),
        };
        [
            row.id.to_string(),
            state.to_owned(),
            detail_of(&row.id, &row.health),
        ]
    });
    table(
        ["source", "state", "detail"],
        cells.collect(),
        "no source is enabled: plexusctl sources add",
    )
}
