//! `plexusctl calls`: what is under way now, and the owner's stop of one.

use crate::{
    owner::{Desk, list_of, text_of},
    table::table,
};
use clap::{Args, Subcommand};
use plexus_client::{Exit, Stop, span, text};
use plexus_protocol::Timestamp;
use serde_json::{Value, json};

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
        Act::Stop { call } => {
            // Ids are of these characters; another one could only name another path.
            if !call
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
            {
                return Err(
                    Stop::usage(format!("{:?} is no id of a call", text::line(&call)))
                        .next("plexusctl calls list"),
                );
            }
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
        let state = match (&call["cancelled"], call["streamedBytes"].as_u64()) {
            (cancelled, _) if cancelled == true => "being cancelled".to_owned(),
            (_, Some(bytes)) if bytes > 0 => format!("streamed {bytes} bytes"),
            _ => String::new(),
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
    let head = ["agent", "capability", "kind", "for", "call", ""];
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
