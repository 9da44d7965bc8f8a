//! JSON-RPC 2.0, one message at a time: strict reading, and the few forms that are written.

use plexus_protocol::json;
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

/// The bytes are no JSON.
pub const PARSE_ERROR: i64 = -32700;
/// The JSON is no request, or comes at the wrong time.
pub const INVALID_REQUEST: i64 = -32600;
/// No such method in this era.
pub const METHOD_NOT_FOUND: i64 = -32601;
/// Parameters that are not of the method's form; an unknown tool; an unknown task.
pub const INVALID_PARAMS: i64 = -32602;
/// The gateway cannot be asked now.
pub const INTERNAL_ERROR: i64 = -32603;
/// A header of HTTP is missing, or says something else than the body.
pub const HEADER_MISMATCH: i64 = -32020;
/// A protocol version that is not spoken here; `data` lists those that are.
pub const UNSUPPORTED_VERSION: i64 = -32022;

/// A message that somebody sent.
#[derive(Debug)]
pub enum Incoming {
    /// Wants a response.
    Request {
        /// A text or a number.
        id: Value,
        /// What is asked.
        method: String,
        /// Empty where there are none.
        params: Map<String, Value>,
        /// Why the arguments of a call cannot be taken: then they are not in `params`.
        fault: Option<String>,
    },
    /// Wants none.
    Notification {
        /// What is said.
        method: String,
        /// Empty where there are none.
        params: Map<String, Value>,
    },
    /// A response. This server sends no requests, so it is of no interest.
    Response,
}

/// A JSON-RPC error as one line, to the request with an id (`null` where the message had none that could be read).
#[derive(Debug)]
pub struct RpcError {
    /// One of the codes here.
    pub code: i64,
    line: String,
}

impl RpcError {
    /// An error.
    #[must_use]
    pub fn new(id: &Value, code: i64, message: impl Into<String>) -> Self {
        Self::with_data(id, code, message, None)
    }
    /// An error with details for a program.
    #[must_use]
    pub fn with_data(
        id: &Value,
        code: i64,
        message: impl Into<String>,
        data: Option<Value>,
    ) -> Self {
        let mut error = json!({"code": code, "message": message.into()});
        if let Some(data) = data {
            error["data"] = data;
        }
        let line = json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string();
        Self { code, line }
    }
    /// The message.
    #[must_use]
    pub fn line(self) -> String {
        self.line
    }
}

/// Reads one message.
///
/// # Errors
/// Where it is none; the error is the answer.
pub fn read(bytes: &[u8]) -> Result<Incoming, RpcError> {
    let nobody = Value::Null;
    let value = match json::parse_wide(bytes) {
        Ok(value) => value,
        Err(why) => return in_part(bytes, &why.to_string()),
    };
    let invalid = |id: &Value, why: &str| RpcError::new(id, INVALID_REQUEST, why);
    let Value::Object(mut message) = value else {
        return Err(invalid(
            &nobody,
            "A message is one JSON object; batches are not taken.",
        ));
    };
    let id = message.remove("id");
    let shown = match &id {
        Some(id @ (Value::String(_) | Value::Number(_))) => id.clone(),
        _ => Value::Null,
    };
    if message.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err(invalid(&shown, "The member jsonrpc is not \"2.0\"."));
    }
    let method = match message.remove("method") {
        Some(Value::String(method)) => method,
        Some(_) => return Err(invalid(&shown, "The member method is no text.")),
        None if message.contains_key("result") || message.contains_key("error") => {
            return Ok(Incoming::Response);
        }
        None => return Err(invalid(&shown, "The member method is missing.")),
    };
    let params = match message.remove("params") {
        None => Map::new(),
        Some(Value::Object(params)) => params,
        Some(_) => {
            return Err(RpcError::new(
                &shown,
                INVALID_PARAMS,
                "The member params is no object.",
            ));
        }
    };
    match id {
        None => Ok(Incoming::Notification { method, params }),
        Some(_) if shown.is_null() => Err(invalid(
            &shown,
            "The member id is neither a text nor a number.",
        )),
        Some(_) => Ok(Incoming::Request {
            id: shown,
            method,
            params,
            fault: None,
        }),
    }
}

/// The answer to a message that was not kept, of more than `most` bytes; `id`: as [`id_of_long`] gives it.
#[must_use]
pub fn too_long(id: &Value, most: usize) -> RpcError {
    let why = format!(
        "Nothing was done: a message has at most {most} bytes here. Send less in one call."
    );
    RpcError::new(id, INVALID_REQUEST, why)
}

/// Bytes of a long message that are looked into for its id, which would be kept whole.
const LONGEST_LOOKED_INTO: u64 = 64 << 20;

/// The id of a request that is too long to be kept, which its client waits for an answer to; null where it has none, and
/// where its end is not in the first 64 MiB.
#[must_use]
pub fn id_of_long(message: impl std::io::Read) -> Value {
    #[derive(Deserialize)]
    struct Envelope {
        id: Value,
        method: String,
    }
    let message = std::io::BufReader::new(message.take(LONGEST_LOOKED_INTO));
    let mut message = serde_json::Deserializer::from_reader(message);
    let read = Envelope::deserialize(&mut message).ok();
    let asks =
        |read: &Envelope| !read.method.is_empty() && (read.id.is_string() || read.id.is_number());
    let request = read.filter(asks);
    request.map_or(Value::Null, |request| request.id)
}

/// What can be read of a message that is no strict JSON: a request is answered with its id, and a call whose arguments alone
/// are at fault is a call.
fn in_part(bytes: &[u8], why: &str) -> Result<Incoming, RpcError> {
    #[derive(Default, Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        id: Option<&'a RawValue>,
        method: Option<String>,
        #[serde(borrow)]
        params: Option<&'a RawValue>,
    }
    #[derive(Default, Deserialize)]
    struct Call<'a> {
        name: Option<String>,
        #[serde(borrow, rename = "_meta")]
        meta: Option<&'a RawValue>,
    }
    let strict = |raw: &RawValue| json::parse(raw.get().as_bytes()).ok();
    let (mut written, mut fault) = (String::new(), why.to_owned());
    if let Ok(repaired) = json::repaired(bytes, json::MAX_DEPTH) {
        // What came, without what would stand for it in an answer of others.
        let came = |change: &json::Change| {
            let came = change.what.split(": ").next().unwrap_or_default();
            format!("{}: {came}", change.at)
        };
        fault = repaired.changes.first().map_or(fault, came);
        // An id that is there twice is none.
        if !repaired.changes.sentences("/id").is_empty() {
            return Err(RpcError::new(&Value::Null, PARSE_ERROR, refused(&fault)));
        }
        written = repaired.text;
    }
    let envelope = serde_json::from_str::<Envelope<'_>>(&written).unwrap_or_default();
    let id = envelope.id.and_then(strict);
    let id = id.filter(|id| id.is_string() || id.is_number());
    let (Some(id), Some(method)) = (id, envelope.method) else {
        return Err(RpcError::new(&Value::Null, PARSE_ERROR, refused(&fault)));
    };
    let params = envelope.params.map(|raw| raw.get()).unwrap_or_default();
    let call = serde_json::from_str::<Call<'_>>(params).unwrap_or_default();
    let meta = call.meta.map(|meta| (meta, strict(meta)));
    let ("tools/call", Some(name), None | Some((_, Some(_)))) = (&*method, call.name, &meta) else {
        return Err(RpcError::new(&id, INVALID_PARAMS, refused(&fault)));
    };
    let mut params = Map::new();
    params.insert("name".to_owned(), name.into());
    if let Some((_, Some(meta))) = meta {
        params.insert("_meta".to_owned(), meta);
    }
    Ok(Incoming::Request {
        id,
        method,
        params,
        fault: Some(refused(&fault)),
    })
}

fn refused(fault: &str) -> String {
    let fault = fault.replacen("/params/arguments/", "/", 1);
    format!(
        "The message is no strict JSON: {fault}. Send a number of more than 64 bits as a text, each key once, at most {} levels and {} values.",
        json::MAX_DEPTH,
        json::MAX_VALUES,
    )
}

/// A value as JSON. Its `Display` goes byte by byte through a formatter, which takes several times as long.
#[must_use]
pub fn text(value: &Value) -> String {
    // A value that is in memory can be written.
    serde_json::to_string(value).unwrap_or_default()
}

/// A response as one line. `result` is JSON already.
#[must_use]
pub fn response(id: &Value, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
}

/// A notification as one line.
#[must_use]
pub fn notification(method: &str, params: Option<Value>) -> String {
    match params {
        Some(params) => json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string(),
        None => json!({"jsonrpc": "2.0", "method": method}).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_message_gets_its_code() {
        let none = Value::Null;
        #[rustfmt::skip]
        let rows = [
            ("{", PARSE_ERROR, &none),
            (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#, PARSE_ERROR, &none),
            ("[]", INVALID_REQUEST, &none),
            (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, INVALID_REQUEST, &none),
            (r#"{"id":1,"method":"ping"}"#, INVALID_REQUEST, &json!(1)),
            (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, INVALID_REQUEST, &none),
            (r#"{"jsonrpc":"2.0","id":"a","method":7}"#, INVALID_REQUEST, &json!("a")),
            (r#"{"jsonrpc":"2.0","id":"a"}"#, INVALID_REQUEST, &json!("a")),
            (r#"{"jsonrpc":"2.0","id":3,"method":"ping","params":[]}"#, INVALID_PARAMS, &json!(3)),
        ];
        for (text, code, id) in rows {
            let line = read(text.as_bytes()).unwrap_err().line();
            let error: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(error["error"]["code"], code, "{text}");
            assert_eq!(error["id"], *id, "{text}");
        }
        let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
        let line = read(deep.as_bytes()).unwrap_err().line();
        assert!(line.contains(&PARSE_ERROR.to_string()), "{line}");
    }

    #[test]
    fn refused_message_is_answered_with_its_id() {
        let deep = format!("{}1{}", "[".repeat(70), "]".repeat(70));
        let many = format!("[{}0]", "0,".repeat(json::MAX_VALUES));
        for (bad, says) in [
            (
                "123456789012345678901234567890",
                "/v: 123456789012345678901234567890 is a number of more than 64 bits. Send",
            ),
            ("1e400", "/v: 1e400"),
            ("NaN", "/v: NaN"),
            (r#""\ud800""#, "/v: half a character"),
            (r#"{"a":1,"a":2}"#, "/v/a: the key is there twice"),
            (&deep, "nested too deep"),
            (&many, "values"),
        ] {
            let arguments = format!(
                r#"{{"name":"t","arguments":{{"v":{bad}}},"_meta":{{"progressToken":1}}}}"#
            );
            let call =
                format!(r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{arguments}}}"#);
            match read(call.as_bytes()) {
                Ok(Incoming::Request {
                    id,
                    method,
                    params,
                    fault,
                }) => {
                    assert_eq!((id, &*method), (json!(7), "tools/call"));
                    assert_eq!(
                        json!(params),
                        json!({"name": "t", "_meta": {"progressToken": 1}})
                    );
                    let fault = fault.unwrap();
                    assert!(fault.contains(says), "{bad:.40}: {fault}");
                }
                other => panic!("{bad:.40}: {other:?}"),
            }
            let other = format!(
                r#"{{"jsonrpc":"2.0","id":"x","method":"tools/list","params":{{"v":{bad}}}}}"#
            );
            let line = read(other.as_bytes()).unwrap_err().line();
            let error: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(
                (&error["id"], &error["error"]["code"]),
                (&json!("x"), &json!(INVALID_PARAMS))
            );
        }
        let wide = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"arguments":{"id":1915883588174806058}}}"#;
        match read(wide) {
            Ok(Incoming::Request {
                params,
                fault: None,
                ..
            }) => {
                assert_eq!(params["arguments"]["id"], 1_915_883_588_174_806_058_u64);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn request_notification_and_response_are_told_apart() {
        let kind = |text: &str| match read(text.as_bytes()).unwrap() {
            Incoming::Request { .. } => "request",
            Incoming::Notification { .. } => "notification",
            Incoming::Response => "response",
        };
        let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        assert_eq!(kind(ping), "request");
        assert_eq!(kind(r#"{"jsonrpc":"2.0","method":"ping"}"#), "notification");
        assert_eq!(kind(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#), "response");
    }
}
