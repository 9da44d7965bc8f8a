//! Bounded approvals: one approval, several turns.

use crate::support::*;
use plexus_protocol::{AuditId, PendingId, Verb};
use plexus_trust::{
    Approve, AuthPath, BoundedState, Command, Entry, Fact, ITEM_MS, OnApproval, OutcomeKind,
    Refusal, TurnLimits, Verdict, all_rows, restore,
};
use serde_json::{Value, json};

fn said(words: &str) -> Value {
    json!({"text": words})
}

struct Talk {
    world: World,
    who: Who,
    item: PendingId,
}

impl Talk {
    /// An approved conversation whose first turn has not begun.
    fn approved() -> Self {
        let (mut world, who) = World::with_member(&[]);
        let mut request = world.request(&who, vec![entry_with(RUN, &said("hello"))]);
        request.on_approval = OnApproval::Run;
        let item = world.decided(request).item.unwrap();
        world.plan(&item, RUN, Verb::Execute);
        world.approve(&item, ONCE).unwrap();
        Self { world, who, item }
    }

    /// The same after its first turn.
    fn open() -> Self {
        let mut talk = Self::approved();
        let first = talk.first();
        talk.world.end(&first, OutcomeKind::Ok);
        talk
    }

    fn first(&mut self) -> AuditId {
        let path = AuthPath::Approved(&self.item);
        let permit = granted(
            self.world
                .through(&self.who.agent, path, RUN, &said("hello")),
        );
        self.world.begin(permit).unwrap()
    }

    fn turn(&self, words: &str) -> Verdict {
        self.world.turn(&self.who, &self.item, &said(words))
    }

    /// One turn to its end.
    fn say(&mut self, words: &str) {
        let permit = granted(self.turn(words));
        let intent = self.world.say(permit, words).unwrap();
        self.world.end(&intent, OutcomeKind::Ok);
    }

    fn refused(&self) -> Refusal {
        refused(self.turn("more"))
    }

    fn state(&self) -> BoundedState {
        let item = self.world.state.item(&self.item).unwrap();
        item.asks[0].bounded.as_ref().unwrap().state.clone()
    }
}

/// What the owner, the agent or the machine does, and its name.
type End = (&'static str, fn(&mut Talk));

fn no_turn(why: &'static str) -> Refusal {
    Refusal::NoTurn { why }
}

#[test]
fn turns_end_with_the_last_one() {
    let mut talk = Talk::approved();
    // The approval alone opens nothing.
    assert_eq!(talk.refused(), no_turn("it has not begun"));
    let first = talk.first();
    assert_eq!(talk.refused(), no_turn("a turn of it is under way"));
    talk.world.end(&first, OutcomeKind::Ok);
    talk.say("second");
    talk.say("third");
    assert_eq!(talk.state(), BoundedState::Spent);
    assert_eq!(talk.refused(), no_turn("every turn of it is used"));
}

#[test]
fn turn_names_its_number_and_its_parent() {
    let mut talk = Talk::approved();
    let first = talk.first();
    let told = |talk: &Talk| match &talk.world.log.last().unwrap().event.detail {
        Fact::Intent(call) => (call.turn, call.parent.clone()),
        other => panic!("an intent, not {other:?}"),
    };
    assert_eq!(told(&talk), (Some(1), None));
    talk.world.end(&first, OutcomeKind::Ok);
    let permit = granted(talk.turn("more"));
    talk.world.say(permit, "m2").unwrap();
    assert_eq!(told(&talk), (Some(2), Some(first)));
    // The control: a call that opens no conversation is no turn.
    let (mut world, who) = World::with_member(&[]);
    world.approved(&who, WRITE, &json!({}));
    let permit = world.permit(&who, WRITE, &json!({}));
    world.begin(permit).unwrap();
    talk.world = world;
    assert_eq!(told(&talk), (None, None));
}

#[test]
fn one_turn_is_under_way_at_a_time() {
    let mut talk = Talk::open();
    let (one, two) = (granted(talk.turn("one")), granted(talk.turn("two")));
    let intent = talk.world.say(one, "m1").unwrap();
    assert_eq!(
        talk.world.say(two.clone(), "m2").unwrap_err(),
        no_turn("a turn of it is under way")
    );
    talk.world.end(&intent, OutcomeKind::Failed);
    assert!(talk.world.say(two, "m2").is_ok());
}

#[test]
fn message_is_one_turn_whatever_became_of_it() {
    for outcome in [OutcomeKind::Ok, OutcomeKind::Failed, OutcomeKind::Refused] {
        let mut talk = Talk::open();
        let permit = granted(talk.turn("go"));
        let intent = talk.world.say(permit, "m2").unwrap();
        talk.world.end(&intent, outcome);
        let again = granted(talk.turn("go"));
        assert_eq!(
            talk.world.say(again.clone(), "m2").unwrap_err(),
            Refusal::MessageKnown { turn: 2 }
        );
        // The control: the same words as another message are another turn.
        assert!(talk.world.say(again, "m3").is_ok());
    }
}

#[test]
fn unknown_turn_is_not_repeated() {
    let mut talk = Talk::open();
    let permit = granted(talk.turn("go"));
    let intent = talk.world.say(permit, "m2").unwrap();
    talk.world.ok(Command::Launch);
    assert!(matches!(
        refused(talk.turn("go")),
        Refusal::OutcomeUnknown { .. }
    ));
    assert_eq!(talk.refused(), no_turn("a turn of it is under way"));
    // The worker says that it did not happen: the conversation goes on, and the turn stays used.
    talk.world.end(&intent, OutcomeKind::Refused);
    let permit = granted(talk.turn("go"));
    talk.world.say(permit, "m3").unwrap();
    assert_eq!(talk.state(), BoundedState::Spent);
}

#[test]
fn open_turns_survive_a_restart() {
    let mut talk = Talk::open();
    let latest = talk.world.state.latest;
    talk.world.state = restore(all_rows(&talk.world.state)).unwrap();
    talk.world.state.latest = latest;
    talk.world.ok(Command::Launch);
    talk.say("still there");
}

#[test]
fn turns_end_with_their_minutes() {
    let mut talk = Talk::open();
    talk.world.later(29 * MINUTE);
    let held = granted(talk.turn("in time"));
    talk.world.later(MINUTE);
    assert_eq!(talk.refused(), no_turn("its time is over"));
    assert_eq!(
        talk.world.say(held, "m").unwrap_err(),
        no_turn("its time is over")
    );
    talk.world.ok(Command::Sweep);
    assert_eq!(talk.state(), BoundedState::Expired);
    // A clock that is set back opens nothing.
    talk.world.now = START;
    assert_eq!(talk.refused(), no_turn("its time is over"));
}

#[test]
fn pause_suspends_turns() {
    let mut talk = Talk::open();
    talk.world.ok(Command::Pause(true));
    assert_eq!(talk.refused(), Refusal::Paused);
    talk.world.ok(Command::Pause(false));
    talk.say("on we go");
}

#[test]
fn what_ends_an_approval_ends_its_turns() {
    let ends: [End; 9] = [
        ("ended by the owner", |talk| {
            talk.world.ok(end_turns(&talk.item, false));
        }),
        ("withdrawn", |talk| {
            talk.world.ok(withdraw(&talk.who.agent, &talk.item));
        }),
        ("capability revoked", |talk| {
            talk.world.ok(revoke_grant(&talk.who, RUN));
        }),
        ("agent revoked", |talk| {
            talk.world.ok(revoke(&talk.who.agent));
        }),
        ("key rotated", |talk| {
            talk.world.ok(Command::RotateKey);
        }),
        ("restored from a backup", |talk| {
            let made_at = talk.world.now;
            talk.world.ok(Command::Restored { made_at });
        }),
        ("another folder", |talk| {
            talk.world.ok(target(|t| t.inode += 1));
        }),
        ("more is hidden", |talk| {
            talk.world.ok(hide("letters", false));
        }),
        ("another profile", |talk| {
            talk.world.ok(changed(|s| s.profile = secret("another")));
        }),
    ];
    for (name, end) in ends {
        let mut talk = Talk::open();
        let held = granted(talk.turn("held"));
        end(&mut talk);
        assert!(matches!(talk.state(), BoundedState::Void { .. }), "{name}");
        let why = match name {
            "agent revoked" | "key rotated" | "restored from a backup" => Refusal::SessionExpired,
            "another folder" | "more is hidden" | "another profile" => NO_GRANT,
            _ => no_turn("it was ended"),
        };
        assert_eq!(talk.world.say(held, "m").unwrap_err(), why, "{name}");
        assert!(matches!(talk.turn("more"), Verdict::Refuse(_)), "{name}");
    }
    // The control: another agent's end is not this one's.
    let mut talk = Talk::open();
    let other = talk.world.member("b", &[]);
    talk.world.ok(revoke(&other.agent));
    talk.say("still there");
}

#[test]
fn hidden_capability_takes_no_turn_until_it_is_shown() {
    let mut talk = Talk::open();

    talk.world.ok(expose(RUN, false));
    assert!(matches!(talk.turn("more"), Verdict::Refuse(_)));
    talk.world.ok(expose(RUN, true));
    talk.say("more");
}

#[test]
fn turns_are_their_own_agents_alone() {
    let mut talk = Talk::open();
    let other = talk.world.member("b", &[]);
    let verdict = talk.world.turn(&other, &talk.item, &said("mine now"));
    assert_eq!(refused(verdict), no_turn("there is no such conversation"));
    // Nor does an approval of one call permit a second one.
    let (mut world, who) = World::with_member(&[]);
    let item = world.approved(&who, SEND, &json!({}));
    let permit = world.permit(&who, SEND, &json!({}));
    world.begin(permit).unwrap();
    let verdict = world.through(&who.agent, AuthPath::Bounded(&item), SEND, &json!({}));
    assert_eq!(
        refused(verdict),
        no_turn("its approval permits one call alone")
    );
}

#[test]
fn owner_lowers_turns_and_minutes_and_raises_neither() {
    let lowered = |turns, minutes| {
        let (mut world, who) = World::with_member(&[]);
        let item = world.ask(&who, RUN, &said("hello"));
        let approve = Approve {
            turns,
            minutes,
            ..world.approval(&item, ONCE)
        };
        let approved = world.run(Command::Approve(approve));
        let limits = world.state.item(&item).unwrap().asks[0].bounded.as_ref();
        (approved.is_ok(), limits.unwrap().limits)
    };
    let limits = |turns, minutes| TurnLimits { turns, minutes };
    assert_eq!(lowered(Some(2), Some(5)), (true, limits(2, 5)));
    assert_eq!(lowered(None, Some(5)), (true, limits(3, 5)));
    for (turns, minutes) in [
        (Some(4), None),
        (None, Some(31)),
        (Some(0), None),
        (None, Some(0)),
    ] {
        assert_eq!(lowered(turns, minutes), (false, TURNS));
    }
    // What opens no conversation has nothing to lower.
    let (mut world, who) = World::with_member(&[]);
    let item = world.ask(&who, WRITE, &json!({}));
    let approve = Approve {
        turns: Some(1),
        ..world.approval(&item, None)
    };
    world.invalid(Command::Approve(approve));
}

#[test]
fn more_turns_than_any_card_may_show_are_refused() {
    let (mut world, who) = World::with_member(&[]);
    for (turns, minutes, fits) in [
        (100, 1440, true),
        (101, 1, false),
        (1, 1441, false),
        (0, 1, false),
    ] {
        let entry = Entry {
            turns: Some(TurnLimits { turns, minutes }),
            ..entry_with(RUN, &said("hello"))
        };
        let request = world.request(&who, vec![entry]);
        assert_eq!(
            world.run(Command::Request(request)).is_ok(),
            fits,
            "{turns} {minutes}"
        );
    }
}

#[test]
fn item_with_open_turns_is_not_forgotten() {
    let (mut world, who) = World::with_member(&[]);
    let entry = Entry {
        turns: Some(TurnLimits {
            turns: 3,
            minutes: 1440,
        }),
        ..entry_with(RUN, &said("hello"))
    };
    let item = world.item(&who, vec![entry]);
    world.plan(&item, RUN, Verb::Execute);
    world.approve(&item, ONCE).unwrap();
    // The agent comes for it in the last minute.
    world.later(ITEM_MS - MINUTE);
    let who = world.again(&who);
    let permit = world.permit(&who, RUN, &said("hello"));
    let first = world.begin(permit).unwrap();
    world.end(&first, OutcomeKind::Ok);
    world.later(ITEM_MS - MINUTE);
    world.ok(Command::Sweep);
    assert!(matches!(
        world.turn(&who, &item, &said("more")),
        Verdict::Permit(_)
    ));
    world.later(3 * ITEM_MS);
    world.ok(Command::Sweep);
    world.ok(Command::Sweep);
    assert!(world.state.item(&item).is_none());
}
