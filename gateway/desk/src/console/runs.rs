//! What is under way, as pages: calls with what they say, conversations that take more, and boards with their tasks as
//! a graph.
//!
//! Invariant: what a run says and what a board is called is text of others.

use super::{
    card::Moment,
    change_sets,
    foreign::ForeignText,
    links::{Begin, Stretch},
    shell,
};
use crate::{
    acts::Named,
    desk::Desk,
    owner::{activity, boards, calls},
    table::Reading,
};
use askama::Template;
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_edge::reply::{Refused, query};
use plexus_owner::{
    boards::{Board, BoardFacts, BoardState, Show, Stop, Task, TaskState, Unread},
    calls::{CallKind, Look},
};
use plexus_protocol::{SourceId, Timestamp, body::ProgressChunk, streamed};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

/// Calls and boards that the list has.
const LISTED: usize = 50;
/// What is shown of a run, in bytes as HTML: its end.
const SAID: usize = 40 * 1024;
/// Lines of the drawing of a board.
const EDGES: usize = 400;

#[derive(Template)]
#[template(path = "runs.html")]
struct Page {
    calls: Vec<CallRow>,
    more: usize,
    open: Vec<OpenRow>,
    boards: Vec<BoardRow>,
    more_boards: usize,
    away: Vec<(ForeignText, ForeignText)>,
}

struct CallRow {
    id: String,
    /// What names it on its page: its run, which is kept when it is over, or its event.
    link: String,
    agent: ForeignText,
    capability: ForeignText,
    changes: bool,
    began: Moment,
    says: Option<ForeignText>,
    cancelled: bool,
}

struct OpenRow {
    item: String,
    agent: ForeignText,
    capability: ForeignText,
    left: u32,
    /// Child calls are left, and not turns.
    runs: bool,
}

struct BoardRow {
    link: String,
    goal: ForeignText,
    made: Moment,
    state: &'static str,
    counts: String,
}

/// What is under way.
pub(super) async fn page(State(desk): State<Arc<Desk>>) -> Result<Response, Refused> {
    let now = desk.clock.now();
    let under_way = calls::list(desk.clone(), Reading, plexus_owner::calls::List {}).await?;
    let listed = boards::list(desk.clone(), Reading, plexus_owner::boards::List {}).await?;
    shell::rendered(&desk, move || {
        let all = under_way.calls.len();
        let shown = under_way.calls.iter().take(LISTED);
        Page {
            more: all.saturating_sub(LISTED),
            calls: shown
                .map(|call| CallRow {
                    id: call.id.clone(),
                    link: match (&call.run_id, &call.audit_id) {
                        (Some(run), _) => run.to_string(),
                        (None, Some(intent)) => intent.to_string(),
                        (None, None) => call.id.clone(),
                    },
                    agent: ForeignText::short(
                        call.agent_id.as_ref().map_or("you", |id| id.as_str()),
                        60,
                    ),
                    capability: ForeignText::short(call.capability_id.as_str(), 120),
                    changes: call.kind == CallKind::Effect,
                    began: Moment::ago(call.started_at, now),
                    says: call
                        .says
                        .as_deref()
                        .map(|said| ForeignText::short_words(said, 200)),
                    cancelled: call.cancelled,
                })
                .collect(),
            open: under_way
                .conversations
                .iter()
                .map(|open| OpenRow {
                    item: open.pending_id.to_string(),
                    agent: ForeignText::short(open.agent_id.as_str(), 60),
                    capability: ForeignText::short(open.capability_id.as_str(), 120),
                    left: open.turns_left,
                    runs: open.children.is_some(),
                })
                .collect(),
            more_boards: listed.boards.len().saturating_sub(LISTED),
            boards: listed
                .boards
                .iter()
                .take(LISTED)
                .map(|row| BoardRow {
                    link: board_link(&row.facts.id, &row.source),
                    goal: ForeignText::short_words(&row.facts.goal, 160),
                    made: Moment::ago(row.facts.made, now),
                    state: board_state(row.facts.state),
                    counts: counts(&row.facts),
                })
                .collect(),
            away: listed
                .unread
                .iter()
                .map(|unread| match unread {
                    Unread::Board { board, why, .. } => (board.as_str(), why),
                    Unread::Source { source, why } => (source.as_str(), why),
                })
                .map(|(what, why)| (ForeignText::short(what, 80), ForeignText::short(why, 300)))
                .collect(),
        }
        .render()
    })
    .await
}

/// The page of a board, whose id is its source's to choose.
fn board_link(id: &str, source: &SourceId) -> String {
    let show = Show {
        id: id.to_owned(),
        source: Some(source.clone()),
    };
    format!("/admin{}", plexus_owner::write(&show).path)
}

const fn board_state(state: BoardState) -> &'static str {
    match state {
        BoardState::New => "not begun",
        BoardState::UnderWay => "under way",
        BoardState::Suspended => "waits until agents are served again",
        BoardState::Stopping => "stopping",
        BoardState::Done => "done",
        BoardState::Unfinished => "over, with tasks left",
    }
}

fn counts(facts: &BoardFacts) -> String {
    let each = facts.counts.iter().filter(|(_, count)| **count > 0);
    let each: Vec<_> = each
        .map(|(state, count)| format!("{count} {}", state.as_str()))
        .collect();
    each.join(", ")
}

#[derive(Template)]
#[template(path = "run.html")]
struct RunPage {
    id: String,
    capability: ForeignText,
    /// Whose it is, and since when, while it is under way.
    whose: Option<(ForeignText, Moment)>,
}

#[derive(Template)]
#[template(path = "said.html")]
struct SpokenText {
    id: String,
    over: bool,
    /// It was asked to end, and has not yet.
    stops: bool,
    /// Nobody knows whether it happened: its call.
    unknown: Option<String>,
    error: Option<ForeignText>,
    /// The beginning is not shown, or no longer kept.
    cut: bool,
    text: ForeignText,
}

/// A call that is under way, or a run that is over.
pub(super) async fn show(
    State(desk): State<Arc<Desk>>,
    Named(id): Named,
) -> Result<Response, Refused> {
    let look = Look {
        id: id.clone(),
        after: u64::MAX,
        wait: 0,
    };
    let (said, _) = calls::said_of(&desk, look, false).await?;
    let call = desk.under_way.named(&id);
    let now = desk.clock.now();
    let page = RunPage {
        capability: ForeignText::short(&said.capability_id, 120),
        whose: call.as_ref().map(|call| {
            let agent = call.principal.agent().map_or("you", |id| id.as_str());
            (
                ForeignText::short(agent, 60),
                Moment::ago(call.started, now),
            )
        }),
        // By its run it is found when it is over too.
        id: call
            .and_then(|call| call.run.clone())
            .map_or(id, |run| run.to_string()),
    };
    shell::made(&desk, page.render())
}

/// What it has said.
pub(super) async fn said(
    State(desk): State<Arc<Desk>>,
    Named(id): Named,
) -> Result<Response, Refused> {
    let look = Look {
        id: id.clone(),
        after: 0,
        wait: 0,
    };
    let (said, event) = calls::said_of(&desk, look, false).await?;
    let of = desk.clone();
    shell::rendered(&desk, move || {
        let call = event.and_then(|event| activity::named(&of, &event));
        let unknown = call.filter(|call| call.unsettled == Some(true));
        let under_way = of.under_way.named(&id);
        let mut text = String::new();
        for chunk in said.progress.chunks {
            match chunk {
                ProgressChunk::Text(part) => text.push_str(&part),
                ProgressChunk::Json(event) => {
                    let event: Value = serde_json::from_str(event.get()).unwrap_or_default();
                    if let Some(words) = streamed::words(&event) {
                        if !text.is_empty() && !text.ends_with('\n') {
                            text.push('\n');
                        }
                        text.push_str(&words);
                        text.push('\n');
                    }
                }
            }
        }
        let (shown, is_cut) = ForeignText::ending(&text, SAID);
        SpokenText {
            id,
            over: said.over,
            stops: under_way.is_some_and(|call| call.cancelled_by().is_some()),
            unknown: unknown.map(|call| call.audit_id),
            error: said
                .error
                .as_deref()
                .map(|why| ForeignText::short(why, 400)),
            cut: said.progress.from > 0 || is_cut,
            text: shown,
        }
        .render()
    })
    .await
}

#[derive(Template)]
#[template(path = "board.html")]
struct BoardPage {
    id: ForeignText,
    /// The request that ends its runs.
    stop: String,
    goal: ForeignText,
    made: Moment,
    state: &'static str,
    why: Option<ForeignText>,
    /// Runs are made of it, now or later: it can be stopped.
    runs: bool,
    graph: Graph,
    tasks: Vec<TaskRow>,
    stretch: Stretch,
}

struct TaskRow {
    id: ForeignText,
    title: ForeignText,
    agent: String,
    state: &'static str,
    attempts: u32,
    needs: ForeignText,
    message: Option<ForeignText>,
    error: Option<ForeignText>,
    /// The pages of its run, while that goes on, and of its change set.
    run: Option<String>,
    changes: Option<String>,
}

/// One board.
pub(super) async fn board(
    State(desk): State<Arc<Desk>>,
    Named(id): Named,
    Begin(from): Begin,
    request: Request,
) -> Result<Response, Refused> {
    let source = query(&request, "source").and_then(|id| SourceId::parse(&id).ok());
    drop(request);
    let shown = boards::show(desk.clone(), Reading, Show { id, source }).await?;
    let now = desk.clock.now();
    shell::rendered(&desk, move || {
        BoardPage::of(&shown.board, from, now).render()
    })
    .await
}

impl BoardPage {
    fn of(board: &Board, from: usize, now: Timestamp) -> Self {
        let own = board_link(&board.facts.id, &board.source);
        let stretch = Stretch::of(from, board.tasks.len(), |from| format!("{own}&from={from}"));
        let row = |task: &Task| TaskRow {
            id: ForeignText::short(&task.id, 40),
            title: ForeignText::short_words(&task.title, 120),
            agent: task.agent.to_string(),
            state: task.state.as_str(),
            attempts: task.attempts,
            needs: ForeignText::short(&task.needs.join(", "), 120),
            message: task
                .message
                .as_deref()
                .map(|said| ForeignText::short_words(said, 240)),
            error: task
                .error
                .as_deref()
                .map(|said| ForeignText::short(said, 240)),
            run: task
                .run
                .as_deref()
                .filter(|_| task.state == TaskState::Running)
                .map(|run| format!("/admin/runs/{}", plexus_owner::encoded(run))),
            changes: task
                .changes
                .as_deref()
                .map(|id| format!("/admin{}", change_sets::address(id, None))),
        };
        Self {
            id: ForeignText::short(&board.facts.id, 120),
            stop: plexus_owner::write(&Stop {
                id: board.facts.id.clone(),
                source: Some(board.source.clone()),
            })
            .path,
            goal: ForeignText::short_words(&board.facts.goal, 1_000),
            made: Moment::ago(board.facts.made, now),
            state: board_state(board.facts.state),
            why: board
                .facts
                .why
                .as_deref()
                .map(|why| ForeignText::short(why, 400)),
            runs: matches!(
                board.facts.state,
                BoardState::UnderWay | BoardState::Suspended
            ),
            graph: Graph::of(&board.tasks),
            tasks: stretch.part(&board.tasks).map(row).collect(),
            stretch,
        }
    }
}

/// Tasks as boxes, each right of what it needs.
struct Graph {
    width: usize,
    height: usize,
    boxes: Vec<GraphBox>,
    /// All of them, as the path that draws them.
    lines: String,
    /// Those that are not drawn.
    undrawn: usize,
}

struct GraphBox {
    x: usize,
    y: usize,
    state: &'static str,
    /// Inside of a drawing no other markup can stand: what is not plain is left out.
    text: String,
}

/// A box and the room around it.
const BOX: (usize, usize) = (150, 34);
/// Letters that it has.
const LETTERS: usize = 17;
const GAP: (usize, usize) = (46, 14);

impl Graph {
    fn of(tasks: &[Task]) -> Self {
        let mut column: BTreeMap<&str, usize> = BTreeMap::new();
        // A board has no circle; should a source say otherwise, the drawing is wrong and ends all the same.
        for _ in 0..tasks.len() {
            for task in tasks {
                let before = task
                    .needs
                    .iter()
                    .filter_map(|need| column.get(need.as_str()));
                let own = before.max().map_or(0, |before| before + 1);
                column.insert(&task.id, own.min(tasks.len()));
            }
        }
        let mut filled: BTreeMap<usize, usize> = BTreeMap::new();
        let mut at: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for task in tasks {
            let column = column.get(task.id.as_str()).copied().unwrap_or(0);
            let row = filled.entry(column).or_default();
            let place = (column * (BOX.0 + GAP.0) + 4, *row * (BOX.1 + GAP.1) + 4);
            at.insert(&task.id, place);
            *row += 1;
        }
        let line = |task: &Task, need: &String| {
            let (to, from) = (at.get(task.id.as_str())?, at.get(need.as_str())?);
            let (x, y) = (from.0 + BOX.0, from.1 + BOX.1 / 2);
            Some(format!("M{x} {y}L{} {}", to.0, to.1 + BOX.1 / 2))
        };
        let lines = tasks
            .iter()
            .flat_map(|task| task.needs.iter().filter_map(move |need| line(task, need)));
        let lines: Vec<String> = lines.collect();
        Self {
            width: filled
                .keys()
                .max()
                .map_or(0, |last| (last + 1) * (BOX.0 + GAP.0)),
            height: filled
                .values()
                .max()
                .map_or(0, |most| most * (BOX.1 + GAP.1))
                + 8,
            undrawn: lines.len().saturating_sub(EDGES),
            lines: lines.into_iter().take(EDGES).collect(),
            boxes: tasks
                .iter()
                .filter_map(|task| {
                    let (x, y) = *at.get(task.id.as_str())?;
                    Some(GraphBox {
                        x,
                        y,
                        state: task.state.as_str(),
                        text: drawn(&task.title, LETTERS),
                    })
                })
                .collect(),
        }
    }
}

/// Text of others in a drawing: what a page would mark stands as U+FFFD.
pub(super) fn drawn(text: &str, most: usize) -> String {
    let plain = |c: char| match plexus_protocol::unseen::is_unseen(c) || c.is_control() {
        true => '\u{fffd}',
        false => c,
    };
    let text: String = text.chars().map(plain).collect();
    plexus_protocol::words::cut(&text, most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn task(id: &str, needs: &[&str]) -> Task {
        let task = json!({"id": id, "title": "T\u{202e}", "agent": "codex.run", "needs": needs, "state": "ready",
            "attempts": 0});
        serde_json::from_value(task).expect("a task")
    }

    #[test]
    fn a_task_stands_right_of_what_it_needs() {
        let graph = Graph::of(&[task("c", &["a", "b"]), task("a", &[]), task("b", &["a"])]);
        let x: Vec<_> = graph.boxes.iter().map(|one| one.x).collect();
        assert!(x[1] < x[2] && x[2] < x[0], "{x:?}");
        assert_eq!(graph.lines.matches('M').count(), 3);
        let number = |text: &str| text.split(' ').next().and_then(|n| n.parse::<usize>().ok());
        let goes_right = |line: &str| {
            let (begin, end) = line.split_once('L').expect("a line");
            number(begin) < number(end) && number(begin).is_some()
        };
        assert!(
            graph.lines.split('M').skip(1).all(goes_right),
            "{}",
            graph.lines
        );
        assert_eq!(graph.boxes[0].text, "T\u{fffd}");
    }

    #[test]
    fn task_links_to_its_run_and_change_set() {
        let at = "2026-01-01T00:00:00.000Z";
        let board = json!({
            "id": "brd_1", "source": "cc-master", "goal": "Ship", "state": "under-way", "made": at, "changeSets": "each",
            "counts": {"done": 1, "running": 1},
            "tasks": [
                {"id": "a", "title": "A", "agent": "codex.run", "needs": [], "state": "done", "attempts": 1, "ended": at,
                 "run": "run_1", "changes": "cs_1", "files": 1},
                {"id": "b", "title": "B", "agent": "codex.run", "needs": ["a"], "state": "running", "attempts": 1,
                 "since": at, "run": "run_2"},
            ],
        });
        let board: Board = serde_json::from_value(board).expect("a board");
        let page = BoardPage::of(&board, 0, board.facts.made).render().unwrap();
        for link in ["/admin/changes/cs_1", "/admin/runs/run_2"] {
            assert!(page.contains(&format!("href=\"{link}\"")), "{page}");
        }
        assert!(!page.contains("run_1"), "{page}");
    }

    #[test]
    fn run_of_unknown_outcome_is_not_called_failed() {
        let page = |unknown: Option<&str>| {
            let said = SpokenText {
                id: "run_1".to_owned(),
                over: true,
                stops: false,
                unknown: unknown.map(str::to_owned),
                error: Some(ForeignText::line("you stopped it")),
                cut: false,
                text: ForeignText::line(""),
            };
            said.render().unwrap()
        };
        let (unknown, failed) = (page(Some("evt_1")), page(None));
        assert!(
            unknown.contains("href=\"/admin/activity/evt_1\""),
            "{unknown}"
        );
        assert!(!unknown.contains("failed"), "{unknown}");
        assert!(failed.contains("It failed: "), "{failed}");
    }

    #[test]
    fn a_circle_is_drawn_and_ends() {
        let graph = Graph::of(&[task("a", &["b"]), task("b", &["a"])]);
        assert_eq!(graph.boxes.len(), 2);
    }
}
