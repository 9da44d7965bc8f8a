//! macOS: what the system's log says about the worker, after the run.

use super::{Observation, unified_log::refused};
use crate::denial::{Act, Denial};
use std::{ffi::OsString, io, process::Command};

/// Nothing has to stand before the launcher.
pub(crate) fn before() -> Vec<OsString> {
    Vec::new()
}

/// There is nobody to wait for.
pub(crate) fn held(_: Vec<OsString>) -> io::Error {
    io::Error::other("nothing is held on macOS")
}

/// Remembers which process it is about.
pub(crate) struct Observer(u32);

impl Observer {
    pub(crate) fn watch(pid: u32) -> Self {
        Self(pid)
    }

    /// Reads the log of the last minute.
    pub(crate) fn finish(self) -> Observation {
        let output = Command::new("/usr/bin/log")
            .args(["show", "--last", "1m", "--style", "compact", "--predicate"])
            .arg("eventMessage CONTAINS \"deny(\"")
            .output();
        let output = match output {
            Ok(output) => output,
            Err(error) => {
                return Observation {
                    blind: Some(format!("/usr/bin/log: {error}")),
                    ..Observation::default()
                };
            }
        };
        let refused = refused(&String::from_utf8_lossy(&output.stdout), self.0);
        let denial = |(said, rule)| Denial {
            act: Act::Said(said, rule),
            errno: "Sandbox".to_owned(),
        };
        Observation {
            denials: refused.into_iter().map(denial).collect(),
            blind: None,
        }
    }
}
