//! Does an input fit its schema? Compiled once; messages in the order of docs/protocol/agents.md#call.

use crate::budget::MAX_PATTERN;
use jsonschema::error::{TypeKind, ValidationErrorKind as Rule};
use plexus_protocol::unseen::{self, Glyph};
use serde_json::{Map, Value};

/// What matching one pattern may keep for the next time, in bytes.
const MAX_CACHE: usize = 256 << 10;
/// How much of a rule's bound, or of a schema's fault, is named, in characters: a list of values may be long.
const MAX_BOUND: usize = 200;
/// The types of JSON schema, for one that is none.
const TYPES: &str = "a type is string, number, integer, boolean, object, array or null";

/// Who holds a field to a pattern that this engine cannot evaluate, such as one that looks ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PatternHolder {
    /// The gateway alone: behind it a program or an app takes what it is given. Such a schema is refused.
    Gateway,
    /// The server that published the schema: the rest of it is checked here.
    Server,
}

/// A compiled input schema.
pub struct Schema {
    required: Vec<String>,
    properties: Map<String, Value>,
    closed: bool,
    whole: jsonschema::Validator,
}

impl Schema {
    /// # Errors
    /// When it is not a JSON schema, or has a pattern that nobody would hold.
    pub(crate) fn compile(schema: &Value, holder: PatternHolder) -> Result<Self, String> {
        let required = schema
            .get("required")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        Ok(Self {
            required: required
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            properties: schema
                .get("properties")
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default(),
            closed: schema.get("additionalProperties") == Some(&Value::Bool(false)),
            whole: compiled(schema).or_else(|why| {
                let mut rest = schema.clone();
                let unknown = without_patterns(&mut rest);
                match (unknown.first(), holder) {
                    (None, _) => Err(why),
                    (Some(_), PatternHolder::Server) => compiled(&rest),
                    (Some(pattern), PatternHolder::Gateway) => Err(format!(
                        "the pattern {pattern:.80?} cannot be evaluated here, so nothing would be held to it: close its brackets, and do without lookaround and backreferences"
                    )),
                }
            })?,
        })
    }

    /// # Errors
    /// One sentence that names the field.
    pub fn check(&self, input: &Value) -> Result<(), String> {
        let Some(fields) = input.as_object() else {
            return Err(format!(
                "The input must be an object (got {}).",
                type_of(input)
            ));
        };
        let missing: Vec<&str> = self
            .required
            .iter()
            .map(String::as_str)
            .filter(|key| !fields.contains_key(*key))
            .collect();
        if !missing.is_empty() {
            return Err(format!(
                "Missing required input field(s): {}.",
                missing.join(", ")
            ));
        }
        for (key, value) in fields {
            let declared = self
                .properties
                .get(key)
                .and_then(|p| p.get("type"))
                .and_then(Value::as_str);
            if let Some(declared) = declared
                && !is_a(value, declared)
            {
                let article = match declared {
                    "array" | "integer" | "object" => "an",
                    _ => "a",
                };
                return Err(format!(
                    "Input field '{key}' must be {article} {declared} (got {}).",
                    type_of(value)
                ));
            }
        }
        if self.closed
            && let Some(key) = fields
                .keys()
                .find(|key| !self.properties.contains_key(*key))
        {
            let mut names = self.properties.keys();
            let alike = |name: &&String| key.starts_with(*name) || name.starts_with(key);
            let meant = names.find(|name| !key.is_empty() && alike(name));
            let meant = meant.map(|name| format!("; did you mean '{name}'?"));
            let meant = meant.as_deref().unwrap_or(".");
            return Err(format!(
                "Unknown input field '{key}' (additionalProperties:false){meant}"
            ));
        }
        match self.whole.validate(input) {
            Ok(()) => Ok(()),
            Err(error) => {
                // The path and the rule: the message of the validator may quote the value.
                let at = error.instance_path().to_string();
                Err(format!(
                    "The input does not fit the schema at '{}' ({}).",
                    if at.is_empty() { "/" } else { &at },
                    in_words(error.kind())
                ))
            }
        }
    }

    /// Whether a text follows the pattern of this field, as far as that can be evaluated; so where the field has none.
    pub(crate) fn follows_pattern(&self, field: &str, text: &str) -> bool {
        let property = self.properties.get(field);
        let Some(pattern) = property.and_then(|property| property.get("pattern")) else {
            return true;
        };
        let pattern = compiled(&serde_json::json!({ "pattern": pattern }));
        pattern.map_or(true, |pattern| pattern.is_valid(&text.into()))
    }
}

/// A rule of a schema by its keyword, and its bound where it has one.
fn in_words(rule: &Rule) -> String {
    let keyword = rule.keyword();
    let bound = match rule {
        Rule::Pattern { pattern: text } | Rule::Format { format: text } => text.clone(),
        Rule::Enum { options: value }
        | Rule::Constant {
            expected_value: value,
        } => value.to_string(),
        Rule::Minimum { limit: value }
        | Rule::Maximum { limit: value }
        | Rule::ExclusiveMinimum { limit: value }
        | Rule::ExclusiveMaximum { limit: value }
        | Rule::Required { property: value } => value.to_string(),
        Rule::MinLength { limit }
        | Rule::MaxLength { limit }
        | Rule::MinItems { limit }
        | Rule::MaxItems { limit }
        | Rule::MinProperties { limit }
        | Rule::MaxProperties { limit } => limit.to_string(),
        Rule::MultipleOf { multiple_of } => multiple_of.to_string(),
        Rule::Type {
            kind: TypeKind::Single(one),
        } => one.to_string(),
        _ => return keyword.to_owned(),
    };
    format!("{keyword}: {}", shown(&bound))
}

/// A text of somebody's schema, as one line and no longer than [`MAX_BOUND`].
fn shown(text: &str) -> String {
    let mut glyphs = unseen::shown(text, |_, _| false, unseen::is_unseen);
    let mut words = String::new();
    for glyph in glyphs.by_ref().take(MAX_BOUND) {
        match glyph {
            Glyph::Plain(c) => words.push(c),
            Glyph::Written(escape) => words.push_str(&escape),
        }
    }
    words.extend(glyphs.next().map(|_| '…'));
    words
}

fn compiled(schema: &Value) -> Result<jsonschema::Validator, String> {
    // An engine without backtracking: a schema may be a stranger's.
    let patterns = jsonschema::PatternOptions::regex()
        .size_limit(MAX_PATTERN)
        .dfa_size_limit(MAX_CACHE);
    let options = jsonschema::options().with_pattern_options(patterns);
    options.build(schema).map_err(|error| {
        let why = error.to_string();
        // Nothing is fetched.
        if let Some((document, _)) = why.split_once(" is not present in a registry") {
            return format!("{} is another document, which is not read", shown(document));
        }
        // The schema is the instance of the schema of schemas.
        let at = error.instance_path().to_string();
        let is_type = matches!(error.kind(), Rule::AnyOf { .. }) && at.ends_with("/type");
        let value = error.instance().to_string();
        let why = match is_type {
            true => format!("{} is no type: {TYPES}", shown(&value)),
            false => shown(&why),
        };
        match at.is_empty() {
            true => why,
            false => format!("{}: {why}", shown(&at)),
        }
    })
}

/// Takes the patterns out that this engine cannot evaluate, and gives them.
fn without_patterns(schema: &mut Value) -> Vec<String> {
    let is_unknown = |pattern: &str| compiled(&serde_json::json!({"pattern": pattern})).is_err();
    match schema {
        Value::Array(parts) => parts.iter_mut().flat_map(without_patterns).collect(),
        Value::Object(members) => {
            let mut unknown = Vec::new();
            let pattern = members.get("pattern").and_then(Value::as_str);
            if let Some(pattern) = pattern.filter(|pattern| is_unknown(pattern)) {
                unknown.push(pattern.to_owned());
                members.remove("pattern");
            }
            if let Some(Value::Object(properties)) = members.get_mut("patternProperties") {
                let names = properties.keys().filter(|name| is_unknown(name));
                let names: Vec<String> = names.cloned().collect();
                properties.retain(|name, _| !names.contains(name));
                unknown.extend(names);
            }
            unknown.extend(members.values_mut().flat_map(without_patterns));
            unknown
        }
        _ => Vec::new(),
    }
}

fn is_a(value: &Value, declared: &str) -> bool {
    match declared {
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|n| n.fract() == 0.0),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pattern_that_cannot_be_evaluated_checks_nothing() {
        let schema = json!({"type": "object", "properties": {
            "ahead": {"type": "string", "pattern": "^(?!null$)"},
            "back": {"anyOf": [{"type": "string", "pattern": "^(a)\\1$"}]},
            "both": {"type": "string", "pattern": "^a+$"},
            "pattern": {"type": "integer", "maximum": 9_223_372_036_854_775_807_i64},
        }, "patternProperties": {"^(?=x)": {"type": "integer"}, "^y": {"type": "integer"}}});
        let schema = Schema::compile(&schema, PatternHolder::Server).unwrap();
        for good in [
            json!({"ahead": "null", "back": "b", "both": "aa", "pattern": i64::MAX}),
            json!({"xa": "s"}),
        ] {
            assert_eq!(schema.check(&good), Ok(()), "{good}");
        }
        let why = schema.check(&json!({"ahead": 7})).unwrap_err();
        assert_eq!(why, "Input field 'ahead' must be a string (got number).");
        for (field, bad, rule) in [
            ("back", json!(7), "anyOf"),
            ("both", json!("b"), "pattern: ^a+$"),
            ("ya", json!("s"), "type: integer"),
            ("pattern", json!(u64::MAX), "maximum: 9223372036854775807"),
        ] {
            let why = format!("The input does not fit the schema at '/{field}' ({rule}).");
            assert_eq!(schema.check(&json!({ field: bad })), Err(why));
        }
        let odd = json!({"type": "str", "pattern": "(?!a)"});
        let why = Schema::compile(&odd, PatternHolder::Server)
            .map(drop)
            .unwrap_err();
        assert!(why.starts_with("/type: \"str\" is no type"), "{why}");
    }

    #[test]
    fn fault_of_a_schema_names_its_place() {
        for (field, fault) in [
            (json!({"type": "text"}), "/type: \"text\" is no type"),
            (json!({"minLength": "1"}), "/minLength: \"1\" is not of"),
            (json!("string"), ": \"string\" is not of type"),
        ] {
            let schema = json!({"type": "object", "properties": {"good": {}, "text": field}});
            let why = Schema::compile(&schema, PatternHolder::Gateway).err();
            let why = why.unwrap_or_else(|| panic!("{schema}"));
            let told = format!("/properties/text{fault}");
            assert!(why.starts_with(&told), "{why}");
        }
    }

    #[test]
    fn long_fault_of_a_schema_is_cut() {
        let long = "\u{1b}\n".repeat(1000);
        for field in [json!({"type": [&long]}), json!({"minLength": &long})] {
            let schema = json!({"properties": {&long: field}});
            let why = Schema::compile(&schema, PatternHolder::Gateway).err();
            let why = why.unwrap_or_else(|| panic!("{schema}"));
            assert!(why.starts_with("/properties/\\u{1b}\\n"), "{why}");
            assert!(why.len() < 4096 && !why.contains(char::is_control), "{why}");
        }
    }

    #[test]
    fn text_follows_the_pattern_of_its_field_where_that_has_one() {
        let schema = json!({"type": "object", "required": ["id", "text"], "properties": {
            "id": {"type": "string", "pattern": "^[0-9]{3}$"}, "ahead": {"pattern": "^(?!a)"}, "text": {"type": "string"},
        }});
        let schema = Schema::compile(&schema, PatternHolder::Server).unwrap();
        let follows = |field, text| schema.follows_pattern(field, text);
        assert!(follows("id", "123") && !follows("id", "Sums") && !follows("id", "123/4"));
        assert!(follows("text", "Sums") && follows("ahead", "a") && follows("other", "Sums"));
    }

    #[test]
    fn pattern_that_nobody_would_hold_is_refused() {
        for pattern in [
            "^(?!monday)",
            "((",
            "[a-",
            "*a",
            "a)",
            "(?<x",
            r"\p{Foo}",
            "a{2,1}",
        ] {
            let field = json!({"type": "string", "pattern": pattern});
            let named = json!({"patternProperties": {pattern: {}}});
            for schema in [json!({"properties": {"text": field}}), named] {
                let why = Schema::compile(&schema, PatternHolder::Gateway).err();
                let why = why.unwrap_or_else(|| panic!("{schema}"));
                assert!(why.contains("nothing would be held to it"), "{why}");
            }
        }
        // The control.
        let field = json!({"properties": {"text": {"type": "string", "pattern": "^a+$"}}});
        let held = Schema::compile(&field, PatternHolder::Gateway).unwrap();
        let why = "The input does not fit the schema at '/text' (pattern: ^a+$).";
        assert_eq!(held.check(&json!({"text": "b"})), Err(why.to_owned()));
    }

    #[test]
    fn messages_of_the_wire() {
        let schema = json!({
            "type": "object",
            "properties": {"path": {"type": "string", "minLength": 1}, "n": {"type": "integer"}, "act": {"enum": ["steep", "pour\u{202e}"]},
                "long": {"pattern": format!("^{}$", "a".repeat(300))}},
            "required": ["path"],
            "additionalProperties": false
        });
        let schema = Schema::compile(&schema, PatternHolder::Gateway).unwrap();
        #[rustfmt::skip]
        let rows = [
            (json!({}), "Missing required input field(s): path."),
            (json!({"path": null}), "Input field 'path' must be a string (got null)."),
            (json!({"path": "x", "n": 1.5}), "Input field 'n' must be an integer (got number)."),
            (json!({"path": "x", "paths": 1}), "Unknown input field 'paths' (additionalProperties:false); did you mean 'path'?"),
            (json!({"path": "x", "y": 1}), "Unknown input field 'y' (additionalProperties:false)."),
            (json!({"path": ""}), "The input does not fit the schema at '/path' (minLength: 1)."),
            (
                json!({"path": "x", "act": "burn"}),
                "The input does not fit the schema at '/act' (enum: [\"steep\",\"pour\\u{202e}\"]).",
            ),
            (json!([]), "The input must be an object (got array)."),
        ];
        for (input, says) in rows {
            assert_eq!(schema.check(&input).unwrap_err(), says);
        }
        assert!(schema.check(&json!({"path": "x", "n": 2.0})).is_ok());
        let why = schema.check(&json!({"path": "x", "long": "my value"}));
        let bound = format!("^{}…", "a".repeat(MAX_BOUND - 1));
        assert_eq!(
            why.unwrap_err(),
            format!("The input does not fit the schema at '/long' (pattern: {bound}).")
        );
    }
}
