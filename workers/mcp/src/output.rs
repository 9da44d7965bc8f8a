//! What a tool, a resource or a prompt answered, as the output of its capability: `{text?, structured?, images?, audio?, files?, links?, warnings?}`.
//!
//! Invariants: nothing that the server gave is dropped without a name; no bytes are in a text; what is said twice is told once.

use crate::session::{Response, taken};
use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD},
};
use plexus_ipc::manifest::ServerMethod;
use plexus_protocol::json;
use serde::Serialize;
use serde_json::{Value, json, value::RawValue, value::to_raw_value};
use std::collections::HashSet;

/// The output of a tool.
#[derive(Debug, Default, Serialize)]
pub(crate) struct ToolOutput {
    /// All texts, an empty line between two.
    #[serde(skip_serializing_if = "String::is_empty")]
    text: String,
    /// As it came: the tokens of its numbers are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    structured: Option<Box<RawValue>>,
    /// `{mimeType, data}`, in base64.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<Value>,
    /// As images.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    audio: Vec<Value>,
    /// Resources that are no text: `{uri, mimeType?, blob}`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<Value>,
    /// Resources that the server names, and those whose text is in `text`: `{uri, name?, title?, description?, mimeType?, size?}`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    links: Vec<Value>,
    /// What stands for something that the server sent otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    /// The resources whose text is in `text`.
    #[serde(skip)]
    texts_of: HashSet<String>,
}

/// What a tool says that has failed.
#[derive(Debug)]
pub(crate) struct ToolFailure {
    pub(crate) words: String,
    pub(crate) structured: Option<Box<RawValue>>,
}

/// Puts the result of another method into the form of a tool's: contents of resources and messages of prompts are its blocks.
pub(crate) fn as_blocks(method: ServerMethod, response: &mut Response) {
    let result = &mut response.result;
    match method {
        // These are data.
        ServerMethod::ListResources | ServerMethod::ListPrompts => {}
        ServerMethod::ReadResource => {
            let mut contents = all(taken(result, "contents"));
            // The text of a single one needs no address: the call names it.
            if let [only] = &mut *contents
                && only["text"].is_string()
            {
                *result = json!({"content": [only["text"].take()]});
                return;
            }
            let blocks = contents
                .into_iter()
                .map(|content| json!({"type": "resource", "resource": content}));
            *result = json!({"content": blocks.collect::<Vec<_>>()});
        }
        ServerMethod::GetPrompt => {
            let messages = all(taken(result, "messages"));
            let is_plain = messages.iter().all(|message| message["role"] == "user");
            let (mut blocks, mut said) = (Vec::new(), Vec::new());
            for mut message in messages {
                let mut of_message = all(taken(&mut message, "content"));
                if !is_plain {
                    // Who says what is no part of a text.
                    let texts: Vec<_> = of_message.iter().filter_map(text_of).collect();
                    let text = texts.join("\n\n");
                    said.push(json!({"role": message["role"], "text": text}));
                    of_message.retain(|block| text_of(block).is_none());
                }
                blocks.append(&mut of_message);
            }
            if !is_plain {
                response.structured = to_raw_value(&json!({ "messages": said })).ok();
            }
            *result = json!({ "content": blocks });
        }
    }
}

/// The elements of a list; a list of one where a server has left the list out.
fn all(value: Value) -> Vec<Value> {
    match value {
        Value::Array(all) => all,
        Value::Null => Vec::new(),
        one => vec![one],
    }
}

/// Reads the result of `tools/call`.
///
/// # Errors
/// The server's own words, where it says that the tool has failed.
pub(crate) fn output(response: Response) -> Result<ToolOutput, ToolFailure> {
    let Response {
        mut result,
        structured,
        changes,
        omitted,
    } = response;
    let mut output = ToolOutput {
        structured,
        warnings: changes
            .sentences("/result")
            .into_iter()
            .chain(omitted)
            .collect(),
        ..ToolOutput::default()
    };
    let mut texts = Vec::new();
    match &mut result {
        Value::Object(members) => match members.get_mut("content").map(Value::take) {
            None | Some(Value::Null) => {}
            Some(Value::Array(blocks)) => {
                for block in blocks {
                    texts.extend(output.take(block));
                }
            }
            Some(other) => texts.extend(output.take(other)),
        },
        Value::Null => {}
        // No result as the protocol has it, and yet what the server says.
        Value::String(text) => texts.push(std::mem::take(text)),
        other => texts.push(other.to_string()),
    }
    // As it was before there was structured content.
    if output.structured.is_none()
        && let Some(old) = result.get("toolResult").filter(|old| !old.is_null())
    {
        output.structured = to_raw_value(old).ok();
    }
    // The protocol has servers say what is structured once more as a text.
    if let Some(structured) = &output.structured {
        texts.retain(|text| !says(text, structured));
    }
    output.text = texts.join("\n\n");
    if result["isError"] == true {
        return Err(ToolFailure {
            words: output.text,
            structured: output.structured,
        });
    }
    Ok(output)
}

/// The text of a block that is one, or a resource that is one.
fn text_of(block: &Value) -> Option<&str> {
    match block["type"].as_str() {
        None => block.as_str(),
        Some("text") => block["text"].as_str(),
        Some("resource") => block["resource"]["text"].as_str(),
        Some(_) => None,
    }
}

/// Whether a text says what is structured, and nothing else.
fn says(text: &str, structured: &RawValue) -> bool {
    let text = text.trim();
    text.starts_with(['{', '['])
        && json::repaired(text.as_bytes(), json::MAX_DEPTH)
            .is_ok_and(|said| said.text == structured.get())
}

/// Whether it is bytes in base64, which it then is without line breaks and with its padding: a client sends them on to a model
/// as they are, and the model's server refuses the conversation for others.
fn is_bytes(value: &mut Value) -> bool {
    let text: Option<String> = value.as_str().map(|text| text.split_whitespace().collect());
    let bytes = text.and_then(|text| {
        BASE64_STANDARD_NO_PAD
            .decode(text.trim_end_matches('='))
            .ok()
    });
    bytes.is_some_and(|bytes| {
        *value = BASE64_STANDARD.encode(bytes).into();
        true
    })
}

impl ToolOutput {
    /// Takes one block; what of it is a text.
    fn take(&mut self, mut block: Value) -> Option<String> {
        let word = |block: &Value, key: &str| block[key].as_str().map(str::to_owned);
        let kept = |block: &mut Value, keys: &[&str]| {
            let members = keys.iter().filter_map(|key| {
                let value = block.get_mut(*key).map(Value::take)?;
                (value.is_string() || value.is_number()).then(|| ((*key).to_owned(), value))
            });
            Value::Object(members.collect())
        };
        if let Some(text) = text_of(&block).map(str::to_owned) {
            if let Some(uri) = word(&block["resource"], "uri")
                && self.texts_of.insert(uri)
            {
                let address = kept(&mut block["resource"], &["uri", "mimeType"]);
                self.links.push(address);
            }
            return Some(text);
        }
        let kind = word(&block, "type").unwrap_or_default();
        match &*kind {
            // One of no bytes is refused as wrong ones are.
            "image" | "audio"
                if block.get_mut("data").is_some_and(is_bytes) && block["data"] != "" =>
            {
                let bytes = kept(&mut block, &["mimeType", "data"]);
                match &*kind {
                    "image" => self.images.push(bytes),
                    _ => self.audio.push(bytes),
                }
                return None;
            }
            "resource_link" if block["uri"].is_string() => {
                let keys = ["uri", "name", "title", "description", "mimeType", "size"];
                self.links.push(kept(&mut block, &keys));
                return None;
            }
            "resource" => {
                let resource = &mut block["resource"];
                if resource.get_mut("blob").is_some_and(is_bytes) {
                    self.files
                        .push(kept(resource, &["uri", "mimeType", "blob"]));
                    return None;
                }
            }
            _ => {}
        }
        let kind = if kind.is_empty() {
            "without a type"
        } else {
            &kind
        };
        let uri = word(&block, "uri").or_else(|| word(&block["resource"], "uri"));
        let uri = uri.map(|uri| format!(", {uri}")).unwrap_or_default();
        self.warnings.push(format!(
            "a block {kind}{uri} that cannot be read is left out"
        ));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Message, message};
    use serde_json::json;

    fn of(result: &str) -> Result<Value, ToolFailure> {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
        let Message {
            mut value,
            structured,
            changes,
        } = message(text.as_bytes()).unwrap().unwrap();
        let response = Response {
            result: value["result"].take(),
            structured,
            changes,
            omitted: Vec::new(),
        };
        output(response).map(|output| json!(output))
    }

    #[test]
    fn blocks_stay_what_they_are() {
        let result = json!({
            "content": [
                {"type": "text", "text": "one"},
                {"type": "resource_link", "name": "a", "uri": "file:///a", "icons": []},
                {"type": "image", "mimeType": "image/png", "data": "AA=="},
                {"type": "audio", "mimeType": "audio/wav", "data": "BA\n"},
                {"type": "resource", "resource": {"uri": "file:///r.pdf", "mimeType": "application/pdf", "blob": "CA=="}},
                {"type": "resource", "resource": {"uri": "file:///t.txt", "text": "two"}},
                {"type": "hologram"},
                {"type": "image"},
                {"type": "image", "mimeType": "image/png", "data": "no bytes!"},
                {"type": "image", "mimeType": "image/png", "data": "\n"},
                {"type": "resource_link", "name": "no address"},
                {"type": "resource", "resource": {"uri": "file:///x"}},
                {"type": "resource", "resource": {"uri": "file:///y", "blob": "no bytes!"}},
                {"type": "resource", "resource": "file:///z"},
                {"type": "text", "text": 7},
                7,
                "bare",
            ],
            "structuredContent": {"n": 1},
            "_meta": {"dropped": true},
        });
        let expected = json!({
            "text": "one\n\ntwo\n\nbare",
            "structured": {"n": 1},
            "images": [{"mimeType": "image/png", "data": "AA=="}],
            "audio": [{"mimeType": "audio/wav", "data": "BA=="}],
            "files": [{"uri": "file:///r.pdf", "mimeType": "application/pdf", "blob": "CA=="}],
            "links": [{"uri": "file:///a", "name": "a"}, {"uri": "file:///t.txt"}],
            "warnings": [
                "a block hologram that cannot be read is left out",
                "a block image that cannot be read is left out",
                "a block image that cannot be read is left out",
                "a block image that cannot be read is left out",
                "a block resource_link that cannot be read is left out",
                "a block resource, file:///x that cannot be read is left out",
                "a block resource, file:///y that cannot be read is left out",
                "a block resource that cannot be read is left out",
                "a block text that cannot be read is left out",
                "a block without a type that cannot be read is left out",
            ],
        });
        assert_eq!(of(&result.to_string()).unwrap(), expected);
    }

    fn of_method(method: ServerMethod, result: Value) -> Value {
        let mut response = Response {
            result,
            ..Response::default()
        };
        as_blocks(method, &mut response);
        json!(output(response).unwrap())
    }

    #[test]
    fn contents_of_resources_are_texts_and_files() {
        let read =
            |contents| of_method(ServerMethod::ReadResource, json!({ "contents": contents }));
        let text = json!({"uri": "a://1", "mimeType": "text/plain", "text": "one"});
        let file = json!({"uri": "a://2", "blob": "AA=="});
        assert_eq!(read(json!([text])), json!({"text": "one"}));
        assert_eq!(read(text.clone()), json!({"text": "one"}));
        assert_eq!(read(json!([file])), json!({ "files": [file] }));
        let both = json!({
            "text": "one", "files": [file], "links": [{"uri": "a://1", "mimeType": "text/plain"}],
        });
        assert_eq!(read(json!([text, file])), both);
        let odd = read(json!([{"uri": "a://3", "text": 7}]));
        let why = "a block resource, a://3 that cannot be read is left out";
        assert_eq!(odd["warnings"], json!([why]));
        assert_eq!(read(Value::Null), json!({}));
    }

    #[test]
    fn prompt_is_a_text_unless_somebody_else_speaks_in_it() {
        let get = |messages| of_method(ServerMethod::GetPrompt, json!({ "messages": messages }));
        let says = |role: &str, text: &str| json!({"role": role, "content": {"type": "text", "text": text}});
        let resource = json!({"role": "user", "content": {
            "type": "resource", "resource": {"uri": "a://1", "text": "two"},
        }});
        let plain = get(json!([says("user", "one"), resource]));
        assert_eq!(
            plain,
            json!({"text": "one\n\ntwo", "links": [{"uri": "a://1"}]})
        );
        let image = json!({"type": "image", "mimeType": "image/png", "data": "AA=="});
        let shown = json!({"role": "user", "content": image});
        let mixed = get(json!([
            says("user", "one"),
            says("assistant", "yes"),
            shown
        ]));
        let said = json!([
            {"role": "user", "text": "one"}, {"role": "assistant", "text": "yes"}, {"role": "user", "text": ""},
        ]);
        assert_eq!(mixed["structured"]["messages"], said);
        assert_eq!(
            mixed["images"],
            json!([{"mimeType": "image/png", "data": "AA=="}])
        );
        assert_eq!(mixed.get("text"), None);
    }

    #[test]
    fn what_is_no_result_of_the_protocol_is_told_all_the_same() {
        for (result, told) in [
            ("{}", json!({})),
            ("null", json!({})),
            (r#""just words""#, json!({"text": "just words"})),
            (r#"{"content":"a sentence"}"#, json!({"text": "a sentence"})),
            (r#"{"content":null,"structuredContent":null}"#, json!({})),
            (r#"{"toolResult":{"a":1}}"#, json!({"structured": {"a": 1}})),
            (
                r#"{"structuredContent":[1,2]}"#,
                json!({"structured": [1, 2]}),
            ),
            (
                r#"{"content":[{"type":"text","text":"{\n \"a\": 0.10,\n \"b\": \"\\u00e9\"}"}],"structuredContent":{"a":0.10,"b":"é"}}"#,
                json!({"structured": {"a": 0.1, "b": "é"}}),
            ),
            (
                r#"{"content":[{"type":"text","text":"{\"a\":2}"}],"structuredContent":{"a":1}}"#,
                json!({"text": "{\"a\":2}", "structured": {"a": 1}}),
            ),
        ] {
            assert_eq!(of(result).unwrap(), told, "{result}");
        }
        let repaired = of(r#"{"structuredContent":{"mean":NaN,"mean":Infinity}}"#).unwrap();
        assert_eq!(repaired["structured"], json!({"mean": null}));
        assert_eq!(
            repaired["warnings"][0],
            "/result/structuredContent/mean: NaN: null stands for it"
        );
        let failed = of(
            r#"{"content":[{"type":"text","text":"no\n  way"}],"structuredContent":{"code":7},"isError":true}"#,
        );
        let failed = failed.unwrap_err();
        assert_eq!(failed.words, "no\n  way");
        assert_eq!(failed.structured.unwrap().get(), r#"{"code":7}"#);
    }
}
