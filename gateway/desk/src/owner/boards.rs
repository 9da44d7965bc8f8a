//! Boards of tasks, as the owner sees them (ours).
//!
//! What a board holds is its source's to say: the sources that have boards are asked.

use super::{Narrowing, calls};
use crate::{acts::Named, desk::Desk};
use axum::{extract::State, response::Response};
use plexus_calls::{
    children,
    own::{self, Upkeep},
};
use plexus_edge::reply::{Refused, ok};
use plexus_protocol::{Digest, ErrorBody, ErrorCode, SourceId};
use serde_json::{Value, json};
use std::sync::Arc;

/// All boards of all sources, in short.
pub(super) async fn list(State(desk): State<Arc<Desk>>) -> Result<Response, Refused> {
    let mut boards = Vec::new();
    let mut unread = Vec::new();
    for source in sources(&desk) {
        match own::ask::<Value>(&desk, &source, Upkeep::Boards, &json!({})).await {
            Ok(mut answer) => {
                for mut board in answer["boards"]
                    .as_array_mut()
                    .map(std::mem::take)
                    .into_iter()
                    .flatten()
                {
                    board["source"] = json!(source);
                    boards.push(board);
                }
                for damaged in answer["unread"].as_array().into_iter().flatten() {
                    let mut damaged = damaged.clone();
                    damaged["source"] = json!(source);
                    unread.push(damaged);
                }
            }
            Err(error) => unread.push(json!({"source": source, "why": error.message})),
        }
    }
    Ok(ok(&json!({"boards": boards, "unread": unread})))
}

/// One board with its tasks, whichever source has it.
pub(super) async fn show(
    State(desk): State<Arc<Desk>>,
    Named(id): Named,
) -> Result<Response, Refused> {
    let (source, mut board) = found(&desk, &id).await?;
    board["source"] = json!(source);
    Ok(ok(&json!({"board": board})))
}

/// A board, and the source that has it.
async fn found(desk: &Desk, id: &str) -> Result<(SourceId, Value), Refused> {
    let mut why = format!("No source has a board {id:?}.");
    for source in sources(desk) {
        let input = json!({"board": id});
        match own::ask::<Value>(desk, &source, Upkeep::Boards, &input).await {
            Ok(mut answer) if answer["board"].is_object() => {
                return Ok((source, answer["board"].take()));
            }
            Ok(_) => {}
            Err(error) => why = format!("{why} {source}: {}", error.message),
        }
    }
    let error = ErrorBody::new(ErrorCode::NotFound, why);
    Err(Refused::new(error.next("plexusctl board")))
}

/// Ends the approval that carries a board, and cancels its runs.
pub(super) async fn stop(
    State(desk): State<Arc<Desk>>,
    narrowing: Narrowing,
    Named(id): Named,
) -> Result<Response, Refused> {
    let (source, board) = found(&desk, &id).await?;
    let approval: Option<Digest> = serde_json::from_value(board["approval"].clone()).ok();
    let item = approval.and_then(|approval| children::item_of(&desk, &source, &approval));
    let item = item
        .filter(|item| calls::may_end(&desk, item))
        .ok_or_else(|| {
            let error = ErrorBody::new(
                ErrorCode::NotFound,
                format!("Nothing carries the board {id} now."),
            );
            Refused::new(error.next(format!("plexusctl board {id}")))
        })?;
    calls::end(&desk, &narrowing, item).await
}

/// The sources that have boards.
fn sources(desk: &Desk) -> Vec<SourceId> {
    let state = desk.ledger.snapshot();
    let registry = &desk.edge.kernel.registry;
    let has_boards = |source: &&Arc<plexus_trust::Source>| {
        let connector = registry.of_source(&source.config);
        connector.is_some_and(|connector| connector.offer.manifest.boards.is_some())
    };
    let sources = state.sources.values().filter(has_boards);
    sources.map(|source| source.id.clone()).collect()
}
