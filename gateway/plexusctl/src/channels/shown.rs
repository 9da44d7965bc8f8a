//! Channels, members and messages as text for a person.
//!
//! Invariant: a message begins in column one with a moment and a key that this gateway knows; no line of what somebody
//! else wrote does, also where the terminal would have to wrap it.

use crate::{
    owner::{list_of, text_of},
    screen::{self, lines},
    table::table,
};
use plexus_client::text;
use serde_json::Value;

pub(super) fn listed(all: &Value) -> String {
    let rows = list_of(all, "channels").iter().map(|channel| {
        let members = list_of(channel, "members").iter();
        let names: Vec<_> = members.map(|m| text_of(m, "name")).collect();
        let more = channel["memberCount"].as_u64().unwrap_or(0);
        let more = more.saturating_sub(names.len() as u64);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        [
            channel["name"]
                .as_str()
                .unwrap_or("(its name does not open)")
                .to_owned(),
            text_of(channel, "id").to_owned(),
            text_of(channel, "source").to_owned(),
            status(channel),
            format!("{}{more}", names.join(", ")),
        ]
    });
    let none = "no channels: plexusctl channels create, or ask a member to add you";
    let mut lines = vec![table(
        ["channel", "id", "source", "status", "members"],
        rows.collect(),
        none,
    )];
    for you in list_of(all, "you") {
        let who = match you["peer"] == true {
            true => "the peer is",
            false => "you are",
        };
        lines.push(format!(
            "{}: {who} {} at {}, key {}",
            text::line(text_of(you, "source")),
            text::line(text_of(you, "name")),
            text::line(text_of(you, "relay")),
            text::line(text_of(you, "fingerprint")),
        ));
    }
    for you in list_of(all, "you") {
        let (unsent, source) = (you["unsent"].as_u64().unwrap_or(0), text_of(you, "source"));
        if unsent > 0 {
            lines.push(format!(
                "{}: messages that were kept and then refused: {unsent}; plexusctl channels unknown",
                text::line(source),
            ));
        }
    }
    for away in list_of(all, "away") {
        let (source, why) = (text_of(away, "source"), text_of(away, "why"));
        lines.push(format!(
            "{} is away: {}",
            text::line(source),
            text::line(why)
        ));
    }
    lines.join("\n")
}

/// A name that somebody else has chosen, in a line of ours: where it ends is seen.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", text::line(name).replace('"', "\\\""))
}

/// Active or archived; and where its keys are not authenticated, that.
fn status(channel: &Value) -> String {
    let status = text_of(channel, "status");
    match text_of(channel, "keys") {
        "" | "authenticated" => status.to_owned(),
        keys => format!("{status}, {}", keys.to_uppercase()),
    }
}

/// How the keys of a channel came about: what to compare, and who made each version.
pub(super) fn keys(keys: &Value) -> Vec<String> {
    let signed = |state: &Value| {
        let key = state["fingerprint"].as_str();
        format!(
            "version {} by {}, key {} (state {})",
            state["version"],
            quoted(text_of(state, "name")),
            text::line(key.unwrap_or("that no member has")),
            text::line(text_of(state, "state")),
        )
    };
    let mut lines = vec![match text_of(keys, "state") {
        "authenticated" => format!(
            "keys: authenticated; for you they began with {}: compare that key",
            signed(&keys["began"])
        ),
        "stopped" => format!(
            "keys: STOPPED: two keys of one version are signed: {}; and {}. Nothing is sent here any more: ask its \
             members what they see, and make another channel",
            signed(&keys["began"]),
            signed(&keys["second"]),
        ),
        "unauthenticated" => "keys: UNAUTHENTICATED: made by a client of before; the relay could have made them. \
             Renew them once: plexusctl channels rotate"
            .to_owned(),
        _ => "keys: UNSIGNED: the relay shows a channel whose key nobody signed. It is not used; if a member with a client of \
             before made it: plexusctl channels rotate"
            .to_owned(),
    }];
    for version in list_of(keys, "versions") {
        let mut line = format!("  {}", signed(version));
        for (how, users) in [("with", "added"), ("without", "removed")] {
            for user in list_of(version, users) {
                let user = quoted(user.as_str().unwrap_or_default());
                line.push_str(&format!("; {how} {user}"));
            }
        }
        lines.push(line);
    }
    lines
}

pub(super) fn people(reply: &Value) -> String {
    let rows = list_of(reply, "members").iter().flat_map(|member| {
        let name = match whose(member) {
            Some(whose) => format!("{} ({whose})", quoted(text_of(member, "name"))),
            None => quoted(text_of(member, "name")),
        };
        let row = move |device: &Value| {
            let key = match text_of(device, "state") {
                "changed" => "CHANGED: not the key from before; it is not used",
                state => state,
            };
            [
                name.clone(),
                text_of(member, "kind").to_owned(),
                text_of(device, "fingerprint").to_owned(),
                key.to_owned(),
                text_of(member, "id").to_owned(),
            ]
        };
        list_of(member, "devices").iter().map(row)
    });
    let head = ["name", "kind", "fingerprint", "key", "id"];
    let mut lines = vec![table(head, rows.collect(), "nobody")];
    for user in list_of(reply, "asking") {
        let (name, id) = (text_of(user, "name"), text_of(user, "id"));
        lines.push(format!(
            "asks to be added: {} {}; plexusctl channels add does it",
            text::line(id),
            quoted(name)
        ));
    }
    if reply["keys"].is_object() {
        lines.extend(keys(&reply["keys"]));
    }
    lines.join("\n")
}

pub(super) fn as_text(page: &Value) -> String {
    let messages = list_of(page, "messages");
    if messages.is_empty() {
        return "no messages".to_owned();
    }
    let said: Vec<_> = messages.iter().map(said).collect();
    said.join("\n")
}

/// One message: who and when in a line of ours, the text below it, each line indented.
pub(super) fn said(message: &Value) -> String {
    rows(message, screen::columns()).join("\n")
}

/// A message in lines; in rows of a terminal of so many columns, where there is one.
fn rows(message: &Value, columns: Option<usize>) -> Vec<String> {
    let wrapped = |line: String| match columns {
        Some(columns) => lines::wrap(&line, columns),
        None => vec![line],
    };
    let key = message["sender"]["fingerprint"]
        .as_str()
        .unwrap_or("(no key)");
    let head = format!("{}  {}  {}", moment(message), text::line(key), who(message));
    let mut rows = wrapped(head);
    rows.extend(body(message).into_iter().flat_map(wrapped));
    rows
}

/// When the relay took a message, to the second.
pub(super) fn moment(message: &Value) -> String {
    let at = text_of(message, "at");
    text::line(&at.get(..19).unwrap_or(at).replace('T', " "))
}

/// Who sent a message; nobody else is `you`, or `the peer`.
pub(super) fn who(message: &Value) -> String {
    let sender = &message["sender"];
    whose(sender).map_or_else(
        || format!("from {}", text::line(text_of(sender, "name"))),
        str::to_owned,
    )
}

/// Of a user that is the identity of a source: the owner's own, or a peer's.
fn whose(user: &Value) -> Option<&'static str> {
    let is_peer = user["peer"] == true;
    match user["you"] == true {
        true => Some("you"),
        false => is_peer.then_some("the peer"),
    }
}

/// What a message says, each line indented; why it cannot be read in brackets.
pub(super) fn body(message: &Value) -> Vec<String> {
    match message["text"].as_str() {
        Some(text) => text::lines(text)
            .map(|line| format!("    {line}"))
            .collect(),
        None => vec![format!(
            "    [{}]",
            text::line(text_of(message, "unreadable"))
        )],
    }
}

/// How two people make sure that they have each other's key.
pub(super) fn compare(you: &Value, person: &Value) -> String {
    let keys = list_of(person, "devices").iter().map(|device| {
        let state = match text_of(device, "state") {
            "pinned" => "in use here",
            "changed" => "CHANGED: not the key from before; it is not used",
            _ => "not used here yet",
        };
        let key = text::line(text_of(device, "fingerprint"));
        format!("  {key}  {state}")
    });
    let keys: Vec<_> = keys.collect();
    let name = quoted(text_of(person, "name"));
    format!(
        "the key of {name}, as the relay shows it:\n{}\nyour key:\n  {}\n\n\
         1. Reach {name} in a way that does not pass this relay: a telephone call, or in person.\n\
         2. {name} reads their own fingerprint to you: it is the one above, digit for digit.\n   \
         Who uses Plexus sees it with: plexusctl channels list\n\
         3. Read yours to them; they compare it with what they see of you: plexusctl channels members\n\
         If one differs, somebody may read along: write nothing secret, remove the member, and tell the relay's operator.",
        keys.join("\n"),
        text::line(text_of(you, "fingerprint")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn text_of_another_begins_no_line() {
        let message = json!({
            "id": "01", "at": "2026-11-23T05:31:38.123Z",
            "sender": {"id": "02", "name": "Pat\n2026", "you": false, "fingerprint": "1a2b 3c4d"},
            "text": "one\n2026-11-23 05:31:39  ffff ffff  Boss\r\n\tdo it\u{1b}[2J\u{2028}x",
        });
        assert_eq!(
            rows(&message, None).join("\n"),
            "2026-11-23 05:31:38  1a2b 3c4d  from Pat\\n2026\n    one\n    2026-11-23 05:31:39  ffff ffff  Boss\n    \tdo it\\u{1b}[2J\\u{2028}x"
        );
        let unread = json!({"at": "x", "sender": {"name": "Pat"}, "unreadable": "it could not be decrypted"});
        assert_eq!(
            rows(&unread, None).join("\n"),
            "x  (no key)  from Pat\n    [it could not be decrypted]"
        );
        // A user may call themselves anything.
        let own = json!({"at": "x", "sender": {"name": "Ana", "you": true}, "text": "y"});
        let other = json!({"at": "x", "sender": {"name": "you"}, "text": "y"});
        assert_ne!(rows(&own, None), rows(&other, None));
    }

    #[test]
    fn wrapped_text_of_another_begins_no_row() {
        let forged = "2026-11-23 05:31:39  ffff ffff  you";
        let message = json!({
            "at": "2026-11-23T05:31:38.123Z",
            "sender": {"name": format!("Pat{}{forged}", " ".repeat(60)), "fingerprint": "1a2b 3c4d"},
            "text": format!("{}{forged}", " ".repeat(36)),
        });
        for columns in [20, 40, 80] {
            let rows = rows(&message, Some(columns));
            assert!(rows.len() > 2, "{rows:?}");
            for row in &rows[1..] {
                assert!(
                    row.starts_with(' ') && lines::columns(row) <= columns,
                    "{row:?}"
                );
            }
        }
    }

    #[test]
    fn changed_key_is_shown_as_such() {
        let device = |state: &str| json!([{"fingerprint": "1a2b", "state": state}]);
        let reply = json!({"members": [
            {"id": "A", "kind": "human", "name": "Pat", "you": false, "devices": device("changed")},
            {"id": "B", "kind": "agent", "name": "Me", "you": true, "devices": device("pinned")},
        ]});
        let shown = people(&reply);
        assert!(
            shown.contains("CHANGED") && shown.contains("\"Me\" (you)"),
            "{shown}"
        );
    }
}
