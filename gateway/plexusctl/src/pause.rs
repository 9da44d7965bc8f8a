//! `plexusctl pause` and `plexusctl resume`: everything stops at once, and goes on.

use crate::{
    grants::sent_before,
    owner::{Desk, Owner},
};
use plexus_client::{Exit, Stop, out};
use plexus_owner::{pause::Pause, status};
use std::time::Duration;

/// How long something is asked for that only adds words.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// What is said of a paused gateway wherever its owner looks.
pub(crate) const PAUSED: &str = "PAUSED: no agent is served until: plexusctl resume";

/// Whether agents are paused; none where that is not heard within [`PATIENCE`].
pub(crate) async fn look(owner: &mut Owner) -> Option<bool> {
    let asked = owner.call(&status::Show {});
    let status = tokio::time::timeout(PATIENCE, asked).await.ok()?.ok()?;
    Some(status.paused)
}

/// The same: what is not known is not said.
pub(crate) async fn is_on(owner: &mut Owner) -> bool {
    look(owner).await.unwrap_or(false)
}

/// Says below a card that what it promises waits for the end of a pause.
pub(crate) async fn tell(owner: &mut Owner) {
    if is_on(owner).await {
        out::say(PAUSED);
    }
}

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
