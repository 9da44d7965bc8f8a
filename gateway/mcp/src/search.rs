//! Search mode: a view with more tools than a model should be shown lists a few tools that find and call the others.
//!
//! ```text
//! plexus_search ─▶ ids with their schemas ─▶ plexus_read | plexus_call {id, arguments} ─▶ the same call as by its own tool
//! ```
//! Reads and effects are called by two tools, so that a client's own rules can tell them apart.
//!
//! Invariant: nothing is found or called that is not in the view.

use crate::message;
use crate::results::ToolResult;
use crate::tools::{Tool, View, closed, cut, read_only};
use plexus_protocol::CapabilityId;
use plexus_search::Index;
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::sync::Arc;

/// A view with more capabilities than this lists them no more.
pub const MAX_LISTED: usize = 100;
/// Most capabilities that search mode lists all the same.
pub(crate) const MAX_PINNED: usize = 24;
/// Finds capabilities.
pub(crate) const SEARCH: &str = "plexus_search";
/// Shows one capability whole.
pub(crate) const DESCRIBE: &str = "plexus_describe";
/// Calls a read by its id.
pub(crate) const READ: &str = "plexus_read";
/// Calls a capability by its id.
pub(crate) const CALL: &str = "plexus_call";

/// Results of a search, where the caller names no number, and at most.
const USUAL: u64 = 8;
const MOST: u64 = 20;
/// Descriptions and schemas of one answer, in bytes: clients hide more than 48,000 characters.
const MAX_FOUND: usize = 40_000;
/// Characters of a description that stand for the rest of it.
const SUMMARY: usize = 200;

/// What search mode finds.
pub(crate) struct Search {
    index: Index,
    /// Each capability's tool name, and the tool as it would be listed; by position in the index.
    tools: Vec<(String, Value)>,
    /// Names of those that are listed all the same.
    pinned: HashSet<String>,
}

impl Search {
    pub(crate) fn new(index: Index, tools: Vec<(String, Value)>, pinned: HashSet<String>) -> Self {
        Self {
            index,
            tools,
            pinned,
        }
    }
}

impl View {
    /// The capabilities that fit, best first, with what a call of each needs.
    pub(crate) fn find(&self, search: &Search, arguments: &Map<String, Value>) -> ToolResult {
        let Some(query) = arguments.get("query").and_then(Value::as_str) else {
            return ToolResult::bad_arguments("query is a text.");
        };
        let limit = match arguments.get("limit").map(Value::as_u64) {
            None => USUAL,
            Some(Some(limit)) if (1..=MOST).contains(&limit) => limit,
            Some(_) => {
                let why = format!("limit is a whole number from 1 to {MOST}.");
                return ToolResult::bad_arguments(&why);
            }
        };
        let positions = search.index.search(query);
        let total = positions.len();
        let mut length = 0;
        let limit = usize::try_from(limit).unwrap_or(total);
        let found: Vec<Value> = positions
            .into_iter()
            .take(limit)
            .filter_map(|at| {
                let (name, listed) = search.tools.get(at)?;
                let tool = self.tool(name)?;
                let whole = shown(tool, listed);
                length += message::text(&whole).len();
                Some(match length <= MAX_FOUND {
                    true => whole,
                    false => shortened(&whole),
                })
            })
            .collect();
        let next = match found.is_empty() {
            true => "search with other words; if there is nothing, tell the owner what you need",
            false => "call one: its `call` with its id, and arguments that fit its inputSchema",
        };
        ToolResult::data(json!({"ok": true, "found": found, "total": total, "next": next}))
    }

    /// One capability whole.
    pub(crate) fn describe(&self, search: &Search, arguments: &Map<String, Value>) -> ToolResult {
        let tool = match self.by_id(arguments) {
            Ok(tool) => tool,
            Err(why) => return why,
        };
        let listed = search.tools.iter().find(|(name, _)| *name == tool.name);
        match listed {
            Some((_, listed)) => {
                ToolResult::data(json!({"ok": true, "capability": shown(tool, listed)}))
            }
            None => unknown(),
        }
    }

    /// The capability that a call by id is of, and its own arguments.
    pub(crate) fn called_by_id(
        &self,
        by: &str,
        mut arguments: Map<String, Value>,
    ) -> Result<(Arc<Tool>, Map<String, Value>), ToolResult> {
        let tool = Arc::clone(self.by_id(&arguments)?);
        if by == READ && !tool.read {
            let why = format!("{} changes something: call it with {CALL}.", tool.id);
            return Err(ToolResult::bad_arguments(&why));
        }
        match arguments.shift_remove("arguments") {
            None | Some(Value::Null) => Ok((tool, Map::new())),
            Some(Value::Object(own)) => Ok((tool, own)),
            Some(_) => Err(ToolResult::bad_arguments("arguments is one JSON object.")),
        }
    }

    /// By the id, or by the name that its own tool would have.
    fn by_id(&self, arguments: &Map<String, Value>) -> Result<&Arc<Tool>, ToolResult> {
        let Some(id) = arguments.get("id").and_then(Value::as_str) else {
            return Err(ToolResult::bad_arguments(
                "id is the id of a capability, as plexus_search gives it.",
            ));
        };
        self.of_id(id).ok_or_else(unknown)
    }

    fn of_id(&self, id: &str) -> Option<&Arc<Tool>> {
        let by_id = id.parse::<CapabilityId>().ok();
        let by_id = by_id.and_then(|id| self.tool_of(&id));
        by_id.or_else(|| self.tool(id))
    }

    /// Whether a call names a tool, or by its id a capability, that is not in this view.
    pub(crate) fn lacks(&self, name: &str, arguments: Option<&Value>) -> bool {
        if self.tool(name).is_some() {
            return false;
        }
        match self.own_fields(name) {
            Some(_) if matches!(name, DESCRIBE | READ | CALL) => {
                let id = arguments.and_then(|arguments| arguments["id"].as_str());
                id.is_some_and(|id| self.of_id(id).is_none())
            }
            own => own.is_none(),
        }
    }

    /// How a client calls a tool of this view: by its own name where it is listed, else by its id.
    pub(crate) fn call_of(&self, tool: &Tool, arguments: Value) -> Value {
        match &self.search {
            Some(search) if !search.pinned.contains(&tool.name) => {
                json!({"tool": by(tool), "arguments": {"id": tool.id, "arguments": arguments}})
            }
            _ => json!({"tool": tool.name, "arguments": arguments}),
        }
    }
}

fn by(tool: &Tool) -> &'static str {
    if tool.read { READ } else { CALL }
}

/// A capability as an answer shows it.
fn shown(tool: &Tool, listed: &Value) -> Value {
    json!({
        "id": tool.id, "title": listed["title"], "call": by(tool),
        "description": listed["description"], "inputSchema": listed["inputSchema"],
    })
}

/// The same where there is no room for all of it.
fn shortened(whole: &Value) -> Value {
    let description = whole["description"].as_str().unwrap_or_default();
    json!({
        "id": whole["id"], "title": whole["title"], "call": whole["call"],
        "description": cut(description, SUMMARY), "omitted": "call plexus_describe for the rest and the inputSchema",
    })
}

fn unknown() -> ToolResult {
    ToolResult::bad_arguments(
        "There is no such capability in your view of this gateway. Find one with plexus_search.",
    )
}

/// The tools of search mode.
pub(crate) fn tools(capabilities: usize) -> [Value; 4] {
    let id = || json!({"type": "string", "description": "id of the capability, as plexus_search gives it."});
    let input =
        || json!({"type": "object", "description": "Input of the capability, by its inputSchema."});
    let by_id = || {
        let mut schema = closed(json!({"id": id(), "arguments": input()}));
        schema["required"] = json!(["id"]);
        schema
    };
    let mut search = closed(json!({
        "query": {"type": "string", "description": "Some words: what you want to do, and with what."},
        "limit": {"type": "integer", "minimum": 1, "maximum": MOST,
            "description": format!("How many to give, 1 to {MOST}; {USUAL} if absent.")}
    }));
    search["required"] = json!(["query"]);
    let mut describe = closed(json!({ "id": id() }));
    describe["required"] = json!(["id"]);
    [
        json!({
            "name": SEARCH,
            "title": "Find a capability",
            "description": format!(
                "Find out what you can do here: {capabilities} capabilities of the owner's notes, files, calendars and apps. \
                 Give some words; the best fits come first, each with its id, its description and the schema of its input."
            ),
            "inputSchema": search,
            "annotations": read_only(),
            "_meta": {"anthropic/alwaysLoad": true},
        }),
        json!({
            "name": DESCRIBE,
            "title": "Describe a capability",
            "description": "Show one capability whole: its description and the schema of its input.",
            "inputSchema": describe,
            "annotations": read_only(),
        }),
        json!({
            "name": READ,
            "title": "Read with a capability",
            "description": "Call a capability that only reads, by its id. plexus_search says which do (call: plexus_read).",
            "inputSchema": by_id(),
            "annotations": {"readOnlyHint": true, "openWorldHint": true},
            "_meta": {"anthropic/alwaysLoad": true},
        }),
        json!({
            "name": CALL,
            "title": "Call a capability",
            "description": "Call any capability by its id, also one that changes something.\n\
                The owner may have to approve the call before it happens.",
            "inputSchema": by_id(),
            "annotations": {
                "readOnlyHint": false, "destructiveHint": true, "idempotentHint": false, "openWorldHint": true,
            },
            "_meta": {"anthropic/alwaysLoad": true},
        }),
    ]
}
