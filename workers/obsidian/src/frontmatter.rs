//! The properties at the top of a note: a YAML mapping between two lines `---`.
//!
//! The only module that knows the YAML parser. Bounds keep an answer within what a frame and a JSON reader take,
//! whatever aliases and nesting a note plays with.

use std::fmt;

use plexus_rooted_files::names::fold;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};
use serde_saphyr::{Spanned, options::NonFiniteFloatPolicy};

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
        match parsed::<Value>(yaml) {
            Some(Value::Object(map)) if is_within_bounds(&map) => Self::Present(map),
            Some(Value::Null) => Self::Present(Map::new()),
            _ => Self::Bad,
        }
    }
}

/// The YAML as `T`, within the bounds; `None` where it is none. As Obsidian has it: `yes` and `on` are words, and what
/// is no number, such as `.nan`, is one too.
fn parsed<T: DeserializeOwned>(yaml: &str) -> Option<T> {
    if yaml.len() > MAX_BYTES {
        return None;
    }
    let options = serde_saphyr::options! {
        strict_booleans: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
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
    serde_saphyr::from_str_with_options(yaml, options).ok()
}

/// The properties as a search compares them.
#[derive(Debug, Default)]
pub(crate) struct Properties(Vec<Property>);

#[derive(Debug)]
struct Property {
    name: String,
    is_list: bool,
    /// Of its value, or of the items of its list.
    texts: Vec<String>,
}

impl Properties {
    /// Of the YAML of a note; `None` where that is [`Frontmatter::Bad`].
    pub(crate) fn parse(yaml: &str) -> Option<Self> {
        let nodes: Nodes = parsed(yaml)?;
        let mut bytes = 0;
        let mut properties = Vec::new();
        for (name, node) in nodes.0 {
            let is_list = matches!(node.value, Node::List(_));
            let scalars = match node.value {
                Node::Scalar(value) => vec![Spanned {
                    value,
                    referenced: node.referenced,
                    defined: node.defined,
                }],
                Node::List(items) => items,
            };
            let mut texts = Vec::new();
            for scalar in scalars {
                let canonical = scalar_text(&scalar.value);
                let written = match scalar.value {
                    Value::Number(_) | Value::Bool(_) | Value::Null => written(yaml, &scalar),
                    Value::String(_) | Value::Array(_) | Value::Object(_) => None,
                };
                texts.extend(written.filter(|text| *text != canonical).map(str::to_owned));
                texts.push(canonical);
            }
            bytes += name.len() + texts.iter().map(String::len).sum::<usize>();
            properties.push(Property {
                name,
                is_list,
                texts,
            });
        }
        (bytes <= 4 * MAX_BYTES).then_some(Self(properties))
    }

    /// The texts of a property; names are compared without case. A number has two where it is not written as a program
    /// writes it: first `1.50`, then `1.5`.
    pub(crate) fn texts(&self, name: &str) -> Option<&[String]> {
        self.named(name).map(|property| property.texts.as_slice())
    }

    fn named(&self, name: &str) -> Option<&Property> {
        let wanted = fold(name);
        self.0
            .iter()
            .find(|property| fold(&property.name) == wanted)
    }

    /// The tags listed under `tags` (or the older `tag`), without `#`.
    pub(crate) fn tags(&self) -> Vec<String> {
        let named = ["tags", "tag"]
            .into_iter()
            .filter_map(|key| self.named(key));
        let mut tags = Vec::new();
        for property in named {
            let texts = property.texts.iter();
            match property.is_list {
                true => tags.extend(texts.map(|text| clean_tag(text))),
                false => tags.extend(texts.flat_map(|text| text.split([',', ' ']).map(clean_tag))),
            }
        }
        tags.retain(|tag| !tag.is_empty());
        tags
    }
}

/// What stands in the YAML for this value.
fn written<'y>(yaml: &'y str, scalar: &Spanned<Value>) -> Option<&'y str> {
    let span = scalar.defined.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let length = usize::try_from(span.byte_len()?).ok()?;
    yaml.get(start..start.checked_add(length)?).map(str::trim)
}

struct Nodes(Vec<(String, Spanned<Node>)>);

impl<'de> Deserialize<'de> for Nodes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Top)
    }
}

struct Top;

impl<'de> Visitor<'de> for Top {
    type Value = Nodes;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("properties")
    }
    fn visit_unit<E: Error>(self) -> Result<Nodes, E> {
        Ok(Nodes(Vec::new()))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Nodes, A::Error> {
        let mut nodes = Vec::new();
        while let Some(name) = map.next_key()? {
            nodes.push((name, map.next_value()?));
        }
        Ok(Nodes(nodes))
    }
}

enum Node {
    Scalar(Value),
    List(Vec<Spanned<Value>>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(One)
    }
}

struct One;

impl<'de> Visitor<'de> for One {
    type Value = Node;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }
    fn visit_str<E: Error>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }
    /// A search does not look into it.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Node::List(Vec::new()))
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
