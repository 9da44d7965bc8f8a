//! Releases of this build, and accounts that they are installed in.

use plexus_tests::binaries;
use plexus_tests::editions::{self, BUILD};
use plexus_tests::folders::write_program;
use plexus_tests::programs::{self, Said};
use plexus_tests::waiting::lines;
use sha2::Digest as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A key for releases of tests alone: everybody can read it here.
const KEY: &str = "untrusted comment: minisign encrypted secret key\n\
    RWQAAEIyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAANmXhT3Z5dBgxvvS4Ur1OXc8kvsnaqgk75i1mhD0w+VotWv7Bw7CYBO0xosBD0MX40rixAyrlazOINZlnUJO8ytU95BI7KT1HAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";
/// Another one.
const OTHER: &str = "untrusted comment: minisign encrypted secret key\n\
    RWQAAEIyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAwzJ9wgAabelXbWdhYfga7JzOdVN8r8j9qd47X+SZccROhLPxCC5XF+rfbMhFbUfvUXrO13lw/CZf5xMMt0xtPN78nAOq5DI4AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";

/// What a story starts of a whole release; the other programs are stand-ins, which makes it quick to pack.
const STARTED: [&str; 5] = [
    "plexus",
    "plexusctl",
    "plexusd",
    "plexus-sandbox-exec",
    "plexus-worker-workspace",
];
/// What a light one is: its plexusctl places it.
const LIGHT: [&str; 1] = ["plexusctl"];
/// The programs of a minimal system that the script uses.
const SYSTEM: [&str; 23] = [
    "sh",
    "base64",
    "cat",
    "cp",
    "curl",
    "dirname",
    "getconf",
    "gzip",
    "id",
    "mkdir",
    "mktemp",
    "openssl",
    "printf",
    "rm",
    "sed",
    "sha256sum",
    "tail",
    "tar",
    "uname",
    "pwd",
    "ls",
    "env",
    "true",
];

/// A release in the folder that `cargo xtask dist` made.
pub(super) struct Offer {
    out: TempDir,
}

impl Offer {
    /// A release of this build under another name of it, with what a gateway needs for a folder.
    pub(super) fn whole(build: &str) -> Self {
        Self::make(build, &STARTED, Some(KEY))
    }
    /// One that can be put in place and nothing else.
    pub(super) fn light(build: &str) -> Self {
        Self::make(build, &LIGHT, Some(KEY))
    }
    pub(super) fn unsigned() -> Self {
        Self::make(BUILD, &LIGHT, None)
    }
    /// A light one of a later version that somebody else signed.
    pub(super) fn signed_by_another(&self) -> Self {
        Self::make(&editions::later(), &LIGHT, Some(OTHER))
    }

    #[track_caller]
    fn make(build: &str, real: &[&str], key: Option<&str>) -> Self {
        let (programs, out) = (folder(), folder());
        for name in binaries::shipped() {
            let to = programs.path().join(&name);
            match real.contains(&name.as_str()) {
                true => strip(&to, &name, build),
                false => stand_in(&to, build),
            }
        }
        let mut dist = Command::new(binaries::path("xtask"));
        dist.arg("dist").arg("--binaries").arg(programs.path());
        dist.arg("--out").arg(out.path());
        if let Some(key) = key {
            let file = programs.path().join("release.key");
            fs::write(&file, key).expect("the key");
            dist.arg("--key").arg(file);
        }
        programs::run(dist).expect_ok();
        Self { out }
    }

    pub(super) fn folder(&self) -> String {
        self.out.path().display().to_string()
    }
    /// The name of its tarball.
    pub(super) fn tarball(&self) -> String {
        let entries = fs::read_dir(self.out.path()).expect("the folder").flatten();
        let mut names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.find(|name| name.ends_with(".tar.gz")).expect("it")
    }
    /// The digest of one of its files.
    fn digest(&self, name: &str) -> String {
        let bytes = fs::read(self.out.path().join(name)).expect("a file");
        let digest = sha2::Sha256::digest(bytes);
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn copy(&self) -> Self {
        let out = folder();
        for entry in fs::read_dir(self.out.path()).expect("the folder").flatten() {
            fs::copy(entry.path(), out.path().join(entry.file_name())).expect("a copy");
        }
        Self { out }
    }
    /// The same with one bit of a file flipped, in its middle.
    pub(super) fn with_flipped(&self, name: &str) -> Self {
        let copy = self.copy();
        let file = copy.out.path().join(name);
        let mut bytes = fs::read(&file).expect("a file");
        // Of a signature, a letter of the signature itself.
        let at = match name.ends_with(".minisig") {
            true => {
                bytes
                    .iter()
                    .position(|byte| *byte == b'\n')
                    .expect("a line")
                    + 30
            }
            false => bytes.len() / 2,
        };
        bytes[at] ^= 1;
        fs::write(&file, bytes).expect("a file");
        copy
    }
    pub(super) fn without(&self, name: &str) -> Self {
        let copy = self.copy();
        fs::remove_file(copy.out.path().join(name)).expect("it goes");
        copy
    }
    /// The same with another script.
    pub(super) fn with_script(&self, change: impl FnOnce(&mut String)) -> Self {
        let copy = self.copy();
        let file = copy.out.path().join("install.sh");
        let mut script = fs::read_to_string(&file).expect("the script");
        change(&mut script);
        fs::write(&file, script).expect("the script");
        copy
    }
    /// The same with a signature that the script's list has and the key did not make.
    pub(super) fn forged(&self) -> Self {
        let signature = format!("{}.minisig", self.tarball());
        let other = self.with_flipped(&signature);
        let (known, digest) = (self.digest(&signature), other.digest(&signature));
        other.with_script(|script| *script = script.replace(&known, &digest))
    }
    pub(super) fn for_glibc(&self, version: &str) -> Self {
        self.with_value("glibc='", version)
    }
    pub(super) fn for_kind(&self, kind: &str) -> Self {
        self.with_value("kind='", kind)
    }
    fn with_value(&self, variable: &str, value: &str) -> Self {
        self.with_script(|script| {
            let at = script.find(variable).expect("the variable") + variable.len();
            let end = script[at..].find('\'').expect("its end") + at;
            script.replace_range(at..end, value);
        })
    }

    /// Offers it as many people do.
    pub(super) fn serve(&self) -> Web {
        let mut server = Command::new("python3")
            .args(["-u", "-m", "http.server", "--bind", "127.0.0.1", "0"])
            .current_dir(self.out.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("python3");
        let mut said = lines(server.stdout.take().expect("a pipe"));
        let line = said.next().expect("a line of http.server");
        let port = line
            .split("port ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        let address = format!("http://127.0.0.1:{}", port.expect("a port"));
        Web { server, address }
    }
}

/// A web server; it ends with the value.
pub(super) struct Web {
    server: Child,
    pub(super) address: String,
}

impl Drop for Web {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// An account with nothing in it, on a system with few programs.
pub(super) struct Account {
    home: TempDir,
    programs: TempDir,
}

impl Account {
    pub(super) fn new() -> Self {
        Self::at(folder())
    }
    pub(super) fn at(home: TempDir) -> Self {
        let account = Self {
            home,
            programs: folder(),
        };
        for name in SYSTEM {
            account.link(name);
        }
        account
    }
    /// One on a system whose only programs that check a signature are these.
    pub(super) fn with_checkers(checkers: &[&str]) -> Self {
        let account = Self::new();
        fs::remove_file(account.programs().join("openssl")).expect("openssl was there");
        for name in checkers {
            account.link(name);
            let is_there = account.programs().join(name).is_file();
            assert!(
                is_there,
                "{name} is missing; type: sudo apt-get install {name}"
            );
        }
        account
    }
    /// Gives its system a program of this one, if there is one.
    fn link(&self, name: &str) {
        let all = std::env::var_os("PATH").unwrap_or_default();
        let mut found = std::env::split_paths(&all).map(|folder| folder.join(name));
        if let Some(program) = found.find(|path| path.is_file()) {
            symlink(program, self.programs().join(name)).expect("a link");
        }
    }
    /// Gives its system a program that is a script.
    pub(super) fn script(&self, name: &str, text: &str) {
        let path = self.programs().join(name);
        // A link there is the machine's own program.
        let _ = fs::remove_file(&path);
        write_program(&path, text);
    }
    pub(super) fn home(&self) -> &Path {
        self.home.path()
    }
    pub(super) fn programs(&self) -> &Path {
        self.programs.path()
    }
    pub(super) fn prefix(&self) -> PathBuf {
        self.home.path().join(".local")
    }
    pub(super) fn command(&self, program: &Path, line: &[&str]) -> Said {
        let mut command = programs::command(program, self.home.path());
        command.env("PATH", self.programs.path()).args(line);
        programs::run(command)
    }
    /// A line in a shell.
    pub(super) fn sh(&self, line: &str) -> Said {
        self.command(&self.programs.path().join("sh"), &["-c", line])
    }
    /// The release's script, without a question; from its own folder, unless `line` says otherwise.
    pub(super) fn installing(&self, offer: &Offer, line: &[&str]) -> Command {
        let mut command = self.asking(offer);
        command.arg("--yes").args(line);
        command
    }
    /// The release's script, from its own folder; it asks.
    pub(super) fn asking(&self, offer: &Offer) -> Command {
        let mut command = programs::command(&self.programs.path().join("sh"), self.home.path());
        command.env("PATH", self.programs.path());
        command.arg(offer.out.path().join("install.sh"));
        command.args(["--root", "--from"]).arg(offer.out.path());
        command
    }
    pub(super) fn install(&self, offer: &Offer, line: &[&str]) -> Said {
        programs::run(self.installing(offer, line))
    }
    /// Every file and folder of the account.
    pub(super) fn tree(&self) -> Vec<String> {
        crate::install::tree(self.home.path())
    }
}

fn folder() -> TempDir {
    TempDir::with_prefix("plx").expect("a folder")
}

/// A program of the workspace as `build` would ship it.
#[track_caller]
fn strip(to: &Path, name: &str, build: &str) {
    let folder = to.parent().expect("a folder");
    match ["plexusd", "plexus-worker-workspace"].contains(&name) {
        true => editions::ship(folder, name, build),
        false => drop(fs::copy(binaries::path(name), to).expect("a copy")),
    }
    let mut strip = Command::new("strip");
    strip.arg(to);
    programs::run(strip).expect_ok();
}

/// Answers what `dist` asks a program. It is a script, and it names a version of glibc as a program does.
fn stand_in(to: &Path, build: &str) {
    let version = build.split('+').next().expect("a version");
    let script = format!(
        "#!/bin/sh\n[ \"$1\" != edition ] || echo '{{\"version\":\"{version}\"}}'\n[ \"$1\" = edition ] || echo help\nexit\n\0GLIBC_2.17\0"
    );
    write_program(to, script);
}
