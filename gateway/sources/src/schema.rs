//! Does an input fit its schema? Compiled once; messages in the order of docs/protocol/agents.md#call.

use crate::budget::MAX_PATTERN;
use serde_json::{Map, Value};

/// What matching one pattern may keep for the next time, in bytes.
const MAX_CACHE: usize = 256 << 10;

/// A compiled input schema.
pub struct Schema {
    required: Vec<String>,
    properties: Map<String, Value>,
    closed: bool,
    whole: jsonschema::Validator,
}

impl Schema {
    /// # Errors
    /// When it is not a JSON schema.
    pub(crate) fn compile(schema: &Value) -> Result<Self, String> {
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
            // An engine without backtracking: a schema may be a stranger's.
            whole: jsonschema::options()
                .with_pattern_options(
                    jsonschema::PatternOptions::regex()
                        .size_limit(MAX_PATTERN)
                        .dfa_size_limit(MAX_CACHE),
                )
                .build(schema)
                .map_err(|e| e.to_string())?,
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
                return Err(format!(
                    "Input field '{key}' must be a {declared} (got {}).",
                    type_of(value)
                ));
            }
        }
        if self.closed
            && let Some(key) = fields
                .keys()
                .find(|key| !self.properties.contains_key(*key))
        {
            return Err(format!(
                "Unknown input field '{key}' (additionalProperties:false)."
            ));
        }
        match self.whole.validate(input) {
            Ok(()) => Ok(()),
            Err(error) => {
                // The path only: the message of the validator may quote the value.
                let at = error.instance_path().to_string();
                Err(format!(
                    "The input does not fit the schema at '{}'.",
                    if at.is_empty() { "/" } else { &at }
                ))
            }
        }
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
    fn messages_of_the_wire() {
        let schema = Schema::compile(&json!({
            "type": "object",
            "properties": {"path": {"type": "string", "minLength": 1}, "n": {"type": "integer"}},
            "required": ["path"],
            "additionalProperties": false
        }))
        .unwrap();
        for (input, says) in [
            (json!({}), "Missing required input field(s): path."),
            (
                json!({"path": null}),
                "Input field 'path' must be a string (got null).",
            ),
            (
                json!({"path": "x", "n": 1.5}),
                "Input field 'n' must be a integer (got number).",
            ),
            (
                json!({"path": "x", "y": 1}),
                "Unknown input field 'y' (additionalProperties:false).",
            ),
            (
                json!({"path": ""}),
                "The input does not fit the schema at '/path'.",
            ),
            (json!([]), "The input must be an object (got array)."),
        ] {
            assert_eq!(schema.check(&input).unwrap_err(), says);
        }
        assert!(schema.check(&json!({"path": "x", "n": 2.0})).is_ok());
    }
}
