//! What of the network the workers of a connector reach: as the manifest says it, and as one source's route fills it in.
//!
//! ```text
//! [{"host": "api.example.com", "port": 443}]                                  by CONNECT, from the worker to the host
//! [{"host": {"field": "server"}, "port": 443, "secret": "password",           by the forwarder, which adds the secret
//!   "auth": {"basic": "user"}, "paths": ["/dav"], "reads": ["GET"], "ca": "caFile"}]
//! [{"host": {"field": "app"}, "port": 443, "secret": "key",                   the same for an app with a certificate
//!   "paths": ["/notes", "GET /menu"], "reads": ["GET", "POST /find"],         that it signed itself
//!   "pin": "certificate"}]
//! [{"host": {"field": "url"}, "port": 443, "paths": ["/mcp"]}]                by the forwarder, which adds TLS alone
//! [{"host": {"agreed": "http://192.168.1.5:8123"}, "port": 443,               by the forwarder, whole requests only: of an
//!   "paths": ["GET /api/states/*"], "reads": ["GET /api/states/*"]}]          extension, as the owner agreed to it
//! [{"unix": "/run/user/1000/app.sock"}]                                       by CONNECT, to an app's socket: see [`UnixEgress`]
//! ```
//!
//! Invariants of a checked list: at most [`MAX_EGRESS`] entries; requests are forwarded to one of them at most, and that
//! one has paths; every field that is named exists and is of the right kind; an entry with a pin is reached over TLS
//! alone; an agreed host lies on this machine or in its network; there is one Unix socket at most.
//!
//! Must not know: addresses, how a connection is made.

mod hosts;
mod lines;
mod socket;

pub use hosts::{is_host, owners_host, path_of, paths_below};
pub use lines::{admits, is_method, is_path};
pub use socket::{AdmittedSocket, SocketPath, UnixEgress};

use super::{Field, FieldKind, FieldTarget, Manifest, ManifestError, invalid};
use crate::egress::TokenEndpoint;
use hosts::agreed_host;
use lines::split;
use plexus_protocol::{Digest, Provenance, json};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

/// Most entries of a manifest's `egress`, and so most ports of its cage.
pub const MAX_EGRESS: usize = 8;

/// What workers of a connector reach, through `plexus-egress` alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum EgressEntry {
    /// A host.
    Host(Egress),
    /// A Unix socket of an app.
    Socket(UnixEgress),
}

impl<'de> Deserialize<'de> for EgressEntry {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let entry = Value::deserialize(d)?;
        let read = match entry.get("unix") {
            Some(_) => json::from_value(entry).map(Self::Socket),
            None => json::from_value(entry).map(Self::Host),
        };
        read.map_err(de::Error::custom)
    }
}

/// A host and a port that workers of this connector reach, through `plexus-egress` alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Egress {
    /// The host.
    pub host: EgressHost,
    /// Its TCP port, where the owner's field names no other.
    pub port: u16,
    /// The secret field whose value is added to each request. Such a host is reached through the forwarder alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// How the secret is added.
    #[serde(default, skip_serializing_if = "Auth::is_bearer")]
    pub auth: Auth<String>,
    /// The token endpoint of a sign-in, an `https` URL, or an `http` URL of this very machine: then the secret is a
    /// [`SignIn`](crate::egress::SignIn), and its token is added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_in: Option<String>,
    /// A secret that begins so is a token: it is added as `Authorization: Bearer` whatever [`Egress::auth`] says, and
    /// the workers are told that it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer_for: Option<String>,
    /// What the paths of forwarded requests begin with, segment by segment; `"/"` is all of them. A host with paths and no
    /// secret is forwarded to as well: the worker speaks no TLS. With a method before
    /// it (`"GET /menu"`), a path admits requests of that method alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// Whether these paths lie below the path of the owner's URL: `http://127.0.0.1:4177/c` with `"/v1"` admits `/c/v1`, and
    /// `/v1` no more. See [`paths_below`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub below: bool,
    /// The requests that change nothing at the host: a method (`"GET"`), or a method for the paths that begin so
    /// (`"POST /find"`). A reader's requests are of these. Absent: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<String>,
    /// The text field that names a PEM file with further certificate authorities, for a host of the owner's own. The
    /// gateway reads it: it is no folder of the source, and the worker has no way to it. If no secret is added, the
    /// worker makes TLS itself and is told what the file holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// The text field with the SHA-256 fingerprint of the host's certificate, for a host of the owner's own that signed
    /// its certificate itself. The host proves that it holds the key of exactly this certificate; its name, its dates and
    /// its signer do not count. While the field is empty no request is forwarded, and the refusal names the fingerprint
    /// of the certificate that the host shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<String>,
}

/// Where the name of a host comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EgressHost {
    /// The manifest: a name or an address. It may lead to public addresses only.
    Fixed(String),
    /// A route field: `host`, `host:port`, an `https` URL, or, where nothing is pinned, an `http` URL of this very
    /// machine. Left empty, there is no such host.
    Owner {
        /// The field's name.
        field: String,
    },
    /// An extension that the owner agreed to as it is: a URL with `http` or `https`, on this machine or in its network.
    Agreed {
        /// The URL; its path does not count.
        agreed: String,
        /// SHA-256 fingerprint of the host's certificate, as with [`Egress::pin`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        certificate: Option<String>,
    },
}

/// How a secret is added to a request. `U` is the name of a user: in a manifest, the field that holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth<U> {
    /// `Authorization: Bearer …`
    #[default]
    Bearer,
    /// `Authorization: Basic …`, with this user's name.
    Basic(U),
    /// This header, with the secret as its value.
    Header(String),
}

impl<U> Auth<U> {
    fn is_bearer(&self) -> bool {
        matches!(self, Self::Bearer)
    }
}

/// A host of one source.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admitted {
    /// A name in lower case, or an address.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// The owner named it: it may lead to private addresses.
    pub owners: bool,
    /// The owner wrote `http`: the forwarder speaks without TLS, and where it is not [`Admitted::local`] the host leads to
    /// a loopback address or nowhere.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plain: bool,
    /// It leads to this machine or its network, and to no public address.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub local: bool,
}

impl Egress {
    /// Whether requests to it are forwarded, with TLS and the secret if there is one; any other host is reached by CONNECT.
    #[must_use]
    pub fn is_forwarded(&self) -> bool {
        self.secret.is_some() || !self.paths.is_empty()
    }

    /// Whether the owner agreed to the host as the manifest has it. Its lines are whole requests.
    #[must_use]
    pub fn is_agreed(&self) -> bool {
        matches!(self.host, EgressHost::Agreed { .. })
    }

    /// What the paths of forwarded requests begin with, for a source with this `route`.
    ///
    /// # Errors
    /// Why the owner's URL has no path that requests can lie below.
    pub fn paths_of(&self, route: &Value) -> Result<Vec<String>, &'static str> {
        let url = match &self.host {
            EgressHost::Owner { field } if self.below => route.get(field).and_then(Value::as_str),
            _ => None,
        };
        let Some(url) = url else {
            return Ok(self.paths.clone());
        };
        let path = path_of(url.trim());
        match is_path(path) && !url.contains(['?', '#']) {
            true => Ok(paths_below(path, &self.paths)),
            false => Err("a URL with more than a plain path behind its host"),
        }
    }

    /// Whether its certificate proves the host, and not its name.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        let agreed =
            matches!(&self.host, EgressHost::Agreed { certificate, .. } if certificate.is_some());
        self.pin.is_some() || agreed
    }

    /// Where the tokens of a sign-in for `host` are had; `None` where there is none. It leads to private addresses only where it
    /// is on the owner's own host.
    ///
    /// # Errors
    /// Why the text is no such URL.
    pub fn tokens(&self, host: &Admitted) -> Result<Option<TokenEndpoint>, &'static str> {
        let Some(url) = &self.sign_in else {
            return Ok(None);
        };
        if !url.contains("://") {
            return Err(NOT_ENCRYPTED);
        }
        let to = owners_host(url, 443)?;
        let path = path_of(url);
        if !path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#')
        {
            return Err("a URL with a part that no request has");
        }
        let owners = host.owners && host.host == to.host;
        if to.plain && !owners {
            return Err(NOT_ENCRYPTED);
        }
        Ok(Some(TokenEndpoint {
            to: Admitted { owners, ..to },
            path: path.to_owned(),
        }))
    }

    /// The fingerprint that the owner pinned; `None` while there is none.
    ///
    /// # Errors
    /// Why the text is no fingerprint.
    pub fn pinned(&self, route: &Value) -> Result<Option<Digest>, &'static str> {
        let typed = match &self.host {
            EgressHost::Agreed { certificate, .. } => certificate.as_deref(),
            EgressHost::Fixed(_) | EgressHost::Owner { .. } => {
                let field = self.pin.as_ref();
                field.and_then(|field| route.get(field)?.as_str())
            }
        };
        let Some(text) = typed.map(str::trim).filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        // As programs print them: in capitals, with colons between the bytes.
        let hex = text.replace(':', "").to_ascii_lowercase();
        let digest = Digest::parse(&hex).ok_or(NO_FINGERPRINT)?;
        Ok(Some(digest))
    }

    /// Whether its paths and reads are lines that can be judged.
    fn check_lines(&self) -> Result<(), &'static str> {
        let sound = |line: &String| {
            let (method, path) = split(line);
            method.is_none_or(is_method) && path.is_none_or(is_path)
        };
        let mut paths = self.paths.iter().map(|line| (line, split(line).1));
        if self.paths.is_empty() || !paths.all(|(line, path)| path.is_some() && sound(line)) {
            return Err(
                "a host that is forwarded to has paths, each plain and beginning with '/', perhaps after a method that is forwarded",
            );
        }
        let mut reads = self.reads.iter().map(|line| (line, split(line).0));
        if !reads.all(|(line, method)| method.is_some() && sound(line)) {
            return Err("reads names no method of HTTP or WebDAV that is forwarded, in capitals");
        }
        // It does not lie below the owner's URL as those of `paths` do: no request would be of it.
        if self.below && self.reads.iter().any(|line| split(line).1.is_some()) {
            return Err("with below, reads has methods alone, and no path");
        }
        Ok(())
    }
}

impl Manifest {
    /// The hosts that its workers reach.
    pub fn hosts(&self) -> impl Iterator<Item = &Egress> {
        self.egress.iter().filter_map(|entry| match entry {
            EgressEntry::Host(host) => Some(host),
            EgressEntry::Socket(_) => None,
        })
    }

    /// The Unix socket that its workers reach.
    #[must_use]
    pub fn socket(&self) -> Option<&UnixEgress> {
        self.egress.iter().find_map(|entry| match entry {
            EgressEntry::Socket(socket) => Some(socket),
            EgressEntry::Host(_) => None,
        })
    }

    /// The hosts of a source with this `route`, each with its entry. Empty where the source needs no network.
    ///
    /// # Errors
    /// The name of a field, and why no host can be read from it.
    pub fn admitted(
        &self,
        route: &Value,
    ) -> Result<Vec<(&Egress, Admitted)>, (&str, &'static str)> {
        let mut all = Vec::new();
        for entry in self.hosts() {
            let admitted = match &entry.host {
                EgressHost::Fixed(host) => Admitted {
                    host: host.clone(),
                    port: entry.port,
                    owners: false,
                    plain: false,
                    local: false,
                },
                EgressHost::Agreed { agreed, .. } => {
                    agreed_host(agreed).map_err(|why| ("egress", why))?
                }
                EgressHost::Owner { field } => {
                    let text = route.get(field).and_then(Value::as_str).unwrap_or_default();
                    if text.trim().is_empty() {
                        continue;
                    }
                    let read = owners_host(text.trim(), entry.port);
                    let read = read.and_then(|host| match host.plain && entry.pin.is_some() {
                        true => Err(NOT_ENCRYPTED),
                        false => Ok(host),
                    });
                    let read = read.and_then(|host| entry.paths_of(route).map(|_| host));
                    read.map_err(|why| (field.as_str(), why))?
                }
            };
            if let (Some(field), Err(why)) = (&entry.pin, entry.pinned(route)) {
                return Err((field, why));
            }
            entry.tokens(&admitted).map_err(|why| ("signIn", why))?;
            all.push((entry, admitted));
        }
        Ok(all)
    }

    pub(super) fn check_egress(&self) -> Result<(), ManifestError> {
        if self.egress.len() > MAX_EGRESS {
            return Err(invalid("egress", "more than 8 hosts"));
        }
        if self.egress.len() > self.hosts().count() + 1 {
            return Err(invalid("egress", "more than one Unix socket"));
        }
        if self.hosts().filter(|host| host.is_forwarded()).count() > 1 {
            return Err(invalid(
                "egress",
                "requests are forwarded to more than one host",
            ));
        }
        for (at, entry) in self.egress.iter().enumerate() {
            let checked = match entry {
                EgressEntry::Host(host) => self.check_entry(host),
                EgressEntry::Socket(socket) => socket.check(self),
            };
            checked.map_err(|why| invalid(format!("egress {at}"), why))?;
        }
        Ok(())
    }

    fn check_entry(&self, entry: &Egress) -> Result<(), &'static str> {
        let route = |name: &str, kinds: &[FieldKind]| {
            let fits = |f: &Field| {
                f.name == name && f.target == FieldTarget::Route && kinds.contains(&f.kind)
            };
            self.fields.iter().any(fits)
        };
        let typed = [FieldKind::Text, FieldKind::Url];
        match &entry.host {
            EgressHost::Fixed(host) if !is_host(host) => {
                return Err("the host is no name in lower case and no address");
            }
            EgressHost::Owner { field } if !route(field, &typed) => {
                return Err("host names no field of type text or url and target route");
            }
            EgressHost::Agreed { agreed, .. } => {
                let host = agreed_host(agreed)?;
                if self.provenance != Provenance::Extension {
                    return Err("an agreed host is an extension's");
                }
                if entry.pinned(&Value::Null)?.is_some() && host.plain {
                    return Err(NOT_ENCRYPTED);
                }
            }
            EgressHost::Fixed(_) | EgressHost::Owner { .. } => {}
        }
        if entry.port == 0 {
            return Err("the port is 0");
        }
        let text = |field: &Option<String>| {
            let mut fields = field.iter();
            fields.all(|field| route(field, &[FieldKind::Text]))
        };
        if !text(&entry.ca) || !text(&entry.pin) {
            return Err("ca or pin names no field of type text and target route");
        }
        if entry.secret.is_none() && entry.is_agreed() {
            return entry.check_lines();
        }
        if entry.sign_in.is_some() && (entry.secret.is_none() || !entry.auth.is_bearer()) {
            return Err("signIn belongs to a host with a secret that is added as a bearer token");
        }
        if !entry.is_forwarded() {
            let bare = entry.auth.is_bearer() && entry.pin.is_none() && !entry.below;
            return match bare && entry.reads.is_empty() {
                true => Ok(()),
                false => Err("auth, reads, below and pin belong to a host with a secret or paths"),
            };
        }
        let mut secrets = self
            .fields
            .iter()
            .filter(|f| f.target == FieldTarget::Secret);
        match &entry.secret {
            Some(secret) if !secrets.any(|f| f.name == *secret) => {
                return Err("secret names no field of type password");
            }
            None if !entry.auth.is_bearer() || entry.bearer_for.is_some() => {
                return Err("auth and bearerFor belong to a host with a secret");
            }
            _ => {}
        }
        match &entry.auth {
            Auth::Basic(user) if !route(user, &typed) => {
                return Err("basic names no field of type text and target route");
            }
            Auth::Header(name) if !is_header(name) => {
                return Err("header is no header's name in lower case, or frames the message");
            }
            Auth::Bearer | Auth::Basic(_) | Auth::Header(_) => {}
        }
        entry.check_lines()?;
        let owners = matches!(entry.host, EgressHost::Owner { .. });
        if entry.below && !owners {
            return Err("below is for a host of the owner's");
        }
        if entry.pin.is_some() && (entry.ca.is_some() || !owners) {
            return Err("a pin is for a host of the owner's, and replaces ca");
        }
        Ok(())
    }
}

const NOT_ENCRYPTED: &str = "not an https URL: nothing else is encrypted";
const NO_FINGERPRINT: &str =
    "no SHA-256 fingerprint of a certificate: 64 hex digits, with or without colons";

/// Headers that frame a message, say where it goes or are of one connection (RFC 9110, 7.6.1): with a secret for a value
/// they would make another request of it.
const FRAMING: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-plexus-egress",
];

/// Whether a secret may be added as this header.
fn is_header(name: &str) -> bool {
    !FRAMING.contains(&name)
        && (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}
