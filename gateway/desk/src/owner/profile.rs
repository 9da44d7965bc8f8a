//! What the workers of a source may reach, in words, and the digest that their grants rest on (ours).
//!
//! Must not know: how a kernel enforces it. The words are plexus-sandbox's, of the rules that it enforces.

use super::sources::known;
use crate::{
    acts::blocking,
    desk::Desk,
    table::{Reading, Served},
};
use plexus_edge::reply::Refused;
use plexus_ipc::{
    manifest::{Admitted, Egress},
    message::Role,
};
use plexus_owner::profile::{AllowedAction, Profile, RoleReach, Show, WorkerRole};
use plexus_protocol::{ErrorBody, ErrorCode};
use plexus_sandbox::reach::{self, Platform};
use plexus_supervisor::{Spec, Supervisor};
use std::{collections::BTreeMap, sync::Arc};

pub(super) fn serve(served: Served) -> Served {
    served.with(show)
}

pub(crate) async fn show(desk: Arc<Desk>, _: Reading, call: Show) -> Result<Profile, Refused> {
    let id = &call.id;
    let source = known(&desk, id).ok_or_else(|| {
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
    let supervisor = desk.supervisor.clone();
    // The way to a program is on a disk that may be slow.
    let roles = blocking(move || {
        let roles = spec.offer.manifest.roles.iter();
        let roles = roles.map(|role| in_role(&supervisor, &spec, *role));
        roles.collect::<Result<Vec<_>, String>>()
    })
    .await?
    .map_err(cannot)?;
    let name = &connector.offer.manifest.connector;
    Ok(Profile {
        source: source.id.clone(),
        connector: name.clone(),
        profile: format!("sandbox-profiles/{name}.sb"),
        digest: connector.profile_digest,
        pinned: source.profile,
        text: connector.offer.profile.to_string(),
        unsandboxed: desk.unsandboxed.contains(&source.id).then_some(true),
        roles,
    })
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

/// What a worker of a role is for, for the owner.
pub(super) fn role(of: Role) -> WorkerRole {
    match of {
        Role::Reader => WorkerRole::Reader,
        Role::Writer => WorkerRole::Writer,
    }
}

fn in_role(supervisor: &Supervisor, spec: &Spec, of: Role) -> Result<RoleReach, String> {
    let parameters: BTreeMap<_, _> = supervisor.parameters(spec, of).into_iter().collect();
    let reach = reach::reach(&spec.offer.profile, &parameters, Platform::here());
    let reach = reach.map_err(|error| error.to_string())?;
    let actions = |of: Vec<reach::AllowedAction>| {
        let actions = of.into_iter().map(|action| AllowedAction {
            what: action.what,
            why: action.why,
            line: action.line,
        });
        actions.collect::<Vec<_>>()
    };
    let mut may_talk_to = actions(reach.may_talk_to);
    may_talk_to.extend(hosts(spec));
    Ok(RoleReach {
        role: role(of),
        parameters,
        may_read: actions(reach.may_read),
        may_write: actions(reach.may_write),
        may_run: actions(reach.may_run),
        may_talk_to,
        may_also: actions(reach.may_also),
        not_hidden: reach.not_hidden,
    })
}
