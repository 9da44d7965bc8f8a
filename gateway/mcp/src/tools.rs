//! What an agent may see, as tools.
//!
//! Every capability of the manifest is one tool, callable now or after the owner's approval alike; the texts of skills
//! are one tool together. The order is the manifest's, so that a client that keeps a list sees no change where there is
//! none. Of many capabilities a few are listed, and the others are found ([search mode](crate::search)).

use crate::cut::Takes;
use crate::example;
use crate::message;
use crate::names::{NameLength, tool_names};
use crate::results::{Refusal, in_tools};
use crate::schema;
use crate::search::{self, MAX_LISTED, MAX_PINNED, Search};
use crate::server::LIST_TTL_MS;
use plexus_protocol::{CapabilityId, Provenance, Verb, Verbs, unseen::is_unseen, words::MAX_WORDS};
use plexus_search::{Document, Index};
use serde::{Deserialize, de};
use serde_json::{Value, json, value::RawValue};
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

/// Most characters of a tool's description: Claude Code cuts at 4,096.
const MAX_DESCRIPTION: usize = 4_000;
/// Most characters of the description of `plexus_guide`.
const MAX_GUIDES: usize = 1_000;
/// Waits for the owner or for a run.
pub(crate) const WAIT: &str = "plexus_wait";
/// Gives the text of a skill.
pub(crate) const GUIDE: &str = "plexus_guide";
/// Sends a further message of a conversation.
pub(crate) const CONTINUE: &str = "plexus_continue";
/// The argument of each tool that changes something by which a model says why: not part of the call's input.
pub(crate) const PURPOSE: &str = "plexus_purpose";
/// Gives the rest of a long answer.
pub(crate) const MORE: &str = "plexus_more";
/// Says what is missing. The only tool of a view without a manifest.
pub(crate) const SETUP: &str = "plexus_setup";
/// The longest that one call of `plexus_wait` may ask for, in seconds.
pub(crate) const MAX_WAIT_S: u64 = 600;

/// The bytes are no manifest of a gateway.
#[derive(Debug)]
pub struct NotAManifest(serde_json::Error);

impl std::fmt::Display for NotAManifest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "not a manifest: {}", self.0)
    }
}

impl std::error::Error for NotAManifest {}

/// One capability, as far as a call of it needs it.
#[derive(Debug, PartialEq)]
pub(crate) struct Tool {
    pub(crate) id: CapabilityId,
    pub(crate) name: String,
    /// Changes nothing.
    pub(crate) read: bool,
    /// Is called as a run that goes on by itself.
    pub(crate) long_running: bool,
    /// Its output has a text, which is shown as it is.
    pub(crate) text: bool,
    /// It is a tool of a lent server: its output has a text and blocks of MCP.
    pub(crate) lent: bool,
    /// How a long output is taken up again.
    pub(crate) takes: Takes,
    /// Whether [`PURPOSE`] is its argument.
    pub(crate) says_why: bool,
    /// The fields of a read of ours, whose worker would ignore any other: the answer would be to another question.
    pub(crate) only: Option<Vec<String>>,
}

/// The text of a skill.
#[derive(Debug)]
pub(crate) struct Guide {
    pub(crate) id: String,
    label: String,
    pub(crate) markdown: String,
}

/// A list of tools, ready to be sent.
pub struct View {
    tools: HashMap<String, Arc<Tool>>,
    names: HashMap<CapabilityId, String>,
    pub(crate) guides: Vec<Guide>,
    /// The tools as a JSON array.
    pub(crate) list: String,
    /// What is missing, where there is no manifest.
    pub(crate) setup: Option<Refusal>,
    /// This server's own tools, each with the fields of its input.
    own: HashMap<String, Vec<String>>,
    /// Where there are too many capabilities to list.
    pub(crate) search: Option<Search>,
    /// What the list was made of, as JSON.
    entries: String,
    /// How long the gateway lets it be kept, in milliseconds.
    ttl_ms: u64,
}

/// A manifest as the gateway answers it, or what was kept of one.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    manifest: Option<Entries<'a>>,
    #[serde(borrow)]
    entries: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Entries<'a> {
    #[serde(borrow)]
    entries: &'a RawValue,
    #[serde(rename = "ttlMs")]
    ttl_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    id: CapabilityId,
    #[serde(default)]
    source: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    label: String,
    #[serde(default)]
    describe: String,
    #[serde(default)]
    io: Io,
    #[serde(default)]
    grants: Verbs,
    #[serde(default)]
    provenance: String,
    #[serde(default)]
    sensitivity: String,
    #[serde(default)]
    long_running: bool,
    #[serde(default)]
    keywords: Vec<String>,
    /// A grant stands behind it.
    #[serde(default)]
    standing: bool,
    /// The grant has a constraint: it does not permit a call outside of it.
    #[serde(default)]
    narrowed: bool,
    /// The agent called it in this launch of the gateway.
    #[serde(default)]
    lately: bool,
    conversation: Option<de::IgnoredAny>,
    /// Whether calls leave this machine; an older gateway does not say.
    network: Option<bool>,
    body: Option<Body>,
}

#[derive(Default, Deserialize)]
struct Io {
    #[serde(default)]
    input: Value,
    #[serde(default)]
    output: Value,
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    markdown: String,
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "View({} tools)", self.tools.len())
    }
}

impl View {
    /// Reads the answer of `GET /manifest`, or what [`View::kept`] gave.
    ///
    /// # Errors
    /// [`NotAManifest`].
    pub fn of_manifest(bytes: &[u8]) -> Result<Self, NotAManifest> {
        Self::named(bytes, NameLength::default())
    }

    /// The same, with names of this length.
    ///
    /// # Errors
    /// [`NotAManifest`].
    pub fn named(bytes: &[u8], length: NameLength) -> Result<Self, NotAManifest> {
        let answer: Answer<'_> = serde_json::from_slice(bytes).map_err(NotAManifest)?;
        let (entries, ttl_ms) = match (answer.manifest, answer.entries) {
            (Some(manifest), _) => (manifest.entries, manifest.ttl_ms),
            // The gateway's own list replaces what was kept as soon as it comes.
            (None, Some(entries)) => (entries, Some(0)),
            (None, None) => return Err(NotAManifest(de::Error::missing_field("entries"))),
        };
        let read = serde_json::from_str(entries.get()).map_err(NotAManifest)?;
        let view = Self::of(read, entries.get().to_owned(), length);
        Ok(Self {
            ttl_ms: ttl_ms.unwrap_or(LIST_TTL_MS),
            ..view
        })
    }

    /// The view of who cannot have a manifest now, and has no earlier one: one tool that says what is missing.
    #[must_use]
    pub fn without_manifest(why: Refusal) -> Self {
        let (next, _) = in_tools(&why.next, why.action.as_ref());
        let describe = format!(
            "Plexus is not ready: {} Next: {next}. Call this tool to look again.",
            why.message
        );
        let tool = json!({
            "name": SETUP, "title": "Set Plexus up", "description": describe,
            "inputSchema": closed(json!({})), "annotations": read_only(),
        });
        Self {
            tools: HashMap::new(),
            names: HashMap::new(),
            guides: Vec::new(),
            list: format!("[{tool}]"),
            setup: Some(why),
            own: HashMap::from([with_fields(&tool)]),
            search: None,
            entries: String::new(),
            ttl_ms: 0,
        }
    }

    /// How long it counts unless an event says otherwise (docs/protocol/agents.md#read-the-manifest).
    #[must_use]
    pub fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl_ms)
    }

    /// What may be kept on disk for a start without a gateway: the entries, and nothing of the session.
    #[must_use]
    pub fn kept(&self) -> String {
        format!(r#"{{"entries":{}}}"#, self.entries)
    }

    fn of(read: Vec<Entry>, entries: String, length: NameLength) -> Self {
        let (skills, capabilities): (Vec<_>, Vec<_>) =
            read.into_iter().partition(|entry| entry.kind == "skill");
        let guides: Vec<Guide> = skills
            .into_iter()
            .map(|skill| Guide {
                id: skill.id.to_string(),
                label: seen(&skill.label),
                markdown: skill
                    .body
                    .map(|body| body.markdown)
                    .filter(|text| !text.is_empty())
                    .unwrap_or(skill.describe),
            })
            .collect();
        let has_conversations = capabilities.iter().any(|e| e.conversation.is_some());
        let mut own = vec![wait_tool()];
        own.extend((!guides.is_empty()).then(|| guide_tool(&guides)));
        own.extend(has_conversations.then(continue_tool));
        own.extend(capabilities.iter().any(Entry::is_lent).then(more_tool));
        let names = tool_names(capabilities.iter().map(|entry| &entry.id), length);
        let pinned = (capabilities.len() > MAX_LISTED).then(|| pinned(&capabilities, &names));
        let index = pinned.as_ref().map(|_| index(&capabilities));
        if pinned.is_some() {
            own.extend(search::tools(capabilities.len()));
        }
        let mut list: Vec<String> = own.iter().map(message::text).collect();
        let (mut tools, mut listed) = (HashMap::new(), Vec::new());
        for entry in capabilities {
            let Some(tool) = names.get(&entry.id).map(|name| entry.tool(name)) else {
                continue;
            };
            let shown = entry.listed(&tool);
            let is_listed = pinned
                .as_ref()
                .is_none_or(|names| names.contains(&tool.name));
            if is_listed {
                list.push(message::text(&shown));
            }
            if pinned.is_some() {
                listed.push((tool.name.clone(), shown));
            }
            tools.insert(tool.name.clone(), Arc::new(tool));
        }
        let search = index.zip(pinned);
        Self {
            tools,
            names,
            guides,
            list: format!("[{}]", list.join(",")),
            setup: None,
            own: own.iter().map(with_fields).collect(),
            search: search.map(|(index, pinned)| Search::new(index, listed, pinned)),
            entries,
            ttl_ms: LIST_TTL_MS,
        }
    }

    /// The fields of one of this server's own tools, where the view has it.
    pub(crate) fn own_fields(&self, name: &str) -> Option<&[String]> {
        self.own.get(name).map(Vec::as_slice)
    }

    pub(crate) fn tool(&self, name: &str) -> Option<&Arc<Tool>> {
        self.tools.get(name)
    }

    /// The tool of a capability, where the view has it.
    pub(crate) fn tool_of(&self, id: &CapabilityId) -> Option<&Arc<Tool>> {
        self.tool(self.names.get(id)?)
    }

    /// The tool that takes back what `id` did, where there is one.
    pub(crate) fn undo_of(&self, id: &CapabilityId) -> Option<&Tool> {
        let (source, _) = id.as_str().split_once('.')?;
        let undo: CapabilityId = format!("{source}.undo").parse().ok()?;
        self.tool_of(&undo).map(|tool| &**tool)
    }
}

impl Entry {
    /// Whether a lent MCP server has it, by the output that Plexus gave it.
    fn is_lent(&self) -> bool {
        let has = |member: &str| self.io.output["properties"].get(member).is_some();
        self.provenance == "extension" && has("structured") && has("images")
    }

    fn tool(&self, name: &str) -> Tool {
        Tool {
            id: self.id.clone(),
            name: name.to_owned(),
            read: self.grants.is_read(),
            long_running: self.long_running,
            text: self.io.output["properties"]["content"]["type"] == "string",
            lent: self.is_lent(),
            takes: Takes::of(&self.io.input),
            says_why: !self.grants.is_read() && self.io.input["properties"].get(PURPOSE).is_none(),
            only: self.only(),
        }
    }

    /// None where the schema itself says of other fields, and the gateway holds a call to that.
    fn only(&self) -> Option<Vec<String>> {
        let ignores = self.grants.is_read()
            && Provenance::is_ours(&self.provenance)
            && !schema::says_of_others(&self.io.input);
        let fields = self.io.input["properties"].as_object();
        // Some clients always send a field.
        let fields = fields.filter(|fields| ignores && !fields.is_empty());
        fields.map(|fields| fields.keys().cloned().collect())
    }

    /// The tool as a client lists it.
    fn listed(mut self, tool: &Tool) -> Value {
        let annotations = self.annotations();
        if Provenance::is_ours(&self.provenance) {
            self.describe = example::in_json(&self.describe, &self.io.input);
        }
        let (mut input, alternatives) = schema::for_client(self.io.input.take());
        if tool.says_why {
            input["properties"][PURPOSE] = json!({"type": "string", "maxLength": MAX_WORDS, "description": format!("Why, in one sentence of at most {MAX_WORDS} characters, for the owner's card.")});
        }
        let mut listed = json!({
            "name": tool.name,
            "title": seen(&self.label),
            "description": self.description(&alternatives),
            "inputSchema": input,
            "annotations": annotations,
            "_meta": {"dev.plexus/id": self.id},
        });
        if !self.keywords.is_empty() {
            listed["_meta"]["anthropic/searchHint"] = seen(&self.keywords.join(" ")).into();
        }
        if !tool.text && !tool.lent {
            listed["outputSchema"] = envelope();
        }
        listed
    }

    fn description(&self, alternatives: &str) -> String {
        let mut text = String::new();
        let said = if self.describe.is_empty() {
            &self.label
        } else {
            &self.describe
        };
        let whose = format!("Third-party tool of {}:", seen(&self.source));
        if !Provenance::is_ours(&self.provenance) && !said.starts_with(&whose) {
            let _ = writeln!(text, "{whose}");
        }
        text.push_str(&seen(said));
        if !alternatives.is_empty() {
            let _ = write!(text, "\n{alternatives}");
        }
        let asks = match self.grants.is_read() && self.standing && !self.narrowed {
            true => "",
            false => "\nThe owner may have to approve the call before it happens.",
        };
        format!("{}{asks}", cut(&text, MAX_DESCRIPTION - asks.len()))
    }

    /// What a client may take for true of every call, from the manifest's verbs and rating. What the manifest does not
    /// say is claimed as MCP's own default has it: destructive, open to the world.
    fn annotations(&self) -> Value {
        let leaves = self.sensitivity == "high" || self.grants.contains(Verb::Execute);
        let open = match self.network {
            _ if leaves => Some(true),
            known => known,
        };
        let mut annotations = if self.grants.is_read() {
            json!({"readOnlyHint": true})
        } else {
            let digest = self.io.input["properties"].get("ifDigest").is_some();
            json!({
                "readOnlyHint": false, "destructiveHint": true,
                "idempotentHint": digest && !self.grants.contains(Verb::Execute),
            })
        };
        if let Some(open) = open {
            annotations["openWorldHint"] = open.into();
        }
        annotations
    }
}

/// Names of the capabilities that search mode lists: those that the agent called lately, then those with a grant.
fn pinned(capabilities: &[Entry], names: &HashMap<CapabilityId, String>) -> HashSet<String> {
    let lately = capabilities.iter().filter(|entry| entry.lately);
    let standing = capabilities
        .iter()
        .filter(|entry| entry.standing && !entry.lately);
    lately
        .chain(standing)
        .take(MAX_PINNED)
        .filter_map(|entry| names.get(&entry.id).cloned())
        .collect()
}

fn index(capabilities: &[Entry]) -> Index {
    Index::of(capabilities.iter().map(|entry| Document {
        id: entry.id.as_str(),
        label: &entry.label,
        usage: &entry.describe,
        keywords: &entry.keywords,
        source: &entry.source,
    }))
}

/// Annotations of this server's own tools.
pub(crate) fn read_only() -> Value {
    json!({"readOnlyHint": true, "openWorldHint": false})
}

pub(crate) fn closed(properties: Value) -> Value {
    json!({"type": "object", "properties": properties, "additionalProperties": false})
}

/// The name of a listed tool, and the fields of its input.
fn with_fields(tool: &Value) -> (String, Vec<String>) {
    let name = tool["name"].as_str().unwrap_or_default();
    let fields = tool["inputSchema"]["properties"].as_object();
    let fields = fields.into_iter().flat_map(|fields| fields.keys().cloned());
    (name.to_owned(), fields.collect())
}

/// The form of every structured result. The output itself is not described: no gateway holds a worker's output to its
/// schema, and a client of the newest era fails a call whose result does not fit.
fn envelope() -> Value {
    json!({
        "type": "object",
        "properties": {
            "ok": {"type": "boolean"},
            "output": {},
            "undo": {"type": "object"},
            "conversation": {"type": "object"},
            "status": {"type": "string"},
            "pendingId": {"type": "string"},
            "runId": {"type": "string"},
            "effect": {"type": "string"},
            "code": {"type": "string"},
            "message": {"type": "string"},
            "next": {"type": "string"},
            "nextCall": {"type": "object"},
            "auditId": {"type": "string"}
        },
        "required": ["ok"]
    })
}

fn wait_tool() -> Value {
    json!({
        "name": WAIT,
        "title": "Wait for the owner, or for a run",
        "description": "Wait for the owner's decision on a call that needs approval, or for a call that still runs, and get \
            its result. Give the pendingId or runId that the call answered. If it answers that the owner has not decided \
            yet, go on with other work and call it again later. Without an id it lists what you have waiting.",
        "inputSchema": closed(json!({
            "pendingId": {"type": "string", "description": "pendingId of the answer to the call (pend_…)."},
            "runId": {"type": "string", "description": "runId of the answer to the call (run_…)."},
            "seconds": {"type": "integer", "minimum": 0, "maximum": MAX_WAIT_S,
                "description": format!("How long to wait, 0 to {MAX_WAIT_S}; as long as this client allows if absent.")}
        })),
        "annotations": read_only(),
        "_meta": {"anthropic/alwaysLoad": true},
    })
}

fn more_tool() -> Value {
    let mut schema = closed(json!({
        "auditId": {"type": "string", "description": "auditId of the answer that was cut (evt_…)."},
        "offset": {"type": "integer", "minimum": 0, "description": "From which byte on, as nextCall names it."}
    }));
    schema["required"] = json!(["auditId", "offset"]);
    json!({
        "name": MORE,
        "title": "Go on reading a long answer",
        "description": "Get the next part of an answer that was cut, as its nextCall says. Nothing is called again. The last few \
            long answers of this session are kept.",
        "inputSchema": schema,
        "annotations": read_only(),
    })
}

fn continue_tool() -> Value {
    let mut schema = closed(json!({
        "runId": {"type": "string", "description": "conversation.runId of an answer (run_…)."},
        "text": {"type": "string", "description": "What you say."},
        "turn": {"type": "integer", "minimum": 2,
            "description": "Which turn this is, as nextCall names it: the same call made twice is then one turn."}
    }));
    schema["required"] = json!(["runId", "text"]);
    json!({
        "name": CONTINUE,
        "title": "Go on with a conversation",
        "description": "Send a further message of a conversation that the owner approved, and get the answer. An answer with \
            `conversation` says how many turns are left and until when. It needs no further approval.",
        "inputSchema": schema,
        "annotations": {
            "readOnlyHint": false, "destructiveHint": true, "idempotentHint": false, "openWorldHint": true,
        },
    })
}

fn guide_tool(guides: &[Guide]) -> Value {
    let names: Vec<_> = guides
        .iter()
        .map(|guide| format!("{} ({})", guide.id, guide.label))
        .collect();
    let describe = format!(
        "How to work well with a source, as its makers say. Read the guide of a source before you change anything there. \
         Guides: {}",
        names.join(", ")
    );
    json!({
        "name": GUIDE,
        "title": "Read a guide",
        "description": cut(&describe, MAX_GUIDES),
        "inputSchema": closed(json!({
            "id": {"type": "string", "description": "Guide to read; absent for the list."}
        })),
        "annotations": read_only(),
    })
}

/// Without what a reader does not see, or what moves the text around it.
fn seen(text: &str) -> String {
    text.chars()
        .filter(|c| *c == '\n' || !is_unseen(*c))
        .collect()
}

pub(crate) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A vault, a workspace, a calendar over the network and an extension.
    pub(crate) fn manifest() -> Value {
        json!({"manifest": {"sessionId": "sess_secret", "entries": [
            {"id": "calendar.events.create", "source": "calendar", "provenance": "managed", "kind": "capability", "label": "Create an event",
             "describe": "Create an event.", "grants": ["write"], "sensitivity": "high", "network": true,
             "io": {"input": {"type": "object", "properties": {"title": {"type": "string"}}}}},
            {"id": "calendar.events.list", "source": "calendar", "provenance": "managed", "kind": "capability", "label": "List events",
             "describe": "List events.", "grants": ["read"], "sensitivity": "low", "network": true},
            {"id": "extra.run", "source": "extra", "kind": "capability", "label": "Ru\u{202e}n", "grants": ["execute"],
             "describe": "Run\u{200b} it.", "provenance": "extension", "sensitivity": "high", "longRunning": true},
            {"id": "obsidian.vault.read", "source": "obsidian", "provenance": "managed", "kind": "capability", "label": "Read a note",
             "describe": "Read a note.", "grants": ["read"], "sensitivity": "low", "network": false,
             "io": {"input": {"type": "object", "properties": {"path": {"type": "string", "maxLength": 9},
                                                               "offset": {"type": "integer"}}},
                    "output": {"properties": {"content": {"type": "string"}}}}},
            {"id": "workspace.how-to-use", "source": "workspace", "kind": "skill", "label": "How to", "describe": "",
             "body": {"format": "markdown", "markdown": "# Read first\n"}},
            {"id": "workspace.undo", "source": "workspace", "provenance": "managed", "kind": "capability", "label": "Undo", "describe": "Undo.",
             "grants": ["write"], "sensitivity": "elevated", "network": false},
            {"id": "workspace.write", "source": "workspace", "provenance": "managed", "kind": "capability", "label": "Write a file",
             "describe": "Write a file.", "grants": ["write"], "sensitivity": "elevated", "network": false,
             "io": {"input": {"type": "object", "properties": {"path": {"type": "string"},
                                                               "ifDigest": {"type": "string"}},
                              "required": ["path"]}}}
        ]}})
    }

    #[test]
    fn capabilities_that_would_share_a_name_are_called_apart() {
        let entry = |id: &str| json!({"id": id, "source": "x", "kind": "capability", "label": id, "describe": id, "grants": ["read"]});
        let ids = ["x.y.get-it", "x.y.get.it", "x.y.GET.it", "x.y.other"];
        let entries: Vec<_> = ids.iter().map(|id| entry(id)).collect();
        let manifest = json!({"manifest": {"entries": entries}}).to_string();
        let view = View::of_manifest(manifest.as_bytes()).unwrap();
        let list: Vec<Value> = serde_json::from_str(&view.list).unwrap();
        for id in ids {
            let mut listed = list
                .iter()
                .filter(|tool| tool["_meta"]["dev.plexus/id"] == id);
            let name = listed.next().unwrap()["name"].as_str().unwrap();
            assert_eq!(view.tool(name).unwrap().id.as_str(), id);
            let is_alone =
                |tool: &&Value| tool["name"].as_str().unwrap().eq_ignore_ascii_case(name);
            assert_eq!(list.iter().filter(is_alone).count(), 1, "{name}");
            assert_eq!(view.tool_of(&id.parse().unwrap()).unwrap().name, name);
        }
        // The control, and the name that none has.
        assert!(view.tool("x_y_other").is_some());
        assert!(view.tool("x_y_get_it").is_none());
    }

    pub(crate) fn view() -> View {
        View::of_manifest(manifest().to_string().as_bytes()).unwrap()
    }

    fn all(view: &View) -> Vec<Value> {
        serde_json::from_str(&view.list).unwrap()
    }

    fn listed(name: &str) -> Value {
        let found = all(&view()).into_iter().find(|tool| tool["name"] == name);
        found.unwrap_or_else(|| panic!("{name}"))
    }

    #[test]
    fn every_capability_is_one_tool_in_the_manifests_order() {
        let tools = all(&view());
        let names: Vec<_> = tools
            .iter()
            .map(|tool| tool["name"].as_str().unwrap())
            .collect();
        let expected = "plexus_wait plexus_guide calendar_events_create calendar_events_list \
            extra_run obsidian_vault_read workspace_undo workspace_write";
        assert_eq!(names.join(" "), expected);
        for tool in &tools {
            assert_eq!(tool["inputSchema"]["additionalProperties"], false, "{tool}");
            assert!(tool["description"].as_str().unwrap().len() > 5, "{tool}");
        }
    }

    #[test]
    fn annotations_say_what_the_manifest_says() {
        let hints = |name: &str| listed(name)["annotations"].clone();
        let reads = |open: bool| json!({"readOnlyHint": true, "openWorldHint": open});
        assert_eq!(hints("obsidian_vault_read"), reads(false));
        assert_eq!(hints("calendar_events_list"), reads(true));
        let writes = |twice: bool, open: bool| json!({"readOnlyHint": false, "destructiveHint": true, "idempotentHint": twice, "openWorldHint": open});
        assert_eq!(hints("workspace_write"), writes(true, false));
        assert_eq!(hints("workspace_undo")["idempotentHint"], false);
        for leaves in ["calendar_events_create", "extra_run"] {
            assert_eq!(hints(leaves), writes(false, true));
        }
        let mut older = manifest();
        let entries = older["manifest"]["entries"].as_array_mut().unwrap();
        for entry in entries.iter_mut() {
            entry.as_object_mut().unwrap().shift_remove("network");
        }
        let tools = all(&View::of_manifest(older.to_string().as_bytes()).unwrap());
        let read = tools
            .iter()
            .find(|tool| tool["name"] == "obsidian_vault_read")
            .unwrap();
        assert_eq!(read["annotations"], json!({"readOnlyHint": true}));
    }

    #[test]
    fn third_party_text_is_marked_and_holds_nothing_unseen() {
        let mut manifest = manifest();
        // A word that is not known is no word of ours.
        for provenance in [json!("extension"), json!("another"), Value::Null] {
            let entry = &mut manifest["manifest"]["entries"][2];
            match provenance {
                Value::Null => drop(entry.as_object_mut().unwrap().shift_remove("provenance")),
                word => entry["provenance"] = word,
            }
            let tools = all(&View::of_manifest(manifest.to_string().as_bytes()).unwrap());
            let tool = tools.iter().find(|tool| tool["name"] == "extra_run");
            let tool = tool.unwrap();
            let description = tool["description"].as_str().unwrap();
            let said = "Third-party tool of extra:\nRun it.";
            assert!(description.starts_with(said), "{description}");
            assert_eq!(tool["title"], "Run");
        }
    }

    #[test]
    fn text_tool_has_no_output_schema() {
        assert!(listed("obsidian_vault_read").get("outputSchema").is_none());
        let schema = &listed("workspace_write")["outputSchema"];
        assert_eq!(schema["required"], json!(["ok"]));
    }

    #[test]
    fn kept_list_holds_no_session_and_reads_the_same() {
        let kept = view().kept();
        assert!(!kept.contains("sess_secret"));
        let again = View::of_manifest(kept.as_bytes()).unwrap();
        assert_eq!(again.list, view().list);
    }

    #[test]
    fn uncovered_read_says_that_it_may_ask() {
        let mut manifest = manifest();
        let asks = |manifest: &Value, name: &str| {
            let tools = all(&View::of_manifest(manifest.to_string().as_bytes()).unwrap());
            let tool = tools.iter().find(|tool| tool["name"] == name).unwrap();
            let description = tool["description"].as_str().unwrap();
            description.contains("may have to approve")
        };
        for (standing, narrowed) in [(false, false), (true, false), (true, true)] {
            let entries = manifest["manifest"]["entries"].as_array_mut().unwrap();
            for entry in entries {
                entry["standing"] = standing.into();
                entry["narrowed"] = narrowed.into();
            }
            let is_covered = standing && !narrowed;
            assert_eq!(asks(&manifest, "obsidian_vault_read"), !is_covered);
            assert!(asks(&manifest, "workspace_write"), "by a grant or not");
        }
    }

    #[test]
    fn example_is_arguments_except_in_third_party_text() {
        let mut manifest = manifest();
        for entry in manifest["manifest"]["entries"].as_array_mut().unwrap() {
            entry["describe"] = "Does it.\nExample: path=a".into();
        }
        let tools = all(&View::of_manifest(manifest.to_string().as_bytes()).unwrap());
        let says = |name: &str, words: &str| {
            let tool = tools.iter().find(|tool| tool["name"] == name).unwrap();
            let description = tool["description"].as_str().unwrap();
            assert!(description.contains(words), "{description}");
        };
        says("workspace_write", "\nExample: {\"path\":\"a\"}\n");
        says("extra_run", "\nExample: path=a\n");
    }

    #[test]
    fn long_description_is_cut() {
        let mut manifest = manifest();
        manifest["manifest"]["entries"][0]["describe"] = "ä".repeat(9_000).into();
        let tools = all(&View::of_manifest(manifest.to_string().as_bytes()).unwrap());
        let shown = tools[2]["description"].as_str().unwrap();
        assert_eq!(shown.chars().count(), MAX_DESCRIPTION + 1);
        let end = "…\nThe owner may have to approve the call before it happens.";
        assert!(shown.ends_with(end), "{shown}");
    }
}
