//! The catalogue: every capability of every configured source, as the wire shows it.
//!
//! Built from the machine's state and the manifests whenever a source changes, and shared as a snapshot. Who may see
//! an entry is the machine's to say; health is the supervisor's.

use super::{Registered, Registry, extensions::proposals::Proposal};
use plexus_ipc::manifest::{Capability, Constrainable, EntryKind, MINUTES_OF_MEMBERS, Member};
use plexus_protocol::{CapabilityId, SourceId, Timestamp};
use plexus_trust::{
    Agent, ChildrenAsked, Facts, State, TurnLimits, class_default, standing_for, visible,
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// Longest summary of a tool of a lent server, in bytes: it is a stranger's, and everybody reads it.
const LONGEST_SUMMARY: usize = 200;

/// One entry.
pub struct Entry {
    /// Its id, with the source's.
    pub id: CapabilityId,
    /// The source that it belongs to.
    pub source: SourceId,
    /// The connector of that source.
    pub connector: Arc<Registered>,
    /// Position in the manifest.
    index: usize,
    /// Who vouches for it.
    pub provenance: plexus_protocol::Provenance,
    /// What the machine knows of it.
    pub facts: Facts,
    /// Ids of the skills that go with it.
    pub(crate) skills: Vec<CapabilityId>,
}

impl Entry {
    /// What the manifest says of it.
    pub fn capability(&self) -> &Capability {
        &self.connector.offer.manifest.capabilities[self.index]
    }
    /// Holds an input against its schema, where it has one.
    ///
    /// # Errors
    /// One sentence that names the field.
    pub fn check(&self, input: &Value) -> Result<(), String> {
        let capability = self.capability();
        // What is lent may have ids of 64 bits. Our own inputs have none (docs/design.md#the-life-of-a-call).
        if self.provenance != plexus_protocol::Provenance::Extension
            && let Some(at) = plexus_protocol::json::wide_integer(input)
        {
            return Err(format!(
                "The input has an integer beyond 2^53 - 1 at '{at}': send it as a text."
            ));
        }
        match self.connector.schemas.get(&capability.name) {
            Some(schema) => schema.check(input),
            None if capability.callable() => Err("Its input cannot be checked.".to_owned()),
            None => Ok(()),
        }
    }
    /// The kind of thing that a narrowing to this value of `field` is about, where no such thing can have that id: by the
    /// pattern that its source has for one. Of a path the value is a part, so a pattern says nothing.
    pub fn no_id_of(&self, field: &str, value: &str) -> Option<&str> {
        let is_id = |rule: &&Constrainable| {
            let kind = rule.touched.as_deref();
            rule.field == field
                && kind.is_some_and(|kind| !matches!(kind, "file" | "note" | "path"))
        };
        let rule = self.capability().constrainable.iter().find(is_id)?;
        let capabilities = self.connector.offer.manifest.capabilities.iter();
        let mut same = capabilities.filter(|one| one.constrainable.contains(rule));
        let fits = same.all(|one| {
            let schema = self.connector.schemas.get(&one.name);
            // Below it there may be such a thing.
            let below = format!("{value}/x");
            let follows = |id: &str| schema.is_none_or(|schema| schema.follows_pattern(field, id));
            follows(value) || follows(&below)
        });
        rule.touched.as_deref().filter(|_| !fits)
    }
    /// How many turns or child calls a call with this input asks for, within which time, and which child calls; none where
    /// it is one call and no more.
    pub fn turns(&self, input: &Value) -> (Option<TurnLimits>, Option<ChildrenAsked>) {
        let capability = self.capability();
        if let Some(calls) = &capability.children {
            let asked = calls.asked(input);
            let limits = TurnLimits {
                turns: asked.runs,
                minutes: asked.minutes,
            };
            let children = ChildrenAsked {
                capabilities: asked.capabilities,
                parallel: asked.parallel,
                members: false,
            };
            return (Some(limits), Some(children));
        }
        let effects = capability.members.iter().filter(|one| !one.is_read());
        let effects: Vec<String> = effects.map(|one| one.id.clone()).collect();
        if !effects.is_empty() {
            let limits = TurnLimits {
                turns: u32::try_from(effects.len()).unwrap_or(u32::MAX),
                minutes: MINUTES_OF_MEMBERS,
            };
            let children = ChildrenAsked {
                capabilities: effects,
                parallel: 1,
                members: true,
            };
            return (Some(limits), Some(children));
        }
        let turns = capability.conversation.as_ref().map(|turns| {
            let (turns, minutes) = turns.asked(input);
            TurnLimits { turns, minutes }
        });
        (turns, None)
    }
    /// Whether it takes back what an earlier effect has changed.
    pub fn is_undo(&self) -> bool {
        let undo = self.connector.offer.manifest.undo.as_ref();
        undo == Some(&self.capability().name)
    }
    /// The first line of its description: what discovery shows. Of a tool of a lent server, the first sentence of the server's
    /// own: its mark is the provenance beside it.
    pub fn summary(&self) -> &str {
        let is_lent = self.connector.offer.manifest.transport == "mcp";
        let mut lines = self.capability().describe.lines().map(str::trim);
        if !is_lent {
            return lines.next().unwrap_or_default();
        }
        let line = lines.skip(1).find(|line| !line.is_empty());
        let line = line.unwrap_or(&self.capability().label);
        let is_next = |at: usize| line[at..].starts_with(char::is_uppercase);
        let mut ends = line
            .match_indices(". ")
            .map(|(at, end)| (at, at + end.len()));
        let end = ends.find(|(_, next)| is_next(*next)).map(|(at, _)| at + 1);
        &line[..line.floor_char_boundary(end.unwrap_or(line.len()).min(LONGEST_SUMMARY))]
    }
}

/// A snapshot of all entries.
#[derive(Default)]
pub struct Catalogue {
    /// Rises with every change of the entries or of their exposure; restarts at boot.
    pub revision: u64,
    entries: BTreeMap<CapabilityId, Arc<Entry>>,
    /// What the owner is asked about servers that define their tools otherwise than agreed.
    proposals: BTreeMap<SourceId, Arc<Proposal>>,
}

impl Catalogue {
    /// The catalogue of the enabled sources that the machine has seen.
    pub fn build(state: &State, registry: &Registry, revision: u64) -> Self {
        let mut entries = BTreeMap::new();
        for source in state.sources.values().filter(|s| s.config.enabled) {
            let Some(connector) = registry.of_source(&source.config) else {
                continue;
            };
            let id_of = |name: &str| CapabilityId::of(&source.id, name).ok();
            for (index, capability) in connector.offer.manifest.capabilities.iter().enumerate() {
                let Some(id) = id_of(&capability.name) else {
                    continue;
                };
                // What the machine has not seen yet is not in the catalogue either.
                let Some(facts) = source.capabilities.get(&id) else {
                    continue;
                };
                let entry = Entry {
                    id: id.clone(),
                    source: source.id.clone(),
                    connector: connector.clone(),
                    index,
                    provenance: source.config.provenance,
                    facts: facts.clone(),
                    skills: capability
                        .skills
                        .iter()
                        .filter_map(|name| id_of(name))
                        .collect(),
                };
                entries.insert(id, Arc::new(entry));
            }
        }
        let asked = |id: &SourceId| Some((id.clone(), registry.proposal(id)?));
        Self {
            revision,
            entries,
            proposals: state
                .sources
                .values()
                .filter_map(|s| asked(&s.id))
                .collect(),
        }
    }

    /// What the owner is asked about a source.
    pub fn proposal(&self, source: &SourceId) -> Option<&Arc<Proposal>> {
        self.proposals.get(source)
    }

    /// One entry by its id.
    pub fn get(&self, id: &CapabilityId) -> Option<&Arc<Entry>> {
        self.entries.get(id)
    }

    /// All entries, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries.values()
    }

    /// What an agent may know of, in wire order: what it can see, and the skills that go with that.
    pub fn view<'a>(&'a self, state: &State, agent: &Agent, now: Timestamp) -> Vec<&'a Arc<Entry>> {
        let seen = |entry: &Entry| visible(state, agent, &entry.id, now);
        let attached: Vec<&CapabilityId> = self
            .iter()
            .filter(|e| seen(e))
            .flat_map(|e| &e.skills)
            .filter(|id| state.exposed(id))
            .collect();
        self.iter()
            .filter(|e| seen(e) || attached.contains(&&e.id))
            .collect()
    }
}

/// One entry as manifests carry it. `agent` adds what is true for that agent alone; `health` is its source's.
pub fn wire_entry(
    entry: &Entry,
    state: &State,
    agent: Option<(&Agent, Timestamp)>,
    health: Option<Value>,
) -> Value {
    let capability = entry.capability();
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| out.insert(key.to_owned(), value);
    put("id", json!(entry.id));
    put("source", json!(entry.source));
    put("kind", json!(kind(capability)));
    put("label", json!(capability.label));
    put("describe", json!(capability.describe));
    if !capability.keywords.is_empty() {
        put("keywords", json!(capability.keywords));
    }
    if capability.input.is_some() || capability.output.is_some() {
        let mut io = Map::new();
        if let Some(input) = &capability.input {
            io.insert("input".into(), input.clone());
        }
        if let Some(output) = &capability.output {
            io.insert("output".into(), output.clone());
        }
        put("io", Value::Object(io));
    }
    put("grants", json!(capability.verbs));
    put("transport", json!(transport(entry)));
    if !entry.skills.is_empty() {
        let label = |id: &CapabilityId| {
            let (_, name) = id.parts();
            entry
                .connector
                .offer
                .manifest
                .capability(name)
                .map_or_else(|| id.to_string(), |c| c.label.clone())
        };
        put(
            "skills",
            entry
                .skills
                .iter()
                .map(|id| json!({"id": id, "label": label(id)}))
                .collect(),
        );
    }
    if let Some(markdown) = &capability.markdown {
        put("body", json!({"format": "markdown", "markdown": markdown}));
    }
    if capability.long_running {
        put("longRunning", json!(true));
    }
    if let Some(turns) = &capability.conversation {
        put("conversation", json!(turns));
    }
    if let Some(calls) = &capability.children {
        put("children", json!(calls));
    }
    if capability.is_workflow() {
        let named = |one: &Member| json!({"id": one.id, "verbs": one.verbs});
        let members = capability.members.iter().map(named);
        put("members", members.collect());
    }
    if capability.staged {
        put("staged", json!(true));
    }
    if capability.kind == EntryKind::Capability {
        put(
            "network",
            json!(!entry.connector.offer.manifest.egress.is_empty()),
        );
    }
    put("version", json!(env!("CARGO_PKG_VERSION")));
    put("provenance", json!(entry.provenance));
    put("sensitivity", json!(entry.facts.sensitivity));
    put(
        "recommendedTrustWindow",
        json!(class_default(
            &state.settings,
            &entry.facts,
            entry.provenance
        )),
    );
    if let Some((agent, now)) = agent
        && let Some(grant) = standing_for(state, agent, &entry.id, now)
    {
        put("standing", json!(true));
        if grant.constraint.is_some() {
            put("narrowed", json!(true));
        }
    }
    if let Some(health) = health {
        put("health", health);
    }
    Value::Object(out)
}

/// One entry as discovery carries it (docs/protocol/agents.md#discovery).
pub fn wire_summary(entry: &Entry, state: &State) -> Value {
    json!({
        "id": entry.id,
        "source": entry.source,
        "kind": kind(entry.capability()),
        "label": entry.capability().label,
        "summary": entry.summary(),
        "grants": entry.capability().verbs,
        "transport": transport(entry),
        "provenance": entry.provenance,
        "sensitivity": entry.facts.sensitivity,
        "recommendedTrustWindow": class_default(&state.settings, &entry.facts, entry.provenance),
    })
}

fn kind(capability: &Capability) -> &'static str {
    match capability.kind {
        EntryKind::Capability if capability.is_workflow() => "workflow",
        EntryKind::Capability => "capability",
        EntryKind::Skill => "skill",
    }
}

fn transport(entry: &Entry) -> &str {
    match entry.capability().kind {
        EntryKind::Capability if entry.capability().is_workflow() => "workflow",
        EntryKind::Capability => &entry.connector.offer.manifest.transport,
        EntryKind::Skill => "skill",
    }
}
