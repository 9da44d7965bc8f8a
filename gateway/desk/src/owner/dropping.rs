//! A change set that the owner drops (ours). Whether somebody needs it is its source's to say, and that of boards.

use super::{boards, changes};
use crate::{
    acting::Narrowing,
    desk::Desk,
    table::{Reading, Served},
};
use plexus_calls::own::{self, Upkeep};
use plexus_edge::reply::Refused;
use plexus_owner::{
    boards::{BoardState, List, Show},
    changes::{ApplyOutcome, DropSet},
};
use plexus_protocol::{ErrorBody, ErrorCode};
use std::sync::Arc;

pub(super) fn serve(served: Served) -> Served {
    served.with(discard)
}

/// Drops a change set: an act that only takes away.
async fn discard(
    desk: Arc<Desk>,
    narrowing: Narrowing,
    call: DropSet,
) -> Result<ApplyOutcome, Refused> {
    let failed = |error| changes::told(&desk, error, &call.id);
    let opened = changes::opened(&desk, Upkeep::Drop, &call.id, &call.source);
    let (capability, input) = opened.await?;
    let plan = own::plan(&desk, &capability, &input).await;
    let plan = plan.map_err(failed)?;
    if let Some(board) = board_with(&desk, &call.id).await {
        let why =
            format!("The board {board} is under way, and its further tasks may begin with it.");
        let error = ErrorBody::new(ErrorCode::PreconditionChanged, why);
        return Err(Refused::new(error.next(format!("plexusctl board {board}"))));
    }
    let kernel = &desk.edge.kernel;
    let done = own::commit(kernel, &capability, input, plan.state_token, narrowing).await;
    let done = done.map_err(failed)?;
    Ok(changes::outcome(call.id, done))
}

/// The board under way that has a task which left this change set.
async fn board_with(desk: &Arc<Desk>, set: &str) -> Option<String> {
    let all = boards::list(desk.clone(), Reading, List {}).await.ok()?;
    for row in all.boards {
        let state = row.facts.state;
        if state == BoardState::New || state.is_over() {
            continue;
        }
        let id = row.facts.id;
        let show = Show {
            id: id.clone(),
            source: Some(row.source),
        };
        // One that cannot be read now holds up none: a run of it says what it misses.
        let Ok(shown) = boards::show(desk.clone(), Reading, show).await else {
            continue;
        };
        let mut tasks = shown.board.tasks.iter();
        if tasks.any(|task| task.changes.as_deref() == Some(set)) {
            return Some(id);
        }
    }
    None
}
