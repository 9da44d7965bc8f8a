//! Adding a word to a list inside somebody else's JSON file, and taking it out again, by editing its text.
//!
//! Invariants: every byte that is not the word, its comma and the white space beside them stays as it was; taking out
//! what was just added gives back the text from before. Only lists of strings inside objects are touched.

use serde_json::Value;
use std::ops::Range;

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

/// A value, and where in the text it stands.
#[derive(Debug)]
struct Node {
    span: Range<usize>,
    inside: Inside,
}

#[derive(Debug)]
enum Inside {
    Object(Vec<(String, Range<usize>, Node)>),
    Array(Vec<Node>),
    Text(String),
    Other,
}

/// The text with `word` at the end of the list at `path` (member names), and the names of members that had to be made,
/// outermost first. Nothing changes where the word is there already.
pub(super) fn add(text: &str, path: &[&str], word: &str) -> Result<(String, usize), Unfit> {
    let source = if text.trim().is_empty() { "{}\n" } else { text };
    let root = parse(source)?;
    let quoted = Value::from(word).to_string();
    let mut at = &root;
    for (depth, name) in path.iter().enumerate() {
        let Inside::Object(members) = &at.inside else {
            return Err(Unfit::OtherForm(path[..depth].join(".")));
        };
        let mut named = members.iter().filter(|(member, ..)| member == name);
        match named.next() {
            // Of two, programs take one or the other: a word in the wrong one would be no word.
            Some(_) if named.next().is_some() => {
                return Err(Unfit::Twice(path[..=depth].join(".")));
            }
            Some((_, _, node)) => at = node,
            None => {
                let rest = &path[depth + 1..];
                let made = fresh(source, at, name, rest, &quoted);
                return Ok((made, path.len() - depth));
            }
        }
    }
    let Inside::Array(items) = &at.inside else {
        return Err(Unfit::OtherForm(path.join(".")));
    };
    let there = items
        .iter()
        .any(|item| matches!(&item.inside, Inside::Text(known) if known == word));
    if there {
        return Ok((source.to_owned(), 0));
    }
    let spans: Vec<_> = items.iter().map(|item| item.span.clone()).collect();
    Ok((append(source, &at.span, &spans, &quoted), 0))
}

/// The text without `word` in the list at `path`; the innermost `made` members of the path go where they are then empty.
/// `None` where the word is not there.
pub(super) fn remove(
    text: &str,
    path: &[&str],
    word: &str,
    made: usize,
) -> Result<Option<String>, Unfit> {
    let root = parse(text)?;
    let Some(list) = find(&root, path) else {
        return Ok(None);
    };
    let Inside::Array(items) = &list.inside else {
        return Ok(None);
    };
    let place = items
        .iter()
        .position(|item| matches!(&item.inside, Inside::Text(known) if known == word));
    let Some(place) = place else {
        return Ok(None);
    };
    let spans: Vec<_> = items.iter().map(|item| item.span.clone()).collect();
    let mut text = without(text, &list.span, &spans, place);
    // What was made for the word alone goes with it, from the inside out.
    for depth in (path.len().saturating_sub(made)..path.len()).rev() {
        let root = parse(&text)?;
        let (Some(holder), Some(node)) =
            (find(&root, &path[..depth]), find(&root, &path[..=depth]))
        else {
            break;
        };
        let empty = match &node.inside {
            Inside::Array(items) => items.is_empty(),
            Inside::Object(members) => members.is_empty(),
            _ => false,
        };
        let Inside::Object(members) = &holder.inside else {
            break;
        };
        let place = members.iter().position(|(name, ..)| name == path[depth]);
        let (true, Some(place)) = (empty, place) else {
            break;
        };
        let spans: Vec<_> = members
            .iter()
            .map(|(_, key, value)| key.start..value.span.end)
            .collect();
        text = without(&text, &holder.span, &spans, place);
    }
    Ok(Some(text))
}

/// Whether `word` is in the list at `path`.
pub(super) fn has(text: &str, path: &[&str], word: &str) -> bool {
    let parsed: Value = serde_json::from_str(text).unwrap_or(Value::Null);
    let list = path.iter().fold(&parsed, |value, name| &value[*name]);
    list.as_array()
        .is_some_and(|items| items.iter().any(|item| item == word))
}

fn find<'n>(root: &'n Node, path: &[&str]) -> Option<&'n Node> {
    path.iter().try_fold(root, |node, name| match &node.inside {
        Inside::Object(members) => members
            .iter()
            .find(|(member, ..)| member == name)
            .map(|(_, _, value)| value),
        _ => None,
    })
}

/// Adds the member `name` to the object `at`, with `rest` nested in it around a list of the one word.
fn fresh(source: &str, at: &Node, name: &str, rest: &[&str], quoted: &str) -> String {
    let step = step(source);
    let outer = indent_of(source, at.span.start) + &step;
    let lines = source.contains('\n');
    let mut value = String::new();
    let mut indent = outer;
    for inner in rest {
        let (open, space) = if lines {
            indent.push_str(&step);
            (format!("{{\n{indent}"), " ")
        } else {
            ("{".to_owned(), "")
        };
        value.push_str(&format!("{open}{}:{space}", Value::from(*inner)));
    }
    if lines {
        value.push_str(&format!("[\n{indent}{step}{quoted}\n{indent}]"));
    } else {
        value.push_str(&format!("[{quoted}]"));
    }
    for _ in rest {
        if lines {
            indent.truncate(indent.len() - step.len());
            value.push_str(&format!("\n{indent}"));
        }
        value.push('}');
    }
    let colon = if lines { ": " } else { ":" };
    let member = format!("{}{colon}{value}", Value::from(name));
    let spans = match &at.inside {
        Inside::Object(members) => members
            .iter()
            .map(|(_, key, value)| key.start..value.span.end)
            .collect(),
        _ => Vec::new(),
    };
    append(source, &at.span, &spans, &member)
}

/// Puts `new` behind the last of `items` in the brackets at `span`, with the white space that stands between the others.
fn append(source: &str, span: &Range<usize>, items: &[Range<usize>], new: &str) -> String {
    let (at, before, after) = match items {
        [] if source.contains('\n') => {
            let outer = indent_of(source, span.start);
            let before = format!("\n{outer}{}", step(source));
            (span.start + 1, before, format!("\n{outer}"))
        }
        [] => (span.start + 1, String::new(), String::new()),
        [only] => (
            only.end,
            format!(",{}", &source[span.start + 1..only.start]),
            String::new(),
        ),
        [.., last_but_one, last] => (
            last.end,
            source[last_but_one.end..last.start].to_owned(),
            String::new(),
        ),
    };
    format!("{}{before}{new}{after}{}", &source[..at], &source[at..])
}

/// Takes the item at `place` out of the brackets at `span`, with its comma.
fn without(source: &str, span: &Range<usize>, items: &[Range<usize>], place: usize) -> String {
    let gone = match (place, items.len()) {
        (0, 1) => span.start + 1..span.end - 1,
        (0, _) => items[0].start..items[1].start,
        _ => items[place - 1].end..items[place].end,
    };
    format!("{}{}", &source[..gone.start], &source[gone.end..])
}

/// The white space at the beginning of the line of `at`.
fn indent_of(source: &str, at: usize) -> String {
    let line = source[..at].rfind('\n').map_or(0, |end| end + 1);
    source[line..]
        .chars()
        .take_while(|c| *c == ' ' || *c == '\t')
        .collect()
}

/// One level of white space: that of the first line that has any, else two blanks.
fn step(source: &str) -> String {
    let lines = source
        .lines()
        .skip(1)
        .filter(|line| !line.trim().is_empty());
    let mut found = lines.map(|line| {
        line.chars()
            .take_while(|c| *c == ' ' || *c == '\t')
            .collect::<String>()
    });
    found
        .find(|space| !space.is_empty())
        .unwrap_or_else(|| "  ".to_owned())
}

/// Parses text that serde_json has accepted; the walk below leans on that.
fn parse(text: &str) -> Result<Node, Unfit> {
    let value: Value = serde_json::from_str(text).map_err(|e| Unfit::NotJson(e.to_string()))?;
    if !value.is_object() {
        return Err(Unfit::OtherForm("file".into()));
    }
    let mut walk = Walk {
        text: text.as_bytes(),
        at: 0,
    };
    walk.space();
    Ok(walk.value(text))
}

struct Walk<'t> {
    text: &'t [u8],
    at: usize,
}

impl Walk<'_> {
    fn peek(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }
    fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
    }
    fn value(&mut self, source: &str) -> Node {
        let start = self.at;
        let inside = match self.peek() {
            b'{' => {
                let mut members = Vec::new();
                self.at += 1;
                self.space();
                while self.peek() == b'"' {
                    let key = self.string();
                    self.space();
                    self.at += 1; // the colon
                    self.space();
                    let value = self.value(source);
                    let name = serde_json::from_str(&source[key.clone()]).unwrap_or_default();
                    members.push((name, key, value));
                    self.space();
                    if self.peek() == b',' {
                        self.at += 1;
                        self.space();
                    }
                }
                self.at += 1;
                Inside::Object(members)
            }
            b'[' => {
                let mut items = Vec::new();
                self.at += 1;
                self.space();
                while !matches!(self.peek(), b']' | 0) {
                    items.push(self.value(source));
                    self.space();
                    if self.peek() == b',' {
                        self.at += 1;
                        self.space();
                    }
                }
                self.at += 1;
                Inside::Array(items)
            }
            b'"' => {
                let span = self.string();
                Inside::Text(serde_json::from_str(&source[span]).unwrap_or_default())
            }
            _ => {
                while !matches!(
                    self.peek(),
                    b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r' | 0
                ) {
                    self.at += 1;
                }
                Inside::Other
            }
        };
        Node {
            span: start..self.at,
            inside,
        }
    }
    fn string(&mut self) -> Range<usize> {
        let start = self.at;
        self.at += 1;
        while !matches!(self.peek(), b'"' | 0) {
            self.at += if self.peek() == b'\\' { 2 } else { 1 };
        }
        self.at += 1;
        start..self.at
    }
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
