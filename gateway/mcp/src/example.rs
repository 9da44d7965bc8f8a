//! Examples in descriptions, which are words of the `plexus` command, as the JSON arguments of a tool.
//!
//! Must not know: whose description it is.

use serde_json::{Map, Value};

/// Begins the line of one example, or of several with `; ` between them.
const BEGINNINGS: [&str; 2] = ["Example: ", "Examples: "];

/// `describe` with its examples as JSON; an example that is no call with fields of `schema` is left out.
pub(crate) fn in_json(describe: &str, schema: &Value) -> String {
    let line = |line: &str| {
        let mut beginnings = BEGINNINGS.iter();
        let example = beginnings.find_map(|begins| Some((begins, line.strip_prefix(*begins)?)));
        let Some((begins, calls)) = example else {
            return Some(line.to_owned());
        };
        let calls = calls.split("; ");
        let calls: Vec<_> = calls.filter_map(|call| arguments(call, schema)).collect();
        (!calls.is_empty()).then(|| format!("{begins}{}", calls.join("; ")))
    };
    let lines: Vec<_> = describe.lines().filter_map(line).collect();
    lines.join("\n")
}

/// The arguments that `field=value …` stands for; a space within quotation marks ends no value.
fn arguments(call: &str, schema: &Value) -> Option<String> {
    if call == "(no input)" {
        return Some("{}".to_owned());
    }
    let mut open = None;
    let words = call.split(|c: char| {
        match open {
            Some(mark) if c == mark => open = None,
            None if matches!(c, '\'' | '"') => open = Some(c),
            _ => {}
        }
        c == ' ' && open.is_none()
    });
    let mut arguments = Map::new();
    for word in words {
        let (name, value) = word.split_once('=')?;
        let about = schema["properties"].get(name)?;
        let marks = ['\'', '"'].into_iter();
        let mut bare = marks.filter_map(|mark| value.strip_prefix(mark)?.strip_suffix(mark));
        let text = bare.next().unwrap_or(value);
        let value: Option<Value> = match about["type"] == "string" {
            true => None,
            false => serde_json::from_str(text).ok(),
        };
        arguments.insert(name.to_owned(), value.unwrap_or_else(|| text.into()));
    }
    Some(Value::Object(arguments).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn examples_become_arguments_of_the_schema() {
        let schema = json!({"properties": {
            "title": {"type": "string"}, "limit": {"type": "integer"}, "mode": {"enum": ["each", "one"]},
            "tasks": {"type": "array"}, "property": {"type": "object"},
        }});
        for (words, says) in [
            ("Example: (no input)", "Example: {}"),
            ("Example: (made by the source alone)", ""),
            ("Example: other=1", ""),
            (
                "Example: title=\"It's here\" limit=20 mode=one",
                r#"Example: {"title":"It's here","limit":20,"mode":"one"}"#,
            ),
            (
                "Example: title=2026-06-25",
                r#"Example: {"title":"2026-06-25"}"#,
            ),
            (
                r#"Example: tasks='[{"id":"a b"}]'"#,
                r#"Example: {"tasks":[{"id":"a b"}]}"#,
            ),
            (
                r#"Examples: title="a b"; property={"name":"a b"}"#,
                r#"Examples: {"title":"a b"}; {"property":{"name":"a b"}}"#,
            ),
            ("See Example: title=a", "See Example: title=a"),
        ] {
            let rest = in_json(&format!("Does it.\n{words}"), &schema);
            assert_eq!(rest, format!("Does it.\n{says}").trim_end(), "{words}");
        }
    }
}
