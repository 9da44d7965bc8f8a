//! The connectors that ship with the gateway: one line each. Tests of the crates below read this file too.

use plexus_sources::Connector;

macro_rules! connector {
    ($name:literal $(, $child:literal: $profile:literal)*) => {
        Connector {
            name: $name,
            manifest: include_str!(concat!("../../../workers/", $name, "/manifest.json")),
            profile: include_str!(concat!("../../../sandbox-profiles/", $name, ".sb")),
            children: &[$(($child, include_str!(concat!("../../../sandbox-profiles/children/", $profile, ".sb")))),*],
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
    connector!("codex", "turn": "codex", "resumed-turn": "codex", "version": "codex"),
    connector!("claudecode", "turn": "claude", "resumed-turn": "claude", "version": "claude"),
    connector!("things"),
    connector!("obsidian-rest"),
    connector!("apple-calendar"),
    connector!("apple-reminders"),
    connector!("cc-master"),
    connector!("channels"),
    connector!("codex-peer", "turn": "codex", "resumed-turn": "codex"),
];
