//! Finds what the owner could add, by the list of an app that a manifest names: the gateway's only reading of an app's
//! data (docs/design.md#http).

use crate::Registry;
use plexus_ipc::manifest::{Detect, Manifest};
use serde_json::{Value, json};
use std::{
    io::Read,
    path::{Path, PathBuf},
};

/// Most bytes of a list that are read.
const LIST_BYTES: u64 = 64 * 1024;
/// Most folders of one list that are reported.
const MOST: usize = 64;

/// What was found: each with the source that adding it would make. Never an error.
pub fn detect(registry: &Registry, configured: &[PathBuf]) -> Vec<Value> {
    let Some(home) = std::env::var_os("HOME").map(PathBuf::from) else {
        return Vec::new();
    };
    let listed = registry.iter().filter_map(|connector| {
        let detect = connector.offer.manifest.detect.as_ref()?;
        let folders = folders(&home, detect).into_iter().take(MOST);
        Some(folders.filter_map(|path| found(&connector.offer.manifest, detect, &path, configured)))
    });
    listed.flatten().collect()
}

/// The folders that an app lists.
fn folders(home: &Path, detect: &Detect) -> Vec<PathBuf> {
    let list = match cfg!(target_os = "macos") {
        true => &detect.macos,
        false => &detect.linux,
    };
    let mut bytes = Vec::new();
    let read = std::fs::File::open(home.join(list));
    if read
        .and_then(|file| file.take(LIST_BYTES).read_to_end(&mut bytes))
        .is_err()
    {
        return Vec::new();
    }
    let list: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let entries = list.get(&detect.members).and_then(Value::as_object);
    entries
        .into_iter()
        .flat_map(|entries| entries.values())
        .filter_map(|entry| entry.get(&detect.path)?.as_str())
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .collect()
}

fn found(
    manifest: &Manifest,
    detect: &Detect,
    path: &Path,
    configured: &[PathBuf],
) -> Option<Value> {
    let (kind, field) = (&manifest.kind, manifest.root.as_ref()?);
    let name = path
        .file_name()
        .map_or_else(|| detect.noun.clone(), |n| n.to_string_lossy().into_owned());
    let mut id: String = name
        .to_lowercase()
        .chars()
        .map(|c| {
            if c.is_ascii_lowercase() || c.is_ascii_digit() {
                c
            } else {
                '-'
            }
        })
        .take(40)
        .collect();
    if !id.starts_with(|c: char| c.is_ascii_lowercase()) {
        id.insert_str(0, &format!("{}-", detect.noun));
    }
    Some(json!({
        "kind": kind,
        "suggested": {
            "id": id,
            "kind": kind,
            "transport": manifest.transport,
            "label": format!("{} ({name})", manifest.label),
            "route": {field: path},
        },
        "evidence": format!("{} at {}", detect.evidence, path.display()),
        "alreadyConfigured": configured.iter().any(|c| c == path),
        "reachable": path.is_dir(),
    }))
}
