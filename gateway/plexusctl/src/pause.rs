//! `plexusctl pause` and `plexusctl resume`: everything stops at once, and goes on.

use crate::{
    ended::sent_before,
    owner::{Desk, Owner},
};
use plexus_client::{Exit, Stop, out};
use plexus_owner::{
    pause::{Pause, Paused},
    status,
};
use std::time::Duration;

/// How long something is asked for that only adds words.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// What is said of a paused gateway wherever its owner looks.
pub(crate) const PAUSED: &str = "PAUSED: no agent is served until: plexusctl resume";

/// An answer within [`PATIENCE`]; none where it is an error or late.
pub(crate) async fn heard<T>(asked: impl Future<Output = Result<T, Stop>>) -> Option<T> {
    tokio::time::timeout(PATIENCE, asked).await.ok()?.ok()
}

/// Whether agents are paused; none where that is not heard.
pub(crate) async fn look(owner: &mut Owner) -> Option<bool> {
    Some(heard(owner.call(&status::Show {})).await?.paused)
}

/// The same: what is not known is not said.
pub(crate) async fn is_on(owner: &mut Owner) -> bool {
    look(owner).await.unwrap_or(false)
}

/// Says below a card that agents are paused.
pub(crate) fn tell(is_paused: bool) {
    if is_paused {
        out::say(PAUSED);
    }
}

/// Pauses, or ends the pause.
pub(crate) async fn run(desk: &Desk, on: bool) -> Result<Exit, Stop> {
    let pause = Pause { on };
    desk.ask_for_person_by(&pause)?;
    let reply = desk.open().await?.call(&pause).await?;
    desk.show(&reply, || as_text(&reply))
}

fn as_text(reply: &Paused) -> String {
    let sent = sent_before(&reply.cancelled, &reply.in_flight);
    match (reply.paused, reply.changed) {
        (true, true) => format!("no agent is served until: plexusctl resume{sent}"),
        (true, false) => format!("agents are paused already, until: plexusctl resume{sent}"),
        (false, true) => "agents are served again".to_owned(),
        (false, false) => "agents were not paused".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_owner::Done;

    #[test]
    fn act_that_changes_nothing_says_so() {
        let said = |paused, changed| {
            as_text(&Paused {
                ok: Done,
                paused,
                changed,
                audit_id: String::new(),
                in_flight: Vec::new(),
                cancelled: Vec::new(),
            })
        };
        let resume = "plexusctl resume";
        assert_eq!(
            said(true, true),
            format!("no agent is served until: {resume}")
        );
        let already = format!("agents are paused already, until: {resume}");
        assert_eq!(said(true, false), already);
        assert_eq!(said(false, true), "agents are served again");
        assert_eq!(said(false, false), "agents were not paused");
    }
}
