//! From a word on a command line to the value of a field.
//!
//! Must not know: which field.

use plexus_protocol::json;
use serde_json::Value;

/// The types that `about`, the schema of a field, allows; none where it says nothing.
#[must_use]
pub fn types(about: &Value) -> Vec<&str> {
    match &about["type"] {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// `text` as what `about` says, or what it would have to be.
///
/// # Errors
/// The type that it would have to have, in words.
pub fn of_text(text: &str, about: &Value) -> Result<Value, &'static str> {
    let types = types(about);
    let literal = json::parse_wide(text.as_bytes()).ok();
    if types.is_empty() {
        return Ok(literal.unwrap_or_else(|| text.into()));
    }
    // Text that is allowed to be text stays text: "42" may be the name of a note.
    let only_if_needed = types.contains(&"string");
    let fits = |value: &Value| {
        types.iter().any(|t| match *t {
            "integer" => value.as_f64().is_some_and(|n| n.fract() == 0.0),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "null" => value.is_null(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            _ => false,
        })
    };
    match literal.filter(|value| fits(value)) {
        Some(value) if !only_if_needed || value.is_array() || value.is_object() => Ok(value),
        _ if only_if_needed => Ok(text.into()),
        _ if types.contains(&"array") => {
            let items = &about["items"];
            let item = of_text(text, items).map_err(|want| match self::types(items).first() {
                Some(&"object") => "a JSON array of objects, or one such object",
                _ => want,
            });
            Ok(Value::Array(vec![item?]))
        }
        _ => Err(match types[0] {
            "integer" => "a whole number",
            "number" => "a number",
            "boolean" => "true or false",
            "object" => "a JSON object",
            _ => "null",
        }),
    }
}
