//! Random histories against a map: what is planned is what is there afterwards, and what others write is never lost.

use std::{collections::BTreeMap, fs};

use plexus_worker_workspace::WorkspaceError;
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::json;

use crate::story::{Folder, plan};

const PATHS: &[&str] = &["a", "b", "d/a", "d/e/a", "d"];

#[derive(Clone, Debug)]
struct Step {
    path: &'static str,
    content: String,
    /// What somebody else does between plan and commit.
    meanwhile: Option<(&'static str, Option<String>)>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let path = || select(PATHS);
    let content = || "[xy\n]{0,3}";
    let meanwhile = proptest::option::of((path(), proptest::option::of(content())));
    let step = (path(), content(), meanwhile).prop_map(|(path, content, meanwhile)| Step {
        path,
        content,
        meanwhile,
    });
    vec(step, 0..12)
}

fn files(folder: &Folder) -> BTreeMap<String, String> {
    fn below(dir: &std::path::Path, prefix: &str, files: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().into_string().unwrap());
            if entry.file_type().unwrap().is_dir() {
                below(&entry.path(), &format!("{name}/"), files);
            } else {
                files.insert(name, fs::read_to_string(entry.path()).unwrap());
            }
        }
    }
    let mut files = BTreeMap::new();
    below(&folder.path(), "", &mut files);
    files
}

/// Somebody else writes or removes a file, where the tree allows it.
fn interfere(folder: &Folder, path: &str, content: Option<&str>) {
    let at = folder.path().join(path);
    match content {
        Some(content) => {
            if fs::create_dir_all(at.parent().unwrap()).is_ok() {
                let _ = fs::write(at, content);
            }
        }
        None => drop(fs::remove_file(at)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_commit_does_what_was_planned_or_nothing(steps in steps()) {
        let folder = Folder::new(&[]);
        let workspace = folder.open();
        for Step { path, content, meanwhile } in steps {
            let planned = files(&folder);
            let Ok(plan) = plan(&workspace, json!({"path": path, "content": content})) else {
                prop_assert_eq!(files(&folder), planned, "a plan changes nothing");
                continue;
            };
            if let Some((other, theirs)) = &meanwhile {
                interfere(&folder, other, theirs.as_deref());
            }
            let mut expected = files(&folder);
            let was_touched = expected.get(path) != planned.get(path);
            match workspace.commit(&plan, None) {
                Ok(_) => {
                    prop_assert!(!was_touched, "their content would be lost");
                    expected.insert(path.to_owned(), content);
                }
                Err(WorkspaceError::PreconditionChanged { .. }) => prop_assert!(meanwhile.is_some()),
                Err(other) => prop_assert!(false, "{}", other),
            }
            prop_assert_eq!(files(&folder), expected, "that file, and no other");
        }
    }
}
