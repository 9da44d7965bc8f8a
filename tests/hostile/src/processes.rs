//! Acts on processes and programs, by the means every program has.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{Arguments, silent};

pub(crate) fn act(arguments: Arguments<'_>) -> Option<io::Result<String>> {
    match arguments {
        // Signal 0: asks whether it may, sends nothing.
        ["signal", pid] => silent(process(pid).and_then(|pid| Ok(kill(pid, None)?))),
        ["signal-self"] => silent(kill(Pid::this(), None).map_err(Into::into)),
        ["signal-group"] => silent(kill(Pid::from_raw(0), None).map_err(Into::into)),
        // One that does nothing where nobody waits for it.
        ["signal-urgent", pid] => {
            silent(process(pid).and_then(|pid| Ok(kill(pid, Signal::SIGURG)?)))
        }
        ["group-of", pid] => {
            silent(process(pid).and_then(|pid| Ok(nix::unistd::getpgid(Some(pid))?)))
        }
        ["session-of", pid] => {
            silent(process(pid).and_then(|pid| Ok(nix::unistd::getsid(Some(pid))?)))
        }
        ["set-user"] => silent(nix::unistd::setuid(nix::unistd::getuid()).map_err(Into::into)),
        ["raise-limits"] => silent(
            getrlimit(Resource::RLIMIT_NOFILE)
                .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most))
                .map_err(Into::into),
        ),
        ["fork-many", count] => silent(
            count
                .parse()
                .map_err(io::Error::other)
                .and_then(|count: u32| (0..count).try_for_each(|_| crate::os::fork_and_wait())),
        ),
        ["thread-many", count] => silent(count.parse().map_err(io::Error::other).and_then(threads)),
        // Any that this process was not meant to have.
        ["stray-descriptor"] => Some(stray_descriptor()),
        ["exec", program, rest @ ..] => Some(Err(Command::new(program).args(rest).exec())),
        ["spawn", program, rest @ ..] => Some(
            Command::new(program)
                .args(rest)
                .stdin(Stdio::null())
                .output()
                .map(|output| {
                    format!(
                        "{} {}",
                        output.status,
                        String::from_utf8_lossy(&output.stdout).trim_end()
                    )
                }),
        ),
        ["fork"] => silent(crate::os::fork_and_wait()),
        ["fork-twice-and-stay"] => Some(crate::os::fork_twice().and_then(stay_after)),
        ["fork-twice"] => Some(crate::os::fork_twice()),
        ["descriptor", number] => silent(
            number
                .parse()
                .map_err(io::Error::other)
                .and_then(crate::os::duplicate),
        ),
        ["thread"] => silent(
            std::thread::Builder::new()
                .spawn(|| {})
                .map(std::thread::JoinHandle::join),
        ),
        // Says who it is, then stays until its stdin ends: a process to look at from outside.
        ["stay"] => silent(stay()),
        _ => None,
    }
}

/// A positive process id: 0 and below would be groups.
fn process(text: &str) -> io::Result<Pid> {
    match text.parse::<i32>() {
        Ok(pid) if pid > 1 => Ok(Pid::from_raw(pid)),
        _ => Err(io::Error::other("not a process")),
    }
}

#[expect(clippy::print_stdout, reason = "its answer is its output")]
fn stay() -> io::Result<()> {
    println!("here {}", std::process::id());
    io::stdout().flush()?;
    io::stdin().read_to_end(&mut Vec::new()).map(drop)
}

/// Says it at once, then stays until its stdin ends.
#[expect(clippy::print_stdout, reason = "its answer is its output")]
fn stay_after(said: String) -> io::Result<String> {
    println!("done {said}");
    io::stdout().flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(said)
}

/// So many threads at once, which end together.
fn threads(count: usize) -> io::Result<()> {
    let gate = std::sync::Arc::new(std::sync::RwLock::new(()));
    let closed = gate
        .write()
        .map_err(|_| io::Error::other("nobody panics with it"))?;
    let made: io::Result<Vec<_>> = (0..count)
        .map(|_| {
            let gate = std::sync::Arc::clone(&gate);
            std::thread::Builder::new().spawn(move || drop(gate.read()))
        })
        .collect();
    drop(closed);
    made?.into_iter().for_each(|thread| drop(thread.join()));
    Ok(())
}

/// The standard three, the gateway's stream and one copy of it are what a worker has.
const LOOKED_AT: std::ops::Range<i32> = 5..1024;

fn stray_descriptor() -> io::Result<String> {
    let found = LOOKED_AT
        .into_iter()
        .find(|number| crate::os::duplicate(*number).is_ok());
    found
        .map(|number| number.to_string())
        .ok_or_else(|| nix::errno::Errno::EBADF.into())
}
