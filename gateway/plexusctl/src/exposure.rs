//! `plexusctl expose` and `plexusctl unexpose` (docs/protocol/owner.md#exposure).

use crate::owner::Desk;
use clap::Args;
use plexus_client::{Exit, Stop};
use plexus_owner::exposure::Expose;
use plexus_protocol::CapabilityId;

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
    let reply = desk.open().await?.call(&asked).await?;
    let said = if enabled {
        "agents can see it and ask for it"
    } else {
        "hidden from all agents; its grants are suspended"
    };
    desk.show(&reply, || format!("{id}: {said}"))
}
