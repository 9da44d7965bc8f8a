//! Input schemas as clients can use them.
//!
//! Clients drop most keywords before a model sees a schema, and some refuse combinators at the root. So the limits of a
//! field stand in its description as well, the root is one closed object, and alternatives become a sentence.

use serde_json::{Map, Value, json};

/// Keywords of a root that clients do not take. The gateway still holds calls to them.
const COMBINATORS: [&str; 8] = [
    "oneOf",
    "anyOf",
    "allOf",
    "not",
    "if",
    "then",
    "else",
    "dependentRequired",
];
/// The deepest level of an input whose limits are repeated.
const DEPTH: usize = 4;

/// The schema that a client gets, and what it does not say any more, as a sentence (empty where it says all).
pub(crate) fn for_client(input: Value) -> (Value, String) {
    let mut root = match input {
        Value::Object(root) => root,
        _ => Map::new(),
    };
    let mut said = Vec::new();
    for keyword in COMBINATORS {
        let Some(value) = root.remove(keyword) else {
            continue;
        };
        if let Some(fields) = required_lists(&value).filter(|_| keyword != "not") {
            let how = match keyword {
                "oneOf" => "exactly one of",
                "anyOf" => "at least one of",
                _ => "all of",
            };
            said.push(format!("Give {how}: {fields}."));
        }
    }
    root.insert("type".into(), "object".into());
    root.entry("properties").or_insert_with(|| json!({}));
    root.insert("additionalProperties".into(), false.into());
    let mut schema = Value::Object(root);
    describe_fields(&mut schema, DEPTH);
    (schema, said.join(" "))
}

/// Whether an input says itself which fields it may have beside its properties.
pub(crate) fn says_of_others(input: &Value) -> bool {
    let others = ["additionalProperties", "patternProperties", "$ref"];
    let mut words = COMBINATORS.iter().chain(&others);
    words.any(|word| !input[*word].is_null())
}

/// The fields of alternatives that each only require some.
fn required_lists(value: &Value) -> Option<String> {
    let alternatives = value.as_array()?.iter().map(|alternative| {
        let fields: Option<Vec<&str>> = alternative["required"]
            .as_array()?
            .iter()
            .map(Value::as_str)
            .collect();
        fields.map(|fields| fields.join(" with "))
    });
    alternatives
        .collect::<Option<Vec<String>>>()
        .map(|all| all.join(", "))
}

fn describe_fields(schema: &mut Value, depth: usize) {
    if depth == 0 {
        return;
    }
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for field in properties.values_mut() {
            repeat_limits(field);
            describe_fields(field, depth - 1);
        }
    }
    if let Some(items) = schema.get_mut("items").filter(|items| items.is_object()) {
        describe_fields(items, depth - 1);
    }
}

fn repeat_limits(field: &mut Value) {
    let limits = limits(field);
    let Some(members) = field.as_object_mut().filter(|_| !limits.is_empty()) else {
        return;
    };
    let said = members
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or("");
    let gap = if said.is_empty() { "" } else { " " };
    let description = format!("{said}{gap}({})", limits.join("; "));
    members.insert("description".into(), description.into());
}

/// The limits of one field, in words.
fn limits(field: &Value) -> Vec<String> {
    let mut said = Vec::new();
    for (least, most, unit) in [
        ("minimum", "maximum", ""),
        ("minLength", "maxLength", " characters"),
        ("minItems", "maxItems", " entries"),
    ] {
        match (field.get(least), field.get(most)) {
            (Some(least), Some(most)) => said.push(format!("{least} to {most}{unit}")),
            (Some(least), None) => said.push(format!("at least {least}{unit}")),
            (None, Some(most)) => said.push(format!("at most {most}{unit}")),
            (None, None) => {}
        }
    }
    for (keyword, words) in [
        ("pattern", "matches"),
        ("format", "format"),
        ("default", "default"),
    ] {
        match field.get(keyword) {
            Some(Value::String(text)) => said.push(format!("{words} {text}")),
            Some(value) => said.push(format!("{words} {value}")),
            None => {}
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_stand_in_the_description_too() {
        let (schema, _) = for_client(json!({"type": "object", "properties": {
            "path": {"type": "string", "minLength": 1, "maxLength": 9, "description": "Where."},
            "limit": {"type": "integer", "maximum": 5, "default": 3},
            "many": {"type": "array", "maxItems": 2, "items": {"type": "object", "properties": {
                "find": {"type": "string", "pattern": "^a"}}}},
            "plain": {"type": "string", "description": "Any."}
        }, "required": ["path"]}));
        let said = |pointer: &str| schema.pointer(pointer).unwrap()["description"].clone();
        assert_eq!(said("/properties/path"), "Where. (1 to 9 characters)");
        assert_eq!(said("/properties/limit"), "(at most 5; default 3)");
        assert_eq!(said("/properties/many"), "(at most 2 entries)");
        assert_eq!(
            said("/properties/many/items/properties/find"),
            "(matches ^a)"
        );
        assert_eq!(said("/properties/plain"), "Any.");
        assert_eq!(schema["required"], json!(["path"]));
        assert_eq!(schema["properties"]["path"]["maxLength"], 9);
    }

    #[test]
    fn root_is_one_closed_object() {
        let (schema, said) = for_client(json!({
            "properties": {"a": {}, "b": {}}, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]
        }));
        assert_eq!(said, "Give exactly one of: a, b.");
        assert_eq!(
            schema,
            json!({"properties": {"a": {}, "b": {}}, "type": "object", "additionalProperties": false})
        );
        let (schema, said) = for_client(Value::Null);
        assert_eq!(said, "");
        assert_eq!(
            schema,
            json!({"type": "object", "properties": {}, "additionalProperties": false})
        );
    }
}
