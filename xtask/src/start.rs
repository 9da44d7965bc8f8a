//! `cargo xtask start`: from a clean checkout to a running gateway.
//!
//! This process *becomes* `plexusd`, so that Ctrl-C, SIGTERM and the exit status are the daemon's own. A small child
//! (`cargo xtask greet`) reads the daemon's standard output and says what to do next once the ready line is there.

use crate::cargo;
use anyhow::{Context, Result, bail};
use std::io::{BufRead as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Build what is needed and run the gateway in the foreground
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// An Obsidian vault to offer as the source "obsidian"
    #[arg(long, value_name = "DIR")]
    vault: Option<PathBuf>,
    /// A folder to offer as the source "workspace"
    #[arg(long, value_name = "DIR")]
    workspace: Option<PathBuf>,
    /// Where the gateway keeps its state [default: ~/.plexus]
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
    /// The port on 127.0.0.1 and ::1; 0 takes a free one [default: 7077]
    #[arg(long, value_name = "N")]
    port: Option<u16>,
    /// Build with optimisations
    #[arg(long)]
    release: bool,
    /// Run the programs in this folder, built before, instead of building them
    #[arg(long, value_name = "DIR", conflicts_with = "release")]
    binaries: Option<PathBuf>,
    /// Handed to plexusd as they are
    #[arg(last = true, value_name = "ARGUMENT")]
    rest: Vec<String>,
}

/// What the greeting needs to know.
#[derive(clap::Args)]
pub(crate) struct Greeting {
    #[arg(long)]
    binaries: PathBuf,
    #[arg(long)]
    home: Option<PathBuf>,
    #[arg(long)]
    reads: String,
}

/// Builds, then becomes the daemon.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    for folder in [&arguments.vault, &arguments.workspace]
        .into_iter()
        .flatten()
    {
        if !folder.is_dir() {
            bail!("{} is not a folder", folder.display());
        }
    }
    let profile = if arguments.release { "release" } else { "dev" };
    let binaries = cargo::product(arguments.binaries.as_deref(), profile)?;

    let mut daemon = Command::new(binaries.join("plexusd"));
    for (flag, folder) in [
        ("--vault", &arguments.vault),
        ("--workspace", &arguments.workspace),
        ("--home", &arguments.home),
    ] {
        if let Some(folder) = folder {
            daemon.arg(flag).arg(std::path::absolute(folder)?);
        }
    }
    if let Some(port) = arguments.port {
        daemon.args(["--port", &port.to_string()]);
    }
    daemon.args(&arguments.rest);

    let mut reads = Vec::new();
    // With neither, what was added before is served: most likely a vault.
    if arguments.vault.is_some() || arguments.workspace.is_none() {
        reads.extend(["obsidian.vault.read", "obsidian.vault.search"]);
    }
    if arguments.workspace.is_some() {
        reads.extend(["workspace.list", "workspace.read"]);
    }
    let mut greeter = Command::new(std::env::current_exe()?);
    greeter
        .arg("greet")
        .arg("--binaries")
        .arg(&binaries)
        .args(["--reads", &reads.join(",")])
        .stdin(Stdio::piped());
    // The gateway hears of it from the environment as well; other terminals have to be told.
    let inherited = std::env::var_os("PLEXUS_HOME").filter(|home| !home.is_empty());
    if let Some(home) = arguments.home.clone().or(inherited.map(PathBuf::from)) {
        greeter.arg("--home").arg(std::path::absolute(home)?);
    }
    let greeter = greeter.spawn().context("starting the greeting")?;
    if let Some(to_greeter) = greeter.stdin {
        daemon.stdout(to_greeter);
    }
    // Only returns when the program could not be started.
    Err(daemon.exec()).with_context(|| format!("starting {}", binaries.join("plexusd").display()))
}

/// Passes the daemon's lines on and explains the ready line.
pub(crate) fn greet(greeting: &Greeting) -> Result<()> {
    let mut out = std::io::stdout();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        writeln!(out, "{line}")?;
        if let Some(facts) = line.strip_prefix("PLEXUS_READY ") {
            let facts: serde_json::Value =
                serde_json::from_str(facts).context("reading the ready line")?;
            let port = facts["port"]
                .as_u64()
                .context("the ready line has no port")?;
            writeln!(out, "{}", next_steps(greeting, port))?;
        }
        out.flush()?;
    }
    Ok(())
}

fn next_steps(greeting: &Greeting, port: u64) -> String {
    let binaries = quoted(&greeting.binaries);
    let home = greeting.home.as_deref().map_or(String::new(), |home| {
        format!("\n  export PLEXUS_HOME={}", quoted(home))
    });
    let reads = &greeting.reads;
    // A vault alone has nothing to write with.
    let write = if reads.contains("workspace.") {
        "\nAsk to write a file, which waits for you:\n  plexus workspace.write path=hello.md content=Hello --purpose \"to see what you would see\""
    } else {
        ""
    };
    format!(
        "
Plexus is ready on port {port}. Agents may do what you allowed them, nothing else. Ctrl-C stops it; what you decided stays.

In each other terminal, first:
  export PATH={binaries}:\"$PATH\"{home}
Sign your browser in, to see what agents ask for and decide it (the console is at http://localhost:{port}/admin):
  plexusctl console --open
Connect a first agent, which may read at once and asks for the rest:
  plexusctl connect first-agent --allow {reads}
That prints a line for the agent. Paste it to play the agent yourself, then:
  plexus list{write}
To see and decide in a terminal instead of the browser:
  plexusctl approvals watch"
    )
}

/// A path as it can be pasted into a shell.
pub(crate) fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_steps_can_be_pasted() {
        let greeting = Greeting {
            binaries: "/opt/my tools".into(),
            home: Some("/tmp/o'brien".into()),
            reads: "workspace.list,workspace.read".into(),
        };
        let text = next_steps(&greeting, 7077);
        for line in [
            r#"  export PATH='/opt/my tools':"$PATH""#,
            r"  export PLEXUS_HOME='/tmp/o'\''brien'",
            "  plexusctl console --open",
            "  plexusctl connect first-agent --allow workspace.list,workspace.read",
            r#"  plexus workspace.write path=hello.md content=Hello --purpose "to see what you would see""#,
        ] {
            assert!(
                text.lines().any(|l| l == line),
                "{line} is missing:\n{text}"
            );
        }
        assert!(text.contains("on port 7077") && text.contains("http://localhost:7077/admin"));
        let vault = Greeting {
            reads: "obsidian.vault.read".into(),
            ..greeting
        };
        assert!(!next_steps(&vault, 7077).contains("workspace.write"));
        assert_eq!(quoted(Path::new("/a/b-c_1.2")), "/a/b-c_1.2");
    }
}
