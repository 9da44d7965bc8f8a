//! The style and the script of the console, as they are served, and which they are.

use plexus_protocol::Digest;
use std::sync::LazyLock;

pub(super) const STYLE: &str = include_str!("../../templates/console.css");
pub(super) const SCRIPT: &str = include_str!("../../templates/console.js");
/// As it is served: without indentation and without lines that are comments. No text of it has several lines.
pub(super) static SERVED_SCRIPT: LazyLock<String> = LazyLock::new(|| {
    let lines = SCRIPT.lines().map(str::trim_start);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("//"));
    lines.flat_map(|line| [line, "\n"]).collect()
});

/// Which style and script these are: one that a browser had before is another after an upgrade.
static DIGEST: LazyLock<String> =
    LazyLock::new(|| Digest::of([STYLE, SERVED_SCRIPT.as_str()].concat().as_bytes()).to_string());

/// SHA-256 of both, in hex.
pub(super) fn digest() -> &'static str {
    &DIGEST
}
