//! Terms of a text: words in lower case, without a plural's `s`.

/// The terms of a text, in its order. A word with hyphens is its parts and the whole.
pub(crate) fn of(text: &str) -> Vec<String> {
    let mut terms = Vec::new();
    for word in text.split(|c: char| !c.is_alphanumeric() && c != '-') {
        let parts: Vec<String> = word.split('-').flat_map(words).collect();
        if parts.len() > 1 && word.contains('-') {
            terms.push(singular(parts.concat()));
        }
        terms.extend(parts.into_iter().map(singular));
    }
    terms
}

/// Splits `listToDos` where a capital follows a small letter.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_small = false;
    for c in text.chars() {
        if c.is_uppercase() && was_small {
            words.push(String::new());
        }
        was_small = c.is_lowercase();
        if let Some(word) = words.last_mut() {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn singular(mut word: String) -> String {
    if word.len() > 3 && word.ends_with('s') && !word.ends_with("ss") {
        word.pop();
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_is_split_lowered_and_singular() {
        assert_eq!(of("obsidian.vault.read"), ["obsidian", "vault", "read"]);
        assert_eq!(of("List TO-DOS"), ["list", "todo", "to", "dos"]);
        assert_eq!(of("getWeather, notes!"), ["get", "weather", "note"]);
        assert_eq!(of("Ümläute - -- pass"), ["ümläute", "pass"]);
        assert_eq!(of("  .,-"), Vec::<String>::new());
    }
}
