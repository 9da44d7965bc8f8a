//! Folders of workers that are let go of: put aside at once, removed later, however a worker filled them.
//!
//! ```text
//! workers/ID ──one rename──▶ run/gone/ID.… ──each sweep, until it is gone──▶ (nothing)
//! ```
//! Invariants: what lies in `run/gone` belongs to nobody and may go, so that a removal that failed or was cut short is
//! tried again without asking whose it was; a removal has two folders open at most and recurses into none, so that
//! neither depth nor number uses up descriptors or the stack.
//!
//! Must not know: why a folder goes.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, DirEntry, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::Path,
    sync::Mutex,
};

/// Where they lie until they are gone, in the state directory.
const GONE: &str = "run/gone";

/// What could not be removed and was told of: the log says it once in each launch.
pub type ReportedOnce = Mutex<BTreeSet<OsString>>;

/// Puts the folder `workers/NAME` of the state directory `home` aside, if it is there. Its name is free then.
///
/// # Errors
/// The system's: it is where it was.
pub fn put_aside(home: &Path, name: &str) -> io::Result<()> {
    let folder = home.join("workers").join(name);
    match open_up(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    }
    let gone = home.join(GONE);
    match fs::DirBuilder::new().mode(0o700).create(&gone) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::rename(
        folder,
        gone.join(format!("{name}.{}", uuid::Uuid::new_v4())),
    )
}

/// Removes what was put aside in `home`, as far as the system lets it. Blocks for as long as that takes; where one call
/// is at it, another returns at once.
pub fn remove(home: &Path, told: &ReportedOnce) {
    let Ok(mut told) = told.try_lock() else {
        return;
    };
    let Ok(entries) = fs::read_dir(home.join(GONE)) else {
        // Nothing was ever put aside.
        return;
    };
    for entry in entries.flatten() {
        if let Err(error) = remove_entry(&entry, remove_tree)
            && told.insert(entry.file_name())
        {
            tracing::warn!(name: "lending.left_behind", path = %entry.path().display(), %error, "what was kept for a lending cannot be removed; it is tried again");
        }
    }
}

/// Removes what is no folder; a folder is for `folder` to remove.
fn remove_entry(entry: &DirEntry, folder: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    if entry.file_type()?.is_dir() {
        folder(&entry.path())
    } else {
        fs::remove_file(entry.path())
    }
}

/// Removes a folder of any depth. One that lies in it loses its files, and its own folders move up beside it.
fn remove_tree(top: &Path) -> io::Result<()> {
    open_up(top)?;
    let mut failed = None;
    loop {
        let mut is_further = false;
        for entry in fs::read_dir(top)? {
            match remove_entry(&entry?, |folder| empty_into(folder, top)) {
                Ok(()) => is_further = true,
                // The others go all the same.
                Err(error) => failed = Some(error),
            }
        }
        if !is_further {
            break;
        }
    }
    fs::remove_dir(top).map_err(|error| failed.unwrap_or(error))
}

/// Removes the folder `folder` of `top`; the folders in it move up into `top`, under names that nothing has.
fn empty_into(folder: &Path, top: &Path) -> io::Result<()> {
    open_up(folder)?;
    for entry in fs::read_dir(folder)? {
        remove_entry(&entry?, |below| {
            // A folder is moved only by who may write in it.
            open_up(below)?;
            fs::rename(below, top.join(uuid::Uuid::new_v4().to_string()))
        })?;
    }
    fs::remove_dir(folder)
}

/// Makes a folder one that can be moved and emptied: its worker may have locked it. No worker is left to put a link in its
/// place.
fn open_up(folder: &Path) -> io::Result<()> {
    let mode = folder.symlink_metadata()?.permissions().mode();
    if mode & 0o700 == 0o700 {
        return Ok(());
    }
    fs::set_permissions(folder, Permissions::from_mode(0o700))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    /// A state directory with the folder `workers/lent`.
    fn home() -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("run")).unwrap();
        fs::create_dir_all(home.path().join("workers/lent")).unwrap();
        home
    }

    fn is_gone(home: &Path) -> bool {
        fs::read_dir(home.join(GONE)).unwrap().next().is_none()
    }

    #[test]
    fn a_folder_deeper_than_any_descriptors_goes() {
        let home = home();
        let [lent, chain, around] =
            ["workers/lent", "chain", "around"].map(|name| home.path().join(name));
        fs::create_dir(&chain).unwrap();
        for _ in 0..600 {
            fs::create_dir(&around).unwrap();
            fs::rename(&chain, around.join("d")).unwrap();
            fs::rename(&around, &chain).unwrap();
        }
        fs::rename(&chain, lent.join("d")).unwrap();
        put_aside(home.path(), "lent").unwrap();
        assert!(!lent.exists(), "its name is free at once");
        let (few, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, few.min(256), most).unwrap();
        remove(home.path(), &ReportedOnce::default());
        assert!(is_gone(home.path()));
        setrlimit(Resource::RLIMIT_NOFILE, few, most).unwrap();
    }

    #[test]
    fn what_is_locked_goes_and_what_a_link_leads_to_stays() {
        let home = home();
        let lent = home.path().join("workers/lent");
        let kept = home.path().join("kept");
        fs::write(&kept, "mine").unwrap();
        std::os::unix::fs::symlink(&kept, lent.join("link")).unwrap();
        std::os::unix::fs::symlink(home.path().join("workers"), lent.join("folder")).unwrap();
        fs::create_dir_all(lent.join("locked/below")).unwrap();
        fs::write(lent.join("locked/below/file"), "x").unwrap();
        for folder in ["locked/below", "locked", ""] {
            fs::set_permissions(lent.join(folder), Permissions::from_mode(0o0)).unwrap();
        }
        put_aside(home.path(), "lent").unwrap();
        put_aside(home.path(), "lent").unwrap();
        remove(home.path(), &ReportedOnce::default());
        assert!(is_gone(home.path()) && home.path().join("workers").is_dir());
        assert_eq!(fs::read_to_string(kept).unwrap(), "mine");
    }

    #[test]
    fn one_removal_at_a_time() {
        let home = home();
        put_aside(home.path(), "lent").unwrap();
        let told = ReportedOnce::default();
        let other = told.lock().unwrap();
        remove(home.path(), &told);
        assert!(!is_gone(home.path()));
        drop(other);
        remove(home.path(), &told);
        assert!(is_gone(home.path()));
    }
}
