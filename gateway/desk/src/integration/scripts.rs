//! The two scripts and the files of a plugin: what is embedded here, with four words put in.
//!
//! Invariant: what is put into a script is an agent id, a URL of this gateway, or text of ours. An agent id has no
//! character that a shell takes apart, and here-documents are quoted, so that nothing in them is.

use plexus_protocol::{AgentId, Timestamp, skill};
use serde_json::json;
use std::path::{Path, PathBuf};

const LAUNCHER: &str = include_str!("launcher.sh");
const ENGINE: &str = include_str!("engine.sh");
const INSTALL: &str = include_str!("install.sh");
const SETUP: &str = include_str!("setup.sh");
/// The last line of a here-document; no text of ours has it as a line.
const OVER: &str = "PLEXUS_END_OF_FILE";

/// One file of a plugin.
pub(super) struct File {
    pub(super) path: String,
    /// Unix permissions.
    pub(super) mode: u32,
    pub(super) text: String,
}

/// What the scripts for one agent are made from.
pub(super) struct Script {
    agent: AgentId,
    base: String,
    home: PathBuf,
    made: Timestamp,
}

impl Script {
    /// For `agent` of the gateway at `base`, whose state lies in `home`.
    pub(crate) fn new(agent: &AgentId, base: &str, home: &Path, made: Timestamp) -> Self {
        Self {
            agent: agent.clone(),
            base: base.to_owned(),
            home: home.to_owned(),
            made,
        }
    }

    /// The agent's command in a plugin.
    fn command(&self) -> String {
        format!("plexus-{}", self.agent)
    }
    pub(super) fn folder(&self) -> String {
        format!("plexus@{}", self.agent)
    }
    /// Another for each delivery, so that an installed plugin is seen to be older.
    pub(super) fn version(&self) -> String {
        format!("{}-c{}", env!("CARGO_PKG_VERSION"), self.made.0)
    }
    pub(super) fn launcher(&self) -> String {
        let path = self.home.join(format!("agents/{}/bin/plexus", self.agent));
        path.display().to_string()
    }

    pub(super) fn install_command(&self, code: Option<&str>) -> String {
        self.install_in("", code)
    }
    /// The same with `home` in front of the shell that runs it: an assignment with a space behind it, or empty.
    pub(super) fn install_in(&self, home: &str, code: Option<&str>) -> String {
        let code = code.map_or(String::new(), |code| {
            format!("PLEXUS_ENROLL_CODE=\"{code}\" ")
        });
        format!(
            "curl -fsSL {}/integration/{}/install.sh | {home}{code}bash",
            self.base, self.agent
        )
    }
    pub(super) fn setup_command(&self) -> String {
        self.setup_in("")
    }
    /// As [`Self::install_in`].
    pub(super) fn setup_in(&self, home: &str) -> String {
        format!(
            "curl -fsSL {}/integration/{}/setup.sh | {home}bash",
            self.base, self.agent
        )
    }
    pub(super) fn instruction(&self) -> String {
        skill::text("plexus")
    }
    pub(super) fn manual(&self, command: &str) -> String {
        let run = if command.is_empty() {
            "Give the agent the instruction, and let it run `plexus enroll CODE` once.".to_owned()
        } else {
            format!("On the agent's machine, in the folder that it works in:\n\n    {command}")
        };
        format!(
            "# Plexus for {}\n\n{run}\n\nA code is good once. The owner decides what the agent may do: `plexusctl approvals watch`.\n",
            self.agent
        )
    }

    /// The plugin of this agent, with the script that writes it.
    pub(super) fn files(&self) -> Vec<File> {
        let mut files = self.plugin();
        files.push(file("install.sh", 0o755, self.install_sh()));
        files.push(file(
            "README.md",
            0o644,
            self.manual(&self.install_command(None)),
        ));
        files
    }

    fn plugin(&self) -> Vec<File> {
        let author = json!({"name": "Plexus"});
        let plugin = json!({
            "name": "plexus", "version": self.version(), "description": skill::DESCRIPTION, "author": author,
        });
        let market = json!({
            "name": "plexus",
            "owner": author,
            "metadata": {"description": "What the owner of a Plexus gateway shares"},
            "plugins": [{"name": "plexus", "source": "./", "description": skill::DESCRIPTION}],
        });
        let command = self.command();
        vec![
            file(".claude-plugin/plugin.json", 0o644, format!("{plugin:#}\n")),
            file(
                ".claude-plugin/marketplace.json",
                0o644,
                format!("{market:#}\n"),
            ),
            file(
                "skills/use-plexus/SKILL.md",
                0o644,
                skill::skill_file(&command),
            ),
            file("bin/plexus", 0o755, self.fill(LAUNCHER)),
            file(&format!("bin/{command}"), 0o755, self.fill(LAUNCHER)),
        ]
    }

    pub(super) fn install_sh(&self) -> String {
        let files: String = self
            .plugin()
            .iter()
            .map(|file| here(&format!("\"$plugin/{}\"", file.path), file.mode, &file.text))
            .collect();
        self.fill(INSTALL).replace("{files}", &files)
    }

    pub(super) fn setup_sh(&self) -> String {
        let launcher = here("\"$launcher\"", 0o755, &self.fill(LAUNCHER));
        // Where the launcher lies is known only on the machine that runs this.
        let block = skill::block("@PLEXUS@");
        self.fill(SETUP)
            .replace("{launcher}", &launcher)
            .replace("{block}", &block)
    }

    fn fill(&self, script: &str) -> String {
        script
            .replace("{engine}", ENGINE)
            .replace("{agent}", self.agent.as_str())
            .replace("{base}", &self.base)
            .replace("{begin}", skill::BEGIN)
            .replace("{end}", skill::END)
    }
}

fn file(path: &str, mode: u32, text: String) -> File {
    File {
        path: path.to_owned(),
        mode,
        text,
    }
}

/// Shell that writes `text` to `path`, a word of the shell.
fn here(path: &str, mode: u32, text: &str) -> String {
    format!(
        "mkdir -p \"$(dirname {path})\"\ncat >{path} <<'{OVER}'\n{text}{OVER}\nchmod {mode:o} {path}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_filled_and_every_file_ends() {
        let agent = AgentId::parse("my-cc").unwrap();
        let script = Script::new(
            &agent,
            "http://127.0.0.1:7077",
            Path::new("/home/p/.plexus"),
            Timestamp(1),
        );
        for text in [script.install_sh(), script.setup_sh()] {
            for place in [
                "{agent}",
                "{base}",
                "{files}",
                "{launcher}",
                "{block}",
                "{engine}",
                "{begin}",
            ] {
                assert!(!text.contains(place), "{place}");
            }
            let opened = text.matches(&format!("<<'{OVER}'\n")).count();
            let closed = text.lines().filter(|line| *line == OVER).count();
            assert_eq!(opened, closed);
            assert!(!text.contains("plx_"), "no credential is in a script");
        }
        let setup = script.setup_in("PLEXUS_HOME=/srv/plexus ");
        assert!(setup.ends_with("/setup.sh | PLEXUS_HOME=/srv/plexus bash"));
        assert!(script.setup_command().ends_with("/setup.sh | bash"));
        let install = script.install_in("PLEXUS_HOME=/srv/plexus ", None);
        assert!(install.ends_with("/install.sh | PLEXUS_HOME=/srv/plexus bash"));
        assert!(script.install_command(None).ends_with("/install.sh | bash"));
        let modes: Vec<_> = script.files().iter().map(|file| file.mode).collect();
        assert_eq!(modes, [420, 420, 420, 493, 493, 493, 420]);
    }
}
