//! A test of a refusal says which refusal: any error, and any status but 200, are had from a typing error too.
//!
//! Read as text, of code that rustfmt laid out: the condition of each `assert!`, and what `assert_ne!` compares.

use anyhow::Result;
use std::{collections::BTreeMap, path::Path};

/// Where tests lie.
const TESTS: &[&str] = &[
    "channels",
    "gateway",
    "ipc",
    "sandbox-profiles",
    "tests",
    "workers",
    "xtask",
];

/// How many asserts of a folder were there before the rule, and wait for somebody to say what they mean: fewer each time.
const LEFT: &[(&str, usize)] = &[
    ("channels", 15),
    ("gateway/calls", 3),
    ("gateway/client", 3),
    ("gateway/desk", 4),
    ("gateway/edge", 1),
    ("gateway/home", 9),
    ("gateway/keep", 2),
    ("gateway/owner", 3),
    ("gateway/plexus", 1),
    ("gateway/plexusctl", 28),
    ("gateway/plexusd", 2),
    ("gateway/protocol", 24),
    ("gateway/sources", 6),
    ("gateway/supervisor", 5),
    ("sandbox-profiles", 2),
    ("tests/bench", 1),
    ("tests/stories", 1),
    ("workers", 14),
    ("xtask", 9),
];

/// One line for each that is new, and for each number that is too high by now.
pub(crate) fn breaches(root: &Path) -> Result<Vec<String>> {
    let (mut breaches, mut found) = (Vec::new(), BTreeMap::<&str, Vec<String>>::new());
    for (named, text) in super::rust_files(root, TESTS)? {
        if named == file!() {
            continue;
        }
        let lines = loose(&text).into_iter();
        let lines = lines.map(|line| {
            format!(
                "{named}:{line}: say which error or status: `assert_eq!`, `matches!`, its words"
            )
        });
        let mut folders = LEFT.iter().map(|(folder, _)| *folder);
        match folders.find(|folder| Path::new(&named).starts_with(folder)) {
            Some(folder) => found.entry(folder).or_default().extend(lines),
            None => breaches.extend(lines),
        }
    }
    for (folder, left) in LEFT {
        let lines = found.remove(folder).unwrap_or_default();
        if lines.len() > *left {
            breaches.extend(lines);
        } else if lines.len() < *left {
            let now = lines.len();
            breaches.push(format!(
                "{folder}: {now} loose asserts are left; say so in {}",
                file!()
            ));
        }
    }
    Ok(breaches)
}

/// The lines of asserts that any error, or any status but 200, would satisfy.
fn loose(text: &str) -> Vec<usize> {
    let mut lines = Vec::new();
    for (name, arguments) in [("assert!(", 1), ("assert_ne!(", 2)] {
        for (at, _) in text.match_indices(name) {
            let before = text[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let compared = first(&text[at + name.len()..], arguments);
            let is_loose = match arguments {
                1 => compared.contains(".is_err()") || compared.contains("status != 200"),
                _ => compared.contains(".status,") && compared.trim_end().ends_with("200"),
            };
            if is_loose {
                lines.push(text[..at].matches('\n').count() + 1);
            }
        }
    }
    lines
}

/// The first `count` arguments of a call, of what stands behind its parenthesis.
fn first(text: &str, mut count: usize) -> &str {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => return &text[..at],
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 && count == 1 => return &text[..at],
            ',' if depth == 0 => count -= 1,
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::loose;

    #[test]
    fn any_error_and_any_status_are_found_and_one_of_them_is_not() {
        for bad in [
            "assert!(call().is_err());",
            "assert!(\n    call(a, b).is_err(),\n    \"{a}\"\n);",
            "assert!(a && call().is_err());",
            "assert_ne!(reply.status, 200, \"{reply}\");",
            "assert!(reply.status != 200, \"{reply}\");",
        ] {
            assert_eq!(loose(bad), [1], "{bad}");
        }
        for good in [
            "assert_eq!(call().err(), Some(Refusal::Paused));",
            "assert!(matches!(call(), Err(Refusal::Denied { .. })), \"{:?}\", other.is_err());",
            "assert_eq!(call().is_err(), refused);",
            "prop_assert!(call().is_err());",
            "assert_ne!(reply.status, 500);",
            "assert_ne!(reply.text(), before.text(), \"of 200\");",
            "if call().is_err() {}",
        ] {
            assert_eq!(loose(good), [0; 0], "{good}");
        }
    }
}
