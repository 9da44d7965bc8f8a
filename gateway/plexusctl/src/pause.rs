//! `plexusctl pause` and `plexusctl resume`: everything stops at once, and goes on.

use crate::owner::{Desk, list_of};
use plexus_client::{Exit, Stop, text};
use serde_json::{Value, json};

/// What is said of a paused gateway wherever its owner looks.
pub(crate) const PAUSED: &str = "PAUSED: no agent is served until: plexusctl resume";

/// Pauses, or ends the pause.
pub(crate) async fn run(desk: &Desk, on: bool) -> Result<Exit, Stop> {
    if !on {
        desk.widen("ending the pause")?;
    }
    let reply = desk
        .open()
        .await?
        .post("/admin/api/pause", &json!({"on": on}))
        .await?;
    desk.show(&reply, || as_text(&reply, on))
}

fn as_text(reply: &Value, on: bool) -> String {
    if !on {
        return "agents are served again".to_owned();
    }
    let flying: Vec<_> = list_of(reply, "inFlight")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let mut said = "no agent is served until: plexusctl resume".to_owned();
    if !flying.is_empty() {
        said.push_str(&format!(
            "\nalready sent before this, and not stopped: {}",
            text::line(&flying.join(", "))
        ));
    }
    said
}
