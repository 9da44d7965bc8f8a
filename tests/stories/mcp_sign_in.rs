//! MCP servers whose users sign in (OAuth 2.1): signed in at by a browser, kept signed in, told in words where that ends.

#[cfg(target_os = "linux")]
mod kills;
mod tls;

#[cfg(target_os = "linux")]
use crate::egress::memory_holds;
use crate::mcp::{Desk, claude_asked, claude_desk, codex_asked, codex_desk, waiting};
use plexus_tests::{
    Agent, Folder, Gateway, Length, Listener, Model, Step, Terminal,
    coding_agents::{self, Conversation, node},
    mcp_web::{Era, Heard, McpWeb, http},
    oauth_web::{Lie, OAuthWeb, OWN_CLIENT, browse},
    programs,
    texts::{assert_contains, assert_lacks},
    waiting::{PATIENCE, until, within},
};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

/// Begins a sign-in for `notes`; gives the answer.
fn begun(gateway: &Gateway, url: &str) -> plexus_tests::Response {
    begun_as(gateway, "notes", url)
}

/// Begins a sign-in for this source; gives the answer.
fn begun_as(gateway: &Gateway, name: &str, url: &str) -> plexus_tests::Response {
    let asked = json!({"name": name, "url": url});
    gateway.owner().post("/admin/api/sign-ins", asked)
}

/// A server that says nothing holds up no other act of the owner's: not even the new key, with which it ends.
#[test]
fn silent_server_holds_up_no_rotation_of_the_key() {
    let gateway = Gateway::start();
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let url = format!("http://{}/mcp", server.local_addr().expect("an address"));
    let before = gateway.owner();
    let begun = std::thread::spawn(move || {
        let asked = json!({"name": "notes", "url": url});
        before.post("/admin/api/sign-ins", asked)
    });
    let asking = within(PATIENCE, "the gateway asks", move || {
        (server.accept().expect("a connection"), server)
    });
    gateway.cli(["key", "rotate"]).expect_ok();
    assert!(!begun.is_finished(), "the control: it still waits");
    drop(asking);
    // The server broke off.
    let ended = begun.join().expect("an answer");
    ended.expect_status(503);
}

/// An answer that a server, or a proxy before it, gives when it cannot answer is no word on its sign-in.
#[test]
fn busy_server_says_nothing_of_its_sign_in() {
    let gateway = Gateway::start();
    let error = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"down"}}"#;
    let answers = |status: u16, body: &'static str| {
        McpWeb::with_manners(Era::Handshake, move |_| {
            Some(http(status, "application/json", "", body))
        })
    };
    let refused = |web: &McpWeb, words: &str| {
        let refused = begun(&gateway, &web.url());
        refused.expect_status(503);
        assert_contains(
            &refused.text(),
            "it cannot say now how it signs in: it answered",
        );
        assert_contains(&refused.text(), words);
        assert_contains(&refused.text(), "try again later");
    };
    for status in [408, 429, 500, 503] {
        refused(&answers(status, error), "down (code -32000)");
        refused(&answers(status, "{}"), &format!("{status} over HTTP"));
        // Nor is it one on where that is said.
        let web = McpWeb::with_manners(Era::Handshake, move |heard| {
            let status = if heard.line.starts_with("GET") {
                status
            } else {
                401
            };
            Some(http(
                status,
                "text/plain",
                "WWW-Authenticate: Bearer\r\n",
                "",
            ))
        });
        refused(&web, "at /.well-known/oauth-protected-resource/mcp");
    }
    let moved = McpWeb::with_manners(Era::Handshake, |_| {
        Some(http(307, "text/plain", "location: /other\r\n", ""))
    });
    let told = begun(&gateway, &moved.url());
    assert_contains(
        told.expect_status(503).text().as_str(),
        "which names /other",
    );
    // The controls: a server that means its error, and one that serves, ask for no sign-in.
    for web in [answers(400, error), answers(200, error)] {
        assert_eq!(
            begun(&gateway, &web.url()).expect_ok()["sign_in"],
            Value::Null
        );
    }
}

/// Begins one, and has the browser make it; gives its id and what the browser shows.
fn made(gateway: &Gateway, url: &str) -> (String, String) {
    let begun = begun(gateway, url).expect_ok();
    let text = |name: &str| begun["sign_in"][name].as_str().expect("a text").to_owned();
    let page = browse(&text("address"));
    (text("id"), page)
}

/// Lends the server as `notes`, signed in, with `look` as a read.
fn lend(gateway: &Gateway, url: &str) -> Value {
    let (id, page) = made(gateway, url);
    assert_contains(&page, "You are signed in");
    lend_by(gateway, url, &id)
}

/// The same with a sign-in that is made.
fn lend_by(gateway: &Gateway, url: &str, id: &str) -> Value {
    let mut draft = json!({"name": "notes", "url": url, "sign_in": id, "reads": ["look"]});
    let seen = gateway
        .owner()
        .post("/admin/api/extensions/preview", draft.clone());
    let seen = seen.expect_ok();
    draft["digest"] = seen["digest"].clone();
    gateway.owner().must_post("/admin/api/extensions", draft);
    seen
}

fn is_answered(agent: &Agent) -> bool {
    agent.invoke("notes.look", json!({})).json()["ok"] == true
}

fn looks(agent: &Agent) {
    let looked = agent.must("notes.look", json!({}));
    assert_eq!(looked["output"]["text"], "\"look\" {}", "{looked}");
}

/// Nothing that the gateway keeps or says holds a token; `secrets/` alone does.
fn told_nowhere(gateway: &Gateway, tokens: &[String]) {
    assert!(!tokens.is_empty());
    let secret = gateway.state_file("secrets/notes.authorization");
    assert!(
        tokens.iter().all(|token| secret.contains(token)),
        "the control"
    );
    let mut folders = vec![gateway.state()];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.extend((path.file_name() != Some("secrets".as_ref())).then_some(path));
                continue;
            }
            let bytes = std::fs::read(&path).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            assert!(
                tokens.iter().all(|token| !text.contains(token)),
                "{}",
                path.display()
            );
            seen += 1;
        }
    }
    assert!(seen > 3, "{seen} files");
    assert_lacks(&gateway.stderr(), "hush");
    #[cfg(target_os = "linux")]
    for worker in gateway.workers() {
        let of =
            |what: &str| std::fs::read(format!("/proc/{}/{what}", worker.pid)).unwrap_or_default();
        let told = [of("cmdline"), of("environ")].concat();
        assert_lacks(&String::from_utf8_lossy(&told), "hush");
    }
}

#[test]
fn owner_signs_in_by_a_browser_and_stays_signed_in() {
    let web = OAuthWeb::start(Lie::None);
    let mut gateway = Gateway::start();
    let line = ["mcp", "add", "notes", "--url", &web.url(), "--read", "look"];
    let mut terminal = Terminal::start(&gateway.on_terminal(line), 700, 40);
    let shown = terminal.until_shows("waiting for you, 10 minutes at most");
    assert_contains(&shown, "for        notes:read");
    let address = shown
        .split_whitespace()
        .find(|word| word.contains("/authorize?"));
    let address = address.expect("an address").to_owned();
    for part in [
        "code_challenge_method=S256",
        "response_type=code",
        "resource=http%3A%2F%2F127.0.0.1",
    ] {
        assert_contains(&address, part);
    }
    assert_eq!(web.tokens(), (0, 0), "before the browser");
    // Longer than a connection of the owner's may be silent.
    std::thread::sleep(Duration::from_secs(12));
    assert_contains(&browse(&address), "You are signed in");
    let shown = terminal.until_shows("add notes as shown? [y/N]");
    assert_contains(
        &shown,
        "sign-in      yours, kept and renewed here; tokens from http://127.0.0.1",
    );
    terminal.keys("y\n");
    assert!(terminal.end().success(), "{}", terminal.picture());
    assert_eq!(web.tokens(), (1, 0));
    // The answer of a browser counts once.
    assert_contains(&browse(&address), "No sign-in waits for this");
    let agent = gateway.agent_with("caller", &["notes.look", "notes.act"]);
    looks(&agent);
    agent.must_approved(&gateway.owner(), "notes.act", json!({"what": "tea"}));
    // A token that the server does not take any more is renewed, and the call is made.
    web.expire();
    looks(&agent);
    assert_eq!(web.tokens(), (1, 1));
    told_nowhere(&gateway, &web.good());
    gateway.restart();
    let agent = gateway.back(&agent);
    looks(&agent);
    web.expire();
    looks(&agent);
    assert_eq!(web.tokens(), (1, 2));
    let shown = gateway.cli(["mcp", "show", "notes"]);
    assert_contains(shown.expect_ok(), "sign-in      yours");
    // What it is now is compared by its own workers: nobody else renews the sign-in.
    web.expire();
    gateway.must_cli(["mcp", "refresh", "notes", "--yes"]);
    looks(&agent);
    assert_eq!(web.tokens(), (1, 3));
}

/// The memory of every worker is searched for what the sign-in has, before a renewal and after it.
#[test]
#[cfg(target_os = "linux")]
fn tokens_are_in_no_memory_of_a_worker() {
    let web = OAuthWeb::start(Lie::None);
    let gateway = Gateway::start();
    lend(&gateway, &web.url());
    let agent = gateway.agent_with("caller", &["notes.look", "notes.act"]);
    for is_renewed in [false, true] {
        if is_renewed {
            web.expire();
        }
        // Its reader, and its writer.
        looks(&agent);
        assert_eq!(acted(&gateway, &agent)["ok"], true);
        let good = web.good();
        assert_eq!(good.len(), 2, "a token, and what renews it");
        let workers = gateway.processes("plexus-worker-mcp");
        let egress = gateway.processes("plexus-egress");
        assert_eq!((workers.len(), egress.len()), (2, 1));
        for token in &good {
            for worker in &workers {
                assert!(!memory_holds(worker.pid, token.as_bytes()), "{is_renewed}");
            }
            // The control: the same look finds it where it is.
            assert!(
                memory_holds(egress[0].pid, token.as_bytes()),
                "{is_renewed}"
            );
        }
        // And it finds what is the worker's.
        for worker in workers {
            assert!(memory_holds(worker.pid, b"oauth-protected-resource"));
        }
    }
    assert_eq!(web.tokens(), (1, 1));
}

#[test]
fn token_that_soon_ends_is_renewed_ahead() {
    let web = OAuthWeb::start(Lie::None);
    let gateway = Gateway::start();
    web.lives(30);
    lend(&gateway, &web.url());
    let agent = gateway.agent_with("caller", &["notes.look"]);
    // One that is good for a little while is used while no other is to be had.
    web.is_away(true);
    looks(&agent);
    web.is_away(false);
    web.lives(3_600);
    let before = web.tokens();
    looks(&agent);
    let unasked = |web: &OAuthWeb| {
        web.heard()
            .iter()
            .filter(|one| one.line.starts_with("POST /mcp"))
            .count()
    };
    assert_eq!(web.tokens(), (before.0, before.1 + 1));
    let asked = unasked(&web);
    looks(&agent);
    assert_eq!(
        web.tokens().1,
        before.1 + 1,
        "one that is good is not renewed"
    );
    assert!(unasked(&web) > asked);
    // One that lives for so long alone is not renewed by each request.
    web.lives(30);
    web.expire();
    looks(&agent);
    let before = web.tokens();
    looks(&agent);
    assert_eq!(web.tokens(), before);
    web.is_away(true);
    web.expire();
    let refused = agent.invoke("notes.look", json!({}));
    assert_contains(&refused.text(), "gives none now; try again");
    web.is_away(false);
    looks(&agent);
}

#[test]
fn sign_in_asks_for_offline_access_where_it_is_listed() {
    let gateway = Gateway::start();
    let scope = |web: &OAuthWeb, typed: Option<&str>| {
        let asked = json!({"name": "notes", "url": web.url(), "scope": typed});
        let begun = gateway.owner().must_post("/admin/api/sign-ins", asked);
        let of = |name: &str| begun["sign_in"][name].as_str().expect("a text").to_owned();
        let address = of("address");
        assert_lacks(&address, "prompt=");
        assert_contains(&browse(&address), "You are signed in");
        (of("id"), of("scope"))
    };
    // The control: a server that does not list it is not asked for it.
    let (_, asked) = scope(&OAuthWeb::start(Lie::None), None);
    assert_eq!(asked, "notes:read");
    let web = OAuthWeb::start(Lie::None);
    web.wants_offline_access();
    let (id, asked) = scope(&web, None);
    assert_eq!(asked, "notes:read offline_access");
    lend_by(&gateway, &web.url(), &id);
    let agent = gateway.agent_with("caller", &["notes.look"]);
    looks(&agent);
    web.expire();
    looks(&agent);
    assert_eq!(web.tokens(), (1, 1), "renewed, and signed in once");
    assert_lacks(&logged_in(&gateway), "is not good for it now");
    // The owner's own words stand, and such a sign-in ends with its token.
    logged_in_with(&gateway, &["--scope", "notes:read"]);
    assert_eq!(web.scope(), "notes:read");
    let agent = gateway.agent_with("caller", &["notes.look"]);
    looks(&agent);
    web.expire();
    let refused = agent.invoke("notes.look", json!({}));
    assert_contains(&refused.text(), "plexusctl mcp login");
}

#[test]
fn many_sessions_renew_once_for_all() {
    let rounds = match plexus_tests::length() {
        Length::Quick => 5,
        Length::Full => 20,
        Length::Long => 100,
    };
    let web = OAuthWeb::start(Lie::None);
    let gateway = Gateway::start();
    lend(&gateway, &web.url());
    let agents: Vec<Agent> = (0..8)
        .map(|n| gateway.agent_with(&format!("caller-{n}"), &["notes.look"]))
        .collect();
    for round in 1..=rounds {
        web.expire();
        std::thread::scope(|scope| {
            for agent in &agents {
                scope.spawn(|| looks(agent));
            }
        });
        assert_eq!(
            web.tokens(),
            (1, round),
            "one renewal for all, and nobody signs in anew"
        );
    }
}

#[test]
fn sign_in_that_has_ended_says_so_and_is_made_again() {
    let web = OAuthWeb::start(Lie::None);
    let gateway = Gateway::start();
    lend(&gateway, &web.url());
    let agent = gateway.agent_with("caller", &["notes.look"]);
    looks(&agent);
    web.end();
    for _ in 0..3 {
        let refused = agent.invoke("notes.look", json!({}));
        assert_contains(
            &refused.text(),
            "the owner signs in again: plexusctl mcp login",
        );
    }
    let asked = |web: &OAuthWeb| {
        web.heard()
            .iter()
            .filter(|one| one.line == "POST /token")
            .count()
    };
    assert_eq!(asked(&web), 2, "what has ended is asked for once");
    let mut terminal = Terminal::start(&gateway.on_terminal(["mcp", "login", "notes"]), 700, 40);
    let shown = terminal.until_shows("waiting for you, 10 minutes at most");
    let address = shown
        .split_whitespace()
        .find(|word| word.contains("/authorize?"));
    drop(browse(address.expect("an address")));
    assert!(terminal.end().success(), "{}", terminal.picture());
    // It may be another account.
    assert!(!is_answered(&agent));
    let agent = gateway.agent_with("caller", &["notes.look"]);
    looks(&agent);
    gateway.cli(["mcp", "logout", "notes"]).expect_ok();
    let tested = gateway.cli(["sources", "test", "notes"]);
    assert_contains(
        &tested.all(),
        "nobody is signed in: plexusctl mcp login notes",
    );
    assert!(!gateway.state().join("secrets/notes.authorization").exists());
    assert!(!is_answered(&agent));
}

#[test]
fn sign_in_survives_a_kill_or_says_that_it_does_not() {
    let tries = match plexus_tests::length() {
        Length::Quick => 4,
        Length::Full => 8,
        Length::Long => 60,
    };
    let web = OAuthWeb::start(Lie::None);
    let mut gateway = Gateway::start();
    lend(&gateway, &web.url());
    let mut agent = gateway.agent_with("caller", &["notes.look"]);
    let (mut survived, mut ended) = (0, 0);
    for n in 0..tries {
        web.expire();
        let before = web.tokens().1;
        std::thread::scope(|scope| {
            let calling = scope.spawn(|| {
                let body = json!({"id": "notes.look", "input": {}});
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    agent.invoke_body(body)
                }));
            });
            // At another point of the renewal each time: once it is under way, or a little later.
            let began = Instant::now();
            while web.tokens().1 == before && began.elapsed() < Duration::from_secs(2) {
                std::thread::yield_now();
            }
            let later = Duration::from_micros(u64::try_from(n).expect("small") * 400);
            let until = Instant::now() + later;
            while Instant::now() < until {
                std::thread::yield_now();
            }
            gateway.kill9();
            let _ = calling.join();
        });
        gateway.start_again();
        agent = gateway.back(&agent);
        let looked = agent.invoke("notes.look", json!({}));
        if looked.json()["ok"] == true {
            survived += 1;
            continue;
        }
        assert_contains(
            &looked.text(),
            "the owner signs in again: plexusctl mcp login",
        );
        ended += 1;
        let asked = json!({"name": "notes"});
        let begun = gateway.owner().must_post("/admin/api/sign-ins", asked);
        let text = |name: &str| begun["sign_in"][name].as_str().expect("a text").to_owned();
        drop(browse(&text("address")));
        let path = format!("/admin/api/sign-ins/{}/renew", text("id"));
        gateway.owner().post(&path, json!({})).expect_ok();
        agent = gateway.agent_with("caller", &["notes.look"]);
        looks(&agent);
    }
    assert_eq!(survived + ended, tries);
}

/// Signs in again at a terminal; gives what that showed.
fn logged_in(gateway: &Gateway) -> String {
    logged_in_with(gateway, &[])
}

/// The same with further words.
fn logged_in_with(gateway: &Gateway, more: &[&str]) -> String {
    let line = [&["mcp", "login", "notes"], more].concat();
    let mut terminal = Terminal::start(&gateway.on_terminal(line), 700, 40);
    let shown = terminal.until_shows("waiting for you, 10 minutes at most");
    let address = shown
        .split_whitespace()
        .find(|word| word.contains("/authorize?"));
    let page = browse(address.expect("an address"));
    assert_contains(&page, "You are signed in");
    assert!(terminal.end().success(), "{}", terminal.picture());
    shown
}

/// Asks for `act`, has it approved, and calls it.
fn acted(gateway: &Gateway, agent: &Agent) -> Value {
    agent
        .approved(&gateway.owner(), "notes.act", json!({"what": "tea"}))
        .json()
}

/// A call needs more than the sign-in is good for: nothing is done, the owner sees what is wanted, and only the owner gets it.
#[test]
fn further_scope_is_asked_for_by_its_owner_alone() {
    let web = OAuthWeb::start(Lie::None);
    let gateway = Gateway::start();
    lend(&gateway, &web.url());
    let agent = gateway.agent_with("caller", &["notes.look", "notes.act"]);
    let act = acted(&gateway, &agent);
    assert_eq!(act["ok"], true, "the control: {act}");
    web.needs("act", "notes:write");
    for _ in 0..2 {
        let refused = acted(&gateway, &agent);
        let error = &refused["error"];
        assert_eq!(error["code"], "transport_error", "{refused}");
        assert_eq!(error["detail"]["reason"], "scope_missing", "{refused}");
        assert_eq!(error["effect"], "none", "{refused}");
        assert_contains(&refused.to_string(), r#"in its own words: \"notes:write\""#);
        assert_contains(&refused.to_string(), "tell the owner");
        // What the sign-in is good for goes on.
        looks(&agent);
        web.expire();
        looks(&agent);
        assert_eq!((&*web.scope(), web.tokens().0), ("notes:read", 1));
        let status = gateway.cli(["status"]);
        assert_contains(
            &status.all(),
            "the server of notes wants more than your sign-in is good for, in its own words: \"notes:write\": plexusctl mcp login notes",
        );
        let tested = gateway.cli(["sources", "test", "notes"]);
        assert_contains(&tested.all(), "If you want that, sign in again");
    }
    let told = gateway.cli(["audit", "tail", "-n", "400"]);
    assert_contains(
        &told.all(),
        "the server of notes wants more than your sign-in is good for: notes:write",
    );
    let shown = logged_in(&gateway);
    assert_contains(&shown, "for        notes:read notes:write");
    assert_contains(&shown, "new        notes:write");
    assert_eq!(web.scope(), "notes:read notes:write");
    let agent = gateway.agent_with("caller", &["notes.look", "notes.act"]);
    let act = acted(&gateway, &agent);
    assert_eq!(act["ok"], true, "{act}");
    assert_lacks(&gateway.cli(["status"]).all(), "wants more than");
    // A later sign-in keeps it, also after a renewal.
    web.expire();
    looks(&agent);
    let shown = logged_in(&gateway);
    assert_contains(&shown, "for        notes:read notes:write");
    assert_lacks(&shown, "is not good for it now");
    told_nowhere(&gateway, &web.good());
}

/// What a server says that it wants is its own, and bounded; where it gives less than was asked for, the owner is told again.
#[test]
fn scopes_of_a_server_are_bounded_and_what_it_gives_counts() {
    let web = OAuthWeb::start(Lie::Narrow);
    let gateway = Gateway::start();
    lend(&gateway, &web.url());
    let agent = gateway.agent_with("caller", &["notes.look", "notes.act"]);
    let long = "x".repeat(3_000);
    for odd in ["", "a\tb", "\u{e9}", &*long] {
        web.needs("look", odd);
        let refused = agent.invoke("notes.look", json!({}));
        assert_contains(&refused.text(), "scope_missing");
        assert_lacks(&refused.text(), "in its own words");
        let status = gateway.cli(["status"]).all();
        assert_contains(
            &status,
            "the server of notes wants more than your sign-in is good for: plexusctl",
        );
    }
    web.needs("look", "notes:all");
    for _ in 0..2 {
        let agent = gateway.agent_with("caller", &["notes.look"]);
        let refused = agent.invoke("notes.look", json!({}));
        assert_contains(&refused.text(), r#"in its own words: \"notes:all\""#);
        let shown = logged_in(&gateway);
        assert_contains(&shown, "for        notes:read notes:all");
        assert_contains(&shown, "new        notes:all");
        assert_eq!(web.scope(), "notes:read", "it gives less");
    }
}

/// The owner signs out, or removes the source: its server is told, and what that came to is said.
#[test]
fn sign_out_is_told_to_the_server() {
    let gateway = Gateway::start();
    let elsewhere = Listener::start();
    let there = format!("http://localhost:{}/x", elsewhere.port());
    for act in ["logout", "remove"] {
        #[rustfmt::skip]
        let rows = [
            (Lie::None, false, "its server ended it too"),
            (Lie::None, true, "its server could not be reached, and may take its token for 60 min"),
            (Lie::Endless, false, "offers no way to end it, and may take its token for 60 min"),
            (Lie::Revocation(there.clone()), false, "offers no way to end it"),
        ];
        for (lie, is_away, words) in rows {
            let web = OAuthWeb::start(lie.clone());
            // An hour, whenever in the next half minute somebody reads it.
            web.lives(3_630);
            lend(&gateway, &web.url());
            let agent = gateway.agent_with("caller", &["notes.look"]);
            looks(&agent);
            let good = web.good();
            assert_eq!(good.len(), 2, "a token, and what renews it");
            web.is_away(is_away);
            let told = gateway.cli(["mcp", act, "notes"]);
            assert_contains(told.expect_ok(), words);
            assert!(!gateway.state().join("secrets/notes.authorization").exists());
            match (&lie, is_away) {
                (Lie::None, false) => {
                    let renews_first = [good[1].clone(), good[0].clone()];
                    assert_eq!(web.revoked(), renews_first, "each once");
                    assert_eq!(web.good(), Vec::<String>::new());
                }
                _ => assert_eq!((web.revoked(), web.good()), (Vec::new(), good)),
            }
            assert_eq!(elsewhere.heard(), Vec::<String>::new(), "{lie:?}");
            if act == "logout" {
                let again = gateway.cli(["mcp", "logout", "notes"]);
                assert_contains(&again.all(), "notes was not signed in");
                gateway.cli(["mcp", "remove", "notes"]).expect_ok();
            }
        }
    }
    let told = gateway.cli(["audit", "tail", "-n", "400"]);
    assert_contains(&told.all(), "the server of notes ended your sign-in");
}

/// An owner who leaves in the middle of a sign-out leaves no half of one behind.
#[test]
fn a_sign_out_goes_on_when_its_owner_leaves() {
    let gateway = Gateway::start();
    let web = OAuthWeb::start(Lie::None);
    lend(&gateway, &web.url());
    looks(&gateway.agent_with("caller", &["notes.look"]));
    let kept = gateway.state().join("secrets/notes.authorization");
    let held = web.holds_revocation();
    let leaving = gateway.on_terminal(["mcp", "logout", "notes"]);
    let mut leaving = Terminal::start(&leaving, 80, 24);
    until("the server hears of it", || {
        let heard = web.heard();
        let is_end = |one: &Heard| one.line.contains("/revoke");
        heard.iter().any(is_end).then_some(())
    });
    leaving.keys("\u{3}");
    leaving.end();
    assert!(kept.exists(), "it is not over");
    drop(held);
    until("it is over", || (!kept.exists()).then_some(()));
    let grants = || gateway.owner().get("/admin/api/grants").expect_ok()["grants"].clone();
    until("its grants too", || (grants() == json!([])).then_some(()));
}

/// What it says of itself does not fit, or leads elsewhere: it is refused, and who was named elsewhere hears nothing.
#[test]
fn what_does_not_fit_is_refused() {
    let gateway = Gateway::start();
    let elsewhere = Listener::start();
    let there = format!("http://localhost:{}/x", elsewhere.port());
    let inward = format!("https://127.0.0.2:{}/x", elsewhere.port());
    #[rustfmt::skip]
    let rows = [
        (Lie::Issuer, "and was asked for as"),
        (Lie::NoPkce, "does not offer PKCE with S256"),
        (Lie::Page("javascript:alert(1)".into()), "which is no https address"),
        (Lie::Page("http://login.example.com/".into()), "which is no https address"),
        (Lie::Page("https://login.example.com/?t=1&%73tate=mine".into()), "which says otherwise what is asked there"),
        (Lie::Tokens("file:///etc/passwd".into()), "which is no https address"),
        (Lie::Resource, "which is not what was asked"),
        (Lie::Metadata(there.clone()), "which is another host"),
        (Lie::Server(there.clone()), "is no https URL"),
        (Lie::Server(inward.clone()), "the host leads into this machine or network"),
        (Lie::Registration(there.clone()), "is no https URL"),
        (Lie::Registration(inward), "the host leads into this machine or network"),
    ];
    for (lie, words) in rows {
        let web = OAuthWeb::start(lie.clone());
        let refused = begun(&gateway, &web.url());
        // The gateway itself refuses an address; the rest is the server's fault.
        let is_address = words.contains("no https") || words.contains("otherwise");
        let status = if is_address { 400 } else { 503 };
        assert_eq!(refused.status, status, "{lie:?}: {refused}");
        let registered = |one: &Heard| one.line.contains("/register");
        assert!(!web.heard().iter().any(registered), "{lie:?}");
        assert_contains(&refused.text(), words);
        assert_eq!(elsewhere.heard(), Vec::<String>::new(), "{lie:?}");
    }
    for (lie, words) in [
        (
            Lie::CameFrom("https://evil.example".into()),
            "nothing was taken",
        ),
        (Lie::Nameless, "did not name itself"),
    ] {
        let web = OAuthWeb::start(lie);
        let (id, page) = made(&gateway, &web.url());
        assert_contains(&page, words);
        let stage = gateway
            .owner()
            .must_get(&format!("/admin/api/sign-ins/{id}"));
        assert_eq!(stage["stage"], "refused");
        let draft = json!({"name": "notes", "url": web.url(), "sign_in": id});
        let refused = gateway.owner().post("/admin/api/extensions/preview", draft);
        refused.expect_error(404, "not_found");
        assert_eq!(web.tokens(), (0, 0), "no code was exchanged");
    }
    // No redirect is followed when a sign-in begins. A server without metadata of its own is asked as its own issuer.
    for (path, is_needed) in [
        ("/.well-known/oauth-protected-resource/mcp", false),
        ("/.well-known/oauth-authorization-server", true),
        ("/register", true),
    ] {
        let web = OAuthWeb::start(Lie::Sends(path, there.clone()));
        let begun = begun(&gateway, &web.url());
        let status = if is_needed { 503 } else { 200 };
        assert_eq!(begun.status, status, "{path}: {begun}");
        assert_eq!(elsewhere.heard(), Vec::<String>::new(), "{path}");
        let heard = web.heard();
        let asked = heard.iter().any(|heard| heard.line.ends_with(path));
        assert!(asked, "the control: {path}");
    }
    // Tokens elsewhere, of another kind or of another server are found when they are had.
    for (lie, status) in [
        (Lie::Tokens(there.clone()), 400),
        (Lie::Sends("/token", there), 503),
        (Lie::TokenType, 503),
        (Lie::Audience, 503),
    ] {
        let web = OAuthWeb::start(lie.clone());
        let (id, _) = made(&gateway, &web.url());
        let draft = json!({"name": "notes", "url": web.url(), "sign_in": id});
        let refused = gateway.owner().post("/admin/api/extensions/preview", draft);
        assert_eq!(refused.status, status, "{lie:?}: {refused}");
        assert_eq!(elsewhere.heard(), Vec::<String>::new(), "{lie:?}");
    }
    let own = format!("http://127.0.0.1:{}/token", gateway.port());
    let web = OAuthWeb::start(Lie::Tokens(own));
    let (id, _) = made(&gateway, &web.url());
    let draft = json!({"name": "notes", "url": web.url(), "sign_in": id});
    let refused = gateway.owner().post("/admin/api/extensions/preview", draft);
    assert_contains(&refused.text(), "the gateway's own port");
    // A browser that was sent by nobody, and a sign-in that is used for another server.
    let unasked = format!(
        "http://localhost:{}/admin/signed-in?code=x&state=y",
        gateway.port()
    );
    assert_contains(&visited(&gateway, &unasked), "No sign-in waits for this");
    let (one, other) = (OAuthWeb::start(Lie::None), OAuthWeb::start(Lie::None));
    let (id, _) = made(&gateway, &one.url());
    let draft = json!({"name": "notes", "url": other.url(), "sign_in": id});
    let refused = gateway.owner().post("/admin/api/extensions/preview", draft);
    assert_contains(&refused.text(), "the sign-in was made for notes");
    // The control.
    lend(&gateway, &one.url());
    // Nor is one given to a server at another URL whose tokens are had at the same place.
    let (id, _) = made(&gateway, &format!("{}?other", one.url()));
    let path = format!("/admin/api/sign-ins/{id}/renew");
    let refused = gateway.owner().post(&path, json!({}));
    assert_contains(
        &refused.expect_status(400).text(),
        "and it is elsewhere now",
    );
}

/// A client that the owner registered signs in at a server that registers none, and proves itself in that server's way.
#[test]
fn client_of_the_owners_signs_in_where_none_registers() {
    let folder = Folder::empty();
    folder.write("wrong", "another");
    folder.write("secret", OWN_CLIENT.1);
    let path = |name: &str| folder.path().join(name).display().to_string();
    for (way, files) in [
        (
            "client_secret_basic",
            &[("wrong", false), ("secret", true)][..],
        ),
        ("client_secret_post", &[("secret", true)]),
    ] {
        let gateway = Gateway::start();
        let web = OAuthWeb::start(Lie::Unregistered(way));
        let refused = begun(&gateway, &web.url());
        refused.expect_error(422, "schema_validation_failed");
        assert_contains(&refused.text(), "--client-id");
        for (file, is_right) in files {
            let (url, file) = (web.url(), path(file));
            let mut line = vec![
                "mcp", "add", "notes", "--url", &url, "--read", "look", "--yes",
            ];
            line.extend(["--client-id", OWN_CLIENT.0, "--client-secret", &file]);
            line.extend(["--scope", "notes:read notes:more"]);
            let mut terminal = Terminal::start(&gateway.on_terminal(line), 700, 40);
            let shown = terminal.until_shows("waiting for you, 10 minutes at most");
            let mut words = shown.split_whitespace();
            let address = words.find(|word| word.contains("/authorize?"));
            let address = address.expect("an address");
            assert_contains(address, "client_id=own");
            assert_contains(&browse(address), "You are signed in");
            assert_eq!(
                terminal.end().success(),
                *is_right,
                "{}",
                terminal.picture()
            );
            if !is_right {
                assert_contains(&terminal.picture(), "invalid_client");
            }
        }
        assert_eq!(web.scope(), "notes:read notes:more");
        let heard = web.heard();
        assert!(heard.iter().all(|heard| !heard.line.contains("/register")));
        // It proves itself at each renewal.
        let agent = gateway.agent_with("caller", &["notes.look"]);
        looks(&agent);
        web.expire();
        looks(&agent);
        assert_eq!(web.tokens(), (1, 1), "{way}");
    }
}

fn visited(gateway: &Gateway, address: &str) -> String {
    let host = format!("localhost:{}", gateway.port());
    let path = address
        .split_once(&host)
        .expect("the gateway's")
        .1
        .to_owned();
    gateway.client().with("host", &host).get(&path).text()
}

/// The server of the TypeScript SDK, with the SDK's own authorization server, which checks whom a token is for.
struct SdkServer {
    running: Child,
    port: u16,
    /// What it prints, line by line.
    said: Receiver<String>,
    _home: Folder,
}

impl SdkServer {
    fn start() -> Self {
        let home = Folder::empty();
        let ports = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port"));
        let [port, auth] = ports.map(|free| free.local_addr().expect("an address").port());
        let mut command = programs::command(&node(), &home.path());
        command
            .arg(coding_agents::sdk_server())
            .args(["--oauth", "--oauth-strict"])
            .env("MCP_PORT", port.to_string())
            .env("MCP_AUTH_PORT", auth.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let server = Self {
            running: command.spawn().expect("node runs"),
            port,
            said: mpsc::channel().1,
            _home: home,
        };
        for port in [auth, port] {
            until("the server of the SDK", || {
                TcpStream::connect(("localhost", port)).ok()
            });
        }
        server
    }
    /// The server of the Python SDK, likewise.
    fn python() -> Self {
        let home = Folder::empty();
        home.write(
            "server.py",
            include_str!("../fixture/mcp-sign-in/server.py"),
        );
        let mut command = programs::command(Path::new("/usr/bin/python3"), &home.path());
        let [packages, _] = coding_agents::python_packages();
        command
            .arg("server.py")
            .env("PYTHONPATH", packages)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut running = command.spawn().expect("python3 runs");
        let output = BufReader::new(running.stdout.take().expect("its output"));
        let (told, said) = mpsc::channel();
        std::thread::spawn(move || {
            let mut lines = output.lines().map_while(Result::ok);
            lines.try_for_each(|line| told.send(line))
        });
        let mut server = Self {
            running,
            port: 0,
            said,
            _home: home,
        };
        server.port = server.line().parse().expect("a port");
        server
    }
    fn line(&self) -> String {
        let said = self.said.recv_timeout(PATIENCE);
        said.expect("it says something in time")
    }
    /// Ends every token of the one in Python, but those that renew them.
    fn expire(&mut self) {
        let asked = self.running.stdin.as_mut().expect("its input");
        asked.write_all(b"\n").expect("it runs");
        assert_eq!(self.line(), "expired");
    }
    fn url(&self) -> String {
        format!("http://localhost:{}/mcp", self.port)
    }
}

impl Drop for SdkServer {
    fn drop(&mut self) {
        let _ = self.running.kill();
        let _ = self.running.wait();
    }
}

#[test]
fn owner_signs_in_at_a_server_of_the_python_sdk() {
    let mut server = SdkServer::python();
    let gateway = Gateway::start();
    let looks = |agent: &Agent| {
        let looked = agent.must("notes.look", json!({}));
        assert_eq!(looked["output"]["text"], "a note", "{looked}");
    };
    lend(&gateway, &server.url());
    let agent = gateway.agent_with("caller", &["notes.look"]);
    looks(&agent);
    let record = || gateway.state_file("secrets/notes.authorization");
    let before = record();
    server.expire();
    looks(&agent);
    assert_ne!(record(), before, "it was renewed");
    // Its revocation takes no client without a secret (RFC 7009 does), and that is said.
    let told = gateway.cli(["mcp", "logout", "notes"]);
    assert_contains(told.expect_ok(), "its server could not be reached");
}

/// A real client calls a tool of the server, once its owner has signed in there and approved.
fn used(desk: &Desk, ask: impl Fn(&Model, &Desk) -> Conversation + Sync) {
    let server = SdkServer::start();
    let gateway = &desk.house.gateway;
    let (id, page) = made(gateway, &server.url());
    assert_contains(&page, "You are signed in");
    let mut draft = json!({"name": "notes", "url": server.url(), "sign_in": id});
    let seen = gateway
        .owner()
        .post("/admin/api/extensions/preview", draft.clone());
    draft["digest"] = seen.expect_ok()["digest"].clone();
    gateway.owner().must_post("/admin/api/extensions", draft);
    let model = Model::start([
        Step::mcp("plexus", "notes_greet", json!({"name": "Ada"})),
        Step::say("That is all."),
    ]);
    let went = std::thread::scope(|scope| {
        let talking = scope.spawn(|| ask(&model, desk));
        let item = waiting(&desk.house);
        desk.house.owner().approve(&item, "once");
        talking.join().expect("a conversation")
    });
    went.expect_ok();
    model.finish();
    assert_contains(&model.results()[0], "Hello, Ada!");
}

#[test]
fn claude_uses_a_server_of_the_sdk_that_its_owner_signed_in_at() {
    used(&claude_desk(), claude_asked);
}

#[test]
fn codex_uses_a_server_of_the_sdk_that_its_owner_signed_in_at() {
    used(&codex_desk(), |model, desk| codex_asked(model, desk, &[]));
}
