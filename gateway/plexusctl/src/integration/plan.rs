//! What would change in which file: made without touching anything, shown, and then written.

use super::{
    Finding, IntegrationPlan,
    change::{Change, ChangeKind, Removed, block_of},
    json_text, toml_text,
};
use crate::installed::replace;
use plexus_client::{Exit, Stop};
use plexus_protocol::{Digest, state_dir::sync_name};
use similar::TextDiff;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// One thing that is wanted in a file.
#[derive(Clone, Debug)]
pub(super) enum Want {
    /// A file of ours.
    File {
        path: PathBuf,
        text: String,
        mode: u32,
    },
    /// A block between the markers in a file of the person's.
    Block { path: PathBuf, text: String },
    /// A word in a list of a JSON file.
    JsonRule {
        path: PathBuf,
        at: &'static [&'static str],
        value: String,
    },
    /// A key in a TOML file.
    TomlKey {
        path: PathBuf,
        at: Vec<String>,
        value: String,
    },
}

/// One file, before and after.
#[derive(Clone, Debug)]
pub(crate) struct Edit {
    /// The file itself, links followed.
    pub(crate) path: PathBuf,
    /// Its text now, where it is there.
    pub(crate) before: Option<String>,
    /// Its text then; nothing where it goes.
    pub(crate) after: Option<String>,
    mode: u32,
}

impl Edit {
    /// Whether it changes anything.
    pub(crate) fn changes(&self) -> bool {
        self.before != self.after
    }
    /// Checks that the file is as it was looked at, and so as it was shown.
    ///
    /// # Errors
    /// A stop where it is not, or cannot be read.
    fn unchanged(&self) -> Result<(), Stop> {
        let now = match fs::read_to_string(&self.path) {
            Ok(text) => Some(text),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            // What is no text any more is not what was looked at either.
            Err(e) if e.kind() == std::io::ErrorKind::InvalidData => return Err(self.changed()),
            Err(e) => return Err(self.cannot_write(&e)),
        };
        match now == self.before {
            true => Ok(()),
            false => Err(self.changed()),
        }
    }
    fn changed(&self) -> Stop {
        let why = format!("{} has changed since it was shown", self.path.display());
        Stop::new(Exit::Failed, "changed_meanwhile", why).next("run the same command again")
    }
    fn cannot_write(&self, e: &std::io::Error) -> Stop {
        let why = format!("{}: {e}", self.path.display());
        Stop::new(Exit::Failed, "cannot_write", why)
            .next("fix that, then run the same command again")
    }
    /// One word for it.
    pub(crate) fn word(&self) -> &'static str {
        match (&self.before, &self.after) {
            (None, _) => "new",
            (_, None) => "removed",
            _ => "changed",
        }
    }
    /// The lines that come and go, marked, with what stands around them.
    pub(crate) fn diff(&self) -> String {
        let (before, after) = (
            self.before.as_deref().unwrap_or_default(),
            self.after.as_deref().unwrap_or_default(),
        );
        let diff = TextDiff::from_lines(before, after);
        let hunks = diff.unified_diff().context_radius(1).to_string();
        hunks
            .lines()
            .filter(|line| !line.starts_with("\\ No newline"))
            .map(|line| format!("    {line}\n"))
            .collect()
    }
}

/// Edits of several files.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    edits: Vec<Edit>,
}

impl Plan {
    /// Takes back what an earlier installation wrote, then adds what is wanted now. Gives the changes for the record,
    /// and what could not be done because the person chose otherwise.
    pub(crate) fn renew(
        earlier: &[Change],
        wanted: &IntegrationPlan,
    ) -> Result<(Self, Vec<Change>, Vec<Finding>), Stop> {
        let mut plan = Self::default();
        plan.take_back(earlier)?;
        let (mut changes, mut refused) = (Vec::new(), Vec::new());
        for want in &wanted.changes {
            match plan.add(want)? {
                Added::Ours(change) => changes.push(change),
                Added::Theirs => {}
                Added::Refused(finding) => refused.push(finding),
            }
        }
        Ok((plan, changes, refused))
    }

    /// What would change.
    pub(crate) fn edits(&self) -> impl Iterator<Item = &Edit> {
        self.edits.iter().filter(|edit| edit.changes())
    }

    /// Takes changes out again, the last first; gives those that a person edited.
    pub(super) fn take_back(&mut self, changes: &[Change]) -> Result<Vec<Finding>, Stop> {
        let mut left = Vec::new();
        for change in changes.iter().rev() {
            let edit = self.at(&change.path)?;
            let Some(text) = edit.after.as_deref() else {
                continue;
            };
            match change.remove_from(text) {
                Removed::Yes(rest) => edit.after = rest,
                Removed::Gone => {}
                Removed::Edited => left.push(change.finding("left, because it was edited")),
            }
        }
        Ok(left)
    }

    fn add(&mut self, want: &Want) -> Result<Added, Stop> {
        let path = match want {
            Want::File { path, .. }
            | Want::Block { path, .. }
            | Want::JsonRule { path, .. }
            | Want::TomlKey { path, .. } => path,
        };
        let unfit = |e: json_text::Unfit| {
            Stop::new(
                Exit::Failed,
                "cannot_edit",
                format!("{}: {e}", path.display()),
            )
            .next("fix the file, then run the same command again")
        };
        let edit = self.at(path)?;
        let text = edit.after.clone().unwrap_or_default();
        let what = match want {
            Want::File { text, mode, .. } => {
                // What we wrote was taken back above: what is still there, and is not this, is the person's.
                if edit.after.as_ref().is_some_and(|there| there != text) {
                    return Err(theirs(&edit.path));
                }
                let was = edit.before.as_deref().filter(|before| before != text);
                let was = was.map(|before| Digest::of(before.as_bytes()));
                edit.after = Some(text.clone());
                edit.mode = *mode;
                ChangeKind::File {
                    digest: Digest::of(text.as_bytes()),
                    was,
                }
            }
            Want::Block { text: block, .. } => {
                let (rest, lead) = match block_of(&text) {
                    // Somebody's older block: it is replaced where it stands.
                    Some((start, end)) => {
                        let rest = format!("{}{block}{}", &text[..start], &text[end..]);
                        (rest, String::new())
                    }
                    None => {
                        let lead = match text.as_str() {
                            "" => "",
                            text if text.ends_with('\n') => "\n",
                            _ => "\n\n",
                        };
                        (format!("{text}{lead}{block}"), lead.to_owned())
                    }
                };
                edit.after = Some(rest);
                ChangeKind::Block {
                    digest: Digest::of(block.as_bytes()),
                    lead,
                }
            }
            Want::JsonRule { at, value, .. } => {
                if json_text::has(&text, at, value) {
                    return Ok(Added::Theirs);
                }
                let (next, made) = json_text::add(&text, at, value).map_err(unfit)?;
                edit.after = Some(next);
                ChangeKind::JsonRule {
                    at: at.iter().map(|name| (*name).to_owned()).collect(),
                    value: value.clone(),
                    made,
                }
            }
            Want::TomlKey { at, value, .. } => {
                if toml_text::has(&text, at, value) {
                    return Ok(Added::Theirs);
                }
                let Some((next, made)) = toml_text::set(&text, at, value).map_err(unfit)? else {
                    return Ok(Added::Refused(Finding {
                        path: path.clone(),
                        what: format!("{} stays as it is: you chose it", at.join(".")),
                    }));
                };
                edit.after = Some(next);
                ChangeKind::TomlKey {
                    at: at.clone(),
                    value: value.clone(),
                    made,
                }
            }
        };
        let path = edit.path.clone();
        Ok(Added::Ours(Change { path, what }))
    }

    /// The edit of the file at `path`, read when it is first named.
    fn at(&mut self, path: &Path) -> Result<&mut Edit, Stop> {
        // A link to the real file or folder, as people who keep such files in a repository have it, stays a link: what is
        // shown, written and recorded is the place that it leads to.
        let path = resolved(path)?;
        if let Some(place) = self.edits.iter().position(|edit| edit.path == path) {
            return Ok(&mut self.edits[place]);
        }
        let (before, mode) = match fs::read_to_string(&path) {
            Ok(text) => {
                let mode = fs::metadata(&path).map(|about| about.permissions().mode());
                (Some(text), mode.unwrap_or(0o644) & 0o777)
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => (None, 0o644),
            Err(e) => {
                let why = format!("{}: {e}", path.display());
                return Err(Stop::new(Exit::Failed, "cannot_edit", why));
            }
        };
        self.edits.push(Edit {
            path,
            after: before.clone(),
            before,
            mode,
        });
        Ok(self
            .edits
            .last_mut()
            .unwrap_or_else(|| unreachable!("just pushed")))
    }

    /// The folders that have to be made for it, outermost first.
    pub(crate) fn folders(&self) -> Vec<PathBuf> {
        let mut missing = Vec::new();
        for edit in self.edits().filter(|edit| edit.after.is_some()) {
            let mut above: Vec<_> = edit
                .path
                .ancestors()
                .skip(1)
                .take_while(|folder| !folder.exists())
                .map(Path::to_owned)
                .collect();
            above.reverse();
            for folder in above {
                if !missing.contains(&folder) {
                    missing.push(folder);
                }
            }
        }
        missing
    }

    /// Checks that every file is as it was shown: the person may have taken their time.
    ///
    /// # Errors
    /// A stop that names the first one that is not.
    pub(crate) fn unchanged(&self) -> Result<(), Stop> {
        self.edits().try_for_each(Edit::unchanged)
    }

    /// Writes every file, each by rename, durably, and only over what was looked at.
    ///
    /// # Errors
    /// A stop that names the first file that could not be written, or has changed; those before it are written.
    pub(crate) fn write(&self) -> Result<(), Stop> {
        let mut edits = self.edits();
        edits.try_for_each(|edit| put(edit).map_err(|stop| stop.done(plexus_client::Done::Unknown)))
    }
}

/// Where `path` really is: links in it are followed as far as it is there, and the rest is what will be made.
///
/// # Errors
/// A stop for a link that leads nowhere, and for what cannot be looked at.
pub(super) fn resolved(path: &Path) -> Result<PathBuf, Stop> {
    let fail = |at: &Path, why: &str| {
        let why = format!("{}: {why}", at.display());
        Stop::new(Exit::Failed, "cannot_edit", why)
            .next("fix that, then run the same command again")
    };
    for above in path.ancestors() {
        match above.canonicalize() {
            Ok(real) => {
                let rest = path.strip_prefix(above).unwrap_or(Path::new(""));
                return Ok(real.components().chain(rest.components()).collect());
            }
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(fail(above, &e.to_string()));
            }
            Err(_) if above.symlink_metadata().is_ok() => {
                return Err(fail(above, "it is a link that leads nowhere"));
            }
            Err(_) => {}
        }
    }
    Ok(path.to_owned())
}

/// A file of the person's where one of ours belongs: it is not replaced, and not removed later.
fn theirs(path: &Path) -> Stop {
    let why = format!(
        "{} is there and is not as Plexus wrote it: it may be yours",
        path.display()
    );
    let away = plexus_client::shell::quote(&path.display().to_string());
    Stop::new(Exit::Failed, "not_ours", why).next(format!(
        "mv {away} {away}.mine, then run the same command again"
    ))
}

/// What became of a want.
enum Added {
    /// It was added, and is ours to take back.
    Ours(Change),
    /// It was there: the person's.
    Theirs,
    /// The person chose otherwise.
    Refused(Finding),
}

fn put(edit: &Edit) -> Result<(), Stop> {
    let fail = |e: std::io::Error| edit.cannot_write(&e);
    let Some(text) = &edit.after else {
        edit.unchanged()?;
        let removed = fs::remove_file(&edit.path).and_then(|()| sync_name(&edit.path));
        return removed.map_err(fail);
    };
    // As late as can be: an agent writes into its own files too.
    replace(&edit.path, text, edit.mode, fail, || edit.unchanged())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use plexus_power_cut::{Disk, holds};

    #[test]
    fn what_is_written_or_removed_survives_a_power_cut() {
        let path = |top: &Path| top.join(".agent/settings.toml");
        let edited = |top: &Path, before: Option<&str>, after: Option<&str>| {
            let edit = Edit {
                path: path(top),
                before: before.map(str::to_owned),
                after: after.map(str::to_owned),
                mode: 0o600,
            };
            let plan = Plan { edits: vec![edit] };
            plan.write().expect("it is written");
        };
        let theirs = |top: &Path| {
            fs::create_dir(top.join(".agent")).expect("a folder");
            fs::write(path(top), "old").expect("a file");
        };
        let is_new = |top: &Path| fs::read(path(top)).is_ok_and(|text| text == b"new");
        let make = |disk: &Disk, ()| edited(&disk.path(), None, Some("new"));
        holds(|_| (), make, is_new, &[]);
        let change = |disk: &Disk, ()| edited(&disk.path(), Some("old"), Some("new"));
        holds(theirs, change, is_new, &[]);
        let remove = |disk: &Disk, ()| edited(&disk.path(), Some("old"), None);
        holds(theirs, remove, |top| !path(top).exists(), &[]);
    }
}
