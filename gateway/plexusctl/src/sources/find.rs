//! Programs that a kind of source needs and the owner has not named: those that are installed here.
//!
//! ```text
//! PATH ─▶ the command ─┬▶ it is native ──────────────────▶ found
//!                      └▶ npm's script ─▶ node_modules ──▶ the packages with the native one
//! home ─▶ where installers put it ───────────────────────▶ found
//! ```
//! Invariants: a relative folder of PATH is left out; a script is never offered; each file is offered once.
//!
//! Must not know: what the program is for.

use crate::doctor;
use plexus_owner::kinds::ProgramPlaces;
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::File,
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long a program may take to say its version.
const VERSION_WITHIN: Duration = Duration::from_secs(10);
/// What native programs begin with: Linux, macOS, macOS for several processors.
const NATIVE: [[u8; 4]; 3] = [
    *b"\x7fELF",
    [0xcf, 0xfa, 0xed, 0xfe],
    [0xca, 0xfe, 0xba, 0xbe],
];

/// Where a program of a kind of source may lie.
pub(super) struct Find(pub(super) ProgramPlaces);

/// A program that is there.
pub(super) struct Found {
    pub(super) path: PathBuf,
    /// What it says of itself, or why it says nothing.
    pub(super) version: String,
}

impl Find {
    /// Those that are installed here, PATH's first.
    pub(super) fn look(&self) -> Vec<Found> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let there = self.there(&path, home.as_deref());
        let found = there.into_iter().map(|path| Found {
            version: version(&path),
            path,
        });
        found.collect()
    }

    /// Where it was looked for.
    pub(super) fn places(&self) -> String {
        let mut places = vec![format!("{} in PATH", self.0.command)];
        if !self.0.npm.is_empty() {
            places.push("npm's packages behind it".to_owned());
        }
        places.extend(self.0.home.iter().map(|pattern| format!("~/{pattern}")));
        places.join(", ")
    }

    fn there(&self, path: &OsStr, home: Option<&Path>) -> Vec<PathBuf> {
        let mut candidates = Vec::new();
        let folders = std::env::split_paths(path).filter(|folder| folder.is_absolute());
        for command in folders.map(|folder| folder.join(&self.0.command)) {
            let Ok(command) = command.canonicalize() else {
                continue;
            };
            let modules = command
                .ancestors()
                .filter(|folder| folder.ends_with("node_modules"))
                .last();
            let modules = modules.map(Path::to_owned);
            candidates.push(command);
            if let Some(modules) = modules {
                let npm = self.0.npm.iter();
                candidates.extend(npm.flat_map(|pattern| matching(&modules, pattern)));
            }
        }
        if let Some(home) = home {
            let patterns = self.0.home.iter();
            candidates.extend(patterns.flat_map(|pattern| matching(home, pattern)));
        }
        let mut seen = BTreeSet::new();
        candidates.retain(|path| {
            let Ok(about) = path.metadata() else {
                return false;
            };
            let is_program = about.is_file() && about.mode() & 0o111 != 0 && is_native(path);
            is_program && seen.insert((about.dev(), about.ino()))
        });
        candidates
    }
}

/// What lies below a folder by a path in which `*` stands for any part of one name; the last by name first.
fn matching(folder: &Path, pattern: &str) -> Vec<PathBuf> {
    let mut folders = vec![folder.to_owned()];
    for part in pattern.split('/') {
        let Some((begins, ends)) = part.split_once('*') else {
            folders.iter_mut().for_each(|folder| folder.push(part));
            continue;
        };
        let inner = folders.iter().filter_map(|folder| folder.read_dir().ok());
        let entries = inner.flatten().flatten().filter(|entry| {
            let name = entry.file_name();
            let rest = name.to_str().and_then(|name| name.strip_prefix(begins));
            rest.is_some_and(|rest| rest.ends_with(ends))
        });
        folders = entries.map(|entry| entry.path()).collect();
        folders.sort_by(|one, other| other.cmp(one));
    }
    folders
}

fn is_native(path: &Path) -> bool {
    let mut first = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut first));
    read.is_ok() && NATIVE.contains(&first)
}

fn version(path: &Path) -> String {
    match doctor::said(path, &["--version"], VERSION_WITHIN) {
        Ok(said) => said.lines().next().unwrap_or_default().trim().to_owned(),
        Err(why) => why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt as _};

    #[test]
    fn native_program_is_found_behind_npms_script() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let put = |name: &str, text: &[u8], mode: u32| {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let modules = "lib/node_modules/@maker";
        put(
            &format!("{modules}/tool/bin/tool.js"),
            b"#!/usr/bin/node\n",
            0o755,
        );
        let native = put(
            &format!("{modules}/tool-linux-x64/vendor/musl/tool"),
            b"\x7fELF1",
            0o755,
        );
        put(
            &format!("{modules}/tool-linux-x64/vendor/none/tool"),
            b"\x7fELF2",
            0o644,
        );
        let older = put("home/share/versions/1.0", b"\x7fELF3", 0o755);
        let newer = put("home/share/versions/1.1", b"\x7fELF4", 0o755);
        fs::create_dir_all(dir.join("bin")).unwrap();
        let script = dir.join(format!("{modules}/tool/bin/tool.js"));
        std::os::unix::fs::symlink(script, dir.join("bin/tool")).unwrap();
        std::os::unix::fs::symlink(&newer, dir.join("home/tool")).unwrap();
        let find = Find(ProgramPlaces {
            command: "tool".to_owned(),
            npm: vec!["@maker/tool-*/vendor/*/tool".to_owned()],
            home: vec!["share/versions/*".to_owned()],
        });
        let home = dir.join("home");
        let path = |folders: &[&Path]| std::env::join_paths(folders).unwrap();
        let both = path(&[Path::new("bin"), &dir.join("bin"), &home]);
        let found = find.there(&both, Some(&home));
        assert_eq!(found, [native, newer, older]);
        assert_eq!(
            find.there(&path(&[Path::new("bin")]), None),
            [] as [PathBuf; 0]
        );
        let places = find.places();
        assert!(places.contains("~/share/versions/*"), "{places}");
    }
}
