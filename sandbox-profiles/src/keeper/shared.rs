//! Folders of the owner's that a run reads in place: a link to each in the run's root, made before its program starts.
//!
//! Invariants: a folder is shared only under the path that was named, which leads through no link; a link that a run left in
//! its root leads no link of ours elsewhere; what has the link's name already stays.
//!
//! Must not know: what the folders hold. That a run changes nothing there is its profile's to hold.

use std::fs::File;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::symlinkat;

use super::beneath::make_folder;
use crate::children::SharedFolder;

/// Makes the links of those that are there; their parameters of the profile.
///
/// # Errors
/// One sentence for the owner.
pub(super) fn link(shared: &[SharedFolder], root: &Path) -> Result<Vec<(String, String)>, String> {
    let mut parameters = Vec::new();
    for folder in shared {
        let from = folder.from.display();
        match folder.from.canonicalize() {
            Ok(found) if found == folder.from && found.is_dir() => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Ok(_) => {
                return Err(format!(
                    "the shared folder {from} is a link, lies behind one, or is no folder; name another one in the source's field share"
                ));
            }
            Err(error) => return Err(format!("the shared folder {from}: {error}")),
        }
        put(folder, root).map_err(|error| format!("the link to {from} in the copy: {error}"))?;
        parameters.push((format!("SHARE_{}", parameters.len()), from.to_string()));
    }
    Ok(parameters)
}

fn put(shared: &SharedFolder, root: &Path) -> io::Result<()> {
    let there = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let mut folder: File = open(root, there, Mode::empty())?.into();
    let (above, name) = shared.name.rsplit_once('/').unwrap_or(("", &shared.name));
    for part in above.split_terminator('/') {
        folder = make_folder(&folder, part)?;
    }
    match symlinkat(&shared.from, &folder, name) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn link_goes_through_no_other_link() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let [own, root, elsewhere] = ["own", "root", "elsewhere"].map(|name| dir.join(name));
        fs::create_dir_all(own.join("app/modules")).unwrap();
        fs::create_dir(&root).unwrap();
        fs::create_dir(&elsewhere).unwrap();
        let shared = |name: &str| SharedFolder {
            name: name.to_owned(),
            from: own.join(name),
        };
        let both = [shared("missing"), shared("app/modules")];
        let parameters = link(&both, &root).unwrap();
        let from = own.join("app/modules");
        let expected = [("SHARE_0".to_owned(), from.display().to_string())];
        assert_eq!(parameters, expected);
        assert_eq!(fs::read_link(root.join("app/modules")).unwrap(), from);
        // A further turn finds it in place.
        assert_eq!(link(&both, &root).unwrap(), expected);

        // A run before put a link in place of the folder above.
        fs::remove_dir_all(root.join("app")).unwrap();
        symlink(&elsewhere, root.join("app")).unwrap();
        let refused = link(&both, &root).unwrap_err();
        assert!(refused.contains("in the copy"), "{refused}");
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);

        // What is named leads elsewhere.
        symlink(&elsewhere, own.join("linked")).unwrap();
        let refused = link(&[shared("linked")], &root).unwrap_err();
        assert!(refused.contains("is a link"), "{refused}");
        assert!(!root.join("linked").exists());
    }
}
