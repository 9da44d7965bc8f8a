//! The empty account of the newcomer, the clone, and cargo in it.

use crate::office::Running;
use plexus_tests::coding_agents::claude;
use plexus_tests::programs::{self, Said};
use plexus_tests::waiting::{PATIENCE, until_true};
use plexus_tests::{Folder, binaries, vault, workspace};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// An empty account, and what the person shares.
pub(super) struct Newcomer {
    pub(super) home: TempDir,
    pub(super) vault: Folder,
    pub(super) workspace: Folder,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests lie in the workspace")
}

/// Cargo's folder of this workspace.
fn target() -> PathBuf {
    let profile = binaries::folder();
    let target = profile.parent().expect("a profile's folder lies in target");
    target.to_path_buf()
}

/// Where the clone goes: always the same place, so that a build replaces the one before.
fn clone() -> PathBuf {
    target().join("newcomer/clone")
}

/// A file that is, byte for byte, as in the clone before has its time too: cargo then builds only what is another.
fn keep_times(before: &Path, now: &Path) {
    for entry in fs::read_dir(now).expect("a folder").flatten() {
        let (old, new) = (before.join(entry.file_name()), entry.path());
        if entry.file_type().expect("a type").is_dir() {
            keep_times(&old, &new);
        } else if let Ok(bytes) = fs::read(&old)
            && bytes == fs::read(&new).expect("a file")
        {
            let time = old.metadata().and_then(|meta| meta.modified());
            fs::File::open(&new)
                .and_then(|file| file.set_modified(time?))
                .expect("its time");
        }
    }
}

/// A variable of this process, or a folder in the home of the person who runs the tests.
fn tools(variable: &str, folder: &str) -> PathBuf {
    let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    std::env::var_os(variable).map_or_else(|| home.join(folder), PathBuf::from)
}

impl Newcomer {
    pub(super) fn new() -> Self {
        Self {
            home: TempDir::with_prefix("plx").expect("a folder"),
            vault: vault(),
            workspace: workspace(),
        }
    }
    /// A fresh clone of what is committed here.
    #[track_caller]
    pub(super) fn clones(&self) {
        let (to, before) = (clone(), clone().with_extension("before"));
        let _ = fs::remove_dir_all(&before);
        let _ = fs::rename(&to, &before);
        let (from, into) = (root().to_string_lossy(), to.to_string_lossy());
        self.types(&["git", "clone", "--quiet", "--local", &from, &into])
            .expect_ok();
        if before.is_dir() {
            keep_times(&before, &to);
        }
    }
    pub(super) fn bin(&self) -> PathBuf {
        self.home.path().join(".local/bin")
    }
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = programs::command(Path::new(program), self.home.path());
        let path = std::env::var("PATH").unwrap_or_default();
        let claude = claude();
        let agents = claude.parent().expect("a program lies in a folder");
        command
            .env(
                "PATH",
                format!("{}:{}:{path}", self.bin().display(), agents.display()),
            )
            .env("LC_ALL", "C.UTF-8");
        command
    }
    #[track_caller]
    pub(super) fn types(&self, line: &[&str]) -> Said {
        let mut command = self.command(line[0]);
        command.args(&line[1..]);
        programs::run(command)
    }
    /// As the owner at a terminal.
    #[track_caller]
    pub(super) fn owner(&self, line: &[&str]) -> Said {
        self.types(&[&["plexusctl", "--i-am-the-owner"], line].concat())
    }
    /// Cargo in the clone. It builds into the folder of this workspace's own build, where everything that comes from
    /// elsewhere lies built already; what it makes goes to a folder of its own.
    #[track_caller]
    pub(super) fn cargo(&self, line: &[&str]) -> Said {
        let mut command = self.command("cargo");
        command
            .current_dir(clone())
            .env("CARGO_HOME", tools("CARGO_HOME", ".cargo"))
            .env("RUSTUP_HOME", tools("RUSTUP_HOME", ".rustup"))
            .env("CARGO_BUILD_BUILD_DIR", target())
            .env("CARGO_TARGET_DIR", target().join("newcomer/target"))
            // Nothing is edited there, and nobody debugs it.
            .env("CARGO_INCREMENTAL", "0")
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .args(line);
        programs::run_within(PATIENCE * 30, command)
    }
    /// Every file and folder of the account.
    pub(super) fn tree(&self) -> Vec<String> {
        let (mut found, mut open) = (Vec::new(), vec![self.home.path().to_path_buf()]);
        while let Some(at) = open.pop() {
            for entry in fs::read_dir(&at).expect("a folder").flatten() {
                let path = entry.path();
                let below = path.strip_prefix(self.home.path()).expect("below");
                found.push(below.to_string_lossy().into_owned());
                if entry.file_type().expect("a type").is_dir() {
                    open.push(path);
                }
            }
        }
        found.sort();
        found
    }
    /// The gateway, which the person starts by hand: there is no service manager for a test.
    pub(super) fn plexusd(&self, program: &str, home: &Path) -> Running {
        let mut command = self.command(program);
        command
            .arg("--home")
            .arg(home)
            .args(["--port", "0", "--vault"])
            .arg(self.vault.path())
            .arg("--workspace")
            .arg(self.workspace.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let running = Running(command.spawn().expect("it starts"));
        until_true("the gateway serves", || {
            let status = self.types(&["plexusctl", "--home", &home.to_string_lossy(), "status"]);
            status.status == 0
        });
        running
    }
}

impl Running {
    /// Ends it as a person does, and holds that it ends well.
    pub(super) fn stop(self) {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        assert!(self.ended().success());
    }
}
