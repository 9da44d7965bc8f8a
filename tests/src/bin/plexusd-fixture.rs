//! The daemon with three more connectors: the same code as `plexusd`, without a switch for tests in it. The fixture is as
//! the edition named by `PLEXUS_FIXTURE` ships it; the cabinet has no root and serves on macOS only, or on its fake; the
//! beacon is resident.

use plexus_sources::Connector;
use plexus_tests::editions;
use plexusd::SHIPPED;
use std::process::ExitCode;

fn main() -> ExitCode {
    let edition = std::env::var(editions::VARIABLE).unwrap_or_default();
    let mut connectors = SHIPPED.to_vec();
    connectors.push(Connector {
        name: "fixture",
        manifest: editions::manifest(&edition).leak(),
        profile: editions::profile(&edition).leak(),
        children: editions::children(&edition),
    });
    connectors.push(Connector {
        name: "cabinet",
        manifest: include_str!("../../fixture/cabinet.json"),
        profile: include_str!("../../fixture/cabinet.sb"),
        children: &[],
    });
    connectors.push(Connector {
        name: "beacon",
        manifest: include_str!("../../fixture/beacon.json"),
        profile: include_str!("../../fixture/beacon.sb"),
        children: &[],
    });
    plexusd::run(connectors.leak())
}
