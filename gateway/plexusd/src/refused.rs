//! Which refused starts last: another try with the same files, on the same machine, would end the same way.
//!
//! A service manager must not try those again and again. Everything that is not known to last may pass: a port that is
//! taken, a full disk, a daemon before us that is still about to end.

use plexus_home::state_dir::{Lasting, StateDirError};
use plexus_ledger::OpenError;
use std::io::ErrorKind;

/// Exit status of a start that cannot succeed (`EX_CONFIG` of BSD's `sysexits.h`).
pub(crate) const CONFIGURATION: u8 = 78;

/// Why a start was refused: each cause that adds something, since many errors quote the one below.
pub(crate) fn told(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if told.contains(&cause) {
            continue;
        }
        if !told.is_empty() {
            told.push_str(": ");
        }
        told.push_str(&cause);
    }
    if error.chain().any(is_for_room) {
        told.push_str(
            "; make room: `df -h` shows which disk is full, `df -i` which has too many files",
        );
    } else if error.chain().any(is_for_files) {
        told.push_str(
            "; allow more open files: `ulimit -n 1792`, or `LimitNOFILE=1792` in the unit of systemd",
        );
    } else if error.chain().any(is_denied) {
        told.push_str("; `plexusctl doctor` checks owners and modes");
    } else if error.chain().any(is_unreadable) {
        told.push_str("; put a backup back: plexusctl restore --replace FILE");
    }
    told
}

/// Whether the file holds no ledger, or no whole one.
fn is_unreadable(cause: &(dyn std::error::Error + 'static)) -> bool {
    let open = cause.downcast_ref::<OpenError>();
    open.is_some_and(|error| matches!(error, OpenError::Store(_)) && error.lasts())
}

/// The system's own error, which these two have no source for.
fn io_of<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a std::io::Error> {
    if let Some(StateDirError::Io { error, .. }) = cause.downcast_ref() {
        return Some(error);
    }
    if let Some(OpenError::Io { error, .. }) = cause.downcast_ref() {
        return Some(error);
    }
    cause.downcast_ref()
}

fn is_for_room(cause: &(dyn std::error::Error + 'static)) -> bool {
    use ErrorKind::{QuotaExceeded, StorageFull};
    io_of(cause).is_some_and(|error| matches!(error.kind(), StorageFull | QuotaExceeded))
        || cause
            .downcast_ref::<OpenError>()
            .is_some_and(OpenError::is_full)
}

fn is_for_files(cause: &(dyn std::error::Error + 'static)) -> bool {
    io_of(cause).is_some_and(|error| error.raw_os_error() == Some(nix::libc::EMFILE))
}

/// Whether a file of ours cannot be used. A port can be denied as well.
fn is_denied(cause: &(dyn std::error::Error + 'static)) -> bool {
    !cause.is::<std::io::Error>()
        && io_of(cause).is_some_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

/// Whether the reason for a refused start lasts.
pub(crate) fn lasts(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<Lasting>()
            || cause.is::<plexus_sandbox::Unsupported>()
            || cause
                .downcast_ref::<StateDirError>()
                .is_some_and(|e| !matches!(e, StateDirError::Io { .. }))
            || cause
                .downcast_ref::<OpenError>()
                .is_some_and(OpenError::lasts)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_without_room_says_to_make_some() {
        let why = |errno| {
            let error = std::io::Error::from_raw_os_error(errno);
            told(&anyhow::Error::new(error).context("the key"))
        };
        let full = why(nix::libc::ENOSPC);
        assert!(full.starts_with("the key: No space left"), "{full}");
        assert!(full.contains("df -h"), "{full}");
        let few = why(nix::libc::EMFILE);
        assert!(few.contains("`ulimit -n 1792`"), "{few}");
        assert!(few.contains("`LimitNOFILE=1792`"), "{few}");
        let other = why(nix::libc::EACCES);
        assert!(!other.contains("df -h"), "the control: {other}");
        let (path, error) = ("ledger.redb".into(), ErrorKind::PermissionDenied.into());
        let denied = told(&StateDirError::Io { path, error }.into());
        assert!(denied.ends_with("checks owners and modes"), "{denied}");
    }
}
