//! A breakage as data: one promise, the smallest change that breaks it, and the tests that must turn red.
//!
//! ```text
//! promise: What is granted once is used up by its first use.
//! broken: the item stays as it was
//! red: plexus-trust stories approvals::once_is_one_call_with_one_input
//! file: gateway/trust/src/decide/calls.rs
//!      a line around the change, as it stands in the file
//! -    a line that goes
//! +    a line that comes
//! ```
//!
//! Changes are found by their text, which must stand in its file exactly once, and by nothing else: line numbers do not
//! outlive the next edit. Several `file:` parts make one breakage. `guard: E0451` in the place of tests says that the compiler
//! must refuse it, and with which error: any other would prove nothing. It is said of a file that is changed, or, where
//! `place:` names files, of each of those.
//!
//! Invariant: a breakage that is parsed says all of that; [`Change::applied`] changes a text or says why it cannot.

use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeSet;
use std::path::Path;

/// What notices a breakage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Guard {
    /// The named tests, each of them.
    Tests,
    /// The compiler, with this error.
    Types(String),
}

/// One promise, and how it is broken.
#[derive(Debug)]
pub(crate) struct Breakage {
    /// The file's name without its ending.
    pub(crate) name: String,
    /// The promise, in one sentence.
    pub(crate) promise: String,
    /// What the change does, in words.
    pub(crate) broken: String,
    /// Who notices.
    pub(crate) guard: Guard,
    /// Green without the change and red with it.
    pub(crate) red: Vec<Test>,
    /// The change.
    pub(crate) changes: Vec<Change>,
    /// The files of which the compiler must say its error; none: of one that is changed.
    pub(crate) places: Vec<String>,
}

/// A test: package, cargo's target in it (`lib`, `bin:NAME`, or the name of an integration test), name in that target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Test {
    pub(crate) package: String,
    pub(crate) target: String,
    pub(crate) name: String,
}

/// One place that is changed.
#[derive(Debug)]
pub(crate) struct Change {
    /// Relative to the root of the repository.
    pub(crate) file: String,
    find: String,
    replace: String,
}

impl Breakage {
    /// Reads one.
    ///
    /// # Errors
    /// In words, for its author.
    pub(crate) fn parse(name: &str, text: &str) -> Result<Self> {
        let (mut promise, mut broken, mut guard) = (None, None, Guard::Tests);
        let (mut red, mut changes) = (Vec::new(), Vec::<Change>::new());
        let mut places = Vec::new();
        for line in text.lines() {
            let (word, rest) = line.split_once(": ").unwrap_or((line, ""));
            match (word, line.chars().next()) {
                ("promise", _) => promise = Some(rest.to_owned()),
                ("broken", _) => broken = Some(rest.to_owned()),
                ("guard", _) if rest.starts_with('E') => guard = Guard::Types(rest.to_owned()),
                ("red", _) => red.push(Test::parse(rest)?),
                ("place", _) => places.push(rest.to_owned()),
                ("file", _) => changes.push(Change {
                    file: rest.to_owned(),
                    find: String::new(),
                    replace: String::new(),
                }),
                (_, Some(mark @ (' ' | '-' | '+'))) => {
                    let change = changes.last_mut().context("a line before any `file:`")?;
                    change.line(mark, &line[1..]);
                }
                _ => bail!("`{line}` is not a line of a breakage"),
            }
        }
        ensure!(
            !changes.is_empty() && changes.iter().all(|c| c.find != c.replace),
            "it changes nothing"
        );
        ensure!(
            changes.iter().all(|c| !c.find.is_empty()),
            "a change that is found by nothing"
        );
        ensure!(
            (guard != Guard::Tests) == red.is_empty(),
            "either tests notice it, or the compiler"
        );
        ensure!(
            guard != Guard::Tests || places.is_empty(),
            "the compiler alone says it of a place"
        );
        Ok(Self {
            name: name.to_owned(),
            promise: promise.context("no `promise:`")?,
            broken: broken.context("no `broken:`")?,
            guard,
            red,
            changes,
            places,
        })
    }

    /// All there are in a folder, those that break one file next to each other: the next build has less to do then.
    ///
    /// # Errors
    /// With the file's name.
    pub(crate) fn all(folder: &Path) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        let entries =
            std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            let text = std::fs::read_to_string(&path)?;
            let breakage = Self::parse(&name, &text);
            all.push(breakage.with_context(|| path.display().to_string())?);
        }
        all.sort_by(|a, b| (&a.changes[0].file, &a.name).cmp(&(&b.changes[0].file, &b.name)));
        Ok(all)
    }

    /// The tests, by the build that makes them.
    pub(crate) fn targets(&self) -> BTreeSet<(&str, &str)> {
        let targets = self.red.iter();
        targets.map(|t| (&*t.package, &*t.target)).collect()
    }
}

impl Change {
    fn line(&mut self, mark: char, text: &str) {
        for (side, gone) in [(&mut self.find, '+'), (&mut self.replace, '-')] {
            if mark != gone {
                side.push_str(text);
                side.push('\n');
            }
        }
    }

    /// `text` with the change in it.
    ///
    /// # Errors
    /// Where the place is not there, or is not the only one.
    pub(crate) fn applied(&self, text: &str) -> Result<String> {
        // Whole lines, and also places that overlap.
        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
        let starts = std::iter::once(0).chain(ends);
        let places: Vec<usize> = starts
            .filter(|at| text[*at..].starts_with(&self.find))
            .collect();
        match places[..] {
            [at] => {
                let (before, after) = (&text[..at], &text[at + self.find.len()..]);
                Ok(format!("{before}{}{after}", self.replace))
            }
            [] => bail!("{}: the lines to change are not there", self.file),
            _ => bail!(
                "{}: the lines to change are there {} times",
                self.file,
                places.len()
            ),
        }
    }
}

impl Test {
    fn parse(text: &str) -> Result<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        let [package, target, name] = words[..] else {
            bail!("`{text}`: a test is its package, its target and its name");
        };
        Ok(Self {
            package: package.to_owned(),
            target: target.to_owned(),
            name: name.to_owned(),
        })
    }

    /// As the pages name tests: the file that holds it, and its name.
    pub(crate) fn shown(&self) -> String {
        let mut path: Vec<&str> = self.name.split("::").filter(|p| *p != "tests").collect();
        if path.len() == 1 {
            path.insert(0, &self.target);
        }
        path[path.len().saturating_sub(2)..].join("::")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "promise: It holds.\nbroken: it does not\nred: p t a::b\nfile: f\n one\n-two\n+2\n";

    #[test]
    fn a_change_is_found_by_its_lines_exactly_once() {
        let breakage = Breakage::parse("n", GOOD).unwrap();
        let change = &breakage.changes[0];
        let applied = change.applied("0\none\ntwo\nthree\n").unwrap();
        assert_eq!(applied, "0\none\n2\nthree\n");
        assert_eq!(change.applied("one\ntwo\n").unwrap(), "one\n2\n");
        let gone = "f: the lines to change are not there";
        for (text, why) in [
            ("one\n", gone),
            ("", gone),
            (
                "one\ntwo\none\ntwo\n",
                "f: the lines to change are there 2 times",
            ),
            ("anyone\ntwo\n", gone),
            ("one\ntwofold\n", gone),
        ] {
            let refused = change.applied(text).unwrap_err();
            assert_eq!(refused.to_string(), why, "{text:?}");
        }
    }

    #[test]
    fn what_is_not_a_whole_breakage_is_refused() {
        assert!(Breakage::parse("n", GOOD).is_ok());
        let red = "red: p t a::b\n";
        let either = "either tests notice it, or the compiler";
        for (from, to, words) in [
            ("promise: It holds.\n", "", "no `promise:`"),
            ("broken: it does not\n", "", "no `broken:`"),
            (red, "", either),
            (red, "red: a::b\n", "a test is its package"),
            (red, "red: p t a::b\nguard: E0451\n", either),
            ("-two\n+2\n", "", "it changes nothing"),
            ("-two\n", "two\n", "`two` is not a line of a breakage"),
            ("file: f\n", "", "a line before any `file:`"),
            (" one\n-two\n", "", "a change that is found by nothing"),
        ] {
            let parsed = Breakage::parse("n", &GOOD.replace(from, to));
            let why = parsed.map(drop).unwrap_err().to_string();
            assert!(why.contains(words), "{from:?} {to:?}: {why}");
        }
        let types = GOOD.replace("red: p t a::b\n", "guard: E0451\n");
        let guard = Breakage::parse("n", &types).unwrap().guard;
        assert_eq!(guard, Guard::Types("E0451".to_owned()));
    }

    #[test]
    fn tests_are_shown_as_the_pages_name_them() {
        for (target, name, shown) in [
            ("lib", "clock::tests::late", "clock::late"),
            ("stories", "once::again", "once::again"),
            ("frames", "any_bytes", "frames::any_bytes"),
            ("lib", "a::b::c::tests::d", "c::d"),
        ] {
            let test = Test::parse(&format!("p {target} {name}")).unwrap();
            assert_eq!(test.shown(), shown);
        }
    }
}
