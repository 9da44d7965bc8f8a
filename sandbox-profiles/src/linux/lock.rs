//! Who is left of a run on Linux, and what makes a number of a process mean one process.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use nix::unistd::Pid;

use crate::run_lock::holders;

/// Filters that a program in a cage has at least, and whatever descends from it: see `syscalls`.
const FILTERS: i32 = 4;

/// What is left of a run whose helper has ended: what descends from its monitor. If that has ended too, all that could be of
/// it: a process that has the filters of a cage, which nobody sheds, and descends from no monitor of a run.
///
/// # Errors
/// The system's.
pub fn left_of_run(path: &Path) -> io::Result<Vec<i32>> {
    let all = Processes::read()?;
    let own = holders(path)?;
    if !own.is_empty() {
        let left = all.0.keys().filter(|process| {
            let is_helper = own.iter().any(|own| own.as_raw() == **process);
            !is_helper && all.descends_from(**process, &own)
        });
        return Ok(left.copied().collect());
    }
    let mut others = Vec::new();
    for lock in std::fs::read_dir(path.parent().unwrap_or(path))? {
        others.extend(holders(&lock?.path()).unwrap_or_default());
    }
    let this = Pid::this().as_raw();
    let beside = all.0.get(&this).map_or(0, |this| this.filters);
    let is_caged = |process: &Process| process.filters >= beside + FILTERS;
    let left = all
        .0
        .iter()
        .filter(|(number, process)| is_caged(process) && !all.descends_from(**number, &others));
    Ok(left.map(|(number, _)| *number).collect())
}

struct Process {
    parent: i32,
    filters: i32,
}

/// All of this user.
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
            // One that has ended is waited for by its parent.
            if field("Uid:") != Some(user.as_str()) || field("State:") == Some("Z") {
                continue;
            }
            let number_in = |name| {
                field(name)
                    .and_then(|value| value.parse().ok())
                    .unwrap_or(0)
            };
            let (parent, filters) = (number_in("PPid:"), number_in("Seccomp_filters:"));
            all.insert(number, Process { parent, filters });
        }
        Ok(Self(all))
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

    #[test]
    fn a_name_with_parentheses_and_spaces_moves_no_field() {
        let fields: Vec<String> = (4..=30).map(|n| n.to_string()).collect();
        let stat = format!("17 (a) (b c) S {}", fields.join(" "));
        assert_eq!(ticks(&stat), Some(22));
        assert_eq!(ticks("17 (short) S 1 2"), None);
    }
}
