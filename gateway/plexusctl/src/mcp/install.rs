//! `plexusctl mcp install`: a server from npm or PyPI in a folder of its own, once, by a lock file with a hash of every package.
//! Then it is lent as any other; the folder, its lock file included, is pinned.
//!
//! ```text
//! npm:NAME@VERSION    package.json ─npm install --package-lock-only─▶ lock ─npm ci─▶ node_modules
//! pypi:NAME==VERSION  pip install --dry-run --report ─▶ requirements.lock ─pip install --require-hashes─▶ site
//! ```
//! Invariants: no script of a package runs; a package without a hash is not installed; what is not lent in the end is removed, at the
//! next install where a signal ended this one.
//!
//! Must not know: what a server does.

use super::{Given, LOOK, agree, utf8};
use crate::{owner::Desk, prompt, sources::there};
use clap::Args;
use plexus_client::{Exit, Stop, out, shell, text};
use plexus_owner::extensions::{Draft, Preview};
use plexus_protocol::{ErrorCode, SourceId};
use serde_json::{Value, json};
use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What starts a Python server: its packages lie in the folder that is named first.
const PYTHON: &str = "import sys; sys.path.insert(0, sys.argv.pop(1)); from MODULE import OBJECT; sys.exit(FUNCTION())";

/// The system's interpreter, where it has pip: its modules are in the sandbox of every server, while those of another one
/// are pinned file by file.
const SYSTEM_PYTHON: &str = "/usr/bin/python3";

/// A server to install.
#[derive(Args)]
pub(super) struct Install {
    /// Its id, the first part of its capabilities' names
    name: SourceId,
    /// Package with its exact version: npm:NAME@VERSION or pypi:NAME==VERSION
    package: String,
    #[command(flatten)]
    given: Given,
    /// Arguments of the server
    #[arg(last = true, value_name = "ARGUMENT")]
    arguments: Vec<String>,
}

/// An exact version of a package.
#[derive(Debug, PartialEq)]
enum Package {
    Npm { name: String, version: String },
    PyPi { name: String, version: String },
}

impl Package {
    fn read(text: &str) -> Option<Self> {
        let exact = |version: &str| {
            version.starts_with(|c: char| c.is_ascii_digit())
                && version
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "._+-!".contains(c))
        };
        let plain = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_alphanumeric())
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        };
        let (name, version, is_npm) = match text.split_once(':')? {
            ("npm", package) => {
                let (name, version) = package.rsplit_once('@')?;
                (name, version, true)
            }
            ("pypi", package) => {
                let (name, version) = package.split_once("==")?;
                (name, version, false)
            }
            _ => return None,
        };
        let named = match name.strip_prefix('@').filter(|_| is_npm) {
            Some(scoped) => scoped
                .split_once('/')
                .is_some_and(|(scope, name)| plain(scope) && plain(name)),
            None => plain(name),
        };
        let (name, package_version) = (name.to_owned(), version.to_owned());
        (named && exact(version)).then_some(match is_npm {
            true => Self::Npm {
                name,
                version: package_version,
            },
            false => Self::PyPi {
                name,
                version: package_version,
            },
        })
    }
}

/// How an installed server is started.
struct Installed {
    program: PathBuf,
    arguments: Vec<String>,
    code: Vec<PathBuf>,
}

/// The folder of installed servers, beside the state directory.
pub(crate) fn servers(desk: &Desk) -> PathBuf {
    let mut all = desk.home.path().as_os_str().to_owned();
    all.push("-servers");
    PathBuf::from(all)
}

pub(super) async fn run(desk: &Desk, asked: Install) -> Result<Exit, Stop> {
    let package = Package::read(&asked.package).ok_or_else(|| {
        Stop::usage(format!(
            "{} is no package with an exact version: npm:NAME@VERSION or pypi:NAME==VERSION",
            text::line(&asked.package)
        ))
    })?;
    let mut draft = asked.given.draft(desk, &asked.name)?;
    let all = servers(desk);
    let folder = all.join(asked.name.as_str());
    let unfinished = all.join(format!("{}.unfinished", asked.name));
    if unfinished.exists() && !is_there(desk, &asked.name).await? {
        // The install was ended before its server was lent.
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(&format!("{}: {error}", folder.display())));
            }
            Ok(()) | Err(_) => {}
        }
    }
    if folder.exists() {
        return Err(already_there(desk, &asked.name, &folder).await?);
    }
    let tool = package.tool()?;
    // What is refused whatever the package holds is refused before it is installed. Its program is not there yet.
    let mut early = draft.clone();
    early.program = Some(utf8(&folder.join("program"))?);
    early.arguments.clone_from(&asked.arguments);
    let early = Preview {
        draft: Draft::Server(early),
    };
    match desk.open().await?.call_within(&early, LOOK).await {
        Err(stop) if stop.code != ErrorCode::NotFound.as_str() => return Err(stop),
        Ok(_) | Err(_) => {}
    }
    if !asked.given.yes {
        out::say(&package.plan(&tool, &folder));
        prompt::confirm(
            desk,
            &format!("install {}", text::line(&asked.package)),
            "--yes",
        )?;
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&all);
    let made = made.and_then(|()| fs::write(&unfinished, ""));
    let made = made.and_then(|()| DirBuilder::new().mode(0o700).create(&folder));
    made.map_err(|error| failed(&format!("{}: {error}", folder.display())))?;
    let lent = async {
        let folder = folder
            .canonicalize()
            .map_err(|error| failed(&error.to_string()))?;
        let installed = package.install(&tool, &folder)?;
        draft.program = Some(utf8(&installed.program)?);
        draft.arguments = installed.arguments;
        draft.arguments.extend(asked.arguments);
        for path in &installed.code {
            draft.code.push(utf8(path)?);
        }
        agree(desk, Draft::Server(draft), asked.given.yes, "add").await
    };
    let lent = lent.await;
    if lent.is_err() {
        // Nothing is lent from it.
        drop(fs::remove_dir_all(&folder));
    }
    drop(fs::remove_file(&unfinished));
    lent
}

/// The folder of an install is there: how another one, such as of a newer version, takes its place.
async fn already_there(desk: &Desk, name: &SourceId, folder: &Path) -> Result<Stop, Stop> {
    let delete = format!("rm -r {}", shell::quote(&folder.to_string_lossy()));
    let next = match is_there(desk, name).await? {
        true => format!("plexusctl mcp remove {name}; {delete}; then install again (grants end)"),
        false => format!("nothing is lent from it: {delete}; then install again"),
    };
    let why = format!("{} is there already", folder.display());
    Ok(Stop::new(Exit::Failed, "already_there", why).next(next))
}

async fn is_there(desk: &Desk, name: &SourceId) -> Result<bool, Stop> {
    match there(&mut desk.open().await?, name).await {
        Ok(_) => Ok(true),
        Err(stop) if stop.code == "not_found" => Ok(false),
        Err(stop) => Err(stop),
    }
}

impl Package {
    /// The person's own program that installs it, and that the server runs in.
    fn tool(&self) -> Result<PathBuf, Stop> {
        let found = |program: &str, of: &str| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let mut places = std::env::split_paths(&path).map(|folder| folder.join(program));
            places.find(|place| place.is_file()).ok_or_else(|| {
                let why =
                    format!("there is no {program} on your PATH, which a server from {of} needs");
                Stop::new(Exit::Failed, "missing_program", why)
                    .next(format!("install {program}, then say it again"))
            })
        };
        match self {
            Self::Npm { .. } => {
                found("npm", "npm")?;
                let node = found("node", "npm")?;
                node.canonicalize()
                    .map_err(|error| failed(&error.to_string()))
            }
            Self::PyPi { .. } => {
                // What is on the PATH may be a script that chooses one.
                let own = found("python3", "PyPI")?;
                let has_pip = || said(Command::new(SYSTEM_PYTHON).args(["-m", "pip", "--version"]));
                let python = match has_pip() {
                    Ok(_) => PathBuf::from(SYSTEM_PYTHON),
                    Err(_) => own,
                };
                let executable =
                    said(Command::new(python).args(["-c", "import sys; print(sys.executable)"]))?;
                let executable = Path::new(executable.trim());
                executable
                    .canonicalize()
                    .map_err(|error| failed(&error.to_string()))
            }
        }
    }

    fn plan(&self, tool: &Path, folder: &Path) -> String {
        let (what, by) = match self {
            Self::Npm { name, version } => (
                format!("{name} {version} from npm"),
                "npm ci --ignore-scripts",
            ),
            Self::PyPi { name, version } => (
                format!("{name} {version} from PyPI"),
                "pip install --require-hashes --only-binary :all:",
            ),
        };
        format!(
            "installs     {what}, with all that it needs\ninto         {}\nby           {by}, from a lock file with a hash of every package\nruns in      {}\nthen         starts the server in its sandbox, and shows what it says",
            folder.display(),
            tool.display()
        )
    }

    fn install(&self, tool: &Path, folder: &Path) -> Result<Installed, Stop> {
        match self {
            Self::Npm { name, version } => npm(name, version, tool, folder),
            Self::PyPi { name, version } => pypi(name, version, tool, folder),
        }
    }
}

fn npm(name: &str, version: &str, node: &Path, folder: &Path) -> Result<Installed, Stop> {
    let package = json!({"private": true, "dependencies": {name: version}});
    write(&folder.join("package.json"), &format!("{package:#}\n"))?;
    let quiet = ["--ignore-scripts", "--no-audit", "--no-fund"];
    let npm = |act: &[&str]| {
        said(
            Command::new("npm")
                .args(act)
                .args(quiet)
                .current_dir(folder),
        )
    };
    npm(&["install", "--package-lock-only"])?;
    let lock = read_json(&folder.join("package-lock.json"))?;
    let packages = lock["packages"].as_object().into_iter().flatten();
    let mut packages = packages.filter(|(path, _)| !path.is_empty());
    if let Some((path, _)) = packages.find(|(_, package)| !package["integrity"].is_string()) {
        let why = format!("{} has no hash in the lock file", text::line(path));
        return Err(failed(&why));
    }
    npm(&["ci"])?;
    let own = folder.join("node_modules").join(name);
    let about = read_json(&own.join("package.json"))?;
    let base = name.rsplit('/').next().unwrap_or(name);
    let script = match &about["bin"] {
        Value::String(script) => Some(script.clone()),
        Value::Object(all) => {
            let only = all.values().next().filter(|_| all.len() == 1);
            all.get(base)
                .or(only)
                .and_then(Value::as_str)
                .map(str::to_owned)
        }
        _ => None,
    };
    let script = script.ok_or_else(|| failed(&format!("{name} has no program of its own")))?;
    Ok(Installed {
        program: node.to_owned(),
        arguments: vec![own.join(script).display().to_string()],
        code: vec![folder.to_owned()],
    })
}

fn pypi(name: &str, version: &str, python: &Path, folder: &Path) -> Result<Installed, Stop> {
    let report = folder.join("report.json");
    let pip = |act: &[&str], file: &Path| {
        let mut command = Command::new(python);
        command.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]);
        command.args(["--only-binary", ":all:"]).args(act).arg(file);
        said(&mut command)
    };
    let exact = format!("{name}=={version}");
    pip(
        &["--dry-run", "--ignore-installed", &exact, "--report"],
        &report,
    )?;
    let lock = folder.join("requirements.lock");
    write(&lock, &locked(&read_json(&report)?)?)?;
    let site = folder.join("site");
    let target = site.display().to_string();
    pip(
        &[
            "--require-hashes",
            "--no-deps",
            "--no-compile",
            "--target",
            &target,
            "-r",
        ],
        &lock,
    )?;
    let (module, function) = entry_point(name, &site)?;
    let object = function.split('.').next().unwrap_or(&function);
    let start = PYTHON
        .replace("MODULE", &module)
        .replace("OBJECT", object)
        .replace("FUNCTION", &function);
    let mut code = vec![folder.to_owned()];
    let stdlib = "import sysconfig; print(sysconfig.get_path('stdlib'))";
    let stdlib = PathBuf::from(said(Command::new(python).args(["-c", stdlib]))?.trim());
    // Those of the system are in every sandbox of a server.
    if !["/usr/lib", "/usr/local"]
        .iter()
        .any(|system| stdlib.starts_with(system))
    {
        code.push(stdlib);
    }
    Ok(Installed {
        program: python.to_owned(),
        arguments: vec!["-I".into(), "-B".into(), "-c".into(), start, target],
        code,
    })
}

/// The lock file of what pip would install.
fn locked(report: &Value) -> Result<String, Stop> {
    let mut lines = String::new();
    for package in report["install"].as_array().into_iter().flatten() {
        let about = &package["metadata"];
        let hash = &package["download_info"]["archive_info"]["hashes"]["sha256"];
        let (Some(name), Some(version), Some(hash)) = (
            about["name"].as_str(),
            about["version"].as_str(),
            hash.as_str(),
        ) else {
            return Err(failed("pip names a package without a hash"));
        };
        lines.push_str(&format!("{name}=={version} --hash=sha256:{hash}\n"));
    }
    match lines.is_empty() {
        true => Err(failed("pip names no package")),
        false => Ok(lines),
    }
}

/// Module and function of the program of a package.
fn entry_point(name: &str, site: &Path) -> Result<(String, String), Stop> {
    let plain = |name: &str| name.to_ascii_lowercase().replace(['-', '.'], "_");
    let entries = fs::read_dir(site).map_err(|error| failed(&error.to_string()))?;
    let mut folders = entries.flatten().map(|entry| entry.path());
    let about = folders.find(|path| {
        let folder = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let named = folder
            .strip_suffix(".dist-info")
            .and_then(|rest| rest.rsplit_once('-'));
        named.is_some_and(|(of, _)| plain(of) == plain(name))
    });
    let points = about.map(|about| fs::read_to_string(about.join("entry_points.txt")));
    let points = points.and_then(Result::ok).unwrap_or_default();
    let scripts = points.split("[console_scripts]").nth(1).unwrap_or_default();
    let scripts = scripts
        .lines()
        .take_while(|line| !line.trim_start().starts_with('['));
    let all: Vec<(&str, &str)> = scripts
        .filter_map(|line| line.split_once('='))
        .map(|(name, of)| (name.trim(), of.trim()))
        .collect();
    let only = all.first().filter(|_| all.len() == 1);
    let own = all
        .iter()
        .find(|(script, _)| plain(script) == plain(name))
        .or(only);
    let target = own.and_then(|(_, target)| target.split_once(':'));
    let (module, function) =
        target.ok_or_else(|| failed(&format!("{name} has no program of its own")))?;
    let is_name = |text: &str| {
        text.chars()
            .all(|c| c.is_ascii_alphanumeric() || "._".contains(c))
    };
    match is_name(module) && is_name(function) {
        true => Ok((module.to_owned(), function.to_owned())),
        false => Err(failed("the name of its program is none")),
    }
}

/// What a program says on its standard output.
fn said(command: &mut Command) -> Result<String, Stop> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| failed(&format!("{program}: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let error = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> = error
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let last = lines.iter().rev().take(6).rev();
    let last: Vec<_> = last.map(|line| text::line(line)).collect();
    Err(failed(&format!("{program} failed: {}", last.join("; "))))
}

fn write(path: &Path, words: &str) -> Result<(), Stop> {
    fs::write(path, words).map_err(|error| failed(&format!("{}: {error}", path.display())))
}

fn read_json(path: &Path) -> Result<Value, Stop> {
    let read =
        fs::read(path).and_then(|bytes| serde_json::from_slice(&bytes).map_err(io::Error::other));
    read.map_err(|error| failed(&format!("{}: {error}", path.display())))
}

fn failed(why: &str) -> Stop {
    Stop::new(Exit::Failed, "install_failed", why.to_owned())
        .next("nothing is lent; what was installed is removed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_have_one_exact_version() {
        let read = Package::read;
        assert_eq!(
            read("npm:@a/b@1.2.3"),
            Some(Package::Npm {
                name: "@a/b".into(),
                version: "1.2.3".into()
            })
        );
        assert!(matches!(
            read("pypi:mcp-server-time==2026.1"),
            Some(Package::PyPi { .. })
        ));
        for text in [
            "npm:b",
            "npm:b@latest",
            "npm:b@^1",
            "npm:../b@1.0.0",
            "npm:-g@1.0.0",
            "pypi:b",
            "pypi:b==",
            "pypi:b>=1",
            "pypi:-r==1",
            "git:b@1",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn lock_file_has_a_hash_of_every_package() {
        let package = |hashes: Value| {
            json!({
                "metadata": {"name": "a", "version": "1"}, "download_info": {"archive_info": {"hashes": hashes}},
            })
        };
        let lock = locked(&json!({"install": [package(json!({"sha256": "ff"}))]}));
        assert_eq!(lock.unwrap(), "a==1 --hash=sha256:ff\n");
        let why = |install: Value| locked(&json!({ "install": install })).unwrap_err().why;
        let unhashed = why(json!([package(json!({}))]));
        assert!(
            unhashed.contains("pip names a package without a hash"),
            "{unhashed}"
        );
        let none = why(json!([]));
        assert!(none.contains("pip names no package"), "{none}");
    }
}
