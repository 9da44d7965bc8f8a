//! Who else knocks at the console: another origin, another port, another name, half a credential.

use crate::scene::{Scene, WRITE, note};
use plexus_owner::{Method, TABLE};
use plexus_tests::owner::approval;
use plexus_tests::texts::assert_contains;
use plexus_tests::{Client, Listener};
use serde_json::{Value, json};

/// A session made without a browser: what a program could make of a key.
struct Session {
    /// Sends everything that the page sends.
    whole: Client,
    tab: String,
    origin: String,
}

const VIEW: &str = "/admin/console/view";

fn session(scene: &Scene) -> Session {
    let origin = format!("http://localhost:{}", scene.gateway.port());
    let host = format!("localhost:{}", scene.gateway.port());
    let page = scene
        .gateway
        .client()
        .with("host", &host)
        .with("origin", &origin);
    let reply = page.post(
        "/admin/console/sign-in",
        json!({"key": scene.gateway.key()}),
    );
    let tab = reply.text_at("/tab");
    let cookie = reply.header("set-cookie").expect("a cookie");
    assert!(
        cookie.ends_with("; Path=/admin; HttpOnly; SameSite=Strict"),
        "{cookie}"
    );
    let cookie = cookie.split(';').next().expect("a pair").to_owned();
    Session {
        whole: page.with("cookie", &cookie).with("x-plexus-tab", &tab),
        tab,
        origin,
    }
}

#[test]
fn every_part_of_the_credential_is_needed() {
    let scene = Scene::without_browser();
    let agent = scene.agent("my-cc");
    let item = agent.must_ask(WRITE, note("a.md", "a\n"));
    let card = scene.owner().card(&item);
    let at = format!("/admin/console/pending/{item}");
    let yes = approval(&card, "once");
    let own = session(&scene);
    let other = session(&scene);
    let port = scene.gateway.port();

    #[rustfmt::skip]
    let refused: &[(&str, Client, u16, &str)] = &[
        ("no tab", own.whole.without("x-plexus-tab"), 401, "unauthorized"),
        ("the tab of another session", own.whole.with("x-plexus-tab", &other.tab), 401, "unauthorized"),
        ("no cookie", own.whole.without("cookie"), 401, "unauthorized"),
        ("a cookie of another port's name", own.whole.with("cookie", &cookie_of(&own, port, 1)), 401, "unauthorized"),
        (
            "the key instead",
            own.whole
                .without("cookie")
                .without("x-plexus-tab")
                .with("x-plexus-connection-key", &scene.gateway.key()),
            401,
            "unauthorized",
        ),
        ("no origin", own.whole.without("origin"), 403, "host_forbidden"),
        ("another port's origin", own.whole.with("origin", "http://localhost:1"), 403, "host_forbidden"),
        ("another name's origin", own.whole.with("origin", &format!("http://127.0.0.1:{port}")), 403, "host_forbidden"),
        ("a foreign origin", own.whole.with("origin", "https://evil.example"), 403, "host_forbidden"),
        ("no page's origin", own.whole.with("origin", "null"), 403, "host_forbidden"),
        ("another name", own.whole.with("host", &format!("127.0.0.1:{port}")), 403, "host_forbidden"),
        ("another port", own.whole.with("host", "localhost:1"), 403, "host_forbidden"),
        ("no port", own.whole.with("host", "localhost"), 403, "host_forbidden"),
        ("from another site", own.whole.with("sec-fetch-site", "cross-site"), 403, "host_forbidden"),
        ("from another port", own.whole.with("sec-fetch-site", "same-site"), 403, "host_forbidden"),
    ];
    for (what, client, status, code) in refused {
        let answer = client.post(&at, yes.clone());
        assert_eq!(
            (answer.status, &answer.at("/error/code")),
            (*status, &json!(code)),
            "{what}: {answer}"
        );
        assert_eq!(scene.state_of(&agent, &item), "pending", "{what}");
    }
    // The same for each act of the owner's table. A wrong half of a whole is a guess: more of them would be slowed.
    let whole = |what: &str| matches!(what, "no tab" | "the key instead");
    let plain = refused.iter();
    for (what, client, status, _) in
        plain.filter(|(what, _, status, _)| *status == 403 || whole(what))
    {
        let acts = TABLE.iter().filter(|row| row.method == Method::Post);
        for act in acts {
            let path = act
                .route()
                .replace("{id}", "workspace")
                .replace("{name}", "workspace.x");
            let answer = client.post(&format!("/admin/console/api{path}"), json!({}));
            // A call that no page sends is no route.
            assert!(
                [*status, 404].contains(&answer.status),
                "{what}, {path}: {answer}"
            );
            if let "/pause" | "/revoke" | "/sources" = act.path {
                assert_eq!(answer.status, *status, "{what}, {path}: {answer}");
            }
        }
    }
    // The whole credential makes no call that no page sends.
    for path in [
        "network",
        "agents/connect",
        "console/link",
        "lend",
        "backup/copy",
        "upgrade",
        "pending/x",
    ] {
        let answer = own
            .whole
            .post(&format!("/admin/console/api/{path}"), json!({}));
        assert!([404, 405].contains(&answer.status), "{path}: {answer}");
    }
    let there = own.whole.get("/admin/console/api/sources").expect_ok();
    assert_contains(&there.to_string(), "\"id\":\"workspace\"");
    // What only looks needs no origin, and everything else.
    own.whole.without("origin").get(VIEW).expect_ok();
    for (what, client, status, code) in refused.iter().filter(|(what, ..)| *what != "no origin") {
        let answer = client.get(VIEW);
        assert_eq!(
            (answer.status, &answer.at("/error/code")),
            (*status, &json!(code)),
            "{what}: {answer}"
        );
        assert_eq!(client.get(&at).status, *status, "{what}");
        assert_eq!(
            client.get("/admin/console/events").status,
            *status,
            "{what}"
        );
    }
    // A wrong half of a good whole is on record.
    let audit = scene.owner().audit(100);
    let told = audit
        .iter()
        .filter(|e| e["detail"]["credential"] == "console-session")
        .count();
    assert!(told >= 1, "{audit:#?}");
    // GET acts nowhere.
    for path in [
        "/admin/console/sign-in",
        "/admin/console/sign-out",
        &format!("{at}/plan"),
    ] {
        let answer = own.whole.get(path);
        assert_eq!(answer.status, 404, "{answer}");
    }
    own.whole
        .get(&format!("{at}?action=approve"))
        .expect_status(200);
    assert_eq!(scene.state_of(&agent, &item), "pending");
    // The console's credential opens the console, and no other route of the owner's or of an agent's.
    own.whole
        .get("/admin/api/pending")
        .expect_error(401, "unauthorized");
    own.whole
        .get("/v1/events")
        .expect_error(401, "unauthorized");
    own.whole
        .get("/manifest")
        .expect_error(401, "session_expired");
    // Positive control: the whole of it does.
    own.whole.post(&at, yes).expect_ok();
    assert_eq!(scene.state_of(&agent, &item), "approved");
    assert_eq!(own.origin, format!("http://localhost:{port}"));
}

/// The same cookie under the name that the gateway of another port gives it.
fn cookie_of(session: &Session, port: u16, other: u16) -> String {
    let whole = session.whole.request("GET", "/").bytes_on_wire();
    let whole = String::from_utf8(whole).expect("text");
    let pair = whole
        .lines()
        .find_map(|line| line.strip_prefix("cookie: "))
        .expect("a cookie");
    pair.replace(
        &format!("plexus_console_{port}"),
        &format!("plexus_console_{other}"),
    )
}

#[test]
fn guesses_are_slowed_and_counted() {
    let scene = Scene::without_browser();
    let host = format!("localhost:{}", scene.gateway.port());
    let page = scene
        .gateway
        .client()
        .with("host", &host)
        .with("origin", &format!("http://{host}"));
    let guess = |n: u32| {
        page.post(
            "/admin/console/sign-in",
            json!({"link": format!("plx_link_{n:043}")}),
        )
    };
    let began = std::time::Instant::now();
    for n in 0..8 {
        guess(n).expect_error(401, "unauthorized");
    }
    assert!(
        began.elapsed().as_millis() > 25 + 50 + 100,
        "{:?}",
        began.elapsed()
    );
    let told = |scene: &Scene| {
        let audit = scene.owner().audit(50);
        audit
            .iter()
            .filter(|e| e["detail"]["credential"] == "console-link")
            .count()
    };
    assert_eq!(told(&scene), 8);
    // A right one never waits.
    let link = scene.link();
    let link = link.split_once('#').expect("a link").1;
    page.must_post("/admin/console/sign-in", json!({"link": link}));
    for wrong in [
        json!({}),
        json!({"key": "x", "link": "y"}),
        json!({"key": 5}),
        json!([]),
    ] {
        assert_eq!(page.post("/admin/console/sign-in", wrong).status, 400);
    }
    // A sign-in is an act of the page, too.
    let key = json!({"key": scene.gateway.key()});
    page.without("origin")
        .post("/admin/console/sign-in", key.clone())
        .expect_error(403, "host_forbidden");
    page.with("host", &host.replace("localhost", "127.0.0.1"))
        .post("/admin/console/sign-in", key.clone())
        .expect_error(403, "host_forbidden");
    page.post("/admin/console/sign-in", key).expect_ok();
}

/// A link is the owner's to make: a program without the key gets none, and neither does an agent's mark.
#[test]
fn links_are_made_with_the_key_alone() {
    let scene = Scene::without_browser();
    let agent = scene.agent("my-cc");
    for client in [
        scene.gateway.client(),
        agent.client(),
        agent.bearing(&agent.pat),
        scene.gateway.owner_socket(),
    ] {
        client
            .post("/admin/api/console/link", json!({}))
            .expect_error(401, "unauthorized");
    }
    let link = scene
        .owner()
        .must_post("/admin/api/console/link", json!({}));
    assert_contains(&link["url"].to_string(), "/admin#plx_link_");
}

/// A page of another port of the same host: the browser sends it the cookie, and it gets nothing by it; nor do cookies
/// that it sets under the console's name keep the owner out.
#[test]
fn another_port_of_the_same_host() {
    let (scene, agent) = Scene::with_agent("my-cc");
    let item = agent.must_ask(WRITE, note("a.md", "a\n"));
    let browser = &scene.browser;
    browser.reads(".headline", "creates a.md");
    let other = plexus_tests::Gateway::start();
    browser.new_tab();
    // Any page of that port will do; this one lets scripts run.
    browser.go(&format!(
        "http://localhost:{}/.well-known/plexus",
        other.port()
    ));
    let port = scene.gateway.port();
    let tries = browser.run_async(&format!(
        "const at = 'http://localhost:{port}/admin/console/pending/{item}';
         const told = [];
         for (const how of [
           {{ method: 'POST', credentials: 'include', mode: 'no-cors', body: '{{\"action\":\"deny\"}}' }},
           {{ method: 'POST', credentials: 'include', body: '{{\"action\":\"deny\"}}' }},
           {{ credentials: 'include' }},
           {{ credentials: 'include', headers: {{ 'x-plexus-tab': 'plx_tab_x' }} }},
         ]) told.push(await fetch(at, how).then(async r => r.type + (await r.text()).length, e => 'refused'));
         const frame = document.createElement('iframe');
         frame.src = 'http://localhost:{port}/admin';
         const loaded = new Promise(done => {{ frame.onload = done; setTimeout(done, 2000); }});
         document.documentElement.append(frame);
         await loaded;
         let inside = 'out of reach';
         try {{ inside = frame.contentDocument ? frame.contentDocument.body.innerText : 'out of reach'; }} catch {{ }}
         told.push(inside);
         for (const path of ['/', '/admin/console']) document.cookie = 'plexus_console_{port}=x; path=' + path;
         told.push(document.cookie.includes('plexus_console_{port}=x'));
         return told;"
    ));
    assert_eq!(
        tries,
        json!([
            "opaque0",
            "refused",
            "refused",
            "refused",
            "out of reach",
            true
        ])
    );
    assert_eq!(scene.state_of(&agent, &item), "pending");
    // Positive control: the same request from the console's own page is heeded.
    let done = own_page(
        &scene,
        &format!(
            "const r = await fetch('/admin/console/pending/{item}', {{ method: 'POST', headers: {{ 'x-plexus-tab': sessionStorage.getItem('plexus-tab') }}, body: '{{\"action\":\"deny\"}}' }}); return r.status;"
        ),
    );
    assert_eq!(done, 200);
    assert_eq!(scene.state_of(&agent, &item), "denied");
}

fn own_page(scene: &Scene, script: &str) -> Value {
    let browser = &scene.browser;
    browser.go(&scene.link());
    browser.see("#approvals").click();
    let _ = browser.see("#queue h1");
    browser.run_async(script)
}

/// Ways from a page to a port of this machine, each at a path of its name.
fn calls_home(port: u16) -> String {
    format!(
        "const away = 'http://127.0.0.1:{port}/';
         await new Promise(done => {{ const i = new Image(); i.onload = i.onerror = done; i.src = away + 'image'; }});
         await fetch(away + 'fetch', {{ mode: 'no-cors' }}).catch(() => null);"
    )
}

/// The page's policy, held by the browser: nothing else runs, loads or makes HTML.
#[test]
fn the_policy_holds() {
    let scene = Scene::signed_in();
    let browser = &scene.browser;
    let listener = Listener::start();
    let calls_home = calls_home(listener.port());
    let tried = browser.run_async(&format!("{calls_home}
         const told = {{}};
         const attempt = (name, act) => {{ try {{ act(); told[name] = 'done'; }} catch (e) {{ told[name] = e.name; }} }};
         attempt('html', () => {{ document.body.innerHTML = '<b>x</b>'; }});
         attempt('policy', () => {{ trustedTypes.createPolicy('another', {{}}); }});
         attempt('again', () => {{ trustedTypes.createPolicy('plexus-console', {{ createHTML: t => t }}); }});
         const inline = document.createElement('p');
         inline.setAttribute('style', 'color: red');
         document.body.append(inline);
         told.style = getComputedStyle(inline).color;
         told.own = await fetch('/v1/health').then(r => r.status, () => 'refused');
         // Not while the driver's own call is on the stack, which may do more than the page.
         await new Promise(done => setTimeout(done));
         attempt('eval', () => {{ eval('1'); }});
         return told;",
    ));
    for refused in ["html", "eval", "policy", "again"] {
        assert!(
            tried[refused] == "TypeError" || tried[refused] == "EvalError",
            "{refused}: {tried}"
        );
    }
    assert_ne!(tried["style"], "rgb(255, 0, 0)");
    assert_eq!(listener.heard(), Vec::<String>::new());
    // Positive controls: what the policy allows works, and a page without it reaches the other side.
    assert_eq!(tried["own"], 200);
    let other = plexus_tests::Gateway::start();
    browser.new_tab();
    browser.go(&format!("{}/.well-known/plexus", other.base()));
    assert!(browser.run_async(&calls_home).is_null());
    let heard = listener.heard().join("\n");
    for path in ["GET /image ", "GET /fetch "] {
        assert!(heard.contains(path), "{path}: {heard}");
    }
    let page = scene
        .gateway
        .client()
        .with("host", &format!("localhost:{}", scene.gateway.port()))
        .get("/admin");
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(
        policy.starts_with("default-src 'none';") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert!(policy.contains("frame-ancestors 'none'"));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
}
