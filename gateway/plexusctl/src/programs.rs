//! Our other programs: beside this one, never through PATH.

use plexus_client::{Exit, Stop};
use plexus_protocol::installation::{self, app_of};
use std::path::{Path, PathBuf};

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
    let next = installation::remedy(own.parent().unwrap_or(own));
    Err(Stop::new(Exit::Failed, "not_installed", why).next(next))
}

/// The command, in a clone or with the release, that puts all our programs where this one lies.
pub(crate) fn install() -> String {
    let own = own().unwrap_or_default();
    installation::command(own.parent().unwrap_or(&own))
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
    }
}
