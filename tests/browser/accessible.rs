//! Every page under axe-core: nothing that keeps somebody out, dark and light, on a telephone and on a desk; and nothing that
//! the page's own policy refuses.

use crate::scene::{Scene, WRITE, addresses, note};
use plexus_tests::browser::Browser;
use plexus_tests::coding_agents::axe;
use plexus_tests::console::form_pages;
use plexus_tests::oauth_web::{Lie, OAuthWeb};
use plexus_tests::relay::Relay;
use plexus_tests::scripted_codex::ScriptedCodex;
use plexus_tests::{Folder, Length, length};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Dark or light, width, height. The first two have both colours and both widths; the others take two minutes more and have
/// found nothing of their own so far: they are for --long.
const LOOKS: [(bool, u32, u32); 4] = [
    (true, 390, 844),
    (false, 1440, 900),
    (false, 390, 844),
    (true, 1440, 900),
];

/// What axe finds that is serious or worse: the rule, and where.
const FOUND: &str = "
    const found = await axe.run(document, { resultTypes: ['violations'] });
    return found.violations.filter((one) => ['serious', 'critical'].includes(one.impact))
      .map((one) => [one.id, one.nodes.slice(0, 4).map((node) => node.html.slice(0, 160) + ' | ' + node.failureSummary)]);";

/// Acts and links of rows that neither their names nor what describes them tell apart. Links with words of others, and those
/// to cards, may be alike: two calls can be.
const TWINS: &str = "
    const of = (id) => document.getElementById(id)?.textContent ?? '';
    const named = (one) => [one.ariaLabel ?? one.textContent, of(one.getAttribute('aria-describedby'))].join();
    const rows = '#card :is(li, tr, [data-page=review] section)';
    const links = 'a[href]:not(.said, :has(.said), [data-kind], [href^=\"/admin/approvals/\"])';
    return [...document.querySelectorAll(`${rows} :is([data-send], [data-act], ${links})`)]
      .filter((one, at, all) => all.slice(0, at).some((other) => named(other) === named(one) && (!one.href || one.href !== other.href)))
      .map(named);";

/// Holds it of a state that no address has, dark on a telephone and light on a desk; a story calls it where it has the page
/// so.
#[track_caller]
pub(crate) fn keeps_nobody_out(browser: &Browser, of: &str) {
    if browser.run("return Boolean(window.axe)") == Value::Bool(false) {
        browser.run(&axe());
    }
    for (dark, width, height) in LOOKS.into_iter().take(2) {
        browser.dark(dark);
        browser.size(width, height);
        // A button that takes no press yet is drawn so.
        browser.loses("#card [data-fresh]");
        let found = browser.run_async(FOUND);
        assert_eq!(found, json!([]), "{of}, {width} wide: {found:#}");
    }
}

#[test]
fn no_page_keeps_anybody_out() {
    let axe = axe();
    let (scene, agent) = Scene::with_agent("my-cc");
    let browser = &*scene.browser;
    scene.workspace.write("a.md", "one\n");
    agent.must("workspace.read", json!({"path": "a.md"}));
    agent.must_approved(&scene.owner(), WRITE, note("b.md", "two\n"));
    agent.must_approved(&scene.owner(), WRITE, note("e.md", "five\n"));
    let waits = agent.must_ask(WRITE, note("c.md", "<b>three</b>\n"));
    agent.must_ask(WRITE, note("d.md", "four\n"));
    let folder = Folder::empty();
    folder.write("x", "x");
    let path = folder.path().display().to_string();
    let lent = scene.gateway.cli(["lend", "my-cc", &path]);
    assert_eq!(lent.status, 0, "{lent:?}");
    let owner = scene.owner();
    let calls = owner.get("/admin/api/activity?only=changed").expect_ok();
    let call = calls["calls"][0]["auditId"].as_str().expect("a change");
    let gateway = &scene.gateway;
    let codex = ScriptedCodex::added_to(gateway);
    codex.folder.write("parts/a.txt", "one\n");
    codex.folder.write("more", "two\n");
    let changes = codex.edits(gateway, "all", "");
    let run = codex.talks(gateway, "Working.");
    let titles = ["Begin", "Go on", "End"].map(str::to_owned);
    let board = codex.board(gateway, "A board", &titles);
    let relay = Relay::start();
    relay.joined_by(gateway, "Ana").expect_ok();
    let made = gateway
        .cli(["channels", "create", "plans", "--json"])
        .json();
    let channel = made["output"]["channel"].as_str().expect("an id");
    gateway.must_cli(["channels", "say", "plans", "Hello."]);
    // The second visit has something to look back on.
    browser.see("#sign-out").click();
    browser.go(&scene.link());
    let _ = browser.see("#lately");
    let none = Vec::new;
    let of = |page: &str| vec![page.to_owned()];
    #[rustfmt::skip]
    let mut pages = addresses(&[
        ("/since", [of("/since?what=decided"), of("/since?what=done")].concat()),
        ("/source-form", of("/source-form?kind=caldav-account")),
        ("/sources/{id}", of("/sources/workspace")),
        ("/agents/{id}", of("/agents/my-cc")),
        ("/agents/{id}/review", of("/agents/my-cc/review")),
        ("/activity/{id}", of(&format!("/activity/{call}"))),
        ("/activity/{id}/undo", of(&format!("/activity/{call}/undo"))),
        ("/together/{id}", of(&format!("/together/{waits}"))),
        // Parts of pages: they are looked at within them.
        ("/agents/{id}/arrival", none()),
        ("/connect/of", none()),
        ("/runs/{id}/said", none()),
        ("/channels/{source}/{channel}/said", none()),
        ("/channels/{source}/{channel}/members", none()),
        ("/changes/{id}/rows", none()),
        ("/find", none()),
        ("/runs/{id}", of(&format!("/runs/{run}"))),
        ("/boards/{id}", of(&format!("/boards/{board}?source=cc-master"))),
        ("/changes/{id}", of(&format!("/changes/{changes}"))),
        ("/channels/{source}/{channel}", of(&format!("/channels/channels/{channel}"))),
    ]);
    pages.extend(["/approvals".to_owned(), format!("/approvals/{waits}")]);
    let looks = match length() {
        Length::Quick | Length::Full => 2,
        Length::Long => LOOKS.len(),
    };
    let mut found = Vec::new();
    for page in pages {
        browser.go(&format!("{}{page}", scene.page()));
        // A button that takes no press yet is drawn so.
        let _ = browser.see("#card article:not([data-fresh], :has([data-fresh])) h2");
        assert_eq!(browser.run(TWINS), json!([]), "{page}");
        browser.run(&axe);
        for (dark, width, height) in LOOKS.into_iter().take(looks) {
            browser.dark(dark);
            browser.size(width, height);
            let here = browser.run_async(FOUND);
            if here != json!([]) {
                found.push(json!({"page": page, "dark": dark, "width": width, "found": here}));
            }
            scene.all_is_well();
        }
    }
    assert!(found.is_empty(), "{:#}", Value::from(found));
}

/// Each page that answers a form: what is typed in it, and what its answer says.
#[test]
fn no_page_of_a_form_keeps_anybody_out() {
    let web = OAuthWeb::start(Lie::None);
    let (scene, _agent) = Scene::with_agent("my-cc");
    let browser = &*scene.browser;
    let folder = Folder::empty();
    let path = folder.path().display().to_string();
    let url = web.url();
    let block = json!({"mcpServers": {"one": {"command": "/bin/true"}, "two": {"command": "npx", "args": ["-y", "@a/b"]}}});
    let block = block.to_string();
    let codex = ScriptedCodex::added_to(&scene.gateway);
    codex.folder.write("parts/a.txt", "one\n");
    codex.folder.write("more", "two\n");
    let changes = codex.edits(&scene.gateway, "all", "");
    let set = format!("/changes/{changes}");
    let manifest = include_str!("../../docs/extensions/journal.json");
    let pages = format!("pages={path}");
    type Case<'c> = (&'c str, &'c str, &'c [(&'c str, &'c str)], &'c str);
    #[rustfmt::skip]
    let cases: [Case<'_>; 7] = [
        ("/connect", "/connect", &[("id", "newest")], "newest is connected"),
        ("/lend/preview", "/lend", &[("path", &path)], "What follows"),
        ("/changes/{id}/preview", &set, &[], "Plan"),
        (
            "/extensions/manifest/preview",
            "/extensions",
            &[("manifest", manifest), ("folders", &pages)],
            "What you would add: journal",
        ),
        ("/extensions/client/preview", "/extensions", &[("block", &block)], "npx downloads it at each start"),
        ("/extensions/server/preview", "/extensions", &[("name", "notes"), ("url", &url)], "Sign in for notes"),
        ("/sources/{id}/sign-in/preview", "/sources/notes", &[], "Sign in for notes"),
    ];
    let known: BTreeSet<String> = cases.iter().map(|(form, ..)| (*form).to_owned()).collect();
    assert_eq!(known, form_pages());
    for (address, page, fields, words) in cases {
        browser.go(&format!("{}{page}", scene.page()));
        let id = match address.starts_with("/changes/") {
            true => changes.as_str(),
            false => "notes",
        };
        let sent = address.replace("{id}", id);
        let sent = sent.strip_suffix("/preview").unwrap_or(&sent);
        let form = format!("form[data-steps$='{sent}'], form[data-form-page$='{sent}']");
        let _ = browser.see(&form);
        let form = format!(":is({form})");
        for (name, text) in fields {
            browser.fill(&format!("{form} [name={name}]"), text);
        }
        browser.click(&format!("{form} > .acts [type=submit]"));
        let seen = match address {
            "/connect" => "#card".to_owned(),
            _ => format!("{form} [data-previewed]"),
        };
        browser.reads(&seen, words);
        keeps_nobody_out(browser, address);
        if address == "/extensions/server/preview" {
            browser.see(&format!("{seen} a[target=_blank]")).click();
            browser.reads(&seen, "What you would add: notes");
            keeps_nobody_out(browser, "a server that is signed in at");
            browser.click(&format!("{form}:not([data-fresh]) [value=add]"));
            browser.reads("#notes", "Added — notes");
        }
    }
    scene.all_is_well();
}

/// The control: what keeps people out is found.
#[test]
fn field_without_a_label_is_found() {
    let axe = axe();
    let scene = Scene::signed_in();
    let browser = &*scene.browser;
    browser.run(&axe);
    browser.run("document.querySelector('#desk').append(document.createElement('input'))");
    let found = browser.run_async(FOUND);
    assert_eq!(found[0][0], "label", "{found}");
}
