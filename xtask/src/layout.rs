//! The layout that `plexusd` looks for: what a person installs, and what a release carries.
//!
//! ```text
//! bin/              what a person types: plexus  plexusctl  plexusd  plexus-tray  plexus-relay  plexus-peer
//! libexec/plexus/   what plexusd starts: plexus-sandbox-exec  plexus-egress  the workers
//!                   installed.json (what is here, for `plexusctl uninstall`)
//! share/            completions for three shells, manual pages, licences; plexus/release.pub in a signed release
//! ```
//! Invariant: each program that ships is here; [`cargo::shipped`] is the one list. Invariant: each file comes by a new file and a rename, so that one which runs is replaced and never written over.

use crate::cargo::{self, Program};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The list of what was installed, below the prefix.
pub(crate) const LIST: &str = "libexec/plexus/installed.json";
/// The key that signed a release, below the prefix: whom `plexusctl upgrade --from` trusts there.
pub(crate) const PUBLIC_KEY: &str = "share/plexus/release.pub";
/// Texts of the first folder that are installed too: the licences ask for it.
const TEXTS: [&str; 3] = ["README.md", "LICENSE-MIT", "LICENSE-APACHE"];
/// Its form; `plexusctl uninstall` knows it.
const FORMAT: u64 = 1;

/// One file of the layout.
pub(crate) struct Part {
    /// Where it goes, below the prefix.
    pub(crate) path: String,
    /// Its content.
    pub(crate) bytes: Vec<u8>,
    /// Its permission bits.
    pub(crate) mode: u32,
}

/// Every file but the list, sorted, from the binaries in a folder.
pub(crate) fn parts(binaries: &Path) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    let programs = cargo::shipped()?;
    for Program { name, is_typed } in &programs {
        let folder = if *is_typed { "bin" } else { "libexec/plexus" };
        let from = binaries.join(name);
        parts.push(Part {
            path: format!("{folder}/{name}"),
            bytes: fs::read(&from).with_context(|| format!("reading {}", from.display()))?,
            mode: 0o755,
        });
    }
    let typed = programs.into_iter().filter(|program| program.is_typed);
    let pages = pages(binaries, typed.map(|program| program.name))?;
    for (path, bytes) in completions(binaries)?.into_iter().chain(pages) {
        parts.push(Part {
            path,
            bytes,
            mode: 0o644,
        });
    }
    for text in TEXTS {
        parts.push(Part {
            path: format!("share/doc/plexus/{text}"),
            bytes: fs::read(cargo::root().join(text)).with_context(|| format!("reading {text}"))?,
            mode: 0o644,
        });
    }
    parts.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(parts)
}

/// Each part with its digest, as the list has it.
pub(crate) fn digests(parts: &[Part]) -> Vec<(String, String)> {
    let digests = parts
        .iter()
        .map(|part| (part.path.clone(), digest(&part.bytes)));
    digests.collect()
}

/// The list of files with their digests; `folders` are those that were made for them.
pub(crate) fn list(version: &str, files: &[(String, String)], folders: &[String]) -> Vec<u8> {
    let files: Vec<_> = files
        .iter()
        .map(|(path, sha256)| json!({"path": path, "sha256": sha256}))
        .collect();
    let list = json!({
        "format": FORMAT, "version": version, "folders": folders, "files": files,
    });
    format!("{list:#}\n").into_bytes()
}

/// The folders of the layout, outer ones first.
pub(crate) fn folders(parts: &[Part]) -> Vec<String> {
    let mut folders = BTreeSet::new();
    for part in parts {
        let mut above = Path::new(&part.path).parent();
        while let Some(folder) = above.filter(|folder| !folder.as_os_str().is_empty()) {
            folders.insert(folder.to_string_lossy().into_owned());
            above = folder.parent();
        }
    }
    folders.into_iter().collect()
}

/// Puts one file in its place.
pub(crate) fn put(prefix: &Path, path: &str, bytes: &[u8], mode: u32) -> Result<PathBuf> {
    let to = prefix.join(path);
    let folder = to.parent().context("a file lies in a folder")?;
    // However wide the mask is: another user who can write in a folder replaces its programs, and who has opened a file for
    // writing keeps it open.
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(folder);
    made.with_context(|| format!("making {}", folder.display()))?;
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    let beside = folder.join(format!(".{name}.{}.new", std::process::id()));
    let mut new = fs::OpenOptions::new();
    new.write(true).create(true).truncate(true).mode(mode);
    let placed = new
        .open(&beside)
        .and_then(|mut file| {
            file.set_permissions(fs::Permissions::from_mode(mode))?;
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&beside, &to));
    if placed.is_err() {
        let _ = fs::remove_file(&beside);
    }
    placed.with_context(|| format!("writing {}", to.display()))?;
    Ok(to)
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Completion scripts, as the two commands print them, where each shell looks.
fn completions(binaries: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    for name in ["plexus", "plexusctl"] {
        for (shell, path) in [
            ("bash", format!("share/bash-completion/completions/{name}")),
            ("zsh", format!("share/zsh/site-functions/_{name}")),
            (
                "fish",
                format!("share/fish/vendor_completions.d/{name}.fish"),
            ),
        ] {
            found.push((path, said(binaries, name, &["completion", shell])?));
        }
    }
    Ok(found)
}

/// Manual pages: the help of each program and of each of its commands, as it is printed.
fn pages(
    binaries: &Path,
    programs: impl Iterator<Item = String>,
) -> Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    let mut open: Vec<_> = programs.map(|name| vec![name]).collect();
    while let Some(path) = open.pop() {
        let [name, commands @ ..] = path.as_slice() else {
            continue;
        };
        let line: Vec<&str> = commands.iter().map(String::as_str).collect();
        let help = said(binaries, name, &[line.as_slice(), &["--help"]].concat())?;
        let help = String::from_utf8(help)?;
        open.extend(commands_of(&help).map(|command| [path.as_slice(), &[command]].concat()));
        let title = path.join("-");
        found.push((format!("share/man/man1/{title}.1"), page(&title, &help)));
    }
    Ok(found)
}

/// The names below `Commands:` in a help text.
fn commands_of(help: &str) -> impl Iterator<Item = String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = lines.take_while(|line| !line.is_empty());
    // What goes on in a second line is indented further.
    let names = listed.filter_map(|line| line.strip_prefix("  ").filter(|l| !l.starts_with(' ')));
    let names = names.filter_map(|line| line.split_whitespace().next().map(str::to_owned));
    names.filter(|name| name != "help")
}

/// One page: a text that is shown as it stands.
fn page(title: &str, help: &str) -> Vec<u8> {
    let text: String = help
        .replace('\\', "\\e")
        .replace('-', "\\-")
        .lines()
        .map(|line| format!("\\&{line}\n"))
        .collect();
    let version = env!("CARGO_PKG_VERSION");
    format!(".TH {title} 1 \"\" \"Plexus {version}\"\n.nf\n{text}.fi\n").into_bytes()
}

/// What one of the programs says.
pub(crate) fn said(binaries: &Path, name: &str, arguments: &[&str]) -> Result<Vec<u8>> {
    let program = binaries.join(name);
    let output = Command::new(&program)
        .args(arguments)
        // A place for the state is named by every command, and not used by these.
        .env("PLEXUS_HOME", "/nonexistent")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("running {}", program.display()))?;
    ensure!(
        output.status.success(),
        "{} {} failed",
        program.display(),
        arguments.join(" ")
    );
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(path: &str) -> Part {
        Part {
            path: path.to_owned(),
            bytes: path.as_bytes().to_vec(),
            mode: 0o755,
        }
    }

    #[test]
    fn the_list_names_every_file_and_the_folders_from_outside_in() {
        let parts = ["bin/plexus", "libexec/plexus/worker", "share/man/man1/x.1"].map(part);
        let folders = folders(&parts);
        let made = "bin libexec libexec/plexus share share/man share/man/man1";
        assert_eq!(folders.join(" "), made);
        let list: serde_json::Value =
            serde_json::from_slice(&list("0", &digests(&parts), &folders)).unwrap();
        assert_eq!(list["files"][0]["path"], "bin/plexus");
        assert_eq!(list["files"][0]["sha256"], digest(b"bin/plexus"));
        assert_eq!(list["folders"].as_array().map(Vec::len), Some(6));
    }

    #[test]
    fn each_command_of_a_help_text_has_a_page() {
        let help = "Does it\n\nCommands:\n  list   Show all\n         of it\n  help   Print\n\nOptions:\n  -h\n";
        let names: Vec<_> = commands_of(help).collect();
        assert_eq!(names, ["list"]);
        assert_eq!(commands_of("Options:\n  -h\n").count(), 0);
        let page = String::from_utf8(page("x-list", ".TH \\ -h\n")).unwrap();
        assert!(page.contains("\n\\&.TH \\e \\-h\n.fi\n"), "{page}");
    }

    #[test]
    fn a_file_in_use_is_replaced_and_not_written_over() {
        let place = tempfile::tempdir().unwrap();
        let prefix = place.path();
        let path = put(prefix, "bin/x", b"old", 0o755).unwrap();
        let running = fs::File::open(&path).unwrap();
        put(prefix, "bin/x", b"newer", 0o755).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"newer");
        assert_eq!(std::io::read_to_string(&running).unwrap(), "old");
        assert_eq!(fs::read_dir(prefix.join("bin")).unwrap().count(), 1);
    }
}
