//! The README's moving picture: an agent's terminal beside the owner's browser, from a read to an approved write.
//!
//! Each run plays the story for real and holds the texts of the terminal against `docs/images/first-write.svg`, so the
//! picture cannot tell an old story. `cargo xtask demo picture` draws it anew.

mod svg;

use crate::scene::Scene;
use plexus_tests::golden;
use plexus_tests::terminal::Shell;
use plexus_tests::{binaries, waiting::until_true};
use svg::{Film, SCREEN};
use tempfile::TempDir;

/// Seconds for which a reader looks at an answer, and at a card.
const READ: f64 = 2.2;
const LOOK: f64 = 4.5;
/// Seconds between two words that are typed.
const WORD: f64 = 0.22;

struct Told {
    agent: Shell,
    film: Film,
}

impl Told {
    /// Types word by word, each of them seen on the screen before the next.
    fn types(&mut self, line: &str) {
        for word in line.split_inclusive(' ') {
            self.agent.terminal.keys(word);
            self.agent
                .terminal
                .until_fits(word, |shown| shown.trim_end().ends_with(word.trim_end()));
            self.film.terminal(&self.agent.terminal.picture());
            self.film.stays(WORD);
        }
        self.agent.terminal.keys("\r");
    }
    fn answers(&mut self, line: &str, answer: &str) {
        self.types(line);
        self.agent.until_ready(line, |shown| shown.contains(answer));
        self.film.terminal(&self.agent.terminal.picture());
        self.film.stays(READ);
    }
}

#[test]
fn first_write_as_a_moving_picture() {
    let scene = Scene::signed_in();
    scene.browser.size(SCREEN.0, SCREEN.1);
    scene.browser.reads("#quiet", "All quiet");
    let person = TempDir::with_prefix("plx").expect("a folder");
    let (columns, rows) = svg::CELLS;
    let mut agent = Shell::open(person.path(), "agent$ ", columns, rows);
    let let_in = scene.owner().connect("claude", &["obsidian.vault.read"]);
    for line in [
        format!("export PATH={}:$PATH", binaries::folder().display()),
        format!("export PLEXUS_HOME={}", scene.gateway.state().display()),
        format!("plexus enroll {}", let_in["code"].as_str().expect("a code")),
    ] {
        agent.runs(&line);
    }
    agent.types("clear");
    agent.until_ready("an empty screen", |shown| shown.lines().count() <= 1);

    let film = Film::begins(&agent.terminal.picture(), &scene.browser.picture());
    let mut told = Told { agent, film };
    told.film.stays(1.0);
    told.answers("plexus obsidian.vault.read path=Ideas.md", "# Ideas");

    // It asks, and its call waits for the owner, who sees all of it.
    told.types("plexus workspace.write path=plan.md content=\"- bake bread\" --purpose \"a plan for today\"");
    scene.browser.reads("#card .who", "claude");
    scene.browser.reads(".diff .add", "bake bread");
    let is_whole = |id: &str| id.trim_end().len() >= 36;
    let waits = told.agent.terminal.until_fits("what to wait for", |shown| {
        shown
            .split("plexus wait pend_")
            .nth(1)
            .is_some_and(is_whole)
    });
    told.film.terminal(&waits);
    told.film.browser(&scene.browser.picture());
    told.film.stays(READ);
    scene.browser.run(
        "document.querySelector('.diff').scrollIntoView({block: 'center', behavior: 'instant'})",
    );
    told.film.browser(&scene.browser.picture());
    told.film.still();
    told.film.stays(LOOK);
    assert!(!scene.workspace.has("plan.md"));

    scene
        .browser
        .see("form:not([data-fresh]) [value=once]")
        .click();
    scene.browser.reads("#notes", "Approved once");
    told.agent
        .until_ready("the end of the call", |shown| shown.contains("plan.md"));
    told.film.browser(&scene.browser.picture());
    told.film.terminal(&told.agent.terminal.picture());
    told.film.stays(LOOK);
    until_true("the file", || scene.workspace.has("plan.md"));

    golden::check_picture("first-write", &told.film.svg());
}
