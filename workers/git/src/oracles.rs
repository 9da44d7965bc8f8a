//! Any bytes as objects, and as all that git keeps in a folder, packs included: answered within what a call may see, or
//! refused in words that name nothing of this machine.

use crate::{
    blame,
    error::GitError,
    history::History,
    log,
    objects::{EntryKind, MAX_NAME, commit, tree},
    repository::Repository,
    scope::{Answer, CallScope},
    search, show,
};
use gix_hash::ObjectId;
use gix_object::Kind;
use plexus_mutation::{Accepted, hold};
use plexus_rooted_files::RelPath;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{cell::Cell, collections::HashSet, fs, path::Path};

/// How often a call may ask whether anybody waits, until nobody does.
const PATIENCE: usize = 2_000;
/// Objects that are looked at, and the largest, in bytes.
const MOST: (usize, u64) = (200, 1 << 20);

fn corpus(name: &str) -> String {
    format!("{}/tests/corpus/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A commit has a tree and is shown on a line; a folder has names that a folder can hold, and is read as it is written.
fn object(bytes: &[u8]) -> Accepted {
    let found = commit(ObjectId::null(gix_hash::Kind::Sha1), bytes);
    if let Ok(commit) = &found {
        assert!(!commit.tree.is_null() && commit.parents.len() <= 256);
        let subject = commit.subject();
        assert!(!subject.contains('\n') && subject.chars().count() <= 301);
        assert!(commit.body().chars().count() <= 4_001);
        for person in [&commit.author, &commit.committer] {
            assert!(person.name.chars().count() <= 201 && person.email.chars().count() <= 201);
            assert!(!person.at().is_empty());
        }
        assert!(commit.weight() >= commit.message.len());
    }
    let names = tree(bytes);
    if let Ok((entries, _)) = &names {
        let mut written = Vec::new();
        for (name, entry) in entries {
            let is_odd = name.is_empty() || name == b"." || name == b"..";
            assert!(!is_odd && !name.contains(&b'/') && !name.contains(&0));
            assert!(name.len() <= MAX_NAME);
            written.extend(format!("{:o} ", entry.mode).into_bytes());
            written.extend(name);
            written.push(0);
            written.extend(entry.id.as_slice());
        }
        let again = tree(&written).expect("what was read is a tree");
        assert_eq!(again, (entries.clone(), false));
    }
    found.is_ok() || names.is_ok_and(|(entries, _)| !entries.is_empty())
}

/// Writes files, each given as a line of its name and its length, and then its bytes; `None` where no folder has them.
fn written(git: &Path, mut bytes: &[u8]) -> Option<()> {
    while !bytes.is_empty() {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let line = std::str::from_utf8(&bytes[..end]).ok()?;
        let (name, size) = line.split_once(' ')?;
        let file = git.join(RelPath::parse_file(name).ok()?.as_str());
        let rest = &bytes[end + 1..];
        let (content, rest) = rest.split_at(rest.len().min(size.parse().ok()?));
        fs::create_dir_all(file.parent()?).ok()?;
        fs::write(file, content).ok()?;
        bytes = rest;
    }
    Some(())
}

/// Reads objects as a copy of a history does; how many there are.
fn copied(folder: &Path) -> Result<usize, GitError> {
    let history = History::open(folder)?;
    let head = history.head()?.commit;
    let refs = history.refs(MOST.0, &|| false)?;
    let mut due: Vec<ObjectId> = head.into_iter().chain(refs.into_values()).collect();
    let (mut seen, mut read) = (HashSet::new(), 0);
    while let Some(id) = due.pop().filter(|_| seen.len() < MOST.0) {
        if !seen.insert(id) {
            continue;
        }
        let (Ok((kind, size)), Ok((same, content))) =
            (history.header(&id), history.object(&id, MOST.1))
        else {
            continue;
        };
        assert_eq!((same, content.len() as u64), (kind, size));
        assert!(size <= MOST.1);
        read += 1;
        match kind {
            Kind::Blob => {}
            Kind::Tag => due.extend(history.tags(id)),
            Kind::Commit => {
                let links = history.links(&id);
                due.extend(links.into_iter().flat_map(|links| {
                    let parents = links.parents.into_iter();
                    parents.chain([links.tree])
                }));
            }
            Kind::Tree => {
                let entries = history.tree(&id).unwrap_or_default();
                let inner = entries
                    .into_iter()
                    .filter(|(_, entry)| entry.kind != EntryKind::Submodule);
                due.extend(inner.map(|(_, entry)| entry.id));
            }
        }
    }
    Ok(read)
}

/// The paths that a call may see.
fn allows(path: &str) -> bool {
    path != "." && path != "no" && !path.starts_with("no/")
}

/// Each path in an answer is one that a call may see.
fn seen(output: &Value) {
    match output {
        Value::Object(members) => {
            for (name, value) in members {
                let path = value.as_str().filter(|_| name == "path" || name == "from");
                assert!(path.is_none_or(allows), "{path:?}");
                seen(value);
            }
        }
        Value::Array(values) => values.iter().for_each(seen),
        _ => {}
    }
}

/// Asks as an agent does; whether there is an answer.
fn asked<I: DeserializeOwned, T: Serialize>(
    repository: &Repository,
    input: Value,
    run: impl FnOnce(&Repository, &CallScope<'_>, &I) -> Result<Answer<T>, GitError>,
) -> Result<(), GitError> {
    let times = Cell::new(0);
    let is_over = || {
        times.set(times.get() + 1);
        times.get() > PATIENCE
    };
    let scope = CallScope {
        allows: &allows,
        is_over: &is_over,
    };
    let input: I = serde_json::from_value(input).expect("an input");
    let answer = run(repository, &scope, &input)?;
    assert!(answer.paths.iter().all(|path| allows(path)));
    for id in &answer.commits {
        assert!(ObjectId::from_hex(id.as_bytes()).is_ok(), "{id}");
    }
    seen(&serde_json::to_value(&answer.output).expect("JSON"));
    Ok(())
}

fn repository(bytes: &[u8]) -> Accepted {
    let kept = tempfile::tempdir().expect("a folder");
    let folder = kept.path().canonicalize().expect("a path");
    if written(&folder.join(".git"), bytes).is_none() {
        return false;
    }
    let in_our_words = |error: GitError| {
        let text = error.to_string();
        assert!(!text.contains(&*folder.to_string_lossy()), "{text}");
    };
    let copied = copied(&folder).map_err(in_our_words);
    let answers = match Repository::open(&folder) {
        Err(error) => vec![Err(error)],
        Ok(at) => vec![
            asked(&at, json!({}), log::run),
            asked(&at, json!({"path": "docs/a.md"}), log::run),
            asked(&at, json!({"rev": "HEAD"}), show::run),
            asked(&at, json!({"rev": "v1~1^2", "path": "docs"}), show::run),
            asked(&at, json!({"path": "docs/a.md"}), blame::run),
            asked(&at, json!({"query": "fn", "in": "changes"}), search::run),
            asked(&at, json!({"query": "one", "in": "files"}), search::run),
        ],
    };
    let answers = answers
        .into_iter()
        .map(|answer| answer.map_err(in_our_words));
    let answered = answers.filter(Result::is_ok).count();
    answered > 0 && copied.is_ok_and(|objects| objects > 0)
}

#[test]
fn object_is_what_it_says_or_none() {
    let words: &[&[u8]] = &[
        b"\n\n",
        b"\nparent 0000000000000000000000000000000000000001",
        b"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n",
        b"\nencoding ISO-8859-1",
        b"author A <a@b> 99999999999999999999 +2459\n",
        b"committer <> -9223372036854775808 -9999\n",
        b"100644 ",
        b"40000 ",
        b"160000 ",
        b"..\0",
        b".git\0",
        b"a/b\0",
        b"\xff\xfe",
    ];
    hold(corpus("objects"), words, object);
}

#[test]
fn repository_shows_what_may_be_seen() {
    let words: &[&[u8]] = &[
        b"ref: refs/heads/main\n",
        b"ref: HEAD\n",
        b"refs/heads/a 41\n",
        b"commondir 2\n",
        b"objects/info/alternates 16\n../../../../../\n",
        b"[extensions]\nobjectformat = sha256\n",
        b"PACK\0\0\0\x02",
        b"\xfftOc\0\0\0\x02",
        b"\x78\x9c",
        b"^",
    ];
    hold(corpus("repositories"), words, repository);
}
