//! Links of the pages lead somewhere: to a file that is there, and to a heading of it.

use anyhow::{Context as _, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Fewer, and this rule no longer finds them.
const LEAST: usize = 300;

/// Pages by their paths.
pub(super) type Pages = BTreeMap<PathBuf, String>;

/// The pages below `docs/` and `tests/reports/`, and in the first folder.
pub(super) fn pages(root: &Path) -> Result<Pages> {
    let mut pages = Pages::new();
    let mut open = vec![
        root.to_path_buf(),
        root.join("docs"),
        root.join("tests/reports"),
    ];
    while let Some(folder) = open.pop() {
        let entries = std::fs::read_dir(&folder);
        let entries = entries.with_context(|| format!("reading {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() && folder != root {
                open.push(path);
            } else if path.extension().is_some_and(|end| end == "md") {
                let text = std::fs::read_to_string(&path)
                    .with_context(|| format!("reading {}", path.display()))?;
                pages.insert(path, text);
            }
        }
    }
    Ok(pages)
}

/// One line for each link that leads nowhere.
pub(crate) fn breaches(root: &Path, pages: &Pages) -> Vec<String> {
    let mut breaches = Vec::new();
    let mut seen = 0;
    for (path, text) in pages {
        let shown = path.strip_prefix(root).unwrap_or(path).display();
        for link in links(text) {
            seen += 1;
            if let Some(why) = leads_nowhere(pages, path, link) {
                breaches.push(format!("{shown}: {link}: {why}"));
            }
        }
    }
    if seen < LEAST {
        breaches.push(format!("only {seen} links are found in the pages"));
    }
    breaches
}

/// The lines that are no code.
pub(super) fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// What the links within the repository lead to.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let all = prose(text).flat_map(|line| line.split("](").skip(1));
    let all = all.filter_map(|rest| rest.split([')', ' ']).next());
    all.filter(|link| !link.contains("://") && !link.starts_with("mailto:"))
}

fn leads_nowhere(pages: &Pages, from: &Path, link: &str) -> Option<&'static str> {
    let (page, section) = link.split_once('#').unwrap_or((link, ""));
    let folder = from.parent()?;
    let target = match page.is_empty() {
        true => from.to_owned(),
        false => folder.join(page),
    };
    let Ok(target) = target.canonicalize() else {
        return Some("there is no such file");
    };
    if section.is_empty() {
        return None;
    }
    let text = pages.iter().find(|(path, _)| {
        let path = path.canonicalize();
        path.is_ok_and(|path| path == target)
    });
    let has = text.is_some_and(|(_, text)| anchors(text).contains(section));
    (!has).then_some("there is no such heading")
}

/// The anchor of a heading.
pub(super) fn anchor(heading: &str) -> String {
    let heading = heading.trim().to_lowercase();
    let kept = heading.chars();
    let kept = kept.filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().replace(' ', "-")
}

/// The anchors of a page's headings: the second of one name has a number.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut met: BTreeMap<String, usize> = BTreeMap::new();
    let headings = prose(text).filter_map(|line| {
        let heading = line.trim_start_matches('#');
        (heading.len() < line.len() && heading.starts_with(' ')).then_some(heading)
    });
    let anchors = headings.map(|heading| {
        let anchor = anchor(heading);
        let nth = met.entry(anchor.clone()).or_default();
        *nth += 1;
        match *nth {
            1 => anchor,
            nth => format!("{anchor}-{}", nth - 1),
        }
    });
    anchors.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_without_its_file_or_heading_is_a_breach() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let page = "# A page\n\n## Two words, `code`\n\n## Again\n\n## Again\n\n```\n# no heading\n[x](no-link.md)\n```\n";
        let pages: Pages = [("a.md", page), ("b.md", "# B\n")]
            .map(|(name, text)| (path(name), text.to_owned()))
            .into();
        for (path, text) in &pages {
            std::fs::write(path, text).unwrap();
        }
        std::fs::write(path("c.rs"), "").unwrap();
        let nowhere = |link: &str| leads_nowhere(&pages, &path("b.md"), link).is_some();
        for good in "a.md #b a.md#two-words-code a.md#again-1 c.rs ./a.md#a-page".split(' ') {
            assert!(!nowhere(good), "{good}");
        }
        for bad in "d.md #c a.md#two-words a.md#again-2 a.md#no-heading c.rs#l1".split(' ') {
            assert!(nowhere(bad), "{bad}");
        }
        assert_eq!(links(page).count(), 0);
        let said: Vec<_> = links("[x](a.md#b) [y](https://z/#q) [t](c.md \"title\")").collect();
        assert_eq!(said, ["a.md#b", "c.md"]);
    }
}
