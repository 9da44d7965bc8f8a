//! `plexusctl board`: boards of tasks: how far they are, who runs, what waits for you, and the stop of one.

use crate::{
    calls, changes,
    feed::Feed,
    owner::{Desk, check_id, list_of, text_of},
    table::table,
};
use clap::Args;
use plexus_client::{Exit, Stop, out, span, text};
use plexus_protocol::{SourceId, Timestamp};
use serde_json::{Value, json};

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

/// Asks and prints.
pub(crate) async fn run(desk: &Desk, board: Board) -> Result<Exit, Stop> {
    let Some(id) = board.board else {
        let reply = desk.open().await?.get("/admin/api/boards").await?;
        return desk.show(&reply, || listed(&reply, span::now()));
    };
    check_id(&id, "board", "plexusctl board")?;
    let of = board.source.as_ref();
    let of = of.map_or_else(String::new, |source| format!("?source={source}"));
    if board.stop {
        let path = format!("/admin/api/boards/{id}/stop{of}");
        let reply = desk.open().await?.post(&path, &json!({})).await?;
        return desk.show(&reply, || calls::ended(&reply["conversation"]));
    }
    let path = format!("/admin/api/boards/{id}{of}");
    let mut shown = looked(desk, &path).await?;
    let exit = desk.show(&shown, || drawn(&shown, span::now()))?;
    if !board.follow {
        return Ok(exit);
    }
    let mut feed = Feed::new();
    let mut is_lost = false;
    while !is_over(&shown) {
        let now = match feed.next(desk).await {
            Ok(()) => looked(desk, &path).await,
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

/// Nothing of it changes by itself any more.
fn is_over(shown: &Value) -> bool {
    ["done", "unfinished"].contains(&text_of(&shown["board"], "state"))
}

/// The board, and the requests of its sources that wait for the owner.
async fn looked(desk: &Desk, path: &str) -> Result<Value, Stop> {
    let mut owner = desk.open().await?;
    let mut shown = owner.get(path).await?;
    let pending = owner.get("/admin/api/pending").await?;
    let waits: Vec<Value> = list_of(&pending, "pending")
        .iter()
        .filter(|item| concerns(item, &shown["board"]))
        .map(|item| {
            json!({"pendingId": item["pendingId"], "agentId": item["agentId"], "capabilities": item["capabilities"]})
        })
        .collect();
    shown["waits"] = json!(waits);
    if list_of(&shown["board"], "tasks")
        .iter()
        .any(|task| task["changes"].is_string())
    {
        let sets = owner.get("/admin/api/changes").await?;
        shown["sets"] = sets["sets"].clone();
    }
    Ok(shown)
}

/// Whether a request is of the board's source, of a source that runs its tasks, or of a run's own agent.
fn concerns(item: &Value, board: &Value) -> bool {
    let runs = list_of(board, "tasks")
        .iter()
        .map(|task| text_of(task, "agent"));
    let mut sources = runs.map(source_of).chain([text_of(board, "source")]);
    let wanted = list_of(item, "capabilities")
        .iter()
        .filter_map(Value::as_str);
    let wanted: Vec<&str> = wanted.map(source_of).collect();
    let via = text_of(item, "agentId").rsplit_once(".via.");
    sources.any(|source| wanted.contains(&source) || via.is_some_and(|(_, via)| via == source))
}

fn source_of(capability: &str) -> &str {
    capability.split_once('.').map_or("", |(source, _)| source)
}

/// All boards.
fn listed(reply: &Value, now: Timestamp) -> String {
    let rows = list_of(reply, "boards").iter().map(|board| {
        let made = serde_json::from_value(board["made"].clone());
        [
            text_of(board, "id").to_owned(),
            text_of(board, "source").to_owned(),
            counted(board),
            made.map_or_else(|_| "?".to_owned(), |made| span::ago(made, now)),
            text::short(text_of(board, "goal"), 60),
        ]
    });
    let head = [
        "board",
        "source",
        "state",
        "made",
        "goal (the agent's words)",
    ];
    let mut out = table(head, rows.collect(), "no board was made yet");
    for source in list_of(reply, "unread") {
        let (name, why) = (text_of(source, "source"), text_of(source, "why"));
        let line = match source["board"].as_str() {
            Some(board) => format!("{name}: {board} cannot be read: {why}"),
            None => format!("{name}: {why}"),
        };
        out.push_str(&format!("\n{}", text::line(&line)));
    }
    out
}

/// `under-way: 1 done, 2 waiting`.
fn counted(board: &Value) -> String {
    let counts = board["counts"].as_object().into_iter().flatten();
    let counts: Vec<String> = counts
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    format!("{}: {}", text_of(board, "state"), counts.join(", "))
}

/// One board: its tasks below those that they need, what failed, what it left, and what waits for the owner.
fn drawn(shown: &Value, now: Timestamp) -> String {
    let board = &shown["board"];
    let tasks = list_of(board, "tasks");
    let mut lines = vec![
        text::line(text_of(board, "goal")),
        text::line(&format!(
            "{} of {}, {}",
            text_of(board, "id"),
            text_of(board, "source"),
            counted(board)
        )),
    ];
    if let Some(why) = board["why"].as_str() {
        lines.push(format!("it ended with tasks left: {}", text::line(why)));
    }
    lines.push(String::new());
    let rows = in_order(tasks).into_iter().map(|(depth, task)| {
        let since = |member: &str| serde_json::from_value::<Timestamp>(task[member].clone());
        let word = match (since("since"), since("ended")) {
            (Ok(since), _) => format!("for {}", span::length(now.since(since))),
            (_, Ok(ended)) => span::ago(ended, now),
            _ => String::new(),
        };
        let needs: Vec<&str> = list_of(task, "needs")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        [
            text_of(task, "state").to_owned(),
            format!("{}{}", "· ".repeat(depth), text_of(task, "id")),
            text_of(task, "agent").to_owned(),
            word,
            needs.join(" "),
            text::short(text_of(task, "title"), 60),
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
    lines.push(table(head, rows.collect(), "it has no tasks"));
    let of = |member: &'static str| tasks.iter().filter(move |task| task[member].is_string());
    for task in of("error") {
        let (id, error) = (text_of(task, "id"), text_of(task, "error"));
        lines.push(text::line(&format!("{id}: {error}")));
    }
    for task in of("again") {
        let (id, again) = (text_of(task, "id"), text_of(task, "again"));
        let is = match text_of(task, "state") {
            "waiting" | "ready" => "is to be",
            "running" => "is",
            _ => "was",
        };
        lines.push(text::line(&format!("{id} {is} run again: {again}")));
    }
    for task in of("message").filter(|task| task["message"] != "") {
        let id = text::line(text_of(task, "id"));
        let said = text::short(text_of(task, "message"), 200);
        lines.push(format!("{id} said: “{said}”"));
    }
    lines.extend(left(shown));
    if tasks.iter().any(|task| task["state"] == "unknown") {
        lines.push("to say what became of an unknown run: plexusctl unknown".to_owned());
    }
    for item in list_of(shown, "waits") {
        let wants: Vec<&str> = list_of(item, "capabilities")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        lines.push(text::line(&format!(
            "waits for you: {} of {}: plexusctl approvals show {}",
            wants.join(" "),
            text_of(item, "agentId"),
            text_of(item, "pendingId"),
        )));
    }
    if board["state"] == "suspended" {
        lines.push("it waits until agents are served again: plexusctl resume".to_owned());
    }
    lines.join("\n")
}

/// The change sets that the tasks left and that are not applied, with what applies them.
fn left(shown: &Value) -> Vec<String> {
    let board = &shown["board"];
    // The one change set of all is made at the end: what there is before is a part of it.
    if board["changeSets"] == "one" && !is_over(shown) {
        return Vec::new();
    }
    let sets = list_of(shown, "sets");
    let rows: Vec<(usize, &Value)> = in_order(list_of(board, "tasks"));
    let of_tasks = rows.iter().filter_map(|(_, task)| {
        // One that a later one has joined, or that is kept no more, is not in the list.
        let set = sets.iter().find(|set| set["id"] == task["changes"])?;
        Some((text_of(task, "id"), set))
    });
    let mut of_tasks: Vec<_> = of_tasks.collect();
    of_tasks.sort_by_key(|(_, set)| text_of(set, "made"));
    let told = of_tasks.iter().map(|(task, set)| {
        let id = text::line(text_of(set, "id"));
        let files = changes::counts(set);
        match changes::applied(set).as_str() {
            "all" => format!("{}: {files}; applied", text::line(task)),
            "no" => format!(
                "{}: {files}; plexusctl changes apply {id}",
                text::line(task)
            ),
            some => format!(
                "{}: {files}, {some} applied; plexusctl changes {id}",
                text::line(task)
            ),
        }
    });
    let mut lines: Vec<String> = told.collect();
    let builds = of_tasks
        .iter()
        .any(|(_, set)| !list_of(set, "onto").is_empty());
    if lines.len() > 1 && builds {
        lines.insert(
            0,
            "apply them in this order, each builds on those before it:".to_owned(),
        );
    }
    lines
}

/// Each task below the last one that it needs, with its depth in that tree.
fn in_order(tasks: &[Value]) -> Vec<(usize, &Value)> {
    let parent = |task: &Value| {
        let need = list_of(task, "needs").last().and_then(Value::as_str);
        need.unwrap_or_default().to_owned()
    };
    let mut out = Vec::new();
    let mut below = vec![(0, String::new())];
    while let Some((depth, id)) = below.pop() {
        let task = tasks.iter().find(|task| text_of(task, "id") == id);
        if let Some(task) = task {
            out.push((depth - 1, task));
        }
        let children = tasks.iter().rev().filter(|task| parent(task) == id);
        below.extend(children.map(|task| (depth + 1, text_of(task, "id").to_owned())));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_reads() {
        let at = "2026-01-01T00:00:00.000Z";
        let now: Timestamp = serde_json::from_value(json!("2026-01-01T00:02:00.000Z")).unwrap();
        let shown = json!({
            "board": {
                "id": "brd_1", "source": "cc-master", "goal": "Ship it\u{1b}", "state": "unfinished",
                "why": "the approval's runs are used up", "counts": {"done": 1, "failed": 1, "running": 1, "skipped": 1},
                "tasks": [
                    {"id": "last", "title": "Join", "agent": "codex.run", "needs": ["a", "b"], "state": "skipped"},
                    {"id": "a", "title": "Do a", "agent": "codex.run", "needs": [], "state": "done", "ended": at,
                     "changes": "cs_1", "files": 3, "message": "Did\u{1b} it."},
                    {"id": "b", "title": "Do b", "agent": "claudecode.run", "needs": ["a"], "state": "failed", "ended": at,
                     "error": "turn_failed: no"},
                    {"id": "c", "title": "Do c", "agent": "codex.run", "needs": [], "state": "running", "since": at,
                     "again": "a pause ended its run"},
                ],
            },
            "sets": [{"id": "cs_1", "edited": 3, "applied": 0, "made": at}],
            "waits": [{"pendingId": "pend_1", "agentId": "my-cc", "capabilities": ["codex.apply"]}],
        });
        assert_eq!(
            drawn(&shown, now),
            "Ship it\\u{1b}\n\
             brd_1 of cc-master, unfinished: 1 done, 1 failed, 1 running, 1 skipped\n\
             it ended with tasks left: the approval's runs are used up\n\n\
             STATE    TASK      RUNS                       AFTER  TITLE (THE AGENT'S WORDS)\n\
             done     a         codex.run       2 min ago         Do a\n\
             failed   · b       claudecode.run  2 min ago  a      Do b\n\
             skipped  · · last  codex.run                  a b    Join\n\
             running  c         codex.run       for 2 min         Do c\n\
             b: turn_failed: no\n\
             c is run again: a pause ended its run\n\
             a said: “Did\\u{1b} it.”\n\
             a: 3 edited; plexusctl changes apply cs_1\n\
             waits for you: codex.apply of my-cc: plexusctl approvals show pend_1"
        );
        let item = |agent: &str, wants: &str| json!({"agentId": agent, "capabilities": [wants]});
        for (agent, wants, is_its) in [
            ("my-cc", "codex.apply", true),
            ("my-cc", "cc-master.board.stop", true),
            ("my-cc.via.claudecode", "workspace.write", true),
            ("my-cc", "workspace.write", false),
        ] {
            assert_eq!(
                concerns(&item(agent, wants), &shown["board"]),
                is_its,
                "{agent} {wants}"
            );
        }
    }
}
