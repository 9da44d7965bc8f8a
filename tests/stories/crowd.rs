//! Many views of what waits, one decision on each: clients of the owner's API, the terminal, the command, at once.

use crate::house::{House, WRITE, note};
use plexus_tests::{Owner, Terminal, binaries, programs};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Barrier, Mutex};

/// What each item was decided to be, by those who were told that it was they who decided it.
pub(crate) type Told = Mutex<BTreeMap<String, Vec<&'static str>>>;

/// How many wait.
const ITEMS: usize = 50;
pub(crate) const YES: &str = "approved";
pub(crate) const NO: &str = "denied";

/// One view of what waits. It waits for the barrier, decides until nothing waits, and writes down each item of which it
/// was told that it had decided it. A browser session is one of these too.
pub(crate) type View<'v> = Box<dyn FnOnce(&Barrier, &Told) + Send + 'v>;

pub(crate) fn told(told: &Told, item: &str, verdict: &'static str) {
    let mut told = told.lock().expect("nobody failed");
    told.entry(item.to_owned()).or_default().push(verdict);
}

pub(crate) fn id(card: &Value) -> &str {
    card["pendingId"].as_str().expect("an id")
}

/// A client that decides all one way, in the order in which it lists them, or backwards.
pub(crate) fn client(owner: Owner, verdict: &'static str, backwards: bool) -> View<'static> {
    Box::new(move |start, told_them| {
        start.wait();
        loop {
            let mut cards = owner.pending();
            if cards.is_empty() {
                return;
            }
            if backwards {
                cards.reverse();
            }
            for card in cards {
                let action = if verdict == YES { "approve" } else { "deny" };
                let body = json!({"action": action, "trustWindow": {"kind": "once"}, "cardDigest": card["cardDigest"]});
                let reply = owner.decide(id(&card), body);
                match reply.status {
                    200 => told(told_them, id(&card), verdict),
                    // Decided, or its plan has come since.
                    404 | 409 => {}
                    _ => panic!("{reply}"),
                }
            }
        }
    })
}

/// The command: approves one, denies the next.
pub(crate) fn command(house: &House) -> View<'static> {
    let (home, state) = (house.gateway.home().to_owned(), house.gateway.state());
    let cli = move |arguments: &[&str]| {
        let mut command = programs::command(&binaries::path("plexusctl"), &home);
        command
            .env("PLEXUS_HOME", &state)
            .arg("--i-am-the-owner")
            .args(arguments);
        programs::run(command)
    };
    Box::new(move |start, told_them| {
        start.wait();
        let mut yes = true;
        loop {
            let listed = cli(&["--json", "approvals", "list"]).json();
            let Some(card) = listed["pending"]
                .as_array()
                .and_then(|cards| cards.get(cards.len() / 2))
                .cloned()
            else {
                return;
            };
            let (verdict, said) = if yes {
                (YES, cli(&["approvals", "approve", id(&card), "--yes"]))
            } else {
                (
                    NO,
                    cli(&["approvals", "deny", id(&card), "--reason", "by the command"]),
                )
            };
            match said.status {
                0 => told(told_them, id(&card), verdict),
                1 => {}
                _ => panic!("{said}"),
            }
            yes = !yes;
        }
    })
}

/// The terminal: approves whatever it shows. It is not asked what it decided: what nobody else decided it has.
pub(crate) fn terminal(terminal: &mut Terminal) -> View<'_> {
    Box::new(move |start, _| {
        terminal.until_shows("50 wait");
        terminal.keys("a");
        terminal.until_shows("(•) once");
        start.wait();
        terminal.keys("\r");
        loop {
            let picture = terminal.until_fits("a card, or none", |picture| {
                picture.contains("nothing waits") || picture.contains("agent: ")
            });
            if picture.contains("nothing waits") {
                return;
            }
            terminal.keys("a\r");
        }
    })
}

/// Holds that of all that waits each was decided exactly once, whoever took part.
pub(crate) fn decided_once(
    owner: &Owner,
    items: &[String],
    views: Vec<View<'_>>,
) -> BTreeMap<String, String> {
    let (start, told) = (Barrier::new(views.len()), Told::default());
    std::thread::scope(|scope| {
        for view in views {
            scope.spawn(|| view(&start, &told));
        }
    });
    let told = told.into_inner().expect("nobody failed");
    let events = owner.audit(1000);
    let mut states = BTreeMap::new();
    for item in items {
        let card = owner
            .client
            .get(&format!("/admin/api/pending/{item}"))
            .expect_ok();
        let state = card["state"].as_str().expect("a state").to_owned();
        let decisions = events.iter().filter(|event| {
            matches!(event["type"].as_str(), Some("grant.allow" | "grant.deny"))
                && event.to_string().contains(item)
        });
        assert_eq!(decisions.count(), 1, "{item} in the record");
        match told.get(item).map(Vec::as_slice) {
            Some([one]) => assert_eq!(state, *one, "{item}"),
            None => {}
            Some(several) => panic!("{item} was decided {several:?}"),
        }
        states.insert(item.clone(), state);
    }
    assert!(told.keys().all(|item| items.contains(item)));
    assert!(owner.pending().is_empty());
    states
}

#[test]
fn fifty_items_are_decided_once_each_whoever_decides() {
    let house = House::open();
    let owner = house.owner();
    let agents = ["one", "two", "three"].map(|id| house.gateway.agent(id));
    let items: Vec<String> = (0..ITEMS)
        .map(|number| {
            agents[number % agents.len()].must_ask(WRITE, note(&format!("file-{number}.txt"), "x"))
        })
        .collect();
    for item in &items {
        let _ = owner.card(item);
    }
    let watch = house.gateway.on_terminal(["approvals", "watch"]);
    let mut screen = Terminal::start(&watch, 120, 40);
    let before = owner.client.clone();
    let views = vec![
        client(house.owner(), YES, false),
        client(
            Owner::new(&house.gateway.owner_socket(), &owner.key),
            NO,
            true,
        ),
        command(&house),
        terminal(&mut screen),
    ];
    let states = decided_once(&owner, &items, views);
    for verdict in [YES, NO] {
        assert!(
            states.values().any(|state| state == verdict),
            "somebody decided each way"
        );
    }
    // All views agree: the agents', the command's, the screen's.
    for (number, item) in items.iter().enumerate() {
        let seen = agents[number % agents.len()].status(item).json();
        assert_eq!(seen["state"], states[item].as_str());
    }
    assert!(
        house
            .gateway
            .cli(["approvals"])
            .all()
            .contains("nothing waits")
    );
    screen.until_shows("nothing waits");
    screen.keys("q");
    assert!(screen.end().success());
    assert_eq!(
        before.get("/admin/api/pending").expect_ok()["pending"],
        json!([])
    );
}
