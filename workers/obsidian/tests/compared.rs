//! Links of made vaults, held against a second resolver (`links.py`), which knows nothing of this one.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use plexus_mutation::Dice;
use serde_json::{Value, json};

use crate::story::vaults::{TestVault, note, read};

const LINKS: usize = 2_000;

/// Folders that lie in each other, share names, and are spelled in letters of several forms.
const FOLDERS: [&str; 12] = [
    "",
    "a/",
    "a/b/",
    "a/b/c/",
    "b/",
    "b/a/",
    "Long Folder/",
    "Long Folder/a/",
    "日記/",
    "U\u{308}ber/",
    "U\u{308}ber/b/",
    "zz/a/b/",
];
const NAMES: [&str; 12] = [
    "Note.md",
    "Plan.md",
    "Caf\u{e9}.md",
    "A\u{30a}ngstrom.md",
    "v1.2.md",
    "Note.md.md",
    "Note",
    "pic.png",
    "日本.md",
    "C sharp.md",
    "100%.md",
    "board.canvas",
];

/// A vault in which each name is in some of the folders.
fn files(dice: &mut Dice) -> Vec<String> {
    let all = FOLDERS
        .iter()
        .flat_map(|folder| NAMES.iter().map(move |name| format!("{folder}{name}")));
    let mut files: Vec<String> = all.filter(|_| dice.below(3) > 0).collect();
    files.retain(|file| !file.ends_with("/from.md"));
    files
}

/// A link to something, or to nothing: by name, by the end of a path, by a path, beside, above, from the top.
fn link(dice: &mut Dice) -> String {
    let name = NAMES[dice.below(NAMES.len())];
    let name = match dice.below(4) {
        0 => name.to_owned(),
        1 => name.to_uppercase(),
        2 => name.trim_end_matches(".md").to_lowercase(),
        _ => name.trim_end_matches(".md").to_owned(),
    };
    let folder = FOLDERS[dice.below(FOLDERS.len())];
    let before = match dice.below(9) {
        0 => folder.to_owned(),
        1 => format!("/{folder}"),
        2 => "./".to_owned(),
        3 => "../".to_owned(),
        4 => "../../".to_owned(),
        5 => format!("../{folder}"),
        6 => folder
            .rsplit_terminator('/')
            .next()
            .map_or(String::new(), |last| format!("{last}/")),
        _ => String::new(),
    };
    let target = format!("{before}{name}");
    let part = ["", "", "#Head", "#^block", "#A#B"][dice.below(5)];
    match dice.below(5) {
        0 => format!("![[{target}{part}]]"),
        1 => format!("[[{target}{part}|shown]]"),
        2 => {
            let target = target.replace('%', "%25").replace(' ', "%20");
            format!("[shown]({target}{part})")
        }
        _ => format!("[[{target}{part}]]"),
    }
}

fn second_opinion(asked: &Value) -> Vec<Option<String>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/links.py");
    let mut python = Command::new("python3")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this comparison needs python3");
    let mut input = python.stdin.take().unwrap();
    input.write_all(asked.to_string().as_bytes()).unwrap();
    drop(input);
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[expect(
    clippy::print_stdout,
    reason = "how much was compared is what it is for"
)]
#[test]
#[ignore = "compares with a second resolver: cargo xtask test --long"]
fn links_lead_where_a_second_resolver_leads_them() {
    let mut dice = Dice::of_the_day();
    let (mut compared, mut resolved) = (0, 0);
    while compared < LINKS {
        let files = files(&mut dice);
        let vault = TestVault::new(&[]);
        for file in &files {
            vault.file(file, "");
        }
        let mut links = Vec::new();
        let mut notes = Vec::new();
        for folder in FOLDERS {
            let from = format!("{folder}from.md");
            let written: Vec<String> = (0..20).map(|_| link(&mut dice)).collect();
            vault.file(&from, written.join("\n\n"));
            links.extend(written.into_iter().map(|link| (from.clone(), link)));
            notes.push(from);
        }
        let known: Vec<&String> = files.iter().chain(&notes).collect();
        let theirs = second_opinion(&json!({"files": known, "links": links}));
        let open = vault.open();
        let ours = notes
            .iter()
            .flat_map(|path| note(read(&open, path).unwrap()).links);
        let ours: Vec<_> = ours.collect();
        assert_eq!(ours.len(), links.len(), "each link is found");
        for ((ours, theirs), (from, link)) in ours.iter().zip(&theirs).zip(&links) {
            assert_eq!(ours.raw, *link);
            let target = ours.target.as_ref().map(ToString::to_string);
            assert_eq!(target, *theirs, "{link} of {from} in {files:?}");
            resolved += usize::from(target.is_some());
        }
        compared += links.len();
    }
    println!(
        "{compared} links: all lead where the other resolver leads them, {resolved} of them somewhere"
    );
    assert!(
        resolved > compared / 3,
        "{resolved} of {compared} lead somewhere"
    );
}
