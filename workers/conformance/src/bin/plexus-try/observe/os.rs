//! What the tracer asks of the kernel that has no safe spelling.
#![expect(
    unsafe_code,
    reason = "the kernel's description of a system call is a union"
)]

use nix::{sys::ptrace, unistd::Pid};

/// A stop at a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// It is about to be made.
    Entry {
        /// Its number.
        number: i64,
        /// Its arguments.
        arguments: [u64; 6],
    },
    /// It was made, with this result.
    Exit(i64),
}

/// Describes the stop that `pid` is in.
pub(super) fn stop(pid: Pid) -> nix::Result<Option<Stop>> {
    let info = ptrace::syscall_info(pid)?;
    Ok(match info.op {
        libc::PTRACE_SYSCALL_INFO_ENTRY => {
            // SAFETY: the kernel says by `op` which member of the union it has written (ptrace(2),
            // PTRACE_GET_SYSCALL_INFO); this arm is the one of `entry`, whose fields are plain integers.
            let entry = unsafe { info.u.entry };
            Some(Stop::Entry {
                number: i64::try_from(entry.nr).unwrap_or(-1),
                arguments: entry.args,
            })
        }
        libc::PTRACE_SYSCALL_INFO_EXIT => {
            // SAFETY: as above; this arm is the one of `exit`, whose fields are plain integers.
            let exit = unsafe { info.u.exit };
            Some(Stop::Exit(exit.sval))
        }
        _ => None,
    })
}
