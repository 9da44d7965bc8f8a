//! What the evaluator of Seatbelt says, beside what this kernel does: the same operations under the same profiles, in the
//! real cage. If the two differ, the reason is in a table here, or the test fails.
//!
//! The kernel is Linux's, so this says nothing of Apple's. It holds that both readings of a profile are of one profile: a rule
//! that the evaluator takes for more, or for less, than the launcher does is found.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::errno::Errno;
use plexus_sandbox::profile::Profile;
use plexus_sandbox::ruleset::Parameters;
use plexus_sandbox::seatbelt::{Address, Endpoint, Operation, Place, Receiver, Seatbelt};
use plexus_sandbox::{Limits, launcher_command};

use crate::{Bystander, Cage, Outcome, hostile, listener, ran};

/// A refusal of any kind: a move out of its tree is EXDEV, an extended attribute in a run EOPNOTSUPP.
const REFUSALS: [Errno; 4] = [Errno::EPERM, Errno::EACCES, Errno::EXDEV, Errno::EOPNOTSUPP];

/// Where the two differ: the operation, in which sandboxes, which of the two allows it, and why.
#[rustfmt::skip]
const EXPLAINED: &[(&str, Sandboxes, Allows, &str)] = {
    use Allows::{Linux, Seatbelt};
    use Sandboxes::{All, OfRuns, OfWorkers};
    &[
        ("list /", All, Seatbelt, "macOS 26 needs it to start a program; a folder by itself grants nothing on Linux"),
        ("list /usr/lib", OfWorkers, Seatbelt, "Apple's base reads all of it, Linux's a list of libraries"),
        ("list /usr/share", OfWorkers, Seatbelt, "Apple's base reads all of it, Linux's the time zones"),
        ("execute /loader", All, Linux, "Linux's base lets the kernel start the loader of every dynamic program"),
        ("mode of root", OfWorkers, Seatbelt, "Linux's filter for a worker cannot tell its own files from others by their path"),
        (
            "mode of scratch",
            OfWorkers,
            Seatbelt,
            "Linux's filter for a worker cannot tell its own files from others by their path",
        ),
        ("attribute of root", OfRuns, Seatbelt, "Linux answers as a disk without extended attributes would"),
        ("attribute of scratch", OfRuns, Seatbelt, "Linux answers as a disk without extended attributes would"),
    ]
};

/// Whose sandboxes.
#[derive(Clone, Copy, Debug)]
enum Sandboxes {
    All,
    OfWorkers,
    OfRuns,
}

/// Which of the two allows an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Allows {
    Seatbelt,
    Linux,
}

/// One operation in one sandbox on which the two differ.
#[derive(Debug)]
struct Difference {
    label: &'static str,
    subject: String,
    allows: Allows,
    answer: String,
}

impl Difference {
    fn is_explained_by(
        &self,
        (label, sandboxes, allows, _): &(&str, Sandboxes, Allows, &str),
    ) -> bool {
        let of_runs = self.subject.starts_with("children/");
        let is_one = match sandboxes {
            Sandboxes::All => true,
            Sandboxes::OfWorkers => !of_runs,
            Sandboxes::OfRuns => of_runs,
        };
        self.label == *label && self.allows == *allows && is_one
    }
}

/// One profile in one role, with folders and listeners of its own.
struct Subject {
    name: String,
    text: String,
    parameters: Parameters,
    program: PathBuf,
}

impl Subject {
    fn all(cage: &Cage, ports: (&str, &str)) -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let home = cage.root.parent().expect("a home");
        let program = home.join("program");
        for name in ["program", "program-code-mode-host"] {
            std::fs::copy(hostile(), home.join(name)).expect("a program of its own");
        }
        let mut all = Vec::new();
        for entry in ["", "children"] {
            let entries = std::fs::read_dir(folder.join(entry)).expect("profiles");
            for path in entries.map(|entry| entry.expect("an entry").path()) {
                if path.extension().is_none_or(|extension| extension != "sb") {
                    continue;
                }
                let text = std::fs::read_to_string(&path).expect("its text");
                let name = path.file_stem().expect("a name").to_string_lossy();
                let asked = Profile::parse(&text).expect("it parses");
                let roles: &[&str] = match asked.parameters().contains("ROLE") {
                    true => &["reader", "writer"],
                    false => &["reader"],
                };
                for role in roles {
                    let mut parameters = Parameters::new();
                    for (key, value) in [
                        ("WORKER", hostile()),
                        ("PROGRAM", program.clone()),
                        ("ROOT", cage.root.clone()),
                        ("SCRATCH", cage.scratch.clone()),
                        ("ROLE", PathBuf::from(role)),
                        ("EGRESS_PORT", PathBuf::from(ports.0)),
                        ("PORT", PathBuf::from(ports.1)),
                        ("CALLS", home.join("calls")),
                        ("ANSWERS", home.join("answers")),
                    ] {
                        let value = value.to_str().expect("a text").to_owned();
                        if asked.parameters().contains(key) {
                            parameters.insert(key.to_owned(), value);
                        }
                    }
                    let is_run = parameters.contains_key("PROGRAM");
                    all.push(Self {
                        name: format!("{entry}/{name} {role}"),
                        text: text.clone(),
                        parameters,
                        program: if is_run { program.clone() } else { hostile() },
                    });
                }
            }
        }
        assert!(all.len() > 25, "{}", all.len());
        all
    }

    fn command(&self, act: &[&str]) -> Command {
        let launcher = Path::new(env!("CARGO_BIN_EXE_plexus-sandbox-exec"));
        let parameters: Vec<(String, String)> = self.parameters.clone().into_iter().collect();
        let (program, line) = launcher_command(
            &self.text,
            &parameters,
            &Limits::default(),
            launcher,
            &self.program,
        );
        let mut command = Command::new(program);
        command.args(line).args(act);
        command.env_clear().stdin(Stdio::null());
        command
    }

    fn seatbelt(&self) -> Seatbelt {
        let profile = Profile::parse(&self.text).expect("it parses");
        Seatbelt::new(&profile, &self.parameters).expect("it is understood")
    }

    /// Whether the kernel lets it through.
    fn kernel_allows(&self, act: &[&str]) -> bool {
        let mut outcome = ran(&mut self.command(act));
        // Another test runs that program this moment, which is asked before the sandbox.
        while matches!(outcome, Outcome::Refused(Errno::ETXTBSY)) {
            outcome = ran(&mut self.command(act));
        }
        match outcome {
            Outcome::Done(_) | Outcome::Refused(Errno::EFAULT) => true,
            Outcome::Refused(errno) if REFUSALS.contains(&errno) => false,
            other => panic!("{}: {act:?}: {other:?}", self.name),
        }
    }
}

/// What is asked of both: a label, the act, the operation.
type Question = (&'static str, Vec<String>, Operation);

/// Acts that leave the folders as they were, or are the last of their kind. `turn` makes new names.
fn questions(cage: &Cage, ports: (&str, &str), pid: &str, turn: usize) -> Vec<Question> {
    let loader = if cfg!(target_arch = "aarch64") {
        "/lib/ld-linux-aarch64.so.1"
    } else {
        "/lib64/ld-linux-x86-64.so.2"
    };
    let (root, scratch, outside) = (&cage.root, &cage.scratch, &cage.outside);
    let in_folder = |folder: &Path, name: &str| folder.join(name).display().to_string();
    let mut all: Vec<Question> = Vec::new();
    let mut ask = |label, act: &[&str], operation| {
        let act = act.iter().map(|word| (*word).to_owned()).collect();
        all.push((label, act, operation));
    };
    let labels = [
        [
            "read root",
            "list root",
            "append root",
            "create root",
            "link root",
            "mode of root",
            "attribute of root",
            "move away root",
            "remove root",
            "execute root",
        ],
        [
            "read scratch",
            "list scratch",
            "append scratch",
            "create scratch",
            "link scratch",
            "mode of scratch",
            "attribute of scratch",
            "move away scratch",
            "remove scratch",
            "execute scratch",
        ],
        [
            "read outside",
            "list outside",
            "append outside",
            "create outside",
            "link outside",
            "mode of outside",
            "attribute of outside",
            "move away outside",
            "remove outside",
            "execute outside",
        ],
    ];
    for (folder, labels) in [root, scratch, outside].into_iter().zip(labels) {
        let note = &in_folder(folder, "note.md");
        let spare = &in_folder(folder, &format!("spare-{turn}"));
        let gone = &in_folder(folder, &format!("gone-{turn}"));
        let new = &in_folder(folder, &format!("new-{turn}"));
        let link = &in_folder(folder, &format!("link-{turn}"));
        let program = &in_folder(folder, "program");
        let [
            read,
            list,
            append,
            create,
            plant,
            mode,
            attribute,
            move_away,
            remove,
            execute,
        ] = labels;
        let file = |path: &str| Place::file(path);
        let whole = folder.display().to_string();
        ask(read, &["read", note], Operation::Read(file(note)));
        ask(
            list,
            &["list", &whole],
            Operation::Read(Place::folder(&whole)),
        );
        ask(append, &["append", note], Operation::Write(file(note)));
        ask(create, &["create", new], Operation::Create(file(new)));
        ask(
            plant,
            &["symlink", "note.md", link],
            Operation::Create(Place::link(link)),
        );
        ask(mode, &["chmod", note], Operation::SetMode(file(note)));
        ask(
            attribute,
            &["set-attribute", note],
            Operation::SetAttribute(file(note)),
        );
        let away = &in_folder(folder, &format!("away-{turn}"));
        ask(
            move_away,
            &["rename", spare, away],
            Operation::Remove(file(spare)),
        );
        ask(remove, &["unlink", gone], Operation::Remove(file(gone)));
        ask(
            execute,
            &["exec-in-vain", program],
            Operation::Execute(file(program)),
        );
    }
    let own = &hostile().display().to_string();
    let program = &in_folder(root.parent().expect("a home"), "program");
    for (label, path) in [
        ("execute the worker", own.as_str()),
        ("execute the program", program.as_str()),
        ("execute /usr/bin/true", "/usr/bin/true"),
        ("execute /loader", loader),
    ] {
        let operation = Operation::Execute(Place::file(path));
        ask(label, &["exec-in-vain", path], operation);
    }
    for (label, path) in [
        ("read the worker", own.as_str()),
        ("read the program", program.as_str()),
        ("read /usr/bin/true", "/usr/bin/true"),
        ("read /etc/hostname", "/etc/hostname"),
        ("read /dev/null", "/dev/null"),
    ] {
        let operation = Operation::Read(Place::file(path));
        ask(label, &["open", path], operation);
    }
    for (label, path) in [
        ("write /usr/bin/true", "/usr/bin/true"),
        ("write /dev/null", "/dev/null"),
    ] {
        let operation = Operation::Write(Place::file(path));
        ask(label, &["open-to-write", path], operation);
    }
    for (label, path) in [
        ("list /", "/"),
        ("list /usr/bin", "/usr/bin"),
        ("list /usr/lib", "/usr/lib"),
        ("list /usr/share", "/usr/share"),
        ("list /usr/share/zoneinfo", "/usr/share/zoneinfo"),
        ("list /etc", "/etc"),
        ("list /proc", "/proc"),
        ("list /dev", "/dev"),
    ] {
        let operation = Operation::Read(Place::folder(path));
        ask(label, &["list", path], operation);
    }
    let tcp = |address, port: &str| {
        let port = port.parse().expect("a port");
        Operation::Connect(Endpoint::Tcp(address, port))
    };
    let (egress, other) = ports;
    ask(
        "connect to the egress",
        &["tcp", egress],
        tcp(Address::Loopback, egress),
    );
    ask(
        "connect to another port",
        &["tcp", other],
        tcp(Address::Loopback, other),
    );
    let mapped = tcp(Address::MappedLoopback, egress);
    let at = &["tcp-at", "::ffff:127.0.0.1", egress];
    ask("connect by a mapped address", at, mapped);
    let socket = in_folder(outside, "socket");
    let unix = Operation::Connect(Endpoint::Socket(socket.clone()));
    ask("connect to a Unix socket", &["unix", &socket], unix);
    let datagram = Operation::Connect(Endpoint::Udp(Address::Loopback, 53));
    ask("send a datagram", &["udp", "53"], datagram);
    let bind = Operation::Bind(Endpoint::Tcp(Address::Loopback, 0));
    ask("listen", &["tcp-listen"], bind);
    ask("fork", &["fork"], Operation::Fork);
    ask(
        "signal itself",
        &["signal-self"],
        Operation::Signal(Receiver::Itself),
    );
    ask(
        "signal others",
        &["signal", pid],
        Operation::Signal(Receiver::Other),
    );
    all
}

/// Where evaluator and kernel differ, and how many questions there were.
fn differences(
    of: impl Fn(&Subject) -> bool,
    said: impl Fn(&Subject) -> Seatbelt,
) -> (Vec<Difference>, usize) {
    let cage = Cage::new("", "reader");
    let (_egress, egress) = listener("127.0.0.1:0");
    let (_other, other) = listener("127.0.0.1:0");
    let ports = (egress.as_str(), other.as_str());
    let bystander = Bystander::start();
    let home = cage.root.parent().expect("a home").to_owned();
    for pipe in ["calls", "answers"] {
        std::fs::write(home.join(pipe), "").expect("what stands for a pipe");
    }
    let _socket = UnixListener::bind(cage.outside.join("socket")).expect("a socket");
    let folders = [&cage.root, &cage.scratch, &cage.outside];
    for folder in folders {
        std::fs::copy(hostile(), folder.join("program")).expect("a program");
    }
    let (mut found, mut asked) = (Vec::new(), 0);
    let subjects = Subject::all(&cage, ports);
    for (turn, subject) in subjects.iter().filter(|one| of(one)).enumerate() {
        for (folder, name) in folders
            .iter()
            .flat_map(|folder| [(folder, "spare"), (folder, "gone")])
        {
            std::fs::write(folder.join(format!("{name}-{turn}")), "").expect("a file");
        }
        let seatbelt = said(subject);
        for (label, act, operation) in questions(&cage, ports, &bystander.pid(), turn) {
            let act: Vec<&str> = act.iter().map(String::as_str).collect();
            let answer = seatbelt.ask(&operation);
            let kernel = subject.kernel_allows(&act);
            if answer.allows() != kernel {
                found.push(Difference {
                    label,
                    subject: subject.name.clone(),
                    allows: if kernel {
                        Allows::Linux
                    } else {
                        Allows::Seatbelt
                    },
                    answer: answer.to_string(),
                });
            }
            asked += 1;
        }
    }
    (found, asked)
}

#[test]
fn evaluator_and_kernel_differ_only_where_explained() {
    let (found, asked) = differences(|_| true, Subject::seatbelt);
    assert!(asked > 1500, "{asked}");
    let explains = |found: &Difference| {
        let mut rows = EXPLAINED.iter();
        rows.any(|row| found.is_explained_by(row))
    };
    let unexplained: Vec<_> = found.iter().filter(|found| !explains(found)).collect();
    let said =
        |found: &&Difference| format!("{}: {} is {}", found.subject, found.label, found.answer);
    let unexplained: Vec<String> = unexplained.iter().map(said).collect();
    assert!(unexplained.is_empty(), "{unexplained:#?}");
    // A reason that explains nothing any more goes.
    for row in EXPLAINED {
        let mut all = found.iter();
        assert!(all.any(|found| found.is_explained_by(row)), "{row:?}");
    }
}

/// The control: one rule less in what the evaluator reads, and the comparison says so.
#[test]
fn one_changed_rule_makes_a_difference() {
    let is_git = |subject: &Subject| subject.name == "/git reader";
    let (found, _) = differences(is_git, |subject| {
        let rule = "(allow file-read* (subpath (param \"ROOT\")))";
        assert!(subject.text.contains(rule), "{}", subject.text);
        let text = subject.text.replace(rule, "(allow signal (target self))");
        let profile = Profile::parse(&text).expect("it parses");
        Seatbelt::new(&profile, &subject.parameters).expect("it is understood")
    });
    let explained = |found: &&Difference| EXPLAINED.iter().any(|row| found.is_explained_by(row));
    let others = found.iter().filter(|found| !explained(found));
    let labels: Vec<_> = others.map(|found| (found.label, found.allows)).collect();
    let lost = ["read root", "list root"].map(|label| (label, Allows::Linux));
    assert_eq!(labels, lost, "{found:#?}");
}
