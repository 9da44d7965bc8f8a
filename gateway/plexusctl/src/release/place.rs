//! Putting a release under a prefix, and keeping the version that was there.
//!
//! ```text
//! check (whose files are there) ▸ stage in libexec/plexus/.new-PID ▸ link the present version into libexec/plexus/previous
//!   ▸ rename file by file ▸ remove what the new version has not ▸ write the list
//! ```
//! Invariants: a file that no install of ours put there as it is now is not replaced; whatever needs space or can fail in
//! the file's content happens before the first rename; from then on a signal waits. The kept version is on the list too, so
//! an uninstall takes it. Each file is replaced by a rename, so a program that runs goes on; between two renames the
//! versions are mixed, which [`place`] heals when it is repeated.

use super::{File, Release, shown};
use crate::{
    installed::{FoundFile, Installed, LIST, List, ListedFile, create, failed},
    owner::Desk,
    programs,
};
use clap::Args;
use nix::sys::signal::{SigSet, Signal};
use plexus_client::{Exit, Stop};
use plexus_protocol::{Digest, state_dir::make_folder};
use semver::Version;
use serde::Serialize;
use std::{
    collections::BTreeSet,
    fs, io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// Where the version before lies, below the prefix, with the same layout.
pub(super) const KEPT: &str = "libexec/plexus/previous";
/// Of folders, however wide the person's mask is: who can write in one replaces its programs.
const FOLDER_MODE: u32 = 0o755;
/// How many files of others a refusal names.
const NAMED: usize = 5;

/// Putting the release that this program lies in under a prefix; for its install.sh.
#[derive(Args)]
pub(crate) struct Place {
    /// Prefix to put it under
    #[arg(long, value_name = "DIR")]
    prefix: PathBuf,
}

/// What was put in place.
#[derive(Serialize)]
pub(crate) struct Placed {
    pub(crate) version: String,
    /// The version that was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) previous: Option<String>,
    prefix: String,
}

impl Placed {
    /// For a person.
    pub(crate) fn said(&self) -> String {
        let before = match &self.previous {
            Some(previous) => format!("; {previous} is kept: plexusctl upgrade --back"),
            None => String::new(),
        };
        format!("Plexus {} is under {}{before}", self.version, self.prefix)
    }
}

/// Runs the command.
pub(crate) fn run(desk: &Desk, asked: &Place) -> Result<Exit, Stop> {
    let prefix =
        std::path::absolute(&asked.prefix).map_err(|error| Stop::path(&asked.prefix, &error))?;
    let release = Release::of_folder(&programs::prefix()?)?;
    let placed = place(&release, &prefix, false)?;
    desk.show(&placed, || placed.said())
}

/// The version that is kept under a prefix.
pub(crate) fn kept(prefix: &Path) -> Result<Release, Stop> {
    let kept = prefix.join(KEPT);
    if !kept.join(LIST).is_file() {
        let why = format!("no earlier version is kept in {}", kept.display());
        return Err(Stop::new(Exit::Failed, "not_found", why)
            .next("plexusctl upgrade --from FILE --downgrade"));
    }
    Release::of_folder(&kept)
}

/// Puts a release under a prefix; an older one than is there only if `may_be_older`.
pub(crate) fn place(release: &Release, prefix: &Path, may_be_older: bool) -> Result<Placed, Stop> {
    let known = Installed::read(prefix)?;
    let known = known.as_ref().map(|installed| &installed.list);
    if let Some(list) = known.filter(|_| !may_be_older) {
        refuse_older(&release.version, list)?;
    }
    refuse_to_replace_others(release, prefix, known)?;
    let mut folders = Folders::new(prefix, known);
    let stage = Path::new(LIST).with_file_name(format!(".new-{}", std::process::id()));
    let staged = stage_all(release, prefix, &stage, &mut folders);
    let placed = staged.and_then(|keeps| {
        let _signals = HeldSignals::new()?;
        swap(release, prefix, &stage, keeps, &mut folders).map(|()| keeps)
    });
    let _ = fs::remove_dir_all(prefix.join(&stage));
    if placed.is_err() {
        folders.remove_empty();
    }
    let previous = known.filter(|_| matches!(placed, Ok(true)));
    placed?;
    Ok(Placed {
        version: release.version.to_string(),
        previous: previous.map(|list| list.version.clone()),
        prefix: prefix.display().to_string(),
    })
}

fn refuse_older(version: &Version, list: &List) -> Result<(), Stop> {
    match Version::parse(&list.version) {
        Ok(is) if *version < is => {
            let why = format!(
                "it is version {version}, older than {is}, which is installed: it may not know all that {is} has written (--downgrade installs it all the same)"
            );
            Err(Stop::new(Exit::Refused, "older_version", why).next("plexusctl upgrade --back"))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// A file that is there is ours if it is as the list has it, or as the release has it.
fn refuse_to_replace_others(
    release: &Release,
    prefix: &Path,
    known: Option<&List>,
) -> Result<(), Stop> {
    let is_ours = |file: &File| {
        let path = prefix.join(&file.path);
        match fs::symlink_metadata(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
            Ok(meta) if meta.is_file() => {
                let bytes = fs::read(&path).map_err(|e| failed(&path, &e))?;
                let digest = Digest::of(&bytes).to_string();
                let is_listed = known.is_some_and(|list| list.has(&file.path, &digest));
                Ok(digest == file.sha256 || is_listed)
            }
            Ok(_) => Ok(false),
            Err(e) => Err(failed(&path, &e)),
        }
    };
    let mut others = Vec::new();
    for file in &release.files {
        if !is_ours(file)? {
            others.push(shown(&prefix.join(&file.path)));
        }
    }
    if others.is_empty() {
        return Ok(());
    }
    let more = others.len().saturating_sub(NAMED);
    others.truncate(NAMED);
    if more > 0 {
        others.push(format!("and {more} more"));
    }
    let why = format!(
        "there are files that Plexus did not put there, or that were changed since: {}",
        others.join(", ")
    );
    Err(Stop::new(Exit::Refused, "not_ours", why)
        .next("move them away, or install under another --prefix"))
}

/// Writes all that is new beside its place, and links what is there now; whether that is another version, to be kept.
fn stage_all(
    release: &Release,
    prefix: &Path,
    stage: &Path,
    folders: &mut Folders<'_>,
) -> Result<bool, Stop> {
    let at = prefix.join(stage);
    folders.make(stage.parent().unwrap_or(stage))?;
    match fs::remove_dir_all(&at) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(&at, &e)),
        Ok(()) | Err(_) => {}
    }
    for file in &release.files {
        folders.make(file.path.parent().unwrap_or(&file.path))?;
        let to = at.join("new").join(&file.path);
        let written = make_parent(&to).and_then(|()| {
            let mode = if file.is_program { 0o755 } else { 0o644 };
            let mut new = create(&to, mode)?;
            new.set_permissions(fs::Permissions::from_mode(mode))?;
            new.write_all(&file.bytes)?;
            new.sync_all()
        });
        written.map_err(|e| failed(&to, &e))?;
    }
    let Some(list) = folders.known else {
        return Ok(false);
    };
    // Only what is still as it was installed: another file under its name is not of that version.
    let listed = list
        .files
        .iter()
        .filter(|file| !file.path.starts_with(KEPT));
    let listed: Vec<_> = listed.collect();
    let is_same = |file: &File| list.has(&file.path, &file.sha256);
    if listed.len() == release.files.len() && release.files.iter().all(is_same) {
        return Ok(false);
    }
    for file in listed {
        let (from, to) = (prefix.join(&file.path), at.join("old").join(&file.path));
        if let FoundFile::Unchanged = file.found(prefix)? {
            make_parent(&to)
                .and_then(|()| link(&from, &to))
                .map_err(|e| failed(&to, &e))?;
        }
    }
    let (from, to) = (prefix.join(LIST), at.join("old").join(LIST));
    make_parent(&to)
        .and_then(|()| link(&from, &to))
        .map_err(|e| failed(&to, &e))?;
    Ok(true)
}

/// The same file under a second name; where the file system has no such thing, a copy.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(drop))
}

fn make_parent(path: &Path) -> io::Result<()> {
    let mut folders = fs::DirBuilder::new();
    folders.recursive(true).mode(FOLDER_MODE);
    path.parent()
        .map_or(Ok(()), |folder| folders.create(folder))
}

/// Everything is staged: exchanges the versions, and writes the list of what is there then.
fn swap(
    release: &Release,
    prefix: &Path,
    stage: &Path,
    keeps: bool,
    folders: &mut Folders<'_>,
) -> Result<(), Stop> {
    let (at, kept) = (prefix.join(stage), prefix.join(KEPT));
    if keeps {
        match fs::remove_dir_all(&kept) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(&kept, &e)),
            Ok(()) | Err(_) => {}
        }
        fs::rename(at.join("old"), &kept).map_err(|e| failed(&kept, &e))?;
    }
    let mut files = match kept.is_dir() {
        true => list_of_kept(&kept, folders)?,
        false => Vec::new(),
    };
    for file in &release.files {
        let to = prefix.join(&file.path);
        fs::rename(at.join("new").join(&file.path), &to).map_err(|e| failed(&to, &e))?;
        files.push(ListedFile {
            path: file.path.clone(),
            sha256: file.sha256.clone(),
        });
    }
    let is_new: BTreeSet<&Path> = release
        .files
        .iter()
        .map(|file| file.path.as_path())
        .collect();
    let gone = folders.known.into_iter().flat_map(|list| &list.files);
    for file in
        gone.filter(|file| !is_new.contains(file.path.as_path()) && !file.path.starts_with(KEPT))
    {
        // What somebody changed since is theirs, and stays.
        let path = prefix.join(&file.path);
        if let Ok(FoundFile::Unchanged) = file.found(prefix) {
            fs::remove_file(&path).map_err(|e| failed(&path, &e))?;
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let changed = changed_folders(&files, folders);
    let list = List::new(&release.version.to_string(), folders.ours(), files);
    let (beside, to) = (at.join("list"), prefix.join(LIST));
    let written = create(&beside, 0o644).and_then(|mut file| {
        file.write_all(&list.bytes().map_err(|stop| io::Error::other(stop.why))?)?;
        file.sync_all()
    });
    let written = written.and_then(|()| fs::rename(&beside, &to));
    written.map_err(|e| failed(&to, &e))?;
    for folder in changed {
        let synced = fs::File::open(&folder).and_then(|folder| folder.sync_all());
        synced.map_err(|e| failed(&folder, &e))?;
    }
    Ok(())
}

/// The folders whose names may have changed, also those of others: each that a file of this version or the last lies below.
fn changed_folders(files: &[ListedFile], folders: &Folders<'_>) -> BTreeSet<PathBuf> {
    let known = folders.known.into_iter().flat_map(|list| &list.files);
    let files = files.iter().chain(known).map(|file| file.path.as_path());
    let below = files.chain([Path::new(LIST)]);
    let below = below.flat_map(|path| path.ancestors().skip(1));
    let all = below.map(|folder| folders.prefix.join(folder));
    all.filter(|folder| folder.is_dir()).collect()
}

/// Every file of the kept version, for the list.
fn list_of_kept(kept: &Path, folders: &mut Folders<'_>) -> Result<Vec<ListedFile>, Stop> {
    let (mut files, mut open) = (Vec::new(), vec![PathBuf::from(KEPT)]);
    while let Some(below) = open.pop() {
        folders.note(&below);
        let folder = folders.prefix.join(&below);
        for entry in fs::read_dir(&folder).map_err(|e| failed(kept, &e))? {
            let entry = entry.map_err(|e| failed(kept, &e))?;
            let path = below.join(entry.file_name());
            if entry.path().is_dir() {
                open.push(path);
                continue;
            }
            let bytes = fs::read(entry.path()).map_err(|e| failed(&entry.path(), &e))?;
            let sha256 = Digest::of(&bytes).to_string();
            files.push(ListedFile { path, sha256 });
        }
    }
    Ok(files)
}

/// The folders under a prefix that are ours to remove: those that this install made, or one before it.
struct Folders<'l> {
    prefix: &'l Path,
    known: Option<&'l List>,
    made: BTreeSet<PathBuf>,
}

impl<'l> Folders<'l> {
    fn new(prefix: &'l Path, known: Option<&'l List>) -> Self {
        let made = BTreeSet::new();
        Self {
            prefix,
            known,
            made,
        }
    }

    /// Makes a folder and those above it, and the prefix.
    fn make(&mut self, below: &Path) -> Result<(), Stop> {
        make_folder(self.prefix, FOLDER_MODE).map_err(|e| failed(self.prefix, &e))?;
        let mut at = PathBuf::new();
        for part in below.components() {
            at.push(part);
            let path = self.prefix.join(&at);
            match fs::DirBuilder::new().mode(FOLDER_MODE).create(&path) {
                Ok(()) => self.note(&at),
                Err(_) if path.is_dir() => {}
                Err(e) => return Err(failed(&path, &e)),
            }
        }
        Ok(())
    }

    fn note(&mut self, below: &Path) {
        self.made.insert(below.to_owned());
    }

    /// Outer ones first.
    fn ours(&self) -> Vec<PathBuf> {
        let before = self.known.into_iter().flat_map(|list| &list.folders);
        let there = before.filter(|folder| self.prefix.join(folder).is_dir());
        let all: BTreeSet<PathBuf> = there.chain(&self.made).cloned().collect();
        all.into_iter().collect()
    }

    fn remove_empty(&self) {
        for folder in self.made.iter().rev() {
            let _ = fs::remove_dir(self.prefix.join(folder));
        }
        let _ = fs::remove_dir(self.prefix);
    }
}

/// The signals that end a command wait until this is dropped.
struct HeldSignals(SigSet);

impl HeldSignals {
    fn new() -> Result<Self, Stop> {
        let held: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
            .into_iter()
            .collect();
        held.thread_block()
            .map_err(|why| Stop::new(Exit::Failed, "system", why.to_string()))?;
        Ok(Self(held))
    }
}

impl Drop for HeldSignals {
    fn drop(&mut self) {
        let _ = self.0.thread_unblock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::{kind, tests::tarball};

    fn release(version: &str, files: &[(&str, &str)]) -> Release {
        let top = format!("plexus-{version}-{}", kind());
        Release::of_tarball(&tarball(version, &top, files, files.len())).expect("a release")
    }

    fn tree(folder: &Path) -> BTreeSet<String> {
        let (mut found, mut open) = (BTreeSet::new(), vec![folder.to_owned()]);
        while let Some(at) = open.pop() {
            for entry in fs::read_dir(&at).expect("a folder").flatten() {
                let path = entry.path();
                if path.is_dir() {
                    open.push(path.clone());
                }
                let below = path.strip_prefix(folder).expect("below");
                found.insert(below.to_string_lossy().into_owned());
            }
        }
        found
    }

    #[test]
    fn version_before_is_kept_and_comes_back_and_uninstall_takes_both() {
        let folder = tempfile::tempdir().expect("a folder");
        let prefix = folder.path().join("a prefix");
        let read = |path: &str| fs::read_to_string(prefix.join(path)).unwrap_or_default();
        let first = release("1.0.0", &[("bin/x", "one"), ("share/gone", "was")]);
        let second = release("1.1.0", &[("bin/x", "two"), ("libexec/plexus/w", "new")]);
        place(&first, &prefix, false).expect("it is placed");
        let once = tree(&prefix);
        let again = place(&first, &prefix, false).expect("a second time");
        assert_eq!((again.previous, tree(&prefix)), (None, once.clone()));
        assert_eq!(read("bin/x"), "one");
        let placed = place(&second, &prefix, false).expect("it is placed");
        assert_eq!(placed.previous.as_deref(), Some("1.0.0"));
        assert_eq!(
            (read("bin/x"), read("share/gone")),
            ("two".to_owned(), String::new())
        );
        assert_eq!(read("libexec/plexus/previous/bin/x"), "one");

        let older = place(&first, &prefix, false).err().expect("it is refused");
        assert_eq!(older.code, "older_version");
        let back = kept(&prefix).expect("one is kept");
        place(&back, &prefix, true).expect("it is placed");
        assert_eq!(
            (read("bin/x"), read("share/gone")),
            ("one".to_owned(), "was".to_owned())
        );
        assert!(!prefix.join("libexec/plexus/w").exists());
        assert_eq!(read("libexec/plexus/previous/bin/x"), "two");
        assert!(tree(&prefix).is_superset(&once));

        let installed = Installed::read(&prefix)
            .expect("a list")
            .expect("there is one");
        assert_eq!(installed.remove().expect("it goes"), Vec::<PathBuf>::new());
        assert_eq!(tree(&prefix), BTreeSet::new());
    }

    #[test]
    fn file_of_somebody_else_stops_it_before_anything_is_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let prefix = folder.path();
        let theirs = prefix.join("bin/x");
        fs::create_dir(prefix.join("bin")).expect("a folder");
        let new = release("1.0.0", &[("bin/w", "one"), ("bin/x", "one")]);
        let refused = |word: &str| {
            let before = tree(prefix);
            let stop = place(&new, prefix, false).err().expect("it is refused");
            assert_eq!(stop.code, "not_ours");
            assert!(stop.why.contains(word), "{}", stop.why);
            assert_eq!(tree(prefix), before);
        };
        fs::write(&theirs, "theirs").expect("a file");
        refused("bin/x");
        fs::remove_file(&theirs).expect("it goes");
        std::os::unix::fs::symlink("/nonexistent", &theirs).expect("a link");
        refused("bin/x");
        fs::remove_file(&theirs).expect("it goes");
        place(&new, prefix, false).expect("it is placed");
        fs::write(prefix.join("bin/w"), "changed since").expect("a file");
        refused("bin/w");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn release_that_is_placed_survives_a_power_cut() {
        use plexus_power_cut::{Disk, holds};
        let prefix = |top: &Path| top.join("new/prefix");
        let first = release("1.0.0", &[("bin/x", "one"), ("share/gone", "was")]);
        let second = release("1.1.0", &[("bin/x", "two"), ("libexec/plexus/w", "new")]);
        let placed = |top: &Path, release: &Release| {
            place(release, &prefix(top), false).expect("it is placed");
        };
        let has = |top: &Path, version: &str, all: &[(&str, Option<&str>)]| {
            let list = Installed::read(&prefix(top)).ok().flatten();
            let read = |path: &str| fs::read_to_string(prefix(top).join(path)).ok();
            let is_so = |(path, text): &(&str, Option<&str>)| read(path).as_deref() == *text;
            list.is_some_and(|is| is.list.version == version) && all.iter().all(is_so)
        };
        let is_first = |top: &Path| {
            let files = [("bin/x", Some("one")), ("share/gone", Some("was"))];
            has(top, "1.0.0", &files)
        };
        let act = |disk: &Disk, ()| placed(&disk.path(), &first);
        holds(|_| (), act, is_first, &[]);
        // Folders of somebody else's, such as ~/.local/bin.
        let theirs = |top: &Path| fs::create_dir_all(prefix(top).join("bin")).expect("a folder");
        holds(theirs, act, is_first, &[]);

        let is_second = |top: &Path| {
            let files = [
                ("bin/x", Some("two")),
                ("libexec/plexus/w", Some("new")),
                ("share/gone", None),
            ];
            let before = kept(&prefix(top)).ok();
            has(top, "1.1.0", &files) && before.is_some_and(|is| is.version == first.version)
        };
        let act = |disk: &Disk, ()| placed(&disk.path(), &second);
        // Its own folder and libexec hold the same names as before.
        holds(|top| placed(top, &first), act, is_second, &[4, 6]);
    }

    #[test]
    fn placement_that_cannot_be_staged_leaves_no_trace() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("share"), "a file where a folder goes").expect("a file");
        let before = tree(folder.path());
        let new = release("1.0.0", &[("bin/x", "one"), ("share/doc/y", "one")]);
        place(&new, folder.path(), false).err().expect("it fails");
        assert!(tree(folder.path()).contains("share"));
        assert_eq!(tree(folder.path()), before);
    }
}
