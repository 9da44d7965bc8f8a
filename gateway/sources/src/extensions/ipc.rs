//! Transport `ipc`: one question to an app of the owner's, over its Unix socket, in the lines of JSON of `stdio`; and what that
//! is in the offer.
//!
//! Invariants: all questions of an extension go to one socket; its egress passes the declared ones and no other, and from a
//! reader those of reads alone.
//!
//! Must not know: what the lines are; that is the worker's.

use super::manifest::{DeclaredCapability, ExtensionManifest, IpcRoute, Route, Transport};
use serde_json::{Value, json};
use std::collections::BTreeSet;

impl ExtensionManifest {
    /// The app's socket; none where it asks no app by one.
    #[must_use]
    pub fn socket(&self) -> Option<&str> {
        self.questions().map(|(_, route)| &*route.socket).next()
    }

    fn questions(&self) -> impl Iterator<Item = (&DeclaredCapability, &IpcRoute)> {
        let all = self.capabilities.iter();
        all.filter_map(|capability| match &capability.route {
            Route::Ipc(route) => Some((capability, route)),
            Route::Cli(_) | Route::Rest(_) | Route::Stdio(_) => None,
        })
    }

    /// What stands against its socket.
    pub(super) fn odd_socket(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        let sockets: BTreeSet<&str> = self.questions().map(|(_, route)| &*route.socket).collect();
        if sockets.len() > 1 {
            let why = "its capabilities name more than one socket: make one extension of each";
            reasons.push(why.to_owned());
        }
        if self.transport == Transport::Ipc && !self.folders.is_empty() {
            reasons.push("an extension of questions to an app has no folders".to_owned());
        }
        reasons
    }

    /// The socket of the offer, with what is asked there.
    pub(super) fn socket_egress(&self) -> Option<Value> {
        let names = |reads_alone: bool| {
            let all = self.questions();
            let all = all.filter(|(capability, _)| !reads_alone || capability.grants.is_read());
            all.map(|(capability, _)| &*capability.name).collect()
        };
        let (asks, reads): (Vec<&str>, Vec<&str>) = (names(false), names(true));
        Some(json!({"unix": self.socket()?, "asks": asks, "reads": reads}))
    }
}
