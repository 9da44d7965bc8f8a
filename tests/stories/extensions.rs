//! Extensions by manifest: commands of the machine, each run in a cage, and manifests that ask for more than they may.

use plexus_tests::terminal::Shell;
use plexus_tests::texts::{assert_contains, assert_lacks, assert_like};
use plexus_tests::waiting::until_true;
use plexus_tests::{Agent, Folder, Gateway, Response, binaries, programs};
use serde_json::{Value, json};
use std::{
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

const PREVIEW: &str = "/admin/api/extensions/preview";
const EXTENSIONS: &str = "/admin/api/extensions";

/// A capability whose fields are texts that it requires.
fn capability(name: &str, verb: &str, route: &Value) -> Value {
    let mut words: Vec<&str> = route["args"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    words.extend(route["stdin"].as_str());
    let fields: Vec<&str> = ["name", "text"]
        .into_iter()
        .filter(|field| {
            words
                .iter()
                .any(|w| w == field || w.contains(&format!("{{{field}}}")))
        })
        .collect();
    let properties: serde_json::Map<String, Value> = fields
        .iter()
        .map(|field| ((*field).to_owned(), json!({"type": "string"})))
        .collect();
    json!({
        "name": name, "kind": "capability", "label": name, "describe": format!("Does {name}."),
        "grants": [verb], "transport": "cli", "route": route,
        "io": {"input": {"type": "object", "properties": properties, "required": fields}},
    })
}

fn manifest(capabilities: &[Value]) -> Value {
    json!({
        "manifest": "plexus-extension/0.1", "source": "box", "label": "Box", "transport": "cli",
        "folders": [{"name": "files", "label": "Files", "access": "read-write"}],
        "capabilities": capabilities,
    })
}

/// A gateway and a folder that an extension is given.
struct World {
    gateway: Gateway,
    folder: Folder,
}

impl World {
    fn new() -> Self {
        Self {
            gateway: Gateway::start(),
            folder: Folder::empty(),
        }
    }

    fn preview(&self, manifest: &Value) -> Value {
        let body = json!({"manifest": manifest, "folders": {"files": self.folder.path()}});
        self.gateway.owner().post(PREVIEW, body).expect_ok()
    }

    fn add_as(&self, manifest: &Value, digest: &Value) -> Response {
        let body = json!({
            "manifest": manifest, "folders": {"files": self.folder.path()}, "digest": digest,
        });
        self.gateway.owner().post(EXTENSIONS, body)
    }

    /// Adds it as it is previewed; gives what the preview says.
    fn add(&self, manifest: &Value) -> Value {
        let seen = self.preview(manifest);
        let added = self.add_as(manifest, &seen["digest"]).expect_ok();
        assert_eq!(added["ok"], true, "{seen} {added}");
        seen
    }

    fn with(capabilities: &[Value]) -> Self {
        let world = Self::new();
        world.add(&manifest(capabilities));
        world
    }

    fn agent(&self, names: &[&str]) -> Agent {
        self.gateway.agent_of("caller", "box", names)
    }

    /// Asks, has the owner approve, and calls.
    fn approved(&self, agent: &Agent, id: &str, input: &Value) -> Response {
        agent.approved(&self.gateway.owner(), id, input.clone())
    }
}

fn tee() -> Value {
    json!({"bin": "tee", "args": ["--", "{folder.files}/{name}"], "stdin": "text"})
}

#[test]
fn read_writes_nothing_and_write_asks_each_time() {
    let world = World::with(&[
        capability("peek", "read", &tee()),
        capability("put", "write", &tee()),
    ]);
    let agent = world.agent(&["peek", "put"]);
    let input = json!({"name": "made", "text": "one\nline"});
    let lie = agent.invoke("box.peek", input.clone());
    let error = &lie.json()["error"];
    assert_eq!(error["code"], "transport_error", "{lie}");
    assert_eq!(error["detail"]["reason"], "command_failed", "{lie}");
    assert_eq!(error["effect"], "none", "{lie}");
    assert_eq!(world.folder.tree(), Vec::<String>::new());
    // The control: the same run of an effect, which the owner sees before.
    let item = agent.must_ask("box.put", input.clone());
    let card = world.gateway.owner().card(&item).to_string();
    for said in [
        "/usr/bin/tee",
        "argument 2",
        "no network",
        "one\\nline",
        "cannot preview",
    ] {
        assert!(card.contains(said), "{said}: {card}");
    }
    let reaches = format!(
        "no network, no other program; reads and writes {}\"",
        world.folder.path().display()
    );
    assert_contains(&card, &reaches);
    world.gateway.owner().approve(&item, "once");
    let done = agent.must("box.put", input);
    assert_eq!(
        done["output"],
        json!({"status": 0, "text": "one\nline"}),
        "{done}"
    );
    assert_eq!(world.folder.read("made"), "one\nline");
    // Once was once, and no window is longer.
    agent.must_ask("box.put", json!({"name": "other", "text": ""}));
    let standing = world.gateway.owner().grant("caller", "box.put", "7d");
    assert_contains(&standing.text(), "is approved on its card");
}

#[test]
fn value_stays_one_argument() {
    let echo =
        json!({"bin": "printf", "args": ["[%s]", "--name={text}", "{name}", "--", "{text}"]});
    let world = World::with(&[capability("say", "read", &echo)]);
    let agent = world.agent(&["say"]);
    let odd = "-n $(id) `id` ; | > x * {name} \u{e9}\n";
    let said = agent.must("box.say", json!({"name": "a b", "text": odd}));
    let expected = format!("[--name={odd}][a b][--][{odd}]");
    assert_eq!(said["output"]["text"], expected.as_str(), "{said}");
    for option in ["-v", "--version", "-"] {
        let refused = agent.invoke("box.say", json!({"name": option, "text": ""}));
        let error = &refused.json()["error"];
        assert_eq!(error["effect"], "none", "{refused}");
        let words = error["message"].as_str().expect("words");
        assert!(words.contains("would be an option"), "{words}");
    }
    agent
        .invoke("box.say", json!({"name": "x"}))
        .expect_error(422, "schema_validation_failed");
}

#[test]
fn run_is_held_to_its_limits() {
    let slow = json!({"bin": "sleep", "args": ["600"], "timeoutMs": 300});
    let flood = json!({"bin": "yes", "outputBytes": 1000});
    let fails = json!({"bin": "cat", "args": ["/no such file"]});
    let parsed = json!({"bin": "cat", "stdin": "text", "json": true});
    let variable = json!({"bin": "printenv", "args": ["COLOUR"], "env": {"COLOUR": "green"}});
    let miss = json!({"bin": "grep", "args": ["--regexp={text}", "--", "/dev/null"], "exitStatuses": [0, 1]});
    let secret = json!({"bin": "cat", "args": ["--", "{name}"]});
    let world = World::with(&[
        capability("slow", "read", &slow),
        capability("slow-write", "write", &slow),
        capability("flood", "read", &flood),
        capability("fails", "read", &fails),
        capability("parsed", "read", &parsed),
        capability("variable", "read", &variable),
        capability("miss", "read", &miss),
        capability("secret", "read", &secret),
    ]);
    let agent = world.agent(&[
        "slow",
        "slow-write",
        "flood",
        "fails",
        "parsed",
        "variable",
        "miss",
        "secret",
    ]);
    let error = |name: &str, input: Value| {
        agent.invoke(&format!("box.{name}"), input).json()["error"].clone()
    };
    let ended = error("slow", json!({}));
    let like = json!({"effect": "none", "detail": {"reason": "timed_out"}});
    assert_like(&ended, &like);
    let ended = world.approved(&agent, "box.slow-write", &json!({}));
    assert_eq!(ended.json()["error"]["effect"], "unknown", "{ended}");
    assert_eq!(error("flood", json!({}))["detail"]["reason"], "too_large");
    let failed = error("fails", json!({}));
    let words = failed["message"].as_str().expect("words");
    assert_contains(words, "status 1: ");
    assert_contains(words, "No such file");
    assert_eq!(
        error("parsed", json!({"text": "{\"a\":1,"}))["detail"]["reason"],
        "not_json"
    );
    // The key of the gateway, by its path.
    let key = world.gateway.state().join("connection-key");
    let refused = error("secret", json!({"name": key}));
    let words = refused["message"].as_str().expect("words");
    let is_by_seatbelt = cfg!(target_os = "macos") && words.contains("Operation not permitted");
    assert!(
        is_by_seatbelt || words.contains("Permission denied"),
        "{words}"
    );
    // The controls.
    let output =
        |name: &str, input: Value| agent.must(&format!("box.{name}"), input)["output"].clone();
    assert_eq!(
        output("parsed", json!({"text": "{\"a\": [1]}"})),
        json!({"status": 0, "json": {"a": [1]}})
    );
    // A program that found nothing prints nothing.
    assert_eq!(
        output("parsed", json!({"text": "\n"})),
        json!({"status": 0, "json": null})
    );
    assert_eq!(output("variable", json!({}))["text"], "green\n");
    assert_eq!(
        output("miss", json!({"text": "x"})),
        json!({"status": 1, "text": ""})
    );
    world.folder.write("seen", "text");
    let path = world.folder.path().join("seen");
    assert_eq!(output("secret", json!({"name": path}))["text"], "text");
}

/// A change of a manifest that is refused, and a part of the words for it.
type Bad = (&'static str, fn(&mut Value, &Path), &'static str);

#[test]
fn manifest_that_asks_for_more_is_refused() {
    let world = World::new();
    let good = manifest(&[capability(
        "find",
        "read",
        &json!({"bin": "grep", "args": ["--regexp={text}", "--", "{folder.files}"]}),
    )]);
    let elsewhere = Folder::empty();
    symlink("/usr/bin/grep", elsewhere.path().join("link")).expect("a link");
    let copied = |name: &str, mode| {
        std::fs::copy("/usr/bin/grep", elsewhere.path().join(name)).expect("a copy");
        let path = elsewhere.path().join(name);
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("a mode");
    };
    copied("python3.11", 0o755);
    symlink("python3.11", elsewhere.path().join("py")).expect("a link");
    copied("setuid", 0o4755);
    copied("data", 0o644);
    elsewhere.program("tool", "#!/bin/sh\n");
    let grep = std::fs::read("/usr/bin/grep").expect("a program");
    let inside = world.folder.program("grep", grep);

    const ROUTE: &str = "/capabilities/0/route";
    fn set(manifest: &mut Value, at: &str, value: Value) {
        let (parent, key) = at.rsplit_once('/').expect("a pointer");
        manifest.pointer_mut(parent).expect("a place")[key] = value;
    }
    fn bin(manifest: &mut Value, path: &Path) {
        set(manifest, &format!("{ROUTE}/bin"), json!(path));
    }
    fn args(manifest: &mut Value, args: &[&str]) {
        set(manifest, &format!("{ROUTE}/args"), json!(args));
    }
    #[rustfmt::skip]
    let table: &[Bad] = &[
        ("format", |m, _| set(m, "/manifest", json!("plexus-extension/9")), "not \"plexus-extension/0.1\""),
        ("unknown member", |m, _| set(m, "/install", json!("x")), "unknown field `install`"),
        ("unknown in a route", |m, _| set(m, "/capabilities/0/route/shell", json!(true)), "unknown field `shell`"),
        (
            "unknown in a route, with its capability",
            |m, _| {
                set(m, "/capabilities/0/name", json!("odd"));
                set(m, "/capabilities/0/route/shell", json!(true));
            },
            "capability \"odd\": route: unknown field `shell`",
        ),
        ("another transport", |m, _| set(m, "/transport", json!("mesh")), "unknown variant `mesh`"),
        ("an MCP server", |m, _| set(m, "/transport", json!("mcp")), "says itself which tools it has"),
        (
            "a tool of an MCP server",
            |m, _| set(m, "/capabilities/0/transport", json!("mcp")),
            "none stands in a manifest of another transport",
        ),
        (
            "a reference outward",
            |m, _| {
                let outward = json!({"type": "string", "$ref": "https://example.com/schema.json"});
                set(m, "/capabilities/0/io/input/properties/text", outward);
            },
            "example.com",
        ),
        (
            "a pattern that nobody would hold",
            |m, _| {
                let ahead = json!({"type": "string", "pattern": "^(?!x)"});
                set(m, "/capabilities/0/io/input/properties/text", ahead);
            },
            "capability \"find\", input: the pattern \"^(?!x)\" cannot be evaluated here",
        ),
        (
            "a required field that it does not have",
            |m, _| {
                let required = json!(["text", "txt"]);
                set(m, "/capabilities/0/io/input/required", required);
            },
            "requires \"txt\", which is none of its properties",
        ),
        (
            "a schema of 70 KiB",
            |m, _| {
                let words = json!("x".repeat(70 << 10));
                set(m, "/capabilities/0/io/input/description", words);
            },
            "more than 64 KiB",
        ),
        ("a transport of its own", |m, _| set(m, "/transport", json!("local-rest")), "another transport than the manifest"),
        (
            "a secret of a command",
            |m, _| {
                set(
                    m,
                    "/secrets",
                    json!([{"name": "token", "attach": "bearer"}]),
                );
            },
            "are for the transport local-rest",
        ),
        ("no id", |m, _| set(m, "/source", json!("Two Words")), "not a source id"),
        ("first-party id", |m, _| set(m, "/source", json!("workspace")), "looks like, an id of"),
        ("imitated id", |m, _| set(m, "/source", json!("w0rk-space")), "looks like, an id of"),
        ("reserved id", |m, _| set(m, "/source", json!("admin")), "Plexus's own"),
        ("id of Plexus", |m, _| set(m, "/source", json!("plexus-notes")), "Plexus's own"),
        ("imitated label", |m, _| set(m, "/label", json!("0bsidian vault")), "one of Plexus's own sources"),
        ("label of two lines", |m, _| set(m, "/label", json!("Box\nowner: yes")), "is not one line"),
        ("no capability", |m, _| set(m, "/capabilities", json!([])), "0 capabilities"),
        (
            "300 capabilities",
            |m, _| {
                let one = m["capabilities"][0].clone();
                let many = (0..300).map(|n| {
                    let mut one = one.clone();
                    one["name"] = json!(format!("find{n}"));
                    one
                });
                let many: Vec<_> = many.collect();
                set(m, "/capabilities", json!(many));
            },
            "300 capabilities, not 1 to 256",
        ),
        (
            "the same name twice",
            |m, _| {
                let one = m["capabilities"][0].clone();
                set(m, "/capabilities", json!([one, one]));
            },
            "capability \"find\": its name is there twice",
        ),
        ("no verb", |m, _| set(m, "/capabilities/0/grants", json!([])), "no verb"),
        ("a rule in a label", |m, _| set(m, "/folders/0/label", json!("Files\n(allow network*)")), "label of the folder"),
        ("a folder named as a parameter", |m, _| set(m, "/folders/0/name", json!("program")), "no folder can have the name"),
        ("a folder that is not declared", |m, _| args(m, &["--regexp={text}", "{folder.other}"]), "folder that is not declared"),
        ("a value among options", |m, _| args(m, &["-e{text}"]), "could become an option"),
        ("a value as the option", |m, _| args(m, &["--{text}=x"]), "could become an option"),
        ("a field that is not there", |m, _| args(m, &["--", "{text}", "{more}"]), "field \"more\": is no property of the input"),
        (
            "a list as arguments",
            |m, _| {
                set(
                    m,
                    "/capabilities/0/io/input/properties/text/type",
                    json!("array"),
                );
            },
            "is no property of the input of type",
        ),
        (
            "a field that may be left out",
            |m, _| {
                set(m, "/capabilities/0/io/input/required", json!([]));
                args(m, &["-e", "{text}"]);
            },
            "make it required",
        ),
        ("a field that nothing uses", |m, _| args(m, &["x"]), "no argument uses it"),
        (
            "an open input",
            |m, _| {
                set(
                    m,
                    "/capabilities/0/io/input/additionalProperties",
                    json!(true),
                );
            },
            "additionalProperties is not false",
        ),
        (
            "no schema",
            |m, _| {
                set(
                    m,
                    "/capabilities/0/io/input",
                    json!({"type": "object", "properties": 3}),
                );
            },
            "no property of the input",
        ),
        ("a brace alone", |m, _| args(m, &["{text}", "{"]), "a brace stands alone"),
        (
            "a variable of the loader",
            |m, _| {
                set(
                    m,
                    "/capabilities/0/route/env",
                    json!({"LD_PRELOAD": "/tmp/x.so"}),
                );
            },
            "run other code than its own",
        ),
        ("a status of the sandbox", |m, _| set(m, "/capabilities/0/route/exitStatuses", json!([64])), "above 63"),
        ("a run without an end", |m, _| set(m, "/capabilities/0/route/timeoutMs", json!(3_600_000)), "not 1 to 600,000 ms"),
        ("a shell", |m, _| bin(m, Path::new("sh")), "sh runs what its arguments"),
        ("a shell by its file", |m, _| bin(m, Path::new("/usr/bin/dash")), "runs what its arguments"),
        ("an interpreter", |m, at| bin(m, &at.join("python3.11")), "runs what its arguments"),
        ("a link to an interpreter", |m, at| bin(m, &at.join("py")), "python3.11 runs what its arguments"),
        ("a link", |m, at| bin(m, &at.join("link")), "is a link to"),
        (
            "a script",
            |m, at| bin(m, &at.join("tool")),
            "is a script, which its interpreter runs: name a compiled program; the owner lends a script that serves MCP with: plexusctl mcp add ",
        ),
        ("another user's rights", |m, at| bin(m, &at.join("setuid")), "another user's rights"),
        ("no program", |m, at| bin(m, &at.join("data")), "is no program"),
        ("a relative path", |m, _| bin(m, Path::new("./grep")), "neither a bare name"),
        ("a missing program", |m, _| bin(m, Path::new("no-such-program")), "install it, or name it by its absolute path"),
    ];
    for (what, change, words) in table {
        let mut bad = good.clone();
        change(&mut bad, &elsewhere.path());
        let seen = world.preview(&bad);
        assert_eq!(seen["valid"], false, "{what}: {seen}");
        assert!(
            seen["reasons"]
                .to_string()
                .replace("\\\"", "\"")
                .contains(words),
            "{what}: {seen}"
        );
        let added = world.add_as(&bad, &json!("0"));
        let status = if *what == "no capability" { 422 } else { 200 };
        assert_eq!(added.status, status, "{what}: {added}");
        let added = added.json();
        assert_eq!(added["ok"], false, "{what}: {added}");
    }
    let mut inner = good.clone();
    bin(&mut inner, &inside);
    let seen = world.preview(&inner);
    assert_contains(&seen["reasons"].to_string(), "keep programs elsewhere");
    // A folder is wrong on the command line, not in the manifest.
    let file = elsewhere.path().join("good.json");
    std::fs::write(&file, good.to_string()).expect("a file");
    let file = file.display().to_string();
    let state = format!("files={}", world.gateway.state().display());
    for (folder, next) in [
        (None, "give --folder files=PATH"),
        (Some("files="), "give --folder files=PATH"),
        (Some(&*state), "give --folder files=PATH"),
        (
            Some("other=/"),
            "name a folder of the manifest with --folder",
        ),
    ] {
        let given = folder.map(|folder| ["--folder", folder]);
        let words = ["extension", "preview", &file].into_iter();
        let said = world.gateway.cli(words.chain(given.into_iter().flatten()));
        assert_ne!(said.status, 0, "{folder:?}: {said}");
        assert_contains(&said.all(), &format!("next: {next}"));
    }
    // The same member twice, as a file and as a body.
    let twice = good
        .to_string()
        .replacen("\"label\":", "\"label\":\"Other\",\"label\":", 1);
    let file = elsewhere.path().join("twice.json");
    std::fs::write(&file, &twice).expect("a file");
    let said = world
        .gateway
        .cli(["extension", "preview", &file.display().to_string()]);
    assert!(said.status != 0 && said.all().contains("twice"), "{said}");
    let body = format!("{{\"manifest\":{twice}}}");
    let raw = world.gateway.owner().client.request("POST", PREVIEW);
    let reply = raw
        .header("content-type", "application/json")
        .bytes(body)
        .send();
    assert_eq!(reply.status, 400, "{reply}");
    assert!(
        !world.gateway.state().join("extensions").exists(),
        "a preview adds nothing"
    );
    // The control.
    world.add(&good);
    // An id that is taken by another kind of source.
    let program = binaries::path("plexus-mcp-rude").display().to_string();
    let rude = Folder::empty();
    rude.write("words", "Does");
    let path = rude.path().display().to_string();
    world.gateway.must_cli([
        "mcp", "add", "rude", "--folder", &path, "--yes", "--", &program, &path,
    ]);
    let mut taken = good;
    (taken["source"], taken["label"]) = (json!("rude"), json!("Rude"));
    // An agent is refused where it sees that source, and learns nothing of one that is hidden from it.
    let agent = world.gateway.agent_with("coder", &["rude.ask"]);
    let propose = || {
        let body = json!({"manifest": taken});
        agent.client().post("/extensions", body).json()
    };
    let sees: Vec<String> = agent.sees();
    let lent: Vec<&String> = sees.iter().filter(|id| id.starts_with("rude.")).collect();
    assert!(!lent.is_empty(), "{sees:?}");
    assert_contains(&propose()["reason"].to_string(), "a source rude already");
    for id in lent {
        world.gateway.owner().expose(id, false);
    }
    assert_eq!(propose()["status"], "grant_pending_user");
    bin(&mut taken, Path::new("no-such-program"));
    args(&mut taken, &["-e{text}"]);
    set(&mut taken, "/folders/0/label", json!("Plexus"));
    let reasons = world.preview(&taken)["reasons"].to_string();
    for words in [
        "a source rude already",
        "it is not in",
        "could become an option",
        "speaks of Plexus",
    ] {
        assert_contains(&reasons, words);
    }
    let listed = world.gateway.cli(["extension", "list"]);
    assert_contains(listed.expect_ok(), "Box");
    assert_lacks(&listed.stdout, "rude");
}

#[test]
fn change_suspends_until_it_is_agreed_to() {
    let mut world = World::new();
    let programs = Folder::empty();
    let tool = programs.path().join("tool");
    let put = |program: &str| {
        let new = programs.path().join("new");
        std::fs::copy(program, &new).expect("a copy");
        std::fs::rename(new, &tool).expect("it is replaced");
    };
    put("/usr/bin/cat");
    let route = json!({"bin": tool, "args": ["--", "{folder.files}/{name}"]});
    let first = manifest(&[capability("show", "read", &route)]);
    let seen = world.preview(&first);
    // Replaced between the preview and the act.
    put("/usr/bin/head");
    let refused = world.add_as(&first, &seen["digest"]);
    refused.expect_error(409, "precondition_changed");
    assert!(!world.gateway.state().join("extensions").exists());
    put("/usr/bin/cat");
    world.add_as(&first, &seen["digest"]).expect_ok();
    world.folder.write("a", "one\ntwo\n");
    let agent = world.agent(&["show"]);
    let input = json!({"name": "a"});
    let text = |agent: &Agent| agent.must("box.show", input.clone())["output"]["text"].clone();
    assert_eq!(text(&agent), "one\ntwo\n");

    // Another program, once the worker starts again.
    put("/usr/bin/head");
    world.gateway.restart();
    let agent = world.gateway.back(&agent);
    until_true("the stopped source", || {
        let reply = agent.invoke("box.show", input.clone());
        reply.status == 503
    });
    let shown = world.gateway.cli(["extension", "show", "box"]);
    let shown = shown.expect_ok();
    for said in ["the program", "sha256 was", "stopped until you agree again"] {
        assert!(shown.contains(said), "{said}: {shown}");
    }
    let seen = world.add(&first);
    let changes = seen["changes"].to_string();
    assert!(changes.contains("sha256 was"), "{changes}");
    assert_eq!(text(&agent), "one\ntwo\n");

    // Another manifest: what was agreed to serves until the owner agrees to the new one.
    let route = json!({"bin": tool, "args": ["--lines=1", "--", "{folder.files}/{name}"]});
    let second = manifest(&[
        capability("show", "read", &route),
        capability("put", "write", &tee()),
    ]);
    let seen = world.preview(&second);
    let changes = seen["changes"].to_string();
    for said in ["box.show: arguments was", "box.put is new", "tee is new"] {
        assert!(changes.contains(said), "{said}: {changes}");
    }
    assert_eq!(text(&agent), "one\ntwo\n");
    world.add(&second);
    assert_eq!(text(&agent), "one\n");
    let unchanged = world.preview(&second);
    assert_eq!(unchanged["changes"], json!([]));

    // Kept by a later version: this one reads nothing of it, and shows all of it as new.
    let file = world.gateway.state().join("extensions/box.json");
    let kept = std::fs::read_to_string(&file).expect("it is kept");
    let later = kept.replacen('{', "{\"later\": 1,", 1);
    std::fs::write(&file, later).expect("it is written");
    world.gateway.restart();
    let agent = world.gateway.back(&agent);
    let changes = world.add(&second)["changes"].to_string();
    for said in ["agreed to before cannot be read", "box.show is new"] {
        assert_contains(&changes, said);
    }
    assert_eq!(text(&agent), "one\n");

    // It is there after a restart, and gone with all that it kept when it is removed.
    world.gateway.restart();
    let agent = world.gateway.back(&agent);
    assert_eq!(text(&agent), "one\n");
    world.gateway.must_cli(["extension", "remove", "box"]);
    assert!(!agent.sees().iter().any(|id| id.starts_with("box.")));
    assert!(!world.gateway.state().join("extensions/box.json").exists());
    assert_eq!(world.folder.tree(), ["a"]);
}

#[test]
fn capabilities_that_go_and_come_back_are_added_each_time() {
    let world = World::new();
    let put = capability("put", "write", &tee());
    let route = json!({"bin": "cat", "args": ["--", "{folder.files}/{name}"]});
    let both = manifest(&[capability("show", "read", &route), put.clone()]);
    let one = manifest(&[put]);
    world.add(&both);
    let agent = world.agent(&["show", "put"]);
    for (turn, next) in [&one, &both, &one, &both].into_iter().enumerate() {
        world.add(next);
        let waiting = world.gateway.owner().pending();
        assert_eq!(waiting, Vec::<Value>::new());
        let input = json!({"name": format!("made-{turn}"), "text": "one\n"});
        world.approved(&agent, "box.put", &input).expect_ok();
    }
    let shown = agent.must("box.show", json!({"name": "made-0"}));
    assert_eq!(shown["output"]["text"], "one\n");
}

#[test]
fn owner_adds_one_by_the_agents_program_too_and_an_agent_does_not() {
    let world = World::new();
    let draft = manifest(&[capability(
        "say",
        "read",
        &json!({"bin": "/usr/bin/echo", "args": ["{text}"]}),
    )]);
    world.folder.write("box.json", draft.to_string());
    let file = world.folder.path().join("box.json").display().to_string();
    let files = format!("files={}", world.folder.path().display());
    let state = world.gateway.state();
    let agents = |words: &[&str], pinned: &str| {
        let mut command = programs::command(&binaries::path("plexus"), world.gateway.home());
        command
            .env("PLEXUS_HOME", &state)
            .env("PLEXUS_PINNED", pinned);
        programs::run({
            command.arg("extension").args(words);
            command
        })
    };
    // `plexusctl` refuses a caller that is no person at a terminal; an agent's own command does not even ask it.
    let refused = agents(&["add", &file, "--folder", &files], "");
    assert_contains(&refused.expect_status(77).all(), "owner_only");
    let pinned = agents(&["list"], "1");
    assert_contains(&pinned.expect_status(77).all(), "extension propose FILE");

    let mut owner = Shell::open(world.gateway.home(), "owner$ ", 120, 200);
    owner.runs(&format!(
        "export PATH={}:$PATH",
        binaries::folder().display()
    ));
    let plexus = format!("plexus --home {} extension", state.display());
    let stored = state.join("extensions/box.json");
    let seen = owner.runs(&format!("{plexus} preview {file} --folder {files}"));
    assert_contains(&seen, "\ndigest       ");
    assert!(!stored.exists(), "a preview adds nothing");
    owner.types(&format!("{plexus} add {file} --folder {files}"));
    owner.terminal.until_shows("[y/N]");
    owner.types("y");
    owner.until_ready("the extension", |shown| shown.contains("box serves"));
    assert!(stored.exists());
    let listed = owner.runs(&format!("{plexus} list"));
    assert_contains(&listed, "box     Box ");
    owner.types(&format!("{plexus} remove box"));
    owner.terminal.until_shows("remove box with its secrets");
    owner.types("y");
    owner.until_ready("the removal", |shown| shown.contains("box is removed"));
    assert!(!stored.exists());

    // The seeds' word for the owner's key, with the same guard.
    let mut without = programs::command(&binaries::path("plexusd"), world.gateway.home());
    without.arg("--print-key").env("PLEXUS_HOME", &state);
    let refused = programs::run(without);
    assert_contains(&refused.expect_status(77).all(), "owner_only");
    let printed = owner.runs(&format!("plexusd --home {} --print-key", state.display()));
    assert_contains(&printed, &world.gateway.key());
}
