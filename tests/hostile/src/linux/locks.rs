//! Locks, also through a descriptor that was opened to read.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::Command;
use std::thread;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

use crate::{Arguments, silent};

pub(super) fn act(arguments: Arguments<'_>) -> Option<io::Result<String>> {
    match arguments {
        ["lock-by", how, path] => silent(lock(how, path)),
        // Says that it has it, and keeps it until its input ends.
        ["stay-locked", how, path] => silent(lock(how, path).and_then(|file| {
            here()?;
            io::stdin().read_to_end(&mut Vec::new())?;
            drop(file);
            Ok(())
        })),
        ["wait-for-locks", count, path] => {
            silent(super::number(count).and_then(|count| wait_for(count, path)))
        }
        ["wait-in-vain", path] => silent(File::open(path).and_then(|file| {
            here()?;
            file.lock()
        })),
        ["locks-of-a-process", path] => silent(of_a_process(path)),
        _ => None,
    }
}

#[expect(clippy::print_stdout, reason = "its answer is its output")]
fn here() -> io::Result<()> {
    println!("here {}", std::process::id());
    io::stdout().flush()
}

/// Locks at once or not at all. All but `exclusive-range` through a descriptor that was opened to read.
fn lock(how: &str, path: &str) -> io::Result<File> {
    let file = match how {
        "exclusive-range" => OpenOptions::new().write(true).open(path)?,
        _ => File::open(path)?,
    };
    match how {
        "whole" => file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => Errno::EAGAIN.into(),
            TryLockError::Error(error) => error,
        })?,
        "range" => set(&file, libc::F_RDLCK)?,
        "exclusive-range" => set(&file, libc::F_WRLCK)?,
        "range-of-open-file" => {
            fcntl(&file, FcntlArg::F_OFD_SETLK(&range(libc::F_RDLCK))).map(drop)?;
        }
        _ => return Err(io::Error::other(format!("no such lock: {how}"))),
    }
    Ok(file)
}

/// Of the whole file.
fn range(kind: i32) -> libc::flock {
    libc::flock {
        l_type: kind as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

fn set(file: impl AsFd, kind: i32) -> io::Result<()> {
    Ok(fcntl(file, FcntlArg::F_SETLK(&range(kind))).map(drop)?)
}

/// Has many threads wait for a lock that somebody else holds, while the first one asks without waiting and changes a mode.
fn wait_for(count: usize, path: &str) -> io::Result<()> {
    let waiting: Vec<_> = (0..count)
        .map(|turn| {
            let file = OpenOptions::new().read(true).write(true).open(path)?;
            Ok(thread::spawn(move || match turn % 2 {
                0 => file.lock(),
                _ => Ok(fcntl(&file, FcntlArg::F_OFD_SETLKW(&range(libc::F_WRLCK))).map(drop)?),
            }))
        })
        .collect::<io::Result<_>>()?;
    let own = File::open(path)?;
    match own.try_lock() {
        Err(TryLockError::WouldBlock) => {}
        other => return Err(io::Error::other(format!("nobody holds it: {other:?}"))),
    }
    own.set_permissions(own.metadata()?.permissions())?;
    here()?;
    for one in waiting {
        let ended = one.join().map_err(|_| io::Error::other("it panicked"))?;
        ended?;
    }
    Ok(())
}

/// A process's locks are its own, whichever descriptor they were set by, and end with it.
fn of_a_process(path: &str) -> io::Result<()> {
    let open = || OpenOptions::new().read(true).write(true).open(path);
    let is = |expected: Result<(), Errno>, what: &str| {
        let own = std::env::current_exe()?;
        let output = Command::new(own)
            .args(["lock-by", "exclusive-range", path])
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        let wanted = match expected {
            Ok(()) => "done".to_owned(),
            Err(errno) => format!("refused {}", errno as i32),
        };
        match said.trim_end() == wanted {
            true => Ok(()),
            false => Err(io::Error::other(format!("{what}: {said}"))),
        }
    };
    let (one, other) = (open()?, open()?);
    set(&one, libc::F_WRLCK)?;
    set(&other, libc::F_WRLCK)?;
    is(Err(Errno::EAGAIN), "while it is locked")?;
    set(&other, libc::F_RDLCK)?;
    is(Err(Errno::EAGAIN), "while it is shared")?;
    set(&other, libc::F_UNLCK)?;
    is(Ok(()), "once it is free")?;
    // The other process has ended.
    set(&one, libc::F_WRLCK)?;
    is(Err(Errno::EAGAIN), "while it is locked again")?;
    drop((one, other));
    is(Ok(()), "once it is closed")?;
    // From the position on, as `lockf` does it.
    let one = open()?;
    let mut end = range(libc::F_WRLCK);
    end.l_whence = libc::SEEK_END as i16;
    fcntl(&one, FcntlArg::F_SETLKW(&end))?;
    is(Err(Errno::EAGAIN), "while its end is locked")
}
