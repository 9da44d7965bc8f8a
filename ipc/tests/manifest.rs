//! Manifests: the written form is accepted, every rule refuses, and no text makes the parser panic.

use plexus_ipc::manifest::{
    ChildArgument, MAX_EGRESS, MAX_OUTPUT, Manifest, NamedArgument, Program, Words,
};
use plexus_ipc::message::Role;
use plexus_ipc::offer::Offer;
use plexus_protocol::{Digest, Verb};
use proptest::prelude::*;
use serde_json::{Value, json};

fn good() -> Value {
    json!({
        "connector": "shelf", "kind": "shelf-fs", "label": "Shelf", "blurb": "Things on a shelf",
        "provenance": "first-party", "transport": "ipc", "flag": "shelf",
        "fields": [
            {"name": "path", "label": "Folder", "type": "path", "required": true, "target": "route"},
            {"name": "key", "label": "Key", "type": "password", "required": false, "target": "secret", "help": "h"},
        ],
        "root": "path",
        "roles": ["reader", "writer"],
        "limits": {"frameBytes": 4194304, "openFiles": 256, "fileBytes": 0, "callMs": 30000, "memoryMiB": 512},
        "capabilities": [
            {"name": "item.read", "kind": "capability", "label": "Read", "describe": "Reads one", "verbs": ["read"],
             "sensitivity": "low", "longRunning": false, "input": {"type": "object"}, "output": {"type": "object"},
             "constrainable": [{"field": "path", "touched": "item"}], "skills": ["item.how-to"],
             "limits": {"callMs": 5}},
            {"name": "item.write", "kind": "capability", "label": "Write", "describe": "Writes one", "verbs": ["write"],
             "sensitivity": "elevated", "input": {"type": "object"}},
            {"name": "item.how-to", "kind": "skill", "label": "How", "describe": "How to", "verbs": [],
             "markdown": "# How"},
        ],
    })
}

fn parse(value: &Value) -> Result<Manifest, plexus_ipc::manifest::ManifestError> {
    Manifest::parse(&value.to_string())
}

/// What is written out again, read.
fn again(manifest: &Manifest) -> Manifest {
    parse(&serde_json::to_value(manifest).unwrap()).unwrap()
}

/// An effect that no agent sees is one that the owner's commands reach.
#[test]
fn owners_effect_is_one_of_channels() {
    let mut manifest = good();
    manifest["capabilities"][1]["audience"] = json!("owner");
    let refused = parse(&manifest).unwrap_err().to_string();
    assert!(
        refused.contains("`channels` and `changeSets` do not name"),
        "{refused}"
    );
    let mut members = manifest["capabilities"][0].clone();
    members["name"] = json!("item.members");
    members["audience"] = json!("owner");
    let entries = manifest["capabilities"].as_array_mut().unwrap();
    entries.push(members);
    manifest["channels"] = json!({"list": "item.read", "members": "item.members", "read": "item.read",
        "leave": "item.write", "rotate": "item.write"});
    assert!(parse(&manifest).is_ok(), "{:?}", parse(&manifest));
}

/// Only one that says so gets more of them than what its memory comes to.
#[test]
fn a_process_gets_addresses_for_the_files_that_it_maps() {
    let addresses = |manifest: &Value| {
        let limits = parse(manifest).unwrap().limits.of_process();
        limits.addresses.expect("a limit") - limits.memory.expect("a limit")
    };
    let mut maps = good();
    maps["limits"]["mapsMiB"] = json!(1024);
    assert_eq!(addresses(&maps), addresses(&good()) + (1 << 30));
}

#[test]
fn a_manifest_is_read_as_it_is_written() {
    let text = good().to_string();
    let manifest = Manifest::parse(&text).unwrap();
    assert_eq!(manifest.digest(), Digest::of(text.as_bytes()));
    assert_eq!(manifest.roles, [Role::Reader, Role::Writer]);
    let read = manifest.capability("item.read").unwrap();
    assert!(read.callable() && read.is_read());
    assert_eq!(read.resolves_to("path"), Some("item"));
    assert_eq!(read.resolves_to("other"), None);
    assert_eq!(manifest.limits_of(read).call_ms, 5, "its own");
    let of_connector = manifest.limits_of(read).frame_bytes;
    assert_eq!(of_connector, 4_194_304);
    let write = manifest.capability("item.write").unwrap();
    assert_eq!((write.rating(), write.role()), (Verb::Write, Role::Writer));
    assert!(!manifest.capability("item.how-to").unwrap().callable());
    assert!(manifest.capability("item").is_none());
    // What is written out again means the same.
    let again = again(&manifest);
    assert_eq!(again.capabilities, manifest.capabilities);
}

#[test]
fn shown_by_is_one_read_or_several() {
    let with = |shown_by: Value| {
        let mut manifest = good();
        manifest["capabilities"][1]["shownBy"] = shown_by;
        parse(&manifest)
    };
    for shown_by in [json!("item.read"), json!(["item.read"])] {
        let manifest = with(shown_by).unwrap();
        let write = manifest.capability("item.write").unwrap();
        let reads = write.shown_by.as_ref().unwrap();
        assert_eq!(reads.names(), ["item.read"]);
        assert_eq!(again(&manifest).capabilities, manifest.capabilities);
    }
    let at = "capability \"item.write\"";
    #[rustfmt::skip]
    let rows = [
        (json!([]), ": shownBy names reads for agents, of an effect"),
        (json!("item.write"), ", shownBy \"item.write\": names no read for agents"),
        (json!(["item.read", "item"]), ", shownBy \"item\": names no read for agents"),
        (json!(["item.read", "item.read"]), ", shownBy \"item.read\": twice"),
    ];
    for (wrong, says) in rows {
        assert_eq!(with(wrong).unwrap_err().to_string(), format!("{at}{says}"));
    }
}

/// A write whose message is a text of its input.
fn conversation(change: impl FnOnce(&mut Value)) -> Value {
    let mut manifest = good();
    let write = &mut manifest["capabilities"][1];
    write["input"]["properties"] = json!({"text": {"type": "string"}, "n": {"type": "integer"}});
    write["conversation"] = json!({"message": "text", "turns": 20, "minutes": 60});
    change(&mut manifest);
    manifest
}

#[test]
fn conversation_is_read_and_takes_other_numbers() {
    let manifest = parse(&conversation(|_| {})).unwrap();
    let write = manifest.capability("item.write").unwrap();
    let turns = write.conversation.as_ref().unwrap();
    assert_eq!(turns.asked(&json!({"text": "x"})), (20, 60));
    assert_eq!(turns.asked(&json!({"turns": 2, "minutes": 5})), (2, 5));
    // A number beyond all bounds is not a small one.
    assert_eq!(turns.asked(&json!({"turns": u64::MAX})), (u32::MAX, 60));
}

/// What breaks a rule, and how that is refused.
type Breach = (fn(&mut Value), &'static str);

/// What executes, with child calls, of a resident connector.
fn child_calls(change: impl FnOnce(&mut Value)) -> Value {
    let mut manifest = good();
    manifest["resident"] = json!(true);
    manifest["hostCalls"] = json!(true);
    let write = &mut manifest["capabilities"][1];
    write["verbs"] = json!(["execute"]);
    write["sensitivity"] = json!("high");
    let ids = json!({"type": "array", "items": {"type": "string"}});
    write["input"]["properties"] = json!({"agents": ids, "n": {"type": "integer"}});
    write["children"] = json!({"field": "agents", "runs": 20, "minutes": 60, "parallel": 2});
    change(&mut manifest);
    manifest
}

#[test]
fn child_calls_are_read_and_take_other_numbers() {
    let manifest = parse(&child_calls(|_| {})).unwrap();
    let write = manifest.capability("item.write").unwrap();
    let calls = write.children.as_ref().unwrap();
    let asked = calls.asked(&json!({"agents": ["codex.run", 7], "runs": 3, "parallel": u64::MAX}));
    assert_eq!(asked.capabilities, ["codex.run"]);
    assert_eq!((asked.runs, asked.minutes), (3, 60));
    assert_eq!(asked.parallel, u32::MAX, "no small number");
}

#[test]
fn child_calls_that_cannot_be_are_refused() {
    let refused: [Breach; 9] = [
        (
            |m| m["resident"] = json!(false),
            "child calls need resident and hostCalls",
        ),
        (
            |m| m["hostCalls"] = json!(false),
            "child calls need resident and hostCalls",
        ),
        (
            |m| m["capabilities"][1]["verbs"] = json!(["write"]),
            "child calls belong to what executes, lists their ids and is no conversation",
        ),
        (
            |m| m["capabilities"][1]["children"]["field"] = json!("other"),
            "child calls belong to what executes, lists their ids and is no conversation",
        ),
        (
            |m| m["capabilities"][1]["children"]["field"] = json!("n"),
            "child calls belong to what executes, lists their ids and is no conversation",
        ),
        (
            |m| m["capabilities"][1]["children"]["runs"] = json!(0),
            "child calls are at least one, within a minute, one at a time",
        ),
        (
            |m| m["capabilities"][1]["children"]["minutes"] = json!(0),
            "child calls are at least one, within a minute, one at a time",
        ),
        (
            |m| m["capabilities"][1]["children"]["parallel"] = json!(0),
            "child calls are at least one, within a minute, one at a time",
        ),
        (
            |m| m["capabilities"][0]["staged"] = json!(true),
            "a read is not staged",
        ),
    ];
    for (change, why) in refused {
        let refused = parse(&child_calls(change)).expect_err(why).to_string();
        assert!(refused.contains(why), "{refused}");
    }
}

#[test]
fn conversation_that_cannot_be_is_refused() {
    let of_its_input = "a conversation is an effect whose message is a text of its input";
    let bounds = "a conversation has at least one turn and lasts at least a minute";
    #[rustfmt::skip]
    let refused: [Breach; 5] = [
        (|m| m["capabilities"][1]["conversation"]["message"] = json!("other"), of_its_input),
        (|m| m["capabilities"][1]["conversation"]["message"] = json!("n"), of_its_input),
        (|m| m["capabilities"][1]["conversation"]["turns"] = json!(0), bounds),
        (|m| m["capabilities"][1]["conversation"]["minutes"] = json!(0), bounds),
        (
            |m| {
                m["capabilities"][0]["conversation"] =
                    json!({"message": "x", "turns": 1, "minutes": 1});
            },
            of_its_input,
        ),
    ];
    for (change, why) in refused {
        let refused = parse(&conversation(change)).expect_err(why).to_string();
        assert!(refused.contains(why), "{refused}");
    }
}

#[test]
fn property_order_of_a_schema_is_kept() {
    let mut value = good();
    value["capabilities"][0]["input"] =
        serde_json::from_str(r#"{"properties": {"z": {}, "a": {}, "m": {}}}"#).unwrap();
    let manifest = parse(&value).unwrap();
    let input = manifest.capabilities[0].input.clone().unwrap();
    let names = input["properties"].as_object().unwrap().keys();
    assert!(names.eq(["z", "a", "m"]));
}

/// Changes the good manifest at a JSON pointer; `null` removes.
fn with(pointer: &str, value: Value) -> Value {
    let mut manifest = good();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = manifest.pointer_mut(parent).unwrap();
    match (parent, value) {
        (Value::Object(map), Value::Null) => {
            map.shift_remove(key).unwrap();
        }
        (Value::Object(map), value) => {
            map.insert(key.into(), value);
        }
        (Value::Array(list), value) => list[key.parse::<usize>().unwrap()] = value,
        _ => unreachable!("no such place"),
    }
    manifest
}

#[test]
fn every_rule_refuses() {
    let (huge, field) = (json!(MAX_OUTPUT + 1), json!({"field": "a"}));
    #[rustfmt::skip]
    let rows = [
        ("/connector", json!("Obsidian"), "not 1 to 64 of a-z, 0-9 and '-'"),
        ("/connector", json!(""), "not 1 to 64 of a-z, 0-9 and '-'"),
        ("/kind", json!("a b"), "not 1 to 64 of a-z, 0-9 and '-'"),
        ("/transport", Value::Null, "missing field `transport`"),
        ("/label", json!(" "), "empty"),
        ("/blurb", json!(""), "empty"),
        ("/provenance", json!("mine"), "unknown variant `mine`"),
        ("/surprise", json!(1), "unknown field `surprise`"),
        ("/fields/0/name", json!("key"), "twice"),
        ("/fields/0/name", json!("a-b"), "not 1 to 64 ASCII letters and digits"),
        ("/fields/0/type", json!("folder"), "unknown variant `folder`"),
        ("/fields/0/target", json!("secret"), "a password goes to the secret store, and nothing else does"),
        ("/fields/0/required", json!(false), "names no required field of type path and target route"),
        ("/fields/1/target", json!("route"), "a password goes to the secret store, and nothing else does"),
        ("/fields/1/writable", json!(true), "only a path is writable"),
        ("/fields/0/target", json!("label"), "a path goes to the route"),
        ("/platforms", json!(["windows"]), "unknown variant `windows`"),
        ("/fields/1/default", json!("x"), "a secret has no default"),
        ("/fields/0/once", json!(true), "once belongs to a secret"),
        ("/root", json!("key"), "names no required field of type path and target route"),
        ("/root", json!("nowhere"), "names no required field of type path and target route"),
        ("/roles", json!([]), "a connector needs at least one"),
        ("/roles", json!(["reader", "reader"]), "the same role twice"),
        ("/roles", json!(["writer"]), "reads and plans need the role reader"),
        ("/roles", json!(["reader"]), "an effect needs the role writer"),
        ("/roles", json!(["owner"]), "unknown variant `owner`"),
        ("/limits/frameBytes", json!(0), "frameBytes is not 1 to 10 MiB"),
        ("/limits/frameBytes", huge.clone(), "frameBytes is not 1 to 10 MiB"),
        ("/limits/openFiles", json!(0), "openFiles is below 16: no worker can start with that"),
        ("/limits/callMs", json!(0), "callMs or memoryMiB is 0"),
        ("/limits/memoryMiB", json!(0), "callMs or memoryMiB is 0"),
        ("/limits/fileBytes", json!(-1), "got integer `-1`, expected a whole number"),
        ("/limits/callMs", Value::Null, "missing field `callMs`"),
        ("/capabilities", json!([]), "not 1 to 256"),
        ("/capabilities/0/name", json!("item.write"), "twice"),
        ("/capabilities/0/name", json!(""), "not 1 to 128 ASCII letters, digits, '.', '_' or '-', without a dot at either end"),
        ("/capabilities/0/name", json!(".read"), "not 1 to 128 ASCII letters, digits, '.', '_' or '-', without a dot at either end"),
        ("/capabilities/0/name", json!("a b"), "not 1 to 128 ASCII letters, digits, '.', '_' or '-', without a dot at either end"),
        (
            "/capabilities/0/name",
            json!("x".repeat(129)),
            "not 1 to 128 ASCII letters, digits, '.', '_' or '-', without a dot at either end",
        ),
        ("/capabilities/0/kind", json!("workflow"), "unknown variant `workflow`"),
        ("/capabilities/0/label", json!(""), "no label, or no describe"),
        ("/capabilities/0/describe", json!(""), "no label, or no describe"),
        ("/capabilities/0/keywords", json!([""]), "keywords are at most 16, each of 1 to 40 characters without spaces around it"),
        (
            "/capabilities/0/keywords",
            json!([" note"]),
            "keywords are at most 16, each of 1 to 40 characters without spaces around it",
        ),
        (
            "/capabilities/0/keywords",
            json!(vec!["note"; 17]),
            "keywords are at most 16, each of 1 to 40 characters without spaces around it",
        ),
        ("/capabilities/0/verbs", json!([]), "no verb"),
        ("/capabilities/0/verbs", json!(["delete"]), "unknown variant `delete`"),
        ("/capabilities/0/verbs", json!(["read", "write"]), "an effect is at least of elevated sensitivity"),
        ("/capabilities/0/verbs", json!(["execute"]), "what executes is of high sensitivity"),
        ("/capabilities/0/input", Value::Null, "the input schema is missing, or a schema is no object"),
        ("/capabilities/0/input", json!(true), "the input schema is missing, or a schema is no object"),
        ("/capabilities/0/output", json!([]), "the input schema is missing, or a schema is no object"),
        ("/capabilities/0/markdown", json!("# no"), "markdown belongs to a skill"),
        ("/capabilities/0/skills", json!(["item.write"]), "skills names an entry that is no skill of this manifest"),
        ("/capabilities/0/skills", json!(["nowhere"]), "skills names an entry that is no skill of this manifest"),
        ("/capabilities/0/limits/callMs", json!(0), "callMs or memoryMiB is 0"),
        ("/capabilities/0/limits/frameBytes", huge, "frameBytes is not 1 to 10 MiB"),
        ("/capabilities/0/limits/memoryMiB", json!(1), "unknown field `memoryMiB`"),
        ("/capabilities/0/constrainable/0/field", json!(""), "a constrainable without a name, or with a kind beyond 64 bytes"),
        ("/capabilities/0/constrainable/0/touched", json!(""), "a constrainable without a name, or with a kind beyond 64 bytes"),
        ("/capabilities/0/constrainable", json!([field, field]), "the same constrainable field twice"),
        ("/capabilities/1/sensitivity", json!("low"), "an effect is at least of elevated sensitivity"),
        ("/capabilities/2/markdown", Value::Null, "a skill needs markdown"),
        ("/capabilities/2/markdown", json!(" "), "a skill needs markdown"),
        ("/capabilities/2/markdown", json!("x".repeat(66_561)), "markdown beyond 65 KiB"),
        ("/capabilities/2/verbs", json!(["read"]), "a skill has markdown and nothing that belongs to calls"),
        ("/capabilities/2/input", json!({}), "a skill has markdown and nothing that belongs to calls"),
        ("/capabilities/2/longRunning", json!(true), "a skill has markdown and nothing that belongs to calls"),
    ];
    for (pointer, value, why) in rows {
        let refused = parse(&with(pointer, value.clone())).expect_err(pointer);
        let refused = refused.to_string();
        assert!(refused.contains(why), "{pointer} = {value}: {refused}");
    }
    // The same tool makes a change that is fine.
    assert!(parse(&with("/fields/0/writable", json!(true))).is_ok());
    assert!(parse(&with("/platforms", json!(["macos"]))).is_ok());
    assert!(parse(&with("/label", json!("Other"))).is_ok());
    assert!(parse(&with("/root", Value::Null)).is_ok());
}

#[test]
fn resident_worker_has_no_workflow() {
    let mut manifest = good();
    manifest["hostCalls"] = json!(true);
    manifest["capabilities"][0]["longRunning"] = json!(true);
    manifest["capabilities"][0]["members"] = json!([{"id": "other.read", "verbs": ["read"]}]);
    parse(&manifest).expect("a workflow");
    manifest["resident"] = json!(true);
    let refused = parse(&manifest).expect_err("resident").to_string();
    assert!(refused.contains("resident"), "{refused}");
}

/// The good manifest with further fields.
fn with_fields(more: &[Value]) -> Result<Manifest, plexus_ipc::manifest::ManifestError> {
    let mut manifest = good();
    let fields = manifest["fields"].as_array_mut().unwrap();
    fields.extend_from_slice(more);
    parse(&manifest)
}

fn path(name: &str, required: bool, writable: bool) -> Value {
    json!({"name": name, "label": "L", "type": "path", "target": "route", "required": required, "writable": writable})
}

#[test]
fn paths_are_parameters_of_their_names() {
    let manifest =
        with_fields(&[path("photoLibrary", false, false), path("out2", true, true)]).unwrap();
    let config = json!({"path": "/a", "out2": "/c", "photoLibrary": "", "key": "/never"});
    let places = manifest.places(&config).into_iter();
    let places = places.map(|place| (place.parameter, place.path, place.writable));
    let root = ("ROOT".to_owned(), "/a".into(), false);
    let out = ("OUT2".to_owned(), "/c".into(), true);
    assert_eq!(places.collect::<Vec<_>>(), [root, out]);
    let named = json!({"photoLibrary": "/b"});
    assert_eq!(manifest.places(&named)[0].parameter, "PHOTOLIBRARY");
}

#[test]
fn paths_and_secrets_that_cannot_be_are_refused() {
    for (why, fields) in [
        ("its parameter is one that every profile has, or is kept for one", vec![path("scratch", true, false)]),
        ("its parameter is one that every profile has, or is kept for one", vec![path("Port", true, false)]),
        ("its parameter is that of another path", vec![path("library", true, false), path("Library", true, false)]),
        ("a writable path is required", vec![path("library", false, true)]),
        ("more than 16 paths", (0..16).map(|n| path(&format!("p{n}"), false, false)).collect()),
        (
            "more than 16 secrets",
            (0..16)
                .map(|n| json!({"name": format!("s{n}"), "label": "L", "type": "password", "target": "secret", "required": false}))
                .collect(),
        ),
    ] {
        let refused = with_fields(&fields).expect_err(why).to_string();
        assert!(refused.contains(why), "{why}: {refused}");
        assert!(with_fields(&fields[1..]).is_ok(), "the control of {why}");
    }
}

const PROFILE: &str = "(version 1)(deny default)(allow file-read* (subpath (param \"ROOT\")))";

#[test]
fn profile_that_does_not_fit_is_no_offer() {
    let manifest = with_fields(&[path("library", false, false)]);
    let with = |name: &str, value: bool| {
        let mut text = serde_json::to_value(manifest.as_ref().unwrap()).unwrap();
        text["fields"][0][name] = json!(value);
        text.to_string()
    };
    let (read, written) = (with("writable", false), with("writable", true));
    let fits = |manifest: &str, rules: &str| {
        Offer::of_connector(manifest, &format!("{PROFILE}{rules}")).map_err(|e| e.to_string())
    };
    let write =
        r#"(if (string=? (param "ROLE") "writer") (allow file-write* (subpath (param "ROOT"))))"#;
    let library = r#"(if (param "LIBRARY") (allow file-read* (subpath (param "LIBRARY"))))"#;
    let to_library = &library.replace("read", "write");
    let below = r#"(allow file-write* (subpath (string-append (param "ROOT") "/a")))"#;
    let root = r#"(allow file-write* (subpath (param "ROOT")))"#;
    let bare = r#"(allow file-read* (subpath (param "LIBRARY")))"#;
    let other = &bare.replace("LIBRARY", "OTHER");
    for well in [library, ""] {
        assert!(fits(&read, well).is_ok());
    }
    assert!(fits(&written, write).is_ok());
    let offer = fits(&read, "").unwrap();
    assert_eq!(offer.program, std::path::Path::new("plexus-worker-shelf"));
    for (manifest, rules, why) in [
        (&read, write, "lets the writer write in path"),
        (&read, below, "write in path"),
        (&read, to_library, "write in library"),
        (&written, root, "lets the reader write in path"),
        (&read, bare, "LIBRARY was not given"),
        (&read, other, "OTHER was not given"),
    ] {
        let said = fits(manifest, rules).unwrap_err();
        assert!(said.contains(why), "{rules}: {said}");
    }
}

#[test]
fn a_key_twice_is_refused() {
    let text = good().to_string();
    let twice = text.replacen("\"kind\":", "\"kind\":\"other\",\"kind\":", 1);
    assert_ne!(twice, text);
    let refused = Manifest::parse(&twice).unwrap_err().to_string();
    assert!(refused.contains("the key \"kind\" twice"), "{refused}");
}

proptest! {
    #[test]
    fn any_text_is_refused_or_keeps_the_invariants(
        at in any::<prop::sample::Index>(),
        insert in "[ -~]{0,3}",
        remove in 0usize..4,
    ) {
        let mut text = good().to_string();
        let at = at.index(text.len());
        text.replace_range(at..(at + remove).min(text.len()), &insert);
        if let Ok(manifest) = Manifest::parse(&text) {
            prop_assert_eq!(manifest.digest(), Digest::of(text.as_bytes()));
            let mut names: Vec<_> = manifest.capabilities.iter().map(|c| &c.name).collect();
            names.sort();
            names.dedup();
            prop_assert_eq!(names.len(), manifest.capabilities.len());
            for entry in &manifest.capabilities {
                prop_assert_eq!(entry.callable(), !entry.verbs.is_empty());
                prop_assert!(manifest.limits_of(entry).call_ms > 0);
            }
        }
    }
}

/// [`good`], with hosts.
fn reaching() -> Value {
    let mut manifest = good();
    let fields = manifest["fields"].as_array_mut().unwrap();
    for (name, kind) in [("server", "url"), ("user", "text"), ("ca", "text")] {
        fields.push(json!({"name": name, "label": name, "type": kind, "required": false, "target": "route"}));
    }
    manifest["egress"] = json!([
        {"host": "api.example.com", "port": 443},
        {"host": {"field": "server"}, "port": 443, "secret": "key", "auth": {"basic": "user"},
         "paths": ["/dav"], "ca": "ca"},
    ]);
    manifest
}

#[test]
fn hosts_come_from_the_manifest_and_from_the_owners_fields() {
    let manifest = parse(&reaching()).unwrap();
    let hosts = |route: Value| -> Vec<(String, u16, bool)> {
        let all = manifest.admitted(&route).unwrap();
        let host =
            |(_, host): (_, plexus_ipc::manifest::Admitted)| (host.host, host.port, host.owners);
        all.into_iter().map(host).collect()
    };
    let fixed = ("api.example.com".to_owned(), 443, false);
    let alone = std::slice::from_ref(&fixed);
    assert_eq!(hosts(json!({})), alone);
    assert_eq!(hosts(json!({"server": " "})), alone);
    let both = hosts(json!({"server": "https://Cal.example:8443/dav"}));
    let owners = ("cal.example".to_owned(), 8443, true);
    assert_eq!(both, [fixed.clone(), owners]);
    let wrong = json!({"server": "http://cal.example"});
    assert_eq!(manifest.admitted(&wrong).unwrap_err().0, "server");
    // Of an entry that says so, the paths lie below the owner's own.
    let mut below = reaching();
    below["egress"][1]["below"] = json!(true);
    below["egress"][1]["reads"] = json!(["GET"]);
    let with_path = |mut manifest: Value| {
        manifest["egress"][1]["reads"] = json!(["GET", "POST /dav/find"]);
        parse(&manifest)
    };
    let refused = with_path(below.clone()).unwrap_err().to_string();
    assert_eq!(
        refused,
        "egress 1: with below, reads has methods alone, and no path"
    );
    with_path(reaching()).expect("the control");
    let below = parse(&below).unwrap();
    let paths = |manifest: &Manifest, url: &str| {
        let route = json!({"server": url});
        let all = manifest
            .admitted(&route)
            .map(|all| all[1].0.paths_of(&route));
        all.map_err(|(field, _)| field.to_owned())
            .map(Result::unwrap)
    };
    let url = "https://cal.example/me";
    assert_eq!(paths(&below, url).unwrap(), ["/me/dav"]);
    assert_eq!(paths(&manifest, url).unwrap(), ["/dav"]);
    for odd in ["https://cal.example/a/../b", "https://cal.example/a?b"] {
        assert_eq!(paths(&below, odd).unwrap_err(), "server", "{odd}");
    }
    // A worker that speaks for itself may do so in the clear, to this machine alone.
    let mut tunnel = reaching();
    tunnel["egress"][1] = json!({"host": {"field": "server"}, "port": 443});
    let tunnel = parse(&tunnel).unwrap();
    let here = json!({"server": "http://127.0.0.1:7090"});
    let (_, here) = &tunnel.admitted(&here).unwrap()[1];
    assert_eq!((here.plain, here.port), (true, 7090));
    assert_eq!(tunnel.admitted(&wrong).unwrap_err().0, "server");
    // What is written out again means the same.
    let again = again(&manifest);
    assert_eq!(again.egress, manifest.egress);
    let hosts = parse(&good()).unwrap().admitted(&json!({})).unwrap().len();
    assert_eq!(hosts, 0);
}

#[test]
fn a_host_that_is_not_well_formed_is_no_host() {
    parse(&reaching()).expect("the control");
    let frames = json!({"header": "transfer-encoding"});
    for (what, at, value) in [
        ("a pattern", "/0/host", json!("*.example.com")),
        ("capitals", "/0/host", json!("API.example.com")),
        ("a URL", "/0/host", json!("https://api.example.com")),
        ("a number that is an address", "/0/host", json!("127.1")),
        ("no port", "/0/port", json!(0)),
        ("no such field", "/1/host", json!({"field": "other"})),
        ("a path field", "/1/host", json!({"field": "path"})),
        ("a secret in a host", "/1/host", json!({"field": "key"})),
        ("a secret that is none", "/1/secret", json!("user")),
        ("a secret without paths", "/1/paths", json!([])),
        ("a path that climbs", "/1/paths", json!(["/dav/../x"])),
        ("a path from nowhere", "/1/paths", json!(["dav"])),
        ("a user that is no field", "/1/auth", json!({"basic": "me"})),
        ("no header", "/1/auth", json!({"header": "X Key"})),
        ("authorities in a folder", "/1/ca", json!("path")),
        ("paths without a secret", "/1/secret", Value::Null),
        ("a method without a path", "/1/paths", json!(["GET"])),
        ("a method in small letters", "/1/paths", json!(["get /dav"])),
        ("its path climbs", "/1/paths", json!(["GET /a/../b"])),
        ("a read without a method", "/1/reads", json!(["/dav"])),
        ("a read from nowhere", "/1/reads", json!(["GET dav"])),
        ("a header that frames", "/1/auth", frames),
        (
            "a header that says where",
            "/1/auth",
            json!({"header": "host"}),
        ),
        ("a pin in a folder", "/1/pin", json!("path")),
        ("a pin beside authorities", "/1/pin", json!("user")),
    ] {
        let mut manifest = reaching();
        let (entry, name) = at.rsplit_once('/').unwrap();
        manifest["egress"].pointer_mut(entry).unwrap()[name] = value;
        let error = parse(&manifest).expect_err(what).to_string();
        assert!(error.starts_with("egress"), "{what}: {error}");
    }
    for (entry, times, why) in [
        (0, MAX_EGRESS, "more than 8 hosts"),
        (1, 1, "forwarded to more than one host"),
    ] {
        let mut manifest = reaching();
        let egress = manifest["egress"].as_array_mut().unwrap();
        egress.extend(vec![egress[entry].clone(); times]);
        let refused = parse(&manifest).expect_err(why).to_string();
        assert!(refused.contains(why), "{refused}");
    }
}

#[test]
fn socket_is_one_path_with_what_is_asked_there() {
    let with = |entry: Value| {
        let mut manifest = reaching();
        manifest["egress"].as_array_mut().unwrap().push(entry);
        parse(&manifest)
    };
    let manifest = with(json!({"unix": {"field": "user"}})).unwrap();
    let admitted = |path: &str| {
        let route = json!({"user": path});
        let socket = manifest
            .admitted_socket(&route)
            .map_err(|(field, _)| field.to_owned());
        socket.map(|socket| socket.map(|socket| socket.path))
    };
    let there = Ok(Some("/run/app.sock".into()));
    assert_eq!(admitted(" /run/app.sock "), there);
    assert_eq!(admitted(""), Ok(None));
    let again = again(&manifest);
    assert_eq!(again.egress, manifest.egress);
    let long = format!("/{}", "a".repeat(103));
    let wrong = [
        "app.sock",
        "~/app.sock",
        "/",
        "/run//a",
        "/run/../a",
        "/a\nb",
    ];
    for path in wrong.into_iter().chain([long.as_str()]) {
        assert_eq!(admitted(path), Err("user".into()), "{path:?}");
        let error = with(json!({"unix": path})).expect_err(path).to_string();
        assert!(error.starts_with("egress 2"), "{path:?}: {error}");
    }
    let unasked = json!({"unix": "/run/a", "asks": ["b"], "reads": ["a"]});
    let host = json!({"unix": "/run/a", "host": "api.example.com", "port": 443});
    for (why, entry) in [
        (
            "names no field of type text",
            json!({"unix": {"field": "other"}}),
        ),
        (
            "names no field of type text",
            json!({"unix": {"field": "path"}}),
        ),
        ("reads names what is not in asks", unasked),
        ("unknown field `host`", host),
        ("got a list, expected an object", json!(["unix"])),
    ] {
        let refused = with(entry).expect_err(why).to_string();
        assert!(refused.contains(why), "{refused}");
    }
    let mut two = reaching();
    let egress = two["egress"].as_array_mut().unwrap();
    egress.extend([json!({"unix": "/run/a"}), json!({"unix": "/run/b"})]);
    let refused = parse(&two).unwrap_err().to_string();
    assert!(refused.contains("more than one Unix socket"), "{refused}");
}

#[test]
fn pin_is_a_fingerprint_over_tls_alone() {
    let mut manifest = reaching();
    let entry = manifest["egress"][1].as_object_mut().unwrap();
    entry.remove("ca");
    entry.insert("pin".into(), json!("ca"));
    entry.insert("reads".into(), json!(["GET", "POST /find"]));
    // A host of the manifest's has a name to prove.
    let mut fixed = manifest.clone();
    fixed["egress"][1]["host"] = json!("api.example.com");
    let refused = parse(&fixed).unwrap_err().to_string();
    assert!(
        refused.contains("a pin is for a host of the owner's"),
        "{refused}"
    );
    let manifest = parse(&manifest).unwrap();
    let again = again(&manifest);
    assert_eq!(again.egress, manifest.egress);
    let of = Digest::of(b"a certificate");
    let capitals = of.to_string().to_uppercase();
    let pairs = capitals.as_bytes().chunks(2);
    let pairs: Vec<_> = pairs.map(|pair| str::from_utf8(pair).unwrap()).collect();
    for (text, pinned) in [
        (String::new(), None),
        (format!(" {of}"), Some(of)),
        (pairs.join(":"), Some(of)),
    ] {
        let route = json!({"server": "https://127.0.0.1:27124", "ca": text});
        let found = manifest.hosts().nth(1).unwrap().pinned(&route);
        assert_eq!(found, Ok(pinned), "{text}");
        assert!(manifest.admitted(&route).is_ok(), "{text}");
    }
    for (server, pin, field) in [
        ("https://127.0.0.1:27124", &capitals[1..], "ca"),
        ("https://127.0.0.1:27124", "sha256", "ca"),
        ("http://127.0.0.1:27123", &*capitals, "server"),
    ] {
        let route = json!({"server": server, "ca": pin});
        let wrong = manifest.admitted(&route).unwrap_err().0;
        assert_eq!(wrong, field, "{server} {pin}");
    }
}

fn with_child(change: impl FnOnce(&mut Value)) -> Value {
    let mut manifest = good();
    let mut child = json!({
        "name": "shell", "program": {"path": "/usr/bin/bash"}, "tools": true,
        "arguments": ["-c", {"name": "line"}], "environment": {"PATH": "/usr/bin", "KEY": null},
        "limits": {"openFiles": 64, "fileBytes": 0, "memoryMiB": 512, "processes": 32},
    });
    change(&mut child);
    manifest["children"] = json!([child]);
    manifest
}

#[test]
fn children_are_read_as_written() {
    let manifest = parse(&with_child(|_| ())).unwrap();
    let [child] = manifest.children.as_slice() else {
        panic!("{:?}", manifest.children)
    };
    assert_eq!(child.program, Program::Path("/usr/bin/bash".into()));
    let name = "line".into();
    let named = ChildArgument::Named(NamedArgument { name });
    assert_eq!(child.arguments, [ChildArgument::Fixed("-c".into()), named]);
    assert_eq!(child.environment["KEY"], None);
    let limits = child.limits.of_process();
    assert_eq!((limits.files, limits.addresses), (Some(64), None));
    // What is written is read again.
    let again: Value = serde_json::to_value(&manifest).unwrap();
    assert_eq!(again["children"], with_child(|_| ())["children"]);
    // A field of the owner's.
    let mut by_field = with_child(|child| child["program"] = json!({"field": "binary"}));
    let field = json!({"name": "binary", "label": "Binary", "type": "text", "required": true, "target": "route"});
    by_field["fields"].as_array_mut().unwrap().push(field);
    let manifest = parse(&by_field).unwrap();
    let program = &manifest.children[0].program;
    assert_eq!(*program, Program::Field("binary".into()));
}

#[test]
fn child_with_pipes_needs_host_calls_and_words_a_field() {
    let with_pipes = |allowed: bool| {
        let mut manifest = with_child(|child| child["host"] = true.into());
        manifest["hostCalls"] = allowed.into();
        parse(&manifest)
    };
    assert!(with_pipes(true).unwrap().children[0].host);
    let refused = with_pipes(false).unwrap_err().to_string();
    assert!(refused.contains("hostCalls"), "{refused}");
    let with_words = |field: &str| {
        let mut manifest = with_child(|child| child["arguments"] = json!(["-c", {"words": field}]));
        let more = json!({"name": "more", "label": "More", "type": "text", "required": false, "target": "route"});
        manifest["fields"].as_array_mut().unwrap().push(more);
        parse(&manifest)
    };
    let words = "more".into();
    let words = ChildArgument::Words(Words { words });
    assert_eq!(with_words("more").unwrap().children[0].arguments[1], words);
    for other in ["path", "key", "nobody"] {
        let refused = with_words(other).unwrap_err().to_string();
        assert!(refused.contains("words of no field"), "{other}: {refused}");
    }
}

#[test]
fn child_that_breaks_a_rule_is_refused() {
    let refused = |at: &str, value: Value, words: &str| {
        let manifest = with_child(|child| *child.pointer_mut(at).unwrap() = value.clone());
        let error = parse(&manifest).expect_err(at).to_string();
        assert!(error.contains(words), "{at} {value}: {error}");
    };
    refused("/name", json!("Shell"), "a-z");
    for path in ["bash", "/usr/../bin/bash", "/usr//bin/bash", "/usr/bin/"] {
        refused("/program", json!({"path": path}), "one spelling");
    }
    for field in ["key", "path", "other"] {
        refused("/program", json!({"field": field}), "no required field");
    }
    let both = json!({"path": "/a", "field": "path"});
    refused("/program", both, "manifest");
    refused("/arguments/1", json!({"name": "LINE"}), "is no name");
    refused("/arguments/0", json!({"name": "line"}), "there twice");
    refused("/arguments/0", json!("x".repeat(1025)), "1024 bytes");
    for name in
        "LD_PRELOAD DYLD_INSERT_LIBRARIES NODE_OPTIONS GIT_DIR PYTHONPATH BASH_ENV".split(' ')
    {
        refused("/environment", json!({name: null}), "other code");
    }
    for name in ["HOME", "TMPDIR", "PWD"] {
        refused("/environment", json!({name: "/"}), "own folders");
    }
    refused("/environment", json!({"lower": "x"}), "A-Z");
    refused("/limits/processes", json!(0), "its limits");
    refused("/limits/memoryMiB", json!(0), "its limits");
    refused("/limits/openFiles", json!(4), "its limits");
    let twice = with_child(|_| ());
    let mut manifest = twice.clone();
    manifest["children"] = json!([twice["children"][0], twice["children"][0]]);
    assert!(parse(&manifest).unwrap_err().to_string().contains("twice"));
}
