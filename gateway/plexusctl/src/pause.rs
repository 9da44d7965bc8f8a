//! `plexusctl pause` and `plexusctl resume`: everything stops at once, and goes on.

use crate::{calls, grants::not_stopped, owner::Desk};
use plexus_client::{Exit, Stop};
use plexus_owner::pause::{Pause, Paused};
use plexus_protocol::AuditId;

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
            under_way(&reply)
        ),
        false => "agents are served again".to_owned(),
    })
}

/// The calls that a pause cancels, and those that it came too late for.
fn under_way(paused: &Paused) -> String {
    let said = calls::cancelled(&paused.cancelled);
    let said = said.map_or_else(String::new, |cancelled| format!("\n{cancelled}"));
    let is_cancelled = |id: &AuditId| {
        let mut calls = paused.cancelled.iter();
        calls.any(|call| call.audit_id.as_ref() == Some(id))
    };
    let flying = paused.in_flight.iter().filter(|id| !is_cancelled(id));
    said + &not_stopped(&flying.collect::<Vec<_>>())
}
