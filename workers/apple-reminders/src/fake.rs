//! The lists of systems without Reminders: the same at the first start, for tests.
//!
//! They lie in a file of the worker's own folder, so that the reader sees what the writer did.
//!
//! Must not know: what asks for them.

use crate::store::{Content, Due, List, Reminder, ReminderStore, same};
use jiff::{Timestamp, ToSpan as _};
use plexus_apple::Failure;
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

/// The file in the worker's own folder. Without an ending it is no kept change.
pub(crate) const FILE: &str = "fake-reminders";

/// The lists of nobody.
#[derive(Debug)]
pub(crate) struct FakeReminders {
    /// Where they lie; none: in memory.
    file: Option<PathBuf>,
    memory: Mutex<World>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct World {
    lists: Vec<List>,
    reminders: Vec<Reminder>,
    made: usize,
    /// The reason with which every call fails: how consent that is missing is shown.
    #[serde(default)]
    fails: Option<String>,
}

impl World {
    fn first(further: usize) -> Self {
        let list = |id: &str, name: &str, account: &str, writable| List {
            id: id.into(),
            name: name.into(),
            account: Some(account.into()),
            default: id == "reminders",
            writable,
        };
        let long_ago = "2026-06-01T08:00:00Z".parse().ok();
        let reminder = |id: &str, list: &str, title: &str, due: Option<Due>| Reminder {
            id: id.into(),
            list: list.into(),
            content: Content {
                title: title.into(),
                notes: None,
                due,
                priority: 0,
                done: false,
            },
            completed: None,
            repeats: false,
            created: long_ago,
            modified: long_ago,
        };
        let day = |text: &str| text.parse().ok().map(Due::Day);
        let mut milk = reminder("milk", "groceries", "Buy milk", day("2026-06-26"));
        milk.content.notes = Some("two litres".into());
        milk.content.priority = 1;
        let mut plants = reminder("plants", "reminders", "Water the plants", day("2026-06-27"));
        plants.repeats = true;
        let mut taxes = reminder("taxes", "reminders", "Send the taxes", None);
        taxes.content.done = true;
        taxes.completed = long_ago;
        let at = "2026-06-25T12:00:00Z".parse().ok().map(Due::At);
        let dentist = reminder("dentist", "reminders", "Call the dentist", at);
        let eggs = reminder("eggs", "groceries-2", "Eggs for everybody", None);
        let further = (0..further).map(|at| {
            let mut one = reminder(
                &format!("further-{at}"),
                "reminders",
                &format!("Reminder {at}"),
                day("2026-07-01"),
            );
            one.content.notes = Some("notes ".repeat(20));
            one
        });
        Self {
            lists: vec![
                list("reminders", "Reminders", "iCloud", true),
                // Two of one name, as accounts beside each other have them.
                list("groceries", "Groceries", "iCloud", true),
                list("groceries-2", "Groceries", "Office", false),
            ],
            reminders: [milk, plants, taxes, dentist, eggs]
                .into_iter()
                .chain(further)
                .collect(),
            made: 0,
            fails: None,
        }
    }
}

impl FakeReminders {
    pub(crate) fn new(file: Option<PathBuf>, further: usize) -> Self {
        Self {
            file,
            memory: Mutex::new(World::first(further)),
        }
    }

    fn world(&self) -> Result<World, Failure> {
        let first = || {
            self.memory
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()
        };
        let world = match self.file.as_ref().map(fs::read) {
            None => first(),
            Some(Ok(bytes)) => serde_json::from_slice(&bytes).map_err(|_| Failure::BadAnswer)?,
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => first(),
            Some(Err(_)) => return Err(Failure::Store),
        };
        match world.fails.as_deref() {
            None => Ok(world),
            Some("consent_denied") => Err(Failure::ConsentDenied),
            Some("consent_add_only") => Err(Failure::AddOnly),
            Some("consent_restricted") => Err(Failure::Restricted),
            Some(_) => Err(Failure::Failed(0)),
        }
    }

    fn save(&self, world: World) -> Result<(), Failure> {
        if let Some(file) = &self.file {
            let fresh = file.with_file_name(format!("{FILE}-fresh"));
            let bytes = serde_json::to_vec(&world).map_err(|_| Failure::Store)?;
            let saved = fs::write(&fresh, bytes).and_then(|()| fs::rename(&fresh, file));
            return saved.map_err(|_| Failure::Store);
        }
        *self.memory.lock().unwrap_or_else(PoisonError::into_inner) = world;
        Ok(())
    }
}

impl ReminderStore for FakeReminders {
    fn zone(&self) -> Result<String, Failure> {
        Ok("Europe/Berlin".to_owned())
    }

    fn lists(&self) -> Result<Vec<List>, Failure> {
        Ok(self.world()?.lists)
    }

    fn reminders(
        &self,
        lists: &[String],
        done: bool,
        take: &mut dyn FnMut(Reminder) -> bool,
    ) -> Result<(), Failure> {
        for reminder in self.world()?.reminders {
            if reminder.content.done == done && lists.contains(&reminder.list) && !take(reminder) {
                break;
            }
        }
        Ok(())
    }

    fn reminder(&self, id: &str) -> Result<Option<Reminder>, Failure> {
        let mut all = self.world()?.reminders.into_iter();
        Ok(all.find(|reminder| reminder.id == id))
    }

    fn add(&self, list: &str, content: &Content) -> Result<Reminder, Failure> {
        let mut world = self.world()?;
        world.made += 1;
        let now = Some(Timestamp::now());
        let reminder = Reminder {
            id: format!("r-{}", world.made),
            list: list.to_owned(),
            content: content.clone(),
            completed: now.filter(|_| content.done),
            repeats: false,
            created: now,
            modified: now,
        };
        world.reminders.push(reminder.clone());
        self.save(world)?;
        Ok(reminder)
    }

    fn set(&self, old: &Reminder, new: &Content) -> Result<Reminder, Failure> {
        let mut world = self.world()?;
        let at = world.reminders.iter().position(|one| one.id == old.id);
        let Some(one) = at.map(|at| &mut world.reminders[at]) else {
            return Err(Failure::Changed);
        };
        same(old, Some(one.clone()))?;
        // A change is later than the one before, however fast it comes.
        let now = Timestamp::now();
        let before = one.modified.unwrap_or(now);
        let now = now.max(before.saturating_add(1.millisecond()).unwrap_or(now));
        one.completed = new.done.then_some(one.completed.unwrap_or(now));
        one.content = new.clone();
        one.modified = Some(now);
        let changed = one.clone();
        self.save(world)?;
        Ok(changed)
    }

    fn remove(&self, old: &Reminder) -> Result<(), Failure> {
        let mut world = self.world()?;
        let now = world.reminders.iter().find(|one| one.id == old.id);
        same(old, now.cloned())?;
        world.reminders.retain(|one| one.id != old.id);
        self.save(world)
    }
}
