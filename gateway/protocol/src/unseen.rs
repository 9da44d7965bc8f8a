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
/// what the view keeps.
pub fn shown(
    text: &str,
    keeps: impl Fn(char) -> bool,
    unseen: impl Fn(char) -> bool,
) -> impl Iterator<Item = Glyph> {
    let mut marks = 0;
    text.chars().map(move |c| {
        marks = match c.width() {
            Some(0) => marks + 1,
            _ => 0,
        };
        match c {
            _ if keeps(c) => Glyph::Plain(c),
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

#[cfg(test)]
mod tests {
    use super::*;

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
