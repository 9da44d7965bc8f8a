//! What a member's home keeps: messages that were refused after they had waited, keys of others over an upgrade; and the names of
//! channels.

use crate::channels::{Way, World};
use plexus_channels::Id;
use plexus_channels::account::{Account, AccountError};
use plexus_channels::api::Cursor;
use plexus_channels::crypto::Content;
use plexus_channels::wire::Code;
use plexus_tests::texts::{assert_contains, text_of};
use plexus_tests::waiting::{until, until_true};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

#[test]
fn kept_message_refused_later_is_listed_and_sent_again() {
    let mut world = World::open();
    let way = Way::to(&world.office.address);
    world.join(&way.address).expect_ok();
    let channel = world.channel("sums");
    let none = world.channels(["unknown"]);
    assert!(none.expect_ok().contains("no message was kept"), "{none}");
    way.loses_messages.store(true, Ordering::SeqCst);
    let said = world.channels(["say", "sums", "Keep me."]);
    assert!(said.all().contains("is sent once"), "{said}");
    world.office.archive(channel);
    way.loses_messages.store(false, Ordering::SeqCst);
    let to = format!("to \"sums\" ({channel})");
    let listed = until("the refusal", || {
        let listed = world.channels(["unknown"]);
        listed.all().contains(&to).then_some(listed)
    });
    assert_contains(&listed.all(), "    Keep me.");
    assert_contains(&listed.all(), "the channel is archived");
    // It outlives the worker, and stays while it cannot be sent.
    world.gateway.restart();
    let all = world.channels(["list"]);
    assert!(all.all().contains("plexusctl channels unknown"), "{all}");
    let unsent = world.channels(["unknown", "--json"]).json();
    let id = text_of(&unsent["unsent"][0]["id"]);
    let refused = world.channels(["unknown", "--again", &id]);
    assert!(refused.status != 0, "{refused}");
    let unsent = world.channels(["unknown", "--json"]).json();
    assert_eq!(unsent["unsent"][0]["text"], "Keep me.");
    assert!(world.heard(channel).is_empty());
    world.channels(["unarchive", "sums"]).expect_ok();
    world.channels(["unknown", "--again", &id]).expect_ok();
    assert_eq!(world.heard(channel), ["Keep me."]);
    let none = world.channels(["unknown"]);
    assert!(none.expect_ok().contains("no message was kept"), "{none}");
    let gone = world.channels(["unknown", "--forget", &id]);
    assert!(gone.status != 0, "{gone}");
}

#[test]
fn kept_message_goes_to_members_of_its_arrival() {
    let world = World::open();
    let way = Way::to(&world.office.address);
    world.join(&way.address).expect_ok();
    let (office, pat) = (&world.office, &world.office.person);
    let [rob, quinn] = ["Rob", "Quinn"].map(|name| office.colleague(name));
    let [left, came] = [&rob, &quinn].map(|one| one.identity().facts.agent_id);
    let channel = office.channel("sums", &[world.me(), left], None);
    let other = office.channel("plans", &[world.me(), left], None);
    way.loses_messages.store(true, Ordering::SeqCst);
    let said = world.channels(["say", "sums", "Keep me."]);
    assert!(said.all().contains("is sent once"), "{said}");
    office
        .wait_for(pat.remove_member(channel, left))
        .expect("removed");
    office
        .wait_for(pat.add_member(channel, came))
        .expect("added");
    way.loses_messages.store(false, Ordering::SeqCst);
    // A new member reads it as all earlier ones; who was removed reads nothing of it there, nor in another channel.
    until_true("the kept message", || world.heard(channel) == ["Keep me."]);
    let reads = |by: &Account, channel: Id| {
        let read = by.history(channel, Cursor::After(Id::ZERO), 200);
        office.wait_for(read).map(|(page, _)| {
            let texts = page.into_iter().map(|opened| opened.content.ok());
            texts.collect::<Vec<_>>()
        })
    };
    let text = Some(Content::Text("Keep me.".to_owned()));
    assert_eq!(reads(&quinn, channel).expect("a member"), [text]);
    let none = reads(&rob, channel).expect_err("no member");
    assert!(
        matches!(&none, AccountError::Relay(why) if why.code() == Some(Code::NotFound)),
        "{none}"
    );
    assert!(reads(&rob, other).expect("a member").is_empty());
}

#[test]
fn keys_that_an_older_home_knew_count_after_an_upgrade() {
    let mut world = World::joined();
    world.channel("sums");
    let state = |world: &World| {
        let members = world.channels(["members", "--json"]).json();
        let members = members["members"].as_array().cloned().unwrap_or_default();
        let pat = members.into_iter().find(|member| member["name"] == "Pat");
        pat.expect("Pat")["devices"][0]["state"].clone()
    };
    assert_eq!(state(&world), "pinned");
    let own = world.office.person.identity();
    let (user, device) = (own.facts.agent_id, own.facts.device_id);
    // As a client of before left it, which knew this key, or another one, of Pat's.
    let other = plexus_channels::DeviceKey::generate();
    for (key, expected) in [(other.public(), "changed"), (own.key.public(), "pinned")] {
        world.gateway.stop();
        let folder = identity(&world);
        fs::remove_file(folder.join("known_devices")).expect("pins");
        let pins = json!({device.to_string(): {
            "user_id": user, "public_key": key.to_wire(), "first_seen": "2026-11-23T05:31:38Z",
        }});
        let earlier = folder.join("known_devices.json");
        let mut options = fs::OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.write(true).create_new(true).open(&earlier);
        serde_json::to_writer(file.expect("made"), &pins).expect("written");
        world.gateway.start_again();
        until_true("the worker", || {
            let list = world.channels(["list", "--json"]).json();
            !list["you"][0].is_null()
        });
        assert_eq!(state(&world), expected);
        until_true("the move", || !earlier.exists());
        assert!(folder.join("known_devices").exists());
    }
}

#[test]
fn owner_renames_a_channel_for_all_members() {
    let world = World::joined();
    let channel = world.channel("sums");
    let said = world.channels(["rename", "sums", "totals\n2026"]);
    assert_contains(said.expect_ok(), "\"sums\" is \"totals\\n2026\" now");
    let listed = world.channels(["list", "--json"]).json();
    let named = listed["channels"].as_array().into_iter().flatten();
    let named: Vec<&Value> = named.map(|channel| &channel["name"]).collect();
    assert_eq!(named, ["totals\n2026"]);
    let pat = &world.office.person;
    let name = world.office.wait_for(async {
        let shown = pat.channel(channel).await.expect("shown");
        pat.name_of(&shown).await.expect("opens")
    });
    assert_eq!(name, "totals\n2026");
    let long = world.channels(["rename", "totals\n2026", &"x".repeat(121)]);
    assert!(long.status != 0, "{long}");
}

/// The folder of Ana's identity.
fn identity(world: &World) -> PathBuf {
    let agents = world.gateway.state().join("workers/channels/agents");
    let identity = fs::read_dir(agents).expect("agents").flatten().next();
    identity.expect("an identity").path()
}
