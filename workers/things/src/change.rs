//! Changes: what each would be, as the owner sees it, and whether Things has it.
//!
//! ```text
//! input ─▶ refused, or Change: fields, the to-do before, a card, a state token ─▶ URL ─▶ read back: holds?
//! ```
//!
//! Invariants: text with control characters is refused; a card shows every character that is sent, those without a shape of
//! their own by their number.
//!
//! Must not know: how a URL is opened, how Things is read.

use crate::{
    item::{Container, Status, Todo},
    store::{Act, Record},
    url::{Deadline, Fields, TodoSchedule, read_date},
};
use chrono::NaiveDate;
use plexus_ipc::worker::{ALREADY_UNDONE, Content, Plan, Preview, SourceError, Touched};
use plexus_protocol::{AuditId, Digest};
use serde::Deserialize;

/// The kinds that everything is recorded under, which are the fields that a constraint may narrow.
pub(crate) const TODO: &str = "todo";
pub(crate) const PROJECT: &str = "project";
pub(crate) const AREA: &str = "area";

/// Input of `todos.add`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddInput {
    title: String,
    notes: Option<String>,
    when: Option<String>,
    deadline: Option<String>,
    #[serde(default)]
    pub(crate) tags: Vec<String>,
    #[serde(default)]
    checklist: Vec<String>,
    pub(crate) project: Option<String>,
    pub(crate) area: Option<String>,
    heading: Option<String>,
}

/// Input of `todos.update`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateInput {
    pub(crate) id: String,
    title: Option<String>,
    notes: Option<String>,
    when: Option<String>,
    deadline: Option<String>,
    pub(crate) tags: Option<Vec<String>>,
    pub(crate) project: Option<String>,
    pub(crate) area: Option<String>,
}

/// Where a to-do is put.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) project: Option<Container>,
    /// That of the project, or the one that was named.
    pub(crate) area: Option<Container>,
}

/// A change that was planned.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) act: Act,
    pub(crate) fields: Fields,
    /// The to-do before; `None` of one that is added.
    pub(crate) todo: Option<Todo>,
    pub(crate) target: Target,
    /// Of an undo: what is taken back.
    of: Option<Act>,
    /// Of an undo: the change that is taken back.
    pub(crate) takes_back: Option<AuditId>,
    warnings: Vec<&'static str>,
}

impl Target {
    fn id(&self) -> Option<String> {
        let place = self.project.as_ref().or(self.area.as_ref());
        place.map(|place| place.id.clone())
    }
}

impl AddInput {
    /// What the input alone says of what is added.
    pub(crate) fn fields(&self, today: NaiveDate) -> Result<Fields, String> {
        if self.heading.is_some() && self.project.is_none() {
            return Err("heading is one of a project: name the project too".into());
        }
        if self.checklist.iter().any(|item| item.trim().is_empty()) {
            return Err("an item of checklist is empty".into());
        }
        for line in self.checklist.iter().chain(&self.heading) {
            plain(line, false)?;
        }
        let mut fields = fields(
            Some(&self.title),
            self.notes.as_deref(),
            self.when.as_deref(),
            self.deadline.as_deref(),
            Some(&self.tags),
            today,
        )?;
        fields.deadline = fields.deadline.filter(|deadline| deadline.on.is_some());
        fields.tags = fields.tags.filter(|tags| !tags.is_empty());
        fields.heading.clone_from(&self.heading);
        fields.checklist.clone_from(&self.checklist);
        short(&fields)?;
        Ok(fields)
    }
}

impl Change {
    /// What is added to `target`.
    pub(crate) fn add(mut fields: Fields, target: Target) -> Result<Self, String> {
        fields.list = target.id();
        short(&fields)?;
        Ok(Self {
            target,
            ..Self::new(Act::Add, fields, None)
        })
    }
}

impl UpdateInput {
    /// What the input alone says of what is changed.
    pub(crate) fn fields(&self, today: NaiveDate) -> Result<Fields, String> {
        let fields = fields(
            self.title.as_deref(),
            self.notes.as_deref(),
            self.when.as_deref(),
            self.deadline.as_deref(),
            self.tags.as_deref(),
            today,
        )?;
        if fields == Fields::default() && self.project.is_none() && self.area.is_none() {
            return Err(
                "it changes nothing: give a title, notes, when, deadline, tags, project or area"
                    .into(),
            );
        }
        short(&fields)?;
        Ok(fields)
    }
}

impl Change {
    /// What `fields` change of `todo`, which goes to `target`.
    pub(crate) fn update(mut fields: Fields, todo: Todo, target: Target) -> Result<Self, String> {
        fields.list = target.id();
        // Things is said to crash over a day for one that repeats.
        let why = match todo.repeats {
            Some(false) => None,
            Some(true) => Some("this to-do repeats: Things takes no when and no deadline for it"),
            None => Some(
                "the database alone tells whether a to-do repeats: when and deadline are changed only where the owner adds the source with database",
            ),
        };
        if let Some(why) = why.filter(|_| fields.when.is_some() || fields.deadline.is_some()) {
            return Err(why.into());
        }
        short(&fields)?;
        let back = fields.before(&todo);
        let mut warnings = Vec::new();
        if fields.when.is_some() && back.when.is_none() {
            warnings.push(
                "It cannot be put back to where it stands by undo: when stays as it is set here.",
            );
        }
        if fields.list.is_some() && back.list.is_none() {
            warnings.push("It is in no project and no area, and undo cannot take it out of the one named here.");
        }
        Ok(Self {
            target,
            warnings,
            ..Self::new(Act::Update, fields, Some(todo))
        })
    }
}

fn fields(
    title: Option<&str>,
    notes: Option<&str>,
    when: Option<&str>,
    deadline: Option<&str>,
    tags: Option<&[String]>,
    today: NaiveDate,
) -> Result<Fields, String> {
    let title = title.map(|title| title.trim().to_owned());
    if title.as_ref().is_some_and(String::is_empty) {
        return Err("the title is empty".into());
    }
    plain(title.as_deref().unwrap_or_default(), false)?;
    plain(notes.unwrap_or_default(), true)?;
    let when = when.map(|text| TodoSchedule::read(text, today).ok_or("when is none of today, tomorrow, evening, anytime, someday and no date from today on, such as 2026-11-23"));
    let deadline = deadline.map(|text| match text {
        "" => Ok(Deadline { on: None }),
        text => read_date(text)
            .map(|date| Deadline { on: Some(date) })
            .ok_or("deadline is no date, such as 2026-11-23"),
    });
    let tags = tags.map(|tags| {
        let mut tags = tags.to_vec();
        tags.sort();
        tags.dedup();
        tags
    });
    Ok(Fields {
        title,
        notes: notes.map(str::to_owned),
        when: when.transpose()?,
        deadline: deadline.transpose()?,
        tags,
        ..Fields::default()
    })
}

fn short(fields: &Fields) -> Result<(), String> {
    let why =
        "this is too long for one URL: give less text, or text with fewer characters beyond ASCII";
    fields.fit().then_some(()).ok_or_else(|| why.into())
}

/// Refuses control characters: but for line breaks where there may be lines.
fn plain(text: &str, lines: bool) -> Result<(), String> {
    match text
        .chars()
        .find(|c| c.is_control() && !(lines && *c == '\n'))
    {
        Some(c) => Err(format!(
            "the control character U+{:04X} is not sent",
            u32::from(c)
        )),
        None => Ok(()),
    }
}

/// `text` with each character that has no shape of its own, or turns the direction of others, by its number.
fn visible(text: &str) -> String {
    let shapeless = |c: char| {
        c.is_control()
            || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
    };
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => shown.push('\n'),
            c if shapeless(c) => shown.push_str(&format!("<U+{:04X}>", u32::from(c))),
            c => shown.push(c),
        }
    }
    shown
}

impl Change {
    /// One that puts nothing elsewhere and takes nothing back.
    fn new(act: Act, fields: Fields, todo: Option<Todo>) -> Self {
        Self {
            act,
            fields,
            todo,
            target: Target::default(),
            of: None,
            takes_back: None,
            warnings: Vec::new(),
        }
    }

    /// Completes `todo`.
    ///
    /// # Errors
    /// A reason and a sentence, where it cannot be.
    pub(crate) fn complete(todo: Todo) -> Result<Self, (&'static str, &'static str)> {
        if todo.repeats == Some(true) {
            return Err(("repeats", "this to-do repeats: it is completed in Things"));
        }
        if todo.status != Status::Open {
            return Err((
                "already_done",
                "this to-do is completed or cancelled already",
            ));
        }
        let status = Some(Status::Completed);
        let fields = Fields {
            status,
            ..Fields::default()
        };
        Ok(Self::new(Act::Complete, fields, Some(todo)))
    }

    /// Takes back the change `id`, which `record` tells of; `todo` is as it is now.
    ///
    /// # Errors
    /// As [`Change::complete`]; `changed_since` where somebody changed the to-do since, `already_undone` where that was an
    /// undo of this change (`is_undone`).
    pub(crate) fn undo(
        id: AuditId,
        (record, is_undone): (Record, bool),
        todo: Todo,
    ) -> Result<Self, (&'static str, &'static str)> {
        if record.version != Some(todo.version()) {
            if is_undone {
                return Err(ALREADY_UNDONE);
            }
            return Err((
                "changed_since",
                "somebody changed this to-do since; nothing is taken back",
            ));
        }
        let mut warnings = Vec::new();
        let fields = match record.act {
            Act::Undo => return Err(("not_undoable", "an undo is not taken back")),
            Act::Add => {
                warnings.push("Things deletes nothing by URL: the to-do is marked as cancelled and stays in the Logbook.");
                let status = Some(Status::Canceled);
                Fields {
                    status,
                    ..Fields::default()
                }
            }
            Act::Complete | Act::Update => record.back,
        };
        if fields == Fields::default() || !fields.fit() {
            return Err(("not_undoable", "Things has no URL that takes this back"));
        }
        Ok(Self {
            of: Some(record.act),
            takes_back: Some(id),
            warnings,
            ..Self::new(Act::Undo, fields, Some(todo))
        })
    }

    /// What the store keeps before it is sent.
    pub(crate) fn record(&self, second: i64) -> Record {
        Record {
            act: self.act,
            id: self.todo.as_ref().map(|todo| todo.id.clone()),
            title: self.title().to_owned(),
            second,
            fields: self.fields.clone(),
            back: self
                .todo
                .as_ref()
                .map(|todo| self.fields.before(todo))
                .unwrap_or_default(),
            version: None,
            takes_back: self.takes_back.clone(),
        }
    }

    fn title(&self) -> &str {
        let before = self.todo.as_ref().map(|todo| todo.title.as_str());
        before.or(self.fields.title.as_deref()).unwrap_or_default()
    }

    /// For the record: what was done, and the title of what.
    pub(crate) fn summary(&self) -> String {
        let what = match (self.act, self.of) {
            (Act::Add, _) => "added a to-do",
            (Act::Update, _) => "changed a to-do",
            (Act::Complete, _) => "completed a to-do",
            (Act::Undo, Some(Act::Add)) => "canceled a to-do that was added",
            (Act::Undo, _) => "took a change of a to-do back",
        };
        format!("{what}: {}", self.title())
    }

    fn preview(&self) -> Preview {
        let title = visible(self.title());
        let mut preview = Preview::new(match (self.act, self.of) {
            (Act::Add, _) => format!("Add a to-do: {title}"),
            (Act::Update, _) => format!("Change the to-do: {title}"),
            (Act::Complete, _) => format!("Complete the to-do: {title}"),
            (Act::Undo, Some(Act::Add)) => format!("Cancel the to-do that was added: {title}"),
            (Act::Undo, Some(Act::Complete)) => format!("Open the completed to-do again: {title}"),
            (Act::Undo, _) => format!("Take a change of the to-do back: {title}"),
        });
        let before = self.todo.as_ref();
        let place = |place: Option<&Container>| {
            place.map(|place| format!("{} ({})", visible(&place.title), place.id))
        };
        if let Some(todo) = before {
            preview = preview.fact("id", &todo.id);
            let at = place(todo.project.as_ref().or(todo.area.as_ref()));
            preview = preview.fact("in", at.unwrap_or_else(|| "no project and no area".into()));
        }
        let mut fact = |name: &str, old: Option<String>, new: Option<String>| {
            let Some(new) = new else { return };
            let or_none = |text: String| {
                if text.is_empty() {
                    "none".to_owned()
                } else {
                    visible(&text)
                }
            };
            let value = match old {
                Some(old) => format!("{} (before: {})", or_none(new), or_none(old)),
                None => or_none(new),
            };
            preview = std::mem::take(&mut preview).fact(name, value);
        };
        let fields = &self.fields;
        fact(
            "title",
            before.map(|todo| todo.title.clone()),
            fields.title.clone(),
        );
        let to = place(self.target.project.as_ref());
        fact("project", None, to.clone());
        fact(
            "area",
            None,
            place(self.target.area.as_ref()).filter(|_| to.is_none()),
        );
        fact(
            "list",
            None,
            fields
                .list
                .clone()
                .filter(|_| self.target == Target::default()),
        );
        fact("heading", None, fields.heading.clone());
        let when = before.map(|todo| {
            TodoSchedule::of(todo)
                .map(|when| when.to_string())
                .unwrap_or_default()
        });
        fact("when", when, fields.when.map(|when| when.to_string()));
        let deadline = before.map(|todo| Deadline { on: todo.deadline }.to_string());
        fact(
            "deadline",
            deadline,
            fields.deadline.map(|deadline| deadline.to_string()),
        );
        let tags = before.map(|todo| todo.tags.join(", "));
        fact(
            "tags",
            tags,
            fields.tags.as_ref().map(|tags| tags.join(", ")),
        );
        for (at, item) in fields.checklist.iter().enumerate() {
            fact(&format!("checklist {}", at + 1), None, Some(item.clone()));
        }
        let old = before.map_or("", |todo| &todo.notes);
        match &fields.notes {
            Some(notes) if old.is_empty() => preview.text(&visible(notes)),
            Some(notes) => preview.replaced(&visible(old), &visible(notes)),
            None => preview,
        }
    }

    /// What it assumes: the to-do as it is, the place as it is called, and the input.
    fn state_token(&self) -> Digest {
        let before = self.todo.as_ref().map(Todo::version);
        Digest::of(
            format!(
                "{:?} {:?} {:?} {before:?}",
                self.act, self.fields, self.target
            )
            .as_bytes(),
        )
    }

    /// All that it changes; `version` is that of the to-do once it is read back.
    pub(crate) fn touched(&self, id: Option<&str>, version: Option<Digest>) -> Vec<Touched> {
        let mut all = Vec::new();
        let mut add = |kind: &str, place: Option<&Container>| {
            let new = place.filter(|place| !all.iter().any(|one: &Touched| *one.id == *place.id));
            all.extend(new.map(|place| Touched::write(kind, &place.id, None)));
        };
        let todo = self.todo.as_ref();
        add(PROJECT, todo.and_then(|todo| todo.project.as_ref()));
        add(AREA, todo.and_then(|todo| todo.area.as_ref()));
        add(PROJECT, self.target.project.as_ref());
        add(AREA, self.target.area.as_ref());
        let id = id.or(todo.map(|todo| todo.id.as_str()));
        all.extend(id.map(|id| Touched::write(TODO, id, version)));
        all
    }

    /// The plan of it.
    pub(crate) fn plan(self) -> Plan<Self> {
        let (token, preview, summary) = (self.state_token(), self.preview(), self.summary());
        let before = self.todo.as_ref().map(Todo::version);
        let (touched, warnings) = (self.touched(None, before), self.warnings.clone());
        // An undo is held against what the change itself left.
        let content = match self.act {
            Act::Add => Some(Content::Absent),
            Act::Update | Act::Complete => before.map(Content::Is),
            Act::Undo => None,
        };
        let mut plan = Plan::new(self, token, preview, summary).touched(touched);
        plan = warnings.into_iter().fold(plan, Plan::warning);
        match content {
            Some(content) => plan.before(content),
            None => plan,
        }
    }
}

/// A refusal by its reason.
pub(crate) fn cannot((reason, why): (&str, &str)) -> SourceError {
    match reason {
        "changed_since" | "already_undone" => SourceError::changed(reason, why),
        _ => SourceError::transport(reason, why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn day_of_a_todo_that_may_repeat_is_left_alone() {
        let today = read_date("2026-11-22").unwrap();
        let planned = |repeats: serde_json::Value, input: serde_json::Value| {
            let todo = serde_json::json!({"id": "T", "title": "t", "status": "open", "created": 0, "repeats": repeats});
            let input: UpdateInput = serde_json::from_value(input).unwrap();
            let todo = serde_json::from_value(todo).unwrap();
            let fields = input.fields(today).unwrap();
            Change::update(fields, todo, Target::default()).is_ok()
        };
        for field in ["when", "deadline"] {
            let input = serde_json::json!({"id": "T", field: "2026-12-01"});
            assert!(planned(false.into(), input.clone()));
            assert!(!planned(true.into(), input.clone()));
            assert!(!planned(serde_json::Value::Null, input));
        }
        assert!(planned(
            true.into(),
            serde_json::json!({"id": "T", "title": "new"})
        ));
    }

    #[test]
    fn shapeless_characters_are_shown_by_number() {
        assert_eq!(
            visible("a\u{202e}b\u{200b}\u{e0041}\nc\u{7}é \u{1f35e}"),
            "a<U+202E>b<U+200B><U+E0041>\nc<U+0007>é \u{1f35e}"
        );
    }
}
