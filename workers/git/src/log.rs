//! `log`: the commits of a history, or those that changed a path.

use crate::{
    changes,
    error::GitError,
    objects::{Commit, Entry, Reader},
    refs,
    repository::Repository,
    scope::{Answer, CallScope},
    walk::Walk,
};
use gix_hash::ObjectId;
use jiff::{civil::Date, tz::TimeZone};
use plexus_ipc::text::{counted, folded};
use serde::{Deserialize, Serialize};

/// Commits if the input does not say.
const USUAL: usize = 20;

/// Input of `log`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    #[serde(default)]
    pub(crate) path: Option<String>,
    #[serde(default)]
    rev: Option<String>,
    #[serde(default)]
    not: Option<String>,
    #[serde(default)]
    author: Option<String>,
    #[serde(default)]
    since: Option<String>,
    #[serde(default)]
    until: Option<String>,
    #[serde(default)]
    limit: Option<usize>,
    #[serde(default)]
    after: Option<String>,
}

/// Output of `log`.
#[derive(Debug, Serialize)]
pub(crate) struct Output {
    r#type: &'static str,
    pub(crate) commits: Vec<CommitEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Next>,
}

/// Where to go on.
#[derive(Debug, Serialize)]
pub(crate) struct Next {
    pub(crate) after: String,
}

/// A commit, as it is told.
#[derive(Debug, Serialize)]
pub(crate) struct CommitEntry {
    pub(crate) id: String,
    pub(crate) author: String,
    pub(crate) email: String,
    pub(crate) at: String,
    pub(crate) subject: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) body: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) parents: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) names: Vec<String>,
}

impl CommitEntry {
    pub(crate) fn new(commit: &Commit, names: Vec<String>) -> Self {
        Self {
            id: commit.id.to_string(),
            author: commit.author.name.clone(),
            email: commit.author.email.clone(),
            at: commit.author.at(),
            subject: commit.subject(),
            body: commit.body(),
            parents: commit.parents.iter().map(ToString::to_string).collect(),
            names,
        }
    }
}

/// Where a history begins and which of its commits are meant: what `log` and `search` have in common.
pub(crate) struct Span {
    since: Option<i64>,
    until: Option<i64>,
}

impl Span {
    pub(crate) fn new(since: Option<&str>, until: Option<&str>) -> Result<Self, GitError> {
        Ok(Self {
            since: since.map(moment).transpose()?,
            until: until.map(moment).transpose()?,
        })
    }

    pub(crate) fn holds(&self, commit: &Commit) -> bool {
        let at = commit.committer.seconds;
        self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at <= until)
    }
}

/// RFC 3339, or a day, which begins as it does for the person, in seconds since 1970.
fn moment(text: &str) -> Result<i64, GitError> {
    moment_in(&TimeZone::system(), text).ok_or_else(|| {
        GitError::Invalid(format!(
            "{text:?} is no time: write 2026-01-31 or 2026-01-31T12:00:00Z"
        ))
    })
}

fn moment_in(here: &TimeZone, text: &str) -> Option<i64> {
    // The parser of dates takes the date of a time as well.
    let day = text.parse::<Date>().ok().filter(|_| text.len() == 10);
    let moment = match day {
        Some(day) => day.to_zoned(here.clone()).ok()?.timestamp(),
        None => text.parse().ok()?,
    };
    Some(moment.as_second())
}

pub(crate) fn run(
    repository: &Repository,
    scope: &CallScope<'_>,
    input: &Input,
) -> Result<Answer<Output>, GitError> {
    let reader = repository.reader();
    let path = scope.path(input.path.as_deref())?;
    let span = Span::new(input.since.as_deref(), input.until.as_deref())?;
    let rev = input.rev.as_deref().unwrap_or("HEAD");
    let mut walk = Walk::new(repository, &reader, scope);
    if let Some(not) = &input.not {
        walk.without(refs::resolve(repository, &reader, scope, not)?.id)?;
    }
    walk.add(refs::resolve(repository, &reader, scope, rev)?)?;
    let limit = input.limit.unwrap_or(USUAL);
    let mut waiting_for = input.after.as_deref().map(str::to_lowercase);
    let author = input.author.as_deref().map(folded);
    let (mut names, skipped) = refs::names(repository, &reader, scope)?;
    let (mut commits, mut paths, mut more) = (Vec::new(), Vec::new(), false);
    while let Some(commit) = walk.next()? {
        let parents = walk.parents(&commit);
        let (is_meant, go_on, touched) =
            touches(&reader, scope, &commit, &parents, path.as_deref())?;
        walk.go_on(&go_on)?;
        if !is_meant {
            continue;
        }
        if let Some(after) = &waiting_for {
            if *after == *commit.id.to_hex().to_string() {
                waiting_for = None;
            }
            continue;
        }
        let by = |author: &String| {
            let person = format!("{} <{}>", commit.author.name, commit.author.email);
            folded(&person).contains(author)
        };
        if !span.holds(&commit) || !author.as_ref().is_none_or(by) {
            continue;
        }
        if commits.len() == limit {
            more = true;
            break;
        }
        paths.extend(touched);
        commits.push(CommitEntry::new(
            &commit,
            names.remove(&commit.id).unwrap_or_default(),
        ));
    }
    if waiting_for.is_some() {
        return Err(GitError::NotFound(
            "after names no commit of this history".to_owned(),
        ));
    }
    if paths.is_empty() && scope.everything() {
        paths.push(path.unwrap_or_else(|| ".".to_owned()));
    }
    paths.sort();
    paths.dedup();
    let next = commits.last().filter(|_| more).map(|last| Next {
        after: last.id.clone(),
    });
    Ok(Answer {
        summary: format!("listed {}", counted(commits.len(), "commit")),
        paths,
        commits: commits.iter().map(|commit| commit.id.clone()).collect(),
        output: Output {
            r#type: "log",
            commits,
            warnings: [
                walk.is_cut.then_some("shallow"),
                skipped.then_some("refs_skipped"),
            ]
            .into_iter()
            .flatten()
            .collect(),
            next,
        },
    })
}

/// Whether a commit is meant, by which parents the history goes on, and which paths it was judged by.
pub(crate) fn touches(
    reader: &Reader,
    scope: &CallScope<'_>,
    commit: &Commit,
    parents: &[ObjectId],
    path: Option<&str>,
) -> Result<(bool, Vec<ObjectId>, Vec<String>), GitError> {
    if let Some(path) = path {
        let here = reader.at(scope, &commit.tree, path)?;
        for parent in parents {
            scope.go_on()?;
            let tree = reader.commit(parent)?.tree;
            let there: Option<Entry> = reader.at(scope, &tree, path)?;
            if there == here {
                // As it was there: that is where it came from, and other parents have nothing to say of it.
                return Ok((false, vec![*parent], Vec::new()));
            }
        }
        // A first commit changed what it has.
        let differs = !parents.is_empty() || here.is_some();
        return Ok((differs, parents.to_vec(), vec![path.to_owned()]));
    }
    if scope.everything() {
        return Ok((true, parents.to_vec(), Vec::new()));
    }
    // Narrowed: what changed nothing that may be seen does not exist.
    let before = parents
        .first()
        .map(|parent| reader.commit(parent))
        .transpose()?;
    let seen = changes::between(
        reader,
        scope,
        before.map(|c| c.tree),
        Some(commit.tree),
        None,
        true,
    )?;
    let paths: Vec<String> = seen.into_iter().map(|change| change.path).collect();
    Ok((!paths.is_empty(), parents.to_vec(), paths))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn day_begins_where_the_person_is() {
        // In Santiago the hour before a midnight comes twice where clocks go back; the one after it is left out in spring.
        let zone = |rules| TimeZone::posix(rules).unwrap();
        let santiago = zone("<-04>4<-03>,M9.1.6/24,M4.1.6/24");
        for (here, day, begins) in [
            (&zone("<+12>-12"), "2026-04-05", "2026-04-04T12:00:00Z"),
            (&santiago, "2026-04-05", "2026-04-05T04:00:00Z"),
            (&santiago, "2026-09-06", "2026-09-06T04:00:00Z"),
        ] {
            let begins = moment_in(here, begins);
            assert!(begins.is_some() && moment_in(here, day) == begins, "{day}");
        }
    }
}
