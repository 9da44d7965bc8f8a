//! The person's files: a small vault and a workspace with known contents.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A file of `tests/fixture/tls`.
#[must_use]
pub fn tls(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixture/tls")
        .join(name)
}

/// A temporary folder that belongs to the person.
pub struct Folder(TempDir);

impl Folder {
    /// An empty folder.
    #[must_use]
    pub fn empty() -> Self {
        Self(TempDir::new().expect("a temporary folder"))
    }
    /// An empty folder below another one.
    #[must_use]
    pub fn empty_in(folder: &Path) -> Self {
        Self(TempDir::new_in(folder).expect("a temporary folder"))
    }
    /// Its path without links in it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.0.path().canonicalize().expect("the folder is there")
    }
    /// Writes a file, with the folders above it.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.0.path().join(path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).expect("a folder");
        }
        std::fs::write(&path, content).expect("a file");
        self
    }
    /// Writes a program, and gives its path.
    #[track_caller]
    pub fn program(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        self.write(name, "");
        let path = self.path().join(name);
        write_program(&path, content);
        path
    }
    /// The text of a file.
    #[must_use]
    #[track_caller]
    pub fn read(&self, path: &str) -> String {
        match std::fs::read_to_string(self.0.path().join(path)) {
            Ok(text) => text,
            Err(error) => panic!("{path}: {error}"),
        }
    }
    /// Whether there is something of that name.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        self.0.path().join(path).symlink_metadata().is_ok()
    }
    /// Every file and folder in it, sorted: what a test compares to see that nothing else was touched.
    #[must_use]
    pub fn tree(&self) -> Vec<String> {
        let mut found = Vec::new();
        collect(self.0.path(), self.0.path(), &mut found);
        found.sort();
        found
    }
}

/// Writes a file that may be run.
///
/// # Panics
/// When it cannot be written.
#[track_caller]
pub fn write_program(path: &Path, content: impl AsRef<[u8]>) {
    std::fs::write(path, content).expect("a program");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(path, mode).expect("its mode");
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        let name = path.strip_prefix(root).expect("below the root");
        found.push(name.to_string_lossy().into_owned());
        if entry.file_type().expect("a type").is_dir() {
            collect(root, &path, found);
        }
    }
}

/// A line that stands in one note only and must turn up nowhere but in answers that were asked for it.
pub const CANARY: &str = "canary-7f3a91: the safe opens with lapwing";
/// What that line gives away. A word, because four digits turn up in a digest or a time by chance.
pub const SAFE_WORD: &str = "lapwing";

/// A vault of a few notes.
#[must_use]
pub fn vault() -> Folder {
    let vault = Folder::empty();
    vault
        .write(".obsidian/app.json", "{}")
        .write(
            "Projects/Plexus.md",
            "---\ntags: [work, gateway]\nstatus: draft\n---\n# Plexus\n\nA gateway. See [[Ideas]] and [[Daily/2026-01-31|that day]].\n",
        )
        .write("Projects/Secret.md", format!("# Secret\n\n{CANARY}\n"))
        .write("Ideas.md", "# Ideas\n\n- one word, one meaning #work\n")
        .write("Daily/2026-01-31.md", "# 31 January\n\nmet nobody\n");
    vault
}

/// A folder of a few files.
#[must_use]
pub fn workspace() -> Folder {
    let workspace = Folder::empty();
    workspace
        .write("notes/today.md", "# Today\n\nwrite the report\n")
        .write("notes/private.md", format!("{CANARY}\n"))
        .write("report.txt", "first line\n");
    workspace
}
