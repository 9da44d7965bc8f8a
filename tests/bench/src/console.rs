//! What the console costs in a home with a long past: each page of its own list, warm, one after the other on one connection, as
//! the owner's browser asks for what fills it.
//!
//! A page's time is from the request to the end of its answer over loopback: what the server takes, and the way. A page with
//! several addresses is judged by the worst of them. Lists are longer than a page, and texts as long as they may be.

use crate::figures::Figures;
use crate::large::{self, Size};
use crate::load::Connection;
use crate::world::{World, signed_in};
use anyhow::{Context as _, Result, ensure};
use plexus_tests::console::{addresses, form_pages, inside, routes};
use plexus_tests::oauth_web::OAuthWeb;
use plexus_tests::relay::Relay;
use plexus_tests::scripted_codex::ScriptedCodex;
use plexus_tests::{Agent, Client, Folder};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Instant;

/// How often each address is asked for.
const TIMES: usize = 200;
const QUICK_TIMES: usize = 40;
/// The same of a page that asks a server or a sandbox each time.
const ASKED_TIMES: usize = 20;
/// How often before that.
const WARM: usize = 3;
/// Agents that wait for the owner, requests of each, and lines of what each would write.
const ASKERS: usize = 12;
const ASKED: usize = 5;
const LINES: usize = 1_200;
/// Files of the change set, and lines of what each becomes longer by.
const FILES: usize = 60;
const EDITED: usize = 150;
/// More of everything than a page lists.
const MORE: usize = 120;
/// An effect that is granted, and one that is asked for.
const COUNT: &str = "fixture.count";
const WRITE: &str = "workspace.write";

/// Pages beside the console's list: the requests, which a script shows, and what every page needs.
const BESIDE: [&str; 7] = [
    "/approvals",
    "/approvals/{id}",
    "/approvals/{id}/diff",
    "/approvals/{id}/everything",
    "/admin",
    "/admin/console.css",
    "/admin/console.js",
];

/// Servers of a client's list: as many as a page shows.
const SERVERS: usize = 50;
/// Capabilities of a manifest that is looked at: all that would be added is in its page.
const DECLARED: usize = 40;
/// Of forms whose answer is a page, those whose answer has to ask somebody else first: a server, or a look in a sandbox. How
/// long that takes is not the console's own.
const ASKING: [&str; 4] = [
    "/changes/{id}/preview",
    "/extensions/manifest/preview",
    "/extensions/server/preview",
    "/sources/{id}/sign-in/preview",
];

/// Every page that is measured.
pub(crate) fn pages() -> Vec<String> {
    let listed = routes().into_iter().map(named).chain(BESIDE);
    let listed = listed.map(str::to_owned);
    listed.chain(form_pages().iter().map(of_form)).collect()
}

/// Whether the console alone decides how long this page takes.
pub(crate) fn is_own(page: &str) -> bool {
    ASKING.iter().all(|form| page != of_form(form))
}

/// How a page that answers a form is named: the form may stand on a page of the same name.
fn of_form(form: impl AsRef<str>) -> String {
    format!("/form{}", form.as_ref())
}

/// The first page has no path below `/admin`.
fn named(route: &'static str) -> &'static str {
    if route.is_empty() { "/overview" } else { route }
}

/// The name of a figure of a page.
pub(crate) fn figure(page: &str, what: &str) -> String {
    format!("console{page}/{what}")
}

/// All of it.
pub(crate) fn measure(into: &mut Figures, is_quick: bool) -> Result<()> {
    let (size, times) = match is_quick {
        true => (Size::QUICK_HOUSE, QUICK_TIMES),
        false => (Size::HOUSE, TIMES),
    };
    let house = House::open(size)?;
    let mut connection = Connection::open(house.world.gateway.port())?;
    let client = house.world.gateway.console();
    for (page, path) in house.visits() {
        let request = client.request("GET", &path).bytes_kept_alive();
        page_of(into, &mut connection, page, times, &request)?;
    }
    let forms = house.forms();
    let known: BTreeSet<_> = forms.iter().map(|sent| sent.form.to_owned()).collect();
    ensure!(known == form_pages(), "filled in: {known:?}");
    for sent in forms {
        let id = match sent.form.starts_with("/changes/") {
            true => house.changes.as_str(),
            false => "notes",
        };
        let path = sent.form.replace("{id}", id);
        let request = client.request("POST", &format!("/admin/console{path}"));
        let request = request.json(sent.typed).bytes_kept_alive();
        let times = match ASKING.contains(&sent.form) {
            true => ASKED_TIMES,
            false => times,
        };
        let page = of_form(sent.form);
        page_of(into, &mut connection, &page, times, &request)?;
        let said = String::from_utf8_lossy(connection.body());
        ensure!(said.contains(sent.shows), "{page}: {said}");
    }
    Ok(())
}

/// Asks for a page so many times. A page with several addresses is judged by the worst of them.
fn page_of(
    into: &mut Figures,
    connection: &mut Connection,
    page: &str,
    times: usize,
    request: &[u8],
) -> Result<()> {
    let mut took = Vec::new();
    for round in 0..WARM + times {
        let began = Instant::now();
        let is_made = connection.exchange(request)?;
        let us = began.elapsed().as_secs_f64() * 1e6;
        let said = || String::from_utf8_lossy(connection.body()).into_owned();
        ensure!(is_made, "{page}: {}", said());
        if round >= WARM {
            took.push(us);
        }
    }
    took.sort_unstable_by(f64::total_cmp);
    let at = |percent: usize| took.get(took.len() * percent / 100).copied();
    for (what, value) in [
        ("least/us", at(0)),
        ("p50/us", at(50)),
        ("p95/us", at(95)),
        ("bytes", Some(connection.body().len() as f64)),
    ] {
        let name = figure(page, what);
        let known = into.get(&name).unwrap_or_default();
        into.set(&name, value.context("it was asked for")?.max(known));
    }
    Ok(())
}

/// A home with something on each page.
struct House {
    world: World,
    codex: ScriptedCodex,
    changes: String,
    board: String,
    run: String,
    channel: String,
    pending: String,
    web: OAuthWeb,
    _relay: Relay,
    _folders: Vec<Folder>,
}

/// A form as it is sent, and what its answer shows.
struct FilledForm {
    form: &'static str,
    typed: Value,
    shows: &'static str,
}

impl House {
    fn open(size: Size) -> Result<Self> {
        let mut world = World::new(&[])?;
        // The visit before this one: what happened since is counted.
        let earlier = world.gateway.console();
        earlier.must_post("/admin/console/sign-out", json!({}));
        let codex = ScriptedCodex::added_to(&world.gateway);
        extend(&world);
        let relay = Relay::start();
        relay.joined_by(&world.gateway, "Ana").expect_ok();
        large::grow(&mut world, size)?;
        let codex = codex.back(&world.gateway);
        let gateway = &world.gateway;
        let channel = talk(&world)?;
        let folders = lend(&world);
        let board = codex.board(gateway, &long(2_000), &vec![long(200); 100]);
        for n in 0..FILES {
            let name = format!("parts/{n:02}-{}.md", "chapter-".repeat(8));
            codex.folder.write(&name, "one\n");
        }
        codex.folder.write("more", wide(EDITED));
        let changes = codex.edits(gateway, &long(900), &long(900));
        let run = codex.talks(gateway, &wide(400));
        for n in 0..MORE {
            let line = json!({"line": format!("{n} {}", long(200))});
            world.agent.must(COUNT, line);
        }
        world
            .agent
            .must(WRITE, json!({"path": "last.md", "content": wide(LINES)}));
        let mut pending = String::new();
        for n in 0..ASKERS {
            let asker = gateway.agent(&format!("asker-{n}"));
            for file in 0..ASKED {
                let input = json!({"path": format!("{n}-{file}.md"), "content": wide(LINES)});
                let asked = json!({"id": WRITE, "input": input, "purpose": long(1_000)});
                let refused = asker.invoke_body(asked);
                pending = refused.text_at("/error/pendingId");
            }
        }
        // Its plan is made.
        let _ = gateway.owner().card(&pending);
        Ok(Self {
            codex,
            changes,
            board,
            run,
            channel,
            pending,
            web: signed_in(&world.gateway),
            _relay: relay,
            _folders: folders,
            world,
        })
    }

    /// Each page, with where what fills it lies.
    fn visits(&self) -> Vec<(&'static str, String)> {
        let owner = self.world.gateway.owner();
        let calls = |of: &str| -> Value {
            let calls = owner.get(&format!("/admin/api/activity?{of}")).expect_ok();
            calls["calls"][0].clone()
        };
        let id = |call: &Value| call["auditId"].as_str().unwrap_or_default().to_owned();
        let read = calls("agent=agent-3&limit=1");
        let change = id(&calls("agent=bench&limit=1"));
        let half = read["seq"].as_u64().unwrap_or_default() / 2;
        let one = |path: String| vec![path];
        let file = self.first_file();
        #[rustfmt::skip]
        let instances = [
            (
                "/since",
                [
                    "decided", "done", "read", "refused", "failed", "agents", "asked",
                ]
                .map(|what| format!("/since?what={what}"))
                .to_vec(),
            ),
            ("/source-form", one("/source-form?kind=caldav-account".into())),
            ("/sources/{id}", ["app", "workspace", "codex"].map(|id| format!("/sources/{id}")).to_vec()),
            ("/agents/{id}", ["agent-3", "much", "much?from=100", "agent-3?of=app"].map(|id| format!("/agents/{id}")).to_vec()),
            ("/connect/of", one("/connect/of?source=folder-20".into())),
            ("/agents/{id}/arrival", one("/agents/agent-3/arrival".into())),
            ("/agents/{id}/review", one("/agents/bench/review".into())),
            ("/grants", ["/grants", "/grants?sort=ends&from=200"].map(str::to_owned).to_vec()),
            (
                "/activity",
                vec![
                    "/activity".to_owned(),
                    "/activity?agent=agent-3".to_owned(),
                    "/activity?source=folder-20".to_owned(),
                    "/activity?only=changed".to_owned(),
                    "/activity?touched=Projects/3/note-3.md".to_owned(),
                    format!("/activity?before={half}"),
                ],
            ),
            ("/activity/{id}", vec![format!("/activity/{}", id(&read)), format!("/activity/{change}")]),
            ("/activity/{id}/undo", one(format!("/activity/{change}/undo"))),
            ("/runs/{id}", one(format!("/runs/{}", self.run))),
            ("/runs/{id}/said", one(format!("/runs/{}/said", self.run))),
            ("/boards/{id}", one(format!("/boards/{}?source=cc-master", self.board))),
            ("/changes/{id}", one(format!("/changes/{}", self.changes))),
            ("/changes/{id}/rows", one(format!("/changes/{}/rows?path={file}&of=diff&from=0", self.changes))),
            ("/channels/{source}/{channel}", one(format!("/channels/channels/{}", self.channel))),
            ("/channels/{source}/{channel}/said", one(format!("/channels/channels/{}/said", self.channel))),
            ("/channels/{source}/{channel}/members", one(format!("/channels/channels/{}/members", self.channel))),
            ("/together/{id}", one(format!("/together/{}", self.pending))),
            ("/find", one("/find?q=agent".into())),
        ];
        let card = |rest: &str| format!("/admin/console/pending/{}{rest}", self.pending);
        let beside = [
            "/admin/console/view".to_owned(),
            card(""),
            card(&format!("/diff/{WRITE}?from=300")),
            card("/everything?from=0"),
            "/admin".to_owned(),
            "/admin/console.css".to_owned(),
            "/admin/console.js".to_owned(),
        ];
        let listed = addresses(&instances).into_iter();
        let listed = listed.map(|(route, at)| (named(route), inside(&at)));
        listed.chain(BESIDE.into_iter().zip(beside)).collect()
    }

    /// Each form whose answer is a page.
    fn forms(&self) -> [FilledForm; 7] {
        let all: Vec<_> = (0..MORE).map(|n| format!("app.state-{n}")).collect();
        let path = self._folders.first().map(Folder::path);
        let mut manifest = many(DECLARED);
        for name in ["source", "label"] {
            manifest[name] = json!("elsewhere");
        }
        let server = |n: usize| {
            let secret = |of: usize| (format!("SECRET_TOKEN_{n}_{of}"), json!("shown-nowhere"));
            let env: serde_json::Map<_, _> = (0..5).map(secret).collect();
            let server = json!({"command": "/bin/true", "args": [path, long(900)], "env": env});
            (format!("server-{n:03}-{}", "of-a-name-".repeat(2)), server)
        };
        let servers: serde_json::Map<_, _> = (0..SERVERS + 1).map(server).collect();
        let block = json!({"mcpServers": servers}).to_string();
        let of = |form, typed, shows| FilledForm { form, typed, shows };
        [
            of(
                "/connect",
                json!({"id": "newest", "kind": "mcp", "window": "1d", "capabilities": all, "replace": true}),
                "app.state-99",
            ),
            of(
                "/lend/preview",
                json!({"agent": "bench", "path": path, "span": "1h", "write": true, "maxWrites": 5}),
                "What follows",
            ),
            of(
                "/changes/{id}/preview",
                json!({"source": "codex", "path": [self.first_file().replace("%2F", "/")]}),
                "Apply as shown",
            ),
            of(
                "/extensions/manifest/preview",
                json!({"manifest": manifest.to_string()}),
                "What you would add",
            ),
            of(
                "/extensions/client/preview",
                json!({"block": block}),
                "server-049",
            ),
            of(
                "/extensions/server/preview",
                json!({"name": "other-notes", "url": self.web.url()}),
                "Sign in for",
            ),
            of("/sources/{id}/sign-in/preview", json!({}), "Sign in for"),
        ]
    }

    /// A file of the change set, as an address has it.
    fn first_file(&self) -> String {
        let input = json!({"changes": self.changes});
        let set = self.codex.agent.must("codex.changes.read", input);
        let path = set["output"]["files"][0]["path"]
            .as_str()
            .unwrap_or_default();
        path.replace('/', "%2F")
    }
}

/// A manifest with so many capabilities.
fn many(capabilities: usize) -> Value {
    let capability = |n: usize| {
        json!({
            "name": format!("state-{n}"), "kind": "capability", "label": format!("State {n} of the app"),
            "describe": long(300), "grants": ["read"], "transport": "local-rest",
            "route": {"baseUrl": "http://127.0.0.1:8123", "path": format!("/api/{n}"), "method": "GET"},
            "io": {"input": {"type": "object", "properties": {}}},
        })
    };
    json!({"manifest": "plexus-extension/0.1", "source": "app", "label": "App", "transport": "local-rest",
        "capabilities": (0..capabilities).map(capability).collect::<Vec<_>>()})
}

/// An extension with many capabilities, and an agent that has all of them.
fn extend(world: &World) {
    let owner = world.gateway.owner();
    let mut draft = json!({"manifest": many(MORE)});
    let seen = owner.post("/admin/api/extensions/preview", draft.clone());
    draft["digest"] = seen.expect_ok()["digest"].clone();
    owner.post("/admin/api/extensions", draft).expect_ok();
    let all: Vec<String> = (0..MORE).map(|n| format!("app.state-{n}")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let _much: Agent = world.gateway.agent_with("much", &all);
}

/// A channel with as many messages as its page shows, each as long as one is shown.
fn talk(world: &World) -> Result<String> {
    let made = world
        .gateway
        .cli(["channels", "create", "plans", "--json"])
        .json();
    let id = made["output"]["channel"].as_str();
    let id = id.with_context(|| made.to_string())?.to_owned();
    let owner: Client = world.gateway.owner().client;
    for _ in 0..40 {
        let text = json!({"text": "长".repeat(1_000)});
        let path = format!("/admin/api/channels/channels/{id}/messages");
        owner.post(&path, text).expect_ok();
    }
    Ok(id)
}

/// More folders than a page lists, lent to one agent.
fn lend(world: &World) -> Vec<Folder> {
    let owner = world.gateway.owner();
    let one = |_| {
        let folder = Folder::empty();
        let lent = json!({"agentId": "much", "path": folder.path(), "write": true});
        owner.post("/admin/api/lend", lent).expect_ok();
        folder
    };
    (0..10).map(one).collect()
}

/// A text in one line, of so many characters.
fn long(characters: usize) -> String {
    let words = "why it is asked, in the agent's own words; ";
    words.chars().cycle().take(characters).collect()
}

/// A text of so many lines with characters that a page writes out.
fn wide(lines: usize) -> String {
    let line = |n| format!("<script>{n}</script> \u{202e} {}\n", "x".repeat(90));
    (0..lines).map(line).collect()
}
