//! `plexusctl sources test`: starts what is not running, asks each source how it does, and says what is wrong.

use super::there;
use crate::{
    owner::{Desk, Owner, patiently},
    table::table,
};
use clap::Args;
use plexus_client::{Exit, Stop, text};
use plexus_owner::{
    grants::{GrantRow, List as ListGrants},
    sources::{Health, HealthStatus, Probe, ProbedSource},
};
use plexus_protocol::{SourceId, words::counted};
use serde::Serialize;
use std::collections::BTreeMap;

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
        let held = held(owner).await;
        let mut rows = patiently(asking, health(owner)).await?;
        let now = owner.call(&ListGrants {}).await.ok().map(|all| all.grants);
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
        desk.show(&tested, || {
            let lost = revoked(&held, now.as_deref());
            let table = [as_text(&tested.sources)];
            table.into_iter().chain(lost).collect::<Vec<_>>().join("\n")
        })?;
        Ok(match tested.sources.iter().all(serves) {
            true => Exit::Ok,
            false => Exit::Failed,
        })
    }
}

/// How many grants there are on each source; none where that cannot be read.
pub(super) async fn held(owner: &mut Owner) -> BTreeMap<String, usize> {
    let grants = owner.call(&ListGrants {}).await;
    grants.map_or_else(|_| BTreeMap::new(), |all| by_source(&all.grants))
}

fn by_source(grants: &[GrantRow]) -> BTreeMap<String, usize> {
    let mut held = BTreeMap::new();
    for grant in grants {
        let source = grant.capability_id.parts().0.to_owned();
        *held.entry(source).or_default() += 1;
    }
    held
}

/// The sources that lost grants since they were `held`: a look found that they are not what was granted.
pub(super) fn revoked(held: &BTreeMap<String, usize>, now: Option<&[GrantRow]>) -> Vec<String> {
    let Some(now) = now.map(by_source) else {
        return Vec::new();
    };
    let lost = held.iter().filter_map(|(source, before)| {
        let lost = before.saturating_sub(now.get(source).copied().unwrap_or_default());
        let grants = counted(lost, "grant");
        (lost > 0).then(|| format!("{source}: {grants} revoked: its folder or program is another one than when you granted it"))
    });
    lost.collect()
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
pub(super) fn serves(row: &ProbedSource) -> bool {
    matches!(row.health.status, HealthStatus::Ok | HealthStatus::Degraded)
}

/// How it does, and why not as it should, not made safe.
pub(crate) fn state_of(health: &Health) -> String {
    let state = health.status.in_words();
    match health.detail.as_deref().unwrap_or_default() {
        "" => state.to_owned(),
        detail => format!("{state}: {detail}"),
    }
}

/// How it does, in a line; what is wrong names what to do.
pub(crate) fn sentence(row: &ProbedSource) -> String {
    let id = &row.id;
    let detail = text::line(row.health.detail.as_deref().unwrap_or_default());
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
            row.health.detail.clone().unwrap_or_default(),
        ]
    });
    table(
        ["source", "state", "detail"],
        cells.collect(),
        "no source is enabled: plexusctl sources add",
    )
}
