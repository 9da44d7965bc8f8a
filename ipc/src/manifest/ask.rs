//! A capability that is one question to an app of the owner's, over the Unix socket of the manifest.
//!
//! Invariants: the socket's entry lists it, and among its reads what is a read.
//!
//! Must not know: how a question is spelled, who asks it.

use super::{Capability, Manifest, ManifestError, command::MAX_TIMEOUT, invalid};
use serde::{Deserialize, Serialize};

/// How a capability asks the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppQuestion {
    /// Largest answer, in bytes: progress and output together.
    pub output_bytes: u32,
    /// How long the app may take, in milliseconds.
    pub timeout_ms: u32,
}

impl Manifest {
    /// Its capabilities that ask the app, by name.
    pub fn questions(&self) -> impl Iterator<Item = (&str, AppQuestion)> {
        let entries = self.capabilities.iter();
        entries.filter_map(|entry| Some((entry.name.as_str(), entry.ask?)))
    }

    pub(super) fn check_questions(&self) -> Result<(), ManifestError> {
        for (name, question) in self.questions() {
            let at = |place: &str| format!("capability {name:?}, {place}");
            if !(1..=1 << 20).contains(&question.output_bytes) {
                return Err(invalid(at("output"), "not 1 byte to 1 MiB"));
            }
            if !(1..=MAX_TIMEOUT).contains(&question.timeout_ms) {
                return Err(invalid(at("timeout"), "not 1 to 600,000 ms"));
            }
            let is_read = self.capability(name).is_some_and(Capability::is_read);
            let lists = |names: &[String]| names.iter().any(|known| known == name);
            let is_listed = self
                .socket()
                .is_some_and(|socket| lists(&socket.asks) && lists(&socket.reads) == is_read);
            if !is_listed {
                return Err(invalid(at("ask"), "no socket lists it as what it is"));
            }
        }
        Ok(())
    }
}
