//! The owner's answer to a question that a lent server asks: from flags, and typed for the required ones that are left.
//!
//! Invariant: what is sent are values of the fields that were shown; the gateway holds them against these once more.

use crate::{owner::Desk, prompt};
use plexus_client::{Stop, text};
use plexus_owner::pending::{Field, FieldType, Question};
use serde_json::{Map, Value};

/// The values for the fields of a question.
///
/// # Errors
/// A field that it does not have, a value that is none; a field that is missing where nobody can be asked.
pub(super) fn values(
    desk: &Desk,
    question: &Question,
    given: &[String],
) -> Result<Map<String, Value>, Stop> {
    let fields = question.fields();
    let mut values = Map::new();
    for answer in given {
        let (name, value) = answer.split_once('=').ok_or_else(|| {
            Stop::usage(format!("--answer {} is not NAME=VALUE", text::line(answer)))
        })?;
        let field = fields.iter().find(|field| field.name == name);
        let field = field.ok_or_else(|| {
            Stop::usage(format!("the question has no field {}", text::line(name)))
        })?;
        add(&mut values, field, value)?;
    }
    for field in fields {
        let name = &field.name;
        if values.contains_key(name) || !field.required {
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

fn add(values: &mut Map<String, Value>, field: &Field, typed: &str) -> Result<(), Stop> {
    let name = &field.name;
    let value = read(field.kind, typed);
    let value = value.ok_or_else(|| {
        Stop::usage(format!(
            "{} takes another value: see the card",
            text::line(name)
        ))
    })?;
    match values.get_mut(name) {
        None => {
            values.insert(name.clone(), value);
        }
        Some(Value::Array(all)) => all.extend(value.as_array().cloned().unwrap_or_default()),
        Some(_) => return Err(Stop::usage(format!("{} is given twice", text::line(name)))),
    }
    Ok(())
}

/// What was typed, as a value of this kind of field.
fn read(kind: FieldType, typed: &str) -> Option<Value> {
    match kind {
        FieldType::Boolean => match typed.to_ascii_lowercase().as_str() {
            "y" | "yes" | "true" => Some(true.into()),
            "n" | "no" | "false" => Some(false.into()),
            _ => None,
        },
        FieldType::Integer => typed.trim().parse::<i64>().ok().map(Value::from),
        FieldType::Number => {
            serde_json::Number::from_f64(typed.trim().parse().ok()?).map(Value::Number)
        }
        FieldType::Choices => Some(vec![Value::from(typed)].into()),
        FieldType::Choice | FieldType::Text => Some(typed.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn typed_text_becomes_a_value_of_its_field() {
        for (kind, typed, value) in [
            (FieldType::Boolean, "Yes", json!(true)),
            (FieldType::Boolean, "no", json!(false)),
            (FieldType::Integer, " 5", json!(5)),
            (FieldType::Number, "0.5", json!(0.5)),
            (FieldType::Choice, "a b", json!("a b")),
            (FieldType::Text, "5", json!("5")),
        ] {
            assert_eq!(read(kind, typed), Some(value), "{kind:?} {typed}");
        }
        for (kind, typed) in [
            (FieldType::Boolean, "maybe"),
            (FieldType::Integer, "1.5"),
            (FieldType::Number, "NaN"),
        ] {
            assert_eq!(read(kind, typed), None, "{kind:?} {typed}");
        }
        let field = json!({"name": "a", "label": "A", "required": false, "type": "choices"});
        let field: Field = serde_json::from_value(field).unwrap();
        let mut values = Map::new();
        add(&mut values, &field, "x").unwrap();
        add(&mut values, &field, "y").unwrap();
        assert_eq!(values["a"], json!(["x", "y"]));
    }
}
