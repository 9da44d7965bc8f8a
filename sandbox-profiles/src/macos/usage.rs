//! What a run has: memory, processes and threads, over all that descends from its program.
//!
//! Memory is the sum of what each process has for itself (`phys_footprint`), which holds what it shares with nobody, what was
//! compressed, and its share of the graphics'. Buffers of sockets and pipes are not counted.
//!
//! Type-checked alone; no Mac has run it.

use std::path::PathBuf;

use nix::unistd::Pid;

use super::processes::{footprint, number_of_processes, threads};
use super::{SystemProcesses, lock};
use crate::keeper::Count;
use crate::sweep::{Process, ProcessTable as _, Sweep};

/// Measures one run.
pub(crate) struct Meter {
    lock: PathBuf,
    /// Once the run has a program.
    descended: Option<Sweep>,
}

impl Meter {
    /// Of the run with this lock, in which its monitor puts the program's number.
    pub(crate) fn of(_monitor: Pid, lock: PathBuf) -> Self {
        Self {
            lock,
            descended: None,
        }
    }

    /// Counts what descends from the program, with its monitor.
    pub(crate) fn count(&mut self) -> Count {
        counted(&self.members())
    }

    /// The same, with the bytes of memory that all of them hold. Each page counts for one of them, whatever the bound.
    pub(crate) fn measure(&mut self, _most: Option<u64>) -> (Count, u64) {
        let members = self.members();
        let held = members.iter().filter_map(|member| footprint(member.pid));
        (counted(&members), held.sum())
    }

    fn members(&mut self) -> Vec<Process> {
        if self.descended.is_none() {
            self.descended = lock::descended(&self.lock).ok().flatten();
        }
        // A table that cannot be read now can be half a second later.
        let scan = SystemProcesses::new().scan().unwrap_or_default();
        let descended = self.descended.as_mut();
        descended.map_or_else(Vec::new, |sweep| sweep.members(&scan))
    }
}

fn counted(members: &[Process]) -> Count {
    let threads = members.iter().filter_map(|member| threads(member.pid));
    Count {
        processes: u32::try_from(members.len()).map_or(u32::MAX, |count| count.saturating_add(1)),
        threads: threads.fold(1, u32::saturating_add),
    }
}

/// The processes of the machine: nobody says cheaply how many threads it has.
pub(crate) fn size_of_machine() -> Option<u64> {
    number_of_processes()
}
