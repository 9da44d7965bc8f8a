//! A seccomp filter whose answer is an error or another process's word, and that process.
#![expect(
    unsafe_code,
    reason = "raw system calls; every block is argued where it stands"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::fork;

/// From `linux/landlock.h`: the flag that turns `landlock_create_ruleset` into a question for the version.
const VERSION_QUESTION: u32 = 1;
/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const THIRD_ARGUMENT: u32 = 32;

/// Every question to Landlock answers `errno`.
pub(super) fn refuse(errno: Errno) -> io::Result<()> {
    let program = [
        load(NUMBER),
        unless_equal(libc::SYS_landlock_create_ruleset as u32, 1),
        answer_with(libc::SECCOMP_RET_ERRNO | errno as u32),
        answer_with(libc::SECCOMP_RET_ALLOW),
    ];
    install(&program, 0).map(drop)
}

/// The question for the version is put to the holder of the descriptor that this returns.
pub(super) fn notify() -> io::Result<OwnedFd> {
    let program = [
        load(NUMBER),
        unless_equal(libc::SYS_landlock_create_ruleset as u32, 3),
        load(THIRD_ARGUMENT),
        unless_equal(VERSION_QUESTION, 1),
        answer_with(libc::SECCOMP_RET_USER_NOTIF),
        answer_with(libc::SECCOMP_RET_ALLOW),
    ];
    let descriptor = install(&program, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER)?;
    // SAFETY: with this flag the call returns a new descriptor, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor as RawFd) })
}

fn load(offset: u32) -> libc::sock_filter {
    step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, offset)
}

fn unless_equal(value: u32, skip: u8) -> libc::sock_filter {
    step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, skip, value)
}

fn answer_with(action: u32) -> libc::sock_filter {
    step(libc::BPF_RET | libc::BPF_K, 0, action)
}

fn step(code: u32, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf,
        k,
    }
}

fn install(program: &[libc::sock_filter], flags: libc::c_ulong) -> io::Result<libc::c_long> {
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: takes numbers only.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    // SAFETY: the kernel copies the program, which lives until the call returns, and writes nothing.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    Ok(Errno::result(answer)?)
}

/// Says `version` to each asker at the filter's other end, which is stdin, until `asker` has gone.
pub(super) fn answer(version: u32, asker: u32) -> io::Result<()> {
    // Nobody's child: a program that waits until it has none must not wait for this.
    // SAFETY: this process has one thread, so no lock is held by a thread that the child lacks.
    if unsafe { fork() }?.is_parent() {
        return Ok(());
    }
    let Some(asker) = plexus_hostile::hold(asker.cast_signed()) else {
        return Ok(());
    };
    let questions = io::stdin();
    loop {
        let ends = [questions.as_fd(), asker.as_fd()];
        let mut ready = ends.map(|end| PollFd::new(end, PollFlags::POLLIN));
        poll(&mut ready, PollTimeout::NONE)?;
        if ready[1].any() == Some(true) {
            return Ok(());
        }
        // SAFETY: all zero is a value of this struct of numbers, and what the kernel wants to be given.
        let mut question: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the request writes one such struct, which `question` is.
        let got = unsafe {
            libc::ioctl(
                questions.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_RECV as _,
                &raw mut question,
            )
        };
        match Errno::result(got) {
            Ok(_) => {}
            // The asker has gone.
            Err(Errno::ENOENT | Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let reply = libc::seccomp_notif_resp {
            id: question.id,
            val: i64::from(version),
            error: 0,
            flags: 0,
        };
        // SAFETY: the request reads one such struct, which `reply` is.
        let sent = unsafe {
            libc::ioctl(
                questions.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_SEND as _,
                &raw const reply,
            )
        };
        match Errno::result(sent) {
            Ok(_) | Err(Errno::ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
