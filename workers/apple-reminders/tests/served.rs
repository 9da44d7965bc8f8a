//! The apple-reminders worker behind the harness, on its fake: what this connector promises beyond every connector.
#![cfg(not(target_os = "macos"))]

use plexus_conformance::served::{Setting, Worker, output, refusal};
use plexus_ipc::message::{Role, Verdict};
use plexus_protocol::{AuditId, Verb};
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
    async fn worker(&self, role: Role) -> Worker {
        let setting = Setting {
            config: json!({}),
            scratch: Some(self.path().to_owned()),
            ..Setting::default()
        };
        Worker::set_up::<AppleRemindersSource>(MANIFEST, &setting, role).await
    }
    async fn read(&self, capability: &str, input: Value) -> Value {
        let mut worker = self.worker(Role::Reader).await;
        let answer = worker.read(capability, input).await;
        worker.stop().await;
        match &answer.0 {
            Ok(_) => output(&answer),
            Err(_) => refusal(&answer.0),
        }
    }
    async fn titles(&self, input: Value) -> Vec<String> {
        let answer = self.read("reminders.list", input).await;
        let all = answer["reminders"].as_array().unwrap().clone();
        all.iter()
            .map(|one| one["title"].as_str().unwrap().to_owned())
            .collect()
    }
    /// Plans a change and commits what was planned under `intent`, after `between`.
    async fn change(
        &self,
        intent: AuditId,
        capability: &str,
        input: Value,
        between: impl FnOnce(),
    ) -> Result<Value, Value> {
        let mut reader = self.worker(Role::Reader).await;
        let plan = reader.plan(capability, input.clone()).await;
        reader.stop().await;
        let plan = plan.map_err(|error| serde_json::to_value(error.code).unwrap())?;
        between();
        let mut writer = self.worker(Role::Writer).await.intending(intent);
        let token = Some(plan.state_token);
        let outcome = writer
            .commit_of(capability, &input, token, None, Verb::Write)
            .await;
        writer.stop().await;
        match &outcome.0 {
            Ok(_) => Ok(output(&outcome)),
            Err(_) => Err(refusal(&outcome.0)),
        }
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

fn intent(number: u32) -> AuditId {
    format!("evt_00000000-00{number:02}-8000-8000-00000000000a")
        .parse()
        .unwrap()
}

fn nothing() {}

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
    let update = json!({"id": "milk", "title": "Milk"});
    for (capability, right, field, value) in [
        ("reminders.create", &add, "due", "tomorrow"),
        ("reminders.create", &add, "title", " "),
        ("reminders.update", &update, "due", "2026-02-30"),
        ("reminders.update", &update, "title", "\t"),
    ] {
        let mut wrong = right.clone();
        wrong[field] = json!(value);
        let error = worker.plan(capability, wrong).await.unwrap_err();
        let code = serde_json::to_value(&error.code).unwrap();
        assert_eq!(code, "invalid_input", "{capability} {field}");
        assert_eq!(error.detail.unwrap()["field"], field);
        // The control: an input that could fit is held against what the call may see.
        let error = worker.plan(capability, right.clone()).await.unwrap_err();
        let code = serde_json::to_value(&error.code).unwrap();
        assert!(code["constraint_miss"].is_object(), "{capability}: {code}");
    }
    worker.stop().await;
}

#[tokio::test]
async fn due_date_that_cannot_be_read_is_named_and_kept() {
    let home = Home::new();
    let add = json!({"title": "Call", "list": "reminders"});
    home.change(intent(1), "reminders.create", add, nothing)
        .await
        .unwrap();
    home.edit(|world| of(world, "dentist")["due"] = json!("unread"));
    let all = home.read("reminders.list", json!({})).await;
    let listed = all["reminders"].as_array().unwrap();
    let dentist = listed.iter().find(|one| one["id"] == "dentist").unwrap();
    assert_eq!(dentist["due"], Value::Null);
    let bounded = home
        .read("reminders.list", json!({"dueBefore": "2030-01-01"}))
        .await;
    for answer in [&all, &bounded] {
        let warnings = answer["warnings"].to_string();
        assert!(
            warnings.contains("dentist: a due date that cannot be read"),
            "{warnings}"
        );
    }
    // What cannot be put back is not replaced; the rest of it is changed.
    let due = json!({"id": "dentist", "due": "2026-07-01"});
    let refused = home
        .change(intent(2), "reminders.update", due, nothing)
        .await;
    assert_eq!(
        refused.unwrap_err()["transport_error"]["reason"],
        "not_taken"
    );
    let title = json!({"id": "dentist", "title": "Call her"});
    home.change(intent(3), "reminders.update", title, nothing)
        .await
        .unwrap();
}

#[tokio::test]
async fn reminders_are_listed_by_due_date_with_days_and_moments() {
    let home = Home::new();
    let all = home.read("reminders.list", json!({})).await;
    let told: Vec<_> = all["reminders"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (&one["id"], &one["due"]))
        .collect();
    let nothing = Value::Null;
    assert_eq!(
        json!(told),
        json!([
            ("dentist", "2026-06-25T14:00:00+02:00"),
            ("milk", "2026-06-26"),
            ("plants", "2026-06-27"),
            ("eggs", nothing)
        ])
    );
    assert_eq!(
        home.titles(json!({"dueAfter": "2026-06-26", "dueBefore": "2026-06-27"}))
            .await,
        ["Buy milk"]
    );
    assert_eq!(
        home.titles(json!({"completed": true})).await,
        ["Send the taxes"]
    );
    assert_eq!(
        home.titles(json!({"list": "Reminders"})).await,
        ["Call the dentist", "Water the plants"]
    );
    let ambiguous = home
        .read("reminders.list", json!({"list": "Groceries"}))
        .await;
    assert_eq!(ambiguous["transport_error"]["reason"], "ambiguous");
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
    let made = home
        .change(intent(1), "reminders.create", input, nothing)
        .await
        .unwrap();
    assert_eq!(made["list"], "reminders");
    let listed = home
        .read(
            "reminders.list",
            json!({"dueAfter": "2026-06-26", "list": "reminders"}),
        )
        .await;
    let expected = json!({"id": made["id"], "list": "reminders", "title": title, "due": "2026-06-26T09:00:00+02:00", "notes": "n", "priority": 1});
    assert_eq!(listed["reminders"][0], expected);
    let undone = home
        .change(intent(2), "undo", json!({"id": intent(1)}), nothing)
        .await
        .unwrap();
    assert_eq!(undone["removed"], true);
    assert_eq!(home.titles(json!({"list": "reminders"})).await.len(), 2);
    // Nothing is there to be taken back twice; the undo itself can be taken back.
    for (id, reason) in [(1, "changed"), (3, "not_undoable")] {
        let refused = home
            .change(intent(9), "undo", json!({"id": intent(id)}), nothing)
            .await
            .unwrap_err();
        assert!(refused.to_string().contains(reason), "{id}: {refused}");
    }
    let again = home
        .change(intent(4), "undo", json!({"id": intent(2)}), nothing)
        .await
        .unwrap();
    assert_eq!(again["removed"], false);
    assert!(
        home.titles(json!({"list": "reminders"}))
            .await
            .contains(&title.to_owned())
    );
}

#[tokio::test]
async fn completed_and_changed_reminders_are_put_back() {
    let home = Home::new();
    let complete = json!({"id": "milk", "list": "groceries"});
    let done = home
        .change(intent(1), "reminders.complete", complete.clone(), nothing)
        .await
        .unwrap();
    assert!(done["completed"].is_string(), "{done}");
    assert!(
        !home
            .titles(json!({}))
            .await
            .contains(&"Buy milk".to_owned())
    );
    let again = home
        .change(intent(2), "reminders.complete", complete, nothing)
        .await
        .unwrap_err();
    assert_eq!(again["transport_error"]["reason"], "already_done");
    home.change(intent(3), "undo", json!({"id": intent(1)}), nothing)
        .await
        .unwrap();
    assert!(
        home.titles(json!({}))
            .await
            .contains(&"Buy milk".to_owned())
    );

    let update = json!({"id": "milk", "title": "Buy oat milk", "due": "2026-07-01", "clear": ["notes", "priority"]});
    home.change(intent(4), "reminders.update", update.clone(), nothing)
        .await
        .unwrap();
    let listed = home
        .read("reminders.list", json!({"list": "groceries"}))
        .await;
    assert_eq!(
        listed["reminders"][0],
        json!({"id": "milk", "list": "groceries", "title": "Buy oat milk", "due": "2026-07-01"})
    );
    let same = home
        .change(intent(5), "reminders.update", update, nothing)
        .await
        .unwrap_err();
    assert_eq!(same, "invalid_input");
    home.change(intent(6), "undo", json!({"id": intent(4)}), nothing)
        .await
        .unwrap();
    let listed = home
        .read("reminders.list", json!({"list": "groceries"}))
        .await;
    let first = json!({"id": "milk", "list": "groceries", "title": "Buy milk", "due": "2026-06-26", "notes": "two litres", "priority": 1});
    assert_eq!(listed["reminders"][0], first);
}

#[tokio::test]
async fn what_cannot_be_changed_says_why() {
    let home = Home::new();
    for (capability, input, reason) in [
        ("reminders.complete", json!({"id": "plants"}), "repeats"),
        (
            "reminders.update",
            json!({"id": "plants", "due": "2026-07-01"}),
            "repeats",
        ),
        ("reminders.complete", json!({"id": "nowhere"}), "not_found"),
        (
            "reminders.complete",
            json!({"id": "eggs"}),
            "permission_denied",
        ),
        (
            "reminders.create",
            json!({"list": "groceries-2", "title": "x"}),
            "permission_denied",
        ),
        (
            "reminders.create",
            json!({"list": "nowhere", "title": "x"}),
            "not_found",
        ),
        ("reminders.create", json!({"title": " "}), "invalid_input"),
        (
            "reminders.create",
            json!({"title": "x", "due": "soon"}),
            "invalid_input",
        ),
        (
            "reminders.complete",
            json!({"id": "milk", "list": "reminders"}),
            "invalid_input",
        ),
    ] {
        let refused = home
            .change(intent(1), capability, input.clone(), nothing)
            .await
            .unwrap_err();
        assert!(
            refused.to_string().contains(reason),
            "{capability} {input}: {refused}"
        );
    }
    // The title of one that repeats can be changed.
    let title = json!({"id": "plants", "title": "Water all plants"});
    home.change(intent(2), "reminders.update", title, nothing)
        .await
        .unwrap();
}

#[tokio::test]
async fn change_of_somebody_else_stops_commit_and_undo() {
    let home = Home::new();
    let dentist = json!({"id": "dentist"});
    home.change(
        intent(1),
        "reminders.update",
        json!({"id": "dentist", "priority": 1}),
        nothing,
    )
    .await
    .unwrap();
    // Not even what is shown changed: a tag, say.
    let touch =
        || home.edit(|world| of(world, "dentist")["modified"] = json!("2026-06-03T08:00:00Z"));
    let refused = home
        .change(intent(2), "reminders.complete", dentist.clone(), touch)
        .await
        .unwrap_err();
    assert_eq!(
        refused,
        json!({"precondition_changed": {"reason": "plan_changed"}})
    );
    // An undo compares what the person sees, so a touch does not stop it; a change does.
    let edit = || home.edit(|world| of(world, "dentist")["title"] = json!("Call her"));
    edit();
    let refused = home
        .change(intent(3), "undo", json!({"id": intent(1)}), nothing)
        .await
        .unwrap_err();
    assert_eq!(
        refused,
        json!({"precondition_changed": {"reason": "changed"}})
    );
    home.edit(|world| of(world, "dentist")["title"] = json!("Call the dentist"));
    home.change(intent(4), "undo", json!({"id": intent(1)}), nothing)
        .await
        .unwrap();
    home.change(intent(5), "reminders.complete", dentist, nothing)
        .await
        .unwrap();
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
    home.change(intent(1), "reminders.create", input.clone(), nothing)
        .await
        .unwrap();
    let second = home
        .change(intent(2), "reminders.create", input, nothing)
        .await
        .unwrap();
    assert_eq!(home.settled(intent(2)).await, Verdict::Happened);
    begun(&home, &intent(2));
    assert_eq!(home.settled(intent(2)).await, Verdict::Happened);
    let id = second["id"].as_str().unwrap().to_owned();
    home.edit(|world| of(world, &id)["title"] = json!("Twice, changed"));
    assert_eq!(home.settled(intent(2)).await, Verdict::CannotTell);
    home.edit(|world| {
        let all = world["reminders"].as_array_mut().unwrap();
        all.retain(|one| one["id"] != id.as_str());
    });
    assert_eq!(home.settled(intent(2)).await, Verdict::DidNot);
}

#[tokio::test]
async fn completion_is_found_again_by_what_is_there() {
    let home = Home::new();
    home.change(
        intent(1),
        "reminders.complete",
        json!({"id": "milk"}),
        nothing,
    )
    .await
    .unwrap();
    begun(&home, &intent(1));
    assert_eq!(home.settled(intent(1)).await, Verdict::Happened);
    home.edit(|world| of(world, "milk")["done"] = json!(false));
    assert_eq!(home.settled(intent(1)).await, Verdict::DidNot);
    home.edit(|world| of(world, "milk")["title"] = json!("Butter"));
    assert_eq!(home.settled(intent(1)).await, Verdict::CannotTell);
}

#[tokio::test]
async fn missing_consent_is_told_with_its_pane() {
    let home = Home::new();
    home.change(
        intent(1),
        "reminders.create",
        json!({"title": "x"}),
        nothing,
    )
    .await
    .unwrap();
    for (fails, words) in [
        (
            "consent_denied",
            "System Settings > Privacy & Security > Reminders",
        ),
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
        let answer = worker.read("reminders.list", json!({})).await;
        assert!(answer.0.is_ok(), "{answer:?}");
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
    let (mut seen, mut next, mut pages) = (BTreeSet::new(), None, 0);
    loop {
        let input = json!({"limit": 1000, "next": next});
        let answer = output(&worker.read("reminders.list", input).await);
        let page = answer["reminders"].as_array().unwrap();
        assert!(page.len() <= 1000);
        for one in page {
            let id = one["id"].as_str().unwrap().to_owned();
            assert!(seen.insert(id), "twice: {one}");
        }
        pages += 1;
        match answer["next"].as_str() {
            Some(more) => next = Some(more.to_owned()),
            None => break,
        }
    }
    worker.stop().await;
    // The usual ones that are open, too.
    assert_eq!((seen.len(), pages), (20_004, 21));
}
