//! The daemon with one more connector: the same code as `plexusd`, without a switch for tests in it.

use plexusd::sources::{Connector, SHIPPED};
use std::process::ExitCode;

const FIXTURE: Connector = Connector {
    name: "fixture",
    manifest: include_str!("../../fixture/manifest.json"),
    profile: include_str!("../../../sandbox-profiles/fixture.sb"),
};

/// Every shipped connector, and the fixture after them.
static CONNECTORS: [Connector; SHIPPED.len() + 1] = {
    let mut all = [FIXTURE; SHIPPED.len() + 1];
    let mut at = 0;
    while at < SHIPPED.len() {
        all[at] = SHIPPED[at];
        at += 1;
    }
    all
};

fn main() -> ExitCode {
    plexusd::run(&CONNECTORS)
}
