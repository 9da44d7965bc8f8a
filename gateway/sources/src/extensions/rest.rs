//! Transport `local-rest`: requests to one app on this machine or in its network, as a manifest declares them; and what they
//! are in the offer.
//!
//! Invariants: all requests of an extension go to one host; its egress admits the declared requests and no other, and those
//! of the reads alone from a reader; the secret is the egress's.
//!
//! Must not know: how a request is sent, who may call it.

use super::manifest::{Attach, DeclaredCapability, ExtensionManifest, RestRoute, Route, Transport};
use plexus_ipc::manifest::{RequestTemplate, is_path};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Where requests go: scheme, host, port and the beginning of a path, and nothing else, so that the card shows the very
/// request that is sent. Parts that a request would leave out, as a query, do not parse.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BaseUrl {
    /// As the manifest has it, whose digest covers it.
    spelled: String,
    /// Scheme, host and port.
    origin: String,
    /// Begins with `/` and does not end in one, or is empty.
    prefix: String,
}

impl TryFrom<String> for BaseUrl {
    type Error = &'static str;

    fn try_from(url: String) -> Result<Self, Self::Error> {
        const NO_BASE: &str = "baseUrl is no URL with http or https, a host, a port and the beginning of a path alone";
        let (scheme, rest) = url.split_once("://").ok_or(NO_BASE)?;
        let (authority, prefix) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let of_host = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
        let of_path = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&b);
        let is_segment = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(of_path);
        let is_base = matches!(scheme, "http" | "https")
            && !authority.is_empty()
            && authority.bytes().all(of_host)
            && prefix.split('/').skip(1).all(is_segment);
        if !is_base {
            return Err(NO_BASE);
        }
        Ok(Self {
            origin: format!("{scheme}://{authority}"),
            prefix: prefix.to_owned(),
            spelled: url,
        })
    }
}

impl From<BaseUrl> for String {
    fn from(base: BaseUrl) -> Self {
        base.spelled
    }
}

impl RestRoute {
    /// The request, with its whole path.
    #[must_use]
    pub fn template(&self) -> RequestTemplate {
        RequestTemplate {
            method: self.method,
            path: format!("{}{}", self.base_url.prefix, self.path),
            query: self.query.clone(),
            body: self.body.clone(),
            json: self.json,
            statuses: self.statuses.clone(),
            output_bytes: self.output_bytes,
            timeout_ms: self.timeout_ms,
        }
    }
}

impl ExtensionManifest {
    /// The app's scheme, host and port; none where it reaches no app.
    #[must_use]
    pub fn app(&self) -> Option<&str> {
        let mut routes = self
            .requests()
            .map(|(_, route)| route.base_url.origin.as_str());
        routes.next()
    }

    fn requests(&self) -> impl Iterator<Item = (&DeclaredCapability, &RestRoute)> {
        let all = self.capabilities.iter();
        all.filter_map(|capability| match &capability.route {
            Route::Rest(route) => Some((capability, route)),
            Route::Cli(_) | Route::Stdio(_) | Route::Ipc(_) => None,
        })
    }

    /// What stands against its app and its secret.
    pub(super) fn odd_app(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        let mut said = |why: String| reasons.push(why);
        if self.transport != Transport::LocalRest {
            if !self.secrets.is_empty() || self.certificate.is_some() {
                said("secrets and certificate are for the transport local-rest".to_owned());
            }
            return reasons;
        }
        let origins = self.requests().map(|(_, route)| &route.base_url.origin);
        let origins: BTreeSet<&String> = origins.collect();
        if origins.len() > 1 {
            said("its capabilities name more than one host: make one extension of each".to_owned());
        }
        if !self.folders.is_empty() {
            said("an extension of requests has no folders".to_owned());
        }
        if self.secrets.len() > 1 {
            said("it has more than one secret".to_owned());
        }
        for (capability, route) in self.requests() {
            let line = route.template().line();
            // A line begins with its method, and ends there where the path is no template.
            let path = line.split_once(' ').map_or("", |(_, path)| path);
            if !path.is_empty() && !is_path(path) {
                let (name, path) = (&capability.name, &route.path);
                said(format!(
                    "capability {name:?}: route.path {path:?} does not begin with /, or is no plain path: no empty, `.` or `..` segment"
                ));
            }
        }
        for secret in &self.secrets {
            if (secret.attach == Attach::Header) != secret.header.is_some() {
                let name = &secret.name;
                said(format!(
                    "secret {name:?}: `as` is the header's name, for attach \"header\" alone"
                ));
            }
        }
        reasons
    }

    /// The host of the offer, with the requests that it is sent.
    pub(super) fn egress(&self) -> Option<Value> {
        let (mut paths, mut reads) = (BTreeSet::new(), BTreeSet::new());
        for (capability, route) in self.requests() {
            let line = route.template().line();
            if capability.grants.is_read() {
                reads.insert(line.clone());
            }
            paths.insert(line);
        }
        let mut host = json!({
            "host": {"agreed": self.app()?, "certificate": self.certificate},
            "port": 443, "paths": paths, "reads": reads,
        });
        if let Some(secret) = self.secrets.first() {
            host["secret"] = json!(secret.name);
            host["auth"] = match &secret.header {
                Some(header) => json!({"header": header}),
                None => json!("bearer"),
            };
        }
        Some(host)
    }

    /// Its secrets, as fields of the offer.
    pub(super) fn secret_fields(&self) -> impl Iterator<Item = Value> {
        self.secrets.iter().map(|secret| {
            json!({
                "name": secret.name, "label": format!("Secret {}", secret.name), "type": "password",
                "required": true, "target": "secret",
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_is_scheme_host_port_and_prefix_alone() {
        let spelled = |url: &str| BaseUrl::try_from(url.to_owned()).map(String::from);
        for url in [
            "http://127.0.0.1:8123",
            "https://app.local/api/v1",
            "http://[::1]:80",
        ] {
            assert_eq!(spelled(url).as_deref(), Ok(url));
            let slash = BaseUrl::try_from(format!("{url}/")).map(|base| base.origin + &base.prefix);
            assert_eq!(slash.as_deref(), Ok(url));
        }
        let odd = "?dry-run=true|#dry-run|/x?dry-run=true|/x#a|\\x|/a/../b|/./a|//a|/a b|\
            /%2e%2e/a|@host|/\u{202e}a|/{what}";
        for rest in odd.split('|') {
            let url = format!("http://127.0.0.1{rest}");
            let why = spelled(&url).unwrap_err();
            assert!(why.starts_with("baseUrl is no URL"), "{url}: {why}");
        }
    }
}
