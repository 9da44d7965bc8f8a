//! Acts on processes and programs, by the means every program has.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::{Arguments, silent};

pub(crate) fn act(arguments: Arguments<'_>) -> Option<io::Result<String>> {
    match arguments {
        // Signal 0: asks whether it may, sends nothing.
        ["signal", pid] => silent(process(pid).and_then(|pid| Ok(kill(pid, None)?))),
        ["signal-self"] => silent(kill(Pid::this(), None).map_err(Into::into)),
        ["signal-group"] => silent(kill(Pid::from_raw(0), None).map_err(Into::into)),
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
