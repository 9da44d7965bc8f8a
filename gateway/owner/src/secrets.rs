//! Secrets of sources: written, never read back.

use crate::{Done, wire};
use serde::{Deserialize, Serialize};

/// Writes one. No `Debug`: it holds the value.
#[derive(Serialize, Deserialize)]
pub struct Write {
    /// Its name: `<source>.<field>`, or a file's that a source refers to.
    pub name: String,
    /// What it is.
    #[serde(default, deserialize_with = "wire::unsaid")]
    pub value: String,
}

/// It is written.
#[derive(Debug, Serialize, Deserialize)]
pub struct WriteResult {
    /// It is.
    pub ok: Done,
    /// Its name.
    pub name: String,
}
