//! The exit statuses of both commands (docs/design.md#commands; the numbers from 64 on are those of BSD `sysexits.h`).

use std::process::ExitCode;

/// How a command ended, for the program that started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: it did what was asked.
    Ok,
    /// 1: it was tried and failed.
    Failed,
    /// 2: this agent holds no credential here.
    NotEnrolled,
    /// 64: the command line or an input is not of its form.
    Usage,
    /// 69: no gateway answers.
    Unreachable,
    /// 75: it waits for the owner.
    Waiting,
    /// 77: it was refused.
    Refused,
}

impl Exit {
    /// The number.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::NotEnrolled => 2,
            Self::Usage => 64,
            Self::Unreachable => 69,
            Self::Waiting => 75,
            Self::Refused => 77,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}
