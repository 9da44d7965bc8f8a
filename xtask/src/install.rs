//! `cargo xtask install`: the programs under one prefix, while an older gateway may run.
//!
//! Invariants: a file that no install put there as it is now is not replaced; it is found before anything is written. While
//! files are replaced, the list has each as it was and as it will be: an install that is cut off leaves nothing but its own.

use crate::cargo;
use crate::layout::{self, Part};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// How many files of others a refusal names.
const NAMED: usize = 5;

/// Put the programs under a prefix
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The prefix [default: ~/.local]
    #[arg(long, value_name = "DIR")]
    prefix: Option<PathBuf>,
    /// Build profile; `dev` builds sooner and runs slower
    #[arg(long, value_name = "NAME", default_value = "release")]
    profile: String,
    /// Take the programs in this folder, built before, instead of building them
    #[arg(long, value_name = "DIR", conflicts_with = "profile")]
    binaries: Option<PathBuf>,
}

/// Builds, puts everything in its place, says what is left to do by hand.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let prefix = match &arguments.prefix {
        Some(prefix) => std::path::absolute(prefix)?,
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set; use --prefix")?)
            .join(".local"),
    };
    if arguments.binaries.is_none() {
        println!("building ({})", arguments.profile);
    }
    let binaries = cargo::product(arguments.binaries.as_deref(), &arguments.profile)?;
    let parts = layout::parts(&binaries)?;
    let replaced = prefix.join("bin/plexusd").is_file();
    place(&prefix, &parts)?;
    println!(
        "{}",
        next_steps(&prefix, on_path(&prefix.join("bin")), replaced)
    );
    Ok(())
}

/// Puts every part in its place, removes what an earlier version had, and writes the list.
fn place(prefix: &Path, parts: &[Part]) -> Result<()> {
    let known = read_list(prefix)?;
    refuse_to_replace_others(prefix, parts, &known)?;
    let mut made = made_folders(prefix, &layout::folders(parts), &known.folders);
    let digests = layout::digests(parts);
    let write = |files: &[(String, String)], folders: &[String]| {
        let list = layout::list(env!("CARGO_PKG_VERSION"), files, folders);
        layout::put(prefix, layout::LIST, &list, 0o644)
    };
    let mut both = [&known.files[..], &digests].concat();
    both.sort();
    both.dedup();
    let mut folders = [&known.folders[..], &made].concat();
    folders.sort();
    folders.dedup();
    write(&both, &folders)?;
    println!("installing under {}", prefix.display());
    for part in parts {
        let path = layout::put(prefix, &part.path, &part.bytes, part.mode)?;
        if part.mode == 0o755 {
            println!("  {}", path.display());
        }
    }
    println!(
        "  completions and manual pages in {}",
        prefix.join("share").display()
    );
    // What an earlier version had and this one has not. What somebody changed since is theirs.
    let gone = known
        .files
        .iter()
        .filter(|(path, _)| !parts.iter().any(|part| part.path == *path));
    let is_known = |path: &String, bytes: &[u8]| {
        let listed = (path.clone(), layout::digest(bytes));
        known.files.contains(&listed)
    };
    for (path, _) in gone {
        let file = prefix.join(path);
        let left = match std::fs::read(&file) {
            Ok(bytes) if is_known(path, &bytes) => std::fs::remove_file(&file),
            Ok(_) => Err(std::io::Error::other("it was changed since")),
            Err(error) => Err(error),
        };
        if let Err(error) = left
            && error.kind() != std::io::ErrorKind::NotFound
        {
            println!("  left from an earlier version, yours to remove: {path} ({error})");
        }
    }
    // Folders of an earlier version only: removed where nothing is in them any more, ours to remove where something is.
    let mut earlier: Vec<_> = known
        .folders
        .iter()
        .filter(|f| !made.contains(f))
        .cloned()
        .collect();
    earlier.sort_by_key(|folder| std::cmp::Reverse(folder.len()));
    earlier.retain(|folder| {
        let path = prefix.join(folder);
        std::fs::remove_dir(&path).is_err() && path.exists()
    });
    made.extend(earlier);
    // Outer ones first.
    made.sort();
    write(&digests, &made)?;
    Ok(())
}

/// A file that is there is ours if it is as the list has it, or as it would be written; a link is neither.
fn refuse_to_replace_others(prefix: &Path, parts: &[Part], known: &Known) -> Result<()> {
    let mut others = Vec::new();
    for part in parts {
        let path = prefix.join(&part.path);
        let is_ours = match std::fs::symlink_metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
            Ok(meta) if meta.is_file() => {
                let reading = || format!("reading {}", path.display());
                let bytes = std::fs::read(&path).with_context(reading)?;
                let listed = (part.path.clone(), layout::digest(&bytes));
                bytes == part.bytes || known.files.contains(&listed)
            }
            Ok(_) => false,
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        if !is_ours {
            others.push(path.display().to_string());
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
    bail!(
        "there are files that Plexus did not put there, or that were changed since: {}. Move them away, or install under another --prefix",
        others.join(", ")
    )
}

/// What the list of an earlier install says.
#[derive(Default)]
struct Known {
    folders: Vec<String>,
    /// With their digests.
    files: Vec<(String, String)>,
}

fn read_list(prefix: &Path) -> Result<Known> {
    let path = prefix.join(layout::LIST);
    let bytes = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Known::default()),
        read => read.with_context(|| format!("reading {}", path.display()))?,
    };
    let list: serde_json::Value = serde_json::from_slice(&bytes).with_context(|| {
        format!(
            "{} is not the list of an install: remove it, then install the same build again, or move its programs away",
            path.display()
        )
    })?;
    let all = |key: &str| list[key].as_array().into_iter().flatten();
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    // A list that was tampered with leads nowhere else.
    let is_inside = |path: &str| {
        let mut parts = Path::new(path).components();
        parts.all(|part| matches!(part, std::path::Component::Normal(_)))
    };
    let folders = all("folders").filter_map(text);
    let files = all("files").filter_map(|file| {
        Some((
            text(&file["path"])?,
            text(&file["sha256"]).unwrap_or_default(),
        ))
    });
    Ok(Known {
        folders: folders.filter(|path| is_inside(path)).collect(),
        files: files.filter(|(path, _)| is_inside(path)).collect(),
    })
}

/// The folders that are made now, or were by an earlier install: those are ours to remove.
fn made_folders(prefix: &Path, folders: &[String], known: &[String]) -> Vec<String> {
    let ours = |folder: &&String| known.contains(folder) || !prefix.join(folder).exists();
    folders.iter().filter(ours).cloned().collect()
}

fn on_path(bin: &Path) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder == bin))
}

fn next_steps(prefix: &Path, on_path: bool, replaced: bool) -> String {
    let bin = prefix.join("bin");
    let mut text = String::new();
    if !on_path {
        text.push_str(&format!(
            "\nAdd to your shell's start file:\n  export PATH={}:\"$PATH\"\n",
            crate::start::quoted(&bin)
        ));
    }
    let plexusctl = crate::start::quoted(&bin.join("plexusctl"));
    text.push_str(&format!(
        "\nTo start the gateway now and with your login:\n  {plexusctl} service install\n"
    ));
    if replaced {
        text.push_str(&format!(
            "A gateway that runs is still the old one. To change over:\n  {plexusctl} upgrade\n"
        ));
    }
    text.push_str(&format!(
        "To take everything back:\n  {plexusctl} uninstall"
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_to_do_is_said_in_whole_lines() {
        let text = next_steps(Path::new("/home/o'brien/.local"), false, false);
        for line in [
            r#"  export PATH='/home/o'\''brien/.local/bin':"$PATH""#,
            r"  '/home/o'\''brien/.local/bin/plexusctl' service install",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        assert!(!text.contains("restart"));
        let again = next_steps(Path::new("/p"), true, true);
        assert!(again.contains("/p/bin/plexusctl upgrade") && !again.contains("PATH"));
    }

    #[test]
    fn file_of_somebody_else_stops_it_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let prefix = folder.path();
        let parts = |text: &str| {
            ["bin/plexus", "bin/plexusd"].map(|path| Part {
                path: path.to_owned(),
                bytes: text.as_bytes().to_vec(),
                mode: 0o755,
            })
        };
        let theirs = prefix.join("bin/plexusd");
        let refused = |text: &str| {
            let said = place(prefix, &parts(text)).unwrap_err().to_string();
            let line = format!("changed since: {}. Move", theirs.display());
            assert!(said.contains(&line), "{said}");
        };
        std::fs::create_dir(prefix.join("bin")).unwrap();
        std::fs::write(&theirs, "theirs").unwrap();
        refused("one");
        std::fs::remove_file(&theirs).unwrap();
        std::os::unix::fs::symlink("/nonexistent", &theirs).unwrap();
        refused("one");
        let there = std::fs::read_dir(prefix.join("bin")).unwrap().count();
        assert!(there == 1 && !prefix.join("libexec").exists());

        // Its own are replaced, and what was changed since is not.
        std::fs::remove_file(&theirs).unwrap();
        for text in ["one", "two"] {
            place(prefix, &parts(text)).unwrap();
            assert_eq!(std::fs::read_to_string(&theirs).unwrap(), text);
        }
        std::fs::write(&theirs, "changed").unwrap();
        refused("three");
        let other = prefix.join("bin/plexus");
        assert_eq!(std::fs::read_to_string(other).unwrap(), "two");
    }

    #[test]
    fn install_that_was_cut_off_is_followed_by_another_build() {
        let folder = tempfile::tempdir().unwrap();
        let prefix = folder.path();
        let parts = |text: &str, paths: &[&str]| -> Vec<_> {
            let part = |path: &&str| Part {
                path: (*path).to_owned(),
                bytes: text.as_bytes().to_vec(),
                mode: 0o755,
            };
            paths.iter().map(part).collect()
        };
        let both = ["bin/plexus", "bin/plexusd"];
        // The second file of each cannot be written.
        let in_the_way = prefix.join(format!("bin/.plexusd.{}.new", std::process::id()));
        for (text, after) in [("one", "two"), ("three", "four")] {
            std::fs::create_dir_all(&in_the_way).unwrap();
            let said = place(prefix, &parts(text, &both)).unwrap_err().to_string();
            assert!(said.starts_with("writing "), "{said}");
            let first = std::fs::read_to_string(prefix.join("bin/plexus")).unwrap();
            assert_eq!(first, text, "it was cut off between the two");
            std::fs::remove_dir(&in_the_way).unwrap();
            place(prefix, &parts(after, &both)).unwrap();
            for path in both {
                assert_eq!(std::fs::read_to_string(prefix.join(path)).unwrap(), after);
            }
            let known = read_list(prefix).unwrap();
            assert_eq!(known.files.len(), 2, "the list is of one version again");
        }
        // A file of the build that was cut off goes, where the next one has it no more.
        std::fs::create_dir(&in_the_way).unwrap();
        place(prefix, &parts("five", &both)).unwrap_err();
        std::fs::remove_dir(&in_the_way).unwrap();
        place(prefix, &parts("six", &both[1..])).unwrap();
        assert!(!prefix.join("bin/plexus").exists());
    }

    #[test]
    fn a_list_that_is_none_is_not_taken_for_no_list() {
        let prefix = tempfile::tempdir().unwrap();
        assert!(read_list(prefix.path()).unwrap().files.is_empty());
        let path = prefix.path().join(layout::LIST);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let list = r#"{"folders": ["bin"], "files": [{"path": "bin/x"}, {"path": "../y"}]}"#;
        std::fs::write(&path, list).unwrap();
        let known = read_list(prefix.path()).unwrap();
        assert_eq!(known.files, [("bin/x".to_owned(), String::new())]);
        std::fs::write(&path, r#"{"folders": ["#).unwrap();
        let why = read_list(prefix.path()).map(drop).unwrap_err().to_string();
        assert!(why.contains("is not the list of an install"), "{why}");
    }

    #[test]
    fn only_folders_that_were_made_are_ours() {
        let prefix = tempfile::tempdir().unwrap();
        let folders = ["there", "not-there", "ours"].map(str::to_owned);
        let there = prefix.path();
        for folder in ["there", "ours"] {
            std::fs::create_dir_all(there.join(folder)).unwrap();
        }
        let made = made_folders(there, &folders, &["ours".to_owned()]);
        assert_eq!(made, ["not-there", "ours"]);
    }
}
