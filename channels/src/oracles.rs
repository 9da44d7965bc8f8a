//! Any bytes as what a relay sends: events and keys that are written as they were read, and a chain of key states that
//! nobody but its members makes longer.

use crate::{
    Id,
    chain::{Chain, Taken},
    wire::{Channel, Event, KeyState, Keys, Message},
};
use plexus_mutation::{Accepted, hold};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

fn corpus(name: &str) -> String {
    format!("{}/tests/corpus/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Read, written and read again it is the same; `None` where it is no such thing.
fn read<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let value: T = serde_json::from_slice(bytes).ok()?;
    let written = serde_json::to_vec(&value).expect("JSON");
    let again: T = serde_json::from_slice(&written).expect("what was written is read");
    assert_eq!(serde_json::to_vec(&again).expect("JSON"), written);
    Some(value)
}

fn sent(bytes: &[u8]) -> Accepted {
    let known =
        serde_json::from_slice::<Event>(bytes).is_ok_and(|event| !matches!(event, Event::Unknown));
    known
        | read::<Channel>(bytes).is_some()
        | read::<Message>(bytes).is_some()
        | read::<Keys>(bytes).is_some()
}

/// A channel and states for it, one after another: each is the successor that a member signed, the same as one that is
/// held, a second one that stops the chain, or refused without a trace.
fn states(bytes: &[u8]) -> Accepted {
    let Ok((channel, states)) = serde_json::from_slice::<(Id, Vec<KeyState>)>(bytes) else {
        return false;
    };
    let mut chain = Chain::new(channel);
    let mut taken = 0;
    for state in states {
        let (newest, held) = (chain.newest(), chain.states().len());
        let was_stopped = chain.stopped().is_some();
        let version = state.key_version;
        let signer = newest.map(|newest| chain.device(newest, state.device_id).is_some());
        match chain.take(state.clone()) {
            Ok(Taken::Next) => {
                assert!(!was_stopped);
                assert_ne!(
                    signer,
                    Some(false),
                    "a member of the version before signed it"
                );
                assert_eq!(chain.states().len(), held + 1);
                assert!(newest.is_none_or(|newest| version == newest + 1));
                assert_eq!(chain.state(version), Some(&state));
                assert!(chain.hash(version).is_some());
                taken += 1;
            }
            Ok(Taken::Known) => assert!(chain.hash(version).is_some()),
            Ok(Taken::Second) => assert!(chain.stopped().is_some()),
            Err(_) => assert_eq!(chain.stopped().is_some(), was_stopped),
        }
        if chain.newest() == newest {
            assert_eq!(chain.states().len(), held);
        }
    }
    taken > 0
}

/// The chains of the vectors as inputs of [`states`]: the signatures that a mutation is held against.
#[test]
fn the_corpus_has_the_chains_of_the_vectors() {
    let vectors: Value = serde_json::from_str(include_str!("../tests/vectors.json")).expect("JSON");
    let chains = vectors["state"].as_array().expect("chains");
    assert!(!chains.is_empty());
    for chain in chains {
        let input = serde_json::to_vec(&(&chain["channel_id"], &chain["states"])).expect("JSON");
        assert!(states(&input), "{}", chain["name"]);
        let name = chain["name"]
            .as_str()
            .expect("a name")
            .replace([' ', ','], "-")
            .replace("--", "-");
        let kept = std::fs::read(format!("{}/{name}", corpus("states")));
        let kept: Value = serde_json::from_slice(&kept.expect("it is kept")).expect("JSON");
        assert_eq!(kept, serde_json::from_slice::<Value>(&input).expect("JSON"));
    }
}

#[test]
fn what_a_relay_sends_is_read_as_it_is_written() {
    let words: &[&[u8]] = &[
        b"\"type\":\"message.created\"",
        b"\"type\":\"ready\"",
        b"\"channel.key_rotated\"",
        b"\"key_version\":4294967295",
        b"\"seq\":18446744073709551615",
        b"\"states\":[",
        b"null",
        b"\"\"",
        b"9999-12-31T23:59:59.999999999Z",
        b"-009999-01-01T00:00:00Z",
    ];
    hold(corpus("sent"), words, sent);
}

#[test]
fn a_chain_grows_by_its_members_alone() {
    let words: &[&[u8]] = &[
        b"\"key_version\":1",
        b"\"key_version\":4294967295",
        b"\"added\":[]",
        b"\"removed\":[]",
        b"\"earlier\":[]",
        b"\"previous\":\"\"",
        b",",
    ];
    hold(corpus("states"), words, states);
}
