//! A film as one SVG: layers of text and pictures, each shown for its time by a rule of style, and no script.
//!
//! Invariant: of the layers of one kind exactly one is seen at each moment; where the reader wants no motion, those of the
//! frame that was marked still.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use plexus_tests::golden;
use std::fmt::Write as _;

/// Columns and rows of the terminal.
pub(super) const CELLS: (u16, u16) = (56, 25);
/// Width and height of what the browser shows.
pub(super) const SCREEN: (u32, u32) = (640, 560);

const LINE: u32 = 20;
const CHARACTER: f64 = 8.43;
const BAR: u32 = 32;
const MARGIN: u32 = 16;

struct Layer {
    begins: f64,
    body: String,
    still: bool,
}

/// What was seen so far.
pub(super) struct Film {
    terminal: Vec<Layer>,
    browser: Vec<Layer>,
    now: f64,
}

impl Film {
    pub(super) fn begins(terminal: &str, picture: &[u8]) -> Self {
        let mut film = Self {
            terminal: Vec::new(),
            browser: Vec::new(),
            now: 0.0,
        };
        film.terminal(terminal);
        film.browser(picture);
        film
    }
    /// From now on the terminal shows this.
    pub(super) fn terminal(&mut self, shown: &str) {
        let mut body = String::new();
        let mut y = BAR + MARGIN;
        for line in shown.lines() {
            // The moment's own names, ids and times are no part of the story.
            let line: Vec<char> = golden::scrub_text(line.trim_end()).chars().collect();
            for row in line.chunks(usize::from(CELLS.0)) {
                y += LINE;
                let row: String = row.iter().collect();
                let row = row.replace('&', "&amp;").replace('<', "&lt;");
                let _ = writeln!(body, "<text x=\"{MARGIN}\" y=\"{y}\">{row}</text>");
            }
            // An empty line is a row as well.
            y += if line.is_empty() { LINE } else { 0 };
        }
        self.terminal.push(self.layer(body));
    }
    /// From now on the browser shows this PNG.
    pub(super) fn browser(&mut self, picture: &[u8]) {
        let (x, y) = (left(), BAR);
        let (width, height) = SCREEN;
        let body = format!(
            "<image x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" href=\"data:image/png;base64,{}\"/>\n",
            STANDARD.encode(picture)
        );
        self.browser.push(self.layer(body));
    }
    fn layer(&self, body: String) -> Layer {
        Layer {
            begins: self.now,
            body,
            still: false,
        }
    }
    /// What is shown now is what a reader sees who wants no motion.
    pub(super) fn still(&mut self) {
        for layers in [&mut self.terminal, &mut self.browser] {
            if let Some(layer) = layers.last_mut() {
                layer.still = true;
            }
        }
    }
    /// Nothing changes for so many seconds.
    pub(super) fn stays(&mut self, seconds: f64) {
        self.now += seconds;
    }

    pub(super) fn svg(&self) -> String {
        let (width, height) = (left() + SCREEN.0, BAR + SCREEN.1);
        let (terminal_width, x) = (left() - MARGIN, left() + MARGIN);
        let title = BAR - 11;
        let mut rules = String::new();
        let mut shown = String::new();
        for (kind, layers) in [("t", &self.terminal), ("b", &self.browser)] {
            for (at, layer) in layers.iter().enumerate() {
                let ends = layers.get(at + 1).map_or(self.now, |next| next.begins);
                self.rule(&mut rules, &format!("{kind}{at}"), layer.begins, ends);
                let still = if layer.still { " still" } else { "" };
                let _ = write!(
                    shown,
                    "<g class=\"layer{still}\" id=\"{kind}{at}\">\n{}</g>\n",
                    layer.body
                );
            }
        }
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\">\n\
             <title>An agent reads a note and asks to write a file; its owner sees the change and approves it</title>\n\
             <style>\n\
             text {{ font: 14px ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace; fill: #d7dde6; white-space: pre }}\n\
             .title {{ fill: #8b96a5 }}\n\
             .layer {{ visibility: hidden; animation: {total:.2}s step-end infinite }}\n\
             {rules}\
             @media (prefers-reduced-motion: reduce) {{ .layer {{ animation: none !important }} .still {{ visibility: visible }} }}\n\
             </style>\n\
             <rect width=\"{terminal_width}\" height=\"{height}\" rx=\"8\" fill=\"#15181d\"/>\n\
             <text class=\"title\" x=\"{MARGIN}\" y=\"{title}\">agent: a terminal</text>\n\
             <rect x=\"{browser}\" width=\"{screen}\" height=\"{height}\" rx=\"8\" fill=\"#15181d\"/>\n\
             <text class=\"title\" x=\"{x}\" y=\"{title}\">you: plexusctl console</text>\n\
             {shown}</svg>\n",
            total = self.now,
            browser = left(),
            screen = SCREEN.0,
        )
    }
    /// Shows a layer from one moment to another of each round.
    fn rule(&self, rules: &mut String, id: &str, begins: f64, ends: f64) {
        let percent = |moment: f64| moment / self.now * 100.0;
        let _ = writeln!(
            rules,
            "#{id} {{ animation-name: {id} }} @keyframes {id} {{ 0% {{ visibility: {first} }} {from:.3}% {{ visibility: visible }} {to:.3}% {{ visibility: {last} }} }}",
            first = if begins > 0.0 { "hidden" } else { "visible" },
            from = percent(begins),
            to = percent(ends),
            last = if ends < self.now { "hidden" } else { "visible" },
        );
    }
}

/// Where the browser begins.
fn left() -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a width of some hundred pixels"
    )]
    let text = (f64::from(CELLS.0) * CHARACTER) as u32;
    text + 3 * MARGIN
}
