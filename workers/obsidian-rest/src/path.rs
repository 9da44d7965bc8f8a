//! Which paths exist for agents, and how a request names one.
//!
//! Invariants: a path is judged in the spelling that is sent; each component is percent-encoded by itself, so that nothing in
//! a name ends the path or begins a query.
//!
//! Must not know: requests, calls.

use plexus_ipc::text::percent_encode;
use plexus_rooted_files::{FileError, HiddenPaths, HideRules, RelPath};

/// The plugin takes `note.md/heading/…` for a part of a note.
const PARTS: [&str; 3] = ["heading", "block", "frontmatter"];

/// What the owner hides, beside the names that Obsidian keeps for itself.
#[derive(Debug)]
pub(crate) struct Paths(HiddenPaths);

impl Paths {
    pub(crate) fn new(hide: &HideRules) -> Self {
        let plain = |rules: &[String]| rules.iter().map(|rule| spelled(rule)).collect();
        Self(HiddenPaths::new(&HideRules {
            folders: plain(&hide.folders),
            globs: plain(&hide.globs),
            tags: hide.tags.clone(),
        }))
    }

    /// Whether a path with plain blanks exists for agents: no dot-name, and not hidden.
    pub(crate) fn shows(&self, path: &RelPath) -> bool {
        !path.has_dot_component() && !self.0.hide(path)
    }

    /// A file's path, as an agent typed it.
    pub(crate) fn file(&self, text: &str) -> Result<RelPath, FileError> {
        let text = spelled(text);
        let path = RelPath::parse_file(&text)?;
        let components: Vec<&str> = path.components().collect();
        let is_part = |pair: &[&str]| pair[0].contains('.') && PARTS.contains(&pair[1]);
        if components.windows(2).any(is_part) {
            let what = "a part of a note, which is read and written whole";
            return Err(FileError::NotAFile { path, what });
        }
        self.shown(path)
    }

    /// A folder's path, as an agent typed it; empty for the top folder.
    pub(crate) fn folder(&self, text: &str) -> Result<RelPath, FileError> {
        self.shown(RelPath::parse(&spelled(text))?)
    }

    fn shown(&self, path: RelPath) -> Result<RelPath, FileError> {
        // No egress forwards an encoded backslash, because servers read it differently.
        if path.as_str().contains('\\') || !self.shows(&path) {
            return Err(FileError::NotFound(path));
        }
        Ok(path)
    }

    /// A path in an answer, where it exists for agents.
    pub(crate) fn in_answer(&self, text: &str) -> Option<RelPath> {
        let path = RelPath::parse_file(&spelled(text)).ok()?;
        self.shows(&path).then_some(path)
    }
}

/// The text with plain blanks. Obsidian puts them in place of those that do not break, so both lead to one note.
pub(crate) fn spelled(text: &str) -> String {
    text.replace(['\u{a0}', '\u{202f}'], " ")
}

/// `prefix` and the path, encoded; a folder ends in `/`.
pub(crate) fn encoded(prefix: &str, path: &RelPath, folder: bool) -> String {
    let mut out = prefix.to_owned();
    for component in path.components() {
        out.push('/');
        percent_encode(component, &mut out);
    }
    if folder {
        out.push('/');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(folders: &[&str]) -> Paths {
        let folders = folders.iter().map(|folder| (*folder).to_owned()).collect();
        Paths::new(&HideRules {
            folders,
            ..HideRules::default()
        })
    }

    #[test]
    fn components_are_encoded_one_by_one() {
        let sent = |text| {
            let path = paths(&[]).file(text);
            path.map(|path| encoded("/vault", &path, false)).unwrap()
        };
        assert_eq!(
            sent("a b/50% & more+1 #x?.md"),
            "/vault/a%20b/50%25%20%26%20more%2B1%20%23x%3F.md"
        );
        assert_eq!(sent("%2e%2e/x;y.md"), "/vault/%252e%252e/x%3By.md");
        assert_eq!(sent("\u{1f4c5}.md"), "/vault/%F0%9F%93%85.md");
        assert_eq!(encoded("/vault", &RelPath::root(), true), "/vault/");
    }

    #[test]
    fn paths_beyond_the_vault_or_hidden_are_refused() {
        let paths = paths(&["Private", "My diary", "My\u{202f}notes"]);
        for (text, reason) in [
            ("../x.md", "path_confinement"),
            ("a/../../x.md", "path_confinement"),
            ("/etc/passwd", "path_confinement"),
            ("a//b.md", "path_confinement"),
            ("a\nb.md", "path_confinement"),
            ("", "not_a_file"),
            ("folder/", "not_a_file"),
            (".obsidian/app.json", "not_found"),
            ("a/.trash/x.md", "not_found"),
            ("\u{200b}.obsidian/app.json", "not_found"),
            ("private/x.md", "not_found"),
            ("My\u{a0}diary/x.md", "not_found"),
            ("My notes/x.md", "not_found"),
            ("a\\b.md", "not_found"),
            ("note.md/heading/A", "not_a_file"),
        ] {
            let refused = paths.file(text).map_err(|error| error.reason());
            assert_eq!(refused, Err(reason), "{text:?}");
        }
        // The controls.
        for text in [
            "x.md",
            "a/b/c.canvas",
            "Privates/x.md",
            "heading/x.md",
            "..x/y",
        ] {
            let shown = paths.file(text).is_ok();
            assert_eq!(shown, !text.starts_with('.'), "{text}");
        }
        assert_eq!(paths.in_answer("My\u{a0}diary/x.md"), None);
        assert!(paths.in_answer("My\u{a0}day/x.md").is_some());
        assert!(paths.folder("").is_ok());
        let private = paths.folder("Private/");
        assert!(
            matches!(private, Err(FileError::NotFound(_))),
            "{private:?}"
        );
    }
}
