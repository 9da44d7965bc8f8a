//! Running cargo: always from the root of the workspace, always with the toolchain that runs this program.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The packages whose binaries a person needs to run the gateway, beside the workers'.
const PRODUCT: &[&str] = &[
    "plexusd",
    "plexusctl",
    "plexus",
    "plexus-sandbox",
    "plexus-egress",
];
/// The binaries beside the workers'.
const BESIDE_WORKERS: [&str; 2] = ["plexus-sandbox-exec", "plexus-egress"];
/// The binaries those packages give.
pub(crate) const PROGRAMS: &[&str] = &["plexusd", "plexusctl", "plexus"];

/// The binaries that only `plexusd` starts.
pub(crate) fn libexec() -> Result<Vec<String>> {
    let workers = connectors()?.into_iter().map(|name| worker(&name));
    let beside = BESIDE_WORKERS.map(str::to_owned).into_iter();
    Ok(beside.chain(workers).collect())
}

/// The package of a connector's worker, and its binary.
pub(crate) fn worker(connector: &str) -> String {
    format!("plexus-worker-{connector}")
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
pub(crate) fn metadata(platform: &str) -> Result<serde_json::Value> {
    read_metadata(&["--locked", "--filter-platform", platform])
}

/// Where cargo puts binaries of a profile (`debug` or `release`).
pub(crate) fn binaries(profile: &str) -> Result<PathBuf> {
    // Without dependencies nothing has to be fetched for platforms that nobody builds for.
    let metadata = read_metadata(&["--no-deps"])?;
    let target = metadata["target_directory"]
        .as_str()
        .context("cargo metadata names no target directory")?;
    Ok(Path::new(target).join(profile))
}

/// Cargo's arguments for the unit tests: each library, and the binaries that have some.
pub(crate) fn units() -> Result<Vec<String>> {
    let metadata = read_metadata(&["--no-deps"])?;
    let mut units = vec!["--lib".to_owned()];
    let packages = metadata["packages"].as_array().into_iter().flatten();
    for target in packages.flat_map(|package| package["targets"].as_array().into_iter().flatten()) {
        if target["kind"][0] == "bin" && target["test"] == true {
            let name = target["name"].as_str().unwrap_or_default();
            units.extend(["--bin".to_owned(), name.to_owned()]);
        }
    }
    Ok(units)
}

fn read_metadata(arguments: &[&str]) -> Result<serde_json::Value> {
    let answer = command()
        .args(["metadata", "--format-version", "1"])
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .context("running cargo metadata")?;
    ensure!(answer.status.success(), "cargo metadata failed");
    serde_json::from_slice(&answer.stdout).context("reading cargo metadata")
}

/// Builds the product with cargo's own progress on the terminal; gives the folder of the binaries.
pub(crate) fn build_product(release: bool) -> Result<PathBuf> {
    build_product_as(if release { "release" } else { "dev" })
}

/// The same with a profile of cargo's.
pub(crate) fn build_product_as(profile: &str) -> Result<PathBuf> {
    let mut build = command();
    build.args(["build", "--bins"]);
    for package in PRODUCT {
        build.args(["-p", package]);
    }
    for connector in connectors()? {
        build.args(["-p", &worker(&connector)]);
    }
    build.args(["--locked", "--profile", profile]);
    let status = build.status().context("running cargo build")?;
    ensure!(status.success(), "the build failed; its errors are above");
    // Cargo's one profile whose folder has another name.
    binaries(if profile == "dev" { "debug" } else { profile })
}
