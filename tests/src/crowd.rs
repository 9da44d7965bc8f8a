//! Many views of what waits, one decision on each: browsers, the terminal, the command, at once.
//!
//! Invariant: a view writes down an item only where it was itself told that it had decided it. The terminal is not
//! asked: what nobody else decided it has, and it only says yes.

use crate::{Gateway, Owner, Terminal, binaries, browser::Browser, programs, waiting::until};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Barrier, Mutex};

/// Decided with yes.
pub const YES: &str = "approved";
/// Decided with no.
pub const NO: &str = "denied";

/// What the views did.
#[derive(Debug, Default)]
pub struct Tally {
    /// Each item, with what those made of it who were told that it was they.
    told: Mutex<BTreeMap<String, Vec<&'static str>>>,
    /// How often each view sent an answer.
    tried: Mutex<BTreeMap<&'static str, usize>>,
}

impl Tally {
    fn won(&self, item: &str, verdict: &'static str) {
        let mut told = self.told.lock().expect("nobody failed");
        told.entry(item.to_owned()).or_default().push(verdict);
    }
    fn tried(&self, view: &'static str) {
        *self
            .tried
            .lock()
            .expect("nobody failed")
            .entry(view)
            .or_default() += 1;
    }
}

/// What one does, once everybody is there.
type Act<'v> = Box<dyn FnOnce(&Barrier, &Tally) + Send + 'v>;

/// One view of what waits: its name, and what it does. It waits for the barrier and decides until nothing waits.
pub struct View<'v> {
    name: &'static str,
    act: Act<'v>,
}

/// A browser at the console with an empty list, which presses one answer on whatever its page shows. It begins at the
/// top, or at the bottom.
pub fn browser<'v>(
    name: &'static str,
    browser: &'v Browser,
    verdict: &'static str,
    from_the_top: bool,
) -> View<'v> {
    let (button, from) = (
        if verdict == YES { "once" } else { "deny" },
        if from_the_top { "0" } else { "-1" },
    );
    // The page's own calls are listened to: what it was answered is what it was told.
    let hand = format!(
        "window.answers = [];
         const ask = window.fetch;
         window.fetch = async (path, how) => {{
           const reply = await ask(path, how);
           if (how && how.method === 'POST') window.answers.push([path.split('/').pop(), reply.status]);
           return reply;
         }};
         [...document.querySelectorAll('.ticket')].at({from}).click();
         setInterval(() => {{
           const go = document.querySelector('[data-go-on]');
           const press = document.querySelector('#card form:not([data-fresh]):not([data-busy]) [value={button}]');
           if (go) go.click();
           else if (press) press.click();
         }}, 50)"
    );
    View {
        name,
        act: Box::new(move |start, tally| {
            start.wait();
            browser.run(&hand);
            // The title counts what waits. However long all of it takes, it has to go on.
            let title = || browser.run("return document.title");
            let mut before = title();
            while before != "Approvals · Plexus" {
                before = until("the page to go on", || {
                    Some(title()).filter(|now| *now != before)
                });
            }
            browser.reads("#queue", "Nothing waits");
            browser.reads("#glance", "0 waiting");
            // An answer that was on its way when the last item went.
            let answers = until("the answers of the page", || {
                let idle = "return document.querySelector('[data-busy]') ? null : window.answers";
                browser.run(idle).as_array().cloned()
            });
            for answer in answers {
                tally.tried(name);
                let item = answer[0].as_str().expect("an id");
                match answer[1].as_u64() {
                    Some(200) => tally.won(item, verdict),
                    // Decided elsewhere, or its plan has come since.
                    Some(404 | 409) => {}
                    _ => panic!("{name}: {answer}"),
                }
            }
        }),
    }
}

/// The command: approves one, denies the next.
#[must_use]
pub fn command(gateway: &Gateway) -> View<'static> {
    let (home, state) = (gateway.home().to_owned(), gateway.state());
    let cli = move |arguments: &[&str]| {
        let mut command = programs::command(&binaries::path("plexusctl"), &home);
        command
            .env("PLEXUS_HOME", &state)
            .arg("--i-am-the-owner")
            .args(arguments);
        programs::run(command)
    };
    let name = "plexusctl";
    View {
        name,
        act: Box::new(move |start, tally| {
            start.wait();
            let mut yes = true;
            loop {
                let listed = cli(&["--json", "approvals", "list"]).json();
                let cards = listed["pending"].as_array().cloned().unwrap_or_default();
                let Some(card) = cards.get(cards.len() / 2) else {
                    return;
                };
                let item = card["pendingId"].as_str().expect("an id");
                let (verdict, said) = if yes {
                    (YES, cli(&["approvals", "approve", item, "--yes"]))
                } else {
                    let why = ["approvals", "deny", item, "--reason", "by the command"];
                    (NO, cli(&why))
                };
                tally.tried(name);
                match said.status {
                    0 => tally.won(item, verdict),
                    1 => {}
                    _ => panic!("{said}"),
                }
                yes = !yes;
            }
        }),
    }
}

/// The terminal, in `approvals watch`: approves whatever it shows.
pub fn terminal(terminal: &mut Terminal, waiting: usize) -> View<'_> {
    let name = "the terminal";
    View {
        name,
        act: Box::new(move |start, tally| {
            terminal.until_shows(&format!("{waiting} wait"));
            terminal.keys("a");
            terminal.until_shows("(•) once");
            start.wait();
            terminal.keys("\r");
            tally.tried(name);
            loop {
                let picture = terminal.until_fits("a card, or none", |picture| {
                    picture.contains("nothing waits") || picture.contains("agent: ")
                });
                // Somebody else decided the card that was being answered, the last one too.
                if picture.contains("Esc: go on") {
                    terminal.keys("\u{1b}");
                    terminal.until_fits("the keys of a card", |picture| {
                        !picture.contains("Esc: go on")
                    });
                    continue;
                }
                if picture.contains("nothing waits") {
                    return;
                }
                terminal.keys("a\r");
                tally.tried(name);
            }
        }),
    }
}

/// Lets the views decide at once, and holds that each item was decided exactly once, that each that was answered so is right,
/// and that each view tried. Gives what became of each item.
///
/// # Panics
/// When one of these does not hold.
#[track_caller]
pub fn decided_once(
    owner: &Owner,
    items: &[String],
    views: Vec<View<'_>>,
) -> BTreeMap<String, String> {
    let (start, tally) = (Barrier::new(views.len()), Tally::default());
    let names: Vec<_> = views.iter().map(|view| view.name).collect();
    std::thread::scope(|scope| {
        for view in views {
            scope.spawn(|| (view.act)(&start, &tally));
        }
    });
    let tried = tally.tried.into_inner().expect("nobody failed");
    for name in names {
        assert!(tried.contains_key(name), "{name} did not try: {tried:?}");
    }
    let told = tally.told.into_inner().expect("nobody failed");
    let events = owner.audit(1000);
    let mut states = BTreeMap::new();
    for item in items {
        let card = owner.client.must_get(&format!("/admin/api/pending/{item}"));
        let state = card["state"].as_str().expect("a state").to_owned();
        let decisions = events.iter().filter(|event| {
            let of = |member: &str| event["detail"][member] == item.as_str();
            let event = event["detail"]["event"].as_str();
            matches!(event, Some("grant.allow" | "grant.deny")) && (of("item") || of("viaApproval"))
        });
        assert_eq!(decisions.count(), 1, "{item} in the record");
        match told.get(item).map(Vec::as_slice) {
            Some([one]) => assert_eq!(state, *one, "{item}"),
            None => assert_eq!(state, YES, "{item} was left to the terminal"),
            Some(several) => panic!("{item} was decided {several:?}"),
        }
        states.insert(item.clone(), state);
    }
    assert!(told.keys().all(|item| items.contains(item)));
    assert_eq!(owner.pending(), Vec::<Value>::new());
    states
}
