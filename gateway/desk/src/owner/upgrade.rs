//! `POST /admin/api/upgrade`, on the owner's socket alone: change over to the program that lies in this one's place.
//!
//! Invariant: the request names no program. The answer is given by the old one, before it gives anything up; the next
//! request is answered by the new one.

use super::Acting;
use crate::{
    acts::{blocking, record},
    desk::Desk,
    table::Served,
    upgrade::{Build, UpgradeError, own_build},
};
use plexus_edge::reply::Refused;
use plexus_home::network::Network;
use plexus_owner::{
    Done,
    upgrade::{BeginChange, PlannedChange},
};
use plexus_protocol::{ErrorBody, ErrorCode};
use serde_json::json;
use std::sync::Arc;

pub(super) fn serve(served: Served) -> Served {
    served.with(change_over)
}

async fn change_over(
    desk: Arc<Desk>,
    acting: Acting,
    call: BeginChange,
) -> Result<PlannedChange, Refused> {
    let only_look = call.check;
    let one = desk.upgrades.begin().ok_or_else(|| {
        let error = ErrorBody::new(
            ErrorCode::Busy,
            "The gateway is at changing over to another build already.",
        );
        Refused::new(
            error
                .with("retryAfterMs", 1_000)
                .next("look at what came of it: plexusctl status"),
        )
    })?;
    let own = desk.clone();
    let looked = blocking(move || {
        let candidate = own.upgrades.inspect()?;
        match in_its_way(&own) {
            None => Ok(candidate),
            Some(why) => Err(UpgradeError::Refused(format!(
                "the next launch would not start here: {why}"
            ))),
        }
    })
    .await?;
    let from = own_build();
    let told = |to: &Build, same: bool, changed: bool| PlannedChange {
        ok: Done,
        changed,
        same,
        launch: desk.launch,
        from: from.clone(),
        to: to.clone(),
    };
    let candidate = match looked {
        Ok(candidate) => candidate,
        Err(UpgradeError::Same) => return Ok(told(&from, true, false)),
        Err(UpgradeError::Refused(why)) => {
            tracing::warn!(name: "daemon.upgrade_refused", error = why, "an upgrade was refused");
            if !only_look {
                record(
                    &desk,
                    &acting,
                    json!({"event": "upgrade.refused", "from": from, "why": why}),
                )
                .await?;
            }
            let error = ErrorBody::new(ErrorCode::UpgradeRefused, why);
            return Err(Refused::new(error.next(
                "nothing was changed and the gateway serves on: install all programs of a later build together, then \
                 plexusctl upgrade; to go back to an older one, see \"Downgrade\" in docs/install-and-upgrade.md",
            )));
        }
    };
    let to = candidate.to.clone();
    if only_look {
        return Ok(told(&to, false, false));
    }
    record(
        &desk,
        &acting,
        json!({"event": "upgrade.begin", "from": from, "to": to}),
    )
    .await?;
    (candidate.begin)(one);
    Ok(told(&to, false, true))
}

/// What would keep any next launch from serving, and only this one can tell: it knows which addresses it hands over.
fn in_its_way(desk: &Desk) -> Option<String> {
    // One that cannot be read was said by the new program.
    let wanted = Network::load(&desk.state_dir, None).ok()?;
    wanted.cannot_be_had(desk.address.network())
}
