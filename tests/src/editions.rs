//! The fixture connector as several releases ship it: what a release can change of a manifest and a profile.
//!
//! The daemon of the fixture is told its edition by `PLEXUS_FIXTURE`, its worker by the folder it lies in (a worker's
//! environment is built from nothing).

use crate::binaries;
use serde_json::{Value, json};
use std::path::Path;

/// The variable that names the edition to `plexusd-fixture`.
pub const VARIABLE: &str = "PLEXUS_FIXTURE";

const MANIFEST: &str = include_str!("../fixture/manifest.json");
const PROFILE: &str = include_str!("../../sandbox-profiles/fixture.sb");

/// The manifest of an edition: `wording`, `narrower`, `wider`, `riskier`, `children`, `tools` (the owner names a program), `lists` (it has change sets, boards and channels), `inward` (it names this machine as a host);
/// any other name is the first edition.
#[must_use]
pub fn manifest(edition: &str) -> String {
    let mut manifest: Value = serde_json::from_str(MANIFEST).expect("a manifest");
    let capabilities = manifest["capabilities"].as_array_mut().expect("a list");
    let (first, rest) = capabilities.split_first_mut().expect("some");
    assert_eq!(first["name"], "echo");
    match edition {
        "wording" => {
            for capability in [first].into_iter().chain(rest) {
                capability["label"] = json!(format!("{} (new words)", capability["label"]));
                capability["describe"] = json!("Said otherwise.\nAnd at length.");
            }
        }
        "narrower" => first["input"]["properties"]["n"]["maximum"] = json!(1000),
        "wider" => {
            first["input"]["properties"]["times"] = json!({"type": "integer", "minimum": 1});
            first["input"]["properties"]["n"] = json!({"type": "number"});
        }
        "inward" => {
            let host = json!({"host": "127.0.0.1", "port": 9});
            let egress = manifest["egress"].as_array_mut().expect("a list");
            egress.push(host);
        }
        "children" => with_children(&mut manifest),
        "lists" => with_lists(&mut manifest),
        "tools" => {
            with_children(&mut manifest);
            manifest["children"][0]["program"] = json!({"field": "binary"});
            manifest["fields"].as_array_mut().expect("a list").push(json!({
                "name": "binary", "label": "Program", "type": "text", "required": true, "target": "route",
                "placeholder": "/usr/bin/cat",
            }));
        }
        "riskier" => first["sensitivity"] = json!("elevated"),
        _ => return MANIFEST.to_owned(),
    }
    manifest.to_string()
}

/// What the owner's lists ask of a source. Its answers are what lies in `listed.json` in its folder.
fn with_lists(manifest: &mut Value) {
    let capabilities = manifest["capabilities"].as_array_mut().expect("a list");
    for (name, audience) in [("lists", "agents"), ("listed", "owner")] {
        capabilities.push(json!({
            "name": name, "kind": "capability", "audience": audience, "label": "Lists", "describe": "What is listed.",
            "verbs": ["read"], "input": {"type": "object", "properties": {}, "required": []},
        }));
    }
    manifest["changeSets"] = json!({"list": "listed", "read": "echo", "apply": "count"});
    manifest["boards"] = json!("lists");
    manifest["channels"] = json!({"list": "lists", "members": "listed", "read": "echo", "leave": "count", "rotate": "count"});
}

/// One capability that has programs started, and three of those: a leaf, a shell, and one with room for many processes.
fn with_children(manifest: &mut Value) {
    let limits = json!({"openFiles": 64, "fileBytes": 1_048_576, "memoryMiB": 64, "processes": 16});
    manifest["children"] = json!([
        {"name": "cat", "program": {"path": "/usr/bin/cat"}, "arguments": [{"name": "a"}], "limits": limits},
        {"name": "shell", "program": {"path": "/bin/bash"}, "tools": true,
         "arguments": ["-c", {"name": "a"}], "environment": {"PATH": "/usr/bin", "GIVEN": null}, "limits": limits},
        {"name": "line", "program": {"path": "/bin/bash"}, "tools": true, "arguments": ["-c", {"name": "a"}],
         "environment": {"PATH": "/usr/bin"},
         "limits": {"openFiles": 256, "fileBytes": 1_048_576, "memoryMiB": 2048, "processes": 256}},
    ]);
    let capabilities = manifest["capabilities"].as_array_mut().expect("a list");
    capabilities.push(json!({
        "name": "child",
        "kind": "capability",
        "label": "Have a program run",
        "describe": "Starts a program of the manifest and answers with what it said.",
        "verbs": ["read"],
        "input": {
            "type": "object",
            "properties": {
                "child": {"type": "string"},
                "run": {"type": "string"},
                "arguments": {"type": "object"},
                "environment": {"type": "object"},
            },
            "required": ["child", "run", "arguments"],
        },
    }));
}

const LEAF_CHILD: &str = "(version 1)
(deny default)
(import \"bsd.sb\") ; loader and C library
(allow process-exec* (literal (param \"PROGRAM\"))) ; itself
(allow file-read* (literal (param \"PROGRAM\"))) ; the loader maps it
(allow file-read* (subpath (param \"ROOT\"))) ; its work
(allow file-write* (subpath (param \"ROOT\"))) ; its work
(allow file-read* (subpath (param \"SCRATCH\"))) ; its own
(allow file-write* (subpath (param \"SCRATCH\"))) ; its own
";

/// The profiles of the programs of an edition.
#[must_use]
pub fn children(edition: &str) -> &'static [(&'static str, &'static str)] {
    if !["children", "tools"].contains(&edition) {
        return &[];
    }
    let shell = format!(
        "{LEAF_CHILD}(define plexus-system-calls \"agent\") ; it runs the machine's programs
(allow process-fork) ; those
(allow file-read* process-exec* (subpath \"/usr/bin\")) ; those
(allow file-read* (subpath \"/usr/lib\")) ; their libraries
"
    );
    let line =
        format!("{shell}(allow process-exec* (subpath (param \"ROOT\"))) ; what it finds there\n");
    vec![
        ("cat", LEAF_CHILD),
        ("shell", shell.leak() as &str),
        ("line", line.leak()),
    ]
    .leak()
}

/// The profile of an edition: `reaching` has one more rule.
#[must_use]
pub fn profile(edition: &str) -> String {
    match edition {
        "reaching" => {
            format!("{PROFILE}\n(allow file-read* (literal \"/etc/hostname\")) ; a new need\n")
        }
        _ => PROFILE.to_owned(),
    }
}

/// Puts the launcher and the fixture's worker of an edition in `folder/<edition>`, for `--workers`.
///
/// # Panics
/// When they cannot be copied.
#[track_caller]
pub fn workers(folder: &Path, edition: &str) -> std::path::PathBuf {
    let folder = folder.join(edition);
    std::fs::create_dir(&folder).expect("a folder");
    for name in [
        "plexus-sandbox-exec",
        "plexus-egress",
        "plexus-worker-fixture",
    ] {
        std::fs::copy(binaries::path(name), folder.join(name)).expect("a copy");
    }
    folder
}

/// The build of every program of the workspace, as a daemon tells it.
pub const BUILD: &str = plexus_ipc::BUILD;

/// The same build with another last number: one that may follow it.
#[must_use]
pub fn later() -> String {
    of_version(|version| {
        let (rest, last) = version.rsplit_once('.').expect("three numbers");
        format!("{rest}.{}", if last == "9" { "8" } else { "9" })
    })
}

/// The same build with another first number: one that came before it.
#[must_use]
pub fn earlier() -> String {
    of_version(|version| {
        let numbers: Vec<_> = version
            .split('.')
            .map(|number| "0".repeat(number.len()))
            .collect();
        numbers.join(".")
    })
}

fn of_version(other: impl FnOnce(&str) -> String) -> String {
    let (version, rest) = BUILD.split_once('+').expect("a version, then the protocol");
    let build = format!("{}+{rest}", other(version));
    assert!(build != BUILD && build.len() == BUILD.len(), "{build}");
    build
}

/// Puts a program of the workspace into `folder` as `build` would ship it: the same code under another name of its
/// build, which is all that it says of itself. Whatever lay there is replaced as an install does it, by a new file.
///
/// # Panics
/// When it cannot be written, or does not hold the name of its build.
#[track_caller]
pub fn ship(folder: &Path, name: &str, build: &str) {
    let mut program = std::fs::read(binaries::path(name)).expect("a program");
    let mut found = 0;
    let mut at = 0;
    while let Some(next) = find(&program[at..], BUILD.as_bytes()) {
        at += next;
        program[at..at + BUILD.len()].copy_from_slice(build.as_bytes());
        at += BUILD.len();
        found += 1;
    }
    assert!(
        found > 0 || name == "plexus-sandbox-exec",
        "{name} does not name its build"
    );
    put(folder, name, &program);
}

/// Puts any bytes in the place of a program.
///
/// # Panics
/// When they cannot be written.
#[track_caller]
pub fn put(folder: &Path, name: &str, bytes: &[u8]) {
    let new = folder.join(format!(".{name}.new"));
    crate::folders::write_program(&new, bytes);
    std::fs::rename(&new, folder.join(name)).expect("a new file in its place");
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    let first = what.first()?;
    let mut from = 0;
    loop {
        let next = text[from..].iter().position(|byte| byte == first)? + from;
        if text[next..].starts_with(what) {
            return Some(next);
        }
        from = next + 1;
    }
}
