//! `cargo xtask install`: the layout that `plexusd` looks for, under one prefix.

use crate::cargo::{self, PROGRAMS};
use anyhow::{Context, Result};
use std::path::PathBuf;

/// Put the programs under a prefix
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The prefix [default: ~/.local]
    #[arg(long, value_name = "DIR")]
    prefix: Option<PathBuf>,
}

/// Builds a release and copies it; says what is left to do by hand.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let prefix = match &arguments.prefix {
        Some(prefix) => std::path::absolute(prefix)?,
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set; use --prefix")?)
            .join(".local"),
    };
    let binaries = cargo::build_product(true)?;
    let (bin, libexec) = (prefix.join("bin"), prefix.join("libexec/plexus"));
    let programs = PROGRAMS.iter().map(|name| (*name).to_owned()).collect();
    for (folder, names) in [(&bin, programs), (&libexec, cargo::libexec()?)] {
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        for name in names {
            let (from, to) = (binaries.join(&name), folder.join(&name));
            // A running program cannot be written over, but it can be replaced.
            let beside = folder.join(format!(".{name}.new"));
            std::fs::copy(&from, &beside)
                .and_then(|_| std::fs::rename(&beside, &to))
                .with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
            println!("{}", to.display());
        }
    }
    let on_path = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder == bin));
    if !on_path {
        println!(
            "\nAdd to your shell's start file:\n  export PATH=\"{}:$PATH\"",
            bin.display()
        );
    }
    println!(
        "\nTo start it with your login:\n  {}",
        if cfg!(target_os = "macos") {
            format!("launchctl submit -l plexusd -- {}/plexusd", bin.display())
        } else {
            format!(
                "systemd-run --user --unit=plexusd --property=Restart=on-failure {}/plexusd",
                bin.display()
            )
        }
    );
    Ok(())
}
