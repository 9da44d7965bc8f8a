//! The pages that say how to connect an agent: every command in them, in their order, on real processes.
//!
//! A fenced block that begins with `sh` is a script. Its second word says how it is run: `gateway` is the one that is up
//! already (with these arguments), `waits` goes on while the next block runs, `elsewhere` is another machine, `mcp` is run by
//! the stories of MCP. Four things
//! differ from what a person types: the port, the code that was just printed, the person's yes, and the digest of the card
//! that a person looks at.

use crate::house::House;
use plexus_tests::coding_agents::{claude, claude_environment, codex};
use plexus_tests::programs::{self, Said};
use plexus_tests::waiting::until;
use plexus_tests::{Folder, Model, Step, binaries};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// One script of a page.
#[derive(Debug)]
struct Block {
    how: String,
    script: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(page);
    let text = std::fs::read_to_string(path).expect("the page");
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(info), None) => {
                let mut words = info.split_whitespace();
                assert_eq!(
                    words.next(),
                    Some("sh"),
                    "a block of another kind: {info:?}"
                );
                open = Some(Block {
                    how: words.next().unwrap_or_default().to_owned(),
                    script: String::new(),
                });
            }
            (None, Some(block)) => block.script.push_str(&format!("{line}\n")),
            (None, None) => {}
        }
    }
    blocks
}

/// A person at their machine, and another machine of theirs.
struct Person {
    house: House,
    project: Folder,
    elsewhere: Folder,
    programs: Folder,
    variables: Vec<(&'static str, String)>,
    /// What the last scripts printed.
    printed: String,
}

impl Person {
    fn new(model: &Model) -> Self {
        let house = House::open();
        let person = Self {
            project: Folder::empty(),
            elsewhere: Folder::empty(),
            programs: Folder::empty(),
            variables: claude_environment(model),
            printed: String::new(),
            house,
        };
        symlink(person.house.gateway.state(), person.home().join(".plexus")).expect("a link");
        person.project.write(".git/HEAD", "ref: refs/heads/main\n");
        person
            .elsewhere
            .write("work/.git/HEAD", "ref: refs/heads/main\n");
        // The person: says yes, and is one although no terminal is here.
        let plexusctl = binaries::path("plexusctl");
        let yes = format!(
            "#!/bin/bash\nyes=()\ncase \"$* \" in *--dry-run*) ;; *--here*|disconnect*) yes=(--yes) ;; esac\n\
             exec {} --i-am-the-owner \"$@\" \"${{yes[@]}}\"\n",
            plexusctl.display()
        );
        person.program("plexusctl", &yes);
        for agent in [claude(), codex()] {
            let name = agent
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            symlink(&agent, person.programs.path().join(name)).expect("a link");
        }
        symlink(
            binaries::path("plexus"),
            person.programs.path().join("plexus"),
        )
        .expect("a link");
        person
    }
    fn home(&self) -> PathBuf {
        self.house.gateway.home().to_owned()
    }
    fn program(&self, name: &str, text: &str) {
        self.programs.write(name, text);
        let path = self.programs.path().join(name);
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("a mode");
    }
    /// What is typed, for this gateway and with the code of the latest answer.
    fn typed(&self, script: &str) -> String {
        let mut script = script.replace(
            "127.0.0.1:7077",
            &format!("127.0.0.1:{}", self.house.gateway.port()),
        );
        if let Some(at) = self.printed.rfind("plx_enroll_") {
            let code: String = self.printed[at..]
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || "_-".contains(*c))
                .collect();
            script = script.replace("plx_enroll_…", &code);
        }
        if script.contains("approvals approve") {
            let pending = self.house.owner().pending();
            let item = pending[0]["pendingId"].as_str().expect("an id");
            let card = self.house.owner().card(item);
            let card = card["cardDigest"].as_str().expect("a digest");
            let whole = format!("approvals approve {item} --card {card}");
            script = script.replace("approvals approve", &whole);
        }
        script
    }
    fn shell(&self, block: &Block) -> Command {
        let away = block.how == "elsewhere";
        let home = if away {
            self.elsewhere.path()
        } else {
            self.home()
        };
        let folder = if away {
            home.join("work")
        } else {
            self.project.path()
        };
        let plugin = home.join(".claude/skills/plexus-my-cc/bin");
        let path = [
            self.programs.path(),
            plugin,
            "/usr/bin".into(),
            "/bin".into(),
        ];
        let mut command = programs::command(Path::new("/bin/bash"), &home);
        command
            .env("PATH", std::env::join_paths(path).expect("a path"))
            .env("STORY_API_KEY", "no-key")
            .envs(self.variables.iter().cloned())
            .current_dir(folder)
            .args([
                "-e",
                "-u",
                "-o",
                "pipefail",
                "-c",
                &self.typed(&block.script),
            ]);
        command
    }
    /// Plays a page; gives what each script printed.
    fn play(&mut self, page: &str) -> Vec<Said> {
        let mut said: Vec<Said> = Vec::new();
        let blocks = blocks(page);
        let mut next = blocks.iter();
        while let Some(block) = next.next() {
            match block.how.as_str() {
                "gateway" => {
                    for flag in ["cargo xtask start", "--vault", "--workspace"] {
                        assert!(block.script.contains(flag), "{block:?}");
                    }
                }
                "waits" => {
                    let waiting = self.shell(block);
                    let waiting = std::thread::spawn(move || programs::run(waiting));
                    until("a request of the agent", || {
                        (!self.house.owner().pending().is_empty()).then_some(())
                    });
                    let answer = next.next().expect("a block that answers it");
                    said.push(self.run(answer));
                    said.push(waiting.join().expect("an end"));
                    said.last().expect("just pushed").expect_ok();
                }
                "mcp" => continue,
                "" | "elsewhere" => said.push(self.run(block)),
                other => panic!("{page} has a block that is run as {other:?}"),
            }
            self.printed = said.last().map(Said::all).unwrap_or_default();
        }
        said
    }
    #[track_caller]
    fn run(&self, block: &Block) -> Said {
        let said = programs::run(self.shell(block));
        said.expect_ok();
        assert!(!said.stdout.contains("plx_enroll_…"));
        said
    }
}

#[test]
fn connecting_claude_code() {
    let write = "plexus-my-cc workspace.write path=notes/summary.md content='A gateway.'";
    let model = Model::start([
        Step::bash("plexus-my-cc list"),
        Step::bash("plexus-my-cc obsidian.vault.read path=Projects/Plexus.md"),
        Step::say("It says: A gateway."),
        Step::bash(write),
        Step::say("It is written."),
    ]);
    let mut person = Person::new(&model);
    let said = person.play("connect-claude-code.md");
    model.finish();
    let all: String = said.iter().map(Said::all).collect();
    for part in ["It says: A gateway.", "It is written.", "notes/summary.md"] {
        assert!(all.contains(part), "{part} was not said:\n{all}");
    }
    assert_eq!(
        person.house.workspace.read("notes/summary.md"),
        "A gateway."
    );
    assert_eq!(person.house.workspace.read("notes/more.md"), "one line");
    assert!(person.elsewhere.has(".plexus/agents/laptop-cc.pat"));
    assert!(
        !person.home().join(".claude/skills").exists(),
        "it was taken back"
    );
}

#[test]
fn connecting_codex() {
    let model = Model::start([]);
    let mut person = Person::new(&model);
    let command = person
        .house
        .gateway
        .state()
        .join("agents/codex/bin/plexus-codex");
    let command = command.display();
    model.then([
        Step::exec(&format!("{command} list")),
        Step::exec(&format!(
            "{command} obsidian.vault.read path=Projects/Plexus.md"
        )),
        Step::exec(&format!(
            "{command} workspace.write path=notes/follow-up.md content='Ask again.'"
        )),
        Step::say("It is written."),
        Step::exec(&format!("{command} list")),
        Step::say("There is a vault and a folder."),
    ]);
    // What a person has there already: which model, and nothing about a sandbox.
    let config = format!(
        "model = \"gpt-5.5\"\nmodel_provider = \"story\"\n\n[model_providers.story]\nname = \"story\"\nbase_url = \"{}/v1\"\n\
         wire_api = \"responses\"\nenv_key = \"STORY_API_KEY\"\n\n[analytics]\nenabled = false\n\n[features]\nplugins = false\n\
         unbounded_connection_retries = false\n",
        model.base()
    );
    let folder = person.home().join(".codex");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("config.toml"), &config).expect("a file");
    let said = person.play("connect-codex.md");
    model.finish();
    let all: String = said.iter().map(Said::all).collect();
    for part in ["It is written.", "There is a vault and a folder."] {
        assert!(all.contains(part), "{part} was not said:\n{all}");
    }
    assert_eq!(
        person.house.workspace.read("notes/follow-up.md"),
        "Ask again."
    );
    assert!(person.elsewhere.has(".plexus/agents/laptop.pat"));
    assert!(
        person
            .elsewhere
            .read("work/AGENTS.md")
            .contains("<!-- END PLEXUS -->")
    );
    let left = std::fs::read_to_string(folder.join("config.toml")).expect("a file");
    assert_eq!(left, config, "it was taken back");
}
