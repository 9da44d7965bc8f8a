//! What a text holds, said with the text where it is not so.

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
