//! Requests that are alike, decided as a set: each by its own card, and none that is not alike.

use crate::scene::{Scene, WRITE, note};
use plexus_tests::waiting::until;
use serde_json::{Value, json};

const APPROVE: &str = "form[data-together]:not([data-fresh]) [value=approve]";
const DENY: &str = "form[data-together]:not([data-fresh]) [value=deny]";

/// Sends a decision on a set as the page would.
fn sent(scene: &Scene, items: &[&String], action: &str) -> Value {
    let owner = scene.owner();
    let listed = items
        .iter()
        .map(|id| json!({"id": id, "cardDigest": owner.card(id)["cardDigest"]}));
    let body = json!({"action": action, "items": listed.collect::<Vec<_>>()});
    scene.browser.run_async(&format!(
        "const reply = await fetch('/admin/console/together', {{ method: 'POST', body: JSON.stringify({body}),
           headers: {{ 'content-type': 'application/json', 'x-plexus-tab': sessionStorage.getItem('plexus-tab') }} }});
         return {{ status: reply.status, body: await reply.json() }};"
    ))
}

#[test]
fn one_of_five_changes_under_the_finger() {
    let (scene, agent) = Scene::with_agent("my-cc");
    let browser = &scene.browser;
    let names = ["a.md", "b.md", "c.md", "d.md", "e.md"];
    let items = names.map(|name| {
        scene.workspace.write(name, "old\n");
        agent.must_ask(WRITE, note(name, "new\n"))
    });
    browser.reads("a.alike", "5 alike of my-cc: Write a file");
    browser.see("a.alike").click();
    browser.reads("#card h2", "asks 5 times to Write a file");
    let lines = browser.run(
        "return [...document.querySelectorAll('.set li')].map(li => li.querySelector('b').textContent + ': ' + li.querySelector('.headline').textContent)",
    );
    let line = |name: &str| format!("Changes one file: replaces {name}, +1 −1");
    assert_eq!(lines, json!(names.map(line)));
    scene.pictures("together");
    browser.reads(APPROVE, "Approve these 5");
    // The file of the third is another one now, and so is its card.
    let owner = scene.owner();
    let before = owner.card(&items[2])["cardDigest"].clone();
    scene.workspace.write("c.md", "other\n");
    let again = format!("/admin/api/pending/{}/plan", items[2]);
    owner.post(&again, json!({})).expect_ok();
    until("another card", || {
        (owner.card(&items[2])["cardDigest"] != before).then_some(())
    });
    browser.see(APPROVE).click();
    browser.reads("#notes", "Approved 4, and 1 not — my-cc: Write a file");
    browser.reads(
        "#notes",
        "Not approved — replaces c.md, +1 −1. It changed while you were looking at it. Read it again.",
    );
    browser.reads(
        "[data-notice]",
        "Not approved with the others. It changed while you were looking at it.",
    );
    browser.reads(".diff .del", "other");
    scene.picture("together-left");
    for (place, item) in items.iter().enumerate() {
        let state = if place == 2 { "pending" } else { "approved" };
        assert_eq!(scene.state_of(&agent, item), state, "{}", names[place]);
    }
    for name in ["a.md", "b.md", "d.md", "e.md"] {
        agent.must(WRITE, note(name, "new\n"));
        assert_eq!(scene.workspace.read(name), "new\n");
    }
    assert_eq!(scene.workspace.read("c.md"), "other\n");
    // Read again, it is one like any other.
    browser.see("form:not([data-fresh]) [value=once]").click();
    browser.reads("#notes", "Approved once");
    assert_eq!(scene.state_of(&agent, &items[2]), "approved");
    // What became of each names what it was about.
    browser.go(&format!("{}/together/{}", scene.page(), items[0]));
    let row = format!("#card .rows li:has([href$='/approvals/{}'])", items[0]);
    browser.reads(&row, "a.md");
    browser.reads(&row, "It was done.");
    scene.all_is_well();
}

#[test]
fn sets_mix_no_agents_and_leave_alone_what_asks_each_time() {
    let scene = Scene::signed_in();
    let browser = &scene.browser;
    let (one, other) = (scene.agent("one"), scene.agent("other"));
    let text = |name: &str| note(name, "text\n");
    let of_one = ["a.md", "b.md"].map(|name| one.must_ask(WRITE, text(name)));
    let of_other = ["c.md", "d.md"].map(|name| other.must_ask(WRITE, text(name)));
    // Another agent's, other members, and what editors run: alone.
    let edits = json!({"path": "e.md", "edits": [{"find": "x", "replace": "y"}]});
    scene.workspace.write("e.md", "x\n");
    let edited = one.must_ask(WRITE, edits);
    let run = one.must_ask(WRITE, text(".vscode/tasks.json"));
    let read = one.must_ask("obsidian.vault.search", json!({"query": "x"}));
    browser.reads("#glance", "7 waiting");
    let sets = until("two sets", || {
        let all =
            browser.run("return [...document.querySelectorAll('a.alike')].map(a => a.textContent)");
        (all.as_array()?.len() == 2).then_some(all)
    });
    let line = |agent: &str| format!("2 alike of {agent}: Write a file. Decide them together");
    assert_eq!(sets, json!([line("one"), line("other")]));
    // Nor does the gateway take them together.
    for mixed in [
        [&of_one[0], &of_other[0]],
        [&of_one[0], &edited],
        [&of_one[0], &read],
    ] {
        let answer = sent(&scene, &mixed, "approve");
        assert_eq!(answer["status"], 400, "{answer}");
    }
    let answer = sent(&scene, &[&run], "approve");
    assert_eq!(answer["body"]["decided"], json!([]), "{answer}");
    for item in of_one.iter().chain([&edited, &run, &read]) {
        assert_eq!(scene.state_of(&one, item), "pending");
    }
    // No to both, with a reason; what another decided meanwhile is said.
    browser.see("a.alike").click();
    browser.reads("#card h2", "asks 2 times");
    browser.fill("#reason", "not today");
    scene.owner().approve(&of_one[1], "once");
    browser.see(DENY).click();
    browser.reads("#notes", "Denied 1, and 1 not — one: Write a file");
    browser.reads("#notes", "It is no longer pending");
    assert_eq!(one.status(&of_one[0]).at("/reason"), "not today");
    assert_eq!(scene.state_of(&one, &of_one[1]), "approved");
    for item in &of_other {
        assert_eq!(scene.state_of(&other, item), "pending");
    }
    // The page of a set that is no more, as *Back* leads to it, says what became of each, and leads on.
    browser.go(&format!("{}/together/{}", scene.page(), of_one[0]));
    for (item, verdict) in of_one.iter().zip(["Denied.", "Approved."]) {
        let row = format!("#card .rows li:has([href$='/approvals/{item}'])");
        browser.reads(&row, verdict);
    }
    browser.click("#card [href^='/admin/activity?agent=one']");
    browser.reads(".calls", "was denied workspace.write by you (not today)");
}

#[test]
fn requests_beyond_the_list_are_reached() {
    let scene = Scene::signed_in();
    let browser = &scene.browser;
    for id in ["one", "two"] {
        let agent = scene.agent(id);
        for number in 0..20 {
            let _ = agent.must_ask(WRITE, note(&format!("{id}-{number}.md"), "text\n"));
        }
    }
    let last = scene.agent("last");
    let items = ["a.md", "b.md"].map(|name| last.must_ask(WRITE, note(name, "text\n")));
    browser.reads("#queue", "and 2 more after these 40");
    browser.reads("#queue", "2 alike of last: Write a file");
    browser.go(&format!("{}/agents/last", scene.page()));
    let waiting = "#card article > p > a[href^='/admin/approvals']";
    browser.reads(waiting, "2 waiting for you");
    let card = format!("/admin/approvals/{}", items[0]);
    assert_eq!(browser.attribute(waiting, "href"), Some(card));
}
