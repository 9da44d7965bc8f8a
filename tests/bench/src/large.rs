//! A home with a long past: many sources, agents and grants, and a log of a million reads.

use crate::world::World;
use anyhow::{Context as _, Result, ensure};
use plexus_tests::binaries;
use serde_json::json;
use std::process::Command;
use std::time::{Duration, Instant};

/// How large.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) sources: usize,
    pub(crate) agents: usize,
    /// Of all agents together.
    pub(crate) grants: usize,
    pub(crate) events: usize,
}

impl Size {
    /// What the promise says.
    pub(crate) const PROMISED: Self = Self {
        sources: 50,
        agents: 1_000,
        grants: 100_000,
        events: 1_000_000,
    };
    /// What the console is promised with.
    pub(crate) const HOUSE: Self = Self {
        sources: 50,
        agents: 50,
        grants: 500,
        events: 100_000,
    };
    /// The same with a tenth of the past.
    pub(crate) const QUICK_HOUSE: Self = Self {
        events: 10_000,
        ..Self::HOUSE
    };
    /// A tenth, for a run that is to be short.
    pub(crate) const QUICK: Self = Self {
        sources: 50,
        agents: 100,
        grants: 10_000,
        events: 100_000,
    };
}

/// Makes the home of a world large. Its gateway is stopped and started again.
pub(crate) fn grow(world: &mut World, size: Size) -> Result<()> {
    let owner = world.gateway.owner();
    let there = owner.client.get("/admin/api/sources").expect_ok()["sources"]
        .as_array()
        .map_or(0, Vec::len);
    for n in there..size.sources {
        let folder = world.free().join(format!("folder-{n}"));
        std::fs::create_dir(&folder)?;
        let id = format!("folder-{n}");
        let route = json!({"path": folder.canonicalize()?});
        let source = json!({"id": id, "kind": "workspace-dir", "label": id, "route": route});
        owner.client.post("/admin/api/sources", source).expect_ok();
    }
    ensure!(world.gateway.stop().success(), "a clean stop");
    let written = Command::new(binaries::path("plexus-long-past"))
        .arg(world.gateway.state())
        .args([size.agents, size.grants, size.events].map(|n| n.to_string()))
        .status()
        .context("running plexus-long-past")?;
    ensure!(written.success(), "the past was not written");
    world.gateway.start_again();
    archived(world)?;
    world.renew()
}

/// How long moving old events into archives may take.
const ARCHIVING: Duration = Duration::from_secs(300);
/// An archive is begun when so many events more than are kept are in the file, or a tenth of those that are kept.
const STEP: u64 = 25_000;

/// Waits until the old events lie in archives, as they do in a home of that age.
fn archived(world: &World) -> Result<()> {
    let began = Instant::now();
    loop {
        let owner = world.gateway.owner();
        let newest = owner.audit(1);
        let newest = newest.first().and_then(|event| event["seq"].as_u64());
        let newest = newest.context("no event")?;
        let found = owner.client.get("/admin/api/audit/archives").expect_ok();
        let number = |name: &str| found[name].as_u64().context("no number");
        let (first_here, keep) = (number("ledgerFrom")?, number("keepEvents")?);
        let in_file = newest.saturating_sub(first_here) + 1;
        // What is sealed has to leave the file as well.
        let last = found["archives"].as_array().and_then(|all| all.last());
        let removed = last.is_none_or(|archive| archive["last"] == first_here - 1);
        if removed && in_file <= keep + STEP.min(keep / 10).max(1) {
            return Ok(());
        }
        ensure!(
            began.elapsed() < ARCHIVING,
            "{in_file} events are still in the ledger"
        );
        // Nothing tells of it, and what is waited for takes seconds.
        std::thread::sleep(Duration::from_millis(500));
    }
}
