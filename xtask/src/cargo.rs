//! Running cargo: always from the root of the workspace, always with the toolchain that runs this program.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What begins the name of every worker's program.
const WORKER: &str = "plexus-worker-";
/// The programs beside the workers that only `plexusd` starts.
const BESIDE_WORKERS: [&str; 2] = ["plexus-sandbox-exec", "plexus-egress"];

/// A program that ships.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Program {
    /// Its name.
    pub(crate) name: String,
    /// Whether a person starts it; else `plexusd` alone does.
    pub(crate) is_typed: bool,
}

/// Every program that ships, in order: the binaries of the workspace's `default-members`, which plain `cargo build` makes.
pub(crate) fn shipped() -> Result<Vec<Program>> {
    let metadata = read_metadata(&["--no-deps"])?;
    let mut programs: Vec<Program> = packages(&metadata)
        .filter(|package| ships(&metadata, package))
        .flat_map(programs_of)
        .map(|name| Program {
            name: name.to_owned(),
            is_typed: !name.starts_with(WORKER) && !BESIDE_WORKERS.contains(&name),
        })
        .collect();
    programs.sort();
    Ok(programs)
}

/// The packages that `cargo metadata` tells of.
pub(crate) fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().into_iter().flatten()
}

/// Whether what a package builds ships.
pub(crate) fn ships(metadata: &Value, package: &Value) -> bool {
    let ids = metadata["workspace_default_members"].as_array();
    ids.is_some_and(|ids| ids.contains(&package["id"]))
}

/// The programs of a package.
pub(crate) fn programs_of(package: &Value) -> impl Iterator<Item = &str> {
    let programs = targets(package).filter(|target| target["kind"][0] == "bin");
    programs.filter_map(|target| target["name"].as_str())
}

fn targets(package: &Value) -> impl Iterator<Item = &Value> {
    package["targets"].as_array().into_iter().flatten()
}

/// The package of a connector's worker, and its binary.
pub(crate) fn worker(connector: &str) -> String {
    format!("{WORKER}{connector}")
}

/// The connectors there are: the folders of `workers/` with a manifest in them, in order.
pub(crate) fn connectors() -> Result<Vec<String>> {
    let folder = root().join("workers");
    let mut names = Vec::new();
    for entry in
        std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?
    {
        let entry = entry?;
        if entry.path().join("manifest.json").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// A cargo command at the root.
pub(crate) fn command() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root());
    command
}

/// What `cargo metadata` says for one platform.
pub(crate) fn metadata(platform: &str) -> Result<Value> {
    read_metadata(&["--locked", "--filter-platform", platform])
}

/// Where cargo puts binaries of a profile (`debug` or `release`).
pub(crate) fn binaries(profile: &str) -> Result<PathBuf> {
    // Without dependencies nothing has to be fetched for platforms that nobody builds for.
    let metadata = members()?;
    let target = metadata["target_directory"]
        .as_str()
        .context("cargo metadata names no target directory")?;
    Ok(Path::new(target).join(profile))
}

/// The kind of machine that cargo builds for here.
pub(crate) fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = Command::new(rustc)
        .arg("-vV")
        .output()
        .context("running rustc")?;
    ensure!(said.status.success(), "rustc -vV failed");
    let said = String::from_utf8(said.stdout).context("reading what rustc said")?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc names no host")?.to_owned())
}

/// What `cargo metadata` says of the workspace's own packages.
pub(crate) fn members() -> Result<Value> {
    read_metadata(&["--no-deps"])
}

/// Cargo's arguments for the unit tests: each library, and the binaries that have some.
pub(crate) fn units() -> Result<Vec<String>> {
    let metadata = members()?;
    let mut units = vec!["--lib".to_owned()];
    for target in packages(&metadata).flat_map(targets) {
        if target["kind"][0] == "bin" && target["test"] == true {
            let name = target["name"].as_str().unwrap_or_default();
            units.extend(["--bin".to_owned(), name.to_owned()]);
        }
    }
    Ok(units)
}

fn read_metadata(arguments: &[&str]) -> Result<Value> {
    let answer = command()
        .args(["metadata", "--format-version", "1"])
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .context("running cargo metadata")?;
    ensure!(answer.status.success(), "cargo metadata failed");
    serde_json::from_slice(&answer.stdout).context("reading cargo metadata")
}

/// The folder of the programs that ship: the one given, where they were built before; else they are built in a profile of
/// cargo's, with its own progress on the terminal.
pub(crate) fn product(given: Option<&Path>, profile: &str) -> Result<PathBuf> {
    product_with(given, profile, &[])
}

/// The folder of the programs that ship, built to be given to others: they name no folder of this machine.
pub(crate) fn product_to_offer(profile: &str) -> Result<PathBuf> {
    if profile == "dev" {
        // Nobody offers it, and what is built for the tests serves.
        return product(None, profile);
    }
    let mut flags = match std::env::var("CARGO_ENCODED_RUSTFLAGS") {
        Ok(flags) if !flags.is_empty() => vec![flags],
        _ => {
            let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
            flags.split_whitespace().map(str::to_owned).collect()
        }
    };
    let mut target = binaries(profile)?;
    target.pop();
    let mut folders = vec![(root(), "/plexus"), (target, "/target")];
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from).or(home);
    // One folder for each registry.
    let registries = cargo.map(|cargo| std::fs::read_dir(cargo.join("registry/src")));
    let registries = registries.into_iter().flatten().flatten().flatten();
    folders.extend(registries.map(|registry| (registry.path(), "/crates")));
    for (folder, name) in folders {
        flags.push(format!("--remap-path-prefix={}={name}", folder.display()));
    }
    build(profile, &[], |cargo| {
        cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    })
}

/// The same as [`product`], built with these features too.
pub(crate) fn product_with(
    given: Option<&Path>,
    profile: &str,
    features: &[&str],
) -> Result<PathBuf> {
    match given {
        Some(built) => Ok(std::path::absolute(built)?),
        None => build(profile, features, |_| {}),
    }
}

/// Builds what ships; `set` changes cargo's environment before.
fn build(profile: &str, features: &[&str], set: impl FnOnce(&mut Command)) -> Result<PathBuf> {
    let mut build = command();
    set(&mut build);
    // Without `-p` cargo builds the default members: what ships.
    build.args(["build", "--bins", "--locked", "--profile", profile]);
    for feature in features {
        build.args(["--features", feature]);
    }
    let status = build.status().context("running cargo build")?;
    ensure!(status.success(), "the build failed; its errors are above");
    // Cargo's one profile whose folder has another name.
    binaries(if profile == "dev" { "debug" } else { profile })
}
