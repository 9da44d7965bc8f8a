//! `plexusctl board`: boards of tasks: how far they are, who runs, what waits for you, and the stop of one.

use crate::{
    approvals, calls,
    changes::{applied, counts},
    owner::{Desk, check_id, whole_id},
    sources::of_source,
    table::table_of_words,
};
use clap::Args;
use plexus_client::{Exit, Stop, out, span, text};
use plexus_owner::{
    boards::{
        Board as Whole, BoardFacts, BoardState, Boards, ChangeSets, List, Show, Stop as StopBoard,
        Task, TaskState, Unread,
    },
    changes::{self, ChangeSetRow},
    unsettled,
};
use plexus_owner_client::Feed;
use plexus_protocol::{AuditId, CapabilityId, SourceId, Timestamp};
use serde::Serialize;
use std::collections::BTreeSet;

/// Shows the ids.
const LIST: &str = "plexusctl board";

/// Which board.
#[derive(Args)]
pub(crate) struct Board {
    /// Board, as the list shows it [default: list all boards]
    board: Option<String>,
    /// Source that has it, where several have one of this id
    #[arg(long, requires = "board", value_name = "SOURCE")]
    source: Option<SourceId>,
    /// Stay, and show it again when it changes
    #[arg(long, requires = "board", conflicts_with = "stop")]
    follow: bool,
    /// End the orchestration that carries it, and cancel its runs
    #[arg(long, requires = "board")]
    stop: bool,
}

/// Characters of a whole id: `brd_` and a UUID.
const LENGTH: usize = 40;

/// The board whose id begins with what was typed. A whole id is looked up nowhere.
async fn named(desk: &Desk, typed: String) -> Result<String, Stop> {
    check_id(&typed, "board", LIST)?;
    if typed.len() >= LENGTH {
        return Ok(typed);
    }
    let listed = desk.open().await?.call(&List {}).await?;
    let unread = listed.unread.iter().filter_map(|unread| match unread {
        Unread::Board { board, .. } => Some(board.as_str()),
        Unread::Source { .. } => None,
    });
    let ids = listed.boards.iter().map(|row| row.facts.id.as_str());
    whole_id(&typed, ids.chain(unread), "board", LIST)
}

/// Asks and prints.
pub(crate) async fn run(desk: &Desk, board: Board) -> Result<Exit, Stop> {
    let Some(id) = board.board else {
        let reply = desk.open().await?.call(&List {}).await?;
        return desk.show(&reply, || listed(&reply, span::now()));
    };
    let id = named(desk, id).await?;
    let source = board.source;
    if board.stop {
        let mut owner = desk.open().await?;
        let named = source.clone();
        let reply = owner.call(&StopBoard { id, source }).await;
        let reply = of_source(&mut owner, named.as_ref(), reply).await?;
        return desk.show(&reply, || calls::ended(&reply.conversation, "run"));
    }
    let asked = Show { id, source };
    let mut shown = looked(desk, &asked).await?;
    let exit = desk.show(&shown, || drawn(&shown, span::now()))?;
    if !board.follow {
        return Ok(exit);
    }
    let mut feed = Feed::new();
    let mut is_lost = false;
    if !shown.board.facts.state.is_over() {
        let id = &shown.board.facts.id;
        desk.say_following(&format!(
            "leaves, and the board goes on (to end it: plexusctl board {} --stop)",
            text::line(id)
        ));
    }
    while !shown.board.facts.state.is_over() {
        let heard = tokio::select! {
            heard = feed.next(&desk.home) => heard,
            () = out::reader_gone() => break,
        };
        let now = match heard {
            Ok(()) => looked(desk, &asked).await,
            Err(stop) => Err(stop),
        };
        match now {
            Ok(now) => {
                is_lost = false;
                if now != shown {
                    shown = now;
                    if !desk.json {
                        out::line("")?;
                    }
                    desk.show(&shown, || drawn(&shown, span::now()))?;
                }
            }
            // Refusals are final; a gateway that has gone may come back, and is told of once.
            Err(stop) if stop.exit != Exit::Unreachable => return Err(stop),
            Err(stop) => {
                if !is_lost {
                    out::say(&format!("{}; trying again", text::line(&stop.why)));
                }
                is_lost = true;
            }
        }
    }
    Ok(Exit::Ok)
}

/// A board, with what else there is about it.
#[derive(PartialEq, Serialize)]
struct BoardView {
    board: Whole,
    /// The requests of its sources that wait for the owner.
    waits: Vec<Waiting>,
    /// The change sets that there are, where a task left one.
    #[serde(skip_serializing_if = "Option::is_none")]
    sets: Option<Vec<ChangeSetRow>>,
    /// The unsettled calls of what runs its unknown tasks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unsettled: Vec<AuditId>,
}

/// A request that waits for the owner.
#[derive(PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Waiting {
    pending_id: String,
    agent_id: String,
    capabilities: Vec<String>,
}

async fn looked(desk: &Desk, asked: &Show) -> Result<BoardView, Stop> {
    let mut owner = desk.open().await?;
    let shown = owner.call(asked).await;
    let board = of_source(&mut owner, asked.source.as_ref(), shown)
        .await?
        .board;
    let pending = approvals::pending(&mut owner).await?;
    let waits = pending.into_iter().map(|item| Waiting {
        pending_id: item.heading.pending_id.into(),
        agent_id: item.heading.agent_id.map_or_else(String::new, Into::into),
        capabilities: item
            .heading
            .capabilities
            .into_iter()
            .map(Into::into)
            .collect(),
    });
    let sets = match board.tasks.iter().any(|task| task.changes.is_some()) {
        true => Some(owner.call(&changes::List::default()).await?.sets),
        false => None,
    };
    let unknown = board
        .tasks
        .iter()
        .filter(|task| task.state == TaskState::Unknown);
    let unknown: BTreeSet<&CapabilityId> = unknown.map(|task| &task.agent).collect();
    let calls = match unknown.is_empty() {
        true => Vec::new(),
        false => owner.call(&unsettled::List {}).await?.unsettled,
    };
    let calls = calls.into_iter().map(|row| row.call);
    let unsettled = calls.filter(|call| unknown.contains(&call.capability_id));
    Ok(BoardView {
        unsettled: unsettled.map(|call| call.audit_id).collect(),
        waits: waits.filter(|item| concerns(item, &board)).collect(),
        board,
        sets,
    })
}

/// Whether a request is of the board's source, of a source that runs its tasks, or of a run's own agent.
fn concerns(item: &Waiting, board: &Whole) -> bool {
    let runs = board
        .tasks
        .iter()
        .map(|task| source_of(task.agent.as_str()));
    let mut sources = runs.chain([board.source.as_str()]);
    let wanted: Vec<&str> = item.capabilities.iter().map(|id| source_of(id)).collect();
    let via = item.agent_id.rsplit_once(".via.");
    sources.any(|source| wanted.contains(&source) || via.is_some_and(|(_, via)| via == source))
}

fn source_of(capability: &str) -> &str {
    capability.split_once('.').map_or("", |(source, _)| source)
}

/// All boards.
fn listed(reply: &Boards, now: Timestamp) -> String {
    let rows = reply.boards.iter().map(|board| {
        let facts = &board.facts;
        [
            facts.id.clone(),
            board.source.to_string(),
            counted(facts),
            span::ago(facts.made, now),
            text::short(&facts.goal, 60),
        ]
    });
    let head = [
        "board",
        "source",
        "state",
        "made",
        "goal (the agent's words)",
    ];
    let none = "no board was made yet: an agent makes one where a source runs tasks";
    let mut out = table_of_words(head, rows.collect(), none);
    for unread in &reply.unread {
        let line = match unread {
            Unread::Board { board, why, source } => {
                format!("{source}: {board} cannot be read: {why}")
            }
            Unread::Source { source, why } => format!("{source}: {why}"),
        };
        out.push_str(&format!("\n{}", text::line(&line)));
    }
    out
}

/// `under-way: 1 done, 2 waiting`.
fn counted(board: &BoardFacts) -> String {
    let counts = board.counts.iter();
    let counts: Vec<String> = counts
        .map(|(state, count)| format!("{count} {}", state.as_str()))
        .collect();
    format!("{}: {}", board.state.as_str(), counts.join(", "))
}

/// One board: its tasks below those that they need, what failed, what it left, and what waits for the owner.
fn drawn(shown: &BoardView, now: Timestamp) -> String {
    let (board, facts) = (&shown.board, &shown.board.facts);
    let tasks = &board.tasks;
    let mut lines = vec![
        text::line(&facts.goal),
        text::line(&format!(
            "{} of {}, {}",
            facts.id,
            board.source,
            counted(facts)
        )),
    ];
    if let Some(why) = &facts.why {
        lines.push(format!("it ended with tasks left: {}", text::line(why)));
    }
    lines.push(String::new());
    let rows = in_order(tasks).into_iter().map(|(depth, task)| {
        [
            task.state.as_str().to_owned(),
            format!("{}{}", "· ".repeat(depth), task.id),
            task.agent.to_string(),
            match (task.since, task.ended) {
                (Some(since), _) => match now.since(since) {
                    ..1_000 => "began just now".to_owned(),
                    ms => format!("for {}", span::length(ms)),
                },
                (None, Some(at)) => span::ago(at, now),
                (None, None) => String::new(),
            },
            task.needs.join(" "),
            text::short(&task.title, 60),
        ]
    });
    let head = [
        "state",
        "task",
        "runs",
        "",
        "after",
        "title (the agent's words)",
    ];
    lines.push(table_of_words(head, rows.collect(), "it has no tasks"));
    for task in tasks {
        if let Some(error) = &task.error {
            lines.push(text::line(&format!("{}: {error}", task.id)));
        }
    }
    for task in tasks {
        if let Some(again) = &task.again {
            let is = match task.state {
                TaskState::Waiting | TaskState::Ready => "is to be",
                TaskState::Running => "is",
                _ => "was",
            };
            lines.push(text::line(&format!("{} {is} run again: {again}", task.id)));
        }
    }
    for task in tasks {
        if let Some(message) = task.message.as_ref().filter(|said| !said.is_empty()) {
            let said = text::short(message, 200);
            lines.push(format!("{} said: “{said}”", text::line(&task.id)));
        }
    }
    lines.extend(left(shown));
    if tasks.iter().any(|task| task.state == TaskState::Unknown) {
        lines.push(match shown.unsettled.is_empty() {
            false => "to say what became of an unknown run: plexusctl unknown".to_owned(),
            true => format!(
                "an unknown task runs again when an agent carries the board again: {}.orchestration.run",
                board.source
            ),
        });
    }
    for item in &shown.waits {
        lines.push(text::line(&format!(
            "waits for you: {} of {}: plexusctl approvals show {}",
            item.capabilities.join(" "),
            item.agent_id,
            item.pending_id,
        )));
    }
    if facts.state == BoardState::Suspended {
        lines.push("it waits until agents are served again: plexusctl resume".to_owned());
    }
    lines.join("\n")
}

/// The change sets that the tasks left and that are not applied, with what applies them.
fn left(shown: &BoardView) -> Vec<String> {
    let board = &shown.board.facts;
    // The one change set of all is made at the end: what there is before is a part of it.
    if board.change_sets == ChangeSets::One && !board.state.is_over() {
        return Vec::new();
    }
    let sets = shown.sets.as_deref().unwrap_or_default();
    let rows = in_order(&shown.board.tasks);
    let of_tasks = rows.iter().filter_map(|(_, task)| {
        // One that a later one has joined, or that is kept no more, is not in the list.
        let changes = task.changes.as_deref()?;
        let set = sets.iter().find(|set| set.id == changes)?;
        Some((*task, set))
    });
    let mut of_tasks: Vec<_> = of_tasks.collect();
    of_tasks.sort_by_key(|(_, set)| set.about.made);
    let told = of_tasks.iter().map(|(task, set)| {
        let (task, is_done) = (text::line(&task.id), task.state == TaskState::Done);
        let id = text::line(&set.id);
        let files = counts(&set.counts);
        match applied(set).as_str() {
            "all" => format!("{task}: {files}; applied"),
            "no" if is_done => {
                format!("{task}: {files}; to apply: plexusctl changes apply {id}")
            }
            "no" => {
                format!("{task}: {files}, by a run that failed; to see: plexusctl changes {id}")
            }
            some => format!("{task}: {files}, {some} applied; to see: plexusctl changes {id}"),
        }
    });
    let mut lines: Vec<String> = told.collect();
    let builds = of_tasks.iter().any(|(_, set)| !set.about.onto.is_empty());
    if lines.len() > 1 && builds {
        lines.insert(
            0,
            "apply them in this order, later ones build on earlier ones:".to_owned(),
        );
    }
    lines
}

/// Each task below the last one that it needs, with its depth in that tree.
fn in_order(tasks: &[Task]) -> Vec<(usize, &Task)> {
    let parent = |task: &Task| task.needs.last().cloned().unwrap_or_default();
    let mut out = Vec::new();
    let mut below = vec![(0, String::new())];
    while let Some((depth, id)) = below.pop() {
        if let Some(task) = tasks.iter().find(|task| task.id == id) {
            out.push((depth - 1, task));
        }
        let children = tasks.iter().rev().filter(|task| parent(task) == id);
        below.extend(children.map(|task| (depth + 1, task.id.clone())));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_person_reads() {
        let at = "2026-01-01T00:00:00.000Z";
        let now: Timestamp = serde_json::from_value(json!("2026-01-01T00:02:00.000Z")).unwrap();
        let board = json!({
            "id": "brd_1", "source": "cc-master", "goal": "Ship it\u{1b}", "state": "unfinished",
            "made": at, "changeSets": "each", "why": "the approval's runs are used up",
            "counts": {"done": 1, "failed": 1, "running": 1, "skipped": 1},
            "tasks": [
                {"id": "last", "title": "Join", "agent": "codex.run", "needs": ["a", "b"], "state": "skipped",
                 "attempts": 0},
                {"id": "a", "title": "Do a", "agent": "codex.run", "needs": [], "state": "done", "attempts": 1,
                 "ended": at, "changes": "cs_1", "files": 3, "message": "Did\u{1b} it."},
                {"id": "b", "title": "Do b", "agent": "claudecode.run", "needs": ["a"], "state": "failed",
                 "attempts": 1, "ended": at, "error": "turn_failed: no", "changes": "cs_2"},
                {"id": "c", "title": "Do c", "agent": "codex.run", "needs": [], "state": "running", "attempts": 2,
                 "since": at, "again": "a pause ended its run"},
            ],
        });
        let item = |agent: &str, wants: &str| Waiting {
            pending_id: "pend_1".to_owned(),
            agent_id: agent.to_owned(),
            capabilities: vec![wants.to_owned()],
        };
        let shown = BoardView {
            board: serde_json::from_value(board).unwrap(),
            sets: serde_json::from_value(json!([{
                "id": "cs_1", "made": at, "added": 0, "edited": 3, "removed": 0, "modes": 0,
                "first": [], "omitted": 0, "applied": 0, "calls": [], "source": "codex",
            }, {
                "id": "cs_2", "made": at, "added": 1, "edited": 0, "removed": 0, "modes": 0,
                "first": [], "omitted": 0, "applied": 0, "calls": [], "source": "claudecode",
            }]))
            .unwrap(),
            waits: vec![item("my-cc", "codex.apply")],
            unsettled: Vec::new(),
        };
        assert_eq!(
            drawn(&shown, now),
            "Ship it\\u{1b}\n\
             brd_1 of cc-master, unfinished: 1 running, 1 done, 1 failed, 1 skipped\n\
             it ended with tasks left: the approval's runs are used up\n\n\
             STATE    TASK      RUNS                       AFTER  TITLE (THE AGENT'S WORDS)\n\
             done     a         codex.run       2 min ago         Do a\n\
             failed   · b       claudecode.run  2 min ago  a      Do b\n\
             skipped  · · last  codex.run                  a b    Join\n\
             running  c         codex.run       for 2 min         Do c\n\
             b: turn_failed: no\n\
             c is run again: a pause ended its run\n\
             a said: “Did\\u{1b} it.”\n\
             a: 3 edited; to apply: plexusctl changes apply cs_1\n\
             b: 1 added, by a run that failed; to see: plexusctl changes cs_2\n\
             waits for you: codex.apply of my-cc: plexusctl approvals show pend_1"
        );
        let at = serde_json::from_value(json!(at)).unwrap();
        let begun = drawn(&shown, at);
        assert!(
            begun.contains("codex.run       began just now         Do c"),
            "{begun}"
        );
        let ends_with = |unsettled: Vec<AuditId>, words: &str| {
            let mut tasks = shown.board.tasks.clone();
            tasks[2].state = TaskState::Unknown;
            let board = Whole {
                tasks,
                ..shown.board.clone()
            };
            let unknown = BoardView {
                board,
                waits: Vec::new(),
                sets: None,
                unsettled,
            };
            let drawn = drawn(&unknown, now);
            assert!(drawn.ends_with(words), "{drawn}");
        };
        ends_with(
            vec![AuditId::parse("evt_00000000-0000-4000-8000-000000000001").unwrap()],
            "plexusctl unknown",
        );
        ends_with(
            Vec::new(),
            "carries the board again: cc-master.orchestration.run",
        );
        for (agent, wants, is_its) in [
            ("my-cc", "codex.apply", true),
            ("my-cc", "cc-master.board.stop", true),
            ("my-cc.via.claudecode", "workspace.write", true),
            ("my-cc", "workspace.write", false),
        ] {
            assert_eq!(
                concerns(&item(agent, wants), &shown.board),
                is_its,
                "{agent} {wants}"
            );
        }
    }
}
