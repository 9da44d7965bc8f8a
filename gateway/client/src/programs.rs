//! Programs of the system.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

/// A program of the system, by its absolute path or by PATH. Relative folders of that are left out: they would be looked for wherever the command is
/// run, which may be a folder that an agent writes to.
#[must_use]
pub fn of_the_system(name: &str) -> Option<PathBuf> {
    found(&std::env::var_os("PATH").unwrap_or_default(), name)
}

fn found(path: &OsStr, name: &str) -> Option<PathBuf> {
    let named = Path::new(name);
    if named.is_absolute() {
        return named.is_file().then(|| named.to_owned());
    }
    std::env::split_paths(path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_not_looked_for_where_the_command_is_run() {
        // The tests run in the package's folder, which holds this file.
        let here = std::env::current_dir().unwrap();
        let path = |folders: &[&str]| std::env::join_paths(folders).unwrap();
        let relative = path(&["", ".", "src/.."]);
        assert!(Path::new("Cargo.toml").is_file());
        assert_eq!(found(&relative, "Cargo.toml"), None);
        let both = path(&[".", &here.to_string_lossy()]);
        assert_eq!(found(&both, "Cargo.toml"), Some(here.join("Cargo.toml")));
        assert_eq!(found(&both, "src"), None, "a folder is no program");
        let whole = here.join("Cargo.toml");
        assert_eq!(found(OsStr::new(""), &whole.to_string_lossy()), Some(whole));
    }
}
