//! Claude Code: a plugin with the skill and the command, and rules in its settings.
//!
//! A folder with a plugin's manifest below `skills/` is loaded as a plugin in every new session, and its `bin/` is on the
//! PATH of the session's shell; no marketplace and no start of `claude` is needed for that.

use super::{
    IntegrationPlan, Surroundings, forward, launcher,
    plan::{Want, resolved},
};
use plexus_client::Stop;
use plexus_protocol::{AgentId, skill};
use std::path::Path;

const ALLOW: &[&str] = &["permissions", "allow"];
const DENY: &[&str] = &["permissions", "deny"];

pub(super) fn wanted(agent: &AgentId, around: &Surroundings) -> Result<IntegrationPlan, Stop> {
    let own = around.agents_own.clone();
    let (folder, settings) = match &around.project {
        Some(project) => (project.join(".claude"), "settings.local.json"),
        None => (
            own.unwrap_or_else(|| around.person.join(".claude")),
            "settings.json",
        ),
    };
    let command = format!("plexus-{agent}");
    let ours = around.launcher(agent);
    let plugin = folder.join("skills").join(&command);
    let file = |path: &str, text: String, mode| Want::File {
        path: plugin.join(path),
        text,
        mode,
    };
    let mut changes = vec![
        Want::File {
            path: ours.clone(),
            text: launcher(agent, around, ""),
            mode: 0o755,
        },
        file(".claude-plugin/plugin.json", manifest(&command), 0o644),
        file("SKILL.md", skill::skill_file(&command), 0o644),
        file(&format!("bin/{command}"), forward(&ours), 0o755),
    ];
    // What Claude Code puts before the names of a plugin's server.
    let tools = format!("mcp__plugin_{command}_plexus");
    if around.mcp {
        let args = ["mcp", "--prefix", &format!("{tools}__")];
        let server = serde_json::json!({"command": ours, "args": args});
        let servers = serde_json::json!({"mcpServers": {"plexus": server}});
        changes.push(file(".mcp.json", format!("{servers:#}\n"), 0o644));
    }
    let settings = folder.join(settings);
    let mut rules = rules(&command, &ours, &plugin, around);
    if around.mcp {
        rules.push((ALLOW, tools.clone()));
    }
    let really = resolved(&plugin)?;
    if really != plugin {
        rules.push(no_edit(&really));
    }
    for (at, value) in rules {
        changes.push(Want::JsonRule {
            path: settings.clone(),
            at,
            value,
        });
    }
    let mut notes = vec![format!(
        "in a new session, Claude Code runs `{command}` without asking, and neither `plexusctl` nor anything that reads {}",
        around.state.display()
    )];
    if around.mcp {
        notes.push(format!(
            "its tools {tools}__… run without asking in Claude Code; you are asked by Plexus"
        ));
    }
    if let Some(project) = &around.project {
        notes.push(format!(
            "Claude Code takes the plugin and what is allowed from {} once you trust that folder in it; what is denied, at once",
            project.display()
        ));
    }
    Ok(IntegrationPlan {
        changes,
        notes,
        by_hand: None,
    })
}

fn manifest(name: &str) -> String {
    let manifest = serde_json::json!({
        "name": name,
        "version": env!("CARGO_PKG_VERSION"),
        "description": skill::DESCRIPTION,
        "author": {"name": "Plexus"},
    });
    format!("{manifest:#}\n")
}

/// The agent's own rules. It needs to read nothing of the state directory: its command does that, and no rule is about
/// what a permitted command opens.
fn rules(
    command: &str,
    ours: &Path,
    plugin: &Path,
    around: &Surroundings,
) -> Vec<(&'static [&'static str], String)> {
    let state = around.state.display();
    let plexusctl = around.programs.join("plexusctl");
    vec![
        (ALLOW, format!("Bash({command}:*)")),
        (ALLOW, format!("Bash({}:*)", ours.display())),
        (DENY, "Bash(plexusctl:*)".to_owned()),
        (DENY, format!("Bash({}:*)", plexusctl.display())),
        (DENY, format!("Read(/{state}/**)")),
        (DENY, format!("Edit(/{state}/**)")),
        no_edit(plugin),
    ]
}

/// What is there runs unasked, and below a project an agent that accepts its own edits could write there.
fn no_edit(plugin: &Path) -> (&'static [&'static str], String) {
    (DENY, format!("Edit(/{}/**)", plugin.display()))
}
