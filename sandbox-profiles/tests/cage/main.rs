//! The real launcher, the real profiles, a hostile worker. Every denial is shown twice: the act is refused in
//! the cage, and the same act outside it works, so a refusal is the cage's and not the machine's.

// Those of Linux alone have their reasons in decision 0138.
mod files;
mod probe;
mod processes;
mod sockets;
mod worker;

#[cfg(target_os = "linux")]
mod agent;
#[cfg(target_os = "linux")]
mod answers;
#[cfg(target_os = "linux")]
mod connects;
#[cfg(target_os = "linux")]
mod floor;
#[cfg(target_os = "linux")]
mod holding;
#[cfg(target_os = "linux")]
mod keeper;
#[cfg(target_os = "linux")]
mod kernel;
#[cfg(target_os = "linux")]
mod launcher;

#[allow(dead_code, unreachable_pub, reason = "the stories' harness uses all")]
#[path = "../../../tests/src/waiting.rs"]
mod waiting;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::errno::Errno;
use plexus_sandbox::{Limits, launcher_command};
use waiting::lines;

#[cfg(target_os = "linux")]
plexus_hostile::in_own_processes!();

const OBSIDIAN: &str = include_str!("../../obsidian.sb");
const WORKSPACE: &str = include_str!("../../workspace.sb");

/// The variable with which this suite is run again as if on another kernel: see `floor`.
const KERNEL: &str = "PLEXUS_TEST_KERNEL";

/// What a refusal by the cage may look like: Landlock says EACCES, seccomp and Seatbelt say EPERM.
const REFUSALS: [Errno; 2] = [Errno::EPERM, Errno::EACCES];

/// A profile with its parameters, and a folder for each.
struct Cage {
    /// Everything below lies in it and goes with it.
    _home: tempfile::TempDir,
    profile: String,
    role: &'static str,
    limits: Limits,
    /// The kernel to pretend, as `old-kernel` takes it; empty for the one that runs.
    kernel: String,
    root: PathBuf,
    scratch: PathBuf,
    /// Readable and writable for the owner, granted to no worker.
    outside: PathBuf,
}

/// What became of an act.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Done(String),
    Refused(Errno),
}

impl Cage {
    fn reader() -> Self {
        Self::new(WORKSPACE, "reader")
    }

    fn writer() -> Self {
        Self::new(WORKSPACE, "writer")
    }

    /// One that reads, one that writes, and one of another profile.
    fn leaves() -> [Self; 3] {
        [
            Self::reader(),
            Self::writer(),
            Self::new(OBSIDIAN, "reader"),
        ]
    }

    fn new(profile: &str, role: &'static str) -> Self {
        let home = tempfile::tempdir().expect("a folder for the test");
        let path = home.path().canonicalize().expect("its resolved path");
        let [root, scratch, outside] = ["root", "scratch", "outside"].map(|name| path.join(name));
        for folder in [&root, &scratch, &outside] {
            std::fs::create_dir(folder).expect("an empty folder");
            std::fs::write(folder.join("note.md"), "text").expect("a file to attack");
        }
        Self {
            _home: home,
            profile: profile.to_owned(),
            role,
            limits: Limits::default(),
            kernel: std::env::var(KERNEL).unwrap_or_default(),
            root,
            scratch,
            outside,
        }
    }

    /// The same cage with one more rule.
    fn with(mut self, rule: &str) -> Self {
        self.profile.push_str(rule);
        self
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.command_for(&hostile(), arguments)
    }

    fn command_for(&self, worker: &Path, arguments: &[&str]) -> Command {
        let text = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
        let parameters = [
            ("WORKER".to_owned(), text(worker)),
            ("ROOT".to_owned(), text(&self.root)),
            ("SCRATCH".to_owned(), text(&self.scratch)),
            ("ROLE".to_owned(), self.role.to_owned()),
        ];
        let launcher = Path::new(env!("CARGO_BIN_EXE_plexus-sandbox-exec"));
        let (program, line) =
            launcher_command(&self.profile, &parameters, &self.limits, launcher, worker);
        let mut command = if self.kernel.is_empty() {
            Command::new(program)
        } else {
            let mut command = Command::new(example("old-kernel"));
            command.arg(&self.kernel).arg(program);
            command
        };
        command
            .args(line)
            .args(arguments)
            .env_clear()
            .stdin(Stdio::null());
        command
    }

    /// The same cage as if on another kernel.
    #[cfg(target_os = "linux")]
    fn on(mut self, kernel: &str) -> Self {
        kernel.clone_into(&mut self.kernel);
        self
    }

    /// Runs an act in the cage.
    fn run(&self, act: &[&str]) -> Outcome {
        ran(&mut self.command(act))
    }

    /// The act is refused inside.
    #[track_caller]
    fn refuses(&self, act: &[&str], refusals: &[Errno]) {
        match self.run(act) {
            Outcome::Refused(errno) if refusals.contains(&errno) => {}
            other => panic!("{act:?} in the cage: {other:?}"),
        }
    }

    /// The act is refused inside, and works outside. Inside comes first: it must leave the act undone.
    #[track_caller]
    fn denies(&self, act: &[&str]) {
        self.denies_with(act, &REFUSALS);
    }

    #[track_caller]
    fn denies_with(&self, act: &[&str], refusals: &[Errno]) {
        self.refuses(act, refusals);
        works(act);
    }

    /// As [`Self::denies`], for what some machines offer to nobody: there the refusal inside is all there is. Such a machine
    /// answers outside by what any call may be answered there, or by `also`; an act that is mistaken does not pass for one.
    #[cfg(target_os = "linux")]
    #[track_caller]
    fn denies_where_offered(&self, act: &[&str], also: &[Errno]) {
        match uncaged(act) {
            Outcome::Done(_) => self.denies(act),
            Outcome::Refused(errno) => {
                let is_missing = plexus_hostile::offered::is_missing(errno, also);
                assert!(is_missing, "{act:?} outside the cage: {errno}");
                self.refuses(act, &REFUSALS);
            }
        }
    }

    /// The kernel ends a process that does this inside, and outside it works. If the kernel does not have it, it says so by
    /// SIGSEGV, inside and outside.
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    #[track_caller]
    fn ends(&self, act: &[&str]) {
        use std::os::unix::process::ExitStatusExt;
        let free = free(act).env_clear().stdin(Stdio::null()).output();
        let free = free.expect("the hostile worker starts");
        let missing = free.status.signal() == Some(libc::SIGSEGV);
        if !missing {
            assert_eq!(outcome(&free), Outcome::Done(String::new()), "{act:?}");
        }
        let caged = self.command(act).output().expect("the launcher starts");
        let by = if missing { libc::SIGSEGV } else { libc::SIGSYS };
        assert_eq!(caged.status.signal(), Some(by), "{act:?} in the cage");
    }

    /// The act works inside.
    #[track_caller]
    fn allows(&self, act: &[&str]) -> String {
        match self.run(act) {
            Outcome::Done(said) => said,
            Outcome::Refused(errno) => panic!("{act:?} is refused: {errno}"),
        }
    }

    fn in_root(&self, name: &str) -> String {
        self.root.join(name).display().to_string()
    }

    fn in_scratch(&self, name: &str) -> String {
        self.scratch.join(name).display().to_string()
    }

    fn outside(&self, name: &str) -> String {
        self.outside.join(name).display().to_string()
    }
}

/// Runs an act without a cage.
fn uncaged(act: &[&str]) -> Outcome {
    ran(free(act).env_clear().stdin(Stdio::null()))
}

/// The hostile worker without a cage, about to do this.
fn free(act: &[&str]) -> Command {
    let mut command = Command::new(hostile());
    command.args(act);
    command
}

/// What becomes of a command's act.
#[track_caller]
fn ran(command: &mut Command) -> Outcome {
    outcome(&command.output().expect("it starts"))
}

/// The control: the act works without a cage, or its refusal in one proves nothing.
#[track_caller]
fn works(act: &[&str]) {
    let free = uncaged(act);
    assert!(
        matches!(free, Outcome::Done(_)),
        "{act:?} without a cage: {free:?}"
    );
}

/// Who listens at an address, and on which port.
fn listener(address: &str) -> (TcpListener, String) {
    let listener = TcpListener::bind(address).expect("a port");
    let port = port_of(&listener);
    (listener, port)
}

fn port_of(listener: &TcpListener) -> String {
    listener
        .local_addr()
        .expect("an address")
        .port()
        .to_string()
}

#[track_caller]
fn outcome(output: &Output) -> Outcome {
    let said = String::from_utf8_lossy(&output.stdout);
    let parsed = match said.trim_end().split_once(' ') {
        Some(("refused", errno)) => {
            let errno = errno.parse().ok();
            errno.map(|errno| Outcome::Refused(Errno::from_raw(errno)))
        }
        Some(("done", rest)) => Some(Outcome::Done(rest.to_owned())),
        _ => (said.trim_end() == "done").then(|| Outcome::Done(String::new())),
    };
    // A kernel without Landlock ends here, with the launcher's own words.
    parsed.unwrap_or_else(|| {
        panic!(
            "no answer ({}): {said}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

/// The hostile worker, which `cargo test` builds as an example beside the tests.
fn hostile() -> PathBuf {
    example("hostile")
}

fn example(name: &str) -> PathBuf {
    let tests = std::env::current_exe().expect("the test's own path");
    let target = tests.ancestors().nth(2).expect("target/<profile>/deps");
    let path = target.join("examples").join(name);
    assert!(
        path.is_file(),
        "{} is not built; run all of `cargo test -p plexus-sandbox`, or add `--examples`",
        path.display()
    );
    path.canonicalize().expect("its resolved path")
}

/// A hostile worker, uncaged, that stays until it is dropped: somebody else's process.
struct Bystander(Child);

impl Bystander {
    fn start() -> Self {
        Self::wait_for(Command::new(hostile()).args(if cfg!(target_os = "linux") {
            &["traceable", "stay"][..]
        } else {
            &["stay"]
        }))
    }

    /// Starts a worker that runs the act `stay`, and waits until it is there.
    fn wait_for(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let line = lines(child.stdout.take().expect("piped")).next();
        let line = line.expect("it says that it is there");
        assert!(line.starts_with("here "), "{line}");
        Self(child)
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        drop(self.0.stdin.take()); // which is what it waits for
        _ = self.0.wait();
    }
}
