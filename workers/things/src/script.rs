//! Things asked by Apple events: one fixed script, run by `osascript`, with one JSON argument.
//!
//! Invariants: nothing of a call becomes part of the script; the answer is bounded, in bytes and in time.
//!
//! Must not know: what the answer is for.

use crate::{
    failure::Failure,
    item::{Container, Project, Tag, Todo, View},
    run::Program,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json, value::RawValue};
use std::{collections::BTreeMap, io, sync::Mutex, time::Duration};

/// What is asked.
const SCRIPT: &str = include_str!("reads.js");
/// How long one answer may take. A person who is asked for consent answers within a second call.
const WITHIN: Duration = Duration::from_secs(25);
/// What the script says of a list that is too long for it.
const TOO_MANY: i64 = -10_001;

/// Things, by way of a program that runs the script on its input.
#[derive(Debug)]
pub struct Script {
    program: Program,
    /// Things answers one question after the other.
    turn: Mutex<()>,
    within: Duration,
}

impl Script {
    /// The system's `osascript`.
    #[must_use]
    pub fn system() -> Self {
        let arguments = ["-l", "JavaScript", "-"].map(str::to_owned).to_vec();
        let path = "/usr/bin/osascript".into();
        Self::by(Program { path, arguments }, WITHIN)
    }

    /// Another program that runs a script which it reads.
    #[must_use]
    pub fn by(program: Program, within: Duration) -> Self {
        Self {
            program,
            turn: Mutex::default(),
            within,
        }
    }

    /// The open to-dos, or those of one list.
    ///
    /// # Errors
    /// Why Things did not answer; the Logbook is not read this way.
    pub fn todos(&self, view: Option<View>) -> Result<Vec<Todo>, Failure> {
        if view == Some(View::Logbook) {
            return Err(Failure::TooMuch(
                "the Logbook is read from the database alone: the owner adds the source with database",
            ));
        }
        self.ask(&json!({"ask": "todos", "view": view}), "todos")
    }

    /// The to-do of this id.
    ///
    /// # Errors
    /// Why Things did not answer.
    pub fn todo(&self, id: &str) -> Result<Option<Todo>, Failure> {
        let found: Vec<Todo> = self.ask(&json!({"ask": "todo", "id": id}), "todos")?;
        Ok(found.into_iter().next())
    }

    /// To-dos of this title, made in this second.
    ///
    /// # Errors
    /// Why Things did not answer.
    pub fn made(&self, title: &str, second: i64) -> Result<Vec<Todo>, Failure> {
        self.ask(
            &json!({"ask": "made", "title": title, "second": second}),
            "todos",
        )
    }

    /// The open projects.
    ///
    /// # Errors
    /// Why Things did not answer.
    pub fn projects(&self) -> Result<Vec<Project>, Failure> {
        self.ask(&json!({"ask": "projects"}), "projects")
    }

    /// The areas.
    ///
    /// # Errors
    /// Why Things did not answer.
    pub fn areas(&self) -> Result<Vec<Container>, Failure> {
        self.ask(&json!({"ask": "areas"}), "areas")
    }

    /// The tags.
    ///
    /// # Errors
    /// Why Things did not answer.
    pub fn tags(&self) -> Result<Vec<Tag>, Failure> {
        self.ask(&json!({"ask": "tags"}), "tags")
    }

    fn ask<T: DeserializeOwned>(&self, question: &Value, field: &str) -> Result<Vec<T>, Failure> {
        let _turn = self
            .turn
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let ended = self.program.run(&question.to_string(), SCRIPT, self.within);
        let ended = ended.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => Failure::Timeout,
            io::ErrorKind::FileTooLarge => Failure::TooMuch("more than 32 MiB: ask for one list"),
            kind => Failure::Answer(format!("osascript does not run ({kind})")),
        })?;
        match ended.ok {
            true => read(&ended.output, field),
            false => Err(failed(&ended.errors)),
        }
    }
}

/// The list in this field of an answer of the script, or the failure that it names.
pub(crate) fn read<T: DeserializeOwned>(output: &[u8], field: &str) -> Result<Vec<T>, Failure> {
    let shape = |error: serde_json::Error| {
        Failure::Answer(format!("no such JSON at column {}", error.column()))
    };
    // Nobody takes apart a member that is not asked for: an answer may have 32 MiB.
    let answer: BTreeMap<String, &RawValue> = serde_json::from_slice(output).map_err(shape)?;
    let member = |name: &str| answer.get(name).map_or("null", |value| value.get());
    match serde_json::from_str(member("error")).map_err(shape)? {
        Some(TOO_MANY) => Err(Failure::TooMuch(
            "more than 2,000 to-dos: ask for another list, or have the owner add the source with database",
        )),
        Some(number) => Err(Failure::numbered(number)),
        None => serde_json::from_str(member(field)).map_err(shape),
    }
}

/// The number at the end of what `osascript` said, which is all that is the same in every language.
pub(crate) fn failed(errors: &str) -> Failure {
    let number = errors
        .trim_end()
        .strip_suffix(')')
        .and_then(|rest| rest.rsplit_once('('));
    match number.and_then(|(_, number)| number.parse().ok()) {
        Some(number) => Failure::numbered(number),
        None => Failure::Answer("osascript failed without a number".into()),
    }
}
