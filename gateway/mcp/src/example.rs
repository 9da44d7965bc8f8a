//! Examples in descriptions, which are words of the `plexus` command, as the JSON arguments of a tool.
//!
//! Must not know: whose description it is.

use crate::value;
use serde_json::{Map, Value};

/// Begins the line of one example, or of several with `; ` between them.
const BEGINNINGS: [&str; 2] = ["Example: ", "Examples: "];

/// Whether a line of a description is one of examples.
#[must_use]
pub fn is_example(line: &str) -> bool {
    BEGINNINGS.iter().any(|begins| line.starts_with(begins))
}

/// `describe` with its examples as JSON. One that `plexus` would not read as input with the types and the required fields of
/// `schema` is left out; nothing else of the schema is looked at.
pub(crate) fn in_json(describe: &str, schema: &Value) -> String {
    let line = |line: &str| {
        let Some((begins, calls)) = example(line, schema) else {
            return Some(line.to_owned());
        };
        let calls: Vec<_> = calls.into_iter().flatten().collect();
        (!calls.is_empty()).then(|| format!("{begins}{}", calls.join("; ")))
    };
    let lines: Vec<_> = describe.lines().filter_map(line).collect();
    lines.join("\n")
}

/// How a line of examples begins, and the arguments of each; there are none where a quotation mark stays open.
fn example<'l>(line: &'l str, schema: &Value) -> Option<(&'l str, Vec<Option<String>>)> {
    let mut beginnings = BEGINNINGS.iter();
    let (begins, words) =
        beginnings.find_map(|begins| Some((*begins, line.strip_prefix(*begins)?)))?;
    let mut open = None;
    let words = words.split(|c: char| {
        match open {
            Some(mark) if c == mark => open = None,
            None if matches!(c, '\'' | '"') => open = Some(c),
            _ => {}
        }
        c == ' ' && open.is_none()
    });
    let words: Vec<_> = words.collect();
    let calls = words.split_inclusive(|word| word.ends_with(';'));
    let calls = calls.map(|call| arguments(call, schema));
    Some((begins, calls.filter(|_| open.is_none()).collect()))
}

/// The arguments that `field=value …` stands for, with all that `schema` requires.
fn arguments(call: &[&str], schema: &Value) -> Option<String> {
    let words: &[&str] = match call {
        ["(no", "input)"] => &[],
        words => words,
    };
    let mut arguments = Map::new();
    for word in words {
        let (name, value) = word.strip_suffix(';').unwrap_or(word).split_once('=')?;
        let quoted = ['\'', '"']
            .into_iter()
            .find(|mark| value.starts_with(*mark));
        let text = match quoted {
            Some(mark) => {
                let text = value.strip_prefix(mark)?.strip_suffix(mark)?;
                (!text.contains(mark)).then_some(text)?
            }
            None => value,
        };
        let value = value::of_text(text, schema["properties"].get(name)?).ok()?;
        if arguments.insert(name.to_owned(), value).is_some() {
            return None;
        }
    }
    let required = schema["required"].as_array().into_iter().flatten();
    let mut required = required.filter_map(Value::as_str);
    let is_whole = required.all(|name| arguments.contains_key(name));
    is_whole.then(|| Value::Object(arguments).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn examples_become_arguments_of_the_schema() {
        let schema = json!({"properties": {
            "title": {"type": "string"}, "limit": {"type": "integer"}, "mode": {"enum": ["each", "one"]},
            "tasks": {"type": "array"}, "property": {"type": "object"}, "tags": {"type": "array", "items": {"type": "string"}},
            "note": {"type": ["string", "null"]},
        }});
        let needs = json!({"properties": schema["properties"], "required": ["title"]});
        #[rustfmt::skip]
        let rows = [
            ("Example: (no input)", "Example: {}"),
            ("Example: (made by the source alone)", ""),
            ("Example: other=1", ""),
            ("Example: title=\"It's here\" limit=20 mode=one", r#"Example: {"title":"It's here","limit":20,"mode":"one"}"#),
            ("Example: title=2026-06-25", r#"Example: {"title":"2026-06-25"}"#),
            (r#"Example: tasks='[{"id":"a b"}]'"#, r#"Example: {"tasks":[{"id":"a b"}]}"#),
            (r#"Examples: title="a; b"; property={"name":"a b"}"#, r#"Examples: {"title":"a; b"}; {"property":{"name":"a b"}}"#),
            ("Example: tags=a", r#"Example: {"tags":["a"]}"#),
            ("Example: note=42", r#"Example: {"note":"42"}"#),
            ("Example: tags=a tags=b", ""),
            ("Example: title=It's mode=one", ""),
            ("Example: title=\"a\"b\"c\"", ""),
            ("Examples: limit=many; limit=2", r#"Examples: {"limit":2}"#),
            ("See Example: title=a", "See Example: title=a"),
        ];
        for (words, says) in rows {
            let rest = in_json(&format!("Does it.\n{words}"), &schema);
            assert_eq!(rest, format!("Does it.\n{says}").trim_end(), "{words}");
        }
        let rest = in_json("Examples: limit=1; title=a; (no input)", &needs);
        assert_eq!(rest, r#"Examples: {"title":"a"}"#);
    }

    /// The capabilities and skills of every worker.
    fn shipped() -> Vec<Value> {
        let workers = concat!(env!("CARGO_MANIFEST_DIR"), "/../../workers");
        let workers = std::fs::read_dir(workers).unwrap();
        let manifests = workers
            .filter_map(|worker| std::fs::read(worker.unwrap().path().join("manifest.json")).ok());
        let entries = manifests.flat_map(|manifest| {
            let manifest: Value = serde_json::from_slice(&manifest).unwrap();
            manifest["capabilities"].as_array().unwrap().clone()
        });
        entries.collect()
    }

    #[test]
    fn shipped_examples_have_types_and_required_fields() {
        let mut seen = 0;
        for capability in shipped() {
            let lines = capability["describe"].as_str().unwrap_or_default().lines();
            let lines = lines.filter(|line| line.starts_with("Example"));
            for line in lines.filter(|line| *line != "Example: (made by the source alone)") {
                let (_, calls) = example(line, &capability["input"]).expect(line);
                assert!(
                    !calls.is_empty() && calls.iter().all(Option::is_some),
                    "{line}"
                );
                seen += 1;
            }
        }
        assert!(seen > 80, "{seen} examples");
    }

    /// A client of tools has neither a shell nor HTTP. The person's `plexusctl` is named to the person.
    #[test]
    fn shipped_texts_name_no_request_and_no_command() {
        let (mut skills, of_others) = (0, ["POST /", "GET /", "PUT /", "curl ", "with async"]);
        for entry in shipped() {
            let text = |member: &str| entry[member].as_str().unwrap_or_default().to_owned();
            skills += usize::from(entry["kind"] == "skill");
            let (describe, markdown) = (text("describe"), text("markdown"));
            let says = describe.lines().filter(|line| !is_example(line));
            let input = entry["input"].to_string();
            for said in says.chain([&*markdown, &*input]) {
                let names = of_others.iter().find(|word| said.contains(**word));
                assert_eq!(names, None, "{said}");
                // A pair of backquotes holds a name or a value, and no line to type.
                let mut quoted = said.split('`').skip(1).step_by(2);
                let typed = quoted.find(|words| {
                    words.starts_with("plexus ") || (words.contains(' ') && words.contains('='))
                });
                assert_eq!(typed, None, "{said}");
            }
        }
        assert!(skills > 10, "{skills} skills");
    }
}
