//! The worst that an agent without a grant can propose: programs that never end, a disk that hangs, expensive patterns.
//! The owner's list answers, and shows an honest proposal beside them.

use plexus_tests::texts::assert_contains;
use plexus_tests::{Agent, Fault, Folder, Gateway, processes::peak_memory};
use serde_json::{Value, json};
use std::{
    fs::File,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, Instant},
};

/// A list answers within this.
const AT_ONCE: Duration = Duration::from_secs(1);

fn manifest(source: &str, capabilities: &[Value]) -> Value {
    json!({
        "manifest": "plexus-extension/0.1", "source": source, "label": source, "transport": "cli",
        "capabilities": capabilities,
    })
}

fn capability(name: &str, bin: &Path, input: &Value) -> Value {
    let fields = input["properties"].as_object().into_iter().flatten();
    let arguments = fields.map(|(name, _)| format!("--regexp={{{name}}}"));
    let arguments: Vec<_> = std::iter::once("--help".to_owned())
        .chain(arguments)
        .collect();
    json!({
        "name": name, "kind": "capability", "label": name, "describe": "Works.", "grants": ["read"],
        "transport": "cli", "io": {"input": input}, "route": {"bin": bin, "args": arguments},
    })
}

fn no_input() -> Value {
    json!({"type": "object"})
}

/// A capability whose patterns are `patterns`, each for a field of its own.
fn with_patterns(name: &str, patterns: &[String]) -> Value {
    let fields = patterns.iter().enumerate();
    let fields = fields.map(|(at, pattern)| {
        (
            format!("f{at}"),
            json!({"type": "string", "pattern": pattern}),
        )
    });
    let fields: serde_json::Map<_, _> = fields.collect();
    capability(
        name,
        Path::new("/usr/bin/grep"),
        &json!({"type": "object", "properties": fields}),
    )
}

fn propose(agent: &Agent, manifest: &Value) -> Value {
    let reply = agent
        .client()
        .post("/extensions", json!({ "manifest": manifest }));
    assert_eq!(reply.status, 200, "{reply}");
    reply.json()
}

fn item(agent: &Agent, manifest: &Value) -> String {
    let reply = propose(agent, manifest);
    let item = reply["pendingId"].as_str();
    item.unwrap_or_else(|| panic!("{reply}")).to_owned()
}

/// The owner's list, by id, and how long it took.
fn list(gateway: &Gateway) -> (Vec<Value>, Duration) {
    let begun = Instant::now();
    let pending = gateway.owner().pending();
    (pending, begun.elapsed())
}

fn find<'v>(cards: &'v [Value], item: &str) -> &'v Value {
    let mut cards = cards.iter();
    cards
        .find(|card| card["pendingId"] == *item)
        .unwrap_or_else(|| panic!("{item} is not in the list"))
}

#[test]
fn list_answers_at_once_beside_the_worst_proposals() {
    let share = Fault::dead_share();
    let gateway = Gateway::builder().fault(&share).start();
    let (bad, good) = (
        gateway.agent_with("bad", &[]),
        gateway.agent_with("good", &[]),
    );
    let folder = Folder::empty();
    let mut worst = Vec::new();
    // A terabyte of nothing, which no one may run, and which the gateway would read.
    for at in 0..3 {
        let path = folder.path().join(format!("huge-{at}"));
        let file = File::create(&path).expect("a file");
        file.set_len(1 << 40).expect("a sparse file");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, mode).expect("a program");
        let huge = manifest(
            &format!("huge-{at}"),
            &[capability("run", &path, &no_input())],
        );
        worst.push((item(&bad, &huge), "GiB"));
    }
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo")
        .arg("-m700")
        .arg(&pipe)
        .status();
    assert!(made.expect("mkfifo").success());
    let piped = manifest("piped", &[capability("run", &pipe, &no_input())]);
    worst.push((item(&bad, &piped), "is no program"));
    share.begin();
    for at in 0..3 {
        let lost = share.folder().join(format!("lost-{at}"));
        let lost = manifest(
            &format!("lost-{at}"),
            &[capability("run", &lost, &no_input())],
        );
        worst.push((item(&bad, &lost), "did not answer"));
    }
    let honest = manifest(
        "honest",
        &[capability("run", Path::new("/usr/bin/grep"), &no_input())],
    );
    let honest = item(&good, &honest);
    // The first list finds nothing that was looked at, and answers all the same; the next ones know more.
    for _ in 0..3 {
        let (cards, took) = list(&gateway);
        assert!(took < AT_ONCE, "{took:?}");
        for (item, _) in &worst {
            assert!(find(&cards, item)["cardDigest"].is_null());
        }
        let card = find(&cards, &honest);
        assert!(card["cardDigest"].is_string(), "{card}");
        let shown = card["register"].to_string();
        assert_contains(&shown, "/usr/bin/grep");
        assert_contains(&shown, "sha256");
    }
    // One by one, each says what could not be looked at.
    for (item, says) in &worst {
        let path = format!("/admin/api/pending/{item}");
        let begun = Instant::now();
        let card = gateway.owner().get(&path).expect_ok();
        assert!(begun.elapsed() < Duration::from_secs(6), "{card}");
        assert!(card["problems"].to_string().contains(says), "{card}");
    }
    // An agent's share that hangs is its own: another one's next proposal is looked at.
    let next = manifest(
        "next",
        &[capability("run", Path::new("/usr/bin/grep"), &no_input())],
    );
    let next = item(&good, &next);
    let (cards, took) = list(&gateway);
    assert!(took < AT_ONCE, "{took:?}");
    let card = find(&cards, &next);
    assert!(card["cardDigest"].is_string(), "{card}");
}

#[test]
fn manifest_over_its_budget_of_patterns_is_refused_in_words() {
    let gateway = Gateway::start();
    let agent = gateway.agent_with("bad", &[]);
    let before = peak_memory(gateway.pid());
    // 24 KB, each pattern within what one of them may have.
    let bomb: Vec<Value> = (0..64)
        .map(|at| {
            let patterns = (0..32).map(|n| format!("\\p{{L}}{{{}}}", 20 + n));
            with_patterns(&format!("c{at}"), &patterns.collect::<Vec<_>>())
        })
        .collect();
    let begun = Instant::now();
    let refused = propose(&agent, &manifest("many", &bomb));
    assert_eq!(refused["ok"], false, "{refused}");
    let why = refused["reason"].as_str().expect("words");
    assert!(why.contains("2048 patterns"), "{why}");
    // Few patterns that are large.
    let large: Vec<Value> = (0..16)
        .map(|at| {
            let patterns = (0..2).map(|n| format!("[^a]{{{}}}", 1_900 + at * 2 + n));
            with_patterns(&format!("c{at}"), &patterns.collect::<Vec<_>>())
        })
        .collect();
    let refused = propose(&agent, &manifest("large", &large));
    assert_eq!(refused["ok"], false, "{refused}");
    let why = refused["reason"].as_str().expect("words");
    assert!(why.contains("MiB compiled"), "{why}");
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    let (cards, took) = list(&gateway);
    assert!(cards.is_empty() && took < AT_ONCE, "{took:?} {cards:?}");
    let grown = peak_memory(gateway.pid()) - before;
    assert!(grown < 128 << 20, "{grown} bytes");

    // The control: patterns that a person writes are proposed and shown.
    let honest = ["^[a-z0-9_-]{1,64}$", "^\\d{4}-\\d{2}-\\d{2}$", "^\\p{L}+$"];
    let honest = honest.map(str::to_owned);
    let honest: Vec<Value> = (0..40)
        .map(|at| with_patterns(&format!("c{at}"), &honest))
        .collect();
    let honest = item(&agent, &manifest("honest", &honest));
    let (cards, took) = list(&gateway);
    assert!(took < AT_ONCE, "{took:?}");
    let card = find(&cards, &honest);
    assert!(card["cardDigest"].is_string(), "{card}");
    // What was judged once is not judged for each list.
    let begun = Instant::now();
    for _ in 0..10 {
        list(&gateway);
    }
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}
