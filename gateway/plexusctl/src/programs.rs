//! Our other programs: beside this one, never through PATH.

use plexus_client::{Exit, Stop, shell};
use std::path::{Path, PathBuf};

/// The key of whoever made the release that is installed, below the prefix: whom its upgrades are checked by.
pub(crate) const PUBLIC_KEY: &str = "share/plexus/release.pub";

/// The program `name` in this program's own folder.
pub(crate) fn beside(name: &str) -> Result<PathBuf, Stop> {
    let path = own()?.with_file_name(name);
    if path.is_file() {
        return Ok(path);
    }
    let why = format!("{} is not there", path.display());
    let next = format!("install all programs together: {}", install());
    Err(Stop::new(Exit::Failed, "not_installed", why).next(next))
}

/// The command, in a clone or with the release, that puts all our programs where this one lies.
pub(crate) fn install() -> String {
    let own = own().unwrap_or_default();
    let home = std::env::var_os("HOME").map(PathBuf::from);
    install_at(own.parent().unwrap_or(&own), home.as_deref())
}

fn install_at(folder: &Path, home: Option<&Path>) -> String {
    match folder.parent().filter(|_| folder.ends_with("bin")) {
        // What `cargo xtask start` runs.
        None if folder.ends_with("release") => "cargo build --release".to_owned(),
        None => "cargo build".to_owned(),
        Some(prefix) if prefix.join(PUBLIC_KEY).is_file() => {
            let prefix = shell::quote(&prefix.to_string_lossy());
            format!("sh install.sh --prefix {prefix} (of the release that is installed)")
        }
        Some(prefix) if home.is_some_and(|home| home.join(".local") == prefix) => {
            "cargo xtask install".to_owned()
        }
        Some(prefix) => {
            let prefix = shell::quote(&prefix.to_string_lossy());
            format!("cargo xtask install --prefix {prefix}")
        }
    }
}

/// The prefix that this program was installed under: the folder above its `bin`.
pub(crate) fn prefix() -> Result<PathBuf, Stop> {
    let own = own()?;
    let bin = own.parent().unwrap_or(Path::new("/"));
    Ok(bin.parent().unwrap_or(bin).to_owned())
}

fn own() -> Result<PathBuf, Stop> {
    let own = std::env::current_exe().map_err(|e| {
        Stop::new(
            Exit::Failed,
            "system",
            format!("the path of this program is unknown: {e}"),
        )
    })?;
    Ok(own.canonicalize().unwrap_or(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn install_names_the_prefix_of_this_program() {
        let install = |folder: &str| install_at(Path::new(folder), Some(Path::new("/home/ada")));
        assert_eq!(install("/home/ada/.local/bin"), "cargo xtask install");
        assert_eq!(
            install("/opt/my tools/bin"),
            "cargo xtask install --prefix '/opt/my tools'"
        );
        assert_eq!(install("/src/target/debug"), "cargo build");
        assert_eq!(install("/src/target/release"), "cargo build --release");
    }
}
