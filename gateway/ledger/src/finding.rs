//! What a check of the ledger can find wrong, in words for the person who has to act on it.
//!
//! Must not know: how it is found.

use std::fmt;

use crate::store::StoreError;

/// The first thing found wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// This event is not what was recorded.
    Event {
        /// Its place in the log.
        seq: u64,
        /// Its id, as far as it can still be read.
        id: Option<String>,
        /// What is wrong.
        why: String,
    },
    /// There is no event with this number, though there are later ones.
    Missing {
        /// Its place in the log.
        seq: u64,
    },
    /// This row is not what the events lead to.
    Row {
        /// The row's key.
        key: String,
        /// What is wrong.
        why: &'static str,
    },
    /// The values kept for this checkpoint are not the ones it vouches for, though all events and rows agree.
    Checkpoint {
        /// Its place in the log; 0 stands for the beginning.
        seq: u64,
        /// What is wrong.
        why: String,
    },
    /// `audit-heads.jsonl` knows of another log: it was cut short, put back or written anew.
    Head {
        /// The sequence in the file of heads.
        seq: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// This archive is not what was sealed.
    Archive {
        /// Its name in `archive/`.
        file: String,
        /// Its first event.
        first: u64,
        /// Its last event.
        last: u64,
        /// What is wrong.
        why: String,
    },
    /// redb's own check failed; the rest was not looked at.
    Pages {
        /// What redb says.
        why: String,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event {
                seq,
                id: Some(id),
                why,
            } => write!(f, "event {seq} ({id}): {why}"),
            Self::Event { seq, id: None, why } => write!(f, "event {seq}: {why}"),
            Self::Missing { seq } => write!(f, "event {seq} is missing"),
            Self::Row { key, why } => write!(f, "row `{key}`: {why}"),
            Self::Checkpoint { seq, why } => write!(f, "values kept for checkpoint {seq}: {why}"),
            Self::Head { seq, why } => write!(f, "head {seq} in audit-heads.jsonl: {why}"),
            Self::Archive {
                file,
                first,
                last,
                why,
            } => write!(f, "archive {file} (events {first} to {last}): {why}"),
            Self::Pages { why } => write!(f, "the file's own structure: {why}"),
        }
    }
}

/// Why a check did not end well.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// Something is wrong with the content.
    #[error("{0}")]
    Found(Finding),
    /// Recorded as it is found, and more than this version can read.
    #[error("{0}")]
    Later(Unknown),
    /// The storage could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An event or a row that is as it was recorded, but that this version cannot read: a later one wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// `event 17` or `row "settings"`.
    pub what: String,
    /// What is not known.
    pub why: String,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

impl From<Unknown> for CheckError {
    fn from(unknown: Unknown) -> Self {
        Self::Later(unknown)
    }
}

impl From<Finding> for CheckError {
    fn from(finding: Finding) -> Self {
        Self::Found(finding)
    }
}
