//! Finding the programs under test, and refusing stale ones: a green run against yesterday's daemon proves nothing.

use crate::programs;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

thread_local! {
    /// Where this story's product was installed.
    static PREFIX: RefCell<Option<PathBuf>> = const { RefCell::new(None) };
}

/// Installs this build under `prefix` as a person with an open mask does, and has this story take from there all that ships;
/// the tests' own programs stay where they are.
///
/// # Panics
/// When it cannot be installed.
#[track_caller]
pub fn install(prefix: &Path) {
    for name in shipped() {
        let _built = path(&name);
    }
    let mut install = Command::new("/bin/sh");
    install.args(["-c", "umask 000; exec \"$0\" \"$@\""]);
    install.arg(path("xtask")).arg("install");
    install.arg("--binaries").arg(folder());
    install.arg("--prefix").arg(prefix);
    programs::run(install).expect_ok();
    PREFIX.set(Some(prefix.to_owned()));
}

/// The same with the programs alone, as links: an install waits until the disk has half a gigabyte.
///
/// # Panics
/// When one cannot be put there.
#[track_caller]
pub fn link(prefix: &Path) {
    for name in shipped() {
        let (from, to) = (path(&name), prefix.join(installed_at(&name)));
        std::fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
        // Another disk takes no link.
        let linked = std::fs::hard_link(&from, &to);
        linked
            .or_else(|_| std::fs::copy(&from, &to).map(drop))
            .expect("a program");
    }
    PREFIX.set(Some(prefix.to_owned()));
}

/// From here on all programs are again this build's own.
pub fn forget_install() {
    PREFIX.set(None);
}

/// The programs that ship: those of the workspace's default members, as its manifest has them.
///
/// # Panics
/// When cargo does not say.
#[must_use]
#[track_caller]
pub fn shipped() -> Vec<String> {
    let mut cargo = Command::new("cargo");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    cargo.current_dir(root.expect("the workspace"));
    cargo.args(["metadata", "--no-deps", "--offline"]);
    let said = programs::run({
        cargo.args(["--format-version", "1"]);
        cargo
    });
    said.expect_ok();
    let metadata = said.json();
    let list = |value: &serde_json::Value| value.as_array().expect("a list").clone();
    let ships = list(&metadata["workspace_default_members"]);
    let packages = list(&metadata["packages"]);
    let ours = packages
        .iter()
        .filter(|package| ships.contains(&package["id"]));
    let targets = ours.flat_map(|package| list(&package["targets"]));
    let programs = targets.filter(|target| target["kind"][0] == "bin");
    programs
        .map(|target| target["name"].as_str().expect("a name").to_owned())
        .collect()
}

/// Where an install has a program that ships, below its prefix.
#[must_use]
pub fn installed_at(name: &str) -> String {
    let is_typed = !name.starts_with("plexus-worker-")
        && !["plexus-sandbox-exec", "plexus-egress"].contains(&name);
    let folder = if is_typed { "bin" } else { "libexec/plexus" };
    format!("{folder}/{name}")
}

/// The path of a program of the workspace, beside the folder of the running test, or below the prefix of its [`install`] or [`link`].
///
/// # Panics
/// When it is missing, or older than one of its sources (cargo writes them to `<name>.d`); the message is the command
/// to type.
#[must_use]
#[track_caller]
pub fn path(name: &str) -> PathBuf {
    const BUILD: &str = "type: cargo build --workspace --bins (`cargo xtask test` does)";
    let installed = PREFIX.with_borrow(|prefix| Some(prefix.as_ref()?.join(installed_at(name))));
    if let Some(installed) = installed.filter(|path| path.is_file()) {
        return installed;
    }
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
