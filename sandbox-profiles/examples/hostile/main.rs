//! The worst worker: does one forbidden (or permitted) thing and reports what the kernel answered.
//!
//! `hostile ACT [ARGUMENT]...` prints `done …` or `refused ERRNO` on stdout. The tests run it inside a cage, where
//! an act must be refused, and outside, where the same act must work.
#![expect(clippy::print_stdout, reason = "its answer is its output")]

mod files;
#[cfg(target_os = "linux")]
mod linux;
mod os;
mod processes;
mod sockets;
mod worker;

use std::io;

/// The arguments of an act.
type Arguments<'a> = &'a [&'a str];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match act(&arguments) {
        Ok(said) => println!("done {said}"),
        Err(error) => match error.raw_os_error() {
            Some(errno) => println!("refused {errno}"),
            None => println!("failed {error}"),
        },
    }
}

fn act(arguments: Arguments<'_>) -> io::Result<String> {
    match arguments {
        // Gives up exec and fork first, as a leaf worker does.
        ["give-up", rest @ ..] => {
            plexus_sandbox::give_up_exec_and_fork().map_err(io::Error::other)?;
            act(rest)
        }
        all => files::act(all)
            .or_else(|| sockets::act(all))
            .or_else(|| processes::act(all))
            .or_else(|| worker::act(all))
            .or_else(|| platform(all))
            .unwrap_or_else(|| Err(io::Error::other(format!("no such act: {all:?}")))),
    }
}

#[cfg(target_os = "linux")]
fn platform(arguments: Arguments<'_>) -> Option<io::Result<String>> {
    linux::act(arguments)
}

#[cfg(not(target_os = "linux"))]
fn platform(_: Arguments<'_>) -> Option<io::Result<String>> {
    None
}

/// An act that has nothing to say but that it worked.
fn silent<T>(outcome: io::Result<T>) -> Option<io::Result<String>> {
    Some(outcome.map(|_| String::new()))
}
