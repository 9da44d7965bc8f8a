//! [`PathRule`]: which paths a grant's constraint leaves open.

use crate::{RelPath, names::nfc};

/// A conjunction of narrowings on a path; without any, every path is allowed. Paths are compared in NFC, because the
/// owner who writes a rule and the disk that holds the folder may disagree on the form of an umlaut; case counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathRule {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// At or below one of these (segment boundary); none: nothing.
    Below(Vec<String>),
    /// Exactly one of these; none: nothing.
    OneOf(Vec<String>),
    /// The text begins so, wherever the segments end.
    StartsWith(String),
    /// Nothing: a narrowing we do not understand.
    Nothing,
}

impl PathRule {
    /// Every path.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Also: at or below one of `prefixes`. An empty list allows nothing; the root allows everything.
    #[must_use]
    pub fn and_below(self, prefixes: &[RelPath]) -> Self {
        self.and(Part::Below(
            prefixes
                .iter()
                .map(|p| nfc(p.as_str()).into_owned())
                .collect(),
        ))
    }

    /// Also: exactly one of `paths`.
    #[must_use]
    pub fn and_one_of(self, paths: &[RelPath]) -> Self {
        self.and(Part::OneOf(
            paths.iter().map(|p| nfc(p.as_str()).into_owned()).collect(),
        ))
    }

    /// Also: begins with this text.
    #[must_use]
    pub fn and_starts_with(self, text: &str) -> Self {
        self.and(Part::StartsWith(nfc(text).into_owned()))
    }

    /// Allows nothing any more: for a narrowing that is not understood.
    #[must_use]
    pub fn and_nothing(self) -> Self {
        self.and(Part::Nothing)
    }

    fn and(mut self, part: Part) -> Self {
        self.parts.push(part);
        self
    }

    /// Whether every path is allowed.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.parts.is_empty()
    }

    /// Whether `path` is allowed.
    #[must_use]
    pub fn allows(&self, path: &RelPath) -> bool {
        if self.is_all() {
            return true;
        }
        let path = nfc(path.as_str());
        self.parts.iter().all(|part| match part {
            Part::Below(prefixes) => prefixes.iter().any(|prefix| is_at_or_below(&path, prefix)),
            Part::OneOf(paths) => paths.iter().any(|allowed| *allowed == path),
            Part::StartsWith(text) => path.starts_with(text.as_str()),
            Part::Nothing => false,
        })
    }

    /// Whether something below `folder` could be allowed: where it is not, a search need not look.
    #[must_use]
    pub fn may_allow_below(&self, folder: &RelPath) -> bool {
        let folder = nfc(folder.as_str());
        self.parts.iter().all(|part| match part {
            Part::Below(paths) => paths
                .iter()
                .any(|path| is_at_or_below(&folder, path) || is_at_or_below(path, &folder)),
            Part::OneOf(paths) => paths.iter().any(|path| is_at_or_below(path, &folder)),
            Part::StartsWith(text) => {
                folder.is_empty()
                    || folder.starts_with(text.as_str())
                    || text.starts_with(folder.as_ref())
            }
            Part::Nothing => false,
        })
    }
}

fn is_at_or_below(path: &str, prefix: &str) -> bool {
    prefix.is_empty()
        || path
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text).unwrap()
    }

    #[test]
    fn a_prefix_ends_at_a_segment() {
        let rule = PathRule::all().and_below(&[path("Projects/Plexus")]);
        assert!(rule.allows(&path("Projects/Plexus")));
        assert!(rule.allows(&path("Projects/Plexus/a.md")));
        assert!(!rule.allows(&path("Projects/Plexus2/a.md")));
        assert!(!rule.allows(&path("Projects")));
        assert!(!rule.allows(&path("projects/Plexus/a.md")), "case counts");
        assert!(rule.may_allow_below(&path("Projects")) && !rule.may_allow_below(&path("Private")));
    }

    #[test]
    fn an_empty_list_allows_nothing_and_the_root_everything() {
        assert!(!PathRule::all().and_below(&[]).allows(&path("a")));
        assert!(!PathRule::all().and_one_of(&[]).allows(&path("a")));
        assert!(!PathRule::all().and_nothing().allows(&path("a")));
        assert!(
            PathRule::all()
                .and_below(&[RelPath::root()])
                .allows(&path("a"))
        );
        assert!(PathRule::all().allows(&path("a")));
    }

    #[test]
    fn all_parts_must_hold_and_forms_of_a_letter_are_one() {
        let rule = PathRule::all()
            .and_below(&[path("\u{dc}ber")])
            .and_starts_with("\u{dc}ber/x");
        assert!(rule.allows(&path("U\u{308}ber/xa.md")));
        assert!(!rule.allows(&path("U\u{308}ber/ya.md")));
        let one = PathRule::all().and_one_of(&[path("a/b.md")]);
        assert!(one.allows(&path("a/b.md")) && !one.allows(&path("a/b.md/c")));
        assert!(one.may_allow_below(&path("a")) && !one.may_allow_below(&path("b")));
    }
}
