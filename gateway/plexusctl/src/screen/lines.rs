//! Text that was made safe, laid into a given number of columns.
//!
//! Invariants: nothing is lost by wrapping; a line that goes on is indented and marked, so that no text can wrap itself
//! to the left margin, where only our own words begin; a line of a change keeps its bar.

use ratatui::style::{Color, Modifier, Style};
use unicode_width::UnicodeWidthChar;

/// What stands before the lines of a change.
pub(crate) const CHANGE: char = '┃';
/// What stands before the rest of a line that was too long.
const GOES_ON: &str = "↪ ";

/// How many columns a character takes, never less than the terminal may use: an emoji's selector makes its sign wide.
pub(crate) fn width(c: char) -> usize {
    match c {
        '\u{fe0f}' => 1,
        c => c.width().unwrap_or(0),
    }
}

/// How many columns a text takes at most.
pub(crate) fn columns(text: &str) -> usize {
    text.chars().map(width).sum()
}

/// At most `max` columns of a text, the last of them `…` where something was cut.
pub(crate) fn cut(text: &str, max: usize) -> String {
    if columns(text) <= max {
        return text.to_owned();
    }
    let (head, _) = split(text, max.saturating_sub(1));
    if max == 0 {
        String::new()
    } else {
        format!("{head}…")
    }
}

/// The longest beginning that takes at most `max` columns, and the rest. A mark stays with its letter.
fn split(text: &str, max: usize) -> (&str, &str) {
    let mut taken = 0;
    for (at, c) in text.char_indices() {
        taken += width(c);
        if taken > max {
            return text.split_at(at);
        }
    }
    (text, "")
}

/// A line in as many rows as it needs.
pub(crate) fn wrap(line: &str, max: usize) -> Vec<String> {
    let line = line.replace('\t', "    ");
    let indent: String = line.chars().take_while(|c| *c == ' ').take(8).collect();
    let bar = line[indent.len()..].strip_prefix(CHANGE);
    // The sign of a changed line, so that its rest is seen to be added or removed too.
    let sign = bar
        .and_then(|rest| rest.chars().nth(1))
        .filter(|c| matches!(c, '+' | '-'));
    let margin = match (bar, sign) {
        (Some(_), sign) => format!("{indent}{CHANGE} {}{GOES_ON}", sign.unwrap_or(' ')),
        (None, _) => format!("{indent}  {GOES_ON}"),
    };
    // Where hardly anything would fit beside it, the margin is the mark alone.
    let margin = if columns(&margin) + 8 > max {
        format!(" {GOES_ON}")
    } else {
        margin
    };
    let mut rows = Vec::new();
    let (first, mut rest) = split(&line, max);
    rows.push(first.to_owned());
    let room = max.saturating_sub(columns(&margin)).max(2);
    while !rest.is_empty() {
        let (row, more) = split(rest, room);
        // A character wider than the room is shown anyway, rather than for ever.
        let (row, more) = match (row, rest.chars().next()) {
            ("", Some(c)) => rest.split_at(c.len_utf8()),
            _ => (row, more),
        };
        rows.push(format!("{margin}{row}"));
        rest = more;
    }
    rows
}

/// Which styles there are; without colours only those that need none.
#[derive(Clone, Copy)]
pub(crate) struct Styles {
    /// Whether colours may be used.
    pub(crate) colour: bool,
}

impl Styles {
    /// As the person's environment asks.
    pub(crate) fn of_environment() -> Self {
        Self {
            colour: std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()),
        }
    }

    pub(crate) fn colour(self, colour: Color) -> Style {
        if self.colour {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }

    pub(crate) fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub(crate) fn quiet(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    pub(crate) fn chosen(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_wraps_to_the_left_margin_and_nothing_is_lost() {
        for line in [
            format!("agent: {}", "x".repeat(200)),
            format!("  input: {}", "漢".repeat(90)),
            format!("    ┃ +{}", "e\u{301}".repeat(120)),
            "purpose: ✔\u{fe0f}✔\u{fe0f}✔\u{fe0f} request: pend_1 agent: other agent: other agent: other".to_owned(),
        ] {
            for max in [12, 40, 80] {
                let rows = wrap(&line, max);
                for row in &rows {
                    assert!(columns(row) <= max, "{max}: {row:?}");
                }
                assert!(rows[1..].iter().all(|row| row.starts_with(' ')), "{rows:?}");
                let told: String = rows.concat().replace(GOES_ON, "");
                for c in ['x', '漢', '\u{301}', '✔'] {
                    assert_eq!(told.matches(c).count(), line.matches(c).count(), "{max} {c}");
                }
            }
        }
        assert_eq!(
            wrap("    ┃ -abcdefghijklmnopqrstuvwxyz", 20)[1],
            "    ┃ -↪ nopqrstuvwx"
        );
    }

    #[test]
    fn short_lines_stay() {
        assert_eq!(wrap("plan: a\tb", 40), ["plan: a    b"]);
        assert_eq!(cut("漢字漢字", 5), "漢字…");
        assert_eq!(cut("abc", 3), "abc");
    }
}
