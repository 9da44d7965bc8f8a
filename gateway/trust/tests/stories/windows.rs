//! For how long something stands, and what may never stand.

use crate::support::*;
use plexus_protocol::{TrustWindow, capability::WindowKind};
use plexus_trust::{Command, Settings};
use serde_json::json;

fn custom(ms: u64) -> TrustWindow {
    TrustWindow::For {
        kind: WindowKind::Custom,
        ms,
    }
}

/// The window that an approval gave, for an agent's wish and an owner's choice.
fn approved(
    id: &str,
    wish: Option<TrustWindow>,
    owner: Option<TrustWindow>,
) -> Option<TrustWindow> {
    let (mut world, who) = World::with_member(&[]);
    let mut wanted = entry_with(id, &json!({}));
    wanted.wish = wish;
    let item = world.item(&who, vec![wanted]);
    world.plan(&item, id, plexus_protocol::Verb::Write);
    world.approve(&item, owner).unwrap();
    let agent = world.state.agent(&who.agent).unwrap();
    agent.grants.get(id).map(|grant| grant.window)
}

#[test]
fn an_approval_without_a_window_takes_the_wish_or_the_class_default() {
    assert_eq!(approved(READ, None, None), Some(TrustWindow::WEEK));
    assert_eq!(approved(WRITE, None, None), Some(TrustWindow::DAY));
    assert_eq!(approved(EDIT, None, None), Some(TrustWindow::DAY));
    assert_eq!(approved(EXT_READ, None, None), Some(TrustWindow::DAY));
    for id in [RUN, SEND, EXT_WRITE] {
        assert_eq!(approved(id, None, None), None, "{id}");
    }
}

#[test]
fn an_agent_may_only_shorten_and_the_owner_may_choose() {
    assert_eq!(
        approved(READ, Some(TrustWindow::HOUR), None),
        Some(TrustWindow::HOUR)
    );
    assert_eq!(approved(READ, ONCE, None), None);
    for wish in [TrustWindow::UntilRevoked, custom(8 * DAY)] {
        assert_eq!(approved(READ, Some(wish), None), Some(TrustWindow::WEEK));
    }
    assert_eq!(
        approved(
            READ,
            Some(TrustWindow::HOUR),
            Some(TrustWindow::UntilRevoked)
        ),
        Some(TrustWindow::UntilRevoked)
    );
    assert_eq!(approved(READ, None, ONCE), None);
    assert_eq!(
        approved(READ, None, Some(custom(90 * DAY))),
        Some(custom(30 * DAY))
    );
}

#[test]
fn until_revoked_falls_back_where_the_owner_does_not_allow_it() {
    let mut world = World::new();
    let settings = Settings {
        allow_until_revoked: false,
        ..Settings::default()
    };
    world.ok(Command::Configure(settings.clone()));
    let mut connect = world.connect_command("a", &[READ]);
    connect.window = Some(TrustWindow::UntilRevoked);
    let who = world.join(connect);
    let agent = world.state.agent(&who.agent).unwrap();
    assert_eq!(agent.grants[&cap(READ)].window, TrustWindow::WEEK);
    // Nor may it come back as a default.
    let backdoor = Settings {
        read_window: TrustWindow::UntilRevoked,
        ..settings
    };
    world.invalid(Command::Configure(backdoor.clone()));
    world.ok(Command::Configure(Settings {
        allow_until_revoked: true,
        ..backdoor
    }));
}

#[test]
fn longest_window_of_the_owner_bounds_every_one_with_an_end() {
    for (chosen, is) in [
        (Some(TrustWindow::WEEK), custom(DAY)),
        // The default of a read, which is a week.
        (None, custom(DAY)),
        (Some(TrustWindow::HOUR), TrustWindow::HOUR),
        (Some(TrustWindow::DAY), TrustWindow::DAY),
        (Some(TrustWindow::UntilRevoked), TrustWindow::UntilRevoked),
    ] {
        let mut world = World::new();
        world.ok(set(|s| s.max_trust_window_ms = DAY));
        let mut connect = world.connect_command("a", &[READ]);
        connect.window = chosen;
        let who = world.join(connect);
        let agent = world.state.agent(&who.agent).unwrap();
        assert_eq!(agent.grants[&cap(READ)].window, is, "{chosen:?}");
    }
}

#[test]
fn settings_out_of_bounds_are_refused() {
    let mut world = World::new();
    world.invalid(set(|s| s.token_lifetime_ms = MINUTE - 1));
    world.invalid(set(|s| s.token_lifetime_ms = HOUR + 1));
    world.invalid(set(|s| s.max_trust_window_ms = 0));
    world.ok(set(|s| s.token_lifetime_ms = HOUR));
}

#[test]
fn above_the_ceiling_nothing_stands_whoever_asks() {
    for id in [RUN, SEND, EXT_WRITE] {
        let mut world = World::new();
        let mut connect = world.connect_command("a", &[id]);
        connect.standing = [cap(id)].into();
        connect.window = Some(TrustWindow::UntilRevoked);
        let who = world.join(connect);

        world.ok(grant(&who, id, TrustWindow::WEEK, None));
        assert!(world.pends(&who, id, &json!({})), "{id}");
        let item = world.ask(&who, id, &json!({}));
        world.approve(&item, Some(TrustWindow::WEEK)).unwrap();
        let permit = world.permit(&who, id, &json!({}));
        world.begin(permit).unwrap();
        assert!(world.pends(&who, id, &json!({})), "{id} was used up");
    }
}

#[test]
fn a_lapsed_grant_pends_and_a_clock_set_back_does_not_revive_it() {
    let mut world = World::new();
    let mut connect = world.connect_command("a", &[READ]);
    connect.window = Some(custom(10 * MINUTE));
    let who = world.join(connect);
    world.later(10 * MINUTE - 1);
    assert!(world.allowed(&who, READ, &json!({})));
    world.later(1);
    assert!(world.pends(&who, READ, &json!({})));
    world.ask(&who, READ, &json!({}));
    world.now = START;
    assert!(world.pends(&who, READ, &json!({})));
    assert_eq!(world.state.time(world.now), START.plus(10 * MINUTE));
}
