//! Boards of tasks, as the owner sees them (ours).
//!
//! What a board holds is its source's to say: the sources that have boards are asked.

use crate::{acts::Named, desk::Desk};
use axum::{extract::State, response::Response};
use plexus_calls::own::{self, Upkeep};
use plexus_edge::reply::{Refused, ok};
use plexus_protocol::{ErrorBody, ErrorCode, SourceId};
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
    let mut why = format!("No source has a board {id:?}.");
    for source in sources(&desk) {
        let input = json!({"board": id});
        match own::ask::<Value>(&desk, &source, Upkeep::Boards, &input).await {
            Ok(answer) if answer["board"].is_object() => {
                let mut board = answer["board"].clone();
                board["source"] = json!(source);
                return Ok(ok(&json!({"board": board})));
            }
            Ok(_) => {}
            Err(error) => why = format!("{why} {source}: {}", error.message),
        }
    }
    let error = ErrorBody::new(ErrorCode::NotFound, why);
    Err(Refused::new(error.next("plexusctl board")))
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
