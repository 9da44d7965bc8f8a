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
    let fakes = fakes(std::env::var("PLEXUS_FAKE_APPLE").ok().as_deref());
    let features: &[&str] = if fakes { &FAKES } else { &[] };
    let binaries = cargo::product_with(arguments.binaries.as_deref(), profile, features)?;

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

    let (vault, workspace) = (arguments.vault.is_some(), arguments.workspace.is_some());
    let reads = reads(vault, workspace, fakes);
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

/// What fakes of apps of macOS are built with, of the workers that ship without theirs.
const FAKES: [&str; 1] = ["plexus-worker-things/fake"];

/// Whether the gateway has fakes as its sources, by the value of the variable that it reads too. A Mac has the apps.
fn fakes(value: Option<&str>) -> bool {
    let off = ["", "0", "n", "no", "f", "false", "off", "offered"];
    let is_on = |value: &str| !off.contains(&value.to_ascii_lowercase().as_str());
    cfg!(not(target_os = "macos")) && value.is_some_and(is_on)
}

/// What a first agent may read at once.
fn reads(vault: bool, workspace: bool, fakes: bool) -> Vec<&'static str> {
    let mut reads = Vec::new();
    // With none of them, what was added before is served: most likely a vault.
    if vault || !(workspace || fakes) {
        reads.extend(["obsidian.vault.read", "obsidian.vault.search"]);
    }
    if workspace {
        reads.extend(["workspace.list", "workspace.read"]);
    }
    if fakes {
        reads.extend([
            "apple-calendar.events.list",
            "apple-reminders.reminders.list",
            "things.todos.list",
        ]);
    }
    reads
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
Plexus is ready on port {port}. Agents may do what you allowed them, nothing else.
Ctrl-C stops it; your grants and its log are kept.

In each other terminal, first:
  export PATH={binaries}:\"$PATH\"{home}
Sign your browser in, to see what agents ask for and decide it
(the console is at http://localhost:{port}/admin):
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

    #[test]
    fn first_agent_reads_what_is_served() {
        let vault = ["obsidian.vault.read", "obsidian.vault.search"];
        assert_eq!(reads(false, false, false), vault);
        assert_eq!(
            reads(false, true, false),
            ["workspace.list", "workspace.read"]
        );
        let faked = reads(false, false, true);
        assert!(faked.contains(&"apple-calendar.events.list") && faked.len() == 3);
        assert_eq!(reads(true, true, true).len(), 7);
    }

    #[cfg(not(target_os = "macos"))]
    #[test]
    fn fakes_are_built_where_they_are_sources() {
        for (value, on) in [
            (None, false),
            (Some(""), false),
            (Some("0"), false),
            (Some("False"), false),
            (Some("offered"), false),
            (Some("1"), true),
            (Some("yes"), true),
        ] {
            assert_eq!(fakes(value), on, "{value:?}");
        }
    }
}
