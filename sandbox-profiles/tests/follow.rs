//! A run from its start to its end, as a monitor without a kernel that keeps track follows it: against a script of events and the
//! table of `sweep`.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use plexus_sandbox::follow::{AT_LEAST, GRACE, PAUSE, RunEvent, RunProcesses, follow, program_in};
use plexus_sandbox::sweep::{Ending, Process, ProcessTable, SweepSignal};

use crate::sweep::{Habit, PROGRAM, World};

/// What is told, and after how long.
type Script = VecDeque<(Duration, RunEvent)>;

struct Scripted {
    world: World,
    now: Duration,
    script: Script,
    /// What was sent to the program, and when.
    sent: Vec<(&'static str, Duration)>,
    watched: Vec<i32>,
    /// When the table was read while the run went on.
    scanned: Vec<Duration>,
    /// Whether SIGTERM ends the program.
    heeds: bool,
    swept: Option<Duration>,
}

impl Scripted {
    fn new(habits: &[Habit], script: &[(Duration, RunEvent)]) -> Self {
        Self {
            world: World::new(40, 5, habits),
            now: Duration::ZERO,
            script: script.iter().copied().collect(),
            sent: Vec::new(),
            watched: Vec::new(),
            scanned: Vec::new(),
            heeds: false,
            swept: None,
        }
    }

    /// Nobody of it is left, and nobody else was touched.
    #[track_caller]
    fn ends(mut self) -> Self {
        let mut sweep = self.world.sweep();
        let ending = follow(&mut self, &mut sweep).expect("the table is read");
        assert_eq!(ending, Ending::Over);
        assert_eq!(self.world.left(), Vec::<i32>::new());
        assert_eq!(self.world.hit_strangers, 0);
        self
    }
}

impl RunProcesses for Scripted {
    fn now(&self) -> Duration {
        self.now
    }

    fn wait(&mut self, most: Duration) -> io::Result<Vec<RunEvent>> {
        let until = self.now + most;
        let comes = self.script.front().filter(|(at, _)| *at <= until);
        let Some((at, event)) = comes.copied() else {
            self.now = until;
            return Ok(Vec::new());
        };
        self.script.pop_front();
        self.now = self.now.max(at);
        self.world.step();
        if event == RunEvent::Ended {
            self.world.exit(PROGRAM);
        }
        Ok(vec![event])
    }

    fn watch(&mut self, pid: i32) {
        self.watched.push(pid);
    }

    fn interrupt(&mut self) {
        self.sent.push(("interrupt", self.now));
    }

    fn terminate(&mut self) {
        self.sent.push(("terminate", self.now));
        if self.heeds {
            let soon = self.now + Duration::from_millis(10);
            self.script.push_front((soon, RunEvent::Ended));
        }
    }
}

impl ProcessTable for Scripted {
    fn scan(&mut self) -> io::Result<Vec<Process>> {
        self.scanned.push(self.now);
        self.world.scan()
    }

    fn unique(&mut self, pid: i32) -> Option<u64> {
        self.world.unique(pid)
    }

    fn signal(&mut self, pid: i32, signal: SweepSignal) {
        self.swept.get_or_insert(self.now);
        self.world.signal(pid, signal);
    }

    fn settle(&mut self) {
        self.world.settle();
    }
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn program_that_ends_takes_its_tree_along() {
    let habits = [Habit::Daemon, Habit::DaemonThatExecs, Habit::Chain(9)];
    let run = Scripted::new(&habits, &[(ms(300), RunEvent::Ended)]).ends();
    assert_eq!(run.sent, []);
    assert_eq!(run.swept, Some(ms(300)), "at once");
}

/// What loses every other sign was seen while it had one: its fork was told.
#[test]
fn process_that_disclaims_itself_after_a_scan_is_ended() {
    let script = [(ms(1), RunEvent::Forked), (ms(400), RunEvent::Ended)];
    Scripted::new(&[Habit::Disclaim, Habit::Fork], &script).ends();
}

#[test]
fn end_that_is_asked_for_gives_the_group_a_moment() {
    let script = [(ms(100), RunEvent::EndAsked)];
    let run = Scripted::new(&[Habit::Wait], &script).ends();
    assert_eq!(run.sent, [("terminate", ms(100))]);
    assert_eq!(run.swept, Some(ms(100) + GRACE));

    // One that heeds it is swept after as soon as it has ended.
    let mut run = Scripted::new(&[Habit::Wait], &script);
    run.heeds = true;
    assert_eq!(run.ends().swept, Some(ms(110)));
}

#[test]
fn second_wish_to_end_changes_nothing() {
    let script = [
        (ms(50), RunEvent::Interrupted),
        (ms(100), RunEvent::EndAsked),
        (ms(200), RunEvent::EndAsked),
        (ms(300), RunEvent::Interrupted),
    ];
    let run = Scripted::new(&[Habit::Wait], &script).ends();
    assert_eq!(run.sent, [("interrupt", ms(50)), ("terminate", ms(100))]);
    assert_eq!(run.swept, Some(ms(100) + GRACE));
}

#[test]
fn run_whose_keeper_died_is_swept_at_once() {
    let script = [
        (ms(100), RunEvent::EndAsked),
        (ms(150), RunEvent::KeeperGone),
    ];
    let run = Scripted::new(&[Habit::Daemon], &script).ends();
    assert_eq!(run.swept, Some(ms(150)));
    let run = Scripted::new(&[Habit::Daemon], &script[1..]).ends();
    assert_eq!((run.sent.len(), run.swept), (0, Some(ms(150))));
}

#[test]
fn table_is_read_after_forks_and_once_a_second_without() {
    let quiet = Scripted::new(&[], &[(ms(10_500), RunEvent::Ended)]).ends();
    let before = |run: &Scripted, end| run.scanned.iter().filter(|at| **at < end).count();
    assert_eq!(before(&quiet, ms(10_500)), 11);
    assert_eq!(quiet.watched, [PROGRAM]);

    // A fork each millisecond, for one second.
    let mut script: Vec<_> = (1..1_000).map(|at| (ms(at), RunEvent::Forked)).collect();
    script.push((ms(1_000), RunEvent::Ended));
    let busy = Scripted::new(&[Habit::Chain(30)], &script).ends();
    let scans = before(&busy, ms(1_000));
    assert!((40..=51).contains(&scans), "{scans}");
    assert!(busy.watched.len() > 2, "new members are watched as well");
    let pauses = busy.scanned.windows(2).filter(|at| at[1] < ms(1_000));
    assert!(pauses.clone().all(|at| at[1] - at[0] >= PAUSE));
    assert!(PAUSE < AT_LEAST);
}

#[test]
fn lock_names_the_program_behind_its_monitor() {
    let lock = "41 A-B/900\n42 A-B/901\n";
    assert_eq!(program_in(lock), Some((42, 901)));
    for none in [
        "",
        "41 A-B/900\n",
        "41 A-B/900\n1 A-B/901\n",
        "41 A/1\n42 901\n",
    ] {
        assert_eq!(program_in(none), None, "{none:?}");
    }
}

/// Real processes of this machine, with its own table and no events but the program's end.
#[cfg(target_os = "linux")]
mod real {
    use super::*;
    use crate::sweep::real::{Proc, look};
    use nix::sys::signal::{Signal, killpg};
    use nix::unistd::Pid;
    use plexus_hostile::{has_ended, hold};
    use plexus_sandbox::sweep::{ProcessState, Sweep};
    use std::os::fd::OwnedFd;
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;
    use std::time::Instant;

    struct Real {
        program: Pid,
        end: OwnedFd,
        began: Instant,
        watched: Vec<Process>,
        asked: Option<Instant>,
    }

    impl RunProcesses for Real {
        fn now(&self) -> Duration {
            self.began.elapsed()
        }

        fn wait(&mut self, most: Duration) -> io::Result<Vec<RunEvent>> {
            // The shell, the one that it starts in a session of its own, and what that starts.
            if self.watched.len() >= 3 && self.asked.is_none() {
                self.asked = Some(Instant::now());
                return Ok(vec![RunEvent::EndAsked]);
            }
            let most = if self.asked.is_some() { most } else { PAUSE };
            let ended = has_ended(&self.end, most);
            let event = if ended {
                RunEvent::Ended
            } else {
                RunEvent::Forked
            };
            Ok(vec![event])
        }

        fn watch(&mut self, pid: i32) {
            self.watched.extend(look(pid));
        }

        fn interrupt(&mut self) {}

        fn terminate(&mut self) {
            killpg(self.program, Signal::SIGTERM).expect("it is there");
        }
    }

    impl ProcessTable for Real {
        fn scan(&mut self) -> io::Result<Vec<Process>> {
            Proc.scan()
        }

        fn unique(&mut self, pid: i32) -> Option<u64> {
            Proc.unique(pid)
        }

        fn signal(&mut self, pid: i32, signal: SweepSignal) {
            Proc.signal(pid, signal);
        }

        fn settle(&mut self) {
            Proc.settle();
        }
    }

    /// Follows a shell until it was ended; answers how long the wish to end took.
    fn ended(script: &str) -> Duration {
        let mut shell = Command::new("/bin/sh");
        let mut program = shell.args(["-c", script]).process_group(0).spawn();
        let program = program.as_mut().expect("it starts");
        let pid = i32::try_from(program.id()).expect("a number");
        let own = look(pid).expect("it is there").unique;
        let keeper = i32::try_from(std::process::id()).expect("a number");
        let mut run = Real {
            program: Pid::from_raw(pid),
            end: hold(pid).expect("it is there"),
            began: Instant::now(),
            watched: Vec::new(),
            asked: None,
        };
        let mut sweep = Sweep::new(pid, own, keeper);
        let ending = follow(&mut run, &mut sweep).expect("it is read");
        let took = run.asked.expect("all of them were seen").elapsed();
        assert_eq!(ending, Ending::Over);
        for member in &run.watched {
            let left = look(member.pid).filter(|left| left.unique == member.unique);
            let is_alive = left.is_some_and(|left| left.state != ProcessState::Zombie);
            assert!(!is_alive, "{member:?}");
        }
        program.wait().expect("it is a child");
        took
    }

    #[test]
    fn real_run_is_ended_whether_it_heeds_the_wish_or_not() {
        let tree = "setsid sh -c 'sleep 600 & wait' & wait";
        ended(tree);
        let took = ended(&format!("trap '' TERM; {tree}; sleep 600"));
        assert!(took >= GRACE, "{took:?}");
    }
}
