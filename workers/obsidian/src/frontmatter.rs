//! The properties at the top of a note: a YAML mapping between two lines `---`.
//!
//! The only module that knows the YAML parser. Bounds keep an answer within what a frame and a JSON reader take,
//! whatever aliases and nesting a note plays with.

use plexus_rooted_files::names::fold;
use serde_json::{Map, Value};

use crate::markdown::is_tag_char;

/// Longest block that is parsed, in bytes.
const MAX_BYTES: usize = 64 * 1024;
/// Deepest nesting: a reply may be 64 deep in all, and this is one part of it.
const MAX_DEPTH: usize = 32;
/// Most YAML nodes, those that aliases repeat included.
const MAX_NODES: usize = 10_000;

/// What stands at the top of a note.
#[derive(Clone, Debug, PartialEq)]
pub enum Frontmatter {
    /// Nothing.
    Absent,
    /// A mapping, in the order written.
    Present(Map<String, Value>),
    /// A block that is no YAML mapping, or exceeds the bounds.
    Bad,
}

/// A note's text, cut where its front matter ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut<'a> {
    /// The YAML between the two lines, if both are there.
    pub(crate) yaml: Option<&'a str>,
    /// Where the YAML begins, in bytes.
    pub(crate) yaml_offset: usize,
    /// Where the body begins, in bytes.
    pub(crate) body_offset: usize,
}

/// Finds the block. Obsidian takes it only at the very start; without a closing line there is none.
pub(crate) fn cut(text: &str) -> Cut<'_> {
    let none = Cut {
        yaml: None,
        yaml_offset: 0,
        body_offset: 0,
    };
    let mut lines = text.split_inclusive('\n');
    let Some(first) = lines.next().filter(|line| line.trim_end() == "---") else {
        return none;
    };
    let mut offset = first.len();
    for line in lines {
        if line.trim_end() == "---" {
            return Cut {
                yaml: Some(&text[first.len()..offset]),
                yaml_offset: first.len(),
                body_offset: offset + line.len(),
            };
        }
        offset += line.len();
    }
    none
}

impl Frontmatter {
    /// Parses the front matter of a note's text. Never fails: what cannot be read is [`Frontmatter::Bad`].
    #[must_use]
    pub fn of(text: &str) -> Self {
        cut(text).yaml.map_or(Self::Absent, Self::parse)
    }

    pub(crate) fn parse(yaml: &str) -> Self {
        if yaml.len() > MAX_BYTES {
            return Self::Bad;
        }
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! {
                max_depth: MAX_DEPTH,
                flow_nesting_limit: MAX_DEPTH,
                max_nodes: MAX_NODES,
                max_events: 4 * MAX_NODES,
                max_documents: 1,
                max_aliases: 100,
                max_anchors: 100,
                max_merge_keys: 10,
            },
            alias_limits: serde_saphyr::alias_limits! {
                max_total_replayed_events: MAX_NODES,
                max_replay_stack_depth: 8,
                max_alias_expansions_per_anchor: 100,
            },
        };
        match serde_saphyr::from_str_with_options::<Value>(yaml, options) {
            Ok(Value::Object(map)) if is_within_bounds(&map) => Self::Present(map),
            Ok(Value::Null) => Self::Present(Map::new()),
            _ => Self::Bad,
        }
    }

    /// The value of a property; names are compared without case.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        let Self::Present(map) = self else {
            return None;
        };
        let wanted = fold(name);
        map.iter()
            .find(|(key, _)| fold(key) == wanted)
            .map(|(_, value)| value)
    }

    /// The tags listed under `tags` (or the older `tag`), without `#`.
    pub(crate) fn tags(&self) -> Vec<String> {
        let values = ["tags", "tag"]
            .into_iter()
            .filter_map(|name| self.get(name));
        let mut tags = Vec::new();
        for value in values {
            match value {
                Value::String(text) => tags.extend(text.split([',', ' ']).map(clean_tag)),
                Value::Array(items) => {
                    tags.extend(items.iter().map(|item| clean_tag(&scalar_text(item))));
                }
                other => tags.push(clean_tag(&scalar_text(other))),
            }
        }
        tags.retain(|tag| !tag.is_empty());
        tags
    }
}

/// Whether a parse of the YAML could find the tag, or one nested below it; `wanted` is folded. Says yes too often, never
/// no: also where YAML can spell the tag in other characters than its own.
pub(crate) fn may_name_tag(yaml: &str, wanted: &str) -> bool {
    // `"\x70rivate"`; and `!!binary cHJpdmF0ZQ==`, which begins no word.
    let is_spelled_out = yaml.contains('\\')
        || yaml
            .match_indices('!')
            .any(|(at, _)| !yaml[..at].ends_with(char::is_alphanumeric));
    // One word in the characters of tags stands in the text as it is. `it's` may be `'it''s'`, the second word of `a b` in
    // the next line, and 16 is `0x10`.
    let is_word = wanted.chars().all(is_tag_char)
        && wanted.parse::<f64>().is_err()
        && !matches!(wanted, "true" | "false");
    is_spelled_out || !is_word || fold(yaml).contains(wanted)
}

fn clean_tag(text: &str) -> String {
    text.trim()
        .trim_start_matches('#')
        .trim_end_matches('/')
        .to_owned()
}

/// A scalar as one would type it; empty for lists and mappings.
pub(crate) fn scalar_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => String::new(),
    }
}

/// Aliases can repeat large parts: what counts is the size that came out.
fn is_within_bounds(map: &Map<String, Value>) -> bool {
    fn cost(value: &Value, depth: usize) -> Option<usize> {
        if depth > MAX_DEPTH {
            return None;
        }
        let parts: usize = match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 8,
            Value::String(text) => text.len(),
            Value::Array(items) => items
                .iter()
                .map(|item| cost(item, depth + 1))
                .sum::<Option<usize>>()?,
            Value::Object(map) => map
                .iter()
                .map(|(key, item)| Some(key.len() + cost(item, depth + 1)?))
                .sum::<Option<usize>>()?,
        };
        Some(parts + 8)
    }
    map.iter()
        .map(|(key, value)| Some(key.len() + cost(value, 1)?))
        .sum::<Option<usize>>()
        .is_some_and(|n| n <= 4 * MAX_BYTES)
}
