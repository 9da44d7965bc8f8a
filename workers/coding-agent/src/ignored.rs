//! Ignore rules of a folder: which of its files a copy leaves out.
//!
//! ```text
//! .gitignore of each folder, .git/info/exclude ─▶ IgnoreTexts, kept with the snapshot ─▶ IgnoreRules: is this path ignored?
//!                                                     the owner's `copyIgnored` overrides both
//! ```
//! Invariants: rules are read from the owner's folder, hidden ones too, through its handle and never by git; a copy, which a run may write to,
//! is judged by the rules of the folder that it was made of; `.git` itself is never ignored; rules that are there and cannot be
//! used leave out their whole folder.
//!
//! Must not know: what is copied, why.

use ignore::{
    Match,
    gitignore::{Gitignore, GitignoreBuilder},
};
use plexus_rooted_files::{FileError, HiddenPaths, Hide, HideRules, RelPath, Root};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

/// Longest file of rules that is read, and all of them together, in bytes.
const LONGEST: usize = 256 * 1024;
const MOST_BYTES: usize = 4 * 1024 * 1024;
/// Rules that leave out everything.
const ALL: &str = "*\n";

/// The rules of a folder as they were written.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct IgnoreTexts {
    /// Of each folder that has any.
    folders: BTreeMap<RelPath, String>,
    /// Of `.git/info/exclude`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    exclude: String,
    /// What is copied although it is ignored, as the owner writes it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    copied: Vec<String>,
    /// What runs read in place, so that neither a copy nor a change set has it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    shared: Vec<RelPath>,
}

/// What decides which files of a folder a copy leaves out.
#[derive(Debug)]
pub(crate) struct Ignoring {
    /// The folder with its rules, whatever of it is hidden.
    pub(crate) rules: Root,
    /// What runs have although it is ignored.
    pub(crate) copied: Vec<String>,
    /// What runs read in place.
    pub(crate) shared: Vec<RelPath>,
    /// Where the folder is, if runs have its history: nothing of it is hidden.
    pub(crate) history: Option<PathBuf>,
}

impl IgnoreTexts {
    /// What is shared does not exist in a copy, whatever its run has put there.
    pub(crate) fn unshared(&self, copy: Root) -> Root {
        match self.shared.is_empty() {
            true => copy,
            false => copy.hiding(Arc::new(Shared(self.shared.clone()))),
        }
    }
}

/// What runs read in place, exactly as the owner spells it: another spelling is another folder, which the copy has.
#[derive(Debug)]
struct Shared(Vec<RelPath>);

impl Hide for Shared {
    fn hides(&self, _: &Root, path: &RelPath) -> bool {
        let mut at_or_above = std::iter::successors(Some(path.clone()), folder_of);
        at_or_above.any(|path| self.0.contains(&path))
    }
}

/// The rules, ready to be asked.
#[derive(Debug)]
pub(crate) struct IgnoreRules {
    texts: IgnoreTexts,
    folders: BTreeMap<RelPath, Gitignore>,
    exclude: Option<Gitignore>,
    copied: HiddenPaths,
    bytes: usize,
}

impl IgnoreRules {
    /// Of the folder itself; those of the folders in it come with [`IgnoreRules::enter`].
    pub(crate) fn of(
        Ignoring {
            rules: root,
            copied,
            shared,
            ..
        }: &Ignoring,
    ) -> Self {
        let exclude = RelPath::parse(".git/info/exclude").ok();
        let texts = IgnoreTexts {
            folders: BTreeMap::new(),
            exclude: exclude
                .and_then(|path| read(root, &path))
                .unwrap_or_default(),
            copied: copied.clone(),
            shared: shared.clone(),
        };
        let mut rules = Self::new(texts);
        rules.enter(root, &RelPath::root());
        rules
    }

    /// As they were when a copy was made.
    pub(crate) fn new(texts: IgnoreTexts) -> Self {
        let folders = texts.folders.iter();
        let globs = HideRules {
            globs: texts.copied.clone(),
            ..HideRules::default()
        };
        Self {
            folders: folders
                .filter_map(|(folder, text)| Some((folder.clone(), compiled(text)?)))
                .collect(),
            exclude: compiled(&texts.exclude),
            copied: HiddenPaths::new(&globs),
            bytes: texts.folders.values().map(String::len).sum(),
            texts,
        }
    }

    /// Reads those of a folder, whose files are asked about next.
    pub(crate) fn enter(&mut self, root: &Root, folder: &RelPath) {
        let text = folder.join(".gitignore").ok();
        let Some(mut text) = text.and_then(|path| read(root, &path)) else {
            return;
        };
        self.bytes += text.len();
        if self.bytes > MOST_BYTES {
            ALL.clone_into(&mut text);
        }
        if let Some(rules) = compiled(&text) {
            self.folders.insert(folder.clone(), rules);
            self.texts.folders.insert(folder.clone(), text);
        }
    }

    /// Whether a path is ignored, whose folder is not.
    pub(crate) fn ignore(&self, path: &RelPath, is_folder: bool) -> bool {
        if path.components().any(|name| name == ".git") || self.copied.hide(path) {
            return false;
        }
        let above = std::iter::successors(folder_of(path), folder_of);
        let exclude = self.exclude.as_ref().map(|rules| (RelPath::root(), rules));
        let rules = above.filter_map(|folder| Some((folder.clone(), self.folders.get(&folder)?)));
        // The folder that is nearest has the last word.
        for (folder, rules) in rules.chain(exclude) {
            let within = match folder.is_root() {
                true => path.as_str(),
                false => path.as_str()[folder.as_str().len()..].trim_start_matches('/'),
            };
            match rules.matched(within, is_folder) {
                Match::None => {}
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
            }
        }
        false
    }

    /// Whether runs read this path in place.
    pub(crate) fn is_shared(&self, path: &RelPath) -> bool {
        self.texts.shared.contains(path)
    }

    /// As they were written, to judge the copy by.
    pub(crate) fn into_texts(self) -> IgnoreTexts {
        self.texts
    }
}

fn folder_of(path: &RelPath) -> Option<RelPath> {
    path.split_last().map(|(folder, _)| folder)
}

/// The text of a file of rules; one that is there and cannot be used leaves out all that it is about.
fn read(root: &Root, path: &RelPath) -> Option<String> {
    match root.read(path) {
        Ok(read) if read.bytes.len() <= LONGEST => {
            Some(String::from_utf8_lossy(&read.bytes).into_owned())
        }
        Err(FileError::NotFound(_)) => None,
        Ok(_) | Err(_) => Some(ALL.to_owned()),
    }
}

/// A line that is no rule is left out, as git does.
fn compiled(text: &str) -> Option<Gitignore> {
    let mut builder = GitignoreBuilder::new("");
    for line in text.trim_start_matches('\u{feff}').lines() {
        let _ = builder.add_line(None, line);
    }
    builder.build().ok().filter(|rules| !rules.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{run::names_of, snapshot::Snapshot};
    use plexus_rooted_files::Policy;
    use std::fs;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text).unwrap()
    }

    #[test]
    fn nearest_rules_have_the_last_word() {
        let dir = tempfile::tempdir().unwrap();
        for (file, text) in [
            (".gitignore", "target/\n*.log\n/only-here\n"),
            ("app/.gitignore", "!keep.log\nbuild\n"),
            (".git/info/exclude", "mine.txt\n*.tmp\n"),
        ] {
            let file = dir.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let root = Root::open(dir.path(), Policy::default()).unwrap();
        let ignoring = Ignoring {
            rules: root,
            copied: vec!["special.log".to_owned(), "vendor".to_owned()],
            shared: Vec::new(),
            history: None,
        };
        let mut rules = IgnoreRules::of(&ignoring);
        rules.enter(&ignoring.rules, &path("app"));
        let again = IgnoreRules::new(rules.texts.clone());
        for (text, is_folder, ignored) in [
            ("target", true, true),
            ("app/target", true, true),
            ("target", false, false),
            ("a.log", false, true),
            ("app/keep.log", false, false),
            ("app/other.log", false, true),
            ("app/build", true, true),
            ("build", true, false),
            ("only-here", false, true),
            ("app/only-here", false, false),
            ("app/mine.txt", false, true),
            ("special.log", false, false),
            ("vendor", true, false),
            ("vendor/x.log", false, false),
            (".git/x.log", false, false),
            ("src", true, false),
        ] {
            for rules in [&rules, &again] {
                assert_eq!(rules.ignore(&path(text), is_folder), ignored, "{text}");
            }
        }
    }

    #[test]
    fn shared_folder_is_exact_in_folder_and_copy() {
        let (folder, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for file in ["vendor/a", "Vendor/b", "vendors/c", "deep/vendor/d"] {
            let file = folder.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "x").unwrap();
        }
        let open = |dir: &tempfile::TempDir| Root::open(dir.path(), Policy::default()).unwrap();
        let ignoring = Ignoring {
            rules: open(&folder),
            copied: Vec::new(),
            shared: vec![path("vendor")],
            history: None,
        };
        let copied = Snapshot::copy(&open(&folder), copy.path(), &ignoring, &|| false).unwrap();
        let files: Vec<_> = copied.files.keys().map(RelPath::as_str).collect();
        assert_eq!(files, ["Vendor/b", "deep/vendor/d", "vendors/c"]);
        // What lies in its place in the copy is a link at first, and what the run made of it later.
        std::os::unix::fs::symlink(folder.path().join("vendor"), copy.path().join("vendor"))
            .unwrap();
        let seen = || {
            let copy = copied.rules.unshared(open(&copy));
            Snapshot::of_copy(&copy, &copied.rules, &|| false).unwrap()
        };
        let linked = seen();
        assert_eq!((linked.files, linked.omitted), (copied.files.clone(), 0));
        fs::remove_file(copy.path().join("vendor")).unwrap();
        fs::create_dir(copy.path().join("vendor")).unwrap();
        fs::write(copy.path().join("vendor/planted"), "x").unwrap();
        assert_eq!(seen().files, copied.files);
    }

    #[test]
    fn hidden_rules_count_and_many_ignored_files_are_said() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join(".git/info")).unwrap();
        fs::write(dir.path().join(".git/info/exclude"), "*.tmp\n").unwrap();
        fs::write(dir.path().join("kept"), "k").unwrap();
        for number in 0..1000 {
            fs::write(dir.path().join(format!("{number}.tmp")), "").unwrap();
        }
        let open = || Root::open(dir.path(), Policy::default()).unwrap();
        let ignoring = Ignoring {
            rules: open(),
            copied: Vec::new(),
            shared: Vec::new(),
            history: None,
        };
        let hide = HideRules {
            folders: vec![".git".to_owned()],
            ..HideRules::default()
        };
        let root = open().hiding(Arc::new(HiddenPaths::new(&hide)));
        let size = || Snapshot::size(&root, &ignoring, &|| false).unwrap();
        let found = size();
        assert_eq!((found.files, found.ignores_more), (1, false));
        assert!(names_of(&found.ignored).ends_with(" and 992 more"));
        for number in 1000..1300 {
            fs::write(dir.path().join(format!("{number}.tmp")), "").unwrap();
        }
        let found = size();
        assert_eq!((found.files, found.ignores_more), (1, true));
        assert!(names_of(&found.ignored).ends_with(" and more than 992 more"));
    }
}
