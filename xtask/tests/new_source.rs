//! A connector as `cargo xtask new-source` makes it, in a copy of this workspace: everything that is asked of a connector
//! holds before a person has changed a line.
//!
//! The copy stays in the target folder, and only what differs is copied again. It is built in the folder of the build that
//! this test belongs to, where everything that comes from elsewhere lies built already.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const NAME: &str = "scratch-made";

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

/// Cargo's folder of this workspace.
fn target() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    // target/debug/deps/new_source-…
    test.ancestors().nth(3).unwrap().to_path_buf()
}

/// Makes `to` what `from` is; files that are the same keep their time, so that cargo does not build them again.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let mut there = BTreeSet::new();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let name = entry.file_name();
        let (path, copied) = (entry.path(), to.join(&name));
        let kind = entry.file_type().unwrap();
        if name == "target" || name == ".git" {
            continue;
        }
        if kind.is_dir() {
            copy(&path, &copied);
        } else if kind.is_file() {
            let bytes = fs::read(&path).unwrap();
            if fs::read(&copied).ok().as_ref() != Some(&bytes) {
                fs::write(&copied, bytes).unwrap();
            }
        }
        there.insert(name);
    }
    for entry in fs::read_dir(to).unwrap().flatten() {
        if !there.contains(&entry.file_name()) {
            let path = entry.path();
            if path.is_dir() {
                fs::remove_dir_all(path).unwrap();
            } else {
                fs::remove_file(path).unwrap();
            }
        }
    }
}

#[test]
#[ignore = "builds a workspace of its own: cargo xtask test --long"]
fn a_new_connector_is_green_as_made() {
    let scratch = target().join("new-source");
    let root = scratch.join("workspace");
    copy(&workspace(), &root);
    let cargo = |words: &[&str]| {
        let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(words)
            .current_dir(&root)
            .env("CARGO_BUILD_BUILD_DIR", target())
            .env("CARGO_TARGET_DIR", scratch.join("target"))
            .env("CARGO_INCREMENTAL", "0")
            // In one build folder cargo tells two checkouts of one package apart by their profile alone: this is nobody
            // else's here.
            .env("CARGO_PROFILE_DEV_DEBUG", "line-directives-only")
            .env("CARGO_NET_OFFLINE", "true")
            .output()
            .unwrap();
        let said = format!(
            "cargo {}\n{}{}",
            words.join(" "),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(output.status.success(), "{said}");
        said
    };
    let package = format!("plexus-worker-{NAME}");
    let said = cargo(&["xtask", "new-source", NAME]);
    let made = "workers/scratch-made/manifest.json";
    assert!(said.contains(made), "{said}");
    cargo(&["fmt", "-p", &package, "-p", "plexusd", "--check"]);
    cargo(&["xtask", "rules"]);
    let line = format!("clippy --locked -p {package} --all-targets -- -D warnings");
    cargo(&line.split(' ').collect::<Vec<_>>());
    let said = cargo(&["test", "--locked", "-p", &package]);
    assert!(said.contains("test conforms ... ok"), "{said}");
    // The profiles' own rules hold for this one too; and the daemon takes it in.
    if std::env::var_os("PLEXUS_TEST_LENGTH").is_some_and(|length| length != "quick") {
        cargo(&["check", "--locked", "-p", "plexusd"]);
    }
    let line = "test --locked -p plexus-sandbox --test profiles";
    cargo(&line.split(' ').collect::<Vec<_>>());
    fs::write(scratch.join("a.md"), "tried\n").unwrap();
    let (input, place) = (r#"{"path":"a.md"}"#, scratch.to_string_lossy());
    let said = cargo(&["xtask", "try", NAME, "read", input, "--root", &place]);
    assert!(said.contains("tried"), "{said}");
    assert!(said.contains("refused nothing"), "{said}");
    const APPLE: &str = "aarch64-apple-darwin";
    let libraries = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", APPLE])
        .output()
        .unwrap();
    if Path::new(String::from_utf8_lossy(&libraries.stdout).trim()).is_dir() {
        cargo(&["check", "--locked", "-p", &package, "--target", APPLE]);
    }
}
