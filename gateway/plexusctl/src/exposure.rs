//! `plexusctl expose` and `plexusctl unexpose` (docs/protocol/owner.md#exposure).

use crate::{
    owner::{Desk, did_you_mean, each},
    pause::heard,
};
use clap::Args;
use plexus_client::{Exit, Stop};
use plexus_owner::exposure::{Expose, List};
use plexus_protocol::{CapabilityId, ErrorCode};

/// Which capabilities.
#[derive(Args)]
pub(crate) struct CapabilityArgs {
    /// Capabilities
    #[arg(required = true, value_name = "CAPABILITY", value_delimiter = ',')]
    capabilities: Vec<CapabilityId>,
}

/// Exposes or hides them.
pub(crate) async fn run(desk: &Desk, which: CapabilityArgs, enabled: bool) -> Result<Exit, Stop> {
    each(which.capabilities, async |id| set(desk, id, enabled).await).await
}

async fn set(desk: &Desk, id: CapabilityId, enabled: bool) -> Result<Exit, Stop> {
    let asked = Expose {
        id: id.to_string(),
        enabled,
    };
    desk.ask_for_person_by(&asked)?;
    let mut owner = desk.open().await?;
    // Without a list it is tried: hiding above all, which waits no longer than this for one.
    let asked_for_list = owner.call(&List {});
    let listed = match enabled {
        true => asked_for_list.await.ok(),
        false => heard(asked_for_list).await,
    };
    let all = listed.as_ref().map(|listed| &*listed.capabilities);
    let is_there = all.map(|all| all.iter().any(|one| one.id == id));
    let all = all.unwrap_or_default();
    let meant = did_you_mean(std::slice::from_ref(&id), all);
    if enabled && is_there == Some(false) {
        let why = format!("no source offers {id}{meant}");
        let refused = Stop::new(Exit::Failed, ErrorCode::UnknownCapability.as_str(), why);
        return Err(refused.next("plexusctl status"));
    }
    let reply = owner.call(&asked).await?;
    let said = match (enabled, is_there) {
        (true, _) => "agents can see it and ask for it".to_owned(),
        (false, Some(true)) => "hidden from all agents; its grants are suspended".to_owned(),
        (false, None) => "hidden from all agents, should a source offer it; whether one does was not heard: plexusctl status".to_owned(),
        (false, Some(false)) => {
            format!("no source offers it now; should one, it is hidden from all agents{meant}")
        }
    };
    desk.show(&reply, || format!("{id}: {said}"))
}
