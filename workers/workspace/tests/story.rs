//! The workspace as an agent and its owner meet it: browsed, planned, written.

mod browsing;
mod edits;
mod model;
mod review;
mod store;
mod writing;

use std::{fs, path::PathBuf};

use plexus_rooted_files::{PathRule, RelPath};
use plexus_worker_workspace::{Plan, Workspace, WorkspaceError, WriteInput, WriteOutput};

struct Folder {
    temp: tempfile::TempDir,
}

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self {
            temp: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(folder.path()).unwrap();
        for (path, content) in files {
            folder.file(path, content);
        }
        folder
    }

    fn path(&self) -> PathBuf {
        self.temp.path().join("folder")
    }

    fn outside(&self) -> PathBuf {
        self.temp.path().to_owned()
    }

    fn file(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.path().join(path)).unwrap()
    }

    fn open(&self) -> Workspace {
        Workspace::open(&self.path()).unwrap()
    }
}

fn input(json: serde_json::Value) -> WriteInput {
    serde_json::from_value(json).unwrap()
}

fn plan(workspace: &Workspace, json: serde_json::Value) -> Result<Plan, WorkspaceError> {
    workspace.plan(&input(json), PathRule::all())
}

fn write(workspace: &Workspace, json: serde_json::Value) -> Result<WriteOutput, WorkspaceError> {
    workspace.commit(&plan(workspace, json)?, None)
}

/// The reason word, or the kind, of an error.
fn reason<T: std::fmt::Debug>(result: Result<T, WorkspaceError>) -> String {
    match result {
        Err(WorkspaceError::File(error)) => error.reason().to_owned(),
        Err(WorkspaceError::ConstraintMiss) => "constraint_miss".to_owned(),
        Err(WorkspaceError::PreconditionChanged { reason, .. }) => format!("changed:{reason}"),
        Err(WorkspaceError::TooLarge { .. }) => "too_large".to_owned(),
        Err(WorkspaceError::InvalidInput(_)) => "invalid".to_owned(),
        Err(other) => other.to_string(),
        Ok(value) => format!("gave {value:?}"),
    }
}

/// A rule like the wire's `pathPrefix`, for tests.
fn below(folder: &'static str) -> impl Fn(&RelPath) -> bool {
    move |path| path.components().next() == Some(folder)
}
