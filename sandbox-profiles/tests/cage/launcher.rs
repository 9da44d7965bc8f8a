//! The launcher: what it hands on, what it takes away, and how it refuses.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;

use command_fds::{CommandFdExt, FdMapping};
use nix::errno::Errno;

use crate::{Bystander, Cage, OBSIDIAN, Outcome, WORKSPACE, free, hostile, ran};

fn mapped(child_fd: i32) -> FdMapping {
    FdMapping {
        parent_fd: OwnedFd::from(File::open("/dev/null").expect("a descriptor")),
        child_fd,
    }
}

#[test]
fn descriptor_3_survives_and_none_above_it() {
    let with_9 = |mut command: Command| {
        let mapped = command.fd_mappings(vec![mapped(3), mapped(9)]);
        ran(mapped.expect("two numbers"))
    };
    let cage = Cage::reader();
    let done = || Outcome::Done(String::new());
    assert_eq!(with_9(free(&["descriptor", "9"])), done());
    let caged = |number| with_9(cage.command(&["descriptor", number]));
    assert_eq!(caged("9"), Outcome::Refused(Errno::EBADF));
    assert_eq!(caged("3"), done());
}

/// At the numbers that a worker keeps, and as its working folder: the rules bind what is opened, wherever the path to it
/// begins.
#[test]
fn a_folder_that_was_open_before_leads_nowhere() {
    let cage = Cage::reader();
    let from = |mut command: Command, folder: &Path, number: i32| {
        let folder = FdMapping {
            parent_fd: OwnedFd::from(File::open(folder).expect("a folder")),
            child_fd: number,
        };
        let mapped = command.fd_mappings(vec![folder]);
        ran(mapped.expect("one number"))
    };
    let (text, refused) = (
        Outcome::Done("text".to_owned()),
        Outcome::Refused(Errno::EACCES),
    );
    for number in [0, 3] {
        let act = ["read-at", &number.to_string(), "note.md"];
        assert_eq!(from(free(&act), &cage.outside, number), text);
        assert_eq!(from(cage.command(&act), &cage.root, number), text);
        let out = ["read-at", &number.to_string(), "../outside/note.md"];
        for (act, folder) in [(act, &cage.outside), (out, &cage.root)] {
            let outcome = from(cage.command(&act), folder, number);
            assert_eq!(outcome, refused, "{act:?}");
        }
    }
    let here = |mut command: Command, folder: &Path| ran(command.current_dir(folder));
    let act = ["read", "note.md"];
    assert_eq!(here(free(&act), &cage.outside), text);
    assert_eq!(here(cage.command(&act), &cage.root), text);
    assert_eq!(here(cage.command(&act), &cage.outside), refused);
}

#[test]
fn a_worker_opens_as_many_files_as_its_limit_says() {
    let mut cage = Cage::reader();
    cage.limits.files = Some(32);
    let note = cage.in_root("note.md");
    cage.allows(&["open-many", &note, "20"]);
    cage.denies_with(&["open-many", &note, "40"], &[Errno::EMFILE]);
}

#[test]
fn a_worker_gets_as_much_memory_as_its_limit_says() {
    let mut cage = Cage::reader();
    cage.limits.memory = Some(256 << 20);
    let (less, more) = ((64 << 20).to_string(), (256 << 20).to_string());
    cage.allows(&["memory", &less]);
    cage.denies_with(&["memory", &more], &[Errno::ENOMEM]);
    cage.denies(&["memory-shared"]);
    cage.denies(&["memory-as-stack"]);
    cage.denies_where_offered(&["memory-huge"], &[]);
    cage.denies(&["memory-moved"]);
}

/// What was filled and cannot be written any more counts as nobody's; what holds it is that it lies somewhere.
#[cfg(target_os = "linux")]
#[test]
fn a_worker_gets_as_many_addresses_as_its_limit_says() {
    let mut cage = Cage::reader();
    cage.limits.memory = Some(512 << 20);
    let much = (8_u64 << 30).to_string();
    let acts = [["memory-hidden", &much], ["addresses", &much]];
    for act in &acts {
        cage.allows(act);
    }
    cage.limits.addresses = Some(4 << 30);
    for act in &acts {
        cage.denies_with(act, &[Errno::ENOMEM]);
    }
    cage.allows(&["memory", &(256 << 20).to_string()]);
    cage.allows(&["thread-many", "8"]);
}

#[test]
fn no_capability_is_left_and_none_can_come_back() {
    let status = |bystander: &Bystander| {
        std::fs::read_to_string(format!("/proc/{}/status", bystander.pid())).expect("its status")
    };
    let field = |status: &str, name: &str| -> String {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let value = line.unwrap_or_else(|| panic!("no {name}"));
        value.trim_start_matches(':').trim().to_owned()
    };
    let caged = status(&Bystander::wait_for(&mut Cage::reader().command(&["stay"])));
    let free = status(&Bystander::start());

    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(field(&caged, set), "0000000000000000", "{set}");
    }
    // Only who may change the bounding set can empty it; for the others no_new_privs makes it worthless.
    if field(&free, "CapEff") != "0000000000000000" {
        assert_eq!(field(&caged, "CapBnd"), "0000000000000000");
        assert_ne!(field(&free, "CapBnd"), "0000000000000000");
    }
    assert_eq!(field(&free, "NoNewPrivs"), "0");
    assert_eq!(field(&caged, "NoNewPrivs"), "1");
    assert_eq!(field(&caged, "Seccomp"), "2");
}

#[test]
fn no_core_file_is_left() {
    let limit = |script| limit_in_a_cage("Max core file size", script);
    // 1, because with 0 the kernel still writes to a `core_pattern` that is a pipe.
    assert_eq!(limit("exec \"$@\""), ["1", "1"]);
    // If a gateway was started with none, nothing can be raised, and the worker starts.
    assert_eq!(limit("ulimit -c 0; exec \"$@\""), ["0", "0"]);
}

/// An ordinary user cannot raise it again.
#[test]
fn inherited_limit_that_is_lower_stays() {
    let limit = |script| limit_in_a_cage("Max open files", script);
    assert_eq!(limit("exec \"$@\""), ["256", "256"]);
    assert_eq!(limit("ulimit -n 40; exec \"$@\""), ["40", "40"]);
}

#[test]
fn few_signals_wait() {
    let limit = limit_in_a_cage("Max pending signals", "exec \"$@\"");
    assert_eq!(limit, ["64", "64"]);
    let cage = Cage::reader();
    assert_eq!(cage.allows(&["signal-self-queued", "8"]), "");
    cage.denies_with(&["signal-self-queued", "256"], &[Errno::EAGAIN]);
}

/// A limit, soft and hard, of a caged process whose launcher is started by `script`.
fn limit_in_a_cage(name: &str, script: &str) -> [String; 2] {
    let mut cage = Cage::reader();
    cage.limits.files = Some(256);
    let caged = cage.command(&["stay"]);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", script, "sh"]).arg(caged.get_program());
    shell.args(caged.get_args()).env_clear();
    let bystander = Bystander::wait_for(&mut shell);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", bystander.pid()));
    let limits = limits.expect("its limits");
    let line = limits.lines().find_map(|line| line.strip_prefix(name));
    let mut values = line.expect("a line").split_whitespace().map(str::to_owned);
    std::array::from_fn(|_| values.next().expect("a value"))
}

#[test]
fn each_refusal_has_its_status_and_says_why() {
    let launcher = env!("CARGO_BIN_EXE_plexus-sandbox-exec");
    let own = hostile().display().to_string();
    let worker = format!("WORKER={own}");
    let regex = "(version 1)(deny default)\n\n(allow file-read* (regex \"^/\"))";
    let root = |root| vec!["-p", OBSIDIAN, "-D", &worker, "-D", root];
    #[rustfmt::skip]
    let cases: &[(&[&str], &str, i32, &str)] = &[
        (&[], "", 64, "no worker given"),
        (&[], &own, 64, "no profile given"),
        (&["-p", WORKSPACE, "--without-a-cage"], &own, 64, "a profile and --without-a-cage"),
        (&["-p", WORKSPACE, "--"], "hostile", 64, "absolute path"),
        (&["-p", WORKSPACE, "-x"], &own, 64, "unknown option -x"),
        (&["-p", WORKSPACE, "-p", WORKSPACE], &own, 64, "-p is given twice"),
        (&["-p", WORKSPACE, "-D", "ROOT"], &own, 64, "not KEY=VALUE"),
        (&["-p", WORKSPACE, "-D", "A=1", "-DA=2"], &own, 64, "A is given twice"),
        (&["--limit-files", "many", "-p", WORKSPACE], &own, 64, "a limit needs a number"),
        (&["-p", "(version 1)\n(allow default)"], &own, 65, "line 1: a profile begins"),
        (&["-p", regex], &own, 65, "line 3: (allow file-read* (regex \"^/\"))"),
        (&["-p", OBSIDIAN, "-D", &worker], &own, 65, "parameter ROOT was not given"),
        (&root("ROOT=/nowhere"), &own, 65, "/nowhere: No such file"),
        (&root("ROOT=/proc/self"), &own, 65, "Too many levels of symbolic links"),
        (&root("ROOT=/tmp"), "/usr/bin/true", 126, "cannot execute /usr/bin/true"),
    ];
    for (options, worker, status, words) in cases {
        let line = options
            .iter()
            .chain([worker])
            .filter(|word| !word.is_empty());
        let mut command = Command::new(launcher);
        let output = command
            .args(line)
            .env_clear()
            .output()
            .expect("the launcher starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(*status), "{options:?}: {said}");
        assert!(
            said.starts_with("plexus-sandbox-exec: ") && said.contains(words),
            "{said}"
        );
        assert_eq!(said.lines().count(), 1, "one line: {said}");
    }
}

#[test]
fn the_command_line_is_that_of_sandbox_exec() {
    let cage = Cage::reader();
    let own = hostile().display().to_string();
    let worker = format!("-DWORKER={own}");
    let root = format!("ROOT={}", cage.root.display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_plexus-sandbox-exec"));
    command.args(["-p", OBSIDIAN, &worker, "-D", &root, &own]);
    let read = ran(command.args(["read", &cage.in_root("note.md")]));
    assert_eq!(read, Outcome::Done("text".to_owned()));
}

#[test]
fn a_death_signal_set_before_the_launcher_stays() {
    let cage = Cage::reader();
    let line = cage.command(&["death-signal-is"]);
    let program = line.get_program();
    let tied = ran(free(&["tied"]).arg(program).args(line.get_args()));
    assert_eq!(tied, Outcome::Done("9".to_owned()));
    let untied = ran(Command::new(program).args(line.get_args()));
    assert_eq!(untied, Outcome::Done("0".to_owned()));
}

#[test]
fn this_kernel_can_cage_workers() {
    let support = plexus_sandbox::kernel_support()
        .unwrap_or_else(|why| panic!("these tests need what workers need: {why}"));
    assert!(support.version >= plexus_sandbox::floor::LOWEST);
}

#[test]
fn a_kernel_that_cannot_cage_is_refused_in_words() {
    let cage = Cage::reader();
    let line = cage.command(&["read", "/etc/passwd"]);
    let old = "Landlock is version 0, workers need version 4 (Linux 6.7 or newer)";
    for (errno, words) in [
        (Errno::ENOSYS as i32, "Landlock is not available"),
        (Errno::EPERM as i32, "Landlock is not available"),
        (Errno::EOPNOTSUPP as i32, "Landlock is switched off"),
        (0, old),
    ] {
        let mut command = free(&["landlock-says", &errno.to_string()]);
        command.arg(line.get_program()).args(line.get_args());
        let output = command.output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(69), "{said}");
        assert_eq!(output.stdout, b"", "{said}");
        assert!(said.contains(words), "{said}");
    }
}
