//! `plexusctl channels`: conversations with people and agents, as one of their members.
//!
//! ```text
//! found.rs  channels and users by name      shown.rs  as text        chat.rs  on a full screen
//! tail.rs   messages as they come           join.rs   registering with a relay
//! unsent.rs messages that were kept and refused later
//! ```
//! Invariant: no line of what somebody else wrote begins in column one.

mod chat;
mod found;
mod join;
mod shown;
mod tail;
mod unsent;

use crate::{
    owner::{Desk, Owner, list_of, text_of},
    prompt::confirm,
};
use clap::{Args, Subcommand};
use found::{Found, all, find, own_path, people, person};
use plexus_client::{Exit, Stop, text};
use plexus_protocol::SourceId;
use serde_json::{Value, json};
use std::io::{Read as _, stdin};
use tail::Cursor;

/// Largest text of a message, in bytes.
const TEXT: u64 = 32_768;

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
    /// Read and write on a full screen, with all channels beside it
    Chat {
        /// Channel to begin with, by name or id
        channel: Option<String>,
    },
    /// Register with a relay by an invitation, and add that as a source
    Join(join::Join),
    /// Show who is in a channel, with the fingerprints of their keys; without one, who could be
    Members {
        /// Channel, by name or id
        channel: Option<String>,
    },
    /// Show how to make sure that a user's key is theirs
    Verify {
        /// User, by name or id
        user: String,
    },
    /// Show messages of a channel, the newest at the end
    Read {
        /// Channel, by name or id
        channel: String,
        /// Only those after this message
        #[arg(long, value_name = "MESSAGE", conflicts_with = "before")]
        after: Option<String>,
        /// Only the last ones before this message
        #[arg(long, value_name = "MESSAGE")]
        before: Option<String>,
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
    /// List messages that were kept while the relay did not answer, and that were refused later
    Unknown {
        /// Send this one again, to the channel that it was for
        #[arg(long, value_name = "MESSAGE", conflicts_with = "forget")]
        again: Option<String>,
        /// List this one no more
        #[arg(long, value_name = "MESSAGE")]
        forget: Option<String>,
    },
    /// Make a channel
    Create {
        /// Its name, which the relay cannot read
        name: String,
        /// User who is in it beside you, by name or id; may be repeated
        #[arg(long = "with", value_name = "USER")]
        users: Vec<String>,
    },
    /// Add a user to a channel, who can then read all that was written in it
    Add {
        /// Channel, by name or id
        channel: String,
        /// User, by name or id
        user: String,
    },
    /// Remove a user from a channel; the key changes before the next message
    Remove {
        /// Channel, by name or id
        channel: String,
        /// User, by name or id
        user: String,
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
    },
    /// Give a channel another name, for all its members
    Rename {
        /// Channel, by name or id
        channel: String,
        /// Its new name, which the relay cannot read
        name: String,
    },
    /// Archive a channel for all its members: it can be read, and takes no message
    Archive {
        /// Channel, by name or id
        channel: String,
    },
    /// Open an archived channel again
    Unarchive {
        /// Channel, by name or id
        channel: String,
    },
    /// Leave a channel; only another member can add you again
    Leave {
        /// Channel, by name or id
        channel: String,
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
    },
    /// Make a new key for a channel, for its members of now
    Rotate {
        /// Channel, by name or id
        channel: String,
    },
}

/// Runs the sub-command.
pub(crate) async fn run(desk: &Desk, channels: Channels) -> Result<Exit, Stop> {
    let source = channels.source.as_ref();
    match channels.act.unwrap_or(Act::List) {
        Act::List => {
            let all = all(&mut desk.open().await?, source).await?;
            desk.show(&all, || shown::listed(&all))
        }
        Act::Chat { channel } => chat::run(desk, channels.source, channel).await,
        Act::Join(join) => join.run(desk, channels.source).await,
        Act::Members { channel } => {
            let mut owner = desk.open().await?;
            let path = match channel {
                Some(channel) => find(&mut owner, &channel, source).await?.path(),
                None => own_path(&mut owner, source).await?,
            };
            let reply = people(&mut owner, &path).await?;
            desk.show(&reply, || shown::people(&reply))
        }
        Act::Verify { user } => verify(desk, source, &user).await,
        Act::Read {
            channel,
            after,
            before,
            limit,
        } => {
            let mut owner = desk.open().await?;
            let found = find(&mut owner, &channel, source).await?;
            let cursor = match (after, before) {
                (Some(id), _) => Cursor::After(id),
                (None, Some(id)) => Cursor::Before(id),
                (None, None) => Cursor::Newest,
            };
            let reply = tail::messages(&mut owner, &found.path(), &cursor, limit).await?;
            desk.show(&reply, || shown::as_text(&reply))
        }
        Act::Tail {
            channel,
            follow,
            lines,
        } => tail::tail(desk, &channel, source, lines, follow).await,
        Act::Say { channel, text } => {
            desk.widen("speaking in a channel")?;
            let text = if text == "-" { piped()? } else { text };
            let (mut owner, found) = at(desk, &channel, source).await?;
            let path = format!("{}/messages", found.path());
            let reply = owner.post(&path, &json!({ "text": text })).await?;
            desk.show(&reply, || format!("sent to {}", found.shown()))
        }
        Act::Unknown { again, forget } => unsent::run(desk, source, again, forget).await,
        Act::Create { name, users } => create(desk, source, &name, &users).await,
        Act::Add { channel, user } => {
            desk.widen("adding a member")?;
            let (mut owner, found) = at(desk, &channel, source).await?;
            let people = people(&mut owner, &found.users()).await?;
            let user = person(&people, &user)?;
            let body = json!({ "user": user["id"] });
            let path = format!("{}/members", found.path());
            let reply = owner.post(&path, &body).await?;
            desk.show(&reply, || {
                let (name, who) = (found.shown(), shown::quoted(text_of(user, "name")));
                format!(
                    "{who} is in {name} now; compare keys: plexusctl channels verify {}",
                    text_of(user, "id")
                )
            })
        }
        Act::Remove { channel, user, yes } => remove(desk, source, &channel, &user, yes).await,
        Act::Rename { channel, name } => {
            desk.widen("renaming a channel")?;
            let (mut owner, found) = at(desk, &channel, source).await?;
            let path = format!("{}/name", found.path());
            let reply = owner.put(&path, &json!({ "name": name })).await?;
            desk.show(&reply, || {
                format!("{} is {} now", found.shown(), shown::quoted(&name))
            })
        }
        Act::Archive { channel } => archive(desk, source, &channel, true).await,
        Act::Unarchive { channel } => archive(desk, source, &channel, false).await,
        Act::Leave { channel, yes } => {
            desk.widen("leaving a channel")?;
            let (mut owner, found) = at(desk, &channel, source).await?;
            let name = found.shown();
            if !yes {
                let question = match &found.peer {
                    Some(peer) => {
                        let peer = text::line(peer);
                        format!("have the peer {peer} leave {name}; only a member can add it again")
                    }
                    None => format!("leave {name}; only a member can add you again"),
                };
                confirm(desk, &question, "--yes")?;
            }
            let path = format!("{}/leave", found.path());
            let reply = owner.post(&path, &json!({})).await?;
            desk.show(&reply, || match &found.peer {
                Some(peer) => format!("the peer {} left {name}", text::line(peer)),
                None => format!("left {name}"),
            })
        }
        Act::Rotate { channel } => {
            desk.widen("renewing a key")?;
            let (mut owner, found) = at(desk, &channel, source).await?;
            let path = format!("{}/rotate", found.path());
            let reply = owner.post(&path, &json!({})).await?;
            desk.show(&reply, || {
                let name = found.shown();
                format!("{name} has a new key; who left cannot read what follows")
            })
        }
    }
}

/// The gateway, and the channel that an act is about.
async fn at(desk: &Desk, channel: &str, source: Option<&SourceId>) -> Result<(Owner, Found), Stop> {
    let mut owner = desk.open().await?;
    let found = find(&mut owner, channel, source).await?;
    Ok((owner, found))
}

async fn create(
    desk: &Desk,
    source: Option<&SourceId>,
    name: &str,
    users: &[String],
) -> Result<Exit, Stop> {
    desk.widen("making a channel")?;
    let mut owner = desk.open().await?;
    let path = own_path(&mut owner, source).await?;
    let people = people(&mut owner, &path).await?;
    let members = users.iter().map(|user| Ok(&person(&people, user)?["id"]));
    let members: Vec<&Value> = members.collect::<Result<_, Stop>>()?;
    let body = json!({"name": name, "members": members});
    let reply = owner.post(&path, &body).await?;
    desk.show(&reply, || {
        let id = text_of(&reply["output"], "channel");
        format!("made {} {}", text::line(name), text::line(id))
    })
}

async fn remove(
    desk: &Desk,
    source: Option<&SourceId>,
    channel: &str,
    user: &str,
    yes: bool,
) -> Result<Exit, Stop> {
    desk.widen("removing a member")?;
    let (mut owner, found) = at(desk, channel, source).await?;
    let people = owner.get(&found.path()).await?;
    let user = person(&people, user)?;
    let (name, who) = (found.shown(), shown::quoted(text_of(user, "name")));
    if !yes {
        let question = format!("remove {who} from {name}; they keep what they have read");
        confirm(desk, &question, "--yes")?;
    }
    let path = format!("{}/members/{}", found.path(), text_of(user, "id"));
    let reply = owner.delete(&path).await?;
    desk.show(&reply, || {
        format!("{who} is no longer in {name}; the next message has a new key")
    })
}

async fn archive(
    desk: &Desk,
    source: Option<&SourceId>,
    channel: &str,
    archived: bool,
) -> Result<Exit, Stop> {
    desk.widen("archiving a channel")?;
    let (mut owner, found) = at(desk, channel, source).await?;
    let path = format!("{}/archive", found.path());
    let reply = owner.post(&path, &json!({ "archived": archived })).await?;
    desk.show(&reply, || {
        let name = found.shown();
        match archived {
            true => format!("{name} is archived: it can be read, and takes no message"),
            false => format!("{name} is open again"),
        }
    })
}

async fn verify(desk: &Desk, source: Option<&SourceId>, user: &str) -> Result<Exit, Stop> {
    let mut owner = desk.open().await?;
    let all = all(&mut owner, source).await?;
    let path = own_path(&mut owner, source).await?;
    let people = people(&mut owner, &path).await?;
    let person = person(&people, user)?;
    let mut yous = list_of(&all, "you").iter();
    let you = yous.find(|you| you["source"] == people["source"]);
    let you = you.unwrap_or(&Value::Null);
    let reply = json!({"you": you, "user": person});
    desk.show(&reply, || shown::compare(you, person))
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
