//! The first day at terminals, from `cargo xtask start` on: by what README's quick start and the tutorial say, and by what the
//! screens say.
//!
//! Three terminals with a shell in each: the gateway's, the owner's, the agent's. What is typed is what a page or one of the
//! screens says, as it says it, but for the code that was just printed and the id of the request that waits.

use crate::tutorials::{Block, blocks};
use crate::watching::answer;
use plexus_tests::narration::tell;
use plexus_tests::programs::{self, id_at};
use plexus_tests::terminal::Shell;
use plexus_tests::texts::assert_contains;
use plexus_tests::{Terminal, binaries, golden};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What the whole way to an approved write may take a newcomer. The test is quicker; building the gateway comes before.
const THREE_MINUTES: Duration = Duration::from_secs(180);
/// Rows of a terminal that a whole page does not fill.
const TALL: u16 = 600;
/// Where the pages put what they make, below the person's folder.
const TOUR: &str = "plexus-tour";
/// Longer than a prompt takes no answer.
const THOUGHT: Duration = Duration::from_secs(1);
/// What a command of an agent says while it waits, before the request's id.
const WAITS: &str = "plexus wait pend_";

/// A person with three terminals.
struct Tour {
    gateway: Terminal,
    /// What the gateway's terminal shows once it serves.
    greeting: String,
    owner: Shell,
    agent: Shell,
    person: TempDir,
}

impl Tour {
    /// Types what a page says up to its gateway's start, which is up then; gives the blocks behind that.
    fn begin(page: &[Block]) -> (Self, &[Block]) {
        // Built before, with everything that is tested: building is not what is timed.
        let program = binaries::path("xtask").display().to_string();
        let built = binaries::folder().display().to_string();
        let start = format!("{program} start --binaries {built}");
        // The last thing that it says leads to the screen of the owner.
        let (mut tour, behind) = Self::begin_by(page, &start, "  plexusctl approvals watch");
        for begin in ["export PATH=", "export PLEXUS_HOME="] {
            let line = said(&tour.greeting, begin).to_owned();
            tour.both_type(&line);
        }
        (tour, behind)
    }

    /// The same with the programs of a prefix, where nothing says what to export.
    fn begin_installed<'p>(page: &'p [Block], prefix: &Path) -> (Self, &'p [Block]) {
        let bin = prefix.join("bin").display().to_string();
        let start = format!("{bin}/plexusd");
        let (mut tour, behind) = Self::begin_by(page, &start, "PLEXUS_READY ");
        tour.both_type(&format!("export PATH={bin}:$PATH"));
        tour.both_type(&format!("export PLEXUS_HOME=~/{TOUR}/state"));
        (tour, behind)
    }

    /// The same with this command in place of `cargo xtask start`, which is up when it shows `ready`.
    fn begin_by<'p>(page: &'p [Block], program: &str, ready: &str) -> (Self, &'p [Block]) {
        let person = TempDir::with_prefix("plx").expect("a folder");
        let shell = |prompt| Shell::open(person.path(), prompt, 100, TALL);
        let [mut owner, agent] = ["owner$ ", "agent$ "].map(shell);
        let start = page.iter().position(|block| block.how == "gateway");
        let start = start.expect("what starts it");
        let before = page[..start].iter().filter(|block| block.how.is_empty());
        for line in before.flat_map(|block| block.script.lines()) {
            typed(&mut owner, line, true);
        }
        let line = page[start].script.replace("cargo xtask start", program);
        let mut command = programs::command(Path::new("/bin/sh"), person.path());
        command.args(["-c", &format!("exec {} --port 0", line.trim())]);
        let gateway = Terminal::start(&command, 160, 60);
        let greeting = gateway.until_shows(ready);
        let tour = Self {
            gateway,
            greeting,
            owner,
            agent,
            person,
        };
        (tour, &page[start + 1..])
    }

    fn both_type(&mut self, line: &str) {
        typed(&mut self.owner, line, true);
        typed(&mut self.agent, line, true);
    }

    /// Types blocks of a page, each where it belongs; gives what the owner's and the agent's screen show at the end.
    fn plays(&mut self, blocks: &[Block]) -> [String; 2] {
        let mut code = String::new();
        let mut blocks = blocks.iter();
        while let Some(block) = blocks.next() {
            if block.how == "waits" {
                let answers = blocks.next().expect("a block that answers it");
                self.waits(block, answers);
                continue;
            }
            for line in block.script.lines() {
                let shell = match line.starts_with("plexusctl ") {
                    true => &mut self.owner,
                    false => &mut self.agent,
                };
                let line = line.replace("plx_enroll_…", &code);
                let shown = typed(shell, &line, !block.refused);
                if let Some((_, after)) = shown.rsplit_once("plexus enroll ") {
                    code = id_at(after).to_owned();
                }
            }
        }
        [&self.owner, &self.agent].map(|shell| shell.terminal.picture())
    }

    /// A command of the agent that waits for the owner, who types these answers.
    fn waits(&mut self, block: &Block, answers: &Block) {
        let line = block.script.trim();
        types_until_more(&mut self.agent, line, WAITS);
        let id = |shown: &str| id_at(shown.rsplit(WAITS).next().unwrap_or_default()).to_owned();
        let agent = &self.agent.terminal;
        let waits = agent.until_fits("what to wait for", |shown| id(shown).len() == 36);
        let item = format!("pend_{}", id(&waits));
        for line in answers.script.lines() {
            let line = line.replace("ITEM", &item);
            if !line.starts_with("plexusctl approvals approve ") {
                typed(&mut self.owner, &line, true);
                continue;
            }
            types_until_more(&mut self.owner, &line, "[y/N]");
            // A person reads the card: a yes at once is refused.
            std::thread::sleep(THOUGHT);
            self.owner.types("y");
            let shown = self.owner.until_ready(&line, |_| true);
            tell(last(&shown));
            assert!(has_succeeded(&mut self.owner), "{shown}");
        }
        let shown = self.agent.until_ready(line, |_| true);
        tell(last(&shown));
        let succeeded = has_succeeded(&mut self.agent);
        assert_eq!(succeeded, !block.refused, "{line}:\n{shown}");
    }

    fn work(&self, file: &str) -> PathBuf {
        self.person.path().join(TOUR).join("work").join(file)
    }

    fn written(&self, file: &str) -> String {
        std::fs::read_to_string(self.work(file)).expect("a file")
    }

    /// Ctrl-C, and what the pages say takes all of it away.
    fn ends(mut self) {
        self.gateway.keys("\x03");
        assert!(self.gateway.end().success(), "{}", self.gateway.picture());
        typed(&mut self.owner, "rm -r ~/plexus-tour", true);
        assert!(!self.person.path().join(TOUR).exists());
        for mut shell in [self.owner, self.agent] {
            shell.types("exit");
            assert!(shell.terminal.end().success());
        }
    }
}

/// What the gateway's terminal says to type.
fn said<'g>(greeting: &'g str, begin: &str) -> &'g str {
    let mut lines = greeting.lines().filter_map(|line| line.strip_prefix("  "));
    let line = lines.find(|line| line.starts_with(begin));
    line.unwrap_or_else(|| panic!("nothing says to type {begin}:\n{greeting}"))
        .trim_end()
}

/// What was typed last, with its answer.
fn last(shown: &str) -> &str {
    let shown = shown.trim_end();
    shown.rsplit("$ ").next().unwrap_or(shown)
}

/// Types a line, and waits until a text stands on the screen once more than before.
fn types_until_more(shell: &mut Shell, line: &str, text: &str) {
    let count = |shown: &str| shown.matches(text).count();
    let before = count(&shell.terminal.picture());
    shell.types(line);
    shell
        .terminal
        .until_fits(text, |shown| count(shown) > before);
}

/// Types a line, which succeeds or fails as it is to; gives the screen.
#[track_caller]
fn typed(shell: &mut Shell, line: &str, succeeds: bool) -> String {
    let shown = shell.runs(line);
    tell(last(&shown));
    assert_eq!(has_succeeded(shell), succeeds, "{line}:\n{shown}");
    shown
}

/// Whether the line that ended last did.
fn has_succeeded(shell: &mut Shell) -> bool {
    let shown = shell.runs("echo exit=$?");
    shown
        .rsplit("exit=")
        .next()
        .is_some_and(|status| status.starts_with('0'))
}

#[test]
fn tutorial_works_as_printed_in_terminals() {
    let page = blocks("tutorial.md");
    let (last, page) = page.split_last().expect("blocks");
    assert_eq!(last.script, "rm -r ~/plexus-tour\n", "it ends the tour");
    let (mut tour, behind) = Tour::begin(page);
    let [owner, agent] = tour.plays(behind);
    assert_contains(&owner, "the chain holds");
    for part in ["A gateway for agents.", "not today"] {
        assert_contains(&agent, part);
    }
    assert_eq!(tour.written("notes/today.md"), "another line");
    assert!(!tour.work("elsewhere.md").exists());
    tour.ends();
}

/// README's quick start, then what the gateway's terminal says, with the screen of the owner.
#[test]
fn from_start_to_an_approved_write_in_terminals() {
    let began = Instant::now();
    let page = blocks("../README.md");
    let (mut tour, behind) = Tour::begin(&page);
    let [_, agent] = tour.plays(behind);
    assert_contains(&agent, "A gateway for agents.");
    assert_eq!(tour.written("notes/today.md"), "one line");

    let greeting = tour.greeting.clone();
    let connect = said(&greeting, "plexusctl connect");
    assert_contains(&typed(&mut tour.owner, connect, true), "plexus enroll plx_");
    let listed = typed(&mut tour.agent, said(&greeting, "plexus list"), true);
    assert_contains(&listed, "workspace.write");
    let owner = &mut tour.owner.terminal;
    // The picture of a page has this size.
    owner.resize(100, 30);
    owner.keys(&format!(
        "{}\r",
        said(&greeting, "plexusctl approvals watch")
    ));
    owner.until_shows("nothing waits");

    // It asks for a write, and waits for the owner, who sees all of it.
    tour.agent.types(said(&greeting, "plexus workspace.write"));
    let request = owner.until_shows("creates hello.md");
    for shown in [
        "agent: my-agent",
        "to see what you would see",
        "┃ +Hello",
        "a approve",
    ] {
        assert_contains(&request, shown);
    }
    assert_eq!(
        owner.colour_of(|row| row.contains("+Hello")),
        Some(vt100::Color::Idx(2)),
        "what is added is green"
    );
    assert!(!tour.person.path().join(TOUR).join("work/hello.md").exists());

    // By keyboard, and by what the screen says of its keys.
    owner.keys("a");
    let panel = owner.until_shows("(•) once: this one call, exactly as shown");
    assert_contains(&panel, "Enter approve");
    answer(owner, "\r", "approved pend_");
    tour.agent.until_ready("the end of the call", |_| true);
    assert_eq!(tour.written("hello.md"), "Hello");
    assert!(began.elapsed() < THREE_MINUTES, "{:?}", began.elapsed());

    golden::check_screen("newcomer-terminal", &without_clock(&request));
    tour.owner.terminal.keys("q");
    tour.owner.until_ready("the shell again", |_| true);
    tour.ends();
}

/// README's quick start with what an install has put under a prefix, and then its way to remove that.
#[test]
fn readme_is_typed_from_an_installed_prefix() {
    let prefix = TempDir::with_prefix("plx").expect("a folder");
    binaries::install(prefix.path());
    let page = blocks("../README.md");
    let (mut tour, behind) = Tour::begin_installed(&page, prefix.path());
    let [_, agent] = tour.plays(behind);
    assert_contains(&agent, "A gateway for agents.");
    assert_eq!(tour.written("notes/today.md"), "one line");
    let found = typed(&mut tour.owner, "command -v plexusctl", true);
    let installed = prefix.path().join("bin/plexusctl").display().to_string();
    assert_contains(&found, &installed);
    tour.gateway.keys("\x03");
    assert!(tour.gateway.end().success(), "{}", tour.gateway.picture());
    let removed = typed(&mut tour.owner, "plexusctl uninstall --yes", true);
    assert_contains(&removed, "libexec/plexus");
    let left = std::fs::read_dir(prefix.path())
        .expect("the prefix")
        .count();
    assert_eq!(left, 0, "{removed}");
}

/// The screen without what the moment makes of it: the request's name, and how long ago it was asked.
fn without_clock(picture: &str) -> String {
    let mut lines = Vec::new();
    let picture = picture.replace("  just now  ", "  1 s ago  ");
    // On the card: of the request, and of the call that it differs from.
    for line in picture.replace(" just now, ", " 1 s ago, ").lines() {
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        for at in 0..words.len() {
            if words[at].starts_with("pend_") {
                let comma = if words[at].ends_with(',') { "," } else { "" };
                words[at] = format!("pend_…{comma}");
            }
            let is_age = words.get(at + 1).is_some_and(|word| word == "s")
                && words
                    .get(at + 2)
                    .is_some_and(|word| word.starts_with("ago"));
            if is_age {
                words[at] = "1".to_owned();
            }
        }
        lines.push(words.join(" "));
    }
    lines.join("\n")
}
