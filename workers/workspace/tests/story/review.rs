//! What changes came to, as the owner reviews it.

use std::fs;

use plexus_protocol::AuditId;
use plexus_rooted_files::PathRule;
use plexus_worker_workspace::{Bounds, ChangesInput, ChangesOutput, Keeping, Store, Workspace};
use serde_json::json;

use crate::story::{Folder, input};

/// What a frame of this source holds.
const FRAME: usize = 4 * 1024 * 1024;

/// Writes new files, each with a call of its own, and puts together what that came to.
fn review(folder: &Folder, files: impl Iterator<Item = (String, String)>) -> ChangesOutput {
    let kept = folder.outside().join("store");
    fs::create_dir(&kept).unwrap();
    let bounds = Bounds {
        bytes: 64 << 20,
        entries: 1000,
    };
    let (store, workspace) = (Store::new(&kept, bounds), folder.open());
    let calls = files
        .enumerate()
        .map(|(number, (path, content))| {
            let call = format!("evt_00000000-{number:04x}-8000-8000-000000000000");
            write(&workspace, &store, &call, &path, &content);
            call
        })
        .collect();
    workspace.changes(&store, &ChangesInput { calls }).unwrap()
}

fn write(workspace: &Workspace, store: &Store, call: &str, path: &str, content: &str) {
    let input = input(json!({ "path": path, "content": content }));
    let keeping = Keeping {
        store,
        call: AuditId::parse(call).unwrap(),
        undoes: None,
    };
    let plan = workspace.plan(&input, PathRule::all()).unwrap();
    workspace.commit(&plan, Some(keeping)).unwrap();
}

/// Quotes and line feeds take twice their room in an answer, and so do names of them.
#[test]
fn a_large_review_fits_its_frame_whatever_is_in_it() {
    for piece in ["\"", "plain words"] {
        let line = format!("{}\n", piece.repeat(100));
        let folder = Folder::new(&[]);
        let content = line.repeat(70_000 / line.len() + 1);
        let names = (0..50).map(|number| format!("{number:02}{}", "\"".repeat(250)));
        let output = review(&folder, names.map(|name| (name, content.clone())));
        let sent = serde_json::to_vec(&output).unwrap().len();
        assert!(sent < FRAME, "{sent} of {piece:?}");
        assert_eq!(output.files.len(), 50, "each is named: {piece:?}");
        let shown = output
            .files
            .iter()
            .filter(|file| file.diff.is_some())
            .count();
        assert!(20 < shown && shown < 50, "{shown} of {piece:?}");
        assert!(output.files.iter().all(|file| file.cut), "{piece:?}");
    }
}

#[test]
fn a_small_review_shows_all_of_it() {
    let folder = Folder::new(&[]);
    let files = [("a.md", "one\n"), ("b.md", "\"two\"\n")];
    let files = files.map(|(path, content)| (path.to_owned(), content.to_owned()));
    let output = review(&folder, files.into_iter());
    for (file, line) in output.files.iter().zip(["+one\n", "+\"two\"\n"]) {
        assert!(file.diff.as_ref().unwrap().ends_with(line), "{file:?}");
        assert!(
            !file.cut && file.summary.starts_with("created "),
            "{file:?}"
        );
    }
    assert_eq!(output.files.len(), 2);
}
