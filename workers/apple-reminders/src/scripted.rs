//! Reminders by a script in its app, where there is no EventKit.
//!
//! Invariants: the script is text of this program; it compares a reminder with the planned one right before it changes it.
//! What repeats is not told to scripts, so that completing a series cannot be refused here.
//!
//! Must not know: how the script is run.

use crate::store::{Content, List, Reminder, ReminderStore};
use plexus_apple::{
    Failure,
    script::{Runner, Script, ask},
};
use serde::Deserialize;
use serde_json::json;

const SCRIPT: Script = Script {
    name: "reminders.js",
    text: include_str!("reminders.js"),
};

/// Reminders, by scripts that `R` runs.
#[derive(Debug)]
pub struct ScriptedReminders<R>(pub R);

/// What came of a change.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Change {
    Made(Reminder),
    Changed,
}

impl Change {
    fn made(self) -> Result<Reminder, Failure> {
        match self {
            Self::Made(reminder) => Ok(reminder),
            Self::Changed => Err(Failure::Changed),
        }
    }
}

impl<R: Runner> ReminderStore for ScriptedReminders<R> {
    fn zone(&self) -> Result<String, Failure> {
        ask(&self.0, SCRIPT, &json!({"op": "zone"}))
    }

    fn lists(&self) -> Result<Vec<List>, Failure> {
        ask(&self.0, SCRIPT, &json!({"op": "lists"}))
    }

    fn reminders(
        &self,
        lists: &[String],
        done: bool,
        take: &mut dyn FnMut(Reminder) -> bool,
    ) -> Result<(), Failure> {
        let input = json!({"op": "reminders", "lists": lists, "done": done});
        let found: Vec<Reminder> = ask(&self.0, SCRIPT, &input)?;
        for reminder in found {
            if !take(reminder) {
                break;
            }
        }
        Ok(())
    }

    fn reminder(&self, id: &str) -> Result<Option<Reminder>, Failure> {
        ask(&self.0, SCRIPT, &json!({"op": "reminder", "id": id}))
    }

    fn add(&self, list: &str, content: &Content) -> Result<Reminder, Failure> {
        let input = json!({"op": "add", "list": list, "content": content});
        ask(&self.0, SCRIPT, &input)
    }

    fn set(&self, old: &Reminder, new: &Content) -> Result<Reminder, Failure> {
        let input = json!({"op": "set", "old": old, "content": new});
        ask::<Change>(&self.0, SCRIPT, &input)?.made()
    }

    fn remove(&self, old: &Reminder) -> Result<(), Failure> {
        let input = json!({"op": "remove", "old": old});
        ask::<Change>(&self.0, SCRIPT, &input)?.made().map(drop)
    }
}
