//! What a source runs is held against what the owner agreed to: a program, a script or a folder of code that is replaced leaves
//! no trace, with and without grants, and whether the gateway ran meanwhile; and code that agents can change is shown as that.

use crate::mcp_changes::card;
use plexus_protocol::Digest;
use plexus_tests::owner::approval;
use plexus_tests::texts::{assert_contains, assert_lacks};
use plexus_tests::{Agent, Folder, Gateway, Response, binaries, waiting::until};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
};

const EXTENSIONS: &str = "/admin/api/extensions";

/// How the gateway meets what was replaced.
const MEETINGS: [&str; 3] = ["while it runs", "before a restart", "while it is down"];

/// Another file that does the same: a program does not mind what lies behind its end.
fn replace(path: &Path) {
    let mut content = fs::read(path).expect("a file");
    content.push(b'\n');
    let (new, mode) = (
        path.with_extension("new"),
        fs::metadata(path).expect("a file").permissions(),
    );
    fs::write(&new, content).expect("a file");
    fs::set_permissions(&new, mode).expect("its mode");
    fs::rename(new, path).expect("it is replaced");
}

/// The page of a source in the console.
fn page_of(source: &str) -> String {
    format!("/admin/console/sources/{source}")
}

fn digest(path: &Path) -> String {
    Digest::of(&fs::read(path).expect("a file")).to_string()
}

/// A gateway, a folder whose files are the traces of calls, and one with what is run.
struct Place {
    gateway: Gateway,
    traces: Folder,
    code: Folder,
}

impl Place {
    fn new() -> Self {
        let (traces, code) = (Folder::empty(), Folder::empty());
        for (name, program) in [("tee", "/usr/bin/tee"), ("cat", "/usr/bin/cat")] {
            fs::copy(program, code.path().join(name)).expect("a copy");
        }
        traces.write("known", "one\n");
        Self {
            gateway: Gateway::start(),
            traces,
            code,
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.code
            .path()
            .canonicalize()
            .expect("it is there")
            .join(name)
    }

    /// An extension that writes with `put`, and reads with `show`.
    fn manifest(&self) -> Value {
        let entry = |name: &str, verb: &str, route: Value, fields: &[&str]| {
            let properties: serde_json::Map<_, _> = fields
                .iter()
                .map(|field| ((*field).to_owned(), json!({"type": "string"})))
                .collect();
            json!({
                "name": name, "kind": "capability", "label": name, "describe": format!("Does {name}."),
                "grants": [verb], "transport": "cli", "route": route,
                "io": {"input": {"type": "object", "properties": properties, "required": fields}},
            })
        };
        json!({
            "manifest": "plexus-extension/0.1", "source": "box", "label": "Box", "transport": "cli",
            "folders": [{"name": "files", "label": "Files", "access": "read-write"}],
            "capabilities": [
                entry("put", "write", json!({"bin": self.at("tee"), "args": ["--", "{folder.files}/{name}"], "stdin": "text"}), &["name", "text"]),
                entry("show", "read", json!({"bin": self.at("cat"), "args": ["--", "{folder.files}/{name}"]}), &["name"]),
            ],
        })
    }

    fn preview(&self, manifest: &Value, folders: &Value) -> Value {
        let body = json!({"manifest": manifest, "folders": folders});
        let path = format!("{EXTENSIONS}/preview");
        self.gateway.owner().post(&path, body).expect_ok()
    }

    fn add(&self, manifest: &Value, folders: &Value) -> Value {
        let seen = self.preview(manifest, folders);
        let body = json!({"manifest": manifest, "folders": folders, "digest": seen["digest"]});
        let added = self.gateway.owner().post(EXTENSIONS, body).expect_ok();
        assert_eq!(added["ok"], true, "{seen} {added}");
        seen
    }

    fn lend(&self) -> Value {
        self.add(&self.manifest(), &json!({"files": self.traces.path()}))
    }

    /// Calls with the owner's approval, as far as the gateway lets it; three times, since what notices may be the first.
    fn insists(&self, agent: &Agent, id: &str, input: &Value) -> Response {
        let (owner, mut reply) = (self.gateway.owner(), agent.invoke(id, input.clone()));
        for _ in 0..3 {
            if let Some(item) = reply.json()["error"]["pendingId"].as_str() {
                let planned = until("its plan, or its end", || {
                    let mut items = owner.pending().into_iter();
                    match items.find(|card| card["pendingId"] == item) {
                        None => Some(None),
                        Some(card) if card["asks"][0]["plan"] == "making" => None,
                        Some(card) => Some(Some(card)),
                    }
                });
                if let Some(card) = planned {
                    let _ = owner.decide(item, approval(&card, "once"));
                }
            }
            reply = agent.invoke(id, input.clone());
            if reply.json()["ok"] == true {
                break;
            }
        }
        reply
    }

    fn put(&self, agent: &Agent, name: &str) -> Response {
        self.insists(agent, "box.put", &json!({"name": name, "text": "a trace"}))
    }

    fn has(&self, name: &str) -> bool {
        self.traces.path().join(name).exists()
    }

    /// It is stopped, and the card names what was found.
    fn stopped(&self, source: &str, digest: &str) -> Value {
        let status = self.gateway.cli(["--json", "status"]).json();
        let sources = status["status"]["sources"]
            .as_array()
            .or(status["sources"].as_array());
        let row = sources
            .expect("sources")
            .iter()
            .find(|row| row["id"] == source);
        let row = row.expect("the source");
        assert_contains(&row["stopped"]["found"].to_string(), digest);
        let asked = card(&self.gateway);
        let id = asked["pendingId"].as_str().expect("an id");
        assert_eq!(row["stopped"]["pendingId"], id, "{row}");
        assert_eq!(row["health"]["status"], "unavailable", "{row}");
        // Each view says that, and names the source.
        let tested = self.gateway.cli(["sources", "test", source]);
        let says = format!("so it is stopped: plexusctl approvals show {id}");
        assert_contains(&tested.expect_status(1).stdout, &says);
        let extensions = self.gateway.cli(["extension", "list"]);
        assert_contains(extensions.expect_ok(), &says);
        for page in ["/admin/console/sources".to_owned(), page_of(source)] {
            let page = self.gateway.console_page(&page);
            assert_contains(&page, "so it is stopped");
            assert_contains(&page, &format!("href=\"/admin/approvals/{id}\""));
            assert_lacks(&page, "approvals show");
        }
        let list = self.gateway.cli(["approvals", "list"]);
        assert_contains(
            list.expect_ok(),
            &format!("{source} is stopped until you decide"),
        );
        let shown = self.gateway.cli(["approvals", "show", id]);
        assert!(shown.expect_ok().contains(digest), "{shown}");
        asked
    }

    /// The revision of the owner's catalogue, and its entry of what writes.
    fn listed(&self) -> (Value, Value) {
        let all = self.gateway.owner().get("/admin/api/capabilities");
        let all = all.expect_ok();
        let mut entries = all["entries"].as_array().expect("entries").iter();
        let put = entries.find(|entry| entry["id"] == "box.put");
        (all["revision"].clone(), put.expect("an entry").clone())
    }

    fn agrees(&self, card: &Value) {
        let id = card["pendingId"].as_str().expect("an id");
        self.gateway.must_cli(["approvals", "approve", id, "--yes"]);
    }

    fn meet(&mut self, how: &str, agent: Agent, change: impl FnOnce(&Self)) -> Agent {
        match how {
            "while it is down" => {
                self.gateway.stop();
                change(self);
                self.gateway.start_again();
            }
            "before a restart" => {
                change(self);
                self.gateway.restart();
            }
            _ => {
                change(self);
                return agent;
            }
        }
        self.gateway.back(&agent)
    }
}

#[test]
fn replaced_program_leaves_no_trace_until_it_is_agreed_to() {
    for granted in [false, true] {
        let mut place = Place::new();
        place.lend();
        let names: &[&str] = if granted {
            &["box.put", "box.show"]
        } else {
            &["box.put"]
        };
        let mut agent = place.gateway.agent_with("caller", names);
        for (turn, how) in MEETINGS.into_iter().enumerate() {
            let (before, during, after) = (
                format!("{turn}-a"),
                format!("{turn}-b"),
                format!("{turn}-c"),
            );
            place.put(&agent, &before).expect_ok();
            assert!(place.has(&before), "the control: {how}");
            let tee = place.at("tee");
            agent = place.meet(how, agent, |_| replace(&tee));
            let refused = place.put(&agent, &during);
            assert!(!place.has(&during), "{how}: {refused}");
            assert_ne!(refused.json()["ok"], true, "{how}: {refused}");
            refused.expect_error(503, "source_unavailable");
            // Its agent names the source, and what helps whatever the owner has done since.
            assert_contains(&refused.text(), "plexusctl approvals; where it has no card");
            assert_contains(&refused.text(), "plexusctl sources resume box");
            let health = &agent.entry("box.put")["health"];
            assert_eq!(health["status"], "unavailable", "{how}: {health}");
            assert_contains(&health["detail"].to_string(), "what it runs has changed");
            let card = place.stopped("box", &digest(&tee));
            let listed = place.listed();
            assert_eq!(listed.1["health"]["status"], "unavailable", "{how}");
            // The whole source: also what runs the program that nobody replaced.
            let read = agent.invoke("box.show", json!({"name": "known"}));
            assert_ne!(read.json()["ok"], true, "{how}: {read}");
            place.agrees(&card);
            // Also to an agent without a grant that is resumed.
            assert_ne!(place.listed().0, listed.0, "another catalogue: {how}");
            // From here on, this is what another program differs from.
            let folders = json!({"files": place.traces.path()});
            let seen = place.preview(&place.manifest(), &folders);
            assert_eq!(seen["changes"], json!([]), "{how}");
            let shown = place.gateway.cli(["extension", "show", "box"]);
            assert_lacks(shown.expect_ok(), "sha256 was");
            place.put(&agent, &after).expect_ok();
            assert!(place.has(&after), "{how}");
            if granted {
                let read = agent.invoke("box.show", json!({"name": "known"}));
                assert_eq!(read.expect_ok()["output"]["text"], "one\n", "{how}");
            }
        }
    }
}

#[test]
fn granted_read_is_not_made_by_another_program() {
    let place = Place::new();
    place.lend();
    let agent = place.gateway.agent_with("caller", &["box.show"]);
    let read = || agent.invoke("box.show", json!({"name": "known"}));
    assert_eq!(read().expect_ok()["output"]["text"], "one\n", "the control");
    // Its worker is up, and would start whatever lies there.
    fs::remove_file(place.at("cat")).expect("it is gone");
    fs::copy("/usr/bin/wc", place.at("cat")).expect("a copy");
    let refused = read();
    assert!(!refused.text().contains("known"), "{refused}");
    refused.expect_error(503, "source_unavailable");
    let mut card = place.stopped("box", &digest(&place.at("cat")));
    // The first program again: the stop ends, and the other one was never agreed to. Grants stay suspended until the owner
    // decides on the card.
    let swap = |program: &str| {
        fs::remove_file(place.at("cat")).expect("it is gone");
        fs::copy(program, place.at("cat")).expect("a copy");
    };
    for way in ["show", "approve", "resume"] {
        swap("/usr/bin/cat");
        let id = card["pendingId"].as_str().expect("an id");
        let said = match way {
            "show" => place.gateway.cli(["approvals", "show", id]),
            "approve" => place.gateway.cli(["approvals", "approve", id, "--yes"]),
            _ => place.gateway.cli(["sources", "resume", "box"]),
        };
        assert_contains(&said.all(), "stopped no more");
        // Asked for again, it resumes nothing either: the card below still waits.
        let again = place.gateway.cli(["sources", "resume", "box"]);
        assert_contains(&again.all(), "until you decide on its card");
        let waiting = place.gateway.owner().pending();
        let id = waiting[0]["pendingId"].as_str().expect("its card");
        let shown = place.gateway.cli(["approvals", "show", id]);
        assert_contains(
            shown.expect_ok(),
            "what it runs is again what you agreed to",
        );
        let approved = place.gateway.cli(["approvals", "approve", id, "--yes"]);
        approved.expect_ok();
        assert_eq!(read().expect_ok()["output"]["text"], "one\n", "{way}");
        swap("/usr/bin/wc");
        read().expect_error(503, "source_unavailable");
        card = place.stopped("box", &digest(&place.at("cat")));
    }
    let doctor = place.gateway.cli(["doctor"]).all();
    assert_contains(&doctor, "fail  source box: is stopped: what it runs is not");
    let explained = place.gateway.cli(["explain", "caller", "box.show"]);
    let next = format!("next: plexusctl approvals show {}", card["pendingId"]);
    assert_contains(explained.expect_ok(), &next.replace('"', ""));
    // Nothing but that card agrees to it.
    assert_ne!(place.gateway.cli(["sources", "resume", "box"]).status, 0);
    place.gateway.cli(["sources", "disable", "box"]).expect_ok();
    place.gateway.cli(["sources", "enable", "box"]).expect_ok();
    assert_ne!(read().json()["ok"], true);
    let id = card["pendingId"].as_str().expect("an id");
    place.gateway.owner().deny(id, "no");
    assert_eq!(place.gateway.owner().pending(), Vec::<Value>::new());
    // Kept stopped, it can be decided on again from its page.
    let page = place.gateway.console_page(&page_of("box"));
    assert_contains(&page, "data-send=\"/sources/box/resume\"");
    let owner = place.gateway.owner();
    let resume = "/admin/console/api/sources/box/resume";
    let again = place.gateway.console().post(resume, json!({}));
    again.expect_error(409, "precondition_changed");
    let id = owner.pending()[0]["pendingId"].clone();
    let id = id.as_str().expect("its card again");
    assert_contains(&again.text(), &format!("approvals show {id}"));
    owner.deny(id, "no");
    assert_ne!(
        place
            .insists(&agent, "box.show", &json!({"name": "known"}))
            .json()["ok"],
        true
    );
    // What was agreed to is there again: nobody is asked.
    fs::copy("/usr/bin/cat", place.at("cat")).expect("a copy");
    place.gateway.cli(["sources", "disable", "box"]).expect_ok();
    place.gateway.cli(["sources", "enable", "box"]).expect_ok();
    place
        .insists(&agent, "box.show", &json!({"name": "known"}))
        .expect_ok();
}

#[test]
fn replaced_server_leaves_no_trace_until_it_is_agreed_to() {
    for (what, granted) in [
        ("server", false),
        ("lib/a.js", false),
        ("server", true),
        ("lib/a.js", true),
    ] {
        let mut place = Place::new();
        fs::create_dir(place.at("lib")).expect("a folder");
        place.code.write("lib/a.js", "one");
        fs::copy(binaries::path("plexus-mcp-rude"), place.at("server")).expect("a copy");
        place.traces.write("words", "Does");
        let traces = place.traces.path().canonicalize().expect("a folder");
        let (folder, lib) = (
            traces.display().to_string(),
            place.at("lib").display().to_string(),
        );
        let program = place.at("server").display().to_string();
        let added = place.gateway.cli([
            "mcp", "add", "rude", "--folder", &folder, "--code", &lib, "--read", "peek", "--yes",
            "--", &program, &folder,
        ]);
        added.expect_ok();
        let names: &[&str] = if granted {
            &["rude.write", "rude.peek"]
        } else {
            &["rude.write"]
        };
        let mut agent = place.gateway.agent_with("caller", names);
        let write = |place: &Place, agent: &Agent, name: &str| {
            place.insists(agent, "rude.write", &json!({"path": traces.join(name)}))
        };
        for how in ["while it runs", "while it is down"] {
            let (before, during, after) =
                (format!("{how} a"), format!("{how} b"), format!("{how} c"));
            write(&place, &agent, &before).expect_ok();
            assert!(place.has(&before), "the control: {what} {how}");
            let changed = place.at(what);
            agent = place.meet(how, agent, |_| replace(&changed));
            let refused = write(&place, &agent, &during);
            assert!(!place.has(&during), "{what} {how}: {refused}");
            refused.expect_error(503, "source_unavailable");
            let sha = match what {
                "server" => digest(&changed),
                _ => format!("{lib} as they are with the digest "),
            };
            let card = card(&place.gateway);
            let id = card["pendingId"].as_str().expect("an id");
            let shown = place.gateway.cli(["approvals", "show", id]);
            assert!(shown.expect_ok().contains(&sha), "{shown}");
            let named = format!("of the files in {lib}: changed \"a.js\"");
            assert_eq!(shown.stdout.contains(&named), what != "server", "{shown}");
            if !granted {
                // The owner's own comparison names it too.
                let compared = place.gateway.cli(["mcp", "refresh", "rude"]).all();
                let (_, differs) = compared
                    .split_once("since you agreed to it:\n  what it runs\n")
                    .expect(&compared);
                assert_contains(differs, if what == "server" { &sha } else { &named });
            }
            place.agrees(&card);
            write(&place, &agent, &after).expect_ok();
            assert!(place.has(&after), "{what} {how}");
        }
    }
}

#[test]
fn replaced_script_of_an_argument_leaves_no_trace() {
    let place = Place::new();
    let scripts = Folder::empty();
    let traces = place.traces.path().canonicalize().expect("a folder");
    let script =
        |name: &str| scripts.write("code.sed", format!("w {}\n", traces.join(name).display()));
    script("agreed");
    let mut manifest = place.manifest();
    manifest["folders"] = json!([
        {"name": "files", "label": "Files", "access": "read-write"},
        {"name": "lib", "label": "Scripts", "access": "read"},
    ]);
    manifest["capabilities"][0]["route"] = json!({
        "bin": "sed", "args": ["--quiet", "--file={folder.lib}/code.sed", "--", "{folder.files}/{name}"],
    });
    manifest["capabilities"][0]["io"]["input"] =
        json!({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]});
    let seen = place.add(&manifest, &json!({"files": traces, "lib": scripts.path()}));
    let sha = digest(&scripts.path().join("code.sed"));
    assert_contains(&seen["surface"]["sections"].to_string(), &sha);
    let agent = place.gateway.agent_with("caller", &["box.put"]);
    let input = json!({"name": "known"});
    place.insists(&agent, "box.put", &input).expect_ok();
    assert!(place.has("agreed"), "the control");
    script("other");
    let refused = place.insists(&agent, "box.put", &input);
    assert!(!place.has("other"), "{refused}");
    refused.expect_error(503, "source_unavailable");
    let card = place.stopped("box", &digest(&scripts.path().join("code.sed")));
    place.agrees(&card);
    place.insists(&agent, "box.put", &input).expect_ok();
    assert!(place.has("other"));
    // Agreed to anew without it: its workers compare with just that, so that it stops the source where it is back.
    for file in [scripts.path().join("code.sed"), traces.join("other")] {
        fs::remove_file(file).expect("it is gone");
    }
    place.add(&manifest, &json!({"files": traces, "lib": scripts.path()}));
    script("other");
    let refused = place.insists(&agent, "box.put", &input);
    assert!(!place.has("other"), "{refused}");
    refused.expect_error(503, "source_unavailable");
    place.stopped("box", &digest(&scripts.path().join("code.sed")));
}

/// The workspace whose folder agents may write.
fn workspace(place: &Place, folder: &Path) {
    let folder = folder.display().to_string();
    place
        .gateway
        .must_cli(["sources", "add", "workspace-dir", &folder, "--id", "desk"]);
}

#[test]
fn code_where_agents_may_write_is_shown_as_that() {
    // A folder that agents may write comes to hold the program.
    let place = Place::new();
    place.lend();
    let agent = place.gateway.agent_with("caller", &["box.put"]);
    place.put(&agent, "before").expect_ok();
    workspace(&place, &place.at(""));
    let refused = place.put(&agent, "unseen");
    assert!(!place.has("unseen"), "{refused}");
    refused.expect_error(503, "source_unavailable");
    let asked = card(&place.gateway);
    let shown = place.gateway.cli([
        "approvals",
        "show",
        asked["pendingId"].as_str().expect("an id"),
    ]);
    assert_contains(shown.expect_ok(), "agents can change this code");
    let where_it_lies = format!("{} by the source desk", place.at("tee").display());
    assert!(shown.stdout.contains(&where_it_lies), "{shown}");
    place.agrees(&asked);
    place.put(&agent, "seen").expect_ok();
    assert!(place.has("seen"));
    // Each change stops it again.
    replace(&place.at("tee"));
    let refused = place.put(&agent, "changed");
    assert!(!place.has("changed"), "{refused}");
    place.stopped("box", &digest(&place.at("tee")));
    // The folder is gone: what is left to decide is the program alone.
    place.gateway.cli(["sources", "remove", "desk"]).expect_ok();
    let asked = card(&place.gateway);
    assert!(!asked.to_string().contains("agents can change"), "{asked}");

    // A program comes to lie in one: the preview says so, and agreeing to that is agreeing to it.
    let place = Place::new();
    workspace(&place, &place.at(""));
    let seen = place.lend();
    assert_contains(
        &seen["surface"]["sections"].to_string(),
        "agents can change",
    );
    let agent = place.gateway.agent_with("caller", &["box.put"]);
    place.put(&agent, "seen").expect_ok();
    assert!(place.has("seen"));
    replace(&place.at("tee"));
    let refused = place.put(&agent, "changed");
    assert!(!place.has("changed"), "{refused}");
    place.stopped("box", &digest(&place.at("tee")));
}

#[test]
fn source_that_is_moved_onto_code_stops_what_runs_it() {
    let place = Place::new();
    place.lend();
    let elsewhere = Folder::empty();
    workspace(&place, &elsewhere.path());
    let agent = place.gateway.agent_with("caller", &["box.put"]);
    place.put(&agent, "apart").expect_ok();
    assert!(place.has("apart"), "the control");
    let moved = format!("path={}", place.at("").display());
    let set = ["sources", "set", "desk", &moved, "--yes"];
    place.gateway.cli(set).expect_ok();
    let refused = place.put(&agent, "moved");
    assert!(!place.has("moved"), "{refused}");
    refused.expect_error(503, "source_unavailable");
    let asked = card(&place.gateway).to_string();
    assert!(asked.contains("agents can change"), "{asked}");
}

#[test]
fn server_whose_script_its_own_calls_change_is_shown_as_that() {
    let (gateway, folder) = (Gateway::start(), Folder::empty());
    folder.write("words", "Does");
    let path = folder.path().canonicalize().expect("a folder");
    folder.write("server.py", "print('code')\n");
    let (words, script) = (
        path.display().to_string(),
        path.join("server.py").display().to_string(),
    );
    let program = binaries::path("plexus-mcp-rude").display().to_string();
    let body = json!({
        "name": "rude", "program": program, "arguments": [words, script], "folders": [words],
    });
    let seen = gateway
        .owner()
        .must_post(&format!("{EXTENSIONS}/preview"), body);
    let expected = format!("changeable {script} by its own calls in {words}");
    assert_eq!(seen["changeable"], json!([expected]), "{seen}");
    assert_contains(
        &seen["pinned"].to_string(),
        &digest(&path.join("server.py")),
    );
}
