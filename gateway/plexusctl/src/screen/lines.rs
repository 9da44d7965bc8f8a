//! Text that was made safe, laid into a given number of columns.
//!
//! Invariants: nothing but one space between two words is lost by wrapping; a line that goes on is indented and marked, so
//! that no text can wrap itself to the left margin, where only our own words begin; a line of a change or of a text keeps its
//! bar. A word is cut only where a row cannot hold it. A command at the end of a line stays in one piece where a row can hold
//! it. Else, behind a colon or a bracket, its rows end as a shell goes on, and the later ones are indented without a mark:
//! pasted together they are the command.

use ratatui::style::{Color, Modifier, Style};
use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::UnicodeWidthChar;

/// What stands before the lines of a change.
pub(crate) const CHANGE: char = '┃';
/// What stands before the lines of anything else that another wrote.
const BARS: [char; 3] = [CHANGE, '│', '┊'];
/// What our own commands begin with.
const COMMANDS: [&str; 2] = ["plexusctl ", "plexus "];
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

/// The longest beginning that takes at most `max` columns, and the rest. The parts of a letter stay together: marks and
/// vowel signs with it, both halves of a flag. A pile of marks that no row holds is cut.
fn split(text: &str, max: usize) -> (&str, &str) {
    let mut taken = 0;
    for (at, c) in text.char_indices() {
        taken += width(c);
        if taken > max {
            // The rest of a pile is not read for each row: whether a letter begins here is seen in these characters.
            let (with, _) = text.split_at(at + c.len_utf8());
            let mut letters = with.grapheme_indices(true);
            let begins = letters.next_back().map(|(begins, _)| begins);
            return text.split_at(begins.filter(|begins| *begins > 0).unwrap_or(at));
        }
    }
    (text, "")
}

/// What one row holds of a line, and the rest, whose rows have `room` columns.
fn row_of(line: &str, max: usize, room: usize) -> (&str, &str) {
    let (row, rest) = split(line, max);
    if rest.is_empty() {
        return (row, rest);
    }
    let indent = row.len() - row.trim_start().len();
    let begins = COMMANDS.iter().filter_map(|name| row.rfind(name)).max();
    // One in brackets goes down with its bracket.
    let begins = begins.and_then(|at| Some(row[..at].rfind(' ')? + 1));
    let fits = |at: usize| split(&line[at..], room).1.is_empty();
    let command = begins.filter(|at| *at > indent + 1 && fits(*at));
    // Behind this word, or the one before, unless a long word would leave the row nearly empty.
    let word = match rest.starts_with(' ') {
        true => Some(row.len()),
        false => row.rfind(' '),
    };
    let word = word.filter(|at| *at > indent && columns(&row[..*at]) * 3 > max);
    match command.map(|at| at - 1).or(word) {
        Some(at) if line[at..].starts_with(' ') => (&line[..at], &line[at + 1..]),
        _ => (row, rest),
    }
}

/// Where the command begins with which a line of our own ends, if it does: behind what leads to it, and no row of a table.
fn command_at_end(line: &str) -> Option<usize> {
    let name = COMMANDS.iter().filter_map(|name| line.rfind(name)).max()?;
    let word = line[..name].rfind(' ')? + 1;
    let begins = line[..word].rfind("PLEXUS_HOME=").unwrap_or(word);
    let (head, command) = line.split_at(begins);
    let is_prose = [", ", "; "].iter().any(|between| command.contains(between));
    // A folder's name ends so too.
    let is_named = matches!(&line[word..name], "" | "(");
    let is_led = head.ends_with(": ") || head.ends_with('(') || command.starts_with('(');
    let unquoted = command.replace(r"'\''", "");
    let is_table = unquoted
        .split('\'')
        .step_by(2)
        .any(|part| part.contains("  "));
    let is_ours = is_named && !is_prose && !head.contains('“') && !head.trim().is_empty();
    (is_ours && is_led && !is_table).then_some(begins)
}

/// A command that is longer than a row, in rows that a shell reads as one line; none where a word of it is too long.
fn command_rows(command: &str, room: usize) -> Option<Vec<String>> {
    let (mut rows, mut rest) = (Vec::new(), command);
    while columns(rest) > room {
        let (row, _) = split(rest, room.saturating_sub(2));
        let spaces = row.match_indices(' ').map(|(at, _)| at);
        // An apostrophe within a quoted word is written so, and ends no word.
        let quotes = |at: usize| row[..at].replace(r"'\''", "").matches('\'').count();
        let mut between = spaces.filter(|at| quotes(*at) % 2 == 0);
        let at = between.next_back()?;
        rows.push(format!("{} \\", &row[..at]));
        rest = &rest[at + 1..];
    }
    rows.push(rest.to_owned());
    Some(rows)
}

/// A text for standard output: where that is a terminal, each line in rows of its columns. A line that is a command or an
/// address, which is there to be copied, is left to the terminal.
pub(crate) fn laid(text: &str) -> String {
    match super::columns() {
        None => text.to_owned(),
        Some(max) => laid_in(text, max),
    }
}

fn laid_in(text: &str, max: usize) -> String {
    let is_copied = |line: &str| {
        let line = line.trim_start();
        let line = line.strip_prefix("next: ").unwrap_or(line);
        // A home whose path has a space is quoted.
        let of_home = line.strip_prefix("PLEXUS_HOME=");
        let command = of_home.and_then(|rest| rest.find(" plexus").map(|at| &rest[at + 1..]));
        let line = command.unwrap_or(line);
        // A program that is named by its path.
        let line = match line.split_once(' ') {
            Some((program, _)) if program.starts_with('/') => {
                &line[program.rfind('/').map_or(0, |at| at + 1)..]
            }
            _ => line,
        };
        let begins = ["http://", "https://"].iter().chain(&COMMANDS);
        begins.into_iter().any(|begins| line.starts_with(begins))
    };
    let rows = text.split('\n').flat_map(|line| match is_copied(line) {
        true => vec![line.to_owned()],
        false => wrap(line, max),
    });
    rows.collect::<Vec<_>>().join("\n")
}

/// A line in as many rows as it needs.
pub(crate) fn wrap(line: &str, max: usize) -> Vec<String> {
    let line = line.replace('\t', "    ");
    let indent: String = line.chars().take_while(|c| *c == ' ').take(8).collect();
    let mut begins = line[indent.len()..].chars();
    let bar = begins.next().filter(|c| BARS.contains(c));
    // The sign of a changed line, so that its rest is seen to be added or removed too.
    let sign = begins
        .nth(1)
        .filter(|c| bar == Some(CHANGE) && matches!(c, '+' | '-'));
    let margin = match bar {
        Some(bar) => format!("{indent}{bar} {}{GOES_ON}", sign.unwrap_or(' ')),
        None => format!("{indent}  {GOES_ON}"),
    };
    // If hardly anything would fit beside it, the margin is the mark alone.
    let margin = if columns(&margin) + 8 > max {
        format!(" {GOES_ON}")
    } else {
        margin
    };
    let room = max.saturating_sub(columns(&margin)).max(2);
    let is_long = bar.is_none() && columns(&line) > max;
    let ends = command_at_end(&line).filter(|at| is_long && columns(&line[*at..]) > room);
    if let Some(at) = ends
        && let Some(command) = command_rows(&line[at..], room)
    {
        let mut rows = wrap(line[..at].trim_end(), max);
        let (first, others) = (command.iter().take(1), command.iter().skip(1));
        rows.extend(first.map(|row| format!("{margin}{row}")));
        let below = " ".repeat(columns(&margin));
        rows.extend(others.map(|row| format!("{below}{row}")));
        return rows;
    }
    let mut rows = Vec::new();
    let (first, mut rest) = row_of(&line, max, room);
    rows.push(first.to_owned());
    while !rest.is_empty() {
        let (row, more) = row_of(rest, room, room);
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
    fn no_letter_is_cut_in_two() {
        for (text, first) in [
            ("xका", "x"),
            ("x🇯🇵", "x"),
            ("xe\u{301}y", "xe\u{301}"),
            ("か\u{3099}漢", "か\u{3099}"),
        ] {
            assert_eq!(split(text, 2).0, first);
        }
        // A long one takes no minutes: each row is looked for from its own beginning.
        let pile = "ा".repeat(300_000);
        assert_eq!(columns(split(&pile, 4).0), 4);
        assert_eq!(wrap(&pile, 6).concat().matches('ा').count(), 300_000);
        let commands = "to plexusctl ".repeat(100_000);
        assert!(wrap(&commands, 40).len() > 30_000);
        assert_eq!(cut("कार्यक्षेत्र", 4), "का…");
    }

    #[test]
    fn words_and_commands_stay_whole_and_bars_go_on() {
        let card = "input: one two three four\n    │ said by an agent, request: pend_2\n    ┊ of a note that is longer";
        assert_eq!(
            laid_in(card, 22),
            "input: one two three\n  ↪ four\n    │ said by an\n    │  ↪ agent,\n    │  ↪ request:\n    │  ↪ pend_2\n    ┊ of a note that\n    ┊  ↪ is longer"
        );
        let told = "it still waits. To answer: plexusctl approvals watch";
        assert_eq!(
            laid_in(told, 40),
            "it still waits. To answer:\n  ↪ plexusctl approvals watch"
        );
        let told = "it was refused (plexusctl changes cs_0123456789)";
        assert_eq!(
            laid_in(told, 40),
            "it was refused\n  ↪ (plexusctl changes cs_0123456789)"
        );
        let told = "  it did not: plexusctl unknown settle evt_0123456789 --did-not --path 'a b'";
        assert_eq!(
            laid_in(told, 44),
            "  it did not:\n    ↪ plexusctl unknown settle \\\n      evt_0123456789 --did-not --path 'a b'"
        );
        let told =
            r"  it did not: plexusctl unknown settle evt_0123456789 --path 'it'\''s a folder'";
        assert_eq!(
            laid_in(told, 44),
            concat!(
                "  it did not:\n    ↪ plexusctl unknown settle \\\n",
                r"      evt_0123456789 --path \",
                "\n",
                r"      'it'\''s a folder'"
            )
        );
        // Words behind a command are no part of it, and a line of a change gets nothing that it has not.
        for other in [
            "see plexusctl changes cs_0123456789, or plexusctl activity; then more",
            "    ┃ +see: plexusctl unknown settle evt_0123456789 --did-not",
            "an app said plexusctl unknown settle evt_0123456789 --did-not",
            "notes: plexusctl approvals show pend_0123456789  waits since 10:00",
        ] {
            assert!(!laid_in(other, 30).contains('\\'), "{other}");
        }
        // What is there to be copied is one line for the terminal.
        for copied in [
            "    plexus enroll plx_enroll_0123456789",
            "    PLEXUS_HOME='/a home' plexus enroll plx_enroll_0123456789",
            "next: plexusctl approvals approve pend_0123456789",
            "http://127.0.0.1:7077/admin/enter",
        ] {
            assert_eq!(laid_in(copied, 20), copied);
        }
        // An agent's words are never that.
        let purpose = "purpose: “plexusctl approvals approve request: pend_2”";
        assert!(laid_in(purpose, 20).lines().all(|row| columns(row) <= 20));
    }

    #[test]
    fn short_lines_stay() {
        assert_eq!(wrap("plan: a\tb", 40), ["plan: a    b"]);
        assert_eq!(cut("漢字漢字", 5), "漢字…");
        assert_eq!(cut("abc", 3), "abc");
    }
}
