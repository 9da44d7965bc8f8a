//! Channels and users by the names that people type.
//!
//! Invariants: a name counts only where it is one's alone; an id always wins. The owner's own identities come before those of
//! peers, which speak by themselves.

use super::shown;
use crate::owner::{Owner, list_of, text_of};
use plexus_client::{Exit, Stop, text};
use plexus_protocol::SourceId;
use serde_json::Value;

/// A channel that was found.
pub(super) struct Found {
    source: String,
    id: String,
    pub(super) name: String,
    /// Who is meant, where that is a peer of the owner's.
    pub(super) peer: Option<String>,
}

impl Found {
    /// Its name in a line of ours.
    pub(super) fn shown(&self) -> String {
        shown::quoted(&self.name)
    }

    /// The channel's route.
    pub(super) fn path(&self) -> String {
        format!("{}/{}", self.users(), self.id)
    }

    /// The route of all users who could be in it.
    pub(super) fn users(&self) -> String {
        format!("/admin/api/channels/{}", self.source)
    }
}

/// All channels, or those of one source.
pub(super) async fn all(owner: &mut Owner, source: Option<&SourceId>) -> Result<Value, Stop> {
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
pub(super) async fn find(
    owner: &mut Owner,
    wanted: &str,
    source: Option<&SourceId>,
) -> Result<Found, Stop> {
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
    let mut fitting = own_first(&all, source, channels);
    fitting.retain(|channel| channel[field] == wanted);
    let Some(channel) = fitting.first() else {
        let why = format!("there is no channel {}", text::line(wanted));
        return Err(missing(&all, why));
    };
    if fitting.len() > 1 {
        let why = format!("more than one channel is {}", text::line(wanted));
        let next = "name its id, and its --source: plexusctl channels list";
        return Err(Stop::new(Exit::Failed, "ambiguous", why).next(next));
    }
    let name = channel["name"].as_str().unwrap_or(wanted);
    Ok(Found {
        source: text_of(channel, "source").to_owned(),
        id: text_of(channel, "id").to_owned(),
        name: name.to_owned(),
        peer: (channel["peer"] == true).then(|| text_of(channel, "source").to_owned()),
    })
}

/// Those of the owner's own identities, unless a source is named. Those of peers where the owner has none: not where one is
/// away, or a name would mean the peer's for as long.
fn own_first<'a>(all: &Value, source: Option<&SourceId>, entries: &'a [Value]) -> Vec<&'a Value> {
    let is_own = |entry: &&Value| entry["peer"] != true;
    let has_own = list_of(all, "you").iter().any(|you| is_own(&you));
    match source.is_none() && (has_own || !list_of(all, "away").is_empty()) {
        true => entries.iter().filter(is_own).collect(),
        false => entries.iter().collect(),
    }
}

/// The owner's own sources with channels, or this one.
pub(super) async fn sources(
    owner: &mut Owner,
    source: Option<&SourceId>,
) -> Result<Vec<String>, Stop> {
    let all = all(owner, source).await?;
    let mut yous = list_of(&all, "you").to_vec();
    yous.retain(|you| you["peer"] != true);
    if yous.is_empty() {
        return Err(missing(&all, "there is no such source".to_owned()));
    }
    Ok(yous
        .iter()
        .map(|you| text_of(you, "source").to_owned())
        .collect())
}

/// The path of the one source with channels.
pub(super) async fn own_path(owner: &mut Owner, source: Option<&SourceId>) -> Result<String, Stop> {
    let all = all(owner, source).await?;
    match &*own_first(&all, source, list_of(&all, "you")) {
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

/// All users who could be in a channel of a source, page after page.
pub(super) async fn people(owner: &mut Owner, path: &str) -> Result<Value, Stop> {
    let mut all = owner.get(path).await?;
    while all["more"] == true {
        let last = list_of(&all, "members")
            .last()
            .map(|last| last["id"].clone());
        let last = last.unwrap_or_default();
        let mut page = owner
            .get(&format!(
                "{path}?after={}",
                last.as_str().unwrap_or_default()
            ))
            .await?;
        all["more"] = page["more"].take();
        let members = page["members"].as_array_mut().map(std::mem::take);
        let members = members.unwrap_or_default();
        if members.is_empty() {
            break;
        }
        if let Some(all) = all["members"].as_array_mut() {
            all.extend(members);
        }
    }
    Ok(all)
}

/// A user by id or name.
pub(super) fn person<'p>(people: &'p Value, wanted: &str) -> Result<&'p Value, Stop> {
    let members = list_of(people, "members").iter();
    let mut fitting = members.filter(|m| m["id"] == wanted || m["name"] == wanted);
    match (fitting.next(), fitting.next()) {
        (Some(user), None) => Ok(user),
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
