//! The `.git` of a copy: made anew and never copied, so that it has nothing that the copy was not to have.
//!
//! ```text
//! nothing is hidden ─▶ rebuilt.rs: what branches and tags lead to, the newest first ─┐
//!                        └ cannot be read ─┐                                         ├─▶ packs, packed-refs, HEAD, config, index
//! something is hidden ─────────────────────┴▶ one_commit.rs: what the copy has ──────┘
//! ```
//! Invariants: no file of a `.git` is copied, so no remote, credential, hook, reflog, stash, staged content or borrowed object
//! comes along; where something is hidden, nothing of a history is read.
//!
//! Must not know: what is ignored, runs.

mod index;
mod one_commit;
mod pack;
mod rebuilt;

use crate::{
    ignored::Ignoring,
    snapshot::{FileFacts, SnapshotError},
};
use one_commit::OneCommit;
use plexus_rooted_files::{FileError, Kind, RelPath, Root, names::fold_for_guard};
use plexus_worker_git::GitError;
use rebuilt::{Rebuilding, Rebuilt};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// Most repositories below a folder whose history is made.
const MOST_NESTED: usize = 32;
/// Where other version control keeps what it knows, folded.
const OTHERS: [&str; 6] = [".hg", ".svn", ".jj", ".bzr", ".pijul", "_darcs"];
/// The author of commits in a copy, unless a run names another: git refuses a commit without one.
const USER: &str = "[user]\n\tname = Plexus\n\temail = plexus@localhost\n";

/// Why a copy has no history of its folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeftOut {
    /// The owner hides something.
    Hidden,
    /// `.git` leads to another folder.
    Elsewhere,
    /// It is damaged, too large, or of a kind that is not read.
    Unreadable,
}

impl LeftOut {
    /// For a card and an answer.
    pub(crate) fn words(self) -> String {
        let why = match self {
            Self::Hidden => "something is hidden from agents",
            Self::Elsewhere => "it lies outside of the folder",
            Self::Unreadable => "it cannot be read, or is too large",
        };
        format!("left out, because {why}; git has one commit of what the copy has")
    }
}

/// Whether an entry is one in which git keeps a repository of a work tree.
pub(crate) fn is_gits(name: &str) -> bool {
    fold_for_guard(name) == ".git"
}

/// Whether a folder has what version control knows, and no files of the owner's.
pub(crate) fn is_of_version_control(root: &Root, folder: &RelPath) -> bool {
    let is = |name, kind| {
        let path = folder.join(name);
        path.is_ok_and(|path| root.kind(&path) == Ok(kind))
    };
    OTHERS.contains(&&*fold_for_guard(folder.name()))
        // As git tells a repository without a work tree.
        || is("HEAD", Kind::File) && is("objects", Kind::Dir) && is("refs", Kind::Dir)
}

/// Whether a copy is a repository, as far as a look tells; then why it has no history of the folder, if it has none.
pub(crate) fn foreseen(root: &Root, ignoring: &Ignoring) -> Option<Option<LeftOut>> {
    match root.kind(&RelPath::parse(".git").ok()?) {
        Err(FileError::NotFound(_)) => None,
        _ if ignoring.history.is_none() => Some(Some(LeftOut::Hidden)),
        Ok(Kind::Dir) => Some(None),
        _ => Some(Some(LeftOut::Elsewhere)),
    }
}

/// The history of a copy that is being made.
pub(crate) struct History<'a> {
    root: &'a Root,
    to: &'a Path,
    /// Where the folder is, if nothing of its history is hidden.
    folder: Option<&'a Path>,
    rebuilding: Rebuilding<'a>,
    repository: Option<Repository>,
    /// Folders in it that are repositories.
    nested: BTreeSet<RelPath>,
}

enum Repository {
    Rebuilt(Rebuilt),
    OneCommit(OneCommit, LeftOut),
}

/// Why a repository is not made.
#[derive(Debug, thiserror::Error)]
enum HistoryError {
    #[error("the owner's repository cannot be read, or is too large")]
    Unreadable,
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

impl From<GitError> for HistoryError {
    fn from(error: GitError) -> Self {
        match error {
            GitError::Over => Self::Snapshot(FileError::Over.into()),
            _ => Self::Unreadable,
        }
    }
}

impl From<io::Error> for HistoryError {
    fn from(error: io::Error) -> Self {
        Self::Snapshot(error.into())
    }
}

impl<'a> History<'a> {
    /// Writes what can be written before the files are copied into the empty folder `to`.
    pub(crate) fn begin(
        root: &'a Root,
        to: &'a Path,
        ignoring: &'a Ignoring,
        is_over: &'a dyn Fn() -> bool,
    ) -> Result<Self, SnapshotError> {
        let mut history = Self {
            root,
            to,
            folder: ignoring.history.as_deref(),
            rebuilding: Rebuilding::new(root, to, is_over),
            repository: None,
            nested: BTreeSet::new(),
        };
        let Some(mut why) = foreseen(root, ignoring) else {
            return Ok(history);
        };
        if let (None, Some(folder)) = (why, history.folder) {
            match history.rebuilding.rebuild(folder, &RelPath::root()) {
                Ok(rebuilt) => history.repository = Some(Repository::Rebuilt(rebuilt)),
                Err(HistoryError::Unreadable) => {
                    fs::remove_dir_all(to.join(".git"))?;
                    why = Some(LeftOut::Unreadable);
                }
                Err(HistoryError::Snapshot(error)) => return Err(error),
            }
        }
        if let Some(why) = why {
            let commit = OneCommit::in_folder(&to.join(".git"))?;
            history.repository = Some(Repository::OneCommit(commit, why));
        }
        Ok(history)
    }

    /// A file that was copied.
    pub(crate) fn file(&mut self, path: &RelPath, bytes: &[u8], mode: u32) -> io::Result<()> {
        match &mut self.repository {
            Some(Repository::OneCommit(commit, _)) => commit.add(path, bytes, mode & 0o100 != 0),
            _ => Ok(()),
        }
    }

    /// A folder that was copied.
    pub(crate) fn folder(&mut self, path: &RelPath) {
        let git = path.join(".git").ok().filter(|_| self.folder.is_some());
        if git.is_some_and(|git| self.root.kind(&git) == Ok(Kind::Dir)) {
            self.nested.insert(path.clone());
        }
    }

    /// Writes the rest, once all `files` are copied. Answers with why the history is left out, if it is, and with the folders
    /// whose own repository is.
    pub(crate) fn end(
        mut self,
        files: &BTreeMap<RelPath, FileFacts>,
    ) -> Result<(Option<LeftOut>, Vec<RelPath>), SnapshotError> {
        let mut why = None;
        match self.repository {
            None => {}
            Some(Repository::Rebuilt(rebuilt)) => {
                self.rebuilding.index(&RelPath::root(), &rebuilt, files)?;
            }
            Some(Repository::OneCommit(commit, because)) => {
                commit.write()?;
                why = Some(because);
            }
        }
        let mut without = Vec::new();
        for (number, path) in self.nested.into_iter().enumerate() {
            let rebuilt = match self.folder.filter(|_| number < MOST_NESTED) {
                Some(folder) => self.rebuilding.rebuild(&folder.join(path.as_str()), &path),
                None => Err(HistoryError::Unreadable),
            };
            match rebuilt {
                Ok(rebuilt) => self.rebuilding.index(&path, &rebuilt, files)?,
                Err(HistoryError::Unreadable) => {
                    let git = self.to.join(path.as_str()).join(".git");
                    if git.exists() {
                        fs::remove_dir_all(git)?;
                    }
                    without.push(path);
                }
                Err(HistoryError::Snapshot(error)) => return Err(error),
            }
        }
        Ok((why, without))
    }
}

/// Makes the folders of a repository; answers with its own.
fn laid_out(git: PathBuf) -> io::Result<PathBuf> {
    for folder in ["objects/pack", "objects/info", "refs/heads"] {
        let mut made = DirBuilder::new();
        made.recursive(true).mode(0o700).create(git.join(folder))?;
    }
    Ok(git)
}

/// Makes a file, for nobody else's eyes.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Snapshot;
    use plexus_rooted_files::{HiddenPaths, HideRules, Policy};
    use std::{os::unix::fs::symlink, process::Command, sync::Arc};
    use tempfile::TempDir;

    /// Runs git in a folder; what it says, or none where it fails.
    fn tried(folder: &Path, words: &[&str]) -> Option<String> {
        let set = [
            "user.name=A",
            "user.email=a@example.org",
            "protocol.file.allow=always",
            "init.defaultBranch=main",
        ];
        let output = Command::new("git")
            .args(set.iter().flat_map(|set| ["-c", set]))
            .args(words)
            .current_dir(folder)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("HOME", "/nonexistent")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success().then_some(said)
    }

    #[track_caller]
    fn git(folder: &Path, words: &[&str]) -> String {
        tried(folder, words).unwrap_or_else(|| panic!("git {words:?}"))
    }

    #[track_caller]
    fn commit(folder: &Path, name: &str, text: &str) {
        let file = folder.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
        git(folder, &["add", "-A"]);
        git(folder, &["commit", "-q", "-m", name]);
    }

    fn repository() -> (TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        git(&path, &["init", "-q", "."]);
        commit(&path, "a.txt", "first\n");
        (dir, path)
    }

    /// A copy, what it says of its history, and what it leaves out.
    fn copied(folder: &Path, hide: &[&str]) -> (TempDir, Option<LeftOut>, Vec<String>) {
        let to = tempfile::tempdir().unwrap();
        let open = || Root::open(folder, Policy::default()).unwrap();
        let hidden = HiddenPaths::new(&HideRules {
            folders: hide.iter().map(|path| (*path).to_owned()).collect(),
            ..HideRules::default()
        });
        let ignoring = Ignoring {
            rules: open(),
            copied: Vec::new(),
            shared: Vec::new(),
            history: hide.is_empty().then(|| folder.to_owned()),
        };
        let root = open().hiding(Arc::new(hidden));
        let foreseen = Snapshot::size(&root, &ignoring, &|| false).unwrap();
        let found = Snapshot::copy(&root, to.path(), &ignoring, &|| false).unwrap();
        assert_eq!(foreseen.files, found.files.len());
        let without = found.repositories.iter().map(ToString::to_string);
        let is_git = |path: &RelPath| path.components().any(|name| name == ".git");
        assert!(!found.files.keys().any(is_git), "{:?}", found.files);
        (to, found.history, without.collect())
    }

    #[test]
    fn copy_has_what_refs_lead_to_and_nothing_else_of_git() {
        let (_dir, path) = repository();
        commit(&path, "secret.txt", "amended away\n");
        fs::remove_file(path.join("secret.txt")).unwrap();
        fs::write(path.join("kept.txt"), "kept\n").unwrap();
        git(&path, &["add", "-A"]);
        git(&path, &["commit", "-q", "--amend", "-m", "kept.txt"]);
        git(&path, &["tag", "-a", "-m", "a tag", "v1"]);
        git(&path, &["checkout", "-q", "-b", "side"]);
        symlink("a.txt", path.join("link")).unwrap();
        commit(&path, "dir/side.txt", "on a branch\n");
        fs::write(path.join("a.txt"), "stashed\n").unwrap();
        git(&path, &["stash", "-q"]);
        git(&path, &["pack-refs", "--all"]);
        git(&path, &["gc", "-q"]);
        fs::write(path.join("staged.txt"), "staged and changed\n").unwrap();
        git(&path, &["add", "staged.txt"]);
        fs::write(path.join("staged.txt"), "new\n").unwrap();
        fs::write(path.join("a.txt"), "edited\n").unwrap();
        fs::remove_file(path.join("kept.txt")).unwrap();
        let config = "[remote \"origin\"]\n\turl = https://me:tok-1@example.org/x\n[core] \
                      autocrlf = input\n\tsshCommand = ssh -i /key\n\tfsmonitor = true\n[alias]\n\tfilemode = false\n";
        let there = fs::read_to_string(path.join(".git/config")).unwrap();
        fs::write(path.join(".git/config"), format!("{there}{config}")).unwrap();
        fs::write(path.join(".git/hooks/pre-commit"), "#!/bin/sh\n").unwrap();
        // The control: the owner's own repository gives each of them.
        let all = ["cat-file", "--batch-all-objects", "--batch"];
        let secrets = ["amended away", "stashed", "staged and changed"];
        for secret in secrets {
            assert!(git(&path, &all).contains(secret), "{secret}");
        }
        assert!(git(&path, &["reflog"]).contains("amend"));

        let (to, why, without) = copied(&path, &[]);
        assert_eq!((why, without), (None, Vec::new()));
        let to = to.path();
        for secret in secrets {
            assert!(!git(to, &all).contains(secret), "{secret}");
        }
        git(to, &["fsck", "--strict", "--no-dangling"]);
        for (line, said) in [
            (
                "log --all --topo-order --format=%s",
                "dir/side.txt kept.txt a.txt",
            ),
            (
                "for-each-ref --format=%(refname)",
                "refs/heads/main refs/heads/side refs/tags/v1",
            ),
            ("branch --show-current", "side"),
            ("show HEAD~2:a.txt", "first"),
            ("stash list", ""),
            ("reflog", ""),
            ("remote", ""),
            ("diff --numstat a.txt", "1 1 a.txt"),
        ] {
            let words: Vec<_> = line.split(' ').collect();
            let found = git(to, &words);
            let found: Vec<_> = found.split_whitespace().collect();
            assert_eq!(found.join(" "), said, "{line}");
        }
        // What the owner made of it since, and not that a copy has no links.
        let status = "M a.txt\n D kept.txt\n?? staged.txt";
        assert_eq!(git(to, &["status", "--porcelain"]), status);
        let config = fs::read_to_string(to.join(".git/config")).unwrap();
        let core = "[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tfilemode = true\n\tautocrlf = input\n";
        assert_eq!(config, format!("{USER}{core}"));
        let entries = fs::read_dir(to.join(".git")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        let all = ["HEAD", "config", "index", "objects", "packed-refs", "refs"];
        assert_eq!(names, all);
        // It is a repository to work in.
        git(to, &["checkout", "-q", "--", "kept.txt"]);
        git(to, &["commit", "-q", "-a", "-m", "more"]);
        git(to, &["fsck", "--strict"]);
    }

    #[test]
    fn history_has_files_that_cannot_be_compressed() {
        let (_dir, path) = repository();
        let mut state = 1_u64;
        // Bytes of nine bits each, in the code that the level has.
        let mut byte = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            0x90 + u8::try_from(state % 0x70).unwrap()
        };
        for (name, length) in [("small", 3_000), ("large", 1 << 20), ("largest", 16 << 20)] {
            let bytes: Vec<_> = (0..length).map(|_| byte()).collect();
            fs::write(path.join(name), bytes).unwrap();
            git(&path, &["add", "-A"]);
            git(&path, &["commit", "-q", "-m", name]);
        }
        let cases: [(&[&str], _); 2] = [(&[], None), (&["private"], Some(LeftOut::Hidden))];
        for (hide, because) in cases {
            let (to, why, _) = copied(&path, hide);
            assert_eq!(why, because);
            git(to.path(), &["fsck", "--strict"]);
            let all = "a.txt\nlarge\nlargest\nsmall";
            assert_eq!(git(to.path(), &["ls-files"]), all);
            let changed = git(to.path(), &["status", "--porcelain"]);
            assert_eq!(changed, "", "{because:?}");
        }
    }

    #[test]
    fn copy_has_one_commit_where_something_is_hidden() {
        let (_dir, path) = repository();
        commit(&path, "private/s.txt", "heron\n");
        commit(&path, "moved.txt", "later hidden\n");
        fs::rename(path.join("moved.txt"), path.join("private/moved.txt")).unwrap();
        for name in ["dir/sub/b.txt", "dir.txt", "dir/a.txt"] {
            fs::create_dir_all(path.join(name).parent().unwrap()).unwrap();
            fs::write(path.join(name), name).unwrap();
        }
        let all = ["cat-file", "--batch-all-objects", "--batch"];
        let secrets = ["heron", "later hidden", "s.txt"];
        for secret in secrets {
            assert!(git(&path, &all).contains(secret), "the control: {secret}");
        }
        let (to, why, without) = copied(&path, &["private"]);
        assert_eq!((why, without), (Some(LeftOut::Hidden), Vec::new()));
        let to = to.path();
        git(to, &["fsck", "--strict"]);
        for secret in secrets {
            assert!(!git(to, &all).contains(secret), "{secret}");
        }
        let files = "a.txt\ndir.txt\ndir/a.txt\ndir/sub/b.txt";
        assert_eq!(git(to, &["ls-tree", "-r", "--name-only", "HEAD"]), files);
        assert_eq!(git(to, &["ls-files"]), files);
        assert_eq!(git(to, &["status", "--porcelain"]), "");
        assert_eq!(git(to, &["log", "--all", "--format=%P"]), "");
        // Commits of a run have an author.
        let author = ["config", "--file", ".git/config", "user.email"];
        assert_eq!(git(to, &author), "plexus@localhost");
        // `.git` may be hidden itself.
        let (to, why, _) = copied(&path, &[".git"]);
        assert_eq!((why, to.path().join(".git").exists()), (None, false));
    }

    #[test]
    fn repository_that_leads_elsewhere_or_is_damaged_has_one_commit() {
        let (_dir, path) = repository();
        commit(&path, "b.txt", "second\n");
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let at = |name: &str| dir.join(name);
        let (tree, from) = (at("tree"), path.to_str().unwrap());
        let tree = tree.to_str().unwrap();
        git(&path, &["worktree", "add", "-q", "-b", "other", tree]);
        git(&dir, &["clone", "-q", "--shared", from, "borrows"]);
        git(&dir, &["clone", "-q", "--no-hardlinks", from, "lacks"]);
        let id = git(&at("lacks"), &["rev-parse", "HEAD:b.txt"]);
        let object = at("lacks").join(format!(".git/objects/{}/{}", &id[..2], &id[2..]));
        fs::remove_file(object).unwrap();
        git(&dir, &["init", "-q", "linked"]);
        fs::rename(at("linked/.git"), at("linked-git")).unwrap();
        symlink(at("linked-git"), at("linked/.git")).unwrap();
        fs::write(at("linked/a.txt"), "a").unwrap();
        fs::create_dir(at("empty")).unwrap();
        fs::write(at("empty/.git"), "gitdir: ../nowhere\n").unwrap();
        for (name, because, files) in [
            ("tree", LeftOut::Elsewhere, "a.txt\nb.txt"),
            ("borrows", LeftOut::Unreadable, "a.txt\nb.txt"),
            ("lacks", LeftOut::Unreadable, "a.txt\nb.txt"),
            // Its rules of what is ignored cannot be read.
            ("linked", LeftOut::Elsewhere, ""),
            ("empty", LeftOut::Elsewhere, ""),
        ] {
            let (to, why, _) = copied(&at(name), &[]);
            assert_eq!(why, Some(because), "{name}");
            git(to.path(), &["fsck", "--strict"]);
            assert_eq!(git(to.path(), &["ls-files"]), files, "{name}");
            assert_eq!(git(to.path(), &["log", "--format=%P"]), "", "{name}");
            assert_eq!(git(to.path(), &["status", "--porcelain"]), "", "{name}");
        }
        // A new repository has no commit, and stays one that has none.
        git(&dir, &["init", "-q", "new"]);
        let (to, why, _) = copied(&at("new"), &[]);
        let head = tried(to.path(), &["rev-parse", "-q", "--verify", "HEAD"]);
        assert_eq!((why, head), (None, None));
        assert_eq!(git(to.path(), &["status", "--porcelain"]), "");
    }

    #[test]
    fn repositories_below_the_folder_have_no_more_than_its_own() {
        let (_other, other) = repository();
        commit(&other, "secret.txt", "heron\n");
        commit(&other, "later.txt", "later\n");
        let (_dir, path) = repository();
        let from = other.to_str().unwrap();
        git(&path, &["submodule", "--quiet", "add", from, "module"]);
        git(&path, &["commit", "-q", "-m", "module"]);
        let url = format!("file://{from}");
        git(&path, &["clone", "-q", "--depth", "1", &url, "nested"]);
        git(&path, &["clone", "-q", "--bare", from, "mirror.git"]);
        fs::create_dir_all(path.join("old/.hg/store")).unwrap();
        let hgrc = "[paths]\ndefault = https://me:tok-1@x\n";
        fs::write(path.join("old/.hg/hgrc"), hgrc).unwrap();
        let (to, why, without) = copied(&path, &[]);
        let to = to.path();
        assert_eq!(why, None);
        assert_eq!(without, ["mirror.git", "old/.hg"]);
        assert!(!to.join("mirror.git").exists() && !to.join("old/.hg").exists());
        assert!(to.join("module/secret.txt").exists() && !to.join("module/.git").exists());
        git(to, &["fsck", "--strict"]);
        assert_eq!(git(to, &["status", "--porcelain"]), "?? nested/");
        // A shallow clone stays as shallow as it is.
        let nested = to.join("nested");
        git(&nested, &["fsck", "--strict"]);
        assert_eq!(git(&nested, &["log", "--format=%s"]), "later.txt");
        assert_eq!(git(&nested, &["remote"]), "");
        assert_eq!(git(&nested, &["status", "--porcelain"]), "");

        let (to, _, _) = copied(&path, &["private"]);
        let mut find = Command::new("find");
        let find = find.args([".", "-name", ".git"]).current_dir(to.path());
        let found = find.output().unwrap().stdout;
        assert_eq!(String::from_utf8(found).unwrap(), "./.git\n");
    }
}
