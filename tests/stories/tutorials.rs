//! The pages that say how to connect an agent and to go on from there: every command in them, in their order, on real
//! processes. README and the tutorial are typed at terminals (`first_day`).
//!
//! A fenced block that begins with `sh` is a script, one that begins with `text` is none. The second word says how a script is
//! run: `gateway` is the one that is up already (with these arguments), `waits` goes on while the next block runs, `elsewhere`
//! is another machine, `mcp` is run by the stories of MCP, `install` by those of installs. `refused`, after it or instead, is
//! one that fails. Five things differ from what a person types: the port, the code or id that was just printed, the yes, the
//! id of the request that waits, and the digest of its card.

use crate::house::House;
use plexus_tests::coding_agents::{claude, claude_environment, codex};
#[cfg(target_os = "linux")]
use plexus_tests::home_app::{HomeApp, TOKEN};
use plexus_tests::programs::{self, Said};
#[cfg(target_os = "linux")]
use plexus_tests::registry;
use plexus_tests::texts::{assert_contains, assert_lacks};
use plexus_tests::waiting::until_true;
use plexus_tests::{Folder, Model, Step, binaries};
use serde_json::json;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One script of a page.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) how: String,
    pub(crate) refused: bool,
    pub(crate) script: String,
}

impl Block {
    #[track_caller]
    fn holds(&self, said: &Said) {
        if self.refused {
            assert_ne!(said.status, 0, "{self:?}: {said}");
        } else {
            said.expect_ok();
        }
    }
}

/// The scripts of a page below `docs/`, in their order.
pub(crate) fn blocks(page: &str) -> Vec<Block> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(page);
    let text = std::fs::read_to_string(path).expect("the page");
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for line in text.lines().map(str::trim_start) {
        match (line.strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => blocks.extend(open.take().filter(|block| block.how != "text")),
            (Some(info), None) => {
                let words = info.strip_prefix("sh").unwrap_or(info).split_whitespace();
                let (refused, how): (Vec<_>, Vec<_>) = words.partition(|word| *word == "refused");
                open = Some(Block {
                    how: how.join(" "),
                    refused: !refused.is_empty(),
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
    /// What the page says, and what it is on this machine.
    here: Vec<(String, String)>,
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
            here: Vec::new(),
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
            "#!/bin/bash\nyes=()\ncase \"$* \" in *--dry-run*) ;;\n\
             extension\\ add*) shown=(); skip=\n\
             for word in \"${{@:3}}\"; do case \"$skip:$word\" in :--secret|:--keep-secret) skip=y ;; y:*) skip= ;; *) shown+=(\"$word\") ;; esac; done\n\
             yes=(--digest \"$({0} --i-am-the-owner extension preview \"${{shown[@]}}\" --json | sed 's/.*\"digest\":\"\\([0-9a-f]*\\).*/\\1/')\") ;;\n\
             *--here*|disconnect*|undo*|changes\\ apply*|mcp\\ install*) yes=(--yes) ;; esac\n\
             exec {0} --i-am-the-owner \"$@\" \"${{yes[@]}}\"\n",
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
        self.programs.program(name, text);
    }
    /// What is typed, for this gateway and with the code of the latest answer.
    fn typed(&self, script: &str) -> String {
        let mut script = script.replace(
            "127.0.0.1:7077",
            &format!("127.0.0.1:{}", self.house.gateway.port()),
        );
        if let Some(at) = self.printed.rfind("plx_enroll_") {
            script = script.replace("plx_enroll_…", programs::id_at(&self.printed[at..]));
        }
        for (said, is) in &self.here {
            script = script.replace(said, is);
        }
        let words: Vec<_> = self.printed.split_whitespace().collect();
        let mut made = words.windows(3).filter(|words| words[0] == "made");
        if let Some([.., channel]) = made.next_back() {
            script = script.replace("01HZY…", channel);
        }
        for mark in ["cs_", "evt_"] {
            if let Some(at) = self.printed.rfind(mark) {
                let id = programs::id_at(&self.printed[at..]);
                script = script.replace(&format!("{mark}…"), id);
            }
        }
        if let Some(pending) = self.house.owner().pending().first() {
            let item = pending["pendingId"].as_str().expect("an id");
            let card = self.house.owner().card(item);
            let card = card["cardDigest"].as_str().expect("a digest");
            script = script
                .replace("approve ITEM", &format!("approve {item} --card {card}"))
                .replace("ITEM", item);
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
                        assert_contains(&block.script, flag);
                    }
                }
                "waits" => {
                    let waiting = self.shell(block);
                    let waiting = std::thread::spawn(move || programs::run(waiting));
                    until_true("a request of the agent", || {
                        !self.house.owner().pending().is_empty()
                    });
                    let answer = next.next().expect("a block that answers it");
                    said.push(self.run(answer));
                    let end = waiting.join().expect("an end");
                    block.holds(&end);
                    said.push(end);
                }
                "mcp" => continue,
                "" | "elsewhere" => said.push(self.run(block)),
                other => panic!("{page} has a block that is run as {other:?}"),
            }
            let printed = said.last().map(Said::all).unwrap_or_default();
            self.printed.push_str(&printed);
        }
        said
    }
    #[track_caller]
    fn run(&self, block: &Block) -> Said {
        let said = programs::run(self.shell(block));
        block.holds(&said);
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
        Step::mcp(
            "plexus",
            "obsidian_vault_read",
            json!({"path": "Projects/Plexus.md"}),
        ),
        Step::mcp(
            "plexus",
            "workspace_write",
            json!({"path": "notes/follow-up.md", "content": "Ask again."}),
        ),
        Step::say("It is written."),
        Step::exec(&format!("{command} list")),
        Step::say("By its command too."),
        Step::mcp("plexus", "workspace_list", json!({})),
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
    for part in [
        "It is written.",
        "By its command too.",
        "There is a vault and a folder.",
    ] {
        assert!(all.contains(part), "{part} was not said:\n{all}");
    }
    assert_eq!(
        person.house.workspace.read("notes/follow-up.md"),
        "Ask again."
    );
    assert!(person.elsewhere.has(".plexus/agents/laptop.pat"));
    assert_contains(
        &person.elsewhere.read("work/AGENTS.md"),
        "<!-- END PLEXUS -->",
    );
    assert_contains(
        &person.elsewhere.read(".codex/config.toml"),
        "agents/laptop/bin/plexus",
    );
    let left = std::fs::read_to_string(folder.join("config.toml")).expect("a file");
    assert_eq!(left, config, "it was taken back");
}

#[test]
fn talking_in_channels() {
    let world = crate::channels::World::open();
    let mut person = Person::new(&Model::start([]));
    person.project.write("invitation.txt", world.invitation());
    person.here = vec![(
        "https://relay.example:7090".to_owned(),
        world.office.address.clone(),
    )];
    let said = person.play("channels.md");
    let all: String = said.iter().map(Said::all).collect();
    let key = world.fingerprint_of_pat();
    for part in [
        "you are Ana",
        "    What is 2 + 2?",
        key.as_str(),
        "has a new key",
        "left \"sums\"",
    ] {
        assert!(all.contains(part), "{part} was not said:\n{all}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn creating_an_extension() {
    let mut person = Person::new(&Model::start([]));
    person
        .variables
        .push(("npm_config_registry", registry::npm_with("server-memory")));
    let app = HomeApp::start();
    person.here = vec![(
        "127.0.0.1:8123".to_owned(),
        format!("127.0.0.1:{}", app.port),
    )];
    std::fs::write(person.home().join("home-token"), format!("{TOKEN}\n")).expect("a file");
    let socket = person.home().join("my-player.sock");
    person.here.push((
        "/run/user/1000/my-player.sock".to_owned(),
        socket.display().to_string(),
    ));
    let player = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixture/player.py");
    let mut player = Command::new("python3")
        .arg(player)
        .arg(&socket)
        .spawn()
        .expect("python3");
    until_true("its socket", || socket.exists());
    let said = person.play("create-an-extension.md");
    player.kill().expect("it runs");
    player.wait().expect("its end");
    let all: String = said.iter().map(Said::all).collect();
    assert!(!all.contains(TOKEN), "{all}");
    for part in [
        "monday.md:1:monday: buy bread",
        "Network: none",
        "the capability journal.find: arguments was",
        "journal is removed",
        "alone, not encrypted",
        "as Authorization: Bearer; added outside of the sandbox",
        "the secret token will go to http://localhost:",
        "\"state\": \"off\"",
        "\"state\": \"on\"",
        &format!("{} alone, of an app of yours", socket.display()),
        "\"track\": \"So What\"",
        "\"track\": \"Blue in Green\"",
        "memory.create_entities",
        "\"name\":\"tea\"",
        "memory is removed",
        "workspace.write (write) with",
        "as listed, in this order, each once, within 10 minutes",
    ] {
        assert!(all.contains(part), "{part} was not said:\n{all}");
    }
    let page = person.home().join("journal/monday.md");
    let page = std::fs::read_to_string(page).expect("a page");
    assert_eq!(page, "monday: buy bread\nand butter");
}

#[test]
#[cfg(target_os = "linux")]
fn lending_a_repository() {
    let work = "sed -i s/helo/hello/ greet.py; printf '#!/bin/sh\\npython3 greet.py\\n' > run.sh; chmod +x run.sh; \
                rm TODO.md; ls -R";
    let model = Model::start([
        Step::script(work),
        Step::say("It greets properly now."),
        Step::script("sed -i s/hello/HELLO/ greet.py"),
        Step::say("It greets in capitals."),
        Step::say("There is no test at all."),
    ]);
    let mut person = Person::new(&model);
    let site = person.home().join("Projects/site");
    std::fs::create_dir_all(site.join("private")).expect("a folder");
    let files = [
        ("greet.py", "print(\"helo\")\n"),
        ("TODO.md", "Write tests.\n"),
        ("private/q3-offer.md", "Nobody's business.\n"),
    ];
    for (name, text) in files {
        std::fs::write(site.join(name), text).expect("a file");
    }
    person.project.write("key.txt", "sk-story\n");
    let binary = format!("{} --set server={}", codex().display(), model.base());
    person.here = vec![("/opt/codex/bin/codex".to_owned(), binary)];
    let said = person.play("coding-agents.md");
    model.finish();
    let all: String = said.iter().map(Said::all).collect();
    for part in [
        "It greets properly now.",
        "It greets in capitals.",
        "There is no test at all.",
    ] {
        assert!(all.contains(part), "{part} was not said:\n{all}");
    }
    // What the page shows is what was printed.
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/coding-agents.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let shown = page.lines().filter_map(|line| line.strip_prefix("    "));
    let shown: Vec<&str> = shown.collect();
    assert!(!shown.is_empty(), "the page shows what is printed");
    for line in shown {
        assert!(all.contains(line), "{line} was not printed:\n{all}");
    }
    let sent: String = model
        .requests()
        .iter()
        .map(|sent| sent.to_string())
        .collect();
    // It was hidden.
    assert_contains(&sent, "run.sh");
    assert_lacks(&sent, "q3-offer");
    let read = |name: &str| std::fs::read_to_string(site.join(name)).expect("a file");
    assert_eq!(read("greet.py"), "print(\"HELLO\")\n");
    assert!(read("run.sh").contains("python3") && !site.join("TODO.md").exists());
    assert_eq!(read("private/q3-offer.md"), "Nobody's business.\n");
}
