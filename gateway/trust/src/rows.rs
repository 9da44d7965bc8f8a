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

use crate::{Event, State, event::Change};
use plexus_protocol::{AgentId, AuditId, CapabilityId, Digest};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub(crate) serial: u64,
    pub(crate) paused: bool,
}

/// Keys of the rows that an event sets or removes.
#[must_use]
pub fn touched_rows(event: &Event, id: &AuditId) -> Vec<String> {
    let row = |change| Some(written(change, id)?.0);
    event.changes.iter().filter_map(row).collect()
}

/// How a change is carried out on a row.
enum RowEdit {
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
fn written(change: &Change, id: &AuditId) -> Option<(String, RowEdit)> {
    use RowEdit::{Gone, Last, LastOf, Whole, WholeOf};
    Some(match change {
        Change::Serial(n) => ("meta".to_owned(), RowEdit::Serial(*n)),
        Change::Paused(on) => ("meta".to_owned(), RowEdit::Paused(*on)),
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
        if let RowEdit::WholeOf(agent) | RowEdit::LastOf(agent) = &written
            && !rows.contains_key(&format!("agent/{agent}"))
        {
            continue;
        }
        let value = match written {
            RowEdit::Gone => None,
            RowEdit::Whole | RowEdit::WholeOf(_) => Some(held::<&RawValue>(raw)?.get().into()),
            RowEdit::Last | RowEdit::LastOf(_) => {
                let parts = held::<Vec<&RawValue>>(raw)?;
                parts.last().map(|last| last.get().into())
            }
            RowEdit::Serial(_) | RowEdit::Paused(_) => {
                let mut meta = match rows.get(&key) {
                    Some(bytes) => serde_json::from_slice(bytes)?,
                    None => Meta::default(),
                };
                match written {
                    RowEdit::Serial(n) => meta.serial = n,
                    RowEdit::Paused(on) => meta.paused = on,
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
    let mut rows = Vec::new();
    let mut add =
        |key: String, bytes: Option<Vec<u8>>| rows.extend(bytes.map(|bytes| (key, bytes)));
    for key in ["meta", "settings", "default-grants"] {
        add(key.to_owned(), row(state, key));
    }
    // Written where they are found: looking each up by its key again would be most of the work.
    for (a, agent) in state.agents.iter() {
        add(format!("agent/{a}"), json(&**agent));
        for (c, grant) in &agent.grants {
            add(format!("grant/{a}/{c}"), json(&**grant));
        }
        for (p, item) in &agent.items {
            add(format!("item/{a}/{p}"), json(&**item));
        }
        for ((c, d), denial) in &agent.denials {
            add(format!("denial/{a}/{c}/{d}"), json(denial));
        }
        for ((c, d), unknown) in &agent.unknown {
            add(format!("unknown/{a}/{c}/{d}"), json(unknown));
        }
        for (e, used) in agent.keys.iter() {
            add(format!("key/{a}/{e}"), json(used));
        }
    }
    for (e, intent) in state.open_intents.iter() {
        add(format!("intent/{e}"), json(intent));
    }
    for (s, source) in state.sources.iter() {
        add(format!("source/{s}"), json(&**source));
    }
    for (c, exposed) in state.exposure.iter() {
        add(format!("exposure/{c}"), json(exposed));
    }
    rows
}
