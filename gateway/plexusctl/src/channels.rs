//! `plexusctl channels`: conversations with people and agents, as one of their members.
//!
//! Invariant: a message begins in column one with a moment and a key that this gateway knows; no line of what somebody
//! else wrote does.

mod join;

use crate::{
    feed::Feed,
    owner::{Desk, Owner, list_of, text_of},
    prompt::confirm,
    table::table,
};
use clap::{Args, Subcommand};
use plexus_client::{Exit, Stop, out, text};
use plexus_protocol::SourceId;
use serde_json::{Value, json};
use std::{
    io::{Read as _, stdin},
    time::Duration,
};
use tokio::time::timeout;

/// Largest text of a message, in bytes.
const TEXT: u64 = 32_768;
/// How long `tail --follow` waits for the gateway to tell of a message before it looks by itself.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Channels.
#[derive(Args)]
pub(crate) struct Channels {
    /// Only the channels of this source
    #[arg(long, global = true)]
    source: Option<SourceId>,
    #[command(subcommand)]
    act: Option<Act>,
}

#[derive(Subcommand)]
enum Act {
    /// List channels, and who you are in them
    List,
    /// Register with a relay by an invitation, and add that as a source
    Join(join::Join),
    /// Show who is in a channel, with the fingerprints of their keys; without one, who could be
    Members {
        /// Channel, by name or id
        channel: Option<String>,
    },
    /// Show messages of a channel, the newest at the end
    Read {
        /// Channel, by name or id
        channel: String,
        /// Only those after this message
        #[arg(long, value_name = "MESSAGE")]
        after: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
        limit: u32,
    },
    /// Show the last messages of a channel
    Tail {
        /// Channel, by name or id
        channel: String,
        /// Stay, and show what comes
        #[arg(long, short)]
        follow: bool,
        /// So many
        #[arg(long, short = 'n', default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=200))]
        lines: u32,
    },
    /// Send a message to a channel
    Say {
        /// Channel, by name or id
        channel: String,
        /// Text; - reads it from standing input
        text: String,
    },
    /// Make a channel
    Create {
        /// Its name, which the relay cannot read
        name: String,
        /// User who is in it beside you, by name or id; may be repeated
        #[arg(long = "with", value_name = "USER")]
        users: Vec<String>,
    },
    /// Leave a channel; only another member can add you again
    Leave {
        /// Channel, by name or id
        channel: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Make a new key for a channel, for its members of now
    Rotate {
        /// Channel, by name or id
        channel: String,
    },
}

/// A channel that was found.
struct Found {
    source: String,
    id: String,
    name: String,
}

impl Found {
    fn path(&self) -> String {
        format!("/admin/api/channels/{}/{}", self.source, self.id)
    }
}

/// Runs the sub-command.
pub(crate) async fn run(desk: &Desk, channels: Channels) -> Result<Exit, Stop> {
    let source = channels.source.as_ref();
    match channels.act.unwrap_or(Act::List) {
        Act::List => {
            let all = all(&mut desk.open().await?, source).await?;
            desk.show(&all, || listed(&all))
        }
        Act::Join(join) => join.run(desk, channels.source).await,
        Act::Members { channel } => {
            let mut owner = desk.open().await?;
            let path = match channel {
                Some(channel) => find(&mut owner, &channel, source).await?.path(),
                None => own_path(&mut owner, source).await?,
            };
            let reply = owner.get(&path).await?;
            desk.show(&reply, || people(&reply))
        }
        Act::Read {
            channel,
            after,
            limit,
        } => {
            let mut owner = desk.open().await?;
            let found = find(&mut owner, &channel, source).await?;
            let reply = messages(&mut owner, &found, after.as_deref(), limit).await?;
            desk.show(&reply, || as_text(&reply))
        }
        Act::Tail {
            channel,
            follow,
            lines,
        } => tail(desk, &channel, source, lines, follow).await,
        Act::Say { channel, text } => {
            desk.widen("speaking in a channel")?;
            let text = if text == "-" { piped()? } else { text };
            let mut owner = desk.open().await?;
            let found = find(&mut owner, &channel, source).await?;
            let path = format!("{}/messages", found.path());
            let reply = owner.post(&path, &json!({ "text": text })).await?;
            desk.show(&reply, || format!("sent to {}", text::line(&found.name)))
        }
        Act::Create { name, users } => {
            desk.widen("making a channel")?;
            let mut owner = desk.open().await?;
            let path = own_path(&mut owner, source).await?;
            let people = owner.get(&path).await?;
            let members: Result<Vec<_>, _> =
                users.iter().map(|user| person(&people, user)).collect();
            let body = json!({"name": name, "members": members?});
            let reply = owner.post(&path, &body).await?;
            desk.show(&reply, || {
                let id = text_of(&reply["output"], "channel");
                format!("made {} {}", text::line(&name), text::line(id))
            })
        }
        Act::Leave { channel, yes } => {
            desk.widen("leaving a channel")?;
            let mut owner = desk.open().await?;
            let found = find(&mut owner, &channel, source).await?;
            if !yes {
                let name = text::line(&found.name);
                confirm(
                    desk,
                    &format!("leave {name}; only a member can add you again"),
                    "--yes",
                )?;
            }
            let reply = owner
                .post(&format!("{}/leave", found.path()), &json!({}))
                .await?;
            desk.show(&reply, || format!("left {}", text::line(&found.name)))
        }
        Act::Rotate { channel } => {
            desk.widen("renewing a key")?;
            let mut owner = desk.open().await?;
            let found = find(&mut owner, &channel, source).await?;
            let reply = owner
                .post(&format!("{}/rotate", found.path()), &json!({}))
                .await?;
            desk.show(&reply, || {
                let name = text::line(&found.name);
                format!("{name} has a new key; who left cannot read what follows")
            })
        }
    }
}

/// All channels, or those of one source.
async fn all(owner: &mut Owner, source: Option<&SourceId>) -> Result<Value, Stop> {
    let mut all = owner.get("/admin/api/channels").await?;
    if let Some(source) = source {
        for list in ["channels", "you", "away"] {
            if let Some(list) = all[list].as_array_mut() {
                list.retain(|one| one["source"] == source.as_str());
            }
        }
    }
    Ok(all)
}

/// Why there is not what was asked for: a source may be away.
fn missing(all: &Value, why: String) -> Stop {
    if let Some(away) = list_of(all, "away").first() {
        let (source, its) = (text_of(away, "source"), text_of(away, "why"));
        let why = format!("{}: {}", text::line(source), text::line(its));
        let next = format!("plexusctl sources test {}", text::line(source));
        return Stop::new(Exit::Failed, "source_unavailable", why).next(next);
    }
    if list_of(all, "you").is_empty() {
        let why = "there is no source with channels";
        return Stop::new(Exit::Failed, "not_found", why).next("plexusctl channels join");
    }
    Stop::new(Exit::Failed, "not_found", why).next("plexusctl channels list")
}

/// A channel by its id or its name.
async fn find(owner: &mut Owner, wanted: &str, source: Option<&SourceId>) -> Result<Found, Stop> {
    let all = all(owner, source).await?;
    let channels = list_of(&all, "channels");
    // Anybody may make a channel of any name: an id comes first, and a name counts only where all are seen.
    let field = match channels.iter().any(|channel| channel["id"] == wanted) {
        true => "id",
        false => "name",
    };
    if field == "name" && all["more"].as_u64() > Some(0) {
        let why = "there are more channels than are listed, so a name may be another's";
        let next = "name the channel's id: plexusctl channels list --json";
        return Err(Stop::new(Exit::Failed, "ambiguous", why.to_owned()).next(next));
    }
    let mut fitting = channels.iter().filter(|channel| channel[field] == wanted);
    let Some(channel) = fitting.next() else {
        let why = format!("there is no channel {}", text::line(wanted));
        return Err(missing(&all, why));
    };
    if fitting.next().is_some() {
        let why = format!("more than one channel is {}", text::line(wanted));
        let next = "name its id, and its --source: plexusctl channels list";
        return Err(Stop::new(Exit::Failed, "ambiguous", why).next(next));
    }
    let name = channel["name"].as_str().unwrap_or(wanted);
    Ok(Found {
        source: text_of(channel, "source").to_owned(),
        id: text_of(channel, "id").to_owned(),
        name: name.to_owned(),
    })
}

/// The path of the one source with channels.
async fn own_path(owner: &mut Owner, source: Option<&SourceId>) -> Result<String, Stop> {
    let all = all(owner, source).await?;
    match list_of(&all, "you") {
        [] => Err(missing(&all, "there is no such source".to_owned())),
        [you] => Ok(format!("/admin/api/channels/{}", text_of(you, "source"))),
        more => {
            let sources: Vec<_> = more.iter().map(|you| text_of(you, "source")).collect();
            let why = format!(
                "name one with --source: {}",
                text::line(&sources.join(", "))
            );
            Err(Stop::usage(why))
        }
    }
}

/// A user by id or name.
fn person(people: &Value, wanted: &str) -> Result<String, Stop> {
    let members = list_of(people, "members").iter();
    let mut fitting = members.filter(|m| m["id"] == wanted || m["name"] == wanted);
    match (fitting.next(), fitting.next()) {
        (Some(user), None) => Ok(text_of(user, "id").to_owned()),
        (found, _) => {
            let how_many = if found.is_some() {
                "more than one"
            } else {
                "no"
            };
            let why = format!("{how_many} user is {}", text::line(wanted));
            let next = "plexusctl channels members";
            Err(Stop::new(Exit::Failed, "not_found", why).next(next))
        }
    }
}

async fn messages(
    owner: &mut Owner,
    of: &Found,
    after: Option<&str>,
    limit: u32,
) -> Result<Value, Stop> {
    let mut path = format!("{}/messages?limit={limit}", of.path());
    if let Some(after) = after {
        path.push_str(&format!("&after={}", crate::activity::encoded(after)));
    }
    owner.get(&path).await
}

async fn tail(
    desk: &Desk,
    channel: &str,
    source: Option<&SourceId>,
    lines: u32,
    follow: bool,
) -> Result<Exit, Stop> {
    let mut owner = desk.open().await?;
    let found = find(&mut owner, channel, source).await?;
    let page = messages(&mut owner, &found, None, lines).await?;
    let mut last = show_new(desk, &page)?;
    if !follow {
        return Ok(Exit::Ok);
    }
    let (mut feed, mut is_lost) = (Feed::new(), false);
    loop {
        // A frame only says that there is a reason to look.
        let _ = timeout(LOOK_EVERY, feed.next(desk)).await;
        match further(desk, &found, last.as_deref()).await {
            Ok(page) => {
                is_lost = false;
                last = show_new(desk, &page)?.or(last);
            }
            // The gateway or the relay may come back, and that is told of once.
            Err(stop) if stop.exit == Exit::Unreachable || stop.code == "source_unavailable" => {
                if !is_lost {
                    out::say(&format!("{}; trying again", text::line(&stop.why)));
                }
                is_lost = true;
            }
            Err(stop) => return Err(stop),
        }
    }
}

async fn further(desk: &Desk, found: &Found, last: Option<&str>) -> Result<Value, Stop> {
    // Below every id: from the start of a channel that was empty.
    let after = last.unwrap_or("00000000000000000000000000");
    messages(&mut desk.open().await?, found, Some(after), 200).await
}

/// Prints messages, as JSON one a line; the last one's id.
fn show_new(desk: &Desk, page: &Value) -> Result<Option<String>, Stop> {
    for message in list_of(page, "messages") {
        desk.show(message, || said(message))?;
    }
    let last = list_of(page, "messages").last();
    Ok(last.map(|message| text_of(message, "id").to_owned()))
}

/// The text on standing input, without the line break at its end.
fn piped() -> Result<String, Stop> {
    let mut text = String::new();
    let read = stdin().lock().take(TEXT + 1).read_to_string(&mut text);
    read.map_err(|error| Stop::usage(format!("standing input: {error}")))?;
    if text.ends_with('\n') {
        text.pop();
    }
    Ok(text)
}

fn listed(all: &Value) -> String {
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
            text_of(channel, "status").to_owned(),
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
        lines.push(format!(
            "{}: you are {} at {}, key {}",
            text::line(text_of(you, "source")),
            text::line(text_of(you, "name")),
            text::line(text_of(you, "relay")),
            text::line(text_of(you, "fingerprint")),
        ));
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

fn people(reply: &Value) -> String {
    let rows = list_of(reply, "members").iter().flat_map(|member| {
        let name = match member["you"] == true {
            true => format!("{} (you)", text_of(member, "name")),
            false => text_of(member, "name").to_owned(),
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
    table(
        ["name", "kind", "fingerprint", "key", "id"],
        rows.collect(),
        "nobody",
    )
}

fn as_text(page: &Value) -> String {
    let messages = list_of(page, "messages");
    if messages.is_empty() {
        return "no messages".to_owned();
    }
    let said: Vec<_> = messages.iter().map(said).collect();
    said.join("\n")
}

/// One message: who and when in a line of ours, the text below it, each line indented.
fn said(message: &Value) -> String {
    let at = text_of(message, "at");
    let at = at.get(..19).unwrap_or(at).replace('T', " ");
    let sender = &message["sender"];
    let key = sender["fingerprint"].as_str().unwrap_or("(no key)");
    let who = match sender["you"] == true {
        true => "you".to_owned(),
        false => text::line(text_of(sender, "name")),
    };
    let mut lines = vec![format!("{}  {}  {who}", text::line(&at), text::line(key))];
    match message["text"].as_str() {
        Some(text) => lines.extend(text::lines(text).map(|line| format!("    {line}"))),
        None => lines.push(format!(
            "    [{}]",
            text::line(text_of(message, "unreadable"))
        )),
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_another_begins_no_line() {
        let message = json!({
            "id": "01", "at": "2026-11-23T05:31:38.123Z",
            "sender": {"id": "02", "name": "Pat\n2026", "you": false, "fingerprint": "1a2b 3c4d"},
            "text": "one\n2026-11-23 05:31:39  ffff ffff  Boss\r\n\tdo it\u{1b}[2J\u{2028}x",
        });
        assert_eq!(
            said(&message),
            "2026-11-23 05:31:38  1a2b 3c4d  Pat\\n2026\n    one\n    2026-11-23 05:31:39  ffff ffff  Boss\n    \tdo it\\u{1b}[2J\\u{2028}x"
        );
        let unread = json!({"at": "x", "sender": {"name": "Pat"}, "unreadable": "it could not be decrypted"});
        assert_eq!(
            said(&unread),
            "x  (no key)  Pat\n    [it could not be decrypted]"
        );
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
            shown.contains("CHANGED") && shown.contains("Me (you)"),
            "{shown}"
        );
    }
}
