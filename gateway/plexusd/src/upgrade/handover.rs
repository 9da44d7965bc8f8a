//! What one program of the gateway leaves to the next in the same process: its listening sockets, and the name of the
//! build that it was.
//!
//! Invariants: the letter counts for this process alone (its pid is in it); a descriptor is taken over only if this
//! process was started with it; all are closed at the next exec unless handed over again.
//!
//! Must not know: what is served.

use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::signal::{SigSet, Signal, raise},
    unistd::execve,
};
use plexus_desk::upgrade::{Build, LaunchOrigin, own_build};
use plexus_edge::listen::Inherited;
use serde::{Deserialize, Serialize};
use std::{
    convert::Infallible,
    ffi::{CString, OsString},
    io,
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

/// The variable with the letter.
pub(super) const VARIABLE: &str = "PLEXUS_HANDOVER";
/// Signals that wait while the programs change: the new one has them when it can hear them.
const WAIT: [Signal; 4] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGUSR1,
];

#[derive(Serialize, Deserialize)]
struct Letter {
    pid: u32,
    from: Build,
    sockets: Vec<RawFd>,
}

/// What a launch was handed.
pub(crate) struct Handed {
    pub(crate) came: LaunchOrigin,
    pub(crate) sockets: Inherited,
}

impl Handed {
    /// What the program before this one left in this process, if one did. To be called before anything else is opened.
    pub(crate) fn take() -> Option<Self> {
        let letter = std::env::var(VARIABLE).ok()?;
        let letter: Letter = serde_json::from_str(&letter).ok()?;
        if letter.pid != std::process::id() {
            return None;
        }
        let sockets = letter.sockets.into_iter().filter_map(|number| {
            let taken = crate::os::started_with(number);
            if taken.is_none() {
                tracing::warn!(name: "daemon.socket_refused", count = number, "a socket that was to be handed over is not there");
            }
            taken
        });
        Some(Self {
            came: LaunchOrigin::From(letter.from),
            sockets: Inherited::of(sockets.collect()),
        })
    }

    /// The same sockets, for the program that had them.
    pub(super) fn back(sockets: Vec<OwnedFd>, to: Build, why: String) -> Self {
        Self {
            came: LaunchOrigin::Back { to, why },
            sockets: Inherited::of(sockets),
        }
    }
}

/// Becomes `program`. Returns only where that failed. Signals are to be held back before.
pub(super) fn exec(program: &Path, arguments: &[OsString], sockets: &[OwnedFd]) -> io::Error {
    let letter = Letter {
        pid: std::process::id(),
        from: own_build(),
        sockets: sockets.iter().map(AsRawFd::as_raw_fd).collect(),
    };
    let letter = match serde_json::to_string(&letter) {
        Ok(letter) => letter,
        Err(error) => return error.into(),
    };
    let kept = sockets.iter().try_for_each(|socket| keep(socket, true));
    let failed = match kept.and_then(|()| replace(program, arguments, &letter)) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    for socket in sockets {
        let _ = keep(socket, false);
    }
    failed
}

/// The exec itself. The standard library's sets SIGPIPE to end the process before it tries, and where it fails leaves it
/// so: this program goes on, and must outlive a reader that went away.
fn replace(program: &Path, arguments: &[OsString], letter: &str) -> io::Result<Infallible> {
    let path = CString::new(program.as_os_str().as_bytes())?;
    let arguments = arguments
        .iter()
        .map(|argument| CString::new(argument.as_bytes()));
    let arguments = std::iter::once(Ok(path.clone()))
        .chain(arguments)
        .collect::<Result<Vec<_>, _>>()?;
    let own = (OsString::from(VARIABLE), OsString::from(letter));
    let environment = std::env::vars_os()
        .filter(|(name, _)| name != VARIABLE)
        .chain([own]);
    let environment = environment
        .map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()))
        .collect::<Result<Vec<_>, _>>()?;
    crate::os::raise_noted()?;
    Ok(execve(&path, &arguments, &environment)?)
}

/// Holds back what this process is sent from here on, until [`hear_signals`]: an exec keeps which signals this thread holds
/// back, and what has come of them. What another thread would hear comes to this one.
pub(crate) fn hold_signals() {
    let held = waiting_signals().thread_block();
    if let Err(error) = held.and_then(|()| crate::os::collect(&WAIT)) {
        tracing::error!(name: "daemon.signals_lost", %error, "signals cannot be held back while the programs change");
    }
}

/// Hands on a signal that this program has heard and not heeded. Only while they are held back.
pub(crate) fn hand_on(heard: Signal) {
    if let Err(error) = raise(heard) {
        tracing::error!(name: "daemon.signals_lost", %error, "a signal could not be handed on");
    }
}

/// Hears the signals that have waited since the exec.
pub(crate) fn hear_signals() {
    let heard = crate::os::let_go();
    if let Err(error) = heard.and(waiting_signals().thread_unblock()) {
        tracing::error!(name: "daemon.signals_lost", %error, "signals that were held back cannot be heard");
    }
}

fn waiting_signals() -> SigSet {
    WAIT.into_iter().collect()
}

/// Whether a socket stays open over an exec.
fn keep(socket: &OwnedFd, kept: bool) -> io::Result<()> {
    let flags = if kept {
        FdFlag::empty()
    } else {
        FdFlag::FD_CLOEXEC
    };
    fcntl(socket, FcntlArg::F_SETFD(flags))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::{sys::signal::kill, unistd::Pid};
    use std::{
        io::Write,
        net::{Ipv4Addr, TcpListener},
    };

    /// The threads of the harness hold nothing back: without the way to this one, the signal would end them.
    #[test]
    fn signal_that_another_thread_hears_waits_for_this_one() {
        hold_signals();
        kill(Pid::this(), Signal::SIGUSR1).unwrap();
        let waits: SigSet = [Signal::SIGUSR1].into_iter().collect();
        assert_eq!(waits.wait(), Ok(Signal::SIGUSR1));
        hear_signals();
    }

    #[test]
    fn an_exec_that_fails_leaves_the_sockets_as_they_were() {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let sockets = vec![OwnedFd::from(tcp)];
        hold_signals();
        let failed = exec(Path::new("/nowhere/plexusd"), &[], &sockets);
        assert_eq!(failed.kind(), io::ErrorKind::NotFound);
        let flags = fcntl(&sockets[0], FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags, FdFlag::FD_CLOEXEC.bits());
        let held = SigSet::thread_get_mask().unwrap();
        assert!(held.contains(Signal::SIGTERM), "until somebody can hear it");
        hear_signals();
        assert!(!SigSet::thread_get_mask().unwrap().contains(Signal::SIGTERM));
        // A reader that went away is an error of the write, and not the end of the gateway.
        let (reader, mut writer) = io::pipe().unwrap();
        drop(reader);
        let error = writer.write_all(b"PLEXUS_READY").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
