//! What the wire promises of a call from its beginning to its end, beyond its answer: who goes away, who comes when there
//! is no room, and what is told to who was not listening. `tests/reports/coverage.md` names a story for each
//! line of the protocol.

use crate::house::{COUNT, House, WRITE, Workshop, note};
use crate::measured::Scrape;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use plexus_tests::events::{Events, Frame};
use plexus_tests::texts::assert_like;
use plexus_tests::waiting::{until, until_true};
use plexus_tests::{Client, Owner};
use serde_json::{Value, json};
use std::io::Write as _;

fn under_way(owner: &Owner) -> f64 {
    Scrape::of(&owner.client).value("plexus_calls_under_way")
}

/// A read whose caller went away is given up, and its worker goes on.
#[test]
fn a_caller_that_goes_away_ends_its_read() {
    let (workshop, agent) = Workshop::with_reader("one");
    let owner = workshop.owner();
    agent.must("fixture.echo", json!({"text": "x"}));
    let workers = workshop.workers();
    let long = json!({"id": "fixture.long", "input": {"ms": 600_000}});
    let request = agent.client().request("POST", "/invoke").json(long);
    agent.client().leave_after(&request, || {
        until_true("the read to be under way", || under_way(&owner) > 0.5);
    });
    until_true("its end", || under_way(&owner) < 0.5);
    agent.must("fixture.echo", json!({"text": "y"}));
    assert!(
        workers.iter().all(|worker| worker.alive()),
        "the same worker"
    );
    assert_eq!(
        workshop.calls("fixture.long", "read").len(),
        0,
        "nothing was disclosed"
    );
}

/// More calls than a source takes: `busy` says when to come back, nothing was done, and the others are not lost.
#[test]
fn a_source_with_too_many_calls_says_busy_and_when_to_come_back() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("raised");
    let workshop = Workshop::open();
    let owner = Owner::new(&workshop.gateway.owner_socket(), &workshop.gateway.key());
    let agents: Vec<_> = ["one", "two", "three", "four"]
        .into_iter()
        .map(|id| {
            let agent = workshop.reader(id);
            owner
                .limit(id, json!({"callsPerSecond": 1_000_000}))
                .expect_ok();
            agent
        })
        .collect();
    // It is up: as long as it starts none is under way, and room comes once it serves.
    let echo = json!({"text": "x"});
    agents[3].must("fixture.echo", echo);
    // A worker has 64 calls under way, and 256 wait for it. Nobody reads the answers.
    let mut held = Vec::new();
    for n in 0..360 {
        let agent = &agents[n % 3];
        let long = json!({"id": "fixture.long", "input": {"ms": 600_000}});
        let request = agent.client().request("POST", "/invoke").json(long);
        let mut stream = agent.client().connect();
        stream
            .write_all(&request.bytes_kept_alive())
            .expect("taken");
        held.push(stream);
    }
    until_true("no room", || {
        let busy = Scrape::of(&owner.client).value("plexus_refusals_total{code=\"busy\"}");
        busy > 0.5
    });
    let refused = agents[3].invoke("fixture.echo", json!({"text": "x"}));
    let error = refused.expect_error(503, "busy");
    assert_eq!(error["effect"], "none", "{refused}");
    assert!(error["retryAfterMs"].as_u64() > Some(0), "{refused}");
    assert!(refused.header("retry-after").is_some(), "{refused}");
    drop(held);
    until_true("room again", || {
        let reply = agents[3].invoke("fixture.echo", json!({"text": "x"}));
        reply.at("/ok") == true
    });
}

/// The frames of a stream that change something: kind, id and what they are about.
fn told(frames: &[Frame]) -> Vec<(String, String, Value)> {
    let told = frames.iter().filter_map(|frame| match frame {
        Frame::Event { kind, id, data } if kind != "audit_appended" => {
            let id = id.clone().expect("frames have ids");
            Some((kind.clone(), id, data.clone()))
        }
        Frame::Event { .. } | Frame::Comment(_) => None,
    });
    told.collect()
}

/// Frames up to the one that resolves `item`.
fn up_to(stream: &Events, item: &str) -> Vec<Frame> {
    let mut frames = Vec::new();
    until_true("the frame that resolves an item", || {
        let frame = stream.next_frame();
        let last = matches!(&frame, Frame::Event { kind, data, .. }
            if kind == "pending_resolved" && data["pendingId"] == item);
        frames.push(frame);
        last
    });
    frames
}

fn since(client: &Client, id: &str) -> Events {
    Events::open(&client.with("last-event-id", id), "/v1/events")
}

/// A listener that leaves and comes back at any frame has each frame once, in order.
#[test]
fn a_stream_that_is_taken_up_has_no_gap_and_no_double() {
    let (house, agent) = House::with_reader("one");
    let owner = house.owner();
    let stream = owner.events();
    let mut last = String::new();
    for n in 0..6 {
        last = agent.must_ask(WRITE, note(&format!("{n}.txt"), "x"));
        owner.deny(&last, "no");
    }
    let all = told(&up_to(&stream, &last));
    assert!(all.len() >= 12, "{all:?}");
    let mut ids: Vec<_> = all.iter().map(|(_, id, _)| id).collect();
    ids.dedup();
    assert_eq!(ids.len(), all.len(), "each has an id of its own");
    for at in 0..all.len() - 1 {
        let again = since(&owner.client, &all[at].1);
        // New ones come while the old ones are read.
        let fresh = agent.must_ask(WRITE, note(&format!("new-{at}.txt"), "x"));
        owner.deny(&fresh, "no");
        let mut rest = told(&up_to(&again, &fresh));
        let begins = rest.iter().position(|(_, _, data)| {
            data["pendingId"] == fresh.as_str() || data["item"]["pendingId"] == fresh.as_str()
        });
        rest.truncate(begins.expect("the new one"));
        // What the stories before this round added is behind the first ones.
        assert_eq!(rest[..all.len() - 1 - at], all[at + 1..], "after {at}");
        let mut seen: Vec<_> = rest.iter().map(|(_, id, _)| id).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), rest.len(), "none twice");
    }
}

/// An id of another launch, or none of ours: the stream begins by saying that frames were missed.
#[test]
fn a_stream_that_cannot_be_taken_up_says_so_first() {
    let (mut house, agent) = House::with_reader("one");
    let stream = house.owner().events();
    let item = agent.must_ask(WRITE, note("a.txt", "x"));
    house.owner().deny(&item, "no");
    let all = told(&up_to(&stream, &item));
    let (_, last, _) = all.last().expect("frames");
    let first = |house: &House, id: &str| {
        let again = since(&house.owner().client, id);
        until("an event", || match again.next_frame() {
            Frame::Event { kind, id, .. } => Some((kind, id.expect("an id"))),
            Frame::Comment(_) => None,
        })
    };
    for odd in ["odd", "1", "0-0", "99999-1"] {
        assert_eq!(first(&house, odd).0, "missed", "{odd}");
    }
    // The control: one of ours is gone on from.
    let (kind, _) = first(&house, &all[0].1);
    assert_eq!(kind, all[1].0);
    let last = last.clone();
    house.gateway.restart();
    let (kind, position) = first(&house, &last);
    assert_eq!(kind, "missed", "of another launch");
    // And from what it says one goes on.
    let agent = house.back(&agent);
    let again = since(&house.owner().client, &position);
    let item = agent.must_ask(WRITE, note("b.txt", "x"));
    house.owner().deny(&item, "no");
    let kinds: Vec<_> = told(&up_to(&again, &item))
        .into_iter()
        .map(|(kind, ..)| kind)
        .collect();
    assert!(!kinds.contains(&"missed".to_owned()), "{kinds:?}");
}

/// A call that is tried again and again with a small change: its card says how often the owner has said no.
#[test]
fn near_repeats_of_what_was_denied_are_counted_on_the_card() {
    let workshop = Workshop::open();
    let owner = workshop.owner();
    let (agent, other) = (workshop.reader("one"), workshop.reader("two"));
    let ask = |line: &str| agent.must_ask(COUNT, json!({"line": line}));
    let first = ask("a");
    assert_eq!(owner.card(&first).get("deniedBefore"), None);
    owner.deny(&first, "no");
    agent.must_fail(COUNT, json!({"line": "a"}), 403, "denied_by_owner");
    let second = ask("a ");
    owner.deny(&second, "no");
    let third = ask("a  ");
    let card = owner.card(&third);
    let denied = &card["deniedBefore"][0];
    assert_like(denied, &json!({"id": COUNT, "count": 2}));
    let words = denied["words"].as_str().expect("words");
    assert!(words.contains("you denied 2 other calls"), "{words}");
    let shown = workshop.gateway.cli(["approvals", "show", &third]);
    assert!(shown.expect_ok().contains(words), "{shown}");
    let others = other.must_ask(COUNT, json!({"line": "a"}));
    assert_eq!(
        owner.card(&others).get("deniedBefore"),
        None,
        "each agent's own"
    );
    // What another card comes to does not change this one: its approval holds.
    let fourth = ask("b");
    owner.deny(&fourth, "no");
    assert_eq!(owner.card(&third)["cardDigest"], card["cardDigest"]);
    owner.approve(&third, "once");
}
