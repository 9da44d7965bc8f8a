//! What the workers of a source may reach, in words, and the digest that their grants rest on (ours).
//!
//! Must not know: how a kernel enforces it. The words are plexus-sandbox's, of the rules that it enforces.

use super::sources::known;
use crate::{
    acts::{Named, blocking},
    desk::Desk,
};
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_edge::reply::{Refused, ok};
use plexus_ipc::manifest::{Admitted, Egress};
use plexus_protocol::{ErrorBody, ErrorCode};
use plexus_sandbox::reach::{AllowedAction, Platform, Reach, reach};
use plexus_supervisor::Spec;
use serde::Serialize;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// One role of a source.
#[derive(Serialize)]
struct InRole {
    role: plexus_ipc::message::Role,
    /// The profile's parameters as they are filled in.
    parameters: BTreeMap<String, String>,
    #[serde(flatten)]
    reach: Reach,
}

pub(super) async fn show(
    State(desk): State<Arc<Desk>>,
    Named(id): Named,
    _: Request,
) -> Result<Response, Refused> {
    let source = known(&desk, &id).ok_or_else(|| {
        let why = format!("There is no source {id:?}.");
        Refused::new(ErrorBody::new(ErrorCode::NotFound, why).next("plexusctl sources list"))
    })?;
    let cannot = |why: String| {
        let why = format!("The profile of {id:?} cannot be put in words: {why}.");
        Refused::new(ErrorBody::new(ErrorCode::InternalError, why).next("plexusctl doctor"))
    };
    let spec = desk.spec_of(&source).await.map_err(cannot)?;
    let connector = desk
        .registry
        .of_source(&source.config)
        .ok_or_else(|| cannot("this build has no such connector".to_owned()))?;
    let mut said = json!({
        "source": source.id,
        "connector": connector.offer.manifest.connector,
        "profile": format!("sandbox-profiles/{}.sb", connector.offer.manifest.connector),
        "digest": connector.profile_digest,
        "pinned": source.profile,
        "text": *connector.offer.profile,
        "unsandboxed": desk.unsandboxed.contains(&source.id).then_some(true),
    });
    let supervisor = desk.supervisor.clone();
    // The way to a program is on a disk that may be slow.
    let roles = blocking(move || {
        let one = |role: &plexus_ipc::message::Role| in_role(&supervisor, &spec, *role);
        spec.offer
            .manifest
            .roles
            .iter()
            .map(one)
            .collect::<Result<Vec<_>, String>>()
    })
    .await?
    .map_err(cannot)?;
    said["roles"] = json!(roles);
    if let Value::Object(members) = &mut said {
        members.retain(|_, value| !value.is_null());
    }
    Ok(ok(&said))
}

/// The hosts and the socket that the source's egress admits. The port on which a worker reaches it is one of each start.
fn hosts(spec: &Spec) -> Vec<AllowedAction> {
    let hosts = spec
        .offer
        .manifest
        .admitted(&spec.config)
        .unwrap_or_default();
    let host = |(entry, host): (&Egress, Admitted)| {
        let secret = match entry.secret {
            Some(_) => ", which adds the secret",
            None => "",
        };
        AllowedAction {
            what: format!("{} port {}, by plexus-egress{secret}", host.host, host.port),
            why: Some("the manifest lists it".to_owned()),
            line: 0,
        }
    };
    let socket = spec.offer.manifest.admitted_socket(&spec.config);
    let socket = socket
        .ok()
        .flatten()
        .into_iter()
        .map(|socket| AllowedAction {
            what: format!("the Unix socket {}, by plexus-egress", socket.path),
            why: Some("the manifest lists it".to_owned()),
            line: 0,
        });
    hosts.into_iter().map(host).chain(socket).collect()
}

fn in_role(
    supervisor: &plexus_supervisor::Supervisor,
    spec: &Spec,
    role: plexus_ipc::message::Role,
) -> Result<InRole, String> {
    let parameters: BTreeMap<_, _> = supervisor.parameters(spec, role).into_iter().collect();
    let mut reach =
        reach(&spec.offer.profile, &parameters, Platform::here()).map_err(|e| e.to_string())?;
    reach.may_talk_to.extend(hosts(spec));
    Ok(InRole {
        role,
        parameters,
        reach,
    })
}
