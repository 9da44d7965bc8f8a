//! The git worker behind the harness, on repositories of every kind, held against what git itself says.

use crate::repo::{commit, fresh, git, story, write};
use plexus_conformance::served::{Worker, output, refusal};
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
    path::Path,
};

pub(crate) async fn open(folder: &Path) -> Worker {
    Worker::start::<GitSource>(MANIFEST, "path", folder, Role::Reader).await
}

/// Asks once and takes the answer.
async fn ask(folder: &Path, capability: &str, input: Value) -> Value {
    let mut worker = open(folder).await;
    let answer = output(&worker.read(capability, input).await);
    worker.stop().await;
    answer
}

fn ids(answer: &Value) -> Vec<String> {
    let commits = answer["commits"].as_array().unwrap();
    commits
        .iter()
        .map(|c| c["id"].as_str().unwrap().to_owned())
        .collect()
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
    for (input, words) in [
        (json!({}), &["HEAD"][..]),
        (json!({"rev": "v1"}), &["v1"]),
        (
            json!({"rev": "feature", "not": "main~3"}),
            &["feature", "^main~3"],
        ),
        (
            json!({"rev": "main", "not": "feature"}),
            &["main", "^feature"],
        ),
        (json!({"path": "docs/a.md"}), &["HEAD", "--", "docs/a.md"]),
        (json!({"path": "docs"}), &["HEAD", "--", "docs"]),
        (json!({"path": "src/old.rs"}), &["HEAD", "--", "src/old.rs"]),
        (json!({"path": "never"}), &["HEAD", "--", "never"]),
        (json!({"author": "ANN@"}), &["HEAD"]),
        (json!({"author": "nobody"}), &["HEAD", "--max-count=0"]),
    ] {
        assert_eq!(
            ids(&ask(&folder, "log", input.clone()).await),
            listed(&folder, words),
            "{input}"
        );
    }
    let all = ask(&folder, "log", json!({})).await;
    let merged = &all["commits"][1];
    assert_eq!(merged["names"], json!(["v1"]));
    assert_eq!(merged["parents"].as_array().unwrap().len(), 2);
    let first = &all["commits"][ids(&all).len() - 1];
    assert_eq!(
        (&first["subject"], &first["body"]),
        (&json!("first"), &json!("with a body"))
    );
    assert_eq!(first["at"], "2023-11-14T23:13:20+01:00");
}

#[tokio::test]
async fn pages_of_a_log_are_the_log() {
    let (_kept, folder) = fresh();
    branched(&folder);
    let mut worker = open(&folder).await;
    let (mut seen, mut input) = (Vec::new(), json!({"limit": 3}));
    loop {
        let answer = output(&worker.read("log", input.clone()).await);
        seen.extend(ids(&answer));
        match answer["next"]["after"].as_str() {
            Some(after) => input["after"] = json!(after),
            None => break,
        }
    }
    worker.stop().await;
    assert_eq!(seen, listed(&folder, &["HEAD"]));
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
                    "{} {}\n",
                    line,
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
    let part = ask(
        &folder,
        "blame",
        json!({"path": "src/many.rs", "line": 3, "limit": 2}),
    )
    .await;
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
    let shown = ask(&folder, "show", json!({"rev": "HEAD"})).await;
    let files = shown["files"].as_array().unwrap();
    let kinds: Vec<_> = files
        .iter()
        .map(|f| (f["path"].as_str().unwrap(), f["change"].as_str().unwrap()))
        .collect();
    assert_eq!(
        kinds,
        [
            ("bin", "added"),
            ("docs/a.md", "modified"),
            ("src/new.rs", "deleted")
        ]
    );
    assert_eq!(files[0]["omitted"], "binary");
    assert_eq!(files[1]["diff"], "@@ -1,2 +1,2 @@\n one\n-two\n+2\n");
    let renamed = ask(&folder, "show", json!({"rev": "main~1"})).await;
    assert_eq!(renamed["files"][0]["from"], "src/old.rs");
    assert_eq!(
        (
            &renamed["files"][0]["added"],
            &renamed["files"][0]["removed"]
        ),
        (&json!(1), &json!(1))
    );
    let paged = ask(&folder, "show", json!({"rev": "HEAD", "limit": 2})).await;
    assert_eq!(paged["next"]["after"], "docs/a.md");
    let before = json!({"rev": "HEAD~1", "path": "src/new.rs", "content": true});
    assert!(
        ask(&folder, "show", before).await["content"]
            .as_str()
            .unwrap()
            .contains("fn e")
    );
}

#[tokio::test]
async fn text_is_found_in_messages_changes_and_files() {
    let (_kept, folder) = fresh();
    branched(&folder);
    let found = ask(&folder, "search", json!({"query": "MERGED"})).await;
    assert_eq!(found["hits"][0]["subject"], "merged");
    let came_and_went = ask(&folder, "search", json!({"query": "fn d", "in": "changes"})).await;
    let words: Vec<_> = came_and_went["hits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|h| h["change"].as_str().unwrap())
        .collect();
    assert_eq!(words, ["removed", "added"]);
    let files = ask(
        &folder,
        "search",
        json!({"query": "three", "in": "files", "path": "docs"}),
    )
    .await;
    assert_eq!(
        (&files["hits"][0]["path"], &files["hits"][0]["line"]),
        (&json!("docs/a.md"), &json!(4))
    );
    let gone = ask(
        &folder,
        "search",
        json!({"query": "three", "in": "files", "rev": "v1~2"}),
    )
    .await;
    assert_eq!(gone["hits"], json!([]));
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
        let answer = output(&worker.read("log", json!({"rev": rev, "limit": 1})).await);
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
        let error = worker.read("log", json!({"rev": rev})).await;
        let error = refusal(&error.0);
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
    git(&outer, &["clone", "-q", "--bare", "repo", "bare"]);
    assert_eq!(
        ids(&ask(&outer.join("bare"), "log", json!({})).await).len(),
        3
    );
    let url = format!("file://{}", folder.display());
    git(&outer, &["clone", "-q", "--depth", "1", &url, "shallow"]);
    let shallow = ask(&outer.join("shallow"), "log", json!({})).await;
    assert_eq!(
        (ids(&shallow).len(), &shallow["warnings"]),
        (1, &json!(["shallow"]))
    );
    let blamed = ask(
        &outer.join("shallow"),
        "blame",
        json!({"path": "docs/a.md"}),
    )
    .await;
    assert_eq!(blamed["warnings"], json!(["shallow"]));
    fs::create_dir(outer.join("empty")).unwrap();
    crate::repo::init(&outer.join("empty"));
    let mut worker = open(&outer.join("empty")).await;
    let none = worker.read("log", json!({})).await;
    assert_eq!(refusal(&none.0)["transport_error"]["reason"], "not_found");
    worker.stop().await;
    // Its parts elsewhere within the folder.
    git(
        &outer,
        &[
            "clone",
            "-q",
            "--separate-git-dir",
            "apart/real.git",
            "repo",
            "apart/work",
        ],
    );
    fs::write(outer.join("apart/.git"), "gitdir: real.git\n").unwrap();
    assert_eq!(
        ids(&ask(&outer.join("apart"), "log", json!({})).await).len(),
        3
    );
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
    // Borrowed objects, a linked work tree, `.git` as a link, objects as a link, no repository at all.
    git(&outer, &["clone", "-q", "--shared", "repo", "borrows"]);
    assert!(
        not_opened(&outer.join("borrows"))
            .await
            .contains("alternates")
    );
    git(
        &folder,
        &["worktree", "add", "-q", "../linked", "-b", "other"],
    );
    assert!(
        not_opened(&outer.join("linked"))
            .await
            .contains("main repository")
    );
    for name in ["as-link", "objects", "nothing", "packs"] {
        fs::create_dir(outer.join(name)).unwrap();
    }
    symlink(folder.join(".git"), outer.join("as-link/.git")).unwrap();
    assert!(not_opened(&outer.join("as-link")).await.contains("link"));
    crate::repo::init(&outer.join("objects"));
    fs::remove_dir_all(outer.join("objects/.git/objects")).unwrap();
    symlink(
        folder.join(".git/objects"),
        outer.join("objects/.git/objects"),
    )
    .unwrap();
    assert!(
        not_opened(&outer.join("objects"))
            .await
            .contains("leads out")
    );
    crate::repo::init(&outer.join("packs"));
    fs::remove_dir_all(outer.join("packs/.git/objects/pack")).unwrap();
    symlink(
        folder.join(".git/objects/pack"),
        outer.join("packs/.git/objects/pack"),
    )
    .unwrap();
    assert!(not_opened(&outer.join("packs")).await.contains("links"));
    assert!(
        not_opened(&outer.join("nothing"))
            .await
            .contains("no repository")
    );
    // Borrowing within the folder is no way out.
    let both = outer.join("both");
    fs::create_dir(&both).unwrap();
    git(&both, &["clone", "-q", "--shared", "../repo", "."]);
    git(&outer, &["clone", "-q", "--bare", "repo", "both/store.git"]);
    fs::write(
        both.join(".git/objects/info/alternates"),
        "../../store.git/objects\n",
    )
    .unwrap();
    assert_eq!(ids(&ask(&both, "log", json!({})).await).len(), 3);
}

#[tokio::test]
async fn refs_that_are_links_are_not_followed() {
    let (kept, folder) = fresh();
    story(&folder);
    fs::write(
        kept.path().join("secret"),
        "0123456789012345678901234567890123456789\n",
    )
    .unwrap();
    symlink(
        kept.path().join("secret"),
        folder.join(".git/refs/heads/out"),
    )
    .unwrap();
    let mut worker = open(&folder).await;
    let refused = worker.read("log", json!({"rev": "out"})).await;
    assert_eq!(
        refusal(&refused.0)["transport_error"]["reason"],
        "path_confinement"
    );
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
        let _ = output(&worker.read(capability, input).await);
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
    let digits = blob.trim();
    tree.extend((0..20).map(|at| u8::from_str_radix(&digits[at * 2..at * 2 + 2], 16).unwrap()));
    fs::write(folder.join(".git/hostile"), tree).unwrap();
    let words = [
        "hash-object",
        "-t",
        "tree",
        "-w",
        "--literally",
        ".git/hostile",
    ];
    let tree = git(&folder, &words);
    let id = git(&folder, &["commit-tree", tree.trim(), "-m", "hostile"]);
    git(&folder, &["branch", "hostile", id.trim()]);
    let shown = ask(&folder, "show", json!({"rev": id.trim()})).await;
    assert_eq!(shown["files"], json!([]));
    assert_eq!(shown["warnings"], json!(["names_skipped"]));
    let odd = git(&folder, &["rev-parse", "HEAD"]);
    let object = folder
        .join(".git/objects")
        .join(&odd[..2])
        .join(odd[2..].trim());
    fs::remove_file(&object).unwrap();
    fs::write(&object, b"not an object").unwrap();
    let mut worker = open(&folder).await;
    let broken = worker.read("log", json!({})).await;
    assert!(refusal(&broken.0)["transport_error"]["reason"].is_string());
    fs::remove_file(&object).unwrap();
    let missing = worker.read("show", json!({"rev": "HEAD"})).await;
    assert_eq!(
        refusal(&missing.0)["transport_error"]["reason"],
        "not_found"
    );
    worker.stop().await;
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
        let is_it = |path: &&std::path::PathBuf| path.extension().is_some_and(|e| e == kind);
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
    assert_eq!(
        ids(&ask(&folder, "log", json!({})).await).len(),
        3,
        "control"
    );
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
    let told = ask(&folder, "search", files.clone()).await;
    assert_eq!(
        (told["hits"].as_array().unwrap().len(), &told["warnings"]),
        (1, &Value::Null)
    );
    write(&folder, "large.txt", "zebra\n".repeat(200_000));
    write(
        &folder,
        "lines.txt",
        format!("zebra{}", "\n".repeat(200_001)),
    );
    write(&folder, "binary", b"\0zebra");
    write(&folder, "picture.png", b"\0no such word");
    write(&folder, "many.txt", "zebra\n".repeat(7));
    let wide: Vec<u8> = "\u{feff}zebra in UTF-16\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
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
    assert_eq!(
        (told["hits"].as_array().unwrap().len(), &told["warnings"]),
        (7, &Value::Null)
    );
    // One damaged file costs no other.
    let id = git(&folder, &["rev-parse", "HEAD:many.txt"]);
    let object = folder
        .join(".git/objects")
        .join(&id[..2])
        .join(id[2..].trim());
    fs::remove_file(&object).unwrap();
    fs::write(&object, b"not an object").unwrap();
    let told = ask(&folder, "search", files).await;
    assert!(
        words(&told).contains(&"damaged_files_skipped".to_owned()),
        "{told}"
    );
    assert!(!told["hits"].as_array().unwrap().is_empty());
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
    assert_eq!(
        ids(&ask(&folder, "log", json!({"rev": "other"})).await).len(),
        2
    );
}

#[tokio::test]
async fn a_difference_says_where_an_end_is_missing() {
    let (_kept, folder) = fresh();
    crate::repo::init(&folder);
    let shown = async |folder: &Path| {
        let shown = ask(folder, "show", json!({"rev": "HEAD"})).await;
        shown["files"][0]["diff"].as_str().unwrap().to_owned()
    };
    for (text, wanted) in [
        (
            "a\nb",
            "@@ -0,0 +1,2 @@\n+a\n+b\n\\ No newline at end of file\n",
        ),
        (
            "a\nb\n",
            "@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+b\n",
        ),
        ("a\r\nb\n", "@@ -1,2 +1,2 @@\n-a\n+a\r\n b\n"),
        ("", "@@ -1,2 +0,0 @@\n-a\r\n-b\n"),
    ] {
        write(&folder, "f", text);
        commit(&folder, "next");
        assert_eq!(shown(&folder).await, wanted, "{text:?}");
    }
}

#[tokio::test]
async fn names_and_messages_need_not_be_utf8() {
    use std::os::unix::ffi::OsStrExt as _;
    let (_kept, folder) = fresh();
    fs::write(
        folder.join(std::ffi::OsStr::from_bytes(b"na\xefve.txt")),
        b"caf\xe9\n",
    )
    .unwrap();
    write(&folder, "message", b"caf\xe9 au lait\n");
    git(&folder, &["add", "-A"]);
    git(
        &folder,
        &[
            "-c",
            "i18n.commitEncoding=ISO-8859-1",
            "commit",
            "-q",
            "-F",
            "message",
        ],
    );
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
    let subjects: Vec<String> = output(&log)["commits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["subject"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        subjects,
        [
            "merged",
            "below",
            "above",
            "on the side",
            "the second",
            "first"
        ]
    );
    assert!(
        log.1
            .iter()
            .filter(|t| *t.kind == *"path")
            .all(|t| t.id.starts_with("docs"))
    );
    // `moved` changed nothing in docs: it does not exist.
    let moved = git(&folder, &["rev-parse", "v1^1~1"]);
    let shown = worker.read("show", json!({"rev": moved.trim()})).await;
    assert_eq!(refusal(&shown.0)["constraint_miss"]["field"], "path");
    let first = worker.read("show", json!({"rev": "v1^1~3"})).await;
    let files = output(&first)["files"].clone();
    assert_eq!(
        (files.as_array().unwrap().len(), &files[0]["path"]),
        (1, &json!("docs/a.md"))
    );
    let found = worker
        .read("search", json!({"query": "fn", "in": "changes"}))
        .await;
    assert_eq!(output(&found)["hits"], json!([]));
    let found = worker.read("search", json!({"query": "moved"})).await;
    assert_eq!(output(&found)["hits"], json!([]));
    let blamed = worker.read("blame", json!({"path": "src/new.rs"})).await;
    assert_eq!(refusal(&blamed.0)["constraint_miss"]["field"], "path");
    let _ = output(&worker.read("blame", json!({"path": "docs/a.md"})).await);
    worker.stop().await;
}

#[tokio::test]
async fn a_long_history_is_listed_in_time_and_what_is_new_is_seen() {
    let (_kept, folder) = fresh();
    // As fast as git can: one process for 3,000 commits.
    let mut stream = String::new();
    for number in 1..=3_000_u32 {
        let text = format!("{number}\n");
        stream.push_str(&format!(
            "commit refs/heads/main\nmark :{number}\ncommitter A <a@b> {} +0000\ndata {}\nc{number}\n",
            1_700_000_000 + number,
            format!("c{number}").len()
        ));
        stream.push_str(&format!(
            "M 100644 inline f{}\ndata {}\n{text}\n",
            number % 50,
            text.len()
        ));
    }
    let mut import = std::process::Command::new("git")
        .args(["fast-import", "--quiet"])
        .current_dir(&folder)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut import.stdin.take().unwrap(), stream.as_bytes()).unwrap();
    assert!(import.wait().unwrap().success());
    let mut worker = open(&folder).await;
    let log = output(
        &worker
            .read("log", json!({"path": "f7", "limit": 200}))
            .await,
    );
    assert_eq!(ids(&log), listed(&folder, &["main", "--", "f7"]));
    let searched = output(
        &worker
            .read("search", json!({"query": "no such text", "in": "changes"}))
            .await,
    );
    assert_eq!(
        (&searched["searched"], &searched["hits"]),
        (&json!(1_000), &json!([]))
    );
    assert!(
        searched["next"]["after"].is_string(),
        "a bounded stretch says where to go on"
    );
    git(&folder, &["checkout", "-q", "main"]);
    write(&folder, "new", "new\n");
    let id = commit(&folder, "after it was opened");
    let log = output(&worker.read("log", json!({"limit": 1})).await);
    assert_eq!(ids(&log), [id]);
    worker.stop().await;
}

/// What a refusal says, but for the name that was asked for.
async fn refused_like(worker: &mut Worker, rev: &str) -> String {
    let refused = refusal(&worker.read("show", json!({"rev": rev})).await.0);
    assert!(
        format!("{refused:?}").contains("not_found"),
        "{rev}: {refused:?}"
    );
    format!("{refused:?}").replace(rev, "NAME")
}

#[tokio::test]
async fn what_no_branch_or_tag_leads_to_is_answered_like_what_is_not_there() {
    let (_kept, folder) = fresh();
    story(&folder);
    write(&folder, "secret.txt", "password\n");
    let amended = commit(&folder, "with a password");
    git(&folder, &["rm", "-q", "secret.txt"]);
    write(&folder, "plain.txt", "plain\n");
    git(&folder, &["add", "-A"]);
    git(&folder, &["commit", "-q", "--amend", "-m", "without it"]);
    let kept = git(&folder, &["rev-parse", "HEAD"]).trim().to_owned();
    git(&folder, &["tag", "-a", "v1", "-m", "first"]);
    let tag = git(&folder, &["rev-parse", "v1"]).trim().to_owned();
    // Left behind in other ways: a reset, a stash, a tag that is no more, a tree, a blob.
    commit(&folder, "to be reset");
    let reset = git(&folder, &["rev-parse", "HEAD"]).trim().to_owned();
    git(&folder, &["reset", "-q", "--hard", "HEAD~1"]);
    write(&folder, "plain.txt", "stashed\n");
    git(&folder, &["stash", "-q"]);
    let stash = git(&folder, &["rev-parse", "refs/stash"]).trim().to_owned();
    git(&folder, &["tag", "-a", "gone", "-m", "gone", "HEAD~1"]);
    let gone = git(&folder, &["rev-parse", "gone"]).trim().to_owned();
    git(&folder, &["tag", "-d", "gone"]);
    git(&folder, &["update-ref", "ORIG_HEAD", &amended]);
    let tree = git(&folder, &["rev-parse", "HEAD^{tree}"])
        .trim()
        .to_owned();
    let blob = git(&folder, &["rev-parse", "HEAD:plain.txt"])
        .trim()
        .to_owned();

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
        let back = refusal(&worker.read("log", json!({"not": id})).await.0);
        assert!(format!("{back:?}").contains("not_found"), "{back:?}");
    }
    for name in ["ORIG_HEAD", "refs/stash", "stash"] {
        assert_eq!(refused_like(&mut worker, name).await, absent, "{name}");
    }
    // The controls: by id, by its beginning, by a tag's own id, further back, and behind a detached HEAD.
    let first = git(&folder, &["rev-parse", "HEAD~2"]).trim().to_owned();
    for name in [
        &kept,
        &kept[..8],
        &kept.to_uppercase(),
        &tag,
        &tag[..12],
        &first,
        "v1",
        "HEAD~1",
    ] {
        let shown = output(&worker.read("show", json!({"rev": name})).await);
        assert!(shown["commit"]["id"].is_string(), "{name}: {shown}");
    }
    git(&folder, &["checkout", "-q", "--detach", &amended]);
    let shown = output(&worker.read("show", json!({"rev": amended})).await);
    assert_eq!(shown["commit"]["id"], amended);
    // And no longer when nothing leads there: what was walked over is not believed for ever.
    git(&folder, &["checkout", "-q", "main"]);
    assert_eq!(refused_like(&mut worker, &amended).await, absent);
    worker.stop().await;
}
