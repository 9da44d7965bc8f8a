//! The README's moving picture: an agent's terminal beside the owner's browser, from a read to an approved write.
//!
//! The newcomer's story plays it for real, and the texts of the terminal are held against `docs/images/first-write.svg`, so the
//! picture cannot tell an old story. `cargo xtask demo picture` draws it anew.

mod svg;

use crate::scene::Scene;
use plexus_tests::browser::Browser;
use plexus_tests::terminal::Shell;
use plexus_tests::{binaries, golden};
use svg::{Film, SCREEN};
use tempfile::TempDir;

/// Seconds for which a reader looks at an answer, and at a card.
const READ: f64 = 2.2;
const LOOK: f64 = 4.5;
/// Seconds between two words that are typed.
const WORD: f64 = 0.22;

/// The terminal of an agent that has redeemed its code.
pub(crate) fn enrolled(scene: &Scene, person: &TempDir, code: &str) -> Shell {
    let (columns, rows) = svg::CELLS;
    let mut agent = Shell::open(person.path(), "agent$ ", columns, rows);
    for line in [
        format!("export PATH={}:$PATH", binaries::folder().display()),
        format!("export PLEXUS_HOME={}", scene.gateway.state().display()),
        format!("plexus enroll {code}"),
    ] {
        agent.runs(&line);
    }
    agent
}

/// What an agent's terminal and the owner's browser showed so far.
pub(crate) struct Told<'s> {
    agent: &'s mut Shell,
    browser: &'s Browser,
    film: Film,
}

impl<'s> Told<'s> {
    pub(crate) fn begin(agent: &'s mut Shell, browser: &'s Browser) -> Self {
        browser.size(SCREEN.0, SCREEN.1);
        agent.types("clear");
        agent.until_ready("an empty screen", |shown| shown.lines().count() <= 1);
        let mut film = Film::begins(&agent.terminal.picture(), &browser.picture());
        film.stays(1.0);
        Self {
            agent,
            browser,
            film,
        }
    }
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
    pub(crate) fn answers(&mut self, line: &str, answer: &str) {
        self.types(line);
        self.agent.until_ready(line, |shown| shown.contains(answer));
        self.film.terminal(&self.agent.terminal.picture());
        self.film.stays(READ);
    }
    /// Types a line that waits for the owner.
    pub(crate) fn asks(&mut self, line: &str) {
        self.types(line);
        let is_whole = |id: &str| id.trim_end().len() >= 36;
        let waits = self.agent.terminal.until_fits("what to wait for", |shown| {
            shown
                .split("plexus wait pend_")
                .nth(1)
                .is_some_and(is_whole)
        });
        self.film.terminal(&waits);
    }
    /// The owner looks at the card, then at its difference.
    pub(crate) fn looks(&mut self) {
        self.film.browser(&self.browser.picture());
        self.film.stays(READ);
        self.browser.run(
            "document.querySelector('.diff').scrollIntoView({block: 'center', behavior: 'instant'})",
        );
        self.film.browser(&self.browser.picture());
        self.film.still();
        self.film.stays(LOOK);
    }
    /// The end of what the agent waited for, and of the film.
    pub(crate) fn ends(mut self, answer: &str) {
        self.agent
            .until_ready("the end of the call", |shown| shown.contains(answer));
        self.film.browser(&self.browser.picture());
        self.film.terminal(&self.agent.terminal.picture());
        self.film.stays(LOOK);
        golden::check_picture("first-write", &self.film.svg());
    }
}
