//! What the card of an agent says that lost a grant because its source was changed.

use crate::support::*;
use plexus_protocol::TrustWindow;
use plexus_trust::{Command, Fact, Reply, restore};
use serde_json::json;

/// Points the source elsewhere.
fn route(path: &str) -> Command {
    put("notes", |config| config.route = json!({"path": path}))
}

/// The words on the card of a new request, and the request.
fn card(world: &mut World, who: &Who, id: &str) -> (Vec<String>, plexus_protocol::PendingId) {
    let n = world.fresh();
    let item = world.ask(who, id, &json!({"n": n}));
    (words(world, &item), item)
}

fn words(world: &World, item: &plexus_protocol::PendingId) -> Vec<String> {
    let item = world.state.item(item).unwrap();
    let moves = item.moves(&world.state);
    moves.flat_map(|(_, change)| change.words.clone()).collect()
}

#[test]
fn each_kind_of_change_is_on_the_card_in_words() {
    #[rustfmt::skip]
    let rows = [
        (route("/srv/b"), "path is /srv/b, it was /srv/notes"),
        (
            put("notes", |c| {
                c.route = json!({"path": "/srv/notes", "port": 1});
            }),
            "port is 1, it was not set",
        ),
        (put("notes", |c| c.secret_ref = Some("key".into())), "the name of its secret is key, it was not set"),
        (put("notes", |c| c.ask = true), "asking for each read is on, it was off"),
        (secret_changed("notes.token"), "its secret token was changed"),
        (target(|t| t.path.push('x')), "its folder is /srv/notesx, it was /srv/notes"),
        (target(|t| t.inode += 1), "its folder is another one than it was, in the same place, /srv/notes"),
    ];
    for (command, expected) in rows {
        let (mut world, who) = World::with_member(&[READ]);
        let never = world.member("b", &[]);
        world.ok(command);
        world.ok(Command::SourceSeen(seen("notes")));
        let shown = card(&mut world, &who, READ).0;
        assert!(
            shown.contains(&expected.to_owned()),
            "{expected}: {shown:?}"
        );
        assert!(card(&mut world, &never, READ).0.is_empty(), "{expected}");
        assert!(card(&mut world, &who, WRITE).0.is_empty(), "{expected}");
    }
}

#[test]
fn words_last_until_the_owner_allows_and_survive_a_restart() {
    let mut world = World::new();
    let (one, two) = (
        world.member("a", &[READ, SEARCH]),
        world.member("b", &[READ]),
    );
    world.ok(route("/srv/b"));
    world.ok(Command::SourceSeen(seen("notes")));
    let (shown, item) = card(&mut world, &one, READ);
    let first = "path is /srv/b, it was /srv/notes";
    assert_eq!(shown, [first]);
    let waits = card(&mut world, &one, READ).1;
    world.approve(&item, Some(TrustWindow::DAY)).unwrap();
    assert_eq!(words(&world, &waits), [first], "a card stays as it was");
    assert_eq!(card(&mut world, &one, SEARCH).0, [first], "not decided yet");
    // Who was allowed anew hears of what came after that alone; the other of all of it.
    world.later(1_000);
    world.ok(route("/srv/c"));
    world.ok(Command::SourceSeen(seen("notes")));
    let second = "path is /srv/c, it was /srv/b";
    assert_eq!(card(&mut world, &one, READ).0, [second]);
    assert_eq!(card(&mut world, &two, READ).0, [first, second]);
    let rows = plexus_trust::all_rows(&world.state);
    let again = restore(rows).unwrap();
    assert_eq!(again.sources, world.state.sources);
    assert_eq!(
        again.agents[&two.agent].voided,
        world.state.agents[&two.agent].voided
    );
    assert_eq!(again.agents[&two.agent].voided.len(), 1);
}

#[test]
fn kept_changes_are_bounded_and_forgotten_when_all_are_answered() {
    let (mut world, who) = World::with_member(&[READ]);
    for n in 0..20 {
        world.later(1);
        world.ok(route(&format!("/srv/{n}")));
    }
    let kept = |world: &World| world.state.sources[&source("notes")].moved.len();
    assert_eq!(kept(&world), 8);
    world.ok(Command::SourceSeen(seen("notes")));
    let (shown, item) = card(&mut world, &who, READ);
    assert_eq!(shown.last().unwrap(), "path is /srv/19, it was /srv/18");
    world.approve(&item, Some(TrustWindow::DAY)).unwrap();
    world.later(1);
    world.ok(route("/srv/notes"));
    assert_eq!(kept(&world), 1);
}

#[test]
fn ended_grant_is_lost_by_no_change_and_no_revocation() {
    let (mut world, ended) = World::with_member(&[READ]);
    let valid = world.member("b", &[]);
    let life = world.state.agents[&ended.agent].grants[&cap(READ)].expires_at;
    world.now = life;
    world.ok(grant(&valid, READ, TrustWindow::DAY, None));
    world.ok(grant(&ended, SEARCH, TrustWindow::DAY, None));
    world.ok(route("/srv/b"));
    let told = world
        .log
        .iter()
        .rev()
        .find_map(|one| match &one.event.detail {
            Fact::Source { grants_voided, .. } => Some(*grants_voided),
            _ => None,
        });
    assert_eq!(told, Some(2), "of three grants on it");
    let lost = |who: &Who| {
        let lost = world.state.agents[&who.agent].voided.keys();
        lost.cloned().collect::<Vec<_>>()
    };
    assert_eq!(lost(&ended), [cap(SEARCH)]);
    assert_eq!(lost(&valid), [cap(READ)], "the control");

    let (mut world, who) = World::with_member(&[READ, SEARCH]);
    let life = world.state.agents[&who.agent].grants[&cap(READ)].expires_at;
    world.now = life;
    world.ok(grant(&who, SEARCH, TrustWindow::DAY, None));
    let revoked = world.ok(Command::RevokeAgent {
        agent: who.agent,
        reason: None,
        delete: false,
    });
    assert!(
        matches!(revoked, Reply::Revoked { grants: 1, .. }),
        "{revoked:?}"
    );
}
