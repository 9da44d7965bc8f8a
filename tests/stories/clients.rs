//! Clients that were written for another gateway: what they do step by step, and what makes them stop.

use crate::house::{House, READ, WRITE, Workshop, note, report};
use plexus_tests::texts::list_of;
use plexus_tests::waiting::until;
use plexus_tests::{Client, Response};
use serde_json::{Value, json};

/// A client library that throws on every JSON body with a string `error.code`, except for calls, whatever the status.
struct Library {
    document: Value,
    client: Client,
    session: String,
    token: Value,
}

/// What the library throws.
#[derive(Debug, PartialEq)]
struct Thrown(String);

fn checked(reply: &Response, call: bool) -> Result<Value, Thrown> {
    if reply.body.is_empty() {
        return Ok(Value::Null);
    }
    let body: Value = serde_json::from_slice(&reply.body).map_err(|_| Thrown("not JSON".into()))?;
    match body["error"]["code"].as_str() {
        Some(code) if !call => Err(Thrown(code.to_owned())),
        _ => Ok(body),
    }
}

impl Library {
    fn discover(port: u16) -> Self {
        // The host header is explicit, and a content type is sent on every request.
        let client = Client::tcp(port)
            .with("host", &format!("127.0.0.1:{port}"))
            .with("content-type", "application/json");
        let document = checked(&client.get("/.well-known/plexus"), false).expect("discovery");
        Self {
            document,
            client,
            session: String::new(),
            token: Value::Null,
        }
    }
    /// URLs are absolute and come from the document; the library uses them as they are.
    fn path(&self, name: &str) -> String {
        let url = self.document["auth"][name].as_str().expect("a URL");
        let base = self.document["gateway"]["baseUrl"]
            .as_str()
            .expect("a base");
        url.strip_prefix(base)
            .expect("URLs lie below the base")
            .to_owned()
    }
    fn handshake(&mut self, pat: &str) -> Result<Value, Thrown> {
        let body = json!({"connectionKey": "", "client": {"name": "min-agent", "version": "0.1.0", "agentId": "min"}});
        let reply = self
            .client
            .with("authorization", &format!("Bearer {pat}"))
            .post(&self.path("handshakeUrl"), body);
        let body = checked(&reply, false)?;
        self.session = body["sessionId"].as_str().expect("a session").to_owned();
        Ok(body)
    }
    fn invoke(&self, id: &str, input: Value) -> Value {
        let mut client = self.client.clone();
        if let Some(token) = self.token["token"].as_str() {
            client = client.with("authorization", &format!("Bearer {token}"));
        }
        checked(
            &client.post(&self.path("invokeUrl"), json!({"id": id, "input": input})),
            true,
        )
        .expect("an answer")
    }
    fn request_grants(&mut self, grants: Value) -> Result<(), Thrown> {
        let body = json!({"sessionId": self.session, "grants": grants});
        let reply = checked(&self.client.put(&self.path("grantsUrl"), body), false)?;
        if reply["status"] != "grant_pending_user" {
            self.token = reply;
            return Ok(());
        }
        let path = format!(
            "{}?pendingId={}",
            self.path("grantStatusUrl"),
            reply["pendingId"].as_str().expect("an id")
        );
        let status = until("an approval with a token", || {
            let reply = self
                .client
                .with("x-plexus-session", &self.session)
                .get(&path);
            let status = checked(&reply, false).expect("a status");
            match status["state"].as_str() {
                Some("approved") if status["token"].is_object() => Some(Ok(status)),
                Some("denied" | "expired") => Some(Err(Thrown("refused".into()))),
                _ => None,
            }
        })?;
        self.token = status["token"].clone();
        Ok(())
    }
    fn refresh(&mut self) -> Result<(), Thrown> {
        let reply = self
            .client
            .with(
                "authorization",
                &format!("Bearer {}", self.token["token"].as_str().expect("a token")),
            )
            .post(
                &self.path("refreshUrl"),
                json!({"sessionId": self.session, "jti": self.token["jti"]}),
            );
        self.token = checked(&reply, false)?;
        Ok(())
    }
}

/// The runner of the example agent, from the owner's connect to a refreshed manifest.
#[test]
fn the_example_agent() {
    let house = House::open();
    let connected = house
        .owner()
        .connect_as(json!({"agentId": "min", "capabilities": ["obsidian.vault.read"], "agentType": "min-agent-demo"}))
        .expect_ok();
    assert_eq!(
        connected["granted"][0]["capabilityId"],
        "obsidian.vault.read"
    );

    let mut library = Library::discover(house.gateway.port());
    let reply = library.client.post(
        &library.path("enrollmentUrl"),
        json!({"code": connected["code"]}),
    );
    let enrolled = checked(&reply, false).expect("a PAT");
    assert_eq!(enrolled["agentId"], "min");
    let opened = library
        .handshake(enrolled["pat"].as_str().expect("a PAT"))
        .expect("an empty key beside a bearer takes the PAT's way");
    assert!(
        opened["manifest"]["entries"]
            .as_array()
            .is_some_and(|entries| !entries.is_empty())
    );
    assert!(opened["manifest"]["revision"].is_u64() && opened["expiresAt"].is_string());

    let early = library.invoke("obsidian.vault.read", json!({"path": "Ideas.md"}));
    assert_ne!(early["ok"], true);
    assert!(early["error"]["code"].is_string() && early["error"]["message"].is_string());

    library
        .request_grants(json!({"obsidian.vault.read": "allow"}))
        .expect("what stands is given at once");
    for name in ["token", "jti", "expiresAt"] {
        assert!(library.token[name].is_string());
    }
    let read = library.invoke("obsidian.vault.read", json!({"path": "Ideas.md"}));
    assert_eq!(read["ok"], true, "{read}");
    assert!(read["auditId"].is_string());

    let before = library.token["jti"].clone();
    library.refresh().expect("a fresh token");
    assert_ne!(library.token["jti"], before);
    let read = library.invoke("obsidian.vault.read", json!({"path": "Ideas.md"}));
    assert_eq!(read["ok"], true, "{read}");

    let reply = library
        .client
        .with("x-plexus-session", &library.session)
        .get(&library.path("manifestUrl"));
    assert!(checked(&reply, false).expect("a manifest")["manifest"]["entries"].is_array());
}

/// The same library waits for the owner, and sees a denial.
#[test]
fn the_example_agent_waits_for_the_owner() {
    let (house, agent) = House::with_reader("min");
    let mut library = Library::discover(house.gateway.port());
    library.handshake(&agent.pat).expect("a session");
    let owner = house.owner();
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            library
                .request_grants(json!({WRITE: "allow"}))
                .expect("a token");
            library.invoke(WRITE, note("from-the-library.txt", "hello"))
        });
        owner.approve(&owner.waiting(), "1h");
        let written = asking.join().expect("an answer");
        assert_eq!(written["ok"], true, "{written}");
    });
    assert_eq!(house.workspace.read("from-the-library.txt"), "hello");

    let second = house.gateway.agent("min-two");
    let mut library = Library::discover(house.gateway.port());
    library.handshake(&second.pat).expect("a session");
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| library.request_grants(json!({READ: "allow"})));
        owner.deny(&owner.waiting(), "no");
        assert_eq!(
            asking.join().expect("an end"),
            Err(Thrown("refused".into()))
        );
    });
}

/// The zero-dependency command of the peer, as its contract says.
struct PeerCommand {
    client: Client,
    auth: Value,
    discovery: Value,
    pat: String,
}

impl PeerCommand {
    fn start(port: u16, pat: &str) -> Self {
        let client = Client::tcp(port);
        let discovery = client.get("/.well-known/plexus").expect_ok();
        assert!(
            discovery["auth"].is_object(),
            "without it the command ends with 69"
        );
        Self {
            client,
            auth: discovery["auth"].clone(),
            discovery,
            pat: pat.to_owned(),
        }
    }
    /// The shape's URL first, then the flat one.
    fn path(&self, shape: &str, flat: &str) -> String {
        let url = self.auth["requestShapes"][shape]["url"]
            .as_str()
            .or_else(|| self.auth[flat].as_str())
            .expect("a URL");
        let after = url.split_once("://").expect("absolute").1;
        after[after.find('/').expect("a path")..].to_owned()
    }
    fn open(&self) -> (Client, Value) {
        let reply = self
            .client
            .with("authorization", &format!("Bearer {}", self.pat))
            .post(
                &self.path("handshake", "handshakeUrl"),
                json!({"client": {"name": "plexus-cli"}}),
            )
            .expect_ok();
        let header = self.auth["sessionHeader"].as_str().expect("a name");
        let session = reply["sessionId"].as_str().expect("a session");
        (self.client.with(header, session), reply["manifest"].clone())
    }
    /// `list`: what the manifest and the ledger say together.
    fn list(&self) -> Vec<(String, bool)> {
        let (session, manifest) = self.open();
        let ledger = session.get(&self.path("", "grantsListUrl")).expect_ok();
        let rows = ledger["grants"].as_array().expect("grants").clone();
        let mut ids: Vec<String> = Vec::new();
        let entries = manifest["entries"].as_array().expect("entries");
        let summaries = self.discovery["capabilities"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        for entry in entries.iter().chain(&summaries) {
            let id = entry["id"].as_str().expect("an id").to_owned();
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        ids.into_iter()
            .map(|id| {
                let verbs = entries
                    .iter()
                    .find(|entry| entry["id"] == id.as_str())
                    .map(|entry| entry["grants"].clone());
                let row = rows.iter().find(|row| row["capabilityId"] == id.as_str());
                let callable = match (row, verbs) {
                    (Some(row), Some(Value::Array(verbs))) => {
                        let held = row["verbs"].as_array().expect("verbs");
                        row["standing"] == true && verbs.iter().all(|verb| held.contains(verb))
                    }
                    (None, Some(Value::Array(verbs))) => verbs.is_empty(),
                    _ => false,
                };
                (id, callable)
            })
            .collect()
    }
    /// A call: grant, wait, invoke, and follow a run. Gives the exit status and the last body.
    fn call(&self, id: &str, input: Value, wait: bool) -> (i32, Value) {
        let (session, manifest) = self.open();
        let entries = manifest["entries"].as_array().expect("entries");
        let entry = entries
            .iter()
            .find(|entry| entry["id"] == id)
            .cloned()
            .unwrap_or(Value::Null);
        if entry["kind"] == "skill" {
            return (0, entry["body"]["markdown"].clone());
        }
        let asked = session.put(
            &self.path("grantRequest", "grantRequestUrl"),
            json!({"grants": {id: "allow"}}),
        );
        if asked.status >= 300 {
            return (1, asked.json());
        }
        let asked = asked.json();
        let token = if let Some(token) = asked["token"].as_str() {
            token.to_owned()
        } else {
            assert_eq!(
                asked["status"], "grant_pending_user",
                "did not yield a scoped token: {asked}"
            );
            assert!(asked["approvalUrl"].is_string());
            if !wait {
                return (75, asked);
            }
            let url = asked["statusUrl"].as_str().expect("a URL");
            let after = url.split_once("://").expect("absolute").1;
            let path = &after[after.find('/').expect("a path")..];
            let status = until("a decision", || {
                let status = session.get(path).expect_ok();
                match status["state"].as_str().expect("a word") {
                    "pending" => None,
                    "approved" | "denied" | "expired" => Some(status),
                    other => panic!("the command aborts on {other}"),
                }
            });
            match status["state"].as_str() {
                Some("denied") => return (77, status),
                Some("expired") => return (75, status),
                _ => {}
            }
            let token = status["token"]["token"]
                .as_str()
                .or_else(|| status["token"].as_str());
            match token {
                Some(token) => token.to_owned(),
                None => return (75, status),
            }
        };
        let mut body = json!({"id": id, "input": input});
        if entry["longRunning"] == true {
            body["async"] = json!(true);
        }
        let reply = session
            .with("authorization", &format!("Bearer {token}"))
            .post(&self.path("invoke", "invokeUrl"), body)
            .json();
        let Some(url) = reply["run"]["statusUrl"].as_str() else {
            return (i32::from(reply["ok"] != true), reply);
        };
        let after = url.split_once("://").expect("absolute").1;
        let path = &after[after.find('/').expect("a path")..];
        let both = session.with("authorization", &format!("Bearer {token}"));
        let reply = until("the end of the run", || {
            let run = both.get(path).json();
            (run["status"] != "running").then(|| run["result"].clone())
        });
        (i32::from(reply["ok"] != true), reply)
    }
    /// Positional arguments go to the required fields, then to the other properties, each in the schema's order.
    fn positional(&self, id: &str, words: &[&str]) -> Value {
        let (_, manifest) = self.open();
        let entries = manifest["entries"].as_array().expect("entries");
        let entry = entries.iter().find(|entry| entry["id"] == id);
        let schema = &entry.expect("an entry")["io"]["input"];
        let mut fields: Vec<&str> = schema["required"]
            .as_array()
            .map(|names| names.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let properties = schema["properties"].as_object().expect("properties");
        let others: Vec<&str> = properties.keys().map(String::as_str).collect();
        fields.extend(
            others
                .iter()
                .filter(|name| !fields.contains(name))
                .copied()
                .collect::<Vec<_>>(),
        );
        fields
            .into_iter()
            .zip(words)
            .map(|(field, word)| (field.to_owned(), json!(word)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}

/// A long call is made without waiting and followed at the URL of its run, with both credentials.
#[test]
fn the_peers_command_follows_a_run() {
    let (workshop, agent) = Workshop::with_reader("cli");
    let command = PeerCommand::start(workshop.gateway.port(), &agent.pat);
    let (status, reply) = command.call("fixture.long", json!({"ms": 300}), true);
    assert_eq!(status, 0, "{reply}");
    assert_eq!(reply["output"]["waited"], 300);
    assert_eq!(reply["id"], "fixture.long");
}

#[test]
fn the_peers_command_lists_reads_asks_and_waits() {
    let (house, agent) = House::with_reader("cli");
    let command = PeerCommand::start(house.gateway.port(), &agent.pat);
    let list = command.list();
    let callable = |id: &str| {
        list.iter()
            .find(|(known, _)| known == id)
            .map(|(_, callable)| *callable)
    };
    assert_eq!(callable(READ), Some(true));
    assert_eq!(callable(WRITE), Some(false));
    assert_eq!(
        callable("workspace.how-to-use"),
        Some(true),
        "an entry without verbs needs no row"
    );

    let (status, reply) = command.call(READ, report(), false);
    assert_eq!(status, 0, "{reply}");
    assert_eq!(reply["output"]["content"], "first line\n");
    let (status, text) = command.call("workspace.how-to-use", json!({}), false);
    assert_eq!(status, 0);
    assert!(text.as_str().is_some_and(|text| !text.is_empty()));
    let (status, _) = command.call("nope.read", json!({}), false);
    assert_eq!(status, 1);

    // Words become the fields of an input.
    for (id, words, input) in [
        (READ, &["report.txt"][..], report()),
        (
            WRITE,
            &["a.txt", "a"],
            json!({"path": "a.txt", "content": "a"}),
        ),
        ("workspace.list", &["notes"], json!({"path": "notes"})),
        (
            "obsidian.vault.read",
            &["Ideas.md"],
            json!({"path": "Ideas.md"}),
        ),
        ("obsidian.vault.search", &["idea"], json!({"query": "idea"})),
    ] {
        assert_eq!(command.positional(id, words), input, "{id}");
    }

    // It asks, and waits for the owner.
    let owner = house.owner();
    let (status, asked) = command.call(WRITE, note("a.txt", "a"), false);
    assert_eq!(status, 75, "{asked}");
    let item = asked["pendingId"].as_str().expect("an id").to_owned();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| command.call(WRITE, note("a.txt", "a"), true));
        owner.approve(&item, "1h");
        let (status, reply) = waiting.join().expect("an end");
        assert_eq!(status, 0, "{reply}");
    });
    assert_eq!(house.workspace.read("a.txt"), "a");

    let second = house.gateway.agent("cli-two");
    let command = PeerCommand::start(house.gateway.port(), &second.pat);
    let (status, asked) = command.call(READ, report(), false);
    assert_eq!(status, 75);
    owner.deny(asked["pendingId"].as_str().expect("an id"), "no");
    let (status, _) = command.call(READ, report(), false);
    assert_eq!(status, 75, "an ask without an input is not remembered");
}

/// A client of the first dialect knows only the key, reads the whole catalogue and ignores what it does not know.
#[test]
fn a_client_of_the_first_dialect() {
    let house = House::open();
    let client = house.gateway.client();
    let opened = client.must_post(
        "/link/handshake",
        json!({"connectionKey": house.gateway.key(), "client": {"name": "old", "version": "1"}}),
    );
    let ids: Vec<&str> = list_of(&opened["manifest"]["entries"])
        .iter()
        .filter_map(|entry| entry["id"].as_str())
        .collect();
    for id in [READ, WRITE, "obsidian.vault.read"] {
        assert!(ids.contains(&id), "{ids:?}");
    }
    let body = json!({"sessionId": opened["sessionId"], "grants": {READ: "allow"}});
    let reply = client.put("/grants", body).expect_ok();
    assert!(
        reply["declined"].is_array(),
        "it must be connected as an agent first: {reply}"
    );

    // Once it is, the key opens a session as that agent, and a session in the body goes the whole way.
    house.owner().connect("old", &[READ]);
    let opened = client
        .must_post(
            "/link/handshake",
            json!({"connectionKey": house.gateway.key(), "client": {"name": "old", "version": "1", "agentId": "old"}}),
        );
    let session = &opened["sessionId"];
    let body = json!({"sessionId": session, "grants": {READ: "allow"}});
    let granted = client.put("/grants", body).expect_ok();
    let bearing = |token: &Value| {
        let token = token["token"].as_str().expect("a token");
        client.with("authorization", &format!("Bearer {token}"))
    };
    let call = json!({"id": READ, "input": {"path": "report.txt"}});
    bearing(&granted).post("/invoke", call.clone()).expect_ok();
    let again = json!({"sessionId": session, "jti": granted["jti"]});
    let fresh = bearing(&granted).post("/grants/refresh", again).expect_ok();
    bearing(&fresh).post("/invoke", call).expect_ok();
}

/// The tray and the console read streams with `fetch`, split on blank lines and use data lines only.
#[test]
fn a_tray_application() {
    let house = House::open();
    let owner = house.owner();
    house.gateway.client().get("/v1/health").expect_ok();
    let agent = house.reader("one");
    let stream = owner.events();
    let item = agent.must_ask(WRITE, note("a.txt", "a"));
    let added = stream.wait_for("pending_added");
    assert_eq!(
        added["type"], "pending_added",
        "the type is repeated in the data"
    );
    let list = owner.get("/v1/admin/api/pending").expect_ok();
    assert_eq!(list["pending"][0]["pendingId"], item.as_str());
    owner.must_post(
        &format!("/v1/admin/api/pending/{item}"),
        json!({"action": "deny"}),
    );
    stream.wait_for("pending_resolved");
}
