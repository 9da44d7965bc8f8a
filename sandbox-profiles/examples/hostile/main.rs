//! The worst worker: does one forbidden (or permitted) thing and reports what the kernel answered.
//!
//! `hostile ACT [ARGUMENT]...` prints `done …` or `refused ERRNO` on stdout. The tests run it inside a cage, where
//! an act must be refused, and outside, where the same act must work.
#![expect(clippy::print_stdout, reason = "its answer is its output")]

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
        all => worker::act(all).unwrap_or_else(|| plexus_hostile::act(all)),
    }
}
