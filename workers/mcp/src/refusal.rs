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
    /// What it sent, without its parameters.
    kind: String,
    /// When it may be asked again, as it says: seconds, or a date.
    again: String,
    words: String,
}

/// Whether a status says that nothing has begun. A proxy may answer one of 500 and more while the server is at it.
pub(crate) fn is_before(status: u16) -> bool {
    matches!(status, 400 | 401 | 403 | 404 | 405 | 406 | 413 | 415 | 429)
}

impl Refusal {
    /// A 401, of which the challenge is told apart.
    pub(crate) fn unauthorized() -> Self {
        Self {
            status: 401,
            ..Self::default()
        }
    }

    /// What stands in place of a message. An error of JSON-RPC in it is one, but in a 404: that is how a server says that a
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
        // What has come by then is what there is.
        let _ = timeout(BODY_WITHIN, hear).await;
        head.refusal(status, &read)
    }
}

/// What the head of an answer says of it.
struct Head {
    kind: String,
    again: String,
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
        Self {
            kind: kind.unwrap_or_default().trim().to_ascii_lowercase(),
            again: line(text(header::RETRY_AFTER)),
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
            return SessionError::Refused(RpcFailure::over_http(error.clone(), status.as_u16()));
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
    match line.char_indices().nth(MAX_WORDS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn hint(status: u16) -> &'static str {
    match status {
        401 => {
            ": it wants you to sign in (plexusctl mcp add with its URL, or mcp login), or another secret (plexusctl sources secret)"
        }
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
                "" => f.write_str(" and sent no answer"),
                kind => write!(
                    f,
                    " with {kind}, which is no message: is an MCP server at this URL?"
                ),
            };
        }
        match again.parse::<u64>() {
            Ok(seconds) => write!(f, ", is to be asked again in {seconds} s")?,
            Err(_) if again.is_empty() => {}
            Err(_) => write!(f, ", is to be asked again after {again}")?,
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

    fn told(status: u16, kind: &str, again: &str, body: &str) -> SessionError {
        let head = Head {
            kind: kind.to_owned(),
            again: again.to_owned(),
        };
        head.refusal(StatusCode::from_u16(status).unwrap(), body.as_bytes())
    }

    #[test]
    fn words_of_a_status_are_told_in_one_line() {
        let long = format!(r#"{{"message":"{}"}}"#, "no ".repeat(500));
        for (status, kind, again, body, words) in [
            (
                429,
                "application/json",
                "7",
                r#"{"error":"slow down"}"#,
                "it answered 429 over HTTP, is to be asked again in 7 s, and says “slow down”",
            ),
            (
                503,
                "text/plain",
                "Wed, 21 Oct 2026 07:28:00 GMT",
                "at\n rest",
                "it answered 503 over HTTP, is to be asked again after Wed, 21 Oct 2026 07:28:00 GMT, and says “at rest”",
            ),
            (500, "text/html", "", "<html>", "it answered 500 over HTTP"),
            (
                500,
                "application/json",
                "",
                r#"{"error":{"message":"deep"}}"#,
                "it answered 500 over HTTP, and says “deep”",
            ),
            (502, "", "", "", "it answered 502 over HTTP"),
            (
                202,
                "",
                "",
                "",
                "it answered 202 over HTTP and sent no answer",
            ),
            (
                200,
                "text/html",
                "",
                "<html>",
                "it answered 200 over HTTP with text/html, which is no message: is an MCP server at this URL?",
            ),
        ] {
            assert_eq!(told(status, kind, again, body).to_string(), words);
        }
        let cut = told(500, "application/json", "", &long).to_string();
        assert_eq!(
            cut.chars().count(),
            "it answered 500 over HTTP, and says “…”".chars().count() + MAX_WORDS
        );
    }

    #[test]
    fn error_of_json_rpc_is_one_whatever_its_status_and_id() {
        let body = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"down"}}"#;
        for (kind, text) in [
            ("application/json", body.to_owned()),
            ("", format!(" {body}\n")),
            (
                "text/event-stream",
                format!("event: message\ndata: {body}\n\n"),
            ),
        ] {
            for (status, before) in [(400, true), (406, true), (500, false)] {
                let told = told(status, kind, "", &text);
                assert!(
                    matches!(&told, SessionError::Refused(failure) if failure.is_before() == before && failure.message == "down"),
                    "{status} {kind}: {told:?}"
                );
            }
        }
        let gone = told(404, "application/json", "", body);
        assert!(
            matches!(&gone, SessionError::Status(refusal) if refusal.status == 404),
            "{gone:?}"
        );
        assert!(gone.to_string().contains("“down”"), "{gone}");
    }
}
