//! The answers that the evaluator only assumes, asked of a Mac's kernel: each profile in its real sandbox, around a process that
//! stays. `sandbox_check` says what would be allowed, and does nothing; a connection is tried.
//!
//! Linux has the other half: `cage::answers` compares evaluator and kernel there. Type-checked alone; no Mac has run it.

mod os;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use plexus_sandbox::seatbelt::{Address, Answer, Endpoint, Evidence, Operation};
use plexus_sandbox::{Limits, launcher_command};

use crate::answers::{Column, asked, columns, understood};
use os::{Filter, Kernel};

/// How the kernel is asked about an operation; none where it has no filter for that.
fn question(operation: &Operation) -> Option<(Filter, &str)> {
    Some(match operation {
        Operation::Read(place)
        | Operation::ReadMetadata(place)
        | Operation::Write(place)
        | Operation::Create(place)
        | Operation::Remove(place)
        | Operation::SetMode(place)
        | Operation::SetId(place)
        | Operation::SetAttribute(place)
        | Operation::MapCode(place)
        | Operation::Control(place)
        | Operation::Execute(place) => (Filter::Path, &place.path),
        Operation::LookUp(service) => (Filter::GlobalName, service),
        Operation::SendEvent(app) => (Filter::AppleEventDestination, app),
        Operation::ReadPreferences(domain) => (Filter::PreferenceDomain, domain),
        _ => return None,
    })
}

/// A program in the sandbox of a column.
struct Caged {
    column: Column,
    program: PathBuf,
}

impl Caged {
    /// The column with a program that is there, and with the port of a listener as the way out.
    fn of(mut column: Column, port: u16) -> Self {
        let tests = std::env::current_exe().expect("the test's own path");
        let target = tests.ancestors().nth(2).expect("target/<profile>/deps");
        let program = target.join("examples/hostile");
        let program = program.canonicalize().expect("cargo builds the example");
        let (path, port) = (program.display().to_string(), port.to_string());
        for (key, value) in [
            ("WORKER", &path),
            ("PROGRAM", &path),
            ("EGRESS_PORT", &port),
        ] {
            if let Some(given) = column.parameters.get_mut(key) {
                given.clone_from(value);
            }
        }
        column.seatbelt = understood(&column.text, &column.parameters);
        Self { column, program }
    }

    fn command(&self, act: &[&str]) -> Command {
        let launcher = Path::new(env!("CARGO_BIN_EXE_plexus-sandbox-exec"));
        let parameters: Vec<_> = self.column.parameters.clone().into_iter().collect();
        let limits = Limits::default();
        let (program, line) = launcher_command(
            &self.column.text,
            &parameters,
            &limits,
            launcher,
            &self.program,
        );
        let mut command = Command::new(program);
        command.args(line).args(act).env_clear();
        command
    }

    fn does(&self, act: &[&str]) -> bool {
        let ended = self.command(act).stdin(Stdio::null()).output();
        let said = String::from_utf8(ended.expect("it starts").stdout).expect("a text");
        assert!(
            ["done", "refused"]
                .iter()
                .any(|word| said.starts_with(word)),
            "{}: {act:?}: {said}",
            self.column.name
        );
        said.starts_with("done")
    }

    /// Starts it, to stay until its input ends.
    fn stays(&self) -> Child {
        let mut child = self.command(&["stay"]);
        let child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("it starts");
        let mut line = String::new();
        let out = child.stdout.as_mut().expect("piped");
        BufReader::new(out).read_line(&mut line).expect("a line");
        assert!(line.starts_with("here "), "{}: {line}", self.column.name);
        child
    }
}

/// This machine's address that others reach; nothing is sent for it.
fn own_address() -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip().to_string())
}

fn lines(rows: &BTreeMap<String, Vec<String>>) -> String {
    let lines = rows.iter();
    lines
        .map(|(row, of)| format!("\n{row}: {}", of.join(", ")))
        .collect()
}

/// What came of asking. One line for each answer, with the profiles that it is wrong in: a report keeps the last lines alone.
#[derive(Default)]
struct Outcome {
    agreed: usize,
    differ: BTreeMap<String, Vec<String>>,
    unasked: BTreeMap<String, Vec<String>>,
}

impl Outcome {
    /// Adds what the kernel said of an operation of `profile`; none where it was not asked.
    fn add(&mut self, profile: &str, label: &str, answer: Answer, kernel: Option<bool>) {
        let rows = match kernel {
            Some(allows) if allows == answer.allows() => {
                self.agreed += 1;
                return;
            }
            Some(_) => &mut self.differ,
            None if answer.evidence() == Evidence::Assumed => &mut self.unasked,
            None => return,
        };
        let verdict = if answer.allows() { "allowed" } else { "denied" };
        let row = rows.entry(format!("{label} is {verdict}")).or_default();
        row.push(profile.to_owned());
    }
}

#[test]
fn kernel_gives_each_assumed_answer() {
    let kernel = Kernel::find().expect("this system has sandbox_check");
    let listener = TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let own = own_address();
    let mut outcome = Outcome::default();
    for column in columns() {
        let caged = Caged::of(column, port);
        let mut child = caged.stays();
        for (label, operation) in asked(&caged.column) {
            let answer = caged.column.seatbelt.ask(&operation);
            // One of ten that are measured is asked too: the control that the kernel is asked about this sandbox.
            if answer.evidence() == Evidence::Measured && label.len() % 10 != 0 {
                continue;
            }
            let found = match (&operation, question(&operation), &own) {
                (Operation::Connect(Endpoint::Tcp(Address::OwnHost, port)), _, Some(own)) => {
                    Some(caged.does(&["tcp-at", own, &port.to_string()]))
                }
                (_, Some((filter, value)), _) => {
                    kernel.allows(child.id(), operation.name(), filter, value)
                }
                _ => None,
            };
            outcome.add(&caged.column.name, &label, answer, found);
        }
        drop(child.stdin.take()); // which is what it waits for
        child.wait().expect("it ends");
    }
    let (differ, unasked) = (lines(&outcome.differ), lines(&outcome.unasked));
    let agreed = outcome.agreed;
    assert!(
        differ.is_empty() && unasked.is_empty(),
        "not asked:{unasked}\n{agreed} answers are as said; the kernel says otherwise of:{differ}"
    );
    assert!(agreed > 1_900, "{agreed}");
}
