//! Attacks on a relay by its own members, and by others: each with what goes on meanwhile.

use crate::harness::{Relay, api, at_relay, made, post, proven, raw, registration, story};
use futures_util::future::join_all;
use plexus_channels::account::Account;
use plexus_channels::api::{Api, ApiError, Credentials};
use plexus_channels::wire::{AskToken, Code};
use plexus_channels::{DeviceKey, Id, base64url, limits};
use plexus_hostile::relays::Unread;
use serde_json::{Value, json};
use std::sync::Arc;

/// Requests that nobody reads the answers of. All of them would be 700 MB.
const UNREAD: usize = 60;
/// Kilobytes that they may cost: what one member may hold, and what is built of it meanwhile.
const MOST: u64 = 200_000;

/// The most memory that a process has had, in kilobytes.
fn peak(relay: &Relay) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", relay.pid()));
    let status = status.expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|kb| kb.parse().ok()).expect("its memory")
}

async fn token(account: &Account) -> String {
    account.api().token().await.expect("logged in").to_string()
}

#[test]
fn history_without_a_reader_is_bounded_and_others_are_served() {
    at_relay(async |relay| {
        let [eve, bob] = relay.accounts(["Eve", "Bob"]).await;
        let channel = made(&eve, &[&bob], None).await;
        let messages = format!("/v1/channels/{channel}/messages");
        let (eve, bob) = (token(&eve).await, token(&bob).await);
        // Of the largest size. The relay cannot tell what it means.
        let [nonce, sealed] =
            [12, limits::CIPHERTEXT_BYTES].map(|n| base64url::encode(&vec![7; n]));
        for seq in 1..=200 {
            let post = json!({"client_message_id": Id::generate(), "key_version": 1, "seq": seq,
                "nonce": nonce, "ciphertext": sealed});
            let post = post.to_string();
            let sent = raw(
                &relay.endpoint,
                "POST",
                &messages,
                Some(&eve),
                post.as_bytes(),
            )
            .await;
            assert_eq!(sent.0, 201, "{sent:?}");
        }
        let page = format!("{messages}?limit=200");
        let read = async |token: &str| {
            let (status, _, page) = raw(&relay.endpoint, "GET", &page, Some(token), b"").await;
            (status, page["messages"].as_array().map(Vec::len))
        };
        assert_eq!(read(&bob).await, (200, Some(200)));
        let before = peak(&relay);
        let head = format!("GET {page} HTTP/1.1\r\nAuthorization: Bearer {eve}");
        let ask = || Unread::asked(&relay.endpoint.authority(), &head, "").expect("connected");
        let mut unread: Vec<Unread> = (0..UNREAD).map(|_| ask()).collect();
        let answered = unread
            .iter_mut()
            .map(|one| one.status().expect("an answer"));
        let answered: Vec<u16> = answered.collect();
        // All of them came to the relay: it holds some pages, and refuses more.
        let held = answered.iter().filter(|status| **status == 200).count();
        let refused = answered.iter().filter(|status| **status == 429).count();
        let grown = peak(&relay) - before;
        assert!(grown < MOST, "{grown} kB");
        assert!(held > 0 && held + refused == UNREAD, "{answered:?}");
        // Others are served meanwhile; and so is this member again, once the answers are gone.
        assert_eq!(read(&bob).await, (200, Some(200)));
        drop(unread);
        assert_eq!(read(&eve).await, (200, Some(200)));
    });
}

/// A device that is registered.
struct Member(Credentials);

impl Member {
    /// So many of one organization.
    async fn register(relay: &Relay, many: usize) -> Vec<Self> {
        let uses = many.to_string();
        let invitation = relay.invite(&["--organization", "Acme", "--uses", &uses]);
        let mut members = Vec::new();
        for _ in 0..many {
            let key = Arc::new(DeviceKey::generate());
            let register = registration(&invitation, &key);
            let made = api(relay, None).register(&register).await;
            let made = made.expect("registered");
            members.push(Self(Credentials {
                agent_id: made.agent_id,
                device_id: made.device_id,
                key,
            }));
        }
        members
    }

    async fn proven(&self, relay: &Relay) -> AskToken {
        proven(relay, &self.0).await
    }

    fn api(&self, relay: &Relay) -> Api {
        let who = Credentials {
            agent_id: self.0.agent_id,
            device_id: self.0.device_id,
            key: Arc::clone(&self.0.key),
        };
        api(relay, Some(who))
    }
}

/// A login with this proof, which is refused with this code: the answer.
async fn refused(relay: &Relay, proof: &AskToken, code: &str) -> Value {
    let (status, answer) = post(relay, "/v1/auth/token", &json!(proof)).await;
    assert_eq!((status, &answer["error"]["code"]), (401, &json!(code)));
    answer
}

#[test]
fn login_herd_behind_one_address_is_let_in() {
    story(async {
        let mut relay = Relay::start_with(&[]);
        let members = Member::register(&relay, 120).await;
        // Twenty at once, as after a restart, at the rates that a relay has by default.
        relay.kill();
        relay.go_on(None);
        let twenty = members[..20].iter();
        let apis: Vec<Api> = twenty.map(|member| member.api(&relay)).collect();
        for login in join_all(apis.iter().map(Api::token)).await {
            login.expect("logged in");
        }
        // All ask before any answers, and somebody else asks for more than anybody could remember.
        let mut proven = Vec::new();
        for member in &members {
            proven.push(member.proven(&relay).await);
        }
        for _ in 0..300 {
            let by = json!({"agent_id": Id::generate(), "device_id": Id::generate()});
            assert_eq!(post(&relay, "/v1/auth/challenge", &by).await.0, 200);
        }
        let mut tokens = Vec::new();
        for ask in &proven {
            let (status, granted) = post(&relay, "/v1/auth/token", &json!(ask)).await;
            assert_eq!(status, 200, "{granted}");
            let token = granted["access_token"].as_str().expect("a token");
            tokens.push(token.to_owned());
        }
        let (status, ..) = raw(&relay.endpoint, "GET", "/v1/me", Some(&tokens[0]), b"").await;
        assert_eq!(status, 200);
        // A proof that somebody has heard opens nothing; nor does a wrong one.
        for ask in &proven[..5] {
            refused(&relay, ask, "unknown_challenge").await;
        }
        let mut wrong = members[0].proven(&relay).await;
        wrong.proof.0[0] ^= 1;
        refused(&relay, &wrong, "invalid_proof").await;
    });
}

#[test]
fn unknown_challenge_is_asked_for_again_and_is_not_final() {
    story(async {
        let mut relay = Relay::start();
        let members = Member::register(&relay, 2).await;
        let before = members[0].proven(&relay).await;
        relay.kill();
        relay.go_on(None);
        let refused = refused(&relay, &before, "unknown_challenge").await;
        // A client of an earlier build knows no such code: it tries again later.
        let unknown = serde_json::from_value::<Code>(json!("a code of a later build"));
        assert_eq!(unknown.expect("a code"), Code::Unknown);
        let refused =
            ApiError::Refused(serde_json::from_value(refused["error"].clone()).expect("it"));
        assert!(!refused.is_final() && refused.is_passing() && !refused.may_have_acted());
        members[0].api(&relay).token().await.expect("logged in");
    });
}

#[test]
fn address_that_a_trusted_proxy_says_is_the_one_that_is_counted() {
    story(async {
        let trusted = "10.0.0.0/8,127.0.0.1";
        let proxy = ["--trusted-proxy", trusted, "--address-rate", "2"];
        let behind = Relay::start_with(&proxy);
        let bare = Relay::start_with(&proxy[2..]);
        let never = json!({"challenge_id": Id::generate(), "proof": "", "agent_id": Id::ZERO, "device_id": Id::ZERO});
        let never = never.to_string();
        let from = |relay: &Relay, address: &str| {
            let head = format!("POST /v1/auth/token HTTP/1.1\r\nX-Forwarded-For: {address}");
            let asked = Unread::asked(&relay.endpoint.authority(), &head, &never);
            asked.expect("connected").status().expect("an answer")
        };
        let refused = |relay: &Relay, address: &dyn Fn(u32) -> String| {
            let statuses = (0..8).map(|n| from(relay, &address(n)));
            statuses.filter(|status| *status == 429).count()
        };
        // One address is counted, whatever its client writes to the left of it.
        let chain = |n| format!("203.0.113.{n}, 198.51.100.7, 10.0.0.9");
        assert!(refused(&behind, &chain) > 0);
        assert_eq!(from(&behind, "198.51.100.8"), 401, "another one goes on");
        assert_eq!(refused(&behind, &|n| format!("203.0.113.{n}")), 0);
        // Without a trusted proxy nobody is believed.
        assert!(refused(&bare, &|n| format!("203.0.113.{n}")) > 0);
    });
}
