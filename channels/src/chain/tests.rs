//! What enters a chain, and what does not.

use super::*;

struct Member {
    user: Id,
    device: Id,
    key: DeviceKey,
}

fn member(number: u64) -> Member {
    Member {
        user: Id::from_parts(number, 1),
        device: Id::from_parts(number, 2),
        key: DeviceKey::generate(),
    }
}

fn named(members: &[&Member]) -> Members {
    let named = members.iter();
    named
        .map(|it| (it.device, (it.user, it.key.public().clone())))
        .collect()
}

fn signed(chain: &Chain, by: &Member, members: &[&Member]) -> KeyState {
    let draft = Draft {
        key_version: chain.newest().unwrap_or(0) + 1,
        members: &named(members),
        key: &ChannelKey::generate(),
        earlier: Vec::new(),
        by: (by.user, by.device),
    };
    chain.signed(draft, &by.key).expect("signed")
}

const CHANNEL: Id = Id::from_parts(9, 9);

#[track_caller]
fn assert_refused(chain: &mut Chain, state: KeyState) {
    let view = chain.view(&state);
    assert_eq!(chain.take(state), Err(NoSuccessor(view)));
}

#[test]
fn successor_is_taken_from_a_member_alone() {
    let [ann, bob, eve] = [1, 2, 3].map(member);
    let mut chain = Chain::new(CHANNEL);
    let first = signed(&chain, &ann, &[&ann, &bob]);
    assert_eq!(chain.take(first.clone()), Ok(Taken::Next));
    assert_eq!(chain.take(first), Ok(Taken::Known));
    // One that is no member: also where the state names them as one.
    for members in [vec![&ann, &bob], vec![&ann, &bob, &eve]] {
        let injected = signed(&chain, &eve, &members);
        assert_refused(&mut chain, injected);
    }
    // A member, for another channel, of another version, behind another state, for other members, with another key.
    let good = signed(&chain, &bob, &[&ann, &bob, &eve]);
    let mut elsewhere = Chain::new(Id::ZERO);
    elsewhere
        .take(signed(&elsewhere, &ann, &[&ann, &bob]))
        .expect("taken");
    let moved = signed(&elsewhere, &bob, &[&ann, &bob]);
    type Change = fn(&mut KeyState);
    let changes: [Change; 7] = [
        |state| state.key_version += 1,
        |state| state.previous.0[0] ^= 1,
        |state| state.commitment.0[0] ^= 1,
        |state| state.signature.0[40] ^= 1,
        |state| state.suite = 2,
        |state| drop(state.added.pop()),
        |state| state.removed.push(Id::from_parts(1, 2)),
    ];
    let changed = changes.map(|change| {
        let mut state = good.clone();
        change(&mut state);
        state
    });
    for state in changed.into_iter().chain([moved]) {
        assert_refused(&mut chain, state);
    }
    assert_eq!((chain.newest(), chain.stopped()), (Some(1), None));
    assert_eq!(chain.take(good), Ok(Taken::Next));
    assert_eq!(chain.members(1), named(&[&ann, &bob]));
    assert_eq!(chain.members(2), named(&[&ann, &bob, &eve]));
    // One who was taken out signs no more, and may come back.
    assert_eq!(
        chain.take(signed(&chain, &ann, &[&ann, &eve])),
        Ok(Taken::Next)
    );
    let late = signed(&chain, &bob, &[&ann, &bob]);
    assert_refused(&mut chain, late);
    // Nobody signs for others alone.
    let for_others = signed(&chain, &eve, &[&ann, &bob]);
    assert_refused(&mut chain, for_others);
    let restored = Chain::restored(CHANNEL, chain.stored()).expect("restored");
    assert_eq!(restored.members(3), chain.members(3));
    assert_eq!(restored.hash(3), chain.hash(3));
}

#[test]
fn second_successor_stops_the_chain() {
    let [ann, bob, eve] = [1, 2, 3].map(member);
    let mut chain = Chain::new(CHANNEL);
    chain
        .take(signed(&chain, &ann, &[&ann, &bob]))
        .expect("taken");
    let [one, other] = [&ann, &bob].map(|by| signed(&chain, by, &[&ann, &bob]));
    assert_eq!(chain.take(one), Ok(Taken::Next));
    chain
        .take(signed(&chain, &ann, &[&ann, &bob]))
        .expect("taken");
    // However late it comes; one of a stranger stops nothing.
    let before = chain.clone();
    let strange = KeyState {
        user_id: eve.user,
        device_id: eve.device,
        ..other.clone()
    };
    assert_refused(&mut chain, strange);
    assert_eq!(chain.stopped(), None);
    assert_eq!(chain.take(other), Ok(Taken::Second));
    let (held, second) = chain.stopped().expect("stopped");
    assert_eq!((held.user_id, held.key_version), (ann.user, 2));
    assert_eq!((second.user_id, second.key_version), (bob.user, 2));
    assert_eq!(second.key, Some(Print::of_key(bob.key.public())));
    assert_ne!(held.state, second.state);
    assert_refused(&mut chain, signed(&before, &ann, &[&ann, &bob]));
    let restored = Chain::restored(CHANNEL, chain.stored()).expect("restored");
    assert_eq!(restored.stopped(), chain.stopped());
}

#[test]
fn first_state_is_one_and_may_have_any_version() {
    let [ann, eve] = [1, 2].map(member);
    let draft = |by: &Member, key_version| {
        let members = named(&[&ann, &eve]);
        let draft = Draft {
            key_version,
            members: &members,
            key: &ChannelKey::generate(),
            earlier: Vec::new(),
            by: (by.user, by.device),
        };
        Chain::new(CHANNEL).signed(draft, &by.key).expect("signed")
    };
    let mut chain = Chain::new(CHANNEL);
    assert_eq!(chain.take(draft(&ann, 5)), Ok(Taken::Next));
    assert_eq!(
        (chain.first(), chain.entered(eve.device)),
        (Some(5), Some(5))
    );
    // Anybody can sign a first state, a member too; the one that is held stays.
    for version in [1, 4, 5, 6] {
        assert_refused(&mut chain, draft(&eve, version));
    }
    assert_eq!(chain.stopped(), None);
    // Two of the one who made it are two.
    assert_eq!(chain.take(draft(&ann, 5)), Ok(Taken::Second));
}

#[test]
fn states_equal_their_vectors() {
    use serde_json::Value;
    let vectors: Value =
        serde_json::from_str(include_str!("../../tests/vectors.json")).expect("JSON");
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let states =
        |value: &Value| -> Vec<KeyState> { serde_json::from_value(value.clone()).expect("states") };
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let channel = |vector: &Value| {
        vector["channel_id"]
            .as_str()
            .expect("an id")
            .parse()
            .expect("an id")
    };
    let mut keys = Vec::new();
    for vector in list(&vectors["state"]) {
        let mut chain = Chain::new(channel(&vector));
        for (at, state) in states(&vector["states"]).into_iter().enumerate() {
            assert_eq!(chain.take(state.clone()), Ok(Taken::Next), "{at}");
            let version = state.key_version;
            let bytes = signed_bytes(channel(&vector), &state, &chain.members(version));
            assert_eq!(vector["signed"][at], hex(&bytes));
            assert_eq!(
                vector["hashes"][at],
                hex(chain.hash(version).expect("a hash"))
            );
            let key = vector["keys"][at].as_str().expect("a key");
            let key: Vec<u8> = (0..32)
                .map(|at| u8::from_str_radix(&key[at * 2..at * 2 + 2], 16).expect("hex"))
                .collect();
            let key = ChannelKey::from_bytes(key.try_into().expect("32 bytes"));
            assert_eq!(
                state.commitment.0,
                key.commitment(channel(&vector), version)
            );
            for earlier in &state.earlier {
                let opened = key.open_earlier(channel(&vector), version, earlier);
                assert!(opened.as_ref() == Ok(&keys[at - 1]), "{at}");
            }
            keys.push(key);
        }
    }
    for failing in list(&vectors["state_must_fail"]) {
        let of = list(&vectors["state"])
            .into_iter()
            .find(|of| of["name"] == failing["of"]);
        let mut of = of.expect("a vector");
        let at = usize::try_from(failing["at"].as_u64().expect("a number")).expect("it fits");
        for (field, value) in failing["change"].as_object().expect("changes") {
            of["states"][at][field] = value.clone();
        }
        let mut chain = Chain::new(channel(&of));
        let taken: Vec<_> = states(&of["states"])
            .into_iter()
            .map(|state| chain.take(state).is_ok())
            .collect();
        assert!(
            !taken[at] && taken[..at].iter().all(|taken| *taken),
            "{}",
            failing["name"]
        );
    }
}
