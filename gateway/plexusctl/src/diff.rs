//! Differences as a person reads them: escaped, bounded, in colour on a terminal, fit for a pager.
//!
//! Invariant: every line of a file stands behind a bar, however narrow the terminal is, so that no content imitates what this
//! command says itself.

use crate::{
    owner::is_digest,
    screen::{self, lines::wrap},
};
use plexus_client::{Stop, out, text};
use plexus_owner::plan::{Form, Plan, Preview};
use std::io::Write as _;

/// What every line of a difference begins with.
const BAR: &str = "  │ ";
/// The same of a text, whose lines have no colours.
const TEXT_BAR: &str = "  ┊ ";

/// How many lines are shown of a change that another command shows whole; a card shows as many.
const SHORT: usize = 200;
/// How many characters of a line of such a change.
const LINE: usize = 2_000;

/// Colours of a difference.
pub(crate) const ADDED: &str = "\x1b[32m";
pub(crate) const REMOVED: &str = "\x1b[31m";
const PLACE: &str = "\x1b[36m";

/// Writes lines that are escaped already to stdout, where that is a terminal each in its colour and in rows of its columns:
/// the only escape sequences are these.
pub(crate) fn print<'l>(
    lines: impl Iterator<Item = &'l str>,
    colour: impl Fn(&str) -> Option<&'static str>,
) -> Result<(), Stop> {
    let mut stdout = anstream::stdout().lock();
    let max = screen::columns();
    let write = || {
        for line in lines {
            out::note_commands(line);
            let rows = max.map_or_else(|| vec![line.to_owned()], |max| wrap(line, max));
            for row in rows {
                match colour(line) {
                    Some(colour) => writeln!(stdout, "{colour}{row}\x1b[0m")?,
                    None => writeln!(stdout, "{row}")?,
                }
            }
        }
        stdout.flush()
    };
    out::settle(write())
}

/// Lines to print: what we say, and what a difference holds.
#[derive(Debug, Default)]
pub(crate) struct Page(Vec<String>);

impl Page {
    /// Adds a line of our own. Foreign text in it was made safe before.
    pub(crate) fn say(&mut self, line: impl Into<String>) {
        self.0.push(line.into());
    }

    /// Adds a difference; `cut` says that the rest is not here.
    pub(crate) fn diff(&mut self, diff: &str, cut: bool) {
        self.content(BAR, diff, cut, None);
    }

    fn content(&mut self, bar: &str, content: &str, cut: bool, rest: Option<&str>) {
        let mut lines = text::lines(content);
        let most = rest.map_or(usize::MAX, |_| SHORT);
        let mut has_long = false;
        for mut line in lines.by_ref().take(most) {
            let end = line.char_indices().nth(LINE).filter(|_| rest.is_some());
            if let Some((end, _)) = end {
                line.truncate(end);
                line.push('…');
                has_long = true;
            }
            self.say(format!("{bar}{line}"));
        }
        match (lines.count(), rest) {
            (0, Some(rest)) if has_long => self.say(format!("    … longer lines: {rest}")),
            (0, _) | (_, None) => {}
            // Of a part nobody knows how many lines the whole has.
            (_, Some(rest)) if cut => self.say(format!("    … more lines: {rest}")),
            (more, Some(rest)) => self.say(format!("    … {more} more lines: {rest}")),
        }
        if cut {
            self.say("    (not all of it is shown)");
        }
    }

    /// Adds the warnings of a plan, what it says by name, and its difference. The difference of files is without names: it has
    /// them itself. `rest` is the command that shows all of a long one; without it, all is shown.
    pub(crate) fn plan(&mut self, plan: &Plan, rest: Option<&str>) {
        for warning in &plan.warnings {
            self.say(format!("warning: {}", text::line(warning)));
        }
        let preview = &plan.preview;
        let mut names = preview.facts.iter().map(|fact| &*fact.name);
        let is_of_files = names.any(|name| ["path", "file"].contains(&name));
        if preview.diff.is_none() || !is_of_files {
            self.facts(preview);
        }
        match (&preview.diff, preview.form) {
            (Some(diff), Form::Diff) => self.content(BAR, diff, preview.cut, rest),
            (Some(text), _) => self.content(TEXT_BAR, text, preview.cut, rest),
            (None, _) => {}
        }
    }

    /// Adds what a preview says by name, as of an entry in a calendar.
    fn facts(&mut self, preview: &Preview) {
        // The summary names the path, and a digest tells a person nothing.
        let facts = preview.facts.iter();
        let facts: Vec<_> = facts
            .filter(|fact| fact.name != "path" && !is_digest(&fact.value))
            .collect();
        if facts.is_empty() && preview.diff.is_none() {
            self.say("  (no difference is shown: not text, or too large to compare)");
        }
        for fact in facts {
            self.say(format!(
                "  {}: {}",
                text::short(&fact.name, 80),
                text::line(&fact.value)
            ));
        }
    }

    /// All of it as text.
    pub(crate) fn text(&self) -> String {
        self.0.join("\n")
    }

    /// Writes it to stdout; on a terminal, added and removed lines have their colours.
    pub(crate) fn print(&self) -> Result<(), Stop> {
        print(self.0.iter().map(String::as_str), |line| {
            match line.strip_prefix(BAR)?.chars().next()? {
                '+' => Some(ADDED),
                '-' => Some(REMOVED),
                '@' => Some(PLACE),
                _ => None,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_plan_names_what_shows_the_rest() {
        let shown = |cut, rest| {
            let mut page = Page::default();
            page.content(BAR, &"+x\n".repeat(203), cut, rest);
            page.text()
        };
        let more = "\n  │ +x\n    … 3 more lines: plexusctl undo --all evt_1";
        let rest = Some("plexusctl undo --all evt_1");
        assert!(shown(false, rest).ends_with(more));
        assert_eq!(shown(false, rest).lines().count(), SHORT + 1);
        assert!(shown(true, rest).contains("\n    … more lines: plexusctl"));
        assert_eq!(shown(false, None).lines().count(), 203);
        let mut page = Page::default();
        page.content(BAR, &format!("+{}\n", "é".repeat(LINE)), false, rest);
        let end = "é…\n    … longer lines: plexusctl undo --all evt_1";
        assert!(page.text().ends_with(end));
        assert!(page.text().chars().count() < LINE + 100);
    }

    #[test]
    fn content_imitates_nothing() {
        let mut page = Page::default();
        page.say("took back");
        page.diff("+one\u{1b}[2J\n-two\n\u{202e}three\n", true);
        assert_eq!(
            page.text(),
            "took back\n  │ +one\\u{1b}[2J\n  │ -two\n  │ \\u{202e}three\n    (not all of it is shown)"
        );
    }
}
