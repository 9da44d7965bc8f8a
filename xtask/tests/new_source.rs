//! Connectors as `cargo xtask new-source` makes them, in a copy of this workspace: everything that is asked of a connector
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

/// One that reads, and one that writes too.
const READS: &str = "scratch-made";
const WRITES: &str = "scratch-written";

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
    let run = |words: &[&str]| {
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
        (output.status.success(), said)
    };
    let cargo = |words: &[&str]| {
        let (succeeds, said) = run(words);
        assert!(succeeds, "{said}");
        said
    };
    let line = |words: String| cargo(&words.split(' ').collect::<Vec<_>>());
    for (name, option) in [(READS, ""), (WRITES, " --effect")] {
        let said = line(format!("xtask new-source {name}{option}"));
        let made = format!("workers/{name}/manifest.json");
        assert!(said.contains(&made), "{said}");
    }
    let both = format!("-p plexus-worker-{READS} -p plexus-worker-{WRITES}");
    line(format!("fmt {both} -p plexusd --check"));
    // Two pages more may exceed the bound of all pages together, for which the others make room.
    let (holds, said) = run(&["xtask", "rules"]);
    let words = "1 breach(es):\n  docs: ";
    assert!(holds || said.contains(words), "{said}");
    line(format!(
        "clippy --locked {both} --all-targets -- -D warnings"
    ));
    let said = line(format!("test --locked {both}"));
    assert_eq!(said.matches("test conforms ... ok").count(), 2, "{said}");
    // The profiles' own rules hold for these too; and the daemon takes them in.
    if std::env::var_os("PLEXUS_TEST_LENGTH").is_some_and(|length| length != "quick") {
        cargo(&["check", "--locked", "-p", "plexusd"]);
    }
    line("test --locked -p plexus-sandbox --test tests profiles::".to_owned());
    let folder = scratch.join("tried");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("a.md"), "tried\n").unwrap();
    let call = |name: &str, words: &[&str]| {
        let begin = ["xtask", "try", name];
        let end = ["--root", folder.to_str().unwrap()];
        cargo(&[&begin[..], words, &end[..]].concat())
    };
    for name in [READS, WRITES] {
        let said = call(name, &["read", r#"{"path":"a.md"}"#]);
        assert!(said.contains("tried"), "{said}");
        assert!(said.contains("refused nothing"), "{said}");
    }
    let input = r#"{"path":"a.md","content":"written\n"}"#;
    let said = call(WRITES, &["write", input, "--commit"]);
    for words in [
        "-tried\n+written\n",
        "changed in a copy of the folder, which is gone: a.md\n",
        "the cage of the reader refused nothing",
        "the cage of the writer refused nothing",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let text = fs::read_to_string(folder.join("a.md")).unwrap();
    assert_eq!(text, "tried\n");
    const APPLE: &str = "aarch64-apple-darwin";
    let libraries = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", APPLE])
        .output()
        .unwrap();
    if Path::new(String::from_utf8_lossy(&libraries.stdout).trim()).is_dir() {
        line(format!("check --locked {both} --target {APPLE}"));
    }
}
