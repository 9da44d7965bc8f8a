//! How much of the machine one `plexus-egress` may use.
//!
//! Must not know: who counts connections, what a credential is.

/// Most connections that have shown no credential yet.
pub const STRANGERS: usize = 32;
/// Most connections of one credential: a role's own, or that of one call. A coding agent holds a handful.
pub const SHARE: usize = 16;
/// Most connections of all credentials: two roles and sixteen runs have their shares side by side.
pub const CONNECTIONS: usize = SHARE * (2 + plexus_sandbox::children::MAX_RUNS);

/// What the kernel holds it to: two descriptors and two buffers for each connection, and no file that it writes.
#[must_use]
pub fn of_process() -> plexus_sandbox::Limits {
    plexus_sandbox::Limits {
        files: Some(1024),
        file_size: Some(0),
        memory: Some(256 << 20),
        addresses: Some(1 << 30),
    }
}
