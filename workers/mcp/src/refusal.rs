//! What a server over HTTP says in place of messages: its status, why, and when to ask again.
//!
//! An error of JSON-RPC is an answer, whatever the status is. Any other words are bounded, and one line of them is told.
//!
//! Must not know: what was asked, the secret.

use crate::session::{RpcFailure, SessionError};
use hyper::{HeaderMap, StatusCode, header};
use plexus_egress_client::Streamed;
use plexus_protocol::json;
use serde_json::Value;
use std::{fmt, time::Duration};
use tokio::time::timeout;

/// Longest body that is read for its words, in bytes, and how long that may take.
const MAX_BODY: usize = 64 << 10;
const BODY_WITHIN: Duration = Duration::from_secs(5);
/// How much of its words is told, in characters.
const MAX_WORDS: usize = 300;
/// Members in which servers say why, the most telling first.
const WHY: [&str; 6] = [
    "error_description",
    "message",
    "detail",
    "reason",
    "title",
    "error",
];

/// A status without a message of the protocol.
#[derive(Debug, Default)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    /// What it sent, without its parameters; empty for what is none.
    kind: String,
    /// In how many seconds it may be asked again, as it says.
    again: Option<u32>,
    words: String,
}

/// Whether a status says that nothing has begun, whatever stands beside it. A proxy may answer one of 500 and more while the
/// server is at it.
pub(crate) fn is_before(status: u16) -> bool {
    matches!(status, 401 | 403 | 404 | 405 | 406 | 413 | 415 | 429)
}

/// Whether a status says that the server, or a proxy before it, cannot answer now: it says nothing of what was asked.
pub(crate) fn is_busy(status: u16) -> bool {
    status >= 500 || matches!(status, 408 | 429)
}

impl Refusal {
    /// A 401, of which the challenge is told apart.
    pub(crate) fn unauthorized() -> Self {
        Self {
            status: 401,
            ..Self::default()
        }
    }

    /// The answer in place of a message. An error of JSON-RPC in it is one, but in a 404: that is how a server says that a
    /// session, or a method, is not there.
    pub(crate) async fn of(mut body: Streamed) -> SessionError {
        let status = body.status;
        let head = Head::of(&body.headers);
        let mut read = Vec::new();
        let hear = async {
            while let Ok(Some(part)) = body.next().await {
                let room = MAX_BODY - read.len();
                read.extend_from_slice(&part[..part.len().min(room)]);
                if read.len() == MAX_BODY {
                    break;
                }
            }
        };
        // The part that has come by then is enough.
        let _ = timeout(BODY_WITHIN, hear).await;
        head.refusal(status, &read)
    }
}

/// What the head of an answer says of it.
struct Head {
    kind: String,
    again: Option<u32>,
}

impl Head {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name| {
            let value = headers.get(name);
            value
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        let kind = text(header::CONTENT_TYPE).split(';').next();
        let kind = kind.unwrap_or_default().trim().to_ascii_lowercase();
        // Both are told as what they are, and so are nothing else.
        let is_part = |part: &str| {
            (1..=50).contains(&part.len())
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-.+_".contains(&byte))
        };
        let is_kind = kind
            .split_once('/')
            .is_some_and(|(of, name)| is_part(of) && is_part(name));
        Self {
            kind: if is_kind { kind } else { String::new() },
            again: text(header::RETRY_AFTER).trim().parse().ok(),
        }
    }

    fn refusal(self, status: StatusCode, body: &[u8]) -> SessionError {
        let Self { kind, again } = self;
        let text = String::from_utf8_lossy(body);
        let text = match &*kind {
            "text/event-stream" => text
                .lines()
                .filter_map(|line| line.strip_prefix("data:"))
                .collect(),
            // A page is for a browser.
            "text/html" => String::new(),
            _ => text.into_owned(),
        };
        let said: Value = json::repaired(text.trim().as_bytes(), json::MAX_DEPTH)
            .ok()
            .and_then(|repaired| serde_json::from_str(&repaired.text).ok())
            .unwrap_or_default();
        let error = said["jsonrpc"].is_string().then(|| &said["error"]);
        if let Some(error) = error.filter(|error| !error.is_null())
            && status != StatusCode::NOT_FOUND
        {
            let is_named = !said["id"].is_null();
            return SessionError::Refused(RpcFailure::over_http(
                error.clone(),
                status.as_u16(),
                is_named,
            ));
        }
        let words = match why(&said) {
            Some(why) => why.to_owned(),
            None => text,
        };
        SessionError::Status(Refusal {
            status: status.as_u16(),
            kind,
            again,
            words: line(&words),
        })
    }
}

/// The words of a body that is JSON, where one of the usual members has them.
fn why(said: &Value) -> Option<&str> {
    let error = &said["error"];
    let members = WHY.iter().map(|name| &said[*name]);
    let inner = WHY.iter().map(|name| &error[*name]);
    inner.chain(members).find_map(Value::as_str)
}

/// One line of words, bounded.
fn line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    // These words stand in quotation marks, and end where those do.
    let line = line.replace(['“', '”'], "\"");
    match line.char_indices().nth(MAX_WORDS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn hint(status: u16) -> &'static str {
    match status {
        401 => ": it wants you to sign in, or another secret",
        403 => ": its secret or sign-in is not good for this",
        404 | 405 => ": no MCP server is at this URL, or it has forgotten the session",
        _ => "",
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            status,
            kind,
            again,
            words,
        } = self;
        write!(f, "it answered {status} over HTTP")?;
        if (200..300).contains(status) {
            return match &**kind {
                "" => f.write_str(" and sent no message"),
                kind => write!(
                    f,
                    " with {kind}, which is no message: is an MCP server at this URL?"
                ),
            };
        }
        if let Some(seconds) = again {
            write!(f, ", is to be asked again in {seconds} s")?;
        }
        if !words.is_empty() {
            write!(f, ", and says “{words}”")?;
        }
        f.write_str(hint(*status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_protocol::Effect;

    fn told(status: u16, kind: &str, again: &str, body: &str) -> SessionError {
        let mut headers = HeaderMap::new();
        for (name, value) in [(header::CONTENT_TYPE, kind), (header::RETRY_AFTER, again)] {
            headers.insert(name, value.parse().unwrap());
        }
        Head::of(&headers).refusal(StatusCode::from_u16(status).unwrap(), body.as_bytes())
    }

    #[test]
    fn words_of_a_status_are_told_in_one_line() {
        let json = "application/json; charset=utf-8";
        #[rustfmt::skip]
        let rows = [
            (429, json, "7", r#"{"error":"slow down"}"#, ", is to be asked again in 7 s, and says “slow down”"),
            (503, "text/plain", "after “lunch”", "at\n ”rest", ", and says “at \"rest”"),
            (500, "text/html", "", "<html>", ""),
            (500, json, "", r#"{"error":{"message":"deep"}}"#, ", and says “deep”"),
            (502, "", "", "", ""),
            (202, "", "", "", " and sent no message"),
            (200, "text/plain. Nothing was done", "", "", " and sent no message"),
            (200, "Text/HTML;a=b", "", "<html>", " with text/html, which is no message: is an MCP server at this URL?"),
        ];
        for (status, kind, again, body, words) in rows {
            let told = told(status, kind, again, body).to_string();
            assert_eq!(told, format!("it answered {status} over HTTP{words}"));
        }
        let long = format!(r#"{{"message":"{}"}}"#, "no ".repeat(500));
        let cut = told(500, json, "", &long).to_string();
        let around = "it answered 500 over HTTP, and says “…”".chars().count();
        assert_eq!(cut.chars().count(), around + MAX_WORDS);
    }

    /// What has an id is the server's answer to this request. Of the rest, only the status says what was done.
    #[test]
    fn error_of_json_rpc_is_one_whatever_its_status_and_id() {
        let body = |id: &str, code: i32| {
            format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"down"}}}}"#)
        };
        let (of_nobody, none) = (body("null", -32000), Effect::None);
        for (status, body, effect) in [
            (400, &of_nobody, none),
            (406, &of_nobody, none),
            (403, &of_nobody, none),
            (500, &of_nobody, Effect::Unknown),
            (502, &of_nobody, Effect::Unknown),
            (400, &body("7", -32000), Effect::Done),
            (500, &body("7", -32603), Effect::Done),
            (500, &body("7", -32602), none),
            (429, &body("7", -32000), none),
        ] {
            for (kind, text) in [
                ("application/json", body.clone()),
                ("", format!(" {body}\n")),
                (
                    "text/event-stream",
                    format!("event: message\ndata: {body}\n\n"),
                ),
            ] {
                let told = told(status, kind, "", &text);
                let SessionError::Refused(failure) = &told else {
                    panic!("{status} {kind}: {told:?}");
                };
                assert_eq!(failure.message, "down");
                assert_eq!(failure.effect(Effect::Done), effect, "{status} {body}");
                assert_eq!(failure.effect(Effect::None), none);
            }
        }
        let gone = told(404, "application/json", "", &of_nobody);
        assert!(
            matches!(&gone, SessionError::Status(refusal) if refusal.status == 404),
            "{gone:?}"
        );
        assert!(gone.to_string().contains("“down”"), "{gone}");
    }
}
