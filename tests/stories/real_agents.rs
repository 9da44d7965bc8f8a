//! The real coding agents against a scripted model: set up in one step, they list, read, ask and write, and their own
//! rules keep them from the owner's command and from credentials.

use crate::house::{House, WRITE};
use plexus_tests::coding_agents::{Conversation, ask_claude, ask_codex};
use plexus_tests::waiting::until;
use plexus_tests::{Folder, Model, Step};

/// A person's machine: a gateway, and a folder that the coding agent works in.
struct Desk {
    house: House,
    project: Folder,
}

impl Desk {
    fn open() -> Self {
        let desk = Self {
            house: House::open(),
            project: Folder::empty(),
        };
        desk.project.write("README.md", "the person's project\n");
        desk
    }
    /// Sets an agent up as its person does, and holds that it worked.
    #[track_caller]
    fn connect(&self, line: &[&str]) -> String {
        let words = ["connect"].iter().chain(line).chain(&["--here", "--yes"]);
        let said = self.house.gateway.cli(words.copied());
        said.expect_status(0);
        said.all()
    }
    fn claude(&self, model: &Model, more: &[&str]) -> Conversation {
        let home = self.house.gateway.home();
        ask_claude(model, home, &self.project.path(), more, "Use Plexus.")
    }
    fn codex(&self, model: &Model, more: &[&str]) -> Conversation {
        let home = self.house.gateway.home();
        ask_codex(model, home, &self.project.path(), more, "Use Plexus.")
    }
    fn state(&self, path: &str) -> String {
        let path = self.house.gateway.state().join(path);
        path.display().to_string()
    }
}

const NOTE: &str = "path=Projects/Plexus.md";

#[test]
fn claude_code_is_set_up_in_one_step_and_reads_a_note() {
    let desk = Desk::open();
    desk.connect(&["--type", "claude-code", "--allow", "obsidian.vault.read"]);
    let model = Model::start([
        Step::bash("plexus-claude-code list"),
        Step::bash(&format!("plexus-claude-code obsidian.vault.read {NOTE}")),
        Step::say("done"),
    ]);
    let went = desk.claude(&model, &[]);
    went.expect_ok();
    model.finish();
    let results = model.results();
    assert!(results[0].contains("obsidian.vault.read"), "{results:?}");
    assert!(results[1].contains("A gateway. See"), "{results:?}");
    assert_eq!(went.denied(), Vec::<String>::new());
}
