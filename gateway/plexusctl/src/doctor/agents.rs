//! What was put into agents' own settings here, and whether it is still there as it was written.

use super::Finding;
use crate::integration::{Installation, Kind, installed};
use plexus_client::Home;

/// One finding for each agent that was set up here, by `agents/<id>.installed.json`.
pub(super) fn agent_settings(home: &Home) -> Vec<Finding> {
    installed(home).iter().map(settings_of).collect()
}

fn settings_of(installation: &Installation) -> Finding {
    let agent = installation.agent.as_str();
    let about = match installation.kind {
        Kind::ClaudeCode | Kind::Codex => "deny rules",
        Kind::Mcp => "agent command",
    };
    let wrong = installation.check();
    let what = if installation.opens_ports_unasked() {
        format!(
            "an earlier version set {agent} up: every command of it reaches every port of 127.0.0.1"
        )
    } else if wrong.is_empty() {
        return Finding::ok(about, format!("what is set up for {agent} is in place"));
    } else {
        let told: Vec<_> = wrong
            .iter()
            .map(|finding| format!("{}: {}", finding.path.display(), finding.what))
            .collect();
        format!(
            "set up for {agent}, and not as it was written: {}",
            told.join("; ")
        )
    };
    Finding::warn(about, what, installation.command())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;
    use plexus_protocol::Digest;
    use serde_json::json;

    #[test]
    fn settings_that_are_gone_or_edited_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("skill.md");
        let record = json!({"agent": "cc", "type": "claude-code",
            "changes": [{"path": file, "kind": "file", "digest": Digest::of(b"ours").to_string()}]});
        let mut installation: Installation = serde_json::from_value(record).unwrap();
        let level = |it: &Installation| settings_of(it).level;
        assert_eq!(level(&installation), Level::Warn, "gone");
        std::fs::write(&file, "ours").unwrap();
        assert_eq!(level(&installation), Level::Ok);
        std::fs::write(&file, "edited").unwrap();
        let found = settings_of(&installation);
        assert_eq!(found.level, Level::Warn);
        assert_eq!(
            found.remedy.as_deref(),
            Some("plexusctl connect cc --type claude-code --here")
        );
        (installation.mcp, installation.project) = (true, Some("/srv/my work".into()));
        assert_eq!(
            settings_of(&installation).remedy.as_deref(),
            Some("plexusctl connect cc --type claude-code --here --mcp --project '/srv/my work'")
        );
    }
}
