//! `plexus-try` on a connector that does what its cage forbids: what was refused is named, with the rule that mends it.
#![cfg(target_os = "linux")]

use plexus_conformance::find_launcher;
use serde_json::Value;
use std::{fs, path::Path, process::Command};
use tempfile::TempDir;

const WORKER: &str = env!("CARGO_BIN_EXE_plexus-worker-faulty");
const MANIFEST: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/src/bin/plexus-worker-faulty/manifest.json"
);
const PROFILE: &str = include_str!("../../../sandbox-profiles/fixture.sb");

struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("root")).unwrap();
        fs::write(folder.path().join("root/a.md"), "a\n").unwrap();
        let _ = find_launcher(Path::new(WORKER));
        Self(folder)
    }

    fn run(&self, profile: &str, words: &[&str]) -> (bool, Value) {
        let file = self.0.path().join("profile.sb");
        fs::write(&file, profile).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_plexus-try"))
            .arg("faulty")
            .args(words)
            .arg("--json")
            .arg("--root")
            .arg(self.0.path().join("root"))
            .arg("--programs")
            .arg(Path::new(WORKER).parent().unwrap())
            .args(["--manifest", MANIFEST, "--profile"])
            .arg(file)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let value = serde_json::from_str(&text).unwrap_or_else(|_| {
            panic!("{text}{}", String::from_utf8_lossy(&output.stderr));
        });
        (output.status.success(), value)
    }
}

const LOOK: [&str; 2] = ["look", r#"{"path":"a.md"}"#];

#[test]
fn a_quiet_connector_is_refused_nothing() {
    let bench = Bench::new();
    let (ok, tried) = bench.run(PROFILE, &LOOK);
    assert!(ok, "{tried:#}");
    assert_eq!(tried["output"]["lines"][0], "a");
    assert_eq!(tried["touched"][0]["id"], "a.md");
    // Nor is what the harness attacks on purpose, before it says hello, taken for the connector's.
    assert_eq!(tried["denied"], serde_json::json!([]));
    assert!(tried.get("notWatched").is_none(), "{tried:#}");
}

#[test]
fn the_rule_that_is_printed_mends_what_was_refused() {
    let bench = Bench::new();
    let words = [LOOK[0], LOOK[1], "--config", "fault=looks-outside"];
    let (ok, tried) = bench.run(PROFILE, &words);
    assert!(!ok, "{tried:#}");
    let rules: Vec<&str> = tried["denied"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|denied| denied["rule"].as_str())
        .collect();
    let name = fs::canonicalize("/etc/hostname").unwrap();
    assert_eq!(
        rules,
        [format!(
            "(allow file-read* (literal \"{}\")) ; why: ...",
            name.display()
        )],
        "{tried:#}"
    );
    let (ok, tried) = bench.run(&format!("{PROFILE}\n{}\n", rules[0]), &words);
    assert!(ok, "{tried:#}");
    assert_eq!(tried["denied"], serde_json::json!([]));
}

#[test]
fn a_reader_that_writes_is_told_where_writes_belong() {
    let bench = Bench::new();
    let (_, tried) = bench.run(
        PROFILE,
        &[LOOK[0], LOOK[1], "--config", "fault=read-writes"],
    );
    let denied = &tried["denied"][0];
    assert!(
        denied["what"].as_str().unwrap().contains("last-read"),
        "{tried:#}"
    );
    assert_eq!(denied["rule"], Value::Null);
    assert!(denied["note"].as_str().unwrap().contains("commit"));
}

#[test]
fn a_library_that_cannot_be_loaded_is_named() {
    let bench = Bench::new();
    let profile = PROFILE.replace("(import \"bsd.sb\")", "");
    let (ok, tried) = bench.run(&profile, &LOOK);
    assert!(!ok && tried["error"].is_string(), "{tried:#}");
    assert_ne!(tried["denied"], serde_json::json!([]), "{tried:#}");
}

#[test]
fn an_effect_is_planned_and_committed_on_a_copy_only() {
    let bench = Bench::new();
    let put = ["put", r#"{"path":"a.md","text":"new\n"}"#];
    let here = bench.0.path().join("root/a.md");
    let (ok, planned) = bench.run(PROFILE, &put);
    assert!(ok && planned["plan"].is_object(), "{planned:#}");
    assert!(planned.get("output").is_none() && planned.get("changed").is_none());
    let (ok, done) = bench.run(PROFILE, &[put[0], put[1], "--commit"]);
    assert!(ok, "{done:#}");
    assert_eq!(done["changed"], serde_json::json!(["a.md"]));
    assert_eq!(done["output"]["path"], "a.md");
    assert_eq!(
        fs::read_to_string(here).unwrap(),
        "a\n",
        "the folder itself is as it was"
    );
}

#[test]
fn an_input_beside_the_schema_reaches_no_worker() {
    let bench = Bench::new();
    let output = Command::new(env!("CARGO_BIN_EXE_plexus-try"))
        .args([
            "faulty",
            "look",
            "{\"path\":1}",
            "--manifest",
            MANIFEST,
            "--profile",
        ])
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../sandbox-profiles/fixture.sb"
        ))
        .arg("--root")
        .arg(bench.0.path().join("root"))
        .arg("--programs")
        .arg(Path::new(WORKER).parent().unwrap())
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("does not fit the schema"), "{said}");
}
