//! What a connector's own tests ask again and again: an answer or a refusal, a list page by page, a change from its plan on.

use super::{Outcome, Setting, Worker};
use plexus_ipc::{
    message::{Health, Role, WorkerError},
    worker::Source,
};
use plexus_protocol::{AuditId, Verb};
use serde_json::{Value, json};
use std::fs;

impl Worker {
    /// The output of a read that must succeed.
    ///
    /// # Panics
    /// Where it fails.
    pub async fn answer(&mut self, capability: &str, input: Value) -> Value {
        let asked = format!("{capability} {input}");
        let outcome = self.read(capability, input).await;
        assert!(outcome.0.is_ok(), "{asked}: {:?}", outcome.0);
        output(&outcome)
    }

    /// The code of a read that must fail.
    ///
    /// # Panics
    /// Where it succeeds.
    pub async fn refused(&mut self, capability: &str, input: Value) -> Value {
        let asked = format!("{capability} {input}");
        let (result, _) = self.read(capability, input).await;
        code(&result.expect_err(&asked))
    }

    /// The code of a plan that must fail.
    ///
    /// # Panics
    /// Where it succeeds.
    pub async fn unplanned(&mut self, capability: &str, input: Value) -> Value {
        let asked = format!("{capability} {input}");
        let result = self.plan(capability, input).await;
        code(&result.expect_err(&asked))
    }

    /// Holds plans to the order of their checks: an input with one of the `wrong` values, each with its field, is refused as
    /// such; the `right` one is held against what this worker may see, which has to be nothing.
    ///
    /// # Panics
    /// Where one is planned, or refused for another reason.
    pub async fn judges_input_first(
        &mut self,
        capability: &str,
        right: &Value,
        wrong: &[(&str, &str)],
    ) {
        for (field, value) in wrong {
            let mut input = right.clone();
            input[*field] = json!(value);
            let error = self.plan(capability, input).await;
            let error = error.expect_err("an input that is wrong");
            assert_eq!(
                code(&error),
                "invalid_input",
                "{capability} {field} {value}"
            );
            let detail = error.detail.expect("which field");
            assert_eq!(detail["field"], *field, "{capability} {value}");
        }
        // The control.
        let beyond = self.unplanned(capability, right.clone()).await;
        assert!(
            beyond["constraint_miss"].is_object(),
            "{capability}: {beyond}"
        );
    }

    /// The pages of a list up to its end: what `next` says of each is put into the input of the one after it.
    ///
    /// # Panics
    /// Where one fails.
    pub async fn pages(&mut self, capability: &str, mut input: Value) -> Vec<Value> {
        let mut pages = Vec::new();
        loop {
            let page = self.answer(capability, input.clone()).await;
            let next = page["next"].clone();
            pages.push(page);
            match next {
                Value::Null => return pages,
                Value::Object(members) => members
                    .into_iter()
                    .for_each(|(name, value)| input[name] = value),
                next => input["next"] = next,
            }
        }
    }
}

impl Setting {
    /// Plans a change in a reader, calls `between`, and commits what was planned in a writer, under `intent`: its output.
    ///
    /// # Errors
    /// Why it is not planned, or not committed.
    ///
    /// # Panics
    /// Where a worker is gone.
    pub async fn change<S: Source>(
        &self,
        manifest: &str,
        intent: AuditId,
        (capability, input): (&str, Value),
        between: impl FnOnce(),
    ) -> Result<Value, WorkerError> {
        let mut reader = Worker::set_up::<S>(manifest, self, Role::Reader).await;
        let plan = reader.plan(capability, input.clone()).await;
        reader.stop().await;
        let token = Some(plan?.state_token);
        between();
        let writer = Worker::set_up::<S>(manifest, self, Role::Writer).await;
        let mut writer = writer.intending(intent);
        let outcome = writer
            .commit_of(capability, &input, token, None, Verb::Write)
            .await;
        writer.stop().await;
        match outcome.0 {
            Ok(_) => Ok(output(&outcome)),
            Err(error) => Err(error),
        }
    }
}

/// The intent of that number, which is below 100.
///
/// # Panics
/// Where it is not.
#[must_use]
pub fn intent(number: u32) -> AuditId {
    let id = format!("evt_00000000-00{number:02}-8000-8000-00000000000a");
    id.parse().expect("an id")
}

/// The output of a call that must succeed.
///
/// # Panics
/// Where it failed.
#[must_use]
#[track_caller]
pub fn output(outcome: &Outcome) -> Value {
    let answer = outcome.0.as_ref().expect("a call that succeeds");
    serde_json::from_slice(&answer.output).expect("JSON")
}

/// The code of a call that must fail, as JSON.
///
/// # Panics
/// Where it succeeded.
#[must_use]
#[track_caller]
pub fn refusal<T: std::fmt::Debug>(result: &Result<T, WorkerError>) -> Value {
    code(result.as_ref().expect_err("a call that fails"))
}

/// The code of a failure, as JSON.
///
/// # Panics
/// Never: each has one.
#[must_use]
pub fn code(error: &WorkerError) -> Value {
    serde_json::to_value(&error.code).expect("JSON")
}

/// The code of what a source could not do for this reason.
#[must_use]
pub fn transport(reason: &str) -> Value {
    json!({"transport_error": {"reason": reason}})
}

/// The code of a world that is not as it was, for this reason.
#[must_use]
pub fn changed(reason: &str) -> Value {
    json!({"precondition_changed": {"reason": reason}})
}

/// The code of what lies outside of what a call may see, by this field.
#[must_use]
pub fn missed(field: &str) -> Value {
    json!({"constraint_miss": {"field": field}})
}

/// A text member of each thing of a list.
///
/// # Panics
/// Where it is no list, or one of its things has no such text.
#[must_use]
#[track_caller]
pub fn texts(list: &Value, member: &str) -> Vec<String> {
    let things = list.as_array().unwrap_or_else(|| panic!("a list: {list}"));
    let text = |thing: &Value| thing[member].as_str().expect("a text").to_owned();
    things.iter().map(text).collect()
}

/// That a value has all that `expected` has: of an object these members, of a list as many things, each like its own.
/// A member that is expected to be null may be missing.
///
/// # Panics
/// Where it has not.
#[track_caller]
pub fn assert_like(found: &Value, expected: &Value) {
    assert!(
        is_like(found, expected),
        "{found:#} is not like {expected:#}"
    );
}

fn is_like(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Object(_), Value::Object(expected)) => {
            let mut members = expected.iter();
            members.all(|(name, value)| is_like(&found[name], value))
        }
        (Value::Array(found), Value::Array(expected)) => {
            let mut both = found.iter().zip(expected);
            found.len() == expected.len() && both.all(|(found, expected)| is_like(found, expected))
        }
        _ => found == expected,
    }
}

/// Holds what reads a folder to that one: where it is moved away, or another has its name, it is not served. `read` reads
/// the text at a `path`.
///
/// # Panics
/// Where it is served, or is not once it is back.
pub async fn serves_its_own_folder<S: Source>(manifest: &str, field: &str, read: &str) {
    let outer = tempfile::tempdir().expect("a folder");
    let (root, aside) = (outer.path().join("root"), outer.path().join("renamed"));
    fs::create_dir(&root).expect("a folder");
    fs::write(root.join("a.md"), "a").expect("a file");
    let mut worker = Worker::start::<S>(manifest, field, &root, Role::Reader).await;
    assert_eq!(worker.health().await, Health::Well);
    fs::rename(&root, &aside).expect("moved");
    assert!(matches!(worker.health().await, Health::Unavailable(_)));
    fs::create_dir(&root).expect("another");
    assert!(matches!(worker.health().await, Health::Unavailable(_)));
    // The handle is still good, and not used.
    let path = json!({"path": "a.md"});
    let refused = worker.refused(read, path.clone()).await;
    assert_eq!(refused, "source_unavailable");
    fs::remove_dir(&root).expect("removed");
    fs::rename(&aside, &root).expect("moved back");
    assert_eq!(worker.health().await, Health::Well);
    assert_eq!(worker.answer(read, path).await["content"], "a");
    worker.stop().await;
}

/// Holds a read of text to its frame: control characters take six bytes each in JSON.
///
/// # Panics
/// Where the largest answer is another than the first MiB.
pub async fn fits_its_largest_answer<S: Source>(manifest: &str, field: &str, read: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("a.md"), "\u{1}".repeat(2 << 20)).expect("a file");
    let mut worker = Worker::start::<S>(manifest, field, folder.path(), Role::Reader).await;
    let answer = worker.answer(read, json!({"path": "a.md"})).await;
    let length = answer["content"].as_str().map(str::len);
    assert_eq!(length, Some(1 << 20));
    assert_eq!(answer["next"], json!({"offset": 1 << 20}));
    worker.stop().await;
}
