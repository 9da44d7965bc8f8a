//! Every refusal of the protocol, as bytes on the wire; and histories against a naive reading.

use crate::harness::{Relay, raw, story};
use plexus_channels::crypto::{ChannelKey, WrapContext};
use plexus_channels::wire::Wrap;
use plexus_channels::{DeviceKey, Id, MessageContext, limits};
use serde_json::{Value, json};

/// A user as the wire has it.
struct User {
    id: Id,
    device: Id,
    key: std::sync::Arc<DeviceKey>,
    token: String,
}

async fn user(relay: &Relay, organization: &str) -> User {
    let (api, id, device, key) = relay.stranger(organization).await;
    let token = api.token().await.expect("logged in").to_string();
    User {
        id,
        device,
        key,
        token,
    }
}

impl User {
    fn wrap(&self, channel: Id, version: u32, to: &Self) -> Wrap {
        self.key.wrap(
            &ChannelKey::from_bytes([7; 32]),
            &WrapContext {
                channel_id: channel,
                key_version: version,
                sender_device_id: self.device,
                recipient_device_id: to.device,
                recipient: to.key.public(),
                state: None,
            },
        )
    }

    fn create(&self, channel: Id, with: &[&Self]) -> Value {
        let name = ChannelKey::from_bytes([7; 32]).seal_name(channel, (1, None), self.device, "n");
        let mut keys = vec![self.wrap(channel, 1, self)];
        keys.extend(with.iter().map(|to| self.wrap(channel, 1, to)));
        let members: Vec<Id> = with.iter().map(|to| to.id).collect();
        json!({"channel_id": channel, "name": name, "members": members, "keys": keys})
    }

    fn post(&self, channel: Id, version: u32, seq: u64) -> Value {
        let context = MessageContext {
            channel_id: channel,
            key_version: version,
            sender_id: self.id,
            sender_device_id: self.device,
            client_message_id: Id::generate(),
            seq,
            state: None,
        };
        let (nonce, ciphertext) = ChannelKey::from_bytes([7; 32]).seal_text(&context, "t");
        json!({"client_message_id": context.client_message_id, "key_version": version, "seq": seq,
            "nonce": nonce, "ciphertext": ciphertext})
    }
}

struct Wire<'a>(&'a Relay);

impl Wire<'_> {
    async fn ask(&self, who: &User, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let path = format!("/v1{path}");
        let (status, _, answer) = raw(
            &self.0.endpoint,
            method,
            &path,
            Some(&who.token),
            body.as_bytes(),
        )
        .await;
        (status, answer)
    }

    #[track_caller]
    fn is(answer: &(u16, Value), status: u16, code: &str) -> Value {
        assert_eq!(
            (answer.0, answer.1["error"]["code"].as_str()),
            (status, Some(code)),
            "{answer:?}"
        );
        assert!(
            answer.1["error"]["message"]
                .as_str()
                .is_some_and(|message| !message.is_empty())
        );
        answer.1["error"]["detail"].clone()
    }
}

#[test]
fn every_code_has_its_case() {
    story(async {
        let relay = Relay::start();
        let wire = Wire(&relay);
        let (a, b, c) = (
            user(&relay, "Acme").await,
            user(&relay, "Acme").await,
            user(&relay, "Acme").await,
        );
        let far = user(&relay, "Elsewhere").await;
        let channel = Id::generate();
        let path = format!("/channels/{channel}");
        let null = Value::Null;

        // Keys: missing, of strangers, wrapped by another, twice, of the wrong shape.
        let mut create = a.create(channel, &[&b]);
        let missing = json!({"keys": [create["keys"][0]]});
        let mut short = create.clone();
        short["keys"] = missing["keys"].clone();
        let detail = Wire::is(
            &wire.ask(&a, "POST", "/channels", &short).await,
            422,
            "keys_missing",
        );
        assert_eq!(detail["devices"], json!([b.device]));
        let mut more = create.clone();
        more["keys"]
            .as_array_mut()
            .expect("keys")
            .push(json!(a.wrap(channel, 1, &c)));
        let detail = Wire::is(
            &wire.ask(&a, "POST", "/channels", &more).await,
            422,
            "keys_of_strangers",
        );
        assert_eq!(detail["devices"], json!([c.device]));
        for (field, value) in [
            ("salt", json!("AA")),
            ("ciphertext", json!("AA")),
            ("sender_device_id", json!(b.device)),
            ("key_version", json!(2)),
            ("alg", json!("x".repeat(65))),
            ("salt", json!("AA==")),
            ("device_id", json!("not an id")),
        ] {
            let mut bad = create.clone();
            bad["keys"][1][field] = value;
            Wire::is(
                &wire.ask(&a, "POST", "/channels", &bad).await,
                400,
                "invalid_request",
            );
        }
        let mut twice = create.clone();
        twice["keys"]
            .as_array_mut()
            .expect("keys")
            .push(create["keys"][1].clone());
        Wire::is(
            &wire.ask(&a, "POST", "/channels", &twice).await,
            400,
            "invalid_request",
        );
        let mut foreign = create.clone();
        foreign["members"] = json!([far.id]);
        Wire::is(
            &wire.ask(&a, "POST", "/channels", &foreign).await,
            404,
            "not_found",
        );
        let crowd: Vec<Id> = (0..limits::MEMBERS).map(|_| Id::generate()).collect();
        foreign["members"] = json!(crowd);
        Wire::is(
            &wire.ask(&a, "POST", "/channels", &foreign).await,
            400,
            "invalid_request",
        );
        // Refused, nothing was left behind.
        Wire::is(&wire.ask(&a, "GET", &path, &null).await, 404, "not_found");
        create["message"] = a.post(channel, 1, 1);
        let made = wire.ask(&a, "POST", "/channels", &create).await;
        assert_eq!(made.0, 201, "{made:?}");
        assert_eq!(
            made.1["channel"]["last_message_id"],
            made.1["message"]["message_id"]
        );
        assert_eq!(
            wire.ask(&a, "POST", "/channels", &create).await,
            (200, made.1.clone())
        );
        let refused = wire
            .ask(&b, "POST", "/channels", &b.create(channel, &[&a]))
            .await;
        Wire::is(&refused, 409, "exists");

        // Messages.
        let messages = format!("{path}/messages");
        let post = b.post(channel, 1, 5);
        let sent = wire.ask(&b, "POST", &messages, &post).await;
        assert_eq!(sent.0, 201);
        assert_eq!(
            wire.ask(&b, "POST", &messages, &post).await,
            (200, sent.1.clone())
        );
        let mut other = post.clone();
        other["ciphertext"] = b.post(channel, 1, 5)["ciphertext"].clone();
        Wire::is(
            &wire.ask(&b, "POST", &messages, &other).await,
            409,
            "conflict",
        );
        let detail = Wire::is(
            &wire
                .ask(&b, "POST", &messages, &b.post(channel, 1, 5))
                .await,
            409,
            "seq_conflict",
        );
        assert_eq!(detail["last_seq"], 5);
        let detail = Wire::is(
            &wire
                .ask(&b, "POST", &messages, &b.post(channel, 2, 6))
                .await,
            409,
            "stale_key_version",
        );
        assert_eq!(detail["key_version"], 1);
        for (field, value) in [
            ("seq", json!(0)),
            ("seq", json!(-1)),
            ("seq", json!(1.5)),
            ("nonce", json!("AAAA")),
            ("ciphertext", json!("AAAA")),
            ("ciphertext", json!("A".repeat(65_540))),
            ("ciphertext", json!("=")),
            ("client_message_id", json!("0")),
            ("key_version", json!("1")),
        ] {
            let mut bad = b.post(channel, 1, 6);
            bad[field] = value;
            Wire::is(
                &wire.ask(&b, "POST", &messages, &bad).await,
                400,
                "invalid_request",
            );
        }
        for body in [
            "",
            "[]",
            "null",
            "{}",
            "{\"a\"",
            "\u{feff}{}",
            "[\"01JZ0000000000000000000001\",1,6,\"\",\"\"]",
        ] {
            let path = format!("/v1{messages}");
            let (status, _, answer) = raw(
                &relay.endpoint,
                "POST",
                &path,
                Some(&b.token),
                body.as_bytes(),
            )
            .await;
            Wire::is(&(status, answer), 400, "invalid_request");
        }
        let long = vec![b' '; (1 << 20) + 1];
        let (status, _, answer) = raw(
            &relay.endpoint,
            "POST",
            &format!("/v1{messages}"),
            Some(&b.token),
            &long,
        )
        .await;
        Wire::is(&(status, answer), 413, "too_large");
        for query in [
            "limit=0",
            "limit=201",
            "limit=x",
            "after_id=0",
            "before_id=x",
            "limit=1&limit=2",
            "after_id=00000000000000000000000000&before_id=00000000000000000000000000",
        ] {
            Wire::is(
                &wire
                    .ask(&b, "GET", &format!("{messages}?{query}"), &null)
                    .await,
                400,
                "invalid_request",
            );
        }
        Wire::is(
            &wire.ask(&b, "GET", "/channels?status=gone", &null).await,
            400,
            "invalid_request",
        );

        // What one may not see does not exist, in the same words.
        let unseen = wire
            .ask(&a, "GET", &format!("/channels/{}", Id::generate()), &null)
            .await;
        Wire::is(&unseen, 404, "not_found");
        for (who, method, path) in [
            (&far, "GET", path.clone()),
            (&c, "GET", path.clone()),
            (&c, "GET", messages.clone()),
            (&c, "POST", format!("{path}/archive")),
            (&c, "GET", format!("{path}/keys")),
            (&c, "GET", format!("{path}/join_requests")),
            (&c, "DELETE", format!("{path}/members/me")),
            (&a, "GET", "/channels/none".into()),
            (&a, "GET", format!("/agents/{}", far.id)),
            (&a, "GET", format!("/humans/{}", a.id)),
            (&a, "GET", "/nothing".into()),
            (&a, "PUT", path.clone()),
            (&a, "GET", String::new()),
            (&a, "GET", format!("{path}/")),
        ] {
            assert_eq!(
                wire.ask(who, method, &path, &null).await,
                unseen,
                "{method} {path}"
            );
        }
        let add = json!({"user_id": far.id, "keys": [a.wrap(channel, 1, &far)]});
        assert_eq!(
            wire.ask(&a, "POST", &format!("{path}/members"), &add).await,
            unseen
        );

        // Members and rotation.
        let members = format!("{path}/members");
        let none = json!({"user_id": c.id, "keys": []});
        Wire::is(
            &wire.ask(&a, "POST", &members, &none).await,
            422,
            "keys_missing",
        );
        let newer =
            json!({"user_id": c.id, "keys": [a.wrap(channel, 1, &c), a.wrap(channel, 2, &c)]});
        Wire::is(
            &wire.ask(&a, "POST", &members, &newer).await,
            400,
            "invalid_request",
        );
        let add = json!({"user_id": c.id, "keys": [a.wrap(channel, 1, &c)]});
        let added = wire.ask(&a, "POST", &members, &add).await;
        assert_eq!(added.0, 200);
        assert_eq!(
            wire.ask(&a, "POST", &members, &add).await,
            added,
            "a member already"
        );
        let removed = wire
            .ask(&a, "DELETE", &format!("{members}/{}", c.id), &null)
            .await;
        assert_eq!((removed.0, &removed.1["rotation_due"]), (200, &json!(true)));
        let refused = wire
            .ask(&b, "POST", &messages, &b.post(channel, 1, 7))
            .await;
        Wire::is(&refused, 409, "rotation_due");
        // A repeat of what is stored comes first.
        assert_eq!(wire.ask(&b, "POST", &messages, &post).await, (200, sent.1));
        let keys = format!("{path}/keys");
        let rotate =
            json!({"key_version": 2, "keys": [b.wrap(channel, 2, &a), b.wrap(channel, 2, &b)]});
        let mut stranger = rotate.clone();
        stranger["keys"]
            .as_array_mut()
            .expect("keys")
            .push(json!(b.wrap(channel, 2, &c)));
        Wire::is(
            &wire.ask(&b, "POST", &keys, &stranger).await,
            422,
            "keys_of_strangers",
        );
        let third = json!({"key_version": 3, "keys": []});
        Wire::is(
            &wire.ask(&b, "POST", &keys, &third).await,
            409,
            "stale_key_version",
        );
        let rotated = wire.ask(&b, "POST", &keys, &rotate).await;
        assert_eq!(
            (rotated.0, &rotated.1["rotation_due"]),
            (201, &json!(false))
        );
        assert_eq!(
            wire.ask(&b, "POST", &keys, &rotate).await,
            (200, rotated.1),
            "again"
        );
        let late =
            json!({"key_version": 2, "keys": [a.wrap(channel, 2, &a), a.wrap(channel, 2, &b)]});
        let detail = Wire::is(
            &wire.ask(&a, "POST", &keys, &late).await,
            409,
            "stale_key_version",
        );
        assert_eq!(detail["key_version"], 2);
        let held = wire.ask(&a, "GET", &keys, &null).await.1;
        let held = held["keys"].as_array().expect("keys");
        assert!(
            held.len() == 2 && held.iter().all(|key| key["device_id"] == json!(a.device)),
            "{held:?}"
        );
        wire.ask(&a, "POST", &format!("{path}/archive"), &json!({}))
            .await;
        Wire::is(
            &wire
                .ask(&b, "POST", &messages, &b.post(channel, 2, 8))
                .await,
            409,
            "archived",
        );
        Wire::is(&wire.ask(&a, "POST", &members, &add).await, 409, "archived");
    });
}

#[test]
fn register_and_login_refuse_in_one_answer() {
    story(async {
        let relay = Relay::start();
        let a = user(&relay, "Acme").await;
        let post = async |path: &str, body: &Value| {
            let path = format!("/v1{path}");
            let (status, _, answer) = raw(
                &relay.endpoint,
                "POST",
                &path,
                None,
                body.to_string().as_bytes(),
            )
            .await;
            (status, answer)
        };
        let key = DeviceKey::generate();
        let register = |invitation: &str| {
            json!({"registration_id": Id::generate(), "invitation_key": invitation,
                "device": {"public_key": key.public().to_wire()}})
        };
        // Invitations: unknown, of nobody, used; and one for two.
        let once = relay.invitation();
        let mut bad = register(&once);
        bad["device"]["public_key"] = json!(plexus_channels::base64url::encode(&[4; 65]));
        Wire::is(&post("/register", &bad).await, 400, "invalid_public_key");
        let mut bad = register(&once);
        bad["first_name"] = json!("n".repeat(81));
        Wire::is(&post("/register", &bad).await, 400, "invalid_request");
        assert_eq!(
            post("/register", &register(&once)).await.0,
            201,
            "a refusal spends nothing"
        );
        let used = post("/register", &register(&once)).await;
        Wire::is(&used, 401, "invalid_invitation");
        let mut near = once.clone();
        near.pop();
        for invitation in [
            near,
            String::new(),
            "plxinv_".into(),
            format!("plxinv_{}_x", Id::generate()),
        ] {
            assert_eq!(
                post("/register", &register(&invitation)).await,
                used,
                "{invitation}"
            );
        }
        let two = relay.invite(&["--organization", "Acme", "--uses", "2", "--kind", "human"]);
        assert_eq!(post("/register", &register(&two)).await.1["kind"], "human");
        assert_eq!(post("/register", &register(&two)).await.0, 201);
        assert_eq!(post("/register", &register(&two)).await, used);

        // Logins: each wrong proof looks like every other.
        let challenge = async |agent: Id, device: Id| {
            post(
                "/auth/challenge",
                &json!({"agent_id": agent, "device_id": device}),
            )
            .await
        };
        let (status, open) = challenge(a.id, a.device).await;
        assert_eq!(status, 200);
        let (status, unknown) = challenge(Id::generate(), Id::generate()).await;
        assert_eq!(status, 200);
        let wrong = json!({"challenge_id": open["challenge_id"], "proof": plexus_channels::base64url::encode(&[1; 32])});
        let refused = post("/auth/token", &wrong).await;
        Wire::is(&refused, 401, "invalid_proof");
        let server =
            plexus_channels::base64url::decode(open["server_public_key"].as_str().expect("a key"));
        let server =
            plexus_channels::PublicKey::from_bytes(&server.expect("bytes")).expect("a key");
        let nonce = plexus_channels::base64url::decode(open["nonce"].as_str().expect("bytes"))
            .expect("bytes");
        let proof = a.key.prove(&plexus_channels::crypto::Login {
            challenge_id: open["challenge_id"]
                .as_str()
                .expect("an id")
                .parse()
                .expect("an id"),
            agent_id: a.id,
            device_id: a.device,
            nonce: &nonce,
            server_public_key: &server,
            device_public_key: a.key.public(),
        });
        let nobody = json!({"challenge_id": unknown["challenge_id"], "proof": plexus_channels::base64url::encode(&proof)});
        assert_eq!(post("/auth/token", &nobody).await, refused);
        // The wrong proof spent nothing. The right one does, once; then the challenge is unknown, as one that never was.
        let right = json!({"challenge_id": open["challenge_id"], "proof": plexus_channels::base64url::encode(&proof)});
        assert_eq!(post("/auth/token", &right).await.0, 200);
        let spent = post("/auth/token", &right).await;
        Wire::is(&spent, 401, "unknown_challenge");
        let never = json!({"challenge_id": Id::generate(), "proof": ""});
        assert_eq!(post("/auth/token", &never).await, spent);

        // Tokens: none, unknown, ended.
        for token in [
            None,
            Some(""),
            Some("x"),
            Some("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        ] {
            let (status, _, answer) = raw(&relay.endpoint, "GET", "/v1/me", token, b"").await;
            Wire::is(&(status, answer), 401, "unauthorized");
        }
        let wire = Wire(&relay);
        let null = Value::Null;
        assert_eq!(wire.ask(&a, "GET", "/me", &null).await.1["id"], json!(a.id));
        assert_eq!(wire.ask(&a, "DELETE", "/auth/token", &null).await.0, 204);
        Wire::is(
            &wire.ask(&a, "GET", "/me", &null).await,
            401,
            "unauthorized",
        );
    });
}

#[cfg(target_os = "linux")]
#[test]
fn expired_invitation_is_refused_like_an_unknown_one() {
    story(async {
        let mut relay = Relay::start();
        let [week, month, unknown] =
            ["7", "30", "7"].map(|days| relay.invite(&["--organization", "Acme", "--days", days]));
        relay.kill();
        relay.go_on(Some("+8d"));
        let key = DeviceKey::generate();
        let register = async |invitation: &str| {
            let body = json!({"registration_id": Id::generate(), "invitation_key": invitation,
                "device": {"public_key": key.public().to_wire()}});
            let body = body.to_string();
            let path = "/v1/register";
            let answer = raw(&relay.endpoint, "POST", path, None, body.as_bytes()).await;
            (answer.0, answer.2)
        };
        let expired = register(&week).await;
        Wire::is(&expired, 401, "invalid_invitation");
        assert_eq!(register(&unknown[..unknown.len() - 1]).await, expired);
        assert_eq!(register(&month).await.0, 201);
    });
}

#[test]
fn requests_beyond_the_rate_are_told_when_to_come_back() {
    story(async {
        let relay = Relay::start_with(&["--device-rate", "2", "--address-rate", "3"]);
        let a = user(&relay, "Acme").await;
        let mut limited = 0;
        for _ in 0..8 {
            let (status, retry, answer) =
                raw(&relay.endpoint, "GET", "/v1/me", Some(&a.token), b"").await;
            if status == 429 {
                Wire::is(&(status, answer), 429, "rate_limited");
                assert_eq!(retry.as_deref(), Some("1"));
                limited += 1;
            }
        }
        assert!(limited > 0);
        let never = json!({"challenge_id": Id::generate(), "proof": ""}).to_string();
        let mut limited = 0;
        for _ in 0..10 {
            let path = "/v1/auth/token";
            let (status, ..) = raw(&relay.endpoint, "POST", path, None, never.as_bytes()).await;
            limited += u32::from(status == 429);
            // The token of a client whose relay was started again costs nothing.
            let (status, ..) = raw(&relay.endpoint, "GET", "/v1/me", None, b"").await;
            assert_eq!(status, 401);
        }
        assert!(limited > 0);
        let (status, ..) = raw(&relay.endpoint, "GET", "/v1/health", None, b"").await;
        assert_eq!(status, 200, "health is for monitors");
    });
}

#[test]
fn every_page_equals_the_naive_reading() {
    story(async {
        let relay = Relay::start();
        let wire = Wire(&relay);
        let a = user(&relay, "Acme").await;
        let channel = Id::generate();
        let (path, null) = (format!("/channels/{channel}"), Value::Null);
        assert_eq!(
            wire.ask(&a, "POST", "/channels", &a.create(channel, &[]))
                .await
                .0,
            201
        );
        let mut ids = Vec::new();
        for seq in 1..=30 {
            // Acts without a message stand between messages.
            if seq % 7 == 0 {
                for act in ["archive", "unarchive"] {
                    wire.ask(&a, "POST", &format!("{path}/{act}"), &json!({}))
                        .await;
                }
            }
            let sent = wire
                .ask(
                    &a,
                    "POST",
                    &format!("{path}/messages"),
                    &a.post(channel, 1, seq),
                )
                .await
                .1;
            ids.push(
                sent["message"]["message_id"]
                    .as_str()
                    .expect("an id")
                    .to_owned(),
            );
        }
        assert!(ids.is_sorted());
        // Cursors that are ids, and ones just beside them, which are not.
        let beside = |id: &str, by: i128| {
            let id: Id = id.parse().expect("an id");
            let number = u128::from_be_bytes(id.to_bytes()).wrapping_add_signed(by);
            Id::from_bytes(number.to_be_bytes()).to_string()
        };
        let mut cursors = vec![
            "00000000000000000000000000".to_owned(),
            "7ZZZZZZZZZZZZZZZZZZZZZZZZZ".to_owned(),
        ];
        for id in [&ids[0], &ids[6], &ids[7], &ids[29]] {
            cursors.extend([id.clone(), beside(id, 1), beside(id, -1)]);
        }
        for limit in [1, 3, 29, 30, 31] {
            let newest: Vec<_> = ids.iter().skip(30_usize.saturating_sub(limit)).collect();
            let page = wire
                .ask(&a, "GET", &format!("{path}/messages?limit={limit}"), &null)
                .await
                .1;
            check(&page, &newest, limit < 30);
            for cursor in &cursors {
                let after: Vec<_> = ids.iter().filter(|id| *id > cursor).collect();
                let page = format!("{path}/messages?limit={limit}&after_id={cursor}");
                let page = wire.ask(&a, "GET", &page, &null).await.1;
                check(&page, &after[..limit.min(after.len())], after.len() > limit);
                let before: Vec<_> = ids.iter().filter(|id| *id < cursor).collect();
                let page = format!("{path}/messages?limit={limit}&before_id={cursor}");
                let page = wire.ask(&a, "GET", &page, &null).await.1;
                check(
                    &page,
                    &before[before.len().saturating_sub(limit)..],
                    before.len() > limit,
                );
            }
        }
    });
}

#[track_caller]
fn check(page: &Value, expected: &[&String], has_more: bool) {
    let messages = page["messages"].as_array().expect("messages");
    let found: Vec<&str> = messages
        .iter()
        .filter_map(|message| message["message_id"].as_str())
        .collect();
    assert_eq!(found, expected);
    assert_eq!(page["has_more"], has_more);
}
