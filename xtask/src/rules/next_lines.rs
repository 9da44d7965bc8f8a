//! What the owner is told to do next, where that is a command: one command that runs as it stands, and no sentence around it.
//!
//! Read as text: the literal that stands first in `.next(`.

use anyhow::Result;
use std::path::Path;

/// Where the owner is told.
const TOLD: &[&str] = &["gateway"];
/// What makes two commands of one, or a sentence.
const MORE: &[&str] = &["; ", ", ", " (", " then ", " or ", "&&"];

/// One line for each that is no command alone.
pub(crate) fn breaches(root: &Path) -> Result<Vec<String>> {
    let mut breaches = Vec::new();
    for (named, text) in super::rust_files(root, TOLD)? {
        let odd = odd(&text);
        breaches.extend(odd.map(|line| format!("{named}: `{line}` is not one command")));
    }
    Ok(breaches)
}

/// Those of a file.
fn odd(text: &str) -> impl Iterator<Item = &str> {
    let told = text.split(".next(").skip(1);
    let literals = told.filter_map(|after| {
        let after = after.trim_start();
        let after = after.strip_prefix("format!(").unwrap_or(after).trim_start();
        after.strip_prefix('"')?.split('"').next()
    });
    literals.filter(|line| {
        line.starts_with("plexusctl ") && MORE.iter().any(|more| line.contains(more))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_commands_and_sentences_are_found_and_one_command_is_not() {
        let text = r#"
            a.next("plexusctl audit tail; plexusctl logs");
            b.next(
                format!("plexusctl connect {agent} (again)"));
            c.next("plexusctl service install");
            d.next("stop; tell the owner");
            e.next(format!("plexusctl sources set {id} --label LABEL"));
        "#;
        let found: Vec<_> = odd(text).collect();
        assert_eq!(
            found,
            [
                "plexusctl audit tail; plexusctl logs",
                "plexusctl connect {agent} (again)"
            ]
        );
    }
}
