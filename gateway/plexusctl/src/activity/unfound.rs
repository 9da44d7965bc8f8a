//! No call was found: whether what was typed is known at all, and what may have been meant by it.
//!
//! Invariant: an agent or a source that is not connected, and of which nothing is recorded, is an error and no count of 0.

use super::{Activity, FoundCalls, Thing, find};
use crate::{
    agents,
    owner::{Owner, or_near},
};
use jiff::Zoned;
use plexus_client::{Exit, Stop, near, text};
use plexus_owner::{
    activity::List,
    sources::{self, ConfiguredSource, thing_below},
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// The newest calls among whose things names like the typed one are looked for.
const NEWEST: u32 = 1_000;
/// Names that are shown.
const SHOWN: usize = 3;

/// Looks why nothing was found, and for a thing that was typed as a path once more.
///
/// # Errors
/// The agent or the source is unknown.
pub(super) async fn look(
    owner: &mut Owner,
    activity: &Activity,
    now: &Zoned,
    mut found: FoundCalls,
) -> Result<FoundCalls, Stop> {
    if let Some(agent) = &activity.agent
        && let Err(unknown) = agents::known(owner, agent).await
    {
        let of_it = List {
            agent: Some(agent.to_string()),
            ..List::default()
        };
        recorded(owner, of_it, unknown).await?;
    }
    if activity.source.is_none() && activity.touched.is_none() {
        return Ok(found);
    }
    let rows = owner.call(&sources::List {}).await?.sources;
    let sources: Vec<_> = rows.into_iter().map(|row| row.source).collect();
    if let Some(typed) = &activity.source
        && sources.iter().all(|source| source.id.as_str() != typed)
    {
        let of_it = List {
            source: Some(typed.clone()),
            ..List::default()
        };
        recorded(owner, of_it, unknown_source(typed, &sources)).await?;
    }
    let Some(typed) = &activity.touched else {
        return Ok(found);
    };
    let mut named = None;
    for thing in things(Path::new(typed), &sources, activity.source.as_deref()) {
        let asked = List {
            source: Some(thing.source.to_string()),
            touched: Some(thing.id.clone()),
            ..activity.asked(now)
        };
        found = find(owner, asked, activity.limit).await?;
        if found.totals.all() > 0 {
            found.thing = Some(thing);
            return Ok(found);
        }
        named.get_or_insert(thing);
    }
    let newest = List {
        agent: activity.agent.as_ref().map(ToString::to_string),
        source: activity.source.clone(),
        limit: Some(NEWEST.into()),
        ..List::default()
    };
    let newest = owner.call(&newest).await?.calls;
    let touched = newest.iter().flat_map(|row| &row.call().touched);
    let names: BTreeSet<&str> = touched.flatten().map(|thing| thing.id.as_str()).collect();
    let typed = named.as_ref().map_or(&**typed, |thing| &*thing.id);
    found.similar = Some(like(typed, &names));
    found.thing = named;
    Ok(found)
}

/// Holds that a call is recorded of what is asked for.
async fn recorded(owner: &mut Owner, asked: List, unknown: Stop) -> Result<(), Stop> {
    match find(owner, asked, 1).await?.totals.all() {
        0 => Err(unknown),
        _ => Ok(()),
    }
}

fn unknown_source(typed: &str, sources: &[ConfiguredSource]) -> Stop {
    let meant = or_near(typed, sources.iter().map(|source| source.id.as_str()));
    let why = format!("no source {}{meant}", text::line(typed));
    Stop::new(Exit::Failed, "unknown_source", why).next("plexusctl sources list")
}

/// The things that a path may be: below the folder of a source.
fn things(typed: &Path, sources: &[ConfiguredSource], only: Option<&str>) -> Vec<Thing> {
    let Ok(path) = std::path::absolute(typed) else {
        return Vec::new();
    };
    // Where it is there, with its links resolved; a source may name its folder either way.
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let paths = [real(&path), path];
    let of = |source: &ConfiguredSource| {
        let folders = source.texts().map(Path::new).filter(|it| it.is_absolute());
        let folders: Vec<PathBuf> = folders.flat_map(|it| [it.to_owned(), real(it)]).collect();
        let mut paths = paths.iter();
        Some(Thing {
            source: source.id.clone(),
            id: paths.find_map(|path| thing_below(path, &folders))?,
        })
    };
    let wanted = |source: &&ConfiguredSource| only.is_none_or(|only| source.id.as_str() == only);
    sources.iter().filter(wanted).filter_map(of).collect()
}

/// Recorded names like this one: of the same last part, whatever their case, folder and extension; else the nearest.
fn like(typed: &str, names: &BTreeSet<&str>) -> Vec<String> {
    let last = |name: &str| {
        let stem = Path::new(name).file_stem().and_then(|stem| stem.to_str());
        stem.unwrap_or_default().to_lowercase()
    };
    let wanted = last(typed);
    let same = names
        .iter()
        .filter(|name| !wanted.is_empty() && last(name) == wanted);
    let mut same: Vec<String> = same.take(SHOWN).map(|name| (*name).to_owned()).collect();
    if same.is_empty() {
        same.extend(near(typed, names.iter().copied()).map(str::to_owned));
    }
    same
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn source(id: &str, folder: &str) -> ConfiguredSource {
        serde_json::from_value(
            json!({"id": id, "kind": "workspace", "label": id, "enabled": true,
            "transport": "local", "route": {"root": folder, "label": "x"}}),
        )
        .unwrap()
    }

    #[test]
    fn path_below_a_folder_is_the_thing_of_its_source() {
        let sources = [source("vault", "/no/vault"), source("work", "/no/work")];
        let named = |typed: &str, only| {
            let found = things(Path::new(typed), &sources, only);
            found
                .into_iter()
                .map(|thing| format!("{}:{}", thing.source, thing.id))
                .collect::<Vec<_>>()
        };
        assert_eq!(named("/no/vault/Ideas.md", None), ["vault:Ideas.md"]);
        assert_eq!(named("/no/work/a/b.md", Some("work")), ["work:a/b.md"]);
        for (typed, only) in [
            ("/no/work/a", Some("vault")),
            ("/no/vaults/a", None),
            ("/no/vault", None),
            ("a.md", None),
        ] {
            assert_eq!(named(typed, only), [""; 0], "{typed}");
        }
    }

    #[test]
    fn recorded_names_like_the_typed_one() {
        let names = ["Ideas.md", "notes/b.md", "Plans/ideas.txt"].into();
        for typed in ["ideas.md", "Ideas", "vault/Ideas.md"] {
            assert_eq!(
                like(typed, &names),
                ["Ideas.md", "Plans/ideas.txt"],
                "{typed}"
            );
        }
        assert_eq!(like("notes/bb.md", &names), ["notes/b.md"]);
        assert_eq!(like("", &names), [""; 0]);
        assert_eq!(like("other.md", &names), [""; 0]);
    }

    #[test]
    fn mistyped_source_has_the_nearest_name() {
        let unknown = unknown_source("valt", &[source("vault", "/v")]);
        assert_eq!(
            (&*unknown.code, &*unknown.why),
            ("unknown_source", "no source valt; did you mean vault?")
        );
    }
}
