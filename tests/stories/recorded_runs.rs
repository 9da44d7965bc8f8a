//! Requests about coding agents and boards as a client written for another gateway sends them, and what each is answered
//! here. What differs on purpose stands in docs/protocol/compatibility.md.

use crate::coding_agents::{CLAUDE, CODEX, Desk};
use plexus_tests::texts::assert_contains;
use plexus_tests::{Agent, Client, Folder, Response, coding_agents as programs};
use serde_json::{Value, json};

const RUN: &str = "claudecode.run";

/// One request of a client, with what is held of its answer.
struct Sent<'a> {
    name: &'a str,
    by: Client,
    method: &'a str,
    path: String,
    body: Value,
    status: u16,
    /// Members of the answer by pointer.
    holds: &'a [(&'a str, Value)],
}

impl Sent<'_> {
    #[track_caller]
    fn answered(self) -> Response {
        let reply = match self.method {
            "GET" => self.by.get(&self.path),
            "PUT" => self.by.put(&self.path, self.body),
            _ => self.by.post(&self.path, self.body),
        };
        assert_eq!(reply.status, self.status, "{}: {reply}", self.name);
        for (pointer, value) in self.holds {
            assert_eq!(
                reply.at(pointer),
                *value,
                "{} {pointer}: {reply}",
                self.name
            );
        }
        reply
    }
}

/// A gateway with both coding agents, boards and a folder, none of which is granted to anybody.
fn office() -> (Desk, Folder) {
    let desk = Desk::open(CLAUDE, []);
    let folder = Folder::empty();
    let other = folder.path().display().to_string();
    let secrets = Folder::empty();
    secrets.write("key", "sk-story\n");
    let secret = format!("key={}", secrets.path().join("key").display());
    let binary = format!("binary={}", programs::codex().display());
    let path = desk.folder.path().display().to_string();
    for words in [
        vec!["workspace-dir", &other, "--id", "workspace"],
        vec!["cc-master"],
        vec![
            "codex-folder",
            &path,
            "--id",
            CODEX.id,
            "--secret",
            &secret,
            "--set",
            &binary,
        ],
    ] {
        let added = desk
            .gateway
            .cli(["sources", "add"].into_iter().chain(words));
        added.expect_ok();
    }
    (desk, folder)
}

#[test]
fn recorded_requests_about_runs_are_answered() {
    let (desk, _folder) = office();
    let owner = desk.owner().client;
    let anybody = desk.gateway.client();
    let connect = |name: &'static str, body: Value, holds: &[(&str, Value)]| {
        let sent = Sent {
            name,
            by: owner.clone(),
            method: "POST",
            path: "/admin/api/agents/connect".to_owned(),
            body,
            status: 200,
            holds,
        };
        sent.answered()
    };
    let connected = connect(
        "connect",
        json!({"agentId": "agent-one", "agentType": "claude-code",
            "capabilities": ["workspace.read", "workspace.write", RUN]}),
        &[
            ("/ok", json!(true)),
            ("/agentId", json!("agent-one")),
            ("/granted/0/capabilityId", json!("workspace.read")),
            ("/granted/0/trustWindow/kind", json!("7d")),
            ("/granted/0/standing", json!(true)),
            ("/granted/1", Value::Null),
            ("/skipped", json!(["workspace.write", RUN])),
        ],
    );
    let agent = Agent::enroll(&anybody, &connected.text_at("/code"));

    // The manifest has the recorded ids with their verbs. A run is rated higher here, and boards are no workflow.
    let entry = agent.entry(RUN);
    assert_eq!(entry["kind"], "capability", "{entry}");
    assert_eq!(entry["grants"], json!(["execute"]), "{entry}");
    // A module that is built in there is a source here, which the owner added.
    assert_eq!(entry["provenance"], "managed", "{entry}");
    assert_eq!(entry["sensitivity"], "high", "{entry}");
    assert_eq!(entry["recommendedTrustWindow"]["kind"], "once", "{entry}");
    assert_eq!(
        entry["io"]["input"]["required"],
        json!(["prompt"]),
        "{entry}"
    );
    let boards = agent.entry("cc-master.orchestration.run");
    assert_eq!(boards["kind"], "capability", "{boards}");
    for skill in [
        "claudecode.how-to-use",
        "codex.how-to-use",
        "cc-master.skill.status",
    ] {
        assert_eq!(agent.entry(skill)["kind"], "skill", "{skill}");
    }
    for id in [
        "board.create",
        "board.status",
        "agent.dispatch",
        "session.launch",
    ] {
        let entry = agent.entry(&format!("cc-master.{id}"));
        assert_eq!(entry["kind"], "capability", "{entry}");
    }

    let session = agent.client();
    let grants = |name: &'static str, body: Value, status, holds: &[(&str, Value)]| {
        let sent = Sent {
            name,
            by: session.clone(),
            method: "PUT",
            path: "/grants".to_owned(),
            body,
            status,
            holds,
        };
        sent.answered()
    };
    let pends = [
        ("/status", json!("grant_pending_user")),
        ("/pending", json!([RUN])),
        ("/pendingNarration/0/id", json!(RUN)),
        ("/pendingNarration/0/verbs", json!(["execute"])),
        ("/pendingNarration/0/provenance", json!("managed")),
        ("/pendingNarration/0/sensitivity", json!("high")),
        ("/pendingNarration/0/defaultTrustWindow/kind", json!("once")),
        ("/token", Value::Null),
    ];
    let first = grants(
        "execute pends",
        json!({"grants": {RUN: "allow"}}),
        200,
        &pends,
    );
    let window = json!({"decision": "allow", "trustWindow": {"kind": "until-revoked"}});
    grants(
        "a window asked for",
        json!({"grants": {RUN: window}}),
        200,
        &pends,
    );
    let bundle =
        json!({"grants": {"workspace.write": "allow", RUN: "allow"}, "bundle": {"name": "Bad"}});
    let code = [("/error/code", json!("schema_validation_failed"))];
    grants("a bundle with an execute member", bundle, 400, &code);

    let by_body = Sent {
        name: "the session in the body, as revision 0.1.2 has it",
        by: anybody.clone(),
        method: "PUT",
        path: "/grants".to_owned(),
        body: json!({"sessionId": agent.session, "grants": {RUN: "allow"}}),
        status: 200,
        holds: &pends,
    };
    by_body.answered();
    // What 0.1.2 hands to anybody who knows the item wants a credential here.
    let item = first.text_at("/pendingId");
    let status = |name: &'static str, by: &Client, status, holds: &[(&str, Value)]| {
        let sent = Sent {
            name,
            by: by.clone(),
            method: "GET",
            path: format!("/grants/status?pendingId={item}"),
            body: Value::Null,
            status,
            holds,
        };
        sent.answered()
    };
    let refused = [
        ("/error/code", json!("session_expired")),
        ("/token", Value::Null),
    ];
    status("status without a credential", &anybody, 403, &refused);
    status("status", &session, 200, &[("/state", json!("pending"))]);

    let token = agent.token(&["workspace.read"])["token"].clone();
    let invoke = |name: &'static str, by: Client, holds: &[(&str, Value)]| {
        let sent = Sent {
            name,
            by,
            method: "POST",
            path: "/invoke".to_owned(),
            body: json!({"id": RUN, "input": {"prompt": "Write a heron."}}),
            status: 401,
            holds,
        };
        sent.answered()
    };
    let bearing = agent.bearing(token.as_str().expect("a token"));
    invoke(
        "a token without the scope",
        bearing,
        &[
            ("/id", json!(RUN)),
            ("/ok", json!(false)),
            ("/error/code", json!("grant_required")),
            ("/error/capabilityId", json!(RUN)),
        ],
    );
    let pending = invoke(
        "a session alone",
        session.clone(),
        &[
            ("/ok", json!(false)),
            ("/error/code", json!("approval_required")),
            ("/error/capabilityId", json!(RUN)),
        ],
    );
    assert!(
        pending.text_at("/error/pendingId").starts_with("pend"),
        "{pending}"
    );
    assert!(
        pending.text_at("/error/approvalUrl").ends_with("/admin"),
        "{pending}"
    );
    assert_contains(&pending.text_at("/error/grantStatusUrl"), "pendingId=");

    // A window on a run comes to one call; then it is revoked.
    let card = desk.owner().card(&item);
    let approve = json!({"action": "approve", "trustWindow": {"kind": "7d"},
        "cardDigest": card["cardDigest"], "anyInput": true});
    let approved = desk.owner().decide(&item, approve);
    assert_eq!(approved.status, 200, "{approved}");
    status(
        "the approved item",
        &session,
        200,
        &[
            ("/state", json!("approved")),
            ("/capabilities", json!([RUN])),
            ("/token/scopes/0/id", json!(RUN)),
            ("/token/scopes/0/verbs", json!(["execute"])),
            ("/token/trustWindow/kind", json!("once")),
        ],
    );
    let revoke = Sent {
        name: "revoke",
        by: owner.clone(),
        method: "POST",
        path: "/admin/api/revoke".to_owned(),
        body: json!({"agentId": "agent-one", "capabilityId": RUN}),
        status: 200,
        holds: &[("/ok", json!(true))],
    };
    revoke.answered();

    // Standing execute is granted nowhere here, by either of its spellings.
    for (name, spelling) in [("agent-st", "standing"), ("agent-st2", "standingExecute")] {
        let mut body =
            json!({"agentId": name, "capabilities": [RUN], "trustWindow": {"kind": "1h"}});
        body[spelling] = json!([RUN]);
        connect(
            "a standing run",
            body,
            &[("/granted", json!([])), ("/skipped", json!([RUN]))],
        );
    }
    // An agent that speaks by text alone may ask too: its next call is the approved one.
    let connected = connect(
        "an in-context agent",
        json!({"agentId": "agent-ic", "agentType": "in-context",
            "capabilities": ["workspace.read", "codex.run"]}),
        &[
            ("/agentType", json!("in-context")),
            ("/skipped", json!(["codex.run"])),
        ],
    );
    let other = Agent::enroll(&anybody, &connected.text_at("/code"));
    let asked = other.ask(json!({"codex.run": "allow"})).expect_ok();
    assert_eq!(asked["status"], "grant_pending_user", "{asked}");
}
