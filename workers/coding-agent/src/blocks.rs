//! Copies that share their blocks with the owner's files, where the disk can do that.
//!
//! Invariants: a copy holds the file as it was at one moment; what the disk cannot share is left to be copied byte by byte;
//! a file too large for a copy is never begun.
//!
//! Must not know: which files are copied, what for.

#[cfg(target_os = "linux")]
use crate::snapshot::{LARGEST, created};
use plexus_rooted_files::{FileBytes, WalkEntry};
use std::{io, path::Path};

/// Whether the disk of a folder shares blocks between files: Btrfs, XFS and bcachefs do.
#[cfg(target_os = "linux")]
pub(crate) fn are_shared_in(folder: &Path) -> bool {
    /// From `linux/magic.h`; bcachefs has its own.
    const SHARING: [i64; 3] = [0x9123_683e, 0x5846_5342, 0xca45_1a4e];
    rustix::fs::statfs(folder).is_ok_and(|disk| SHARING.contains(&disk.f_type))
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn are_shared_in(_: &Path) -> bool {
    false
}

/// Copies a file to a new one, and says what it holds; none, and no file, where that cannot be done.
///
/// The kernel's own copy shares the blocks where it can. The leaf sandbox has that call, and no `FICLONE`.
///
/// # Errors
/// What was begun cannot be removed or read.
#[cfg(target_os = "linux")]
pub(crate) fn copied(entry: &WalkEntry<'_>, to: &Path) -> io::Result<Option<FileBytes>> {
    use std::{
        fs,
        io::{Read as _, Seek as _},
    };

    // The copy byte by byte reads it next, and says why it cannot.
    let Ok((file, meta)) = entry.open() else {
        return Ok(None);
    };
    if meta.size > LARGEST {
        return Ok(None);
    }
    let mut copy = created(to, &meta)?;
    let mut left = usize::try_from(LARGEST).unwrap_or(usize::MAX);
    let end = loop {
        match rustix::fs::copy_file_range(&file, None, &copy, None, left) {
            Ok(0) => break Ok(()),
            Ok(some) => left = left.saturating_sub(some),
            Err(error) => break Err(error),
        }
    };
    if end.is_err() || left == 0 {
        fs::remove_file(to)?;
        return Ok(None);
    }
    let mut bytes = Vec::new();
    copy.rewind()?;
    copy.read_to_end(&mut bytes)?;
    Ok(Some(FileBytes { bytes, meta }))
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn copied(_: &WalkEntry<'_>, _: &Path) -> io::Result<Option<FileBytes>> {
    Ok(None)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use plexus_rooted_files::{Policy, RelPath, Root, WalkBounds};
    use std::{fs, ops::ControlFlow, os::unix::fs::PermissionsExt as _};

    /// If the disk shares nothing, the kernel copies.
    #[test]
    fn copy_of_the_kernel_holds_the_file_and_its_mode() {
        let (folder, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let large = vec![7; 3 << 20];
        for (name, bytes) in [("empty", &b""[..]), ("large", &large), ("run.sh", b"#!")] {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.path().join("run.sh"), mode).unwrap();
        let beyond = fs::File::create(folder.path().join("sparse")).unwrap();
        beyond.set_len(LARGEST + 1).unwrap();
        let root = Root::open(folder.path(), Policy::default()).unwrap();
        let mut seen = Vec::new();
        let walked = root.walk(
            &RelPath::root(),
            WalkBounds::default(),
            &|| false,
            |entry| {
                let copy = to.path().join(entry.path.as_str());
                let read = copied(entry, &copy).unwrap();
                match &read {
                    Some(read) => assert_eq!(fs::read(&copy).unwrap(), read.bytes),
                    None => assert!(!copy.exists()),
                }
                let bytes = read.map(|read| (read.bytes.len(), read.meta.mode & 0o100 != 0));
                seen.push((entry.path.to_string(), bytes));
                ControlFlow::Continue(())
            },
        );
        walked.unwrap();
        let whole = |bytes| Some((bytes, false));
        let told = [
            ("empty", whole(0)),
            ("large", whole(large.len())),
            ("run.sh", Some((2, true))),
            ("sparse", None),
        ];
        assert_eq!(seen, told.map(|(name, bytes)| (name.to_owned(), bytes)));
        let mode = |name| {
            fs::metadata(to.path().join(name))
                .unwrap()
                .permissions()
                .mode()
        };
        assert_eq!(
            (mode("run.sh") & 0o777, mode("large") & 0o777),
            (0o700, 0o600)
        );
    }
}
