//! `plexusctl channels`: conversations with people and agents, as one of their members.
//!
//! ```text
//! found.rs  channels and users by name      shown.rs  as text        chat.rs  on a full screen
//! tail.rs   messages as they come           join.rs   registering with a relay
//! unsent.rs messages that were kept: those that wait, and those refused later
//! ```
//! Invariant: no line of what somebody else wrote begins in column one.

mod chat;
mod found;
mod join;
mod shown;
mod tail;
mod unsent;

use crate::{
    owner::{Desk, Owner},
    pause::heard,
    prompt::confirm,
    sources::secret::judge_piped,
};
use clap::{Args, Subcommand};
use found::{Found, all, find, only, person, users};
use plexus_client::{Exit, Stop, text};
use plexus_owner::channels::{
    Add, Archive, Create, Identity, Leave, ListMembers, Member, Members, Remove, Rename, Rotate,
    Say,
};
use plexus_owner::grants::{GrantRow, List as ListGrants};
use plexus_protocol::SourceId;
use serde::Serialize;
use std::io::{Read as _, stdin};
use tail::Cursor;

/// Largest text of a message, in bytes.
const TEXT: u64 = 32_768;

/// Channels.
#[derive(Args)]
pub(crate) struct Channels {
    /// Only this source; for join, the id of the source that it makes
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
        #[arg(long, value_name = "MESSAGE", conflicts_with = "before", value_parser = message)]
        after: Option<String>,
        /// Only the last ones before this message
        #[arg(long, value_name = "MESSAGE", value_parser = message)]
        before: Option<String>,
        /// At most so many messages
        #[arg(long, value_name = "MESSAGES", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
        limit: u32,
    },
    /// Show the last messages of a channel
    Tail {
        /// Channel, by name or id
        channel: String,
        /// Stay, and show what comes
        #[arg(long, short)]
        follow: bool,
        /// At most so many messages
        #[arg(long, short = 'n', value_name = "MESSAGES", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=200))]
        lines: u32,
    },
    /// Send a message to a channel
    Say {
        /// Channel, by name or id
        channel: String,
        /// Text; - reads it from standing input
        text: String,
    },
    /// List messages that were kept while the relay did not answer: those that wait, and those refused later
    Unknown {
        /// Send this refused one again, to the channel that it was for
        #[arg(long, value_name = "MESSAGE", conflicts_with = "forget")]
        again: Option<String>,
        /// List this refused one no more
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
    /// Make a new key for a channel, for those who are its members now
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
            let mut owner = desk.open().await?;
            let mut all = all(&mut owner, source).await?;
            found::say_why_away(&mut owner, &mut all.away).await;
            desk.show(&all, || shown::listed(&all))
        }
        Act::Chat { channel } => chat::run(desk, channels.source, channel).await,
        Act::Join(join) => join.run(desk, channels.source).await,
        Act::Members { channel } => {
            let mut owner = desk.open().await?;
            let (reply, found) = match channel {
                Some(channel) => {
                    let found = find(&mut owner, &channel, source).await?;
                    (members(&mut owner, &found).await?, Some(found))
                }
                None => {
                    let source = only(&mut owner, source).await?;
                    (users(&mut owner, &source).await?, None)
                }
            };
            desk.show(&reply, || shown::people(&reply, found.as_ref()))
        }
        Act::Verify { user } => verify(desk, source, &user).await,
        Act::Read {
            channel,
            after,
            before,
            limit,
        } => {
            let cursor = match (after, before) {
                (Some(id), _) => Cursor::After(id),
                (None, Some(id)) => Cursor::Before(id),
                (None, None) => Cursor::Newest,
            };
            read(desk, source, &channel, &cursor, limit).await
        }
        Act::Tail {
            channel,
            follow,
            lines,
        } => tail::tail(desk, &channel, source, lines, follow).await,
        Act::Say { channel, text } => {
            let is_piped = text == "-";
            judge_piped::<Say>(desk, is_piped)?;
            let text = if is_piped { piped()? } else { text };
            let (mut owner, found) = at(desk, &channel, source).await?;
            let name = found.shown();
            let Found {
                source, channel, ..
            } = found;
            let say = Say {
                source,
                channel,
                text,
            };
            let reply = owner.call(&say).await?;
            desk.show(&reply, || format!("sent to {name}"))
        }
        Act::Unknown { again, forget } => unsent::run(desk, source, again, forget).await,
        Act::Create { name, users } => create(desk, source, &name, &users).await,
        Act::Add { channel, user } => {
            desk.ask_for_person::<Add>()?;
            let (mut owner, found) = at(desk, &channel, source).await?;
            let people = users(&mut owner, &found.source).await?;
            let user = &person(&people, &user, None)?.user;
            let (name, id) = (found.shown(), user.id.clone());
            let add = Add {
                source: found.source,
                channel: found.channel,
                user: id.clone(),
            };
            let reply = owner.call(&add).await?;
            desk.show(&reply, || {
                let who = shown::quoted(&user.name);
                let verify = found::command(&add.source, &format!("verify {id}"));
                format!("{who} is in {name} now; compare keys: {verify}")
            })
        }
        Act::Remove { channel, user, yes } => remove(desk, source, &channel, &user, yes).await,
        Act::Rename { channel, name } => {
            desk.ask_for_person::<Rename>()?;
            let (mut owner, found) = at(desk, &channel, source).await?;
            let (before, now) = (found.shown(), shown::quoted(&name));
            let rename = Rename {
                source: found.source,
                channel: found.channel,
                name,
            };
            let reply = owner.call(&rename).await?;
            desk.show(&reply, || format!("{before} is {now} now"))
        }
        Act::Archive { channel } => archive(desk, source, &channel, true).await,
        Act::Unarchive { channel } => archive(desk, source, &channel, false).await,
        Act::Leave { channel, yes } => leave(desk, source, &channel, yes).await,
        Act::Rotate { channel } => {
            desk.ask_for_person::<Rotate>()?;
            let (mut owner, found) = at(desk, &channel, source).await?;
            let name = found.shown();
            let rotate = Rotate {
                source: found.source,
                channel: found.channel,
            };
            let reply = owner.call(&rotate).await?;
            desk.show(&reply, || {
                format!("{name} has a new key; who left cannot read what follows")
            })
        }
    }
}

/// Two people whose keys are compared.
#[derive(Serialize)]
struct Comparison<'a> {
    you: &'a Identity,
    user: &'a Member,
}

/// Who is in a channel.
async fn members(owner: &mut Owner, found: &Found) -> Result<Members, Stop> {
    let list = ListMembers {
        source: found.source.clone(),
        channel: found.channel.clone(),
    };
    owner.call(&list).await
}

/// The gateway, and the channel that an act is about.
async fn at(desk: &Desk, channel: &str, source: Option<&SourceId>) -> Result<(Owner, Found), Stop> {
    let mut owner = desk.open().await?;
    let found = find(&mut owner, channel, source).await?;
    Ok((owner, found))
}

/// Reads the id of a message, a ULID.
fn message(id: &str) -> Result<String, String> {
    let is_digit = |c: u8| matches!(c, b'0'..=b'9' | b'A'..=b'Z') && !b"ILOU".contains(&c);
    match id.len() == 26 && id.starts_with(|c: char| c < '8') && id.bytes().all(is_digit) {
        true => Ok(id.to_owned()),
        false => Err(
            "no message has such an id; plexusctl --json channels read CHANNEL shows their ids"
                .into(),
        ),
    }
}

async fn read(
    desk: &Desk,
    source: Option<&SourceId>,
    channel: &str,
    cursor: &Cursor,
    limit: u32,
) -> Result<Exit, Stop> {
    let (mut owner, found) = at(desk, channel, source).await?;
    let page = cursor.page(&found.source, &found.channel, limit);
    let reply = owner.call(&page).await?;
    desk.show(&reply, || {
        shown::as_text(&reply, cursor, &found.command("read"))
    })
}

async fn create(
    desk: &Desk,
    source: Option<&SourceId>,
    name: &str,
    users: &[String],
) -> Result<Exit, Stop> {
    desk.ask_for_person::<Create>()?;
    let mut owner = desk.open().await?;
    let source = only(&mut owner, source).await?;
    let people = found::users(&mut owner, &source).await?;
    let members = users
        .iter()
        .map(|user| Ok(person(&people, user, None)?.user.id.clone()));
    let create = Create {
        source,
        name: name.to_owned(),
        members: members.collect::<Result<_, Stop>>()?,
    };
    let reply = owner.call(&create).await?;
    desk.show(&reply, || {
        let id = text::line(&reply.output.channel);
        let mut made = format!("made {} {id}", shown::quoted(name));
        if let Some(another) = &reply.output.another {
            let another = text::line(another);
            made.push_str(&format!(
                "\nyou have another channel of this name: {another}"
            ));
        }
        for user in &create.members {
            let verify = found::command(&create.source, &format!("verify {user}"));
            made.push_str(&format!("\ncompare keys: {verify}"));
        }
        made
    })
}

async fn remove(
    desk: &Desk,
    source: Option<&SourceId>,
    channel: &str,
    user: &str,
    yes: bool,
) -> Result<Exit, Stop> {
    desk.ask_for_person::<Remove>()?;
    let (mut owner, found) = at(desk, channel, source).await?;
    let people = members(&mut owner, &found).await?;
    let member = person(&people, user, Some(&found))?;
    let others = people.members.iter().map(|other| &other.user);
    let (name, who) = (found.shown(), shown::name_among(&member.user, others));
    // Leaving has a warning of its own.
    if member.you || member.peer {
        let who = match member.you {
            true => "you".to_owned(),
            false => format!("the peer {}", found.source),
        };
        let why = format!("{who} would leave {name}, which is a command of its own");
        return Err(Stop::usage(why).next(found.command("leave")));
    }
    let user = &member.user;
    if !yes {
        let question = format!("{who} keeps what they have read; remove them from {name}");
        confirm(desk, &question, "--yes")?;
    }
    let remove = Remove {
        source: found.source,
        channel: found.channel,
        user: user.id.clone(),
    };
    let reply = owner.call(&remove).await?;
    desk.show(&reply, || {
        format!("{who} is no longer in {name}; the next message has a new key")
    })
}

async fn leave(
    desk: &Desk,
    source: Option<&SourceId>,
    channel: &str,
    yes: bool,
) -> Result<Exit, Stop> {
    desk.ask_for_person::<Leave>()?;
    let (mut owner, found) = at(desk, channel, source).await?;
    let (name, peer) = (found.shown(), &found.source);
    if !yes {
        let question = match (found.peer, found.alone) {
            (true, false) => {
                format!("only a member can add the peer {peer} to {name} again; have it leave")
            }
            (true, true) => {
                format!(
                    "the peer {peer} is the only member of {name}: nobody can read it again; have it leave"
                )
            }
            (false, false) => format!("only a member can add you to {name} again; leave it"),
            (false, true) => {
                format!("you are the only member of {name}: nobody can read it again; leave it")
            }
        };
        confirm(desk, &question, "--yes")?;
    }
    let leave = Leave {
        source: found.source,
        channel: found.channel,
    };
    let reply = owner.call(&leave).await?;
    let granted = match desk.json {
        true => String::new(),
        false => match heard(owner.call(&ListGrants {})).await {
            Some(all) => {
                let who = if found.peer { "the peer" } else { "you" };
                still_granted(&all.grants, &leave, who)
            }
            None => {
                "\nwhich grants allow calls in it was not heard: plexusctl grants list".to_owned()
            }
        },
    };
    desk.show(&reply, || match found.peer {
        true => format!("the peer {} left {name}{granted}", leave.source),
        false => format!("left {name}{granted}"),
    })
}

/// Whether a list has this id alone; an empty one has none.
fn is_only<T: PartialEq<str>>(ids: &[T], id: &str) -> bool {
    !ids.is_empty() && ids.iter().all(|one| one == id)
}

/// The grants that allow calls in the channel that was left and in no other, each in a line of its own: they allow them again
/// once a member adds `who` again.
fn still_granted(grants: &[GrantRow], left: &Leave, who: &str) -> String {
    let is_of_it = |grant: &&GrantRow| {
        let is_alone = grant.constraint.as_ref().is_some_and(|limits| {
            let (below, listed) = (&limits.path_prefix, &limits.allow);
            below.iter().any(|rule| is_only(&rule.allow, &left.channel))
                || listed
                    .iter()
                    .any(|rule| is_only(&rule.values, &left.channel))
        });
        is_alone && grant.capability_id.parts().0 == left.source.as_str()
    };
    let line = |grant: &GrantRow| {
        let (agent, capability) = (&grant.agent_id, &grant.capability_id);
        format!(
            "\n{agent} still has {capability} in it, should a member add {who} again; revoke it: \
             plexusctl grants revoke {agent} {capability}"
        )
    };
    grants.iter().filter(is_of_it).map(line).collect()
}

async fn archive(
    desk: &Desk,
    source: Option<&SourceId>,
    channel: &str,
    archived: bool,
) -> Result<Exit, Stop> {
    desk.ask_for_person::<Archive>()?;
    let (mut owner, found) = at(desk, channel, source).await?;
    let name = found.shown();
    let archive = Archive {
        source: found.source,
        channel: found.channel,
        archived,
    };
    let reply = owner.call(&archive).await?;
    desk.show(&reply, || match archived {
        true => format!("{name} is archived: it can be read, and takes no message"),
        false => format!("{name} is open again"),
    })
}

async fn verify(desk: &Desk, source: Option<&SourceId>, user: &str) -> Result<Exit, Stop> {
    let mut owner = desk.open().await?;
    let all = all(&mut owner, source).await?;
    let you = found::identity(&all, source)?;
    let people = users(&mut owner, &you.source).await?;
    let user = person(&people, user, None)?;
    desk.show(&Comparison { you, user }, || shown::compare(you, user))
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn grants_in_the_channel_alone_are_named_when_it_is_left() {
        let granted = |capability: &str, allow: &[&str]| {
            let constraint = match capability {
                "talk.send" => json!({"allow": {"field": "channel", "values": allow}}),
                _ if allow.is_empty() => json!(null),
                _ => json!({"pathPrefix": {"field": "channel", "allow": allow}}),
            };
            let at = "2026-11-23T05:31:38.123Z";
            let grant = json!({"agentId": "helper", "capabilityId": capability, "verbs": ["read"], "provenance": "managed",
                "grantedAt": at, "expiresAt": at, "trustWindow": {"kind": "1d"}, "standing": true, "constraint": constraint});
            serde_json::from_value::<GrantRow>(grant).unwrap()
        };
        let grants = [
            granted("talk.read", &["C"]),
            granted("talk.send", &["C"]),
            granted("talk.send", &["C", "D"]),
            granted("talk.list", &[]),
            granted("work.read", &["C"]),
        ];
        let left = Leave {
            source: SourceId::parse("talk").unwrap(),
            channel: "C".to_owned(),
        };
        assert_eq!(
            still_granted(&grants, &left, "you"),
            "\nhelper still has talk.read in it, should a member add you again; revoke it: \
             plexusctl grants revoke helper talk.read\n\
             helper still has talk.send in it, should a member add you again; revoke it: \
             plexusctl grants revoke helper talk.send"
        );
    }
}
