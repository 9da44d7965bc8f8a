//! Acts that only Linux has: the ways around a cage that people have found.

mod os;

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Pid, getsid, setpgid, setsid};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use crate::{Arguments, silent};

pub(crate) fn act(arguments: Arguments<'_>) -> Option<io::Result<String>> {
    match arguments {
        ["abstract", name] => silent(
            SocketAddr::from_abstract_name(name).and_then(|name| UnixStream::connect_addr(&name)),
        ),
        ["mptcp", port] => silent(number(port).and_then(os::connect_mptcp)),
        ["fast-open", port] => silent(number(port).and_then(os::send_fast_open)),
        ["listen-unbound"] => silent(os::listen_unbound()),
        ["tcp-socket"] => silent(os::tcp_socket()),
        ["netlink"] => silent(os::netlink()),
        ["utimes-path", path] => silent(utimes_path(path)),
        ["set-flags", path] => silent(File::open(path).and_then(|file| os::set_flags(&file))),
        ["set-attribute", path] => silent(c_string(path).and_then(|path| os::set_attribute(&path))),
        ["lease", path] => silent(File::open(path).and_then(|file| os::lease(&file))),
        ["watch", path] => silent(c_string(path).and_then(|path| os::watch(&path))),
        ["handle", path] => silent(c_string(path).and_then(|path| os::name_to_handle(&path))),
        ["trace", pid] => silent(number(pid).and_then(os::trace)),
        ["read-memory", pid] => silent(number(pid).and_then(os::read_memory)),
        ["pidfd", pid] => silent(number(pid).and_then(os::pidfd)),
        ["signal-thread", thread] => silent(number(thread).and_then(os::signal_thread)),
        ["memfd"] => silent(os::memfd()),
        ["shared-memory"] => silent(os::shared_memory()),
        ["io-uring"] => silent(os::io_uring()),
        ["user-namespace"] => silent(os::unshare_user()),
        ["mount"] => silent(os::mount()),
        ["x32"] => silent(os::x32()),
        ["clone3"] => silent(os::clone3()),
        ["setsid"] => Some(session()),
        ["setpgid"] => silent(setpgid(Pid::from_raw(0), Pid::from_raw(0)).map_err(Into::into)),
        ["death-signal"] => silent(os::set_death_signal(0)),
        ["death-signal-is"] => Some(os::own_death_signal().map(|signal| signal.to_string())),
        // Becomes another program that a dying parent takes along.
        ["tied", rest @ ..] => Some(os::set_death_signal(libc::SIGKILL).and_then(|()| exec(rest))),
        // Becomes another program for which Landlock answers with an error.
        ["landlock-says", errno, rest @ ..] => Some(
            number(errno)
                .and_then(without_landlock)
                .and_then(|()| exec(rest)),
        ),
        ["dumpable"] => silent(os::dumpable()),
        ["subreaper"] => silent(os::subreaper()),
        ["traceable", rest @ ..] => Some(os::allow_tracing().and_then(|()| crate::act(rest))),
        _ => None,
    }
}

fn exec(line: Arguments<'_>) -> io::Result<String> {
    match line {
        [program, arguments @ ..] => Err(Command::new(program).args(arguments).exec()),
        [] => Err(io::Error::other("no program")),
    }
}

/// What a kernel that is too old, or has it switched off, would say; 0 makes it answer version 0.
fn without_landlock(errno: u32) -> io::Result<()> {
    let filter = SeccompFilter::new(
        [(libc::SYS_landlock_create_ruleset, Vec::new())].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(errno),
        std::env::consts::ARCH
            .try_into()
            .map_err(io::Error::other)?,
    );
    let program: BpfProgram = filter
        .and_then(TryInto::try_into)
        .map_err(io::Error::other)?;
    seccompiler::apply_filter(&program).map_err(io::Error::other)
}

fn session() -> io::Result<String> {
    let before = getsid(None)?;
    setsid()?;
    Ok(if getsid(None)? == before {
        "same session"
    } else {
        "new session"
    }
    .to_owned())
}

fn utimes_path(path: &str) -> io::Result<()> {
    let epoch = TimeSpec::new(0, 0);
    Ok(utimensat(
        nix::fcntl::AT_FDCWD,
        path,
        &epoch,
        &epoch,
        UtimensatFlags::NoFollowSymlink,
    )?)
}

fn number<T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    text: &str,
) -> io::Result<T> {
    text.parse().map_err(io::Error::other)
}

fn c_string(text: &str) -> io::Result<CString> {
    CString::new(text).map_err(io::Error::other)
}
