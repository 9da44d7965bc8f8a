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

/// The manifest of an edition: `wording`, `narrower`, `wider`, `riskier`; any other name is the first edition.
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
        "riskier" => first["sensitivity"] = json!("elevated"),
        _ => return MANIFEST.to_owned(),
    }
    manifest.to_string()
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
    for name in ["plexus-sandbox-exec", "plexus-worker-fixture"] {
        std::fs::copy(binaries::path(name), folder.join(name)).expect("a copy");
    }
    folder
}
