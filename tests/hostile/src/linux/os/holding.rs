//! Memory and threads that a program holds in ways that a look at its first thread does not show.
//!
//! Invariants: no more is held than [`MOST_MIB`], nor more threads than [`MOST_THREADS`]; all of it goes with the process, which
//! ends with its standard input.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use super::files::map_anonymous;
use nix::errno::Errno;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::socket::{setsockopt, sockopt::SndBuf};

const MOST_MIB: usize = 1024;
const MOST_THREADS: usize = 3000;
const MIB: usize = 1 << 20;
const PAGE: usize = 4096;
/// As much as one huge page has, and as lies between two pages that are kept.
const PIECE: usize = 2 * MIB;
const SMALL_STACK: usize = 16 * 1024;

/// Takes so many MiB, or makes so many threads; says so, and stays.
pub(crate) fn hold(what: &str, count: usize) -> io::Result<()> {
    let most = if what == "threads" {
        MOST_THREADS
    } else {
        MOST_MIB
    };
    if count > most {
        return Err(Errno::E2BIG.into());
    }
    match what {
        "memory" => {
            touch(map_anonymous(count * MIB, libc::MAP_PRIVATE)?, count * MIB);
            stay()
        }
        "shared" => stay_after(given_back(count, libc::MAP_SHARED)),
        "huge" => stay_after(given_back(count, libc::MAP_PRIVATE)),
        "behind-leader" => behind_leader(count),
        "sockets" => sockets(count).and_then(|_kept| stay()),
        "pipes" => pipes(count).and_then(|_kept| stay()),
        "threads" => threads(count),
        other => Err(io::Error::other(format!("no such thing: {other}"))),
    }
}

fn stay_after(done: io::Result<()>) -> io::Result<()> {
    done.and_then(|()| stay())
}

#[expect(clippy::print_stdout, reason = "its answer is its output")]
fn stay() -> io::Result<()> {
    println!("held {}", std::process::id());
    io::stdout().flush()?;
    io::stdin().read_to_end(&mut Vec::new()).map(drop)
}

fn touch(mapped: *mut libc::c_void, bytes: usize) {
    // SAFETY: all of it was mapped to be written, and nothing else refers to it.
    unsafe { std::ptr::write_bytes(mapped.cast::<u8>(), 1, bytes) };
}

/// Memory of which the process gives back all but one page in each piece, before it takes the next. What is shared stays in its object, and a huge page
/// stays whole.
fn given_back(mib: usize, how: i32) -> io::Result<()> {
    let bytes = mib * MIB;
    let mapped = map_anonymous(bytes + PIECE, how)?;
    let mapped = mapped.wrapping_byte_add(mapped.cast::<u8>().align_offset(PIECE));
    // SAFETY: exactly what was mapped; a machine without huge pages refuses it, and nothing depends on it.
    unsafe { libc::madvise(mapped, bytes, libc::MADV_HUGEPAGE) };
    for at in (0..bytes).step_by(PIECE) {
        touch(mapped.wrapping_byte_add(at), PIECE);
        let rest = mapped.wrapping_byte_add(at + PAGE);
        // SAFETY: exactly what was mapped; nothing reads it any more.
        let given = unsafe { libc::madvise(rest, PIECE - PAGE, libc::MADV_DONTNEED) };
        Errno::result(given)?;
    }
    Ok(())
}

/// Whether the pages of memory for which huge ones are asked are huge: one fault gives all of such a page.
pub(crate) fn pages() -> io::Result<String> {
    const BYTES: usize = 4 * PIECE;
    let mapped = map_anonymous(BYTES + PIECE, libc::MAP_PRIVATE)?;
    let mapped = mapped.wrapping_byte_add(mapped.cast::<u8>().align_offset(PIECE));
    // SAFETY: exactly what was mapped; a machine without huge pages refuses it, and nothing depends on it.
    unsafe { libc::madvise(mapped, BYTES, libc::MADV_HUGEPAGE) };
    let before = getrusage(UsageWho::RUSAGE_SELF)?.minor_page_faults();
    touch(mapped, BYTES);
    let faults = getrusage(UsageWho::RUSAGE_SELF)?.minor_page_faults() - before;
    let small = faults >= (BYTES / PAGE / 2) as i64;
    Ok(if small { "small" } else { "huge" }.to_owned())
}

/// The same after it has asked for its right to huge pages.
pub(crate) fn pages_again_huge() -> io::Result<String> {
    nix::sys::prctl::set_thp_disable(false)?;
    pages()
}

/// Memory of a process whose first thread has ended: what the kernel says of the process is what it says of that thread.
fn behind_leader(mib: usize) -> io::Result<()> {
    std::thread::Builder::new().spawn(move || {
        let held =
            map_anonymous(mib * MIB, libc::MAP_PRIVATE).map(|mapped| touch(mapped, mib * MIB));
        _ = stay_after(held);
        std::process::exit(0);
    })?;
    // SAFETY: ends this thread alone, without running what it would at its end; the other one uses nothing of its stack.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!("the thread has ended")
}

/// Fills what lies between two ends until it takes no more, over and over.
fn fill<W: Write>(mut end: W, left: &mut usize) -> io::Result<()> {
    let piece = [0; PAGE];
    loop {
        match end.write(&piece) {
            Ok(written) => *left = left.saturating_sub(written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn sockets(mib: usize) -> io::Result<Vec<UnixStream>> {
    let (mut left, mut kept) = (mib * MIB, Vec::new());
    while left > 0 {
        let (one, other) = UnixStream::pair()?;
        for end in [one, other] {
            setsockopt(&end, SndBuf, &MIB)?;
            end.set_nonblocking(true)?;
            fill(&end, &mut left)?;
            kept.push(end);
        }
    }
    Ok(kept)
}

fn pipes(mib: usize) -> io::Result<Vec<(io::PipeReader, io::PipeWriter)>> {
    let (mut left, mut kept) = (mib * MIB, Vec::new());
    while left > 0 {
        let (reads, writes) = io::pipe()?;
        // SAFETY: takes numbers.
        let set = unsafe { libc::fcntl(writes.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
        Errno::result(set)?;
        fill(&writes, &mut left)?;
        kept.push((reads, writes));
    }
    Ok(kept)
}

fn threads(count: usize) -> io::Result<()> {
    for _ in 0..count {
        let thread = std::thread::Builder::new().stack_size(SMALL_STACK);
        thread.spawn(|| {
            loop {
                std::thread::park();
            }
        })?;
    }
    stay()
}
