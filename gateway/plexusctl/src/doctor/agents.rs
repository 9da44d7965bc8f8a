//! What was put into agents' own settings here, and whether it is still there.

use super::Finding;
use crate::owner::{list_of, text_of};
use plexus_client::{Home, shell};
use serde_json::Value;
use std::{fs, path::Path};

/// One finding for each agent whose settings an installer changed: by `agents/<id>.installed.json`.
pub(super) fn agent_settings(home: &Home) -> Vec<Finding> {
    let files = fs::read_dir(home.path().join("agents"))
        .into_iter()
        .flatten();
    let mut records: Vec<_> = files
        .flatten()
        .map(|file| file.path())
        .filter(|path| path.to_string_lossy().ends_with(".installed.json"))
        .collect();
    records.sort();
    records.iter().map(|path| settings_of(path)).collect()
}

fn settings_of(path: &Path) -> Finding {
    let text = fs::read_to_string(path).unwrap_or_default();
    let Ok(record) = serde_json::from_str::<Value>(&text) else {
        let what = format!("{} cannot be read", path.display());
        let look = format!("cat {}", shell::quote(&path.to_string_lossy()));
        return Finding::warn("deny rules", what, look);
    };
    let (agent, kind) = (text_of(&record, "agent"), text_of(&record, "type"));
    let gone: Vec<_> = list_of(&record, "changes")
        .iter()
        .map(|change| text_of(change, "path"))
        .filter(|path| !Path::new(path).exists())
        .collect();
    if gone.is_empty() {
        return Finding::ok("deny rules", format!("those of {agent} are in place"));
    }
    let what = format!(
        "what was installed for {agent} is gone: {}",
        gone.join(", ")
    );
    let again = format!(
        "plexusctl connect {} --type {} --here",
        shell::quote(agent),
        shell::quote(kind)
    );
    Finding::warn("deny rules", what, again)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;
    use serde_json::json;

    #[test]
    fn settings_that_are_gone_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let rules = dir.path().join("settings.json");
        let record = dir.path().join("cc.installed.json");
        let says = json!({"agent": "cc", "type": "claude-code", "changes": [{"path": rules, "kind": "json-rule"}]});
        fs::write(&record, says.to_string()).unwrap();
        let found = settings_of(&record);
        assert_eq!(found.level, Level::Warn);
        assert_eq!(
            found.remedy.as_deref(),
            Some("plexusctl connect cc --type claude-code --here")
        );
        fs::write(&rules, "{}").unwrap();
        assert_eq!(settings_of(&record).level, Level::Ok);
        fs::write(&record, "{").unwrap();
        assert_eq!(settings_of(&record).level, Level::Warn);
    }
}
