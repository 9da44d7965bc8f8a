//! The obsidian-rest worker behind the harness: what this connector promises beyond every connector.

use crate::plugin::{KEY, Plugin, answer, error};
use plexus_conformance::served::{Setting, Worker, output, refusal};
use plexus_ipc::{
    message::{Health, Role, Verdict},
    worker::Content,
};
use plexus_protocol::{AuditId, Digest, Effect, Verb};
use plexus_worker_obsidian_rest::{MANIFEST, ObsidianRestSource};
use serde_json::{Value, json};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tempfile::TempDir;

fn setting(port: u16, scratch: Option<&Path>) -> Setting {
    Setting {
        config: json!({}),
        scratch: scratch.map(Path::to_owned),
        egress: Some((port, KEY.to_owned())),
        ..Setting::default()
    }
}

async fn reader(server: &Plugin) -> Worker {
    let setting = setting(server.port, None);
    Worker::set_up::<ObsidianRestSource>(MANIFEST, &setting, Role::Reader).await
}

async fn read(server: &Plugin, capability: &str, input: Value) -> Result<Value, Value> {
    let mut worker = reader(server).await;
    let outcome = worker.read(capability, input).await;
    worker.stop().await;
    match &outcome.0 {
        Ok(_) => Ok(output(&outcome)),
        Err(_) => Err(refusal(&outcome.0)),
    }
}

fn intent(number: u32) -> AuditId {
    format!("evt_00000000-00{number:02}-8000-8000-00000000000a")
        .parse()
        .unwrap()
}

/// A server, and a folder for what its changes replace.
struct Desk {
    server: Plugin,
    scratch: TempDir,
}

impl Desk {
    fn new(notes: &[(&str, &str)]) -> Self {
        let server = Plugin::start();
        server.fill(notes);
        Self {
            server,
            scratch: tempfile::tempdir().unwrap(),
        }
    }

    async fn worker(&self, role: Role) -> Worker {
        let setting = setting(self.server.port, Some(self.scratch.path()));
        Worker::set_up::<ObsidianRestSource>(MANIFEST, &setting, role).await
    }

    /// Plans a change, calls `meanwhile`, and commits what was planned.
    async fn done_after(
        &self,
        number: u32,
        capability: &str,
        input: Value,
        meanwhile: impl FnOnce(&Plugin),
    ) -> Result<Value, (Value, Effect)> {
        let mut worker = self.worker(Role::Reader).await;
        let plan = worker.plan(capability, input.clone()).await;
        worker.stop().await;
        let plan = plan.map_err(|why| (serde_json::to_value(&why.code).unwrap(), why.effect))?;
        meanwhile(&self.server);
        let mut worker = self.worker(Role::Writer).await.intending(intent(number));
        let token = Some(plan.state_token);
        let outcome = worker.commit_of(capability, &input, token, None, Verb::Write);
        let outcome = outcome.await;
        worker.stop().await;
        match &outcome.0 {
            Ok(_) => Ok(output(&outcome)),
            Err(why) => Err((serde_json::to_value(&why.code).unwrap(), why.effect)),
        }
    }

    async fn done(&self, number: u32, capability: &str, input: Value) -> Value {
        let done = self.done_after(number, capability, input, |_| {}).await;
        done.unwrap_or_else(|why| panic!("{capability}: {why:?}"))
    }
}

fn changed(reason: &str) -> Value {
    json!({"precondition_changed": {"reason": reason}})
}

fn transport(reason: &str) -> Value {
    json!({"transport_error": {"reason": reason}})
}

#[tokio::test]
async fn odd_names_come_through_every_request() {
    let desk = Desk::new(&[]);
    for (number, name) in [
        "a & b + 100% # why?.md",
        "\u{1f4c5} \u{202e}dm.txe.md",
        "semi;colon,comma=equals.md",
        "%2e%2e%2fescaped.md",
        "\u{fc}ber \"quoted\" 'x' [y] {z} |.md",
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("deep/{name}");
        let input = json!({"path": path, "content": name});
        desk.done(u32::try_from(number).unwrap(), "vault.write", input)
            .await;
        assert_eq!(desk.server.text(&path).as_deref(), Some(name));
        let there = read(&desk.server, "vault.read", json!({"path": path}))
            .await
            .unwrap();
        assert_eq!(
            (&there["content"], &there["relativePath"]),
            (&json!(name), &json!(path))
        );
        let listed = read(&desk.server, "vault.list", json!({"path": "deep"}))
            .await
            .unwrap();
        let names = listed["entries"].as_array().unwrap().iter();
        assert!(names.clone().any(|entry| entry["name"] == name), "{listed}");
        let found = read(&desk.server, "vault.search", json!({"query": name}))
            .await
            .unwrap();
        assert_eq!(found["hits"][0]["relativePath"], path, "{found}");
    }
    let asked = desk.server.asked().len();
    for path in [
        "../x.md",
        "a/../../x.md",
        "a\nb.md",
        "/x.md",
        ".obsidian/app.json",
        "a\\b.md",
    ] {
        let refused = read(&desk.server, "vault.read", json!({"path": path})).await;
        assert!(refused.is_err(), "{path}");
    }
    // Each worker asks once how the plugin is, and nothing was asked about a path.
    let last = desk.server.asked().split_off(asked);
    assert!(
        last.iter().all(|request| request == "GET /vault/"),
        "{last:?}"
    );
}

#[tokio::test]
async fn long_note_comes_in_parts_that_join() {
    let desk = Desk::new(&[]);
    let line = "- a line of a long note, with \u{fc}mlauts\n";
    let whole = line.repeat(5 * 1024 * 1024 / line.len());
    desk.server.put("long.md", &whole);
    let mut worker = reader(&desk.server).await;
    let (mut joined, mut offset, mut parts) = (String::new(), Some(0), 0);
    while let Some(at) = offset {
        let outcome = worker
            .read("vault.read", json!({"path": "long.md", "offset": at}))
            .await;
        let part = output(&outcome);
        joined.push_str(part["content"].as_str().unwrap());
        assert_eq!(part["digest"], Digest::of(whole.as_bytes()).to_string());
        offset = part["next"]["offset"].as_u64();
        parts += 1;
    }
    assert!(joined == whole && parts > 4, "{parts} parts");
    let beyond = worker.read(
        "vault.read",
        json!({"path": "long.md", "offset": 99_999_999}),
    );
    assert_eq!(refusal(&beyond.await.0), json!("invalid_input"));
    desk.server.put("picture.png", b"\x89PNG\0\xff");
    let picture = worker
        .read("vault.read", json!({"path": "picture.png"}))
        .await;
    assert_eq!(refusal(&picture.0), transport("not_text"));
    worker.stop().await;
    // It is not changed: what it was could not be kept.
    let large = desk.done_after(
        1,
        "vault.append",
        json!({"path": "long.md", "content": "x"}),
        |_| {},
    );
    assert_eq!(large.await.unwrap_err().0, transport("too_large"));
    let picture = json!({"path": "picture.png", "content": "x"});
    let picture = desk.done_after(2, "vault.write", picture, |_| {}).await;
    assert_eq!(picture.unwrap_err().0, transport("not_text"));
}

#[tokio::test]
async fn folder_and_note_are_told_apart() {
    let desk = Desk::new(&[("Projects/a.md", "a"), ("b.md", "b")]);
    let of = async |capability, path: &str| {
        read(&desk.server, capability, json!({ "path": path })).await
    };
    assert_eq!(
        of("vault.read", "Projects").await,
        Err(transport("not_a_file"))
    );
    assert_eq!(of("vault.list", "b.md").await, Err(transport("not_found")));
    assert_eq!(
        of("vault.read", "Projects/a.md/heading/A").await,
        Err(transport("not_a_file"))
    );
    assert_eq!(
        of("vault.read", "Projects/none.md").await,
        Err(transport("not_found"))
    );
    assert_eq!(of("vault.list", "none").await, Err(transport("not_found")));
    let top = of("vault.list", "").await.unwrap();
    let names: Vec<_> = top["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| (&e["name"], &e["kind"]))
        .collect();
    assert_eq!(json!(names), json!([["Projects", "dir"], ["b.md", "file"]]));
}

#[tokio::test]
async fn hidden_notes_exist_for_no_capability() {
    let server = Plugin::start();
    server.fill(&[
        ("Open.md", "word"),
        ("Private/diary.md", "word"),
        ("Deep/secret.key", "word"),
        (".trash/old.md", "word"),
    ]);
    let mut setting = setting(server.port, None);
    setting.config["hide"] = json!({"folders": ["Private"], "globs": ["*.key"]});
    let mut worker = Worker::set_up::<ObsidianRestSource>(MANIFEST, &setting, Role::Reader).await;
    for path in [
        "Private/diary.md",
        "PRIVATE/diary.md",
        "Deep/secret.key",
        ".trash/old.md",
    ] {
        let read = worker.read("vault.read", json!({ "path": path })).await;
        assert_eq!(refusal(&read.0), transport("not_found"), "{path}");
        let write = json!({"path": path, "content": "x"});
        let write = worker.plan("vault.write", write).await;
        assert_eq!(refusal(&write), transport("not_found"), "{path}");
    }
    let listed = output(&worker.read("vault.list", json!({})).await);
    let names: Vec<_> = listed["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| &e["name"])
        .collect();
    assert_eq!(json!(names), json!(["Deep", "Open.md"]));
    let found = output(&worker.read("vault.search", json!({"query": "word"})).await);
    assert_eq!(found["hits"].as_array().unwrap().len(), 1, "{found}");
    server.open(Some("Private/diary.md"), Some(".trash/old.md"));
    for (capability, input) in [
        ("active.read", json!({})),
        ("periodic.read", json!({"period": "daily"})),
    ] {
        let read = worker.read(capability, input).await;
        assert_eq!(refusal(&read.0), transport("not_found"), "{capability}");
    }
    server.open(Some("Open.md"), None);
    let open = output(&worker.read("active.read", json!({})).await);
    assert_eq!(
        (&open["content"], &open["modifiedAt"]),
        (&json!("word"), &json!("2025-11-22T08:26:40.123Z"))
    );
    worker.stop().await;
}

#[tokio::test]
async fn a_search_goes_on_to_its_end_and_tells_what_it_leaves_out() {
    let desk = Desk::new(&[]);
    for number in 0..250 {
        desk.server.put(&format!("n{number:03}.md"), "word");
    }
    let mut worker = desk.worker(Role::Reader).await;
    for limit in [1, 60, 100] {
        let (mut found, mut after) = (Vec::new(), json!(null));
        loop {
            let mut input = json!({"query": "word", "limit": limit});
            if !after.is_null() {
                input["after"] = after;
            }
            let page = output(&worker.read("vault.search", input).await);
            let hits = page["hits"].as_array().unwrap();
            found.extend(hits.iter().map(|hit| hit["relativePath"].to_string()));
            assert_eq!(page["truncated"] == true, page["next"].is_object());
            assert_eq!(page["warnings"], Value::Null);
            after = page["next"]["after"].clone();
            if after.is_null() {
                break;
            }
        }
        assert_eq!(found.len(), 250, "by {limit}");
        found.dedup();
        assert_eq!(found.len(), 250, "each once");
    }
    desk.server.put("odd\u{7}name.md", "word");
    let page = output(&worker.read("vault.search", json!({"query": "word"})).await);
    assert_eq!(page["warnings"], json!(["names_skipped"]));
    worker.stop().await;
}

#[tokio::test]
async fn each_change_is_taken_back_unless_somebody_changed_the_note() {
    let notes = [("a.md", "one"), ("log.md", "- one"), ("dos.md", "one\r\n")];
    let desk = Desk::new(&notes);
    let text = |path| desk.server.text(path);
    for (number, capability, input, path, after) in [
        (
            1,
            "vault.write",
            json!({"path": "a.md", "content": "two"}),
            "a.md",
            "two",
        ),
        (
            2,
            "vault.write",
            json!({"path": "new.md", "content": "new"}),
            "new.md",
            "new",
        ),
        (
            3,
            "vault.append",
            json!({"path": "log.md", "content": "- two"}),
            "log.md",
            "- one\n- two",
        ),
        (
            4,
            "vault.append",
            json!({"path": "fresh.md", "content": "- one"}),
            "fresh.md",
            "- one",
        ),
        (
            6,
            "vault.append",
            json!({"path": "dos.md", "content": "two\nthree\n"}),
            "dos.md",
            "one\r\ntwo\r\nthree\r\n",
        ),
        (
            5,
            "vault.write",
            json!({"path": "empty.md", "content": ""}),
            "empty.md",
            "",
        ),
    ] {
        let before = text(path);
        let done = desk.done(number, capability, input).await;
        assert_eq!(text(path).as_deref(), Some(after), "{path}");
        assert_eq!(done["digest"], Digest::of(after.as_bytes()).to_string());
        let undo = json!({"id": intent(number).as_str()});
        let (kept, wrong) = (
            before.clone(),
            json!({"id": undo["id"], "path": "other.md"}),
        );
        let wrong = desk.done_after(50 + number, "undo", wrong, |_| {}).await;
        assert_eq!(wrong.unwrap_err().0, json!("invalid_input"));
        let changed_since = |server: &Plugin| server.put(path, "somebody else's");
        changed_since(&desk.server);
        let refused = desk
            .done_after(60 + number, "undo", undo.clone(), |_| {})
            .await;
        assert_eq!(
            refused.unwrap_err(),
            (changed("changed"), Effect::None),
            "{path}"
        );
        desk.server.put(path, after);
        let undone = desk.done(10 + number, "undo", undo.clone()).await;
        assert_eq!(undone["removed"], kept.is_none(), "{path}");
        assert_eq!(text(path), before, "{path}");
        // An undo is a change like others: it is taken back too.
        let again = json!({"id": intent(10 + number).as_str(), "path": path});
        desk.done(20 + number, "undo", again).await;
        assert_eq!(text(path).as_deref(), Some(after), "{path}");
        desk.server.remove(path);
        if let Some(before) = before {
            desk.server.put(path, before);
        }
    }
    let none = desk
        .done_after(40, "undo", json!({"id": intent(39).as_str()}), |_| {})
        .await;
    assert_eq!(none.unwrap_err().0, transport("not_undoable"));
}

#[tokio::test]
async fn note_changed_after_the_plan_is_left_alone() {
    let desk = Desk::new(&[("a.md", "one")]);
    let write = json!({"path": "a.md", "content": "two"});
    let moved = |server: &Plugin| server.put("a.md", "somebody else's");
    let refused = desk
        .done_after(1, "vault.write", write.clone(), moved)
        .await;
    assert_eq!(refused.unwrap_err().1, Effect::None);
    assert_eq!(desk.server.text("a.md").as_deref(), Some("somebody else's"));
    // Between the plan in the writer and the request: the third read of the note.
    let reads = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&reads);
    let server = desk.server.clone();
    desk.server.set_script(move |method, path| {
        if method == "GET" && path == "/vault/a.md" && counted.fetch_add(1, Ordering::Relaxed) == 2
        {
            server.put("a.md", "in the last moment");
        }
        None
    });
    let refused = desk
        .done_after(2, "vault.write", write.clone(), |_| {})
        .await;
    assert_eq!(refused.unwrap_err(), (changed("changed"), Effect::None));
    assert_eq!(reads.load(Ordering::Relaxed), 3);
    let asked = desk.server.asked();
    assert!(
        asked.iter().all(|request| !request.starts_with("PUT")),
        "{asked:?}"
    );
    // The control, and a digest that the caller names.
    desk.done(3, "vault.write", write).await;
    let named = |digest: String| json!({"path": "a.md", "content": "three", "ifDigest": digest});
    for wrong in ["absent".to_owned(), Digest::of(b"one").to_string()] {
        let refused = desk
            .done_after(4, "vault.write", named(wrong), |_| {})
            .await;
        assert_eq!(refused.unwrap_err(), (changed("changed"), Effect::None));
    }
    desk.done(5, "vault.write", named(Digest::of(b"two").to_string()))
        .await;
}

#[tokio::test]
async fn card_shows_the_difference_and_what_runs() {
    let desk = Desk::new(&[("a.md", "one\nsame\n")]);
    let mut worker = desk.worker(Role::Reader).await;
    let write = json!({"path": "a.md", "content": "two\u{202e}\nsame\n"});
    let plan = worker.plan("vault.write", write).await.unwrap();
    assert_eq!(
        plan.preview.headline.as_str(),
        "replaces a.md, +1 \u{2212}1"
    );
    let diff = plan.preview.diff.as_ref().unwrap();
    assert!(diff.contains("-one\n+two\\u{202e}\n same\n"), "{diff}");
    assert_eq!(plan.rating, Verb::Write);
    let append = json!({"path": "a.md", "content": "three"});
    let plan = worker.plan("vault.append", append).await.unwrap();
    assert!(
        plan.preview
            .diff
            .as_ref()
            .unwrap()
            .contains(" same\n+three\n")
    );
    for (path, runs) in [
        ("CLAUDE.md", true),
        ("notes/Agents.md", true),
        ("a.md", false),
    ] {
        let plan = worker
            .plan("vault.write", json!({"path": path, "content": "x"}))
            .await
            .unwrap();
        assert_eq!(plan.rating == Verb::Execute, runs, "{path}");
    }
    let odd = json!({"path": "bill\u{202e}dm.exe.md", "content": "x"});
    let plan = worker.plan("vault.write", odd).await.unwrap();
    assert!(
        plan.preview.headline.as_str().contains("\\u{202e}"),
        "{:?}",
        plan.preview
    );
    worker.stop().await;
}

/// A standing grant is held against what the agent last read or wrote there.
#[tokio::test]
async fn standing_write_covers_the_note_as_it_is_known() {
    let desk = Desk::new(&[("a.md", "one")]);
    let knows = |text: &str| Some(Content::Is(Digest::of(text.as_bytes())));
    for (capability, expect, passes) in [
        ("vault.write", knows("another"), false),
        ("vault.write", Some(Content::Absent), false),
        ("vault.write", knows("one"), true),
        ("vault.append", knows("one"), false),
        ("vault.append", knows("two"), true),
    ] {
        let mut worker = desk.worker(Role::Writer).await;
        let input = json!({"path": "a.md", "content": "two"});
        let outcome = worker
            .commit_of(capability, &input, None, expect, Verb::Write)
            .await;
        worker.stop().await;
        assert_eq!(outcome.0.is_ok(), passes, "{capability}: {:?}", outcome.0);
    }
    assert_eq!(desk.server.text("a.md").as_deref(), Some("two\ntwo"));
}

/// What the plugin answers to a change, whether it has made it, and what is told of it.
#[tokio::test]
async fn failed_change_says_what_was_done() {
    let half = b"HTTP/1.1 204 No Con".to_vec();
    for (what, stores, reply, expected) in [
        ("made and failed", true, error(50020, "x"), Ok(())),
        ("made and half an answer", true, half.clone(), Ok(())),
        (
            "failed",
            false,
            error(50020, "x"),
            Err((transport("server_error"), Effect::None)),
        ),
        (
            "half an answer",
            false,
            half,
            Err((transport("bad_answer"), Effect::Unknown)),
        ),
        (
            "no method",
            false,
            error(40510, "x"),
            Err((transport("not_offered"), Effect::None)),
        ),
        (
            "bad request",
            false,
            error(40011, "x"),
            Err((transport("refused"), Effect::None)),
        ),
        (
            "another key",
            false,
            error(40101, "x"),
            Err((json!("source_unavailable"), Effect::None)),
        ),
    ] {
        let desk = Desk::new(&[("a.md", "one")]);
        let server = desk.server.clone();
        desk.server.set_script(move |method, _| {
            (method == "PUT").then(|| {
                if stores {
                    server.put("a.md", "two");
                }
                reply.clone()
            })
        });
        let write = json!({"path": "a.md", "content": "two"});
        let done = desk.done_after(1, "vault.write", write, |_| {}).await;
        assert_eq!(done.map(drop), expected, "{what}");
    }
}

#[tokio::test]
async fn change_without_an_answer_is_settled_by_the_note() {
    for (now, verdict) in [
        (Some("two"), Verdict::Happened),
        (Some("one"), Verdict::DidNot),
        (Some("somebody else's"), Verdict::CannotTell),
        (None, Verdict::CannotTell),
    ] {
        let desk = Desk::new(&[("a.md", "one")]);
        let server = desk.server.clone();
        // Once the change has arrived, nothing is answered any more.
        desk.server.set_script(move |method, _| {
            let asked = server.asked();
            let arrived = asked.iter().any(|request| request.starts_with("PUT"));
            (method == "PUT" || arrived).then(Vec::new)
        });
        let write = json!({"path": "a.md", "content": "two"});
        let done = desk.done_after(1, "vault.write", write, |_| {}).await;
        assert_eq!(done.unwrap_err().1, Effect::Unknown);
        desk.server.set_script(|_, _| None);
        match now {
            Some(now) => desk.server.put("a.md", now),
            None => desk.server.remove("a.md"),
        }
        let mut worker = desk.worker(Role::Writer).await;
        assert_eq!(worker.settle(intent(1)).await, verdict, "{now:?}");
        assert_eq!(
            worker.settle(intent(2)).await,
            Verdict::DidNot,
            "it never began"
        );
        worker.stop().await;
    }
}

#[tokio::test]
async fn failure_is_a_code_with_words() {
    let met = Digest::of(b"met");
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let ours = |kind: &str, words: String| {
        let header = format!("x-plexus-egress: {kind}\r\n");
        Some(answer("502 Bad Gateway", &header, words.as_bytes()))
    };
    let pinned = format!("{met} {}", Digest::of(b"pinned"));
    let sets = format!("plexusctl sources set source certificate={met}");
    for (what, reply, code, told, health) in [
        (
            "off",
            ours("refused", "the host does not answer".into()),
            json!("source_unavailable"),
            "start it",
            "start it with this vault",
        ),
        (
            "unpinned",
            ours("certificate", met.to_string()),
            json!("source_unavailable"),
            "not the one",
            &*sets,
        ),
        (
            "repinned",
            ours("certificate", pinned.clone()),
            json!("source_unavailable"),
            "not the one",
            &*sets,
        ),
        (
            "both",
            ours("certificate", pinned.clone()),
            json!("source_unavailable"),
            "tell the owner",
            &pinned[65..],
        ),
        (
            "key",
            Some(error(40101, "x")),
            json!("source_unavailable"),
            "API key",
            "plexusctl sources secret source apiKey",
        ),
        (
            "fails",
            Some(error(50010, "x")),
            transport("server_error"),
            "500",
            "look at Obsidian",
        ),
        (
            "forbidden",
            Some(answer("403 Forbidden", "", b"")),
            transport("refused"),
            "403",
            "",
        ),
        (
            "conflict",
            Some(answer("409 Conflict", "", b"")),
            transport("refused"),
            "409",
            "",
        ),
        (
            "stale",
            Some(answer("412 Precondition Failed", "", b"")),
            transport("refused"),
            "412",
            "",
        ),
        (
            "busy",
            Some(answer("429 Too Many Requests", "retry-after: 7\r\n", b"")),
            transport("rate_limited"),
            "wait",
            "",
        ),
        (
            "half",
            Some(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{\"fi".to_vec()),
            transport("bad_answer"),
            "broke off",
            "gave no answer",
        ),
        (
            "other",
            Some(b"SSH-2.0-OpenSSH\r\n".to_vec()),
            transport("bad_answer"),
            "broke off",
            "gave no answer",
        ),
        (
            "text",
            Some(answer("200 OK", "", b"<html>Welcome</html>")),
            transport("bad_answer"),
            "JSON",
            "",
        ),
        (
            "huge",
            Some(answer("200 OK", "", &vec![b'x'; 25 << 20])),
            transport("too_large"),
            "24 MiB",
            "",
        ),
        (
            "moved",
            Some(answer(
                "302 Found",
                "location: https://evil.example/\r\n",
                b"",
            )),
            transport("refused"),
            "302",
            "",
        ),
    ] {
        let server = Plugin::start();
        server.set_script(move |_, _| reply.clone());
        let mut worker = reader(&server).await;
        let outcome = worker.read("vault.list", json!({})).await;
        assert_eq!(refusal(&outcome.0), code, "{what}");
        let error = outcome.0.unwrap_err();
        assert!(error.message.as_str().contains(told), "{what}: {error:?}");
        if what == "busy" {
            assert_eq!(error.detail, Some(json!({"retryAfterSeconds": 7})));
        }
        let words = match worker.health().await {
            Health::Well => String::new(),
            Health::Degraded(words) | Health::Unavailable(words) => words.to_string(),
        };
        assert!(
            words.contains(health) && words.is_empty() == health.is_empty(),
            "{what}: {words}"
        );
        // Back again, the next call says so.
        server.set_script(|_, _| None);
        let listed = output(&worker.read("vault.list", json!({})).await);
        assert_eq!(listed["type"], "dir", "{what}");
        assert_eq!(worker.health().await, Health::Well, "{what}");
        worker.stop().await;
    }
    let mut worker =
        Worker::set_up::<ObsidianRestSource>(MANIFEST, &setting(closed, None), Role::Reader).await;
    let outcome = worker.read("vault.list", json!({})).await;
    assert_eq!(refusal(&outcome.0), json!("source_unavailable"));
    worker.stop().await;
}

#[tokio::test]
async fn periodic_note_is_told_where_the_plugin_offers_it() {
    let server = Plugin::start();
    server.fill(&[("Daily/2026-11-22.md", "today")]);
    let ask = || read(&server, "periodic.read", json!({"period": "daily"}));
    assert_eq!(ask().await, Err(transport("not_found")));
    server.open(None, Some("Daily/2026-11-22.md"));
    assert_eq!(ask().await.unwrap()["relativePath"], "Daily/2026-11-22.md");
    let commands = read(&server, "commands.list", json!({})).await.unwrap();
    assert_eq!(commands["commands"][0]["id"], "app:reload");
}

#[tokio::test]
async fn app_that_says_nothing_is_a_timeout() {
    let server = Plugin::start();
    let mut worker = reader(&server).await;
    let (release, hold) = std::sync::mpsc::channel::<()>();
    let hold = std::sync::Mutex::new(hold);
    server.set_script(move |_, _| {
        // Until the test ends.
        let _ = hold.lock().unwrap().recv();
        None
    });
    let outcome = worker.read("vault.list", json!({})).await;
    assert_eq!(refusal(&outcome.0)["transport_error"]["reason"], "timeout");
    drop(release);
    server.set_script(|_, _| None);
    let listed = output(&worker.read("vault.list", json!({})).await);
    assert_eq!(listed["type"], "dir", "the control");
    worker.stop().await;
}
