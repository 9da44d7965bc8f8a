//! Why Things could not be read or reached, and what that means to an agent and to the owner.
//!
//! Must not know: which capability failed.

use plexus_ipc::worker::{OpenError, SourceError};
use plexus_protocol::Effect;

/// Why Things could not be read or reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// macOS has not let Plexus control Things (-1743, -1744), or the sandbox was refused (-10004, -54).
    #[error("macOS does not let Plexus control Things ({0})")]
    Refused(i64),
    /// The system does not let the worker read the database.
    #[error("the system does not let Plexus read the database of Things")]
    Unreadable,
    /// Things is not installed (-10814, -2741), or cannot be started here (-10810).
    #[error("Things is not there, or cannot be started ({0})")]
    Missing(i64),
    /// Things does not run, or quit (-600, -609).
    #[error("Things does not run ({0})")]
    NotRunning(i64),
    /// No answer in time (-1712 or our own clock).
    #[error("Things did not answer in time")]
    Timeout,
    /// No database where the owner pointed.
    #[error("there is no database of Things in this folder")]
    NoDatabase,
    /// A database that this program does not know.
    #[error("the database of Things has {0}, which this version of Plexus does not know")]
    Schema(String),
    /// The database changed under each of several attempts.
    #[error("Things is writing its database; try again")]
    Moving,
    /// The script, or the database, answered something else than it should.
    #[error("Things gave an answer that cannot be read: {0}")]
    Answer(String),
    /// More than one answer may hold.
    #[error("{0}")]
    TooMuch(&'static str),
    /// Nobody waits for the answer any more.
    #[error("cancelled")]
    Over,
}

impl Failure {
    /// The failure behind an error number of Apple events. Texts are in the person's language; numbers are not.
    #[must_use]
    pub fn numbered(number: i64) -> Self {
        match number {
            -1743 | -1744 | -10004 | -54 => Self::Refused(number),
            -10814 | -10810 | -2740 | -2741 => Self::Missing(number),
            -600 | -609 => Self::NotRunning(number),
            -1712 => Self::Timeout,
            other => Self::Answer(format!("error {other}")),
        }
    }

    /// What the owner can do; `None` where trying again is all.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        let what = match self {
            Self::Refused(-10004 | -54) => {
                "macOS refuses this from inside the sandbox: add the source with database, and report this number"
            }
            Self::Refused(_) => {
                "allow it in System Settings > Privacy & Security > Automation, then call again"
            }
            Self::Unreadable => {
                "allow Plexus in System Settings > Privacy & Security > Full Disk Access, then restart it"
            }
            Self::Missing(_) => "install Things 3 and start it once as the person who runs Plexus",
            Self::NotRunning(_) => "start Things, then call again",
            Self::NoDatabase => {
                "set database to the folder \"Things Database.thingsdatabase\", or to one of the two folders above it"
            }
            Self::Schema(_) => "update Plexus, or add the source without database",
            _ => return None,
        };
        Some(format!("{self}: {what}"))
    }

    /// As an agent reads it, with nothing done.
    #[must_use]
    pub fn told(&self) -> SourceError {
        match self {
            Self::Refused(_) | Self::Unreadable => {
                SourceError::denied(format!("{self}; tell the owner"))
            }
            Self::Missing(_) | Self::NotRunning(_) | Self::NoDatabase | Self::Schema(_) => {
                SourceError::unavailable(format!("{self}; tell the owner"))
            }
            Self::Timeout => SourceError::transport("timeout", self.to_string()),
            Self::Moving => SourceError::transport("busy", self.to_string()),
            Self::Answer(_) => SourceError::transport("bad_answer", self.to_string()),
            Self::TooMuch(_) => SourceError::transport("too_large", self.to_string()),
            Self::Over => SourceError::cancelled(Effect::None),
        }
    }

    /// As the owner reads it who adds the source.
    #[must_use]
    pub fn open_error(&self) -> OpenError {
        let why = self.remedy().unwrap_or_else(|| self.to_string());
        match self {
            Self::NoDatabase | Self::Schema(_) => OpenError::config(why),
            Self::Unreadable => OpenError::denied("the database of Things"),
            _ => OpenError::unavailable(why),
        }
    }
}
