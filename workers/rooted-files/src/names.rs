//! How names are compared when the question is "could these be the same thing?", and in which order they are shown.
//!
//! Comparing never opens anything: a file is always opened by the bytes it was asked for.

use std::{borrow::Cow, cmp::Ordering};

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// The text in Unicode normal form C.
#[must_use]
pub fn nfc(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.nfc().collect())
    }
}

/// The text in Unicode normal form D.
#[must_use]
pub fn nfd(text: &str) -> String {
    text.nfd().collect()
}

/// The text in a form that is equal for names a person, or a case-insensitive file system, takes for the same: NFC and
/// case-folded. Folding goes through upper case because `ſ` and the ligatures meet their plain letters only there, and
/// to it through lower case because `ẞ` meets `ß` there.
#[must_use]
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let upper: String = nfc(text)
        .chars()
        .flat_map(char::to_lowercase)
        .flat_map(char::to_uppercase)
        .collect();
    upper.chars().flat_map(char::to_lowercase).nfc().collect()
}

/// As [`fold`], for names that a file system looks up: also drops what those that fold do not look at, so that
/// `sec\u{ad}ret` meets `secret`. To be asked for every verdict on a name that hangs on what it leads to.
#[must_use]
pub fn fold_for_lookup(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    fold(&without_ignored(text))
}

/// The text without the characters that a file system may not look at in names.
pub(crate) fn without_ignored(text: &str) -> String {
    text.chars().filter(|c| !is_ignored_in_names(*c)).collect()
}

/// As [`fold_for_lookup`], for guarding: also drops the final dots and spaces that FAT and SMB servers drop, so that
/// `.g\u{200c}it` and `.git.` meet `.git`.
#[must_use]
pub fn fold_for_guard(component: &str) -> String {
    let mut folded = fold_for_lookup(component);
    folded.truncate(folded.trim_end_matches(['.', ' ']).len());
    folded
}

/// `Default_Ignorable_Code_Point`, which ext4 and f2fs leave out where a folder folds case. Source: Unicode 16,
/// `DerivedCoreProperties.txt`. Holds what HFS+ ignores: Apple TN1150, "Unicode Subtleties", the list git has used since
/// CVE-2014-9390.
pub(crate) const fn is_ignored_in_names(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fff8}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Order by UTF-16 code unit: what JavaScript clients of the wire sort by.
#[must_use]
pub fn code_unit_order(a: &str, b: &str) -> Ordering {
    if a.is_ascii() || b.is_ascii() {
        // Against ASCII, UTF-8 and UTF-16 agree on the order of the first difference.
        return a.as_bytes().cmp(b.as_bytes());
    }
    a.encode_utf16().cmp(b.encode_utf16())
}

/// The text with everything a terminal or a page could act on (controls, bidirectional overrides, line separators)
/// written as `\u{…}`. Tab and line feed stay where `keep_lines` is set.
#[must_use]
pub fn escape_controls(text: &str, keep_lines: bool) -> Cow<'_, str> {
    let harmless = |c: char| {
        (keep_lines && matches!(c, '\n' | '\t'))
            || !(c.is_control()
                || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'))
    };
    if text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if harmless(c) {
            out.push(c);
        } else {
            out.extend(c.escape_unicode());
        }
    }
    Cow::Owned(out)
}
