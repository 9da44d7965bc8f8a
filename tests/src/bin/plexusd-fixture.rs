//! The daemon with one more connector: the same code as `plexusd`, without a switch for tests in it.

use plexusd::sources::{Connector, SHIPPED};
use std::process::ExitCode;

static CONNECTORS: &[Connector] = &[
    SHIPPED[0],
    SHIPPED[1],
    Connector {
        name: "fixture",
        manifest: include_str!("../../fixture/manifest.json"),
        profile: include_str!("../../../sandbox-profiles/fixture.sb"),
    },
];

fn main() -> ExitCode {
    // Whoever ships a third connector adds it above; this says so at once.
    assert_eq!(
        CONNECTORS.len(),
        SHIPPED.len() + 1,
        "the fixture runs beside every shipped connector"
    );
    plexusd::run(CONNECTORS)
}
