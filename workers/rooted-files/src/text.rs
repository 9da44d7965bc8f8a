//! Bytes to text, and text in stretches of bounded size.

use std::borrow::Cow;

/// Most text returned by one read, in bytes of UTF-8.
pub const MAX_PAGE_BYTES: usize = 1024 * 1024;

/// A file's text, and what was done to get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text<'a> {
    /// The text, without a byte order mark.
    pub content: Cow<'a, str>,
    /// `bom_removed`, `decoded_utf16le`, `decoded_utf16be`.
    pub warning: Option<&'static str>,
}

/// The bytes are no text we read; says what is wrong with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotText(pub &'static str);

/// Decodes UTF-8, with or without a byte order mark, and UTF-16 with one.
///
/// # Errors
/// [`NotText`] for any other encoding and for text that contains NUL.
pub fn decode(bytes: &[u8]) -> Result<Text<'_>, NotText> {
    let text = match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => Text {
            content: utf8(rest)?.into(),
            warning: Some("bom_removed"),
        },
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes, "decoded_utf16le")?,
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes, "decoded_utf16be")?,
        _ => Text {
            content: utf8(bytes)?.into(),
            warning: None,
        },
    };
    if memchr::memchr(0, text.content.as_bytes()).is_some() {
        return Err(NotText("it contains NUL bytes"));
    }
    Ok(text)
}

fn utf8(bytes: &[u8]) -> Result<&str, NotText> {
    std::str::from_utf8(bytes)
        .map_err(|_| NotText("it is neither UTF-8 nor UTF-16 with a byte order mark"))
}

fn utf16<'a>(
    bytes: &[u8],
    unit: fn([u8; 2]) -> u16,
    warning: &'static str,
) -> Result<Text<'a>, NotText> {
    let pairs = bytes.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return Err(NotText("it is UTF-16 with half a unit at its end"));
    }
    let units = pairs.map(|pair| unit([pair[0], pair[1]]));
    let content: String = char::decode_utf16(units)
        .collect::<Result<_, _>>()
        .map_err(|_| NotText("it is UTF-16 with an unpaired surrogate"))?;
    Ok(Text {
        content: content.into(),
        warning: Some(warning),
    })
}

/// `new`, which goes into `old`, with the ends of lines of that: CRLF where `old` has no other.
#[must_use]
pub fn with_ends_of<'n>(old: &str, new: &'n str) -> Cow<'n, str> {
    if !new.contains('\n') {
        return Cow::Borrowed(new);
    }
    let ends = memchr::memchr_iter(b'\n', old.as_bytes());
    let mut crlf = ends
        .map(|at| at > 0 && old.as_bytes()[at - 1] == b'\r')
        .peekable();
    if crlf.peek().is_none() || !crlf.all(|is_crlf| is_crlf) {
        return Cow::Borrowed(new);
    }
    Cow::Owned(new.replace("\r\n", "\n").replace('\n', "\r\n"))
}

/// A stretch of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page<'a> {
    /// The stretch.
    pub content: &'a str,
    /// Where the next one begins, in bytes of the decoded text; `None` at the end.
    pub next_offset: Option<usize>,
}

/// The stretch of at most `limit` bytes from `offset`, cut after a line where one ends inside it, else between
/// characters. `None` if `offset` lies beyond the text or inside a character. Following `next_offset` from 0 gives
/// every byte once.
#[must_use]
pub fn page(text: &str, offset: usize, limit: usize) -> Option<Page<'_>> {
    let rest = text.get(offset..)?;
    if rest.len() <= limit {
        return Some(Page {
            content: rest,
            next_offset: None,
        });
    }
    let most = rest.floor_char_boundary(limit);
    let cut = match memchr::memrchr(b'\n', &rest.as_bytes()[..most]) {
        Some(line_end) => line_end + 1,
        None if most > 0 => most,
        // Not even one character fits: give it anyway, or nobody would ever get past it.
        None => rest.ceil_char_boundary(1),
    };
    Some(Page {
        content: &rest[..cut],
        next_offset: Some(offset + cut),
    })
}
