//! A renewal that is cut short at each of its points: the sign-in survives, or says at once that it does not.
//!
//! ```text
//! asked ─▶ spent, not answered ─▶ record: file flushed ─▶ in its place, folder flushed ─▶ kept ─▶ token used
//! ```

use super::{lend, logged_in, looks};
use nix::sys::signal::Signal;
use plexus_tests::{
    Fault, Gateway,
    oauth_web::{Lie, OAuthWeb, RenewalPoint},
    processes::Process,
    texts::assert_contains,
    waiting::until_true,
};
use serde_json::json;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    /// At the server.
    Server(RenewalPoint),
    /// In the gateway, which writes the record: at the flush of the file, or of its folder.
    Write(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    /// The gateway, and with it all that it started.
    Gateway,
    /// The process that renews alone.
    Egress,
}

/// Each point, and whether the sign-in survives the end of the gateway, and that of the egress, there.
const POINTS: [(Point, [bool; 2]); 5] = [
    (Point::Server(RenewalPoint::Asked), [true, true]),
    // What renews it is good for once, and nobody here knows the next.
    (Point::Server(RenewalPoint::Spent), [false, false]),
    // The gateway has the record, and lives on where the egress alone has ended.
    (Point::Write("file"), [false, true]),
    (Point::Write("folder"), [true, true]),
    (Point::Server(RenewalPoint::Used), [true, true]),
];

#[test]
fn renewal_that_is_cut_short_survives_or_says_that_it_does_not() {
    for (point, survives) in POINTS {
        for (victim, survives) in [Victim::Gateway, Victim::Egress].into_iter().zip(survives) {
            cut_short(point, victim, survives);
        }
    }
}

fn cut_short(point: Point, victim: Victim, survives: bool) {
    let case = format!("{point:?} {victim:?}");
    let (web, flush) = (OAuthWeb::start(Lie::None), Fault::held_flush());
    let mut gateway = Gateway::builder().fault(&flush).start();
    lend(&gateway, &web.url());
    let mut agent = gateway.agent_with("caller", &["notes.look"]);
    looks(&agent);
    let record = |gateway: &Gateway| gateway.state_file("secrets/notes.authorization");
    assert!(record(&gateway).contains(&web.good()[1]), "the control");
    web.expire();
    std::thread::scope(|scope| {
        let mut ends = Vec::new();
        let stopped = match point {
            Point::Server(at) => Some(web.stops(at)),
            Point::Write(at) => {
                flush.begin_at(at);
                None
            }
        };
        let calling = scope.spawn(|| {
            let body = json!({"id": "notes.look", "input": {}});
            let call = std::panic::AssertUnwindSafe(|| agent.invoke_body(body));
            drop(std::panic::catch_unwind(call));
        });
        match &stopped {
            Some(stopped) => stopped.wait(),
            None => flush.wait_until_asked(),
        }
        // Time for one that would not wait: the gateway does other things meanwhile.
        for _ in 0..20 {
            gateway.owner().get("/admin/api/status").expect_ok();
        }
        match victim {
            Victim::Gateway => gateway.kill9(),
            Victim::Egress => {
                let of_source = of_source(&gateway);
                of_source[0].signal(Signal::SIGKILL);
                ends.extend(of_source);
            }
        }
        // No token is used before its record is durable.
        let good = web.good();
        let used = good.len() == 2 && is_used(&web, &good[0]);
        let may_be = point == Point::Server(RenewalPoint::Used);
        assert_eq!(used, may_be, "{case}");
        drop(stopped);
        flush.end();
        calling.join().expect("it is caught");
        until_true("the end of its workers too", || {
            ends.iter().all(|process| !process.alive())
        });
    });
    if victim == Victim::Gateway {
        let kept = record(&gateway).contains(web.good().last().expect("what renews it"));
        assert_eq!(kept, survives, "{case}: the record");
        gateway.start_again();
        agent = gateway.back(&agent);
    }
    if survives {
        looks(&agent);
        assert_eq!(web.tokens(), (1, 1), "{case}: renewed once, whoever asked");
        assert!(record(&gateway).contains(&web.good()[1]), "{case}");
    } else {
        let refused = agent.invoke("notes.look", json!({})).text();
        assert_contains(&refused, "the owner signs in again: plexusctl mcp login");
        let _ = logged_in(&gateway);
        agent = gateway.agent_with("caller", &["notes.look"]);
        looks(&agent);
    }
    // What there is now is renewed as ever.
    web.expire();
    looks(&agent);
}

/// The egress of the source, and its workers.
fn of_source(gateway: &Gateway) -> Vec<Process> {
    let egress = gateway.processes("plexus-egress");
    let workers = gateway.processes("plexus-worker-mcp");
    assert_eq!((egress.len(), workers.len()), (1, 1));
    [egress, workers].concat()
}

/// Whether the server heard of the token.
fn is_used(web: &OAuthWeb, token: &str) -> bool {
    let bearer = format!("Bearer {token}");
    let heard = web.heard();
    heard
        .iter()
        .any(|one| one.headers.get("authorization") == Some(&bearer))
}
