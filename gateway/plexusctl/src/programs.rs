//! Our other programs: beside this one, never through PATH.

use plexus_client::{Exit, Stop, shell};
use std::path::{Path, PathBuf};

/// The key of whoever made the release that is installed, below the prefix: whom its upgrades are checked by.
pub(crate) const PUBLIC_KEY: &str = "share/plexus/release.pub";

/// The program `name` in this program's own folder.
pub(crate) fn beside(name: &str) -> Result<PathBuf, Stop> {
    beside_of(&own()?, name)
}

fn beside_of(own: &Path, name: &str) -> Result<PathBuf, Stop> {
    let path = own.with_file_name(name);
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
        None if app_of(folder).is_some() => {
            "sh install.sh (of the release that is installed)".to_owned()
        }
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

/// The application of macOS that this program lies in; none elsewhere. It is replaced as a whole, never file by file: its
/// signature is over all of it.
pub(crate) fn app() -> Result<Option<PathBuf>, Stop> {
    let own = own()?;
    Ok(own.parent().and_then(app_of).map(Path::to_owned))
}

fn app_of(folder: &Path) -> Option<&Path> {
    let app = folder
        .parent()
        .filter(|_| folder.ends_with("Contents/MacOS"))?
        .parent()?;
    app.extension()
        .is_some_and(|kind| kind == "app")
        .then_some(app)
}

fn own() -> Result<PathBuf, Stop> {
    let own = std::env::current_exe().map_err(|e| {
        Stop::new(
            Exit::Failed,
            "system",
            format!("the path of this program is unknown: {e}"),
        )
    })?;
    Ok(resolved(own))
}

/// Where a path leads: a link to a program is not beside our others.
fn resolved(own: PathBuf) -> PathBuf {
    own.canonicalize().unwrap_or(own)
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
        let in_app = install("/Users/ada/Applications/Plexus.app/Contents/MacOS");
        assert!(in_app.starts_with("sh install.sh"), "{in_app}");
    }

    #[test]
    fn link_to_a_program_of_an_application_leads_to_the_others_in_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let top = folder.path().canonicalize().expect("its path");
        let programs = top.join("Plexus.app/Contents/MacOS");
        std::fs::create_dir_all(&programs).expect("folders");
        for name in ["plexusctl", "plexusd"] {
            std::fs::write(programs.join(name), "").expect("a program");
        }
        let typed = top.join("plexusctl");
        std::os::unix::fs::symlink(programs.join("plexusctl"), &typed).expect("a link");
        let own = resolved(typed);
        let found = beside_of(&own, "plexusd").expect("it is there");
        assert_eq!(found, programs.join("plexusd"));
        assert_eq!(
            beside_of(&own, "plexus-tray").expect_err("it is not").code,
            "not_installed"
        );
        assert_eq!(app_of(&programs), Some(top.join("Plexus.app").as_path()));
        for other in ["/src/target/debug", "/opt/Contents/MacOS", "/opt/x.app/bin"] {
            assert_eq!(app_of(Path::new(other)), None, "{other}");
        }
    }
}
