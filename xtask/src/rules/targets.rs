//! Every test that is written is run: a target that cargo is told not to test has none, and a crate that lists its test
//! targets leaves no file out.

use anyhow::{Context, Result};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// What begins a test.
pub(super) const TESTS: [&str; 2] = ["#[test]", "#[tokio::test"];

/// One line for each test that no `cargo test` would run.
pub(crate) fn breaches(metadata: &Value) -> Result<Vec<String>> {
    let mut breaches = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        // A dependency of others has an origin.
        if !package["source"].is_null() {
            continue;
        }
        let targets = || package["targets"].as_array().into_iter().flatten();
        let root = |target: &Value| PathBuf::from(target["src_path"].as_str().unwrap_or_default());
        let of_kind = |target: &Value, kind: &str| target["kind"][0] == kind;
        for target in targets().filter(|target| target["test"] == false) {
            if !of_kind(target, "lib") && !of_kind(target, "bin") {
                continue;
            }
            for file in files_of(&root(target))? {
                let text = fs::read_to_string(&file)
                    .with_context(|| format!("reading {}", file.display()))?;
                let begins_a_test = |line: &str| {
                    TESTS
                        .iter()
                        .any(|begin| line.trim_start().starts_with(begin))
                };
                if text.lines().any(begins_a_test) {
                    breaches.push(format!(
                        "{}: has a test, and {} says `test = false`",
                        file.display(),
                        package["manifest_path"].as_str().unwrap_or_default(),
                    ));
                }
            }
        }
        let of_tests: Vec<PathBuf> = targets()
            .filter(|target| of_kind(target, "test"))
            .map(root)
            .collect();
        breaches.extend(left_out(&of_tests)?);
    }
    Ok(breaches)
}

/// The source files of a library or binary: its own file, and the folder where no other target shares it.
fn files_of(root: &Path) -> Result<Vec<PathBuf>> {
    let folder = root.parent().unwrap_or(root);
    let is_shared = root.ends_with("main.rs") && folder.join("lib.rs").exists();
    if is_shared || !(root.ends_with("main.rs") || root.ends_with("lib.rs")) {
        return Ok(vec![root.to_path_buf()]);
    }
    let mut files = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for path in entries(&folder)? {
            if path.is_dir() && !path.ends_with("bin") {
                open.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                files.push(path);
            }
        }
    }
    // The binary beside a library is a target of its own.
    files.retain(|file| root.ends_with("main.rs") || !file.ends_with("src/main.rs"));
    Ok(files)
}

/// The files beside a `tests/main.rs` that are neither modules of it nor targets.
fn left_out(targets: &[PathBuf]) -> Result<Vec<String>> {
    let Some(main) = targets.iter().find(|path| path.ends_with("tests/main.rs")) else {
        return Ok(Vec::new());
    };
    let text = fs::read_to_string(main).with_context(|| format!("reading {}", main.display()))?;
    let beside = entries(main.parent().unwrap_or(main))?;
    let is_left_out = |path: &PathBuf| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        path.extension().is_some_and(|kind| kind == "rs")
            && !targets.contains(path)
            && !text.lines().any(|line| line == format!("mod {name};"))
    };
    Ok(beside
        .into_iter()
        .filter(is_left_out)
        .map(|path| format!("{}: no module of {}", path.display(), main.display()))
        .collect())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let reading = || format!("reading {}", folder.display());
    let entries = fs::read_dir(folder).with_context(reading)?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    paths.collect::<Result<_, _>>().with_context(reading)
}

#[cfg(test)]
mod tests {
    use super::breaches;
    use serde_json::json;
    use std::fs;

    #[test]
    fn test_that_nothing_runs_is_a_breach() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path();
        for (path, text) in [
            ("src/lib.rs", "mod deep;"),
            ("src/deep.rs", "#[test]\nfn lost() {}"),
            ("src/main.rs", "fn main() {}"),
            ("tests/main.rs", "mod known;"),
            ("tests/known.rs", ""),
            ("tests/forgotten.rs", ""),
        ] {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let target = |kind: &str, path: &str, test: bool| json!({ "kind": [kind], "src_path": root.join(path), "test": test });
        let of = |tested: bool| {
            let targets = [
                target("lib", "src/lib.rs", tested),
                target("bin", "src/main.rs", false),
                target("test", "tests/main.rs", true),
            ];
            let packages =
                json!([{ "source": null, "manifest_path": "Cargo.toml", "targets": targets }]);
            breaches(&json!({ "packages": packages })).unwrap()
        };
        let found = of(false);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("src/deep.rs"), "{found:?}");
        assert!(found[1].contains("tests/forgotten.rs"), "{found:?}");
        assert_eq!(of(true).len(), 1);
    }
}
