//! Rows as they are saved, back to a state: read in parts, each row by itself, and put together.
//!
//! A start reads hundreds of thousands of them. So each is parsed once and spelled once, into the same buffer, to see that it
//! holds nothing this version does not know; ids that come again are one string in memory.
//! Invariant: a part says what its rows say, whichever other rows there are; what belongs to an agent waits in its part for
//! that agent.

use crate::{
    Agent, Denial, Grant, Item, OpenIntent, Settings, Source, State, Unknown, UsedKey, rows::Meta,
};
use plexus_protocol::{AgentId, AuditId, CapabilityId, Digest, PendingId, id::Malformed};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    hash::Hash,
    str::FromStr,
    sync::Arc,
};

/// A row that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("row {key:?}: {why}")]
pub struct RestoreError {
    /// Its key.
    pub key: String,
    /// What is wrong.
    pub why: String,
}

/// What some rows say.
#[derive(Default)]
pub struct Part {
    meta: Option<Meta>,
    settings: Option<Settings>,
    default_grants: Option<BTreeSet<CapabilityId>>,
    agents: Vec<Agent>,
    /// What belongs to one agent, as far as it came in a row; one agent may be there several times.
    owned: Vec<Owned>,
    open_intents: Vec<(AuditId, OpenIntent)>,
    sources: Vec<Source>,
    exposure: Vec<(CapabilityId, bool)>,
    otherwise: Vec<String>,
}

struct Owned {
    agent: AgentId,
    /// The key of the first row.
    first: String,
    grants: BTreeMap<CapabilityId, Arc<Grant>>,
    items: BTreeMap<PendingId, Arc<Item>>,
    denials: BTreeMap<(CapabilityId, Digest), Denial>,
    unknown: BTreeMap<(CapabilityId, Digest), Unknown>,
    keys: BTreeMap<AuditId, UsedKey>,
}

/// Rows that are there from the first launch on.
const FROM_THE_FIRST: [&str; 3] = ["meta", "settings", "default-grants"];

/// The key of the row without which the row `key` cannot be there.
#[must_use]
pub fn needs(key: &str) -> Option<String> {
    let (kind, rest) = key.split_once('/')?;
    let owned = matches!(kind, "grant" | "item" | "denial" | "unknown" | "key");
    let (agent, _) = rest.split_once('/').filter(|_| owned)?;
    Some(format!("agent/{agent}"))
}

/// Builds a state from its rows. Its `latest` is not among them: it is the recorded time of the newest event, and the
/// caller owes it, or a clock that was set back lengthens windows.
///
/// # Errors
/// A row that cannot be read, that holds what this version does not know, or that belongs to an agent that has none.
pub fn restore(rows: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<State, RestoreError> {
    let rows: Vec<_> = rows.into_iter().collect();
    let rows = rows.iter().map(|(key, value)| (key.as_str(), &value[..]));
    Ok(put_together(vec![read_part(rows)?])?.0)
}

/// Reads some rows.
///
/// # Errors
/// The first that cannot be read, or that holds what this version does not know.
pub fn read_part<'r>(
    rows: impl Iterator<Item = (&'r str, &'r [u8])>,
) -> Result<Part, RestoreError> {
    let (mut part, mut reader) = (Part::default(), Reader::default());
    for (key, bytes) in rows {
        reader
            .read(&mut part, key, bytes)
            .map_err(|why| RestoreError {
                key: key.to_owned(),
                why,
            })?;
    }
    Ok(part)
}

/// Makes a state of all parts, and says which rows this version would write in other bytes, would not write, or would write
/// although there is none.
///
/// # Errors
/// A row that belongs to an agent that has none.
pub fn put_together(mut parts: Vec<Part>) -> Result<(State, Vec<String>), RestoreError> {
    let (mut state, mut otherwise) = (State::default(), Vec::new());
    let (mut agents, mut sources) = (BTreeMap::new(), BTreeMap::new());
    let (mut intents, mut exposure) = (BTreeMap::new(), BTreeMap::new());
    let (mut settings, mut default_grants) = (false, false);
    for part in &mut parts {
        otherwise.append(&mut part.otherwise);
        if let Some(meta) = &part.meta {
            state.launched = true;
            state.serial = meta.serial;
            state.paused = meta.paused;
        }
        if let Some(row) = part.settings.take() {
            state.settings = Arc::new(row);
            settings = true;
        }
        if let Some(row) = part.default_grants.take() {
            state.default_grants = Arc::new(row);
            default_grants = true;
        }
        let read = part.agents.drain(..);
        agents.extend(read.map(|agent| (agent.id.clone(), agent)));
        let read = part.sources.drain(..);
        sources.extend(read.map(|source| (source.id.clone(), Arc::new(source))));
        intents.extend(part.open_intents.drain(..));
        exposure.extend(part.exposure.drain(..));
    }
    for owned in parts.into_iter().flat_map(|part| part.owned) {
        let Some(agent) = agents.get_mut(&owned.agent) else {
            let why = "no such agent".to_owned();
            let key = owned.first;
            return Err(RestoreError { key, why });
        };
        owned.give(agent);
    }
    for (key, there) in FROM_THE_FIRST
        .into_iter()
        .zip([state.launched, settings, default_grants])
    {
        if there != state.launched {
            otherwise.push(key.to_owned());
        }
    }
    let shared = agents.into_iter().map(|(id, agent)| (id, Arc::new(agent)));
    state.agents = Arc::new(shared.collect());
    state.sources = Arc::new(sources);
    state.open_intents = Arc::new(intents);
    state.exposure = Arc::new(exposure);
    Ok((state, otherwise))
}

impl Owned {
    fn of(agent: AgentId, first: String) -> Self {
        let (grants, items, denials, unknown, keys) = Default::default();
        Self {
            agent,
            first,
            grants,
            items,
            denials,
            unknown,
            keys,
        }
    }

    fn give(mut self, agent: &mut Agent) {
        agent.grants.append(&mut self.grants);
        agent.items.append(&mut self.items);
        agent.denials.append(&mut self.denials);
        agent.unknown.append(&mut self.unknown);
        if !self.keys.is_empty() {
            Arc::make_mut(&mut agent.keys).append(&mut self.keys);
        }
    }
}

/// What is used from one row to the next.
#[derive(Default)]
struct Reader {
    agents: HashSet<AgentId>,
    capabilities: HashSet<CapabilityId>,
    spelled: Vec<u8>,
}

/// The id that `text` is; the one in `known` where it came before.
fn id<T>(known: &mut HashSet<T>, text: &str) -> Result<T, String>
where
    T: FromStr<Err = Malformed> + std::borrow::Borrow<str> + Hash + Eq + Clone,
{
    if let Some(known) = known.get(text) {
        return Ok(known.clone());
    }
    let id: T = text.parse().map_err(|e: Malformed| e.to_string())?;
    known.insert(id.clone());
    Ok(id)
}

/// An id that comes once.
fn once<T: FromStr<Err = Malformed>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|e: Malformed| e.to_string())
}

/// A row that says it is another's would give one agent what is another's.
fn own(agrees: bool) -> Result<(), String> {
    match agrees {
        true => Ok(()),
        false => Err("key and content differ".to_owned()),
    }
}

impl Reader {
    fn read(&mut self, part: &mut Part, key: &str, bytes: &[u8]) -> Result<(), String> {
        let digest = |text: &str| Digest::parse(text).ok_or("not a digest".to_owned());
        let mut names = key.splitn(5, '/');
        let mut name = || names.next();
        match (name(), name(), name(), name(), name()) {
            (Some("meta"), None, ..) => part.meta = Some(self.row(part, key, bytes)?),
            (Some("settings"), None, ..) => part.settings = Some(self.row(part, key, bytes)?),
            (Some("default-grants"), None, ..) => {
                part.default_grants = Some(self.row(part, key, bytes)?);
            }
            (Some("agent"), Some(a), None, ..) => {
                let mut agent: Agent = self.row(part, key, bytes)?;
                own(agent.id.as_str() == a)?;
                for ids in [
                    &mut agent.selected,
                    &mut agent.standing,
                    &mut agent.tombstones,
                ] {
                    let same = std::mem::take(ids).into_iter();
                    *ids = same.map(|c| self.shared(c)).collect();
                }
                part.agents.push(agent);
            }
            (Some("grant"), Some(a), Some(c), None, _) => {
                let mut grant: Grant = self.row(part, key, bytes)?;
                own(grant.agent.as_str() == a && grant.capability.as_str() == c)?;
                grant.capability = self.shared(grant.capability);
                let owned = self.owned(part, key, a)?;
                grant.agent = owned.agent.clone();
                owned
                    .grants
                    .insert(grant.capability.clone(), Arc::new(grant));
            }
            (Some("item"), Some(a), Some(p), None, _) => {
                let item: Item = self.row(part, key, bytes)?;
                own(item.agent.as_str() == a && item.id.as_str() == p)?;
                let owned = self.owned(part, key, a)?;
                owned.items.insert(item.id.clone(), Arc::new(item));
            }
            (Some("denial"), Some(a), Some(c), Some(d), None) => {
                let denial = self.row(part, key, bytes)?;
                let call = (id(&mut self.capabilities, c)?, digest(d)?);
                self.owned(part, key, a)?.denials.insert(call, denial);
            }
            (Some("unknown"), Some(a), Some(c), Some(d), None) => {
                let unknown = self.row(part, key, bytes)?;
                let call = (id(&mut self.capabilities, c)?, digest(d)?);
                self.owned(part, key, a)?.unknown.insert(call, unknown);
            }
            (Some("key"), Some(a), Some(e), None, _) => {
                let used = self.row(part, key, bytes)?;
                self.owned(part, key, a)?.keys.insert(once(e)?, used);
            }
            (Some("intent"), Some(e), None, ..) => {
                let open = self.row(part, key, bytes)?;
                part.open_intents.push((once(e)?, open));
            }
            (Some("source"), Some(s), None, ..) => {
                let source: Source = self.row(part, key, bytes)?;
                own(source.id.as_str() == s)?;
                part.sources.push(source);
            }
            (Some("exposure"), Some(c), None, ..) => {
                let exposed = self.row(part, key, bytes)?;
                part.exposure
                    .push((id(&mut self.capabilities, c)?, exposed));
            }
            _ => return Err("not a key of this format".into()),
        }
        Ok(())
    }

    /// What a row says, if that is all that it holds.
    fn row<T: DeserializeOwned + Serialize>(
        &mut self,
        part: &mut Part,
        key: &str,
        bytes: &[u8],
    ) -> Result<T, String> {
        let row: T = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        self.spelled.clear();
        serde_json::to_writer(&mut self.spelled, &row).map_err(|e| e.to_string())?;
        if self.spelled != bytes {
            knows(bytes, &self.spelled)?;
            part.otherwise.push(key.to_owned());
        }
        Ok(row)
    }

    fn shared(&mut self, capability: CapabilityId) -> CapabilityId {
        match self.capabilities.get(&capability) {
            Some(known) => known.clone(),
            None => {
                self.capabilities.insert(capability.clone());
                capability
            }
        }
    }

    /// Where a row of the agent `a` goes.
    fn owned<'p>(
        &mut self,
        part: &'p mut Part,
        key: &str,
        a: &str,
    ) -> Result<&'p mut Owned, String> {
        // Rows of one kind and agent come one after the other.
        if part.owned.last().is_none_or(|o| o.agent.as_str() != a) {
            let agent = id(&mut self.agents, a)?;
            part.owned.push(Owned::of(agent, key.to_owned()));
        }
        part.owned
            .last_mut()
            .ok_or_else(|| "no such agent".to_owned())
    }
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
