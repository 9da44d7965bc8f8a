//! Labels that third parties write and the owner tells things apart by: of sources, capabilities, folders, texts.
//!
//! Invariants: a label is one line in one script (Unicode UTS 39, "highly restrictive": Latin may stand with Japanese, Chinese
//! or Korean); two labels that read the same have one skeleton. How an owner names a source is the owner's own.
//!
//! Must not know: which sources there are.

use plexus_ipc::text::Line;
use std::collections::BTreeSet;
use unicode_normalization::{UnicodeNormalization as _, char::is_combining_mark};
use unicode_security::mixed_script::AugmentedScriptSet;

/// Longest label, in bytes.
pub(crate) const MAX_LABEL: usize = 100;

/// Why a third party cannot label something so.
pub(crate) fn refused(label: &str) -> Option<String> {
    if label.trim().is_empty() || *Line::<MAX_LABEL>::new(label) != *label {
        return Some(format!("is not one line of 1 to {MAX_LABEL} bytes"));
    }
    if speaks_of_plexus(label) {
        return Some("speaks of Plexus, which is not its author; choose another".to_owned());
    }
    let scripts = scripts(label)?;
    Some(format!(
        "mixes scripts ({scripts}), by which one label can imitate another; write it in one script"
    ))
}

/// Whether words of an author could be taken for the gateway's own.
pub(crate) fn speaks_of_plexus(text: &str) -> bool {
    skeleton(text).contains(&skeleton("plexus"))
}

/// Whether two labels or ids read the same.
pub(crate) fn are_alike(one: &str, other: &str) -> bool {
    skeleton(one) == skeleton(other)
}

/// The label and id of a source, as they read.
#[derive(Debug)]
pub struct NamesRead([String; 2]);

impl NamesRead {
    /// How the label and id of a source read.
    #[must_use]
    pub fn of(names: [&str; 2]) -> Self {
        Self(names.map(skeleton))
    }

    /// Whether one of them reads like one of `others`.
    #[must_use]
    pub fn imitate(&self, others: [&str; 2]) -> bool {
        let mut others = others.into_iter().map(skeleton);
        others.any(|other| self.0.contains(&other))
    }
}

/// The first of `labels` that reads like an earlier one and is not spelled like it, with that one.
pub(crate) fn imitation<'l>(labels: &[&'l str]) -> Option<(&'l str, &'l str)> {
    let read: Vec<_> = labels
        .iter()
        .map(|label| (*label, skeleton(label)))
        .collect();
    read.iter().enumerate().find_map(|(at, (label, reads))| {
        let earlier = read[..at]
            .iter()
            .find(|(other, as_)| as_ == reads && other != label);
        earlier.map(|(other, _)| (*label, *other))
    })
}

/// The scripts of a text, where they are no usual mix.
fn scripts(text: &str) -> Option<String> {
    let (mut all, mut beside_latin) = <(AugmentedScriptSet, AugmentedScriptSet)>::default();
    let latin = AugmentedScriptSet::for_char('a');
    let mut found = BTreeSet::new();
    // Compatibility forms, such as the micro sign, are of no script: the skeleton sees through them.
    for set in text.nfc().map(AugmentedScriptSet::for_char) {
        all.intersect_with(set);
        if set != latin {
            beside_latin.intersect_with(set);
        }
        if !set.is_all() {
            found.insert(set.to_string());
        }
    }
    let is_usual = !all.is_empty() || beside_latin.hanb || beside_latin.jpan || beside_latin.kore;
    (!is_usual).then(|| found.into_iter().collect::<Vec<_>>().join("; "))
}

/// An id or label without what makes it look unlike another one that reads the same.
fn skeleton(text: &str) -> String {
    let plain: String = text.nfkc().collect();
    let same = unicode_security::skeleton(&plain)
        .filter(|c| c.is_alphanumeric() || is_combining_mark(*c))
        .flat_map(char::to_lowercase)
        .map(|c| match c {
            '0' => 'o',
            '1' | 'l' | '|' => 'i',
            '5' => 's',
            c => c,
        });
    let same = same.collect::<String>();
    match same.is_empty() {
        true => text.to_owned(),
        false => same.replace("rn", "m").replace("vv", "w"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_in_one_script_passes_and_a_mix_does_not() {
        let honest = "Journal|Größe und Café №5|Календарь 2|日本語メモ Notes|中文笔记 (Notes)|\
            한국어 노트 2|Ελληνικά|עברית|µTorrent → 3|🙂";
        for honest in honest.split('|') {
            assert_eq!(refused(honest), None, "{honest}");
        }
        for mixed in ["Саlendar", "Jоurnal", "Ωmega", "日本語 Календарь"] {
            let why = refused(mixed).unwrap_or_else(|| panic!("{mixed}"));
            assert!(why.contains("write it in one script"), "{why}");
        }
        for own in ["PIexus", "\u{1d40f}lexus", "Ｐｌｅｘｕｓ", "P l e x u s"] {
            let why = refused(own).unwrap_or_else(|| panic!("{own}"));
            assert!(why.contains("speaks of Plexus"), "{why}");
        }
    }

    #[test]
    fn labels_that_read_the_same_are_alike() {
        for (one, other) in [
            ("Сосо", "Coco"),
            ("ＮＯＴＥＳ", "notes"),
            ("N0tes", "notes"),
            ("\u{1d40d}otes", "Notes"),
            ("Modern", "Modem"),
            ("Ноте", "Hote"),
        ] {
            assert_eq!(are_alike(one, other), one != "Ноте", "{one} {other}");
        }
        for (one, other) in [
            ("Cafe", "Café"),
            ("かき", "がき"),
            ("🙂", "🙁"),
            ("Notes", "Note"),
        ] {
            assert!(!are_alike(one, other), "{one} {other}");
        }
        assert_eq!(imitation(&["Read", "Write", "Read"]), None);
        assert_eq!(
            imitation(&["Read", "Write", "Reаd"]),
            Some(("Reаd", "Read"))
        );
    }
}
