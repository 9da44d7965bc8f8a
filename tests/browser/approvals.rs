//! What the owner does with a request, by pointer and by keyboard.

use crate::scene::{ONCE, Scene, WRITE, note};
use plexus_tests::browser::key;
use plexus_tests::waiting::{until, until_true};
use serde_json::json;

#[test]
fn approve_once() {
    let (scene, agent) = Scene::with_agent("my-cc");
    let item = agent.must_ask(WRITE, note("Projects/new.md", "one\ntwo\n"));
    let browser = &scene.browser;
    browser.reads("#card h2", "Write a file");
    browser.reads("article header > :first-child", "Creates one file");
    let on_terminal = scene.gateway.cli(["approvals", "show", &item]).stdout;
    assert!(
        on_terminal.starts_with("does: Creates one file\n"),
        "{on_terminal}"
    );
    browser.reads(
        ".approved-before",
        "You have not approved this for my-cc yet",
    );
    browser.reads(".headline", "creates Projects/new.md, +2 −0");
    browser.reads(".diff .add", "one");
    browser.see(ONCE).click();
    browser.reads("#notes", "Approved once");
    browser.reads("#queue", "Nothing waits");
    assert_eq!(scene.state_of(&agent, &item), "approved");
    assert!(!scene.workspace.has("Projects/new.md"));
    agent.must(WRITE, note("Projects/new.md", "one\ntwo\n"));
    assert_eq!(scene.workspace.read("Projects/new.md"), "one\ntwo\n");
    // Once is once.
    agent.must_ask(WRITE, note("Projects/new.md", "one\ntwo\n"));
    scene.all_is_well();
}

/// A second window's answer comes too late: it does not count, and takes nothing from the first.
#[test]
fn answer_that_did_not_count_leaves_the_other() {
    let (scene, agent) = Scene::with_agent("my-cc");
    let item = agent.must_ask(WRITE, note("a.md", "a\n"));
    let browser = &scene.browser;
    browser.reads(".headline", "creates a.md");
    browser.see(ONCE).click();
    browser.reads("#notes", "Approved once");
    let late = browser.run_async(&format!(
        "const reply = await fetch('/admin/console/pending/{item}', {{ method: 'POST', body: '{{\"action\":\"deny\"}}',
           headers: {{ 'content-type': 'application/json', 'x-plexus-tab': sessionStorage.getItem('plexus-tab') }} }});
         return reply.status;"
    ));
    assert_eq!(late, 404);
    assert_eq!(scene.state_of(&agent, &item), "approved");
    browser.go(&format!("{}/approvals/{item}", scene.page()));
    browser.reads(".verdict", "Approved in this browser.");
    // The reply to an answer is lost: pressed again, the card says what came of it, and no note says that it did not count.
    let second = agent.must_ask(WRITE, note("b.md", "b\n"));
    scene.open_card(&second);
    let _ = browser.see(ONCE);
    browser.run(
        "const real = window.fetch.bind(window);
         window.fetch = async (path, how) => {
           if (path.endsWith('/view')) throw new TypeError('no way');
           const reply = await real(path, how);
           if (how?.method !== 'POST' || window.lost) return reply;
           window.lost = true;
           throw new TypeError('lost');
         };",
    );
    browser.see(ONCE).click();
    browser.reads("[data-notice]", "Whether this was decided is not known");
    browser.see(ONCE).click();
    browser.reads(".verdict", "Approved in this browser.");
    let notes = browser.run("return document.querySelector('#notes').textContent");
    assert!(!notes.to_string().contains("did not count"), "{notes}");
    // Of a session that is over nobody knows the browser.
    browser.reload();
    browser.see("#sign-out").click();
    browser.go(&scene.link());
    let _ = browser.see("#approvals");
    browser.go(&format!("{}/approvals/{item}", scene.page()));
    browser.reads(".verdict", "Approved.");
}

#[test]
fn approve_for_a_window_within_a_folder() {
    let (scene, agent) = Scene::with_agent("my-cc");
    let item = agent.must_ask(WRITE, note("Projects/new.md", "one\n"));
    let browser = &scene.browser;
    browser.see(".longer summary").click();
    // The words are the gateway's, and the place of this call is the first suggestion.
    browser.reads(".longer", "every call of “Write a file” for up to 1 hour");
    let place = browser.attribute("[data-narrow=path]", "value");
    assert_eq!(place.as_deref(), Some("Projects"));
    browser.see("[name=window][value='1h']").click();
    for none in ["0", "1"] {
        browser.fill("[name=calls]", none);
        browser.reads("[data-sum]", "For it alone, approve it once.");
        let _ = browser.see("[value=window]:disabled");
    }
    browser.fill("[name=calls]", "2");
    browser.reads(
        "[data-sum]",
        "for 1 hour without asking, only where path is at or below “Projects”, at most 2 calls, this one included.",
    );
    scene.picture("window");
    browser.see("form:not([data-fresh]) [value=window]").click();
    browser.reads(
        "#notes",
        "Allowed for 1 hour, only where path is at or below “Projects”, at most 2 calls, this one included",
    );
    assert_eq!(scene.state_of(&agent, &item), "approved");

    agent.must(WRITE, note("Projects/new.md", "one\n"));
    agent.must(WRITE, note("Projects/other.md", "two\n"));
    // Beyond the number, and beyond the folder, it asks again.
    agent.must_ask(WRITE, note("Projects/third.md", "three\n"));
    agent.must_ask(WRITE, note("elsewhere.md", "four\n"));
    scene.all_is_well();
}

/// One yes for a time answers what else waits for it, and says so where it says what was approved.
#[test]
fn requests_that_a_grant_answers_too_are_told() {
    const READ: &str = "workspace.read";
    let scene = Scene::signed_in();
    let agent = scene.gateway.agent("my-cc");
    let browser = &scene.browser;
    let items = ["a.md", "b.md", "c.md"].map(|name| {
        scene.workspace.write(name, "text\n");
        agent.must_ask(READ, json!({"path": name}))
    });
    scene.open_card(&items[0]);
    browser.see(".longer summary").click();
    browser.see("[name=window][value='1d']").click();
    browser.see("form:not([data-fresh]) [value=window]").click();
    browser.reads("#notes", "Allowed for 1 day");
    browser.reads("#notes", "Also answered: 2 other requests of my-cc");
    browser.reads("#queue", "Nothing waits for you.");
    for item in &items {
        assert_eq!(scene.state_of(&agent, item), "approved");
    }
    // Back at its card, it says what became of it and leads to the record.
    browser.go(&format!("{}/approvals/{}", scene.page(), items[1]));
    browser.reads(".verdict", "Approved");
    agent.must(READ, json!({"path": "b.md"}));
    browser.click(".verdict a[href^='/admin/activity?agent=my-cc']");
    browser.reads(".calls", "read b.md");
    scene.all_is_well();
}

#[test]
fn deny_with_a_reason() {
    let (scene, agent) = Scene::with_agent("my-cc");
    let input = note("Projects/new.md", "one\n");
    let item = agent.must_ask(WRITE, input.clone());
    let browser = &scene.browser;
    browser.fill("article:not([data-making]) #reason", "not in this folder");
    browser.see("form:not([data-fresh]) [value=deny]").click();
    browser.reads("#notes", "Denied");
    assert_eq!(scene.state_of(&agent, &item), "denied");
    assert_eq!(agent.status(&item).at("/reason"), "not in this folder");
    agent.must_fail(WRITE, input.clone(), 403, "denied_by_owner");
    assert!(!scene.workspace.has("Projects/new.md"));
    // A slip is taken back on its page, and asked for anew.
    browser.go(&format!("{}/approvals/{item}", scene.page()));
    let denial = format!("[data-send='/pending/{item}/denial']");
    browser.see(&denial).click();
    browser.reads("#notes", "No longer denied");
    assert_ne!(agent.must_ask(WRITE, input), item);
    scene.all_is_well();
}

#[test]
fn by_keyboard_alone() {
    let scene = Scene::open();
    let browser = &scene.browser;
    browser.go(&scene.page());
    // The key's field has the focus: typing and Enter sign in.
    let _ = browser.see("#key");
    // There is no page yet to skip to.
    let skips = "return document.querySelector('.skip').checkVisibility()";
    assert_eq!(browser.run(skips), false);
    browser.press(&scene.gateway.key());
    browser.press(key::ENTER);
    browser.reads("#queue", "Nothing waits");
    assert_eq!(browser.run(skips), true);
    browser.press("g");
    browser.press("p");
    browser.reads("#quiet", "All quiet");

    let agent = scene.agent("my-cc");
    let ask = |name: &str| agent.must_ask(WRITE, note(name, "text\n"));
    let (first, second, third) = (ask("a.md"), ask("b.md"), ask("c.md"));
    browser.reads(".headline", "creates a.md");
    let focus = |what: &str| {
        let of = browser.run("const e = document.activeElement; return [e.value || e.id || e.tagName, e.matches(':focus-visible')]");
        assert_eq!(of, json!([what, true]));
    };
    // Keys only move the focus; Enter is what decides.
    let _ = browser.see(ONCE);
    browser.press("a");
    focus("once");
    assert_eq!(scene.state_of(&agent, &first), "pending");
    browser.press(key::ENTER);
    browser.reads("#notes", "Approved once");
    assert_eq!(scene.state_of(&agent, &first), "approved");

    browser.reads(".headline", "creates b.md");
    browser.press("j");
    browser.reads(".headline", "creates c.md");
    // The heading that has the focus is named by what the card says before it too.
    until_true("its name", || {
        let named = browser.run(
            "const by = document.activeElement.getAttribute('aria-labelledby') ?? '';
             return by.split(' ').map((id) => document.getElementById(id)?.textContent.trim()).join(', ')",
        );
        let named = named.as_str().expect("words");
        named.starts_with("Creates one file, my-cc") && named.ends_with(", asks to Write a file")
    });
    browser.press("k");
    browser.reads(".headline", "creates b.md");
    let _ = browser.see("#card form:not([data-fresh])");
    browser.press("d");
    browser.press("no thank you");
    focus("no thank you");
    browser.press(key::ENTER);
    browser.reads("#notes li", "Denied");
    assert_eq!(agent.status(&second).at("/reason"), "no thank you");

    browser.reads(".headline", "creates c.md");
    let _ = browser.see("#card form:not([data-fresh])");
    browser.press("w");
    browser.press(key::SPACE);
    // Enter in a field of the longer permission decides nothing.
    browser.press(&key::TAB.repeat(2));
    browser.press("3");
    browser.press(key::ENTER);
    browser.reads("[data-sum]", "at most 3 calls");
    assert_eq!(scene.state_of(&agent, &third), "pending");
    browser.press(key::TAB);
    focus("window");
    browser.press(key::ENTER);
    browser.reads("#notes", "Allowed for 1 hour");
    browser.reads("#notes", "Denials ended: 1");
    assert_eq!(scene.state_of(&agent, &third), "approved");
    // With nothing left to answer, the page that says so has the focus and the title; so has a card that is opened directly.
    let is_at = |heading: &str| {
        until_true(heading, || {
            let at = browser.run("return document.activeElement.textContent");
            at.as_str().is_some_and(|at| at.trim() == heading)
        });
    };
    is_at("All quiet");
    assert_eq!(browser.run("return document.title"), "Approvals · Plexus");
    browser.press("/");
    until_true("the field", || {
        browser.run("return document.activeElement.id") == "find"
    });
    browser.press(key::ESCAPE);
    is_at("All quiet");
    browser.go(&format!("{}/approvals/{third}", scene.page()));
    is_at("asked to Write a file");
    scene.all_is_well();
}

#[test]
fn a_request_comes_without_a_reload() {
    let scene = Scene::signed_in();
    let browser = &scene.browser;
    browser.run("window.here = true");
    browser.reads("#live", "live");
    // What is said to who listens is not to be seen.
    let told = |what: &str| {
        until(what, || {
            let said = browser.run("return document.getElementById('announce').textContent");
            said.as_str()?.contains(what).then_some(())
        });
    };
    let agent = scene.agent("my-cc");
    let first = agent.must_ask(WRITE, note("a.md", "a\n"));
    browser.reads(".headline", "creates a.md");
    browser.reads("#glance", "1 waiting");
    told("New request from my-cc: Write a file. 1 waiting.");
    // Another one opens nothing, moves nothing and takes no focus.
    let _ = browser.see(ONCE);
    browser.press("a");
    agent.must_ask(WRITE, note("b.md", "b\n"));
    browser.reads("#queue", "creates b.md");
    told("2 waiting.");
    browser.reads(".headline", "creates a.md");
    assert_eq!(browser.run("return document.activeElement.value"), "once");
    assert_eq!(
        browser.run("return document.title"),
        "(2) my-cc: Write a file · Plexus"
    );
    assert_eq!(
        browser.run("return window.here"),
        true,
        "the page was not loaded anew"
    );
    assert_eq!(scene.state_of(&agent, &first), "pending");
    // A long name makes no row wider than the list, which a low window too can be scrolled to; fingers find what they press.
    let long = scene.agent("an-agent-whose-name-has-more-than-40-letters");
    long.must_ask(WRITE, note("c.md", "c\n"));
    browser.reads("#queue", "creates c.md");
    for (width, height) in [(1440, 900), (844, 390), (390, 844)] {
        browser.size(width, height);
        let is_seen = browser.run(
            "const list = document.querySelector('#queue').getBoundingClientRect();
             return [...document.querySelectorAll('.ticket')].map((row) => {
               row.scrollIntoView({ block: 'center', behavior: 'instant' });
               const box = row.getBoundingClientRect();
               const at = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
               return box.right <= list.right && row.contains(at);
             })",
        );
        assert_eq!(is_seen, json!([true, true, true]), "{width}x{height}");
    }
    let small = browser.run(
        "return [...document.querySelectorAll('button, select, summary, a.chip, .nav a, #find')]
           .filter((one) => one.checkVisibility() && one.getBoundingClientRect().height < 40)
           .map((one) => one.outerHTML.slice(0, 80))",
    );
    assert_eq!(small, json!([]));
    scene.all_is_well();
}

#[test]
fn a_card_that_changed_is_shown_again_before_it_is_approved() {
    let scene = Scene::signed_in();
    scene.workspace.write("a.md", "old\n");
    let agent = scene.agent("my-cc");
    let item = agent.must_ask(WRITE, note("a.md", "new\n"));
    let browser = &scene.browser;
    browser.reads(".diff .del", "old");
    browser.reads(".diff .add", "new");
    // The world moves, and somebody has it computed again: the page says so by itself.
    scene.workspace.write("a.md", "other\n");
    let again = format!("/admin/api/pending/{item}/plan");
    scene.owner().post(&again, json!({})).expect_ok();
    browser.reads(".diff .del", "other");
    browser.reads(
        "[data-notice]",
        "This request changed while you were looking at it.",
    );
    // What the card offers changes without a word to the page: the approval of the old card is refused, with the new one.
    scene
        .owner()
        .must_put("/v1/config", json!({"allowUntilRevoked": false}));
    browser.see(ONCE).click();
    browser.reads(
        "[data-notice]",
        "Not approved. This request changed while you were looking at it.",
    );
    assert_eq!(scene.state_of(&agent, &item), "pending");
    browser.see(".longer summary").click();
    browser.reads(
        ".longer",
        "Not possible: your settings have no window without an end",
    );
    scene.picture("changed");
    // Read again, it can be approved.
    browser.see(ONCE).click();
    browser.reads("#notes", "Approved once");
    assert_eq!(scene.state_of(&agent, &item), "approved");
    // An approved call that comes to nothing is not left as approved alone.
    scene.workspace.write("a.md", "a third\n");
    agent.must_fail(WRITE, note("a.md", "new\n"), 200, "precondition_changed");
    browser.reads(
        "#notes .bad",
        "Approved, but not done: my-cc: Write a file. It was refused before anything changed.",
    );
    browser.see("#notes .bad a").click();
    browser.reads(".verdict", "Why: ");
    let _ = browser.see(".verdict a[href^='/admin/activity/']");
    // The refusal is in the browser's own log, as every answer of that kind is, and nothing else.
    let log = browser.log();
    let errors: Vec<_> = log.iter().filter(|e| e["level"] == "SEVERE").collect();
    assert!(
        errors.len() == 1 && errors[0]["message"].to_string().contains("409"),
        "{errors:#?}"
    );
}

#[test]
fn what_is_decided_elsewhere_says_so_and_leaves() {
    let (scene, agent) = Scene::with_agent("my-cc");
    let browser = &scene.browser;
    let first = agent.must_ask(WRITE, note("a.md", "a\n"));
    let second = agent.must_ask(WRITE, note("b.md", "b\n"));
    browser.reads(".headline", "creates a.md");
    scene.owner().deny(&first, "not today");
    browser.reads(".verdict", "Denied in a terminal.");
    browser.reads(".verdict", "not today");
    assert!(
        browser.sees("[data-answer]").is_none(),
        "there is nothing left to answer"
    );
    browser.reads("#glance", "1 waiting");
    scene.picture("elsewhere");
    browser.see("[data-go-on]").click();
    browser.reads(".headline", "creates b.md");

    // Another browser, with a session of its own.
    let other = scene.another_browser();
    other.reads(".headline", "creates b.md");
    other.see(ONCE).click();
    other.reads("#notes", "Approved once");
    browser.reads(".verdict", "Approved in another browser.");
    assert_eq!(scene.state_of(&agent, &second), "approved");
    // The open card goes on to say what comes of it.
    agent.must(WRITE, note("b.md", "b\n"));
    browser.reads(".verdict", "It was done.");
    // What the agent takes back goes too.
    let third = agent.must_ask(WRITE, note("c.md", "c\n"));
    browser.see("[data-go-on]").click();
    browser.reads(".headline", "creates c.md");
    agent
        .client()
        .must_post("/grants/cancel", json!({"pendingId": third}));
    browser.reads(".verdict", "Nothing will come of it");
    scene.all_is_well();
}

/// A source that is switched off while its card waits, a capability that is hidden, and a pause: the open card says so, and
/// can be approved when that is over. In the list two reads are told apart.
#[test]
fn card_of_a_source_that_is_switched_off_says_so() {
    let scene = Scene::signed_in();
    let browser = &scene.browser;
    scene.workspace.write("a.md", "a\n");
    let agent = scene.gateway.agent("other");
    let read = |path: &str| agent.must_ask("workspace.read", json!({ "path": path }));
    let [item, _] = ["a.md", "b.md"].map(read);
    for path in ["a.md", "b.md"] {
        browser.reads("#queue", &format!("workspace.read: path={path}"));
    }
    scene.open_card(&item);
    let set = "#queue .alike";
    let cli = |words: &[&str]| {
        let said = scene.gateway.cli(words.iter().copied());
        said.expect_ok();
    };
    for (off, on, said) in [
        (
            &["sources", "disable", "workspace"][..],
            &["sources", "enable", "workspace"][..],
            "It can be approved when its source is on again: enable workspace",
        ),
        (
            &["unexpose", "workspace.read"],
            &["expose", "workspace.read"],
            "It can be approved when it is hidden from agents no more: show workspace.read",
        ),
    ] {
        let _ = browser.see(set);
        cli(off);
        browser.reads("[data-answer]", said);
        assert!(browser.sees(ONCE).is_none(), "it could only fail");
        browser.loses(set);
        cli(on);
        let _ = browser.see(ONCE);
    }
    let _ = browser.see(set);
    browser.see(ONCE).click();
    browser.reads("#notes", "Approved once");

    // What is done by the gateway is not done before a pause ends.
    scene.workspace.write("c.md", "c\n");
    let run = json!({"id": "workspace.read", "input": {"path": "c.md"}, "onApproval": "run"});
    let item = agent.invoke_body(run).text_at("/error/pendingId");
    scene.open_card(&item);
    let soon = "done by the gateway as soon as you approve";
    browser.reads("#card header", soon);
    cli(&["sources", "disable", "workspace"]);
    browser.reads(
        "#card header",
        "nothing is done while workspace is disabled",
    );
    cli(&["sources", "enable", "workspace"]);
    browser.reads("#card header", soon);
    cli(&["pause"]);
    browser.reads("#card header", "done by the gateway when you resume");
    scene.owner().approve(&item, "once");
    browser.reads(".verdict", "it is done when you resume them");
    cli(&["resume"]);
    until_true("the card to say that it goes on", || {
        let waits = "document.querySelector('.verdict').textContent.includes('you resume')";
        browser.run(&format!("return {waits}")) == false
    });
    scene.all_is_well();
}

#[test]
fn what_differs_from_the_last_approved_call() {
    let (scene, agent) = Scene::with_agent("my-cc");
    let browser = &scene.browser;
    let item = agent.must_ask(WRITE, note("daily.md", "first\n"));
    browser.reads(".headline", "daily.md");
    assert!(
        browser.sees(".differs").is_none(),
        "there is nothing to compare with"
    );
    scene.owner().approve(&item, "once");
    agent.must(WRITE, note("daily.md", "first\n"));
    let second = agent.must_ask(WRITE, note("daily.md", "second\n"));
    browser.see("[data-go-on]").click();
    browser.reads(
        ".differs",
        "Compared with the last such call that you approved",
    );
    browser.reads(".differs del", "first");
    browser.reads(".differs ins", "second");

    // Of a text with several lines its size, of another file that it is another one: their lines are no part of this call.
    scene.owner().deny(&second, "no");
    for (path, content, said) in [
        (
            "daily.md",
            "second\nthird\n",
            "2 lines, 13 bytes (was 6 bytes)",
        ),
        ("other.md", "third\nfourth\n", "another (was daily.md)"),
    ] {
        let item = agent.must_ask(WRITE, note(path, content));
        browser.go(&format!("{}/approvals/{item}", scene.page()));
        browser.reads(".differs", said);
        assert!(browser.sees(".differs ins").is_none(), "{said}");
    }
    scene.all_is_well();
}

/// Who asks, what its session called before that others wrote, and how often the same was approved.
#[test]
fn what_came_before_a_request() {
    let (scene, agent) = Scene::with_agent("my-cc");
    let browser = &scene.browser;
    let pages = plexus_tests::Folder::empty();
    pages.write("monday.md", "bread and butter\n");
    let journal = include_str!("../../docs/extensions/journal.json");
    let journal: serde_json::Value = serde_json::from_str(journal).expect("JSON");
    let proposal =
        json!({"manifest": journal, "folders": {"pages": pages.path()}, "purpose": "search"});
    let asked = agent.client().post("/extensions", proposal).expect_ok();
    let item = asked["pendingId"].as_str().expect("an id").to_owned();
    let card = &scene.owner().card(&item)["cardDigest"];
    let yes = json!({"action": "approve", "cardDigest": card});
    scene.owner().decide(&item, yes).expect_ok();
    scene.owner().must_grant("my-cc", "journal.find", "1h");
    for (number, words) in [
        "have not approved this for my-cc yet",
        "approved this for my-cc once",
        "approved this for my-cc 2 times",
    ]
    .into_iter()
    .enumerate()
    {
        let item = agent.must_ask(WRITE, note(&format!("{number}.md"), "text\n"));
        scene.open_card(&item);
        browser.reads(".approved-before", words);
        assert!(
            browser.sees(".others").is_none(),
            "it called nothing of others"
        );
        scene.owner().approve(&item, "once");
        agent.must(WRITE, note(&format!("{number}.md"), "text\n"));
    }
    agent.must("journal.find", json!({"text": "butter"}));
    let item = agent.must_ask(WRITE, note("3.md", "text\n"));
    scene.open_card(&item);
    browser.reads(
        ".others",
        "Earlier in this session it called what holds texts of others: ",
    );
    browser.reads(".approved-before", "3 times");
    scene.pictures("before");
    // What it called, and what was approved, are a press away.
    browser.see(".others a").click();
    browser.reads("#card h2", "Activity");
    browser.reads(".calls", "journal");
    scene.open_card(&item);
    browser.see(".approved-before a").click();
    browser.reads(".verdict", "Approved");
    // Another session called nothing yet.
    let later = scene.gateway.agent_with("another", &[]);
    let item = later.must_ask(WRITE, note("4.md", "text\n"));
    scene.open_card(&item);
    browser.reads(".approved-before", "have not approved this for another yet");
    assert!(browser.sees(".others").is_none());
}

/// A sub-agent's request says whose it is, and in which call it asks.
#[test]
fn sub_agent_says_in_whose_call_it_asks() {
    let scene = Scene::workshop();
    let (browser, owner) = (&scene.browser, scene.owner());
    let caller = scene.gateway.agent_with("cc", &["beacon.ask"]);
    let stream = "fixture.stream";
    owner
        .connect_as(
            json!({"agentId": "cc.via.beacon", "capabilities": [stream], "standing": [stream]}),
        )
        .expect_ok();
    let input = json!({"capability": stream, "input": {"text": "x", "pieces": 0, "until": "end"}});
    let item = caller.must_ask("beacon.pass", input.clone());
    browser.reads("#card h2", "Pass on");
    assert!(browser.sees(".within").is_none(), "it is the caller's own");
    owner.approve(&item, "once");
    std::thread::scope(|scope| {
        let call = scope.spawn(|| caller.invoke("beacon.pass", input.clone()));
        until_true("the call of the sub-agent", || {
            scene.fixture.has("streamed")
        });
        // Another call of it, while that one goes on.
        scene.workspace.write("a.md", "one\n");
        let read = json!({"capability": "workspace.read", "input": {"path": "a.md"}});
        let ask = || caller.must("beacon.ask", read.clone())["output"].take();
        let waits = ask();
        let item = waits["error"]["pendingId"]
            .as_str()
            .unwrap_or_else(|| panic!("it has to ask: {waits}"))
            .to_owned();
        scene.open_card(&item);
        browser.reads(".who", "cc.via.beacon");
        browser.reads(
            ".within",
            "A sub-agent: cc calls through beacon, in its call of beacon.pass.",
        );
        scene.fits();
        scene.picture("sub-agent");
        browser.see(ONCE).click();
        browser.reads("#notes", "Approved once");
        assert_eq!(ask()["ok"], true, "it reads what was approved");
        // The call that it asked in is a press away.
        browser.go(&format!("{}/approvals/{item}", scene.page()));
        browser.see(".within a").click();
        browser.reads("#card h2", "cc");
        browser.reads("#card .facts", "beacon.pass");
        let _ = browser.see("#card a.button[href*='/runs/']");
        scene.fixture.write("end", "");
        call.join().expect("a call").expect_ok();
    });
    scene.all_is_well();
}

#[test]
fn a_long_change_is_shown_page_by_page() {
    let (scene, agent) = Scene::with_agent("my-cc");
    let browser = &scene.browser;
    let long: String = (1..=900).map(|n| format!("line {n}\n")).collect();
    agent.must_ask(WRITE, note("long.md", &long));
    browser.reads(".change summary", "+900");
    let rows = || browser.run("return document.querySelectorAll('.diff .add').length");
    assert!(rows().as_u64() < Some(200));
    while let Some(more) = browser.sees(".diff .rest button") {
        let before = rows();
        more.click();
        until_true("more rows", || rows() != before);
    }
    assert_eq!(rows(), 900);
    // It can be put away, and everything can be had as the gateway has it.
    browser.see(".change summary").click();
    browser.loses(".diff");
    browser.see(".everything summary").click();
    browser.reads(".everything .raw", "\"pendingId\"");
    scene.all_is_well();
}

/// The same request at every width and in both lights, with its pictures.
#[test]
fn it_fits_every_width_in_both_lights() {
    let scene = Scene::signed_in();
    let browser = &scene.browser;
    scene.workspace.write(
        "Projects/Plexus.md",
        "# Plexus\n\nA gateway between agents and me.\n\n## Next\n\n- write the console\n- rest\n",
    );
    scene.pictures("empty");
    let agent = scene.agent("claude-code");
    let asked = json!({"id": WRITE, "input": note("Projects/Plexus.md",
        "# Plexus\n\nA gateway between agents and me.\n\n## Done\n\n- write the console\n\n## Next\n\n- rest\n"),
        "purpose": "Move what is done out of the list of next steps, as you asked"});
    agent
        .invoke_body(asked)
        .expect_error(401, "approval_required");
    agent.must_ask(
        WRITE,
        note("Projects/Journal/2026-11-20.md", "Shipped the console.\n"),
    );
    scene
        .agent("codex")
        .must_ask(WRITE, note("notes/build.log", "ok\n"));
    browser.reads(".headline", "replaces Projects/Plexus.md");
    scene.pictures("card");
    browser.see(".longer summary").click();
    browser.see("[name=window][value='1d']").click();
    scene.pictures("longer");
    scene.all_is_well();
}

/// The bar says how the gateway is, as it changes.
#[test]
fn the_bar_tells_how_the_gateway_is() {
    let scene = Scene::signed_in();
    let browser = &scene.browser;
    browser.reads("#glance", "running");
    browser.reads("#glance", "ledger open");
    browser.see("#about summary").click();
    browser.reads(".sources", "workspace");
    browser.reads(".sheet", "No worker runs now");
    // A call starts a worker, which attacks its cage first; the sheet stays open meanwhile.
    let agent = scene.agent("my-cc");
    agent.must("workspace.list", json!({}));
    browser.reads(
        ".sheet",
        "1 of 1 running workers attacked their own sandbox, and it held.",
    );
    browser.reads(".sources", "reader sandboxed");
    scene.gateway.cli(["pause"]).expect_ok();
    browser.reads("#glance", "paused: no agent is served");
    browser.reads("#quiet", "none can ask until you resume them");
    assert!(!browser.text("#quiet").contains("a request appears here"));
    browser.reads("#about summary", "Sources and sandboxes");
    scene.picture("paused");
    scene.gateway.cli(["resume"]).expect_ok();
    browser.reads("#glance", "running");
    browser.reads("#quiet", "a request appears here");
    browser.press(key::ESCAPE);
    assert!(browser.sees("#about[open]").is_none());
    scene.all_is_well();
}
