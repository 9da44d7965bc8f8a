//! URLs of Things: what a to-do is set to, as the parameters of `things:///add` and `things:///update`.
//!
//! Invariants: a URL cannot be printed, compared or cloned, and its memory is wiped when it goes; each value is encoded to
//! letters, digits and `-._~`; no parameter comes from a caller's text as it stands.
//!
//! Must not know: who opens it, whether it was carried out.

use crate::item::{Start, Status, Todo};
use chrono::{DateTime, Days, NaiveDate, SecondsFormat};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use plexus_ipc::worker::Secret;
use serde::{Deserialize, Serialize};
use std::fmt;
use zeroize::Zeroizing;

/// All but what RFC 3986 calls unreserved.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Longest URL, in bytes, but for id, date and token.
const LONGEST: usize = 100_000;

/// A URL that may hold the token.
pub(crate) struct Url(Zeroizing<String>);

impl Url {
    /// The text. The caller hands it to the system's opener and keeps it nowhere.
    #[must_use]
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Url(redacted)")
    }
}

/// When a to-do is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum TodoSchedule {
    Today,
    Evening,
    Anytime,
    Someday,
    /// On a later day.
    On(NaiveDate),
}

impl TodoSchedule {
    /// Reads `today`, `tomorrow`, `evening`, `anytime`, `someday` or a date.
    pub(crate) fn read(text: &str, today: NaiveDate) -> Option<Self> {
        match text {
            "today" => Some(Self::Today),
            "evening" => Some(Self::Evening),
            "anytime" => Some(Self::Anytime),
            "someday" => Some(Self::Someday),
            "tomorrow" => today.checked_add_days(Days::new(1)).map(Self::On),
            date => match read_date(date)? {
                date if date < today => None,
                date if date == today => Some(Self::Today),
                date => Some(Self::On(date)),
            },
        }
    }

    /// When `todo` is to be done; `None` in the Inbox, and where it is not known.
    pub(crate) fn of(todo: &Todo) -> Option<Self> {
        match (todo.start?, todo.day) {
            (Start::Inbox, _) => None,
            (Start::Anytime, Some(_)) if todo.evening == Some(true) => Some(Self::Evening),
            (Start::Anytime, Some(_)) => Some(Self::Today),
            (Start::Anytime, None) => Some(Self::Anytime),
            (Start::Someday, None) => Some(Self::Someday),
            (Start::Someday, Some(day)) => Some(Self::On(day)),
        }
    }

    /// Whether `todo` says the same, as far as it says.
    fn holds(self, todo: &Todo, today: NaiveDate) -> bool {
        let start = |wanted| todo.start.is_none_or(|start| start == wanted);
        match self {
            Self::Today => todo.day == Some(today) && todo.evening != Some(true),
            Self::Evening => todo.day == Some(today) && todo.evening != Some(false),
            Self::Anytime => todo.day.is_none() && start(Start::Anytime),
            Self::Someday => todo.day.is_none() && start(Start::Someday),
            Self::On(day) => todo.day == Some(day),
        }
    }
}

impl fmt::Display for TodoSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Today => f.write_str("today"),
            Self::Evening => f.write_str("evening"),
            Self::Anytime => f.write_str("anytime"),
            Self::Someday => f.write_str("someday"),
            Self::On(day) => write!(f, "{day}"),
        }
    }
}

/// A deadline, or that there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Deadline {
    pub(crate) on: Option<NaiveDate>,
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.on.map_or(Ok(()), |date| write!(f, "{date}"))
    }
}

/// A date in the one form, which is written again from what was read.
pub(crate) fn read_date(text: &str) -> Option<NaiveDate> {
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    (date.to_string() == text).then_some(date)
}

/// What a to-do is set to. What is `None` is left alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Fields {
    pub(crate) title: Option<String>,
    pub(crate) notes: Option<String>,
    pub(crate) when: Option<TodoSchedule>,
    pub(crate) deadline: Option<Deadline>,
    /// All of them, sorted.
    pub(crate) tags: Option<Vec<String>>,
    /// The id of a project or an area.
    pub(crate) list: Option<String>,
    pub(crate) heading: Option<String>,
    pub(crate) status: Option<Status>,
    /// Of a to-do that is added.
    pub(crate) checklist: Vec<String>,
}

impl Fields {
    /// The same fields as `todo` has them: what takes a change to `self` back.
    pub(crate) fn before(&self, todo: &Todo) -> Self {
        let place = todo.project.as_ref().or(todo.area.as_ref());
        Self {
            title: self.title.as_ref().map(|_| todo.title.clone()),
            notes: self.notes.as_ref().map(|_| todo.notes.clone()),
            when: self.when.and(TodoSchedule::of(todo)),
            deadline: self.deadline.map(|_| Deadline { on: todo.deadline }),
            tags: self.tags.as_ref().map(|_| todo.tags.clone()),
            list: self.list.as_ref().and(place.map(|place| place.id.clone())),
            heading: None,
            status: self.status.map(|_| todo.status),
            checklist: Vec::new(),
        }
    }

    /// Whether `todo` has all of it.
    pub(crate) fn hold(&self, todo: &Todo, today: NaiveDate) -> bool {
        let place = |list: &String| {
            todo.project_id() == list || todo.project.is_none() && todo.area_id() == list
        };
        self.title.as_ref().is_none_or(|title| *title == todo.title)
            && self
                .notes
                .as_ref()
                .is_none_or(|notes| notes.trim_end() == todo.notes.trim_end())
            && self.when.is_none_or(|when| when.holds(todo, today))
            && self
                .deadline
                .is_none_or(|deadline| deadline.on == todo.deadline)
            && self.tags.as_ref().is_none_or(|tags| *tags == todo.tags)
            && self.list.as_ref().is_none_or(place)
            && self
                .heading
                .as_ref()
                .is_none_or(|name| todo.heading.as_ref().is_none_or(|is| is == name))
            && self.status.is_none_or(|status| status == todo.status)
    }

    fn parameters(&self) -> Vec<(&'static str, String)> {
        let mut all = Vec::new();
        let mut add = |name, value: Option<String>| all.extend(value.map(|value| (name, value)));
        let is = |wanted| self.status.map(|status| (status == wanted).to_string());
        add("title", self.title.clone());
        add("notes", self.notes.clone());
        add("when", self.when.map(|when| when.to_string()));
        add(
            "deadline",
            self.deadline.map(|deadline| deadline.to_string()),
        );
        add("tags", self.tags.as_ref().map(|tags| tags.join(",")));
        add("list-id", self.list.clone());
        add("heading", self.heading.clone());
        let items = (!self.checklist.is_empty()).then(|| self.checklist.join("\n"));
        add("checklist-items", items);
        match self.status {
            Some(Status::Canceled) => add("canceled", is(Status::Canceled)),
            _ => add("completed", is(Status::Completed)),
        }
        all
    }

    /// Whether a URL has space for it: the system takes longer ones, and what Things does with them is not known.
    pub(crate) fn fit(&self) -> bool {
        written("add", &self.parameters(), None).0.len() <= LONGEST
    }

    /// The URL that adds a to-do, made in this second.
    pub(crate) fn add(&self, second: i64) -> Url {
        let at = DateTime::from_timestamp(second, 0).unwrap_or_default();
        let mut parameters = self.parameters();
        parameters.push((
            "creation-date",
            at.to_rfc3339_opts(SecondsFormat::Secs, true),
        ));
        written("add", &parameters, None)
    }

    /// The URL that changes the to-do of this id.
    pub(crate) fn update(&self, id: &str, token: &Secret) -> Url {
        let mut parameters = self.parameters();
        parameters.insert(0, ("id", id.to_owned()));
        written("update", &parameters, Some(token))
    }
}

fn written(command: &str, parameters: &[(&'static str, String)], token: Option<&Secret>) -> Url {
    let mut url = Zeroizing::new(String::with_capacity(64 * 1024));
    url.push_str("things:///");
    url.push_str(command);
    let values = parameters
        .iter()
        .map(|(name, value)| (*name, value.as_str()));
    let token = token.map(|token| ("auth-token", token.expose().trim()));
    for (at, (name, value)) in values.chain(token).enumerate() {
        url.push(if at == 0 { '?' } else { '&' });
        url.push_str(name);
        url.push('=');
        url.extend(utf8_percent_encode(value, ENCODED));
    }
    Url(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_has_every_value_encoded() {
        let fields = Fields {
            title: Some("a/b & c+d 50% #1? \u{1f35e}é".into()),
            notes: Some("x\ny=z".into()),
            when: Some(TodoSchedule::Today),
            deadline: Some(Deadline { on: None }),
            tags: Some(vec!["Home".into(), "Work".into()]),
            checklist: vec!["one".into(), "two".into()],
            ..Fields::default()
        };
        assert_eq!(
            fields.add(1_764_000_000).expose(),
            "things:///add?title=a%2Fb%20%26%20c%2Bd%2050%25%20%231%3F%20%F0%9F%8D%9E%C3%A9&notes=x%0Ay%3Dz&when=today&deadline=\
             &tags=Home%2CWork&checklist-items=one%0Atwo&creation-date=2025-11-24T16%3A00%3A00Z"
        );
        let token = Secret::new("s&cret\n".into());
        let url = Fields {
            status: Some(Status::Open),
            ..Fields::default()
        }
        .update("A1", &token);
        assert_eq!(
            url.expose(),
            "things:///update?id=A1&completed=false&auth-token=s%26cret"
        );
        assert_eq!(format!("{url:?}"), "Url(redacted)");
        let canceled = Fields {
            status: Some(Status::Canceled),
            ..Fields::default()
        };
        assert!(
            canceled
                .update("A1", &token)
                .expose()
                .contains("&canceled=true&")
        );
    }

    #[test]
    fn fields_are_kept_as_they_are() {
        let fields = Fields {
            when: Some(TodoSchedule::On(read_date("2026-11-23").unwrap())),
            deadline: Some(Deadline { on: None }),
            tags: Some(Vec::new()),
            ..Fields::default()
        };
        let kept = serde_json::to_string(&fields).unwrap();
        assert_eq!(serde_json::from_str::<Fields>(&kept).unwrap(), fields);
    }

    #[test]
    fn dates_are_read_in_one_form() {
        let today = read_date("2026-11-22").unwrap();
        for (text, when) in [
            ("today", Some(TodoSchedule::Today)),
            ("2026-11-22", Some(TodoSchedule::Today)),
            (
                "tomorrow",
                Some(TodoSchedule::On(read_date("2026-11-23").unwrap())),
            ),
            ("2026-11-21", None),
            ("2026-2-3", None),
            ("next monday", None),
            ("2026-11-23@12:00", None),
        ] {
            assert_eq!(TodoSchedule::read(text, today), when, "{text}");
        }
    }
}
