//! Who is left of a run on Linux, and what makes a number of a process mean one process.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use nix::unistd::Pid;

use super::scope;
use crate::run_lock::holders;

/// Filters that a program in a cage has at least, and whatever descends from it: see `syscalls`.
const FILTERS: i32 = 4;

/// What is left of a run whose helper has ended: what descends from its monitor. If that has ended too, all that could be of
/// it: a process that has what every process of a run has and cannot shed, and descends from no monitor of a run.
///
/// # Errors
/// The system's.
pub fn left_of_run(path: &Path) -> io::Result<Vec<i32>> {
    let all = Processes::read()?;
    let own = holders(path)?;
    let mut others = Vec::new();
    for lock in std::fs::read_dir(path.parent().unwrap_or(path))? {
        others.extend(holders(&lock?.path()).unwrap_or_default());
    }
    let this = all.0.get(&Pid::this().as_raw());
    let beside = this.map_or(0, |this| this.filters);
    Ok(all.left(&own, &others, beside + FILTERS))
}

struct Process {
    parent: i32,
    filters: i32,
    goes_first: bool,
}

/// All of this user that have not ended.
struct Processes(BTreeMap<i32, Process>);

impl Processes {
    fn read() -> io::Result<Self> {
        let mut all = BTreeMap::new();
        let user = nix::unistd::getuid().to_string();
        for entry in std::fs::read_dir("/proc")? {
            let entry = entry?;
            let number = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            let status = std::fs::read_to_string(entry.path().join("status"));
            let (Some(number), Ok(status)) = (number, status) else {
                continue;
            };
            let field = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name))?;
                line.split_ascii_whitespace().next()
            };
            let number_in = |name: &str| -> i32 {
                field(name)
                    .and_then(|value| value.parse().ok())
                    .unwrap_or(0)
            };
            // One that has ended is waited for by its parent. One whose first thread alone has ended goes on.
            let has_ended = field("State:") == Some("Z") && number_in("Threads:") < 2;
            if field("Uid:") != Some(user.as_str()) || has_ended {
                continue;
            }
            let (parent, filters) = (number_in("PPid:"), number_in("Seccomp_filters:"));
            let process = Process {
                parent,
                filters,
                goes_first: filters >= FILTERS && scope::goes_first(number),
            };
            all.insert(number, process);
        }
        Ok(Self(all))
    }

    /// The processes left of the run that `own` held; `others` hold other runs, and a cage has so many filters. A holder that
    /// has ended and is not reaped yet holds none: what descended from it does so no more.
    fn left(&self, own: &[Pid], others: &[Pid], filters: i32) -> Vec<i32> {
        let living = |holders: &[Pid]| -> Vec<Pid> {
            let is_there = |holder: &&Pid| self.0.contains_key(&holder.as_raw());
            holders.iter().filter(is_there).copied().collect()
        };
        let (own, others) = (living(own), living(others));
        let is_below = |process: &i32| {
            let is_holder = own.iter().any(|own| own.as_raw() == *process);
            !is_holder && self.descends_from(*process, &own)
        };
        let below: Vec<i32> = self.0.keys().copied().filter(is_below).collect();
        if !below.is_empty() {
            return below;
        }
        // Workers and egresses have the filters of a cage as well.
        let is_of_a_run = |process: &Process| process.filters >= filters && process.goes_first;
        let left = self.0.iter().filter(|(number, process)| {
            is_of_a_run(process) && !self.descends_from(**number, &others)
        });
        left.map(|(number, _)| *number).collect()
    }

    fn descends_from(&self, process: i32, above: &[Pid]) -> bool {
        let mut now = process;
        // A number that was given twice meanwhile makes no ring of it.
        for _ in 0..=self.0.len() {
            let Some(found) = self.0.get(&now) else {
                return false;
            };
            if above.iter().any(|above| above.as_raw() == found.parent) {
                return true;
            }
            now = found.parent;
        }
        false
    }
}

/// When a process started, with the machine's own start: with its number this means one process. `None` where there is none.
#[must_use]
pub fn started(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(format!("{}/{}", boot().ok()?, ticks(&stat)?))
}

pub(crate) fn boot() -> io::Result<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(boot.trim().to_owned())
}

/// Field 22 of `/proc/<pid>/stat`. The name, field 2, is in parentheses and may hold anything, so counting starts
/// behind its last one. Source: proc_pid_stat(5).
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Processes by number, with parent, filters, and whether the kernel ends them first.
    fn processes(all: &[(i32, i32, i32, bool)]) -> Processes {
        let process = |&(number, parent, filters, goes_first): &(i32, i32, i32, bool)| {
            let process = Process {
                parent,
                filters,
                goes_first,
            };
            (number, process)
        };
        Processes(all.iter().map(process).collect())
    }

    #[test]
    fn left_of_run_are_orphans_and_no_workers() {
        let [gateway, worker, egress] = [
            (100, 1, 0, false),
            (102, 101, 5, false),
            (103, 100, 5, false),
        ];
        let launcher = (101, 100, 0, false);
        let [monitor, helper, program] = [
            (200, 101, 0, false),
            (201, 200, 0, false),
            (202, 201, 6, true),
        ];
        let orphan = (203, 1, 6, true);
        let own = [200, 201].map(Pid::from_raw);
        let all = [gateway, launcher, worker, egress, orphan];
        assert_eq!(processes(&all).left(&[], &[], FILTERS), [203]);
        // Both have ended, and nobody has reaped them.
        assert_eq!(processes(&all).left(&own, &own, FILTERS), [203]);
        assert_eq!(processes(&all[..4]).left(&own, &own, FILTERS), [0_i32; 0]);
        let all = [gateway, launcher, worker, monitor, helper, program, orphan];
        assert_eq!(
            processes(&all).left(&own, &own, FILTERS),
            [202],
            "of its monitor"
        );
        let other = [Pid::from_raw(300)];
        assert_eq!(
            processes(&all).left(&other, &own, FILTERS),
            [203],
            "of another run"
        );
    }

    #[test]
    fn a_name_with_parentheses_and_spaces_moves_no_field() {
        let fields: Vec<String> = (4..=30).map(|n| n.to_string()).collect();
        let stat = format!("17 (a) (b c) S {}", fields.join(" "));
        assert_eq!(ticks(&stat), Some(22));
        assert_eq!(ticks("17 (short) S 1 2"), None);
    }
}
