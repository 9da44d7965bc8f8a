//! What HTTP adds to a message: headers that repeat it, and a status.
//!
//! Each POST is served for itself. In the stateless era headers name the version, the method and the tool again, so that
//! proxies need not read bodies; one that says something else than the body is refused. A handshake is answered and not
//! remembered.
//!
//! Must not know: sockets, credentials.

use crate::client::{LEGACY, MODERN, VERSION_KEY, modern_client};
use crate::host::{Action, Moment};
use crate::message::{self, Incoming, RpcError};
use crate::server::Server;
use serde_json::{Map, Value, json};
use std::iter;

/// Headers of one request. A header that is there and no text is `""`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers<'a> {
    /// `MCP-Protocol-Version`.
    pub version: Option<&'a str>,
    /// `Mcp-Method`.
    pub method: Option<&'a str>,
    /// `Mcp-Name`: the tool of a call, the prompt, the URI of a resource, the task of `tasks/…`.
    pub name: Option<&'a str>,
}

/// What becomes of a POST.
#[derive(Debug)]
pub enum Posted {
    /// 202 without a body: it wants no response.
    Accepted,
    /// This status and this message.
    Refused(u16, String),
    /// The response is the last message that is sent.
    UnderWay(Vec<Action>),
}

impl Server {
    /// Takes a POST: its headers, and its body as [`message::read`] has it.
    pub fn post(
        &mut self,
        headers: &Headers<'_>,
        incoming: Result<Incoming, RpcError>,
        now: Moment,
    ) -> Posted {
        let incoming = match incoming {
            Ok(incoming) => incoming,
            Err(error) => return Posted::Refused(400, error.line()),
        };
        let Incoming::Request {
            id,
            method,
            params,
            fault,
        } = incoming
        else {
            return match headers.version {
                Some(version) if !is_spoken(version) => refused(unsupported(&Value::Null, version)),
                _ => Posted::Accepted,
            };
        };
        let modern = match headers.agree(&id, &method, &params) {
            Ok(modern) => modern,
            // What is wrong with the request is its status too; what is wrong with a call is not.
            Err(error) => return refused(error),
        };
        match self.asked(&id, &method, params, fault, now) {
            Ok(actions) => Posted::UnderWay(actions),
            Err(error) => {
                let status = match error.code {
                    message::METHOD_NOT_FOUND if modern => 404,
                    message::INVALID_REQUEST => 400,
                    _ => 200,
                };
                Posted::Refused(status, error.line())
            }
        }
    }
}

impl Headers<'_> {
    /// Whether the request is of the stateless era, if they say what the body says.
    fn agree(
        &self,
        id: &Value,
        method: &str,
        params: &Map<String, Value>,
    ) -> Result<bool, RpcError> {
        let meta = params.get("_meta").unwrap_or(&Value::Null);
        let said = meta.get(VERSION_KEY).and_then(Value::as_str);
        let mismatch = |why: String| RpcError::new(id, message::HEADER_MISMATCH, why);
        match (said, self.version) {
            (None, Some(version)) if !is_spoken(version) => return Err(unsupported(id, version)),
            (None, Some(MODERN)) => {
                let why = format!("_meta has no {VERSION_KEY}.");
                return Err(RpcError::new(id, message::INVALID_PARAMS, why));
            }
            (None, _) => return Ok(false),
            (Some(_), _) => {}
        }
        let name = match method {
            "tools/call" | "prompts/get" => params.get("name"),
            "resources/read" => params.get("uri"),
            "tasks/get" | "tasks/update" | "tasks/cancel" => params.get("taskId"),
            _ => None,
        };
        for (header, given, wanted) in [
            ("MCP-Protocol-Version", self.version, said),
            ("Mcp-Method", self.method, Some(method)),
            ("Mcp-Name", self.name, name.and_then(Value::as_str)),
        ] {
            if given != wanted {
                let wanted = wanted.map_or_else(
                    || "which the body does not have".to_owned(),
                    |wanted| format!("which is {wanted:?} in the body"),
                );
                return Err(mismatch(match given {
                    Some(given) => format!("The header {header} is {given:?}, {wanted}."),
                    None => format!("The header {header} is missing, {wanted}."),
                }));
            }
        }
        modern_client(id, params)?;
        Ok(true)
    }
}

fn is_spoken(version: &str) -> bool {
    version == MODERN || LEGACY.contains(&version)
}

fn unsupported(id: &Value, version: &str) -> RpcError {
    let spoken: Vec<&str> = iter::once(MODERN).chain(LEGACY).collect();
    let data = json!({"supported": spoken, "requested": version});
    let why = "This protocol version is not spoken here.";
    RpcError::with_data(id, message::UNSUPPORTED_VERSION, why, Some(data))
}

fn refused(error: RpcError) -> Posted {
    Posted::Refused(400, error.line())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::View;
    use plexus_protocol::Timestamp;
    use std::time::Duration;

    fn posted(headers: Headers<'_>, body: &Value) -> (u16, Value) {
        let view = View::of_manifest(br#"{"manifest": {"entries": []}}"#).unwrap();
        let mut server = Server::stateless("1", view, "test");
        let now = Moment {
            elapsed: Duration::ZERO,
            wall: Timestamp(0),
        };
        let parsed = |text: &str| serde_json::from_str(text).unwrap();
        match server.post(&headers, message::read(body.to_string().as_bytes()), now) {
            Posted::Accepted => (202, Value::Null),
            Posted::Refused(status, body) => (status, parsed(&body)),
            Posted::UnderWay(actions) => match &actions[..] {
                [Action::Send(message)] if server.is_idle() => (200, parsed(message)),
                other => panic!("{other:?}"),
            },
        }
    }

    fn headers<'a>(
        version: Option<&'a str>,
        method: Option<&'a str>,
        name: Option<&'a str>,
    ) -> Headers<'a> {
        Headers {
            version,
            method,
            name,
        }
    }

    #[track_caller]
    fn refused(headers: Headers<'_>, body: &Value, status: u16, code: i64) -> Value {
        let (found, answer) = posted(headers, body);
        assert_eq!((found, &answer["error"]["code"]), (status, &json!(code)));
        answer
    }

    fn modern(method: &str, name: Option<&str>) -> Value {
        let mut params = json!({"_meta": {
            VERSION_KEY: MODERN, crate::client::CAPABILITIES_KEY: {},
        }});
        if let Some(name) = name {
            params["name"] = name.into();
        }
        json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    }

    #[test]
    fn legacy_client_needs_no_handshake_before_its_request() {
        let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
        for version in [None, Some("2025-06-18"), Some("2025-11-25")] {
            let headers = Headers {
                version,
                ..Headers::default()
            };
            let (status, answer) = posted(headers, &list);
            assert_eq!(status, 200);
            assert!(answer["result"]["tools"].is_array(), "{answer}");
        }
        let begin = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize",
            "params": {"protocolVersion": "2025-06-18", "capabilities": {}}});
        let (_, answer) = posted(Headers::default(), &begin);
        assert_eq!(answer["result"]["protocolVersion"], "2025-06-18");
        // Nothing is pushed to a client that only posts.
        assert_eq!(answer["result"]["capabilities"], json!({"tools": {}}));
        let begun = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        assert_eq!(posted(Headers::default(), &begun).0, 202);
    }

    #[test]
    fn header_that_says_something_else_than_the_body_is_refused() {
        let right = headers(Some(MODERN), Some("tools/call"), Some("plexus_wait"));
        let call = modern("tools/list", None);
        let list = Some("tools/list");
        let listed = headers(Some(MODERN), list, None);
        assert_eq!(posted(listed, &call).0, 200);
        for wrong in [
            headers(None, list, None),
            headers(Some("2025-11-25"), list, None),
            headers(Some(MODERN), None, None),
            headers(Some(MODERN), Some("tools/call"), None),
            right,
        ] {
            refused(wrong, &call, 400, -32020);
        }
        refused(right, &modern("tools/call", Some("another")), 400, -32020);
    }

    #[test]
    fn status_says_what_is_wrong_with_a_request() {
        let of = |version| headers(Some(version), Some("prompts/list"), None);
        refused(of(MODERN), &modern("prompts/list", None), 404, -32601);
        let get = headers(Some(MODERN), Some("prompts/get"), Some("x"));
        refused(get, &modern("prompts/get", Some("x")), 404, -32601);
        let read = headers(Some(MODERN), Some("resources/read"), Some("file:///x"));
        let mut body = modern("resources/read", None);
        body["params"]["uri"] = "file:///x".into();
        refused(read, &body, 404, -32601);
        let bare = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
        let answer = refused(of("1900-01-01"), &bare, 400, -32022);
        let spoken = json!([MODERN, "2025-11-25", "2025-06-18"]);
        assert_eq!(answer["error"]["data"]["supported"], spoken);
        assert_eq!(posted(Headers::default(), &json!([])).0, 400);
        // A request of the stateless era says in its body too what it is, and what its client can do.
        let mut bare = modern("tools/list", None);
        let listed = headers(Some(MODERN), Some("tools/list"), None);
        for member in [crate::client::CAPABILITIES_KEY, VERSION_KEY] {
            let meta = bare["params"]["_meta"].as_object_mut().unwrap();
            meta.remove(member);
            refused(listed, &bare, 400, -32602);
        }
    }
}
