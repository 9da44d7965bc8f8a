//! The connectors that ship with the gateway: one line each. Tests of the crates below read this file too.

use plexus_sources::Connector;

macro_rules! connector {
    ($name:literal) => {
        Connector {
            name: $name,
            manifest: include_str!(concat!("../../../workers/", $name, "/manifest.json")),
            profile: include_str!(concat!("../../../sandbox-profiles/", $name, ".sb")),
            children: &[],
        }
    };
}

/// The connectors that ship with the gateway.
#[rustfmt::skip]
pub const SHIPPED: &[Connector] = &[
    connector!("obsidian"),
    connector!("workspace"),
    connector!("git"),
    connector!("caldav"),
];
