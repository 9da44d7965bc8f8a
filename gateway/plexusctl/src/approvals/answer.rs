//! The owner's answer to a question that a lent server asks: from flags, and typed for the required ones that are left.
//!
//! Invariant: what is sent are values of the fields that were shown; the gateway holds them against these once more.

use crate::{owner::Desk, prompt};
use plexus_client::{Stop, text};
use plexus_owner::pending::{Field, FieldType, Question};
use plexus_protocol::PendingId;
use plexus_sheet::values_taken;
use serde_json::{Map, Number, Value};

/// The values for the fields of a question, which waits as `id`.
///
/// # Errors
/// A field that it does not have, a value that is none; a field that is missing where nobody can be asked.
pub(super) fn values(
    desk: &Desk,
    id: &PendingId,
    question: &Question,
    given: &[String],
) -> Result<Map<String, Value>, Stop> {
    let fields = question.fields();
    let refused = |why: String| Stop::usage(why).next(format!("plexusctl approvals show {id}"));
    let mut values = Map::new();
    for answer in given {
        let (name, value) = answer
            .split_once('=')
            .ok_or_else(|| refused(format!("--answer {} is not NAME=VALUE", text::line(answer))))?;
        let field = fields.iter().find(|field| field.name == name);
        let field = field.ok_or_else(|| refused(no_field(name, fields)))?;
        add(&mut values, field, value).map_err(refused)?;
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
            return Err(refused(why));
        }
        add(&mut values, field, &prompt::line(name)?).map_err(refused)?;
    }
    Ok(values)
}

/// That a question has no such field, with those that it has.
fn no_field(typed: &str, fields: &[Field]) -> String {
    let names: Vec<_> = fields.iter().map(|field| field.name.as_str()).collect();
    let has = match names.is_empty() {
        true => "this question has none".to_owned(),
        false => format!("fields: {}", text::listed(&names, ", ")),
    };
    format!("there is no field {:?} ({has})", text::line(typed))
}

/// Adds what was typed for a field; the error says why it is not taken.
pub(super) fn add(
    values: &mut Map<String, Value>,
    field: &Field,
    typed: &str,
) -> Result<(), String> {
    let name = &field.name;
    let value = read(field.kind, typed).filter(|value| is_taken(field, value));
    let value = value.ok_or_else(|| {
        let article = match field.kind {
            FieldType::Integer => "an ",
            FieldType::Number => "a ",
            _ => "",
        };
        text::line(&format!("{name} takes {article}{}", values_taken(field)))
    })?;
    match values.get_mut(name) {
        None => {
            values.insert(name.clone(), value);
        }
        Some(Value::Array(all)) => all.extend(value.as_array().cloned().unwrap_or_default()),
        Some(_) => return Err(format!("{} is given twice", text::line(name))),
    }
    Ok(())
}

/// Whether a value is among those of its field, and within its bounds.
fn is_taken(field: &Field, value: &Value) -> bool {
    let is_one = |value: &Value| {
        let of = field.of.as_ref();
        of.is_none_or(|of| of.iter().any(|one| value == one.value.as_str()))
    };
    let number = match field.kind {
        FieldType::Boolean => return true,
        FieldType::Choice => return is_one(value),
        FieldType::Choices => return value.as_array().into_iter().flatten().all(is_one),
        FieldType::Integer | FieldType::Number => value.as_f64(),
        FieldType::Text => value.as_str().map(|text| {
            let long = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
            f64::from(long)
        }),
    };
    let bound = |bound: &Option<Number>| bound.as_ref().and_then(Number::as_f64);
    number.is_some_and(|number| {
        bound(&field.min).is_none_or(|min| number >= min)
            && bound(&field.max).is_none_or(|max| number <= max)
    })
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
        FieldType::Number => Number::from_f64(typed.trim().parse().ok()?).map(Value::Number),
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

    #[test]
    fn refused_answer_says_what_is_taken() {
        let fields: Vec<Field> = serde_json::from_value(json!([
            {"name": "city", "label": "City", "required": true, "type": "text", "max": 4},
            {"name": "seats", "label": "Seats", "required": false, "type": "integer", "min": 1},
            {"name": "class", "label": "Class", "required": true, "type": "choice",
                "of": [{"value": "first", "label": "1"}, {"value": "second", "label": "2"}]},
        ]))
        .unwrap();
        assert_eq!(
            no_field("cty", &fields),
            "there is no field \"cty\" (fields: city, seats, class)"
        );
        let none = "there is no field \"cty\" (this question has none)";
        assert_eq!(no_field("cty", &[]), none);
        let [city, seats, class] = &fields[..] else {
            panic!("{fields:?}");
        };
        let why = |field, typed| add(&mut Map::new(), field, typed).err();
        for (field, good, bad, words) in [
            (
                city,
                "Bern",
                "Geneva",
                "city takes text of up to 4 characters",
            ),
            (seats, "1", "0", "seats takes an integer from 1"),
            (seats, "9", "x", "seats takes an integer from 1"),
            (class, "second", "third", "class takes first | second"),
        ] {
            assert_eq!(why(field, good), None);
            assert_eq!(why(field, bad).as_deref(), Some(words));
        }
    }
}
