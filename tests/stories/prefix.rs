//! Everything in the box: what is installed under a prefix, and nothing of the build beside it, serves each kind of source, each
//! transport of extensions, channels and notifications. The lists of kinds, transports and programs are the product's own: a new
//! one fails here until it has its case.

use crate::app_sockets::{self, App};
use crate::caldav::radicale::{PASSWORD, Radicale, USER};
use crate::codex_peer::World;
use crate::house::{House, WRITE, note};
use crate::obsidian_rest::app::plugin::{KEY, Plugin};
use crate::obsidian_rest::app::{fingerprint, tls};
use crate::office::{Office, Running, invited, reply};
use plexus_tests::folders::write_program;
use plexus_tests::home_app::{HomeApp, TOKEN};
use plexus_tests::texts::assert_contains;
use plexus_tests::waiting::{until, until_true};
use plexus_tests::{Folder, Gateway, Model, Step, binaries, coding_agents, processes, programs};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// What ships, laid out under a prefix outside of the build's folder.
struct Prefix(TempDir);

impl Prefix {
    fn new() -> Self {
        let folder = TempDir::with_prefix("plx").expect("a folder");
        binaries::link(folder.path());
        Self(folder)
    }

    /// What ships, of these processes and those below them: the programs of the prefix by name, and those of elsewhere.
    fn running(&self, roots: &[u32]) -> (BTreeSet<String>, Vec<PathBuf>) {
        let below = roots.iter().flat_map(|root| processes::below(*root));
        let all = below.map(|one| one.pid).chain(roots.iter().copied());
        // One may have ended since.
        let ours = all.filter_map(|pid| std::fs::read_link(format!("/proc/{pid}/exe")).ok());
        let shipped = binaries::shipped();
        let name = |path: &Path| {
            path.file_name()
                .map(|name| name.to_string_lossy().into_owned())
        };
        let ours = ours.filter(|path| name(path).is_some_and(|name| shipped.contains(&name)));
        let (own, others): (Vec<_>, Vec<_>) =
            ours.partition(|path| path.starts_with(self.0.path()));
        (own.iter().filter_map(|path| name(path)).collect(), others)
    }

    /// Holds that these run, and that all of ours that runs comes from the prefix.
    #[track_caller]
    fn has_started(&self, roots: &[u32], programs: impl IntoIterator<Item = String>) {
        let (own, others) = self.running(roots);
        let missing: Vec<_> = programs
            .into_iter()
            .filter(|name| !own.contains(name))
            .collect();
        assert!(missing.is_empty(), "{missing:?} of {own:?} {others:?}");
        assert_eq!(others, Vec::<PathBuf>::new(), "from elsewhere");
    }
}

/// The programs of workers that ship.
fn workers() -> Vec<String> {
    let mut workers = binaries::shipped();
    workers.retain(|name| name.starts_with("plexus-worker-"));
    workers
}

/// Extensions and lent MCP servers have workers that are no connector's.
fn is_for_extensions(worker: &str) -> bool {
    ["plexus-worker-extension", "plexus-worker-mcp"].contains(&worker)
}

/// A gateway, and every app that a connector reaches.
struct Apps {
    world: World,
    folder: Folder,
    vault: Folder,
    secrets: Folder,
    server: Radicale,
    obsidian: Plugin,
    model: Model,
}

impl Apps {
    fn open() -> Self {
        let gateway = Gateway::builder().env("PLEXUS_FAKE_APPLE", "offered");
        let server = Radicale::start();
        server.calendar("home", "Home & garden", &["VEVENT", "VTODO"]);
        let obsidian = Plugin::wrapped(tls(&["app.pem"], "app.key"));
        obsidian.fill(&[("Log.md", "- one")]);
        let model = Model::start([]);
        model.by_rule(|_| Step::say("Done by the model."));
        Self {
            world: World::of(Office::open(), gateway.start()),
            folder: plexus_tests::workspace(),
            vault: plexus_tests::vault(),
            secrets: Folder::empty(),
            server,
            obsidian,
            model,
        }
    }

    /// The path of a file with this secret.
    fn secret(&self, name: &str, value: &str) -> String {
        self.secrets.write(name, format!("{value}\n"));
        self.secrets.path().join(name).display().to_string()
    }

    /// Adds a source under its kind's name: `name=value` for a field, `!name=file` for a secret, else its folder.
    #[track_caller]
    fn adds(&self, kind: &str, words: &[String]) {
        let mut line = vec!["sources", "add", kind, "--id", kind];
        for word in words {
            match word.strip_prefix('!') {
                Some(secret) => line.extend(["--secret", secret]),
                None if word.starts_with('/') => line.push(word),
                None => line.extend(["--set", word]),
            }
        }
        let added = self.world.gateway.cli(line);
        assert_contains(added.expect_ok(), &format!("{kind} serves"));
    }

    #[track_caller]
    fn reads(&self, source: &str, name: &str, input: Value) -> String {
        let id = format!("{source}.{name}");
        let agent = self.world.gateway.agent_with(source, &[&id]);
        agent.must(&id, input)["output"].to_string()
    }

    /// What a run of a coding agent says, once its owner has approved it.
    #[track_caller]
    fn runs(&self, kind: &str, binary: &Path) -> String {
        let mut words = vec![
            self.folder.path().display().to_string(),
            format!("binary={}", binary.display()),
            format!("server={}", self.model.base()),
            format!("!key={}", self.secret("key", "sk-story")),
        ];
        if kind == "codex-folder" {
            words.push("model=gpt-5.5".to_owned());
        }
        self.adds(kind, &words);
        let (id, input) = (format!("{kind}.run"), json!({"prompt": "Say it."}));
        let agent = self.world.gateway.agent(kind);
        agent.must_approved(&self.world.owner(), &id, input)["output"].to_string()
    }

    /// Adds a source of this kind and makes one call that reaches its app: the answer, and what only the app knows.
    #[track_caller]
    fn answer(&self, kind: &str) -> (String, &'static str) {
        let folder = self.folder.path().display().to_string();
        match kind {
            "obsidian-fs" => {
                self.adds(kind, &[self.vault.path().display().to_string()]);
                let read = json!({"path": "Ideas.md"});
                (self.reads(kind, "vault.read", read), "one meaning")
            }
            "workspace-dir" => {
                self.adds(kind, &[folder]);
                let read = json!({"path": "report.txt"});
                (self.reads(kind, "read", read), "first line")
            }
            "git-repository" => {
                let repository = crate::history::repository();
                self.adds(kind, &[repository.path().display().to_string()]);
                (self.reads(kind, "log", json!({})), "rotate the key")
            }
            "caldav-account" => {
                let (url, user) = (format!("url={}", self.server.url()), format!("user={USER}"));
                let password = format!("!password={}", self.secret("password", PASSWORD));
                self.adds(kind, &[url, user, password]);
                let list = self.reads(kind, "calendars.list", json!({}));
                (list, "Home & garden")
            }
            "codex-folder" => (self.runs(kind, &coding_agents::codex()), "by the model"),
            "claudecode-folder" => (self.runs(kind, &coding_agents::claude()), "by the model"),
            "things-app" => {
                self.adds(kind, &[]);
                (self.reads(kind, "todos.list", json!({})), "Buy seeds")
            }
            "obsidian-rest" => {
                let url = format!("baseUrl=https://127.0.0.1:{}", self.obsidian.port);
                let pin = format!("certificate={}", fingerprint("app.pem"));
                let key = format!("!apiKey={}", self.secret("api-key", KEY));
                self.adds(kind, &[url, pin, key]);
                let read = json!({"path": "Log.md"});
                (self.reads(kind, "vault.read", read), "- one")
            }
            "apple-calendar" => {
                self.adds(kind, &[]);
                let day = json!({"start": "2026-06-25", "end": "2026-06-26"});
                (self.reads(kind, "events.list", day), "Team sync")
            }
            "apple-reminders" => {
                self.adds(kind, &[]);
                (self.reads(kind, "reminders.list", json!({})), "title")
            }
            "cc-master" => {
                self.adds(kind, &[]);
                (self.reads(kind, "board.status", json!({})), "boards")
            }
            "channels" => {
                let invitation = invited(&self.world.office.folder, "human");
                let file = self.secret("invitation", &invitation);
                let relay = &self.world.office.address;
                let join = ["channels", "join", relay, "--name", "Ana", "--invitation"];
                let joined = self.world.gateway.cli(join.into_iter().chain([&*file]));
                assert_contains(joined.expect_ok(), "channels serves");
                (self.reads(kind, "list", json!({})), "Ana")
            }
            "codex-peer" => {
                let peer = self.world.enabled("peer");
                let office = &self.world.office;
                let channel = office.channel("sums", &[peer.id], None);
                peer.when_told("2 + 2", [peer.reply(channel, "It is 4.")]);
                office.says(channel, "What is 2 + 2?");
                peer.answered(channel, "It is 4.");
                (peer.heard(channel).concat(), "It is 4.")
            }
            other => panic!("{other} is a new kind: it needs a case here"),
        }
    }
}

#[test]
fn each_connector_kind_answers_from_a_prefix() {
    let prefix = Prefix::new();
    let apps = Apps::open();
    let kinds = apps.world.owner().get("/admin/api/connectors").expect_ok();
    let kinds = kinds["connectors"].as_array().expect("kinds").iter();
    let kinds: Vec<_> = kinds
        .map(|kind| kind["kind"].as_str().expect("a kind"))
        .collect();
    for kind in &kinds {
        let (answer, known) = apps.answer(kind);
        assert!(answer.contains(known), "{kind}: {known} in {answer}");
    }
    let connectors: Vec<_> = workers()
        .into_iter()
        .filter(|name| !is_for_extensions(name))
        .collect();
    assert_eq!(kinds.len(), connectors.len(), "{kinds:?} {connectors:?}");
    let beside = ["plexusd", "plexus-egress", "plexus-relay"].map(str::to_owned);
    let roots = [apps.world.gateway.pid(), apps.world.office.relay_pid()];
    prefix.has_started(&roots, connectors.into_iter().chain(beside));
    // The control: a gateway of the build's folder is seen, with its worker.
    binaries::forget_install();
    let other = House::open();
    other
        .reader("reader")
        .must("workspace.read", crate::house::report());
    let (_, others) = prefix.running(&[other.gateway.pid()]);
    let is_there = |name: &str| others.contains(&binaries::path(name));
    assert!(
        is_there("plexusd") && is_there("plexus-worker-workspace"),
        "{others:?}"
    );
}

/// One extension of each transport, and what it answers.
struct Extensions {
    house: House,
    app: HomeApp,
    player: App,
    sockets: Folder,
}

impl Extensions {
    /// Adds what a manifest declares, with this folder under the name `files`.
    #[track_caller]
    fn adds(&self, manifest: &Value) {
        let owner = self.house.owner();
        let mut body = json!({"manifest": manifest});
        if manifest["folders"].is_array() {
            body["folders"] = json!({"files": self.house.workspace.path()});
        }
        let seen = owner.post("/admin/api/extensions/preview", body.clone());
        body["digest"] = seen.expect_ok()["digest"].clone();
        let added = owner.post("/admin/api/extensions", body).expect_ok();
        assert_eq!(added["ok"], true, "{seen} {added}");
    }

    #[track_caller]
    fn answers(&self, id: &str, input: Value) -> String {
        // A workflow reads what its agent may read.
        let reads = [id, "obsidian.vault.read"];
        let agent = self.house.gateway.agent_with(&id.replace('.', "-"), &reads);
        let reply = agent.invoke(id, input.clone());
        let reply = match reply.at("/error/pendingId").as_str() {
            Some(item) => {
                self.house.owner().approve(item, "once");
                agent.invoke(id, input)
            }
            None => reply,
        };
        reply.expect_ok().to_string()
    }

    /// The answer to a call of an extension of this transport, and what only its other side knows.
    #[track_caller]
    fn answer(&self, transport: &str) -> (String, &'static str) {
        let manifest = |source: &str, more: Value| {
            let mut manifest = json!({"manifest": "plexus-extension/0.1", "source": source, "label": source, "transport": transport});
            let members = manifest.as_object_mut().expect("an object");
            members.extend(more.as_object().expect("an object").clone());
            manifest
        };
        match transport {
            "cli" => {
                self.adds(&crate::install::viewer("viewer"));
                let shown = json!({"name": "report.txt"});
                (self.answers("viewer.show", shown), "first line")
            }
            "local-rest" => {
                let home = include_str!("../../docs/extensions/home.json");
                let home = home.replace("http://192.168.1.5:8123", &self.app.url());
                self.adds(&serde_json::from_str(&home).expect("JSON"));
                let token = json!({"value": TOKEN});
                let secret = self
                    .house
                    .owner()
                    .post("/admin/api/secrets/home.token", token);
                secret.expect_ok();
                let lamp = json!({"entity": "light.kitchen"});
                (self.answers("home.state", lamp), "\"state\":\"off\"")
            }
            "stdio" => {
                crate::local_apps::lend_lines(&self.house.gateway, &self.house.workspace);
                (self.answers("lines.look", json!({"n": 7})), "\"n\":7")
            }
            "ipc" => {
                let socket = self.sockets.path().join("app.sock");
                self.player.listen(&socket);
                self.adds(&app_sockets::manifest(&socket.display().to_string()));
                let asked = json!({"how": "half-way"});
                (self.answers("player.look", asked), "half-way")
            }
            "skill" => {
                let body = json!({"format": "markdown", "markdown": "Ask kindly."});
                let text = json!({"name": "how", "kind": "skill", "label": "How", "describe": "How.", "grants": [], "transport": "skill", "body": body});
                self.adds(&manifest("tips", json!({"capabilities": [text]})));
                let agent = self.house.gateway.agent_with("reader", &["tips.how"]);
                (agent.entry("tips.how").to_string(), "Ask kindly.")
            }
            "workflow" => {
                let filing = include_str!("../../docs/extensions/filing.json");
                self.adds(&serde_json::from_str(filing).expect("JSON"));
                let copied = json!({"note": "Ideas.md", "to": "notes/ideas.md"});
                self.answers("filing.copy", copied);
                (self.house.workspace.read("notes/ideas.md"), "one meaning")
            }
            "mcp" => {
                self.house.workspace.write("words", "Does");
                let folders = json!([{"name": "files", "label": "Files", "access": "read-write"}]);
                let server = json!({"command": binaries::path("plexus-mcp-rude"), "args": ["{folder.files}"]});
                self.adds(&manifest(
                    "rude",
                    json!({"folders": folders, "mcp": server}),
                ));
                let made = json!({"path": self.house.workspace.path().join("made")});
                self.answers("rude.write", made);
                (self.house.workspace.read("made"), "written by a tool")
            }
            other => panic!("{other} is a new transport: it needs a case here"),
        }
    }
}

#[test]
fn each_transport_of_extensions_answers_from_a_prefix() {
    let prefix = Prefix::new();
    let extensions = Extensions {
        house: House::open(),
        app: HomeApp::start(),
        player: App::default(),
        sockets: Folder::empty(),
    };
    // A manifest of no transport is answered with the list of them.
    let unknown = json!({"manifest": {"manifest": "plexus-extension/0.1", "source": "x", "label": "X", "transport": "?", "capabilities": []}});
    let owner = extensions.house.owner();
    let refused = owner.post("/admin/api/extensions/preview", unknown).text();
    let (_, list) = refused.split_once("expected one of ").expect("the list");
    let transports = list.split('`').skip(1).step_by(2);
    for transport in transports.chain(["mcp"]) {
        let (answer, known) = extensions.answer(transport);
        assert!(answer.contains(known), "{transport}: {known} in {answer}");
    }
    let root = extensions.house.gateway.pid();
    prefix.has_started(
        &[root],
        workers().into_iter().filter(|name| is_for_extensions(name)),
    );
}

#[test]
fn relay_peer_and_notifier_run_from_a_prefix() {
    let prefix = Prefix::new();
    let office = Office::open();
    let seat = office.seat("Pera", "Ždera", "sums");
    let channel = office.channel("sums", &[seat.id], None);
    let peer = seat.peer();
    seat.model
        .then([reply(channel, "It is 4."), Step::say("Answered.")]);
    office.says(channel, "What is 2 + 2?");
    until_true("the peer's answer", || {
        office.heard(channel, seat.id) == ["It is 4."]
    });

    // As its unit starts it, where the desktop's program writes down what it is given.
    let house = House::open();
    let install = ["service", "install", "--yes", "--write-only"];
    house.gateway.cli(install).expect_ok();
    let home = house.gateway.home();
    let unit = home.join(".config/systemd/user/plexus-notify.service");
    let unit = std::fs::read_to_string(unit).expect("the unit");
    let word = |begin: &str| {
        let line = unit.lines().find_map(|line| line.strip_prefix(begin));
        line.expect("a line of the unit").to_owned()
    };
    let line = format!("exec env {} {}", word("Environment="), word("ExecStart="));
    let (send, shown) = (home.join("notify-send"), home.join("shown"));
    let script = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$*\" >> '{}'\n",
        shown.display()
    );
    write_program(&send, script);
    let mut notify = programs::command(Path::new("/bin/sh"), home);
    notify.env("PATH", format!("{}:/usr/bin:/bin", home.display()));
    notify.args(["-c", &line]);
    let notify = Running(notify.spawn().expect("it starts"));
    let agent = house.gateway.agent("one");
    agent.must_ask(WRITE, note("a.txt", "text"));
    until("a notification", || {
        let shown = std::fs::read_to_string(&shown).ok()?;
        shown
            .contains("Plexus: one asks for “Write a file”")
            .then_some(())
    });
    let roots = [
        office.relay_pid(),
        peer.pid(),
        house.gateway.pid(),
        notify.pid(),
    ];
    let all = ["plexus-relay", "plexus-peer", "plexusd", "plexusctl"];
    prefix.has_started(&roots, all.map(str::to_owned));
}
