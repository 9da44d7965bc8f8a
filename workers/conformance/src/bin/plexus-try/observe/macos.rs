//! macOS: what the system's log says about the worker, after the run.

use super::Observation;
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

    /// Reads the log of the last minute. A line reads `… Sandbox: NAME(PID) deny(1) OPERATION PATH`.
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
        let mark = format!("({}) deny(", self.0);
        let mut seen = Observation::default();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let Some((_, said)) = line.split_once(&mark) else {
                continue;
            };
            let Some((_, said)) = said.split_once(") ") else {
                continue;
            };
            let (operation, path) = said.split_once(' ').unwrap_or((said, ""));
            let rule = format!("(allow {operation} (literal \"{path}\"))");
            let denial = Denial {
                act: Act::Said(said.to_owned(), rule),
                errno: "Sandbox".to_owned(),
            };
            if !seen.denials.contains(&denial) {
                seen.denials.push(denial);
            }
        }
        seen
    }
}
