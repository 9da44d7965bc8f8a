//! A test of a refusal says which refusal: any error, and any status but 200, are had from a typing error too.
//!
//! Read as text, of code that rustfmt laid out: the condition of each `assert!`, and what `assert_ne!` compares.

/// One line for each of the files.
pub(crate) fn breaches(sources: &[(String, String)]) -> Vec<String> {
    let mut breaches = Vec::new();
    for (named, text) in sources.iter().filter(|(named, _)| named != file!()) {
        let say = "say which error or status: `assert_eq!`, `matches!`, its words";
        let lines = loose(text).into_iter();
        breaches.extend(lines.map(|line| format!("{named}:{line}: {say}")));
    }
    breaches
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
