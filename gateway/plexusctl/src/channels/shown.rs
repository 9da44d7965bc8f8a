//! Channels, members and messages as text for a person.
//!
//! Invariant: a message begins in column one with a moment and a key that this gateway knows; no line of what somebody
//! else wrote does, also where the terminal would have to wrap it.

use super::{found::Found, tail::Cursor};
use crate::{
    screen::{self, lines},
    table::table,
};
use plexus_client::text;
use plexus_owner::channels::{
    Away, ChannelRow, Channels, Device, DeviceState, Identity, KeyState, Keys, Member, Members,
    Message, Messages, Sender, SignedKey, User, UserKind,
};
use unicode_normalization::UnicodeNormalization as _;

pub(super) fn listed(all: &Channels) -> String {
    let rows = all.channels.iter().map(|channel| {
        let names = names(&channel.members);
        let more = channel.member_count.saturating_sub(names.len() as u64);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        let name = channel.name.as_deref();
        [
            channel_name(name),
            channel.id.clone(),
            channel.source.to_string(),
            status(channel),
            format!("{}{more}", names.join(", ")),
        ]
    });
    let mut lines = Vec::new();
    let is_member = all.you.iter().any(|you| !you.peer);
    // Where a source is away there may be channels.
    if !all.channels.is_empty() || is_member || all.away.is_empty() {
        let none = match is_member {
            true => "no channels: plexusctl channels create NAME, or ask a member to add you",
            false => "no channels: plexusctl channels join RELAY --name NAME",
        };
        let head = ["channel", "id", "source", "status", "members"];
        lines.push(table(head, rows.collect(), none));
    }
    for you in &all.you {
        let who = match you.peer {
            true => "the peer is",
            false => "you are",
        };
        lines.push(format!(
            "{}: {who} {} at {}, key {}",
            you.source,
            text::line(&you.name),
            text::line(&you.relay),
            text::line(&you.fingerprint),
        ));
    }
    for you in &all.you {
        if let Some(unsent) = you.unsent.filter(|unsent| *unsent > 0) {
            lines.push(format!(
                "{}: messages that were kept and then refused: {unsent}; plexusctl channels unknown",
                you.source,
            ));
        }
        let waiting = match you.waiting.unwrap_or(0) {
            0 => continue,
            1 => "1 message waits".to_owned(),
            many => format!("{many} messages wait"),
        };
        lines.push(format!(
            "{}: {waiting} for the relay: plexusctl channels unknown",
            you.source,
        ));
    }
    lines.extend(all.away.iter().map(away_line));
    lines.join("\n")
}

/// That a source does not answer, and why.
pub(super) fn away_line(away: &Away) -> String {
    format!("{} is away: {}", away.source, text::line(&away.why))
}

/// A name that somebody else has chosen, in a line of ours: where it ends is seen.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", text::line(name).replace('"', "\\\""))
}

/// A channel's name, in quotes; what stands for one that does not open is in none.
pub(super) fn channel_name(name: Option<&str>) -> String {
    name.map_or_else(|| "(its name does not open)".to_owned(), quoted)
}

/// Whether two names are shown alike: what is not seen is written out, and Unicode writes many a letter in two ways. Letters of
/// other scripts that look the same are others.
pub(super) fn is_same_name(one: &str, other: &str) -> bool {
    text::line(one).nfc().eq(text::line(other).nfc())
}

/// Whether two names look the same to a person, also by letters of other scripts (Unicode UTS 39).
pub(super) fn looks_like(one: &str, other: &str) -> bool {
    let seen = |name: &str| unicode_security::skeleton(&text::line(name)).collect::<String>();
    seen(one) == seen(other)
}

/// The names of users.
pub(super) fn names(users: &[User]) -> Vec<String> {
    let name = |user| with_leave(name_among(user, users), user);
    users.iter().map(name).collect()
}

/// The name of one of these users; two that look the same are told apart by what nobody can choose.
pub(super) fn name_among<'u>(user: &User, users: impl IntoIterator<Item = &'u User>) -> String {
    let name = quoted(&user.name);
    let mut users = users.into_iter();
    match users.any(|other| looks_like(&other.name, &user.name) && other.id != user.id) {
        true => format!("{name} #{}", end_of(&user.id)),
        false => name,
    }
}

/// The name of a member; of one who left, that too.
fn with_leave(name: String, user: &User) -> String {
    match user.left {
        true => format!("{name} left (the next message has a new key)"),
        false => name,
    }
}

/// The end of an id, for one line.
pub(super) fn end_of(id: &str) -> String {
    text::line(id.get(id.len().saturating_sub(6)..).unwrap_or(id))
}

/// Active or archived; and where its keys are not authenticated, that.
fn status(channel: &ChannelRow) -> String {
    let status = channel.status.as_str();
    match warning(channel.keys) {
        None => status.to_owned(),
        Some(keys) => format!("{status}, {keys}"),
    }
}

/// What is to be said of keys that nobody vouches for.
pub(super) fn warning(keys: KeyState) -> Option<String> {
    (keys != KeyState::Authenticated).then(|| keys.as_str().to_uppercase())
}

/// How the keys of a channel came about: what to compare, and who made each version. `rotate` is the command that renews them.
pub(super) fn keys(keys: &Keys, rotate: &str) -> Vec<String> {
    let signed = |key: &SignedKey| {
        format!(
            "version {} by {}, key {} (state {})",
            key.version,
            quoted(&key.name),
            text::line(key.fingerprint.as_deref().unwrap_or("that no member has")),
            text::line(&key.state),
        )
    };
    let one = |key: &Option<SignedKey>| key.as_ref().map_or_else(|| "?".to_owned(), signed);
    let mut lines = vec![match keys.state {
        KeyState::Authenticated => format!(
            "keys: authenticated; for you they began with {}: compare that key",
            one(&keys.began)
        ),
        KeyState::Stopped => format!(
            "keys: STOPPED: two keys of one version are signed: {}; and {}. Nothing is sent here any more: ask its \
             members what they see, and make another channel",
            one(&keys.began),
            one(&keys.second),
        ),
        KeyState::Unauthenticated => format!(
            "keys: UNAUTHENTICATED: made by a client of before; the relay could have made them. Renew them once: {rotate}"
        ),
        KeyState::Unsigned => format!(
            "keys: UNSIGNED: the relay shows a channel whose key nobody signed. It is not used; if a member with a client of \
             before made it: {rotate}"
        ),
    }];
    for version in &keys.versions {
        let mut line = format!("  {}", signed(&version.signed));
        for (how, users) in [("with", &version.added), ("without", &version.removed)] {
            for user in users {
                // One who went and one who came may have one name.
                let (name, end) = (quoted(&user.name), end_of(&user.id));
                line.push_str(&format!("; {how} {name} #{end}"));
            }
        }
        lines.push(line);
    }
    lines
}

/// Users with their keys: those of the channel, where one is given.
pub(super) fn people(reply: &Members, channel: Option<&Found>) -> String {
    let command = |act| channel.map_or_else(String::new, |channel| channel.command(act));
    // Nobody asks to be added to none, which has no keys.
    let (add, rotate) = (command("add"), command("rotate"));
    let rows = reply.members.iter().flat_map(|member| {
        let user = &member.user;
        let name = name_among(user, reply.members.iter().map(|other| &other.user));
        let name = match whose(member.you, member.peer) {
            Some(whose) => format!("{name} ({whose})"),
            None => name,
        };
        let name = with_leave(name, user);
        let row = move |device: &Device| {
            let key = match device.state {
                DeviceState::Pinned => "pinned",
                DeviceState::New => "new",
                DeviceState::Changed => CHANGED,
            };
            [
                name.clone(),
                user.kind.as_str().to_owned(),
                device.fingerprint.clone(),
                key.to_owned(),
                user.id.clone(),
            ]
        };
        member.devices.iter().map(row)
    });
    let head = ["name", "kind", "fingerprint", "key", "id"];
    let mut lines = vec![table(head, rows.collect(), "nobody")];
    for user in &reply.asking {
        lines.push(format!(
            "asks to be added: {1} {0}; to add it: {add} {1}",
            quoted(&user.name),
            text::line(&user.id)
        ));
    }
    lines.extend(reply.keys.iter().flat_map(|of| keys(of, &rotate)));
    lines.join("\n")
}

const CHANGED: &str = "CHANGED: not the key from before; it is not used";

/// A page, which `command` asked for; where there is more, how to go on.
pub(super) fn as_text(page: &Messages, cursor: &Cursor, command: &str) -> String {
    let (Some(first), Some(last)) = (page.messages.first(), page.messages.last()) else {
        return match cursor {
            Cursor::Newest => "no messages yet".to_owned(),
            Cursor::Before(_) => format!("no older messages; the newest: {command}"),
            Cursor::After(_) => "no newer messages".to_owned(),
        };
    };
    let further = match cursor {
        Cursor::Newest | Cursor::Before(_) => ("older", "--before", &first.id),
        Cursor::After(_) => ("newer", "--after", &last.id),
    };
    let (what, flag, id) = further;
    let further = format!("{what}: {command} {flag} {}", text::line(id));
    let said = page.messages.iter().map(said);
    let all: Vec<_> = said.chain(page.more.then_some(further)).collect();
    all.join("\n")
}

/// One message: who and when in a line of ours, the text below it, each line indented.
pub(super) fn said(message: &Message) -> String {
    rows(message, screen::columns()).join("\n")
}

/// A message in lines; in rows of a terminal of so many columns, where there is one.
fn rows(message: &Message, columns: Option<usize>) -> Vec<String> {
    let wrapped = |line: String| match columns {
        Some(columns) => lines::wrap(&line, columns),
        None => vec![line],
    };
    let sender = &message.sender;
    let key = sender.fingerprint.as_deref().unwrap_or("(no key)");
    let at = moment(&message.at);
    let head = format!("{at}  {}  {}", text::line(key), who(sender));
    let mut rows = wrapped(head);
    rows.extend(body(message).into_iter().flat_map(wrapped));
    rows
}

/// When the relay took a message, to the second.
pub(super) fn moment(at: &str) -> String {
    text::line(&at.get(..19).unwrap_or(at).replace('T', " "))
}

/// Who sent a message; nobody else is `you`, or `the peer`.
pub(super) fn who(sender: &Sender) -> String {
    whose(sender.you, sender.peer)
        .map_or_else(|| format!("from {}", quoted(&sender.name)), str::to_owned)
}

/// Of a user that is the identity of a source: the owner's own, or a peer's.
fn whose(you: bool, peer: bool) -> Option<&'static str> {
    match you {
        true => Some("you"),
        false => peer.then_some("the peer"),
    }
}

/// What a message says, each line indented; why it cannot be read in brackets.
pub(super) fn body(message: &Message) -> Vec<String> {
    match &message.text {
        Some(text) => indented(text),
        None => {
            let why = message.unreadable.as_deref().unwrap_or_default();
            vec![format!("    [{}]", text::line(why))]
        }
    }
}

/// A text of somebody else's.
pub(super) fn indented(text: &str) -> Vec<String> {
    text::lines(text)
        .map(|line| format!("    {line}"))
        .collect()
}

/// How two people make sure that they have each other's key.
pub(super) fn compare(you: &Identity, person: &Member) -> String {
    if let Some(whose) = whose(person.you, person.peer) {
        let (name, key) = (quoted(&person.user.name), text::line(&you.fingerprint));
        let is = if person.you { "are" } else { "is" };
        return format!(
            "{whose} {is} {name}, with this key; others compare it with what they see of that name:\n  {key}"
        );
    }
    let keys = person.devices.iter().map(|device| {
        let state = match device.state {
            DeviceState::Pinned => "in use here",
            DeviceState::Changed => CHANGED,
            DeviceState::New => "not used here yet",
        };
        format!("  {}  {state}", text::line(&device.fingerprint))
    });
    let keys: Vec<_> = keys.collect();
    let name = quoted(&person.user.name);
    let who = match person.user.kind {
        UserKind::Human => name.clone(),
        UserKind::Agent => format!("the person who runs {name}"),
    };
    format!(
        "the key of {name}, as the relay shows it:\n{}\nyour key:\n  {}\n\n\
         1. Ask {who}, in a way that does not pass this relay: a telephone call, or in person.\n\
         2. They read the fingerprint of {name} to you: it is the one above, digit for digit.\n   \
         Who uses Plexus sees it with: plexusctl channels list\n\
         3. Read yours to them; they compare it with what they see of you: plexusctl channels members\n\
         If one differs, somebody may read along: write nothing secret, remove the member, and tell the relay's operator.",
        keys.join("\n"),
        text::line(&you.fingerprint),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_client::shell;
    use serde_json::{Value, json};

    fn message(message: Value) -> Message {
        serde_json::from_value(message).unwrap()
    }

    #[test]
    fn text_of_another_begins_no_line() {
        let forged = message(json!({
            "id": "01", "at": "2026-11-23T05:31:38.123Z",
            "sender": {"id": "02", "name": "Pat\n2026", "you": false, "fingerprint": "1a2b 3c4d"},
            "text": "one\n2026-11-23 05:31:39  ffff ffff  Boss\r\n\tdo it\u{1b}[2J\u{2028}x",
        }));
        assert_eq!(
            rows(&forged, None).join("\n"),
            "2026-11-23 05:31:38  1a2b 3c4d  from \"Pat\\n2026\"\n    one\n    2026-11-23 05:31:39  ffff ffff  Boss\n    \tdo it\\u{1b}[2J\\u{2028}x"
        );
        let sent = |name: &str, you: bool, body: (&str, &str)| {
            let sender = json!({"id": "02", "name": name, "you": you});
            message(json!({"id": "01", "at": "x", "sender": sender, body.0: body.1}))
        };
        let unread = sent("Pat", false, ("unreadable", "it could not be decrypted"));
        assert_eq!(
            rows(&unread, None).join("\n"),
            "x  (no key)  from \"Pat\"\n    [it could not be decrypted]"
        );
        // A user may call themselves anything.
        let own = sent("Ana", true, ("text", "y"));
        let other = sent("you", false, ("text", "y"));
        assert_ne!(rows(&own, None), rows(&other, None));
    }

    #[test]
    fn name_draws_no_row_and_two_of_one_name_differ() {
        let user = |id: &str, name: &str, left: bool| json!({"id": id, "kind": "human", "name": name, "left": left});
        let users = [
            user("01AAAAAA", "Ana", false),
            user("02", "Pat", true),
            user("01BBBBBB", "Ana", false),
            user("01CCCCCC", "Jos\u{e9}", false),
            user("01DDDDDD", "Jose\u{301}", false),
            user("01EEEEEE", "P\u{430}t", false),
        ];
        let row = json!({"source": "talk", "id": "C", "name": "x  01  channels  active  Ana", "status": "active",
            "keys": "authenticated", "members": users, "memberCount": 6});
        let all = json!({"channels": [row], "more": 0, "you": [], "away": []});
        let all = serde_json::from_value(all).unwrap();
        assert_eq!(
            listed(&all),
            "CHANNEL                         ID  SOURCE  STATUS  MEMBERS\n\
             \"x  01  channels  active  Ana\"  C   talk    active  \"Ana\" #AAAAAA, \"Pat\" #02 left (the next message has a new key), \"Ana\" #BBBBBB, \"Jos\u{e9}\" #CCCCCC, \"Jose\u{301}\" #DDDDDD, \"P\u{430}t\" #EEEEEE"
        );
    }

    #[test]
    fn page_says_how_to_go_on() {
        let page = |more: bool| {
            let sent = |id: &str| json!({"id": id, "at": "x", "sender": {"id": "02", "name": "Pat", "you": false}, "text": "y"});
            let page = json!({"channel": "C", "source": "talk", "messages": [sent("01"), sent("02")], "more": more});
            serde_json::from_value::<Messages>(page).unwrap()
        };
        let command = format!("plexusctl channels read {}", shell::quote("my sums"));
        let mut none = page(false);
        none.messages.clear();
        assert_eq!(as_text(&none, &Cursor::Newest, &command), "no messages yet");
        let before = as_text(&none, &Cursor::Before("01".into()), &command);
        assert_eq!(
            before,
            "no older messages; the newest: plexusctl channels read 'my sums'"
        );
        let last = |more, cursor| {
            let shown = as_text(&page(more), &cursor, &command);
            shown.lines().next_back().map(str::to_owned).unwrap()
        };
        assert_eq!(
            last(true, Cursor::Newest),
            "older: plexusctl channels read 'my sums' --before 01"
        );
        assert_eq!(
            last(true, Cursor::After("00".into())),
            "newer: plexusctl channels read 'my sums' --after 02"
        );
        assert_eq!(last(false, Cursor::Newest), "    y");
    }

    #[test]
    fn own_key_is_compared_by_others() {
        let you = json!({"id": "A", "name": "Ana", "fingerprint": "1a2b", "relay": "https://r", "source": "talk"});
        let of = |you_are: bool| {
            let user =
                json!({"id": "A", "kind": "human", "name": "Ana", "you": you_are, "devices": []});
            let you = serde_json::from_value(you.clone()).unwrap();
            compare(&you, &serde_json::from_value(user).unwrap())
        };
        assert!(of(true).starts_with("you are \"Ana\"") && of(true).ends_with("1a2b"));
        assert!(of(false).contains("1. Ask \"Ana\""));
    }

    #[test]
    fn wrapped_text_of_another_begins_no_row() {
        let forged = "2026-11-23 05:31:39  ffff ffff  you";
        let name = format!("Pat{}{forged}", " ".repeat(60));
        let message = message(json!({
            "id": "01", "at": "2026-11-23T05:31:38.123Z",
            "sender": {"id": "02", "name": name, "you": false, "fingerprint": "1a2b 3c4d"},
            "text": format!("{}{forged}", " ".repeat(36)),
        }));
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
    fn no_channels_say_why_and_what_to_do() {
        let of = |you: Value, away: Value| {
            let all = json!({"channels": [], "more": 0, "you": you, "away": away});
            listed(&serde_json::from_value(all).unwrap())
        };
        let away = json!([{"source": "talk", "why": "the relay was not reached"}]);
        assert_eq!(
            of(json!([]), away),
            "talk is away: the relay was not reached"
        );
        let nobody = of(json!([]), json!([]));
        assert_eq!(
            nobody,
            "no channels: plexusctl channels join RELAY --name NAME"
        );
        let you = json!([{"id": "01", "name": "Ana", "fingerprint": "1a2b", "relay": "https://r", "source": "talk"}]);
        let member = of(you, json!([]));
        assert!(
            member.starts_with("no channels: plexusctl channels create NAME"),
            "{member}"
        );
        assert!(!member.contains("the relay"), "{member}");
        let waiting = |many: u64| {
            let you = json!([{"id": "01", "name": "Ana", "fingerprint": "1a2b", "relay": "https://r", "source": "talk", "waiting": many}]);
            of(you, json!([])).lines().next_back().map(str::to_owned)
        };
        assert_eq!(
            [1, 2].map(waiting).map(Option::unwrap_or_default),
            [
                "talk: 1 message waits for the relay: plexusctl channels unknown",
                "talk: 2 messages wait for the relay: plexusctl channels unknown"
            ]
        );
    }

    #[test]
    fn changed_key_is_shown_as_such() {
        let device = |state: &str| json!([{"fingerprint": "1a2b", "state": state}]);
        let reply = json!({"asking": [], "more": false, "source": "talk", "members": [
            {"id": "A", "kind": "human", "name": "Pat", "left": true, "you": false, "devices": device("changed")},
            {"id": "B", "kind": "agent", "name": "Me", "you": true, "devices": device("pinned")},
        ]});
        let shown = people(&serde_json::from_value(reply).unwrap(), None);
        assert!(
            shown.contains("CHANGED") && shown.contains("\"Me\" (you)  "),
            "{shown}"
        );
        let left = "\"Pat\" left (the next message has a new key)";
        assert!(shown.contains(left), "{shown}");
    }

    #[test]
    fn members_of_one_name_differ_and_keys_are_renewed_where_they_are() {
        let device = |key: &str| json!({"fingerprint": key, "state": "pinned"});
        let user = |id: &str, name: &str, devices: Value| json!({"id": id, "kind": "human", "name": name, "you": false, "devices": devices});
        let reply = json!({"asking": [], "more": false, "source": "work", "keys": {"state": "unauthenticated", "versions": []},
        "members": [
            user("01AAAAAA", "Ana", json!([device("1a2b"), device("3c4d")])),
            user("01BBBBBB", "Ana", json!([device("5e6f")])),
            user("01CCCCCC", "Pat", json!([device("7a8b")])),
        ]});
        let channel = Found {
            source: plexus_protocol::SourceId::parse("work").unwrap(),
            channel: "C".to_owned(),
            name: "sums".to_owned(),
            peer: false,
            alone: false,
        };
        let shown = people(&serde_json::from_value(reply).unwrap(), Some(&channel));
        let rows = |name: &str| shown.lines().filter(|row| row.starts_with(name)).count();
        assert_eq!(
            ["\"Ana\" #AAAAAA  ", "\"Ana\" #BBBBBB  ", "\"Pat\"  "].map(rows),
            [2, 1, 1],
            "{shown}"
        );
        let rotate = "Renew them once: plexusctl channels --source work rotate C";
        assert!(shown.ends_with(rotate), "{shown}");
    }
}
