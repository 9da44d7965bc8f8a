//! Which of our packages may use which: the layout of the design as a table. Packages not named here may not exist.

use serde_json::Value;

/// What a package may use of ours.
enum Uses {
    Only(&'static [&'static str]),
    /// Tests and tools.
    Anything,
}

#[rustfmt::skip]
const EDGES: &[(&str, Uses)] = &[
    ("plexus-protocol", Uses::Only(&[])),
    // The owner's protocol: its server and its clients share the types, and nothing else.
    ("plexus-owner", Uses::Only(&["plexus-protocol"])),
    // The owner's cards as blocks: what paints them is its clients' and the console's.
    ("plexus-sheet", Uses::Only(&["plexus-owner", "plexus-protocol"])),
    ("plexus-trust", Uses::Only(&["plexus-protocol"])),
    // Generic over the machine: the daemon brings it together with the trust core.
    ("plexus-ledger", Uses::Only(&[])),
    ("plexus-sandbox", Uses::Only(&[])),
    ("plexus-ipc", Uses::Only(&["plexus-protocol", "plexus-sandbox"])),
    // What workers reach of the network; started by the supervisor, linked by nobody.
    ("plexus-egress", Uses::Only(&["plexus-ipc", "plexus-sandbox"])),
    // The worker's end of it, for connectors whose host has a secret.
    ("plexus-egress-client", Uses::Only(&["plexus-ipc", "plexus-protocol"])),
    ("plexus-rooted-files", Uses::Only(&[])),
    // Ids, wire types, cryptography and client; a worker may be one of its hosts.
    ("plexus-channels", Uses::Only(&["plexus-protocol"])),
    // A program beside the gateway: it knows nothing of it.
    ("plexus-relay", Uses::Only(&["plexus-channels"])),
    // An agent as a member of channels, of any starter.
    ("plexus-participant", Uses::Only(&["plexus-channels", "plexus-protocol"])),
    // A program beside the gateway: Codex as a member of channels.
    ("plexus-peer",
     Uses::Only(&["plexus-agent-lines", "plexus-channels", "plexus-mcp", "plexus-participant", "plexus-protocol"])),
    // What a coding agent says in a turn: its starter reads it.
    ("plexus-agent-lines", Uses::Only(&[])),
    // What the workers for Apple's apps share: failures are told in the harness's words.
    ("plexus-apple", Uses::Only(&["plexus-ipc", "plexus-protocol"])),
    ("plexus-coding-agent", WORKER),
    // Holds connectors to the rules from their own tests; nothing of it ships.
    ("plexus-conformance", Uses::Only(&["plexus-ipc", "plexus-protocol", "plexus-sandbox"])),
    ("plexus-home", Uses::Only(&["plexus-protocol"])),
    ("plexus-record", Uses::Only(&["plexus-trust", "plexus-ledger", "plexus-protocol"])),
    ("plexus-sources", Uses::Only(&["plexus-ipc", "plexus-sandbox", "plexus-trust", "plexus-home", "plexus-protocol"])),
    ("plexus-supervisor", Uses::Only(&["plexus-ipc", "plexus-sandbox", "plexus-ledger", "plexus-home", "plexus-protocol"])),
    ("plexus-keep", Uses::Only(&["plexus-record", "plexus-ledger", "plexus-home", "plexus-protocol"])),
    ("plexus-client", Uses::Only(&["plexus-protocol"])),
    // The owner's end of it: `plexusctl` and the tray ask, hear and open alike.
    ("plexus-owner-client", Uses::Only(&["plexus-protocol", "plexus-owner", "plexus-client"])),
    ("plexus-tray", Uses::Only(&["plexus-protocol", "plexus-owner", "plexus-owner-client", "plexus-client"])),
    // The core of an MCP server: no I/O, for any host.
    // Which capabilities fit a query: texts in, an order out.
    ("plexus-search", Uses::Only(&[])),
    ("plexus-mcp", Uses::Only(&["plexus-protocol", "plexus-search"])),
    ("plexus-calls",
     Uses::Only(&["plexus-record", "plexus-trust", "plexus-ledger", "plexus-supervisor", "plexus-sources", "plexus-ipc",
         "plexus-home", "plexus-protocol"])),
    // Knows no route of the owner's: they come to it as routers.
    ("plexus-edge",
     Uses::Only(&["plexus-mcp", "plexus-search", "plexus-calls", "plexus-record", "plexus-trust", "plexus-ledger",
         "plexus-supervisor", "plexus-sources", "plexus-ipc", "plexus-home", "plexus-protocol"])),
    ("plexus-desk",
     Uses::Only(&["plexus-owner", "plexus-sheet", "plexus-edge", "plexus-calls", "plexus-record", "plexus-trust",
         "plexus-ledger", "plexus-supervisor", "plexus-sources", "plexus-ipc", "plexus-sandbox", "plexus-home",
         "plexus-protocol"])),
    ("plexusd",
     Uses::Only(&["plexus-desk", "plexus-edge", "plexus-calls", "plexus-keep", "plexus-record", "plexus-trust", "plexus-ledger",
         "plexus-supervisor", "plexus-sources", "plexus-ipc", "plexus-sandbox", "plexus-home", "plexus-protocol"])),
    ("plexusctl", Uses::Only(&["plexus-protocol", "plexus-owner", "plexus-sheet", "plexus-owner-client", "plexus-client"])),
    ("plexus", Uses::Only(&["plexus-protocol", "plexus-client", "plexus-mcp", "plexus-search"])),
    // Of every crate's tests; nothing of it ships.
    ("plexus-mutation", Uses::Only(&[])),
    // Acts of a worker that was taken over; nothing of it ships.
    ("plexus-hostile", Uses::Only(&[])),
    // A disk that forgets; nothing of it ships.
    ("plexus-power-cut", Uses::Only(&[])),
    ("plexus-tests", Uses::Anything),
    ("plexus-bench", Uses::Anything),
    ("xtask", Uses::Anything),
];
/// Every worker, whatever its connector.
const WORKER_PREFIX: &str = "plexus-worker-";
/// The protocol for what the messages are made of: digests, verbs, effects.
const WORKER: Uses = Uses::Only(&[
    "plexus-ipc",
    "plexus-protocol",
    "plexus-rooted-files",
    "plexus-agent-lines",
    "plexus-coding-agent",
    "plexus-egress-client",
    "plexus-mcp",
    "plexus-channels",
    "plexus-participant",
    "plexus-apple",
    // One identity at a relay, for each that speaks as it.
    "plexus-worker-channels",
    // A copy of a folder has the history that refs lead to, read as the git connector reads it.
    "plexus-worker-git",
]);

/// One line for each edge that is not allowed.
pub(crate) fn breaches(metadata: &Value) -> Vec<String> {
    let empty = Vec::new();
    let members = metadata["workspace_members"].as_array().unwrap_or(&empty);
    let ours: Vec<&Value> = metadata["packages"]
        .as_array()
        .unwrap_or(&empty)
        .iter()
        .filter(|package| members.contains(&package["id"]))
        .collect();
    let names: Vec<&str> = ours.iter().filter_map(|p| p["name"].as_str()).collect();
    let mut breaches = Vec::new();
    for package in &ours {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(uses) = allowed(name) else {
            breaches.push(format!(
                "package {name} is not in the table of edges: say there what it may know"
            ));
            continue;
        };
        let Uses::Only(allowed) = uses else { continue };
        for dependency in package["dependencies"].as_array().unwrap_or(&empty) {
            let target = dependency["name"].as_str().unwrap_or_default();
            // A test may look from outside; what ships may not.
            let ships = dependency["kind"] != "dev";
            if ships && names.contains(&target) && !allowed.contains(&target) {
                breaches.push(format!("{name} must not know {target}"));
            }
        }
    }
    breaches
}

fn allowed(name: &str) -> Option<&'static Uses> {
    if name.starts_with(WORKER_PREFIX) {
        return Some(&WORKER);
    }
    EDGES.iter().find(|(n, _)| *n == name).map(|(_, uses)| uses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A package, and what it uses with which kind (`None` is a normal dependency).
    type Package<'a> = (&'a str, &'a [(&'a str, Option<&'a str>)]);

    fn metadata(packages: &[Package<'_>]) -> Value {
        let members: Vec<_> = packages.iter().map(|(name, _)| json!(name)).collect();
        let packages: Vec<_> = packages
            .iter()
            .map(|(name, uses)| {
                let uses: Vec<_> = uses
                    .iter()
                    .map(|(name, kind)| json!({"name": name, "kind": kind}))
                    .collect();
                json!({"id": name, "name": name, "dependencies": uses})
            })
            .collect();
        json!({"workspace_members": members, "packages": packages})
    }

    #[test]
    fn an_edge_outside_the_table_is_a_breach() {
        let good = metadata(&[
            ("plexus-protocol", &[("serde", None)]),
            ("plexus-trust", &[("plexus-protocol", None)]),
            ("plexus-worker-new", &[("plexus-ipc", None)]),
            ("plexus-ipc", &[("plexus-trust", Some("dev"))]),
        ]);
        assert!(breaches(&good).is_empty());
        let bad = metadata(&[
            ("plexus-trust", &[("plexus-ledger", None)]),
            ("plexus-ledger", &[]),
            ("plexus-utilities", &[]),
        ]);
        assert_eq!(breaches(&bad).len(), 2, "{:?}", breaches(&bad));
    }
}
