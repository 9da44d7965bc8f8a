//! What appears under the finger takes no answer: real presses and keys, sent at once after what is shown was replaced.

use crate::scene::{Scene, WRITE, note};
use plexus_tests::browser::key;
use plexus_tests::texts::text_of;
use plexus_tests::waiting::{until, until_true};
use plexus_tests::{Agent, Length};
use serde_json::json;
use std::io::Write as _;

/// Milliseconds in which what has appeared takes no answer, less the clock's grain. The page counts from when it paints, which
/// is after an observer hears of the change. One that came later proves nothing.
const GRACE: f64 = 500.0 - 2.0;
/// How another thing comes under the finger.
const WAYS: [&str; 4] = [
    "another card",
    "the same card made anew",
    "another set",
    "another card for the keyboard",
];
/// Requests that wait at once while they are answered on purpose.
const AT_ONCE: usize = 10;

fn tries() -> usize {
    match plexus_tests::length() {
        // A hundred take three minutes, and found nothing that forty did not.
        Length::Quick | Length::Full => 40,
        Length::Long => 1_000,
    }
}

/// Notes when the page last replaced what it shows, and what a real press or key met.
const WATCH: &str = "window.replaced = 0;
    new MutationObserver(() => { window.replaced = performance.now(); }).observe(document.getElementById('card'), { childList: true });
    document.addEventListener('click', (event) => {
      window.met = [event.target.closest('button')?.value ?? null, event.timeStamp - window.replaced, event.isTrusted];
    }, true);";

/// The middle of a button, once it is in view.
fn place(scene: &Scene, button: &str) -> (i64, i64) {
    let at = scene.browser.run(&format!(
        "const button = document.querySelector({});
         button.scrollIntoView({{ block: 'center', behavior: 'instant' }});
         const box = button.getBoundingClientRect();
         return [Math.round(box.x + box.width / 2), Math.round(box.y + box.height / 2)];",
        json!(button)
    ));
    let of = |n: usize| at[n].as_i64().expect("a number");
    (of(0), of(1))
}

/// Replaces what is shown, and gives where the button of what came is.
fn replaced(scene: &Scene, how: &str, shows: &str, button: &str) -> (i64, i64) {
    let done = scene.browser.run_async(&format!(
        "window.met = null;
         const before = document.querySelector('#card article');
         {how}
         for (let n = 0; n < 400; n += 1) {{
           const now = document.querySelector('#card article');
           if (now && now !== before && now.matches({}) && now.querySelector({button})) return true;
           await new Promise((next) => setTimeout(next, 5));
         }}
         return false;",
        json!(shows),
        button = json!(button),
    ));
    assert_eq!(done, true, "{shows} after {how}");
    place(scene, button)
}

#[test]
fn what_appears_under_the_finger_is_not_answered() {
    let scene = Scene::signed_in();
    let browser = &scene.browser;
    let agents = ["one", "two"].map(|id| scene.agent(id));
    let ask_all = |round: usize| -> Vec<(usize, String)> {
        let items = (0..4).map(|n| {
            let input = note(&format!("{round}-{n}.md"), "text\n");
            (n / 2, agents[n / 2].must_ask(WRITE, input))
        });
        let items: Vec<(usize, String)> = items.collect();
        let ids: Vec<&str> = items.iter().map(|(_, item)| &**item).collect();
        // The sets of those before may still be shown: these four and no others, in one look.
        until_true("both sets", || {
            browser.run(&format!(
                "const shown = [...document.querySelectorAll('.ticket[data-id]')].map((one) => one.dataset.id);
                 return shown.length === 4 && {}.every((id) => shown.includes(id))
                   && document.querySelectorAll('a.alike').length === 2",
                json!(ids)
            )) == true
        });
        items
    };
    let mut items = ask_all(0);
    browser.run(WATCH);
    // Each way has its own share: one that always came too late would prove nothing.
    let (mut tried, mut late) = ([0; WAYS.len()], [0; WAYS.len()]);
    let (mut at, mut before) = (0, String::new());
    loop {
        let least = (0..WAYS.len()).min_by_key(|way| tried[*way]);
        let way = least.expect("a way");
        if tried[way] * WAYS.len() >= tries() {
            break;
        }
        assert!(
            late[way] < tries(),
            "{}: {} presses came too late, {} did not",
            WAYS[way],
            late[way],
            tried[way]
        );
        at += 1;
        // An answer may have been on its way when the last press was looked at.
        for (agent, item) in &items {
            let state = scene.state_of(&agents[*agent], item);
            assert_eq!(state, "pending", "after {before}");
            // One that is made anew is in no set meanwhile.
            let _ = scene.owner().card(item);
        }
        let item = &items[at % items.len()].1;
        let article = format!("[data-id='{item}']");
        let ticket = format!("document.querySelector(\".ticket[data-id='{item}']\").click();");
        let (how, shows, button) = match way {
            1 => (
                format!(
                    "{ticket} for (let n = 0; n < 400 && !document.querySelector(\"#card {article}:not([data-making])\"); n += 1)
                       await new Promise((next) => setTimeout(next, 5));
                     await fetch('/admin/console/api/pending/{item}/plan', {{ method: 'POST', body: '{{}}', headers:
                       {{ 'content-type': 'application/json', 'x-plexus-tab': sessionStorage.getItem('plexus-tab') }} }});"
                ),
                format!("{article}:not([data-making])"),
                "[value=once]",
            ),
            2 => (
                format!(
                    "for (let n = 0; n < 400 && document.querySelectorAll('a.alike').length < 2; n += 1)
                       await new Promise((next) => setTimeout(next, 5));
                     document.querySelectorAll('a.alike')[{}].click();",
                    at / 4 % 2
                ),
                "[data-page=together]".to_owned(),
                "[value=approve]",
            ),
            _ => (ticket, format!("{article}:not([data-making])"), "[value=once]"),
        };
        let (x, y) = replaced(&scene, &how, &shows, button);
        match way {
            3 => browser.press(&format!("a{}", key::ENTER)),
            _ => browser.press_at(x, y),
        }
        let met = browser.run("return window.met");
        before = format!("{}, which met {met}", WAYS[way]);
        let is_hit = met[0] == button.trim_matches(['[', ']']).trim_start_matches("value=");
        let since = met[1].as_f64().unwrap_or(f64::MAX);
        if is_hit && since < GRACE {
            tried[way] += 1;
            for (agent, item) in &items {
                let state = scene.state_of(&agents[*agent], item);
                assert_eq!(
                    state, "pending",
                    "{}, {since} ms after it appeared",
                    WAYS[way]
                );
            }
            continue;
        }
        late[way] += 1;
        // A press that came after the grace is an answer, and proves nothing: other requests take the place of these.
        for (_, item) in &items {
            let _ = scene.owner().decide(item, json!({"action": "deny"}));
        }
        items = ask_all(at);
    }
    for (way, name) in WAYS.iter().enumerate() {
        let told = format!(
            "{name}: {} pressed within the grace, {} after it\n",
            tried[way], late[way]
        );
        let _ = std::io::stderr().write_all(told.as_bytes());
    }
    for (_, item) in &items {
        scene.owner().deny(item, "no");
    }
    browser.see("#approvals").click();
    browser.reads("#queue", "Nothing waits");
    deliberate(&scene, &agents);
}

/// The control: as many answers, each after the grace, are all taken.
fn deliberate(scene: &Scene, agents: &[Agent; 2]) {
    let browser = &scene.browser;
    let mut taken = 0;
    while taken < tries() {
        let many = AT_ONCE.min(tries() - taken);
        let items: Vec<(usize, String)> = (taken..taken + many)
            .map(|n| {
                let item = agents[n % 2].must_ask(WRITE, note(&format!("{n}.md"), "text\n"));
                (n % 2, item)
            })
            .collect();
        for (_, item) in &items {
            scene.open_card(item);
            let button = format!("article[data-id='{item}'] form:not([data-fresh]) [value=once]");
            let _ = browser.see(&button);
            let (x, y) = place(scene, &button);
            browser.press_at(x, y);
            browser.loses(&format!("article[data-id='{item}']"));
        }
        for (agent, item) in &items {
            until("the approval", || {
                (scene.state_of(&agents[*agent], item) == "approved").then_some(())
            });
        }
        taken += many;
    }
}

/// Rounds of a page that takes the place of another.
const PAGES: usize = 5;

/// The page of an undo takes no press that was under way when it came, and takes the next one.
#[test]
fn page_that_appears_under_the_finger_takes_no_act() {
    let scene = Scene::signed_in();
    let browser = &scene.browser;
    let one = json!({"agentId": "one", "capabilities": [WRITE], "standing": [WRITE]});
    let agent = scene.gateway.agent_as(one);
    let button = "[data-send^='/undo/']";
    let (mut tried, mut late) = (0, 0);
    while tried < PAGES {
        assert!(
            late < 4 * PAGES,
            "{late} presses came too late, {tried} did not"
        );
        let file = format!("{tried}-{late}.md");
        agent.must(WRITE, note(&file, "text\n"));
        let calls = scene.owner().must_get("/admin/api/activity?only=changed");
        let call = text_of(&calls["calls"][0]["auditId"]);
        browser.go(&format!("{}/activity/{call}", scene.page()));
        let _ = browser.see("a[href$='/undo']");
        browser.run(WATCH);
        let way = "document.querySelector(\"a[href$='/undo']\").click();";
        let (x, y) = replaced(&scene, way, "[data-page=undo]", button);
        browser.press_at(x, y);
        let met = browser.run("return window.met");
        if met[0] != "" || met[1].as_f64().unwrap_or(f64::MAX) >= GRACE {
            late += 1;
            continue;
        }
        tried += 1;
        let _ = browser.see(&format!("article:not([data-fresh]) {button}"));
        assert!(
            scene.workspace.has(&file),
            "{} ms after it appeared",
            met[1]
        );
        browser.see(button).click();
        browser.reads("#notes", "Taken back");
        assert!(!scene.workspace.has(&file), "the control");
    }
    scene.all_is_well();
}
