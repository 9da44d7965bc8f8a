//! The apple-reminders worker behind the harness, on its fake: what this connector promises beyond every connector.
#![cfg(not(target_os = "macos"))]

use plexus_conformance::served::{
    Setting, Worker, assert_like, changed, code, intent, texts, transport,
};
use plexus_ipc::message::{Role, Verdict};
use plexus_protocol::AuditId;
use plexus_worker_apple_reminders::{AppleRemindersSource, MANIFEST};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// A person's lists, and the worker's own folder.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
    fn path(&self) -> &Path {
        self.0.path()
    }
    fn file(&self) -> PathBuf {
        self.path().join("fake-reminders")
    }
    fn setting(&self) -> Setting {
        Setting {
            config: json!({}),
            scratch: Some(self.path().to_owned()),
            ..Setting::default()
        }
    }
    async fn worker(&self, role: Role) -> Worker {
        Worker::set_up::<AppleRemindersSource>(MANIFEST, &self.setting(), role).await
    }
    async fn read(&self, capability: &str, input: Value) -> Value {
        let mut worker = self.worker(Role::Reader).await;
        let answer = worker.answer(capability, input).await;
        worker.stop().await;
        answer
    }
    async fn listed(&self, input: Value) -> Value {
        self.read("reminders.list", input).await["reminders"].take()
    }
    async fn titles(&self, input: Value) -> Vec<String> {
        texts(&self.listed(input).await, "title")
    }
    /// Plans a change and commits what was planned under the intent of that number; of a failure its code.
    async fn change(&self, number: u32, capability: &str, input: Value) -> Result<Value, Value> {
        self.change_after(number, capability, input, || {}).await
    }
    /// As [`Self::change`], with something between the plan and the commit.
    async fn change_after(
        &self,
        number: u32,
        capability: &str,
        input: Value,
        between: impl FnOnce(),
    ) -> Result<Value, Value> {
        let (setting, asked) = (self.setting(), (capability, input));
        let done = setting.change::<AppleRemindersSource>(MANIFEST, intent(number), asked, between);
        done.await.map_err(|error| code(&error))
    }
    async fn done(&self, number: u32, capability: &str, input: Value) -> Value {
        let done = self.change(number, capability, input).await;
        done.unwrap_or_else(|code| panic!("{capability}: {code}"))
    }
    /// Takes back the change of an intent.
    async fn undo(&self, number: u32, of: u32) -> Result<Value, Value> {
        self.change(number, "undo", json!({"id": intent(of)})).await
    }
    /// What somebody else does to the lists.
    fn edit(&self, change: impl FnOnce(&mut Value)) {
        let mut world: Value = serde_json::from_slice(&fs::read(self.file()).unwrap()).unwrap();
        change(&mut world);
        fs::write(self.file(), world.to_string()).unwrap();
    }
    async fn settled(&self, intent: AuditId) -> Verdict {
        let mut writer = self.worker(Role::Writer).await;
        let verdict = writer.settle(intent).await;
        writer.stop().await;
        verdict
    }
    /// The kept record of a change.
    fn record(&self, intent: &AuditId) -> PathBuf {
        self.path().join(format!("{}.json", intent.as_str()))
    }
}

fn of<'a>(world: &'a mut Value, id: &str) -> &'a mut Value {
    let all = world["reminders"].as_array_mut().unwrap();
    all.iter_mut().find(|one| one["id"] == id).unwrap()
}

#[tokio::test]
async fn wrong_input_is_refused_before_any_list_is_looked_at() {
    let home = Home::new();
    let worker = home.worker(Role::Reader).await;
    let nothing = json!({"pathPrefix": {"field": "list", "allow": []}});
    let mut worker = worker.constrained(nothing);
    let add = json!({"title": "Call", "list": "groceries"});
    let wrong = [("due", "tomorrow"), ("title", " ")];
    worker
        .judges_input_first("reminders.create", &add, &wrong)
        .await;
    let update = json!({"id": "milk", "title": "Milk"});
    let wrong = [("due", "2026-02-30"), ("title", "\t")];
    worker
        .judges_input_first("reminders.update", &update, &wrong)
        .await;
    worker.stop().await;
}

#[tokio::test]
async fn due_date_that_cannot_be_read_is_named_and_kept() {
    let home = Home::new();
    let add = json!({"title": "Call", "list": "reminders"});
    home.done(1, "reminders.create", add).await;
    home.edit(|world| of(world, "dentist")["due"] = json!("unread"));
    let all = home.read("reminders.list", json!({})).await;
    let listed = all["reminders"].as_array().unwrap();
    let dentist = listed.iter().find(|one| one["id"] == "dentist").unwrap();
    assert_eq!(dentist["due"], Value::Null);
    let before = json!({"dueBefore": "2030-01-01"});
    let bounded = home.read("reminders.list", before).await;
    for answer in [&all, &bounded] {
        let warnings = answer["warnings"].to_string();
        let words = "dentist: a due date that cannot be read";
        assert!(warnings.contains(words), "{warnings}");
    }
    // What cannot be put back is not replaced; the rest of it is changed.
    let due = json!({"id": "dentist", "due": "2026-07-01"});
    let refused = home.change(2, "reminders.update", due).await;
    assert_eq!(refused, Err(transport("not_taken")));
    let title = json!({"id": "dentist", "title": "Call her"});
    home.done(3, "reminders.update", title).await;
}

#[tokio::test]
async fn reminders_are_listed_by_due_date_with_days_and_moments() {
    let home = Home::new();
    let all = json!([
        {"id": "dentist", "due": "2026-06-25T14:00:00+02:00"},
        {"id": "milk", "due": "2026-06-26"},
        {"id": "plants", "due": "2026-06-27"},
        {"id": "eggs", "due": null},
    ]);
    assert_like(&home.listed(json!({})).await, &all);
    let day = json!({"dueAfter": "2026-06-26", "dueBefore": "2026-06-27"});
    assert_eq!(home.titles(day).await, ["Buy milk"]);
    let completed = home.titles(json!({"completed": true})).await;
    assert_eq!(completed, ["Send the taxes"]);
    let named = home.titles(json!({"list": "Reminders"})).await;
    assert_eq!(named, ["Call the dentist", "Water the plants"]);
    let mut worker = home.worker(Role::Reader).await;
    let ambiguous = json!({"list": "Groceries"});
    let ambiguous = worker.refused("reminders.list", ambiguous).await;
    assert_eq!(ambiguous, transport("ambiguous"));
    for field in ["dueAfter", "dueBefore"] {
        let soon = worker.read("reminders.list", json!({field: "soon"})).await;
        let error = soon.0.unwrap_err();
        let why = format!("{field} is no date (2026-12-04) and no time (2026-12-04T09:00)");
        assert!(error.message.contains(&*why), "{error:?}");
    }
    worker.stop().await;
    let lists = home.read("lists.list", json!({})).await;
    assert_eq!(
        lists["lists"][0],
        json!({"id": "reminders", "name": "Reminders", "account": "iCloud", "default": true, "writable": true})
    );
    assert_eq!(lists["lists"][1]["name"], lists["lists"][2]["name"]);
}

#[tokio::test]
async fn created_reminder_is_in_the_default_list_and_taken_back() {
    let home = Home::new();
    let title = "A\"b'c\\d\n\u{202e}${x} \u{2028}";
    let input = json!({"title": title, "due": "2026-06-26T09:00", "notes": "n", "priority": 1});
    let made = home.done(1, "reminders.create", input).await;
    assert_eq!(made["list"], "reminders");
    assert_eq!(made["due"], "2026-06-26T09:00:00+02:00");
    let from = json!({"dueAfter": "2026-06-26", "list": "reminders"});
    let expected = json!({"id": made["id"], "list": "reminders", "title": title, "due": "2026-06-26T09:00:00+02:00", "notes": "n", "priority": 1});
    assert_eq!(home.listed(from).await[0], expected);
    assert_eq!(home.undo(2, 1).await.unwrap()["removed"], true);
    let titles = async || home.titles(json!({"list": "reminders"})).await;
    assert_eq!(titles().await.len(), 2);
    // A change is taken back once; the undo itself can be taken back.
    assert_eq!(home.undo(9, 1).await, Err(changed("already_undone")));
    assert_eq!(home.undo(9, 3).await, Err(transport("not_undoable")));
    assert_eq!(home.undo(4, 2).await.unwrap()["removed"], false);
    assert!(titles().await.contains(&title.to_owned()));
    // It came again under another id, and comes once.
    assert_eq!(home.undo(5, 2).await, Err(changed("already_undone")));
    assert_eq!(titles().await.len(), 3);
}

#[tokio::test]
async fn completed_and_changed_reminders_are_put_back() {
    let home = Home::new();
    let complete = json!({"id": "milk", "list": "groceries"});
    let is_open = async || {
        home.titles(json!({}))
            .await
            .contains(&"Buy milk".to_owned())
    };
    let done = home.done(1, "reminders.complete", complete.clone()).await;
    assert!(done["completed"].is_string(), "{done}");
    assert!(!is_open().await);
    let again = home.change(2, "reminders.complete", complete).await;
    assert_eq!(again, Err(transport("already_done")));
    home.undo(3, 1).await.unwrap();
    assert!(is_open().await);

    let update = json!({"id": "milk", "title": "Buy oat milk", "due": "2026-07-01", "clear": ["notes", "priority"]});
    let first = async || home.listed(json!({"list": "groceries"})).await[0].take();
    home.done(4, "reminders.update", update.clone()).await;
    let oat =
        json!({"id": "milk", "list": "groceries", "title": "Buy oat milk", "due": "2026-07-01"});
    assert_eq!(first().await, oat);
    let same = home.change(5, "reminders.update", update).await;
    assert_eq!(same, Err(json!("invalid_input")));
    home.undo(6, 4).await.unwrap();
    let before = json!({"id": "milk", "list": "groceries", "title": "Buy milk", "due": "2026-06-26", "notes": "two litres", "priority": 1});
    assert_eq!(first().await, before);
}

#[tokio::test]
async fn reminder_without_a_title_is_listed_and_completed() {
    let home = Home::new();
    home.done(1, "reminders.create", json!({"title": "x"}))
        .await;
    home.edit(|world| of(world, "milk")["title"] = json!(""));
    let milk = async || home.listed(json!({"list": "groceries"})).await[0].take();
    assert_like(&milk().await, &json!({"id": "milk", "title": ""}));
    let done = home
        .done(2, "reminders.complete", json!({"id": "milk"}))
        .await;
    assert!(done["completed"].is_string(), "{done}");
    home.undo(3, 2).await.unwrap();
    assert_like(&milk().await, &json!({"id": "milk", "title": ""}));
}

#[tokio::test]
async fn what_cannot_be_changed_says_why() {
    let home = Home::new();
    let [complete, update, create] = ["complete", "update", "create"];
    #[rustfmt::skip]
    let rows = [
        (complete, json!({"id": "plants"}), "repeats"),
        (update, json!({"id": "plants", "due": "2026-07-01"}), "repeats"),
        (complete, json!({"id": "nowhere"}), "not_found"),
        (complete, json!({"id": "eggs"}), "read_only"),
        (create, json!({"list": "groceries-2", "title": "x"}), "read_only"),
        (create, json!({"list": "nowhere", "title": "x"}), "not_found"),
        (create, json!({"title": " "}), "invalid_input"),
        (create, json!({"title": "x", "due": "soon"}), "invalid_input"),
        (complete, json!({"id": "milk", "list": "reminders"}), "invalid_input"),
    ];
    for (act, input, expected) in rows {
        let refused = home
            .change(1, &format!("reminders.{act}"), input.clone())
            .await;
        let expected = match expected {
            "invalid_input" => json!(expected),
            reason => transport(reason),
        };
        assert_eq!(refused, Err(expected), "{act} {input}");
    }
    // The title of one that repeats can be changed.
    let title = json!({"id": "plants", "title": "Water all plants"});
    home.done(2, "reminders.update", title).await;
}

#[tokio::test]
async fn change_of_somebody_else_stops_commit_and_undo() {
    let home = Home::new();
    let dentist = json!({"id": "dentist"});
    let first = json!({"id": "dentist", "priority": 1});
    home.done(1, "reminders.update", first).await;
    // Not even what is shown changed: a tag, say.
    let touch =
        || home.edit(|world| of(world, "dentist")["modified"] = json!("2026-06-03T08:00:00Z"));
    let refused = home.change_after(2, "reminders.complete", dentist.clone(), touch);
    assert_eq!(refused.await, Err(changed("plan_changed")));
    // An undo compares what the person sees, so a touch does not stop it; a change does.
    home.edit(|world| of(world, "dentist")["title"] = json!("Call her"));
    assert_eq!(home.undo(3, 1).await, Err(changed("changed_since")));
    home.edit(|world| of(world, "dentist")["title"] = json!("Call the dentist"));
    home.undo(4, 1).await.unwrap();
    home.done(5, "reminders.complete", dentist).await;
}

/// The record of a change whose worker died: as it was before the store was asked.
fn begun(home: &Home, intent: &AuditId) {
    let path = home.record(intent);
    let mut record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    record["done"] = json!(false);
    if record["before"].is_null() {
        record["id"] = Value::Null;
    }
    fs::write(path, record.to_string()).unwrap();
}

#[tokio::test]
async fn added_reminder_is_found_again_without_a_mark() {
    let home = Home::new();
    assert_eq!(home.settled(intent(1)).await, Verdict::DidNot);
    // One of the same title was there before: it is not the added one.
    let input = json!({"title": "Twice"});
    home.done(1, "reminders.create", input.clone()).await;
    let second = home.done(2, "reminders.create", input).await;
    assert_eq!(home.settled(intent(2)).await, Verdict::Happened);
    begun(&home, &intent(2));
    assert_eq!(home.settled(intent(2)).await, Verdict::Happened);
    let id = second["id"].as_str().unwrap();
    home.edit(|world| of(world, id)["title"] = json!("Twice, changed"));
    assert_eq!(home.settled(intent(2)).await, Verdict::CannotTell);
    home.edit(|world| {
        let all = world["reminders"].as_array_mut().unwrap();
        all.retain(|one| one["id"] != id);
    });
    assert_eq!(home.settled(intent(2)).await, Verdict::DidNot);
}

#[tokio::test]
async fn completion_is_found_again_by_what_is_there() {
    let home = Home::new();
    let complete = json!({"id": "milk"});
    home.done(1, "reminders.complete", complete).await;
    begun(&home, &intent(1));
    assert_eq!(home.undo(2, 1).await, Err(transport("not_undoable")));
    assert_eq!(home.settled(intent(1)).await, Verdict::Happened);
    // From then on it is a change like any.
    home.undo(3, 1).await.unwrap();
    begun(&home, &intent(1));
    assert_eq!(home.settled(intent(1)).await, Verdict::DidNot);
    home.edit(|world| of(world, "milk")["title"] = json!("Butter"));
    assert_eq!(home.settled(intent(1)).await, Verdict::CannotTell);
}

#[tokio::test]
async fn missing_consent_is_told_with_its_pane() {
    let home = Home::new();
    home.done(1, "reminders.create", json!({"title": "x"}))
        .await;
    let pane = "System Settings > Privacy & Security > Reminders";
    for (fails, words) in [
        ("consent_denied", pane),
        ("consent_add_only", "change Add Only to Full Access"),
        ("consent_restricted", "ask its administrator"),
    ] {
        let mut worker = home.worker(Role::Reader).await;
        home.edit(|world| world["fails"] = json!(fails));
        let answer = worker.read("reminders.list", json!({})).await;
        let error = answer.0.unwrap_err();
        assert!(error.message.contains(words), "{error}");
        let health = worker.health().await;
        assert!(format!("{health:?}").contains(words), "{health:?}");
        // Once the person consents, the next call is answered.
        home.edit(|world| world["fails"] = Value::Null);
        worker.answer("reminders.list", json!({})).await;
        worker.stop().await;
    }
}

#[tokio::test]
async fn twenty_thousand_reminders_are_given_in_pages() {
    let setting = Setting {
        config: json!({"further": 20_000}),
        ..Setting::default()
    };
    let mut worker = Worker::set_up::<AppleRemindersSource>(MANIFEST, &setting, Role::Reader).await;
    let pages = worker.pages("reminders.list", json!({"limit": 1000})).await;
    worker.stop().await;
    let pages: Vec<_> = pages
        .iter()
        .map(|page| texts(&page["reminders"], "id"))
        .collect();
    assert!(pages.iter().all(|page| page.len() <= 1000));
    let seen: BTreeSet<_> = pages.iter().flatten().collect();
    // The usual ones that are open, too; each once.
    assert_eq!((seen.len(), pages.len()), (20_004, 21));
    assert_eq!(pages.concat().len(), seen.len());
}
