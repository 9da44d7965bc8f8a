//! `blame`: for each line of a file, the commit that brought it.
//!
//! ```text
//! (commit, path): lines ─ the same content in a parent ─▶ all go on to it
//!                      └─ else: lines that a parent has too go on to it, through a rename where there is one;
//!                         the rest was brought here
//! ```

use crate::{
    changes,
    error::GitError,
    lines,
    objects::{Commit, EntryKind, Reader, cut},
    refs,
    repository::Repository,
    scope::{Answer, CallScope},
    show,
    walk::MAX_WALK,
};
use gix_hash::ObjectId;
use plexus_ipc::text::counted;
use serde::{Deserialize, Serialize};
use similar::DiffOp;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
    rc::Rc,
};

/// Lines if the input does not say.
const USUAL: usize = 400;
/// Longest file, in lines.
const MAX_LINES: usize = 50_000;
/// Longest line that is shown, in characters.
const MAX_LINE: usize = 500;

/// Input of `blame`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    path: String,
    #[serde(default)]
    rev: Option<String>,
    #[serde(default)]
    line: Option<usize>,
    #[serde(default)]
    limit: Option<usize>,
}

/// Output of `blame`.
#[derive(Debug, Serialize)]
pub(crate) struct Output {
    r#type: &'static str,
    path: String,
    id: String,
    lines: usize,
    blocks: Vec<Block>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Next>,
}

#[derive(Debug, Serialize)]
struct Next {
    line: usize,
}

/// Lines in a row that one commit brought.
#[derive(Debug, Serialize)]
struct Block {
    line: usize,
    id: String,
    author: String,
    at: String,
    subject: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    text: String,
}

/// Who brought a line, and what the file was called there.
type Brought = Rc<(Commit, String)>;

/// Lines of the file asked about, each with its place in a version: both from 0.
type Lines = Vec<(usize, usize)>;

pub(crate) fn run(
    repository: &Repository,
    scope: &CallScope<'_>,
    input: &Input,
) -> Result<Answer<Output>, GitError> {
    let reader = repository.reader();
    let path = scope.file(&input.path)?;
    let rev = input.rev.as_deref().unwrap_or("HEAD");
    let commit = refs::resolve(repository, &reader, scope, rev)?;
    let bytes = show::blob(&reader, scope, &commit.tree, &path)?;
    if !lines::is_text(&bytes) {
        return Err(GitError::NotText(format!("{path} is not text")));
    }
    let text = lines::of(&bytes)?;
    if text.len() > MAX_LINES {
        return Err(GitError::TooLarge(format!(
            "{path} has {} lines, at most {MAX_LINES} are looked at",
            text.len()
        )));
    }
    let first = input.line.unwrap_or(1) - 1;
    let limit = input.limit.unwrap_or(USUAL);
    if first > 0 && first >= text.len() {
        return Err(GitError::Invalid(format!(
            "{path} has {} lines",
            text.len()
        )));
    }
    let end = text.len().min(first + limit);
    let id = commit.id.to_string();
    let mut blame = Blame {
        repository,
        reader: &reader,
        scope,
        due: BinaryHeap::new(),
        waiting: HashMap::new(),
        brought: BTreeMap::new(),
        is_cut: false,
        skips_large: false,
    };
    blame.wait(
        commit.brief(),
        path.clone(),
        (first..end).map(|line| (line, line)).collect(),
    );
    blame.work_off()?;
    let mut blocks: Vec<Block> = Vec::new();
    let mut last: Option<(ObjectId, &str)> = None;
    for (line, brought) in &blame.brought {
        let (by, there) = &**brought;
        let shown = String::from_utf8_lossy(text[*line]);
        let shown = format!("{}\n", cut(shown.trim_end_matches(['\n', '\r']), MAX_LINE));
        match blocks.last_mut() {
            Some(block) if last == Some((by.id, there.as_str())) => block.text.push_str(&shown),
            _ => blocks.push(Block {
                line: line + 1,
                id: by.id.to_string(),
                author: by.author.name.clone(),
                at: by.author.at(),
                subject: by.subject(),
                path: (*there != path).then(|| there.clone()),
                text: shown,
            }),
        }
        last = Some((by.id, there.as_str()));
    }
    let mut paths: Vec<String> = blocks
        .iter()
        .filter_map(|block| block.path.clone())
        .collect();
    paths.push(path.clone());
    paths.sort();
    paths.dedup();
    let mut commits: Vec<String> = blocks.iter().map(|block| block.id.clone()).collect();
    commits.sort();
    commits.dedup();
    Ok(Answer {
        summary: format!("blamed {} of {path}", counted(end - first, "line")),
        paths,
        commits,
        output: Output {
            r#type: "blame",
            path,
            id,
            lines: text.len(),
            blocks,
            warnings: [
                (blame.is_cut, "shallow"),
                (blame.skips_large, "large_files_skipped"),
            ]
            .into_iter()
            .filter_map(|(is_so, word)| is_so.then_some(word))
            .collect(),
            next: (end < text.len()).then_some(Next { line: end + 1 }),
        },
    })
}

struct Blame<'a> {
    repository: &'a Repository,
    reader: &'a Reader,
    scope: &'a CallScope<'a>,
    /// Newest first, so that lines of two children meet before they are looked at.
    due: BinaryHeap<(i64, Reverse<ObjectId>, String)>,
    waiting: HashMap<(ObjectId, String), (Commit, Lines)>,
    brought: BTreeMap<usize, Brought>,
    is_cut: bool,
    /// Something was too large to be looked into: what it held may count as brought by the commit after it.
    skips_large: bool,
}

impl Blame<'_> {
    fn wait(&mut self, commit: Commit, path: String, lines: Lines) {
        let key = (commit.id, path.clone());
        if let Some((_, waiting)) = self.waiting.get_mut(&key) {
            waiting.extend(lines);
        } else {
            self.due
                .push((commit.committer.seconds, Reverse(commit.id), path));
            self.waiting.insert(key, (commit, lines));
        }
    }

    fn work_off(&mut self) -> Result<(), GitError> {
        let mut walked = 0;
        while let Some((_, Reverse(id), path)) = self.due.pop() {
            self.scope.go_on()?;
            walked += 1;
            if walked > MAX_WALK {
                return Err(GitError::TooLarge(format!("more than {MAX_WALK} commits")));
            }
            let Some((commit, lines)) = self.waiting.remove(&(id, path.clone())) else {
                continue;
            };
            self.one(commit, path, lines)?;
        }
        Ok(())
    }

    fn one(&mut self, commit: Commit, path: String, mut lines: Lines) -> Result<(), GitError> {
        let here = self.reader.at(self.scope, &commit.tree, &path)?;
        let is_cut = self.repository.shallow.contains(&commit.id);
        self.is_cut |= is_cut;
        let mut parents = Vec::new();
        for parent in commit.parents.iter().filter(|_| !is_cut) {
            self.scope.go_on()?;
            let parent = self.reader.commit(parent)?.brief();
            let there = self.reader.at(self.scope, &parent.tree, &path)?;
            if there.map(|entry| entry.id) == here.map(|entry| entry.id) {
                self.wait(parent, path, lines);
                return Ok(());
            }
            let before = match there.filter(|entry| entry.kind == EntryKind::Blob) {
                Some(_) => Some(path.clone()),
                None => self.renamed(&parent, &commit, &path)?,
            };
            parents.extend(before.map(|before| (parent, before)));
        }
        let new = show::blob(self.reader, self.scope, &commit.tree, &path)?;
        let new = lines::of(&new)?;
        for (parent, before) in parents {
            self.scope.go_on()?;
            if lines.is_empty() {
                break;
            }
            let old = match show::blob(self.reader, self.scope, &parent.tree, &before) {
                Ok(old) if lines::is_text(&old) => old,
                Ok(_) => continue,
                Err(GitError::TooLarge(_)) => {
                    self.skips_large = true;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let Ok(old) = lines::of(&old) else {
                self.skips_large = true;
                continue;
            };
            let mut from: HashMap<usize, usize> = HashMap::new();
            for op in lines::difference(&old, &new) {
                if let DiffOp::Equal {
                    old_index,
                    new_index,
                    len,
                } = op
                {
                    from.extend((0..len).map(|at| (new_index + at, old_index + at)));
                }
            }
            let (go_on, stay): (Lines, Lines) =
                lines.into_iter().partition(|(_, at)| from.contains_key(at));
            lines = stay;
            let go_on: Lines = go_on
                .into_iter()
                .map(|(line, at)| (line, from[&at]))
                .collect();
            if !go_on.is_empty() {
                self.wait(parent, before, go_on);
            }
        }
        let brought = Rc::new((commit, path));
        let brought = lines.into_iter().map(|(line, _)| (line, brought.clone()));
        self.brought.extend(brought);
        Ok(())
    }

    /// Where a file of `commit` was in its parent, as far as that may be seen.
    fn renamed(
        &self,
        parent: &Commit,
        commit: &Commit,
        path: &str,
    ) -> Result<Option<String>, GitError> {
        let all = changes::between(
            self.reader,
            self.scope,
            Some(parent.tree),
            Some(commit.tree),
            None,
            false,
        );
        let all = match all {
            Ok(all) => changes::with_renames(self.reader, self.scope, all)?,
            // Too many to look for it among them.
            Err(GitError::TooLarge(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(all
            .into_iter()
            .find(|change| change.path == path)
            .and_then(|change| change.from))
    }
}
