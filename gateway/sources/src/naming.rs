//! Ids and kinds that are spoken for: what no owner may name a source, and the kinds of what the owner installs.
//!
//! Invariant: one MCP server is one kind, `mcp-<id>`, one extension by manifest `ext-<id>`; each has one source, `<id>`.

use plexus_protocol::SourceId;

/// The source that a server is looked at as, before there is one.
pub const PREVIEW: &str = "mcp-preview";
const SERVER_KIND: &str = "mcp-";
const BY_MANIFEST: &str = "ext-";

/// Ids that existing gateways give to built-in modules, whether this build has them or not.
const RESERVED: &[&str] = &[
    "claudecode",
    "codex",
    "sysinfo",
    "plexus",
    "bundle",
    "admin",
    PREVIEW,
];

/// Whether no owner may name a source so.
pub(crate) fn reserved(id: &SourceId) -> bool {
    RESERVED.contains(&id.as_str())
}

/// The kind of a server's source.
#[must_use]
pub fn kind_of(id: &SourceId) -> String {
    format!("{SERVER_KIND}{id}")
}

/// The kind of the source of an extension by manifest.
#[must_use]
pub fn by_manifest_kind(id: &str) -> String {
    format!("{BY_MANIFEST}{id}")
}

/// Whether a kind is that of an extension by manifest.
#[must_use]
pub fn is_by_manifest(kind: &str) -> bool {
    kind.starts_with(BY_MANIFEST)
}

/// The one source of an installed kind.
pub(crate) fn source_of(kind: &str) -> Option<&str> {
    let server = kind.strip_prefix(SERVER_KIND);
    server.or_else(|| kind.strip_prefix(BY_MANIFEST))
}
