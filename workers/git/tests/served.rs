//! The git worker behind the harness, on repositories of every kind, held against what git itself says.

use crate::repo::{commit, fresh, git, object, raw, story, write};
use plexus_conformance::served::{Worker, assert_like, missed, output, refusal, texts, transport};
use plexus_ipc::message::Role;
use plexus_worker_git::{GitSource, MANIFEST};
use proptest::{
    prop_assert,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};
use std::{
    cell::RefCell,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

pub(crate) async fn open(folder: &Path) -> Worker {
    Worker::start::<GitSource>(MANIFEST, "path", folder, Role::Reader).await
}

/// Asks once and takes the answer.
async fn ask(folder: &Path, capability: &str, input: Value) -> Value {
    let mut worker = open(folder).await;
    let answer = worker.answer(capability, input).await;
    worker.stop().await;
    answer
}

fn ids(answer: &Value) -> Vec<String> {
    texts(&answer["commits"], "id")
}

fn listed(folder: &Path, words: &[&str]) -> Vec<String> {
    let mut all = vec!["rev-list", "--date-order"];
    all.extend(words);
    git(folder, &all).lines().map(str::to_owned).collect()
}

/// A history with two merges, packed and with packed refs, and a loose commit on top.
fn branched(folder: &Path) {
    story(folder);
    git(folder, &["checkout", "-q", "-b", "feature", "HEAD~1"]);
    write(folder, "docs/b.md", "b\n");
    commit(folder, "on the side");
    write(folder, "docs/a.md", "zero\none\ntwo\n");
    commit(folder, "above");
    git(folder, &["checkout", "-q", "main"]);
    write(folder, "docs/a.md", "one\ntwo\nthree\n");
    commit(folder, "below");
    git(
        folder,
        &["merge", "-q", "--no-ff", "-m", "merged", "feature"],
    );
    git(folder, &["tag", "-a", "v1", "-m", "first release"]);
    git(folder, &["gc", "-q", "--prune=now"]);
    write(folder, "loose.txt", "loose\n");
    commit(folder, "loose");
}

#[tokio::test]
async fn a_log_is_what_git_lists() {
    let (_kept, folder) = fresh();
    branched(&folder);
    let within = |path| vec!["HEAD", "--", path];
    for (input, words) in [
        (json!({}), vec!["HEAD"]),
        (json!({"rev": "v1"}), vec!["v1"]),
        (
            json!({"rev": "feature", "not": "main~3"}),
            vec!["feature", "^main~3"],
        ),
        (
            json!({"rev": "main", "not": "feature"}),
            vec!["main", "^feature"],
        ),
        (json!({"path": "docs/a.md"}), within("docs/a.md")),
        (json!({"path": "docs"}), within("docs")),
        (json!({"path": "src/old.rs"}), within("src/old.rs")),
        (json!({"path": "never"}), within("never")),
        (json!({"author": "ANN@"}), vec!["HEAD"]),
        (json!({"author": "nobody"}), vec!["HEAD", "--max-count=0"]),
    ] {
        let answer = ask(&folder, "log", input.clone()).await;
        assert_eq!(ids(&answer), listed(&folder, &words), "{input}");
    }
    let all = ask(&folder, "log", json!({})).await;
    let merged = &all["commits"][1];
    assert_eq!(merged["names"], json!(["v1"]));
    assert_eq!(merged["parents"].as_array().unwrap().len(), 2);
    let first =
        json!({"subject": "first", "body": "with a body", "at": "2023-11-14T23:13:20+01:00"});
    assert_like(&all["commits"][ids(&all).len() - 1], &first);
}

#[tokio::test]
async fn pages_of_a_log_are_the_log() {
    let (_kept, folder) = fresh();
    branched(&folder);
    let mut worker = open(&folder).await;
    let pages = worker.pages("log", json!({"limit": 3})).await;
    worker.stop().await;
    let seen: Vec<String> = pages.iter().flat_map(ids).collect();
    assert_eq!(seen, listed(&folder, &["HEAD"]));
    assert!(pages.len() > 1);
}

#[tokio::test]
async fn a_blame_is_what_git_blames() {
    let (_kept, folder) = fresh();
    branched(&folder);
    // Lines that come and go in many small commits.
    for round in 0..12_u32 {
        let lines: Vec<String> = (0..30)
            .filter(|line| (line * 7 + round * 5) % 11 > 2)
            .map(|line| {
                format!(
                    "{line} {}\n",
                    if (line + round) % 6 == 0 { round } else { 0 }
                )
            })
            .collect();
        write(&folder, "src/many.rs", lines.concat());
        commit(&folder, &format!("round {round}"));
    }
    for path in ["docs/a.md", "src/new.rs", "src/many.rs"] {
        let answer = ask(&folder, "blame", json!({"path": path})).await;
        let mut ours = Vec::new();
        for block in answer["blocks"].as_array().unwrap() {
            for line in block["text"].as_str().unwrap().lines() {
                ours.push((block["id"].as_str().unwrap().to_owned(), line.to_owned()));
            }
        }
        let said = git(&folder, &["blame", "-l", "-s", "--root", path]);
        let theirs: Vec<(String, String)> = said
            .lines()
            .map(|line| {
                let (head, text) = line.split_once(") ").unwrap();
                (head[..40].to_owned(), text.to_owned())
            })
            .collect();
        assert_eq!(ours, theirs, "{path}");
    }
    let part = json!({"path": "src/many.rs", "line": 3, "limit": 2});
    let part = ask(&folder, "blame", part).await;
    assert_eq!(
        (&part["blocks"][0]["line"], &part["next"]["line"]),
        (&json!(3), &json!(5))
    );
}

#[tokio::test]
async fn a_commit_is_shown_with_what_it_changed() {
    let (_kept, folder) = fresh();
    story(&folder);
    write(&folder, "bin", b"\0\x01\x02");
    write(&folder, "docs/a.md", "one\n2\n");
    fs::remove_file(folder.join("src/new.rs")).unwrap();
    commit(&folder, "several");
    let show = async |input| ask(&folder, "show", input).await;
    assert_like(
        &show(json!({"rev": "HEAD"})).await["files"],
        &json!([
            {"path": "bin", "change": "added", "omitted": "binary"},
            {"path": "docs/a.md", "change": "modified", "diff": "@@ -1,2 +1,2 @@\n one\n-two\n+2\n"},
            {"path": "src/new.rs", "change": "deleted"},
        ]),
    );
    let renamed = json!({"from": "src/old.rs", "added": 1, "removed": 1});
    assert_like(&show(json!({"rev": "main~1"})).await["files"][0], &renamed);
    let paged = show(json!({"rev": "HEAD", "limit": 2})).await;
    assert_eq!(paged["next"]["after"], "docs/a.md");
    let before = json!({"rev": "HEAD~1", "path": "src/new.rs", "content": true});
    let content = show(before).await["content"].to_string();
    assert!(content.contains("fn e"), "{content}");
}

#[tokio::test]
async fn text_is_found_in_messages_changes_and_files() {
    let (_kept, folder) = fresh();
    branched(&folder);
    let hits = async |input| ask(&folder, "search", input).await["hits"].take();
    let found = hits(json!({"query": "MERGED"})).await;
    assert_eq!(found[0]["subject"], "merged");
    let came_and_went = hits(json!({"query": "fn d", "in": "changes"})).await;
    assert_eq!(texts(&came_and_went, "change"), ["removed", "added"]);
    let files = hits(json!({"query": "three", "in": "files", "path": "docs"})).await;
    assert_like(&files[0], &json!({"path": "docs/a.md", "line": 4}));
    let gone = hits(json!({"query": "three", "in": "files", "rev": "v1~2"})).await;
    assert_eq!(gone, json!([]));
    // As another system composes letters, and in other case.
    write(&folder, "docs/c.md", "Cafe\u{301}\n");
    git(&folder, &["add", "."]);
    let author = "--author=Rene\u{301} <r@x>";
    git(&folder, &["commit", "-q", author, "-m", "Cafe\u{301}"]);
    for scope in ["messages", "changes", "files"] {
        let found = hits(json!({"query": "CAF\u{c9}", "in": scope})).await;
        assert_eq!(found.as_array().unwrap().len(), 1, "{scope}: {found}");
    }
    let by = ask(&folder, "log", json!({"author": "ren\u{e9} <"})).await;
    assert_eq!(ids(&by).len(), 1, "{by}");
}

#[tokio::test]
async fn revisions_are_what_git_takes_them_for() {
    let (_kept, folder) = fresh();
    branched(&folder);
    let mut worker = open(&folder).await;
    let head = git(&folder, &["rev-parse", "HEAD"]);
    let describe = format!("v1-7-g{}", &head[..9]);
    git(&folder, &["branch", "me@work", "HEAD~1"]);
    for rev in [
        "me@work",
        "HEAD",
        "@",
        "main",
        "refs/heads/main",
        "feature",
        "v1",
        "tags/v1",
        "HEAD~2",
        "HEAD^",
        "v1^2",
        "v1^2~1",
        "HEAD~1^2",
        "@~1",
        "@^",
        &describe,
        &head[..8].to_uppercase(),
        &head[..8],
        head.trim(),
    ] {
        let answer = worker.answer("log", json!({"rev": rev, "limit": 1})).await;
        let theirs = git(&folder, &["rev-parse", &format!("{rev}^{{commit}}")]);
        assert_eq!(ids(&answer), [theirs.trim()], "{rev}");
    }
    for rev in [
        "nope",
        "HEAD~99",
        "v1^3",
        "main..feature",
        "HEAD:docs",
        "../HEAD",
        "-x",
        "--output=/tmp/x",
        "--upload-pack=true",
        "main@{1}",
        "refs/heads/../../config",
        "0000000000000000000000000000000000000000",
        "config",
    ] {
        let error = worker.refused("log", json!({"rev": rev})).await;
        assert!(
            error == "invalid_input" || error["transport_error"]["reason"].is_string(),
            "{rev}: {error}"
        );
    }
    worker.stop().await;
}

#[test]
fn whatever_stands_for_a_revision_is_answered_or_refused() {
    let (_kept, folder) = fresh();
    branched(&folder);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let worker = RefCell::new(runtime.block_on(open(&folder)));
    // What a name may be, then steps with anything in between.
    let revs =
        "(HEAD|@|main|v1|[0-9a-f]{0,6}|\\PC{0,3})([~^]{0,2}[0-9]{0,6}[~^{}é\u{1F600}]?\\PC?){0,6}";
    let answered = |rev: String| {
        let input = json!({"rev": rev, "limit": 1});
        let answer = runtime.block_on(worker.borrow_mut().read("log", input)).0;
        if answer.is_err() {
            let error = refusal(&answer);
            let is_said = error == "invalid_input" || error["transport_error"].is_object();
            prop_assert!(is_said, "{error}");
        }
        Ok(())
    };
    answered("HEAD^0é".to_owned()).unwrap();
    let config = Config {
        failure_persistence: None,
        ..Config::with_cases(400)
    };
    TestRunner::new(config).run(&revs, answered).unwrap();
    runtime.block_on(worker.into_inner().stop());
}

#[tokio::test]
async fn bare_shallow_empty_and_separate_repositories() {
    let (kept, folder) = fresh();
    story(&folder);
    let outer = kept.path().canonicalize().unwrap();
    let log = async |name: &str| ask(&outer.join(name), "log", json!({})).await;
    git(&outer, &["clone", "-q", "--bare", "repo", "bare"]);
    assert_eq!(ids(&log("bare").await).len(), 3);
    let url = format!("file://{}", folder.display());
    git(&outer, &["clone", "-q", "--depth", "1", &url, "shallow"]);
    let mut worker = open(&outer.join("shallow")).await;
    let shallow = worker.answer("log", json!({})).await;
    assert_eq!(ids(&shallow).len(), 1);
    assert_eq!(shallow["warnings"], json!(["shallow"]));
    let blamed = worker.answer("blame", json!({"path": "docs/a.md"})).await;
    assert_eq!(blamed["warnings"], json!(["shallow"]));
    worker.stop().await;
    fs::create_dir(outer.join("empty")).unwrap();
    crate::repo::init(&outer.join("empty"));
    let mut worker = open(&outer.join("empty")).await;
    let none = worker.read("log", json!({})).await;
    assert_eq!(refusal(&none.0), transport("not_found"));
    assert!(format!("{none:?}").contains("no commit yet"), "{none:?}");
    worker.stop().await;
    // A HEAD of a branch that nobody made, beside branches.
    let bare = outer.join("bare");
    git(&bare, &["symbolic-ref", "HEAD", "refs/heads/nobody"]);
    let mut worker = open(&bare).await;
    let astray = worker.read("log", json!({})).await;
    assert_eq!(refusal(&astray.0), transport("not_found"));
    let said = "HEAD leads to no commit";
    assert!(format!("{astray:?}").contains(said), "{astray:?}");
    worker.stop().await;
    // Its parts elsewhere within the folder.
    let apart = ["--separate-git-dir", "apart/real.git", "repo", "apart/work"];
    git(&outer, &[&["clone", "-q"][..], &apart].concat());
    fs::write(outer.join("apart/.git"), "gitdir: real.git\n").unwrap();
    assert_eq!(ids(&log("apart").await).len(), 3);
}

/// Why a source is not opened, in its own words.
async fn not_opened(folder: &Path) -> String {
    use plexus_ipc::worker::Source;
    let config = serde_json::from_value(json!({"path": folder})).unwrap();
    let opened = GitSource::open(config, Default::default(), Role::Reader).await;
    opened.expect_err("it must not open").message.to_string()
}

#[tokio::test]
async fn a_repository_that_leads_out_of_its_folder_is_refused() {
    let (kept, folder) = fresh();
    story(&folder);
    let outer = kept.path().canonicalize().unwrap();
    // Borrowed objects, a linked work tree, `.git` as a link, objects as a link, packs or one object as one, no repository.
    git(&outer, &["clone", "-q", "--shared", "repo", "borrows"]);
    git(
        &folder,
        &["worktree", "add", "-q", "../linked", "-b", "other"],
    );
    for name in ["as-link", "objects", "nothing", "packs"] {
        fs::create_dir(outer.join(name)).unwrap();
    }
    symlink(folder.join(".git"), outer.join("as-link/.git")).unwrap();
    for (name, part) in [("objects", ".git/objects"), ("packs", ".git/objects/pack")] {
        let other = outer.join(name);
        crate::repo::init(&other);
        fs::remove_dir_all(other.join(part)).unwrap();
        symlink(folder.join(part), other.join(part)).unwrap();
    }
    git(&outer, &["clone", "-q", "--no-hardlinks", "repo", "loose"]);
    let id = git(&folder, &["rev-parse", "HEAD"]);
    let object = format!(".git/objects/{}/{}", &id[..2], id[2..].trim());
    fs::remove_file(outer.join("loose").join(&object)).unwrap();
    symlink(folder.join(&object), outer.join("loose").join(&object)).unwrap();
    for (name, words) in [
        ("borrows", "alternates"),
        ("linked", "main repository"),
        ("as-link", "link"),
        ("objects", "leads out"),
        ("packs", "links"),
        ("loose", "links"),
        ("nothing", "no repository"),
    ] {
        let why = not_opened(&outer.join(name)).await;
        assert!(why.contains(words), "{name}: {why}");
    }
    // Borrowing within the folder is no way out.
    let both = outer.join("both");
    fs::create_dir(&both).unwrap();
    git(&both, &["clone", "-q", "--shared", "../repo", "."]);
    git(&outer, &["clone", "-q", "--bare", "repo", "both/store.git"]);
    let alternates = both.join(".git/objects/info/alternates");
    fs::write(alternates, "../../store.git/objects\n").unwrap();
    assert_eq!(ids(&ask(&both, "log", json!({})).await).len(), 3);
}

/// A file of git names packs by their paths.
#[tokio::test]
async fn pack_that_is_named_elsewhere_is_not_read() {
    let (kept, folder) = fresh();
    story(&folder);
    git(&folder, &["repack", "-adq"]);
    git(&folder, &["multi-pack-index", "write"]);
    let log = ask(&folder, "log", json!({})).await;
    assert_eq!(ids(&log).len(), 3, "the control");
    let packs = folder.join(".git/objects/pack");
    let index = packs.join("multi-pack-index");
    let mut named = fs::read(&index).unwrap();
    let at = named.windows(5).position(|part| part == b"pack-").unwrap();
    let name = &mut named[at..at + "pack-.idx".len() + 40];
    let own = packs.join(std::str::from_utf8(name).unwrap());
    let elsewhere = format!("../../../../{}p.idx", "./".repeat(16));
    name.copy_from_slice(elsewhere.as_bytes());
    fs::rename(own.with_extension("pack"), kept.path().join("p.pack")).unwrap();
    fs::remove_file(own).unwrap();
    fs::remove_file(&index).unwrap();
    fs::write(&index, named).unwrap();
    let mut worker = open(&folder).await;
    let missing = worker.refused("log", json!({})).await;
    assert_eq!(missing, transport("not_found"));
    worker.stop().await;
}

#[tokio::test]
async fn refs_that_are_links_are_not_followed() {
    let (kept, folder) = fresh();
    story(&folder);
    let secret = kept.path().join("secret");
    fs::write(&secret, "0123456789012345678901234567890123456789\n").unwrap();
    symlink(&secret, folder.join(".git/refs/heads/out")).unwrap();
    let mut worker = open(&folder).await;
    let refused = worker.read("log", json!({"rev": "out"})).await;
    assert_eq!(refusal(&refused.0), transport("leads_out"));
    assert!(!format!("{refused:?}").contains("0123456789"));
    worker.stop().await;
}

/// What a hostile repository would have run or read by git itself.
#[tokio::test]
async fn nothing_that_a_repository_configures_happens() {
    let (kept, folder) = fresh();
    story(&folder);
    let mark = kept.path().join("ran");
    let touch = format!("touch {}", mark.display());
    for key in [
        "core.fsmonitor",
        "core.pager",
        "core.sshCommand",
        "diff.external",
        "pager.log",
        "log.showSignature",
        "gpg.program",
        "core.editor",
        "filter.x.smudge",
        "diff.x.textconv",
    ] {
        git(&folder, &["config", key, &touch]);
    }
    write(&folder, ".gitattributes", "* diff=x filter=x\n");
    for hook in ["post-index-change", "reference-transaction", "pre-auto-gc"] {
        let hook = format!(".git/hooks/{hook}");
        write(&folder, &hook, format!("#!/bin/sh\n{touch}\n"));
        fs::set_permissions(folder.join(hook), fs::Permissions::from_mode(0o755)).unwrap();
    }
    // The control: git itself runs what is configured, and a hook.
    for words in [
        &["diff", "--no-ext-diff", "HEAD~1", "HEAD"][..],
        &["branch", "trap"],
    ] {
        git(&folder, words);
        assert!(mark.exists(), "git {words:?} ran nothing: this is no trap");
        fs::remove_file(&mark).unwrap();
    }
    // From here on git itself refuses the repository.
    git(&folder, &["config", "include.path", "/etc/passwd"]);
    assert!(!mark.exists(), "nothing is left of the control");
    let mut worker = open(&folder).await;
    for (capability, input) in [
        ("log", json!({})),
        ("show", json!({"rev": "HEAD"})),
        ("blame", json!({"path": "docs/a.md"})),
        ("search", json!({"query": "fn", "in": "changes"})),
    ] {
        worker.answer(capability, input).await;
    }
    worker.stop().await;
    assert!(!mark.exists(), "something ran");
}

#[tokio::test]
async fn damaged_and_hostile_objects_are_errors() {
    let (_kept, folder) = fresh();
    story(&folder);
    // A tree with names that lead elsewhere, which git itself refuses to check out.
    let blob = git(&folder, &["hash-object", "-w", "docs/a.md"]);
    let mut tree = b"100644 ..\0".to_vec();
    tree.extend(raw(&blob));
    let tree = object(&folder, "tree", tree);
    let id = git(&folder, &["commit-tree", &tree, "-m", "hostile"]);
    git(&folder, &["branch", "hostile", id.trim()]);
    let shown = ask(&folder, "show", json!({"rev": id.trim()})).await;
    assert_eq!(shown["files"], json!([]));
    assert_eq!(shown["warnings"], json!(["names_skipped"]));
    // A name that is there twice is the same file for every question.
    let other = git(&folder, &["hash-object", "-w", "src/new.rs"]);
    let twice = [&blob, &other].map(|id| [b"100644 a\0".as_slice(), &raw(id)].concat());
    let tree = object(&folder, "tree", twice.concat());
    let id = git(&folder, &["commit-tree", &tree, "-m", "twice"]);
    git(&folder, &["branch", "twice", id.trim()]);
    let shown = ask(&folder, "show", json!({"rev": id.trim()})).await;
    let changed = "@@ -0,0 +1,2 @@\n+one\n+two\n";
    assert_eq!(texts(&shown["files"], "diff"), [changed]);
    let input = json!({"rev": id.trim(), "path": "a", "content": true});
    assert_eq!(ask(&folder, "show", input).await["content"], "one\ntwo\n");
    let object = damage(&folder, "HEAD");
    let mut worker = open(&folder).await;
    let broken = worker.refused("log", json!({})).await;
    assert_eq!(broken, transport("damaged"));
    fs::remove_file(&object).unwrap();
    let missing = worker.refused("show", json!({"rev": "HEAD"})).await;
    assert_eq!(missing, transport("not_found"));
    worker.stop().await;
}

/// Damages the loose object of a name: where it is.
fn damage(folder: &Path, name: &str) -> PathBuf {
    let id = git(folder, &["rev-parse", name]);
    let (parent, file) = id.trim().split_at(2);
    let object = folder.join(".git/objects").join(parent).join(file);
    fs::remove_file(&object).unwrap();
    fs::write(&object, b"not an object").unwrap();
    object
}

/// Of every kind of damage the answer is in our words: those of the library name paths of the machine.
#[tokio::test]
async fn damage_shows_no_path_of_the_machine() {
    let (_kept, folder) = fresh();
    story(&folder);
    git(&folder, &["gc", "-q"]);
    let packs = fs::read_dir(folder.join(".git/objects/pack")).unwrap();
    let packs: Vec<_> = packs.flatten().map(|entry| entry.path()).collect();
    let of_kind = |kind: &str| {
        let is_it = |path: &&PathBuf| path.extension().is_some_and(|e| e == kind);
        packs.iter().find(is_it).unwrap().clone()
    };
    let whole = |path: &Path| fs::read(path).unwrap();
    let (pack, index) = (of_kind("pack"), of_kind("idx"));
    let (pack_bytes, index_bytes) = (whole(&pack), whole(&index));
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let damages: [(&Path, &[u8]); 6] = [
        (&pack, b""),
        (&pack, &pack_bytes[..pack_bytes.len() / 2]),
        (&pack, &[b"PACK\0\0\0\x02", &[0xff; 4000][..]].concat()),
        (&index, b"nothing"),
        (&index, &index_bytes[..40]),
        (&index, &[&index_bytes[..8], &[0xff; 4000][..]].concat()),
    ];
    for (path, bytes) in damages {
        let before = whole(path);
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(path, bytes).unwrap();
        let mut worker = open(&folder).await;
        let mut refused = 0;
        for (capability, input) in [
            ("log", json!({})),
            ("show", json!({"rev": "HEAD"})),
            ("blame", json!({"path": "docs/a.md"})),
            ("search", json!({"query": "one", "in": "files"})),
        ] {
            let answer = worker.read(capability, input).await;
            let said = format!("{:?}", answer.0);
            refused += usize::from(answer.0.is_err());
            for word in [
                &*folder.to_string_lossy(),
                ".git",
                "/",
                "pack-",
                &name(path),
            ] {
                assert!(!said.contains(word), "{word} in {said}");
            }
        }
        worker.stop().await;
        assert!(refused > 0, "the control");
        fs::write(path, before).unwrap();
    }
    let whole = ask(&folder, "log", json!({})).await;
    assert_eq!(ids(&whole).len(), 3, "control");
}

#[tokio::test]
async fn repositories_of_kinds_that_are_not_read_are_not_opened() {
    let (_kept, folder) = fresh();
    crate::repo::init(&folder);
    let config = folder.join(".git/config");
    let plain = fs::read_to_string(&config).unwrap();
    for (lines, word) in [
        ("[extensions]\n\tobjectFormat = sha256\n", "SHA-1"),
        ("[EXTENSIONS] objectformat=\"SHA256\" ; why\n", "SHA-1"),
        (
            "[core]\nx = y\n[extensions]\n  refStorage = reftable # why\n",
            "refs are no files",
        ),
    ] {
        fs::write(&config, format!("{plain}{lines}")).unwrap();
        let why = not_opened(&folder).await;
        assert!(why.contains(word), "{lines}: {why}");
    }
    for lines in [
        "[extensions]\nobjectFormat = sha1\nrefStorage = files\npartialClone = origin\n",
        "[other]\nobjectFormat = sha256\n",
        "[extensions]\n# objectFormat = sha256\n",
        "[extensions \"x\"]\nobjectFormat = sha256\n",
    ] {
        fs::write(&config, format!("{plain}{lines}")).unwrap();
        open(&folder).await.stop().await;
    }
    // As git itself makes them, and with nothing in them yet.
    for kind in ["--object-format=sha256", "--ref-format=reftable"] {
        let other = folder.join(&kind[2..8]);
        fs::create_dir(&other).unwrap();
        git(&other, &["init", "-q", kind, "."]);
        assert!(not_opened(&other).await.contains("not read"), "{kind}");
    }
}

#[tokio::test]
async fn a_search_tells_what_it_does_not_show() {
    let (_kept, folder) = fresh();
    crate::repo::init(&folder);
    write(&folder, "plain.txt", "zebra\n");
    commit(&folder, "plain");
    let files = json!({"query": "zebra", "in": "files"});
    let changes = json!({"query": "zebra", "in": "changes"});
    let found = |told: &Value| {
        (
            told["hits"].as_array().unwrap().len(),
            told["warnings"].clone(),
        )
    };
    let told = ask(&folder, "search", files.clone()).await;
    assert_eq!(found(&told), (1, Value::Null));
    write(&folder, "large.txt", "zebra\n".repeat(200_000));
    write(
        &folder,
        "lines.txt",
        format!("zebra{}", "\n".repeat(200_001)),
    );
    write(&folder, "binary", b"\0zebra");
    write(&folder, "picture.png", b"\0no such word");
    write(&folder, "many.txt", "zebra\n".repeat(7));
    let wide = "\u{feff}zebra in UTF-16\n".encode_utf16();
    let wide: Vec<u8> = wide.flat_map(u16::to_le_bytes).collect();
    commit(&folder, "more");
    write(&folder, "wide.txt", wide);
    commit(&folder, "in another encoding");
    let words = |answer: &Value| {
        let mut words: Vec<String> = serde_json::from_value(answer["warnings"].clone()).unwrap();
        words.sort();
        words
    };
    let all = ["binary_files_match", "hits_bounded", "large_files_skipped"];
    for input in [files.clone(), changes] {
        let told = ask(&folder, "search", input).await;
        assert_eq!(words(&told), all);
        let is_wide =
            |hit: &Value| hit["path"] == "wide.txt" && hit["snippet"] == "zebra in UTF-16";
        assert!(
            told["hits"].as_array().unwrap().iter().any(is_wide),
            "{told}"
        );
    }
    // A file that is named is shown whole.
    let named = json!({"query": "zebra", "in": "files", "path": "many.txt"});
    let told = ask(&folder, "search", named).await;
    assert_eq!(found(&told), (7, Value::Null));
    // One damaged file costs no other.
    damage(&folder, "HEAD:many.txt");
    let told = ask(&folder, "search", files).await;
    assert!(
        words(&told).contains(&"damaged_files_skipped".to_owned()),
        "{told}"
    );
    assert!(!told["hits"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn a_search_goes_on_to_its_end_in_each_of_its_scopes() {
    let (_kept, folder) = fresh();
    for number in 0..7 {
        write(
            &folder,
            &format!("n{number}.txt"),
            format!("zebra {number}\n"),
        );
        commit(&folder, &format!("zebra {number}"));
    }
    for scope in ["messages", "changes", "files"] {
        let search = |limit: usize| json!({"query": "zebra", "in": scope, "limit": limit});
        let whole = ask(&folder, "search", search(50)).await;
        assert_eq!(whole["next"], Value::Null, "{whole}");
        let (mut hits, mut input, mut pages) = (Vec::new(), search(2), 0);
        loop {
            let page = ask(&folder, "search", input.clone()).await;
            hits.extend(page["hits"].as_array().unwrap().iter().cloned());
            pages += 1;
            match &page["next"]["after"] {
                Value::Null => break,
                after => input["after"] = after.clone(),
            }
            assert!(pages < 10, "{page}");
        }
        assert_eq!(json!(hits), whole["hits"], "{scope}");
        assert_eq!((hits.len(), pages > 3), (7, true), "{scope}: {pages}");
    }
}

#[tokio::test]
async fn refs_that_cannot_be_read_are_told() {
    let (_kept, folder) = fresh();
    story(&folder);
    let warned = async |folder: &Path| ask(folder, "log", json!({})).await["warnings"].clone();
    assert_eq!(warned(&folder).await, Value::Null, "control");
    let broken = folder.join(".git/refs/heads/broken");
    fs::write(&broken, "nothing\n").unwrap();
    assert_eq!(warned(&folder).await, json!(["refs_skipped"]));
    fs::remove_file(&broken).unwrap();
    git(&folder, &["branch", "other", "HEAD~1"]);
    git(&folder, &["pack-refs", "--all"]);
    assert_eq!(warned(&folder).await, Value::Null, "control");
    let packed = folder.join(".git/packed-refs");
    let text = fs::read_to_string(&packed).unwrap();
    fs::write(&packed, format!("{text}half a line\n")).unwrap();
    assert_eq!(warned(&folder).await, json!(["refs_skipped"]));
    let other = ask(&folder, "log", json!({"rev": "other"})).await;
    assert_eq!(ids(&other).len(), 2);
}

#[tokio::test]
async fn a_difference_says_where_an_end_is_missing() {
    let (_kept, folder) = fresh();
    crate::repo::init(&folder);
    let none = "\\ No newline at end of file\n";
    for (text, wanted) in [
        ("a\nb", format!("@@ -0,0 +1,2 @@\n+a\n+b\n{none}")),
        ("a\nb\n", format!("@@ -1,2 +1,2 @@\n a\n-b\n{none}+b\n")),
        ("a\r\nb\n", "@@ -1,2 +1,2 @@\n-a\n+a\r\n b\n".to_owned()),
        ("", "@@ -1,2 +0,0 @@\n-a\r\n-b\n".to_owned()),
    ] {
        write(&folder, "f", text);
        commit(&folder, "next");
        let shown = ask(&folder, "show", json!({"rev": "HEAD"})).await;
        assert_eq!(shown["files"][0]["diff"], wanted, "{text:?}");
    }
}

#[tokio::test]
async fn names_and_messages_need_not_be_utf8() {
    use std::os::unix::ffi::OsStrExt as _;
    let (_kept, folder) = fresh();
    let name = std::ffi::OsStr::from_bytes(b"na\xefve.txt");
    fs::write(folder.join(name), b"caf\xe9\n").unwrap();
    write(&folder, "message", b"caf\xe9 au lait\n");
    git(&folder, &["add", "-A"]);
    let encoded = ["-c", "i18n.commitEncoding=ISO-8859-1", "commit", "-q"];
    git(&folder, &[&encoded[..], &["-F", "message"]].concat());
    let log = ask(&folder, "log", json!({})).await;
    assert_eq!(log["commits"][0]["subject"], "café au lait");
    let shown = ask(&folder, "show", json!({"rev": "HEAD"})).await;
    assert_eq!(shown["files"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_constraint_narrows_the_history() {
    let (_kept, folder) = fresh();
    branched(&folder);
    let constraint = json!({"pathPrefix": {"field": "path", "allow": ["docs"]}});
    let mut worker = open(&folder).await.constrained(constraint);
    let log = worker.read("log", json!({"limit": 100})).await;
    assert_eq!(
        texts(&output(&log)["commits"], "subject"),
        [
            "merged",
            "below",
            "above",
            "on the side",
            "the second",
            "first"
        ]
    );
    let paths: Vec<_> = log.1.iter().filter(|t| *t.kind == *"path").collect();
    assert!(!paths.is_empty() && paths.iter().all(|t| t.id.starts_with("docs")));
    // `moved` changed nothing in docs: it does not exist.
    let moved = git(&folder, &["rev-parse", "v1^1~1"]);
    let shown = worker.refused("show", json!({"rev": moved.trim()})).await;
    assert_eq!(shown, missed("path"));
    let first = worker.answer("show", json!({"rev": "v1^1~3"})).await;
    assert_like(&first["files"], &json!([{"path": "docs/a.md"}]));
    for query in [
        json!({"query": "fn", "in": "changes"}),
        json!({"query": "moved"}),
    ] {
        assert_eq!(worker.answer("search", query).await["hits"], json!([]));
    }
    let blamed = worker.refused("blame", json!({"path": "src/new.rs"})).await;
    assert_eq!(blamed, missed("path"));
    worker.answer("blame", json!({"path": "docs/a.md"})).await;
    worker.stop().await;
}

#[tokio::test]
async fn a_long_history_is_listed_in_time_and_what_is_new_is_seen() {
    let (_kept, folder) = fresh();
    // As fast as git can: one process for 3,000 commits.
    let one = |number: u32| {
        let (at, file) = (1_700_000_000 + number, number % 50);
        let (message, text) = (format!("c{number}"), format!("{number}\n"));
        let (long, length) = (message.len(), text.len());
        format!(
            "commit refs/heads/main\nmark :{number}\ncommitter A <a@b> {at} +0000\ndata {long}\n{message}\n\
             M 100644 inline f{file}\ndata {length}\n{text}\n"
        )
    };
    write(
        &folder,
        ".git/stream",
        (1..=3_000).map(one).collect::<String>(),
    );
    crate::repo::import(&folder, ".git/stream", ".git/marks");
    let mut worker = open(&folder).await;
    let log = worker
        .answer("log", json!({"path": "f7", "limit": 200}))
        .await;
    assert_eq!(ids(&log), listed(&folder, &["main", "--", "f7"]));
    let nowhere = json!({"query": "no such text", "in": "changes"});
    let searched = worker.answer("search", nowhere).await;
    assert_like(&searched, &json!({"searched": 1_000, "hits": []}));
    // A bounded stretch says where to go on.
    assert!(searched["next"]["after"].is_string(), "{searched}");
    git(&folder, &["checkout", "-q", "main"]);
    write(&folder, "new", "new\n");
    let id = commit(&folder, "after it was opened");
    let log = worker.answer("log", json!({"limit": 1})).await;
    assert_eq!(ids(&log), [id]);
    worker.stop().await;
}

/// What a refusal says, but for the name that was asked for.
async fn refused_like(worker: &mut Worker, rev: &str) -> String {
    let refused = worker.refused("show", json!({"rev": rev})).await;
    assert_eq!(refused, transport("not_found"), "{rev}");
    format!("{refused:?}").replace(rev, "NAME")
}

#[tokio::test]
async fn what_no_branch_or_tag_leads_to_is_answered_like_what_is_not_there() {
    let (_kept, folder) = fresh();
    story(&folder);
    let id_of = |name| git(&folder, &["rev-parse", name]).trim().to_owned();
    write(&folder, "secret.txt", "password\n");
    let amended = commit(&folder, "with a password");
    git(&folder, &["rm", "-q", "secret.txt"]);
    write(&folder, "plain.txt", "plain\n");
    git(&folder, &["add", "-A"]);
    git(&folder, &["commit", "-q", "--amend", "-m", "without it"]);
    let kept = id_of("HEAD");
    git(&folder, &["tag", "-a", "v1", "-m", "first"]);
    let tag = id_of("v1");
    // Left behind in other ways: a reset, a stash, a tag that is no more, a tree, a blob.
    let reset = commit(&folder, "to be reset");
    git(&folder, &["reset", "-q", "--hard", "HEAD~1"]);
    write(&folder, "plain.txt", "stashed\n");
    git(&folder, &["stash", "-q"]);
    let stash = id_of("refs/stash");
    git(&folder, &["tag", "-a", "gone", "-m", "gone", "HEAD~1"]);
    let gone = id_of("gone");
    git(&folder, &["tag", "-d", "gone"]);
    git(&folder, &["update-ref", "ORIG_HEAD", &amended]);
    let (tree, blob) = (id_of("HEAD^{tree}"), id_of("HEAD:plain.txt"));

    let mut worker = open(&folder).await;
    let absent = refused_like(&mut worker, &"0123456789".repeat(4)).await;
    for id in [&amended, &reset, &stash, &gone, &tree, &blob] {
        assert_eq!(refused_like(&mut worker, id).await, absent, "{id}");
        let short = &id[..12];
        assert_eq!(refused_like(&mut worker, short).await, absent, "{id}");
        // The shortest that is looked for; no reachable id of this history begins like it but by chance.
        if !kept.starts_with(&id[..4]) {
            let answer = worker.read("show", json!({"rev": &id[..4]})).await;
            assert!(!format!("{answer:?}").contains("password"), "{answer:?}");
        }
        let back = worker.refused("log", json!({"not": id})).await;
        assert_eq!(back, transport("not_found"), "{id}");
    }
    for name in ["ORIG_HEAD", "refs/stash", "stash"] {
        assert_eq!(refused_like(&mut worker, name).await, absent, "{name}");
    }
    // The controls: by id, by its beginning, by a tag's own id, further back, and behind a detached HEAD.
    let (upper, first) = (kept.to_uppercase(), id_of("HEAD~2"));
    for name in [
        &kept,
        &kept[..8],
        &upper,
        &tag,
        &tag[..12],
        &first,
        "v1",
        "HEAD~1",
    ] {
        let shown = worker.answer("show", json!({"rev": name})).await;
        assert!(shown["commit"]["id"].is_string(), "{name}: {shown}");
    }
    git(&folder, &["checkout", "-q", "--detach", &amended]);
    let shown = worker.answer("show", json!({"rev": amended})).await;
    assert_eq!(shown["commit"]["id"], amended);
    // And no longer when nothing leads there: what was walked over is not believed for ever.
    git(&folder, &["checkout", "-q", "main"]);
    assert_eq!(refused_like(&mut worker, &amended).await, absent);
    worker.stop().await;
}
