//! Finds what the owner could add: Obsidian's own list of vaults, the gateway's only look at an app's data (DESIGN 10).

use serde_json::{Value, json};
use std::{
    io::Read,
    path::{Path, PathBuf},
};

/// Most bytes of Obsidian's list that are read.
const LIST_BYTES: u64 = 64 * 1024;
/// Most vaults that are reported.
const MOST: usize = 64;

/// Where Obsidian keeps its list, relative to the home directory.
#[cfg(target_os = "macos")]
const LIST: &str = "Library/Application Support/obsidian/obsidian.json";
#[cfg(not(target_os = "macos"))]
const LIST: &str = ".config/obsidian/obsidian.json";

/// What was found: each with the source that adding it would make. Never an error.
pub fn detect(configured: &[PathBuf]) -> Vec<Value> {
    let Some(home) = std::env::var_os("HOME").map(PathBuf::from) else {
        return Vec::new();
    };
    vaults(&home.join(LIST))
        .into_iter()
        .take(MOST)
        .map(|path| found(&path, configured))
        .collect()
}

fn vaults(list: &Path) -> Vec<PathBuf> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(list).and_then(|f| f.take(LIST_BYTES).read_to_end(&mut bytes));
    if read.is_err() {
        return Vec::new();
    }
    let Ok(list) = serde_json::from_slice::<Value>(&bytes) else {
        return Vec::new();
    };
    let vaults = list
        .get("vaults")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    vaults
        .values()
        .filter_map(|v| v.get("path")?.as_str())
        .map(PathBuf::from)
        .filter(|p| p.is_absolute())
        .collect()
}

fn found(path: &Path, configured: &[PathBuf]) -> Value {
    let name = path
        .file_name()
        .map_or_else(|| "vault".into(), |n| n.to_string_lossy().into_owned());
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
        id.insert_str(0, "vault-");
    }
    json!({
        "kind": "obsidian-fs",
        "suggested": {
            "id": id,
            "kind": "obsidian-fs",
            "transport": "ipc",
            "label": format!("Obsidian vault ({name})"),
            "route": {"vaultPath": path},
        },
        "evidence": format!("Obsidian lists a vault at {}", path.display()),
        "alreadyConfigured": configured.iter().any(|c| c == path),
        "reachable": path.is_dir(),
    })
}
