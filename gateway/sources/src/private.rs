//! Folders of keys, and of settings that the owner's programs obey: nothing that is installed is given one.
//!
//! Invariants: a folder is judged by where it really lies; one that holds a private folder is as private as that one.
//!
//! Must not know: who asks for the folder.

use std::path::{Path, PathBuf};

/// By their names, wherever they lie.
const NAMES: [&str; 9] = [
    ".ssh",
    ".gnupg",
    ".git",
    ".aws",
    ".kube",
    ".claude",
    ".codex",
    "systemd",
    "autostart",
];
/// In the home directory, whatever they are called where they really lie.
const IN_HOME: [&str; 13] = [
    ".ssh",
    ".gnupg",
    ".aws",
    ".kube",
    ".claude",
    ".codex",
    ".config/systemd",
    ".config/autostart",
    ".config/gh",
    ".config/git",
    ".docker",
    ".mozilla",
    ".local/share/keyrings",
];

/// Why what is installed is not given the folder that really lies at `real`.
pub(crate) fn refused(real: &Path, writable: bool) -> Option<String> {
    let shown = real.display();
    let given =
        "where your own programs have keys or settings: nothing that is installed is given that";
    let mut parts = real.iter().filter_map(|part| part.to_str());
    if let Some(part) = parts.find(|part| NAMES.contains(part)) {
        return Some(format!("{shown} lies in {part}, {given}"));
    }
    let home = std::env::var_os("HOME").map(PathBuf::from);
    for place in IN_HOME
        .iter()
        .filter_map(|name| Some(home.as_ref()?.join(name)))
    {
        // A link counts as what it leads to; what is not there yet could come to be there.
        let at = place.canonicalize().unwrap_or_else(|_| place.clone());
        let spelled = std::path::absolute(&place).unwrap_or(place);
        let is_of = |at: &Path| real.starts_with(at) || at.starts_with(real);
        if is_of(&at) || is_of(&spelled) {
            return Some(format!(
                "{shown} holds or is {}, {given}",
                spelled.display()
            ));
        }
    }
    let holds = NAMES.iter().find(|name| {
        // The history of a project may be read with the project, and never written.
        (writable || **name != ".git") && real.join(name).symlink_metadata().is_ok()
    });
    holds.map(|name| format!("{shown} holds {name}, {given}; give a folder in it"))
}

#[cfg(test)]
mod tests {
    use super::refused;
    use std::fs;

    #[test]
    fn folder_that_holds_keys_is_private() {
        let at = tempfile::tempdir().unwrap();
        let at = at.path().canonicalize().unwrap();
        for folder in ["keys/.ssh/deep", "project/.git", "plain/notes"] {
            fs::create_dir_all(at.join(folder)).unwrap();
        }
        for (folder, writable, is_private) in [
            ("keys/.ssh", false, true),
            ("keys/.ssh/deep", false, true),
            ("keys", false, true),
            ("project", true, true),
            ("project", false, false),
            ("project/.git", false, true),
            ("plain", true, false),
        ] {
            let why = refused(&at.join(folder), writable);
            assert_eq!(why.is_some(), is_private, "{folder} {writable}: {why:?}");
        }
    }
}
