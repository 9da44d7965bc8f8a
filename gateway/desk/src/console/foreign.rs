//! Text that is not ours, as HTML that only shows it.
//!
//! Invariants: what comes out holds no character that begins markup, ends an attribute, moves, hides or turns text;
//! such characters appear as marked `\u{…}`. It is the only way in which a template takes text as it is.

use askama::filters::HtmlSafe;
use plexus_protocol::unseen::{self, Glyph, is_seen_joiner};
use std::fmt::{self, Write};

/// Bytes that a character of a short text has as HTML, on average at most: `<` has five.
const WIDEST: usize = 6;
/// A text that is so short is not made shorter.
const SHORTEST: usize = 40;

/// Foreign text, escaped and marked. Templates print it as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ForeignText(String);

impl HtmlSafe for ForeignText {}

impl fmt::Display for ForeignText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ForeignText {
    /// One line: line breaks and tabs are marked too.
    pub(super) fn line(text: &str) -> Self {
        Self(escaped(text, |_, _| false))
    }

    /// A longer text: its line breaks and tabs stay, and joiners that a reader sees.
    pub(super) fn text(text: &str) -> Self {
        Self(escaped(text, |at, c| {
            matches!(c, '\n' | '\t') || is_seen_joiner(text, at)
        }))
    }

    /// One line of words: as [`line`](Self::line), but joiners that a reader sees stay.
    pub(super) fn words(text: &str) -> Self {
        Self(escaped(text, |at, _| is_seen_joiner(text, at)))
    }

    /// Words, as [`short`](Self::short).
    pub(super) fn short_words(text: &str, most: usize) -> Self {
        Self::fitted(text, most, Self::words)
    }

    /// The beginning of a longer text, at most about `bytes` as HTML; and how many bytes of the text that took. Joiners that
    /// a reader sees stay where it is `prose`, which no name is.
    pub(super) fn beginning(text: &str, bytes: usize, prose: bool) -> (Self, usize) {
        let (mut shown, mut taken) = (String::new(), 0);
        // In pieces: what stands on what is judged within each, which is enough.
        for piece in pieces(text) {
            let said = escaped(piece, |at, c| {
                matches!(c, '\n' | '\t') || prose && is_seen_joiner(text, taken + at)
            });
            if taken > 0 && shown.len() + said.len() > bytes {
                break;
            }
            shown.push_str(&said);
            taken += piece.len();
        }
        (Self(shown), taken)
    }

    /// The end of a longer text, at most about `bytes` as HTML; and whether something stands before it.
    pub(super) fn ending(text: &str, bytes: usize) -> (Self, bool) {
        let all: Vec<&str> = pieces(text).collect();
        let mut left = bytes;
        let fits = all.iter().rev().take_while(|piece| {
            let size = Self::text(piece).len();
            let is_room = size <= left;
            left = left.saturating_sub(size);
            is_room
        });
        let fits = fits.count();
        let shown: String = all[all.len() - fits..].concat();
        (Self::text(&shown), fits < all.len())
    }

    /// One line of at most `most` characters; the last is `…` where something was cut.
    ///
    /// If much of it has to be written out it is shorter, so that a page stays small whatever it shows.
    pub(super) fn short(text: &str, most: usize) -> Self {
        Self::fitted(text, most, Self::line)
    }

    fn fitted(text: &str, most: usize, painted: impl Fn(&str) -> Self) -> Self {
        let mut characters = most;
        loop {
            let line = painted(&plexus_protocol::words::cut(text, characters));
            if line.len() <= most * WIDEST || characters < SHORTEST {
                return line;
            }
            characters = characters * 3 / 4;
        }
    }

    /// Size in bytes.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// `text` in pieces of at most 64 characters.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let end = rest.char_indices().nth(64).map_or(rest.len(), |(at, _)| at);
        let (piece, after) = rest.split_at(end);
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

fn escaped(text: &str, keep: impl Fn(usize, char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for one in unseen::shown(text, keep, is_unseen) {
        // Writing to a String cannot fail.
        let _ = match one {
            Glyph::Written(words) => write!(out, "<b class=u>{words}</b>"),
            Glyph::Plain(c @ ('<' | '>' | '&' | '"' | '\'' | '`')) => {
                write!(out, "&#{};", u32::from(c))
            }
            Glyph::Plain(c) => write!(out, "{c}"),
        };
    }
    out
}

/// What no view shows as it is; and here private use, spaces of unusual width and what stands beyond every assigned plane
/// too: what a font makes of those is not ours to know.
fn is_unseen(c: char) -> bool {
    unseen::is_unseen(c)
        || matches!(
            u32::from(c),
            0xA0 | 0x1680 | 0x2000..=0x200A | 0x202F | 0x205F | 0x3000 | 0xE000..=0xF8FF | 0xE0000..
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_is_shown_and_not_obeyed() {
        for (text, shown) in [
            (
                "<script>alert(1)</script>",
                "&#60;script&#62;alert(1)&#60;/script&#62;",
            ),
            ("a\" onload='x' `", "a&#34; onload=&#39;x&#39; &#96;"),
            ("file\u{202e}txt", "file<b class=u>\\u{202e}</b>txt"),
            (
                "a\nb\x1b[2J",
                "a<b class=u>\\n</b>b<b class=u>\\u{1b}</b>[2J",
            ),
            ("{{ 7*7 }} &lt;", "{{ 7*7 }} &#38;lt;"),
            ("Größe 3 → 4, 日本語 🙂", "Größe 3 → 4, 日本語 🙂"),
        ] {
            assert_eq!(ForeignText::line(text).to_string(), shown);
        }
        assert_eq!(
            ForeignText::text("a\n\tb\r").to_string(),
            "a\n\tb<b class=u>\\r</b>"
        );
        assert_eq!(ForeignText::short("abcdef", 4).to_string(), "abc…");
    }

    #[test]
    fn a_pile_of_marks_is_taken_apart() {
        let pile: String = std::iter::once('e')
            .chain(std::iter::repeat_n('\u{301}', 40))
            .collect();
        let shown = ForeignText::line(&pile).to_string();
        assert_eq!(shown.matches('\u{301}').count(), unseen::MAX_MARKS);
        assert_eq!(shown.matches("<b class=u>").count(), 40 - unseen::MAX_MARKS);
        assert_eq!(ForeignText::line("e\u{301}").to_string(), "e\u{301}");
    }

    #[test]
    fn beginnings_are_bounded_and_together_they_are_all() {
        let text = "\u{202e}<ä".repeat(1_000);
        let (mut rest, mut seen) = (text.as_str(), String::new());
        while !rest.is_empty() {
            let (said, taken) = ForeignText::beginning(rest, 2_000, true);
            assert!(taken > 0 && said.len() <= 2_000);
            seen.push_str(&said.to_string());
            rest = &rest[taken..];
        }
        assert_eq!(seen, ForeignText::text(&text).to_string());
    }

    #[test]
    fn seen_joiner_stays_in_prose_and_in_no_name() {
        // At each end of a piece too.
        let prose = "می\u{200c}خواهم ".repeat(40);
        let family = "👩\u{200d}👧";
        let all = [
            ForeignText::text(&prose),
            ForeignText::words(&prose),
            ForeignText::beginning(&prose, 10_000, true).0,
        ];
        assert!(all.iter().all(|said| said.to_string() == prose), "{all:?}");
        assert_eq!(ForeignText::short_words(family, 9).to_string(), family);
        let name = "می<b class=u>\\u{200c}</b>خواهم ".repeat(40);
        assert_eq!(
            ForeignText::beginning(&prose, 50_000, false).0.to_string(),
            name
        );
        assert_eq!(ForeignText::line(&prose).to_string(), name);
        let attack = "pay\u{200c}pal";
        assert_eq!(ForeignText::words(attack), ForeignText::line(attack));
    }

    #[test]
    fn a_short_text_of_hidden_characters_is_shorter() {
        let said = ForeignText::short(&"\u{202e}".repeat(1_000), 400);
        assert!(said.len() <= 400 * WIDEST, "{}", said.len());
        assert!(said.to_string().ends_with('…'), "{said}");
        let plain = ForeignText::short(&"<".repeat(1_000), 400);
        assert_eq!(plain.to_string().matches("&#60;").count(), 399);
    }

    #[test]
    fn an_ending_is_bounded() {
        let text = "a\u{202e}<".repeat(1_000) + "end";
        let (said, is_cut) = ForeignText::ending(&text, 2_000);
        assert!(is_cut && said.len() <= 2_000 && said.to_string().ends_with("end"));
        let (said, is_cut) = ForeignText::ending("all", 2_000);
        assert_eq!((said.to_string().as_str(), is_cut), ("all", false));
    }

    proptest! {
        #[test]
        fn nothing_but_our_own_mark_is_markup(text in any::<String>()) {
            for said in [ForeignText::line(&text), ForeignText::text(&text)] {
                let bare = said.to_string().replace("<b class=u>", "").replace("</b>", "");
                prop_assert!(!bare.contains(['<', '>', '"', '\'', '`']), "{bare:?}");
                let stays = |at, c: char| matches!(c, '\n' | '\t') || is_seen_joiner(&bare, at);
                prop_assert!(!bare.char_indices().any(|(at, c)| is_unseen(c) && !stays(at, c)), "{bare:?}");
            }
        }
    }
}
