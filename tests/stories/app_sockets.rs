//! Extensions that ask an app by its Unix socket: declared questions by the source's egress, to one path.

use crate::local_apps::way_of_the_reader;
use plexus_tests::texts::assert_contains;
use plexus_tests::waiting::{PATIENCE, until};
use plexus_tests::{Agent, Folder, Gateway};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    os::unix::{fs::symlink, net::UnixListener},
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
};

const PREVIEW: &str = "/admin/api/extensions/preview";
const EXTENSIONS: &str = "/admin/api/extensions";

/// An app that does as `how` of the input says, and remembers the lines that it heard.
#[derive(Default)]
pub(crate) struct App(Arc<Mutex<Vec<String>>>);

impl App {
    /// Listens at `path` for as long as the file is that of this listener.
    pub(crate) fn listen(&self, path: &std::path::Path) {
        let listener = UnixListener::bind(path).expect("a socket");
        let heard = Arc::clone(&self.0);
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let heard = Arc::clone(&heard);
                thread::spawn(move || {
                    let mut line = String::new();
                    let _ = BufReader::new(&stream).read_line(&mut line);
                    if line.is_empty() {
                        return;
                    }
                    heard.lock().expect("the list").push(line.clone());
                    // A client that breaks off is not the app's failure.
                    let _ = stream.write_all(&answer(&line));
                    if line.contains("stall") {
                        let _ = stream.read(&mut [0]);
                    }
                });
            }
        });
    }

    fn heard(&self) -> Vec<String> {
        self.0.lock().expect("the list").clone()
    }
}

fn answer(line: &str) -> Vec<u8> {
    let asked: Value = serde_json::from_str(line).unwrap_or_default();
    let said = match asked["input"]["how"].as_str().unwrap_or_default() {
        "progress" => {
            "{\"progress\": \"half\"}\n{\"progress\": {\"n\": 2}}\n{\"output\": \"all\"}\n"
                .to_owned()
        }
        "error" => {
            "{\"error\": {\"message\": \"not today\", \"effect\": \"partial\"}}\n".to_owned()
        }
        "half" => "{\"output\": \"al".to_owned(),
        "nothing" | "stall" => String::new(),
        "words" => "what?\n".to_owned(),
        "id" => "{\"id\": 7, \"output\": \"of another\"}\n".to_owned(),
        "long" => format!("{{\"output\": \"{}\"}}\n", "x".repeat(17 << 20)),
        "flood" => format!("{{\"progress\": \"{}\"}}\n", "x".repeat(2000)).repeat(1000),
        _ => format!("{}\n", json!({"output": asked})),
    };
    said.into_bytes()
}

fn capability(name: &str, verb: &str, socket: &str) -> Value {
    json!({
        "name": name, "kind": "capability", "label": name, "describe": format!("Does {name}."),
        "grants": [verb], "transport": "ipc",
        "route": {"socket": socket, "timeoutMs": 2000, "outputBytes": 100_000},
        "io": {"input": {"type": "object", "properties": {"how": {"type": "string"}}}},
    })
}

pub(crate) fn manifest(socket: &str) -> Value {
    json!({
        "manifest": "plexus-extension/0.1", "source": "player", "label": "Player", "transport": "ipc",
        "capabilities": [capability("look", "read", socket), capability("act", "write", socket)],
    })
}

/// A gateway, a folder for an app's socket, and an extension that asks there.
struct World {
    gateway: Gateway,
    apps: Folder,
    agent: Agent,
}

impl World {
    fn open() -> Self {
        let (gateway, apps) = (Gateway::start(), Folder::empty());
        let socket = apps.path().join("app.sock");
        let manifest = manifest(&socket.display().to_string());
        let owner = gateway.owner();
        let seen = owner.must_post(PREVIEW, json!({"manifest": manifest}));
        let body = json!({"manifest": manifest, "digest": seen["digest"]});
        let added = owner.post(EXTENSIONS, body).expect_ok();
        assert_eq!(added["ok"], true, "{seen} {added}");
        let agent = gateway.agent_with("caller", &["player.look", "player.act"]);
        Self {
            gateway,
            apps,
            agent,
        }
    }

    fn socket(&self) -> PathBuf {
        self.apps.path().join("app.sock")
    }

    fn look(&self, how: &str) -> Value {
        self.agent.invoke("player.look", json!({"how": how})).json()
    }

    /// Asks, has the owner approve, and calls.
    fn act(&self, how: &str) -> Value {
        let input = json!({"how": how});
        self.agent
            .approved(&self.gateway.owner(), "player.act", input)
            .json()
    }
}

#[test]
fn app_is_asked_and_a_write_waits() {
    let (world, app) = (World::open(), App::default());
    app.listen(&world.socket());
    let asked = |name: &str, how: &str| json!({"capability": name, "input": {"how": how}});
    let said = world.look("ask \n\"");
    assert_eq!(
        said["output"]["output"],
        asked("look", "ask \n\""),
        "{said}"
    );
    assert_eq!(world.look("progress")["output"]["output"], "all");
    // A plan asks nobody.
    let item = world.agent.must_ask("player.act", json!({"how": "go"}));
    let card = world.gateway.owner().card(&item).to_string();
    let socket = world.socket().display().to_string();
    for part in [socket.as_str(), "\\\"how\\\": \\\"go\\\"", "cannot preview"] {
        assert!(card.contains(part), "{part}: {card}");
    }
    assert_eq!(app.heard().len(), 2, "{:?}", app.heard());
    world.gateway.owner().approve(&item, "once");
    let done = world
        .agent
        .invoke("player.act", json!({"how": "go"}))
        .json();
    assert_eq!(done["output"]["output"], asked("act", "go"), "{done}");
    // Each progress that is a text is a line of what the call streams.
    let input = json!({"how": "progress"});
    let item = world.agent.must_ask("player.act", input.clone());
    world.gateway.owner().approve(&item, "once");
    let body = json!({"id": "player.act", "input": input, "async": true});
    let run = world.agent.invoke_body(body).text_at("/run/runId");
    let path = format!("/invoke/status?runId={run}&after=0&wait=20");
    let ended = until("the end of the run", || {
        let status = world.agent.client().get(&path).expect_ok();
        (status["status"] != "running").then_some(status)
    });
    let streamed = json!([{"text": "half\n"}, {"json": {"n": 2}}]);
    assert_eq!(ended["progress"]["chunks"], streamed, "{ended}");
    assert_eq!(app.heard().len(), 4, "{:?}", app.heard());
    let standing = world.gateway.owner().grant("caller", "player.act", "7d");
    assert_contains(&standing.text(), "is approved on its card");
    // What the owner sees.
    let shown = world.gateway.cli(["extension", "show", "player"]);
    let shown = shown.expect_ok();
    for part in [
        format!("{socket} alone, of an app of yours"),
        "asks at".to_owned(),
    ] {
        assert!(shown.contains(&part), "{part}: {shown}");
    }
    let profile = world.gateway.cli(["sources", "profile", "player"]);
    let profile = profile.expect_ok();
    assert_contains(
        profile,
        &format!("the Unix socket {socket}, by plexus-egress"),
    );
    let tail = || {
        let said = world.gateway.cli(["audit", "tail"]);
        said.expect_ok()
            .contains(&format!("player reaches {socket} ("))
            .then_some(())
    };
    until("the connections in the audit log", tail);
}

#[test]
fn failure_of_an_app_at_a_socket_has_a_code_and_words() {
    let (world, app) = (World::open(), App::default());
    let not_running = |told: &Value| {
        let words = told["error"]["message"].as_str().expect("words");
        assert_eq!(told["error"]["code"], "source_unavailable", "{told}");
        assert_contains(words, "start the app");
        assert_contains(words, "Player");
        assert_eq!(told["error"]["effect"], "none", "{told}");
    };
    not_running(&world.look("go"));
    not_running(&world.act("go"));
    // One that died leaves its file.
    drop(UnixListener::bind(world.socket()).expect("a socket"));
    not_running(&world.look("go"));
    fs::remove_file(world.socket()).expect("its file");
    app.listen(&world.socket());
    for (how, reason, words, done) in [
        ("error", "refused", "not today", "partial"),
        ("half", "broken_off", "before it had answered", "unknown"),
        ("nothing", "broken_off", "before it had answered", "unknown"),
        ("words", "not_json", "no line of JSON", "unknown"),
        ("id", "not_json", "no line of JSON", "unknown"),
        ("long", "too_large", "more than 100000 bytes", "unknown"),
        ("flood", "too_large", "more than 100000 bytes", "unknown"),
        ("stall", "timed_out", "in time", "unknown"),
    ] {
        for (told, effect) in [(world.look(how), "none"), (world.act(how), done)] {
            let error = &told["error"];
            assert_eq!(error["detail"]["reason"], reason, "{how}: {told}");
            assert!(
                error["message"].as_str().expect("words").contains(words),
                "{how}: {told}"
            );
            assert_eq!(error["effect"], effect, "{how}: {told}");
        }
    }
    // The control.
    assert_eq!(world.look("progress")["output"]["output"], "all");
}

/// The path of the app comes to lead to another program's socket while the extension is in use.
#[test]
#[cfg(target_os = "linux")]
fn path_that_leads_elsewhere_reaches_nobody() {
    let (world, app, other) = (World::open(), App::default(), App::default());
    let (socket, elsewhere) = (world.socket(), world.apps.path().join("other.sock"));
    app.listen(&socket);
    other.listen(&elsewhere);
    assert_eq!(world.look("progress")["ok"], true);
    let refused = |words: &str| {
        let told = world.look("go");
        assert_eq!(told["error"]["code"], "source_unavailable", "{told}");
        assert_contains(told["error"]["message"].as_str().expect("words"), words);
        fs::remove_file(&socket).expect("what lay there");
    };
    fs::remove_file(&socket).expect("its file");
    symlink(&elsewhere, &socket).expect("a link");
    refused("leads through a link");
    fs::hard_link(&elsewhere, &socket).expect("a second name");
    refused("has another name as well");
    fs::write(&socket, "").expect("a file");
    refused("is no socket");
    if nix::unistd::geteuid().is_root() {
        other.listen(&socket);
        std::os::unix::fs::chown(&socket, Some(1), None).expect("another owner");
        refused("another user's socket");
    }
    assert!(other.heard().is_empty(), "{:?}", other.heard());
    // The control: the app has started again.
    app.listen(&socket);
    assert_eq!(world.look("progress")["ok"], true);
    assert_eq!(app.heard().len(), 2, "{:?}", app.heard());
}

#[test]
fn taken_over_reader_asks_for_reads_alone() {
    let (world, app) = (World::open(), App::default());
    app.listen(&world.socket());
    assert_eq!(world.look("progress")["ok"], true);
    let (port, credential) = way_of_the_reader(&world.gateway);
    let through = |line: &str| {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the egress");
        stream.set_read_timeout(Some(PATIENCE)).expect("a bound");
        let head = format!(
            "CONNECT unix-socket.invalid:1 HTTP/1.1\r\nhost: x\r\nproxy-authorization: Bearer {credential}\r\n\r\n{line}"
        );
        stream.write_all(head.as_bytes()).expect("a request");
        let mut answer = String::new();
        // What ends a connection that still has something to read is no answer.
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer.split_once("\r\n\r\n").expect("a body").1.to_owned()
    };
    for line in [
        // A declared question, which is no read.
        "{\"capability\": \"act\", \"input\": {}}\n",
        "{\"capability\": \"act\", \"capability\": \"look\", \"input\": {}}\n",
        "{\"capability\": \"look\", \"input\": {}, \"capability\": \"act\"}\n",
        "{\"capability\": \"look\", \"input\": {}, \"more\": 1}\n",
        "{\"capability\": \"other\", \"input\": {}}\n",
        "[\"look\", {}]\n",
        "look\n",
        "\n",
    ] {
        assert_eq!(through(line), "", "{line}");
    }
    assert_eq!(app.heard().len(), 1, "{:?}", app.heard());
    // The control; and what is said after a question is not passed on.
    let look = "{\"capability\": \"look\", \"input\": {\"how\": \"progress\"}}\n";
    assert!(through(look).contains("\"output\": \"all\""));
    through(&format!("{look}{}", look.replace("look", "act")));
    let heard = app.heard();
    assert!(
        heard.iter().all(|line| line.contains("\"look\"")),
        "{heard:?}"
    );
    let refused = || {
        let events = world.gateway.owner().audit(1000).into_iter();
        let lines = events.filter_map(|event| event["detail"]["connections"].as_array().cloned());
        let verdicts: Vec<Value> = lines
            .flatten()
            .map(|line| line["verdict"].clone())
            .collect();
        let all = ["method", "path"]
            .iter()
            .all(|verdict| verdicts.contains(&json!(verdict)));
        all.then_some(())
    };
    until("both refusals in the audit log", refused);
}

/// A change of a manifest that is refused, and a part of the words for it.
type Bad = (&'static str, fn(&mut Value), &'static str);

#[test]
fn manifest_of_a_socket_that_asks_for_more_is_refused() {
    const ROUTE: &str = "/capabilities/0/route";
    fn both(manifest: &mut Value, socket: &str) {
        for at in [0, 1] {
            manifest["capabilities"][at]["route"]["socket"] = json!(socket);
        }
    }
    let world = World::open();
    let good = manifest("/nowhere/app.sock");
    let preview = |manifest: &Value| {
        let client = world.gateway.owner().client;
        client.must_post(PREVIEW, json!({"manifest": manifest}))
    };
    #[rustfmt::skip]
    let table: &[Bad] = &[
        ("no path", |m| both(m, "app.sock"), "\"socket \\\"app.sock\\\": no absolute path"),
        ("a path that climbs", |m| both(m, "/nowhere/../app.sock"), "no absolute path"),
        ("a container engine", |m| both(m, "/run/docker.sock"), "container engine"),
        ("a message bus", |m| both(m, "/run/user/1000/bus"), "message bus"),
        ("keys", |m| both(m, "/tmp/ssh-a/agent.1"), "signs for whoever asks"),
        ("a gateway", |m| both(m, "/nowhere/run/owner/owner.sock"), "Plexus gateway"),
        ("a folder of keys", |m| both(m, "/nowhere/.gnupg/app.sock"), "keys or settings"),
        ("no socket", |m| both(m, "/dev/null"), "is no socket"),
        ("two sockets", |m| m["capabilities"][0]["route"]["socket"] = json!("/nowhere/b.sock"), "more than one socket"),
        ("a program as well", |m| m.pointer_mut(ROUTE).expect("a route")["bin"] = json!("cat"), "unknown field `bin`"),
        ("no end", |m| m.pointer_mut(ROUTE).expect("a route")["timeoutMs"] = json!(3_600_000), "not 1 to 600,000 ms"),
        ("a folder", |m| m["folders"] = json!([{"name": "f", "label": "F", "access": "read"}]), "no folders"),
        ("a secret", |m| m["secrets"] = json!([{"name": "token", "attach": "bearer"}]), "are for the transport local-rest"),
    ];
    for (what, change, words) in table {
        let mut bad = good.clone();
        change(&mut bad);
        let seen = preview(&bad);
        assert_eq!(seen["valid"], false, "{what}: {seen}");
        assert!(
            seen["reasons"].to_string().contains(words),
            "{what}: {seen}"
        );
    }
    // The control; and another socket is a difference that is shown.
    assert_eq!(preview(&good)["valid"], true);
    let changes = preview(&good)["changes"].to_string();
    assert_contains(&changes, "the socket /nowhere/app.sock is new");
    // An agent's proposal is a card that names the socket.
    let proposed = world
        .agent
        .client()
        .post("/extensions", json!({"manifest": good, "purpose": "music"}));
    let item = proposed.expect_ok()["pendingId"].clone();
    let card = world
        .gateway
        .cli(["approvals", "show", item.as_str().expect("an id")]);
    let card = card.expect_ok();
    assert_contains(card, "/nowhere/app.sock alone, of an app of yours");
}
