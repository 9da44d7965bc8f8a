//! Codex: its tools by MCP, a block in `AGENTS.md`, rules, and a permission profile where the person chose no sandbox.
//!
//! ```text
//!                 the person chose a sandbox                 the person chose none
//! by default      it stays as it is                          our profile: the state directory cannot be read
//! --commands      it stays; a rule lets the agent's          our profile also opens Codex's proxy, and with it every
//!                 command run outside of it                  port of 127.0.0.1
//! ```
//! Invariants: without `--commands` nothing written lets a command out of Codex's sandbox. The tools need no way out: Codex
//! itself starts their server, outside of the sandbox of its commands. A server `plexus` that is not of this agent is left
//! alone. (docs/decisions/0107-codex-by-mcp.md)

use super::{
    Change, IntegrationPlan, Surroundings, change::ChangeKind, launcher, plan::Want, toml_text,
};
use plexus_client::{Exit, Stop};
use plexus_protocol::{AgentId, skill};
use std::path::Path;

/// Inside of Codex's sandbox its proxy is the only way out; it says so with this variable.
const THROUGH_PROXY: &str =
    "[ -z \"${CODEX_NETWORK_PROXY_ACTIVE:-}\" ] || export PLEXUS_PROXY=\"$HTTP_PROXY\"\n";

/// Where Codex keeps the server of our tools.
const SERVER: [&str; 2] = ["mcp_servers", skill::SERVER];

pub(super) fn wanted(agent: &AgentId, around: &Surroundings) -> Result<IntegrationPlan, Stop> {
    let own = around.agents_own.clone();
    let own = own.unwrap_or_else(|| around.person.join(".codex"));
    let ours = around.launcher(agent);
    let command = ours.display().to_string();
    let config = own.join("config.toml");
    let text = std::fs::read_to_string(&config).unwrap_or_default();
    no_other_server(&config, &text, &command)?;
    let folder = around.project.as_deref().unwrap_or(&own);
    let (way_out, told) = match around.commands {
        true => (THROUGH_PROXY, skill::block(&command)),
        false => ("", skill::tools_block()),
    };
    let mut changes = vec![
        Want::File {
            path: ours.clone(),
            text: launcher(agent, around, way_out),
            mode: 0o755,
        },
        Want::Block {
            path: folder.join("AGENTS.md"),
            text: told,
        },
        Want::File {
            path: own.join("rules").join(format!("plexus-{agent}.rules")),
            text: rules(agent, &ours, around),
            mode: 0o644,
        },
    ];
    let state = around.state.display();
    let mut notes = vec![format!(
        "in a new session, Codex has the tools of the MCP server `{}` and runs them without asking (you are asked by \
         Plexus); it does not run plexusctl",
        skill::SERVER
    )];
    if around.commands {
        notes.push(format!("Codex also runs {command} without asking"));
    }
    let mut keys = Vec::new();
    let profile = format!("plexus-{agent}");
    match (chosen(&config, &text, &profile)?, around.commands) {
        (Some(key), true) => notes.push(format!(
            "{} has `{key}`: that sandbox stays as it is, and only the command above runs outside of it; files in \
             {state} can be read in it",
            config.display(),
        )),
        (Some(key), false) => notes.push(format!(
            "{} has `{key}`: that sandbox stays as it is; files in {state} can be read in it",
            config.display(),
        )),
        (None, true) => {
            keys.extend(profile_for_commands(agent, &profile, around));
            notes.push(format!(
                "its commands may write in the workspace, reach any port of 127.0.0.1, not only Plexus's (Codex's proxy \
                 does not look at the port), and read nothing of {state} but what the agent's own command needs"
            ));
        }
        (None, false) => {
            keys.extend(profile_for_tools(&profile, around));
            notes.push(format!(
                "its commands may write in the workspace, reach no port and no network, and read nothing of {state}"
            ));
        }
    }
    keys.extend(server(&command));
    changes.extend(keys.into_iter().map(|(at, value)| Want::TomlKey {
        path: config.clone(),
        at,
        value,
    }));
    Ok(IntegrationPlan {
        changes,
        notes,
        by_hand: None,
    })
}

/// Whether what was written still lets every command of Codex out to the ports of this machine.
pub(super) fn opens_ports(changes: &[Change]) -> bool {
    changes.iter().any(|change| {
        let ChangeKind::TomlKey { at, .. } = &change.what else {
            return false;
        };
        let [permissions, _, network, domains, _] = at.as_slice() else {
            return false;
        };
        let opens = permissions == "permissions" && network == "network" && domains == "domains";
        opens && change.check().is_none()
    })
}

/// Checks that the name of our server is free, or is this agent's. Half of ours in another's table would let that other
/// server's tools run unasked, or keep Codex from starting.
fn no_other_server(config: &Path, text: &str, command: &str) -> Result<(), Stop> {
    let mut at = SERVER.map(str::to_owned).to_vec();
    if !toml_text::is_there(text, &at) {
        return Ok(());
    }
    at.push("command".to_owned());
    if toml_text::has(text, &at, &toml_string(command)) {
        return Ok(());
    }
    let name = skill::SERVER;
    let why = format!("{} has another MCP server `{name}`", config.display());
    Err(Stop::new(Exit::Failed, "other_server", why).next(format!(
        "codex mcp remove {name}, then run the same command again; or keep it, and set CODEX_HOME to a folder of this agent's own"
    )))
}

fn path(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The server of the tools, which run without asking in Codex: the person is asked by Plexus.
fn server(command: &str) -> Vec<Key> {
    let [servers, name] = SERVER;
    let key = |last: &str, value| (path(&[servers, name, last]), value);
    vec![
        key("command", toml_string(command)),
        key("args", "[\"mcp\"]".to_owned()),
        key("default_tools_approval_mode", toml_string("approve")),
    ]
}

/// A key in Codex's configuration, and its value as TOML.
type Key = (Vec<String>, String);

/// What the person chose about Codex's sandbox, where it is not our own profile.
fn chosen(config: &Path, text: &str, profile: &str) -> Result<Option<&'static str>, Stop> {
    let ours = ["default_permissions".to_owned()];
    if toml_text::has(text, &ours, &toml_string(profile)) {
        return Ok(None);
    }
    for key in [
        "sandbox_mode",
        "sandbox_workspace_write",
        "default_permissions",
    ] {
        let there = toml_text::chosen(text, key).map_err(|e| {
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

/// A rules file: never the owner's command; and, for an agent that works by commands, its own by its full path.
fn rules(agent: &AgentId, ours: &Path, around: &Surroundings) -> String {
    let text = |path: &Path| serde_json::Value::from(path.display().to_string()).to_string();
    let own = match around.commands {
        true => format!(
            "prefix_rule(pattern = [{}], decision = \"allow\", justification = \"the agent's own Plexus command\")\n",
            text(ours)
        ),
        false => String::new(),
    };
    format!(
        "# Made by `plexusctl connect`; `plexusctl disconnect {agent}` removes it.\n{own}\
         prefix_rule(pattern = [{}], decision = \"forbidden\", justification = \"plexusctl is the owner's command\")\n\
         prefix_rule(pattern = [\"plexusctl\"], decision = \"forbidden\", justification = \"plexusctl is the owner's command\")\n",
        text(&around.programs.join("plexusctl")),
    )
}

/// The profile of an agent that has tools: its commands need nothing of the state directory, and no network.
fn profile_for_tools(profile: &str, around: &Surroundings) -> Vec<Key> {
    vec![
        selected(profile),
        extends(profile),
        denied(profile, around, ""),
    ]
}

fn selected(profile: &str) -> Key {
    (path(&["default_permissions"]), toml_string(profile))
}

fn extends(profile: &str) -> Key {
    let at = path(&["permissions", profile, "extends"]);
    (at, toml_string(":workspace"))
}

/// `entry` of the state directory, with what is in it; with no entry all of it.
fn denied(profile: &str, around: &Surroundings, entry: &str) -> Key {
    let place = format!("{}{entry}", around.state.display());
    let at = path(&["permissions", profile, "filesystem", &place]);
    (at, toml_string("deny"))
}

/// The profile of an agent that works by commands. In Codex a folder that is denied is denied with all that is in it, and
/// globs match one level: so the state directory is denied entry by entry, and among the agents' files all but this
/// agent's own.
fn profile_for_commands(agent: &AgentId, profile: &str, around: &Surroundings) -> Vec<Key> {
    let mut keys = vec![
        selected(profile),
        (path(&["features", "network_proxy"]), "true".to_owned()),
        extends(profile),
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
    let entries = entries.iter().map(|entry| format!("/{entry}"));
    let others = others(agent.as_str()).into_iter();
    let entries = entries.chain(others.map(|name| format!("/agents/{name}")));
    keys.extend(entries.map(|entry| denied(profile, around, &entry)));
    let network = |name: &str| path(&["permissions", profile, "network", name]);
    keys.push((network("enabled"), "true".to_owned()));
    // Codex reads the port as a part of the name and then leaves it out: what this allows is 127.0.0.1 at every port.
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
