//! The owner's answer to a question that a lent server asks: from flags, and typed for the required ones that are left.
//!
//! Invariant: what is sent are values of the fields that were shown; the gateway holds them against these once more.

use crate::{
    owner::{Desk, list_of, text_of},
    prompt,
};
use plexus_client::{Stop, text};
use serde_json::{Map, Value};

/// The values for the fields of `item`.
///
/// # Errors
/// A field that it does not have, a value that is none; a field that is missing where nobody can be asked.
pub(super) fn values(
    desk: &Desk,
    item: &Value,
    given: &[String],
) -> Result<Map<String, Value>, Stop> {
    let fields = list_of(&item["question"], "fields");
    let mut values = Map::new();
    for answer in given {
        let (name, value) = answer.split_once('=').ok_or_else(|| {
            Stop::usage(format!("--answer {} is not NAME=VALUE", text::line(answer)))
        })?;
        let field = fields.iter().find(|field| text_of(field, "name") == name);
        let field = field.ok_or_else(|| {
            Stop::usage(format!("the question has no field {}", text::line(name)))
        })?;
        add(&mut values, field, value)?;
    }
    for field in fields {
        let name = text_of(field, "name");
        if values.contains_key(name) {
            continue;
        }
        if field["required"] != true {
            continue;
        }
        if !desk.can_ask() {
            let why = format!(
                "the field {} needs a value: --answer {0}=VALUE",
                text::line(name)
            );
            return Err(Stop::usage(why));
        }
        add(&mut values, field, &prompt::line(name)?)?;
    }
    Ok(values)
}

fn add(values: &mut Map<String, Value>, field: &Value, typed: &str) -> Result<(), Stop> {
    let name = text_of(field, "name");
    let value = read(text_of(field, "type"), typed);
    let value = value.ok_or_else(|| {
        Stop::usage(format!(
            "{} takes another value: see the card",
            text::line(name)
        ))
    })?;
    match values.get_mut(name) {
        None => {
            values.insert(name.to_owned(), value);
        }
        Some(Value::Array(all)) => all.extend(value.as_array().cloned().unwrap_or_default()),
        Some(_) => return Err(Stop::usage(format!("{} is given twice", text::line(name)))),
    }
    Ok(())
}

/// What was typed, as a value of this kind of field.
fn read(kind: &str, typed: &str) -> Option<Value> {
    match kind {
        "boolean" => match typed.to_ascii_lowercase().as_str() {
            "y" | "yes" | "true" => Some(true.into()),
            "n" | "no" | "false" => Some(false.into()),
            _ => None,
        },
        "integer" => typed.trim().parse::<i64>().ok().map(Value::from),
        "number" => serde_json::Number::from_f64(typed.trim().parse().ok()?).map(Value::Number),
        "choices" => Some(vec![Value::from(typed)].into()),
        _ => Some(typed.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn typed_text_becomes_a_value_of_its_field() {
        for (kind, typed, value) in [
            ("boolean", "Yes", json!(true)),
            ("boolean", "no", json!(false)),
            ("integer", " 5", json!(5)),
            ("number", "0.5", json!(0.5)),
            ("choice", "a b", json!("a b")),
            ("text", "5", json!("5")),
        ] {
            assert_eq!(read(kind, typed), Some(value), "{kind} {typed}");
        }
        for (kind, typed) in [("boolean", "maybe"), ("integer", "1.5"), ("number", "NaN")] {
            assert_eq!(read(kind, typed), None, "{kind} {typed}");
        }
        let field = json!({"name": "a", "type": "choices"});
        let mut values = Map::new();
        add(&mut values, &field, "x").unwrap();
        add(&mut values, &field, "y").unwrap();
        assert_eq!(values["a"], json!(["x", "y"]));
    }
}
