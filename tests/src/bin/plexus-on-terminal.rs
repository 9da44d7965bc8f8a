//! Runs a program as a terminal emulator does: in a session of its own, whose terminal is standard input.
//!
//! A pseudo-terminal alone is not enough: a program that asks for its controlling terminal would find the developer's,
//! and a change of size or an end of the terminal would reach nobody.

use std::os::unix::process::CommandExt as _;

fn main() {
    let mut line = std::env::args_os().skip(1);
    let program = line.next().expect("a program to run");
    nix::unistd::setsid().expect("a session of its own");
    rustix::process::ioctl_tiocsctty(std::io::stdin()).expect("a terminal as standard input");
    let error = std::process::Command::new(&program).args(line).exec();
    panic!("{}: {error}", program.display());
}
