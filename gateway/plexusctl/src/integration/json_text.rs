//! Adding a word to a list inside somebody else's JSON file, and taking it out again, by editing its text.
//!
//! Invariants: every byte that is not the word, its comma and the white space beside them stays as it was; taking out
//! what was just added gives back the text from before. Only lists of strings inside objects are touched.

use jsonc_parser::{
    ParseOptions,
    cst::{CstArray, CstInputValue, CstNode, CstObject, CstRootNode},
};
use serde_json::Value;

/// Why a file cannot be edited.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("it is not JSON: {0}")]
    NotJson(String),
    #[error("its `{0}` is not of the documented form")]
    OtherForm(String),
    #[error("it has `{0}` twice")]
    Twice(String),
}

/// The text with `word` at the end of the list at `path` (member names), and the number of members that had to be made.
/// Nothing changes where the word is there already.
pub(super) fn add(text: &str, path: &[&str], word: &str) -> Result<(String, usize), Unfit> {
    let source = if text.trim().is_empty() { "{}\n" } else { text };
    let (root, mut at) = parse(source)?;
    let other = |depth: usize| Unfit::OtherForm(path[..depth].join("."));
    let mut made = 0;
    let Some((list, objects)) = path.split_last() else {
        return Err(other(0));
    };
    for (depth, name) in objects.iter().enumerate() {
        made += usize::from(!is_there(&at, &path[..=depth])?);
        at = at
            .object_value_or_create(name)
            .ok_or_else(|| other(depth + 1))?;
    }
    made += usize::from(!is_there(&at, path)?);
    let words = at
        .array_value_or_create(list)
        .ok_or_else(|| other(path.len()))?;
    if place(&words, word).is_some() {
        return Ok((source.to_owned(), 0));
    }
    if words.elements().is_empty() && source.contains('\n') {
        words.ensure_multiline();
    }
    words.append(CstInputValue::String(word.to_owned()));
    Ok((root.to_string(), made))
}

/// The text without `word` in the list at `path`; the innermost `made` members of the path go where they are then empty.
/// `None` where the word is not there.
pub(super) fn remove(
    text: &str,
    path: &[&str],
    word: &str,
    made: usize,
) -> Result<Option<String>, Unfit> {
    let (root, at) = parse(text)?;
    let Some((list, objects)) = path.split_last() else {
        return Ok(None);
    };
    let holder = objects
        .iter()
        .try_fold(at.clone(), |at, name| at.object_value(name));
    let words = holder.and_then(|holder| holder.array_value(list));
    let Some(found) = words.and_then(|words| place(&words, word)) else {
        return Ok(None);
    };
    found.remove();
    // What was made for the word alone goes with it, from the inside out.
    for length in (path.len().saturating_sub(made) + 1..=path.len()).rev() {
        let Some((last, objects)) = path[..length].split_last() else {
            break;
        };
        let holder = objects
            .iter()
            .try_fold(at.clone(), |at, name| at.object_value(name));
        let Some(member) = holder.and_then(|holder| holder.get(last)) else {
            break;
        };
        let is_empty = member
            .value()
            .is_some_and(|value| value.children_exclude_trivia_and_tokens().is_empty());
        if !is_empty {
            break;
        }
        member.remove();
    }
    Ok(Some(root.to_string()))
}

/// Whether `word` is in the list at `path`.
pub(super) fn has(text: &str, path: &[&str], word: &str) -> bool {
    let parsed: Value = serde_json::from_str(text).unwrap_or(Value::Null);
    let list = path.iter().fold(&parsed, |value, name| &value[*name]);
    list.as_array()
        .is_some_and(|items| items.iter().any(|item| item == word))
}

/// Whether the last member of `path` is in `at`. Of two, programs take one or the other: a word in the wrong one would be
/// no word.
fn is_there(at: &CstObject, path: &[&str]) -> Result<bool, Unfit> {
    let all = at.properties().into_iter();
    let named = all.filter(|member| member.decoded_name().as_deref() == path.last().copied());
    match named.count() {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Unfit::Twice(path.join("."))),
    }
}

/// Where `word` stands in a list.
fn place(words: &CstArray, word: &str) -> Option<CstNode> {
    let mut all = words.elements().into_iter();
    all.find(|item| {
        let text = item
            .as_string_lit()
            .and_then(|text| text.decoded_value().ok());
        text.as_deref() == Some(word)
    })
}

fn parse(text: &str) -> Result<(CstRootNode, CstObject), Unfit> {
    // Strict JSON: what else the editor takes, the file's own program may not.
    let value: Value = serde_json::from_str(text).map_err(|e| Unfit::NotJson(e.to_string()))?;
    if !value.is_object() {
        return Err(Unfit::OtherForm("file".into()));
    }
    let root = CstRootNode::parse(text, &ParseOptions::default());
    let root = root.map_err(|e| Unfit::NotJson(e.to_string()))?;
    let object = root.object_value();
    Ok((root, object.ok_or_else(|| Unfit::OtherForm("file".into()))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOW: &[&str] = &["permissions", "allow"];

    #[test]
    fn a_member_that_is_there_twice_is_not_guessed_at() {
        for (text, named) in [
            ("{\"permissions\": {}, \"permissions\": {}}", "permissions"),
            (
                "{\"permissions\": {\"allow\": [], \"deny\": [], \"\\u0061llow\": []}}",
                "permissions.allow",
            ),
        ] {
            let refused = add(text, ALLOW, "x");
            assert_eq!(refused, Err(Unfit::Twice(named.to_owned())), "{text}");
        }
        // The control: elsewhere it is the person's.
        assert!(add("{\"a\": 1, \"a\": 2}", ALLOW, "x").is_ok());
    }

    #[test]
    fn what_was_added_can_be_taken_out_to_the_byte() {
        for before in [
            "{}\n",
            "{}",
            "{\n  \"model\": \"x\",\n  \"env\": {\"A\": \"{\\\"]\"}\n}\n",
            "{\n\t\"permissions\": {\n\t\t\"deny\": [\"a\"]\n\t}\n}\n",
            "{\"permissions\":{\"allow\":[\"a\",\"b\"]},\"z\":1}",
            "{\n  \"permissions\": {\n    \"allow\": [\n      \"a\"\n    ],\n    \"x\": 1\n  }\n}",
            "{ \"permissions\": { \"allow\": [] } }",
            "{\n  \"permissions\": {\n    \"allow\": []\n  }\n}\n",
        ] {
            let (one, made_one) = add(before, ALLOW, "Bash(plexus:*)").unwrap();
            let (two, made_two) = add(&one, ALLOW, "quo\"te").unwrap();
            assert!(
                has(&two, ALLOW, "Bash(plexus:*)") && has(&two, ALLOW, "quo\"te"),
                "{two}"
            );
            assert_eq!(made_two, 0);
            assert_eq!(add(&two, ALLOW, "quo\"te").unwrap(), (two.clone(), 0));
            let back = remove(&two, ALLOW, "quo\"te", 0).unwrap().unwrap();
            assert_eq!(back, one);
            let back = remove(&back, ALLOW, "Bash(plexus:*)", made_one)
                .unwrap()
                .unwrap();
            assert_eq!(back, before);
        }
    }

    #[test]
    fn a_new_file_is_written_as_its_owner_would() {
        let (text, made) = add("", ALLOW, "a").unwrap();
        assert_eq!(made, 2);
        assert_eq!(
            text,
            "{\n  \"permissions\": {\n    \"allow\": [\n      \"a\"\n    ]\n  }\n}\n"
        );
    }

    #[test]
    fn the_persons_own_words_stay_whatever_was_made() {
        let (mine, made) = add("{}\n", ALLOW, "ours").unwrap();
        let (both, _) = add(&mine, ALLOW, "theirs").unwrap();
        let left = remove(&both, ALLOW, "ours", made).unwrap().unwrap();
        assert!(
            has(&left, ALLOW, "theirs") && !has(&left, ALLOW, "ours"),
            "{left}"
        );
        assert_eq!(remove(&left, ALLOW, "ours", made).unwrap(), None);
    }

    #[test]
    fn other_forms_are_left_alone() {
        assert!(matches!(add("{,}", ALLOW, "a"), Err(Unfit::NotJson(_))));
        for other in [
            "[]",
            "{\"permissions\": 1}",
            "{\"permissions\": {\"allow\": \"a\"}}",
        ] {
            assert!(
                matches!(add(other, ALLOW, "a"), Err(Unfit::OtherForm(_))),
                "{other}"
            );
        }
    }
}
