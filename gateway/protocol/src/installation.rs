//! Where the programs of Plexus lie together, and how a person puts them there again.
//!
//! ```text
//! PREFIX/bin, PREFIX/libexec/plexus   what `cargo xtask install` or a release puts there
//! NAME.app/Contents/MacOS             the application of macOS
//! target/debug, target/release        what cargo builds
//! ```

use crate::shell;
use std::path::{Path, PathBuf};

/// The key that signed the release that is installed, below the prefix: its upgrades are checked by it.
pub const PUBLIC_KEY: &str = "share/plexus/release.pub";

/// The command, in a clone or in the folder of the release, that puts all programs where those in `folder` lie.
#[must_use]
pub fn command(folder: &Path) -> String {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    command_for(folder, home.as_deref())
}

/// The same of a user whose home directory is `home`.
fn command_for(folder: &Path, home: Option<&Path>) -> String {
    let above = ["bin", "libexec/plexus"]
        .into_iter()
        .find(|kind| folder.ends_with(kind));
    let prefix = above.and_then(|kind| folder.ancestors().nth(Path::new(kind).iter().count()));
    match prefix {
        None if app_of(folder).is_some() => "sh install.sh".to_owned(),
        // What `cargo xtask start` runs.
        None if folder.ends_with("release") => "cargo build --release".to_owned(),
        None => "cargo build".to_owned(),
        Some(prefix) if prefix.join(PUBLIC_KEY).is_file() => {
            let prefix = shell::quote(&prefix.to_string_lossy());
            format!("sh install.sh --prefix {prefix}")
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

/// What a person does about a program that is not where the others in `folder` are.
#[must_use]
pub fn remedy(folder: &Path) -> String {
    let command = command(folder);
    // Which one, since every release has one.
    let whose = match command.starts_with("sh ") {
        true => ", in the folder of the release that is installed",
        false => "",
    };
    format!("install all programs together{whose}: {command}")
}

/// The application of macOS whose programs lie in `folder`; none elsewhere.
#[must_use]
pub fn app_of(folder: &Path) -> Option<&Path> {
    let app = folder
        .parent()
        .filter(|_| folder.ends_with("Contents/MacOS"))?
        .parent()?;
    app.extension()
        .is_some_and(|kind| kind == "app")
        .then_some(app)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_names_the_prefix_of_the_programs() {
        let said = |folder: &str| command_for(Path::new(folder), Some(Path::new("/home/ada")));
        for folder in ["bin", "libexec/plexus"] {
            let own = said(&format!("/home/ada/.local/{folder}"));
            assert_eq!(own, "cargo xtask install");
            assert_eq!(
                said(&format!("/opt/my tools/{folder}")),
                "cargo xtask install --prefix '/opt/my tools'"
            );
        }
        assert_eq!(said("/src/target/debug"), "cargo build");
        assert_eq!(said("/src/target/release"), "cargo build --release");
        let in_app = said("/Users/ada/Applications/Plexus.app/Contents/MacOS");
        assert!(in_app.starts_with("sh install.sh"), "{in_app}");
        for other in ["/src/target/debug", "/opt/Contents/MacOS", "/opt/x.app/bin"] {
            assert_eq!(app_of(Path::new(other)), None, "{other}");
        }
    }
}
