//! [`NoteIndex`]: from a note's name, as people write it, to its path.
//!
//! Knows nothing of rules: who asks judges what it gets. Its size is bounded by the walk that filled it.

use std::cmp::Ordering;

use plexus_rooted_files::{
    RelPath,
    names::{code_unit_order, fold},
};

/// All file names of a vault at one moment, for resolving links the way Obsidian does.
#[derive(Debug)]
pub struct NoteIndex {
    /// By folded last component, so that those of one name stand together.
    files: Vec<File>,
}

#[derive(Debug)]
struct File {
    path: RelPath,
    /// The folded path; `None` where that is the path.
    folded: Option<Box<str>>,
    /// Where the last component of the folded path begins.
    name_at: u16,
    chars: u16,
}

impl File {
    fn new(path: RelPath) -> Self {
        let folded = Some(fold(path.as_str()))
            .filter(|folded| folded != path.as_str())
            .map(String::into_boxed_str);
        let text = folded.as_deref().unwrap_or(path.as_str());
        let small = |length: usize| u16::try_from(length).unwrap_or(u16::MAX);
        Self {
            name_at: small(text.rfind('/').map_or(0, |slash| slash + 1)),
            chars: small(path.as_str().chars().count()),
            folded,
            path,
        }
    }

    fn folded(&self) -> &str {
        self.folded.as_deref().unwrap_or(self.path.as_str())
    }

    fn name(&self) -> &str {
        self.folded()
            .get(usize::from(self.name_at)..)
            .unwrap_or_default()
    }
}

/// What a name resolved to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResolvedName<'a> {
    /// The file.
    pub path: &'a RelPath,
    /// Another file was as good; this is the first in code-unit order.
    pub is_ambiguous: bool,
}

impl NoteIndex {
    /// An index of these files.
    #[must_use]
    pub fn new(paths: Vec<RelPath>) -> Self {
        let mut files: Vec<File> = paths.into_iter().map(File::new).collect();
        files.sort_unstable_by(|a, b| a.name().cmp(b.name()));
        Self { files }
    }

    /// The files whose last component is that of `path`, which is folded.
    fn namesakes(&self, path: &str) -> &[File] {
        let name = path.rsplit('/').next().unwrap_or_default();
        let first = self.files.partition_point(|file| file.name() < name);
        let rest = &self.files[first..];
        &rest[..rest.partition_point(|file| file.name() == name)]
    }

    /// The file at exactly this path, with or without `.md`; case and normal forms do not count.
    pub(crate) fn exact(&self, path: &str) -> Option<&RelPath> {
        let wanted = [fold(path), fold(&format!("{path}.md"))];
        wanted.iter().find_map(|wanted| {
            self.namesakes(wanted)
                .iter()
                .filter(|file| file.folded() == wanted)
                .map(|file| &file.path)
                .min_by(|a, b| code_unit_order(a.as_str(), b.as_str()))
        })
    }

    /// Resolves a link target, with or without `.md`: the file at exactly that path, else the file whose path ends so,
    /// the shortest path first. Case and normal forms do not count, except to choose among exact paths.
    #[must_use]
    pub fn find(&self, target: &str) -> Option<ResolvedName<'_>> {
        let target = target.trim().trim_start_matches('/');
        if target.is_empty() || target.ends_with('/') {
            return None;
        }
        let literal = [target.to_owned(), format!("{target}.md")];
        let folded = literal.each_ref().map(|text| fold(text));
        let candidates: Vec<&File> = folded
            .iter()
            .flat_map(|wanted| self.namesakes(wanted))
            .filter(|file| {
                folded
                    .iter()
                    .any(|wanted| ends_with_path(file.folded(), wanted))
            })
            .collect();
        if let Some(exact) = candidates
            .iter()
            .find(|file| literal.iter().any(|text| text == file.path.as_str()))
        {
            return Some(ResolvedName {
                path: &exact.path,
                is_ambiguous: false,
            });
        }
        let exact = candidates
            .iter()
            .copied()
            .filter(|file| folded.iter().any(|wanted| wanted == file.folded()))
            .collect::<Vec<_>>();
        best(if exact.is_empty() {
            &candidates
        } else {
            &exact
        })
    }
}

/// The shortest, then the first; ambiguous where another is as short.
fn best<'a>(candidates: &[&'a File]) -> Option<ResolvedName<'a>> {
    let order = |a: &&&File, b: &&&File| -> Ordering {
        a.chars
            .cmp(&b.chars)
            .then_with(|| code_unit_order(a.path.as_str(), b.path.as_str()))
    };
    let first = candidates.iter().min_by(order)?;
    let as_short = candidates
        .iter()
        .filter(|file| file.chars == first.chars && file.path != first.path);
    Some(ResolvedName {
        path: &first.path,
        is_ambiguous: as_short.count() > 0,
    })
}

fn ends_with_path(path: &str, suffix: &str) -> bool {
    path.strip_suffix(suffix)
        .is_some_and(|before| before.is_empty() || before.ends_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(paths: &[&str]) -> NoteIndex {
        NoteIndex::new(
            paths
                .iter()
                .map(|path| RelPath::parse(path).unwrap())
                .collect(),
        )
    }

    fn found(index: &NoteIndex, target: &str) -> Option<(String, bool)> {
        index
            .find(target)
            .map(|found| (found.path.to_string(), found.is_ambiguous))
    }

    #[test]
    fn exact_path_then_suffix_then_shortest() {
        let index = index(&[
            "Deep/er/Note.md",
            "Deep/Note.md",
            "a/b/Plan.md",
            "Plan.md",
            "x/b/Plan.md",
            "img/p.png",
        ]);
        let some = |path: &str, tie| Some((path.to_owned(), tie));
        assert_eq!(found(&index, "Plan"), some("Plan.md", false), "exact");
        assert_eq!(
            found(&index, "plan.MD"),
            some("Plan.md", false),
            "case does not count"
        );
        assert_eq!(
            found(&index, "b/Plan"),
            some("a/b/Plan.md", true),
            "a tie takes the first"
        );
        assert_eq!(found(&index, "x/b/plan"), some("x/b/Plan.md", false));
        assert_eq!(
            found(&index, "Note"),
            some("Deep/Note.md", false),
            "shortest"
        );
        assert_eq!(
            found(&index, "er/Note"),
            some("Deep/er/Note.md", false),
            "suffix"
        );
        assert_eq!(found(&index, "p.png"), some("img/p.png", false));
        for none in [
            "p", "ote", "Deep", "eep/Note", "Deep/", "", "/", "b//Plan", "../Plan",
        ] {
            assert_eq!(found(&index, none), None, "{none:?}");
        }
    }

    #[test]
    fn forms_of_a_letter_are_one_and_dots_in_names_are_names() {
        let index = index(&["U\u{308}ber.md", "v1.2.md", "A.md", "a.md"]);
        assert_eq!(found(&index, "\u{dc}ber").unwrap().0, "U\u{308}ber.md");
        assert_eq!(found(&index, "V1.2").unwrap().0, "v1.2.md");
        assert_eq!(
            found(&index, "a"),
            Some(("a.md".to_owned(), false)),
            "the literal spelling wins"
        );
        assert_eq!(found(&index, "A"), Some(("A.md".to_owned(), false)));
    }
}
