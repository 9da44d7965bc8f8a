//! The rollout of a thread: Codex's own record, one object of JSON in a line, from which it builds what it sends to the
//! model again.
//!
//! ```text
//! response_item  function_call | custom_tool_call            call_id, name, arguments | input     sent again
//! response_item  function_call_output | custom_…_output      call_id, output                      sent again
//! response_item  message                                     role, content                        sent again
//! event_msg      item_completed                              item {id: call_id, …}                for its own views
//! ```
//! Invariants: a line that is no object, or is longer than [`LONGEST_LINE`], is passed over and kept as it is; whatever
//! names a chosen call, at any depth of a line, loses its content and keeps its form and its `ordinal`; what a call held
//! is nowhere in the new text of its lines.
//!
//! Must not know: where the file lies, who asked.

use plexus_coding_agent::Usage;
use serde_json::{Map, Value};
use std::{
    collections::{BTreeSet, HashMap},
    io::{self, BufRead, Write},
};

/// Longest line that is read, in bytes. As values it takes up to sixty times as much.
const LONGEST_LINE: usize = 4 * 1024 * 1024;
/// Most entries that are kept of one rollout.
const MOST_ENTRIES: usize = 50_000;
/// Longest id of a call, in bytes.
const LONGEST_ID: usize = 128;
/// Most of a text that is kept for showing, in bytes.
const LONGEST_TEXT: usize = 2048;
/// What may stay of something that a call is about: words of the format.
const FORM: [&str; 9] = [
    "type", "id", "call_id", "status", "source", "server", "tool", "cwd", "ordinal",
];

/// Members that hold what a tool was given, or gave.
const GIVEN: [&str; 8] = [
    "arguments",
    "input",
    "output",
    "structured_content",
    "structuredContent",
    "_meta",
    "env",
    "changes",
];

/// What a rollout has to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Somebody said something.
    Said {
        /// `user` or `assistant`.
        role: String,
        /// The beginning of it.
        text: String,
    },
    /// A tool was called.
    Called(Pair),
}

/// A call and its result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pair {
    /// Codex's own id of it.
    pub(crate) id: String,
    /// The tool, with the server that it is of.
    pub(crate) name: String,
    /// The beginning of what it was called with.
    pub(crate) arguments: String,
    /// The beginning of what came back, once something did.
    pub(crate) output: Option<String>,
}

/// A rollout, as far as it could be read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rollout {
    /// In order.
    pub(crate) entries: Vec<Entry>,
    /// Lines that say nothing to us: no JSON, too long, or not yet whole.
    pub(crate) unread: usize,
}

impl Rollout {
    /// Reads one from where `lines` stands. `is_over` is asked at each line.
    pub(crate) fn read(lines: impl BufRead, is_over: &dyn Fn() -> bool) -> io::Result<Self> {
        let mut found = Self::default();
        let mut calls = HashMap::new();
        each_line(lines, is_over, |line| {
            match line.object() {
                Some(object) => found.take(&object["payload"], &object["type"], &mut calls),
                None if line.bytes.trim_ascii().is_empty() => {}
                None => found.unread += usize::from(line.is_first),
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// The calls, in order.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = &Pair> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Called(pair) => Some(pair),
            Entry::Said { .. } => None,
        })
    }

    fn take(&mut self, item: &Value, kind: &Value, calls: &mut HashMap<String, usize>) {
        if kind != "response_item" {
            return;
        }
        if self.entries.len() >= MOST_ENTRIES {
            self.unread += 1;
            return;
        }
        let id = item["call_id"].as_str();
        let (what, id) = (&item["type"], id.filter(|id| id.len() <= LONGEST_ID));
        match (what.as_str().unwrap_or_default(), id) {
            ("message", _) => {
                let role = item["role"].as_str().unwrap_or_default();
                let text = texts(&item["content"]);
                // What Codex tells the model of itself is in such messages too.
                let is_said = matches!(role, "user" | "assistant") && !text.starts_with('<');
                if is_said && !text.is_empty() {
                    let role = role.to_owned();
                    self.entries.push(Entry::Said { role, text });
                }
            }
            (call, Some(id)) if call.ends_with("_call") => {
                let name = item["name"].as_str().unwrap_or(call);
                let name = match item["namespace"].as_str() {
                    Some(namespace) => format!("{namespace}.{name}"),
                    None => name.to_owned(),
                };
                let given = item["arguments"].as_str().or(item["input"].as_str());
                calls.insert(id.to_owned(), self.entries.len());
                self.entries.push(Entry::Called(Pair {
                    id: id.to_owned(),
                    name: beginning(&name),
                    arguments: beginning(given.unwrap_or_default()),
                    output: None,
                }));
            }
            (output, Some(id)) if output.ends_with("_output") => {
                let at = calls.get(id).and_then(|at| self.entries.get_mut(*at));
                if let Some(Entry::Called(pair)) = at {
                    pair.output = Some(texts(&item["output"]));
                }
            }
            _ => {}
        }
    }
}

/// What was rewritten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Consumed {
    /// Lines that changed.
    pub(crate) lines: usize,
    /// Lines that could not be read, and are as they were.
    pub(crate) unread: usize,
}

/// Writes the rollout once more, with what the calls `chosen` held replaced: arguments by `{}`, outputs by `marker`.
///
/// # Errors
/// Of reading and writing; `Interrupted` once `is_over`.
pub(crate) fn consume(
    lines: impl BufRead,
    mut to: impl Write,
    chosen: &BTreeSet<String>,
    marker: &str,
    is_over: &dyn Fn() -> bool,
) -> io::Result<Consumed> {
    let mut consumed = Consumed::default();
    each_line(lines, is_over, |line| {
        match line.object() {
            Some(mut object) => {
                if edit(&mut object, chosen, marker) {
                    consumed.lines += 1;
                    serde_json::to_writer(&mut to, &object)?;
                    return to.write_all(b"\n");
                }
            }
            None if line.bytes.trim_ascii().is_empty() => {}
            None => consumed.unread += usize::from(line.is_first),
        }
        to.write_all(line.bytes)
    })?;
    to.flush()?;
    Ok(consumed)
}

/// Takes the content of chosen calls out of a value; answers whether there was any.
fn edit(value: &mut Value, chosen: &BTreeSet<String>, marker: &str) -> bool {
    match value {
        Value::Array(values) => {
            let edited = values.iter_mut().map(|value| edit(value, chosen, marker));
            edited.fold(false, |any, one| any | one)
        }
        Value::Object(members) => {
            let names = |key: &str| members[key].as_str().is_some_and(|id| chosen.contains(id));
            let has = |key: &str| members.contains_key(key) && names(key);
            if has("call_id") || has("id") {
                empty(members, marker);
                return true;
            }
            let edited = members
                .values_mut()
                .map(|value| edit(value, chosen, marker));
            edited.fold(false, |any, one| any | one)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn empty(members: &mut Map<String, Value>, marker: &str) {
    let kind = members
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let replaced = match kind {
        "function_call" | "local_shell_call" | "tool_search_call" => Some(("arguments", "{}")),
        "custom_tool_call" => Some(("input", "")),
        kind if kind.ends_with("_output") => Some(("output", marker)),
        _ => None,
    };
    match replaced {
        Some((member, text)) if members.contains_key(member) => {
            members.insert(member.to_owned(), text.into());
            // Of another kind of call, and read as what this one was given too.
            let others = members.iter_mut().filter(|(key, _)| *key != member);
            let given = others.filter(|(key, _)| GIVEN.contains(&key.as_str()));
            given.for_each(|(key, value)| hollow(key, value));
        }
        // An event about it: Codex reads it for its own views alone.
        _ => members.iter_mut().for_each(|(key, value)| {
            if !FORM.contains(&key.as_str()) {
                hollow(key, value);
            }
        }),
    }
}

/// Keeps the form of the member `name` of an event, and nothing that a call may have put there.
fn hollow(name: &str, value: &mut Value) {
    match value {
        Value::String(text) if name != "type" => text.clear(),
        Value::Array(values) => values.clear(),
        // The tool's own JSON, not Codex's.
        Value::Object(members) if GIVEN.contains(&name) => members.clear(),
        Value::Object(members) => members
            .iter_mut()
            .for_each(|(name, value)| hollow(name, value)),
        Value::Number(number) => *number = 0.into(),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// The sum over the thread that the last line about tokens gives.
pub(crate) fn used(lines: impl BufRead) -> io::Result<Option<Usage>> {
    let mut last = None;
    each_line(lines, &|| false, |line| {
        let event = line.object().filter(|object| object["type"] == "event_msg");
        let Some(event) = event.filter(|event| event["payload"]["type"] == "token_count") else {
            return Ok(());
        };
        let total = &event["payload"]["info"]["total_token_usage"];
        let of = |name: &str| total[name].as_u64();
        if let (Some(input_tokens), Some(output_tokens)) = (of("input_tokens"), of("output_tokens"))
        {
            last = Some(Usage {
                input_tokens,
                cached_input_tokens: of("cached_input_tokens").unwrap_or_default(),
                output_tokens,
                reasoning_tokens: of("reasoning_output_tokens").unwrap_or_default(),
            });
        }
        Ok(())
    })?;
    Ok(last)
}

/// A line, or a piece of one that is too long to be read.
struct Line<'a> {
    bytes: &'a [u8],
    is_whole: bool,
    is_first: bool,
}

impl Line<'_> {
    fn object(&self) -> Option<Value> {
        let read: Option<Value> = self
            .is_whole
            .then(|| serde_json::from_slice(self.bytes).ok())?;
        read.filter(Value::is_object)
    }
}

fn each_line(
    mut lines: impl BufRead,
    is_over: &dyn Fn() -> bool,
    mut take: impl FnMut(&Line<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let (mut bytes, mut is_first) = (Vec::new(), true);
    loop {
        if is_over() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        bytes.clear();
        let most = LONGEST_LINE as u64;
        if io::Read::take(&mut lines, most).read_until(b'\n', &mut bytes)? == 0 {
            return Ok(());
        }
        let ends = bytes.ends_with(b"\n");
        take(&Line {
            bytes: &bytes,
            is_whole: is_first && ends,
            is_first,
        })?;
        is_first = ends;
    }
}

/// A text, or those of a list of parts.
fn texts(content: &Value) -> String {
    let all = match content {
        Value::String(text) => return beginning(text),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()),
        _ => return String::new(),
    };
    beginning(&all.collect::<Vec<_>>().join("\n"))
}

fn beginning(text: &str) -> String {
    text[..text.floor_char_boundary(LONGEST_TEXT)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    const TEXT: &str = r#"{"ordinal":0,"type":"session_meta","payload":{"id":"t"}}
{"ordinal":1,"type":"response_item","payload":{"type":"message","role":"user","content":[{"type":"input_text","text":"<environment_context>x"}]}}
{"ordinal":2,"type":"response_item","payload":{"type":"message","role":"user","content":[{"type":"input_text","text":"Look."}]}}
{"ordinal":3,"type":"response_item","payload":{"type":"function_call","name":"exec_command","arguments":"{\"cmd\":\"SECRET-A\"}","call_id":"call_1"}}
{"ordinal":4,"type":"event_msg","payload":{"type":"item_completed","item":{"type":"CommandExecution","id":"call_1","command":["bash","SECRET-A"],"parsed_cmd":[{"type":"unknown","cmd":"SECRET-A"}],"cwd":"file:///w","status":"completed","aggregated_output":"SECRET-B","exit_code":0}}}
garbage
{"ordinal":5,"type":"response_item","payload":{"type":"function_call_output","call_id":"call_1","output":[{"type":"input_text","text":"SECRET-B"}]}}
{"ordinal":6,"type":"response_item","payload":{"type":"custom_tool_call","name":"apply_patch","input":"SECRET-C","call_id":"call_2"}}
{"ordinal":7,"type":"response_item","payload":{"type":"custom_tool_call_output","call_id":"call_2","output":"kept"}}
{"ordinal":8,"type":"compacted","payload":{"replacement_history":[{"type":"function_call_output","call_id":"call_1","output":"SECRET-B"}]}}
{"ordinal":9,"type":"response_item","payload":{"type":"mess"#;

    fn read(text: &[u8]) -> Rollout {
        Rollout::read(Cursor::new(text), &|| false).unwrap()
    }

    #[test]
    fn rollout_shows_what_was_said_and_called() {
        let found = read(TEXT.as_bytes());
        assert_eq!(found.unread, 2, "garbage, and a line that grows");
        let said = Entry::Said {
            role: "user".into(),
            text: "Look.".into(),
        };
        assert_eq!(found.entries[0], said);
        let pairs: Vec<_> = found.pairs().collect();
        assert_eq!((&*pairs[0].id, &*pairs[0].name), ("call_1", "exec_command"));
        assert_eq!(pairs[0].output.as_deref(), Some("SECRET-B"));
        assert_eq!(
            (&*pairs[1].arguments, pairs[1].output.as_deref()),
            ("SECRET-C", Some("kept"))
        );
    }

    #[test]
    fn consumed_call_is_gone_from_every_line_and_the_rest_stays() {
        let chosen = BTreeSet::from(["call_1".to_owned()]);
        let mut new = Vec::new();
        let consumed = consume(Cursor::new(TEXT), &mut new, &chosen, "[gone]", &|| false).unwrap();
        assert_eq!(
            consumed,
            Consumed {
                lines: 4,
                unread: 2
            }
        );
        let text = String::from_utf8(new).unwrap();
        assert!(
            !text.contains("SECRET-A") && !text.contains("SECRET-B"),
            "{text}"
        );
        let (old, new): (Vec<_>, Vec<_>) = (TEXT.lines().collect(), text.lines().collect());
        assert_eq!(old.len(), new.len());
        for at in [0, 1, 2, 5, 7, 8, 10] {
            assert_eq!(old[at], new[at]);
        }
        for line in new
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        {
            assert!(line["ordinal"].is_u64(), "{line}");
        }
        let pairs = read(text.as_bytes());
        let first = pairs.pairs().next().unwrap();
        assert_eq!(
            (&*first.arguments, first.output.as_deref()),
            ("{}", Some("[gone]"))
        );
        assert!(
            text.contains(r#""status":"completed""#) && text.contains("file:///w"),
            "{text}"
        );
    }

    #[test]
    fn json_of_a_tool_leaves_nothing_behind_under_words_of_the_format() {
        let line = r#"{"ordinal":1,"type":"event_msg","payload":{"item":{"type":"McpToolCall","id":"call_1","server":"s","tool":"t",
            "arguments":{"id":"SECRET","status":"SECRET","SECRET":7301},
            "result":{"content":[{"text":"SECRET"}],"structured_content":{"source":"SECRET","n":7301},"duration":7301}}}}"#;
        let line = format!("{}\n", line.replace('\n', ""));
        let chosen = BTreeSet::from(["call_1".to_owned()]);
        let mut new = Vec::new();
        consume(Cursor::new(line), &mut new, &chosen, "[gone]", &|| false).unwrap();
        let text = String::from_utf8(new).unwrap();
        assert!(!text.contains("SECRET") && !text.contains("7301"), "{text}");
        assert!(
            text.contains("McpToolCall") && text.contains("\"ordinal\":1"),
            "{text}"
        );
    }

    #[test]
    fn line_beyond_its_bound_stays_as_it_is() {
        let long = format!(
            "{{\"call_id\":\"call_1\",\"x\":\"{}\"}}\n",
            "y".repeat(LONGEST_LINE)
        );
        let text = format!("{long}{TEXT}");
        let chosen = BTreeSet::from(["call_1".to_owned()]);
        let mut new = Vec::new();
        let consumed = consume(Cursor::new(&text), &mut new, &chosen, "", &|| false).unwrap();
        assert_eq!(
            consumed,
            Consumed {
                lines: 4,
                unread: 3
            }
        );
        assert!(new.starts_with(long.as_bytes()));
        assert_eq!(read(text.as_bytes()).unread, 3);
    }

    #[test]
    fn rollout_of_200_mb_is_rewritten_line_by_line() {
        let filler = format!(
            "{{\"type\":\"event_msg\",\"payload\":\"{}\"}}\n",
            "z".repeat(1 << 20)
        );
        let text = filler.repeat(200) + TEXT;
        let chosen = BTreeSet::from(["call_1".to_owned()]);
        let mut written = 0;
        struct Count<'a>(&'a mut usize);
        impl Write for Count<'_> {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                *self.0 += bytes.len();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let to = Count(&mut written);
        let consumed = consume(Cursor::new(&text), to, &chosen, "", &|| false).unwrap();
        assert_eq!(consumed.lines, 4);
        assert!(written > 200 << 20);
        let over = consume(Cursor::new(&text), io::sink(), &chosen, "", &|| true);
        assert_eq!(over.unwrap_err().kind(), io::ErrorKind::Interrupted);
    }
}
