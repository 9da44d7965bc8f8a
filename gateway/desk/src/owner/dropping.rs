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
    boards::{Show, Task, TaskState},
    changes::{ApplyOutcome, DropSet},
};
use plexus_protocol::{ErrorBody, ErrorCode, SourceId, words::cut};
use std::sync::Arc;

pub(super) fn serve(served: Served) -> Served {
    served.with(drop_set)
}

/// Drops a change set: an act that only takes away.
async fn drop_set(
    desk: Arc<Desk>,
    narrowing: Narrowing,
    call: DropSet,
) -> Result<ApplyOutcome, Refused> {
    let failed = |error| changes::told(&desk, error, &call.id, "plexusctl changes".to_owned());
    let opened = changes::opened(&desk, Upkeep::Drop, &call.id, &call.source);
    let (capability, input) = opened.await?;
    let plan = own::plan(&desk, &capability, &input).await;
    let plan = plan.map_err(failed)?;
    not_on_board(&desk, &call.id).await?;
    let kernel = &desk.edge.kernel;
    let done = own::commit(kernel, &capability, input, plan.state_token, narrowing).await;
    let done = done.map_err(failed)?;
    Ok(changes::outcome(call.id, done))
}

/// Holds that no board under way has a task which left this change set. A source that does not answer may have one, and so
/// may one with a board that cannot be read.
async fn not_on_board(desk: &Arc<Desk>, set: &str) -> Result<(), Refused> {
    let listed = boards::listed(desk).await;
    let state = desk.ledger.snapshot();
    let serves = |source: &SourceId| {
        let known = state.sources.get(source);
        known.is_some_and(|known| known.config.enabled && !known.config.is_over())
    };
    for (source, why) in listed.unclear {
        // No run begins of a board whose source is disabled.
        if serves(&source) {
            return Err(cannot_tell(&source, &why));
        }
    }
    for row in listed.all.boards {
        if row.facts.state.needs_no_set() {
            continue;
        }
        let id = row.facts.id;
        let show = Show {
            id: id.clone(),
            source: Some(row.source.clone()),
        };
        let shown = boards::show(desk.clone(), Reading, show).await;
        let shown = shown.map_err(|_| cannot_tell(&row.source, &format!("its board {id}")))?;
        // No task begins with what a failed one left.
        let is_done = |task: &&Task| task.state == TaskState::Done;
        let mut tasks = shown.board.tasks.iter().filter(is_done);
        if tasks.any(|task| task.changes.as_deref() == Some(set)) {
            let id = cut(&id, 80);
            let why =
                format!("The board {id} is under way, and its further tasks may begin with it.");
            let error = ErrorBody::new(ErrorCode::PreconditionChanged, why);
            return Err(Refused::new(error.next(format!("plexusctl board {id}"))));
        }
    }
    Ok(())
}

/// A source says `why`, as long as it likes.
fn cannot_tell(source: &SourceId, why: &str) -> Refused {
    let why = cut(why, 300);
    let why = format!(
        "{source} does not say whether a board under way needs it: {why}. To drop it all the same, disable that source first (plexusctl sources disable {source})"
    );
    let error = ErrorBody::new(ErrorCode::SourceUnavailable, why);
    Refused::new(error.next("plexusctl board"))
}
