//! Acts that only Linux has: the ways around a cage that people have found.

mod locks;
mod makers;
mod os;

pub(crate) use os::processes::hold;

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::fcntl::{AT_FDCWD, OFlag, RenameFlags, open, renameat2};
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, makedev, mknod, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Pid, getsid, setpgid, setsid};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use crate::{Arguments, silent};

pub(crate) fn act(arguments: Arguments<'_>) -> Option<io::Result<String>> {
    match arguments {
        ["regrow", count] => silent(number(count).and_then(os::regrowing::regrow)),
        ["hold", what, count] => {
            silent(number(count).and_then(|count| os::holding::hold(what, count)))
        }
        ["pages"] => Some(os::holding::pages()),
        ["pages-again-huge"] => Some(os::holding::pages_again_huge()),
        ["memory-secret"] => silent(os::files::memory_secret()),
        ["abstract", name] => silent(
            SocketAddr::from_abstract_name(name).and_then(|name| UnixStream::connect_addr(&name)),
        ),
        ["mptcp", port] => silent(number(port).and_then(os::connect_mptcp)),
        ["fast-open", port] => silent(number(port).and_then(os::send_fast_open)),
        ["fast-open-connect", port] => {
            silent(number(port).and_then(os::sockets::connect_fast_open))
        }
        ["udp-connect", port] => silent(number(port).and_then(os::sockets::connect_datagrams)),
        ["send-to-another", port] => silent(number(port).and_then(os::sockets::send_to_another)),
        ["connect-later", port] => silent(number(port).and_then(os::sockets::connect_later)),
        ["connect-rewritten", port, rounds] => silent(
            number(port).and_then(|port| os::sockets::connect_rewritten(port, number(rounds)?)),
        ),
        ["connect-time", port, count] => {
            Some(number(port).and_then(|port| os::sockets::time_connects(port, number(count)?)))
        }
        ["listen-unbound"] => silent(os::listen_unbound()),
        ["tcp-socket"] => silent(os::tcp_socket()),
        ["netlink"] => silent(os::netlink()),
        ["utimes-path", path] => silent(utimes_path(path)),
        ["set-flags", path] => silent(File::open(path).and_then(|file| os::set_flags(&file))),
        ["remove-key", path] => silent(File::open(path).and_then(|file| os::remove_key(&file))),
        ["set-attribute", path] => silent(c_string(path).and_then(|path| os::set_attribute(&path))),
        ["lease", path] => silent(File::open(path).and_then(|file| os::lease(&file))),
        ["watch", path] => silent(c_string(path).and_then(|path| os::watch(&path))),
        ["handle", path] => silent(c_string(path).and_then(|path| os::name_to_handle(&path))),
        ["trace", pid] => silent(number(pid).and_then(os::trace)),
        ["read-memory", pid] => silent(number(pid).and_then(os::read_memory)),
        ["pidfd", pid] => silent(number(pid).and_then(os::pidfd)),
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
        // Lets go of it, as far as it is let, and says what is left.
        ["death-signal-let-go"] => Some(
            os::set_death_signal(0)
                .and_then(|()| os::own_death_signal())
                .map(|signal| signal.to_string()),
        ),
        ["packet-pair"] => silent(os::sockets::packet_pair()),
        // Becomes another program that a dying parent takes along.
        ["tied", rest @ ..] => Some(os::set_death_signal(libc::SIGKILL).and_then(|()| exec(rest))),
        // Becomes another program that begins with no mask of modes.
        ["unmasked", rest @ ..] => {
            crate::os::mask_no_modes();
            Some(exec(rest))
        }
        // Becomes another program for which Landlock answers with an error.
        ["landlock-says", errno, rest @ ..] => Some(
            number(errno)
                .and_then(without_landlock)
                .and_then(|()| exec(rest)),
        ),
        ["path-handle", path] => silent(path_handle(path)),
        ["reopen", path] => silent(
            path_handle(path)
                .and_then(|handle| File::open(format!("/proc/self/fd/{}", handle.as_raw_fd()))),
        ),
        ["create-unnamed", folder] => silent(create_unnamed(folder)),
        ["exchange", from, to] => silent(
            renameat2(AT_FDCWD, *from, AT_FDCWD, *to, RenameFlags::RENAME_EXCHANGE)
                .map_err(Into::into),
        ),
        ["whiteout", from, to] => silent(os::files::whiteout(from, to)),
        ["device", path] => silent(
            mknod(*path, SFlag::S_IFCHR, Mode::S_IRWXU, makedev(1, 3))
                .map_err(Into::into)
                .and_then(|()| std::fs::remove_file(path)),
        ),
        ["remove-attribute", path] => {
            silent(c_string(path).and_then(|path| os::files::remove_attribute(&path)))
        }
        ["set-attribute-at", path] => {
            silent(c_string(path).and_then(|path| os::files::set_attribute_at(&path)))
        }
        ["remove-attribute-at", path] => {
            silent(c_string(path).and_then(|path| os::files::remove_attribute_at(&path)))
        }
        ["set-flags-at", path] => {
            silent(c_string(path).and_then(|path| os::files::set_flags_at(&path)))
        }
        ["attributes", path] => {
            silent(c_string(path).and_then(|path| os::files::list_attributes(&path)))
        }
        ["open-by-handle", path] => {
            silent(c_string(path).and_then(|path| os::files::open_by_handle(&path)))
        }
        ["be-told", folder] => {
            silent(File::open(folder).and_then(|folder| os::files::be_told(&folder)))
        }
        ["watch-all"] => silent(os::files::watch_all()),
        ["map-code", path] => silent(File::open(path).and_then(|file| os::files::map_code(&file))),
        ["memory", bytes] => silent(number(bytes).and_then(os::files::memory)),
        ["memory-hidden", bytes] => silent(number(bytes).and_then(os::files::memory_hidden)),
        ["addresses", bytes] => silent(number(bytes).and_then(os::files::addresses)),
        ["memory-as-stack"] => silent(os::files::memory_as_stack()),
        ["memory-huge"] => silent(os::files::memory_huge()),
        ["memory-moved"] => silent(os::files::memory_moved()),
        ["memory-shared"] => silent(os::files::memory_shared()),
        ["map-both"] => silent(os::files::map_both()),
        ["terminal-input"] => silent(os::files::terminal(libc::TIOCSTI)),
        // The kernel reads the low half of the request; a filter that reads all of it sees another number.
        #[cfg(all(target_pointer_width = "64", target_env = "gnu"))]
        ["terminal-input-high"] => silent(os::files::terminal(libc::TIOCSTI | 1 << 32)),
        ["terminal-paste"] => silent(os::files::terminal(libc::TIOCLINUX)),
        ["socket", family, kind] => silent(os::sockets::make(family, kind)),
        ["send-many", port] => silent(number(port).and_then(os::sockets::send_many)),
        ["out-of-band", how] => silent(os::sockets::out_of_band(how)),
        ["peer-by-pidfd"] => silent(os::sockets::option(os::sockets::SO_PEERPIDFD)),
        ["peer-by-number"] => silent(os::sockets::option(libc::SO_PEERCRED)),
        ["stream-state"] => silent(
            os::sockets::option(libc::SO_ERROR).and_then(|()| os::sockets::option(libc::SO_TYPE)),
        ),
        ["reconnect"] => silent(os::sockets::reconnect()),
        ["exec-in-vain", path] => {
            silent(c_string(path).and_then(|path| os::processes::exec_in_vain(&path)))
        }
        ["be-traced"] => silent(os::processes::be_traced()),
        ["write-memory", pid] => silent(number(pid).and_then(os::processes::write_memory)),
        ["signal-queued", pid] => silent(number(pid).and_then(os::processes::signal_queued)),
        ["signal-self-queued", count] => {
            silent(number(count).and_then(os::processes::signal_self_queued))
        }
        ["epoll", how] => silent(os::processes::epoll(how)),
        ["signal-thread", pid] => silent(number(pid).and_then(os::processes::signal_thread)),
        ["signal-pidfd", pid] => silent(number(pid).and_then(os::processes::signal_pidfd)),
        ["take-descriptor", pid] => silent(number(pid).and_then(os::processes::take_descriptor)),
        ["advise-memory", pid] => silent(number(pid).and_then(os::processes::advise_memory)),
        ["compare", pid] => silent(number(pid).and_then(os::processes::compare)),
        ["limits-of", pid] => silent(number(pid).and_then(os::processes::limits_of)),
        ["priority-of", pid] => silent(number(pid).and_then(os::processes::priority_of)),
        ["renice", pid] => silent(number(pid).and_then(os::processes::renice)),
        ["affinity-of", pid] => silent(number(pid).and_then(os::processes::affinity_of)),
        ["pin", pid] => silent(number(pid).and_then(os::processes::pin)),
        ["schedule", pid] => silent(number(pid).and_then(os::processes::schedule)),
        ["schedule-parameters", pid] => {
            silent(number(pid).and_then(os::processes::schedule_parameters))
        }
        ["schedule-attributes", pid] => {
            silent(number(pid).and_then(os::processes::schedule_attributes))
        }
        ["io-priority", pid] => silent(number(pid).and_then(os::processes::io_priority)),
        ["io-priority-of-user"] => silent(os::processes::io_priority_of_user()),
        ["thread-apart", what] => silent(os::processes::thread_apart(what)),
        ["descriptors-apart"] => silent(os::processes::descriptors_apart()),
        ["clone-user"] => silent(os::processes::clone_into_user_namespace()),
        ["capabilities"] => silent(os::processes::set_capabilities()),
        ["unshare", what] => silent(os::kernel::unshare(what)),
        ["join-namespace"] => silent(os::kernel::join_namespace()),
        ["unmount"] => silent(os::kernel::unmount()),
        ["chroot"] => silent(os::kernel::change_root()),
        ["pivot-root"] => silent(os::kernel::pivot_root()),
        // Other machines have no second way into their kernel that a running program could take.
        #[cfg(target_arch = "x86_64")]
        ["int80"] => silent(os::kernel::int80()),
        ["clone-mount"] => silent(os::kernel::clone_mount()),
        ["new-mount"] => silent(os::kernel::new_mount()),
        ["add-key"] => silent(os::kernel::add_key()),
        ["keyring"] => silent(os::kernel::keyring()),
        ["request-key"] => silent(os::kernel::request_key()),
        ["semaphores"] => silent(os::kernel::semaphores()),
        ["messages"] => silent(os::kernel::messages()),
        ["message-queue"] => silent(os::kernel::message_queue()),
        ["bpf"] => silent(os::kernel::bpf()),
        ["perf"] => silent(os::kernel::perf()),
        ["userfaultfd"] => silent(os::kernel::userfaultfd()),
        ["set-clock"] => silent(os::kernel::set_clock()),
        ["kernel-log"] => silent(os::kernel::kernel_log()),
        ["personality"] => silent(os::kernel::personality()),
        ["machine"] => silent(nix::sys::utsname::uname().map_err(Into::into)),
        ["dumpable"] => silent(os::dumpable()),
        ["subreaper"] => silent(os::subreaper()),
        ["traceable", rest @ ..] => Some(os::allow_tracing().and_then(|()| crate::act(rest))),
        _ => locks::act(arguments).or_else(|| makers::act(arguments)),
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
        AT_FDCWD,
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

/// A name for a file without the right to read it.
fn path_handle(path: &str) -> io::Result<OwnedFd> {
    Ok(open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?)
}

fn create_unnamed(folder: &str) -> io::Result<OwnedFd> {
    let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
    Ok(open(folder, flags, Mode::S_IRWXU)?)
}
