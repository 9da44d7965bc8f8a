//! Our other programs: beside this one, never through PATH.

use plexus_client::{Exit, Stop};
use std::path::{Path, PathBuf};

/// The program `name` in this program's own folder.
pub(crate) fn beside(name: &str) -> Result<PathBuf, Stop> {
    let path = own()?.with_file_name(name);
    if path.is_file() {
        return Ok(path);
    }
    let why = format!("{} is not there", path.display());
    Err(Stop::new(Exit::Failed, "not_installed", why)
        .next("install all programs together: cargo xtask install"))
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
            format!("where this program is cannot be told: {e}"),
        )
    })?;
    Ok(own.canonicalize().unwrap_or(own))
}
