//! JSON whose texts are templates: what a member of a workflow is called with.
//!
//! ```text
//! {"path": "{note}"}     {"path": "Inbox/{day}.md", "content": "{1.text}", "tags": "{tags}"}
//! ```
//! `{field}` is a field of the workflow's input, `{1.text}` the member `text` of what the first member answered; `{{` and
//! `}}` are braces. A text that is one pair of braces becomes that value; in a longer text the value is a text, a number or
//! a truth value.
//!
//! Invariants: the names of members come from the template alone, and no value is an object, so no value adds a member.
//!
//! Must not know: who is called.

use super::command::{Piece, is_word, pieces};
use serde_json::{Map, Value};

/// Deepest nesting of a template.
const MAX_DEPTH: usize = 16;

/// What stands in braces.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reference<'t> {
    /// A field of the workflow's input.
    Field(&'t str),
    /// What an earlier member answered, and where in it.
    Output(usize, Vec<&'t str>),
}

/// What is known when a member's input is rendered.
#[derive(Clone, Copy)]
pub(super) struct RenderContext<'v> {
    pub(super) input: &'v Value,
    /// The answers of the members before; none: they are not there yet.
    pub(super) outputs: Option<&'v [Value]>,
}

/// What a template comes to.
#[derive(Debug, PartialEq)]
pub(super) enum Rendered {
    /// This value.
    Value(Value),
    /// Nothing: the input leaves a field of it out.
    LeftOut,
    /// It depends on an answer that is not there yet.
    Later,
}

fn reference(name: &str) -> Result<Reference<'_>, &'static str> {
    let mut path = name.split('.');
    let first = path.next().unwrap_or_default();
    if let Ok(number) = first.parse::<usize>() {
        let path: Vec<&str> = path.collect();
        return match number.checked_sub(1) {
            Some(at) if path.iter().all(|part| is_word(part)) => Ok(Reference::Output(at, path)),
            _ => Err(
                "members are counted from 1, and names behind them are ASCII letters, digits, '_' or '-'",
            ),
        };
    }
    match is_word(name) {
        true => Ok(Reference::Field(name)),
        false => {
            Err("a name in braces is neither a field nor a member's number with names behind it")
        }
    }
}

/// Every pair of braces of a template.
pub(super) fn each_reference(
    template: &Value,
    depth: usize,
    found: &mut impl FnMut(Reference<'_>) -> Result<(), &'static str>,
) -> Result<(), &'static str> {
    if depth > MAX_DEPTH {
        return Err("its input is nested more than 16 deep");
    }
    match template {
        Value::String(text) => pieces(text)?.into_iter().try_for_each(|piece| match piece {
            Piece::Literal(_) => Ok(()),
            Piece::Braces(name) => found(reference(name)?),
        }),
        Value::Array(items) => items
            .iter()
            .try_for_each(|item| each_reference(item, depth + 1, found)),
        Value::Object(members) => members
            .values()
            .try_for_each(|member| each_reference(member, depth + 1, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

/// The value that braces stand for.
fn value(name: &str, known: RenderContext<'_>) -> Result<Rendered, String> {
    let found = match reference(name)? {
        Reference::Field(field) => match known.input.get(field) {
            None | Some(Value::Null) => return Ok(Rendered::LeftOut),
            Some(found) => found,
        },
        Reference::Output(at, path) => {
            let Some(outputs) = known.outputs else {
                return Ok(Rendered::Later);
            };
            let begin = outputs.get(at);
            let found = begin.and_then(|output| path.iter().try_fold(output, part_of));
            found.ok_or_else(|| format!("the member before answered no value {{{name}}}"))?
        }
    };
    match is_plain(found) {
        true => Ok(Rendered::Value(found.clone())),
        false => Err(format!(
            "{{{name}}} is no text, number, truth value or list of these"
        )),
    }
}

fn part_of<'v>(value: &'v Value, name: &&str) -> Option<&'v Value> {
    match value {
        Value::Array(items) => items.get(name.parse::<usize>().ok()?),
        value => value.get(name),
    }
}

/// Whether it holds no object: one would bring members of its own.
fn is_plain(value: &Value) -> bool {
    match value {
        Value::Null | Value::Object(_) => false,
        Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
        Value::Array(items) => items.iter().all(is_plain),
    }
}

/// A text with its values.
fn text(template: &str, known: RenderContext<'_>) -> Result<Rendered, String> {
    let pieces = pieces(template)?;
    if let [Piece::Braces(name)] = pieces[..] {
        return value(name, known);
    }
    let mut whole = String::new();
    // A field that is left out leaves out the text, whatever is answered later.
    let mut waits = false;
    for piece in pieces {
        let found = match piece {
            Piece::Literal(literal) => Rendered::Value(literal.into()),
            Piece::Braces(name) => value(name, known)?,
        };
        match found {
            Rendered::Value(Value::String(text)) => whole.push_str(&text),
            Rendered::Value(scalar @ (Value::Number(_) | Value::Bool(_))) => {
                whole.push_str(&scalar.to_string());
            }
            Rendered::Value(_) => {
                return Err(format!("a list stands within the text {template:?}"));
            }
            Rendered::LeftOut => return Ok(Rendered::LeftOut),
            Rendered::Later => waits = true,
        }
    }
    Ok(match waits {
        true => Rendered::Later,
        false => Rendered::Value(whole.into()),
    })
}

/// A template with its values; what the input leaves out is left out.
pub(super) fn whole(template: &Value, known: RenderContext<'_>) -> Result<Rendered, String> {
    Ok(Rendered::Value(match template {
        Value::String(template) => return text(template, known),
        Value::Array(items) => {
            let mut filled = Vec::new();
            for item in items {
                match whole(item, known)? {
                    Rendered::Value(value) => filled.push(value),
                    Rendered::LeftOut => {}
                    Rendered::Later => return Ok(Rendered::Later),
                }
            }
            filled.into()
        }
        Value::Object(members) => {
            let mut filled = Map::new();
            for (name, member) in members {
                match whole(member, known)? {
                    Rendered::Value(value) => _ = filled.insert(name.clone(), value),
                    Rendered::LeftOut => {}
                    Rendered::Later => return Ok(Rendered::Later),
                }
            }
            filled.into()
        }
        scalar => scalar.clone(),
    }))
}

/// The same, with what is not known yet as it is written.
pub(super) fn shown(template: &Value, known: RenderContext<'_>) -> Value {
    match template {
        Value::Array(items) => items.iter().map(|item| shown(item, known)).collect(),
        Value::Object(members) => {
            let is_there = |member: &Value| !matches!(whole(member, known), Ok(Rendered::LeftOut));
            let members = members.iter().filter(|(_, member)| is_there(member));
            let members = members.map(|(name, member)| (name.clone(), shown(member, known)));
            Value::Object(members.collect())
        }
        template => match whole(template, known) {
            Ok(Rendered::Value(value)) => value,
            Ok(Rendered::LeftOut | Rendered::Later) | Err(_) => template.clone(),
        },
    }
}

/// Whether a value is what the template comes to, whatever is answered later.
pub(super) fn admits(template: &Value, known: RenderContext<'_>, candidate: &Value) -> bool {
    match whole(template, known) {
        Ok(Rendered::Value(value)) => return value == *candidate,
        Ok(Rendered::LeftOut) | Err(_) => return false,
        Ok(Rendered::Later) => {}
    }
    match (template, candidate) {
        (Value::String(template), candidate) => admits_text(template, known, candidate),
        (Value::Object(members), Value::Object(given)) => {
            let left_out = |member| matches!(whole(member, known), Ok(Rendered::LeftOut));
            given.keys().all(|name| members.contains_key(name))
                && members.iter().all(|(name, member)| match given.get(name) {
                    Some(given) => admits(member, known, given),
                    None => left_out(member),
                })
        }
        (Value::Array(items), Value::Array(given)) => {
            let left_out = |item: &&Value| matches!(whole(item, known), Ok(Rendered::LeftOut));
            let items = items.iter().filter(|item| !left_out(item));
            items.clone().count() == given.len()
                && items
                    .zip(given)
                    .all(|(item, given)| admits(item, known, given))
        }
        _ => false,
    }
}

/// Whether a text begins and ends as its template, which waits for answers, and holds what stands between them in order.
/// Literals and known fields that stand side by side are one piece: the first place of each is then as good as any.
fn admits_text<'t>(template: &str, known: RenderContext<'_>, candidate: &'t Value) -> bool {
    let Ok(pieces) = pieces(template) else {
        return false;
    };
    if let [Piece::Braces(_)] = pieces[..] {
        return is_plain(candidate);
    }
    let Some(text) = candidate.as_str() else {
        return false;
    };
    // The last is still being read: an answer ends it.
    let (mut fixed, mut last) = (Vec::new(), String::new());
    for piece in pieces {
        match piece {
            Piece::Literal(literal) => last.push_str(&literal),
            Piece::Braces(name) => match value(name, known) {
                Ok(Rendered::Value(Value::String(text))) => last.push_str(&text),
                Ok(Rendered::Value(scalar)) => last.push_str(&scalar.to_string()),
                Ok(Rendered::Later) => fixed.push(std::mem::take(&mut last)),
                Ok(Rendered::LeftOut) | Err(_) => return false,
            },
        }
    }
    let Some((first, between)) = fixed.split_first() else {
        return text == last;
    };
    let behind = |rest: &'t str, piece: &String| Some(rest.split_once(piece.as_str())?.1);
    let begin = text.strip_prefix(first.as_str());
    let rest = begin.and_then(|rest| between.iter().try_fold(rest, behind));
    rest.is_some_and(|rest| rest.ends_with(&last))
}

#[cfg(test)]
mod tests {
    use super::{super::workflow::Member, *};
    use serde_json::json;

    fn check(input: &Value, schema: &Value) -> Result<(), &'static str> {
        member(input).check(1, schema)
    }

    fn member(input: &Value) -> Member {
        Member {
            id: "notes.read".to_owned(),
            verbs: serde_json::from_value(json!(["read"])).unwrap(),
            input: Some(input.clone()),
        }
    }

    #[test]
    fn values_keep_their_kind_and_add_no_member() {
        let of = member(&json!({
            "path": "Inbox/{day}.md", "text": "{1.text}", "tags": ["{tag}", "x"], "n": "{n}", "{{": "{{a}}",
        }));
        let input = json!({"day": 3, "n": 7});
        let outputs = [json!({"text": "a\"}, {\"b\": {1.text} {day}"})];
        let rendered = of.render(&input, &outputs).unwrap();
        let text = &outputs[0]["text"];
        let expected =
            json!({"path": "Inbox/3.md", "text": text, "tags": ["x"], "n": 7, "{{": "{a}"});
        assert_eq!(rendered, expected);
        assert!(of.admits(&input, &rendered));
        let more = member(&json!({"text": "{1.text} {more}", "n": "{n}"}));
        let rendered = more.render(&input, &outputs).unwrap();
        assert_eq!(rendered, json!({"n": 7}));
        assert!(more.admits(&input, &rendered));
        for (odd, why) in [
            (json!([{"text": {"a": 1}}]), "{1.text} is no text"),
            (json!([{"text": null}]), "{1.text} is no text"),
            (json!([{}]), "answered no value {1.text}"),
            (json!([]), "answered no value {1.text}"),
        ] {
            let odd = odd.as_array().unwrap();
            let refused = of.render(&input, odd).unwrap_err();
            assert!(refused.contains(why), "{odd:?}: {refused}");
        }
        let odd = of.render(&json!({"day": ["a"]}), &outputs);
        assert!(odd.unwrap_err().contains("a list"));
    }

    #[test]
    fn only_what_the_template_says_is_admitted() {
        let of =
            member(&json!({"path": "Inbox/{1.title}-{day}.md", "text": "{1.text}", "if": "{if}"}));
        let input = json!({"day": "monday"});
        let fits = |candidate: Value| of.admits(&input, &candidate);
        assert!(fits(json!({"path": "Inbox/a-monday.md", "text": "x"})));
        for other in [
            json!({"path": "Inbox/a-friday.md", "text": "x"}),
            json!({"path": "../a-monday.md", "text": "x"}),
            json!({"path": "Inbox/a-monday.md", "text": {"x": 1}}),
            json!({"path": "Inbox/a-monday.md"}),
            json!({"path": "Inbox/a-monday.md", "text": "x", "more": 1}),
            json!({"path": "Inbox/a-monday.md", "text": "x", "if": "y"}),
        ] {
            assert!(!fits(other.clone()), "{other}");
        }
        assert_eq!(of.planned(&input), None);
        let shown = json!({"path": "Inbox/{1.title}-{day}.md", "text": "{1.text}"});
        assert_eq!(of.shown(&input), shown);
        let known = member(&json!({"path": "{day}"}));
        assert_eq!(known.planned(&input), Some(json!({"path": "monday"})));
        assert!(!known.admits(&input, &json!({"path": "tuesday"})));
    }

    #[test]
    fn pieces_side_by_side_are_found_as_one() {
        let input = json!({"day": "monday", "note": "see", "n": 5});
        for (template, answer) in [
            ("Inbox/{1.x}-{day}.md", "to-do"),
            ("Inbox/{1.x}-{day}.md", "on-monday.md"),
            ("{1.x}\n\n{note}", "one\n\ntwo\n\nthree"),
            ("{1.x}-{day}-{1.x}", "a-b"),
            ("{1.x}{1.x}-{n}", "-5"),
            ("{1.x}-{n}.", ""),
        ] {
            let of = member(&json!({"text": template}));
            let rendered = of.render(&input, &[json!({"x": answer})]).unwrap();
            assert!(of.admits(&input, &rendered), "{template}: {rendered}");
        }
        let of = member(&json!({"text": "{1.x}\n\n{note}-{1.x}."}));
        for other in ["a\n\nb-c.", "a\n\nsee-c", "see-c.", "a\n\nsee."] {
            assert!(!of.admits(&input, &json!({"text": other})), "{other:?}");
        }
        // One place for two pieces is none.
        let of = member(&json!({"text": "{1.x}-{day}-{1.x}-{day}"}));
        assert!(!of.admits(&input, &json!({"text": "a-monday-b"})));
        assert!(!of.admits(&input, &json!({"text": "a-monday-monday"})));
    }

    #[test]
    fn template_that_names_nothing_is_refused() {
        let schema = json!({"properties": {"a": {}}});
        for (input, fits) in [
            (json!({"x": "{a} {1.x.0}"}), true),
            (json!({"x": "{b}"}), false),
            (json!({"x": "{2.x}"}), false),
            (json!({"x": "{0.x}"}), false),
            (json!({"x": "{1.}"}), false),
            (json!({"x": "{a"}), false),
            (json!("{a}"), false),
        ] {
            assert_eq!(check(&input, &schema).is_ok(), fits, "{input}");
        }
    }
}
