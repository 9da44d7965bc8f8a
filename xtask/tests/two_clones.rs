//! A release that is made again from its commit, in another folder, is the same to the last byte: a person who doubts a
//! tarball builds it.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

/// Folders of unlike names and depths: a path that reached a program would differ in it.
const CLONES: [&str; 2] = ["a", "another/of-a-longer-name"];

fn ends_well(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{said}");
    output
}

#[test]
#[ignore = "two release builds: cargo xtask test --long"]
fn two_clones_of_one_commit_give_the_same_release() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let test = std::env::current_exe().unwrap();
    // target/debug/deps/two_clones-…
    let scratch = test.ancestors().nth(3).unwrap().join("two-clones");
    let _ = fs::remove_dir_all(&scratch);
    // Both before either is built: the workspace may have a newer commit by then.
    let clones = CLONES.map(|name| {
        let clone = scratch.join(name);
        let mut cloning = Command::new("git");
        cloning.args(["clone", "--quiet", "--no-hardlinks"]);
        ends_well(cloning.arg(workspace).arg(&clone));
        clone
    });
    let releases = clones.map(|clone| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut making = Command::new(cargo);
        making.args(["xtask", "dist", "--out", "dist"]);
        making.current_dir(&clone);
        ends_well(making.env("CARGO_TARGET_DIR", clone.join("target")));
        clone.join("dist")
    });
    let sums = releases
        .each_ref()
        .map(|release| fs::read_to_string(release.join("SHA256SUMS")).unwrap());
    assert!(sums[0].contains(".tar.gz\n"), "{}", sums[0]);
    // Programs that are not the same say which.
    let lists = releases.map(|release| listed(&release));
    assert_eq!(lists[0], lists[1]);
    assert_eq!(sums[0], sums[1]);
    fs::remove_dir_all(&scratch).unwrap();
}

/// The list of files and digests that the tarball holds.
fn listed(release: &Path) -> String {
    let entries = fs::read_dir(release).unwrap().flatten();
    let tarball = entries
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().ends_with(".tar.gz"))
        .expect("a tarball");
    let mut reading = Command::new("tar");
    reading.args([
        "--extract",
        "--to-stdout",
        "--wildcards",
        "--gzip",
        "--file",
    ]);
    let read = ends_well(reading.arg(tarball).arg("*/installed.json"));
    assert!(!read.stdout.is_empty());
    String::from_utf8(read.stdout).unwrap()
}
