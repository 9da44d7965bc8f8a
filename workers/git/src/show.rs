//! `show`: what a commit changed, or a file as it was in it.

use crate::{
    changes::{self, Change},
    error::GitError,
    lines,
    log::{CommitEntry, Next},
    objects::{Entry, EntryKind, Reader},
    refs,
    repository::Repository,
    scope::{Answer, CallScope},
};
use plexus_ipc::text::counted;
use plexus_rooted_files::text;
use serde::{Deserialize, Serialize};

/// Files if the input does not say.
const USUAL: usize = 50;
/// Longest difference of one file, and of all together, in bytes.
const MAX_DIFF: (usize, usize) = (64 << 10, 512 << 10);

/// Input of `show`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    rev: String,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    content: bool,
    #[serde(default)]
    offset: usize,
    #[serde(default)]
    limit: Option<usize>,
    #[serde(default)]
    after: Option<String>,
}

/// Output of `show`.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Output {
    Commit(Box<CommitOutput>),
    File(FileOutput),
}

/// A commit and what it changed.
#[derive(Debug, Serialize)]
pub(crate) struct CommitOutput {
    r#type: &'static str,
    commit: CommitEntry,
    files: Vec<File>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Next>,
}

/// A file as it was.
#[derive(Debug, Serialize)]
pub(crate) struct FileOutput {
    r#type: &'static str,
    id: String,
    path: String,
    bytes: usize,
    content: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Offset>,
}

#[derive(Debug, Serialize)]
struct Offset {
    offset: usize,
}

/// A file that a commit changed.
#[derive(Debug, Serialize)]
struct File {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    change: &'static str,
    added: usize,
    removed: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    diff: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    omitted: Option<&'static str>,
}

pub(crate) fn run(
    repository: &Repository,
    scope: &CallScope<'_>,
    input: &Input,
) -> Result<Answer<Output>, GitError> {
    let reader = repository.reader();
    if input.content {
        return content(repository, &reader, scope, input);
    }
    let path = scope.path(input.path.as_deref())?;
    let commit = refs::resolve(repository, &reader, scope, &input.rev)?;
    let is_cut = repository.shallow.contains(&commit.id);
    let parents = if is_cut { &[][..] } else { &commit.parents };
    let mut warnings = Vec::new();
    if is_cut {
        warnings.push("shallow");
    }
    if parents.len() > 1 {
        warnings.push("merge_against_first_parent");
    }
    let before = parents
        .first()
        .map(|parent| reader.commit(parent).map(|commit| commit.tree))
        .transpose()?;
    let all = changes::between(
        &reader,
        scope,
        before,
        Some(commit.tree),
        path.as_deref(),
        false,
    )?;
    // What changed nothing that may be seen is told apart from what is not there by nothing.
    if all.is_empty() && !scope.everything() {
        return Err(GitError::Miss);
    }
    let all = changes::with_renames(&reader, scope, all)?;
    let from = input.after.as_deref().map_or(0, |after| {
        all.partition_point(|change| change.path.as_str() <= after)
    });
    let limit = input.limit.unwrap_or(USUAL);
    let mut left = MAX_DIFF.1;
    let (mut files, mut paths) = (Vec::new(), Vec::new());
    for change in all.iter().skip(from).take(limit) {
        scope.go_on()?;
        paths.push(change.path.clone());
        paths.extend(change.from.clone());
        files.push(file(&reader, change, &mut left)?);
    }
    if paths.is_empty() && scope.everything() {
        paths.push(path.unwrap_or_else(|| ".".to_owned()));
    }
    if reader.skipped_names.get() {
        warnings.push("names_skipped");
    }
    let next = (all.len() > from + limit)
        .then(|| {
            files.last().map(|file| Next {
                after: file.path.clone(),
            })
        })
        .flatten();
    let id = commit.id.to_string();
    Ok(Answer {
        summary: format!(
            "showed {} of {} of {}",
            files.len(),
            counted(all.len(), "file"),
            &id[..12]
        ),
        paths,
        commits: vec![id],
        output: Output::Commit(Box::new(CommitOutput {
            r#type: "commit",
            commit: CommitEntry::new(&commit, Vec::new()),
            files,
            warnings,
            next,
        })),
    })
}

fn file(reader: &Reader, change: &Change, left: &mut usize) -> Result<File, GitError> {
    let mut file = File {
        path: change.path.clone(),
        from: change.from.clone(),
        change: change.word(),
        added: 0,
        removed: 0,
        diff: None,
        omitted: None,
    };
    let (old, new) = match (bytes(reader, change.old), bytes(reader, change.new)) {
        (Ok(old), Ok(new)) => (old, new),
        (Err(why), _) | (_, Err(why)) => {
            file.omitted = Some(why);
            return Ok(file);
        }
    };
    if !lines::is_text(&old) || !lines::is_text(&new) {
        file.omitted = Some("binary");
        return Ok(file);
    }
    let (Ok(old), Ok(new)) = (lines::of(&old), lines::of(&new)) else {
        file.omitted = Some("too_large");
        return Ok(file);
    };
    let ops = lines::difference(&old, &new);
    (file.added, file.removed) = lines::counted(&ops);
    let (diff, is_cut) = lines::unified(&old, &new, &ops, MAX_DIFF.0.min(*left));
    *left -= diff.len();
    if is_cut {
        file.omitted = Some("cut");
    }
    if !diff.is_empty() {
        file.diff = Some(diff);
    }
    Ok(file)
}

/// The content, or why it is not compared.
fn bytes(reader: &Reader, entry: Option<Entry>) -> Result<Vec<u8>, &'static str> {
    let Some(entry) = entry else {
        return Ok(Vec::new());
    };
    if entry.kind == EntryKind::Submodule {
        return Err("submodule");
    }
    match reader.blob(&entry.id) {
        Ok(bytes) => Ok(bytes),
        Err(GitError::TooLarge(_)) => Err("too_large"),
        Err(GitError::NotFound(_)) => Err("not_in_this_clone"),
        Err(_) => Err("damaged"),
    }
}

fn content(
    repository: &Repository,
    reader: &Reader,
    scope: &CallScope<'_>,
    input: &Input,
) -> Result<Answer<Output>, GitError> {
    let path = scope.file(input.path.as_deref().unwrap_or_default())?;
    let commit = refs::resolve(repository, reader, scope, &input.rev)?;
    let bytes = blob(reader, scope, &commit.tree, &path)?;
    let text = text::decode(&bytes)
        .map_err(|why| GitError::NotText(format!("{path} is not text: {}", why.0)))?;
    let page = text::page(&text.content, input.offset, text::MAX_PAGE_BYTES)
        .ok_or_else(|| GitError::Invalid("offset lies beyond the end".to_owned()))?;
    let id = commit.id.to_string();
    Ok(Answer {
        summary: format!("read {path} as of {}", &id[..12]),
        paths: vec![path.clone()],
        commits: vec![id.clone()],
        output: Output::File(FileOutput {
            r#type: "file",
            id,
            path,
            bytes: bytes.len(),
            content: page.content.to_owned(),
            next: page.next_offset.map(|offset| Offset { offset }),
        }),
    })
}

/// The content of the file at a path of a tree.
pub(crate) fn blob(
    reader: &Reader,
    scope: &CallScope<'_>,
    tree: &gix_hash::ObjectId,
    path: &str,
) -> Result<Vec<u8>, GitError> {
    match reader.at(scope, tree, path)? {
        Some(entry) if entry.kind == EntryKind::Blob => reader.blob(&entry.id),
        Some(_) => Err(GitError::Invalid(format!("{path} is no file there"))),
        None => Err(GitError::NotFound(format!("{path} is not there"))),
    }
}
