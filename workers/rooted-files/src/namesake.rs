//! [`Namesake`]: what is there under a name that a person takes for the one that was asked for.
//!
//! Invariants: a namesake is named and never opened. What is hidden is none. One search looks at [`MOST`] names of a folder
//! at most.
//!
//! Must not know: who asks, what they may do.

use std::{
    fmt,
    os::fd::{AsFd, BorrowedFd},
};

use nix::sys::stat::SFlag;

use crate::{
    FileError, RelPath, Root,
    list::for_each_name,
    names::{code_unit_order, fold_for_guard, fold_for_lookup, nfc, without_ignored},
    root::{kind_of, open_dir, stat_in},
};

/// Most names of one folder that are looked at.
const MOST: usize = 2_000;

/// How a name differs from another that reads like it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// To the eye it does not.
    Form,
    /// In upper and lower case.
    Case,
    /// In dots and spaces at its end.
    End,
}

/// What is there in the place of a path that is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namesake {
    /// The path up to the first name that differs, as the disk has it.
    pub first: RelPath,
    /// The whole path, where it leads to something.
    pub whole: Option<RelPath>,
    /// How the first name differs.
    pub difference: Difference,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "in how its letters are composed or in characters that nobody sees",
            Self::Case => "in upper and lower case",
            Self::End => "in dots or spaces at its end",
        })
    }
}

impl Difference {
    fn of(one: &str, other: &str) -> Self {
        let seen = |name: &str| nfc(&without_ignored(name)).into_owned();
        match seen(one) == seen(other) {
            true => Self::Form,
            false if fold_for_lookup(one) == fold_for_lookup(other) => Self::Case,
            false => Self::End,
        }
    }
}

impl Root {
    /// What is there in the place of `path`, which is not there; nothing where a folder cannot be looked at.
    /// `may_tell` says of which paths it may be told that they are there.
    #[must_use]
    pub fn namesake(
        &self,
        path: &RelPath,
        may_tell: &dyn Fn(&RelPath) -> bool,
    ) -> Option<Namesake> {
        if self.is_hidden(path) {
            return None;
        }
        let mut dir = self.reopen(path).ok()?;
        let mut there = RelPath::root();
        let mut found = None::<Namesake>;
        let mut names = path.components().peekable();
        while let Some(name) = names.next() {
            let next = match stat_in(dir.as_fd(), name, path) {
                Ok(_) => there.join(name).ok()?,
                Err(_) => match self.similar(dir.as_fd(), &there, name, may_tell) {
                    Some(similar) => similar,
                    None => return found,
                },
            };
            if self.is_hidden(&next) {
                return found;
            }
            if next.name() != name && found.is_none() {
                found = Some(Namesake {
                    first: next.clone(),
                    whole: None,
                    difference: Difference::of(name, next.name()),
                });
            }
            if names.peek().is_some() {
                match open_dir(dir.as_fd(), next.name(), &next) {
                    Ok(folder) => dir = folder,
                    Err(_) => return found,
                }
            }
            there = next;
        }
        let mut found = found?;
        found.whole = may_tell(&there).then_some(there);
        Some(found)
    }

    /// The file or folder in `dir`, which is `at`, whose name is the most like this one.
    fn similar(
        &self,
        dir: BorrowedFd<'_>,
        at: &RelPath,
        name: &str,
        may_tell: &dyn Fn(&RelPath) -> bool,
    ) -> Option<RelPath> {
        let wanted = fold_for_guard(name);
        if wanted.is_empty() {
            return None;
        }
        let (mut seen, mut found) = (0, Vec::new());
        let looked = for_each_name(dir, at, |other, _| {
            seen += 1;
            if seen > MOST {
                return Err(FileError::Over);
            }
            let other = std::str::from_utf8(other).ok();
            let other = other.filter(|other| fold_for_guard(other) == wanted);
            let Some(path) = other.and_then(|other| at.join(other).ok()) else {
                return Ok(());
            };
            let kind = stat_in(dir, path.name(), &path).map(|stat| kind_of(&stat));
            let can_be_met = matches!(kind, Ok(SFlag::S_IFREG | SFlag::S_IFDIR));
            if can_be_met && !self.is_hidden(&path) && may_tell(&path) {
                found.push(path);
            }
            Ok(())
        });
        match looked {
            Ok(()) | Err(FileError::Over) => {}
            Err(_) => return None,
        }
        found.into_iter().min_by(|a, b| {
            let difference = |path: &RelPath| Difference::of(name, path.name());
            difference(a)
                .cmp(&difference(b))
                .then_with(|| code_unit_order(a.name(), b.name()))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Arc};

    use super::*;
    use crate::{HiddenPaths, HideRules, Policy};

    fn told(root: &Root, path: &str) -> Option<(String, Option<String>, Difference)> {
        let found = root.namesake(&RelPath::parse(path).unwrap(), &|_| true)?;
        let whole = found.whole.map(|path| path.to_string());
        Some((found.first.to_string(), whole, found.difference))
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn nearest_name_is_told_and_its_difference() {
        let temp = tempfile::tempdir().unwrap();
        for folder in ["Docs", "caf\u{e9}"] {
            fs::create_dir(temp.path().join(folder)).unwrap();
        }
        for file in ["README.md", "Readme.md", "Docs/Plan.md", "cafe\u{301}"] {
            fs::write(temp.path().join(file), "").unwrap();
        }
        std::os::unix::fs::symlink("README.md", temp.path().join("link.md")).unwrap();
        let root = Root::open(temp.path(), Policy::default()).unwrap();
        let is = |first: &str, whole: Option<&str>, difference| {
            Some((first.to_owned(), whole.map(str::to_owned), difference))
        };
        let form = Difference::Form;
        assert_eq!(
            told(&root, "readme.md"),
            is("README.md", Some("README.md"), Difference::Case),
            "of equals the first"
        );
        assert_eq!(
            told(&root, "Read\u{ad}me.md"),
            is("Readme.md", Some("Readme.md"), form)
        );
        assert_eq!(
            told(&root, "docs/plan.md"),
            is("Docs", Some("Docs/Plan.md"), Difference::Case)
        );
        assert_eq!(
            told(&root, "docs/other.md"),
            is("Docs", None, Difference::Case)
        );
        assert_eq!(
            told(&root, "README.md. "),
            is("README.md", Some("README.md"), Difference::End)
        );
        for path in ["README.md", "nothing", "LINK.md", "...", "README.md/x", ""] {
            assert_eq!(told(&root, path), None, "{path}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_hidden_or_may_not_be_told_is_no_namesake() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("Key"), "").unwrap();
        fs::write(temp.path().join("key."), "").unwrap();
        fs::create_dir(temp.path().join("Open")).unwrap();
        fs::write(temp.path().join("Open/Key"), "").unwrap();
        let rules = HideRules {
            globs: vec!["key".to_owned()],
            ..HideRules::default()
        };
        let open = || Root::open(temp.path(), Policy::default()).unwrap();
        let hiding = open().hiding(Arc::new(HiddenPaths::new(&rules)));
        assert_eq!(told(&hiding, "KEY"), None, "it is hidden itself");
        assert_eq!(told(&hiding, "KEY. ").unwrap().0, "key.");
        assert_eq!(
            told(&hiding, "open/x").unwrap().0,
            "Open",
            "the control: a folder that is not hidden"
        );
        let path = RelPath::parse("open/key").unwrap();
        let above = |path: &RelPath| path.as_str() == "Open";
        let found = open().namesake(&path, &above).unwrap();
        assert_eq!(found.whole, None);
        assert_eq!(open().namesake(&path, &|_| false), None);
    }
}
