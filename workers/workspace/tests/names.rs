//! How a path that is given meets a file, as a table: which file, or which refusal with which words. `docs/sources/workspace.md`
//! has it in words.
//!
//! The columns are Linux and macOS. Those of macOS say what APFS, which takes case and the forms of letters for the same, and
//! `openat` are documented to do; **they were never run there**. Here the column of the system that runs it is held.

use plexus_rooted_files::{HideRules, PathRule};
use plexus_worker_workspace::{ListInput, ReadInput, Workspace, WorkspaceError, WriteInput};
use serde_json::json;
use std::{fs, os::unix::fs::symlink, path::Path};

/// What comes of a path.
#[derive(Clone, Copy, Debug)]
enum Met {
    /// The file, or folder, of this path.
    Is(&'static str),
    /// The reason, and words that are in its sentence.
    Refused(&'static str, &'static str),
}
use Met::{Is, Refused};

struct Case {
    given: String,
    linux: Met,
    macos: Met,
}

fn same(given: &str, met: Met) -> Case {
    differs(given, met, met)
}

fn differs(given: &str, linux: Met, macos: Met) -> Case {
    let given = given.to_owned();
    Case {
        given,
        linux,
        macos,
    }
}

/// Composed, in one character; and in a letter and an accent.
const NFC: &str = "caf\u{e9}.md";
const NFD: &str = "cafe\u{301}.md";

/// The folder of the table. Each file holds its own path.
fn folder() -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("folder");
    for path in [
        "README.md",
        "docs/plan.md",
        "docs/a b.md",
        ".env",
        ".github/ci.yml",
        NFD,
        "tail.md.",
        "space .md",
        "%2e%2e",
        "private/key.md",
        "shown/note.md",
    ] {
        file(&root, path);
    }
    // Names that one folder of APFS cannot hold both.
    if cfg!(target_os = "linux") {
        for path in [
            "twins/Note.md",
            "twins/note.md",
            "twins/u\u{308}.md",
            "twins/\u{fc}.md",
        ] {
            file(&root, path);
        }
        file(&root, "back\\slash.md");
    }
    fs::write(temp.path().join("outside.md"), "outside").unwrap();
    for (target, name) in [
        ("README.md", "inside.md"),
        ("../outside.md", "outside.md"),
        ("docs", "linked"),
        ("nowhere", "dangling.md"),
    ] {
        symlink(target, root.join(name)).unwrap();
    }
    fs::write(root.join("second.md"), "twice").unwrap();
    fs::hard_link(root.join("second.md"), temp.path().join("other name")).unwrap();
    temp
}

fn file(root: &Path, path: &str) {
    let at = root.join(path);
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    fs::write(at, path).unwrap();
}

fn open(temp: &tempfile::TempDir) -> Workspace {
    let rules = HideRules {
        folders: vec!["private".to_owned()],
        globs: vec!["*.key".to_owned()],
        ..HideRules::default()
    };
    Workspace::open(&temp.path().join("folder"))
        .unwrap()
        .hiding(&rules)
}

/// The reason word of a refusal, as the wire has it.
fn reason(error: &WorkspaceError) -> &'static str {
    match error {
        WorkspaceError::File(error) => error.reason(),
        WorkspaceError::NotFound { .. } => "not_found",
        WorkspaceError::OddName { .. } => "odd_name",
        WorkspaceError::ConstraintMiss => "constraint",
        _ => "another",
    }
}

/// Holds the column of this system; all that differs is shown at once.
fn hold(cases: &[Case], meet: impl Fn(&str) -> Result<String, WorkspaceError>) {
    let mut wrong = Vec::new();
    for case in cases {
        let wanted = match cfg!(target_os = "macos") {
            true => case.macos,
            false => case.linux,
        };
        let met = meet(&case.given);
        let is_so = match (&met, wanted) {
            (Ok(path), Is(wanted)) => path == wanted,
            (Err(error), Refused(word, words)) => {
                reason(error) == word && error.to_string().contains(words)
            }
            _ => false,
        };
        if !is_so {
            let met = met.map_err(|error| format!("{}: {error}", reason(&error)));
            wrong.push(format!("{:?}: {met:?}, not {wanted:?}", case.given));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const ABSENT: Met = Refused("not_found", "does not exist");
const NO_FILE: Met = Refused("not_a_file", "names a folder where a file is needed");
const ABOVE: Met = Refused("path_confinement", "must not contain \"..\"");
const LINK: Met = Refused("symlink", "links are not followed");
const CASE: Met = Refused(
    "not_found",
    "\"README.md\" is there, whose name differs only in upper and lower case",
);
const FORM: Met = Refused(
    "not_found",
    "\"cafe\\u0301.md\" is there, whose name differs only in how its letters are composed",
);

fn long(length: usize) -> String {
    "x".repeat(length)
}

/// How a path is written: true of reads, lists and writes alike.
#[rustfmt::skip]
fn spellings() -> Vec<Case> {
    let confined = |words| Refused("path_confinement", words);
    vec![
        same("README.md", Is("README.md")),
        same("./README.md", Is("README.md")),
        same("docs/./plan.md", Is("docs/plan.md")),
        same("docs/a b.md", Is("docs/a b.md")),
        same(".env", Is(".env")),
        same(".github/ci.yml", Is(".github/ci.yml")),
        same("", NO_FILE),
        same(".", NO_FILE),
        same("./", NO_FILE),
        same("README.md/", NO_FILE),
        same("README.md/.", NO_FILE),
        same("docs", Refused("not_a_file", "docs is a folder")),
        same("docs/", NO_FILE),
        same("..", ABOVE),
        same("../outside.md", ABOVE),
        same("docs/../README.md", ABOVE),
        same("/README.md", confined("relative to the folder: no leading \"/\"")),
        same("//README.md", confined("no leading \"/\"")),
        same("docs//plan.md", confined("contains an empty component (\"//\")")),
        same("README.md//", confined("an empty component")),
        same("docs/plan\n.md", confined("a control character")),
        same("README.md\0", confined("a control character")),
        same(&long(256), confined("a component of the path is longer than 255 bytes")),
        same(&format!("{}x", "a/".repeat(512)), confined("the path is longer than 1024 bytes")),
        // Letters count in bytes.
        same(&"\u{e9}".repeat(128), confined("longer than 255 bytes")),
        // Nothing is decoded.
        same("%2e%2e", Is("%2e%2e")),
        same("inside.md", LINK),
        same("outside.md", LINK),
        same("dangling.md", LINK),
        same("linked/plan.md", LINK),
        same("second.md", Refused("hard_link", "more than one hard link")),
        // Hidden by the owner, there or not, in any spelling.
        same("private/key.md", ABSENT),
        same("private/nothing.md", ABSENT),
        same("Private/key.md", ABSENT),
        same("docs/a.key", ABSENT),
    ]
}

#[test]
fn path_of_a_read_meets_one_file_or_says_why_not() {
    let temp = folder();
    let workspace = open(&temp);
    let mut cases = spellings();
    #[rustfmt::skip]
    let own = [
        same("nothing.md", ABSENT),
        same(&long(255), ABSENT),
        same("README.md/x", ABSENT),
        same("%2e%2e/outside.md", ABSENT),
        differs("readme.md", CASE, Is("README.md")),
        differs("DOCS/Plan.md", Refused("not_found", "\"docs/plan.md\" is there"), Is("docs/plan.md")),
        same("DOCS/nothing.md", ABSENT),
        same(NFD, Is(NFD)),
        differs(NFC, FORM, Is(NFD)),
        differs("CAF\u{c9}.md", Refused("not_found", "upper"), Is(NFD)),
        // APFS looks at such characters.
        same("READ\u{ad}ME.md", Refused("not_found", "in characters that nobody sees")),
        same("tail.md.", Is("tail.md.")),
        same("tail.md", Refused("not_found", "differs only in dots or spaces at its end")),
        same("README.md ", Refused("not_found", "dots or spaces at its end")),
        same("README.md.", Refused("not_found", "dots or spaces")),
        same(" README.md", ABSENT),
        same("space .md", Is("space .md")),
        same("docs\\plan.md", Refused("not_found", "folders are divided by \"/\"")),
        same("..\\outside.md", Refused("not_found", "folders are divided by \"/\"")),
        same("~/README.md", Refused("not_found", "\"~\" is no home folder")),
    ];
    cases.extend(own);
    if cfg!(target_os = "linux") {
        // Each of two names that differ only so is met by its own bytes.
        cases.extend([
            same("twins/Note.md", Is("twins/Note.md")),
            same("twins/note.md", Is("twins/note.md")),
            same("twins/\u{fc}.md", Is("twins/\u{fc}.md")),
            same("twins/u\u{308}.md", Is("twins/u\u{308}.md")),
            same(
                "twins/NOTE.md",
                Refused("not_found", "\"twins/Note.md\" is there"),
            ),
            same("back\\slash.md", Is("back\\slash.md")),
        ]);
    }
    hold(&cases, |given| {
        let input: ReadInput = serde_json::from_value(json!({ "path": given })).unwrap();
        let read = workspace.read(&input, PathRule::all())?;
        assert_eq!(read.content, read.relative_path.as_str());
        Ok(read.relative_path.to_string())
    });
}

#[test]
fn path_of_a_list_meets_one_folder_or_says_why_not() {
    let temp = folder();
    let workspace = open(&temp);
    let cases = [
        same("", Is(".")),
        same(".", Is(".")),
        same("./", Is(".")),
        same("docs", Is("docs")),
        same("docs/", Is("docs")),
        same("docs/.", Is("docs")),
        same("./docs", Is("docs")),
        same(".github", Is(".github")),
        same("docs//", Refused("path_confinement", "empty component")),
        same("/", Refused("path_confinement", "no leading \"/\"")),
        same("..", ABOVE),
        same("docs/..", ABOVE),
        same("README.md", Refused("not_a_directory", "is a file")),
        same("linked", LINK),
        same("private", ABSENT),
        same("PRIVATE", ABSENT),
        differs(
            "Docs",
            Refused("not_found", "\"docs\" is there, whose name differs only"),
            Is("docs"),
        ),
        same("docs ", Refused("not_found", "\"docs\" is there")),
        same("docs\\x", Refused("not_found", "divided by \"/\"")),
        same("nothing", ABSENT),
    ];
    hold(&cases, |given| {
        let input: ListInput = serde_json::from_value(json!({ "path": given })).unwrap();
        let listed = workspace.list(&input, PathRule::all(), &|| false)?;
        Ok(listed.relative_path.to_string())
    });
}

#[test]
fn path_of_a_write_meets_one_file_or_makes_one_that_cannot_be_mistaken() {
    let temp = folder();
    let workspace = open(&temp);
    let odd = |words| Refused("odd_name", words);
    let mut cases = spellings();
    #[rustfmt::skip]
    let own = [
        same("new.md", Is("new.md")),
        same("new/folder/new.md", Is("new/folder/new.md")),
        same("docs/README.md", Is("docs/README.md")),
        same("README.md/x", Refused("not_a_directory", "README.md is a file")),
        differs(
            "readme.md",
            odd("\"README.md\" is there, whose name differs only in upper and lower case; choose the name that you mean"),
            Is("README.md"),
        ),
        differs("Docs/new.md", odd("\"docs\" is there"), Is("docs/new.md")),
        differs(NFC, odd("\"cafe\\u0301.md\" is there, whose name differs only in how its letters are composed"), Is(NFD)),
        same("READ\u{ad}ME.md", odd("characters that nobody sees")),
        same("README.md ", odd("dots or spaces at its end")),
        same("README.md.", odd("dots or spaces at its end")),
        same("tail.md", odd("\"tail.md.\" is there")),
        same("tail.md.", Is("tail.md.")),
        // Nothing is there that it could be taken for.
        same("new.md ", Is("new.md ")),
        same("new.md.", Is("new.md.")),
        same("docs\\new.md", odd("folders are divided by \"/\"")),
        same("new\\new.md", odd("folders are divided by \"/\"")),
        same("~/new.md", odd("\"~\" is no home folder")),
        same("docs/~", Is("docs/~")),
        same(".plexus-1-2-3.tmp", Refused("path_confinement", "are reserved")),
        // Of what is hidden nothing is told, neither beside it.
        same("Private", ABSENT),
    ];
    cases.extend(own);
    if cfg!(target_os = "linux") {
        cases.extend([
            same("twins/Note.md", Is("twins/Note.md")),
            same("twins/\u{fc}.md", Is("twins/\u{fc}.md")),
            same("twins/NOTE.md", odd("\"twins/Note.md\" is there")),
            same("back\\slash.md", Is("back\\slash.md")),
        ]);
    }
    hold(&cases, |given| {
        let input: WriteInput =
            serde_json::from_value(json!({ "path": given, "content": "x" })).unwrap();
        let plan = workspace.plan(&input, PathRule::all())?;
        Ok(plan.path().to_string())
    });
}

/// A refusal names no file that a grant does not reach.
#[cfg(target_os = "linux")]
#[test]
fn namesake_outside_of_a_grant_is_not_named() {
    let temp = folder();
    let workspace = open(&temp);
    let read = |rule: PathRule<'_>| {
        let input: ReadInput = serde_json::from_value(json!({ "path": "readme.md" })).unwrap();
        workspace.read(&input, rule).unwrap_err().to_string()
    };
    assert!(read(PathRule::all()).contains("README.md"), "the control");
    let only = |path: &plexus_rooted_files::RelPath| path.as_str() == "readme.md";
    assert_eq!(read(PathRule::new(&only)), "readme.md does not exist");
    let write = |rule: PathRule<'_>| {
        let input = json!({"path": "readme.md", "content": "x"});
        let input: WriteInput = serde_json::from_value(input).unwrap();
        workspace.plan(&input, rule).map(|_| ())
    };
    let odd = write(PathRule::all()).unwrap_err();
    assert!(
        matches!(odd, WorkspaceError::OddName { .. }),
        "the control: {odd}"
    );
    write(PathRule::new(&only)).unwrap();
}

#[test]
fn edit_of_a_file_that_is_not_there_names_what_is() {
    let temp = folder();
    let workspace = open(&temp);
    let cases = [
        differs("readme.md", CASE, Is("README.md")),
        differs(NFC, FORM, Is(NFD)),
        same("nothing.md", ABSENT),
    ];
    hold(&cases, |given| {
        let edits = json!([{"find": ".md", "replace": ""}]);
        let input = json!({ "path": given, "edits": edits });
        let input: WriteInput = serde_json::from_value(input).unwrap();
        let plan = workspace.plan(&input, PathRule::all())?;
        Ok(plan.path().to_string())
    });
}
