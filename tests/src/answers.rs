//! What every answer is held against, whatever the story that asked for it.
//!
//! 1. A refusal answers three questions: was anything done, why, what next.
//! 2. The shapes that existing clients read: `wire/answers.json` says for a (request, status, code) which fields are
//!    always there, which may be (`?`), and their types. It was made from recordings of another gateway and holds facts
//!    only. More fields are fine: the protocol grows by addition. A (status, code) that is not listed is one that clients
//!    have not met; the story that meets it says what it expects.
//! 3. No cross-origin permission is given, and JSON says that it is JSON.

use crate::http::Response;
use serde_json::{Map, Value};
use std::sync::LazyLock;

static SHAPES: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../wire/answers.json"))
        .expect("the table of answers is JSON")
});

/// Codes of the wire and ours. A word outside of this list is one that clients cannot branch on.
const CODES: &[&str] = &[
    "token_expired",
    "token_revoked",
    "grant_required",
    "approval_required",
    "grant_pending_user",
    "session_expired",
    "unknown_capability",
    "capability_unexposed",
    "schema_validation_failed",
    "source_unavailable",
    "capability_unavailable",
    "mcp_tool_error",
    "transport_error",
    "host_forbidden",
    "rate_limited",
    "internal_error",
    "malformed",
    "unknown_code",
    "code_expired",
    "code_consumed",
    "persist_failed",
    "unauthorized",
    "unknown_agent",
    "not_found",
    "card_changed",
    "input_required",
    "plan_failed",
    "standing_not_allowed",
    "denied_by_owner",
    "audit_unavailable",
    "busy",
    "paused",
    "precondition_changed",
    "permission_denied",
    "deadline_exceeded",
    "outcome_unknown",
    "not_accepting_input",
    "payload_too_large",
    "upgrade_refused",
];

/// Holds one answer against all of it.
///
/// # Panics
/// With the answer, when it is not what it must be.
#[track_caller]
pub fn check(method: &str, path: &str, response: &Response) {
    for (name, _) in &response.headers {
        assert!(
            !name.starts_with("access-control-"),
            "{response}: it sends {name}"
        );
    }
    // What a shell reads is text, refusals included (docs/protocol/owner.md#set-up-another-machine).
    let for_a_shell = path.starts_with("/integration/") && path.matches('/').count() > 2;
    if response.body.is_empty() || for_a_shell {
        return;
    }
    let Ok(body) = serde_json::from_slice::<Value>(&response.body) else {
        assert!(response.status < 400, "a refusal is JSON: {response}");
        return;
    };
    assert_eq!(
        response.header("content-type"),
        Some("application/json"),
        "{response}"
    );
    let error = &body["error"];
    if body["jsonrpc"] == "2.0" {
        assert!(
            error["message"].is_string() || error.is_null(),
            "{response}"
        );
    } else if error.is_object() {
        check_refusal(response, error);
    } else {
        assert!(
            response.status < 400 || body["ok"] == false,
            "a refusal without an error: {response}"
        );
    }
    if path == "/invoke" && error.is_object() {
        check_named(response, &body);
    }
    check_shape(method, path, response, &body);
}

/// Sources of stories with workflows, whose failures name the member that failed.
const WITH_WORKFLOWS: [&str; 2] = ["filing.", "demo-wf."];

/// Clients read the capability from the error, whatever the reason.
#[track_caller]
fn check_named(response: &Response, body: &Value) {
    let id = body["id"].as_str().unwrap_or_default();
    if plexus_protocol::CapabilityId::parse(id).is_err() {
        return;
    }
    let named = &body["error"]["capabilityId"];
    if WITH_WORKFLOWS.iter().any(|source| id.starts_with(source)) {
        assert!(named.is_string(), "{response}");
    } else {
        assert_eq!(*named, body["id"], "{response}");
    }
}

#[track_caller]
fn check_refusal(response: &Response, error: &Value) {
    let text = |name: &str| error[name].as_str().unwrap_or_default();
    assert!(CODES.contains(&text("code")), "unknown code: {response}");
    assert!(!text("message").is_empty(), "no message: {response}");
    assert!(
        ["none", "partial", "done", "unknown"].contains(&text("effect")),
        "was anything done? {response}"
    );
    assert!(!text("next").is_empty(), "what next? {response}");
    // Stories take the disk away from it.
    let is_unwritten = text("code") == "persist_failed";
    assert!(
        response.status < 500 || response.status == 503 || is_unwritten,
        "a failure of ours: {response}"
    );
}

#[track_caller]
fn check_shape(method: &str, path: &str, response: &Response, body: &Value) {
    let route = route(path);
    let mut key = format!("{method} {route} {}", response.status);
    let variant = match (method, route.as_str()) {
        _ if body["error"]["code"].is_string() => body["error"]["code"].as_str(),
        ("PUT", "/grants") if body["status"].is_string() => Some("pending"),
        // With nothing granted a token may be missing (E4).
        ("PUT", "/grants") if body["scopes"] == Value::Array(Vec::new()) => Some("nothing"),
        ("PUT", "/grants") => Some("token"),
        _ if body["ok"] == false => Some("not-ok"),
        ("POST", "/invoke") if body["run"].is_object() => Some("run"),
        ("POST", "/invoke") => Some("done"),
        // A nested agent has no code.
        ("POST", "/admin/api/agents/connect") if body["nested"] == true => Some("nested"),
        ("GET", "/grants/status") => body["state"].as_str(),
        _ => None,
    };
    if let Some(variant) = variant {
        key = format!("{key} {variant}");
    }
    let Some(shape) = SHAPES.get(&key).and_then(Value::as_object) else {
        return;
    };
    for (path, kind) in shape {
        let kind = kind.as_str().expect("types are words");
        let (kind, optional) = kind
            .strip_suffix('?')
            .map_or((kind, false), |kind| (kind, true));
        let steps: Vec<&str> = path.split('/').skip(1).collect();
        if let Err(at) = hold(body, &steps, kind, optional) {
            panic!("{key}: {path} must be {kind}{at}: {response}");
        }
    }
}

/// Walks to every place that `steps` names; a missing parent is the parent's own affair.
fn hold(value: &Value, steps: &[&str], kind: &str, optional: bool) -> Result<(), String> {
    let Some((step, rest)) = steps.split_first() else {
        let found = kind_of(value);
        return if kind.split('|').any(|allowed| allowed == found) {
            Ok(())
        } else {
            Err(format!(", not {found}"))
        };
    };
    if *step == "*" {
        let members = value.as_array().into_iter().flatten();
        for member in members {
            hold(member, rest, kind, optional)?;
        }
        return Ok(());
    }
    let Some(object) = value.as_object() else {
        return Ok(());
    };
    match object.get(*step) {
        Some(member) => hold(member, rest, kind, optional),
        None if rest.is_empty() && !optional => Err(" and is missing".to_owned()),
        None => Ok(()),
    }
}

/// What JSON calls the kind of a value.
#[must_use]
pub fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The path with names of things replaced by `:`, as the table has it.
fn route(path: &str) -> String {
    let path = path.split('?').next().unwrap_or(path);
    let path = path.replacen("/v1/admin", "/admin", 1);
    let mut parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        ["", "admin", "api", "agents", _, "subset"] => parts[4] = ":",
        ["", "admin", "api", "sources", "detect"]
        | ["", "admin", "api", "audit", "archives" | "verify", ..] => {}
        [
            "",
            "admin",
            "api",
            "audit" | "exposure" | "default-grant" | "pending" | "secrets" | "sources" | "lend"
            | "review" | "undo",
            _,
            ..,
        ] => {
            parts[4] = ":";
        }
        ["", "admin", "api", "source-settings", _] => parts[4] = ":",
        ["", "admin", "console", "pending", _, ..] => parts[4] = ":",
        ["", "integration", _, ..] => parts[2] = ":",
        _ => {}
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(status: u16, body: &Value) -> Response {
        Response {
            asked: "a test".into(),
            status,
            headers: vec![("content-type".into(), "application/json".into())],
            body: body.to_string().into_bytes(),
        }
    }

    #[test]
    fn routes_lose_their_names() {
        assert_eq!(
            route("/v1/admin/api/pending/pend_1?x=y"),
            "/admin/api/pending/:"
        );
        assert_eq!(
            route("/admin/api/sources/a/enable"),
            "/admin/api/sources/:/enable"
        );
        assert_eq!(
            route("/admin/api/sources/detect"),
            "/admin/api/sources/detect"
        );
        assert_eq!(route("/grants/status?pendingId=x"), "/grants/status");
    }

    #[test]
    fn a_good_answer_passes() {
        let body = json!({"pat": "p", "agentId": "a", "more": 1});
        check("POST", "/agents/enroll", &answer(200, &body));
    }

    #[test]
    #[should_panic(expected = "/agentId must be string and is missing")]
    fn a_missing_field_is_found() {
        check("POST", "/agents/enroll", &answer(200, &json!({"pat": "p"})));
    }

    #[test]
    #[should_panic(expected = "/agentId must be string, not number")]
    fn a_wrong_type_is_found() {
        check(
            "POST",
            "/agents/enroll",
            &answer(200, &json!({"pat": "p", "agentId": 1})),
        );
    }

    #[test]
    #[should_panic(expected = "what next?")]
    fn a_refusal_without_a_way_on_is_found() {
        let body = json!({"error": {"code": "malformed", "message": "m", "effect": "none"}});
        check("POST", "/agents/enroll", &answer(400, &body));
    }
}
