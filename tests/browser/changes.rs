//! A source that can do more than when it was granted: one card in the console, and one act decides it.

use crate::accessible::keeps_nobody_out;
use crate::scene::{LOOKS, Scene};
use plexus_tests::browser::{Browser, key};
use plexus_tests::{Agent, Folder, Gateway, Owner, editions, waiting::until};
use serde_json::{Value, json};
use tempfile::TempDir;

const ECHO: &str = "fixture.echo";
const SLOW: &str = "fixture.slow";
/// What the owner calls the source: text, whatever it looks like.
const LABEL: &str = "<i>Shared</i> folder";
/// A button that takes an answer.
const YES: &str = "form:not([data-fresh]) [value=once]";

/// A gateway that knows the fixture, with two agents whose reads stand.
struct Shop {
    gateway: Gateway,
    agents: [Agent; 2],
    programs: TempDir,
    _folder: Folder,
}

impl Shop {
    fn open() -> Self {
        let gateway = Gateway::builder().fixture().start();
        let folder = Folder::empty();
        folder.write("state", "0");
        let source = json!({"id": "fixture", "kind": "fixture-dir", "label": LABEL, "route": {"path": folder.path()}});
        let owner = gateway.owner();
        owner.post("/admin/api/sources", source).expect_ok();
        Self {
            agents: ["one", "two"].map(|id| gateway.agent_with(id, &[ECHO, SLOW])),
            gateway,
            programs: TempDir::with_prefix("plx").expect("a temporary folder"),
            _folder: folder,
        }
    }
    fn owner(&self) -> Owner {
        self.gateway.owner()
    }
    /// Starts another release of the connector on the same home.
    fn release(&mut self, edition: &str) {
        let workers = editions::workers(self.programs.path(), edition);
        assert!(self.gateway.stop().success(), "a clean stop");
        let next = Gateway::builder()
            .fixture()
            .env(editions::VARIABLE, edition)
            .arg("--workers")
            .arg(&workers.to_string_lossy());
        self.gateway.start_again_as(next);
    }
    /// A browser, signed in since this launch.
    fn sign_in(&self, browser: &Browser) {
        let link = self.gateway.cli(["console"]);
        browser.go(link.expect_ok().trim());
        browser.see("#approvals").click();
        let _ = browser.see("#queue h1");
    }
    /// How many grants do not rest.
    fn live(&self) -> usize {
        let grants = self.owner().grants();
        let live = grants.iter().filter(|grant| grant["suspended"].is_null());
        live.count()
    }
    fn echo(&self, agent: usize, text: &str) -> plexus_tests::Response {
        let agent = &self.agents[agent];
        let back = self.gateway.back(agent);
        back.invoke(ECHO, json!({"text": text}))
    }
    fn card(&self) -> Value {
        let mut waiting = self.owner().pending();
        waiting.retain(|item| item["kind"] == "change");
        assert_eq!(waiting.len(), 1, "{waiting:#?}");
        waiting.remove(0)
    }
}

fn picture(browser: &Browser, name: &str) {
    if let Some(folder) = std::env::var_os("PLEXUS_PICTURES") {
        let path = std::path::Path::new(&folder).join(format!("{name}.png"));
        std::fs::write(path, browser.whole_picture()).expect("the folder is there");
    }
}

fn fits(browser: &Browser) {
    let wide = browser
        .run("const e = document.documentElement; return e.scrollWidth <= window.innerWidth");
    assert_eq!(wide, true, "the page fits its width");
}

#[test]
fn a_source_that_widened_is_shown_and_goes_on_or_ends() {
    let mut shop = Shop::open();
    shop.release("wider");
    assert_eq!(shop.live(), 2, "both grants of the echo rest");
    shop.echo(0, "while it rests")
        .expect_error(401, "approval_required");
    // That call is an item of its own now; what it asks for waits for the source.
    let asked = shop.owner().pending();
    let asked = asked.iter().find(|item| item["kind"] == "grant");
    let asked = asked.expect("the call")["pendingId"].clone();
    shop.owner().deny(asked.as_str().expect("an id"), "not now");

    let (browser, other) = (Browser::start(), Browser::start());
    shop.sign_in(&browser);
    shop.sign_in(&other);
    browser.reads("#glance", "1 waiting");
    browser.reads("#queue .ticket", "Has suspended grants until you decide");
    for (place, words) in [
        (".who", "fixture"),
        (".who", LABEL),
        ("#card h2", "Has suspended grants until you decide"),
        (".differs", "it also takes `times`"),
        (".differs", ECHO),
        (".names", "one"),
        (".names", "two"),
        (
            ".answer",
            "its 2 grants on fixture are resumed; nothing new is granted",
        ),
        (".answer", "its 2 grants on fixture are revoked"),
    ] {
        browser.reads(place, words);
    }
    for (dark, width, height, name) in LOOKS {
        browser.dark(dark);
        browser.size(width, height);
        fits(&browser);
        picture(&browser, &format!("change-{name}"));
    }
    keeps_nobody_out(&browser, "a card of a source");
    browser.see(".everything summary").click();
    let card = shop.card();
    browser.reads(".raw", card["cardDigest"].as_str().expect("a digest"));

    // One of the two grants goes: the card is another one now, and says so by itself.
    shop.owner().revoke("two", ECHO);
    browser.reads(".answer", "its grant on fixture is resumed");
    browser.reads(
        "[data-notice]",
        "This request changed while you were looking at it.",
    );
    let digest = browser.attribute("#card article", "data-digest");
    assert_eq!(digest.as_deref(), shop.card()["cardDigest"].as_str());
    assert_ne!(shop.card()["cardDigest"], card["cardDigest"]);
    assert_eq!(shop.live(), 2, "nothing was decided");

    browser.see(YES).click();
    browser.reads("#notes", "Resumed — fixture");
    assert!(!browser.text("#notes").contains("until you decide"));
    browser.reads("#glance", "0 waiting");
    browser.reads("#queue", "Nothing waits");
    // The other browser sees it by itself.
    other.reads(
        ".verdict",
        "Approved in another browser: it serves as its card showed.",
    );
    other.reads("#glance", "0 waiting");
    assert_eq!(shop.live(), 3);
    shop.echo(0, "on").expect_ok();
    shop.echo(1, "on").expect_error(401, "approval_required");
    other.see("[data-go-on]").click();
    other.reads("#card h2", "Echo");

    // The next release reaches further: everything on the source rests, and the keyboard ends it.
    shop.release("reaching");
    assert_eq!(shop.live(), 0);
    shop.sign_in(&browser);
    shop.sign_in(&other);
    browser.reads(".answer", "its 3 grants on fixture are resumed");
    browser.reads(
        ".differs",
        "its worker may now read: (just \"/etc/hostname\")",
    );
    let _ = browser.see(YES);
    // What is decided elsewhere is told to who looks at it.
    other.reads(".answer", "its 3 grants on fixture are resumed");
    browser.press("d");
    let at = browser.run("return document.activeElement.value");
    assert_eq!(at, "deny");
    assert_eq!(
        shop.owner().grants().len(),
        3,
        "a key alone decides nothing"
    );
    browser.press(key::ENTER);
    browser.reads("#notes", "Revoked — fixture");
    other.reads(
        ".verdict",
        "Denied in another browser: grants that its card named are revoked",
    );
    browser.reads("#queue", "Nothing waits");
    assert_eq!(shop.owner().grants(), Vec::<Value>::new());
    shop.echo(0, "at the end")
        .expect_error(401, "approval_required");

    for page in [&browser, &other] {
        let log = page.log();
        // The gateway was away between its releases, and signed the browsers out: that is all that may be there.
        let bad = log.iter().filter(|entry| {
            let said = entry["message"].to_string();
            entry["level"] == "SEVERE" && !said.contains("401") && !said.contains("ERR_")
        });
        assert_eq!(bad.count(), 0, "{log:#?}");
    }
}

/// Showing again what was hidden lets grants rest while the page is open: the card comes without a reload, and what the
/// command decides leaves it.
#[test]
fn a_source_that_shows_more_comes_and_goes_by_itself() {
    let scene = Scene::signed_in();
    let (browser, owner) = (&scene.browser, scene.owner());
    let _agent = scene.agent("my-cc");
    let all = owner.grants().len();
    let cli = |verb: &str| {
        let line = ["sources", verb, "workspace", "--folder", "private"];
        scene.gateway.cli(line).expect_ok().to_owned()
    };
    cli("hide");
    browser.run("window.here = true");
    browser.reads("#live", "live");
    browser.reads("#queue", "Nothing waits");
    cli("unhide");
    browser.reads(".answer", "its 2 grants on workspace are resumed");
    browser.reads(
        "#card .ask",
        "this source shows more than when you granted it",
    );
    browser.reads(".differs", "it shows folder private, which it hid before");
    browser.reads(".names", "my-cc");
    browser.reads("#glance", "1 waiting");
    let title = browser.run("return document.title");
    assert!(
        title.to_string().starts_with("\"(1) workspace: "),
        "{title}"
    );
    until("what is said to who listens", || {
        let said = browser.run("return document.getElementById('announce').textContent");
        let news =
            "To decide on the source workspace: Has suspended grants until you decide. 1 waiting.";
        said.as_str()?.contains(news).then_some(())
    });
    // A yes that names no card, or another one, is none.
    let card = owner.pending().remove(0);
    let item = card["pendingId"].as_str().expect("an id");
    for digest in [Value::Null, json!("0".repeat(64))] {
        let mut yes = json!({"action": "approve", "trustWindow": {"kind": "once"}});
        if !digest.is_null() {
            yes["cardDigest"] = digest;
        }
        owner.decide(item, yes).expect_error(409, "card_changed");
    }
    scene.gateway.cli(["approvals", "deny", item]).expect_ok();
    browser.reads(
        ".verdict",
        "Denied in a terminal: grants that its card named are revoked",
    );
    browser.reads("#glance", "0 waiting");
    assert!(
        browser.sees("[data-answer]").is_none(),
        "there is nothing left to answer"
    );
    assert_eq!(owner.grants().len(), all - 2);
    assert_eq!(
        browser.run("return window.here"),
        true,
        "the page was not loaded anew"
    );
    browser.see("[data-go-on]").click();
    browser.reads("#quiet", "All quiet");
    scene.all_is_well();
}
