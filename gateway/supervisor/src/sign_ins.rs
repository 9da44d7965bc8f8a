//! Copies of the owner's sign-in that a crash left in the folders of runs: removed when the gateway starts.
//!
//! Invariants: the gateway goes through no link, for a run wrote these folders; it removes one name in each, and no folder.
//!
//! Must not know: whose sign-in it is, which runs there were.

use nix::{
    errno::Errno,
    fcntl::{OFlag, openat},
    sys::stat::Mode,
    unistd::{UnlinkatFlags, unlinkat},
};
use std::{
    collections::BTreeSet,
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

/// Removes the copies below the folders of all workers; `places` says where a run has one: a folder in its scratch, and a
/// name. Says how many there were. To be called before the first worker is started, and after those of an earlier daemon
/// were ended.
///
/// # Errors
/// The first one that is there and cannot be removed; the others are.
pub fn sweep_sign_ins(
    state_dir: &Path,
    places: impl IntoIterator<Item = (String, String)>,
) -> io::Result<usize> {
    // A role's folder of runs, one folder for each.
    let workers = within(&[state_dir.join("workers")]);
    let runs: Vec<_> = workers.iter().map(|worker| worker.join("runs")).collect();
    let runs = within(&within(&runs));
    if runs.is_empty() {
        return Ok(0);
    }
    let places: BTreeSet<_> = places.into_iter().collect();
    let (mut removed, mut failed) = (0, None);
    for run in &runs {
        for (folder, name) in &places {
            match remove(run, folder, name) {
                Ok(()) => removed += 1,
                // Nothing of that name, or what is no folder of ours.
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {}
                Err(errno) => failed = failed.or(Some(errno)),
            }
        }
    }
    failed.map_or(Ok(removed), |errno| Err(errno.into()))
}

/// What lies in these folders.
fn within(folders: &[PathBuf]) -> Vec<PathBuf> {
    let listed = folders
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok());
    let entries = listed.flat_map(|entries| entries.flatten());
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path()).collect()
}

fn remove(run: &Path, folder: &str, name: &str) -> Result<(), Errno> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let mut dir: OwnedFd = nix::fcntl::open(run, flags, Mode::empty())?;
    for part in ["scratch", folder] {
        dir = openat(&dir, part, flags, Mode::empty())?;
    }
    unlinkat(&dir, name, UnlinkatFlags::NoRemoveDir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_sign_in_go_and_links_lead_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let owners = dir.path().join("owners");
        let run = |name: &str| dir.path().join("workers/codex/runs/writer").join(name);
        for folder in [&owners, &run("one/scratch/agent"), &run("two/scratch")] {
            fs::create_dir_all(folder).unwrap();
            fs::write(folder.join("auth.json"), "token").unwrap();
        }
        fs::write(run("one/scratch/agent/kept"), "kept").unwrap();
        std::os::unix::fs::symlink(&owners, run("two/scratch/agent")).unwrap();
        let places = || [("agent".to_owned(), "auth.json".to_owned())];
        assert_eq!(sweep_sign_ins(dir.path(), places()).unwrap(), 1);
        assert!(!run("one/scratch/agent/auth.json").exists());
        for stays in [
            run("one/scratch/agent/kept"),
            run("two/scratch/auth.json"),
            owners.join("auth.json"),
        ] {
            assert!(stays.exists(), "{stays:?}");
        }
        assert_eq!(sweep_sign_ins(dir.path(), places()).unwrap(), 0);
        let none = dir.path().join("none");
        assert_eq!(sweep_sign_ins(&none, places()).unwrap(), 0);
    }
}
