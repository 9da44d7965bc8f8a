//! The state as rows: what the ledger saves beside each event, and what it starts from.
//!
//! Keys: `meta`, `settings`, `default-grants`, `agent/A`, `grant/A/C`, `item/A/P`, `denial/A/C/D`, `unknown/A/C/D`,
//! `intent/E`, `source/S`, `exposure/C`. No id can hold a `/`.
//!
//! Invariant: `restore(all_rows(state))` equals `state` but for `latest` and the sessions and tokens of the launch.

use crate::{Agent, Denial, Event, Grant, Item, OpenIntent, Source, State, Unknown, event::Change};
use plexus_protocol::{AgentId, AuditId, CapabilityId, Digest, PendingId};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::sync::Arc;

/// A row that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("row {key:?}: {why}")]
pub struct RestoreError {
    /// Its key.
    pub key: String,
    /// What is wrong.
    pub why: String,
}

#[derive(Serialize, Deserialize)]
struct Meta {
    serial: u64,
    paused: bool,
}

/// Keys of the rows that an event sets or removes.
#[must_use]
pub fn touched_rows(event: &Event, id: &AuditId) -> Vec<String> {
    event
        .changes
        .iter()
        .filter_map(|change| {
            Some(match change {
                Change::Serial(_) | Change::Paused(_) => "meta".to_owned(),
                Change::Settings(_) => "settings".to_owned(),
                Change::DefaultGrants(_) => "default-grants".to_owned(),
                Change::Agent(row) => format!("agent/{}", row.id),
                Change::AgentGone(agent) => format!("agent/{agent}"),
                Change::Grant(grant) => format!("grant/{}/{}", grant.agent, grant.capability),
                Change::GrantGone(agent, id) => format!("grant/{agent}/{id}"),
                Change::Item(item) => format!("item/{}/{}", item.agent, item.id),
                Change::ItemGone(agent, id) => format!("item/{agent}/{id}"),
                Change::Denial(agent, id, input, _) | Change::DenialGone(agent, id, input) => {
                    format!("denial/{agent}/{id}/{input}")
                }
                Change::Unknown(agent, id, input, _) | Change::UnknownGone(agent, id, input) => {
                    format!("unknown/{agent}/{id}/{input}")
                }
                Change::Open(_) => format!("intent/{id}"),
                Change::Closed(intent) => format!("intent/{intent}"),
                Change::Source(source) => format!("source/{}", source.id),
                Change::SourceGone(source) => format!("source/{source}"),
                Change::Exposure(id, _) => format!("exposure/{id}"),
                Change::Session { .. }
                | Change::SessionGone { .. }
                | Change::Token { .. }
                | Change::TokenGone { .. }
                | Change::LaunchOver => return None,
            })
        })
        .collect()
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
/// The first row that cannot be read, or that belongs to an agent that has none.
pub fn restore(rows: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<State, RestoreError> {
    let mut rows: Vec<_> = rows.into_iter().collect();
    // Agents come before what is theirs.
    rows.sort_by_key(|(key, _)| !key.starts_with("agent/"));
    let mut state = State::default();
    for (key, bytes) in rows {
        place(&mut state, &key, &bytes).map_err(|why| RestoreError {
            key: key.clone(),
            why,
        })?;
    }
    Ok(state)
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
