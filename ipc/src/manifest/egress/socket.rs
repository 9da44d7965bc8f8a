//! The Unix socket of an app of the owner's.
//!
//! ```text
//! [{"unix": "/run/user/1000/app.sock"}]                        any bytes, by CONNECT
//! [{"unix": {"field": "socket"}}]                              the same, where the owner's field says
//! [{"unix": "/run/user/1000/app.sock",                         one question for each connection: a line of JSON that
//!   "asks": ["find", "add"], "reads": ["find"]}]               names one of these, and of `reads` from a reader
//! ```
//!
//! Invariants of a checked entry: a path that stands in it is one that a socket can have, in its one spelling; each read is
//! one that it asks.
//!
//! Must not know: whose the socket is, how a connection is made.

use super::super::{FieldKind, FieldTarget, Manifest};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Longest path, in bytes: that of `struct sockaddr_un` on macOS, where it is the shorter one, less its end.
const MAX_PATH: usize = 103;

/// A Unix socket that workers of a connector reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnixEgress {
    /// Where the app listens.
    pub unix: SocketPath,
    /// The capabilities that it may be asked for, in one line of JSON for each connection; empty: whatever a worker sends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asks: Vec<String>,
    /// Those of them that a reader may ask for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<String>,
}

/// Where the path of a socket comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SocketPath {
    /// The manifest.
    Fixed(String),
    /// A text field of the route. Left empty, there is no socket.
    Owner {
        /// The field's name.
        field: String,
    },
}

/// The socket of one source, as its egress is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdmittedSocket {
    /// Its path.
    pub path: String,
    /// As [`UnixEgress::asks`].
    pub asks: Vec<String>,
    /// As [`UnixEgress::reads`].
    pub reads: Vec<String>,
}

impl UnixEgress {
    pub(super) fn check(&self, manifest: &Manifest) -> Result<(), &'static str> {
        match &self.unix {
            SocketPath::Fixed(path) if !is_socket_path(path) => return Err(NO_PATH),
            SocketPath::Owner { field } => {
                let is_text = manifest.field(field).is_some_and(|field| {
                    field.kind == FieldKind::Text && field.target == FieldTarget::Route
                });
                if !is_text {
                    return Err("unix names no field of type text and target route");
                }
            }
            SocketPath::Fixed(_) => {}
        }
        match self.reads.iter().all(|name| self.asks.contains(name)) {
            true => Ok(()),
            false => Err("reads names what is not in asks"),
        }
    }
}

impl Manifest {
    /// The socket of a source with this `route`.
    ///
    /// # Errors
    /// The name of a field, and why it is no path of a socket.
    pub fn admitted_socket(
        &self,
        route: &Value,
    ) -> Result<Option<AdmittedSocket>, (&str, &'static str)> {
        let Some(entry) = self.socket() else {
            return Ok(None);
        };
        let path = match &entry.unix {
            SocketPath::Fixed(path) => path.as_str(),
            SocketPath::Owner { field } => {
                let typed = route.get(field).and_then(Value::as_str).unwrap_or_default();
                match typed.trim() {
                    "" => return Ok(None),
                    path if is_socket_path(path) => path,
                    _ => return Err((field, NO_PATH)),
                }
            }
        };
        Ok(Some(AdmittedSocket {
            path: path.to_owned(),
            asks: entry.asks.clone(),
            reads: entry.reads.clone(),
        }))
    }
}

const NO_PATH: &str =
    "no absolute path of at most 103 bytes without empty, '.' or '..' parts and control characters";

fn is_socket_path(path: &str) -> bool {
    let named = |part: &str| !matches!(part, "" | "." | "..");
    path.len() <= MAX_PATH
        && !path.contains(char::is_control)
        && path
            .strip_prefix('/')
            .is_some_and(|rest| rest.split('/').all(named))
}
