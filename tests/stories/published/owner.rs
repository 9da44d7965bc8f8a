//! The answers that the owner gets, each held against its published schema (`docs/protocol/openapi.json`).

use super::Published;
use crate::house::{House, READ, WRITE, note, tips};
use plexus_tests::texts::text_of;
use plexus_tests::{
    Agent, Client, Folder,
    oauth_web::{Lie, OAuthWeb, browse},
    routes,
};
use serde_json::{Value, json};

/// Answers of sources that this house has not: the stories of channels, boards and coding agents meet them.
const ELSEWHERE: [&str; 14] = [
    "GET /admin/api/changes/{id}",
    "DELETE /admin/api/changes/{id}",
    "POST /admin/api/changes/{id}/",
    "GET /admin/api/boards/{id}",
    "GET /admin/api/channels/{source}",
    "POST /admin/api/channels/{source}",
    "PUT /admin/api/channels/{source}",
    "DELETE /admin/api/channels/{source}",
    "PUT /admin/api/source-settings/{id}",
    // A call under way, an effect of unknown outcome, sealed archives, another program to change over to.
    "GET /admin/api/calls/{id}",
    "POST /admin/api/calls/{id}/stop",
    "POST /admin/api/unsettled/{id}",
    "POST /admin/api/audit/archives/forget",
    "POST /admin/api/upgrade",
];

/// The owner, who holds each answer against its schema.
struct Reader {
    published: Published,
    owner: Client,
}

impl Reader {
    #[track_caller]
    fn get(&mut self, path: &str) -> Value {
        let path = format!("/admin/api/{path}");
        self.published.send(&self.owner, "GET", &path, &Value::Null)
    }
    #[track_caller]
    fn post(&mut self, path: &str, body: Value) -> Value {
        let path = format!("/admin/api/{path}");
        self.published.send(&self.owner, "POST", &path, &body)
    }
    #[track_caller]
    fn delete(&mut self, path: &str) -> Value {
        let path = format!("/admin/api/{path}");
        self.published
            .send(&self.owner, "DELETE", &path, &Value::Null)
    }
}

#[test]
fn answers_to_the_owner_fit_the_published_schemas() {
    let house = House::open();
    let mut reader = Reader {
        published: Published::read(),
        owner: house.owner().client,
    };
    let agent = agents(&house, &mut reader);
    let effect = requests(&house, &mut reader, &agent);
    undo(&mut reader, &effect);
    grants(&mut reader);
    sources(&mut reader);
    extensions(&mut reader);
    log(&mut reader, &effect);
    settings(&house, &mut reader);
    let mut all = routes::of_owner(&["/admin/api"]);
    all.extend(routes::of_integration());
    reader.published.all_met(&all, &ELSEWHERE);
}

fn agents(house: &House, reader: &mut Reader) -> Agent {
    let asked = json!({
        "agentId": "one", "capabilities": [READ, WRITE, "workspace.undo"], "standing": ["workspace.undo"], "ttlMs": 60_000,
    });
    reader.post("agents/connect", asked);
    let code = reader.post("agents/one/code", json!({}));
    let agent = Agent::enroll(
        &house.gateway.client(),
        code["code"].as_str().expect("a code"),
    );
    reader.post(
        "agents/connect",
        json!({"agentId": "one.via.workspace", "capabilities": [READ]}),
    );
    reader.get("agents/enrollments");
    reader.get("agents/one/subset");
    reader.get("agents/one/limits");
    reader.post(
        "agents/one/limits",
        json!({"callsPerSecond": 50, "ledgerBytesPerDay": "default"}),
    );
    reader.post(
        "agents/connect",
        json!({"agentId": "two", "capabilities": []}),
    );
    reader.post(
        "agents/revoke",
        json!({"agentId": "two", "reason": "a story", "delete": true}),
    );
    reader.post("agents/revoke", json!({"agentId": "nobody"}));
    reader.get("agents");
    agent
}

/// One request denied, one approved; gives the audit id of the effect.
fn requests(house: &House, reader: &mut Reader, agent: &Agent) -> String {
    agent
        .invoke("such", json!({}))
        .expect_error(404, "unknown_capability");
    let refused = reader.get("activity?only=refused");
    assert_eq!(refused["calls"][0]["asked"], "such", "{refused}");
    let item = agent.must_ask(WRITE, note("no.txt", "no"));
    assert_eq!(house.owner().plan(&item)["rating"], "write");
    reader.get("pending");
    reader.post(&format!("pending/{item}/plan"), json!({}));
    assert_eq!(house.owner().plan(&item)["rating"], "write");
    reader.get(&format!("pending/{item}"));
    reader.post(
        &format!("pending/{item}"),
        json!({"action": "deny", "reason": "not now"}),
    );
    let denied = reader.get(&format!("pending/{item}"));
    assert_eq!(denied["ending"], "was denied: not now");
    let back = reader.delete(&format!("pending/{item}/denial"));
    assert_eq!(back["capabilities"], json!([WRITE]));
    let input = note("yes.txt", "yes\n");
    let asked = json!({"id": WRITE, "input": input, "onApproval": "run", "purpose": "a story"});
    let refused = agent.invoke_body(asked).json();
    let item = text_of(&refused["error"]["pendingId"]);
    let digest = house.owner().card(&item)["cardDigest"].clone();
    let once = json!({"action": "approve", "cardDigest": digest, "trustWindow": {"kind": "once"}});
    reader.post(&format!("pending/{item}"), once);
    let done = agent.status_after(&item, 60).json();
    let effect = text_of(&done["result"]["auditId"]);
    let asked = json!({"agentId": "one", "capabilityId": WRITE, "input": note("more.txt", "more")});
    reader.post("explain", asked);
    effect
}

fn undo(reader: &mut Reader, effect: &str) {
    reader.get("review/one");
    let path = format!("undo/{effect}");
    let plan = reader.get(&path);
    reader.post(&path, json!({"stateToken": plan["stateToken"]}));
    for list in ["unsettled", "calls", "changes", "boards", "channels"] {
        reader.get(list);
    }
}

fn grants(reader: &mut Reader) {
    let none = Value::Null;
    let given = json!({"agentId": "one", "grants": {READ: "allow", "no.such": "allow"}, "trustWindow": {"kind": "1h"}});
    let (owner, published) = (&reader.owner, &mut reader.published);
    published.send(owner, "PUT", "/admin/api/grants", &given);
    published.send(owner, "GET", "/admin/api/grants", &none);
    published.send(owner, "GET", "/admin/api/tokens", &none);
    let gone = json!({"agentId": "one", "capabilityId": READ, "reason": "a story"});
    published.send(owner, "POST", "/admin/api/revoke", &gone);
    reader.get("capabilities");
    reader.get("exposure");
    reader.post(&format!("exposure/{READ}"), json!({"enabled": false}));
    reader.post(&format!("exposure/{READ}"), json!({"enabled": true}));
    reader.post(
        &format!("default-grant/{READ}"),
        json!({"defaultGrant": true}),
    );
    reader.get("health");
}

fn sources(reader: &mut Reader) {
    let other = Folder::empty();
    other.write("a.txt", "a");
    reader.get("connectors");
    reader.get("sources/detect");
    let added = json!({
        "id": "other", "kind": "workspace-dir", "label": "Other", "route": {"path": other.path()}, "approval": "ask",
    });
    let added = reader.post("sources", added);
    assert_eq!(added["ok"], true, "{added}");
    let twin = json!({"id": "twin", "kind": "workspace-dir", "label": "Twin", "route": {"path": other.path()}});
    let twin = reader.post("sources", twin);
    assert_eq!(twin["sharesFolderWith"], json!(["other"]), "{twin}");
    reader.delete("sources/twin");
    let wrong = json!({"id": "third", "kind": "workspace-dir", "label": "Third", "route": {}});
    let refused = reader.post("sources", wrong);
    assert_eq!(refused["ok"], false, "{refused}");
    reader.get("sources/other/profile");
    reader.post(
        "sources/other/hide",
        json!({"folders": ["private"], "globs": ["*.key"]}),
    );
    reader.post("sources/other/reconfigure", json!({"label": "Another"}));
    let nowhere = json!({"route": {"path": ""}});
    let refused = reader.post("sources/other/reconfigure", nowhere);
    assert_eq!(refused["field"], "path", "{refused}");
    reader.post("sources/none/enable", json!({}));
    reader.post("sources/none/hide", json!({}));
    reader.post("sources/other/resume", json!({}));
    reader.post("sources/other/disable", json!({}));
    reader.post("sources/other/enable", json!({}));
    reader.get("sources");
    reader.delete("sources/other");
    reader.get("source-settings");
    let folder = Folder::empty();
    let wish = json!({"agentId": "one", "path": folder.path(), "write": true, "forMs": 60_000, "maxWrites": 3});
    let lent = reader.post("lend", wish);
    reader.get("lend");
    reader.delete(&format!(
        "lend/{}",
        lent["source"].as_str().expect("a source")
    ));
}

fn extensions(reader: &mut Reader) {
    let manifest = tips();
    let refused = reader.post("extensions/preview", json!({"manifest": {}}));
    assert_eq!(refused["valid"], false, "{refused}");
    let seen = reader.post("extensions/preview", json!({"manifest": manifest}));
    let added = json!({"manifest": manifest, "digest": seen["digest"]});
    assert_eq!(reader.post("extensions", added)["ok"], true);
    let empty = json!({"manifest": {"capabilities": []}});
    assert_eq!(reader.post("extensions", empty)["ok"], false);
    assert_eq!(reader.post("extensions", json!({}))["ok"], false);
    reader.get("extensions");
    reader.get("extensions/tips");
    reader.delete("extensions/tips");
}

fn log(reader: &mut Reader, effect: &str) {
    reader.get("activity?agent=one&limit=3");
    reader.get("activity?only=changed");
    reader.get("audit?limit=1000");
    reader.get(&format!("audit/{effect}"));
    reader.get("audit/verify");
    reader.get("audit/archives");
    reader.post("backup/copy", json!({}));
    reader.get("status");
}

/// At a server whose users sign in.
fn sign_ins(reader: &mut Reader) {
    let web = OAuthWeb::start(Lie::None);
    let begun = reader.post("sign-ins", json!({"name": "web", "url": web.url()}));
    let of = |name: &str| begun["sign_in"][name].as_str().expect("a text").to_owned();
    reader.get(&format!("sign-ins/{}?wait=0", of("id")));
    drop(browse(&of("address")));
    let mut draft = json!({"name": "web", "url": web.url(), "sign_in": of("id")});
    let seen = reader.post("extensions/preview", draft.clone());
    draft["digest"] = seen["digest"].clone();
    reader.post("extensions", draft);
    let again = reader.post("sign-ins", json!({"name": "web"}));
    let of = |name: &str| again["sign_in"][name].as_str().expect("a text").to_owned();
    drop(browse(&of("address")));
    reader.post(&format!("sign-ins/{}/renew", of("id")), json!({}));
    reader.delete("sources/web/sign-in");
    reader.delete("extensions/web");
}

fn settings(house: &House, reader: &mut Reader) {
    let none = Value::Null;
    reader.get("interfaces");
    reader.get("network");
    reader.post(
        "network",
        json!({"bindAddresses": ["127.0.0.1"], "publicHostnames": []}),
    );
    reader.post("pause", json!({"on": true}));
    reader.post("pause", json!({"on": false}));
    reader.post("console/link", json!({}));
    reader.post("secrets/a.note", json!({"value": "a secret"}));
    sign_ins(reader);
    let (owner, published) = (&reader.owner, &mut reader.published);
    for form in ["claude-code", "generic", "in-context"] {
        published.send(owner, "GET", &format!("/integration/one?as={form}"), &none);
    }
    published.send(owner, "GET", "/integration/one?reissue=1", &none);
    let anyone = house.gateway.client();
    for client in [&anyone, owner] {
        published.send(client, "GET", "/v1/health", &none);
        published.send(client, "GET", "/v1/status", &none);
        published.send(client, "GET", "/v1/config", &none);
    }
    let wish = json!({"tokenLifetimeMs": 600_000, "defaultReach": "selected", "unknown": 1});
    published.send(owner, "PUT", "/v1/config", &wish);
    // The last: the key that was used is none any more.
    let rotated = published.send(owner, "POST", "/v1/connection-key/rotate", &json!({}));
    assert_eq!(rotated["connectionKey"], house.gateway.key(), "{rotated}");
}
