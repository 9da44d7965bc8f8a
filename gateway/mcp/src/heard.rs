//! News of a call that goes on, in one line for the client that waits for it.
//!
//! Invariant: of its words one line is held, of [`LONGEST`] characters; none of them that a terminal obeys.

use plexus_protocol::{streamed, unseen::is_unseen};
use serde_json::Value;

/// Longest line, in characters.
const LONGEST: usize = 200;

/// News of a call that goes on.
#[derive(Clone, Debug)]
pub enum CallNews {
    /// The owner approved it, and it is under way.
    Approved,
    /// It goes on saying this.
    Text(String),
    /// An event, as it was streamed.
    Event(Value),
}

/// What was heard so far.
#[derive(Default)]
pub(crate) struct LastWords {
    pub(crate) approved: bool,
    /// Not told yet.
    pub(crate) is_news: bool,
    line: String,
    /// The text goes on behind the line.
    open: bool,
}

impl LastWords {
    pub(crate) fn hear(&mut self, heard: CallNews) {
        match heard {
            CallNews::Approved => {
                self.is_news |= !self.approved;
                self.approved = true;
            }
            CallNews::Text(text) => self.read(&text),
            CallNews::Event(event) => {
                if let Some(words) = streamed::words(&event) {
                    self.open = false;
                    self.read(&words);
                    self.open = false;
                }
            }
        }
    }

    /// The last line that says something.
    fn read(&mut self, text: &str) {
        for part in text.split_inclusive('\n') {
            let said = part.trim_end_matches(['\n', '\r']);
            if !said.trim().is_empty() {
                if !self.open {
                    self.line.clear();
                }
                self.line
                    .extend(said.chars().map(|c| if is_unseen(c) { ' ' } else { c }));
                self.is_news = true;
                self.open = true;
            }
            self.open &= !part.ends_with('\n');
        }
        let excess = self.line.chars().count().saturating_sub(LONGEST);
        if excess > 0 {
            let rest = self.line.chars().skip(excess + 1);
            self.line = std::iter::once('…').chain(rest).collect();
        }
    }

    /// Behind what is told of a call's state.
    pub(crate) fn behind(&self, state: &str) -> String {
        match self.line.trim() {
            "" => state.to_owned(),
            line => format!("{state}: {line}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn after(heard: Vec<CallNews>) -> String {
        let mut said = LastWords::default();
        heard.into_iter().for_each(|news| said.hear(news));
        said.behind("running")
    }
    fn text(text: &str) -> CallNews {
        CallNews::Text(text.to_owned())
    }

    #[test]
    fn last_line_is_told() {
        let command = CallNews::Event(json!({"kind": "command", "command": "ls docs"}));
        for (heard, line) in [
            (vec![], "running"),
            (
                vec![text("I lo"), text("ok at it.")],
                "running: I look at it.",
            ),
            (vec![text("one\ntwo\n"), text("\n")], "running: two"),
            (vec![text("one\n"), text("two")], "running: two"),
            (
                vec![text("one"), command.clone(), text("two")],
                "running: two",
            ),
            (vec![text("one"), command], "running: $ ls docs"),
            (vec![text("a\u{1b}[31mb\u{202e}c")], "running: a [31mb c"),
        ] {
            assert_eq!(after(heard), line);
        }
        let long = after(vec![text(&"x".repeat(500)), text(&"y".repeat(9))]);
        assert!(
            long.starts_with("running: …x") && long.ends_with("yyy"),
            "{long}"
        );
        assert_eq!(long.chars().count(), "running: ".len() + LONGEST);
    }
}
