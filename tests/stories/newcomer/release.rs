//! The release of the newcomer's clone.

use super::account::Newcomer;
use plexus_tests::programs;
use plexus_tests::texts::assert_contains;
use std::fs;
use tempfile::TempDir;

/// A release of the same clone, unpacked in an empty folder, is a gateway.
pub(super) fn releases(newcomer: &Newcomer) {
    let place = TempDir::with_prefix("plx").expect("a folder");
    let out = place.path().join("out");
    let said = newcomer.cargo(&[
        "xtask",
        "dist",
        "--profile",
        "dev",
        "--out",
        &out.to_string_lossy(),
    ]);
    said.expect_ok();
    let find = |end: &str| {
        let entries = fs::read_dir(&out).expect("the folder").flatten();
        let mut paths = entries.map(|entry| entry.path());
        paths
            .find(|path| path.to_string_lossy().ends_with(end))
            .expect(end)
    };
    let tarball = find(".tar.gz");
    let mut sums = newcomer.command("sha256sum");
    sums.current_dir(&out)
        .args(["-c", "--quiet"])
        .arg(find(".sha256"));
    programs::run(sums).expect_ok();
    let formula = fs::read_to_string(find("plexus.rb")).expect("the formula");
    let sum = fs::read_to_string(find(".sha256")).expect("the sum");
    assert_contains(&formula, sum.split(' ').next().expect("a digest"));
    // Again: the same bytes.
    let first = fs::read(&tarball).expect("the tarball");
    newcomer
        .cargo(&[
            "xtask",
            "dist",
            "--profile",
            "dev",
            "--out",
            &out.to_string_lossy(),
        ])
        .expect_ok();
    assert!(
        first == fs::read(&tarball).expect("the tarball"),
        "another tarball of the same programs"
    );

    let unpacked = place.path().join("unpacked");
    fs::create_dir(&unpacked).expect("a folder");
    let paths = [tarball.to_string_lossy(), unpacked.to_string_lossy()];
    newcomer
        .types(&["tar", "-xzf", &paths[0], "-C", &paths[1]])
        .expect_ok();
    let folder = fs::read_dir(&unpacked)
        .expect("it")
        .flatten()
        .next()
        .expect("one folder")
        .path();
    let plexusd = folder.join("bin/plexusd").to_string_lossy().into_owned();
    let version = newcomer.types(&[&plexusd, "--version"]);
    assert_contains(version.expect_ok(), env!("CARGO_PKG_VERSION"));
    // Its workers are found beside it, and their cages hold.
    let home = place.path().join("home");
    let gateway = newcomer.plexusd(&plexusd, &home);
    let status = newcomer.types(&[
        "plexusctl",
        "--home",
        &home.to_string_lossy(),
        "--json",
        "status",
    ]);
    let sources = status.json()["sources"].clone();
    let healthy = sources
        .as_array()
        .is_some_and(|all| all.len() == 2 && all.iter().all(|one| one["status"] == "ok"));
    assert!(healthy, "{sources:#}");
    gateway.stop();
}
