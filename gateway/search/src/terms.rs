//! Terms of a text: words in lower case, without a plural's `s`; of scripts without spaces between words, pairs of letters.

/// The terms of a text, in its order. A word with hyphens is its parts and the whole.
pub(crate) fn of(text: &str) -> Vec<String> {
    let mut terms = Vec::new();
    for word in text.split(|c: char| !c.is_alphanumeric() && c != '-') {
        let parts: Vec<String> = word.split('-').flat_map(words).collect();
        if parts.len() > 1 && word.contains('-') {
            terms.push(singular(parts.concat()));
        }
        terms.extend(parts.into_iter().flat_map(pairs).map(singular));
    }
    terms
}

/// Whether a letter is of a script without spaces between words: Thai, Lao, Burmese, Khmer, kana or Han.
fn is_unspaced(c: char) -> bool {
    matches!(
        u32::from(c),
        0xE00..=0xEFF | 0x1000..=0x109F | 0x1780..=0x17FF | 0x3005..=0x30FF | 0x3400..=0x9FFF | 0x20000..=0x3FFFF
    )
}

/// Such a script does not mark where a word ends: each two letters are a term, so that a word is found in a sentence.
fn pairs(word: String) -> Vec<String> {
    let letters: Vec<char> = word.chars().collect();
    match letters.len() > 2 && letters.iter().all(|c| is_unspaced(*c)) {
        true => letters.windows(2).map(|two| two.iter().collect()).collect(),
        false => vec![word],
    }
}

/// Splits `listToDos` where a capital follows a small letter, and where a script without spaces begins or ends.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let (mut was_small, mut was_unspaced) = (false, false);
    for c in text.chars() {
        if c.is_uppercase() && was_small || is_unspaced(c) != was_unspaced {
            words.push(String::new());
        }
        (was_small, was_unspaced) = (c.is_lowercase(), is_unspaced(c));
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
        assert_eq!(of("Gmailを検索 窓"), ["gmail", "を検", "検索", "窓"]);
        assert_eq!(of("  .,-"), Vec::<String>::new());
    }
}
