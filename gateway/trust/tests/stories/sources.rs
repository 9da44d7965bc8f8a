//! Re-gating: what becomes of grants and items when what they are about changes.

use crate::support::*;
use plexus_protocol::{TrustWindow, Verb, Verbs};
use plexus_trust::{
    Command, GrantEntry, Hide, ItemState, Lend, Lent, OutcomeKind, Refusal, Reply, SourceConfig,
    SourceSeen,
};
use serde_json::json;

#[test]
fn a_changed_target_voids() {
    for (what, command) in [
        ("path", target(|t| t.path.push('x'))),
        ("inode", target(|t| t.inode += 1)),
        ("device within one boot", target(|t| t.device += 1)),
        (
            "another disk at the same place after a boot",
            target(|t| (t.device, t.boot, t.file_system) = (9, "second".into(), 6)),
        ),
    ] {
        let (mut world, who) = World::with_member(&[READ, EXT_READ]);
        let token = world.token(&who, vec![entry(READ)]);
        let item = world.ask(&who, WRITE, &json!({}));
        let permit = world.permit(&who, READ, &json!({}));
        world.ok(command);
        assert!(world.pends(&who, READ, &json!({})), "{what}");
        assert_eq!(world.read(permit).unwrap_err(), NO_GRANT, "{what}");
        world.gone(&item);
        let by_token = world.by_token(&who, &token, READ);
        assert_eq!(refused(by_token), Refusal::TokenRevoked, "{what}");
        assert!(world.allowed(&who, EXT_READ, &json!({})), "{what}");
        world.ok(resume("notes", true));
        assert!(world.pends(&who, READ, &json!({})), "{what}: no way back");
    }
}

#[test]
fn moved_path_field_voids_and_absent_one_does_not() {
    let paths = |inode: Option<u64>| {
        changed(|now| {
            let mut target = now.target.clone().unwrap();
            let point = |inode| {
                target.inode = inode;
                ("library".to_owned(), target)
            };
            now.paths.extend(inode.map(point));
        })
    };
    let mut world = World::new();
    world.ok(paths(Some(7)));
    let who = world.member("a", &[READ, EXT_READ]);
    for same in [None, Some(7)] {
        world.ok(paths(same));
        assert!(world.allowed(&who, READ, &json!({})), "the control");
    }
    world.ok(paths(None));
    world.ok(paths(Some(8)));
    assert!(world.pends(&who, READ, &json!({})));
    assert!(world.allowed(&who, EXT_READ, &json!({})));
}

#[test]
fn the_same_target_after_a_reboot_or_an_absence_changes_nothing() {
    for command in [
        target(|t| (t.device, t.boot) = (9, "second".into())),
        // An earlier version did not know it.
        target(|t| (t.device, t.boot, t.file_system) = (9, "second".into(), 0)),
        changed(|s| s.target = None),
    ] {
        let (mut world, who) = World::with_member(&[READ]);
        let permit = world.permit(&who, READ, &json!({}));
        world.ok(command);
        world.ok(Command::SourceSeen(seen("notes")));
        assert!(world.read(permit).is_ok());
    }
    let (mut world, who) = World::with_member(&[READ]);
    world.ok(changed(|s| s.target = None));
    world.ok(target(|t| t.inode += 1));
    assert!(
        world.pends(&who, READ, &json!({})),
        "another folder came back"
    );
}

#[test]
fn a_changed_shape_or_profile_suspends_until_the_owner_resumes() {
    type Change = fn(&mut SourceSeen);
    let changes: [(&str, Change); 5] = [
        ("rating, above the ceiling", |s| {
            let facts = s.capabilities.get_mut(&cap(READ)).unwrap();
            facts.sensitivity = plexus_protocol::Sensitivity::High;
        }),
        ("shape", |s| s.capabilities = manifest("notes", 1)),
        ("profile", |s| s.profile = secret("another")),
        ("gone and back in another shape", |s| {
            s.capabilities.remove(&cap(READ));
        }),
        ("verbs, under the same shape", |s| {
            let facts = s.capabilities.get_mut(&cap(READ)).unwrap();
            facts.verbs = Verbs::of([Verb::Read, Verb::Write]);
        }),
    ];
    for (what, edit) in changes {
        let (mut world, who) = World::with_member(&[READ, EXT_READ]);
        let permit = world.permit(&who, READ, &json!({}));
        world.ok(changed(edit));
        let why = match what.starts_with("gone") {
            true => Refusal::UnknownCapability,
            false => NO_GRANT,
        };
        assert_eq!(world.read(permit).unwrap_err(), why, "{what}");
        if what.starts_with("gone") {
            world.ok(changed(|s| s.capabilities = manifest("notes", 1)));
        }
        assert!(world.pends(&who, READ, &json!({})), "{what}");
        assert!(world.allowed(&who, EXT_READ, &json!({})), "{what}");
        world.ok(resume("notes", true));
        // A grant to read does not grow with the manifest, and none stands above the ceiling of today.
        let gone = what.starts_with("verbs") || what.starts_with("rating");
        assert_eq!(world.allowed(&who, READ, &json!({})), !gone, "{what}");
    }
}

#[test]
fn a_change_of_wording_changes_nothing() {
    let (mut world, who) = World::with_member(&[READ]);
    let permit = world.permit(&who, READ, &json!({}));
    let item = world.ask(&who, WRITE, &json!({}));
    let before = world.log.len();
    world.ok(Command::SourceSeen(seen("notes")));
    assert_eq!(world.log.len(), before);
    world.ok(put("notes", |c| c.label = "My notes".into()));
    assert!(world.read(permit).is_ok());
    world.approve(&item, ONCE).unwrap();
    assert!(world.allowed(&who, WRITE, &json!({})));
}

#[test]
fn an_item_does_not_outlive_the_shape_it_was_shown_in() {
    let (mut world, who) = World::with_member(&[]);
    let (pending, approved) = (
        world.ask(&who, WRITE, &json!({"n": 1})),
        world.ask(&who, WRITE, &json!({"n": 2})),
    );
    world.approve(&approved, ONCE).unwrap();
    let elsewhere = world.ask(&who, EXT_WRITE, &json!({}));
    world.ok(changed(|s| s.capabilities = manifest("notes", 1)));
    world.gone(&pending);
    assert!(world.pends(&who, WRITE, &json!({"n": 2})));
    assert!(world.approve(&elsewhere, None).is_ok());
}

#[test]
fn an_owners_new_route_or_secret_voids() {
    type Set = fn(&mut SourceConfig);
    let changes: [(&str, Set); 5] = [
        ("route", |c| c.route = json!({"path": "/srv/other"})),
        ("secret", |c| c.secret_ref = Some("key".into())),
        ("ask", |c| c.ask = true),
        ("kind", |c| c.kind = "other".into()),
        ("provenance", |c| {
            c.provenance = plexus_protocol::Provenance::Extension;
        }),
    ];
    for (what, set) in changes {
        let (mut world, who) = World::with_member(&[READ]);
        let permit = world.permit(&who, READ, &json!({}));
        world.ok(put("notes", set));
        let why = match what {
            "kind" => Refusal::UnknownCapability,
            _ => NO_GRANT,
        };
        assert_eq!(world.read(permit).unwrap_err(), why, "{what}");
        world.ok(Command::SourceSeen(seen("notes")));
        assert!(world.pends(&who, READ, &json!({})), "{what}");
    }
}

#[test]
fn a_changed_secret_voids_in_one_step() {
    let mut world = World::new();
    world.ok(put("notes", |c| c.secret_ref = Some("mail".into())));
    world.ok(Command::SourceSeen(seen("notes")));
    let who = world.member("a", &[READ, EXT_READ]);
    world.ok(secret_changed("other"));
    assert!(world.allowed(&who, READ, &json!({})), "the control");
    world.ok(secret_changed("mail"));
    let known = world.notes();
    assert_eq!(known.config.secret_ref.as_deref(), Some("mail"), "it stays");
    world.ok(Command::SourceSeen(seen("notes")));
    assert!(world.pends(&who, READ, &json!({})));
    assert!(world.allowed(&who, EXT_READ, &json!({})));
}

#[test]
fn changed_field_secret_voids_its_source_alone() {
    let (mut world, who) = World::with_member(&[READ, EXT_READ]);
    for others in ["notes-2.token", "notes", "xnotes.token"] {
        world.ok(secret_changed(others));
        assert!(world.allowed(&who, READ, &json!({})), "{others}");
    }
    world.ok(secret_changed("notes.token"));
    assert!(world.pends(&who, READ, &json!({})));
    assert!(world.allowed(&who, EXT_READ, &json!({})));
}

#[test]
fn a_disabled_source_is_gone_and_comes_back_as_it_was() {
    let (mut world, who) = World::with_member(&[READ]);
    world.ok(put("notes", |c| c.enabled = false));
    assert_eq!(world.refusal(&who, READ), Refusal::UnknownCapability);
    world.ok(put("notes", |_| {}));
    assert!(world.allowed(&who, READ, &json!({})));
}

#[test]
fn a_removed_source_takes_its_grants_with_it() {
    let (mut world, who) = World::with_member(&[READ]);
    world.ok(remove("notes"));
    assert_eq!(world.refusal(&who, READ), Refusal::UnknownCapability);
    world.ok(put("notes", |_| {}));
    world.ok(Command::SourceSeen(seen("notes")));
    assert!(world.pends(&who, READ, &json!({})));
}

#[test]
fn reads_that_allow_themselves_do_not_do_so_after_the_owner_or_a_new_target_said_no() {
    let mut world = World::new();
    world.ok(set(|s| s.auto_allow_reads = true));
    let mut connect = world.connect_command("a", &[READ, SEARCH, EXT_READ, WRITE]);
    connect.window = ONCE;
    let who = world.join(connect);
    assert!(!world.ask_for(&who, vec![entry(READ)]).scopes.is_empty());
    assert!(
        world
            .ask_for(&who, vec![entry(EXT_READ), entry(WRITE)])
            .scopes
            .is_empty()
    );
    world.ok(revoke_grant(&who, READ));
    assert!(world.ask_for(&who, vec![entry(READ)]).scopes.is_empty());
    world.ok(target(|t| t.inode += 1));
    assert!(world.ask_for(&who, vec![entry(SEARCH)]).scopes.is_empty());
}

/// Nor where its grant, perhaps of a part, had ended before the source changed.
#[test]
fn read_whose_grant_ended_does_not_allow_itself_after_a_change() {
    let mut world = World::new();
    world.ok(set(|s| s.auto_allow_reads = true));
    let mut connect = world.connect_command("a", &[READ]);
    connect.window = ONCE;
    let mut who = world.join(connect);
    world.ok(grant(&who, READ, TrustWindow::HOUR, None));
    world.later(TrustWindow::HOUR.length_ms());
    who.session = world.open(&who.agent, None).unwrap();
    assert!(world.ask_for(&who, vec![entry(READ)]).scopes.is_empty());
    world.ok(changed(|now| now.profile = secret("other")));
    assert!(world.ask_for(&who, vec![entry(READ)]).scopes.is_empty());
}

#[test]
fn a_read_that_the_agent_was_not_selected_for_does_not_allow_itself() {
    let mut world = World::new();
    world.ok(set(|s| s.auto_allow_reads = true));
    let mut connect = world.connect_command("a", &[READ]);
    connect.window = ONCE;
    let who = world.join(connect);
    // It is exposed, so the agent knows of it, and that is all.
    let asked = world.ask_for(&who, vec![entry(SEARCH)]);
    assert!(asked.scopes.is_empty() && asked.item.is_some(), "{asked:?}");
    assert!(world.pends(&who, SEARCH, &json!({})));
    assert!(!world.ask_for(&who, vec![entry(READ)]).scopes.is_empty());
}

#[test]
fn what_is_not_exposed_is_not_there() {
    let (mut world, who) = World::with_member(&[READ]);
    let token = world.token(&who, vec![entry(READ)]);
    let permit = world.permit(&who, READ, &json!({}));
    world.ok(expose(READ, false));
    assert_eq!(world.refusal(&who, READ), Refusal::UnknownCapability);
    let by_token = refused(world.by_token(&who, &token, READ));
    assert_eq!(by_token, Refusal::Unexposed);
    assert_eq!(world.read(permit.clone()).unwrap_err(), Refusal::Unexposed);
    world.ok(expose(READ, true));
    assert!(
        world.read(permit).is_ok(),
        "re-exposed, the grant works again (wire 5.10)"
    );
}

#[test]
fn a_new_route_does_not_hide_a_new_profile_and_a_new_kind_offers_nothing_yet() {
    let (mut world, who) = World::with_member(&[]);
    let other = |c: &mut SourceConfig| c.route = json!({"path": "/srv/other"});
    world.ok(put("notes", other));
    let item = world.ask(&who, READ, &json!({}));
    world.approve(&item, Some(TrustWindow::DAY)).unwrap();
    assert!(world.allowed(&who, READ, &json!({})));
    world.ok(changed(|s| s.profile = secret("another")));
    assert!(world.pends(&who, READ, &json!({})));
    world.ok(put("notes", |c| {
        other(c);
        c.kind = "other".into();
    }));
    assert_eq!(world.refusal(&who, READ), Refusal::UnknownCapability);
}

/// The same capability with an input schema that is kept.
fn shaped(s: &mut SourceSeen, input: serde_json::Value) {
    for facts in s.capabilities.values_mut() {
        facts.shape = secret(&input.to_string());
        facts.input = Some(input.clone());
    }
}

/// No judgement of which of two schemas accepts more: the owner decides.
#[test]
fn any_other_shape_suspends_its_grants_until_the_owner_resumes() {
    for source in [READ, EXT_READ] {
        let (mut world, who) = World::with_member(&[READ, EXT_READ]);
        let of = source.split_once('.').unwrap().0;
        let look = |max: u64| {
            let mut look = seen(of);
            shaped(&mut look, json!({"properties": {"n": {"maximum": max}}}));
            Command::SourceSeen(look)
        };
        // A tighter bound too.
        for max in [10, 9, 11] {
            world.ok(look(max));
            assert!(world.pends(&who, source, &json!({})), "{source} {max}");
            let last = world.log.last().unwrap();
            let said = serde_json::to_value(&last.event.detail).unwrap();
            assert_eq!(said["what"], "manifest or profile changed");
            world.ok(resume(of, true));
            assert!(world.allowed(&who, source, &json!({})));
            world.ok(look(max));
            assert!(world.allowed(&who, source, &json!({})), "the control");
        }
    }
}

#[test]
fn what_a_profile_imports_is_a_part_of_it() {
    let (mut world, who) = World::with_member(&[READ, EXT_READ]);
    let more = |s: &mut SourceSeen| s.base.push("(allow file-read* (subpath \"/etc\"))".into());
    let less = |s: &mut SourceSeen| s.base.clear();
    let what = |world: &World| {
        let detail = &world.log.last().unwrap().event.detail;
        serde_json::to_value(detail).unwrap()["what"].clone()
    };

    world.ok(changed(more));
    assert!(world.pends(&who, READ, &json!({})));
    assert_eq!(what(&world), "manifest or profile changed");
    let kept = &world.notes().changed;
    assert_eq!(kept[0].rules, ["(allow file-read* (subpath \"/etc\"))"]);
    assert!(kept[0].rules_gone.is_empty());
    world.ok(resume("notes", true));
    assert!(world.allowed(&who, READ, &json!({})));

    // One entry less is a change like any other.
    world.ok(changed(|_| {}));
    assert!(world.pends(&who, READ, &json!({})));
    let kept = &world.notes().changed;
    assert_eq!(
        kept[0].rules_gone,
        ["(allow file-read* (subpath \"/etc\"))"]
    );
    world.ok(resume("notes", true));

    world.ok(changed(less));
    assert!(world.pends(&who, READ, &json!({})), "nor all of it");
    world.ok(resume("notes", true));
    // A home of a version that did not keep it learns it, and nothing rests.
    world.ok(changed(|_| {}));
    assert!(world.allowed(&who, READ, &json!({})));
    assert_eq!(what(&world), "seen");
}

#[test]
fn capability_that_comes_back_is_not_called_gone() {
    let (mut world, who) = World::with_member(&[READ]);
    let words = |world: &World| -> Vec<String> {
        let changed = world.notes().changed.iter();
        changed.flat_map(|one| one.words.clone()).collect()
    };
    world.ok(changed(|s| s.capabilities.retain(|id, _| *id != cap(READ))));
    assert_eq!(words(&world), ["it is no longer offered"]);
    world.ok(changed(|_| {}));
    assert_eq!(
        words(&world),
        ["it is offered again; it was not for a while"]
    );
    assert!(world.pends(&who, READ, &json!({})));

    // Back as something else, after a decision that left it suspended: another card, which nothing before decides on.
    let (mut world, who) = World::with_member(&[READ, SEARCH]);
    let another = |s: &mut SourceSeen| {
        s.capabilities.get_mut(&cap(SEARCH)).unwrap().shape = secret("another");
    };
    world.ok(changed(|s| {
        another(s);
        s.capabilities.retain(|id, _| *id != cap(READ));
    }));
    let decided = Command::ResumeSource {
        id: source("notes"),
        revision: Some(world.notes().revision),
        go_on: true,
    };
    world.ok(decided.clone());
    assert_eq!(words(&world), Vec::<String>::new());
    world.ok(changed(|s| {
        another(s);
        let back = s.capabilities.get_mut(&cap(READ)).unwrap();
        back.shape = secret("something else");
    }));
    assert_eq!(world.run(decided).unwrap_err(), Refusal::CardChanged);
    assert_eq!(
        words(&world),
        ["it is offered again; it was not for a while"]
    );
    assert!(world.pends(&who, READ, &json!({})));
}

#[test]
fn the_difference_is_kept_as_long_as_a_grant_rests_and_decided_as_it_was_seen() {
    let (mut world, who) = World::with_member(&[READ]);
    let kept = |world: &World| world.notes().changed.clone();
    world.ok(changed(|s| {
        shaped(s, json!({"properties": {"n": {"maximum": 1}}}));
    }));
    world.ok(resume("notes", true));
    assert!(kept(&world).is_empty());

    world.ok(changed(|s| {
        shaped(s, json!({"properties": {"n": {"maximum": 2}}}));
    }));
    let seen_by_owner = world.notes().revision;
    world.ok(changed(|s| {
        shaped(s, json!({"properties": {"n": {"maximum": 2}}}));
        s.profile = secret("another");
        s.rules = vec!["(allow network*)".into()];
    }));
    let words = kept(&world);
    assert_eq!(words.len(), 2, "all that changed while it rests: {words:?}");
    assert_eq!(words[0].capability, Some(cap(READ)));
    assert_eq!(words[0].words, ["`n`: maximum is 2, it was 1"]);
    assert_eq!(words[1].rules, ["(allow network*)"]);
    // The profile changed after the owner had looked.
    let stale = Command::ResumeSource {
        id: source("notes"),
        revision: Some(seen_by_owner),
        go_on: true,
    };
    assert_eq!(world.run(stale).unwrap_err(), Refusal::CardChanged);
    assert!(world.pends(&who, READ, &json!({})));
    world.ok(resume("notes", false));
    assert!(kept(&world).is_empty());
    assert!(
        world.state.agents[&who.agent].grants.is_empty(),
        "they ended"
    );
    world.ok(resume("notes", true));
    assert!(world.pends(&who, READ, &json!({})), "no way back");
}

#[test]
fn changes_of_a_profile_while_grants_rest_are_told_as_what_they_come_to() {
    let (mut world, who) = World::with_member(&[READ]);
    let ruled = |world: &mut World, rule: &str| {
        world.ok(changed(|s| {
            s.profile = secret(rule);
            s.rules = vec![rule.into()];
        }));
        let known = world.notes().changed.iter();
        known
            .map(|one| (one.rules.clone(), one.rules_gone.clone()))
            .collect::<Vec<_>>()
    };
    let one = |rule: &str| vec![rule.to_owned()];
    ruled(&mut world, "(a)");
    world.ok(resume("notes", true));
    assert!(world.allowed(&who, READ, &json!({})), "the control");
    assert_eq!(ruled(&mut world, "(b)"), [(one("(b)"), one("(a)"))]);
    assert_eq!(ruled(&mut world, "(c)"), [(one("(c)"), one("(a)"))]);
    assert!(ruled(&mut world, "(a)").is_empty());
    assert!(world.pends(&who, READ, &json!({})), "it rests all the same");
}

#[test]
fn a_source_that_shows_more_voids_the_calls_that_were_approved_on_less() {
    let (mut world, who) = World::with_member(&[]);
    world.ok(hide("private", false));
    let (read, write) = (json!({"n": 1}), json!({"n": 2}));
    let items = [world.ask(&who, READ, &read), world.ask(&who, WRITE, &write)];
    for item in &items {
        world.approve(item, ONCE).unwrap();
    }
    let waits = world.ask(&who, READ, &json!({"n": 3}));
    world.approved(&who, EXT_READ, &json!({}));
    // On less than what was looked at, they go on.
    world.ok(hide("letters", false));
    assert!(world.allowed(&who, READ, &read) && world.allowed(&who, WRITE, &write));
    world.ok(hide("private", true));
    for item in items.iter().chain([&waits]) {
        let state = world.item_state(item);
        assert!(matches!(state, ItemState::Void { .. }), "{state:?}");
    }
    assert!(world.pends(&who, READ, &read) && world.pends(&who, WRITE, &write));
    assert!(world.allowed(&who, EXT_READ, &json!({})), "another source");
}

#[test]
fn card_of_a_source_names_all_that_it_shows_and_hid() {
    let (mut world, _) = World::with_member(&[READ]);
    let folders = ["daily", "private"];
    for folder in folders {
        world.ok(hide(folder, false));
    }
    let shown = |world: &mut World, folder: &str, remove: bool| {
        world.ok(hide(folder, remove));
        let changed = world.notes().changed.iter();
        changed
            .flat_map(|one| one.words.clone())
            .collect::<Vec<_>>()
    };
    let says = |folder: &str| format!("it shows folder {folder}, which it hid before");
    assert_eq!(shown(&mut world, "daily", true), [says("daily")]);
    // The grant is suspended already.
    assert_eq!(shown(&mut world, "private", true), folders.map(says));
    assert_eq!(shown(&mut world, "daily", false), [says("private")]);
    assert!(shown(&mut world, "private", false).is_empty());
}

#[test]
fn resumed_grants_answer_the_reads_asked_meanwhile() {
    let (mut world, who) = World::with_member(&[READ]);
    let other = world.member("b", &[]);
    world.ok(changed(|s| s.profile = secret("another")));
    let read = world.ask(&who, READ, &json!({}));
    let write = world.ask(&who, WRITE, &json!({}));
    let of_other = world.ask(&other, READ, &json!({}));
    let reply = world.ok(resume("notes", true));
    let Reply::Resumed { also } = reply else {
        panic!("{reply:?}");
    };
    assert_eq!(also, std::slice::from_ref(&read));
    assert!(matches!(
        world.item_state(&read),
        ItemState::Approved { .. }
    ));
    for item in [&write, &of_other] {
        assert_eq!(world.item_state(item), ItemState::Pending);
    }
}

/// Two acts at a time: one read the source before the other hid a folder of it, or switched it off.
#[test]
fn hidden_rules_outlive_a_change_that_had_not_read_them() {
    let mut world = World::new();
    let read_before = config("notes");
    let private = hidden("private");
    world.ok(hide("private", false));
    world.ok(put("notes", |c| {
        *c = SourceConfig {
            label: "Mine".to_owned(),
            ..read_before
        }
    }));
    let now = &world.notes().config;
    assert_eq!((&*now.label, &now.hide), ("Mine", &private));
    world.ok(Command::DisableSource {
        id: source("notes"),
    });
    let now = &world.notes().config;
    assert_eq!((now.enabled, &now.hide), (false, &private));
    // The control: another kind is another source.
    world.ok(put("notes", |c| c.kind = "other".to_owned()));
    let now = &world.notes().config;
    assert_eq!(now.hide, Hide::default());
}

#[test]
fn commands_that_give_something_do_not_narrow() {
    let hide = |remove| Command::Hide {
        id: source("notes"),
        rules: Hide::default(),
        remove,
    };
    for (narrower, wider) in [
        (Command::Pause(true), Command::Pause(false)),
        (hide(false), hide(true)),
        (resume("notes", false), resume("notes", true)),
    ] {
        assert!(narrower.narrows(), "{narrower:?}");
        assert!(!wider.narrows(), "{wider:?}");
    }
    assert!(!put("notes", |_| {}).narrows() && !Command::RotateKey.narrows());
}

#[test]
fn another_certificate_suspends_its_grants_until_the_owner_resumes() {
    let (mut world, who) = World::with_member(&[READ, EXT_READ]);
    let pin = |pin: Option<&str>| Command::PinSource {
        id: source("notes"),
        pins: [("certificate".to_owned(), pin.map(str::to_owned))].into(),
    };
    let kept = |world: &World| world.notes().changed.clone();
    let waits = world.ask(&who, WRITE, &json!({"n": 1}));
    let revision = world.notes().revision;
    world.ok(pin(Some("aa")));
    assert!(world.pends(&who, READ, &json!({})));
    assert!(world.allowed(&who, EXT_READ, &json!({})), "another source");
    assert!(world.notes().revision > revision);
    let state = world.item_state(&waits);
    assert!(matches!(state, ItemState::Void { .. }), "{state:?}");
    // Two changes before the owner decides are both on the card.
    world.ok(pin(Some("bb")));
    let words: Vec<_> = kept(&world).into_iter().flat_map(|one| one.words).collect();
    assert_eq!(
        words,
        [
            "certificate, by which its host is known, is aa, it was not set",
            "certificate, by which its host is known, is bb, it was aa",
        ]
    );
    world.ok(resume("notes", true));
    assert!(world.allowed(&who, READ, &json!({})));
    assert!(kept(&world).is_empty());
    // The same one changes nothing; none at all is a change.
    world.ok(pin(Some("bb")));
    assert!(world.allowed(&who, READ, &json!({})), "the control");
    world.ok(pin(None));
    assert!(world.pends(&who, READ, &json!({})));
    assert!(world.notes().config.route["certificate"].is_null());
    // Where it points is another matter: nothing stands on it.
    world.ok(put("notes", |c| c.route = json!({"path": "/srv/other"})));
    world.ok(resume("notes", true));
    assert!(world.pends(&who, READ, &json!({})));
}

#[test]
fn two_lendings_of_one_agent_that_end_at_once_both_leave_their_tombstones() {
    let mut world = World::empty();
    let who = world.member("a", &[]);
    let until = world.now.plus(HOUR);
    let lent = [("ext", EXT_READ), ("notes", READ)];
    for (id, read) in lent {
        let mut config = config(id);
        config.lent = Some(Lent {
            agent: who.agent.clone(),
            until,
            capabilities: [cap(read)].into(),
            ended: None,
        });
        world.ok(Command::Lend(Box::new(Lend {
            config,
            seen: seen(id),
            grants: vec![GrantEntry {
                capability: cap(read),
                verbs: None,
                window: Some(TrustWindow::WEEK),
                constraint: None,
            }],
        })));
        assert!(world.allowed(&who, read, &json!({})));
    }
    world.later(HOUR);
    world.ok(Command::Sweep);
    for (id, read) in lent {
        let ended = world.state.sources[&source(id)].config.lent.as_ref();
        assert!(ended.is_some_and(|lent| lent.ended.is_some()), "{id}");
        let tombstones = &world.state.agents[&who.agent].tombstones;
        assert!(tombstones.contains(&cap(read)), "{read}: {tombstones:?}");
    }
}

/// How many writes are left on it is shown until the lending ends.
#[test]
fn used_up_grant_of_a_lending_outlives_a_change() {
    let mut world = World::empty();
    let who = world.member("a", &[]);
    let mut config = config("notes");
    config.lent = Some(Lent {
        agent: who.agent.clone(),
        until: world.now.plus(HOUR),
        capabilities: [cap(READ)].into(),
        ended: None,
    });
    world.ok(Command::Lend(Box::new(Lend {
        config,
        seen: seen("notes"),
        grants: vec![GrantEntry {
            capability: cap(READ),
            verbs: None,
            window: Some(TrustWindow::WEEK),
            constraint: Some(constraint(json!({"maxCalls": 1}))),
        }],
    })));
    let permit = world.permit(&who, READ, &json!({}));
    world.read(permit).unwrap();
    world.ok(changed(|now| now.profile = secret("other")));
    let grants = &world.state.agents[&who.agent].grants;
    let left = grants.get(&cap(READ)).map(|grant| grant.calls_left());
    assert_eq!(left, Some(Some(0)));
}

/// A grant that has ended is not suspended, and nobody is asked about it: it is forgotten, so that no change is renewed unseen, and
/// no read allows itself in its place. One whose last call may come back is suspended.
#[test]
fn only_grants_that_have_not_ended_are_suspended() {
    type Way = fn(&mut World);
    let ways: [(&str, Way); 3] = [
        ("restored", |world| {
            let made_at = world.now;
            world.ok(Command::Restored { made_at });
        }),
        ("shows more", |world| {
            world.ok(hide("Diary", true));
        }),
        ("changed", |world| {
            world.ok(changed(|now| now.profile = secret("other")));
        }),
    ];
    for (way, act) in ways {
        let mut world = World::new();
        world.ok(hide("Diary", false));
        let once = || Some(constraint(json!({"maxCalls": 1})));
        let members = [
            ("valid", TrustWindow::WEEK, None),
            ("lapsed", TrustWindow::HOUR, None),
            ("used up", TrustWindow::WEEK, once()),
            ("unsettled", TrustWindow::WEEK, once()),
        ];
        let members = members.map(|(name, window, constraint)| {
            let who = world.member(&name.replace(' ', "-"), &[]);
            world.ok(grant(&who, WRITE, window, constraint));
            (name, who)
        });
        for (name, who) in &members[2..] {
            let permit = world.permit(who, WRITE, &json!({}));
            let intent = world.begin(permit).unwrap();
            if *name == "used up" {
                world.end(&intent, OutcomeKind::Ok);
            }
        }
        world.later(TrustWindow::HOUR.length_ms());
        act(&mut world);
        let asked = |world: &World| -> Vec<_> {
            let resting = world.state.resting(world.notes(), world.now);
            resting.map(|grant| grant.agent.clone()).collect()
        };
        let suspended = |world: &World| -> Vec<&str> {
            let is_suspended = |who: &Who| {
                let agent = world.state.agent(&who.agent).unwrap();
                let grant = agent.grants.get(&cap(WRITE));
                grant.is_some_and(|grant| grant.suspended.is_some())
            };
            let of = members.iter().filter(|(_, who)| is_suspended(who));
            of.map(|(name, _)| *name).collect()
        };
        assert_eq!(suspended(&world), ["valid", "unsettled"], "{way}");
        let agents = world.state.agents.values();
        let left = agents.filter(|agent| agent.grants.contains_key(&cap(WRITE)));
        assert_eq!(left.count(), 2, "{way}");
        let barred = world.state.agents.values();
        let barred = barred.filter(|agent| agent.tombstones.contains(&cap(WRITE)));
        assert_eq!(barred.count(), 2, "{way}");
        assert_eq!(asked(&world).len(), 2, "{way}");
        assert!(world.state.asks_about(world.notes(), world.now), "{way}");

        // A suspended grant that lapses by itself is not asked about either.
        world.later(TrustWindow::WEEK.length_ms());
        assert!(asked(&world).is_empty(), "{way}");
        assert!(!world.state.asks_about(world.notes(), world.now), "{way}");
    }
}
