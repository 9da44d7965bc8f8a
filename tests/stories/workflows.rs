//! Workflows of extensions: one card for the calls of several capabilities, each a call of its own; and what stops them.

use crate::house::{COUNT, Workshop};
use plexus_tests::texts::{assert_contains, assert_like, text_of};
use plexus_tests::waiting::{until, until_true};
use plexus_tests::{Agent, Folder, Gateway, vault, workspace};
use serde_json::{Value, json};

const FILE: &str = "filing.file";
const READ: &str = "obsidian.vault.read";
const WRITE: &str = "workspace.write";
const STREAM: &str = "fixture.stream";
const PREVIEW: &str = "/admin/api/extensions/preview";

fn member(id: &str, verb: &str, input: Value) -> Value {
    let cross = !id.starts_with("filing.");
    json!({"id": id, "verbs": [verb], "allowCrossSource": cross, "input": input})
}

fn workflow(name: &str, verb: &str, fields: &[&str], members: &[Value]) -> Value {
    let fields: serde_json::Map<_, _> = fields
        .iter()
        .map(|field| ((*field).to_owned(), json!({})))
        .collect();
    json!({
        "name": name, "kind": "workflow", "transport": "workflow", "label": "File a note",
        "describe": "Copies a note into the workspace.", "grants": [verb],
        "io": {"input": {"type": "object", "properties": fields}}, "members": members,
    })
}

fn manifest(workflows: &[Value]) -> Value {
    json!({
        "manifest": "plexus-extension/0.1", "source": "filing", "label": "Filing", "transport": "workflow",
        "capabilities": workflows,
    })
}

/// Copies a note.
fn filing() -> Value {
    let members = [
        member(READ, "read", json!({"path": "{note}"})),
        member(
            WRITE,
            "write",
            json!({"path": "{to}", "content": "{1.content}"}),
        ),
    ];
    manifest(&[workflow("file", "write", &["note", "to"], &members)])
}

fn preview(gateway: &Gateway, manifest: &Value) -> Value {
    let body = json!({"manifest": manifest});
    gateway.owner().post(PREVIEW, body).expect_ok()
}

#[track_caller]
fn add(gateway: &Gateway, manifest: &Value) -> Value {
    let seen = preview(gateway, manifest);
    let body = json!({"manifest": manifest, "digest": seen["digest"]});
    let added = gateway.owner().post("/admin/api/extensions", body);
    assert_eq!(added.expect_ok()["ok"], true, "{seen}");
    seen["surface"].clone()
}

/// A gateway with a vault, a workspace and an extension; an agent that may ask for its workflow and reads the vault.
struct Office {
    gateway: Gateway,
    _vault: Folder,
    workspace: Folder,
    agent: Agent,
}

impl Office {
    fn with(manifest: &Value) -> Self {
        let (vault, workspace) = (vault(), workspace());
        let builder = Gateway::builder().vault(&vault.path());
        let gateway = builder.workspace(&workspace.path()).start();
        add(&gateway, manifest);
        let agent = gateway.agent_with("clerk", &[FILE, READ]);
        Self {
            gateway,
            _vault: vault,
            workspace,
            agent,
        }
    }
}

fn note() -> Value {
    json!({"note": "Ideas.md", "to": "notes/ideas.md"})
}

/// What the members came to.
fn outcomes(answer: &Value) -> Vec<Value> {
    let of = |member: &Value| json!([member["id"], member["ok"]]);
    let members = answer["members"].as_array().expect("members");
    members.iter().map(of).collect()
}

#[test]
fn one_approval_carries_all_members() {
    let office = Office::with(&filing());
    let (owner, agent) = (office.gateway.owner(), &office.agent);
    let entry = agent.entry(FILE);
    assert_eq!(entry["kind"], "workflow", "{entry}");
    assert_eq!(entry["transport"], "workflow", "{entry}");
    let read = json!({"id": READ, "verbs": ["read"]});
    let write = json!({"id": WRITE, "verbs": ["write"]});
    assert_eq!(entry["members"], json!([read, write]), "{entry}");

    let item = agent.must_ask(FILE, note());
    let card = owner.card(&item);
    let ask = &card["asks"][0];
    let children = &ask["children"];
    assert_eq!(
        json!([
            children["capabilities"],
            children["runs"],
            children["minutes"]
        ]),
        json!([[WRITE], 1, 10])
    );
    let preview = ask["plan"]["preview"].to_string();
    for said in ["Ideas.md", "notes/ideas.md", "{1.content}", READ, WRITE] {
        assert!(preview.contains(said), "{said}: {preview}");
    }
    let words = card["choices"][0]["words"].to_string();
    assert_contains(
        &words,
        "as listed, in this order, each once, within 10 minutes",
    );
    assert!(!office.workspace.has("notes/ideas.md"));

    owner.approve(&item, "once");
    let done = agent.must(FILE, note());
    assert_eq!(done["output"]["workflow"], FILE, "{done}");
    let members = outcomes(&done["output"]);
    assert_eq!(
        members,
        [json!([READ, true]), json!([WRITE, true])],
        "{done}"
    );
    // What a member read goes where the card says, and not to the agent.
    assert!(!done.to_string().contains("one word"), "{done}");
    assert_eq!(
        office.workspace.read("notes/ideas.md"),
        "# Ideas\n\n- one word, one meaning #work\n"
    );

    // Each is a call of the agent's own, in the log; the write names the workflow's call.
    let intent = owner.audited(|e| e["capabilityId"] == WRITE && e["detail"]["phase"] == "intent");
    assert_eq!(
        json!([
            intent["agentId"],
            intent["detail"]["via"],
            intent["detail"]["parent"]
        ]),
        json!(["clerk", "filing", done["auditId"]]),
        "{intent}"
    );
    let read = owner.audited(|e| e["capabilityId"] == READ && e["detail"]["phase"] == "read");
    assert_eq!(read["agentId"], "clerk", "{read}");
    assert_eq!(
        read["id"], done["output"]["members"][0]["auditId"],
        "{read}"
    );

    // Neither the workflow nor its members are granted by that.
    agent.must_fail(FILE, note(), 401, "approval_required");
    let direct = json!({"path": "notes/ideas.md", "content": "mine"});
    agent.must_fail(WRITE, direct, 401, "approval_required");
    assert_eq!(
        office.workspace.read("notes/ideas.md"),
        "# Ideas\n\n- one word, one meaning #work\n"
    );
}

#[test]
fn workflow_reads_what_its_caller_may_read() {
    let office = Office::with(&filing());
    let (owner, agent) = (office.gateway.owner(), &office.agent);
    let item = agent.must_ask(FILE, note());
    owner.approve(&item, "once");
    owner.revoke("clerk", READ);
    let agent = agent.another_session();
    let refused = agent.must_fail(FILE, note(), 401, "grant_required");
    assert_eq!(refused["capabilityId"], READ, "{refused}");
    assert_eq!(refused["effect"], "none", "{refused}");
    assert_contains(
        &refused["next"].to_string(),
        "grants allow clerk obsidian.vault.read",
    );
    // It does not even ask; and nothing of the approval is used.
    let other = json!({"note": "Ideas.md", "to": "other.md"});
    agent.must_fail(FILE, other, 401, "grant_required");
    assert_eq!(owner.pending().len(), 0);
    assert!(!office.workspace.has("notes/ideas.md"));

    // A grant that reaches less is held to: the control is the note that it reaches.
    owner.must_put(
            "/admin/api/grants",
            json!({
                "agentId": "clerk", "trustWindow": {"kind": "1d"},
                "grants": {READ: {"decision": "allow", "constraint": {"pathPrefix": {"field": "path", "allow": ["Daily"]}}}},
            }),
        );
    let missed = agent.invoke(FILE, note()).json();
    assert_eq!(missed["error"]["code"], "grant_required", "{missed}");
    assert!(!office.workspace.has("notes/ideas.md"));
    let day = json!({"note": "Daily/2026-01-31.md", "to": "notes/day.md"});
    agent.must_approved(&owner, FILE, day);
    assert!(office.workspace.has("notes/day.md"));
}

#[test]
fn failed_member_ends_it_and_says_what_was_done() {
    let write = |to: &str| {
        member(
            WRITE,
            "write",
            json!({"path": to, "content": "from {note}"}),
        )
    };
    let members = [
        write("a.md"),
        member(READ, "read", json!({"path": "{note}"})),
        write("b.md"),
    ];
    let office = Office::with(&manifest(&[workflow("file", "write", &["note"], &members)]));
    let (owner, agent) = (office.gateway.owner(), &office.agent);
    let input = json!({"note": "Nothing.md"});
    let item = agent.must_ask(FILE, input.clone());
    assert_eq!(owner.card(&item)["asks"][0]["children"]["runs"], 2);
    owner.approve(&item, "once");
    let failed = agent.invoke(FILE, input).json();
    let error = &failed["error"];
    assert_eq!(
        json!([
            failed["ok"],
            error["code"],
            error["capabilityId"],
            error["effect"]
        ]),
        json!([false, "transport_error", READ, "partial"]),
        "{failed}"
    );
    let said = error["message"].to_string();
    assert_contains(
        &said,
        "Done before: workspace.write. Not begun: workspace.write.",
    );
    let members = outcomes(&error["detail"]);
    assert_eq!(
        members,
        [json!([WRITE, true]), json!([READ, false])],
        "{failed}"
    );
    assert_eq!(error["detail"]["reason"], "not_found", "{failed}");
    assert!(office.workspace.has("a.md") && !office.workspace.has("b.md"));

    // The control: with a note that is there, all three are made; a.md is replaced as the card shows.
    let input = json!({"note": "Ideas.md"});
    let done = agent.must_approved(&owner, FILE, input);
    assert_eq!(done["ok"], true, "{done}");
    assert_eq!(office.workspace.read("a.md"), "from Ideas.md");
    assert!(office.workspace.has("b.md"));
}

#[test]
fn workflow_of_reads_is_a_read() {
    let members = [
        member(READ, "read", json!({"path": "{note}"})),
        member(READ, "read", json!({"path": "{1.links.0.target}"})),
    ];
    let office = Office::with(&manifest(&[workflow("file", "read", &["note"], &members)]));
    let (owner, agent) = (office.gateway.owner(), &office.agent);
    let input = json!({"note": "Projects/Plexus.md"});
    let read = agent.must(FILE, input.clone());
    let answers = &read["output"]["members"];
    assert_eq!(answers[1]["output"]["relativePath"], "Ideas.md", "{read}");
    // An agent without a grant of the member has nothing of the workflow.
    let other = office.gateway.agent_with("other", &[FILE]);
    let refused = other.invoke(FILE, input.clone());
    assert_eq!(
        refused.expect_error(401, "grant_required")["capabilityId"],
        READ
    );
    // A note without a link has no second one: nothing was done, and it says where.
    let failed = agent.invoke(FILE, json!({"note": "Ideas.md"})).json();
    let error = &failed["error"];
    assert_eq!(
        json!([error["detail"]["reason"], error["effect"]]),
        json!(["template", "none"]),
        "{failed}"
    );
    // What stops a read stops it.
    owner.expose(READ, false);
    let hidden = agent.invoke(FILE, input.clone());
    assert_eq!(
        hidden.expect_error(403, "capability_unexposed")["capabilityId"],
        READ
    );
    owner.expose(READ, true);
    office.gateway.cli(["pause"]).expect_ok();
    agent.must_fail(FILE, input.clone(), 503, "paused");
    office.gateway.cli(["resume"]).expect_ok();
    assert_eq!(agent.must(FILE, input)["ok"], true);
}

#[test]
fn kept_read_is_withheld_when_a_members_grant_changes() {
    let members = [member(READ, "read", json!({"path": "{note}"}))];
    let office = Office::with(&manifest(&[workflow("file", "read", &["note"], &members)]));
    let (owner, agent) = (office.gateway.owner(), &office.agent);
    let grant = |constraint: Value| {
        let body = json!({
            "agentId": "clerk", "trustWindow": {"kind": "1d"},
            "grants": {READ: {"decision": "allow", "constraint": constraint}},
        });
        owner.put("/admin/api/grants", body).expect_ok();
    };
    let input = json!({"note": "Ideas.md"});
    let keyed = || {
        let body = json!({"id": FILE, "input": input, "idempotencyKey": "k"});
        agent.invoke_body(body).json()
    };
    assert_eq!(keyed()["ok"], true);
    assert_eq!(keyed()["replayed"], true, "the control");
    let run = agent
        .invoke_body(json!({"id": FILE, "input": input, "async": true}))
        .json();
    let run = run["run"]["runId"].as_str().expect("a run");
    let path = format!("/invoke/status?runId={run}");
    let status = || agent.client().get(&path).expect_ok();
    until_true("the end of the run", || status()["status"] != "running");
    assert_eq!(status()["result"]["ok"], true, "the control");

    grant(json!({"pathPrefix": {"field": "path", "allow": ["Daily"]}}));
    for withheld in [status()["result"].clone(), keyed()] {
        let told = json!([withheld["error"]["code"], withheld["output"]]);
        assert_eq!(told, json!(["grant_required", null]), "{withheld}");
    }
    // The workflow's own read may use up the grant of its member.
    grant(json!({"maxCalls": 1}));
    assert_eq!(agent.must(FILE, input.clone())["ok"], true);
}

#[test]
fn approved_workflow_is_refused_when_its_member_plans_are_lost() {
    let mut office = Office::with(&filing());
    let item = office.agent.must_ask(FILE, note());
    office.gateway.owner().approve(&item, "once");
    office.gateway.restart();
    let (client, agent) = (office.gateway.client(), &office.agent);
    let agent = Agent::with_pat(&client, &agent.id, &agent.pat);
    let refused = agent.invoke(FILE, note()).json();
    let told = json!([refused["error"]["code"], refused["error"]["effect"]]);
    assert_eq!(told, json!(["precondition_changed", "none"]), "{refused}");
    assert!(!office.workspace.has("notes/ideas.md"));

    // Asked for again, it is planned and made.
    let body = json!({"pendingId": item});
    agent.client().post("/grants/cancel", body).expect_ok();
    agent.must_approved(&office.gateway.owner(), FILE, note());
    assert!(office.workspace.has("notes/ideas.md"));
}

/// A workflow whose first member goes on until its file is there, and whose second counts.
fn held() -> Value {
    let members = [
        member(
            STREAM,
            "write",
            json!({"text": "x", "pieces": 1, "until": "{until}"}),
        ),
        member(COUNT, "write", json!({"line": "{until}"})),
    ];
    manifest(&[workflow("file", "write", &["until"], &members)])
}

struct Held {
    workshop: Workshop,
    agent: Agent,
    input: Value,
    run: String,
}

impl Held {
    /// An approved run whose first member is under way.
    fn begun() -> Self {
        let workshop = Workshop::open();
        add(&workshop.gateway, &held());
        let agent = workshop.gateway.agent_with("clerk", &[FILE]);
        let input = json!({"until": "end"});
        let item = agent.must_ask(FILE, input.clone());
        workshop.owner().approve(&item, "once");
        let body = json!({"id": FILE, "input": input, "async": true});
        let run = agent.invoke_body(body).json();
        let run = run["run"]["runId"].as_str().expect("a run").to_owned();
        until_true("the first member is under way", || {
            workshop.folder.has("streamed")
        });
        Self {
            workshop,
            agent,
            input,
            run,
        }
    }

    /// Lets the first member end, and gives what the workflow came to.
    fn over(&self) -> Value {
        self.workshop.folder.write("end", "");
        let path = format!("/invoke/status?runId={}", self.run);
        let status = until("the end of the workflow", || {
            let status = self.agent.client().get(&path).expect_ok();
            (status["status"] != "running").then_some(status)
        });
        status["result"].clone()
    }

    /// It ended behind the first member, with this code.
    #[track_caller]
    fn stopped(&self, code: &str) {
        let result = self.over();
        let error = &result["error"];
        assert_eq!(
            json!([error["code"], error["effect"]]),
            json!([code, "partial"]),
            "{result}"
        );
        assert!(self.workshop.effects().is_empty(), "{result}");
    }
}

#[test]
fn what_the_owner_takes_back_stops_the_next_member() {
    // The control: nothing is taken back, and the second member counts.
    let whole = Held::begun();
    assert_eq!(whole.over()["ok"], true);
    assert_eq!(whole.workshop.effects(), ["end"]);
    let status = whole.agent.client();
    let status = status.must_get(&format!("/invoke/status?runId={}&after=0", whole.run));
    let told = status["progress"]["chunks"].to_string();
    for said in [
        "\"state\":\"begun\"",
        "\"state\":\"done\"",
        "\"of\":2",
        COUNT,
    ] {
        assert!(told.contains(said), "{said}: {told}");
    }

    let hidden = Held::begun();
    hidden.workshop.owner().expose(COUNT, false);
    hidden.stopped("capability_unexposed");
    let revoked = Held::begun();
    revoked.workshop.owner().revoke("clerk", COUNT);
    let revoked = Held {
        agent: revoked.agent.another_session(),
        ..revoked
    };
    // The first member is cancelled with the approval, or the second refused.
    let result = revoked.over();
    let code = &result["error"]["code"];
    assert!(code == "cancelled" || code == "grant_required", "{result}");
    assert!(revoked.workshop.effects().is_empty(), "{result}");
}

#[test]
fn workflow_that_is_cancelled_begins_no_further_member() {
    let held = Held::begun();
    let body = json!({"runId": held.run});
    held.agent
        .client()
        .post("/invoke/cancel", body)
        .expect_status(202);
    held.stopped("cancelled");
}

#[test]
fn nothing_is_repeated_after_a_crash() {
    let mut held = Held::begun();
    held.workshop.gateway.kill9();
    held.workshop.gateway.start_again();
    let agent = held.workshop.back(&held.agent);
    held.workshop.folder.write("end", "");
    let again = agent.invoke(FILE, held.input.clone());
    assert_eq!(again.at("/error/code"), "outcome_unknown", "{again}");
    assert!(held.workshop.effects().is_empty());
    let intents = held.workshop.owner().audit(200);
    let of = |id: &str| {
        let of = |e: &&Value| e["capabilityId"] == id && e["detail"]["phase"] == "intent";
        intents.iter().filter(of).count()
    };
    assert_eq!((of(FILE), of(STREAM), of(COUNT)), (1, 1, 0));
}

#[test]
fn member_is_made_as_its_card_shows_it() {
    let write =
        |to: &str, content: &str| member(WRITE, "write", json!({"path": to, "content": content}));
    let office = Office::with(&manifest(&[workflow(
        "file",
        "write",
        &["to"],
        &[write("{to}", "new\n")],
    )]));
    let (owner, agent) = (office.gateway.owner(), &office.agent);
    // A file that the agent never read may be replaced, because the owner saw how.
    let input = json!({"to": "report.txt"});
    let item = agent.must_ask(FILE, input.clone());
    let preview = owner.plan(&item).to_string();
    for said in ["-first line", "+new"] {
        assert!(preview.contains(said), "{said}: {preview}");
    }
    owner.approve(&item, "once");
    office.workspace.write("report.txt", "changed meanwhile\n");
    let stale = agent.invoke(FILE, input.clone()).json();
    let error = &stale["error"];
    assert_eq!(
        json!([error["code"], error["capabilityId"], error["effect"]]),
        json!(["precondition_changed", WRITE, "none"]),
        "{stale}"
    );
    assert_eq!(office.workspace.read("report.txt"), "changed meanwhile\n");
    // The control.
    assert_eq!(agent.must_approved(&owner, FILE, input)["ok"], true);
    assert_eq!(office.workspace.read("report.txt"), "new\n");

    // What programs of the owner's run is more than a write: it waits for a card of its own.
    let input = json!({"to": ".envrc"});
    let beyond = agent.approved(&owner, FILE, input).json();
    let error = &beyond["error"];
    assert_eq!(
        json!([error["code"], error["effect"]]),
        json!(["approval_required", "none"]),
        "{beyond}"
    );
    let asked = error["pendingId"]
        .as_str()
        .expect("a request of the member's own");
    assert_eq!(owner.card(asked)["asks"][0]["id"], WRITE);
    assert!(!office.workspace.has(".envrc"));
}

#[test]
fn values_that_do_not_fit_end_it() {
    let workshop = Workshop::open();
    let echo = |input: Value| member("fixture.echo", "read", input);
    let big = member("fixture.big", "read", json!({"bytes": "{n}"}));
    let workflows = [
        workflow(
            "file",
            "read",
            &["text", "n"],
            &[
                echo(json!({"text": "{text}", "n": "{n}"})),
                echo(json!({"text": "{1} and {1.obj}"})),
            ],
        ),
        workflow("much", "read", &["n"], &[big.clone(), big.clone(), big]),
    ];
    add(&workshop.gateway, &manifest(&workflows));
    let reads = ["fixture.echo", "fixture.big", FILE, "filing.much"];
    let agent = workshop.gateway.agent_with("clerk", &reads);
    // A text that looks like JSON or like a template stays one text.
    let text = "\", \"flag\": true, \"x\": \"{n}";
    let odd = agent.invoke(FILE, json!({"text": text, "n": 3})).json();
    let first = &odd["error"]["detail"]["members"][0];
    assert_eq!(first["ok"], true, "{odd}");
    assert_eq!(odd["error"]["detail"]["reason"], "template", "{odd}");
    for (input, reason) in [
        (json!({"text": {"flag": true}}), "template"),
        (json!({"text": [{"flag": true}]}), "template"),
    ] {
        let refused = agent.invoke(FILE, input).json();
        assert_eq!(refused["error"]["detail"]["reason"], reason, "{refused}");
        assert_eq!(
            refused["error"]["detail"]["members"],
            json!([]),
            "{refused}"
        );
    }
    // What does not fit the member's schema is the member's refusal.
    let unfit = agent.invoke(FILE, json!({"text": "x", "n": "many"})).json();
    let like =
        json!({"error": {"code": "schema_validation_failed", "capabilityId": "fixture.echo"}});
    assert_like(&unfit, &like);
    let much = agent.invoke("filing.much", json!({"n": 2_000_000})).json();
    assert_eq!(much["error"]["detail"]["reason"], "too_large", "{much}");
    let fits = agent.must("filing.much", json!({"n": 200_000}));
    assert_eq!(fits["ok"], true);
}

#[test]
fn manifest_that_asks_for_more_is_refused() {
    let workshop = Workshop::open();
    let echo = |input: Value| member("fixture.echo", "read", input);
    let count = member(COUNT, "write", json!({"line": "x"}));
    let mut alone = count.clone();
    alone["allowCrossSource"] = json!(false);
    let one =
        |verb: &str, members: &[Value]| manifest(&[workflow("file", verb, &["text"], members)]);
    let in_file = |id: &str| member(id, "read", json!({"text": "{text}"}));
    #[rustfmt::skip]
    let rows = [
        (one("read", &[in_file(FILE)]), "workflow cycle detected: filing.file → filing.file"),
        (
            manifest(&[
                workflow("file", "read", &["text"], &[in_file("filing.other")]),
                workflow("other", "read", &["text"], &[in_file(FILE)]),
            ]),
            "which is a workflow",
        ),
        (one("read", &[in_file("filing.nope")]), "calls filing.nope, which is not there"),
        (one("read", &[in_file("nope.x")]), "calls nope.x, which is not there"),
        (one("write", &[alone]), "belongs to another source (fixture)"),
        (one("read", std::slice::from_ref(&count)), "a member has a stronger verb than the workflow"),
        (one("read", &[member(COUNT, "read", json!({"line": "x"}))]), "has the verbs [\"write\"], not [\"read\"]"),
        (one("write", &[echo(json!({"text": "x"}))]), "a workflow of reads alone is a read"),
        (one("read", &[]), "has no members"),
        (one("write", &vec![count.clone(); 300]), "more than 16 members"),
        (one("read", &[echo(json!({"text": "{nope}"}))]), "no property of the workflow's input"),
        (one("read", &[echo(json!({"text": "{1.text}"}))]), "a member that is not before it"),
        (one("read", &[echo(json!({"text": "{text"}))]), "a brace stands alone"),
        (one("read", &[echo(json!("{text}"))]), "its input is no object"),
    ];
    for (manifest, why) in rows {
        let seen = preview(&workshop.gateway, &manifest);
        assert_eq!(seen["valid"], false, "{why}: {seen}");
        assert!(
            seen["reasons"]
                .to_string()
                .replace("\\\"", "\"")
                .contains(why),
            "{why}: {seen}"
        );
    }
    // The control, and a member whose source changes what it is afterwards.
    let surface = add(
        &workshop.gateway,
        &one("write", &[echo(json!({"text": "{text}"})), count]),
    );
    assert_eq!(
        surface["crossSource"],
        json!([{"id": FILE, "sources": ["fixture"]}])
    );
    let agent = workshop
        .gateway
        .agent_with("clerk", &[FILE, "fixture.echo"]);
    assert_eq!(
        agent.must_approved(&workshop.owner(), FILE, json!({"text": "x"}))["ok"],
        true
    );
    workshop
        .owner()
        .must_post("/admin/api/sources/fixture/disable", json!({}));
    let gone = agent.invoke(FILE, json!({"text": "x"}));
    let error = gone.expect_error(404, "unknown_capability");
    assert_contains(&error["message"].to_string(), "fixture.echo");
}

/// The manifest of recorded gateways, but for a workflow whose verbs are fewer than its member's, which is not valid here.
fn recorded() -> Value {
    let step = |name: &str, verb: &str, route: Value| {
        json!({
            "name": name, "kind": "capability", "label": name, "describe": "A step.", "grants": [verb],
            "transport": "cli", "route": route,
        })
    };
    let of = |name: &str, verb: &str, members: &[(&str, &str)]| {
        let members = members
            .iter()
            .map(|(id, verb)| json!({"id": id, "verbs": [verb]}));
        json!({
            "name": name, "kind": "workflow", "label": name, "describe": "Runs steps.", "grants": [verb],
            "transport": "workflow", "members": members.collect::<Vec<_>>(),
        })
    };
    let (one, two, bad) = (
        ("demo-wf.step.one", "read"),
        ("demo-wf.step.two", "write"),
        ("demo-wf.step.bad", "read"),
    );
    json!({
        "manifest": "plexus-extension/0.1", "source": "demo-wf", "label": "Demo wf", "transport": "cli",
        "capabilities": [
            step("step.one", "read", json!({"bin": "echo", "args": ["one"]})),
            step("step.two", "write", json!({"bin": "echo", "args": ["two"]})),
            step("step.bad", "read", json!({"bin": "false"})),
            of("all.run", "execute", &[one, two]),
            of("mid.run", "write", &[one, bad, two]),
        ],
    })
}

/// Requests of a recorded client, in its order; what differs on purpose is said in docs/protocol/compatibility.md.
#[test]
fn recorded_workflows_hold() {
    let gateway = Gateway::start();
    let owner = gateway.owner();
    add(&gateway, &recorded());
    let (all, mid, one, two) = (
        "demo-wf.all.run",
        "demo-wf.mid.run",
        "demo-wf.step.one",
        "demo-wf.step.two",
    );
    let connected = owner.connect("agent-one", &[all, mid]);
    assert_eq!(connected["skipped"], json!([all, mid]), "{connected}");
    assert_eq!(connected["granted"], json!([]), "{connected}");
    let agent = Agent::enroll(
        &gateway.client(),
        connected["code"].as_str().expect("a code"),
    );
    let entry = agent.entry(all);
    let told =
        |entry: &Value, of: &[&str]| of.iter().map(|m| entry[*m].clone()).collect::<Vec<_>>();
    assert_eq!(
        told(
            &entry,
            &[
                "source",
                "kind",
                "grants",
                "transport",
                "members",
                "provenance",
                "sensitivity",
                "recommendedTrustWindow"
            ]
        ),
        [
            json!("demo-wf"),
            json!("workflow"),
            json!(["execute"]),
            json!("workflow"),
            json!([{"id": one, "verbs": ["read"]}, {"id": two, "verbs": ["write"]}]),
            json!("extension"),
            json!("high"),
            json!({"kind": "once"}),
        ]
    );
    // What members read stands on the agent's own grants here.
    for id in [one, "demo-wf.step.bad"] {
        owner.grant("agent-one", id, "1d").expect_ok();
    }

    let approved = |id: &str| {
        let asked = agent.ask(json!({id: "allow"})).expect_ok();
        assert_eq!(asked["status"], "grant_pending_user", "{asked}");
        assert_eq!(asked["pending"], json!([id]), "{asked}");
        let item = asked["pendingId"].as_str().expect("an item").to_owned();
        let card = owner.card(&item);
        assert_eq!(
            told(&card, &["kind", "state", "agentId", "capabilities"]),
            [
                json!("grant"),
                json!("pending"),
                json!("agent-one"),
                json!([id])
            ]
        );
        let approve = json!({"action": "approve", "trustWindow": {"kind": "once"}, "anyInput": true, "cardDigest": card["cardDigest"]});
        owner.decide(&item, approve).expect_ok();
        let collected = agent.status(&item).expect_ok();
        assert_eq!(collected["state"], "approved", "{collected}");
        collected["token"].clone()
    };
    let token = approved(all);
    // The members are no scopes of it, and are not granted.
    assert_eq!(
        token["scopes"],
        json!([{"id": all, "verbs": ["execute"]}]),
        "{token}"
    );
    let ran = agent.invoke_with(&token, all, json!({})).expect_ok();
    assert_eq!(ran["ok"], true, "{ran}");
    assert_eq!(told(&ran["output"], &["workflow"]), [json!(all)], "{ran}");
    assert_eq!(
        outcomes(&ran["output"]),
        [json!([one, true]), json!([two, true])],
        "{ran}"
    );
    let direct = agent.invoke_with(&token, two, json!({}));
    direct.expect_error(401, "grant_required");

    let token = approved(mid);
    let failed = agent.invoke_with(&token, mid, json!({})).json();
    let error = &failed["error"];
    assert_eq!(
        told(error, &["code", "capabilityId"]),
        [json!("transport_error"), json!("demo-wf.step.bad")],
        "{failed}"
    );
    let ledger = agent.ledger();
    assert!(
        ledger.iter().all(|grant| grant["verbs"] == json!(["read"])),
        "{ledger:?}"
    );

    // A hidden member denies the whole run, and nothing of it is called.
    let token = approved(mid);
    owner.expose(one, false);
    let hidden = agent.invoke_with(&token, mid, json!({}));
    assert_eq!(
        hidden.expect_error(403, "capability_unexposed")["capabilityId"],
        one
    );
    let events = owner.audit(50);
    let denied = |e: &&Value| e["capabilityId"] == mid && e["outcome"] == "denied";
    assert_eq!(events.iter().filter(denied).count(), 1, "{events:?}");
}

#[test]
fn agent_proposes_a_workflow_and_the_owner_sees_its_calls() {
    let office = Office::with(&filing());
    let agent = &office.agent;
    let mut proposed = filing();
    (proposed["source"], proposed["label"]) = (json!("copies"), json!("Copies"));
    let reply = agent.client().post(
        "/extensions",
        json!({"sessionId": agent.session, "manifest": proposed}),
    );
    let item = text_of(&reply.expect_ok()["pendingId"]);
    let shown = office.gateway.cli(["approvals", "show", &item]);
    let shown = shown.expect_ok();
    for said in [
        "call 1  obsidian.vault.read (read) with",
        "call 2  workspace.write (write) with",
        "once for all of its calls",
    ] {
        assert!(shown.contains(said), "{said}: {shown}");
    }
    // A member that is not there is the owner's to be told, and stands in the way of an approval.
    proposed["source"] = json!("other");
    proposed["capabilities"][0]["members"][0]["id"] = json!("nope.read");
    let reply = agent.client().post(
        "/extensions",
        json!({"sessionId": agent.session, "manifest": proposed}),
    );
    let item = text_of(&reply.expect_ok()["pendingId"]);
    let path = format!("/admin/api/pending/{item}");
    let card = office.gateway.owner().get(&path).expect_ok();
    assert_contains(
        &card["problems"].to_string(),
        "calls nope.read, which is not there",
    );
}
