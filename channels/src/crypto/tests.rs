//! Every vector of `tests/vectors.json`, and what must hold for any bytes.

use super::*;
use proptest::prelude::*;
use serde_json::Value;
use std::sync::LazyLock;

static VECTORS: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../tests/vectors.json")).expect("the vectors")
});

fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().expect("hex");
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).expect("hex"))
        .collect()
}

fn hex32(value: &Value) -> [u8; 32] {
    hex(value).try_into().expect("32 bytes")
}

fn id(value: &Value) -> Id {
    value
        .as_str()
        .and_then(|text| text.parse().ok())
        .expect("an id")
}

/// The vectors of a kind, which are some.
fn list(value: &Value) -> &[Value] {
    let list = value.as_array().expect("a list");
    assert!(!list.is_empty());
    list
}

fn device(name: &Value) -> (Id, DeviceKey) {
    let device = &VECTORS["devices"][name.as_str().expect("a name")];
    let key = DeviceKey::from_scalar(&hex32(&device["private_scalar"])).expect("a key");
    let id = device["device_id"]
        .as_str()
        .map_or(Id::ZERO, |text| text.parse().expect("an id"));
    (id, key)
}

fn decoded<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).expect("a wire form")
}

/// The vector of that name, with the changes made.
fn changed(of: &Value, from: &str, changes: &Value) -> Value {
    let found = list(&VECTORS[from]).iter().find(|v| v["name"] == *of);
    let mut wire = found.expect("a vector")["wire"].clone();
    for (key, value) in changes.as_object().expect("changes") {
        wire[key] = value.clone();
    }
    wire
}

fn context(wire: &Value) -> MessageContext {
    MessageContext {
        channel_id: id(&wire["channel_id"]),
        key_version: decoded(&wire["key_version"]),
        sender_id: id(&wire["sender_id"]),
        sender_device_id: id(&wire["sender_device_id"]),
        client_message_id: id(&wire["client_message_id"]),
        seq: decoded(&wire["seq"]),
        state: None,
    }
}

#[test]
fn fields_equal_their_vectors() {
    for vector in list(&VECTORS["fields"]) {
        let texts: Vec<&[u8]> = list(&vector["in"])
            .iter()
            .map(|text| text.as_str().expect("a text").as_bytes())
            .collect();
        assert_eq!(fields(&texts), hex(&vector["out"]));
    }
}

#[test]
fn device_keys_equal_their_vectors() {
    for (name, vector) in VECTORS["devices"].as_object().expect("devices") {
        let (_, key) = device(&Value::from(name.as_str()));
        let pem = vector["private_key_pem"].as_str().expect("PEM");
        let read = DeviceKey::from_pem(pem).expect("a key");
        assert_eq!(read.public(), key.public());
        assert_eq!(key.to_pem().expect("PEM").as_str(), pem);
        assert_eq!(
            key.public().as_bytes().as_slice(),
            hex(&vector["public_raw"])
        );
        assert_eq!(key.public().to_wire(), decoded(&vector["public_key"]));
        assert_eq!(key.public().fingerprint(), vector["fingerprint"]);
        let shown = key.public().shown_fingerprint();
        assert_eq!(shown.len(), 39);
        assert!(
            key.public()
                .fingerprint()
                .starts_with(&shown.replace(' ', ""))
        );
    }
}

#[test]
fn public_keys_in_other_forms_are_refused() {
    for (name, text) in VECTORS["public_keys_to_refuse"].as_object().expect("keys") {
        let bytes: Base64Url = decoded(text);
        let refused = PublicKey::from_bytes(&bytes.0).err();
        assert_eq!(refused, Some(CryptoError::Key), "{name}");
    }
    for beyond in [[0; 32], [255; 32]] {
        let refused = DeviceKey::from_scalar(&beyond).err();
        assert_eq!(refused, Some(CryptoError::Key));
    }
}

#[test]
fn base64url_in_other_forms_is_refused() {
    for text in list(&VECTORS["base64url_to_refuse"]) {
        let refused = serde_json::from_value::<Base64Url>(text.clone()).expect_err("refused");
        assert_eq!(
            refused.to_string(),
            crate::base64url::Base64UrlError.to_string(),
            "{text}"
        );
    }
}

#[test]
fn wraps_equal_their_vectors_and_open() {
    for vector in list(&VECTORS["wrap"]) {
        let ((from, sender), (to, recipient)) =
            (device(&vector["sender"]), device(&vector["recipient"]));
        let wire: Wrap = decoded(&vector["wire"]);
        let channel_id = id(&vector["channel_id"]);
        let context = WrapContext {
            channel_id,
            key_version: wire.key_version,
            sender_device_id: from,
            recipient_device_id: to,
            recipient: recipient.public(),
            state: None,
        };
        let key = ChannelKey::from_bytes(hex32(&vector["channel_key"]));
        let z = sender.agree(recipient.public());
        assert_eq!(z.as_slice(), hex(&vector["shared_secret"]));
        let salt = wire.salt.array().expect("32 bytes");
        assert_eq!(sender.wrap_salted(&key, &context, salt), wire);
        let opened = recipient.unwrap(channel_id, &wire, sender.public(), None);
        assert!(opened == Ok(key), "{}", vector["name"]);
    }
}

#[test]
fn wraps_that_must_fail_do() {
    for vector in list(&VECTORS["wrap_must_fail"]) {
        let wire = changed(&vector["of"], "wrap", &vector["change_wire"]);
        let mut wire: Wrap = decoded(&wire);
        let context = &vector["change_context"];
        let channel = context
            .get("channel_id")
            .unwrap_or(&VECTORS["wrap"][0]["channel_id"]);
        if let Some(version) = context.get("key_version") {
            wire.key_version = decoded(version);
        }
        if let Some(sender) = context.get("sender_device_id") {
            wire.sender_device_id = id(sender);
        }
        let ((_, a), (_, b)) = (device(&Value::from("A")), device(&Value::from("B")));
        let expected = match wire.alg.as_str() {
            WRAP_ALGORITHM => CryptoError::Sealed,
            _ => CryptoError::Algorithm,
        };
        let opened = b.unwrap(id(channel), &wire, a.public(), None);
        assert!(opened == Err(expected), "{}", vector["name"]);
    }
}

#[test]
fn messages_equal_their_vectors_and_open() {
    for vector in list(&VECTORS["message"]) {
        let wire = &vector["wire"];
        let key = ChannelKey::from_bytes(hex32(&vector["channel_key"]));
        let context = context(wire);
        assert_eq!(context.associated_data(), hex(&vector["aad"]));
        let (nonce, ciphertext): (Base64Url, Base64Url) =
            (decoded(&wire["nonce"]), decoded(&wire["ciphertext"]));
        let Ok(Content::Text(text)) = key.open_message(&context, &nonce, &ciphertext) else {
            panic!("{} does not open", vector["name"]);
        };
        let json = serde_json::to_string(&Plaintext {
            r#type: "text".into(),
            text,
        })
        .expect("JSON");
        if let Some(expected) = vector["plaintext"].as_str() {
            assert_eq!(json, expected);
        } else {
            let digest = Sha256::digest(json.as_bytes());
            assert_eq!(digest.as_slice(), hex(&vector["plaintext_sha256"]));
        }
        let sealed = key.seal(
            &context.associated_data(),
            json.as_bytes(),
            nonce.array().expect("12"),
        );
        assert_eq!(sealed, (nonce, ciphertext));
    }
}

#[test]
fn messages_that_must_fail_do() {
    let key = ChannelKey::from_bytes(hex32(&VECTORS["message"][0]["channel_key"]));
    for vector in list(&VECTORS["message_must_fail"]) {
        let wire = changed(&vector["of"], "message", &vector["change"]);
        let opened = key.open_message(
            &context(&wire),
            &decoded(&wire["nonce"]),
            &decoded(&wire["ciphertext"]),
        );
        assert_eq!(opened, Err(CryptoError::Sealed), "{}", vector["name"]);
    }
}

#[test]
fn names_equal_their_vectors_and_open() {
    for vector in list(&VECTORS["name"]) {
        let wire: Name = decoded(&vector["wire"]);
        let key = ChannelKey::from_bytes(hex32(&vector["channel_key"]));
        let channel = id(&vector["channel_id"]);
        let data = name_data(channel, (wire.key_version, None), wire.sender_device_id);
        assert_eq!(data, hex(&vector["aad"]));
        let plain = vector["plaintext"].as_str().expect("a name");
        assert_eq!(key.open_name(channel, &wire, None).as_deref(), Ok(plain));
        let sealed = key.seal(&data, plain.as_bytes(), wire.nonce.array().expect("12"));
        assert_eq!(sealed, (wire.nonce.clone(), wire.ciphertext.clone()));
        let elsewhere = key.open_name(Id::ZERO, &wire, None);
        assert_eq!(elsewhere, Err(CryptoError::Sealed));
    }
}

#[test]
fn proofs_equal_their_vectors_and_are_accepted() {
    for vector in list(&VECTORS["auth"]) {
        let ((device_id, device), (_, server)) =
            (device(&vector["device"]), device(&vector["server"]));
        let nonce: Base64Url = decoded(&vector["nonce"]);
        let login = Login {
            challenge_id: id(&vector["challenge_id"]),
            agent_id: id(&vector["agent_id"]),
            device_id,
            nonce: &nonce.0,
            server_public_key: server.public(),
            device_public_key: device.public(),
        };
        let z = device.agree(server.public());
        assert_eq!(z.as_slice(), hex(&vector["shared_secret"]));
        assert_eq!(login.key(&z).as_slice(), hex(&vector["key"]));
        let proof = device.prove(&login);
        assert_eq!(Base64Url(proof.to_vec()), decoded(&vector["proof"]));
        assert!(login.accepts(&server, &proof));
        for at in 0..proof.len() {
            let mut other = proof;
            other[at] ^= 1;
            assert!(!login.accepts(&server, &other));
        }
        assert!(!login.accepts(&server, &proof[..31]) && !login.accepts(&server, &[]));
        let elsewhere = Login {
            agent_id: Id::ZERO,
            ..login
        };
        assert!(!elsewhere.accepts(&server, &proof));
    }
}

#[test]
fn unknown_type_is_unsupported_and_other_plaintext_refused() {
    let key = ChannelKey::generate();
    let context = context(&VECTORS["message"][0]["wire"]);
    let open = |plain: &[u8]| {
        let (nonce, ciphertext) = key.seal(&context.associated_data(), plain, random());
        key.open_message(&context, &nonce, &ciphertext)
    };
    assert_eq!(
        open(br#"{"type":"poll","options":[1]}"#),
        Ok(Content::Unsupported)
    );
    assert_eq!(
        open(br#"{"type":"text","text":"x"}"#),
        Ok(Content::Text("x".into()))
    );
    for plain in [
        &b"text"[..],
        b"{}",
        b"\xff",
        br#"{"type":1}"#,
        br#"{"type":"text","type":"text"}"#,
    ] {
        assert_eq!(open(plain), Err(CryptoError::Sealed));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The naive reading of the rule is the oracle: lengths and bytes read back give the fields.
    #[test]
    fn fields_read_back(parts: Vec<Vec<u8>>) {
        let joined = fields(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let (mut rest, mut read) = (joined.as_slice(), Vec::new());
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let (field, after) = after.split_at(u32::from_be_bytes(*length) as usize);
            read.push(field.to_vec());
            rest = after;
        }
        prop_assert!(rest.is_empty());
        prop_assert_eq!(read, parts);
    }

    #[test]
    fn public_key_of_any_bytes_is_refused_or_itself(bytes in prop::collection::vec(any::<u8>(), 0..70), flip in 0..65_usize) {
        if let Ok(key) = PublicKey::from_bytes(&bytes) {
            prop_assert_eq!(key.as_bytes().as_slice(), &bytes);
        }
        let (_, device) = device(&Value::from("A"));
        let mut near = *device.public().as_bytes();
        near[flip] ^= 1;
        // One bit beside a point is a point only by accident, and then its own.
        if let Ok(key) = PublicKey::from_bytes(&near) {
            prop_assert_eq!(key.as_bytes(), &near);
        }
    }

    #[test]
    fn any_text_comes_back_and_any_flip_is_refused(text: String, flip: prop::sample::Index) {
        let key = ChannelKey::generate();
        let context = context(&VECTORS["message"][0]["wire"]);
        let (nonce, mut ciphertext) = key.seal_text(&context, &text);
        prop_assert_eq!(key.open_message(&context, &nonce, &ciphertext), Ok(Content::Text(text)));
        let at = flip.index(ciphertext.0.len());
        ciphertext.0[at] ^= 1;
        prop_assert_eq!(key.open_message(&context, &nonce, &ciphertext), Err(CryptoError::Sealed));
    }
}
