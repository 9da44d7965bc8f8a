//! Codex: a block in `AGENTS.md`, rules for two commands, and a permission profile where the person chose none.
//!
//! ```text
//! the person chose sandbox_mode or a profile ──▶ the rule alone: the command runs outside of that sandbox, nothing else
//! the person chose nothing                   ──▶ our profile as well: the state directory cannot be read, and the
//!                                                command reaches the gateway's port through Codex's own proxy
//! ```
//! The two do not add up in Codex: where a profile denies reads, no rule lets a command out of the sandbox. So the command
//! has to work both ways, and does: its launcher takes Codex's proxy where there is one.

use super::{IntegrationPlan, Surroundings, launcher, plan::Want, toml_text};
use plexus_client::{Exit, Stop};
use plexus_protocol::{AgentId, skill};
use std::path::Path;

/// Inside of Codex's sandbox its proxy is the only way out; it says so with this variable.
const THROUGH_PROXY: &str =
    "[ -z \"${CODEX_NETWORK_PROXY_ACTIVE:-}\" ] || export PLEXUS_PROXY=\"$HTTP_PROXY\"\n";

pub(super) fn wanted(agent: &AgentId, around: &Surroundings) -> Result<IntegrationPlan, Stop> {
    let own = around.agents_own.clone();
    let own = own.unwrap_or_else(|| around.person.join(".codex"));
    let ours = around.launcher(agent);
    let command = ours.display().to_string();
    let config = own.join("config.toml");
    let folder = around.project.as_deref().unwrap_or(&own);
    let mut changes = vec![
        Want::File {
            path: ours.clone(),
            text: launcher(agent, around, THROUGH_PROXY),
            mode: 0o755,
        },
        Want::Block {
            path: folder.join("AGENTS.md"),
            text: skill::block(&command),
        },
        Want::File {
            path: own.join("rules").join(format!("plexus-{agent}.rules")),
            text: rules(agent, &ours, around),
            mode: 0o644,
        },
    ];
    let mut key = |at: &[&str], value: String| {
        changes.push(Want::TomlKey {
            path: config.clone(),
            at: at.iter().map(|name| (*name).to_owned()).collect(),
            value,
        });
    };
    if around.mcp {
        key(&["mcp_servers", "plexus", "command"], toml_string(&command));
        key(&["mcp_servers", "plexus", "args"], "[\"mcp\"]".to_owned());
        let mode = ["mcp_servers", "plexus", "default_tools_approval_mode"];
        key(&mode, toml_string("approve"));
    }
    let profile = format!("plexus-{agent}");
    let mut notes = vec![format!(
        "in a new session, Codex runs {command} without asking, and does not run plexusctl"
    )];
    if around.mcp {
        notes.push("its tools of the MCP server `plexus` run without asking in Codex; you are asked by Plexus".to_owned());
    }
    match chosen(&config, &profile)? {
        Some(key) => notes.push(format!(
            "{} has `{key}`: that sandbox stays as it is, and only the command above runs outside of it; files in {} \
             can be read in it",
            config.display(),
            around.state.display()
        )),
        None => {
            for (at, value) in keys(agent, &profile, around) {
                changes.push(Want::TomlKey {
                    path: config.clone(),
                    at,
                    value,
                });
            }
            notes.push(format!(
                "its commands may write in the workspace, reach port {} of this machine and nothing else, and read \
                 nothing of {} but what the agent's own command needs",
                around.port,
                around.state.display()
            ));
        }
    }
    Ok(IntegrationPlan {
        changes,
        notes,
        by_hand: None,
    })
}

/// What the person chose about Codex's sandbox, where it is not our own profile.
fn chosen(config: &Path, profile: &str) -> Result<Option<&'static str>, Stop> {
    let text = std::fs::read_to_string(config).unwrap_or_default();
    let ours = ["default_permissions".to_owned()];
    if toml_text::has(&text, &ours, &toml_string(profile)) {
        return Ok(None);
    }
    for key in [
        "sandbox_mode",
        "sandbox_workspace_write",
        "default_permissions",
    ] {
        let there = toml_text::chosen(&text, key).map_err(|e| {
            Stop::new(
                Exit::Failed,
                "cannot_edit",
                format!("{}: {e}", config.display()),
            )
            .next("fix the file, then run the same command again")
        })?;
        if there {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

/// A rules file: the agent's command by its full path, and never the owner's.
fn rules(agent: &AgentId, ours: &Path, around: &Surroundings) -> String {
    let text = |path: &Path| serde_json::Value::from(path.display().to_string()).to_string();
    let plexusctl = around.programs.join("plexusctl");
    format!(
        "# Made by `plexusctl connect`; `plexusctl disconnect {agent}` removes it.\n\
         prefix_rule(pattern = [{}], decision = \"allow\", justification = \"the agent's own Plexus command\")\n\
         prefix_rule(pattern = [{}], decision = \"forbidden\", justification = \"plexusctl is the owner's command\")\n\
         prefix_rule(pattern = [\"plexusctl\"], decision = \"forbidden\", justification = \"plexusctl is the owner's command\")\n",
        text(ours),
        text(&plexusctl),
    )
}

/// The profile. In Codex a folder that is denied is denied with all that is in it, and globs match one level: so the
/// state directory is denied entry by entry, and among the agents' files all but this agent's own.
fn keys(agent: &AgentId, profile: &str, around: &Surroundings) -> Vec<(Vec<String>, String)> {
    let path = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let deny = |entry: String| {
        let file = format!("{}/{entry}", around.state.display());
        let at = vec![
            "permissions".to_owned(),
            profile.to_owned(),
            "filesystem".to_owned(),
            file,
        ];
        (at, toml_string("deny"))
    };
    let mut keys = vec![
        (path(&["default_permissions"]), toml_string(profile)),
        (path(&["features", "network_proxy"]), "true".to_owned()),
        (
            path(&["permissions", profile, "extends"]),
            toml_string(":workspace"),
        ),
    ];
    // Folders by name, files by name or pattern; `runtime.json` says the port, and `agents/` holds the agent's own.
    let entries = [
        "connection-key",
        "ledger.redb",
        "secrets",
        "pending",
        "archive",
        "run",
        "logs",
        "workers",
        "[!ar]*",
        "a[!g]*",
        "r[!u]*",
    ];
    keys.extend(entries.iter().map(|entry| deny((*entry).to_owned())));
    keys.extend(
        others(agent.as_str())
            .into_iter()
            .map(|name| deny(format!("agents/{name}"))),
    );
    let network = |name: &str| -> Vec<String> { path(&["permissions", profile, "network", name]) };
    keys.push((network("enabled"), "true".to_owned()));
    let mut gateway = network("domains");
    gateway.push(format!("127.0.0.1:{}", around.port));
    keys.push((gateway, toml_string("allow")));
    keys
}

/// Patterns for every name in `agents/` that is neither `own`, which holds its command, nor `own.pat`.
fn others(own: &str) -> Vec<String> {
    let mut patterns: Vec<String> = own
        .char_indices()
        .map(|(at, c)| format!("{}[!{c}]*", &own[..at]))
        .collect();
    patterns.push(format!("{own}[!.]*"));
    patterns.push(format!("{own}.[!p]*"));
    patterns
}

fn toml_string(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_agent_is_another() {
        assert_eq!(others("ab"), ["[!a]*", "a[!b]*", "ab[!.]*", "ab.[!p]*"]);
    }
}
