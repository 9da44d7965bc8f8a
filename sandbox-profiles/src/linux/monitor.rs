//! Decides on each `connect` of a cage whose profile names a port of this machine, from outside of the cage.
//!
//! Landlock knows ports and no addresses, and a seccomp filter cannot read an address. So the launcher splits before
//! it enters the cage: the child becomes the worker, the parent stays as its monitor.
//!
//! ```text
//! worker  ─connect─▶ kernel ─notice─▶ monitor: read the address once ▸ grant? ▸ take the socket ▸ plain TCP?
//!         ◀─result── kernel ◀─answer─          ▸ does the call still wait? ▸ connect it to the address that was read
//! ```
//!
//! Invariants: the kernel never goes on with the caller's own address, so rewriting it while the call waits changes
//! nothing; the monitor keeps standard error and no other descriptor of the launcher; the worker ends with the monitor
//! (death signal) and the monitor with the worker, in the same way; the worker's cage bounds signals and tracing, so
//! it cannot reach the monitor. Signals to the group reach the worker; the monitor itself heeds SIGKILL alone.
//!
//! Must not know: what is said over a connection.

use std::convert::Infallible;
use std::fs::OpenOptions;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::exit;
use std::sync::Arc;
use std::thread;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, dup2_stdin, dup2_stdout, getpid, getppid};

use super::CageError;
use super::os::notify::{self, LONGEST_ADDRESS, Listener, Notice};
use crate::launch::STREAM;
use crate::ruleset::{Host, Ruleset};

/// How many connects one cage may have under way. A full listener makes one wait; a further call waits for its turn.
const AT_ONCE: usize = 4;
/// Room for the few calls that a connecting thread nests.
const STACK: usize = 128 * 1024;
/// The launcher's status for a step that failed.
const FAILED: i32 = 71;

/// The worker's end of the way to its monitor.
#[derive(Debug)]
pub(super) struct Handover(UnixStream);

/// Splits this process, which must have one thread. Returns in the child, which will be caged; the parent stays
/// outside as its monitor and ends when it ends.
pub(super) fn stay_outside(ruleset: &Ruleset) -> Result<Handover, CageError> {
    let (ours, theirs) = UnixStream::pair().map_err(failed("make a way to the monitor"))?;
    notify::hear_of_children().map_err(failed("hear of the worker's end"))?;
    let monitor = getpid();
    match notify::split().map_err(failed("start the worker beside its monitor"))? {
        None => {
            prctl::set_pdeathsig(Signal::SIGKILL)
                .map_err(failed("tie the worker to its monitor"))?;
            // A monitor that ended before the line above sends nothing any more.
            if getppid() != monitor {
                exit(FAILED);
            }
            Ok(Handover(theirs))
        }
        Some(worker) => {
            drop(theirs);
            let grants = Grants::of(ruleset);
            let Err(error) = watch(worker, ours, grants);
            say(&error);
            // Whoever cannot be watched must not go on; it dies with this process as well.
            _ = kill(worker, Signal::SIGKILL);
            exit(FAILED)
        }
    }
}

impl Handover {
    /// Puts every further `connect` of this process before the monitor.
    pub(super) fn watch_connects(self) -> Result<(), CageError> {
        let listener = notify::notify_of_connects().map_err(failed("have its connects watched"))?;
        let along = [ControlMessage::ScmRights(&[listener.as_raw_fd()])];
        let byte = [IoSlice::new(b"l")];
        sendmsg::<()>(self.0.as_raw_fd(), &byte, &along, MsgFlags::empty(), None)
            .map_err(failed("hand its connects to the monitor"))?;
        Ok(())
    }
}

fn failed<E: Into<io::Error>>(what: &'static str) -> impl Fn(E) -> CageError {
    move |source| CageError::Rights {
        what,
        source: source.into(),
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the gateway logs what a launcher says on stderr"
)]
fn say(error: &io::Error) {
    eprintln!("plexus-sandbox-exec: the monitor: {error}");
}

/// The monitor's life.
fn watch(worker: Pid, handover: UnixStream, grants: Grants) -> io::Result<Infallible> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
    // The gateway's stream is the worker's. Where none was given, this process's own first descriptor is there.
    if handover.as_raw_fd() != STREAM {
        drop(notify::adopt(STREAM));
    }
    let nothing = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    dup2_stdin(&nothing)?;
    dup2_stdout(&nothing)?;
    // A worker that failed before has said why; its status is passed on below.
    if let Some(listener) = receive(&handover)? {
        let served = Arc::new((Listener::new(listener), grants));
        for _ in 0..AT_ONCE {
            let served = Arc::clone(&served);
            thread::Builder::new().stack_size(STACK).spawn(move || {
                let (listener, grants) = &*served;
                let Err(errno) = serve(listener, grants);
                say(&errno.into());
                exit(FAILED);
            })?;
        }
    }
    match waitpid(worker, None)? {
        WaitStatus::Signaled(_, signal, _) => {
            notify::end_by(signal)?;
            Err(io::Error::other(format!("outlived {signal}")))
        }
        WaitStatus::Exited(_, status) => exit(status),
        other => Err(io::Error::other(format!("{other:?} is no end"))),
    }
}

/// The listener; `None` where the worker ended without sending it.
fn receive(handover: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([i32; 1]);
    let message = recvmsg::<()>(
        handover.as_raw_fd(),
        &mut parts,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    let numbers = message.cmsgs()?.find_map(|along| match along {
        ControlMessageOwned::ScmRights(numbers) => Some(numbers),
        _ => None,
    });
    Ok(numbers
        .and_then(|numbers| numbers.first().copied())
        .and_then(notify::adopt))
}

fn serve(listener: &Listener, grants: &Grants) -> nix::Result<Infallible> {
    loop {
        let notice = listener.next()?;
        let answer = connect(listener, grants, &notice);
        listener.answer(&notice, answer)?;
    }
}

/// Does what was asked for, where it is granted.
fn connect(listener: &Listener, grants: &Grants, notice: &Notice) -> nix::Result<()> {
    // The kernel reads 32 bits of a number that is an int.
    let [number, address, length, ..] = notice.arguments;
    let to = read_address(notice.thread, address, length as i32)?;
    if !grants.allow(to) {
        return Err(Errno::EACCES);
    }
    let socket = notify::take_descriptor(process_of(notice.thread)?, number as i32)?;
    if !listener.is_waiting(notice) {
        return Err(Errno::ESRCH);
    }
    let family = match to {
        SocketAddr::V4(_) => libc::AF_INET,
        SocketAddr::V6(_) => libc::AF_INET6,
    };
    if notify::kind_of(&socket)? != (family, libc::SOCK_STREAM, libc::IPPROTO_TCP) {
        return Err(Errno::EACCES);
    }
    notify::connect_to(&socket, to)
}

/// The address that a thread names, of the two families that a rule can mean.
fn read_address(thread: i32, at: u64, length: i32) -> nix::Result<SocketAddr> {
    let length = usize::try_from(length).map_err(|_| Errno::EINVAL)?;
    let mut bytes = [0; LONGEST_ADDRESS];
    let read = bytes
        .get_mut(..length.min(LONGEST_ADDRESS))
        .ok_or(Errno::EINVAL)?;
    notify::read_memory(thread, at, read)?;
    parse(read)
}

/// Reads `struct sockaddr_in` and `struct sockaddr_in6` (the scope of a link-local address is not carried over).
fn parse(address: &[u8]) -> nix::Result<SocketAddr> {
    fn part<const N: usize>(address: &[u8], at: usize) -> nix::Result<[u8; N]> {
        address
            .get(at..at + N)
            .and_then(|part| part.try_into().ok())
            .ok_or(Errno::EINVAL)
    }
    let family = i32::from(u16::from_ne_bytes(part(address, 0)?));
    let port = u16::from_be_bytes(part(address, 2)?);
    match family {
        libc::AF_INET if address.len() >= size_of::<libc::sockaddr_in>() => {
            Ok((Ipv4Addr::from(part::<4>(address, 4)?), port).into())
        }
        libc::AF_INET6 if address.len() >= LONGEST_ADDRESS => {
            Ok((Ipv6Addr::from(part::<16>(address, 8)?), port).into())
        }
        libc::AF_INET | libc::AF_INET6 => Err(Errno::EINVAL),
        // AF_UNSPEC, which lets a connection go, among them.
        _ => Err(Errno::EACCES),
    }
}

/// The process that a thread belongs to.
fn process_of(thread: i32) -> nix::Result<i32> {
    let status =
        std::fs::read_to_string(format!("/proc/{thread}/status")).map_err(|_| Errno::ESRCH)?;
    let process = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    process
        .and_then(|number| number.trim().parse().ok())
        .ok_or(Errno::ESRCH)
}

/// What a profile says of TCP.
#[derive(Debug)]
struct Grants(Vec<(Host, u16)>);

impl Grants {
    fn of(ruleset: &Ruleset) -> Self {
        let grants = ruleset.connects.iter();
        Self(grants.map(|grant| (grant.host, grant.port)).collect())
    }

    fn allow(&self, to: SocketAddr) -> bool {
        self.0.iter().any(|(host, port)| match host {
            Host::Localhost => to == SocketAddr::from((Ipv4Addr::LOCALHOST, *port)),
            Host::Any => to.port() == *port,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(family: u16, port: u16, address: [u8; 4]) -> Vec<u8> {
        let mut bytes = family.to_ne_bytes().to_vec();
        bytes.extend(port.to_be_bytes());
        bytes.extend(address);
        bytes.extend([0; 8]);
        bytes
    }

    fn v6(port: u16, address: Ipv6Addr) -> Vec<u8> {
        let mut bytes = (libc::AF_INET6 as u16).to_ne_bytes().to_vec();
        bytes.extend(port.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(address.octets());
        bytes.extend([0; 4]);
        bytes
    }

    #[test]
    fn addresses_of_two_families_are_read() {
        let inet = libc::AF_INET as u16;
        let whole = v4(inet, 80, [127, 0, 0, 1]);
        assert_eq!(
            parse(&whole),
            Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, 80)))
        );
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]), Err(Errno::EINVAL), "{length}");
        }
        let whole = v6(80, Ipv6Addr::LOCALHOST);
        assert_eq!(
            parse(&whole),
            Ok(SocketAddr::from((Ipv6Addr::LOCALHOST, 80)))
        );
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]), Err(Errno::EINVAL), "{length}");
        }
        for other in [libc::AF_UNSPEC, libc::AF_UNIX, libc::AF_NETLINK] {
            assert_eq!(
                parse(&v4(other as u16, 80, [127, 0, 0, 1])),
                Err(Errno::EACCES)
            );
        }
    }

    #[test]
    fn localhost_is_one_address() {
        let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
        let grants = Grants(vec![(Host::Localhost, 80), (Host::Any, 443)]);
        assert!(grants.allow(SocketAddr::from(([127, 0, 0, 1], 80))));
        for refused in [
            SocketAddr::from(([127, 0, 0, 1], 81)),
            SocketAddr::from(([127, 0, 0, 2], 80)),
            SocketAddr::from(([0, 0, 0, 0], 80)),
            SocketAddr::from((Ipv6Addr::LOCALHOST, 80)),
            SocketAddr::from((mapped, 80)),
        ] {
            assert!(!grants.allow(refused), "{refused}");
        }
        assert!(grants.allow(SocketAddr::from(([192, 0, 2, 1], 443))));
        assert!(grants.allow(SocketAddr::from((Ipv6Addr::LOCALHOST, 443))));
    }
}
