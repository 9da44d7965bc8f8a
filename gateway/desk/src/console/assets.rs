//! The style and the script of the console, as they are served, and which they are.

use plexus_protocol::Digest;
use std::sync::LazyLock;

pub(super) const STYLE: &str = include_str!("../../templates/console.css");
pub(super) const SCRIPT: &str = include_str!("../../templates/console.js");
/// As it is served: without indentation, comments and needless line ends. No text of it has several lines, or ` // ` in it.
pub(super) static SERVED_SCRIPT: LazyLock<String> = LazyLock::new(|| {
    let lines = SCRIPT.lines().map(str::trim_start);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("//"));
    let code = lines.map(code_of);
    code.flat_map(|line| [line, line_end(line)]).collect()
});

/// A line without the comment at its end.
fn code_of(line: &str) -> &str {
    line.split_once(" // ")
        .map_or(line, |(code, _)| code.trim_end())
}

/// The line end after this code; none where the script reads the same without it.
fn line_end(code: &str) -> &'static str {
    match code.ends_with([';', ',', '{', '(', '[']) {
        true => "",
        false => "\n",
    }
}

/// Which style and script these are: one that a browser had before is another after an upgrade.
static DIGEST: LazyLock<String> =
    LazyLock::new(|| Digest::of([STYLE, SERVED_SCRIPT.as_str()].concat().as_bytes()).to_string());

/// SHA-256 of both, in hex.
pub(super) fn digest() -> &'static str {
    &DIGEST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_needless_line_ends_are_left_out() {
        assert_eq!(code_of("let a = 1; // ms"), "let a = 1;");
        assert_eq!(code_of("at('http://localhost')"), "at('http://localhost')");
        // Without its line end `}` would begin no statement: `const f = () => {}` has no semicolon.
        assert_eq!(
            ["a();", "if (a) {", "}", "a"].map(line_end),
            ["", "", "\n", "\n"]
        );
        for line in SCRIPT.lines().filter(|line| line.contains(" // ")) {
            let code = code_of(line);
            for quote in ['\'', '"', '`'] {
                assert_eq!(code.matches(quote).count() % 2, 0, "a text is cut: {line}");
            }
        }
    }
}
