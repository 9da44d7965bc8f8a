//! A copy of the ledger for a backup: no content of it goes over HTTP.

use crate::Done;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Has a copy made.
#[derive(Debug, Serialize, Deserialize)]
pub struct CopyLedger {}

/// A copy that lies in the state directory.
#[derive(Debug, Serialize, Deserialize)]
pub struct LedgerCopy {
    /// It does.
    pub ok: Done,
    /// In this folder.
    pub folder: PathBuf,
}
