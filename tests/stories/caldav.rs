//! Calendars and to-dos, from the owner who adds the account to the agent that uses it: the real commands, and Radicale
//! as the server, with TLS, changed by another client too.

#[path = "../../workers/caldav/tests/radicale.rs"]
pub(crate) mod radicale;

use nix::sys::signal::Signal;
use plexus_tests::owner::approval;
use plexus_tests::terminal::Terminal;
use plexus_tests::texts::{assert_contains, assert_lacks, list_of};
use plexus_tests::{Agent, Folder, Gateway, programs::Said, tls};
use radicale::{PASSWORD, Radicale, USER};
use serde_json::{Value, json};
use std::net::TcpListener;

const EVENTS: &str = "caldav.events.list";
const TODOS: &str = "caldav.todos.list";
const CREATE: &str = "caldav.todos.create";
const COMPLETE: &str = "caldav.todos.complete";
const UNDO: &str = "caldav.undo";

struct Office {
    gateway: Gateway,
    server: Radicale,
    folder: Folder,
}

impl Office {
    /// A gateway without sources, of an owner in Berlin, and a server with two calendars.
    fn open() -> Self {
        let server = Radicale::tls(&tls("server.pem"), &tls("server.key"), &tls("ca.pem"));
        server.calendar("work", "Work", &["VEVENT", "VTODO"]);
        server.calendar("home", "Home & garden", &["VEVENT", "VTODO"]);
        Self {
            gateway: Gateway::builder().env("TZ", "Europe/Berlin").start(),
            server,
            folder: Folder::empty(),
        }
    }

    /// One whose server is the source `caldav`.
    fn added() -> Self {
        let office = Self::open();
        let said = office.add("caldav", &office.server.url(), true, PASSWORD);
        assert!(said.contains("caldav serves"), "{said}");
        office
    }

    /// Adds a source and sets its password; what the commands say.
    fn add(&self, id: &str, url: &str, trusted: bool, password: &str) -> String {
        let set = [
            format!("url={url}"),
            format!("user={USER}"),
            format!("ca={}", tls("ca.pem").display()),
        ];
        let mut line = vec![
            "sources",
            "add",
            "caldav-account",
            "--id",
            id,
            "--set",
            &set[0],
            "--set",
            &set[1],
        ];
        if trusted {
            line.extend(["--set", &set[2]]);
        }
        let added = self.gateway.cli(line);
        let needs = format!("it needs a secret: plexusctl sources secret {id} password");
        assert!(added.expect_ok().contains(&needs), "{added:?}");
        self.folder.write("password", format!("{password}\n"));
        let file = self.folder.path().join("password").display().to_string();
        let said: Said = self
            .gateway
            .cli(["sources", "secret", id, "password", "--file", &file]);
        said.expect_ok().to_owned()
    }

    fn agent(&self, capabilities: &[&str]) -> Agent {
        self.gateway.agent_with("planner", capabilities)
    }
}

fn todos(agent: &Agent) -> Vec<String> {
    let reply = agent.must(TODOS, json!({}));
    let todos = reply["output"]["todos"].as_array().expect("to-dos").clone();
    todos
        .iter()
        .map(|todo| todo["title"].as_str().expect("a title").to_owned())
        .collect()
}

/// The facts on a card, as one text each.
fn facts(plan: &Value) -> Vec<String> {
    let facts = plan["preview"]["facts"]
        .as_array()
        .unwrap_or_else(|| panic!("{plan}"));
    let text = |fact: &Value| {
        format!(
            "{}: {}",
            fact["name"].as_str().expect("a name"),
            fact["value"].as_str().expect("a value")
        )
    };
    facts.iter().map(text).collect()
}

#[test]
fn granted_read_lists_events_of_a_real_server() {
    let office = Office::added();
    office.server.put("work/standup.ics", "VEVENT", "UID:s\nDTSTART;TZID=Europe/Berlin:20261123T090000\nDTEND;TZID=Europe/Berlin:20261123T091500\nSUMMARY:Stand-up\nRRULE:FREQ=WEEKLY");
    office.server.put(
        "home/day.ics",
        "VEVENT",
        "UID:d\nDTSTART;VALUE=DATE:20261124\nSUMMARY:Holiday",
    );
    let agent = office.agent(&["caldav.calendars.list", EVENTS]);
    let asked = json!({"start": "2026-11-22", "end": "2026-12-01"});
    let reply = agent.must(EVENTS, asked.clone());
    let starts: Vec<_> = list_of(&reply["output"]["events"])
        .iter()
        .map(|e| e["start"].clone())
        .collect();
    assert_eq!(
        json!(starts),
        json!([
            "2026-11-23T09:00:00+01:00",
            "2026-11-24",
            "2026-11-30T09:00:00+01:00"
        ])
    );
    let calendars = agent.must("caldav.calendars.list", json!({}));
    assert_contains(&calendars.to_string(), "Home & garden");
    // What the agent was not granted it has to ask for, and a constraint leaves the other calendar out.
    agent.must_ask(TODOS, json!({}));
    let narrow = office.gateway.agent("narrow");
    let granted = format!("grants allow narrow {EVENTS} --window 1h --under calendars=home");
    let granted = office.gateway.cli(granted.split(' '));
    assert_eq!(granted.status, 0, "{granted:?} {}", office.gateway.stderr());
    let reply = narrow.must(EVENTS, asked);
    assert_eq!(reply["output"]["events"].as_array().map(Vec::len), Some(1));
    assert_lacks(&reply.to_string(), "Stand-up");
    assert_contains(&reply.to_string(), "Holiday");
    narrow
        .invoke(EVENTS, json!({"calendars": ["work"]}))
        .expect_error(401, "approval_required");
    // Who has read it? The audit log knows, and holds no title.
    let read = office.gateway.owner().audited(|event| {
        event["capabilityId"] == EVENTS && event["outcome"] == "ok" && event["agentId"] == "planner"
    });
    assert!(read.to_string().contains("work/standup.ics"), "{read}");
    let log = json!(office.gateway.owner().audit(1000)).to_string();
    assert!(!log.contains("Stand-up") && !log.contains(PASSWORD));
    // Dates are days of the owner's zone, also where the clocks change between them.
    let autumn = agent.must(EVENTS, json!({"start": "2026-10-10"}));
    let ends = [&autumn["output"]["from"], &autumn["output"]["to"]];
    assert_eq!(
        ends,
        ["2026-10-10T00:00:00+02:00", "2026-11-10T00:00:00+01:00"]
    );
}

#[test]
fn todo_is_shown_approved_seen_by_another_client_and_taken_back() {
    let office = Office::added();
    let agent = office.agent(&[TODOS]);
    let title = "Bread, \u{202e}daerB; 1/2 & #3 \u{1f35e}";
    let input =
        json!({"list": "home", "title": title, "due": "2026-11-23", "notes": "rye\nnot white"});
    let item = agent.must_ask(CREATE, input.clone());
    let plan = office.gateway.owner().plan(&item);
    assert_eq!(
        facts(&plan),
        [
            "list: Home & garden (home)".to_owned(),
            format!("title: {}", title.replace('\u{202e}', "\u{fffd}")),
            "due: 2026-11-23".to_owned()
        ]
    );
    assert_eq!(plan["preview"]["diff"], "rye\nnot white");
    // On a terminal the mark that turns the direction of text is shown and does not turn it.
    let shown = office.gateway.cli(["approvals", "show", &item]);
    assert_lacks(shown.expect_ok(), "\u{202e}");
    assert_contains(shown.expect_ok(), "Bread, ");
    assert!(todos(&agent).is_empty(), "planning adds nothing");
    office.gateway.owner().approve(&item, "once");
    let done = agent.must(CREATE, input.clone());
    let id = done["output"]["id"].as_str().expect("an id").to_owned();
    let there = office.server.get(&id);
    assert!(
        there.status == 200 && there.body.contains("SUMMARY:Bread\\, "),
        "{there:?}"
    );
    assert_eq!(todos(&agent), [title]);
    // Once is once.
    agent.must_ask(CREATE, input);
    let undo = done["undo"].as_str().expect("an id").to_owned();
    let undone = agent.must_approved(&office.gateway.owner(), UNDO, json!({"id": undo}));
    assert_eq!(undone["output"]["removed"], true);
    assert_eq!(office.server.get(&id).status, 404);
}

#[test]
fn completion_of_what_somebody_changed_is_refused() {
    let office = Office::added();
    office
        .server
        .put("home/bread.ics", "VTODO", "UID:bread\nSUMMARY:Bread");
    let agent = office.agent(&[TODOS]);
    let input = json!({"id": "home/bread.ics"});
    let item = agent.must_ask(COMPLETE, input.clone());
    let _seen = office.gateway.owner().card(&item);
    office.gateway.owner().approve(&item, "once");
    // Between the approval and the call.
    office.server.put(
        "home/bread.ics",
        "VTODO",
        "UID:bread\nSUMMARY:Bread and butter",
    );
    let refused = agent.must_fail(COMPLETE, input.clone(), 200, "precondition_changed");
    assert_eq!(refused["effect"], "none", "{refused}");
    assert_lacks(&office.server.get("home/bread.ics").body, "COMPLETED");
    // The control: seen as it is now, it is completed; and the owner takes that back.
    let done = agent.must_approved(&office.gateway.owner(), COMPLETE, input);
    assert_contains(
        &office.server.get("home/bread.ics").body,
        "STATUS:COMPLETED",
    );
    assert!(todos(&agent).is_empty());
    let path = format!(
        "/admin/api/undo/{}",
        done["auditId"].as_str().expect("an id")
    );
    let client = office.gateway.owner().client;
    let plan = client.get(&path).expect_ok();
    client.must_post(&path, json!({"stateToken": plan["stateToken"]}));
    assert_lacks(&office.server.get("home/bread.ics").body, "COMPLETED");
    assert_eq!(todos(&agent), ["Bread and butter"]);
}

#[test]
fn standing_completion_covers_what_the_agent_has_listed() {
    let office = Office::added();
    office.server.put("home/a.ics", "VTODO", "UID:a\nSUMMARY:A");
    office.server.put("home/b.ics", "VTODO", "UID:b\nSUMMARY:B");
    let wanted =
        json!({"agentId": "planner", "capabilities": [TODOS, COMPLETE], "standing": [COMPLETE]});
    let agent = office.gateway.agent_as(wanted);
    let complete = |id: &str| agent.invoke(COMPLETE, json!({"id": id}));
    complete("home/a.ics").expect_error(200, "precondition_changed");
    assert_eq!(todos(&agent), ["A", "B"]);
    complete("home/a.ics").expect_ok();
    office
        .server
        .put("home/b.ics", "VTODO", "UID:b\nSUMMARY:B later");
    complete("home/b.ics").expect_error(200, "precondition_changed");
    assert_eq!(todos(&agent), ["B later"]);
}

#[test]
fn event_is_asked_about_each_time() {
    let office = Office::added();
    let agent = office.agent(&[EVENTS]);
    let create = "caldav.events.create";
    let input = json!({"calendar": "work", "title": "Dentist", "start": "2026-11-24T09:00:00", "end": "2026-11-24T10:00:00", "timeZone": "Europe/Berlin", "place": "Main St 1"});
    let item = agent.must_ask(create, input.clone());
    let card = office.gateway.owner().card(&item);
    let wanted = approval(&card, "1h");
    let decided = office.gateway.owner().decide(&item, wanted).expect_ok();
    // A window is no more than once here.
    assert_eq!(
        (&decided["granted"], &decided["once"]),
        (&json!([]), &json!([create]))
    );
    assert_eq!(
        facts(&card["asks"][0]["plan"]),
        [
            "calendar: Work (work)",
            "title: Dentist",
            "start: 2026-11-24T09:00:00+01:00",
            "end: 2026-11-24T10:00:00+01:00",
            "time_zone: Europe/Berlin",
            "place: Main St 1"
        ]
    );
    let done = agent.must(create, input.clone());
    agent.must_ask(create, input);
    let there = office
        .server
        .get(done["output"]["id"].as_str().expect("an id"));
    assert_contains(&there.body, "DTSTART;TZID=Europe/Berlin:20261124T090000");
    assert_contains(&there.body, "BEGIN:VTIMEZONE");
    let listed = agent.must(EVENTS, json!({"start": "2026-11-24"}));
    assert_eq!(listed["output"]["events"][0]["timeZone"], "Europe/Berlin");
}

#[test]
fn addition_that_fits_nowhere_is_told_at_once() {
    let office = Office::added();
    let (event, todo) = ("caldav.events.create", CREATE);
    let blind = office.gateway.agent("blind");
    let meeting = json!({"calendar": "work", "title": "Dentist", "start": "2026-11-24T09:00:00", "end": "2026-11-24T10:00:00", "timeZone": "Europe/Berlin"});
    let bread = json!({"list": "home", "title": "Bread"});
    for (capability, right, field, value) in [
        (event, &meeting, "timeZone", "Mars/Base"),
        (event, &meeting, "start", "tomorrow"),
        (event, &meeting, "end", "2026-11-24T08:00:00"),
        (todo, &bread, "due", "soon"),
    ] {
        let mut wrong = right.clone();
        wrong[field] = json!(value);
        let reply = blind.invoke(capability, wrong);
        let error = reply.expect_error(422, "schema_validation_failed");
        assert_eq!(error["detail"]["field"], field, "{reply}");
        assert!(error["pendingId"].is_null(), "{reply}");
    }
    assert_eq!(office.gateway.owner().pending().len(), 0, "no card");
    // Which calendars there are is told to nobody who may not list them.
    let mut nowhere = meeting.clone();
    nowhere["calendar"] = json!("nowhere");
    blind.must_ask(event, nowhere.clone());
    blind.must_ask(event, meeting.clone());
    let lister = office.agent(&["caldav.calendars.list"]);
    let unknown = lister.must_fail(event, nowhere, 400, "transport_error");
    lister.must_ask(event, meeting.clone());
    // An agent that may list events hears of a list of to-dos as of one that does not exist.
    office.server.calendar("chores", "Chores", &["VTODO"]);
    let mut chore = meeting;
    chore["calendar"] = json!("chores");
    blind.must_ask(event, chore.clone());
    let events = office.gateway.agent_with("events", &[EVENTS]);
    let refused = events.invoke(event, chore);
    let error = refused.expect_error(400, "transport_error");
    assert_eq!(error["detail"]["reason"], "not_found", "{refused}");
    assert_eq!(error["message"], unknown["message"]);
}

#[test]
fn completion_that_cannot_be_is_told_at_once() {
    let office = Office::added();
    for (name, further) in [
        ("weekly", "DTSTART:20261101T090000Z\nRRULE:FREQ=WEEKLY"),
        ("done", "STATUS:COMPLETED"),
    ] {
        let lines = format!("UID:{name}\nSUMMARY:{name}\n{further}");
        office
            .server
            .put(&format!("home/{name}.ics"), "VTODO", &lines);
    }
    let agent = office.agent(&[TODOS]);
    let blind = office.gateway.agent("blind");
    for (name, reason) in [
        ("weekly", "repeats"),
        ("done", "already_done"),
        ("gone", "not_found"),
    ] {
        let input = json!({"id": format!("home/{name}.ics")});
        let refused = agent.invoke(COMPLETE, input.clone());
        let error = refused.expect_error(400, "transport_error");
        assert_eq!(error["detail"]["reason"], reason, "{refused}");
        // What a list holds is told to nobody who may not read it.
        blind.must_ask(COMPLETE, input);
    }
}

#[test]
fn account_that_does_not_serve_says_what_is_wrong() {
    let office = Office::open();
    let clear = Radicale::start();
    #[rustfmt::skip]
    let rows = [
        ("clear", clear.url().replace("http://", "https://"), true, PASSWORD, "the server speaks no TLS at this port"),
        (
            "closed",
            // The system gives this port to nobody who asks for a free one.
            "https://localhost:1/".to_owned(),
            true,
            PASSWORD,
            "the server cannot be reached: the host does not answer",
        ),
        ("unknown", office.server.url(), false, PASSWORD, "the server's certificate is not accepted"),
        ("refused", office.server.url(), true, "wrong", "does not accept user and password (401)"),
    ];
    for (id, url, trusted, password, why) in rows {
        let said = office.add(id, &url, trusted, password);
        assert_contains(&said, &format!("{id} does not serve: "));
        assert_contains(&said, why);
    }
    let plain = "sources add caldav-account --id plain --set url=http://cal.example/ --set user=me";
    let plain = office.gateway.cli(plain.split(' '));
    assert_contains(&plain.all(), "nothing else is encrypted");
    // Set right, it serves.
    office.folder.write("password", PASSWORD);
    let file = office.folder.path().join("password").display().to_string();
    let said = office
        .gateway
        .cli(["sources", "secret", "refused", "password", "--file", &file]);
    assert!(said.expect_ok().contains("refused serves"), "{said:?}");
    // And when the password stops working, the owner reads what to do.
    let agent = office
        .gateway
        .agent_with("planner", &["refused.todos.list"]);
    agent.must("refused.todos.list", json!({}));
    office.server.set_password("another");
    let refused = agent.invoke("refused.todos.list", json!({}));
    assert_eq!(refused.at("/ok"), false, "{refused}");
    let health = office.gateway.owner().get("/admin/api/health").expect_ok();
    assert_contains(
        &health.to_string(),
        "plexusctl sources secret refused password",
    );
    // A test asks the server: no call tells the worker that it is back, or gone again.
    for (password, status, state) in [(PASSWORD, 0, "serves"), ("another", 1, "401")] {
        office.server.set_password(password);
        let tested = office.gateway.cli(["sources", "test", "refused"]);
        assert_eq!(tested.status, status, "{tested:?}");
        assert_contains(&tested.all(), state);
    }
    // A name of no calendar is told to the owner who sets it.
    office.server.set_password(PASSWORD);
    let set = ["sources", "set", "refused", "calendars=Wrok", "--yes"];
    let said = office.gateway.cli(set).all();
    assert_contains(
        &said,
        "refused serves in part: the account has no calendar Wrok; it has ",
    );
}

#[test]
fn source_is_tested_before_it_is_kept() {
    let office = Office::open();
    let (owner, url) = (&office.gateway, office.server.url());
    let set = [
        format!("url={url}"),
        format!("user={USER}"),
        format!("ca={}", tls("ca.pem").display()),
    ];
    let add = |password: &str, more: &[&str]| {
        office.folder.write("password", format!("{password}\n"));
        let file = office.folder.path().join("password");
        let secret = format!("password={}", file.display());
        let mut line = vec!["sources", "add", "caldav-account", "--secret", &secret];
        line.extend(set.iter().flat_map(|set| ["--set", set]));
        line.extend(more);
        owner.cli(line)
    };
    // A wrong password: the server's refusal, and nothing is kept.
    let wrong = add("wrong", &[]);
    wrong.expect_status(1);
    let said = wrong.all();
    assert_contains(&said, "not added: caldav does not serve");
    assert_contains(&said, "password");
    let sources = owner.cli(["sources", "list"]);
    assert!(!sources.expect_ok().contains("caldav"), "{sources:?}");
    let secrets = std::fs::read_dir(owner.state().join("secrets")).expect("the folder");
    assert_eq!(secrets.count(), 0);
    // Kept all the same, it says what is wrong whenever it is tested.
    let kept = add("wrong", &["--keep", "--id", "kept"]);
    assert!(kept.expect_ok().contains("kept does not serve"), "{kept:?}");
    let tested = owner.cli(["sources", "test", "kept"]);
    tested.expect_status(1);
    assert!(tested.all().contains("does not serve"), "{tested:?}");
    owner.cli(["sources", "remove", "kept"]).expect_ok();

    let added = add(PASSWORD, &[]);
    assert!(added.expect_ok().contains("caldav serves: "), "{added:?}");
    owner.cli(["sources", "test", "caldav"]).expect_ok();
    // Another server is another source to an agent that was granted this one.
    let agent = office.agent(&[TODOS]);
    agent.must(TODOS, json!({}));
    let elsewhere = ["sources", "set", "caldav", "url=https://127.0.0.1:9/"];
    let unasked = owner.cli(elsewhere);
    unasked.expect_status(64);
    assert!(unasked.all().contains("--yes"), "{unasked:?}");
    agent.must(TODOS, json!({}));
    let changed = owner.cli(elsewhere.into_iter().chain(["--yes"]));
    let said = changed.expect_ok();
    assert_contains(said, &format!("url: {url} -> https://127.0.0.1:9/"));
    assert_contains(said, "caldav does not serve");
    assert_contains(said, "grants revoked: 1");
    let asks = || {
        let refused = agent.invoke(TODOS, json!({}));
        refused.expect_error(401, "approval_required");
    };
    asks();
    let back = format!("url={url}");
    let back = owner.cli(["sources", "set", "caldav", &back]);
    assert!(back.expect_ok().contains("caldav serves"), "{back:?}");
    let ended = "requests and approvals ended: pend_";
    assert_contains(back.expect_ok(), ended);
    // A request alone holds up no script that sets a secret, at a terminal either.
    asks();
    office.folder.write("password", "another\n");
    let file = office.folder.path().join("password");
    let file = file.display().to_string();
    let secret = ["--json", "sources", "secret", "caldav", "password"];
    let secret = secret.into_iter().chain(["--file", &file]);
    let mut set = Terminal::start(&owner.on_terminal(secret), 200, 24);
    assert!(set.end().success(), "{}", set.picture());
    // The end of the source ends one too.
    asks();
    let removed = owner.cli(["sources", "remove", "caldav"]);
    assert_contains(removed.expect_ok(), ended);
}

/// An account under an id that is there, a capability that is mistyped: neither takes anything away. A server that is away is no
/// matter of the sandbox.
#[test]
fn slips_of_the_hand_change_nothing() {
    let office = Office::added();
    let agent = office.agent(&[TODOS]);
    assert!(todos(&agent).is_empty());
    let owner = office.gateway.owner();
    let standing = || {
        let of = |path: &str| owner.get(&format!("/admin/api/{path}")).expect_ok();
        let sources = of("sources")["sources"].clone();
        (sources, of("tokens")["tokens"].clone())
    };
    let before = standing();
    office.folder.write("other", "another password\n");
    let password = format!("password={}/other", office.folder.path().display());
    let url = format!("url={}", office.server.url());
    let add = |more: &[&'static str]| {
        let line = ["sources", "add", "caldav-account", "--set", &url];
        let line = [&line[..], &["--set", "user=other", "--secret", &password]].concat();
        office.gateway.cli([&line[..], more].concat())
    };
    let refused = add(&[]);
    refused.expect_status(1);
    assert_contains(&refused.stderr, "There is a source caldav already");
    assert_contains(&refused.stderr, "--id NAME");
    let mistyped = ["grants", "revoke", "planner", "caldav.todos.lst"];
    let refused = office.gateway.cli(mistyped);
    refused.expect_status(1);
    assert_contains(&refused.stderr, "holds no grant of caldav.todos.lst");
    assert_contains(&refused.stderr, "did you mean caldav.todos.list?");
    assert_eq!(standing(), before);
    assert!(todos(&agent).is_empty());
    // The control: what is there is taken back.
    let revoke = ["grants", "revoke", "planner", TODOS];
    office.gateway.cli(revoke).expect_ok();
    assert_ne!(standing(), before);
    // And under another id it is tried, and taken out again.
    let refused = add(&["--id", "other"]);
    assert_contains(
        &refused.expect_status(1).stderr,
        "not added: other does not serve",
    );
    let listed = office.gateway.cli(["sources", "list"]);
    assert_lacks(listed.expect_ok(), "other");

    let Office {
        gateway, server, ..
    } = office;
    drop(server);
    let said = gateway.cli(["doctor"]).all();
    assert_contains(&said, "cage of caldav: proved just now: reader, writer");
    assert_contains(
        &said,
        "source caldav: does not serve: the server cannot be reached",
    );
    assert_contains(&said, "plexusctl sources test caldav");
}

/// A server that does not answer: it is said what takes so long, and Ctrl-C leaves neither source nor secret.
#[test]
fn interrupted_addition_leaves_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let (gateway, folder) = (Gateway::start(), Folder::empty());
    folder.write("password", "one\n");
    let url = format!("url=http://localhost:{port}/");
    let password = format!("password={}/password", folder.path().display());
    let line = ["sources", "add", "caldav-account", "--id", "slow"];
    let fields = ["--set", &url, "--set", "user=me", "--secret", &password];
    let command = gateway.on_terminal(line.into_iter().chain(fields));
    let mut terminal = Terminal::start(&command, 80, 24);
    terminal.until_shows("the source is started, and tested");
    let secret = gateway.state().join("secrets/slow.password");
    assert!(secret.is_file(), "the control");
    terminal.signal(Signal::SIGINT);
    terminal.until_shows("not added: you interrupted it");
    assert!(!terminal.end().success());
    let listed = gateway.cli(["sources", "list"]);
    assert_lacks(listed.expect_ok(), "slow");
    assert!(!secret.exists());
}
