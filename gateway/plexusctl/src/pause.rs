//! `plexusctl pause` and `plexusctl resume`: everything stops at once, and goes on.

use crate::{grants::sent_before, owner::Desk};
use plexus_client::{Exit, Stop};
use plexus_owner::pause::Pause;

/// What is said of a paused gateway wherever its owner looks.
pub(crate) const PAUSED: &str = "PAUSED: no agent is served until: plexusctl resume";

/// Pauses, or ends the pause.
pub(crate) async fn run(desk: &Desk, on: bool) -> Result<Exit, Stop> {
    let pause = Pause { on };
    desk.ask_for_person_by(&pause)?;
    let reply = desk.open().await?.call(&pause).await?;
    desk.show(&reply, || match on {
        true => format!(
            "no agent is served until: plexusctl resume{}",
            sent_before(&reply.cancelled, &reply.in_flight)
        ),
        false => "agents are served again".to_owned(),
    })
}
