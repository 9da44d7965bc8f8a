//! [`Needle`]: a text to find in many notes without case, fast.

use plexus_rooted_files::names::fold;

/// A text to look for without case. ASCII is looked for in the bytes as they are, so not in `ſ` or the Kelvin sign; for
/// the rest, both sides are folded.
pub(crate) enum Needle {
    Ascii { text: Vec<u8>, first: [u8; 2] },
    Folded(String),
}

impl Needle {
    pub(crate) fn new(text: &str) -> Self {
        match text.as_bytes() {
            [first, ..] if text.is_ascii() => Self::Ascii {
                text: text.as_bytes().to_vec(),
                first: [first.to_ascii_lowercase(), first.to_ascii_uppercase()],
            },
            _ => Self::Folded(fold(text)),
        }
    }

    pub(crate) fn is_in(&self, text: &str) -> bool {
        !self.lines_in(text, 1).is_empty()
    }

    /// Offsets of the first `most` lines that contain it: of the find itself, or of the line where that is not known.
    pub(crate) fn lines_in(&self, text: &str, most: usize) -> Vec<usize> {
        let mut offsets = Vec::new();
        match self {
            Self::Ascii {
                text: wanted,
                first,
            } => {
                let bytes = text.as_bytes();
                let mut line_end = 0;
                for at in memchr::memchr2_iter(first[0], first[1], bytes) {
                    if at < line_end
                        || !bytes[at..]
                            .get(..wanted.len())
                            .is_some_and(|b| b.eq_ignore_ascii_case(wanted))
                    {
                        continue;
                    }
                    offsets.push(at);
                    if offsets.len() == most {
                        break;
                    }
                    line_end =
                        memchr::memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |end| at + end);
                }
            }
            Self::Folded(wanted) => {
                let mut start = 0;
                for line in text.split_inclusive('\n') {
                    // A needle that still has something beyond ASCII when folded is in no line that has none.
                    let could_be = wanted.is_ascii() || !line.is_ascii();
                    if could_be && fold(line).contains(wanted.as_str()) {
                        offsets.push(start);
                        if offsets.len() == most {
                            break;
                        }
                    }
                    start += line.len();
                }
            }
        }
        offsets
    }
}
