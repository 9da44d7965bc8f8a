//! `plexusctl pause` and `plexusctl resume`: everything stops at once, and goes on.

use crate::{
    grants::sent_before,
    owner::{Desk, Owner},
};
use plexus_client::{Exit, Stop, out};
use plexus_owner::{pause::Pause, status};
use std::time::Duration;

/// How long a pause is asked for beside something else.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is said of a paused gateway wherever its owner looks.
pub(crate) const PAUSED: &str = "PAUSED: no agent is served until: plexusctl resume";

/// Whether agents are paused, as far as that is heard within `PATIENCE`: what is not known is not said.
pub(crate) async fn is_on(owner: &mut Owner) -> bool {
    let asked = owner.call(&status::Show {});
    let answered = tokio::time::timeout(PATIENCE, asked).await;
    answered.is_ok_and(|status| status.is_ok_and(|status| status.paused))
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
