//! The daemon with one more connector: the same code as `plexusd`, without a switch for tests in it. The connector is as
//! the edition named by `PLEXUS_FIXTURE` ships it.

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
    });
    plexusd::run(connectors.leak())
}
