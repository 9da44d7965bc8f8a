//! What a copy begins with beyond the folder: what earlier runs changed.
//!
//! ```text
//! copy of the folder ─▶ the change sets, in their order ─▶ the copy of this run
//! ```
//! Invariants: a change set counts for the agent alone whose run made it; what the owner hides is put onto no copy; two
//! change sets that make different things of one file are an error, and no copy.
//!
//! Must not know: which tasks there are, who needs whom.

use crate::{
    change_set::{FileChange, SetError, Sets},
    snapshot::{FileFacts, Snapshot, leave_free},
};
use plexus_rooted_files::{RelPath, Root};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

/// The change sets that a run begins with.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Onto {
    /// Their ids, in the order in which they count.
    pub(crate) sets: Vec<String>,
    /// Whether the run's own change set has what they changed, too.
    pub(crate) join: bool,
}

/// Why a copy cannot begin with them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OntoError {
    #[error(transparent)]
    Set(#[from] SetError),
    #[error(
        "{earlier} and {later} make different things of {path}: have one of the two runs begin with the other's change set"
    )]
    Conflict {
        path: RelPath,
        earlier: String,
        later: String,
    },
    #[error("the copy: {0}")]
    Copy(#[from] io::Error),
}

impl Onto {
    /// Puts them onto a copy that was just made of `folder`, of which `before` says what it held. From then on `before` says
    /// what the run's own change set counts from. Answers with the files that somebody changed in the folder since: the copy
    /// has what the earlier run made of them.
    ///
    /// # Errors
    /// [`OntoError`]; the copy is of no use then.
    pub(crate) fn put(
        &self,
        (sets, agent): (&Sets, Option<&str>),
        folder: &Root,
        copy: &Path,
        before: &mut Snapshot,
    ) -> Result<Vec<RelPath>, OntoError> {
        let made = self.made(sets, agent, folder)?;
        // What goes makes room for a folder of its name.
        let (gone, there): (Vec<_>, Vec<_>) = made
            .iter()
            .partition(|(_, (change, _))| change.after.is_none());
        let mut changed = Vec::new();
        for (path, (change, set)) in gone.into_iter().chain(there) {
            let now = before.files.get(path).copied();
            if now != change.after {
                if now != change.before {
                    changed.push(path.clone());
                }
                let at = copy.join(path.as_str());
                match change.after {
                    None => removed(copy, &at)?,
                    Some(after) => {
                        let content = sets.content(set, &after.digest)?;
                        written(copy, &at, &content.ok_or(SetError::DamagedContent)?, after)?;
                    }
                }
            }
            let counts = match (self.join, now == change.after) {
                (true, false) => change.before,
                (true, true) | (false, _) => change.after,
            };
            match counts {
                Some(facts) => before.files.insert(path.clone(), facts),
                None => before.files.remove(path),
            };
        }
        Ok(changed)
    }

    /// What all of them together make of each file, with the change set that has its content.
    fn made<'s>(
        &'s self,
        sets: &Sets,
        agent: Option<&str>,
        folder: &Root,
    ) -> Result<BTreeMap<RelPath, (FileChange, &'s str)>, OntoError> {
        let mut made = BTreeMap::<RelPath, (FileChange, &str)>::new();
        for id in &self.sets {
            let id = id.as_str();
            let set = sets.get(id)?;
            let of = set.origin.as_ref().map(|origin| origin.agent.as_deref());
            if of != Some(agent) {
                return Err(SetError::Unknown.into());
            }
            for change in set.files {
                if folder.is_hidden(&change.path) {
                    continue;
                }
                match made.get_mut(&change.path) {
                    None => drop(made.insert(change.path.clone(), (change, id))),
                    Some((earlier, of)) if earlier.after == change.before => {
                        (earlier.after, *of) = (change.after, id);
                    }
                    Some((earlier, _)) if earlier.after == change.after => {}
                    Some((_, of)) => {
                        return Err(OntoError::Conflict {
                            path: change.path,
                            earlier: (*of).to_owned(),
                            later: id.to_owned(),
                        });
                    }
                }
            }
        }
        Ok(made)
    }
}

fn removed(copy: &Path, at: &Path) -> io::Result<()> {
    match fs::remove_file(at) {
        // The folder has it no more either.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        removed => removed?,
    }
    // A file may have taken the place of a folder that this leaves empty.
    let above = at.ancestors().skip(1).take_while(|folder| *folder != copy);
    let _ = above.map(fs::remove_dir).take_while(Result::is_ok).count();
    Ok(())
}

/// Writes a file of a copy, on which no program has worked yet: nothing in it is a link.
fn written(copy: &Path, at: &Path, content: &[u8], facts: FileFacts) -> Result<(), OntoError> {
    leave_free(copy, facts.bytes)?;
    if let Some(folder) = at.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    // Anew, with the mode that it is to have.
    match fs::remove_file(at) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        removed => removed?,
    }
    let mode = if facts.executable { 0o700 } else { 0o600 };
    let mut options = OpenOptions::new();
    let options = options.write(true).create_new(true).mode(mode);
    Ok(options.open(at)?.write_all(content)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        change_set::{ChangeSet, Origin},
        ignored::IgnoreTexts,
    };
    use plexus_protocol::Timestamp;
    use plexus_rooted_files::{HiddenPaths, HideRules, Policy};
    use std::sync::Arc;

    /// A folder, and change sets that runs of `cc` made of it.
    struct Scene {
        dir: tempfile::TempDir,
        sets: Sets,
    }

    impl Scene {
        fn of(files: &[(&str, &str)]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let sets = Sets::in_folder(dir.path());
            let scene = Self { dir, sets };
            scene.write("folder", files);
            scene
        }

        fn write(&self, place: &str, files: &[(&str, &str)]) {
            let place = self.dir.path().join(place);
            let _ = fs::remove_dir_all(&place);
            fs::create_dir(&place).unwrap();
            for (path, text) in files {
                fs::write(place.join(path), text).unwrap();
            }
        }

        fn root(&self, place: &str) -> Root {
            Root::open(&self.dir.path().join(place), Policy::default()).unwrap()
        }

        fn snapshot(&self, place: &str) -> Snapshot {
            let none = IgnoreTexts::default();
            Snapshot::of_copy(&self.root(place), &none, &|| false).unwrap()
        }

        /// The change set of a run whose copy became `files`.
        fn made(&self, files: &[(&str, &str)]) -> String {
            self.write("made", files);
            let copy = self.dir.path().join("made");
            let (before, after) = (self.snapshot("folder"), self.snapshot("made"));
            let mut set = ChangeSet::between(&before, &after, &copy).unwrap();
            set.origin = Some(Origin {
                agent: Some("cc".into()),
                made: Timestamp(1),
                conversation: None,
                call: None,
                prompt: String::new(),
                onto: Onto::default(),
                unfinished: false,
                limit: None,
            });
            let (folder, made) = (self.root("folder"), self.root("made"));
            self.sets.keep(&set, &folder, &made).unwrap()
        }

        /// A copy with these change sets, what counts as held, and what was changed meanwhile.
        fn put(
            &self,
            sets: &[&String],
            join: bool,
            agent: &str,
            folder: &Root,
        ) -> Result<(Snapshot, Vec<RelPath>), OntoError> {
            let held: Vec<_> = self.snapshot("folder").files.into_keys().collect();
            let texts: Vec<_> = held
                .iter()
                .map(|path| {
                    let at = self.dir.path().join("folder").join(path.as_str());
                    (path.as_str(), fs::read_to_string(at).unwrap())
                })
                .collect();
            let files: Vec<_> = texts.iter().map(|(path, text)| (*path, &**text)).collect();
            self.write("copy", &files);
            let mut before = self.snapshot("folder");
            let onto = Onto {
                sets: sets.iter().map(|set| (*set).clone()).collect(),
                join,
            };
            let copy = self.dir.path().join("copy");
            let of = (&self.sets, Some(agent));
            let changed = onto.put(of, folder, &copy, &mut before)?;
            Ok((before, changed))
        }

        fn read(&self, path: &str) -> Option<String> {
            fs::read_to_string(self.dir.path().join("copy").join(path)).ok()
        }
    }

    #[test]
    fn copy_has_what_the_sets_made_and_counts_from_there() {
        let scene = Scene::of(&[("a", "one"), ("gone", "x")]);
        let set = scene.made(&[("a", "two"), ("new", "n")]);
        let (folder, held) = (scene.root("folder"), scene.snapshot("folder"));
        let (before, changed) = scene.put(&[&set], false, "cc", &folder).unwrap();
        assert_eq!(
            ["a", "new", "gone"].map(|path| scene.read(path)),
            [Some("two".into()), Some("n".into()), None]
        );
        assert_eq!(
            (before.files, changed),
            (scene.snapshot("copy").files, vec![])
        );
        // Joined, the next change set has these too.
        let (before, _) = scene.put(&[&set], true, "cc", &folder).unwrap();
        assert_eq!(before.files, held.files);
        // What the owner changed meanwhile is as the run made it, and is named; joined, it counts from what the run found.
        scene.write("folder", &[("a", "mine"), ("gone", "x")]);
        let (before, changed) = scene.put(&[&set], true, "cc", &folder).unwrap();
        assert_eq!(changed, [RelPath::parse("a").unwrap()]);
        assert_eq!(
            (before.files, scene.read("a")),
            (held.files, Some("two".into()))
        );
    }

    #[test]
    fn sets_of_others_hidden_files_and_two_versions_are_left_out() {
        let scene = Scene::of(&[("a", "one")]);
        let set = scene.made(&[("a", "two"), ("secret", "s")]);
        let other = scene.made(&[("a", "three")]);
        let folder = scene.root("folder");
        let refused = scene.put(&[&set], false, "another", &folder);
        assert!(matches!(refused, Err(OntoError::Set(SetError::Unknown))));
        let refused = scene.put(&[&set, &other], false, "cc", &folder);
        assert!(matches!(refused, Err(OntoError::Conflict { path, .. }) if path.as_str() == "a"));
        let rules = HideRules {
            globs: vec!["secret".into()],
            ..HideRules::default()
        };
        let hiding = scene
            .root("folder")
            .hiding(Arc::new(HiddenPaths::new(&rules)));
        scene.put(&[&set], false, "cc", &hiding).unwrap();
        assert_eq!(
            (scene.read("a"), scene.read("secret")),
            (Some("two".into()), None)
        );
    }
}
