//! Boards of tasks, as the owner sees them (ours).
//!
//! What a board holds is its source's to say: the sources that have boards are asked.

use super::{Narrowing, calls, of_source};
use crate::{acts::Named, desk::Desk};
use axum::{
    extract::{Query, State},
    http::Uri,
    response::Response,
};
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
            Ok(answer) => {
                for (list, of) in [(&mut boards, "boards"), (&mut unread, "unread")] {
                    let all = answer[of].as_array().into_iter().flatten();
                    list.extend(all.filter_map(|item| of_source(item, &source)));
                }
            }
            Err(error) => unread.push(json!({"source": source, "why": error.message})),
        }
    }
    Ok(ok(&json!({"boards": boards, "unread": unread})))
}

/// One board with its tasks.
pub(super) async fn show(
    State(desk): State<Arc<Desk>>,
    uri: Uri,
    Named(id): Named,
) -> Result<Response, Refused> {
    let (source, board) = found(&desk, &id, named(&uri)?.as_ref()).await?;
    Ok(ok(&json!({"board": of_source(&board, &source)})))
}

/// Which source is asked; every one that has boards where the request names none.
fn named(uri: &Uri) -> Result<Option<SourceId>, Refused> {
    #[derive(serde::Deserialize)]
    struct Of {
        source: Option<SourceId>,
    }
    let of = Query::<Of>::try_from_uri(uri);
    of.map(|of| of.0.source)
        .map_err(|_| Refused::malformed("`source` is no id of a source"))
}

/// A board, and the source that has it. An id says nothing of its source: where two sources answer for one, the owner names
/// the source.
async fn found(desk: &Desk, id: &str, of: Option<&SourceId>) -> Result<(SourceId, Value), Refused> {
    let mut why = match of {
        None => format!("No source has a board {id:?}."),
        Some(source) => format!("{source} has no board {id:?}."),
    };
    let mut boards = Vec::new();
    let asked = sources(desk).into_iter();
    for source in asked.filter(|source| of.is_none_or(|of| of == source)) {
        let input = json!({"board": id});
        match own::ask::<Value>(desk, &source, Upkeep::Boards, &input).await {
            Ok(answer) if answer["board"].is_object() => {
                boards.push((source, answer["board"].clone()));
            }
            Ok(_) => {}
            Err(error) => why = format!("{why} {source}: {}", error.message),
        }
    }
    let names: Vec<String> = boards
        .iter()
        .map(|(source, _)| source.to_string())
        .collect();
    match (boards.pop(), boards.is_empty()) {
        (Some(board), true) => Ok(board),
        (None, _) => {
            let error = ErrorBody::new(ErrorCode::NotFound, why);
            Err(Refused::new(error.next("plexusctl board")))
        }
        (Some(_), false) => {
            let why = format!(
                "{} have a board {id:?}: name one of them",
                names.join(" and ")
            );
            let error = ErrorBody::new(ErrorCode::Malformed, why);
            Err(Refused::new(error.next(format!(
                "plexusctl board {id} --source {}",
                names[0]
            ))))
        }
    }
}

/// Ends the approval that carries a board, and cancels its runs.
pub(super) async fn stop(
    State(desk): State<Arc<Desk>>,
    uri: Uri,
    narrowing: Narrowing,
    Named(id): Named,
) -> Result<Response, Refused> {
    let (source, board) = found(&desk, &id, named(&uri)?.as_ref()).await?;
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
