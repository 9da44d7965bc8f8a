//! Characters that a reader does not see, or that move what stands around them. One list for every view, so that what is
//! marked in a terminal is marked in a browser too.

use unicode_width::UnicodeWidthChar as _;

/// Most marks without width of their own that follow one another: Biblical Hebrew and Vietnamese need three. A pile of
/// them covers the lines around it.
pub const MAX_MARKS: usize = 4;

/// A character of a text, as a view shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Glyph {
    /// As it is.
    Plain(char),
    /// Written out, so that it is seen instead of obeyed: `\u{202e}`.
    Written(String),
}

/// A text as a view shows it, character by character: what is `unseen`, ends a line or piles up is written out, but for
/// what the view keeps, which is asked with the byte where it begins.
pub fn shown(
    text: &str,
    keeps: impl Fn(usize, char) -> bool,
    unseen: impl Fn(char) -> bool,
) -> impl Iterator<Item = Glyph> {
    let mut marks = 0;
    text.char_indices().map(move |(at, c)| {
        marks = match c.width() {
            Some(0) => marks + 1,
            _ => 0,
        };
        match c {
            _ if keeps(at, c) => Glyph::Plain(c),
            '\n' => Glyph::Written("\\n".into()),
            '\r' => Glyph::Written("\\r".into()),
            '\t' => Glyph::Written("\\t".into()),
            _ if unseen(c) || marks > MAX_MARKS => {
                Glyph::Written(format!("\\u{{{:x}}}", u32::from(c)))
            }
            _ => Glyph::Plain(c),
        }
    })
}

/// Controls, format characters (direction, joiners, tags), separators that end a line, fillers that look like nothing.
/// From the Unicode categories Cc, Cf, Zl, Zp and the default-ignorable code points. Private use and spaces of unusual
/// width are left alone: some scripts write with them.
#[must_use]
pub fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(
            u32::from(c),
            0xAD | 0x34F
                | 0x600..=0x605
                | 0x61C
                | 0x6DD
                | 0x70F
                | 0x890..=0x891
                | 0x8E2
                | 0x115F..=0x1160
                | 0x17B4..=0x17B5
                | 0x180B..=0x180F
                | 0x200B..=0x200F
                | 0x2028..=0x202E
                | 0x2060..=0x206F
                | 0x2800
                | 0x3164
                | 0xFE00..=0xFE0E
                | 0xFEFF
                | 0xFFA0
                | 0xFFF0..=0xFFFB
                | 0x110BD
                | 0x110CD
                | 0x13430..=0x1343F
                | 0x1BCA0..=0x1BCA3
                | 0x1D173..=0x1D17A
                | 0xE0000..=0xE0FFF
        )
}

/// Most pictographs in one picture: a family has four. No row breaks within a picture, however long it is.
const MAX_JOINED: usize = 4;

/// Whether a joiner begins at this byte, and is seen by what it does: within a word, or U+200D between pictographs.
///
/// For running text alone: names are compared by what one sees. A terminal takes [`is_seen_in_word`]: many draw each
/// pictograph by itself, wider than the row is laid out for, and what they leave behind stands beside the next text.
#[must_use]
pub fn is_seen_joiner(text: &str, at: usize) -> bool {
    let is_picture = |(before, rest): (&str, &str)| {
        let mut joined = rest.strip_prefix('\u{200d}').unwrap_or_default().chars();
        joined.next().is_some_and(is_pictograph) && ends_in_picture(before)
    };
    is_seen_in_word(text, at) || text.split_at_checked(at).is_some_and(is_picture)
}

/// Whether a joiner begins at this byte, and is seen within a word: U+200C or U+200D behind a virama, U+200C between letters
/// that would join (RFC 5892, appendix A). A script that is not known here has none. For running text alone.
#[must_use]
pub fn is_seen_in_word(text: &str, at: usize) -> bool {
    let Some((before, rest)) = text.split_at_checked(at) else {
        return false;
    };
    let (mut before, mut after) = (before.chars().rev(), rest.chars());
    let Some(joiner @ ('\u{200c}' | '\u{200d}')) = after.next() else {
        return false;
    };
    let (last, next) = (before.clone().next(), after.clone().next());
    if let Some(virama) = last.filter(|c| is_virama(*c)) {
        // Each of these scripts has a block of its own.
        let is_akin = |c: char| u32::from(c) >> 7 == u32::from(virama) >> 7;
        // U+200D ends words too: in Malayalam.
        let goes_on = joiner == '\u{200d}' || next.is_some_and(is_akin);
        return goes_on && before.nth(1).is_some_and(is_akin);
    }
    let is_letter = |c: &char| !matches!(c, '\u{64b}'..='\u{65f}' | '\u{670}');
    let left = before.take(MAX_MARKS).find(is_letter);
    let right = after.take(MAX_MARKS).find(is_letter);
    joiner == '\u{200c}'
        && left.is_some_and(joins_next)
        && right.is_some_and(|c| joins_next(c) || joins_previous(c))
}

/// Whether a text ends in a picture that one more pictograph can join.
fn ends_in_picture(text: &str) -> bool {
    let mut before = text.chars().rev().peekable();
    for _ in 1..MAX_JOINED {
        // Behind a pictograph its skin tone, or the sign that makes it a picture.
        let _ = before.next_if(|c| matches!(c, '\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}'));
        if !before.next().is_some_and(is_pictograph) {
            return false;
        }
        if before.next_if_eq(&'\u{200d}').is_none() {
            return true;
        }
    }
    false
}

/// The pictographs of which emoji are joined: a part of `Extended_Pictographic`.
#[rustfmt::skip]
fn is_pictograph(c: char) -> bool {
    matches!(u32::from(c), 0x2194..=0x2195 | 0x2600..=0x2604 | 0x2614..=0x2685 | 0x2690..=0x2704 | 0x2708..=0x2712
        | 0x2763..=0x2767 | 0x27A1 | 0x2B1B | 0x1F300..=0x1F3FA | 0x1F400..=0x1F53D | 0x1F546..=0x1F64F
        | 0x1F680..=0x1F6FF | 0x1F7E0..=0x1F7EB | 0x1F90C..=0x1F93A | 0x1F93C..=0x1F945 | 0x1F947..=0x1F9FF
        | 0x1FA70..=0x1FAFF)
}

/// `Canonical_Combining_Class` 9, of the scripts of India and Sri Lanka that join letters by it. Tamil draws it by itself, with a
/// joiner behind it or without; so does Gurmukhi, but before three letters.
#[rustfmt::skip]
fn is_virama(c: char) -> bool {
    matches!(u32::from(c), 0x94D | 0x9CD | 0xACD | 0xB4D | 0xC4D | 0xCCD | 0xD4D | 0xDCA)
}

/// `Joining_Type` D, of the block Arabic.
#[rustfmt::skip]
fn joins_next(c: char) -> bool {
    matches!(u32::from(c), 0x620 | 0x626 | 0x628 | 0x62A..=0x62E | 0x633..=0x63F | 0x641..=0x647 | 0x649..=0x64A
        | 0x66E..=0x66F | 0x678..=0x687 | 0x69A..=0x6BF | 0x6C1..=0x6C2 | 0x6CC | 0x6CE | 0x6D0..=0x6D1 | 0x6FA..=0x6FC
        | 0x6FF)
}

/// `Joining_Type` R, of the block Arabic.
#[rustfmt::skip]
fn joins_previous(c: char) -> bool {
    matches!(u32::from(c), 0x622..=0x625 | 0x627 | 0x629 | 0x62F..=0x632 | 0x648 | 0x671..=0x673 | 0x675..=0x677
        | 0x688..=0x699 | 0x6C0 | 0x6C3..=0x6CB | 0x6CD | 0x6CF | 0x6D2..=0x6D3 | 0x6D5 | 0x6EE..=0x6EF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joiner_is_seen_where_it_changes_what_is_drawn() {
        // `<` stands for U+200C, `+` for U+200D, and `!` before one that is not seen.
        for marked in [
            "می<خواهم خانه<ای",
            "مُ<حَمَّد",
            "क्<ष क्+ष ന്+",
            "👩+👩+👧+👦 👩🏽+🚀 ❤️+🔥 🏴+☠️ 🐈+⬛",
            // Between others, at the ends, again.
            "pay!<pal pay!+pal !<می می!< می!+خ",
            "دا!<د می!<!<خ می!<x x!<می",
            "क्+!+ष क्!< k्!<k k्!+k !<क",
            "க்!<க க்!+ ਕ੍!<ਕ",
            "!+👩!+ 👩!+x 7!+👩 👩+👩+👩+👩!+👩!+👩",
            "👩\u{fe0f}\u{fe0f}!+👩 \u{fe0f}!+👩 👩!<👩 \u{202e}!+👩",
        ] {
            let text: String = marked
                .replace('!', "")
                .replace('<', "\u{200c}")
                .replace('+', "\u{200d}");
            let written = shown(
                &text,
                |at, _| is_seen_joiner(&text, at),
                |c| matches!(c, '\u{200c}' | '\u{200d}'),
            );
            let again: String = written
                .map(|glyph| match glyph {
                    Glyph::Plain('\u{200c}') => "<".to_owned(),
                    Glyph::Plain('\u{200d}') => "+".to_owned(),
                    Glyph::Plain(c) => c.to_string(),
                    Glyph::Written(escape) if escape.contains("200c") => "!<".to_owned(),
                    Glyph::Written(_) => "!+".to_owned(),
                })
                .collect();
            assert_eq!(again, marked);
        }
        assert!(!is_seen_joiner("ab", 2) && !is_seen_joiner("ä", 1));
    }

    #[test]
    fn what_hides_or_turns_text_is_unseen_and_writing_is_not() {
        for c in "\0\u{1b}\u{7f}\u{9b}\u{ad}\u{200b}\u{200d}\u{2028}\u{202e}\u{2066}\u{3164}\u{feff}\u{e0041}".chars() {
            assert!(is_unseen(c), "{:x}", u32::from(c));
        }
        for c in "aß字あ👍 \u{3000}\u{301}\u{fe0f}".chars() {
            assert!(!is_unseen(c), "{:x}", u32::from(c));
        }
    }
}
