//! `search`: text in messages, in what commits added or removed, or in the files of one commit.

use crate::{
    changes,
    error::GitError,
    lines,
    log::{Next, Span, touches},
    objects::{Commit, EntryKind, Reader, cut},
    refs,
    repository::Repository,
    scope::{Answer, CallScope},
    walk::Walk,
};
use plexus_ipc::text::folded;
use plexus_rooted_files::text::decode;
use serde::{Deserialize, Serialize};
use similar::DiffOp;

/// Hits if the input does not say.
const USUAL: usize = 20;
/// Commits that one call looks into before it says where to go on.
const MESSAGES: usize = 20_000;
const CHANGES: usize = 1_000;
/// Files that one call looks into.
const FILES: usize = 20_000;
/// Hits of one file or commit, unless the path names that file.
const EACH: usize = 5;
/// Largest file that is searched, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// Longest line that is shown, in characters.
const MAX_LINE: usize = 300;

/// Input of `search`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    query: String,
    #[serde(default)]
    r#in: SearchScope,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    rev: Option<String>,
    #[serde(default)]
    since: Option<String>,
    #[serde(default)]
    until: Option<String>,
    #[serde(default)]
    limit: Option<usize>,
    #[serde(default)]
    after: Option<String>,
}

/// Where the text is looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SearchScope {
    #[default]
    Messages,
    Changes,
    Files,
}

/// Output of `search`.
#[derive(Debug, Serialize)]
pub(crate) struct Output {
    r#type: &'static str,
    hits: Vec<Hit>,
    searched: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Next>,
}

/// One place.
#[derive(Debug, Serialize)]
struct Hit {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    author: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<&'static str>,
    snippet: String,
}

struct Search<'a> {
    reader: &'a Reader,
    scope: &'a CallScope<'a>,
    query: String,
    path: Option<String>,
    limit: usize,
    hits: Vec<Hit>,
    paths: Vec<String>,
    warnings: Vec<&'static str>,
}

pub(crate) fn run(
    repository: &Repository,
    scope: &CallScope<'_>,
    input: &Input,
) -> Result<Answer<Output>, GitError> {
    let reader = repository.reader();
    if input.query.trim().is_empty() {
        return Err(GitError::Invalid("query is empty".to_owned()));
    }
    let mut search = Search {
        reader: &reader,
        scope,
        query: folded(&input.query),
        path: scope.path(input.path.as_deref())?,
        limit: input.limit.unwrap_or(USUAL),
        hits: Vec::new(),
        paths: Vec::new(),
        warnings: Vec::new(),
    };
    let rev = input.rev.as_deref().unwrap_or("HEAD");
    let start = refs::resolve(repository, &reader, scope, rev)?;
    let (searched, next, is_cut) = if input.r#in == SearchScope::Files {
        search.files(&start, input.after.as_deref())?
    } else {
        let span = Span::new(input.since.as_deref(), input.until.as_deref())?;
        let mut walk = Walk::new(repository, &reader, scope);
        walk.add(start)?;
        search.history(&mut walk, &span, input)?
    };
    if is_cut {
        search.warn("shallow");
    }
    if reader.skipped_names.get() {
        search.warn("names_skipped");
    }
    let Search {
        hits,
        mut paths,
        path,
        warnings,
        ..
    } = search;
    if paths.is_empty() && scope.everything() {
        paths.push(path.unwrap_or_else(|| ".".to_owned()));
    }
    paths.sort();
    paths.dedup();
    let mut commits: Vec<String> = hits.iter().map(|hit| hit.id.clone()).collect();
    commits.sort();
    commits.dedup();
    Ok(Answer {
        summary: format!("searched: {} hits", hits.len()),
        paths,
        commits,
        output: Output {
            r#type: "search",
            hits,
            searched,
            warnings,
            next: next.map(|after| Next { after }),
        },
    })
}

impl Search<'_> {
    /// How much was searched, where to go on, and whether a shallow clone ended it.
    fn history(
        &mut self,
        walk: &mut Walk<'_>,
        span: &Span,
        input: &Input,
    ) -> Result<(usize, Option<String>, bool), GitError> {
        let most = if input.r#in == SearchScope::Changes {
            CHANGES
        } else {
            MESSAGES
        };
        let mut waiting_for = input.after.as_deref().map(str::to_lowercase);
        let (mut searched, mut last) = (0, None);
        while let Some(commit) = walk.next()? {
            let parents = walk.parents(&commit);
            let is_past = waiting_for.is_some();
            if is_past || !span.holds(&commit) {
                walk.go_on(&parents)?;
                if waiting_for.as_deref() == Some(commit.id.to_string().as_str()) {
                    waiting_for = None;
                }
                continue;
            }
            if searched == most || self.hits.len() >= self.limit {
                return Ok((searched, last, walk.is_cut));
            }
            walk.go_on(&parents)?;
            searched += 1;
            last = Some(commit.id.to_string());
            if input.r#in == SearchScope::Changes {
                // A merge brings what its sides brought; how it resolved their conflicts is not looked into.
                if parents.len() < 2 {
                    let before = parents
                        .first()
                        .map(|id| self.reader.commit(id))
                        .transpose()?;
                    self.changes(&commit, before.as_ref())?;
                }
            } else if let Some(line) = self.matching(&commit.message) {
                let snippet = cut(line.trim(), MAX_LINE);
                let (is_meant, _, touched) = touches(
                    self.reader,
                    self.scope,
                    &commit,
                    &parents,
                    self.path.as_deref(),
                )?;
                if is_meant {
                    self.paths.extend(touched);
                    self.hits.push(hit(&commit, snippet));
                }
            }
        }
        if waiting_for.is_some() {
            return Err(GitError::NotFound(
                "after names no commit of this history".to_owned(),
            ));
        }
        Ok((searched, None, walk.is_cut))
    }

    fn matching<'t>(&self, text: &'t str) -> Option<&'t str> {
        text.lines().find(|line| folded(line).contains(&self.query))
    }

    /// Lines with the text that a commit added or removed.
    fn changes(&mut self, commit: &Commit, before: Option<&Commit>) -> Result<(), GitError> {
        let all = changes::between(
            self.reader,
            self.scope,
            before.map(|commit| commit.tree),
            Some(commit.tree),
            self.path.as_deref(),
            false,
        )?;
        // What was only moved was neither added nor removed.
        let all = changes::with_renames(self.reader, self.scope, all)?;
        let mut found = 0;
        for change in all {
            self.scope.go_on()?;
            if change.old.map(|entry| entry.id) == change.new.map(|entry| entry.id) {
                continue;
            }
            let (Some(old), Some(new)) = (self.text(change.old)?, self.text(change.new)?) else {
                continue;
            };
            // Most files do not have the text at all.
            if !self.holds(&old) && !self.holds(&new) {
                continue;
            }
            let (Ok(old), Ok(new)) = (lines::of(&old), lines::of(&new)) else {
                self.warn("large_files_skipped");
                continue;
            };
            let each = self.each(&change.path);
            for op in lines::difference(&old, &new) {
                if matches!(op, DiffOp::Equal { .. }) {
                    continue;
                }
                let sides = [
                    ("removed", &old, op.old_range()),
                    ("added", &new, op.new_range()),
                ];
                for (word, lines, range) in sides {
                    for line in range {
                        if !self.holds(lines[line]) {
                            continue;
                        }
                        found += 1;
                        if found > each {
                            self.warn("hits_bounded");
                        } else {
                            let text = String::from_utf8_lossy(lines[line]);
                            self.paths.push(change.path.clone());
                            self.hits.push(Hit {
                                path: Some(change.path.clone()),
                                line: Some(line + 1),
                                change: Some(word),
                                ..hit(commit, cut(text.trim_end(), MAX_LINE))
                            });
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Lines with the text in the files of one commit.
    fn files(
        &mut self,
        commit: &Commit,
        after: Option<&str>,
    ) -> Result<(usize, Option<String>, bool), GitError> {
        let all = changes::between(
            self.reader,
            self.scope,
            None,
            Some(commit.tree),
            self.path.as_deref(),
            false,
        )?;
        let (mut searched, mut last) = (0, None);
        for change in all
            .into_iter()
            .filter(|c| after.is_none_or(|after| c.path.as_str() > after))
        {
            self.scope.go_on()?;
            if searched == FILES || self.hits.len() >= self.limit {
                return Ok((searched, last, false));
            }
            searched += 1;
            last = Some(change.path.clone());
            let Some(text) = self.text(change.new)? else {
                continue;
            };
            if !self.holds(&text) {
                continue;
            }
            let Ok(lines) = lines::of(&text) else {
                self.warn("large_files_skipped");
                continue;
            };
            self.paths.push(change.path.clone());
            let each = self.each(&change.path);
            let hits = lines
                .iter()
                .enumerate()
                .filter(|(_, line)| self.holds(line))
                .take(each + 1);
            let mut hits: Vec<Hit> = hits
                .map(|(at, line)| Hit {
                    id: commit.id.to_string(),
                    at: None,
                    author: None,
                    subject: None,
                    path: Some(change.path.clone()),
                    line: Some(at + 1),
                    change: None,
                    snippet: cut(String::from_utf8_lossy(line).trim_end(), MAX_LINE),
                })
                .collect();
            if hits.len() > each {
                hits.truncate(each);
                self.warn("hits_bounded");
            }
            self.hits.extend(hits);
        }
        Ok((searched, None, false))
    }

    fn holds(&self, bytes: &[u8]) -> bool {
        let ascii = self.query.is_ascii();
        if ascii {
            // Without a copy of the whole file.
            let query = self.query.as_bytes();
            return bytes
                .windows(query.len())
                .any(|window| window.eq_ignore_ascii_case(query));
        }
        folded(&String::from_utf8_lossy(bytes)).contains(&self.query)
    }

    /// Most hits of one file.
    fn each(&self, path: &str) -> usize {
        match self.path.as_deref() == Some(path) {
            true => self.limit,
            false => EACH,
        }
    }

    /// The content of a file of text; of no file, nothing. `None`, and a warning where that may hide a hit, for what is
    /// not looked into.
    fn text(&mut self, entry: Option<crate::objects::Entry>) -> Result<Option<Vec<u8>>, GitError> {
        let Some(entry) = entry else {
            return Ok(Some(Vec::new()));
        };
        if entry.kind != EntryKind::Blob {
            return Ok(None);
        }
        let found = match self.reader.header(&entry.id) {
            Ok((_, size)) if size > MAX_FILE => Err("large_files_skipped"),
            Ok(_) => match self.reader.blob(&entry.id) {
                Ok(bytes) => Ok(bytes),
                Err(GitError::Broken(_)) => Err("damaged_files_skipped"),
                Err(error) => return Err(error),
            },
            Err(GitError::NotFound(_)) => Err("not_in_this_clone"),
            Err(GitError::Broken(_)) => Err("damaged_files_skipped"),
            Err(error) => return Err(error),
        };
        let bytes = match found {
            Ok(bytes) => bytes,
            Err(word) => {
                self.warn(word);
                return Ok(None);
            }
        };
        if lines::is_text(&bytes) {
            return Ok(Some(bytes));
        }
        // UTF-16 is full of NUL.
        if let Ok(text) = decode(&bytes)
            && text.warning.is_some()
        {
            return Ok(Some(text.content.into_owned().into_bytes()));
        }
        if self.holds(&bytes) {
            self.warn("binary_files_match");
        }
        Ok(None)
    }

    fn warn(&mut self, word: &'static str) {
        if !self.warnings.contains(&word) {
            self.warnings.push(word);
        }
    }
}

fn hit(commit: &Commit, snippet: String) -> Hit {
    Hit {
        id: commit.id.to_string(),
        at: Some(commit.author.at()),
        author: Some(commit.author.name.clone()),
        subject: Some(commit.subject()),
        path: None,
        line: None,
        change: None,
        snippet,
    }
}
