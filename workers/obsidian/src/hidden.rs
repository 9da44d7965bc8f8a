//! What the owner hides in a vault: paths, and notes by their tags.
//!
//! Invariants: a note with a hidden tag is treated as absent by everything, because the root itself is asked; its tags
//! are those of the content that is there now, remembered for as long as its stamp is the same; one whose tags cannot be
//! found out is hidden.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use plexus_rooted_files::{
    HiddenPaths, Hide, HideRules, RelPath, Root, Stamp, names::fold, names::fold_for_lookup,
    text::decode,
};

use crate::search::may_have_tag;

/// Notes whose tags are remembered; beyond, all are looked at anew.
const REMEMBERED: usize = 200_000;

/// See the module.
#[derive(Debug)]
pub(crate) struct Hidden {
    paths: HiddenPaths,
    /// Folded, without `#`.
    tags: Vec<String>,
    notes: Mutex<HashMap<RelPath, (Stamp, bool)>>,
}

impl Hidden {
    pub(crate) fn new(rules: &HideRules) -> Self {
        let tag = |tag: &String| fold(tag.trim().trim_start_matches('#').trim_end_matches('/'));
        Self {
            paths: HiddenPaths::new(rules),
            tags: rules
                .tags
                .iter()
                .map(tag)
                .filter(|tag| !tag.is_empty())
                .collect(),
            notes: Mutex::default(),
        }
    }

    fn is_tagged(&self, root: &Root, path: &RelPath) -> bool {
        // Let go of at once: a folder on the way is asked about too.
        let kept = {
            let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
            notes.get(path).copied()
        };
        let known = |stamp: &Stamp| kept.is_some_and(|(of, _)| of == *stamp);
        let (stamp, tagged) = match root.peek(path, known) {
            Ok(None) => return false,
            Ok(Some((_, None))) => return kept.is_some_and(|(_, tagged)| tagged),
            Ok(Some((stamp, Some(file)))) => {
                let text = decode(&file.bytes);
                let is = |text: &str| self.tags.iter().any(|tag| may_have_tag(text, tag));
                (stamp, text.map_or(true, |text| is(&text.content)))
            }
            Err(_) => return true,
        };
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.len() >= REMEMBERED {
            notes.clear();
        }
        notes.insert(path.clone(), (stamp, tagged));
        tagged
    }
}

impl Hide for Hidden {
    fn hides(&self, root: &Root, path: &RelPath) -> bool {
        if self.paths.hide(path) {
            return true;
        }
        !self.tags.is_empty()
            && fold_for_lookup(path.name()).ends_with(".md")
            && self.is_tagged(root, path)
    }
}
