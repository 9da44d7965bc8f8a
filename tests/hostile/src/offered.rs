//! What a machine answers that does not offer an act: what tells an act that cannot be tried there from one that is
//! itself mistaken, and whose refusal in a cage would therefore prove nothing.
//!
//! Invariant: no list here has what a mistake is answered with: EINVAL, EFAULT, EBADF, ENOENT and the like.

use nix::errno::Errno;

/// Not built into the kernel, or kept for the administrator, or refused by what the tests themselves are caged in.
const ANY: [Errno; 3] = [Errno::ENOSYS, Errno::EPERM, Errno::EACCES];

/// A family of sockets that was not built.
pub const FAMILY: &[Errno] = &[Errno::EAFNOSUPPORT];
/// A protocol that was not built.
pub const PROTOCOL: &[Errno] = &[Errno::EPROTONOSUPPORT, Errno::ESOCKTNOSUPPORT];
/// Multipath TCP, not built or switched off (`net.mptcp.enabled`).
pub const MULTIPATH: &[Errno] = &[Errno::EPROTONOSUPPORT, Errno::ENOPROTOOPT];
/// TCP fast open for clients, switched off (`net.ipv4.tcp_fastopen`).
pub const FAST_OPEN: &[Errno] = &[Errno::EOPNOTSUPP];
/// Namespaces of which nobody may have one more (`user.max_*_namespaces`).
pub const NAMESPACES: &[Errno] = &[Errno::ENOSPC];
/// Keys of which this user has as many as it may (`kernel.keys.maxkeys`). Kind and name have been read by then.
pub const KEYS: &[Errno] = &[Errno::EDQUOT];
/// Bytes out of band on a Unix stream, which were not built (`CONFIG_AF_UNIX_OOB`).
pub const OUT_OF_BAND: &[Errno] = &[Errno::EOPNOTSUPP];
/// Handles, on a file system that gives none.
pub const HANDLES: &[Errno] = &[Errno::EOPNOTSUPP];

/// Whether `errno` says that it is not offered; `also` is what this act may hear beside what any may.
#[must_use]
pub fn is_missing(errno: Errno, also: &[Errno]) -> bool {
    ANY.contains(&errno) || also.contains(&errno)
}
