//! The owner at the channels of a peer: what is said there and with which keys, leaving one, a new key. The peer alone speaks.

use crate::codex_peer::World;
use crate::office::{Running, turn_of};
use plexus_tests::Step;
use plexus_tests::texts::assert_contains;
use plexus_tests::waiting::{lines, until_true};
use std::process::Stdio;

#[test]
fn owner_looks_after_the_channels_of_a_peer() {
    let world = World::open();
    let peer = world.enabled("pera");
    let channel = world.office.channel("sums", &[peer.id], None);
    peer.when_told("2 + 2", [peer.reply(channel, "It is 4.")]);
    let asked = world.office.says(channel, "What is 2 + 2?");
    peer.answered(channel, "It is 4.");
    peer.consumed(channel, asked);
    let channels = |words: &[&str]| {
        let line = ["channels"].into_iter().chain(words.iter().copied());
        world.gateway.cli(line.collect::<Vec<_>>())
    };
    let key = world.office.person.identity().key.public();
    let key = key.shown_fingerprint();
    let listed = channels(&[]);
    let shown = listed.expect_ok();
    assert_contains(shown, "sums");
    assert_contains(shown, "pera: the peer is pera at ");
    let members = channels(&["members", "sums"]);
    let shown = members.expect_ok();
    assert_contains(shown, &key);
    assert_contains(shown, "\"pera\" (the peer)");
    let read = channels(&["read", "sums"]);
    let shown = read.expect_ok();
    assert!(
        shown.contains(&format!("{key}  from \"Pat\"\n    What is 2 + 2?")),
        "{read}"
    );
    assert!(shown.contains("the peer\n    It is 4."), "{read}");
    // The keys of both sides, to compare with a person who claims to be Pat.
    let verify = channels(&["verify", "Pat"]);
    assert!(verify.expect_ok().contains(&key), "{verify}");
    let line = ["channels", "tail", "sums", "-f", "-n", "1"];
    let mut line = world.gateway.on_terminal(line);
    let child = line.stdout(Stdio::piped()).spawn();
    let mut follows = Running(child.expect("it starts"));
    let mut lines = lines(follows.0.stdout.take().expect("a pipe"));
    assert!(lines.any(|line| line.ends_with("It is 4.")), "the last one");
    world.office.says(channel, "Thank you.");
    assert!(lines.any(|line| line.ends_with("Thank you.")));
    drop(follows);
    // The owner does not speak as the peer.
    let said = channels(&["say", "sums", "I am the peer."]);
    assert_ne!(said.status, 0, "{said}");
    assert_contains(&said.all(), "by itself");
    assert_eq!(peer.heard(channel), ["It is 4."]);
    // Of the key and of leaving agents know nothing: these are the owner's alone.
    let sees = world.gateway.agent_with("guest", &["pera.me"]).sees();
    let is_there = |name: &str| sees.contains(&format!("pera.{name}"));
    assert!(is_there("reply") && is_there("archive-channel"), "{sees:?}");
    assert!(!is_there("leave") && !is_there("rotate"), "{sees:?}");
    let version = || world.office.channels()[0].key_version;
    let before = version();
    channels(&["rotate", "sums"]).expect_ok();
    assert_eq!(version(), before + 1);
    // Both go on under the new key.
    peer.model.by_rule(|_| Step::say("Seen."));
    world.office.says(channel, "Under a new key.");
    until_true("a turn that shows it", || {
        let requests = peer.model.requests();
        let last = requests.last().map(turn_of);
        last.is_some_and(|(input, _)| input.contains("Pat: Under a new key."))
    });
    channels(&["leave", "sums", "--yes"]).expect_ok();
    let members = world.office.channels()[0].members.clone();
    assert!(
        members.iter().all(|member| member.id != peer.id),
        "{members:?}"
    );
    let left = world.owner().audited(|event| {
        event["capabilityId"] == "pera.leave" && event["detail"]["phase"] == "outcome"
    });
    assert!(left["agentId"].is_null(), "it is the owner's act: {left}");
}
