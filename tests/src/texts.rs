//! What a text holds, said with the text where it is not so.

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
