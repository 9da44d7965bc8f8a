//! A worker in a leaf's cage that has programs started: by its keeper, in cages of their own.

use std::io::BufReader;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use plexus_hostile::{has_ended, hold};
use plexus_sandbox::Limits;
use plexus_sandbox::children::{
    ChildArgument, ChildProgram, KeeperSettings, RunState, keeper_command,
};

use crate::agent::{first_line, rest};
use crate::waiting::ended;
use crate::{Bystander, Cage, Outcome, WORKSPACE, hostile, ran, works};

/// How long an end may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// One that does acts, and is a leaf.
const LEAF: &str = r#"(version 1)
(deny default)
(import "bsd.sb")
(allow process-exec* (literal (param "PROGRAM")))
(allow file-read* (literal (param "PROGRAM")))
(allow file-read* (subpath (param "ROOT")))
(allow file-write* (subpath (param "ROOT")))
(allow file-read* (subpath (param "SCRATCH")))
(allow file-write* (subpath (param "SCRATCH")))
"#;
/// What a shell needs beside that.
const SHELL: &str = r#"(define plexus-system-calls "agent")
(allow process-fork)
(allow file-read* process-exec* (subpath "/usr/bin"))
(allow file-read* (subpath "/usr/lib"))
"#;

/// And one with pipes to its worker.
const PIPED: &str = r#"(allow file-write* (literal (param "CALLS")))
(allow file-read* (literal (param "ANSWERS")))
"#;

/// A worker's cage with the folders of its runs.
pub(crate) struct Keeping {
    cage: Cage,
    runs: PathBuf,
    kept: KeeperSettings,
}

impl Keeping {
    pub(crate) fn new() -> Self {
        let cage = Cage::new(WORKSPACE, "writer");
        let runs = cage.scratch.join("runs");
        std::fs::create_dir(&runs).expect("a folder");
        std::fs::create_dir(cage.outside.join("locks")).expect("a folder");
        let named = |count: usize| {
            let names = ["a", "b", "c"].iter().take(count);
            names
                .map(|name| ChildArgument::Named((*name).to_owned()))
                .collect::<Vec<_>>()
        };
        let act = |count: usize| ChildProgram {
            name: format!("act{count}"),
            program: hostile(),
            profile: LEAF.to_owned(),
            arguments: named(count),
            environment: vec![
                ("FIXED".to_owned(), Some("fixed".to_owned())),
                ("OPEN".to_owned(), None),
            ],
            ..ChildProgram::default()
        };
        let mut programs: Vec<_> = (1..=3).map(act).collect();
        programs.push(ChildProgram {
            name: "shell".to_owned(),
            program: std::fs::canonicalize("/bin/bash").expect("a shell"),
            profile: format!("{LEAF}{SHELL}"),
            arguments: vec![
                ChildArgument::Fixed("-c".to_owned()),
                ChildArgument::Named("a".to_owned()),
            ],
            environment: vec![("PATH".to_owned(), Some("/usr/bin".to_owned()))],
            tree_memory: Some(64 << 20),
            tree_processes: Some(8),
            disk: Some(8 << 20),
            ..ChildProgram::default()
        });
        let shell = programs[3].clone();
        programs.push(ChildProgram {
            name: "piped".to_owned(),
            profile: format!("{LEAF}{SHELL}{PIPED}"),
            pipes: true,
            ..shell
        });
        Self {
            kept: KeeperSettings {
                runs: runs.clone(),
                state_dir: cage.outside.clone(),
                locks: cage.outside.join("locks/of"),
                programs,
            },
            cage,
            runs,
        }
    }

    fn command(&self, act: &[&str]) -> Command {
        let text = |path: &std::path::Path| path.to_str().expect("UTF-8").to_owned();
        let worker = hostile();
        let parameters = [
            ("WORKER".to_owned(), text(&worker)),
            ("ROOT".to_owned(), text(&self.cage.root)),
            ("SCRATCH".to_owned(), text(&self.cage.scratch)),
            ("ROLE".to_owned(), "writer".to_owned()),
        ];
        let limits = Limits {
            addresses: Some(4 << 30),
            ..Limits::default()
        };
        let launcher = std::path::Path::new(env!("CARGO_BIN_EXE_plexus-sandbox-exec"));
        let (program, line) = keeper_command(
            &self.cage.profile,
            &parameters,
            &limits,
            &self.kept,
            launcher,
            &worker,
        );
        let mut command = Command::new(program);
        command
            .args(line)
            .arg("have")
            .args(act)
            .env_clear()
            .stdin(Stdio::null());
        command
    }

    /// Adds a shell, `wide`, that may start what lies in its folder.
    pub(crate) fn add_wide(&mut self, memory: Option<u64>, processes: Option<u32>) {
        let mut wide = self.kept.programs[3].clone();
        "wide".clone_into(&mut wide.name);
        wide.profile
            .push_str("(allow process-exec* (subpath (param \"ROOT\")))");
        (wide.tree_memory, wide.tree_processes, wide.disk) = (memory, processes, None);
        self.kept.programs.push(wide);
    }

    /// The folder of a run, with the worst program in it as `attack`.
    pub(crate) fn with_attack(&self, run: &str) -> PathBuf {
        let root = self.runs.join(run).join("root");
        std::fs::create_dir_all(&root).expect("a folder");
        std::fs::hard_link(hostile(), root.join("attack"))
            .or_else(|_| std::fs::copy(hostile(), root.join("attack")).map(drop))
            .expect("the attack");
        root
    }

    /// What became of a worker that has something started.
    #[track_caller]
    pub(crate) fn have(&self, act: &[&str]) -> String {
        match ran(&mut self.command(act)) {
            Outcome::Done(said) => said,
            Outcome::Refused(errno) => panic!("{act:?}: {errno}"),
        }
    }

    /// Starts a worker that stays beside its child, which has said a line.
    fn stay(&self, act: &[&str]) -> Staying {
        let mut command = self.command(&[&["and-stay"], act].concat());
        let mut keeper = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("it starts");
        let (output, said) = first_line(keeper.stdout.take().expect("piped"));
        assert!(said.starts_with("here "), "{said}");
        Staying {
            keeper,
            output,
            said,
        }
    }
}

struct Staying {
    keeper: Child,
    output: BufReader<ChildStdout>,
    said: String,
}

/// A shell that leaves a process behind in a session of its own, says both numbers, and waits.
const LEAVES: &str = "a=setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $$ $!; wait";

impl Staying {
    fn keeper(&self) -> Pid {
        Pid::from_raw(self.keeper.id() as i32)
    }

    /// The child and what it left.
    fn processes(&self) -> Vec<Pid> {
        let numbers = self.said.trim_start_matches("here ").split_whitespace();
        let numbers: Vec<Pid> = numbers
            .map(|number| Pid::from_raw(number.parse().expect("a number")))
            .collect();
        assert_eq!(numbers.len(), 2, "{}", self.said);
        numbers
    }

    /// Ends it as `end` says; then the worker, its child and what that left are gone.
    fn ends(mut self, end: impl FnOnce(&mut Self)) {
        let held: Vec<OwnedFd> = self
            .processes()
            .into_iter()
            .map(|process| hold(process.as_raw()).expect("it is there"))
            .collect();
        assert!(!has_ended(&held[1], Duration::ZERO));
        end(&mut self);
        rest(self.output);
        ended("the keeper", &mut self.keeper);
        for process in &held {
            assert!(has_ended(process, PATIENCE));
        }
    }
}

/// The program and what it leaves; not what watches over them, which has to be there to end the run.
#[test]
fn run_goes_first_where_memory_runs_out() {
    let of = |process: Pid, what: &str| {
        std::fs::read_to_string(format!("/proc/{process}/{what}")).expect("a process")
    };
    let adjusted = |process| -> i32 {
        of(process, "oom_score_adj")
            .trim()
            .parse()
            .expect("a number")
    };
    let own = adjusted(Pid::this());
    assert!(own < 500, "this process goes as early as a run: {own}");
    let keeping = Keeping::new();
    let staying = keeping.stay(&["shell", "one", LEAVES]);
    let processes = staying.processes();
    for process in &processes {
        assert_eq!(adjusted(*process), 500);
    }
    // Up from the program: the helper, the monitor, the keeper.
    let (mut above, mut watching) = (processes[0], 0);
    while above != Pid::this() {
        let stat = of(above, "stat");
        let (_, after) = stat.rsplit_once(')').expect("a name");
        let parent = after
            .split_whitespace()
            .nth(1)
            .and_then(|pid| pid.parse().ok());
        above = Pid::from_raw(parent.expect("a parent"));
        assert_eq!(adjusted(above), own, "{above} above {}", processes[0]);
        watching += 1;
    }
    assert!(watching > 2, "{watching} above the program");
    staying.ends(|staying| drop(staying.keeper.stdin.take()));

    // The kernel lets a process take back what it raised itself; the cage does not.
    let lower = "echo 0 2>/dev/null > /proc/self/oom_score_adj && echo lowered || echo stays";
    let said = keeping.have(&["shell", "two", &format!("a={lower}")]);
    assert_eq!(said, "stays\nExited(0)");
    let raised = format!("echo 500 > /proc/self/oom_score_adj; {lower}");
    let control = Command::new("bash").args(["-c", &raised]).output();
    assert_eq!(control.expect("a shell").stdout, b"lowered\n");
}

#[test]
fn declared_program_runs_in_its_own_cage() {
    let keeping = Keeping::new();
    let said = keeping.have(&["act2", "one", "a=list", "b=."]);
    assert_eq!(said, "done \nExited(0)");
    assert!(keeping.runs.join("one/scratch/tmp").is_dir());
    // What a run is given it may use; what is another's it may not.
    let file = keeping.runs.join("one/root/made").display().to_string();
    let made = keeping.have(&["act2", "one", "a=create", &format!("b={file}")]);
    assert_eq!(made, "done \nExited(0)");
    assert!(keeping.runs.join("one/root/made").is_file());
    let read = |run: &str| keeping.have(&["act2", run, "a=open", &format!("b={file}")]);
    assert_eq!(read("one"), "done \nExited(0)");
    assert_eq!(read("two"), "refused 13\nExited(0)");
    // The same attacks as on a leaf, each with its control without a cage.
    let note = keeping.cage.outside("note.md");
    let inside = keeping.cage.in_root("note.md");
    let bystander = Bystander::start();
    let pid = bystander.pid();
    for act in [
        &["open", &note][..],
        &["open", &inside],
        &["append", &inside],
        &["signal", &pid],
        &["spawn", "/usr/bin/true"],
        &["fork"],
        &["tcp-listen"],
        &["memfd"],
    ] {
        let named = ["a", "b", "c"].iter().zip(act);
        let values: Vec<String> = named
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let child = format!("act{}", act.len());
        let mut line = vec![child.as_str(), "three"];
        line.extend(values.iter().map(String::as_str));
        let said = keeping.have(&line);
        assert!(
            said == "refused 1\nExited(0)" || said == "refused 13\nExited(0)",
            "{act:?}: {said}"
        );
        works(act);
    }
}

#[test]
fn pipes_of_a_run_cannot_be_replaced() {
    let keeping = Keeping::new();
    let line = "a=rm -f ../host/calls ../host/answers; touch ../host/x; [ -p ../host/calls ] && [ -p ../host/answers ] \
                && ! [ -e ../host/x ] && touch made && [ -e made ] && echo kept";
    let said = keeping.have(&["piped", "one", line]);
    assert!(said.starts_with("kept\n"), "{said}");
    // A run without them has none.
    let said = keeping.have(&["shell", "two", "a=[ -e ../host ] || echo none"]);
    assert!(said.starts_with("none\n"), "{said}");
}

/// The worker's own cage stays that of a leaf: it starts nothing itself, and only its keeper sends it anything.
#[test]
fn worker_with_a_keeper_stays_a_leaf() {
    let keeping = Keeping::new();
    for act in [
        &["fork"][..],
        &["spawn", "/usr/bin/true"],
        &["descriptor-along"],
    ] {
        let mut command = keeping.command(&[]);
        let line: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let program = command.get_program().to_owned();
        command = Command::new(program);
        command.args(&line[..line.len() - 1]).args(act).env_clear();
        let said = ran(&mut command);
        assert!(matches!(said, Outcome::Refused(_)), "{act:?}: {said:?}");
        works(act);
    }
}

#[test]
fn undeclared_is_refused() {
    let keeping = Keeping::new();
    let refusal = |act: &[&str]| {
        let output = keeping.command(act).output().expect("it starts");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for (act, words) in [
        (&["other", "one"][..], "no such program"),
        (&["act1", "../one", "a=fork"], "no name"),
        (&["act1", "_neighbour", "a=fork"], "no name"),
        (&["act1", "one"], "has no value"),
        (&["act1", "one", "a=fork", "b=more"], "no argument"),
        (&["act1", "one", "a=fork", "+OTHER=x"], "no variable"),
        (&["act1", "one", "a=fork", "+FIXED=x"], "no variable"),
        (&["act1", "one", "a=fork", "+LD_PRELOAD=x"], "no variable"),
    ] {
        let said = refusal(act);
        assert!(
            said.contains("Refused") && said.contains(words),
            "{act:?}: {said}"
        );
    }
    // A folder that is a link leads nowhere.
    std::os::unix::fs::symlink(&keeping.cage.outside, keeping.runs.join("linked")).expect("a link");
    let said = refusal(&["act1", "linked", "a=here"]);
    assert!(said.contains("the run's folder"), "{said}");
    // What is no message ends the worker.
    let said = refusal(&["raw", "nonsense"]);
    assert_eq!(said, "");
    // The control: declared, it runs.
    let said = keeping.have(&["act1", "one", "a=here", "+OPEN=x"]);
    assert!(said.contains("/runs/one/root"), "{said}");
}

#[test]
fn environment_is_what_was_declared() {
    let keeping = Keeping::new();
    let said = keeping.have(&["shell", "one", "a=env | sort"]);
    let names = said.lines().filter_map(|line| line.split('=').next());
    let all = "HOME LOGNAME PATH PWD SHLVL TMPDIR USER _ Exited(0)";
    assert_eq!(names.collect::<Vec<_>>().join(" "), all, "{said}");
    // No account of the person's.
    assert!(said.contains("\nUSER=plexus\n"), "{said}");
}

#[test]
fn program_begins_in_a_folder_that_no_link_leads_to() {
    let keeping = Keeping::new();
    let make = "a=mkdir -p docs/deep; ln -s docs here; ln -s / away; pwd";
    let root = keeping.runs.join("one/root");
    let root = root.to_str().expect("UTF-8");
    let said = keeping.have(&["shell", "one", make]);
    assert_eq!(said, format!("{root}\nExited(0)"));
    let said = keeping.have(&["shell", "one@docs/deep", "a=pwd -P; echo $PWD"]);
    let deep = format!("{root}/docs/deep");
    assert_eq!(said, format!("{deep}\n{deep}\nExited(0)"));
    for folder in [
        "nowhere",
        "here",
        "here/deep",
        "away",
        "/",
        "/tmp",
        "..",
        "docs/../..",
    ] {
        let run = format!("one@{folder}");
        let act = ["shell", &run, "a=pwd"];
        let output = keeping.command(&act).output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            said.contains("Refused") && said.contains("the folder"),
            "{folder}: {said}"
        );
    }
}

/// Two runs at once: neither signals the other.
#[test]
fn run_does_not_signal_another() {
    let keeping = Keeping::new();
    let staying = keeping.stay(&["shell", "one", LEAVES]);
    for process in staying.processes() {
        let act = format!("a=kill -0 {process} 2>/dev/null || echo refused");
        assert!(keeping.have(&["shell", "two", &act]).starts_with("refused"));
        kill(process, None).expect("it is there, and the control may");
    }
    staying.ends(|staying| drop(staying.keeper.stdin.take()));
}

#[test]
fn run_ends_whole() {
    let keeping = Keeping::new();
    // Asked for by the worker.
    let goes_on = "a=(setsid sleep 1000 &) ; echo; sleep 1000";
    let said = keeping.have(&["end-after", "shell", "one", goes_on]);
    assert!(said.contains("Signaled(15)"), "{said}");
    // By itself, with what it left.
    let leaves = "a=setsid sleep 1000 >/dev/null 2>&1 & echo $!";
    let said = keeping.have(&["shell", "two", leaves]);
    let left = said.lines().next().expect("a line");
    let left = left.parse().expect("a number");
    assert!(hold(left).is_none_or(|left| has_ended(&left, PATIENCE)));
    // The worker ends; the keeper is killed, as by the death of a daemon; the group is.
    let ends: [fn(&mut Staying); 3] = [
        |staying| drop(staying.keeper.stdin.take()),
        |staying| kill(staying.keeper(), Signal::SIGKILL).expect("a process of the test's own"),
        |staying| killpg(staying.keeper(), Signal::SIGKILL).expect("a group of the test's own"),
    ];
    for (number, end) in ends.into_iter().enumerate() {
        let staying = keeping.stay(&["shell", &format!("run-{number}"), LEAVES]);
        staying.ends(end);
    }
}

/// The kernel shows a process whose first thread has ended as one that has ended.
#[test]
fn process_behind_an_ended_leader_is_left_of_its_run() {
    let mut keeping = Keeping::new();
    keeping.add_wide(None, Some(64));
    keeping.with_attack("one");
    let behind = "a=sleep 1000 | ./attack hold behind-leader 1 >/dev/null & echo $$ $!; wait";
    let staying = keeping.stay(&["wide", "one", behind]);
    let left = staying.processes()[1];
    let status = || std::fs::read_to_string(format!("/proc/{left}/status")).unwrap_or_default();
    within_patience("the end of its first thread", || {
        status().contains("State:\tZ")
    });
    let all = plexus_sandbox::left_of_run(&keeping.kept.lock("one")).expect("processes");
    assert!(all.contains(&left.as_raw()), "{left} is not of {all:?}");
    staying.ends(|staying| drop(staying.keeper.stdin.take()));
}

/// How many processes the attack has at a time.
const LINE: usize = 150;

/// The processes of the attack, which are its program's.
fn line() -> Vec<Pid> {
    let processes = std::fs::read_dir("/proc").expect("processes");
    let numbers = processes.flatten().filter_map(|entry| {
        let line = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
        let number = entry.file_name().to_str()?.parse().ok()?;
        (line.split('\0').any(|word| word == "regrow")).then(|| Pid::from_raw(number))
    });
    numbers.collect()
}

fn within_patience(what: &str, is_so: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(
            began.elapsed() < PATIENCE,
            "{what}: {} are there",
            line().len()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A line of processes that grows again as it is killed ends with its run, however that ends.
#[test]
fn regrowing_line_ends_with_its_run() {
    let mut keeping = Keeping::new();
    keeping.add_wide(None, Some(256));
    let act = format!("./attack regrow {LINE} & until [ -e go ]; do sleep 0.05; done");
    // By itself; the worker ends; the keeper is killed, as by the death of a daemon; the group is.
    let ends: [fn(&mut Staying, &std::path::Path); 4] = [
        |_, root| std::fs::write(root.join("go"), "").expect("a file"),
        |staying, _| drop(staying.keeper.stdin.take()),
        |staying, _| kill(staying.keeper(), Signal::SIGKILL).expect("a process of the test's own"),
        |staying, _| killpg(staying.keeper(), Signal::SIGKILL).expect("a group of the test's own"),
    ];
    for (number, end) in ends.into_iter().enumerate() {
        let run = format!("run-{number}");
        let root = keeping.with_attack(&run);
        let mut staying = keeping.stay(&["wide", &run, &format!("a=echo; {act}")]);
        within_patience("the whole line", || line().len() >= LINE);
        end(&mut staying, &root);
        let state = || plexus_sandbox::state_of_run(&keeping.kept.lock(&run)).expect("its lock");
        within_patience("the end of the run", || state() == RunState::Over);
        assert_eq!(line(), [], "{run}: nobody is left when it is over");
        drop(staying.keeper.stdin.take());
        ended("the keeper", &mut staying.keeper);
    }
}

/// The control: killed one generation after the other, it stays.
#[test]
fn regrowing_line_outlives_a_kill_by_generations() {
    nix::sys::prctl::set_child_subreaper(true).expect("this process's own");
    // On a machine that is busy elsewhere a generation may be the last one by luck.
    let outlives = (0..5).any(|_| {
        let first = Command::new(hostile()).args(["regrow", "150"]).spawn();
        drop(first.expect("it starts"));
        within_patience("the whole line", || line().len() >= LINE);
        for _ in 0..2 * LINE {
            let own = format!("/proc/self/task/{}/children", nix::unistd::gettid());
            let children = std::fs::read_to_string(own).expect("its children");
            for child in children.split_whitespace() {
                let child = Pid::from_raw(child.parse().expect("a number"));
                kill(child, Signal::SIGKILL).expect("a child that is not reaped");
            }
            while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(ended) if ended.pid().is_some())
            {
            }
        }
        !line().is_empty()
    });
    assert!(outlives, "it was ended five times, and is no attack");
    within_patience("as long as before", || line().len() >= LINE);
}

#[test]
fn run_beyond_its_limits_is_ended() {
    let keeping = Keeping::new();
    let ran = |run: &str, line: &str| keeping.have(&["shell", run, &format!("a={line}")]);
    let said = ran("one", "for i in {1..12}; do sleep 1000 & done; wait");
    assert!(said.ends_with("TooManyProcesses"), "{said}");
    let said = ran("two", "printf -v x %090000000d 0; sleep 1000; echo ${#x}");
    assert!(said.ends_with("TooMuchMemory"), "{said}");
    // Copies of it that have changed nothing yet hold what it holds: 30 MB, of which four would be too much.
    let copies =
        "printf -v x %04000000d 0; printf %s \"$x\" > x; (((sleep 2; :); :); :); echo ${#x}";
    assert_eq!(ran("copies", copies), "4000000\nExited(0)");
    let said = ran("three", "for i in 1 2 3; do sleep 0.1 & done; wait");
    assert_eq!(said, "Exited(0)");
}

#[test]
fn run_beyond_its_disk_is_ended_and_removed() {
    let keeping = Keeping::new();
    // Links are not followed, and a file with several names counts once.
    let small = "a=printf -v x %04000000d 0; printf %s \"$x\" > small; ln -s /usr usr; for i in 1 2 3; do ln small s$i; done; \
                 sleep 2; echo kept";
    assert_eq!(keeping.have(&["shell", "one", small]), "kept\nExited(0)");
    assert!(keeping.runs.join("one/root/small").is_file());
    let closed =
        "mkdir -p $HOME/closed/in; touch $HOME/closed/in/x; chmod 0 $HOME/closed/in $HOME/closed;";
    let large = format!(
        "a=printf -v x %04000000d 0; for i in 1 2 3; do printf %s \"$x\" > big$i; done; {closed} sleep 1000"
    );
    let said = keeping.have(&["shell", "two", &large]);
    assert!(said.ends_with("TooMuchDisk"), "{said}");
    assert!(!keeping.runs.join("two").exists());
    // If nothing bounds it, it stays.
    let mut unbounded = keeping;
    unbounded.kept.programs[3].disk = None;
    let large = large.replace("sleep 1000", "sleep 2; echo kept");
    let said = unbounded.have(&["shell", "three", &large]);
    assert_eq!(said, "kept\nExited(0)");
    assert!(unbounded.runs.join("three/root/big3").is_file());
    // Closed folders, one where folders are moved up from, and one deeper than a path can name.
    let deep =
        "a=for n in 14 3000; do mkdir -pm 0 $n/$(printf 'd%.0s/' $(seq $n)); done && echo made";
    assert_eq!(unbounded.have(&["shell", "deep", deep]), "made\nExited(0)");
    let mut bounded = unbounded;
    bounded.kept.programs[3].disk = Some(8 << 20);
    let said = bounded.have(&["shell", "deep", "a=sleep 1000"]);
    assert!(said.ends_with("TooMuchDisk"), "{said}");
    assert!(!bounded.runs.join("deep").exists());
}

/// Room on the disk is taken by writing, which is slow enough to be counted.
#[test]
fn run_reserves_no_room_on_the_disk() {
    let keeping = Keeping::new();
    let line = "fallocate -l 1000000 reserved 2>/dev/null || echo refused";
    let said = keeping.have(&["shell", "one", &format!("a={line}")]);
    assert_eq!(said, "refused\nExited(0)");
    let control = Command::new("bash")
        .args(["-c", line])
        .current_dir(&keeping.cage.outside)
        .output()
        .expect("a shell");
    assert!(control.stdout.is_empty(), "{control:?}");
}

/// A cage with a hole starts no program.
#[test]
fn hole_in_a_childs_cage_is_found() {
    let mut keeping = Keeping::new();
    let said = keeping.have(&["act1", "one", "a=here"]);
    assert!(said.ends_with("Exited(0)"), "{said}");
    let runs = keeping.runs.display().to_string();
    keeping.kept.programs[0]
        .profile
        .push_str(&format!("(allow file-read* (subpath \"{runs}\"))"));
    let said = keeping.have(&["act1", "one", "a=here"]);
    assert!(
        said.contains("the cage has a hole: open the canary (went through)")
            && said.contains("list another run's folder")
            && said.ends_with("Exited(71)"),
        "{said}"
    );
}
