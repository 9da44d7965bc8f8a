//! Text from agents, notes, workers and the gateway, made safe to show.
//!
//! Invariant: what these functions return holds no character that moves the cursor, changes the direction of writing,
//! hides, or starts an escape sequence, nor more marks on one letter than any language needs, which would grow over the
//! lines above; such characters appear as `\u{…}`, so that they are seen instead of obeyed. In words, [`lines`] and
//! [`block`]s, though not in names, joiners that are seen within words stay.

use plexus_protocol::{
    unseen::{self, Glyph, is_seen_in_word},
    words::cut,
};

/// One line: line breaks and tabs are escaped too.
#[must_use]
pub fn line(text: &str) -> String {
    escaped(text, |_, _| false)
}

/// One line of words: as [`line()`], but a joiner that is seen within a word stays.
#[must_use]
pub fn words(text: &str) -> String {
    escaped(text, |at, _| is_seen_in_word(text, at))
}

/// Items as one line.
#[must_use]
pub fn listed(items: &[impl ToString], between: &str) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    line(&items.join(between))
}

/// The lines of a longer text. Tabs stay: they move right only, and files are full of them.
pub fn lines(text: &str) -> impl Iterator<Item = String> {
    text.lines()
        .map(|line| escaped(line, |at, c| c == '\t' || is_seen_in_word(line, at)))
}

/// A longer text for a terminal: its own line breaks stay, nothing else that a terminal obeys.
#[must_use]
pub fn block(text: &str) -> String {
    escaped(text, |at, c| {
        matches!(c, '\n' | '\t') || is_seen_in_word(text, at)
    })
}

/// At most `max` characters of one line, the last of them `…` where something was cut.
#[must_use]
pub fn short(text: &str, max: usize) -> String {
    cut(&line(text), max)
}

fn escaped(text: &str, keep: impl Fn(usize, char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for one in unseen::shown(text, keep, unseen::is_unseen) {
        match one {
            Glyph::Plain(c) => out.push(c),
            Glyph::Written(words) => out.push_str(&words),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_protocol::unseen::is_unseen;
    use proptest::prelude::*;

    #[test]
    fn controls_and_directions_are_seen_not_obeyed() {
        assert_eq!(line("a\x1b[2Jb\r\nc\td"), r"a\u{1b}[2Jb\r\nc\td");
        assert_eq!(line("file\u{202e}txt.exe"), r"file\u{202e}txt.exe");
        let seen = r"\u{9b}31m\u{7f}\u{200b}\u{e0041}";
        assert_eq!(line("\u{9b}31m\u{7f}\u{200b}\u{e0041}"), seen);
        assert_eq!(block("a\tb\nc\x07"), "a\tb\nc\\u{7}");
        let tower = format!("a{}b", "\u{301}".repeat(6));
        let cut = format!("a{}{}b", "\u{301}".repeat(4), r"\u{301}".repeat(2));
        assert_eq!(line(&tower), cut);
        assert!(lines("a\r\nb\u{2028}c").eq(["a", r"b\u{2028}c"]));
    }

    #[test]
    fn ordinary_text_stays_as_it_is() {
        for text in ["Größe 3 → 4", "日本語", "🙂 [x] {y} \\n", "ÅÅ"] {
            assert_eq!(line(text), text);
        }
        let persian = "می\u{200c}خواهم";
        assert_eq!([words(persian), block(persian)], [persian, persian]);
        assert!(lines(persian).eq([persian]));
        assert_eq!(words("👩\u{200d}👧"), r"👩\u{200d}👧");
        assert_eq!(line(persian), r"می\u{200c}خواهم", "a name");
        assert_eq!(words("pay\u{200c}pal\n"), r"pay\u{200c}pal\n");
        assert_eq!(short("abcdef", 4), "abc…");
        assert_eq!(short("abcd", 4), "abcd");
    }

    proptest! {
        #[test]
        fn no_control_gets_through(text in any::<String>()) {
            prop_assert!(!line(&text).chars().any(is_unseen));
            let block = block(&text);
            let stays = |at, c: char| matches!(c, '\n' | '\t') || is_seen_in_word(&block, at);
            prop_assert!(!block.char_indices().any(|(at, c)| is_unseen(c) && !stays(at, c)));
            prop_assert!(lines(&text).all(|l| !l.contains('\n')));
            prop_assert!(short(&text, 10).chars().count() <= 10);
        }
    }
}
