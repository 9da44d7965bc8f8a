//! Who is left of a run on macOS, and what makes a number of a process mean one process.
//!
//! Type-checked alone; no Mac has run it.

use std::io;
use std::path::Path;

use super::SystemProcesses;
pub(crate) use super::os::boot;
use crate::follow::program_in;
use crate::sweep::{ProcessTable as _, Sweep};

/// The start of the machine and the id of the process, which no other one of that start has. `None` where there is none.
pub(crate) fn started(pid: u32) -> Option<String> {
    let unique = SystemProcesses::new().unique(pid.try_into().ok()?)?;
    Some(format!("{}/{unique}", boot().ok()?))
}

/// What descends from the program of the run with this lock; none where it never had one.
pub(super) fn descended(path: &Path) -> io::Result<Option<Sweep>> {
    let text = std::fs::read_to_string(path)?;
    let own = std::process::id().cast_signed();
    Ok(program_in(&text).map(|(program, unique)| Sweep::new(program, unique, own)))
}

/// Who is left of a run whose monitor has ended, as far as any sign tells.
///
/// # Errors
/// The system's.
pub fn left_of_run(path: &Path) -> io::Result<Vec<i32>> {
    let Some(mut sweep) = descended(path)? else {
        return Ok(Vec::new());
    };
    let left = sweep.members(&SystemProcesses::new().scan()?);
    Ok(left.iter().map(|process| process.pid).collect())
}
