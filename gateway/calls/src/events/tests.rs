//! What a listener gets of what was told: in order, once, and with words where something is missing.

use super::*;

fn tell(feed: &Feed, what: &str) {
    feed.tell(
        Audience::Owner,
        "pending_resolved",
        json!({"pendingId": what}),
        None,
    );
}

/// What a listener is shown until nothing more is there: the kind and what it is about.
fn heard(listening: &mut Listening) -> Vec<String> {
    heard_by(listening, |_| true)
}

fn heard_by(listening: &mut Listening, in_view: fn(&CapabilityId) -> bool) -> Vec<String> {
    let mut all = Vec::new();
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        let next = std::pin::pin!(listening.next(in_view));
        match next.poll(&mut context) {
            // A frame tells nothing of itself but by its text.
            std::task::Poll::Ready(Some(frame)) => all.push(format!("{frame:?}")),
            std::task::Poll::Ready(None) | std::task::Poll::Pending => return all,
        }
    }
}

fn numbers(listening: &mut Listening) -> Vec<u64> {
    let number = |frame: &String| {
        if frame.contains("missed") {
            return 0;
        }
        let (_, rest) = frame.split_once("item-").expect("an item");
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().expect("a number")
    };
    heard(listening).iter().map(number).collect()
}

fn since(feed: &Feed, launch: u64, number: u64) -> Listening {
    feed.listen(Listener::Owner, Since::Frame { launch, number })
}

#[test]
fn a_listener_goes_on_without_a_gap_and_without_a_double() {
    let feed = Feed::new(7, Arc::default());
    for n in 1..=5 {
        tell(&feed, &format!("item-{n}"));
    }
    let mut listening = since(&feed, 7, 2);
    for n in 6..=8 {
        tell(&feed, &format!("item-{n}"));
    }
    assert_eq!(numbers(&mut listening), [3, 4, 5, 6, 7, 8]);
    assert!(numbers(&mut since(&feed, 7, 8)).is_empty());
    let mut fresh = feed.listen(Listener::Owner, Since::Now);
    tell(&feed, "item-9");
    assert_eq!(numbers(&mut fresh), [9], "who names nothing begins now");
}

#[test]
fn what_is_lost_is_said_before_what_is_kept() {
    let feed = Feed::new(7, Arc::default());
    tell(&feed, "item-1");
    for odd in [(6, 1), (7, 2), (7, u64::MAX)] {
        assert_eq!(numbers(&mut since(&feed, odd.0, odd.1)), [0, 1], "{odd:?}");
    }
    let mut unknown = feed.listen(Listener::Owner, Since::Unknown);
    assert_eq!(numbers(&mut unknown), [0, 1]);
    for n in 2..=KEPT + 2 {
        tell(&feed, &format!("item-{n}"));
    }
    // Two are not kept any more: who has heard the second of them lacks nothing.
    assert_eq!(numbers(&mut since(&feed, 7, 2)).first(), Some(&3));
    let late = numbers(&mut since(&feed, 7, 1));
    assert_eq!((late[0], late[1], late.len()), (0, 3, KEPT + 1));
}

/// The broadcast has lost frames for it; what is kept has them.
#[test]
fn who_is_slow_catches_up_and_is_told_if_it_cannot() {
    let feed = Feed::new(7, Arc::default());
    let mut slow = feed.listen(Listener::Owner, Since::Now);
    // Of two kinds: one that is kept, and one that only crowds the way.
    for n in 1..=LAG {
        let crowd = json!({"id": "item-0"});
        feed.tell(Audience::Owner, "audit_appended", crowd, None);
        if n <= 10 {
            tell(&feed, &format!("item-{n}"));
        }
    }
    let seen = numbers(&mut slow);
    assert_eq!(seen[..10], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    let mut slower = feed.listen(Listener::Owner, Since::Now);
    for n in 1..=KEPT + LAG {
        tell(&feed, &format!("item-{n}"));
    }
    let seen = numbers(&mut slower);
    assert_eq!((seen[0], seen.len()), (0, KEPT + 1));
    assert_eq!(seen.last(), Some(&((KEPT + LAG) as u64)));
}

/// How a source does is heard by who may know of something of it, in words of ours.
#[test]
fn the_state_of_a_source_is_told_to_who_may_know_of_it() {
    let feed = Feed::new(7, Arc::default());
    let agent = || Listener::Agent {
        agent: AgentId::parse("one").unwrap(),
        epoch: 1,
    };
    let mut owner = feed.listen(Listener::Owner, Since::Now);
    let [mut near, mut far] = [(); 2].map(|()| feed.listen(agent(), Since::Now));
    let status = |exposed: &[&str]| Notice::SourceStatus {
        borrower: None,
        capabilities: exposed.iter().map(|id| id.parse().unwrap()).collect(),
        source: SourceId::parse("notes").unwrap(),
        available: false,
        reason: Some("/home/me/notes now leads elsewhere".into()),
        told: Some("The source is not where it was."),
    };
    feed.publish(status(&["notes.read"]));
    let [all, some] = [heard(&mut owner), heard(&mut near)].map(|frames| frames.concat());
    assert!(all.contains("/home/me/notes"), "{all}");
    assert!(some.contains("not where it was"), "{some}");
    assert!(!some.contains("/home"), "{some}");
    assert!(heard_by(&mut far, |_| false).is_empty());
    // Nothing of it is exposed: nobody but the owner has it.
    feed.publish(status(&[]));
    assert_eq!(heard(&mut owner).len(), 1);
    assert!(heard(&mut near).is_empty());
}
