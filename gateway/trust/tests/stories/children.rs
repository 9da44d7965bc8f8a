//! Child calls: one approval, several calls of another source.

use crate::support::*;
use plexus_protocol::{AuditId, PendingId, Verb};
use plexus_trust::{
    Approve, AuthPath, BoundedState, ChildrenAsked, Command, Entry, Fact, MAX_CHILDREN,
    OutcomeKind, Permit, Refusal, TurnLimits, Verdict, all_rows, restore,
};
use serde_json::{Value, json};

/// What is approved: an effect of another source than the child's.
const CONDUCT: &str = EXT_WRITE;
const LIMITS: TurnLimits = TurnLimits {
    turns: 3,
    minutes: 30,
};

fn conduct() -> Value {
    json!({"agents": [RUN]})
}

fn entry_for(capabilities: &[&str], parallel: u32) -> Entry {
    Entry {
        turns: Some(LIMITS),
        children: Some(ChildrenAsked {
            capabilities: capabilities.iter().map(|&id| id.to_owned()).collect(),
            parallel,
            members: false,
        }),
        ..entry_with(CONDUCT, &conduct())
    }
}

struct Board {
    world: World,
    who: Who,
    item: PendingId,
    first: AuditId,
}

impl Board {
    /// An approval of three runs, so many side by side, whose call is under way.
    fn begun(parallel: u32) -> Self {
        let (world, who) = World::with_member(&[]);
        Self::begun_in(world, who, parallel)
    }

    fn begun_in(mut world: World, who: Who, parallel: u32) -> Self {
        let item = world.ask_for(&who, vec![entry_for(&[RUN], parallel)]).item;
        let item = item.unwrap();
        world.plan(&item, CONDUCT, Verb::Write);
        world.approve(&item, ONCE).unwrap();
        let early = world.through(&who.agent, AuthPath::Bounded(&item), RUN, &json!({}));
        assert_eq!(refused(early), no_child("it has not begun"));
        let permit = world.permit(&who, CONDUCT, &conduct());
        let first = world.begin(permit).unwrap();
        Self {
            world,
            who,
            item,
            first,
        }
    }

    fn open(parallel: u32) -> Self {
        let mut board = Self::begun(parallel);
        let first = board.first.clone();
        board.world.end(&first, OutcomeKind::Ok);
        board
    }

    fn verdict(&self, id: &str, input: &str) -> Verdict {
        let path = AuthPath::Bounded(&self.item);
        self.world
            .through(&self.who.agent, path, id, &json!({"text": input}))
    }

    fn child(&self, input: &str) -> Permit {
        granted(self.verdict(RUN, input))
    }

    fn make(&mut self, name: &str) -> AuditId {
        let permit = self.child(name);
        self.world.say(permit, name).unwrap()
    }

    fn refused(&self) -> Refusal {
        refused(self.verdict(RUN, "more"))
    }

    fn state(&self) -> BoundedState {
        let item = self.world.state.item(&self.item).unwrap();
        item.asks[0].bounded.as_ref().unwrap().state.clone()
    }
}

fn no_child(why: &'static str) -> Refusal {
    Refusal::NoChild { why }
}

#[test]
fn children_end_with_the_last_run() {
    let mut board = Board::open(8);
    for name in ["one", "two", "three"] {
        board.make(name);
    }
    assert_eq!(board.state(), BoundedState::Spent);
    assert_eq!(board.refused(), no_child("every run of it is used"));
}

#[test]
fn child_names_its_number_parent_and_source() {
    // Also while the approved call is under way.
    for mut board in [Board::begun(2), Board::open(2)] {
        board.make("one");
        let told = match &board.world.log.last().unwrap().event.detail {
            Fact::Intent(call) => (call.turn, call.parent.clone(), call.via.clone()),
            other => panic!("an intent, not {other:?}"),
        };
        let via = Some(source("ext"));
        assert_eq!(told, (Some(1), Some(board.first), via));
    }
}

#[test]
fn newer_denial_refuses_the_same_child() {
    let denies = |board: &mut Board, input: &str| {
        board.world.later(1_000);
        let entry = entry_with(RUN, &json!({"text": input}));
        let item = board.world.ask_for(&board.who, vec![entry]).item.unwrap();
        board.world.ok(deny(&item));
    };
    let mut board = Board::open(2);
    let held = board.child("wipe it");
    denies(&mut board, "wipe it");
    let denied = Refusal::Denied { reason: None };
    assert_eq!(refused(board.verdict(RUN, "wipe it")), denied);
    assert_eq!(board.world.say(held, "held").unwrap_err(), denied);
    // Also one between the approval and its call.
    let (mut world, who) = World::with_member(&[]);
    let item = world.item(&who, vec![entry_for(&[RUN], 2)]);
    world.plan(&item, CONDUCT, Verb::Write);
    world.approve(&item, ONCE).unwrap();
    let entry = entry_with(RUN, &json!({"text": "wipe it"}));
    let run = world.item(&who, vec![entry]);
    world.later(1_000);
    world.ok(deny(&run));
    world.later(1_000);
    let permit = world.permit(&who, CONDUCT, &conduct());
    let first = world.begin(permit).unwrap();
    world.end(&first, OutcomeKind::Ok);
    let between = Board {
        world,
        who,
        item,
        first,
    };
    assert_eq!(refused(between.verdict(RUN, "wipe it")), denied);
    // The controls: another input, and an approval that is newer than the denial.
    board.make("another");
    let (mut world, who) = World::with_member(&[]);
    let entry = entry_with(RUN, &json!({"text": "wipe it"}));
    let item = world.item(&who, vec![entry]);
    world.ok(deny(&item));
    world.later(1_000);
    let mut newer = Board::begun_in(world, who, 2);
    newer.make("wipe it");
}

#[test]
fn no_more_children_are_under_way_than_side_by_side() {
    let mut board = Board::open(2);
    let late = board.child("late");
    let one = board.make("one");
    board.make("two");
    let full = no_child("as many runs as it permits side by side are under way");
    assert_eq!(board.refused(), full);
    assert_eq!(board.world.say(late.clone(), "late").unwrap_err(), full);
    board.world.end(&one, OutcomeKind::Failed);
    assert!(board.world.say(late, "late").is_ok());
}

#[test]
fn name_is_one_child_whatever_became_of_it() {
    for outcome in [OutcomeKind::Ok, OutcomeKind::Failed, OutcomeKind::Refused] {
        let mut board = Board::open(1);
        let one = board.make("one");
        board.world.end(&one, outcome);
        let again = board.child("one");
        assert_eq!(
            board.world.say(again.clone(), "one").unwrap_err(),
            Refusal::MessageKnown { turn: 1 }
        );
        // The control: another name is another child.
        assert!(board.world.say(again, "two").is_ok());
    }
}

#[test]
fn unknown_child_is_not_repeated_and_blocks_no_other() {
    let mut board = Board::open(1);
    board.make("one");
    assert!(matches!(board.refused(), Refusal::NoChild { .. }));
    let latest = board.world.state.latest;
    board.world.state = restore(all_rows(&board.world.state)).unwrap();
    board.world.state.latest = latest;
    board.world.ok(Command::Launch);
    assert!(matches!(
        refused(board.verdict(RUN, "one")),
        Refusal::OutcomeUnknown { .. }
    ));
    let other = board.child("two");
    assert_eq!(
        board.world.say(other.clone(), "one").unwrap_err(),
        Refusal::MessageKnown { turn: 1 }
    );
    board.world.say(other, "two").unwrap();
    // The control: what this launch began does count.
    assert!(matches!(board.refused(), Refusal::NoChild { .. }));
}

#[test]
fn only_what_the_approval_names_is_a_child() {
    let mut board = Board::open(2);
    let unnamed = no_child("its approval does not name this capability");
    for other in [WRITE, CONDUCT, SEND] {
        assert_eq!(refused(board.verdict(other, "x")), unnamed, "{other}");
    }
    let stranger = board.world.member("b", &[]);
    let path = AuthPath::Bounded(&board.item);
    let foreign = board.world.through(&stranger.agent, path, RUN, &json!({}));
    assert!(matches!(foreign, Verdict::Refuse(_)));
    board.child("the control");
}

#[test]
fn child_changes_a_copy_alone() {
    let board = Board::open(2);
    let verdict = |input: Value| {
        let path = AuthPath::Bounded(&board.item);
        board.world.through(&board.who.agent, path, RUN, &input)
    };
    for mode in [json!("direct"), json!(null), json!(["staged"])] {
        let refusal = refused(verdict(json!({"mode": mode})));
        assert!(matches!(refusal, Refusal::NoChild { .. }), "{refusal}");
    }
    granted(verdict(json!({"mode": "staged"})));
    granted(verdict(json!({})));
}

#[test]
fn only_staged_capabilities_of_other_sources_are_asked_for() {
    let (mut world, who) = World::with_member(&[]);
    let many = vec![RUN; MAX_CHILDREN + 1];
    let cases: [(&[&str], u32, bool); 9] = [
        (&[RUN], 8, true),
        (&[RUN], 9, false),
        (&[RUN], 0, false),
        (&[], 1, false),
        (&many, 1, false),
        (&[RUN, WRITE], 1, false),
        (&[CONDUCT], 1, false),
        (&["notes.nothing"], 1, false),
        (&["nothing at all"], 1, false),
    ];
    for (capabilities, parallel, fits) in cases {
        let request = world.request(&who, vec![entry_for(capabilities, parallel)]);
        let asked = world.run(Command::Request(request));
        assert_eq!(
            asked.is_ok(),
            fits,
            "{capabilities:?} {parallel}: {asked:?}"
        );
    }
    // What the owner hides is not asked for either.
    world.ok(expose(RUN, false));
    let request = world.request(&who, vec![entry_for(&[RUN], 1)]);
    let unknown = "\"notes.run\" is no capability of another source that works on a copy";
    world.refuses(Command::Request(request), Refusal::Invalid(unknown.into()));
}

#[test]
fn owner_lowers_runs_and_raises_none() {
    for (runs, fits) in [(1, true), (3, true), (4, false), (0, false)] {
        let (mut world, who) = World::with_member(&[]);
        let item = world.item(&who, vec![entry_for(&[RUN], 2)]);
        world.plan(&item, CONDUCT, Verb::Write);
        let approve = Approve {
            turns: Some(runs),
            ..world.approval(&item, ONCE)
        };
        let approved = world.run(Command::Approve(approve));
        assert_eq!(approved.is_ok(), fits, "{runs}: {approved:?}");
    }
}

#[test]
fn pause_and_switch_suspend_children() {
    let mut board = Board::open(1);
    board.world.ok(Command::Pause(true));
    assert_eq!(board.refused(), Refusal::Paused);
    board.world.ok(Command::Pause(false));
    let not_exposed = "the owner does not expose what it was approved for";
    for (id, why) in [
        (RUN, Refusal::Unexposed),
        (CONDUCT, Refusal::NoChild { why: not_exposed }),
    ] {
        let held = board.child("held");
        board.world.ok(expose(id, false));
        assert!(
            matches!(board.verdict(RUN, "x"), Verdict::Refuse(_)),
            "{id}"
        );
        assert_eq!(board.world.say(held, "held").unwrap_err(), why, "{id}");
        board.world.ok(expose(id, true));
    }
    board.make("on it goes");
}

#[test]
fn changed_source_of_a_child_is_called_no_more() {
    for change in [target(|t| t.inode += 1), hide("letters", false)] {
        let mut board = Board::open(2);
        let held = board.child("held");
        board.world.ok(change);
        assert!(matches!(board.verdict(RUN, "more"), Verdict::Refuse(_)));
        assert_eq!(board.world.say(held, "held").unwrap_err(), NO_GRANT);
    }
    // The control: what is seen unchanged changes nothing.
    let mut board = Board::open(2);
    board.world.ok(Command::SourceSeen(seen("notes")));
    board.make("one");
}

#[test]
fn what_ends_an_approval_ends_its_children() {
    type End = (&'static str, fn(&mut Board));
    let ends: [End; 8] = [
        ("ended by the owner", |board| {
            board.world.ok(end_turns(&board.item, false));
        }),
        ("ended by its source", |board| {
            board.world.ok(end_turns(&board.item, true));
        }),
        ("withdrawn", |board| {
            board.world.ok(withdraw(&board.who.agent, &board.item));
        }),
        ("its capability revoked", |board| {
            board.world.ok(revoke_grant(&board.who, CONDUCT));
        }),
        ("the child's capability revoked", |board| {
            board.world.ok(revoke_grant(&board.who, RUN));
        }),
        ("agent revoked", |board| {
            board.world.ok(revoke(&board.who.agent));
        }),
        ("key rotated", |board| {
            board.world.ok(Command::RotateKey);
        }),
        ("its source changed", |board| {
            let mut other = seen("ext");
            other.profile = secret("another");
            board.world.ok(Command::SourceSeen(other));
        }),
    ];
    for (name, end) in ends {
        let mut board = Board::open(2);
        let held = board.child("held");
        end(&mut board);
        assert!(matches!(board.state(), BoundedState::Void { .. }), "{name}");
        let why = match name {
            "agent revoked" | "key rotated" => Refusal::SessionExpired,
            _ => Refusal::NoChild {
                why: "it was ended",
            },
        };
        assert_eq!(board.world.say(held, "m").unwrap_err(), why, "{name}");
        assert!(
            matches!(board.verdict(RUN, "x"), Verdict::Refuse(_)),
            "{name}"
        );
    }
    let mut board = Board::open(2);
    board.world.later(30 * MINUTE);
    assert_eq!(board.refused(), no_child("its time is over"));
}

#[test]
fn call_that_was_not_made_leaves_no_children() {
    for (outcome, is_open) in [
        (OutcomeKind::Refused, false),
        (OutcomeKind::Ok, true),
        (OutcomeKind::Failed, true),
    ] {
        let mut board = Board::begun(2);
        let first = board.first.clone();
        board.world.end(&first, outcome);
        let takes = matches!(board.verdict(RUN, "x"), Verdict::Permit(_));
        assert_eq!(takes, is_open, "{outcome:?}");
    }
}
