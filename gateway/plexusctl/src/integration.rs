//! What is written into an agent's own files so that it can use Plexus, and how that is taken back.
//!
//! ```text
//! nothing ──plan, shown──▶ planned ──record, then write──▶ installed ──undo──▶ nothing, and what the person edited
//!                                                            └──plan again──▶ installed, as it is now wanted
//! ```
//! Invariants: nothing is written that was not shown, nor over what was changed since; the record is durable before the
//! first file changes, so that a crash leaves nothing behind that [`Installation::undo`] does not know; a file is
//! replaced whole, by rename, and keeps its mode; what a person wrote or chose stays to the byte, and a change of ours
//! that a person edited is left and named.
//!
//! Must not know: an agent's credential, the gateway.

mod change;
mod claude_code;
mod codex;
mod json_text;
mod mcp;
mod plan;
mod toml_text;

pub(crate) use change::Change;
use plan::Want;
pub(crate) use plan::{Edit, Plan};

use plexus_client::{
    Exit, Home, Stop,
    private_file::{self, Unnamed},
    shell,
};
use plexus_protocol::AgentId;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Agents that can be set up here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Anthropic's command.
    ClaudeCode,
    /// OpenAI's command.
    Codex,
    /// Any client that speaks MCP.
    Mcp,
}

impl Kind {
    /// The kind that a type names.
    pub(crate) fn of(text: &str) -> Option<Self> {
        match text.trim().to_lowercase().as_str() {
            "claude-code" => Some(Self::ClaudeCode),
            "codex" => Some(Self::Codex),
            "mcp" => Some(Self::Mcp),
            _ => None,
        }
    }
    /// Its type.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude-code",
            Self::Codex => "codex",
            Self::Mcp => "mcp",
        }
    }
}

/// Where things are that an installation names.
pub(crate) struct Surroundings {
    /// The state directory, absolute.
    pub(crate) state: PathBuf,
    /// The folder of our own programs.
    pub(crate) programs: PathBuf,
    /// The person's home folder.
    pub(crate) person: PathBuf,
    /// The folder of the person's own commands, where it is there and on the PATH.
    pub(crate) bin: Option<PathBuf>,
    /// Where the agent keeps its own files, where a variable says so.
    pub(crate) agents_own: Option<PathBuf>,
    /// The one folder that it is for, where it is not for all.
    pub(crate) project: Option<PathBuf>,
    /// The gateway's port.
    pub(crate) port: u16,
    /// Whether Claude Code gets its capabilities as tools too. Codex always does.
    pub(crate) mcp: bool,
    /// Whether Codex gets a way by commands too.
    pub(crate) commands: bool,
}

impl Surroundings {
    /// Looks at this process and its home.
    ///
    /// # Errors
    /// A stop where the home folder, our own program or the project is nowhere.
    pub(crate) fn look(home: &Home, kind: Kind, project: Option<&Path>) -> Result<Self, Stop> {
        let lost = |what: &str, e: std::io::Error| {
            Stop::new(Exit::Failed, "not_found", format!("{what}: {e}"))
        };
        let folder = |name: &str| {
            let value = std::env::var_os(name).filter(|value| !value.is_empty());
            value.map(PathBuf::from)
        };
        let person = folder("HOME")
            .ok_or_else(|| Stop::usage("HOME is not set").next("set it to your home folder"))?;
        let bin = person.join(".local/bin");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let is_typed = bin.is_dir() && std::env::split_paths(&path).any(|folder| folder == bin);
        let program = std::env::current_exe().map_err(|e| lost("this program", e))?;
        let project = project
            .map(|path| {
                path.canonicalize()
                    .map_err(|e| lost(&path.display().to_string(), e))
            })
            .transpose()?;
        let running = std::fs::read_to_string(home.runtime()).unwrap_or_default();
        let running: serde_json::Value = serde_json::from_str(&running).unwrap_or_default();
        let port = running["port"].as_u64().and_then(|p| u16::try_from(p).ok());
        Ok(Self {
            state: home
                .path()
                .canonicalize()
                .map_err(|e| lost(&home.path().display().to_string(), e))?,
            programs: program.parent().unwrap_or(Path::new("/")).to_owned(),
            person,
            bin: is_typed.then_some(bin),
            agents_own: match kind {
                Kind::ClaudeCode => folder("CLAUDE_CONFIG_DIR"),
                Kind::Codex => folder("CODEX_HOME"),
                Kind::Mcp => None,
            },
            project,
            port: port.unwrap_or(plexus_protocol::DEFAULT_PORT),
            mcp: false,
            commands: false,
        })
    }

    /// The agent's own `plexus` command.
    pub(crate) fn launcher(&self, agent: &AgentId) -> PathBuf {
        let folder = self.state.join("agents").join(agent.as_str());
        folder.join("bin").join(format!("plexus-{agent}"))
    }
}

/// What is wanted in the agent's files, in the order in which it is shown.
pub(crate) struct IntegrationPlan {
    changes: Vec<Want>,
    /// What the person should know that no file says.
    pub(crate) notes: Vec<String>,
    /// What the person puts into a configuration that is not ours to edit.
    pub(crate) by_hand: Option<serde_json::Value>,
}

/// What `agent` of `kind` needs.
///
/// # Errors
/// A stop where a file of the agent cannot be read.
pub(crate) fn wanted(
    kind: Kind,
    agent: &AgentId,
    around: &Surroundings,
) -> Result<IntegrationPlan, Stop> {
    let mut wanted = match kind {
        Kind::ClaudeCode => claude_code::wanted(agent, around)?,
        Kind::Codex => codex::wanted(agent, around)?,
        Kind::Mcp => mcp::wanted(agent, around),
    };
    // So that the person types it in a shell of their own too.
    wanted
        .changes
        .extend(around.bin.as_ref().map(|bin| Want::File {
            path: bin.join(format!("plexus-{agent}")),
            text: forward(&around.launcher(agent)),
            mode: 0o755,
        }));
    Ok(wanted)
}

/// A command that is another one.
fn forward(command: &Path) -> String {
    let command = shell::quote(&command.display().to_string());
    format!("#!/bin/sh\nexec {command} \"$@\"\n")
}

/// One agent that was set up here: the record of what was written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Installation {
    /// The agent.
    pub(crate) agent: AgentId,
    /// Its kind.
    #[serde(rename = "type")]
    pub(crate) kind: Kind,
    /// What was written, in order.
    pub(crate) changes: Vec<Change>,
    /// Folders that were made for it, innermost last.
    #[serde(default)]
    pub(crate) folders: Vec<PathBuf>,
    /// Whether the owner asked for a way by commands (Codex).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) commands: bool,
    /// Whether the owner asked for tools too (Claude Code).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) mcp: bool,
    /// The one folder that it is for, where it is not for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) project: Option<PathBuf>,
}

/// A change that is not as it was written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Finding {
    /// The file.
    pub(crate) path: PathBuf,
    /// What about it.
    pub(crate) what: String,
}

impl Installation {
    fn file(home: &Home, agent: &AgentId) -> PathBuf {
        home.agents().join(format!("{agent}.installed.json"))
    }

    /// The record of `agent`.
    pub(crate) fn of(home: &Home, agent: &AgentId) -> Option<Self> {
        let text = std::fs::read_to_string(Self::file(home, agent)).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Saves the record.
    pub(crate) fn save(&self, home: &Home) -> Result<(), Stop> {
        let fail =
            |e: private_file::Unusable| Stop::new(Exit::Failed, "cannot_save", e.to_string());
        private_file::make_dir(&home.agents()).map_err(fail)?;
        let text = serde_json::to_string_pretty(self)
            .map_err(|e| Stop::new(Exit::Failed, "cannot_save", e.to_string()))?;
        let place = Unnamed::create(&home.agents()).map_err(fail)?;
        place
            .name(&format!("{}.installed.json", self.agent), &(text + "\n"))
            .map_err(fail)?;
        Ok(())
    }

    /// What is typed to set it up once more, as it is.
    pub(crate) fn command(&self) -> String {
        let (agent, kind) = (shell::quote(self.agent.as_str()), self.kind.name());
        let mut line = format!("plexusctl connect {agent} --type {kind} --here");
        for (option, is_given) in [(" --mcp", self.mcp), (" --commands", self.commands)] {
            line.push_str(if is_given { option } else { "" });
        }
        if let Some(project) = &self.project {
            let project = shell::quote(&project.display().to_string());
            line.push_str(&format!(" --project {project}"));
        }
        line
    }

    /// The edits that take it back, and what is left because a person edited it.
    ///
    /// # Errors
    /// A stop where a file cannot be read.
    pub(crate) fn removal(&self) -> Result<(Plan, Vec<Finding>), Stop> {
        let mut plan = Plan::default();
        let left = plan.take_back(&self.changes)?;
        Ok((plan, left))
    }

    /// Takes back exactly what was written, and gives what is left because a person edited it.
    ///
    /// # Errors
    /// A stop where a file cannot be read or written; what was undone stays undone, and the record stays.
    pub(crate) fn undo(&self, home: &Home) -> Result<Vec<Finding>, Stop> {
        let (plan, left) = self.removal()?;
        self.take_back(&plan, home)?;
        Ok(left)
    }

    /// Carries out a plan of [`Installation::removal`], which was shown.
    ///
    /// # Errors
    /// A stop where a file cannot be written, or has changed since; what was undone stays undone, and the record stays.
    pub(crate) fn take_back(&self, plan: &Plan, home: &Home) -> Result<(), Stop> {
        plan.write()?;
        for folder in self.folders.iter().rev() {
            // Only where nothing else was put in it meanwhile.
            let _ = std::fs::remove_dir(folder);
        }
        let record = Self::file(home, &self.agent);
        std::fs::remove_file(&record).map_err(|e| {
            Stop::new(
                Exit::Failed,
                "cannot_save",
                format!("{}: {e}", record.display()),
            )
        })
    }

    /// Whether every command of the agent reaches every port of 127.0.0.1, and nobody asked for that: earlier versions wrote
    /// it for Codex.
    pub(crate) fn opens_ports_unasked(&self) -> bool {
        self.kind == Kind::Codex && !self.commands && codex::opens_ports(&self.changes)
    }

    /// What is not as it was written: gone, or edited. Empty where all is in place.
    pub(crate) fn check(&self) -> Vec<Finding> {
        self.changes.iter().filter_map(Change::check).collect()
    }
}

/// Every agent that was set up here, by name.
pub(crate) fn installed(home: &Home) -> Vec<Installation> {
    let Ok(entries) = std::fs::read_dir(home.agents()) else {
        return Vec::new();
    };
    let mut agents: Vec<AgentId> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            AgentId::parse(name.to_str()?.strip_suffix(".installed.json")?).ok()
        })
        .collect();
    agents.sort();
    agents
        .iter()
        .filter_map(|agent| Installation::of(home, agent))
        .collect()
}

/// The agent's own command: it speaks for one agent, to one gateway, whatever the caller's environment says.
fn launcher(agent: &AgentId, around: &Surroundings, more: &str) -> String {
    let quote = |path: &Path| shell::quote(&path.display().to_string());
    format!(
        "#!/bin/sh\n# The `plexus` command of the agent {agent}, made by `plexusctl connect`.\n\
         unset PLEXUS_PAT PLEXUS_GATEWAY PLEXUS_PROXY\n\
         export PLEXUS_PINNED=1 PLEXUS_AGENT_ID={agent} PLEXUS_HOME={}\n{more}exec {} \"$@\"\n",
        quote(&around.state),
        quote(&around.programs.join("plexus")),
    )
}
