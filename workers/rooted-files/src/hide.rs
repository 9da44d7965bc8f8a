//! What the owner hides: paths that are treated as absent, whatever is there.
//!
//! Invariants: a hidden folder hides all that lies in it; case, normal forms and characters that a folding file system
//! does not look at do not count, so that no other spelling leads there; what is hidden is asked for no more than what does not exist.

use std::fmt;

use serde::Deserialize;

use crate::{
    FileBytes, FileError, Identity, MAX_FILE_BYTES, RelPath, Root, names::fold_for_lookup,
};
use crate::{
    read::read_in,
    root::{accept_file, stat_in},
};
use rustix::fs::Stat as FileStat;
use std::os::fd::AsFd;

/// Says what is hidden. Asked for every path before anything is said about what is there.
pub trait Hide: fmt::Debug + Send + Sync {
    /// Whether `path` is to be treated as absent.
    fn hides(&self, root: &Root, path: &RelPath) -> bool;
}

/// Rules about paths, as the owner writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct HideRules {
    /// Folders, with all they hold.
    pub folders: Vec<String>,
    /// Patterns: `*` and `?` within a name, `**` for any folders; one without `/` is about names wherever they are.
    pub globs: Vec<String>,
    /// Tags of notes; only a vault knows what a tag is.
    pub tags: Vec<String>,
}

impl HideRules {
    /// Whether nothing is hidden.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.folders.is_empty() && self.globs.is_empty() && self.tags.is_empty()
    }
}

/// [`HideRules`] about paths, ready to be asked.
#[derive(Clone, Debug, Default)]
pub struct HiddenPaths {
    folders: Vec<String>,
    globs: Vec<Glob>,
}

#[derive(Clone, Debug)]
enum Glob {
    Name(Vec<char>),
    /// `None` stands for `**`.
    Path(Vec<Option<Vec<char>>>),
}

impl HiddenPaths {
    /// Those of the rules that are about paths.
    #[must_use]
    pub fn new(rules: &HideRules) -> Self {
        let glob = |text: &String| {
            let text = fold_for_lookup(text.trim_matches('/'));
            if text.contains('/') {
                let part = |part: &str| (part != "**").then(|| part.chars().collect());
                Glob::Path(text.split('/').map(part).collect())
            } else {
                Glob::Name(text.chars().collect())
            }
        };
        Self {
            folders: rules
                .folders
                .iter()
                .map(|f| fold_for_lookup(f.trim_matches('/')))
                .collect(),
            globs: rules.globs.iter().map(glob).collect(),
        }
    }

    /// Whether `path`, or a folder that it lies in, is hidden.
    #[must_use]
    pub fn hide(&self, path: &RelPath) -> bool {
        if self.folders.is_empty() && self.globs.is_empty() || path.is_root() {
            return false;
        }
        let folded = fold_for_lookup(path.as_str());
        let in_folder = |folder: &String| {
            folded
                .strip_prefix(folder.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if self.folders.iter().any(in_folder) {
            return true;
        }
        let parts: Vec<Vec<char>> = folded
            .split('/')
            .map(|part| part.chars().collect())
            .collect();
        self.globs.iter().any(|glob| match glob {
            Glob::Name(name) => parts.iter().any(|part| matches(name, part)),
            Glob::Path(pattern) => {
                (1..=parts.len()).any(|upto| matches_path(pattern, &parts[..upto]))
            }
        })
    }

    /// Whether something in the folder `path` may be hidden, or all of it is. A pattern is about any folder.
    #[must_use]
    pub fn may_hide_in(&self, path: &RelPath) -> bool {
        let folded = fold_for_lookup(path.as_str());
        let below = |folder: &String| {
            let rest = folder.strip_prefix(folded.as_str());
            rest.is_some_and(|rest| path.is_root() || rest.starts_with('/'))
        };
        !self.globs.is_empty() || self.folders.iter().any(below) || self.hide(path)
    }
}

impl Hide for HiddenPaths {
    fn hides(&self, _: &Root, path: &RelPath) -> bool {
        self.hide(path)
    }
}

/// Whether a name is one that `*` and `?` stand for.
fn matches(pattern: &[char], name: &[char]) -> bool {
    // The usual two fingers: where the last star was, and how much it has swallowed.
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, swallowed)) => {
                    star = Some((at, swallowed + 1));
                    p = at + 1;
                    n = swallowed + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

fn matches_path(pattern: &[Option<Vec<char>>], parts: &[Vec<char>]) -> bool {
    match (pattern.split_first(), parts.split_first()) {
        (None, None) => true,
        (Some((None, rest)), _) => (0..=parts.len()).any(|skip| matches_path(rest, &parts[skip..])),
        (Some((Some(name), rest)), Some((part, parts))) => {
            matches(name, part) && matches_path(rest, parts)
        }
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// Which content a file has, as far as a look at it tells: another one has another stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    identity: Identity,
    size: i64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl From<&FileStat> for Stamp {
    #[cfg_attr(
        target_os = "macos",
        expect(clippy::unnecessary_cast, reason = "the types differ on Linux")
    )]
    fn from(stat: &FileStat) -> Self {
        Self {
            identity: Identity::from(stat),
            size: stat.st_size,
            modified: (stat.st_mtime, stat.st_mtime_nsec as i64),
            changed: (stat.st_ctime, stat.st_ctime_nsec as i64),
        }
    }
}

impl Root {
    /// A look at a file to decide what is hidden: its stamp, and its content unless `known` has it. Asks no
    /// rule about the file itself. `None` where no file can be read there.
    ///
    /// # Errors
    /// What keeps a file that is there from being read.
    pub fn peek(
        &self,
        path: &RelPath,
        known: impl FnOnce(&Stamp) -> bool,
    ) -> Result<Option<(Stamp, Option<FileBytes>)>, FileError> {
        let Some((parent, name)) = path.split_last() else {
            return Ok(None);
        };
        let looked = self
            .walk_to(&parent, path)
            .and_then(|dir| Ok((stat_in(dir.as_fd(), name, path)?, dir)));
        let Ok((stat, dir)) = looked else {
            return Ok(None);
        };
        if accept_file(&stat, path, self.policy()).is_err() {
            return Ok(None);
        }
        let stamp = Stamp::from(&stat);
        if known(&stamp) {
            return Ok(Some((stamp, None)));
        }
        let bytes = read_in(dir.as_fd(), name, path, self.policy(), MAX_FILE_BYTES)?;
        Ok(Some((stamp, Some(bytes))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hides(rules: &HideRules, path: &str) -> bool {
        HiddenPaths::new(rules).hide(&RelPath::parse(path).unwrap())
    }

    #[test]
    fn folders_hide_all_they_hold_in_any_spelling() {
        let rules = HideRules {
            folders: vec!["Private/".into(), "a/b".into(), "U\u{308}ber".into()],
            ..HideRules::default()
        };
        for hidden in [
            "Private",
            "private/x.md",
            "PRIVATE/deep/x.md",
            "a/b",
            "A/B/c",
            "\u{fc}ber/x",
        ] {
            assert!(hides(&rules, hidden), "{hidden}");
        }
        for seen in ["", "Privates", "x/Private", "a", "a/bc", "a/c/b"] {
            assert!(!hides(&rules, seen), "{seen}");
        }
    }

    #[test]
    fn root_is_never_hidden() {
        let rules = HideRules {
            globs: vec!["*".into()],
            ..HideRules::default()
        };
        assert!(hides(&rules, "a") && !hides(&rules, ""));
    }

    /// What ext4, APFS and HFS+ do not look at where a folder folds case.
    #[test]
    fn characters_that_a_disk_does_not_look_at_hide_nothing_from_the_rules() {
        let rules = HideRules {
            folders: vec!["Stra\u{df}e".into(), "Pri\u{ad}vate".into()],
            globs: vec!["*.key".into(), "a/**/z.md".into()],
            ..HideRules::default()
        };
        for hidden in [
            "Pri\u{200b}vate/x.md",
            "\u{feff}private",
            "private\u{fe0f}/x",
            "STRA\u{1e9e}E",
            "x/a.k\u{34f}ey",
            "a/b\u{2060}/z.m\u{e0001}d",
        ] {
            assert!(hides(&rules, hidden), "{hidden:?}");
        }
        for seen in ["Pri vate", "Privat\u{e9}", "\u{ad}", "a.\u{ad}k"] {
            assert!(!hides(&rules, seen), "{seen:?}");
        }
    }

    #[test]
    fn rules_say_whether_and_where_they_hide() {
        let some = || vec!["a/b".to_owned()];
        let rules = |folders, globs, tags| HideRules {
            folders,
            globs,
            tags,
        };
        let folders = rules(some(), vec![], vec![]);
        let globs = rules(vec![], some(), vec![]);
        assert!(HideRules::default().is_empty());
        for not in [&folders, &globs, &rules(vec![], vec![], some())] {
            assert!(!not.is_empty(), "{not:?}");
        }
        let path = |text: &str| RelPath::parse(text).unwrap();
        let may = |rules: &HideRules, text: &str| HiddenPaths::new(rules).may_hide_in(&path(text));
        for (text, hides) in [
            ("", true),
            ("A", true),
            ("a/b", true),
            ("a/b/c", true),
            ("a/c", false),
            ("ab", false),
        ] {
            assert_eq!(may(&folders, text), hides, "{text}");
            assert!(may(&globs, text), "{text}");
            assert!(!may(&HideRules::default(), text), "{text}");
        }
    }

    #[test]
    fn file_is_looked_at_once_for_each_content() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("d")).unwrap();
        std::fs::write(at("a"), "one").unwrap();
        let root = Root::open(folder.path(), crate::Policy::default()).unwrap();
        let look = |name: &str, is_known: bool| {
            let looked = root.peek(&RelPath::parse(name).unwrap(), |_| is_known);
            let looked = looked.unwrap();
            looked.map(|(stamp, content)| (stamp, content.map(|content| content.bytes)))
        };
        let (first, content) = look("a", false).expect("a file");
        assert_eq!(content.expect("its content"), b"one");
        assert_eq!(look("a", true), Some((first, None)));
        std::fs::write(at("a"), "another").unwrap();
        let (second, _) = look("a", true).expect("a file");
        assert_ne!(second, first);
        std::fs::hard_link(at("a"), at("b")).unwrap();
        for none in ["", "d", "c", "a/b", "b"] {
            assert_eq!(look(none, false), None, "{none}");
        }
    }

    #[test]
    fn globs() {
        let one = |glob: &str| HideRules {
            globs: vec![glob.into()],
            ..HideRules::default()
        };
        #[rustfmt::skip]
        let rows = [
            ("*.key", &["a.key", "x/B.KEY", "d.key/in.md"][..], &["a.keys", "key"][..]),
            ("secret*", &["secret.md", "x/secrets/a.md"], &["my-secret.md"]),
            ("Diary/20??-*.md", &["diary/2024-01.md"], &["diary/2024.md", "x/diary/2024-01.md"]),
            ("**/Private", &["private", "a/b/private/x.md"], &["a/privately"]),
            ("a/**/z.md", &["a/z.md", "a/b/c/z.md"], &["z.md", "a/zz.md"]),
            ("a/*", &["a/b", "a/b/c"], &["a", "b/a/c"]),
        ];
        for (glob, hidden, seen) in rows {
            for path in hidden {
                assert!(hides(&one(glob), path), "{glob} {path}");
            }
            for path in seen {
                assert!(!hides(&one(glob), path), "{glob} {path}");
            }
        }
        // A pattern of many stars is no way to keep a worker busy.
        assert!(!hides(&one(&"*a".repeat(40)), &"a".repeat(39)));
    }
}
