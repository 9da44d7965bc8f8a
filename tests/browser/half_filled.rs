//! Forms that are half filled, or on their way, while something else happens on their page; and what the page says of it.

use crate::accessible::keeps_nobody_out;
use crate::scene::{ONCE, Scene, WRITE, note};
use plexus_tests::Folder;
use plexus_tests::browser::Browser;
use plexus_tests::texts::assert_contains;
use plexus_tests::waiting::{until, until_true};
use serde_json::{Value, json};

/// What is in these fields.
fn typed(browser: &Browser, fields: &[&str]) -> Value {
    browser.run(&format!(
        "return {}.map((id) => document.getElementById(id)?.value ?? null)",
        json!(fields)
    ))
}

/// Holds back each call whose address has this in it, until `window.release()`.
fn hold(browser: &Browser, part: &str) {
    browser.run(&format!(
        "const real = window.fetch.bind(window);
         const held = new Promise((done) => {{ window.release = done; }});
         window.fetch = async (path, how) => {{
           if (path.includes({})) await held;
           return real(path, how);
         }};",
        json!(part)
    ));
}

/// Presses something in the middle of the window: the driver does not scroll what lies below the bar.
fn press(browser: &Browser, selector: &str) {
    let _ = browser.see(selector);
    browser.run(&format!(
        "document.querySelector({}).scrollIntoView({{ block: 'center', behavior: 'instant' }})",
        json!(selector)
    ));
    browser.see(selector).click();
}

fn limits_typed(scene: &Scene) {
    let browser = &scene.browser;
    browser.go(&format!("{}/agents/my-cc", scene.page()));
    browser.fill("#limit-bytes", "5000000");
}

/// Each other form comes back as a whole: a grant has all of its limits.
#[test]
fn act_leaves_half_filled_forms_as_they_are() {
    let (scene, agent) = Scene::with_agent("my-cc");
    let browser = &scene.browser;
    limits_typed(&scene);
    press(browser, "#give summary");
    let what = format!("#give-what [value='{WRITE}']");
    press(browser, &what);
    press(browser, "#give-long [value='1d']");
    browser.fill("#give-under", "Projects");
    browser.fill("#give-calls", "3");
    press(browser, "[name=many][value*='workspace.list']");
    press(
        browser,
        "[data-send='/revoke'][data-body*='obsidian.vault.read']",
    );
    browser.reads("#notes", "Revoked — my-cc: obsidian.vault.read");
    browser.loses("[data-send='/revoke'][data-body*='obsidian.vault.read']");
    let fields = [
        "limit-bytes",
        "give-what",
        "give-long",
        "give-under",
        "give-calls",
    ];
    assert_eq!(
        typed(browser, &fields),
        json!(["5000000", WRITE, "1d", "Projects", "3"])
    );
    let ticked =
        browser.run("return document.querySelectorAll('#card [name=many]:checked').length");
    assert_eq!(ticked, 0, "no tick of another list comes back");
    // The form that is sent is empty afterwards, and what it sent is what was typed.
    press(
        browser,
        "article:not([data-fresh]) [data-form-send$='/give'] [type=submit]",
    );
    browser.reads("#notes", "Granted to my-cc");
    until_true("an empty form", || {
        typed(browser, &["give-under", "give-calls", "limit-bytes"]) == json!(["", "", "5000000"])
    });
    // Its button lies in what is folded now.
    until_true("the focus on the page's heading", || {
        browser.run("return document.activeElement.matches('#card h2')") == true
    });
    agent.must(WRITE, note("Projects/a.md", "a\n"));
    agent.must_fail(WRITE, note("elsewhere.md", "a\n"), 401, "approval_required");
    scene.all_is_well();
}

#[test]
fn no_secret_comes_back_over_an_act() {
    let scene = Scene::signed_in();
    let browser = &scene.browser;
    let pages = Folder::empty();
    let journal: Value =
        serde_json::from_str(include_str!("../../docs/extensions/journal.json")).expect("JSON");
    let agent = scene.agent("my-cc");
    let proposal =
        json!({"manifest": journal, "folders": {"pages": pages.path()}, "purpose": "search"});
    let asked = agent.client().post("/extensions", proposal).expect_ok();
    let item = asked["pendingId"].as_str().expect("an id").to_owned();
    let digest = &scene.owner().card(&item)["cardDigest"];
    let yes = json!({"action": "approve", "cardDigest": digest});
    scene.owner().decide(&item, yes).expect_ok();
    browser.go(&format!("{}/extensions", scene.page()));
    browser.fill("#s-name", "travel");
    press(browser, "#s-more summary");
    browser.fill("#s-environment", "A=hush");
    browser.fill("#s-client-secret", "hush");
    let remove = "article:not([data-fresh]) button.no:not([data-fresh])";
    press(browser, remove);
    browser.reads(remove, "Really remove it");
    press(browser, remove);
    browser.reads("#notes", "Removed — journal");
    browser.reads("#card", "None is installed.");
    assert_eq!(
        typed(browser, &["s-name", "s-environment", "s-client-secret"]),
        json!(["travel", "", ""])
    );
    scene.all_is_well();
}

/// The answer of a form says so where its owner is now, and takes them nowhere.
#[test]
fn page_left_while_its_form_is_on_its_way() {
    let (scene, agent) = Scene::with_agent("my-cc");
    let browser = &scene.browser;
    let item = agent.must_ask(WRITE, note("a.md", "a\n"));
    let limits = || {
        scene
            .owner()
            .get("/admin/api/agents/my-cc/limits")
            .to_string()
    };
    for (bytes, says) in [
        ("5000000", "Limits set — my-cc"),
        ("6000000", "Of a page that you left: "),
    ] {
        limits_typed(&scene);
        browser.fill("#limit-bytes", bytes);
        hold(browser, "/limits");
        press(
            browser,
            "article:not([data-fresh]) [data-form-send$='/limits'] button",
        );
        browser.reads("[data-form-send$='/limits'] button", " s");
        press(browser, "#approvals");
        // A field that has the focus is not drawn again.
        press(
            browser,
            &format!("article[data-id='{item}']:not([data-making]) #reason"),
        );
        browser.press("not in this");
        if bytes == "6000000" {
            // It is refused: the agent is gone.
            for delete in [false, true] {
                let gone = json!({"agentId": "my-cc", "delete": delete});
                let owner = scene.owner();
                owner.post("/admin/api/agents/revoke", gone).expect_ok();
            }
        }
        browser.run("window.release()");
        browser.reads("#notes", says);
        assert_contains(&browser.address(), "/admin/approvals");
        if bytes == "5000000" {
            browser.reads(&format!("article[data-id='{item}'] h2"), "Write a file");
            assert_eq!(typed(browser, &["reason"]), json!(["not in this"]));
            assert!(limits().contains(bytes), "{}", limits());
        }
    }
    assert!(!limits().contains("6000000"), "{}", limits());
}

#[test]
fn card_opened_while_another_is_answered_stays() {
    let (scene, agent) = Scene::with_agent("my-cc");
    let browser = &scene.browser;
    let [first, _, third] =
        ["a.md", "b.md", "c.md"].map(|name| agent.must_ask(WRITE, note(name, "text\n")));
    scene.open_card(&first);
    hold(browser, &format!("/pending/{first}"));
    browser.see(ONCE).click();
    browser.see(&format!(".ticket[data-id='{third}']")).click();
    let reason = format!("article[data-id='{third}']:not([data-making]) #reason");
    browser.fill(&reason, "not in this");
    browser.run("window.release()");
    browser.reads("#notes", "Approved once — my-cc: Write a file");
    until_true("the approval", || {
        scene.state_of(&agent, &first) == "approved"
    });
    browser.loses(&format!(".ticket[data-id='{first}']"));
    let _ = browser.see(&reason);
    assert_eq!(typed(browser, &["reason"]), json!(["not in this"]));
    scene.all_is_well();
}

/// One window answers a server's question; the other, half filled, sees that it waits no longer and answers nothing.
#[test]
fn question_answered_in_one_window_is_over_in_the_other() {
    let scene = Scene::signed_in();
    let folder = Folder::empty();
    let agent = scene.gateway.lend_rude(&folder);
    let fields = json!({"city": {"type": "string", "title": "Stadt", "minLength": 2}});
    let schema = json!({"type": "object", "properties": fields, "required": ["city"]});
    let input = json!({"asked": {"message": "Where to?", "requestedSchema": schema}});
    let item = agent.must_ask("rude.ask", input.clone());
    scene.owner().approve(&item, "once");
    let other = scene.another_browser();
    let over = std::thread::scope(|scope| {
        let call = scope.spawn(|| agent.invoke("rude.ask", input.clone()));
        let browser = &*scene.browser;
        let asked = scene.owner().waits("question");
        let asked = asked["pendingId"].as_str().expect("an id");
        for (window, city) in [(&other, "Basel"), (browser, "Bern")] {
            window.go(&format!("{}/approvals/{asked}", scene.page()));
            window.reads("#card", "Where to?");
            keeps_nobody_out(window, "a card of a question");
            window.fill("form:not([data-fresh]) [data-value=city]", city);
        }
        let field = browser.see("[data-value=city]");
        field.fill("B");
        press(browser, "form:not([data-fresh]) [value=reply]");
        browser.reads(".field .why", "Stadt (city) takes 2 to ");
        let focus = browser.run("return document.activeElement.dataset.value");
        assert_eq!(focus, "city", "where it is put right");
        scene.was_refused("400");
        field.fill("Bern");
        press(browser, "form:not([data-fresh]) [value=reply]");
        browser.loses("[data-value=city]");
        other.reads("#notes", "It is no longer pending: ");
        other.loses("[data-value=city]");
        let own = browser.text("#notes");
        assert!(!own.contains("no longer"), "{own}");
        call.join().expect("a call")
    });
    let text = over.expect_ok()["output"]["text"].to_string();
    assert!(text.contains("Bern") && !text.contains("Basel"), "{text}");
    // The page of a lent server says what each tool does in the server's words.
    let page = format!("{}/sources/rude", scene.page());
    scene.browser.go(&page);
    scene.browser.reads("#card", "Does ask");
    scene.all_is_well();
}

/// A key that is held repeats: it decides the card that it was pressed on, and no later one.
#[test]
fn held_enter_decides_one_card() {
    let (scene, agent) = Scene::with_agent("my-cc");
    let browser = &scene.browser;
    let [first, second] = ["a.md", "b.md"].map(|name| agent.must_ask(WRITE, note(name, "text\n")));
    scene.open_card(&first);
    scene.count_posts();
    let enter = |kind: &str, repeats: bool| {
        let key = json!({"type": kind, "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r", "autoRepeat": repeats});
        browser.devtools("Input.dispatchKeyEvent", key);
    };
    let focus = || {
        browser.run(&format!("document.querySelector({}).focus()", json!(ONCE)));
        assert_eq!(browser.run("return document.activeElement.value"), "once");
    };
    let _ = browser.see(ONCE);
    focus();
    enter("keyDown", false);
    let next = format!("article[data-id='{second}']:not([data-making]) {ONCE}");
    let _ = browser.see(&next);
    focus();
    for _ in 0..20 {
        enter("keyDown", true);
    }
    assert_eq!(browser.run("return window.sent"), 1);
    assert_eq!(scene.state_of(&agent, &first), "approved");
    assert_eq!(scene.state_of(&agent, &second), "pending");
    // The control: let go and pressed again, it decides.
    enter("keyUp", false);
    enter("keyDown", false);
    enter("keyUp", false);
    until_true("the second approval", || {
        scene.state_of(&agent, &second) == "approved"
    });
    scene.all_is_well();
}

/// On a telephone's width, far down a page: what was in sight is still to be pressed, and so is each button that is gone to.
#[test]
fn sticky_notes_cover_no_button() {
    let scene = Scene::signed_in();
    let browser = &scene.browser;
    let id = "an-agent-whose-name-is-as-long-as-a-name-of-an-agent-may-well-be";
    let _agent = scene.agent(id);
    browser.size(390, 844);
    browser.go(&format!("{}/agents/{id}", scene.page()));
    let set = "article:not([data-fresh]) [data-form-send$='/limits'] button";
    for bytes in ["5000000", "6000000", "7000000"] {
        browser.fill("#limit-bytes", bytes);
        let _ = browser.see(set);
        browser.run(&format!(
            "document.querySelector({}).scrollIntoView({{ block: 'end', behavior: 'instant' }});
             window.named = (one) => one.textContent + (one.dataset.send || '') + (one.dataset.body || '');
             window.buttons = () => [...document.querySelectorAll('#card :is(button, a, summary)')].filter((one) => one.checkVisibility());
             window.inSight = buttons().filter((one) => {{
               const box = one.getBoundingClientRect();
               return box.top >= Math.max(0, document.getElementById('notes').getBoundingClientRect().bottom) && box.bottom <= innerHeight;
             }}).map(named);",
            json!(set)
        ));
        // The other field is left as it was set elsewhere meanwhile.
        let calls = format!("{}", bytes.len());
        let elsewhere = ["agents", "limit", id, "--calls", &calls];
        scene.gateway.cli(elsewhere).expect_ok();
        browser.see(set).click();
        until_true("the limits that it has now", || {
            let both = "['limit-bytes', 'limit-calls'].map((id) => document.getElementById(id).defaultValue)";
            browser.run(&format!("return {both}")) == json!([bytes, calls])
        });
        let found = browser.run(
            "const notes = document.getElementById('notes').getBoundingClientRect();
             const isCovered = (one) => { const box = one.getBoundingClientRect(); return box.top < notes.bottom && box.bottom > notes.top; };
             const covered = buttons().filter((one) => inSight.includes(named(one)) && isCovered(one)).map(named);
             const lost = buttons().filter((one) => { one.focus(); return isCovered(one); }).map(named);
             return [notes.top, notes.height > 0 && notes.height <= innerHeight * 0.4, inSight.length > 1, covered, lost];",
        );
        assert_eq!(found, json!([0, true, true, [], []]), "{bytes}");
    }
    scene.fits();
}

/// It counts by the gateway's clock, and ends at “expired”. An age is counted up by the same.
#[test]
fn time_left_is_counted_down_to_lapsed() {
    let (scene, agent) = Scene::with_agent("my-cc");
    let browser = &scene.browser;
    let item = agent.must_ask(WRITE, note("a.md", "a\n"));
    scene.open_card(&item);
    let ends = "header time[data-ends]";
    browser.reads(ends, "expires in ");
    // A browser whose clock is wrong by hours counts by the gateway's, once that answered.
    browser.run(
        "const clock = Date.now;
         Date.now = () => clock() + 36e6;
         const real = window.fetch.bind(window);
         window.fetch = async (...of) => { const answer = await real(...of); window.answered = true; return answer; };
         document.dispatchEvent(new Event('visibilitychange'));",
    );
    until_true("an answer", || {
        browser.run("return window.answered") == true
    });
    browser.run(&format!(
        "window.read = [];
         const time = document.querySelector('{ends}');
         new MutationObserver(() => window.read.push(time.textContent)).observe(time, {{ childList: true }});
         time.dateTime = new Date(Date.now() - 36e6 + 4500).toISOString();"
    ));
    browser.reads(ends, "expired");
    let read = browser.run("return window.read");
    let read: Vec<&str> = read
        .as_array()
        .expect("texts")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let (last, before) = read.split_last().expect("texts");
    assert_eq!(*last, "expired");
    assert!(before.len() > 1, "{read:?}");
    for text in before {
        let seconds = text
            .strip_prefix("expires in ")
            .and_then(|rest| rest.strip_suffix(" s"));
        assert!(
            seconds
                .is_some_and(|number| number == "< 1" || number.parse::<u8>().is_ok_and(|s| s > 0)),
            "{read:?}"
        );
    }
    let asked = "header time:not([data-ends])";
    browser.run(&format!(
        "document.querySelector('{asked}').dateTime = new Date(Date.now() - 36e6 - 425e3).toISOString();"
    ));
    browser.reads(asked, "7 min ago");
    // The gateway's time is an hour ahead of its machine's clock, by which `date` goes.
    browser.run(
        "const get = Headers.prototype.get;
         Headers.prototype.get = function (name) {
           return name === 'x-plexus-time' ? new Date(Date.now() - 36e6 + 36e5).toISOString() : get.call(this, name);
         };
         window.answered = false;
         document.dispatchEvent(new Event('visibilitychange'));",
    );
    until_true("an answer", || {
        browser.run("return window.answered") == true
    });
    browser.run(&format!(
        "document.querySelector('{asked}').dateTime = new Date(Date.now() - 36e6 - 425e3).toISOString();"
    ));
    browser.reads(asked, "67 min ago");
    scene.all_is_well();
}

/// A telephone's width has the same as a list: the drawing would be too small to read there.
#[test]
fn who_reaches_what_is_readable_at_each_width() {
    let (scene, long) =
        Scene::with_agent("an-agent-whose-name-is-as-long-as-a-name-of-an-agent-may-well-be");
    let browser = &scene.browser;
    scene.workspace.write("a.md", "one\n");
    long.must("workspace.read", json!({"path": "a.md"}));
    let asks = scene.agent("my-cc");
    asks.must_ask(WRITE, note("b.md", "two\n"));
    browser.go(&format!("{}/live", scene.page()));
    for (width, height) in [(390, 844), (1440, 900)] {
        browser.size(width, height);
        let _ = browser.see("#card h2");
        scene.fits();
        scene.picture(&format!("live-{width}"));
        let small = browser.run(
            "return [...document.querySelectorAll('#card text, #card a:not(:has(path))')].filter((one) => one.checkVisibility() && one.textContent.trim() && one.getBoundingClientRect().height < 11).length",
        );
        assert_eq!(small, 0, "{width}");
        assert_eq!(browser.sees(".net").is_some(), width > 1000, "{width}");
    }
    browser.size(390, 844);
    browser.reads(".pairs", "my-cc and workspace: ");
    browser.reads(".pairs", ", waits for you");
    browser.reads(".pairs", "be and workspace: 1 read");
    scene.all_is_well();
}

/// Twenty agents and two hundred capabilities: each name can be read, and what happens to one pair moves its line alone.
#[test]
fn live_is_readable_with_twenty_agents() {
    let scene = Scene::signed_in();
    let browser = &scene.browser;
    let folders: Vec<Folder> = (0..39).map(|_| Folder::empty()).collect();
    for (number, folder) in folders.iter().enumerate() {
        folder.write("a.md", "one\n");
        let id = format!("a-folder-of-mine-{number}");
        let route = json!({"path": folder.path()});
        let source = json!({"id": id, "kind": "workspace-dir", "label": id, "route": route});
        let owner = scene.owner();
        owner.post("/admin/api/sources", source).expect_ok();
    }
    let agents: Vec<_> = (0..20)
        .map(|number| {
            // One reads in each source, the others in one.
            let sources = if number == 0 { 10 } else { 1 };
            let reads =
                (number..number + sources).map(|at| format!("a-folder-of-mine-{}.read", at % 10));
            let reads: Vec<String> = reads.collect();
            let known: Vec<&str> = reads.iter().map(String::as_str).collect();
            let agent = scene
                .gateway
                .agent_with(&format!("an-agent-of-mine-{number:02}"), &known);
            for read in known {
                agent.must(read, json!({"path": "a.md"}));
            }
            agent
        })
        .collect();
    let seen = agents[0].sees().len();
    assert!(seen >= 200, "{seen} capabilities");
    browser.go(&format!("{}/live", scene.page()));
    let _ = browser.see(".net");
    let over = browser.run(
        "const texts = [...document.querySelectorAll('.net text')];
         const boxes = texts.map((one) => one.getBoundingClientRect());
         const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
         const over = boxes.flatMap((a, at) => boxes.slice(at + 1).filter((b) => meet(a, b)).map(() => texts[at].textContent));
         const around = document.querySelector('.net').getBoundingClientRect();
         const out = texts.filter((_, at) => boxes[at].left < around.left || boxes[at].right > around.right);
         const small = texts.filter((_, at) => boxes[at].height < 11);
         return { texts: texts.length, over, out: out.map((one) => one.textContent), small: small.length }",
    );
    let good = json!({"texts": 20 + 40, "over": [], "out": [], "small": 0});
    assert_eq!(over, good);
    browser.reads("#card", "1 more are not drawn");
    scene.picture("live-of-many");
    // Each pair, as its line is drawn and read.
    let lines = || {
        let all = browser.run(
            "return Object.fromEntries([...document.querySelectorAll('.net a[aria-label]')].map((one) =>
               [one.getAttribute('aria-label').split(':')[0], one.querySelector('path').getAttribute('class')]))",
        );
        all.as_object().expect("lines").clone()
    };
    let before = lines();
    assert_eq!(before.len(), 29);
    browser.run("window.here = true");
    agents[7].must_ask("a-folder-of-mine-7.write", note("b.md", "two\n"));
    let pair = "an-agent-of-mine-07 and a-folder-of-mine-7";
    until_true("the line of the one that asks", || {
        lines()[pair]
            .as_str()
            .is_some_and(|class| class.contains("waits"))
    });
    let mut after = lines();
    after[pair] = before[pair].clone();
    assert_eq!(after, before, "the other lines stay as they were");
    assert_eq!(browser.run("return window.here"), true, "the page stayed");
    scene.all_is_well();
}

/// A source that takes its time to be tested says that it is being tested.
#[test]
fn slow_act_says_that_it_is_under_way() {
    let (scene, _agent) = Scene::with_agent("my-cc");
    let browser = &scene.browser;
    let waits = |button: &str, words: &str| {
        browser.see(button).click();
        browser.reads(button, words);
        // It counts after a second.
        browser.reads(button, " s");
        browser.run("window.release()");
        until_true("the end of it", || !browser.text(button).contains(" s"));
    };
    browser.go(&format!("{}/sources", scene.page()));
    hold(browser, "/api/health");
    waits("[data-source=workspace] [data-act=test]", "Testing…");
    browser.reads("[data-source=workspace] [data-state]", "serves");
    browser.go(&scene.page());
    hold(browser, "/pause");
    waits("#pause", "Pause all agents");
    browser.reads("#pause", "Resume all agents");
    // A page that is long on its way dims the one before it.
    hold(browser, "/console/health");
    press(browser, "#health");
    let _ = browser.see("#card[aria-busy=true]");
    browser.run("window.release()");
    browser.reads("#card h2", "Health");
    browser.loses("#card[aria-busy=true]");
    scene.all_is_well();
}

/// A look at the same card, which has changed meanwhile, takes away nothing that is typed into its answer.
#[test]
fn answer_under_way_stays_over_a_look_at_its_card() {
    let (scene, agent) = Scene::with_agent("my-cc");
    let browser = &scene.browser;
    let asked = json!({"id": WRITE, "input": note("Projects/a.md", "a\n"), "onApproval": "run"});
    let item = agent.invoke_body(asked).text_at("/error/pendingId");
    scene.open_card(&item);
    let revision =
        || browser.run("return document.querySelector('#card article').dataset.revision");
    let settled = |before: &Value| {
        until("the card as it is now", || {
            let card = "return document.querySelector('#card article:not([data-making])') !== null";
            (revision() != *before && browser.run(card) == true).then_some(())
        });
    };
    settled(&Value::Null);
    press(browser, "#card .longer summary");
    let long = "x".repeat(281);
    for (field, text) in [
        ("[data-narrow=path]", "Projects/only"),
        ("[name=calls]", "3"),
        ("#reason", &long),
    ] {
        browser.fill(field, text);
    }
    browser.see("[name=window][value='1h']").click();
    press(browser, "form:not([data-fresh]) [value=deny]");
    let refused = "Nothing was decided: ";
    browser.reads("#card form", refused);
    scene.was_refused("422");
    // The same card: what was chosen stays too, and why it was refused.
    for act in ["pause", "resume"] {
        let before = revision();
        scene.gateway.cli([act]).expect_ok();
        settled(&before);
        let _ = browser.see("[name=window][value='1h']:checked");
        browser.reads("[value=window]:enabled", "Allow for 1 hour");
        browser.reads("#card form", refused);
    }
    browser.fill("#reason", "not now");
    let before = revision();
    let again = format!("/admin/api/pending/{item}/plan");
    scene.owner().post(&again, json!({})).expect_ok();
    settled(&before);
    let now = browser.run(
        "return ['[data-narrow=path]', '[name=calls]', '#reason'].map((field) => document.querySelector(`#card ${field}`).value)",
    );
    assert_eq!(now, json!(["Projects/only", "3", "not now"]));
    scene.all_is_well();
}
