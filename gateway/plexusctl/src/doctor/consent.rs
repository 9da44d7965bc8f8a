//! Consent prompts of the system, raised one by one while the owner looks.
//!
//! macOS asks when a program first reads a folder such as Documents. Whoever is asked in the middle of an agent's call
//! has long gone; so each folder is read here once.

use crate::owner::text_of;
use serde_json::Value;

/// Raises them; says what was done.
#[cfg(target_os = "macos")]
pub(super) fn ask(sources: &Value) -> String {
    let mut said = Vec::new();
    for source in sources.as_array().into_iter().flatten() {
        let route = source["route"].as_object().into_iter().flatten();
        let folders = route.filter_map(|(_, value)| value.as_str().filter(|v| v.starts_with('/')));
        for folder in folders {
            plexus_client::out::say(&format!(
                "reading {}: answer what the system asks",
                text_of(source, "id")
            ));
            said.push(match std::fs::read_dir(folder) {
                Ok(_) => format!("{}: may be read", text_of(source, "id")),
                Err(error) => format!("{}: {error}", text_of(source, "id")),
            });
        }
    }
    said.join("\n")
}

/// Linux asks nothing.
#[cfg(not(target_os = "macos"))]
pub(super) fn ask(sources: &Value) -> String {
    let known = sources.as_array().map_or(0, Vec::len);
    let _ = text_of;
    format!("this system asks for no consent; sources looked at: {known}")
}
