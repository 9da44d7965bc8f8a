//! Channels and users by the names that people type.
//!
//! Invariants: a name counts only where it is one's alone; an id always wins. The owner's own identities come before those of
//! peers, which speak by themselves.

use super::shown::{self, is_same_name, looks_like};
use crate::owner::{Owner, or_near};
use plexus_client::{Exit, Stop, text};
use plexus_owner::{
    channels::{Away, ChannelRow, Channels, Identity, List, ListUsers, Member, Members},
    kinds,
    sources::{self, HealthStatus},
};
use plexus_protocol::SourceId;
use std::collections::BTreeSet;

/// A channel that was found.
pub(super) struct Found {
    pub(super) source: SourceId,
    pub(super) channel: String,
    pub(super) name: String,
    /// Whether a peer of the owner's is meant.
    pub(super) peer: bool,
    /// Whether it has no other member.
    pub(super) alone: bool,
}

impl Found {
    /// Its name in a line of ours.
    pub(super) fn shown(&self) -> String {
        shown::quoted(&self.name)
    }

    /// A command about it.
    pub(super) fn command(&self, act: &str) -> String {
        let id = text::line(&self.channel);
        command(&self.source, &format!("{act} {id}"))
    }
}

/// A command of a source, which there may be more of.
pub(super) fn command(source: &SourceId, act: &str) -> String {
    format!("plexusctl channels --source {source} {act}")
}

/// All channels, or those of one source.
pub(super) async fn all(owner: &mut Owner, source: Option<&SourceId>) -> Result<Channels, Stop> {
    let mut all = owner.call(&List {}).await?;
    if let Some(source) = source {
        all.channels.retain(|one| one.source == *source);
        all.you.retain(|one| one.source == *source);
        all.away.retain(|one| one.source == *source);
        // One with channels says who it is, or is away.
        if all.you.is_empty() && all.away.is_empty() {
            let listed = owner.call(&sources::List {}).await?;
            let rows = listed.sources.iter().map(|row| &row.source);
            let kinds = owner.call(&kinds::List {}).await?.connectors;
            let has_channels = |kind: &str| {
                let mut kinds = kinds.iter();
                kinds.any(|of| of.has_channels && of.kind == kind)
            };
            let mut rows = rows.filter(|row| has_channels(&row.kind));
            let ids = rows.clone().map(|row| row.id.as_str());
            let meant = or_near(source.as_str(), ids);
            if rows.any(|row| row.id == *source && !row.enabled) {
                let why = format!("the source {source} is disabled");
                let next = format!("plexusctl sources enable {source}");
                return Err(Stop::new(Exit::Failed, "not_found", why).next(next));
            }
            let why = format!("no source {source} has channels{meant}");
            return Err(Stop::new(Exit::Failed, "not_found", why).next("plexusctl sources list"));
        }
    }
    Ok(all)
}

/// Has sources that are away say why, as the last look at their health found it: an answer for everybody says less.
pub(super) async fn say_why_away(owner: &mut Owner, all: &mut [Away]) {
    if all.is_empty() {
        return;
    }
    let Ok(listed) = owner.call(&sources::List {}).await else {
        return;
    };
    for away in all {
        let row = listed
            .sources
            .iter()
            .find(|row| row.source.id == away.source);
        let row = row.filter(|row| row.health.status != HealthStatus::Ok);
        if let Some(detail) = row.and_then(|row| row.health.detail.clone()) {
            away.why = detail;
        }
    }
}

/// Why there is not what was asked for: a source may be away. Peers count where they were looked at.
fn missing(all: &Channels, source: Option<&SourceId>, why: String) -> Stop {
    let own = own_alone(all, source);
    if let Some(away) = all.away.iter().find(|away| !own || !away.peer) {
        let why = format!("{}: {}", away.source, text::line(&away.why));
        let next = format!("plexusctl sources test {}", away.source);
        return Stop::new(Exit::Failed, "source_unavailable", why).next(next);
    }
    if all.you.is_empty() {
        let why = "there is no source with channels";
        return Stop::new(Exit::Failed, "not_found", why)
            .next("plexusctl channels join RELAY --name NAME");
    }
    Stop::new(Exit::Failed, "not_found", why).next("plexusctl channels list")
}

/// A channel by its id or its name.
pub(super) async fn find(
    owner: &mut Owner,
    wanted: &str,
    source: Option<&SourceId>,
) -> Result<Found, Stop> {
    choose(&all(owner, source).await?, wanted, source)
}

/// The same of those that are listed.
fn choose(all: &Channels, wanted: &str, source: Option<&SourceId>) -> Result<Found, Stop> {
    let is_id = |channel: &ChannelRow| channel.id == wanted;
    let is_named = |channel: &ChannelRow, is: fn(&str, &str) -> bool| {
        let name = channel.name.as_deref();
        name.is_some_and(|name| is(name, wanted))
    };
    // Anybody may make a channel of any name: an id comes first, and a name counts only where all are seen.
    let by_id = all.channels.iter().any(is_id);
    if !by_id && all.more > 0 {
        let why = "there are more channels than are listed, so a name may be another's";
        let next = "name the channel's id: plexusctl channels list --json";
        return Err(Stop::new(Exit::Failed, "ambiguous", why.to_owned()).next(next));
    }
    let own = own_alone(all, source);
    let mut fitting = all.channels.iter().filter(|channel| {
        (!own || !channel.peer)
            && if by_id {
                is_id(channel)
            } else {
                // A person cannot tell which of them is meant.
                is_named(channel, looks_like)
            }
    });
    let (first, second) = (fitting.next(), fitting.next());
    if second.is_some() {
        let why = format!("more than one channel is {}", text::line(wanted));
        let next = "name its id, and its --source: plexusctl channels list";
        return Err(Stop::new(Exit::Failed, "ambiguous", why).next(next));
    }
    let Some(channel) = first.filter(|one| by_id || is_named(one, is_same_name)) else {
        let why = format!("there is no channel {}", text::line(wanted));
        let stop = missing(all, source, why);
        // `list` shows it.
        let mut peers = all.channels.iter().filter(|one| own && one.peer);
        let of_peer = peers.find(|one| is_id(one) || is_named(one, is_same_name));
        return Err(match of_peer.filter(|_| stop.code == "not_found") {
            Some(one) => stop.next(format!("it is a peer's: add --source {}", one.source)),
            None => stop,
        });
    };
    Ok(Found {
        source: channel.source.clone(),
        channel: channel.id.clone(),
        name: channel.name.clone().unwrap_or_else(|| wanted.to_owned()),
        peer: channel.peer,
        alone: channel.member_count == 1,
    })
}

/// Whether the owner's own identities alone count: unless a source is named. Those of peers do where the owner has none: not
/// where one is away, or a name would mean the peer's for as long.
fn own_alone(all: &Channels, source: Option<&SourceId>) -> bool {
    let has_own = all.you.iter().any(|you| !you.peer);
    source.is_none() && (has_own || all.away.iter().any(|away| !away.peer))
}

/// The owner's own sources with channels, those that are away too; or this one.
pub(super) async fn sources(
    owner: &mut Owner,
    source: Option<&SourceId>,
) -> Result<BTreeSet<SourceId>, Stop> {
    let mut all = all(owner, source).await?;
    all.away.retain(|away| !away.peer);
    let own = own_sources(&all);
    match own.is_empty() {
        true => {
            let why = "these channels are a peer's, which speaks by itself".to_owned();
            // One that is named has channels, or is away.
            Err(match source {
                Some(_) => {
                    Stop::new(Exit::Failed, "not_found", why).next("plexusctl channels list")
                }
                None => missing(&all, source, why),
            })
        }
        false => Ok(own),
    }
}

/// Each once, also where a part of its answer could not be read.
fn own_sources(all: &Channels) -> BTreeSet<SourceId> {
    let yous = all.you.iter().filter(|you| !you.peer);
    let away = all.away.iter().filter(|away| !away.peer);
    let sources = yous.map(|you| &you.source);
    let sources = sources.chain(away.map(|away| &away.source));
    sources.cloned().collect()
}

/// The one source with channels.
pub(super) async fn only(owner: &mut Owner, source: Option<&SourceId>) -> Result<SourceId, Stop> {
    Ok(identity(&all(owner, source).await?, source)?.source.clone())
}

/// Who the one source with channels is at its relay.
pub(super) fn identity<'a>(
    all: &'a Channels,
    source: Option<&SourceId>,
) -> Result<&'a Identity, Stop> {
    let own = own_alone(all, source);
    let yous = all.you.iter().filter(|you| !own || !you.peer);
    match &*yous.collect::<Vec<_>>() {
        [] => Err(missing(all, source, "there is no such source".to_owned())),
        [you] => Ok(*you),
        more => {
            let sources: Vec<_> = more.iter().map(|you| you.source.as_str()).collect();
            let why = format!("name one with --source: {}", sources.join(", "));
            Err(Stop::usage(why))
        }
    }
}

/// All users who could be in a channel of a source, page after page.
pub(super) async fn users(owner: &mut Owner, source: &SourceId) -> Result<Members, Stop> {
    let mut page = ListUsers {
        source: source.clone(),
        after: None,
    };
    let mut all = owner.call(&page).await?;
    while all.more {
        page.after = all.members.last().map(|last| last.user.id.clone());
        let next = owner.call(&page).await?;
        all.more = next.more && !next.members.is_empty();
        all.members.extend(next.members);
    }
    Ok(all)
}

/// A user by id or name; where `within` is a channel, `people` are its members.
pub(super) fn person<'p>(
    people: &'p Members,
    wanted: &str,
    within: Option<&Found>,
) -> Result<&'p Member, Stop> {
    let members = people.members.iter();
    // Anybody may take another's id as a name: an id comes first.
    let by_id = people.members.iter().any(|m| m.user.id == wanted);
    let mut fitting = members.filter(|m| match by_id {
        true => m.user.id == wanted,
        false => looks_like(&m.user.name, wanted),
    });
    match (fitting.next(), fitting.next()) {
        (Some(user), None) if by_id || is_same_name(&user.user.name, wanted) => Ok(user),
        (_, another) => {
            let (wanted, is_many) = (text::line(wanted), another.is_some());
            let why = match (is_many, within) {
                (true, None) => format!("more than one user is {wanted}"),
                (false, None) => format!("no user is {wanted}"),
                (true, Some(channel)) => {
                    format!("more than one member of {} is {wanted}", channel.shown())
                }
                (false, Some(channel)) => {
                    format!("{wanted} is no member of {}", channel.shown())
                }
            };
            let list = match within {
                None => command(&people.source, "members"),
                Some(channel) => channel.command("members"),
            };
            let (code, next) = match is_many {
                true => ("ambiguous", format!("name the id: {list}")),
                false => ("not_found", list),
            };
            Err(Stop::new(Exit::Failed, code, why).next(next))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn all(rows: &[(&str, &str, &str)]) -> Channels {
        let rows = rows.iter().map(|(source, id, name)| {
            json!({"source": source, "id": id, "name": name, "status": "active", "keys": "authenticated",
                "members": [], "memberCount": 2, "peer": *source == "pera"})
        });
        let you = |source: &str, peer: bool| json!({"id": "U", "name": "Ana", "fingerprint": "1a2b", "relay": "https://r", "source": source, "peer": peer});
        let you = json!([you("talk", false), you("pera", true)]);
        let rows: Vec<Value> = rows.collect();
        let all = json!({"channels": rows, "more": 0, "you": you, "away": []});
        serde_json::from_value(all).unwrap()
    }

    #[test]
    fn channel_is_one_by_its_id_or_by_a_name_of_its_own() {
        let all = all(&[
            ("talk", "C", "sums"),
            ("pera", "C", "sums"),
            ("talk", "D", "C"),
            ("talk", "E", "twice"),
            ("talk", "F", "twice"),
            ("talk", "G", "u\u{308}ber"),
            ("talk", "H", "\u{fc}"),
            ("talk", "I", "u\u{308}"),
            ("talk", "J", "one\u{200d}two"),
            ("talk", "K", "Alice"),
            ("talk", "L", "\u{410}lice"),
            ("talk", "M", "b\u{43e}b"),
            ("pera", "P", "theirs"),
        ]);
        let found = |wanted| choose(&all, wanted, None).map(|found| found.channel);
        assert_eq!(found("sums").as_deref(), Ok("C"));
        assert_eq!(found("C").as_deref(), Ok("C"), "an id comes first");
        assert_eq!(found("twice").unwrap_err().code, "ambiguous");
        assert_eq!(found("none").unwrap_err().code, "not_found");
        assert_eq!(found("\u{fc}ber").as_deref(), Ok("G"), "as a Mac writes it");
        assert_eq!(found("\u{fc}").unwrap_err().code, "ambiguous");
        assert_eq!(found(r"one\u{200d}two").as_deref(), Ok("J"), "as shown");
        // Letters of other scripts: nobody sees which is meant.
        assert_eq!(found("Alice").unwrap_err().code, "ambiguous");
        assert_eq!(found("\u{410}lice").unwrap_err().code, "ambiguous");
        assert_eq!(found("bob").unwrap_err().code, "not_found");
        assert_eq!(found("b\u{43e}b").as_deref(), Ok("M"));
        let theirs = found("theirs").unwrap_err();
        assert_eq!(theirs.next, "it is a peer's: add --source pera");
    }

    #[test]
    fn own_sources_are_those_away_too_and_no_peers() {
        let away =
            |source: &str, peer: bool| json!({"source": source, "why": "it is", "peer": peer});
        let with_away = |mut all: Channels, away: Value| {
            all.away = serde_json::from_value(away).unwrap();
            all
        };
        let rows = all(&[("pera", "P", "theirs")]);
        let odd = json!([
            away("work", false),
            away("talk", false),
            away("work", false),
            away("perb", true)
        ]);
        let all = with_away(rows.clone(), odd);
        let own: Vec<_> = own_sources(&all).into_iter().collect();
        let own: Vec<_> = own.iter().map(SourceId::as_str).collect();
        assert_eq!(own, ["talk", "work"]);
        // A peer that is away hides no channel of the owner's, and no other peer's where the owner has none.
        let mut all = with_away(rows, json!([away("perb", true)]));
        let code =
            |all: &Channels, wanted| choose(all, wanted, None).map_err(|stop| stop.code).err();
        assert_eq!(code(&all, "none").as_deref(), Some("not_found"));
        all.you.retain(|you| you.peer);
        assert_eq!(code(&all, "theirs"), None);
        assert_eq!(code(&all, "none").as_deref(), Some("source_unavailable"));
        let all = with_away(all, json!([away("work", false)]));
        assert_eq!(
            code(&all, "theirs").as_deref(),
            Some("source_unavailable"),
            "the control"
        );
    }

    #[test]
    fn user_who_is_no_member_is_not_called_unknown() {
        let members = json!({"asking": [], "more": false, "source": "talk", "members": [
            {"id": "A", "kind": "human", "name": "Ana", "you": true, "devices": []},
            {"id": "B", "kind": "human", "name": "Eve", "you": false, "devices": []},
            {"id": "C", "kind": "human", "name": "Eve", "you": false, "devices": []},
            {"id": "D", "kind": "human", "name": "Jose\u{301}", "you": false, "devices": []},
            {"id": "E", "kind": "human", "name": "Bo", "you": false, "devices": []},
            {"id": "F", "kind": "human", "name": "B\u{43e}", "you": false, "devices": []},
            {"id": "G", "kind": "human", "name": "C", "you": false, "devices": []},
        ]});
        let members: Members = serde_json::from_value(members).unwrap();
        let channel = choose(&all(&[("talk", "C", "p")]), "p", None).ok();
        assert!(person(&members, "Ana", channel.as_ref()).is_ok());
        let none = person(&members, "Pat", channel.as_ref()).unwrap_err();
        assert_eq!(none.why, "Pat is no member of \"p\"");
        assert_eq!(none.next, "plexusctl channels --source talk members C");
        let no_user = person(&members, "Pat", None).unwrap_err();
        assert_eq!(no_user.why, "no user is Pat");
        // There is one, and more: the id says which.
        let two = person(&members, "Eve", None).unwrap_err();
        assert_eq!(two.code, "ambiguous");
        assert_eq!(
            two.next,
            "name the id: plexusctl channels --source talk members"
        );
        let by_id = person(&members, "C", None).map(|member| &*member.user.id);
        assert_eq!(by_id.ok(), Some("C"), "though G is named so");
        assert_eq!(person(&members, "Bo", None).unwrap_err().code, "ambiguous");
        let other = person(&members, "\u{410}na", None).unwrap_err();
        assert_eq!(other.why, "no user is \u{410}na");
        assert!(person(&members, "Jos\u{e9}", None).is_ok());
    }
}
