//! Names in the state directory (docs/reference/state-directory.md): what `plexusd` makes and repairs, and what the commands look at. One
//! list, so that no entry is made that nobody examines.

/// Folders, 0700, each after the one that holds it.
pub const FOLDERS: &[&str] = &[
    "secrets",
    "agents",
    "pending",
    "archive",
    "run",
    "run/agent",
    "run/owner",
    "logs",
    "workers",
];

/// Files, 0600 where they exist.
pub const FILES: &[&str] = &[
    "connection-key",
    "ledger.redb",
    "audit-heads.jsonl",
    "clock.json",
    "network.json",
    "runtime.json",
    "instance-id",
    "chat.json",
];
