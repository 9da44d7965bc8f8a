//! Items: what is asked, shown, approved, denied, withdrawn; when they end.

use crate::support::*;
use plexus_protocol::{PendingId, TrustWindow, Verb};
use plexus_trust::{
    Command, DENIAL_MS, ITEM_MS, ItemState, OnApproval, OutcomeKind, Refusal, Reply, Verdict,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The item of a write that the gateway is to run once it is approved, with its plan.
fn run_to_approve(world: &mut World, who: &Who, input: &Value) -> PendingId {
    let mut request = world.request(who, vec![entry_with(WRITE, input)]);
    request.on_approval = OnApproval::Run;
    let item = world.decided(request).item.unwrap();
    world.plan(&item, WRITE, Verb::Write);
    item
}

#[test]
fn once_is_one_call_with_one_input() {
    let mut world = World::new();
    let (who, other) = (world.member("a", &[]), world.member("b", &[]));
    let input = json!({"path": "a.md"});
    world.approved(&who, WRITE, &input);
    assert!(world.pends(&who, WRITE, &json!({"path": "b.md"})));
    assert!(world.pends(&who, EDIT, &input));
    assert!(world.pends(&other, WRITE, &input));
    let (first, second) = (
        world.permit(&who, WRITE, &input),
        world.permit(&who, WRITE, &input),
    );
    assert_eq!(first.state_token, Some(secret("world")));
    world.begin(first.clone()).unwrap();
    assert_eq!(world.begin(second).unwrap_err(), NO_GRANT);
    assert_eq!(world.begin(first).unwrap_err(), NO_GRANT);
    assert!(world.pends(&who, WRITE, &input));
}

#[test]
fn a_once_read_is_disclosed_once() {
    let (mut world, who) = World::with_member(&[]);
    world.approved(&who, READ, &json!({}));
    let permit = world.permit(&who, READ, &json!({}));
    assert!(world.read(permit.clone()).is_ok());
    assert_eq!(world.read(permit).unwrap_err(), NO_GRANT);
}

#[test]
fn a_call_is_recorded_as_what_it_is() {
    let (mut world, who) = World::with_member(&[READ]);
    world.approved(&who, WRITE, &json!({}));
    let (read, effect) = (
        world.permit(&who, READ, &json!({})),
        world.permit(&who, WRITE, &json!({})),
    );
    assert_eq!(
        world.read(effect.clone()).unwrap_err(),
        Refusal::Invalid("an effect is recorded before it happens".into())
    );
    assert_eq!(
        world.begin(read.clone()).unwrap_err(),
        Refusal::Invalid("a read has no intent".into())
    );
    assert!(world.read(read).is_ok() && world.begin(effect).is_ok());
}

#[test]
fn approving_fewer_verbs_than_a_call_needs_allows_no_call() {
    let (mut world, who) = World::with_member(&[]);
    let input = json!({"path": "a.md"});
    let mut sly = entry_with(EDIT, &input);
    sly.verbs = Some(plexus_protocol::Verbs::READ);
    let item = world.item(&who, vec![sly]);
    world.plan(&item, EDIT, Verb::Write);
    world.approve(&item, ONCE).unwrap();
    assert!(world.pends(&who, EDIT, &input), "the card said READ");
    world.approved(&who, EDIT, &input);
    assert!(world.allowed(&who, EDIT, &input));
}

#[test]
fn an_item_without_input_needs_a_window_or_any_input() {
    let (mut world, who) = World::with_member(&[]);
    let item = world.item(&who, vec![entry(WRITE)]);
    assert_eq!(
        world.approve(&item, ONCE).unwrap_err(),
        Refusal::InputRequired
    );
    let mut any = world.approval(&item, ONCE);
    any.any_input = true;
    world.ok(Command::Approve(any));
    let (one, two) = (
        world.permit(&who, WRITE, &json!({"n": 1})),
        world.permit(&who, WRITE, &json!({"n": 2})),
    );
    world.begin(one).unwrap();
    assert_eq!(world.begin(two).unwrap_err(), NO_GRANT);
}

#[test]
fn any_input_still_means_within_the_constraint() {
    let (mut world, who) = World::with_member(&[]);
    let item = world.item(&who, vec![entry(WRITE)]);
    let mut any = world.approval(&item, ONCE);
    any.any_input = true;
    any.constraint = Some(below("Projects"));
    world.ok(Command::Approve(any));
    assert!(world.pends(&who, WRITE, &json!({"path": "Private/a.md"})));
    assert!(world.pends(&who, WRITE, &json!({})));
    assert!(world.allowed(&who, WRITE, &json!({"path": "Projects/a.md"})));
}

#[test]
fn any_input_on_an_item_that_names_one_is_ignored() {
    let (mut world, who) = World::with_member(&[]);
    let item = world.ask(&who, WRITE, &json!({"n": 1}));
    let mut any = world.approval(&item, ONCE);
    any.any_input = true;
    world.ok(Command::Approve(any));
    assert!(world.pends(&who, WRITE, &json!({"n": 2})));
    assert!(world.allowed(&who, WRITE, &json!({"n": 1})));
}

#[test]
fn an_approval_names_the_card_it_saw() {
    let (mut world, who) = World::with_member(&[]);
    let item = world.ask(&who, WRITE, &json!({}));
    let seen = world.approval(&item, ONCE);
    world.ok(Command::PlanAgain { item: item.clone() });
    assert_eq!(world.approve(&item, ONCE).unwrap_err(), Refusal::PlanMaking);
    world.plan(&item, WRITE, Verb::Write);
    world.refuses(Command::Approve(seen), Refusal::CardChanged);
    assert!(world.approve(&item, ONCE).is_ok());
    world.gone(&item);
}

#[test]
fn a_plan_is_awaited_may_fail_and_may_be_made_again() {
    let (mut world, who) = World::with_member(&[]);
    let item = world.item(&who, vec![entry_with(WRITE, &json!({}))]);
    assert_eq!(world.approve(&item, ONCE).unwrap_err(), Refusal::PlanMaking);
    let failed = Command::PlanFailed {
        item: item.clone(),
        capability: cap(WRITE),
    };
    world.ok(failed.clone());
    assert_eq!(world.approve(&item, ONCE).unwrap_err(), Refusal::PlanFailed);
    assert_eq!(
        world.run(failed).unwrap_err(),
        Refusal::NoSuchItem,
        "nobody waits for this plan"
    );
    world.ok(Command::PlanAgain { item: item.clone() });
    world.plan(&item, WRITE, Verb::Write);
    assert!(world.approve(&item, ONCE).is_ok());
}

#[test]
fn a_plan_rated_execute_makes_it_once() {
    let (mut world, who) = World::with_member(&[]);
    let input = json!({"path": ".git/hooks/pre-commit"});
    let item = world.item(&who, vec![entry_with(WRITE, &input)]);
    world.plan(&item, WRITE, Verb::Execute);
    let reply = world.approve(&item, Some(TrustWindow::WEEK)).unwrap();
    assert!(
        matches!(reply, Reply::Approved { granted, once, .. } if granted.is_empty() && once == [cap(WRITE)])
    );
    let permit = world.permit(&who, WRITE, &input);
    assert_eq!(permit.rating, Verb::Execute);
    world.begin(permit).unwrap();
    assert!(world.pends(&who, WRITE, &input));
}

#[test]
fn a_standing_write_covers_writes_and_no_more() {
    let (mut world, who) = World::with_member(&[]);
    let item = world.ask(&who, WRITE, &json!({}));
    world.approve(&item, Some(TrustWindow::DAY)).unwrap();
    assert_eq!(
        world.permit(&who, WRITE, &json!({"n": 2})).rating,
        Verb::Write
    );
}

#[test]
fn an_owner_may_narrow_and_not_widen_what_was_asked() {
    let (mut world, who) = World::with_member(&[]);
    let mut wanted = entry(READ);
    wanted.constraint = Some(below("Projects"));
    let item = world.item(&who, vec![wanted]);
    let mut approval = world.approval(&item, Some(TrustWindow::DAY));
    approval.constraint = Some(below(""));
    world.invalid(Command::Approve(approval.clone()));
    approval.constraint = Some(below("Projects/Plexus"));
    world.ok(Command::Approve(approval));
    assert!(world.allowed(&who, READ, &json!({"path": "Projects/Plexus/a.md"})));
    assert!(world.pends(&who, READ, &json!({"path": "Projects/a.md"})));
}

#[test]
fn run_is_the_gateways_and_once() {
    let (mut world, who) = World::with_member(&[]);
    let input = json!({"path": "a.md"});
    let item = run_to_approve(&mut world, &who, &input);
    world.approve(&item, ONCE).unwrap();
    let answered = Refusal::Runs { item: item.clone() };
    assert_eq!(
        refused(world.call(&who, WRITE, &input)),
        answered,
        "not the agent's door"
    );
    let by_gateway = |world: &World, input: &Value| world.by_gateway(&who, &item, WRITE, input);
    assert!(matches!(
        by_gateway(&world, &json!({})),
        Verdict::Refuse(Refusal::GrantRequired { .. })
    ));
    // Whether or not the agent still waits.
    world.later(plexus_trust::SESSION_MS);
    let permit = granted(by_gateway(&world, &input));
    let intent = world.begin(permit).unwrap();
    assert!(matches!(by_gateway(&world, &input), Verdict::Refuse(_)));
    world.end(&intent, OutcomeKind::Ok);
    assert_eq!(
        world.item_state(&item),
        ItemState::Over {
            outcome: OutcomeKind::Ok
        }
    );
}

/// If the owner named a number of calls, the one that the gateway makes is the first of them.
#[test]
fn a_run_counts_among_the_calls_that_were_allowed() {
    for (most, left) in [(1, 0), (2, 1)] {
        let (mut world, who) = World::with_member(&[]);
        let input = json!({"n": 0});
        let item = run_to_approve(&mut world, &who, &input);
        let mut approval = world.approval(&item, Some(TrustWindow::HOUR));
        approval.constraint = Some(constraint(json!({ "maxCalls": most })));
        world.ok(Command::Approve(approval));
        let by_gateway = world.by_gateway(&who, &item, WRITE, &input);
        let run = world.begin(granted(by_gateway)).unwrap();
        world.end(&run, OutcomeKind::Ok);
        for n in 1..=left {
            let permit = world.permit(&who, WRITE, &json!({ "n": n }));
            world.begin(permit).unwrap();
        }
        assert!(world.pends(&who, WRITE, &json!({"n": 9})), "{most}");
    }
}

/// A run that is not made, or is refused when it was begun, leaves the number as the owner named it.
#[test]
fn a_run_that_is_refused_is_given_back_to_its_grant() {
    for begun in [true, false] {
        let (mut world, who) = World::with_member(&[]);
        let input = json!({"n": 0});
        let item = run_to_approve(&mut world, &who, &input);
        let mut approval = world.approval(&item, Some(TrustWindow::HOUR));
        approval.constraint = Some(constraint(json!({"maxCalls": 1})));
        world.ok(Command::Approve(approval));
        let calls = |world: &World| {
            let grants = &world.state.agent(&who.agent).unwrap().grants;
            grants.get(&cap(WRITE)).unwrap().calls
        };
        assert_eq!(calls(&world), 1, "{begun}");
        if begun {
            let by_gateway = world.by_gateway(&who, &item, WRITE, &input);
            let run = world.begin(granted(by_gateway)).unwrap();
            assert_eq!(calls(&world), 1, "not counted twice");
            world.end(&run, OutcomeKind::Refused);
        } else {
            world.ok(Command::NotMade {
                agent: who.agent.clone(),
                item: item.clone(),
                capability: cap(WRITE),
                why: "refused".into(),
            });
        }
        assert_eq!(calls(&world), 0, "{begun}");
        assert!(world.allowed(&who, WRITE, &json!({"n": 1})), "{begun}");
    }
}

/// An approved run that ends before it begins is given back in whichever way it ends, and no way brings back a grant that
/// ended with it.
#[test]
fn a_run_that_ends_unmade_is_given_back() {
    type End = fn(&World, &Who, &PendingId) -> Command;
    // Calls that the grant counts then: none where it ended as well.
    let ends: [(&str, End, Option<u32>); 10] = [
        ("withdrawn", |_, who, id| withdraw(&who.agent, id), Some(0)),
        ("lapsed", |_, _, _| Command::Sweep, Some(0)),
        ("new code", |_, who, _| new_code(&who.agent), Some(0)),
        ("reissued", |_, who, _| deliver(&who.agent, true), Some(0)),
        ("key rotated", |_, _, _| Command::RotateKey, Some(0)),
        (
            "restored",
            |world, _, _| Command::Restored { made_at: world.now },
            Some(0),
        ),
        (
            "changed",
            |_, _, _| changed(|now| now.profile = secret("other")),
            Some(0),
        ),
        ("revoked", |_, who, _| revoke_grant(who, WRITE), None),
        ("agent revoked", |_, who, _| revoke(&who.agent), None),
        ("source removed", |_, _, _| remove("notes"), None),
    ];
    for (how, end, left) in ends {
        let (mut world, who) = World::with_member(&[]);
        let item = run_to_approve(&mut world, &who, &json!({"n": 0}));
        let mut approval = world.approval(&item, Some(TrustWindow::WEEK));
        approval.constraint = Some(constraint(json!({"maxCalls": 2})));
        world.ok(Command::Approve(approval));
        let grant = |world: &World| {
            let grants = &world.state.agent(&who.agent).unwrap().grants;
            grants.get(&cap(WRITE)).cloned()
        };
        assert_eq!(grant(&world).unwrap().calls, 1, "{how}");
        if how == "lapsed" {
            world.later(ITEM_MS);
        }
        let command = end(&world, &who, &item);
        world.ok(command);
        let rests = |world: &World| grant(world).and_then(|grant| grant.suspended.clone());
        assert_eq!(grant(&world).map(|grant| grant.calls), left, "{how}");
        let suspended = matches!(how, "restored" | "changed");
        assert_eq!(rests(&world).is_some(), suspended, "{how}");
        world.later(ITEM_MS);
        world.ok(Command::Sweep);
        assert_eq!(grant(&world).map(|grant| grant.calls), left, "{how}: once");
    }
}

#[test]
fn the_gateway_runs_only_what_was_asked_to_run() {
    let (mut world, who) = World::with_member(&[]);
    let item = world.approved(&who, WRITE, &json!({}));
    let by_gateway = world.by_gateway(&who, &item, WRITE, &json!({}));
    assert!(matches!(by_gateway, Verdict::Refuse(_)));
    assert!(world.allowed(&who, WRITE, &json!({})));
}

/// It was refused before its intent, and that was told: no later look makes it.
#[test]
fn a_run_that_was_refused_is_over() {
    let (mut world, who) = World::with_member(&[]);
    let input = json!({"n": 1});
    let item = run_to_approve(&mut world, &who, &input);
    world.approve(&item, ONCE).unwrap();
    let not_made = || Command::NotMade {
        agent: who.agent.clone(),
        item: item.clone(),
        capability: cap(WRITE),
        why: "refused".into(),
    };
    let permit = granted(world.by_gateway(&who, &item, WRITE, &input));
    world.ok(not_made());
    let outcome = OutcomeKind::Refused;
    assert_eq!(world.item_state(&item), ItemState::Over { outcome });
    assert_eq!(world.begin(permit).unwrap_err(), NO_GRANT);
    assert!(world.pends(&who, WRITE, &input), "a new wish");
    assert_eq!(world.run(not_made()).unwrap_err(), Refusal::NoSuchItem);
}

#[test]
fn run_without_an_input_leaves_the_call_to_the_agent() {
    let (mut world, who) = World::with_member(&[]);
    let mut request = world.request(&who, vec![entry(WRITE)]);
    request.on_approval = OnApproval::Run;
    let item = world.decided(request).item.unwrap();
    let mut any = world.approval(&item, ONCE);
    any.any_input = true;
    world.ok(Command::Approve(any));
    assert!(world.allowed(&who, WRITE, &json!({"n": 1})));
    let by_gateway = world.by_gateway(&who, &item, WRITE, &json!({}));
    assert!(matches!(by_gateway, Verdict::Refuse(_)));
}

#[test]
fn a_denial_is_remembered_for_its_input_until_time_or_a_grant_ends_it() {
    let (mut world, who) = World::with_member(&[]);
    let input = json!({"n": 1});
    let deny = |world: &mut World, input| {
        let item = world.ask(&who, WRITE, input);
        world.ok(Command::Deny {
            item,
            reason: Some("no".into()),
        });
    };
    deny(&mut world, &input);
    let denied = Refusal::Denied {
        reason: Some("no".into()),
    };
    assert_eq!(refused(world.call(&who, WRITE, &input)), denied);
    let again = world.ask_for(&who, vec![entry_with(WRITE, &input)]);
    assert_eq!(again.denied, [(cap(WRITE), Some("no".into()))]);
    assert!(again.item.is_none());
    assert!(world.pends(&who, WRITE, &json!({"n": 2})));

    // Another call that is approved once says nothing of this one.
    world.approved(&who, WRITE, &json!({"n": 2}));
    assert_eq!(refused(world.call(&who, WRITE, &input)), denied);
    // A grant does, but only if it is the newer word.
    let window = world.ask(&who, WRITE, &json!({"n": 3}));
    world.approve(&window, Some(TrustWindow::HOUR)).unwrap();
    assert!(world.allowed(&who, WRITE, &input));
    assert!(world.state.agent(&who.agent).unwrap().denials.is_empty());
}

#[test]
fn one_denial_is_taken_back_by_its_request() {
    let (mut world, who) = World::with_member(&[]);
    let (slip, meant) = (json!({"n": 1}), json!({"n": 2}));
    let [slip_item, meant_item] = [&slip, &meant].map(|input| {
        let item = world.ask(&who, WRITE, input);
        world.ok(deny(&item));
        item
    });
    let end = |item: &PendingId| Command::EndDenial { item: item.clone() };
    let other = world.member("other", &[]);
    let others = world.ask(&other, WRITE, &slip);
    world.ok(deny(&others));
    // Long after the request is forgotten.
    world.later(2 * ITEM_MS);
    world.ok(Command::Sweep);
    let now = world.again(&who);
    world.ok(end(&slip_item));
    assert!(world.pends(&now, WRITE, &slip), "it has a new card");
    let denied = Refusal::Denied { reason: None };
    assert_eq!(refused(world.call(&now, WRITE, &meant)), denied);
    let other = world.again(&other);
    assert_eq!(refused(world.call(&other, WRITE, &slip)), denied);
    // Once, and only while it refuses something.
    assert_eq!(world.run(end(&slip_item)).unwrap_err(), Refusal::NoSuchItem);
    world.later(DENIAL_MS);
    world.refuses(end(&meant_item), Refusal::NoSuchItem);
}

/// A denial keeps a digest: whether a narrowing covers its input, nobody can tell. A limit of calls covers every input.
#[test]
fn narrowed_grant_ends_no_denial_and_counts_those_ended() {
    let (mut world, who) = World::with_member(&[]);
    let input = json!({"path": "notes/a.md"});
    let item = world.ask(&who, WRITE, &input);
    world.ok(deny(&item));
    let calls = constraint(json!({"maxCalls": 2}));
    for (narrowing, ends) in [(below("notes"), 0), (calls, 1)] {
        let reply = world.ok(grant(&who, WRITE, TrustWindow::DAY, Some(narrowing)));
        let Reply::Approved { denials_ended, .. } = reply else {
            panic!("{reply:?}");
        };
        assert_eq!(denials_ended, ends);
        assert_eq!(world.allowed(&who, WRITE, &input), ends == 1);
    }
    // One that is taken back leaves what the grant allows.
    let item = world.ask(&who, EDIT, &input);
    world.ok(deny(&item));
    world.ok(grant(&who, EDIT, TrustWindow::DAY, Some(below("notes"))));
    assert!(!world.allowed(&who, EDIT, &input));
    world.ok(Command::EndDenial { item });
    assert!(world.allowed(&who, EDIT, &input));
}

#[test]
fn a_denial_ends_after_thirty_days() {
    let (mut world, who) = World::with_member(&[]);
    let item = world.ask(&who, READ, &json!({}));
    world.ok(deny(&item));
    world.later(DENIAL_MS - 1);
    let now = world.again(&who);
    assert!(matches!(world.refusal(&now, READ), Refusal::Denied { .. }));
    world.later(1);
    assert!(world.pends(&now, READ, &json!({})));
    world.ok(Command::Sweep);
    assert!(world.state.agent(&who.agent).unwrap().denials.is_empty());
}

#[test]
fn a_denial_ends_with_its_source() {
    let (mut world, who) = World::with_member(&[]);
    for (removed, n) in [("ext", 1), ("notes", 2)] {
        let input = json!({"n": n});
        let item = world.ask(&who, WRITE, &input);
        world.ok(deny(&item));
        world.ok(remove(removed));
        world.ok(put(removed, |_| {}));
        world.ok(Command::SourceSeen(seen(removed)));
        let now = world.again(&who);
        // Another source's end is the control.
        let is_denied = removed == "ext";
        assert_eq!(!world.pends(&now, WRITE, &input), is_denied, "{removed}");
    }
}

#[test]
fn a_denial_newer_than_a_grant_wins_for_its_input() {
    let (mut world, who) = World::with_member(&[]);
    let input = json!({"n": 1});
    let item = world.ask(&who, WRITE, &input);
    world.ok(grant(&who, WRITE, TrustWindow::DAY, None));
    let stale = world.permit(&who, WRITE, &input);
    world.ok(deny(&item));
    assert!(matches!(
        refused(world.call(&who, WRITE, &input)),
        Refusal::Denied { .. }
    ));
    assert_eq!(
        world.begin(stale).unwrap_err(),
        Refusal::Denied { reason: None }
    );
    assert!(world.allowed(&who, WRITE, &json!({"n": 2})));
}

#[test]
fn denying_what_names_no_input_is_not_remembered() {
    let (mut world, who) = World::with_member(&[]);
    let item = world.item(&who, vec![entry(READ)]);
    world.ok(deny(&item));
    assert!(world.ask_for(&who, vec![entry(READ)]).item.is_some());
}

#[test]
fn an_agent_withdraws_its_own_items_only() {
    let mut world = World::new();
    let (who, other) = (world.member("a", &[]), world.member("b", &[]));
    let item = world.ask(&who, WRITE, &json!({}));

    world.refuses(withdraw(&other.agent, &item), Refusal::NoSuchItem);
    world.approve(&item, ONCE).unwrap();
    let permit = world.permit(&who, WRITE, &json!({}));
    world.ok(withdraw(&who.agent, &item));
    assert_eq!(world.begin(permit).unwrap_err(), NO_GRANT);
    assert_eq!(world.item_state(&item).wire(), "expired");
    world.refuses(withdraw(&who.agent, &item), Refusal::NoSuchItem);
}

#[test]
fn items_lapse_a_day_after_they_were_made_and_a_day_after_approval() {
    let (mut world, who) = World::with_member(&[]);
    let (left, used) = (
        world.ask(&who, READ, &json!({"n": 1})),
        world.ask(&who, READ, &json!({"n": 2})),
    );
    world.later(ITEM_MS - 1);
    world.approve(&used, ONCE).unwrap();
    world.later(1);
    world.gone(&left);
    world.ok(Command::Sweep);
    assert_eq!(world.item_state(&left), ItemState::Lapsed);
    world.later(ITEM_MS - 2);
    let who = world.again(&who);
    assert!(world.allowed(&who, READ, &json!({"n": 2})));
    world.later(1);
    assert!(world.pends(&who, READ, &json!({"n": 2})));
    world.ok(Command::Sweep);
    assert_eq!(world.item_state(&used), ItemState::Lapsed);
    world.later(ITEM_MS);
    world.ok(Command::Sweep);
    assert!(world.state.item(&left).is_none() && world.state.item(&used).is_none());
}

#[test]
fn an_item_that_became_a_grant_does_not_read_expired_later() {
    let (mut world, who) = World::with_member(&[]);
    let item = world.ask(&who, READ, &json!({}));
    world.approve(&item, Some(TrustWindow::WEEK)).unwrap();
    world.later(ITEM_MS);
    world.ok(Command::Sweep);
    assert_eq!(world.item_state(&item).wire(), "approved");
    world.later(ITEM_MS);
    world.ok(Command::Sweep);
    assert!(world.state.item(&item).is_none());
}

#[test]
fn after_a_restart_what_waits_is_planned_again_and_what_is_approved_holds() {
    let (mut world, who) = World::with_member(&[]);
    let (waits, holds) = (
        world.ask(&who, WRITE, &json!({"n": 1})),
        world.ask(&who, WRITE, &json!({"n": 2})),
    );
    world.approve(&holds, ONCE).unwrap();
    let seen = world.approval(&waits, ONCE);
    world.ok(Command::Launch);
    world.refuses(Command::Approve(seen), Refusal::CardChanged);
    world.plan(&waits, WRITE, Verb::Write);
    assert!(world.approve(&waits, ONCE).is_ok());
    let again = world.again(&who);
    assert!(world.allowed(&again, WRITE, &json!({"n": 2})));
}

#[test]
fn what_the_gateway_runs_the_agent_does_not_do_again_under_a_grant() {
    let (mut world, who) = World::with_member(&[]);
    let input = json!({"path": "a.md"});
    let run = |world: &mut World| run_to_approve(world, &who, &input);
    let item = run(&mut world);
    world.ok(grant(&who, WRITE, TrustWindow::WEEK, None));
    // The agent's call is under way on the grant when the owner approves the run.
    let early = world.permit(&who, WRITE, &input);
    world.approve(&item, ONCE).unwrap();
    let answered = Refusal::Runs { item: item.clone() };
    // Nor does it escape that in the background, where it has no session any more.
    let behind = early.clone().for_a_run();
    assert_eq!(world.begin(early.clone()).unwrap_err(), answered);
    assert_eq!(world.begin(behind.clone()).unwrap_err(), answered);
    let by_gateway = world.by_gateway(&who, &item, WRITE, &input);
    let intent = world.begin(granted(by_gateway).for_a_run()).unwrap();
    assert_eq!(refused(world.call(&who, WRITE, &input)), answered);
    assert!(world.allowed(&who, WRITE, &json!({"path": "b.md"})));
    assert_eq!(world.begin(early).unwrap_err(), answered);
    assert_eq!(world.begin(behind).unwrap_err(), answered);
    // Once it is over the same call is a new one.
    world.end(&intent, OutcomeKind::Ok);
    assert!(world.allowed(&who, WRITE, &input));
}

#[test]
fn a_run_that_is_over_may_be_asked_for_again() {
    for (kind, settled) in [
        (OutcomeKind::Ok, None),
        (OutcomeKind::Refused, None),
        (OutcomeKind::Failed, None),
        (OutcomeKind::Unknown, Some(false)),
    ] {
        let (mut world, who) = World::with_member(&[]);
        let input = json!({});
        let item = run_to_approve(&mut world, &who, &input);
        world.approve(&item, ONCE).unwrap();
        let by_gateway = world.by_gateway(&who, &item, WRITE, &input);
        let intent = world.begin(granted(by_gateway)).unwrap();
        world.end(&intent, kind);
        if let Some(happened) = settled {
            world.ok(settle(&who, &intent, happened));
        }
        assert!(world.pends(&who, WRITE, &input), "{kind:?}");
    }
}

/// Two approved runs of one input became unknown together: what the owner says of one is said of its item only.
#[test]
fn what_the_owner_settles_reaches_the_item_that_it_was_of() {
    let (mut world, who) = World::with_member(&[]);
    let input = json!({});
    let mut runs = Vec::new();
    for _ in 0..2 {
        let item = run_to_approve(&mut world, &who, &input);
        world.approve(&item, ONCE).unwrap();
        let by_gateway = world.by_gateway(&who, &item, WRITE, &input);
        runs.push((item, world.begin(granted(by_gateway)).unwrap()));
    }
    let state = |world: &World, n: usize| world.item_state(&runs[n].0);
    let over = |outcome| ItemState::Over { outcome };
    for (n, (_, intent)) in runs.iter().enumerate() {
        world.end(intent, OutcomeKind::Unknown);
        assert_eq!(state(&world, n), over(OutcomeKind::Unknown));
    }
    for (n, happened, told) in [(1, true, OutcomeKind::Ok), (0, false, OutcomeKind::Refused)] {
        let intent = runs[n].1.clone();
        world.ok(settle(&who, &intent, happened));
        assert_eq!(state(&world, n), over(told));
        let as_before = if n == 1 {
            OutcomeKind::Unknown
        } else {
            OutcomeKind::Ok
        };
        assert_eq!(state(&world, 1 - n), over(as_before), "the other one");
    }
}

#[test]
fn run_settled_in_part_is_no_success() {
    let (mut world, who) = World::with_member(&[]);
    let input = json!({});
    let item = run_to_approve(&mut world, &who, &input);
    world.approve(&item, ONCE).unwrap();
    let by_gateway = world.by_gateway(&who, &item, WRITE, &input);
    let intent = world.begin(granted(by_gateway)).unwrap();
    world.end(&intent, OutcomeKind::Unknown);
    world.ok(settle_in_part(&who, &intent));
    let outcome = OutcomeKind::Failed;
    assert_eq!(world.item_state(&item), ItemState::Over { outcome });
    assert!(
        world.pends(&who, WRITE, &input),
        "it may be asked for again"
    );
}

/// Of several calls each has its own end, and the item is over when the last of them is: what is said of one of them is
/// not said of another that is under way or not known.
#[test]
fn each_call_of_an_item_has_its_own_outcome() {
    use OutcomeKind::{Ok, Refused, Unknown};
    let over = |outcome| ItemState::Over { outcome };
    for (happened, told) in [(true, Ok), (false, Refused)] {
        for settled_first in [true, false] {
            let (mut world, who) = World::with_member(&[]);
            let input = json!({});
            let entries = [WRITE, EDIT, READ].map(|id| entry_with(id, &input));
            let request = world.request(&who, entries.into());
            let item = world.decided(request).item.unwrap();
            for id in [WRITE, EDIT] {
                world.plan(&item, id, Verb::Write);
            }
            world.approve(&item, ONCE).unwrap();
            let state = |world: &World| world.item_state(&item);
            let outcomes = |world: &World| -> Vec<_> {
                let item = world.state.item(&item).unwrap();
                let of = |id| item.asks.iter().find(|ask| ask.capability == cap(id));
                [WRITE, EDIT, READ].map(|id| of(id).unwrap().outcome).into()
            };
            let [write, edit] = [WRITE, EDIT].map(|id| {
                let permit = world.permit(&who, id, &input);
                world.begin(permit).unwrap()
            });
            let read = world.permit(&who, READ, &input);
            world.read(read).unwrap();
            assert_eq!(state(&world), ItemState::Consumed, "two are under way");
            world.end(&write, Unknown);
            assert_eq!(state(&world), ItemState::Consumed, "one is under way");
            let settle = settle(&who, &write, happened);
            if settled_first {
                world.ok(settle);
                assert_eq!(state(&world), ItemState::Consumed, "one is under way");
                world.end(&edit, Ok);
            } else {
                world.end(&edit, Ok);
                assert_eq!(state(&world), over(Unknown), "one is not known");
                assert_eq!(outcomes(&world), [Some(Unknown), Some(Ok), Some(Ok)]);
                world.ok(settle);
            }
            assert_eq!(outcomes(&world), [Some(told), Some(Ok), Some(Ok)]);
            assert_eq!(state(&world), over(Ok), "another was done");
        }
    }
}

/// A row of an earlier version says nothing of the outcome of a call.
#[test]
fn an_item_of_an_earlier_version_is_read() {
    let (mut world, who) = World::with_member(&[]);
    let item = world.ask(&who, WRITE, &json!({}));
    let item = (**world.state.item(&item).unwrap()).clone();
    let row = serde_json::to_value(&item).unwrap();
    assert_eq!(row["asks"][0].get("outcome"), None, "{row}");
    let read: plexus_trust::Item = serde_json::from_value(row).unwrap();
    assert_eq!(read, item);
}

#[test]
fn requests_that_only_read_are_answered_by_a_grant_that_covers_them() {
    let mut world = World::new();
    let (who, other) = (world.member("a", &[]), world.member("b", &[]));
    let note = |name: &str| json!({ "path": name });
    let ask = |world: &mut World, who: &Who, id: &str, name: &str, on_approval| {
        let mut request = world.request(who, vec![entry_with(id, &note(name))]);
        request.on_approval = on_approval;
        world.decided(request).item.unwrap()
    };
    let first = ask(&mut world, &who, READ, "a.md", OnApproval::Run);
    let run = ask(&mut world, &who, READ, "b.md", OnApproval::Run);
    let wait = ask(&mut world, &who, READ, "c.md", OnApproval::Wait);
    let both = world.item(&who, vec![entry(READ), entry(SEARCH)]);
    let write = ask(&mut world, &who, WRITE, "d.md", OnApproval::Run);
    let of_other = ask(&mut world, &other, READ, "b.md", OnApproval::Run);
    let also = |reply| match reply {
        Reply::Approved { also, .. } => also.into_iter().collect::<BTreeSet<_>>(),
        other => panic!("{other:?}"),
    };

    // Once is one call, and a narrowed grant does not tell what an input reaches.
    let once = world.approve(&first, Some(TrustWindow::Once)).unwrap();
    assert!(also(once).is_empty());
    let narrowed = grant(&who, READ, TrustWindow::DAY, Some(below("Projects")));
    assert!(also(world.ok(narrowed)).is_empty());
    let one_call = constraint(json!({"maxCalls": 1}));
    let counted = grant(&who, READ, TrustWindow::DAY, Some(one_call));
    assert!(also(world.ok(counted)).is_empty());

    let whole = world.ok(grant(&who, READ, TrustWindow::DAY, None));
    assert_eq!(also(whole), BTreeSet::from([run.clone(), wait]));
    let by_gateway = world.by_gateway(&who, &run, READ, &note("b.md"));
    assert!(world.read(granted(by_gateway)).is_ok());
    let again = world.by_gateway(&who, &run, READ, &note("b.md"));
    assert_eq!(refused(again), NO_GRANT);
    for item in [&both, &write, &of_other] {
        assert_eq!(world.item_state(item), ItemState::Pending);
    }

    // The rest of a request is answered with its last part; what changes something keeps its card.
    let rest = world.ok(grant(&who, SEARCH, TrustWindow::DAY, None));
    assert_eq!(also(rest), BTreeSet::from([both]));
    let writes = world.ok(grant(&who, WRITE, TrustWindow::DAY, None));
    assert!(also(writes).is_empty());
    assert_eq!(world.item_state(&write), ItemState::Pending);
}

#[test]
fn call_that_a_grant_makes_is_not_asked_for_any_more() {
    let (mut world, who) = World::with_member(&[]);
    let [same, another] = ["a.md", "b.md"].map(|name| json!({ "path": name }));
    let item = run_to_approve(&mut world, &who, &same);
    let other = run_to_approve(&mut world, &who, &another);
    world.ok(grant(&who, WRITE, TrustWindow::DAY, None));
    let permit = world.permit(&who, WRITE, &same);
    // Of what was refused, and of what failed at once, nothing was done.
    for (kind, state) in [
        (OutcomeKind::Refused, "pending"),
        (OutcomeKind::Failed, "pending"),
        (OutcomeKind::Ok, "expired"),
    ] {
        let intent = world.begin(permit.clone()).unwrap();
        // Nor is it made a second time meanwhile.
        assert_eq!(world.approve(&item, ONCE).unwrap_err(), Refusal::MadeNow);
        world.end(&intent, kind);
        assert_eq!(world.item_state(&item).wire(), state, "{kind:?}");
    }
    world.gone(&item);
    assert_eq!(world.item_state(&other), ItemState::Pending);
}

#[test]
fn read_that_a_grant_answered_is_made_by_that_grant_alone() {
    for replaced in [false, true] {
        let (mut world, who) = World::with_member(&[]);
        let input = json!({"path": "a.md"});
        let mut request = world.request(&who, vec![entry_with(READ, &input)]);
        request.on_approval = OnApproval::Run;
        let item = world.decided(request).item.unwrap();
        let hour = TrustWindow::HOUR;
        world.ok(grant(&who, READ, hour, None));
        let permit = granted(world.by_gateway(&who, &item, READ, &input));
        match replaced {
            true => drop(world.ok(grant(&who, READ, hour, Some(below("Projects"))))),
            false => world.later(3_600_000),
        }
        let late = refused(world.by_gateway(&who, &item, READ, &input));
        assert_eq!(late, NO_GRANT);
        let read = world.read(permit);
        assert_eq!(read.unwrap_err(), NO_GRANT);
    }
}
