//! `plexusctl calls`: what is under way now, what it says and does, and the owner's stop of one.

use crate::{
    owner::{Desk, Owner, check_id, json_line, whole_id},
    pause::PATIENCE,
    table::table,
};
use clap::{Args, Subcommand};
use plexus_client::{Exit, Stop, out, span, streamed::Streamed, text};
use plexus_owner::{
    boards,
    calls::{
        CallProgress, CallUnderWay, Calls as UnderWay, CancelledCall, EndedApproval, List, Look,
        OpenApproval, Stop as StopCall, Stopping,
    },
    pending::Show,
};
use plexus_protocol::{AuditId, PendingId, RunId, Timestamp, body::Progress, words::counted};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// The command that shows the ids of calls.
const LIST: &str = "plexusctl calls list";
/// The command that shows the calls of which nobody knows whether they happened.
const UNKNOWN: &str = "plexusctl unknown";
/// The least time between two questions that bring nothing.
const PAUSE: Duration = Duration::from_secs(1);
/// How long one request waits for what a call says next, in seconds.
const WAIT: u64 = 20;

/// Characters of what a call says last that the list shows.
const SAYS: usize = 60;

/// Calls that are under way.
#[derive(Args)]
pub(crate) struct Calls {
    #[command(subcommand)]
    act: Option<Act>,
}

#[derive(Subcommand)]
enum Act {
    /// Show running calls, open conversations and orchestrations
    List,
    /// Show what a call says and does, until it is over; Ctrl-C leaves, and the call goes on
    Follow {
        /// Call, as the list shows it, or its run
        call: String,
    },
    /// Cancel a call, or end a conversation or an orchestration; the audit log states what was done
    Stop {
        /// Call, conversation or orchestration, as the list shows it
        call: String,
    },
}

/// Runs the sub-command.
pub(crate) async fn run(desk: &Desk, calls: Calls) -> Result<Exit, Stop> {
    match calls.act.unwrap_or(Act::List) {
        Act::List => {
            let mut owner = desk.open().await?;
            let reply = owner.call(&List {}).await?;
            let has_runs = reply.conversations.iter().any(|it| it.children.is_some());
            let tasks = match has_runs && !desk.json {
                // A source that does not answer keeps nobody from what is under way.
                true => {
                    let tasks = timeout(PATIENCE, tasks_of(&mut owner, &reply.calls)).await;
                    tasks.ok().flatten()
                }
                false => None,
            };
            desk.show(&reply, || {
                let open = open(&reply.conversations, span::now());
                let tables = [Some(as_text(&reply)), tasks, open].into_iter().flatten();
                tables.collect::<Vec<_>>().join("\n\n")
            })
        }
        Act::Follow { call } => {
            check_id(&call, "call", LIST)?;
            let call = whole(&mut desk.open().await?, &call).await?;
            let mut streamed = Streamed::default();
            tokio::select! {
                ended = follow(desk, &call, &mut streamed) => ended,
                // Otherwise stdout has the end of the call alone.
                () = out::reader_gone(), if desk.json => Ok(Exit::Ok),
                _ = tokio::signal::ctrl_c() => {
                    streamed.end();
                    out::say(&format!("the call goes on; to follow it again: plexusctl calls follow {call}"));
                    Ok(Exit::Ok)
                }
            }
        }
        Act::Stop { call } => {
            check_id(&call, "call", LIST)?;
            let mut owner = desk.open().await?;
            let id = whole(&mut owner, &call).await?;
            let reply = owner.call(&StopCall { id }).await?;
            // The stop comes first, and looks nothing up: its card says afterwards whether it has turns or runs.
            let card = match &reply {
                Stopping::Approval(approval) => {
                    let id = approval.conversation.pending_id.to_string();
                    owner.call(&Show { id }).await.ok()
                }
                Stopping::Call { .. } => None,
            };
            desk.show(&reply, || match &reply {
                Stopping::Approval(approval) => {
                    let card = card.as_ref().and_then(|item| item.card.grant());
                    let mut asks = card.iter().flat_map(|card| &card.asks);
                    let is_runs = asks.any(|ask| ask.children.is_some());
                    ended(&approval.conversation, if is_runs { "run" } else { "turn" })
                }
                Stopping::Call { call, .. } => cancelling(call),
            })
        }
    }
}

/// Which calls are runs of which tasks of boards, as far as their sources say so; none where none is.
async fn tasks_of(owner: &mut Owner, calls: &[CallUnderWay]) -> Option<String> {
    let mut lines = Vec::new();
    for row in owner.call(&boards::List {}).await.ok()?.boards {
        if row.facts.state.needs_no_set() {
            continue;
        }
        let show = boards::Show {
            id: row.facts.id,
            source: Some(row.source),
        };
        let Ok(shown) = owner.call(&show).await else {
            continue;
        };
        for call in calls {
            let Some(run) = &call.run_id else { continue };
            let mut tasks = shown.board.tasks.iter();
            if let Some(task) = tasks.find(|task| task.run.as_deref() == Some(run.as_str())) {
                let line = format!(
                    "{} is task {}: plexusctl board {}",
                    call.id, task.id, show.id
                );
                lines.push(text::line(&line));
            }
        }
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// How a stop begins, and what shows its end: of a run, what it did until then as well.
fn cancelling(call: &CallUnderWay) -> String {
    let next = call.run_id.as_ref().map_or_else(
        || "plexusctl activity".to_owned(),
        |run| format!("plexusctl calls follow {run}"),
    );
    format!(
        "cancelling {}; see what was done: {next}",
        call.capability_id
    )
}

/// The call or approval that is listed and begins with what was typed. A whole id is looked up nowhere.
async fn whole(owner: &mut Owner, typed: &str) -> Result<String, Stop> {
    let is_whole = typed.starts_with("call_")
        || AuditId::parse(typed).is_ok()
        || RunId::parse(typed).is_ok()
        || PendingId::parse(typed).is_ok();
    if is_whole {
        return Ok(typed.to_owned());
    }
    let listed = owner.call(&List {}).await?;
    let calls = listed.calls.iter().map(|call| call.id.as_str());
    let runs = listed.calls.iter().filter_map(|call| call.run_id.as_ref());
    let runs = runs.map(RunId::as_str);
    let open = listed.conversations.iter().map(|open| open.id.as_str());
    whole_id(typed, calls.chain(runs).chain(open), "call", LIST)
}

/// Shows what a call says and does as it comes; ends with the call.
async fn follow(desk: &Desk, call: &str, streamed: &mut Streamed) -> Result<Exit, Stop> {
    // The gateway's words on the call at the look before, and how many turns its conversation had left then.
    let mut known = None::<String>;
    let mut turns_left = None;
    let mut look = Look {
        id: call.to_owned(),
        after: 0,
        wait: 0,
    };
    loop {
        let asked = Instant::now();
        let asked_for = async { desk.open().await?.call_waiting(&look, look.wait).await };
        let said = match asked_for.await {
            // It ended between two questions.
            Err(stop) if stop.code == "not_found" && known.is_some() => ended_unseen(look.after),
            Err(stop) if known.is_some() => return Err(stop.next("plexusctl activity")),
            said => said?,
        };
        let is_news = !said.progress.chunks.is_empty();
        let is_first = known.is_none();
        if is_first && !said.over && !desk.json && (!is_news || desk.is_read_along()) {
            let capability = text::line(&said.capability_id);
            let silent = if is_news {
                ""
            } else {
                ", and has said nothing yet"
            };
            out::say(&format!(
                "{capability} is under way{silent}; Ctrl-C leaves, and the call goes on"
            ));
        }
        if !said.id.is_empty() {
            look.id.clone_from(&said.id);
        }
        look.wait = WAIT;
        let next = match &*said.next {
            "" => known.unwrap_or_else(|| "plexusctl activity".to_owned()),
            next => next.to_owned(),
        };
        look.after = said.progress.next;
        // A gateway that is about to end answers at once.
        if !is_first && !is_news && !said.over && asked.elapsed() < PAUSE {
            sleep(PAUSE).await;
        }
        let (is_over, error) = (said.over, said.error.clone());
        // A later turn has a name of its own, which says nothing of the others.
        turns_left = said.turns_left.or(turns_left);
        if desk.json {
            out::line(&json_line(&said)?)?;
        } else {
            streamed.show(said.progress);
        }
        if is_over && !is_news {
            streamed.end();
            if !desk.json {
                out::line(&over(error, turns_left, &text::line(&next)))?;
            }
            return Ok(Exit::Ok);
        }
        known = Some(next);
    }
}

/// How a call ended, and what to type next.
fn over(error: Option<String>, turns_left: Option<u32>, next: &str) -> String {
    if error.is_none() && next.starts_with("plexusctl board ") {
        return format!("it began the board, which goes on: {next}");
    }
    let end = match (error, turns_left) {
        (Some(_), _) if next == UNKNOWN => "it is not known whether it happened".to_owned(),
        // `it was cancelled by the agent`, `you stopped it`.
        (Some(error), _) if error.starts_with("it ") || error.starts_with("you ") => {
            text::line(&error)
        }
        (Some(error), _) => format!("it failed: {}", text::line(&error)),
        (None, Some(left @ 1..)) => {
            format!("this turn is over, and the conversation waits for the next one of {left}")
        }
        (None, _) => "it is over".to_owned(),
    };
    format!("{end}; see what was done: {next}")
}

/// What a call that is known no more said last.
fn ended_unseen(after: u64) -> CallProgress {
    CallProgress {
        capability_id: String::new(),
        over: true,
        error: None,
        id: String::new(),
        turns_left: None,
        next: String::new(),
        progress: Progress {
            from: after,
            next: after,
            chunks: Vec::new(),
        },
    }
}

/// How a conversation, which has turns, or an orchestration, which has runs, ended.
pub(crate) fn ended(conversation: &EndedApproval, of: &str) -> String {
    let (used, left) = (conversation.turn, conversation.turns_left);
    let used = counted(used, of);
    let mut lines = vec![format!("it is ended: {used} used, {left} left")];
    lines.extend(cancelled(&conversation.cancelled));
    lines.push("its changes are in copies: plexusctl changes".to_owned());
    lines.join("\n")
}

/// The calls that an act cancels, in words.
pub(crate) fn cancelled(calls: &[CancelledCall]) -> Option<String> {
    let calls = calls.iter().map(|call| {
        let intent = call.audit_id.as_ref().map(ToString::to_string);
        let name = intent.unwrap_or_else(|| call.id.clone());
        format!("{} ({name})", call.capability_id)
    });
    let calls: Vec<_> = calls.collect();
    let calls = (!calls.is_empty()).then(|| text::line(&calls.join(", ")));
    calls.map(|calls| format!("asked to stop, and perhaps done all the same: {calls}"))
}

/// Them as a table.
pub(crate) fn as_text(reply: &UnderWay) -> String {
    let row = |call: &CallUnderWay| {
        let agent = call.agent_id.as_ref();
        [
            agent.map_or_else(|| "you".to_owned(), ToString::to_string),
            call.capability_id.to_string(),
            call.kind.as_str().to_owned(),
            span::length(call.running_ms),
            call.id.clone(),
            match call.cancelled {
                true => "being cancelled".to_owned(),
                false => text::short(call.says.as_deref().unwrap_or_default(), SAYS),
            },
        ]
    };
    let head = ["agent", "capability", "kind", "for", "call", "says or does"];
    table(
        head,
        reply.calls.iter().map(row).collect(),
        "no call is running; what ran: plexusctl activity",
    )
}

/// The conversations that take further messages and the approvals of child calls that are left, as a table.
pub(crate) fn open(conversations: &[OpenApproval], now: Timestamp) -> Option<String> {
    let rows = conversations.iter().map(|open| {
        [
            open.agent_id.to_string(),
            open.capability_id.to_string(),
            match (open.turns_left, open.children.is_some()) {
                (1, false) => "1 turn".to_owned(),
                (left, false) => format!("{left} turns"),
                (1, true) => "1 run".to_owned(),
                (left, true) => format!("{left} runs"),
            },
            match open.expires_at {
                Some(end) => span::end(end, now),
                None => "with its last runs".to_owned(),
            },
            open.id.to_string(),
            match open.under_way {
                true => "under way".to_owned(),
                false => String::new(),
            },
        ]
    });
    let head = ["agent", "conversation or runs", "left", "ends", "id", ""];
    (!conversations.is_empty()).then(|| {
        let shown = table(head, rows.collect(), "");
        format!("{shown}\nto end one: plexusctl calls stop ID")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_of_a_call_names_what_is_next() {
        let failed = || Some("the owner's words".to_owned());
        let stopped = over(
            Some("you stopped it".to_owned()),
            None,
            "plexusctl activity",
        );
        assert_eq!(
            stopped,
            "you stopped it; see what was done: plexusctl activity"
        );
        assert_eq!(
            over(failed(), None, UNKNOWN),
            "it is not known whether it happened; see what was done: plexusctl unknown"
        );
        assert_eq!(
            over(failed(), Some(2), "plexusctl activity"),
            "it failed: the owner's words; see what was done: plexusctl activity"
        );
        assert_eq!(
            over(None, Some(18), "plexusctl changes"),
            "this turn is over, and the conversation waits for the next one of 18; see what was done: plexusctl changes"
        );
        assert_eq!(
            over(None, None, "plexusctl board brd_1"),
            "it began the board, which goes on: plexusctl board brd_1"
        );
        let over = over(None, Some(0), "plexusctl changes");
        assert_eq!(over, "it is over; see what was done: plexusctl changes");
    }
}
