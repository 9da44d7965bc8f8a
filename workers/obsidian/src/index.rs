//! [`NoteIndex`]: from a note's name, as people write it, to its path.
//!
//! Knows nothing of rules: who asks judges what it gets. Its size is bounded by the walk that filled it.

use plexus_rooted_files::{
    RelPath,
    names::{code_unit_order, fold, nfc},
};

use crate::markdown::relative_to;

/// All file names of a vault at one moment, for resolving links the way Obsidian does.
#[derive(Debug)]
pub struct NoteIndex {
    /// By folded last component, so that those of one name stand together.
    files: Vec<File>,
    /// Whether every file of the vault is in it.
    pub(crate) is_whole: bool,
}

#[derive(Debug)]
struct File {
    path: RelPath,
    /// The folded path; `None` where that is the path.
    folded: Option<Box<str>>,
    /// Where the last component of the folded path begins.
    name_at: u16,
    /// Of the path, composed and in UTF-16 units, as Obsidian compares.
    length: u16,
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
            length: small(nfc(path.as_str()).encode_utf16().count()),
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedName<'a> {
    /// The file.
    pub path: &'a RelPath,
    /// The other files that the name fits by the same rule.
    pub others: Vec<&'a RelPath>,
    /// Those of the others whose paths are as long as that of the file.
    pub as_good: Vec<&'a RelPath>,
}

impl NoteIndex {
    /// An index of these files.
    #[must_use]
    pub fn new(paths: Vec<RelPath>) -> Self {
        let mut files: Vec<File> = paths.into_iter().map(File::new).collect();
        files.sort_unstable_by(|a, b| a.name().cmp(b.name()));
        Self {
            files,
            is_whole: true,
        }
    }

    /// The files whose last component is that of `path`, which is folded.
    fn namesakes(&self, path: &str) -> &[File] {
        let name = path.rsplit('/').next().unwrap_or_default();
        let first = self.files.partition_point(|file| file.name() < name);
        let rest = &self.files[first..];
        &rest[..rest.partition_point(|file| file.name() == name)]
    }

    /// The file at exactly this path of the vault: as it stands, else with `.md`. Case and normal forms do not count,
    /// except to choose among several.
    fn exact(&self, path: &str) -> Option<ResolvedName<'_>> {
        [path.to_owned(), format!("{path}.md")]
            .iter()
            .find_map(|literal| {
                let wanted = fold(literal);
                let fit = self.namesakes(&wanted).iter();
                let fit: Vec<&File> = fit.filter(|file| file.folded() == wanted).collect();
                let mut found = best(&fit, literal)?;
                if found.path.as_str() == literal.as_str() {
                    found.others.clear();
                    found.as_good.clear();
                }
                Some(found)
            })
    }

    /// Where a link with this target leads from a note in `folder`, as Obsidian has it:
    ///
    /// 1. `./x` and `../x` are paths from that folder, `/x` is one from the vault's top, and they are nothing else;
    /// 2. a file at exactly that path of the vault;
    /// 3. of the files whose paths end so, those in or below the folder; where there are none, the others. Of these the
    ///    one with the shortest path, of equals the first in code-unit order.
    ///
    /// What a name comes to without `.md` goes before what it comes to with it. Case and normal forms count among
    /// equals alone.
    #[must_use]
    pub fn find(&self, target: &str, folder: &RelPath) -> Option<ResolvedName<'_>> {
        let target = target.trim();
        if target.is_empty() || target.ends_with('/') {
            return None;
        }
        if target.starts_with("./") || target.starts_with("../") {
            return self.exact(&relative_to(folder, target)?);
        }
        if let Some(rooted) = target.strip_prefix('/') {
            return self.exact(rooted);
        }
        if let Some(exact) = self.exact(target) {
            return Some(exact);
        }
        let below = match folder.is_root() {
            true => String::new(),
            false => format!("{}/", fold(folder.as_str())),
        };
        [target.to_owned(), format!("{target}.md")]
            .iter()
            .find_map(|literal| {
                let wanted = fold(literal);
                let fit = self.namesakes(&wanted).iter();
                let fit = fit.filter(|file| ends_with_path(file.folded(), &wanted));
                let (near, far): (Vec<&File>, Vec<&File>) =
                    fit.partition(|file| file.folded().starts_with(&below));
                best(&near, literal).or_else(|| best(&far, literal))
            })
    }
}

/// The shortest, then the one that is spelled so, then the first.
fn best<'a>(candidates: &[&'a File], literal: &str) -> Option<ResolvedName<'a>> {
    let rank = |file: &File| (file.length, !ends_with_path(file.path.as_str(), literal));
    let first = candidates.iter().min_by(|a, b| {
        rank(a)
            .cmp(&rank(b))
            .then_with(|| code_unit_order(a.path.as_str(), b.path.as_str()))
    })?;
    let others = candidates.iter().filter(|file| file.path != first.path);
    let as_good = others.clone().filter(|file| file.length == first.length);
    Some(ResolvedName {
        path: &first.path,
        as_good: as_good.map(|file| &file.path).collect(),
        others: others.map(|file| &file.path).collect(),
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
            .find(target, &RelPath::root())
            .map(|found| (found.path.to_string(), !found.others.is_empty()))
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
            some("Deep/Note.md", true),
            "the shortest of two"
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
