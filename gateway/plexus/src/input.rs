//! From words on a command line to the input of a capability.
//!
//! `field=value` sets a field; any other word fills the next field that is still empty, the required ones first, in the
//! order in which the schema lists them. A value becomes what the schema says its field is; a field of which the schema
//! says nothing takes a JSON literal as such and anything else as text.

use crate::command;
use plexus_client::{Stop, near};
use plexus_mcp::value::{of_text, types};
use plexus_protocol::{MAX_BODY, json};
use serde_json::{Map, Value};
use std::io::Read;
use unicode_normalization::char::is_combining_mark;

/// The largest input that is read from stdin, in bytes: what the gateway accepts as a body.
const MAX_STDIN: u64 = MAX_BODY as u64;

/// What says how input is given.
fn how() -> String {
    command::line("call --help")
}

/// An input object.
pub(crate) type Input = Map<String, Value>;

/// Names of the fields of `schema`: the required ones, then the others.
pub(crate) fn fields(schema: &Value) -> (Vec<&str>, Vec<&str>) {
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let properties = schema["properties"].as_object().into_iter().flatten();
    let others = properties
        .map(|(name, _)| name.as_str())
        .filter(|name| !required.contains(name))
        .collect();
    (required, others)
}

/// Reads a whole input: a JSON object, or `-` for one on stdin.
pub(crate) fn whole(text: &str) -> Result<Input, Stop> {
    let mut read = Vec::new();
    let bytes = if text == "-" {
        let stdin = std::io::stdin().lock();
        stdin
            .take(MAX_STDIN + 1)
            .read_to_end(&mut read)
            .map_err(|e| Stop::usage(format!("stdin could not be read: {e}")))?;
        if read.len() as u64 > MAX_STDIN {
            return Err(Stop::usage(format!(
                "the input on stdin is larger than {MAX_STDIN} bytes"
            )));
        }
        &read[..]
    } else {
        text.as_bytes()
    };
    match json::parse_wide(bytes) {
        Ok(Value::Object(input)) => Ok(input),
        Ok(_) => Err(Stop::usage("the input is JSON, but not an object").next(how())),
        Err(why) => Err(Stop::usage(format!("the input is not JSON: {why}")).next(how())),
    }
}

/// Builds an input from `words` for `schema`, which is `Null` where nothing is known; `ignores`: its worker ignores a
/// field that the schema does not have, as ours do of a read.
pub(crate) fn from_words(words: &[String], schema: &Value, ignores: bool) -> Result<Input, Stop> {
    let (required, others) = fields(schema);
    let order: Vec<&str> = required.into_iter().chain(others).collect();
    let closed = !order.is_empty() && is_closed(schema, ignores);
    let set = |input: &mut Input, name: &str, text: &str| match closed
        && schema["properties"][name].is_null()
    {
        true => Err(no_field(name, &order)),
        false => set(input, name, text, &schema["properties"][name]),
    };
    let mut input = Input::new();
    let mut bare = Vec::new();
    for word in words {
        let named = word.split_once('=');
        match named.filter(|(name, _)| is_name(name) || order.contains(name)) {
            Some((name, value)) => set(&mut input, name, value)?,
            None => bare.push(word),
        }
    }
    for word in bare {
        let next = order.iter().find(|name| !input.contains_key(**name));
        let Some(name) = next else {
            let known = if order.is_empty() {
                "no field is known".to_owned()
            } else {
                listed(&order)
            };
            return Err(
                Stop::usage(format!("no field is left for the word {word:?} ({known})"))
                    .next("write field=value, or --input with a JSON object"),
            );
        };
        set(&mut input, name, word)?;
    }
    Ok(input)
}

fn is_name(text: &str) -> bool {
    let mut letters = text.chars();
    letters
        .next()
        .is_some_and(|c| c.is_alphabetic() || c == '_')
        && letters.all(|c| c.is_alphanumeric() || is_combining_mark(c) || c == '_' || c == '-')
}

fn listed(order: &[&str]) -> String {
    format!("fields: {}", order.join(", "))
}

/// Whether a field that the schema does not have is a slip. Where it is ignored, the answer is to another question.
fn is_closed(schema: &Value, ignores: bool) -> bool {
    const OPEN: [&str; 6] = [
        "additionalProperties",
        "patternProperties",
        "allOf",
        "anyOf",
        "oneOf",
        "$ref",
    ];
    schema["additionalProperties"] == Value::Bool(false)
        || ignores && OPEN.iter().all(|word| schema[word].is_null())
}

fn no_field(name: &str, order: &[&str]) -> Stop {
    let meant = near(name, order.iter().copied());
    let meant = meant.map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
    let why = format!("there is no field {name:?} ({}){meant}", listed(order));
    let first = order.first().copied().unwrap_or("FIELD");
    Stop::usage(why).next(format!(
        "if the word is a value, write {first}=…; or give the whole input with --input"
    ))
}

fn set(input: &mut Input, name: &str, text: &str, about: &Value) -> Result<(), Stop> {
    let value = of_text(text, about)
        .map_err(|want| Stop::usage(format!("{name} must be {want}, not {text:?}")))?;
    match (input.get_mut(name), value) {
        (None, value) => {
            input.insert(name.to_owned(), value);
        }
        // A list may be given piece by piece.
        (Some(Value::Array(list)), Value::Array(more)) if types(about).contains(&"array") => {
            list.extend(more);
        }
        (Some(_), _) => return Err(Stop::usage(format!("the field {name} is given twice"))),
    }
    Ok(())
}

/// `input` as words that give it again: `field=value` where every value is one word, else `--input` with JSON.
pub(crate) fn to_words(input: &Input) -> Vec<String> {
    let simple = |name: &str, value: &Value| match value {
        Value::String(text) => Some(format!("{name}={text}")),
        Value::Bool(_) | Value::Number(_) => Some(format!("{name}={value}")),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    let words: Option<Vec<_>> = input
        .iter()
        .map(|(name, value)| simple(name, value).filter(|_| is_name(name)))
        .collect();
    words.unwrap_or_else(|| {
        vec![
            "--input".to_owned(),
            Value::Object(input.clone()).to_string(),
        ]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "limit": {"type": "integer"},
                "path": {"type": "string"},
                "content": {"type": "string"},
                "deep": {"type": "boolean"},
                "tags": {"type": "array", "items": {"type": "string"}},
                "property": {"type": "object"},
                "until": {"type": ["integer", "null"]},
                "free": {}
            },
            "required": ["path", "content"],
            "additionalProperties": false
        })
    }

    fn build(words: &[&str]) -> Result<Value, String> {
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        let read = from_words(&words, &schema(), false).map(Value::Object);
        read.map_err(|stop| {
            assert_eq!(stop.exit, plexus_client::Exit::Usage);
            stop.why
        })
    }

    #[track_caller]
    fn builds(words: &[&str], input: Value) {
        assert_eq!(build(words), Ok(input));
    }

    #[test]
    fn bare_words_fill_required_fields_first_then_the_others_in_order() {
        builds(
            &["a.md", "text", "3"],
            json!({"path": "a.md", "content": "text", "limit": 3}),
        );
        builds(
            &["content=x", "a.md"],
            json!({"content": "x", "path": "a.md"}),
        );
        builds(
            &["a.md", "two words = one"],
            json!({"path": "a.md", "content": "two words = one"}),
        );
        let full = ["a", "b", "1", "true", "t", "{}", "null", "x"];
        assert!(build(&full).is_ok());
        let more = build(&[&full[..], &["one too many"]].concat()).unwrap_err();
        assert!(more.contains("no field is left"), "{more}");
    }

    #[test]
    fn values_become_what_the_schema_says() {
        let one = |word: &str| {
            build(&[word]).map(|v| v.as_object().unwrap().values().next().unwrap().clone())
        };
        let fails = |word: &str, why: &str| assert_eq!(one(word).unwrap_err(), why);
        assert_eq!(one("path=42"), Ok(json!("42")));
        assert_eq!(one("path=true"), Ok(json!("true")));
        assert_eq!(one("path="), Ok(json!("")));
        assert_eq!(one("path=a=b"), Ok(json!("a=b")));
        assert_eq!(one("limit=42"), Ok(json!(42)));
        assert_eq!(one("deep=false"), Ok(json!(false)));
        assert_eq!(one("property={\"name\":\"x\"}"), Ok(json!({"name": "x"})));
        assert_eq!(one("until=null"), Ok(Value::Null));
        assert_eq!(one("free=[1]"), Ok(json!([1])));
        assert_eq!(one("free=words"), Ok(json!("words")));
        fails("limit=x", "limit must be a whole number, not \"x\"");
        fails("limit=1.5", "limit must be a whole number, not \"1.5\"");
        fails("deep=yes", "deep must be true or false, not \"yes\"");
        fails("property=x", "property must be a JSON object, not \"x\"");
    }

    #[test]
    fn a_list_is_given_whole_or_piece_by_piece_anything_else_once() {
        builds(&["tags=a", "tags=b"], json!({"tags": ["a", "b"]}));
        builds(&["tags=[\"a\",\"b\"]"], json!({"tags": ["a", "b"]}));
        let twice = build(&["path=a", "path=b"]).unwrap_err();
        assert_eq!(twice, "the field path is given twice");
        let tasks =
            json!({"properties": {"tasks": {"type": "array", "items": {"type": "object"}}}});
        let file = from_words(&["tasks=@a.json".to_owned()], &tasks, false).unwrap_err();
        assert_eq!(
            file.why,
            "tasks must be a JSON array of objects, or one such object, not \"@a.json\""
        );
    }

    #[test]
    fn a_field_that_is_not_there_is_not_taken_for_a_value() {
        let unknown = build(&["pth=a.md"]).unwrap_err();
        let words = "there is no field \"pth\" (fields: path, content";
        assert!(unknown.starts_with(words), "{unknown}");
        assert!(unknown.ends_with("; did you mean path?"), "{unknown}");
        let open = json!({"properties": {"path": {"type": "string"}}});
        let mut wide = open.clone();
        wide["additionalProperties"] = json!({"type": "integer"});
        let words = ["other=1".to_owned()];
        for (schema, ignores) in [(&open, false), (&wide, true), (&Value::Null, true)] {
            let read = Value::Object(from_words(&words, schema, ignores).unwrap());
            assert_eq!(read, json!({"other": 1}));
        }
        // Its worker would ignore it and answer.
        let refused = from_words(&words, &open, true).unwrap_err();
        assert_eq!(refused.why, "there is no field \"other\" (fields: path)");
        assert_eq!(refused.exit, plexus_client::Exit::Usage);
        assert!(refused.next.ends_with("--input"), "{}", refused.next);
    }

    #[test]
    fn field_is_named_in_any_script() {
        let schema = json!({
            "properties": {"ページ": {"type": "string"}, "لغة": {"type": "string"}, "मूल्य": {"type": "integer"}, "$top.n": {}},
            "required": ["ページ"],
            "additionalProperties": false
        });
        let build = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            from_words(&words, &schema, false)
        };
        let input = build(&["لغة=ar", "ページ=ホーム", "मूल्य=3", "$top.n=1"]).unwrap();
        let wanted = json!({"ページ": "ホーム", "لغة": "ar", "मूल्य": 3, "$top.n": 1});
        assert_eq!(Value::Object(input), wanted);
        // Thai and Hindi, and a Mac's file names, have marks that are no letters.
        for name in ["ぺーじ", "ค่า", "मूल्यं", "ペ\u{309a}ージ"] {
            let unknown = build(&[&format!("{name}=ホーム")]).unwrap_err();
            let why = format!("there is no field {name:?}");
            assert!(unknown.why.starts_with(&why), "{}", unknown.why);
        }
        let words = build(&["ページ=ホーム", "لغة=ar"]).map(|input| to_words(&input));
        assert_eq!(words.unwrap(), ["ページ=ホーム", "لغة=ar"]);
    }

    #[test]
    fn whole_inputs_are_strict() {
        let read = whole("{\"path\":\"a\"}").map(Value::Object);
        assert_eq!(read, Ok(json!({"path": "a"})));
        for bad in ["", "[1]", "{\"a\":1,\"a\":2}", "{", "\"x\""] {
            let exit = whole(bad).unwrap_err().exit;
            assert_eq!(exit, plexus_client::Exit::Usage, "{bad}");
        }
    }

    #[test]
    fn an_input_can_be_written_as_words_again() {
        for words in [&["path=a b.md", "limit=3"][..], &["tags=a", "path=x"]] {
            let Value::Object(input) = build(words).unwrap() else {
                panic!("an object")
            };
            let again = to_words(&input);
            let back = match again.first().map(String::as_str) {
                Some("--input") => whole(&again[1]).unwrap(),
                _ => from_words(&again, &schema(), false).unwrap(),
            };
            assert_eq!(back, input);
        }
    }
}
