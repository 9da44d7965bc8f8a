//! What is hidden does not exist: a vault with hidden notes answers byte for byte as the same vault without them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use plexus_rooted_files::{HideRules, PathRule, names::fold};
use plexus_worker_obsidian::{Answer, ReadInput, SearchInput, Vault, VaultError};
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::json;

/// Folders and names that meet each other: the same name in several places, in two spellings, and a hidden folder.
const FOLDERS: &[&str] = &["", "a/", "a/b/", "Private/", "private/x/", "Diary/"];
const NAMES: &[&str] = &["one", "two", "Two", "secret plan", "2024-01", "key"];
const BODIES: &[&str] = &[
    "plain [[one]] [[two]] [[secret plan]]\n",
    "see [[a/b/one|x]] and ![[2024-01]] [[Private/one]]\n",
    "---\ntags: [hidden/deep]\n---\nneedle [[one]]\n",
    "needle in the open #open\n",
    "needle #Hidden here [[two]]\n",
    "---\ntags: open\nstatus: done\n---\nneedle #hiddenness\n",
];

fn rules() -> HideRules {
    HideRules {
        folders: vec!["private".into()],
        globs: vec!["diary/20*".into(), "*.key.md".into(), "secret*".into()],
        tags: vec!["#hidden".into()],
    }
}

/// What the rules above say, in other words.
fn is_hidden(path: &str, body: &str) -> bool {
    let path = fold(path);
    let name = path.rsplit('/').next().unwrap_or_default();
    path.starts_with("private/")
        || path.starts_with("diary/20")
        || name.ends_with(".key.md")
        || name.starts_with("secret")
        || body.contains("[hidden/deep]")
        || body.contains("#Hidden ")
}

fn fill(root: &Path, notes: &BTreeMap<String, &str>) {
    for (path, body) in notes {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, body).unwrap();
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(then).unwrap();
    }
}

fn read(vault: &Vault, path: &str) -> String {
    let input: ReadInput = serde_json::from_value(json!({ "path": path })).unwrap();
    shown(vault.read(&input, PathRule::all(), &|| false))
}

fn search(vault: &Vault, input: serde_json::Value) -> String {
    let input: SearchInput = serde_json::from_value(input).unwrap();
    shown(vault.search(&input, PathRule::all(), &|| false))
}

fn shown<T: serde::Serialize>(answer: Result<Answer<T>, VaultError>) -> String {
    match answer {
        Ok(answer) => format!("{} {:?}", json!(answer.output), answer.touched),
        Err(error) => format!("{error:?}: {error}"),
    }
}

fn answers(vault: &Vault, paths: &BTreeSet<String>) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = paths
        .iter()
        .flat_map(|path| {
            let name = path.rsplit('/').next().unwrap_or_default();
            [
                path.clone(),
                path.trim_end_matches(".md").to_owned(),
                format!("[[{name}]]"),
                path.to_uppercase(),
            ]
        })
        .chain(FOLDERS.iter().map(|folder| (*folder).to_owned()))
        .map(|path| (path.clone(), read(vault, &path)))
        .collect();
    for input in [
        json!({"query": "needle"}),
        json!({"query": "needle", "limit": 1}),
        json!({"tag": "hidden"}),
        json!({"tag": "open"}),
        json!({"property": {"name": "status"}}),
        json!({"query": "e", "path": "private"}),
        json!({"query": "e", "path": "Private/one.md"}),
        json!({"query": "e", "path": "a"}),
    ] {
        all.push((input.to_string(), search(vault, input)));
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn hidden_is_as_if_it_were_not_there(
        notes in vec((select(FOLDERS), select(NAMES), select(&[".md", ".key.md", ".MD"][..]), select(BODIES)), 1..12),
    ) {
        let notes: BTreeMap<String, &str> = notes
            .into_iter()
            .map(|(folder, name, end, body)| (format!("{folder}{name}{end}"), body))
            .collect();
        let without: BTreeMap<String, &str> = notes
            .iter()
            .filter(|(path, body)| !is_hidden(path, body))
            .map(|(path, body)| (path.clone(), *body))
            .collect();
        let temp = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| temp.path().join(name));
        fs::create_dir_all(&one).unwrap();
        fs::create_dir_all(&two).unwrap();
        fill(&one, &notes);
        fill(&two, &without);
        // A folder whose notes are all hidden stays, unless it is hidden itself.
        for path in notes.keys() {
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            if !fold(folder).starts_with("private") {
                fs::create_dir_all(two.join(folder)).unwrap();
            }
        }
        let hiding = Vault::open_with(&one, false, &rules()).unwrap();
        let plain = Vault::open(&two).unwrap();
        let paths: BTreeSet<String> = notes.keys().cloned().collect();
        for (hidden, deleted) in answers(&hiding, &paths).into_iter().zip(answers(&plain, &paths)) {
            prop_assert_eq!(hidden, deleted);
        }
        // The control: without the rules what is hidden is there.
        let open = Vault::open(&one).unwrap();
        for (path, _) in notes.iter().filter(|(path, body)| is_hidden(path, body)) {
            prop_assert!(read(&open, path).contains("relativePath"), "{}", path);
        }
    }
}

fn hiding(tag: &str, root: &Path) -> Vault {
    let rules = HideRules {
        tags: vec![tag.into()],
        ..HideRules::default()
    };
    Vault::open_with(root, false, &rules).unwrap()
}

/// Whether a note is there; it is read exactly where it is listed.
#[track_caller]
fn is_shown(vault: &Vault) -> bool {
    let is_read = read(vault, "a.md").contains("relativePath");
    assert_eq!(read(vault, "").contains("a.md"), is_read);
    is_read
}

#[test]
fn a_tag_that_comes_or_goes_counts_at_once() {
    let temp = tempfile::tempdir().unwrap();
    let vault = hiding("hidden", temp.path());
    for (text, seen) in [("open", true), ("#hidden", false), ("open again", true)] {
        fs::write(temp.path().join("a.md"), text).unwrap();
        assert_eq!(is_shown(&vault), seen, "{text}");
    }
}

#[test]
fn a_note_whose_tags_cannot_be_found_out_is_hidden() {
    let temp = tempfile::tempdir().unwrap();
    let vault = hiding("hidden", temp.path());
    for (bytes, seen) in [
        (&b"---\ntags: [hidden\n---\nprivate\n"[..], false),
        (&b"---\ntags: [other\n---\nprivate\n"[..], true),
        (&b"#hidden \xff\n"[..], false),
        (&b"plain\n"[..], true),
    ] {
        fs::write(temp.path().join("a.md"), bytes).unwrap();
        assert_eq!(is_shown(&vault), seen, "{bytes:?}");
    }
}

/// However the tag is spelled, in the rule or in the note.
#[test]
fn a_tag_in_another_spelling_hides_as_well() {
    let temp = tempfile::tempdir().unwrap();
    for (tag, text, seen) in [
        ("spass", "#Spa\u{df}", false),
        ("spa\u{df}", "#SPASS/deep", false),
        ("spa\u{df}", "---\ntags: [Spa\u{df}]\n---\n", false),
        ("find", "#\u{fb01}nd", false),
        ("kin", "#\u{212a}in", false),
        ("caf\u{e9}", "#cafe\u{301}", false),
        ("caf\u{e9}", "---\ntags: [\"caf\\xE9\"]\n---\n", false),
        ("private", "---\ntags: [\"\\u0070rivate\"]\n---\n", false),
        ("private", "---\ntags: [\"pri\\\n  vate\"]\n---\n", false),
        ("private", "---\ntags: [\"\\u0070rivate\"\n---\n", false),
        (
            "private",
            "---\ntags: [!!binary cHJpdmF0ZQ==]\n---\n",
            false,
        ),
        ("private", "---\ntags: [\"\\u0071rivate\"]\n---\n", true),
        ("spa\u{df}", "#spas", true),
    ] {
        fs::write(temp.path().join("a.md"), text).unwrap();
        assert_eq!(is_shown(&hiding(tag, temp.path())), seen, "{tag} in {text}");
        let open = Vault::open(temp.path()).unwrap();
        let found = search(&open, json!({ "tag": tag })).contains("a.md");
        // Front matter that cannot be read hides a note, and is nothing to be found.
        let is_found = !seen && !text.ends_with("\"\n---\n");
        assert_eq!(found, is_found, "{tag} in {text}");
    }
}
