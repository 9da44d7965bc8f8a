//! Transport `stdio`: a program that is started for one call, asked in one line of JSON, and answers in lines of JSON.
//!
//! Must not know: what the lines are; that is the worker's.

use super::manifest::{CliRoute, StdioRoute};
use std::collections::BTreeSet;

impl StdioRoute {
    /// The run of it.
    pub(super) fn run(&self) -> CliRoute {
        CliRoute {
            bin: self.bin.clone(),
            args: self.args.clone(),
            stdin: None,
            json: true,
            env: self.env.clone(),
            exit_statuses: BTreeSet::from([0]),
            timeout_ms: self.timeout_ms,
            output_bytes: self.output_bytes,
        }
    }
}
