//! A relay that lies about keys, between the gateway and the real relay. All fingerprints were compared before.

use crate::channels::World;
use plexus_channels::account::Account;
use plexus_channels::chain::{Chain, Draft, Members, verified};
use plexus_channels::crypto::{Content, StateHash, WrapContext};
use plexus_channels::wire::{KeyState, Post, Wrap};
use plexus_channels::{ChannelKey, Id, MessageContext, PublicKey};
use plexus_hostile::lying_relay::{Lies, LyingRelay, Turn};
use plexus_tests::texts::{assert_contains, assert_lacks};
use plexus_tests::waiting::until_true;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

const SECRET: &str = "the launch is on Friday";
const FORGED: &str = "send the keys to Eve";

/// A user of the relay's own, as a member and as the maker of the next key.
struct Eve {
    account: Arc<Account>,
    channel: Id,
    version: u32,
    key: ChannelKey,
    state: KeyState,
    hash: StateHash,
    wraps: Vec<Wrap>,
    /// The user and the device for which she wraps it.
    victim: (Id, Id),
    /// Those in whose name she writes.
    forged: (Id, Id),
    /// What she read.
    heard: Arc<Mutex<Vec<String>>>,
}

impl Eve {
    /// She makes the version behind this chain for a victim.
    fn new(
        account: Arc<Account>,
        chain: &Chain,
        (user, device, recipient): (Id, Id, &PublicKey),
        forged: (Id, Id),
        channel: Id,
    ) -> Self {
        let (version, key) = (chain.newest().unwrap_or(0) + 1, ChannelKey::generate());
        let facts = &account.identity().facts;
        let own = &account.identity().key;
        let by = (facts.agent_id, facts.device_id);
        let mut members: Members = chain.members(version - 1);
        members.insert(by.1, (by.0, own.public().clone()));
        let draft = Draft {
            key_version: version,
            members: &members,
            key: &key,
            earlier: Vec::new(),
            by,
        };
        let state = chain.signed(draft, own).expect("signed");
        let hash = verified(channel, &state, &members).expect("verified");
        let wrap = |state| {
            let context = WrapContext {
                channel_id: channel,
                key_version: version,
                sender_device_id: by.1,
                recipient_device_id: device,
                recipient,
                state,
            };
            own.wrap(&key, &context)
        };
        let wraps = vec![wrap(None), wrap(Some(&hash))];
        Self {
            channel,
            version,
            state,
            hash,
            wraps,
            victim: (user, device),
            forged,
            heard: Arc::default(),
            key,
            account,
        }
    }

    fn context(
        &self,
        sender: (Id, Id),
        post: (Id, u64),
        state: Option<StateHash>,
    ) -> MessageContext {
        MessageContext {
            channel_id: self.channel,
            key_version: self.version,
            sender_id: sender.0,
            sender_device_id: sender.1,
            client_message_id: post.0,
            seq: post.1,
            state,
        }
    }

    /// A message of another member's, under her key.
    fn forgery(&self, state: Option<StateHash>, nth: u64) -> Value {
        let id = Id::generate();
        let (nonce, ciphertext) = self
            .key
            .seal_text(&self.context(self.forged, (id, 900), state), FORGED);
        json!({
            "message_id": Id::from_parts((1 << 47) + nth, 0), "channel_id": self.channel, "sender_id": self.forged.0, "sender_name": "Pat",
            "sender_device_id": self.forged.1, "client_message_id": id, "key_version": self.version, "seq": 900,
            "nonce": nonce, "ciphertext": ciphertext, "created_at": "2026-11-25T12:00:00Z",
        })
    }

    fn shown(&self, channel: &mut Value) {
        if channel["id"] == json!(self.channel) {
            channel["key_version"] = json!(self.version);
            let facts = &self.account.identity().facts;
            let eve = json!({"id": facts.agent_id, "kind": "human", "name": "Pat"});
            channel["members"]
                .as_array_mut()
                .expect("members")
                .push(eve);
        }
    }
}

impl Lies for Eve {
    fn request(&mut self, line: &str, body: &str) -> Turn {
        if !line.starts_with(&format!("POST /v1/channels/{}/messages ", self.channel)) {
            return Turn::Passes;
        }
        let post: Post = serde_json::from_str(body).expect("a message");
        if post.key_version != self.version {
            let detail = json!({"key_version": self.version});
            let error =
                json!({"code": "stale_key_version", "message": "another", "detail": detail});
            return Turn::Taken(409, json!({"error": error}).to_string());
        }
        // A sender under her key is read.
        let read = [None, Some(self.hash)].into_iter().find_map(|state| {
            let context = self.context(self.victim, (post.client_message_id, post.seq), state);
            let opened = self
                .key
                .open_message(&context, &post.nonce, &post.ciphertext);
            opened.ok()
        });
        if let Some(Content::Text(text)) = read {
            self.heard.lock().expect("no panic").push(text);
        }
        let message = json!({
            "message_id": Id::generate(), "channel_id": self.channel, "sender_id": self.victim.0, "sender_name": "Ana",
            "sender_device_id": self.victim.1, "client_message_id": post.client_message_id, "key_version": self.version,
            "seq": post.seq, "nonce": post.nonce, "ciphertext": post.ciphertext, "created_at": "2026-11-25T12:00:00Z",
        });
        Turn::Taken(201, json!({"message": message}).to_string())
    }

    fn answer(&mut self, line: &str, body: String) -> String {
        let Ok(mut value) = serde_json::from_str::<Value>(&body) else {
            return body;
        };
        let path = line.split(' ').nth(1).unwrap_or_default();
        let own = format!("/v1/channels/{}", self.channel);
        let facts = &self.account.identity().facts;
        if path == own {
            self.shown(&mut value);
        } else if path.starts_with("/v1/channels") && value["channels"].is_array() {
            value["channels"]
                .as_array_mut()
                .expect("channels")
                .iter_mut()
                .for_each(|it| self.shown(it));
        } else if path.starts_with(&format!("{own}/keys")) && value["keys"].is_array() {
            let keys = value["keys"].as_array_mut().expect("keys");
            for wrap in &self.wraps {
                let mut wrap = json!(wrap);
                wrap["sender_id"] = json!(facts.agent_id);
                wrap["sender_public_key"] = json!(self.account.identity().key.public().to_wire());
                keys.push(wrap);
            }
            if let Some(states) = value["states"].as_array_mut() {
                states.push(json!(self.state));
            }
        } else if path.starts_with(&format!("{own}/messages?")) && value["messages"].is_array() {
            let forged = [self.forgery(None, 1), self.forgery(Some(self.hash), 2)];
            value["messages"]
                .as_array_mut()
                .expect("messages")
                .extend(forged);
        } else {
            return body;
        }
        value.to_string()
    }
}

/// What the relay has of a channel's keys, as a member sees it.
fn chain_of(member: &Account, world: &World, channel: Id) -> Chain {
    let keys = world.office.wait_for(member.api().keys(channel, 0));
    let mut chain = Chain::new(channel);
    for state in keys.expect("keys").states {
        chain.take(state).expect("taken");
    }
    chain
}

#[test]
fn key_of_a_stranger_reads_and_forges_nothing() {
    let world = World::open();
    let relay = LyingRelay::before(&world.office.address).expect("a port");
    world.join(&relay.address).expect_ok();
    let channel = world.channel("sums");
    let pat = Arc::clone(&world.office.person);
    // Pat's key was compared, and a rotation by a member is taken: over the same way, while it tells the truth.
    world.channels(["say", "sums", "control"]).expect_ok();
    world.office.wait_for(pat.rotate(channel)).expect("rotated");
    world
        .channels(["say", "sums", "control, renewed"])
        .expect_ok();
    assert_eq!(world.heard(channel), ["control", "control, renewed"]);
    let members = world.channels(["members", "sums"]);
    let key = world.fingerprint_of_pat();
    let renewed = format!("  version 2 by \"Pat\", key {key}");
    assert!(members.expect_ok().contains(&renewed), "{members}");
    // The relay's own user wraps a version 3 for Ana.
    let me = world.me();
    let profile = world
        .office
        .wait_for(pat.api().user(me))
        .expect("a profile");
    let device = &profile.devices[0];
    let recipient = PublicKey::from_bytes(&device.public_key.0).expect("a key");
    let facts = &pat.identity().facts;
    let eve = Eve::new(
        world.office.colleague("Eve"),
        &chain_of(&pat, &world, channel),
        (me, device.device_id, &recipient),
        (facts.agent_id, facts.device_id),
        channel,
    );
    let eves = eve.account.identity().key.public().shown_fingerprint();
    let heard = Arc::clone(&eve.heard);
    relay.lies(Some(Box::new(eve)));
    let said = world.channels(["say", "sums", SECRET]);
    let read = world.channels(["read", "sums"]);
    assert!(
        heard.lock().expect("no panic").is_empty(),
        "the relay read it: {said}"
    );
    assert!(!read.all().contains(FORGED), "the relay forged it: {read}");
    // It stops, and shows both keys.
    assert_ne!(said.status, 0, "{said}");
    assert_contains(&said.all(), &key);
    assert_contains(&said.all(), &eves);
    let next = format!("plexusctl channels members {channel} --source channels");
    assert_contains(&said.all(), &next);
    assert!(read.expect_ok().contains(&eves), "{read}");
    let members = world.channels(["members", "sums"]);
    // She is no member.
    assert_lacks(members.expect_ok(), &eves);
    let again = world.channels(["say", "sums", SECRET]);
    assert!(again.status != 0, "{again}");
    // The truth is taken again, and nothing of the secret was sent meanwhile.
    relay.lies(None);
    until_true("the honest relay", || {
        let said = world.channels(["say", "sums", "control, at last"]);
        said.status == 0
    });
    let all = ["control", "control, renewed", "control, at last"];
    assert_eq!(world.heard(channel), all);
}
