//! Vaults to read: a small one written by hand, and a large one that is generated.

use std::{fs, os::unix::fs::symlink, path::Path};

use plexus_rooted_files::{PathRule, RelPath};
use plexus_worker_obsidian::{
    Answer, FolderOutput, NoteOutput, ReadInput, ReadOutput, SearchInput, SearchOutput, Vault,
    VaultError,
};

pub(crate) struct TestVault {
    temp: tempfile::TempDir,
}

impl TestVault {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let vault = Self {
            temp: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(vault.path()).unwrap();
        for (path, content) in files {
            vault.file(path, content);
        }
        vault
    }

    /// `count` notes in nested folders, with Unicode names, tags, properties, links whole and broken, and links of the
    /// file system that lead out.
    pub(crate) fn generated(count: usize) -> Self {
        let vault = Self::new(&[
            (".obsidian/app.json", "{\"zebra\": 1}"),
            (".trash/zebra.md", "zebra #rare"),
        ]);
        let folders = [
            "Projects",
            "Projects/Über",
            "日記/2024",
            "Areas/Health/Long Term",
            "Inbox",
        ];
        for number in 0..count {
            let folder = folders[number % folders.len()];
            let next = (number * 7 + 1) % count;
            let rare = if number % 1000 == 7 {
                "The zebra crosses. #rare/bird"
            } else {
                "Nothing here."
            };
            let body = format!(
                "---\ntags: [note, group/g{}]\nstatus: {}\nnumber: {number}\n---\n# Note {number}\n\n{rare}\n\n\
                 See [[Note {next}]] and [[Missing {number}]], #inline/t{}.\n\n{}\n",
                number % 10,
                if number % 3 == 0 { "open" } else { "done" },
                number % 5,
                "Lorem ipsum dolor sit amet, consectetur adipiscing elit. ".repeat(40),
            );
            vault.file(&format!("{folder}/Note {number}.md"), &body);
        }
        fs::write(vault.temp.path().join("outside.md"), "zebra outside").unwrap();
        symlink(
            vault.temp.path().join("outside.md"),
            vault.path().join("Inbox/out.md"),
        )
        .unwrap();
        symlink(vault.temp.path(), vault.path().join("Projects/up")).unwrap();
        vault
    }

    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.temp.path().join("vault")
    }

    pub(crate) fn file(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn link(&self, target: impl AsRef<Path>, path: &str) {
        symlink(target, self.path().join(path)).unwrap();
    }

    pub(crate) fn open(&self) -> Vault {
        Vault::open(&self.path()).unwrap()
    }
}

pub(crate) fn ask(path: &str) -> ReadInput {
    ReadInput {
        path: Some(path.to_owned()),
        ..ReadInput::default()
    }
}

pub(crate) fn read(vault: &Vault, path: &str) -> Result<Answer<ReadOutput>, VaultError> {
    vault.read(&ask(path), PathRule::all(), &|| false)
}

pub(crate) fn read_below(
    vault: &Vault,
    folder: &str,
    path: &str,
) -> Result<Answer<ReadOutput>, VaultError> {
    vault.read(&ask(path), PathRule::new(&below(folder)), &|| false)
}

/// A rule like the wire's `pathPrefix`, for tests.
pub(crate) fn below(folder: &str) -> impl Fn(&RelPath) -> bool {
    let components: Vec<String> = folder.split('/').map(str::to_owned).collect();
    move |path| {
        path.components()
            .take(components.len())
            .eq(components.iter().map(String::as_str))
    }
}

pub(crate) fn note(answer: Answer<ReadOutput>) -> NoteOutput {
    match answer.output {
        ReadOutput::File(note) => note,
        ReadOutput::Dir(folder) => panic!("a folder: {folder:?}"),
    }
}

pub(crate) fn folder(answer: Answer<ReadOutput>) -> FolderOutput {
    match answer.output {
        ReadOutput::Dir(folder) => folder,
        ReadOutput::File(note) => panic!("a note: {note:?}"),
    }
}

/// The reason word, or the kind, of an error.
pub(crate) fn reason<T: std::fmt::Debug>(result: Result<Answer<T>, VaultError>) -> String {
    match result {
        Err(VaultError::File(error)) => error.reason().to_owned(),
        Err(VaultError::ConstraintMiss) => "constraint_miss".to_owned(),
        Err(other) => other.to_string(),
        Ok(answer) => format!("gave {answer:?}"),
    }
}

pub(crate) fn search(vault: &Vault, input: serde_json::Value) -> SearchOutput {
    search_below(vault, input, PathRule::all()).unwrap().output
}

pub(crate) fn search_below(
    vault: &Vault,
    input: serde_json::Value,
    rule: PathRule<'_>,
) -> Result<Answer<SearchOutput>, VaultError> {
    let input: SearchInput = serde_json::from_value(input).unwrap();
    vault.search(&input, rule, &|| false)
}
