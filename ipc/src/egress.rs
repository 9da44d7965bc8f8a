//! What the gateway and one `plexus-egress` say to each other, over descriptor 3, in the frames of [`crate::frame`].
//!
//! ```text
//! gateway                        plexus-egress
//!   Start ─────────────────────▶  attacks its own cage
//!   ◀───────────────────── Ready  from here on it accepts connections on its descriptor 0
//!   ◀─────────────── Connections  at most one a second
//!   ◀─────────────── NamesWanted  no resolver answered
//!   Names ─────────────────────▶  the resolver configuration as it is now
//!   ◀─────────────────── Renewed  a sign-in has another token: keep it
//!   Kept ──────────────────────▶  it is durable, or is not; until then the token is not used
//!   Revoke ────────────────────▶  the owner signs out: tell the authorization server
//!   ◀─────────────────── Revoked  what came of that
//!   Stop ──────────────────────▶  ends its connections, reports them, ends
//! ```
//!
//! Invariants: secrets travel here and never in arguments or an environment; every text and list has a bound.
//!
//! Must not know: how a connection is made, what becomes of a report.

pub mod limits;
mod of_call;
mod sign_in;

use crate::manifest::{Admitted, AdmittedSocket, Auth};
use crate::message::{CageReport, Probe, Secret, secret::single};
use crate::text::{Line, Payload};
pub use of_call::{awake, call_named, credential_of_call};
pub use plexus_protocol::AuditId;
/// A fingerprint of a certificate: of its bytes as they are shown (DER).
pub use plexus_protocol::Digest;
pub use plexus_protocol::Scopes;
use plexus_protocol::json;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;
pub use sign_in::{Access, Client, ClientAuth, Grant, Revocation, SignIn, TokenEndpoint};

/// Largest frame in either direction, in bytes.
pub const MAX_EGRESS_FRAME: usize = 1024 * 1024;
/// Most lines of one [`FromEgress::Connections`].
pub const MAX_CONNECTIONS: usize = 64;

/// Variables by which a program that speaks HTTP itself finds an egress.
pub const PROXY_VARIABLES: [&str; 3] = ["HTTPS_PROXY", "HTTP_PROXY", NODE_PROXY];
/// Of these, the one that has Node's own fetch read the others.
pub const NODE_PROXY: &str = "NODE_USE_ENV_PROXY";

/// What a CONNECT names for the Unix socket of the manifest. No name ends so (RFC 6761).
pub const SOCKET: (&str, u16) = ("unix-socket.invalid", 1);
/// Longest question to an app, in bytes, with the end of its line.
pub const MAX_QUESTION: usize = 1 << 20;

/// The capability that one line of JSON asks an app for; `None` for any other line, also for one with a control character:
/// some apps end a line at a carriage return.
#[must_use]
pub fn asked_for(line: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Question {
        capability: String,
        #[expect(dead_code, reason = "the app judges it")]
        input: Value,
    }
    let line = line.strip_suffix(b"\n")?;
    if line.iter().any(u8::is_ascii_control) {
        return None;
    }
    let question: Question = json::parse_as(line).ok()?;
    Some(question.capability)
}

/// From the gateway.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum ToEgress {
    /// First of all: what it admits.
    Start(Box<EgressStart>),
    /// The resolver configuration as it is now.
    Names(Names),
    /// The answer to [`FromEgress::Renewed`].
    Kept {
        /// Whether the record is durable.
        durable: bool,
    },
    /// Tell the authorization server that the sign-in is over. No token of it is added from here on.
    Revoke,
    /// End your connections, report them, end.
    Stop,
}

/// What a `plexus-egress` is told before anything else.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgressStart {
    /// What opens it to the workers of its source.
    #[serde(with = "single")]
    pub credential: Secret,
    /// What opens it to readers, whose forwarded requests have one of the methods in [`Forward::reads`].
    #[serde(with = "single")]
    pub reader: Secret,
    /// The hosts that a CONNECT may name.
    pub hosts: Vec<Admitted>,
    /// The host that requests are forwarded to. No CONNECT reaches it.
    pub forward: Option<Forward>,
    /// The Unix socket that a CONNECT to [`SOCKET`] reaches.
    pub socket: Option<AdmittedSocket>,
    /// How names become addresses.
    pub names: Names,
    /// What it attacks to prove its cage.
    pub probe: Probe,
}

/// The host that requests are forwarded to.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    /// The host.
    pub to: Admitted,
    /// What is added to each request, and how.
    pub secret: Option<AddedSecret>,
    /// Whether the client's own credential goes on. Then nothing is added.
    pub clients_own: bool,
    /// Whether the lines are whole requests, in which `*` stands for text within a segment.
    pub whole: bool,
    /// What requests are, by the manifest's lines.
    pub paths: Vec<String>,
    /// What a reader's requests are, by the manifest's lines; any where it is empty.
    pub reads: Vec<String>,
    /// What proves the host.
    pub proof: Proof,
    /// Where the tokens of a sign-in are had: then the secret is a [`SignIn`].
    pub tokens: Option<TokenEndpoint>,
}

/// A secret that is added to requests.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddedSecret {
    /// The secret.
    #[serde(with = "single")]
    pub value: Secret,
    /// How it is added.
    pub auth: Auth<String>,
}

/// What a host proves before the secret is sent to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Proof {
    /// Its name, by a certificate that leads to a known authority or to one of these, in PEM.
    Name(Payload),
    /// That it holds the key of the certificate with this fingerprint. Without one nothing is sent.
    Certificate(Option<Digest>),
}

/// The machine's files about names, as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Names {
    /// `/etc/resolv.conf`.
    pub resolv_conf: String,
    /// `/etc/hosts`.
    pub hosts: String,
}

/// From `plexus-egress`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum FromEgress {
    /// It accepts connections now.
    Ready {
        /// Its [`crate::BUILD`].
        build: Line<64>,
        /// What the attack on its cage found.
        #[serde(deserialize_with = "crate::worker::cage::bounded")]
        cage: Box<CageReport>,
    },
    /// Connections that have ended since the last such message.
    Connections(#[serde(deserialize_with = "few")] Vec<Connections>),
    /// No resolver answered: perhaps the machine has others now.
    NamesWanted,
    /// A sign-in was renewed. Its token is used once [`ToEgress::Kept`] says so.
    Renewed {
        /// The record that it takes the place of.
        was: Digest,
        /// The record.
        #[serde(with = "single")]
        record: Secret,
    },
    /// The answer to [`ToEgress::Revoke`].
    Revoked(Revocation),
}

/// Connections to one host that came to the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Connections {
    /// The host that was asked for, or the path of a Unix socket; `*` for all beyond the first hosts of a report.
    pub host: Line<256>,
    /// The port that was asked for; 0 for a Unix socket.
    pub port: u16,
    /// What came of them.
    pub verdict: EgressVerdict,
    /// The call that they count for, where they were opened by a credential of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<AuditId>,
    /// How many they are: tunnels, or forwarded requests.
    pub count: u64,
    /// Bytes from the host, TLS included.
    pub bytes_in: u64,
    /// Bytes to the host, TLS included.
    pub bytes_out: u64,
    /// How long they lasted, together, in milliseconds.
    pub duration_ms: u64,
}

/// What came of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EgressVerdict {
    /// It was made.
    Admitted,
    /// Refused: without the credential of this start.
    Credential,
    /// Refused: the host and port are not listed, or are those of a secret.
    Unlisted,
    /// Refused: the path, or what an app is asked for, is not one of the manifest's.
    Path,
    /// Refused: a reader's request, with a method that may change something, or a reader's question that is no read; or a
    /// method that nobody's request may have.
    Method,
    /// Refused: its credential holds as many connections as one may.
    Busy,
    /// Refused: every address of the host is one that it may not lead to; at a socket's path lies something else.
    Address,
    /// Failed: the name has no address, or no resolver answered.
    Unresolved,
    /// Failed: no address answered.
    Unreachable,
    /// Failed: the host did not prove its name.
    Tls,
    /// Failed: the host broke off, or spoke no HTTP.
    Broken,
}

fn few<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Connections>, D::Error> {
    let all = Vec::<Connections>::deserialize(d)?;
    if all.len() > MAX_CONNECTIONS {
        return Err(de::Error::custom("more lines than a report has"));
    }
    Ok(all)
}
