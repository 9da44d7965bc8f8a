//! Every refusal of the protocol, as bytes on the wire; and histories against a naive reading.

use crate::harness::{Relay, at_relay, raw, story};
use plexus_channels::crypto::{ChannelKey, Login, WrapContext};
use plexus_channels::wire::{Challenge, Wrap};
use plexus_channels::{DeviceKey, Id, MessageContext, PublicKey, base64url, limits};
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
    /// A request with this body; null is none.
    async fn ask(&self, who: &User, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        self.send(Some(&who.token), method, path, body.as_bytes())
            .await
    }

    async fn send(
        &self,
        token: Option<&str>,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> (u16, Value) {
        let path = format!("/v1{path}");
        let (status, _, answer) = raw(&self.0.endpoint, method, &path, token, body).await;
        (status, answer)
    }

    async fn get(&self, who: &User, path: &str) -> (u16, Value) {
        self.ask(who, "GET", path, &Value::Null).await
    }

    async fn post(&self, who: &User, path: &str, body: &Value) -> (u16, Value) {
        self.ask(who, "POST", path, body).await
    }
}

/// The detail of a refusal that has this status and code, and words.
#[track_caller]
fn is(answer: &(u16, Value), status: u16, code: &str) -> Value {
    let error = &answer.1["error"];
    let found = (answer.0, error["code"].as_str());
    assert_eq!(found, (status, Some(code)), "{answer:?}");
    let message = error["message"].as_str().unwrap_or_default();
    assert!(!message.is_empty(), "{answer:?}");
    error["detail"].clone()
}

/// A value with another one pushed to its keys.
fn with_key(of: &Value, key: impl serde::Serialize) -> Value {
    let mut more = of.clone();
    more["keys"].as_array_mut().expect("keys").push(json!(key));
    more
}

/// A value with a member that is another.
fn with(of: &Value, member: &str, value: Value) -> Value {
    let mut other = of.clone();
    other[member] = value;
    other
}

/// A channel of Ann's that she makes with Bob; Eve is of their organization, Far of another.
struct Case<'a> {
    wire: Wire<'a>,
    ann: User,
    bob: User,
    eve: User,
    far: User,
    channel: Id,
    path: String,
}

impl<'a> Case<'a> {
    async fn new(relay: &'a Relay) -> Self {
        let channel = Id::generate();
        Self {
            wire: Wire(relay),
            ann: user(relay, "Acme").await,
            bob: user(relay, "Acme").await,
            eve: user(relay, "Acme").await,
            far: user(relay, "Elsewhere").await,
            channel,
            path: format!("/channels/{channel}"),
        }
    }

    /// Keys: missing, of strangers, wrapped by another, twice, of the wrong shape. Then the channel is made.
    async fn creations(&self) {
        let Self {
            wire,
            ann,
            bob,
            eve,
            far,
            channel,
            path,
        } = self;
        let create = ann.create(*channel, &[bob]);
        let made = async |body: &Value| wire.post(ann, "/channels", body).await;
        let short = with(&create, "keys", json!([create["keys"][0]]));
        let detail = is(&made(&short).await, 422, "keys_missing");
        assert_eq!(detail["devices"], json!([bob.device]));
        let more = with_key(&create, ann.wrap(*channel, 1, eve));
        let detail = is(&made(&more).await, 422, "keys_of_strangers");
        assert_eq!(detail["devices"], json!([eve.device]));
        for (field, value) in [
            ("salt", json!("AA")),
            ("ciphertext", json!("AA")),
            ("sender_device_id", json!(bob.device)),
            ("key_version", json!(2)),
            ("alg", json!("x".repeat(65))),
            ("salt", json!("AA==")),
            ("device_id", json!("not an id")),
        ] {
            let mut bad = create.clone();
            bad["keys"][1][field] = value;
            is(&made(&bad).await, 400, "invalid_request");
        }
        let twice = with_key(&create, &create["keys"][1]);
        is(&made(&twice).await, 400, "invalid_request");
        let foreign = with(&create, "members", json!([far.id]));
        is(&made(&foreign).await, 404, "not_found");
        let crowd: Vec<Id> = (0..limits::MEMBERS).map(|_| Id::generate()).collect();
        let crowded = with(&create, "members", json!(crowd));
        is(&made(&crowded).await, 400, "invalid_request");
        // Refused, nothing was left behind.
        is(&wire.get(ann, path).await, 404, "not_found");
        let create = with(&create, "message", ann.post(*channel, 1, 1));
        let first = made(&create).await;
        assert_eq!(first.0, 201, "{first:?}");
        let last = &first.1["channel"]["last_message_id"];
        assert_eq!(*last, first.1["message"]["message_id"]);
        assert_eq!(made(&create).await, (200, first.1));
        let again = bob.create(*channel, &[ann]);
        is(&wire.post(bob, "/channels", &again).await, 409, "exists");
    }

    /// Messages and pages of them: the one that was sent, and its answer.
    async fn messages(&self) -> (Value, Value) {
        let Self {
            wire,
            bob,
            channel,
            path,
            ..
        } = self;
        let messages = format!("{path}/messages");
        let post = async |body: &Value| wire.post(bob, &messages, body).await;
        let of = |version, seq| bob.post(*channel, version, seq);
        let sent = of(1, 5);
        let answer = post(&sent).await;
        assert_eq!(answer.0, 201);
        assert_eq!(post(&sent).await, (200, answer.1.clone()));
        let other = with(&sent, "ciphertext", of(1, 5)["ciphertext"].clone());
        is(&post(&other).await, 409, "conflict");
        let detail = is(&post(&of(1, 5)).await, 409, "seq_conflict");
        assert_eq!(detail["last_seq"], 5);
        let detail = is(&post(&of(2, 6)).await, 409, "stale_key_version");
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
            let bad = with(&of(1, 6), field, value);
            is(&post(&bad).await, 400, "invalid_request");
        }
        let bytes = async |body: &[u8]| wire.send(Some(&bob.token), "POST", &messages, body).await;
        let listed = "[\"01JZ0000000000000000000001\",1,6,\"\",\"\"]";
        for body in ["", "[]", "null", "{}", "{\"a\"", "\u{feff}{}", listed] {
            is(&bytes(body.as_bytes()).await, 400, "invalid_request");
        }
        is(&bytes(&vec![b' '; (1 << 20) + 1]).await, 413, "too_large");
        for query in [
            "limit=0",
            "limit=201",
            "limit=x",
            "after_id=0",
            "before_id=x",
            "limit=1&limit=2",
            "after_id=00000000000000000000000000&before_id=00000000000000000000000000",
        ] {
            let page = wire.get(bob, &format!("{messages}?{query}")).await;
            is(&page, 400, "invalid_request");
        }
        let gone = wire.get(bob, "/channels?status=gone").await;
        is(&gone, 400, "invalid_request");
        (sent, answer.1)
    }

    /// What one may not see does not exist, in the same words.
    async fn unseen(&self) {
        let Self {
            wire,
            ann,
            eve,
            far,
            channel,
            path,
            ..
        } = self;
        let unseen = wire
            .get(ann, &format!("/channels/{}", Id::generate()))
            .await;
        is(&unseen, 404, "not_found");
        for (who, method, path) in [
            (far, "GET", path.clone()),
            (eve, "GET", path.clone()),
            (eve, "GET", format!("{path}/messages")),
            (eve, "POST", format!("{path}/archive")),
            (eve, "GET", format!("{path}/keys")),
            (eve, "GET", format!("{path}/join_requests")),
            (eve, "DELETE", format!("{path}/members/me")),
            (ann, "GET", "/channels/none".into()),
            (ann, "GET", format!("/agents/{}", far.id)),
            (ann, "GET", format!("/humans/{}", ann.id)),
            (ann, "GET", "/nothing".into()),
            (ann, "PUT", path.clone()),
            (ann, "GET", String::new()),
            (ann, "GET", format!("{path}/")),
        ] {
            let answer = wire.ask(who, method, &path, &Value::Null).await;
            assert_eq!(answer, unseen, "{method} {path}");
        }
        let add = json!({"user_id": far.id, "keys": [ann.wrap(*channel, 1, far)]});
        let added = wire.post(ann, &format!("{path}/members"), &add).await;
        assert_eq!(added, unseen);
    }

    /// Members, rotation, and an archived channel; `sent` is a message that is stored, with its answer.
    async fn members(&self, (sent, answer): (Value, Value)) {
        let Self {
            wire,
            ann,
            bob,
            eve,
            channel,
            path,
            ..
        } = self;
        let [members, messages, keys] =
            ["members", "messages", "keys"].map(|end| format!("{path}/{end}"));
        let add = |keys: Value| json!({"user_id": eve.id, "keys": keys});
        let wrap = |of: &User, version, to: &User| json!(of.wrap(*channel, version, to));
        let none = wire.post(ann, &members, &add(json!([]))).await;
        is(&none, 422, "keys_missing");
        let newer = add(json!([wrap(ann, 1, eve), wrap(ann, 2, eve)]));
        is(
            &wire.post(ann, &members, &newer).await,
            400,
            "invalid_request",
        );
        let right = add(json!([wrap(ann, 1, eve)]));
        let added = wire.post(ann, &members, &right).await;
        assert_eq!(added.0, 200);
        let again = wire.post(ann, &members, &right).await;
        assert_eq!(again, added, "a member already");
        let eves = format!("{members}/{}", eve.id);
        let removed = wire.ask(ann, "DELETE", &eves, &Value::Null).await;
        assert_eq!((removed.0, &removed.1["rotation_due"]), (200, &json!(true)));
        let next = bob.post(*channel, 1, 7);
        is(&wire.post(bob, &messages, &next).await, 409, "rotation_due");
        // A repeat of what is stored comes first.
        assert_eq!(wire.post(bob, &messages, &sent).await, (200, answer));
        let both = |of: &User| json!([wrap(of, 2, ann), wrap(of, 2, bob)]);
        let rotate = json!({"key_version": 2, "keys": both(bob)});
        let stranger = with_key(&rotate, wrap(bob, 2, eve));
        is(
            &wire.post(bob, &keys, &stranger).await,
            422,
            "keys_of_strangers",
        );
        let third = json!({"key_version": 3, "keys": []});
        is(
            &wire.post(bob, &keys, &third).await,
            409,
            "stale_key_version",
        );
        let rotated = wire.post(bob, &keys, &rotate).await;
        assert_eq!(
            (rotated.0, &rotated.1["rotation_due"]),
            (201, &json!(false))
        );
        let again = wire.post(bob, &keys, &rotate).await;
        assert_eq!(again, (200, rotated.1), "again");
        let late = json!({"key_version": 2, "keys": both(ann)});
        let detail = is(
            &wire.post(ann, &keys, &late).await,
            409,
            "stale_key_version",
        );
        assert_eq!(detail["key_version"], 2);
        let held = wire.get(ann, &keys).await.1;
        let devices = held["keys"].as_array().expect("keys").iter();
        let devices: Vec<_> = devices.map(|key| &key["device_id"]).collect();
        assert_eq!(json!(devices), json!([ann.device, ann.device]), "{held:?}");
        let archived = wire.post(ann, &format!("{path}/archive"), &json!({})).await;
        assert_eq!(archived.0, 200, "{archived:?}");
        let late = bob.post(*channel, 2, 8);
        is(&wire.post(bob, &messages, &late).await, 409, "archived");
        is(&wire.post(ann, &members, &right).await, 409, "archived");
    }
}

#[test]
fn every_code_has_its_case() {
    at_relay(async |relay| {
        let case = Case::new(&relay).await;
        case.creations().await;
        let sent = case.messages().await;
        case.unseen().await;
        case.members(sent).await;
    });
}

/// A registration with this invitation.
fn register(key: &DeviceKey, invitation: &str) -> Value {
    json!({"registration_id": Id::generate(), "invitation_key": invitation,
        "device": {"public_key": key.public().to_wire()}})
}

#[test]
fn register_and_login_refuse_in_one_answer() {
    at_relay(async |relay| {
        let wire = Wire(&relay);
        let a = user(&relay, "Acme").await;
        let post = async |path: &str, body: &Value| {
            let body = body.to_string();
            wire.send(None, "POST", path, body.as_bytes()).await
        };
        let key = DeviceKey::generate();
        let registered =
            async |invitation: &str| post("/register", &register(&key, invitation)).await;
        // Invitations: unknown, of nobody, used; and one for two.
        let once = relay.invitation();
        let mut bad = register(&key, &once);
        bad["device"]["public_key"] = json!(base64url::encode(&[4; 65]));
        is(&post("/register", &bad).await, 400, "invalid_public_key");
        let bad = with(&register(&key, &once), "first_name", json!("n".repeat(81)));
        is(&post("/register", &bad).await, 400, "invalid_request");
        // A refusal spends nothing.
        assert_eq!(registered(&once).await.0, 201);
        let used = registered(&once).await;
        is(&used, 401, "invalid_invitation");
        let near = once[..once.len() - 1].to_owned();
        let unknown = format!("plxinv_{}_x", Id::generate());
        for invitation in [&*near, "", "plxinv_", &unknown] {
            assert_eq!(registered(invitation).await, used, "{invitation}");
        }
        let two = relay.invite(&["--organization", "Acme", "--uses", "2", "--kind", "human"]);
        assert_eq!(registered(&two).await.1["kind"], "human");
        assert_eq!(registered(&two).await.0, 201);
        assert_eq!(registered(&two).await, used);

        // Logins: each wrong proof looks like every other.
        let challenge = async |asked: &Value| -> Challenge {
            let (status, open) = post("/auth/challenge", asked).await;
            assert_eq!(status, 200, "{open:?}");
            serde_json::from_value(open).expect("a challenge")
        };
        let who = |agent: Id, device: Id| json!({"agent_id": agent, "device_id": device});
        let (known, stranger) = (who(a.id, a.device), who(Id::generate(), Id::generate()));
        let open = challenge(&known).await;
        let unknown = challenge(&stranger).await;
        let proven = |of: &Challenge, by: &Value, proof: &[u8]| {
            let by = with(by, "challenge_id", json!(of.challenge_id));
            with(&by, "proof", json!(base64url::encode(proof)))
        };
        let refused = post("/auth/token", &proven(&open, &known, &[1; 32])).await;
        is(&refused, 401, "invalid_proof");
        let proof = a.key.prove(&Login {
            challenge_id: open.challenge_id,
            agent_id: a.id,
            device_id: a.device,
            nonce: &open.nonce.0,
            server_public_key: &PublicKey::from_bytes(&open.server_public_key.0).expect("a key"),
            device_public_key: a.key.public(),
        });
        let nobody = post("/auth/token", &proven(&unknown, &stranger, &proof)).await;
        assert_eq!(nobody, refused);
        // The wrong proof spent nothing. The right one does, once; then the challenge is unknown, as one that never was.
        let right = proven(&open, &known, &proof);
        assert_eq!(post("/auth/token", &right).await.0, 200);
        let spent = post("/auth/token", &right).await;
        is(&spent, 401, "unknown_challenge");
        let never = with(&right, "challenge_id", json!(Id::generate()));
        assert_eq!(post("/auth/token", &never).await, spent);

        // Tokens: none, unknown, ended.
        let other = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        for token in [None, Some(""), Some("x"), Some(other)] {
            is(
                &wire.send(token, "GET", "/me", b"").await,
                401,
                "unauthorized",
            );
        }
        assert_eq!(wire.get(&a, "/me").await.1["id"], json!(a.id));
        let ended = wire.ask(&a, "DELETE", "/auth/token", &Value::Null).await;
        assert_eq!(ended.0, 204);
        is(&wire.get(&a, "/me").await, 401, "unauthorized");
    });
}

#[cfg(target_os = "linux")]
#[test]
fn expired_invitation_is_refused_like_an_unknown_one() {
    story(async {
        let mut relay = Relay::start();
        // An organization of another name is made, and that is said: the name may be misspelt.
        let founded = ["Acme", "Acme", "Acm"].map(|name| {
            let said = relay.invite(&["--organization", name, "--json"]);
            serde_json::from_str::<Value>(&said).expect("JSON")["founded"] == true
        });
        assert_eq!(founded, [true, false, true]);
        let [week, month, unknown] =
            ["7", "30", "7"].map(|days| relay.invite(&["--organization", "Acme", "--days", days]));
        relay.kill();
        relay.go_on(Some("+8d"));
        let (wire, key) = (Wire(&relay), DeviceKey::generate());
        let registered = async |invitation: &str| {
            let body = register(&key, invitation).to_string();
            wire.send(None, "POST", "/register", body.as_bytes()).await
        };
        let expired = registered(&week).await;
        is(&expired, 401, "invalid_invitation");
        assert_eq!(registered(&unknown[..unknown.len() - 1]).await, expired);
        assert_eq!(registered(&month).await.0, 201);
    });
}

#[test]
fn requests_beyond_the_rate_are_told_when_to_come_back() {
    story(async {
        let relay = Relay::start_with(&["--device-rate", "2", "--address-rate", "3"]);
        let wire = Wire(&relay);
        let a = user(&relay, "Acme").await;
        // A client comes back by itself.
        let (patient, ..) = relay.stranger("Acme").await;
        for _ in 0..8 {
            patient.me().await.expect("answered later");
        }
        let mut limited = 0;
        for _ in 0..8 {
            let own = raw(&relay.endpoint, "GET", "/v1/me", Some(&a.token), b"");
            let (status, retry, answer) = own.await;
            if status == 429 {
                is(&(status, answer), 429, "rate_limited");
                assert_eq!(retry.as_deref(), Some("1"));
                limited += 1;
            }
        }
        assert!(limited > 0);
        let never = json!({"challenge_id": Id::generate(), "proof": "", "agent_id": Id::ZERO, "device_id": Id::ZERO});
        let never = never.to_string();
        let mut limited = 0;
        for _ in 0..10 {
            let login = wire.send(None, "POST", "/auth/token", never.as_bytes());
            limited += u32::from(login.await.0 == 429);
            // The token of a client whose relay was started again costs nothing.
            assert_eq!(wire.send(None, "GET", "/me", b"").await.0, 401);
        }
        assert!(limited > 0);
        // Health is for monitors.
        assert_eq!(wire.send(None, "GET", "/health", b"").await.0, 200);
    });
}

#[test]
fn every_page_equals_the_naive_reading() {
    at_relay(async |relay| {
        let wire = Wire(&relay);
        let a = user(&relay, "Acme").await;
        let channel = Id::generate();
        let path = format!("/channels/{channel}");
        let made = wire.post(&a, "/channels", &a.create(channel, &[])).await;
        assert_eq!(made.0, 201);
        let mut ids = Vec::new();
        for seq in 1..=30 {
            // Acts without a message stand between messages.
            if seq % 7 == 0 {
                for act in ["archive", "unarchive"] {
                    wire.post(&a, &format!("{path}/{act}"), &json!({})).await;
                }
            }
            let post = a.post(channel, 1, seq);
            let sent = wire.post(&a, &format!("{path}/messages"), &post).await.1;
            let id = sent["message"]["message_id"].as_str().expect("an id");
            ids.push(id.to_owned());
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
        let page = async |query: String| wire.get(&a, &format!("{path}/messages?{query}")).await.1;
        for limit in [1, 3, 29, 30, 31] {
            let newest: Vec<_> = ids.iter().skip(30_usize.saturating_sub(limit)).collect();
            check(&page(format!("limit={limit}")).await, &newest, limit < 30);
            for cursor in &cursors {
                let after: Vec<_> = ids.iter().filter(|id| *id > cursor).collect();
                let shown = page(format!("limit={limit}&after_id={cursor}")).await;
                check(
                    &shown,
                    &after[..limit.min(after.len())],
                    after.len() > limit,
                );
                let before: Vec<_> = ids.iter().filter(|id| *id < cursor).collect();
                let shown = page(format!("limit={limit}&before_id={cursor}")).await;
                let last = before.len().saturating_sub(limit);
                check(&shown, &before[last..], before.len() > limit);
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
