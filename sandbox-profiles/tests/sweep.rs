//! The end of a run where the kernel has no way to do it at once: against a table that does what processes do in the worst
//! moment, and on Linux against the real one.

use std::collections::BTreeMap;
use std::io;

use plexus_sandbox::sweep::{Ending, Process, ProcessState, ProcessTable, Sweep, SweepSignal};
use proptest::prelude::*;

/// The keeper, in every table.
pub(crate) const KEEPER: i32 = 2;
/// The program of the run.
pub(crate) const PROGRAM: i32 = 10;

/// What a process does at a step, if it is not stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    /// Waits.
    Wait,
    /// Forks once, then waits.
    Fork,
    /// Forks a child that forks, and so on; each ends once it has a child.
    Chain(u32),
    /// Leaves its group and its parent: the middle one of a double fork ends.
    Daemon,
    /// The same, and becomes another program.
    DaemonThatExecs,
    /// Wakes the others of its group.
    Wake,
    /// Says that nobody else is responsible for it, and leaves.
    Disclaim,
}

struct Entry {
    process: Process,
    habit: Habit,
    /// Whether it descends from the program: what a sweep must find out.
    ours: bool,
    stopping: bool,
}

/// A small world: few numbers, so that each is given again soon.
pub(crate) struct World {
    entries: BTreeMap<i32, Entry>,
    next_unique: u64,
    next_pid: i32,
    numbers: i32,
    /// Strangers that still come.
    strangers: u32,
    pub(crate) hit_strangers: usize,
    pub(crate) scans: usize,
}

impl World {
    pub(crate) fn new(numbers: i32, strangers: u32, habits: &[Habit]) -> Self {
        let mut world = Self {
            entries: BTreeMap::new(),
            next_unique: 100,
            next_pid: PROGRAM + 1,
            numbers,
            strangers,
            hit_strangers: 0,
            scans: 0,
        };
        world.place(KEEPER, 1, KEEPER, Some(KEEPER), Habit::Wait, false);
        world.place(PROGRAM, KEEPER, PROGRAM, Some(PROGRAM), Habit::Wait, true);
        for habit in habits {
            let child = world.fork(PROGRAM).expect("a number");
            world.entry(child).habit = *habit;
        }
        world
    }

    fn entry(&mut self, pid: i32) -> &mut Entry {
        self.entries.get_mut(&pid).expect("it is there")
    }

    fn place(
        &mut self,
        pid: i32,
        parent: i32,
        group: i32,
        responsible: Option<i32>,
        habit: Habit,
        ours: bool,
    ) {
        self.next_unique += 1;
        let parent_unique = self
            .entries
            .get(&parent)
            .map_or(1, |entry| entry.process.unique);
        let process = Process {
            pid,
            unique: self.next_unique,
            parent,
            parent_unique,
            group,
            responsible,
            state: ProcessState::Running,
        };
        let entry = Entry {
            process,
            habit,
            ours,
            stopping: false,
        };
        self.entries.insert(pid, entry);
    }

    /// A free number, the one that was free longest.
    fn number(&mut self) -> Option<i32> {
        for _ in 0..self.numbers {
            let pid = self.next_pid;
            self.next_pid = match pid + 1 - PROGRAM {
                past if past > self.numbers => PROGRAM + 1,
                _ => pid + 1,
            };
            // No number that is still a group's.
            let is_group = self
                .entries
                .values()
                .any(|entry| entry.process.group == pid);
            if !self.entries.contains_key(&pid) && !is_group {
                return Some(pid);
            }
        }
        None
    }

    fn fork(&mut self, of: i32) -> Option<i32> {
        let pid = self.number()?;
        let parent = &self.entries[&of];
        let (group, responsible, ours) = (
            parent.process.group,
            parent.process.responsible,
            parent.ours,
        );
        self.place(pid, of, group, responsible, Habit::Wait, ours);
        Some(pid)
    }

    /// It ends, and its children are orphans. The program itself stays a zombie, as its keeper does not reap it.
    pub(crate) fn exit(&mut self, pid: i32) {
        for entry in self.entries.values_mut() {
            if entry.process.parent == pid {
                entry.process.parent = 1;
            }
        }
        if pid == PROGRAM {
            self.entry(pid).process.state = ProcessState::Zombie;
        } else {
            self.entries.remove(&pid);
        }
    }

    /// Everyone does what it does, once.
    pub(crate) fn step(&mut self) {
        for pid in self.entries.keys().copied().collect::<Vec<_>>() {
            let Some(entry) = self.entries.get_mut(&pid) else {
                continue;
            };
            // A process that is asked to stop comes to it after what is under way.
            let stops = std::mem::take(&mut entry.stopping);
            if entry.process.state == ProcessState::Running {
                let habit = entry.habit;
                self.act(pid, habit);
            }
            if stops && let Some(entry) = self.entries.get_mut(&pid) {
                entry.process.state = ProcessState::Stopped;
            }
        }
        if self.strangers > 0 {
            self.strangers -= 1;
            // The one that was there goes, and its number with it.
            let gone = self.entries.values();
            let gone = gone.filter(|entry| !entry.ours && entry.process.pid != KEEPER);
            if let Some(pid) = gone.map(|entry| entry.process.pid).next() {
                self.exit(pid);
            }
            if let Some(pid) = self.number() {
                self.place(pid, 1, pid, Some(pid), Habit::Wait, false);
            }
        }
    }

    fn act(&mut self, pid: i32, habit: Habit) {
        match habit {
            Habit::Wait => {}
            Habit::Fork => {
                if self.fork(pid).is_some() {
                    self.entry(pid).habit = Habit::Wait;
                }
            }
            Habit::Chain(left) => {
                if let Some(child) = self.fork(pid) {
                    self.entry(child).habit = match left {
                        0 => Habit::Wait,
                        left => Habit::Chain(left - 1),
                    };
                    self.exit(pid);
                }
            }
            Habit::Daemon | Habit::DaemonThatExecs | Habit::Disclaim => {
                let entry = self.entry(pid);
                entry.process.group = pid;
                entry.process.parent = 1;
                entry.habit = Habit::Wait;
                if habit == Habit::Disclaim {
                    entry.process.responsible = Some(pid);
                }
                if habit != Habit::Daemon {
                    // Of the parent that it has now.
                    entry.process.parent_unique = 1;
                }
            }
            Habit::Wake => {
                let group = self.entries[&pid].process.group;
                for entry in self.entries.values_mut() {
                    if entry.process.group == group && entry.process.state != ProcessState::Zombie {
                        entry.process.state = ProcessState::Running;
                    }
                }
            }
        }
    }

    pub(crate) fn left(&self) -> Vec<i32> {
        let alive = |entry: &&Entry| entry.process.state != ProcessState::Zombie;
        let ours = self.entries.values().filter(|entry| entry.ours);
        ours.filter(alive).map(|entry| entry.process.pid).collect()
    }

    pub(crate) fn sweep(&self) -> Sweep {
        Sweep::new(PROGRAM, self.entries[&PROGRAM].process.unique, KEEPER)
    }
}

impl ProcessTable for World {
    fn scan(&mut self) -> io::Result<Vec<Process>> {
        self.scans += 1;
        let seen = self.entries.values().map(|entry| entry.process.clone());
        let seen = seen.collect();
        // Whatever was seen is old when it is read.
        self.step();
        Ok(seen)
    }

    fn unique(&mut self, pid: i32) -> Option<u64> {
        self.step();
        self.entries.get(&pid).map(|entry| entry.process.unique)
    }

    fn signal(&mut self, pid: i32, signal: SweepSignal) {
        self.hit_strangers += usize::from(!self.entries[&pid].ours);
        match signal {
            SweepSignal::Stop => self.entry(pid).stopping = true,
            SweepSignal::Kill => self.exit(pid),
        }
    }

    fn settle(&mut self) {
        self.step();
    }
}

/// Nobody of the run is left, and nobody else was touched.
#[track_caller]
fn ends(mut world: World) -> World {
    let ending = world.sweep().end(&mut world).expect("the table is read");
    assert_eq!(ending, Ending::Over);
    assert_eq!(world.left(), Vec::<i32>::new());
    assert_eq!(world.hit_strangers, 0);
    world
}

#[test]
fn process_forked_during_the_sweep_is_ended() {
    ends(World::new(40, 0, &[Habit::Fork, Habit::Fork, Habit::Fork]));
    ends(World::new(40, 0, &[Habit::Chain(30)]));
}

#[test]
fn number_given_to_a_stranger_gets_no_signal() {
    // Six numbers, taken and given at each step.
    let world = ends(World::new(6, 500, &[Habit::Chain(9), Habit::Fork]));
    assert!(world.strangers < 500, "some came");
}

#[test]
fn orphan_that_execs_in_a_session_of_its_own_is_ended() {
    ends(World::new(40, 5, &[Habit::Daemon, Habit::DaemonThatExecs]));
}

/// A system that does not say who is responsible: then who made it tells.
#[test]
fn orphan_is_known_by_whoever_made_it() {
    let mut world = World::new(40, 0, &[Habit::Daemon]);
    for entry in world.entries.values_mut() {
        entry.process.responsible = None;
    }
    world.step();
    ends(world);
}

/// It became another program after its parent had ended, and did not leave the group.
#[test]
fn orphan_without_another_sign_is_known_by_its_group() {
    let mut world = World::new(40, 0, &[Habit::Wait]);
    for entry in world.entries.values_mut() {
        entry.process.responsible = None;
        if entry.process.pid > PROGRAM {
            (entry.process.parent, entry.process.parent_unique) = (1, 1);
        }
    }
    ends(world);
}

/// A scan need not be of one moment: the list that it begins with is older than a fork.
#[test]
fn process_that_a_scan_missed_is_ended() {
    struct Late {
        scans: u32,
        is_killed: bool,
    }
    impl ProcessTable for Late {
        fn scan(&mut self) -> io::Result<Vec<Process>> {
            self.scans += 1;
            let seen = (self.scans >= 4 && !self.is_killed).then(|| member(ProcessState::Stopped));
            Ok(seen.into_iter().collect())
        }
        fn unique(&mut self, _: i32) -> Option<u64> {
            Some(7)
        }
        fn signal(&mut self, _: i32, signal: SweepSignal) {
            self.is_killed = signal == SweepSignal::Kill;
        }
        fn settle(&mut self) {}
    }
    let mut late = Late {
        scans: 0,
        is_killed: false,
    };
    let ending = Sweep::new(PROGRAM, 1, KEEPER).end(&mut late);
    assert_eq!(ending.expect("it is read"), Ending::Over);
    assert!(late.is_killed);
}

/// A process of the program's group.
fn member(state: ProcessState) -> Process {
    Process {
        pid: 20,
        unique: 7,
        parent: 1,
        parent_unique: 1,
        group: PROGRAM,
        responsible: None,
        state,
    }
}

#[test]
fn stopped_process_that_is_woken_is_stopped_again() {
    ends(World::new(
        40,
        5,
        &[Habit::Wake, Habit::Fork, Habit::Chain(4)],
    ));
}

#[test]
fn ended_program_that_nobody_reaped_is_no_living_member() {
    let mut world = World::new(40, 0, &[Habit::Daemon]);
    world.exit(PROGRAM);
    let world = ends(world);
    assert!(world.entries.contains_key(&PROGRAM), "its number is kept");
}

/// What has lost every sign is known if it was seen before, and else by nobody.
#[test]
fn process_that_disclaims_itself_is_ended_if_it_was_seen() {
    let mut world = World::new(40, 0, &[Habit::Disclaim]);
    let mut sweep = world.sweep();
    let scan = world.scan().expect("it is read");
    assert_eq!(sweep.members(&scan).len(), 2);
    world.step();
    let ending = sweep.end(&mut world).expect("it is read");
    assert_eq!((ending, world.left().len()), (Ending::Over, 0));

    let mut world = World::new(40, 0, &[Habit::Disclaim]);
    world.step();
    let ending = world.sweep().end(&mut world).expect("it is read");
    assert_eq!((ending, world.left().len()), (Ending::Over, 1));
}

#[test]
fn sweep_without_an_end_says_so() {
    /// A killed process is there again.
    struct Endless;
    impl ProcessTable for Endless {
        fn scan(&mut self) -> io::Result<Vec<Process>> {
            Ok(vec![member(ProcessState::Running)])
        }
        fn unique(&mut self, _: i32) -> Option<u64> {
            Some(7)
        }
        fn signal(&mut self, pid: i32, _: SweepSignal) {
            assert_eq!(pid, 20);
        }
        fn settle(&mut self) {}
    }
    let ending = Sweep::new(PROGRAM, 1, KEEPER).end(&mut Endless);
    assert_eq!(ending.expect("it is read"), Ending::Unproven(1));
}

/// A process that did not start the program cannot keep its entry: the number is another's after its end.
#[test]
fn number_that_another_has_is_no_sign() {
    let stranger = Process {
        pid: PROGRAM,
        unique: 70,
        parent: 1,
        parent_unique: 1,
        group: PROGRAM,
        responsible: Some(PROGRAM),
        state: ProcessState::Running,
    };
    let of_stranger = Process {
        pid: 30,
        unique: 71,
        ..stranger
    };
    let seen = Process {
        pid: 31,
        unique: 8,
        parent_unique: 5,
        ..stranger
    };
    let scan = [stranger, of_stranger, seen];
    let mut sweep = Sweep::new(PROGRAM, 5, KEEPER);
    assert_eq!(sweep.members(&scan), scan[2..], "whom it made");
    // Without the stranger the number still is the group's.
    let mut sweep = Sweep::new(PROGRAM, 5, KEEPER);
    assert_eq!(sweep.members(&scan[1..]), scan[1..]);
}

#[test]
fn whoever_comes_again_kills_what_is_left() {
    let mut world = World::new(40, 5, &[Habit::Chain(9), Habit::Daemon, Habit::Fork]);
    let mut sweep = world.sweep();
    let turns = (0..200).take_while(|_| !sweep.kill_once(&mut world).expect("it is read"));
    assert!(turns.count() < 199, "it comes to an end");
    assert_eq!((world.left(), world.hit_strangers), (Vec::new(), 0));
}

fn habit() -> impl Strategy<Value = Habit> {
    prop_oneof![
        Just(Habit::Wait),
        Just(Habit::Fork),
        (0u32..12).prop_map(Habit::Chain),
        Just(Habit::Daemon),
        Just(Habit::DaemonThatExecs),
        Just(Habit::Wake),
    ]
}

proptest! {
    /// Whatever they do: all of them are ended, and nobody else is signalled.
    #[test]
    fn any_run_is_ended_and_no_stranger_signalled(
        habits in prop::collection::vec(habit(), 0..8),
        numbers in 12i32..40,
        strangers in 0u32..200,
        steps in 0usize..6,
    ) {
        let mut world = World::new(numbers, strangers, &habits);
        for _ in 0..steps {
            world.step();
        }
        let ending = world.sweep().end(&mut world).expect("it is read");
        prop_assert_eq!(ending, Ending::Over);
        prop_assert_eq!(world.left(), Vec::<i32>::new());
        prop_assert_eq!(world.hit_strangers, 0);
        prop_assert!(world.scans < 300, "{}", world.scans);
    }
}

/// The real table of this machine: no responsible process, and an id from the number and the time of its start.
#[cfg(target_os = "linux")]
pub(crate) mod real {
    use super::*;
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    use std::io::Read as _;
    use std::os::unix::process::CommandExt as _;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    pub(crate) struct Proc;

    pub(crate) fn look(pid: i32) -> Option<Process> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may hold anything.
        let (_, rest) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let number = |at: usize| fields.get(at)?.parse::<i64>().ok();
        let parent = i32::try_from(number(1)?).ok()?;
        Some(Process {
            pid,
            unique: unique(pid, number(19)?),
            parent,
            // Its parent may have ended meanwhile.
            parent_unique: 0,
            group: i32::try_from(number(2)?).ok()?,
            responsible: None,
            state: match fields[0] {
                "T" | "t" => ProcessState::Stopped,
                "Z" | "X" => ProcessState::Zombie,
                _ => ProcessState::Running,
            },
        })
    }

    fn unique(pid: i32, start: i64) -> u64 {
        ((start as u64) << 32) | u64::try_from(pid).expect("a number")
    }

    impl ProcessTable for Proc {
        fn scan(&mut self) -> io::Result<Vec<Process>> {
            let names = std::fs::read_dir("/proc")?.flatten();
            let numbers = names.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
            Ok(numbers.filter_map(look).collect())
        }

        fn unique(&mut self, pid: i32) -> Option<u64> {
            look(pid).map(|process| process.unique)
        }

        fn signal(&mut self, pid: i32, signal: SweepSignal) {
            let signal = match signal {
                SweepSignal::Stop => Signal::SIGSTOP,
                SweepSignal::Kill => Signal::SIGKILL,
            };
            // One that has ended is what was wanted.
            _ = kill(Pid::from_raw(pid), signal);
        }

        fn settle(&mut self) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn real_processes_are_ended_and_the_bystander_stays() {
        let mut bystander = Command::new("/usr/bin/sleep")
            .arg("600")
            .spawn()
            .expect("it starts");
        // A group, a session of its own that is seen while its parent lives, and a loop that forks.
        let script = "sleep 600 & setsid sh -c 'sleep 600 & wait' & (while :; do /usr/bin/true; done) & echo on; wait";
        let mut program = Command::new("/bin/sh")
            .args(["-c", script])
            .process_group(0)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = [0; 3];
        program
            .stdout
            .as_mut()
            .expect("piped")
            .read_exact(&mut line)
            .expect("it says so");
        let pid = i32::try_from(program.id()).expect("a number");
        let own = look(pid).expect("it is there").unique;
        let keeper = i32::try_from(std::process::id()).expect("a number");
        let mut sweep = Sweep::new(pid, own, keeper);
        // The session of its own is in a group of its own once `setsid` ran.
        let begun = Instant::now();
        let members = loop {
            // Nobody stays behind where this fails.
            if begun.elapsed() > Duration::from_secs(20) {
                _ = sweep.end(&mut Proc);
                panic!("no session of its own was seen");
            }
            let members = sweep.members(&Proc.scan().expect("it is read"));
            let apart = members.iter().filter(|member| member.group != pid).count();
            if apart >= 2 {
                break members;
            }
            std::thread::yield_now();
        };
        assert!(members.iter().all(|member| member.pid != keeper));
        assert_eq!(sweep.end(&mut Proc).expect("it is read"), Ending::Over);
        for member in members {
            let left = look(member.pid).filter(|left| left.unique == member.unique);
            let is_alive = left.is_some_and(|left| left.state != ProcessState::Zombie);
            assert!(!is_alive, "{member:?}");
        }
        assert!(!program.wait().expect("it is a child").success());
        let other = i32::try_from(bystander.id()).expect("a number");
        let state = look(other).expect("it is there").state;
        assert_eq!(state, ProcessState::Running);
        bystander.kill().expect("it is ours");
        bystander.wait().expect("it ends");
    }
}
