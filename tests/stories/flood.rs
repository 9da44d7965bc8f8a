//! One agent that does too much: it is slowed, told when to go on, counted, and a burden to nobody else.

use crate::house::{COUNT, House, READ, WRITE, Workshop, note, report};
use crate::watching::watch;
use plexus_tests::agent::handshake;
use plexus_tests::texts::{assert_contains, assert_lacks, assert_like};
use plexus_tests::{Agent, Clock, Length, Owner, Response, length, waiting::until_true};
use serde_json::{Value, json};

/// Repeats `call` until it is refused for its number; gives the refusal and how many came before it.
#[track_caller]
fn until_limited(what: &str, mut call: impl FnMut() -> Response) -> (Response, usize) {
    // At one call a second a thousand of them take a quarter of an hour: far more than the patience of this loop.
    for n in 0..1_000 {
        let reply = call();
        if reply.status == 429 {
            return (reply, n);
        }
        reply.expect_ok();
    }
    panic!("{what} is never refused");
}

#[track_caller]
fn hint(reply: &Response) -> u64 {
    let error = reply.expect_error(429, "rate_limited");
    let ms = error["retryAfterMs"].as_u64().expect("a hint");
    assert!(ms > 0, "{reply}");
    let seconds = reply
        .header("retry-after")
        .expect("the same in HTTP's words");
    assert_eq!(seconds.parse(), Ok(ms.div_ceil(1_000)), "{reply}");
    ms
}

fn usual(owner: &Owner, agent: &str) {
    let usual = json!({"callsPerSecond": "default", "ledgerBytesPerDay": "default"});
    owner.limit(agent, usual).expect_ok();
}

fn read(agent: &Agent) -> Response {
    agent.invoke(READ, report())
}

/// The refusals that the log tells of: events, and the calls that they stand for.
fn counted(owner: &Owner, agent: &str) -> (usize, u64) {
    let events = owner
        .audit(1000)
        .into_iter()
        .filter(|event| event["agentId"] == agent && event["detail"]["code"] == "rate_limited");
    let calls: Vec<u64> = events
        .map(|event| 1 + event["detail"]["unrecorded"].as_u64().unwrap_or(0))
        .collect();
    (calls.len(), calls.iter().sum())
}

/// Every route of an agent's that writes to the log.
#[test]
fn calls_are_bounded_on_every_route_that_writes() {
    let house = House::open();
    let owner = house.owner();
    let (busy, calm) = (house.reader("busy"), house.reader("calm"));
    let (token, exchanged) = (busy.token(&[READ]), busy.token(&[READ]));
    let client = house.gateway.client();
    let routes: [(&str, &dyn Fn() -> Response); 6] = [
        ("a handshake", &|| handshake(&client, &busy.pat)),
        ("a request", &|| busy.ask(json!({READ: "allow"}))),
        ("a refresh", &|| busy.refresh(&exchanged)),
        ("a call with a token", &|| {
            busy.invoke_with(&token, READ, report())
        }),
        ("a call with a session", &|| read(&busy)),
        ("a run", &|| {
            busy.invoke_body(json!({"id": READ, "input": {"path": "report.txt"}, "async": true}))
        }),
    ];
    for (what, call) in routes {
        usual(&owner, "busy");
        // The control: at the usual pace it is served.
        let served = call();
        assert!((200..300).contains(&served.status), "{what}: {served}");
        owner
            .limit("busy", json!({"callsPerSecond": 1}))
            .expect_ok();
        let (refused, _) = until_limited(what, || match what {
            // A token is exchanged once; the next one has had its turn all the same.
            "a refresh" => match call() {
                reply if reply.status == 401 => served.clone(),
                reply => reply,
            },
            _ => call(),
        });
        assert!(hint(&refused) <= 1_000, "{what}: {refused}");
        assert_eq!(refused.at("/error/effect"), "none");
        read(&calm).expect_ok();
    }
    usual(&owner, "busy");
    read(&busy).expect_ok();
}

/// What is refused for its number is one record for all, and none is lost from the count.
#[test]
fn repeated_refusals_are_one_counted_event() {
    let (mut house, agent) = House::with_reader("one");
    house
        .owner()
        .limit("one", json!({"callsPerSecond": 1}))
        .expect_ok();
    let head = |owner: &Owner| plexus_tests::owner::sequence(&owner.audit(1)[0]);
    let (before, many) = (head(&house.owner()), 400);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..4)
            .map(|_| {
                let agent = &agent;
                scope.spawn(move || {
                    (0..many / 4)
                        .map(|_| read(agent).status)
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        callers
            .into_iter()
            .flat_map(|caller| caller.join().expect("answers"))
            .collect()
    });
    let refused = statuses.iter().filter(|status| **status == 429).count();
    let served = statuses.iter().filter(|status| **status == 200).count();
    assert_eq!(refused + served, many);
    assert!(refused > many / 2, "{refused} of {many} were refused");
    // What is counted and not recorded yet is recorded by the sweep, and at the latest by the stop.
    house.gateway.restart();
    let owner = house.owner();
    let (events, calls) = counted(&owner, "one");
    assert_eq!(calls, refused as u64, "each of them is counted");
    // One for each half minute that the flood took.
    assert!(events <= 4, "{events} events");
    let grown = head(&owner) - before;
    // A call with a session alone is answered with a token: two events. Workers and the daemon have their own.
    assert!(
        grown < 2 * served as u64 + 40,
        "{grown} events for {served} calls"
    );
}

#[test]
fn the_log_grows_by_so_much_a_day_for_one_agent() {
    let clock = Clock::new();
    let house = House::with(|builder| builder.clock(&clock));
    let owner = house.owner();
    let (greedy, calm) = (house.reader("greedy"), house.reader("calm"));
    let token = greedy.token(&[READ]);
    let most = 24 * 1024;
    owner
        .limit(
            "greedy",
            json!({"ledgerBytesPerDay": most, "callsPerSecond": 1_000_000}),
        )
        .expect_ok();
    let (refused, served) = until_limited("a read", || read(&greedy));
    assert!(served > 3, "some calls fit into {most} bytes: {served}");
    assert!(
        (1..=24 * 3_600_000).contains(&hint(&refused)),
        "within a day: {refused}"
    );
    let next = refused.at("/error/next").to_string();
    assert!(next.contains("plexusctl agents limit greedy"), "{next}");
    // Held to it on every route that writes.
    handshake(&house.gateway.client(), &greedy.pat).expect_error(429, "rate_limited");
    greedy
        .ask(json!({READ: "allow"}))
        .expect_error(429, "rate_limited");
    greedy.refresh(&token).expect_error(429, "rate_limited");
    // What was used is more than one call under the bound, at most one call beyond it.
    let limits = |agent: &str| {
        let route = format!("/admin/api/agents/{agent}/limits");
        owner.get(&route).expect_ok()
    };
    let used = limits("greedy")["ledgerBytesPerDay"]["used"].as_u64();
    assert!(
        used.is_some_and(|used| used >= most && used < most + 4_096),
        "{used:?}"
    );
    // Nobody else pays; taking back is never refused for its number.
    read(&calm).expect_ok();
    let ends = greedy
        .bearing(&token)
        .post("/grants/revoke", json!({"jti": token["jti"]}));
    assert_eq!(ends.expect_ok()["ok"], true);
    owner.connect("three", &[READ]);
    // More, by the owner's word, at once.
    owner
        .limit("greedy", json!({"ledgerBytesPerDay": most * 2}))
        .expect_ok();
    read(&greedy).expect_ok();
    owner
        .limit("greedy", json!({"ledgerBytesPerDay": most}))
        .expect_ok();
    read(&greedy).expect_error(429, "rate_limited");
    // A clock that is set back brings nothing, a day that has passed does.
    clock.show("-2d");
    read(&greedy).expect_error(429, "rate_limited");
    clock.show("+25h");
    let back = greedy.another_session();
    owner.grant("greedy", READ, "1d").expect_ok();
    read(&back).expect_ok();
}

/// Neither a stop nor a crash gives an agent a new day.
#[test]
fn what_was_used_of_the_day_outlives_the_gateway() {
    let (mut house, agent) = House::with_reader("one");
    let used = |house: &House| {
        let route = "/admin/api/agents/one/limits";
        let shown = house.owner().get(route).expect_ok();
        shown["ledgerBytesPerDay"]["used"].as_u64().expect("bytes")
    };
    for _ in 0..20 {
        read(&agent).expect_ok();
    }
    let before = used(&house);
    assert!(before > 20 * 300, "{before}");
    house.gateway.restart();
    assert_eq!(used(&house), before, "a clean stop");

    let agent = house.back(&agent);
    for _ in 0..20 {
        read(&agent).expect_ok();
    }
    let before = used(&house);
    house.gateway.kill9();
    house.gateway.start_again();
    let after = used(&house);
    assert!(after.abs_diff(before) < 2_048, "{before}, then {after}");
    house
        .owner()
        .limit("one", json!({"ledgerBytesPerDay": after}))
        .expect_ok();
    handshake(&house.gateway.client(), &agent.pat).expect_error(429, "rate_limited");
    usual(&house.owner(), "one");
    handshake(&house.gateway.client(), &agent.pat).expect_ok();
}

/// One ask too many costs the disk nothing: neither of its ways leaves, or makes for a moment, a file.
#[test]
fn an_ask_too_many_does_not_touch_the_disk() {
    let (workshop, agent) = Workshop::with_reader("one");
    let folder = workshop.gateway.state().join("pending");
    // Each file that comes or goes moves this.
    let moved = || {
        let meta = std::fs::metadata(&folder).expect("the folder");
        meta.modified().expect("a time")
    };
    let first = moved();
    for n in 0..20 {
        agent.must_ask(COUNT, json!({"line": n.to_string()}));
    }
    let before = moved();
    assert!(
        before > first,
        "the control: an ask that waits is on the disk"
    );
    for n in 20..40 {
        let line = json!({"line": n.to_string()});
        agent.must_fail(COUNT, line.clone(), 429, "rate_limited");
        agent.ask_to(COUNT, line).expect_error(429, "rate_limited");
    }
    assert_eq!(moved(), before);
    let refused = workshop.owner().pending().len();
    assert_eq!(refused, 20);
}

/// `plexusctl agents limit`, and what it says lasts.
#[test]
fn the_owner_says_how_much_and_it_lasts() {
    let (mut house, agent) = House::with_reader("one");
    let json = |house: &House, more: &[&str]| {
        let line = [&["agents", "limit", "one", "--json"], more].concat();
        house.gateway.cli(line).json()
    };
    let shown = json(&house, &[]);
    assert_eq!(
        shown["callsPerSecond"],
        json!({"limit": 200, "default": 200})
    );
    assert_eq!(shown["ledgerBytesPerDay"]["limit"], 64 << 20);
    assert!(
        shown["ledgerBytesPerDay"]["used"].as_u64() > Some(0),
        "{shown}"
    );

    let set = json(&house, &["--calls", "7", "--ledger", "32MiB"]);
    assert_like(&set, &json!({"ok": true, "callsPerSecond": {"limit": 7}}));
    let event = house
        .owner()
        .audited(|event| event["detail"]["event"] == "agent.bound");
    assert_eq!(
        event["detail"]["bounds"],
        json!({"callsPerSecond": 7, "ledgerPerDay": 32 << 20})
    );
    assert_eq!(event["agentId"], "one");
    // A connect, a rotation of the key and a restart leave it.
    house.reader("one");
    house.gateway.restart();
    let said = house.gateway.cli(["agents", "limit", "one"]);
    let limits =
        "limits: calls a second 7 (default: 200); log a day 32 MiB (default: 64 MiB), of which";
    assert!(said.expect_ok().starts_with(limits), "{said}");
    assert_lacks(&said.stdout, " 0 B used");
    assert_contains(
        house.gateway.cli(["agents", "show", "one"]).expect_ok(),
        "calls a second 7",
    );
    // One of them alone, and back.
    assert_eq!(
        json(&house, &["--calls", "default"])["callsPerSecond"]["limit"],
        200
    );
    assert_eq!(
        json(&house, &["--ledger", "1048576"])["ledgerBytesPerDay"]["limit"],
        1 << 20
    );
    house.gateway.cli(["audit", "verify"]).expect_status(0);

    for bad in [
        ["--calls", "0"],
        ["--calls", "many"],
        ["--ledger", "0"],
        ["--ledger", "64 parsecs"],
        ["--ledger", "2000GiB"],
    ] {
        let said = house
            .gateway
            .cli([&["agents", "limit", "one"], &bad[..]].concat());
        assert_ne!(said.status, 0, "{said}");
    }
    house
        .gateway
        .cli(["agents", "limit", "nobody"])
        .expect_status(1);
    let owner = house.owner();
    for body in [
        json!({"callsPerSecond": "7"}),
        json!({"ledgerBytesPerDay": -1}),
    ] {
        owner.limit("one", body).expect_error(400, "internal_error");
    }
    owner
        .limit("nobody", json!({}))
        .expect_error(404, "unknown_agent");

    // Less needs nobody; more needs a person.
    let bare = |bound: [&str; 2]| {
        let mut command = house
            .gateway
            .on_terminal([&["agents", "limit", "one"], &bound[..]].concat());
        command.stdin(std::process::Stdio::null());
        plexus_tests::programs::run(command)
    };
    bare(["--calls", "150"]).expect_status(0);
    bare(["--calls", "151"]).expect_status(77);
    bare(["--ledger", "default"]).expect_status(77);
    drop(agent);
}

/// An agent that asks a thousand times for a thousand things: twenty wait, and the owner's day is as long as before.
#[test]
fn a_thousand_asks_are_twenty_items_and_the_same_ask_is_one() {
    let many = match length() {
        Length::Quick => 100,
        Length::Full => 400,
        Length::Long => 1_000,
    };
    let (workshop, agent) = Workshop::with_reader("one");
    let owner = workshop.owner();
    let others = workshop.reader("two").must_ask(COUNT, json!({"line": "0"}));
    // The bound on calls is not what is looked at here.
    owner
        .limit("one", json!({"callsPerSecond": 1_000_000}))
        .expect_ok();
    let ask = |line: usize| agent.invoke(COUNT, json!({"line": line.to_string()}));
    let all = |many: usize, line: &(dyn Fn(usize) -> usize + Sync)| -> Vec<Response> {
        std::thread::scope(|scope| {
            let callers: Vec<_> = (0..4)
                .map(|part| {
                    let ask = &ask;
                    scope.spawn(move || {
                        let mine = (part..many).step_by(4);
                        mine.map(|n| ask(line(n))).collect::<Vec<_>>()
                    })
                })
                .collect();
            callers
                .into_iter()
                .flat_map(|caller| caller.join().expect("answers"))
                .collect()
        })
    };
    let one = all(100, &|_| 0);
    let items: std::collections::BTreeSet<String> = one
        .iter()
        .map(|reply| reply.expect_error(401, "approval_required")["pendingId"].to_string())
        .collect();
    assert_eq!(items.len(), 1, "the same ask is the same item");
    let before = plexus_tests::owner::sequence(&owner.audit(1)[0]);
    let different = all(many, &|n| n);
    let waits = different.iter().filter(|reply| reply.status == 401).count();
    let refused = different.iter().filter(|reply| reply.status == 429);
    let refused: Vec<u64> = refused.map(hint).collect();
    assert_eq!(waits + refused.len(), many);
    assert_eq!(waits, 20, "the first one is asked for again");
    let mine = |items: Vec<Value>| items.iter().filter(|i| i["agentId"] == "one").count();
    assert_eq!(mine(owner.pending()), 20);
    // Refusals are recorded one by one up to a number, and counted beyond it.
    let grown = plexus_tests::owner::sequence(&owner.audit(1)[0]) - before;
    assert!(grown < 400, "{grown} events for {many} asks");
    // The kept inputs are those of the items.
    let kept = std::fs::read_dir(workshop.gateway.state().join("pending")).expect("the folder");
    assert!(kept.count() <= 60);
    // Someone else's item is where it was, and the owner decides.
    let second = owner
        .pending()
        .into_iter()
        .find(|item| item["pendingId"] == others.as_str());
    assert!(second.is_some(), "another agent's item waits as before");
    owner.deny(items.first().expect("an item").trim_matches('"'), "enough");
    agent.must_ask(COUNT, json!({"line": "one more"}));
}

/// However large what agents ask for is, the owner's list reaches the owner: past a bound it only names what waits, and the
/// owner's command fetches those cards one by one.
#[test]
fn what_waits_reaches_the_owner_however_large_it_is() {
    const EACH: usize = 20;
    let house = House::open();
    let owner = house.owner();
    let agents = [house.gateway.agent("one"), house.gateway.agent("two")];
    let large = "words\n".repeat(130_000);
    let mut items = Vec::new();
    for n in 0..EACH {
        for agent in &agents {
            let path = format!("notes/{}-{n}.md", agent.id);
            items.push((agent.must_ask(WRITE, note(&path, &large)), path));
        }
    }
    let listed = owner.pending();
    assert_eq!(listed.len(), 2 * EACH, "all of them are listed");
    let (brief, whole): (Vec<_>, Vec<_>) = listed.iter().partition(|item| item["brief"] == true);
    assert!(whole.len() > 4 && brief.len() > EACH, "{}", whole.len());
    assert!(
        brief.iter().all(|item| item.get("cardDigest").is_none()),
        "nothing can be decided on what was not shown"
    );
    let bytes = serde_json::to_vec(&listed).expect("JSON").len();
    assert!(bytes < 12 << 20, "{bytes} bytes of list");

    let said = house.gateway.cli(["approvals", "list"]);
    let said = said.expect_ok();
    assert!(items.iter().all(|(item, _)| said.contains(&**item)));
    let (oldest, path) = &items[0];
    assert!(
        brief
            .iter()
            .any(|item| item["pendingId"] == oldest.as_str())
    );
    let shown = house.gateway.cli(["approvals", "show", oldest]);
    assert!(shown.expect_ok().contains(&**path), "{shown}");
    let whole = house.gateway.cli(["--json", "approvals", "show", oldest]);
    let whole = whole.json();
    assert_eq!(whole["asks"][0]["input"]["content"], large.as_str());
    until_true("the plan of the oldest", || {
        let card = house.gateway.cli(["--json", "approvals", "show", oldest]);
        card.json()["cardDigest"].is_string()
    });
    house
        .gateway
        .must_cli(["approvals", "approve", oldest, "--yes"]);
    agents[0].must(WRITE, note(path, &large));
    assert_eq!(house.workspace.read(path), large);
    let gone = house.gateway.cli(["approvals", "show", oldest]);
    assert_contains(&gone.stderr, "was approved, and its call has ended");
    assert_contains(&gone.stderr, "plexusctl activity ");
    // The watch shows the cards themselves, beginning with what has waited longest.
    let terminal = watch(&house, 100, 30);
    terminal.until_shows(&format!("creates {}", items[1].1));
}

/// Bounds do not stop what is under way: an effect that was begun is finished and recorded although it fills the log.
#[test]
fn what_was_begun_is_finished_beyond_the_bound() {
    let (house, agent) = House::with_reader("one");
    let owner = house.owner();
    let item = agent.must_ask(WRITE, note("a.txt", "a"));
    owner.approve(&item, "once");
    let used = owner.get("/admin/api/agents/one/limits").expect_ok();
    let used = used["ledgerBytesPerDay"]["used"]
        .as_u64()
        .expect("a number");
    // One byte more than is used: the intent takes it and the outcome comes all the same.
    owner
        .limit("one", json!({"ledgerBytesPerDay": used + 1}))
        .expect_ok();
    agent.must(WRITE, note("a.txt", "a"));
    assert_eq!(house.workspace.read("a.txt"), "a");
    let outcome = owner.audited(|event| event["detail"]["phase"] == "outcome");
    assert_eq!(outcome["outcome"], "ok", "{outcome}");
    read(&agent).expect_error(429, "rate_limited");
}
