//! The proof that a cage holds: a worker attacks what it must not reach and tries what it must be able to do,
//! from inside, after it has given up its rights and before it says anything.
//!
//! Every attack aims at something that exists and that the gateway's user could reach uncaged, and only the
//! answers of a refusal (`EPERM`, `EACCES`) count: a target that is missing or busy proves nothing. Files are
//! judged by opening them; `stat` and `access` answer for paths that cannot be opened. The controls show that
//! the refusals are not those of a process that can do nothing at all.
//!
//! Invariants: an attack that gets through changes nothing that it does not undo; no attack names a process
//! other than the gateway and the parent. This module does not know who asks or what becomes of the report.

use std::fs::{File, FileTimes, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::os::unix::process::parent_id;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// What to attack. All targets must exist and be reachable for the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeTargets {
    /// A readable file outside every grant, just made by the gateway.
    pub canary: PathBuf,
    /// The gateway's state directory.
    pub state_dir: PathBuf,
    /// A TCP port on 127.0.0.1 on which the gateway listens.
    pub tcp_port: u16,
    /// A listening Unix stream socket.
    pub unix_socket: PathBuf,
    /// The folders of its source.
    pub places: Vec<ProbedFolder>,
    /// What the worker may do in those that are writable.
    pub role: Role,
    /// The gateway.
    pub parent_pid: u32,
    /// The process that the gateway started: this one, or its launcher, where that stayed outside of the cage.
    pub launcher_pid: u32,
}

/// A folder that the worker's source names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbedFolder {
    /// What the report calls it, such as `root`.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Whether the writer may change what lies there.
    pub writable: bool,
}

/// What a worker may do to the writable folders of its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Read.
    Reader,
    /// Read and change.
    Writer,
}

/// What came of the attacks and controls, in the order in which they were made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CageReport {
    /// One entry each.
    pub checks: Vec<Check>,
}

/// One attack or control.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was tried, in a few fixed words.
    pub name: String,
    /// Which of the two it is.
    pub kind: CheckKind,
    /// Whether it came out as it must: the attack was refused, the control worked.
    pub held: bool,
    /// What the kernel answered.
    pub detail: String,
}

/// Whether a check must fail or succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckKind {
    /// Must be refused.
    Attack,
    /// Must work.
    Control,
}

impl CageReport {
    /// Whether the worker may start: there were attacks and controls, and all came out as they must.
    #[must_use]
    pub fn sound(&self) -> bool {
        let has = |kind| self.checks.iter().any(|check| check.kind == kind);
        has(CheckKind::Attack)
            && has(CheckKind::Control)
            && self.checks.iter().all(|check| check.held)
    }

    /// The checks that did not come out as they must.
    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| !check.held)
    }

    fn attack<T>(&mut self, name: &str, outcome: io::Result<T>) {
        let (held, detail) = match outcome {
            Ok(_) => (false, "went through".to_owned()),
            Err(error) if is_refusal(&error) => (true, error.to_string()),
            Err(error) => (
                false,
                format!("failed for another reason, which proves nothing: {error}"),
            ),
        };
        self.checks.push(Check {
            name: name.to_owned(),
            kind: CheckKind::Attack,
            held,
            detail,
        });
    }

    fn control<T>(&mut self, name: &str, outcome: io::Result<T>) {
        let (held, detail) = match outcome {
            Ok(_) => (true, "works".to_owned()),
            Err(error) => (false, error.to_string()),
        };
        self.checks.push(Check {
            name: name.to_owned(),
            kind: CheckKind::Control,
            held,
            detail,
        });
    }
}

/// Longest wait for a connection that nobody refuses: loopback answers in microseconds.
const CONNECT_PATIENCE: Duration = Duration::from_secs(1);

/// Attacks `targets` from this process. Call it after [`give_up_exec_and_fork`](crate::give_up_exec_and_fork);
/// before that, the attack on exec is answered by the profile alone. Blocks for at most a second or two.
#[must_use]
pub fn attack(targets: &ProbeTargets) -> CageReport {
    let mut report = CageReport { checks: Vec::new() };
    attack_files(&mut report, targets);
    attack_addresses(&mut report, targets.tcp_port, &targets.unix_socket);
    attack_processes(&mut report, targets);
    let places = targets.places.iter();
    let places: Vec<&ProbedFolder> = places.filter(|place| !lacks_consent(&place.path)).collect();
    try_controls(&mut report, targets, &places);
    for place in places {
        match targets.role {
            Role::Writer if place.writable => {
                control_place(&mut report, &place.name, create_and_remove(&place.path));
            }
            role => attack_place(&mut report, place, role),
        }
    }
    report
}

/// What a program that a worker starts must not reach. All targets exist and are reachable for the keeper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildTargets {
    /// A readable file outside every grant.
    pub canary: PathBuf,
    /// The gateway's state directory.
    pub state_dir: PathBuf,
    /// The folder of another run.
    pub neighbour: PathBuf,
    /// A TCP port on 127.0.0.1 that the keeper listens on.
    pub tcp_port: u16,
    /// A Unix socket that the keeper listens on.
    pub unix_socket: PathBuf,
    /// The keeper.
    pub keeper_pid: u32,
}

/// The parameter that names the program which makes the proof where the launcher itself is not in the cage: on macOS.
pub const PROOF: &str = "PROOF";

/// The profile of a child, with the one rule more by which that program is executed under it.
#[must_use]
pub fn with_proof(profile: &str) -> String {
    format!(
        "{profile}\n(allow file-read* process-exec* file-map-executable (literal (param \"{PROOF}\"))) ; the proof\n"
    )
}

/// As [`attack`], from the cage of a child and before the program is there. Whether it may start programs is its
/// profile's to say, so that is not tried.
#[must_use]
pub fn attack_as_child(targets: &ChildTargets) -> CageReport {
    let mut report = CageReport { checks: Vec::new() };
    report.attack("open the canary", File::open(&targets.canary));
    report.attack(
        "open the canary for writing",
        OpenOptions::new().append(true).open(&targets.canary),
    );
    report.attack(
        "list the state directory",
        std::fs::read_dir(&targets.state_dir),
    );
    report.attack(
        "list another run's folder",
        std::fs::read_dir(&targets.neighbour),
    );
    report.attack(
        "create a file in another run's folder",
        create_and_remove(&targets.neighbour),
    );
    attack_addresses(&mut report, targets.tcp_port, &targets.unix_socket);
    report.attack("signal the keeper", signal(targets.keeper_pid));
    report.attack("signal what ends the run", signal(parent_id()));
    report.control(
        "read /dev/null",
        File::open("/dev/null").and_then(|mut file| file.read(&mut [0])),
    );
    report.control("make a stream pair", UnixStream::pair());
    report
}

fn attack_files(report: &mut CageReport, targets: &ProbeTargets) {
    report.attack("open the canary", File::open(&targets.canary));
    report.attack(
        "open the canary for writing",
        OpenOptions::new().append(true).open(&targets.canary),
    );
    report.attack("open the state directory", File::open(&targets.state_dir));
    report.attack(
        "list the state directory",
        std::fs::read_dir(&targets.state_dir),
    );
}

fn attack_addresses(report: &mut CageReport, tcp_port: u16, unix_socket: &Path) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, tcp_port));
    report.attack(
        "connect to a TCP port",
        TcpStream::connect_timeout(&address, CONNECT_PATIENCE),
    );
    report.attack("connect to a Unix socket", UnixStream::connect(unix_socket));
    report.attack(
        "send a datagram to a Unix socket",
        UnixDatagram::unbound().and_then(|socket| socket.send_to(b"probe", unix_socket)),
    );
    // On Linux a pair can be pointed elsewhere; on macOS it answers EISCONN before any rule is asked.
    #[cfg(target_os = "linux")]
    report.attack(
        "send from a datagram pair to a Unix socket",
        UnixDatagram::pair().and_then(|(socket, _)| socket.send_to(b"probe", unix_socket)),
    );
}

fn attack_processes(report: &mut CageReport, targets: &ProbeTargets) {
    report.attack("signal the parent", signal(targets.parent_pid));
    if targets.launcher_pid != std::process::id() {
        report.attack("signal the launcher", signal(targets.launcher_pid));
    }
    #[cfg(target_os = "linux")]
    report.attack("execute a program", execute());
    report.attack("start a program", start());
}

/// Signal 0: asks whether a signal would be allowed and sends none.
fn signal(pid: u32) -> io::Result<()> {
    // 0 and 1 and what turns negative are groups, everyone, or init: not a parent that could be meant.
    match i32::try_from(pid) {
        Ok(pid) if pid > 1 => Ok(kill(Pid::from_raw(pid), None)?),
        _ => Err(io::Error::other(format!("{pid} is no gateway"))),
    }
}

/// An exec that cannot succeed, so that this process survives a cage with a hole: see `exec_error`.
#[cfg(target_os = "linux")]
fn execute() -> io::Result<()> {
    match crate::linux::exec_error(c"/usr/bin/true") {
        Errno::EFAULT => Ok(()),
        refused => Err(refused.into()),
    }
}

fn start() -> io::Result<()> {
    let mut child = Command::new("/usr/bin/true")
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    child.wait().map(drop)
}

/// Whether the owner has yet to let Plexus read a folder: macOS asks about some folders, and refuses them as a cage would.
/// That says nothing of the cage. The source cannot be opened either, and says so.
fn lacks_consent(folder: &Path) -> bool {
    cfg!(target_os = "macos") && std::fs::read_dir(folder).is_err_and(|error| is_refusal(&error))
}

fn try_controls(report: &mut CageReport, targets: &ProbeTargets, places: &[&ProbedFolder]) {
    for place in places {
        report.control(
            &format!("list the {}", place.name),
            std::fs::read_dir(&place.path).map(|mut entries| entries.next().is_some()),
        );
    }
    if places.is_empty() {
        report.control(
            "read the worker's executable",
            own_executable().and_then(File::open),
        );
    }
    report.control(
        "read /dev/null",
        File::open("/dev/null").and_then(|mut file| file.read(&mut [0])),
    );
    report.control("have the gateway as parent", own_parent(targets));
    report.control("make a stream pair", UnixStream::pair());
}

fn own_executable() -> io::Result<PathBuf> {
    // The kernel's own answer lies in /proc, which no worker reads; the launcher was given this path.
    std::env::args_os()
        .next()
        .map(PathBuf::from)
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// The gateway, or the launcher that it started and that started this.
fn own_parent(targets: &ProbeTargets) -> io::Result<()> {
    let expected = if targets.launcher_pid == std::process::id() {
        targets.parent_pid
    } else {
        targets.launcher_pid
    };
    match parent_id() {
        parent if parent == expected => Ok(()),
        parent => Err(io::Error::other(format!(
            "the parent is {parent}, not {expected}"
        ))),
    }
}

/// A disk that is full or only for reading says so of itself and nothing of the cage: then there is no such control.
/// The start goes on, and what cannot be written is told where something is written.
fn control_place(report: &mut CageReport, name: &str, written: io::Result<()>) {
    let disk = [Errno::ENOSPC, Errno::EDQUOT, Errno::EROFS];
    let is_disk = |error: &io::Error| errno(error).is_some_and(|errno| disk.contains(&errno));
    if !written.as_ref().is_err_and(is_disk) {
        report.control(&format!("write in the {name}"), written);
    }
}

/// What a worker must not do to a folder that it only reads.
fn attack_place(
    report: &mut CageReport,
    ProbedFolder { name, path, .. }: &ProbedFolder,
    role: Role,
) {
    report.attack(
        &format!("create a file in the {name}"),
        on_writable_system(create_and_remove(path)),
    );
    // The residual that the ruleset names: Linux holds no writer back here.
    if !(cfg!(target_os = "linux") && role == Role::Writer) {
        attack_metadata(report, name, path);
    }
    if let Some(file) = a_file_in(path) {
        report.attack(
            &format!("open a file of the {name} for writing"),
            on_writable_system(OpenOptions::new().append(true).open(&file)),
        );
        // A rename onto itself changes nothing. (macOS may say so before it asks any rule.)
        #[cfg(target_os = "linux")]
        report.attack(
            &format!("rename a file of the {name}"),
            on_writable_system(std::fs::rename(&file, &file)),
        );
    }
}

fn attack_metadata(report: &mut CageReport, name: &str, path: &Path) {
    let folder = File::open(path).and_then(|folder| Ok((folder.metadata()?, folder)));
    report.attack(
        &format!("change the mode of the {name}"),
        on_writable_system(
            folder
                .as_ref()
                .map_err(copy)
                .and_then(|(now, folder)| folder.set_permissions(now.permissions())),
        ),
    );
    report.attack(
        &format!("change the times of the {name}"),
        on_writable_system(folder.as_ref().map_err(copy).and_then(|(now, folder)| {
            folder.set_times(
                FileTimes::new()
                    .set_accessed(now.accessed()?)
                    .set_modified(now.modified()?),
            )
        })),
    );
}

/// Entries looked at for one file to attack: a folder may be large and the start must not wait for it.
const ENTRIES: usize = 256;

fn a_file_in(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .ok()?
        .take(ENTRIES)
        .filter_map(Result::ok);
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .map(|entry| entry.path())
        .next()
}

fn create_and_remove(folder: &Path) -> io::Result<()> {
    let path = folder.join(format!(".plexus-probe-{}", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .and_then(|mut file| file.write_all(b"probe"));
    // Removed unless it was another's: a leftover would be found by the owner.
    match written {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        Err(error) => {
            _ = std::fs::remove_file(&path);
            Err(error)
        }
        Ok(()) => std::fs::remove_file(&path),
    }
}

/// A folder on a read-only file system refuses before the cage is asked, and is as safe.
fn on_writable_system<T>(outcome: io::Result<T>) -> io::Result<T> {
    outcome.map_err(|error| match errno(&error) {
        Some(Errno::EROFS) => Errno::EPERM.into(),
        _ => error,
    })
}

fn is_refusal(error: &io::Error) -> bool {
    matches!(errno(error), Some(Errno::EPERM | Errno::EACCES))
}

fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw)
}

fn copy(error: &io::Error) -> io::Error {
    errno(error).map_or_else(|| io::Error::other(error.to_string()), io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_root(written: io::Result<()>) -> CageReport {
        let mut report = CageReport { checks: Vec::new() };
        report.attack::<()>("another", Err(Errno::EPERM.into()));
        report.control("another", Ok(()));
        control_place(&mut report, "root", written);
        report
    }

    #[test]
    fn a_full_disk_says_nothing_of_the_cage() {
        for full in [Errno::ENOSPC, Errno::EDQUOT, Errno::EROFS] {
            let report = with_root(Err(full.into()));
            assert!(report.sound(), "{full}");
            assert_eq!(report.checks.len(), 2, "{full}: no control is made up");
        }
        for refused in [Errno::EACCES, Errno::EPERM, Errno::ENOENT, Errno::EIO] {
            assert!(!with_root(Err(refused.into())).sound(), "{refused}");
        }
        assert_eq!(with_root(Ok(())).checks.len(), 3);
    }
}
