//! `fsync` and `fdatasync` in the place of the system's.
#![expect(unsafe_code, reason = "they stand in for functions of the C library")]

use crate::Record;
use nix::errno::Errno;
use std::ffi::{c_int, c_long};
use std::fs;
use std::path::Path;

/// Has each program that links this crate call these two.
pub(crate) fn linked() {
    let both: [extern "C" fn(c_int) -> c_int; 2] = [fsync, fdatasync];
    std::hint::black_box(both);
}

/// As `fsync(2)`.
#[unsafe(no_mangle)]
pub extern "C" fn fsync(file: c_int) -> c_int {
    synced(file, libc::SYS_fsync)
}

/// As `fdatasync(2)`.
#[unsafe(no_mangle)]
pub extern "C" fn fdatasync(file: c_int) -> c_int {
    synced(file, libc::SYS_fdatasync)
}

fn synced(file: c_int, call: c_long) -> c_int {
    let link = format!("/proc/self/fd/{file}");
    let link = Path::new(&link);
    let Some(record) = fs::read_link(link).ok().as_deref().and_then(Record::of) else {
        // SAFETY: both calls take the number of a descriptor, by value.
        return c_int::try_from(unsafe { libc::syscall(call, file) }).unwrap_or(-1);
    };
    let noted = record.counted().and_then(|lost| match lost {
        true => Ok(()),
        false => record.note(link),
    });
    match noted {
        Ok(()) => 0,
        Err(_) => {
            Errno::EIO.set();
            -1
        }
    }
}
