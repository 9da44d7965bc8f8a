//! The obsidian-rest worker behind the harness: what this connector promises beyond every connector.

use crate::plugin::{KEY, Plugin, answer, error};
use plexus_conformance::served::{
    Setting, Worker, assert_like, changed, code, intent, texts, transport,
};
use plexus_ipc::{
    message::{Health, Role, Verdict},
    worker::Content,
};
use plexus_protocol::{Digest, Effect, Verb};
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
    let (result, _) = worker.read(capability, input).await;
    worker.stop().await;
    let answer = result.map_err(|error| code(&error))?;
    Ok(serde_json::from_slice(&answer.output).unwrap())
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

    fn setting(&self) -> Setting {
        setting(self.server.port, Some(self.scratch.path()))
    }

    async fn worker(&self, role: Role) -> Worker {
        Worker::set_up::<ObsidianRestSource>(MANIFEST, &self.setting(), role).await
    }

    /// Plans a change, calls `meanwhile`, and commits what was planned: its output, or code and effect of the failure.
    async fn done_after(
        &self,
        number: u32,
        capability: &str,
        input: Value,
        meanwhile: impl FnOnce(&Plugin),
    ) -> Result<Value, (Value, Effect)> {
        let (setting, asked) = (self.setting(), (capability, input));
        let between = || meanwhile(&self.server);
        let done = setting.change::<ObsidianRestSource>(MANIFEST, intent(number), asked, between);
        done.await.map_err(|why| (code(&why), why.effect))
    }

    /// As [`Self::done_after`], with nothing in between.
    async fn tried(&self, number: u32, of: &str, input: Value) -> Result<Value, (Value, Effect)> {
        self.done_after(number, of, input, |_| {}).await
    }

    async fn done(&self, number: u32, capability: &str, input: Value) -> Value {
        let done = self.tried(number, capability, input).await;
        done.unwrap_or_else(|why| panic!("{capability}: {why:?}"))
    }
}

#[tokio::test]
async fn odd_names_come_through_every_request() {
    let desk = Desk::new(&[]);
    let server = &desk.server;
    for (number, name) in (0..).zip([
        "a & b + 100% # why?.md",
        "\u{1f4c5} \u{202e}dm.txe.md",
        "semi;colon,comma=equals.md",
        "%2e%2e%2fescaped.md",
        "\u{fc}ber \"quoted\" 'x' [y] {z} |.md",
    ]) {
        let path = format!("deep/{name}");
        let input = json!({"path": path, "content": name});
        desk.done(number, "vault.write", input).await;
        assert_eq!(server.text(&path).as_deref(), Some(name));
        let there = read(server, "vault.read", json!({"path": path})).await;
        assert_like(
            &there.unwrap(),
            &json!({"content": name, "relativePath": path}),
        );
        let listed = read(server, "vault.list", json!({"path": "deep"})).await;
        let names = texts(&listed.unwrap()["entries"], "name");
        assert!(names.iter().any(|entry| entry == name), "{names:?}");
        let found = read(server, "vault.search", json!({"query": name})).await;
        assert_eq!(found.unwrap()["hits"][0]["relativePath"], path);
    }
    let asked = server.asked().len();
    for (path, reason) in [
        ("../x.md", "path_confinement"),
        ("a/../../x.md", "path_confinement"),
        ("a\nb.md", "path_confinement"),
        ("/x.md", "path_confinement"),
        (".obsidian/app.json", "not_found"),
        ("a\\b.md", "not_found"),
    ] {
        let refused = read(server, "vault.read", json!({"path": path})).await;
        assert_eq!(refused, Err(transport(reason)), "{path}");
    }
    // Each worker asks once how the plugin is, and nothing was asked about a path.
    let last = server.asked().split_off(asked);
    assert_eq!(last, ["GET /vault/"; 6]);
}

#[tokio::test]
async fn long_note_comes_in_parts_that_join() {
    let desk = Desk::new(&[]);
    let line = "- a line of a long note, with \u{fc}mlauts\n";
    let whole = line.repeat(5 * 1024 * 1024 / line.len());
    desk.server.put("long.md", &whole);
    let mut worker = reader(&desk.server).await;
    let parts = worker.pages("vault.read", json!({"path": "long.md"})).await;
    let digest = Digest::of(whole.as_bytes()).to_string();
    assert!(parts.iter().all(|part| part["digest"] == digest));
    let parts = texts(&json!(parts), "content");
    assert!(
        parts.concat() == whole && parts.len() > 4,
        "{} parts",
        parts.len()
    );
    let beyond = json!({"path": "long.md", "offset": 99_999_999});
    assert_eq!(worker.refused("vault.read", beyond).await, "invalid_input");
    desk.server.put("picture.png", b"\x89PNG\0\xff");
    let picture = worker
        .refused("vault.read", json!({"path": "picture.png"}))
        .await;
    assert_eq!(picture, transport("not_text"));
    worker.stop().await;
    // It is not changed: what it was could not be kept.
    for (capability, path, reason) in [
        ("vault.append", "long.md", "too_large"),
        ("vault.write", "picture.png", "not_text"),
    ] {
        let change = desk.tried(1, capability, json!({"path": path, "content": "x"}));
        assert_eq!(change.await.unwrap_err().0, transport(reason));
    }
}

#[tokio::test]
async fn folder_and_note_are_told_apart() {
    let desk = Desk::new(&[("Projects/a.md", "a"), ("b.md", "b")]);
    for (capability, path, reason) in [
        ("vault.read", "Projects", "not_a_file"),
        ("vault.list", "b.md", "not_found"),
        ("vault.read", "Projects/a.md/heading/A", "not_a_file"),
        ("vault.read", "Projects/none.md", "not_found"),
        ("vault.list", "none", "not_found"),
    ] {
        let refused = read(&desk.server, capability, json!({ "path": path })).await;
        assert_eq!(refused, Err(transport(reason)), "{capability} {path}");
    }
    let top = read(&desk.server, "vault.list", json!({"path": ""})).await;
    let entries = json!([{"name": "Projects", "kind": "dir"}, {"name": "b.md", "kind": "file"}]);
    assert_like(&top.unwrap()["entries"], &entries);
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
        let read = worker.refused("vault.read", json!({ "path": path })).await;
        assert_eq!(read, transport("not_found"), "{path}");
        let write = json!({"path": path, "content": "x"});
        let write = worker.unplanned("vault.write", write).await;
        assert_eq!(write, transport("not_found"), "{path}");
    }
    let listed = worker.answer("vault.list", json!({})).await;
    assert_eq!(texts(&listed["entries"], "name"), ["Deep", "Open.md"]);
    let found = worker
        .answer("vault.search", json!({"query": "word"}))
        .await;
    assert_eq!(texts(&found["hits"], "relativePath"), ["Open.md"]);
    server.open(Some("Private/diary.md"), Some(".trash/old.md"));
    for (capability, input) in [
        ("active.read", json!({})),
        ("periodic.read", json!({"period": "daily"})),
    ] {
        let refused = worker.refused(capability, input).await;
        assert_eq!(refused, transport("not_found"), "{capability}");
    }
    server.open(Some("Open.md"), None);
    let open = worker.answer("active.read", json!({})).await;
    let expected = json!({"content": "word", "modifiedAt": "2025-11-22T08:26:40.123Z"});
    assert_like(&open, &expected);
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
        let input = json!({"query": "word", "limit": limit});
        let pages = worker.pages("vault.search", input).await;
        for page in &pages {
            assert_eq!(page["truncated"] == true, page["next"].is_object());
            assert_eq!(page["warnings"], Value::Null);
        }
        let hits = pages
            .iter()
            .flat_map(|page| texts(&page["hits"], "relativePath"));
        let mut found: Vec<_> = hits.collect();
        assert_eq!(found.len(), 250, "by {limit}");
        found.dedup();
        assert_eq!(found.len(), 250, "each once");
    }
    desk.server.put("odd\u{7}name.md", "word");
    let page = worker
        .answer("vault.search", json!({"query": "word"}))
        .await;
    assert_eq!(page["warnings"], json!(["names_skipped"]));
    let page = worker.answer("vault.list", json!({})).await;
    assert_eq!(
        json!([page["omitted"], page["warnings"]]),
        json!([1, ["names_skipped"]])
    );
    worker.stop().await;
}

#[tokio::test]
async fn each_change_is_taken_back_unless_somebody_changed_the_note() {
    let notes = [("a.md", "one"), ("log.md", "- one"), ("dos.md", "one\r\n")];
    let desk = Desk::new(&notes);
    let text = |path| desk.server.text(path);
    for (number, (capability, path, content, after)) in (1..).zip([
        ("vault.write", "a.md", "two", "two"),
        ("vault.write", "new.md", "new", "new"),
        ("vault.append", "log.md", "- two", "- one\n- two"),
        ("vault.append", "fresh.md", "- one", "- one"),
        (
            "vault.append",
            "dos.md",
            "two\nthree\n",
            "one\r\ntwo\r\nthree\r\n",
        ),
        ("vault.write", "empty.md", "", ""),
    ]) {
        let before = text(path);
        let input = json!({"path": path, "content": content});
        let done = desk.done(number, capability, input).await;
        assert_eq!(text(path).as_deref(), Some(after), "{path}");
        assert_eq!(done["digest"], Digest::of(after.as_bytes()).to_string());
        let undo = json!({"id": intent(number).as_str()});
        let wrong = json!({"id": undo["id"], "path": "other.md"});
        let wrong = desk.tried(50 + number, "undo", wrong).await;
        assert_eq!(wrong.unwrap_err().0, json!("invalid_input"));
        desk.server.put(path, "somebody else's");
        let refused = desk.tried(60 + number, "undo", undo.clone()).await;
        let since = Err((changed("changed_since"), Effect::None));
        assert_eq!(refused, since, "{path}");
        desk.server.put(path, after);
        let undone = desk.done(10 + number, "undo", undo).await;
        assert_eq!(undone["removed"], before.is_none(), "{path}");
        assert_eq!(text(path), before, "{path}");
        let twice = json!({"id": intent(number).as_str()});
        let twice = desk.tried(70 + number, "undo", twice).await;
        assert_eq!(twice, Err((changed("already_undone"), Effect::None)));
        // An undo is a change like others: it is taken back too.
        let again = json!({"id": intent(10 + number).as_str(), "path": path});
        desk.done(20 + number, "undo", again).await;
        assert_eq!(text(path).as_deref(), Some(after), "{path}");
        desk.server.remove(path);
        if let Some(before) = before {
            desk.server.put(path, before);
        }
    }
    let none = json!({"id": intent(39).as_str()});
    let none = desk.tried(40, "undo", none).await;
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
    let (counted, server) = (Arc::clone(&reads), desk.server.clone());
    desk.server.set_script(move |method, path| {
        let is_read = method == "GET" && path == "/vault/a.md";
        if is_read && counted.fetch_add(1, Ordering::Relaxed) == 2 {
            server.put("a.md", "in the last moment");
        }
        None
    });
    let stale = Err((changed("changed"), Effect::None));
    assert_eq!(desk.tried(2, "vault.write", write.clone()).await, stale);
    assert_eq!(reads.load(Ordering::Relaxed), 3);
    let asked = desk.server.asked();
    assert!(
        !asked.iter().any(|line| line.starts_with("PUT")),
        "{asked:?}"
    );
    // The control, and a digest that the caller names.
    desk.done(3, "vault.write", write).await;
    let named = |digest: String| json!({"path": "a.md", "content": "three", "ifDigest": digest});
    for wrong in ["absent".to_owned(), Digest::of(b"one").to_string()] {
        assert_eq!(desk.tried(4, "vault.write", named(wrong)).await, stale);
    }
    let right = named(Digest::of(b"two").to_string());
    desk.done(5, "vault.write", right).await;
}

#[tokio::test]
async fn card_shows_the_difference_and_what_runs() {
    let desk = Desk::new(&[("a.md", "one\nsame\n")]);
    let mut worker = desk.worker(Role::Reader).await;
    let write = json!({"path": "a.md", "content": "two\u{202e}\nsame\n"});
    let plan = worker.plan("vault.write", write).await.unwrap();
    assert_eq!(&*plan.preview.headline, "replaces a.md, +1 \u{2212}1");
    let diff = plan.preview.diff.unwrap();
    assert!(diff.contains("-one\n+two\\u{202e}\n same\n"), "{diff}");
    assert_eq!(plan.rating, Verb::Write);
    let append = json!({"path": "a.md", "content": "three"});
    let plan = worker.plan("vault.append", append).await.unwrap();
    let diff = plan.preview.diff.unwrap();
    assert!(diff.contains(" same\n+three\n"), "{diff}");
    for (path, rating) in [
        ("CLAUDE.md", Verb::Execute),
        ("notes/Agents.md", Verb::Execute),
        ("a.md", Verb::Write),
    ] {
        let write = json!({"path": path, "content": "x"});
        let plan = worker.plan("vault.write", write).await.unwrap();
        assert_eq!(plan.rating, rating, "{path}");
    }
    let odd = json!({"path": "bill\u{202e}dm.exe.md", "content": "x"});
    let headline = worker
        .plan("vault.write", odd)
        .await
        .unwrap()
        .preview
        .headline;
    assert!(headline.contains("\\u{202e}"), "{headline:?}");
    worker.stop().await;
}

/// A standing grant is held against what the agent last read or wrote there.
#[tokio::test]
async fn standing_write_covers_the_note_as_it_is_known() {
    let desk = Desk::new(&[("a.md", "one")]);
    let knows = |text: &str| Some(Content::Is(Digest::of(text.as_bytes())));
    for (capability, expect, refused) in [
        ("vault.write", knows("another"), Some("changed")),
        ("vault.write", Some(Content::Absent), Some("unread")),
        ("vault.write", knows("one"), None),
        ("vault.append", knows("one"), Some("changed")),
        ("vault.append", knows("two"), None),
    ] {
        let mut worker = desk.worker(Role::Writer).await;
        let input = json!({"path": "a.md", "content": "two"});
        let outcome = worker.commit_of(capability, &input, None, expect, Verb::Write);
        let result = outcome.await.0;
        worker.stop().await;
        let passed = result.map(drop).map_err(|why| code(&why));
        let expected = refused.map_or(Ok(()), |reason| Err(changed(reason)));
        assert_eq!(passed, expected, "{capability}");
    }
    assert_eq!(desk.server.text("a.md").as_deref(), Some("two\ntwo"));
}

/// What the plugin answers to a change, whether it has made it, and what is told of it.
#[tokio::test]
async fn failed_change_says_what_was_done() {
    let half = || b"HTTP/1.1 204 No Con".to_vec();
    let none = |code| Err((code, Effect::None));
    let unknown = Err((transport("bad_answer"), Effect::Unknown));
    let unavailable = || json!("source_unavailable");
    for (stores, reply, expected) in [
        (true, error(50020, "x"), Ok(())),
        (true, half(), Ok(())),
        (false, error(50020, "x"), none(transport("server_error"))),
        (false, half(), unknown),
        // No such method, a bad request, another key.
        (false, error(40510, "x"), none(transport("not_offered"))),
        (false, error(40011, "x"), none(transport("refused"))),
        (false, error(40101, "x"), none(unavailable())),
    ] {
        let what = String::from_utf8_lossy(&reply).into_owned();
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
        let done = desk.tried(1, "vault.write", write).await;
        assert_eq!(done.map(drop), expected, "{stores} {what}");
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
        let done = desk.tried(1, "vault.write", write).await;
        assert_eq!(done.unwrap_err().1, Effect::Unknown);
        desk.server.set_script(|_, _| None);
        match now {
            Some(now) => desk.server.put("a.md", now),
            None => desk.server.remove("a.md"),
        }
        let mut worker = desk.worker(Role::Writer).await;
        assert_eq!(worker.settle(intent(1)).await, verdict, "{now:?}");
        // It never began.
        assert_eq!(worker.settle(intent(2)).await, Verdict::DidNot);
        worker.stop().await;
        // A change that happened is taken back like any other, and nothing else is.
        let undone = desk
            .tried(3, "undo", json!({"id": intent(1).as_str()}))
            .await;
        let is_back = desk.server.text("a.md").as_deref() == Some("one");
        let refused = Err((transport("not_undoable"), Effect::None));
        match now {
            Some("two") => assert!(undone.is_ok() && is_back, "{undone:?}"),
            _ => assert_eq!(undone, refused, "{now:?}"),
        }
    }
}

#[tokio::test]
async fn undo_without_an_answer_is_one_once_it_is_settled() {
    let desk = Desk::new(&[("a.md", "one")]);
    let write = json!({"path": "a.md", "content": "two"});
    desk.done(1, "vault.write", write).await;
    let server = desk.server.clone();
    desk.server.set_script(move |method, _| {
        let asked = server.asked();
        let puts = asked.iter().filter(|request| request.starts_with("PUT"));
        (method == "PUT" || puts.count() > 1).then(Vec::new)
    });
    let undo = json!({"id": intent(1).as_str()});
    let undone = desk.tried(2, "undo", undo.clone()).await;
    assert_eq!(undone.unwrap_err().1, Effect::Unknown);
    desk.server.set_script(|_, _| None);
    desk.server.put("a.md", "one");
    let again = async |number| {
        desk.tried(number, "undo", undo.clone())
            .await
            .unwrap_err()
            .0
    };
    assert_eq!(again(3).await, changed("changed_since"));
    let mut worker = desk.worker(Role::Writer).await;
    assert_eq!(worker.settle(intent(2)).await, Verdict::Happened);
    worker.stop().await;
    assert_eq!(again(4).await, changed("already_undone"));
}

#[tokio::test]
async fn failure_is_a_code_with_words() {
    let met = Digest::of(b"met");
    let pinned = format!("{met} {}", Digest::of(b"pinned"));
    let ours = |kind: &str, words: &str| {
        let header = format!("x-plexus-egress: {kind}\r\n");
        answer("502 Bad Gateway", &header, words.as_bytes())
    };
    let reply = |what: &str| match what {
        "off" => ours("refused", "the host does not answer"),
        "unpinned" => ours("certificate", &met.to_string()),
        "repinned" | "both" => ours("certificate", &pinned),
        "key" => error(40101, "x"),
        "fails" => error(50010, "x"),
        "forbidden" => answer("403 Forbidden", "", b""),
        "conflict" => answer("409 Conflict", "", b""),
        "stale" => answer("412 Precondition Failed", "", b""),
        "busy" => answer("429 Too Many Requests", "retry-after: 7\r\n", b""),
        "half" => b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{\"fi".to_vec(),
        "other" => b"SSH-2.0-OpenSSH\r\n".to_vec(),
        "text" => answer("200 OK", "", b"<html>Welcome</html>"),
        "huge" => answer("200 OK", "", &vec![b'x'; 25 << 20]),
        "moved" => answer("302 Found", "location: https://evil.example/\r\n", b""),
        other => panic!("{other}"),
    };
    // The answer, the code, words of the message, and of the health, which is well where there are none.
    let table = "
        off | source_unavailable | start it | start it with this vault
        unpinned | source_unavailable | not the one | plexusctl sources set source certificate=MET
        repinned | source_unavailable | not the one | plexusctl sources set source certificate=MET
        both | source_unavailable | tell the owner | PINNED
        key | source_unavailable | API key | plexusctl sources secret source apiKey
        fails | server_error | 500 | look at Obsidian
        forbidden | refused | 403 |
        conflict | refused | 409 |
        stale | refused | 412 |
        busy | rate_limited | wait |
        half | bad_answer | broke off | gave no answer
        other | bad_answer | broke off | gave no answer
        text | bad_answer | JSON |
        huge | too_large | 24 MiB |
        moved | refused | 302 |";
    let table = table.replace("MET", &met.to_string());
    let table = table.replace("PINNED", &pinned[65..]);
    for row in table.lines().skip(1) {
        let [what, expected, told, health] = row.split('|').map(str::trim).collect::<Vec<_>>()[..]
        else {
            panic!("{row}")
        };
        let reply = reply(what);
        let server = Plugin::start();
        server.set_script(move |_, _| Some(reply.clone()));
        let mut worker = reader(&server).await;
        let checked = worker.check().await;
        assert!(
            matches!(&checked, Health::Unavailable(why) if why.contains(health)),
            "{what}: {checked:?}"
        );
        let error = worker.read("vault.list", json!({})).await.0.unwrap_err();
        let expected = match expected {
            "source_unavailable" => json!(expected),
            reason => transport(reason),
        };
        assert_eq!(code(&error), expected, "{what}");
        assert!(error.message.contains(told), "{what}: {error:?}");
        if what == "busy" {
            assert_eq!(error.detail, Some(json!({"retryAfterSeconds": 7})));
        }
        let words = match worker.health().await {
            Health::Well => String::new(),
            Health::Degraded(words) | Health::Unavailable(words) => words.to_string(),
        };
        let is_told = words.contains(health) && words.is_empty() == health.is_empty();
        assert!(is_told, "{what}: {words}");
        // Back again, the next check and the next call say so.
        server.set_script(|_, _| None);
        assert_eq!(worker.check().await, Health::Well, "{what}");
        let listed = worker.answer("vault.list", json!({})).await;
        assert_eq!(listed["type"], "dir", "{what}");
        assert_eq!(worker.health().await, Health::Well, "{what}");
        worker.stop().await;
    }
    // The system gives this port to nobody who asks for a free one.
    let setting = setting(1, None);
    let mut worker = Worker::set_up::<ObsidianRestSource>(MANIFEST, &setting, Role::Reader).await;
    let refused = worker.refused("vault.list", json!({})).await;
    assert_eq!(refused, "source_unavailable");
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
    let refused = worker.refused("vault.list", json!({})).await;
    assert_eq!(refused, transport("timeout"));
    drop(release);
    server.set_script(|_, _| None);
    let listed = worker.answer("vault.list", json!({})).await;
    assert_eq!(listed["type"], "dir", "the control");
    worker.stop().await;
}
