//! Boards of tasks, as the owner sees them (ours).
//!
//! What a board holds is its source's to say: the sources that have boards are asked.

use super::{calls, of_source};
use crate::{
    acting::Narrowing,
    desk::Desk,
    table::{Reading, Served},
};
use plexus_calls::{
    children,
    own::{self, Upkeep},
};
use plexus_edge::reply::Refused;
use plexus_owner::{
    boards::{Board, BoardRow, BoardState, Boards, List, Show, ShownBoard, Stop, Unread},
    calls::EndedConversation,
};
use plexus_protocol::{ErrorBody, ErrorCode, SourceId};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) fn serve(served: Served) -> Served {
    served.with(list).with(show).with(stop)
}

/// What a source answers of its boards.
#[derive(Default, Deserialize)]
struct Answer {
    #[serde(default)]
    boards: Vec<Value>,
    #[serde(default)]
    unread: Vec<Value>,
    board: Option<Value>,
}

/// All boards of all sources, in short.
pub(crate) async fn list(desk: Arc<Desk>, _: Reading, _: List) -> Result<Boards, Refused> {
    Ok(listed(&desk).await.all)
}

/// All boards, and which sources may carry one that is not among them.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) all: Boards,
    /// Each such source, and why: it did not answer, or a board of it cannot be read. One that its source cannot read may be
    /// under way again once its file can be.
    pub(super) unclear: Vec<(SourceId, String)>,
}

/// All boards of all sources, in short.
pub(super) async fn listed(desk: &Desk) -> Listed {
    let mut listed = Listed::default();
    for source in sources(desk) {
        match own::ask::<Answer>(desk, &source, Upkeep::Boards, &json!({})).await {
            Ok(answer) => listed.add(&answer, &source),
            Err(error) => listed.cannot_read(Unread::Source {
                source,
                why: error.message,
            }),
        }
    }
    listed
}

impl Listed {
    fn add(&mut self, answer: &Answer, source: &SourceId) {
        for item in &answer.unread {
            let unread = of_source::<Unread>(item, source);
            self.cannot_read(unread.unwrap_or_else(|error| Unread::Source {
                source: source.clone(),
                why: no_board(&error),
            }));
        }
        for item in &answer.boards {
            match of_source::<BoardRow>(item, source) {
                Ok(board) => self.all.boards.push(board),
                // It costs itself, never the list.
                Err(error) => {
                    let id = item.get("id").and_then(Value::as_str);
                    let unread = Unread::Board {
                        board: id.unwrap_or("a board").to_owned(),
                        why: no_board(&error),
                        source: source.clone(),
                    };
                    let state = item.get("state");
                    let state = state.and_then(|state| BoardState::deserialize(state).ok());
                    match state.is_some_and(BoardState::needs_no_set) {
                        true => self.all.unread.push(unread),
                        false => self.cannot_read(unread),
                    }
                }
            }
        }
    }

    fn cannot_read(&mut self, unread: Unread) {
        self.unclear.push(match &unread {
            Unread::Board { board, why, source } => (
                source.clone(),
                format!(
                    "its board {board} cannot be read, until you repair or remove its file: {why}"
                ),
            ),
            Unread::Source { source, why } => (source.clone(), why.clone()),
        });
        self.all.unread.push(unread);
    }
}

/// One board with its tasks.
pub(crate) async fn show(desk: Arc<Desk>, _: Reading, call: Show) -> Result<ShownBoard, Refused> {
    let board = found(&desk, &call.id, call.source.as_ref()).await?;
    Ok(ShownBoard { board })
}

/// Why a board of a source is not shown.
fn no_board(why: &serde_json::Error) -> String {
    format!("the source answered what is no board: {why}")
}

/// A board. An id says nothing of its source: where two sources answer for one, the owner names the source.
async fn found(desk: &Desk, id: &str, of: Option<&SourceId>) -> Result<Board, Refused> {
    let mut why = match of {
        None => format!("No source has a board {id:?}."),
        Some(source) => format!("{source} has no board {id:?}."),
    };
    let mut boards = Vec::new();
    let asked = sources(desk).into_iter();
    for source in asked.filter(|source| of.is_none_or(|of| of == source)) {
        let input = json!({"board": id});
        let answer = own::ask::<Answer>(desk, &source, Upkeep::Boards, &input).await;
        let board = match answer {
            Ok(Answer { board: None, .. }) => continue,
            Ok(Answer {
                board: Some(board), ..
            }) => of_source::<Board>(&board, &source).map_err(|error| no_board(&error)),
            // Its input is the id alone: no board of this source has such a one.
            Err(error) if error.code == ErrorCode::SchemaValidationFailed => continue,
            Err(error) => Err(error.message.clone()),
        };
        match board {
            Ok(board) if board.facts.id == id => boards.push(board),
            Ok(_) => why = format!("{why} {source} answered another one."),
            Err(error) => why = format!("{why} {source}: {error}"),
        }
    }
    let names: Vec<String> = boards
        .iter()
        .map(|board| board.source.to_string())
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
async fn stop(
    desk: Arc<Desk>,
    narrowing: Narrowing,
    call: Stop,
) -> Result<EndedConversation, Refused> {
    let id = &call.id;
    let board = found(&desk, id, call.source.as_ref()).await?;
    let approval = board.approval.as_ref();
    let item = approval.and_then(|approval| children::item_of(&desk, &board.source, approval));
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Where nobody can read a board, it may be under way; one that says that it is not is none of these.
    #[test]
    fn board_that_cannot_be_read_is_unclear() {
        let row = |id: &str, state: &str| json!({"id": id, "goal": "g", "made": "2026-01-02T03:04:05Z", "state": state, "changeSets": "each", "counts": {}});
        let mut over = row("over", "done");
        over["counts"] = json!({"resting": 1});
        let answer = json!({
            "boards": [row("known", "under-way"), row("newer", "paused"), over],
            "unread": [{"board": "cut", "why": "damaged"}, {"id": "later", "why": "another form"}, 7],
        });
        let source = SourceId::parse("cc-master").unwrap();
        let mut listed = Listed::default();
        listed.add(&serde_json::from_value(answer).unwrap(), &source);
        let boards = listed.all.boards.iter().map(|row| row.facts.id.as_str());
        assert_eq!(boards.collect::<Vec<_>>(), ["known"]);
        assert_eq!(listed.all.unread.len(), 5);
        let unclear = listed.unclear.iter().map(|(of, why)| {
            assert_eq!(*of, source);
            why.as_str()
        });
        let unclear: Vec<_> = unclear.collect();
        let begin = [
            "its board cut cannot be read, until you repair or remove its file: damaged",
            "another form",
            "the source",
            "its board newer cannot be read, ",
        ];
        assert_eq!(unclear.len(), begin.len(), "{unclear:?}");
        for (why, begin) in unclear.iter().zip(begin) {
            assert!(why.starts_with(begin), "{unclear:?}");
        }
    }
}
