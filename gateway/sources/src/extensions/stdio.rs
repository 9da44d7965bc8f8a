//! Transport `stdio`: a program that is started for one call, asked in one line of JSON, and answers in lines of JSON.
//!
//! Must not know: what the lines are; that is the worker's.

use super::declared::{self, CliRoute};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One exchange with a program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StdioRoute {
    /// The program: a bare name, or the absolute path of the file.
    pub bin: String,
    /// Its arguments, each a template.
    #[serde(default)]
    pub args: Vec<String>,
    /// Its environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// How long a call may take, in milliseconds.
    #[serde(default = "declared::half_a_minute")]
    pub timeout_ms: u32,
    /// Longest output, in bytes: progress and answer together.
    #[serde(default = "declared::a_mebibyte")]
    pub output_bytes: u32,
}

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
