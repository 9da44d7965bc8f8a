//! A source that its owner points elsewhere: its grants end, and the card of an agent that held one says what was changed.

use crate::caldav::radicale::{PASSWORD, Radicale, USER};
use plexus_tests::{Agent, Folder, Gateway, Response};
use serde_json::json;

const EVENTS: &str = "caldav.events.list";
const TODOS: &str = "caldav.todos.list";
const ANOTHER: &str = "app-password-4c1a";

struct Desk {
    gateway: Gateway,
    first: Radicale,
    secrets: Folder,
}

impl Desk {
    /// A gateway whose calendars are on the first of two servers.
    fn open() -> (Self, Radicale) {
        let (first, second) = (Radicale::start(), Radicale::start());
        for (server, name) in [(&first, "First"), (&second, "Second")] {
            server.calendar("home", name, &["VEVENT", "VTODO"]);
        }
        let desk = Self {
            gateway: Gateway::start(),
            first,
            secrets: Folder::empty(),
        };
        let (url, user) = (format!("url={}", desk.first.url()), format!("user={USER}"));
        let password = format!("password={}", desk.password(PASSWORD));
        let added = desk.gateway.cli([
            "sources",
            "add",
            "caldav-account",
            "--id",
            "caldav",
            "--set",
            &url,
            "--set",
            &user,
            "--secret",
            &password,
        ]);
        assert!(added.expect_ok().contains("caldav serves"), "{added:?}");
        (desk, second)
    }

    fn password(&self, text: &str) -> String {
        self.secrets.write("password", format!("{text}\n"));
        self.secrets.path().join("password").display().to_string()
    }

    fn points_at(&self, server: &Radicale) {
        let url = format!("url={}", server.url());
        let set = self
            .gateway
            .cli(["sources", "set", "caldav", &url, "--yes"]);
        assert!(set.expect_ok().contains("caldav serves"), "{set:?}");
    }

    /// The card of an item as the terminal, the console and the list of pending items show it.
    fn shown(&self, item: &str) -> [String; 3] {
        let terminal = self.gateway.cli(["approvals", "show", item]);
        let listed = self.gateway.owner().card(item);
        let narration = listed["pendingNarration"][0]["summary"].as_str();
        [
            terminal.expect_ok().to_owned(),
            self.gateway
                .console_page(&format!("/admin/console/pending/{item}")),
            narration.expect("a summary").to_owned(),
        ]
    }
}

/// Asks for standing access; the item and what the agent was told of it.
fn asks(agent: &Agent, id: &str) -> (String, Response) {
    let asked = agent.ask(json!({id: "allow"}));
    (asked.text_at("/pendingId"), asked)
}

#[test]
fn changed_address_is_on_the_card_of_who_lost_a_grant() {
    let (desk, second) = Desk::open();
    let owner = desk.gateway.owner();
    let holder = desk.gateway.agent_with("holder", &[EVENTS, TODOS]);
    let newcomer = desk.gateway.agent_with("newcomer", &[]);
    holder.must(TODOS, json!({}));

    desk.points_at(&second);
    let lost = holder.invoke(TODOS, json!({}));
    lost.expect_error(401, "approval_required");
    let (item, asked) = asks(&holder, TODOS);
    let (was, is) = (desk.first.url(), second.url());
    let words = format!("url is {is}, it was {was}");
    for shown in desk.shown(&item) {
        assert!(shown.contains(&words), "{shown}");
    }
    let card = owner.card(&item);
    let change = &card["sourceChanged"][0];
    assert_eq!(change["source"], "caldav", "{card:#}");
    assert!(change["at"].is_string(), "{card:#}");
    // The agent hears that it was changed; where its sources are is the owner's to know.
    let told = asked.text();
    assert!(told.contains("Its source was changed"), "{told}");
    for url in [&was, &is] {
        assert!(!told.contains(url.as_str()), "{told}");
    }

    // The control: who never had a grant, and a capability that was not granted.
    let (others, told) = asks(&newcomer, TODOS);
    let (never, _) = asks(&holder, "caldav.calendars.list");
    for item in [&others, &never] {
        assert_eq!(owner.card(item).get("sourceChanged"), None);
        for shown in desk.shown(item) {
            assert!(!shown.contains(&was), "{shown}");
        }
    }
    assert!(!told.text().contains("was changed"), "{told}");

    // A decision ends it for what was decided on, and leaves the card of what was not.
    let (other, _) = asks(&holder, EVENTS);
    let before = owner.card(&other)["cardDigest"].clone();
    owner.approve(&item, "1d");
    let todos = holder.must(TODOS, json!({}));
    assert_eq!(todos["output"]["todos"], json!([]), "{todos}");
    assert_eq!(owner.card(&other)["cardDigest"], before);
    owner.approve(&other, "1d");
    assert!(!second.requests().is_empty());
    owner.revoke("holder", TODOS);
    let (again, _) = asks(&holder, TODOS);
    assert_eq!(owner.card(&again).get("sourceChanged"), None);
}

#[test]
fn changed_secret_and_later_address_are_both_on_the_card() {
    let (mut desk, second) = Desk::open();
    let holder = desk.gateway.agent_with("holder", &[TODOS]);
    for server in [&desk.first, &second] {
        server.set_password(ANOTHER);
    }
    let file = desk.password(ANOTHER);
    let set = ["sources", "secret", "caldav", "password", "--file", &file];
    desk.gateway.cli(set).expect_ok();
    desk.points_at(&second);
    desk.gateway.restart();
    let holder = desk.gateway.back(&holder);
    let (item, _) = asks(&holder, TODOS);
    let words = format!("url is {}, it was {}", second.url(), desk.first.url());
    for shown in desk.shown(&item) {
        assert!(shown.contains("its secret password was changed"), "{shown}");
        assert!(shown.contains(&words), "{shown}");
        for password in [PASSWORD, ANOTHER] {
            assert!(!shown.contains(password), "{shown}");
        }
    }
    desk.gateway.cli(["audit", "verify"]).expect_ok();
}
