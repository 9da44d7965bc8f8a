//! The findings, for a terminal, a program, and the page in the documentation.

use crate::figures::Figures;
use crate::promises::{Kept, grouped};
use crate::world::Kind;
use crate::{CONNECTIONS, console, picture};
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;

/// What a run came to.
pub(crate) struct Report {
    pub(crate) figures: Figures,
    pub(crate) kept: Vec<Kept>,
    /// Where and how, in a few words each.
    pub(crate) about: Vec<(&'static str, String)>,
}

/// Where the page's figures begin and end; what stands around them is written by people.
const BEGIN: &str = "<!-- figures: written by `cargo xtask bench --write` -->";
const END: &str = "<!-- end of figures -->";

/// The five rows that the first page shows.
const HEADLINES: [&str; 5] = [
    "read, 64 connections, of the bare path",
    "read, 64 connections, p99",
    "effect, 64 connections, of the bare path with two commits",
    "start, large home",
    "memory, idle",
];

impl Report {
    /// One object.
    pub(crate) fn json(&self) -> Value {
        let figures: serde_json::Map<String, Value> = self
            .figures
            .all()
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect();
        let promises: Vec<Value> = self
            .kept
            .iter()
            .map(|p| json!({"what": p.what, "bound": p.bound, "value": p.value, "kept": p.kept}))
            .collect();
        let about: serde_json::Map<String, Value> = self
            .about
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        json!({"about": about, "figures": figures, "promises": promises})
    }

    /// Tables in Markdown, which a terminal shows well enough.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.about {
            let _ = writeln!(text, "- {name}: {value}");
        }
        if !self.kept.is_empty() {
            text.push_str("\n| target | bound | measured | |\n|---|---|---|---|\n");
            text.extend(self.kept.iter().map(row));
        }
        let loads = self.loads();
        if !loads.is_empty() {
            text.push_str("\n| load | server | connections | calls/s | p50 µs | p99 µs | processor µs | of the bare path |\n|---|---|---|---|---|---|---|---|\n");
            text.push_str(&loads);
        }
        let parts = self.parts();
        if !parts.is_empty() {
            text.push_str("\n| processor µs for each call | server | connections | HTTP | writer | worker | others |\n|---|---|---|---|---|---|---|\n");
            text.push_str(&parts);
        }
        let pages = self.pages();
        if !pages.is_empty() {
            text.push_str("\n| page of the console | p50 ms | p95 ms | KB |\n|---|---|---|---|\n");
            text.push_str(&pages);
        }
        let rest: Vec<_> = self
            .figures
            .all()
            .filter(|(name, _)| !name.contains("/part/") && !name.starts_with("console/"))
            .filter(|(name, _)| !LOADED.iter().any(|end| name.ends_with(end)))
            .collect();
        if !rest.is_empty() {
            text.push_str("\n| figure | value |\n|---|---|\n");
            for (name, value) in rest {
                let _ = writeln!(text, "| {name} | {value:.2} |");
            }
        }
        text
    }

    fn loads(&self) -> String {
        let mut text = String::new();
        let kinds = Kind::ALL.map(Kind::name);
        let slow = ["slow-read", "slow-effect"];
        for kind in kinds.into_iter().chain(slow) {
            for server in ["handler", "path", "plexusd", "small", "large"] {
                for c in CONNECTIONS {
                    let name = format!("{kind}/{server}/{c}");
                    let figure = |what: &str| self.figures.get(&format!("{name}/{what}"));
                    let (Some(rate), Some(p50), Some(p99)) =
                        (figure("perSecond"), figure("p50"), figure("p99"))
                    else {
                        continue;
                    };
                    let processor =
                        figure("processor").map_or(String::new(), |us| format!("{us:.0}"));
                    let path = format!("{kind}/path/{c}/perSecond");
                    let share = self.figures.get(&path).filter(|_| server == "plexusd");
                    let share = share.map_or(String::new(), |path| {
                        format!("{:.0} %", 100.0 * rate / path)
                    });
                    let _ = writeln!(
                        text,
                        "| {kind} | {server} | {c} | {} | {p50:.0} | {p99:.0} | {processor} | {share} |",
                        grouped(rate)
                    );
                }
            }
        }
        text
    }

    /// The pages of the console that were asked for.
    fn pages(&self) -> String {
        let mut text = String::new();
        for page in console::pages() {
            let figure = |what: &str| self.figures.get(&console::figure(&page, what));
            let (Some(p50), Some(p95), Some(bytes)) =
                (figure("p50/us"), figure("p95/us"), figure("bytes"))
            else {
                continue;
            };
            let (p50, p95, kb) = (p50 / 1e3, p95 / 1e3, bytes / 1e3);
            let _ = writeln!(text, "| `{page}` | {p50:.1} | {p95:.1} | {kb:.1} |");
        }
        text
    }

    /// Which threads had the processor, of the loads that promises are about.
    fn parts(&self) -> String {
        let mut text = String::new();
        for kind in ["read", "effect"] {
            for server in ["path", "plexusd"] {
                for c in CONNECTIONS {
                    let part = |part: &str| {
                        let name = format!("{kind}/{server}/{c}/part/{part}");
                        self.figures.get(&name)
                    };
                    if part("http").is_none() {
                        continue;
                    }
                    let _ = write!(text, "| {kind} | {server} | {c} |");
                    for name in ["http", "writer", "worker", "others"] {
                        let _ = write!(text, " {:.1} |", part(name).unwrap_or_default());
                    }
                    text.push('\n');
                }
            }
        }
        text
    }

    /// Puts five figures and the picture into `docs/performance.md` below `root`, and all of them into its notes.
    ///
    /// # Errors
    /// When a page has no place for them, or cannot be written, or a headline is no promise.
    pub(crate) fn write(&self, root: &Path) -> Result<()> {
        place(&root.join("docs/performance.md"), &self.headlines()?)?;
        place(&root.join("tests/reports/performance.md"), &self.text())?;
        let picture = picture::draw(&self.figures, CONNECTIONS);
        std::fs::write(root.join("docs/images/performance.svg"), picture)?;
        Ok(())
    }

    fn headlines(&self) -> Result<String> {
        let missed = self.kept.iter().filter(|p| !p.kept).count();
        let mut text = format!(
            "**{missed} of {} targets are missed.**\n\n| target | bound | measured | |\n|---|---|---|---|\n",
            self.kept.len()
        );
        for what in HEADLINES {
            let found = self.kept.iter().find(|p| p.what == what);
            text.push_str(&row(found.with_context(|| format!("no promise {what}"))?));
        }
        text.push('\n');
        for (name, value) in &self.about {
            let _ = writeln!(text, "- {name}: {value}");
        }
        text.push_str("\n![Calls a second](images/performance.svg)\n");
        Ok(text)
    }
}

fn row(kept: &Kept) -> String {
    let mark = if kept.kept { "kept" } else { "**missed**" };
    format!(
        "| {} | {} | {} | {mark} |\n",
        kept.what, kept.bound, kept.value
    )
}

/// Puts `figures` between the marks of a page.
fn place(page: &Path, figures: &str) -> Result<()> {
    let text = std::fs::read_to_string(page).with_context(|| page.display().to_string())?;
    let (before, rest) = text.split_once(BEGIN).context("the page has no figures")?;
    let (_, after) = rest.split_once(END).context("the figures have no end")?;
    std::fs::write(page, format!("{before}{BEGIN}\n{figures}{END}{after}"))?;
    Ok(())
}

/// How the figures of a load end.
const LOADED: [&str; 4] = ["/perSecond", "/p50", "/p99", "/processor"];
