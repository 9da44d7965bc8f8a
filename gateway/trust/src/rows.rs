//! The state as rows: what the ledger saves beside each event, and what it starts from.
//!
//! Keys: `meta`, `settings`, `default-grants`, `agent/A`, `grant/A/C`, `item/A/P`, `denial/A/C/D`, `unknown/A/C/D`,
//! `key/A/E`, `intent/E`, `source/S`, `exposure/C`. No id can hold a `/`.
//!
//! A row may have been saved by an earlier version: a member that came later has a serde default there, and the row keeps
//! its bytes until an event changes it. So a member that is added needs nothing but `#[serde(default)]`; a change that
//! needs more (a member renamed, a meaning moved) is a new format of the ledger, with its migration there.
//!
//! Invariant: `restore(all_rows(state))` equals `state` but for `latest` and the sessions and tokens of the launch.

use crate::{
    Agent, Denial, Event, Grant, Item, OpenIntent, Source, State, Unknown, UsedKey, event::Change,
};
use plexus_protocol::{AgentId, AuditId, CapabilityId, Digest, PendingId};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};
use std::{collections::BTreeMap, sync::Arc};

/// A row that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("row {key:?}: {why}")]
pub struct RestoreError {
    /// Its key.
    pub key: String,
    /// What is wrong.
    pub why: String,
}

#[derive(Default, Serialize, Deserialize)]
struct Meta {
    serial: u64,
    paused: bool,
}

/// Keys of the rows that an event sets or removes.
#[must_use]
pub fn touched_rows(event: &Event, id: &AuditId) -> Vec<String> {
    let row = |change| Some(written(change, id)?.0);
    event.changes.iter().filter_map(row).collect()
}

/// How a change is carried out on a row.
enum Written {
    /// The row is what the change holds: all of it, or the last of its parts.
    Whole,
    Last,
    /// The same, if the row of this agent is there.
    WholeOf(AgentId),
    LastOf(AgentId),
    Gone,
    /// One member of `meta`.
    Serial(u64),
    Paused(bool),
}

/// Which row a change is about, and how; `None` for what has no row.
fn written(change: &Change, id: &AuditId) -> Option<(String, Written)> {
    use Written::{Gone, Last, LastOf, Whole, WholeOf};
    Some(match change {
        Change::Serial(n) => ("meta".to_owned(), Written::Serial(*n)),
        Change::Paused(on) => ("meta".to_owned(), Written::Paused(*on)),
        Change::Settings(_) => ("settings".to_owned(), Whole),
        Change::DefaultGrants(_) => ("default-grants".to_owned(), Whole),
        Change::Agent(row) => (format!("agent/{}", row.id), Whole),
        Change::AgentGone(agent) => (format!("agent/{agent}"), Gone),
        Change::Grant(grant) => (
            format!("grant/{}/{}", grant.agent, grant.capability),
            WholeOf(grant.agent.clone()),
        ),
        Change::GrantGone(agent, id) => (format!("grant/{agent}/{id}"), Gone),
        Change::Item(item) => (
            format!("item/{}/{}", item.agent, item.id),
            WholeOf(item.agent.clone()),
        ),
        Change::ItemGone(agent, id) => (format!("item/{agent}/{id}"), Gone),
        Change::Denial(agent, id, input, _) => (
            format!("denial/{agent}/{id}/{input}"),
            LastOf(agent.clone()),
        ),
        Change::DenialGone(agent, id, input) => (format!("denial/{agent}/{id}/{input}"), Gone),
        Change::Unknown(agent, id, input, _) => (
            format!("unknown/{agent}/{id}/{input}"),
            LastOf(agent.clone()),
        ),
        Change::UnknownGone(agent, id, input) => (format!("unknown/{agent}/{id}/{input}"), Gone),
        Change::Key(agent, _) => (format!("key/{agent}/{id}"), LastOf(agent.clone())),
        Change::KeyOver(agent, intent, _) => {
            (format!("key/{agent}/{intent}"), LastOf(agent.clone()))
        }
        Change::KeyGone(agent, intent) => (format!("key/{agent}/{intent}"), Gone),
        Change::Open(_) => (format!("intent/{id}"), Whole),
        Change::Closed(intent) => (format!("intent/{intent}"), Gone),
        Change::Source(source) => (format!("source/{}", source.id), Whole),
        Change::SourceGone(source) => (format!("source/{source}"), Gone),
        Change::Exposure(id, _) => (format!("exposure/{id}"), Last),
        Change::Session { .. }
        | Change::SessionGone { .. }
        | Change::Token { .. }
        | Change::TokenGone { .. }
        | Change::LaunchOver => return None,
    })
}

/// Rows as they are saved: key → bytes.
pub type Rows = BTreeMap<String, Vec<u8>>;

/// What [`State::apply`] does, on saved rows: a row gets the very bytes that the event brings, so that the rows of a log
/// come out as they were saved, whichever version wrote it. Only `meta` is put together from two changes: it has these
/// two members for good, and a new fact gets a row of its own.
///
/// # Errors
/// When the members are not an event that this version knows.
pub fn replay(rows: &mut Rows, id: &AuditId, members: &[u8]) -> Result<(), serde_json::Error> {
    #[derive(Deserialize)]
    struct Carried<'a> {
        #[serde(borrow, default)]
        changes: Vec<&'a RawValue>,
    }
    let carried: Carried<'_> = serde_json::from_slice(members)?;
    for raw in carried.changes {
        let change: Change = serde_json::from_str(raw.get())?;
        let Some((key, written)) = written(&change, id) else {
            continue;
        };
        if let Written::WholeOf(agent) | Written::LastOf(agent) = &written
            && !rows.contains_key(&format!("agent/{agent}"))
        {
            continue;
        }
        let value = match written {
            Written::Gone => None,
            Written::Whole | Written::WholeOf(_) => Some(held::<&RawValue>(raw)?.get().into()),
            Written::Last | Written::LastOf(_) => {
                let parts = held::<Vec<&RawValue>>(raw)?;
                parts.last().map(|last| last.get().into())
            }
            Written::Serial(_) | Written::Paused(_) => {
                let mut meta = match rows.get(&key) {
                    Some(bytes) => serde_json::from_slice(bytes)?,
                    None => Meta::default(),
                };
                match written {
                    Written::Serial(n) => meta.serial = n,
                    Written::Paused(on) => meta.paused = on,
                    _ => {}
                }
                json(&meta)
            }
        };
        match value {
            Some(value) => rows.insert(key, value),
            None => rows.remove(&key),
        };
    }
    Ok(())
}

/// What stands behind the one key of a change.
fn held<'a, T: Deserialize<'a>>(change: &'a RawValue) -> Result<T, serde_json::Error> {
    let object: BTreeMap<&str, T> = serde_json::from_str(change.get())?;
    object
        .into_values()
        .next()
        .ok_or_else(|| serde::de::Error::custom("an empty change"))
}

fn json(value: &impl Serialize) -> Option<Vec<u8>> {
    serde_json::to_vec(value).ok()
}

/// One row as it is in `state`; `None` where there is none.
#[must_use]
pub fn row(state: &State, key: &str) -> Option<Vec<u8>> {
    let parts: Vec<&str> = key.split('/').collect();
    let agent = |id: &str| state.agents.get(id);
    let capability = |id: &str| CapabilityId::parse(id).ok();
    match parts.as_slice() {
        ["meta" | "settings" | "default-grants"] if !state.launched => None,
        ["meta"] => json(&Meta {
            serial: state.serial,
            paused: state.paused,
        }),
        ["settings"] => json(&*state.settings),
        ["default-grants"] => json(&*state.default_grants),
        ["agent", a] => json(&**agent(a)?),
        ["grant", a, c] => json(&**agent(a)?.grants.get(*c)?),
        ["item", a, p] => json(&**agent(a)?.items.get(*p)?),
        ["denial", a, c, d] => json(
            agent(a)?
                .denials
                .get(&(capability(c)?, Digest::parse(d)?))?,
        ),
        ["unknown", a, c, d] => json(
            agent(a)?
                .unknown
                .get(&(capability(c)?, Digest::parse(d)?))?,
        ),
        ["key", a, e] => json(agent(a)?.keys.get(*e)?),
        ["intent", e] => json(state.open_intents.get(*e)?),
        ["source", s] => json(&**state.sources.get(*s)?),
        ["exposure", c] => json(state.exposure.get(*c)?),
        _ => None,
    }
}

/// Every row of `state`.
#[must_use]
pub fn all_rows(state: &State) -> Vec<(String, Vec<u8>)> {
    let mut keys = Vec::new();
    if state.launched {
        keys.extend(["meta", "settings", "default-grants"].map(str::to_owned));
    }
    for (a, agent) in state.agents.iter() {
        keys.push(format!("agent/{a}"));
        keys.extend(agent.grants.keys().map(|c| format!("grant/{a}/{c}")));
        keys.extend(agent.items.keys().map(|p| format!("item/{a}/{p}")));
        keys.extend(
            agent
                .denials
                .keys()
                .map(|(c, d)| format!("denial/{a}/{c}/{d}")),
        );
        keys.extend(
            agent
                .unknown
                .keys()
                .map(|(c, d)| format!("unknown/{a}/{c}/{d}")),
        );
        keys.extend(agent.keys.keys().map(|e| format!("key/{a}/{e}")));
    }
    keys.extend(state.open_intents.keys().map(|e| format!("intent/{e}")));
    keys.extend(state.sources.keys().map(|s| format!("source/{s}")));
    keys.extend(state.exposure.keys().map(|c| format!("exposure/{c}")));
    keys.into_iter()
        .filter_map(|key| row(state, &key).map(|bytes| (key, bytes)))
        .collect()
}

/// Builds a state from its rows. Its `latest` is not among them: it is the recorded time of the newest event, and the
/// caller owes it, or a clock that was set back lengthens windows.
///
/// # Errors
/// The first row that cannot be read, that holds what this version does not know, or that belongs to an agent that has none.
pub fn restore(rows: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<State, RestoreError> {
    let mut rows: Vec<_> = rows.into_iter().collect();
    // Agents come before what is theirs.
    rows.sort_by_key(|(key, _)| !key.starts_with("agent/"));
    let mut state = State::default();
    for (key, bytes) in rows {
        let read = place(&mut state, &key, &bytes).and_then(|()| match row(&state, &key) {
            Some(now) if now != bytes => knows(&bytes, &now),
            _ => Ok(()),
        });
        read.map_err(|why| RestoreError { key, why })?;
    }
    Ok(state)
}

/// Whether a row as this version spells it (`now`) has everything that `saved` holds. An earlier version's row lacks
/// members; one that holds more was written by a later version, and what it says would be lost.
fn knows(saved: &[u8], now: &[u8]) -> Result<(), String> {
    fn more(saved: &Value, now: &Value, path: &str) -> Option<String> {
        match (saved, now) {
            (Value::Object(saved), Value::Object(now)) => saved.iter().find_map(|(name, value)| {
                let path = format!("{path}/{name}");
                match now.get(name) {
                    Some(now) => more(value, now, &path),
                    // Members that say nothing are left out by some versions.
                    None if value.is_null() || *value == Value::Array(Vec::new()) => None,
                    None => Some(path),
                }
            }),
            (Value::Array(saved), Value::Array(now)) => saved
                .iter()
                .zip(now)
                .find_map(|(saved, now)| more(saved, now, path)),
            _ => None,
        }
    }
    let value = |bytes| serde_json::from_slice(bytes).map_err(|e| e.to_string());
    match more(&value(saved)?, &value(now)?, "") {
        Some(path) => Err(format!(
            "it holds `{path}`, which this version does not know"
        )),
        None => Ok(()),
    }
}

fn place(state: &mut State, key: &str, bytes: &[u8]) -> Result<(), String> {
    fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
        serde_json::from_slice(bytes).map_err(|e| e.to_string())
    }
    fn id<T: std::str::FromStr<Err = plexus_protocol::id::Malformed>>(
        text: &str,
    ) -> Result<T, String> {
        text.parse()
            .map_err(|e: plexus_protocol::id::Malformed| e.to_string())
    }
    let digest = |text: &str| Digest::parse(text).ok_or("not a digest".to_owned());
    // A row that says it is another's would give one agent what is another's.
    let own = |agrees: bool| {
        if agrees {
            Ok(())
        } else {
            Err("key and content differ".to_owned())
        }
    };
    let parts: Vec<&str> = key.split('/').collect();
    let owner = |state: &mut State, a: &str| -> Result<(), String> {
        id::<AgentId>(a).and_then(|a| {
            if state.agents.contains_key(&a) {
                Ok(())
            } else {
                Err("no such agent".into())
            }
        })
    };
    match parts.as_slice() {
        ["meta"] => {
            let meta: Meta = read(bytes)?;
            state.launched = true;
            state.serial = meta.serial;
            state.paused = meta.paused;
        }
        ["settings"] => state.settings = Arc::new(read(bytes)?),
        ["default-grants"] => state.default_grants = Arc::new(read(bytes)?),
        ["agent", a] => {
            let agent = read::<Agent>(bytes)?;
            own(agent.id.as_str() == *a)?;
            Arc::make_mut(&mut state.agents).insert(id(a)?, Arc::new(agent));
        }
        ["grant", a, c] => {
            owner(state, a)?;
            let (grant, c) = (read::<Grant>(bytes)?, id::<CapabilityId>(c)?);
            own(grant.agent.as_str() == *a && grant.capability == c)?;
            state
                .agent_mut(&id(a)?)
                .ok_or("no such agent")?
                .grants
                .insert(c, Arc::new(grant));
        }
        ["item", a, p] => {
            owner(state, a)?;
            let (item, p) = (read::<Item>(bytes)?, id::<PendingId>(p)?);
            own(item.agent.as_str() == *a && item.id == p)?;
            state
                .agent_mut(&id(a)?)
                .ok_or("no such agent")?
                .items
                .insert(p, Arc::new(item));
        }
        ["denial", a, c, d] => {
            owner(state, a)?;
            let denial = read::<Denial>(bytes)?;
            state
                .agent_mut(&id(a)?)
                .ok_or("no such agent")?
                .denials
                .insert((id(c)?, digest(d)?), denial);
        }
        ["unknown", a, c, d] => {
            owner(state, a)?;
            let unknown = read::<Unknown>(bytes)?;
            state
                .agent_mut(&id(a)?)
                .ok_or("no such agent")?
                .unknown
                .insert((id(c)?, digest(d)?), unknown);
        }
        ["key", a, e] => {
            owner(state, a)?;
            let used = read::<UsedKey>(bytes)?;
            let agent = state.agent_mut(&id(a)?).ok_or("no such agent")?;
            Arc::make_mut(&mut agent.keys).insert(id(e)?, used);
        }
        ["intent", e] => {
            Arc::make_mut(&mut state.open_intents).insert(id(e)?, read::<OpenIntent>(bytes)?);
        }
        ["source", s] => {
            let source = read::<Source>(bytes)?;
            own(source.id.as_str() == *s)?;
            Arc::make_mut(&mut state.sources).insert(id(s)?, Arc::new(source));
        }
        ["exposure", c] => {
            Arc::make_mut(&mut state.exposure).insert(id(c)?, read(bytes)?);
        }
        _ => return Err("not a key of this format".into()),
    }
    Ok(())
}
