//! Starting a monitor as a child of the keeper.
//!
//! Type-checked alone; no Mac has run it.

use std::io;
use std::os::fd::OwnedFd;
use std::process::Command;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::unistd::pipe;

use crate::children::KEEPER_FD;
use crate::launch::STREAM;
use crate::os;

/// What ends the monitors with the keeper: a pipe that nobody writes to, whose other end the keeper alone has open.
pub(crate) struct Tie {
    monitors: OwnedFd,
    _keeper: OwnedFd,
    /// The number that a monitor has it at is nothing else's here.
    _reserved: Vec<OwnedFd>,
}

impl Tie {
    pub(crate) fn new() -> io::Result<Self> {
        let reserved = os::reserve(KEEPER_FD)?;
        let (monitors, keeper) = pipe()?;
        for end in [&monitors, &keeper] {
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        }
        Ok(Self {
            monitors,
            _keeper: keeper,
            _reserved: reserved,
        })
    }

    /// Makes what `command` starts a session of its own, which hears of the keeper's end at [`STREAM`].
    pub(crate) fn apart_and_tied(&self, command: &mut Command) {
        super::os::apart_with(command, &self.monitors, STREAM);
    }
}
