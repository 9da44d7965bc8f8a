//! Licences: each dependency must be usable under one of the allowed ones.

use super::dependencies::resolved;
use serde_json::Value;

/// Licences whose terms we meet by shipping their texts.
const ALLOWED: &[&str] = &[
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "Zlib",
    "0BSD",
    "Unlicense",
    "CC0-1.0",
    "Unicode-3.0",
    // Mozilla's list of certificate authorities.
    "CDLA-Permissive-2.0",
];

/// One line for each dependency without an allowed licence.
pub(crate) fn breaches(everywhere: &[Value]) -> Vec<String> {
    let mut breaches = Vec::new();
    for package in everywhere.iter().flat_map(resolved) {
        let name = package["name"].as_str().unwrap_or_default();
        match package["license"].as_str() {
            Some(expression) if satisfied(expression) => {}
            Some(expression) => breaches.push(format!("{name} is under {expression}")),
            None => breaches.push(format!("{name} names no licence")),
        }
    }
    breaches
}

/// Evaluates an SPDX expression; what cannot be read is not satisfied. The old `A/B` means `A OR B`.
fn satisfied(expression: &str) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    let verdict = either(&mut words);
    verdict.is_some_and(|allowed| allowed && words.next().is_none())
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn either(words: &mut Words<'_>) -> Option<bool> {
    let mut allowed = both(words)?;
    while words.next_if_eq(&"OR").is_some() {
        // Evaluated on both sides: a broken right side must not hide behind a good left one.
        let other = both(words)?;
        allowed |= other;
    }
    Some(allowed)
}

fn both(words: &mut Words<'_>) -> Option<bool> {
    let mut allowed = one(words)?;
    while words.next_if_eq(&"AND").is_some() {
        let other = one(words)?;
        allowed &= other;
    }
    Some(allowed)
}

fn one(words: &mut Words<'_>) -> Option<bool> {
    let word = words.next()?;
    if word == "(" {
        let inside = either(words)?;
        return (words.next()? == ")").then_some(inside);
    }
    let mut licence = word.to_owned();
    if words.next_if_eq(&"WITH").is_some() {
        licence = format!("{licence} WITH {}", words.next()?);
    }
    Some(ALLOWED.contains(&licence.as_str()))
}

#[cfg(test)]
mod tests {
    use super::satisfied;

    #[test]
    fn expressions() {
        for good in [
            "MIT",
            "MIT OR GPL-3.0",
            "MIT/Apache-2.0",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR MIT",
        ] {
            assert!(satisfied(good), "{good}");
        }
        for bad in [
            "",
            "GPL-3.0-only",
            "MIT AND GPL-3.0-only",
            "(MIT",
            "MIT OR",
            "MIT) OR MIT",
            "Apache-2.0 WITH Unknown-exception",
        ] {
            assert!(!satisfied(bad), "{bad}");
        }
    }
}
