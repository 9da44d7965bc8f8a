//! What a model is told of a call.
//!
//! Clients show a model either the text or the structured content of a result, and which one differs by client and by
//! `isError`. So each of them says all of it: whether anything was done, why, what next. What a lent tool answered is its own
//! text and its own blocks, then one line of JSON with the rest; only what it structured is in both.

use crate::cut;
use crate::host::Item;
use crate::message;
use crate::tools::{CONTINUE, MORE, Tool, View, WAIT};
use plexus_protocol::{Effect, NextAction, NextKind, error::left_set};
use serde_json::{Map, Value, json};

/// Why a call did not do what was asked: the three answers of every refusal.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// A word to branch on: the gateway's code, or one of the host's. `unreachable`: no gateway answers now.
    pub code: String,
    /// Whether anything was done.
    pub effect: Effect,
    /// Why.
    pub message: String,
    /// What to do next, as the gateway or the host says it.
    pub next: String,
    /// The same as data: what is a command line in `next` is put into a tool's words by it.
    pub action: Option<NextAction>,
}

/// What is said of an answer that the gateway had before.
pub const REPLAYED: &str =
    "This is the answer of the same call that was made before. Nothing was done again.";

/// The words about an effect that happened, and whose result is lost or no longer kept.
pub const RESULT_LOST: &str =
    "It was done, and its result is lost. Do not repeat the call: read what it was to change.";

/// How a call stands that goes on without its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The gateway has just said that it waits for the owner.
    Waits,
    /// It is under way.
    UnderWay,
    /// Nothing was heard of it lately.
    Unknown,
}

/// A result of `tools/call`.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct ToolResult {
    content: Vec<Value>,
    structured: Option<Value>,
    error: bool,
    /// The whole of a text that was cut.
    pub(crate) long: Option<Box<LongText>>,
}

/// A text of which the first part was given.
#[derive(Debug, PartialEq)]
pub(crate) struct LongText {
    /// The event of the call.
    pub(crate) id: String,
    pub(crate) text: String,
}

/// The most of a text or a list that one result carries, in bytes: clients hide more than 48,000 characters.
pub(crate) const MAX_OUTPUT: usize = 45_000;

impl LongText {
    /// The part from a byte on, and how to go on behind it. `None` where no part begins there.
    pub(crate) fn part(&self, from: usize) -> Option<ToolResult> {
        let rest = self.text.get(from..).filter(|rest| !rest.is_empty())?;
        let shown = cut::at_line(rest, MAX_OUTPUT);
        let mut envelope = Map::new();
        envelope.insert("ok".into(), true.into());
        self.put(&mut envelope, from + shown.len());
        Some(ToolResult {
            content: vec![block(shown), block(&Value::Object(envelope).to_string())],
            ..ToolResult::default()
        })
    }

    /// Says what of it was given up to that byte, and the call for the rest.
    fn put(&self, envelope: &mut Map<String, Value>, end: usize) {
        let whole = self.text.len();
        envelope.insert("cut".into(), json!({"bytes": whole, "end": end}));
        if end < whole {
            let arguments = json!({"auditId": self.id, "offset": end});
            envelope.insert(
                "next".into(),
                format!("call {MORE} with {arguments} for the rest").into(),
            );
            envelope.insert(
                "nextCall".into(),
                json!({"tool": MORE, "arguments": arguments}),
            );
        }
    }
}

fn block(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

impl ToolResult {
    /// The result as MCP carries it, without what an era adds.
    pub(crate) fn value(self) -> Map<String, Value> {
        let mut result = Map::new();
        result.insert("content".into(), self.content.into());
        if let Some(structured) = self.structured {
            result.insert("structuredContent".into(), structured);
        }
        if self.error {
            result.insert("isError".into(), true.into());
        }
        result
    }

    /// The same data in both carriers.
    pub(crate) fn data(structured: Value) -> Self {
        Self {
            content: vec![block(&message::text(&structured))],
            structured: Some(structured),
            ..Self::default()
        }
    }

    /// A text that is read as it is.
    pub(crate) fn text(text: &str) -> Self {
        Self {
            content: vec![block(text)],
            ..Self::default()
        }
    }

    /// What the gateway answered to a call of `tool`, where that is known. A text that is cut goes on where `keeps`.
    pub(crate) fn of_reply(
        mut reply: Value,
        tool: Option<&Tool>,
        view: &View,
        keeps: bool,
    ) -> Self {
        let conversation = Conversation::of(&mut reply);
        if reply["ok"] != true {
            let refused = Self::refused(
                &Refusal::of_error(&reply["error"]),
                reply["error"].get("detail"),
            );
            return refused.within(conversation);
        }
        let mut output = reply["output"].take();
        let mut envelope = Map::new();
        envelope.insert("ok".into(), true.into());
        let as_text = tool.is_none_or(|tool| tool.text);
        let lent = tool.filter(|tool| tool.lent);
        let lent = lent.and_then(|_| output.as_object_mut()).map(Lent::of);
        let content = match output.as_object_mut() {
            Some(members) if as_text && members.get("content").is_some_and(Value::is_string) => {
                members.shift_remove("content")
            }
            _ => None,
        };
        envelope.insert("output".into(), output);
        if let Value::String(id) = reply["undo"].take() {
            envelope.insert(
                "undo".into(),
                match tool.and_then(|tool| view.undo_of(&tool.id)) {
                    Some(undo) => view.call_of(undo, json!({"id": id})),
                    None => json!({"id": id}),
                },
            );
        }
        for member in ["outputOmitted", "replayed"] {
            if reply[member] == true {
                envelope.insert(member.into(), true.into());
            }
        }
        let notes = [("replayed", REPLAYED), ("outputOmitted", RESULT_LOST)];
        let said = notes
            .into_iter()
            .filter(|(member, _)| reply[*member] == true);
        let said: Vec<_> = said.map(|(_, note)| note).collect();
        if !said.is_empty() {
            envelope.insert("note".into(), said.join(" ").into());
        }
        if let Value::String(id) = reply["auditId"].take() {
            envelope.insert("auditId".into(), id.into());
        }
        if let Some(conversation) = conversation {
            conversation.put(&mut envelope);
        }
        if let Some(lent) = lent {
            return lent.within(envelope, keeps);
        }
        let envelope = Value::Object(envelope);
        match content {
            Some(Value::String(content)) => Self {
                content: vec![block(&content), block(&envelope.to_string())],
                ..Self::default()
            },
            // A tool that is listed without an output schema keeps to texts.
            _ if tool.is_some_and(|tool| tool.text) => Self::text(&envelope.to_string()),
            _ => Self::data(envelope),
        }
    }

    /// A refusal or a failure.
    pub(crate) fn refused(refusal: &Refusal, detail: Option<&Value>) -> Self {
        let (next, call) = in_tools(&refusal.next, refusal.action.as_ref());
        let done = match refusal.effect {
            Effect::None if left_set(detail).is_some() => {
                "It left a change set and applied nothing."
            }
            Effect::None => "Nothing was done.",
            Effect::Partial => "A part of it was done.",
            Effect::Done if refusal.code == "transport_error" => {
                "It ran: look before you repeat it."
            }
            Effect::Done => "It was done.",
            Effect::Unknown => "It may have happened: do not repeat it; tell the owner.",
        };
        let mut structured = json!({
            "ok": false, "effect": refusal.effect, "code": refusal.code, "message": refusal.message, "next": next,
        });
        let mut text = format!("{done} {} (code {})", refusal.message, refusal.code);
        if !next.is_empty() {
            text.push_str(&format!("\nNext: {next}"));
        }
        let says = |detail: &&Value| match detail {
            Value::Object(members) => members.values().any(|member| !member.is_null()),
            detail => !detail.is_null(),
        };
        if let Some(detail) = detail.filter(says) {
            structured["detail"] = detail.clone();
            text.push_str(&format!("\nDetail: {detail}"));
        }
        if let Some(call) = call {
            structured["nextCall"] = call;
        }
        Self {
            content: vec![block(&text)],
            structured: Some(structured),
            error: true,
            long: None,
        }
    }

    /// Adds how a conversation stands in which a call failed.
    fn within(mut self, conversation: Option<Conversation>) -> Self {
        if let (Some(conversation), Some(Value::Object(structured))) =
            (conversation, &mut self.structured)
        {
            let said = format!("The conversation: {}", conversation.0);
            self.content.push(block(&said));
            conversation.put(structured);
        }
        self
    }

    /// The arguments of a call do not fit: nothing was done.
    pub(crate) fn bad_arguments(why: &str) -> Self {
        let refusal = Refusal {
            code: "bad_arguments".into(),
            effect: Effect::None,
            message: why.into(),
            next: "read the description of the tool".into(),
            action: None,
        };
        Self::refused(&refusal, None)
    }

    /// The arguments of a call name no item: nothing was done.
    pub(crate) fn no_item(why: &str) -> Self {
        let refusal = Refusal {
            code: "bad_arguments".into(),
            effect: Effect::None,
            message: format!("{why}."),
            next: String::new(),
            action: Some(NextAction::new(NextKind::Wait)),
        };
        Self::refused(&refusal, None)
    }

    /// A call that goes on without its caller.
    pub(crate) fn goes_on(item: &Item, standing: Standing) -> Self {
        let (member, id) = (item.member(), item.as_str());
        let call = json!({"tool": WAIT, "arguments": {member: id}});
        let (status, effect, message) = match (item, standing) {
            (Item::Pending(_), Standing::Waits) => (
                "waiting_for_owner",
                Effect::None,
                "Nothing was done yet. The owner must approve this in Plexus; the approval makes the call.",
            ),
            (Item::Pending(_), Standing::UnderWay) => (
                "running",
                Effect::Unknown,
                "The owner approved it. It runs, and goes on by itself.",
            ),
            (Item::Pending(_), Standing::Unknown) => (
                "decided_or_waiting",
                Effect::Unknown,
                "The owner may have decided by now; whether it was done is not known yet.",
            ),
            (Item::Run(_), _) => (
                "running",
                Effect::Unknown,
                "It still runs, and goes on by itself.",
            ),
        };
        let next = format!(
            "call {WAIT} with {{\"{member}\":\"{id}\"}}, or go on with other work; do not look for another way"
        );
        Self {
            content: vec![block(&format!("{message} ({member} {id})\nNext: {next}"))],
            structured: Some(json!({
                "ok": false, "status": status, "effect": effect, member: id, "message": message, "next": next,
                "nextCall": call,
            })),
            ..Self::default()
        }
    }
}

/// What a lent tool answered, taken out of its output: the text, and what is a block of MCP.
struct Lent {
    text: String,
    blocks: Vec<Value>,
}

impl Lent {
    fn of(output: &mut Map<String, Value>) -> Self {
        let text = match output.shift_remove("text") {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let mut blocks = Vec::new();
        for (member, kind) in [
            ("images", "image"),
            ("audio", "audio"),
            ("files", "resource"),
            ("links", "resource_link"),
        ] {
            let Some(Value::Array(found)) = output.shift_remove(member) else {
                continue;
            };
            for mut found in found {
                if kind == "resource" {
                    found = json!({"resource": found});
                }
                found["type"] = kind.into();
                // The protocol wants both, and a server may have left them out.
                let missing = match kind {
                    "resource_link" if found["name"].is_null() => {
                        Some(("name", found["uri"].clone()))
                    }
                    "image" | "audio" if found["mimeType"].is_null() => {
                        Some(("mimeType", "application/octet-stream".into()))
                    }
                    _ => None,
                };
                if let Some((member, value)) = missing {
                    found[member] = value;
                }
                blocks.push(found);
            }
        }
        Self { text, blocks }
    }

    /// The result: what is structured is in both carriers, unless a block or a long text has to be seen beside it.
    fn within(mut self, mut envelope: Map<String, Value>, keeps: bool) -> ToolResult {
        let output = envelope.get_mut("output");
        let structured = output.and_then(|output| output.get_mut("structured"));
        if let Some(structured) = structured {
            let length = message::text(structured).len();
            let fits = self.text.len() + length <= MAX_OUTPUT;
            if fits && self.blocks.is_empty() {
                if !self.text.is_empty() {
                    envelope["output"]["text"] = self.text.into();
                }
                return ToolResult::data(Value::Object(envelope));
            }
            if length > MAX_OUTPUT {
                if !self.text.is_empty() {
                    self.text.push_str("\n\n");
                }
                self.text.push_str(&message::text(&structured.take()));
                if let Some(output) = envelope["output"].as_object_mut() {
                    output.shift_remove("structured");
                }
            }
        }
        let mut result = ToolResult::default();
        let shown = cut::at_line(&self.text, MAX_OUTPUT);
        if shown.len() < self.text.len() {
            let id = envelope.get("auditId").and_then(Value::as_str);
            let long = LongText {
                id: id.unwrap_or_default().to_owned(),
                text: self.text.clone(),
            };
            match keeps {
                true => long.put(&mut envelope, shown.len()),
                false => {
                    let bytes = json!({"bytes": self.text.len(), "end": shown.len()});
                    envelope.insert("cut".into(), bytes);
                    let next = "ask for less at once: this connection does not keep the rest";
                    envelope.insert("next".into(), next.into());
                }
            }
            result.long = keeps.then(|| Box::new(long));
        }
        if !shown.is_empty() {
            result.content.push(block(shown));
        }
        result.content.append(&mut self.blocks);
        let rest = Value::Object(envelope).to_string();
        result.content.push(block(&rest));
        result
    }
}

/// How a conversation stands after a turn, as the gateway says it.
struct Conversation(Value);

impl Conversation {
    fn of(reply: &mut Value) -> Option<Self> {
        let conversation = reply.get_mut("conversation")?.take();
        conversation.is_object().then_some(Self(conversation))
    }

    /// With the call that goes on with it, while there are turns left.
    fn put(self, structured: &mut Map<String, Value>) {
        let number = |member: &str| self.0[member].as_u64().unwrap_or_default();
        if number("turnsLeft") > 0 {
            let arguments = json!({
                "runId": self.0["runId"], "turn": number("turn") + 1, "text": "<your next message>",
            });
            let call = json!({"tool": CONTINUE, "arguments": arguments});
            structured.insert("nextCall".into(), call);
        }
        structured.insert("conversation".into(), self.0);
    }
}

/// Whether by this code the gateway answers and does nothing for agents before the owner acts: to wait on is of no use, and an
/// item outlives that.
#[must_use]
pub fn holds_off(code: &str) -> bool {
    matches!(code, "paused" | "audit_unavailable")
}

impl Refusal {
    /// Reads the error object of a gateway's answer.
    fn of_error(error: &Value) -> Self {
        let text = |member: &str| error[member].as_str().unwrap_or_default().to_owned();
        let message = text("message");
        Self {
            code: text("code"),
            // An answer that does not say is not taken for a promise.
            effect: serde_json::from_value(error["effect"].clone()).unwrap_or(Effect::Unknown),
            message: if message.is_empty() {
                text("code")
            } else {
                message
            },
            next: text("next"),
            action: serde_json::from_value(error["nextAction"].clone()).ok(),
        }
    }
}

/// A gateway's advice in the words of tools, with the call that it stands for.
pub(crate) fn in_tools(next: &str, action: Option<&NextAction>) -> (String, Option<Value>) {
    let Some(action) = action else {
        return (next.to_owned(), None);
    };
    let said = match action.kind {
        NextKind::Wait => {
            let pending = action.pending_id.clone().map(Item::Pending);
            let Some(item) = pending.or_else(|| action.run_id.clone().map(Item::Run)) else {
                let said = format!("call {WAIT} without an id: it lists what you have waiting");
                let call = json!({"tool": WAIT, "arguments": {}});
                return (said, Some(call));
            };
            let arguments = json!({item.member(): item.as_str()});
            let call = json!({"tool": WAIT, "arguments": arguments});
            return (format!("call {WAIT} with {arguments}"), Some(call));
        }
        NextKind::LookUp if action.id.is_some() => {
            "correct the arguments as this says (the tool's description has them), then call again"
        }
        NextKind::LookUp => "use a tool that is in the list",
        NextKind::Ask => "make the same call again; if it fails again, stop and tell the owner",
        NextKind::Retry | NextKind::ReadFirst | NextKind::Stop => next,
    };
    (said.to_owned(), None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::tests::view;

    fn of(reply: Value, tool: &str) -> Map<String, Value> {
        let view = view();
        let tool = view.tool(tool).unwrap();
        ToolResult::of_reply(reply, Some(tool), &view, true).value()
    }

    /// A view with one tool of a lent server, and that tool.
    fn lent_view() -> (View, std::sync::Arc<Tool>) {
        let output = json!({"properties": {"text": {}, "structured": {}, "images": {}}});
        let entry = json!({"id": "lent.get", "source": "lent", "kind": "capability", "provenance": "extension",
            "grants": ["execute"], "io": {"output": output}});
        let manifest = json!({"manifest": {"entries": [entry]}}).to_string();
        let view = View::of_manifest(manifest.as_bytes()).unwrap();
        let tool = std::sync::Arc::clone(view.tool("lent_get").unwrap());
        assert!(view.list.contains(MORE) && !view.list.contains("outputSchema"));
        (view, tool)
    }

    /// The JSON in a piece of content.
    fn parsed(content: &Value) -> Value {
        serde_json::from_str(content["text"].as_str().unwrap()).unwrap()
    }

    #[test]
    fn note_is_its_text_and_the_rest() {
        let result = of(
            json!({"id": "x", "ok": true, "output": {"content": "# A\n\"b\"\n", "bytes": 8}, "auditId": "evt_1"}),
            "obsidian_vault_read",
        );
        assert_eq!(result["content"][0]["text"], "# A\n\"b\"\n");
        let rest = json!({"ok": true, "output": {"bytes": 8}, "auditId": "evt_1"});
        assert_eq!(parsed(&result["content"][1]), rest);
        assert!(!result.contains_key("structuredContent") && !result.contains_key("isError"));
    }

    #[test]
    fn lent_tool_answers_with_its_own_text_and_blocks() {
        let (view, tool) = lent_view();
        let lent = |output: Value| {
            let reply = json!({"ok": true, "output": output, "auditId": "evt_1"});
            ToolResult::of_reply(reply, Some(&tool), &view, true).value()
        };
        let said = lent(json!({"text": "hello", "warnings": ["w"]}));
        assert_eq!(said["content"][0], json!({"type": "text", "text": "hello"}));
        let rest = json!({"ok": true, "output": {"warnings": ["w"]}, "auditId": "evt_1"});
        assert_eq!(parsed(&said["content"][1]), rest);
        assert!(!said.contains_key("structuredContent"));

        let data = lent(json!({"text": "two", "structured": {"n": 1}}));
        assert_eq!(
            data["structuredContent"]["output"],
            json!({"structured": {"n": 1}, "text": "two"})
        );

        let blocks = lent(json!({
            "images": [{"mimeType": "image/png", "data": "AA=="}], "audio": [{"data": "BB=="}],
            "files": [{"uri": "file:///r", "blob": "CC=="}], "links": [{"uri": "file:///l"}], "structured": {"n": 1},
        }));
        assert_eq!(
            blocks["content"].as_array().unwrap()[..4],
            [
                json!({"type": "image", "mimeType": "image/png", "data": "AA=="}),
                json!({"type": "audio", "mimeType": "application/octet-stream", "data": "BB=="}),
                json!({"type": "resource", "resource": {"uri": "file:///r", "blob": "CC=="}}),
                json!({"type": "resource_link", "uri": "file:///l", "name": "file:///l"}),
            ]
        );
        assert_eq!(
            parsed(&blocks["content"][4])["output"],
            json!({"structured": {"n": 1}})
        );
    }

    #[test]
    fn long_text_of_a_lent_tool_goes_on_until_its_end() {
        let (view, tool) = lent_view();
        let text: String = (0..20_000).map(|n| format!("line {n}\n")).collect();
        for output in [
            json!({"text": text}),
            json!({"structured": {"rows": [text]}}),
        ] {
            let whole = match output["text"].as_str() {
                Some(text) => text.to_owned(),
                None => output["structured"].to_string(),
            };
            let reply = json!({"ok": true, "output": output, "auditId": "evt_1"});
            let mut result = ToolResult::of_reply(reply.clone(), Some(&tool), &view, true);
            let long = result.long.take().unwrap();
            let (mut read, mut turns) = (String::new(), 0);
            loop {
                let value = result.value();
                read.push_str(value["content"][0]["text"].as_str().unwrap());
                let next = parsed(&value["content"][1])["nextCall"]["arguments"].clone();
                let Some(offset) = next["offset"].as_u64() else {
                    break;
                };
                assert_eq!(next["auditId"], "evt_1");
                result = long.part(offset as usize).unwrap();
                turns += 1;
            }
            assert!(read == whole && turns > 2);
            assert_eq!(long.part(whole.len()), None);
            // Who remembers nothing says so.
            let alone = ToolResult::of_reply(reply, Some(&tool), &view, false);
            assert_eq!(alone.long, None);
            let said = parsed(&alone.value()["content"][1]);
            assert!(
                said["next"].as_str().unwrap().contains("ask for less"),
                "{said}"
            );
        }
    }

    #[test]
    fn other_output_is_the_same_in_both_carriers() {
        let result = of(
            json!({"ok": true, "output": {"bytes": 8}, "undo": "evt_2", "auditId": "evt_1"}),
            "workspace_write",
        );
        let text = parsed(&result["content"][0]);
        assert_eq!(text, result["structuredContent"]);
        let undo = json!({"tool": "workspace_undo", "arguments": {"id": "evt_2"}});
        assert_eq!(text["undo"], undo);
        let lost = json!({"ok": true, "outputOmitted": true, "auditId": "evt_1"});
        let note = of(lost, "workspace_write")["structuredContent"]["note"].clone();
        assert_eq!(note, RESULT_LOST);
    }

    #[test]
    fn refusal_says_effect_why_and_next_in_both_carriers() {
        let reply = json!({"ok": false, "error": {"code": "transport_error", "message": "No such file.",
            "effect": "none", "next": "plexus describe workspace.write", "detail": {"reason": "not_found"},
            "nextAction": {"kind": "look_up", "id": "workspace.write"}}});
        let result = of(reply, "workspace_write");
        assert_eq!(result["isError"], true);
        assert_eq!(
            result["content"][0]["text"],
            "Nothing was done. No such file. (code transport_error)\nNext: correct the arguments as this says (the tool's description has them), then call again\n\
             Detail: {\"reason\":\"not_found\"}"
        );
        let structured = &result["structuredContent"];
        assert_eq!(structured["effect"], "none");
        assert_eq!(structured["detail"]["reason"], "not_found");
        let stopped = json!({"ok": false, "error": {"code": "cancelled", "message": "Stopped.", "effect": "none",
            "detail": {"changes": "cs_1"}}});
        let stopped = of(stopped, "workspace_write");
        let said = stopped["content"][0]["text"].as_str().unwrap();
        let words = "It left a change set and applied nothing. Stopped. (code cancelled)";
        assert!(said.starts_with(words), "{said}");
        let silent = json!({"ok": false, "error": {"code": "x", "detail": {"reason": null}}});
        let silent = of(silent, "workspace_write");
        assert_eq!(silent["structuredContent"]["effect"], "unknown");
        let said = silent["content"][0]["text"].as_str().unwrap();
        assert!(said.contains("do not repeat"), "{said}");
        assert!(!said.contains("Detail"), "{said}");
    }

    #[test]
    fn turn_names_the_call_that_goes_on() {
        let turn = |ok: bool, left: u64| {
            let error =
                json!({"code": "transport_error", "message": "It ended.", "effect": "done"});
            let conversation = json!({"runId": "run_1", "turn": 2, "turnsLeft": left});
            of(
                json!({"ok": ok, "output": {}, "error": error, "conversation": conversation}),
                "workspace_write",
            )
        };
        for ok in [true, false] {
            let result = turn(ok, 3);
            let structured = &result["structuredContent"];
            assert_eq!(structured["conversation"]["turnsLeft"], 3);
            let call = &structured["nextCall"];
            assert_eq!(call["tool"], "plexus_continue");
            assert_eq!(call["arguments"]["turn"], 3);
            let texts = result["content"].to_string();
            assert!(texts.contains("turnsLeft"), "{texts}");
        }
        assert!(turn(true, 0)["structuredContent"].get("nextCall").is_none());
    }

    #[test]
    fn pending_is_no_error_and_names_plexus_wait() {
        let item: Item = "pend_00000000-0000-4000-8000-000000000000".parse().unwrap();
        let result = ToolResult::goes_on(&item, Standing::Waits).value();
        assert!(!result.contains_key("isError"));
        let text = result["content"][0]["text"].as_str().unwrap();
        assert!(text.starts_with("Nothing was done yet."), "{text}");
        assert!(
            text.contains("plexus_wait") && text.contains(item.as_str()),
            "{text}"
        );
        let next = json!({"tool": "plexus_wait", "arguments": {"pendingId": item.as_str()}});
        assert_eq!(result["structuredContent"]["nextCall"], next);
        let unsure = ToolResult::goes_on(&item, Standing::Unknown).value();
        let said = unsure["content"][0]["text"].as_str().unwrap();
        assert!(!said.contains("Nothing was done"), "{said}");
    }

    #[test]
    fn next_action_becomes_the_words_of_tools() {
        let of = |kind| Some(NextAction::new(kind));
        let found = Some(NextAction {
            id: Some("workspace.write".parse().unwrap()),
            ..NextAction::new(NextKind::LookUp)
        });
        let read =
            "correct the arguments as this says (the tool's description has them), then call again";
        let again = "make the same call again; if it fails again, stop and tell the owner";
        let (stop, wait) = (
            "stop; tell the owner: start plexusd",
            "wait for some of your calls to end",
        );
        for (next, action, said) in [
            (
                "plexus list",
                of(NextKind::LookUp),
                "use a tool that is in the list",
            ),
            ("plexus describe workspace.write", found, read),
            ("PUT /grants", of(NextKind::Ask), again),
            (stop, of(NextKind::Stop), stop),
            (wait, of(NextKind::Retry), wait),
            ("send less", None, "send less"),
        ] {
            assert_eq!(in_tools(next, action.as_ref()), (said.to_owned(), None));
        }
        let run = NextAction {
            run_id: Some("run_00000000-0000-4000-8000-000000000000".parse().unwrap()),
            ..NextAction::new(NextKind::Wait)
        };
        let (said, call) = in_tools("plexus wait", Some(&run));
        assert!(said.starts_with("call plexus_wait"));
        assert!(call.unwrap()["arguments"]["runId"].is_string());
    }
}
