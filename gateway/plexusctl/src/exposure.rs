//! `plexusctl expose` and `plexusctl unexpose` (docs/protocol/owner.md#exposure).

use crate::owner::Desk;
use clap::Args;
use plexus_client::{Exit, Stop};
use plexus_owner::exposure::{Expose, List};
use plexus_protocol::{CapabilityId, ErrorCode};

/// Which capability.
#[derive(Args)]
pub(crate) struct CapabilityArgs {
    /// Capability
    capability: CapabilityId,
}

/// Exposes or hides it.
pub(crate) async fn run(desk: &Desk, which: CapabilityArgs, enabled: bool) -> Result<Exit, Stop> {
    let id = which.capability;
    let asked = Expose {
        id: id.to_string(),
        enabled,
    };
    desk.ask_for_person_by(&asked)?;
    let mut owner = desk.open().await?;
    // Hiding does not wait for a look.
    let is_there = match owner.call(&List {}).await {
        Ok(listed) => listed.capabilities.iter().any(|one| one.id == id),
        Err(_) => true,
    };
    if enabled && !is_there {
        let why = format!("unknown capability id(s): {id}");
        let refused = Stop::new(Exit::Failed, ErrorCode::UnknownCapability.as_str(), why);
        return Err(desk.meant(&[id], refused.next("plexusctl status")).await);
    }
    let reply = owner.call(&asked).await?;
    let said = match (enabled, is_there) {
        (true, _) => "agents can see it and ask for it",
        (false, true) => "hidden from all agents; its grants are suspended",
        (false, false) => "no source offers it now; should one, it is hidden from all agents",
    };
    desk.show(&reply, || format!("{id}: {said}"))
}
