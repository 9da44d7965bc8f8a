//! Transport `local-rest`: requests to one app on this machine or in its network, as a manifest declares them; and what they
//! are in the offer.
//!
//! Invariants: all requests of an extension go to one host; its egress admits the declared requests and no other, and those
//! of the reads alone from a reader; the secret is the egress's.
//!
//! Must not know: how a request is sent, who may call it.

use super::manifest::{Attach, DeclaredCapability, ExtensionManifest, RestRoute, Route, Transport};
use plexus_ipc::manifest::RequestTemplate;
use serde_json::{Value, json};
use std::collections::BTreeSet;

impl RestRoute {
    /// The scheme, host and port, and the beginning of the path.
    fn base(&self) -> (&str, &str) {
        let url = self.base_url.as_str();
        let from = url.find("://").map_or(0, |at| at + 3);
        let to = url[from..].find('/').map_or(url.len(), |at| from + at);
        let (origin, path) = url.split_at(to);
        (origin, path.strip_suffix('/').unwrap_or(path))
    }

    /// The request, with its whole path.
    #[must_use]
    pub fn template(&self) -> RequestTemplate {
        RequestTemplate {
            method: self.method,
            path: format!("{}{}", self.base().1, self.path),
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
        let mut routes = self.requests().map(|(_, route)| route.base().0);
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
        let origins: BTreeSet<&str> = self.requests().map(|(_, route)| route.base().0).collect();
        if origins.len() > 1 {
            said("its capabilities name more than one host: make one extension of each".to_owned());
        }
        if !self.folders.is_empty() {
            said("an extension of requests has no folders".to_owned());
        }
        if self.secrets.len() > 1 {
            said("it has more than one secret".to_owned());
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
