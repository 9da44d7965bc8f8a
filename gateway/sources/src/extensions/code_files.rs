//! Which files differ in a source's folders of code from what the owner agreed to. What is agreed to is the digest of each folder; the
//! names and digests of its files lie beside, for words alone.
//!
//! Invariants: a list is used only where it comes to the digest that it is kept under; of what is not configured none is kept.
//!
//! Must not know: who reads the words, how a folder is read.

use super::file;
use crate::pinned::{MOST_LISTED, Tree};
use plexus_home::{
    state_dir::{StateDir, write_private},
    tasks::blocking,
};
use plexus_protocol::{Digest, SourceId, state_dir::make_folder};
use plexus_trust::{Source, pins::FILES};
use std::{
    collections::BTreeSet,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

/// What is read of a file of names, in bytes.
const LARGEST: u64 = 16 << 20;

/// How folders of code, by the rules that were found now, differ from what the owner agreed to: one sentence for each that does.
/// The names of what is there are kept for the next time.
pub async fn file_changes(state_dir: &StateDir, source: &Source, found: &[String]) -> Vec<String> {
    let compared = FolderComparison::of(state_dir, source, found);
    if compared.found.is_empty() {
        return Vec::new();
    }
    // Without a thread nothing is named.
    blocking(move || compared.words()).await.unwrap_or_default()
}

/// The file of the names.
pub(super) fn list(state_dir: &StateDir, id: &SourceId) -> PathBuf {
    file(state_dir, id).with_extension("files")
}

/// A folder of code, as a rule has it.
struct Folder {
    /// Its field and path.
    named: String,
    digest: Digest,
}

impl Folder {
    fn of(rule: &str) -> Option<Self> {
        let (named, digest) = rule.strip_prefix(FILES)?.rsplit_once(' ')?;
        Some(Self {
            named: named.to_owned(),
            digest: Digest::parse(digest)?,
        })
    }

    fn path(&self) -> &str {
        self.named.split_once(' ').map_or("", |(_, path)| path)
    }
}

struct FolderComparison {
    path: PathBuf,
    agreed: Vec<Folder>,
    found: Vec<Folder>,
    is_kept: bool,
}

impl FolderComparison {
    fn of(state_dir: &StateDir, source: &Source, found: &[String]) -> Self {
        let folders = |rules: &[String]| {
            let folders = rules.iter().filter_map(|rule| Folder::of(rule));
            folders.collect::<Vec<_>>()
        };
        Self {
            path: list(state_dir, &source.id),
            agreed: folders(source.agreed()),
            found: folders(found),
            is_kept: source.pins.is_some(),
        }
    }

    /// Blocks on the disk.
    fn words(&self) -> Vec<String> {
        let mut kept = Vec::new();
        if let Ok(file) = File::open(&self.path) {
            // A list that is cut off comes to another digest.
            let _ = file.take(LARGEST).read_to_end(&mut kept);
        }
        let kept = Tree::recorded(&kept);
        let tree = |digest: Digest| {
            let known = kept.iter().find(|tree| tree.digest == digest).cloned();
            let known = known.or_else(|| Tree::lately(digest));
            let is_there = || self.found.iter().find(|is| is.digest == digest);
            // One that others were read after, and whose digest is known still.
            known.or_else(|| Tree::read(Path::new(is_there()?.path()), digest))
        };
        let differ = self.found.iter().filter_map(|is| {
            let was = self.agreed.iter().find(|was| was.named == is.named)?;
            let differs = was.digest != is.digest;
            differs.then(|| words(is.path(), tree(was.digest), tree(is.digest)))
        });
        let words = differ.collect();
        if self.is_kept {
            self.keep(&kept, &tree);
        }
        words
    }

    /// Keeps the names of what is agreed to, and of what may be next.
    fn keep(&self, kept: &[Arc<Tree>], tree: &dyn Fn(Digest) -> Option<Arc<Tree>>) {
        let folders = self.agreed.iter().chain(&self.found);
        let wanted: BTreeSet<Digest> = folders.map(|folder| folder.digest).collect();
        let trees = wanted.into_iter().filter_map(tree);
        let trees: Vec<_> = trees.filter(|tree| tree.is_listed()).collect();
        let is_there = |tree: &Arc<Tree>| kept.contains(tree);
        if trees.len() == kept.len() && trees.iter().all(is_there) {
            return;
        }
        let mut text = Vec::new();
        trees.iter().for_each(|tree| tree.record(&mut text));
        let made = self.path.parent().map(|folder| make_folder(folder, 0o700));
        let written = made
            .unwrap_or(Ok(()))
            .and_then(|()| write_private(&self.path, &text));
        if let Err(error) = written {
            tracing::warn!(name: "extension.unlisted", path = %self.path.display(), %error, "the names of a server's files cannot be kept; a card of a change names none");
        }
    }
}

fn words(path: &str, was: Option<Arc<Tree>>, is: Option<Arc<Tree>>) -> String {
    let is_large = [&was, &is]
        .into_iter()
        .flatten()
        .any(|tree| !tree.is_listed());
    if is_large {
        return format!(
            "of the files in {path}, more than {MOST_LISTED} or with long names, those that changed are not listed"
        );
    }
    let Some(was) = was else {
        return format!("of the files in {path} no list of the agreed ones is kept");
    };
    match is.and_then(|is| is.differences(&was)) {
        Some(names) => format!("of the files in {path}: {names}"),
        None => format!("of the files in {path} those that are there now could not be listed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pinned;
    use plexus_trust::SourceConfig;
    use serde_json::json;
    use std::fs;

    #[test]
    fn names_are_those_of_the_agreed_digest() {
        let home = tempfile::tempdir().unwrap();
        let state_dir = StateDir::open(Some(home.path().join("home"))).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().display().to_string();
        let rule = || {
            let digest = pinned::digest(folder.path()).unwrap();
            vec![format!("{FILES}code1 {at} {digest}")]
        };
        let id = SourceId::parse("notes").unwrap();
        let config = json!({"kind": "mcp-notes", "label": "Notes", "enabled": true, "provenance": "extension"});
        let config: SourceConfig = serde_json::from_value(config).unwrap();
        let mut source = Source::new(id.clone(), config, 1);
        let words = |source: &Source, found: &[String]| {
            FolderComparison::of(&state_dir, source, found).words()
        };
        let none: Vec<String> = Vec::new();
        fs::write(folder.path().join("a.js"), "one").unwrap();
        let agreed = rule();
        assert_eq!(words(&source, &agreed), none);
        assert!(!list(&state_dir, &id).exists(), "a preview keeps nothing");
        source.pins = Some(agreed.clone());
        assert_eq!(words(&source, &agreed), none);
        fs::write(folder.path().join("a.js"), "two").unwrap();
        let found = rule();
        let changed = format!("of the files in {at}: changed \"a.js\"");
        assert_eq!(words(&source, &found), [changed]);
        // Both lie on the disk: after a start nothing else knows the one before.
        let kept = fs::read(list(&state_dir, &id)).unwrap();
        assert_eq!(Tree::recorded(&kept).len(), 2);
        // A list of other files than those that are agreed to names none.
        let older = Digest::of(b"older");
        source.pins = Some(vec![format!("{FILES}code1 {at} {older}")]);
        let unknown = format!("of the files in {at} no list of the agreed ones is kept");
        assert_eq!(words(&source, &found), [unknown]);
        // Of what is there now a list is made again, where others were read after it.
        fs::remove_file(list(&state_dir, &id)).unwrap();
        source.pins = Some(found);
        for n in 0..16 {
            let other = tempfile::tempdir().unwrap();
            fs::write(other.path().join("n"), n.to_string()).unwrap();
            pinned::digest(other.path()).unwrap();
        }
        assert_eq!(words(&source, &rule()), none);
        let kept = fs::read(list(&state_dir, &id)).unwrap();
        assert_eq!(Tree::recorded(&kept).len(), 1);
    }
}
