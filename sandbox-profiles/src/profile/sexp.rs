//! Text to nested lists: the outermost layer of a profile, which knows parentheses, strings and symbols and
//! nothing of what they mean.
//!
//! Invariant: the result is at most [`MAX_DEPTH`] deep, so a walk over it may recurse.

use super::{ProfileError, Reason};

/// Largest profile that is read. Ours are 2 KiB; the bound keeps a mistake from becoming a long parse.
const MAX_BYTES: usize = 64 * 1024;
/// Deepest nesting of lists. Our profiles need five.
const MAX_DEPTH: usize = 12;

/// One element of a profile, with the line it starts on (counted from 1).
#[derive(Clone, Debug)]
pub(super) struct Sexp {
    pub(super) line: u32,
    pub(super) node: Node,
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    List(Vec<Sexp>),
    Symbol(String),
    Text(String),
}

/// Reads all top-level elements of `text`.
pub(super) fn read(text: &str) -> Result<Vec<Sexp>, ProfileError> {
    if text.len() > MAX_BYTES {
        return Err(ProfileError::new(
            1,
            "",
            Reason::TooLarge {
                bytes: text.len(),
                most: MAX_BYTES,
            },
        ));
    }
    let mut reader = Reader {
        rest: text.as_bytes(),
        line: 1,
    };
    let mut open: Vec<Sexp> = Vec::new();
    let mut top = Vec::new();
    while let Some(byte) = reader.next_byte()? {
        let line = reader.line;
        let done = match byte {
            b'(' if open.len() == MAX_DEPTH => {
                return Err(ProfileError::new(
                    line,
                    "(",
                    Reason::TooDeep { most: MAX_DEPTH },
                ));
            }
            b'(' => {
                open.push(Sexp {
                    line,
                    node: Node::List(Vec::new()),
                });
                continue;
            }
            b')' => open
                .pop()
                .ok_or_else(|| ProfileError::new(line, ")", Reason::Unbalanced))?,
            b'"' => Sexp {
                line,
                node: Node::Text(reader.text()?),
            },
            first => Sexp {
                line,
                node: Node::Symbol(reader.symbol(first)?),
            },
        };
        match open.last_mut() {
            Some(Sexp {
                node: Node::List(items),
                ..
            }) => items.push(done),
            _ => top.push(done),
        }
    }
    match open.first() {
        Some(unclosed) => Err(ProfileError::new(unclosed.line, "(", Reason::Unbalanced)),
        None => Ok(top),
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    line: u32,
}

impl Reader<'_> {
    /// The next byte that is neither white space nor comment.
    fn next_byte(&mut self) -> Result<Option<u8>, ProfileError> {
        let mut in_comment = false;
        while let Some((&byte, rest)) = self.rest.split_first() {
            self.rest = rest;
            match byte {
                b'\n' => {
                    self.line += 1;
                    in_comment = false;
                }
                b'\t' | b' ' => {}
                // Apple's compiler reads bytes, we read the same ones: no look-alike letters, no hidden controls.
                other if !other.is_ascii_graphic() => return Err(self.unexpected(other)),
                _ if in_comment => {}
                b';' => in_comment = true,
                other => return Ok(Some(other)),
            }
        }
        Ok(None)
    }

    /// The rest of a string whose opening quote has been read.
    fn text(&mut self) -> Result<String, ProfileError> {
        let mut value = String::new();
        let mut escaped = false;
        while let Some((&byte, rest)) = self.rest.split_first() {
            self.rest = rest;
            match byte {
                b'"' | b'\\' if escaped => {
                    escaped = false;
                    value.push(char::from(byte));
                }
                b'"' => return Ok(value),
                b'\\' => escaped = true,
                b' '..=b'~' if !escaped => value.push(char::from(byte)),
                other => return Err(self.unexpected(other)),
            }
        }
        Err(ProfileError::new(self.line, "\"", Reason::Unbalanced))
    }

    fn symbol(&mut self, first: u8) -> Result<String, ProfileError> {
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"-*=?_".contains(byte);
        if !is_part(&first) {
            return Err(self.unexpected(first));
        }
        let length = self.rest.iter().take_while(|byte| is_part(byte)).count();
        let (symbol, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(std::iter::once(&first)
            .chain(symbol)
            .copied()
            .map(char::from)
            .collect())
    }

    fn unexpected(&self, byte: u8) -> ProfileError {
        ProfileError::new(self.line, "", Reason::Byte(byte))
    }
}
