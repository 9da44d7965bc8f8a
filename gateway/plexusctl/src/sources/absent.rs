//! Folders that the owner hides, held against what is in a source's folder now.

use super::there;
use crate::{owner::Owner, pause::PATIENCE};
use plexus_owner::kinds;
use plexus_protocol::SourceId;
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
};
use tokio::time::timeout;

/// The hidden folders that are certainly not there; none where the gateway does not say within [`PATIENCE`] which folder the
/// source opens, or its disk what is in it.
pub(super) async fn absent_folders(
    owner: &mut Owner,
    source: &SourceId,
    hidden: &BTreeSet<String>,
) -> Vec<String> {
    let root = timeout(PATIENCE, root_of(owner, source)).await;
    let Some(root) = root.ok().flatten() else {
        return Vec::new();
    };
    let (found, heard) = mpsc::channel();
    let hidden = hidden.clone();
    // A disk that is away may never answer: the command does not wait for this thread.
    thread::spawn(move || {
        let is_absent = |folder: &String| is_absent(&root, folder).unwrap_or(false);
        let _ = found.send(hidden.into_iter().filter(is_absent).collect());
    });
    heard.recv_timeout(PATIENCE).unwrap_or_default()
}

/// The folder that a source opens, of a kind that has one.
async fn root_of(owner: &mut Owner, source: &SourceId) -> Option<PathBuf> {
    let configured = there(owner, source).await.ok()?.source;
    let connectors = owner.call(&kinds::List {}).await.ok()?.connectors;
    let mut of_kind = connectors
        .into_iter()
        .filter(|one| one.kind == configured.kind);
    let field = of_kind.next()?.root?;
    let route = configured.route?;
    route.get(&field)?.as_str().map(PathBuf::from)
}

/// Whether a folder is certainly not there. A name that may stand for it in another case or normal form counts as it, a link
/// and a file as a folder that holds everything.
fn is_absent(root: &Path, named: &str) -> io::Result<bool> {
    let (first, rest) = match named.split_once('/') {
        Some((first, rest)) => (first, Some(rest)),
        None => (named, None),
    };
    let mut is_nowhere = first.is_ascii();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if !is_nowhere || ascii_folded(&entry.file_name().to_string_lossy()) != ascii_folded(first)
        {
            continue;
        }
        is_nowhere = match rest {
            Some(rest) if entry.file_type()?.is_dir() => is_absent(&entry.path(), rest)?,
            _ => false,
        };
    }
    Ok(is_nowhere)
}

/// The ASCII letters of a name, in one case.
fn ascii_folded(name: &str) -> String {
    let name = name.to_uppercase().to_lowercase();
    name.chars().filter(char::is_ascii).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_folder_is_certainly_absent() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("Daily/Pri\u{ad}vate")).unwrap();
        fs::create_dir(root.path().join("STRA\u{1e9e}E")).unwrap();
        fs::write(root.path().join("note.md"), "").unwrap();
        std::os::unix::fs::symlink("/nowhere", root.path().join("link")).unwrap();
        let absent = |name: &str| is_absent(root.path(), name).ok();
        let doubtful = ["stra\u{df}e", "\u{dc}ber", "link/a", "note.md/a"];
        let there = ["daily", "DAILY/private", "note.md"];
        for there in there.into_iter().chain(doubtful) {
            assert_eq!(absent(there), Some(false), "{there}");
        }
        for none in ["Dayli", "Daily/unter", "Nope/a"] {
            assert_eq!(absent(none), Some(true), "{none}");
        }
        // A disk that is away says nothing of what is on it.
        let away = is_absent(&root.path().join("gone"), "a").map_err(|error| error.kind());
        assert_eq!(away, Err(io::ErrorKind::NotFound));
    }
}
