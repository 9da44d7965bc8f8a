//! `plexusctl calls`: what is under way now, what it says and does, and the owner's stop of one.

use crate::{
    owner::{Desk, check_id, list_of, text_of},
    table::table,
};
use clap::{Args, Subcommand};
use plexus_client::{
    Exit, Stop, out, span,
    streamed::{Progress, Streamed},
    text,
};
use plexus_protocol::Timestamp;
use serde::Deserialize as _;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The command that shows the ids of calls.
const LIST: &str = "plexusctl calls list";
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
            let reply = desk.open().await?.get("/admin/api/calls").await?;
            desk.show(&reply, || {
                let open = open(list_of(&reply, "conversations"), span::now());
                let tables = std::iter::once(as_text(&reply)).chain(open);
                tables.collect::<Vec<_>>().join("\n\n")
            })
        }
        Act::Follow { call } => {
            check_id(&call, "call", LIST)?;
            follow(desk, &call).await
        }
        Act::Stop { call } => {
            check_id(&call, "call", LIST)?;
            let path = format!("/admin/api/calls/{call}/stop");
            let reply = desk.open().await?.post(&path, &json!({})).await?;
            desk.show(&reply, || {
                if reply["conversation"].is_object() {
                    return ended(&reply["conversation"]);
                }
                let capability = text::line(text_of(&reply["call"], "capabilityId"));
                format!("cancelling {capability}; see what was done: plexusctl activity")
            })
        }
    }
}

/// Shows what a call says and does as it comes; ends with the call.
async fn follow(desk: &Desk, call: &str) -> Result<Exit, Stop> {
    let (mut streamed, mut after, mut is_known) = (Streamed::default(), 0, false);
    loop {
        let asked = Instant::now();
        let path = format!("/admin/api/calls/{call}?after={after}&wait={WAIT}");
        let reply = match desk.open().await?.get(&path).await {
            // It ended between two questions.
            Err(stop) if stop.code == "not_found" && is_known => json!({"over": true}),
            reply => reply?,
        };
        is_known = true;
        let part = Progress::deserialize(&reply["progress"]).ok();
        let said = part.as_ref().is_some_and(|part| !part.chunks.is_empty());
        after = part.as_ref().map_or(after, |part| part.next);
        let is_over = reply["over"] == true;
        // A gateway that is about to end answers at once.
        if !said && !is_over && asked.elapsed() < PAUSE {
            sleep(PAUSE).await;
        }
        if desk.json {
            out::line(&reply.to_string())?;
        } else if let Some(part) = part {
            streamed.show(part);
        }
        if is_over && !said {
            streamed.end();
            if !desk.json {
                out::line(&match reply["error"].as_str() {
                    Some(error) => format!("it failed: {}", text::line(error)),
                    None => "it is over; see what was done: plexusctl activity".to_owned(),
                })?;
            }
            return Ok(Exit::Ok);
        }
    }
}

/// What the end of a conversation or an orchestration came to.
pub(crate) fn ended(conversation: &Value) -> String {
    let count = |member: &str| conversation[member].as_u64().unwrap_or_default();
    let mut lines = vec![format!(
        "it is ended: {} of it were used, {} are left unused",
        count("turn"),
        count("turnsLeft")
    )];
    lines.extend(cancelled(conversation));
    lines.push("its changes are in copies: plexusctl changes".to_owned());
    lines.join("\n")
}

/// The calls that an act cancels, in words.
pub(crate) fn cancelled(reply: &Value) -> Option<String> {
    let calls = list_of(reply, "cancelled").iter().map(|call| {
        let intent = text_of(call, "auditId");
        let name = if intent.is_empty() {
            text_of(call, "id")
        } else {
            intent
        };
        format!("{} ({name})", text_of(call, "capabilityId"))
    });
    let calls: Vec<_> = calls.collect();
    (!calls.is_empty()).then(|| format!("being cancelled: {}", text::line(&calls.join(", "))))
}

/// Them as a table.
pub(crate) fn as_text(reply: &Value) -> String {
    let rows = list_of(reply, "calls").iter().map(|call| {
        let agent = text_of(call, "agentId");
        let state = match call["cancelled"] == true {
            true => "being cancelled".to_owned(),
            false => text::short(text_of(call, "says"), SAYS),
        };
        [
            if agent.is_empty() { "you" } else { agent }.to_owned(),
            text_of(call, "capabilityId").to_owned(),
            text_of(call, "kind").to_owned(),
            span::length(call["runningMs"].as_u64().unwrap_or(0)),
            text_of(call, "id").to_owned(),
            state,
        ]
    });
    let head = ["agent", "capability", "kind", "for", "call", "says or does"];
    table(head, rows.collect(), "no call is running")
}

/// The conversations that take further messages and the approvals of child calls that are left, as a table.
pub(crate) fn open(conversations: &[Value], now: Timestamp) -> Option<String> {
    let rows = conversations.iter().map(|open| {
        let end = serde_json::from_value(open["expiresAt"].clone());
        let left = open["turnsLeft"].as_u64().unwrap_or(0);
        [
            text_of(open, "agentId").to_owned(),
            text_of(open, "capabilityId").to_owned(),
            match (left, open["children"].is_array()) {
                (1, false) => "1 turn".to_owned(),
                (left, false) => format!("{left} turns"),
                (1, true) => "1 run".to_owned(),
                (left, true) => format!("{left} runs"),
            },
            match end {
                Ok(end) => span::end(end, now),
                Err(_) if left == 0 => "with its last runs".to_owned(),
                Err(_) => "?".to_owned(),
            },
            text_of(open, "id").to_owned(),
            match open["underWay"] == true {
                true => "under way".to_owned(),
                false => String::new(),
            },
        ]
    });
    let head = [
        "agent",
        "conversation or runs",
        "left",
        "ends",
        "end it: calls stop",
        "",
    ];
    (!conversations.is_empty()).then(|| table(head, rows.collect(), ""))
}
