//! `cargo xtask install`: the programs under one prefix, while an older gateway may run.

use crate::{cargo, layout};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Put the programs under a prefix
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The prefix [default: ~/.local]
    #[arg(long, value_name = "DIR")]
    prefix: Option<PathBuf>,
    /// Build profile; `dev` builds sooner and runs slower
    #[arg(long, value_name = "NAME", default_value = "release")]
    profile: String,
}

/// Builds, puts everything in its place, says what is left to do by hand.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let prefix = match &arguments.prefix {
        Some(prefix) => std::path::absolute(prefix)?,
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set; use --prefix")?)
            .join(".local"),
    };
    println!("building ({})", arguments.profile);
    let binaries = cargo::build_product_as(&arguments.profile)?;
    let parts = layout::parts(&binaries)?;

    let known = read_list(&prefix);
    let made = made_folders(&prefix, &layout::folders(&parts), &known.folders);
    let replaced = prefix.join("bin/plexusd").is_file();
    println!("installing under {}", prefix.display());
    for part in &parts {
        let path = layout::put(&prefix, &part.path, &part.bytes, part.mode)?;
        if part.mode == 0o755 {
            println!("  {}", path.display());
        }
    }
    println!(
        "  completions and manual pages in {}",
        prefix.join("share").display()
    );
    // What an earlier version had and this one has not.
    for path in &known.files {
        if !parts.iter().any(|part| part.path == *path) {
            let _ = std::fs::remove_file(prefix.join(path));
        }
    }
    layout::put(&prefix, layout::LIST, &layout::list(&parts, &made), 0o644)?;
    println!(
        "{}",
        next_steps(&prefix, on_path(&prefix.join("bin")), replaced)
    );
    Ok(())
}

/// What the list of an earlier install says.
#[derive(Default)]
struct Known {
    folders: Vec<String>,
    files: Vec<String>,
}

fn read_list(prefix: &Path) -> Known {
    let Ok(bytes) = std::fs::read(prefix.join(layout::LIST)) else {
        return Known::default();
    };
    let list: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let texts = |values: &serde_json::Value, of: fn(&serde_json::Value) -> Option<&str>| {
        let values = values.as_array().into_iter().flatten();
        values
            .filter_map(of)
            // A list that was tampered with leads nowhere else.
            .filter(|path| {
                Path::new(path)
                    .components()
                    .all(|part| matches!(part, std::path::Component::Normal(_)))
            })
            .map(str::to_owned)
            .collect()
    };
    Known {
        folders: texts(&list["folders"], |folder| folder.as_str()),
        files: texts(&list["files"], |file| file["path"].as_str()),
    }
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
    fn only_folders_that_were_made_are_ours() {
        let prefix = tempfile::tempdir().unwrap();
        let folders = [
            "there".to_owned(),
            "not-there".to_owned(),
            "ours".to_owned(),
        ];
        let there = prefix.path();
        for folder in ["there", "ours"] {
            std::fs::create_dir_all(there.join(folder)).unwrap();
        }
        let made = made_folders(there, &folders, &["ours".to_owned()]);
        assert_eq!(made, ["not-there", "ours"]);
    }
}
