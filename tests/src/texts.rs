//! Checks of a text or a value, which show it where it is otherwise.

use serde_json::Value;

/// The text that a value is.
///
/// # Panics
/// When it is none.
#[must_use]
#[track_caller]
pub fn text_of(value: &Value) -> String {
    let Value::String(text) = value else {
        panic!("no text: {value}");
    };
    text.clone()
}

/// The list that a value is.
///
/// # Panics
/// When it is none.
#[must_use]
#[track_caller]
pub fn list_of(value: &Value) -> &Vec<Value> {
    let Value::Array(list) = value else {
        panic!("no list: {value}");
    };
    list
}

/// Holds that `whole` has `part` in it.
///
/// # Panics
/// When it has not.
#[track_caller]
pub fn assert_contains(whole: &str, part: &str) {
    assert!(whole.contains(part), "{part:?} is not in:\n{whole}");
}

/// Holds that `whole` does not have `part` in it.
///
/// # Panics
/// When it has.
#[track_caller]
pub fn assert_lacks(whole: &str, part: &str) {
    assert!(!whole.contains(part), "{part:?} is in:\n{whole}");
}

/// Holds that a value has all that `wanted` has: of an object these members, of a list as many things, each like its own.
/// A member that is wanted as null may be missing.
///
/// # Panics
/// When it has not.
#[track_caller]
pub fn assert_like(whole: &Value, wanted: &Value) {
    assert!(is_like(whole, wanted), "not like {wanted}:\n{whole:#}");
}

fn is_like(whole: &Value, wanted: &Value) -> bool {
    match (whole, wanted) {
        (Value::Object(_), Value::Object(members)) => {
            let mut members = members.iter();
            members.all(|(name, wanted)| is_like(&whole[name], wanted))
        }
        (Value::Array(list), Value::Array(wanted)) => {
            let mut both = list.iter().zip(wanted);
            list.len() == wanted.len() && both.all(|(one, wanted)| is_like(one, wanted))
        }
        _ => whole == wanted,
    }
}
