//! Finding the programs under test, and refusing stale ones: a green run against yesterday's daemon proves nothing.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The path of a program of the workspace, beside the folder of the running test.
///
/// # Panics
/// When it is missing, or older than one of its sources (cargo writes them to `<name>.d`); the message is the command
/// to type.
#[must_use]
#[track_caller]
pub fn path(name: &str) -> PathBuf {
    const BUILD: &str = "type: cargo build --workspace --bins (`cargo xtask test` does)";
    let path = folder().join(name);
    let Ok(built) = modified(&path) else {
        panic!("{} is missing; {BUILD}", path.display());
    };
    for source in sources(&path.with_extension("d")) {
        if let Ok(changed) = modified(&source) {
            assert!(
                changed <= built,
                "{} is older than {}; {BUILD}",
                path.display(),
                source.display()
            );
        }
    }
    path
}

/// The variables with which the system loads one of the tests' libraries into a program, and `variable` tells that library
/// what to do.
///
/// # Panics
/// When the library was not built; the message is the command to type.
#[must_use]
#[track_caller]
pub fn preloaded(library: &str, variable: &str, value: &str) -> Vec<(String, String)> {
    let library = folder().join("examples").join(library);
    assert!(
        library.is_file(),
        "{} is missing; type: cargo build -p plexus-tests --examples",
        library.display()
    );
    [
        ("LD_PRELOAD", library.to_string_lossy()),
        (variable, value.into()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.into_owned()))
    .collect()
}

/// The folder that cargo puts binaries of this profile in.
#[must_use]
pub fn folder() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let folder = test.parent().expect("a program lies in a folder");
    if folder.ends_with("deps") {
        folder
            .parent()
            .expect("deps lies in a folder")
            .to_path_buf()
    } else {
        folder.to_path_buf()
    }
}

fn modified(path: &Path) -> std::io::Result<SystemTime> {
    path.metadata()?.modified()
}

/// The right side of the one rule in cargo's `.d` file; a blank in a path is written `\ `.
fn sources(rule: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(rule).unwrap_or_default();
    let Some((_, sources)) = text.split_once(": ") else {
        return Vec::new();
    };
    sources
        .replace("\\ ", "\0")
        .split_whitespace()
        .map(|path| PathBuf::from(path.replace('\0', " ")))
        .collect()
}
